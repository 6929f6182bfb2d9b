"""Promises of comfy/graph.py: graphs of the same picture have one canonical form, others do not."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from fakes.contexts import LORAS, context

from ltxflow.comfy.graph import PLACEMENT, GraphChange, canonical_graph, diff_graphs, is_link, outputs_of
from ltxflow.core.digest import digest_json
from ltxflow.core.errors import LtxflowError
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template, read_template, read_templates

OURS = read_templates("ltx2-19b", None)

Graph = dict[str, Any]


def graph(**changes: Any) -> Graph:
    """Every node our templates know: two stages, guidance, two LoRAs, cropped, tiled."""
    return render(OURS["i2v"], context("i2v", "full", "1920x1080", **{"loras": list(LORAS), **changes}))


def form(made: Graph) -> dict[str, Any]:
    return canonical_graph(made, outputs_of(made))


def digest(made: Graph) -> str:
    return digest_json(form(made))


def node(class_: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_, "inputs": inputs}


# --- what does not count


def renumbered(made: Graph, random_: random.Random) -> Graph:
    """The same graph under other ids, in another order of nodes and of inputs."""
    ids = [*made]
    random_.shuffle(ids)
    new = {id: str(n * 7 + 1000) for n, id in enumerate(ids)}
    result = {}
    for id in ids:
        inputs = [
            (name, [new[value[0]], value[1]] if is_link(value) else value) for name, value in made[id]["inputs"].items()
        ]
        random_.shuffle(inputs)
        result[new[id]] = {**made[id], "inputs": dict(inputs)}
    return result


@pytest.mark.parametrize("seed", range(10))
def test_ids_and_order_do_not_count(seed: int) -> None:
    made = graph()
    assert json.dumps(form(renumbered(made, random.Random(seed)))) == json.dumps(form(made))


def test_meta_prefix_and_placement_do_not_count() -> None:
    made = graph()
    other = copy.deepcopy(made)
    for each in other.values():
        if each["_meta"]["title"] not in ("video", "last_frame", "uncropped"):
            each["_meta"] = {"title": "other", "more": 1}
        if "filename_prefix" in each["inputs"]:
            each["inputs"]["filename_prefix"] = "elsewhere"
    assert digest(other) == digest(made)
    assert digest(graph(text_encoder_device="default", prefix="x")) == digest(made)
    tiling = {"tile_size": 256, "overlap": 32, "temporal_size": 64, "temporal_overlap": 4}
    assert digest(graph(tiling=tiling)) == digest(made)


def test_formatting_and_comments_of_a_template_do_not_count(tmp_path: Path) -> None:
    source = OURS["i2v"]
    for name, text in source.parts.items():
        (tmp_path / name).write_text("{# a comment #}\n" + text.replace("  ", "    ").replace("\n", "\n\n"))
    path = tmp_path / "i2v.json.j2"
    path.write_text(source.text.replace(",\n", ",\n\n\t").replace("{% import", "{# a comment #}{% import"))
    other: Template = read_template(path, trusted=True)
    assert other.digest != source.digest
    given = context("i2v", "full", "1920x1080")
    assert digest(render(other, given)) == digest(render(source, given))


def test_unused_nodes_do_not_count() -> None:
    made = graph()
    more = {**made, "500": node("PreviewImage", images=["80", 0]), "501": node("LoadImage", image="x.png")}
    assert digest(more) == digest(made)


def test_whole_numbers_do_not_count_as_floats() -> None:
    assert digest(graph(cfg=4)) == digest(graph(cfg=4.0))


def test_negative_prompt_does_not_count_without_guidance() -> None:
    def made(negative: str, quality: str) -> str:
        return digest(render(OURS["t2v"], context("t2v", quality, negative=negative)))

    assert made("a", "distilled") == made("b", "distilled")
    assert made("a", "full") != made("b", "full")


# --- what counts


def test_every_other_input_counts() -> None:
    made = graph()
    seen = {digest(made)}
    for id, each in made.items():
        for name, value in each["inputs"].items():
            if name == "filename_prefix" or (each["class_type"], name) in PLACEMENT:
                continue
            other = copy.deepcopy(made)
            if is_link(value):
                other[id]["inputs"][name] = [value[0], value[1] + 1]
            elif isinstance(value, bool):
                other[id]["inputs"][name] = not value
            elif isinstance(value, int | float):
                other[id]["inputs"][name] = value + 1
            else:
                other[id]["inputs"][name] = value + "x"
            found = digest(other)
            assert found not in seen, (id, name)
            seen.add(found)


def test_every_class_counts() -> None:
    made = graph()
    for id in made:
        other = copy.deepcopy(made)
        other[id]["class_type"] += "X"
        assert digest(other) != digest(made), id


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "other"},
        {"negative": "other"},
        {"seed": 1},
        {"width": 992},
        {"height": 576},
        {"crop": None},
        {"frames": 129},
        {"fps": 24},
        {"steps": 21},
        {"cfg": 3.0},
        {"sampler": "ddim"},
        {"sigmas": "1., 0.5, 0."},
        {"stages": 1},
        {"distilled": True},
        {"distilled_strength": 0.6},
        {"loras": []},
        {"loras": list(reversed(LORAS))},
        {"loras": [LORAS[0], {**LORAS[1], "strength": 0.7}]},
        {"reference": "other.png"},
        {"reference_strength": 0.9},
        {"reference_compression": 32},
        {"temporal_upscale": True},
    ],
)
def test_every_setting_of_a_clip_counts(changes: dict[str, Any]) -> None:
    assert digest(graph(**changes)) != digest(graph())


def test_which_output_is_which_counts() -> None:
    made = {"1": node("A", x=1), "2": node("A", x=2)}
    assert canonical_graph(made, {"video": "1", "last_frame": "2"}) != canonical_graph(
        made, {"video": "2", "last_frame": "1"}
    )


def test_true_is_not_one() -> None:
    def made(value: object) -> str:
        return digest_json(canonical_graph({"1": node("A", x=value)}, {"video": "1"}))

    assert made(True) != made(1)


def test_a_list_that_looks_like_a_link_of_ours_stays_a_list() -> None:
    linked = {"1": node("A"), "2": node("B", x=["1", 0])}
    listed = {"1": node("A"), "2": node("B", x=["@", 0, 0], y=["1", 0])}
    assert canonical_graph(linked, {"video": "2"})["nodes"][1]["inputs"]["x"] == ["@", 0, 0]
    assert canonical_graph(listed, {"video": "2"})["nodes"][1]["inputs"]["x"] == ["literal", ["@", 0, 0]]


# --- the form


def test_form() -> None:
    #  1 A ─┬─> 2 B ─┬─> 4 C      1 and 3 are equal: one node
    #  3 A ─┘        └─(1)
    made = {
        "4": node("C", filename_prefix="x", second=["2", 1], first=["1", 0]),
        "1": node("A", n=1),
        "2": node("B", x=["1", 0], y=["3", 0]),
        "3": node("A", n=1.0),
        "9": node("unused"),
    }
    assert canonical_graph(made, {"video": "4"}) == {
        "nodes": [
            {"class": "A", "inputs": {"n": 1}},
            {"class": "B", "inputs": {"x": ["@", 0, 0], "y": ["@", 0, 0]}},
            {"class": "C", "inputs": {"first": ["@", 0, 0], "second": ["@", 1, 1]}},
        ],
        "outputs": {"video": 2},
    }


def test_form_is_json_and_leaves_the_graph_alone() -> None:
    made = graph()
    before = copy.deepcopy(made)
    found = form(made)
    assert json.loads(json.dumps(found)) == found
    assert made == before


def test_deep_graphs_do_not_exhaust_the_stack() -> None:
    made = {"0": node("A")} | {str(n): node("B", x=[str(n - 1), 0], n=n) for n in range(1, 5000)}
    assert len(canonical_graph(made, {"video": "4999"})["nodes"]) == 5000


def test_shared_nodes_are_walked_once() -> None:
    made = {"0": node("A")} | {str(n): node("B", x=[str(n - 1), 0], y=[str(n - 1), 1]) for n in range(1, 200)}
    assert len(canonical_graph(made, {"video": "199"})["nodes"]) == 200


def test_cycle_is_an_error_that_names_it() -> None:
    made = {
        "1": node("A", x=["3", 0]),
        "2": node("B", x=["1", 0]),
        "3": node("C", x=["2", 0]),
        "4": node("D", x=["3", 0]),
    }
    with pytest.raises(LtxflowError) as caught:
        canonical_graph(made, {"video": "4"})
    assert caught.value.problems[0].message == "the links of the graph form a cycle: 3 (C) -> 2 (B) -> 1 (A) -> 3 (C)"
    with pytest.raises(LtxflowError, match="cycle"):
        canonical_graph({"1": node("A", x=["1", 0])}, {"video": "1"})


def test_link_to_nowhere_is_an_error_that_names_it() -> None:
    with pytest.raises(LtxflowError) as caught:
        canonical_graph({"1": node("A", x=["7", 0])}, {"video": "1"})
    assert caught.value.problems[0].message == 'node 1 (A): "x" is linked to node "7", which is not in the graph'
    with pytest.raises(LtxflowError):
        canonical_graph({"1": node("A")}, {"video": "2"})


# --- outputs


def test_outputs_are_the_save_nodes_by_title() -> None:
    assert outputs_of(graph()) == {"video": "89", "last_frame": "91", "uncropped": "95"}
    assert outputs_of(graph(crop=None)) == {"video": "89", "last_frame": "91"}


def test_a_source_titled_video_is_not_an_output() -> None:
    made = {
        "1": {**node("LoadVideo", file="x.mp4"), "_meta": {"title": "video"}},
        "2": {**node("SaveVideo", video=["1", 0]), "_meta": {"title": "video"}},
    }
    assert outputs_of(made) == {"video": "2"}


def test_two_save_nodes_of_one_title_are_an_error() -> None:
    made = {str(n): {**node("SaveVideo"), "_meta": {"title": "video"}} for n in (1, 2)}
    with pytest.raises(LtxflowError) as caught:
        outputs_of(made)
    assert caught.value.problems[0].message == 'two save nodes are titled "video": 1 and 2'


# --- differences


def changes(old: Graph, new: Graph) -> list[tuple[str, str, Any, Any]]:
    return [(c.kind, c.where, c.old, c.new) for c in diff_graphs(form(old), form(new))]


def test_equal_graphs_do_not_differ() -> None:
    assert changes(graph(), renumbered(graph(), random.Random(1))) == []
    assert changes(graph(cfg=4), graph(cfg=4.0)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"prompt": "P"}, ("changed", "CLIPTextEncode (positive).text", "A vault opens; a deep hum", "P")),
        ({"negative": "N"}, ("changed", "CLIPTextEncode (negative).text", "blurry", "N")),
        ({"seed": 7}, ("changed", "RandomNoise (noise).noise_seed", 42, 7)),
        ({"steps": 30}, ("changed", "LTXVScheduler (sigmas).steps", 20, 30)),
        ({"cfg": 3.5}, ("changed", "CFGGuider (guider).cfg", 4.0, 3.5)),
        ({"reference": "b.png"}, ("changed", "LoadImage (image).image", "ltxflow/0123456789abcdef.png", "b.png")),
        (
            {"loras": [LORAS[0], {"name": "my_style.safetensors", "strength": 0.5}]},
            ("changed", "LoraLoaderModelOnly (model).strength_model", 0.8, 0.5),
        ),
        (
            {"loras": [LORAS[0]]},
            (
                "removed",
                "LoraLoaderModelOnly (model)",
                {"lora_name": "my_style.safetensors", "strength_model": 0.8},
                None,
            ),
        ),
        (
            {"loras": [LORAS[1]]},
            ("removed", "LoraLoaderModelOnly (model)", {"lora_name": LORAS[0]["name"], "strength_model": 1.0}, None),
        ),
    ],
)
def test_one_change_is_one_difference(change: dict[str, Any], found: tuple[Any, ...]) -> None:
    assert changes(graph(), graph(**change)) == [found]


def test_an_inserted_lora_is_added_anywhere_in_the_chain() -> None:
    style = {"name": "s", "strength": 1.0}
    added = ("added", "LoraLoaderModelOnly (model)", None, {"lora_name": "s", "strength_model": 1.0})
    for loras in ([style, *LORAS], [LORAS[0], style, LORAS[1]], [*LORAS, style]):
        assert changes(graph(), graph(loras=loras)) == [added]
    assert changes(graph(loras=[]), graph(loras=[style])) == [added]


def test_frame_rate_and_length_are_found_at_every_node_that_takes_them() -> None:
    assert {where for _, where, _, _ in changes(graph(), graph(fps=24, frames=129))} == {
        "CreateVideo (video).fps",
        "LTXVConditioning (negative).frame_rate",
        "LTXVEmptyLatentAudio (audio_latent).frame_rate",
        "LTXVEmptyLatentAudio (audio_latent).frames_number",
        "EmptyLTXVLatentVideo (latent).length",
    }


def test_another_schedule_is_a_replaced_node() -> None:
    found = changes(graph(), graph(sigmas="1., 0.5, 0."))
    assert ("replaced", "ManualSigmas (sigmas)", "LTXVScheduler", "ManualSigmas") in found
    assert ("changed", "ManualSigmas (sigmas).sigmas", None, "1., 0.5, 0.") in found


def test_prompt_is_not_confused_with_the_negative_one_it_is_zeroed_for() -> None:
    old = render(OURS["i2v"], context("i2v", "full"))
    new = render(OURS["i2v"], context("i2v", "full", cfg=1.0))
    assert changes(old, new) == [
        ("changed", "CFGGuider (guider).cfg", 4.0, 1.0),
        ("added", "ConditioningZeroOut (negative)", None, {}),
        ("removed", "CLIPTextEncode (negative)", {"text": "blurry"}, None),
    ]


def test_from_text_to_a_first_frame() -> None:
    old = render(OURS["t2v"], context("t2v"))
    new = render(OURS["i2v"], context("i2v"))
    found = changes(old, new)
    assert {kind for kind, *_ in found} == {"added"}
    assert {where.split(" ")[0] for _, where, _, _ in found} == {
        "LTXVImgToVideoInplace",
        "LoadImage",
        "LTXVPreprocess",
    }


def test_a_change_names_its_node_among_those_of_its_class() -> None:
    found = diff_graphs(form(graph()), form(graph(seed=1)))
    assert found == [GraphChange("changed", "RandomNoise", 1, "noise", "noise_seed", 42, 1)]
