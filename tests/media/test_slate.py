from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import decode_count, frame_at
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.media.slate import SlateSpec, Surface, draw_card, draw_slate, read_frame_number, timecode
from ltxflow.media.text_layout import can_shape

SPEC = SlateSpec(
    width=192,
    height=128,
    fps=25,
    frames=33,
    scene="hook",
    clip="a",
    take=1,
    prompt="A vault door → half open; café, piñata, Straße — dust in the light. 古い金庫",
    camera="slow push-in",
)


def drawn(tmp_path, spec=SPEC, reference=None, name="slate.mp4"):
    draw_slate(spec, tmp_path / name, reference)
    return tmp_path / name


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def picture(tmp_path):
    y, x = np.mgrid[0:48, 0:64]
    path = tmp_path / "reference.png"
    Image.fromarray(np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("size", "fps", "frames"),
    [
        ((192, 128), 25, 33),
        ((128, 192), 24, 1),
        ((64, 64), 25, 2),
        ((854, 480), 30, 9),
        ((256, 110), Fraction(24000, 1001), 25),
        ((128, 128), 1, 3),
    ],
)
def test_a_slate_has_the_requested_length_and_size(tmp_path, size, fps, frames):
    path = drawn(tmp_path, replace(SPEC, width=size[0], height=size[1], fps=fps, frames=frames))
    facts = probe_mp4(path)
    seconds = frames / Fraction(fps)
    assert facts == VideoFacts(frames, Fraction(fps), *size, seconds, 48000, 2, facts.audio_seconds)
    assert 0 <= facts.audio_seconds - seconds < Fraction(1, 48000)
    assert decode_count(path) == frames


def test_every_frame_shows_its_number(tmp_path):
    numbers = [read_frame_number(picture, SPEC) for picture in decoded(drawn(tmp_path))]
    assert numbers == list(range(33))


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (256, 144), (144, 256), (448, 192)])
def test_numbers_are_readable_at_every_size(tmp_path, size):
    spec = replace(SPEC, width=size[0], height=size[1], frames=7)
    assert [read_frame_number(p, size) for p in decoded(drawn(tmp_path, spec))] == list(range(7))


def test_numbers_are_readable_in_a_scaled_copy(tmp_path):
    spec = replace(SPEC, width=768, height=512, frames=6)
    small = Image.fromarray(frame_at(drawn(tmp_path, spec), 5)).resize((384, 256))
    assert read_frame_number(np.asarray(small), spec) == 5


def test_numbers_go_on_after_4096_frames():
    spec = replace(SPEC, frames=5000)
    surface = Surface(draw_card(spec), spec)

    def shown(number):
        frame = VideoFrame.from_ndarray(surface.show(number), format="yuv420p")
        return read_frame_number(frame.to_ndarray(format="rgb24"), spec)

    assert [shown(n) for n in (0, 4095, 4096, 4999)] == [0, 4095, 0, 903]


