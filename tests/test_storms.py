"""No rerun storms: what an upgrade would render again is named, kept on request, confirmed before it is paid for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.film import Film
from harness.media import write_picture

from ltxflow.build import approval
from ltxflow.models.load import templates_folder
from ltxflow.steps import clip as clip_step

CLIPS = {"hook": list("abcdefgh"), "end": list("abcd")}


@pytest.fixture
def film(film: Film) -> Film:
    """Twelve clips, all rendered."""
    film.write(CLIPS, "", defaults={"clip": {"length": "49f"}})
    film.render()
    assert film.run("build").code == 0
    return film


@pytest.fixture
def upgraded(film: Film, monkeypatch: pytest.MonkeyPatch) -> Film:
    """The same, and ltxflow makes clips another way now."""
    monkeypatch.setattr(clip_step, "VERSION", "99")
    return film


def targets(film: Film, *options: str) -> list[str]:
    plan = film.run("plan", "--json", *options).data
    return [change["target"] for change in plan["changes"] if change["kind"] != "unchanged"]


def test_a_plan_names_the_upgrade_and_how_to_keep_what_there_is(upgraded: Film) -> None:
    (upgrade,) = upgraded.run("plan", "--json").data["upgrades"]
    assert upgrade["cause"] == "ltxflow makes clips another way (version 2 → 99)"
    assert len(upgrade["targets"]) == 12
    told = upgraded.run("plan").out
    assert "12 clips would be rendered again; keep the existing results with: ltxflow accept --all-upgrades" in told


def test_accepting_all_upgrades_renders_nothing(upgraded: Film) -> None:
    dry = upgraded.run("accept", "--all-upgrades", "--dry-run", "--json").data
    assert (len(dry["named"]), dry["accepted"]) == (12, [])
    assert len(upgraded.run("accept", "--all-upgrades", "--json").data["accepted"]) == 12
    assert targets(upgraded) == []
    assert upgraded.run("plan", "--json").data["upgrades"] == []
    built = upgraded.run("build", "--json")
    assert (built.code, built.totals["rendered"], built.totals["hit"]) == (0, 0, 12)
    assert "no upgrade would re-render anything" in upgraded.run("accept", "--all-upgrades").out


def test_a_build_of_few_reports_it_and_asks_nothing(upgraded: Film) -> None:
    with FakeComfy() as server:
        ran = upgraded.run("build", "hook/a", "end/b", "--json", "--server", server.url)
    (notice,) = [event["message"] for event in ran.events("notice") if "another way" in event["message"]]
    assert notice == (
        "ltxflow makes clips another way (version 2 → 99): 2 clips rendered again; "
        "ltxflow accept --all-upgrades keeps the existing results"
    )
    assert (ran.code, ran.totals["rendered"]) == (0, 2)


def test_accepting_takes_selectors(upgraded: Film) -> None:
    accepted = upgraded.run("accept", "end", "hook/a", "--json").data["accepted"]
    assert sorted(accepted) == [*(f"clip:end/{id}@1" for id in "abcd"), "clip:hook/a@1"]
    assert len(targets(upgraded)) == 7
    assert upgraded.run("accept").code == 2
    assert upgraded.run("accept", "nowhere").code == 2


def test_a_clip_whose_author_changed_it_too_is_not_upgrade(upgraded: Film) -> None:
    upgraded.edit("hook-a", "hook a")
    (upgrade,) = upgraded.run("plan", "--json").data["upgrades"]
    assert len(upgrade["targets"]) == 11
    assert "clip:hook/a@1" not in upgrade["targets"]


def test_a_template_that_changed_is_named(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own template, edited where no variable is."""
    own = film.folder / "templates" / "t2v.json.j2"
    own.parent.mkdir()
    source = templates_folder() / "ltx2-19b"
    for path in source.glob("*.j2"):
        shutil.copy(path, own.parent)
    assert film.run("trust").code == 0
    film.render()
    assert film.run("build", "--yes").code == 0
    parts = own.parent / "_parts.j2"
    parts.write_text(parts.read_text().replace('"batch_size": 1', '"batch_size": 2'))
    assert film.run("trust").code == 0
    (upgrade,) = film.run("plan", "--json").data["upgrades"]
    assert upgrade["cause"] == "template t2v of ltx2-19b changed"
    assert len(upgrade["targets"]) == 12


def test_a_build_that_no_one_watches_does_not_pay_again_for_many(upgraded: Film) -> None:
    ran = upgraded.run("build")
    assert ran.code == 2
    assert "the build re-renders 12 clips that are finished" in ran.err
    assert "since ltxflow makes clips another way" in ran.err
    assert "--yes" in ran.err
    assert "ltxflow accept --all-upgrades" in ran.err
    envelope = upgraded.run("build", "--json").envelope
    assert (envelope["exit_code"], envelope["problems"][0]["code"]) == (2, "R001")


