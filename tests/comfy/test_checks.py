"""Promises of comfy/checks.py: a failing sample for each rule and place, and no problem in graphs that run."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from harness.graphs import (
    CORE,
    NEWEST,
    NONE,
    OLDEST,
    SAMPLES,
    SERVERS,
    Graph,
    check,
    image_to_video,
    json_values,
    node,
    server,
    text_to_video,
    with_,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.comfy.checks import check_graph, other_values
from ltxflow.comfy.signatures import (
    FILES,
    FileInput,
    ModelInput,
    Signatures,
    core_classes,
    file_inputs,
    model_inputs,
    versions,
)
from ltxflow.core.errors import Problem, Span
from ltxflow.messages.comfy import RULES

N_RULES = {code for code in RULES if code[0] == "N"}


def codes(graph: Any, signatures: Signatures = CORE, **options: Any) -> list[str]:
    return [problem.code for problem in check(graph, signatures, **options)]


def levels(graph: Any, signatures: Signatures = CORE) -> list[tuple[str, str]]:
    return [(problem.code, problem.level) for problem in check(graph, signatures)]


def only(graph: Any, signatures: Signatures = CORE, **options: Any) -> Problem:
    (problem,) = check(graph, signatures, **options)
    return problem


# -------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("graph", [text_to_video(), image_to_video()], ids=["t2v", "i2v"])
def test_a_graph_that_runs_has_no_problem(graph: Graph) -> None:
    assert check(graph) == []


def test_recorded_signatures_cover_the_core_of_several_versions() -> None:
    assert versions() == ("0.33.0", "0.27.0")
    newest, oldest = (Signatures.recorded(version) for version in versions())
    assert len(newest.classes) > 600
    assert len(oldest.classes) > 500
    assert "LTXVDualCFGGuider" in newest.classes.keys() - oldest.classes.keys()
    assert core_classes() >= newest.classes.keys() | oldest.classes.keys()
    assert all(sig.is_core for sig in newest.classes.values())
    assert newest.is_recorded
    assert newest.older == (oldest,)
    assert oldest.older == ()
    assert Signatures.recorded() is CORE is newest


def test_recorded_signatures_name_no_files() -> None:
    for version in versions():
        for sig in Signatures.recorded(version).classes.values():
            assert not [one.name for one in sig.inputs if one.lists_models]
    assert codes(with_({"1.ckpt_name": "mine.safetensors"})) == []


@pytest.mark.parametrize("name", ["30.upload", "88.bitrate", "40.anything", "53.control_after_generate"])
@pytest.mark.parametrize("value", ["image", 5, None, {"on": True, "lora": "x", "strength": 1}, [], ["a", "b", 3]])
def test_inputs_that_no_class_declares_pass(name: str, value: Any) -> None:
    graph = image_to_video()
    node_id, _, input_name = name.partition(".")
    graph[node_id]["inputs"][input_name] = value
    assert check(graph) == []


def test_model_files_can_be_left_to_the_server() -> None:
    other = {"1.ckpt_name": "mine.safetensors", "10.lora_name": "sub/style.safetensors"}
    assert codes(with_(other), SERVERS[OLDEST], models=False) == []
    assert codes(with_(other), SERVERS[OLDEST]) == ["N117", "N117"]


def test_file_reading_inputs_are_not_compared_with_the_servers_list() -> None:
    assert codes(with_({"30.image": "anything.png [output]"}, image_to_video())) == []
    assert codes(with_({"30.image": 5}, image_to_video())) == ["N112"]


@pytest.mark.parametrize(
    "source",
    [
        node("PreviewAny", source=["1", 0]),  # *
        node("PreviewAny", source="a literal"),
        node("ComfyMathExpression", **{"expression": "a*2", "values.a": 2, "values.b": ["92", 0]}),
        node("ComfySwitchNode", switch=True, on_false=["80", 0], on_true=["80", 0]),
        node("ImageCropV2", image=["80", 0], crop_region={"x": 0, "y": 4, "width": 64, "height": 56}),
        node("SaveAudioAdvanced", audio=["81", 0], filename_prefix="x", format="flac"),
        node(
            "SaveAudioAdvanced",
            **{"audio": ["81", 0], "filename_prefix": "x", "format": "mp3", "format.quality": "V0"},
        ),
        node("PrimitiveString", value={"__value__": "text"}),
    ],
)
def test_newer_kinds_of_inputs_are_understood(source: Graph) -> None:
    extra = {"90": source, "92": node("PrimitiveInt", value=3), "93": node("PreviewAny", source=["90", 0])}
    assert check(text_to_video() | extra) == []


def test_a_matching_type_is_the_linked_one() -> None:
    graph = text_to_video()
    graph["90"] = node("ComfySwitchNode", switch=True, on_false=["80", 0], on_true=["80", 0])
    graph["88"]["inputs"]["images"] = ["90", 0]
    assert check(graph) == []
    graph["90"]["inputs"] |= {"on_false": ["56", 0], "on_true": ["56", 0]}
    problem = only(graph)
    assert (problem.code, problem.level) == ("N110", "warning")  # the server leaves matched types to the run
    assert "is LATENT" in problem.message
    assert "fails when it runs" in problem.hint


# -------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(("code", "graph", "message", "hint"), SAMPLES)
@pytest.mark.parametrize("version", versions())
def test_each_rule_has_a_sample_that_breaks_it_alone(
    code: str, graph: Graph, message: str, hint: str, version: str
) -> None:
    problem = only(graph, SERVERS[version], models=code != "N112")
    assert problem.code == code
    assert message in problem.message
    assert hint in problem.hint
    assert problem.level == "error"


def test_every_rule_is_sampled() -> None:
    elsewhere = {"N103", "N118"} | {"N106", "N111"}  # of the last two: WARNINGS
    assert {code for code, *_ in SAMPLES} | elsewhere == N_RULES


WARNINGS: list[tuple[str, Graph, str, str]] = [
    ("N105", with_({"88.fps": None}), '"fps" is missing', "write the value you want"),
    ("N105", with_({"31.resize_type": None}, image_to_video()), '"resize_type" is missing', "fails when it runs"),
    ("N106", with_({"88.audio": None, "88.audoi": ["81", 0]}), 'unknown input "audoi"', 'did you mean "audio"?'),
    ("N109", with_({"20.clip": ["2", -1]}), "links to output -1 of node", "fails when it runs"),
    ("N110", with_({"31.input": ["1", 2]}, image_to_video()), "takes IMAGE or MASK", "0 MODEL"),
    ("N111", with_({"88.images": "x"}), '"images" is "x", but takes a link to IMAGE', "fails when it runs"),
    ("N112", with_({"40.length": 100.7}), '"length" is 100.7, which the server reads as 100', "a whole number"),
    ("N112", with_({"40.width": 512, "40.length": True}), "reads as 1", "a whole number"),
    ("N112", with_({"42.bypass": "no"}, image_to_video()), '"bypass" is "no", which the server reads as true', "false"),
    ("N112", with_({"20.text": {"a": 1}}), "which the server reads as", "text"),
    ("N112", with_({"88.fps": float("nan")}), "reads as NaN", "a number"),
    ("N114", with_({"31.resize_type": "scale"}, image_to_video()), '"resize_type" is "scale"', "fails when it runs"),
]


@pytest.mark.parametrize(("code", "graph", "message", "hint"), WARNINGS)
@pytest.mark.parametrize("version", versions())
def test_what_the_server_takes_is_at_most_a_warning(
    code: str, graph: Graph, message: str, hint: str, version: str
) -> None:
    found = check(graph, SERVERS[version])
    assert [(problem.code, problem.level) for problem in found] == [(code, "warning")]
    assert message in found[0].message
    assert hint in found[0].hint


@pytest.mark.parametrize("change", [{"40.width": "768"}, {"88.fps": "25"}, {"20.text": 5}, {"42.bypass": 1}])
def test_a_value_that_the_server_converts_without_loss_is_right(change: Graph) -> None:
    assert check(with_(change, image_to_video())) == []


def test_of_the_recorded_versions_the_one_that_fits_counts() -> None:
    """Without a server any version may run it: a graph that fits one of them is right."""
    newer = text_to_video()
    del newer["89"]["inputs"]["codec"]
    newer["89"]["inputs"]["format.codec"] = "av1"
    assert codes(newer) == []
    assert codes(newer, SERVERS[OLDEST]) == ["N114"]
    older = with_({"41.frame_rate": "25"})  # a text for a number: 0.27 converts it, 0.33 compares it
    assert levels(older, SERVERS[NEWEST]) == [("N112", "error")]
    assert check(older) == []
    assert levels(text_to_video() | {"9": node("LTXVDualCFGGuider", model=["1", 0])}, SERVERS[OLDEST]) == [
        ("N101", "error")
    ]


def test_a_core_class_that_a_server_lacks_is_a_matter_of_its_version() -> None:
    problem = only(text_to_video() | {"9": node("LTXVDualCFGGuider")}, SERVERS[OLDEST])
    assert (problem.code, problem.hint) == ("N101", "update ComfyUI there: newer versions have that node")


@pytest.mark.parametrize("version", versions())
def test_both_spellings_of_a_nested_choice_fit_every_version(version: str) -> None:
    nested = with_({"89.codec": None, "89.format.codec": "h264"})
    assert check(nested, SERVERS[version]) == check(text_to_video(), SERVERS[version]) == []


def test_every_choice_of_a_dynamic_combo_adds_its_inputs() -> None:
    graph = image_to_video()
    graph["31"]["inputs"]["resize_type"] = "scale longer dimension"
    assert levels(graph) == [("N105", "warning")]  # its default is used; what the other choice had is ignored
    assert "resize_type.longer_size" in only(graph).message
    graph["31"]["inputs"]["resize_type.longer_size"] = "wide"
    assert codes(graph) == ["N112"]
    graph["31"]["inputs"] |= {"resize_type": ["40", 0]}  # a choice that is linked has no inputs, for the server
    assert check(graph) == []


def test_a_growing_input_needs_its_least_and_checks_each() -> None:
    graph = text_to_video() | {"9": node("ComfyMathExpression", expression="a")}
    graph["10"]["inputs"]["strength_model"] = ["9", 0]
    assert only(graph).message.startswith('required input "values.a" is missing')
    graph["9"]["inputs"] |= {"values.a": ["1", 0], "values.zz": 1}
    assert codes(graph) == ["N110"]


def test_steps_of_numbers_are_not_enforced_as_the_server_does_not() -> None:
    assert codes(with_({"40.width": 770, "88.fps": 23.976})) == []


def test_of_nodes_that_no_output_reaches_only_the_class_counts() -> None:
    stray = {
        "7": node("LTXVEmptyLatentAudio", length=121, audio_vae=["99", 0]),
        "8": node("LTXVScheduler"),
        "9": node("LoadImage", image=5),
    }
    assert check(text_to_video() | stray) == []
    assert codes(text_to_video() | stray | {"6": node("NoSuchNode")}) == ["N102"]
    assert codes(text_to_video() | {"6": {"class_type": "LTXVScheduler"}}) == ["N104"]  # it would end the server's work
    ring = {"6": node("LoraLoaderModelOnly", model=["6", 0], lora_name="x", strength_model=1)}
    assert check(text_to_video() | ring) == []


def test_a_link_in_an_undeclared_input_is_a_warning() -> None:
    stray = {"7": node("LTXVEmptyLatentAudio", length=121)}
    problem = only(with_({"88.more": ["7", 0]}, text_to_video() | stray))
    assert (problem.code, problem.level) == ("N106", "warning")
    assert problem.message.startswith('unknown input "more" is linked: the server accepts it, and fails when it runs')


def test_a_link_to_nowhere_is_an_error_wherever_a_node_runs() -> None:
    """The server overlooks those in inputs that it does not know, and runs nothing any more."""
    for graph in (
        with_({"88.more": ["99", 0]}),
        with_({"88.more": ["7", 0]}, text_to_video() | {"7": node("PrimitiveInt", value=1, more=["99", 0])}),
        with_({"31.resize_type": ["99", 0]}, image_to_video()),
        with_({"88.more": ["99", 0.0]}),
    ):
        errors = [p for p in check(graph) if p.level == "error"]
        assert [p.code for p in errors] == ["N108"]
        assert 'links to unknown node "99"' in errors[0].message
    assert check(text_to_video() | {"7": node("PrimitiveInt", value=["99", 0])}) == []


def test_a_cycle_is_reported_once_from_its_least_node() -> None:
    graph = with_({"50.video_latent": ["56", 0]})
    rings = [p.message for p in check(graph) if p.code == "N115"]
    assert rings == ['the links make a cycle, 50 ← 56 ← 55 ← 50, in node "50" (LTXVConcatAVLatent)']


def test_a_problem_names_template_node_title_class_and_place() -> None:
    span = Span("templates/t2v.json.j2", 12, 3)
    problem = only(with_({"55.noise": None}), template="t2v", where=lambda node_id: span)
    assert problem.message == (
        'required input "noise" is missing in node "55" (SamplerCustomAdvanced, "stage 1") of template "t2v"'
    )
    assert problem.span == span


def test_problems_come_by_node_number_whatever_the_order_of_the_graph() -> None:
    graph = with_({"88.images": None, "10.model": "x", "2.device": "gpu"})
    backwards = dict(reversed(list(graph.items())))
    assert codes(graph) == ["N114", "N111", "N105"]
    assert check(graph) == check(backwards)


# -------------------------------------------------------------------------------- foreign classes


def foreign(class_: str = "MyNode", module: str = "custom_nodes.my", **inputs: Any) -> Graph:
    """Return a server's signature of a class with these required inputs."""
    return {class_: {"input": {"required": inputs}, "output": ["IMAGE"], "output_node": True, "python_module": module}}


