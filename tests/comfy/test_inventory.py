"""Promises of comfy/inventory.py: the models and nodes of a server, and hints for missing ones."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import MODELS_LTX2, FakeComfy

from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import Server
from ltxflow.comfy.inventory import Inventory, Names, fit_graph, resolve_names
from ltxflow.comfy.signatures import core_classes, recorded_info, reported_core
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.models.load import load_profile
from ltxflow.models.profile import Profile, matching_files

ROLES = ("checkpoint", "text_encoder", "distilled_lora", "spatial_upscaler")
WEIGHTS = {
    "checkpoint": "fp8",
    "text_encoder": "bf16",
    "distilled_lora": "bf16",
    "spatial_upscaler": "bf16",
    "temporal_upscaler": "bf16",
    "depth_estimator": "fp16",
}
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
SPAN = Span("film/project.yaml", 7, 9)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("ltx2-19b")


def on(fake: FakeComfy, body: Callable[[Inventory], Coroutine[Any, Any, Any]]) -> Any:
    async def asked() -> Any:
        async with asyncio.timeout(20), Client(Server(fake.url, name="bench")) as client:
            return await body(Inventory(client))

    return asyncio.run(asked())


def resolve(
    fake: FakeComfy,
    profile: Profile,
    roles: tuple[str, ...] = ROLES,
    loras: tuple[tuple[str, Span | None], ...] = (),
    **weights: str,
) -> Names:
    async def body(inventory: Inventory) -> Names:
        return await resolve_names(inventory, profile, WEIGHTS | weights, roles, loras, "hook/a")

    found: Names = on(fake, body)
    return found


def refusal(fake: FakeComfy, profile: Profile, *args: Any, **options: Any) -> tuple[Problem, ...]:
    with pytest.raises(LtxflowError) as caught:
        resolve(fake, profile, *args, **options)
    assert caught.value.exit_code == 1
    assert all(problem.code == "C010" for problem in caught.value.problems)
    return caught.value.problems


def models(**folders: list[str]) -> dict[str, list[str]]:
    return {**MODELS_LTX2, **folders}


# Names


def test_names_are_those_of_the_server(profile: Profile) -> None:
    nested = "ltx/ltx-2-19b-dev-fp8.safetensors"
    windows = "ltx2\\gemma_3_12B_it.safetensors"
    with FakeComfy(models=models(checkpoints=[nested], text_encoders=[windows])) as fake:
        found = resolve(fake, profile, loras=(("my_style_lora", None), ("my_style_lora.safetensors", None)))
    assert found.models["checkpoint"] == nested
    assert found.models["text_encoder"] == windows
    assert found.loras == dict.fromkeys(("my_style_lora", "my_style_lora.safetensors"), "my_style_lora.safetensors")


def test_each_folder_is_requested_once(profile: Profile) -> None:
    with FakeComfy() as fake:

        async def body(inventory: Inventory) -> None:
            for _ in range(3):
                await resolve_names(inventory, profile, WEIGHTS, ROLES, [("my_style_lora", None)], "hook/a")

        on(fake, body)
        requests = fake.stats()["requests"]
        assert {name: count for name, count in requests.items() if "/models/" in name} == {
            "GET /models/checkpoints": 1,
            "GET /models/text_encoders": 1,
            "GET /models/loras": 1,
            "GET /models/latent_upscale_models": 1,
        }


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("a.safetensors", ["a.safetensors", "x/a.safetensors"], "a.safetensors"),
        ("a", ["x/a.safetensors"], "x/a.safetensors"),
        ("a.safetensors", ["x\\a.safetensors"], "x\\a.safetensors"),
        ("x/a.safetensors", ["x/a.safetensors", "y/a.safetensors"], "x/a.safetensors"),
        ("a", ["ab.safetensors", "a.safetensors.bak"], None),
        ("", ["a.safetensors"], None),
    ],
)
def test_a_lora_is_found_with_or_without_folder_and_extension(wanted: str, there: list[str], found: str | None) -> None:
    assert matching_files([wanted], there)[:1] == ([found] if found else [])


# What is missing


def test_precision_is_never_mixed(profile: Profile) -> None:
    with FakeComfy(models=models(checkpoints=["ltx-2-19b-dev.safetensors"])) as fake:
        (problem,) = refusal(fake, profile)
    assert problem.message == 'bench: no "ltx-2-19b-dev-fp8.safetensors" in checkpoints, which hook/a needs'
    assert problem.hint == (
        "put it in ComfyUI/models/checkpoints; or use what is there: weights: {checkpoint: bf16}; "
        'closest there: "ltx-2-19b-dev.safetensors"'
    )


@pytest.mark.parametrize(
    ("role", "folder", "way_out"),
    [
        ("spatial_upscaler", "latent_upscale_models", "stages: 1"),
        ("distilled_lora", "loras", "quality: full with stages: 1"),
        ("temporal_upscaler", "latent_upscale_models", "temporal_upscale: false"),
        ("depth_estimator", "geometry_estimation", "preprocess: false, where the video is such a map already"),
    ],
)
def test_what_would_do_without_is_named(profile: Profile, role: str, folder: str, way_out: str) -> None:
    with FakeComfy(models=models(**{folder: []})) as fake:
        (problem,) = refusal(fake, profile, (role,))
    assert f"ComfyUI/models/{folder}" in problem.hint
    assert f"or do without it: {way_out}" in problem.hint
    assert "closest" not in problem.hint


def test_another_lora_of_the_same_use_is_named() -> None:
    newer = load_profile("ltx2.3-22b")
    there = newer.models["distilled_lora"].weights["rank-111"]
    with FakeComfy(models=models(loras=list(there))) as fake:
        (problem,) = refusal(fake, newer, ("distilled_lora",))
    assert "or use what is there: weights: {distilled_lora: rank-111}" in problem.hint


def test_all_missing_files_are_reported_at_once(profile: Profile) -> None:
    with FakeComfy(models=models(checkpoints=[], latent_upscale_models=[])) as fake:
        found = refusal(fake, profile, ROLES, (("nothing_like_it", SPAN),))
    assert [problem.message.split('"')[1] for problem in found] == [
        "ltx-2-19b-dev-fp8.safetensors",
        "ltx-2-spatial-upscaler-x2-1.0.safetensors",
        "nothing_like_it",
    ]
    assert found[-1].span == SPAN


def test_a_server_without_the_folder_has_nothing_in_it(profile: Profile) -> None:
    with FakeComfy() as fake:
        fake.misbehave.missing_models("checkpoints")
        (problem,) = refusal(fake, profile, ("checkpoint",))
    assert "in checkpoints" in problem.message


def test_a_name_from_a_server_cannot_write_on_the_terminal(profile: Profile) -> None:
    near = "ltx-2-19b-dev-fp9.safetensors"
    with FakeComfy(models=models(checkpoints=["ltx-2-19b-dev-\x1b[31mfp8.safetensors", near])) as fake:
        (problem,) = refusal(fake, profile, ("checkpoint",))
    assert problem.hint.isprintable()
    assert near in problem.hint


# Nodes


def check(inventory: Inventory, cache: Path, graph: dict[str, Any], allowed: frozenset[str] | None = None) -> Any:
    classes = core_classes() if allowed is None else allowed
    return fit_graph(inventory, graph, template="t2v", span=SPAN, allowed=classes, cache=cache)


def with_class(class_: str) -> dict[str, Any]:
    return {**GRAPH, "1": {**GRAPH["1"], "class_type": class_}}


def test_signatures_are_requested_once_and_cached(tmp_path: Path) -> None:
    with FakeComfy() as fake:

        async def body(inventory: Inventory) -> None:
            await check(inventory, tmp_path, GRAPH)
            await check(inventory, tmp_path, GRAPH)

        on(fake, body)
        on(fake, body)
        assert fake.stats()["requests"]["GET /object_info"] == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"EmptyImage": ', b"\xff\xfe"])
def test_a_damaged_copy_is_requested_again(tmp_path: Path, damage: bytes) -> None:
    with FakeComfy() as fake:
        on(fake, lambda inventory: check(inventory, tmp_path, GRAPH))
        (file,) = tmp_path.iterdir()
        file.write_bytes(damage)
        on(fake, lambda inventory: check(inventory, tmp_path, GRAPH))
        assert fake.stats()["requests"]["GET /object_info"] == 2
        assert "EmptyImage" in json.loads(file.read_bytes())


def test_a_newly_installed_node_is_found(tmp_path: Path) -> None:
    with FakeComfy() as fake:
        on(fake, lambda inventory: check(inventory, tmp_path, GRAPH))
        fake.classes["NewImage"] = fake.classes["EmptyImage"]
        allowed = core_classes() | {"NewImage"}
        on(fake, lambda inventory: check(inventory, tmp_path, with_class("NewImage"), allowed))


def test_another_version_has_other_signatures(tmp_path: Path) -> None:
    with FakeComfy() as fake:
        on(fake, lambda inventory: check(inventory, tmp_path, GRAPH))
        fake.version_text = "0.28.0"
        on(fake, lambda inventory: check(inventory, tmp_path, GRAPH))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_graph_that_cannot_run_is_reported_with_its_place(tmp_path: Path) -> None:
    with FakeComfy() as fake, pytest.raises(LtxflowError) as caught:
        on(fake, lambda inventory: check(inventory, tmp_path, with_class("EmptyImge"), core_classes() | {"EmptyImge"}))
    assert caught.value.problems[0].span == SPAN
    assert "EmptyImge" in caught.value.problems[0].message


def test_a_foreign_node_needs_the_users_word(tmp_path: Path) -> None:
    with FakeComfy() as fake:
        fake.classes["RunAnything"] = fake.classes["EmptyImage"] | {"python_module": "custom_nodes.anything"}
        with pytest.raises(LtxflowError, match="RunAnything"):
            on(fake, lambda inventory: check(inventory, tmp_path, with_class("RunAnything")))


# Names that differ between servers


def fit(fake: FakeComfy, tmp_path: Path, graph: dict[str, Any]) -> tuple[Any, list[Problem]]:
    """Return the graph fitted to the server, and the doubts about its files."""

    async def body(inventory: Inventory) -> tuple[Any, list[Problem]]:
        fitted = await check(inventory, tmp_path, graph)
        assert await check(inventory, tmp_path, graph) == fitted
        return fitted, [*inventory.new_doubts(), *inventory.new_doubts()]

    found: tuple[Any, list[Problem]] = on(fake, body)
    return found


def with_lora(name: str) -> dict[str, Any]:
    graph: dict[str, Any] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ltx-2-19b-dev-fp8.safetensors"}},
        "2": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": ["1", 0], "lora_name": name, "strength_model": 1},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    return graph


@pytest.mark.parametrize("wanted", ["styles/x.safetensors", "styles\\x.safetensors", "styles/x", "x.safetensors", "x"])
def test_a_file_that_a_workflow_names_is_spelled_as_the_server_lists_it(wanted: str, tmp_path: Path) -> None:
    """The server compares letter by letter, and Windows lists backslashes."""
    listed = "styles\\x.safetensors"
    with FakeComfy(models=models(loras=[listed, "y.safetensors"])) as fake:
        fitted, doubts = fit(fake, tmp_path, with_lora(wanted))
    assert fitted.graph["2"]["inputs"]["lora_name"] == listed
    assert fitted.changes == ({} if wanted == listed else {"2.lora_name": f"was {wanted}"})
    assert doubts == []


def test_a_file_that_a_workflow_names_and_the_server_lacks_is_left_to_the_server(tmp_path: Path) -> None:
    with FakeComfy() as fake:
        fitted, _ = fit(fake, tmp_path, with_lora("absent.safetensors"))
    assert fitted.graph["2"]["inputs"]["lora_name"] == "absent.safetensors"


def test_two_files_that_match_one_bare_name_are_a_warning_that_names_both(profile: Profile, tmp_path: Path) -> None:
    twins = models(loras=["a/style.safetensors", "b\\style.safetensors", "c/style.safetensors"])
    with FakeComfy(models=twins) as fake:

        async def body(inventory: Inventory) -> list[Problem]:
            for _ in range(3):
                names = await resolve_names(inventory, profile, WEIGHTS, (), [("style", SPAN)], "hook/a")
                assert names.loras == {"style": "a/style.safetensors"}
            return [*inventory.new_doubts(), *inventory.new_doubts()]

        (doubt,) = on(fake, body)
        _, (same,) = fit(fake, tmp_path, with_lora("style"))
    assert (doubt.level, doubt.code, doubt.span) == ("warning", "C011", SPAN)
    assert doubt.message == (
        'bench: "style" in loras matches "a/style.safetensors" and "b\\style.safetensors" and 1 more; the first is used'
    )
    assert doubt.hint == 'name one of them: "a/style.safetensors"'
    assert same.message == doubt.message


def test_a_whole_path_is_in_no_doubt(profile: Profile) -> None:
    twins = models(loras=["style.safetensors", "b/style.safetensors"])
    with FakeComfy(models=twins) as fake:

        async def body(inventory: Inventory) -> list[Problem]:
            for name in ("style", "style.safetensors", "b/style", "b\\style.safetensors"):
                await resolve_names(inventory, profile, WEIGHTS, (), [(name, SPAN)], "hook/a")
            return inventory.new_doubts()

        assert on(fake, body) == []


def test_a_graph_takes_the_form_of_the_server_with_a_note(tmp_path: Path) -> None:
    graph = {
        "1": GRAPH["1"],
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 25.0}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "x", "format": "mp4", "codec": "h264"},
        },
    }
    for version, name in (("0.27.0", "codec"), ("0.33.0", "format.codec")):
        with FakeComfy(version=version) as fake:
            fitted, _ = fit(fake, tmp_path, graph)
        assert fitted.graph["3"]["inputs"][name] == "h264"
        assert fitted.changes == ({} if name == "codec" else {"3.format.codec": "was codec"})
    assert graph["3"]["inputs"]["codec"] == "h264"  # type: ignore[index]


def test_knowledge_of_a_server_is_dropped_when_it_may_have_changed(tmp_path: Path) -> None:
    """Restarted as a newer version, at the same address: its nodes and files are requested again."""
    graph = with_lora("new.safetensors") | {"4": {"class_type": "LTXVDurationPredictor", "inputs": {}}}
    newer = recorded_info("0.33.0") | {"LTXVDurationPredictor": {"input": {"required": {}}, "output": ["INT"]}}
    with FakeComfy() as fake:

        async def body(inventory: Inventory) -> Any:
            await check(inventory, tmp_path, with_lora("my_style_lora"))
            fake.classes, fake.version_text = newer, "0.33.0"
            fake.models["loras"].append("sub/new.safetensors")
            inventory.forget()
            fitted = await check(inventory, tmp_path, graph)
            assert inventory.stats is not None
            return fitted, inventory.stats.version

        fitted, version = on(fake, body)
    assert version == "0.33.0"
    assert fitted.graph["2"]["inputs"]["lora_name"] == "sub/new.safetensors"


def test_signatures_that_are_not_files_are_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[" * 100_000)
    reported = {"New": {"input": {}, "output": [], "python_module": "nodes"}}
    (tmp_path / "c.json").write_text(json.dumps(reported))
    assert reported_core(tmp_path) == {"New"}
