"""Promises of comfy/adapt.py: which inputs are renamed, filled or left alone for a server's signatures."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fakes.comfyui import MODELS_LTX2
from fakes.graphs import Validator, with_models
from harness.graphs import (
    NEWEST,
    NONE,
    OLDEST,
    PLACES,
    SERVERS,
    check,
    image_to_video,
    node,
    text_to_video,
    values,
    with_,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.comfy.adapt import adapt_graph
from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.signatures import Signatures, recorded_info, versions

Graph = dict[str, Any]
FLAT = {"89.codec": "h264"}
NESTED = {"89.codec": None, "89.format.codec": "h264"}


def adapted(graph: Graph, signatures: Signatures) -> tuple[Graph, list[str]]:
    made, changes = adapt_graph(graph, signatures)
    return made, [str(change) for change in changes]


def server(*required: tuple[str, Any], **more: Any) -> Signatures:
    """A server of the newest version whose CreateVideo asks for more."""
    info = copy.deepcopy(recorded_info(NEWEST))
    info["CreateVideo"]["input"]["required"] |= dict(required) | more
    return Signatures.from_object_info(with_models(info, MODELS_LTX2, {}))


@pytest.mark.parametrize(
    ("version", "given", "fits"),
    [(OLDEST, FLAT, FLAT), (OLDEST, NESTED, FLAT), (NEWEST, FLAT, NESTED), (NEWEST, NESTED, NESTED)],
)
def test_a_nested_choice_is_spelled_as_the_server_declares_it(version: str, given: Graph, fits: Graph) -> None:
    graph = with_(given)
    made, changes = adapted(graph, SERVERS[version])
    assert made == with_(fits)
    assert changes == (
        []
        if given == fits
        else [
            f'SaveVideo "89": {["codec", "format.codec"][version == NEWEST]} written for '
            f"{['codec', 'format.codec'][version != NEWEST]}"
        ]
    )


def test_what_fits_is_left_as_it_is() -> None:
    for version in versions():
        graph = with_(FLAT if version == OLDEST else NESTED, image_to_video())
        made, changes = adapt_graph(graph, SERVERS[version])
        assert (made, changes) == (graph, ())
        assert all(made[node_id] is graph[node_id] for node_id in graph)


def test_a_graph_that_is_given_is_not_changed() -> None:
    graph = text_to_video()
    before = copy.deepcopy(graph)
    adapt_graph(graph, SERVERS[NEWEST])
    assert graph == before


def test_deeper_choices_are_found_by_their_last_name() -> None:
    deep = {"89.codec": "h264", "89.encoding": "re-encode", "89.crf": 18.0, "89.color_space": "auto"}
    made, changes = adapted(with_(deep), SERVERS[NEWEST])
    assert made["89"]["inputs"] == {
        "video": ["88", 0],
        "filename_prefix": "x",
        "format": "mp4",
        "format.codec": "h264",
        "format.codec.encoding": "re-encode",
        "format.codec.encoding.crf": 18.0,
        "format.codec.encoding.color_space": "auto",
    }
    assert len(changes) == 4
    assert check(made, SERVERS[NEWEST]) == []


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (["FLOAT", {"default": 0.5}], 0.5),
        (["INT", {"default": 0}], 0),
        (["BOOLEAN", {"default": False}], False),
        (["STRING", {"default": ""}], ""),
        (["COMBO", {"options": ["a", "b"], "default": "b"}], "b"),
        (["COMBO", {"options": ["a", "b"]}], "a"),  # as the web interface does
        ([["a", "b"], {}], "a"),
        (["CURVE", {"default": [1, 2, 3]}], {"__value__": [1, 2, 3]}),
        (["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "x", "inputs": {}}, {"key": "y", "inputs": {}}]}], "x"),
    ],
)
def test_what_a_newer_server_asks_for_is_filled_with_its_default(spec: Any, value: Any) -> None:
    signatures = server(novelty=spec)
    made, changes = adapted(with_(NESTED), signatures)
    assert made["88"]["inputs"]["novelty"] == value
    assert len(changes) == 1
    assert changes[0].startswith('CreateVideo "88": novelty = ')
    assert check_graph(with_(NESTED), signatures, allowed=NONE) == []  # the template omitted nothing


@pytest.mark.parametrize(
    "spec",
    [
        ["IMAGE"],
        ["FLOAT", {"min": 0}],
        ["STRING", {}],
        ["COMBO", {"options": []}],
        ["COMBO", {"options": ["a"], "default": "z"}],
        ["COMBO", {"options": ["x.safetensors"]}],  # which file is nothing to guess
        ["COMBO", {"options": ["x.png"], "image_upload": True}],
    ],
)
def test_without_a_default_an_input_stays_missing(spec: Any) -> None:
    signatures = server(novelty=spec)
    made, changes = adapted(with_(NESTED), signatures)
    assert "novelty" not in made["88"]["inputs"]
    assert changes == []
    (problem,) = check_graph(with_(NESTED), signatures, allowed=NONE)
    assert (problem.code, problem.level) == ("N105", "error")


def test_what_a_chosen_default_asks_for_is_filled_too() -> None:
    inner = {"required": {"strength": ["FLOAT", {"default": 0.25}]}}
    signatures = server(mode=["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "soft", "inputs": inner}]}])
    made, _ = adapted(with_(NESTED), signatures)
    assert made["88"]["inputs"]["mode"] == "soft"
    assert made["88"]["inputs"]["mode.strength"] == 0.25


def test_a_misspelt_input_is_not_covered_by_a_default() -> None:
    graph = with_({"88.fps": None, "88.fpss": 12.0})
    for version in versions():
        assert adapted(graph, SERVERS[version])[0]["88"] == graph["88"]
        assert [p.code for p in check(graph, SERVERS[version])] == ["N105"]


def test_choices_of_unknown_classes_and_broken_nodes_are_left_alone() -> None:
    graph = {"1": 5, "2": {"class_type": "X"}, "3": node("X", codec="h264"), "4": {"inputs": {}}}
    assert adapt_graph(graph, SERVERS[NEWEST]) == (graph, ())


names = st.sampled_from(["codec", "format", "format.codec", "format.codec.encoding", "encoding", "crf", "resize_type"])


@settings(deadline=None)
@given(
    st.sampled_from(versions()),
    st.lists(st.tuples(st.sampled_from(PLACES), values | st.just("GONE")), max_size=3),
    st.dictionaries(names, values, max_size=3),
)
def test_adapting_twice_changes_nothing_and_keeps_every_value(
    version: str, changes: list[tuple[tuple[str, str], Any]], more: Graph
) -> None:
    graph = image_to_video()
    graph["89"]["inputs"] |= more
    for (node_id, name), value in changes:
        graph[node_id]["inputs"][name] = value
        if value == "GONE":
            del graph[node_id]["inputs"][name]
    made, changed = adapt_graph(graph, SERVERS[version])
    again, nothing = adapt_graph(made, SERVERS[version])
    assert repr(again) == repr(made)  # NaN is not equal to itself
    assert nothing == ()
    for node_id, one in graph.items():
        kept = sorted(map(repr, one["inputs"].values()))
        filled = sorted(repr(c.value) for c in changed if c.node == node_id and not c.was)
        assert sorted(map(repr, made[node_id]["inputs"].values())) == sorted(kept + filled)


@settings(deadline=None)
@given(
    st.sampled_from(versions()),
    st.lists(st.tuples(st.sampled_from(PLACES), values | st.just("GONE")), min_size=1, max_size=2),
)
def test_the_check_finds_an_error_where_the_server_refuses_and_nowhere_else(
    version: str, changes: list[tuple[tuple[str, str], Any]]
) -> None:
    """By the fake's own validation, which shares no code with ours and is compared with real servers."""
    graph = image_to_video()
    for (node_id, name), value in changes:
        graph[node_id]["inputs"][name] = value
        if value == "GONE":
            del graph[node_id]["inputs"][name]
    problems = check(graph, SERVERS[version])
    made, _ = adapt_graph(graph, SERVERS[version])
    info = with_models(recorded_info(version), MODELS_LTX2, {})
    refused, _, node_errors = Validator(copy.deepcopy(made), info, lambda name: True).run(None)
    is_refused = bool(refused or node_errors)
    assert bool([p for p in problems if p.level == "error"]) == is_refused, (problems, refused, node_errors)
