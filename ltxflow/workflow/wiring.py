"""Query the nodes of a workflow: their links, their roles, and the place where a value is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ltxflow.comfy.graph import Graph, reached_from
from ltxflow.comfy.signatures import FILES, Signatures, as_link

TEXTS = ("text", "prompt", "text_g", "text_l", "t5xxl", "clip_l", "gemma", "text_positive")
POSITIVE = ("positive", "conditioning", "cond1")
NEGATIVE = ("negative", "cond2_negative")
LENGTHS = ("length", "num_frames", "frames", "frame_count", "video_frames", "video_length", "frames_number")
SEEDS = ("noise_seed", "seed")
# Inputs of a picture that is sampled or encoded, not passed on.
NOT_PICTURES = frozenset(
    {"samples", "latent", "latent_image", "model", "vae", "clip", "positive", "negative", "guider"}
)

Place = tuple[str, str]  # node id, input


VIDEO_LOADERS = frozenset({"LoadVideo", "VHS_LoadVideo", "VHS_LoadVideoPath", "VHS_LoadVideoFFmpeg"})


@dataclass
class Wiring:
    """A workflow, with queries over its links. Results are cached: for a workflow that does not change."""

    graph: Graph
    read_from: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    picture_inputs: ClassVar[tuple[str, ...]] = ("image", "images", "input", "pixels")

    def class_of(self, id: str) -> str:
        return str(self.graph[id]["class_type"])

    def inputs(self, id: str) -> Mapping[str, Any]:
        inputs: Mapping[str, Any] = self.graph[id]["inputs"]
        return inputs

    def link(self, id: str, name: str) -> tuple[str, int] | None:
        """Return (node, slot) that an input is linked to, None without a link to a node of this workflow."""
        link = as_link(self.inputs(id).get(name))
        return link if link and link[0] in self.graph else None

    def links(self, id: str) -> Iterator[tuple[str, str, int]]:
        """Yield (input, node, slot) for each link into node `id`."""
        for name in self.inputs(id):
            link = self.link(id, name)
            if link:
                yield name, link[0], link[1]

    def linked(self, id: str, *names: str) -> Iterator[tuple[str, int]]:
        """Yield (node, slot) for each link into the inputs of node `id` with these names."""
        for name, source, slot in self.links(id):
            if name in names:
                yield source, slot

    def upstream(self, id: str) -> set[str]:
        """Return all nodes that node `id` needs, without itself."""
        return reached_from(self.sources(id), self.sources)

    def sources(self, id: str) -> tuple[str, ...]:
        """Return the nodes that node `id` reads from. Cached."""
        if id not in self.read_from:
            self.read_from[id] = tuple(dict.fromkeys(source for _, source, _ in self.links(id)))
        return self.read_from[id]

    def in_order(self, ids: Iterable[str]) -> list[str]:
        """Return nodes in the order of the file."""
        order = {id: n for n, id in enumerate(self.graph)}
        return sorted(ids, key=lambda id: order[id])

    def describe(self, id: str) -> str:
        """Return a node's id, class and title, for a message."""
        title = self.graph[id].get("_meta", {}).get("title")
        named = f', "{title}"' if isinstance(title, str) and title and title != self.class_of(id) else ""
        return f'node "{id}" ({self.class_of(id)}{named})'

    # Roles of nodes

    def is_primitive(self, id: str) -> bool:
        """Return whether a node only holds a value."""
        return self.class_of(id).startswith("Primitive")

    def loads(self, id: str, input: str) -> bool:
        """Return whether a node opens a file on the server by this input: `image`, `file` of a video, `audio`."""
        return input in FILES.get(self.class_of(id), ()) and input in self.inputs(id)

    def loads_video(self, id: str) -> bool:
        return self.class_of(id) in VIDEO_LOADERS

    def doubles(self, id: str) -> bool:
        """Return whether a node doubles the sides of a latent."""
        return "LatentUpsampler" in self.class_of(id) and self.upscale(id) == 2

    def upscale(self, id: str) -> float:
        """Return the factor by which a node enlarges the sides of a picture or latent, by the name of its model."""
        if "LatentUpsampler" in self.class_of(id):
            loaders = [source for source, _ in self.linked(id, "upscale_model")]
            models = " ".join(str(value) for loader in loaders for value in self.inputs(loader).values())
            return 1.0 if "temporal" in models else 1.5 if "x1.5" in models else 2.0
        if self.class_of(id) == "LatentUpscaleBy":
            return as_number(self.inputs(id).get("scale_by")) or 1.0
        return 1.0

    def is_sampler(self, id: str) -> bool:
        """Return whether a node turns noise into a latent, by its inputs."""
        names = self.inputs(id).keys()
        return (
            "latent_image" in names
            or {"noise", "guider"} <= names
            or (bool(names & set(SEEDS)) and bool(names & {"positive", "guider", "steps", "sigmas"}))
        )

    def is_latent(self, id: str) -> bool:
        """Return whether a node makes the latent that is sampled: it has a width, a height and a length."""
        names = self.inputs(id).keys()
        return {"width", "height"} <= names and bool(names & set(LENGTHS))

    # Sources

    def conditionings(self, sampler: str) -> dict[str, list[Place]]:
        """Return the texts behind a sampler: its guider's, or its own."""
        found: dict[str, list[Place]] = {"prompt": [], "negative": []}
        for id in (sampler, *(source for source, _ in self.linked(sampler, "guider"))):
            for variable, names in (("prompt", POSITIVE), ("negative", NEGATIVE)):
                for source, slot in self.linked(id, *names):
                    found[variable] += self.encoders(source, slot)
        return found

    def encoders(self, id: str, slot: int) -> list[Place]:
        """Follow a conditioning up to the inputs with its texts."""
        found: list[Place] = []
        seen: set[tuple[str, int]] = set()
        todo = [(id, slot)]
        while todo:
            id, slot = todo.pop(0)
            if (id, slot) in seen:
                continue
            seen.add((id, slot))
            inputs = self.inputs(id)
            if as_link(inputs.get("positive")) and as_link(inputs.get("negative")):
                todo += self.linked(id, "positive" if self.conditioning(id, slot) == 0 else "negative")
            elif self.class_of(id) == "ConditioningZeroOut":
                continue  # it drops the text
            elif texts := [name for name in TEXTS if isinstance(inputs.get(name), str) or as_link(inputs.get(name))]:
                found += [(id, name) for name in texts]
            else:
                todo += [(source, out) for _, source, out in self.links(id)]
        return found

    def conditioning(self, id: str, slot: int) -> int:
        """Return the number of output `slot` among a node's conditionings: LTXVReferenceAudio has a model first."""
        signature = Signatures.recorded().classes.get(self.class_of(id))
        outputs = signature.outputs if signature else ()
        return outputs[:slot].count("CONDITIONING") if "CONDITIONING" in outputs else slot

    def noise(self, sampler: str) -> list[Place]:
        """Return the inputs that hold the seed of a sampler."""
        ids = [sampler, *(source for source, _ in self.linked(sampler, "noise"))]
        return [(id, name) for id in ids for name in SEEDS if name in self.inputs(id)]

    def loaders(self, id: str) -> list[str]:
        """Follow a picture up to the nodes that load it."""
        return self.followed_up(id, lambda one: self.loads(one, "image"))

    def video_loaders(self, id: str) -> list[str]:
        """Return the nodes that load the video behind a picture: of its frames, their edges, depths or poses."""
        return [one for one in (id, *self.in_order(self.upstream(id))) if self.loads(one, "file")]

    def followed_up(self, id: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """Follow a picture, while it is one, up to the nearest nodes of a kind."""
        found: list[str] = []
        seen: set[str] = set()
        todo = [id]
        while todo:
            id = todo.pop(0)
            if id in seen:
                continue
            seen.add(id)
            if is_wanted(id):
                found.append(id)
            else:
                todo += [source for name, source, _ in self.links(id) if name not in NOT_PICTURES]
        return found

    # Places of values

    def followed(self, place: Place, kind: type) -> tuple[Place, list[str]]:
        """Follow links while nodes only pass the value on; return the last input and the nodes on the way."""
        id, name = place
        way: list[str] = []
        while (link := as_link(self.inputs(id)[name])) is not None and link[0] not in way:
            inputs = self.inputs(link[0])
            names = [n for n in ("value", "text", "string", "prompt") if n in inputs] if kind is str else []
            names = names[:1] or ([*inputs] if len(inputs) == 1 else [])
            if not names:
                break
            id, name = link[0], names[0]
            way.append(id)
        return (id, name), way[:-1]

    def source(self, place: Place, kind: type) -> Place | None:
        """Return the place where an input's value is written, beyond nodes that only pass it on; None if computed."""
        (id, name), _ = self.followed(place, kind)
        value = self.inputs(id).get(name)
        if kind is str:
            return (id, name) if isinstance(value, str) else None
        is_number = as_number(value) is not None or isinstance(value, Mapping)
        return (id, name) if is_number or ((id, name) == place and as_link(value) is None) else None

    def literal(self, place: Place) -> Any:
        """Return the literal value of an input, beyond nodes that only pass it on; None if computed."""
        value = self.inputs(place[0]).get(place[1])
        source = self.source(place, str if isinstance(value, str) else int) or self.source(place, str)
        return self.inputs(source[0])[source[1]] if source else None

    def shown(self, place: Place) -> str:
        """Return the value of an input, for a message."""
        literal = self.literal(place)
        return "computed" if literal is None else json.dumps(literal, ensure_ascii=False)[:60]


def as_number(value: Any) -> float | None:
    """Return a JSON value as a number, None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
