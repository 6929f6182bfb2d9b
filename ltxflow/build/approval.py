"""What a build would cost, and whether a person should be asked first: renders that were paid for once already."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from ltxflow.core.errors import USAGE, LtxflowError, Problem, raise_errors
from ltxflow.plan.estimate import Estimate, estimate
from ltxflow.plan.plan import Plan
from ltxflow.plan.upgrades import paid_again, upgrades
from ltxflow.session.session import Session
from ltxflow.steps import Node, pool_of
from ltxflow.store.speeds import read_speeds

CLIPS, MINUTES = 10, 30.0  # rendered again without a question, unless the user's configuration says otherwise


class ApprovalRequired(LtxflowError):
    """More would be rendered again than a person may have meant. `question` is what to ask where one can be asked."""

    def __init__(self, question: str, hint: str) -> None:
        self.question = question
        super().__init__(Problem(f"{question}: say so with --yes", hint=hint, code="R001"), exit_code=USAGE)


def check_twins(outlook: Plan) -> None:
    """Raise LtxflowError where a clip is to be rendered that moves word for word as another of its scene [P108].

    What is rendered already, and further takes of it, are not held up.
    """
    if outlook.mode != "render":
        return
    due = {change.clip for change in outlook.changes if change.kind in ("create", "change", "maybe") and change.file}
    scenes = [scene for scene in outlook.project.scenes if any(clip.path in due for clip in scene.clips)]
    if not scenes:
        return
    from ltxflow.project.lint import same_motion  # by need: its lists of words take longer than a plan of what is made

    raise_errors(problem for scene in scenes for problem in same_motion(scene) if due.intersection(problem.of))


Consent = Callable[[Session, Plan], None]


def unasked(session: Session, outlook: Plan) -> None:
    """Whoever asks for this asked for it by name."""


def consent(session: Session, outlook: Plan, servers: Sequence[str] = ()) -> None:
    """Given what a build would do, raise Unsure where it would pay again for more than the user's limits.

    `servers` are those named on the command line.
    """
    again = {target for target in paid_again(outlook) if pool_of(outlook.plan.nodes[target]) == "gpu"}
    if not again:
        return
    limits: Mapping[str, float] = session.config.ask_above
    spent = gpu_time(session, outlook, servers, again)
    minutes = spent.gpu_s / 60 if spent else 0.0
    if len(again) <= limits.get("clips", CLIPS) and minutes <= limits.get("minutes", MINUTES):
        return
    told = upgrades(outlook)
    why = f", since {told[0].cause}" if told else ""
    worth = f" (about {minutes:.0f} minutes of GPU)" if spent else ""
    clips = f"{len(again)} clip{'s' if len(again) != 1 else ''}"
    hint = "`ltxflow plan` says why of each; "
    hint += "keep them with: ltxflow accept --all-upgrades; " if told else ""
    hint += "the limits are `ask_above` in your configuration"
    raise ApprovalRequired(f"{clips} that were paid for would be rendered again{worth}{why}", hint)


def gpu_time(
    session: Session, outlook: Plan, named: Sequence[str] = (), targets: set[str] | None = None
) -> Estimate | None:
    """Given an outlook, return what its renders (or those `targets`) will take on the servers a build would use, by
    what earlier ones took there; None where nothing is known. `named` are servers of the command line."""
    missing: list[Node] = [
        status.node
        for target, status in outlook.statuses.items()
        if status.state != "hit" and pool_of(status.node) == "gpu" and (targets is None or target in targets)
    ]
    speeds = read_speeds(session.store.root) if missing else {}
    if not speeds:
        return None
    from ltxflow.comfy.discovery import find_servers  # by need: mostly there is nothing to render, or nothing known

    try:
        places = find_servers(list(named), os.environ, session.config.as_servers, session.project.server or None)
    except LtxflowError:  # a server that is named wrongly is for the build to tell
        return None
    is_guess = any(place.is_guess for place in places)
    return estimate(missing, speeds, [place.url for place in places], is_guess=is_guess)
