"""The quick ways are exactly as right as the slow ones: after every mutation both give the same answer.

There are two: an answer that is given again while all it rests on is unchanged (`.ltxflow/snapshots`), and what is
remembered of pictures, keys and traces (`memory/` in the store). Each mutation is asked about with both, and again
with neither.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.files import COARSE_NS, same_but, settle
from harness.film import Film
from harness.media import write_picture, write_sound

from ltxflow.cli import answer_cache
from ltxflow.project import reader
from ltxflow.steps import clip as clip_step
from ltxflow.store import snapshot


@pytest.fixture
def film(film: Film, monkeypatch: pytest.MonkeyPatch) -> Film:
    """A film with pictures, a narration and a clip that goes on from another; rendered, published, and looked at."""
    monkeypatch.setattr(snapshot, "RACY_NS", COARSE_NS)
    monkeypatch.setattr(reader, "RACY_NS", COARSE_NS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(film.folder.parents[1] / "config"))
    for name in ("COMFY_URL", "FORCE_COLOR"):  # what a mutation sets is gone after it
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    write_picture(film.folder / "refs/key.png", (200, 150, 40), (128, 128), compress_level=0)
    write_picture(film.folder / "refs/door.png", (20, 50, 140), (128, 128), compress_level=0)
    (film.folder / "refs/link.png").symlink_to("door.png")
    write_sound(film.folder / "hook.wav", 6)
    text = film.file.read_text().replace("narration: 6s", "narration: {file: hook.wav}")
    for clip, name in (("hook-a", "key"), ("middle-a", "link")):
        at = text.index(f"for {clip};")
        line_end = text.index("\n", at)
        text = f"{text[:line_end]}\n        reference: refs/{name}.png{text[line_end:]}"
    film.file.write_text(text)
    film.render()
    assert film.run("build").code == 0
    settle()
    for verb in (("build",), *VERBS):
        assert film.run(*verb).code == 0
    return film


VERBS = (("plan",), ("status",), ("plan", "-v"), ("plan", "--animatic"))
READERS = (
    *(
        ("check",),
        ("show", "hook/a", "--resolved"),
        ("explain",),
        ("explain", "hook/b"),
        ("graph",),
        ("takes", "hook/b"),
    ),
    *(("takes", "hook/a", "--json"), ("plan", "--json"), ("status", "--json"), ("check", "--json"), ("report",)),
)


def forget(film: Film, *, snapshots: bool = True, memory: bool = True) -> None:
    if snapshots:
        shutil.rmtree(film.folder / ".ltxflow/snapshots", ignore_errors=True)
    if memory:
        for store in film.folder.parents[1].glob("*/memory"):
            shutil.rmtree(store)


# --- what may happen to a film


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def swap(film: Film) -> None:
    """A picture under another's name, its size and mtime kept."""
    key, door = film.folder / "refs/key.png", film.folder / "refs/door.png"
    seen, data = key.stat(), door.read_bytes()
    assert len(data) == seen.st_size
    key.write_bytes(data)
    os.utime(key, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def relink(film: Film) -> None:
    link = film.folder / "refs/link.png"
    link.unlink()
    link.symlink_to("key.png")


def some(film: Film, pattern: str) -> Path:
    return sorted(path for path in film.store.glob(pattern) if path.is_file())[0]


def video(film: Film) -> Path:
    """The blob of a clip's video as it was rendered."""
    traces = [json.loads(path.read_text()) for path in sorted(film.store.glob("traces/*/*.json"))]
    digest = next(trace["outputs"]["video"]["digest"] for trace in traces if "video" in trace["outputs"])
    return film.store / "cas" / digest[:2] / digest[2:]


def cut_short(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)


def template(film: Film, name: str, text: str = "") -> None:
    folder = film.folder / "templates" / "ltx2-19b"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)


def config(film: Film, text: str) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "ltxflow"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text)


def without_line(path: Path, start: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(start)))


def rename(film: Film) -> None:
    """The whole film somewhere else, in the same workspace."""
    there = film.folder.with_name("elsewhere")
    film.folder.rename(there)
    film.folder = there


