"""Sizes: what is sampled, what leaves the decoder, and the crop of it that is delivered."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.models.profile import Profile, Size


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels, (width, height): what is sampled, what leaves the decoder, and the centre crop of it.

    `crop` is (x, y, width, height) in the decoded picture; its width and height are the delivered size.
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
    """Given an aspect ("16:9") or a size ("1536x864"), return width and height of the film in px.

    Raise LtxflowError when the aspect is not in the profile, or the size is odd, or too large; the hint says
    the nearest legal one.
    """
    text = wanted.strip().lower()
    if text in profile.aspects:
        return profile.aspects[text].delivered
    found = re.fullmatch(r"([0-9]{1,6})\s*[x×]\s*([0-9]{1,6})", text)
    if found is None:
        shape = re.fullmatch(r"[0-9]+(\.[0-9]+)?:[0-9]+", text) is not None
        near = difflib.get_close_matches(text, profile.aspects, n=1) if shape else []
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise LtxflowError(
            Problem(
                f'unknown aspect "{wanted}"' if shape else f'"{wanted}" is neither an aspect nor a size',
                hint=f"{hint}{profile.name} has {', '.join(profile.aspects)}; or write a size: 1536x864",
                code="F010",
            )
        )
    width, height = int(found[1]), int(found[2])
    legal = _nearest_legal(profile, width, height)
    if (width, height) == legal:
        return legal
    if width % 2 or height % 2:
        reason = "has an odd side: h264 takes even ones only"
    elif width < profile.grid.side_two_stage or height < profile.grid.side_two_stage:
        reason = f"is smaller than {profile.grid.side_two_stage} px"
    else:
        reason = f"is larger than {_by(profile.grid.largest)}, the most {profile.title} makes"
    raise LtxflowError(
        Problem(f"size {width}x{height} {reason}", hint=f"the nearest is {legal[0]}x{legal[1]}", code="F011")
    )


def _nearest_legal(profile: Profile, width: int, height: int) -> Size:
    """Return the size itself, or the nearest one that is even, not tiny, and no larger than the largest."""
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
    """Given an aspect, or a size in px as text or pair, return what is sampled, decoded and cut out of that.

    The base is the smallest on the model's grid that covers the size; the rest is cropped off around the
    centre, at even offsets. With two stages the base is half as large and doubled. `half` (a stand-in) makes
    half the size; what `is_guided` by a video lies on the grid of the model's IC-LoRAs. Raise LtxflowError as
    `delivered_size` does.
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
    """Given a geometry and the grid's side in px, say what happens to the picture, and why it is cut."""
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
    if not off:  # it was sampled on a coarser grid, or is smaller than anything that is sampled
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
