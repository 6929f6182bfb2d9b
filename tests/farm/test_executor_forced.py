"""Builds with --force: the GPU works again, whatever the store, the journal or the server has; once, and not twice."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from harness.command import run
from harness.studio import DIES, Studio, freeze, let_go, notices, problems, slow_but, until

from ltxflow.core.digest import digest_file


def runs(server: FakeComfy) -> list[dict[str, Any]]:
    return [run for run in server.stats()["runs"] if not run["foreign"]]


def rendered(server: FakeComfy) -> list[bool]:
    return [run["rendered"] for run in runs(server)]


@pytest.mark.parametrize("version", ["0.27.0", "0.3.64"])
def test_a_clip_that_is_forced_is_rendered_by_a_server_that_has_it(studio: Studio, version: str) -> None:
    with FakeComfy(version=version) as server:
        studio.build(server)
        before = digest_file(studio.films["a"])
        for times in (1, 2):
            ran = studio.build(server, args=["s/a", "--force"])
            assert ran.code == 0, ran.out
            assert (ran.totals["rendered"], ran.totals["planned"]) == (1, 1)
            assert "has it already" not in notices(ran)
            assert rendered(server) == [True] * (3 + times)
            assert studio.causes[-1] == "requested again with --force"
        assert digest_file(studio.films["a"]) != before  # what came is what is published
        assert studio.build(server).totals["hit"] == 3


def test_a_film_that_is_forced_is_rendered_clip_by_clip_once(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: length: 33f", "b: length: 41f, extends: a", "c").build(server)
    ran = studio.build(server, args=["--force"])
    assert ran.code == 0, ran.out
    assert ran.totals["rendered"] == 3
    assert rendered(server) == [True] * 6
    nonces = [event["nonce"] for event in studio.events("submitting") if "nonce" in event]
    assert len(nonces) == 3
    assert len(set(nonces)) == 1  # models are reloaded once, and not for every clip
    assert studio.build(server).totals["hit"] == 3


def test_what_another_server_has_is_not_taken_from_it(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    studio.write("a").build(other)
    ran = studio.build(server, other, args=["--force"])
    assert ran.code == 0, ran.out
    assert rendered(server) + rendered(other) == [True, True]


def test_a_forced_render_that_was_under_way_is_resumed_and_no_third_begins(studio: Studio) -> None:
    with FakeComfy(seconds=slow_but("s-a;")) as server:
        studio.write("b")
        server.set_speed(1e6)
        studio.build(server)
        server.set_speed(1.0)
        process = studio.start(server, args=["--force"])
        freeze(server, 2)
        process.kill()
        studio.ended(process, server)
        assert studio.build(server).totals["hit"] == 1  # the first result is what it was
        ran = studio.build(server, args=["--force"], meanwhile=lambda: let_go(server))
        assert ran.code == 0, ran.out
        assert "resumed from an earlier run" in notices(ran)
        assert rendered(server) == [True, True]
        assert studio.outcomes == {"done": 2}


@pytest.mark.parametrize(
    "dies",
    [
        "dies(submissions.Submissions, 'submitting', after=True)",
        "dies(fetch, 'verify')",
        "dies(store.Store, 'record')",
        "dies(submissions.Submissions, 'recorded')",
    ],
)
def test_dying_at_any_step_of_it_leaves_a_whole_film(studio: Studio, server: FakeComfy, dies: str) -> None:
    studio.write("a").build(server)
    process = studio.start(server, args=["--force"], setup=DIES + dies)
    studio.ended(process, server)
    ran = studio.build(server)
    assert (ran.code, ran.totals["hit"] + ran.totals["restored"]) == (0, 1), ran.out
    assert len(runs(server)) <= 2
    ran = studio.build(server, args=["--force"])
    assert ran.code == 0, ran.out
    assert rendered(server) == [True, True]


def test_a_bad_file_of_a_forced_render_is_saved_again_and_not_rendered_again(studio: Studio, server: FakeComfy) -> None:
    studio.write("a").build(server)
    server.misbehave.spoil("frames")
    ran = studio.build(server, args=["--force"])
    assert ran.code == 0, ran.out
    assert rendered(server) == [True, True, False]


def test_a_first_render_that_was_under_way_is_resumed_by_a_forced_build(studio: Studio) -> None:
    with FakeComfy(seconds=slow_but("s-a;")) as server:
        process = studio.write("b").start(server)
        freeze(server, 1)
        process.kill()
        studio.ended(process, server)
        ran = studio.build(server, args=["--force"], meanwhile=lambda: let_go(server))
        assert ran.code == 0, ran.out
        assert rendered(server) == [True]


def test_ctrl_c_ends_a_forced_render_and_keeps_what_was_there(studio: Studio) -> None:
    import signal

    with FakeComfy(seconds=slow_but("s-a;")) as server:
        studio.write("b")
        server.set_speed(1e6)
        studio.build(server)
        server.set_speed(1.0)
        process = studio.start(server, args=["--force"])
        freeze(server, 2)
        until(process, "action-started", "s/b@1")
        process.send_signal(signal.SIGINT)
        assert studio.ended(process, server).code == 130
        let_go(server)
        assert studio.build(server).totals["hit"] == 1
        assert studio.build(server, args=["--force"]).totals["rendered"] == 1
        assert [run["outcome"] for run in runs(server)] == ["success", "interrupted", "success"]


def test_what_a_person_approved_is_left_alone_and_reported(studio: Studio, server: FakeComfy) -> None:
    studio.write("a").build(server)
    assert run("approve", "s/a", "-p", str(studio.folder)).code == 0
    ran = studio.build(server, args=["--force"])
    assert ran.totals["hit"] == 1
    assert [problem["message"] for problem in problems(ran) if problem["code"] == "U035"] == [
        "s/a: take 1 is approved, and --force leaves it"
    ]
    assert rendered(server) == [True]
