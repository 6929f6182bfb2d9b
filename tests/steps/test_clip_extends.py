"""Continuations and doubled frame rates: what they need, what they key on, what must come back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fakes import media
from harness.film import Film, prompt
from harness.footage import write_footage
from harness.media import canned

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.timing import Cut
from ltxflow.lock.file import write_lock
from ltxflow.lock.model import Lock, LockTake, with_pick, with_take
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.steps import Node
from ltxflow.steps import clip as clip_step
from ltxflow.steps.clip.spec import ClipSpec

BEFORE = Output(Digest("ab" * 32), {"frames": 97})


def write(
    film: Film,
    a: Sequence[str] = (),
    b: Sequence[str] = ("extends: a",),
    c: Sequence[str] = (),
    scene: Sequence[str] = ("narration: 6s", "crossfade: 0f"),
    **top: Any,
) -> Film:
    """A film of one/a, one/b and two/a, with lines of their own; those of scene one are `scene`."""
    keys = {"ltxflow": 1, "id": "tiny", "size": "128x128", "fps": 25, **top}
    lines = [f"{key}: {value}" for key, value in keys.items()] + ["scenes:"]
    scenes: dict[str, tuple[Sequence[str], dict[str, Sequence[str]]]] = {
        "one": (scene, {"a": a, "b": b}),
        "two": (["crossfade: 0f"], {"a": c}),
    }
    for id, (settings, clips) in scenes.items():
        lines += [f"  - id: {id}", *(f"    {line}" for line in settings), "    clips:"]
        for clip, own in clips.items():
            lines += [f"      - id: {clip}", f'        prompt: "{prompt(f"{id}-{clip}")}"']
            lines += [f"        {line}" for line in own]
    film.file.write_text("\n".join(lines) + "\n")
    return film


def look(film: Film, *selectors: str, relength: bool = False) -> Plan:
    return film.session().plan(PlanOptions(selectors=selectors, relength=relength))


def cut(film: Film) -> Cut:
    return look(film).cuts["one"]


def node(film: Film, target: str = "clip:one/b@1") -> Node:
    return look(film).plan.nodes[target]


def shot(film: Film, target: str = "clip:one/b@1") -> ClipSpec:
    found: ClipSpec = node(film, target).spec
    return found


def told(film: Film, target: str = "clip:one/b@1") -> dict[str, Any]:
    """The variables of its template."""
    return shot(film, target).context({}, {}, "x")


def problems(film: Film) -> list[Problem]:
    with pytest.raises(LtxflowError) as caught:
        look(film)
    return list(caught.value.problems)


def warnings(film: Film) -> list[str]:
    return [p.code for p in film.session().loaded.problems]


def locked(film: Film, *takes: tuple[str, int, int]) -> Lock:
    """A lock that knows these: clip, take, frames."""
    session = film.session()
    lock = session.lock
    for path, take, frames in takes:
        lock = with_take(lock, path, take, LockTake(Key("1" * 64), 1, Digest("2" * 64), frames))
    write_lock(session.lock_path, lock)
    return lock


def turn(path: Path) -> None:
    """Have an mp4 shown a quarter clockwise, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def video(film: Film, frames: int = 49, size: tuple[int, int] = (128, 128), fps: int = 25) -> Path:
    path = film.folder / "refs" / "before.mp4"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(canned(frames, size, fps, "before"))
    return path


# --- what a continuation needs


def test_a_continuation_needs_the_video_of_the_clip_before_it(film: Film) -> None:
    assert node(write(film)).needs == {"extends": "clip:one/a@1#video"}
    assert node(write(film, b=["extends: one/a"])).needs == {"extends": "clip:one/a@1#video"}
    write(film, b=[], c=["extends: { clip: one/b }"])
    assert node(film, "clip:two/a@1").needs == {"extends": "clip:one/b@1#video"}


def test_of_a_cropped_clip_the_uncropped_video_is_continued(film: Film) -> None:
    assert node(write(film, size="120x104")).needs == {"extends": "clip:one/a@1#uncropped|video"}


