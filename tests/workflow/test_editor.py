"""Promises of workflow/editor.py, document.py and widgets.py: a saved workflow converts as the editor exports it.

That the drawings of fakes/editor.py are what the editor saves was tried with ComfyUI's editor 1.49.6: it loads them,
and exports the graphs that they were drawn from.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from fakes.editor import (
    Sheet,
    completed,
    connect,
    drawn,
    into_subgraph,
    next_id,
    node_of,
    real_links,
    with_bypassed,
    with_primitive,
    with_reroute,
    with_set_and_get,
    with_side_shows,
)
from fakes.workflows import SHAPES, Graph, image_to_video, node, text_to_video, with_primitives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltxflow.comfy.graph import canonical_graph
from ltxflow.comfy.signatures import Signatures
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.workflow.editor import MAX_NODES, ConvertedWorkflow, export, is_editor
from ltxflow.workflow.importer import recognise
from ltxflow.workflow.widgets import assign, line_finder

OF_CORE = {name: graph for name, graph in SHAPES.items() if name != "classic"}
WIDGETS = ("text", "noise_seed", "width", "height", "length", "cfg", "frame_rate", "fps", "strength", "frame_idx")


def exported(sheet: Sheet, *more: Signatures) -> ConvertedWorkflow:
    return export(json.loads(json.dumps(sheet)), [*more, Signatures.recorded()])


def form(graph: Graph) -> dict[str, Any]:
    """What a graph makes, whatever its nodes are called."""
    return canonical_graph(graph, {"video": next(id for id, one in graph.items() if one["class_type"] == "SaveVideo")})


def same(sheet: Sheet, graph: Graph) -> bool:
    return form(exported(sheet).graph) == form(completed(graph))


def refused(sheet: Any) -> Problem:
    text = json.dumps(sheet, indent=1)
    with pytest.raises(LtxflowError) as caught:
        export(json.loads(text), [Signatures.recorded()], line_finder(text, "mine.json"))
    (problem,) = caught.value.problems
    assert problem.hint
    return problem


def by_class(graph: Graph, class_: str) -> list[dict[str, Any]]:
    return [one["inputs"] for one in graph.values() if one["class_type"] == class_]


# --- the same workflow, however it is drawn


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("shape", OF_CORE)
def test_a_flat_workflow(shape: str, objects: bool) -> None:
    found = exported(drawn(OF_CORE[shape], objects=objects))
    assert form(found.graph) == form(completed(OF_CORE[shape]))
    assert found.notes == ()


@given(data=st.data(), shape=st.sampled_from(sorted(OF_CORE)), objects=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_done_to_its_looks(data: st.DataObject, shape: str, objects: bool) -> None:
    sheet = drawn(OF_CORE[shape], objects=objects)
    for number in range(data.draw(st.integers(1, 6))):
        levels = [sheet, *sheet.get("definitions", {}).get("subgraphs", [])]
        level = data.draw(st.sampled_from(range(len(levels))))
        _change(data, sheet, levels[level], number)
    assert same(sheet, OF_CORE[shape])


def _change(data: st.DataObject, root: Sheet, sheet: Sheet, number: int) -> None:
    links, ids = real_links(sheet), sorted(one["id"] for one in sheet["nodes"])
    ways = ["reroute", "set and get", "bypassed", "primitive", "subgraph", "proxies"]
    match data.draw(st.sampled_from(ways)):
        case "reroute" if links:
            with_reroute(root, sheet, data.draw(st.sampled_from(links))[0])
        case "set and get" if links:
            with_set_and_get(root, sheet, data.draw(st.sampled_from(links))[0], f"value {number}")
        case "bypassed" if links:
            with_bypassed(root, sheet, data.draw(st.sampled_from(links))[0])
        case "primitive":
            with_primitive(root, sheet, data.draw(st.sampled_from(ids)), data.draw(st.sampled_from(WIDGETS)))
        case "subgraph" | "proxies" as way:
            kept = {"SaveVideo", "SetNode", "GetNode", "PrimitiveNode"}  # what belongs together stays together
            named = {int(entry[0]) for one in _hosts(root) for entry in one["properties"].get("proxyWidgets", [])}
            movable = [id for id in ids if node_of(sheet, id)["type"] not in kept and id not in named]
            inside = data.draw(st.sets(st.sampled_from(movable), min_size=1)) if movable else set()
            fed = {target for _, source, _, target, _ in links if node_of(sheet, source)["type"] == "PrimitiveNode"}
            names = [(id, name) for id in sorted(inside - fed) for name in data.draw(st.sets(st.sampled_from(WIDGETS)))]
            if inside:
                into_subgraph(root, sheet, inside - fed or inside, promote=names, proxies=way == "proxies")


def _hosts(root: Sheet) -> list[dict[str, Any]]:
    levels = [root, *root.get("definitions", {}).get("subgraphs", [])]
    return [one for level in levels for one in level["nodes"] if "-" in one["type"]]


def test_notes_groups_and_muted_nodes_are_left_out() -> None:
    sheet = drawn(text_to_video())
    with_side_shows(sheet)
    found = exported(sheet)
    assert form(found.graph) == form(completed(text_to_video()))
    assert not {"Note", "MarkdownNote", "LoadImage"} & {one["class_type"] for one in found.graph.values()}
    assert found.notes == ("1 muted node: left out",)


def test_one_subgraph_in_two_places_has_two_sets_of_values() -> None:
    sheet = drawn(text_to_video())
    text = next(one for one in sheet["nodes"] if one.get("title") == "yes")
    host = into_subgraph(sheet, sheet, {text["id"]}, promote=[(text["id"], "text")])
    other = copy.deepcopy(node_of(sheet, host)) | {"id": next_id(sheet, sheet)}
    other["inputs"] = [slot | {"link": None} for slot in other["inputs"]]
    other["widgets_values"] = ["a cellar" if value == "a vault opens" else value for value in other["widgets_values"]]
    sheet["nodes"].append(other)
    texts = {id: one["inputs"]["text"] for id, one in exported(sheet).graph.items() if id.endswith(f":{text['id']}")}
    assert texts == {f"{host}:{text['id']}": "a vault opens", f"{other['id']}:{text['id']}": "a cellar"}


def test_ids_of_nodes_in_subgraphs_name_the_way_to_them() -> None:
    sheet = drawn(text_to_video())
    inner = sorted(one["id"] for one in sheet["nodes"])[2:8]
    outer = into_subgraph(sheet, sheet, set(inner))
    second = into_subgraph(sheet, sheet["definitions"]["subgraphs"][0], set(inner[:2]))
    graph = exported(sheet).graph
    assert {f"{outer}:{id}" for id in inner[2:]} | {f"{outer}:{second}:{id}" for id in inner[:2]} <= graph.keys()


# --- bypassed and muted


def bypassed(class_: str, source: tuple[int, int], target: tuple[int, str], inputs: list[str], type_: str) -> Graph:
    """A node of a class put into a link, bypassed, and what comes out."""
    sheet = drawn(image_to_video())
    id = next_id(sheet, sheet)
    outputs = [{"name": one, "type": one, "links": []} for one in Signatures.recorded().classes[class_].outputs]
    sheet["nodes"].append({"id": id, "type": class_, "mode": 4, "inputs": [], "outputs": outputs, "widgets_values": []})
    for name in inputs:
        connect(sheet, *source, id, name, type_=type_)
    connect(sheet, id, 0, *target)
    return exported(sheet).graph


def test_a_link_through_a_bypassed_node_continues_at_an_input_of_its_type() -> None:
    ids = {one["type"]: one["id"] for one in drawn(image_to_video())["nodes"]}
    resize, load = ids["ResizeImageMaskNode"], ids["LoadImage"]
    graph = bypassed("ImageScaleBy", (load, 0), (resize, "input"), ["image"], "IMAGE")
    assert graph[str(resize)]["inputs"]["input"] == [str(load), 0]


def test_where_no_input_fits_the_link_ends() -> None:
    ids = {one["type"]: one["id"] for one in drawn(image_to_video())["nodes"]}
    load, resize = ids["LoadImage"], ids["ResizeImageMaskNode"]
    graph = bypassed("VAEDecode", (load, 0), (resize, "input"), [], "IMAGE")
    assert "input" not in graph[str(resize)]["inputs"]


def test_links_from_a_muted_node_are_gone() -> None:
    sheet = drawn(image_to_video())
    load = next(one for one in sheet["nodes"] if one["type"] == "LoadImage")
    load["mode"] = 2
    graph = exported(sheet).graph
    assert str(load["id"]) not in graph
    assert all("input" not in inputs for inputs in by_class(graph, "ResizeImageMaskNode"))


def test_a_bypassed_subgraph_is_passed_through_and_a_muted_one_gone() -> None:
    for mode, is_through in ((4, True), (2, False)):
        sheet = drawn(image_to_video())
        ids = {one["type"]: one["id"] for one in sheet["nodes"]}
        host = into_subgraph(sheet, sheet, {ids["ResizeImageMaskNode"]})
        node_of(sheet, host)["mode"] = mode
        graph = exported(sheet).graph
        assert not by_class(graph, "ResizeImageMaskNode")
        (inputs,) = by_class(graph, "LTXVPreprocess")
        assert (inputs.get("image") == [str(ids["LoadImage"]), 0]) is is_through


# --- values


def values(class_: str, listed: Any, named: dict[str, Any] | None = None) -> dict[str, Any]:
    found = assign([Signatures.recorded().classes[class_]], listed, named or {}, [])
    assert found is not None
    return found.values


def test_the_control_of_a_seed_is_not_a_value() -> None:
    assert values("RandomNoise", [5, "randomize"]) == {"noise_seed": 5}
    assert values("RandomNoise", [5]) == {"noise_seed": 5}  # of a version that did not say it


def test_a_choice_adds_its_inputs() -> None:
    plain = values("ResizeImageMaskNode", ["scale longer dimension", 1536, "area"])
    assert plain == {"resize_type": "scale longer dimension", "resize_type.longer_size": 1536, "scale_method": "area"}
    sizes = values("ResizeImageMaskNode", ["scale dimensions", 1280, 720, "center", "lanczos"])
    assert (sizes["resize_type.width"], sizes["resize_type.height"], sizes["scale_method"]) == (1280, 720, "lanczos")


def test_choices_inside_choices() -> None:
    def choice(**options: Any) -> list[Any]:
        keyed = [{"key": key, "inputs": inputs} for key, inputs in options.items()]
        return ["COMFY_DYNAMICCOMBO_V3", {"options": keyed}]

    inner = choice(h264={"optional": {"quality": ["INT", {"default": 5}]}}, auto={"required": {}})
    info = {
        "Save": {"input": {"required": {"format": choice(mp4={"required": {"codec": inner}}), "last": ["INT", {}]}}}
    }
    found = assign([Signatures.from_object_info(info).classes["Save"]], ["mp4", "h264", 7, 1], {}, [])
    assert found
    assert found.values == {"format": "mp4", "format.codec": "h264", "format.codec.quality": 7, "last": 1}


def test_inputs_that_take_a_link_only_have_no_value_or_had_one_once() -> None:
    inputs = {"a": ["INT", {"forceInput": True}], "b": ["INT", {}], "c": ["STRING", {}]}
    signature = Signatures.from_object_info({"X": {"input": {"required": inputs}}}).classes["X"]
    for listed in ([2, "x"], [1, 2, "x"]):
        found = assign([signature], listed, {}, [])
        assert found
        assert found.values == {"b": 2, "c": "x"}


def test_of_two_versions_the_one_that_fits_is_taken() -> None:
    def version(**inputs: Any) -> Any:
        return Signatures.from_object_info({"X": {"input": {"required": inputs}}}).classes["X"]

    old = version(width=["INT", {}], method=[["area", "lanczos"]])
    new = version(width=["INT", {}], is_tiled=["BOOLEAN", {"default": False}], method=[["area", "lanczos"]])
    for listed, expected in ([[640, "area"], {"width": 640, "method": "area"}], [[640, True, "area"], None]):
        found = assign([new, old], listed, {}, [])
        assert found
        assert found.values == (expected or {"width": 640, "is_tiled": True, "method": "area"})


def test_missing_values_are_the_defaults() -> None:
    assert values("KSamplerSelect", []) == {"sampler_name": "euler"}
    assert values("CreateVideo", None)["fps"] == 30.0


def test_a_value_of_another_version_is_replaced_by_the_default_with_a_note() -> None:
    sheet = drawn(text_to_video())
    video = next(one for one in sheet["nodes"] if one["type"] == "CreateVideo")
    video["widgets_values"] = [25.0, "auto"]
    found = exported(sheet)
    assert by_class(found.graph, "CreateVideo")[0]["bit_depth"] == 8
    assert any('bit_depth of node "' in note and '"auto"' in note for note in found.notes)


def test_names_that_are_saved_beside_the_list_help_where_it_does_not_fit() -> None:
    named = {"noise_seed": 9, "control_after_generate": "fixed"}
    assert values("RandomNoise", ["fixed", "what", 9], named) == {"noise_seed": 9}
    assert values("RandomNoise", [8, "fixed"], named) == {"noise_seed": 8}  # the editor goes by the list


def test_values_with_names_need_no_signature() -> None:
    combine = {"frame_rate": 24, "format": "video/h264-mp4", "crf": 19, "videopreview": {"hidden": False}}
    found = assign([], combine, {}, [])
    assert found
    assert found.values == {"frame_rate": 24, "format": "video/h264-mp4", "crf": 19}


def test_a_file_may_name_its_widgets_itself() -> None:
    found = assign([], [5, "randomize", "x"], {}, [("model", ""), ("seed", "seed"), ("note", "note")])
    assert found
    assert found.values == {"seed": 5, "note": "x"}
    assert assign([], [5, 6], {}, [("model", ""), ("seed", "seed")]) is None


def test_loras_in_a_list_keep_their_places() -> None:
    one, two = ({"on": on, "lora": f"{on}.safetensors", "strength": 0.8} for on in (True, False))
    header = {"type": "PowerLoraLoaderHeaderWidget"}
    signature = Signatures.from_object_info({"X": {"input": {"optional": {"model": ["MODEL"]}}}}).classes["X"]
    for signatures in ([], [signature]):
        found = assign(signatures, [None, header, one, two, None, ""], {}, [])
        assert found
        assert found.values == {"lora_1": one, "lora_2": two}


def test_values_without_a_name_are_noted() -> None:
    sheet = drawn(text_to_video())
    noise = next(one for one in sheet["nodes"] if one["type"] == "RandomNoise")
    noise["widgets_values"] += [0.5, {"a": 1}]
    assert any("values that its class does not name: [0.5" in note for note in exported(sheet).notes)


def test_a_class_without_signature_is_named_and_stops_nothing_yet() -> None:
    sheet = drawn(text_to_video())
    id = next_id(sheet, sheet)
    sheet["nodes"].append({"id": id, "type": "Somebodys", "widgets_values": [1, 2], "inputs": [], "outputs": []})
    found = exported(sheet)
    assert found.unread == {str(id): "Somebodys"}


def test_a_list_is_not_a_link() -> None:
    info = {"X": {"input": {"required": {"names": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}}}}
    sheet = {"nodes": [{"id": 1, "type": "X", "widgets_values": [["a", "b"]]}], "links": []}
    graph = exported(sheet, Signatures.from_object_info(info)).graph
    assert graph["1"]["inputs"] == {"names": {"__value__": ["a", "b"]}}


def test_of_a_choice_in_a_text_the_first_is_taken() -> None:
    graph = text_to_video()
    graph["20"]["inputs"]["text"] = "a {red|blue} boat"
    found = exported(drawn(graph))
    assert {one["text"] for one in by_class(found.graph, "CLIPTextEncode")} == {"a red boat", "blurry"}
    assert any("the first is used" in note for note in found.notes)


def test_a_get_node_reads_a_set_node_around_its_subgraph() -> None:
    sheet = drawn(text_to_video())
    link = next(one for one in real_links(sheet) if node_of(sheet, one[3])["type"] == "SamplerCustomAdvanced")
    with_set_and_get(sheet, sheet, link[0], "noise")
    get = next(one for one in sheet["nodes"] if one["type"] == "GetNode")
    into_subgraph(sheet, sheet, {get["id"], link[3]})
    assert same(sheet, text_to_video())


# --- what does not hold together


def test_a_link_to_nothing_is_left_open_with_a_note() -> None:
    sheet = drawn(text_to_video())
    sheet["links"] = [link for link in sheet["links"] if link[3] != 5]
    assert any("linked to nothing" in note for note in exported(sheet).notes)


def test_a_subgraph_that_contains_itself_is_refused() -> None:
    sheet = drawn(text_to_video())
    ids = sorted(one["id"] for one in sheet["nodes"])
    into_subgraph(sheet, sheet, set(ids[2:8]))
    (inner,) = sheet["definitions"]["subgraphs"]
    inner["nodes"].append({"id": 999, "type": inner["id"]})
    problem = refused(sheet)
    assert (problem.code, "contains itself" in problem.message) == ("T025", True)


def test_reroutes_in_a_cycle_are_refused() -> None:
    sheet = drawn(text_to_video())
    one, two = next_id(sheet, sheet), next_id(sheet, sheet) + 1
    for id in (one, two):
        sheet["nodes"].append({"id": id, "type": "Reroute", "inputs": [{"name": "", "type": "*"}], "outputs": [{}]})
    for node_ in sheet["nodes"]:
        node_["outputs"] = [{"links": [], **slot} for slot in node_.get("outputs", [])]
    connect(sheet, one, 0, two, "")
    connect(sheet, two, 0, one, "")
    sampler = next(n["id"] for n in sheet["nodes"] if n["type"] == "SamplerCustomAdvanced")
    connect(sheet, two, 0, sampler, "noise")
    assert "form a cycle" in refused(sheet).message


def test_subgraphs_that_multiply_are_refused_early() -> None:
    sheet: Sheet = {"nodes": [{"id": 1, "type": "s0"}], "links": [], "definitions": {"subgraphs": []}}
    for level in range(40):
        nodes = [{"id": n, "type": f"s{level + 1}"} for n in (1, 2, 3)]
        sheet["definitions"]["subgraphs"].append({"id": f"s{level}", "nodes": nodes, "links": []})
    assert refused(sheet).code == "T025"


def test_too_many_nodes_are_refused() -> None:
    nodes = [{"id": n, "type": "Note"} for n in range(MAX_NODES + 1)]
    assert "more than" in refused({"nodes": nodes, "links": []}).message


def test_a_wrong_node_is_reported_at_its_line() -> None:
    sheet = drawn(text_to_video())
    sheet["nodes"].append(copy.deepcopy(sheet["nodes"][3]))
    problem = refused(sheet)
    assert f'two nodes have the id "{sheet["nodes"][3]["id"]}"' in problem.message
    lines = json.dumps(sheet, indent=1).splitlines()
    assert problem.span
    assert f'"id": {sheet["nodes"][3]["id"]}' in lines[problem.span.line - 1]


@pytest.mark.parametrize(
    ("class_", "words"), [("workflow>mine", "group node"), ("Anything Everywhere", "links that are not in the file")]
)
def test_what_only_the_editor_can_export_is_refused(class_: str, words: str) -> None:
    assert words in refused({"nodes": [{"id": 1, "type": class_}], "links": []}).message


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.text("ab-10:", max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_broken_ends_in_a_graph_or_one_clear_error(data: st.DataObject) -> None:
    sheet = drawn(with_primitives())
    ids = sorted(one["id"] for one in sheet["nodes"])
    into_subgraph(sheet, sheet, set(ids[3:12]), promote=[(id, "text") for id in ids[3:12]])
    sheet = json.loads(json.dumps(sheet))  # nothing in it is shared with signatures
    for _ in range(data.draw(st.integers(1, 5))):
        _break(data, sheet)
    problems: tuple[Problem, ...] = ()
    try:
        found = exported(sheet)
    except LtxflowError as error:
        problems, found = error.problems, ConvertedWorkflow({})
    assert all(problem.message and problem.hint and problem.code for problem in problems)
    for one in found.graph.values():
        links = [value for value in one["inputs"].values() if isinstance(value, list)]
        assert all(link[0] in found.graph for link in links)
    with suppress(LtxflowError):
        recognise(found.graph)  # whatever values it has


def _break(data: st.DataObject, sheet: Sheet) -> None:
    """Put something odd somewhere into a document, or take something away."""
    at: Any = sheet
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        inner = [key for key in keys if isinstance(at[key], dict | list) and at[key]]
        if not inner:
            break
        at = at[data.draw(st.sampled_from(inner))]
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    if not keys:
        return
    key = data.draw(st.sampled_from(keys))
    if data.draw(st.booleans()):
        at[key] = copy.deepcopy(data.draw(ODD))
    elif at is not sheet or key != "nodes":
        del at[key]


def test_a_node_of_the_api_is_not_taken_for_a_document() -> None:
    assert not is_editor({"nodes": node("X")})
    assert not is_editor([1])
    assert is_editor({"nodes": []})
