"""What stands in each place: a render is worth more than a preview, a preview more than a slate."""

from __future__ import annotations

from typing import Any

from harness.film import Film


def clips(film: Film) -> dict[str, dict[str, Any]]:
    return {f"{scene['id']}/{clip['id']}": clip for scene in film.timeline["scenes"] for clip in scene["clips"]}


def sources(film: Film) -> dict[str, str | None]:
    return {path: clip["source"] for path, clip in clips(film).items()}


def test_a_render_takes_the_place_of_a_slate(film: Film) -> None:
    film.build()
    assert set(sources(film).values()) == {"animatic"}
    film.render("hook/a")
    assert film.run("build", "hook/a").code == 0
    assert sources(film) == {"hook/a": "comfyui", "hook/b": "animatic", "middle/a": "animatic", "end/a": "animatic"}
    assert film.timeline["complete"]


def test_a_slate_never_takes_the_place_of_a_render_nor_is_it_drawn(film: Film) -> None:
    film.render("hook/a", "end/a")
    film.run("build", "hook/a", "end/a")
    before = film.published()
    ran = film.build()
    assert ran.code == 0
    assert sorted(film.drawn) == ["hook/b", "middle/a"]
    assert (ran.totals["rendered"], ran.totals["hit"]) == (2, 2)
    assert sources(film) == {"hook/a": "comfyui", "hook/b": "animatic", "middle/a": "animatic", "end/a": "comfyui"}
    for path in ("scenes/scene-0-a.mp4", "scenes/scene-2-a.mp4"):
        assert film.published()[path] == before[path]
    assert film.build().totals == {"planned": 4, "hit": 4, "rendered": 0, "restored": 0, "failed": 0, "skipped": 0}


def test_a_forced_slate_does_not_either(film: Film) -> None:
    film.render()
    film.run("build")
    film.build("--force")
    assert film.drawn == []
    assert set(sources(film).values()) == {"comfyui"}


def test_the_plan_states_what_the_build_will_do(film: Film) -> None:
    film.render("hook/a")
    film.run("build", "hook/a")
    plan = {change["target"]: change["kind"] for change in film.run("plan", "--animatic", "--json").data["changes"]}
    assert plan["slate:hook/a@1"] == "unchanged"
    film.build()
    assert sorted(film.drawn) == sorted(t[6:-2] for t, kind in plan.items() if kind == "create")


def test_a_render_of_an_earlier_text_stays_and_is_marked_stale(film: Film) -> None:
    film.render()
    film.run("build")
    assert not any(clip["isStale"] for clip in clips(film).values())
    before = film.published()["scenes/scene-0-a.mp4"]
    film.edit("hook-a", "hook a")
    film.build()
    stale = {path for path, clip in clips(film).items() if clip["isStale"]}
    assert stale == {"hook/a"}
    assert film.published()["scenes/scene-0-a.mp4"] == before
    assert film.drawn == []


def test_stale_is_reported_of_clips_that_were_not_requested(film: Film) -> None:
    film.render()
    film.run("build")
    film.edit("hook-a", "hook a").edit("end-a", "end a")
    film.render("end/a")
    assert film.run("build", "end").code == 0
    assert {path for path, clip in clips(film).items() if clip["isStale"]} == {"hook/a"}


def test_a_revert_makes_it_fresh_again(film: Film) -> None:
    film.render()
    film.run("build")
    film.edit("hook-a", "hook a")
    film.build()
    film.edit("hook a", "hook-a")
    ran = film.run("build", "--json")
    assert ran.totals == {"planned": 4, "hit": 4, "rendered": 0, "restored": 0, "failed": 0, "skipped": 0}
    assert not any(clip["isStale"] for clip in clips(film).values())


def test_an_animatic_reports_nothing_in_the_lock(film: Film) -> None:
    film.build()
    assert not (film.folder / "ltxflow.lock").exists()
    film.render()
    film.run("build")
    before = (film.folder / "ltxflow.lock").read_bytes()
    film.edit("hook-a", "hook a")
    film.build()
    assert (film.folder / "ltxflow.lock").read_bytes() == before


def test_a_clip_that_moved_keeps_its_rendition(film: Film) -> None:
    film.render()
    film.run("build")
    text = film.file.read_text().replace("- id: middle", "- id: centre")
    film.file.write_text(text.replace("scenes:", "moved: [{ from: middle, to: centre }]\nscenes:", 1))
    before = film.published()["scenes/scene-1-a.mp4"]
    film.build()
    assert film.drawn == []
    assert film.published()["scenes/scene-1-a.mp4"] == before
    assert sources(film)["centre/a"] == "comfyui"


def test_a_preview_takes_the_place_of_a_slate_and_a_render_that_of_a_preview(film: Film) -> None:
    film.build()
    film.edit("fps: 25", "fps: 25\nquality: preview")
    film.render("hook/a", text="preview")
    film.run("build", "hook/a")
    assert (clips(film)["hook/a"]["source"], clips(film)["hook/a"]["isStandIn"]) == ("comfyui", True)
    assert not (film.folder / "ltxflow.lock").exists()
    film.edit("quality: preview", "quality: distilled")
    film.render("hook/a")
    film.run("build", "hook/a")
    assert not clips(film)["hook/a"]["isStandIn"]
    render = film.published()["scenes/scene-0-a.mp4"]
    film.run("build", "hook/a", "--quality", "preview")
    assert film.published()["scenes/scene-0-a.mp4"] == render


def test_only_what_is_requested_is_made_and_the_rest_keeps_its_time(film: Film) -> None:
    film.build("middle")
    assert film.drawn == ["middle/a"]
    assert not film.timeline["complete"]
    assert [clip["src"] for clip in clips(film).values()] == [None, None, "scenes/scene-1-a.mp4", None]
    assert film.timeline["durationInFrames"] == 313
