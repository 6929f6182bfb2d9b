from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fakes.speech import FakeSpeech, tone

from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError
from ltxflow.media.audio import measure_sound
from ltxflow.media.speech import Engine
from ltxflow.project.speech import Line, Speech
from ltxflow.steps import ActionContext, Node, ResolvedInputs, line

WISHES = ResolvedInputs({}, lambda clip, take: 0)


@dataclass(frozen=True)
class Told:
    """As much of a narration, scene or project as a step looks at."""

    speech: Speech | None
    span: None = None


@dataclass(frozen=True)
class Scene:
    id: str
    narration: Told


@dataclass(frozen=True)
class Film:
    scenes: tuple[Scene, ...]


def speech(*texts: str, **values: Any) -> Speech:
    lines = tuple(Line(str(n), text) for n, text in enumerate(texts, 1))
    told: dict[str, Any] = {"engine": Engine("server", "openai", model="m"), "voice": "a", "speed": 1.0, **values}
    return Speech(lines=lines, **told)


def nodes(**scenes: Speech | None) -> list[Node]:
    film = Film(tuple(Scene(id, Told(told)) for id, told in scenes.items()))
    return list(line.nodes(film, WISHES))  # type: ignore[arg-type]  # it reads no more of a project than this


def run(node: Node, folder: Path) -> ActionContext:
    folder.mkdir(exist_ok=True)
    action = line.action(node, {})
    job = ActionContext(node.target, Key("k"), folder, {}, lambda fraction, text: None)
    asyncio.run(line.run(node, action, job))
    assert set(job.out) == set(action.outputs)
    return job


def test_every_line_to_speak_is_a_node_and_a_scene_without_speech_has_none() -> None:
    found = nodes(hook=speech("One.", "Two."), silent=None, end=speech("One."))
    assert [node.target for node in found] == ["line:hook/1", "line:hook/2", "line:end/1"]
    assert not any(node.needs for node in found)


def test_the_same_line_has_one_key_wherever_it_is() -> None:
    keys = [line.action(node, {}).key for node in nodes(hook=speech("One.", "Two."), end=speech("Two.", "One."))]
    assert keys[0] == keys[3]
    assert keys[1] == keys[2]
    assert keys[0] != keys[1]


def test_the_format_of_a_key_is_frozen() -> None:
    (node,) = nodes(hook=speech("“One” BTC.", lexicon={"BTC": "bitcoin"}))
    assert line.action(node, {}).as_json() == {
        "format": "action/1",
        "kind": "line",
        "version": "1",
        "body": {"engine": {"kind": "openai", "model": "m"}, "voice": "a", "speed": 1.0, "text": '"One" bitcoin.'},
        "inputs": {},
        "outputs": ["speech", "words"],
    }


def test_fields_tell_only_what_has_an_effect() -> None:
    lexicon = {"BTC": "bitcoin", "bitcoin": "b", "ETH": "ether"}
    (node,) = nodes(hook=speech("BTC.", voice="", lexicon=lexicon))
    assert line.fields(node) == {
        "text": "BTC.", "engine": "server", "speed": 1.0, "voice": None, "lexicon.BTC": "bitcoin",
    }  # fmt: skip


def test_a_line_is_spoken_measured_and_kept_as_a_canonical_wav(tmp_path: Path) -> None:
    with FakeSpeech() as server:
        (node,) = nodes(hook=speech("Hello.", engine=Engine("server", "openai", url=server.url, model="m")))
        job = run(node, tmp_path)
    facts = job.facts["speech"]
    assert measure_sound(job.out["speech"]).samples == facts["samples"] == 16800
    assert (facts["sample_rate"], Fraction(facts["seconds"])) == (24000, Fraction(7, 10))
    assert facts["lufs"] < 0
    assert json.loads(job.out["words"].read_text()) == []
    json.dumps(job.facts)


def test_what_comes_back_without_sound_is_an_error_that_quotes_the_line(tmp_path: Path) -> None:
    with FakeSpeech() as server:
        server.answer(200, b"this is no sound")
        (node,) = nodes(hook=speech("Hello.", engine=Engine("server", "openai", url=server.url, model="m")))
        with pytest.raises(LtxflowError, match=r'server: made no sound of "Hello\."'):
            run(node, tmp_path)


def test_a_server_that_streams_with_a_header_each_time_is_read_to_its_end(tmp_path: Path) -> None:
    with FakeSpeech() as server:
        server.answer(200, tone(1.5, silence_s=0) + tone(1.5, silence_s=0))
        (node,) = nodes(hook=speech("Hello.", engine=Engine("server", "openai", url=server.url, model="m")))
        job = run(node, tmp_path)
    assert job.facts["speech"]["samples"] == measure_sound(job.out["speech"]).samples == 72000


def test_a_sound_that_broke_off_is_an_error_that_quotes_the_line(tmp_path: Path) -> None:
    with FakeSpeech() as server:
        server.answer(200, tone(2.0, silence_s=0)[:48044])
        (node,) = nodes(hook=speech("Hello.", engine=Engine("server", "openai", url=server.url, model="m")))
        with pytest.raises(LtxflowError, match=r'server: broke off in "Hello\.": .* is cut off: 1\.00 s of 2\.00 s'):
            run(node, tmp_path)


def test_a_command_that_writes_to_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Such as `sox … -t wav - > {out}`: its header cannot know how long the sound will be."""
    data = bytearray(tone(1.0, silence_s=0))
    data[4:8], data[40:44] = b"\xff\xff\xff\x7f", b"\x00\xf0\xff\x7f"
    (tmp_path / "piped.wav").write_bytes(bytes(data) * 3)
    code = "import sys, shutil; shutil.copy(sys.argv[1], sys.argv[2])"
    copies = Engine("mine", "command", argv=(sys.executable, "-c", code, "{text}", "{out}"))
    (node,) = nodes(hook=speech(str(tmp_path / "piped.wav"), engine=copies))
    assert run(node, tmp_path / "job").facts["speech"]["seconds"] == "3"


def test_an_engine_that_fails_is_reported_by_its_name(tmp_path: Path) -> None:
    code = "import sys, shutil; shutil.copy(sys.argv[1], sys.argv[2])"
    missing = Engine("mine", "command", argv=(sys.executable, "-c", code, "{text}", "{out}"))
    (node,) = nodes(hook=speech(str(tmp_path / "none"), engine=replace(missing, name="other")))
    with pytest.raises(LtxflowError, match="other: "):
        run(node, tmp_path / "scratch")