def test_other_pictures_have_no_number():
    noise = np.random.default_rng(1).integers(0, 255, (128, 192, 3)).astype(np.uint8)
    for other in (np.zeros_like(noise), np.full_like(noise, 255), noise, noise // 4):
        with pytest.raises(LtxflowError):
            read_frame_number(other, SPEC)


def test_a_dissolve_between_two_slates_has_no_number(tmp_path):
    frames = decoded(drawn(tmp_path))
    mixed = ((frames[3].astype(int) + frames[12]) // 2).astype(np.uint8)
    with pytest.raises(LtxflowError, match="mixed"):
        read_frame_number(mixed, SPEC)


def test_same_slate_same_bytes(tmp_path, picture):
    first = drawn(tmp_path, SPEC, picture, "one.mp4").read_bytes()
    assert drawn(tmp_path, SPEC, picture, "two.mp4").read_bytes() == first


def test_one_can_scrub_by_the_second(tmp_path):
    with av.open(str(drawn(tmp_path, replace(SPEC, frames=60)))) as container:
        keys = [n for n, packet in enumerate(p for p in container.demux(video=0) if p.size) if packet.is_keyframe]
    assert keys == [0, 25, 50]


def test_a_slate_is_tagged_bt709_and_nothing_else(tmp_path):
    path = drawn(tmp_path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"vault door" not in data
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        assert context.pix_fmt == "yuv420p"
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert set(container.metadata) <= {"major_brand", "minor_version", "compatible_brands"}


def test_colours_come_out_as_drawn(tmp_path, picture):
    card = np.asarray(draw_card(SPEC, picture), int)
    frame = frame_at(drawn(tmp_path, SPEC, picture), 0).astype(int)
    above = slice(0, 100)  # the strip is drawn later
    assert np.abs(card[above] - frame[above]).mean() < 4


def test_a_soft_note_starts_the_clip_and_ticks_count_the_seconds(tmp_path):
    path = drawn(tmp_path, replace(SPEC, frames=55))
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])

    def peak(start, end):
        return float(np.abs(sound[int(start * 48000) : int(end * 48000)]).max())

    assert 0.05 < peak(0, 0.1) < 0.11  # about -20 dBFS
    assert 0.01 < peak(1, 1.05) < peak(0, 0.1) / 2
    assert 0.01 < peak(2, 2.05) < peak(0, 0.1) / 2
    assert peak(0.6, 0.9) < 0.001


def test_scenes_have_colours_of_their_own():
    first, again, other = (np.asarray(draw_card(replace(SPEC, scene=s))) for s in ("hook", "hook", "outro"))
    assert (first == again).all()
    assert np.abs(first[:6].astype(int) - other[:6]).mean() > 10


@pytest.mark.parametrize(
    "size", [(64, 64), (256, 144), (144, 256), (320, 320), (448, 192), (96, 512), (768, 512), (1024, 64)]
)
@pytest.mark.parametrize("words", ["", "few words", "very many words " * 200, "w" * 900, "古い金庫の扉、" * 99])
def test_any_text_fits_any_size(picture, size, words):
    spec = SlateSpec(*size, 25, 121, "s" * 64, "c" * 64, 12, words, words)
    for reference in (None, picture):
        assert draw_card(spec, reference).size == size


def test_progress_is_reported(tmp_path):
    reported = []
    draw_slate(replace(SPEC, frames=3), tmp_path / "a.mp4", progress=lambda done, of: reported.append((done, of)))
    assert reported == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("frame", "frames", "text"), [(0, 121, "00:00"), (42, 121, "01:17"), (1600, 1601, "01:04:00")])
def test_timecode_counts_frames_in_the_clip(frame, frames, text):
    assert timecode(frame, replace(SPEC, frames=frames)) == text


@pytest.mark.parametrize("changes", [{"width": 191}, {"height": 62}, {"frames": 0}, {"fps": 0}])
def test_impossible_slates_are_refused(tmp_path, changes):
    with pytest.raises(LtxflowError, match="a slate cannot"):
        draw_slate(replace(SPEC, **changes), tmp_path / "a.mp4")


def test_an_unreadable_reference_is_refused(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(LtxflowError, match=r'"bad\.png"'):
        draw_slate(SPEC, tmp_path / "a.mp4", tmp_path / "bad.png")
    assert not (tmp_path / "a.mp4").exists()


def test_a_place_that_cannot_be_written_is_our_error(tmp_path):
    with pytest.raises(LtxflowError, match="cannot write the slate"):
        draw_slate(SPEC, tmp_path / "nowhere" / "a.mp4")


@pytest.mark.skipif(not can_shape(), reason="Pillow has no Raqm here: apt install libfribidi0")
def test_a_prompt_read_from_the_right_is_aligned_right() -> None:
    def ink(prompt: str) -> float:
        """Where the light of a prompt is, in the middle, as a share of the width."""
        cards = [np.asarray(draw_card(replace(SPEC, prompt=text, camera="")), dtype=int) for text in (prompt, "")]
        light = np.abs(cards[0] - cards[1]).sum(axis=(0, 2))
        return float((light * np.arange(light.size)).sum() / light.sum() / light.size)

    assert ink("A key.") < 0.3
    assert ink("מפתח.") > ink("A key.") + 0.25
