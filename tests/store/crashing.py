"""Dying at every write: a process that is killed at its i-th mutating call, for every i."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ltxflow.core import files


class Died(BaseException):
    """The process is gone: nothing after this reaches the disk, not even cleaning up."""


def crash_everywhere(reset: Callable[[], object], act: Callable[[], object], check: Callable[[], object]) -> int:
    """Run `act` dying at its first write, its second, … until it gets through; `check` must hold after each.

    Returns how many writes it makes.
    """
    for step in range(1000):
        reset()
        with pytest.MonkeyPatch.context() as monkeypatch:
            left = iter(range(step))

            def before(op: str, path: Path, left: object = left) -> None:
                if next(left, None) is None:  # type: ignore[call-overload]
                    raise Died

            monkeypatch.setattr(files, "crash_point", before)
            try:
                act()
            except Died:
                is_dead = True
            else:
                is_dead = False
        check()
        if not is_dead:
            return step
    raise AssertionError("it never came to an end")


def refuse(monkeypatch: pytest.MonkeyPatch, code: int, op: str = "") -> None:
    """Let the disk refuse the call `op` (every write without one) with the given errno."""

    def before(name: str, path: Path) -> None:
        if op in ("", name):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "crash_point", before)
