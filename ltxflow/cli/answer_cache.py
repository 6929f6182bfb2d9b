"""Repeat the last answer of a command while none of its inputs has changed. Imports little: this is the fast path.

An answer is kept with a manifest of everything it was computed from (`Session.input_paths`), under a key of everything
else, ltxflow's code included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ltxflow.core.errors import LtxflowError
from ltxflow.documents.document import find_project
from ltxflow.store.snapshot import answer_key, code_id, recall

VERBS = frozenset(["build", "plan", "status"])
SNAPSHOTS = ".ltxflow/snapshots"


class AnswerKey:
    """A command line and its surroundings: `path` is the file that has its answer, if there is one."""

    def __init__(self, argv: Sequence[str]) -> None:
        folder = find_project(_project(argv), Path.cwd()).parent
        surroundings = [os.isatty(1), _columns(), Path.cwd(), *_nearest_checkout(folder)]
        self.project = str(folder)
        self.path = folder / SNAPSHOTS / f"{answer_key(argv, os.environ, surroundings, code_id())}.json"


def ask(argv: Sequence[str]) -> AnswerKey | None:
    """Return the key of a command line; None for a command whose answers are not kept."""
    if not argv or argv[0] not in VERBS or "--json" in argv or "-h" in argv or "--help" in argv:
        return None
    try:
        return AnswerKey(argv)
    except (LtxflowError, OSError):
        return None  # the command itself reports it


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
