"""Promises of `ltxflow template`: a workflow comes in and makes clips; templates are listed, shown and checked."""

from __future__ import annotations

import json
import os
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from fakes.editor import drawn, into_subgraph, with_side_shows
from fakes.workflows import (
    SHAPES,
    by_sound,
    classic,
    continued,
    cropped,
    image_to_video,
    node,
    text_to_video,
    two_stages,
)
from harness.command import run
from harness.film import Film
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ltxflow.comfy.signatures import Signatures
from ltxflow.core.digest import digest_file
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.config import config_folder
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.workflow import render, sandbox
from ltxflow.workflow.template import Template


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def in_a_child() -> None:
    """For a test that renders foreign templates as it is done really: in a process of their own, half a second each."""


@pytest.fixture(autouse=True)
def _quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def render_here(given: Template, contexts: Any) -> Any:
        return render.render_many(replace(given, trusted=True), contexts)

    if "in_a_child" not in request.fixturenames:
        monkeypatch.setattr(sandbox, "render_in_child", render_here)


def workflow(graph: dict[str, Any], name: str = "mine_api.json") -> str:
    """Write a workflow where the user stands and return its name."""
    Path(name).write_text(json.dumps(graph, indent=2))
    return name


def bring(film: Film, graph: dict[str, Any], *options: str) -> Path:
    """Import a workflow as "mine", and trust the project."""
    ran = film.run("template", "import", workflow(graph), *options)
    assert ran.code == 0, ran.err
    assert film.run("trust").code == 0
    return film.folder / "templates" / "mine.json.j2"


def use(film: Film, *settings: str) -> Film:
    """Give the film's first clip the template "mine" and more."""
    return film.edit("      - id: a\n", "".join(f"{line}\n" for line in ("      - id: a", *_lines(settings))))


def _lines(settings: tuple[str, ...]) -> list[str]:
    return [f"        {setting}" for setting in ("template: mine", *settings)]


def graph_of(film: Film, clip: str = "hook/a") -> dict[str, Any]:
    shown: dict[str, Any] = film.run("show", clip, "--graph", "--json").data
    return shown


# --- import


def test_an_imported_workflow_makes_a_clip(film: Film, in_a_child: None) -> None:
    bring(film, text_to_video())
    use(film, 'negative: "ugly"', "stages: 1", "seed: 5")
    graph = graph_of(film)
    assert graph["20"]["inputs"]["text"].startswith("A ")
    assert graph["21"]["inputs"]["text"] == "ugly"  # though the clip's own CFG is 1: the workflow's is 4
    assert {**graph["40"]["inputs"], "length": 0} == {"width": 128, "height": 128, "length": 0, "batch_size": 1}
    assert graph["40"]["inputs"]["length"] == graph["41"]["inputs"]["frames_number"] != 121
    assert graph["52"]["inputs"]["noise_seed"] == 5
    assert graph["54"]["inputs"]["cfg"] == 4.0
    assert film.run("check").code == 0


def test_what_is_found_and_left_and_how_to_use_it_is_told(film: Film) -> None:
    ran = film.run("template", "import", workflow(two_stages(image_to_video()), "My Look_api.json"))
    told = " ".join(ran.out.split())
    assert "film/templates/my-look.json.j2" in told
    assert '{{ prompt }} 20 CLIPTextEncode.text "a vault opens"' in told
    assert ": 7, fixed" in told
    assert "distilled.safetensors" in told
    assert "template: my-look stages: 2" in told
    assert "reference: refs/" in told
    assert "ltxflow trust" in told
    assert ran.err == ""


def test_import_in_json(film: Film) -> None:
    ran = film.run("template", "import", workflow(image_to_video()), "--name", "look", "--json")
    data = ran.data
    assert (data["name"], data["stages"], data["needs"]) == ("look", 1, ["reference"])
    assert data["settings"] == {"stages": 1, "negative": "blurry"}
    assert {"variable": "seed", "node": "52", "class": "RandomNoise", "input": "noise_seed", "was": 42} in data["found"]


def test_nothing_is_made_with_it_until_the_user_trusts_it(film: Film) -> None:
    film.run("template", "import", workflow(text_to_video()))
    assert film.run("plan").code == 0  # nothing uses it yet
    use(film)
    ran = film.run("plan")
    assert ran.code == 2
    assert "template mine" in ran.err
    assert "ltxflow trust" in ran.err


