"""The first phase of a plan: what is spoken, as far as it is made, tells how long scenes are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.plan.dag import Plan, make_plan
from ltxflow.plan.status import Lookup, Status, statuses
from ltxflow.script.model import Media, Narration, Project
from ltxflow.script.speech import shown
from ltxflow.steps import Wishes, step

KINDS = ("line", "narration")


@dataclass(frozen=True)
class Unsaid:
    """A line that is still to be spoken, and by whom. `engine` is what the project calls it."""

    target: str
    key: Key
    scene: str
    line: str
    text: str
    engine: str
    voice: str


@dataclass(frozen=True)
class Spoken:
    """A film's speech: its plan, what is known of every line and narration, and the film with what was measured."""

    project: Project
    plan: Plan | None = None
    statuses: Mapping[str, Status] = field(default_factory=dict)

    @property
    def unmade(self) -> dict[str, Status]:
        """Scene id → the narration that is still to be spoken."""
        return {
            target.partition(":")[2]: status
            for target, status in self.statuses.items()
            if status.node.kind == "narration" and status.state != "hit"
        }

    @property
    def unsaid(self) -> tuple[Unsaid, ...]:
        """The lines that a build would have spoken, in film order; what is said twice is spoken once."""
        found: dict[Key, Unsaid] = {}
        for target, status in self.statuses.items():
            if status.node.kind == "line" and status.state != "hit" and status.key is not None:
                speech, line = status.node.spec.speech, status.node.spec.line
                scene = target.partition(":")[2].partition("/")[0]
                told = Unsaid(target, status.key, scene, line.id, shown(line.text), speech.engine.name, speech.voice)
                found.setdefault(status.key, told)
        return tuple(found.values())


def speak(project: Project, lookup: Lookup, blob: Callable[[Digest], Path]) -> Spoken:
    """Given a film, return its speech and the film as it is with it: measured where made, estimated elsewhere.

    `blob` says where the bytes of a digest are. A film without engines is returned as it is.
    """
    if not any(scene.narration.speech for scene in project.scenes):  # what speaks need not even be imported
        return Spoken(project)
    wishes = Wishes({}, lambda clip, take: 0)
    nodes = [node for kind in KINDS for node in step(kind).nodes(project, wishes)]
    if not nodes:
        return Spoken(project)
    plan = make_plan(nodes, [node.target for node in nodes if node.kind == "narration"])
    found = statuses(plan, lookup)
    scenes = []
    for scene in project.scenes:
        status = found.get(f"narration:{scene.id}")
        if status is not None and status.trace is not None:
            sound = status.trace.outputs["speech"]
            scene = replace(scene, narration=_measured(scene.narration, scene.id, sound, blob(sound.digest)))
        scenes.append(scene)
    return Spoken(replace(project, scenes=tuple(scenes)), plan, found)


def _measured(narration: Narration, scene: str, sound: Output, path: Path) -> Narration:
    facts = {"samples": sound.facts["samples"], "sample_rate": sound.facts["sample_rate"]}
    file = Media(path, f"{scene}.wav", sound.digest, facts, narration.span)
    seconds = Fraction(facts["samples"], facts["sample_rate"])
    starts = {
        line.id: Fraction(place["start_sample"], facts["sample_rate"])
        for line, place in zip(narration.speech.lines, sound.facts.get("lines", ()), strict=False)
    }
    return replace(narration, seconds=seconds, estimated=False, file=file, starts=starts or narration.starts)
