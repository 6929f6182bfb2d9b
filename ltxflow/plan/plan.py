"""What a build would do to every clip, and why. Pure: the store and the published tree are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem, raise_errors
from ltxflow.core.target import Tally, heads_of
from ltxflow.core.timing import Cut, clip_file_name, seed_for
from ltxflow.lock.model import Lock, moved
from ltxflow.plan.evaluate import Enter, Lookup, Memo, Status, evaluate
from ltxflow.plan.explain import Reason, only_upstream_differs, reasons
from ltxflow.plan.graph import BuildGraph, Groups, build_graph, select
from ltxflow.plan.lengths import PendingLine, cut_film, lengths_by_clip
from ltxflow.plan.renditions import (
    RANKS,
    SHOWN,
    Finals,
    Finder,
    PublishedClip,
    Rendition,
    Renditions,
    State,
    find_renditions,
    is_draft,
    pick_of,
    published_digest,
)
from ltxflow.plan.review import Decisions, Review, Verdict, concerns, is_accepted_text
from ltxflow.project.model import Clip, Project, Still
from ltxflow.steps import Node, ResolvedInputs, step

Kind = Literal["create", "change", "restore", "unchanged", "maybe"]
Mode = Literal["render", "animatic"]
KIND_OF: Mapping[Mode, str] = {"render": "clip", "animatic": "slate"}
KINDS_OF: Mapping[Mode, tuple[str, ...]] = {"render": ("reference", "frame", "clip"), "animatic": ("slate",)}


@dataclass(frozen=True)
class Change:
    """What a build would do about one target, and why. `file` is its name in the output folder, if it is picked."""

    target: str
    kind: Kind
    frames: int
    file: str = ""
    reasons: tuple[Reason, ...] = ()
    note: str = ""
    key: str = ""
    length: str = ""  # what the length that is written became, where the model cannot make just that
    is_spare: bool = False  # a take that is not in the cut

    @property
    def clip(self) -> str:
        return self.target.partition(":")[2].partition("@")[0]


@dataclass(frozen=True)
class SceneRow:
    """What a plan needs of a scene with nothing to do and nothing to report. `index` is its place in the film.

    `frames` and `takes` are what it adds to the film; `clips` are paths, with their `states`; `qualities` are in the
    order of its clips; `stills` are the images made for it: path → how many takes, and the angle as written.
    """

    index: int
    id: str
    clips: tuple[str, ...]
    frames: int
    takes: int
    qualities: tuple[str, ...]
    stills: Mapping[str, tuple[int, str]]
    states: tuple[State, ...] = ()

    @property
    def files(self) -> list[str]:
        """The names of its clips in the output folder."""
        return [clip_file_name(self.index, number) for number in range(len(self.clips))]


@dataclass(frozen=True)
class Plan:
    """A film, its lengths, its build graph and what a build would do.

    `rows` are the scenes that were not evaluated, since the memo has them: then `project` has the others alone.
    """

    project: Project
    lock: Lock
    mode: Mode
    cuts: Mapping[str, Cut]
    nodes: tuple[Node, ...]
    plan: BuildGraph
    statuses: Mapping[str, Status]
    changes: tuple[Change, ...]
    orphans: tuple[PublishedClip, ...]
    problems: tuple[Problem, ...]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # by target, of what was inspected
    rows: tuple[SceneRow, ...] = ()
    unsaid: tuple[PendingLine, ...] = ()  # lines that a build would have spoken first
    renditions: Mapping[str, Renditions] = field(default_factory=dict)  # by path, of the clips that were evaluated

    @cached_property
    def concerns(self) -> dict[str, tuple[Problem, ...]]:
        """What a person should hear of takes that are made, by target."""
        return concerns(self.lock, self.verdicts)

    @cached_property
    def states(self) -> dict[str, State]:
        """What the published file of each clip is, by path, in film order; of the clips in the plan."""
        scenes = {row.index: dict(zip(row.clips, row.states, strict=True)) for row in self.rows}
        for scene in self.project.scenes:
            known = {clip.path: self.renditions.get(clip.path) for clip in scene.clips}
            scenes[scene.index] = {path: one.state for path, one in known.items() if one is not None}
        return {path: state for _, states in sorted(scenes.items()) for path, state in states.items()}

    @property
    def targets(self) -> list[str]:
        """What is made for a person to see: frames are only taken on the way."""
        return [target for target, node in self.plan.nodes.items() if node.kind != "frame"]

    @property
    def is_all_done(self) -> bool:
        """Whether a build would make nothing, put nothing in its place and have nothing spoken."""
        return not self.unsaid and all(change.kind == "unchanged" for change in self.changes)

    @property
    def film_frames(self) -> int:
        return sum(cut.covered for cut in self.cuts.values()) + sum(row.frames for row in self.rows)

    @property
    def qualities(self) -> list[str]:
        """Those of its clips, in film order."""
        first: dict[str, int] = {}
        for row in self.rows:
            for name in row.qualities:
                first.setdefault(name, row.index)
        for scene in self.project.scenes:
            for clip in scene.clips:
                name = str(clip.get("quality"))
                first[name] = min(scene.index, first.get(name, scene.index))
        return sorted(first, key=lambda name: first[name])

    def picked(self, clip: Clip) -> str:
        return picked_target(self.lock, self.mode, clip)

    def of_kind(self, *kinds: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind in kinds]

    @cached_property
    def heads(self) -> frozenset[str]:
        """The targets that count as their clip or reference: the take in the cut, where it is planned."""
        return heads_of(self.targets, lambda entry: pick_of(self.lock, entry) if self.mode == "render" else 1)

    def tally(self, *kinds: Kind) -> Tally:
        """Count the clips, further takes and references of the whole film that are of these kinds; of all, without."""
        here = Tally.of((c.target for c in self.changes if not kinds or c.kind in kinds), self.heads)
        return here + self.in_rows if not kinds or "unchanged" in kinds else here

    @cached_property
    def in_rows(self) -> Tally:
        """What is counted in `rows`; a reference that was evaluated counts there."""
        here = {still.path for still in self.project.stills}
        stills = {path: takes for row in self.rows for path, (takes, _) in row.stills.items() if takes}
        stills = {path: takes for path, takes in stills.items() if path not in here}
        clips = sum(len(row.clips) for row in self.rows)
        takes = sum(row.takes for row in self.rows) + sum(stills.values())
        return Tally(clips, takes - clips - len(stills), len(stills))

    def is_worth_a_line(self, change: Change) -> bool:
        """Return whether a change is listed by itself, as an approved take that no longer matches its text is."""
        return (
            change.kind != "unchanged" or bool(change.note and self.mode == "render") or change.target in self.concerns
        )


@dataclass(frozen=True)
class PlanOptions:
    """What to plan: the mode, selectors, and whether lengths are solved afresh or clips made again.

    `also` names takes beyond those that the film asks for: `hook/b@4`. `only` is "references" for the images that clips
    are made from, without the clips. `groups` has the clips of selectors such as `changed:main`. `drafts` is whether to
    look for drafts of every clip that has no final render.
    """

    mode: Mode = "render"
    selectors: tuple[str, ...] = ()
    relength: bool = False
    force: bool = False
    also: tuple[str, ...] = ()
    only: str = ""
    groups: Groups = field(default_factory=dict)
    drafts: bool = False


def picked_target(lock: Lock, mode: Mode, clip: Clip | Still) -> str:
    """Return the target that is in the cut: its slate, or the take that was picked."""
    take = picked_take(lock, clip) if mode == "render" else 1
    if isinstance(clip, Still):
        return f"{clip.path}@{take}"
    return f"{KIND_OF[mode]}:{clip.path}@{take}"


def picked_take(lock: Lock, clip: Clip | Still) -> int:
    return pick_of(lock, clip.path)


def seeds(project: Project, lock: Lock) -> Callable[[Clip | Still, int], int]:
    """Return the seed of a take: explicit, else recorded, else derived.

    Every angle of a reference derives the same: what they share stays alike.
    """

    def seed(clip: Clip | Still, take: int) -> int:
        explicit = clip.explicit_seed(take)
        if explicit is not None:
            return explicit
        entry = lock.entries.get(clip.path)
        recorded = entry.takes[take].seed if entry and take in entry.takes else None
        return recorded if recorded is not None else derived_seed(project, clip, take)

    return seed


def derived_seed(project: Project, clip: Clip | Still, take: int) -> int:
    """Return the one that follows from the film's seed and its ids."""
    scene, id = ("reference", clip.name) if isinstance(clip, Still) else (clip.scene, clip.id)
    return seed_for(project.seed, scene, id, take)


