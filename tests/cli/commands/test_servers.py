"""Promises of `ltxflow servers`: which a build would use, why, and how they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.command import run
from harness.film import Film

from ltxflow.comfy import discovery
from ltxflow.ui.plan_view import rough


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "LOOPBACK_PORTS", (9,))
    monkeypatch.setattr(discovery, "read_gateway", lambda: None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def know_speed(film: Film, url: str) -> None:
    film.store.mkdir()
    (film.store / "speeds.json").write_text(json.dumps({url: {"rate": 6e-8, "count": 4, "spread": 0.1}}))


def test_servers_with_their_source_state_and_speed(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeComfy(vram_gb=24, seconds=60) as server:
        server.add_foreign(1, 60)
        know_speed(film, server.url)
        monkeypatch.setenv("COMFY_URL", server.url)
        (one,) = film.run("servers", "--json").data
        told = film.run("servers").out
    assert (one["url"], one["from"], one["reachable"], one["version"]) == (server.url, "COMFY_URL", True, "0.27.0")
    assert (one["vram_total"], one["queue"]) == (24 << 30, {"ours": 0, "others": 1})
    assert one["speed"] == {"rate": 6e-8, "renders": 4, "usual_clip_s": 57.1}
    assert "23.0 of 24.0 GB" in told
    assert "0 ours, 1 others" in told
    assert "57s, from 4 renders" in told


def test_a_name_from_the_config_stands_for_its_address(film: Film, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "ltxflow"
    folder.mkdir(parents=True)
    with FakeComfy() as server:
        (folder / "config.yaml").write_text(f"servers: [{{ name: bench, url: '{server.url}' }}]\n")
        (one,) = film.run("servers", "--json").data
        (same,) = film.run("servers", "ls", "--server", "bench", "--json").data
    assert (one["name"], one["from"]) == ("bench", "user config")
    assert (same["url"], same["from"]) == (one["url"], "--server")


def test_listing_and_testing_fail_without_a_server_that_answers(film: Film) -> None:
    assert film.run("servers", "--server", "http://127.0.0.1:9").code == 4
    assert film.run("servers", "test", "--server", "http://127.0.0.1:9").code == 4
    assert "does not answer" in film.run("servers", "--server", "http://127.0.0.1:9").out


def test_a_test_opens_the_websocket(film: Film) -> None:
    with FakeComfy() as server:
        ran = film.run("servers", "test", "--server", server.url)
        assert (ran.code, "the WebSocket opens" in ran.out) == (0, True)
        some = film.run("servers", "test", "--server", server.url, "--server", "http://127.0.0.1:9")
    assert some.code == 1


def test_a_socket_that_does_not_open_fails_the_test(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxflow.cli.diagnostics.NAMED_S", 2.0)
    with FakeComfy() as server:
        server.misbehave.no_websocket()
        ran = film.run("servers", "test", "--server", server.url, "--json")
    assert (ran.code, ran.data[0]["websocket"]) == (1, False)


def test_without_any_server_it_says_what_to_do(film: Film) -> None:
    ran = film.run("servers")
    assert ran.code == 4
    assert "no server" in ran.out
    assert "--animatic" in ran.out


def test_it_works_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("servers").code == 4
    assert run("servers", "-p", "nowhere").code == 2


# --- what a plan makes of speeds


def test_a_plan_estimates_from_what_is_known(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "≈" not in film.run("plan").out
    assert film.run("plan", "--json").data["estimate"] is None
    film.store.mkdir()
    with FakeComfy() as one, FakeComfy() as two:
        known = {url: {"rate": 2e-5, "count": 2, "spread": 0.1} for url in (one.url, "http://gone.example")}
        (film.store / "speeds.json").write_text(json.dumps(known))
        told = film.run("plan", "--json").data["estimate"]  # no server answers: it is not known which one will
        assert (told["servers"], told["renders"], told["gpu_s"]) == (0, 4, told["wall_s"])
        line = next(line for line in film.run("plan").out.splitlines() if line.startswith("≈"))
        assert " server" not in line
        assert line.endswith(" of GPU time (rough, from 4 earlier renders)")
        monkeypatch.setenv("COMFY_URL", one.url)
        assert film.run("plan", "--json").data["estimate"]["servers"] == 1
        both = film.run("plan", "--server", one.url, "--server", two.url)
    line = next(line for line in both.out.splitlines() if line.startswith("≈"))
    assert " on 2 servers (" in line
    assert line.endswith("GPU time; rough, from 2 earlier renders)")
    assert f"--server {one.url} --server {two.url}" in both.out  # in the command that applies it


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "1s"), (59.4, "59s"), (59.6, "1m 00s"), (370, "6m 10s"), (3900, "1h 05m")]
)
def test_a_guess_is_told_as_one(seconds: float, told: str) -> None:
    assert rough(seconds) == told


def test_a_plan_of_slates_or_of_nothing_has_no_estimate(film: Film) -> None:
    know_speed(film, "http://a.example")
    assert film.run("plan", "--animatic", "--json").data["estimate"] is None
    film.render()
    assert film.run("plan", "--json").data["estimate"] is None


def test_a_server_that_is_written_wrong_is_told_where_it_is_written(film: Film, tmp_path: Path) -> None:
    file = tmp_path / "config/ltxflow/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("servers:\n  - http://a\n  - { url: http://x, header_from_env: { A: B } }\n")
    ran = film.run("servers")
    assert ran.code == 2
    assert f'{file}:3:5: error: user config: unknown key "header_from_env" in a server' in ran.err
    file.write_text("servers: ftp://x\n")
    assert f'{file}:1:10: error: user config: "ftp://x" is not a valid server address' in film.run("servers").err
