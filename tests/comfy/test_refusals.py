"""Promises of comfy/refusals.py: a server's refusal is worded as by our check, at the clip's line."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from fakes.comfyui import MODELS_LTX2
from fakes.graphs import Validator, with_models
from harness.graphs import (
    NEWEST,
    NONE,
    OLDEST,
    PLACES,
    SAMPLES,
    SERVERS,
    image_to_video,
    node,
    text_to_video,
    values,
    with_,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.comfy.adapt import adapt_graph
from ltxflow.comfy.checks import check_graph, reword
from ltxflow.comfy.replies import parse_refusal, parse_reply
from ltxflow.comfy.signatures import Signatures, recorded_info, versions
from ltxflow.core.errors import Problem, Span

Graph = dict[str, Any]
SPAN = Span("film/project.yaml", 7, 9)


def refusal(graph: Graph, version: str, exists: bool = True) -> tuple[Problem, ...]:
    """Return the server's parsed refusal of a graph, () if it accepts it."""
    info = with_models(recorded_info(version), MODELS_LTX2, {})
    error, _, node_errors = Validator(copy.deepcopy(graph), info, lambda name: exists).run(None)
    if error:
        return parse_refusal(json.loads(json.dumps({"error": error, "node_errors": node_errors})))
    body = {"prompt_id": "x", "number": 1, "node_errors": node_errors}
    return parse_reply(json.loads(json.dumps(body))).problems


def reworded(graph: Graph, version: str, signatures: Signatures | None = None, exists: bool = True) -> list[Problem]:
    problems = refusal(graph, version, exists)
    found = reword(problems, graph, signatures or SERVERS[version], template="t2v", span=SPAN, server="bench")
    assert all(problem.span == SPAN for problem in found)
    return list(found)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize(("code", "graph", "message", "hint"), SAMPLES)
def test_the_server_and_our_check_say_the_same(code: str, graph: Graph, message: str, hint: str, version: str) -> None:
    """Of all that the server looks at: shapes (N100, N104) and allowances (N102) are ours alone."""
    if code in ("N100", "N102", "N104"):
        return
    adapted, _ = adapt_graph(graph, SERVERS[version])
    ours = check_graph(graph, SERVERS[version], template="t2v", allowed=NONE)
    (problem,) = reworded(adapted, version)
    assert (problem.code, problem.message, problem.hint) in [
        (mine.code, f"bench: {mine.message}", mine.hint) for mine in ours
    ]


@settings(deadline=None)
@given(
    st.sampled_from(versions()),
    st.lists(st.tuples(st.sampled_from(PLACES), values | st.just("GONE")), min_size=1, max_size=2),
)
def test_whatever_the_server_refuses_is_one_of_our_sentences(
    version: str, changes: list[tuple[tuple[str, str], Any]]
) -> None:
    graph = image_to_video()
    for (node_id, name), value in changes:
        graph[node_id]["inputs"][name] = value
        if value == "GONE":
            del graph[node_id]["inputs"][name]
    adapted, _ = adapt_graph(graph, SERVERS[version])
    ours = check_graph(adapted, SERVERS[version], template="t2v", allowed=NONE)
    mine = [f"bench: {problem.message}" for problem in ours if problem.level == "error"]
    assert [problem.message for problem in reworded(adapted, version) if problem.message not in mine] == []


def test_what_only_the_node_knows_is_quoted() -> None:
    (problem,) = reworded(image_to_video(), NEWEST, exists=False)
    assert problem.code == "N118"
    assert problem.message == (
        "bench: the node rejects its inputs: image - Invalid image file: ltxflow/0123456789abcdef.png "
        'in node "30" (LoadImage) of template "t2v"'
    )


