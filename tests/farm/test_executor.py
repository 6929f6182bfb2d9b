"""Builds on servers that are well: who makes what, what is resumed, what is refused and what is left alone."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from harness.media import write_picture
from harness.studio import Studio, accepted, freeze, let_go, notices, problems, started, until

from ltxflow.plan.estimate import work_of
from ltxflow.plan.plan import PlanOptions
from ltxflow.session.session import open_session

MODELS = {
    "checkpoints": ["ltx-2-19b-dev-fp8.safetensors"],
    "text_encoders": ["gemma_3_12B_it.safetensors"],
    "latent_upscale_models": ["ltx-2-spatial-upscaler-x2-1.0.safetensors"],
    "loras": ["ltx-2-19b-distilled-lora-384.safetensors"],
}


def ours(server: FakeComfy) -> list[dict[str, Any]]:
    return [run for run in server.stats()["runs"] if not run["foreign"]]


def test_a_film_is_rendered_and_the_second_build_runs_nothing(studio: Studio, server: FakeComfy) -> None:
    ran = studio.build(server)
    assert ran.code == 0, ran.out + ran.err
    assert ran.totals["rendered"] == 3
    assert set(studio.films) == {"a", "b", "c"}
    assert studio.causes == ["first"] * 3
    assert studio.outcomes == {"done": 3}
    assert studio.build(server).totals["hit"] == 3
    assert len(ours(server)) == 3


def test_a_server_of_ours_is_requested_little(studio: Studio, server: FakeComfy) -> None:
    studio.write(*"abcdefgh").build(server)
    asked = server.stats()["requests"]
    assert asked["POST /prompt"] == 8
    assert asked["GET /view"] == 16
    assert asked["GET /api/jobs/{id}"] < 3 * 8  # whether it has it already, and how it ended
    assert asked.get("GET /prompt", 0) + asked.get("POST /queue", 0) < 8  # the socket reports other prompts


def test_two_servers_share_a_film(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    studio.write(*"abcdefgh")
    assert studio.build(server, other).code == 0
    assert len(ours(server)) + len(ours(other)) == 8
    assert ours(server)
    assert ours(other)


def test_a_server_that_is_away_from_the_start_is_done_without(studio: Studio, server: FakeComfy) -> None:
    ran = studio.build("http://127.0.0.1:9", server)
    assert ran.code == 0
    assert "set aside until it answers, for at most 300 s: 127.0.0.1:9" in notices(ran)


def test_without_any_server_it_ends_with_4_and_the_reasons(studio: Studio) -> None:
    with FakeComfy(token=("X-Token", "secret")) as guarded:
        ran = studio.build("http://127.0.0.1:9", guarded.url)
    assert ran.code == 4
    assert notices(ran) == ""  # no server is waited for
    (problem,) = problems(ran)
    assert "connection refused" in problem["message"]
    assert "401" in problem["message"]
    assert "headers_from_env" in problem["hint"]
    assert "--animatic" in problem["hint"]


def test_a_prefix_and_a_token_come_from_the_user_config(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = studio.root / "config" / "ltxflow"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FARM_TOKEN", "Bearer s3same-0pen")
    with FakeComfy(prefix="/comfy", token=("Authorization", "Bearer s3same-0pen")) as fake:
        entry = f"servers: [{{name: farm, url: '{fake.url}', headers_from_env: {{Authorization: FARM_TOKEN}}}}]"
        (folder / "config.yaml").write_text(entry)
        ran = studio.build()
        assert ran.code == 0, ran.out
        assert len(ours(fake)) == 3
    written = [file.read_bytes() for root in (studio.folder, studio.root / "store") for file in root.rglob("*.json*")]
    assert not [data for data in written if b"s3same" in data]
    assert "s3same" not in ran.out + ran.err


@pytest.mark.parametrize("version", ["0.3.64", "0.14.1", "0.21.0"])
def test_older_servers_will_do(studio: Studio, version: str) -> None:
    with FakeComfy(version=version) as old:
        ran = studio.build(old)
        assert ran.code == 0, ran.out
        assert len(ours(old)) == 3
        assert "GET /history" not in old.stats()["requests"]


# Other people


@pytest.mark.parametrize("is_silent", [False, True])
def test_one_prompt_is_kept_where_others_have_theirs(studio: Studio, server: FakeComfy, is_silent: bool) -> None:
    """The socket reports how many there are; without one the server is polled."""
    server.hold()
    theirs = server.add_foreign(3)
    if is_silent:
        server.misbehave.silent_socket()
    asked, times = ("GET /prompt", 1) if is_silent else ("GET /api/jobs/{id}", 4)  # the second clip's turn is over then

    def meanwhile() -> None:
        told = server.wait(lambda stats: stats["requests"].get(asked, 0) >= times)
        assert sum(told["accepted"].values()) == len(theirs) + 1
        server.go()

    assert studio.build(server, meanwhile=meanwhile).code == 0
    assert ("GET /prompt" in server.stats()["requests"]) is is_silent
    outcomes = {run["prompt_id"]: run["outcome"] for run in server.stats()["runs"]}
    assert [outcomes[id] for id in theirs] == ["success"] * 3


@pytest.mark.parametrize(
    ("version", "is_silent"), [("0.27.0", False), ("0.27.0", True), ("0.3.64", False), ("0.3.64", True)]
)
def test_a_clip_behind_other_people_reports_it(studio: Studio, version: str, is_silent: bool) -> None:
    with FakeComfy(version=version) as server:
        server.hold()
        server.add_foreign(2)
        if is_silent:
            server.misbehave.silent_socket()
        process = studio.write("a").start(server)
        until(process, "action-waiting", '"ahead": 2')
        server.add_foreign(1)  # these come later, and run later
        server.go()
        ran = studio.ended(process, server)
        assert ran.code == 0, ran.err
        told = [json.loads(line) for line in vars(process)["told"] if "action-waiting" in line]
        assert told[0] == {
            "schema": "ltxflow.event/1",
            "event": "action-waiting",
            "target": "clip:s/a@1",
            "where": f"127.0.0.1:{server.port}",
            "ahead": 2,
        }


def test_a_clip_behind_ours_reports_nothing(studio: Studio) -> None:
    with FakeComfy(seconds=3) as server:

        def meanwhile() -> None:
            freeze(server, 1, waiting=1)
            let_go(server)

        ran = studio.build(server, meanwhile=meanwhile)
        assert ran.code == 0
        assert not ran.events("action-waiting")


def test_what_a_person_made_already_is_resumed(studio: Studio, server: FakeComfy) -> None:
    studio.build(server)
    studio.forget(server)
    ran = studio.build(server)
    assert ran.code == 0
    assert notices(ran).count("has it already (done)") == 3
    assert len(ours(server)) == 3
    (finished,) = ran.events("run-finished")
    assert (finished["rendered"], finished["resumed"]) == (0, 3)


def test_what_a_person_made_on_the_other_server_is_resumed_there(
    studio: Studio, server: FakeComfy, other: FakeComfy
) -> None:
    studio.build(other)
    studio.forget(other)
    assert studio.build(server, other).code == 0
    assert not ours(server)
    assert len(ours(other)) == 3


def test_a_file_of_that_name_with_other_content_is_not_used(studio: Studio, server: FakeComfy) -> None:
    write_picture(studio.folder / "refs" / "a.png", (200, 20, 20), (128, 128))
    studio.write("a: reference: refs/a.png")
    studio.build(server)
    (upload,) = server.stats()["uploads"]
    studio.forget(server)
    server.restart()
    (server.folders["input"] / upload).write_bytes(b"cut short")
    assert studio.build(server).code == 0
    stem, _, suffix = upload.rpartition(".")
    assert f"{stem} (1).{suffix}" in server.stats()["uploads"]


# Models


def test_the_server_that_lacks_a_model_gets_nothing_of_it(studio: Studio, other: FakeComfy) -> None:
    with FakeComfy(models={**MODELS, "loras": []}) as poor:
        ran = studio.build(poor, other)
        assert ran.code == 0, ran.out
        assert not ours(poor)
    assert len(ours(other)) == 3


@pytest.mark.parametrize(
    ("missing", "there", "message", "hint"),
    [
        (
            "latent_upscale_models",
            ["ltx-2-spatial-upscaler-x2-0.9.safetensors"],
            'no "ltx-2-spatial-upscaler-x2-1.0.safetensors" in latent_upscale_models, which s/a needs',
            ["ComfyUI/models/latent_upscale_models", "stages: 1", '"ltx-2-spatial-upscaler-x2-0.9.safetensors"'],
        ),
        (
            "loras",
            ["ltx-2-19b-distilled-lora-380.safetensors"],
            'no "ltx-2-19b-distilled-lora-384.safetensors" in loras, which s/a needs',
            ["ComfyUI/models/loras", "quality: full with stages: 1", "closest there"],
        ),
        (
            "checkpoints",
            ["ltx-2-19b-dev.safetensors"],
            'no "ltx-2-19b-dev-fp8.safetensors" in checkpoints, which s/a needs',
            ["ComfyUI/models/checkpoints", "weights: {checkpoint: bf16}"],
        ),
    ],
)
def test_a_missing_model_is_reported_with_a_way_out(
    studio: Studio, missing: str, there: list[str], message: str, hint: list[str]
) -> None:
    studio.write("a", weights={"checkpoint": "fp8"})
    with FakeComfy(models={**MODELS, missing: there}) as poor:
        ran = studio.build(poor)
        assert ran.code == 1
        (problem,) = problems(ran)
        assert message in problem["message"]
        assert [part for part in hint if part not in problem["hint"]] == []
        assert not poor.stats()["accepted"]
    assert not studio.journal


def test_a_clip_that_cannot_be_made_stops_no_other(studio: Studio, server: FakeComfy) -> None:
    studio.write("a: loras: [absent.safetensors]", "b", "c")
    ran = studio.build(server)
    assert ran.code == 1
    assert set(studio.films) == {"b", "c"}
    assert ['no "absent.safetensors" in loras, which s/a needs' in problem["message"] for problem in problems(ran)] == [
        True
    ]


# What is refused


def test_a_refused_graph_parks_its_clip_and_names_node_template_and_line(studio: Studio, server: FakeComfy) -> None:
    studio.write("z").build(server)  # its signatures are known now, and then it changes
    server.classes["EmptyLTXVLatentVideo"]["input"]["required"]["length"][1]["min"] = 17
    studio.write("a", "b: length: 17f")
    ran = studio.build(server)
    assert ran.code == 1
    (problem,) = problems(ran)
    assert problem["message"] == (
        f'{server.url.removeprefix("http://")}: input "length" is 9, below the minimum of 17 in node "40" '
        '(EmptyLTXVLatentVideo, "empty picture") of template "t2v"'
    )
    assert problem["code"] == "N113"
    assert problem["where"]["line"] == 10
    assert set(studio.films) >= {"b"}
    assert studio.events("finished")[-1]["outcome"] in ("failed", "done")
    assert studio.outcomes["failed"] == 1


def test_half_a_graph_is_refused_and_not_left_running(studio: Studio, server: FakeComfy) -> None:
    studio.write("z").build(server)
    server.classes["SaveImage"]["input"]["required"]["mask"] = ["MASK"]
    ran = studio.write("a").build(server)
    assert ran.code == 1
    (problem,) = problems(ran)
    assert 'required input "mask" is missing in node' in problem["message"]
    assert server.stats()["pending"] == 0
    assert [run["outcome"] for run in ours(server)[1:]] in ([], ["interrupted"], ["success"])
    assert studio.outcomes["failed"] == 1


def test_what_only_the_server_knows_is_quoted_at_the_line(studio: Studio, server: FakeComfy) -> None:
    """A reason in no signature: the node's own check."""
    server.refuse = lambda graph: {
        "40": [
            {
                "type": "custom_validation_failed",
                "message": "Custom validation failed for node",
                "details": "length - odd \x1b[31mtimes only",
                "extra_info": {"input_name": "length"},
            }
        ]
    }
    ran = studio.write("a").build(server)
    (problem,) = problems(ran)
    assert (problem["code"], problem["where"]["line"]) == ("N118", 10)
    assert 'the node rejects its inputs: length - odd times only in node "40"' in problem["message"]


