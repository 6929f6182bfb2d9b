"""After an edit inside scenes only these are looked at, and the answer is that of a look at the whole film.

Each edit is asked about with what was kept of the last look, and again with nothing kept at all.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.images import FakeImages
from harness.command import Ran
from harness.files import COARSE_NS, same_but, settle
from harness.film import Film, prompt
from harness.media import write_picture
from harness.speech import configure_engine

from ltxflow.build import pipeline as making
from ltxflow.lock.model import read_lock
from ltxflow.project import reader
from ltxflow.session import edited, looks
from ltxflow.store import snapshot

SCENES = {"hook": ["a", "b"], "two": ["a"], "three": ["a", "b"], "four": ["a"], "five": ["a"], "six": ["a"]}
BOTH = pytest.mark.parametrize("film", ["one file", "files"], indirect=True)
PLANS = (("plan",), ("plan", "--animatic"), ("plan", "-q"))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(snapshot, "RACY_NS", COARSE_NS)
    monkeypatch.setattr(looks, "RACY_NS", COARSE_NS)
    monkeypatch.setattr(reader, "RACY_NS", COARSE_NS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The scenes of every part that was looked at in place of the whole."""
    seen: list[list[str]] = []
    look = edited.look_at_edited

    def noted(asked: looks.LookAnswerKey) -> looks.Seen | None:
        found = look(asked)
        if found is not None:
            seen.append([scene.id for scene in found.session.project.scenes])
        return found

    monkeypatch.setattr("ltxflow.cli.commands.plan.look_at_edited", noted)
    return seen


def in_files(film: Film) -> None:
    """Give every second scene a file of its own; one of them includes its prompt."""
    head, _, scenes = film.file.read_text().partition("scenes:\n")
    texts = re.split(r"^  - id: ", scenes, flags=re.MULTILINE)[1:]
    (film.folder / "scenes").mkdir()
    (film.folder / "prompts").mkdir()
    entries = []
    for number, text in enumerate(texts):
        if number % 2 == 0:
            entries.append(f"  - id: {text}")
            continue
        name = text.partition("\n")[0]
        lines = [line.removeprefix("    ") for line in f"id: {text}".splitlines()]
        if name == "four":
            at = next(index for index, line in enumerate(lines) if "prompt:" in line)
            said = lines[at].partition('"')[2].rstrip('"')
            (film.folder / "prompts/four.txt").write_text(said + "\n")
            lines[at] = "    prompt: !include prompts/four.txt"
        (film.folder / f"scenes/{name}.yaml").write_text("\n".join(lines) + "\n")
        entries.append(f"  - scenes/{name}.yaml\n")
    film.file.write_text(f"{head}scenes:\n{''.join(entries)}")


def built(film: Film) -> Film:
    """All made, in its place, and looked at; what was written so far is no longer new."""
    film.render("hook/a", "hook/b", "two/a", "three/a", "four/a", "five/a", "six/a")
    film.render("three/b")
    assert film.run("build").code == 0
    settle()
    for verb in PLANS:
        assert film.run(*verb).code == 0
    settle()
    return film


@pytest.fixture
def film(film: Film, request: pytest.FixtureRequest, clock: None) -> Film:
    unchecked = {"clip": {"checks": False}}
    film.write(SCENES, dict.fromkeys(SCENES, "3s") | {"hook": "6s", "two": "3.1s", "three": "6s"}, defaults=unchecked)
    write_picture(film.folder / "refs/key.png", (200, 150, 40), (128, 128))
    write_picture(film.folder / "refs/small.png", (200, 150, 40), (64, 64))
    film.edit(f'prompt: "{prompt("five-a")}"', f'prompt: "{prompt("five-a")}"\n        reference: refs/key.png')
    film.edit(f'prompt: "{prompt("three-b")}"', f'prompt: "{prompt("three-b")}"\n        extends: {{clip: hook/b}}')
    film.edit("  - id: three\n", "  - id: three\n    crossfade: 0f\n")
    if getattr(request, "param", "one file") == "files":
        in_files(film)
    return built(film)