@pytest.mark.parametrize("options", [("--yes",), ("--force",), ("hook/a",)])
def test_with_yes_or_for_a_few_it_continues(upgraded: Film, options: tuple[str, ...]) -> None:
    ran = upgraded.run("build", "--server", "http://127.0.0.1:9", *options)
    assert ran.code == 4, "it went on to look for a server"


def test_a_new_film_and_a_few_edits_are_built_without_asking(film: Film, tmp_path: Path) -> None:
    for clip in "abc":
        film.edit(f"hook-{clip}", f"hook {clip}")
    assert film.run("build", "--server", "http://127.0.0.1:9").code == 4
    other = Film(film.folder.parent / "other", film.store).write(CLIPS, "", id="other", seed=99)
    assert other.run("build", "--server", "http://127.0.0.1:9").code == 4


def test_the_limits_are_the_users(upgraded: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "ltxflow"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("ask_above: {clips: 12}\n")
    assert upgraded.run("build", "--server", "http://127.0.0.1:9").code == 4
    (folder / "config.yaml").write_text("ask_above: {clips: 99, minutes: 5}\n")
    (upgraded.store / "speeds.json").write_text(json.dumps({"a": {"rate": 1e-4, "count": 20, "spread": 0.1}}))
    ran = upgraded.run("build", "--server", "http://127.0.0.1:9")
    assert ran.code == 2
    assert "of GPU time" in ran.err
    (folder / "config.yaml").write_text("ask_above: {clips: many}\n")
    ran = upgraded.run("plan")
    assert ran.code == 2
    assert "config.yaml:1:13" in ran.err
    assert "write ask_above:" in ran.err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 4), ("\n", 2), ("no\n", 2)])
def test_a_person_at_a_terminal_is_asked(
    upgraded: Film, answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(face: object, question: str) -> bool:
        asked.append(question)
        return answer.startswith("y")

    monkeypatch.setattr("ltxflow.ui.terminal.Console.confirm", confirm)
    monkeypatch.setattr("ltxflow.ui.terminal.Console.can_ask", True)
    assert upgraded.run("build", "--server", "http://127.0.0.1:9").code == code
    assert asked == [
        "the build re-renders 12 clips that are finished, since ltxflow makes clips another way "
        "(version 2 → 99). Continue?"
    ]


def test_defaults_are_written_down() -> None:
    assert (approval.CLIPS, approval.MINUTES) == (10, 30.0)


# --- before the edit


def test_what_if_a_picture_were_different(film: Film) -> None:
    write_picture(film.folder / "refs" / "hero.png", (200, 10, 10))
    text = film.file.read_text()
    for clip in ("hook-a", "hook-c"):
        head, tail = text.split(f"for {clip};", 1)
        text = f"{head}for {clip};" + tail.replace('"\n', '"\n        reference: refs/hero.png\n', 1)
    film.file.write_text(text)
    film.render()
    assert film.run("build").code == 0
    ran = film.run("plan", "--what-if", "refs/hero.png", "--json")
    (told,) = ran.data["what_if"]
    assert told["again"] == ["clip:hook/a@1", "clip:hook/c@1"]
    assert told["maybe"] == {}
    shown = film.run("plan", "--what-if", "refs/hero.png")
    assert shown.code == 0
    assert "  ~ hook/a    49f  would be rendered again" in shown.out
    assert "10 clips unchanged" in shown.out
    write_picture(film.folder / "refs" / "hero.png", (10, 10, 200))
    assert targets(film) == told["again"], "the edit does what was said"


def test_what_if_is_reported_in_columns(film: Film) -> None:
    write_picture(film.folder / "refs" / "hero.png", (200, 10, 10))
    film.edit("- id: a", "- id: a-longer-name\n        length: 121f\n        reference: refs/hero.png")
    film.edit("- id: c", "- id: c\n        reference: refs/hero.png")
    shown = film.run("plan", "--what-if", "refs/hero.png", "--what-if", "project.yaml").out.splitlines()
    told = [line for line in shown if line.startswith(("  ~", "  ?"))]
    assert told[:4] == [
        "  ~ hook/a-longer-name   121f  would be rendered again",
        "  ~ hook/c                49f  would be rendered again",
        "  ? hook/a-longer-name   121f  if its prompt changes",
        "  ? hook/b                49f  if its prompt changes",
    ]


def test_what_if_of_a_file_that_the_film_does_not_read(film: Film) -> None:
    ran = film.run("plan", "--what-if", "refs/nobody.png")
    assert ran.code == 2
    assert 'the film does not read "refs/nobody.png"' in ran.err


def test_what_if_a_template_were_different(film: Film) -> None:
    template = templates_folder() / "ltx2-19b" / "t2v.json.j2"
    (told,) = film.run("plan", "--what-if", str(template), "--json").data["what_if"]
    assert set(told["maybe"].values()) == {"if what the template makes changes"}
    assert len(told["maybe"]) == 12
