"""Slates that are copied instead of drawn: real mp4 files of the right facts, so that a build takes no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.media import canned
from ltxflow.media.image import read_image
from ltxflow.media.slate import SlateSpec
from ltxflow.steps import slate as slate_step

Draw = Callable[[SlateSpec, Path, Path | None, Any], None]


def use_canned() -> None:
    """Draw no slates in this process from now on."""
    slate_step.draw_slate = canned_drawing([])


def canned_drawing(drawn: list[str], first: Callable[[SlateSpec], None] = lambda spec: None) -> Draw:
    """Return what replaces `draw_slate`: it calls `first` before a slate is "drawn", and adds to `drawn` after."""

    def draw(spec: SlateSpec, out: Path, reference: Path | None = None, progress: Any = None) -> None:
        first(spec)
        if reference is not None:
            read_image(reference)  # fails as drawing would
        for done in (spec.frames // 2, spec.frames):
            if progress:
                progress(done, spec.frames)
        out.write_bytes(canned(spec.frames, (spec.width, spec.height), spec.fps, repr(spec)))
        drawn.append(f"{spec.scene}/{spec.clip}")

    return draw


def gated(gate: Path) -> str:
    """Return the set-up of a process whose first slate waits at a named pipe until it is written to."""
    return (
        "from ltxflow.steps import slate; from harness.slates import canned_drawing\n"
        "drawn = []\n"
        f"first = lambda spec: drawn or open({str(gate)!r}).read()\n"
        "slate.draw_slate = canned_drawing(drawn, first)\n"
    )
