"""A film's checks as thresholds: which layer says what, and what is refused."""

from __future__ import annotations

from argparse import Namespace

import pytest
from film import Film

from ltxflow.media.findings import RULES, Thresholds
from ltxflow.script.checks import NUMBERS, SECONDS, SWITCHES, thresholds
from ltxflow.script.profile import load_profile
from ltxflow.script.settings import GROUPS
from ltxflow.verbs.options import settings_of

CLIP = "        prompt:"


def told(film: Film, at: str = "hook/a") -> Thresholds | None:
    project = film.session().project
    (clip,) = [clip for clip in project.clips if clip.path == at]
    return thresholds(clip, project.profile)


def checks(film: Film, written: str, before: str = CLIP) -> Film:
    return film.edit(before, f"{before[: len(before) - len(before.lstrip())]}checks: {written}\n{before}")


def test_the_profile_says_what_viewers_notice(film: Film) -> None:
    assert told(film) == Thresholds()


@pytest.mark.parametrize("profile", ["ltx2-19b", "ltx2.3-22b", "ltx2.5"])
def test_every_profile_has_every_check_and_every_rule_its_own(profile: str) -> None:
    names = {*SECONDS, *NUMBERS, *SWITCHES}
    assert set(load_profile(profile).checks) == names == {rule.check for rule in RULES.values()}
    assert set(GROUPS["checks"]) == {"all", *names}


def test_a_clip_says_more_than_its_scene_and_that_more_than_the_defaults(film: Film) -> None:
    film.edit("scenes:\n", "defaults: {clip: {checks: {frozen: 2s, silent: -50, cut: false}}}\nscenes:\n")
    film.edit("    clips:\n", "    checks: {frozen: 3s, duplicate: 0.9}\n    clips:\n")
    checks(film, "{frozen: false, black: 0.5s}")
    other = Thresholds(freeze_s=3.0, silent_db=-50.0, cuts=False, duplicate=0.9)
    assert told(film, "hook/b") == other
    assert told(film) == Thresholds(freeze_s=None, black_s=0.5, silent_db=-50.0, cuts=False, duplicate=0.9)
    assert told(film, "end/a") == Thresholds(freeze_s=2.0, silent_db=-50.0, cuts=False)


def test_true_is_what_the_profile_says(film: Film) -> None:
    film.edit("scenes:\n", "defaults: {clip: {checks: {frozen: false, cut: false}}}\nscenes:\n")
    assert told(checks(film, "{frozen: true, cut: true}")) == Thresholds()


def test_all_of_them_are_off_at_once(film: Film) -> None:
    assert told(checks(film, "false")) is None
    assert told(film, "hook/b") == Thresholds()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("checks.frozen=1.5s", "1.5s"),
        ("checks.motion=0.1", 0.1),
        ("checks.silent=false", False),
        ("checks.all=false", False),
        ("reseed=2", 2),
        ("seeds=7,8", [7, 8]),
    ],
)
def test_the_command_line_says_most(film: Film, setting: str, value: object) -> None:
    settings = settings_of(Namespace(set=[setting], quality=None, takes=None))
    assert settings == {setting.partition("=")[0]: value}
    shown = film.run("show", "hook/a", "--resolved", "--set", setting)
    assert shown.code == 0, shown.err
    assert "command line" in shown.out


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("{frozn: 1s}", 'unknown key "frozn"', "frozen"),
        ("{frozen: 1}", "frozen", "1s"),
        ("{frozen: off}", '"off" is ambiguous', "false"),
        ("{duplicate: 1.5}", "duplicate", "1"),
        ("{cut: 3}", "cut", "true"),
    ],
)
def test_what_is_no_threshold_is_told_where_it_stands(film: Film, written: str, message: str, hint: str) -> None:
    ran = checks(film, written).run("check")
    assert ran.code == 2
    line = film.file.read_text().splitlines().index(f"        checks: {written}") + 1
    assert f"project.yaml:{line}:" in ran.err
    assert message in ran.err
    assert hint in ran.err
