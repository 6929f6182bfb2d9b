"""SVG that the board draws: the strip under a scene, the graph of the plan, where the time of renders went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.media.mix import peaks

Json = Mapping[str, Any]
STRIP_HEIGHT = 36
PEAKS = 2  # frames of a column of a waveform
ROW, COLUMN, BOX, GAP = 34, 270, 220, 46  # px of the plan's graph
LABEL = 22  # characters of a name in it


def strip(scene: Json, clips: Sequence[Json], fps: int, sound: Path | None) -> str:
    """Return the strip under a scene: its crossfades, and the waveform of its narration, one unit a frame."""
    frames, middle = max(1, scene["frames"]), STRIP_HEIGHT / 2
    parts = [f'<rect width="{frames}" height="{STRIP_HEIGHT}" rx="0" fill="#8a93a6" fill-opacity=".1"/>']
    for clip in clips:
        overlap = clip["overlap"] if clip is not clips[-1] else 0
        if overlap > 0:
            x = clip["from"] - scene["from"] + clip["shown"]
            parts.append(f'<path d="M{x} 0h{overlap}v{STRIP_HEIGHT}h-{overlap}z" fill="#8a93a6" fill-opacity=".28"/>')
            line = f"M{x} {STRIP_HEIGHT}L{x + overlap} 0M{x} 0L{x + overlap} {STRIP_HEIGHT}"
            parts.append(f'<path d="{line}" stroke="#8a93a6" stroke-width="1" vector-effect="non-scaling-stroke"/>')
    narration = scene["narration"]
    if narration["kind"]:
        start, length = round(narration["lead"] * fps), max(1, round(narration["seconds"] * fps))
        heights = []
        if sound is not None:
            with suppress(LtxflowError, OSError):
                heights = peaks(sound, length // PEAKS)
        if heights:
            step = length / len(heights)
            above = "".join(f"L{start + i * step:.1f} {middle - h * (middle - 1):.1f}" for i, h in enumerate(heights))
            below = "".join(
                f"L{start + i * step:.1f} {middle + h * (middle - 1):.1f}" for i, h in reversed([*enumerate(heights)])
            )
            parts.append(f'<path d="M{start} {middle}{above}{below}z" fill="#6d8fd6"/>')
        else:
            rect = f'x="{start}" y="{middle - 3}" width="{length}" height="6" rx="3"'
            parts.append(f'<rect {rect} fill="none" stroke="#6d8fd6" vector-effect="non-scaling-stroke"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {frames} {STRIP_HEIGHT}" preserveAspectRatio="none">'
    return f"{head}{''.join(parts)}</svg>"


def graph(changes: Sequence[Json], edges: Sequence[tuple[str, str]]) -> str:
    """Return the plan as a graph: what is made from what, left to right; a line for each clip in film order."""
    rows = {change["target"]: change for change in changes}
    hidden = {source for source, _ in edges if source not in rows}  # frames, taken on the way
    links = [(a, b) for a, b in edges if a in rows and b in rows]
    links += [(a, b) for a, frame in edges if frame in hidden for other, b in edges if other == frame and b in rows]
    links = [(a, b) for a, b in dict.fromkeys(links) if a in rows]
    depth = dict.fromkeys(rows, 0)
    for _ in range(min(len(rows), 64)):  # a longer chain is drawn in the last column
        moved = False
        for a, b in links:
            if depth[b] < depth[a] + 1 <= 64:
                depth[b], moved = depth[a] + 1, True
        if not moved:
            break
    filled: dict[int, int] = {}
    place: dict[str, tuple[int, int]] = {}
    for target in rows:
        column = depth[target]
        above = [place[a][1] for a, b in links if b == target and a in place]
        row = max(filled.get(column, 0), min(above, default=0) if above else filled.get(column, 0))
        filled[column] = row + 1
        place[target] = (column, row)
    width = COLUMN * (max((c for c, _ in place.values()), default=0) + 1)
    height = ROW * (max((r for _, r in place.values()), default=0) + 1)
    drawn = []
    for a, b in links:
        (ca, ra), (cb, rb) = place[a], place[b]
        x1, y1, x2, y2 = ca * COLUMN + BOX, ra * ROW + 14, cb * COLUMN, rb * ROW + 14
        bend = f"C{x1 + GAP / 2} {y1} {x2 - GAP / 2} {y2} {x2} {y2}"
        drawn.append(f'<path class="edge" d="M{x1} {y1}{bend}"/>')
    for target, change in rows.items():
        column, row = place[target]
        x, y = column * COLUMN, row * ROW
        name, word = escape(change["short"]), escape(change["word"])
        label_text = escape(change["short"].removeprefix("reference:")[:LABEL])
        title = escape("; ".join(change["why"]) or change["word"])
        box = f'<rect x="{x + 0.5}" y="{y + 0.5}" width="{BOX - 1}" height="27" rx="6"/>'
        label = f'<text x="{x + 10}" y="{y + 18}">{label_text}</text>'
        kind = f'<text class="word" x="{x + BOX - 10}" y="{y + 18}" text-anchor="end">{word}</text>'
        drawn.append(f'<g class="node {change["kind"]}"><title>{name}: {title}</title>{box}{label}{kind}</g>')
    head = f'<svg class="graph" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
    return f"{head}{''.join(drawn)}</svg>"


def times(rows: Sequence[Json], phases: Sequence[str]) -> str:
    """Return where the time of renders went: a bar for each clip, a colour for each phase."""
    most = max((row["total"] for row in rows), default=1.0) or 1.0
    drawn = []
    for index, row in enumerate(rows):
        y, x = index * 22, 130.0
        drawn.append(f'<text x="120" y="{y + 14}" text-anchor="end">{escape(row["path"])[:18]}</text>')
        for phase in phases:
            width = row["parts"][phase] / most * 600
            title = f"{row['path']}: {phase} {row['parts'][phase]:.1f} s"
            rect = f'x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="16"'
            drawn.append(f'<rect class="t-{phase}" {rect}><title>{escape(title)}</title></rect>')
            x += width
        drawn.append(f'<text x="{x + 8:.1f}" y="{y + 14}">{row["total"]:.1f} s</text>')
    height = max(1, len(rows)) * 22
    return f'<svg class="times" viewBox="0 0 820 {height}" aria-hidden="true">{"".join(drawn)}</svg>'