def test_a_list_that_the_server_keeps_to_itself_is_counted() -> None:
    """A list of more than twenty choices is given by its length, and cached signatures may be older."""
    graph = with_({"10.lora_name": "absent.safetensors"})
    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "…"},
        "node_errors": {
            "10": {
                "class_type": "LoraLoaderModelOnly",
                "errors": [
                    {
                        "type": "value_not_in_list",
                        "message": "Value not in list",
                        "details": "lora_name: 'absent.safetensors' not in (list of length 21)",
                        "extra_info": {"input_name": "lora_name", "input_config": None},
                    }
                ],
            }
        },
    }
    problems = parse_refusal(body)
    (problem,) = reword(problems, graph, None, template="t2v", span=SPAN, server="bench")
    assert problem.code == "N117"
    assert 'file "absent.safetensors" for "lora_name" is not in the server\'s folder "loras"' in problem.message
    assert problem.hint == "put it in ComfyUI/models/loras there"


def test_the_bounds_that_count_are_those_of_the_server_and_not_of_older_signatures() -> None:
    (problem_,) = refusal(with_({"40.width": 0}), OLDEST)
    reason = problem_.reason  # type: ignore[attr-defined]  # a Refused
    reason.extra["input_config"][1]["min"] = 32
    (problem,) = reword([problem_], with_({"40.width": 0}), SERVERS[OLDEST], template="", span=None, server="bench")
    assert "below the minimum of 32" in problem.message


def test_without_signatures_and_for_strange_reasons_there_is_still_a_sentence() -> None:
    body = {
        "node_errors": {
            "40": {
                "class_type": "X",
                "errors": [{"type": "a_new_type", "message": "m", "details": "what\x1b[2J ever"}],
            },
            "77": {"class_type": "Y", "errors": [{"type": "value_not_in_list", "details": "z"}, {}, 5]},
        }
    }
    problems = parse_refusal(body)
    found = reword(problems, text_to_video(), None, template="t2v", span=SPAN, server="bench")
    texts = [problem.message for problem in found]
    assert (
        'bench: the node rejects its inputs: what ever in node "40" (EmptyLTXVLatentVideo) of template "t2v"' in texts
    )
    assert all("\x1b" not in text for text in texts)


def test_a_ring_is_one_finding_though_each_of_its_nodes_has_it() -> None:
    ring = with_({"50.video_latent": ["56", 0]})
    (problem,) = reworded(ring, NEWEST)
    assert problem.code == "N115"
    assert "50 ← 56 ← 55 ← 50" in problem.message


def test_a_class_that_a_server_lacks_is_named_with_its_node() -> None:
    graph = text_to_video() | {"9": node("VHS_VideoCombine", "film")}
    (problem,) = reworded(graph, NEWEST)
    assert (
        problem.message
        == 'bench: unknown class "VHS_VideoCombine" in node "9" (VHS_VideoCombine, "film") of template "t2v"'
    )
    assert problem.hint == "install the custom node on the server"


json_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TYPES = ["required_input_missing", "bad_linked_input", "return_type_mismatch", "invalid_input_type", "dependency_cycle"]
TYPES += ["value_smaller_than_min", "value_bigger_than_max", "value_not_in_list", "custom_validation_failed"]
TYPES += ["exception_during_validation", "exception_during_inner_validation", "?"]


@settings(deadline=None)
@given(
    st.sampled_from(TYPES),
    st.sampled_from([*image_to_video(), "nowhere"]),
    st.sampled_from(["width", "format", "vae", "resize_type.width"]) | json_anything,
    st.dictionaries(
        st.sampled_from(["input_config", "received_value", "received_type", "linked_node", "cycle_nodes"]),
        json_anything,
    ),
    json_anything,
)
def test_no_refusal_makes_it_raise(type_: str, node_id: str, name: Any, extra: Graph, details: Any) -> None:
    error = {"type": type_, "message": details, "details": details, "extra_info": {"input_name": name, **extra}}
    problems = parse_refusal({"node_errors": {node_id: {"class_type": "SaveVideo", "errors": [error]}}})
    for signatures in (None, SERVERS[NEWEST]):
        found = reword(problems, image_to_video(), signatures, template="t2v", span=SPAN, server="bench")
        assert found
        assert all(problem.code.startswith("N1") for problem in found)
        hash(found)  # they are collected without doubles
