from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ltxflow.core.errors import FAILED, LtxflowError
from ltxflow.media import speech
from ltxflow.media.speech import KINDS, OFFLINE, Engine, SpeechRequest, available, one_line, pick_offline, speak


def test_every_kind_has_a_module() -> None:
    for kind in KINDS:
        usable, why = available(Engine("x", kind), {"PATH": ""})
        assert usable == (not why)


def test_without_its_program_espeak_is_unavailable_with_a_remedy() -> None:
    usable, why = available(Engine("espeak", "espeak"), {"PATH": ""})
    assert not usable
    assert "apt install espeak-ng" in why


def test_offline_is_the_best_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"espeak"}
    monkeypatch.setattr(speech, "available", lambda engine, env: (engine.kind in installed, ""))
    assert pick_offline({}) == "espeak"
    installed.add("hibari")
    assert pick_offline({}) == "hibari" == OFFLINE[0]
    installed.clear()
    assert pick_offline({}) is None


def test_an_engine_that_is_not_there_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match="espeak: espeak-ng is not installed") as error:
        asyncio.run(speak(Engine("espeak", "espeak"), SpeechRequest("Hi."), tmp_path, {"PATH": ""}))
    assert error.value.exit_code == FAILED


def test_no_sound_is_an_error_that_quotes_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute:
        def available(self, engine: Engine, env: object) -> tuple[bool, str]:
            return True, ""

        async def speak(self, engine: Engine, wanted: SpeechRequest, folder: Path, env: object) -> speech.SpokenSound:
            (folder / "spoken.wav").touch()
            return speech.SpokenSound(folder / "spoken.wav")

    monkeypatch.setattr(speech, "engine_module", lambda kind: Mute())
    with pytest.raises(LtxflowError, match='mute: made no sound of "Hello there"'):
        asyncio.run(speak(Engine("mute", "mute"), SpeechRequest("Hello there"), tmp_path, os.environ))


def test_foreign_output_is_shown_as_one_printable_line() -> None:
    assert one_line("a\n\x1b[31mb\u202e\tc ") == "a [31mb c"
    assert one_line("x" * 400, 10) == "xxxxxxxxx…"


def test_naming_an_engine_loads_no_engine() -> None:
    code = "import sys, ltxflow.media.speech; print(*({'httpx', 'numpy', 'av', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