def make_plan(
    project: Project,
    lock: Lock,
    question: PlanOptions,
    lookup: Lookup,
    trace_of: Lookup,
    placed: Mapping[str, PublishedClip],
    strangers: Mapping[str, Problem] = MappingProxyType({}),
    unspoken: frozenset[str] = frozenset(),
    known: Memo | None = None,
    rows: Sequence[SceneRow] = (),
    enter: Enter = lambda node: None,
    has_drafts: bool = False,
) -> Plan:
    """Return the Outlook.

    `strangers` are files in the places of clips that a build leaves alone, each with what to say of it.
    `lookup` finds a trace whose blobs are all there, `trace_of` any trace; `unspoken` are scenes whose narration is
    still to be made, so that their lengths are estimates; `known` has keys of earlier plans; `has_drafts` is whether a
    stand-in of this film was ever rendered.

    Raise LtxflowError when a scene cannot be covered, a selector names nothing, or a clip has no template.
    """
    lock = moved(lock, project.moved)
    cuts, problems = cut_film(project, lock, question.relength)
    raise_errors(problems)
    more = [named.partition("@") for named in question.also]
    wishes = ResolvedInputs(
        lengths_by_clip(project, cuts),
        seeds(project, lock),
        lambda clip: picked_take(lock, clip),
        lambda clip: frozenset(int(take) for path, _, take in more if path == clip.path),
    )
    nodes = tuple(node for kind in KINDS_OF[question.mode] for node in step(kind).nodes(project, wishes))
    wanted = select(nodes, question.selectors, question.groups)
    is_named = question.mode == "render" and any("@" in selector for selector in question.selectors)
    if question.mode == "render" and not is_named:
        wanted = [target for target in wanted if not _is_spare(target, lock)]
    plan = build_graph(nodes, wanted)
    if question.only:
        wanted = [target for target, node in plan.nodes.items() if node.kind == "reference"]
        plan = build_graph(nodes, wanted)
    force = frozenset(wanted) if question.force else frozenset()
    words, review = Decisions(lock, lookup, trace_of), Review(lock, lookup)
    finder = Finder(project, lock, wishes, lookup, words.held, review.standing, known, enter, placed)
    stand_ins = {node.clip for node in plan.nodes.values() if is_draft(node)}
    finals, drafts = Finals(), dict[str, Status]()
    if question.mode == "animatic":
        finals = finder.finals(finder.with_upstream({node.clip for node in plan.nodes.values()}))
        found = evaluate(plan, lookup, force, known=known, enter=enter)
    elif stand_ins:
        finals = finder.finals(stand_ins)
        found, drafts = finder.evaluate(plan, finals.made, force)
    else:
        found = evaluate(plan, lookup, force, words.held, review.standing, known, enter)
    if words.lost and question.mode == "render":
        raise LtxflowError(*dict.fromkeys(words.lost), exit_code=FAILED)
    if question.mode == "render" and not is_named and not question.force:
        plan, found = _without_spares(plan, nodes, found, lock)
    verdicts = judged(review, found, enter) if question.mode == "render" else {}
    files = {
        picked_target(lock, question.mode, clip): clip_file_name(scene.index, clip.index)
        for scene in project.scenes
        for clip in scene.clips
    }
    is_sought = question.mode == "animatic" or question.drafts
    renditions = find_renditions(finder, found, finals, drafts, is_sought=is_sought, has_drafts=has_drafts)
    changes: dict[str, Change] = {}
    for target, status in found.items():
        chain, file = _chain(status, found, changes), files.get(target, "")
        better = renditions[status.node.clip].above_slate if question.mode == "animatic" else None
        if better is not None:
            changes[target] = _kept(status.node, file, better, placed)
            continue
        change = _change(status, file, lock, question.mode, trace_of, placed, chain)
        change = _unsure(change, project, unspoken)
        entry = lock.entries.get(status.node.entry) if question.mode == "render" else None
        is_spare = entry is not None and status.node.take != entry.pick
        length = length_in_words(status.node, project.fps) if status.state != "hit" else ""
        changes[target] = replace(change, length=length, is_spare=is_spare) if length or is_spare else change
    kept = {*files.values(), *(name for row in rows for name in row.files)}
    orphans = tuple(stand for file, stand in sorted(placed.items()) if file not in kept)
    shown = tuple(change for target, change in changes.items() if plan.nodes[target].kind != "frame")
    left_alone = [
        replace(strangers[change.file], span=plan.nodes[change.target].span, level="warning")
        for change in shown
        if change.kind != "unchanged" and change.file in strangers
    ]
    told = (*problems, *left_alone, *rejected(project, lock, found), *not_forced(lock, found))
    made = (project, lock, question.mode, cuts, nodes, plan, found, shown, orphans, told, verdicts, tuple(rows))
    return Plan(*made, renditions=renditions)


