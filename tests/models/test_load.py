"""Inheritance of profiles and `Document.over`: a profile contains the differences from the one it extends."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.documents import yaml
from ltxflow.documents.document import Document, shown
from ltxflow.models.load import load_profile, read_lineage, stamps_of, templates_folder
from ltxflow.models.profile import Profile


def write(place: Path, name: str, text: str) -> Path:
    """Write a profile with the common first lines and return its file."""
    file = place / name / "profile.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"ltxflow-profile: 1\nname: {name}\n{text}")
    return file


def load(place: Path, name: str) -> Profile:
    return load_profile(name, [place])


def problems(place: Path, name: str) -> list[Problem]:
    with pytest.raises(LtxflowError) as caught:
        load(place, name)
    return list(caught.value.problems)


# --- one document over another


def over(own: str, base: str) -> Document:
    return yaml.parse(own, "own.yaml").over(yaml.parse(base, "base.yaml"))


@pytest.mark.parametrize(
    ("own", "base", "result"),
    [
        ("a: 2\n", "a: 1\nb: 3\n", {"a": 2, "b": 3}),
        ("a: { y: 2 }\n", "a: { x: 1, y: 1, z: 1 }\n", {"a": {"x": 1, "y": 2, "z": 1}}),
        ("a: { b: { y: null } }\n", "a: { b: { x: 1, y: 1 } }\n", {"a": {"b": {"x": 1}}}),
        ("a: [3]\n", "a: [1, 2]\n", {"a": [3]}),
        ("a: []\n", "a: [1, 2]\n", {"a": []}),
        ("a: null\n", "a: { x: 1 }\nb: 1\n", {"b": 1}),
        ("a: 1\n", "a: { x: 1 }\n", {"a": 1}),
        ("a: { x: 1 }\n", "a: 1\n", {"a": {"x": 1}}),
        ("c: null\n", "a: 1\n", {"a": 1, "c": None}),  # there is nothing to take away: its value is null
    ],
)
def test_mappings_merge_lists_replace_and_null_removes(own: str, base: str, result: dict[str, object]) -> None:
    assert over(own, base).data == result


def test_a_key_keeps_its_order_in_the_base() -> None:
    assert list(over("c: 1\nb: 2\nd: 3\n", "a: 0\nb: 0\nc: 0\n").data) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("path", "file", "line"),
    [
        (("a", "x"), "own.yaml", 3),
        (("a", "y"), "base.yaml", 4),
        (("a", "list", 1), "base.yaml", 7),
        (("own", 0), "own.yaml", 5),
        (("base",), "base.yaml", 1),
        (("a", "list", 1, "not there"), "base.yaml", 7),  # the nearest that is there
    ],
)
def test_every_value_keeps_its_file(path: tuple[str | int, ...], file: str, line: int) -> None:
    base = "base: 1\na:\n  x: 1\n  y: 1\n  list:\n    - 1\n    - 2\n"
    span = over("# own\na:\n  x: 2\nown:\n  - 1\n", base).span(path)
    assert (span.file, span.line) == (file, line)


def test_three_documents_merge() -> None:
    third = yaml.parse("a: { x: 3 }\n", "third.yaml").over(over("a: { y: 2 }\n", "a: { x: 1, y: 1, z: 1 }\n"))
    assert third.data == {"a": {"x": 3, "y": 2, "z": 1}}
    assert [third.span(("a", key)).file for key in "xyz"] == ["third.yaml", "own.yaml", "base.yaml"]


# --- profiles


def test_a_profile_contains_only_differences(tmp_path: Path) -> None:
    write(tmp_path, "mine", "extends: ltx2-19b\ntitle: Mine\nversion: 4\nqualities: { full: { steps: 30 } }\n")
    base, mine = load_profile("ltx2-19b"), load(tmp_path, "mine")
    assert (mine.name, mine.title, mine.version) == ("mine", "Mine", 4)
    assert (mine.qualities["full"].steps, base.qualities["full"].steps) == (30, 20)
    assert mine.qualities["distilled"] == base.qualities["distilled"]
    assert (mine.model, mine.models, mine.negative) == (base.model, base.models, base.negative)


def test_an_extended_profile_may_extend_another(tmp_path: Path) -> None:
    write(tmp_path, "one", "extends: ltx2.3-22b\nqualities: { full: null }\n")
    write(tmp_path, "two", "extends: one\ntitle: Two\n")
    two = load(tmp_path, "two")
    assert set(two.qualities) == {"preview", "distilled"}
    assert two.model == load_profile("ltx2.3-22b").model
    own, ours = tmp_path / "two" / "profile.yaml", templates_folder()
    assert two.files == (
        own,
        tmp_path / "one" / "profile.yaml",
        ours / "ltx2.3-22b" / "profile.yaml",
        ours / "ltx2-19b" / "profile.yaml",
    )
    assert two.sets == ("two", "one", "ltx2.3-22b", "ltx2-19b")


def test_a_profile_that_extends_its_own_name_extends_the_one_that_it_shadows(tmp_path: Path) -> None:
    write(tmp_path, "ltx2-19b", "extends: ltx2-19b\nnegative: { text: blurry }\n")
    assert load(tmp_path, "ltx2-19b").negative == "blurry"
    assert load(tmp_path, "ltx2-19b").model == load_profile("ltx2-19b").model


def test_a_change_of_the_extended_profile_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "one", "extends: ltx2-19b\nnegative: { text: blurry }\n")
    write(tmp_path, "two", "extends: one\n")
    assert load(tmp_path, "two").negative == "blurry"
    write(tmp_path, "one", "extends: ltx2-19b\nnegative: { text: 'blurry, dark' }\n")
    assert load(tmp_path, "two").negative == "blurry, dark"


# --- what is wrong with them


def test_a_missing_base_is_reported_at_extends(tmp_path: Path) -> None:
    file = write(tmp_path, "mine", "extends: ltx2-19\n")
    (problem,) = problems(tmp_path, "mine")
    assert (problem.code, problem.message) == ("F003", 'profile "mine" extends "ltx2-19", which does not exist')
    assert problem.hint == 'did you mean "ltx2-19b"?'
    assert problem.span is not None
    assert (problem.span.file, problem.span.line, problem.span.col) == (shown(file), 3, 10)


def test_a_profile_that_shadows_none_cannot_extend_its_name(tmp_path: Path) -> None:
    write(tmp_path, "mine", "extends: mine\n")
    assert problems(tmp_path, "mine")[0].message == 'profile "mine" extends "mine", which does not exist'


def test_a_cycle_is_shown_whole(tmp_path: Path) -> None:
    write(tmp_path, "a", "extends: b\n")
    write(tmp_path, "b", "extends: c\n")
    file = write(tmp_path, "c", "title: C\nextends: b\n")
    (problem,) = problems(tmp_path, "a")
    assert (problem.code, problem.message) == ("F003", "profiles extend each other in a cycle: b → c → b")
    assert problem.span is not None
    assert (problem.span.file, problem.span.line) == (shown(file), 4)


def test_the_name_of_a_base_is_not_a_path(tmp_path: Path) -> None:
    write(tmp_path, "mine", "extends: ../ltx2-19b\n")
    assert problems(tmp_path, "mine")[0].code == "F003"


@pytest.mark.parametrize("base", ["1", "[ltx2-19b]", "null", "''"])
def test_extends_is_a_name(tmp_path: Path, base: str) -> None:
    file = write(tmp_path, "mine", f"extends: {base}\n")
    for problem in problems(tmp_path, "mine"):
        assert problem.span is not None
        assert problem.span.file == shown(file)


def test_a_mistake_is_reported_in_its_file(tmp_path: Path) -> None:
    base = write(tmp_path, "one", "extends: ltx2-19b\nqualities:\n  full: { steps: 0 }\n")
    own = write(tmp_path, "two", "extends: one\nqualities:\n  distilled: { cgf: 1 }\n")
    found = {(problem.span.file, problem.span.line) for problem in problems(tmp_path, "two") if problem.span}
    assert found == {(shown(base), 5), (shown(own), 5)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("qualities: { distilled: { steps: 9 } }", "9 steps need 10 sigmas"),
        ("qualities: { distilled: null }", 'no quality "distilled"'),
        ("models: { checkpoint: null }", 'no model "checkpoint"'),
    ],
)
def test_a_conflict_with_an_inherited_value_names_the_file_to_fix(tmp_path: Path, change: str, message: str) -> None:
    own = write(tmp_path, "mine", f"extends: ltx2-19b\n{change}\n")
    (problem,) = problems(tmp_path, "mine")
    assert (problem.code, problem.message, problem.hint) == ("F002", message, f"write it in {shown(own)}, too")
    assert problem.span is not None
    assert problem.span.file.endswith("ltx2-19b/profile.yaml")


def test_a_base_that_is_not_yaml_is_reported(tmp_path: Path) -> None:
    base = write(tmp_path, "one", "title: [\n")
    write(tmp_path, "two", "extends: one\n")
    (problem,) = problems(tmp_path, "two")
    assert problem.span is not None
    assert problem.span.file == shown(base)


def test_a_lineage_has_a_stamp_of_each_file(tmp_path: Path) -> None:
    one, two = write(tmp_path, "one", "extends: ltx2-19b\n"), write(tmp_path, "two", "extends: one\n")
    places = [tmp_path, templates_folder()]
    stamps = stamps_of(two, places)
    assert [path for path, _, _ in stamps] == [two, one, templates_folder() / "ltx2-19b" / "profile.yaml"]
    lineage = read_lineage(stamps)
    assert lineage.document.data["name"] == "two"
    assert "extends" in lineage.document.data
