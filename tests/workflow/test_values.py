"""Promises of workflow/values.py: numbers behind primitives, formulas and pictures are computed as ComfyUI does."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.workflows import Graph, computed, node, with_primitives

from ltxflow.workflow.values import MAX_EXPRESSION, Values, evaluate
from ltxflow.workflow.wiring import Wiring


def values(graph: Graph) -> Values:
    return Values(Wiring(graph))


def value(graph: Graph, link: list[Any]) -> Any:
    return values({**graph, "x": node("X", a=link)}).of("x", "a")


def test_a_primitive_and_what_passes_it_on() -> None:
    graph = {"1": node("PrimitiveInt", value=640), "2": node("Reroute", value=["1", 0])}
    assert value(graph, ["2", 0]) == 640


def test_a_primitive_keeps_its_kind() -> None:
    graph = {"1": node("PrimitiveFloat", value=24.9), "2": node("PrimitiveInt", value=["1", 0])}
    assert value(graph, ["2", 0]) == 24
    large = {"1": node("PrimitiveInt", value=2**53 + 1)}
    assert value(large, ["1", 0]) == 2**53 + 1


@pytest.mark.parametrize(("slot", "result"), [(0, 62.5), (1, 62), (2, True)])
def test_a_formula_has_an_output_of_each_kind(slot: int, result: Any) -> None:
    graph = {"1": node("ComfyMathExpression", expression="a / 2", values__a=125)}
    assert value(graph, ["1", slot]) == result


def test_the_size_of_a_picture_is_measured() -> None:
    graph = computed()
    found = values(graph)
    assert [found.of("40", name) for name in ("width", "height")] == [640, 384]
    assert found.of("40", "length") == 121


def test_a_resized_picture_has_its_new_size() -> None:
    graph = {
        "1": node("LoadImage", image="x.png"),
        "2": node("ResizeImageMaskNode", input=["1", 0], resize_type="scale dimensions"),
        "3": node("LTXVPreprocess", image=["2", 0]),
        "4": node("GetImageSize", image=["3", 0]),
    }
    graph["2"]["inputs"] |= {"resize_type.width": 1280, "resize_type.height": 704}
    assert (value(graph, ["4", 0]), value(graph, ["4", 1]), value(graph, ["4", 2])) == (1280, 704, 1)
    graph["2"]["inputs"]["resize_type"] = "scale longer dimension"
    assert value(graph, ["4", 0]) is None


def test_a_picture_of_a_file_has_the_size_it_is_prepared_for() -> None:
    graph = {"1": node("LoadImage", image="x.png"), "2": node("GetImageSize", image=["1", 0])}
    found = values({**graph, "x": node("X", a=["2", 1])})
    assert found.of("x", "a") is None
    assert found.with_spots("x", "a", {}, (1024, 576)) == 576
    assert found.from_picture("x", "a")


def test_the_frames_of_a_video_are_unknown() -> None:
    graph = {
        "1": node("LoadVideo", file="x.mp4"),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": node("ImageFromBatch", image=["2", 0], batch_index=0, length=121),
        "4": node("GetImageSize", image=["3", 0]),
    }
    assert value(graph, ["4", 2]) is None  # it may have fewer


def test_megapixels_are_sides() -> None:
    graph = {"1": node("ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=0.9, multiple=32)}
    assert (value(graph, ["1", 0]), value(graph, ["1", 1])) == (1280, 736)


@pytest.mark.parametrize("switch", [True, False])
def test_a_switch_gives_one_side(switch: bool) -> None:
    graph = {"1": node("ComfySwitchNode", switch=switch, on_true=1, on_false=2)}
    assert value(graph, ["1", 0]) == (1 if switch else 2)


def test_places_before_an_input_come_farthest_first() -> None:
    graph = {"1": node("PrimitiveInt", value=1280), "2": node("ComfyMathExpression", expression="a/2")}
    graph["2"]["inputs"]["values.a"] = ["1", 0]
    found = values({**graph, "x": node("X", a=["2", 1])})
    assert found.spots("x", "a") == [("1", "value"), ("1", 0), ("2", "expression"), ("2", 1), ("x", "a")]
    assert found.with_spots("x", "a", {("1", "value"): 768}, (0, 0)) == 384
    assert found.with_spots("x", "a", {("2", 1): 5}, (0, 0)) == 5


def test_a_cycle_and_a_long_chain_end() -> None:
    cycle = {"1": node("Reroute", value=["2", 0]), "2": node("Reroute", value=["1", 0])}
    assert value(cycle, ["1", 0]) is None
    chain = {str(n): node("Reroute", value=[str(n + 1), 0]) for n in range(5000)}
    assert value({**chain, "5000": node("PrimitiveInt", value=7)}, ["0", 0]) == 7


def test_a_video_is_not_a_number() -> None:
    graph = {"1": node("LoadVideo", file="x.mp4"), "2": node("GetVideoComponents", video=["1", 0])}
    found = values({**graph, "x": node("X", fps=["2", 2])})
    assert [spot for spot in found.spots("x", "fps")[:-1] if found.holds_number(spot)] == []


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a * b + 1", 121),
        ("(a + b) / 2", 14.5),
        ("-a // 2", -3),
        ("min(a, b)", 5),
        ("round(a / 2)", 2),
        ("ceil(b / 7)", 4),
        ("b if a > 3 else a", 24),
        ("a > b", False),
        ("b % 5", 4),
    ],
)
def test_formulas(text: str, result: float) -> None:
    assert evaluate(text, {"a": 5, "b": 24}) == result


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "c",
        "a / 0",
        "9 ** 9 ** 9",
        "1e15 * 1e15 * 1e15",
        "__import__('os').system('x')",
        "a.real",
        "[a][0]",
        "'x' * 5",
        "min()",
        "lambda: 1",
        "a" + "+a" * MAX_EXPRESSION,
        "max(*[1, 2])",
        "sqrt(-1)",
    ],
)
def test_only_plain_arithmetic_is_computed(text: str) -> None:
    assert evaluate(text, {"a": 5, "b": None, "s": "x"}) is None


def test_what_primitives_feed_is_computed_from_them() -> None:
    found = values(with_primitives())
    assert [found.of("40", name) for name in ("width", "height", "length")] == [640, 384, 97]
