"""Narration that is spoken: once, measured, before any clip is paid for."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from harness.command import run
from harness.data import line_of
from harness.film import Film, film_text, stale
from harness.speech import configure_engine

LINES = ["Every coin has one key.", "Lose it and the coin is gone.", "Share it and it is not yours."]


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """hook with three sentences over two clips, end with a planned duration; an engine of the user's own."""
    made = Film(tmp_path / "film", tmp_path / "store", tmp_path / "config").move_in(monkeypatch)
    configure_engine(tmp_path, tmp_path / "config")
    narration = {"hook": json.dumps({"text": " ".join(LINES)}), "end": "3s"}
    made.write_data(film_text({"hook": ["a", "b"], "end": ["a"]}, narration, speech={"engine": "say"}))
    return made


def spoken(film: Film) -> list[str]:
    log = film.folder.parent / "spoken.txt"
    return sorted(log.read_text().splitlines()) if log.exists() else []


def narrate(film: Film) -> None:
    done = run("narrate", "-p", str(film.folder))
    assert done.code == 0, done.err


def kinds(film: Film) -> dict[str, str]:
    return {change.clip: change.kind for change in film.look().changes}


def test_clips_whose_length_waits_for_speech_are_a_maybe(film: Film) -> None:
    assert kinds(film) == {"hook/a": "maybe", "hook/b": "maybe", "end/a": "create"}
    change = next(change for change in film.look().changes if change.clip == "hook/a")
    assert change.note == "waits for narration:hook, estimated 7.6s"
    narrate(film)
    assert kinds(film) == {"hook/a": "create", "hook/b": "create", "end/a": "create"}


def test_a_line_is_never_spoken_twice(film: Film) -> None:
    narrate(film)
    assert spoken(film) == sorted(LINES)
    narrate(film)
    film.make()
    assert spoken(film) == sorted(LINES)
    film.set("scenes/hook/narration/text", " ".join([LINES[0], "Guard it with your life.", LINES[2]]))
    narrate(film)
    assert spoken(film) == sorted([*LINES, "Guard it with your life."])


def test_a_plan_tells_what_will_be_spoken_and_by_whom(film: Film) -> None:
    at = ("-p", str(film.folder))
    assert "  + narration:hook  3 lines will be spoken by say\n" in run("plan", *at).out
    narrate(film)
    assert "spoken" not in run("plan", *at).out
    assert run("plan", "--json", *at).data["unsaid"] == []


def test_a_changed_line_is_told_when_its_clips_stay_as_they_are(film: Film) -> None:
    at = ("-p", str(film.folder))
    film.set("scenes/hook/clips/a/length", "129f").set("scenes/hook/clips/b/length", "121f").make()
    assert run("plan", "--animatic", "--exit-code", *at).code == 0
    film.set("scenes/hook/narration/text", " ".join([LINES[0], "Lose it, and it is gone.", LINES[0]]))
    ran = run("plan", "--animatic", "--exit-code", *at)
    assert ran.code == 5
    assert ran.out.splitlines()[2:] == [
        "  + narration:hook  1 of 3 lines will be spoken by say",
        '                    "Lose it, and it is gone."',
        "  = 3 clips unchanged",
        "",
        "Plan: 1 line to speak, 3 clips unchanged.  Film 9.4s (235 frames).",
        f"Apply it: ltxflow build --animatic -p {shlex.quote(str(film.folder))}",
    ]
    (line,) = (data := run("plan", "--animatic", "--json", *at).data)["unsaid"]
    assert len(line.pop("key")) == 64
    assert line == {
        "target": "line:hook/2",
        "scene": "hook",
        "line": "2",
        "text": "Lose it, and it is gone.",
        "engine": "say",
        "voice": "",
    }
    assert data["totals"]["unsaid"] == 1
    assert "Plan: 1 line to speak, 1 clip unchanged." in run("plan", "--animatic", "-q", "end", *at).out
    assert film.make().rendered == set()
    assert spoken(film) == sorted([*LINES, "Lose it, and it is gone."])
    assert run("plan", "--animatic", "--exit-code", *at).code == 0


def test_a_line_that_two_scenes_share_is_spoken_once_and_counted_once(film: Film) -> None:
    film.set("scenes/end/narration", {"text": LINES[0]})
    assert [line.target for line in film.look().unsaid] == [f"line:hook/{number}" for number in (1, 2, 3)]
    narrate(film)
    assert spoken(film) == sorted(LINES)


def test_for_stills_alone_nothing_is_spoken(film: Film) -> None:
    film.set("references", {"key": {"generate": {"prompt": "A brass key on grey stone"}}})
    assert run("plan", "--only", "references", "--json", "-p", str(film.folder)).data["unsaid"] == []


def test_lengths_follow_what_was_measured(film: Film) -> None:
    narrate(film)
    session = film.session()
    hook = session.speech().project.scene("hook").narration
    assert (hook.estimated, float(hook.seconds)) == (False, 9.5)  # 19 words, half a second each
    cut = film.look().cuts["hook"]
    assert cut.need == 238
    assert cut.covered == 238


def test_build_speaks_before_it_makes_clips(film: Film) -> None:
    assert film.make().rendered == {"hook/a@1", "hook/b@1", "end/a@1"}
    timeline = json.loads((film.folder / "public/scenes/timeline.json").read_text())
    told = timeline["scenes"][0]["narration"]
    assert (told["src"], told["samples"], told["durationInFrames"]) == ("narration/hook.wav", 76000, 238)
    assert (film.folder / "public/narration/hook.wav").is_file()


