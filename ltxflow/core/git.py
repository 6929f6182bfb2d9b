"""Read files of other revisions with git, changing neither work tree nor index and running no hook."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ltxflow.core.errors import FAILED, LtxflowError, problem

_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def is_checkout(folder: Path) -> bool:
    """Return whether a folder lies in a git checkout."""
    marks = [parent / ".git" for parent in (folder, *folder.parents)]
    return any(mark.is_file() or (mark / "HEAD").exists() for mark in marks)


def tips(folder: Path) -> dict[str, str]:
    """Return name → commit of HEAD, all branches (remote ones too), tags and the stash of a checkout."""
    listed = git(folder, "for-each-ref", "--format=%(refname) %(objectname)").decode(errors="surrogateescape")
    found = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    with suppress(LtxflowError):  # a repository without a commit
        found["HEAD"] = git(folder, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    return found


def commit_of(folder: Path, ref: str = "HEAD") -> str:
    """Return the commit that a revision names. Raise LtxflowError where there is none."""
    found = git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return found.decode().strip()


def settings(top: Path) -> set[str | Path]:
    """Return the files that decide how git writes the files of a commit: its configuration and attributes."""
    home = os.path.expanduser("~")
    own, user = top / ".git", Path(os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config") / "git"
    names = ("config", "config.worktree", "info", "info/attributes", "refs/replace")
    users = (user / "config", user / "attributes", f"{home}/.gitconfig", "/etc/gitconfig")
    return {*(own / name for name in names), *users, top / ".gitattributes"}


def texts(folder: Path, name: str, revisions: Sequence[str]) -> dict[str, bytes]:
    """Return revision → content of the file `name` in `folder`, for the revisions that have it."""
    names = "".join(f"{revision}:./{name}\n" for revision in revisions).encode()
    answer = git(folder, "cat-file", "--batch", data=names)
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
    """Write the files of a commit below `tree`, except those under the path `without`.

    Uses a separate index, beside `tree`, instead of the checkout's.
    """
    index = tree.parent / "index"
    git(top, "read-tree", commit, index=index)
    names = git(top, "ls-files", "-z", index=index).split(b"\0")
    wanted = [name for name in names if name and not name.startswith(os.fsencode(f"{without}/"))]
    git(top, "checkout-index", "-z", "--stdin", f"--prefix={tree}/", data=b"\0".join(wanted), index=index)


def git(folder: Path, *argv: str, data: bytes | None = None, index: Path | None = None) -> bytes:
    """Run git in a folder and return its output. Raise LtxflowError with its first complaint when it fails.

    `index` replaces the checkout's index.
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
        raise LtxflowError(problem("D043.missing"), exit_code=FAILED) from None
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines()
        reason = complaint[0] if complaint else f"exit {done.returncode}"
        command = " ".join(argv[:2])
        raise LtxflowError(problem("D043.failed", folder=folder, reason=reason, command=command), exit_code=FAILED)
    return done.stdout
