"""A shared store in a film's life: what one person rendered, another builds without a server, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cache_server import CacheServer, cache_server
from harness.command import environment
from harness.film import Film

from ltxflow.publish import publish as publishing

CHAIN = """\
ltxflow: 1
id: shared
size: 128x128
scenes:
  - id: hook
    narration: 8s
    clips:
      - { id: a, prompt: A key turns in a lock. }
      - { id: b, prompt: The door opens., reference: { frame_of: a } }
      - { id: c, prompt: Light falls in., extends: { clip: b } }
"""


@pytest.fixture
def cache() -> Iterator[CacheServer]:
    with cache_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _posters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "draw_poster", lambda video: b"poster of " + video.read_bytes())


@pytest.fixture
def shared(film: Film, cache: CacheServer, tmp_path: Path) -> Film:
    """A film whose clips follow from each other, and a user who has a shared store."""
    film.config = tmp_path / "config"
    configure(film, f"remote: {cache.url}\n")
    return film.write_data(CHAIN)


def configure(film: Film, text: str) -> None:
    assert film.config is not None
    path = film.config / "ltxflow/config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def colleague(film: Film, tmp_path: Path, *, lock: bool = True, name: str = "colleague") -> Film:
    """A clone on another machine: another store, nothing rendered."""
    return film.clone(tmp_path / name / "film", store=tmp_path / name / "store", lock=lock)


@pytest.mark.parametrize("lock", [True, False])
def test_a_colleague_renders_nothing(lock: bool, shared: Film, cache: CacheServer, tmp_path: Path) -> None:
    assert shared.make().rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    assert len(cache.names("ac")) > 3
    other = colleague(shared, tmp_path, lock=lock)
    built = other.make()
    assert built.ran == []
    assert other.files() == shared.files()
    assert other.timeline == shared.timeline
    assert other.run("plan", "--exit-code").code == 0


def test_an_edit_renders_and_shares_only_what_follows_from_it(shared: Film, cache: CacheServer, tmp_path: Path) -> None:
    shared.make()
    other = colleague(shared, tmp_path)
    other.edit("Light falls", "Snow falls")
    known = set(cache.names("ac"))
    assert other.make().rendered == {"hook/c@1"}
    assert len(set(cache.names("ac")) - known) <= 2  # the clip, and its inspection
    assert shared.edit("Light falls", "Snow falls").make().ran == []


def test_a_remote_that_is_away_changes_nothing_but_a_warning(shared: Film) -> None:
    configure(shared, "remote: http://127.0.0.1:9\n")
    built = shared.make()
    assert built.rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    assert [each["code"] for each in built.done.envelope["problems"]].count("D120") == 1


def test_poison_is_rendered_here_and_named(shared: Film, cache: CacheServer, tmp_path: Path) -> None:
    shared.make()
    cache.poison = "cas/"
    built = colleague(shared, tmp_path).make()
    assert built.rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    assert "sent a wrong cas/" in str(built.done.envelope["problems"])


def test_a_project_cannot_name_a_shared_store(shared: Film) -> None:
    shared.set("remote", "http://evil.example")
    assert shared.run("check").code == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("remote: [a]\n", "L132"),
        ("remote: { url: 'http://x', colour: red }\n", "L132"),
        ("remote: ftp://x\n", "D121"),
        ("remote: { url: 'http://x', headers_from_env: { Authorization: NO_SUCH_VARIABLE } }\n", "L133"),
    ],
)
def test_a_wrong_configuration_is_refused(text: str, code: str, shared: Film) -> None:
    configure(shared, text)
    done = shared.make().done
    assert done.code == 2
    assert code in done.out + done.err


def test_without_a_shared_store_a_build_imports_nothing_for_it(film: Film) -> None:
    """`make bench` shows no difference either: the plan is evaluated as often as before."""
    film.make()
    assert "fetched" not in film.make().done.out


def test_pull_brings_the_film_without_any_server(shared: Film, tmp_path: Path) -> None:
    shared.make()
    other = colleague(shared, tmp_path)
    with environment(other.home):
        done = other.run("pull")
        assert done.code == 0, done.err
        assert other.files() == shared.files()
        assert other.lock_file.read_bytes() == shared.lock_file.read_bytes()
        assert other.run("plan", "--exit-code").code == 0


def test_pull_lists_what_is_missing_and_publishes_the_rest(shared: Film, tmp_path: Path) -> None:
    shared.make()
    other = colleague(shared, tmp_path).edit("Light falls", "Snow falls")
    with environment(other.home):
        done = other.run("pull")
    assert done.code == 1
    assert "hook/c is not in the shared store" in done.err
    assert set(other.files()) >= {"scene-0-a.mp4", "scene-0-b.mp4"}


def test_pull_needs_a_shared_store(film: Film) -> None:
    for argv in (["pull"], ["cache", "pull"], ["cache", "push"]):
        done = film.run(*argv)
        assert (done.code, "U067" in done.err) == (2, True), argv


def test_push_sends_what_was_made_before_there_was_a_shared_store(
    film: Film, cache: CacheServer, tmp_path: Path
) -> None:
    film.write_data(CHAIN).make()
    assert cache.objects == {}
    film.config = tmp_path / "config"
    configure(film, f"remote: {cache.url}\n")
    with environment(film.home):
        assert film.run("cache", "push").code == 0
        sent = dict(cache.objects)
        assert "sent 0 results" in film.run("cache", "push").out
        assert cache.objects == sent
    other = colleague(film, tmp_path)
    with environment(other.home):
        assert other.run("cache", "pull").code == 0
        assert not other.public.exists()
        assert other.run("plan").out.count("to restore") == 1
    assert other.make().ran == []
