"""Repair a workflow whose file would not be saved, be silent or have another format, and describe the changes. Pure.

The video is saved as an mp4 that players accept, with a sound track; a sound comes from a file that a clip can give;
a switch that is always set the same way is removed.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.graph import Graph
from ltxflow.workflow.values import Values
from ltxflow.workflow.wiring import Wiring

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
