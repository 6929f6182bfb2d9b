"""Uploads have the bytes of the key, whatever happens to the files during a build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.media import canned

from ltxflow.core.digest import Key, digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.farm.transfer import NONCE, content, with_nonce
from ltxflow.media.probe import probe_mp4
from ltxflow.media.video import VideoPart, probe_video
from ltxflow.project.model import Media
from ltxflow.steps import ActionContext, Asset

BYTES = b"the guide as it was read"


def job(folder: Path, **inputs: Path) -> ActionContext:
    folder.mkdir()
    return ActionContext("clip:hook/a@1", Key("0" * 64), folder, inputs, lambda fraction, text: None)


def guide(path: Path) -> Asset:
    path.write_bytes(BYTES)
    media = Media(path, path.name, digest_bytes(BYTES))
    return Asset("ltxflow/guide.mp4", {"video": media.digest}, "control", video=media)


def test_a_guide_is_sent_as_it_was_read(tmp_path: Path) -> None:
    asset = guide(tmp_path / "guide.mp4")
    sent = content(asset, job(tmp_path / "work"))
    assert isinstance(sent, Path)
    (tmp_path / "guide.mp4").write_bytes(b"an edit while it is sent")
    assert sent.read_bytes() == BYTES


def test_a_guide_that_was_edited_during_a_build_is_not_sent_under_the_old_key(tmp_path: Path) -> None:
    asset = guide(tmp_path / "guide.mp4")
    (tmp_path / "guide.mp4").write_bytes(b"another guide, as we see")
    with pytest.raises(LtxflowError, match=r'"guide\.mp4" changed during the build') as caught:
        content(asset, job(tmp_path / "work"))
    assert caught.value.problems[0].hint == "build again to use it as it is now"
    assert not list((tmp_path / "work").iterdir())


def footage(path: Path) -> Asset:
    """A video that is to be made to fit."""
    path.write_bytes(canned(50, (192, 128), 25, path.name))
    media = Media(path, path.name, digest_file(path), probe_video(path), Span("project.yaml", 7, 9))
    part = VideoPart("last", 9, 24, (128, 128), (0, 0, 128, 128))
    recipe = {"video": media.digest, **part.as_json(), "prepare": "1"}
    return Asset("ltxflow/abc.mov", recipe, "extends", video=media)


def test_a_video_that_is_made_to_fit_is_made_once(tmp_path: Path) -> None:
    asset, work = footage(tmp_path / "a.mp4"), job(tmp_path / "work")
    sent = content(asset, work)
    assert isinstance(sent, Path)
    facts = probe_mp4(sent)
    assert (facts.frames, facts.fps, facts.width, facts.height) == (9, 24, 128, 128)
    made = sent.stat()
    assert content(asset, work) == sent
    assert sent.stat() == made
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["abc.mov"]


def test_a_video_that_was_edited_during_a_build_is_not_made_to_fit(tmp_path: Path) -> None:
    asset = footage(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(canned(50, (192, 128), 25, "another"))
    with pytest.raises(LtxflowError, match=r'"a\.mp4" changed during the build'):
        content(asset, job(tmp_path / "work"))


def test_what_does_not_decode_is_reported_where_it_is_named(tmp_path: Path) -> None:
    asset = footage(tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 4000] = bytes(4000)
    (tmp_path / "a.mp4").write_bytes(data)
    assert asset.video is not None
    video = replace(asset.video, digest=digest_file(tmp_path / "a.mp4"))
    asset = replace(asset, video=video, recipe={**asset.recipe, "video": video.digest})
    with pytest.raises(LtxflowError, match="does not decode where it is needed") as caught:
        content(asset, job(tmp_path / "work"))
    assert caught.value.problems[0].span == Span("project.yaml", 7, 9)


def test_a_clip_that_rotted_in_the_store_poisons_no_continuation(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"rot")
    asset = Asset("ltxflow/before.mp4", {"video": digest_bytes(BYTES)}, "extends", input="extends")
    with pytest.raises(LtxflowError, match="a file in the store is damaged") as caught:
        content(asset, job(tmp_path / "work", extends=blob))
    assert "ltxflow cache verify --repair" in caught.value.problems[0].hint


# What is asked for again


def graph(*links: tuple[str, str]) -> dict[str, Any]:
    """Nodes that read each other: (reader, read); those whose name begins with "x" are not of the core."""
    names = sorted({name for link in links for name in link})
    found = {
        name: {"class_type": "Foreign" if name.startswith("x") else "LoraLoaderModelOnly", "inputs": {"strength": 1.0}}
        for name in names
    }
    for reader, read in links:
        found[reader]["inputs"][f"from_{read}"] = [read, 0]
    return found


@pytest.mark.parametrize(
    ("links", "chosen"),
    [
        ([("b", "a"), ("c", "b"), ("c", "d")], {"a", "d"}),  # what reads nothing
        ([("b", "xa"), ("c", "b")], {"b"}),  # a foreign loader may take inputs it does not declare
        ([("xb", "a"), ("c", "xb")], {"a", "c"}),
        ([("xb", "xa")], {"xa"}),  # nothing else is there
    ],
)
def test_a_nonce_is_above_every_node(links: list[tuple[str, str]], chosen: set[str]) -> None:
    before = graph(*links)
    after = with_nonce(before, "n1")
    assert {id for id, node in after.items() if node["inputs"].get(NONCE) == "n1"} == chosen
    assert NONCE not in str(before)
