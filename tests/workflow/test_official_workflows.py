"""Every LTX workflow of ComfyUI's collection is imported, or refused for a reason that is listed here.

The collection is the package comfyui-workflow-templates-json, of the development dependencies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.signatures import Signatures
from ltxflow.core.errors import LtxflowError
from ltxflow.workflow.editor import export
from ltxflow.workflow.import_file import import_workflow, read_source, recorded_signatures
from ltxflow.workflow.imported import template_text
from ltxflow.workflow.importer import recognise
from ltxflow.workflow.render import render
from ltxflow.workflow.template import read_template

COLLECTION = resources.files(pytest.importorskip("comfyui_workflow_templates_json")) / "templates"

# What each needs of a clip; or the code of the reason, and a word of it, for which it is refused.
IMPORTED: dict[str, tuple[int, tuple[str, ...]]] = {
    "ltxv_image_to_video": (1, ("reference",)),
    "ltxv_text_to_video": (1, ()),
    "template_ltx2_3_ic_lora_ingredients": (1, ("reference",)),
    "template_ltx2_3_style_transition": (1, ("reference", "last_frame")),
    "video_ltx2_3_flf2v": (1, ("reference", "last_frame")),
    "video_ltx2_3_i2v": (2, ("reference",)),
    "video_ltx2_3_ia2v": (2, ("reference", "sound")),
    "video_ltx2_3_ic_lora": (1, ("reference", "control")),
    "video_ltx2_3_id_lora": (2, ("reference", "sound")),
    "video_ltx2_3_t2v": (2, ()),
    "video_ltx2_5_flf2v": (1, ("reference", "last_frame")),
    "video_ltx2_5_i2v": (2, ("reference",)),
    "video_ltx2_5_t2v": (2, ()),
    "video_ltx2_canny_to_video": (2, ("reference", "control")),
    "video_ltx2_depth_to_video": (2, ("reference", "control")),
    "video_ltx2_i2v": (2, ("reference",)),
    "video_ltx2_i2v_distilled": (2, ("reference",)),
    "video_ltx2_t2v": (2, ()),
    "video_ltx2_t2v_distilled": (2, ()),
}
REFUSED: dict[str, tuple[str, str]] = {
    # they run on paid services: "signature" without a server, which says so
    "api_ltx2_5_flf2v": ("T026", "LtxApi25ImageToVideo"),
    "api_ltx2_5_i2v": ("T026", "LtxApi25ImageToVideo"),
    "api_ltx2_5_t2v": ("T026", "LtxApi25TextToVideo"),
    "template_image_speech_to_video": ("T026", "ElevenLabsTextToSpeech"),
    # in the file itself the save node is linked to an output that nothing feeds
    "video_ltx2_i2v_lora": ("T022", "is linked to no video"),
    # it makes a picture
    "image_minimax_h3_t2i": ("T022", "saves no video"),
}


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """The workflows that use LTX: by their name, or by a node of it."""
    for file in sorted(COLLECTION.iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".json") or file.name.startswith("index"):
            continue
        data = json.loads(file.read_text("utf-8"))
        levels = [data, *data.get("definitions", {}).get("subgraphs", [])] if isinstance(data, dict) else []
        types = [node["type"].lower() for level in levels for node in level.get("nodes", [])]
        if types and ("ltx" in file.name.lower() or any(type_.startswith("ltx") for type_ in types)):
            yield file.name.removesuffix(".json"), data


DOCUMENTS = dict(_documents())


def lacking(name: str) -> set[str]:
    """The classes of a workflow whose values cannot be read by the recorded signatures: a server knows them."""
    found = export(DOCUMENTS[name], recorded_signatures())
    needed = recognise(found.graph).graph
    return {class_ for id, class_ in found.unread.items() if id in needed}


def source(name: str) -> Path:
    return Path(str(COLLECTION / f"{name}.json"))


def test_every_workflow_is_listed() -> None:
    assert DOCUMENTS.keys() == IMPORTED.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", IMPORTED)
def test_it_comes_in_and_makes_a_graph_that_fits(name: str, tmp_path: Path) -> None:
    stages, needs = IMPORTED[name]
    if lacks := lacking(name):
        with pytest.raises(LtxflowError) as caught:
            import_workflow(read_source(source(name)), [])
        (problem,) = caught.value.problems
        assert (problem.code, "--server" in problem.hint) == ("T026", True)
        assert all(f'"{class_}"' in problem.message for class_ in lacks)
        return
    imported = import_workflow(read_source(source(name)), [])
    found = imported.recognised
    assert (found.stages, found.needs) == (stages, needs)
    assert [problem.message for problem in found.problems] == []
    everything = {"prompt", "seed", "decoded_width", "decoded_height", "frames", "fps", "prefix", *needs}
    assert everything <= {*found.variables} | {"control"}

    file = tmp_path / "mine.json.j2"
    file.write_text(template_text(found, name, "official"), encoding="utf-8")
    values = {"prompt": "a boat", "negative": "", "seed": 1, "width": 384, "height": 640, "frames": 97, "fps": 30}
    values |= {"decoded_width": 384 * stages, "decoded_height": 640 * stages, "prefix": "x", "crop": None}
    values |= {"reference": "a.png", "last_frame": "b.png", "sound": "c.wav", "control": {"video": "d.mp4"}}
    graph = render(read_template(file, trusted=True), values)
    problems = check_graph(graph, Signatures.recorded(), models=False, allowed=frozenset(found.foreign))
    assert [problem.message for problem in problems if problem.level == "error"] == []


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_for_the_reason_that_is_listed(name: str) -> None:
    code, words = REFUSED[name]
    with pytest.raises(LtxflowError) as caught:
        import_workflow(read_source(source(name)), [])
    problem = caught.value.problems[0]
    assert (problem.code, words in problem.message, bool(problem.hint)) == (code, True, True)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name][0] == "T026"])
def test_a_server_reports_a_paid_service(name: str) -> None:
    info = {REFUSED[name][1]: {"input": {}, "output": [], "api_node": True}}
    with pytest.raises(LtxflowError) as caught:
        import_workflow(read_source(source(name)), [info])
    assert caught.value.problems[0].code == "T027"
    assert "paid service" in caught.value.problems[0].message
