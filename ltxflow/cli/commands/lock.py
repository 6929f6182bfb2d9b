"""Merge ltxflow.lock in git.

`lock setup` configures git, in this checkout, to merge locks with ltxflow. Git then runs `lock merge BASE OURS THEIRS`,
which unites the takes of both sides and writes the result to OURS. `lock merge` alone resolves a lock that git left in
conflict. Where both sides decided differently about one clip, ours is kept and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from ltxflow.core import files, git
from ltxflow.core.errors import FAILED, LtxflowError, hint_for, problem
from ltxflow.core.workspace import read_text
from ltxflow.documents.document import find_project, shown
from ltxflow.lock.file import read_lock
from ltxflow.lock.merge import Merged, merge, sides
from ltxflow.lock.model import Lock
from ltxflow.lock.text import lock_text, parse_lock
from ltxflow.session.session import LOCK
from ltxflow.ui.terminal import Console, count, print_envelope

DRIVER = "ltxflow-lock"
ATTRIBUTE = f"{LOCK} merge={DRIVER}"
COMMAND = "ltxflow lock merge %O %A %B"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["merge", "setup"], help="what to do")
    parser.add_argument(
        "files", nargs="*", metavar="BASE OURS THEIRS", help="merge: the files that git passes as %%O %%A %%B"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    if args.what == "setup":
        return _setup(args, console)
    if args.files and len(args.files) != 3:
        raise LtxflowError(problem("U002.three-files"))
    if args.files:
        base, ours, theirs = map(Path, args.files)
        for path in (ours, theirs):
            if not path.is_file():
                raise LtxflowError(problem("U021.merge", file=path))
        merged = merge(_lenient(base), read_lock(ours, LOCK), read_lock(theirs, LOCK))
        files.write_atomic(ours, lock_text(merged.lock))
        return _report(args, console, merged, "merged")
    folder = find_project(args.project, Path.cwd()).parent
    place = folder / LOCK
    merged = merge(*_in_conflict(folder))
    files.write_atomic(place, lock_text(merged.lock))
    code = _report(args, console, merged, f"{shown(place, Path.cwd())}: merged")
    if not code and not args.json:
        console.say(f"Next: git add {shown(place, Path.cwd())}")
    return code


def _lenient(path: Path) -> Lock:
    """Read the common base, which is empty where both sides created the lock."""
    return read_lock(path, LOCK) if path.is_file() and path.stat().st_size else Lock()


def _in_conflict(folder: Path) -> tuple[Lock, Lock, Lock]:
    """Return base, ours and theirs of a conflict, from git's index, else from the conflict markers."""
    listed = git.git(folder, "ls-files", "--unmerged", "--", LOCK).decode().split("\n")
    stages = {line.split()[2]: line.split()[1] for line in listed if line}
    if stages:
        kept = {number: git.git(folder, "cat-file", "blob", blob).decode() for number, blob in stages.items()}
        base, ours, theirs = (kept.get(number, "") for number in "123")
    elif (place := folder / LOCK).is_file() and (found := sides(_text(place))):
        base, ours, theirs = found
    else:
        raise LtxflowError(problem("U024", file=folder / LOCK))
    # the base in conflict markers lacks the lines in conflict, unless git writes them (diff3)
    known = parse_lock(base, LOCK, is_partial=not stages) if base.strip() else Lock()
    mine, other = (parse_lock(text, LOCK) if text.strip() else Lock() for text in (ours, theirs))
    return known, mine, other


def _text(path: Path) -> str:
    """Read a text file. Raise LtxflowError where it is not readable UTF-8."""
    try:
        return read_text(path)
    except UnicodeDecodeError as error:
        raise LtxflowError(problem("U025.encoding", file=path)) from error
    except OSError as error:
        raise LtxflowError(problem("U025.unreadable", file=path, cause=error.strerror, hint=hint_for(error))) from error


def _report(args: argparse.Namespace, console: Console, merged: Merged, done: str) -> int:
    code = FAILED if merged.conflicts else 0
    problems = [replace(each.problem, hint=f"{each.problem.hint}; then: git add {LOCK}") for each in merged.conflicts]
    if args.json:
        data = {
            "clips": len(merged.lock.entries),
            "clashes": [each.clip for each in merged.conflicts],
            "renumbered": [{"clip": clip, "from": old, "to": new} for clip, old, new in merged.renumbered],
            "overruled": list(merged.overruled),
        }
        return print_envelope("lock", data, code, problems)
    for clip, old, new in merged.renumbered:
        console.warn(f"{clip}: their take {old} is now take {new}, since ours has a different take {old}")
    for what in merged.overruled:
        console.warn(what)
    console.problems(problems)
    if not args.quiet:
        console.say(f"{done}, {count(len(merged.lock.entries), 'clip')}")
    return code


def _setup(args: argparse.Namespace, console: Console) -> int:
    folder = find_project(args.project, Path.cwd()).parent
    git.git(folder, "config", f"merge.{DRIVER}.name", "unites the takes of two ltxflow.lock files")
    git.git(folder, "config", f"merge.{DRIVER}.driver", COMMAND)
    attributes = folder / ".gitattributes"
    text = _text(attributes) if os.path.lexists(attributes) else ""
    is_new = ATTRIBUTE not in text.splitlines()
    if is_new:
        files.write_atomic(attributes, text + ("" if not text or text.endswith("\n") else "\n") + ATTRIBUTE + "\n")
    if args.json:
        return print_envelope("lock", {"driver": COMMAND, "attributes": str(attributes), "written": is_new}, 0)
    console.say(f"configured git to merge locks with: {COMMAND}")
    if is_new:
        console.say(f"wrote {shown(attributes, Path.cwd())}; commit it, and run `ltxflow lock setup` in every clone")
    return 0
