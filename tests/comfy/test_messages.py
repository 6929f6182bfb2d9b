from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.comfy import replies, websocket
from ltxflow.core.errors import LtxflowError

ID = "ce96a76d-ce0f-494e-8276-79123c236e68"
OTHER = "11111111-2222-5333-8444-555555555555"

# JSON as a hostile server might send it, often with the keys that are read
WORDS = """
    prompt_id number node_errors error errors message details type class_type outputs images filename
    subfolder status status_str messages id execution_status execution_error queue_running queue_pending
    jobs exec_info queue_remaining system devices name data nodes node value max state sid prompt create_time
"""
KEYS = st.sampled_from(WORDS.split())
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["executing", "progress", "progress_state", "status", "output", "failed", ID, "error"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6),
    max_leaves=25,
)


def history(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "prompt": [5.0, ID, {}, {"client_id": "abc", "create_time": 1795380683031}, ["2"]],
        "outputs": {
            "89": {
                "images": [{"filename": "b_00002_.mp4", "subfolder": "ltxflow/hook", "type": "output"}],
                "animated": [True],
            }
        },
        "status": {
            "status_str": "success",
            "completed": True,
            "messages": [
                ["execution_start", {"prompt_id": ID, "timestamp": 1795380683531}],
                ["execution_cached", {"nodes": ["1", "2"], "prompt_id": ID, "timestamp": 1795380683532}],
                ["execution_success", {"prompt_id": ID, "timestamp": 1795380685031}],
            ],
        },
    }
    return {ID: {**entry, **changes}}


def failed(message: str = "boom\n", kind: str = "RuntimeError") -> dict[str, Any]:
    error = {
        "prompt_id": ID,
        "node_id": "55",
        "node_type": "SamplerCustomAdvanced",
        "exception_message": message,
        "exception_type": kind,
        "traceback": ["x" * 10_000],
        "current_inputs": {"noise": ["tensor" * 1000]},
        "timestamp": 1795380684000,
    }
    start = ["execution_start", {"timestamp": 1795380683531}]
    return {"status_str": "error", "completed": False, "messages": [start, ["execution_error", error]]}


# Text


def test_text_loses_escapes_control_and_bidi_characters() -> None:
    nasty = "a\x1b[31mb\x1b[0m\x1b]0;title\x07c\x00\x07\u202ed\ud800e\x9b2Jf\n  g\u2028h"
    assert replies.clean(nasty) == "abcdef g h"


def test_text_is_cut_to_its_limit_and_shows_it() -> None:
    assert replies.clean("x" * 900, 10) == "x" * 9 + "…"
    assert replies.clean("short", 10) == "short"


@given(st.text(), st.integers(1, 40))
def test_text_is_always_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    shown = replies.clean(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert "\x1b" not in shown
    shown.encode()


def test_a_web_page_is_a_permanent_error() -> None:
    with pytest.raises(LtxflowError, match="a web page, not JSON") as caught:
        replies.load_json(b"\n <html>sign in</html>")
    assert not caught.value.transient
    assert "login" in caught.value.problems[0].hint


@pytest.mark.parametrize("body", [b'{"a": [1, 2', b"", b"[" * 100_000, b"\xff\xfe", b"1" * 5000])
def test_a_body_that_is_not_json_is_transient(body: bytes) -> None:
    with pytest.raises(LtxflowError, match="not JSON") as caught:
        replies.load_json(body)
    assert caught.value.transient


# Submitting


def test_an_accepted_prompt_has_its_id_and_number() -> None:
    assert replies.parse_reply({"prompt_id": ID, "number": 5.0, "node_errors": {}}) == replies.Reply(ID, 5.0)


def test_node_errors_in_an_accepted_prompt_are_problems() -> None:
    error = {"type": "required_input_missing", "message": "Required input is missing", "details": "codec"}
    reply = replies.parse_reply(
        {"prompt_id": ID, "number": 1, "node_errors": {"18": {"errors": [error], "class_type": "SaveVideo"}}}
    )
    assert [p.message for p in reply.problems] == ['SaveVideo "18": required input is missing: codec']


def test_a_refusal_names_every_node_in_a_stable_order() -> None:
    def missing(name: str) -> dict[str, Any]:
        return {"type": "required_input_missing", "message": "Required input is missing", "details": name}

    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        "node_errors": {
            "18": {"errors": [missing("video"), missing("codec")], "class_type": "SaveVideo"},
            "16": {"errors": [missing("av_latent")], "class_type": "LTXVSeparateAVLatent"},
        },
    }
    assert [p.message for p in replies.parse_refusal(body)] == [
        'LTXVSeparateAVLatent "16": required input is missing: av_latent',
        'SaveVideo "18": required input is missing: codec',
        'SaveVideo "18": required input is missing: video',
    ]


