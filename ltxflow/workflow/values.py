"""Compute the numbers of a workflow, and their values if one of them changed. Pure.

A size or a length is often written far from the node that it decides: in a primitive, behind a formula, or in a picture
that is resized and then measured. `Values` computes forwards through the nodes whose arithmetic is known, and lists the
places, farthest first, where another number could have a wanted effect.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.signatures import FILES
from ltxflow.workflow.wiring import Wiring, as_number

# A place that holds a number: an input of a node by its name, or an output by its number.
Spot = tuple[str, str | int]

# A value to compute: an input, an output, or the width, height or number of the pictures at an output.
_Key = tuple[str, str, str | int]

MAX_EXPRESSION = 500  # characters
PAIRS = (
    ("width", "height"),
    ("resize_type.width", "resize_type.height"),
    ("target_width", "target_height"),
    ("custom_width", "custom_height"),
)
# Inputs whose picture or latent a node passes on in the same size.
PASSED = (
    "image",
    "images",
    "pixels",
    "input",
    "video",
    "samples",
    "latent_image",
    "latent",
    "av_latent",
    "video_latent",
)
# Classes that measure a picture → their outputs for width, height and number.
MEASURES: Mapping[str, tuple[int, int, int]] = {
    "GetImageSize": (0, 1, 2),
    "GetImageSize+": (0, 1, 2),
    "GetImageSizeAndCount": (1, 2, 3),
}
WHOLE = frozenset({"PrimitiveInt", "INTConstant", "Int", "easy int"})
BROKEN = frozenset({"PrimitiveFloat", "FloatConstant", "Float", "easy float"})
ANYTHING = ("value", "text", "string", "prompt", "Number", "number")
_MATH = re.compile(r"ComfyMathExpression|MathExpression\|pysssss|SimpleMath\+|SimpleCalculatorKJ")


@dataclass
class Values:
    """The values of a workflow's inputs and outputs, as far as they can be computed."""

    wiring: Wiring
    known: dict[_Key, Any] = field(default_factory=dict)
    needs: dict[_Key, list[_Key]] = field(default_factory=dict)

    def of(self, node: str, name: str) -> Any:
        """Return the value of an input; None if it cannot be computed."""
        return self._compute(("in", node, name), {}, self.known)

    def number(self, node: str, name: str) -> float | None:
        return as_number(self.of(node, name))

    def with_spots(self, node: str, name: str, spots: Mapping[Spot, Any], picture: tuple[float, float]) -> Any:
        """Return the value of an input with other values at `spots`, and pictures of files of this size."""
        given: dict[_Key, Any] = {}
        for (id, place), value in spots.items():
            given[("in" if isinstance(place, str) else "out", id, place)] = value
        return self._compute(("in", node, name), given, {}, picture)

    def spots(self, node: str, name: str) -> list[Spot]:
        """Return every place before an input that decides it, farthest first, then the input itself."""
        distance: dict[_Key, int] = {("in", node, name): 0}
        todo: list[_Key] = [("in", node, name)]
        for key in todo:  # grows
            for needed in self._needs(key):
                if needed not in distance:
                    distance[needed] = distance[key] + 1
                    todo.append(needed)
        found: dict[Spot, int] = {}
        for key, steps in distance.items():
            kind, id, place = key
            if kind == "in" and not isinstance(self.wiring.inputs(id).get(str(place)), list):
                found[id, str(place)] = steps
            elif kind == "out":
                found[id, int(place)] = steps
        found.pop((node, name), None)
        return [*sorted(found, key=lambda spot: -found[spot]), (node, name)]

    def is_set_by_hand(self, node: str, name: str) -> bool:
        """Return whether an input is a literal true or false, there or in a node that only holds it."""
        id = node
        for _ in range(len(self.wiring.graph)):
            link = self.wiring.link(id, name)
            if link is None:
                return isinstance(self.wiring.inputs(id).get(name), bool)
            id, name = link[0], self._passed_on(link[0])
            if not name:
                return False
        return False

    def holds_number(self, spot: Spot) -> bool:
        """Return whether a place holds a number: written, computed or measured."""
        id, place = spot
        if isinstance(place, str):
            return as_number(self.wiring.inputs(id).get(place)) is not None
        if self.wiring.class_of(id) in MEASURES:
            return True
        return as_number(self._compute(("out", id, place), {}, self.known)) is not None

    def from_picture(self, node: str, name: str) -> bool:
        """Return whether an input follows the size of a picture that is loaded from a file."""
        seen: set[_Key] = {("in", node, name)}
        todo: list[_Key] = [("in", node, name)]
        while todo:
            key = todo.pop()
            if key[0] in ("w", "h") and "image" in FILES.get(self.wiring.class_of(key[1]), ()):
                return True
            new = [needed for needed in self._needs(key) if needed not in seen]
            seen.update(new)
            todo += new
        return False

    # ---- computing

    def _compute(
        self,
        wanted: _Key,
        given: Mapping[_Key, Any],
        known: dict[_Key, Any],
        picture: tuple[float, float] | None = None,
    ) -> Any:
        """Compute a key after all that it needs. No recursion: chains may be long, and form cycles."""
        stack: list[tuple[_Key, Iterator[_Key]]] = []
        running: set[_Key] = set()
        if wanted not in known:
            stack.append((wanted, iter(() if wanted in given else self._needs(wanted))))
            running.add(wanted)
        while stack:
            key, rest = stack[-1]
            needed = next((one for one in rest if one not in known and one not in running), None)
            if needed is not None:
                stack.append((needed, iter(() if needed in given else self._needs(needed))))
                running.add(needed)
                continue
            stack.pop()
            running.discard(key)
            try:
                known[key] = given[key] if key in given else self._result(key, known, picture)
            except (ArithmeticError, ValueError, TypeError, KeyError):
                known[key] = None
        return known[wanted]

    def _needs(self, key: _Key) -> list[_Key]:
        if key not in self.needs:
            self.needs[key] = self._found_needs(key)
        return self.needs[key]

    def _found_needs(self, key: _Key) -> list[_Key]:
        kind, id, place = key
        inputs = self.wiring.inputs(id)
        if kind == "in":
            link = self.wiring.link(id, str(place))
            return [("out", link[0], link[1])] if link else []
        if kind == "out":
            class_ = self.wiring.class_of(id)
            if _MATH.fullmatch(class_):
                return [("in", id, name) for name in inputs if name == "expression" or _variable(name)]
            if class_ in MEASURES:
                image = next((link for link in self.wiring.linked(id, "image")), None)
                outs = MEASURES[class_]
                if image and place in outs:
                    return [("whn"[outs.index(int(place))], image[0], image[1])]
                return []
            if class_ == "ComfySwitchNode":
                return [("in", id, name) for name in ("switch", "on_false", "on_true") if name in inputs]
            if class_ == "ResolutionSelector":
                return [("in", id, name) for name in inputs]
            passed = self._passed_on(id)
            return [("in", id, passed)] if passed else []
        return self._size_needs(kind, id, int(place))

    def _passed_on(self, id: str) -> str:
        """Return the input whose value a node only passes on, "" for other nodes."""
        inputs = self.wiring.inputs(id)
        if len(inputs) == 1:
            return next(iter(inputs))
        return next((name for name in ANYTHING if name in inputs and self.wiring.is_primitive(id)), "")

    def _size_needs(self, kind: str, id: str, slot: int) -> list[_Key]:
        inputs, class_ = self.wiring.inputs(id), self.wiring.class_of(id)
        if kind in "wh":
            pair = self.pair(id)
            if pair:
                return [("in", id, pair["wh".index(kind)])]
            if class_ == "ImageScaleBy" or class_ == "LatentUpscaleBy":
                return [("in", id, "scale_by"), *self._size_source(kind, id)]
        elif class_ == "ImageFromBatch":
            is_video = any(self.wiring.loads_video(one) for one in self.wiring.upstream(id))
            return [] if is_video else [("in", id, "length")]  # a video may have fewer
        elif class_ == "RepeatImageBatch":
            return [("in", id, "amount"), *self._size_source(kind, id)]
        elif "batch_size" in inputs and not any(name in inputs for name in PASSED):
            return [("in", id, "batch_size")]
        return self._size_source(kind, id)

    def _size_source(self, kind: str, id: str) -> list[_Key]:
        if "pscale" in self.wiring.class_of(id) and "LatentUpsampler" not in self.wiring.class_of(id):
            return []
        for name in PASSED:
            for source, slot in self.wiring.linked(id, name):
                return [(kind, source, slot)]
        return []

    def pair(self, id: str) -> tuple[str, str] | None:
        """Return the two inputs by which a node sets the size of its picture, None without both."""
        inputs = self.wiring.inputs(id)
        if str(inputs.get("resize_type", "scale dimensions")) != "scale dimensions":
            return None
        return next((pair for pair in PAIRS if pair[0] in inputs and pair[1] in inputs), None)

    def _result(self, key: _Key, known: Mapping[_Key, Any], picture: tuple[float, float] | None) -> Any:
        kind, id, place = key
        needs = self._needs(key)
        if kind == "in":
            return known.get(needs[0]) if needs else _literal(self.wiring.inputs(id).get(str(place)))
        if kind == "out":
            return self._output(id, int(place), needs, known)
        if "image" in FILES.get(self.wiring.class_of(id), ()):
            if kind == "n":
                return 1
            return picture["wh".index(kind)] if picture else None
        return self._size(kind, id, needs, known)

    def _output(self, id: str, slot: int, needs: list[_Key], known: Mapping[_Key, Any]) -> Any:
        class_ = self.wiring.class_of(id)
        values = {str(name): known.get(("in", id, name)) for _, _, name in needs}
        if _MATH.fullmatch(class_):
            names = {_variable(name): value for name, value in values.items() if name != "expression"}
            result = evaluate(str(values.get("expression", "")), names)
            return None if result is None else _kind_of(class_, slot)(result)
        if class_ in MEASURES:
            return known.get(needs[0]) if needs else None
        if class_ == "ComfySwitchNode":
            switch = values.get("switch")
            return values.get("on_true" if switch else "on_false") if isinstance(switch, bool) else None
        if class_ == "ResolutionSelector":
            return _resolution(values, slot)
        value = known.get(needs[0]) if needs else None
        number = as_number(value)
        if class_ in WHOLE and number is not None:
            return int(value)  # type: ignore[arg-type]  # a number; of a large one float would lose digits
        if class_ in BROKEN and number is not None:
            return number
        return value

    def _size(self, kind: str, id: str, needs: list[_Key], known: Mapping[_Key, Any]) -> Any:
        values = [as_number(known.get(key)) for key in needs]
        if not values or any(value is None for value in values):
            return None
        numbers = [value for value in values if value is not None]
        class_ = self.wiring.class_of(id)
        if kind in "wh" and class_ in ("ImageScaleBy", "LatentUpscaleBy"):
            return round(numbers[0] * numbers[1])
        if kind == "n" and class_ == "RepeatImageBatch":
            return numbers[0] * numbers[1]
        if kind in "wh" and not self.pair(id) and self.wiring.doubles(id):
            return numbers[0] * 2
        if kind in "wh" and self.pair(id) and numbers[0] <= 0:
            return None  # 0: follows from the other side
        return numbers[0]


