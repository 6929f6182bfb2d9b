"""A film, a store and a server, and everything that may happen to them in any order; after each, what must hold.

Random programs drive it (test_never_wrong.py), and the short ones that are left of those that found something.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import oracle
import pytest
from fakes.comfyui import FakeProcess
from oracle import Verdict

from harness.command import Ran, environment, run
from harness.crashing import at_each_write
from harness.data import Data, dump
from harness.files import COARSE_NS
from harness.film import OnDisk
from harness.media import canned, write_picture
from ltxflow.cli.main import main
from ltxflow.core.digest import digest_file
from ltxflow.core.errors import LtxflowError
from ltxflow.project import reader
from ltxflow.steps import step
from ltxflow.store import snapshot

DEAD = "http://127.0.0.1:9"  # the discard port: nobody listens
KINDS_STALE, KINDS_THERE = ("create", "change"), ("restore", "unchanged")
Edit = Callable[[Data, int, int], None]
ASKED = (("plan",), ("plan", "--animatic"), ("status",))


def _clip(id: str, words: str = "turns") -> Data:
    text = (
        f"A brass key {words} in a lock of {id} while dust drifts by and the camera pushes slowly past; metal clicks."
    )
    return {"id": id, "prompt": text, "length": "9f"}


def first_film(seed: int) -> Data:
    return {
        "ltxflow": 1,
        "id": "tiny",
        "title": "Tiny",
        "size": "128x128",
        "seed": seed,
        "scenes": [
            {"id": "hook", "crossfade": "0f", "clips": [{**_clip("a"), "reference": "refs/one.png"}, _clip("b")]},
            {"id": "end", "narration": "0.6s", "pad": "0s", "clips": [{**_clip("a"), "length": "auto"}]},
        ],
    }


# --- edits: each changes the data in its place; `at` and `value` choose where and to what


def _scene(data: Data, at: int) -> Data:
    scene: Data = data["scenes"][at % len(data["scenes"])]
    return scene


def _of(data: Data, at: int) -> Data:
    clips = [clip for scene in data["scenes"] for clip in scene["clips"]]
    chosen: Data = clips[at % len(clips)]
    return chosen


def _path(data: Data, at: int) -> tuple[Data, Data]:
    pairs = [(scene, clip) for scene in data["scenes"] for clip in scene["clips"]]
    return pairs[at % len(pairs)]


def setting(name: str, *values: Any) -> Edit:
    """An edit that gives a clip's setting one of these values, or takes it away."""

    def edit(data: Data, at: int, value: int) -> None:
        chosen = (*values, None)[value % (len(values) + 1)]
        clip = _of(data, at)
        clip.pop(name, None) if chosen is None else clip.__setitem__(name, copy.deepcopy(chosen))

    return edit


def top(name: str, *values: Any) -> Edit:
    def edit(data: Data, at: int, value: int) -> None:
        data[name] = copy.deepcopy(values[value % len(values)])

    return edit


def in_scene(name: str, *values: Any) -> Edit:
    def edit(data: Data, at: int, value: int) -> None:
        chosen = (*values, None)[value % (len(values) + 1)]
        scene = _scene(data, at)
        scene.pop(name, None) if chosen is None else scene.__setitem__(name, copy.deepcopy(chosen))

    return edit


def edit_prompt(data: Data, at: int, value: int) -> None:
    clip = _of(data, at)
    clip["prompt"] = _clip("a", ("turns", "spins", "falls", "glows")[value % 4])["prompt"]


def edit_seed(data: Data, at: int, value: int) -> None:
    _of(data, at)["seed"] = data["seed"] * 10 + value % 2


def add_clip(data: Data, at: int, value: int) -> None:
    scene = _scene(data, at)
    free = next(id for id in "abcdefghijkl" if id not in {clip["id"] for clip in scene["clips"]})
    scene["clips"].insert(value % (len(scene["clips"]) + 1), _clip(free))


def drop_clip(data: Data, at: int, value: int) -> None:
    scene = _scene(data, at)
    if len(scene["clips"]) > 1:
        scene["clips"].pop(value % len(scene["clips"]))


def add_scene(data: Data, at: int, value: int) -> None:
    known = {scene["id"] for scene in data["scenes"]}
    free = next(f"new{n}" for n in count() if f"new{n}" not in known)
    if len(known) < 4:
        data["scenes"].insert(at % (len(known) + 1), {"id": free, "clips": [_clip("a")]})


