"""Render the pages of a board from data. Text is escaped; nothing of a film is ever markup."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent
STATIC = HERE / "static"


@cache
def environment() -> jinja2.Environment:
    """Return the environment of our templates; every value is escaped as HTML."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"clock": clock, "span": span, "timecode": timecode, "anchor": anchor}
    return found


def render(name: str, values: Mapping[str, Any]) -> str:
    """Return a page, or a part of one."""
    return environment().get_template(name).render(values)


def clock(seconds: float) -> str:
    """Return whole seconds as `1:03`, from an hour on as `1:02:33`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def span(seconds: float | None) -> str:
    """Return a length of time in words: `40 s`, `12 min`, `3 h 5 min`; "" for none."""
    if seconds is None:
        return ""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def timecode(frame: int, fps: int) -> str:
    """Return a frame of the film as `0:12:07`: minutes, seconds, frames."""
    return f"{frame // fps // 60}:{frame // fps % 60:02d}:{frame % fps:02d}"


def anchor(path: str) -> str:
    """Return the id of a clip's element; ids of clips have small letters, digits and hyphens."""
    return "clip-" + path.replace("/", "--")
