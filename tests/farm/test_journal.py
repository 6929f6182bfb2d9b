"""What was submitted where, as the next run finds it: whatever line was the last that a dying one wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxflow.core.digest import Key
from ltxflow.farm.journal import Journal, Submission, Submissions

KEY, OTHER = Key("k" * 64), Key("o" * 64)
FIRST = Submission(1, "http://one", "id-1", "", "clip:hook/a@1")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def after(journal: Journal) -> Submissions:
    """The next run's view."""
    journal.compact()
    return Submissions(journal)


def test_a_key_that_no_one_knows(journal: Journal) -> None:
    new = Submissions(journal)
    assert not new.knows(KEY)
    assert new.open_of(KEY) is None
    assert new.next_attempt(KEY) == 1
    assert new.cause_of(KEY) == "first"
    assert new.client_of("http://one") is None


def test_what_is_being_submitted_is_open_from_then_on(journal: Journal) -> None:
    Submissions(journal).submitting(FIRST, KEY, "client-7", "first")
    found = after(journal)
    opened = found.open_of(KEY)
    assert opened is not None
    assert (opened.attempt, opened.server, opened.prompt_id) == (1, "http://one", "id-1")
    assert opened.target == "clip:hook/a@1"
    assert found.client_of("http://one") == "client-7"
    assert found.open_of(OTHER) is None


@pytest.mark.parametrize("outcome", ["lost", "failed", "cancelled"])
def test_what_ended_otherwise_is_counted_with_its_cause(journal: Journal, outcome: str) -> None:
    run = Submissions(journal)
    run.submitting(FIRST, KEY, "c", "first")
    run.submitted(FIRST, KEY)
    run.finished(FIRST, KEY, outcome, "the server lost its queue")
    for found in (run, after(journal)):
        assert found.open_of(KEY) is None
        assert found.next_attempt(KEY) == 2
        assert found.cause_of(KEY) == f"{outcome} before: the server lost its queue"


def test_what_is_kept_is_over_on_every_server(journal: Journal) -> None:
    run = Submissions(journal)
    run.submitting(FIRST, KEY, "c", "first")
    run.finished(FIRST, KEY, "lost", "it did not answer")
    second = Submission(2, "http://two", "id-2", "", "clip:hook/a@1")
    run.submitting(second, KEY, "c", "it did not answer")
    run.recorded(KEY)
    assert [event.get("outcome") for event in journal.read()][-1] == "done"
    assert after(journal).open_of(KEY) is None


def test_keeping_what_was_never_ours_writes_nothing(journal: Journal) -> None:
    Submissions(journal).recorded(KEY)
    assert not list(journal.read())
