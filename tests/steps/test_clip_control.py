"""A guide video: its map is computed, or it is used as it is; which of the two is shown, and part of the key."""

from __future__ import annotations

from typing import Any

import pytest
from harness.film import Film, prompt
from harness.media import canned

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps.clip.spec import ClipSpec

TARGET = "clip:s/a@1"
MAPS = {  # by mode: the nodes that compute it, the last of which gives the map, and the model that they use
    "canny": ({"Canny"}, ""),
    "depth": ({"LoadMoGeModel", "MoGeInference", "MoGeRender"}, "depth_estimator"),
    "pose": ({"CheckpointLoaderSimple", "SDPoseKeypointExtractor", "SDPoseDrawKeypoints"}, "pose_estimator"),
}
COMPUTING = {"Canny", "LoadMoGeModel", "MoGeInference", "MoGeRender", "SDPoseKeypointExtractor", "SDPoseDrawKeypoints"}


def write(film: Film, **control: Any) -> Film:
    (film.folder / "refs").mkdir(exist_ok=True)
    (film.folder / "refs/guide.mp4").write_bytes(canned(25, (128, 128), 24, "guide"))
    written = {"video": "refs/guide.mp4", "lora": "guide.safetensors", **control}
    guide = ", ".join(f"{name}: {value}" for name, value in written.items() if value is not None)
    film.file.write_text(
        "ltxflow: 1\nid: tiny\nsize: 128x128\nfps: 24\nquality: distilled\nscenes:\n  - id: s\n    clips:\n"
        f"      - {{ id: a, length: 25f, prompt: '{prompt('a')}', control: {{ {guide} }} }}\n"
    )
    return film


def shot(film: Film) -> ClipSpec:
    found: ClipSpec = film.session().plan(PlanOptions()).plan.nodes[TARGET].spec
    return found


def key(film: Film) -> str:
    return str(film.session().plan(PlanOptions()).statuses[TARGET].key)


def graph(film: Film) -> dict[str, Any]:
    made = shot(film)
    return made.graph({role: f"{role}.safetensors" for role in made.profile.models}, {}, "x")


def said(film: Film) -> list[Problem]:
    return [each for each in film.session().loaded.problems if each.code in {"L048", "L049"}]


def kinds(film: Film) -> set[str]:
    return {node["class_type"] for node in graph(film).values()}


@pytest.mark.parametrize("mode", MAPS)
def test_a_map_is_computed_frame_by_frame(film: Film, mode: str) -> None:
    made = graph(write(film, mode=mode, preprocess="true"))
    nodes, role = MAPS[mode]
    assert kinds(film) & COMPUTING == nodes & COMPUTING
    video = next(id for id, node in made.items() if node["class_type"] == "GetVideoComponents")
    loaders = [node for node in made.values() if f"{role}.safetensors" in map(str, node["inputs"].values())]
    assert len(loaders) == (1 if role else 0)
    reads = [node for node in made.values() if node["class_type"] in nodes and "image" in node["inputs"]]
    assert len(reads) == 1  # the whole video, not its first frame alone
    assert _comes_from(made, reads[0]["inputs"]["image"][0], video)
    assert said(film) == []


def _comes_from(made: dict[str, Any], id: str, source: str) -> bool:
    links = [value[0] for value in made[id]["inputs"].values() if isinstance(value, list)]
    return id == source or any(_comes_from(made, link, source) for link in links)


@pytest.mark.parametrize("mode", [*MAPS, "raw", "detailer"])
def test_a_video_is_used_as_it_is(film: Film, mode: str) -> None:
    assert not kinds(write(film, mode=mode, preprocess="false")) & COMPUTING
    assert said(film) == []


def test_of_edges_the_map_is_computed_unless_the_film_states_otherwise(film: Film) -> None:
    usual = key(write(film, mode="canny"))
    assert "Canny" in kinds(film)
    assert said(film) == []
    assert key(write(film, mode="canny", preprocess="true")) == usual
    assert key(write(film, mode="canny", preprocess="false")) != usual


@pytest.mark.parametrize("mode", ["depth", "pose"])
def test_of_others_it_is_noted_that_the_video_is_used_as_it_is(film: Film, mode: str) -> None:
    usual = key(write(film, mode=mode))
    (problem,) = said(film)
    what = {"depth": "depth", "pose": "poses"}[mode]
    assert (problem.code, problem.level) == ("L049", "warning")
    assert problem.message == f'control mode "{mode}": "refs/guide.mp4" is used as it is, as a map of {what}'
    assert "preprocess: true" in problem.hint
    assert problem.span is not None
    assert problem.span.line == 9
    assert not kinds(film) & COMPUTING
    assert key(write(film, mode=mode, preprocess="false")) == usual
    assert key(write(film, mode=mode, preprocess="true")) != usual


@pytest.mark.parametrize("mode", ["raw", "detailer"])
def test_there_is_not_map_of_a_video_that_is_none(film: Film, mode: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        write(film, mode=mode, preprocess="true").session()
    (problem,) = caught.value.problems
    assert (problem.code, problem.hint) == ("L048", "write preprocess: false, or mode: canny, depth, pose")
    assert problem.message == f'no map can be computed from a guide video for mode "{mode}"'


@pytest.mark.parametrize("mode", ["depth", "pose"])
def test_the_key_states_which_model_computed_the_map(film: Film, mode: str) -> None:
    made = shot(write(film, mode=mode, preprocess="true"))
    role = MAPS[mode][1]
    assert role in made.roles()
    assert role not in shot(write(film, mode=mode)).roles()
    token = made.graph(made.profile.tokens(made.weights), {}, "x")
    assert f"ltx-2/19b:{role}@fp16" in str(token)


def test_the_profile_names_the_lora_of_a_mode(film: Film) -> None:
    made = shot(write(film, mode="canny", lora=None))
    assert made.clip.get("control.lora") == made.profile.control_loras["canny"]
    with pytest.raises(LtxflowError) as caught:
        write(film, mode="raw", lora=None).session()
    assert [problem.code for problem in caught.value.problems] == ["L046"]
