"""The published tree: only our own files are touched, and a reader never sees half a film that calls itself whole."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from harness.crashing import watch_writes
from harness.film import SIZE, Film
from harness.media import canned
from PIL import Image

from ltxflow.core.digest import digest_bytes
from ltxflow.media.image import draw_poster
from ltxflow.media.slate import SlateSpec, draw_slate, read_frame_number
from ltxflow.publish import publish as publishing
from ltxflow.publish.timeline import broken
from ltxflow.store.blobs import BlobStore

Watch = Callable[[Callable[[str, Path], None]], None]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Have a function called before every write, with what is about to be done to which path."""

    def set_hook(hook: Callable[[str, Path], None]) -> None:
        watch_writes(monkeypatch, hook)

    return set_hook


def write_voice(path: Path, seconds: float, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(level.to_bytes(2, "little") * int(16000 * seconds))


def problems_of(film: Film, *argv: str) -> list[tuple[str, str]]:
    ran = film.build(*argv)
    assert ran.code == 1
    return [
        (problem["code"], problem["message"]) for problem in ran.envelope["problems"] if problem["level"] == "error"
    ]


# --- what is written


def test_a_film_is_published_by_position_with_its_timeline(film: Film) -> None:
    ran = film.build()
    assert sorted(film.published()) == [
        "AI-DISCLOSURE.txt",
        "posters/scene-0-a.jpg",
        "posters/scene-0-b.jpg",
        "posters/scene-1-a.jpg",
        "posters/scene-2-a.jpg",
        "scenes/scene-0-a.mp4",
        "scenes/scene-0-b.mp4",
        "scenes/scene-1-a.mp4",
        "scenes/scene-2-a.mp4",
        "scenes/timeline.json",
    ]
    clips = [clip for scene in film.timeline["scenes"] for clip in scene["clips"]]
    for clip in clips:
        assert digest_bytes((film.folder / "public" / clip["src"]).read_bytes()) == clip["sha256"]
    assert film.timeline["complete"]
    assert sum(scene["durationInFrames"] for scene in film.timeline["scenes"]) == film.timeline["durationInFrames"]
    said = [event["path"] for event in ran.events("file-published")]
    assert said == [clip["src"] for clip in clips] + [clip["poster"] for clip in clips] + ["AI-DISCLOSURE.txt"]


def test_published_files_are_copies_that_may_be_edited_without_harm_to_the_store(film: Film) -> None:
    film.build()
    clip = film.scenes / "scene-0-a.mp4"
    assert clip.stat().st_nlink == 1
    assert clip.stat().st_mode & 0o600 == 0o600
    clip.write_bytes(b"scribbled over")
    for blob in (film.store / "cas").rglob("*"):
        if blob.is_file():
            assert digest_bytes(blob.read_bytes()) == blob.parent.name + blob.name


def test_the_output_may_be_elsewhere_in_the_workspace(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\noutput: ../public/film")
    film.build()
    assert (film.folder.parent / "public" / "film" / "timeline.json").exists()
    assert not (film.folder / "public").exists()


def test_when_all_is_in_place_nothing_is_written(film: Film, watch: Watch) -> None:
    film.build()
    before = film.published()
    calls: list[str] = []
    watch(lambda op, path: calls.append(path.name) if path.is_relative_to(film.public) else None)
    assert film.build().totals["hit"] == 4
    assert calls == []
    assert film.published() == before


def test_a_narration_is_published_beside_the_scenes(film: Film) -> None:
    write_voice(film.folder / "vo" / "Hook.WAV", 6)
    film.write(narration={"hook": "{ file: vo/Hook.WAV }", "middle": "3s"})
    film.build()
    source = (film.folder / "vo" / "Hook.WAV").read_bytes()
    assert film.published()["narration/hook.wav"] == source
    told = film.timeline["scenes"][0]["narration"]
    assert (told["src"], told["samples"], told["sampleRate"]) == ("narration/hook.wav", 96000, 16000)


def test_a_narration_recorded_again_at_the_same_length_draws_nothing(film: Film) -> None:
    write_voice(film.folder / "vo.wav", 6)
    film.write(narration={"hook": "{ file: vo.wav }"})
    film.build()
    write_voice(film.folder / "vo.wav", 6, level=1)
    ran = film.build()
    assert (ran.totals["rendered"], ran.totals["hit"]) == (0, 4)
    assert film.published()["narration/hook.wav"] == (film.folder / "vo.wav").read_bytes()
    assert [event["path"] for event in ran.events("file-published")] == ["narration/hook.wav"]


# --- what only the timeline shows


def changed_by(film: Film, edit: Callable[[], object]) -> set[str]:
    """The files of which a build after an edit wrote other bytes, or wrote at all."""
    public = film.folder / "public"

    def seen() -> dict[str, tuple[int, bytes]]:
        return {path: ((public / path).stat().st_mtime_ns, data) for path, data in film.published().items()}

    before = seen()
    edit()
    ran = film.build()
    assert (ran.code, ran.totals["rendered"], ran.totals["hit"]) == (0, 0, 4)
    return {path for path, told in seen().items() if before.get(path) != told}


SPOKEN = {"hook": '{ duration: 6s, text: "Every coin has one key. Nobody has two of them." }', "middle": "3.5s"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Tiny film"', '"Another film"'),
        ("  - id: middle\n", "  - id: middle\n    title: The middle\n"),
        ("  - id: hook\n", "  - id: hook\n    crossfade: 10f\n"),
        ("      - id: b\n", "      - id: b\n        gain: -6dB\n"),
        ("  - id: end\n", "  - id: end\n    gain: +3dB\n"),
    ],
)
def test_what_is_only_shown_rewrites_the_timeline_alone(film: Film, old: str, new: str) -> None:
    film.write(narration=SPOKEN)
    film.build()
    assert changed_by(film, lambda: film.edit(old, new)) == {"scenes/timeline.json"}
    assert broken(film.timeline) == []


def test_other_words_rewrite_captions_and_the_timeline(film: Film) -> None:
    film.write(narration=SPOKEN)
    film.build()
    told = changed_by(film, lambda: film.edit("Nobody has two", "No one has two"))
    assert told == {"captions/film.srt", "captions/film.vtt", "captions/hook.json", "scenes/timeline.json"}


def test_a_gain_is_reported_as_a_volume(film: Film) -> None:
    write_voice(film.folder / "vo.wav", 6)
    film.write(narration={"hook": "{ file: vo.wav, gain: -3.5dB }", "middle": "3s"})
    film.edit("      - id: b\n", "      - id: b\n        gain: -6dB\n").build()
    hook = film.timeline["scenes"][0]
    assert [clip["volume"] for clip in hook["clips"]] == [1, 0.5012]
    assert hook["narration"]["volume"] == 0.6683


def test_a_gain_without_its_unit_is_refused_where_it_is_written(film: Film) -> None:
    film.edit("      - id: b\n", "      - id: b\n        gain: -6\n")
    err = film.run("check").err
    assert "project.yaml:14:15: error:" in err
    assert "dB" in err


def test_an_impossible_timeline_is_a_bug_and_nothing_is_written(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    film.build()
    before = film.published()
    film.edit('"Tiny film"', '"Another film"')
    film.edit("for hook-b;", "for the vault;")
    monkeypatch.setattr(publishing, "broken", lambda told: ["a clip plays more than it has"])
    ran = film.build()
    assert ran.code == 3
    assert "an impossible timeline: a clip plays more than it has" in ran.envelope["problems"][0]["message"]
    assert film.published() == before


# --- posters


def test_a_poster_is_the_middle_picture_of_its_clip(tmp_path: Path) -> None:
    clip, spec = tmp_path / "clip.mp4", SlateSpec(256, 192, 25, 61, "hook", "a", 1, "A vault.", "")
    draw_slate(spec, clip)
    data = draw_poster(clip)
    assert data == draw_poster(clip)
    with Image.open(BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (256, 192))
        assert read_frame_number(np.asarray(picture.convert("RGB")), spec) == 30


def test_a_poster_is_drawn_again_only_for_another_clip(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(publishing, "draw_poster", lambda video: drawn.append(video) or b"%d" % len(drawn))
    film.build()
    assert len(drawn) == 4
    film.edit("for hook-b;", "for the vault;").build()
    assert len(drawn) == 5
    assert film.published()["posters/scene-0-b.jpg"] == b"5"
    film.build()
    (film.folder / "public/posters/scene-0-a.jpg").unlink()
    film.build()
    assert len(drawn) == 6
    assert [c["poster"] for s in film.timeline["scenes"] for c in s["clips"]] == [
        f"posters/scene-{name}.jpg" for name in ("0-a", "0-b", "1-a", "2-a")
    ]


# --- honesty


def test_the_film_states_that_a_machine_made_it_and_with_which_model(film: Film) -> None:
    film.render("hook/a", "hook/b", "middle/a")
    film.run("build", "hook", "middle")
    film.build()
    made = film.timeline["generator"]
    assert made["machineMade"] is True
    assert "LTX-2" in made["model"]
    text = film.published()[made["disclosure"]].decode()
    assert text.startswith("This film was made by a machine.\n")
    assert f"generated with {made['model']}" in " ".join(text.split())
    assert "1 of its 4 clips are slates" in " ".join(text.split())


def test_a_notice_in_the_author_s_own_words_is_left_alone(film: Film) -> None:
    notice = film.folder / "public" / "AI-DISCLOSURE.txt"
    notice.parent.mkdir()
    notice.write_text("Made with LTX-2 by me.")
    assert film.build().code == 0
    film.edit("for hook-b;", "for the vault;")
    assert film.build().code == 0
    assert notice.read_text() == "Made with LTX-2 by me."


def test_captions_that_were_corrected_stay_and_the_film_is_whole(film: Film) -> None:
    film.write(narration=SPOKEN)
    film.build()
    captions = film.folder / "public/captions/film.srt"
    captions.write_text(captions.read_text().replace("Nobody has", "Nobody ever has"))
    corrected = captions.read_text()
    film.edit("      - id: b\n", "      - id: b\n        gain: -6dB\n")
    ran = film.build()
    assert (ran.code, ran.envelope["problems"]) == (0, [])
    assert film.timeline["complete"]
    assert film.timeline["captions"] == {"srt": "captions/film.srt", "vtt": "captions/film.vtt"}
    assert captions.read_text() == corrected


def test_the_other_caption_files_follow_a_correction(film: Film) -> None:
    film.write(narration=SPOKEN)
    film.build()
    captions = film.folder / "public/captions"
    written = {path.name: path.read_text() for path in captions.iterdir()}
    (captions / "film.srt").write_text(written["film.srt"].replace("Nobody has", "<i>Nobody</i> ever has"))
    for _ in range(2):
        ran = film.build()
        assert (ran.code, ran.envelope["problems"]) == (0, [])
        assert "<i>Nobody</i> ever has" in (captions / "film.vtt").read_text()
        words = json.loads((captions / "hook.json").read_text())
        assert "Nobody ever has" in "".join(word["text"] for word in words)
        assert [word["text"] for word in words if word.get("italic")] == [" Nobody"]
    (captions / "film.srt").write_text(written["film.srt"])
    film.build()
    assert {path.name: path.read_text() for path in captions.iterdir()} == written


def test_a_correction_that_cannot_be_read_is_reported_and_costs_nothing(film: Film) -> None:
    film.write(narration=SPOKEN)
    film.build()
    captions = film.folder / "public/captions"
    vtt = (captions / "film.vtt").read_text()
    (captions / "film.srt").write_bytes((captions / "film.srt").read_bytes() + "\n\nUn café\n".encode("cp1252"))
    ran = film.build()
    assert ran.code == 0
    (problem,) = ran.envelope["problems"]
    assert (problem["code"], problem["level"], problem["hint"]) == ("D012", "warning", "save it as UTF-8")
    assert problem["where"]["file"].endswith("film.srt")
    assert film.timeline["complete"]
    assert (captions / "film.vtt").read_text() == vtt


def test_corrected_captions_of_a_changed_narration_are_reported(film: Film) -> None:
    film.write(narration=SPOKEN)
    film.build()
    captions = film.folder / "public/captions/film.srt"
    captions.write_text(captions.read_text().replace("Nobody has", "Nobody ever has"))
    corrected = captions.read_text()
    film.edit("Nobody has two", "No one has two")
    for _ in range(2):
        ran = film.build()
        assert ran.code == 0
        assert [(problem["code"], problem["level"]) for problem in ran.envelope["problems"]] == [("D003", "warning")]
        assert ran.envelope["problems"][0]["hint"].startswith("move it away and build to write it again")
        assert captions.read_text() == corrected
        assert film.timeline["complete"]
    captions.unlink()
    assert film.build().envelope["problems"] == []
    assert "No one has two" in captions.read_text()


# --- what is not ours


def test_a_clip_edited_by_hand_is_left_alone_and_reported(film: Film) -> None:
    film.build()
    clip = film.scenes / "scene-0-b.mp4"
    clip.write_bytes(canned(97, SIZE, 25, "my own grading"))
    mine = clip.read_bytes()
    film.edit("hook-b", "hook b")
    (problem,) = problems_of(film)
    assert problem[0] == "D001"
    assert "scene-0-b.mp4" in problem[1]
    assert clip.read_bytes() == mine
    assert not film.timeline["complete"]
    assert film.timeline["scenes"][0]["clips"][1]["src"] is None
    assert "`ltxflow verify --repair`" in film.run("build", "--animatic").err
    assert film.run("verify", "--repair").code == 0
    assert film.build().code == 0
    assert film.timeline["complete"]
    assert mine in [path.read_bytes() for path in (film.folder / ".ltxflow/aside").iterdir()]


def test_a_file_that_was_there_before_us_is_left_alone(film: Film) -> None:
    film.scenes.mkdir(parents=True)
    (film.scenes / "scene-1-a.mp4").write_bytes(b"somebody else's")
    assert [code for code, _ in problems_of(film)] == ["D001"]
    assert (film.scenes / "scene-1-a.mp4").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("target", ["real.mp4", "nowhere"])
def test_a_link_in_a_place_of_ours_is_left_alone(film: Film, target: str, tmp_path: Path) -> None:
    film.scenes.mkdir(parents=True)
    (tmp_path / "real.mp4").write_bytes(b"precious")
    (film.scenes / "scene-0-a.mp4").symlink_to(tmp_path / target)
    assert [code for code, _ in problems_of(film)] == ["D001"]
    assert (film.scenes / "scene-0-a.mp4").is_symlink()
    assert (tmp_path / "real.mp4").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("text", ["{}", "not json", '{"schema": "ltxflow.timeline/1", "id": "another-film"}'])
def test_a_foreign_timeline_is_left_alone_and_so_are_the_clips(film: Film, text: str) -> None:
    film.scenes.mkdir(parents=True)
    (film.scenes / "timeline.json").write_text(text)
    assert [code for code, _ in problems_of(film)] == ["D001"]
    assert (film.scenes / "timeline.json").read_text() == text
    assert sorted(film.published()) == ["scenes/timeline.json"]


def test_two_films_with_one_output_folder_do_not_take_it_from_each_other(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\noutput: ../public/scenes")
    film.build()
    before = {p.name: p.read_bytes() for p in (film.folder.parent / "public" / "scenes").iterdir()}
    other = Film(film.folder.parent / "other", film.store).write({"one": ["a"]}, id="other")
    other.edit("fps: 25", "fps: 25\noutput: ../public/scenes")
    assert {code for code, _ in problems_of(other)} == {"D001"}
    assert {p.name: p.read_bytes() for p in (film.folder.parent / "public" / "scenes").iterdir()} == before


def test_a_timeline_edited_by_hand_is_left_alone(film: Film) -> None:
    film.build()
    place = film.scenes / "timeline.json"
    place.write_text(place.read_text().replace('"volume": 1', '"volume": 0.5'))
    mine = place.read_text()
    film.edit("hook-b", "hook b")
    before = film.published()
    assert [code for code, _ in problems_of(film)] == ["D001"]
    assert place.read_text() == mine
    assert film.published() == before  # no clip was exchanged under a timeline that would not tell


def test_without_its_record_a_film_takes_up_its_own_files_again(film: Film) -> None:
    film.build()
    shutil.rmtree(film.folder / ".ltxflow")
    assert film.build().totals["hit"] == 4
    film.edit('"Tiny film"', '"A new title"')
    assert film.build().code == 0
    assert film.timeline["title"] == "A new title"


def test_a_damaged_record_is_reported_and_harms_nothing(film: Film) -> None:
    film.build()
    (film.folder / ".ltxflow" / "published.json").write_text("{ torn")
    ran = film.build()
    assert ran.code == 0
    assert [problem["level"] for problem in ran.envelope["problems"]] == ["warning"]
    assert "is damaged" in ran.envelope["problems"][0]["message"]
    assert film.build().envelope["problems"] == []


# --- while files are replaced


def test_while_files_are_replaced_the_timeline_states_that_it_is_not_complete(film: Film, watch: Watch) -> None:
    film.build()
    film.edit("hook-a", "hook a").edit("end-a", "end a")
    seen: list[tuple[str, bool]] = []

    def hook(op: str, path: Path) -> None:
        if op == "replace" and path.parent == film.scenes:
            seen.append((path.name, film.timeline["complete"]))

    watch(hook)
    film.build()
    assert seen == [
        ("timeline.json", True),
        ("scene-0-a.mp4", False),
        ("scene-2-a.mp4", False),
        ("timeline.json", False),
    ]
    assert film.timeline["complete"]


def test_a_whole_timeline_is_written_last_of_all(film: Film, watch: Watch) -> None:
    order: list[str] = []
    watch(lambda op, path: order.append(path.name) if op == "replace" else None)
    film.build()
    names = [name for name in order if name.endswith(".mp4") or name in ("timeline.json", "published.json")]
    assert names[0] == "published.json"  # what is about to be ours
    assert names[-2:] == ["published.json", "timeline.json"]


def test_files_are_on_the_disk_before_the_record_states_that_they_are_there(film: Film, watch: Watch) -> None:
    """Its bytes before a file has its name, each; the names in a folder once, for all of them."""
    public, done = film.folder / "public", [("", Path())]
    watch(lambda op, path: done.append((op, path)))
    film.build()
    recorded = len(done) - done[::-1].index(("replace", film.folder / ".ltxflow/published.json"))
    placed = [at for at, (op, path) in enumerate(done) if op == "replace" and path.suffix in (".mp4", ".jpg")]
    placed = [at for at in placed if done[at][1].is_relative_to(public)]
    assert len(placed) == 8
    assert all(done[at - 1][0] == "fsync" for at in placed)
    for folder in (film.scenes, public / "posters"):
        assert [at for at in range(placed[-1], recorded) if done[at] == ("fsync", folder)]
        assert ("fsync", folder) not in done[: placed[-1]]


def test_posters_are_not_kept_in_the_store(film: Film) -> None:
    """They can be drawn again from what is."""
    film.build()
    posters = {digest_bytes(path.read_bytes()) for path in (film.folder / "public/posters").iterdir()}
    assert posters
    assert not posters & set(BlobStore(film.store / "cas").iter())


def test_scenes_that_change_places_swap_their_files_and_draw_nothing(film: Film) -> None:
    film.build()
    before = film.published()
    film.write({"end": ["a"], "hook": ["a", "b"], "middle": ["a"]})
    ran = film.build()
    assert (ran.totals["rendered"], ran.totals["restored"]) == (0, 4)
    after = film.published()
    for old, new in [("0-a", "1-a"), ("0-b", "1-b"), ("1-a", "2-a"), ("2-a", "0-a")]:
        assert after[f"scenes/scene-{new}.mp4"] == before[f"scenes/scene-{old}.mp4"]
    ids = [(scene["id"], [clip["src"] for clip in scene["clips"]]) for scene in film.timeline["scenes"]]
    assert ids[0] == ("end", ["scenes/scene-0-a.mp4"])


def test_files_swap_even_when_the_store_is_gone(film: Film) -> None:
    film.render("end/a", "middle/a")
    film.run("build", "end", "middle")
    film.build()
    before = film.published()
    shutil.rmtree(film.store)
    film.write({"end": ["a"], "hook": ["a", "b"], "middle": ["a"]})
    ran = film.build()
    assert ran.code == 0, ran.envelope
    after = film.published()
    assert after["scenes/scene-0-a.mp4"] == before["scenes/scene-2-a.mp4"]
    assert after["scenes/scene-2-a.mp4"] == before["scenes/scene-1-a.mp4"]
    assert sorted(film.drawn) == ["hook/a", "hook/b"]


# --- what is left over


def test_a_clip_taken_out_leaves_its_file_as_an_orphan_until_it_is_cleaned(film: Film) -> None:
    film.build()
    film.write({"hook": ["a"], "middle": ["a"]})
    ran = film.build()
    assert ran.data["orphans"] == ["scene-0-b.mp4", "scene-2-a.mp4"]
    assert set(film.published()) > {"scenes/scene-0-b.mp4", "scenes/scene-2-a.mp4"}
    assert [len(scene["clips"]) for scene in film.timeline["scenes"]] == [1, 1]


def test_the_timeline_and_the_record_name_no_file_by_an_absolute_path(film: Film) -> None:
    film.build()
    for text in (json.dumps(film.timeline), (film.folder / ".ltxflow" / "published.json").read_text()):
        assert str(film.folder.parent) not in text