def test_a_change_to_the_template_asks_again(film: Film) -> None:
    file = bring(film, text_to_video())
    use(film)
    assert film.run("plan").code == 0
    file.write_text(file.read_text().replace("euler", "dpmpp_2m"))
    assert film.run("plan").code == 2


def test_trust_for_one_is_kept_when_another_comes(film: Film) -> None:
    bring(film, text_to_video())
    use(film)
    film.run("template", "import", workflow(image_to_video(), "other.json"))
    assert film.run("plan").code == 0


def test_a_broken_template_that_nothing_uses_stops_nothing(film: Film) -> None:
    bring(film, text_to_video())
    use(film)
    broken = film.folder / "templates" / "broken.json.j2"
    broken.write_text("{# ltxflow-template: 1\ntitle: [\n#}\n{}")
    for verb in ("check", "plan", "status"):
        assert film.run(verb).code == 0, verb
    (row,) = [one for one in film.run("template", "list", "--json").data if one["name"] == "broken"]
    assert row["problems"]
    assert "cannot be read" in film.run("template", "list").out
    assert film.run("template", "check", "broken").code == 1
    assert "broken.json.j2" in film.run("template", "show", "broken").err
    film.edit("template: mine", "template: broken")
    film.run("trust")
    ran = film.run("plan", "--json")
    assert (ran.code, ran.envelope["problems"][0]["where"]["file"]) == (2, "film/templates/broken.json.j2")


def test_a_template_is_not_replaced_unasked(film: Film) -> None:
    file = bring(film, text_to_video())
    before = file.read_bytes()
    assert film.run("template", "import", workflow(text_to_video())).code == 0  # the same: nothing is lost
    ran = film.run("template", "import", workflow(image_to_video()))
    assert (ran.code, file.read_bytes()) == (2, before)
    assert "--force" in ran.err
    assert film.run("template", "import", workflow(image_to_video()), "--force").code == 0
    assert file.read_bytes() != before


def test_ours_are_not_shadowed_unasked(film: Film) -> None:
    ran = film.run("template", "import", workflow(text_to_video(), "t2v.json"))
    assert ran.code == 2
    assert "--name" in ran.err
    assert film.run("template", "import", "t2v.json", "--force").code == 0
    (mine,) = [one for one in film.run("template", "list", "--json").data if one["name"] == "t2v"]
    assert mine["origin"] == "project, in place of ltx2-19b's"


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "_parts", "x" * 65, "a b", "a\n"])
def test_a_name_stays_in_its_folder(film: Film, name: str) -> None:
    ran = film.run("template", "import", workflow(text_to_video()), f"--name={name}")
    there = [path.name for path in film.folder.parent.rglob("*.j2")]
    assert (ran.code, there) == (2, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\xff", "cannot identify image file"),
        (b"\xff\xfe{\x00}\x00", "not a text file"),
        (b'{"nodes": [], "links": []}', "saves no video"),
        (b'{"nodes": [{"id": 1}], "links": []}', 'has no "id" or no "type"'),
        (b'{"1": ', "not JSON"),
        (b" " * (32 << 20) + b" ", "larger than 32 MB"),
        (json.dumps({"1": node("SaveImage", filename_prefix="x")}).encode(), "saves no video"),
    ],
)
def test_what_is_no_workflow_is_refused_with_its_place(film: Film, content: bytes, words: str) -> None:
    Path("x.json").write_bytes(content)
    ran = film.run("template", "import", "x.json")
    assert ran.code == 2
    assert words in ran.err
    assert not (film.folder / "templates").exists()


def test_a_missing_file_is_told(film: Film) -> None:
    assert '"nowhere.json" cannot be read' in film.run("template", "import", "nowhere.json").err
    assert film.run("template", "import").code == 2