def written(film: Film) -> list[Path]:
    return sorted([film.file, *film.folder.glob("scenes/*.yaml"), *film.folder.glob("prompts/*.txt")])


def swap(film: Film, old: str, new: str) -> None:
    """Write something else in whatever file it stands in."""
    for path in written(film):
        if old in path.read_text():
            path.write_text(path.read_text().replace(old, new, 1))
            return
    raise AssertionError(old)


def slowly(film: Film, *verbs: tuple[str, ...]) -> list[Ran]:
    """The answers with nothing kept; what was kept is put back."""
    kept = {path: path.read_bytes() for path in _kept(film)}
    for path in kept:
        path.unlink()
    answers = []
    for verb in verbs:
        answers.append(film.run(*verb))
        for path in _kept(film):
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
        path.chmod(0o600)
    return answers


def _kept(film: Film) -> list[Path]:
    own = film.folder / ".ltxflow"
    return [*own.glob("looks/*"), *own.glob("snapshots/*"), *film.store.glob("memory/*")]


def is_told_alike(film: Film) -> None:
    quick = [film.run(*verb) for verb in PLANS]
    again = [film.run(*verb) for verb in PLANS]
    assert quick == again == slowly(film, *PLANS)


def before(film: Film, start: str, line: str) -> None:
    swap(film, start, f"{line}\n{start}")


Edit = Callable[[Film], object]
INSIDE: dict[str, tuple[Edit, set[str]]] = {
    "a prompt": (lambda film: swap(film, "for two-a; metal", "for two-a; old metal"), {"two"}),
    "a prompt that is included": (lambda film: swap(film, "for four-a; metal", "for four-a; old metal"), {"four"}),
    "two prompts": (
        lambda film: (swap(film, "for two-a; m", "for two-a; M"), swap(film, "for six-a; m", "for six-a; M")),
        {"two", "six"},
    ),
    "a prompt of one that another goes on from": (
        lambda film: swap(film, "for hook-b; metal", "for hook-b; old metal"),
        {"hook", "three"},
    ),
    "a narration": (lambda film: swap(film, "narration: 3.1s", "narration: 4s"), {"two"}),
    "a reference": (lambda film: swap(film, "refs/key.png", "refs/small.png"), {"five"}),  # with a warning
    "nothing but lines": (lambda film: film.file.write_text("# one\n" + film.file.read_text()), set()),
    "touched": (lambda film: os.utime(film.file), set()),
}


@BOTH
@pytest.mark.parametrize("name", INSIDE)
def test_an_edit_inside_scenes_is_looked_at_by_itself(film: Film, name: str, parts: list[list[str]]) -> None:
    edit, scenes = INSIDE[name]
    edit(film)
    settle()
    is_told_alike(film)
    assert [set(part) for part in parts] == [scenes] * len(PLANS)
    parts.clear()
    swap(film, "for six-a;", "for six-a, too;")  # what was said of the first is said again
    is_told_alike(film)
    assert [set(part) for part in parts[:1]] == [{"six"} | scenes]


def gone(film: Film, pattern: str) -> None:
    sorted(film.store.glob(pattern))[0].unlink()


