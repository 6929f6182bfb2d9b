"""Promises of the fake ComfyUI that other tests build on: it behaves as a real 0.27.0 was measured to."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import httpx
import pytest
from fakes import media
from fakes.comfyui import MODELS_LTX23, FakeComfy, FakeProcess
from fakes.media import Run, Sound
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

Graph = dict[str, Any]
CLIENT = "client-1"
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def clip(seed: int = 1, prefix: str = "clips/a", *, length: int = 9, fps: int = 25, stages: int = 1) -> Graph:
    """A small text-to-video graph: 64×64 (stages=1) or 128×128, `length` frames, with sound."""

    def node(class_: str, **inputs: Any) -> Graph:
        return {"class_type": class_, "inputs": inputs}

    checkpoint, sigmas = "ltx-2-19b-dev-fp8.safetensors", "1., 0.975, 0.725, 0.0"
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node(
            "LTXAVTextEncoderLoader",
            text_encoder="gemma_3_12B_it.safetensors",
            ckpt_name=checkpoint,
            device="default",
        ),
        "3": node("LTXVAudioVAELoader", ckpt_name=checkpoint),
        "20": node("CLIPTextEncode", text="a vault opens", clip=["2", 0]),
        "40": node("EmptyLTXVLatentVideo", width=64, height=64, length=length, batch_size=1),
        "41": node(
            "LTXVEmptyLatentAudio",
            frames_number=length,
            frame_rate=fps,
            batch_size=1,
            audio_vae=["3", 0],
        ),
        "50": node("LTXVConcatAVLatent", video_latent=["40", 0], audio_latent=["41", 0]),
        "51": node("ManualSigmas", sigmas=sigmas),
        "52": node("RandomNoise", noise_seed=seed),
        "53": node("KSamplerSelect", sampler_name="euler"),
        "54": node("CFGGuider", model=["1", 0], positive=["20", 0], negative=["20", 0], cfg=1.0),
        "55": node(
            "SamplerCustomAdvanced",
            noise=["52", 0],
            guider=["54", 0],
            sampler=["53", 0],
            sigmas=["51", 0],
            latent_image=["50", 0],
        ),
        "56": node("LTXVSeparateAVLatent", av_latent=["55", 0]),
        "80": node("VAEDecode", samples=["56", 0], vae=["1", 2]),
        "81": node("LTXVAudioVAEDecode", samples=["56", 1], audio_vae=["3", 0]),
        "88": node("CreateVideo", images=["80", 0], fps=float(fps), audio=["81", 0]),
        "89": node("SaveVideo", video=["88", 0], filename_prefix=prefix, format="mp4", codec="h264"),
    }
    if stages == 2:
        name = "ltx-2-spatial-upscaler-x2-1.0.safetensors"
        graph["60"] = node("LatentUpscaleModelLoader", model_name=name)
        graph["61"] = node("LTXVLatentUpsampler", samples=["56", 0], upscale_model=["60", 0], vae=["1", 2])
        graph["80"]["inputs"]["samples"] = ["61", 0]
    return graph


def picture(colour: int = 1, prefix: str = "t") -> Graph:
    """The least graph with a file: EmptyImage → SaveImage."""
    inputs = {"width": 64, "height": 64, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeComfy]:
    """A server for tests that leave no trace others could stumble over."""
    with FakeComfy() as server:
        yield server
        assert server.stats()["bugs"] == []


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as server:
        yield server
        assert server.stats()["bugs"] == []


def post(server: FakeComfy | FakeProcess, graph: Any, **fields: Any) -> httpx.Response:
    body = {"prompt": graph, "client_id": CLIENT, **fields}
    return HTTP.post(server.url + "/prompt", json={k: v for k, v in body.items() if v is not ...})


def get(server: FakeComfy | FakeProcess, path: str, **params: Any) -> Any:
    return HTTP.get(server.url + path, params=params or None).json()


def finish(server: FakeComfy | FakeProcess, prompt_id: str, *, starts: int = 1) -> Graph:
    """Wait until a prompt has ended that many times and its history is there; return its entry."""

    def over(stats: Graph) -> bool:
        seen = stats["prompts"].get(prompt_id)
        return bool(seen and seen["starts"] >= starts and stats["running"] != prompt_id)

    server.wait(over)
    entry: Graph = get(server, f"/history/{prompt_id}")[prompt_id]
    return entry


def render(server: FakeComfy | FakeProcess, graph: Graph, **fields: Any) -> Graph:
    """Queue a graph, wait for its end, return its history entry with its id under "id"."""
    reply = post(server, graph, **fields).json()
    return {"id": reply["prompt_id"], **finish(server, reply["prompt_id"])}


def film(server: FakeComfy, entry: Graph, node: str = "89") -> bytes:
    return HTTP.get(server.url + "/view", params=entry["outputs"][node]["images"][0]).content


@contextmanager
def socket(server: FakeComfy, client: str = CLIENT, **options: Any) -> Iterator[ClientConnection]:
    url = server.url.replace("http", "ws") + f"/ws?clientId={client}"
    with connect(url, proxy=None, max_queue=None, **options) as ws:
        yield ws


def messages_until(ws: ClientConnection, last: str, *, node: Any = ...) -> list[Graph]:
    """Return messages up to the first of type `last` (and of that node)."""
    messages: list[Graph] = []
    while True:
        message = json.loads(ws.recv(timeout=10))
        messages.append(message)
        if message["type"] == last and (node is ... or message["data"].get("node") == node):
            return messages


def errors(reply: httpx.Response) -> dict[str, list[str]]:
    """node id → error types"""
    return {n: [e["type"] for e in found["errors"]] for n, found in reply.json()["node_errors"].items()}


# -------------------------------------------------------------------------------- validation


def test_bad_output_gets_400_with_reasons_by_node(shared: FakeComfy) -> None:
    graph = clip()
    graph["89"]["inputs"] = {"filename_prefix": "x"}
    reply = post(shared, graph)
    assert reply.status_code == 400
    body = reply.json()
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert "Required input is missing: codec" in body["error"]["details"]
    assert errors(reply) == {"89": ["required_input_missing"] * 3}
    assert body["node_errors"]["89"]["dependent_outputs"] == ["89"]


def test_one_good_output_hides_a_bad_branch_behind_200(server: FakeComfy) -> None:
    graph = picture() | {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    reply = post(server, graph)
    assert reply.status_code == 200
    assert errors(reply) == {"9": ["required_input_missing"]}
    entry = finish(server, reply.json()["prompt_id"])
    assert list(entry["outputs"]) == ["2"]
    assert entry["prompt"][4] == ["2"]


def test_only_nodes_below_outputs_and_declared_inputs_are_checked(shared: FakeComfy) -> None:
    graph = picture() | {"7": {"class_type": "CLIPTextEncode", "inputs": {"nonsense": 1}}}
    graph["1"]["inputs"]["unknown"] = "x"
    assert post(shared, graph).json()["node_errors"] == {}


def test_nothing_above_a_wrong_link_is_reported(shared: FakeComfy) -> None:
    graph = clip()
    graph["88"]["inputs"]["images"] = ["56", 0]
    graph["56"]["inputs"] = {}
    assert errors(post(shared, graph)) == {"88": ["return_type_mismatch"], "56": ["required_input_missing"]}
    del graph["88"]["inputs"]["audio"]
    reply = post(shared, graph)
    assert errors(reply) == {"88": ["return_type_mismatch"]}
    found = reply.json()["node_errors"]["88"]["errors"][0]
    assert found["details"] == "images, received_type(LATENT) mismatch input_type(IMAGE)"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"width": 0}, {"1": ["value_smaller_than_min"]}),
        ({"width": 10**6}, {"1": ["value_bigger_than_max"]}),
        ({"width": "abc"}, {"1": ["invalid_input_type"]}),
        ({"width": ["1"]}, {"1": ["bad_linked_input"]}),
        ({"width": ["99", 0]}, {"1": ["exception_during_inner_validation"]}),
        ({"width": ["1", 0]}, {"1": ["return_type_mismatch"]}),
    ],
)
def test_each_wrong_value_has_the_servers_error_type(shared: FakeComfy, change: Graph, wrong: Graph) -> None:
    graph = picture()
    graph["1"]["inputs"] |= change
    assert errors(post(shared, graph)) == wrong


def test_v1_and_v3_nodes_word_an_unknown_slot_differently(shared: FakeComfy) -> None:
    graph = clip()
    graph["20"]["inputs"]["clip"] = ["2", 1]
    text = json.dumps(post(shared, graph).json())
    assert "list index out of range" in text
    graph["20"]["inputs"]["clip"] = ["1", 5]
    assert "tuple index out of range" in json.dumps(post(shared, graph).json())


def test_cycle_missing_file_and_unlisted_value_are_refused(shared: FakeComfy) -> None:
    graph = clip()
    graph["50"]["inputs"]["video_latent"] = ["56", 0]
    assert "dependency_cycle" in json.dumps(errors(post(shared, graph)))
    graph = clip()
    graph["1"]["inputs"]["ckpt_name"] = "nope.safetensors"
    assert errors(post(shared, graph)) == {"1": ["value_not_in_list"]}
    graph = picture()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "nope.png"}}
    reply = post(shared, graph)
    assert errors(reply) == {"1": ["custom_validation_failed"]}
    assert reply.json()["node_errors"]["1"]["errors"][0]["details"] == "image - Invalid image file: nope.png"


def test_whole_prompt_errors(shared: FakeComfy) -> None:
    def refused(body: Graph) -> str:
        reply = HTTP.post(shared.url + "/api/prompt", json=body)
        assert (reply.status_code, reply.json()["node_errors"]) == (400, {})
        return str(reply.json()["error"]["type"])

    assert refused({}) == "no_prompt"
    assert refused({"prompt": {}}) == "prompt_no_outputs"
    foreign = {"1": {"class_type": "Nope", "inputs": {}, "_meta": {"title": "My node"}}}
    assert refused({"prompt": foreign}) == "missing_node_type"
    for wrong in ("abc", str(uuid.uuid4()).upper(), uuid.uuid4().hex, 5):
        assert refused({"prompt": picture(), "prompt_id": wrong}) == "invalid_prompt_id"
    assert HTTP.post(shared.url + "/prompt", content=b"{").status_code == 500


def test_literals_are_coerced_and_a_literal_for_a_link_fails_only_when_run(server: FakeComfy) -> None:
    graph = picture()
    graph["1"]["inputs"] |= {"width": "128", "height": 100.7}
    entry = render(server, graph)
    size = Image.open(io.BytesIO(film(server, entry, "2"))).size
    assert size == (128, 100)
    graph["2"]["inputs"]["images"] = "x"
    assert render(server, graph)["status"]["status_str"] == "error"


# -------------------------------------------------------------------------------- films


def test_render_has_size_frames_rate_and_sound_the_graph_asks_for(server: FakeComfy) -> None:
    entry = render(server, clip(length=26, stages=2))  # 26 is floored to 25
    item = entry["outputs"]["89"]
    assert item["animated"] == [True]
    assert item["images"] == [{"filename": "a_00001_.mp4", "subfolder": "clips", "type": "output"}]
    frames, fps, sound = media.read_film(film(server, entry))
    assert (frames.width, frames.height, fps) == (128, 128, Fraction(25))
    assert [(run.first, run.count) for run in frames.runs] == [(0, 25)]
    assert sound == Sound(24000)  # 1.01 s, cut to the length of the pictures


def test_different_seeds_give_different_pictures_and_the_same_graph_the_same_bytes(server: FakeComfy) -> None:
    one, two = (film(server, render(server, clip(seed))) for seed in (1, 2))
    assert media.read_film(one)[0].runs[0].colour != media.read_film(two)[0].runs[0].colour
    with FakeComfy() as other:
        assert film(other, render(other, clip(1))) == one


def test_film_carries_the_graph_and_the_extra_info(server: FakeComfy) -> None:
    entry = render(server, clip(), extra_data={"extra_pnginfo": {"ltxflow": {"key": "abc"}}})
    with av.open(io.BytesIO(film(server, entry))) as container:
        assert json.loads(container.metadata["prompt"]) == clip()
        assert json.loads(container.metadata["ltxflow"]) == {"key": "abc"}


def test_extension_keeps_the_sources_frames_and_counts_on(server: FakeComfy) -> None:
    source = media.one_colour((64, 64), 64, 64, 33)
    data = media.mp4(source, Fraction(25), Sound(33 * 960), {})
    upload = HTTP.post(server.url + "/upload/image", files={"image": ("s.mp4", data)}).json()
    graph = clip(length=25)
    graph |= {
        "33": {"class_type": "LoadVideo", "inputs": {"file": upload["name"]}},
        "34": {"class_type": "GetVideoComponents", "inputs": {"video": ["33", 0]}},
        "35": {
            "class_type": "ImageFromBatch",
            "inputs": {"image": ["34", 0], "batch_index": -17, "length": 17},
        },
        "42": {
            "class_type": "LTXVImgToVideoInplace",
            "inputs": {
                "vae": ["1", 2],
                "image": ["35", 0],
                "latent": ["40", 0],
                "strength": 1.0,
                "bypass": False,
            },
        },
    }
    graph["50"]["inputs"]["video_latent"] = ["42", 0]
    frames = media.read_film(film(server, render(server, graph)))[0]
    assert frames.runs[0] == Run((64, 64), 16, 17)
    assert [(run.first, run.count) for run in frames.runs[1:]] == [(17, 8)]


def test_names_count_on_from_the_highest_in_the_folder(server: FakeComfy) -> None:
    first, second = (render(server, picture(c, "x/t"))["outputs"]["2"]["images"][0] for c in (1, 2))
    assert (first["filename"], second["filename"]) == ("t_00001_.png", "t_00002_.png")
    (server.folders["output"] / "x" / second["filename"]).unlink()
    again = render(server, picture(3, "x/t"))["outputs"]["2"]["images"][0]
    assert again == second


def test_prefix_outside_the_output_folder_fails_when_run(server: FakeComfy) -> None:
    entry = render(server, picture(1, "../../x"))
    assert entry["status"]["status_str"] == "error"
    assert "Saving image outside the output folder is not allowed" in json.dumps(entry)
    assert server.stats()["escapes"] == ["../../x"]


def test_reading_outside_passes_validation_is_noted_and_fails(server: FakeComfy) -> None:
    graph = picture()
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "/etc/hostname"}}
    assert render(server, graph)["status"]["status_str"] == "error"
    assert "/etc/hostname" in server.stats()["escapes"]


def test_av_latent_in_the_wrong_place_fails_like_the_real_one(server: FakeComfy) -> None:
    graph = clip()
    graph["56"]["inputs"]["av_latent"] = ["40", 0]
    messages = render(server, graph)["status"]["messages"]
    failure = messages[-1][1]
    assert messages[-1][0] == "execution_error"
    assert (failure["node_id"], failure["exception_type"]) == ("56", "IndexError")
    assert failure["exception_message"] == "tuple index out of range\n"
    assert failure["traceback"]


# -------------------------------------------------------------------------------- queue and history


def test_prompts_run_one_at_a_time_in_the_order_of_numbers(server: FakeComfy) -> None:
    server.hold()
    first = post(server, picture(1)).json()  # may already be taken from the queue, and then waits
    ids = {
        name: post(server, picture(i + 2), **fields).json()["prompt_id"]
        for i, (name, fields) in enumerate({"late": {"number": 99}, "next": {}, "front": {"front": True}}.items())
    }
    assert get(server, "/prompt") == {"exec_info": {"queue_remaining": 4}}
    server.go()
    stats = server.wait(lambda s: len(s["runs"]) == 4 and not s["running"])
    order = [run["prompt_id"] for run in stats["runs"] if run["prompt_id"] != first["prompt_id"]]
    assert order == [ids["front"], ids["next"], ids["late"]]
    assert all(gap >= 0 for gap in stats["gaps"])


def test_a_prompt_id_may_be_queued_twice_and_delete_takes_one_copy(server: FakeComfy) -> None:
    server.hold()
    post(server, picture(9))
    server.wait(lambda s: s["pending"] == 1 or s["running"])
    mine = str(uuid.uuid4())
    for _ in range(3):
        assert post(server, picture(), prompt_id=mine).json()["prompt_id"] == mine
    assert server.stats()["accepted"][mine] == 3
    before = server.stats()["pending"]
    HTTP.post(server.url + "/queue", json={"delete": [mine, "unknown"]})
    assert server.stats()["pending"] == before - 1
    server.go()
    finish(server, mine, starts=2)
    assert server.stats()["prompts"][mine]["completions"] == 2
    assert len(get(server, "/history", max_items=10)) == 2


def test_history_is_empty_for_queued_and_unknown_alike_and_jobs_has_both(server: FakeComfy) -> None:
    server.hold()
    post(server, picture(9))
    mine = post(server, picture()).json()["prompt_id"]
    assert get(server, f"/history/{mine}") == get(server, "/history/unknown") == {}
    assert get(server, f"/api/jobs/{mine}")["status"] == "pending"
    assert HTTP.get(f"{server.url}/api/jobs/{uuid.uuid4()}").status_code == 404
    assert HTTP.get(f"{server.url}/jobs/{mine}").status_code == 404
    server.go()
    finish(server, mine)
    job = get(server, f"/api/jobs/{mine}")
    assert (job["status"], job["outputs_count"]) == ("completed", 1)
    assert job["outputs"]["2"]["images"][0]["filename"].startswith("t_")
    assert job["execution_end_time"] >= job["execution_start_time"] >= job["create_time"]
    page = get(server, "/api/jobs", status="completed", limit=1)
    assert page["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}


def test_history_pages_by_newest_and_can_be_deleted(server: FakeComfy) -> None:
    ids = [render(server, picture(c))["id"] for c in range(3)]
    assert list(get(server, "/history", max_items=2)) == ids[1:]
    assert list(get(server, "/history", max_items=2, offset=0)) == ids[:2]
    HTTP.post(server.url + "/history", json={"delete": [ids[0]]})
    assert list(get(server, "/history")) == ids[1:]
    HTTP.post(server.url + "/history", json={"clear": True})
    assert get(server, "/history") == {}


def test_interrupt_hits_only_the_running_id_and_jobs_calls_it_cancelled(server: FakeComfy) -> None:
    server.misbehave.stuck()
    mine = post(server, clip()).json()["prompt_id"]
    server.wait(lambda s: s["running"] == mine)
    HTTP.post(server.url + "/interrupt", json={"prompt_id": str(uuid.uuid4())})
    assert server.stats()["running"] == mine
    assert get(server, f"/api/jobs/{mine}")["status"] == "in_progress"
    HTTP.post(server.url + "/interrupt", json={"prompt_id": mine})
    entry = finish(server, mine)
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert get(server, f"/api/jobs/{mine}")["status"] == "cancelled"


def test_cancel_works_on_waiting_and_running_and_a_waiting_one_leaves_no_trace(server: FakeComfy) -> None:
    server.misbehave.stuck()
    running, waiting, other = (post(server, clip(seed)).json()["prompt_id"] for seed in range(3))
    server.wait(lambda s: s["running"] == running)

    def cancel(prompt_id: str) -> bool:
        reply = HTTP.post(f"{server.url}/api/jobs/{prompt_id}/cancel")
        return bool(reply.json()["cancelled"])

    assert [cancel(waiting), cancel(waiting), cancel(running)] == [True, False, True]
    assert HTTP.get(f"{server.url}/api/jobs/{waiting}").status_code == 404
    finish(server, other)
    assert waiting not in server.stats()["prompts"]
    bad = HTTP.post(server.url + "/api/jobs/cancel", json={"job_ids": ["x"]})
    assert (bad.status_code, bad.json()["invalid_ids"]) == (400, ["x"])


# -------------------------------------------------------------------------------- cache


def test_a_cached_rerun_repeats_the_file_only_for_a_client(server: FakeComfy) -> None:
    first = render(server, clip())
    again = render(server, clip())
    assert again["outputs"] == first["outputs"]
    cached = dict(again["status"]["messages"])["execution_cached"]["nodes"]
    assert set(cached) == set(clip())
    assert render(server, clip(), client_id=...)["outputs"] == {}
    key = next(iter(server.stats()["keys"].values()))
    assert (key["starts"], key["completions"], key["renders"]) == (3, 3, 1)


def test_a_new_prefix_runs_only_the_save_node(server: FakeComfy) -> None:
    first, second = render(server, clip(1, "a")), render(server, clip(1, "b"))
    cached = dict(second["status"]["messages"])["execution_cached"]["nodes"]
    assert set(clip()) - set(cached) == {"89"}
    assert second["outputs"]["89"]["images"][0]["filename"] == "b_00001_.mp4"
    assert media.read_film(film(server, first))[0] == media.read_film(film(server, second))[0]
    assert [k["renders"] for k in server.stats()["keys"].values()] == [1]


def test_the_cache_holds_the_previous_prompt_only_and_free_drops_it(server: FakeComfy) -> None:
    for seed in (1, 2, 1):
        render(server, clip(seed))
    assert [run["rendered"] for run in server.stats()["runs"]] == [True, True, True]
    HTTP.post(server.url + "/free", json={"free_memory": True})
    render(server, clip(1))
    assert server.stats()["runs"][-1]["rendered"]


# -------------------------------------------------------------------------------- websocket


def test_events_come_in_the_servers_order(server: FakeComfy) -> None:
    with socket(server) as ws:
        hello = json.loads(ws.recv())
        assert hello["data"] == {"status": {"exec_info": {"queue_remaining": 0}}, "sid": CLIENT}
        ws.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        assert json.loads(ws.recv())["data"] == get(server, "/features")
        mine = post(server, clip()).json()["prompt_id"]
        messages = messages_until(ws, "executing", node=None)
    types = [m["type"] for m in messages]
    assert types[:4] == ["status", "status", "execution_start", "execution_cached"]
    assert types[-3:] == ["execution_success", "status", "executing"]
    assert messages[-2]["data"]["status"]["exec_info"]["queue_remaining"] == 0
    assert [m["data"]["node"] for m in messages if m["type"] == "executed"] == ["89"]
    steps = [m["data"] for m in messages if m["type"] == "progress"]
    assert {(s["node"], s["max"], s["prompt_id"]) for s in steps} == {("55", 3, mine)}
    assert (steps[0]["value"], steps[-1]["value"]) == (1, 3)
    final = [m for m in messages if m["type"] == "progress_state"][-1]["data"]["nodes"]
    assert {entry["state"] for entry in final.values()} == {"finished"}


def test_others_hear_only_the_status(server: FakeComfy) -> None:
    with socket(server, "other") as ws:
        mine = post(server, clip()).json()["prompt_id"]
        finish(server, mine)
        post(server, picture(), client_id="other")
        types = {m["type"] for m in messages_until(ws, "execution_start")}
    assert types == {"status", "execution_start"}


def test_a_prompt_without_client_shows_progress_to_all_and_nothing_else(server: FakeComfy) -> None:
    with socket(server) as ws:
        finish(server, post(server, clip(), client_id=...).json()["prompt_id"])
        post(server, picture())
        types = {m["type"] for m in messages_until(ws, "execution_start")}
    assert types == {"status", "progress", "progress_state", "execution_start"}


def test_the_same_client_id_goes_deaf_when_its_older_socket_closes(server: FakeComfy) -> None:
    with socket(server) as old:
        old.recv()
        with socket(server) as new:
            new.recv()
            old.close()
            server.wait(lambda s: s["sockets"]["open"] == 1)
            finish(server, post(server, picture()).json()["prompt_id"])
            with pytest.raises(TimeoutError):
                new.recv(timeout=0.05)


def test_a_reconnect_hears_the_running_node_and_nothing_older(server: FakeComfy) -> None:
    server.misbehave.stuck()
    mine = post(server, clip()).json()["prompt_id"]
    server.wait(lambda s: s["running"] == mine)
    with socket(server) as ws:
        ws.recv()
        assert json.loads(ws.recv())["type"] == "executing"


# -------------------------------------------------------------------------------- files


def test_view_serves_ranges_heads_and_refuses_escapes(server: FakeComfy) -> None:
    item = render(server, picture(1, "sub/t"))["outputs"]["2"]["images"][0]
    url = server.url + "/view"
    whole = HTTP.get(url, params=item)
    size = len(whole.content)
    assert whole.headers["Content-Length"] == str(size)
    assert whole.headers["Content-Disposition"] == f'filename="{item["filename"]}"'
    part = HTTP.get(url, params=item, headers={"Range": "bytes=0-99"})
    assert (part.status_code, part.content) == (206, whole.content[:100])
    assert part.headers["Content-Range"] == f"bytes 0-99/{size}"
    assert HTTP.get(url, params=item, headers={"Range": "bytes=-10"}).content == whole.content[-10:]
    assert HTTP.get(url, params=item, headers={"Range": f"bytes={size}-"}).status_code == 416
    assert HTTP.head(url, params=item).headers["Content-Length"] == str(size)
    for change, status in [
        ({"subfolder": ""}, 404),
        ({"subfolder": "../.."}, 403),
        ({"filename": "../x.png"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"type": "bogus"}, 400),
    ]:
        assert HTTP.get(url, params=item | change).status_code == status


def test_upload_names_by_content(server: FakeComfy) -> None:
    def upload(data: bytes, name: str = "u.png", **fields: str) -> httpx.Response:
        return HTTP.post(server.url + "/upload/image", files={"image": (name, data)}, data=fields)

    assert upload(b"1").json() == {"name": "u.png", "subfolder": "", "type": "input"}
    assert upload(b"1").json()["name"] == "u.png"
    assert upload(b"2").json()["name"] == "u (1).png"
    assert upload(b"2").json()["name"] == "u (1).png"
    assert upload(b"3", subfolder="ltx/ref").json()["subfolder"] == "ltx/ref"
    assert upload(b"4", overwrite="true").json()["name"] == "u.png"
    assert (server.folders["input"] / "u.png").read_bytes() == b"4"
    assert upload(b"", subfolder="../..").status_code == 400
    assert upload(b"", name="../../x").status_code == 400
    assert upload(b"", type="bogus").status_code == 500
    assert server.stats()["uploads"]["u (1).png"] == 2


def test_a_body_over_the_limit_is_refused() -> None:
    with FakeComfy(max_body=10_000) as server:
        reply = HTTP.post(server.url + "/upload/image", files={"image": ("u.png", bytes(20_000))})
        assert reply.status_code == 413
        assert post(server, picture() | {"x": "y" * 20_000}).status_code == 413


def test_discovery_lists_models_and_uploads(server: FakeComfy) -> None:
    assert "loras" in get(server, "/models")
    assert get(server, "/models/checkpoints") == ["ltx-2-19b-dev-fp8.safetensors"]
    assert HTTP.get(server.url + "/models/nope").status_code == 404
    assert get(server, "/experiment/models/checkpoints")[0].keys() >= {"name", "size", "modified"}
    assert get(server, "/object_info/Nope") == {}
    HTTP.post(server.url + "/upload/image", files={"image": ("new.png", b"x")})
    info = get(server, "/object_info/LoadImage")["LoadImage"]
    assert "new.png" in info["input"]["required"]["image"][0]
    server.misbehave.missing_models("checkpoints")
    assert HTTP.get(server.url + "/models/checkpoints").status_code == 404
    loader = get(server, "/object_info/LTXVAudioVAELoader")["LTXVAudioVAELoader"]
    assert loader["input"]["required"]["ckpt_name"][1]["options"] == []
    assert get(server, "/system_stats")["system"]["comfyui_version"] == "0.27.0"


def test_another_models_files_can_be_served() -> None:
    with FakeComfy(models=MODELS_LTX23) as server:
        assert get(server, "/models/checkpoints") == ["ltx-2.3-22b-dev-fp8.safetensors"]


# -------------------------------------------------------------------------------- proxies, versions


def test_behind_a_prefix_and_a_token_both_protocols_need_the_header() -> None:
    with FakeComfy(prefix="/comfy", token=("X-Token", "secret")) as server:
        good = {"X-Token": "secret"}
        assert HTTP.get(server.url + "/prompt").status_code == 401
        assert HTTP.get(server.url + "/api/prompt", headers=good).status_code == 200
        assert HTTP.get(server.url.removesuffix("/comfy") + "/prompt", headers=good).status_code == 404
        with pytest.raises(InvalidStatus, match="401"), socket(server):
            pass
        with socket(server, additional_headers=good) as ws:
            assert json.loads(ws.recv())["type"] == "status"


def test_another_origin_is_forbidden(shared: FakeComfy) -> None:
    elsewhere = {"Origin": "http://evil.example"}
    assert HTTP.get(shared.url + "/prompt", headers=elsewhere).status_code == 403
    same = {"Origin": shared.url}
    assert HTTP.get(shared.url + "/prompt", headers=same).status_code == 200


def test_old_versions_lack_jobs_and_take_any_id() -> None:
    with FakeComfy(version="0.21.0") as server:
        mine = post(server, picture(), prompt_id="any").json()["prompt_id"]
        assert mine == "any"
        finish(server, mine)
        assert get(server, "/api/jobs/any")["status"] == "completed"
        assert HTTP.post(server.url + "/api/jobs/any/cancel").status_code == 404
    with FakeComfy(version="0.3.64") as server:
        assert HTTP.get(server.url + "/api/jobs").status_code == 404


# -------------------------------------------------------------------------------- misbehaviour


def test_http_faults_hit_the_path_as_often_as_set(server: FakeComfy) -> None:
    server.misbehave.status(503, "^/prompt$", times=2, skip=1)
    assert [HTTP.get(server.url + "/prompt").status_code for _ in range(4)] == [200, 503, 503, 200]
    server.misbehave.reset("^/queue$")
    with pytest.raises(httpx.TransportError):
        HTTP.get(server.url + "/queue")
    assert HTTP.get(server.url + "/queue").status_code == 200


def test_a_lost_reply_has_been_acted_upon(server: FakeComfy) -> None:
    mine = str(uuid.uuid4())
    server.misbehave.lose_reply()
    with pytest.raises(httpx.TransportError):
        post(server, picture(), prompt_id=mine)
    assert finish(server, mine)["status"]["completed"]


def test_a_retrying_proxy_queues_a_prompt_twice(server: FakeComfy) -> None:
    mine = str(uuid.uuid4())
    server.misbehave.post_twice()
    assert post(server, picture(), prompt_id=mine).status_code == 200
    finish(server, mine, starts=2)


def test_bodies_are_cut_or_lie_about_their_length(server: FakeComfy) -> None:
    item = render(server, picture())["outputs"]["2"]["images"][0]
    url = server.url + "/view"
    size = len(HTTP.get(url, params=item).content)
    server.misbehave.truncate()
    with pytest.raises(httpx.RemoteProtocolError):
        HTTP.get(url, params=item)
    server.misbehave.wrong_length(by=50)
    with pytest.raises(httpx.RemoteProtocolError):
        HTTP.get(url, params=item)
    server.misbehave.wrong_length(by=-50)
    assert len(HTTP.get(url, params=item).content) == size - 50


def test_an_endless_body_continues_and_a_silent_request_waits(server: FakeComfy) -> None:
    item = render(server, picture())["outputs"]["2"]["images"][0]
    server.misbehave.endless()
    seen = 0
    with HTTP.stream("GET", server.url + "/view", params=item) as reply:
        assert "Content-Length" not in reply.headers
        for block in reply.iter_bytes():
            seen += len(block)
            if seen > 5_000_000:
                break
    server.misbehave.hang("^/queue$")
    with pytest.raises(httpx.ReadTimeout):
        HTTP.get(server.url + "/queue", timeout=0.1)
    assert HTTP.get(server.url + "/prompt").status_code == 200


def test_the_socket_can_be_silent_or_absent(server: FakeComfy) -> None:
    server.misbehave.silent_socket()
    with socket(server) as ws:
        finish(server, post(server, picture()).json()["prompt_id"])
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.05)
    server.misbehave.no_websocket()
    with pytest.raises(InvalidStatus, match="404"), socket(server):
        pass


def test_history_can_come_after_the_success_event(server: FakeComfy) -> None:
    server.misbehave.history_late(None)
    with socket(server) as ws:
        mine = post(server, picture()).json()["prompt_id"]
        messages_until(ws, "execution_success")
        assert get(server, f"/history/{mine}") == {}
        assert get(server, f"/api/jobs/{mine}")["status"] == "in_progress"
        server.misbehave.clear()
        messages_until(ws, "executing", node=None)
        assert get(server, f"/history/{mine}")[mine]["status"]["completed"]


def test_out_of_memory_until_freed(server: FakeComfy) -> None:
    server.misbehave.oom(until_free=True)
    for _ in range(2):
        failure = render(server, clip())["status"]["messages"][-1][1]
        assert (failure["node_type"], failure["exception_type"]) == (
            "SamplerCustomAdvanced",
            "torch.OutOfMemoryError",
        )
        assert "TIPS" in failure["exception_message"]
    HTTP.post(server.url + "/free", json={"unload_models": True, "free_memory": True})
    assert render(server, clip())["status"]["completed"]


def test_a_crash_comes_with_a_traceback(server: FakeComfy) -> None:
    server.misbehave.crash(message="boom\x1b[31m")
    failure = render(server, clip())["status"]["messages"][-1][1]
    assert (failure["exception_message"], failure["node_id"]) == ("boom\x1b[31m\n", "55")
    assert failure["traceback"]
    assert failure["current_inputs"]


@pytest.mark.parametrize(
    ("what", "promise"),
    [
        ("frames", lambda f, r, s: f.count == 1 and f.width == 64),
        ("size", lambda f, r, s: f.width == 32),
        ("rate", lambda f, r, s: r == 30),
        ("no_audio", lambda f, r, s: s is None),
        ("short_audio", lambda f, r, s: s.seconds < Fraction(3, 10)),
    ],
)
def test_films_can_be_wrong(server: FakeComfy, what: str, promise: Any) -> None:
    server.misbehave.spoil(what)
    assert promise(*media.read_film(film(server, render(server, clip()))))


@pytest.mark.parametrize("what", ["truncated", "empty", "not_video"])
def test_films_can_be_unreadable(server: FakeComfy, what: str) -> None:
    server.misbehave.spoil(what)
    data = film(server, render(server, clip()))
    with pytest.raises(av.error.FFmpegError):
        media.read_film(data)


def test_outputs_can_name_hostile_or_lost_files(server: FakeComfy) -> None:
    server.misbehave.hostile_names(["../../x", "/abs.mp4", "a\nb"])
    names = [item["filename"] for item in render(server, clip())["outputs"]["89"]["images"]]
    assert names == ["../../x", "/abs.mp4", "a\nb"]
    server.misbehave.lose_file()
    item = render(server, clip(2))["outputs"]["89"]["images"][0]
    assert HTTP.get(server.url + "/view", params=item).status_code == 404


def test_a_job_can_vanish(server: FakeComfy) -> None:
    server.misbehave.lose_job()
    mine = post(server, picture()).json()["prompt_id"]
    server.wait(lambda s: s["pending"] == 0)
    assert HTTP.get(f"{server.url}/api/jobs/{mine}").status_code == 404
    assert server.stats()["prompts"] == {}


def test_a_restart_loses_queue_and_history_but_no_file(server: FakeComfy) -> None:
    done = render(server, clip(1))
    server.misbehave.stuck()
    running, waiting = (post(server, clip(seed)).json()["prompt_id"] for seed in (2, 3))
    server.wait(lambda s: s["running"] == running and server.misbehave.prompts[0].times == 0)  # it is stuck
    with socket(server) as ws:
        server.restart()
        with pytest.raises(ConnectionClosed):
            messages_until(ws, "never")
    for prompt_id in (done["id"], running, waiting):
        assert HTTP.get(f"{server.url}/api/jobs/{prompt_id}").status_code == 404
    assert film(server, done)
    assert post(server, clip(2)).json()["number"] == 0
    stats = server.wait(lambda s: len(s["runs"]) == 3 and not s["running"])
    assert [run["outcome"] for run in stats["runs"]] == ["success", "lost", "success"]


def test_a_dead_server_refuses_until_it_listens_again(server: FakeComfy) -> None:
    server.stop_listening()
    with pytest.raises(httpx.ConnectError):
        HTTP.get(server.url + "/prompt")
    server.listen()
    assert HTTP.get(server.url + "/prompt").status_code == 200


def test_foreign_jobs_wait_in_the_same_queue(server: FakeComfy) -> None:
    server.hold()
    theirs = server.add_foreign(2, seconds=0.01)
    mine = post(server, clip()).json()["prompt_id"]
    assert get(server, "/prompt")["exec_info"]["queue_remaining"] == 3
    server.go()
    finish(server, mine)
    stats = server.stats()
    assert [run["prompt_id"] for run in stats["runs"]] == [*theirs, mine]
    assert len(stats["keys"]) == 1


def test_renders_take_the_time_set_and_resaves_none() -> None:
    with FakeComfy(seconds=lambda graph: 0.4, speed=2) as server:
        server.warm((64, 64, 9, 25))
        render(server, clip(1, "a"))
        render(server, clip(1, "b"))
        full, resave = (run["end"] - run["start"] for run in server.stats()["runs"])
        assert full >= 0.2
        assert resave < full


# -------------------------------------------------------------------------------- process


def test_the_process_outlives_a_killed_client_and_is_set_over_http() -> None:
    with FakeProcess("--seconds", "0", "--token", "X-Token=secret", "--prefix", "/p") as server:
        assert server.url.endswith("/p")
        code = (
            "import httpx, json, sys, time\n"
            "body = {'prompt': json.loads(sys.argv[2])}\n"
            "httpx.post(sys.argv[1] + '/prompt', headers={'X-Token': 'secret'}, json=body)\n"
            "print(flush=True)\n"
            "time.sleep(60)\n"
        )
        server.control("hold")
        client = subprocess.Popen([sys.executable, "-c", code, server.url, json.dumps(clip())], stdout=-1)
        assert client.stdout
        client.stdout.readline()
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()
        assert server.stats()["prompts"] == {}
        server.control("go")
        server.wait(lambda s: s["runs"] and s["runs"][0]["outcome"] == "success")
        server.control("misbehave", kind="status", status=502, times=1)
        good = {"X-Token": "secret"}
        codes = [HTTP.get(server.url + "/prompt", headers=good).status_code for _ in range(2)]
        assert codes == [502, 200]
        server.control("restart")
        server.wait(lambda s: s["restarts"] == 1)


def test_a_film_of_one_run_is_pixel_for_pixel_what_full_encoding_gives() -> None:
    frames = media.one_colour((184, 72), 128, 96, 20)
    quick, full = media.mp4(frames, Fraction(24), None, {}), media.encode(frames, Fraction(24))

    def pixels(data: bytes) -> list[bytes]:
        with av.open(io.BytesIO(data)) as container:
            return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]

    assert pixels(quick) == pixels(full)