def _literal(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else None


def _variable(name: str) -> str:
    """Return the variable of a formula that an input sets, "" for other inputs: `values.a`, or `a`."""
    short = name.rpartition(".")[2]
    return short if re.fullmatch(r"[a-z]", short) else ""


def _kind_of(class_: str, slot: int) -> Callable[[Any], Any]:
    """Return the conversion of a formula's output: to a whole number, or one with a fraction."""
    if class_ in ("ComfyMathExpression", "SimpleCalculatorKJ"):
        return (float, int, bool)[slot] if slot < 3 else float
    if class_ == "SimpleMath+":
        return (round, float)[slot] if slot < 2 else float
    return (int, float)[slot] if slot < 2 else float


def _resolution(values: Mapping[str, Any], slot: int) -> int | None:
    """Return a side of a picture with this aspect and number of megapixels (ComfyUI `nodes_resolution.py`)."""
    shape = re.match(r"(\d+):(\d+)", str(values.get("aspect_ratio", "")))
    size, step = as_number(values.get("megapixels")), as_number(values.get("multiple"))
    if not shape or not size or not step:
        return None
    sides = int(shape[1]), int(shape[2])
    scale = math.sqrt(size * 1024 * 1024 / (sides[0] * sides[1]))
    return round(sides[min(slot, 1)] * scale / step) * int(step)


# ------------------------------------------------------------------------------------------------ formulas

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "int": int,
    "float": float,
}
_LIMIT = 1e15


