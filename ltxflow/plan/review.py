"""Review takes that came back, and choose the try of each that stays. Pure: findings are looked up.

A clip that asks for it (`reseed: 2`) is tried with further seeds when it comes back with a fault that another seed can
mend: frozen, black, cut or silent (`findings.RULES`). Every try is an action with a separate key, so what was tried is
known from the store alone: a plan after a crash continues where it ended, and no try is made twice. When seeds fail
`ALIKE` times in the same way at the same place, the seed is not the cause, and no more are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ltxflow.core.digest import Digest
from ltxflow.core.errors import Problem, problem
from ltxflow.core.timing import seed_for
from ltxflow.lock.model import FROZEN, Lock, LockTake
from ltxflow.media.findings import (
    RULES,
    ClipRequirements,
    Findings,
    Thresholds,
    causes,
    findings_from,
    is_bad_luck,
    is_same_fault,
    judge,
)
from ltxflow.models.profile import Profile
from ltxflow.plan.evaluate import Lookup, Status, evaluate_node
from ltxflow.plan.explain import digest_of_text, only_upstream_differs
from ltxflow.project.model import Clip
from ltxflow.project.settings import ignores, thresholds
from ltxflow.steps import Node, inspect
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.store.traces import Trace

ALIKE = 3  # tries with one fault at one place: what they are made from is the cause
STILL = frozenset(["Q101", "Q103"])  # what the model's guide has advice for
SETTLED = FROZEN | {"accepted"}  # a person's word: checks have nothing to add


@dataclass(frozen=True)
class Verdict:
    """What an inspection of one take found, and what the film's checks say of it.

    `is_current` is False where an older version inspected it: good enough to report, not to spend GPU time on.
    """

    findings: Findings
    problems: tuple[Problem, ...] = ()
    is_current: bool = True

    @property
    def motion(self) -> float:
        return self.findings.motion_mean

    @property
    def is_bad(self) -> bool:
        """Whether another seed may mend it."""
        return is_bad_luck(self.problems)

    def as_json(self) -> dict[str, Any]:
        problems = [{"code": p.code, "level": p.level, "message": p.message, "hint": p.hint} for p in self.problems]
        return {"motion": self.motion, "is_bad": self.is_bad, "problems": problems}


@dataclass(frozen=True)
class Review:
    """Judges takes by what the lock and the store know of them."""

    lock: Lock
    lookup: Lookup

    def verdict(self, node: Node, trace: Trace) -> Verdict | None:
        """Return the verdict; None for a take that is not inspected yet, or not to be."""
        shot: ClipSpec = node.spec
        wanted = ClipRequirements(node.frames, shot.fps, shot.geometry.delivered)
        return self.verdict_of(shot.clip, node.take, shown(trace), shot.profile, wanted)

    def verdict_of(
        self, clip: Clip, take: int, video: Digest, profile: Profile, wanted: ClipRequirements | None = None
    ) -> Verdict | None:
        """Return the verdict on a file that is a take of a clip; None for one not inspected yet, or not to be."""
        limits = thresholds(clip, profile)
        found = self._findings(video) if limits else None
        is_current = found is not None
        if limits is not None and found is None:
            found = self._findings(video, inspect.OLDER)
        if limits is None or found is None:
            return None
        judged = judge(found, limits, self._earlier(clip, take, limits), wanted)
        known = self.lock.take(clip.path, take)
        tried = known.tries if known is not None and known.outputs.get("published") == video else 0
        problems = [_at(clip, take, problem, profile, tried) for problem in judged if not ignores(clip, problem.code)]
        return Verdict(found, tuple(problems), is_current)

    def inspection(self, node: Node, trace: Trace) -> Status | None:
        """Return the Status of the look at it that is still missing; None without."""
        if not is_inspected(node) or "published" not in trace.outputs:
            return None
        looked = evaluate_node(inspect.node_of(node), {node.target: Status(node, "hit", trace=trace)}, self.lookup)
        return looked if looked.state == "miss" else None

    def standing(self, status: Status, before: Mapping[str, Status]) -> Status:
        """Return the status that counts for a target, which may be of another try.

        A hit that is not bad stands, and so does another try in the store that is not. Else the next seed is a miss,
        with the reason in `because`; when all were tried, the least bad stands, and `because` says so.
        """
        seeds = self._tries(status)
        if not seeds or status.state == "maybe":
            return status
        if status.state == "miss" and self.lock.take(status.node.clip, status.node.take) is None:
            return status  # never made: none of its other tries is there, either
        if status.state == "hit" and self._spoilt(status) is None:
            return status
        tries = [self._try(status, seed, before) for seed in seeds]
        made: list[tuple[Status, Verdict]] = []
        for each in tries:
            if each.state == "hit":
                verdict = self._spoilt(each)
                if verdict is None:
                    return each
                made.append((each, verdict))
        left = [each for each in tries if each.state == "miss"]
        alike = _alike([verdict for _, verdict in made])
        if not left or alike:
            stays = self._least_bad(made) if seeds[0] in _derived(status.node) else tries[0]
            because = f"{len(made)} seeds came out badly: the least bad of them stays"
            if alike:
                because = f"{len(made)} seeds came out alike ({alike}): it is not the seed; one of them stays"
            return replace(stays, because=because, tries=len(tries))  # given up: all that is allowed counts as tried
        if not made:
            return left[0]
        return replace(left[0], because=f"{plain(causes(made[-1][1].problems)[0])}; tries another seed")

    def _try(self, status: Status, seed: int, before: Mapping[str, Status]) -> Status:
        node = status.node
        if node.spec.seed == seed:
            return status
        return evaluate_node(replace(node, spec=replace(node.spec, seed=seed)), before, self.lookup)

    def _least_bad(self, made: list[tuple[Status, Verdict]]) -> Status:
        """Return the first of those with the fewest faults, then the shortest, then the liveliest."""

        def badness(each: tuple[Status, Verdict]) -> tuple[int, int, float, float]:
            found, problems = each[1].findings, each[1].problems
            stretch = found.frozen.seconds + found.black.seconds
            return len(causes(problems)), len(problems), stretch, -found.motion_mean

        return min(made, key=badness)[0]

    def _spoilt(self, status: Status) -> Verdict | None:
        """Return the verdict on a take that is made, where it is reason enough to try another seed."""
        if status.trace is None:
            return None
        verdict = self.verdict(status.node, status.trace)
        if verdict is None or not verdict.is_current or not verdict.is_bad:
            return None
        older = self._findings(shown(status.trace), inspect.OLDER)
        if older is not None:
            shot: ClipSpec = status.node.spec
            limits = thresholds(shot.clip, shot.profile)
            if limits is not None and not is_bad_luck(judge(older, limits)):
                return None
        return verdict

    def _tries(self, status: Status) -> list[int]:
        """Return the seeds to try a take with, its own first; none where a person wrote it, or judged the result."""
        node = status.node
        if node.kind != "clip" or not _reseed(node):
            return []
        clip: Clip = node.spec.clip
        profile: Profile = node.spec.profile
        if clip.explicit_seed(node.take) is not None or profile.qualities[str(clip.get("quality"))].stand_in:
            return []
        entry = self.lock.entries.get(clip.path)
        decision = entry.decision(node.take).status if entry else ""
        judged = entry.takes.get(node.take) if entry and decision else None
        if judged is not None and (decision in FROZEN or judged.stands_for(status.key)):
            return []
        derived, known = _derived(node), self.lock.take(clip.path, node.take)
        if known is not None and known.key == status.key and known.tries > _reseed(node):
            return []  # they were tried, here or elsewhere, and a person was asked
        own = derived[0] if known is None or known.seed is None else known.seed
        return [own, *(derived[1:] if own not in derived else [seed for seed in derived if seed != own])]

    def _findings(self, video: Digest, versions: Iterable[str] = (inspect.VERSION,)) -> Findings | None:
        """Return the findings of the first of those versions that inspected a file."""
        for version in versions:
            trace = self.lookup(inspect.action_of(video, version).key)
            if trace is not None:
                return findings_from(trace.outputs["findings"].facts)
        return None

    def _earlier(self, clip: Clip, take: int, limits: Thresholds) -> dict[str, str]:
        """Return the fingerprints of the clip's takes before this one: of two equal takes the later one is reported."""
        entry = self.lock.entries.get(clip.path) if limits.duplicate is not None else None
        videos = {n: other.outputs.get("published") for n, other in entry.takes.items() if n < take} if entry else {}
        any_version = (inspect.VERSION, *inspect.OLDER)  # their fingerprints are alike
        found = {number: self._findings(video, any_version) for number, video in videos.items() if video}
        return {f"take {number}": each.fingerprint for number, each in found.items() if each}


