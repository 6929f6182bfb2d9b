"""Checks on what came back, through the front door: real files from a fake server, and what the verbs say of them."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from fakes.misbehave import LUCKLESS
from harness.command import Ran, command, run
from harness.studio import Studio, notices, problems

from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.timing import seed_for
from ltxflow.farm import transfer
from ltxflow.lock.file import read_lock, write_lock
from ltxflow.lock.model import Lock, with_take
from ltxflow.media import inspection as media_inspect
from ltxflow.media.findings import RULES
from ltxflow.models.load import load_profile
from ltxflow.steps import inspect
from ltxflow.store.store import Store

CODES = {"frozen": "Q101", "black": "Q102", "silent": "Q106", "clipped": "Q108"}
FILM_SEED = 3  # of every Studio


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio.at(tmp_path).move_in(monkeypatch)


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is inspected, in order."""
    seen: list[Path] = []
    real = media_inspect.inspect_video

    def inspect_video(path: Path) -> Any:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(media_inspect, "inspect_video", inspect_video)
    return seen


def seed(clip: str, take: int = 1, try_: int = 0) -> int:
    return seed_for(FILM_SEED, "s", clip, take, try_)


def ask(studio: Studio, *argv: str) -> Ran:
    return run(*argv, "-p", str(studio.folder))


def lock(studio: Studio) -> Lock:
    return read_lock(studio.folder / "ltxflow.lock")


def codes(ran: Ran) -> set[str]:
    return {problem["code"] for problem in problems(ran)}


# --- what is told


@pytest.mark.parametrize("what", LUCKLESS)
def test_a_clip_that_came_back_badly_is_published_and_told(studio: Studio, server: FakeComfy, what: str) -> None:
    studio.write("a", "b")
    server.misbehave.spoil(what, seeds=[seed("b")])
    ran = studio.build(server)
    assert ran.code == 0
    assert set(studio.films) == {"a", "b"}
    (told,) = problems(ran)
    assert (told["code"], told["level"]) == (CODES[what], "warning")
    assert told["message"].startswith("s/b: the ")
    where = told["where"]
    assert (Path(where["file"]).name, where["line"]) == ("project.yaml", 11)
    assert told["hint"].endswith("another seed: ltxflow retake s/b")


def test_a_good_clip_says_nothing_but_how_it_moves(studio: Studio, server: FakeComfy) -> None:
    ran = studio.write("a").build(server)
    assert problems(ran) == []
    (verdict,) = ran.data["checks"].values()
    assert verdict["problems"] == []
    assert verdict["motion"] > 0.1


@pytest.mark.parametrize("verb", ["plan", "status", "build"])
def test_every_verb_that_shows_clips_says_it(studio: Studio, server: FakeComfy, verb: str) -> None:
    studio.write("a", "b")
    server.misbehave.spoil("frozen", seeds=[seed("b")])
    studio.build(server)
    for _ in range(2):  # the second time from its snapshot
        told = ask(studio, verb)
        assert "the picture is frozen for 0.36 s" in told.out + told.err
    data = ask(studio, verb, "--json").data
    checks = {
        "plan": lambda: {change["target"]: change["checks"] for change in data["changes"]},
        "status": lambda: {f"clip:{clip['clip']}@1": clip["checks"] for clip in data["clips"]},
        "build": lambda: data["checks"],
    }[verb]()
    assert [p["code"] for p in checks["clip:s/b@1"]["problems"]] == ["Q101"]
    assert checks["clip:s/b@1"]["motion"] < 0.02 < checks["clip:s/a@1"]["motion"]


