"""Other models are data: profiles that extend the first and use its templates, without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import MODELS_LTX23, FakeComfy
from harness.film import Film, prompt
from harness.media import write_picture

import ltxflow
from ltxflow.comfy.signatures import recorded_info
from ltxflow.documents import yaml
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.models.profile import Profile, ProfileRequirements
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.workflow.render import Graph
from ltxflow.workflow.template import read_templates

PROFILES = sorted(path.parent.name for path in templates_folder().glob("*/profile.yaml"))
PACKAGE = Path(ltxflow.__file__).parent
SIGNATURES = recorded_info("0.27.0")
DUAL = {
    "input": {
        "required": {
            "model": ["MODEL"],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "video_cfg": ["FLOAT", {}],
            "audio_cfg": ["FLOAT", {}],
        }
    },
    "output": ["GUIDER"],
}


def write(film: Film, profile: str, clip: str = "", **top: str) -> Film:
    keys = {"ltxflow": "1", "id": "other", "size": "128x128", "profile": profile, **top}
    text = "\n".join(f"{key}: {value}" for key, value in keys.items())
    line = f"\n        {clip}" if clip else ""
    film.file.write_text(
        f'{text}\nscenes:\n  - id: one\n    clips:\n      - id: a\n        prompt: "{prompt("one-a")}"'
        f"\n        length: 17f{line}\n"
    )
    return film


def graph(film: Film) -> Graph:
    """Return the workflow of the film's clip, with the profile's names of the files."""
    (node,) = film.session().plan(PlanOptions()).plan.nodes.values()
    shot: ClipSpec = node.spec
    return shot.graph(shot.first_names, {}, "x")


def classes(made: Graph) -> list[str]:
    return [node["class_type"] for node in made.values()]


def numbers(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for n, item in enumerate(value) for found in numbers(item, (*path, n))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


# --- all of them


@pytest.mark.parametrize("name", PROFILES)
def test_every_number_has_a_source(name: str) -> None:
    data = yaml.read(templates_folder() / name / "profile.yaml", name).data
    for path in set(numbers(data)) - {("ltxflow-profile",), ("version",)}:
        around: list[Any] = [data]
        for step in path[:-1]:
            around.append(around[-1][step])
        assert any(isinstance(part, dict) and part.get("source") for part in around), path


def test_no_python_names_a_model_but_the_default() -> None:
    others = [name for name in PROFILES if name != "ltx2-19b"]
    assert len(others) >= 4
    words = [*others, "ltx-2.3", "ltx-2.5", "2.3-22b"]
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert [word for word in words if word in text] == [], path


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "ltx2-19b"])
def test_templates_are_shared(name: str) -> None:
    assert not list((templates_folder() / name).glob("*.j2"))
    first, own = read_templates("ltx2-19b", None), read_templates(name, None)
    assert {n: t.path for n, t in own.items()} == {n: t.path for n, t in first.items()}
    assert all(template.trusted for template in own.values())


def test_a_profile_of_the_project_shares_templates_too(tmp_path: Path) -> None:
    own = tmp_path / "templates" / "mine"
    own.mkdir(parents=True)
    (own / "profile.yaml").write_text("ltxflow-profile: 1\nname: mine\nextends: ltx2.3-22b\n")
    (own / "t2v.json.j2").write_text('{# ltxflow-template: 1\ntitle: "mine"\n#}\n{}')
    found = read_templates("mine", tmp_path)
    assert found["i2v"].trusted
    assert not found["t2v"].trusted


# --- the second model


@pytest.fixture(scope="module")
def second() -> Profile:
    return load_profile("ltx2.3-22b")


def test_its_numbers_are_those_of_its_template(second: Profile) -> None:
    distilled = second.qualities["distilled"]
    assert distilled.sigmas == "1., 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0"
    assert (distilled.distilled, distilled.distilled_strength, distilled.cfg) == (True, 0.5, 1.0)
    assert {quality.stage2.sigmas for quality in second.qualities.values()} == {"0.85, 0.7250, 0.4219, 0.0"}
    assert (second.reference.strength, second.reference.compression) == (0.7, 18)
    assert second.negative.startswith("pc game")


@pytest.mark.parametrize("quality", ["preview", "distilled", "full"])
def test_its_workflow_names_its_files(film: Film, quality: str) -> None:
    made = graph(write(film, "ltx2.3-22b", quality=quality))
    names = [str(value) for node in made.values() for value in node["inputs"].values() if ".safetensors" in str(value)]
    assert all(name.startswith(("ltx-2.3-", "gemma_3_")) for name in names)
    assert "ltx-2.3-22b-dev-fp8.safetensors" in names
    assert "LTXVDualCFGGuider" not in classes(made)
    if quality != "full":
        assert made["18"]["inputs"]["strength_model"] == 0.5


def test_a_film_of_it_is_built(film: Film) -> None:
    with FakeComfy(models=MODELS_LTX23) as server:
        ran = write(film, "ltx2.3-22b").run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 1), ran.out


# --- the one in parts, which needs newer servers


def test_a_model_in_parts_loads_each(film: Film) -> None:
    made = graph(write(film, "ltx2.5"))
    assert {"UNETLoader", "CLIPLoader", "VAELoader", "LTXVDualCFGGuider"} < set(classes(made))
    absent = {"CheckpointLoaderSimple", "LTXVAudioVAELoader", "LTXAVTextEncoderLoader", "CFGGuider"}
    assert not absent & set(classes(made))
    assert "LoraLoaderModelOnly" not in classes(made)
    assert [made[id]["inputs"]["noise_seed"] for id in ("72",)] == [42]
    assert made["54"]["inputs"]["model"] == made["74"]["inputs"]["model"] == ["1", 0]
    assert made["41"]["inputs"]["audio_vae"] == ["3", 0]
    assert made["80"]["inputs"]["vae"] == made["61"]["inputs"]["vae"] == ["4", 0]
    for id, node in made.items():
        inputs = {**SIGNATURES, "LTXVDualCFGGuider": DUAL}[node["class_type"]]["input"]
        assert set(inputs["required"]) <= set(node["inputs"]) <= {*inputs["required"], *inputs.get("optional", {})}, id


def test_requirements_of_a_model_cause_no_warning_about_the_film(film: Film) -> None:
    assert [p for p in write(film, "ltx2.5").session().loaded.problems if p.level != "advice"] == []


def test_a_server_with_the_nodes_is_used_whatever_its_version(film: Film) -> None:
    """Development versions between two releases report the earlier one."""
    with FakeComfy(version="0.27.0", extra_nodes={"LTXVDualCFGGuider": DUAL}) as server:
        ran = write(film, "ltx2.5").run("build", "--json", "--server", server.url)
    assert "newer than" not in ran.out
    assert 'no \\"ltx-2.5-22b-distilled-transformer-bf16.safetensors\\" in diffusion_models' in ran.out


def test_a_server_without_the_nodes_is_named(film: Film) -> None:
    with FakeComfy() as server:
        ran = write(film, "ltx2.5").run("build", "--json", "--server", server.url)
    assert ran.code == 1
    assert "ltx2.5, used by one/a, requires a ComfyUI 0.32.0 or newer that has LTXVDualCFGGuider" in ran.out
    assert "found 0.27.0 without LTXVDualCFGGuider" in ran.out


def test_a_server_with_the_nodes_is_checked_for_files_whatever_its_version(film: Film) -> None:
    with FakeComfy(version="0.28.0", extra_nodes={"LTXVDualCFGGuider": DUAL}) as server:
        ran = write(film, "ltx2.5").run("build", "--json", "--server", server.url)
    assert "or newer" not in ran.out.splitlines()[-1]
    assert 'no \\"ltx-2.5-22b-distilled-transformer-bf16.safetensors\\" in diffusion_models' in ran.out


def test_it_doubles_the_frame_rate_and_samples_that_again(film: Film) -> None:
    for stages, sources in (("1", ["56", "67", "76"]), ("2", ["56", "61", "67", "76"])):
        made = graph(write(film, "ltx2.5", f"temporal_upscale: true\n        stages: {stages}", fps="24"))
        assert made["67"]["inputs"]["samples"] == [sources[-3], 0]
        assert made["70"]["inputs"]["video_latent"] == ["67", 0]
        assert made["23"]["inputs"]["frame_rate"] == 24.0
        assert made["22"]["inputs"]["frame_rate"] == 12.0
        assert made["74"]["inputs"]["positive"] == ["23", 0]
        assert made["80"]["inputs"]["samples"] == ["76", 0]
        assert made["88"]["inputs"]["fps"] == 24.0


def test_a_profile_of_dev_guides_stage_1_and_refines_through_the_lora(film: Film) -> None:
    made = graph(write(film, "ltx2.5-dev"))
    assert made["54"]["inputs"] == {
        "model": ["15", 0],
        "positive": ["22", 0],
        "negative": ["22", 1],
        "video_cfg": 3.0,
        "audio_cfg": 7.0,
    }
    assert made["15"]["inputs"]["model"] == ["14", 0]
    assert made["14"]["inputs"]["model"] == ["1", 0]
    assert made["74"]["inputs"]["model"] == ["18", 0]
    assert made["21"]["class_type"] == "CLIPTextEncode", "the negative prompt has an effect"


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("profile", ["ltx2.3-22b", "ltx2.5"])
def test_first_and_last_frame_are_guides_and_the_denoised_picture_is_taken(
    film: Film, profile: str, stages: int
) -> None:
    write_picture(film.folder / "refs" / "a.png", (9, 9, 9))
    clip = f"reference: refs/a.png\n        last_frame: refs/a.png\n        stages: {stages}"
    made = graph(write(film, profile, clip))
    assert [made[id]["inputs"]["frame_idx"] for id in ("42", "43")] == [0, -1]
    assert made["43"]["inputs"]["positive"] == ["42", 0]
    assert made["53"] == {**made["53"], "class_type": "SamplerEulerAncestral", "inputs": {"eta": 0.0, "s_noise": 1.0}}
    assert made["56"]["inputs"]["av_latent"] == ["55", 1]
    if stages == 2:
        assert [made[id]["inputs"]["strength"] for id in ("62", "63")] == [1.0, 1.0]


def test_first_and_last_frame_clips_have_one_stage_by_default(film: Film) -> None:
    write_picture(film.folder / "refs" / "a.png", (9, 9, 9))
    assert "75" in graph(write(film, "ltx2.5", "reference: refs/a.png"))
    assert "75" not in graph(write(film, "ltx2.5", "last_frame: refs/a.png"))
    assert "75" in graph(write(film, "ltx2.5", "last_frame: refs/a.png\n        stages: 2"))
    assert "75" in graph(write(film, "ltx2-19b", "last_frame: refs/a.png"))


@pytest.mark.parametrize(
    ("wanted", "version", "is_met"),
    [
        (">0.27.0", "0.27.0", False),
        (">0.27.0", "0.27.1", True),
        (">0.27.0", "v1.0.0-rc1", True),
        (">=0.28.0", "0.27.9", False),
        (">=0.28.0", "0.28.0", True),
        (">0.27.0", "unknown", True),
        ("", "0.1.0", True),
    ],
)
def test_versions(wanted: str, version: str, is_met: bool) -> None:
    assert ProfileRequirements(wanted).is_met_by(version) is is_met
