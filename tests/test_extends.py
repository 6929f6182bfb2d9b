"""Films with continuations and doubled frame rates, built on a server: who waits for whom, what is sent, what comes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from fakes.comfyui import FakeComfy
from harness.command import Ran
from harness.film import Film, prompt
from harness.media import canned

from ltxflow.lock.file import read_lock
from ltxflow.media.probe import VideoFacts, probe_mp4

CHAIN = f"""\
ltxflow: 1
id: chain
size: 120x104
fps: 24
scenes:
  - id: one
    crossfade: 0f
    clips:
      - {{ id: a, length: 33f, prompt: "{prompt("one-a")}" }}
      - {{ id: b, length: 41f, extends: a, prompt: "{prompt("one-b")}" }}
  - id: two
    clips:
      - {{ id: a, length: 17f, extends: {{ clip: one/b, frames: 9, audio: fresh }}, prompt: "{prompt("two-a")}" }}
  - id: three
    clips:
      - {{ id: a, length: 33f, temporal_upscale: true, prompt: "{prompt("three-a")}" }}
"""


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def chain(film: Film) -> Film:
    film.file.write_text(CHAIN)
    return film


def build(film: Film, server: FakeComfy, *more: str) -> Ran:
    ran = film.run("build", "--json", "--server", server.url, *more)
    assert ran.code == 0, ran.out + ran.err
    return ran


def facts(film: Film, name: str) -> VideoFacts:
    return probe_mp4(film.scenes / f"scene-{name}.mp4")


def rendered(ran: Ran) -> list[str]:
    return sorted(e["target"] for e in ran.events("action-finished") if e["outcome"] == "rendered")


def test_a_chain_is_built_in_its_order_and_delivers_what_is_new(chain: Film, server: FakeComfy) -> None:
    ran = build(chain, server)
    ends = [e["target"] for e in ran.events("action-finished") if e["outcome"] == "rendered"]
    assert [target for target in ends if "three" not in target] == ["clip:one/a@1", "clip:one/b@1", "clip:two/a@1"]
    made = {name: facts(chain, name) for name in ("0-a", "0-b", "1-a", "2-a")}
    assert {name: f.frames for name, f in made.items()} == {"0-a": 33, "0-b": 41 - 25, "1-a": 17 - 9, "2-a": 33}
    assert {f.fps for f in made.values()} == {24}
    assert {(f.width, f.height) for f in made.values()} == {(120, 104)}
    assert all(f.has_audio for f in made.values())
    clips = [clip for scene in chain.timeline["scenes"] for clip in scene["clips"]]
    assert [clip["durationInFrames"] for clip in clips] == [33, 16, 8, 33]
    assert chain.timeline["complete"]


def test_what_is_sent_is_the_uncropped_video_by_its_content(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    entries = read_lock(chain.folder / "ltxflow.lock", "ltxflow.lock").entries
    sent = {path.name: path for path in (server.folders["input"] / "ltxflow").glob("*.mp4")}
    wanted = [entries[path].takes[1].outputs["uncropped"] for path in ("one/a", "one/b")]
    assert sorted(sent) == sorted(f"{digest[:32]}.mp4" for digest in wanted)
    for digest in wanted:
        file = sent[f"{digest[:32]}.mp4"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
        assert (probe_mp4(file).width, probe_mp4(file).height) == (128, 128)


def test_nothing_is_made_twice(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    again = build(chain, server)
    assert again.totals == {"planned": 4, "hit": 4, "rendered": 0, "restored": 0, "failed": 0, "skipped": 0}


def test_what_goes_on_from_a_changed_clip_is_made_again_and_nothing_else(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("length: 41f", "length: 49f")
    planned = {c["target"]: c["kind"] for c in chain.run("plan", "--json").data["changes"]}
    assert planned["clip:one/b@1"] == "change"
    assert planned["clip:two/a@1"] == "maybe"
    assert rendered(build(chain, server)) == ["clip:one/b@1", "clip:two/a@1"]


def test_asking_for_a_continuation_makes_what_it_needs(chain: Film, server: FakeComfy) -> None:
    assert rendered(build(chain, server, "one/b")) == ["clip:one/a@1", "clip:one/b@1"]


def test_a_clip_that_fails_takes_along_what_goes_on_from_it(chain: Film, server: FakeComfy) -> None:
    chain.edit("length: 41f, extends: a", "length: 41f, extends: a, loras: [nowhere.safetensors]")
    ran = chain.run("build", "--json", "--server", server.url)
    assert ran.code == 1
    assert (ran.totals["rendered"], ran.totals["failed"], ran.totals["skipped"]) == (2, 1, 1)


def test_slates_stand_in_for_all_of_it(chain: Film) -> None:
    ran = chain.build()
    assert ran.code == 0
    assert [facts(chain, name).frames for name in ("0-a", "0-b", "1-a", "2-a")] == [33, 16, 8, 33]
    assert chain.timeline["complete"]


def test_what_changed_before_it_is_named(chain: Film, server: FakeComfy) -> None:
    build(chain, server)
    chain.edit("length: 33f, prompt", "length: 33f, seed: 5, prompt")
    build(chain, server, "one/a")
    change = next(c for c in chain.run("plan", "--json").data["changes"] if c["target"] == "clip:one/b@1")
    (reason,) = change["reasons"]
    assert (reason["field"], reason["old"]["is"], reason["new"]["is"]) == ("extends", "clip:one/a@1", "clip:one/a@1")
    assert reason["old"]["digest"] != reason["new"]["digest"]


# --- files of another kind

OWN = f"""\
ltxflow: 1
id: own
size: 120x104
fps: 24
scenes:
  - id: one
    crossfade: 0f
    clips:
      - {{ id: a, length: 41f, extends: {{ file: refs/a.mp4 }}, prompt: "{prompt("one-a")}" }}
      - id: b
        length: 17f
        control: {{ video: refs/a.mp4, lora: ltx-2-19b-ic-lora-pose-control.safetensors }}
        prompt: "{prompt("one-b")}"
"""


def test_a_video_of_any_size_and_rate_is_continued_and_followed(film: Film, server: FakeComfy) -> None:
    film.file.write_text(OWN)
    (film.folder / "refs").mkdir()
    (film.folder / "refs" / "a.mp4").write_bytes(canned(60, (320, 180), 30, "from a camera"))
    ran = build(film, server)
    assert ran.totals["rendered"] == 2
    assert {name: facts(film, name).frames for name in ("0-a", "0-b")} == {"0-a": 41 - 25, "0-b": 17}
    sent = {path: probe_mp4(path) for path in (server.folders["input"] / "ltxflow").iterdir()}
    assert {(f.frames, f.fps, f.width, f.height, f.has_audio) for f in sent.values()} == {
        (25, 24, 128, 128, True),  # the last second of it, where the clip goes on
        (17, 24, 64, 64, False),  # its beginning, as small as it is sampled
    }
    assert build(film, server).totals["hit"] == 2


def test_another_file_is_another_key(film: Film) -> None:
    film.file.write_text(OWN)
    (film.folder / "refs").mkdir()
    file = film.folder / "refs" / "a.mp4"
    file.write_bytes(canned(60, (320, 180), 30, "from a camera"))
    before = film.run("plan", "--json").data["changes"][0]["key"]
    file.write_bytes(canned(60, (320, 180), 30, "another take"))
    assert film.run("plan", "--json").data["changes"][0]["key"] != before