def test_the_take_that_is_in_the_cut_is_continued(film: Film) -> None:
    write(film, a=["takes: 2"])
    lock = locked(film, ("one/a", 1, 97), ("one/a", 2, 97))
    write_lock(film.session().lock_path, with_pick(lock, "one/a", 2))
    assert node(film).needs == {"extends": "clip:one/a@2#video"}


def test_selecting_a_continuation_brings_all_it_needs(film: Film) -> None:
    write(film, c=["extends: one/b"])
    assert list(look(film, "two/a").plan.nodes) == ["clip:one/a@1", "clip:one/b@1", "clip:two/a@1"]


def test_clips_that_continue_each_other_are_refused(film: Film) -> None:
    (problem,) = problems(write(film, a=["extends: b"]))
    assert problem.message == "one/a depends on itself: one/a ← one/b ← one/a"
    (problem,) = problems(write(film, b=["extends: b"]))
    assert problem.message == "one/b depends on itself: one/b ← one/b"


def test_its_template_is_that_of_continuations(film: Film) -> None:
    assert shot(write(film)).template.name == "extend"


# --- its length


def test_it_delivers_what_is_new(film: Film) -> None:
    made = shot(write(film))
    assert made.sampled_frames == made.frames + 25
    assert made.sampled_frames % 8 == 1
    assert made.expected("video").frames == made.frames == node(film).frames
    assert cut(film).frames == (97, made.frames)
    assert cut(film).covered == sum(cut(film).frames) - sum(cut(film).trims) >= 150


def test_nothing_is_cut_off_where_another_clip_continues(film: Film) -> None:
    write(film, scene=["narration: 4s", "crossfade: 0f"])
    assert cut(film).trims[0] == 0 < cut(film).trims[1]


def test_a_length_that_is_written_is_what_is_sampled(film: Film) -> None:
    made = shot(write(film, b=["extends: a", "length: 121f"]))
    assert (made.sampled_frames, made.frames) == (121, 96)


def test_lengths_that_are_rendered_stay(film: Film) -> None:
    frames = cut(write(film, scene=["narration: 8s", "crossfade: 0f"])).frames
    locked(film, ("one/a", 1, frames[0]), ("one/b", 1, frames[1]))
    film.edit("narration: 8s", "narration: 7s")
    assert cut(film).frames == frames
    assert look(film, relength=True).cuts["one"].frames != frames


def test_frames_that_are_inspected_leave_room_for_new_ones(film: Film) -> None:
    (problem,) = problems(write(film, b=["extends: { clip: a, frames: 33 }", "length: 33f"]))
    assert (problem.code, "33 of them repeat" in problem.message) == ("L101", True)
    (problem,) = problems(write(film, a=["length: 17f"]))
    assert problem.message == "one/a has 17 frames, and one/b takes 25 of them"


@pytest.mark.parametrize(("frames", "hint"), [(24, "write 25 or 17"), (10, "write 17 or 9")])
def test_frames_off_the_grid_are_refused(film: Film, frames: int, hint: str) -> None:
    (problem,) = problems(write(film, b=[f"extends: {{ clip: a, frames: {frames} }}"]))
    assert (problem.code, problem.hint) == ("L101", hint)


# --- its workflow and its key


def test_the_workflow_loads_what_came_before_by_the_name_of_its_content(film: Film) -> None:
    action = clip_step.action(node(write(film)), {"extends": BEFORE})
    name = f"ltxflow/{BEFORE.digest[:32]}.mp4"
    assert action.inputs == {"extends": BEFORE.digest}
    (loader,) = [n for n in action.body["graph"]["nodes"] if n["class"] == "LoadVideo"]
    assert loader["inputs"]["file"] == name
    made = shot(film).with_inputs({"extends": BEFORE})
    assert [(asset.name, asset.input) for asset in made.assets()] == [(name, "extends")]
    context = made.context({}, {}, "x")
    assert context["extend"] == {"video": name, "frames": 97, "k": 25, "audio": "pinned"}
    assert context["frames"] == made.sampled_frames


def test_another_video_before_it_is_another_key(film: Film) -> None:
    of = node(write(film))
    first = clip_step.action(of, {"extends": BEFORE})
    again = clip_step.action(of, {"extends": Output(BEFORE.digest)})
    other = clip_step.action(of, {"extends": Output(Digest("cd" * 32), BEFORE.facts)})
    assert first.key == again.key != other.key


