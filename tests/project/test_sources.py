"""A film in several files: scene files, includes, and the places of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.project import sources
from ltxflow.project.load import LoadedProject, load

PROMPT = "The camera glides forward through a hall while lamps light up one by one along the walls."
SCENE = "id: {id}\nnarration: 5s\nclips: [{{id: a, prompt: {prompt}}}]\n"
FILM = """\
ltxflow: 1
id: film
scenes:
  - scenes/b.yaml
  - scenes/*.yaml
  - {id: last, narration: 5s, clips: [{id: a, prompt: !include prompts/a.yaml}]}
"""


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write scenes b (named), a and c (by a pattern), and `last`, whose prompt, like that of c, is in a file."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "project.yaml", FILM)
    write(tmp_path, "prompts/a.yaml", f"camera: {PROMPT}\naction: A door opens.\n")
    for id in "ab":
        write(tmp_path, f"scenes/{id}.yaml", SCENE.format(id=id, prompt=PROMPT))
    write(tmp_path, "scenes/c.yaml", SCENE.format(id="c", prompt="!include prompts/a.yaml"))
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def read(film: Path) -> LoadedProject:
    return load(film / "project.yaml")


def problems(film: Path) -> list[Problem]:
    with pytest.raises(LtxflowError) as caught:
        read(film)
    return list(caught.value.problems)


def test_scenes_keep_the_order_of_their_files_and_a_pattern_adds_the_rest(film: Path) -> None:
    assert [scene.id for scene in read(film).project.scenes] == ["b", "a", "c", "last"]


def test_a_film_in_files_is_the_film_in_one(film: Path, tmp_path: Path) -> None:
    parts = f"{{camera: {PROMPT}, action: A door opens.}}"
    prompts = {"b": PROMPT, "a": PROMPT, "c": parts, "last": parts}
    inline = [f"  - {{id: {id}, narration: 5s, clips: [{{id: a, prompt: {text}}}]}}" for id, text in prompts.items()]
    (film / "one").mkdir()
    write(film / "one", "project.yaml", "ltxflow: 1\nid: film\nscenes:\n" + "\n".join(inline) + "\n")
    one, several = load(film / "one/project.yaml").project, read(film).project
    assert [(c.path, c.prompt.text, c.index) for c in several.clips] == [
        (c.path, c.prompt.text, c.index) for c in one.clips
    ]


def test_values_have_the_place_in_their_file(film: Path) -> None:
    project = read(film).project
    clip = project.scene("c").clips[0]
    assert str(clip.prompt.spans["action"]) == "prompts/a.yaml:2:9"
    assert clip.span is not None
    assert (clip.span.file, clip.span.line) == ("scenes/c.yaml", 3)
    last = project.scene("last").clips[0].span
    assert last is not None
    assert (last.file, last.line) == ("project.yaml", 6)


def test_every_file_and_the_folder_of_a_pattern_are_inputs(film: Path) -> None:
    files = {str(path.relative_to(film)) for path in read(film).files}
    assert files == {"project.yaml", "scenes", "scenes/a.yaml", "scenes/b.yaml", "scenes/c.yaml", "prompts/a.yaml"}


@pytest.mark.parametrize(
    ("name", "text", "where", "message", "hint"),
    [
        ("scenes/a.yaml", "id: a\nclips: []\n", "scenes/a.yaml:2:8", '"clips" is empty', "write at least one clip"),
        (
            "scenes/a.yaml",
            f"id: b\nclips: [{{id: a, prompt: {PROMPT}}}]\n",
            "scenes/a.yaml:1:5",
            'scene id "b" is used twice',
            "rename one: the first is at line 1 of scenes/b.yaml",
        ),
        (
            "prompts/a.yaml",
            "camra: along\n",
            "prompts/a.yaml:1:1",
            'unknown key "camra"',
            'did you mean "camera"?',
        ),
        (
            "prompts/a.yaml",
            "camera: '{{ nobody }}'\n",
            "prompts/a.yaml:1:9",
            'unknown variable "nobody"',
            "define it under vars at the top of the file",
        ),
        (
            "prompts/a.yaml",
            "a: !include prompts/a.yaml\n",
            "prompts/a.yaml:1:4",
            "includes form a cycle: prompts/a.yaml → prompts/a.yaml",
            "remove one of them",
        ),
        (
            "prompts/a.yaml",
            "!include prompts/b.yaml\n",
            "prompts/a.yaml:1:1",
            "a file cannot consist of one include",
            "name the included file instead",
        ),
        (
            "scenes/c.yaml",
            SCENE.format(id="c", prompt="!include prompts/b.yaml"),
            "scenes/c.yaml:3:25",
            'no file "prompts/b.yaml"',
            'did you mean "prompts/a.yaml"?',
        ),
        (
            "scenes/c.yaml",  # as seen from scenes/, and out of the workspace as seen from the film
            SCENE.format(id="c", prompt="!include ../prompts/a.yaml"),
            "scenes/c.yaml:3:25",
            '"../prompts/a.yaml" leaves the workspace "WORKSPACE"',
            'write "prompts/a.yaml": paths are relative to the folder of project.yaml',
        ),
        (
            "scenes/c.yaml",
            SCENE.format(id="c", prompt="!include a.yaml"),
            "scenes/c.yaml:3:25",
            'no file "a.yaml"',
            'write "scenes/a.yaml": paths are relative to the folder of project.yaml',
        ),
        (
            "scenes/c.yaml",
            SCENE.format(id="c", prompt=PROMPT).replace("prompt:", "reference: b.yaml, prompt:"),
            "scenes/c.yaml:3:28",
            'no file "b.yaml"',
            'write "scenes/b.yaml": paths are relative to the folder of project.yaml',
        ),
        (
            "project.yaml",
            FILM.replace("scenes/b.yaml", "scene/*.yaml"),
            "project.yaml:4:5",
            'no file matches "scene/*.yaml"',
            "write a pattern such as scenes/*.yaml",
        ),
        (
            "project.yaml",
            FILM.replace("scenes/b.yaml", "../*.yaml"),
            "project.yaml:4:5",
            'pattern "../*.yaml" leaves its folder of the project',
            "write a pattern such as scenes/*.yaml",
        ),
    ],
)
def test_mistakes_are_reported_in_their_file(
    film: Path, name: str, text: str, where: str, message: str, hint: str
) -> None:
    write(film, name, text)
    first = problems(film)[0]
    assert (str(first.span), first.message.replace(str(film), "WORKSPACE"), first.hint) == (where, message, hint)


def test_all_broken_files_are_reported_with_the_place_that_names_them(film: Path) -> None:
    write(film, "scenes/a.yaml", "id: [\n")
    write(film, "scenes/c.yaml", SCENE.format(id="c", prompt="!include prompts/c.yaml"))
    write(film, "prompts/c.yaml", "camera: a: b\n")
    first, second = problems(film)
    assert (str(first.span), str(second.span)) == ("scenes/a.yaml:2:1", "prompts/c.yaml:1:10")
    assert first.hint.endswith("(named at project.yaml:5:5)")
    assert second.hint.endswith("(named at scenes/c.yaml:3:25)")


def test_a_text_with_a_merge_conflict_is_refused(film: Path) -> None:
    write(film, "prompts/c.txt", "The camera glides.\n<<<<<<< HEAD\nA door opens.\n=======\nA lamp.\n>>>>>>> side\n")
    write(film, "scenes/c.yaml", SCENE.format(id="c", prompt="!include prompts/c.txt"))
    (problem,) = problems(film)
    assert (str(problem.span), problem.code) == ("prompts/c.txt:2:1", "Y020")
    assert problem.message == 'unresolved merge conflict: "<<<<<<< HEAD"'


def test_an_include_stays_in_the_workspace(film: Path) -> None:
    outside = film.parent / "outside.yaml"
    outside.write_text("camera: x\n")
    (film / "prompts/a.yaml").unlink()
    (film / "prompts/a.yaml").symlink_to(outside)
    found = problems(film)
    assert {problem.code for problem in found} == {"L012"}


def test_includes_are_bounded(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_INCLUDES", 1)
    assert problems(film)[0].message == "the film has more than 1 includes"


def test_a_text_file_is_included_unparsed(film: Path) -> None:
    words = 'A hall: "quiet", it\'s said,\nand {lamps} light up - one by one.\n'
    write(film, "prompts/hall.txt", words)
    write(film, "scenes/c.yaml", SCENE.format(id="c", prompt="!include prompts/hall.txt"))
    loaded = read(film)
    prompt = loaded.project.scene("c").clips[0].prompt
    assert prompt.text == 'A hall: "quiet", it\'s said, and {lamps} light up - one by one.'
    assert str(prompt.spans["text"]) == "prompts/hall.txt:1:1"
    assert film / "prompts/hall.txt" in loaded.files


def test_mistakes_in_a_text_file_are_reported_there(film: Path) -> None:
    write(film, "scenes/c.yaml", SCENE.format(id="c", prompt="!include prompts/hall.md"))
    write(film, "prompts/hall.md", "A hall of {{ nobody }}.\n")
    (problem,) = problems(film)
    assert (str(problem.span), problem.code) == ("prompts/hall.md:1:1", "L030")
    write(film, "prompts/hall.md", " \n")
    (problem,) = problems(film)
    assert (str(problem.span), problem.code) == ("prompts/hall.md:1:1", "Y004")
    assert problem.hint == "write a text into it (named at scenes/c.yaml:3:25)"
