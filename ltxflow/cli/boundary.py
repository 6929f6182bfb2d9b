"""Runs one verb: parses its arguments, and turns errors into messages and exit codes. The only catch-all."""

from __future__ import annotations

import argparse
import atexit
import difflib
import errno
import gc
import importlib
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from ltxflow.cli import answer_cache
from ltxflow.core import memory_limit
from ltxflow.core.errors import BUG, FAILED, INTERRUPTED, USAGE, LtxflowError, Problem
from ltxflow.documents.paths import confine
from ltxflow.store.snapshot import CachedAnswer, entry_of, keep
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import UNWRITABLE, Console, let_go

DENIALS = {errno.EACCES, errno.EPERM}
REFUSALS = {*DENIALS, errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE}
# Verbs that load libraries for pictures and sound: without memory these end the process, or send it a signal.
HEAVY = frozenset(["build", "conform", "doctor", "export", "narrate", "pin", "report", "retake", "status", "watch"])
_GLOBAL = {"-p", "--project", "--root"}


def run(argv: list[str], verbs: Mapping[str, str]) -> int:
    """Given all arguments, run the verb among them and return its exit code."""
    gc.set_threshold(200_000, 20, 50)  # a film of 10,000 clips is made of millions of objects, and nearly all stay
    atexit.register(gc.freeze)  # all of it goes with the process: no reason to look for garbage in it first
    _line_by_line()
    face, verb, is_json = Console(), "", "--json" in argv
    try:
        _stand_somewhere()
        started_ns = _now_ns()
        verb, rest = _verb_first(argv)
        if verb not in verbs:
            raise LtxflowError(_unknown(verb, verbs))
        if verb in HEAVY:
            memory_limit.require()
        module = importlib.import_module(f"ltxflow.cli.commands.{verb}")
        parser = Parser(
            prog=f"ltxflow {verb}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        common(parser)
        module.add_arguments(parser)
        args = parser.parse_intermixed_args(rest)  # `plan hook -v middle`, too
        is_json = args.json
        confine(args.project, args.root, Path.cwd())
        code = int(module.run(args, face))
        sys.stdout.flush()
        if face.footing and (asked := answer_cache.ask([verb, *rest])) and (footing := face.footing(started_ns)):
            answer = CachedAnswer("".join(face.said), "".join(face.warned), code)
            keep(asked.path, entry_of(answer, footing, first=asked.project))
        return code
    except LtxflowError as error:
        return _tell(face, verb, is_json, error.exit_code, error.problems)
    except SystemExit as leave:  # argparse has printed its help
        return leave.code if isinstance(leave.code, int) else USAGE
    except KeyboardInterrupt as error:
        if memory_limit.is_lack(error):  # OpenBLAS sends itself SIGINT where it gets no thread
            return _tell(face, verb, is_json, FAILED, memory_limit.lack().problems)
        hint = "what is finished is kept: run it again to go on"
        return _tell(face, verb, is_json, INTERRUPTED, [Problem("interrupted", hint=hint, code="U004")])
    except BrokenPipeError:  # `| head` has seen enough
        let_go(sys.stdout)
        return 0
    except Exception as error:
        if memory_limit.is_lack(error):
            return _tell(face, verb, is_json, FAILED, memory_limit.lack().problems)
        refused = _refused(error)
        return _tell(face, verb, is_json, USAGE if refused else BUG, [refused or _bug(argv)])


def _stand_somewhere() -> None:
    """Raise LtxflowError where the folder that the user stands in was removed: nothing can be found from there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        hint = "go into one that is there: cd ~"
        raise LtxflowError(Problem("the folder you are in was removed", hint=hint, code="U005")) from None


def _now_ns() -> int:
    """Return the time, in ns since 1970. Raise LtxflowError for a clock that no file's time can be compared with."""
    try:
        return time.time_ns()
    except OverflowError:  # from the year 2262 on, ns do not fit 64 bits
        hint = "set the clock, such as with: timedatectl set-ntp true"
        raise LtxflowError(Problem("the clock of this machine is centuries ahead", hint=hint, code="U008")) from None


class Parser(argparse.ArgumentParser):
    """argparse, with errors told the way all others are."""

    def error(self, message: str) -> NoReturn:
        words = next((action.choices for action in self._actions if not action.option_strings and action.choices), None)
        if words and "required: " in message:
            raise LtxflowError(
                Problem(f"{self.prog} does what?", hint=f"say one of: {', '.join(map(str, words))}", code="U002")
            )
        options = [option for action in self._actions for option in action.option_strings]
        unknown = message.split() if message.startswith("unrecognized") else []
        wrong = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        near = [match for word in wrong for match in difflib.get_close_matches(word, options, n=1)]
        hint = f'did you mean "{near[0]}"?' if near else f"{self.prog} --help lists the options"
        raise LtxflowError(self._in_words(message) or Problem(message, hint=hint, code="U002"))

    def _in_words(self, message: str) -> Problem | None:
        """What argparse complains of most, as a person would say it. Its texts: Lib/argparse.py."""
        if found := re.fullmatch(r"the following arguments are required: (.+)", message):
            words = [action for action in self._actions if not action.option_strings]
            named = [f"{word.metavar or word.dest}" for word in words]
            told = [name if word.required else f"[{name}]" for name, word in zip(named, words, strict=True)]
            usage = " ".join([self.prog, *told])
            return Problem(f"{self.prog} needs {found[1].replace(', ', ' and ')}", hint=f"write: {usage}", code="U002")
        if found := re.fullmatch(r"argument (\S+): invalid int value: '(.*)'", message):
            return Problem(f'{found[1]} is a whole number, not "{found[2]}"', hint="write one such as 2", code="U002")
        if found := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.+)\)", message):
            known = [word.strip("'") for word in found[3].split(", ")]
            near = difflib.get_close_matches(found[2], known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"say one of: {', '.join(known)}"
            who = found[1] if found[1].startswith("-") else self.prog
            return Problem(f'{who} knows no "{found[2]}"', hint=hint, code="U002")
        return None


def common(parser: argparse.ArgumentParser) -> None:
    """Given a verb's parser, add the options that every verb has."""
    parser.add_argument("-p", "--project", metavar="P", help="a folder, a project.yaml, or a name under projects/")
    parser.add_argument("--root", metavar="DIR", help="the workspace that everything must stay in")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("-q", "--quiet", action="store_true", help="say less")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")


def _verb_first(argv: list[str]) -> tuple[str, list[str]]:
    """`ltxflow -p films/x plan` is `ltxflow plan -p films/x`."""
    before: list[str] = []
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        before.append(rest.pop(0))
        if before[-1] in _GLOBAL and rest:
            before.append(rest.pop(0))
    return (rest[0], [*before, *rest[1:]]) if rest else (argv[0], [])


def _unknown(verb: str, verbs: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(verb, verbs, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "ltxflow --help lists the verbs"
    return Problem(f'no verb "{verb}"', hint=hint, code="U001")


def _line_by_line() -> None:
    """A log shows each line when it is written."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _tell(face: Console, verb: str, is_json: bool, code: int, problems: Iterable[Problem]) -> int:
    told = list(problems)
    if is_json and not any(problem.code == UNWRITABLE for problem in told):
        return print_envelope(verb, None, code, told)
    face.problems(told)
    return code


def _refused(error: Exception) -> Problem | None:
    """What the system refuses is no bug of ours, wherever it is met: who may read a file, what a disk can do."""
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    if not isinstance(error.filename, (str, bytes)):
        return None
    path = os.fsdecode(error.filename)
    hint = "give yourself permission to use it" if error.errno in DENIALS else "look after that disk, and run it again"
    return Problem(f'"{path}" cannot be used: {(error.strerror or "refused").lower()}', hint=hint, code="U006")


def _bug(argv: list[str]) -> Problem:
    """Keep the traceback in a file and say where: it helps us, not the person in front of the terminal."""
    text = f"ltxflow {' '.join(argv)}\n\n{traceback.format_exc()}"
    last = traceback.format_exc().strip().splitlines()[-1]
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ltxflow"
    for folder in (state, Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix="bug-", suffix=".log", delete=False) as file:
                file.write(text.encode(errors="backslashreplace"))
            return Problem(f"a bug in ltxflow: {last}", hint=f"please report it with {file.name}", code="U003")
    return Problem(f"a bug in ltxflow: {last}", hint="please report it", code="U003")
