"""Puts the images that are made for a film where a person can look at them: `.ltxflow/references/hero@1.png`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.plan.status import Status
from ltxflow.verbs.session import Session, make_own_folder

OWN_FOLDER = "references"


def file_name(path: str, take: int) -> str:
    """`reference:hero/seen-from-the-left`, 2 → `hero--seen-from-the-left@2.png`"""
    return f"{path.removeprefix('reference:').replace('/', '--')}@{take}.png"


def folder_of(session: Session) -> Path:
    return session.own / OWN_FOLDER


def show_stills(session: Session, found: Mapping[str, Status]) -> list[Path]:
    """Given what is made, put every take of every reference into the folder; return the files, in the film's order.

    They are copies to look at: nothing reads them. What another text made under the same name is written over.
    """
    shown = []
    for status in found.values():
        if status.node.kind != "reference" or status.trace is None:
            continue
        file = folder_of(session) / file_name(status.node.entry, status.node.take)
        digest = status.trace.outputs["image"].digest
        if not file.is_file() or digest_bytes(file.read_bytes()) != digest:
            make_own_folder(session)
            files.make_dir(file.parent)
            files.write_atomic(file, session.store.cas.path(digest).read_bytes())
        shown.append(file)
    return shown