def test_a_foreign_class_needs_an_allowance_even_where_the_server_has_it() -> None:
    signatures = server(NEWEST, **foreign(source=["*"]))
    graph = text_to_video() | {"9": node("MyNode", source=1)}

    def found(**options: Any) -> list[str]:
        return [p.code for p in check_graph(graph, signatures, **options)]

    assert found(allowed=NONE) == ["N102"]
    assert found(allowed=frozenset({"MyNode"})) == []
    assert found(allowed=None) == []


@pytest.mark.parametrize(
    ("module", "is_core"),
    [
        ("nodes", True),
        ("comfy_extras.nodes_new", True),
        ("comfy_api_nodes.nodes_ltxv", False),  # they cost money
        ("custom_nodes.nodes", False),
        ("comfy_extrasx", False),
        ("", False),
    ],
)
def test_a_class_is_core_if_the_server_reports_it(module: str, is_core: bool) -> None:
    signatures = server(NEWEST, **foreign("BrandNew", module))
    assert codes(text_to_video() | {"9": node("BrandNew")}, signatures) == ([] if is_core else ["N102"])


def test_a_foreign_node_may_check_its_values_itself() -> None:
    wanted = {"mode": [["a", "b"]], "size": ["INT", {"min": 1}], "image": ["IMAGE"], "lora": ["LORAS"]}
    signatures = server(NEWEST, **foreign(**wanted))
    graph = text_to_video() | {
        "9": node("MyNode", mode="c", size=0, image=["1", 0], lora={"on": True}, pix_fmt="yuv420p", moder="x"),
    }
    allowed = frozenset({"MyNode"})
    found = [(p.code, p.level) for p in check_graph(graph, signatures, allowed=allowed)]
    assert found == [("N114", "warning"), ("N113", "warning"), ("N110", "warning")]
    graph["9"]["inputs"] = {"size": "x", "image": "y"}
    found = [(p.code, p.level) for p in check_graph(graph, signatures, allowed=allowed)]
    assert found == [("N105", "error"), ("N112", "error"), ("N105", "error")]


