"""Find the inputs that give a workflow's picture its size, and the variables to write there. Pure.

Repair a workflow whose file would not be saved, be silent or have another format, and describe the changes. Pure.

The video is saved as an mp4 that players accept, with a sound track; a sound comes from a file that a clip can give;
a switch that is always set the same way is removed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ltxflow.comfy.graph import Graph
from ltxflow.workflow.values import Spot, Values
from ltxflow.workflow.wiring import Place, Wiring, as_number

Context = Mapping[str, float]
Want = Callable[[Context], float]

MOST_SPOTS = 8  # places tried for one number, of the farthest and of the nearest each

# Films with which a place is tried. Nodes compute plain arithmetic, so a place right for these is right for all.
FILMS: tuple[Context, ...] = tuple(
    {"width": width, "height": height, "frames": frames, "fps": fps, "seed": seed}
    for width, height, frames, fps, seed in (
        (384, 640, 121, 24, 5),
        (1024, 576, 49, 25, 2**52 + 1),
        (96, 2048, 257, 30, 0),
    )
)


@dataclass
class SizeUse:
    """An input that a clip decides: its variable, and the places where that can be written.

    `spots` are tried in turn, each with its text in the template: a place that two uses want different texts for is
    given to neither.
    """

    place: Place
    variable: str
    spots: Iterator[tuple[Spot, str]]


@dataclass
class Sizing(Wiring):
    """A search for sizes in one workflow."""

    uses: list[SizeUse] = field(default_factory=list)

    @cached_property
    def values(self) -> Values:
        return Values(self)

    def has_use(self, place: Place) -> bool:
        return any(use.place == place for use in self.uses)

    # ---- numbers

    def use_number(self, text: str, place: Place, want: Want, others: Mapping[str, Want] | None = None) -> None:
        """Record that an input must equal `text`; `others` are further texts that a place before it may need."""
        if not self.has_use(place):
            options = {text: want, **(others or {})}
            self.uses.append(SizeUse(place, text, self._spots(place, text, want, options)))

    def _spots(self, place: Place, text: str, want: Want, options: Mapping[str, Want]) -> Iterator[tuple[Spot, str]]:
        before = self.values.spots(*place)[:-1]
        for spot in [*before[:MOST_SPOTS], *before[MOST_SPOTS:][-MOST_SPOTS:]]:
            if not self.values.holds_number(spot):
                continue
            for option, value in options.items():
                if all(self._equals(place, want(film), {spot: value(film)}, film) for film in self._films()):
                    yield spot, option
                    break
        yield place, text

    def follows(self, place: Place, want: Want) -> bool:
        """Return whether an input has the wanted value already, as it measures a picture of the clip."""
        return self.values.from_picture(*place) and all(
            self._equals(place, want(film), {}, film) for film in self._films()
        )

    def _films(self) -> list[Context]:
        """Return the films with the size of the decoded picture."""
        scale = self.scale
        return [
            {**film, "decoded_width": film["width"] * scale, "decoded_height": film["height"] * scale} for film in FILMS
        ]

    def _equals(self, place: Place, wanted: float, spots: Mapping[Spot, Any], film: Context) -> bool:
        picture = film["decoded_width"], film["decoded_height"]
        found = as_number(self.values.with_spots(*place, spots, picture))
        return found is not None and found == wanted

    # ---- sizes

    @cached_property
    def scale(self) -> float:
        """Factor from the size of the first latent to that of the decoded picture."""
        scale = 1.0
        for id in self.used:
            scale *= self.upscale(id)
        return scale

    @cached_property
    def used(self) -> set[str]:
        """The nodes that lead to the fetched files."""
        raise NotImplementedError

    def use_size(self, place: Place, side: str, is_decoded: bool) -> None:
        """Record that an input is the width or height of the decoded picture or of the first latent."""
        decoded, sampled = f"decoded_{side}", side

        def want_decoded(film: Context) -> float:
            return film[decoded]

        def want_sampled(film: Context) -> float:
            return film[sampled]

        if is_decoded or self.scale == 1:
            if not self.follows(place, want_decoded):
                self.use_number(decoded, place, want_decoded, {sampled: want_sampled} if self.scale != 1 else None)
        elif not self.follows(place, want_sampled):
            self.use_number(sampled, place, want_sampled, {decoded: want_decoded})

    def size_of(self, id: str, pair: tuple[str, str]) -> tuple[float, float] | None:
        """Return the two numbers that a node reads as a size, None if they cannot be computed."""
        numbers = [self.values.number(id, name) if name in self.inputs(id) else None for name in pair]
        known = [number for number in numbers if number is not None]
        return (known[0], known[1]) if len(known) == 2 else None

    def sizes_elsewhere(self, latents: list[str], crops: list[str], base: tuple[float, float] | None) -> list[str]:
        """Give the film's size to every node that had the workflow's; return the changes of other sizes.

        A picture of the clip is resized to the decoded size, whatever size the workflow had: it is prepared for that.
        """
        decoded = (base[0] * self.scale, base[1] * self.scale) if base else None
        changed: list[str] = []
        for id in self.in_order(self.used):
            pair = self.values.pair(id)
            if pair is None or id in latents or id in crops:
                continue
            size = self.size_of(id, pair)
            is_same = size is not None and size in (base, decoded)
            if not is_same and not self.resizes_picture(id):
                continue
            is_decoded = size == decoded or size != base
            for name, side in zip(pair, ("width", "height"), strict=True):
                self.use_size((id, name), side, is_decoded)
            if not is_same and size:
                changed.append(
                    f"{self.describe(id)} resized a picture to {size[0]:g}x{size[1]:g}: set to the size of the clip"
                )
        return changed

    def resizes_picture(self, id: str) -> bool:
        """Return whether a node resizes a picture or video file, before anything is sampled."""
        before = self.upstream(id)
        is_file = any(self.loads(one, "image") or self.loads_video(one) for one in before)
        return (
            is_file and not any(self.is_sampler(one) for one in before) and any(self.linked(id, *self.picture_inputs))
        )


SAVES = re.compile(r"SaveVideo|SaveWEBM|VideoCombine|VideoSave|SaveAnimatedWEBP|SaveAnimatedPNG|SaveMP4", re.IGNORECASE)
PREFIX = "filename_prefix"

MP4 = "video/h264-mp4"
MP4_FORMATS = frozenset({MP4, "video/nvenc_h264-mp4"})
PIXELS = "yuv420p"  # what browsers decode
RATES = ("fps", "frame_rate")
SILENCE_S = 60.0  # longer than any clip: the save node cuts the sound to the picture's length


@dataclass(frozen=True)
class Repaired:
    """A repaired workflow and its changes: node id → sentences. `silence` are nodes that make a silent track."""

    graph: Graph
    changes: dict[str, list[str]] = field(default_factory=dict)
    silence: frozenset[str] = frozenset()

    def sentences(self, ids: set[str]) -> list[str]:
        """Return the changes to these nodes."""
        return [sentence for id, sentences in self.changes.items() if id in ids for sentence in sentences]


def repair(graph: Graph) -> Repaired:
    """Return a repaired copy of the workflow."""
    return _Repair(copy.deepcopy(graph)).all()


def unused_id(graph: Graph, wanted: str) -> str:
    """Return an unused id for a new node, `wanted` if it is free."""
    number = 2
    id = wanted
    while id in graph:
        id, number = f"{wanted}-{number}", number + 1
    return id


class _Repair(Wiring):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.changes: dict[str, list[str]] = {}
        self.silence: set[str] = set()

    def all(self) -> Repaired:
        self.fold_switches()
        for id in [*self.graph]:
            if self.class_of(id) in ("VHS_LoadAudio", "VHS_LoadAudioUpload"):
                self.load_sound(id)
            elif SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id):
                self.save(id)
        for id in [*self.graph]:
            if SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id):
                self.add_silence(id)
        return Repaired(self.graph, self.changes, frozenset(self.silence))

    def note(self, id: str, sentence: str) -> None:
        self.changes.setdefault(id, []).append(sentence)

    def set(self, id: str, name: str, value: Any) -> None:
        self.graph[id]["inputs"][name] = value
        self.read_from.clear()

    # ---- switches

    def fold_switches(self) -> None:
        """Replace constant switches by links: the side that is off needs no model on the server."""
        values = Values(self)
        readers: dict[str, list[tuple[str, str]]] = {}
        for reader in self.graph:
            for name, source, _ in self.links(reader):
                readers.setdefault(source, []).append((reader, name))
        for id in [*self.graph]:
            if self.class_of(id) != "ComfySwitchNode":
                continue
            switch = values.of(id, "switch")
            side = "on_true" if switch else "on_false"
            if not isinstance(switch, bool) or side not in self.inputs(id):
                continue
            if not values.is_set_by_hand(id, "switch"):
                continue  # it depends on a number, which the clip may decide
            taken = self.inputs(id)[side]
            link = self.link(id, side)
            for reader, name in readers.pop(id, []):
                self.set(reader, name, copy.deepcopy(taken))
                self.note(reader, f"{self.describe(id)} is {str(switch).lower()}: only that side is kept")
                if link:
                    readers.setdefault(link[0], []).append((reader, name))

    # ---- sounds

    def load_sound(self, id: str) -> None:
        """Load a sound by ComfyUI's own node: by a name in the input folder."""
        if any(slot != 0 for reader in self.graph for _, source, slot in self.links(reader) if source == id):
            return
        name = next((value for value in self.inputs(id).values() if isinstance(value, str)), "sound.wav")
        self.note(id, f"{self.describe(id)} loads a sound: replaced by LoadAudio")
        self.graph[id]["class_type"] = "LoadAudio"
        self.graph[id]["inputs"] = {"audio": name}

    # ---- files

    def save(self, id: str) -> None:
        class_ = self.class_of(id)
        if "VideoCombine" in class_:
            self.combine(id)
        elif class_ in ("SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM"):
            self.replace_by_mp4(id)
        elif class_ == "SaveVideo":
            self.container(id)

    def combine(self, id: str) -> None:
        inputs = self.inputs(id)
        if inputs.get("save_output", True) is not True:
            self.set(id, "save_output", True)
            self.note(id, f"{self.describe(id)} saved no file: set save_output to true")
        format_ = inputs.get("format")
        if str(format_) not in MP4_FORMATS:
            self.set(id, "format", MP4)
            if "pix_fmt" in inputs:
                self.set(id, "pix_fmt", PIXELS)
            before = f'"{str(format_)[:40]}"' if isinstance(format_, str) else "another format"
            self.note(id, f"{self.describe(id)} saved {before}: set format to {MP4}")

    def replace_by_mp4(self, id: str) -> None:
        """Replace a node that saves animated pictures or webm by CreateVideo and SaveVideo."""
        inputs, before = self.inputs(id), self.describe(id)
        images = self.link(id, "images")
        rate = next((inputs[name] for name in RATES if name in inputs), None)
        if images is None or rate is None:
            return
        video = unused_id(self.graph, f"{id}-video")
        new: dict[str, Any] = {"images": [*images], "fps": rate}
        self.graph[video] = {"class_type": "CreateVideo", "inputs": new}
        kept = {key: value for key, value in self.graph[id].items() if key not in ("class_type", "inputs")}
        saved = {"video": [video, 0], PREFIX: inputs[PREFIX], "format": "mp4", "codec": "h264"}
        self.graph[id] = {"class_type": "SaveVideo", "inputs": saved, **kept}
        self.note(id, f"{before} saves no mp4: replaced by CreateVideo and SaveVideo")

    def container(self, id: str) -> None:
        """Set mp4 and H.264 in the flat form; comfy/adapt.py rewrites it for servers with nested inputs."""
        inputs = self.inputs(id)
        spelled = [name for name in inputs if name.startswith("format.")]
        codec = inputs.get("format.codec", inputs.get("codec", "auto"))
        for name in spelled:
            del self.graph[id]["inputs"][name]
        if spelled:
            self.set(id, "codec", codec)
        if inputs.get("format", "auto") in ("auto", "mp4") and codec in ("auto", "h264"):
            return
        before = " with ".join(str(part)[:20] for part in (inputs.get("format"), codec) if isinstance(part, str))
        self.graph[id]["inputs"] |= {"format": "mp4", "codec": "h264"}
        self.note(id, f"{self.describe(id)} saved {before or 'another format'}: set format to mp4 and codec to h264")

    # ---- silence

    def add_silence(self, id: str) -> None:
        """Add a silent track to a video without sound: a clip without one fails its check."""
        video = next((source for source, _ in self.linked(id, "video")), id)
        if self.class_of(video) not in ("CreateVideo", "VHS_VideoCombine") or "audio" in self.inputs(video):
            return
        silence = unused_id(self.graph, f"{video}-silence")
        inputs = {"duration": SILENCE_S, "sample_rate": 48000, "channels": 2}
        self.graph[silence] = {"class_type": "EmptyAudio", "inputs": inputs}
        self.set(video, "audio", [silence, 0])
        self.silence.add(silence)
        self.note(video, f"{self.describe(video)} has no sound: added a silent track by EmptyAudio")
