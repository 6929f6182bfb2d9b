"""`ltxflow completion`: what a shell offers, and completion in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fakes.terminal import Terminal
from harness.command import run
from harness.film import Film

from ltxflow.cli.table import ARGUMENTS, COMMANDS

BASH = " \t\n\"'@><=;|&(:"  # COMP_WORDBREAKS as bash sets it


def offered(line: str, breaks: str = "") -> list[str]:
    return run("__complete", breaks, f"ltxflow {line}").out.splitlines()


def test_the_table_uses_known_kinds_of_arguments() -> None:
    words = [word.strip("[].") for command in COMMANDS.values() for word in command.arguments.split()]
    assert set(words) == set(ARGUMENTS)


def test_commands_and_names_in_the_film_are_completed(film: Film) -> None:
    assert offered("pl") == ["plan"]
    assert set(offered("")) == set(COMMANDS)
    at = f"-p {film.folder}"
    assert offered(f"show {at} ") == ["hook/a", "hook/b", "middle/a", "end/a"]
    assert offered(f"{at} show hook/") == ["hook/a", "hook/b"]
    assert offered(f"plan {at} h") == ["hook", "hook/a", "hook/b"]
    assert offered(f"plan {at} '!mid") == ["!middle", "!middle/a"]
    assert offered(f"pin {at} hook/a ") == [":files"]


def test_tags_takes_and_scene_files_are_offered(film: Film) -> None:
    (film.folder / "scenes").mkdir()
    (film.folder / "scenes" / "one.yaml").write_text("id: one\ntags: [night]\nclips: [{id: a, tags: [hero]}]\n")
    film.edit("scenes:\n", "scenes:\n  - scenes/*.yaml\n")
    at = f"-p {film.folder}"
    assert offered(f"plan {at} tag:") == ["tag:hero", "tag:night"]
    assert offered(f"plan {at} tag:n", BASH) == ["night"]  # bash keeps what stands before the colon itself
    assert offered(f"plan {at} one") == ["one", "one/a"]
    assert offered(f"show {at} one/a@", BASH) == ["1"]


def test_diff_completes_revisions(film: Film) -> None:
    git = ["git", "-C", str(film.folder)]
    subprocess.run([*git, "init", "-q", "-b", "trunk"], check=True)
    subprocess.run([*git, "add", "project.yaml"], check=True)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, *who, "commit", "-q", "-m", "a film"], check=True)
    assert offered(f"diff -p {film.folder} ") == ["HEAD", "trunk"]
    assert offered(f"plan -p {film.folder} changed:t", BASH) == ["trunk"]


def test_a_film_with_errors_is_offered_as_far_as_it_goes(film: Film) -> None:
    film.edit("fps: 25", "fsp: 25\nquality: yes")
    assert offered(f"show -p {film.folder} mid") == ["middle/a"]
    film.file.write_text("scenes: [")
    assert offered(f"show -p {film.folder} ") == []
    assert offered("show -p /nowhere ") == []


def test_options_and_their_values_are_offered(film: Film) -> None:
    assert offered("plan --qu") == ["--quiet", "--quality"]
    assert offered("plan --quality ") == ["preview", "distilled", "full"]
    assert offered("plan --quality=d", BASH) == ["distilled"]
    assert offered("build --set reference.str") == ["reference.strength="]
    assert offered("schema t") == ["timeline"]
    assert offered("cache g") == ["gc"]
    assert "--help" in offered("cache -")
    assert offered("nonsense ") == []


def test_what_names_the_film_loads_no_library(film: Film) -> None:
    code = (
        "import sys; from ltxflow.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    argv = [sys.executable, "-c", code, "__complete", "", f"ltxflow show -p {film.folder} hook/a@"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "hook/a@1\n"
    heavy = {"jsonschema", "jinja2", "networkx", "httpx", "diskcache", "av", "PIL", "numpy", "rich"}
    assert not set(done.stderr.split()) & heavy


def test_the_script_is_data_too(film: Film) -> None:
    assert run("completion", "bash", "--json").data["script"] == run("completion", "bash").out
    ran = run("completion", "csh")
    assert ran.code == 2
    assert 'ltxflow completion does not accept "csh" [U002]' in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_what_their_shells_can_read(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=run("completion", shell).out, text=True, check=True)


@pytest.fixture
def bash() -> Iterator[Terminal]:
    """An interactive bash in which `ltxflow` is the one under test."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    terminal = Terminal("bash", "--norc", "--noprofile", "-i")
    terminal.press(
        f"PS1='at> '; bind 'set bell-style none'; ltxflow() {{ {sys.executable} -m ltxflow.cli.main \"$@\"; }}\n"
    )
    terminal.press('eval "$(ltxflow completion bash)"; echo rea""dy\n')
    terminal.until("ready")
    terminal.until("at> ")
    yield terminal
    terminal.close()


def test_bash_completes_a_clip_a_tag_and_an_option(film: Film, bash: Terminal) -> None:
    film.edit("  - id: middle\n", "  - id: middle\n    tags: [night]\n")
    bash.press(f"cd {film.folder}\n")
    bash.until("at> ")
    bash.press("echo [; ltxflow show mid\t")
    bash.until("show middle/a ")
    bash.press("\x15ltxflow plan tag:n\t")
    bash.until("plan tag:night ")
    bash.press("\x15ltxflow build --set ste\t")
    bash.until("--set steps=")
    bash.press("6 hook/\t\t")
    output = bash.until("hook/b")
    assert "hook/a" in output