def drop_scene(data: Data, at: int, value: int) -> None:
    if len(data["scenes"]) > 1:
        data["scenes"].pop(at % len(data["scenes"]))


def reorder_scenes(data: Data, at: int, value: int) -> None:
    data["scenes"].insert(value % len(data["scenes"]), data["scenes"].pop(at % len(data["scenes"])))


def reorder_clips(data: Data, at: int, value: int) -> None:
    clips = _scene(data, at)["clips"]
    clips.insert(value % len(clips), clips.pop(0))


def _rename(data: Data, at: int, value: int, is_told: bool) -> None:
    scene, clip = _path(data, at)
    ids = {other["id"] for other in scene["clips"]}
    new = next(f"r{n}" for n in count() if f"r{n}" not in ids)
    old, clip["id"] = clip["id"], new
    for other in (c for s in data["scenes"] for c in s["clips"]):
        for named in (other.get("extends"), (_picture(other) or {}).get("frame_of")):
            if named and other in scene["clips"] and named["clip"] == old:
                named["clip"] = new
            elif named and named["clip"] == f"{scene['id']}/{old}":
                named["clip"] = f"{scene['id']}/{new}"
    if is_told:
        data["moved"] = [*data.get("moved", []), {"from": f"{scene['id']}/{old}", "to": f"{scene['id']}/{new}"}]


def rename(data: Data, at: int, value: int) -> None:
    _rename(data, at, value, False)


def move(data: Data, at: int, value: int) -> None:
    _rename(data, at, value, True)


def drop_moved(data: Data, at: int, value: int) -> None:
    data.pop("moved", None)


def extend(data: Data, at: int, value: int) -> None:
    scene, clip = _path(data, at)
    others = [other for other in scene["clips"] if other is not clip]
    if others and "extends" not in clip:
        clip["extends"] = {"clip": others[value % len(others)]["id"], "frames": 1 + 8 * (value % 2)}
        clip["length"] = "17f"
    else:
        clip.pop("extends", None)


def _picture(clip: Data) -> Data | None:
    found = clip.get("reference")
    return found if isinstance(found, dict) else None


def start_from_a_frame(data: Data, at: int, value: int) -> None:
    clip = _of(data, at)
    others = [
        f"{scene['id']}/{other['id']}" for scene in data["scenes"] for other in scene["clips"] if other is not clip
    ]
    if others:
        clip["reference"] = {
            "frame_of": {"clip": others[value % len(others)], "at": ("last", "first", "4f")[value % 3]}
        }


EDITS: dict[str, Edit] = {
    "frame": start_from_a_frame,
    "prompt": edit_prompt,
    "seed": edit_seed,
    "no seed": setting("seed"),
    "reference": setting("reference", "refs/one.png", "refs/two.png", {"image": "refs/one.png", "strength": 0.5}),
    "negative": setting("negative", "blur"),
    "takes": setting("takes", 2, 3),
    "length": setting("length", "9f", "17f", "auto"),
    "steps": setting("steps", 4, 6),
    "quality": setting("quality", "preview", "distilled"),
    "gain": setting("gain", "-6dB"),
    "film seed": top("seed", 1, 2),
    "title": top("title", "Tiny", "Other"),
    "fps": top("fps", 24, 25),
    "narration": in_scene("narration", "0.5s", "0.9s", "1.3s"),
    "pad": in_scene("pad", "0s", "0.3s"),
    "crossfade": in_scene("crossfade", "0f", "4f"),
    "add clip": add_clip,
    "drop clip": drop_clip,
    "add scene": add_scene,
    "drop scene": drop_scene,
    "reorder scenes": reorder_scenes,
    "reorder clips": reorder_clips,
    "rename": rename,
    "move": move,
    "drop moved": drop_moved,
    "extends": extend,
}


# --- the world


_worlds = count(1)


