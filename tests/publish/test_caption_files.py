"""The caption files of a film: no cue crosses a scene, and what a person corrected is in all of them."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.media.mux import Caption
from ltxflow.media.speech import Engine
from ltxflow.project.model import Narration, Project, Scene
from ltxflow.project.speech import Line, Speech, sentences
from ltxflow.publish.caption_files import caption_files, corrected, parse

FPS = 25
TEXTS = (
    "So she told nobody at all.",
    "Bang! The door flew open.",
    "No.",
    "He lit the lamp, wiped the glass, and waited a long while for the ships that would not come home again.",
    "总统批准了这项新的法律，人民感到高兴。",
    "เหรียญทุกเหรียญที่คุณเป็นเจ้าของ",
    "Yes. No. Yes! Why?",
)


def speech(text: str) -> Speech:
    lines = tuple(Line(str(n), part) for n, part in enumerate(sentences(text), 1))
    return Speech(Engine("espeak", "espeak"), "", 1.0, lines)


def timing(spoken: Speech, seconds: float) -> dict[str, Any]:
    """As the step has it: the lines share the time."""
    rate, share = 1000, seconds * 1000 / len(spoken.lines)
    lines = [
        {"start_sample": int(n * share), "end_sample": int((n + 1) * share), "words": []}
        for n in range(len(spoken.lines))
    ]
    return {"samples": int(seconds * rate), "sample_rate": rate, "lines": lines, "silences": []}


def film(scenes: list[tuple[str, float, float, float, bool]]) -> tuple[Project, dict[str, Any], dict[str, Any]]:
    """A film of (text, seconds of speech, seconds before it, seconds of the scene, whether it is spoken)."""
    made, told, timings = [], [], {}
    at = 0
    for index, (text, seconds, head, length, is_spoken) in enumerate(scenes):
        spoken = speech(text)
        narration = Narration(
            "text", Fraction(str(seconds)), text=text, speech=spoken if is_spoken else None, estimated=not is_spoken
        )
        made.append(Scene(f"s{index}", index, (), narration, pad_head=Fraction(str(head))))
        frames = max(1, round(length * FPS))
        told.append({"id": f"s{index}", "from": at, "durationInFrames": frames})
        at += frames
        if is_spoken:
            timings[f"s{index}"] = timing(spoken, seconds)
    here = Path()
    project = Project(
        id="film", title="", folder=here, file=here, workspace=here, output=here, fps=FPS, size=(640, 384), seed=0,
        profile=None, scenes=tuple(made),
    )  # fmt: skip
    return project, {"fps": FPS, "durationInFrames": at, "scenes": told}, timings


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def spans(told: dict[str, Any]) -> list[tuple[float, float]]:
    """The beginning and the end of every scene, in ms."""
    scenes = [(scene["from"], scene["from"] + scene["durationInFrames"]) for scene in told["scenes"]]
    return [(first * 1000 / FPS, end * 1000 / FPS) for first, end in scenes]


SCENES = st.lists(
    st.tuples(
        st.sampled_from(TEXTS),
        st.floats(0.2, 6, allow_nan=False).map(lambda s: round(s, 3)),
        st.floats(0, 1, allow_nan=False).map(lambda s: round(s, 2)),
        st.floats(0.2, 8, allow_nan=False),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(SCENES)
@settings(deadline=None)
def test_a_cue_never_crosses_a_scene(scenes: list[tuple[str, float, float, float, bool]]) -> None:
    project, told, timings = film(scenes)
    files = caption_files(project, told, timings)
    cues = parse(files["captions/film.srt"].decode(), "film.srt").captions
    found: dict[int, str] = {}
    for cue in cues:
        home = next(n for n, (first, end) in enumerate(spans(told)) if first - 1 <= cue.start < end)
        assert cue.end <= spans(told)[home][1] + 1
        found[home] = found.get(home, "") + "".join(cue.lines)
    assert {n: squeezed(text) for n, text in found.items()} == {n: squeezed(s[0]) for n, s in enumerate(scenes)}
    for number, (first, end) in enumerate(spans(told)):
        words = json.loads(files[f"captions/s{number}.json"])
        assert all(0 <= word["startMs"] < word["endMs"] <= end - first + 2 for word in words)
        assert squeezed("".join(word["text"] for word in words)) == squeezed(scenes[number][0])


def test_the_end_of_a_scene_is_not_joined_with_the_beginning_of_the_next() -> None:
    project, told, timings = film(
        [("So she told nobody at all.", 1.7, 0.0, 1.96, True), ("Bang! The door flew open.", 1.8, 0.0, 2.0, True)]
    )
    srt = caption_files(project, told, timings)["captions/film.srt"].decode()
    first, *others = parse(srt, "").captions
    assert (first.lines, first.end) == (("So she told nobody at all.",), 1960)
    assert (others[0].start, others[0].lines[0][:5]) == (1960, "Bang!")


# What a person corrected


def corrections(*captions: Caption) -> dict[str, Any]:
    project, told, timings = film(
        [("So she told nobody.", 1.8, 0.0, 2.0, True), ("Bang! The door.", 1.8, 0.0, 2.0, True)]
    )
    files = corrected(caption_files(project, told, timings), told, captions)
    texts = {path: data.decode() for path, data in files.items()}
    return {path: json.loads(text) if path.endswith(".json") else text for path, text in texts.items()}


def test_the_other_files_state_what_film_srt_was_corrected_to() -> None:
    italics = ((1, 0, 6),)
    files = corrections(
        Caption(100, 1800, ("So she told", "nobody R&D."), italics), Caption(2100, 3900, ("Boom <1>!",))
    )
    assert files["captions/film.vtt"] == (
        "WEBVTT\n\n00:00:00.100 --> 00:00:01.800\nSo she told\n<i>nobody</i> R&amp;D.\n\n"
        "00:00:02.100 --> 00:00:03.900\nBoom &lt;1&gt;!\n"
    )
    one, two = files["captions/s0.json"], files["captions/s1.json"]
    assert "".join(word["text"] for word in one) == " So she told nobody R&D."
    assert [word["text"] for word in one if word.get("italic")] == [" nobody"]
    assert (one[0]["startMs"], one[-1]["endMs"]) == (100, 1800)
    assert [word["text"] for word in two] == [" Boom", " <1>!"]
    assert (two[0]["startMs"], two[-1]["endMs"]) == (100, 1900)
    assert [word.get("pageBreakAfter", False) for word in two] == [False, True]


def test_a_caption_that_runs_into_the_next_scene_is_shown_in_both() -> None:
    files = corrections(Caption(1000, 3000, ("Over the cut.",)), Caption(3500, 3600, ("End.",)))
    one, two = files["captions/s0.json"], files["captions/s1.json"]
    assert (one[0]["startMs"], one[-1]["endMs"]) == (1000, 2000)
    assert [word["text"] for word in two] == [" Over", " the", " cut.", " End."]
    assert two[0]["startMs"] == 0


def test_a_scene_whose_captions_were_taken_away_has_none() -> None:
    files = corrections(Caption(100, 1900, ("All.",)))
    assert files["captions/s1.json"] == []


def test_lines_of_chinese_are_one_text_without_blanks() -> None:
    files = corrections(Caption(100, 1900, ("总统批准了", "这项新的法律。")))
    words = [word["text"] for word in files["captions/s0.json"]]
    assert "".join(words) == " 总统批准了这项新的法律。"
    assert "批准" in words