def test_a_missing_node_class_has_a_hint() -> None:
    body = {
        "error": {
            "type": "missing_node_type",
            "message": "Node 'My node' not found. The custom node may not be installed.",
            "details": "Node ID '#1'",
        },
        "node_errors": {},
    }
    (problem,) = replies.parse_refusal(body)
    assert problem.message == "node 'My node' not found. The custom node may not be installed.: Node ID '#1'"
    assert "install the node" in problem.hint


def test_a_hundred_refused_nodes_are_not_all_listed() -> None:
    errors = {str(n): {"errors": [{"message": f"bad {n}"}], "class_type": "X"} for n in range(100)}
    problems = replies.parse_refusal({"node_errors": errors})
    assert len(problems) == 21
    assert problems[-1].message == "80 more like these"


def test_a_refusal_in_plain_words_is_quoted() -> None:
    assert replies.parse_refusal({"error": "Job not found\x1b[2J"})[0].message == "Job not found"


# States


def test_a_finished_prompt_lists_its_film_under_images() -> None:
    state = replies.parse_history(ID, history())
    assert state is not None
    assert state.kind == "done"
    assert state.outputs == (replies.OutputFile("89", "b_00002_.mp4", "ltxflow/hook", "output", "images"),)
    assert state.cached_nodes == ("1", "2")
    assert (state.timings.queued_s, state.timings.ran_s) == (0.5, 1.5)


def test_an_empty_history_has_no_state() -> None:
    assert replies.parse_history(ID, {}) is None


def test_a_history_that_is_not_a_mapping_is_an_error() -> None:
    with pytest.raises(LtxflowError, match="not a mapping"):
        replies.parse_history(ID, ["surprise"])


def test_a_failed_prompt_has_the_servers_reason_without_its_traceback() -> None:
    state = replies.parse_history(ID, history(status=failed()))
    assert state is not None
    assert state.kind == "failed"
    assert str(state.error) == 'SamplerCustomAdvanced "55": RuntimeError: boom'
    assert state.timings.ended_ms == 1795380684000


def test_an_error_without_words_still_has_a_reason() -> None:
    state = replies.parse_history(ID, history(status={"status_str": "error"}))
    assert state is not None
    assert str(state.error) == "the server gave no reason"


def test_an_interrupted_prompt_is_cancelled_not_failed() -> None:
    interrupted = ["execution_interrupted", {"node_id": "55", "timestamp": 1}]
    state = replies.parse_history(ID, history(status={"status_str": "error", "messages": [interrupted]}))
    assert state is not None
    assert state.kind == "cancelled"
    assert state.error is None


def test_temp_files_are_not_outputs() -> None:
    items = [
        {"filename": "crop_00001_.png", "subfolder": "", "type": "temp"},
        {"filename": "b_00001_.mp4", "subfolder": "", "type": "output"},
        {"filename": "last_00001_.png", "subfolder": "", "type": "output"},
    ]
    state = replies.parse_history(ID, history(outputs={"9": {"images": items, "animated": [True]}}))
    assert state is not None
    assert [o.filename for o in state.outputs] == ["b_00001_.mp4", "last_00001_.png"]


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [
        ("../../escape.mp4", ""),
        ("/tmp/absolute.mp4", ""),
        ("..\\escape.mp4", ""),
        ("C:escape.mp4", ""),
        ("..", ""),
        ("con\x1b[2Jtrol.mp4", ""),
        ("line\nbreak.mp4", ""),
        ("right\u202eleft.mp4", ""),
        ("lone\ud800.mp4", ""),
        ("", ""),
        ("a" * 300, ""),
        (7, ""),
        (None, ""),
        ("b.mp4", "../up"),
        ("b.mp4", "/etc"),
        ("b.mp4", "a//b"),
        ("b.mp4", "C:\\x"),
        ("b.mp4", ["x"]),
    ],
)
def test_hostile_names_are_refused_and_listed(filename: Any, subfolder: Any) -> None:
    item = {"filename": filename, "subfolder": subfolder, "type": "output"}
    state = replies.parse_history(ID, history(outputs={"9": {"images": [item]}}))
    assert state is not None
    assert state.outputs == ()
    assert len(state.refused) == 1
    assert replies.clean(state.refused[0]) == state.refused[0]


def test_a_windows_servers_subfolder_is_accepted_as_it_is() -> None:
    item = {"filename": "b.mp4", "subfolder": "ltxflow\\hook", "type": "output"}
    state = replies.parse_history(ID, history(outputs={"9": {"images": [item]}}))
    assert state is not None
    assert state.outputs[0].subfolder == "ltxflow\\hook"


