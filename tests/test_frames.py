"""Clips that start from, or end on, a frame of another clip: exact, by its pixels, and told with the whole chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from fakes import media, simulate
from fakes.comfyui import FakeComfy
from harness.command import Ran
from harness.film import Film, prompt
from PIL import Image

from ltxflow.lock.file import read_lock
from ltxflow.media.image import read_image

CHAIN = f"""\
ltxflow: 1
id: chain
size: 120x104
fps: 24
scenes:
  - id: hook
    crossfade: 0f
    clips:
      - {{ id: a, length: 33f, prompt: "{prompt("hook-a")}" }}
      - {{ id: b, length: 17f, reference: {{ frame_of: a }}, prompt: "{prompt("hook-b")}" }}
      - {{ id: c, length: 17f, reference: {{ frame_of: {{ clip: b }}, strength: 0.8 }}, prompt: "{prompt("c")}" }}
  - id: end
    clips:
      - {{ id: a, length: 17f, reference: {{ frame_of: {{ clip: hook/a, at: 0.5s }} }}, prompt: "{prompt("end-a")}" }}
"""
ALL = ["clip:end/a@1", "clip:hook/a@1", "clip:hook/b@1", "clip:hook/c@1"]


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def chain(film: Film) -> Film:
    film.file.write_text(CHAIN)
    return film


def build(film: Film, server: FakeComfy, *more: str) -> list[str]:
    """Build it; return what was rendered."""
    ran = film.run("build", "--json", "--server", server.url, *more)
    assert ran.code == 0, ran.out + ran.err
    return rendered(ran)


def rendered(ran: Ran) -> list[str]:
    return sorted(e["target"] for e in ran.events("action-finished") if e["outcome"] == "rendered")


def changes(film: Film, *argv: str) -> dict[str, dict[str, str]]:
    return {c["target"]: c for c in film.run("plan", "--json", *argv).data["changes"]}


def blob(film: Film, clip: str, output: str) -> Path:
    take = read_lock(film.folder / "ltxflow.lock").entries[clip].takes[1]
    found = take.output(output)
    assert found is not None
    return film.session().store.cas.path(found.digest)


def sent(server: FakeComfy) -> dict[str, Path]:
    """The pictures a server was sent, by the digest of what they show."""
    return {read_image(path).pixels: path for path in (server.folders["input"] / "ltxflow").glob("*.png")}


def error(film: Film, *argv: str) -> dict[str, str]:
    ran = film.run(*(argv or ("plan",)), "--json")
    assert ran.code in (1, 2), ran.out
    (problem,) = [p for p in ran.envelope["problems"] if p["level"] == "error"]
    return dict(problem)


# --- which frame


def test_a_chain_is_built_in_its_order_and_frames_are_nobodys_business(chain: Film, server: FakeComfy) -> None:
    ran = chain.run("build", "--json", "--server", server.url)
    assert ran.code == 0, ran.out + ran.err
    ends = [e["target"] for e in ran.events("action-finished")]
    assert ends.index("clip:hook/a@1") < ends.index("clip:hook/b@1") < ends.index("clip:hook/c@1")
    assert sorted(ends) == ALL
    assert ran.totals == {"planned": 4, "hit": 0, "rendered": 4, "restored": 0, "failed": 0, "skipped": 0}
    again = chain.run("build", "--json", "--server", server.url)
    assert again.totals == {"planned": 4, "hit": 4, "rendered": 0, "restored": 0, "failed": 0, "skipped": 0}


def test_the_last_frame_is_sent_without_loss_and_uncropped(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    saved = blob(chain, "hook/a", "last_frame")
    with Image.open(saved) as picture:
        assert picture.size == (128, 128)  # the clip is cut to 120x104
    assert read_image(saved).pixels in sent(server)


def test_another_moment_is_exactly_that_frame_of_the_uncropped_video(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    with av.open(str(blob(chain, "hook/a", "uncropped"))) as video:
        frames = list(video.decode(video=0))
    wanted = frames[12]  # 0.5 s at 24 frames a second
    identity = media.identity(wanted)
    assert identity is not None
    assert identity[1] == 12
    kept = chain.folder / "kept.png"
    Image.fromarray(wanted.to_ndarray(format="rgb24")).save(kept)
    assert read_image(kept).pixels in sent(server)


@pytest.mark.parametrize(("at", "number"), [("first", 0), ("0s", 0), ("16f", 16), ("0.51s", 12), ("32f", 32)])
def test_moments_are_told_by_their_frame(chain: Film, server: FakeComfy, at: str, number: int) -> None:
    chain.edit("at: 0.5s", f"at: {at}")
    build(chain, server, "end")
    with av.open(str(blob(chain, "hook/a", "uncropped"))) as video:
        picture = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][number]
    kept = chain.folder / "kept.png"
    Image.fromarray(picture).save(kept)
    assert list(sent(server)) == [read_image(kept).pixels]


def test_a_clip_may_end_on_a_frame_of_another(chain: Film, server: FakeComfy) -> None:
    chain.edit(
        "reference: { frame_of: { clip: hook/a, at: 0.5s } }", "last_frame: { frame_of: { clip: hook/a, at: first } }"
    )
    assert "clip:end/a@1" in build(chain, server)
    shown = chain.run("show", "end/a", "--json").data[0]
    assert shown["template"] == "flf2v"


# --- keys: the pixels count, nothing else


def test_a_file_with_the_same_pixels_costs_nothing(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    (chain.folder / "refs").mkdir()
    with Image.open(blob(chain, "hook/a", "last_frame")) as picture:
        picture.save(chain.folder / "refs" / "a.png", compress_level=9)
    chain.edit("{ frame_of: a }", "refs/a.png")
    assert build(chain, server) == []


def test_an_edit_upstream_renders_the_chain_and_nothing_else(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("length: 17f, reference: { frame_of: a }", "length: 17f, seed: 5, reference: { frame_of: a }")
    assert build(chain, server) == ["clip:hook/b@1", "clip:hook/c@1"]


def test_equal_pixels_stop_the_chain(chain: Film, server: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate.media, "colour_of", lambda text: (96, 160))
    build(chain, server)
    chain.edit("length: 33f", "length: 33f, seed: 5")
    assert [c["kind"] for c in changes(chain).values()] == ["change", "maybe", "maybe", "maybe"]
    assert build(chain, server) == ["clip:hook/a@1"]


def test_what_a_clip_makes_of_the_frame_is_in_its_key(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("strength: 0.8", "strength: 0.7")
    (change,) = [c for c in changes(chain).values() if c["kind"] == "change"]
    assert change["target"] == "clip:hook/c@1"
    chain.edit("at: 0.5s", "at: 0.75s")
    plan = changes(chain)
    assert plan["clip:end/a@1"]["kind"] == "maybe"
    assert plan["clip:end/a@1"]["note"] == "end/a ← hook/a: its frame is to be taken"
    assert build(chain, server) == ["clip:end/a@1", "clip:hook/c@1"]


# --- what is told


def test_the_plan_names_the_whole_chain_and_what_changed_at_its_root(chain: Film, server: FakeComfy) -> None:
    assert changes(chain)["clip:hook/c@1"]["note"] == "hook/c ← hook/b ← hook/a: new"
    build(chain, server)
    chain.edit(prompt("hook-a"), prompt("hook-a", "spins"))
    plan = changes(chain)
    assert plan["clip:hook/a@1"]["kind"] == "change"
    assert plan["clip:hook/b@1"]["note"] == "hook/b ← hook/a: prompt.text changed"
    assert plan["clip:hook/c@1"]["note"] == "hook/c ← hook/b ← hook/a: prompt.text changed"
    assert "← hook/b ← hook/a: prompt.text changed" in chain.run("plan").out
    assert "← hook/b ← hook/a: prompt.text changed" in chain.run("explain", "hook/c").out


def test_a_changed_picture_upstream_is_the_reason_once_it_is_there(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("at: 0.5s", "at: last")
    build(chain, server)
    chain.edit("length: 33f", "length: 33f, seed: 5")
    build(chain, server, "hook/b")
    change = changes(chain)["clip:end/a@1"]
    assert change["kind"] == "change"
    (reason,) = change["reasons"]
    assert (reason["field"], reason["new"]["is"]) == ("reference.image", "hook/a, last frame")
    assert reason["old"]["pixels"] != reason["new"]["pixels"]
    assert reason["where"]["line"] == 14


@pytest.mark.parametrize(("word", "said"), [("approve", "approved"), ("accept", "accepted")])
def test_a_take_with_a_persons_word_stays_and_warns(chain: Film, server: FakeComfy, word: str, said: str) -> None:
    build(chain, server)
    if word == "accept":
        chain.edit(prompt("c"), prompt("c", "spins"))
    assert chain.run(word, "hook/c").code == 0
    chain.edit(prompt("hook-a"), prompt("hook-a", "spins"))
    told = changes(chain)["clip:hook/c@1"]
    assert told["kind"] == "unchanged"
    why = "hook/c ← hook/b ← hook/a: prompt.text changed"
    assert told["note"] == f"{said}; its upstream changed ({why})"
    assert told["note"] in chain.run("plan").out
    assert build(chain, server) == ["clip:end/a@1", "clip:hook/a@1", "clip:hook/b@1"]
    after = changes(chain)["clip:hook/c@1"]
    assert after["kind"] == "unchanged"
    assert after["note"].endswith("; its upstream changed (hook/b/last)")
    assert build(chain, server) == []


def test_an_accepted_take_gives_way_to_its_own_edit(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit(prompt("c"), prompt("c", "spins"))
    assert chain.run("accept", "hook/c").code == 0
    chain.edit(prompt("hook-a"), prompt("hook-a", "spins"))
    chain.edit("strength: 0.8", "strength: 0.7")
    assert changes(chain)["clip:hook/c@1"]["kind"] == "maybe"


def test_what_follows_an_approved_take_is_known(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    assert chain.run("approve", "hook/b").code == 0
    chain.edit(prompt("hook-a"), prompt("hook-a", "spins"))
    plan = changes(chain)
    assert (plan["clip:hook/b@1"]["kind"], plan["clip:hook/c@1"]["kind"]) == ("unchanged", "unchanged")


def test_a_pinned_file_lends_its_last_frame(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    mine = chain.scenes / "scene-1-a.mp4"
    assert chain.run("pin", "hook/b", str(mine)).code == 0
    assert build(chain, server) == ["clip:hook/c@1"]


def test_another_pick_upstream_is_another_frame(chain: Film, server: FakeComfy) -> None:
    chain.edit("length: 33f", "length: 33f, takes: 2")
    build(chain, server)
    assert chain.run("pick", "hook/a", "2").code == 0
    assert build(chain, server) == ["clip:end/a@1", "clip:hook/b@1", "clip:hook/c@1"]
    assert chain.run("pick", "hook/a", "1").code == 0
    assert build(chain, server) == []


def test_slates_say_where_they_start_and_need_nothing(chain: Film) -> None:
    ran = chain.run("build", "--animatic", "--json")
    assert ran.code == 0
    assert ran.totals["rendered"] == 4
    chain.edit("frame_of: a", "frame_of: { clip: a, at: first }")
    plan = changes(chain, "--animatic")
    assert [c["reasons"][0]["field"] for c in plan.values() if c["kind"] == "change"] == ["starts"]


# --- what is refused


def test_a_clip_that_is_not_there(chain: Film) -> None:
    problem = error(chain.edit("frame_of: a }", "frame_of: hock/a }"))
    assert problem["code"] == "L123"
    assert problem["message"] == 'hook/b: reference is a frame of "hock/a", which is not in the film'
    assert problem["hint"] == 'did you mean "hook/a"?'
    assert (problem["where"]["line"], problem["where"]["col"]) == (10, 54)


def test_a_moment_after_the_clips_end(chain: Film) -> None:
    problem = error(chain.edit("at: 0.5s", "at: 33f"))
    assert problem["code"] == "L124"
    assert problem["message"] == "end/a uses hook/a at 33f, and hook/a ends after 33 frames, 1.38s"
    assert problem["hint"] == "write at: last, or a time before 1.38s"
    assert problem["where"]["line"] == 14


def test_a_circle_is_refused_where_it_is_written(chain: Film) -> None:
    problem = error(chain.edit("id: a, length: 33f", "id: a, length: 33f, reference: { frame_of: c }"))
    assert problem["code"] == "L125"
    assert problem["message"] == "hook/a depends on itself: hook/a ← hook/c ← hook/b ← hook/a"
    assert problem["where"]["line"] == 9


def test_a_frame_and_a_file_exclude_each_other(chain: Film) -> None:
    problem = error(chain.edit("{ frame_of: a }", "{ frame_of: a, image: refs/x.png }"))
    assert problem["message"] == '"frame_of" and "image" exclude each other'


def test_a_clip_puts_away_the_picture_of_its_scene(chain: Film, server: FakeComfy) -> None:
    chain.edit("    crossfade: 0f\n", "    crossfade: 0f\n    reference: refs/none.png\n")
    assert error(chain)["message"] == 'no file "refs/none.png"'
    chain.edit("id: a, length: 33f", "id: a, reference: null, length: 33f")
    assert changes(chain)["clip:hook/b@1"]["kind"] == "maybe"


def test_a_long_chain_drifts(chain: Film) -> None:
    more = "".join(
        f'      - {{ id: {id}, length: 9f, reference: {{ frame_of: {of} }}, prompt: "{prompt(id)}" }}\n'
        for of, id in ("cd", "de", "ef")
    )
    chain.edit("  - id: end\n", more + "  - id: end\n")
    found = [p for p in chain.run("check", "--json").envelope["problems"] if p["code"] == "L126"]
    assert [p["level"] for p in found] == ["warning"]
    assert "hook/e is 4 clips away from an independent start" in found[0]["message"]
    assert "hook/e ← hook/d ← hook/c ← hook/b ← hook/a" in found[0]["message"]
    assert found[0]["where"]["line"] == 13


def test_a_crossfade_into_a_clip_that_goes_on_is_warned_of(chain: Film) -> None:
    chain.edit("    crossfade: 0f\n", "")
    found = [p for p in chain.run("check", "--json").envelope["problems"] if p["code"] == "L106"]
    assert [p["where"]["line"] for p in found] == [9, 10]


# --- without a store


def test_the_lock_alone_can_key_a_chain(chain: Film, server: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> None:
    build(chain, server)
    taken = read_lock(chain.folder / "ltxflow.lock").entries["hook/a"].takes[1].facts["taken"]
    assert sorted(taken) == ["12f", "last"]
    assert build(chain, server) == []
    monkeypatch.setenv("LTXFLOW_STORE", str(chain.store.parent / "empty"))
    assert chain.run("check", "--locked").code == 0
    chain.edit(prompt("c"), prompt("c", "spins"))
    done = chain.run("check", "--locked", "--json")
    assert done.code == 1
    (problem,) = [p for p in done.envelope["problems"] if p["level"] == "error"]
    assert problem["message"].startswith("hook/c differs from ltxflow.lock")


def test_a_moved_clip_keeps_all_that_starts_from_it(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("id: a, length: 33f", "id: first, length: 33f")
    chain.edit("frame_of: a }", "frame_of: first }")
    chain.edit("clip: hook/a", "clip: hook/first")
    chain.edit("scenes:", "moved: [{ from: hook/a, to: hook/first }]\nscenes:")
    assert build(chain, server) == []