Mutation = Callable[[Film], object]
MUTATIONS: dict[str, Mutation] = {
    "nothing": lambda film: None,
    "the project touched": lambda film: os.utime(film.file),
    "a prompt edited": lambda film: film.edit("metal clicks", "metal rings"),
    "a prompt edited, size and mtime kept": lambda film: same_but(film.file, lambda d: d.replace(b"dust", b"rust", 1)),
    "a comment": lambda film: film.file.write_text(film.file.read_text() + "# nothing\n"),
    "the title": lambda film: film.edit("Tiny film", "Tiny movie"),
    "the seed": lambda film: film.edit("seed: 3", "seed: 4"),
    "a clip gone": lambda film: film.write({"hook": ["a"], "middle": ["a"], "end": ["a"]}),
    "a scene more": lambda film: film.write({"hook": ["a", "b"], "middle": ["a"], "end": ["a"], "more": ["a"]}),
    "a mistake": lambda film: film.edit("fps: 25", "fps: many"),
    "a picture of the same size and mtime": swap,
    "a picture saved again": lambda film: write_picture(
        film.folder / "refs/key.png", (200, 150, 40), (128, 128), compress_level=9
    ),
    "a picture touched": lambda film: os.utime(film.folder / "refs/key.png"),
    "a picture gone": lambda film: (film.folder / "refs/key.png").unlink(),
    "a picture damaged": lambda film: cut_short(film.folder / "refs/key.png"),
    "a link that leads elsewhere": relink,
    "what a link leads to": lambda film: write_picture(film.folder / "refs/door.png", (9, 9, 9), (128, 128)),
    "a picture nobody asked for": lambda film: write_picture(film.folder / "refs/new.png", (9, 9, 9)),
    "a narration recorded anew": lambda film: write_sound(film.folder / "hook.wav", 6, pitch=2),
    "a longer narration": lambda film: write_sound(film.folder / "hook.wav", 9),
    "a published file gone": lambda film: (film.scenes / "scene-0-a.mp4").unlink(),
    "a published file edited": lambda film: same_but(film.scenes / "scene-0-a.mp4", flipped),
    "the timeline gone": lambda film: (film.scenes / "timeline.json").unlink(),
    "the whole output gone": lambda film: shutil.rmtree(film.folder / "public"),
    "the lock gone": lambda film: (film.folder / "ltxflow.lock").unlink(),
    "a line of the lock gone": lambda film: without_line(film.folder / "ltxflow.lock", "hook/b"),
    "the lock torn": lambda film: cut_short(film.folder / "ltxflow.lock"),
    "approved": lambda film: film.run("approve", "hook/a"),
    "our own record gone": lambda film: (film.folder / ".ltxflow/published.json").unlink(),
    "a blob gone": lambda film: video(film).unlink(),
    "a blob cut short": lambda film: cut_short(video(film)),
    "a trace gone": lambda film: some(film, "traces/*/*.json").unlink(),
    "a trace damaged": lambda film: cut_short(some(film, "traces/*/*.json")),
    "all traces gone": lambda film: shutil.rmtree(film.store / "traces"),
    "the index gone": lambda film: shutil.rmtree(film.store / "index"),
    "the store gone": lambda film: shutil.rmtree(film.store),
    "the store moved": lambda film: film.store.rename(film.store.with_name("moved")),
    "another store by the environment": lambda film: os.environ.update(LTXFLOW_STORE=str(film.store) + "-b"),
    "another store by the configuration": lambda film: (
        os.environ.pop("LTXFLOW_STORE"),
        config(film, f"store: {film.store}-c\n"),
    ),
    "servers by the environment": lambda film: os.environ.update(COMFY_URL="http://gpu:8188"),
    "a mistake in the configuration": lambda film: config(film, "stores: x\n"),
    "a template that shadows ours": lambda film: template(film, "t2v.json.j2"),
    "a profile that shadows ours": lambda film: template(film, "profile.yaml", "name: ltx2-19b\n"),
    "a checkout in the project's folder": lambda film: (film.folder / ".git").mkdir(),
    "colours": lambda film: os.environ.update(FORCE_COLOR="1"),
    "the film moved": rename,
}


HARMLESS = ("nothing", "a picture nobody asked for")  # a build says again what it said
HEALED = ("a trace damaged", "our own record gone")  # set aside, and said so, by whoever sees it first