@pytest.mark.parametrize(
    ("status", "kind"),
    [("pending", "queued"), ("in_progress", "running"), ("paused in 2030", "queued"), (None, "queued")],
)
def test_a_job_that_is_known_is_neither_lost_nor_over(status: Any, kind: str) -> None:
    state = replies.parse_job(ID, {"id": ID, "status": status, "create_time": 5})
    assert state.kind == kind
    assert not state.is_over
    assert state.timings.created_ms == 5


def test_a_job_is_read_like_a_history_entry() -> None:
    entry = history()[ID]
    job = {
        "id": ID,
        "status": "completed",
        "create_time": 1795380683031,
        "execution_start_time": 1795380683531,
        "execution_end_time": 1795380685031,
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": {}},
    }
    assert replies.parse_job(ID, job) == replies.parse_history(ID, history())


def test_a_failed_job_has_its_error_and_a_cancelled_one_none() -> None:
    error = failed()["messages"][1][1]
    job = {"id": ID, "status": "failed", "execution_error": error, "outputs": {}}
    assert str(replies.parse_job(ID, job).error) == 'SamplerCustomAdvanced "55": RuntimeError: boom'
    job = {"id": ID, "status": "cancelled", "execution_status": {"status_str": "error"}}
    assert replies.parse_job(ID, job) == replies.JobState("cancelled")


def test_another_jobs_state_is_not_taken_for_ours() -> None:
    with pytest.raises(LtxflowError, match="the answer for job"):
        replies.parse_job(ID, {"id": OTHER, "status": "completed"})


def test_the_queue_is_read_in_the_order_it_runs() -> None:
    rows = [[7.0, "c", {}, {}, []], [-3.0, "a", {}, {}, []], [5, "b", {}, {}, []]]  # heap order
    body = {"queue_running": [[9, "r", {}, {}, []]], "queue_pending": rows}
    entries = replies.parse_queue(body)
    assert [e.prompt_id for e in entries] == ["r", "a", "b", "c"]
    assert [e.is_running for e in entries] == [True, False, False, False]


def test_an_answer_without_a_queue_is_not_an_empty_queue() -> None:
    with pytest.raises(LtxflowError):
        replies.parse_queue({"detail": "Not Found"})


def test_the_list_of_jobs_gives_those_that_run_or_wait() -> None:
    jobs = [
        {"id": "b", "status": "pending", "priority": 8},
        {"id": "a", "status": "pending", "priority": 7},
        {"id": "x", "status": "completed", "priority": 1},
        {"id": "r", "status": "in_progress", "priority": 6},
    ]
    assert [e.prompt_id for e in replies.parse_jobs({"jobs": jobs})] == ["r", "a", "b"]


def test_system_stats_are_sizes_in_bytes_and_clean_names() -> None:
    body = {
        "system": {"comfyui_version": "0.27.0", "python_version": "3.12", "os": "posix", "ram_total": 64},
        "devices": [{"name": "cuda:0 RTX 5090\x1b[0m", "type": "cuda", "vram_total": 32 << 30, "vram_free": 1}],
    }
    stats = replies.parse_stats(body)
    assert (stats.version, stats.ram_total) == ("0.27.0", 64)
    assert stats.devices == (replies.Device("cuda:0 RTX 5090", "cuda", 32 << 30, 1),)


def test_another_service_on_that_port_is_not_comfyui() -> None:
    with pytest.raises(LtxflowError, match="not from ComfyUI"):
        replies.parse_stats({"status": "ok"})


def test_an_uploads_reference_uses_the_name_the_server_gave() -> None:
    body = {"name": "u (1).png", "subfolder": "ltxflow", "type": "input"}
    assert replies.parse_upload(body) == "ltxflow/u (1).png"
    assert replies.parse_upload({"name": "u.png", "subfolder": "", "type": "input"}) == "u.png"


@pytest.mark.parametrize(
    "body", [{}, {"name": "../x.png"}, {"name": "x", "subfolder": "../.."}, {"name": "x", "type": "temp"}]
)
def test_an_upload_that_went_elsewhere_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(LtxflowError):
        replies.parse_upload(body)


def test_models_with_control_characters_in_their_names_do_not_exist() -> None:
    assert replies.parse_models(["b.safetensors", "sub/a.safetensors", "x\x1b[2J", 7]) == (
        "b.safetensors",
        "sub/a.safetensors",
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "torch.OutOfMemoryError",
            "Allocation on device \nThis error means you ran out of memory on your GPU.",
        ),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("MemoryError", ""),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_is_recognised_and_not_merely_retried(kind: str, message: str) -> None:
    error = replies.ServerError(kind, message)
    assert replies.is_oom(error)
    assert not replies.is_transient(error)


