"""Dying at every write: a process that is killed at its i-th mutating call, for every i."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ltxflow.core import files

Before = Callable[[str, Path], None]


class Died(BaseException):
    """The process is gone: nothing after this reaches the disk, not even cleaning up."""


def watch_writes(patch: pytest.MonkeyPatch, before: Before) -> None:
    """Call `before(operation, path)` ahead of every change to the disk, while the patch lasts."""
    patch.setattr(files, "crash_point", before)


@contextmanager
def at_each_write(before: Before) -> Iterator[None]:
    """Do so while the context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        watch_writes(patch, before)
        yield


def crash_everywhere(reset: Callable[[], object], act: Callable[[], object], check: Callable[[], object]) -> int:
    """Run `act` dying at its first write, its second, … until it gets through; `check` must hold after each.

    Returns how many writes it makes.
    """
    for step in range(1000):
        reset()
        left = iter(range(step))

        def before(op: str, path: Path, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Died

        with at_each_write(before):
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


def refuse(patch: pytest.MonkeyPatch, code: int, op: str = "") -> None:
    """Let the disk refuse the operation `op` (every write without one) with the given errno."""

    def before(name: str, path: Path) -> None:
        if op in ("", name):
            raise OSError(code, os.strerror(code))

    watch_writes(patch, before)