def _kept(node: Node, file: str, better: Rendition, placed: Mapping[str, PublishedClip]) -> Change:
    """Return the change of a slate that is not drawn, since a better rendition of its clip exists."""
    there, note, key = placed.get(file), SHOWN[better.state], better.key
    if there is not None and there.digest == better.digest:
        return Change(node.target, "unchanged", node.frames, file, note=note, key=key)
    if better.trace is not None and better.trace.made_at:
        note = f"{note}; in the store since {better.trace.made_at.replace('T', ' ')[:16]}"
    return Change(node.target, "restore", node.frames, file, note=note, key=key)


def _change(
    status: Status,
    file: str,
    lock: Lock,
    mode: Mode,
    trace_of: Lookup,
    placed: Mapping[str, PublishedClip],
    chain: str,
) -> Change:
    node, key = status.node, status.key or ""
    stands = placed.get(file)
    if status.state == "maybe":
        return Change(node.target, "maybe", node.frames, file, note=chain, key=key)
    if status.trace is not None:
        drift = _drift(status, lock, chain)
        why = tuple(reasons(node, status.action, status.trace)) if drift == DRIFTED else ()
        if not file or (stands is not None and stands.digest == published_digest(status.trace)):
            return Change(node.target, "unchanged", node.frames, file, why, drift, key)
        since = f"in the store since {status.trace.made_at.replace('T', ' ')[:16]}"
        note = f"{drift}; {since}" if drift else since
        return Change(node.target, "restore", node.frames, file, why, note, key)
    previous = _previous_key(node, lock, mode, placed)
    if status.because:  # another try of a take: its seed is all that changes
        kind: Kind = "change" if previous else "create"
        return Change(node.target, kind, node.frames, file, note=status.because, key=key)
    if previous is None:
        return Change(node.target, "create", node.frames, file, note="new", key=key)
    before = trace_of(Key(previous))
    told = tuple(reasons(node, status.action, before))
    if before is None:
        note = f"was {previous[:8]}…, made elsewhere: no record of it in this store"
    elif before.key == key and status.is_forced:
        note = "unchanged; made again by --force"
    elif before.key == key:
        note = "its file is missing from the store"
    else:
        note = ""
    return Change(node.target, "change", node.frames, file, told, note, key)