WHOLE: dict[str, Edit] = {
    "the title": lambda film: film.edit("Tiny film", "Tiny movie"),
    "the seed": lambda film: film.edit("seed: 3", "seed: 4"),
    "a quality for all": lambda film: film.edit("seed: 3", "seed: 3\nquality: preview"),
    "a clip more": lambda film: swap(film, "- id: a", '- {id: z, prompt: "A door opens slowly."}\n      - id: a'),
    "a clip of another name": lambda film: swap(film, "- id: a", "- id: c"),
    "a scene of another name": lambda film: swap(film, "id: two", "id: zwei"),
    "a scene twice": lambda film: swap(film, "id: two", "id: six"),
    "a scene moved": lambda film: film.edit("seed: 3", "seed: 3\nmoved: [{from: old, to: two}]"),
    "a mistake in it": lambda film: swap(film, "narration: 3s", "narration: often"),
    "no YAML": lambda film: swap(film, "narration: 3s", "narration: [3s"),
    "an unknown key": lambda film: swap(film, "narration: 3s", "narrations: 3s"),
    "a picture that is not there": lambda film: swap(film, "refs/key.png", "refs/none.png"),
    "an absolute path": lambda film: swap(film, "refs/key.png", str(film.folder / "refs/key.png")),
    "it goes on from a quiet one": lambda film: swap(
        film, f'prompt: "{prompt("hook-a")}"', f'prompt: "{prompt("hook-a")}"\n        reference: {{frame_of: five/a}}'
    ),
    "a picture of another scene": lambda film: write_picture(film.folder / "refs/key.png", (9, 9, 9), (128, 128)),
    "a blob gone": lambda film: gone(film, "cas/*/*"),
    "a trace gone": lambda film: gone(film, "traces/*/*.json"),
    "a published file gone": lambda film: (film.scenes / "scene-1-a.mp4").unlink(),
    "approved": lambda film: film.run("approve", "two/a"),
    "the lock gone": lambda film: (film.folder / "ltxflow.lock").unlink(),
    "nothing kept": lambda film: shutil.rmtree(film.folder / ".ltxflow/looks"),
    "another ltxflow": lambda film: [
        path.rename(path.with_name("0" * 64 + ".json")) for path in (film.folder / ".ltxflow/looks").glob("*")
    ],
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_not_inside_scenes_is_looked_at_as_a_whole(film: Film, name: str, parts: list[list[str]]) -> None:
    WHOLE[name](film)
    swap(film, "for six-a;", "for six-a, too;")
    settle()
    film.run("plan")
    assert parts == []
    is_told_alike(film)


@BOTH
def test_an_edit_that_keeps_size_and_mtime_is_noticed(film: Film, parts: list[list[str]]) -> None:
    path = next(path for path in written(film) if b"for two-a; metal" in path.read_bytes())
    same_but(path, lambda data: data.replace(b"for two-a; metal", b"for two-a; mETal"))
    assert "two/a" in film.run("plan").out
    assert parts == [["two"]]
    is_told_alike(film)


@BOTH
def test_an_edit_put_back_leaves_nothing_to_do(film: Film, parts: list[list[str]]) -> None:
    swap(film, "for two-a; metal", "for two-a; old metal")
    assert "1 to change" in film.run("plan").out
    swap(film, "for two-a; old metal", "for two-a; metal")
    assert "Plan: 8 unchanged" in film.run("plan").out
    assert parts == [["two"], ["two"]]


def test_what_a_person_should_hear_is_said_after_each_edit(film: Film, parts: list[list[str]]) -> None:
    """A scene that something is to be said of is looked at each time, wherever its lines have moved to."""
    swap(film, "refs/key.png", "refs/small.png")
    film.run("plan")
    before(film, "scenes:", "# a line more")
    said = film.run("plan")
    assert "refs/small.png" in said.err
    assert parts == [["five"], ["five"]]
    is_told_alike(film)


def test_a_scene_file_that_is_new_is_a_new_scene(film: Film, parts: list[list[str]]) -> None:
    folder = film.folder / "more"
    folder.mkdir()
    text = '  - id: x\n    narration: 3s\n    clips: [{id: a, prompt: "A door opens slowly; wood creaks."}]\n'
    plain = "\n".join(line[4:] for line in text.splitlines())
    (folder / "x.yaml").write_text(plain)
    film.file.write_text(film.file.read_text() + "  - more/*.yaml\n")
    film.run("plan")
    (folder / "y.yaml").write_text(plain.replace("id: x", "id: y"))
    assert "y/a" in film.run("plan").out
    (folder / "y.yaml").unlink()
    assert "y/a" not in film.run("plan").out
    assert parts == []
    is_told_alike(film)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": "look/1"}', b'{"format": 3}', b"\xff"])
def test_a_damaged_look_is_never_believed(film: Film, damage: bytes, parts: list[list[str]]) -> None:
    for path in (film.folder / ".ltxflow/looks").glob("*.json"):
        path.write_bytes(damage)
    swap(film, "for two-a; metal", "for two-a; old metal")
    film.run("plan")
    assert parts == []
    is_told_alike(film)


def test_a_folder_that_cannot_be_written_is_no_error(film: Film) -> None:
    looks = film.folder / ".ltxflow/looks"
    shutil.rmtree(looks)
    looks.write_text("in the way")
    swap(film, "for two-a; metal", "for two-a; old metal")
    assert film.run("plan").code == 0
    assert looks.read_text() == "in the way"


def random_edit(film: Film, dice: random.Random) -> None:
    """What people do between two plans: mostly words, now and then anything."""
    paths = written(film)
    path = dice.choice(paths)
    text = path.read_text()
    kind = dice.randrange(8)
    if kind < 4:
        known = [word for word in ("metal", "clicks", "hum", "dust", "beam", "slowly") if word in text]
        word = dice.choice(known or ["a"])
        places = [at for at in range(len(text)) if text.startswith(word, at)]
        if places:
            at = dice.choice(places)
            path.write_text(text[:at] + dice.choice(["old", "metal", "glass"]) + " " + text[at:])
    elif kind == 4:
        path.write_text(text.replace(f"narration: {dice.choice('3456')}s", f"narration: {dice.choice('3456')}s", 1))
    elif kind == 5 and path.suffix == ".yaml":
        path.write_text("# a line\n" + text)
    elif kind == 6:
        film.run(dice.choice(["approve", "reject"]), dice.choice(["two/a", "six/a", "hook/b"]))
    else:
        share = dice.choice([0.9, 1])
        clips = [f"{scene}/{clip}" for scene, clips in SCENES.items() for clip in clips if dice.random() < share]
        film.render(*(clip for clip in clips if clip != "three/b"))
        if share == 1:
            film.render("three/b")
            settle()
        nowhere = ("--server", "http://127.0.0.1:9", "--patience", "1ms")  # what is rendered is put in its place
        film.run("build", *dice.choice([nowhere, ("--animatic",)]))


def is_always_told_alike(film: Film, seed: int, edits: int) -> None:
    dice = random.Random(seed)
    for _ in range(edits):
        texts = {path: path.read_bytes() for path in written(film)}
        random_edit(film, dice)
        quick = film.run("plan")
        assert [quick] == slowly(film, ("plan",))
        if quick.code:  # a mistake: people put it right
            for path, text in texts.items():
                path.write_bytes(text)


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_however_it_is_edited_the_answer_is_that_of_the_whole(film: Film, seed: int, parts: list[list[str]]) -> None:
    is_always_told_alike(film, seed, 12)
    assert parts


@BOTH
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 30))
def test_however_often_it_is_edited(film: Film, seed: int, parts: list[list[str]]) -> None:
    is_always_told_alike(film, seed, 60)
    assert parts


