"""Opens a project for a verb that changes it, alone: another process that holds it is waited for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ltxflow.core.errors import Problem
from ltxflow.core.events import Event, Notice
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

    held, damage = _held(args, waiting, wait=wait)
    with held, session_of(args) as session:  # as it is now that it is ours: another build may have changed it
        session.warnings[:0] = damage
        yield session


@contextmanager
def locked_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Given parsed arguments, open the project for a change of its lock, alone: others are waited for."""

    def waiting(owner: Mapping[str, Any]) -> None:
        warn(f"process {owner.get('pid', '?')} holds this project; waiting for it")

    held, _ = _held(args, waiting, wait=True)
    with held, session_of(args) as session:
        with gate(session.store.root):
            yield session
        register(session)


def _held(
    args: argparse.Namespace, waiting: Callable[[Mapping[str, Any]], None], *, wait: bool
) -> tuple[AbstractContextManager[None], list[Problem]]:
    """What holds the project, for a `with`, and what is wrong with its records: that is told before anybody waits."""
    with session_of(args) as session:
        return hold(session, wait=wait, on_wait=waiting), session.warnings
