"""`ltxflow export`: the starter and the editors' files of a film that was built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import opentimelineio
import pytest
from harness.film import Film


def urls(path: Path) -> list[Path]:
    """Every file that an .otio names, as an editor finds it."""
    data = json.loads(path.read_text())
    found = re.findall(r'"target_url": "([^"]+)"', json.dumps(data))
    return [path.parent / unquote(url) for url in found]


def test_the_cut_names_files_that_are_there_from_wherever_it_is(film: Film) -> None:
    film.build()
    ran = film.run("export", "otio")
    assert ran.code == 0
    frames = film.timeline["durationInFrames"]
    assert ran.out == f"✓ film/public/film.otio: {frames / 25:.1f}s, {frames} frames, picture + sound\n"
    assert film.run("export", "otio", "some where/cut.otio").code == 0
    for path in (film.folder / "public/film.otio", Path("some where/cut.otio")):
        named = urls(path)
        assert len(named) == 8  # four clips: their picture and their sound
        assert all(file.is_file() for file in named)
        timeline = opentimelineio.adapters.read_from_file(str(path))
        assert int(timeline.tracks[0].duration().value) == film.timeline["durationInFrames"]


def test_a_second_export_shows_that_nothing_changed(film: Film) -> None:
    film.build()
    film.run("export", "otio")
    assert film.run("export", "otio").out.endswith(" (unchanged)\n")


def test_takes_that_are_not_in_the_cut_are_put_beside_it(film: Film) -> None:
    film.edit("      - id: a\n", "      - id: a\n        takes: 2\n").render()
    film.run("build")
    ran = film.run("export", "otio")
    assert ", 1 other take in takes/" in ran.out
    assert (film.folder / "public/takes/hook-a-take-2.mp4") in urls(film.folder / "public/film.otio")
    timeline = opentimelineio.adapters.read_from_file(str(film.folder / "public/film.otio"))
    (first, *_) = timeline.tracks[0].find_clips()
    assert sorted(first.media_references()) == ["take 1", "take 2"]
    film.run("pick", "hook/a", "2")
    film.run("build")
    assert film.run("export", "otio").code == 0
    timeline = opentimelineio.adapters.read_from_file(str(film.folder / "public/film.otio"))
    (first, *_) = timeline.tracks[0].find_clips()
    assert first.active_media_reference_key == "take 2"
    assert all(file.is_file() for file in urls(film.folder / "public/film.otio"))


@pytest.mark.parametrize(("kind", "file"), [("fcpxml", "film.fcpxml"), ("fcp7xml", "film.xml"), ("edl", "film.edl")])
def test_other_formats_name_files_absolutely(film: Film, kind: str, file: str) -> None:
    """An editor opens a copy of it from anywhere."""
    film.build()
    ran = film.run("export", kind)
    assert ran.code == 0
    assert f"public/{file}: " in ran.out
    text = (film.public / file).read_text()
    named = [Path(unquote(path)) for path in re.findall(r"file://([^\s\"<]+)", text)]
    assert {path for path in named if path.suffix == ".mp4"} == {*film.scenes.glob("*.mp4")}
    assert film.run("export", kind).out.endswith(" (unchanged)\n")


def shown_files(path: Path) -> list[tuple[Path, Path]]:
    """The file that each clip shows, and the one that is heard with it."""
    timeline = opentimelineio.adapters.read_from_file(str(path))
    tracks = [[path.parent / unquote(c.media_reference.target_url) for c in t.find_clips()] for t in timeline.tracks]
    return list(zip(*tracks, strict=True))


def test_a_clip_that_waits_to_be_restored_is_one_version_in_picture_and_sound(film: Film) -> None:
    """Its take is in the store; what is published is the same take of another text."""
    film.render()
    assert film.run("build").code == 0
    film.edit("for hook-a", "for good")
    film.render("hook/a")
    assert film.run("build", "hook/a").code == 0
    film.edit("for good", "for hook-a")  # both are in the store; the newer one is published
    ran = film.run("export", "otio", "--json")
    assert [problem["code"] for problem in ran.envelope["problems"]] == ["D011"]
    assert ran.code == 0
    for picture, sound in shown_files(film.public / "film.otio"):
        assert picture.resolve() == sound.resolve()
        assert picture.resolve().parent == film.scenes
    for kind in ("fcpxml", "fcp7xml", "edl"):
        done = film.run("export", kind)
        assert "the project changed since the last build; exporting the published version [D011]" in done.err
        assert "build first, then export again" in done.err
    assert film.run("build").code == 0
    assert film.run("export", "otio", "--json").envelope["problems"] == []


def test_a_take_of_the_same_number_stays_beside_the_published_one(film: Film) -> None:
    """A lock that names another file for the take that is published, as after `git checkout`."""
    film.render()
    assert film.run("build").code == 0
    before = film.lock_file.read_text()
    film.edit("for hook-a", "for good")
    film.render("hook/a")
    assert film.run("build").code == 0
    film.lock_file.write_text(before)
    assert film.run("export", "otio").code == 0
    path = film.public / "film.otio"
    (first, *_) = opentimelineio.adapters.read_from_file(str(path)).tracks[0].find_clips()
    assert sorted(first.media_references()) == ["take 1", "take 1, not published"]
    assert first.active_media_reference_key == "take 1"
    assert (path.parent / first.media_reference.target_url).resolve().parent == film.scenes


def test_what_others_wrote_is_left_alone(film: Film) -> None:
    film.build()
    cut = film.folder / "public/film.otio"
    film.run("export", "otio")
    cut.write_text(cut.read_text().replace("hook/a", "my own name"))
    ran = film.run("export", "otio", "--json")
    assert ran.code == 1
    (problem,) = ran.envelope["problems"]
    assert problem["code"] == "D001"
    assert problem["message"].endswith('film.otio" was not written by ltxflow, or was changed since; it is left alone')
    assert problem["hint"] == "name another file, or overwrite it with --force"
    assert "my own name" in cut.read_text()
    assert film.run("export", "otio", "--force").code == 0
    assert "my own name" not in cut.read_text()


def test_a_film_that_is_edited_and_built_is_exported_again(film: Film) -> None:
    film.build()
    film.run("export", "edl")
    before = (film.folder / "public/film.edl").read_text()
    film.edit("narration: 3.5s", "narration: 4.5s")
    film.build()
    ran = film.run("export", "edl", "--json")
    assert ran.data["frames"] == film.timeline["durationInFrames"]
    assert (film.folder / "public/film.edl").read_text() != before


def test_a_film_that_is_not_built_shows_what_to_do(film: Film) -> None:
    ran = film.run("export", "fcpxml", "--json")
    assert ran.code == 2
    (problem,) = ran.envelope["problems"]
    assert problem["message"].startswith("the film is not built")
    assert problem["hint"].startswith("build it with `ltxflow build`")


def test_the_starter_shows_the_next_commands(film: Film) -> None:
    ran = film.run("export", "remotion", "film/remotion")
    assert ran.code == 0
    assert "film is not built yet; run: ltxflow build" in ran.out
    assert "next: cd film/remotion && npm install && npm run dev    or: npm run render" in ran.out
    film.build()
    ran = film.run("export", "remotion", "film/remotion")
    assert "nothing to write" in ran.out
    assert "not built" not in ran.out


def test_the_starter_needs_a_folder(film: Film) -> None:
    ran = film.run("export", "remotion", "--json")
    assert ran.code == 2
    (problem,) = ran.envelope["problems"]
    assert problem["hint"] == "write: ltxflow export remotion FOLDER"


def test_exports_are_no_files_of_the_film(film: Film) -> None:
    film.build()
    film.run("export", "otio")
    film.run("export", "remotion", "film/remotion")
    assert film.run("clean", "--yes").code == 0
    assert (film.folder / "public/film.otio").is_file()
    assert film.build().totals["rendered"] == 0


@pytest.mark.parametrize("lost", ["isStandIn", "hasAudio", "name", "captions"])
def test_a_timeline_that_a_user_damaged_is_reported(film: Film, lost: str) -> None:
    film.build()
    path = film.scenes / "timeline.json"
    path.write_text(re.sub(rf'"{lost}": [^\[{{]*?,', "", path.read_text(), count=1))
    for argv in (("export", "otio"), ("conform", "--proxy")):
        ran = film.run(*argv)
        assert ran.code == 2
        assert f'is not as ltxflow writes it: missing key "{lost}"' in ran.err
        assert "→ set it aside with `ltxflow verify --repair`, then build again\n" in ran.err
