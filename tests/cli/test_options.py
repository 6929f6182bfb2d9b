"""The settings and plan options of a command line."""

from __future__ import annotations

import argparse

import pytest
from harness.film import Film

from ltxflow.cli.options import plan_options, seconds_of, settings_of
from ltxflow.cli.parser import parser_of
from ltxflow.core.errors import LtxflowError
from ltxflow.plan.plan import PlanOptions


def parsed(*argv: str) -> argparse.Namespace:
    return parser_of("plan").parse_intermixed_args(argv)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("steps=6", "steps", 6),
        ("cfg=2.5", "cfg", 2.5),
        ("seed=88", "seed", 88),
        ("reference.strength=0.8", "reference.strength", 0.8),
        ("reference.focus=0.5,0.4", "reference.focus", [0.5, 0.4]),
        ("length=121f", "length", "121f"),
        ("reference.image=none", "reference.image", None),
        ("loras=one.safetensors,two.safetensors", "loras", ["one.safetensors", "two.safetensors"]),
        ("temporal_upscale=true", "temporal_upscale", True),
    ],
)
def test_a_setting_for_this_run(text: str, name: str, value: object) -> None:
    assert settings_of(parsed("--set", text)) == {name: value}


def test_quality_and_takes_have_separate_options() -> None:
    assert settings_of(parsed("--quality", "full", "--takes", "3")) == {"quality": "full", "takes": 3}
    assert settings_of(parsed()) == {}


@pytest.mark.parametrize("text", ["prompt=hello", "=3"])
def test_an_unknown_setting_is_an_error_that_lists_all(text: str) -> None:
    with pytest.raises(LtxflowError) as error:
        settings_of(parsed("--set", text))
    (problem,) = error.value.problems
    assert (error.value.exit_code, problem.code) == (2, "U011")
    assert "reference.strength" in problem.hint


@pytest.mark.parametrize("text", ["steps=many", "cfg=high", "seed=1.5", "reference.strength=strong"])
def test_a_value_that_is_not_a_number_is_an_error(text: str) -> None:
    with pytest.raises(LtxflowError, match="is not a number"):
        settings_of(parsed("--set", text))


def test_the_plan_options_hold_mode_and_selectors(film: Film) -> None:
    session = film.session()
    assert plan_options(parsed("hook", "!end", "--animatic"), session) == PlanOptions("animatic", ("hook", "!end"))
    assert plan_options(parsed("--relength", "--force"), session) == PlanOptions("render", (), True, True)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_a_time_without_a_unit_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 90s"):
        seconds_of("90")


def test_the_command_line_is_the_strongest_layer(film: Film) -> None:
    film.edit('id: "tiny"', 'id: "tiny"\ndefaults: { clip: { steps: 7 } }')
    values = film.run("show", "hook/a", "--set", "steps=5", "--json").data[0]["values"]
    assert (values["steps"]["value"], values["steps"]["origin"]) == (5, "command line")
    assert film.run("show", "hook/a", "--json").data[0]["values"]["steps"]["value"] == 7


BAD = [
    *("length=5", "steps=0", "takes=0", "takes=-1", "seed=-1", "stages=7", "cfg=nan"),
    *("reference.focus=a,b", "reference.focus=0.5", "temporal_upscale=maybe"),
]


@pytest.mark.parametrize("text", BAD)
def test_a_value_that_the_file_could_not_have_is_refused_on_the_command_line_too(film: Film, text: str) -> None:
    ran = film.run("plan", "--set", text)
    assert ran.code == 2, ran
    assert text.partition("=")[0] in ran.err


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("stepz=3", '--set stepz=3: no setting "stepz"', 'did you mean "steps"?'),
        ("steps", "--set steps: missing value", "write: --set steps=VALUE"),
    ],
)
def test_a_setting_written_wrongly_is_corrected(text: str, message: str, hint: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        settings_of(parsed("--set", text))
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint, problem.code) == (message, hint, "U011")
