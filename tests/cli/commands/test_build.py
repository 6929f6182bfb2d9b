"""`ltxflow build`: figures that come from events, failures that stop no other clip, and a second build of nothing."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from harness.command import Ran
from harness.film import Film, prompt
from harness.slates import canned_drawing

from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import SlateSpec, draw_slate
from ltxflow.steps import slate as slate_step


def outcomes(ran: Ran) -> dict[str, str]:
    return {event["target"][6:-2]: event["outcome"] for event in ran.events("action-finished")}


def check_figures(ran: Ran) -> None:
    """The totals are what the events say, each target settled once."""
    finished = ran.events("action-finished")
    assert len({event["target"] for event in finished}) == len(finished)
    counted = Counter(event["outcome"] for event in finished)
    totals = ran.totals
    assert {name: counted[name] for name in totals if name != "planned"} == {
        name: figure for name, figure in totals.items() if name != "planned"
    }
    assert totals["planned"] == len(finished)
    assert len(ran.events("action-started")) == totals["rendered"] + totals["failed"]


def with_image(film: Film, clip: str, name: str) -> None:
    from PIL import Image

    (film.folder / "refs").mkdir(exist_ok=True)
    Image.new("RGB", (128, 128), (90, 60, 30)).save(film.folder / "refs" / name)
    text = prompt(clip.replace("/", "-"))
    film.edit(f'prompt: "{text}"', f'reference: refs/{name}\n        prompt: "{text}"')


# --- making


def test_real_slates_have_the_frames_size_rate_and_sound_that_were_planned(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slate_step, "draw_slate", draw_slate)  # really drawn, once in these tests
    film.write({"hook": ["a"], "end": ["a"]}, {"hook": "4s"})
    ran = film.build()
    assert ran.code == 0
    planned = {c["file"]: c["frames"] for c in film.run("plan", "--animatic", "--json").data["changes"]}
    for name, frames in planned.items():
        facts = probe_mp4(film.scenes / name)
        assert (facts.frames, facts.fps, facts.width, facts.height) == (frames, 25, 128, 128)
        assert facts.audio_rate == 48000
    assert film.build().totals["rendered"] == 0


def test_the_figures_are_those_of_the_events(film: Film) -> None:
    first = film.build()
    check_figures(first)
    assert first.totals == {"planned": 4, "hit": 0, "rendered": 4, "restored": 0, "failed": 0, "skipped": 0}
    film.edit("hook-a", "hook a")
    (film.scenes / "scene-2-a.mp4").unlink()
    second = film.build()
    check_figures(second)
    assert second.totals == {"planned": 4, "hit": 2, "rendered": 1, "restored": 1, "failed": 0, "skipped": 0}
    started = second.events("run-started")[0]
    assert (started["planned"], started["to_make"]) == (4, 1)


def test_a_second_build_makes_nothing_and_reports_it(film: Film) -> None:
    film.build()
    ran = film.run("build", "--animatic")
    assert ran.out.splitlines() == [
        "Built 4 clips: 0 drawn, 4 up to date",
        "→ film/public/scenes  film 12.5s, timeline.json",
        "  0 of 4 clips current, 4 slates: `ltxflow build` renders 4 clips",
    ]
    assert len(film.drawn) == 4  # all by the first


def test_a_log_has_a_line_for_each_clip_and_ends_with_what_and_where(film: Film) -> None:
    output = [re.sub(r"\d+\.\ds", "…", line) for line in film.run("build", "--animatic").out.splitlines()]
    assert [line[:9] for line in output[:4]] == [f"  ✓ [{number}/4]" for number in (1, 2, 3, 4)]
    assert sorted(line[10:] for line in output[:4]) == ["end/a  …", "hook/a  …", "hook/b  …", "middle/a  …"]
    assert output[4:6] == ["Built 4 clips: 4 drawn  in …", "→ film/public/scenes  film …, timeline.json"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_shows_how_many_slates_are_drawn_at_once(film: Film, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    running: set[str] = set()
    most = 0

    def first(spec: SlateSpec) -> None:
        nonlocal most
        running.add(spec.scene + spec.clip)
        most = max(most, len(running))

    draw = canned_drawing(film.drawn, first)

    def watched(spec: SlateSpec, *rest: object) -> None:
        draw(spec, *rest)  # type: ignore[arg-type]
        running.discard(spec.scene + spec.clip)

    monkeypatch.setattr(slate_step, "draw_slate", watched)
    assert film.build("--jobs", str(jobs)).totals["rendered"] == 4
    assert 1 <= most <= jobs


def test_force_makes_again_what_is_chosen(film: Film) -> None:
    film.build()
    ran = film.build("--force", "hook")
    assert sorted(film.drawn) == ["hook/a", "hook/b"]
    check_figures(ran)


def test_nothing_chosen_is_nothing_made(film: Film) -> None:
    ran = film.build("!hook", "!middle", "!end")
    assert (ran.code, ran.totals["planned"]) == (0, 0)
    assert film.run("build", "--animatic", "!*").code == 0


# --- failing


def test_a_clip_that_fails_stops_no_other_and_the_next_build_makes_it(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reference image goes away while the film is being drawn."""
    with_image(film, "hook/b", "vault.png")
    image = film.folder / "refs" / "vault.png"
    saved = image.read_bytes()
    monkeypatch.setattr(
        slate_step, "draw_slate", canned_drawing(film.drawn, lambda spec: image.unlink(missing_ok=True))
    )
    ran = film.build("--jobs", "1")
    assert ran.code == 1
    assert outcomes(ran) == {"hook/a": "rendered", "hook/b": "failed", "middle/a": "rendered", "end/a": "rendered"}
    check_figures(ran)
    assert "vault.png" in ran.envelope["problems"][0]["message"]
    assert not film.timeline["complete"]
    assert film.timeline["scenes"][0]["clips"][1]["src"] is None
    image.write_bytes(saved)
    monkeypatch.setattr(slate_step, "draw_slate", canned_drawing(film.drawn))
    ran = film.build()
    assert (ran.code, ran.totals["rendered"], film.drawn) == (0, 1, ["hook/b"])
    assert film.timeline["complete"]