def test_foreign_nodes_need_the_users_allowance(film: Film) -> None:
    (film.folder / "a.png").write_bytes(b"")
    Image.new("RGB", (64, 64)).save(film.folder / "a.png")
    told = film.run("template", "import", workflow(classic())).out
    assert 'allowed_nodes: ["VHS_VideoCombine"]' in told
    film.run("trust")
    use(film, "reference: a.png")
    ran = film.run("check", "--json")
    assert ran.code == 1
    (problem,) = [problem for problem in ran.envelope["problems"] if problem["code"] == "N102"]
    assert problem["where"]["file"] == "film/project.yaml"
    assert 'hook/a: class "VHS_VideoCombine"' in problem["message"]
    assert 'template "mine"' in problem["message"]
    folder = config_folder(os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("allowed_nodes: [VHS_VideoCombine]\n")
    assert film.run("check").code == 0


def test_a_size_that_is_not_sampled_is_cut_out_of_a_larger_picture(film: Film) -> None:
    film.edit("size: ", "size: 1920x1080 #")
    bring(film, two_stages(text_to_video()))
    use(film, "stages: 2")
    graph = graph_of(film)
    assert graph["80-cut"]["inputs"] == {"image": ["80", 0], "width": 1920, "height": 1080, "x": 0, "y": 4}
    assert graph["88"]["inputs"]["images"] == ["80-cut", 0]


def test_a_size_that_the_film_cannot_change_is_told_with_both(film: Film) -> None:
    graph = two_stages(text_to_video())
    graph["60"]["inputs"]["model_name"] = "ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors"
    told = film.run("template", "import", workflow(graph)).out
    assert "the film is 128x128, but this workflow always makes 1152x768" in told


def test_a_workflows_own_cut_is_used(film: Film) -> None:
    film.edit("size: ", "size: 1920x1080 #")
    told = film.run("template", "import", workflow(cropped(), "cut.json")).out
    assert "cut out of a larger picture" not in told
    film.run("trust")
    Image.new("RGB", (64, 64)).save(film.folder / "a.png")
    film.edit("      - id: a\n", "      - id: a\n        template: cut\n        reference: a.png\n")
    assert graph_of(film)["82"]["inputs"] == {"image": ["80", 0], "width": 1920, "height": 1080, "x": 0, "y": 4}


def test_every_shape_comes_in_and_passes_the_check(film: Film) -> None:
    good = [graph for graph in SHAPES.values() if graph not in (classic(), continued())]
    names = [f"w{number}" for number in range(len(good))]
    for name, graph in zip(names, good, strict=True):
        assert film.run("template", "import", "-q", workflow(graph, f"{name}.json")).code == 0
    ran = film.run("template", "check", *names, "--json")
    assert ran.code == 0, ran.out
    assert [one["name"] for one in ran.data] == names
    assert all(one["ok"] and one["samples"] >= 4 for one in ran.data)


# --- any workflow comes in


def unknown(class_: str = "SomebodysNoise") -> dict[str, Any]:
    """A workflow of the editor with a node that is no core node, and its entry on a server."""
    sheet = drawn(text_to_video())
    noise = next(one for one in sheet["nodes"] if one["type"] == "RandomNoise")
    noise |= {"type": class_, "widgets_values": [7, "randomize", "pink"]}
    return sheet


SOMEBODYS = {
    "SomebodysNoise": {
        "input": {"required": {"noise_seed": ["INT", {"control_after_generate": True}], "colour": [["white", "pink"]]}},
        "output": ["NOISE"],
        "python_module": "custom_nodes.somebody",
    }
}


def test_a_workflow_of_the_editor_makes_a_clip(film: Film) -> None:
    sheet = drawn(two_stages(text_to_video()))
    inside = {one["id"] for one in sheet["nodes"] if one["type"] != "SaveVideo"}
    host = into_subgraph(sheet, sheet, inside)
    with_side_shows(sheet)
    ran = film.run("template", "import", workflow(sheet, "mine.json"))
    assert ran.code == 0, ran.err
    assert "1 muted node: left out" in ran.out
    film.run("trust")
    use(film, "stages: 2", "seed: 5")
    graph = graph_of(film)
    by_class = {one["class_type"]: one["inputs"] for id, one in graph.items() if id.startswith(f"{host}:")}
    assert by_class["EmptyLTXVLatentVideo"]["length"] == by_class["LTXVEmptyLatentAudio"]["frames_number"]
    assert film.run("check").code == 0


def test_values_of_a_class_that_is_not_known_need_a_server(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXFLOW_SERVERS", "http://127.0.0.1:9")  # nothing answers
    ran = film.run("template", "import", workflow(unknown(), "mine.json"), "--json")
    (problem,) = ran.envelope["problems"]
    assert (ran.code, problem["code"]) == (2, "T026")
    assert '"SomebodysNoise"' in problem["message"]
    assert "--server URL" in problem["hint"]
    with FakeComfy(extra_nodes=SOMEBODYS) as server:
        ran = film.run("template", "import", "mine.json", "--server", server.url, "--json")
        assert ran.code == 0, ran.err
        assert {
            "variable": "seed",
            "node": "11",
            "class": "SomebodysNoise",
            "input": "noise_seed",
            "was": 7,
        } in ran.data["found"]
        (film.folder / "templates" / "mine.json.j2").unlink()
        monkeypatch.setenv("LTXFLOW_SERVERS", server.url)  # one that is found does as well
        assert film.run("template", "import", "mine.json").code == 0
    assert '"colour": "pink"' in (film.folder / "templates" / "mine.json.j2").read_text()


def test_a_server_that_is_named_and_does_not_answer_is_an_error(film: Film) -> None:
    ran = film.run("template", "import", workflow(text_to_video()), "--server", "http://127.0.0.1:9")
    assert ran.code == 4
    assert not (film.folder / "templates").exists()


def test_a_paid_service_is_refused(film: Film) -> None:
    paid = {name: {**entry, "api_node": True} for name, entry in SOMEBODYS.items()}
    with FakeComfy(extra_nodes=paid) as server:
        ran = film.run("template", "import", workflow(unknown(), "mine.json"), "--server", server.url, "--json")
    assert (ran.code, ran.envelope["problems"][0]["code"]) == (2, "T027")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda graph: {"_comment": "my look", **graph, "extra": {"ds": {}}},
        lambda graph: {"input": {"workflow": graph}},
        lambda graph: {"input": {"workflow": drawn(graph), "images": []}},
        lambda graph: {"prompt": graph, "client_id": "x"},
        lambda graph: {"output": graph, "workflow": drawn(graph)},
        lambda graph: {"input": {"workflow_json": json.dumps(graph)}},
        lambda graph: {"a-b-c": {"prompt": [3, "a-b-c", graph, {}, ["89"]], "outputs": {}}},
    ],
)
def test_a_workflow_in_something_larger(film: Film, wrap: Any) -> None:
    ran = film.run("template", "import", workflow(wrap(text_to_video()), "mine.json"), "--json")
    assert ran.code == 0, ran.out
    assert len(ran.data["found"]) == 11


