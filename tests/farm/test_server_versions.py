"""Films on servers of different versions, and what comes back in another form than ours: an mp4, paid once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import av
import pytest
from fakes.comfyui import MODELS_LTX2, FakeComfy
from fakes.custom import VHS
from harness.command import run
from harness.studio import Studio, notices, problems

from ltxflow.comfy.signatures import versions
from ltxflow.media.probe import probe_mp4
from ltxflow.models.load import load_profile

CLIPS = [*"abcd", "e: length: 17f", "f: stages: 1"]
SAVE = '"format": "mp4", "codec": "h264"'


@pytest.fixture
def newer() -> Iterator[FakeComfy]:
    with FakeComfy(version="0.33.0", extra_nodes=VHS) as fake:
        yield fake


@pytest.fixture
def older() -> Iterator[FakeComfy]:
    with FakeComfy(version="0.27.0") as fake:
        yield fake


def ours(server: FakeComfy) -> list[dict[str, Any]]:
    return [run for run in server.stats()["runs"] if not run["foreign"]]


def keys(studio: Studio) -> set[str]:
    return {file.stem for file in (studio.root / "store").glob("traces/??/*.json")}


def sent(server: FakeComfy) -> list[dict[str, Any]]:
    """The graphs that ran there."""
    return [entry["prompt"][2] for entry in server.worker.history.values()]


# Versions


def test_servers_of_two_versions_make_one_film_together(studio: Studio, older: FakeComfy, newer: FakeComfy) -> None:
    ran = studio.write(*CLIPS).build(older, newer)
    assert ran.code == 0, ran.out + ran.err
    assert ran.totals["rendered"] == 6
    assert ours(older)
    assert ours(newer)
    assert len(ours(older)) + len(ours(newer)) == 6
    for server, name in ((older, "codec"), (newer, "format.codec")):
        for graph in sent(server):
            save = graph["89"]["inputs"]
            assert save[name] == "h264"
            assert {"codec", "format.codec"} & save.keys() == {name}
    assert {trace["versions"]["comfyui"] for trace in studio.traces.values() if trace["server"]} == set(versions())
    assert studio.build(older, newer).totals["rendered"] == 0


def test_one_film_has_the_same_keys_on_every_version(studio: Studio, older: FakeComfy, newer: FakeComfy) -> None:
    assert studio.write(*CLIPS).build(older).code == 0
    first = keys(studio)
    assert not any(name.startswith("adapted") for t in studio.traces.values() for name in t["versions"])
    studio.forget(older)
    assert studio.build(newer).code == 0
    assert keys(studio) == first
    assert studio.traces["clip:s/a@1"]["versions"]["adapted.89.format.codec"] == "was codec"


@pytest.mark.parametrize("first", [0, 1], ids=["older", "newer"])
def test_a_clone_against_the_other_version_renders_nothing(
    studio: Studio, older: FakeComfy, newer: FakeComfy, first: int
) -> None:
    one, other = (older, newer) if first == 0 else (newer, older)
    assert studio.write(*CLIPS).build(one).code == 0
    shutil.rmtree(studio.folder / ".ltxflow")
    shutil.rmtree(studio.public)
    studio.journal.clear()
    studio.past.update({one.url: 6})
    ran = studio.build(other)
    assert ran.code == 0
    assert ran.totals["rendered"] == 0
    assert ours(other) == []
    assert len(studio.films) == 6


# Names of files


def test_slashes_are_equal_and_a_doubtful_name_is_reported_once(studio: Studio) -> None:
    """A server on Windows lists backslashes; two files may have one name. Keys know the name that the film writes."""
    listed = ["looks\\style.safetensors", "old\\style.safetensors"]
    models = {**MODELS_LTX2, "loras": [*MODELS_LTX2["loras"], *listed]}
    lora = "loras: [{name: %s, strength: 0.8}]"
    studio.write(*(f"{clip}: {lora % 'style.safetensors'}" for clip in "abc"), f"d: {lora % 'looks/style.safetensors'}")
    with FakeComfy(models=models) as server:
        ran = studio.build(server)
        assert ran.code == 0, ran.out
        used = {
            n["inputs"]["lora_name"]
            for g in sent(server)
            for n in g.values()
            if n["class_type"] == "LoraLoaderModelOnly"
        }
    assert used == {"ltx-2-19b-distilled-lora-384.safetensors", listed[0]}
    doubts = [line for line in notices(ran).splitlines() if " in loras matches " in line]
    assert len(doubts) == 1
    assert '"style.safetensors" in loras matches "looks\\style.safetensors" and "old\\style.safetensors"' in doubts[0]


# Other containers


def with_template(studio: Studio, save: str, class_type: str = "SaveVideo", *, trust: bool = True) -> Studio:
    """A film whose clip is made by a workflow of the project; `save` are the inputs of its save node."""
    ours = load_profile("ltx2-19b").file.parent
    folder = studio.folder / "templates" / "ltx2-19b"
    folder.mkdir(parents=True)
    for name, source in (("mine.json.j2", "t2v.json.j2"), ("_parts.j2", "_parts.j2")):
        text = (ours / source).read_text()
        if class_type != "SaveVideo":
            text = text.replace('"video": ["{{ id }}", 0], ', "")
        (folder / name).write_text(text.replace(SAVE, save).replace('"SaveVideo"', f'"{class_type}"'))
    studio.write("a: template: mine")
    if class_type not in ("SaveVideo", "SaveWEBM"):
        config = studio.root / "config" / "ltxflow"
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.yaml").write_text(f"allowed_nodes: [{class_type}]\n")
    assert run("trust", "-p", str(studio.folder)).code == 0
    return studio


def codecs(studio: Studio) -> list[str]:
    with av.open(str(studio.films["a"])) as file:
        return [stream.codec_context.name for stream in file.streams]


@pytest.mark.parametrize(
    ("save", "converted"),
    [
        ('"format": "mkv", "codec": "h264"', "mkv (h264, aac) to mp4 (h264, aac), pictures not encoded again"),
        ('"format": "webm", "codec": "auto"', "webm (av1, opus) to mp4 (h264, aac), pictures encoded again"),
        ('"format": "webm", "format.codec": "av1"', "webm (av1, opus) to mp4 (h264, aac), pictures encoded again"),
        ('"format": "mp4", "format.codec": "av1"', "mp4 (av1, aac) to mp4 (h264, aac), pictures encoded again"),
    ],
)
def test_a_clip_of_another_container_comes_back_as_mp4(
    studio: Studio, newer: FakeComfy, save: str, converted: str
) -> None:
    ran = with_template(studio, save).build(newer)
    assert ran.code == 0, ran.out
    assert codecs(studio) == ["h264", "aac"]
    facts = probe_mp4(studio.films["a"])
    assert (facts.frames, facts.fps, facts.width, facts.height) == (9, 25, 128, 128)
    trace = studio.traces["clip:s/a@1"]
    assert trace["versions"]["converted.video"] == converted
    assert trace["outputs"]["video"]["facts"]["frames"] == 9
    assert studio.build(newer).totals["rendered"] == 0
    assert len(ours(newer)) == 1


def test_a_workflow_without_sound_makes_a_clip_with_a_silent_track(studio: Studio, newer: FakeComfy) -> None:
    save = '"images": {{ images }}, "fps": {{ fps | float }}, "codec": "vp9", "crf": 32.0'
    ran = with_template(studio, save, "SaveWEBM").build(newer)
    assert ran.code == 0, ran.out
    assert codecs(studio) == ["h264", "aac"]
    assert studio.traces["clip:s/a@1"]["versions"]["converted.video"] == (
        "webm (vp9) to mp4 (h264, aac), pictures encoded again, and a silent track added"
    )
    assert [p["code"] for p in problems(ran) if p["code"] == "Q106"] == ["Q106"]  # a warning
    assert len(ours(newer)) == 1


VHS_SAVE = (
    '"images": {{{{ images }}}}, "audio": {{{{ audio }}}}, "frame_rate": {{{{ fps }}}}, "loop_count": 0, '
    '"format": "{}", "pix_fmt": "yuv420p", "crf": 19, "save_metadata": true, "pingpong": false, "save_output": {}'
)


@pytest.mark.parametrize("form", ["video/h264-mp4", "video/webm"])
@pytest.mark.parametrize("is_kept", ["true", "false"])
def test_a_custom_save_node_makes_a_clip_even_where_it_keeps_nothing(
    studio: Studio, newer: FakeComfy, form: str, is_kept: str
) -> None:
    """Temporary files are there until the server ends: what was paid for is fetched."""
    ran = with_template(studio, VHS_SAVE.format(form, is_kept), "VHS_VideoCombine").build(newer)
    assert ran.code == 0, ran.out
    assert codecs(studio) == ["h264", "aac"]
    assert len(ours(newer)) == 1


@pytest.mark.parametrize("form", ["image/gif", "image/webp"])
def test_a_picture_where_a_video_belongs_is_refused_by_name_and_paid_once(
    studio: Studio, newer: FakeComfy, form: str
) -> None:
    with_template(studio, VHS_SAVE.format(form, "true"), "VHS_VideoCombine")
    for _ in range(2):  # the second build takes it up, and renders nothing
        ran = studio.build(newer)
        assert ran.code == 1
        (problem,) = problems(ran)
        assert problem["code"] == "C025"
        assert f'.{form.partition("/")[2]}" as "video", which is not a video' in problem["message"]
        hint = 'save one there, format: video/h264-mp4: node "89" (VHS_VideoCombine) of template "mine"'
        assert problem["hint"] == hint
        assert problem["where"]["line"] == 10
    assert len(ours(newer)) == 1
