"""Recognise the values of a ComfyUI workflow that a clip decides, for a template of it. Pure.

A value is found by the class of its node and by its links to the samplers and to the node that saves the video.
Anything else stays unchanged.

The variables, and where they are found:

    prompt, negative      the texts behind `positive` and `negative` of the samplers' guiders
    seed                  the noise of the first stage; later stages keep theirs, as the official workflows do
    width, height, frames the node with all three that the first stage samples; sizes of pictures that go into it
    fps                   every `fps` and `frame_rate` on the way to the file
    reference, last_frame pictures that go into the latent, by the frame they are put at
    sound, control.video  a sound that is loaded; a video whose frames guide the model
    prefix                the name that the save node gives its file; the node is titled "video"

A number or text from a primitive node is replaced there, so that all its readers follow; a computed one at the farthest
place that has the wanted effect, at last where it is used. Nodes that none of this needs are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ltxflow.comfy.graph import OUTPUTS, Graph, reached_from
from ltxflow.comfy.signatures import Signatures, as_link, core_classes, file_inputs, folder_of
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.workflow.imported import TITLE, Binding, ImportedWorkflow, SizeCut
from ltxflow.workflow.sizing import PREFIX, SAVES, SizeUse, Sizing, repair, unused_id
from ltxflow.workflow.values import PAIRS, Spot
from ltxflow.workflow.wiring import LENGTHS, TEXTS, Place, as_number

RATES = ("frame_rate", "fps")
PICTURES = ("image", "images", "start_image", "first_frame", "init_image", "optional_cond_images", "cond_image")
LAST_PICTURES = ("end_image", "last_image", "last_frame", "end_frame")
SECONDS = ("duration", "seconds")
MAX_NODES = 3_000  # the largest official workflow has 400
FILE_VARIABLES = frozenset({"reference", "last_frame", "sound", "control.video"})


def recognise(graph: Graph) -> ImportedWorkflow:
    """Return the values that a clip decides in a workflow in API format.

    Raise LtxflowError if it saves no video, has a cycle, or reads a file that no clip can give.
    """
    if len(graph) > MAX_NODES:
        raise LtxflowError(problem("T020.nodes", most=MAX_NODES))
    repaired = repair(graph)
    search = _Search(repaired.graph)
    found = search.all()
    changed = (*dict.fromkeys((*repaired.sentences({*found.graph}), *found.changed)),)
    return ImportedWorkflow(**{**found.__dict__, "changed": changed})


@dataclass
class _Search(Sizing):
    """The search of one workflow."""

    left: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def all(self) -> ImportedWorkflow:
        self.save = self.save_node()
        self.beside = self.saved_beside()
        samplers = [id for id in self.in_order(self.used) if self.is_sampler(id)]
        of_video = [id for id in samplers if any(map(self.is_latent, (id, *self.upstream(id))))]
        samplers = of_video or samplers  # others prepare a picture, such as its depth map
        self.depth = {id: len(self.upstream(id) & set(samplers)) for id in samplers}
        self.first = [id for id in samplers if self.depth[id] == min(self.depth.values())]
        self.later = [id for id in samplers if id not in self.first]
        self.texts()
        self.seeds()
        stages, has_crop, makes = self.sizes()
        self.lengths()
        self.rates()
        self.seconds()
        self.pictures()
        self.sounds()
        self.use_text("prefix", (self.save, PREFIX))
        for id, title in self.beside.items():
            self.use_text(f'prefix ~ "-{title}"', (id, PREFIX))
        found = self.settled()
        live = self.live({(one.node, one.input) for one in found})
        self.check_cycles(found)
        cut = self.cut(has_crop, found)
        self.rest(found, live)
        kept = {id: node for id, node in self.graph.items() if id in live}
        foreign = tuple(sorted({self.class_of(id) for id in live} - core_classes()))
        left, problems = tuple(dict.fromkeys(self.left)), tuple(dict.fromkeys(self.problems))
        titles = {self.save: TITLE, **self.beside}
        dropped = tuple(self.describe(id) for id in self.graph if id not in live)
        return ImportedWorkflow(
            found, titles, stages, has_crop, left, problems, foreign, kept, tuple(self.changed), dropped, cut, makes
        )

    @cached_property
    def used(self) -> set[str]:
        return set().union(*(self.upstream(id) for id in (self.save, *self.beside)))

    def check_cycles(self, found: tuple[Binding, ...]) -> None:
        """Raise LtxflowError if links form a cycle, without those that a variable replaces."""
        replaced = {(one.node, one.input) for one in found}
        done: set[str] = set()
        for start in (self.save, *self.beside):
            way: dict[str, None] = {} if start in done else {start: None}
            while way:
                id = next(reversed(way))
                sources = (source for name, source, _ in self.links(id) if (id, name) not in replaced)
                source = next((source for source in sources if source not in done), None)
                if source is None:
                    way.pop(id)
                    done.add(id)
                elif source in way:
                    raise LtxflowError(problem("T028", node=self.describe(source)))
                else:
                    way[source] = None

    # ---- the file

    def save_node(self) -> str:
        """Return the node that saves the clip: at the end, of the last stage, an mp4 before other formats."""
        saves = [id for id in self.graph if SAVES.search(self.class_of(id)) and PREFIX in self.inputs(id)]
        if not saves:
            others = [self.describe(id) for id in self.graph if PREFIX in self.inputs(id)]
            raise LtxflowError(problem("T022.none", instead=f": {others[0]} saves something else" if others else ""))
        unlinked = [id for id in saves if not any(self.links(id))]
        saves = [id for id in saves if id not in unlinked]
        if not saves:
            raise LtxflowError(problem("T022.unlinked", node=self.describe(unlinked[0])))
        read = {source for id in self.graph for _, source, _ in self.links(id)}
        samplers = {id for id in self.graph if self.is_sampler(id)}

        def rank(id: str) -> tuple[bool, int, bool, int]:
            before = self.upstream(id)
            return id not in read, len(before & samplers), self.class_of(id) == "SaveVideo", len(before)

        best = max(saves, key=rank)
        if best in read:
            self.problems.append(problem("T029.read-on", node=self.describe(best)))
        if re.search("WEBM|WEBP|PNG", self.class_of(best).upper()):
            self.problems.append(problem("T029.no-mp4", node=self.describe(best)))
        return best

    def saved_beside(self) -> dict[str, str]:
        """Return id → title of the nodes that save a last frame or an uncropped video, as in ltxflow's templates."""
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
            self.use_text("prompt", place)
        values = [self.literal(place) for place in prompts]  # any JSON value
        for place in [p for p in all_["prompt"] if p not in prompts]:
            if self.literal(place) in values:
                self.use_text("prompt", place)
            else:
                self.left.append(f"the text of {self.describe(place[0])}, unlike the first stage's")
        for place in prompts:
            for id in self.followed(place, str)[1]:
                if "Generate" in self.class_of(id) or "Enhance" in self.class_of(id):
                    self.left.append(f"the prompt is rewritten by {self.describe(id)} before it is used")
        if not prompts:
            self.problems.append(problem("T029.no-prompt"))
        negatives = [place for place in all_["negative"] if place not in all_["prompt"]]
        if negatives and not self.is_guided():
            self.left.append("the negative text: at CFG 1 it has no effect")
            return
        chosen = [place for place in negatives if place in first["negative"]] or negatives
        for place in negatives:
            if place in chosen:
                self.use_text("negative", place)
            else:
                self.left.append(f"the negative text of {self.describe(place[0])}, of a later stage")

    def texts_by_title(self) -> dict[str, dict[Place, None]]:
        """Return the texts of encoders by the word in their titles, for a workflow without known samplers."""
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
        """Return whether a negative text has an effect: a CFG differs from 1, or is unknown."""
        guiders = [source for id in (*self.first, *self.later) for source, _ in self.linked(id, "guider")]
        scales = [
            self.values.number(id, name)
            for id in (*self.first, *self.later, *guiders)
            for name in self.inputs(id)
            if name == "cfg" or name.startswith("cfg_") or name.endswith("_cfg")
        ]
        return not scales or any(scale != 1 for scale in scales)

    # ---- numbers

    def seeds(self) -> None:
        def want(film: Mapping[str, float]) -> float:
            return film["seed"]

        places = [place for sampler in self.first for place in self.noise(sampler)]
        for place in places:
            self.use_number("seed", place, want)
        sources = {self.source(place, int) for place in places}
        for place in [place for sampler in self.later for place in self.noise(sampler)]:
            if place in places:
                continue
            if self.literal(place) is not None and self.source(place, int) in sources:
                continue  # one number for both: it changes with the first
            self.left.append(
                f"the seed of a later stage ({self.describe(place[0])}): {self.shown(place)}, fixed as in ltxflow's "
                "templates; the first stage's decides the picture"
            )
        if not places:
            self.problems.append(problem("T029.no-seed"))

    def sizes(self) -> tuple[int, bool, tuple[float, float] | None]:
        """Find the size that is sampled, its other uses, and the crops of the decoded picture.

        Return the number of stages, whether there is a crop, and the size that the film cannot change.
        """
        before = set().union(*(self.upstream(id) | {id} for id in self.first)) if self.first else self.used
        latents = [id for id in self.in_order(before) if self.is_latent(id)]
        scale = self.scale
        if not latents:
            self.problems.append(problem("T029.no-size"))
            return (2 if scale == 2 else 1), False, None
        base = self.size_of(latents[0], ("width", "height"))
        if scale not in (1, 2):
            self.left.append(f"the size: the picture is enlarged {scale:g} times, and only 1 and 2 are supported")
            return 1, False, (base[0] * scale, base[1] * scale) if base else None
        for id in latents:
            for side in ("width", "height"):
                self.use_size((id, side), side, is_decoded=False)
        crops = self.crops()
        self.changed += self.sizes_elsewhere(latents, crops, base)
        for id in crops:
            self.crop(id)
        return (2 if scale == 2 else 1), bool(crops), None

    def crops(self) -> list[str]:
        """Return the nodes between decoder and file that give the picture its final size."""
        found: list[str] = []
        seen: set[str] = set()
        todo = [source for source, _ in self.linked(self.save, "video", "images")]
        while todo:
            id = todo.pop()
            if id in seen or as_link(self.inputs(id).get("samples")):
                continue  # decoded here
            seen.add(id)
            pair = self.values.pair(id)
            if "crop_region" in self.inputs(id) or (pair and self.size_of(id, pair)):
                found.append(id)
            todo += [source for name, source, _ in self.links(id) if name in ("images", "image", "input", "video")]
        return found

    def crop(self, id: str) -> None:
        region = self.inputs(id).get("crop_region")
        if isinstance(region, Mapping):
            self.use_here("crop", (id, "crop_region"))
            return
        width, height = next(names for names in PAIRS if self.size_of(id, names))
        self.use_here("crop.width", (id, width))
        self.use_here("crop.height", (id, height))
        for name in ("x", "y"):
            if as_number(self.inputs(id).get(name)) is not None:
                self.use_here(f"crop.{name}", (id, name))

    def cut(self, has_crop: bool, found: tuple[Binding, ...]) -> SizeCut | None:
        """Return the place to crop the picture to the film's size, in a workflow that does not crop it."""
        sized = {one.variable for one in found} & {"width", "decoded_width"}
        if has_crop or not sized:
            return None
        id = next((source for source, _ in self.linked(self.save, "video")), self.save)
        source = self.link(id, "images")
        if source is None:
            return None
        return SizeCut((id, "images"), source, unused_id(self.graph, f"{source[0]}-cut"))

    def lengths(self) -> None:
        def want(film: Mapping[str, float]) -> float:
            return film["frames"]

        places = [
            (id, name)
            for id in self.in_order(self.used)
            for name in LENGTHS
            if name in self.inputs(id) and (self.is_latent(id) or name == "frames_number")
        ]
        known = {self.values.number(*place) for place in places} - {None}
        for place in places:
            self.use_number("frames", place, want)
        for id in self.in_order(self.used):  # frames of a control video: as many as the clip has
            if self.class_of(id) == "ImageFromBatch" and any(map(self.loads_video, self.upstream(id))):
                is_whole = self.values.number(id, "batch_index") == 0
                if is_whole and (not known or self.values.number(id, "length") in known):
                    self.use_number("frames", (id, "length"), want)
        if not places:
            self.problems.append(problem("T029.no-length"))

    def rates(self) -> None:
        places = [
            (id, name) for id in (*self.in_order(self.used), self.save) for name in RATES if name in self.inputs(id)
        ]
        rates = {place: self.values.number(*place) for place in places}
        conditioned = [rate for (id, _), rate in rates.items() if rate and "Conditioning" in self.class_of(id)]
        base = (conditioned or [rate for rate in rates.values() if rate] or [0.0])[0]
        for place, rate in rates.items():
            times = rate / base if rate and base else 1.0
            if 0.8 < times < 1.25:  # 24 in one place and 25 in another is an oversight
                self.use_number("fps", place, lambda film: film["fps"])
            elif times == 2:  # a clip with `temporal_upscale: true` is sampled at half the film's rate
                self.use_number("fps * 2", place, lambda film: 2 * film["fps"])
            else:
                self.left.append(f"{place[1]} of {self.describe(place[0])}: {self.shown(place)}, unlike the others")
        if not places:
            self.problems.append(problem("T029.no-rate"))

    def seconds(self) -> None:
        """Find the places where a sound or a video is trimmed to the length of the clip."""
        frames = next((self.values.number(*u.place) for u in self.uses if u.variable == "frames"), None)
        fps = next((self.values.number(*u.place) for u in self.uses if u.variable == "fps"), None)
        for id in self.in_order(self.used):
            if not re.search("Audio|Video", self.class_of(id)):
                continue
            for name in SECONDS:
                value = self.values.number(id, name) if name in self.inputs(id) else None
                if value is None:
                    continue
                is_guide = frames is None and any(map(self.loads_video, self.upstream(id)))
                if is_guide or (frames and fps and abs(value - frames / fps) <= 1 / 2):
                    self.use_number("frames / fps", (id, name), lambda film: film["frames"] / film["fps"])
                else:
                    self.left.append(f"{name} of {self.describe(id)}: {value:g} s")

    # ---- pictures, sounds, videos

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
                    for loader in self.video_loaders(source)[:1]:
                        if variable and "frame_idx" in inputs:
                            found.setdefault(loader, "control.video")
        all_ = [id for id in self.in_order(self.used) if self.loads(id, "image")]
        if not {*found} & {*all_} and len(all_) == 1:
            found[all_[0]] = "reference"
        taken: dict[str, Any] = {}
        for loader, variable in found.items():
            name = "file" if variable == "control.video" else "image"
            file = self.inputs(loader).get(name)
            if variable in taken and taken[variable] != file:
                self.left.append(f"{self.describe(loader)}: a second {variable}")
                continue
            taken[variable] = file
            self.use_here(variable, (loader, name))

    def picture_at(self, id: str) -> str:
        """Return the picture that a node puts into the latent: the first frame, or by `frame_idx` the last; else ""."""
        if "frame_idx" not in self.inputs(id):
            return "reference"
        place = (id, "frame_idx")
        index = self.values.number(*place)
        frames = next((self.values.number(*u.place) for u in self.uses if u.variable == "frames"), None)
        if index == 0:
            return "reference"
        if index == -1:
            return "last_frame"
        if index is not None and frames is not None and index == frames - 1:
            self.use_here("frames - 1", place)
            return "last_frame"
        self.left.append(
            f"the picture at frame {self.shown(place)} ({self.describe(id)}): a clip has a first and a last"
        )
        return ""

    def sounds(self) -> None:
        """Find the sound that is loaded: a clip gives one."""
        loaders = [id for id in self.in_order(self.used) if self.loads(id, "audio")]
        files = list(dict.fromkeys(str(self.inputs(id).get("audio")) for id in loaders))
        for id in loaders:
            if str(self.inputs(id).get("audio")) == files[0]:
                self.use_here("sound", (id, "audio"))
            else:
                self.left.append(f"{self.describe(id)}: a second sound")

    # ---- what becomes a variable, and where

    def use_text(self, variable: str, place: Place) -> None:
        """Record that an input is a text of the clip; the variable is written beyond nodes that only pass it on."""
        if self.has_use(place):
            return
        source = self.source(place, str)
        spots: list[tuple[Spot, str]] = [(source, variable)] if source else []
        self.uses.append(SizeUse(place, variable, iter([*spots, (place, variable)])))

    def use_here(self, variable: str, place: Place) -> None:
        """Record an input that is written where it is used: a file must be in its loader, see steps/clip.py."""
        if not self.has_use(place):
            self.uses.append(SizeUse(place, variable, iter([(place, variable)])))

    def settled(self) -> tuple[Binding, ...]:
        """Choose for every use the place of its variable: the first of its list that no other use claims."""
        picked: list[tuple[Spot, str]] = [next(use.spots) for use in self.uses]
        while True:
            claims: dict[Spot, set[str]] = {}
            for spot, text in picked:
                claims.setdefault(spot, set()).add(text)
            contested = {spot for spot, texts in claims.items() if len(texts) > 1}
            moved = False
            for number, use in enumerate(self.uses):
                if picked[number][0] in contested and picked[number][0] != use.place:
                    picked[number] = next(use.spots)
                    moved = True
            if not moved:
                break
        found: dict[Place, Binding] = {}
        for use, (spot, text) in zip(self.uses, picked, strict=True):
            for place in self.readers(spot):
                if place not in found:
                    value = self.inputs(place[0])[place[1]]
                    was = self.was(use.place if place == use.place else place)
                    class_ = self.class_of(place[0])
                    found[place] = Binding(text, place[0], class_, place[1], was, self.text(text, place, value))
        for place, one in found.items():
            link = self.link(*place)
            if link and one.variable not in FILE_VARIABLES:
                self.left.append(
                    f"{place[1]} of {self.describe(place[0])}: set by the clip, no longer by {self.describe(link[0])}"
                )
        self.note_shared_sources(found)
        return tuple(found.values())

    def readers(self, spot: Spot) -> list[Place]:
        """Return the inputs where a value is written: the input itself, or all that read an output."""
        id, place = spot
        if isinstance(place, str):
            return [(id, place)]
        return [(n, name) for n in self.graph for name, source, slot in self.links(n) if (source, slot) == (id, place)]

    def was(self, place: Place) -> Any:
        literal = self.literal(place)
        if literal is not None:
            return literal
        number = self.values.number(*place)
        return int(number) if number is not None and number.is_integer() else number

    def note_shared_sources(self, found: Mapping[Place, Binding]) -> None:
        """Note the other inputs of a primitive node whose value became a variable."""
        live = self.live(found.keys())
        places = {use.place for use in self.uses}
        on_the_way = {id for place in places for id, _ in self.values.spots(*place)}
        on_the_way |= {id for place in places for id in self.followed(place, str)[1]}
        sources = {place: one for place, one in found.items() if place not in places}
        for id in self.in_order(live - on_the_way):
            for name, source, _ in self.links(id):
                for (node, _), one in sources.items():
                    if source == node and (id, name) not in places and (id, name) not in found:
                        self.left.append(
                            f"{name} of {self.describe(id)} follows {one.variable} too: both come from one node"
                        )

    def live(self, cut: Iterable[Place]) -> set[str]:
        """Return the nodes that the saved files still need without the links at `cut`."""
        removed = set(cut)

        def sources(id: str) -> Iterator[str]:
            return (source for name, source, _ in self.links(id) if (id, name) not in removed)

        return reached_from({self.save, *self.beside}, sources)

    def text(self, variable: str, place: Place, value: Any) -> str:
        """Return the text in the template: the variable, as the kind of number that the input takes."""
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

    def rest(self, found: tuple[Binding, ...], live: set[str]) -> None:
        ours = {(one.node, one.input) for one in found}
        lost: list[Problem] = []
        for id, _, name, value in file_inputs({id: self.graph[id] for id in live}):
            if (id, name) not in ours:
                file = "a file that another node names" if as_link(value) else f'"{str(value)[:80]}"'
                lost.append(problem("T023", node=self.describe(id), file=file))
        if lost:
            raise LtxflowError(*lost)
        names = [
            str(value)
            for id in self.in_order(live)
            for name, value in self.inputs(id).items()
            if isinstance(value, str) and folder_of(self.class_of(id), name)
        ]
        if names:
            self.left.append(f"models and LoRAs: {', '.join(dict.fromkeys(names))}")
        kept = [
            f"{name} {json.dumps(self.inputs(id)[name])}"
            for id in self.in_order(live)
            for name in ("steps", "cfg", "sampler_name", "sigmas", "img_compression", "strength")
            if name in self.inputs(id) and not as_link(self.inputs(id)[name])
        ]
        if kept:
            self.left.append(f"how it samples: {', '.join(dict.fromkeys(kept))}")


def _cropped(name: str) -> str:
    otherwise = {"width": "decoded_width", "height": "decoded_height"}.get(name, "0")
    return f"{{{{ crop.{name} if crop else {otherwise} }}}}"