def test_a_picture_that_comfyui_made_brings_its_workflow(film: Film) -> None:
    info = PngInfo()
    info.add_text("prompt", json.dumps(text_to_video()))
    Image.new("RGB", (8, 8)).save("ComfyUI_0001_.png", pnginfo=info)
    ran = film.run("template", "import", "ComfyUI_0001_.png")
    assert ran.code == 0, ran.err
    assert "templates/comfyui_0001.json.j2  from ComfyUI_0001_.png" in ran.out


def test_what_was_changed_and_left_out_is_told(film: Film) -> None:
    graph = classic()
    graph["s"]["inputs"] |= {"save_output": False, "format": "image/gif"}
    graph["x"] = node("LoadImage", image="not used.png")
    told = film.run("template", "import", workflow(graph)).out
    assert "set save_output to true" in told
    assert "set format to video/h264-mp4" in told
    assert 'left out: no saved output needs it\n    node "x" (LoadImage)' in told
    assert "not used.png" not in (film.folder / "templates" / "mine.json.j2").read_text()


def test_loras_in_a_mapping_stay_as_they_are(film: Film) -> None:
    graph = text_to_video()
    lora = {"on": True, "lora": "a/b.safetensors", "strength": 0.8}
    graph["17"] = node("Power Lora Loader (rgthree)", model=["1", 0], lora_1=lora, lora_2={**lora, "on": False})
    graph["17"]["inputs"]["PowerLoraLoaderHeaderWidget"] = {"type": "PowerLoraLoaderHeaderWidget"}
    graph["54"]["inputs"]["model"] = ["17", 0]
    bring(film, graph)
    use(film)
    assert graph_of(film)["17"]["inputs"] == graph["17"]["inputs"]


# --- sounds


