"""What comes from a phone or an editor: fitted once, seen upright, and told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from harness.command import Ran
from harness.film import Film, film_text
from harness.footage import SHOWN, pictures, seen, tone, write_footage
from harness.media import write_picture

from ltxflow.core.digest import digest_file
from ltxflow.media.audio import measure_sound
from ltxflow.media.video import plays_in_browsers, probe_video

SIZE = (192, 128)


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    made = Film(tmp_path / "film", tmp_path / "store", tmp_path / "config").move_in(monkeypatch)
    made.write_data(film_text({"s": ["a"]}, "1s", size="192x128"))
    assert made.make().done.code == 0
    return made


def pinned(film: Film, file: Path, *more: str) -> Ran:
    done = film.run("pin", "s/a", str(file), *more)
    assert done.code == 0, done.err
    return done


def published(film: Film) -> Path:
    """Build, and return the published clip, which every browser plays."""
    assert film.make().rendered == set()
    (file,) = film.scenes.glob("*.mp4")
    facts = probe_video(file)
    assert plays_in_browsers(facts)
    assert (facts["width"], facts["height"], facts["fps"]) == (*SIZE, "25")
    return file


def fitted(film: Film, target: str = "fitted:s/a") -> int:
    """How many conversions the store has."""
    return sum(f'"{target}"' in file.read_text() for file in (film.store / "traces").rglob("*.json"))


@pytest.mark.parametrize(("suffix", "lies"), [(".mp4", "quarter"), (".mov", "three quarters"), (".mp4", "mirrored")])
def test_a_phones_video_is_published_upright(film: Film, tmp_path: Path, suffix: str, lies: str) -> None:
    size = SIZE[::-1] if "quarter" in lies else SIZE
    done = pinned(film, write_footage(tmp_path / f"phone{suffix}", 25, size=size, lies=lies))
    assert "take 1 is now phone" in done.out
    assert "fitted: turned upright" in done.out
    assert {seen(picture) for picture in pictures(published(film))} == {SHOWN[lies]}


def test_a_video_that_lies_across_is_cut_and_says_so(film: Film, tmp_path: Path) -> None:
    """Stored wide and shown tall, as phones do, in a wide film: never published lying on its side."""
    done = pinned(film, write_footage(tmp_path / "phone.mp4", 25, lies="quarter"))
    assert "fitted: turned upright, 128x192 to 192x128" in done.out
    assert "phone.mp4: 56% of it is cut off (top and bottom) to fill 192x128 [U039]" in done.err
    assert {seen(picture) for picture in pictures(published(film))} == {SHOWN["quarter"]}


@pytest.mark.parametrize(
    ("name", "given", "change"),
    [
        ("a.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}, "ProRes to H.264, mov to mp4"),
        ("b.mov", {"codec": "libx265", "pixels": "yuv420p10le", "fps": 30}, "30 to 25 fps, HEVC to H.264, mov to mp4"),
        ("c.mp4", {"pixels": "yuv420p10le"}, "H.264 of yuv420p10le to yuv420p"),
        ("d.mp4", {"size": (96, 64)}, "96x64 to 192x128"),
        ("e.mkv", {"sounds": (("flac", 48000, "stereo"),)}, "FLAC to AAC, mkv to mp4"),
        ("f.mp4", {"stamps": [0, 30, 90, 200, 500, 900, 960]}, "varying rate to 25 fps"),
        ("g.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}, "written as one plain mp4"),
    ],
)
def test_what_is_changed_is_told(film: Film, tmp_path: Path, name: str, given: Any, change: str) -> None:
    file = write_footage(tmp_path / name, 30, **given)
    assert f"fitted: {change}\n" in pinned(film, file).out
    assert pinned(film, file, "--json").data["fitted"] == change
    assert {seen(picture) for picture in pictures(published(film))} == {"RGBW"}


def test_a_file_that_fits_is_pinned_as_it_is(film: Film, tmp_path: Path) -> None:
    file = write_footage(tmp_path / "mine.mp4", 25)
    assert "fitted" not in pinned(film, file).out
    assert fitted(film) == 0
    assert film.lock.entries["s/a"].takes[1].digest == digest_file(file)


def test_nothing_is_converted_twice(film: Film, tmp_path: Path) -> None:
    file = write_footage(tmp_path / "phone.mov", 30, fps=30)
    first = pinned(film, file, "--json")
    digest = film.lock.entries["s/a"].takes[1].digest
    assert first.events("run-started")
    assert film.run("forget", "s/a").code == 0
    again = file.with_name("copied.mov")
    again.write_bytes(file.read_bytes())
    assert not pinned(film, again, "--json").events("run-started")
    assert film.lock.entries["s/a"].takes[1].digest == digest
    assert fitted(film) == 1
    film.set("size", "128x128")
    assert pinned(film, file, "--json").events("run-started"), "another shape is another conversion"


def test_losses_are_told_as_data_too(film: Film, tmp_path: Path) -> None:
    tags = {"color_trc": 18, "color_primaries": 9, "colorspace": 9}
    sounds = (("aac", 48000, "stereo"), ("aac", 48000, "stereo"))
    file = write_footage(tmp_path / "a.mov", 25, codec="libx265", pixels="yuv420p10le", context=tags, sounds=sounds)
    problems = pinned(film, file, "--json").envelope["problems"]
    assert [problem["message"] for problem in problems] == [
        "a.mov: it is HDR: it becomes standard range, with its highlights compressed",
        "a.mov: it has 2 sound tracks, and only the first is used",
    ]
    assert {problem["code"] for problem in problems} == {"U039"}
    silent = write_footage(tmp_path / "b.mp4", 25, sounds=())
    assert "b.mp4: it has no sound" in pinned(film, silent).err


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(200), '"photo.png" is a picture, not a video [M016]'),
        ("page.mp4", b"<html>no</html>", '"page.mp4" is a web page, not a video [M025]'),
        ("cut.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", '"cut.mp4" is cut short'),
    ],
)
def test_what_is_not_a_video_is_refused_by_name(film: Film, tmp_path: Path, name: str, data: bytes, says: str) -> None:
    file, before = tmp_path / name, film.lock
    file.write_bytes(data)
    done = film.run("pin", "s/a", str(file))
    assert done.code in (1, 2)
    assert says in done.err
    assert film.lock == before


def test_a_video_that_breaks_off_is_refused_and_changes_nothing(film: Film, tmp_path: Path) -> None:
    file, before = write_footage(tmp_path / "a.mp4", 50, size=(96, 64), sounds=()), film.lock
    data = bytearray(file.read_bytes())
    end = data.index(b"moov") - 4
    data[end - 400 : end] = bytes(400)
    file.write_bytes(data)
    done = film.run("pin", "s/a", str(file))
    assert done.code == 1
    assert '"a.mp4" does not decode where it is needed' in done.err
    assert film.lock == before


def test_a_pinned_still_says_what_its_picture_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = Film(tmp_path / "film", tmp_path / "store", tmp_path / "config").move_in(monkeypatch)
    film.write({"s": ["a"]}, "1s", references={"hero": {"generate": {"prompt": "A hero of brass"}}})
    film.set("scenes/s/clips/a/reference", "hero")
    picture = write_picture(tmp_path / "cmyk.png", (1, 2, 3), (300, 200))
    from PIL import Image

    Image.open(picture).convert("CMYK").save(tmp_path / "cmyk.jpg")
    done = film.run("pin", "reference:hero", str(tmp_path / "cmyk.jpg"))
    assert done.code == 0, done.err
    assert "cmyk.jpg: it is CMYK without a colour profile: its colours are a guess" in done.err


# --- recordings


def spoken(film: Film, name: str, codec: str, layout: str = "stereo") -> Path:
    """Narrate the scene with a recording of 1.5 s."""
    with av.open(str(film.folder / name), "w") as made:
        tone(made, made.add_stream(codec, rate=44100, layout=layout), Fraction(3, 2))
    film.set("scenes/s/narration", {"file": name})
    return film.folder / name


def narration(film: Film) -> dict[str, Any]:
    (scene,) = film.timeline["scenes"]
    found: dict[str, Any] = scene["narration"]
    return found


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.aiff", "pcm_s16be"), ("a.caf", "alac"), ("a.m4a", "alac"), ("a.mka", "flac"), ("a.wav", "adpcm_ima_wav")],
)
def test_a_recording_that_browsers_do_not_play_is_published_as_wav(film: Film, name: str, codec: str) -> None:
    given = measure_sound(spoken(film, name, codec))
    assert not given.is_played
    assert film.build().code == 0
    assert narration(film)["src"] == "narration/s.wav"
    made = measure_sound(film.public / "narration" / "s.wav")
    assert made.is_played
    assert (made.samples, made.sample_rate) == (given.samples, given.sample_rate)
    assert narration(film)["samples"] == given.samples
    assert film.run("plan", "--animatic", "--exit-code").code == 0


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.wav", "pcm_s24le"), ("a.flac", "flac"), ("a.aac", "aac")],
)
def test_a_recording_that_browsers_play_stays_as_it_is(film: Film, name: str, codec: str) -> None:
    file = spoken(film, name, codec)
    assert film.build().code == 0
    assert narration(film)["src"] == f"narration/s{file.suffix}"
    assert (film.public / narration(film)["src"]).read_bytes() == file.read_bytes()


def test_the_sound_of_a_video_is_published_without_its_pictures(film: Film) -> None:
    write_footage(film.folder / "me.mov", 40)
    film.set("scenes/s/narration", {"file": "me.mov"})
    assert film.build().code == 0
    assert narration(film)["src"] == "narration/s.wav"


def test_a_recording_is_converted_once(film: Film) -> None:
    spoken(film, "a.aiff", "pcm_s16be")
    assert film.build().code == 0
    assert fitted(film, "fitted:s") == 1
    wav = film.public / "narration" / "s.wav"
    before = wav.stat().st_mtime_ns
    film.edit("turns", "spins")
    assert film.build().code == 0
    assert fitted(film, "fitted:s") == 1
    assert wav.stat().st_mtime_ns == before
    assert film.run("clean").out == "nothing to clean\n"
    film.set("scenes/s/narration", "1.5s")
    assert film.build().code == 0
    assert "narration/s.wav" in film.run("clean", "--yes").out


def test_a_pinned_clip_is_conformed_and_handed_on(film: Film, tmp_path: Path) -> None:
    pinned(film, write_footage(tmp_path / "mine.mov", 25, sounds=(("aac", 44100, "5.1"),)))
    published(film)
    (clip,) = film.timeline["scenes"][0]["clips"]
    assert (clip["source"], clip["take"]) == ("pinned", 1)
    for verb in (("conform", "--proxy"), *(("export", kind) for kind in ("otio", "fcpxml", "fcp7xml", "edl"))):
        done = film.run(*verb)
        assert done.code == 0, done.err
        assert "warning" not in done.err
