"""Find the renditions that there are of each clip, and which of them is the best. Pure: the store is handed in.

What is published of a clip is the best that exists, in this order: the picked take of the current text (final), one in
a quality that stands in for it (draft), the picked take of an earlier text (stale), a slate. A stand-in is neither made
nor shown where something better exists, and a clip that continues another continues its final render where it has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, product
from typing import Literal

from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError
from ltxflow.core.target import Target
from ltxflow.core.timing import clip_file_name
from ltxflow.lock.model import Lock
from ltxflow.models.profile import Profile
from ltxflow.plan.evaluate import Enter, Lookup, Memo, Standing, Status, evaluate_node, render_ahead
from ltxflow.plan.graph import BuildGraph, build_graph
from ltxflow.project.model import Clip, Project
from ltxflow.project.settings import film_quality, in_quality
from ltxflow.steps import Node, ResolvedInputs, step
from ltxflow.store.traces import Trace

State = Literal["final", "draft", "stale", "slate", "missing"]
STATES: Sequence[State] = ("final", "draft", "stale", "slate", "missing")  # the best first
RANKS: Mapping[str, int] = {"animatic": 0, "preview": 1, "render": 2}  # of published files
SHOWN: Mapping[State, str] = {
    "final": "its final render is shown",
    "draft": "a draft is shown",
    "stale": "a take of an earlier text is shown",
    "slate": "a slate is shown",
}
MOST_WAYS = 16  # drafts of one clip that are looked for, each made from other renditions of what it continues

Held = Callable[[Status], Trace | None]


@dataclass(frozen=True)
class PublishedClip:
    """A file of ours in the output folder, just as we wrote it."""

    file: str
    digest: str
    target: str
    key: Key
    source: str
    rank: int
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def clip(self) -> str:
        return Target(self.target).path

    @property
    def take(self) -> int:
        return Target(self.target).take


@dataclass(frozen=True)
class Rendition:
    """One rendition of a clip, in the store with its trace, or only in the output folder.

    `status` is that of a trace of the current text.
    """

    state: State
    digest: str  # of the file that is published
    key: Key
    rank: int
    take: int
    source: str
    trace: Trace | None = None
    status: Status | None = None
    published: PublishedClip | None = None


@dataclass(frozen=True)
class Renditions:
    """The renditions of a clip that exist. `final`, `other` and `draft` are of the current text.

    `other` is the picked take in another final quality than the film asks for, `earlier` the picked take of an earlier
    text. `published` is the best file of the clip in the output folder, `in_place` the one under its name. `key` is
    that of the final render, made or not; None while it is not known.
    """

    take: int
    final: Status | None = None
    other: Status | None = None
    draft: Status | None = None
    earlier: Trace | None = None
    published: PublishedClip | None = None
    in_place: PublishedClip | None = None
    key: Key | None = None

    def best(self, slate: Status | None = None) -> Rendition | None:
        """Return what belongs in the clip's place; `slate` is that of the current text, where it is made."""
        known = self.published
        if (better := self.above_slate) is not None:
            return better
        if slate is not None and slate.trace is not None:
            return _rendition("slate", "animatic", 1, slate.trace, slate)
        return of_published(known, "stale" if known.rank else "slate") if known is not None else None

    @property
    def above_slate(self) -> Rendition | None:
        """Return the best rendition that is worth more than a slate."""
        known = self.published
        if self.final is not None and self.final.trace is not None:
            return _rendition("final", "render", self.take, self.final.trace, self.final)
        if self.other is not None and self.other.trace is not None:
            return _rendition("stale", "render", self.take, self.other.trace, self.other)
        if self.draft is not None and self.draft.trace is not None:
            return _rendition("draft", "preview", self.take, self.draft.trace, self.draft)
        if self.earlier is not None:
            return _rendition("stale", "render", self.take, self.earlier)
        if known is not None and known.rank == RANKS["render"]:
            return of_published(known, "final" if known.key == self.key else "stale")
        return None

    @property
    def state(self) -> State:
        """What the file in the clip's place is."""
        return "missing" if self.in_place is None else self.state_of(self.in_place)

    def state_of(self, there: PublishedClip) -> State:
        """Return what a published file of the clip is."""
        if there.rank == RANKS["animatic"]:
            return "slate"
        if _is_file(there.digest, self.final):
            return "final"
        if _is_file(there.digest, self.draft):
            return "draft"
        return "final" if there.rank == RANKS["render"] and there.key == self.key and self.final is None else "stale"


