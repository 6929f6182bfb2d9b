"""Checks of a film as thresholds: layers, and invalid values."""

from __future__ import annotations

import base64
import json
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.film import Film

from ltxflow.cli.options import settings_of
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.lock.model import Lock, LockTake, with_take
from ltxflow.media.findings import (
    PRINT_FORMAT,
    PRINTS,
    RULES,
    WAVES,
    ClipRequirements,
    Findings,
    FrameRange,
    Thresholds,
)
from ltxflow.models.load import load_profile
from ltxflow.plan.review import Review
from ltxflow.project.settings import GROUPS, NUMBERS, SECONDS, SWITCHES, thresholds
from ltxflow.steps import inspect
from ltxflow.store.traces import Trace

CLIP = "        prompt:"


def thresholds_of(film: Film, at: str = "hook/a") -> Thresholds | None:
    project = film.session().project
    (clip,) = [clip for clip in project.clips if clip.path == at]
    return thresholds(clip, project.profile)


def checks(film: Film, written: str, before: str = CLIP) -> Film:
    return film.edit(before, f"{before[: len(before) - len(before.lstrip())]}checks: {written}\n{before}")


def test_the_profile_has_thresholds_that_viewers_notice(film: Film) -> None:
    assert thresholds_of(film) == Thresholds()


@pytest.mark.parametrize("profile", ["ltx2-19b", "ltx2.3-22b", "ltx2.5"])
def test_every_profile_has_every_check_and_every_rule_its_own(profile: str) -> None:
    names = {*SECONDS, *NUMBERS, *SWITCHES}
    assert set(load_profile(profile).checks) == names == {rule.check for rule in RULES.values()}
    assert set(GROUPS["checks"]) == {"all", *names}


def test_a_clip_overrides_its_scene_and_a_scene_the_defaults(film: Film) -> None:
    film.edit("scenes:\n", "defaults: {clip: {checks: {frozen: 2s, silent: -50, cut: false}}}\nscenes:\n")
    film.edit("    clips:\n", "    checks: {frozen: 3s, duplicate: 0.9}\n    clips:\n")
    checks(film, "{frozen: false, black: 0.5s}")
    other = Thresholds(freeze_s=3.0, silent_db=-50.0, cuts=False, duplicate=0.9)
    assert thresholds_of(film, "hook/b") == other
    assert thresholds_of(film) == Thresholds(freeze_s=None, black_s=0.5, silent_db=-50.0, cuts=False, duplicate=0.9)
    assert thresholds_of(film, "end/a") == Thresholds(freeze_s=2.0, silent_db=-50.0, cuts=False)


def test_true_is_the_threshold_of_the_profile(film: Film) -> None:
    film.edit("scenes:\n", "defaults: {clip: {checks: {frozen: false, cut: false}}}\nscenes:\n")
    assert thresholds_of(checks(film, "{frozen: true, cut: true}")) == Thresholds()


def test_all_of_them_are_off_at_once(film: Film) -> None:
    assert thresholds_of(checks(film, "false")) is None
    assert thresholds_of(film, "hook/b") == Thresholds()


WANTED = ClipRequirements(97, 24, (768, 512))
FINE = Findings(
    frames=97,
    seconds=4.042,
    frozen=FrameRange(),
    frozen_share=0.0,
    black=FrameRange(),
    motion_mean=0.5,
    motion_p90=0.9,
    luma=0.4,
    contrast=0.2,
    cuts=(),
    fingerprint=PRINT_FORMAT + base64.b64encode(bytes(PRINTS * (WAVES**2 - 1))).decode(),
    width=768,
    height=512,
    fps=24.0,
    has_sound=True,
    sound_seconds=4.042,
    rms_db=-25.0,
)
FAULTS: dict[str, dict[str, Any]] = {
    "Q101": {"frozen": FrameRange(0, 4)},
    "Q102": {"black": FrameRange(0, 1)},
    "Q103": {"motion_mean": 0.0},
    "Q104": {"cuts": (1.0,)},
    "Q105": {"has_sound": False},
    "Q106": {"rms_db": -90.0},
    "Q107": {"silence": FrameRange(1, 3)},
    "Q108": {"top_share": 0.5, "top_pile": 5.0},
    "Q109": {"sound_seconds": 1.0},
    "Q110": {},
    "Q111": {"width": 320},
    "Q112": {"fps": 25.0},
    "Q113": {"frames": 9},
}
LEVELS = {
    "clip": (CLIP, "        {}\n        prompt:"),
    "scene": ("    clips:\n", "    {}\n    clips:\n"),
    "film": ("scenes:\n", "defaults: {{clip: {{{}}}}}\nscenes:\n"),
}


def codes(film: Film, code: str) -> set[str]:
    """Return the review of a film's first clip, whose second take has that fault and may equal the first."""
    project = film.session().project
    (clip,) = [clip for clip in project.clips if clip.path == "hook/a"]
    found = {Digest("1" * 64): FINE, Digest("2" * 64): replace(FINE, **FAULTS[code])}
    traces = {
        inspect.action_of(video).key: Trace(
            inspect.action_of(video).key, {}, {"findings": Output(video, findings.as_json())}
        )
        for video, findings in found.items()
    }
    lock = Lock()
    if code == "Q110":
        first = LockTake(Key("0" * 64), 1, Digest("1" * 64), 97, outputs={"published": Digest("1" * 64)})
        lock = with_take(lock, "hook/a", 1, first)
    verdict = Review(lock, traces.get).verdict_of(clip, 2, Digest("2" * 64), project.profile, WANTED)
    assert verdict is not None
    return {problem.code for problem in verdict.problems}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("code", RULES)
def test_every_rule_can_be_ignored_at_every_level(film: Film, code: str, level: str) -> None:
    """A rule is switched off by its check and by its code."""
    assert codes(film, code) == {code}
    before, after = LEVELS[level]
    written = film.file.read_text()
    for silenced in (f"checks: {{{RULES[code].check}: false}}", f"ignore: [{code}]"):
        film.file.write_text(written.replace(before, after.format(silenced), 1))
        assert codes(film, code) == set()


def test_a_stronger_layer_decides_what_is_ignored(film: Film) -> None:
    film.edit("scenes:\n", "defaults: {clip: {ignore: [Q101]}}\nscenes:\n")
    film.edit(CLIP, f"        ignore: []\n{CLIP}")
    assert codes(film, "Q101") == {"Q101"}


ROW = re.compile(r"\| (Q\d{3}) \| `(\w+)` \| [^|]+ \| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| ([a-z ]+) \|")
DOC = (Path(__file__).parents[2] / "docs" / "how-to" / "checks.md").read_text()


def test_the_docs_list_every_rule_with_threshold_and_effect_of_a_seed() -> None:
    profiles = [load_profile(name) for name in ("ltx2-19b", "ltx2.3-22b", "ltx2.5")]
    rows = {row[0]: row[1:] for row in ROW.findall(DOC)}
    assert rows == {
        code: (rule.check, *(json.dumps(each.checks[rule.check]).strip('"') for each in profiles), rule.seed)
        for code, rule in RULES.items()
    }


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
def test_the_command_line_overrides(film: Film, setting: str, value: object) -> None:
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
def test_an_invalid_threshold_is_reported_at_its_place(film: Film, written: str, message: str, hint: str) -> None:
    ran = checks(film, written).run("check")
    assert ran.code == 2
    line = film.file.read_text().splitlines().index(f"        checks: {written}") + 1
    assert f"project.yaml:{line}:" in ran.err
    assert message in ran.err
    assert hint in ran.err