def test_frames_and_sound_are_settings(film: Film) -> None:
    write(film, b=["extends: { clip: a, frames: 9, audio: fresh }"])
    assert (told(film)["extend"]["k"], told(film)["extend"]["audio"]) == (9, "fresh")
    assert shot(film).sampled_frames == shot(film).frames + 9
    assert "SetLatentNoiseMask" not in str(clip_step.action(node(film), {"extends": BEFORE}).body)


def test_without_a_continuation_nothing_is_reported_of_one(film: Film) -> None:
    assert told(write(film, b=[]))["extend"] is None
    assert clip_step.action(node(film), {}).inputs == {}


# --- what does not go together


def test_an_unknown_clip_is_refused(film: Film) -> None:
    (problem,) = problems(write(film, b=["extends: tow/a"]))
    assert (problem.code, problem.hint) == ("L100", 'did you mean "two/a"?')
    assert problem.span is not None


def test_stages_that_sample_another_shape_are_refused(film: Film) -> None:
    (problem,) = problems(write(film, b=["extends: a", "stages: 1"], size="160x128"))
    assert problem.code == "L102"
    assert "one/b samples 160x128, and one/a, which it extends, is 192x128" in problem.message


@pytest.mark.parametrize("line", ["temporal_upscale: true", "reference: refs/a.png"])
def test_what_a_continuation_cannot_have_is_refused(film: Film, line: str) -> None:
    picture = film.folder / "refs" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(media.png(media.one_colour((9, 9), 128, 128, 1), {}))
    (problem,) = problems(write(film, b=["extends: a", line], fps=24))
    assert (problem.code, line.partition(":")[0] in problem.hint) == ("L104", True)


def test_a_crossfade_over_the_join_is_reported(film: Film) -> None:
    assert warnings(write(film, scene=["narration: 6s"])) == ["L106"]
    assert warnings(write(film)) == []


# --- files


def test_a_file_is_continued(film: Film) -> None:
    video(film)
    made = shot(write(film, b=["extends: { file: refs/before.mp4 }"]))
    assert node(film).needs == {}
    (asset,) = made.assets()
    assert asset.video is not None
    assert asset.name == f"ltxflow/{asset.video.digest[:32]}.mp4"
    context = told(film)["extend"]
    assert (context["video"], context["frames"]) == (asset.name, 49)
    assert clip_step.action(node(film), {}).body["assets"] == {asset.name: {"video": asset.video.digest}}


@pytest.mark.parametrize(
    ("given", "top", "size", "window"),
    [
        ({"fps": 24}, {}, (128, 128), (0, 0, 128, 128)),
        ({"fps": 50, "frames": 97}, {}, (128, 128), (0, 0, 128, 128)),
        ({"size": (128, 104)}, {}, (128, 128), (0, 0, 128, 128)),
        ({"size": (64, 64)}, {}, (128, 128), (0, 0, 128, 128)),
        ({"size": (120, 104)}, {"size": "120x104"}, (128, 128), (4, 12, 120, 104)),  # as it was delivered
        ({"size": (256, 192)}, {"size": "120x104"}, (128, 128), (4, 12, 120, 104)),
        ({"size": (256, 256), "fps": 30}, {"size": "120x104"}, (128, 128), (0, 0, 128, 128)),  # as it was sampled
    ],
)
def test_a_file_that_does_not_fit_is_made_to(
    film: Film, given: dict[str, Any], top: dict[str, Any], size: tuple[int, int], window: tuple[int, ...]
) -> None:
    video(film, **given)
    made = shot(write(film, b=["extends: { file: refs/before.mp4, audio: fresh }"], **top))
    (asset,) = made.assets()
    assert asset.recipe == {
        "video": asset.video.digest if asset.video else "",
        "take": "last",
        "frames": 25,
        "fps": 25,
        "size": list(size),
        "window": list(window),
        "sound": False,
        "prepare": "1",
    }
    assert (told(film)["extend"]["video"], told(film)["extend"]["frames"]) == (asset.name, 25)
    action = clip_step.action(node(film), {})
    assert action.body["assets"] == {asset.name: asset.recipe}
    write(film, b=["extends: { file: refs/before.mp4, audio: fresh, frames: 17 }"], **top)
    assert clip_step.action(node(film), {}).key != action.key