def length_in_words(node: Node, fps: int) -> str:
    """Return what the written length became: `20s → 497 frames (19.88 s)`; "" if it is just that, or auto."""
    length = node.spec.clip.length if node.kind in ("clip", "slate") else None
    if length is None or length.frames is None:
        return ""
    frames = node.frames + node.spec.clip.frames_again
    if length.seconds * fps == frames:
        return ""
    kept = f", as it is rendered; --relength makes it {length.frames}" if frames != length.frames else ""
    return f"{length.written} → {frames} frames ({frames / fps:.4g} s){kept}"


def _without_spares(
    plan: BuildGraph, nodes: Sequence[Node], found: dict[str, Status], lock: Lock
) -> tuple[BuildGraph, dict[str, Status]]:
    """Leave out the other takes of clips whose take in the cut is accepted and matches."""
    spares = set()
    for target in plan.wanted:
        entry = lock.entries.get(found[target].node.entry)
        if entry is None or entry.status != "accepted" or found[target].state == "hit":
            continue
        picked = found.get(f"{target.rpartition('@')[0]}@{entry.pick}")
        if picked is not None and picked.state == "hit":
            spares.add(target)
    if not spares:
        return plan, found
    fewer = build_graph(nodes, [target for target in plan.wanted if target not in spares])
    return fewer, {target: found[target] for target in fewer.nodes}


