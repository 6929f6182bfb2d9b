"""A failing and a passing sample for each rule, encoded as clips are: h264 and AAC."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from labelled import encode
from PIL import Image

from ltxflow.core.digest import canonical
from ltxflow.core.errors import LtxflowError
from ltxflow.media.findings import (
    QUIETEST_DB,
    RULES,
    ClipRequirements,
    Findings,
    FrameRange,
    Thresholds,
    causes,
    findings_from,
    is_bad_luck,
    is_same_fault,
    judge,
    similarity,
)
from ltxflow.media.inspection import inspect_video
from ltxflow.media.slate import SlateSpec, draw_slate

WIDTH, HEIGHT, FPS, RATE = 320, 192, 25, 24000
FRAMES = 41


def landscape(seed, width=WIDTH * 2, height=HEIGHT * 2):
    """A picture with as much detail at every size as nature has: the spectrum falls with frequency."""
    across, down = np.fft.rfftfreq(width)[None] * width, np.fft.fftfreq(height)[:, None] * height
    falling = np.maximum(np.hypot(across, down), 1) ** -1.2
    waves = np.fft.rfft2(np.random.default_rng(seed).normal(size=(height, width))) * falling
    picture = np.fft.irfft2(waves, (height, width))
    return np.clip(128 + 45 * picture / picture.std(), 5, 250).astype(np.float32)


PLACE = Image.fromarray(landscape(1))
ELSEWHERE = landscape(2, WIDTH, HEIGHT)


def view(x=0.5, y=0.5, zoom=1.0):
    """A window onto the place, its corner at parts of the window's own size from the place's."""
    size = (1 / zoom, 0, WIDTH * (x + 0.5 - 0.5 / zoom), 0, 1 / zoom, HEIGHT * (y + 0.5 - 0.5 / zoom))
    return np.asarray(PLACE.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, size, Image.Resampling.BICUBIC))


STILL = view()


def still(frames=FRAMES):
    return [STILL] * frames


@cache
def pan(speed, frames=FRAMES, start=0.5):
    """`speed` in widths a second."""
    return [view(start + speed * number / FPS) for number in range(frames)]


def grainy(pictures, levels=6, seed=3):
    """Film grain: new in each frame, two pixels wide."""
    rng = np.random.default_rng(seed)
    for picture in pictures:
        small = (rng.normal(size=(HEIGHT // 2, WIDTH // 2)) * levels).astype(np.float32)
        grain = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        yield picture + np.asarray(grain)


def speaking(area):
    """A still with a part in the middle that changes its light."""
    side = round((area * WIDTH * HEIGHT) ** 0.5)
    for number in range(FRAMES):
        picture = STILL.copy()
        picture[100 : 100 + side, 150 : 150 + side] += 40 * np.sin(number / 3)
        yield picture


def tone(db=-20.0, seconds=FRAMES / FPS, hertz=440.0):
    return 10 ** (db / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def ambience(db, seconds=FRAMES / FPS):
    return 10 ** (db / 20) * np.random.default_rng(4).normal(size=round(seconds * RATE))


def chord():
    """As loud as can be, with the peaks of music."""
    swell = 0.6 + 0.4 * np.sin(np.arange(round(FRAMES / FPS * RATE)) * 3 / RATE)
    notes = (110, 220.5, 331, 440, 997, 2500)
    sound = swell * sum(tone(0, hertz=hertz) / (number + 1) for number, hertz in enumerate(notes))
    return sound / np.abs(sound).max()


SOUND = tone()
SMALL = [np.roll(landscape(3, 96, 64), 2 * number, axis=1) for number in range(FRAMES)]  # for tests of sound


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"

    def write(pictures, sound=SOUND, crf=20):
        with av.open(str(path), "w") as container:
            first, *rest = pictures
            video = container.add_stream("libx264", rate=FPS)
            video.height, video.width = first.shape
            video.pix_fmt, video.options = "yuv420p", {"crf": str(crf), "preset": "veryfast"}
            video.codec_context.thread_count = 1
            audio = None if sound is None else container.add_stream("aac", rate=RATE, layout="mono")
            for picture in (first, *rest):
                grey = np.clip(picture, 0, 255).astype(np.uint8)
                container.mux(video.encode(VideoFrame.from_ndarray(grey, format="gray")))
            container.mux(video.encode(None))
            if audio is not None:
                audio.options = {"aac_coder": "fast"}
                for at in range(0, len(sound), 1024):
                    part = sound[None, at : at + 1024].astype(np.float32)
                    block = AudioFrame.from_ndarray(part, "fltp", "mono")
                    block.sample_rate, block.pts, block.time_base = RATE, at, Fraction(1, RATE)
                    container.mux(audio.encode(block))
                container.mux(audio.encode(None))
        return path

    return write


@pytest.fixture(scope="module")
def found(write):
    def found(*args, **options):
        return inspect_video(write(*args, **options))

    return found


def codes(findings, thresholds=None, others=None):
    return [problem.code for problem in judge(findings, thresholds, others)]


# Pictures


def test_a_still_is_frozen(found):
    findings = found(still())
    assert findings.frozen == FrameRange(0.0, 1.64)
    assert findings.frozen_share == 1
    assert findings.motion_mean == findings.motion_p90 == 0
    (problem,) = judge(findings)
    assert (problem.code, problem.level) == ("Q101", "warning")
    assert problem.message == "the picture is frozen for 1.64 s from 0.00 s on"
    assert "describe motion" in problem.hint
    assert "image strength" in problem.hint


def test_slow_motion_is_not_frozen(found):
    findings = found(pan(0.02))
    assert findings.frozen.seconds < 0.6
    assert findings.frozen_share == 0
    assert codes(findings) == []


def test_faint_noise_on_a_still_is_not_motion(found):
    findings = found(grainy(still(), levels=2.5))
    assert codes(findings) == ["Q101"]
    assert findings.frozen_share == 1
    assert findings.motion_mean < 0.01


def test_strong_grain_is_not_a_freeze(found):
    findings = found(grainy(still(), levels=12))
    assert codes(findings) == []
    assert findings.motion_mean <= 0.1


def test_fine_texture_that_moves_is_not_a_freeze(found):
    """Single pixels all over the picture: nothing of them is left on the grid."""
    drops = np.random.default_rng(7).integers(0, (HEIGHT, WIDTH), (500, 2))

    def rain(number):
        picture = STILL.copy()
        for part in range(6):
            picture[(drops[:, 0] + 9 * number - part) % HEIGHT, drops[:, 1]] += 60
        return picture

    findings = found([rain(number) for number in range(FRAMES)])
    assert codes(findings) == []
    assert findings.frozen.seconds < 0.2
    assert findings.motion_mean >= 0.02


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "gbrp10le"])
def test_every_pixel_format_is_inspected(tmp_path, pixels):
    path = tmp_path / "clip.mkv"
    for pictures, seconds in ((still(30), 1.2), (pan(0.2, 30), 0.2)):
        with av.open(str(path), "w") as container:
            video = container.add_stream("ffv1", rate=FPS)
            video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, pixels
            for picture in pictures:
                grey = np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
                container.mux(video.encode(VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(video.encode(None))
        found = inspect_video(path)
        assert (found.frozen.seconds >= 1) == (seconds >= 1)
        assert found.frozen.seconds <= seconds


def test_the_smallest_picture_is_inspected(found):
    assert found([np.full((2, 2), 90.0)] * 5).frozen.seconds == 0.2


def test_grain_on_slow_motion_does_not_hide_it(found):
    assert codes(found(grainy(pan(0.03), levels=6))) == []


def test_flickering_light_is_not_motion(found):
    flicker = [picture * (1 + 0.04 * np.sin(1.9 * n)) for n, picture in enumerate(grainy(still(), levels=3))]
    findings = found(flicker)
    assert "Q101" in codes(findings)
    assert findings.frozen.seconds > 1.2
    assert findings.motion_mean < 0.02


def test_strong_compression_is_not_motion(found):
    assert found(still(), crf=38).frozen_share == 1


def test_frozen_in_the_middle_only(found):
    findings = found([*pan(0.1)[:20], *[pan(0.1)[20]] * 40, *pan(0.1)[20:]])
    assert findings.frozen.start == pytest.approx(0.76, abs=0.13)
    assert findings.frozen.seconds == pytest.approx(1.64, abs=0.25)
    assert findings.frozen_share == pytest.approx(0.5, abs=0.08)
    assert "Q101" in codes(findings)
    assert "Q101" not in codes(findings, Thresholds(freeze_s=2.0))


def test_a_single_wrong_frame_does_not_unfreeze(found):
    assert found([*still(25), np.minimum(STILL * 2, 255), *still(25)]).frozen.seconds > 2


def test_half_a_second_can_be_frozen(found):
    assert "Q101" in codes(found(still(9), sound=tone(seconds=0.36)))
    assert "Q101" not in codes(found(pan(0.2, 9), sound=tone(seconds=0.36)))


def test_a_mouth_that_moves_is_not_frozen(found):
    findings = found(speaking(0.01))
    assert "Q101" not in codes(findings)
    assert findings.frozen_share == 0


def test_a_black_start_is_seen(found):
    black = [np.zeros_like(STILL)] * 10
    findings = found([*black, *pan(0.1)[:31]])
    assert findings.black == FrameRange(0.0, 0.4)
    assert codes(findings) == ["Q102"]
    assert codes(findings, Thresholds(black_s=0.5)) == []


DARK = {
    "night": lambda: [picture * 0.2 for picture in pan(0.2)],
    "one frame": lambda: [np.zeros_like(STILL), *pan(0.2)],
    "fade in": lambda: [picture * min(1, number / 20) ** 2.2 for number, picture in enumerate(pan(0.2))],
    "fade out": lambda: [picture * min(1, number / 20) ** 2.2 for number, picture in enumerate(pan(0.2))][::-1],
    "a lamp": lambda: [np.pad(np.full((6, 6), 220.0), ((90, 96), (5 * n, 314 - 5 * n))) for n in range(FRAMES)],
}


@pytest.mark.parametrize("dark", DARK)
def test_dark_is_not_black(found, dark):
    assert "Q102" not in codes(found(DARK[dark]()))


def test_black_before_a_fade_is_black(found):
    pictures = [picture * max(0, min(1, number / 20 - 0.5)) for number, picture in enumerate(pan(0.2))]
    findings = found(pictures)
    assert "Q102" in codes(findings)
    assert findings.black.start == 0
    assert findings.black.seconds == pytest.approx(0.44, abs=0.05)


def test_all_black_is_black_and_no_more(found):
    assert codes(found([np.zeros_like(STILL)] * 30, sound=tone(seconds=1.2))) == ["Q102"]


def test_motion_grows_with_speed(found):
    scores = [found(pan(speed)).motion_mean for speed in (0.005, 0.02, 0.1, 0.3)]
    assert scores == sorted(scores)
    assert scores[0] < 0.02 < scores[1] < 0.2 < scores[2] < 0.6 < scores[3] < 1.5


def test_the_liveliest_tenth_distinguishes_a_burst_from_a_drift(found):
    findings = found([*still(31), *pan(0.4)[:10]])
    assert findings.motion_p90 > 2 * findings.motion_mean


def test_a_crawl_gets_advice(found):
    findings = found([view(zoom=1 + 0.012 * number / FPS) for number in range(FRAMES)])
    (problem,) = judge(findings)
    assert (problem.code, problem.level) == ("Q103", "advice")
    assert "motion LoRA" in problem.hint
    assert codes(findings, Thresholds(motion=0.0)) == []


def test_lively_motion_gets_none(found):
    assert codes(found(pan(0.2))) == []


def test_a_cut_is_seen_where_it_is(found):
    findings = found([*pan(0.1)[:30], *[ELSEWHERE] * 11])
    assert findings.cuts == (1.2,)
    assert "Q104" in codes(findings)
    (problem,) = [p for p in judge(findings) if p.code == "Q104"]
    assert problem.message == "the picture jumps at 1.20 s"


def test_a_different_first_frame_is_a_cut(found):
    assert found([ELSEWHERE, *pan(0.1)]).cuts == (0.04,)


def passing():
    """Something dark that passes close to the camera, within a third of a second."""
    columns = np.arange(WIDTH)[None] / WIDTH
    for number, picture in enumerate(pan(0.1)):
        covers = np.clip(1 - np.abs(columns - (number - 15) / 8 * 1.8 + 0.4) / 0.4, 0, 1) ** 0.5
        yield picture * (1 - covers) + 20 * covers


@pytest.mark.parametrize("motion", ["fast", "flash", "black", "passing"])
def test_fast_motion_and_flashes_are_no_cuts(found, motion):
    pictures = {
        "passing": list(passing()),
        "fast": pan(0.8, 26, start=0.05),
        "flash": [*pan(0.1)[:20], np.full_like(STILL, 255), *pan(0.1)[20:]],
        "black": [*[np.zeros_like(STILL)] * 10, *pan(0.1)[:20]],
    }[motion]
    assert found(pictures).cuts == ()


def test_light_is_measured(found):
    dim, bright = found(still(9)), found([STILL / 2 + 120] * 9)
    assert dim.luma == pytest.approx(STILL.mean() / 255, abs=0.02)
    assert bright.luma == pytest.approx(STILL.mean() / 510 + 120 / 255, abs=0.02)
    assert bright.contrast == pytest.approx(dim.contrast / 2, rel=0.05)


@pytest.mark.parametrize("size", [(64, 64), (224, 96), (34, 384)])
def test_every_size_is_inspected(found, size):
    findings = found([np.roll(landscape(3, size[1], size[0]), n * 3, axis=1) for n in range(9)])
    assert findings.frames == 9
    assert findings.motion_mean > 0.1


def test_a_single_frame_is_a_clip(found):
    findings = found(still(1))
    assert (findings.frames, findings.seconds, findings.frozen, findings.cuts) == (1, 0.04, FrameRange(), ())


# Sound


def test_no_track_is_missed_unless_none_is_wanted(found):
    findings = found(SMALL, sound=None)
    assert not findings.has_sound
    assert codes(findings) == ["Q105"]
    assert codes(findings, Thresholds(wants_sound=False)) == []


def test_a_silent_track_is_found(found):
    findings = found(SMALL, sound=SOUND * 0)
    assert codes(findings) == ["Q106"]
    assert (findings.peak_db, findings.rms_db, findings.lufs) == (QUIETEST_DB, QUIETEST_DB, None)
    assert findings.silence.seconds == pytest.approx(1.64, abs=0.1)


def test_quiet_ambience_is_not_silence(found):
    findings = found(SMALL, sound=ambience(-50))
    assert codes(findings) == []
    assert findings.silence.seconds == 0
    assert findings.rms_db == pytest.approx(-50, abs=2)


def test_sound_that_stops_gets_advice(found):
    pause = np.concatenate([tone(seconds=0.3), np.zeros(RATE * 5 // 2), tone(seconds=0.2)])
    findings = found(SMALL + SMALL[-2:5:-1], sound=pause)
    assert codes(findings) == ["Q107"]
    assert findings.silence.start == pytest.approx(0.35, abs=0.1)
    assert findings.silence.seconds == pytest.approx(2.4, abs=0.15)


def test_a_breath_gets_none(found):
    pause = np.concatenate([tone(seconds=0.5), np.zeros(RATE), tone(seconds=0.14)])
    assert codes(found(SMALL, sound=pause)) == []


@pytest.mark.parametrize("sound", [tone(0, hertz=220), chord()])
def test_clipped_sound_is_found(found, sound):
    findings = found(SMALL, sound=np.clip(2 * sound, -1, 1))
    assert codes(findings) == ["Q108"]
    assert findings.top_share > 0.05
    assert findings.top_run > 20


@pytest.mark.parametrize("sound", [tone(-0.7), chord(), np.tanh(2 * chord()), ambience(-10)])
def test_loud_sound_is_not_clipped(found, sound):
    assert codes(found(SMALL, sound=sound)) == []


def test_sound_that_begins_late_is_found(found, tmp_path):
    late = tmp_path / "late.mp4"
    encode.write(late, [np.repeat(p[..., None], 3, 2) for p in SMALL], FPS, tone()[None].astype(np.float32), RATE, 0.4)
    findings = inspect_video(late)
    assert findings.sound_start == pytest.approx(0.4, abs=0.05)
    (problem,) = judge(findings)
    assert problem.code == "Q109"
    assert problem.message == f"the sound begins {findings.sound_start:.2f} s after the picture"
    assert found(SMALL).sound_start == 0


def test_a_wrong_length_of_sound_is_reported_with_its_side(found):
    (short,) = judge(found(SMALL, sound=tone(seconds=1.2)))
    assert short.message.startswith("the sound ends 0.")
    assert short.message.endswith(" s before the picture, which has 1.64 s")
    (long,) = judge(found(SMALL, sound=tone(seconds=2.0)))
    assert "after the picture" in long.message


def test_sound_of_another_length_is_seen(found):
    assert codes(found(SMALL, sound=tone(seconds=1.2))) == ["Q109"]
    assert codes(found(SMALL, sound=tone(seconds=2.0))) == ["Q109"]


def test_the_encoders_padding_is_not_another_length(found):
    findings = found(SMALL, sound=tone(seconds=1.64))
    assert codes(findings) == []
    assert 1.64 <= findings.sound_seconds < 1.64 + 1024 / RATE


def test_levels_are_those_of_the_sound(found):
    swelling = np.clip(np.arange(3 * RATE) / 2000, 0, 1)  # a sudden start rings in any encoder
    findings = found(SMALL + SMALL[-2:5:-1], sound=swelling * tone(-23, seconds=3, hertz=1000))
    assert findings.peak_db == pytest.approx(-23, abs=0.3)
    assert findings.true_peak_db == pytest.approx(-23, abs=0.3)
    assert findings.rms_db == pytest.approx(-26, abs=0.3)
    assert findings.lufs == pytest.approx(-26, abs=0.3)  # in one channel
    assert (findings.top_share, findings.top_run, findings.top_pile) == (0, 0, 0)


# Likeness


@pytest.fixture(scope="module")
def moving(found):
    return found(pan(0.1))


def test_the_same_clip_encoded_again_is_a_duplicate(found, moving):
    again = found(pan(0.1), crf=33)
    assert similarity(moving.fingerprint, moving.fingerprint) == 1
    assert similarity(moving.fingerprint, again.fingerprint) >= 0.97
    (problem,) = judge(again, others={"take 1": moving.fingerprint})
    assert (problem.code, problem.level) == ("Q110", "warning")
    assert problem.message.startswith("the same as take 1: ")


@pytest.mark.parametrize("change", ["darker", "brighter", "gamma"])
def test_other_light_does_not_hide_a_duplicate(found, moving, change):
    lit = {
        "darker": lambda picture: picture * 0.7,
        "brighter": lambda picture: picture + 25,
        "gamma": lambda picture: 255 * (np.clip(picture, 0, 255) / 255) ** 0.8,
    }[change]
    assert similarity(moving.fingerprint, found(map(lit, pan(0.1))).fingerprint) >= 0.97


def test_grain_does_not_hide_a_duplicate(found):
    one, other = (found(grainy(still(20), 4, seed)) for seed in (1, 2))
    assert similarity(one.fingerprint, other.fingerprint) >= 0.97


def test_another_clip_is_none(found, moving):
    other = found([ELSEWHERE] * 9)
    assert similarity(moving.fingerprint, other.fingerprint) < 0.3
    assert similarity(moving.fingerprint, other.fingerprint) == similarity(other.fingerprint, moving.fingerprint)
    assert "Q110" not in codes(moving, others={"take 2": other.fingerprint})


def test_the_same_picture_that_moves_otherwise_is_none(found, moving):
    assert similarity(moving.fingerprint, found(pan(-0.1)).fingerprint) < 0.5
    assert similarity(found(still(9)).fingerprint, found(speaking(0.02)).fingerprint) < 0.97


def test_nothing_is_like_nothing(found):
    black = found([np.zeros_like(STILL)] * 9)
    assert similarity(black.fingerprint, found([np.full_like(STILL, 3)] * 20).fingerprint) == 1
    assert similarity(black.fingerprint, found(still(9)).fingerprint) < 0.3


@pytest.mark.parametrize("text", ["", "f1:", "f0:AAAA", "f1:????"])
def test_text_that_is_not_a_fingerprint_is_refused(text, moving):
    with pytest.raises(ValueError, match=r"fingerprint|base64|padding|characters"):
        similarity(moving.fingerprint, text)


# Findings


def test_a_slate_passes_the_checks(tmp_path):
    draw_slate(SlateSpec(192, 128, 25, 41, "hook", "a", 1, "A vault door opens"), tmp_path / "slate.mp4")
    findings = inspect_video(tmp_path / "slate.mp4")
    assert codes(findings) == []
    assert findings.frozen.seconds == 0


def test_findings_survive_json(found):
    findings = found([*pan(0.1)[:20], *[ELSEWHERE] * 9])
    data = findings.as_json()
    assert canonical(data)
    assert findings_from(data) == findings
    assert findings.cuts


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("gone.mp4", None, "M001"), ("page.mp4", b"<html>no</html>", "M004"), ("empty.mp4", b"", "M004")],
)
def test_a_file_that_is_not_a_video_is_refused(tmp_path, name, content, code):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LtxflowError) as caught:
        inspect_video(tmp_path / name)
    assert caught.value.problems[0].code == code
    assert name in caught.value.problems[0].message


def test_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        block = AudioFrame.from_ndarray(np.zeros((1, 999), np.int16), "s16", "mono")
        block.sample_rate = RATE
        container.mux(stream.encode(block))
    with pytest.raises(LtxflowError, match="no picture"):
        inspect_video(tmp_path / "a.wav")


FINE = Findings(
    frames=121,
    seconds=4.84,
    frozen=FrameRange(1.0, 0.2),
    frozen_share=0.0,
    black=FrameRange(),
    motion_mean=0.5,
    motion_p90=0.9,
    luma=0.4,
    contrast=0.2,
    cuts=(),
    fingerprint="",
    has_sound=True,
    sound_seconds=4.843,
    rms_db=-25.0,
    peak_db=-6.0,
    true_peak_db=-5.9,
    lufs=-24.0,
)


def test_a_fine_clip_has_no_problem():
    assert judge(FINE) == []


def test_a_shape_is_compared_with_what_was_wanted(found):
    moving = found(pan(0.1))
    assert judge(moving, wanted=ClipRequirements(FRAMES, FPS, (WIDTH, HEIGHT))) == []
    messages = {p.code: p.message for p in judge(moving, wanted=ClipRequirements(97, 24, (WIDTH * 2, HEIGHT)))}
    assert messages == {
        "Q111": "it is 320x192, not 640x192",
        "Q112": "it has 25 frames a second, not 24",
        "Q113": "it has 41 frames, not 97",
    }


OFF = Thresholds(None, None, None, False, False, None, None, None, 0.7, None, None, False, False, False)


def test_a_disabled_check_reports_nothing():
    bad = replace(
        FINE, frozen=FrameRange(0, 4.8), black=FrameRange(0, 1), cuts=(1.0,), motion_mean=0.0, silence=FrameRange(0, 3)
    )
    bad = replace(bad, top_share=0.5, top_pile=5.0, sound_seconds=1.0, width=10, height=10, fps=1.0)
    for each in (bad, replace(bad, rms_db=-90.0), replace(bad, has_sound=False)):
        wanted = ClipRequirements(9, 25, (64, 64))
        assert judge(each, wanted=wanted)
        assert judge(each, OFF, {"take 1": each.fingerprint}, wanted) == []


def test_a_finding_of_an_older_version_can_be_read():
    data = FINE.as_json()
    del data["sound_start"]  # came with version 2
    assert findings_from(data) == FINE


def test_rules_know_the_effect_of_another_seed():
    tried = {code for code, rule in RULES.items() if rule.seed == "tried"}
    assert tried == {"Q101", "Q102", "Q104", "Q106"}
    assert {code for code, rule in RULES.items() if rule.seed == "may help"} == {"Q108", "Q110"}
    assert not any(rule.level == "advice" for rule in RULES.values() if rule.seed == "tried")


def test_of_several_problems_only_the_causes_are_a_reason_to_try_another_seed():
    bad = replace(FINE, frozen=FrameRange(0, 3), top_share=0.5, top_pile=5.0, width=64, height=64)
    problems = judge(bad, wanted=ClipRequirements(9, 25, (96, 64)))
    assert [problem.code for problem in problems] == ["Q111", "Q113", "Q101", "Q108"]
    assert [problem.code for problem in causes(problems)] == ["Q101"]


@pytest.mark.parametrize(
    ("code", "other", "is_same"),
    [
        ("Q101", replace(FINE, frozen=FrameRange(1.2, 3)), True),
        ("Q101", replace(FINE, frozen=FrameRange(2.0, 3)), False),
        ("Q102", replace(FINE, black=FrameRange(0.1, 1)), True),
        ("Q102", replace(FINE, black=FrameRange(3.0, 1)), False),
        ("Q104", replace(FINE, cuts=(2.1,)), True),
        ("Q104", replace(FINE, cuts=(2.1, 3.0)), False),
        ("Q104", replace(FINE, cuts=(4.0,)), False),
        ("Q106", replace(FINE, rms_db=-90.0), True),
    ],
)
def test_a_fault_at_the_same_place_is_the_same_fault(code, other, is_same):
    one = replace(FINE, frozen=FrameRange(1.0, 3), cuts=(2.0,))
    assert is_same_fault(one, other, [code]) is is_same


def test_only_what_another_seed_may_mend_is_bad_luck():
    assert is_bad_luck(judge(replace(FINE, frozen=FrameRange(0, 3))))
    assert not is_bad_luck(judge(replace(FINE, motion_mean=0.0)))  # advice
    assert not is_bad_luck(judge(replace(FINE, has_sound=False)))  # the template's doing
    assert not is_bad_luck(judge(FINE, wanted=ClipRequirements(9)))
    assert not is_bad_luck([])


def test_every_problem_follows_house_style():
    bad = replace(FINE, frozen=FrameRange(0, 2), black=FrameRange(2, 1), cuts=(1.0,) * 7, silence=FrameRange(0, 3))
    worse = replace(bad, motion_mean=0.0, frozen=FrameRange(), black=FrameRange(), rms_db=-80.0)
    mute = replace(FINE, has_sound=False)
    misshapen = judge(replace(FINE, width=320, height=192, fps=24.0), wanted=ClipRequirements(97, 25, (768, 512)))
    loud = judge(replace(worse, top_share=0.5, top_pile=5.0, sound_seconds=1.0))
    problems = [*judge(bad), *loud, *judge(mute), *misshapen]
    assert {p.code for p in problems} == set(RULES) - {"Q110"}
    for problem in problems:
        assert problem.message[0].islower()
        assert not problem.message.endswith(".")
        assert problem.hint
        assert problem.level == RULES[problem.code].level != "error"