def test_the_takes_of_a_clip_are_shown_with_how_they_move(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: 'takes: 2'".replace("'", ""))
    server.misbehave.spoil("frozen", seeds=[seed("a", take=2)])
    ran = studio.build(server)
    assert [p["message"][:6] for p in problems(ran)] == ["s/a@2:"]  # just made; later it is not in the cut
    assert problems(studio.build(server)) == []
    rows = ask(studio, "takes", "s/a", "--json").data
    assert [[p["code"] for p in row["checks"]["problems"]] for row in rows] == [[], ["Q101"]]
    told = ask(studio, "takes", "s/a").out
    assert "motion" in told
    assert "s/a@2: the picture is frozen" in told
    assert "describe motion" in told


def test_advice_is_that_of_the_models_guide_and_fits_the_clip(studio: Studio, server: FakeComfy) -> None:
    studio.write("a")
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    (told,) = problems(studio.build(server))
    guide = load_profile("ltx2-19b").advice["frozen_picture"]
    rest = "allow a still with checks: {frozen: false}; or try another seed: ltxflow retake s/a"
    assert told["hint"] == f"{guide[0]}; {guide[2]}; {rest}"  # the strength of a picture: this clip has none


def test_a_clip_that_hardly_moves_gets_advice(studio: Studio, server: FakeComfy) -> None:
    ran = studio.write("a: checks: {motion: 9}").build(server)
    (told,) = problems(ran)
    assert (told["code"], told["level"]) == ("Q103", "advice")
    assert "hardly anything moves: motion " in told["message"]
    assert "describe motion" in told["hint"]


def own_template(studio: Studio, file: str = "", old: str = "", new: str = "") -> None:
    """Give the project a template of its own, "mine": ours for a text, with one change in a file."""
    ours = load_profile("ltx2-19b").file.parent
    folder = studio.folder / "templates" / "ltx2-19b"
    folder.mkdir(parents=True)
    for name, source in (("mine.json.j2", "t2v.json.j2"), ("_parts.j2", "_parts.j2")):
        text = (ours / source).read_text()
        assert name != file or old in text
        (folder / name).write_text(text.replace(old, new) if name == file else text)


def test_a_template_of_ones_own_that_saves_another_length_is_told(studio: Studio, server: FakeComfy) -> None:
    """What our own templates save is refused when it is not what was asked for; a stranger's may be anything."""
    studio.write("a: template: mine")
    own_template(studio)
    assert ask(studio, "trust").code == 0
    server.misbehave.spoil("frames", times=None)
    ran = studio.build(server)
    assert {p["code"]: p["message"] for p in problems(ran)}["Q113"] == "s/a: it has 1 frames, not 9"


def test_two_takes_that_came_out_the_same_are_told_once(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: seeds: [7, 7]")
    ran = studio.build(server)
    assert {p["message"] for p in problems(ran)} == {"s/a@2: the same as take 1: 100 % alike"}
    assert problems(studio.write("a: seeds: [7, 7], checks: {duplicate: false}").build(server)) == []


# --- thresholds


def test_checks_are_switched_off_one_by_one_or_all(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b: checks: {frozen: false, motion: false}", "c: checks: false", "d: checks: {frozen: 0.5s}")
    server.misbehave.spoil("frozen", seeds=[seed(clip) for clip in "abcd"])
    ran = studio.build(server)
    assert [p["message"][:3] for p in problems(ran)] == ["s/a", "s/d"]
    assert "clip:s/c@1" not in ran.data["checks"]


def test_other_thresholds_need_no_second_look(studio: Studio, server: FakeComfy, looks: list[Path]) -> None:
    studio.write("a").build(server)
    assert len(looks) == 1
    ran = studio.write("a: checks: {motion: 9}").build(server)
    assert codes(ran) == {"Q103"}
    assert len(looks) == 1
    assert len(server.stats()["runs"]) == 1


def test_a_look_is_kept_with_the_file_whatever_film_it_is_in(
    studio: Studio, server: FakeComfy, looks: list[Path]
) -> None:
    studio.write("a").build(server)
    store, take = Store(studio.root / "store"), lock(studio).entries["s/a"].takes[1]
    trace = store.lookup(inspect.action_of(take.outputs["published"]).key)
    assert trace is not None
    assert trace.action["inputs"] == {"video": take.outputs["published"]}
    assert trace.outputs["findings"].facts["frames"] == 9
    (studio.folder / "ltxflow.lock").unlink()
    studio.build(server)
    assert len(looks) == 1


def test_clips_that_were_never_inspected_are_when_they_are_built(
    studio: Studio, server: FakeComfy, looks: list[Path]
) -> None:
    studio.write("a: checks: false", "b: checks: false").build(server)
    assert looks == []
    plan = ask(studio.write("a", "b"), "plan", "--json")
    assert [change["checks"] for change in plan.data["changes"]] == [None, None]
    studio.build(server)
    assert len(looks) == 2
    assert len(server.stats()["runs"]) == 2


# --- further seeds

RESEED: dict[str, Any] = {"defaults": {"clip": {"reseed": 2, "checks": {"duplicate": False}}}}


def test_a_clip_that_came_back_badly_is_tried_with_another_seed(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b", **RESEED)
    server.misbehave.spoil("frozen", seeds=[seed("b")])
    ran = studio.build(server)
    assert problems(ran) == []
    assert ran.totals["rendered"] == 2
    assert "the picture is frozen for 0.36 s from 0.00 s on; tries another seed" in notices(ran)
    assert len(server.stats()["runs"]) == 3
    assert lock(studio).entries["s/b"].takes[1].seed == seed("b", try_=1)
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a")
    again = studio.build(server)
    assert again.totals["hit"] == 2
    assert len(server.stats()["runs"]) == 3


def test_after_so_many_seeds_it_gives_up_keeps_the_least_bad_and_asks(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", **RESEED)
    server.misbehave.spoil("black", seeds=[seed("a"), seed("a", try_=2)])
    server.misbehave.spoil("silent", seeds=[seed("a", try_=1)])
    ran = studio.build(server)
    assert ran.code == 0
    assert codes(ran) == {"Q106"}
    assert "3 seeds came out badly: the least bad of them stays" in notices(ran)
    assert len(server.stats()["runs"]) == 3
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=1)
    for _ in range(2):
        again = studio.build(server)
        assert (again.totals["hit"], codes(again)) == (1, {"Q106"})
    assert len(server.stats()["runs"]) == 3


def test_what_was_given_up_stays_so_though_the_other_tries_are_gone(studio: Studio, server: FakeComfy) -> None:
    """As in a clone, or after a clean-up: the lock knows that they were tried."""
    studio.write("a", **RESEED)
    server.misbehave.spoil("black", seeds=[seed("a", try_=number) for number in range(4)])
    studio.build(server)
    assert lock(studio).entries["s/a"].takes[1].tries == 3
    store, kept = Store(studio.root / "store"), lock(studio).entries["s/a"].takes[1].key
    for key in list(store.keys()):
        if key != kept and (trace := store.trace(key)) and trace.action["kind"] == "clip":
            store.forget(key)
    assert studio.build(server).totals["hit"] == 1
    assert len(server.stats()["runs"]) == 3
    more = {"defaults": {"clip": {"reseed": 3}}}
    assert "tries another seed" in ask(studio.write("a", **more), "plan").out  # more are allowed by now


def test_nobody_tries_again_unasked(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b: seed: 5, reseed: 2", "c: seeds: [6], reseed: 2", "d: checks: {frozen: false}, reseed: 2")
    server.misbehave.spoil("frozen", seeds=[seed("a"), 5, 6, seed("d")])
    ran = studio.build(server)
    assert [p["message"][:3] for p in problems(ran) if p["code"] == "Q101"] == ["s/a", "s/b", "s/c"]
    assert len(server.stats()["runs"]) == 4


def test_what_no_seed_mends_is_not_tried_again(studio: Studio, server: FakeComfy) -> None:
    ran = studio.write("a: checks: {motion: 9}", **RESEED).build(server)
    assert codes(ran) == {"Q103"}
    assert len(server.stats()["runs"]) == 1


@pytest.mark.parametrize("what", LUCKLESS)
def test_only_faults_that_spoil_a_clip_are_tried_again(studio: Studio, server: FakeComfy, what: str) -> None:
    studio.write("a", defaults={"clip": {"reseed": 1, "checks": {"duplicate": False}}})
    server.misbehave.spoil(what, seeds=[seed("a")])
    studio.build(server)
    assert len(server.stats()["runs"]) == (2 if RULES[CODES[what]].seed == "tried" else 1)


def test_a_take_like_another_is_told_and_not_tried_again(studio: Studio, server: FakeComfy) -> None:
    """What the model makes alike for two seeds it would make alike for a third."""
    server.misbehave.spoil("frozen", seeds=[seed("a"), seed("a", take=2)])
    studio.write("a: 'takes: 2, reseed: 2, checks: {frozen: false, motion: false}'".replace("'", ""))
    ran = studio.build(server)
    assert codes(ran) == {"Q110"}
    assert len(server.stats()["runs"]) == 2


def test_the_line_of_a_retry_names_its_cause(studio: Studio, server: FakeComfy) -> None:
    """Another length is found, too, and comes first; no seed mends it."""
    own_template(studio, "_parts.j2", "{{ frames }}", "17")
    assert ask(studio.write("a: template: mine", **RESEED), "trust").code == 0
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    ran = studio.build(server)
    assert "Q113" in codes(ran)
    assert "Q101" not in codes(ran)
    told = [line for line in notices(ran).splitlines() if "another seed" in line]
    assert told == ["the picture is frozen for 0.68 s from 0.00 s on; tries another seed"]


@pytest.mark.parametrize("what", ["silent", "frozen"])
def test_a_fault_that_three_seeds_have_alike_ends_the_tries(studio: Studio, server: FakeComfy, what: str) -> None:
    more = {"defaults": {"clip": {"reseed": 5, "checks": {"duplicate": False}}}}
    studio.write("a", **more)
    server.misbehave.spoil(what, seeds=[seed("a", try_=number) for number in range(6)])
    ran = studio.build(server)
    assert len(server.stats()["runs"]) == 3
    (problem,) = problems(ran)
    message = problem["message"].removeprefix("s/a: ")
    assert f"3 seeds came out alike ({message}): it is not the seed; one of them stays" in notices(ran)
    assert problem["hint"].endswith("seeds were tried: it is not the seed")
    assert "retake" not in problem["hint"]
    for _ in range(2):
        assert studio.build(server).totals["hit"] == 1
        assert "tries another seed" not in ask(studio, "plan").out
    assert len(server.stats()["runs"]) == 3
    assert lock(studio).entries["s/a"].takes[1].tries == 6  # all that is allowed: more only once more are


def test_faults_that_differ_do_not_end_the_tries(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", defaults={"clip": {"reseed": 4, "checks": {"duplicate": False}}})
    server.misbehave.spoil("black", seeds=[seed("a", try_=number) for number in (0, 2)])
    server.misbehave.spoil("silent", seeds=[seed("a", try_=number) for number in (1, 3)])
    ran = studio.build(server)
    assert problems(ran) == []
    assert len(server.stats()["runs"]) == 5


IGNORED = {
    "clip": ("a: 'ignore: [Q101], reseed: 1'", {}),
    "scene": ("a: 'reseed: 1'", {"scene": "crossfade: 0f\nignore: [Q101]"}),
    "film": ("a", {"defaults": {"clip": {"ignore": ["Q101"], "reseed": 1}}}),
}


@pytest.mark.parametrize("level", IGNORED)
def test_a_rule_that_is_ignored_says_nothing_and_tries_nothing(studio: Studio, server: FakeComfy, level: str) -> None:
    clip, more = IGNORED[level]
    studio.write(clip.replace("'", ""), **more)
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    assert problems(studio.build(server)) == []
    assert len(server.stats()["runs"]) == 1
    for verb in ("plan", "status", "takes"):
        assert "frozen" not in ask(studio, verb, *(["s/a"] if verb == "takes" else [])).out


# --- other versions of the checks


def as_of_version_1(studio: Studio, file: Digest, **found: Any) -> None:
    """Turn what was found in a file into what version 1 of the checks found, and wrote."""
    store = Store(studio.root / "store")
    trace = store.trace(inspect.action_of(file).key)
    assert trace is not None
    older = inspect.action_of(file, "1")
    output = trace.outputs["findings"]
    facts = {name: value for name, value in {**output.facts, **found}.items() if name != "sound_start"}
    store.record(
        replace(trace, key=older.key, action=older.as_json(), outputs={"findings": replace(output, facts=facts)})
    )
    store.forget(trace.key)


FINE = {"frozen": {"start": 0.0, "seconds": 0.0}, "frozen_share": 0.0, "motion_mean": 0.5}


def test_what_an_older_version_let_pass_is_told_and_not_tried_again(
    studio: Studio, server: FakeComfy, looks: list[Path]
) -> None:
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    studio.write("a", "b").build(server)
    as_of_version_1(studio, lock(studio).entries["s/a"].takes[1].outputs["published"], **FINE)
    looks.clear()
    studio.write("a", "b", **RESEED)
    assert "2 clips unchanged" in ask(studio, "plan").out
    ran = studio.build(server)
    assert codes(ran) == {"Q101"}
    assert ran.totals["hit"] == 2
    assert len(looks) == 1  # once more, and not of what was inspected by this version
    assert len(server.stats()["runs"]) == 2
    studio.build(server)
    assert len(looks) == 1


def test_what_an_older_version_found_is_told_until_it_is_inspected_once_more(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    studio.write("a").build(server)
    as_of_version_1(studio, lock(studio).entries["s/a"].takes[1].outputs["published"])
    told = ask(studio, "plan")
    assert "the picture is frozen for 0.36 s" in told.out + told.err
    studio.write("a", **RESEED)
    assert "tries another seed" not in ask(studio, "plan").out  # no GPU time for what the newer checks may not say
    assert studio.build(server).totals["rendered"] == 1  # they do say so
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=1)


def test_a_preview_is_not_tried_again(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", size="256x256", **RESEED)
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    assert codes(studio.build(server, args=["--quality", "preview"])) == {"Q101"}
    assert len(server.stats()["runs"]) == 1


def test_plan_says_which_clips_will_be_tried_again_and_why(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    studio.write("a", "b").build(server)
    plan = ask(studio.write("a", "b", **RESEED), "plan")
    assert "~ s/a     9f  the picture is frozen for 0.36 s from 0.00 s on; tries another seed" in plan.out
    assert "1 clip to change, 1 clip unchanged" in plan.out.replace("; ", ", ")
    assert studio.build(server).totals["rendered"] == 1
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=1)


def test_an_edit_that_is_taken_back_renders_nothing_though_seeds_have_moved(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", **RESEED).build(server)
    first = lock(studio)
    server.misbehave.spoil("frozen", seeds=[seed("a")])  # the same seed, with another text
    studio.write("a: loras: [{name: grain.safetensors, strength: 0.5}]", **RESEED)
    server.models["loras"] = [*server.models.get("loras", []), "grain.safetensors"]
    studio.build(server)
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=1)
    runs = len(server.stats()["runs"])
    assert studio.write("a", **RESEED).build(server).totals["rendered"] == 0
    assert len(server.stats()["runs"]) == runs
    assert lock(studio) == first


def test_without_its_lock_a_film_finds_the_same_seeds_again(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b", **RESEED)
    server.misbehave.spoil("black", seeds=[seed("a"), *(seed("b", try_=number) for number in range(3))])
    studio.build(server)
    before, runs = lock(studio), len(server.stats()["runs"])
    (studio.folder / "ltxflow.lock").unlink()
    studio.build(server)
    assert lock(studio) == before
    assert len(server.stats()["runs"]) == runs == 5


@pytest.mark.parametrize("word", ["approve", "reject", "accept"])
def test_a_persons_word_ends_the_trying(studio: Studio, server: FakeComfy, word: str) -> None:
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    studio.write("a").build(server)
    if word == "accept":  # of what no longer matches
        studio.write("a: length: 17f").build(server)
        studio.write("a")
    assert ask(studio, word, "s/a").code == 0
    runs = len(server.stats()["runs"])
    studio.write("a", **RESEED).build(server)
    assert len(server.stats()["runs"]) == runs


def test_a_clip_that_continues_a_bad_one_waits_for_the_seed_that_stands(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: length: 33f", "b: extends: {clip: a, frames: 9}, length: 33f", **RESEED)
    server.misbehave.spoil("frozen", seeds=[seed("a")])
    ran = studio.build(server)
    assert ran.code == 0, ran.out
    assert len(server.stats()["runs"]) == 3
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=1)
    assert studio.build(server).totals["hit"] == 2


# --- killed between tries


def tried(studio: Studio, server: FakeComfy) -> None:
    """Nothing was rendered twice, and the seed that stands is the first that came out well."""
    runs = server.stats()["runs"]
    made = Counter(run["key"] for run in runs if run["outcome"] == "success")
    assert set(made.values()) == {1}
    assert len(made) == 4, "a: two bad seeds and a good one; b: one"
    assert lock(studio).entries["s/a"].takes[1].seed == seed("a", try_=2)
    assert studio.build(server).totals["hit"] == 2
    assert len(server.stats()["runs"]) == len(runs)


def test_what_comes_back_is_decoded_once_and_found_as_what_is_published_is(
    studio: Studio, server: FakeComfy, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []
    monkeypatch.setattr(transfer, "decode_count", counted.append)
    studio.write("a").build(server)
    assert [path.name for path in looks] == ["video.mp4"]
    assert not counted
    (published,) = studio.films.values()
    found = Store(studio.root / "store").trace(inspect.action_of(digest_file(published)).key)
    assert found is not None
    assert found.outputs["findings"].facts == media_inspect.inspect_video(published).as_json()


def spoil(server: FakeComfy) -> None:
    server.misbehave.spoil("frozen", seeds=[seed("a"), seed("a", try_=1)])


def test_a_build_that_dies_before_a_clip_is_inspected_inspects_it_next_time(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b", **RESEED)
    spoil(server)
    dies = "import os\nfrom ltxflow.media import inspection\ninspection.inspect_video = lambda path: os._exit(9)"
    argv = command("build", "-p", str(studio.folder), "--server", server.url, setup=dies)
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 9
    studio.build(server)
    tried(studio, server)


def test_a_build_that_is_killed_between_tries_goes_on_where_it_was(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b", **RESEED)
    spoil(server)
    build = studio.start(server)
    assert build.stdout is not None
    for line in build.stdout:
        if "tries another seed" in line:
            build.kill()
            break
    build.communicate()
    studio.build(server)
    tried(studio, server)


@pytest.mark.slow
@pytest.mark.parametrize("line", range(1, 16))
def test_wherever_a_build_is_killed_no_try_is_made_twice(studio: Studio, server: FakeComfy, line: int) -> None:
    studio.write("a", "b", **RESEED)
    spoil(server)
    build = studio.start(server)
    assert build.stdout is not None
    for _ in range(line):
        build.stdout.readline()
    build.kill()
    build.communicate()
    studio.build(server)
    tried(studio, server)


# --- one more take


def test_retake_makes_one_more_take_and_nothing_else(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b").build(server)
    studio.write("a", "b: loras: [gone.safetensors]")  # stale by now, and not asked for
    before = {name: path.read_bytes() for name, path in studio.films.items()}
    ran = ask(studio, "retake", "s/a", "too calm", "--server", server.url)
    assert ran.code == 0, ran.err
    assert "ltxflow pick s/a@2" in ran.out
    assert {name: path.read_bytes() for name, path in studio.films.items()} == before
    entry = lock(studio).entries["s/a"]
    assert (entry.pick, entry.status, entry.reason) == (1, "rejected", "too calm")
    assert entry.takes[2].seed == seed("a", take=2)
    assert len(server.stats()["runs"]) == 3
    assert "2     9" in ask(studio, "takes", "s/a").out
    assert ask(studio, "pick", "s/a", "2").code == 0
    studio.write("a", "b")
    assert studio.build(server).totals["rendered"] == 0
    assert studio.films["a"].read_bytes() != before["a"]


def test_the_next_retake_has_the_next_number(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: takes: 2").build(server)
    done = ask(studio, "retake", "s/a", "--server", server.url, "--json")
    assert (done.data["take"], done.data["made"]) == (3, True)
    assert done.data["checks"]["motion"] > 0.02
    assert ask(studio, "retake", "s/a", "--server", server.url, "--json").data["take"] == 4
    assert sorted(lock(studio).entries["s/a"].takes) == [1, 2, 3, 4]
    assert studio.build(server).totals["rendered"] == 0


def test_a_reason_does_not_reject_what_was_approved(studio: Studio, server: FakeComfy) -> None:
    studio.write("a").build(server)
    ask(studio, "approve", "s/a")
    done = ask(studio, "retake", "s/a", "too calm", "--server", server.url)
    assert done.code == 2
    assert "take 1 of s/a is approved; a reason would reject it" in done.err
    assert 'ltxflow reject s/a "too calm"' in done.err
    assert "project.yaml:10:" in done.err
    assert ask(studio, "retake", "s/a", "--server", server.url).code == 0
    assert lock(studio).entries["s/a"].status == "approved"


def test_a_rejected_take_that_is_in_the_cut_says_what_to_do(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: takes: 2", "b").build(server)
    ask(studio, "reject", "s/a", "too dark")
    for verb in ("build", "plan"):
        told = ask(studio, verb)
        assert "s/a: take 1 is rejected (too dark), and stays in the cut until there is another" in told.err
        assert "ltxflow retake s/a, or pick one: ltxflow pick s/a@2" in told.err
    ask(studio, "pick", "s/a", "2")
    assert "rejected" not in ask(studio, "plan").err


def test_explicit_seeds_are_those_of_the_takes_and_take_one_stays(studio: Studio, server: FakeComfy) -> None:
    studio.write("a").build(server)
    studio.write("a: takes: 3").build(server)
    assert len(server.stats()["runs"]) == 3  # take 1 stays when there are more
    ran = studio.write("a: seeds: [7, 8]").build(server)
    assert ran.totals["planned"] == 2
    assert len(server.stats()["runs"]) == 5
    rows = ask(studio, "takes", "s/a", "--json").data
    assert [row["seed"] for row in rows] == [7, 8, seed("a", take=3)]
    assert studio.write("a: takes: 3").build(server).totals["rendered"] == 0  # the recorded ones come back


def test_a_lock_with_a_seed_of_another_film_keeps_it_when_all_tries_fail(studio: Studio, server: FakeComfy) -> None:
    """As after a move: that seed cannot be derived again."""
    studio.write("a").build(server)
    held = lock(studio)
    foreign = replace(held.entries["s/a"].takes[1], seed=99)
    write_lock(studio.folder / "ltxflow.lock", with_take(held, "s/a", 1, foreign))
    server.misbehave.spoil("black", seeds=[99, seed("a", try_=1), seed("a", try_=2)])
    studio.write("a: length: 17f", **RESEED).build(server)
    assert lock(studio).entries["s/a"].takes[1].seed == 99
    runs = len(server.stats()["runs"])
    assert runs == 4
    assert studio.build(server).totals["hit"] == 1
    assert len(server.stats()["runs"]) == runs


# --- a person's word, end to end


def edit(studio: Studio, word: str = "spins") -> None:
    file = studio.folder / "project.yaml"
    text = file.read_text()
    assert "turns" in text
    file.write_text(text.replace("turns", word, 1))  # of the first clip


def test_an_approved_take_stays_whatever_its_text_says_and_every_verb_says_so(
    studio: Studio, server: FakeComfy
) -> None:
    studio.write("a", "b").build(server)
    ask(studio, "approve", "s/a", "nice")
    before = studio.films["a"].read_bytes()
    edit(studio)
    ran = studio.build(server)
    assert (ran.code, ran.totals["rendered"]) == (0, 0)
    assert studio.films["a"].read_bytes() == before
    (told,) = problems(ran)
    assert told["message"] == "s/a: the approved take 1 no longer matches its prompt, and stays"
    assert told["where"]["line"] == 10
    assert "ltxflow reject s/a" in told["hint"]
    plan = ask(studio, "plan")
    assert "! s/a     9f  approved; no longer matches its text" in plan.out
    assert "[-turns-] {+spins+}" in plan.out
    assert "[-turns-] {+spins+}" in ask(studio, "explain", "s/a").out
    assert told["message"] in ask(studio, "status").out
    assert "approved: nice  no longer matches its text" in ask(studio, "takes", "s/a").out
    ask(studio, "reject", "s/a")  # asked: now it may be made
    assert studio.build(server).totals["rendered"] == 1
    assert lock(studio).entries["s/a"].status == ""


def test_what_was_accepted_asks_for_no_other_take(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: takes: 2", "b").build(server)
    edit(studio)
    assert ask(studio, "accept", "s/a").code == 0
    assert studio.build(server).totals["rendered"] == 0
    assert studio.build(server, args=["s/a@2"]).totals["rendered"] == 1  # unless it is named
    file = studio.folder / "project.yaml"
    file.write_text(file.read_text().replace("spins", "rolls"))
    assert studio.build(server).totals["rendered"] == 2


@pytest.mark.parametrize("word", ["approve", "accept", "pin"])
def test_nobody_hears_twice_of_what_a_person_has_judged(studio: Studio, server: FakeComfy, word: str) -> None:
    server.misbehave.spoil("black", seeds=[seed("a")])
    studio.write("a", "b")
    assert codes(studio.build(server)) == {"Q102"}
    if word == "accept":
        edit(studio)
    files = [str(studio.films["a"])] if word == "pin" else []
    assert ask(studio, word, "s/a", *files).code == 0
    assert problems(studio.build(server)) == []
    assert "black" not in ask(studio, "plan").out
    assert "s/a: the picture is black" in ask(studio, "takes", "s/a").out  # who asks is told
