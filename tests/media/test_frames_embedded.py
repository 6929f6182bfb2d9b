"""The workflow in a picture or video is found wherever ComfyUI writes it."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import embedded_workflow, is_media

GRAPH = {"1": {"class_type": "SaveVideo", "inputs": {"é": 1.5}}}


def png(file: Path, **texts: str) -> Path:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    return file


def mp4(file: Path, **texts: str) -> Path:
    with av.open(str(file), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(texts)
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode())
    return file


def refused(file: Path) -> str:
    with pytest.raises(LtxflowError) as caught:
        embedded_workflow(file)
    (problem,) = caught.value.problems
    assert (problem.code, bool(problem.hint)) == ("M026", True)
    return problem.message


def test_a_picture_as_it_ran_before_as_it_was_edited(tmp_path: Path) -> None:
    file = png(tmp_path / "a.png", workflow='{"nodes": []}', prompt=json.dumps(GRAPH))
    assert json.loads(embedded_workflow(file)) == GRAPH
    assert embedded_workflow(png(tmp_path / "b.png", workflow='{"nodes": []}')) == '{"nodes": []}'


def test_a_webp_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    exif = picture.getexif()
    exif[0x0110] = f"prompt:{json.dumps(GRAPH)}"
    picture.save(tmp_path / "a.webp", exif=exif)
    assert json.loads(embedded_workflow(tmp_path / "a.webp")) == GRAPH


def test_a_video(tmp_path: Path) -> None:
    assert json.loads(embedded_workflow(mp4(tmp_path / "a.mp4", prompt=json.dumps(GRAPH)))) == GRAPH


def test_a_video_with_its_workflow_in_the_comment(tmp_path: Path) -> None:
    file = mp4(tmp_path / "a.mp4", comment=json.dumps({"prompt": json.dumps(GRAPH), "workflow": {"nodes": []}}))
    assert json.loads(embedded_workflow(file)) == GRAPH


def test_nan_written_by_a_server_becomes_null(tmp_path: Path) -> None:
    text = '{"1": {"class_type": "X", "inputs": {}, "is_changed": [NaN]}}'
    assert json.loads(embedded_workflow(png(tmp_path / "a.png", prompt=text)))["1"]["is_changed"] == [None]


def test_a_file_without_a_workflow_is_refused(tmp_path: Path) -> None:
    assert '"a.png" contains no workflow' in refused(png(tmp_path / "a.png"))
    assert "no workflow" in refused(mp4(tmp_path / "a.mp4", comment="{broken"))


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        file = (png if name == "a.png" else mp4)(tmp_path / name)
        file.write_bytes(file.read_bytes()[:60])
        assert 'cannot read "' in refused(file) or "no workflow" in refused(file)


def test_first_bytes_of_media() -> None:
    assert is_media(b"\x89PNG\r\n\x1a\n0000")
    assert is_media(b"\x00\x00\x00\x18ftypmp42")
    assert not is_media(b'{"nodes": []}')
    assert not is_media(b"")
