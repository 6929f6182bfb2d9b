"""`ltxflow conform`: the finished film, inspected frame by frame and by ear.

The slates are real: each frame carries its number, and the hue of its scene.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from harness.command import Ran, command
from harness.film import Film, prompt
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media import text_layout
from ltxflow.media.audio import integrated_lufs
from ltxflow.media.mix import read_sound
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import draw_slate, read_frame_number
from ltxflow.publish.timeline import broken
from ltxflow.steps import slate as slate_step

SIZE = (192, 128)
WORDS = "Every coin has one key. Whoever holds it owns the coin."
NARRATION = {
    "hook": f'{{ file: vo.wav, text: "{WORDS}" }}',
    "middle": '{ duration: 3s, text: "The middle has words and no voice." }',
    "end": "2.6s",
}
LIMITS = {"hook": ["a", "b"], "middle": ["a"], "end": ["a"]}


def write_voice(path: Path, seconds: float = 5.5, first_s: float = 0.4, hertz: float = 210) -> None:
    """A voice that is silent at first, and then is there at once."""
    times = np.arange(int(seconds * 16000)) / 16000
    samples = np.where(times < first_s, 0, 0.2 * np.sin(2 * np.pi * hertz * times))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture
def real(film: Film, monkeypatch: pytest.MonkeyPatch) -> Film:
    """The film with real slates, a voice in its first scene, and built."""
    monkeypatch.setattr(slate_step, "draw_slate", draw_slate)
    write_voice(film.folder / "vo.wav")
    film.write(LIMITS, NARRATION, size=f"{SIZE[0]}x{SIZE[1]}")
    film.edit("  - id: hook\n", "  - id: hook\n    title: The hook\n    pad: { head: 0.2s, tail: 0.4s }\n")
    assert film.build().code == 0
    return film


def conform(film: Film, *argv: str) -> Ran:
    return film.run("conform", "--json", *argv)


def film_of(film: Film) -> Path:
    return film.folder / "public" / "film.mp4"


def frames_of(path: Path) -> Iterator[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def promised(told: dict[str, Any]) -> list[list[tuple[str, int]]]:
    """For each frame of the film, which frames of which files are on screen."""
    screen: list[list[tuple[str, int]]] = [[] for _ in range(told["durationInFrames"])]
    for scene in told["scenes"]:
        for clip in scene["clips"]:
            for number in range(clip["durationInFrames"]):
                screen[clip["absoluteFrom"] + number].append((clip["src"], clip["trimStart"] + number))
    return screen


def check_pictures(film: Film, path: Path, size: tuple[int, int] = SIZE) -> None:
    """Every frame shows what the timeline promises: the number is read, and the picture is that of the clip."""
    told = film.timeline
    clips = {clip["src"]: list(frames_of(film.folder / "public" / clip["src"])) for clip in clips_of(told)}
    seen = 0
    for shown, wanted in zip(frames_of(path), promised(told), strict=True):
        if len(wanted) == 1:
            src, number = wanted[0]
            assert read_frame_number(shown, SIZE) == number, f"frame {seen} of the film"
            if size == SIZE:
                apart = {name: _apart(shown, frames[min(number, len(frames) - 1)]) for name, frames in clips.items()}
                assert min(apart, key=lambda name: apart[name]) == src, f"frame {seen} of the film"
                assert apart[src] < 4
        else:
            (old, a), (new, b) = wanted
            fade = next(c["transition"]["durationInFrames"] for c in clips_of(told) if c["src"] == new)
            mixed = clips[old][a] * (1 - b / fade) + clips[new][b] * (b / fade)
            assert size != SIZE or _apart(shown, mixed) < 4, f"frame {seen} of the film"
        seen += 1
    assert seen == told["durationInFrames"]


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def clips_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [clip for scene in told["scenes"] for clip in scene["clips"]]


# --- what comes out


def test_every_frame_shows_the_right_picture_and_the_film_is_as_long_as_its_timeline(real: Film) -> None:
    ran = conform(real)
    assert ran.code == 0
    facts, told = probe_mp4(film_of(real)), real.timeline
    assert (facts.frames, facts.fps, facts.width, facts.height) == (told["durationInFrames"], 25, *SIZE)
    assert facts.audio_seconds == facts.seconds == Fraction(told["durationInFrames"], 25)
    assert (ran.data["parts"], ran.data["encoded"], ran.data["standIns"]) == (5, 5, 4)
    check_pictures(real, film_of(real))


def test_speech_starts_where_the_timeline_says(real: Film) -> None:
    conform(real)
    heard = read_sound(film_of(real))
    scene = real.timeline["scenes"][0]
    wanted = (scene["from"] + scene["narration"]["startFrame"]) / 25 + 0.4
    # the pitch of the voice is far below the bells of the slates
    pitch = np.exp(-2j * np.pi * 210 * np.arange(heard.shape[1]) / 48000) * heard[0]
    steps = np.abs(pitch[: len(pitch) // 240 * 240].reshape(-1, 240).mean(axis=1))  # 5 ms each
    first = int(np.argmax(steps > steps.max() / 2)) * 0.005
    assert first == pytest.approx(wanted, abs=0.015)
    end = (scene["from"] + scene["narration"]["startFrame"]) / 25 + 5.5
    last = (len(steps) - int(np.argmax(steps[::-1] > steps.max() / 2))) * 0.005
    assert last == pytest.approx(end, abs=0.015)


def test_it_is_as_loud_as_speech_should_be_and_clips_nowhere(real: Film) -> None:
    conform(real)
    heard = read_sound(film_of(real))
    spoken = heard[:, int(0.7 * 48000) : int(5.6 * 48000)]
    assert integrated_lufs(spoken, 48000) == pytest.approx(-16, abs=0.5)
    assert np.abs(heard).max() < 0.95


def test_scenes_are_chapters_and_captions_are_inside(real: Film) -> None:
    conform(real)
    with av.open(str(film_of(real))) as container:
        told = [(c["metadata"]["title"], c["start"] * c["time_base"] * 25) for c in container.chapters()]
        assert told == [(s["title"] or s["id"], s["from"]) for s in real.timeline["scenes"]]
        texts = [
            text.dialogue.decode()
            for packet in container.demux(container.streams.subtitles[0])
            for text in (packet.decode() if packet.size else ())
        ]
        assert container.metadata["title"] == "Tiny film"
        assert container.metadata["comment"].startswith("machine-made, with LTX-2")
    assert " ".join(" ".join(texts).split()).startswith(WORDS)


def test_two_conforms_in_two_stores_are_the_same_bytes(real: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    conform(real)
    before = film_of(real).read_bytes()
    monkeypatch.setenv("LTXFLOW_STORE", str(real.store.parent / "another"))
    film_of(real).unlink()
    assert conform(real, "--jobs", "1").data["encoded"] == 5
    assert film_of(real).read_bytes() == before


def test_a_proxy_is_smaller_and_shows_the_same(real: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxflow.export.conform.PROXY_LONG_SIDE", 120)
    assert conform(real, "--proxy").code == 0
    assert (probe_mp4(film_of(real)).width, probe_mp4(film_of(real)).height) == (120, 80)
    check_pictures(real, film_of(real), (120, 80))


def test_captions_are_burnt_in_on_request_while_they_are_spoken(real: Film) -> None:
    conform(real)
    plain = list(frames_of(film_of(real)))
    conform(real, "--burn-captions")
    changed = [_apart(one, other) > 1 for one, other in zip(plain, frames_of(film_of(real)), strict=True)]
    times = (real.folder / "public/captions/film.srt").read_text().split("\n")[1]
    start, end = (round(float(clock.replace(",", ".")[6:]) * 25) for clock in times.split(" --> "))
    assert changed[start + 1 : end - 1] == [True] * (end - start - 2)
    assert not any(changed[: start - 1])
    with av.open(str(film_of(real))) as container:
        assert not container.streams.subtitles


def test_captions_that_were_corrected_by_hand_are_used(real: Film) -> None:
    path = real.folder / "public/captions/film.srt"
    path.write_text(path.read_text().replace("Every coin", "Every bitcoin"))
    conform(real)
    assert b"Every bitcoin" in film_of(real).read_bytes()


def test_no_prompt_and_no_path_is_in_the_film(real: Film) -> None:
    conform(real)
    data = film_of(real).read_bytes()
    for word in (b"heavy", b"lock while dust", b"vo.wav", str(real.folder).encode(), b"Lavf", b"Lavc"):
        assert word not in data


# --- what is made again


def rebuilt(film: Film, *argv: str) -> tuple[set[str], bool]:
    """Which parts a conform encodes again, and whether it joins again."""
    ran = conform(film, *argv)
    assert ran.code == 0
    done = {event["target"] for event in ran.events("action-finished") if event["outcome"] == "rendered"}
    return {target for target in done if target.startswith("part:")}, "conform:film" in done


def test_a_second_conform_encodes_nothing_and_writes_nothing(real: Film) -> None:
    conform(real)
    before = film_of(real).stat().st_mtime_ns
    assert rebuilt(real) == (set(), False)
    assert film_of(real).stat().st_mtime_ns == before


def test_only_parts_of_a_changed_clip_are_encoded_again(real: Film) -> None:
    conform(real)
    real.edit(prompt("hook-b"), "Another picture altogether.").build()
    assert rebuilt(real) == ({"part:hook/b", "part:hook/a+b"}, True)
    check_pictures(real, film_of(real))


def test_another_title_or_voice_encodes_no_picture(real: Film) -> None:
    conform(real)
    real.edit("title: The hook", "title: Another").build()
    assert rebuilt(real) == (set(), True)
    write_voice(real.folder / "vo.wav", hertz=150)
    real.build()
    assert rebuilt(real) == (set(), True)
    real.edit("      - id: b\n", "      - id: b\n        gain: -6dB\n").build()
    assert rebuilt(real) == (set(), True)


def test_another_order_encodes_no_picture(real: Film) -> None:
    conform(real)
    head, hook, middle, end = real.file.read_text().rstrip().split("\n  - id: ")
    real.file.write_text("\n  - id: ".join([head, end, middle, hook]) + "\n")
    assert real.build().totals["rendered"] == 0
    assert [scene["id"] for scene in real.timeline["scenes"]] == ["end", "middle", "hook"]
    assert rebuilt(real) == (set(), True)
    check_pictures(real, film_of(real))


def test_taken_back_costs_nothing(real: Film) -> None:
    conform(real)
    before = film_of(real).read_bytes()
    real.edit(prompt("hook-b"), "Another picture altogether.").build()
    conform(real)
    real.edit("Another picture altogether.", prompt("hook-b")).build()
    assert rebuilt(real) == (set(), False)
    assert film_of(real).read_bytes() == before


def test_interrupting_keeps_the_parts_that_are_finished(real: Film, tmp_path: Path) -> None:
    # the second part waits at a gate, which opens only when the work has been interrupted
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    setup = (
        "from ltxflow.steps import part\nbegun = []\nwas = part.cut_part\n"
        f"def cut(*args):\n    begun.append(1)\n    len(begun) > 1 and open({str(gate)!r}).read()\n    was(*args)\n"
        "part.cut_part = cut\n"
    )
    argv = command("conform", "--json", "--jobs", "1", "-p", str(real.folder), setup=setup)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines: list[dict[str, Any]] = []
            for outcome in ("rendered", "skipped"):
                while not lines or lines[-1].get("outcome") != outcome:
                    lines.append(json.loads(process.stdout.readline()))
                if outcome == "rendered":
                    process.send_signal(signal.SIGINT)
            gate.write_text("")
            rest, err = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
    assert (process.returncode, err) == (130, "")
    assert json.loads(rest.splitlines()[-1])["data"]["encoded"] == 1
    assert not film_of(real).exists()
    assert conform(real).data["encoded"] == 4
    check_pictures(real, film_of(real))


# --- what is refused


def test_without_a_build_there_is_not_film(film: Film) -> None:
    ran = film.run("conform")
    assert ran.code == 2
    assert 'the film is not built: no "film/public/scenes/timeline.json"' in ran.err
    assert "ltxflow build --animatic" in ran.err


def test_a_film_that_is_not_whole_is_refused_never_filled(film: Film) -> None:
    film.build("hook")
    ran = film.run("conform")
    assert ran.code == 1
    assert "the film is not whole: middle/a, end/a are not made" in ran.err
    assert "or with slates: ltxflow build --animatic" in ran.err
    assert not film_of(film).exists()


def test_a_clip_that_is_not_the_one_in_the_timeline_is_refused(film: Film) -> None:
    film.build()
    shutil.copy(film.scenes / "scene-1-a.mp4", film.scenes / "scene-2-a.mp4")
    (film.scenes / "scene-0-a.mp4").unlink()
    ran = film.run("conform")
    assert ran.code == 1
    assert '"scenes/scene-0-a.mp4" is missing' in ran.err
    assert '"scenes/scene-2-a.mp4" is not the file that the timeline names' in ran.err


def test_a_timeline_may_not_lead_out_of_its_folder(film: Film) -> None:
    film.build()
    told = film.timeline
    told["scenes"][0]["clips"][0]["src"] = "../../../etc/passwd"
    (film.scenes / "timeline.json").write_text(json.dumps(told))
    ran = film.run("conform")
    assert ran.code == 2
    assert 'leads out of "public"' in ran.err


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "ltxflow.timeline/1"}', '{"schema": "ltxflow.timeline/9"}']
)
def test_what_is_not_timeline_is_reported_without_a_traceback(film: Film, text: str) -> None:
    film.build()
    (film.scenes / "timeline.json").write_text(text)
    ran = film.run("conform")
    assert ran.code == 2
    assert "timeline.json" in ran.err


def test_a_film_of_another_person_is_left_alone(real: Film, tmp_path: Path) -> None:
    for place, argv in ((film_of(real), ()), (tmp_path / "mine.mp4", ("-o", str(tmp_path / "mine.mp4")))):
        place.write_bytes(b"my own film")
        ran = real.run("conform", *argv)
        assert ran.code == 2
        assert "was not made by ltxflow; it is left alone" in ran.err
        assert place.read_bytes() == b"my own film"


def test_a_film_of_ours_is_replaced_wherever_it_is(real: Film, tmp_path: Path) -> None:
    place = tmp_path / "out" / "film.mp4"
    assert conform(real, "-o", str(place)).code == 0
    first = place.read_bytes()
    real.edit("title: The hook", "title: Another").build()
    assert conform(real, "-o", str(place)).code == 0
    assert place.read_bytes() != first


def test_a_film_that_changed_since_it_was_built_is_reported(real: Film) -> None:
    assert conform(real).envelope["problems"] == []
    real.edit(prompt("hook-b"), "Another picture altogether.")
    assert conform(real).envelope["problems"] == []  # a slate has no better rendition
    real.edit("title: The hook", "title: Another")
    (problem,) = conform(real).envelope["problems"]
    assert (problem["code"], problem["level"]) == ("D011", "warning")
    assert "build first" in problem["hint"]


ARABIC = "لكل عملة Bitcoin مفتاح واحد"


def test_captions_right_to_left_are_not_burnt_in_wrongly(real: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_layout, "can_shape", lambda: False)
    path = real.folder / "public/captions/film.srt"
    path.write_text(path.read_text().replace("Every coin has one key.", ARABIC))
    ran = real.run("conform", "--burn-captions")
    assert ran.code == 2
    assert "cannot be drawn on this machine" in ran.err
    assert ARABIC in ran.err
    assert "apt install libfribidi0, or omit --burn-captions" in ran.err
    assert conform(real).code == 0


def test_captions_right_to_left_are_burnt_in_where_the_machine_can(real: Film) -> None:
    if lack := text_layout.lacking(ARABIC):
        pytest.skip(f"{lack.message}: {lack.remedy}")
    path = real.folder / "public/captions/film.srt"
    path.write_text(path.read_text().replace("Every coin has one key.", ARABIC))
    bare = conform(real)
    burnt = conform(real, "--burn-captions")
    assert bare.code == burnt.code == 0
    assert burnt.data["encoded"] > 0
    assert conform(real, "--burn-captions").data["encoded"] == 0


def test_captions_that_no_font_here_has_are_not_burnt_in_as_boxes(real: Film) -> None:
    path = real.folder / "public/captions/film.srt"
    path.write_text(path.read_text().replace("Every coin has one key.", "Every \U00013080 has one key."))
    ran = real.run("conform", "--burn-captions")
    assert ran.code == 2
    assert 'no font on this machine has "\U00013080"' in ran.err
    assert "omit --burn-captions" in ran.err
    assert conform(real).code == 0


def corrected(real: Film, *blocks: str, encoding: str = "utf-8") -> Path:
    path = real.folder / "public/captions/film.srt"
    path.write_bytes("\n".join(blocks).encode(encoding))
    return path


def test_captions_without_times_are_reported_with_their_line(real: Film) -> None:
    corrected(real, "1\n00:00:01,000 --> 00:00:02,000\nHello\n\nno times here\n")
    ran = real.run("conform")
    assert ran.code == 2
    assert "film.srt:5:1: error: a caption has no times [D012]" in ran.err


def test_captions_that_are_not_utf_8_are_reported_with_their_line(real: Film) -> None:
    corrected(real, "1\n00:00:01,000 --> 00:00:02,000\nUn café\n", encoding="cp1252")
    ran = real.run("conform")
    assert ran.code == 2
    assert "film.srt:3:7: error: cannot read" in ran.err
    assert "→ save it as UTF-8" in ran.err


ITALIC = "1\n00:00:01,000 --> 00:00:02,000\nEvery <i>coin</i> {\\an8}<b>now</b>\n"


def test_italics_are_italics_in_the_file_and_in_the_picture_and_no_tag_is_shown(real: Film) -> None:
    corrected(real, ITALIC)
    conform(real)
    with av.open(str(film_of(real))) as container:
        texts = [
            text.dialogue.decode()
            for packet in container.demux(container.streams.subtitles[0])
            for text in (packet.decode() if packet.size else ())
        ]
    assert [text.rpartition(",")[2] for text in texts if "coin" in text] == ["Every {\\i1}coin{\\r} now"]
    conform(real, "--burn-captions")
    italic = list(frames_of(film_of(real)))[40]
    corrected(real, ITALIC.replace("<i>", "").replace("</i>", ""))
    conform(real, "--burn-captions")
    assert 0.05 < _apart(italic, list(frames_of(film_of(real)))[40]) < 5


def test_captions_that_begin_after_the_film_are_reported(real: Film) -> None:
    corrected(real, ITALIC, "2\n01:00:00,000 --> 01:00:01,000\nLate\n")
    (problem,) = conform(real).envelope["problems"]
    assert (problem["code"], problem["level"]) == ("D013", "warning")
    assert "1 of 2 captions begin after the film ends" in problem["message"]


def test_what_a_person_reads_states_size_time_and_stand_ins(real: Film) -> None:
    out = real.run("conform").out
    assert "Conformed the film: 5 of 5 parts encoded" in out
    assert "× real time" in out
    assert "→ film/public/film.mp4" in out
    assert "192×128, 4 stand-ins" in out
    assert "nothing to encode" in real.run("conform").out


def test_the_film_is_neither_an_orphan_nor_a_clip(real: Film) -> None:
    conform(real)
    assert real.run("clean").out == "nothing to clean\n"
    assert real.build().totals["hit"] == 4
    assert broken(real.timeline) == []
    with pytest.raises(LtxflowError):
        probe_mp4(real.folder / "vo.wav")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cut.txt", "write --output {}/cut.mp4"),
        ("cut", "write --output {}/cut.mp4"),
        ("", "write --output {}/film.mp4"),
    ],
)
def test_a_place_that_is_not_mp4_is_reported_with_one_that_is(real: Film, tmp_path: Path, name: str, hint: str) -> None:
    place = tmp_path / "out"
    place.mkdir()
    ran = real.run("conform", "--proxy", "--output", str(place / name))
    assert ran.code == 2
    assert f"does not end in .mp4 [D001]\n  → {hint.format(os.path.relpath(place))}\n" in ran.err
    assert list(place.iterdir()) == []
