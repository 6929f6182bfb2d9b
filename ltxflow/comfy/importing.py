"""Recognises in a ComfyUI workflow what a clip decides, for a template of it. Pure; knows no project.

Nothing is asked: a value is found by the class of its node and by the links from it to the samplers and to the node
that saves the video. What is not recognised stays as it was, number by number and text by text.

What becomes a variable, and where it is looked for:

    prompt, negative      the texts behind `positive` and `negative` of the samplers' guiders
    seed                  the noise of the first stage; later stages keep theirs, as the official workflows do
    width, height, frames the node with all three that the first stage samples; the same numbers where they return
    fps                   every `fps` and `frame_rate` on the way to the file
    reference, last_frame pictures that go into the latent, by the frame they are put at
    prefix                the name that the save node gives its file; the node is titled "video"

A number or text that comes from a primitive node is replaced there; one that is computed, at the place of its use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.graph import OUTPUTS, Graph
from ltxflow.comfy.nodes import FILES, Signatures, as_link, core_classes, file_inputs, folder_of
from ltxflow.comfy.wiring import LENGTHS, TEXTS, Place, Wiring, as_number
from ltxflow.core.errors import LtxflowError, Problem

RULES = {
    "T022": "what is imported saves a video",
}

RATES = ("frame_rate", "fps")
PICTURES = ("image", "images", "start_image", "first_frame", "init_image", "optional_cond_images", "cond_image")
LAST_PICTURES = ("end_image", "last_image", "last_frame", "end_frame")
WIDTHS = (("width", "height"), ("resize_type.width", "resize_type.height"), ("target_width", "target_height"))
SAVES = re.compile(r"SaveVideo|SaveWEBM|VideoCombine|VideoSave|SaveAnimatedWEBP|SaveMP4", re.IGNORECASE)
PREFIX = "filename_prefix"
TITLE = "video"


@dataclass(frozen=True)
class Found:
    """A value that becomes a variable: where it stood, what it was, and what the template says in its place."""

    variable: str
    node: str
    class_type: str
    input: str
    was: Any
    text: str


@dataclass(frozen=True)
class Recognised:
    """What was found in a workflow. `stages` is 2 where it doubles the picture in a second stage.

    `left` says, a sentence each, what stays as it was though a clip has a setting for it; `problems` what will not
    work with it. `saves` are the nodes whose files are fetched, with their titles; the first is the clip.
    """

    found: tuple[Found, ...]
    saves: Mapping[str, str]
    stages: int
    has_crop: bool
    left: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        used = {name for one in self.found for name in re.findall(r"(?<![.\w])[a-z_]+", one.text)}
        return tuple(name for name in ORDER if name in used)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in ("reference", "last_frame") if name in self.variables)

    def was(self, variable: str) -> Any:
        """Return the value that a variable had in the workflow, None where it is none of it."""
        return next((one.was for one in self.found if one.variable == variable), None)


ORDER = (
    *("prompt", "negative", "seed", "width", "height", "decoded_width", "decoded_height", "crop", "frames", "fps"),
    *("reference", "last_frame", "prefix"),
)


def recognise(graph: Graph) -> Recognised:
    """Given a workflow in API format, return what a clip decides in it. Raise LtxflowError if it saves no video."""
    return _Search(graph).all()


@dataclass
class _Use:
    """An input that a variable is for: the expression to write there, and where its value really stands."""

    variable: str
    place: Place
    source: Place | None


@dataclass
class _Search(Wiring):
    """One look at one workflow."""

    uses: list[_Use] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def all(self) -> Recognised:
        self.save = self.save_node()
        self.beside = self.saved_beside()
        self.used = set().union(*(self.upstream(id) for id in (self.save, *self.beside)))
        samplers = [id for id in self.in_order(self.used) if self.is_sampler(id)]
        self.depth = {id: len(self.upstream(id) & set(samplers)) for id in samplers}
        self.first = [id for id in samplers if self.depth[id] == min(self.depth.values())]
        self.later = [id for id in samplers if id not in self.first]
        self.texts()
        self.seeds()
        stages, has_crop = self.sizes()
        self.lengths()
        self.rates()
        self.pictures()
        self.use("prefix", (self.save, PREFIX))
        for id, title in self.beside.items():
            self.use(f'prefix ~ "-{title}"', (id, PREFIX))
        self.sound()
        found = self.settled()
        self.rest(found)
        foreign = tuple(sorted({self.class_of(id) for id in self.graph} - core_classes()))
        left, problems = tuple(dict.fromkeys(self.left)), tuple(dict.fromkeys(self.problems))
        titles = {self.save: TITLE, **self.beside}
        return Recognised(found, titles, stages, has_crop, left, problems, foreign)

    def warn(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem(message, None, hint, "", "warning"))

    # ---- the file

    def save_node(self) -> str:
        """The node that saves the film's clip: at the end, of the last stage, with sound, the mp4 before others."""
        saves = [id for id in self.graph if SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id)]
        if not saves:
            hint = "end it with CreateVideo and SaveVideo"
            pictures = [self.told(id) for id in self.graph if PREFIX in self.inputs(id)]
            more = f": {pictures[0]} saves something else" if pictures else ""
            raise LtxflowError(Problem(f"this workflow saves no video{more}", None, hint, "T022"))
        read = {source for id in self.graph for _, source, _ in self.links(id)}
        samplers = {id for id in self.graph if self.is_sampler(id)}

        def rank(id: str) -> tuple[bool, int, bool, int]:
            before = self.upstream(id)
            return id not in read, len(before & samplers), self.class_of(id) == "SaveVideo", len(before)

        best = max(saves, key=rank)
        if best in read:
            self.warn(f"{self.told(best)} is read by another node", "ltxflow takes the file of a node at the end only")
        titled = [id for id in saves if self.graph[id].get("_meta", {}).get("title") in OUTPUTS]
        for id in self.in_order(set(saves) - {best, *titled}):
            self.left.append(f"{self.told(id)} saves a video, too: it runs, and ltxflow does not fetch its file")
        if "WEBM" in self.class_of(best).upper() or "WEBP" in self.class_of(best).upper():
            self.warn(f"{self.told(best)} writes no mp4, which ltxflow needs", "use CreateVideo and SaveVideo")
        return best

    def sound(self) -> None:
        video = next((source for source, _ in self.linked(self.save, "video")), self.save)
        has_sound = any(name == "audio" for name, _, _ in self.links(video))
        if not has_sound and self.class_of(video) in ("CreateVideo", "SaveWEBM", "VHS_VideoCombine"):
            self.warn(
                f"{self.told(video)} gets no sound, and ltxflow refuses a clip without a sound track",
                "link LTXVAudioVAEDecode, or EmptyAudio, to its audio",
            )

    def saved_beside(self) -> dict[str, str]:
        """The nodes that save a last frame or an uncropped video, as ltxflow's own workflows do: id → title."""
        read = {source for id in self.graph for _, source, _ in self.links(id)}
        found: dict[str, str] = {}
        for id in self.graph:
            title = self.graph[id].get("_meta", {}).get("title")
            is_save = id not in read and id != self.save and PREFIX in self.inputs(id)
            if is_save and title in OUTPUTS and title != TITLE and title not in found.values():
                found[id] = str(title)
        return found

    # ---- texts

    def texts(self) -> None:
        first: dict[str, dict[Place, None]] = {"prompt": {}, "negative": {}}
        all_: dict[str, dict[Place, None]] = {"prompt": {}, "negative": {}}
        for sampler in (*self.first, *self.later):
            for variable, places in self.conditionings(sampler).items():
                for place in places:
                    all_[variable].setdefault(place)
                    if sampler in self.first:
                        first[variable].setdefault(place)
        if not all_["prompt"]:
            first = all_ = self.texts_by_title()
        prompts = first["prompt"] or all_["prompt"]
        for place in prompts:
            self.use("prompt", place)
        spoken = {self.literal(place) for place in prompts}
        for place in [p for p in all_["prompt"] if p not in prompts]:
            if self.literal(place) in spoken:
                self.use("prompt", place)
            else:
                self.left.append(f"the text of {self.told(place[0])}: another one than the first stage's")
        if not prompts:
            self.warn("no prompt was found", 'write {{ prompt }} in the template where the text belongs: "text": …')
        negatives = [place for place in all_["negative"] if place not in all_["prompt"]]
        if negatives and not self.is_guided():
            self.left.append("the negative text: at CFG 1 it has no effect")
            return
        chosen = [place for place in negatives if place in first["negative"]] or negatives
        for place in negatives:
            if place in chosen:
                self.use("negative", place)
            else:
                self.left.append(f"the negative text of {self.told(place[0])}, of a later stage")

    def texts_by_title(self) -> dict[str, dict[Place, None]]:
        """Without samplers that we know: encoders, told apart by the word in their title."""
        found: dict[str, dict[Place, None]] = {"prompt": {}, "negative": {}}
        for id in self.in_order(self.used):
            name = next((name for name in TEXTS if isinstance(self.inputs(id).get(name), str)), None)
            if name and "clip" in self.inputs(id):
                title = str(self.graph[id].get("_meta", {}).get("title", "")).lower()
                found["negative" if "negative" in title else "prompt"][id, name] = None
        if len(found["prompt"]) > 1:
            return {"prompt": {}, "negative": {}}
        return found

    def is_guided(self) -> bool:
        """Whether a negative text has an effect: some CFG is not 1, or is not known."""
        guiders = [source for id in (*self.first, *self.later) for source, _ in self.linked(id, "guider")]
        scales = [
            value
            for id in (*self.first, *self.later, *guiders)
            for name, value in self.inputs(id).items()
            if name == "cfg" or name.startswith("cfg_")
        ]
        return not scales or any(as_number(value) != 1 for value in scales)

    # ---- numbers

    def seeds(self) -> None:
        places = [place for sampler in self.first for place in self.noise(sampler)]
        for place in places:
            self.use("seed", place)
        for place in [place for sampler in self.later for place in self.noise(sampler)]:
            if place in places:
                continue
            if self.literal(place) is not None and self.source(place, int) in [self.source(p, int) for p in places]:
                continue  # one number for both: it changes with the first
            self.left.append(
                f"the seed of a later stage ({self.told(place[0])}): it stays {self.shown(place)}, as it does in "
                "ltxflow's own templates; the first stage's decides the picture"
            )
        if not places:
            self.warn("no seed was found", 'write {{ seed }} in the template where it belongs: "noise_seed": …')

    def sizes(self) -> tuple[int, bool]:
        """Find what is sampled, and the same size where it returns; then what cuts the decoded picture."""
        before = set().union(*(self.upstream(id) | {id} for id in self.first)) if self.first else self.used
        empties = [id for id in self.in_order(before) if self.is_latent(id)]
        scale = self.scale()
        if not empties:
            self.warn("no size was found", "write {{ width }} and {{ height }} in the template where they belong")
            return (2 if scale == 2 else 1), False
        base = self.size(empties[0], "width", "height")
        if scale not in (1, 2):
            self.left.append(f"the size: the picture is enlarged {scale:g} times, and ltxflow knows 1 and 2")
            return 1, False
        sampled = ("width", "height") if scale == 2 else ("decoded_width", "decoded_height")
        known = {base: sampled} if base else {}
        if base:
            known[base[0] * scale, base[1] * scale] = ("decoded_width", "decoded_height")
        for id in empties:
            self.use(sampled[0], (id, "width"))
            self.use(sampled[1], (id, "height"))
        crops = self.crops()
        for id, names in [(id, names) for id in self.in_order(self.used) for names in WIDTHS]:
            variables = known.get(self.size(id, *names))  # type: ignore[arg-type]  # None is in no mapping of sizes
            if id in empties or id in crops or variables is None or any(n not in self.inputs(id) for n in names):
                continue
            if all(as_link(self.inputs(id)[name]) is None for name in names):
                self.use(variables[0], (id, names[0]))
                self.use(variables[1], (id, names[1]))
        for id in crops:
            self.crop(id)
        return (2 if scale == 2 else 1), bool(crops)

    def scale(self) -> float:
        """How much larger than its first latent the picture is when it is decoded."""
        scale = 1.0
        for id in self.used:
            if "LatentUpsampler" in self.class_of(id):
                loaders = [source for source, _ in self.linked(id, "upscale_model")]
                models = " ".join(str(value) for loader in loaders for value in self.inputs(loader).values())
                if "temporal" not in models:
                    scale *= 1.5 if "x1.5" in models else 2.0
            elif self.class_of(id) == "LatentUpscaleBy":
                scale *= as_number(self.inputs(id).get("scale_by")) or 1.0
        return scale

    def crops(self) -> list[str]:
        """The nodes between decoder and file that give the picture its final size."""
        found: list[str] = []
        todo = [source for source, _ in self.linked(self.save, "video", "images")]
        while todo:
            id = todo.pop()
            if id in found or as_link(self.inputs(id).get("samples")):
                continue  # decoded here
            if "crop_region" in self.inputs(id) or any(self.size(id, *names) for names in WIDTHS):
                found.append(id)
            todo += [source for name, source, _ in self.links(id) if name in ("images", "image", "input", "video")]
        return found

    def crop(self, id: str) -> None:
        region = self.inputs(id).get("crop_region")
        if isinstance(region, Mapping):
            self.use("crop", (id, "crop_region"))
            return
        width, height = next(names for names in WIDTHS if self.size(id, *names))
        self.use("crop.width", (id, width))
        self.use("crop.height", (id, height))
        for name in ("x", "y"):
            if as_number(self.inputs(id).get(name)) is not None:
                self.use(f"crop.{name}", (id, name))

    def lengths(self) -> None:
        places = [
            (id, name)
            for id in self.in_order(self.used)
            for name in LENGTHS
            if name in self.inputs(id) and (self.is_latent(id) or name == "frames_number")
        ]
        for place in places:
            self.use("frames", place)
        if not places:
            self.warn("no length was found", 'write {{ frames }} in the template where it belongs: "length": …')

    def rates(self) -> None:
        places = [
            (id, name) for id in (*self.in_order(self.used), self.save) for name in RATES if name in self.inputs(id)
        ]
        rates = {place: as_number(self.literal(place)) for place in places}
        told = [rate for (id, _), rate in rates.items() if rate and "Conditioning" in self.class_of(id)]
        base = (told or [rate for rate in rates.values() if rate] or [0.0])[0]
        for place, rate in rates.items():
            times = rate / base if rate and base else 1.0
            if 0.8 < times < 1.25:  # 24 here and 25 there is an oversight
                self.use("fps", place)
            elif times == 2:  # a clip with `temporal_upscale: true` is sampled at half the film's rate
                self.use("fps * 2", place)
            else:
                self.left.append(f"{place[1]} of {self.told(place[0])}: {self.shown(place)}, unlike the others")
        if not places:
            self.warn("no frame rate was found", 'write {{ fps }} in the template where it belongs: "fps": …')

    # ---- pictures

    def pictures(self) -> None:
        found: dict[str, str] = {}  # loader → variable
        for id in self.in_order(self.used):
            inputs = self.inputs(id)
            if "latent" not in inputs and "positive" not in inputs and not self.is_latent(id):
                continue
            for names, variable in ((PICTURES, self.picture_at(id)), (LAST_PICTURES, "last_frame")):
                for source, _ in self.linked(id, *names):
                    for loader in self.loaders(source)[:1]:
                        if variable:
                            found.setdefault(loader, variable)
        all_ = [id for id in self.in_order(self.used) if "image" in FILES.get(self.class_of(id), ())]
        if not found and len(all_) == 1:
            found[all_[0]] = "reference"
        taken: set[str] = set()
        for loader, variable in found.items():
            if variable in taken:
                self.left.append(f"{self.told(loader)}: a second {variable}")
                continue
            taken.add(variable)
            self.use(variable, (loader, "image"))

    def picture_at(self, id: str) -> str:
        """Which picture a node puts into the latent: the first frame, or by `frame_idx` the last; "" for others."""
        if "frame_idx" not in self.inputs(id):
            return "reference"
        place = (id, "frame_idx")
        index = as_number(self.literal(place))
        frames = next((as_number(self.literal(u.place)) for u in self.uses if u.variable == "frames"), None)
        if index == 0:
            return "reference"
        if index == -1:
            return "last_frame"
        if index is not None and frames is not None and index == frames - 1:
            self.use("frames - 1", place)
            return "last_frame"
        self.left.append(f"the picture at frame {self.shown(place)} ({self.told(id)}): a clip has a first and a last")
        return ""

    # ---- what becomes a variable, and where

    def use(self, variable: str, place: Place) -> None:
        kind = str if variable in ("prompt", "negative") or variable.startswith("prefix") else int
        is_file = variable in ("reference", "last_frame")  # those stand in the loader itself: see steps/clip.py
        if all(use.place != place for use in self.uses):
            self.uses.append(_Use(variable, place, None if is_file else self.source(place, kind)))

    def settled(self) -> tuple[Found, ...]:
        """Decide for every use where the variable is written: at its source, if all uses of that agree."""
        claims: dict[Place, set[str]] = {}
        for use in self.uses:
            if use.source:
                claims.setdefault(use.source, set()).add(use.variable)
        found: dict[Place, Found] = {}
        for use in self.uses:
            place = use.source if use.source and len(claims[use.source]) == 1 else use.place
            if place not in found:
                value = self.inputs(place[0])[place[1]]
                text = self.text(use.variable, place, value)
                was = self.literal(use.place)
                found[place] = Found(use.variable, place[0], self.class_of(place[0]), place[1], was, text)
        for place in found:
            link = as_link(self.inputs(place[0])[place[1]])
            if link:
                told = f"{place[1]} of {self.told(place[0])} came from {self.told(link[0])}"
                self.left.append(f"{told}: now the clip decides it, and the link is gone")
        self.tell_sharers(found)
        return tuple(found.values())

    def tell_sharers(self, found: Mapping[Place, Found]) -> None:
        """Say which other inputs a primitive feeds that is a variable now."""
        live = self.live(found.keys())
        places = {use.place for use in self.uses}
        through = {id for place in places for id in self.followed(place, str)[1] + self.followed(place, int)[1]}
        sources = {place: one for place, one in found.items() if place not in places}
        for id in self.in_order(live - through):
            for name, source, _ in self.links(id):
                for (node, _), one in sources.items():
                    if source == node and (id, name) not in places:
                        self.left.append(
                            f"{name} of {self.told(id)} follows {one.variable}, too: both came from one node"
                        )

    def live(self, cut: Iterable[Place]) -> set[str]:
        """The nodes that still have a part in what is saved when the links at `cut` are gone."""
        gone = set(cut)
        found = {self.save, *self.beside}
        todo = [*found]
        while todo:
            id = todo.pop()
            for name, source, _ in self.links(id):
                if (id, name) not in gone and source not in found:
                    found.add(source)
                    todo.append(source)
        return found

    def text(self, variable: str, place: Place, value: Any) -> str:
        """What stands in the template: the variable, as the kind of number that the input takes."""
        if variable == "crop":
            parts = [f'"{name}": {_cropped(name)}' for name in ("x", "y", "width", "height")]
            return "{" + ", ".join(parts) + "}"
        if variable.startswith("crop."):
            return _cropped(variable.removeprefix("crop."))
        if variable.startswith("fps") and self.takes_float(place, value):
            return f"{{{{ ({variable}) | float }}}}" if " " in variable else f"{{{{ {variable} | float }}}}"
        return f"{{{{ {variable} }}}}"

    def takes_float(self, place: Place, value: Any) -> bool:
        signature = Signatures.recorded().classes.get(self.class_of(place[0]))
        declared = next((i.type for i in signature.inputs if i.name == place[1]), "") if signature else ""
        return declared == "FLOAT" if declared in ("INT", "FLOAT") else isinstance(value, float)

    # ---- what stays

    def rest(self, found: tuple[Found, ...]) -> None:
        ours = {(one.node, one.input) for one in found}
        for id, _, name, value in file_inputs(self.graph):
            if (id, name) not in ours:
                read = "what another node names" if as_link(value) else f'"{str(value)[:80]}"'
                self.warn(
                    f"{self.told(id)} reads {read} on the server, which is no file of a clip: "
                    "ltxflow refuses such a template",
                    f'write a file of the clip there, as "{name}": {{{{ reference }}}}, {{{{ last_frame }}}}, '
                    "{{ control.video }} or {{ extend.video }}, or take the node out",
                )
        names = [
            str(value)
            for id in self.in_order(self.graph)
            for name, value in self.inputs(id).items()
            if isinstance(value, str) and folder_of(self.class_of(id), name)
        ]
        if names:
            self.left.append(f"models and LoRAs: {', '.join(dict.fromkeys(names))}")
        kept = [
            f"{name} {json.dumps(self.inputs(id)[name])}"
            for id in self.in_order(self.used)
            for name in ("steps", "cfg", "sampler_name", "sigmas", "img_compression", "strength")
            if name in self.inputs(id) and not as_link(self.inputs(id)[name])
        ]
        if kept:
            self.left.append(f"how it samples: {', '.join(dict.fromkeys(kept))}")


def _cropped(name: str) -> str:
    otherwise = {"width": "decoded_width", "height": "decoded_height"}.get(name, "0")
    return f"{{{{ crop.{name} if crop else {otherwise} }}}}"
