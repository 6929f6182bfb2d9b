"""Opens a project for a verb that changes it, alone: another process that holds it is waited for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltxflow.core.events import Event, Notice
from ltxflow.script.paths import find_project
from ltxflow.store.users import gate
from ltxflow.verbs.needs import register
from ltxflow.verbs.options import session_of
from ltxflow.verbs.session import Session, hold


@contextmanager
def waited_session(args: argparse.Namespace, emit: Callable[[Event], None], *, wait: bool) -> Iterator[Session]:
    """Given parsed arguments, open the project for a build, alone; `emit` is told when another is waited for."""

    def waiting(owner: Mapping[str, Any]) -> None:
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
        emit(Notice(f"another build holds this project ({who}); waiting for it", "warning"))

    with _held_session(args, waiting, wait=wait) as session:
        yield session


@contextmanager
def locked_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Given parsed arguments, open the project for a change of its lock, alone: others are waited for."""

    def waiting(owner: Mapping[str, Any]) -> None:
        warn(f"process {owner.get('pid', '?')} holds this project; waiting for it")

    with _held_session(args, waiting, wait=True) as session:
        with gate(session.store.root):
            yield session
        register(session)


@contextmanager
def steady_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Given parsed arguments, open the project to read what must not be written meanwhile: alone, but where nobody can
    write there is nobody to wait for."""
    folder = find_project(args.project, Path.cwd()).parent
    with locked_session(args, warn) if os.access(folder, os.W_OK) else session_of(args) as session:
        yield session


@contextmanager
def _held_session(
    args: argparse.Namespace, waiting: Callable[[Mapping[str, Any]], None], *, wait: bool
) -> Iterator[Session]:
    """Open the project, so that its problems are told before anybody waits, and hold it.

    Whoever waited opens it anew: it may have been edited meanwhile. Else only what verbs write is read again, since
    one may just have ended.
    """
    waited: list[Mapping[str, Any]] = []

    def noted(owner: Mapping[str, Any]) -> None:
        waited.append(owner)
        waiting(owner)

    with session_of(args) as session, hold(session, wait=wait, on_wait=noted):
        damage = session.warnings
        if not waited:
            session.read_records()
            yield session
            return
        with session_of(args) as again:
            again.warnings[:0] = damage
            yield again