def judged(review: Review, found: Mapping[str, Status], enter: Enter = lambda node: None) -> dict[str, Verdict]:
    """Return the verdict on every clip that is made and was inspected, by target."""
    verdicts: dict[str, Verdict] = {}
    for target, status in found.items():
        if status.trace is not None and status.node.kind == "clip":
            enter(status.node)
            verdict = review.verdict(status.node, status.trace)
            if verdict is not None:
                verdicts[target] = verdict
    return verdicts


DRIFTED = "approved; no longer matches its text"


def _drift(status: Status, lock: Lock, chain: str = "") -> str:
    """Return the note on a take that a person settled and whose key has changed; "" where it matches all the same."""
    node, trace = status.node, status.trace
    take = lock.take(node.entry, node.take)
    if trace is None or trace.key == status.key or take is None:
        return ""
    decision = lock.decision(node.entry, node.take).status
    if decision == "pinned" or trace.action.get("kind") == "pinned":
        return "a pinned file stands here"
    if take.stands_for(status.key):
        return ""
    if chain:
        return f"{decision}; its upstream changed ({chain})"
    if is_accepted_text(take, node) or only_upstream_differs(node, status.action, trace):
        return f"{decision}; its upstream changed ({_sources(node)})"
    return DRIFTED


def drifted(project: Project, lock: Lock, found: Mapping[str, Status]) -> list[Problem]:
    """Return a warning for each approved take whose prompt was edited since."""
    problems = []
    mine: dict[str, list[Status]] = {}
    for status in found.values():
        if status.node.kind == "clip":
            mine.setdefault(status.node.clip, []).append(status)
    for clip in project.clips:
        for status in mine.get(clip.path, ()):
            if _drift(status, lock) == DRIFTED:
                take = status.node.take
                target = clip.path if take == picked_take(lock, clip) else f"{clip.path}@{take}"
                problems.append(problem("U034", clip.span, clip=clip.path, take=take, target=target))
    return problems


def not_forced(lock: Lock, found: Mapping[str, Status]) -> list[Problem]:
    """Return a warning for each take that `--force` leaves, since a person approved or pinned it."""
    kept = [s.node for s in found.values() if s.is_forced and s.state == "hit"]
    return [
        problem("U035", node.span, clip=node.entry, take=node.take, status=lock.decision(node.entry, node.take).status)
        for node in kept
    ]