def test_a_phones_video_is_seen_upright(film: Film) -> None:
    path = video(film, size=(128, 192))
    turn(path)
    made = shot(write(film, b=["extends: { file: refs/before.mp4, audio: fresh }"], size="192x128"))
    (asset,) = made.assets()
    assert asset.recipe["size"] == [192, 128]
    assert "prepare" in asset.recipe


HLG = {"color_trc": 18, "color_primaries": 9, "colorspace": 9}


@pytest.mark.parametrize(
    ("name", "given", "treated"),
    [
        ("before.mp4", {"lies": "mirrored"}, ["mirrored/1"]),
        ("before.mp4", {"flags": "+ilme+ildct", "x264-params": "tff=1"}, ["deinterlaced/1"]),
        ("before.mov", {"codec": "qtrle", "pixels": "argb"}, ["opaque/1"]),
        ("before.mov", {"codec": "libx265", "pixels": "yuv420p10le", "context": HLG}, ["sdr/1"]),
        ("before.mp4", {"fps": 30}, None),
        ("before.mp4", {"lies": "half"}, None),
    ],
)
def test_pictures_that_players_show_differently_are_prepared(
    film: Film, name: str, given: dict[str, Any], treated: list[str] | None
) -> None:
    """What is done to them is in the key; other files keep theirs."""
    (film.folder / "refs").mkdir()
    write_footage(film.folder / "refs" / name, 30, size=(128, 128), **given)
    made = shot(write(film, b=[f"extends: {{ file: refs/{name}, audio: fresh }}"]))
    (asset,) = made.assets()
    assert asset.recipe.get("treated") == treated
    assert "prepare" in asset.recipe


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        (
            "before.mov",
            {"codec": "libx265", "pixels": "yuv420p10le", "context": HLG},
            '"refs/before.mov" is HDR: it becomes standard range, with its highlights compressed',
        ),
        ("before.mov", {"codec": "qtrle", "pixels": "argb"}, ""),
    ],
)
def test_what_its_pictures_lose_is_reported(film: Film, name: str, given: dict[str, Any], says: str) -> None:
    (film.folder / "refs").mkdir()
    write_footage(film.folder / "refs" / name, 30, size=(128, 128), **given)
    write(film, b=[f"extends: {{ file: refs/{name}, audio: fresh }}"])
    assert [p.message for p in film.session().loaded.problems if p.code == "L025"] == ([says] if says else [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"frames": 17}, "has 17 frames, and extends takes 25"),
        ({"frames": 1}, "has 1 frame, and extends takes 25"),
        ({"frames": 24, "fps": 50}, "has 12 frames at 25 fps, and extends takes 25"),
    ],
)
def test_a_file_that_is_too_short_is_refused(film: Film, given: dict[str, Any], says: str) -> None:
    video(film, **given)
    (problem,) = problems(write(film, b=["extends: { file: refs/before.mp4 }"]))
    assert (problem.code, problem.message) == ("L102", f'"refs/before.mp4" {says}')
    assert problem.hint
    assert problem.span is not None


def test_what_a_fit_costs_is_reported(film: Film) -> None:
    video(film, size=(128, 64))
    write(film, b=["extends: { file: refs/before.mp4, audio: fresh }"])
    told = [p.message for p in film.session().loaded.problems if p.code == "L022"]
    assert told == [
        "refs/before.mp4: 50% of it is cut off (left and right) to fill 128x128",
        "refs/before.mp4: it will be upscaled 2.00×: 128x64 is small for 128x128",
    ]


def test_the_sound_of_a_silent_file_cannot_go_on(film: Film) -> None:
    video(film).write_bytes(media.mp4(media.one_colour((9, 9), 128, 128, 49), Fraction(25), None, {}))
    (problem,) = problems(write(film, b=["extends: { file: refs/before.mp4 }"]))
    assert (problem.code, problem.message) == ("L103", '"refs/before.mp4" has no sound')
    write(film, b=["extends: { file: refs/before.mp4, audio: fresh }"])
    assert told(film)["extend"]["audio"] == "fresh"


