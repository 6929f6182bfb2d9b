from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from ltxflow.comfy import discovery
from ltxflow.comfy.discovery import (
    Server,
    default_gateway,
    find_servers,
    is_loopback,
    normalise,
    origin,
    redact_url,
    wsl_gateway,
)
from ltxflow.core.errors import LtxflowError

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0110A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t00000000\t01001CAC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0010A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
WSL = "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f) (gcc 11.2.0) #1 SMP"

# every source at once, the strongest first
SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("--server", {"args": ["http://arg"]}),
    ("LTXFLOW_SERVERS", {"env": {"LTXFLOW_SERVERS": "http://many"}}),
    ("user config", {"config": {"servers": ["http://config"]}}),
    ("COMFY_URL", {"env": {"COMFY_URL": "http://comfy"}}),
    ("COMFYUI_URL", {"env": {"COMFYUI_URL": "http://comfyui"}}),
    ("the project's default, trusted", {"project_default": "http://project"}),
]


def find(
    args: list[str] | None = None,
    env: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    project_default: str | None = None,
    gateway: str | None = None,
) -> list[Any]:
    return find_servers(args or [], env or {}, config or {}, project_default, lambda: gateway)


@pytest.mark.parametrize("first", range(len(SOURCES)))
def test_the_strongest_source_wins_and_is_named(first: int) -> None:
    given: dict[str, Any] = {"env": {}}
    for _, source in SOURCES[first:]:
        for name, value in source.items():
            given[name] = {**given[name], **value} if name == "env" else value
    (place,) = find(**given)
    assert place.reason == SOURCES[first][0]
    assert not place.is_guess


def test_servers_are_listed_with_commas_or_blanks_and_each_once() -> None:
    places = find(env={"LTXFLOW_SERVERS": "a:8188, http://b:1/ ,a:8188\nc"})
    assert [p.url for p in places] == ["http://a:8188", "http://b:1", "http://c:8188"]


def test_without_a_word_the_windows_host_and_loopback_are_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "LOOPBACK_PORTS", (8188, 8000))  # elsewhere in these tests nothing listens
    places = find(gateway="172.28.0.1")
    assert [p.url for p in places] == [
        "http://172.28.0.1:8001",
        "http://172.28.0.1:8000",
        "http://172.28.0.1:8188",
        "http://127.0.0.1:8188",
        "http://127.0.0.1:8000",
    ]
    assert all(p.is_guess for p in places)
    assert [p.url for p in find()] == ["http://127.0.0.1:8188", "http://127.0.0.1:8000"]


def test_empty_variables_count_as_unset() -> None:
    (place,) = find(env={"LTXFLOW_SERVERS": " , ", "COMFY_URL": " ", "COMFYUI_URL": "x:1"})
    assert place.reason == "COMFYUI_URL"