@dataclass(kw_only=True)
class World(OnDisk):
    """One film with all that belongs to it. Every method is one thing that a person, or fate, does."""

    server: FakeProcess
    data: Data = field(default_factory=dict)
    revisions: list[tuple[Data, bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # what happened, to read when something is wrong
    excused: set[str] = field(default_factory=set)  # keys that were lost or given up: made again, and rightly so

    versions: dict[str, str] = field(default_factory=dict)  # of steps, where they were raised

    _agreed: tuple[int, Verdict | None] | None = None

    def __post_init__(self) -> None:
        self.code.mkdir()
        number = next(_worlds)
        self.data = first_film(number * 100)
        self._write()
        self.picture("one", 0)
        self.picture("two", 0)
        self._before = self.finished()

    @property
    def code(self) -> Path:
        """What stands for the folder of ltxflow's own sources."""
        return self.root / "code"

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The world's own store, settings and code. A file is old after 10 ms."""
        with environment(self.home), pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshot, "PACKAGE", str(self.code))
            patch.setattr(snapshot, "RACY_NS", COARSE_NS)
            patch.setattr(reader, "RACY_NS", COARSE_NS)
            for kind, version in self.versions.items():
                patch.setattr(step(kind), "VERSION", version)
            yield

    def run(self, *argv: str, folder: Path | None = None) -> Ran:
        with self.environment():
            return run(*argv, "-p", str(folder or self.folder))

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(dump(self.data))

    # What a person does to the files

    def edit(self, what: str, at: int = 0, value: int = 0) -> bool:
        """Change the film; what is no film is told with its place, and taken back."""
        before = copy.deepcopy(self.data)
        EDITS[what](self.data, at, value)
        if what == "film seed":
            self.data["seed"] += before["seed"] // 100 * 100
        self._write()
        self.told.append(f"edit {what} {at} {value}")
        done = self.run("plan", "--json")
        problems = done.envelope["problems"]
        if done.code == 2:
            assert problems, done
            assert all(problem["message"] for problem in problems)
            self.data = before
            self._write()
            return False
        assert done.code in (0, 1), done
        return True

    def picture(self, name: str, value: int) -> None:
        """Paint a picture anew: 0 and 1 are pictures of the same size in bytes."""
        write_picture(self.folder / f"refs/{name}.png", ((90, 80, 10), (10, 80, 90), (10, 20, 30))[value % 3])
        self.told.append(f"picture {name} {value}")

    def commit(self) -> None:
        lock = self.lock_file.read_bytes() if self.lock_file.exists() else b""
        self.revisions.append((copy.deepcopy(self.data), lock))

    def checkout(self, at: int) -> None:
        """`git checkout` of an earlier revision: the film and its lock."""
        if not self.revisions:
            return
        data, lock = self.revisions[at % len(self.revisions)]
        self.data = copy.deepcopy(data)
        self._write()
        self.lock_file.write_bytes(lock) if lock else self.lock_file.unlink(missing_ok=True)
        self.told.append(f"checkout {at}")

    def say(self, verb: str, at: int = 0, take: int = 1) -> Ran:
        """A word on a take. It may be refused, never in silence."""
        scene, clip = _path(self.data, at)
        target = f"{scene['id']}/{clip['id']}@{take}"
        before = {t.key for e in self.lock.entries.values() for t in e.takes.values()}
        argv = [verb, target]
        if verb == "pin":
            file = self.root / "mine.mp4"
            file.write_bytes(canned(9, (128, 128), self.data.get("fps", 25), f"mine {at}"))
            argv.append(str(file))
        done = self.run(*argv, "--json")
        self.told.append(f"{verb} {target}: {done.code}")
        assert done.code in (0, 1, 2), done
        assert done.code == 0 or done.envelope["problems"], done
        if verb == "forget" and done.code == 0:
            self.excused |= before
        return done

    # What fate does

    def lose(self, what: str, at: int = 0) -> None:
        """Something is gone: the index, what the machine remembers with the published tree, a blob, the store."""
        self.told.append(f"lose {what} {at}")
        if what == "index":
            shutil.rmtree(self.store / "index", ignore_errors=True)
        elif what == "clone":
            shutil.rmtree(self.folder / ".ltxflow", ignore_errors=True)
            shutil.rmtree(self.folder / "public", ignore_errors=True)
        elif what == "published":
            self._unlink(sorted((self.folder / "public").rglob("*.mp4")), at)
        elif what in ("blob", "trace"):
            pattern = "cas/??/*" if what == "blob" else "traces/??/*.json"
            self.excused |= set(self._keys())
            self._unlink(sorted(self.store.glob(pattern)), at)
        elif what == "store" and self.store.exists():
            away = self.root / "away"
            self.store.rename(away)
            self.agree()
            shutil.rmtree(self.store, ignore_errors=True)
            away.rename(self.store)
            self.told.append("the store is back")

    def _unlink(self, paths: list[Path], at: int) -> None:
        if paths:
            paths[at * 7 % len(paths)].unlink()

    def _keys(self) -> Iterator[str]:
        return (path.stem for path in self.store.glob("traces/??/*.json"))

    # What the program does

    def judge(self, mode: Any = "render") -> Verdict:
        with self.environment():
            return oracle.judge(self.folder, self.store, self.config, self.root / "work" / "apart", mode)

    def agree(self) -> Verdict | None:
        """The plan says what the oracle says, however it was asked; None where the film cannot be looked at."""
        if self._agreed is None or self._agreed[0] != len(self.told):  # else nothing happened since
            self._agreed = (len(self.told), self._agree())
        return self._agreed[1]

    def _agree(self) -> Verdict | None:
        done = self.run("plan", "--json")
        try:
            verdict = self.judge()
        except LtxflowError:
            assert done.code in (1, 2), self._why(done)
            return None
        if verdict.lost:
            assert done.code == 1, self._why(done)
            assert {p["code"] for p in done.envelope["problems"]} == {"U031"}
            return verdict
        assert done.code == 0, self._why(done)
        changes = {change["target"]: change for change in done.data["changes"]}
        stale = {target for target, change in changes.items() if change["kind"] in KINDS_STALE}
        assert stale == set(verdict.stale), self._why(verdict)
        assert {t for t, c in changes.items() if c["kind"] in KINDS_THERE} == set(verdict.there), self._why(verdict)
        assert {t for t, c in changes.items() if c["kind"] == "maybe"} == verdict.unsure, self._why(verdict)
        assert all(changes[target]["key"] == key for target, key in verdict.stale.items())
        for change in changes.values():
            reasons = change["reasons"]
            assert not reasons or change["kind"] == "change" or change["note"], self._why(change)
            assert change["kind"] != "change" or reasons or change["note"], self._why(change)
        self.caches_agree()
        return verdict

    def caches_agree(self) -> None:
        """What is answered with all that was kept before what happened last is answered with nothing kept."""
        quick = [self.run(*verb) for verb in ASKED]
        kept = [self.folder / ".ltxflow/snapshots", self.store / "memory"]
        for number, folder in enumerate(kept):
            if folder.exists():
                folder.rename(self.root / f"kept{number}")
        slow = [self.run(*verb) for verb in ASKED]
        for number, folder in enumerate(kept):
            shutil.rmtree(folder, ignore_errors=True)
            if (self.root / f"kept{number}").exists():
                (self.root / f"kept{number}").rename(folder)
        assert quick == slow, self._why(slow)

    def revise(self, kind: str) -> None:
        """Raise the version of a step, as who works on ltxflow does: its sources change, too."""
        self.versions[kind] = str(int(self.versions.get(kind, "50")) + 1)
        self.told.append(f"revise {kind}")
        (self.code / f"{kind}.py").write_text(self.versions[kind])

    def build(self, *argv: str) -> None:
        """Render. What is made is what the oracle named, nothing else; then nothing is left to do."""
        verdict = self.agree()
        self.told.append("build")
        if verdict is None:
            return
        known = set(self._keys())
        done = self.run("build", "--json", "--server", self.server.url, *argv)
        if verdict.lost:
            assert done.code == 1, self._why(done)
            return
        assert done.code == 0, self._why(done)
        finished = [event for event in done.events("action-finished") if not event["target"].startswith("frame:")]
        rendered = {event["target"]: event for event in finished if event["outcome"] in ("rendered", "resumed")}
        keys = {event["key"] for event in rendered.values()}
        assert keys >= set(verdict.stale.values()), self._why(verdict)
        assert set(rendered) <= {*verdict.stale, *verdict.unsure}, self._why(rendered)
        assert not keys & known or keys & known <= self.excused, self._why(rendered)
        self.is_settled()

    def is_settled(self) -> None:
        """After a build: nothing is left to do, and what is published is what anybody would publish."""
        after = self.agree()
        assert after is not None
        assert not after.stale, self._why(after)
        assert not after.unsure, self._why(after)
        again = self.run("build", "--json", "--server", DEAD)
        assert again.code == 0, self._why(again)
        assert again.totals["rendered"] == again.totals["restored"] == 0, self._why(again)
        if not any(clip.get("quality") == "preview" for scene in self.data["scenes"] for clip in scene["clips"]):
            self._as_elsewhere()  # a preview takes no render's place, but an empty one
        self._never_twice()

    def _as_elsewhere(self) -> None:
        other = self.root / "work" / "other"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(self.folder, other, ignore=shutil.ignore_patterns(".ltxflow", "public"))
        done = self.run("build", "--json", "--server", DEAD, folder=other)
        assert done.code == 0, self._why(done)
        assert done.totals["rendered"] == 0, self._why(done)
        ours, theirs = _tree(self.folder / "public"), _tree(other / "public")
        orphans = {f"scenes/{name}" for name in self.run("plan", "--json").data["orphans"]}
        assert {k: v for k, v in ours.items() if k in theirs} == theirs, self._why(sorted(theirs))
        assert set(ours) - set(theirs) <= {p for p in ours if p in orphans or not p.endswith(".mp4")}, self._why(ours)
        lock = (other / "ltxflow.lock").read_bytes() if (other / "ltxflow.lock").exists() else b""
        assert lock == (self.lock_file.read_bytes() if self.lock_file.exists() else b""), self._why(lock)

    def _never_twice(self) -> None:
        done = self.finished() - self._before
        twice = {key for key, times in done.items() if times > 1}
        assert twice <= {key[:16] for key in self.excused}, self._why(twice)

    def finished(self) -> Counter[str]:
        """How often each key was rendered, as the server tells it."""
        runs = [run for run in self.server.stats()["runs"] if run["outcome"] == "success" and run["prefixes"]]
        names = (re.match(r"ltxflow/([0-9a-f]{16})-", run["prefixes"][0]) for run in runs)
        return Counter(found[1] for found in names if found)

    def animatic(self) -> None:
        """Slates where nothing better stands; no word of it in the lock, and no render replaced."""
        lock = self.lock_file.read_bytes() if self.lock_file.exists() else None
        renders = self._published("render")
        done = self.run("build", "--animatic", "--json")
        self.told.append(f"animatic {done.code}")
        assert done.code in (0, 1, 2), self._why(done)
        assert lock == (self.lock_file.read_bytes() if self.lock_file.exists() else None)
        if done.code == 0:
            after = self._published("render")
            assert {clip: after[clip] for clip in renders if clip in after} == {c: renders[c] for c in after}
            again = self.run("build", "--animatic", "--json")
            assert again.totals["rendered"] == again.totals["restored"] == 0, self._why(again)

    def _published(self, source: str) -> dict[str, str]:
        file = self.folder / "public/scenes/timeline.json"
        told = json.loads(file.read_text()) if file.exists() else {"scenes": []}
        return {
            f"{scene['id']}/{clip['id']}": clip["sha256"]
            for scene in told["scenes"]
            for clip in scene["clips"]
            if clip["source"] == source
        }

    def unreachable(self) -> None:
        """A build without a server changes nothing that was there."""
        verdict = self.agree()
        self.told.append("unreachable")
        if verdict is None or verdict.lost:
            return
        lock = self.lock_file.read_bytes() if self.lock_file.exists() else b""
        done = self.run("build", "--json", "--server", DEAD, "--patience", "0s")
        assert done.code in ((4,) if verdict.stale else (0, 4) if verdict.unsure else (0,)), self._why(done)
        if done.code:
            assert lock == (self.lock_file.read_bytes() if self.lock_file.exists() else b"")
        else:
            self.is_settled()

    def interrupted(self, how: str, after: int) -> None:
        """A build that ends at its n-th write: killed, or by Ctrl-C; what is there then is whole."""
        self.told.append(f"{how} after {after} writes")
        process = os.fork()
        if process == 0:
            self._be_a_build(how, after)
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in ((-signal.SIGKILL,) if how == "kill" else (130,)) or code in (0, 1, 2), code
        file = self.folder / "public/scenes/timeline.json"
        told = json.loads(file.read_text()) if file.exists() else {"scenes": [], "complete": False}
        for clip in (clip for scene in told["scenes"] for clip in scene["clips"] if told["complete"]):
            place = self.folder / "public" / clip["src"]  # it may be lost: no timeline knows of that
            assert not place.exists() or digest_file(place) == clip["sha256"], f"{place} is not what the timeline says"
        self.agree()

    def _be_a_build(self, how: str, after: int) -> None:
        code = 3
        try:
            numbers = count()

            def before(op: str, path: Path) -> None:
                if next(numbers) == after:
                    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGINT)

            signal.signal(signal.SIGINT, signal.default_int_handler)
            with at_each_write(before), self.environment(), open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 1)
                os.dup2(null.fileno(), 2)
                code = main(["build", "--json", "--server", self.server.url, "-p", str(self.folder)])
        finally:
            os._exit(code)

    def _why(self, what: Any) -> str:
        return f"{what}\n\n" + "\n".join(self.told)


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
