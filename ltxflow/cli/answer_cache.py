"""Answers a verb from the snapshot of its last run when nothing has changed. Imports little: this is the fast path.

It is exactly as right as the slow one: an answer is kept only with everything it rests on (`Session.rests_on`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ltxflow import __version__
from ltxflow.core.errors import LtxflowError
from ltxflow.documents.paths import find_project
from ltxflow.store.snapshot import question, recall

VERBS = frozenset(["build", "plan", "status"])
SNAPSHOTS = ".ltxflow/snapshots"
PACKAGE = os.path.dirname(os.path.dirname(__file__))


class AnswerKey:
    """A verb as it was asked: where its answer is, if there is one, named for all in the question that is no file."""

    def __init__(self, argv: Sequence[str]) -> None:
        folder = find_project(_project(argv), Path.cwd()).parent
        screen = [os.isatty(1), _columns(), Path.cwd(), *_workspace_marks(folder)]
        self.project = str(folder)
        self.path = folder / SNAPSHOTS / f"{question(argv, os.environ, screen, _installed())}.json"


def ask(argv: Sequence[str]) -> AnswerKey | None:
    """Given a verb and its arguments, return what to look up; None where there is nothing to be quick about."""
    if not argv or argv[0] not in VERBS or "--json" in argv or "-h" in argv or "--help" in argv:
        return None
    try:
        return AnswerKey(argv)
    except (LtxflowError, OSError):
        return None  # the slow path says what is wrong


def answer(asked: AnswerKey) -> int | None:
    """Given what was asked, print the answer of last time and return its exit code, if it still holds."""
    found = recall(asked.path)
    if found is None:
        return None
    try:
        sys.stderr.write(found.err)
        sys.stdout.write(found.out)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:
        return None  # the slow path says what is wrong
    return found.code


def _columns() -> int:
    """How wide the terminal is, if there is one; $COLUMNS is in the question by itself."""
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


def _installed() -> str:
    """Which ltxflow this is: its version, and when files of its own came or went, as by `git pull` in a checkout."""
    with os.scandir(PACKAGE) as found:
        floors = sorted(entry.path for entry in found if entry.is_dir() and entry.name != "__pycache__")
    return f"{__version__} {[os.stat(folder).st_mtime_ns for folder in (PACKAGE, *floors)]}"


def _workspace_marks(folder: Path) -> list[str]:
    """Which folders upward are git checkouts: the nearest is the workspace that everything must stay in."""
    return [str(parent) for parent in (folder, *folder.parents) if os.path.exists(parent / ".git")][:1]