SHARED = f"""\
references:
  hero: {{ generate: {{ prompt: "A young locksmith in a leather apron", engine: studio }} }}
  door: {{ generate: {{ prompt: "A heavy wooden door", engine: studio }} }}
scenes:
  - id: one
    clips: [{{ id: a, length: 17f, reference: hero, prompt: "{prompt("one-a")}" }}]
  - id: two
    clips:
      - {{ id: a, length: 17f, reference: {{ base: hero, angle: "seen from the left" }}, prompt: "{prompt("two-a")}" }}
  - id: three
    clips: [{{ id: a, length: 17f, prompt: "{prompt("three-a")}" }}]
  - id: four
    clips: [{{ id: a, length: 17f, prompt: "{prompt("four-a")}" }}]
"""


@pytest.fixture
def shared(film: Film, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Film]:
    """Two scenes with images that are made for them, and one image that nothing uses yet."""
    with FakeImages("sk-1") as studio:
        monkeypatch.setenv("STUDIO_KEY", "sk-1")
        config = tmp_path / "config/ltxflow"
        config.mkdir(parents=True, exist_ok=True)
        entry = f"{{url: {studio.url}, model: flux, key_from_env: STUDIO_KEY}}"
        (config / "config.yaml").write_text(f"engines:\n  studio: {entry}\n")
        head = "ltxflow: 1\nid: tiny\nsize: 128x128\nfps: 25\ndefaults: {clip: {checks: false}}\n"
        film.file.write_text(head + SHARED)
        assert film.run("clean", "--yes").code == 0
        assert film.run("build", "--only", "references").code == 0
        film.render("one/a", "two/a", "three/a", "four/a")
        assert film.run("build").code == 0
        settle()
        for verb in PLANS:
            film.run(*verb)
        yield film


