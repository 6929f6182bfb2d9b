"""The journal: what was submitted is known after any death, and attempts go on counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.crashing import crash_everywhere, watch_writes

from ltxflow.core.digest import Key
from ltxflow.farm.journal import Journal, Submission, next_attempt, submissions

A, B, C, D = (Key(letter * 64) for letter in "abcd")


def event(what: str, key: Key, attempt: int = 1, server: str = "gpu", **more: Any) -> dict[str, Any]:
    prompt_id = f"{key[0]}{attempt}"
    return {"event": what, "key": key, "attempt": attempt, "server": server, "prompt_id": prompt_id, **more}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / ".ltxflow" / "journal.jsonl")


def write(journal: Journal, *events: dict[str, Any]) -> None:
    for one in events:
        journal.append(one)


def states(journal: Journal) -> dict[str, list[tuple[int, str]]]:
    return {key[0]: [(one.attempt, one.state) for one in found] for key, found in submissions(journal).items()}


def test_events_come_back_in_order(journal: Journal) -> None:
    assert list(journal.read()) == []
    events = [{"event": "started", "note": "“x”\n\u2028"}, event("submitting", A)]
    write(journal, *events)
    assert list(journal.read()) == events


def test_only_what_is_about_to_be_submitted_waits_for_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may take what came after: then the attempt is open, and its server is asked first."""
    synced: list[str] = []
    watch_writes(monkeypatch, lambda op, path: synced.append(path.name) if op == "fsync" else None)
    write(journal, event("submitting", A))
    assert "journal.jsonl" in synced
    synced.clear()
    write(journal, event("submitted", A), event("finished", A, outcome="done"))
    assert not synced
    write(journal, event("submitting", B))
    assert synced == ["journal.jsonl"]


def test_torn_lines_and_garbage_are_passed_over(journal: Journal) -> None:
    write(journal, event("submitting", A))
    with journal.path.open("ab") as file:
        file.write(b'\xff\xfe\nnull\n[1]\n"text"\n' + b"[" * 100_000 + b'\n\n{"event":"submi')
    write(journal, event("submitted", A))
    assert [one["event"] for one in journal.read()] == ["submitting", "submitted"]


def test_submissions_are_folded_by_attempt(journal: Journal) -> None:
    write(
        journal,
        event("submitting", A, target="clip:hook/a@1", at="10:00"),
        event("submitting", B),
        event("submitted", A, at="10:01"),
        event("finished", A, outcome="lost"),
        event("submitting", A, 2, "other"),
        event("finished", B, outcome="done"),
        {"event": "finished", "key": C},
        {"event": "note", "key": A, "attempt": 9},
    )
    found = submissions(journal)
    assert found == {
        A: [
            Submission(1, "gpu", "a1", "lost", "clip:hook/a@1", "10:01"),
            Submission(2, "other", "a2", "submitting"),
        ],
        B: [Submission(1, "gpu", "b1", "done")],
    }
    assert [one.is_open for one in found[A]] == [False, True]
    assert [next_attempt(found, key) for key in (A, B, C)] == [3, 2, 1]


def test_one_attempt_at_two_servers_counts_twice_and_ends_together(journal: Journal) -> None:
    write(journal, event("submitted", A), event("submitted", A, server="other"))
    assert states(journal) == {"a": [(1, "submitted"), (1, "submitted")]}
    write(journal, event("finished", A, outcome="lost"))
    assert states(journal) == {"a": [(1, "lost"), (1, "submitted")]}
    write(journal, {"event": "finished", "key": A, "attempt": 1, "outcome": "done"})
    assert states(journal) == {"a": [(1, "done"), (1, "done")]}


def test_compacting_keeps_what_is_open_and_the_count_of_attempts(journal: Journal) -> None:
    write(
        journal,
        {"event": "run"},
        event("submitting", A),
        event("submitted", A),
        event("submitting", B),
        event("finished", B, outcome="done"),
        event("submitting", C),
        event("finished", C, outcome="failed"),
        event("submitting", C, 2),
        event("finished", C, 2, outcome="lost"),
        event("submitting", D),
        event("finished", D, outcome="lost"),
        event("submitting", D, 2),
        event("submitting", A, 2),
        event("finished", A, 2, outcome="lost"),
    )
    before = submissions(journal)
    assert journal.compact() == 1 + 2 + 2 + 2
    assert states(journal) == {
        "a": [(1, "submitted"), (2, "lost")],
        "c": [(2, "lost")],
        "d": [(2, "submitting")],
    }
    after = submissions(journal)
    assert [next_attempt(after, key) for key in (A, C, D)] == [next_attempt(before, key) for key in (A, C, D)]
    text = journal.path.read_bytes()
    assert journal.compact() == 0
    assert journal.path.read_bytes() == text


def test_compacting_nothing_makes_nothing(journal: Journal) -> None:
    assert journal.compact() == 0
    assert not journal.path.exists()


def test_no_death_forgets_an_open_submission(journal: Journal) -> None:
    def reset() -> None:
        journal.path.unlink(missing_ok=True)
        write(journal, event("submitting", B), event("finished", B, outcome="done"), event("submitting", A))

    def act() -> None:
        journal.compact()
        journal.append(event("submitted", A))
        journal.append(event("finished", A, outcome="done"))

    def check() -> None:
        assert [one.attempt for one in submissions(journal)[A]] == [1]

    crash_everywhere(reset, act, check)
    assert states(journal) == {"a": [(1, "done")]}
