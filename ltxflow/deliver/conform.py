"""A film as one file: which parts its picture is cut into, and what is heard when. Pure; reads a timeline.

      ┌─ a ──┐        ┌── b ───┐
film: │ a    │ a→b    │ b      │      a part for every clip between its dissolves, and one for every dissolve:
      part   part     part            an edit of b encodes two of the three anew
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Digest
from ltxflow.media.cutting import Look, Stretch
from ltxflow.media.joining import Caption, Chapter
from ltxflow.media.mixing import RATE, Bed, Voice
from ltxflow.steps import Node
from ltxflow.steps.conform import Film, SceneSound
from ltxflow.steps.part import Burnt, Part

PROXY_LONG_SIDE = 640  # px
TARGET = "conform:film"

Json = Mapping[str, Any]
OF_CLIPS = ("id", "sha256", "trimStart", "durationInFrames", "from", "transition", "volume")


@dataclass(frozen=True)
class Finish:
    """How a film is finished: small and quick, or as it is; with captions in the picture, or beside it."""

    is_proxy: bool = False
    burns_captions: bool = False

    def look(self, told: Json) -> Look:
        """Given a timeline, return the size and the settings of its picture."""
        width, height = told["width"], told["height"]
        if not self.is_proxy:
            return Look(width, height, told["fps"], "veryfast", 18)
        long = max(width, height, PROXY_LONG_SIDE)
        width, height = (max(2, round(side * PROXY_LONG_SIDE / long / 2) * 2) for side in (width, height))
        return Look(width, height, told["fps"], "ultrafast", 26)

    @property
    def bit_rate(self) -> int:
        return 128_000 if self.is_proxy else 192_000


@dataclass(frozen=True)
class Source:
    """A published file and the digest of its bytes."""

    path: Path
    digest: Digest


def conform_nodes(told: Json, sources: Mapping[str, Source], captions: Sequence[Caption], finish: Finish) -> list[Node]:
    """Given a timeline that is complete, its files by their `src`, and its captions, return what makes the film.

    The last node is the film, the others are the parts that it needs.
    """
    look = finish.look(told)
    parts = [
        Node(f"part:{name}", "part", part, part.shown.frames)
        for name, part in _parts(told, sources, look, captions if finish.burns_captions else ())
    ]
    film = Film(
        fps=told["fps"],
        frames=told["durationInFrames"],
        bit_rate=finish.bit_rate,
        scenes=tuple(_sound(scene, sources, told["fps"]) for scene in told["scenes"]),
        chapters=tuple(_chapter(scene) for scene in told["scenes"]),
        captions=() if finish.burns_captions else tuple(captions),
        tags={"title": told["title"], "comment": f"machine-made, with {told['generator']['model']}"},
    )
    needs = {f"part.{number:04d}": node.target for number, node in enumerate(parts)}
    return [*parts, Node(TARGET, "conform", film, film.frames, needs)]


def _parts(
    told: Json, sources: Mapping[str, Source], look: Look, captions: Sequence[Caption]
) -> Iterator[tuple[str, Part]]:
    """The parts in order, each under its name: `hook/a`, `hook/a+b`."""
    at = 0
    for scene in told["scenes"]:
        for name, part in _scene_parts(scene, sources, look):
            burnt = tuple(_burnt(caption, at, part.shown.frames, look.fps) for caption in captions)
            yield name, replace(part, captions=tuple(one for one in burnt if one.first < one.end))
            at += part.shown.frames


def _scene_parts(scene: Json, sources: Mapping[str, Source], look: Look) -> Iterator[tuple[str, Part]]:
    for before, clip, after in _neighbours(scene["clips"]):
        name, source = f"{scene['id']}/{clip['id']}", sources[clip["src"]]
        fade, fade_out = _fade(clip), _fade(after)
        if fade and before is not None:
            end = before["trimStart"] + before["durationInFrames"]
            yield (
                f"{scene['id']}/{before['id']}+{clip['id']}",
                Part(
                    look,
                    Stretch(source.path, clip["trimStart"], fade),
                    source.digest,
                    Stretch(sources[before["src"]].path, end - fade, fade),
                    sources[before["src"]].digest,
                ),
            )
        alone = clip["durationInFrames"] - fade - fade_out
        if alone:
            yield name, Part(look, Stretch(source.path, clip["trimStart"] + fade, alone), source.digest)


def _neighbours(clips: Sequence[Json]) -> Iterator[tuple[Json | None, Json, Json | None]]:
    around = [None, *clips, None]
    for (before, clip), (_, after) in pairwise(pairwise(around)):
        assert clip is not None
        yield before, clip, after


def _fade(clip: Json | None) -> int:
    """How many frames of a clip dissolve into it from the one before."""
    return int(clip["transition"]["durationInFrames"]) if clip and clip["transition"] else 0


def _burnt(caption: Caption, start: int, frames: int, fps: int) -> Burnt:
    """A caption in a part that starts at the frame `start`; outside of it, one that ends before it begins."""
    first, end = (-(-ms * fps // 1000) - start for ms in (caption.start, caption.end))
    return Burnt(max(0, first), min(frames, end), caption.lines, caption.italics)


def _sound(scene: Json, sources: Mapping[str, Source], fps: int) -> SceneSound:
    start: int = scene["from"]

    def samples(frame: int) -> int:
        return (start + frame) * RATE // fps - start * RATE // fps

    beds, digests = [], []
    for _, clip, after in _neighbours(scene["clips"]):
        if clip["hasAudio"]:
            at, end = samples(clip["from"]), samples(clip["from"] + clip["durationInFrames"])
            first = clip["trimStart"] * RATE // fps
            slopes = (_fade(clip) * RATE // fps, _fade(after) * RATE // fps)
            beds.append(Bed(sources[clip["src"]].path, first, at, end - at, *slopes, clip["volume"]))
            digests.append(sources[clip["src"]].digest)
    voice, spoken = None, scene["narration"]
    if spoken is not None:
        voice = Voice(sources[spoken["src"]].path, samples(spoken["startFrame"]), spoken["volume"])
        digests.append(sources[spoken["src"]].digest)
    return SceneSound(samples(scene["durationInFrames"]), tuple(beds), voice, tuple(digests))


def _chapter(scene: Json) -> Chapter:
    return Chapter(scene["title"] or scene["id"], scene["from"], scene["from"] + scene["durationInFrames"])


def files_of(told: Json) -> dict[str, str | None]:
    """Given a timeline, return the `src` of every file that a film needs → the digest it says, if it does."""
    named: dict[str, str | None] = {}
    for scene in told["scenes"]:
        named |= {clip["src"]: clip["sha256"] for clip in scene["clips"] if clip["src"]}
        if scene["narration"]:
            named[scene["narration"]["src"]] = None
    return named


def outline(told: Json) -> list[Any]:
    """Given a timeline, return what of it is seen and heard in the film: two films are the same if this is."""
    return [
        [
            [scene[name] for name in ("id", "title", "from", "durationInFrames")],
            [(scene["narration"] or {}).get(name) for name in ("startFrame", "samples", "sampleRate", "volume")],
            [[clip[name] for name in OF_CLIPS] for clip in scene["clips"]],
        ]
        for scene in told["scenes"]
    ]