OF_IMAGES: dict[str, tuple[Edit, list[str]]] = {
    "a prompt beside them": (lambda film: film.edit("for three-a;", "for three-a, too;"), ["three"]),
    "a prompt with one": (lambda film: film.edit("for one-a;", "for one-a, too;"), ["one"]),
    "another uses it": (
        lambda film: film.edit("length: 17f, prompt", "length: 17f, reference: hero, prompt"),
        ["three"],
    ),
    "one is idle now": (lambda film: film.edit("reference: hero, ", ""), ["one"]),
    "the idle one is used": (lambda film: film.edit("reference: hero, ", "reference: door, "), ["one"]),
    "another angle": (lambda film: film.edit("seen from the left", "seen from the right"), ["two"]),
}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_that_are_made_are_counted_as_in_the_whole(shared: Film, name: str, parts: list[list[str]]) -> None:
    edit, scenes = OF_IMAGES[name]
    edit(shared)
    settle()
    is_told_alike(shared)
    assert parts[0] == scenes


def test_an_angle_that_two_scenes_write_differently_is_a_mistake_of_the_whole(shared: Film) -> None:
    angle = 'length: 17f, reference: { base: hero, angle: "seen from the left!" }, prompt'
    shared.edit("length: 17f, prompt", angle)
    ran = shared.run("plan")
    assert ran.code == 2
    assert "differ only in punctuation or case" in ran.err


VOICED = """\
  - id: {id}
    narration: {{ text: "The {id} opens. Then it closes." }}
    clips: [{{ id: a, length: auto, prompt: "{prompt}" }}]
"""


@pytest.fixture
def voiced(film: Film, tmp_path: Path) -> Film:
    """Four scenes that are spoken, all of it made."""
    configure_engine(tmp_path, tmp_path / "config")
    head = "ltxflow: 1\nid: tiny\nsize: 128x128\nfps: 25\nspeech: {engine: say}\ndefaults: {clip: {checks: false}}\n"
    scenes = [VOICED.format(id=id, prompt=prompt(f"{id}-a")) for id in ("door", "gate", "lid", "box")]
    film.file.write_text(f"{head}scenes:\n{''.join(scenes)}")
    assert film.run("clean", "--yes").code == 0
    assert film.run("narrate").code == 0
    film.render()
    assert film.run("build").code == 0
    settle()
    for verb in PLANS:
        film.run(*verb)
    settle()
    return film


def test_what_is_to_be_spoken_is_said_after_each_edit(voiced: Film, parts: list[list[str]]) -> None:
    voiced.edit("The gate opens", "The gate, opens")
    is_told_alike(voiced)
    voiced.edit("for lid-a;", "for lid-a, too;")
    assert '"The gate, opens."' in voiced.run("plan").out
    is_told_alike(voiced)
    assert parts[0] == ["gate"]
    assert parts[-1] == ["gate", "lid"]
    assert voiced.run("narrate").code == 0
    settle()
    assert "gate" not in voiced.run("plan").out
    is_told_alike(voiced)


def remade(film: Film, clip: str) -> None:
    """A prompt edited, rendered, and built."""
    swap(film, f"for {clip}; metal", f"for {clip}; old metal")
    film.render(clip.replace("-", "/"))
    settle()
    assert film.run("build").code == 0
    settle()


@BOTH
def test_after_a_build_only_what_it_made_and_what_was_edited_since_is_looked_at(
    film: Film, parts: list[list[str]]
) -> None:
    remade(film, "two-a")
    assert "Plan: 8 unchanged" in film.run("plan").out
    settle()
    swap(film, "for four-a; metal", "for four-a; old metal")
    assert "1 to change, 7 unchanged" in film.run("plan").out
    assert parts == [["two"], ["four"]]
    is_told_alike(film)