def rejected(project: Project, lock: Lock, found: Mapping[str, Status]) -> list[Problem]:
    """Return a warning for each take that a person rejected and that is still in the cut."""
    problems = []
    every: list[Clip | Still] = [*project.clips, *project.stills]
    for one in every:
        entry = lock.entries.get(one.path)
        if entry is None or entry.status != "rejected":
            continue
        status = found.get(picked_target(lock, "render", one))
        if status is None or status.trace is None:
            continue  # not evaluated, or to be made again
        reason = f" ({entry.reason})" if entry.reason else ""
        others = [n for n in sorted(entry.takes) if n != entry.pick and entry.decision(n).status != "rejected"]
        instead = f", or pick one: ltxflow pick {one.path}@{'|'.join(map(str, others))}" if others else ""
        problems.append(problem("U032", one.span, clip=one.path, take=entry.pick, reason=reason, instead=instead))
    return problems


def _chain(status: Status, found: Mapping[str, Status], changes: Mapping[str, Change]) -> str:
    """Return why a target is not yet known: the way up to what is rendered again, and why. "" for a known one.

    `hook/c ← hook/b ← hook/a: prompt.camera changed`
    """
    if status.key is not None or not status.because:
        return ""
    way = [status]
    while way[-1].key is None and way[-1].because:
        way.append(found[way[-1].because])
    names = [each.node.entry for each in way if each.node.kind != "frame"]
    root = changes[way[-1].node.target]
    why = root.note
    if root.kind == "create":
        why = "new"
    elif root.reasons:
        why = f"{', '.join(dict.fromkeys(reason.field for reason in root.reasons))} changed"
    if way[-1].node.kind == "frame":
        names.append(_sources(way[-1].node))
        why = "its frame is to be taken"
    return f"{' ← '.join(names)}: {why}"


def _sources(node: Node) -> str:
    """Return what a node is made from, as people call it."""
    targets = [need.partition("#")[0].rpartition("@")[0] for need in node.needs.values()]
    return ", ".join(target.removeprefix("clip:").removeprefix("frame:") for target in targets)


def _is_spare(target: str, lock: Lock) -> bool:
    """Return whether this is another take of a clip or reference with an approved pick: it is not made any more."""
    kind, _, rest = target.partition(":")
    path, _, take = rest.partition("@")
    entry = lock.entries.get(f"reference:{path}" if kind == "reference" else path)
    return entry is not None and entry.is_frozen and take != str(entry.pick)


def _unsure(change: Change, project: Project, unspoken: frozenset[str]) -> Change:
    """Return the change as a maybe where the clip's length follows from a narration that is not spoken yet."""
    scene, _, id = change.clip.partition("/")
    if change.target.startswith(("frame:", "reference:")):
        return change
    if scene not in unspoken or change.kind not in ("create", "change"):
        return change
    clip = next(clip for clip in project.scene(scene).clips if clip.id == id)
    if clip.length.frames is not None:
        return change
    seconds = float(project.scene(scene).narration.seconds)
    return replace(change, kind="maybe", note=f"waits for narration:{scene}, estimated {seconds:.1f}s")


def _previous_key(node: Node, lock: Lock, mode: Mode, placed: Mapping[str, PublishedClip]) -> str | None:
    """Return the key this target had when it was last made: from the lock, or from the published file."""
    if mode == "render":
        drafts = [each.key for each in placed.values() if each.target == node.target and each.rank == RANKS["preview"]]
        if drafts and is_draft(node):
            return drafts[0]
        entry = lock.entries.get(node.entry) if node.kind != "frame" else None
        take = entry.takes.get(node.take) if entry else None
        return take.key if take else None
    stands = [stand for stand in placed.values() if stand.target == node.target]
    return stands[0].key if stands else None


SORTED_KINDS: Sequence[Kind] = ("create", "change", "maybe", "restore", "unchanged")
