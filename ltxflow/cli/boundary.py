"""Run one command, and turn its errors into messages and exit codes. The only catch-all."""

from __future__ import annotations

import argparse
import atexit
import difflib
import errno
import gc
import os
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from ltxflow.cli import answer_cache
from ltxflow.cli.answer_cache import AnswerKey
from ltxflow.cli.parser import did_you_mean, parser_of
from ltxflow.cli.table import COMMANDS
from ltxflow.core import memory_limit
from ltxflow.core.errors import BUG, FAILED, INTERRUPTED, USAGE, LtxflowError, Problem, problem
from ltxflow.documents.document import confine
from ltxflow.store.snapshot import CachedAnswer, entry_of, keep
from ltxflow.ui.terminal import UNWRITABLE, Console, let_go, print_envelope

DENIALS = {errno.EACCES, errno.EPERM}
WRONG_PATHS = {errno.ENAMETOOLONG, errno.ELOOP}
REFUSALS = {*DENIALS, *WRONG_PATHS, errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE}


def run(argv: list[str], asked: AnswerKey | None = None, **defaults: object) -> int:
    """Run the command in `argv` and return its exit code. Keep its answer under the key `asked`, if it may be kept.

    `defaults` are values of its namespace that no option sets, such as the `executors` of a build.
    """
    gc.set_threshold(200_000, 20, 50)  # a film of 10,000 clips has millions of objects, and nearly all of them stay
    atexit.register(gc.freeze)  # the process ends with all of them: skip the last collection
    _buffer_lines()
    console, name, is_json = Console(), "", "--json" in argv
    try:
        _check_folder()
        started_ns = _now_ns()
        asked = asked or answer_cache.ask(argv)
        name, rest = answer_cache.command_first(argv)
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = did_you_mean(near, "run ltxflow --help to list the commands")
            raise LtxflowError(problem("U001", name=name, hint=hint))
        if COMMANDS[name].uses_media:
            memory_limit.require()
        args = parser_of(name).parse_intermixed_args(rest, argparse.Namespace(**defaults))  # `plan hook -v middle`, too
        is_json, console.is_verbose = args.json, args.verbose
        confine(args.project, args.root, Path.cwd())
        code = int(args.run(args, console))
        sys.stdout.flush()
        if console.input_manifest and asked:
            inputs = console.input_manifest(started_ns)
            if inputs is not None and asked.holds():
                answer = CachedAnswer("".join(console.printed), "".join(console.printed_errors), code)
                keep(asked.path, entry_of(answer, inputs, first=asked.project))
        return code
    except LtxflowError as error:
        return _report(console, name, is_json, error.exit_code, error.problems)
    except SystemExit as leave:  # argparse has printed its help
        return leave.code if isinstance(leave.code, int) else USAGE
    except KeyboardInterrupt as error:
        if memory_limit.is_lack(error):  # OpenBLAS sends itself SIGINT where it gets no thread
            return _report(console, name, is_json, FAILED, memory_limit.lack().problems)
        return _report(console, name, is_json, INTERRUPTED, [problem("U004")])
    except BrokenPipeError:  # the reader left, as `head` does
        let_go(sys.stdout)
        return 0
    except Exception as error:
        if memory_limit.is_lack(error):
            return _report(console, name, is_json, FAILED, memory_limit.lack().problems)
        refusal = _refusal(error)
        return _report(console, name, is_json, USAGE if refusal else BUG, [refusal or _bug(argv)])


def _check_folder() -> None:
    """Raise LtxflowError where the current folder was removed: no path can be resolved from there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise LtxflowError(problem("U005")) from None


def _now_ns() -> int:
    """Return the time in ns since 1970. Raise LtxflowError for a clock that no file's time compares with."""
    try:
        return time.time_ns()
    except OverflowError:  # from the year 2262 on, ns do not fit 64 bits
        raise LtxflowError(problem("U008")) from None


def _buffer_lines() -> None:
    """Flush after every line, so that a log shows each when it is written."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _report(console: Console, name: str, is_json: bool, code: int, problems: Iterable[Problem]) -> int:
    found = list(problems)
    if is_json and not any(each.code == UNWRITABLE for each in found):
        return print_envelope(name, None, code, found)
    console.problems(found)
    return code


def _refusal(error: Exception) -> Problem | None:
    """Return the problem for a file that permissions or the disk refuse; None for a bug."""
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    if not isinstance(error.filename, (str, bytes)):
        return None
    path, cause = os.fsdecode(error.filename), (error.strerror or "refused").lower()
    if error.errno in DENIALS:
        return problem("U006.denied", path=path, cause=cause)
    if error.errno in WRONG_PATHS:
        shortened = path if len(path) <= 200 else f"{path[:200]}…"
        return problem("U006.path", path=shortened, cause=cause)
    return problem("U006.disk", path=path, cause=cause)


def _bug(argv: list[str]) -> Problem:
    """Write the traceback to a file and return the problem that names it."""
    import tempfile  # on first use: it takes a while to be imported

    text = f"ltxflow {' '.join(argv)}\n\n{traceback.format_exc()}"
    last = traceback.format_exc().strip().splitlines()[-1]
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ltxflow"
    for folder in (state, Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix="bug-", suffix=".log", delete=False) as file:
                file.write(text.encode(errors="backslashreplace"))
            return problem("U003", error=last, hint=f"report it with {file.name}")
    return problem("U003", error=last)
