"""A film that is held is read once, and yet never as it was before it was held."""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness.film import Film

from ltxflow.cli.options import deciding_session, waited_session
from ltxflow.core.events import Event
from ltxflow.decisions.takes import find_take, set_status
from ltxflow.project.load import LoadedProject
from ltxflow.session import session
from ltxflow.session.session import hold


def test_a_build_reads_the_film_once(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    load = session.load

    def counted(file: Path, **options: Any) -> LoadedProject:
        read.append(file)
        return load(file, **options)

    monkeypatch.setattr(session, "load", counted)
    assert film.build().totals["rendered"] == 4
    assert len(read) == 1


def test_what_another_command_decides_in_the_same_moment_is_not_lost(film: Film) -> None:
    film.render()
    assert film.run("build").code == 0
    with deciding_session(Namespace(project=str(film.folder), root=None)) as session:
        assert film.run("approve", "hook/a").code == 0
        set_status(session, find_take(session, "hook/b"), "rejected", "too dark")
    entries = film.lock.entries
    assert (entries["hook/a"].status, entries["hook/b"].status) == ("approved", "rejected")


def test_who_waited_has_the_film_as_it_was_edited_while_waiting(film: Film) -> None:
    output: list[Event] = []
    with ExitStack() as other:
        other.enter_context(hold(film.session(), wait=True, on_wait=None))

        def emit(event: Event) -> None:
            output.append(event)
            film.edit("for hook-a", "for good")
            other.close()

        with waited_session(Namespace(project=str(film.folder), root=None), emit, wait=True) as opened:
            assert "for good" in opened.project.clips[0].prompt.text
    assert len(output) == 1
