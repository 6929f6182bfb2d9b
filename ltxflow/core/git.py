"""Asks git what is in other revisions. Changes neither work tree nor index, runs no hook, and knows no film."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ltxflow.core.errors import FAILED, LtxflowError, Problem

_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def is_checkout(folder: Path) -> bool:
    """Given a folder, return whether it lies in a git checkout."""
    marks = [parent / ".git" for parent in (folder, *folder.parents)]
    return any(mark.is_file() or (mark / "HEAD").exists() for mark in marks)


def tips(folder: Path) -> dict[str, str]:
    """Given a folder in a checkout, return name → commit of HEAD, all branches (remote, too), tags and the stash."""
    listed = git(folder, "for-each-ref", "--format=%(refname) %(objectname)").decode(errors="surrogateescape")
    found = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    with suppress(LtxflowError):  # a repository without a commit
        found["HEAD"] = git(folder, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    return found


def texts(folder: Path, name: str, revisions: Sequence[str]) -> dict[str, bytes]:
    """Given revisions and the name of a file in `folder`, return revision → its content, where it had the file."""
    asked = "".join(f"{revision}:./{name}\n" for revision in revisions).encode()
    answer = git(folder, "cat-file", "--batch", data=asked)
    found, at = {}, 0
    for revision in revisions:
        end = answer.index(b"\n", at)
        head, at = answer[at:end].split(), end + 1
        if len(head) == 3 and head[1] == b"blob":
            size = int(head[2])
            found[revision] = answer[at : at + size]
            at += size + 1
        elif len(head) == 3 and head[2].isdigit():  # a folder of that name
            at += int(head[2]) + 1
    return found


def check_out(top: Path, commit: str, tree: Path, without: str) -> None:
    """Given a checkout and one of its commits, write its files below `tree`, but for those under the path `without`.

    An index of its own, beside `tree`, stands for the checkout's.
    """
    index = tree.parent / "index"
    git(top, "read-tree", commit, index=index)
    names = git(top, "ls-files", "-z", index=index).split(b"\0")
    wanted = [name for name in names if name and not name.startswith(os.fsencode(f"{without}/"))]
    git(top, "checkout-index", "-z", "--stdin", f"--prefix={tree}/", data=b"\0".join(wanted), index=index)


def git(folder: Path, *argv: str, data: bytes | None = None, index: Path | None = None) -> bytes:
    """Given a folder and arguments, return what git prints. Raise LtxflowError with what it says when it fails.

    `index` takes the place of the checkout's own.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *argv],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**os.environ, **_QUIET, **({"GIT_INDEX_FILE": str(index)} if index else {})},
            check=False,
        )
    except FileNotFoundError:
        raise LtxflowError(
            Problem("git is not installed", hint="install it, or do without"), exit_code=FAILED
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        message = f'git cannot answer in "{folder}": {said[0] if said else f"exit {done.returncode}"}'
        raise LtxflowError(Problem(message, hint=f"try: git -C {folder} {' '.join(argv[:2])}"), exit_code=FAILED)
    return done.stdout
