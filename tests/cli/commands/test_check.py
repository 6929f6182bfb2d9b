"""`ltxflow check`: everything that is wrong with a film, at once, with its place and what to do."""

from __future__ import annotations

import json

from fakes.comfyui import FakeComfy
from harness.film import Film

from ltxflow.models.load import templates_folder


def test_all_problems_of_a_file_are_told_at_once(film: Film) -> None:
    film.edit("fps: 25", "fps: fast").edit("- id: middle", "- id: MIDDLE").edit("prompt:", "promt:")
    ran = film.run("check")
    assert ran.code == 2
    assert ran.err.count("film/project.yaml:") == ran.err.count("error:") >= 3
    assert 'did you mean "prompt"?' in ran.err


def test_a_film_in_order_is_summed_up(film: Film) -> None:
    ran = film.run("check")
    assert ran.code == 0
    assert "3 scenes, 4 clips, film 12.5s; every scene covers its narration." in ran.out
    assert ran.out.splitlines()[-1].startswith("✓ ")


def test_advice_goes_when_one_wants_quiet(film: Film) -> None:
    assert "advice" in film.run("check").err
    ran = film.run("check", "-q")
    assert ran.err == ""
    assert len(ran.out.splitlines()) == 1


def test_problems_are_told_from_top_to_bottom_and_counted(film: Film) -> None:
    ran = film.run("check", "--json")
    lines = [problem["where"]["line"] for problem in ran.envelope["problems"]]
    assert lines == sorted(lines)
    assert ran.data["counts"]["advice"] == len(lines)


def test_the_same_prompt_twice_in_a_scene_is_an_error(film: Film) -> None:
    film.edit("hook-b", "hook-a")
    first, second = (line for line in film.file.read_text().splitlines() if "door for hook-a" in line)
    film.edit(second, first)
    ran = film.run("check")
    assert ran.code == 1
    assert "error" in ran.err


def twins(film: Film) -> None:
    film.edit("hook-b", "hook-a")
    first, second = (line for line in film.file.read_text().splitlines() if "door for hook-a" in line)
    film.edit(second, first)


def test_a_build_that_would_render_the_same_motion_twice_is_refused_as_the_check_is(film: Film) -> None:
    twins(film)
    with FakeComfy() as server:
        for argv in (["plan"], ["build", "--server", server.url]):
            ran = film.run(*argv)
            assert ran.code == 2, argv
            assert "hook/b has the same motion as hook/a [P108]" in ran.err
        assert server.requests["POST /prompt"] == 0
    assert film.run("build", "--animatic").code == 0  # slates cost nothing
    assert film.run("status").code == 0


def test_the_same_motion_on_purpose_is_built(film: Film) -> None:
    twins(film)
    film.edit("      - id: b\n", "      - id: b\n        ignore: [P108]\n")
    assert film.run("check").code == 0
    assert film.run("plan").code == 0


def test_the_same_motion_elsewhere_holds_up_no_other_clip(film: Film) -> None:
    twins(film)
    assert film.run("plan", "end").code == 0
    assert film.run("plan", "hook").code == 2


def test_checking_writes_nothing(film: Film) -> None:
    film.run("check")
    assert [path.name for path in film.folder.iterdir()] == ["project.yaml"]


def test_a_class_that_a_server_reported_as_core_needs_no_allowance(film: Film) -> None:
    """Newer than what is recorded: a build met it, and its word is kept."""
    ours = templates_folder() / "ltx2-19b"
    folder = film.folder / "templates" / "ltx2-19b"
    folder.mkdir(parents=True)
    (folder / "_parts.j2").write_text((ours / "_parts.j2").read_text().replace('"ManualSigmas"', '"NewerSigmas"'))
    (folder / "mine.json.j2").write_text((ours / "t2v.json.j2").read_text())
    film.edit("      - id: a\n", "      - id: a\n        template: mine\n")
    assert film.run("trust").code == 0

    def codes() -> list[str]:
        return [p["code"] for p in film.run("check", "--json").envelope["problems"] if p["code"].startswith("N")]

    assert codes() == ["N102"]
    kept = film.folder / ".ltxflow" / "signatures"
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "damaged.json").write_text("[")
    entry = {"input": {"required": {}}, "output": ["SIGMAS"], "python_module": "custom_nodes.newer"}
    (kept / "a.json").write_text(json.dumps({"NewerSigmas": entry}))
    assert codes() == ["N102"]
    (kept / "a.json").write_text(json.dumps({"NewerSigmas": entry | {"python_module": "comfy_extras.nodes_new"}}))
    assert codes() == ["N103"]  # advice: how it is used, only that server knows