# Addresses


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("localhost:8188/", "http://localhost:8188"),
        ("gpu", "http://gpu:8188"),
        ("GPU.example/", "http://gpu.example:8188"),
        ("gpu.example/comfy", "http://gpu.example:8188/comfy"),
        ("gpu:", "http://gpu:8188"),
        ("my_gpu-2", "http://my_gpu-2:8188"),
        ("127.0.0.1", "http://127.0.0.1:8188"),
        ("[::1]", "http://[::1]:8188"),
        ("gpu:80", "http://gpu"),
        ("gpu:9000", "http://gpu:9000"),
        ("http://gpu", "http://gpu"),
        ("http://gpu:80", "http://gpu"),
        ("https://gpu", "https://gpu"),
        (" https://Example.org/comfy/ ", "https://example.org/comfy"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80/a/b//", "http://example.org/a/b"),
        ("HTTP://x:1", "http://x:1"),
        ("[::1]:8188", "http://[::1]:8188"),
    ],
)
def test_addresses_are_taken_as_people_write_them(written: str, url: str) -> None:
    assert normalise(written) == (url, {})


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("ftp://x", '"ftp" is neither http nor https'),
        ("ws://x:8188", '"ws" is neither http nor https'),
        ("file:///etc/passwd", '"file" is neither'),
        ("javascript:alert(1)", "not a URL"),
        ("http://x:99999", "not a URL"),
        ("http://", "no host"),
        ("", "no host"),
        ("::1", "not a URL"),
        ("http://a b", "characters a URL cannot have"),
        ("http://x\\y", "characters a URL cannot have"),
        ("http://x?token=hunter22", "it has a query"),
        ("http://x/#a", "it has a query"),
        ("http:/gpu:8188", '"://" is missing'),
        ("https//gpu", '"://" is missing'),
        ("a,b", "not the name of a host"),
        ("8188", "not the name of a host"),
        ("a..b", "not the name of a host"),
        ("-x", "not the name of a host"),
        ("x" * 64, "not the name of a host"),
        ("gpu:0", "no server listens at port 0"),
        (":8188", "no host"),
    ],
)
def test_an_invalid_address_is_refused_with_a_reason(written: str, why: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        find(args=[written])
    (problem,) = caught.value.problems
    assert why in problem.message
    assert problem.message.startswith('--server: "')
    assert problem.hint
    assert "hunter22" not in problem.message + problem.hint


def test_a_login_in_the_address_becomes_a_header_and_shows_nowhere() -> None:
    (place,) = find(args=["https://ann:p%40ss@example.org/comfy"])
    assert place.url == "https://example.org/comfy"
    assert base64.b64decode(place.headers["Authorization"].removeprefix("Basic ")) == b"ann:p@ss"
    for text in (str(place), repr(place), str(place.server), repr(place.server)):
        assert "p@ss" not in text
        assert "p%40ss" not in text
        assert place.headers["Authorization"] not in text


@pytest.mark.parametrize(
    "bad", ["ftp://ann:hunter22@x", "http://ann:hun/ter22@x", "ann:hunter22@x:bad", "ann:hunter22@"]
)
def test_a_login_does_not_show_in_the_error_of_a_bad_address(bad: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        find(args=[bad])
    shown = str(caught.value)
    assert "ter22" not in shown
    assert "…@" in shown


def test_a_hand_made_server_hides_a_login_too() -> None:
    server = Server("http://ann:hunter22@x", {"X-Token": "sesame"})
    assert "hunter22" not in f"{server} {server!r}"
    assert "sesame" not in f"{server} {server!r}"


def test_redaction_leaves_an_honest_address_alone() -> None:
    assert redact_url("https://example.org:1/comfy") == "https://example.org:1/comfy"


def test_loopback_is_known_by_name() -> None:
    assert all(map(is_loopback, ["http://127.0.0.1:1", "http://localhost", "http://[::1]:2", "http://a.localhost"]))
    assert not any(map(is_loopback, ["http://10.0.0.1", "http://localhost.example", "http://1270.0.0.1"]))


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://example.org/comfy") == ("https", "example.org", 443)


# User config


CONFIG: dict[str, Any] = {
    "servers": [
        "http://plain:8188",
        {
            "name": "studio",
            "url": "https://gpu.example/comfy",
            "headers_from_env": {"Authorization": "STUDIO_TOKEN"},
            "ca_file": "/etc/studio.pem",
        },
    ]
}


def test_a_configured_server_brings_its_header_from_the_environment() -> None:
    plain, studio = find(config=CONFIG, env={"STUDIO_TOKEN": "Bearer sesame\n"})
    assert (plain.name, dict(plain.headers)) == ("plain:8188", {})
    assert (studio.name, dict(studio.headers)) == ("studio", {"Authorization": "Bearer sesame"})
    assert studio.server.ca_file == Path("/etc/studio.pem")


def test_a_configured_server_may_be_called_by_its_name() -> None:
    (place,) = find(args=["studio"], config=CONFIG, env={"STUDIO_TOKEN": "t0ken"})
    assert place.url == "https://gpu.example/comfy"
    assert place.reason == "--server"


def test_secrets_go_to_their_origin_wherever_the_address_comes_from() -> None:
    env = {"STUDIO_TOKEN": "t0ken"}
    (same,) = find(args=["https://gpu.example/other"], config=CONFIG, env=env)
    assert dict(same.headers) == {"Authorization": "t0ken"}
    assert same.name == "gpu.example/other"


@pytest.mark.parametrize(
    "other",
    [
        "http://gpu.example/comfy",
        "https://gpu.example:8443",
        "https://gpu.example.evil",
        "https://evil/gpu.example",
    ],
)
def test_secrets_go_to_no_other_origin(other: str) -> None:
    (place,) = find(project_default=other, config={"x": 1}, env={"STUDIO_TOKEN": "t0ken"})
    assert not place.headers
    (place,) = find(args=[other], config=CONFIG, env={"STUDIO_TOKEN": "t0ken"})
    assert not place.headers


def test_a_secret_that_is_not_set_is_named_only_when_it_is_needed() -> None:
    (place,) = find(args=["localhost:8188"], config=CONFIG)
    assert not place.headers
    with pytest.raises(LtxflowError, match=r'"STUDIO_TOKEN".*"Authorization" is not set') as caught:
        find(config=CONFIG)
    assert "set STUDIO_TOKEN" in caught.value.problems[0].hint


def test_a_secret_that_no_header_can_carry_is_refused_unseen() -> None:
    with pytest.raises(LtxflowError) as caught:
        find(config=CONFIG, env={"STUDIO_TOKEN": "ses\name"})
    assert "name" not in str(caught.value).replace("named", "")


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ("http://x", "is not a list"),
        ([7], "has no url"),
        ([{"name": "x"}], "has no url"),
        ([{"url": "http://x", "token": "t"}], 'unknown key "token"'),
        ([{"url": "http://x", "name": 3}], "must be text"),
        ([{"url": "http://x", "headers_from_env": ["A"]}], "not a mapping"),
        ([{"url": "http://x", "headers_from_env": {"A": 1}}], "not a mapping"),
        ([{"url": "http://x", "headers_from_env": {"Origin": "O"}}], '"Origin" cannot be set'),
        ([{"url": "http://x", "headers_from_env": {"a b": "O"}}], '"a b" cannot be set'),
        ([{"url": "http://x", "name": "n"}, {"url": "http://y", "name": "n"}], 'two servers are named "n"'),
    ],
)
def test_a_wrong_user_config_is_explained(servers: Any, why: str) -> None:
    with pytest.raises(LtxflowError, match="user config") as caught:
        find(config={"servers": servers})
    assert why in str(caught.value)
    assert caught.value.problems[0].hint


# WSL


def test_the_gateway_is_the_default_route_of_the_lowest_metric() -> None:
    assert default_gateway(ROUTE) == "172.28.0.1"


@pytest.mark.parametrize("route", ["", "Iface\n", "Iface\nx y z\n", ROUTE.replace("0003", "0001")])
def test_without_a_default_route_there_is_no_gateway(route: str) -> None:
    assert default_gateway(route) is None


def test_only_wsl_has_a_windows_host() -> None:
    assert wsl_gateway(WSL, ROUTE) == "172.28.0.1"
    assert wsl_gateway("Linux version 6.8.0-45-generic (buildd@lcy02)", ROUTE) is None
