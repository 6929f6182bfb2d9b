"""Any order of edits, builds of any quality, decisions and losses: what is published is what a small model says.

The model knows no key, no store and no plan. It writes down what was made, of which text and from what, and applies the
order of the stand-ins to that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness.command import Ran, environment
from harness.film import Film, Made, prompt
from harness.templates import templates_read_once
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CLIPS = ["hook/a", "hook/b", "hook/c", "end/a"]
UPSTREAM = {"hook/b": "hook/a", "hook/c": "hook/b"}  # by its last seconds, by its last frame
STARTS: dict[str, dict[str, Any]] = {"hook/b": {"extends": "a"}, "hook/c": {"reference": {"frame_of": "b"}}}
FREE = ["hook/a", "end/a"]
FINAL = ["distilled", "full"]
QUALITIES = st.sampled_from(["", "preview", "animatic", "", "preview", "animatic", "full"])  # "" is that of the film
Render = tuple[Any, ...]  # clip, quality, text, take, and what it was made from


@dataclass
class Model:
    """What a person knows of a film: its texts, what was rendered, what was decided, what is shown."""

    quality: str = "distilled"
    texts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLIPS, 0))
    made: set[Render] = field(default_factory=set)
    lock: dict[str, dict[int, Render]] = field(default_factory=lambda: {clip: {} for clip in CLIPS})
    picks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLIPS, 1))
    approved: set[str] = field(default_factory=set)
    shown: dict[str, Any] = field(default_factory=dict)  # a Render, or the text of a slate

    def recorded(self, clip: str) -> Render | None:
        return self.lock[clip].get(self.picks[clip])

    def wanted(self, clip: str, quality: str, source: Render | None, take: int | None = None) -> Render:
        return (clip, quality, self.texts[clip], take or self.picks[clip], source)

    def final(self, clip: str, quality: str) -> Render | None:
        """The picked take of the current text in a final quality, where it exists."""
        if clip in self.approved:
            return self.recorded(clip)
        source = self.final(UPSTREAM[clip], quality) if clip in UPSTREAM else None
        known = self.wanted(clip, quality, source)
        return known if known in self.made and (source or clip not in UPSTREAM) else None

    def best_final(self, clip: str) -> Render | None:
        """What the film asks for; else the picked take in another quality, or in any where it asks for previews."""
        if self.quality in FINAL and (own := self.final(clip, self.quality)):
            return own
        found = [one for name in FINAL if (one := self.final(clip, name))]
        recorded = [one for one in found if one == self.recorded(clip)]
        return next(iter([*recorded, *(found if self.quality not in FINAL else [])]), None)

    def drafts(self, clip: str) -> list[Render]:
        sources: list[Render | None] = [None]
        if clip in UPSTREAM:
            best = self.best_final(UPSTREAM[clip])
            sources = [*([best] if best else []), *self.drafts(UPSTREAM[clip])]
        return [one for source in sources if (one := self.wanted(clip, "preview", source)) in self.made]

    def best(self, clip: str) -> Any:
        """The best that exists, in the order of the stand-ins; None for a slate."""
        found = [self.best_final(clip), *self.drafts(clip), self.recorded(clip)]
        return next((one for one in found if one), None)

    def state(self, clip: str) -> str:
        """What a file that is shown is, by the texts of now."""
        there, final = self.shown[clip], self.best_final(clip)
        if not isinstance(there, tuple):
            return "slate"
        if there == final:
            is_asked = self.quality not in FINAL or there[1] == self.quality or clip in self.approved
            return "final" if is_asked else "stale"
        return "draft" if there in self.drafts(clip) else "stale"

    def build(self, quality: str, clips: Sequence[str]) -> set[str]:
        """Make what is missing of the picked takes, and show the best of each clip; return what was rendered."""
        ran = set()
        for clip in clips:
            if quality in FINAL and clip not in self.approved:
                source = self.final(UPSTREAM[clip], quality) if clip in UPSTREAM else None
                ran |= self._make(self.wanted(clip, quality, source))
            elif quality == "preview" and not self.best_final(clip) and not self.drafts(clip):
                before = UPSTREAM.get(clip)
                source = (self.best_final(before) or self.drafts(before)[0]) if before else None
                ran |= self._make(self.wanted(clip, quality, source))
        was, self.quality = self.quality, quality if quality in FINAL else self.quality
        for clip in clips:
            best = self.best(clip)
            if best or quality == "animatic":
                self.shown[clip] = best or self.texts[clip]
        self.quality = was
        return ran

    def _make(self, render: Render) -> set[str]:
        clip, quality, _, take, _ = render
        if quality in FINAL:
            self.lock[clip][take] = render
        if render in self.made:
            return set()
        self.made.add(render)
        return {f"{clip}@{take}"}


@dataclass
class Compared:
    """A film and its model; every build is compared with its plan and with the model."""

    film: Film
    model: Model = field(default_factory=Model)
    keys: Counter[str] = field(default_factory=Counter)
    files: dict[Any, str] = field(default_factory=dict)  # what is shown → its digest
    told: list[str] = field(default_factory=list)

    def run(self, *argv: str) -> Ran:
        with environment(self.film.home):
            return self.film.run(*argv)

    def make(self, *argv: str) -> Made:
        """Build, and count the keys that were rendered."""
        made = self.film.make(*argv)
        assert made.done.code == 0, self.why(made.done)
        ended = made.done.events("action-finished")
        self.keys.update(e["key"] for e in ended if e["outcome"] == "rendered" and e["target"].startswith("clip:"))
        assert max(self.keys.values(), default=1) == 1, self.why(self.keys)
        return made

    def why(self, what: Any) -> str:
        return f"{what}\n" + "\n".join(self.told)

    def write(self) -> None:
        scenes: dict[str, list[dict[str, Any]]] = {"hook": [], "end": []}
        for clip in CLIPS:
            scene, _, id = clip.partition("/")
            words = prompt(f"{scene}-{id}", f"turns {self.model.texts[clip]} times")
            scenes[scene].append({"id": id, "prompt": words, **STARTS.get(clip, {})})
        self.film.write_data(
            {
                "ltxflow": 1,
                "id": "tiny",
                "size": "128x128",
                "quality": self.model.quality,
                "defaults": {"clip": {"length": "97f"}, "scene": {"crossfade": "0f"}},
                "scenes": [{"id": scene, "clips": clips} for scene, clips in scenes.items()],
            }
        )

    def play(self, quality: str, program: Sequence[tuple[Any, ...]]) -> None:
        self.model.quality = quality
        self.write()
        self.build("")
        for what, *arguments in program:
            getattr(self, what)(*arguments)

    def edit(self, clip: str, text: int, quality: str) -> None:
        self.told.append(f"edit {clip} to {text}")
        self.model.texts[clip] = text
        self.write()
        self.build(quality)

    def set_quality(self, quality: str, then: str) -> None:
        self.told.append(f"the film asks for {quality}")
        self.model.quality = quality
        self.write()
        self.build(then)

    def edit_and_build_alone(self, clip: str, text: int, quality: str) -> None:
        self.told.append(f"edit {clip} to {text}")
        self.model.texts[clip] = text
        self.write()
        self.build(quality, clip)

    def build(self, quality: str, clip: str | None = None) -> None:
        asked = quality or self.model.quality
        option = {"": [], "animatic": ["--animatic"]}.get(quality, ["--quality", quality])
        argv = [*([clip] if clip else []), *option]
        self.told.append(f"build {' '.join(argv)}")
        lock = self.film.lock_file.read_bytes() if self.film.lock_file.exists() else b""
        plan = self.run("plan", "--json", "--exit-code", *argv)
        kinds: dict[str, set[str]] = {}
        for change in plan.data["changes"]:
            kinds.setdefault(change["kind"], set()).add(change["target"].partition(":")[2])
        due, maybe = kinds.get("create", set()) | kinds.get("change", set()), kinds.get("maybe", set())
        restore = kinds.get("restore", set())
        assert plan.code == (5 if due | maybe | restore else 0), self.why(plan)
        made = self.make(*argv)
        assert due <= made.rendered <= due | maybe, self.why((due, maybe, made.rendered))
        assert len(restore) <= made.done.totals["restored"] <= len(restore | maybe), self.why(made.done.totals)
        expected = self.model.build(asked, [clip] if clip else CLIPS)
        assert asked == "animatic" or made.rendered == expected, self.why((made.rendered, expected))
        self.is_shown(asked)
        if asked not in FINAL:
            assert lock == (self.film.lock_file.read_bytes() if self.film.lock_file.exists() else b""), self.why("lock")
        self.is_settled(argv)

    def is_settled(self, argv: Sequence[str]) -> None:
        files = self.film.published()
        again = self.run("plan", "--exit-code", *argv)
        assert again.code == 0, self.why(again.out)
        made = self.make(*argv)
        assert (made.rendered, made.done.totals["restored"]) == (set(), 0), self.why(made.done.totals)
        assert self.film.published() == files, self.why("the second build writes")

    def is_shown(self, asked: str) -> None:
        """The timeline has the states that the model has, and every file is the one it was before."""
        was = self.model.quality
        self.model.quality = asked if asked in FINAL else was
        for scene in self.film.timeline["scenes"]:
            for clip in scene["clips"]:
                path = f"{scene['id']}/{clip['id']}"
                expected = self.model.state(path) if path in self.model.shown else None
                assert clip["state"] == expected, self.why((path, clip["state"], expected))
                assert clip["isStale"] == (expected == "stale") or expected == "slate", self.why(clip)
                assert clip["isStandIn"] == (expected in ("draft", "slate") or self._is_preview(path)), self.why(clip)
                if isinstance(self.model.shown.get(path), tuple):
                    known = self.files.setdefault(self.model.shown[path], clip["sha256"])
                    assert clip["sha256"] == known, self.why((path, self.model.shown[path]))
        self.model.quality = was
        if asked == was or asked not in FINAL:
            states = {row["clip"]: row["state"] for row in self.run("status", "--json").data["clips"]}
            expected_states = {
                clip: self.model.state(clip) if clip in self.model.shown else "missing" for clip in CLIPS
            }
            assert states == expected_states, self.why(states)

    def _is_preview(self, path: str) -> bool:
        there = self.model.shown.get(path)
        return isinstance(there, tuple) and there[1] == "preview"

    def retake(self, clip: str, quality: str) -> None:
        """One more take, which is then in the cut."""
        model = self.model
        if model.quality in FINAL and clip not in model.approved:
            take = max(model.lock[clip], default=1) + 1
            self.told.append(f"one more take of {clip}")
            assert self.make(f"{clip}@{take}", "--takes", str(take)).rendered == {f"{clip}@{take}"}
            model._make(model.wanted(clip, model.quality, None, take))
            self.pick(clip, -1, quality)

    def pick(self, clip: str, at: int, quality: str) -> None:
        takes = sorted(self.model.lock[clip])
        if takes:
            take = takes[at % len(takes)]
            self.told.append(f"pick {clip}@{take}")
            assert self.run("pick", f"{clip}@{take}").code == 0
            if take != self.model.picks[clip]:
                self.model.approved.discard(clip)
            self.model.picks[clip] = take
        self.build(quality)

    def decide(self, clip: str, verb: str, quality: str) -> None:
        if self.model.recorded(clip):
            self.told.append(f"{verb} {clip}")
            assert self.run(verb, clip).code == 0
            self.model.approved.add(clip) if verb == "approve" else self.model.approved.discard(clip)
        self.build(quality)

    def lose_public(self, quality: str) -> None:
        self.told.append("public is lost")
        shutil.rmtree(self.film.public)
        self.model.shown.clear()
        self.build(quality)

    def gc(self, quality: str) -> None:
        self.told.append("gc")
        assert self.run("cache", "gc", "--yes").code == 0
        self.build(quality)


TEXTS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(CLIPS), TEXTS, QUALITIES),
    st.tuples(st.just("edit"), st.sampled_from(CLIPS), TEXTS, st.just("preview")),
    st.tuples(st.just("edit"), st.sampled_from(CLIPS), TEXTS, st.just("animatic")),
    st.tuples(st.just("edit_and_build_alone"), st.sampled_from(FREE), TEXTS, QUALITIES),
    st.tuples(st.just("build"), QUALITIES),
    st.tuples(st.just("build"), st.just("")),
    st.tuples(st.just("set_quality"), st.sampled_from(["distilled", "preview", "full"]), QUALITIES),
    st.tuples(st.just("retake"), st.sampled_from(FREE), QUALITIES),
    st.tuples(st.just("pick"), st.sampled_from(FREE), st.integers(0, 2), QUALITIES),
    st.tuples(st.just("decide"), st.sampled_from(CLIPS), st.sampled_from(["approve", "reject"]), QUALITIES),
    st.tuples(st.just("lose_public"), QUALITIES),
    st.tuples(st.just("gc"), QUALITIES),
)
PROGRAMS = {"quality": st.sampled_from(["distilled", "preview"]), "program": st.lists(STEPS, min_size=10, max_size=12)}
USUAL: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def play(quality: str, program: Sequence[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory(prefix="drafts-") as root, templates_read_once():
        Compared(Film.at(Path(root))).play(quality, program)


@settings(derandomize=True, max_examples=8, phases=[Phase.generate], **USUAL)
@given(**PROGRAMS)
def test_what_is_published_is_the_best_that_exists(quality: str, program: Sequence[tuple[Any, ...]]) -> None:
    play(quality, program)


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("WORLDS", "150")), print_blob=True, **USUAL)
@given(**PROGRAMS)
def test_what_is_published_is_the_best_that_exists_in_a_long_campaign(
    quality: str, program: Sequence[tuple[Any, ...]]
) -> None:
    play(quality, program)