@pytest.mark.parametrize("name", MUTATIONS)
def test_quick_and_slow_give_the_same_answer(film: Film, name: str) -> None:
    MUTATIONS[name](film)
    build = _answer_of(film, "build")
    kept = snapshot.recall(build) if build else None
    quick = [film.run(*verb) for verb in VERBS]
    again = [film.run(*verb) for verb in VERBS]  # what was remembered after the mutation holds, too
    forget(film, memory=False)
    remembered = [film.run(*verb) for verb in VERBS]
    forget(film)
    slow = [film.run(*verb) for verb in VERBS]
    for answers in (quick, again, remembered):
        assert [(ran.code, ran.out) for ran in answers] == [(ran.code, ran.out) for ran in slow]
        assert answers == slow or name in HEALED
    if kept is not None:
        written = film.published()
        assert untimed(film.run("build").out) == untimed(kept.out)
        assert film.published() == written
    assert (kept is not None) == (name in HARMLESS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_command_that_only_reads_repeats_what_it_would_find(film: Film, name: str) -> None:
    for verb in READERS:
        film.run(*verb)
    settle()
    MUTATIONS[name](film)
    kept = [(key := _answer_of(film, *verb)) is not None and snapshot.recall(key) is not None for verb in READERS]
    assert all(kept) if name in HARMLESS else True
    quick, page = [film.run(*verb) for verb in READERS], page_of(film)
    forget(film, memory=False)
    remembered = [film.run(*verb) for verb in READERS]
    forget(film)
    slow = [film.run(*verb) for verb in READERS]
    for answers in (quick, remembered):
        assert [(ran.code, ran.out) for ran in answers] == [(ran.code, ran.out) for ran in slow]
        assert answers == slow or name in HEALED
    assert page == page_of(film)


def page_of(film: Film) -> str:
    """The storyboard page, without the minute it was written in."""
    page = film.folder / ".ltxflow/report.html"
    return re.sub(r'"written":"[^"]*"', "", page.read_text()) if page.exists() else ""


def untimed(out: str) -> str:
    return re.sub(r"[0-9.]+s\b", "…", out)


def _answer_of(film: Film, *argv: str) -> Path | None:
    asked = answer_cache.ask([*argv, "-p", str(film.folder)])
    return asked.path if asked else None


def test_what_is_unchanged_is_neither_decoded_nor_rendered_again(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    whole = clip_step.action
    monkeypatch.setattr(clip_step, "action", lambda node, inputs: rendered.append(node.target) or whole(node, inputs))
    monkeypatch.setattr("ltxflow.media.image.read_image", None)  # a look would fail
    monkeypatch.setattr("ltxflow.media.audio.measure_sound", None)
    film.edit("for hook-b; metal clicks", "for hook-b; metal rings")
    ran = film.run("plan")
    assert "1 clip to change, 3 clips unchanged" in ran.out
    assert rendered == ["clip:hook/b@1"]


def test_a_film_that_is_looked_at_at_once_is_looked_at_again(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock too coarse to tell two writes apart: what was written just now is not remembered."""
    monkeypatch.setattr(reader, "RACY_NS", 10**12)
    forget(film)
    film.run("plan", "-v")
    rows = b"".join(path.read_bytes() for path in film.store.glob("memory/*"))
    assert b" image /" not in rows  # by its place; by its content it may be
    assert b" key " in rows


# --- damage


def damaged(data: bytes, how: str, dice: random.Random) -> bytes:
    lines = data.split(b"\n")
    if how == "a bit":
        at = dice.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
    if how == "the end":
        return data[: dice.randrange(len(data))]
    if how == "values swapped" and len(lines) > 3:
        one, two = dice.sample(range(1, len(lines) - 1), 2)
        (a, x), (b, y) = lines[one].split(b"\t"), lines[two].split(b"\t")
        lines[one], lines[two] = a + b"\t" + y, b + b"\t" + x
        return b"\n".join(lines)
    if how == "lines in any order":
        return b"\n".join([lines[0], *dice.sample(lines[1:-1], len(lines) - 2), b""])
    return bytes(dice.randrange(256) for _ in range(len(data)))


@pytest.mark.parametrize("how", ["a bit", "the end", "values swapped", "lines in any order", "noise"])
def test_a_damaged_memory_is_never_believed(film: Film, how: str) -> None:
    film.edit("metal clicks", "metal rings")
    film.run("plan")
    whole = {path: path.read_bytes() for path in film.store.glob("memory/*")}
    assert len(whole) > 1, "what is remembered in general, and the rows of scenes"
    forget(film)
    slow = [film.run(*verb) for verb in VERBS]
    for number in range(5):
        forget(film, memory=False)
        for path, data in whole.items():
            path.write_bytes(damaged(data, how, random.Random(f"{how} {number}")))
        assert [film.run(*verb) for verb in VERBS] == slow


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the folder of ltxflow's own sources."""
    folder = tmp_path / "package"
    (folder / "plan").mkdir(parents=True)
    (folder / "plan/evaluate.py").write_text("one = 1\n")
    monkeypatch.setattr(snapshot, "PACKAGE", str(folder))
    return folder


def test_what_other_code_remembered_is_not_believed(film: Film, package: Path) -> None:
    for verb in VERBS:
        film.run(*verb)
    before = {path: path.read_bytes().partition(b"\n")[0] for path in film.store.glob("memory/*")}
    (package / "plan/evaluate.py").write_text("one = 2\n")
    for verb in VERBS:
        film.run(*verb)
    assert all(path.read_bytes().partition(b"\n")[0] != head for path, head in before.items())


@pytest.mark.parametrize("name", ["new.py", "plan/evaluate.py"])
def test_an_answer_of_other_code_is_not_given_again(film: Film, package: Path, name: str) -> None:
    """As after `git pull` in the checkout that it is installed from: the version is the same."""
    film.run("plan")
    asked = ["plan", "-p", str(film.folder)]
    before = answer_cache.AnswerKey(asked)
    assert answer_cache.answer(before) == 0
    (package / name).write_text("two = 2\n")
    after = answer_cache.AnswerKey(asked)
    assert answer_cache.answer(after) is None