def test_a_class_is_reported_once_however_many_nodes_have_it() -> None:
    many = {str(n): node("ShellRun") for n in range(100, 110)}
    problem = only(text_to_video() | many)
    assert (problem.code, 'in node "100"' in problem.message) == ("N102", True)


def test_an_allowed_class_is_left_unchecked_without_a_server() -> None:
    graph = text_to_video() | {"9": node("MyNode", x=1), "10": node("PreviewAny", source=["9", 3])}
    graph["54"]["inputs"]["model"] = ["1", 0]
    found = check_graph(graph, CORE, allowed=frozenset({"MyNode"}))
    assert [(p.code, p.level) for p in found] == [("N103", "advice")]
    assert [p.code for p in check_graph(graph, CORE)] == ["N101"]


# -------------------------------------------------------------------------------- lists of inputs


def test_model_inputs_tell_the_folder_of_each_file() -> None:
    graph = text_to_video() | {
        "60": node("LatentUpscaleModelLoader", model_name="up.safetensors"),
        "61": node("VAELoader", vae_name="v.safetensors"),
        "62": node("UNETLoader", unet_name="u.safetensors", weight_dtype="default"),
        "63": node("ForeignLoader", model_name="f.gguf", other="x"),
    }
    found = model_inputs(graph, CORE)
    assert found[0] == ModelInput(
        "1", "CheckpointLoaderSimple", "ckpt_name", "ltx-2-19b-dev-fp8.safetensors", "checkpoints"
    )
    assert [(m.node, m.input, m.folder) for m in found[1:]] == [
        ("2", "text_encoder", "text_encoders"),
        ("2", "ckpt_name", "checkpoints"),
        ("3", "ckpt_name", "checkpoints"),
        ("10", "lora_name", "loras"),
        ("60", "model_name", "latent_upscale_models"),
        ("61", "vae_name", "vae"),
        ("62", "unet_name", "diffusion_models"),
        ("63", "model_name", ""),
    ]