def sound(name: str, level: int = 1000, seconds: float = 6) -> None:
    with wave.open(name, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(int(level).to_bytes(2, "little") * int(8000 * seconds))


def spoken(film: Film, *settings: str) -> Film:
    bring(film, by_sound())
    sound(str(film.folder / "a.wav"))
    Image.new("RGB", (64, 64)).save(film.folder / "a.png")
    return use(film, "reference: a.png", *settings)


def test_a_clips_sound_is_uploaded_by_its_bytes(film: Film) -> None:
    spoken(film, "sound: a.wav")
    digest = digest_file(film.folder / "a.wav")
    graph = graph_of(film)
    assert graph["33"]["inputs"] == {"audio": f"ltxflow/{digest[:32]}.wav"}
    assert graph["105"]["inputs"]["value"] == pytest.approx(graph["40"]["inputs"]["length"] / 25)
    asset = next(one for one in _shot(film).assets() if one.role == "sound")
    assert (asset.name, asset.recipe) == (graph["33"]["inputs"]["audio"], {"sound": digest})
    assert film.run("check").code == 0


def _shot(film: Film) -> ClipSpec:
    with film.session() as session:
        shot: ClipSpec = next(iter(session.plan(PlanOptions()).plan.nodes.values())).spec
    return shot


def test_another_sound_is_another_clip_and_another_name_is_not(film: Film) -> None:
    spoken(film, "sound: a.wav")
    key = film.run("explain", "hook/a", "--json").data
    sound(str(film.folder / "b.wav"))
    film.edit("sound: a.wav", "sound: b.wav")
    assert _key(film.run("explain", "hook/a", "--json").data) == _key(key)
    sound(str(film.folder / "b.wav"), level=2000)
    assert _key(film.run("explain", "hook/a", "--json").data) != _key(key)


def _key(explained: Any) -> Any:
    return explained["key"] if isinstance(explained, dict) else explained[0]["key"]


def test_a_clip_without_its_sound_is_told(film: Film) -> None:
    spoken(film)
    (problem,) = film.run("plan", "--json").envelope["problems"]
    assert (problem["code"], 'template "mine" needs sound' in problem["message"]) == ("L083", True)


def test_a_sound_that_no_template_reads_is_told_at_its_line(film: Film) -> None:
    sound(str(film.folder / "a.wav"))
    film.edit("      - id: a\n", "      - id: a\n        sound: a.wav\n")
    (problem,) = film.run("plan", "--json").envelope["problems"]
    line = film.file.read_text().splitlines()[problem["where"]["line"] - 1]
    assert (problem["code"], line.strip()) == ("L086", "sound: a.wav")
    film.edit("sound: a.wav", "sound: null")
    assert film.run("plan").code == 0


@pytest.mark.parametrize(("name", "code"), [("nowhere.wav", "L020"), ("a.png", "L024"), ("../../x.wav", "L012")])
def test_a_sound_that_cannot_be_read_is_told_at_its_line(film: Film, name: str, code: str) -> None:
    spoken(film, f"sound: {name}")
    problem = film.run("plan", "--json").envelope["problems"][0]
    line = film.file.read_text().splitlines()[problem["where"]["line"] - 1]
    assert (problem["code"], line.strip()) == (code, f"sound: {name}")


# --- what a template may not do


def test_a_template_reads_only_what_the_clip_uploads(film: Film) -> None:
    ran = film.run("template", "import", workflow(continued()), "--json")
    (problem,) = ran.envelope["problems"]
    assert (ran.code, problem["code"]) == (2, "T023")
    line = Path("mine_api.json").read_text().splitlines()[problem["where"]["line"] - 1]
    assert '"33": {' in line
    assert not (film.folder / "templates").exists()

    file = bring(film, image_to_video())
    file.write_text(file.read_text().replace("{{ reference }}", '"before.png"').replace("needs: [reference]", ""))
    film.run("trust")
    use(film)
    ran = film.run("plan", "--json")
    (problem,) = ran.envelope["problems"]
    assert (ran.code, problem["code"]) == (2, "L084")
    assert 'node "30" (LoadImage) of template "mine" would read "before.png"' in problem["message"]
    assert problem["where"]["file"] == "film/project.yaml"


@pytest.mark.parametrize("value", ['"/etc/hostname"', '"../main.py"', '["105", 0]', "5"])
def test_no_other_file_of_the_server_is_read(film: Film, value: str) -> None:
    file = bring(film, image_to_video())
    text = file.read_text().replace("{{ reference }}", value)
    file.write_text(
        text.replace('  "30": {', '  "105": {"class_type": "PrimitiveString", "inputs": {"value": "x"}},\n  "30": {')
    )
    film.run("trust")
    Image.new("RGB", (64, 64)).save(film.folder / "a.png")
    use(film, "reference: a.png")
    ran = film.run("plan", "--json")
    assert (ran.code, ran.envelope["problems"][0]["code"]) == (2, "L084")


def test_a_clip_has_what_its_template_needs(film: Film) -> None:
    bring(film, image_to_video())
    use(film)
    (problem,) = film.run("plan", "--json").envelope["problems"]
    line = film.file.read_text().splitlines()[problem["where"]["line"] - 1]
    assert (problem["code"], line.strip()) == ("L083", "template: mine")
    assert 'template "mine" needs reference' in problem["message"]


def test_files_of_foreign_loaders_are_found_by_a_servers_signatures(film: Film) -> None:
    shot: ClipSpec = next(iter(film.session().plan(PlanOptions()).plan.nodes.values())).spec
    entry = {"input": {"required": {"video": [["a.mp4"], {"video_upload": True}]}}, "output": ["IMAGE"]}
    signatures = Signatures.from_object_info({"VHS_LoadVideo": entry})
    graph = {"1": node("VHS_LoadVideo", video="/etc/x.mp4")}
    assert shot.unexpected_file_inputs(graph) == []
    (problem,) = shot.unexpected_file_inputs(graph, signatures)
    assert '"/etc/x.mp4"' in problem.message


# --- list and show


def test_list_tells_where_each_is_from_and_whether_it_is_trusted(film: Film) -> None:
    film.run("template", "import", workflow(text_to_video()))
    by_name = {one["name"]: one for one in film.run("template", "--json").data}
    assert by_name["t2v"]["trusted"] is True
    assert (by_name["mine"]["origin"], by_name["mine"]["trusted"]) == ("project", False)
    assert by_name["i2v"]["needs"] == ["reference"]
    assert "no: ltxflow trust" in film.run("template", "list").out
    film.run("trust")
    assert "no: ltxflow trust" not in film.run("template", "list").out


def test_ours_are_there_without_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"t2v", "i2v"} <= {one["name"] for one in run("template", "list", "--json").data}
    assert run("template", "show", "t2v").out.startswith("{# ltxflow-template: 1")
    assert run("template", "check", "t2v").code == 0


