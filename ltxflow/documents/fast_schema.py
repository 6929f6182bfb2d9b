"""Validate data against a schema fast: True is certain, False means that jsonschema decides (schema.py).

Nearly every file is valid, and importing jsonschema takes longer than this takes for a thousand clips. A keyword that
is unknown here gives False. Data that is valid here is valid for jsonschema.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from ltxflow.core.files import data_dir

Fits = Callable[[Any], bool]

# For readers and editors only.
_READERS = ["title", "description", "default", "examples", "enumDescriptions", "markdownDescription"]
ANNOTATIONS = frozenset(["$id", "$schema", "$defs", "patternErrorMessage", *_READERS])
Sized = type[str] | type[list[Any]] | type[dict[str, Any]]
_MEMBERS = frozenset(["properties", "patternProperties", "additionalProperties"])  # evaluated together
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),  # `25.0` is not a whole number here: later code counts with the value
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def fits(data: Any, schema_name: str = "project") -> bool:
    """Return whether data certainly fits a schema. "scene" is the part of the project's schema for one scene."""
    return _fits(schema_name)(data)


def load_schema(name: str) -> dict[str, Any]:
    """Load the published schema of a kind of file: "project", "lock", …"""
    path = data_dir() / "schemas" / f"{name}.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern as ECMA 262 defines it: `$` is the end of the text and `\\d` is 0–9, unlike in Python."""
    return re.compile(pattern.replace("$", r"\Z"), re.ASCII)


@functools.cache
def _fits(name: str) -> Fits:
    schema = load_schema("project" if name == "scene" else name)
    known: dict[str, Fits] = {}

    def named(pointer: str) -> Fits:
        """Return the test for a `$ref`, made on first use: our schemas name the same parts many times."""
        if pointer not in known:
            part: Any = schema
            for step in pointer.removeprefix("#/").split("/"):
                part = part[step]
            known[pointer] = fitting(part, named)
        return known[pointer]

    return named("#/$defs/scene") if name == "scene" else fitting(schema, named)


def fitting(schema: Any, named: Callable[[str], Fits]) -> Fits:
    """Return a test of whether a value certainly fits a schema. `named` returns the test for a `$ref`."""
    tests: list[Fits] = []
    for keyword, expected in schema.items():
        if keyword == "$ref":
            tests.append(named(expected))
        elif keyword not in ANNOTATIONS and keyword not in _MEMBERS:
            make = _KEYWORDS.get(keyword)
            tests.append(make(expected, named) if make else _unsure)
    if schema.keys() & _MEMBERS:
        tests.append(_members(schema, named))
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _unsure(value: Any) -> bool:
    return False


def _type(expected: Any, named: Any) -> Fits:
    kinds = {kind for name in ([expected] if isinstance(expected, str) else expected) for kind in _TYPES[name]}
    return lambda value: type(value) in kinds


def _choice(expected: Iterable[Any], named: Any) -> Fits:
    choices = {(type(choice), choice) for choice in expected}
    return lambda value: isinstance(value, (str, int, float, type(None))) and (type(value), value) in choices


def _pattern(expected: str, named: Any) -> Fits:
    return lambda value: not isinstance(value, str) or compiled(expected).search(value) is not None


def _bound(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Fits]:
    return lambda expected, named: lambda value: not isinstance(value, (int, float)) or test(value, expected)


def _length(
    kind: type[str] | type[list[Any]] | type[dict[Any, Any]], test: Callable[[int, int], bool]
) -> Callable[[Any, Any], Fits]:
    return lambda expected, named: lambda value: not isinstance(value, kind) or test(len(value), expected)


def _any_of(expected: list[Any], named: Any) -> Fits:
    branches = [fitting(branch, named) for branch in expected]
    return lambda value: any(branch(value) for branch in branches)


def _items(expected: Any, named: Any) -> Fits:
    fits = fitting(expected, named)
    return lambda value: not isinstance(value, list) or all(map(fits, value))


def _required(expected: list[str], named: Any) -> Fits:
    names = frozenset(expected)
    return lambda value: not isinstance(value, dict) or value.keys() >= names


def _not(expected: dict[str, Any], named: Any) -> Fits:
    """Support three forms: keys that exclude each other, pairs of such keys, and forbidden texts."""
    if set(expected) == {"anyOf"}:
        others = [_not(branch, named) for branch in expected["anyOf"]]
        return lambda value: all(other(value) for other in others)
    if set(expected) == {"required"}:
        names = frozenset(expected["required"])
        return lambda value: not isinstance(value, dict) or not value.keys() >= names
    if set(expected) == {"pattern"}:
        pattern = expected["pattern"]
        return lambda value: isinstance(value, str) and compiled(pattern).search(value) is None
    return _unsure


def _unique(expected: bool, named: Any) -> Fits:
    return lambda value: (
        isinstance(value, list) and all(isinstance(v, str) for v in value) and len({*value}) == len(value)
    )


def _names(expected: Any, named: Any) -> Fits:
    fits = fitting(expected, named)
    return lambda value: not isinstance(value, dict) or all(map(fits, value))


def _members(schema: Any, named: Callable[[str], Fits]) -> Fits:
    """Test a mapping by `properties`, `patternProperties` and `additionalProperties`.

    The test of a property is made when data has it first: most films use few of the keys there are.
    """
    parts, own = schema.get("properties", {}), dict[str, Fits]()
    matching = [
        (compiled(key).search, fitting(part, named)) for key, part in schema.get("patternProperties", {}).items()
    ]
    other = schema.get("additionalProperties", True)
    rest: Fits = (lambda value: bool(other)) if isinstance(other, bool) else fitting(other, named)

    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        for key, item in value.items():
            tests = [test for search, test in matching if search(key)] if matching else []
            if key in parts:
                if key not in own:
                    own[key] = fitting(parts[key], named)
                tests.append(own[key])
            if not (all(test(item) for test in tests) if tests else rest(item)):
                return False
        return True

    return fits


_KEYWORDS: dict[str, Callable[[Any, Any], Fits]] = {
    "type": _type,
    "enum": _choice,
    "const": lambda expected, named: _choice([expected], named),
    "pattern": _pattern,
    "minimum": _bound(lambda value, expected: bool(value >= expected)),
    "maximum": _bound(lambda value, expected: bool(value <= expected)),
    "exclusiveMinimum": _bound(lambda value, expected: bool(value > expected)),
    "exclusiveMaximum": _bound(lambda value, expected: bool(value < expected)),
    "multipleOf": _bound(lambda value, expected: isinstance(value, int) and value % expected == 0),
    "minLength": _length(str, lambda size, expected: size >= expected),
    "maxLength": _length(str, lambda size, expected: size <= expected),
    "minItems": _length(list, lambda size, expected: size >= expected),
    "maxItems": _length(list, lambda size, expected: size <= expected),
    "minProperties": _length(dict, lambda size, expected: size >= expected),
    "maxProperties": _length(dict, lambda size, expected: size <= expected),
    "items": _items,
    "anyOf": _any_of,
    "required": _required,
    "not": _not,
    "uniqueItems": _unique,
    "propertyNames": _names,
}
