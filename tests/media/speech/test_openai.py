from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from fakes.speech import FakeSpeech, tone

from ltxflow.core.errors import LtxflowError
from ltxflow.media.mix import read_voice
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, available, openai

KEY = "sk-s3same-0pen"
ENV = {"PAID_KEY": KEY}


@pytest.fixture
def server() -> Iterator[FakeSpeech]:
    with FakeSpeech(KEY) as made:
        yield made


def engine_of(server: FakeSpeech) -> Engine:
    return Engine("paid", "openai", url=server.url, model="tts-1", key_from_env="PAID_KEY", timeout_s=10)


HELLO = SpeechRequest("Hello.", "alloy")


def say(engine: Engine, folder: Path, wanted: SpeechRequest = HELLO) -> tuple[SpokenSound, list[float]]:
    """Speak, and return how long it would have waited before further attempts."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    return asyncio.run(openai.speak(engine, wanted, folder, ENV, wait)), waited


def problem(engine: Engine, folder: Path) -> str:
    with pytest.raises(LtxflowError) as error:
        say(engine, folder)
    found = error.value.problems[0]
    assert KEY not in found.message + found.hint
    return f"{found.message} | {found.hint}"


def test_a_line_is_requested_as_wav_with_the_key(server: FakeSpeech, tmp_path: Path) -> None:
    sound, waited = say(engine_of(server), tmp_path)
    assert not waited
    assert read_voice(sound.file).seconds == Fraction(7, 10)
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/audio/speech", KEY)
    assert asked.body == {"model": "tts-1", "input": "Hello.", "voice": "alloy", "response_format": "wav"}


def test_speed_is_sent_when_it_is_not_normal(server: FakeSpeech, tmp_path: Path) -> None:
    sound, _ = say(engine_of(server), tmp_path, SpeechRequest("Hello.", "alloy", 2.0))
    assert server.asked[0].body["speed"] == 2.0
    assert float(read_voice(sound.file).seconds) == 0.45


def test_without_a_variable_no_key_is_sent(tmp_path: Path) -> None:
    with FakeSpeech() as server:
        say(replace(engine_of(server), key_from_env=""), tmp_path)
        assert server.asked[0].key == ""


def test_a_server_that_answers_in_another_format_is_fine(server: FakeSpeech, tmp_path: Path) -> None:
    server.answer(200, tone(0.3, 16000), Content_Type="audio/mpeg")
    sound, _ = say(engine_of(server), tmp_path)
    assert read_voice(sound.file).rate == 16000


@pytest.mark.parametrize(("status", "asked"), [(429, "7"), (500, None), (503, "600"), (502, "soon")])
def test_a_busy_server_gets_the_request_again(
    server: FakeSpeech, tmp_path: Path, status: int, asked: str | None
) -> None:
    server.answer(status, b"busy", **({"Retry_After": asked} if asked else {}))
    _, waited = say(engine_of(server), tmp_path)
    assert waited == [{"7": 7.0, "600": openai.LONGEST_WAIT_S}.get(asked or "", openai.WAITS_S[0])]
    assert len(server.asked) == 2


def test_a_server_that_stays_busy_fails_as_transient(server: FakeSpeech, tmp_path: Path) -> None:
    for _ in range(3):
        server.answer(429, {"error": {"message": "Rate limit reached"}})
    with pytest.raises(LtxflowError, match="answers 429: Rate limit reached") as error:
        say(engine_of(server), tmp_path)
    assert error.value.transient
    assert len(server.asked) == openai.ATTEMPTS


def test_a_wrong_key_is_reported_without_the_key(server: FakeSpeech, tmp_path: Path) -> None:
    server.key = "another"
    found = problem(engine_of(server), tmp_path)
    assert "answers 401: Incorrect API key provided: …." in found
    assert "PAID_KEY" in found
    assert len(server.asked) == 1  # a refusal is not asked again


@pytest.mark.parametrize(
    ("status", "body", "what"),
    [
        (400, {"error": {"message": "no \u001b[1mvoice\n'x'"}}, "answers 400: no [1mvoice 'x'"),
        (400, {"detail": "bad voice"}, "answers 400: bad voice"),
        (422, {"detail": [{"msg": "bad"}]}, "answers 422"),
        (404, b"<html>nothing</html>", "/v1 answers 404 | check the url: it mostly ends in /v1"),
        (400, b"plain", "answers 400: plain"),
        (400, b"\xff\xfe" * 90000, "answers 400"),
        (200, {"error": {"message": "out of memory"}}, "sends no sound: out of memory"),
    ],
)
def test_an_error_is_quoted_in_one_line(
    server: FakeSpeech, tmp_path: Path, status: int, body: dict[str, object] | bytes, what: str
) -> None:
    server.answer(status, body)
    assert what in problem(engine_of(server), tmp_path)


def test_a_redirect_is_not_followed(server: FakeSpeech, tmp_path: Path) -> None:
    server.answer(307, b"", Location="http://me:pw@elsewhere.example/v1?key=1")
    found = problem(engine_of(server), tmp_path)
    assert "redirects to http://elsewhere.example/v1 " in found
    assert "pw" not in found


def test_a_flood_is_cut_off(server: FakeSpeech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "MAX_BYTES", 2**20)
    server.answer(200, bytes(2 * 2**20))
    assert "sends more than 1 MiB" in problem(engine_of(server), tmp_path)


def test_a_server_that_accepted_the_line_gets_no_second_request(server: FakeSpeech, tmp_path: Path) -> None:
    server.silent.set()
    found = problem(replace(engine_of(server), timeout_s=0.5), tmp_path)
    assert "does not answer within 0.5 s" in found
    assert len(server.asked) <= 1


def test_a_server_that_is_not_there_is_named(server: FakeSpeech, tmp_path: Path) -> None:
    found = problem(replace(engine_of(server), url="http://127.0.0.1:1/v1"), tmp_path)
    assert "http://127.0.0.1:1/v1: " in found
    assert "check that the server is running" in found


def test_a_key_that_is_not_set_is_known_before_anything_is_sent() -> None:
    engine = Engine("paid", "openai", url="http://127.0.0.1:1/v1", key_from_env="PAID_KEY")
    assert available(engine, {}) == (False, 'the variable "PAID_KEY" for its key is not set')
    assert available(engine, ENV) == (True, "")


def test_a_key_that_no_header_can_carry_is_reported(server: FakeSpeech, tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match="no header can carry"):
        asyncio.run(openai.speak(engine_of(server), SpeechRequest("Hi.", "a"), tmp_path, {"PAID_KEY": "schlüssel"}))
    assert not server.asked
