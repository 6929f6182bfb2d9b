"""`ltxflow plan`: what a build would do, why, and nothing written."""

from __future__ import annotations

import os
import shlex

from harness.film import Film


def test_a_new_film_is_all_to_be_created(film: Film) -> None:
    ran, project = film.run("plan"), f" -p {shlex.quote(str(film.folder))}"
    assert ran.out.splitlines() == [
        "Tiny film · ltx2-19b / distilled · 128x128 at 25 fps",
        "",
        "  + hook/a      97f  new",
        "  + hook/b      97f  new",
        "  + middle/a    97f  new",
        "  + end/a       97f  new",
        "  · assumes checkpoint: fp8, text_encoder: bf16; the first build chooses what its servers have",
        "",
        "Plan: 4 clips to create.  Film 12.5s (313 frames).",
        "Needs a server: none answers (tried 127.0.0.1:9)",
        f"  → start ComfyUI there, or name another server with --server; then: ltxflow build{project}",
        f"  → without a server, draw slates: ltxflow build --animatic{project}",
    ]


def silent(film: Film, **lengths: str) -> Film:
    """Two clips under no narration, of these lengths."""
    film.write({"hook": ["a", "b"]}, {})
    for clip, length in lengths.items():
        film.edit(f"- id: {clip}\n", f"- id: {clip}\n        length: {length}\n")
    return film


def test_a_time_that_the_model_cannot_make_just_so_is_told_with_what_it_becomes(film: Film) -> None:
    silent(film, a="20s", b="120f")
    lines = film.run("plan").out.splitlines()
    assert "  + hook/a   497f  new; 20s → 497 frames (19.88 s)" in lines
    assert "  + hook/b   121f  new; 120f → 121 frames (4.84 s)" in lines
    changes = {change["target"]: change["length"] for change in film.run("plan", "--json").data["changes"]}
    assert changes["clip:hook/b@1"] == "120f → 121 frames (4.84 s)"
    assert "497 frames = 19.9s at 25 fps  (20s → 497 frames (19.88 s))" in film.run("show", "hook/a").out
    told = film.run("check", "--json").envelope["problems"]
    assert "length 120f becomes 121 frames: a clip has 8n+1 frames" in [problem["message"] for problem in told]


def test_a_rendered_time_stays_as_long_as_it_is(film: Film) -> None:
    silent(film, b="4.2s").render()
    film.run("build")
    film.edit("length: 4.2s", "length: 4s")  # 97 frames are nearer, and 105 are as good
    assert film.run("plan", "--json", "hook/b").data["totals"]["unchanged"] == 1
    assert "~ hook/b    97f" in film.run("plan", "hook/b", "--relength").out


def test_what_is_forced_is_told_as_that(film: Film) -> None:
    film.render()
    film.run("build")
    assert (
        "  ~ hook/a    97f  unchanged; made again by --force" in film.run("plan", "hook/a", "--force").out.splitlines()
    )


def test_a_plan_writes_nothing(film: Film) -> None:
    film.run("plan")
    film.run("plan", "--animatic", "--json")
    assert os.listdir(film.folder) == ["project.yaml"]
    assert not film.store.exists()


def test_a_change_is_told_with_its_words_and_its_line(film: Film) -> None:
    film.build()
    film.edit("the camera pushes slowly", "the camera glides quickly")
    (line,) = [line for line in film.run("plan", "--animatic").out.splitlines() if line.startswith("  ~")]
    assert line.startswith("  ~ hook/a    97f  prompt.text  ")
    assert "[-pushes slowly-] {+glides quickly+}" in line
    assert line.endswith("film/project.yaml:12")


def test_takes_that_change_for_the_same_reasons_are_told_once(film: Film) -> None:
    film.edit("- id: a\n", "- id: a\n        takes: 3\n")
    film.render()
    film.run("build")
    film.edit("the camera pushes slowly", "the camera glides quickly")
    first, second, third = [line for line in film.run("plan").out.splitlines() if line.startswith("  ~ hook/a")]
    assert first.endswith("film/project.yaml:13")
    assert (second, third) == ("  ~ hook/a@2    97f  as hook/a", "  ~ hook/a@3    97f  as hook/a")


def test_a_change_of_many_clips_is_told_for_each(film: Film) -> None:
    film.build()
    film.edit("fps: 25", "fps: 24")
    changes = film.run("plan", "--animatic", "--json").data["changes"]
    assert [change["kind"] for change in changes] == ["change"] * 4
    for change in changes:
        assert {
            key: reason[key]
            for reason in change["reasons"]
            if reason["field"] == "fps"
            for key in ("field", "old", "new")
        } == {"field": "fps", "old": 25, "new": 24}