def is_inspected(node: Node) -> bool:
    """Return whether a node's result is to be inspected: a clip, unless its checks are off."""
    return node.kind == "clip" and thresholds(node.spec.clip, node.spec.profile) is not None


def shown(trace: Trace) -> Digest:
    """Return the digest of the file that is published of it."""
    return (trace.outputs.get("published") or trace.outputs["video"]).digest


def _reseed(node: Node) -> int:
    return int(node.spec.clip.get("reseed", 0))


def _derived(node: Node) -> list[int]:
    """Return the seeds of the take's tries, the first one's first."""
    shot: ClipSpec = node.spec
    film = int(shot.film["seed"].value)
    return [seed_for(film, shot.clip.scene, shot.clip.id, node.take, try_) for try_ in range(_reseed(node) + 1)]


def plain(problem: Problem) -> str:
    """Return its message without the take that it begins with."""
    return problem.message.partition(": ")[2]


def _alike(verdicts: Sequence[Verdict]) -> str:
    """Return what is wrong with the last `ALIKE` of them, where that is the same in all; "" where they differ."""
    last = verdicts[-ALIKE:]
    codes = [frozenset(problem.code for problem in causes(verdict.problems)) for verdict in last]
    if len(last) < ALIKE or len(set(codes)) > 1:
        return ""
    first = last[0]
    if not all(is_same_fault(first.findings, verdict.findings, codes[0]) for verdict in last[1:]):
        return ""
    return plain(causes(first.problems)[0])


