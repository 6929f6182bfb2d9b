"""The Remotion starter on disk: complete, renewed where it is unchanged, and never written over a person's changes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ltxflow.core.errors import FAILED, USAGE, LtxflowError
from ltxflow.export import remotion
from ltxflow.export.remotion import RECORD, STARTER, starter_files, write_starter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "public" / "scenes").mkdir(parents=True)
    return tmp_path / "remotion"


def export(folder: Path, *, force: bool = False) -> remotion.RemotionExport:
    return write_starter(folder, "film", folder.parent / "public" / "scenes", "timeline.json", force=force)


def upgrade(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A later version of ltxflow, in which this file is another."""
    later = starter_files("film")
    later[path] += b"\n// newer\n"
    monkeypatch.setattr(remotion, "starter_files", lambda project: later)


def test_every_file_that_is_imported_is_there(folder: Path) -> None:
    export(folder)
    for path in folder.rglob("*.ts*"):
        for name in re.findall(r'from "(\.[^"]+)"', path.read_text()):
            wanted = (path.parent / name).resolve()
            assert any(wanted.with_name(wanted.name + end).is_file() for end in ("", ".ts", ".tsx")), f"{path}: {name}"


def test_every_package_that_is_imported_is_requested_and_remotion_is_of_one_version() -> None:
    found = starter_files("film")
    package = json.loads(found["package.json"])
    asked = {**package["dependencies"], **package["devDependencies"]}
    for path, data in found.items():
        for name in re.findall(r'from "([^."][^"]*)"', data.decode()) if path.endswith((".ts", ".tsx")) else []:
            parts = name.split("/")
            assert "/".join(parts[:2] if name.startswith("@") else parts[:1]) in asked, f"{path}: {name}"
    assert len({version for name, version in asked.items() if "remotion" in name}) == 1
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in asked.values())
    assert package["name"] == "film-remotion"


def test_remotion_itself_is_not_among_our_files_and_its_licence_is_named() -> None:
    assert not (STARTER / "node_modules").exists()
    assert "Remotion License" in starter_files("film")["README.md"].decode()


def test_the_record_states_where_the_film_is(folder: Path) -> None:
    export(folder)
    record = json.loads((folder / RECORD).read_text())
    assert (folder / record["publicDir"] / "scenes").samefile(folder.parent / "public" / "scenes")
    assert record["timeline"] == "scenes/timeline.json"


def test_a_second_export_writes_nothing(folder: Path) -> None:
    first = export(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    second = export(folder)
    assert not second.written
    assert {*second.in_place, RECORD} == set(first.written)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_a_person_changed_stays_as_long_as_we_have_nothing_new(folder: Path) -> None:
    export(folder)
    (folder / "src/Title.tsx").write_text("// mine")
    done = export(folder)
    assert done.kept == ["src/Title.tsx"]
    assert not done.written
    assert (folder / "src/Title.tsx").read_text() == "// mine"


def test_what_no_one_touched_is_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(folder)
    (folder / "src/Title.tsx").write_text("// mine")
    upgrade(monkeypatch, "src/Film.tsx")
    done = export(folder)
    assert done.written == ["src/Film.tsx", RECORD]
    assert (folder / "src/Film.tsx").read_text().endswith("// newer\n")
    assert (folder / "src/Title.tsx").read_text() == "// mine"


def test_what_both_have_changed_is_refused_and_nothing_else_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(folder)
    (folder / "src/Title.tsx").write_text("// mine")
    (folder / "src/Film.tsx").unlink()
    upgrade(monkeypatch, "src/Title.tsx")
    with pytest.raises(LtxflowError) as caught:
        export(folder)
    (problem,) = caught.value.problems
    assert "Title.tsx" in problem.message
    assert "left alone" in problem.message
    assert problem.hint.endswith("overwrite it with --force")
    assert caught.value.exit_code == FAILED
    assert not (folder / "src/Film.tsx").exists()
    export(folder, force=True)
    assert (folder / "src/Title.tsx").read_text().endswith("// newer\n")


def test_a_folder_of_another_person_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    (folder / RECORD).write_text('{"schema": "another"}')
    with pytest.raises(LtxflowError) as caught:
        export(folder)
    assert RECORD in caught.value.problems[0].message
    (folder / RECORD).unlink()
    with pytest.raises(LtxflowError) as caught:
        export(folder)
    assert ["package.json" in problem.message for problem in caught.value.problems] == [True]
    assert sorted(path.name for path in folder.iterdir()) == ["package.json"]


def test_a_link_is_never_written_through(folder: Path, tmp_path: Path) -> None:
    (folder / "src").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("theirs")
    (folder / "src/Film.tsx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LtxflowError):
        export(folder)
    export(folder, force=True)
    assert (tmp_path / "elsewhere").read_text() == "theirs"
    assert not (folder / "src/Film.tsx").is_symlink()


def test_not_inside_what_remotion_serves(folder: Path) -> None:
    with pytest.raises(LtxflowError) as caught:
        write_starter(folder.parent / "public" / "remotion", "film", folder.parent / "public" / "scenes", "t.json")
    (problem,) = caught.value.problems
    assert problem.message.endswith('is inside "public", which Remotion serves')
    assert problem.hint == "choose a folder beside it, such as remotion"
    assert caught.value.exit_code == USAGE
