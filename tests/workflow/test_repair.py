"""Promises of workflow/repair.py: a file that would be lost, silent or of another format is repaired, with a note."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.workflows import Graph, by_sound, classic, node, text_to_video

from ltxflow.workflow.importer import recognise
from ltxflow.workflow.sizing import MP4, Repaired, repair


def changes(repaired: Repaired) -> list[str]:
    return [sentence for sentences in repaired.changes.values() for sentence in sentences]


def combined(**inputs: Any) -> Graph:
    graph = classic()
    graph["s"]["inputs"] |= inputs
    return graph


def test_a_right_workflow_stays_unchanged() -> None:
    for graph in (text_to_video(), classic(), by_sound()):
        repaired = repair(graph)
        assert repaired.graph == graph
        assert changes(repaired) == []


def test_the_argument_is_not_changed() -> None:
    graph = combined(save_output=False)
    repair(graph)
    assert graph["s"]["inputs"]["save_output"] is False


@pytest.mark.parametrize("value", [False, ["x", 0], "no"])
def test_a_file_that_would_not_be_kept_is_kept(value: Any) -> None:
    repaired = repair(combined(save_output=value))
    assert repaired.graph["s"]["inputs"]["save_output"] is True
    assert changes(repaired) == ['node "s" (VHS_VideoCombine) saved no file: set save_output to true']


@pytest.mark.parametrize("format_", ["image/gif", "image/webp", "video/webm", "video/ProRes", "video/h265-mp4"])
def test_a_video_of_another_kind_is_an_mp4(format_: str) -> None:
    repaired = repair(combined(format=format_, pix_fmt="yuva420p"))
    assert (repaired.graph["s"]["inputs"]["format"], repaired.graph["s"]["inputs"]["pix_fmt"]) == (MP4, "yuv420p")
    assert changes(repaired) == [f'node "s" (VHS_VideoCombine) saved "{format_}": set format to {MP4}']


@pytest.mark.parametrize("class_", ["SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM"])
def test_pictures_one_after_the_other_become_a_video(class_: str) -> None:
    graph = text_to_video()
    graph["89"] = node(class_, images=["80", 0], filename_prefix="x", fps=25.0)
    repaired = repair(graph)
    assert repaired.graph["89-video"]["inputs"]["images"] == ["80", 0]
    assert repaired.graph["89"]["class_type"] == "SaveVideo"
    assert repaired.graph["89"]["inputs"]["video"] == ["89-video", 0]
    assert "saves no mp4" in changes(repaired)[0]
    found = recognise(graph)
    assert {one.node + "." + one.input: one.text for one in found.found}["89-video.fps"] == "{{ fps | float }}"
    assert any("saves no mp4" in sentence for sentence in found.changed)


@pytest.mark.parametrize(
    "inputs",
    [
        {"format": "webm", "format.codec": "av1"},
        {"format": "mp4", "format.codec": "av1", "format.codec.encoding": "auto"},
        {"format": "mkv", "codec": "auto"},
    ],
)
def test_another_container_or_codec_is_mp4_and_h264(inputs: dict[str, Any]) -> None:
    graph = text_to_video()
    graph["89"]["inputs"] = {"video": ["88", 0], "filename_prefix": "x", **inputs}
    repaired = repair(graph)
    saved = repaired.graph["89"]["inputs"]
    assert saved == {"video": ["88", 0], "filename_prefix": "x", "format": "mp4", "codec": "h264"}
    assert len(changes(repaired)) == 1


def test_the_newer_spelling_is_the_plain_one_without_a_word() -> None:
    graph = text_to_video()
    graph["89"]["inputs"] |= {"format": "auto", "format.codec": "auto"}
    repaired = repair(graph)
    assert "format.codec" not in repaired.graph["89"]["inputs"]
    assert changes(repaired) == []


def test_a_silent_video_gets_a_silent_track() -> None:
    graph = text_to_video()
    del graph["88"]["inputs"]["audio"]
    repaired = repair(graph)
    silence = repaired.graph["88"]["inputs"]["audio"][0]
    assert repaired.graph[silence]["class_type"] == "EmptyAudio"
    assert changes(repaired) == ['node "88" (CreateVideo) has no sound: added a silent track by EmptyAudio']


def test_a_sound_that_another_node_loads_is_loaded_by_comfyui_itself() -> None:
    graph = by_sound()
    graph["33"] = node("VHS_LoadAudioUpload", audio="speech.mp3", start_time=0)
    repaired = repair(graph)
    assert repaired.graph["33"]["class_type"] == "LoadAudio"
    assert repaired.graph["33"]["inputs"] == {"audio": "speech.mp3"}
    graph["34"]["inputs"]["duration"] = ["33", 1]  # the length, which LoadAudio does not return
    assert repair(graph).graph["33"]["class_type"] == "VHS_LoadAudioUpload"


def switched(switch: Any) -> Graph:
    graph = text_to_video()
    graph["23"] = node("PrimitiveStringMultiline", value="a vault opens")
    graph["24"] = node("TextGenerateLTX2Prompt", clip=["25", 0], prompt=["23", 0], max_length=256, sampling_mode="off")
    graph["25"] = node("CLIPLoader", clip_name="another.safetensors", type="ltxv", device="default")
    graph["26"] = node("ComfySwitchNode", switch=switch, on_false=["23", 0], on_true=["24", 0])
    graph["20"]["inputs"]["text"] = ["26", 0]
    return graph


def test_a_switch_that_is_off_needs_nothing_of_its_other_side() -> None:
    found = recognise({**switched(["27", 0]), "27": node("PrimitiveBoolean", value=False)})
    assert not {"24", "25", "26", "27"} & found.graph.keys()
    assert {one.node: one.text for one in found.found}["23"] == "{{ prompt }}"
    assert any("only that side is kept" in sentence for sentence in found.changed)


def test_a_switch_that_is_on_keeps_what_it_needs() -> None:
    found = recognise(switched(True))
    assert {"24", "25"} <= found.graph.keys()
    assert {one.node: one.text for one in found.found}["23"] == "{{ prompt }}"
    assert any("rewritten" in sentence for sentence in found.left)


def test_a_switch_that_a_number_turns_stays() -> None:
    graph = switched(["27", 2])
    graph["27"] = node("ComfyMathExpression", expression="a > 500", values__a=["28", 0])
    graph["28"] = node("PrimitiveInt", value=768)
    assert "26" in repair(graph).graph
    assert repair(graph).graph["20"]["inputs"]["text"] == ["26", 0]
