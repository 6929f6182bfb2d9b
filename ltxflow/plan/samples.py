"""Render a template for sample clips of every quality, size and set of inputs, and check the graphs. Needs no film."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.signatures import Signatures
from ltxflow.core.digest import digest_bytes, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.target import Target
from ltxflow.models.geometry import delivered_size, geometry
from ltxflow.models.profile import Profile
from ltxflow.project.model import (
    Clip,
    Extends,
    Image,
    Keyframe,
    Length,
    Lora,
    Media,
    Narration,
    Prompt,
    Scene,
    Still,
    Value,
)
from ltxflow.project.references import TEXT_TO_IMAGE
from ltxflow.steps import Node, reference
from ltxflow.steps.clip.files import ContinuationSource
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.workflow.render import render_many
from ltxflow.workflow.template import Template, variables

SIZES = ("3:2", "1920x1080")  # one that the model samples directly, one that is cropped from a larger picture
FRAMES, FPS, SEED = 121, 24, 42  # an even rate: one that can be doubled
WORDS = 'A heavy door of "brass" opens slowly while dust drifts through a beam of light; metal creaks.'


@dataclass(frozen=True)
class Sample:
    """A clip of no film, with a label of its settings."""

    label: str
    spec: ClipSpec


def samples(profile: Profile, template: Template, loras: Sequence[str] = ("style.safetensors",)) -> list[Sample]:
    """Return sample clips for every combination of quality, stages, size and inputs that a template reads.

    Samples that do not differ in any variable of the template are left out. `loras` are names of LoRA files.
    """
    reads = variables(template)
    chosen: dict[str, Sample] = {}
    for sample in _every(profile, template, reads, loras):
        names = sample.spec.first_names
        context = sample.spec.context(names, {}, "ltxflow")
        chosen.setdefault(digest_json({name: context.get(name) for name in sorted(reads)}), sample)
    return list(chosen.values())


def _every(profile: Profile, template: Template, reads: frozenset[str], loras: Sequence[str]) -> Iterator[Sample]:
    needs = set(template.header.needs)
    own = ("reference", "last_frame", "keyframes", "control", "sound", "extend")
    optional = [name for name in own if name in reads - needs]
    pictures = [
        needs | set(some) for count in range(len(optional) + 1) for some in itertools.combinations(optional, count)
    ]
    guide = {"control.lora": loras[0] if loras else "control.safetensors"}
    plain = itertools.product(profile.qualities, (1, 2), SIZES, pictures, _modes(reads), _sounds(reads))
    for quality, stages, size, has, mode, audio in plain:
        settings = {"quality": quality, "stages": stages, "control.mode": mode, **guide}
        yield _sample(profile, template, size, settings, has, needs, (), audio)
    doubled = "temporal_upscale" in reads and "temporal_upscaler" in profile.models
    for quality, stages in itertools.product(profile.qualities, (1, 2)):
        settings = {"quality": quality, "stages": stages, "temporal_upscale": doubled, **guide}
        yield _sample(profile, template, SIZES[0], settings, pictures[-1], needs, loras, "fresh")


def _modes(reads: frozenset[str]) -> tuple[str, ...]:
    return ("canny", "depth") if "control" in reads else ("raw",)


def _sounds(reads: frozenset[str]) -> tuple[str, ...]:
    return ("pinned", "fresh") if "extend" in reads else ("fresh",)


def _sample(
    profile: Profile,
    template: Template,
    size: str,
    settings: Mapping[str, Any],
    has: set[str],
    needs: set[str],
    loras: Sequence[str],
    audio: str,
) -> Sample:
    words = [f"quality {settings['quality']}", f"stages {settings['stages']}", f"size {size}", *sorted(has - needs)]
    words += [*(["loras"] if loras else []), *(["temporal_upscale"] if settings.get("temporal_upscale") else [])]
    return Sample(", ".join(words), _spec(profile, template, size, settings, has, loras, audio))


def _spec(
    profile: Profile,
    template: Template,
    size: str,
    chosen: Mapping[str, Any],
    has: set[str],
    loras: Sequence[str],
    audio: str,
) -> ClipSpec:
    preset = profile.qualities[chosen["quality"]]
    wanted = {**profile.clip_defaults, "steps": preset.steps, "cfg": preset.cfg}
    settings = {name: Value(value, "sample") for name, value in {**wanted, **chosen}.items()}
    video = Media(Path("guide.mp4"), "guide.mp4", digest_bytes(b"guide"))
    clip = Clip(
        id="sample",
        scene="sample",
        index=0,
        prompt=Prompt({"text": WORDS}),
        length=Length(),
        settings=settings,
        reference=_image("first.png") if "reference" in has else None,
        last_frame=_image("last.png") if "last_frame" in has else None,
        loras=tuple(Lora(name, 0.8) for name in loras),
        control=video if "control" in has else None,
        sound=Media(Path("sound.wav"), "sound.wav", digest_bytes(b"sound")) if "sound" in has else None,
        extends=Extends(file=video, audio=audio) if "extend" in has else None,
        keyframes=KEYFRAMES if "keyframes" in has else (),
    )
    film = {"size": Value(size, "sample")}
    return ClipSpec(
        clip=clip,
        scene=Scene("sample", 0, (clip,), Narration("none", Fraction(0))),
        film=film,
        take=1,
        seed=SEED,
        frames=FRAMES,
        fps=FPS,
        geometry=geometry(profile, delivered_size(profile, size), int(chosen["stages"]), preset.half, "control" in has),
        profile=profile,
        template=template,
        weights=first_weights(profile),
        before=ContinuationSource("guide.mp4", FRAMES, str(video.digest), video) if "extend" in has else None,
    )


def _image(name: str) -> Image:
    return Image(Path(name), name, digest_bytes(name.encode()), 1920, 1080)


KEYFRAMES = (Keyframe("40f", 40, _image("middle.png")), Keyframe("end", None, _image("end.png")))


def first_weights(profile: Profile) -> dict[str, str]:
    """Return model role → the first precision."""
    return {role: model.order[0] for role, model in profile.models.items()}


def try_template(
    profile: Profile,
    template: Template,
    signatures: Signatures,
    allowed: frozenset[str],
    names: Mapping[str, str] | None = None,
    loras: Sequence[str] = ("style.safetensors",),
) -> tuple[int, list[Problem]]:
    """Render and check a template's samples; return their number, and the problems at their places in the template.

    With `names` (model role → file on a server) names of files are compared too.
    """
    if makes_references(template):
        return _try_reference(profile, template, signatures, allowed)
    tried = samples(profile, template, loras)
    contexts = [s.spec.context(names or s.spec.first_names, {}, "ltxflow") for s in tried]
    try:
        graphs = render_many(template, contexts)
    except LtxflowError as error:
        return 0, list(error.problems)
    labels_of: dict[tuple[str, str], tuple[Problem, list[str]]] = {}
    for sample, graph in zip(tried, graphs, strict=True):

        def where(node: str) -> Span | None:
            return node_span(template, node)

        found = check_graph(
            graph, signatures, template=template.name, where=where, models=names is not None, allowed=allowed
        )
        for problem in [*found, *_foreign_files(sample, graph, signatures)]:
            _, labels = labels_of.setdefault((problem.code, problem.message), (problem, []))
            labels.append(sample.label)
    return len(tried), [
        problem if len(labels) == len(tried) else replace(problem, message=f"{problem.message} ({labels[0]})")
        for problem, labels in labels_of.values()
    ]


def makes_references(template: Template) -> bool:
    """Return whether a template makes an image for `references:`: it reads no frames, nor other variables of clips."""
    if template.trusted:
        return template.name == TEXT_TO_IMAGE
    return '"image"' in template.text and variables(template) <= frozenset(reference.VARIABLES)


def _try_reference(
    profile: Profile, template: Template, signatures: Signatures, allowed: frozenset[str]
) -> tuple[int, list[Problem]]:
    still = Still("sample", WORDS, (1536, 1024), template=template.name)
    weights = first_weights(profile) if template.trusted else {}
    spec = reference.ReferenceSpec(still, 1, SEED, profile, template, weights)
    node = Node(Target.of("reference", "sample"), "reference", spec, 0)
    try:
        reference.action(node, {})
        graph = node.spec.graph({role: role for role in weights}, {}, "ltxflow")
    except LtxflowError as error:
        return 0, list(error.problems)

    def where(id: str) -> Span | None:
        return node_span(template, id)

    return 1, check_graph(graph, signatures, template=template.name, where=where, models=False, allowed=allowed)


def _foreign_files(sample: Sample, graph: Mapping[str, Any], signatures: Signatures) -> Iterator[Problem]:
    template = sample.spec.template
    for problem in sample.spec.unexpected_file_inputs(graph, signatures):
        message = problem.message.removeprefix(f"{sample.spec.clip.path}: ")
        node = re.match(r'node "([^"]*)"', message)
        yield replace(problem, message=message, span=node_span(template, node[1] if node else ""))


def node_span(template: Template, node: str) -> Span:
    """Return the place of a node in a template or one of its parts, the first line if it is not found."""
    texts = [(template.shown, template.text)]
    texts += [(str(Path(template.shown).with_name(name)), text) for name, text in template.parts.items()]
    for file, text in texts:
        found = re.search(rf'"{re.escape(node)}"\s*:\s*\{{', text)
        if found:
            return Span(
                file, text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
            )
    return Span(template.shown, 1, 1)