def _at(clip: Clip, take: int, problem: Problem, profile: Profile, tried: int) -> Problem:
    """Return the problem with its take, at the clip in the project, with the advice of the model's guide."""
    name = clip.path if take == 1 else f"{clip.path}@{take}"
    hint = problem.hint
    if problem.code in STILL and (advice := profile.advice.get("frozen_picture")):
        hint = "; ".join(line for line in advice if clip.reference or "reference" not in line)
    if problem.code in STILL:
        hint = f"{hint}; allow a still with checks: {{{RULES[problem.code].check}: false}}"
    seed = RULES[problem.code].seed
    if seed == "tried" and tried:
        hint = f"{hint.removesuffix(', or try another seed')}; {tried} seeds were tried: it is not the seed"
    elif seed != "no help":
        way = hint if hint.endswith("another seed") else f"{hint}; or try another seed"
        hint = f"{way}: ltxflow retake {clip.path}"
    return replace(problem, message=f"{name}: {problem.message}", span=clip.span, hint=hint, named=(name,))


def concerns(
    lock: Lock, verdicts: Mapping[str, Verdict], also: frozenset[str] = frozenset()
) -> dict[str, tuple[Problem, ...]]:
    """Return what a person should hear of: the takes in the cut, and those in `also`.

    What was approved, accepted or pinned is settled.
    """
    problems = {}
    for target, verdict in verdicts.items():
        path, _, take = target.partition(":")[2].partition("@")
        entry = lock.entries.get(path)
        is_picked = take == str(entry.pick if entry else 1)
        is_settled = entry is not None and entry.decision(int(take)).status in SETTLED
        if verdict.problems and not is_settled and (is_picked or target in also):
            problems[target] = verdict.problems
    return problems


# --- decisions of people


@dataclass
class Decisions:
    """People's decisions: approved and pinned takes stay whatever the text; accepted ones while only upstream changes.

    `lost` are takes that should be here and are not.
    """

    lock: Lock
    lookup: Lookup
    trace_of: Lookup
    lost: list[Problem] = field(default_factory=list)

    def held(self, status: Status) -> Trace | None:
        node = status.node
        take = self.lock.take(node.entry, node.take) if node.kind in ("clip", "reference") else None
        if take is None:
            return None
        decision = self.lock.decision(node.entry, node.take).status
        if decision in FROZEN:
            trace = self.lookup(take.key)
            if trace is None:
                is_picked = self.lock.entries[node.entry].pick == node.take
                target = node.entry if is_picked else f"{node.entry}@{node.take}"
                lost = problem(
                    "U031.frozen", node.span, status=decision, take=node.take, clip=node.entry, target=target
                )
                self.lost.append(lost)
            return trace
        if status.is_forced or take.key == status.key:
            return None
        if take.stands_for(status.key) or is_accepted_text(take, node):
            return self.lookup(take.key)
        if take.accepted is not None or decision != "accepted" or status.state == "hit":
            return None
        before = self.trace_of(take.key)  # accepted by an older version, under its new key
        stands = before is not None and only_upstream_differs(node, status.action, before)
        return self.lookup(take.key) if stands else None


def is_accepted_text(take: LockTake, node: Node) -> bool:
    """Return whether a take was accepted for what the author still writes, whatever it now starts from."""
    return bool(take.accepted and take.accepted.text and take.accepted.text == digest_of_text(node))
