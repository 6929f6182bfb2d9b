"""Checks a document against a published JSON Schema and says in plain words what is wrong, and where.

The only importer of jsonschema. Knows the shape of files, not whether ids repeat or files exist: load does.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from ltxflow.core.errors import Problem, Span
from ltxflow.documents.fast_schema import ANNOTATIONS, compiled, load_schema
from ltxflow.documents.yaml import Document

RULES = {
    "S100": "the value must fit the schema",
    "S101": "keys are those that the schema names",
    "S102": "required keys are present",
    "S103": "a value has the right type: text, number, list or mapping",
    "S104": "a text has the right form",
    "S105": "a value is one of the choices",
    "S106": "a number lies in its range",
    "S107": "ids are small letters, digits and hyphens, at most 64, and not reserved by Windows",
    "S108": "durations have a unit: 12f or 0.4s",
    "S109": "keys that exclude each other are not given together",
    "S110": "texts, lists and mappings are not empty, too long or repetitive",
    "S111": "the file's format version is one that this ltxflow reads",
    "S112": "a key has a value",
}

MOST_TOLD = 100  # problems of one file: nobody reads more at once

Path_ = tuple[str | int, ...]
_Said = tuple[str, str, str, Path_, bool]  # code, message, hint, path, whether it points at the key

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
# Objects whose keys people put one level too high or too low, by the title that the schema gives them.
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
    """Given a document, return what its schema has against it, in the order of the file.

    "scene" is the part of the project's schema for one scene. Values that the YAML parser has already refused
    (`document.problems`) are not reported again.
    """
    schema = _resolved(schema_name)
    refused = {problem.span for problem in document.problems}
    problems: dict[tuple[Span, str], Problem] = {}
    errors = list(_validator(schema_name).iter_errors(document.data))
    misspelled = {tuple(error.absolute_path) for error in errors if error.validator == "pattern"}
    for error in errors:
        if error.validator == "maxLength" and tuple(error.absolute_path) in misspelled:
            continue  # a text where a duration belongs is not too long, it is something else
        for code, message, hint, path, is_key in _explain(error, schema, document):
            span = document.key_span(path) if is_key else document.span(path)
            if code != "S102" and span in refused:
                continue
            problems.setdefault((span, message), Problem(message, span, hint, code))
    found = sorted(problems.values(), key=lambda problem: problem.span or Span("", 0, 0))
    if len(found) > MOST_TOLD:
        more = Problem(f"and {len(found) - MOST_TOLD} more", found[MOST_TOLD].span, "mend those above first", "S100")
        return [*found[:MOST_TOLD], more]
    return found


# ---- the schema, made ready


@functools.cache
def _resolved(name: str) -> dict[str, Any]:
    """The schema with every `$ref` replaced by what it names: faster to check, simpler to look things up in.

    Our schemas do not recurse.
    """
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
    return _Validator(_bare(_resolved(name)))


_UNREAD = ANNOTATIONS - {"title", "patternErrorMessage"}  # these two are read for messages


def _bare(part: Any, is_names: bool = False) -> Any:
    """The schema without what only readers need: every keyword costs time at every value."""
    if isinstance(part, list):
        return [_bare(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _bare(value, key in ("properties", "patternProperties"))
        for key, value in part.items()
        if is_names or key not in _UNREAD
    }


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    is_missing = instance == "" and schema.get("minLength")  # which says so itself
    if isinstance(instance, str) and not is_missing and not compiled(pattern).search(instance):
        yield ValidationError("pattern")


def _required(validator: Any, keys: list[str], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """One error for all missing keys: they are at the same place."""
    if isinstance(instance, dict) and not instance.keys() >= set(keys):
        yield ValidationError("required")


def _any_of(validator: Any, branches: list[Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The errors of the branch that fits the value's type; with several such branches, of the nearest one."""
    fitting = [(i, branch) for i, branch in enumerate(branches) if _fits(branch, instance)]
    if not fitting:
        yield ValidationError("no branch has this type")
    elif len(fitting) == 1:
        i, branch = fitting[0]
        yield from validator.descend(instance, branch, schema_path=i)
    else:
        tried = [list(validator.descend(instance, branch, schema_path=i)) for i, branch in fitting]
        yield from min(tried, key=len)


