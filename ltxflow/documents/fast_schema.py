"""Whether a document fits its schema: a quick and certain yes. What is wrong, and where, jsonschema says (schema.py).

Nearly every file fits nearly always, and jsonschema takes longer to be imported than this takes for a thousand clips.
A keyword that is not known here is no yes: then jsonschema decides. Every yes of this module is one of jsonschema's.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from ltxflow.core.errors import Problem
from ltxflow.core.files import data_dir
from ltxflow.documents.yaml import Document

Fits = Callable[[Any], bool]

# For readers and editors alone.
_READERS = ["title", "description", "default", "examples", "enumDescriptions", "markdownDescription"]
ANNOTATIONS = frozenset(["$id", "$schema", "$defs", "patternErrorMessage", *_READERS])
Sized = type[str] | type[list[Any]] | type[dict[str, Any]]
_MEMBERS = frozenset(["properties", "patternProperties", "additionalProperties"])  # they only make sense together
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),  # `25.0` is not a whole number here: what follows counts with it
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def check(document: Document, schema_name: str = "project") -> list[Problem]:
    """Given a document, return what its schema has against it, in the order of the file.

    "scene" is the part of the project's schema for one scene.
    """
    if not document.problems and fits(document.data, schema_name):
        return []
    found: list[Problem] = importlib.import_module("ltxflow.documents.schema").check(document, schema_name)
    return found


def fits(data: Any, schema_name: str = "project") -> bool:
    """Given a document's data, return whether it certainly fits."""
    return _fits(schema_name)(data)


def load_schema(name: str) -> dict[str, Any]:
    """Given "project", "lock", … return the published schema of that file, as its author wrote it."""
    path = data_dir() / "schemas" / f"{name}.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """As ECMA 262 reads it: `$` is the end of the text and `\\d` is 0–9, unlike Python's defaults."""
    return re.compile(pattern.replace("$", r"\Z"), re.ASCII)


@functools.cache
def _fits(name: str) -> Fits:
    schema = load_schema("project" if name == "scene" else name)
    known: dict[str, Fits] = {}

    def named(pointer: str) -> Fits:
        """What a `$ref` names, made on first use: our schemas name the same parts many times."""
        if pointer not in known:
            part: Any = schema
            for step in pointer.removeprefix("#/").split("/"):
                part = part[step]
            known[pointer] = fitting(part, named)
        return known[pointer]

    return named("#/$defs/scene") if name == "scene" else fitting(schema, named)


def fitting(schema: Any, named: Callable[[str], Fits]) -> Fits:
    """Given a schema, return what says of a value whether it certainly fits. `named` finds what a `$ref` names."""
    tests: list[Fits] = []
    for keyword, told in schema.items():
        if keyword == "$ref":
            tests.append(named(told))
        elif keyword not in ANNOTATIONS and keyword not in _MEMBERS:
            make = _KEYWORDS.get(keyword)
            tests.append(make(told, named) if make else _unsure)
    if schema.keys() & _MEMBERS:
        tests.append(_members(schema, named))
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _unsure(value: Any) -> bool:
    return False


def _type(told: Any, named: Any) -> Fits:
    kinds = {kind for name in ([told] if isinstance(told, str) else told) for kind in _TYPES[name]}
    return lambda value: type(value) in kinds


def _choice(told: Iterable[Any], named: Any) -> Fits:
    choices = {(type(choice), choice) for choice in told}
    return lambda value: isinstance(value, (str, int, float, type(None))) and (type(value), value) in choices


def _pattern(told: str, named: Any) -> Fits:
    search = compiled(told).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _bound(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Fits]:
    return lambda told, named: lambda value: not isinstance(value, (int, float)) or test(value, told)


def _length(
    kind: type[str] | type[list[Any]] | type[dict[Any, Any]], test: Callable[[int, int], bool]
) -> Callable[[Any, Any], Fits]:
    return lambda told, named: lambda value: not isinstance(value, kind) or test(len(value), told)


def _any_of(told: list[Any], named: Any) -> Fits:
    branches = [fitting(branch, named) for branch in told]
    return lambda value: any(branch(value) for branch in branches)


def _items(told: Any, named: Any) -> Fits:
    fits = fitting(told, named)
    return lambda value: not isinstance(value, list) or all(map(fits, value))


def _required(told: list[str], named: Any) -> Fits:
    names = frozenset(told)
    return lambda value: not isinstance(value, dict) or value.keys() >= names


def _not(told: dict[str, Any], named: Any) -> Fits:
    """Three shapes: keys that exclude each other, pairs of such keys, and texts that are not allowed."""
    if set(told) == {"anyOf"}:
        others = [_not(branch, named) for branch in told["anyOf"]]
        return lambda value: all(other(value) for other in others)
    if set(told) == {"required"}:
        names = frozenset(told["required"])
        return lambda value: not isinstance(value, dict) or not value.keys() >= names
    if set(told) == {"pattern"}:
        search = compiled(told["pattern"]).search
        return lambda value: isinstance(value, str) and search(value) is None
    return _unsure


def _unique(told: bool, named: Any) -> Fits:
    return lambda value: (
        isinstance(value, list) and all(isinstance(v, str) for v in value) and len({*value}) == len(value)
    )


def _names(told: Any, named: Any) -> Fits:
    fits = fitting(told, named)
    return lambda value: not isinstance(value, dict) or all(map(fits, value))


def _members(schema: Any, named: Callable[[str], Fits]) -> Fits:
    """The keys of a mapping and their values, by `properties`, `patternProperties` and `additionalProperties`."""
    own = {key: fitting(part, named) for key, part in schema.get("properties", {}).items()}
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
            if key in own:
                tests.append(own[key])
            if not (all(test(item) for test in tests) if tests else rest(item)):
                return False
        return True

    return fits


_KEYWORDS: dict[str, Callable[[Any, Any], Fits]] = {
    "type": _type,
    "enum": _choice,
    "const": lambda told, named: _choice([told], named),
    "pattern": _pattern,
    "minimum": _bound(lambda value, told: bool(value >= told)),
    "maximum": _bound(lambda value, told: bool(value <= told)),
    "exclusiveMinimum": _bound(lambda value, told: bool(value > told)),
    "exclusiveMaximum": _bound(lambda value, told: bool(value < told)),
    "multipleOf": _bound(lambda value, told: isinstance(value, int) and value % told == 0),
    "minLength": _length(str, lambda size, told: size >= told),
    "maxLength": _length(str, lambda size, told: size <= told),
    "minItems": _length(list, lambda size, told: size >= told),
    "maxItems": _length(list, lambda size, told: size <= told),
    "minProperties": _length(dict, lambda size, told: size >= told),
    "maxProperties": _length(dict, lambda size, told: size <= told),
    "items": _items,
    "anyOf": _any_of,
    "required": _required,
    "not": _not,
    "uniqueItems": _unique,
    "propertyNames": _names,
}
