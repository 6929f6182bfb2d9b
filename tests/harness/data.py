"""A project file as data, and places in it by their paths: `scenes/hook/clips/a/seed`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Data = dict[str, Any]
Path_ = tuple[str | int, ...]

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def dump(data: Data) -> str:
    """The project file as one would write it: block style, keys in order."""
    text: str = yaml.dump(data, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=1000)
    return text


def leaves(data: Any, at: str = "") -> Iterator[str]:
    """Every leaf of the data by its path: `scenes/hook/clips/a/seed`; things with ids by their ids."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, f"{at}/{key}" if at else str(key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from leaves(value, f"{at}/{_name(value, index)}")
    else:
        yield at


def _name(value: Any, index: int) -> str:
    return str(value["id"]) if isinstance(value, Mapping) and "id" in value else str(index)


def place(data: Any, at: str) -> Path_:
    """Given a path as `leaves` tells it, return it as keys and indices. The last key need not be there."""
    found: list[str | int] = []
    for part in at.split("/"):
        step: str | int = part
        if isinstance(data, list):
            step = next(index for index, value in enumerate(data) if _name(value, index) == part)
        found.append(step)
        data = data[step] if isinstance(data, list) else (data or {}).get(step)
    return tuple(found)


def get(data: Any, at: str) -> Any:
    for step in place(data, at):
        data = data[step]
    return data


def with_value(data: Data, at: str, value: Any) -> Data:
    """The data with this value at that path, where there may be none yet."""
    changed = copy.deepcopy(data)
    *above, last = place(changed, at)
    inner: Any = changed
    for step in above:
        inner = inner[step]
    inner[last] = value
    return changed


def without(data: Data, at: str) -> Data:
    changed = copy.deepcopy(data)
    *above, last = place(changed, at)
    inner: Any = changed
    for step in above:
        inner = inner[step]
    del inner[last]
    return changed


def line_of(text: str, at: str) -> int:
    """The line, from 1, where the value of that path is written; told by another YAML reader than ours."""
    node: Any = yaml.compose(text, Loader=LOADER)
    for step in place(yaml.load(text, Loader=LOADER), at):
        if isinstance(node, yaml.MappingNode):
            node = next(value for key, value in node.value if key.value == str(step))
        else:
            node = node.value[step]
    return int(node.start_mark.line) + 1