def test_captions_come_with_it(film: Film) -> None:
    film.make()
    timeline = json.loads((film.folder / "public/scenes/timeline.json").read_text())
    assert timeline["captions"] == {"srt": "captions/film.srt", "vtt": "captions/film.vtt"}
    words = json.loads((film.folder / "public" / timeline["scenes"][0]["narration"]["captions"]).read_text())
    assert "".join(word["text"] for word in words).split() == " ".join(LINES).split()
    assert "Lose it and the coin is gone." in (film.folder / "public/captions/film.srt").read_text()


def test_shorter_speech_renders_nothing_and_longer_the_fewest(film: Film) -> None:
    film.make()
    film.set("scenes/hook/narration/text", " ".join(LINES[:2]))
    assert film.make().rendered == set()
    film.set("scenes/hook/narration/text", " ".join([*LINES, *LINES[:1] * 4]))
    narrate(film)
    assert stale(film.look()) <= {"hook/a@1", "hook/b@1"}


def test_a_scene_that_cannot_be_spoken_is_not_rendered_to_a_guess(film: Film) -> None:
    film.set("scenes/hook/narration/text", "A cough. Another line.")
    built = film.make()
    assert built.done.code == 1
    assert built.ran == ["clip:end/a@1"]
    (problem,) = built.done.envelope["problems"]
    assert "lost its voice" in problem["message"]
    assert built.done.data["unspoken"] == ["hook"]
    assert (
        "narration failed: hook; 2 clips wait for it, since its length is only an estimate"
        in run("build", "-p", str(film.folder)).err
    )


@pytest.mark.parametrize("verb", [["narrate"], ["build", "--animatic"]])
def test_what_an_engine_complains_of_is_told_once_a_scene_where_that_is_written(film: Film, verb: list[str]) -> None:
    film.set("scenes/hook/narration/text", "A cough. Another cough.")
    told = run(*verb, "--json", "-p", str(film.folder)).envelope["problems"]
    (problem,) = [problem for problem in told if problem["code"] == "S202"]
    assert problem["message"].startswith("hook: say: ")
    assert problem["message"].endswith("lost its voice")
    assert Path(problem["where"]["file"]).resolve() == film.file.resolve()
    assert problem["where"]["line"] == line_of(film.file.read_text(), "scenes/hook/narration")
    assert problem["hint"].endswith("then: ltxflow narrate")


def test_an_unknown_engine_is_told_where_it_is_named(film: Film) -> None:
    film.set("speech/engine", "sya")
    done = run("check", "-p", str(film.folder))
    assert done.code == 2
    assert 'unknown engine "sya"' in done.err
    assert 'did you mean "say"?' in done.err


def unconfigured(film: Film) -> None:
    (film.folder.parent / "config/ltxflow/config.yaml").write_text("{}")


def test_what_an_engine_made_stays_made_where_it_is_not_configured(film: Film) -> None:
    at = ("-p", str(film.folder))
    film.make()
    unconfigured(film)
    assert run("plan", "--exit-code", *at).code == 0
    assert run("check", "--locked", *at).code == 0
    assert run("show", "hook/a", *at).code == 0
    (advice,) = [p for p in run("check", "--json", *at).envelope["problems"] if p["code"] == "L061"]
    assert (advice["level"], advice["message"]) == ("advice", 'engine "say" is not configured')
    assert film.make().rendered == set()
    assert spoken(film) == sorted(LINES)


def test_only_a_line_that_must_be_spoken_needs_its_engine(film: Film) -> None:
    at = ("-p", str(film.folder))
    film.make()
    unconfigured(film)
    film.set("scenes/hook/narration/text", " ".join([LINES[0], "Guard it with your life.", LINES[2]]))
    planned = run("plan", *at)
    assert planned.code == 0
    assert "1 of 3 lines will be spoken by say, which is not configured" in planned.out
    built = film.make()
    assert built.done.code == 1
    (problem,) = [problem for problem in built.done.envelope["problems"] if problem["code"] == "S200"]
    assert "say: it is not among your engines: name it under engines: in your configuration" in problem["message"]
    assert spoken(film) == sorted(LINES)


def test_a_clone_without_store_and_engine_is_planned_and_checked(film: Film, tmp_path: Path) -> None:
    at = ("-p", str(film.folder))
    film.make()
    unconfigured(film)
    shutil.rmtree(film.store)
    shutil.rmtree(film.folder / ".ltxflow")
    shutil.rmtree(film.folder / "public")
    assert run("check", "--locked", *at).code == 0
    planned = run("plan", *at)
    assert planned.code == 0
    assert "3 lines will be spoken by say, which is not configured" in planned.out


def test_an_engine_that_a_film_brings_needs_trust(film: Film) -> None:
    film.set("engines", {"own": {"command": ["make-noise", "{text}", "{out}"]}})
    film.set("speech/engine", "own")
    done = run("plan", "-p", str(film.folder))
    assert done.code == 2
    assert "this project contains untrusted parts: engine own" in done.err
    film.trust()
    assert run("plan", "-p", str(film.folder)).code == 0
    film.set("engines/own/command", ["make-other-noise", "{text}", "{out}"])
    assert run("plan", "-p", str(film.folder)).code == 2