def test_file_inputs_are_those_by_which_nodes_open_files() -> None:
    graph = image_to_video() | {
        "33": node("LoadVideo", file="a.mp4 [output]"),
        "34": node("LoadAudio", audio=["1", 0]),
        "35": node("LoadLatent", latent="x.latent"),
    }
    assert file_inputs(graph) == [
        FileInput("30", "LoadImage", "image", "ltxflow/0123456789abcdef.png"),
        FileInput("33", "LoadVideo", "file", "a.mp4 [output]"),
        FileInput("34", "LoadAudio", "audio", ["1", 0]),
        FileInput("35", "LoadLatent", "latent", "x.latent"),
    ]


@pytest.mark.parametrize("version", versions())
def test_every_core_input_by_which_a_file_is_opened_is_known_without_a_server(version: str) -> None:
    """A stranger's template is checked before any server is contacted."""
    opens = {"WEBCAM", "AUDIO_RECORD"}  # a recording's name
    found = {
        (sig.name, one.name)
        for sig in Signatures.recorded(version).classes.values()
        for one in sig.inputs
        if one.is_file or one.type in opens
    }
    assert found >= {("LoadImage", "image"), ("LoadVideo", "file"), ("Painter", "mask"), ("RecordAudio", "audio")}
    assert {(class_, name) for class_, name in found if name not in FILES.get(class_, ())} == set()


