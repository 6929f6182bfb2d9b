from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.mix import read_voice
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, espeak, speak

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")

ENGINE = Engine("espeak", "espeak")
LINE = "Schöne Grüße: the key, and nothing else."


def say(wanted: SpeechRequest, folder: Path) -> SpokenSound:
    folder.mkdir(exist_ok=True)
    return asyncio.run(speak(ENGINE, wanted, folder, os.environ))


def test_a_line_is_spoken_with_the_times_of_its_words(tmp_path: Path) -> None:
    sound = say(SpeechRequest(LINE), tmp_path / "a")
    words = [LINE[word.at : word.at + word.length] for word in sound.words]
    if not words:
        pytest.skip("its library is not installed")
    assert words == ["Schöne", "Grüße", "the", "key", "and", "nothing", "else"]
    starts = [word.start for word in sound.words]
    assert starts == sorted(starts)
    assert starts[-1] < read_voice(sound.file).seconds
    assert sound.version


def test_the_same_line_is_the_same_sound_with_and_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = say(SpeechRequest(LINE, "en-gb", 1.2), tmp_path / "a").file.read_bytes()

    async def plainly(folder: Path) -> SpokenSound:
        rate = round(espeak.NORMAL_RATE * 1.2)
        return await espeak.speak_plainly(
            ENGINE, SpeechRequest(LINE, "en-gb", 1.2), "en-gb", rate, folder, os.environ, folder / "spoken.wav"
        )

    (tmp_path / "b").mkdir()
    plain = asyncio.run(plainly(tmp_path / "b"))
    assert read_voice(plain.file).samples.tobytes() == read_voice(tmp_path / "a" / "spoken.wav").samples.tobytes()
    assert whole


def test_speed_shortens(tmp_path: Path) -> None:
    slow, fast = (read_voice(say(SpeechRequest(LINE, "", speed), tmp_path / str(speed)).file) for speed in (0.8, 1.6))
    assert slow.seconds > 1.5 * fast.seconds


@pytest.mark.parametrize("voice", ["de", "en-gb", "fr+f3", "gmw/en-US"])
def test_voices_are_names_and_languages(tmp_path: Path, voice: str) -> None:
    assert say(SpeechRequest("Hello.", voice), tmp_path).file.stat().st_size > 1000


@pytest.mark.parametrize("voice", ["klingon-x", "../../etc/passwd", "/etc/passwd", "-q"])
def test_a_voice_that_is_not_there_is_named(tmp_path: Path, voice: str) -> None:
    with pytest.raises(LtxflowError, match=f'no voice "{voice}"') as error:
        say(SpeechRequest("Hello.", voice), tmp_path)
    assert "--voices" in error.value.problems[0].hint


def test_markup_in_a_line_does_nothing(tmp_path: Path) -> None:
    sound = say(SpeechRequest('<audio src="/etc/passwd"/> Hi.'), tmp_path)
    assert sound.file.stat().st_size > 1000
