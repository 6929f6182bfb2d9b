"""The approval of a build: what it would cost, and whether to ask before clips that were paid for render again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ltxflow.core.errors import USAGE, LtxflowError, Problem, problem, raise_errors
from ltxflow.core.target import Tally, Target
from ltxflow.plan.choices import paid_again, upgrades
from ltxflow.plan.estimate import Estimate, estimate, rough
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.project.prompt import unwritten_problems
from ltxflow.session.session import Session
from ltxflow.steps import Node, pool_of
from ltxflow.store.published import read_speeds

WRITE_FIRST = "write it first; slates need no prompts: ltxflow build --animatic"
CLIPS, MINUTES = 10, 30.0  # re-rendered without a question, unless the user's configuration has other limits
ANSWER_S = 1.0  # for a server to answer a plan

Approve = Callable[[Session, Plan], None]


class ApprovalRequired(LtxflowError):
    """A build would re-render more than a person may have meant. `question` is the text to confirm."""

    def __init__(self, question: str, hint: str) -> None:
        self.question = question
        super().__init__(problem("R001", question=question, hint=hint), exit_code=USAGE)


def approve_all(session: Session, plan: Plan) -> None:
    """Approve everything: the caller named the clips."""


def require_approval(session: Session, plan: Plan, servers: Sequence[str] = ()) -> None:
    """Raise ApprovalRequired where a build would re-render more finished clips than the user's limits allow.

    `servers` are those of the command line.
    """
    again = {target for target in paid_again(plan) if pool_of(plan.plan.nodes[target]) == "gpu"}
    if not again:
        return
    limits: Mapping[str, float] = session.config.ask_above
    spent = gpu_time(session, plan, servers, again)
    minutes = spent.gpu_s / 60 if spent else 0.0
    if len(again) <= limits.get("clips", CLIPS) and minutes <= limits.get("minutes", MINUTES):
        return
    found = upgrades(plan)
    cost = f" (≈ {rough(spent.gpu_s)} of GPU time)" if spent else ""
    cause = f", since {found[0].cause}" if found else ""
    clips = f"{Tally.of(again, plan.heads)} that {'is' if len(again) == 1 else 'are'} finished"
    hint = "see `ltxflow plan` for each reason; "
    hint += "keep them with `ltxflow accept --all-upgrades`; " if found else ""
    hint += "set the limits with `ask_above` in your configuration"
    raise ApprovalRequired(f"the build re-renders {clips}{cost}{cause}", hint)


def check_same_motion(plan: Plan) -> None:
    """Raise LtxflowError where a clip to be rendered moves word for word like another of its scene [P108].

    Clips that are rendered already, and their further takes, pass.
    """
    if plan.mode != "render":
        return
    due = {change.clip for change in plan.changes if change.kind in ("create", "change", "maybe") and change.file}
    scenes = [scene for scene in plan.project.scenes if any(clip.path in due for clip in scene.clips)]
    if not scenes:
        return
    from ltxflow.project.lint import same_motion  # late: its word lists take longer than a plan without changes

    raise_errors(each for scene in scenes for each in same_motion(scene) if due.intersection(each.of))


def unwritten_due(plan: Plan) -> list[Problem]:
    """Return a problem for each prompt that is still to be written, of what a build would render [L035]."""
    if plan.mode != "render":
        return []
    due = {Target(change.target).lock_entry for change in plan.of_kind("create", "change", "maybe")}
    return [each for each in unwritten_problems(plan.project) if due.intersection(each.of)] if due else []


def check_written(session: Session, options: PlanOptions) -> None:
    """Raise LtxflowError where a build would render a prompt that is still to be written.

    Called before anything is spoken or a server is contacted; a film whose prompts are all written is not planned.
    """
    if options.mode == "render" and next(unwritten_problems(session.project), None) is not None:
        raise_errors(replace(each, hint=WRITE_FIRST) for each in unwritten_due(session.plan(options)))


def due_on_servers(plan: Plan) -> list[Node]:
    """Return what a build of this would render on servers."""
    missing = [status.node for status in plan.statuses.values() if status.state != "hit"]
    return [node for node in missing if pool_of(node) == "gpu"]


@dataclass(frozen=True)
class Answering:
    """Which of the servers of a build answer now, by URL. `problem` is the reason that none can be asked."""

    up: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    problem: Problem | None = None


def find_answering(session: Session, plan: Plan, named: Sequence[str]) -> Answering | None:
    """Return which servers a build of this plan would find; None where it needs none.

    `named` are those of the command line. Takes up to a second where one is silent. Of guesses the first that
    answers is used.
    """
    if not due_on_servers(plan):
        return None
    from ltxflow.comfy.discovery import answering, find_servers  # late: mostly nothing is to be rendered

    try:
        addresses = find_servers(list(named), os.environ, session.config.as_servers, session.project.server or None)
    except LtxflowError as error:  # a header whose variable is not set
        return Answering(problem=error.problems[0])
    up = tuple(address.url for address in answering(addresses, os.environ, ANSWER_S))
    if addresses[0].is_guess and up:
        return Answering(up[:1])
    return Answering(up, tuple(address.url for address in addresses if address.url not in up))


def gpu_time(
    session: Session,
    plan: Plan,
    named: Sequence[str] = (),
    targets: set[str] | None = None,
    *,
    up: Sequence[str] = (),
) -> Estimate | None:
    """Return an estimate for the renders of a plan (or those of `targets`); None without an earlier render anywhere.

    It is for the servers `up`, by URL; without them for one of those that a build would try, `named` first.
    """
    missing = [node for node in due_on_servers(plan) if targets is None or node.target in targets]
    speeds = read_speeds(session.store.root) if missing else {}
    if not speeds:
        return None
    if up:
        return estimate(missing, speeds, up)
    from ltxflow.comfy.discovery import find_servers  # late: mostly nothing is to be rendered, or nothing is known

    try:
        addresses = find_servers(list(named), os.environ, session.config.as_servers, session.project.server or None)
    except LtxflowError:  # a header whose variable is not set: the build reports it
        return None
    return estimate(missing, speeds, [address.url for address in addresses], is_guess=True)
