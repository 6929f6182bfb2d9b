"""The Remotion starter: a Remotion project with our files that plays what is published. Remotion itself is not ours.

Its `ltxflow.json` records where the film is and which bytes we wrote, so that a later export renews only those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_there
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.regular import read_json
from ltxflow.export.typescript import timeline_typescript

STARTER = Path(__file__).parent / "starter"
RECORD = "ltxflow.json"
RECORD_SCHEMA = "ltxflow.starter/1"


@dataclass
class RemotionExport:
    """The files of an export, by path in its folder: written, unchanged, and kept as a person changed them."""

    written: list[str] = field(default_factory=list)
    in_place: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def starter_files(project: str) -> dict[str, bytes]:
    """Return the starter's files: path → bytes. `project` is the project's id."""
    found = {
        path.relative_to(STARTER).as_posix(): path.read_bytes() for path in sorted(STARTER.rglob("*")) if path.is_file()
    }
    found[".gitignore"] = found.pop("gitignore")
    package = json.loads(found["package.json"])
    found["package.json"] = (json.dumps({**package, "name": f"{project}-remotion"}, indent=2) + "\n").encode()
    return found | {f"src/{name}": text.encode() for name, text in timeline_typescript().items()}


def write_starter(folder: Path, project: str, output: Path, timeline: str, *, force: bool = False) -> RemotionExport:
    """Make a folder a Remotion project. `project` is the project's id, `output` its output folder.

    A foreign file, or one that both a person and we have changed, is not replaced, and then nothing is written, unless
    `force` is set. One that only a person has changed stays. Raise LtxflowError when something was refused, or the
    folder lies where Remotion would serve it.
    """
    public = output.parent.resolve()
    if public == folder.resolve() or public in folder.resolve().parents:
        raise LtxflowError(problem("D030", folder=folder, public=public.name))
    wanted = starter_files(project)
    record = _read_record(folder / RECORD, force)
    done, refused = _compare(folder, wanted, record, force)
    if refused:
        raise LtxflowError(*(_refused(folder / path) for path in refused), exit_code=FAILED)
    for path in done.written:
        files.make_dir((folder / path).parent)
        files.write_atomic(folder / path, wanted[path])
    place = {
        "schema": RECORD_SCHEMA,
        "publicDir": Path(os.path.relpath(public, folder.resolve())).as_posix(),
        "timeline": f"{output.name}/{timeline}",
        "files": {path: digest_bytes(data) for path, data in sorted(wanted.items())},
    }
    try:
        text = (json.dumps(place, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        raise LtxflowError(problem("X001", folder=folder)) from None
    if _digest(folder / RECORD) != digest_bytes(text):
        files.write_atomic(folder / RECORD, text)
        done.written.append(RECORD)
    return done


def _compare(
    folder: Path, wanted: Mapping[str, bytes], record: Mapping[str, Any], force: bool
) -> tuple[RemotionExport, list[str]]:
    done, refused = RemotionExport(), []
    for path, data in wanted.items():
        there, new, wrote = _digest(folder / path), digest_bytes(data), record.get(path)
        if there == new:
            done.in_place.append(path)
        elif there is None or there == wrote or force:
            done.written.append(path)
        elif wrote == new:
            done.kept.append(path)  # ours has not changed
        else:
            refused.append(path)
    return done, refused


def _digest(path: Path) -> Digest | str | None:
    """Return the digest of a file; None where nothing is, "" for what is not a plain file."""
    if not os.path.lexists(path):
        return None
    return "" if path.is_symlink() else digest_there(path) or ""


def _read_record(path: Path, force: bool) -> Mapping[str, Any]:
    """Return what we wrote in this folder before: path → digest."""
    if not os.path.lexists(path):
        return {}
    try:
        data = read_json(path)
        if data["schema"] == RECORD_SCHEMA:
            return dict(data["files"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if force:
        return {}
    raise LtxflowError(_refused(path), exit_code=FAILED)


def _refused(path: Path) -> Problem:
    return problem("D001.starter", file=os.path.relpath(path))
