"""Builds that are stopped, or die: what runs is cancelled or resumed, and nothing is paid for twice."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from fakes.comfyui import FakeComfy
from harness.command import command
from harness.studio import DIES, Studio, asked, freeze, let_go, notices, problems, slow_but, started, until

from ltxflow.comfy.client import prompt_id_for
from ltxflow.farm.journal import Journal


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    """Clip a takes no time, the others long enough to be frozen."""
    with FakeComfy(seconds=slow_but("s-a;")) as fake:
        yield fake


def outcomes(server: FakeComfy) -> list[str]:
    return [run["outcome"] for run in server.stats()["runs"] if not run["foreign"]]


@pytest.mark.parametrize("version", ["0.27.0", "0.14.1", "0.3.64"])
def test_ctrl_c_cancels_what_is_ours_and_keeps_what_is_finished(studio: Studio, version: str) -> None:
    with FakeComfy(seconds=slow_but("s-a;"), version=version) as server:
        process = studio.start(server)
        freeze(server, 2, waiting=1)
        until(process, "action-finished", "s/a@1")
        theirs = server.add_foreign(2)
        process.send_signal(signal.SIGINT)
        ran = studio.ended(process, server)
        assert ran.code == 130, ran.err
        let_go(server)
        told = server.wait(lambda stats: len(stats["runs"]) == 4)
        assert outcomes(server) == ["success", "interrupted"]  # and c, which waited, never began
        assert {run["prompt_id"] for run in told["runs"] if run["foreign"]} == set(theirs)
        assert set(studio.films) == {"a"}
        assert studio.outcomes == {"done": 1, "cancelled": 2}
        again = studio.build(server)
        assert again.code == 0
        assert again.totals["rendered"] == 2
        assert studio.causes[-2:] == ["cancelled before: interrupted"] * 2


def test_a_prompt_that_ends_though_it_was_cancelled_is_fetched_and_not_made_again(
    studio: Studio, server: FakeComfy
) -> None:
    process = studio.write("b").start(server)
    freeze(server, 1)
    server.misbehave.deaf_prompt()  # it is in its last node, say
    process.send_signal(signal.SIGINT)
    assert studio.ended(process, server).code == 130
    assert not studio.outcomes  # what becomes of it is not known
    let_go(server)
    ran = studio.build(server)
    assert ran.code == 0
    assert "resumed from an earlier run" in notices(ran)
    assert outcomes(server) == ["success"]
    assert studio.causes == ["first"]


def test_a_prompt_that_stops_late_is_made_again_without_a_word_from_anybody(studio: Studio, server: FakeComfy) -> None:
    process = studio.write("b").start(server)
    freeze(server, 1)
    server.misbehave.deaf_prompt()
    process.send_signal(signal.SIGINT)
    assert studio.ended(process, server).code == 130
    before = server.stats()["requests"].get(ASKED, 0)

    def meanwhile() -> None:
        server.wait(asked(ASKED, before + 2))  # it is followed
        server.call(_interrupt(server, server.stats()["running"]))
        let_go(server)

    assert studio.build(server, meanwhile=meanwhile).code == 0
    assert outcomes(server) == ["interrupted", "success"]
    assert studio.causes == ["first", "it was cancelled when an earlier run ended"]


def test_ctrl_c_while_nothing_answers_leaves_it_to_the_next_build(studio: Studio, server: FakeComfy) -> None:
    process = studio.start(server)
    freeze(server, 2, waiting=1)
    until(process, "action-finished", "s/a@1")
    server.misbehave.reset(times=None)
    process.send_signal(signal.SIGINT)
    assert studio.ended(process, server).code == 130
    server.misbehave.clear()
    let_go(server)
    ran = studio.build(server)
    assert ran.code == 0
    assert notices(ran).count("resumed from an earlier run") == 2
    assert outcomes(server) == ["success"] * 3


def test_fail_fast_takes_back_what_waits(studio: Studio, server: FakeComfy) -> None:
    studio.write("b", "a: loras: [absent.safetensors]", "c")

    def meanwhile() -> None:
        freeze(server, 1, waiting=1)
        let_go(server)

    ran = studio.build(server, args=["--fail-fast"], meanwhile=meanwhile)
    assert ran.code == 1
    assert server.stats()["pending"] == 0
    assert "success" in outcomes(server) or not outcomes(server)


ASKED = "GET /api/jobs/{id}"


def test_after_kill_9_the_next_build_takes_up_what_runs_and_what_waits(studio: Studio, server: FakeComfy) -> None:
    process = studio.start(server)
    freeze(server, 2, waiting=1)
    until(process, "action-finished", "s/a@1")
    process.kill()
    studio.ended(process, server)
    before = server.stats()["requests"].get(ASKED, 0)
    ran = studio.build(server, meanwhile=lambda: _finish_when_followed(server, before))
    assert ran.code == 0
    assert notices(ran).count("resumed from an earlier run") == 2
    assert any(event["target"] == "clip:s/b@1" for event in ran.events("action-progress"))
    assert outcomes(server) == ["success"] * 3
    assert studio.causes == ["first"] * 3
    (finished,) = ran.events("run-finished")
    assert {name: finished[name] for name in ("planned", "hit", "rendered", "resumed", "restored")} == {
        "planned": 3,
        "hit": 0,
        "rendered": 0,
        "resumed": 2,
        "restored": 1,
    }
    ends = {event["target"]: event["outcome"] for event in ran.events("action-finished")}
    assert ends == {"clip:s/a@1": "restored", "clip:s/b@1": "resumed", "clip:s/c@1": "resumed"}


def _finish_when_followed(server: FakeComfy, before: int) -> None:
    """Let the clips go on once the next build listens and follows both of them: it asks for each twice."""
    server.wait(lambda stats: stats["sockets"]["opened"] >= 2 and stats["requests"].get(ASKED, 0) >= before + 4)
    let_go(server)


@pytest.mark.parametrize(
    "dies",
    [
        "dies(submissions.Submissions, 'submitting', after=True)",
        "dies(submissions.Submissions, 'submitted')",
        "dies(fetch, 'verify')",
        "dies(store.Store, 'record')",
        "dies(submissions.Submissions, 'recorded')",
    ],
)
def test_dying_at_any_step_costs_no_render(studio: Studio, dies: str) -> None:
    with FakeComfy() as server:
        argv = command("build", "--json", "-p", str(studio.folder), "--server", server.url, setup=DIES + dies)
        assert subprocess.run(argv, capture_output=True, check=False).returncode == -signal.SIGKILL
        ran = studio.build(server)
        assert ran.code == 0, ran.out
        assert outcomes(server) == ["success"] * 3
        assert set(studio.films) == {"a", "b", "c"}
        assert studio.build(server).totals["hit"] == 3


def test_a_prompt_that_never_came_there_is_started_with_its_cause(studio: Studio, server: FakeComfy) -> None:
    let_go(server)
    studio.write("a").build(server)
    key = studio.events("submitting")[0]["key"]
    studio.forget(server)
    server.restart()
    lost = {"key": key, "attempt": 1, "server": server.url, "prompt_id": prompt_id_for(key, 1), "cause": "first"}
    Journal(studio.folder / ".ltxflow" / "journal.jsonl").append({"event": "submitting", **lost})
    ran = studio.build(server)
    assert ran.code == 0
    assert studio.causes[-1] == "the server does not have it: its queue is gone, or it never arrived"
    assert studio.outcomes == {"lost": 1, "done": 1}


def test_a_prompt_that_was_cancelled_in_the_moment_we_died_starts_again(studio: Studio, server: FakeComfy) -> None:
    process = studio.write("b").start(server)
    freeze(server, 1)
    process.kill()
    studio.ended(process, server)
    (running,) = [run["prompt_id"] for run in server.stats()["runs"]]
    server.call(_interrupt(server, running))
    server.wait(lambda stats: stats["runs"][0]["outcome"] == "interrupted")
    let_go(server)
    assert studio.build(server).code == 0
    assert studio.causes[-1] == "it was cancelled when an earlier run ended"


async def _interrupt(server: FakeComfy, prompt_id: str) -> None:
    server.worker.interrupt(prompt_id)


def test_a_person_cancels_ours_on_the_server(studio: Studio, server: FakeComfy) -> None:
    def meanwhile() -> None:
        told = server.wait(started(1))
        server.call(_interrupt(server, told["runs"][0]["prompt_id"]))

    ran = studio.write("b").build(server, meanwhile=meanwhile)
    assert ran.code == 1
    assert "the prompt was cancelled there" in problems(ran)[0]["message"]


def test_the_same_prompt_of_another_person_is_resumed_and_never_cancelled(studio: Studio, server: FakeComfy) -> None:
    process = studio.write("b").start(server)
    freeze(server, 1)
    process.kill()
    studio.ended(process, server)
    (studio.folder / ".ltxflow" / "journal.jsonl").unlink()  # now it is as if another project had submitted it
    for _ in range(2):  # the second time, too: taking it up does not make it ours
        process = studio.start(server)
        until(process, "notice", "has it already (running)")
        process.send_signal(signal.SIGINT)
        assert studio.ended(process, server).code == 130
        assert outcomes(server) == ["running"]
    let_go(server)
    assert studio.build(server).code == 0
    assert outcomes(server) == ["success"]


def test_a_server_that_is_no_longer_named_is_given_up_aloud(studio: Studio, server: FakeComfy) -> None:
    process = studio.write("b").start(server)
    freeze(server, 1)
    process.kill()
    studio.ended(process, server)
    with FakeComfy() as other:
        ran = studio.build(other)
        assert ran.code == 0
        assert f"was submitted to {server.url}, which is not among the servers now" in notices(ran)
        assert studio.causes[-1] == "its server is no longer configured"
