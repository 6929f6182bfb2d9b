"""Builds on servers that misbehave: survived, or reported, and never paid for twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from fakes.misbehave import SPOILS
from harness.media import write_picture
from harness.studio import Studio, accepted, asked, notices, problems, started, until

from ltxflow.farm import transfer

PATIENT = ["--patience", "20s"]
HASTY = ["--patience", "1s"]
JOB = "^/api/jobs/[^/]+$"


def runs(server: FakeComfy) -> list[dict[str, Any]]:
    return [run for run in server.stats()["runs"] if not run["foreign"]]


def outcomes(server: FakeComfy) -> list[str]:
    return [run["outcome"] for run in runs(server)]


# HTTP


@pytest.mark.parametrize("kind", ["status", "reset"])
@pytest.mark.parametrize(
    ("path", "method"),
    [("^/models/", "GET"), ("^/object_info", "GET"), ("^/prompt$", "POST"), (JOB, "GET"), ("^/view$", "GET")],
)
def test_a_question_that_fails_is_polled_again(
    studio: Studio, server: FakeComfy, kind: str, path: str, method: str
) -> None:
    studio.write("a", "b")
    getattr(server.misbehave, kind)(path=path, method=method, times=2)
    ran = studio.build(server, args=PATIENT)
    assert ran.code == 0, ran.out
    assert outcomes(server) == ["success"] * 2
    assert set(studio.causes) == {"first"}


def test_a_server_that_is_coming_up_is_waited_for(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.status(503, times=2)
    ran = studio.write("a", weights={"checkpoint": "fp8", "text_encoder": "bf16"}).build(server, args=PATIENT)
    assert ran.code == 0, ran.out
    assert "answers again" in notices(ran)


def test_a_server_that_is_coming_up_is_polled_again_what_it_has(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.status(503, times=2)
    ran = studio.write("a").build(server, args=PATIENT)
    assert ran.code == 0, ran.out
    assert "checkpoint: fp8 (ltx-2-19b-dev-fp8.safetensors), for this film from now on" in notices(ran)


def test_a_prompt_whose_answer_was_lost_is_not_queued_twice(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.lose_reply()
    assert studio.build(server, args=PATIENT).code == 0
    assert set(server.stats()["accepted"].values()) == {1}


def test_nor_when_the_question_after_it_fails_too(studio: Studio, server: FakeComfy) -> None:
    server.hold()  # so that the prompt is still there to be found
    server.misbehave.lose_reply()
    server.misbehave.status(500, JOB, method="GET", skip=1, times=2)

    def meanwhile() -> None:
        server.wait(asked("GET /api/jobs/{id}", 4))
        server.go()

    assert studio.write("a").build(server, args=PATIENT, meanwhile=meanwhile).code == 0
    assert list(server.stats()["accepted"].values()) == [1]


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_copy_that_a_proxy_queued_never_runs(studio: Studio, is_silent: bool) -> None:
    with FakeComfy(seconds=2) as server:
        server.misbehave.post_twice()
        if is_silent:
            server.misbehave.silent_socket()

        def meanwhile() -> None:
            server.wait(lambda stats: stats["running"] is not None and stats["pending"] == 0)
            server.set_speed(1000)

        assert studio.write("a").build(server, args=PATIENT, meanwhile=meanwhile).code == 0
        assert list(server.stats()["accepted"].values()) == [2]
        assert outcomes(server) == ["success"]


@pytest.mark.parametrize("fault", ["truncate", "wrong_length", "endless", "longer"])
def test_a_body_that_is_cut_or_does_not_end_is_fetched_again(studio: Studio, server: FakeComfy, fault: str) -> None:
    if fault == "longer":
        server.misbehave.wrong_length(by=1000)
    else:
        getattr(server.misbehave, fault)()
    ran = studio.write("a").build(server, args=PATIENT)
    assert ran.code == 0, ran.out
    assert [run["rendered"] for run in runs(server)] in ([True], [True, False])


def test_a_file_that_never_comes_whole_is_saved_again(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.truncate(times=3)
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert [run["rendered"] for run in runs(server)] == [True, False]
    assert studio.causes[1].startswith("a refused file, saved again: 127.0.0.1")


@pytest.mark.parametrize("kind", ["silent_socket", "no_websocket"])
def test_a_server_that_reports_nothing_is_asked(studio: Studio, server: FakeComfy, kind: str) -> None:
    getattr(server.misbehave, kind)()
    ran = studio.build(server, args=PATIENT)
    assert ran.code == 0
    assert len(ran.events("action-started")) == 3
    assert outcomes(server) == ["success"] * 3


def test_a_history_that_comes_late_is_waited_for(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.history_late(None)

    def meanwhile() -> None:
        server.wait(lambda stats: any(run["outcome"] == "success" for run in stats["runs"]))
        told = server.stats()["requests"].get("GET /api/jobs/{id}", 0)
        server.wait(asked("GET /api/jobs/{id}", told + 2))
        server.misbehave.history_late(0.0)

    assert studio.build(server, args=PATIENT, meanwhile=meanwhile).code == 0
    assert outcomes(server) == ["success"] * 3


# Files


@pytest.mark.parametrize("what", SPOILS)
def test_a_bad_file_is_saved_again_and_not_made_again(studio: Studio, server: FakeComfy, what: str) -> None:
    server.misbehave.spoil(what)
    ran = studio.write("a: length: 25f").build(server, args=PATIENT)
    assert ran.code == 0, ran.out
    assert [run["rendered"] for run in runs(server)] == [True, False]
    assert studio.causes[1].startswith("a refused file, saved again: ")
    first, second = (run["prefixes"] for run in runs(server))
    assert not set(first) & set(second)  # else the server would list the old file


def test_what_stays_bad_is_made_again_and_then_reported(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.spoil("frames", times=2)
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert [run["rendered"] for run in runs(server)] == [True, False, True]
    assert studio.causes[2].startswith("a refused file, made again: the video has frames 1, not 9")
    server.misbehave.spoil("no_audio", times=None)
    ran = studio.write("b", "c").build(server, args=[*PATIENT, "s/b"])
    assert ran.code == 1
    assert "the video has no sound track" in problems(ran)[0]["message"]
    assert not {"b", "c"} & set(studio.films)


def test_a_file_that_is_gone_is_saved_again(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.lose_file()
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert [run["rendered"] for run in runs(server)] == [True, False]


def test_a_full_disk_of_ours_costs_no_render(
    studio: Studio, server: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "strip_mp4", full)
        ran = studio.write("a").build(server, args=PATIENT)
    assert ran.code == 1
    assert problems(ran)[0]["code"] == "D040"
    assert not studio.events("finished")
    ran = studio.build(server, args=PATIENT)
    assert ran.code == 0
    assert "resumed from an earlier run: done" in notices(ran)
    assert outcomes(server) == ["success"]


def test_names_that_are_none_are_never_used(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.hostile_names(times=None)
    ran = studio.write("a").build(server, args=PATIENT)
    assert ran.code == 1
    (problem,) = problems(ran)
    assert 'no file for "video", only invalid names such as "' in problem["message"]
    assert problem["message"].isprintable()
    assert not studio.films


# Renders


def test_out_of_memory_is_tried_once_more_where_it_was_freed(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.oom(until_free=True)
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert outcomes(server) == ["error", "success"]
    assert studio.causes[1] == "out of memory: freed, and tried once more there"


def test_then_elsewhere(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    server.misbehave.oom(times=None)
    other.hold()

    def meanwhile() -> None:
        server.wait(lambda stats: sum(run["outcome"] == "error" for run in stats["runs"]) >= 2)
        other.go()

    ran = studio.build(server, other, args=PATIENT, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert outcomes(other) == ["success"] * 3
    assert max(_starts(server).values()) == 2  # of one clip there


def test_then_reported_with_what_the_profile_advises(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.oom(times=2)
    ran = studio.write("a").build(server, args=PATIENT)
    assert ran.code == 1
    (problem,) = problems(ran)
    assert problem["code"] == "C021"
    assert "out of memory" in problem["message"]
    assert problem["hint"]


def _starts(server: FakeComfy) -> dict[str, int]:
    return {key: counts["starts"] for key, counts in server.stats()["keys"].items()}


FULL = {"type": "OSError", "message": "[Errno 28] No space left on device\n"}


def test_on_a_full_disk_nothing_more_is_rendered(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.crash(**FULL, times=None)
    ran = studio.write("a", "b", "c", "d").build(server, args=PATIENT)
    assert ran.code == 1
    assert len(runs(server)) <= 2  # the second one began when the first one failed
    (problem,) = problems(ran)  # reported once for all clips
    assert (problem["code"], problem["hint"]) == (
        "C023",
        "free space in its output folder, or make it writable; then build again",
    )
    assert "cannot write its files: " in problem["message"]
    assert "No space left on device" in problem["message"]
    assert notices(ran).count("gets no more clips") == 1
    assert "starts again" not in notices(ran)
    server.misbehave.clear()
    assert studio.build(server, args=PATIENT).code == 0


def test_what_a_full_disk_refuses_is_made_elsewhere(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    server.misbehave.crash(**FULL, times=None)
    assert studio.write("a", "b", "c", "d").build(server, other, args=PATIENT).code == 0
    assert outcomes(other) == ["success"] * 4
    assert len(runs(server)) <= 2


def test_an_upload_that_a_server_cannot_store_holds_up_no_other_clip(studio: Studio, server: FakeComfy) -> None:
    write_picture(studio.folder / "refs" / "a.png", (200, 20, 20), (128, 128))
    server.misbehave.status(500, "^/upload/image$", times=None)
    ran = studio.write("a: reference: refs/a.png", "b").build(server, args=PATIENT)
    assert ran.code == 1
    assert outcomes(server) == ["success"]
    (problem,) = problems(ran)
    assert problem["message"].endswith("status 500 Internal Server Error: Server got itself in trouble")
    assert problem["hint"] == "check its log, and its disk space"
    assert "set aside" not in notices(ran)  # it answers everything else


def test_an_upload_that_a_server_cannot_store_goes_elsewhere(
    studio: Studio, server: FakeComfy, other: FakeComfy
) -> None:
    write_picture(studio.folder / "refs" / "a.png", (200, 20, 20), (128, 128))
    server.misbehave.status(500, "^/upload/image$", times=None)
    assert studio.write("a: reference: refs/a.png").build(server, other, args=PATIENT).code == 0
    assert (outcomes(server), outcomes(other)) == ([], ["success"])


def test_a_passing_fault_is_tried_again(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.crash(message="CUDA error: an illegal memory access was encountered\n")
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert studio.causes[1].startswith("a transient fault: ")


def test_one_that_does_not_pass_goes_elsewhere(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    server.misbehave.crash(message="CUDA error: unspecified launch failure\n", times=None)
    assert studio.write("a", "b", "c").build(server, other, args=PATIENT).code == 0
    assert outcomes(other) == ["success"] * 3


# Servers that go away


@pytest.fixture
def slow() -> Iterator[FakeComfy]:
    with FakeComfy(seconds=3) as fake:
        yield fake


def freeze(server: FakeComfy, waiting: int = 1) -> None:
    """Wait until one prompt runs and others wait, and leave it so."""
    server.wait(started(1))
    server.hold()
    server.wait(accepted(1 + waiting))


def thaw(server: FakeComfy) -> None:
    server.set_speed(1e6)
    server.go()


def used_up(server: FakeComfy) -> None:
    """Wait until the first fault has happened as often as it should."""
    server.wait(lambda stats: server.misbehave.requests[0].times == 0)


def test_a_restart_that_loses_the_queue_is_made_good(studio: Studio, slow: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow)
        slow.restart()
        thaw(slow)

    ran = studio.build(slow, args=PATIENT, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert outcomes(slow) == ["lost", *["success"] * 3]
    assert studio.causes.count("the server no longer has it: it was restarted, or its queue was cleared") == 2
    assert studio.outcomes == {"lost": 2, "done": 3}


def test_a_job_that_vanishes_is_started_again(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.lose_job()
    assert studio.write("a").build(server, args=PATIENT).code == 0
    assert studio.causes == ["first", "the server no longer has it: it was restarted, or its queue was cleared"]


def test_away_for_a_moment_is_not_lost(studio: Studio, slow: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow)
        slow.misbehave.reset(times=8)
        used_up(slow)
        thaw(slow)

    ran = studio.build(slow, args=PATIENT, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert outcomes(slow) == ["success"] * 3
    assert set(studio.causes) == {"first"}
    assert "set aside until it answers" in notices(ran)
    assert "answers again" in notices(ran)


def test_a_proxy_whose_server_is_away_reports_nothing_of_the_job(studio: Studio, slow: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow, waiting=0)
        slow.misbehave.status(404, JOB, method="GET", times=3)
        used_up(slow)
        thaw(slow)

    ran = studio.write("a").build(slow, args=PATIENT, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert outcomes(slow) == ["success"]


def test_a_server_that_dies_gives_its_clips_to_the_other(studio: Studio, slow: FakeComfy, other: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow)
        slow.stop_listening()

    ran = studio.write(*"abcde").build(slow, other, args=HASTY, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert len(outcomes(other)) == 5
    assert [cause for cause in studio.causes if cause != "first"] == [f"{_name(slow)} did not answer for 1 s"] * 2


def test_a_process_that_is_gone_gives_its_clips_away_long_before_patience_ends(
    studio: Studio, slow: FakeComfy, other: FakeComfy
) -> None:
    def meanwhile() -> None:
        freeze(slow)
        slow.stop_listening()

    args = ["--patience", "1h", "--dead-after", "1s"]
    ran = studio.write(*"abcde").build(slow, other, args=args, meanwhile=meanwhile)
    assert ran.code == 0, ran.out
    assert len(outcomes(other)) == 5
    assert [cause for cause in studio.causes if cause != "first"] == [
        f"{_name(slow)} stopped: connection refused for 1 s"
    ] * 2


def test_where_no_other_has_room_it_is_waited_for_and_asked_first(
    studio: Studio, slow: FakeComfy, other: FakeComfy
) -> None:
    slow.hold()
    other.hold()
    process = studio.write(*"abcd").start(slow, other, args=["--patience", "1h", "--dead-after", "0s"])
    slow.wait(accepted(2))
    other.wait(accepted(2))
    slow.stop_listening()
    until(process, "notice", "set aside until it answers")
    slow.listen()
    until(process, "notice", "answers again")
    thaw(slow)
    other.go()
    ran = studio.ended(process, slow, other)
    assert ran.code == 0, ran.err
    assert studio.causes.count("the server no longer has it: it was restarted, or its queue was cleared") == 2
    assert not [cause for cause in studio.causes if "stopped" in cause]


def test_a_clip_of_an_earlier_run_does_not_wait_for_a_process_that_is_gone(
    studio: Studio, slow: FakeComfy, other: FakeComfy
) -> None:
    process = studio.write("a").start(slow)
    freeze(slow, waiting=0)
    process.kill()
    studio.ended(process, slow)
    slow.stop_listening()
    ran = studio.build(slow, other, args=["--patience", "1h", "--dead-after", "1s"])
    assert ran.code == 0, ran.out
    assert outcomes(other) == ["success"]
    cause = f"{_name(slow)} stopped: connection refused for 1 s"
    assert studio.causes == ["first", cause]
    assert f"starts elsewhere: {cause}" in notices(ran)


@pytest.mark.parametrize("path", ["^/system_stats$", "^/object_info"])
def test_a_server_that_dribbles_is_set_aside_and_named(
    studio: Studio, server: FakeComfy, other: FakeComfy, path: str
) -> None:
    server.misbehave.dribble(path, times=None)
    ran = studio.write(*"abc").build(server, other, args=["--patience", "3s"])
    assert ran.code == 0, ran.out
    assert outcomes(other) == ["success"] * 3
    assert f"set aside until it answers, for at most 3 s: {_name(server)}: " in notices(ran)


def test_the_only_server_may_be_slow_once(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.dribble("^/object_info")
    ran = studio.write("a").build(server, args=["--patience", "3s"])
    assert ran.code == 0, ran.out
    assert "the answer is too slow: " in notices(ran)
    assert "answers again" in notices(ran)


def test_the_only_server_that_only_dribbles_is_reported_with_exit_code_4(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.dribble("^/system_stats$", times=None)
    ran = studio.write("a").build(server, args=["--patience", "3s"])
    assert ran.code == 4
    assert "the answer is too slow: " in problems(ran)[0]["message"]


def test_a_silent_server_does_not_hold_up_the_others(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    server.misbehave.hang("^/system_stats$", times=None)
    ran = studio.build(server, other, args=["--patience", "1h"])
    assert ran.code == 0, ran.out
    assert outcomes(other) == ["success"] * 3
    assert f"for at most 3600 s: {_name(server)}: no answer yet" in notices(ran)
    server.misbehave.clear()


def test_what_was_given_away_does_not_run_on(studio: Studio, slow: FakeComfy, other: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow, waiting=0)
        slow.misbehave.reset(times=None)
        other.wait(accepted(2))  # its first, and the one that was given to it
        slow.misbehave.clear()
        slow.wait(lambda stats: stats["runs"][0]["outcome"] == "interrupted")
        thaw(slow)
        other.go()

    other.hold()
    ran = studio.write("a", "b").build(slow, other, args=HASTY, meanwhile=meanwhile)
    assert ran.code == 0, ran.out


def test_the_only_server_gone_leaves_the_prompts_to_the_next_build(studio: Studio, slow: FakeComfy) -> None:
    def meanwhile() -> None:
        freeze(slow)
        slow.misbehave.reset(times=None)

    ran = studio.build(slow, args=HASTY, meanwhile=meanwhile)
    assert ran.code == 4, ran.out
    assert {problem["code"] for problem in problems(ran)} == {"C002"}
    assert problems(ran)[0]["message"].startswith(f"{_name(slow)} did not answer for 1 s: ")
    assert "resumed" in problems(ran)[0]["hint"]
    assert not studio.events("finished")
    slow.misbehave.clear()
    thaw(slow)
    ran = studio.build(slow, args=PATIENT)
    assert ran.code == 0, ran.out
    assert notices(ran).count("resumed from an earlier run") == 2
    assert outcomes(slow) == ["success"] * 3


def test_a_clip_waits_for_the_server_that_has_it(studio: Studio, slow: FakeComfy, other: FakeComfy) -> None:
    def leave() -> None:
        freeze(slow, waiting=0)
        slow.misbehave.reset(times=None)

    studio.write("a").build(slow, args=HASTY, meanwhile=leave)
    ran = studio.build(slow, other, args=HASTY)
    assert ran.code == 0, ran.out
    assert f"waits for {_name(slow)}, which has it from an earlier run" in notices(ran)
    assert outcomes(other) == ["success"]
    assert studio.outcomes == {"lost": 1, "done": 1}
    assert studio.causes[-1] == f"{_name(slow)} did not answer for 1 s"


def _name(server: FakeComfy) -> str:
    return f"127.0.0.1:{server.port}"
