from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.speech import tone

from ltxflow.core.errors import LtxflowError
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, speak
from ltxflow.media.speech.command import arguments

# Writes its call beside the sound: arguments, folder, environment.
TELLER = f"""
import json, os, sys
out = sys.argv[1]
open(out, "wb").write({tone(0.05)!r})
call = {{"argv": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ)}}
json.dump(call, open(os.path.join(os.path.dirname(out), "call.json"), "w"))
"""


def program(folder: Path, code: str, *args: str) -> Engine:
    """An engine that runs this Python code."""
    (folder / "program.py").write_text(code)
    return Engine("mine", "command", argv=(sys.executable, str(folder / "program.py"), *args))


def say(engine: Engine, wanted: SpeechRequest, folder: Path, **env: str) -> SpokenSound:
    folder.mkdir(exist_ok=True)
    return asyncio.run(speak(engine, wanted, folder, {"PATH": os.environ["PATH"], **env}))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def call(scratch: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((scratch / "call.json").read_text())
    return read


def test_placeholders_are_filled_and_the_file_is_the_sound(tmp_path: Path, scratch: Path) -> None:
    engine = program(tmp_path, TELLER, "{out}", "--voice={voice}", "-s", "{speed}", "{text_file}", "{text}", '{"a": 1}')
    sound = say(engine, SpeechRequest("Héllo “you”", "amy", 1.25), scratch)
    assert sound.file.read_bytes() == tone(0.05)
    argv = call(scratch)["argv"]
    assert argv == ["--voice=amy", "-s", "1.25", str(scratch / "text.txt"), "Héllo “you”", '{"a": 1}']
    assert (scratch / "text.txt").read_text("utf-8") == "Héllo “you”\n"


def test_no_shell_ever_reads_a_line(tmp_path: Path, scratch: Path) -> None:
    line = "a; touch $(echo hacked) `id` && rm -rf / | 'b' \"c\" {out} {voice}"
    say(program(tmp_path, TELLER, "{out}", "{text}"), SpeechRequest(line), scratch)
    assert call(scratch)["argv"] == [line]  # placeholders in it stay text, too


@pytest.mark.parametrize("line", ["-o /etc/passwd", "--help", "@/etc/passwd", "-"])
def test_a_line_is_never_an_option_nor_the_name_of_a_file(line: str) -> None:
    engine = Engine("mine", "command", argv=("say", "{text}", "--text={text}"))
    filled = arguments(engine, SpeechRequest(line), Path("t"), Path("o"), {})
    assert filled == [f" {line}", f"--text={line}"]


def test_home_is_known_in_the_users_own_entries_only() -> None:
    engine = Engine("mine", "command", argv=("say", "~/voices/a.onnx", "{text}"))
    assert arguments(engine, SpeechRequest("~/x"), Path("t"), Path("o"), {"HOME": "/h"}) == ["/h/voices/a.onnx", "~/x"]
    theirs = replace(engine, folder=Path("film"))
    assert arguments(theirs, SpeechRequest("x"), Path("t"), Path("o"), {"HOME": "/h"})[0] == "~/voices/a.onnx"


def test_a_command_sees_no_secrets_but_those_that_its_entry_passes(tmp_path: Path, scratch: Path) -> None:
    engine = replace(program(tmp_path, TELLER, "{out}", "{text}"), pass_env=("ELEVEN_API_KEY",))
    say(
        engine,
        SpeechRequest("Hi."),
        scratch,
        HOME="/h",
        LC_ALL="C.UTF-8",
        OPENAI_API_KEY="s3",
        ELEVEN_API_KEY="e11",
        DB="pw",
    )
    passed = call(scratch)["env"]
    assert isinstance(passed, dict)
    assert {"HOME": "/h", "LC_ALL": "C.UTF-8", "ELEVEN_API_KEY": "e11"}.items() <= passed.items()
    assert not {"OPENAI_API_KEY", "DB"} & passed.keys()


def test_a_projects_command_runs_in_its_folder(tmp_path: Path, scratch: Path) -> None:
    film = tmp_path / "film"
    film.mkdir()
    (film / "say.sh").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/program.py" "$@"\n')
    (film / "say.sh").chmod(0o755)
    engine = replace(program(tmp_path, TELLER), argv=("./say.sh", "{out}", "{text}"), folder=film)
    say(engine, SpeechRequest("Hi."), scratch)
    assert call(scratch)["cwd"] == str(film)


def test_another_command_runs_in_scratch(tmp_path: Path, scratch: Path) -> None:
    say(program(tmp_path, TELLER, "{out}", "{text}"), SpeechRequest("Hi."), scratch)
    assert call(scratch)["cwd"] == str(scratch)


@pytest.mark.parametrize(
    ("code", "what", "hint"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('no \x1b[1mvoice')", "exit code 1: no [1mvoice", ""),
        ("import sys; sys.exit(7)", "exit code 7", ""),
        ("pass", "wrote no sound", "{out}"),
    ],
)
def test_a_failing_program_is_quoted(tmp_path: Path, scratch: Path, code: str, what: str, hint: str) -> None:
    with pytest.raises(LtxflowError) as error:
        say(program(tmp_path, code, "{out}", "{text}"), SpeechRequest("Hi."), scratch)
    assert what in error.value.problems[0].message
    assert hint in error.value.problems[0].hint
    assert not error.value.transient


def test_a_program_that_is_not_there_is_named(scratch: Path) -> None:
    with pytest.raises(LtxflowError, match='mine: no program "no-such-program"'):
        say(Engine("mine", "command", argv=("no-such-program", "{text}", "{out}")), SpeechRequest("Hi."), scratch)


HANGS = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
with open(os.path.join(os.path.dirname(sys.argv[1]), "pids.tmp"), "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(file.name, file.name[:-4])
signal.pause()
"""


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while not all(map(is_gone, pids)):
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_cancelling_ends_the_program_and_its_children(tmp_path: Path, scratch: Path) -> None:
    async def cancel() -> None:
        engine = program(tmp_path, HANGS, "{out}", "{text}")
        task = asyncio.create_task(speak(engine, SpeechRequest("Hi."), scratch, os.environ))
        async with asyncio.timeout(10):
            while not (scratch / "pids").exists():
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone([int(pid) for pid in (scratch / "pids").read_text().split()])

    asyncio.run(cancel())


def test_a_program_that_does_not_end_is_killed(tmp_path: Path, scratch: Path) -> None:
    engine = replace(program(tmp_path, "import signal; signal.pause()", "{out}", "{text}"), timeout_s=0.2)
    with pytest.raises(LtxflowError, match=r"does not come to an end: 0\.2 s") as error:
        say(engine, SpeechRequest("Hi."), scratch)
    assert "timeout: 5m" in error.value.problems[0].hint
