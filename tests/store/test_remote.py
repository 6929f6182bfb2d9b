"""A shared store gives back what was sent to it, byte for byte, or nothing: never something else, and never a wait."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cache_server import CacheServer, cache_server
from harness.shares import nginx

from ltxflow.core.digest import Digest, Key, Output, digest_bytes, digest_json
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.store import remote as remote_module
from ltxflow.store.remote import Remote, RemoteAddress
from ltxflow.store.store import Store
from ltxflow.store.traces import Trace


@pytest.fixture
def cache() -> Iterator[CacheServer]:
    with cache_server() as server:
        yield server


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    """The store of a colleague."""
    return Store(tmp_path / "there")


def made(store: Store, name: str, size: int = 5000) -> Trace:
    """Record a result of two blobs."""
    outputs = {}
    for output in ("video", "published"):
        data = f"{output} of {name} ".encode() * (size // 10)
        outputs[output] = Output(store.cas.put_bytes(data), {"frames": 9}, len(data))
    action = {"format": "action/1", "kind": "clip", "body": name}
    return store.record(Trace(Key(digest_json(action)), action, outputs, f"clip:s/{name}@1", source="comfyui"))


class Told(list[Problem]):
    """What was reported, by code and message."""

    @property
    def ids(self) -> list[str]:
        return [each.code for each in self]


def opened(url: str, store: Store, told: Told | None = None, **options: bool) -> Remote:
    return Remote(RemoteAddress(url, **options), store, (Told() if told is None else told).append)


@pytest.mark.parametrize("kind", ["http", "folder"])
def test_what_was_sent_comes_back_byte_for_byte(
    kind: str, cache: CacheServer, here: Store, there: Store, tmp_path: Path
) -> None:
    (tmp_path / "a share").mkdir()
    url = cache.url if kind == "http" else (tmp_path / "a share").as_uri()
    traces = [made(here, name) for name in "abc"]
    sent = opened(url, here).push([trace.key for trace in traces])
    assert (sent.traces, sent.blobs) == (3, 6)
    again = opened(url, here).push([trace.key for trace in traces])
    assert (again.traces, again.blobs, again.size) == (0, 0, 0)
    unknown = Key(digest_bytes(b"never made"))
    fetched = opened(url, there).pull([*(trace.key for trace in traces), unknown])
    assert (fetched.traces, fetched.blobs, fetched.missing) == (3, 6, [unknown])
    for trace in traces:
        found = there.lookup(trace.key)
        assert found is not None
        assert found.as_json() == trace.as_json()
        for output in found.outputs.values():
            assert there.cas.verify(output.digest)


def test_a_trace_is_there_only_once_its_blobs_are(cache: CacheServer, here: Store) -> None:
    trace = made(here, "a")
    opened(cache.url, here).push([trace.key])
    order = [name for method, name in cache.asked if method == "PUT"]
    assert order[-1] == f"ac/{trace.key}"
    assert len(order) == 3


@pytest.mark.parametrize("what", ["ac/", "cas/"])
def test_a_poisoned_object_is_refused_and_named(what: str, cache: CacheServer, here: Store, there: Store) -> None:
    trace = made(here, "a")
    opened(cache.url, here).push([trace.key])
    cache.poison, told = what, Told()
    fetched = opened(cache.url, there, told).pull([trace.key])
    assert (fetched.traces, fetched.missing) == (0, [trace.key])
    assert there.lookup(trace.key) is None
    assert set(told.ids) == {"D120"}
    assert all(what in each.message and "wrong" in each.message for each in told)
    cache.poison = ""
    assert opened(cache.url, there).pull([trace.key]).traces == 1


def test_a_larger_object_than_promised_is_refused(cache: CacheServer, here: Store, there: Store) -> None:
    trace = made(here, "a")
    opened(cache.url, here).push([trace.key])
    for name in cache.names("cas"):
        cache.objects[name] *= 1000
    told = Told()
    assert opened(cache.url, there, told).pull([trace.key]).traces == 0
    assert "larger than" in told[0].message


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_transfer_that_was_cut_continues_where_it_stopped(
    has_ranges: bool, cache: CacheServer, here: Store, there: Store
) -> None:
    trace = made(here, "a", size=3_000_000)
    opened(cache.url, here).push([trace.key])
    cache.cut, cache.has_ranges, told = 1_500_000, has_ranges, Told()
    first = opened(cache.url, there, told).pull([trace.key])
    assert first.traces == 0
    assert told.ids == ["D120"]
    parts = list((there.root / "fetching").iterdir())
    assert parts
    assert there.lookup(trace.key) is None
    cache.asked.clear()
    second = opened(cache.url, there)
    while second.pull([trace.key]).traces == 0:  # each blob is cut once
        second = opened(cache.url, there)
    assert all(there.cas.verify(output.digest) for output in trace.outputs.values())
    assert not list((there.root / "fetching").iterdir())


@pytest.mark.parametrize("status", [401, 403, 500, 503, 301])
def test_a_refusal_is_one_warning_and_then_silence(status: int, cache: CacheServer, here: Store) -> None:
    cache.status, told = status, Told()
    remote = opened(cache.url, here, told)
    keys = [made(here, name).key for name in "abcdef"]
    assert remote.pull([Key(digest_bytes(bytes([n]))) for n in range(50)]).traces == 0
    assert remote.push(keys).traces == 0
    assert told.ids == ["D120"]
    assert f"HTTP {status}" in told[0].message
    asked = len(cache.asked)
    assert asked <= remote_module.CONNECTIONS
    remote.pull([Key(digest_bytes(b"one more"))])
    assert len(cache.asked) == asked


def test_a_dead_remote_is_one_warning(here: Store) -> None:
    told = Told()
    remote = opened("http://127.0.0.1:9", here, told)
    assert remote.push([made(here, "a").key]).traces == 0
    assert remote.pull([Key(digest_bytes(b"x"))]).missing == [digest_bytes(b"x")]
    assert told.ids == ["D120"]
    assert told[0].level == "warning"


def test_a_remote_that_dribbles_is_given_up(
    cache: CacheServer, here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = made(here, "a")
    opened(cache.url, here).push([trace.key])
    cache.dribble_s, told = 0.05, Told()
    monkeypatch.setattr(remote_module, "SILENT_S", 0.3)
    assert opened(cache.url, there, told).pull([trace.key]).traces == 0
    assert "kB a second" in told[0].message


def test_a_read_only_remote_is_never_written(cache: CacheServer, here: Store) -> None:
    remote = opened(cache.url, here, is_read_only=True)
    assert remote.push([made(here, "a").key]).traces == 0
    assert cache.asked == []


def test_credentials_go_with_each_request_and_into_no_message(cache: CacheServer, here: Store) -> None:
    cache.token, told = "Bearer secret-word", Told()
    key = made(here, "a").key
    assert Remote(RemoteAddress(cache.url, {"Authorization": "Bearer secret-word"}), here).push([key]).traces == 1
    Remote(RemoteAddress(cache.url, {"Authorization": "Bearer wrong-word"}), here, told.append).push([key])
    assert "401" in told[0].message
    assert "word" not in told[0].message


def test_a_share_that_is_not_mounted_is_not_made(here: Store, tmp_path: Path) -> None:
    told = Told()
    opened((tmp_path / "away").as_uri(), here, told).push([made(here, "a").key])
    assert not (tmp_path / "away").exists()
    assert told.ids == ["D120"]


@pytest.mark.parametrize("url", ["ftp://x/y", "http://", "file://host/x", "cache", "file:relative"])
def test_an_address_of_another_kind_is_refused(url: str, here: Store) -> None:
    with pytest.raises(LtxflowError) as caught:
        opened(url, here)
    assert caught.value.problems[0].code == "D121"


def test_blobs_come_without_a_trace(cache: CacheServer, here: Store, there: Store) -> None:
    """The lock names digests; a trace may be lost on all machines."""
    trace = made(here, "a")
    opened(cache.url, here).push([trace.key])
    wanted = [(output.digest, 0) for output in trace.outputs.values()]
    lost = Digest(digest_bytes(b"nobody has it"))
    assert opened(cache.url, there).pull([], [*wanted, (lost, 0)]).blobs == 2
    assert opened(cache.url, there).lacks([wanted[0][0], lost]) == [lost]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_with_webdav_serves_it(here: Store, there: Store, tmp_path: Path) -> None:
    traces = [made(here, name, size=200_000) for name in "abcd"]
    with nginx(tmp_path / "nginx") as url:
        assert opened(url, here).push([trace.key for trace in traces]).blobs == 8
        part = there.root / "fetching" / f"{traces[0].outputs['video'].digest}.part"
        part.parent.mkdir(parents=True)
        whole = here.cas.path(traces[0].outputs["video"].digest).read_bytes()
        part.write_bytes(whole[:1000])  # a transfer that was killed
        fetched = opened(url, there).pull([trace.key for trace in traces])
        assert (fetched.traces, fetched.blobs) == (4, 8)
        assert fetched.size == sum(out.size for trace in traces for out in trace.outputs.values()) - 1000
        assert all(there.cas.verify(out.digest) for trace in traces for out in trace.outputs.values())
        assert opened(url, here).push([trace.key for trace in traces]).size == 0
