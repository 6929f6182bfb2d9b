"""`diff REF` and `changed:REF`: what became of a film since a git revision."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.files import settle
from harness.film import Film

from ltxflow.cli import answer_cache
from ltxflow.store import snapshot


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def kept(film: Film) -> Film:
    """The film, committed."""
    git(film.folder, "init", "-q")
    git(film.folder, "add", "project.yaml")
    git(film.folder, "commit", "-qm", "first")
    return film


def diff(film: Film, *argv: str) -> Any:
    done = film.run("diff", "--json", *argv)
    assert done.code == 0, done.out + done.err
    return done.data


def kinds(film: Film, *argv: str) -> dict[str, str]:
    return {each["clip"]: each["kind"] for each in diff(film, *argv)["clips"]}


def test_nothing_changed(kept: Film) -> None:
    assert diff(kept)["clips"] == []
    assert "Since HEAD: no clips changed.  Film 12.5s, 4 clips." in kept.run("diff").out


def test_clips_are_changed_added_and_removed_with_their_reasons(kept: Film) -> None:
    kept.edit("pushes slowly", "glides quickly")
    text = kept.file.read_text().replace("- id: end", "- id: finale")
    kept.file.write_text(text)
    assert kinds(kept) == {"hook/a": "changed", "finale/a": "added", "end/a": "removed"}
    (reason,) = diff(kept)["clips"][0]["reasons"]
    assert reason["field"] == "prompt.text"
    assert "pushes slowly" in reason["old"]
    assert "glides quickly" in reason["new"]


def test_a_clip_that_moved_is_the_clip_it_was(kept: Film) -> None:
    text = kept.file.read_text().replace("- id: end", "- id: finale")
    kept.file.write_text(text.replace("scenes:", "moved: [{from: end, to: finale}]\nscenes:"))
    (clip,) = diff(kept)["clips"]  # its seed follows from its id, while nothing is rendered
    assert (clip["clip"], clip["kind"]) == ("finale/a", "changed")
    assert [reason["field"] for reason in clip["reasons"]] == ["seed"]


def test_what_only_shows_is_reported_apart(kept: Film) -> None:
    kept.edit("narration: 3.5s", "narration: 3.4s\n    title: The middle")
    output = diff(kept)
    assert output["clips"] == []
    assert output["shown"] == ['middle: title "" → "The middle"', "middle: narration 3.5s → 3.4s"]


def test_selectors_take_what_changed(kept: Film) -> None:
    kept.edit("pushes slowly", "glides quickly")
    assert [change["target"] for change in kept.run("plan", "changed:HEAD", "--json").data["changes"]] == [
        "clip:hook/a@1"
    ]
    others = kept.run("plan", "!changed:HEAD", "--json").data["changes"]
    assert [change["target"] for change in others] == ["clip:hook/b@1", "clip:middle/a@1", "clip:end/a@1"]


def test_an_answer_about_a_revision_is_not_given_again_when_that_moves(kept: Film) -> None:
    kept.edit("pushes slowly", "glides quickly")
    assert "+ hook/a" in kept.run("plan", "changed:HEAD").out
    git(kept.folder, "commit", "-qam", "second")
    assert "hook/a" not in kept.run("plan", "changed:HEAD").out


def recalled(film: Film, *argv: str) -> str | None:
    """What is repeated of a command without looking at the film again."""
    key = answer_cache.ask([*argv, "-p", str(film.folder)])
    answer = snapshot.recall(key.path) if key else None
    return answer.out if answer else None


def test_a_difference_is_repeated_until_the_film_or_the_revision_changes(kept: Film) -> None:
    assert kept.build().code == 0
    kept.run("diff")  # the first one makes the folder of what is remembered
    settle()
    for argv in (("diff",), ("diff", "HEAD", "--markdown"), ("diff", "--json")):
        out = kept.run(*argv).out
        assert recalled(kept, *argv) == out
    kept.edit("pushes slowly", "glides quickly")
    assert recalled(kept, "diff") is None
    settle()
    edited = kept.run("diff").out
    assert "~ hook/a" in edited
    assert recalled(kept, "diff") == edited
    git(kept.folder, "commit", "-qam", "second")
    assert recalled(kept, "diff") is None
    assert "no clips changed" in kept.run("diff").out
    assert "~ hook/a" in kept.run("diff", "HEAD~1").out
    git(kept.folder, "branch", "other", "HEAD~1")
    assert "~ hook/a" in kept.run("diff", "other").out
    git(kept.folder, "branch", "-f", "other", "HEAD")
    assert "no clips changed" in kept.run("diff", "other").out


@pytest.mark.parametrize("name", [".git/config", ".git/info/attributes", ".gitattributes"])
def test_a_difference_depends_on_how_git_writes_files(kept: Film, name: str) -> None:
    assert kept.build().code == 0
    kept.run("diff")
    settle()
    kept.run("diff")
    assert recalled(kept, "diff") is not None
    with (kept.folder / name).open("a") as file:
        file.write("\n# nothing\n")
    assert recalled(kept, "diff") is None


def test_a_difference_from_a_repository_elsewhere_is_not_repeated(kept: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept.build().code == 0
    (kept.folder / ".git").rename(kept.folder.parent / "repository")
    monkeypatch.setenv("GIT_DIR", str(kept.folder.parent / "repository"))
    assert answer_cache.ask(["diff", "-p", str(kept.folder)]) is None
    monkeypatch.delenv("GIT_DIR")
    (kept.folder / ".git").write_text(f"gitdir: {kept.folder.parent}/repository\n")
    assert answer_cache.ask(["diff", "-p", str(kept.folder)]) is None
    assert kept.run("diff").code == 0


def test_the_work_tree_and_the_index_stay_as_they_are(kept: Film) -> None:
    kept.edit("pushes slowly", "glides quickly")
    before = git(kept.folder, "status", "--porcelain=v2"), kept.file.read_text()
    diff(kept)
    assert (git(kept.folder, "status", "--porcelain=v2"), kept.file.read_text()) == before


def test_markdown_shows_texts_as_they_are(kept: Film) -> None:
    kept.edit("pushes slowly", "glides *very* quickly | past")
    out = kept.run("diff", "--markdown").out
    assert "| ~ | `hook/a` | 97f |" in out
    assert r"glides \*very\* quickly \| past" in out


def test_what_is_to_render_is_reported_as_clips_takes_and_references(kept: Film) -> None:
    kept.edit("      - id: b\n", "      - id: b\n        takes: 3\n        reference: key\n")
    kept.edit("scenes:", "references:\n  key: { generate: { prompt: A brass key on a table. } }\nscenes:")
    kept.edit("pushes slowly", "glides quickly")
    assert diff(kept)["to_render"] == {"clips": 2, "more_takes": 2, "references": 1}
    assert "2 clips, 2 more takes and 1 reference to render\n" in kept.run("diff").out
    assert "\n2 clips, 2 more takes and 1 reference to render.\n" in kept.run("diff", "--markdown").out


def fields(film: Film) -> dict[str, list[tuple[str, Any, Any]]]:
    return {
        each["clip"]: [(reason["field"], reason["old"], reason["new"]) for reason in each["reasons"]]
        for each in diff(film)["clips"]
    }


def test_a_clip_that_waits_for_another_shows_what_changed_in_itself(kept: Film) -> None:
    kept.edit("      - id: b\n", "      - id: b\n        extends: a\n")
    kept.edit("scenes:", "references:\n  key: { generate: { prompt: A brass key on a table. } }\nscenes:")
    git(kept.folder, "commit", "-qam", "second")
    kept.edit("door for hook-b", "gate for hook-b")
    kept.edit(
        "- id: middle\n    narration: 3.5s\n    clips:\n      - id: a\n",
        "- id: middle\n    narration: 3.5s\n    clips:\n      - id: a\n        reference: key\n",
    )
    output = fields(kept)
    assert list(output) == ["hook/b", "middle/a"]
    assert [field for field, _, _ in output["hook/b"]] == ["prompt.text"]
    assert output["middle/a"] == [("reference.image", None, {"is": "reference:key", "of": "reference:key"})]


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        ("nope", 'unknown git revision "nope"', "name a branch, a tag or a commit, e.g. HEAD~1 or origin/main"),
        ("HEAD:project.yaml", 'unknown git revision "HEAD:project.yaml"', "name a branch"),
    ],
)
def test_a_revision_that_is_none(kept: Film, ref: str, message: str, hint: str) -> None:
    done = kept.run("diff", ref)
    assert done.code == 2
    assert message in done.err
    assert hint in done.err


def test_a_film_outside_git(film: Film) -> None:
    done = film.run("diff")
    assert done.code == 2
    assert "run it for a project in a git checkout" in done.err


def test_a_revision_without_the_film_or_with_a_broken_one(kept: Film) -> None:
    text = kept.file.read_text()
    kept.file.write_text(text.replace("id: hook", "id: Hook"))
    git(kept.folder, "commit", "-qam", "broken")
    kept.file.write_text(text)
    done = kept.run("diff", "HEAD")
    assert done.code == 2
    assert "cannot read the film at HEAD" in done.err
    git(kept.folder, "rm", "-q", "--cached", "project.yaml")
    git(kept.folder, "commit", "-qm", "gone")
    assert "no project.yaml at HEAD" in kept.run("diff", "HEAD").err


def test_tags_choose_clips_and_a_wrong_one_is_corrected(film: Film) -> None:
    film.edit("- id: middle\n", "- id: middle\n    tags: [night]\n")
    film.edit("- id: b\n", "- id: b\n        tags: [hero, night]\n")
    plan = film.run("plan", "tag:night", "!tag:hero", "--json")
    assert [change["target"] for change in plan.data["changes"]] == ["clip:middle/a@1"]
    done = film.run("plan", "tag:nihgt")
    assert done.code == 2
    assert 'did you mean "tag:night"?' in done.err