def _one_of(validator: Any, branches: list[Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    errors = list(_any_of(validator, branches, instance, schema))
    yield from errors or Draft202012Validator.VALIDATORS["oneOf"](validator, branches, instance, schema)


def _is_integer(checker: Any, instance: Any) -> bool:
    """`25.0` is not a whole number here: what follows counts with it."""
    return isinstance(instance, int) and not isinstance(instance, bool)


_TYPE_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
_extend: Any = validators.extend  # jsonschema's own, without types
_Validator: Any = _extend(
    Draft202012Validator,
    {"anyOf": _any_of, "oneOf": _one_of, "pattern": _pattern, "required": _required},
    type_checker=_TYPE_CHECKER,
)


def _types(schema: Mapping[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    types = _types(schema)
    return not types or any(_TYPE_CHECKER.is_type(value, name) for name in types)


# ---- errors in plain words


def _explain(error: ValidationError, whole: Mapping[str, Any], document: Document) -> Iterator[_Said]:
    path = tuple(error.absolute_path)
    schema = _around(error, whole)
    value: Any = error.instance
    keyword = str(error.validator)
    if value is None and keyword in ("type", "enum", "const", "anyOf", "oneOf"):
        example = _example(schema)
        hint = f"write one, such as {example}" if example else "write one, or remove it"
        yield "S112", f"{_subject(path)} has no value", hint, path, False
    elif keyword == "additionalProperties":
        yield from _explain_unknown(path, schema, value, whole)
    elif keyword == "required":
        yield from _explain_missing(path, schema, value)
    elif keyword == "not":
        yield from _explain_not(path, schema, value)
    elif keyword == "uniqueItems":
        yield from _explain_repeated(path, value)
    elif keyword in ("type", "anyOf", "oneOf"):
        yield (*_say_type(path, schema, value, document.as_written(path)), path, False)
    elif keyword in _EXPLAIN:
        yield (*_EXPLAIN[keyword](path, schema, value), path, False)
    else:
        yield "S100", f"{_subject(path)} does not fit the schema: {error.message}", "", path, False


def _explain_unknown(path: Path_, schema: Any, value: Any, whole: Mapping[str, Any]) -> Iterator[_Said]:
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
            yield "S104", f'"{key}" cannot be a name in "{path[-1] if path else ""}"', hint, at, True
        else:
            yield "S101", f'unknown key "{key}"', _key_hint(key, allowed, whole), at, True


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
    """The places of _PLACES that the schema has, with the keys that each of them takes."""
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


def _explain_missing(path: Path_, schema: Any, value: Any) -> Iterator[_Said]:
    title = str(schema.get("title", "mapping")).partition(":")[0]
    name = value.get("id")
    where = f'{title} "{name}"' if isinstance(name, str) and path else f"this {title}"
    for key in schema["required"]:
        if key not in value:
            example = _example(schema.get("properties", {}).get(key, {}))
            hint = f"add one, such as {key}: {example}" if example else f'add "{key}"'
            yield "S102", f'missing key "{key}" in {where}', hint, path, False


def _around(error: ValidationError, whole: Any) -> Any:
    """The schema that holds the keyword which failed, with what _bare() took from it."""
    part = whole
    for step in list(error.absolute_schema_path)[:-1]:
        part = part[step]
    return part


def _example(schema: Mapping[str, Any]) -> str:
    """The schema's first example that fits on a line, as YAML, or ""."""
    examples = [value for value in schema.get("examples", []) if not isinstance(value, (dict, list))]
    if not examples:
        return ""
    if not isinstance(examples[0], str):
        return json.dumps(examples[0])
    return examples[0] if re.fullmatch(r"[\w./-]+", examples[0]) else f'"{examples[0]}"'


def _explain_not(path: Path_, schema: Any, value: Any) -> Iterator[_Said]:
    refused = schema["not"]
    pairs = [one["required"] for one in refused.get("anyOf", [refused]) if "required" in one]
    keys = next((pair for pair in pairs if isinstance(value, Mapping) and {*pair} <= {*value}), None)
    if not _fits(schema, value):
        return  # "type" says so
    if keys:
        given = [key for key in value if key in keys]
        both = " and ".join(f'"{key}"' for key in given)
        yield "S109", f"{both} exclude each other", "keep one of them", (*path, given[-1]), True
    elif schema.get("title") == "id":
        message = f'"{value}" cannot be an id: Windows reserves that name for a device'
        yield "S107", message, f"choose another, such as {value}-1", path, False
    else:
        yield "S100", f"{_subject(path)} cannot be {_shown(value)}", "choose another value", path, False


def _explain_repeated(path: Path_, value: Any) -> Iterator[_Said]:
    seen: set[str] = set()
    for i, item in enumerate(value):
        plain = json.dumps(item, sort_keys=True)  # a mapping is in no set
        if plain not in seen:
            seen.add(plain)
        else:
            yield "S110", f"{_shown(item)} stands twice in {_subject(path)}", "keep one", (*path, i), False


def _say_type(path: Path_, schema: Any, value: Any, written: str | None) -> tuple[str, str, str]:
    """A value of no type that is allowed, by one schema or by the branches of an anyOf or oneOf."""
    shown = written or _shown(value)
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    text: Any = next((branch for branch in branches if "string" in _types(branch)), {})
    if text.get("title") in ("duration", "length") and _is_number(value):
        return _no_unit(path, value, text)
    types = list(dict.fromkeys(name for branch in branches for name in _types(branch)))
    wanted = _either([_TYPES[name] for name in types])
    message = f"{_subject(path)} must be {wanted}, not {shown}"
    items: Any = next((branch["items"] for branch in branches if "items" in branch), {})
    hint = _type_hint(types, text, items, value, shown) or _kind_hint(types, schema, wanted)
    return "S103", message, hint


def _type_hint(types: Sequence[str], text_schema: Any, items: Any, value: Any, shown: str) -> str:
    """What to write instead of a value that is none of `types`, if something can be made of it."""
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
    """What to write when nothing can be made of the value itself."""
    if example := _example(schema):
        return f"write {wanted}, such as {example}"
    branches = schema.get("anyOf", [schema])
    keys = next((list(branch["properties"]) for branch in branches if "properties" in branch), [])
    if "object" in types and "string" not in types and keys:
        return f"write a mapping with some of: {', '.join(keys)}"
    return f"write {wanted}"


def _no_unit(path: Path_, value: Any, schema: Any) -> tuple[str, str, str]:
    number = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
    frames, seconds = f"{number}f (frames)", f"{number}s (seconds)"
    if not number.isdecimal():
        hint = f"write {seconds}" if value > 0 else str(schema["patternErrorMessage"])
    elif "narration" in path:
        hint = f"write {seconds} or {frames}"
    else:
        hint = f"write {frames} or {seconds}"
    return "S108", f"{_name(path)}: {value} has no unit", hint


def _say_pattern(path: Path_, schema: Any, value: str) -> tuple[str, str, str]:
    title = str(schema.get("title", "value"))
    allowed = str(schema.get("patternErrorMessage", f"it must match {schema['pattern']}"))
    if title in ("duration", "length") and re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return _no_unit(path, float(value) if "." in value else int(value), schema)
    if title in ("duration", "length") and re.fullmatch(r"\d{6,}(\.\d+)?s|\d{8,}f", value, re.ASCII):
        hint = "write at most 99999s (a day) or 9999999f"
        return "S108", f"{_name(path)}: {_shown(value)} is not a time that a film can have", hint
    better = _mended(title, value)
    fits = better != value and compiled(schema["pattern"]).search(better)
    if title == "id":
        hint = f"write {better}" if fits else "choose one, such as hook"
        return "S107", f"{_shown(value)} is not an id: {allowed}", hint
    hint = (f'write "{better}"' if title == "aspect" else f"write {better}") if fits else allowed
    if path[-1:] == ("narration",) and not fits:
        hint = _spoken(value) or hint
    article = "an" if title[0] in "aeiou" else "a"
    code = "S108" if title in ("duration", "length") else "S104"
    return code, f"{_name(path)}: {_shown(value)} is not {article} {title}", hint


def _spoken(value: str) -> str:
    """A narration that is a text but no duration: a file's name, or what is said, without its key."""
    if re.fullmatch(r"\S+\.[A-Za-z0-9]{2,4}", value):
        return f"write {{ file: {value} }}"
    return 'write the words as { text: "…" }' if " " in value.strip() else ""


def _mended(title: str, value: str) -> str:
    """What was probably meant, or the same text."""
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
    """Given any text, return the id nearest to it, or "": `Hook Scène` → `hook-scene`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64].strip("-")


def _say_choice(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
    choices = schema["enum"]
    wanted = _either([str(choice) for choice in choices])
    near = _near(value.lower(), [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    if not near and isinstance(value, str) and value in map(str, choices):
        hint = f"write {value} without quotes"
    else:
        hint = f'did you mean "{near}"?' if near else f"write {wanted}"
    return "S105", f"{_subject(path)} must be {wanted}, not {_shown(value)}", hint


def _say_const(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
    wanted = schema["const"]
    if isinstance(wanted, int) and isinstance(value, int) and not isinstance(value, bool):
        return (
            "S111",
            f"format version {value} is not known",
            f"this ltxflow reads version {wanted}; update ltxflow if the file is newer",
        )
    hint = f"write {_shown(wanted)}" + (" without quotes" if str(wanted) == value else "")
    return "S105", f"{_subject(path)} must be {_shown(wanted)}, not {_shown(value)}", hint


def _say_range(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
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
    return "S106", f"{_subject(path)} must be {wanted}, not {value}", f"write a number {wanted}"


def _say_short(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
    if isinstance(value, list) and value:
        return _say_count(path, schema, value)
    if isinstance(value, dict):
        hint = f"write one of: {', '.join(schema.get('properties', {}))}"
    elif isinstance(value, list):
        hint = f"write at least one {schema.get('items', {}).get('title', 'item')}"
    else:
        hint = "write a text"
    return "S110", f"{_subject(path)} is empty", hint


def _say_count(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
    kind = "Properties" if isinstance(value, dict) else "Items"
    low, high = schema.get(f"min{kind}", 0), schema.get(f"max{kind}")
    wanted = f"{high}" if low == high else f"at most {high}" if len(value) > low else f"at least {low}"
    return "S110", f"{_subject(path)} must have {wanted} items, not {len(value)}", f"write {wanted} items"


def _say_long(path: Path_, schema: Any, value: Any) -> tuple[str, str, str]:
    limit = schema["maxLength"]
    return "S110", f"{_subject(path)} is longer than {limit} characters", "shorten it"


_EXPLAIN = {
    "pattern": _say_pattern,
    "enum": _say_choice,
    "const": _say_const,
    "minimum": _say_range,
    "maximum": _say_range,
    "exclusiveMinimum": _say_range,
    "exclusiveMaximum": _say_range,
    "minLength": _say_short,
    "minItems": _say_short,
    "minProperties": _say_short,
    "maxItems": _say_count,
    "maxProperties": _say_count,
    "maxLength": _say_long,
}


# ---- words


def _name(path: Path_) -> str:
    """The key to name: `crossfade`; an item of a list is named by its list."""
    return next((step for step in reversed(path) if isinstance(step, str)), "the file")


def _subject(path: Path_) -> str:
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
    """`a, b or c`"""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _near(word: str, words: Sequence[str], cutoff: float = 0.6) -> str:
    return next(iter(difflib.get_close_matches(word, words, 1, cutoff)), "")
