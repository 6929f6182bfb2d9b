"""Change what would make a workflow's file lost, silent or of another kind, and say so. Pure.

Each change is one that its author would make on being asked: the video is saved, as an mp4 that players take, with a
sound track; a sound comes from a file that a clip can give; a switch that is set for good is taken out.
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
SILENCE_S = 60.0  # longer than any clip: what saves a video cuts its sound to the picture's length


@dataclass(frozen=True)
class Mended:
    """A workflow with its changes: node id → a sentence each. `silence` are nodes that make a silent track."""

    graph: Graph
    changes: dict[str, list[str]] = field(default_factory=dict)
    silence: frozenset[str] = frozenset()

    def sentences(self, ids: set[str]) -> list[str]:
        """Return the changes to these nodes."""
        return [sentence for id, sentences in self.changes.items() if id in ids for sentence in sentences]


def mend(graph: Graph) -> Mended:
    """Return a copy of the workflow, mended where that is needed."""
    return _Mending(copy.deepcopy(graph)).all()


def unused_id(graph: Graph, wanted: str) -> str:
    """Return an id for a new node."""
    number = 2
    id = wanted
    while id in graph:
        id, number = f"{wanted}-{number}", number + 1
    return id


class _Mending(Wiring):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.changes: dict[str, list[str]] = {}
        self.silence: set[str] = set()

    def all(self) -> Mended:
        self.fold_switches()
        for id in [*self.graph]:
            if self.class_of(id) in ("VHS_LoadAudio", "VHS_LoadAudioUpload"):
                self.load_sound(id)
            elif SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id):
                self.save(id)
        for id in [*self.graph]:
            if SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id):
                self.add_silence(id)
        return Mended(self.graph, self.changes, frozenset(self.silence))

    def note(self, id: str, sentence: str) -> None:
        self.changes.setdefault(id, []).append(sentence)

    def set(self, id: str, name: str, value: Any) -> None:
        self.graph[id]["inputs"][name] = value
        self.read_from.clear()

    # ---- switches

    def fold_switches(self) -> None:
        """Link past a switch that nothing can turn: the side that is off needs no model on the server."""
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
                continue  # it follows from a number, which the clip may decide
            taken = self.inputs(id)[side]
            link = self.link(id, side)
            for reader, name in readers.pop(id, []):
                self.set(reader, name, copy.deepcopy(taken))
                self.note(reader, f"{self.told(id)} is {str(switch).lower()}: only that side of it is kept")
                if link:
                    readers.setdefault(link[0], []).append((reader, name))

    # ---- sounds

    def load_sound(self, id: str) -> None:
        """Let a sound be loaded as ComfyUI itself does it: by a name in the folder of inputs."""
        if any(slot != 0 for reader in self.graph for _, source, slot in self.links(reader) if source == id):
            return
        name = next((value for value in self.inputs(id).values() if isinstance(value, str)), "sound.wav")
        self.note(id, f"{self.told(id)} loads a sound: LoadAudio does it in its place")
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
            self.note(id, f"{self.told(id)} kept no file: save_output is true now")
        format_ = inputs.get("format")
        if str(format_) not in MP4_FORMATS:
            self.set(id, "format", MP4)
            if "pix_fmt" in inputs:
                self.set(id, "pix_fmt", PIXELS)
            before = f'"{str(format_)[:40]}"' if isinstance(format_, str) else "another format"
            self.note(id, f"{self.told(id)} made {before}: format is {MP4} now")

    def replace_by_mp4(self, id: str) -> None:
        """Put CreateVideo and SaveVideo in the place of a node that saves pictures one after the other."""
        inputs, before = self.inputs(id), self.told(id)
        images = self.link(id, "images")
        rate = next((inputs[name] for name in RATES if name in inputs), None)
        if images is None or rate is None:
            return
        video = unused_id(self.graph, f"{id}-video")
        made: dict[str, Any] = {"images": [*images], "fps": rate}
        self.graph[video] = {"class_type": "CreateVideo", "inputs": made}
        kept = {key: value for key, value in self.graph[id].items() if key not in ("class_type", "inputs")}
        saved = {"video": [video, 0], PREFIX: inputs[PREFIX], "format": "mp4", "codec": "h264"}
        self.graph[id] = {"class_type": "SaveVideo", "inputs": saved, **kept}
        self.note(id, f"{before} makes no mp4: CreateVideo and SaveVideo do it in its place")

    def container(self, id: str) -> None:
        """Say mp4 and H.264 in the plain form; servers differ in how they spell it (comfy/nodes.py)."""
        inputs = self.inputs(id)
        spelled = [name for name in inputs if name.startswith("format.")]
        codec = inputs.get("format.codec", inputs.get("codec", "auto"))
        for name in spelled:
            del self.graph[id]["inputs"][name]
        if spelled:
            self.set(id, "codec", codec)
        if inputs.get("format", "auto") in ("auto", "mp4") and codec in ("auto", "h264"):
            return
        made = " with ".join(str(part)[:20] for part in (inputs.get("format"), codec) if isinstance(part, str))
        self.graph[id]["inputs"] |= {"format": "mp4", "codec": "h264"}
        self.note(id, f"{self.told(id)} made {made or 'another kind of file'}: format is mp4 and codec h264 now")

    # ---- silence

    def add_silence(self, id: str) -> None:
        """Give a silent video a track of silence: a clip without one is refused when it comes back."""
        video = next((source for source, _ in self.linked(id, "video")), id)
        if self.class_of(video) not in ("CreateVideo", "VHS_VideoCombine") or "audio" in self.inputs(video):
            return
        silence = unused_id(self.graph, f"{video}-silence")
        inputs = {"duration": SILENCE_S, "sample_rate": 48000, "channels": 2}
        self.graph[silence] = {"class_type": "EmptyAudio", "inputs": inputs}
        self.set(video, "audio", [silence, 0])
        self.silence.add(silence)
        self.note(video, f"{self.told(video)} gets no sound: EmptyAudio adds a silent track")