def test_what_a_newer_server_adds_is_filled_and_in_the_trace(studio: Studio, server: FakeComfy) -> None:
    """The server changes between two builds, and reports the same version."""
    studio.write("z").build(server)
    server.classes["CreateVideo"]["input"]["required"]["grain"] = ["FLOAT", {"default": 0.5}]
    assert studio.write("a").build(server).code == 0
    assert studio.causes[-1] == f"{server.url.removeprefix('http://')} has other nodes than before"
    assert studio.traces["clip:s/a@1"]["versions"]["adapted.88.grain"] == "0.5, its default"
    assert server.worker.history[ours(server)[-1]["prompt_id"]]["prompt"][2]["88"]["inputs"]["grain"] == 0.5


def test_what_one_server_refuses_another_may_make(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    studio.write("z").build(server)
    server.classes["EmptyLTXVLatentVideo"]["input"]["required"]["length"][1]["min"] = 17
    server.hold()
    other.hold()
    studio.write("a", "b", "c")

    def meanwhile() -> None:
        other.wait(accepted(1))
        other.go()
        server.go()

    assert studio.build(server, other, meanwhile=meanwhile).code == 0
    assert len(ours(other)) == 3


def test_a_graph_that_fails_when_it_runs_parks_its_clip(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.crash(message="a \x1b[31mred\x07 shape\u202e is wrong\n")
    ran = studio.build(server)
    assert ran.code == 1
    (problem,) = problems(ran)
    assert "RuntimeError: a red shape is wrong" in problem["message"]
    assert 'SamplerCustomAdvanced "55"' in problem["message"]
    assert problem["where"]["line"] > 0
    assert len(studio.films) == 2
    assert studio.outcomes == {"done": 2, "failed": 1}
    assert studio.build(server).code == 0  # the next build tries it once more, saying why
    assert studio.causes[-1].startswith("failed before: SamplerCustomAdvanced")


# How much


def test_nothing_is_started_that_would_pass_the_budget(studio: Studio, server: FakeComfy) -> None:
    studio.write(*"abcdef")
    work = {target: float(seconds) for target, seconds in _work(studio).items()}
    rate = 10 / max(work.values())  # ten seconds a clip, as far as anybody knows
    (studio.root / "store").mkdir(exist_ok=True)
    known = {server.url: {"rate": rate, "count": 20, "spread": 0.0}}
    (studio.root / "store" / "speeds.json").write_text(json.dumps(known))
    server.hold()

    def meanwhile() -> None:
        server.wait(accepted(1))
        server.go()

    ran = studio.build(server, args=["--max-gpu", "15s"], meanwhile=meanwhile)
    assert ran.code == 1
    assert {problem["code"] for problem in problems(ran)} == {"C030"}
    assert "--max-gpu 15s" in problems(ran)[0]["message"]
    assert len(ours(server)) == 1
    assert studio.build(server).code == 0
    assert len(ours(server)) == 6


def _work(studio: Studio) -> dict[str, float]:
    session = open_session(str(studio.folder), cwd=studio.folder, env=os.environ)
    found = {s.node.target: work_of(s.node) for s in session.plan(PlanOptions()).statuses.values()}
    session.store.close()
    return found


def test_what_waits_on_a_stuck_server_is_pulled_back(studio: Studio, server: FakeComfy, other: FakeComfy) -> None:
    studio.write(*"abcdef")
    server.hold()

    def meanwhile() -> None:
        other.wait(started(5))
        server.go()

    assert studio.build(server, other, meanwhile=meanwhile).code == 0
    assert len(ours(server)) == 1
    assert studio.outcomes == {"done": 6, "cancelled": 1}
    assert [cause for cause in studio.causes if cause != "first"] == ["withdrawn for a server that finishes it sooner"]