def test_what_is_unchanged_is_counted_and_listed_when_asked(film: Film) -> None:
    film.build()
    assert "  = 4 clips unchanged" in film.run("plan", "--animatic").out
    assert "  = hook/b" in film.run("plan", "--animatic", "-v").out


def test_quiet_is_the_totals_alone(film: Film) -> None:
    assert film.run("plan", "-q").out == "Plan: 4 clips to create.  Film 12.5s (313 frames).\n"


def test_a_revert_is_restored_from_the_store_without_work(film: Film) -> None:
    film.build()
    film.edit("hook-a", "hook a")
    film.build()
    film.edit("hook a", "hook-a")
    ran = film.run("plan", "--animatic", "--json")
    assert [change["kind"] for change in ran.data["changes"]] == ["restore", "unchanged", "unchanged", "unchanged"]
    assert "  < hook/a    97f  in the store since " in film.run("plan", "--animatic").out
    assert film.build().totals["restored"] == 1


def test_orphans_are_listed_with_what_removes_them(film: Film) -> None:
    film.build()
    film.write({"hook": ["a", "b"], "middle": ["a"]})
    out = film.run("plan", "--animatic").out
    assert "  - scene-2-a.mp4  orphan, kept; remove it with: ltxflow clean --yes" in out
    assert "3 clips unchanged, 1 orphan." in out


def test_selectors_narrow_the_question(film: Film) -> None:
    def targets(*selectors: str) -> list[str]:
        return [change["target"] for change in film.run("plan", *selectors, "--json").data["changes"]]

    assert targets("hook") == ["clip:hook/a@1", "clip:hook/b@1"]
    assert targets("hook/b") == targets("hook/b@1") == targets("clip:hook/b@1") == ["clip:hook/b@1"]
    assert targets("*/a") == ["clip:hook/a@1", "clip:middle/a@1", "clip:end/a@1"]
    assert targets("!hook") == ["clip:middle/a@1", "clip:end/a@1"]
    assert targets("hook", "!hook/a", "end") == ["clip:hook/b@1", "clip:end/a@1"]


def test_a_selector_that_names_nothing_is_told_with_the_nearest(film: Film) -> None:
    ran = film.run("plan", "hok", "hook/z")
    assert ran.code == 2
    assert '"hok" matches no clip [U010]\n  → did you mean "hook"?' in ran.err
    assert '"hook/z" matches no clip' in ran.err


def test_a_setting_for_this_run_is_a_change_of_those_it_reaches(film: Film) -> None:
    film.render()
    film.run("build")
    assert film.run("plan", "--exit-code").code == 0
    changes = film.run("plan", "hook", "--set", "steps=6", "--json").data["changes"]
    assert [(change["kind"], [reason["field"] for reason in change["reasons"]]) for change in changes] == [
        ("change", ["steps"])
    ] * 2


def test_a_narration_that_cannot_be_covered_is_an_error_that_says_what_would(film: Film) -> None:
    film.edit("6s", "60s")
    ran = film.run("plan")
    assert ran.code == 2
    assert "[T101]" in ran.err
    assert "write " in ran.err
    assert "clips" in ran.err


def test_a_clip_under_another_id_is_recognised(film: Film) -> None:
    film.render()
    film.run("build")
    film.file.write_text(film.file.read_text().replace("- id: middle", "- id: centre"))
    out = film.run("plan").out
    assert "  · centre looks like middle with a new id\n" in out
    assert "    keep its takes with  moved: [{ from: middle, to: centre }]\n" in out


def test_what_to_build_is_what_was_asked_about(film: Film) -> None:
    asked = ("hook/*", "!hook/b", "--animatic", "--set", "steps=6")
    assert (
        film.run("plan", *asked).out.splitlines()[-1]
        == f"Apply it: ltxflow build 'hook/*' '!hook/b' --animatic --set steps=6 -p {shlex.quote(str(film.folder))}"
    )


def test_files_in_the_cut_that_are_not_ours_are_told_before_anything_is_built(film: Film) -> None:
    film.render()
    film.scenes.mkdir(parents=True)
    stranger = film.scenes / "scene-0-b.mp4"
    assert film.run("plan").err == ""
    stranger.write_bytes(b"a clip of my own")  # after an answer was kept
    assert f'"{stranger}" was not written by ltxflow; it is left alone [D001]' in film.run("plan").err
    stranger.unlink()
    assert film.run("build").code == 0
    (film.scenes / "scene-0-a.mp4").write_bytes(b"by hand")
    ran = film.run("plan")
    place = film.scenes / "scene-0-a.mp4"
    assert f'warning: "{place}" was changed since ltxflow wrote it; it is left alone [D001]' in ran.err
    assert "ltxflow verify --repair" in ran.err
    assert "D001" in [note["code"] for note in film.run("plan", "--json").envelope["problems"]]
    assert film.run("verify", "--repair").code == 0
    assert film.run("plan").err == ""
