"""Compute picture sizes: sampled, decoded, and the delivered crop."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.models.profile import Profile, Size


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels, (width, height): `base` is sampled, `decoded` leaves the decoder.

    `crop` is (x, y, width, height) of the delivered centre in the decoded picture.
    """

    base: tuple[int, int]
    decoded: tuple[int, int]
    crop: tuple[int, int, int, int]

    @property
    def delivered(self) -> tuple[int, int]:
        return self.crop[2], self.crop[3]

    @property
    def is_cropped(self) -> bool:
        return self.delivered != self.decoded


def delivered_size(profile: Profile, wanted: str) -> Size:
    """Return width and height of a film in px for an aspect ("16:9") or a size ("1536x864").

    Raise LtxflowError for an aspect that is not in the profile, and for a size that is odd, too small or too large; the
    hint names the nearest legal one.
    """
    text = wanted.strip().lower()
    if text in profile.aspects:
        return profile.aspects[text].delivered
    found = re.fullmatch(r"([0-9]{1,6})\s*[x×]\s*([0-9]{1,6})", text)
    if found is None:
        shape = re.fullmatch(r"[0-9]+(\.[0-9]+)?:[0-9]+", text) is not None
        near = difflib.get_close_matches(text, profile.aspects, n=1) if shape else []
        hint = f'did you mean "{near[0]}"? ' if near else ""
        hint += f"use one of {', '.join(profile.aspects)}, or a size such as 1536x864"
        raise LtxflowError(problem("F010.unknown" if shape else "F010.neither", hint=hint, text=wanted))
    width, height = int(found[1]), int(found[2])
    legal = _nearest_legal(profile, width, height)
    if (width, height) == legal:
        return legal
    size, nearest, least = f"{width}x{height}", _by(legal), profile.grid.side_two_stage
    if width % 2 or height % 2:
        raise LtxflowError(problem("F011.odd", size=size, nearest=nearest))
    if width < least or height < least:
        raise LtxflowError(problem("F011.small", size=size, nearest=nearest, least=least))
    most = _by(profile.grid.largest)
    raise LtxflowError(problem("F011.large", size=size, nearest=nearest, most=most, model=profile.title))


def _nearest_legal(profile: Profile, width: int, height: int) -> Size:
    """Return the size, or the nearest one that is even and neither too small nor too large."""
    long, short = profile.grid.largest
    shrink = min(1.0, long / max(width, height, 1), math.sqrt(long * short / max(width * height, 1)))
    smallest = profile.grid.side_two_stage

    def legal(side: int) -> int:
        even = (side + 1) // 2 * 2 if shrink == 1 else int(side * shrink / 2) * 2
        return max(smallest, even)

    return legal(width), legal(height)


def geometry(
    profile: Profile, wanted: str | Size, stages: int = 2, half: bool = False, is_guided: bool = False
) -> Geometry:
    """Return the geometry for an aspect, or for a size in px as text or pair.

    The base is the smallest size on the model's grid that covers the delivered one, which is cropped from the centre at
    even offsets. With two stages the base is half as large and doubled. `half` (a stand-in) halves the size; a clip
    that `is_guided` by a video uses the grid of the model's IC-LoRAs. Raise LtxflowError as `delivered_size` does.
    """
    size = delivered_size(profile, wanted if isinstance(wanted, str) else f"{wanted[0]}x{wanted[1]}")
    if half:
        size = (size[0] // 4 * 2, size[1] // 4 * 2)  # even again
    side, times = profile.side_of(is_guided=is_guided), stages  # two stages double
    step = side * times if side != profile.grid.side else profile.grid.multiple(stages)
    least = -(-profile.grid.smallest // side) * side
    base = (max(-(-size[0] // step) * side, least), max(-(-size[1] // step) * side, least))
    decoded = (base[0] * times, base[1] * times)
    x, y = ((decoded[n] - size[n]) // 4 * 2 for n in (0, 1))
    return Geometry(base, decoded, (x, y, *size))


def explain_geometry(g: Geometry, side: int = 32) -> str:
    """Describe what happens to the picture, and why it is cropped. `side` is the grid's, in px."""
    times = g.decoded[0] // g.base[0]
    words = [f"samples {_by(g.base)}"]
    if times > 1:
        words.append(f"upscales to {_by(g.decoded)}")
    if not g.is_cropped:
        return ", ".join(words)
    x, y, width, height = g.crop
    cuts = [
        _cut(x, g.decoded[0] - width - x, "left", "right"),
        _cut(y, g.decoded[1] - height - y, "top", "bottom"),
    ]
    words.append(f"crops {', '.join(cut for cut in cuts if cut)} to {_by(g.delivered)}")
    off = [f"{n / times:g}" for n in g.delivered if n % (side * times)]
    if not off:  # sampled on a coarser grid, or smaller than the smallest sampled size
        return ", ".join(words)
    are = "is not a multiple" if len(off) == 1 else "are not multiples"
    return f"{', '.join(words)} ({' and '.join(off)} {are} of {side})"


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _cut(before: int, after: int, first: str, second: str) -> str:
    if before == after:
        return f"{before} px {first} and {second}" if before else ""
    parts = [f"{n} px {where}" for n, where in ((before, first), (after, second)) if n]
    return " and ".join(parts)
