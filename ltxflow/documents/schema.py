"""Check a document against a published JSON Schema and explain its errors in plain words, with their places.

The only importer of jsonschema. Whether ids repeat or files exist is checked by project.load.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ltxflow.core.errors import Problem, Span, problem
from ltxflow.documents.document import Document, KeyPath
from ltxflow.documents.fast_schema import ANNOTATIONS, compiled, fits, load_schema

if TYPE_CHECKING:
    from jsonschema import ValidationError

MOST_REPORTED = 100  # problems of one file

_Found = tuple[Problem, KeyPath, bool]  # a problem without a span, the path of its value, whether it points at the key

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
# Objects whose keys people put one level too high or too low, by their title in the schema.
_PLACES = {
    "project": "the top of the file",
    "scene": "a scene",
    "clip": "a clip",
    "defaults.scene": "defaults.scene",
    "defaults.clip": "defaults.clip",
}
_UNITS = {
    "": None,
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "f": "f", "fr": "f", "frame": "f", "frames": "f",
}  # fmt: skip


def check(document: Document, schema_name: str = "project") -> list[Problem]:
    """Return the schema's problems of a document, in the order of the file.

    "scene" is the part of the project's schema for one scene. Values that the YAML parser refused
    (`document.problems`) are not reported again. jsonschema is loaded only for a document that may not fit.
    """
    if not document.problems and fits(document.data, schema_name):
        return []
    return explain(document, schema_name)


def explain(document: Document, schema_name: str = "project") -> list[Problem]:
    """Return the problems that jsonschema finds in a document, as check() does."""
    schema = _resolved(schema_name)
    refused = {each.span for each in document.problems}
    problems: dict[tuple[Span, str], Problem] = {}
    errors = list(_validator(schema_name).iter_errors(document.data))
    misspelled = {tuple(error.absolute_path) for error in errors if error.validator == "pattern"}
    for error in errors:
        if error.validator == "maxLength" and tuple(error.absolute_path) in misspelled:
            continue  # a text in place of a duration is of the wrong form rather than too long
        for found, path, is_key in _explain(error, schema, document):
            span = document.key_span(path) if is_key else document.span(path)
            if found.code != "S102" and span in refused:
                continue
            problems.setdefault((span, found.message), replace(found, span=span))
    ordered = sorted(problems.values(), key=lambda each: each.span or Span("", 0, 0))
    if len(ordered) > MOST_REPORTED:
        more = problem("S100.more", ordered[MOST_REPORTED].span, count=len(ordered) - MOST_REPORTED)
        return [*ordered[:MOST_REPORTED], more]
    return ordered


# ---- preparing the schema


@functools.cache
def _resolved(name: str) -> dict[str, Any]:
    """Return the schema with every `$ref` resolved, which is faster to check. Our schemas do not recurse."""
    if name == "scene":
        branches = _resolved("project")["properties"]["scenes"]["items"]["anyOf"]
        scene: dict[str, Any] = next(branch for branch in branches if branch["type"] == "object")
        return scene
    schema = load_schema(name)

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            target: Any = schema
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            part = {**target, **{key: value for key, value in part.items() if key != "$ref"}}
            return inline(part)
        return {key: inline(value) for key, value in part.items()}

    whole: dict[str, Any] = inline({key: value for key, value in schema.items() if key != "$defs"})
    return whole


@functools.cache
def _validator(name: str) -> Any:
    return _validator_class()(_bare(_resolved(name)))


_UNREAD = ANNOTATIONS - {"title", "patternErrorMessage"}  # these two are used in messages


def _bare(part: Any, is_names: bool = False) -> Any:
    """Return the schema without annotations: every keyword costs time at every value."""
    if isinstance(part, list):
        return [_bare(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _bare(value, key in ("properties", "patternProperties"))
        for key, value in part.items()
        if is_names or key not in _UNREAD
    }


@functools.cache
def _validator_class() -> Any:
    """Return a validator with our types and messages. jsonschema is imported here: few documents need it."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        is_missing = instance == "" and schema.get("minLength")  # reported by minLength
        if isinstance(instance, str) and not is_missing and not compiled(pattern).search(instance):
            yield ValidationError("pattern")

    def required(validator: Any, keys: list[str], instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, dict) and not instance.keys() >= set(keys):
            yield ValidationError("required")  # one error for all missing keys: they have the same place

    def any_of(validator: Any, branches: list[Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
        """Yield the errors of the branch with the value's type; of several such branches, of the nearest one."""
        fitting = [(i, branch) for i, branch in enumerate(branches) if _fits(branch, instance)]
        if not fitting:
            yield ValidationError("no branch has this type")
        elif len(fitting) == 1:
            i, branch = fitting[0]
            yield from validator.descend(instance, branch, schema_path=i)
        else:
            tried = [list(validator.descend(instance, branch, schema_path=i)) for i, branch in fitting]
            yield from min(tried, key=len)

    def one_of(validator: Any, branches: list[Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
        errors = list(any_of(validator, branches, instance, schema))
        yield from errors or Draft202012Validator.VALIDATORS["oneOf"](validator, branches, instance, schema)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda checker, value: _is_type(value, "integer"))
    keywords = {"anyOf": any_of, "oneOf": one_of, "pattern": pattern, "required": required}
    extend: Any = validators.extend  # jsonschema has no types for it
    return extend(Draft202012Validator, keywords, type_checker=types)


def _is_type(value: Any, name: str) -> bool:
    """Return whether a value has a type of JSON Schema, except that `25.0` is not an integer here."""
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _PYTHON_TYPES[name])


def _types(schema: Mapping[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    types = _types(schema)
    return not types or any(_is_type(value, name) for name in types)


# ---- explaining errors


def _explain(error: ValidationError, whole: Mapping[str, Any], document: Document) -> Iterator[_Found]:
    path = tuple(error.absolute_path)
    schema = _around(error, whole)
    value: Any = error.instance
    keyword = str(error.validator)
    if value is None and keyword in ("type", "enum", "const", "anyOf", "oneOf"):
        example = _example(schema)
        hint = f"write one, such as {example}" if example else "write one, or remove it"
        yield problem("S112", hint=hint, subject=_subject(path)), path, False
    elif keyword == "additionalProperties":
        yield from _explain_unknown(path, schema, value, whole)
    elif keyword == "required":
        yield from _explain_missing(path, schema, value)
    elif keyword == "not":
        yield from _explain_not(path, schema, value)
    elif keyword == "uniqueItems":
        yield from _explain_repeated(path, value)
    elif keyword in ("type", "anyOf", "oneOf"):
        yield _explain_type(path, schema, value, document.as_written(path)), path, False
    elif keyword in EXPLANATIONS:
        yield EXPLANATIONS[keyword](path, schema, value), path, False
    else:
        yield problem("S100.schema", subject=_subject(path), reason=error.message), path, False


def _explain_unknown(path: KeyPath, schema: Any, value: Any, whole: Mapping[str, Any]) -> Iterator[_Found]:
    allowed = list(schema.get("properties", {}))
    patterns = list(schema.get("patternProperties", {}))
    for key in value:
        if key in allowed or any(compiled(pattern).search(key) for pattern in patterns):
            continue
        at = (*path, key)
        if patterns:
            name = re.sub(r"\W+", "_", key, flags=re.ASCII).strip("_")
            name = f"_{name}" if name[:1].isdigit() else name
            hint = "use letters, digits and underscores" + (f": write {name}" if name else "")
            yield problem("S104.key", hint=hint, key=key, parent=path[-1] if path else ""), at, True
        else:
            yield problem("S101", hint=_key_hint(key, allowed, whole), key=key), at, True


def _key_hint(key: str, allowed: Sequence[str], whole: Mapping[str, Any]) -> str:
    homes = [place for place, keys in _homes(whole) if key in keys]
    if homes:
        return f'"{key}" belongs to {_either(homes)}'
    word = key.lower().replace("-", "_")
    if near := _near(word, allowed):
        return f'did you mean "{near}"?'
    if near := _near(word, [name for _, keys in _homes(whole) for name in sorted(keys)], 0.8):
        places = [place for place, keys in _homes(whole) if near in keys]
        return f'did you mean "{near}"? it belongs to {_either(places)}'
    return f"allowed here: {', '.join(allowed)}" if allowed else "remove it"


def _homes(whole: Any) -> list[tuple[str, frozenset[str]]]:
    """Return the places of _PLACES that are in the schema, each with its keys."""
    found: dict[str, frozenset[str]] = {}
    todo = [_resolved("project") if whole.get("title") == "scene" else whole]
    while todo:
        part = todo.pop(0)
        if isinstance(part, list):
            todo += part
        elif isinstance(part, dict):
            place = _PLACES.get(str(part.get("title")))
            if place and "properties" in part:
                found.setdefault(place, frozenset(part["properties"]))
            todo += [value for value in part.values() if isinstance(value, (dict, list))]
    return [(place, found[place]) for place in _PLACES.values() if place in found]


def _explain_missing(path: KeyPath, schema: Any, value: Any) -> Iterator[_Found]:
    title = str(schema.get("title", "mapping")).partition(":")[0]
    name = value.get("id")
    where = f'{title} "{name}"' if isinstance(name, str) and path else f"this {title}"
    for key in schema["required"]:
        if key not in value:
            example = _example(schema.get("properties", {}).get(key, {}))
            hint = f"add one, such as {key}: {example}" if example else f'add "{key}"'
            yield problem("S102", hint=hint, key=key, where=where), path, False


def _around(error: ValidationError, whole: Any) -> Any:
    """Return the schema with the keyword that failed, annotations included."""
    part = whole
    for step in list(error.absolute_schema_path)[:-1]:
        part = part[step]
    return part


def _example(schema: Mapping[str, Any]) -> str:
    """Return the first example of the schema that fits on a line, as YAML, or ""."""
    examples = [value for value in schema.get("examples", []) if not isinstance(value, (dict, list))]
    if not examples:
        return ""
    if not isinstance(examples[0], str):
        return json.dumps(examples[0])
    return examples[0] if re.fullmatch(r"[\w./-]+", examples[0]) else f'"{examples[0]}"'


def _explain_not(path: KeyPath, schema: Any, value: Any) -> Iterator[_Found]:
    refused = schema["not"]
    pairs = [one["required"] for one in refused.get("anyOf", [refused]) if "required" in one]
    keys = next((pair for pair in pairs if isinstance(value, Mapping) and {*pair} <= {*value}), None)
    if not _fits(schema, value):
        return  # reported by "type"
    if keys:
        given = [key for key in value if key in keys]
        both = " and ".join(f'"{key}"' for key in given)
        yield problem("S109", keys=both), (*path, given[-1]), True
    elif schema.get("title") == "id":
        yield problem("S107.reserved", name=value), path, False
    else:
        yield problem("S100.value", subject=_subject(path), value=_shown(value)), path, False


def _explain_repeated(path: KeyPath, value: Any) -> Iterator[_Found]:
    items: set[str] = set()
    for i, item in enumerate(value):
        plain = json.dumps(item, sort_keys=True)  # mappings are not hashable
        if plain not in items:
            items.add(plain)
        else:
            yield problem("S110.repeated", value=_shown(item), subject=_subject(path)), (*path, i), False


def _explain_type(path: KeyPath, schema: Any, value: Any, written: str | None) -> Problem:
    """Explain a value whose type is not allowed by a schema or by any branch of an anyOf or oneOf."""
    shown = written or _shown(value)
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    text: Any = next((branch for branch in branches if "string" in _types(branch)), {})
    if text.get("title") in ("duration", "length") and _is_number(value):
        return _no_unit(path, value, text)
    types = list(dict.fromkeys(name for branch in branches for name in _types(branch)))
    wanted = _either([_TYPES[name] for name in types])
    items: Any = next((branch["items"] for branch in branches if "items" in branch), {})
    hint = _type_hint(types, text, items, value, shown) or _kind_hint(types, schema, wanted)
    return problem("S103", hint=hint, subject=_subject(path), wanted=wanted, value=shown)


def _type_hint(types: Sequence[str], text_schema: Any, items: Any, value: Any, shown: str) -> str:
    """Return a hint that converts a value to one of `types`, or ""."""
    if "string" in types and isinstance(value, (int, float)):
        if "pattern" not in text_schema or compiled(text_schema["pattern"]).search(shown):
            return f'put it in quotes: "{shown}"'
        return str(text_schema.get("patternErrorMessage", ""))
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return f"write {value:.0f}"
    if isinstance(value, str):
        if {"integer", "number"} & set(types) and re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII):
            return f"write {value} without quotes"
        if "boolean" in types:
            return "write true or false, without quotes"
        if "array" in types:
            is_item = re.fullmatch(r"[\w.-]+", value) and _fits(items, value)
            return f"write [{value}]" if is_item else 'start each item with "- "'
    if "array" in types and isinstance(value, dict):
        return 'start each item with "- "'
    return ""


def _kind_hint(types: Sequence[str], schema: Any, wanted: str) -> str:
    """Return a hint for a value that cannot be converted."""
    if example := _example(schema):
        return f"write {wanted}, such as {example}"
    branches = schema.get("anyOf", [schema])
    keys = next((list(branch["properties"]) for branch in branches if "properties" in branch), [])
    if "object" in types and "string" not in types and keys:
        return f"write a mapping with some of: {', '.join(keys)}"
    return f"write {wanted}"


def _no_unit(path: KeyPath, value: Any, schema: Any) -> Problem:
    number = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    frames, seconds = f"{number}f (frames)", f"{number}s (seconds)"
    if not number.isdecimal():
        hint = f"write {seconds}" if value > 0 else str(schema["patternErrorMessage"])
    elif "narration" in path:
        hint = f"write {seconds} or {frames}"
    else:
        hint = f"write {frames} or {seconds}"
    return problem("S108.unit", hint=hint, name=_name(path), value=value)


def _explain_pattern(path: KeyPath, schema: Any, value: str) -> Problem:
    title = str(schema.get("title", "value"))
    allowed = str(schema.get("patternErrorMessage", f"it must match {schema['pattern']}"))
    if title in ("duration", "length") and re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return _no_unit(path, float(value) if "." in value else int(value), schema)
    if title in ("duration", "length") and re.fullmatch(r"\d{6,}(\.\d+)?s|\d{8,}f", value, re.ASCII):
        return problem("S108.long", name=_name(path), value=_shown(value))
    better = _corrected(title, value)
    is_better = better != value and compiled(schema["pattern"]).search(better)
    if title == "id":
        hint = f"write {better}" if is_better else "choose one, such as hook"
        return problem("S107.form", hint=hint, value=_shown(value), allowed=allowed)
    hint = (f'write "{better}"' if title == "aspect" else f"write {better}") if is_better else allowed
    if path[-1:] == ("narration",) and not is_better:
        hint = _narration_hint(value) or hint
    kind = f"an {title}" if title[0] in "aeiou" else f"a {title}"
    is_time = title in ("duration", "length")
    return problem("S108.form" if is_time else "S104.form", hint=hint, name=_name(path), value=_shown(value), kind=kind)


def _narration_hint(value: str) -> str:
    """Return a hint for a narration that is a file name or a spoken text without its key."""
    if re.fullmatch(r"\S+\.[A-Za-z0-9]{2,4}|.+\.(wav|flac|mp3|m4a|aac|ogg|opus|aiff?)|[\w.-]+(/[\w.-]+)+", value, re.I):
        return f"write {{ file: {value} }}"
    words = value.strip()
    if " " in words:
        return 'write the words as { text: "…" }'
    return f'write {{ text: "{words}" }} if it is to be spoken, or a time such as 8.5s' if words.isalpha() else ""


def _corrected(title: str, value: str) -> str:
    """Return the probable intention of a text, or the same text."""
    if title == "id":
        better = slug(value)
        return f"{better}-1" if re.fullmatch(r"con|prn|aux|nul|(?:com|lpt)\d", better) else better
    if title == "path":
        return value.replace("\\", "/")
    if title in ("duration", "length"):
        return _duration(value)
    if title == "size":
        found = re.fullmatch(r"\s*(\d+)\s*(?:px)?\s*[x×*,:/]\s*(\d+)\s*(?:px)?\s*", value, re.I | re.A)
        return f"{found[1]}x{found[2]}" if found else value
    if title == "aspect":
        found = re.fullmatch(r"\s*([\d.]+)\s*[:x×/-]\s*([\d.]+)\s*", value, re.I | re.A)
        return f"{found[1]}:{found[2]}" if found else value
    if title == "rule":
        return value.strip().upper()
    return value.strip().lower()


def _duration(value: str) -> str:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\.?\s*", value, re.ASCII)
    if not found:
        return value.strip().lower()
    number, unit = found[1], found[2].lower()
    if unit == "ms":
        return f"{float(number) / 1000:.6f}".rstrip("0").rstrip(".") + "s"
    return f"{number}{_UNITS.get(unit) or '?'}"


def slug(text: str) -> str:
    """Return the nearest id to a text, or "": `Hook Scène` → `hook-scene`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-")


def _explain_choice(path: KeyPath, schema: Any, value: Any) -> Problem:
    choices = schema["enum"]
    wanted = _either([str(choice) for choice in choices])
    near = _near(value.lower(), [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    if not near and isinstance(value, str) and value in map(str, choices):
        hint = f"write {value} without quotes"
    else:
        hint = f'did you mean "{near}"?' if near else f"write {wanted}"
    return problem("S105", hint=hint, subject=_subject(path), wanted=wanted, value=_shown(value))


def _explain_const(path: KeyPath, schema: Any, value: Any) -> Problem:
    wanted = schema["const"]
    if isinstance(wanted, int) and isinstance(value, int) and not isinstance(value, bool):
        return problem("S111", version=value, known=wanted)
    hint = f"write {_shown(wanted)}" + (" without quotes" if str(wanted) == value else "")
    return problem("S105", hint=hint, subject=_subject(path), wanted=_shown(wanted), value=_shown(value))


def _explain_range(path: KeyPath, schema: Any, value: Any) -> Problem:
    low, high, over = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    if low is not None and high is not None:
        wanted = f"between {low} and {high}"
    else:
        bounds = [
            ("at least", low),
            ("above", over),
            ("at most", high),
            ("below", schema.get("exclusiveMaximum")),
        ]
        wanted = " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
    return problem("S106", subject=_subject(path), wanted=wanted, value=value)


def _explain_short(path: KeyPath, schema: Any, value: Any) -> Problem:
    if isinstance(value, list) and value:
        return _explain_count(path, schema, value)
    if isinstance(value, dict):
        hint = f"write one of: {', '.join(schema.get('properties', {}))}"
    elif isinstance(value, list):
        hint = f"write at least one {schema.get('items', {}).get('title', 'item')}"
    else:
        hint = "write a text"
    return problem("S110.empty", hint=hint, subject=_subject(path))


def _explain_count(path: KeyPath, schema: Any, value: Any) -> Problem:
    kind = "Properties" if isinstance(value, dict) else "Items"
    low, high = schema.get(f"min{kind}", 0), schema.get(f"max{kind}")
    wanted = f"{high}" if low == high else f"at most {high}" if len(value) > low else f"at least {low}"
    return problem("S110.count", subject=_subject(path), wanted=wanted, count=len(value))


def _explain_long(path: KeyPath, schema: Any, value: Any) -> Problem:
    return problem("S110.long", subject=_subject(path), limit=schema["maxLength"])


EXPLANATIONS = {
    "pattern": _explain_pattern,
    "enum": _explain_choice,
    "const": _explain_const,
    "minimum": _explain_range,
    "maximum": _explain_range,
    "exclusiveMinimum": _explain_range,
    "exclusiveMaximum": _explain_range,
    "minLength": _explain_short,
    "minItems": _explain_short,
    "minProperties": _explain_short,
    "maxItems": _explain_count,
    "maxProperties": _explain_count,
    "maxLength": _explain_long,
}


# ---- words


def _name(path: KeyPath) -> str:
    """Return the key to name, such as `crossfade`; for an item of a list the key of the list."""
    return next((step for step in reversed(path) if isinstance(step, str)), "the file")


def _subject(path: KeyPath) -> str:
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f'item {path[-1] + 1} of "{_name(path)}"'
    return f'"{path[-1]}"'


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        text = " ".join(value.split("\n"))
        return f'"{text}"' if len(text) <= 60 else f'"{text[:59]}…"'
    return json.dumps(value) if value is None or isinstance(value, (bool, int, float)) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _either(words: Sequence[str]) -> str:
    """Join words as `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _near(word: str, words: Sequence[str], cutoff: float = 0.6) -> str:
    return next(iter(difflib.get_close_matches(word, words, 1, cutoff)), "")