def test_show_tells_the_text_or_the_variables(film: Film) -> None:
    file = bring(film, text_to_video())
    assert film.run("template", "show", "mine").out == file.read_text()
    told = film.run("template", "show", "mine", "--variables").out
    assert "seed" in told
    assert "2^53" in told
    ran = film.run("template", "show", "myne")
    assert (ran.code, 'no template "myne"' in ran.err) == (2, True)


# --- check


def test_a_wrong_node_is_told_at_its_line_in_the_template(film: Film) -> None:
    file = bring(film, text_to_video())
    file.write_text(file.read_text().replace('"noise_seed"', '"noise_sed"').replace('["2", 0]', '["1", 0]'))
    ran = film.run("template", "check", "mine", "--json")
    assert ran.code == 1
    first = ran.envelope["problems"][0]
    line = file.read_text().splitlines()[first["where"]["line"] - 1]
    assert first["message"].startswith('input "clip" takes CLIP') or first["code"] == "N105"
    assert '"20": {' in line
    film.run("trust")
    use(film)
    told = film.run("check", "--json").envelope["problems"]
    assert {p["where"]["file"] for p in told if p["level"] == "error"} == {"film/project.yaml"}
    assert any('hook/a: required input "noise_seed"' in p["message"] for p in told)


def test_what_several_clips_share_is_told_once(film: Film) -> None:
    file = bring(film, text_to_video())
    file.write_text(file.read_text().replace('"noise_seed"', '"noise_sed"').replace('"sampler_name"', '"sampler"'))
    film.run("trust")
    film.edit("scenes:", "defaults: { clip: { template: mine } }\nscenes:")
    errors = [p for p in film.run("check", "--json").envelope["problems"] if p["level"] == "error"]
    assert len(errors) == 2
    assert all(p["message"].endswith("(and 3 more clips)") for p in errors)


def test_a_template_that_does_not_render_is_told(film: Film) -> None:
    file = bring(film, text_to_video())
    file.write_text(file.read_text().replace("{{ seed }}", "{{ sede }}"))
    ran = film.run("template", "check", "mine")
    assert ran.code == 1
    assert '"sede" is undefined' in ran.err
    assert "mine.json.j2:" in ran.err


def test_check_against_a_server(film: Film) -> None:
    graph = text_to_video()
    graph["1"]["inputs"]["ckpt_name"] = "ltx-2-19b-dev-fp9.safetensors"
    bring(film, graph)
    with FakeComfy() as server:
        assert film.run("template", "check", "t2v", "control", "--server", server.url).code == 0
        ran = film.run("template", "check", "mine", "--server", server.url)
    assert ran.code == 1
    assert 'did you mean "ltx-2-19b-dev-fp8.safetensors"?' in ran.err
    assert film.run("template", "check", "mine").code == 0
