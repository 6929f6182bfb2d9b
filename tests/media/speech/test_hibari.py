from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path

import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.mix import canonical, read_voice
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, speak

pytestmark = pytest.mark.skipif(importlib.util.find_spec("hibari") is None, reason="hibari-tts is not installed")

ENGINE = Engine("hibari", "hibari")


def say(wanted: SpeechRequest, folder: Path) -> SpokenSound:
    folder.mkdir(exist_ok=True)
    return asyncio.run(speak(ENGINE, wanted, folder, os.environ))


def test_the_same_line_is_the_same_sound(tmp_path: Path) -> None:
    one, other = (say(SpeechRequest("The key is yours."), tmp_path / name) for name in "ab")
    assert one.file.read_bytes() == other.file.read_bytes()
    assert 0.8 < read_voice(one.file).seconds < 4
    assert one.version


def test_speed_shortens(tmp_path: Path) -> None:
    slow, fast = (
        read_voice(say(SpeechRequest("The key is yours.", "", s), tmp_path / str(s)).file) for s in (0.6, 1.8)
    )
    assert slow.seconds > 1.5 * fast.seconds


def test_an_unknown_voice_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match='no voice "bob"') as error:
        say(SpeechRequest("Hello.", "bob"), tmp_path)
    assert "heart" in error.value.problems[0].hint


def test_no_voice_is_fetched_from_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path / "none"))
    with pytest.raises(LtxflowError, match='the voice "emma" is not on this machine') as error:
        say(SpeechRequest("Hello.", "emma"), tmp_path)
    assert "hibari --voice emma" in error.value.problems[0].hint
    assert not (tmp_path / "none").exists()


def test_an_unsupported_language_gives_no_sound(tmp_path: Path) -> None:
    sound = say(SpeechRequest("你好"), tmp_path)
    with pytest.raises(LtxflowError, match="holds no samples"):
        canonical(sound.file, tmp_path / "out.wav")


def test_cancelling_waits_for_the_thread_that_writes_into_the_folder(tmp_path: Path) -> None:
    async def stopped() -> None:
        line = SpeechRequest("The key is yours. " * 20)
        speaking = asyncio.create_task(speak(ENGINE, line, tmp_path, os.environ))
        await asyncio.sleep(0)  # it has begun
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
        assert (tmp_path / "spoken.wav").exists()  # its thread has come to its end

    asyncio.run(stopped())
