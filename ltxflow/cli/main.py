"""The command line: a verb to its module, loaded on first use, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

VERBS = {
    "init": "start a film: project.yaml with everything in it that you need first",
    "check": "read the project and its prompts; say what is wrong and what could be better",
    "plan": "what a build would render, and why",
    "build": "render what changed, and write the film's files",
    "watch": "look again at every save, and say what changed; a key renders it",
    "diff": "what became of the film since a git revision: clips and why, seconds, GPU time",
    "narrate": "speak the narration, and nothing else",
    "conform": "the finished film as one mp4: narration, crossfades, chapters, captions",
    "explain": "why a clip is, or is not, rendered again",
    "show": "one clip: its values and where they come from, its prompt, its workflow",
    "status": "scenes and clips, and how far each is",
    "report": "the storyboard as a page: pictures, prompts, takes, what is stale and why",
    "takes": "the takes of a clip, and which is in the cut",
    "pick": "put a take into the cut",
    "approve": "freeze the take that is in the cut: later edits warn and change nothing",
    "reject": "say that a take will not do, and why",
    "retake": "render one more take of a clip, with another seed",
    "accept": "let an existing result stand for what the clip is now",
    "pin": "put a file made by hand into a clip's place",
    "forget": "drop a take: the next build makes it anew",
    "verify": "read what the lock names and what is published, and say what differs; --repair mends it",
    "cache": "the store: ls, stats, verify, gc (dry unless --yes), rebuild",
    "lock": "ltxflow.lock and git: merge two versions of it, set git up to do so",
    "graph": "the plan as a graph: Mermaid, or DOT",
    "export": "a Remotion project, or the cut for an editor: otio, edl, fcpxml",
    "clean": "list files of clips that are no longer in the film; --yes removes them",
    "template": "bring in a ComfyUI workflow of your own; list, show and check templates",
    "doctor": "what works here and what does not, with a next step for each: libraries, store, servers, models",
    "servers": "the ComfyUI servers that a build would use, why those, and how they are",
    "trust": "allow what a project brings: its own templates, absolute paths",
    "completion": "a script that completes verbs, options and clips in bash, zsh or fish",
    "rules": "every rule that a film and its clips are held to, by code",
    "schema": "print the JSON Schema of project.yaml and the other files",
}

_HEAD = """\
ltxflow: make for films. Edit project.yaml, run `ltxflow build`; only what changed is rendered.

usage: ltxflow VERB [options]        ltxflow VERB --help

"""
_TAIL = """
options of every verb:
  -p, --project P   a folder, a project.yaml, or a name under projects/ (default: found from here upward)
  --root DIR        the workspace that everything must stay in (default: the git checkout)
  --json            machine-readable output, one versioned document or a line an event
  -q, -v            say less, say more
  --version         the version

exit codes: 0 ok · 1 something failed · 2 usage or project error · 3 a bug in ltxflow · 4 no server reachable
            5 `plan --exit-code`: there are changes · 130 interrupted

No GPU and no server? `ltxflow build --animatic` makes the whole film as slates, in a minute.
"""


def help_text() -> str:
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb.ljust(width)}{line}" for verb, line in VERBS.items()]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def main(argv: list[str] | None = None) -> int:
    """Given the arguments after the program's name, run the verb and return the exit code."""
    args = sys.argv[1:] if argv is None else argv
    _have_streams()
    _in_any_encoding()
    if args[:1] in (["--version"], ["-V"]):
        from ltxflow import __version__

        return _print(f"ltxflow {__version__}\n")
    if not args or args[0] in ("-h", "--help", "help"):
        if len(args) > 1 and args[1] in VERBS:
            return main([args[1], "--help"])
        return _print(help_text()) or (0 if args else 2)
    if args[0] == "__complete" and len(args) == 3:
        from ltxflow.cli import completion

        return _print("".join(f"{name}\n" for name in completion.answer(args[1], args[2], VERBS)))
    from ltxflow.cli import answer_cache

    asked = answer_cache.ask(args)
    known = answer_cache.answer(asked) if asked else None
    if known is not None:
        return known
    from ltxflow.cli import boundary

    return boundary.run(args, VERBS)


def _have_streams() -> None:
    """Where a stream was closed (`>&-`) nothing is there to be written to, and the next file would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115 for good


def _in_any_encoding() -> None:
    """A ✓ that a terminal's encoding cannot say is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # `| head` has seen enough
            sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
