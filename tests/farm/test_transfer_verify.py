"""Files that came back, against what was asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from harness.film import SIZE, Film
from harness.media import canned
from PIL import Image

from ltxflow.core.errors import LtxflowError
from ltxflow.farm import transfer
from ltxflow.farm.transfer import BadFile, verify
from ltxflow.media.mux import strip_mp4
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps.clip.spec import ClipSpec


@pytest.fixture
def shot(film: Film) -> ClipSpec:
    session = film.session()
    shots = [status.node.spec for status in session.plan(PlanOptions()).statuses.values()]
    session.store.close()
    found: ClipSpec = shots[0]
    return found


def video(folder: Path, frames: int, size: tuple[int, int] = SIZE, fps: int = 25, sound: float | None = None) -> Path:
    path = folder / "video.mp4"
    path.write_bytes(canned(frames, size, fps, "x", sound))
    return path


def refused(name: str, path: Path, shot: ClipSpec) -> str:
    with pytest.raises(BadFile) as caught:
        verify(name, path, shot)
    return caught.value.problem.message


def test_what_was_requested_is_taken_with_its_facts(tmp_path: Path, shot: ClipSpec) -> None:
    facts = verify("video", video(tmp_path, shot.frames), shot)
    assert (facts["frames"], facts["fps"], facts["width"]) == (shot.frames, "25", SIZE[0])
    picture = tmp_path / "last.png"
    Image.new("RGB", shot.geometry.decoded).save(picture)
    assert verify("last_frame", picture, shot)["pixels"]


def test_what_is_another_thing_is_distinguished(tmp_path: Path, shot: ClipSpec) -> None:
    assert refused("video", video(tmp_path, 8 + shot.frames), shot).startswith(
        f"the video has frames {shot.frames + 8}"
    )
    assert refused("video", video(tmp_path, shot.frames, (64, 64)), shot) == "the video has size 64x64, not 128x128"
    assert refused("video", video(tmp_path, shot.frames, fps=30), shot) == "the video has frame rate 30, not 25"
    picture = tmp_path / "last.png"
    Image.new("RGB", (32, 32)).save(picture)
    assert refused("last_frame", picture, shot) == "the last_frame has size 32x32, not 128x128"


@pytest.mark.parametrize(
    ("fps", "latents"),
    [(8, 28), (24, 9), (25, 9), (30, 8), (50, 4)],  # of 9 frames, as ComfyUI 0.33 was seen to make
)
def test_sound_that_is_short_by_design_is_taken_and_sound_that_is_missing_is_not(
    tmp_path: Path, shot: ClipSpec, fps: int, latents: int
) -> None:
    asked = replace(shot, frames=9, fps=fps)
    designed = (4 * latents - 3) / 100  # seconds, LTX's audio decoder
    assert asked.expected("video").sound_s == pytest.approx(designed)
    verify("video", video(tmp_path, 9, fps=fps, sound=designed), asked)
    said = refused("video", video(tmp_path, 9, fps=fps, sound=designed - 0.12), asked)
    assert said.endswith(f"s of sound for {9 / fps:.2f} s of picture")


@pytest.mark.parametrize("data", [b"", b"<html>502</html>", b"\0" * 5000])
def test_what_is_not_film_is_reported(tmp_path: Path, shot: ClipSpec, data: bytes) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    assert "video.mp4" in refused("video", path, shot)
    assert "video.mp4" in refused("last_frame", path, shot)


def test_a_film_that_is_cut_short_is_reported(tmp_path: Path, shot: ClipSpec) -> None:
    path = video(tmp_path, shot.frames)
    os.truncate(path, path.stat().st_size * 2 // 3)
    assert refused("video", path, shot)


def test_a_disk_that_is_full_is_not_fault_of_the_file(
    tmp_path: Path, shot: ClipSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(video: Path, published: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "strip_mp4", full)
    with pytest.raises(LtxflowError) as caught:
        transfer.strip_published(video(tmp_path, shot.frames), tmp_path / "published.mp4")
    assert caught.value.problems[0].code == "D040"
    assert "free some space" in caught.value.problems[0].hint
    monkeypatch.setattr(transfer, "strip_mp4", strip_mp4)
    transfer.strip_published(video(tmp_path, shot.frames), tmp_path / "published.mp4")
