"""Compare a picture with the frame it must fill: the parts cut off, barred or upscaled.

A separate module, since a plan uses it and must not import Pillow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ltxflow.core.digest import Digest

PREPARE_VERSION = "1"  # part of a clip's key: raise it when the same picture comes out differently
VIDEO_VERSION = "1"  # the same for `media.video.prepare_video`

Fit = Literal["cover", "contain", "stretch"]

CUT_NOTED = 0.10
ENLARGED_NOTED = 1.05
STRETCHED_NOTED = 1.05


@dataclass(frozen=True)
class ImageFacts:
    """A picture as displayed: size in px, upright. `pixels` is the digest of the decoded picture, not of the file."""

    pixels: Digest
    width: int
    height: int
    warnings: tuple[str, ...] = ()


def fit_warnings(facts: ImageFacts, size: tuple[int, int], fit: Fit) -> list[str]:
    """Return descriptions of the losses when a picture is fitted into a frame of `size` px.

    Mentions more than 10 % cut or barred, and more than 1.05 times upscaled or distorted.
    """
    across, down = size[0] / facts.width, size[1] / facts.height
    ratio = min(across, down) / max(across, down)
    found = []
    if fit == "cover" and 1 - ratio > CUT_NOTED:
        edge = "left and right" if down > across else "top and bottom"
        found.append(f"{1 - ratio:.0%} of it is cut off ({edge}) to fill {size[0]}x{size[1]}")
    if fit == "contain" and 1 - ratio > CUT_NOTED:
        found.append(f"{1 - ratio:.0%} of {size[0]}x{size[1]} becomes black bars, which the model may animate")
    if fit == "stretch" and 1 / ratio > STRETCHED_NOTED:
        found.append(f"it is distorted {1 / ratio:.2f}x to fill {size[0]}x{size[1]}")
    scale = min(across, down) if fit == "contain" else max(across, down)
    if scale > ENLARGED_NOTED:
        small = f"{facts.width}x{facts.height} is small for {size[0]}x{size[1]}"
        found.append(f"it will be upscaled {scale:.2f}×: {small}")
    return found


def treatments(facts: Mapping[str, Any]) -> list[str]:
    """Return what is done to the pictures of a video besides fitting them: part of the key of what reads them."""
    marks = {"is_mirrored": "mirrored", "is_interlaced": "deinterlaced", "has_alpha": "opaque", "is_hdr": "sdr"}
    return [f"{done}/1" for mark, done in marks.items() if facts.get(mark)]
