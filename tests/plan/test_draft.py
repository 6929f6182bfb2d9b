"""A project made from a script checks but for its prompts, and has as many clips as its narration needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.lock.model import Lock
from ltxflow.models.load import load_profile, shipped_profiles
from ltxflow.plan.draft import MOST_SPOKEN, Draft, draft
from ltxflow.plan.lengths import cut_film
from ltxflow.project.lint import lint
from ltxflow.project.load import load
from ltxflow.project.model import Project
from ltxflow.project.screenplay import Script, ScriptScene, SpokenPart, read_script


def made(script: Script, profile: str = "ltx2-19b") -> Draft:
    return draft(
        script, load_profile(profile), id="film", title='A "film" \\ {{ of }}', schema="x", why="a test", source="a\nb"
    )


def film(text: str, folder: Path) -> Project:
    """Return the project in a folder with this text; it loads without an error."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "project.yaml").write_text(text, "utf-8")
    return load(folder / "project.yaml").project


def said(*texts: str, seen: tuple[str, ...] = (), title: str = "") -> ScriptScene:
    return ScriptScene(title, 1, tuple(SpokenPart("", text) for text in texts), seen)


def holds(script: Script, folder: Path, profile: str = "ltx2-19b") -> Project:
    """Check what every draft promises, and return its project."""
    result = made(script, profile)
    project = film(result.text, folder)
    _, problems = cut_film(project, Lock())
    assert [each for each in problems if each.level == "error"] == []
    assert {each.code for each in lint(project) if each.level != "advice"} == {"L035"}
    assert sum(each.code == "L035" for each in lint(project)) == len(project.clips) == result.clips
    assert len(project.scenes) == result.scenes
    return project


WORDS = "Every coin you own is guarded by one secret, and whoever has the secret has the coin. "


@pytest.mark.parametrize("profile", [profile.name for profile in shipped_profiles()])
@pytest.mark.parametrize(("times", "clips"), [(0, 1), (1, 1), (3, 4), (12, 14)])
def test_longer_narration_has_more_clips(times: int, clips: int, profile: str, tmp_path: Path) -> None:
    project = holds(Script("text", "", (said(WORDS * times) if times else ScriptScene("One", 1),)), tmp_path, profile)
    assert abs(len(project.clips) - clips) <= max(1, clips // 4)
    ids = [clip.id for clip in project.clips]
    assert ids == sorted(ids)


def test_a_prompt_has_what_the_script_shows_and_says(tmp_path: Path) -> None:
    (clip,) = holds(Script("text", "", (said("Gone.", seen=("a key turns", "a door")),)), tmp_path).clips
    assert clip.prompt.text == "TODO: a key turns a door"
    first, second = holds(Script("text", "", (said(WORDS, seen=("a key",)),)), tmp_path).clips
    assert first.prompt.text.startswith('TODO: a key; spoken here: "Every coin')
    assert second.prompt.text.endswith('has the coin."')
    silent = holds(Script("text", "", (ScriptScene("Night", 1, (), ("A truck.", "A light.")),)), tmp_path).clips
    assert [clip.prompt.text for clip in silent] == ["TODO: A truck.", "TODO: A light."]


def test_speakers_have_lines_and_a_narrator_a_text(tmp_path: Path) -> None:
    parts = (SpokenPart("Maya", "Who is there?"), SpokenPart("Tom", "Nobody."), SpokenPart("Maya", "Good."))
    (scene,) = holds(Script("fountain", "", (ScriptScene("Night", 1, parts),)), tmp_path).scenes
    assert list(scene.narration.starts) == ["maya-1", "tom-1", "maya-2"]
    (scene,) = holds(Script("text", "", (said("Nobody.", "Good."),)), tmp_path).scenes
    assert scene.narration.text == "Nobody. Good."


def test_more_than_a_scene_can_have_is_several(tmp_path: Path) -> None:
    text = WORDS * (3 * MOST_SPOKEN // len(WORDS))
    project = holds(Script("text", "", (said(text, title="Long"),)), tmp_path)
    assert [scene.id for scene in project.scenes[:3]] == ["long", "long-2", "long-3"]
    assert " ".join(scene.narration.text for scene in project.scenes) == text.strip()
    assert len(holds(Script("text", "", (said("字" * 40_000),)), tmp_path).scenes) > 2


@pytest.mark.parametrize(
    ("text", "has_voice"),
    [
        (WORDS, True),
        ("Jede Münze, die du hast, ist von einem Geheimnis bewacht, und wer es hat, der hat die Münze.", False),
        ("村には井戸がある。", False),
    ],
)
def test_a_voice_is_named_only_for_a_language_that_it_speaks(text: str, has_voice: bool) -> None:
    assert ("\nspeech: { engine: offline }" in made(Script("text", "", (said(text),))).text) is has_voice


HOSTILE = [
    "{{ look }}",
    "{% x %}",
    "- a: b",
    "#",
    "'",
    '"',
    "\\",
    "!include x",
    "&a *a",
    "---",
    "null",
    "TODO",
    "}}{{",
    "%}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_script_is_read_as_yaml_or_as_code(text: str, tmp_path: Path) -> None:
    scenes = (
        ScriptScene(text, 1, (SpokenPart("", f"A {text} b"), SpokenPart(text, f"{text} c")), (text,)),
        ScriptScene(text, 2, (), (f"{text} " * 60,)),
        said(f"{text} word " * 40),
    )
    project = holds(Script("text", "", scenes), tmp_path)
    plain = " ".join(" ".join(text).split())
    shown = project.scenes[2].narration.text
    assert " ".join(" ".join(shown).split()).startswith(plain)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=12), st.sampled_from(["a.md", "a.fountain", "a.txt"]))
def test_any_text_that_is_a_script_becomes_a_film(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], name: str
) -> None:
    text = "\n".join(
        ["# A" if name == "a.md" else "INT. A - DAY" if name == "a.fountain" else "A b c, and so on.", "", *lines]
    )
    holds(read_script(text.encode(), name), tmp_path_factory.mktemp("film"))
