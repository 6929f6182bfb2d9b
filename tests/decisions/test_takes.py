"""Every decision about a take in every state of one: what is said, and what the lock has afterwards."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.command import run
from harness.film import Film, film_text
from harness.media import canned

from ltxflow.core.digest import digest_json
from ltxflow.decisions.takes import next_take

SCENES = {"hook": ["a", "b", "new"]}
HERO = "reference:hero"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a film and its store: two takes of hook/a and of a generated reference are made."""
    root = tmp_path_factory.mktemp("made")
    film = Film.at(root)
    film.write_data(film_text(SCENES, "6s", defaults={"clip": {"takes": 2}}))
    film.set("references", {"hero": {"generate": {"prompt": "A young locksmith in a leather apron", "takes": 2}}})
    film.set("scenes/hook/clips/b/reference", "hero")
    assert film.make("!hook/new").done.code == 0
    (root / "mine.mp4").write_bytes(canned(97, (128, 128), 25, "mine"))
    return root


@pytest.fixture
def film(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return Film.at(tmp_path / "copy").move_in(monkeypatch)


def say(film: Film, *argv: str) -> str:
    ran = run(*argv, "-p", str(film.folder))
    assert ran.code == 0, ran.err
    return ran.out


def state_of(film: Film, clip: str) -> str:
    """Return the takes of a clip in the lock with their decisions: `>` before the pick, `+` after an accepted one."""
    entry = film.lock.entries.get(clip)
    if entry is None:
        return ""
    words = []
    for number, take in sorted(entry.takes.items()):
        status = entry.decisions[number].status if number in entry.decisions else ""
        word = f"{'>' if number == entry.pick else ''}{number} {status}".strip() + ("+" if take.accepted else "")
        covered = entry.covered.get(number)
        words.append(f"{word} over {covered.decision.status or 'a render'}" if covered else word)
    return ", ".join(words)


def mine(film: Film) -> str:
    return str(film.root / "mine.mp4")


def stale(film: Film, *said: str) -> None:
    if said:
        say(film, said[0], "hook/a", *said[1:])
    film.edit("hook-a", "hook A")


def accepted(film: Film) -> None:
    stale(film)
    say(film, "accept", "hook/a")


def picked(film: Film, *said: str) -> None:
    say(film, "pick", "hook/a", "2")
    if said:
        say(film, said[0], "hook/a", *said[1:])


def moved(film: Film) -> None:
    film.set("moved", [{"from": "hook", "to": "intro"}])
    film.set("scenes/hook/id", "intro")


STATES: dict[str, Callable[[Film], object]] = {
    "plain": lambda film: None,
    "approved": lambda film: say(film, "approve", "hook/a", "fine"),
    "rejected": lambda film: say(film, "reject", "hook/a", "too dark"),
    "another picked": picked,
    "another approved": lambda film: picked(film, "approve", "better"),
    "pinned": lambda film: say(film, "pin", "hook/a", mine(film)),
    "pinned over an approved one": lambda film: (
        say(film, "approve", "hook/a", "fine"),
        say(film, "pin", "hook/a", mine(film)),
    ),
    "stale": stale,
    "approved, stale": lambda film: stale(film, "approve", "fine"),
    "rejected, stale": lambda film: stale(film, "reject", "too dark"),
    "accepted": accepted,
    "not rendered": lambda film: None,
    "a reference": lambda film: None,
    "a reference, approved": lambda film: say(film, "approve", HERO, "fine"),
    "moved": moved,
}
TAKES = {
    "not rendered": "hook/new@1",
    "a reference": f"{HERO}@1",
    "a reference, approved": f"{HERO}@1",
    "moved": "intro/a@1",
}

PINNED = "is now mine.mp4 (97 frames); publish it with: ltxflow build"
ACCEPTED = "accepted for the current prompt and settings"
CUT = "in the cut; publish it with: ltxflow build"
SECOND = "take 2 is in the cut now"
STAYS = "take 2 stays in the cut"
CHANGE = f"{STAYS}; to change that: ltxflow pick hook/a@1"
WAS_FINE = 'take 1 was approved ("fine"), and is not any more'
WAS_DARK = 'take 1 was rejected ("too dark"), and is not any more'
WAS_ACCEPTED = "take 1 was accepted, and is not any more"
RETURNS = "that returns when the file is forgotten"
BACK = 'take 1 is the render again that the file covered ("mine.mp4")'

# What is said, line by line, and the entry afterwards; "" as an entry: as before.
TABLE: dict[tuple[str, str], tuple[list[str], str]] = {
    ("plain", "pick"): (["already in the cut"], ""),
    ("plain", "approve"): (["approved"], ">1 approved, 2"),
    ("plain", "reject"): (["rejected"], ">1 rejected, 2"),
    ("plain", "accept"): (["already matches"], ""),
    ("plain", "pin"): ([PINNED], ">1 pinned over a render, 2"),
    ("plain", "forget"): (["forgotten", SECOND], ">2"),
    ("approved", "pick"): (["already in the cut"], ""),
    ("approved", "approve"): (["already approved"], ""),
    ("approved", "reject"): (["rejected", WAS_FINE], ">1 rejected, 2"),
    ("approved", "accept"): (["already matches"], ""),
    ("approved", "pin"): ([PINNED, f'take 1 was approved ("fine"); {RETURNS}'], ">1 pinned over approved, 2"),
    ("approved", "forget"): (["forgotten", WAS_FINE, SECOND], ">2"),
    ("rejected", "pick"): (["already in the cut"], ""),
    ("rejected", "approve"): (["approved", WAS_DARK], ">1 approved, 2"),
    ("rejected", "reject"): (["already rejected"], ""),
    ("rejected", "accept"): (["already matches"], ""),
    ("rejected", "pin"): ([PINNED, f'take 1 was rejected ("too dark"); {RETURNS}'], ">1 pinned over rejected, 2"),
    ("rejected", "forget"): (["forgotten", WAS_DARK, SECOND], ">2"),
    ("another picked", "pick"): ([CUT], ">1, 2"),
    ("another picked", "approve"): (["approved", CHANGE], "1 approved, >2"),
    ("another picked", "reject"): (["rejected", STAYS], "1 rejected, >2"),
    ("another picked", "accept"): (["already matches"], ""),
    ("another picked", "pin"): ([PINNED, CHANGE], "1 pinned over a render, >2"),
    ("another picked", "forget"): (["forgotten"], ">2"),
    ("another approved", "pick"): ([CUT, "take 2 is still approved, and no longer in the cut"], ">1, 2 approved"),
    ("another approved", "approve"): (["approved", CHANGE], "1 approved, >2 approved"),
    ("another approved", "reject"): (["rejected", STAYS], "1 rejected, >2 approved"),
    ("another approved", "accept"): (["already matches"], ""),
    ("another approved", "pin"): ([PINNED, CHANGE], "1 pinned over a render, >2 approved"),
    ("another approved", "forget"): (["forgotten"], ">2 approved"),
    ("pinned", "pick"): (["already in the cut"], ""),
    ("pinned", "approve"): (["stays as it is", "it is a pinned file, and frozen until it is forgotten"], ""),
    ("pinned", "reject"): (["rejected", BACK], ">1, 2"),
    ("pinned", "accept"): (["already matches", "a pinned file fits any text"], ""),
    ("pinned", "pin"): ([PINNED], ""),
    ("pinned", "forget"): (["is not the pinned file any more", BACK], ">1, 2"),
    ("pinned over an approved one", "pick"): (["already in the cut"], ""),
    ("pinned over an approved one", "reject"): (["rejected", f"{BACK}, approved as it was"], ">1 approved, 2"),
    ("pinned over an approved one", "pin"): ([PINNED], ""),
    ("pinned over an approved one", "forget"): (
        ["is not the pinned file any more", f"{BACK}, approved as it was"],
        ">1 approved, 2",
    ),
    ("stale", "pick"): (["already in the cut"], ""),
    ("stale", "approve"): (["approved"], ">1 approved, 2"),
    ("stale", "reject"): (["rejected"], ">1 rejected, 2"),
    ("stale", "accept"): ([ACCEPTED], ">1+, 2"),
    ("stale", "pin"): ([PINNED], ">1 pinned over a render, 2"),
    ("stale", "forget"): (["forgotten", SECOND], ">2"),
    ("approved, stale", "pick"): (["already in the cut"], ""),
    ("approved, stale", "approve"): (["already approved"], ""),
    ("approved, stale", "reject"): (["rejected", WAS_FINE], ">1 rejected, 2"),
    ("approved, stale", "accept"): ([ACCEPTED], ">1 approved+, 2"),
    ("approved, stale", "pin"): ([PINNED, f'take 1 was approved ("fine"); {RETURNS}'], ">1 pinned over approved, 2"),
    ("approved, stale", "forget"): (["forgotten", WAS_FINE, SECOND], ">2"),
    ("rejected, stale", "pick"): (["already in the cut"], ""),
    ("rejected, stale", "approve"): (["approved", WAS_DARK], ">1 approved, 2"),
    ("rejected, stale", "reject"): (["already rejected"], ""),
    ("rejected, stale", "accept"): ([ACCEPTED, WAS_DARK], ">1+, 2"),
    ("rejected, stale", "pin"): (
        [PINNED, f'take 1 was rejected ("too dark"); {RETURNS}'],
        ">1 pinned over rejected, 2",
    ),
    ("rejected, stale", "forget"): (["forgotten", WAS_DARK, SECOND], ">2"),
    ("accepted", "pick"): (["already in the cut"], ""),
    ("accepted", "approve"): (["approved"], ">1 approved+, 2"),
    ("accepted", "reject"): (["rejected", WAS_ACCEPTED], ">1 rejected, 2"),
    ("accepted", "accept"): (["already matches"], ""),
    ("accepted", "pin"): ([PINNED, f"take 1 was accepted; {RETURNS}"], ">1 pinned over a render, 2"),
    ("accepted", "forget"): (["forgotten", WAS_ACCEPTED, SECOND], ">2"),
    ("not rendered", "pin"): ([PINNED], ">1 pinned"),
    ("a reference", "pick"): (["already picked"], ""),
    ("a reference", "approve"): (["approved"], ">1 approved, 2"),
    ("a reference", "reject"): (["rejected"], ">1 rejected, 2"),
    ("a reference", "accept"): (["already matches"], ""),
    ("a reference", "forget"): (["forgotten", SECOND], ">2"),
    ("a reference, approved", "approve"): (["already approved"], ""),
    ("a reference, approved", "reject"): (["rejected", WAS_FINE], ">1 rejected, 2"),
    ("a reference, approved", "forget"): (["forgotten", WAS_FINE, SECOND], ">2"),
    ("moved", "approve"): (["approved"], ">1 approved, 2"),
    ("moved", "reject"): (["rejected"], ">1 rejected, 2"),
    ("moved", "pin"): ([PINNED], ">1 pinned over a render, 2"),
    ("moved", "forget"): (["forgotten", SECOND], ">2"),
}


@pytest.mark.parametrize(("state", "verb"), TABLE)
def test_a_decision_says_what_it_does_to_others(film: Film, state: str, verb: str) -> None:
    said, after = TABLE[state, verb]
    take = TAKES.get(state, "hook/a@1")
    clip = take.partition("@")[0]
    STATES[state](film)
    before, traces = state_of(film, clip), sorted((film.store / "traces").rglob("*.json"))
    lines = say(film, verb, take, *([mine(film)] if verb == "pin" else [])).splitlines()
    assert lines == [f"{clip}: take 1 {said[0]}", *(f"  · {note}" for note in said[1:])]
    assert state_of(film, clip) == (after or before)
    if verb in ("pick", "approve", "reject", "accept"):
        assert sorted((film.store / "traces").rglob("*.json")) == traces, "the lock alone is written"


@pytest.mark.parametrize("verb", ["pick", "approve", "reject", "accept", "forget"])
def test_a_take_that_was_never_rendered_cannot_be_decided_about(film: Film, verb: str) -> None:
    ran = run(verb, "hook/new@1", "-p", str(film.folder))
    assert (ran.code, "hook/new has no take 1 yet" in ran.err) == (2, True)
    assert "hook/new" not in film.lock.entries


@pytest.mark.parametrize("state", [state for state in STATES if state not in TAKES])
@pytest.mark.parametrize("verb", ["pick", "approve", "reject", "accept", "pin", "forget"])
def test_git_undoes_every_decision(film: Film, state: str, verb: str) -> None:
    """With the lock as it was, the plan is what it was: nothing is remembered anywhere else."""
    STATES[state](film)

    def plan() -> object:
        changes = film.run("plan", "--json").data["changes"]
        return [(change["target"], change["kind"], change["note"]) for change in changes]

    before, lock = plan(), film.lock_file.read_bytes()
    take = "hook/a@2" if verb == "pick" else "hook/a@1"
    say(film, verb, take, *([mine(film)] if verb == "pin" else []))
    film.lock_file.write_bytes(lock)
    assert plan() == before
    shutil.rmtree(film.public)
    assert "since" not in str(film.run("plan", "--json").data).replace("in the store since 20", "")


def test_an_accepted_edit_is_due_again_once_git_took_the_decision_back(film: Film) -> None:
    lock = film.lock_file.read_bytes()
    accepted(film)
    assert film.make("hook/a").rendered == set()
    film.lock_file.write_bytes(lock)
    film.edit("hook A", "hook-a")
    assert film.make("hook/a").rendered == set()
    film.edit("hook-a", "hook A")
    assert {change.target for change in film.look("hook/a").of_kind("change")} == {"clip:hook/a@1", "clip:hook/a@2"}


def test_a_copy_without_lock_and_records_does_not_show_an_old_picture_for_a_new_prompt(film: Film) -> None:
    accepted(film)
    assert film.make("hook/a").done.code == 0
    shutil.rmtree(film.folder / ".ltxflow")
    film.lock_file.unlink()
    (change,) = [each for each in film.look("hook/a").changes if each.target == "clip:hook/a@1"]
    assert change.kind in ("create", "change")
    assert film.make("hook/a@1").rendered == {"hook/a@1"}


def test_a_trace_says_what_was_made_from_what(film: Film) -> None:
    accepted(film)
    say(film, "pin", "hook/b", mine(film))
    session = film.session()
    keys = list(session.store.keys())
    for key in keys:
        trace = session.trace_of(key)
        assert trace is not None
        assert digest_json(dict(trace.action)) == key
        assert (trace.source == "pinned") == (trace.action["kind"] == "pinned")


def test_a_forgotten_take_gives_its_number_to_no_other(film: Film) -> None:
    number, seeds = 2, {take.seed for take in film.lock.entries["hook/a"].takes.values()}
    for _ in range(3):
        say(film, "forget", f"hook/a@{number}")
        session = film.session()
        number = next_take(session, session.project.clips[0]).take
        film.make(f"hook/a@{number}", "--takes", str(number))
        seed = film.lock.entries["hook/a"].takes[number].seed
        assert seed not in seeds
        seeds.add(seed)


@pytest.mark.parametrize(
    "clip",
    ["hook/a", pytest.param(HERO, marks=pytest.mark.xfail(reason="a still has no option for a number of takes"))],
)
def test_a_seed_is_new_even_where_git_took_the_number_back(film: Film, clip: str) -> None:
    lock = film.lock_file.read_bytes()
    session = film.session()
    one = next(each for each in (*session.project.clips, *session.project.stills) if each.path == clip)
    first = next_take(session, one)
    assert film.make(first.short, *(["--takes", str(first.take)] if clip != HERO else [])).done.code == 0
    assert first.take in film.lock.entries[clip].takes
    say(film, "forget", first.short)
    film.lock_file.write_bytes(lock)
    assert next_take(film.session(), one).take == first.take + 1


def test_takes_without_a_clip_lists_all(film: Film) -> None:
    say(film, "approve", "hook/a@2", "fine")
    say(film, "reject", HERO, "hands")
    out = say(film, "takes")
    assert re.search(r"^ *hook/a +1 +1 2 +2 approved: fine$", out, re.MULTILINE)
    assert re.search(r"^ *hook/new +none made$", out, re.MULTILINE)
    assert re.search(rf"^ *{HERO} +1 +1 2 +1 rejected: hands$", out, re.MULTILINE)
    rows = film.run("takes", "--json").data
    assert {(row["clip"], row["take"], row["status"]) for row in rows if row["status"]} == {
        ("hook/a", 2, "approved"),
        (HERO, 1, "rejected"),
    }


def test_a_rejected_take_in_the_cut_is_in_the_plan_as_in_the_status(film: Film) -> None:
    say(film, "reject", "hook/a", "too dark")
    say(film, "reject", HERO, "hands")
    for command in ("plan", "status"):
        ran = film.run(command)
        for clip, reason in (("hook/a", "too dark"), (HERO, "hands")):
            assert f"{clip}: take 1 is rejected ({reason}), and stays in the cut" in ran.out + ran.err, command