def _rendition(state: State, rank: str, take: int, trace: Trace, status: Status | None = None) -> Rendition:
    return Rendition(state, published_digest(trace), trace.key, RANKS[rank], take, trace.source, trace, status)


def of_published(known: PublishedClip, state: State) -> Rendition:
    return Rendition(state, known.digest, known.key, known.rank, known.take, known.source, published=known)


def _is_file(digest: str | None, status: Status | None) -> bool:
    """Return whether a file of this digest is what a status would publish."""
    return status is not None and status.trace is not None and digest == published_digest(status.trace)


def published_digest(trace: Trace) -> str:
    """Return the digest of the file that is published: the stripped one where there is one."""
    return (trace.outputs.get("published") or trace.outputs["video"]).digest


def pick_of(lock: Lock, name: str) -> int:
    """Return the number of the take that is in the cut, by the name of a clip or reference in the lock."""
    entry = lock.entries.get(name)
    return entry.pick if entry else 1


def is_stand_in(profile: Profile, clip: Clip) -> bool:
    """Return whether the quality of a clip only stands in for the final one."""
    return profile.qualities[str(clip.get("quality"))].stand_in


def is_draft(node: Node) -> bool:
    """Return whether a node makes a stand-in for the final render of a clip."""
    return node.kind == "clip" and bool(node.spec.preset.stand_in)


def counts(states: Iterable[State]) -> dict[str, int]:
    """Return how many clips are in each state, the best first; states without a clip are left out."""
    found = Counter(states)
    return {state: found[state] for state in STATES if found[state]}


Way = tuple[str, int]  # a quality, "" for that of the film, and which of the ways of `in_quality`


@dataclass(frozen=True)
class Finals:
    """Final renders that exist, by target; `others` are in another quality than the film asks for.

    `keys` are those of the ones that the film asks for, made or not, by the path of the clip.
    """

    made: Mapping[str, Status] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    keys: Mapping[str, Key] = field(default_factory=dict)