def test_a_painter_without_a_mask_opens_nothing() -> None:
    graph = {"1": node("Painter", mask=""), "2": node("Painter", mask="../x.png"), "3": node("LoadImage", image="")}
    assert [(found.node, found.value) for found in file_inputs(graph)] == [("2", "../x.png"), ("3", "")]


# -------------------------------------------------------------------------------- any graph


@settings(deadline=None)
@given(
    st.sampled_from([(n, i) for n, v in image_to_video().items() for i in v["inputs"]]),
    json_values,
    st.dictionaries(st.sampled_from(["1", "55", "x"]), json_values, max_size=2),
)
def test_any_graph_is_checked_without_an_exception(place: tuple[str, str], value: Any, more: Graph) -> None:
    graph = image_to_video()
    graph[place[0]]["inputs"][place[1]] = value
    for problem in check(graph | more):
        assert problem.code in N_RULES


@settings(deadline=None)
@given(
    st.sampled_from([(n, i) for n, v in image_to_video().items() for i in v["inputs"]]),
    json_values | st.sampled_from([True, False, 0, 1, 1.0, ["1", 0], ["1", False], ["1", 1]]),
    st.dictionaries(st.sampled_from(["1", "55", "x"]), json_values, max_size=2),
)
def test_beside_a_graph_that_is_right_a_check_finds_the_same_as_alone(
    place: tuple[str, str], value: Any, more: Graph
) -> None:
    right = image_to_video()
    graph = copy.deepcopy(right)
    graph[place[0]]["inputs"][place[1]] = value
    graph |= more
    assert check(graph, only=other_values(graph, right)) == check(graph)


def test_beside_a_checked_graph_only_changed_values_are_checked() -> None:
    right = text_to_video()
    changed = with_({"40.width": 0})
    assert other_values(changed, right) == ["40"]
    assert codes(changed, only=["40"]) == ["N113"]
    assert other_values(right, right) == []
    for other in (
        with_({"40.width": None}),
        with_({"50.video_latent": ["42", 0]}, image_to_video()),
        {**right, "x": {}},
    ):
        assert other_values(other, right) is None


@settings(deadline=None)
@given(json_values)
def test_anything_as_object_info_gives_signatures(value: Any) -> None:
    Signatures.from_object_info({"A": value, "B": {"input": {"required": {"x": value}}, "output": [value]}})
