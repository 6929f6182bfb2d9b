"""Runs one verb: parses its arguments, and turns errors into messages and exit codes. The only catch-all."""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from ltxflow.core.errors import BUG, INTERRUPTED, USAGE, LtxflowError, Problem
from ltxflow.faces.jsonlines import envelope
from ltxflow.faces.terminal import Face

_GLOBAL = {"-p", "--project", "--root"}


def run(argv: list[str], verbs: Mapping[str, str]) -> int:
    """Given all arguments, run the verb among them and return its exit code."""
    verb, rest = _verb_first(argv)
    if verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "ltxflow --help lists the verbs"
        Face().problems([Problem(f'no verb "{verb}"', hint=hint, code="U001")])
        return USAGE
    face = Face()
    args = argparse.Namespace(json=False)
    try:
        module = importlib.import_module(f"ltxflow.commands.{verb}")
        parser = argparse.ArgumentParser(
            prog=f"ltxflow {verb}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        common(parser)
        module.add_arguments(parser)
        args = parser.parse_args(rest)
        code = int(module.run(args, face))
        sys.stdout.flush()
        return code
    except LtxflowError as error:
        if args.json:
            print(json.dumps(envelope(verb, None, error.exit_code, error.problems), ensure_ascii=False))
        else:
            face.problems(error.problems)
        return error.exit_code
    except SystemExit as leave:  # argparse has printed its message or its help
        return leave.code if isinstance(leave.code, int) else USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        return _bug(face)


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


def _bug(face: Face) -> int:
    """Keep the traceback in a file and say where: it helps us, not the person in front of the terminal."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ltxflow"
    text = f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        folder = str(state)
    except OSError:
        folder = tempfile.gettempdir()
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="bug-", suffix=".log", delete=False) as file:
        file.write(text)
    last = traceback.format_exc().strip().splitlines()[-1]
    face.problems([Problem(f"a bug in ltxflow: {last}", hint=f"please report it with {file.name}", code="U003")])
    return BUG