def test_after_a_build_that_drew_slates_only_what_was_edited_since_is_looked_at(
    film: Film, parts: list[list[str]]
) -> None:
    shutil.rmtree(film.folder / "public")
    settle()
    assert film.run("build", "--animatic").code == 0
    settle()
    swap(film, "for four-a; metal", "for four-a; old metal")
    assert "1 to change" in film.run("plan", "--animatic").out
    assert parts == []  # every scene was drawn
    swap(film, "for four-a; old metal", "for four-a; bright metal")
    settle()
    assert film.run("build", "--animatic").code == 0
    settle()
    swap(film, "for six-a; metal", "for six-a; old metal")
    assert "1 to change" in film.run("plan", "--animatic").out
    assert parts == [["four", "six"]]
    is_told_alike(film)


def test_a_build_that_made_nothing_leaves_what_was_kept(film: Film, parts: list[list[str]]) -> None:
    swap(film, "for two-a; metal", "for two-a; old metal")
    assert film.run("build", "--server", "http://127.0.0.1:9", "--patience", "1ms").code != 0
    settle()
    quick = film.run("plan")
    assert parts == [["two"]]
    assert [quick] == slowly(film, ("plan",))


def taken_from_the_store(film: Film, what: str) -> None:
    """Of a scene that nobody touches: a file in a folder of the store."""
    take = read_lock(film.folder / "ltxflow.lock").entries["five/a"].takes[1]
    name = take.key if what == "traces" else take.outputs["published"]
    (path,) = (path for path in film.store.glob(f"{what}/{name[:2]}/*") if path.name.startswith((name, name[2:])))
    path.unlink()


def in_the_lock(film: Film, old: str, new: str) -> None:
    path = film.folder / "ltxflow.lock"
    at = path.read_text().index("six/a: ")
    path.write_text(path.read_text()[:at] + path.read_text()[at:].replace(old, new, 1))


def note(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


MEANWHILE: dict[str, tuple[Edit, bool]] = {
    "nothing": (lambda film: None, True),
    "a prompt": (lambda film: swap(film, "for six-a; metal", "for six-a; old metal"), True),
    "what scenes share": (lambda film: swap(film, "fps: 25", "fps: 30"), False),
    "a file of a quiet scene": (lambda film: (film.scenes / "scene-4-a.mp4").write_bytes(b"another"), False),
    "a file of a quiet scene goes": (lambda film: (film.scenes / "scene-4-a.mp4").unlink(), False),
    "a picture": (lambda film: write_picture(film.folder / "refs/key.png", (1, 2, 3), (128, 128)), False),
    "a key in the lock": (lambda film: in_the_lock(film, '"key": "', '"key": "0'), False),
    "a word in the lock": (lambda film: in_the_lock(film, '"pick": 1', '"pick": 1, "status": "approved"'), False),
    "bytes in the store": (lambda film: taken_from_the_store(film, "cas"), False),
    "a trace in the store": (lambda film: taken_from_the_store(film, "traces"), False),
    "the configuration": (
        lambda film: note(film.folder.parents[1] / "config/ltxflow/config.yaml", "engines: {}\n"),
        False,
    ),
    "a template": (lambda film: note(film.folder / "templates/mine/template.yaml", "title: Mine\n"), False),
}


@pytest.mark.parametrize("when", ["_make", "register"])
@pytest.mark.parametrize("name", MEANWHILE)
def test_what_others_do_while_it_is_built_is_seen_by_the_next_plan(
    film: Film, name: str, when: str, parts: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, is_kept = MEANWHILE[name]
    is_kept |= name == "a word in the lock" and when == "_make"  # the build writes after that, and keeps it
    step = getattr(making, when)

    def meanwhile(*args: Any, **options: Any) -> Any:
        done = step(*args, **options)
        settle()
        edit(film)
        return done

    monkeypatch.setattr(making, when, meanwhile)
    swap(film, "for two-a; metal", "for two-a; old metal")
    film.render("two/a")
    settle()
    film.run("build")
    settle()
    quick = film.run("plan")
    assert bool(parts) is is_kept
    assert [quick] == slowly(film, ("plan",))
