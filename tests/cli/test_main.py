"""The command line from outside: commands, options, exit codes, streams. Output is tested with each command."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from harness.command import command, run, run_alone
from harness.film import Film, film_text

from ltxflow import __version__
from ltxflow.cli.commands import check as check_verb
from ltxflow.cli.main import main
from ltxflow.cli.table import COMMANDS
from ltxflow.ui.terminal import ENVELOPE_SCHEMA

ALONE = ["init", "check", "plan", "build", "explain", "show", "status", "graph", "clean", "trust", "rules", "schema"]
ESC = "\x1b"


def argv_of(verb: str) -> list[str]:
    return {"show": ["show", "hook/a"], "init": ["init", "new-film"]}.get(verb, [verb])


# --- verbs and their help


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("pick hook/a", 'no take number in "hook/a"', "write: ltxflow pick hook/a@2"),
        ("show", "ltxflow show needs TAKE", "write: ltxflow show TAKE; TAKE is a take, such as hook/b@2 "),
        ("reject", "ltxflow reject needs TAKE", "write: ltxflow reject TAKE [REASON]; TAKE is a take, "),
        ("pin hook/a", "ltxflow pin needs FILE", "write: ltxflow pin TAKE FILE [REASON]; FILE is an mp4 "),
        ("pin", "ltxflow pin needs TAKE and FILE", "write: ltxflow pin TAKE FILE [REASON]; TAKE is a take"),
        ("pick hook/a two", 'NUMBER must be a whole number, not "two"', "write one such as 2"),
        ("plan --takes two", '--takes must be a whole number, not "two"', "write one such as 2"),
        ("export remotoin", 'ltxflow export does not accept "remotoin"', 'did you mean "remotion"?'),
        ("schema all", 'ltxflow schema does not accept "all"', "choose from: project, timeline, event, lock, profile"),
        ("graph --format dto", '--format does not accept "dto"', 'did you mean "dot"?'),
    ],
)
def test_usage_errors_name_the_missing_or_mistyped_argument(words: str, message: str, hint: str) -> None:
    ran = run(*words.split())
    assert ran.code == 2
    assert ran.err.startswith(f"error: {message} [U002]\n  → {hint}")


def test_the_version_is_printed() -> None:
    assert run("--version").out == f"ltxflow {__version__}\n"


def test_the_help_names_every_verb_and_every_exit_code() -> None:
    ran = run("--help")
    assert ran.code == 0
    for verb in COMMANDS:
        assert f"  {verb} " in ran.out
    for code in ("0 ok", "1 something failed", "2 usage", "3 a bug", "4 no server", "5 `plan", "130 interrupted"):
        assert code in ran.out


def test_without_a_verb_the_help_is_shown_and_the_exit_code_shows_usage() -> None:
    assert run().code == 2
    assert "usage: ltxflow COMMAND" in run().out


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help(verb: str) -> None:
    ran = run(verb, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: ltxflow {verb}")
    assert "--project" in ran.out
    assert "--json" in ran.out
    assert run("help", verb).out == ran.out


def test_a_misspelt_verb_is_recognised() -> None:
    ran = run("biuld")
    assert ran.code == 2
    assert ran.err == 'error: no command "biuld" [U001]\n  → did you mean "build"?\n'


def test_a_misspelt_option_is_recognised(film: Film) -> None:
    ran = film.run("build", "--animatik")
    assert ran.code == 2
    assert "unrecognized arguments: --animatik [U002]" in ran.err
    assert 'did you mean "--animatic"?' in ran.err
    assert not film.scenes.exists()


@pytest.mark.parametrize(
    ("verb", "words"), [("cache", "ls, stats, verify, gc, rebuild, push, pull"), ("lock", "merge, setup")]
)
def test_a_verb_that_needs_a_word_more_shows_which(verb: str, words: str) -> None:
    ran = run(verb)
    assert (ran.code, ran.err) == (2, f"error: ltxflow {verb}: missing subcommand [U002]\n  → choose from: {words}\n")


def test_an_option_is_not_guessed_from_its_beginning(film: Film) -> None:
    assert film.run("clean", "--ye").code == 2


@pytest.mark.parametrize(
    "argv",
    [["build", "--jobs", "0"], ["build", "--jobs", "many"], ["plan", "--set"],
     ["build", "--keep-going", "--fail-fast"], ["show", "hook/a", "--prompt", "--graph"]],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_shows_where_help_is(film: Film, argv: list[str]) -> None:
    ran = film.run(*argv)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "--help" in ran.err


def test_wrong_usage_is_reported_in_json_where_json_is_asked_for(film: Film) -> None:
    ran = film.run("plan", "--json", "--nonsense")
    assert (ran.code, ran.envelope["exit_code"], ran.envelope["ok"]) == (2, 2, False)
    assert ran.envelope["problems"][0]["code"] == "U002"
    assert ran.err == ""


def test_options_may_stand_before_the_verb(film: Film) -> None:
    assert run("-p", str(film.folder), "status").out == film.run("status").out
    assert run(f"--project={film.folder}", "--json", "status").data == film.run("status", "--json").data


# --- JSON


@pytest.mark.parametrize("verb", ALONE)
def test_every_verb_ends_with_an_envelope(film: Film, verb: str, tmp_path: Path) -> None:
    film.build()
    extra = ["--animatic"] if verb in ("build", "plan") else []
    ran = run(*argv_of(verb), *extra, "--json", *([] if verb == "init" else ["-p", str(film.folder)]))
    envelope = ran.envelope
    assert ran.code == 0
    assert envelope.keys() == {"schema", "command", "version", "ok", "exit_code", "data", "problems"}
    assert envelope["schema"] == ENVELOPE_SCHEMA
    assert (envelope["command"], envelope["ok"], envelope["exit_code"]) == (verb, True, 0)
    assert ran.err == ""
    assert all(line.get("event") for line in ran.lines[:-1])


@pytest.mark.parametrize("verb", ["check", "plan", "build", "status", "explain", "show", "graph", "clean", "trust"])
def test_a_broken_project_is_an_envelope_with_places(film: Film, verb: str) -> None:
    film.edit("fps: 25", "fps: twenty")
    ran = film.run(*argv_of(verb), "--json")
    assert ran.code == 2
    (problem,) = ran.envelope["problems"]
    assert problem["where"] == {"file": "film/project.yaml", "line": 5, "col": 6}
    assert problem["level"] == "error"
    assert problem["hint"]


def test_json_is_ascii_whatever_the_film_says(film: Film) -> None:
    film.edit('"Tiny film"', '"Tiny \\e[31m\\x9b \\u202e 水"')
    for verb in ("plan", "status", "explain"):
        assert film.run(verb, "--json").out.isascii()


# --- exit codes


def test_a_film_that_is_in_order_is_exit_code_0(film: Film) -> None:
    assert film.run("check").code == 0


def test_a_failed_check_is_exit_code_1(film: Film) -> None:
    film.edit("6s", "60s")
    assert film.run("check").code == 1


def test_strict_makes_warnings_fail(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\ndefaults: { scene: { crossfade: 30f } }")
    assert film.run("check").code == 0
    assert film.run("check", "--strict").code == 1


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "a: [", "ltxflow: 1\nltxflow: 1\n", "\tltxflow: 1\n", "ltxflow: 9\n", "\x00", "&a [*a]"]
)
@pytest.mark.parametrize("verb", ["check", "build"])
def test_a_project_that_cannot_be_read_is_exit_code_2_and_nothing_is_written(film: Film, text: str, verb: str) -> None:
    film.file.write_text(text)
    ran = film.run(verb, *(["--animatic"] if verb == "build" else []))
    assert ran.code == 2
    assert ran.err.startswith("film/project.yaml:")
    assert "Traceback" not in ran.err
    assert os.listdir(film.folder) == ["project.yaml"]
    assert not film.store.exists()


def test_a_bug_is_exit_code_3_with_the_traceback_in_a_file(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> int:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr(check_verb, "run", broken)
    ran = film.run("check")
    assert ran.code == 3
    assert ran.err.startswith("error: a bug in ltxflow: ZeroDivisionError: of our own [U003]\n  → report it with ")
    assert "Traceback" not in ran.err + ran.out
    log = Path(ran.err.split("report it with ")[1].strip())
    assert log.is_relative_to(os.environ["XDG_STATE_HOME"])
    text = log.read_text()
    assert f"ltxflow check -p {film.folder}" in text
    assert 'raise ZeroDivisionError("of our own")' in text
    assert film.run("check", "--json").envelope["exit_code"] == 3


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.EACCES, "change its permissions"), (errno.EIO, "check the disk, then run it again")],
)
def test_an_error_of_the_system_is_exit_code_2(
    film: Film, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, hint: str
) -> None:
    def refused(*args: object) -> int:
        raise OSError(number, os.strerror(number), str(tmp_path / "blob"))

    monkeypatch.setattr(check_verb, "run", refused)
    ran = film.run("check")
    assert ran.code == 2
    assert ran.err == f'error: cannot use "{tmp_path / "blob"}": {os.strerror(number).lower()} [U006]\n  → {hint}\n'
    assert film.run("check", "--json").envelope["problems"][0]["code"] == "U006"


def test_another_error_of_the_system_is_a_bug(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file", "what we should have made")

    monkeypatch.setattr(check_verb, "run", broken)
    assert film.run("check").code == 3


def test_a_bug_is_reported_without_a_log(film: Film, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    monkeypatch.setattr(check_verb, "run", lambda *args: 1 / 0)
    ran = film.run("check")
    assert ran.code == 3
    assert "a bug in ltxflow: ZeroDivisionError" in ran.err


def test_without_a_server_a_build_is_exit_code_4_and_shows_what_to_do(film: Film) -> None:
    ran = film.run("build", "--server", "http://127.0.0.1:9", "--patience", "0s")
    assert ran.code == 4
    assert "ltxflow build --animatic" in ran.err
    assert not film.scenes.exists()
    assert not (film.folder / "ltxflow.lock").exists()


def test_a_plan_with_changes_is_exit_code_5_when_asked(film: Film) -> None:
    assert film.run("plan").code == 0
    assert film.run("plan", "--exit-code").code == 5
    assert film.run("plan", "--exit-code", "--json").envelope["ok"]
    film.build()
    assert film.run("plan", "--animatic", "--exit-code").code == 0


def test_interrupting_a_build_is_exit_code_130_and_keeps_what_is_finished(film: Film, tmp_path: Path) -> None:
    # the second slate to be drawn waits at a gate, which opens only when the build has been interrupted
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    setup = (
        "from ltxflow.steps import slate; from harness.slates import canned_drawing\n"
        "drawn = []\n"
        f"first = lambda spec: drawn and open({str(gate)!r}).read()\n"
        "slate.draw_slate = canned_drawing(drawn, first)\n"
    )
    argv = command("build", "--animatic", "--json", "--jobs", "1", "-p", str(film.folder), setup=setup)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[dict[str, object]] = []
        try:
            for outcome in ("rendered", "skipped"):
                while not lines or lines[-1].get("outcome") != outcome:
                    lines.append(json.loads(process.stdout.readline()))
                if outcome == "rendered":
                    process.send_signal(signal.SIGINT)
            gate.write_text("")
            assert process.stderr is not None
            rest, err = process.stdout.read(), process.stderr.read()  # not communicate: lines may wait in the buffer
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 130
    assert "Traceback" not in err
    lines += [json.loads(line) for line in rest.splitlines()]
    totals = next(line for line in lines if line.get("event") == "run-finished")
    assert (totals["rendered"], totals["skipped"], totals["failed"]) == (1, 3, 0)
    assert lines[-1]["exit_code"] == 130
    outcomes = [line["outcome"] for line in lines if line.get("event") == "action-finished"]
    assert sorted(map(str, outcomes)) == ["rendered", "skipped", "skipped", "skipped"]
    assert [clip["src"] is not None for scene in film.timeline["scenes"] for clip in scene["clips"]].count(True) == 1
    again = film.build()
    assert (again.totals["hit"], again.totals["rendered"]) == (1, 3)


# --- which project


def test_a_project_is_found_from_a_folder_inside_it(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = film.folder / "refs" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert run("status").code == 0


def test_a_project_is_named_by_its_folder_its_file_or_its_name(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    work = film.folder.parent
    other = Film(work / "projects" / "other", film.store).write({"one": ["a"]}, id="other")
    monkeypatch.chdir(work)
    assert run("status", "--json", "-p", "film").data["project"] == "tiny"
    assert run("status", "--json", "-p", "film/project.yaml").data["project"] == "tiny"
    assert run("status", "--json", "-p", "other").data["project"] == "other"
    assert run("status", "--json", "-p", "projects/other").data["project"] == "other"
    assert run("status", "--json").data["project"] == "other"  # the only one under projects/
    monkeypatch.chdir(other.folder)
    assert run("status", "--json").data["project"] == "other"
    assert run("status", "--json", "-p", "../../film").data["project"] == "tiny"


def test_an_unknown_project_is_reported_with_the_nearest_name(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    Film(film.folder.parent / "projects" / "wallet", film.store).write()
    ran = run("status", "-p", "walet")
    assert ran.code == 2
    assert 'no project "walet"' in ran.err
    assert 'did you mean "wallet"?' in ran.err


def test_several_projects_are_reported_to_choose_from(film: Film) -> None:
    for name in ("one", "two"):
        Film(film.folder.parent / "projects" / name, film.store).write()
    ran = run("status")
    assert ran.code == 2
    assert "choose one with -p: one, two" in ran.err


def test_without_any_project_one_is_reported_how_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("build")
    assert ran.code == 2
    assert "ltxflow init" in ran.err


def test_what_leaves_the_workspace_is_refused(film: Film, tmp_path: Path) -> None:
    film.edit("fps: 25", "fps: 25\noutput: ../../elsewhere")
    ran = film.run("build", "--animatic")
    assert ran.code == 2
    assert "leaves the workspace" in ran.err
    assert run("check", "-p", str(film.folder), "--root", str(tmp_path)).code == 0


# --- streams


def test_no_colour_goes_into_a_pipe_unless_it_is_forced(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ESC not in film.run("plan").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESC in film.run("plan").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESC not in film.run("plan").out


EVERY_VERB = """\
check
plan -v
plan --animatic
plan \\e[2J
plan \x1b[2J\x07
explain --animatic
status
graph
graph --format dot
show hook/a --resolved
show hook/a --prompt
show hook/a --graph
build --animatic -v"""


@pytest.mark.parametrize("forced", [False, True])
def test_no_control_character_of_a_film_reaches_the_terminal(
    film: Film, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\\e]0;owned\\a\\e[2J\\e[35m \\x9b1m \\b \\r \\u202e"
    film.edit('"Tiny film"', f'"Tiny {evil} film"')
    film.edit("A ", f"{evil} A ")
    film.build()
    film.edit("A ", "One ")
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    for line in EVERY_VERB.splitlines():
        argv = line.split()
        ran = film.run(*argv)
        assert ran.code in (0, 2)
        output = ran.out + ran.err
        for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[9;31m",
                     "\x1b[1;31m", "\x1b[31;1m", "\x1b[32;1m", "\x1b[33;1m", "\x1b[36;1m", "\x1b[2;1m"):  # fmt: skip
            output = output.replace(code, "") if forced else output
        assert not [char for char in output if (ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160], argv
        assert "\u202e" not in output


def test_a_reader_that_leaves_early_gets_no_traceback(film: Film) -> None:
    argv = command("plan", "--json", "-p", str(film.folder))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_help_for_a_reader_that_has_left_is_not_error() -> None:
    with subprocess.Popen([sys.executable, "-m", "ltxflow.cli.main", "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["--help", "plan", "plan -v", "plan --json", "build --animatic", "schema"])
def test_output_that_a_full_disk_does_not_take_is_reported_and_fails(film: Film, words: str) -> None:
    run_alone("plan", "-p", str(film.folder))  # so that one of them is an answer that was remembered
    argv = command(*words.split(), *(["-p", str(film.folder)] if words not in ("--help", "schema") else []))
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "error: cannot write the output: no space left on device" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--version", "plan", "build --animatic", "buidl", "pick hook/a 9"])
def test_closed_streams_are_no_error_and_their_numbers_are_given_to_no_file(film: Film, words: str) -> None:
    argv = command(*words.split(), *(["-p", str(film.folder)] if words != "--version" else []))
    close = 'for fd in 0 1 2; do eval "exec $fd>&-"; done; exec "$@"'
    done = subprocess.run(["sh", "-c", close, "sh", *argv], check=False)
    assert done.returncode == (2 if words in ("buidl", "pick hook/a 9") else 0)


def test_a_build_continues_when_no_one_reads_its_log_any_more(film: Film) -> None:
    argv = command("build", "--animatic", "-v", "-p", str(film.folder))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")
    assert film.timeline["complete"]


def test_a_terminal_without_unicode_is_not_error(film: Film) -> None:
    ran = run_alone("build", "--animatic", "-p", str(film.folder), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ran.code == 0
    assert "  ok [1/4] " in ran.out  # ✓


def test_quiet_shows_nothing_when_all_went_well(film: Film) -> None:
    ran = film.run("build", "--animatic", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_quiet_still_shows_what_went_wrong(film: Film) -> None:
    film.edit("size: ", "siez: ")
    assert 'unknown key "siez"' in film.run("build", "--animatic", "-q").err


def test_verbose_shows_when_a_clip_is_begun(film: Film) -> None:
    assert "hook/a  started" in film.run("build", "--animatic", "-v").out
    assert "started" not in film.run("build", "--animatic", "-v").out


def test_main_may_be_called_from_a_thread(film: Film) -> None:
    """Signals are only the main thread's; a verb that reads needs none."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["plan", "-q", "-p", str(film.folder)])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_film_text_of_the_tests_has_nothing_to_complain_of(film: Film) -> None:
    """So that what other tests provoke is all that they see."""
    assert film_text({"a": ["b"]})
    ran = film.run("check", "--json")
    assert {problem["level"] for problem in ran.envelope["problems"]} <= {"advice"}


# --- wherever it is run


@pytest.mark.parametrize("argv", [["--help"], ["status"]])
def test_an_encoding_without_our_signs_is_not_reason_to_stop(film: Film, argv: list[str]) -> None:
    film.build()
    for _ in range(2):  # the second answer is the one that is remembered
        ran = run_alone(*argv, cwd=film.folder, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert (ran.code, ran.err) == (0, "")
        assert " - 128x128 at 25 fps" in ran.out or "ltxflow: make for films" in ran.out
        assert "\\" not in ran.out


def test_letters_that_an_encoding_lacks_are_escaped(film: Film) -> None:
    film.edit("Tiny film", "Kleine Größe · 影")
    ran = run_alone("plan", cwd=film.folder, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ran.out.startswith("Kleine Gr\\xf6\\xdfe - \\u5f71 - ltx2-19b / distilled")


def test_a_folder_that_was_removed_is_reported(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os, sys; os.rmdir({str(gone)!r}); from ltxflow.cli.main import main; sys.exit(main(['plan']))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=gone, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "error: the current folder was removed [U005]\n  → change to an existing directory: cd ~\n" in ran.stderr
