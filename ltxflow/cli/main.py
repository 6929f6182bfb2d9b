"""The entry point: help and version at once, a cached answer where one holds, else the error boundary."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

_PLAIN = '✓ ok; ✗ x; → ->; ← <-; · -; … ...; ≈ ~; × x; ± +-; – -; │ |; ◐ o; ▭ []; “ "; ” "; ’ \'; ━ =; ╸ -; ╺ -; ≥ >='
SIGNS = dict(pair.split() for pair in _PLAIN.split("; "))  # for terminals that show ASCII alone
_HEAD = """\
ltxflow: make for films. Edit project.yaml, run `ltxflow build`; only what changed is rendered.

usage: ltxflow COMMAND [options]        ltxflow COMMAND --help
"""
_TAIL = """
options of every command:
  -p, --project P   a folder, a project.yaml, or a name under projects/ (default: found from here upward)
  --root DIR        the workspace that every path must stay in (default: the git checkout)
  --json            print JSON: one versioned document, or a line for each event
  -q, -v            print less, print more
  --version         print the version

exit codes: 0 ok · 1 something failed · 2 usage or project error · 3 a bug in ltxflow · 4 no server reachable
            5 `plan --exit-code`: there are changes · 130 interrupted

No GPU and no server? `ltxflow build --animatic` makes the whole film as slates, in a minute.
"""


def help_text() -> str:
    """Return the overview: the commands by group, the common options, the exit codes."""
    from ltxflow.cli.table import COMMANDS, groups

    width = max(map(len, COMMANDS)) + 2
    lines = []
    for group, names in groups().items():
        lines += ["", f"{group}:", *(f"  {name.ljust(width)}{COMMANDS[name].help}" for name in names)]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def main(argv: list[str] | None = None) -> int:
    """Run the command in `argv` (default: the arguments of the process) and return its exit code."""
    args = sys.argv[1:] if argv is None else argv
    _open_closed_streams()
    _escape_unencodable()
    if args[:1] in (["--version"], ["-V"]):
        from ltxflow import __version__

        return _print(f"ltxflow {__version__}\n")
    if not args or args[0] in ("-h", "--help", "help"):
        from ltxflow.cli.table import COMMANDS

        if len(args) > 1 and args[1] in COMMANDS:
            return main([args[1], "--help"])
        return _print(help_text()) or (0 if args else 2)
    if args[0] == "__complete" and len(args) == 3:
        from ltxflow.cli import completion

        return _print("".join(f"{name}\n" for name in completion.complete(args[1], args[2])))
    from ltxflow.cli import answer_cache

    asked = answer_cache.ask(args)
    code = answer_cache.answer(asked) if asked else None
    if code is not None:
        return code
    from ltxflow.cli import boundary

    return boundary.run(args, asked)


def _open_closed_streams() -> None:
    """Open the null device for each closed standard stream, so that no other file gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115 for good


def _escape_unencodable() -> None:
    """Write characters that the encoding of a stream lacks in plain ASCII: our signs as others, letters as escapes."""
    codecs.register_error("ltxflow", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="ltxflow")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(SIGNS.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text), error.end


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader left, as `head` does
            sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