def evaluate(expression: str, names: Mapping[str, Any]) -> float | None:
    """Return the value of a formula of plain arithmetic; None for any other, and with unknown values."""
    if not expression.strip() or len(expression) > MAX_EXPRESSION:
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, names)
    except (SyntaxError, ArithmeticError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, names: Mapping[str, Any]) -> float | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, int | float) else None
    if isinstance(node, ast.Name):
        value = names.get(node.id)
        return value if isinstance(value, int | float) else None
    parts: list[ast.expr]
    apply: Callable[..., Any]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        parts, apply = [node.left, node.right], _BINARY[type(node.op)]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        parts, apply = [node.operand], operator.neg if isinstance(node.op, ast.USub) else operator.pos
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        parts, apply = [node.left, node.comparators[0]], _COMPARE[type(node.ops[0])]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        if node.keywords or len(node.args) > 16:
            return None
        parts, apply = node.args, _FUNCTIONS[node.func.id]
    elif isinstance(node, ast.IfExp):
        test = _value(node.test, names)
        return None if test is None else _value(node.body if test else node.orelse, names)
    else:
        return None
    values: list[float] = []
    for part in parts:
        value = _value(part, names)
        if value is None or abs(value) > _LIMIT:
            return None
        values.append(value)
    result = apply(*values)
    return result if isinstance(result, int | float) and math.isfinite(result) else None
