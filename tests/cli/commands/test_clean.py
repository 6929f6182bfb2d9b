"""`ltxflow clean`: lists what no clip stands for, and removes with --yes only what is ours."""

from __future__ import annotations

import wave

from harness.film import Film


def test_nothing_to_clean_is_reported(film: Film) -> None:
    film.build()
    assert film.run("clean").out == "nothing to clean\n"


def test_orphans_are_listed_and_stay_until_yes(film: Film) -> None:
    film.build()
    film.write({"hook": ["a"], "middle": ["a"]})
    film.build()
    ran = film.run("clean")
    assert ran.out.splitlines() == [
        "  - scenes/scene-0-b.mp4",
        "  - scenes/scene-2-a.mp4",
        "  - posters/scene-0-b.jpg",
        "  - posters/scene-2-a.jpg",
        "4 files without a clip in the film; remove with: ltxflow clean --yes",
    ]
    assert (film.scenes / "scene-0-b.mp4").exists()
    assert film.run("clean", "--yes", "--json").data["removed"] == [
        "scenes/scene-0-b.mp4",
        "scenes/scene-2-a.mp4",
        "posters/scene-0-b.jpg",
        "posters/scene-2-a.jpg",
    ]
    assert sorted(film.published()) == [
        "AI-DISCLOSURE.txt",
        "posters/scene-0-a.jpg",
        "posters/scene-1-a.jpg",
        "scenes/scene-0-a.mp4",
        "scenes/scene-1-a.mp4",
        "scenes/timeline.json",
    ]
    assert film.run("clean").out == "nothing to clean\n"


def test_their_renders_stay_in_the_store(film: Film) -> None:
    film.build()
    film.write({"hook": ["a"], "middle": ["a"]})
    film.build()
    film.run("clean", "--yes")
    film.write()
    assert film.build().totals["rendered"] == 0


def test_what_was_edited_or_is_not_ours_is_never_removed(film: Film) -> None:
    film.build()
    (film.scenes / "scene-2-a.mp4").write_bytes(b"my own cut")
    (film.scenes / "scene-9-a.mp4").write_bytes(b"somebody else's")
    film.write({"hook": ["a"]})
    removed = film.run("clean", "--yes", "--json").data["removed"]
    assert [path for path in removed if path.startswith("scenes/")] == ["scenes/scene-0-b.mp4", "scenes/scene-1-a.mp4"]
    assert (film.scenes / "scene-2-a.mp4").read_bytes() == b"my own cut"
    assert (film.scenes / "scene-9-a.mp4").exists()
    assert (film.scenes / "timeline.json").exists()


def test_a_narration_that_is_spoken_no_more_is_an_orphan_too(film: Film) -> None:
    for name in ("vo.wav", "vo.WAVE"):
        with wave.open(str(film.folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 8000 * 6))
    film.write(narration={"hook": "{ file: vo.wav }"})
    film.build()
    assert film.run("clean", "--json").data["orphans"] == []
    film.write(narration={"hook": "{ file: vo.WAVE }"})
    film.build()
    assert film.run("clean", "--yes", "--json").data["removed"] == ["narration/hook.wav"]
    film.write(narration={"hook": "6s"})
    film.build()
    assert film.run("clean", "--json").data["orphans"] == ["narration/hook.wave"]


def test_captions_of_a_scene_that_is_gone_are_orphans(film: Film) -> None:
    film.write(narration={"hook": '{ duration: 6s, text: "One." }', "end": '{ duration: 3s, text: "Two." }'})
    film.build()
    assert film.run("clean", "--json").data["orphans"] == []
    film.write({"hook": ["a", "b"]}, narration={"hook": '{ duration: 6s, text: "One." }'})
    film.build()
    assert "captions/end.json" in film.run("clean", "--json").data["orphans"]
    assert not {"captions/hook.json", "captions/film.srt"} & set(film.run("clean", "--json").data["orphans"])
