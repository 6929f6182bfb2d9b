"""The step that joins lines:   line:hook/1 ─┬─► narration:hook,   line:hook/2 ─┘"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.speech import tone

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import Span
from ltxflow.media.audio import measure_sound
from ltxflow.media.speech import Engine
from ltxflow.project.speech import Line, Speech, line_times
from ltxflow.steps import ActionContext, Node, ResolvedInputs, narration

WISHES = ResolvedInputs({}, lambda clip, take: 0)
AT = Span("project.yaml", 3, 7)


def speech(*lines: Line, **values: Any) -> Speech:
    return Speech(**{"engine": Engine("espeak", "espeak"), "voice": "", "speed": 1.0, "lines": lines, **values})


TWO = speech(Line("a", "One.", Fraction(1, 2)), Line("b", "Two.", span=AT))


def nodes(*told: Speech | None) -> list[Node]:
    scenes = [SimpleNamespace(id=f"s{n}", narration=SimpleNamespace(speech=t, span=AT)) for n, t in enumerate(told)]
    return list(narration.nodes(SimpleNamespace(scenes=scenes), WISHES))  # type: ignore[arg-type]  # all it reads


def inputs(**digests: str) -> dict[str, Output]:
    return {name.replace("_", "."): Output(Digest(digest)) for name, digest in digests.items()}


def run(node: Node, folder: Path, sounds: list[bytes], words: Mapping[int, list[dict[str, int]]]) -> ActionContext:
    given = {}
    for number, sound in enumerate(sounds):
        given[f"speech.{number}"], given[f"words.{number}"] = folder / f"{number}", folder / f"w{number}"
        given[f"speech.{number}"].write_bytes(sound)
        given[f"words.{number}"].write_text(json.dumps(words.get(number, [])))
    job = ActionContext(node.target, Key("k"), folder, given, lambda fraction, text: None)
    asyncio.run(narration.run(node, narration.action(node, {}), job))
    return job


def test_a_scenes_narration_needs_the_sound_of_each_of_its_lines() -> None:
    node, last = nodes(TWO, None, TWO)
    assert (node.target, last.target) == ("narration:s0", "narration:s2")
    assert node.needs == {
        "speech.0": "line:s0/a#speech",
        "words.0": "line:s0/a#words",
        "speech.1": "line:s0/b#speech",
        "words.1": "line:s0/b#words",
    }


def test_it_is_keyed_by_the_bytes_of_its_lines_pauses_and_trim() -> None:
    (node,) = nodes(TWO)
    given = inputs(speech_0="aa", words_0="bb", speech_1="cc", words_1="dd")
    assert narration.action(node, given).as_json() == {
        "format": "action/1",
        "kind": "narration",
        "version": "1",
        "body": {"pauses_s": ["1/2", "0"], "trim": False},
        "inputs": {"speech.0": "aa", "words.0": "bb", "speech.1": "cc", "words.1": "dd"},
        "outputs": ["speech", "timing"],
    }


def test_another_id_or_another_engine_with_the_same_sound_changes_nothing() -> None:
    renamed = speech(
        Line("x", "One.", Fraction(1, 2)), Line("y", "Two."), engine=Engine("hibari", "hibari"), voice="heart"
    )
    one, other = nodes(TWO, renamed)
    assert narration.action(one, inputs(speech_0="aa")).key == narration.action(other, inputs(speech_0="aa")).key


def test_lines_pauses_words_and_silences_are_where_the_timing_says(tmp_path: Path) -> None:
    (node,) = nodes(TWO)
    rate = 24000
    words = {1: [{"at": 0, "length": 3, "start_sample": 2400}]}
    job = run(node, tmp_path, [tone(0.4, rate), tone(0.6, rate)], words)
    facts, timing = job.facts["speech"], json.loads(job.out["timing"].read_text())
    assert measure_sound(job.out["speech"]).samples == facts["samples"] == timing["samples"]
    assert Fraction(facts["seconds"]) == Fraction(19, 10)  # 0.4 + 0.2 silence, 0.5 pause, 0.6 + 0.2
    assert line_times(TWO, facts) == {
        "a": (Fraction(0), Fraction(6, 10)),
        "b": (Fraction(11, 10), Fraction(19, 10)),
    }
    assert timing["lines"][1]["words"] == [{"at": 0, "length": 3, "start_sample": round(1.1 * rate) + 2400}]
    (first, end), (last, _) = timing["silences"]
    assert (first / rate, end / rate) == (pytest.approx(0.4, abs=0.02), pytest.approx(1.1, abs=0.02))
    assert last / rate == pytest.approx(1.7, abs=0.02)
    assert {name: str(told) for name, told in facts.items() if name == "seconds"} == {"seconds": "19/10"}


def test_trim_takes_the_silence_at_the_ends_of_lines(tmp_path: Path) -> None:
    (node,) = nodes(speech(*TWO.lines, trim=True))
    job = run(node, tmp_path, [tone(0.4), tone(0.6)], {})
    assert float(Fraction(job.facts["speech"]["seconds"])) == pytest.approx(0.4 + 0.6 + 0.5 + 2 * 0.03, abs=0.03)


def test_fields_and_their_places() -> None:
    (node,) = nodes(TWO)
    assert narration.fields(node) == {"trim": False, "pause.a": "0.5s", "pause.b": None}
    assert narration.where(node, "pause.b") == AT
    assert narration.where(node, "trim") == AT
