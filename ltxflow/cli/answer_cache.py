"""Repeat the last answer of a command while none of its inputs has changed. Imports little: this is the fast path.

An answer is kept with a manifest of everything it was computed from (`Session.input_paths`), under a key of everything
else, ltxflow's code included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ltxflow.core.errors import LtxflowError
from ltxflow.documents.document import find_project
from ltxflow.store.snapshot import answer_key, code_id, recall

VERBS = frozenset(["build", "plan", "status", "check", "show", "explain", "graph", "takes", "report", "diff"])
SNAPSHOTS = ".ltxflow/snapshots"
VALUED = frozenset(["-p", "--project", "--root"])  # options of every command that take a value
ELSEWHERE = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY")  # not the repository in `.git`


class AnswerKey:
    """A command line and its surroundings: `path` is the file that has its answer, if there is one.

    Raise LtxflowError where there is no project, or no such revision, and ValueError where no answer may be kept.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        folder = find_project(_project(argv), Path.cwd()).parent
        surroundings = [os.isatty(1), _columns(), Path.cwd(), *_nearest_checkout(folder)]
        self.argv, self.commit = argv, _commit(argv, folder)
        surroundings.append(self.commit)
        self.project = str(folder)
        self.path = folder / SNAPSHOTS / f"{answer_key(argv, os.environ, surroundings, code_id())}.json"

    def holds(self) -> bool:
        """Return whether the answer of a command that ends now may be kept: a branch may have moved during its run."""
        try:
            return self.commit == _commit(self.argv, Path(self.project))
        except (LtxflowError, ValueError):
            return False


def ask(argv: Sequence[str]) -> AnswerKey | None:
    """Return the key of a command line; None for a command whose answers are not kept."""
    name, rest = command_first(argv)
    if name not in VERBS or "-h" in rest or "--help" in rest:
        return None
    try:
        return AnswerKey([name, *rest])
    except (LtxflowError, OSError, ValueError):
        return None  # the command itself reports it


def command_first(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Split `-p films/x plan` into `plan` and `-p films/x`."""
    before: list[str] = []
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        before.append(rest.pop(0))
        if before[-1] in VALUED and rest:
            before.append(rest.pop(0))
    return (rest[0], [*before, *rest[1:]]) if rest else (argv[0] if argv else "", [])


def answer(key: AnswerKey) -> int | None:
    """Print the answer that is kept under a key and return its exit code; None where there is none that holds."""
    found = recall(key.path)
    if found is None:
        return None
    try:
        sys.stderr.write(found.err)
        sys.stdout.write(found.out)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        return None  # the command itself reports it
    return found.code


def _columns() -> int:
    """Return the width of the terminal, 0 without one; $COLUMNS is in the key by itself."""
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0


def _project(argv: Sequence[str]) -> str | None:
    for index, word in enumerate(argv):
        if word in ("-p", "--project") and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith("--project="):
            return word.partition("=")[2]
        if word.startswith("-p") and not word.startswith("--") and len(word) > 2:
            return word[2:]
    return None


def _nearest_checkout(folder: Path) -> list[str]:
    """Return the nearest git checkout upward, in a list: it is the workspace that everything must stay in."""
    return [str(parent) for parent in (folder, *folder.parents) if os.path.exists(parent / ".git")][:1]


def _commit(argv: Sequence[str], folder: Path) -> str:
    """Return the commit that `diff` compares with, "" for other commands.

    Raise LtxflowError where there is none, and ValueError where it depends on more than the repository.
    """
    if argv[0] != "diff":
        return ""
    words = [word for before, word in pairwise(argv) if before not in VALUED]
    refs = [word for word in words if not word.startswith("-")]
    (checkout,) = _nearest_checkout(folder)
    if len(refs) > 1 or "--" in words or any(name in os.environ for name in ELSEWHERE):
        raise ValueError("not one revision")
    if not os.path.isdir(os.path.join(checkout, ".git")):
        raise ValueError("the repository is elsewhere")
    from ltxflow.core import git  # on first use: few command lines start a process

    return git.commit_of(folder, *refs)
