"""What a person reads, a whole screen at a time: each thing once, nothing that is not so, counts alike everywhere."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.command import Ran, command, run
from harness.film import Film
from harness.studio import Studio, freeze, let_go, slow_but, until

from ltxflow.cli.main import main
from ltxflow.core.timing import seed_for

FILM_SEED = 3  # of every Studio
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.chdir(tmp_path)
    return Studio.at(tmp_path).move_in(monkeypatch)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        monkeypatch.setenv("COMFY_URL", fake.url)
        yield fake


def ask(film: Studio | Film, *argv: str) -> Ran:
    return run(*argv, "-p", str(film.folder))


def screen(ran: Ran, film: Studio | Film) -> list[str]:
    """Return what was printed, without what differs from run to run: times, ports and the folder."""
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", ran.err + ran.out).replace(f" -p {shlex.quote(str(film.folder))}", "")
    text = text.replace(str(film.folder), "FILM").replace(f"{os.path.relpath(film.folder)}/", "FILM/")
    text = re.sub(r"in the store since \d{4}-\d\d-\d\d \d\d:\d\d", "in the store since …", text)
    text = re.sub(r"\d+(\.\d+)?s( on HOST|$)", r"…\2", text, flags=re.MULTILINE)
    return text.splitlines()


def rendered(film: Film) -> Film:
    film.render()
    assert film.run("build").code == 0
    return film


# --- one cause, once


LOOK = "soft morning light with muted greens"


def test_one_edited_look_is_one_diff_with_the_clips_that_it_reaches(film: Film) -> None:
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    assert screen(ask(film, "plan", "--server", DEAD), film) == [
        "Tiny film · ltx2-19b / distilled · 128x128 at 25 fps",
        "",
        "  ~ look  soft morning light with [-muted greens-] {+dusty golds+}  FILM/project.yaml:7",
        "      4 clips: hook/a, hook/b, middle/a, end/a",
        "",
        "Plan: 4 clips to change.  Film 12.5s (313 frames).",
        "Now: 0 of 4 clips current, 4 stale (hook/a, hook/b, middle/a and 1 more).",
        "Needs a server: none answers (tried HOST)",
        "  → start ComfyUI there, or name another server with --server; then: ltxflow build --server http://HOST",
        "  → without a server, draw slates: ltxflow build --animatic",
    ]


def test_a_clip_with_an_edit_of_its_own_has_a_line_for_that_alone(film: Film) -> None:
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    film.edit("past the golden door for hook-b", "past the narrow door for hook-b")
    lines = screen(ask(film, "plan"), film)
    rows = [line for line in lines if line.startswith("  ")]
    assert rows[0].startswith("  ~ look  ")
    assert rows[1] == "      4 clips: hook/a, hook/b, middle/a, end/a"
    assert rows[2].startswith("  ~ hook/b    97f  prompt.text  … ")
    assert rows[3] == "                  look, as above"
    assert len([line for line in lines if "muted greens" in line]) == 1


def test_a_variable_in_many_prompts_is_one_diff(film: Film) -> None:
    text = film.file.read_text().replace("heavy", "{{ kind }}")
    film.write_data(text.replace("seed: 3\n", 'seed: 3\nvars: {kind: "heavy old"}\n'))
    rendered(film)
    film.edit("heavy old", "light old")
    lines = screen(ask(film, "plan"), film)
    assert "[-heavy-] {+light+}" in lines[2]
    assert lines[3] == "      4 clips: hook/a, hook/b, middle/a, end/a"


def test_verbose_prints_every_clip_with_its_diff(film: Film) -> None:
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    assert ask(film, "plan", "-v").out.count("[-muted greens-]") == 4


def test_takes_of_a_clip_are_counted_with_it(film: Film) -> None:
    rendered(film.write(look=LOOK, defaults={"clip": {"takes": 2}}))
    film.edit("muted greens", "dusty golds")
    lines = screen(ask(film, "plan"), film)
    names = ", ".join(f"{clip} (2 takes)" for clip in ("hook/a", "hook/b", "middle/a", "end/a"))
    assert lines[3] == f"      4 clips and 4 more takes: {names}"
    assert "Plan: 4 clips and 4 more takes to change.  Film 12.5s (313 frames)." in lines


def test_what_is_put_back_from_the_store_is_one_line(film: Film) -> None:
    rendered(film.write(defaults={"clip": {"checks": False}}))
    for file in film.scenes.glob("*.mp4"):
        file.unlink()
    assert screen(ask(film, "plan"), film)[2:] == [
        "  < in the store",
        "      4 clips: hook/a, hook/b, middle/a, end/a",
        "",
        "Plan: 4 clips to restore.  Film 12.5s (313 frames).",
        "Apply it: ltxflow build",
    ]


def test_a_difference_between_revisions_prints_one_edit_once(film: Film) -> None:
    film.write(look=LOOK)
    git = ["git", "-C", str(film.folder.parent), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["rm", "-rf", str(film.folder.parent / ".git")], check=True)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    film.edit("muted greens", "dusty golds")
    lines = screen(ask(film, "diff"), film)
    assert lines[:2] == [
        "  ~ look  soft morning light with [-muted greens-] {+dusty golds+}",
        "      4 clips: hook/a, hook/b, middle/a, end/a",
    ]
    assert "on 1 server" not in "".join(lines)
    assert ask(film, "diff", "--markdown").out.count("dusty") == 1


def test_an_explanation_says_the_same_edit_once(film: Film) -> None:
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    out = ask(film, "explain").out
    assert out.count("dusty golds") == 1
    assert out.count("look, as hook/a") == 3
    assert ask(film, "explain", "end/a").out.count("dusty golds") == 1


def test_the_same_advice_for_many_clips_is_one(film: Film) -> None:
    lines = screen(ask(film, "check"), film)
    assert [line for line in lines if "starting image" in line] == [
        "FILM/project.yaml:11:13: advice: hook/a has no starting image [P109]"
    ]
    assert (
        "  3 more: hook/b FILM/project.yaml:13:13, middle/a FILM/project.yaml:18:13, end/a FILM/project.yaml:23:13"
        in (lines)
    )
    assert lines[-1] == "✓ 5 pieces of advice"  # and a length


def test_one_error_of_many_scenes_is_printed_once(film: Film) -> None:
    film.write({f"scene-{n}": ["a"] for n in range(1, 26)}, {f"scene-{n}": "60s" for n in range(1, 26)})
    lines = screen(ask(film, "plan"), film)
    assert sum("[T101]" in line for line in lines) == 1
    assert any(line.startswith("  24 more: scene-2 FILM/project.yaml:") for line in lines), lines
    assert "and 21 more (-v prints all)" in "".join(lines)
    assert ask(film, "plan", "-v").err.count("[T101]") == 25


# --- warnings that `check` explains


def warned(film: Film) -> Film:
    """A film in which every third scene has a crossfade between clips that continue one another."""
    film.write({"hook": ["a", "b"], "end": ["a"]}, {"hook": "6s", "end": "3s"})
    film.edit("- id: b\n", "- id: b\n        extends: { clip: a, frames: 9 }\n")
    film.edit("narration: 6s", "narration: 6s\n    crossfade: 12f")
    assert ask(film, "check").out.splitlines()[-1].startswith("✓ 1 warning")
    return film


@pytest.mark.parametrize("verb", [("plan",), ("plan", "--animatic"), ("build", "--animatic")])
def test_known_warnings_are_a_number_before_plans_and_builds(film: Film, verb: Sequence[str]) -> None:
    ran = ask(warned(film), *verb)
    assert ran.err.splitlines() == [f"! 1 warning; details: ltxflow check -p {shlex.quote(str(film.folder))}"]
    assert "L106" in [each["code"] for each in ask(film, "plan", "--json").envelope["problems"]]
    assert "[L106]" in ask(film, *verb, "-v").err
    assert ask(film, *verb, "-q").err == ""


# --- servers


def test_a_plan_with_a_server_that_answers_can_be_applied(studio: Studio, server: FakeComfy) -> None:
    lines = screen(ask(studio.write("a"), "plan"), studio)
    assert lines[-1] == "Apply it: ltxflow build"
    assert studio.build(server).code == 0
    studio.write("a", "b")
    lines = screen(ask(studio, "plan"), studio)
    assert lines[-2].startswith("≈ ")
    assert " on 1 server (" in lines[-2]
    lines = screen(ask(studio, "plan", "--server", server.url, "--server", DEAD), studio)
    assert " on 1 server (" in lines[-3]
    assert lines[-2:] == [
        "  ! no answer from HOST",
        "Apply it: ltxflow build --server http://HOST --server http://HOST",
    ]
    assert ask(studio, "plan", "--json").data["servers"] == {"answering": [server.url], "silent": []}


def test_a_plan_says_at_once_that_the_server_has_gone(studio: Studio, server: FakeComfy) -> None:
    """The answer to the same question, kept or not."""
    studio.write("a")
    assert "Apply it" in ask(studio, "plan").out
    server.stop_listening()
    for _ in range(2):
        out = ask(studio, "plan").out
        assert "Apply it" not in out
        assert "server (" not in out
        assert "Needs a server: none answers" in out


def test_what_needs_no_server_is_applied_without_one(film: Film) -> None:
    rendered(film)
    for file in film.scenes.glob("*.mp4"):
        file.unlink()
    assert "Apply it: ltxflow build" in ask(film, "plan", "--server", DEAD).out
    assert ask(film, "plan", "--animatic", "--server", DEAD).code == 0


def test_a_header_that_is_not_set_is_what_a_plan_needs(film: Film, tmp_path: Path) -> None:
    file = tmp_path / "config/ltxflow/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("servers: [{name: bench, url: http://127.0.0.1:9, headers_from_env: {Authorization: BENCH}}]\n")
    out = ask(film, "plan").out
    assert 'Needs a server: server "bench": variable "BENCH" for header "Authorization" is not set' in out
    assert "Apply it" not in out


MALFORMED = ("ftp://x", "http://", "gpu:notaport", "gpu:99999", "a b", "http://x?token=1", "8188", "http:/gpu", "")


@pytest.mark.parametrize("address", MALFORMED)
@pytest.mark.parametrize("verb", ["plan", "build"])
def test_a_malformed_address_is_refused_though_nothing_is_due(film: Film, verb: str, address: str) -> None:
    rendered(film)
    assert ask(film, verb).code == 0
    ran = ask(film, verb, "--server", address)
    assert (ran.code, ran.out) == (2, "")
    assert "is not a valid server address" in ran.err
    assert "  → " in ran.err


@pytest.mark.parametrize("name", ["LTXFLOW_SERVERS", "COMFY_URL"])
def test_a_malformed_address_of_the_environment_is_refused_though_nothing_is_due(
    film: Film, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(film)
    monkeypatch.setenv(name, "ftp://x")
    for verb in ("plan", "build"):
        ran = ask(film, verb)
        assert (ran.code, f'{name}: "ftp://x" is not a valid server address' in ran.err) == (2, True)


def test_a_list_of_servers_fails_where_one_of_them_is_dead(studio: Studio, server: FakeComfy) -> None:
    studio.write("a")
    assert ask(studio, "servers").code == 0
    assert ask(studio, "servers", "--server", server.url, "--server", DEAD).code == 1
    assert ask(studio, "servers", "--server", DEAD).code == 4
    assert ask(studio, "servers", "--server", DEAD, "--json").envelope["exit_code"] == 4


# --- counts

CLIPS = ("a: takes: 3", "b", "c: reference: hero")
HERO = {"hero": {"generate": {"prompt": "A brass key on a velvet cloth, soft light."}}}
CHECKS = {"clip": {"reseed": 2, "checks": {"duplicate": False}}}


def counted_film(studio: Studio, server: FakeComfy) -> Studio:
    """Three clips, two more takes of one of them, a still that another starts from; one take comes out frozen twice."""
    studio.write(*CLIPS, references=HERO, defaults=CHECKS)
    bad = [seed_for(FILM_SEED, "s", "b", 1, try_) for try_ in (0, 1)]
    server.misbehave.spoil("frozen", seeds=bad)
    return studio


WHOLE = "3 clips, 2 more takes and 1 reference"


def test_every_verb_counts_clips_takes_and_stills_alike(studio: Studio, server: FakeComfy) -> None:
    counted_film(studio, server)
    before = ask(studio, "plan")
    assert "Plan: 2 clips, 2 more takes and 1 reference to create; 1 clip maybe.  Film" in before.out
    ran = ask(studio, "build")
    assert len(server.stats()["runs"]) == 8
    made = [line for line in ran.out.splitlines() if "✓" in line]
    assert [re.sub(r".*\[(\d/\d)\].*", r"\1", line) for line in made] == [f"{n}/6" for n in range(1, 7)]
    assert f"Built {WHOLE}: 6 rendered (8 renders, 2 of them with another seed)  in " in ran.out
    after = screen(ask(studio, "plan"), studio)
    assert f"  = {WHOLE} unchanged" in after
    assert any(line.startswith(f"Plan: {WHOLE} unchanged.  Film ") for line in after)
    assert screen(ask(studio, "build"), studio)[0] == f"Built {WHOLE}: 0 rendered, 6 up to date"
    status = ask(studio, "status").out
    assert "3 of 3 clips current: nothing to build" in status
    assert f", {WHOLE}.  ✓ final" in status
    data = ask(studio, "plan", "--json").data
    assert data["counts"]["unchanged"] == {"clips": 3, "more_takes": 2, "references": 1}
    again = ask(studio, "build", "--json").events("run-finished")[0]
    assert {name: again[name] for name in ("planned", "clips", "more_takes", "references", "renders", "hit")} == {
        "planned": 6,
        "clips": 3,
        "more_takes": 2,
        "references": 1,
        "renders": 0,
        "hit": 6,
    }
    asked = ask(studio, "plan", "s", "--force").out
    assert f"Plan: {WHOLE} to change.  Film" in asked or "Plan: 3 clips and 2 more takes to change" in asked


def test_a_picked_take_is_the_one_that_counts_as_its_clip(studio: Studio, server: FakeComfy) -> None:
    counted_film(studio, server)
    assert ask(studio, "build").code == 0
    assert ask(studio, "pick", "s/a@3").code == 0
    studio.write("a: 'takes: 3, steps: 6'".replace("'", ""), *CLIPS[1:], references=HERO, defaults=CHECKS)
    assert "Plan: 1 clip and 2 more takes to change; 2 clips and 1 reference unchanged." in ask(studio, "plan").out


def test_json_counts_renders_and_clips_apart(studio: Studio, server: FakeComfy) -> None:
    ran = counted_film(studio, server).build(server)
    finished = ran.events("run-finished")[0]
    assert (finished["rendered"], finished["renders"], finished["clips"]) == (6, 8, 3)
    assert finished["planned"] == finished["clips"] + finished["more_takes"] + finished["references"]


# --- an end before the end


@pytest.fixture
def slow() -> Iterator[FakeComfy]:
    """A server on which clip a takes no time, and the others long enough to be frozen."""
    with FakeComfy(seconds=slow_but("s-a;")) as fake:
        yield fake


def begun(studio: Studio, server: FakeComfy) -> subprocess.Popen[str]:
    """Begin a build at no terminal, and return it once a is made, b runs and c waits."""
    words = command("build", "-p", str(studio.folder), "--server", server.url, setup="")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    freeze(server, 2, waiting=1)
    assert process.stdout is not None
    while "s/a" not in process.stdout.readline():
        pass
    return process


def ended(process: subprocess.Popen[str], studio: Studio) -> list[str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    return [re.sub(r"after .*", "after …", line) for line in screen(Ran(130, out, err), studio)]


def test_an_interruption_says_what_was_made_and_what_was_not(studio: Studio, slow: FakeComfy) -> None:
    process = begun(studio.write("a", "b", "c"), slow)
    assert ended(process, studio) == [
        "what is finished is kept; run the command again to continue",
        "Interrupted: 1 rendered; 2 clips not made  after …",
        "→ FILM/public/scenes  film 1.1s, incomplete, timeline.json",
        "  1 of 3 clips current, 2 not made (s/b, s/c): `ltxflow build` renders 2 clips",
    ]
    let_go(slow)
    again = studio.build(slow)
    assert (again.code, again.totals["hit"], again.totals["rendered"]) == (0, 1, 2)


def test_an_interruption_names_what_it_could_not_cancel(studio: Studio, slow: FakeComfy) -> None:
    process = begun(studio.write("a", "b", "c"), slow)
    slow.misbehave.reset(times=None)  # nothing answers any more
    lines = ended(process, studio)
    assert "! not cancelled on HOST: 2 clips: s/b, s/c; the next build resumes it" in lines
    slow.misbehave.clear()
    let_go(slow)
    assert studio.build(slow).totals["rendered"] == 0  # both are resumed


def test_an_interrupted_build_is_one_in_json(studio: Studio, slow: FakeComfy) -> None:
    process = studio.write("a", "b", "c").start(slow)
    freeze(slow, 2, waiting=1)
    until(process, "action-finished", "s/a@1")
    process.send_signal(signal.SIGINT)
    ran = studio.ended(process, slow)
    let_go(slow)
    (finished,) = ran.events("run-finished")
    assert (finished["interrupted"], finished["rendered"], finished["skipped"]) == (True, 1, 2)
    assert [event["reason"] for event in ran.events("action-finished") if event["outcome"] == "skipped"] == (
        ["interrupted"] * 2
    )


def test_a_server_that_goes_away_is_one_failure(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b", "c")
    server.hold()

    def go_away() -> None:
        server.wait(lambda stats: stats["running"] or stats["pending"])
        server.stop_listening()

    ran = told_meanwhile(studio, go_away, "--patience", "2s")
    lines = screen(ran, studio)
    assert ran.code == 4
    assert sum("did not answer" in line for line in lines) == 2  # with the first clip, and with what to do
    assert sum(re.fullmatch(r"  ✗ s/.  failed, as s/.", line) is not None for line in lines) == 2
    assert "  it failed s/a, s/b, s/c" in lines
    assert any(line.startswith("Built nothing; 3 clips failed  after ") for line in lines)


def told_meanwhile(studio: Studio, meanwhile: Callable[[], object], *args: str) -> Ran:
    """Build in this process, and print as for a person; `meanwhile` runs beside it."""
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(meanwhile)
        ran = ask(studio, "build", *args)
        other.result()
    return ran


def test_a_build_says_that_the_film_was_edited_while_it_ran(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b")
    server.hold()

    def edit(text: str) -> Callable[[], None]:
        def edit_and_go() -> None:
            server.wait(lambda stats: stats["running"] or stats["pending"])
            studio.file.write_text(studio.file.read_text().replace("Tiny", text))
            server.go()

        return edit_and_go

    ran = told_meanwhile(studio, edit("Another"))
    assert ran.code == 0
    assert "! FILM/project.yaml changed during this build, which made the film as it was before" in "".join(
        screen(ran, studio)
    )
    assert "changed during" not in ask(studio, "build").err


# --- hints in their place


def test_a_moved_clip_is_suggested_before_the_command_that_would_render_it(film: Film) -> None:
    rendered(film)
    film.edit("- id: middle", "- id: centre")
    lines = screen(ask(film, "plan"), film)
    at = lines.index("  · centre looks like middle with a new id")
    assert lines[at + 1] == "    keep its takes with  moved: [{ from: middle, to: centre }]"
    assert at < next(n for n, line in enumerate(lines) if line.startswith("Needs a server") or "Apply it" in line)


@pytest.mark.parametrize("verb", ["plan", "build"])
def test_another_seed_of_the_film_renders_nothing_and_says_why(film: Film, verb: str) -> None:
    rendered(film)
    assert "seed" not in ask(film, verb).out
    film.edit("seed: 3", "seed: 4")
    for _ in range(2):
        lines = screen(ask(film, verb), film)
        assert (
            "  · seed: 4 is for new takes; rendered ones keep the seeds they were made with "
            "(another take: ltxflow retake CLIP)"
        ) in lines
        assert any("4 clips" in line and ("unchanged" in line or "0 rendered" in line) for line in lines)
    film.edit("seed: 4", "seed: 3")
    assert "seed" not in ask(film, verb).out


def test_a_renamed_clip_is_no_changed_seed(film: Film) -> None:
    rendered(film.write({"hook": ["a"]}, {"hook": "3s"}))
    film.edit("- id: hook", "- id: opening")
    film.edit("scenes:", "moved: [{from: hook, to: opening}]\nscenes:")
    assert ask(film, "build").code == 0
    film.edit("moved: [{from: hook, to: opening}]\n", "")
    assert "seed" not in ask(film, "plan").out


@pytest.mark.parametrize("argv", [("check",), ("plan",), ("show", "hook/a"), ("build", "--animatic")])
def test_a_length_that_becomes_another_is_mentioned(film: Film, argv: tuple[str, ...]) -> None:
    film.write({"hook": ["a", "b"]}, {})
    for clip in "ab":
        film.edit(f"- id: {clip}\n", f"- id: {clip}\n        length: 120f\n")
    ran = ask(film, *argv)
    assert "120f" in ran.out + ran.err
    assert "121 frames" in ran.out + ran.err
    if argv[0] == "build":
        assert "  · 120f → 121 frames (4.84 s): hook/a, hook/b" in ran.out.splitlines()


# --- wherever it is read


class Screen(StringIO):
    """A stream that looks like a terminal, as wide as $COLUMNS."""

    def isatty(self) -> bool:
        return True


def at_a_terminal(film: Film, columns: int, monkeypatch: pytest.MonkeyPatch, *argv: str) -> list[str]:
    """Run a command at a terminal without colours, and return the lines that it shows."""
    for name, value in {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    out = Screen()
    with redirect_stdout(out), redirect_stderr(out):
        main([*argv, "-p", str(film.folder)])
    return out.getvalue().splitlines()


@pytest.mark.parametrize("argv", [("plan",), ("check",), ("status",), ("servers",), ("build", "--animatic"), ("diff",)])
def test_no_line_is_wider_than_a_narrow_terminal(
    film: Film, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_URL", DEAD)
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    monkeypatch.chdir(film.folder)  # so that no path is longer than a line
    film = replace(film, folder=Path())
    lines = at_a_terminal(film, 40, monkeypatch, *argv)
    assert lines
    assert [line for line in lines if len(line) > 40 and " " in line.strip()] == []  # a path is never broken


def test_a_dumb_terminal_gets_marks_and_no_escape(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(film.write(look=LOOK))
    film.edit("muted greens", "dusty golds")
    monkeypatch.setenv("TERM", "dumb")
    out = Screen()
    with redirect_stdout(out):
        main(["plan", "-p", str(film.folder)])
    assert "[-muted greens-] {+dusty golds+}" in out.getvalue()
    assert "\x1b" not in out.getvalue()