@pytest.mark.parametrize(
    ("node", "message", "is_unwritable"),
    [
        ("SaveVideo", "[Errno 28] No space left on device: '/out/a_00001_.mp4'", True),
        ("KSampler", "[WinError 112] There is not enough space on the disk", True),
        ("SaveImage", "[Errno 13] Permission denied: '/out'", True),
        ("LoraLoaderModelOnly", "[Errno 13] Permission denied: '/models/loras/mine.safetensors'", False),
        ("SaveVideo", "'avcodec_send_frame()' returned 22", False),
    ],
)
def test_a_server_that_cannot_write_differs_from_a_clip_that_cannot_be_made(
    node: str, message: str, is_unwritable: bool
) -> None:
    error = replies.ServerError("OSError", message, node_type=node)
    assert replies.is_unwritable(error) is is_unwritable
    assert not replies.is_transient(error)


def test_only_what_may_pass_is_transient() -> None:
    assert replies.is_transient(replies.ServerError("RuntimeError", "CUDA error: unspecified launch failure"))
    assert not replies.is_transient(replies.ServerError("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"))
    assert [s for s in (200, 302, 400, 404, 408, 413, 429, 500, 502, 503) if replies.is_transient(s)] == [
        408,
        429,
        500,
        502,
        503,
    ]


# Frames


def frame(kind: str, **data: Any) -> tuple[websocket.Progress, ...]:
    return websocket.parse_frame(json.dumps({"type": kind, "data": {"prompt_id": ID, **data}}))


def test_a_prompts_frames_become_its_progress() -> None:
    assert frame("execution_start") == (websocket.Started(ID),)
    assert frame("execution_cached", nodes=["1"]) == (websocket.NodeDone(ID, "1", is_cached=True),)
    assert frame("executing", node="55") == (websocket.NodeRunning(ID, "55"),)
    assert frame("progress", node="55", value=3, max=8) == (websocket.NodeProgress(ID, "55", 3.0, 8.0),)
    assert frame("executed", node="89", output={}) == (websocket.NodeDone(ID, "89"),)
    assert frame("executing", node=None) == (websocket.Finished(ID),)


def test_the_cumulative_frame_has_finished_nodes_and_the_progress_of_the_running_one() -> None:
    nodes = {
        "1": {"state": "finished", "value": 1, "max": 1},
        "2": {"state": "running", "value": 0.5, "max": 1},
    }
    assert frame("progress_state", nodes=nodes) == (
        websocket.NodeDone(ID, "1"),
        websocket.NodeProgress(ID, "2", 0.5, 1.0),
    )


def test_success_is_not_yet_finished_for_history_may_be_late() -> None:
    assert frame("execution_success") == ()


def test_errors_and_interruptions_are_failures() -> None:
    (event,) = frame("execution_error", exception_type="X", exception_message="no\x1b[0m", node_id="5")
    assert event == websocket.Failed(ID, replies.ServerError("X", "no", "5"))
    (event,) = frame("execution_interrupted", node_id="5", node_type="K")
    assert event == websocket.Failed(ID, replies.ServerError("", "interrupted", "5", "K"))


def test_the_length_of_the_queue_needs_no_prompt() -> None:
    text = '{"type":"status","data":{"status":{"exec_info":{"queue_remaining":2}},"sid":"X"}}'
    assert websocket.parse_frame(text) == (websocket.QueueChanged(2),)


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\x00\x00\x01\x00\x00\x00\x02png",
        "",
        "{",
        "[" * 100_000,
        "null",
        '{"type": "progress", "data": {"prompt_id": 7, "node": "1", "value": 1, "max": 2}}',
        '{"type": "progress", "data": {"prompt_id": "x", "node": "1", "value": NaN, "max": 1e999}}',
        '{"type": "executing", "data": {"prompt_id": "x"}}',
        '{"type": ["executing"], "data": {"prompt_id": "x"}}',
    ],
)
def test_frames_that_make_no_sense_say_nothing(text: str | bytes) -> None:
    assert websocket.parse_frame(text) == ()


# Whatever comes


@given(ANY_JSON)
def test_no_reply_raises_anything_but_our_error(body: Any) -> None:
    for parse in (
        replies.parse_reply,
        replies.parse_refusal,
        replies.parse_queue,
        replies.parse_jobs,
        replies.parse_remaining,
        replies.parse_stats,
        replies.parse_upload,
        replies.parse_cancelled,
        replies.parse_models,
        lambda b: replies.parse_history(ID, b),
        lambda b: replies.parse_history(ID, {ID: b}),
        lambda b: replies.parse_job(ID, b),
        lambda b: replies.parse_job(ID, {"id": ID, "status": "failed", "outputs": b, "execution_status": b}),
        lambda b: websocket.parse_frame(json.dumps(b)),
        lambda b: websocket.parse_frame(json.dumps({"type": "progress_state", "data": {"prompt_id": ID, "nodes": b}})),
    ):
        with suppress(LtxflowError):
            parse(body)