@dataclass(frozen=True)
class Finder:
    """Finds renders of clips in other qualities than the plan's.

    The fields are as in `make_plan`, `held` and `standing` as in `evaluate`.
    """

    project: Project
    lock: Lock
    inputs: ResolvedInputs
    lookup: Lookup
    held: Held
    standing: Standing
    known: Memo | None
    enter: Enter
    placed: Mapping[str, PublishedClip]

    @cached_property
    def rendered(self) -> frozenset[str]:
        """The paths of clips that may have final renders."""
        published = (each.clip for each in self.placed.values() if each.rank == RANKS["render"])
        return frozenset([*self.lock.entries, *published])

    @cached_property
    def shown(self) -> dict[str, str]:
        """The digests of published drafts, by the path of the clip."""
        return {each.clip: each.digest for each in self.placed.values() if each.rank == RANKS["preview"]}

    def finals(self, paths: Collection[str]) -> Finals:
        """Return the final renders of clips that exist.

        In another quality than the film's only the recorded take counts; where the film itself asks for a stand-in, any
        does, the recorded one first.
        """
        found: dict[str, Status] = {}
        keys: dict[str, Key] = {}
        others: set[str] = set()
        settled: set[str] = set()
        asked = {clip.path for clip in self.project.clips if clip.path in paths and not self._is_draft_film(clip)}
        left = {*paths} if self.rendered else set()
        for way in [("", 0), *self._ways(is_stand_in=False)]:
            wanted = left & asked if way == ("", 0) else left.intersection(self.rendered)
            for status in self._evaluate(way, wanted).values():
                path, target = status.node.clip, status.node.target
                if status.node.kind != "clip" or path not in wanted:
                    continue
                if way == ("", 0) and status.key is not None and status.node.take == pick_of(self.lock, path):
                    keys[path] = status.key
                is_exact = way == ("", 0) or path not in asked
                is_recorded = self._is_recorded(status)
                is_better = target not in found or (is_recorded and path not in asked)
                if status.state == "hit" and (is_exact or is_recorded) and is_better:
                    found[target] = status
                    others |= set() if is_exact else {target}
                    is_sure = is_recorded or path in asked
                    settled |= {path} if is_sure and status.node.take == pick_of(self.lock, path) else set()
            left -= settled
        return Finals(found, frozenset(others), keys)

    def drafts(self, paths: Collection[str], finals: Mapping[str, Status]) -> dict[str, Status]:
        """Return the drafts of clips that exist, by target; of several the one that is published.

        `finals` are the final renders that exist.
        """
        found: dict[str, Status] = {}
        left = {*paths}
        asked = {clip.path for clip in self.project.clips if clip.path in paths and self._is_draft_film(clip)}
        for way in [("", 0), *self._ways(is_stand_in=True)]:
            wanted = left & asked if way == ("", 0) else left
            for target, status in self._evaluate(way, wanted, finals).items():
                path = status.node.clip
                if path in wanted and (target not in found or _is_file(self.shown.get(path), status)):
                    found[target] = status
            picked = {path: found.get(Target.of("clip", path, pick_of(self.lock, path))) for path in left}
            left = {
                path
                for path, one in picked.items()
                if one is None or (path in self.shown and not _is_file(self.shown[path], one))
            }
        return found

    def with_upstream(self, paths: Collection[str]) -> set[str]:
        """Return the paths of clips and of all that they are made from."""
        by_path = {clip.path: clip for clip in self.project.clips}
        found = {*paths} & by_path.keys()
        todo = [*found]
        while todo:
            new = by_path[todo.pop()].upstream.keys() & by_path.keys() - found
            found |= new
            todo += new
        return found

    def _is_recorded(self, status: Status) -> bool:
        known = self.lock.take(status.node.clip, status.node.take)
        return known is not None and status.trace is not None and known.key == status.trace.key

    def _is_draft_film(self, clip: Clip) -> bool:
        """Return whether the film asks for a stand-in of this clip, whatever the command line does."""
        profile: Profile = self.project.profile
        return profile.qualities[film_quality(self.project, clip)].stand_in

    def _ways(self, *, is_stand_in: bool) -> list[Way]:
        """Return the ways in which a clip may have been made, the likeliest first."""
        profile: Profile = self.project.profile
        names = [name for name, quality in profile.qualities.items() if quality.stand_in == is_stand_in]
        first = [profile.default_quality] if profile.default_quality in names else []
        return [(name, number) for name in dict.fromkeys([*first, *names]) for number in (0, 1)]

    def _clip(self, way: Way, clip: Clip) -> Clip | None:
        """Return a clip made in a way; None where that equals the way before."""
        name, number = way
        ways = in_quality(self.project, clip, name or film_quality(self.project, clip))
        return ways[number] if number < len(ways) else None

    def _evaluate(
        self, way: Way, paths: Collection[str], finals: Mapping[str, Status] | None = None
    ) -> dict[str, Status]:
        """Return the statuses of clips that are made in a way, and of all that they need.

        With `finals` return those of the drafts that exist. A clip with an error in this quality has no status.
        """
        some = {clip.path for clip in self.project.clips if clip.path in paths and self._clip(way, clip) is not None}
        if not some:
            return {}
        needed = self.with_upstream(some)
        clips = {
            clip.path: self._clip(way, clip) or self._clip((way[0], 0), clip) or clip
            for clip in self.project.clips
            if clip.path in needed
        }
        try:
            return self._evaluate_film(clips, some, finals)
        except LtxflowError:
            if len(some) == 1:
                return {}
        found: dict[str, Status] = {}
        for path in sorted(some):  # what is wrong with one of them says nothing of the others
            found |= self._evaluate(way, {path}, finals)
        return found

    def _evaluate_film(
        self, clips: Mapping[str, Clip], paths: Collection[str], finals: Mapping[str, Status] | None
    ) -> dict[str, Status]:
        scenes = tuple(
            replace(scene, clips=tuple(clips.get(clip.path, clip) for clip in scene.clips))
            for scene in self.project.scenes
        )
        film = replace(self.project, scenes=scenes)
        inputs = replace(self.inputs, only=clips)
        nodes = [node for kind in ("reference", "frame", "clip") for node in step(kind).nodes(film, inputs)]
        graph = build_graph(nodes, [node.target for node in nodes if node.kind == "clip" and node.clip in paths])
        stand_ins = {path for path, clip in clips.items() if is_stand_in(film.profile, clip)}
        if finals is None and stand_ins:  # a film of both: what it asks to be drafts may be made already
            made = replace(self, project=film).finals(stand_ins).made
            return self.evaluate(graph, made, is_to_make=False)[0]
        found, drafts = self.evaluate(graph, finals or {}, is_to_make=False)
        return found if finals is None else drafts

    def evaluate(
        self,
        graph: BuildGraph,
        finals: Mapping[str, Status],
        force: frozenset[str] = frozenset(),
        *,
        is_to_make: bool = True,
    ) -> tuple[dict[str, Status], dict[str, Status]]:
        """Return the Status of every target of a graph, and of the drafts among them that exist.

        Where the final render of a clip exists (`finals`) that is its Status, and what continues it continues that. A
        draft that was made from a draft before is still one of the current text: whatever it may have been made from
        is tried.
        """
        waited_for = {need for target in graph.nodes for need in graph.needs(target)}
        new = {target: node for target, node in graph.nodes.items() if target not in finals}
        render_ahead(BuildGraph(new, ()), self.lookup, self.known, self.enter, is_to_make=is_to_make)
        found: dict[str, Status] = {}
        drafts: dict[str, Status] = {}
        ways: dict[str, list[Status]] = {}
        for target, node in graph.nodes.items():
            needs = graph.needs(target)
            if target in finals and target not in waited_for:
                found[target] = finals[target]
                continue
            self.enter(node)
            may_differ = is_draft(node) or node.kind == "frame"
            forced = target in force and target not in finals
            tried = islice(product(*(ways[need] for need in needs)), MOST_WAYS)
            made: list[Status] = []
            first: Status | None = None
            for before in tried:
                status = evaluate_node(
                    node,
                    dict(zip(needs, before, strict=True)),
                    self.lookup,
                    forced,
                    self.known,
                    is_to_make=is_to_make and first is None,
                )
                first = first or status
                made += [status] if status.state == "hit" else []
                if not may_differ:
                    break
            assert first is not None
            if is_draft(node):
                drafts |= {target: made[0]} if made else {}
                best = finals.get(target) or (made[0] if made else first)
            else:
                best = self._settled(first, {need: found[need] for need in needs}, target in force)
            found[target] = best
            ways[target] = [best, *(each for each in made if each is not best)]
        return found, drafts

    def _settled(self, status: Status, before: Mapping[str, Status], is_forced: bool) -> Status:
        trace = self.held(status)
        if trace is not None:
            return replace(status, state="hit", trace=trace)
        return status if is_forced else self.standing(status, before)


