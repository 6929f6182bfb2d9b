"""Loading a project: every mistake has a place and a hint, and a good file gives the right values."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.media import write_guide, write_picture, write_sound
from harness.templates import templates_read_once

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.project.load import LoadedProject, load

GOOD = """\
ltxflow: 1
id: film
vars: {look: deep blue}
scenes:
  - id: hook
    narration: 5s
    clips:
      - id: a
        prompt: A key turns.
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a workspace with a project, good and bad pictures, and a picture outside."""
    film = tmp_path / "work/film"
    (tmp_path / "work/.git").mkdir(parents=True)
    film.mkdir()
    monkeypatch.chdir(film)
    write_picture(tmp_path / "outside/secret.png", (1, 2, 3))
    write_picture(tmp_path / "work/shared.png", (1, 2, 3), (1536, 1024))
    whole = write_picture(film / "refs/vault.png", (1, 2, 3), (1536, 1024)).read_bytes()
    (film / "refs/text.png").write_text("not a picture")
    (film / "refs/half.png").write_bytes(whole[: len(whole) // 2])
    (film / "refs/out.png").symlink_to(tmp_path / "outside/secret.png")
    (film / "refs/loop.png").symlink_to(film / "refs/loop.png")
    (film / "elsewhere").symlink_to(tmp_path / "outside")
    (film / "empty").mkdir()
    with templates_read_once():
        yield


def read(text: str, **options: Any) -> LoadedProject:
    Path("project.yaml").write_text(text)
    return load(Path("project.yaml"), **options)


def problems(text: str, **options: Any) -> tuple[Problem, ...]:
    with pytest.raises(LtxflowError) as caught:
        read(text, **options)
    return caught.value.problems


def problems_of(text: str, **options: Any) -> list[str]:
    """Return `9:17 L030 message | hint` of every problem; paths that differ between runs are cut off."""
    here = str(Path.cwd().parent)
    return [
        f"{p.span.line}:{p.span.col} {p.code} {p.message} | {p.hint}".replace(here, "WORK") if p.span else str(p)
        for p in problems(text, **options)
    ]


def clip(line: str) -> str:
    """Return GOOD with one more line on its clip: the 10th."""
    return f"{GOOD}        {line}\n"


def top(line: str) -> str:
    """Return GOOD with one more line at the top: the third."""
    return GOOD.replace("id: film\n", f"id: film\n{line}\n")


LEAVES = 'leaves the workspace "WORK" | keep the files in the workspace (the git checkout), or name a wider one with'
ABSOLUTE = "write it relative to the project folder, or allow it with `ltxflow trust`"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../outside/secret.png", f'L012 "../../outside/secret.png" {LEAVES} --root'),
        ("refs/../../../outside/secret.png", f'L012 "refs/../../../outside/secret.png" {LEAVES} --root'),
        ("refs/out.png", f'L012 "refs/out.png" {LEAVES} --root'),  # a link
        ("elsewhere/secret.png", f'L012 "elsewhere/secret.png" {LEAVES} --root'),  # in a folder that is a link
        ("refs/loop.png", 'L010 cannot resolve "refs/loop.png" | check for a loop of symbolic links'),
        ("/etc/passwd", f'L011 absolute path "/etc/passwd" | {ABSOLUTE}'),
        ("~/x.png", f'L011 absolute path "~/x.png" | {ABSOLUTE}'),
        ("refs/vautl.png", 'L020 no file "refs/vautl.png" | did you mean "refs/vault.png"?'),
        ("nowhere/x.png", 'L020 no file "nowhere/x.png" | create the folder nowhere, or correct the path'),
        ("empty/x.png", 'L020 no file "empty/x.png" | put it in empty'),
        ("refs", 'L020 no file "refs" | name a file in that folder'),
        (
            "refs/text.png",
            'L021 "text.png" is not a picture in a known format | save it as png, jpeg, webp, avif or tiff',
        ),
        ("refs/half.png", 'L021 "half.png" is damaged or cut short: image file is truncated | copy or export it again'),
    ],
)
@pytest.mark.parametrize("key", ["reference", "last_frame"])
def test_a_picture_that_cannot_be_used(key: str, name: str, message: str) -> None:
    column = 11 + len(key)
    assert problems_of(clip(f"{key}: {name}")) == [f"10:{column} {message}"]
    assert problems_of(clip(f"{key}: {{image: {name}}}")) == [f"10:{column + 8} {message}"]


def test_a_picture_elsewhere_in_the_workspace_is_fine() -> None:
    (only,) = read(clip("reference: ../shared.png")).project.clips
    assert only.reference is not None
    assert (only.reference.width, only.reference.height) == (1536, 1024)


def test_an_absolute_path_is_read_once_the_project_is_trusted() -> None:
    path = Path("refs/vault.png").resolve()
    loaded = read(clip(f"reference: {path}"), is_trusted=True)
    assert loaded.project.clips[0].reference is not None
    assert loaded.project.foreign == {f"absolute path {path}": str(path)}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../..", f'L012 "../../.." {LEAVES} --root'),
        ("../../public", f'L012 "../../public" {LEAVES} --root'),
        ("elsewhere/scenes", f'L012 "elsewhere/scenes" {LEAVES} --root'),
        (".", "L013 output is the project folder itself | choose a folder, such as public/scenes"),
        ("refs/..", "L013 output is the project folder itself | choose a folder, such as public/scenes"),
        ("project.yaml", 'L013 output "project.yaml" is a file | choose a folder, such as public/scenes'),
        ("/tmp/scenes", f'L011 absolute path "/tmp/scenes" | {ABSOLUTE}'),
    ],
)
def test_an_output_that_cannot_be_used(name: str, message: str) -> None:
    assert problems_of(top(f"output: {name}")) == [f"3:9 {message}"]


def test_an_output_beside_the_project_is_fine() -> None:
    assert read(top("output: ../public/scenes")).project.output.resolve() == Path("../public/scenes").resolve()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "control: {lora: x.safetensors, video: refs/vault.png}",
            '47 L023 "vault.png" is a picture, not a video | start the clip from it instead, with reference:',
        ),
        ("control: {lora: x.safetensors, video: g.mp4}", '47 L020 no file "g.mp4" | put it in . (there: project.yaml)'),
        ("control: {lora: x.safetensors, video: /g.mp4}", f'47 L011 absolute path "/g.mp4" | {ABSOLUTE}'),
        ("length: 30s", "17 L043 length 30s is 753 frames: LTX-2 19B makes at most 497 at 25 fps | split it into"),
        ("length: 1000f", "17 L043 length 1000f is 1001 frames: LTX-2 19B makes at most 497 at 25 fps | split it"),
        (
            "quality: ful",
            '18 S105 "quality" must be preview, distilled, full or auto, not "ful" | did you mean "full"?',
        ),
        ("negative: 'no {{ lok }}'", '19 L030 unknown variable "lok" | did you mean "look"?'),
        ("loras: [push]", '16 L045 unknown LoRA "push" | write the file'),
    ],
)
def test_a_setting_that_cannot_be_used(line: str, message: str) -> None:
    (only,) = problems_of(clip(line))
    assert only.startswith(f"10:{message}")


def test_a_guide_video_needs_its_lora() -> None:
    write_guide(Path("refs/guide.mp4"))
    assert problems_of(clip("control: {video: refs/guide.mp4, mode: raw}")) == [
        "10:26 L046 a guide video needs an IC-LoRA | add its file to control, such as lora: my-control.safetensors"
    ]
    (found,) = read(clip("control: {video: refs/guide.mp4, mode: canny}")).project.clips
    assert found.get("control.lora") == "ltx-2-19b-ic-lora-canny-control.safetensors"  # the profile's
    assert read(clip("control: {strength: 0.5}")).project.clips[0].control is None  # settings for nothing yet


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("aspect: '16:10'", '9 F010 unknown aspect "16:10" | did you mean "1:1"?'),
        (
            "size: 129x128",
            "7 F011 size 129x128 has an odd side, and h264 needs even ones | write 130x128, the nearest size",
        ),
        ("fps: 60", "6 L040 fps 60 is outside 1–50 | write fps: 25, the frame rate LTX-2 19B was made for"),
        ("profile: ltx2-19", '10 F001 unknown profile "ltx2-19" | did you mean "ltx2-19b"?'),
    ],
)
def test_a_value_of_the_film_that_cannot_be_used(line: str, message: str) -> None:
    (only,) = problems_of(top(line))
    assert only.startswith(f"3:{message}")


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        ("'{{ lok }} key'", ['17 L030 unknown variable "lok" | did you mean "look"?']),
        ("'{{ zebra }} key'", ['17 L030 unknown variable "zebra" | define it under vars at the top of the file']),
        ("'{{ 1 + 1 }} keys'", ['17 L031 "{{ 1 + 1 }}" is not a variable name | use names of vars, not code']),
        ("'{{ look.upper() }}'", ['17 L031 "{{ look.upper() }}" is not a variable name | use names of vars, not code']),
        ("'{{ look }'", ['17 L031 "{{" is unmatched | write {{ name }}']),
        ("'{% raw %}'", ['17 L031 "{%" is code | use names of vars, not code']),
        ("'   '", ["17 L033 the prompt is empty | describe what is seen, how it moves and how it sounds"]),
        (
            "{setup: '{{ lok }}', camera: 'x {{ zebra }}'}",
            ['25 L030 unknown variable "lok" | did you mean "look"?', '46 L030 unknown variable "zebra" | define it'],
        ),
    ],
)
def test_a_prompt_that_cannot_be_used(prompt: str, messages: list[str]) -> None:
    found = problems_of(GOOD.replace("A key turns.", prompt))
    assert len(found) == len(messages)
    assert all(line.startswith(f"9:{message}") for line, message in zip(found, messages, strict=True))


@pytest.mark.parametrize(
    ("narration", "message"),
    [
        ("{text: '{{ lok }}'}", '23 L030 unknown variable "lok" | did you mean "look"?'),
        ("{text: '  '}", "23 L060 the narration has no words | write the words, or a duration"),
        ("{file: nope.wav}", '23 L020 no file "nope.wav" | put it in . (there: project.yaml)'),
        ("{file: refs/text.png}", '23 L024 "text.png" has no sound track | give a sound file: wav, flac, mp3'),
        ("{file: /x.wav}", f'23 L011 absolute path "/x.wav" | {ABSOLUTE}'),
    ],
)
def test_a_narration_that_cannot_be_used(narration: str, message: str) -> None:
    (only,) = problems_of(GOOD.replace("narration: 5s", f"narration: {narration}"))
    assert only.startswith(f"6:{message}")


def test_a_variable_that_uses_another_variable() -> None:
    assert problems_of(GOOD.replace("deep blue}", "'{{ other }}', other: x}")) == [
        '3:14 L032 variable "look" uses another variable | write the text out in full'
    ]


def test_an_id_that_is_used_twice() -> None:
    text = GOOD + "      - id: a\n        prompt: x\n  - id: hook\n    clips: [{id: a, prompt: y}]\n"
    assert problems_of(text) == [
        '10:13 L050 clip id "a" is used twice | rename one: the first is at line 8',
        '12:9 L050 scene id "hook" is used twice | rename one: the first is at line 5',
    ]


def test_the_same_clip_id_in_two_scenes_is_fine() -> None:
    text = GOOD + "  - id: end\n    clips: [{id: a, prompt: y}]\n"
    assert [clip.path for clip in read(text).project.clips] == ["hook/a", "end/a"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("scenes: []", ['3:9 S110 "scenes" is empty | write at least one scene']),
        ("scenes:", ['3:8 S112 "scenes" has no value | write one, or remove it']),
        ("", ['1:1 S102 missing key "scenes" in this project | add "scenes"']),
        ("scenes: [{id: hook, clips: []}]", ['3:28 S110 "clips" is empty | write at least one clip']),
        ("scenes: [{id: hook}]", ['3:10 S102 missing key "clips" in scene "hook" | add "clips"']),
    ],
)
def test_a_film_without_scenes_or_a_scene_without_clips(text: str, messages: list[str]) -> None:
    assert problems_of(f"ltxflow: 1\nid: film\n{text}\n") == messages


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{from: old, to: hok}", '21 L070 moved to "hok", which is not in the film | did you mean "hook"?'),
        ("{from: old/a, to: x/y}", '23 L070 moved to "x/y", which is not in the film | remove this entry, or name a'),
        ("{from: hook, to: hook}", '12 L071 moved from "hook", which is still in the film | remove this entry'),
        (
            "{from: old/a, to: hook}",
            '5 L072 moved pairs a clip with a scene: "old/a" and "hook"'
            " | write two clips, such as {from: hook/b, to: intro/b}, or two scenes",
        ),
    ],
)
def test_a_move_that_leads_nowhere(entry: str, message: str) -> None:
    (only,) = problems_of(f"{GOOD}moved:\n  - {entry}\n")
    assert only.startswith(f"11:{message}")


@pytest.mark.parametrize(
    "moves",
    [
        [("first", "second"), ("second", "hook")],
        [("old/x", "old/a"), ("old", "hook")],  # a clip, then its scene
        [("old", "older"), ("older/x", "older/y"), ("older/y", "older/a"), ("older", "hook")],
        [("old/x", "mid/a"), ("mid/a", "hook/a")],
        [("gone", "old"), ("old", "hook"), ("other/a", "old/a"), ("old/a", "hook/b")],  # a name that is free again
    ],
)
def test_moved_follows_what_is_moved_again(moves: list[tuple[str, str]]) -> None:
    text = GOOD + "      - {id: b, prompt: x}\nmoved:\n"
    loaded = read(text + "".join(f"  - {{from: {old}, to: {new}}}\n" for old, new in moves))
    assert loaded.project.moved == tuple(moves)


@pytest.mark.parametrize(
    ("moves", "messages"),
    [
        (
            [("a", "b"), ("b", "a")],
            ['12:5 L073 moved leads from "a" back to "a" | remove these entries, or name a clip of this film'],
        ),
        (
            [("a/x", "b/x"), ("b", "c"), ("c", "a")],
            ['12:5 L073 moved leads from "a/x" back to "a/x" | remove these entries, or name a clip of this film'],
        ),
        (
            [("a/x", "hook/a"), ("b/x", "hook/a")],
            ['13:21 L074 moved to "hook/a" twice: from "a/x" and from "b/x" | keep one of these entries'],
        ),
        (
            [("a/x", "b/a"), ("b", "hook"), ("c/x", "hook/a")],
            ['14:21 L074 moved to "hook/a" twice: from "a/x" and from "c/x" | keep one of these entries'],
        ),
        ([("a/x", "hook/a"), ("a/x", "hook/b")], ['13:12 L074 moved from "a/x" twice | keep one of these entries']),
        (
            [("hook/a", "hook/b"), ("old/x", "hook/a")],
            ['12:12 L071 moved from "hook/a", which is still in the film | give "old/x" a name that is not used yet'],
        ),
        (  # in the order in which they were made
            [("old", "hook"), ("old/x", "old/a")],
            ['13:23 L070 moved to "old/a", which is not in the film | write it before the entry from "old"'],
        ),
        (
            [("old/x", "old/y")],
            ['12:23 L070 moved to "old/y", which is not in the film | remove this entry, or name a clip of this film'],
        ),
    ],
)
def test_moves_that_lead_in_a_circle_or_to_one_place(moves: list[tuple[str, str]], messages: list[str]) -> None:
    text = GOOD + "      - {id: b, prompt: x}\nmoved:\n"
    assert problems_of(text + "".join(f"  - {{from: {old}, to: {new}}}\n" for old, new in moves))[:1] == messages


def test_all_mistakes_are_reported_at_once_in_file_order() -> None:
    text = top("output: ../../..").replace("A key turns.", "'{{ lok }}'")
    text += "        reference: refs/vautl.png\n        length: 1000f\n"
    text += "      - {id: a, prompt: x, reference: refs/vautl.png}\n"
    assert [line.split(" | ")[0][:30] for line in problems_of(text)] == [
        '3:9 L012 "../../.." leaves the',
        '10:17 L030 unknown variable "l',
        '11:20 L020 no file "refs/vautl',
        "12:17 L043 length 1000f is 100",
        '13:14 L050 clip id "a" is used',
        '13:39 L020 no file "refs/vautl',
    ]


def test_a_mistake_in_the_defaults_is_reported_once() -> None:
    text = top("defaults: {clip: {reference: refs/vautl.png}}") + "      - {id: b, prompt: x}\n"
    assert problems_of(text) == ['3:30 L020 no file "refs/vautl.png" | did you mean "refs/vault.png"?']


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"length": "abc"}, 'length: "abc" is not a length'),
        ({"length": "121"}, "length: 121 has no unit"),
        ({"reference.fit": "round"}, '"fit" must be cover, contain or stretch, not "round"'),
        ({"reference.strength": 5.0}, '"strength" must be between 0 and 1, not 5'),
        ({"stages": 3}, '"stages" must be 1, 2 or auto, not 3'),
        ({"quality": "ful"}, '"quality" must be preview, distilled, full or auto, not "ful"'),
    ],
)
def test_a_setting_on_the_command_line_is_checked_as_one_in_the_file(setting: dict[str, Any], message: str) -> None:
    (only,) = problems(GOOD, command_line=setting)
    assert only.message == f"on the command line: {message}"
    assert only.span is None
    assert only.hint


def test_settings_on_the_command_line_override() -> None:
    settings = {"reference.image": None, "reference.compression": 20.0, "seed": 5, "loras": ["x.safetensors"]}
    only = read(clip("reference: refs/vault.png"), command_line=settings).project.clips[0]
    assert only.reference is None
    assert (only.get("reference.compression"), only.get("seed"), only.loras[0].name) == (20, 5, "x.safetensors")
    assert only.settings["seed"].origin == "command line"


def test_a_picture_that_does_not_fit_is_a_warning() -> None:
    write_picture(Path("refs/small.png"), (1, 2, 3), (150, 100))
    loaded = read(clip("reference: refs/small.png"))
    (only,) = loaded.problems
    assert (only.level, only.code, only.span) == ("warning", "L022", Span("project.yaml", 10, 20))
    assert only.message == "refs/small.png: it will be upscaled 10.24×: 150x100 is small for 1536x1024"


def test_every_file_read_is_listed() -> None:
    write_sound(Path("a.wav"), 2)
    text = clip("reference: refs/vault.png").replace("5s", "{file: a.wav}")
    assert {path.name for path in read(text).files} == {"project.yaml", "vault.png", "a.wav"}


@pytest.mark.parametrize(
    ("narration", "seconds", "kind"),
    [
        ("5s", 5, "duration"),
        ("200f", 8, "duration"),
        ("{duration: 4.5s, text: four words of it}", Fraction(9, 2), "duration"),
        ("{text: one two three four five}", 2, "text"),
        ("{text: 'one {{ look }}'}", Fraction(6, 5), "text"),
        ("{file: a.wav}", Fraction(12001, 8000), "file"),
    ],
)
def test_the_length_of_a_narration(narration: str, seconds: Fraction, kind: str) -> None:
    write_sound(Path("a.wav"), 12001 / 8000)
    (scene,) = read(GOOD.replace("5s", narration)).project.scenes
    assert (scene.narration.seconds, scene.narration.kind) == (seconds, kind)
    assert scene.narration.estimated == (kind == "text")


@pytest.mark.parametrize(
    ("written", "frames"),
    [
        ("auto", None),
        ("121f", 121),
        ("120f", 121),
        ("122f", 129),
        ("4.84s", 121),
        ("4.841s", 121),
        ("5s", 129),  # as near to 121: the longer one
        ("20s", 497),
        ("20.1s", 497),  # 505 cannot be made
        ("0.1s", 9),
    ],
)
def test_a_length_becomes_one_the_model_makes(written: str, frames: int | None) -> None:
    only = read(clip(f"length: {written}")).project.clips[0]
    assert (only.length.frames, only.length.written) == (frames, written)


@pytest.mark.parametrize(
    ("fps", "frames"), [(23, 457), (24, 473), (25, 497), (29, 577), (30, 593), (48, 953), (50, 993)]
)
def test_the_longest_time_is_a_length_at_any_rate(fps: int, frames: int) -> None:
    loaded = read(
        top(f"fps: {fps}").replace("    narration: 5s\n", "").replace("- id: a", "- length: 20s\n        id: a", 1)
    )
    assert loaded.project.clips[0].length.frames == frames


def test_a_length_off_the_grid_is_reported() -> None:
    def found(length: str) -> list[tuple[str, str, str]]:
        return [(p.level, p.message, p.hint) for p in read(clip(f"length: {length}")).problems if p.code == "L047"]

    assert found("120f") == [
        ("advice", "length 120f becomes 121 frames: a clip has 8n+1 frames", "write 121f, or a time such as 4s")
    ]
    assert found("121f") == found("4s") == []


def test_pads_and_crossfades_come_from_the_scene_or_the_defaults() -> None:
    text = top("defaults: {scene: {pad: {head: 0.2s, tail: 0.4s}, crossfade: 0.4s}}")
    text = text.replace("    narration: 5s\n", "    narration: 5s\n    pad: {tail: 10f}\n")
    text += "  - id: end\n    pad: 0.3s\n    crossfade: 0f\n    clips: [{id: a, prompt: x}]\n"
    hook, end = read(text).project.scenes
    assert (hook.pad_head, hook.pad_tail, hook.crossfade) == (Fraction(1, 5), Fraction(2, 5), 10)
    assert (end.pad_head, end.pad_tail, end.crossfade) == (Fraction(3, 10), Fraction(3, 10), 0)
    assert {name: value.origin for name, value in hook.settings.items()} == {
        "pad.head": "defaults.scene",
        "pad.tail": "scene hook",
        "crossfade": "defaults.scene",
    }


def test_missing_settings_have_defaults() -> None:
    project = read(GOOD).project
    assert (project.fps, project.size, project.seed, project.title) == (25, (1536, 1024), 0, "film")
    assert project.output == Path("public/scenes") or project.output.name == "scenes"
    (scene,) = project.scenes
    assert (scene.crossfade, scene.pad_head, scene.pad_tail) == (12, 0, 0)
