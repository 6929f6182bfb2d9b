"""Parts and sounds as one film: nothing encoded twice, nothing moved, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import decode_count
from ltxflow.media.mix import Sound
from ltxflow.media.mux import Caption, Chapter, join_film
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import EncodeSettings, Segment, SlateSpec, cut_part, draw_slate, read_frame_number

SPEC = SlateSpec(192, 128, 25, 60, "hook", "a", 1, "A vault.", "")
CUTS = [(0, 30), (48, 12), (10, 1), (11, 2), (20, 40)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    draw_slate(SPEC, folder / "slate.mp4")
    made = []
    for number, (first, frames) in enumerate(CUTS):
        made.append(folder / f"part-{number}.mp4")
        cut_part(EncodeSettings(192, 128, 25, "veryfast", 18), Segment(folder / "slate.mp4", first, frames), made[-1])
    return made


FRAMES = sum(frames for _, frames in CUTS)


def silence(frames: int = FRAMES, click: int | None = None) -> Sound:
    sound = np.zeros((2, frames * 1920), np.float32)
    if click is not None:
        sound[:, click] = 0.9
    return sound


def join(parts: list[Path], out: Path, sounds: list[Sound] | None = None, **options: object) -> int:
    settings = {"bit_rate": 128_000, "tags": {"title": "Film"}, **options}
    return join_film(parts, [silence()] if sounds is None else sounds, 25, out, **settings)  # type: ignore[arg-type]


def test_every_frame_is_in_its_place(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    assert join(parts, out) == FRAMES
    facts = probe_mp4(out)
    assert (facts.frames, facts.fps, facts.seconds) == (FRAMES, 25, Fraction(FRAMES, 25))
    assert facts.audio_seconds == facts.seconds
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    wanted = [first + number for first, count in CUTS for number in range(count)]
    assert [read_frame_number(frame.to_ndarray(format="rgb24"), SPEC) for frame in frames] == wanted
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(n, 25) for n in range(FRAMES)]


def test_packets_are_taken_over_as_they_are(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    join(parts, out)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    assert packets(out) == [data for part in parts for data in packets(part)]


def test_a_player_that_seeks_lands_on_the_frame(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    join(parts, out)
    with av.open(str(out)) as container:
        for number in (29, 30, 41, 42, 43, 60):
            container.seek(number * 512, stream=container.streams.video[0])
            frame = next(f for f in container.decode(video=0) if f.pts * f.time_base * 25 >= number)
            assert frame.pts * frame.time_base * 25 == number


@pytest.mark.parametrize("click", [0, 1, 47999, 48000, 100_000])
def test_sound_is_where_it_was_to_the_sample(parts: list[Path], tmp_path: Path, click: int) -> None:
    out = tmp_path / "film.mp4"
    sound = silence(click=click)
    join(parts, out, [sound[:, : 30 * 1920], sound[:, 30 * 1920 :]])
    with av.open(str(out)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(int(np.argmax(np.abs(sound[0]))) - click) <= 1


def test_chapters_and_captions_can_be_read_back(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    chapters = [Chapter("One – “key”", 0, 42), Chapter("Zwei: Straße", 42, FRAMES)]
    captions = [Caption(200, 1400, ("Every coin,", "größer ☕")), Caption(2000, 3000, ("مرحبا",))]
    join(parts, out, chapters=chapters, captions=captions)
    with av.open(str(out)) as container:
        found = container.chapters()
        assert [chapter["metadata"]["title"] for chapter in found] == [chapter.title for chapter in chapters]
        assert [chapter["start"] * chapter["time_base"] for chapter in found] == [0, Fraction(42, 25)]
        shown = []
        for packet in container.demux(container.streams.subtitles[0]):
            for text in packet.decode() if packet.size else ():
                time = packet.pts * packet.time_base
                shown.append((time, time + packet.duration * packet.time_base, text.dialogue.decode()))
    assert shown == [
        (Fraction(1, 5), Fraction(7, 5), "Every coin,\ngrößer ☕"),
        (Fraction(2), Fraction(3), "مرحبا"),
    ]
    assert decode_count(out) == FRAMES


def test_sound_is_read_as_late_as_possible(parts: list[Path], tmp_path: Path) -> None:
    """So that a long film takes no more memory than a short one."""
    shown: list[int] = [0]
    waiting: list[int] = []

    def sounds() -> Iterator[Sound]:
        for number in range(6):
            waiting.append(number * FRAMES - shown[-1])
            yield silence()

    join(parts * 6, tmp_path / "film.mp4", sounds(), progress=shown.append)  # type: ignore[arg-type]
    assert shown[-1] == 6 * FRAMES
    assert all(ahead <= 2 for ahead in waiting), "scenes were mixed before their pictures came"


def test_the_same_inputs_are_the_same_bytes(parts: list[Path], tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        join(parts, tmp_path / name, chapters=[Chapter("a", 0, FRAMES)], captions=[Caption(0, 500, ("a",))])
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_the_index_comes_first(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    join(parts, out)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_parts_that_are_encoded_otherwise_are_not_joined(parts: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    cut_part(EncodeSettings(192, 128, 25, "ultrafast", 18), Segment(parts[0], 0, 5), other)
    with pytest.raises(LtxflowError, match=r'"other.mp4" is encoded differently'):
        join([parts[0], other], tmp_path / "film.mp4")
