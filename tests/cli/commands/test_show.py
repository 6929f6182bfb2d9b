"""`ltxflow show`: one clip, its values and where they come from."""

from __future__ import annotations

import json

import pytest
from harness.film import Film, prompt


def test_a_clip_is_shown_with_its_length_size_seed_and_prompt(film: Film) -> None:
    output = film.run("show", "hook/b").out
    assert output.startswith("hook/b  take 1  key ")
    assert "not made yet" in output.splitlines()[0]
    assert "97 frames = 3.9s at 25 fps" in output
    assert "128x128" in output
    assert f"text: {prompt('hook-b')}" in output


def test_resolved_shows_where_every_value_comes_from(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\nquality: full\ndefaults: { clip: { negative: [blurry, frozen] } }")
    lines = film.run("show", "hook/a", "--resolved", "--set", "cfg=3").out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith("  ") and len(line.split()) > 2}
    assert "command line" in rows["cfg"]
    assert "quality full" in rows["steps"]
    assert "defaults.clip" in rows["negative"]
    assert "film/project.yaml:7" in rows["negative"]
    assert "project" in rows["quality"]


def test_times_are_shown_as_they_are_written(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\ndefaults: { scene: { pad: { head: 0.2s, tail: 5f }, crossfade: 12f } }")
    lines = [line.split() for line in film.run("show", "hook/a", "--resolved").out.splitlines()]
    shown = {words[0]: words[1] for words in lines if len(words) > 2}
    assert (shown["pad.head"], shown["pad.tail"], shown["crossfade"]) == ("0.2s", "0.2s", "12f")
    (clip,) = film.run("show", "hook/a", "--json").data
    assert clip["values"]["pad.head"]["value"] == 0.2


def test_a_lora_is_shown_as_it_is_written(film: Film) -> None:
    film.edit("      - id: a\n", "      - id: a\n        loras: [{ name: ink.safetensors, strength: 0.8 }]\n")
    (row,) = (line for line in film.run("show", "hook/a", "--resolved").out.splitlines() if line.startswith("  loras"))
    assert "name ink.safetensors, strength 0.8  " in row


def test_more_steps_than_a_quality_has_are_refused(film: Film) -> None:
    done = film.run("show", "hook/a", "--set", "steps=9")
    assert done.code == 2
    assert "hook/a: distilled has a fixed schedule of 8 steps, not 9 [L044]" in done.err
    assert "→ ask for fewer, or use quality: full\n" in done.err


@pytest.mark.parametrize("verb", ["show", "plan", "check", "build"])
def test_fewer_steps_than_a_schedule_can_have_are_refused_before_a_server_is_asked(film: Film, verb: str) -> None:
    """One step made LTXVScheduler divide 0 by 0: the server returned NaN as sound, and an error that named neither."""
    film.edit("      - id: a\n", "      - id: a\n        quality: full\n        steps: 1\n")
    done = film.run(verb, *(["hook/a"] if verb == "show" else []))
    assert done.code == 2
    line = film.file.read_text().splitlines().index("        steps: 1") + 1
    assert f"project.yaml:{line}:" in done.err
    assert "hook/a: full needs at least 2 steps, not 1 [L044]" in done.err
    assert "→ ask for more (20 is usual)" in done.err


def test_two_steps_are_enough_for_a_schedule(film: Film) -> None:
    film.edit("      - id: a\n", "      - id: a\n        quality: full\n        steps: 2\n")
    assert film.run("show", "hook/a").code == 0


def test_the_crop_of_an_aspect_is_explained(film: Film) -> None:
    film.edit('size: "128x128"', 'aspect: "16:9"')
    output = film.run("show", "hook/a").out
    assert "768x448" in output
    assert "1536x864" in output


def test_only_the_prompt(film: Film) -> None:
    assert film.run("show", "end/a", "--prompt").out == f"{prompt('end-a')}\n"
    assert film.run("show", "end/a", "--prompt", "--json").data == prompt("end-a")


def test_the_workflow_is_what_would_be_sent(film: Film) -> None:
    ran = film.run("show", "end/a", "--graph")
    graph = json.loads(ran.out)
    assert all({"class_type", "inputs"} <= node.keys() for node in graph.values())
    assert prompt("end-a") in ran.out
    assert film.run("show", "end/a", "--graph", "--json").data == graph


def test_one_clip_at_a_time(film: Film) -> None:
    ran = film.run("show", "hook")
    assert ran.code == 2
    assert '"hook" matches several clips [U012]\n  → choose one: hook/a, hook/b' in ran.err
    assert [shown["target"] for shown in film.run("show", "hook", "--resolved", "--json").data] == [
        "clip:hook/a@1",
        "clip:hook/b@1",
    ]


def test_showing_a_clip_writes_nothing(film: Film) -> None:
    film.run("show", "hook/a", "--graph")
    assert [path.name for path in film.folder.iterdir()] == ["project.yaml"]