def find_renditions(
    finder: Finder,
    found: Mapping[str, Status],
    finals: Finals,
    drafts: Mapping[str, Status],
    *,
    is_sought: bool,
    has_drafts: bool,
) -> dict[str, Renditions]:
    """Return the renditions of the clips in a plan, by path.

    `found` are the statuses of the plan, `finals` and `drafts` what is known besides. Further drafts are looked for
    where one is published, and with `is_sought` wherever there is no final render, if the film `has_drafts`.
    """
    profile: Profile = finder.project.profile
    published: dict[str, PublishedClip] = {}
    for each in finder.placed.values():
        if each.clip not in published or published[each.clip].rank < each.rank:
            published[each.clip] = each
    nodes = {
        node.clip: node
        for node in (status.node for status in found.values())
        if node.kind == "slate" or (node.kind == "clip" and node.take == pick_of(finder.lock, node.clip))
    }
    known: dict[str, Renditions] = {}
    sought: set[str] = set()
    for scene in finder.project.scenes:
        for clip in (clip for clip in scene.clips if clip.path in nodes):
            target = Target.of("clip", clip.path, pick_of(finder.lock, clip.path))
            asked = None if is_stand_in(profile, clip) else found.get(target)
            made = asked if asked is not None and asked.state == "hit" else finals.made.get(target)
            there = finder.placed.get(clip_file_name(scene.index, clip.index))
            one = Renditions(
                target.take,
                final=made if target not in finals.others else None,
                other=made if target in finals.others else None,
                draft=drafts.get(target),
                published=published.get(clip.path),
                in_place=there if there is not None and there.clip == clip.path else None,
                key=asked.key if asked is not None else finals.keys.get(clip.path),
            )
            known[clip.path] = one
            is_shown = one.in_place is not None and one.in_place.rank == RANKS["preview"] and one.state != "draft"
            if is_shown or (is_sought and made is None):
                sought.add(clip.path)
    if sought and (has_drafts or finder.shown):
        if "clip" in {node.kind for node in nodes.values()}:  # in another final quality than the one that was asked for
            others = finder.finals(finder.with_upstream(sought)).made
            finals = Finals({**others, **finals.made}, finals.others | (others.keys() - finals.made.keys()))
        for status in finder.drafts(sought, finals.made).values():
            one, target = known[status.node.clip], status.node.target
            if status.node.take == one.take:
                other = finals.made.get(target) if target in finals.others and one.final is None else one.other
                known[status.node.clip] = replace(one, draft=status, other=other)
    for path, one in known.items():
        entry = finder.lock.entries.get(path)
        if entry is not None and entry.picked is not None and one.final is None and one.other is None:
            finder.enter(nodes[path])
            known[path] = replace(one, earlier=finder.lookup(entry.picked.key))
    return known
