"""Prompt rules find weak prompts, name place and remedy, and leave good ones alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ltxflow.core.digest import Digest
from ltxflow.core.errors import Problem, Span
from ltxflow.project.lint import RULES, lint
from ltxflow.project.load import load
from ltxflow.project.model import (
    Clip,
    Extends,
    FrameOf,
    Image,
    Length,
    Media,
    Narration,
    Project,
    Prompt,
    Scene,
    Value,
)

DEMO = Path(__file__).parents[2] / "projects" / "wallet-explainer" / "project.yaml"
VAULT = Image(Path("vault.png"), "vault.png", Digest("0" * 64), 1536, 864)
GOOD = (
    "A close-up of a titanium vault door in a dark hall. The camera pushes slowly forward while the rings rotate"
    " and golden light pours out between them. A low hum builds."
)


def clip(
    prompt: str | Mapping[str, str] = GOOD, id: str = "a", reference: Image | None = VAULT, **settings: Any
) -> Clip:
    parts = {"text": prompt} if isinstance(prompt, str) else dict(prompt)
    line = 10 * (ord(id[0]) - ord("a") + 1)
    return Clip(
        id=id,
        scene="hook",
        index=0,
        prompt=Prompt(parts, {part: Span("project.yaml", line + i, 9) for i, part in enumerate(parts)}),
        length=Length(),
        settings={name: Value(value, "clip") for name, value in settings.items()},
        reference=reference,
        span=Span("project.yaml", line - 1, 7),
    )


def film(*clips: Clip, fps: int = 25, crossfade: int = 12) -> Project:
    scene = Scene(
        id="hook",
        index=0,
        clips=clips,
        narration=Narration("none", Fraction(0)),
        crossfade=crossfade,
        settings={"crossfade": Value(crossfade, "defaults.scene", Span("project.yaml", 5, 12))},
    )
    here = Path()
    return Project(
        id="film", title="", folder=here, file=here, workspace=here, output=here, fps=fps, size=(1536, 864),
        seed=0, profile=None, scenes=(scene,),
        settings={"fps": Value(fps, "project", Span("project.yaml", 3, 6))},
    )  # fmt: skip


def lint_of(prompt: str | Mapping[str, str], **settings: Any) -> dict[str, Problem]:
    """Return problems by code, at a frame rate that suits calm pictures."""
    return {problem.code: problem for problem in lint(film(clip(prompt, **settings), fps=24))}


# Good prompts


@pytest.mark.parametrize(
    "prompt",
    [
        GOOD,
        {
            "setup": "A cinematic scene of an old workshop at dusk.",
            "subject": "An elderly watchmaker with round glasses sits at his bench.",
            "camera": "A slow dolly to the left.",
            "action": "He lifts a tiny gear with tweezers and lowers it into the open watch.",
            "mood": "warm, intimate, amber light, deep shadows, film grain",
            "audio": "ticking, rain, a distant radio",
        },
        # the model's own example workflows
        "A close-up shot of a glowing digital vault slowly opening, revealing streams of golden light pouring out."
        " The camera pushes forward through the vault door as holographic numbers and symbols float past. A deep"
        " electronic hum builds as the vault opens, followed by a crystalline chime.",
        "A woman in a red coat walks along a pier at sunrise, her scarf fluttering in the wind. A handheld camera"
        ' follows her from behind. She turns and says in a calm, low voice: "I feel that we cut to the chase at 0:30."'
        " Gulls cry above the waves.",
        "Style: watercolour, An empty street in the rain, seen from a high angle. Puddles ripple, a paper boat"
        " drifts along the gutter and tips over the edge of a drain. In silence but for the patter of drops.",
        "The waves roll toward the beach and break over the rocks, spraying white foam into the evening air. An"
        " aerial drone shot glides over the cliff. The surf roars.",
        "A macro view of a seedling that breaks through the soil, its two leaves unfolding in time-lapse while the"
        " light shifts from dawn to noon. The lens racks from the soil to the leaves. Soft piano notes.",
        "Wide shot of a desert highway. A battered truck approaches from the horizon and thunders past, its dust"
        " cloud rolling over the viewer. The engine growls, then fades.",
        "A static shot of a kitchen table. Steam curls up from a cup and a cat jumps onto the chair, sniffing at"
        " the milk. Rain taps at the window, and a clock ticks.",
        "Camera on a tripod in front of a choir. The singers breathe in together, raise their folders and begin to"
        " sing, their voices echoing in the stone nave of the church.",
    ],
)
def test_a_good_prompt_is_left_alone(prompt: str | Mapping[str, str]) -> None:
    assert lint_of(prompt) == {}


def test_the_demo_film_has_one_intended_advice() -> None:
    project = load(DEMO).project
    assert len(project.clips) >= 14
    assert [(problem.code, problem.level) for problem in lint(project)] == [("P109", "advice")]


@pytest.mark.parametrize(
    "prompt",
    [
        "Eine Nahaufnahme einer runden Tresortür aus Titan in einer dunklen Halle. Die Kamera fährt langsam auf das"
        " Schlüsselloch zu, während sich die Ringe drehen und goldenes Licht herausströmt.",
        "Un primer plano de una puerta de titanio en una sala oscura. La vista avanza hacia la cerradura mientras"
        " los anillos giran y sale una luz dorada con un zumbido grave.",
        "Sebuah pintu besi bundar berdiri di ujung lorong gelap sementara cincin besar berputar perlahan dan sinar"
        " emas keluar dari celah sempit itu.",
        "黑暗的大厅尽头有一扇圆形的钛金属保险库门。镜头缓缓推向发光的钥匙孔，外圈开始旋转，金色的光芒从缝隙中涌出。低沉的嗡嗡声越来越响。",
        "Круглая дверь хранилища в конце тёмного зала. Камера медленно приближается к замочной скважине, кольца"
        " вращаются, и золотой свет льётся наружу под низкий гул машин.",
    ],
)
def test_other_languages_are_not_searched_for_english_words(prompt: str) -> None:
    assert lint_of(prompt) == {}


# Weak prompts


def test_a_short_prompt_is_reported_with_its_word_count() -> None:
    found = lint_of("The camera pushes in on a vault as its rings rotate with a hum.")
    assert found.keys() == {"P101"}
    assert found["P101"].message == "the prompt of hook/a has only 14 words"
    assert found["P101"].level == "warning"
    assert found["P101"].span == Span("project.yaml", 10, 9)
    assert found["P101"].hint.startswith("describe in three to six sentences")


def test_a_prompt_of_one_word_has_one_word() -> None:
    assert lint_of("Vault.")["P101"].message == "the prompt of hook/a has only 1 word"


def test_a_long_prompt_is_reported_with_the_limit() -> None:
    found = lint_of(" ".join([GOOD] * 9))
    assert found.keys() == {"P102"}
    assert found["P102"].message == "the prompt of hook/a has 279 words"
    assert "250 words" in found["P102"].hint
    assert lint_of(" ".join([GOOD] * 8)) == {}


@pytest.mark.parametrize(
    "prompt",
    [
        "vault, titanium door, glowing keyhole, cinematic, 4k, ultra detailed, volumetric light, golden beams, dark"
        " hall, masterpiece, best quality, trending",
        "cyberpunk city at night, neon signs, rain on the street, flying cars, camera moving forward, ambient music,"
        " highly detailed, sharp focus, octane render",
    ],
)
def test_a_list_of_keywords_is_advised_to_be_sentences(prompt: str) -> None:
    found = lint_of(prompt)
    assert "P103" in found
    assert found["P103"].message == "the prompt of hook/a lists keywords"


def test_keywords_in_one_part_are_found_there() -> None:
    found = lint_of(
        {
            "setup": "vault, dark hall, titanium, 4k, cinematic",
            "camera": "The camera pushes forward.",
            "action": "The rings rotate and light pours out.",
            "audio": "hum, chime, wind, echo, drip",
        }
    )
    assert found.keys() == {"P103"}
    assert found["P103"].span == Span("project.yaml", 10, 9)


def test_a_prompt_without_a_camera() -> None:
    found = lint_of(
        "A titanium vault door in a dark hall. The rings rotate and golden light pours out between them while a"
        " low electronic hum builds."
    )
    assert found.keys() == {"P104"}
    assert found["P104"].message == "hook/a does not mention the camera"


@pytest.mark.parametrize(
    "prompt",
    [
        "A close-up of a glowing titanium vault door with a cyan keyhole in a dark hall full of servers with blue"
        " lights and shining chrome. A low electronic hum.",
        "A wide shot of the lower half of a closed vault in a long hall with cracks, waves of cables and locks on"
        " the walls, under an open roof. The sound of an alarm.",
    ],
)
def test_a_prompt_in_which_nothing_moves(prompt: str) -> None:
    found = lint_of(prompt)
    assert found.keys() == {"P105"}
    assert found["P105"].message == "nothing moves in hook/a"


def test_a_prompt_without_sound() -> None:
    found = lint_of(
        "A close-up of a titanium vault door. The camera pushes slowly forward while the rings rotate and golden"
        " light pours out between them."
    )
    assert found.keys() == {"P106"}
    assert found["P106"].message == "hook/a describes no sound"


def test_a_static_description_quotes_what_is_static() -> None:
    found = lint_of(
        {
            "setup": "A static shot of a vault at the far end of a long dark hall with blue lights.",
            "camera": "The camera is at eye level.",
            "audio": "A low hum.",
        }
    )
    assert found.keys() == {"P107"}
    assert found["P107"].message == 'hook/a asks for "static", and nothing moves'
    assert found["P107"].span == Span("project.yaml", 10, 9)


def test_a_clip_without_a_reference_is_advised_to_have_one() -> None:
    found = lint_of(GOOD, reference=None)
    assert found.keys() == {"P109"}
    assert found["P109"].level == "advice"
    assert found["P109"].span == Span("project.yaml", 9, 7)


def test_a_guide_video_is_as_good_as_a_reference() -> None:
    guided = replace(clip(reference=None), control=Media(Path("a.mp4"), "a.mp4", Digest("0" * 64)))
    assert lint(film(guided)) == []


@pytest.mark.parametrize(
    ("code", "sentence", "quoted"),
    [
        ("P112", "Then we cut to the street outside.", "cut to the"),
        ("P112", "At 0:03 the alarm rings.", "0:03"),
        ("P112", "After 2 seconds the lights come on.", "After 2 seconds"),
        ("P112", "The picture fades to black.", "fades to black"),
        ("P113", "The scene opens with a guard.", "The scene opens"),
        ("P113", "This video shows a guard.", "This video shows"),
        ("P114", "The man feels a deep regret.", "man feels"),
        ("P114", "She is lost in thought.", "lost in thought"),
    ],
)
def test_habits_that_do_not_help_are_quoted(code: str, sentence: str, quoted: str) -> None:
    found = lint_of(f"{GOOD} {sentence}")
    assert found.keys() == {code}
    assert found[code].level == "advice"
    assert f'"{quoted}"' in found[code].message


@pytest.mark.parametrize(
    "sentence",
    [
        "The frame is 16:9 and the hall smells of oil.",
        "A diamond cut to fit the keyhole turns around.",
        "Seven wonders of the world stand behind glass.",
        "The hum fades to a whisper.",
    ],
)
def test_words_that_only_look_like_habits_are_left_alone(sentence: str) -> None:
    assert lint_of(f"{GOOD} {sentence}") == {}


def test_an_empty_prompt_is_only_short() -> None:
    assert lint_of("").keys() == {"P101"}


# Several clips


def moving(camera: str, action: str) -> dict[str, str]:
    return {
        "setup": "A titanium vault door stands in a dark hall.",
        "camera": camera,
        "action": action,
        "audio": "A low hum builds.",
    }


PUSH = "The camera pushes slowly forward toward the keyhole."
RINGS = "The rings of the door begin to rotate in opposite directions, releasing thin streams of golden light."


@pytest.mark.parametrize(
    ("camera", "action"),
    [
        (PUSH, RINGS),
        (PUSH.upper(), RINGS.replace(",", "")),
    ],
)
def test_the_same_motion_twice_in_a_scene_is_an_error(camera: str, action: str) -> None:
    found = lint(film(clip(moving(PUSH, RINGS)), clip(moving(camera, action), "b")))
    assert [problem.code for problem in found] == ["P108"]
    assert found[0].level == "error"
    assert found[0].message == "hook/b has the same motion as hook/a"
    assert found[0].span == Span("project.yaml", 22, 9)
    assert found[0].hint.startswith("continue the camera or the action from hook/a (line 12), or write ignore:")


def test_the_same_motion_from_another_picture_is_a_warning() -> None:
    other = replace(VAULT, path=Path("door.png"), name="door.png", pixels=Digest("1" * 64))
    found = lint(film(clip(GOOD), clip(GOOD, "b", reference=other)))
    assert [(problem.code, problem.level) for problem in found] == [("P108", "warning")]


def test_nearly_the_same_motion_is_a_warning() -> None:
    found = lint(film(clip(moving(PUSH, RINGS)), clip(moving(PUSH, RINGS.replace("golden", "yellow")), "b")))
    assert [(problem.code, problem.level) for problem in found] == [("P108", "warning")]
    assert found[0].message == "hook/b moves nearly like hook/a"


def test_the_same_text_twice_is_the_same_motion() -> None:
    assert [p.code for p in lint(film(clip(GOOD), clip(GOOD, "b")))] == ["P108"]


@pytest.mark.parametrize(
    ("camera", "action"),
    [
        (PUSH.replace("forward toward", "backward from"), RINGS),
        ("The camera orbits the door to the left.", RINGS),
        (PUSH, "The bars slide back one by one and the door swings open."),
        (PUSH.replace("pushes slowly", "tilts slowly"), RINGS),
        (PUSH, RINGS.replace("rotate", "glow")),
    ],
)
def test_another_camera_move_or_action_is_another_motion(camera: str, action: str) -> None:
    assert lint(film(clip(moving(PUSH, RINGS)), clip(moving(camera, action), "b"))) == []


def test_the_same_sentence_with_the_other_direction_is_another_motion() -> None:
    left = f"{GOOD} A guard walks past the door to the left and nods."
    assert lint(film(clip(left), clip(left.replace("left", "right"), "b"))) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the camera tilts up", "the camera pans right"),
        ("the camera tilts slowly along it", "the camera pans slowly along it"),
        ("it opens with a click", "it shuts with a click"),
        ("two rings turn at once", "three rings turn at once"),
        ("a close view of the lock", "a wide view of the lock"),
    ],
)
def test_two_prompts_that_share_most_words_are_not_the_same_motion(one: str, other: str) -> None:
    both = [f"{GOOD} Past the pillars of the hall {ending}." for ending in (one, other)]
    assert lint(film(clip(both[0]), clip(both[1], "b"))) == []


def test_a_look_that_all_clips_share_makes_no_motion_of_them() -> None:
    look = "Filmed on grainy stock in muted green and amber, with soft halation around every lamp and deep shadows. "
    texts = (
        "A guard lifts his lantern and the camera follows it. Keys jingle.",
        "A cat drops from the shelf, pan left.",
    )
    both = [clip({"look": look * 4, "text": text}, id) for text, id in zip(texts, "ab", strict=True)]
    assert not [problem for problem in lint(film(*both)) if problem.code == "P108"]


def test_a_clip_that_continues_another_may_move_alike() -> None:
    first, second, third = clip(GOOD), clip(GOOD, "b"), clip(GOOD, "c")
    second = replace(second, extends=Extends(clip="hook/a"))
    third = replace(third, reference=FrameOf("hook/b", "last", None))
    assert lint(film(first, second, third, crossfade=12)) == []


@pytest.mark.parametrize(("frames", "codes"), [(0, ["P111"]), (9, ["P111"]), (10, []), (15, []), (16, ["P111"])])
def test_a_crossfade_is_ten_to_fifteen_frames(frames: int, codes: list[str]) -> None:
    two = clip(moving(PUSH, RINGS)), clip(GOOD, "b")
    found = lint(film(*two, crossfade=frames))
    assert [p.code for p in found] == codes
    assert all(p.span == Span("project.yaml", 5, 12) for p in found)


def test_a_crossfade_written_once_is_reported_once() -> None:
    project = film(clip(moving(PUSH, RINGS)), clip(GOOD, "b"), crossfade=20)
    (scene,) = project.scenes
    found = lint(replace(project, scenes=(scene, replace(scene, id="outro", index=1))))
    assert [p.message for p in found] == ["a crossfade of 20 frames in hook and 1 more is outside 10–15"]


def test_one_clip_has_no_crossfade() -> None:
    assert lint(film(clip(), crossfade=40)) == []


def test_fast_motion_needs_a_higher_frame_rate() -> None:
    chase = clip(GOOD + " A guard sprints past the door.")
    (found,) = lint(film(chase, fps=20))
    assert found.code == "P110"
    assert found.message == "fps 20 is low for the fast motion in hook/a"
    assert found.span == Span("project.yaml", 3, 6)
    assert lint(film(chase, fps=24)) == []
    assert lint(film(clip(), fps=20)) == []


@pytest.mark.parametrize("fps", [12, 50])
def test_an_unusual_frame_rate_is_reported(fps: int) -> None:
    (found,) = lint(film(clip(), fps=fps))
    assert (found.code, found.message) == ("P110", f"fps {fps} is outside 15–30")


def test_a_calm_film_is_advised_to_use_fewer_frames() -> None:
    calm = clip("A static shot of a vault in a dark hall. Dust drifts slowly through the blue light. A low hum builds.")
    (found,) = lint(film(calm, fps=30))
    assert (found.code, found.level) == ("P115", "advice")
    assert lint(film(calm, fps=24)) == []


# Ignoring


def test_a_clip_may_ignore_warnings_and_advice() -> None:
    assert lint_of("A vault.", ignore=["P101", "P104", "P105", "P106"], reference=None).keys() == {"P109"}
    assert lint(film(clip(ignore=("P110",)), fps=50)) == []


def test_a_scene_rule_is_ignored_when_all_its_clips_ignore_it() -> None:
    silent = clip(moving(PUSH, RINGS), ignore=["P111"])
    assert lint(film(silent, clip(GOOD, "b", ignore=["P111"]), crossfade=0)) == []
    assert [p.code for p in lint(film(silent, clip(GOOD, "b"), crossfade=0))] == ["P111"]


@pytest.mark.parametrize("who", ["a", "b"])
def test_the_same_motion_is_ignored_where_one_clip_ignores_it(who: str) -> None:
    both = [clip(id=id, **({"ignore": ["P108"]} if id == who else {})) for id in "ab"]
    assert lint(film(*both)) == []
    assert [p.code for p in lint(film(clip(), clip(id="b", ignore=["P101"])))] == ["P108"]


def test_the_film_may_ignore_rules_about_the_film() -> None:
    project = film(clip("A vault."), fps=50)
    project = replace(project, settings={**project.settings, "ignore": Value(["P110", "P101"], "project")})
    assert {p.code for p in lint(project)} == {"P104", "P105", "P106"}


def test_every_rule_has_a_reason_and_a_source() -> None:
    assert list(RULES) == sorted(RULES)
    for rule in RULES.values():
        assert rule.title
        assert rule.why
        assert rule.source