def test_a_file_and_a_clip_exclude_each_other_in_all_layers(film: Film) -> None:
    video(film)
    defaults = "{ clip: { extends: { file: refs/before.mp4 } } }"
    assert "L100" in {problem.code for problem in problems(write(film, defaults=defaults))}


# --- guide videos

CONTROL = "control: { video: refs/before.mp4, lora: pose.safetensors }"


def test_a_guide_that_fits_is_sent_as_it_is(film: Film) -> None:
    video(film, frames=121, size=(320, 64))  # the template takes care of its size
    made = shot(write(film, b=["length: 121f", CONTROL]))
    (asset,) = made.assets()
    assert asset.video is not None
    assert (asset.name, asset.recipe) == (f"ltxflow/{asset.video.digest[:32]}.mp4", {"video": asset.video.digest})
    assert told(film)["control"]["video"] == asset.name


def test_a_guide_of_another_rate_is_made_to_fit(film: Film) -> None:
    video(film, frames=160, fps=30)
    made = shot(write(film, b=["length: 121f", CONTROL]))
    (asset,) = made.assets()
    assert {name: asset.recipe[name] for name in ("take", "frames", "fps", "size", "window", "sound")} == {
        "take": "first",
        "frames": 121,
        "fps": 25,
        "size": list(made.geometry.base),
        "window": [0, 0, *made.geometry.base],
        "sound": False,
    }
    assert told(film)["control"]["video"] == asset.name
    assert clip_step.action(node(film), {}).body["assets"] == {asset.name: asset.recipe}


def test_the_guide_of_a_doubled_clip_has_the_rate_that_is_sampled(film: Film) -> None:
    video(film, frames=65, fps=24)
    made = shot(write(film, b=["length: 129f", "temporal_upscale: true", CONTROL], fps=48))
    assert "prepare" not in made.assets()[0].recipe
    video(film, frames=129, fps=48)
    assert shot(film).assets()[0].recipe["frames"] == 65


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"frames": 97}, "refs/before.mp4 has 97 frames, and one/b follows it for 121"),
        ({"frames": 97, "fps": 50}, "refs/before.mp4 has 49 frames at 25 a second, and one/b follows it for 121"),
    ],
)
def test_a_guide_that_is_too_short_is_refused(film: Film, given: dict[str, Any], says: str) -> None:
    video(film, **given)
    (problem,) = problems(write(film, b=["length: 121f", CONTROL]))
    assert (problem.code, problem.message) == ("L108", says)
    assert problem.hint.startswith("give a longer video, or the clip a length of at most ")
    assert (problem.span.line if problem.span else 0) > 0


# --- twice the frame rate


def test_doubled_clips_are_sampled_at_half_the_rate(film: Film) -> None:
    made = shot(write(film, b=["temporal_upscale: true"], fps=50))
    assert made.frames % 16 == 1
    assert (made.sampled_frames, made.sampled_fps) == ((made.frames - 1) // 2 + 1, 25)
    assert made.sampled_frames % 8 == 1
    assert (told(film)["frames"], told(film)["fps"]) == (made.sampled_frames, 25)
    expected = made.expected("video")
    assert (expected.frames, expected.fps) == (made.frames, 50)


def test_doubled_lengths_are_rounded_up_to_what_can_be_made(film: Film) -> None:
    assert shot(write(film, b=["temporal_upscale: true", "length: 121f"], fps=24)).frames == 129
    assert shot(write(film, b=["length: 121f"], fps=24)).frames == 121


def test_an_odd_frame_rate_cannot_be_doubled_to(film: Film) -> None:
    (problem,) = problems(write(film, b=["temporal_upscale: true"]))
    assert (problem.code, problem.hint) == ("L105", "write fps: 24 or 26, or temporal_upscale: false")


def test_a_doubled_clip_is_half_the_work(film: Film) -> None:
    one = node(write(film, b=["length: 129f"], fps=24))
    two = node(write(film, b=["length: 129f", "temporal_upscale: true"], fps=24))
    assert clip_step.work(two) < 0.52 * clip_step.work(one)