def test_fail_fast_starts_nothing_after_a_failure(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    with_image(film, "hook/b", "vault.png")
    image = film.folder / "refs" / "vault.png"
    monkeypatch.setattr(
        slate_step, "draw_slate", canned_drawing(film.drawn, lambda spec: image.unlink(missing_ok=True))
    )
    ran = film.build("--jobs", "1", "--fail-fast")
    assert ran.code == 1
    assert film.drawn == ["hook/a"]
    assert outcomes(ran) == {"hook/a": "rendered", "hook/b": "failed", "middle/a": "skipped", "end/a": "skipped"}
    check_figures(ran)


def test_a_failure_is_reported_with_what_failed_and_the_film_is_called_incomplete(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_image(film, "end/a", "vault.png")
    image = film.folder / "refs" / "vault.png"
    monkeypatch.setattr(
        slate_step, "draw_slate", canned_drawing(film.drawn, lambda spec: image.unlink(missing_ok=True))
    )
    ran = film.run("build", "--animatic", "-q")
    assert ran.code == 1
    assert "✗ end/a  failed: " in ran.out
    assert "Built 3 clips: 3 drawn; 1 clip failed" in ran.out
    assert "incomplete" in ran.out
    assert "vault.png" in ran.err


# --- renders that are there already


def test_a_render_in_the_store_needs_no_server(film: Film) -> None:
    film.render()
    ran = film.run("build", "--json")
    assert (ran.code, ran.totals["restored"]) == (0, 4)
    check_figures(ran)


def test_without_a_store_but_with_the_published_files_a_render_is_missing(film: Film) -> None:
    import shutil

    film.render()
    film.run("build")
    shutil.rmtree(film.store)
    assert [change["kind"] for change in film.run("plan", "--json").data["changes"]] == ["change"] * 4
    assert film.run("build", "--server", "http://127.0.0.1:9", "--patience", "0s").code == 4


def test_a_warning_of_the_film_is_reported_before_it_is_built(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\ndefaults: { scene: { crossfade: 30f } }")
    ran = film.run("build", "--animatic")
    assert ran.code == 0
    assert "warning" in ran.err or "warning" in film.run("check").err
