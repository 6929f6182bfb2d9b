"""The author's values behind a clip's action, and where each is written: what `explain` compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import Digest, digest_json
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.models.geometry import delivered_size
from ltxflow.project.model import Image, Keyframe, Lora, Picture
from ltxflow.project.settings import QUALITY_PARTS
from ltxflow.steps import Node, display_name, explain_frames, explain_prompt, explain_size, span_of
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template

BRANCHES = frozenset(["stages", "mode", "audio"])  # what templates branch on besides presence
SHAPE_DIGESTS: dict[tuple[Digest, Digest], Digest] = {}  # memo: a project's template renders in a child process


def fields(node: Node) -> dict[str, Any]:
    spec: ClipSpec = node.spec
    clip, reads = spec.clip, spec.template.header.variables
    size = str(spec.film["size"].value)
    found: dict[str, Any] = {
        **explain_prompt(clip),
        "seed": spec.seed,
        "frames": explain_frames(spec.frames, clip, spec.scene),
        "fps": spec.fps,
        "size": explain_size(size, delivered_size(spec.profile, size)),
        "quality": _explain_quality(spec),
        **{name: clip.get(name) for name in ("steps", "cfg", "stages", "temporal_upscale")},
    }
    if spec.is_guided:
        found["negative"] = clip.get("negative", "")
    found["loras"] = [_explain_lora(lora) for lora in clip.loras]
    for group, image in (("reference", clip.reference), ("last_frame", clip.last_frame)):
        if image is None:
            found[f"{group}.image"] = None
        elif group in reads or not reads:
            found[f"{group}.image"] = _explain_picture(image)
            found |= {f"{group}.{part}": clip.get(f"{group}.{part}") for part in ("strength", "compression", "fit")}
            if clip.get(f"{group}.fit") == "cover":
                found[f"{group}.focus"] = clip.get(f"{group}.focus")
    found["keyframes"] = [_explain_keyframe(keyframe) for keyframe in clip.keyframes] or None
    guide = clip.control
    if guide is None:
        found["control.video"] = None
    elif "control" in reads or not reads:
        found["control.video"] = {"is": guide.name, "digest": guide.digest}
        found |= {f"control.{part}": clip.get(f"control.{part}") for part in ("lora", "strength", "mode")}
        found["control.preprocess"] = clip.get("control.preprocess")  # None: as the mode has it
    if clip.sound or "sound" in reads:
        sound = clip.sound
        found["sound"] = {"is": sound.name, "digest": sound.digest} if sound else None
    extends = clip.extends if "extend" in reads or not reads else None
    file = extends.file if extends else None
    found["extends.clip"] = (extends.clip or None) if extends else None
    found["extends.file"] = {"is": file.name, "digest": file.digest} if file else None
    if extends:
        found |= {"extends.frames": extends.frames, "extends.audio": extends.audio}
    maps = {role for role, model in spec.profile.models.items() if model.maps}  # `control` decides which one is used
    models = [role for role in sorted(spec.weights) if role not in maps]
    found["weights"] = " ".join(f"{role}:{spec.weights[role]}" for role in models)
    found["pins"] = " ".join(f"{role}:{sha256}" for role, sha256 in sorted(spec.pins.items())) or None
    found["template"] = _explain_template(spec)
    found["profile"] = spec.profile.name
    return found


def where(node: Node, name: str) -> Span | None:
    spec: ClipSpec = node.spec
    if name == "workflow":
        return Span(spec.template.shown or str(spec.template.path), 1, 1)
    return span_of("weights" if name == "pins" else name, spec.clip, spec.scene, spec.film)


def _explain_keyframe(keyframe: Keyframe) -> dict[str, Any]:
    found = {"is": f"{keyframe.image.name} at {keyframe.at}", "pixels": keyframe.image.pixels, "frame": keyframe.frame}
    return found if keyframe.strength is None else {**found, "strength": keyframe.strength}


def _explain_picture(picture: Picture) -> dict[str, str]:
    """Return a file by its pixels; a made picture also by its name, and before it is made by the name alone."""
    name = display_name(picture)
    if isinstance(picture, Image):
        return {"is": name, "pixels": picture.pixels, **({"of": picture.made_as} if picture.made_as else {})}
    return {"is": name, "of": name}


def _explain_lora(lora: Lora) -> dict[str, str]:
    name = f"{lora.name} at {lora.strength:.12g}"
    return {"is": name, "sha256": lora.sha256} if lora.sha256 else {"is": name}


def _explain_quality(spec: ClipSpec) -> dict[str, Any]:
    """Return what the quality decides for this clip; steps, CFG and stages only where the author wrote none."""
    clip, preset = spec.clip, spec.preset
    own = {name: getattr(preset, name) for name in ("sampler", "sigmas", "distilled", "distilled_strength", "half")}
    own |= {"samplers": dict(preset.samplers)}
    own |= {name: getattr(preset, name) for name in QUALITY_PARTS if clip.settings[name].origin.startswith("quality ")}
    own |= {"guided": {"etas": dict(preset.etas), "audio_cfg": preset.audio_cfg, "more": dict(preset.guidance)}}
    if clip.get("stages", 2) == 2:
        stage2 = preset.stage2
        own |= {"stage2": [stage2.sigmas, stage2.sampler, stage2.cfg, dict(stage2.samplers)]}
        own |= {"stage2.more": [stage2.seed or 0, dict(stage2.etas), stage2.is_distilled]}
    return {"is": preset.name, **own}


def _explain_template(spec: ClipSpec) -> dict[str, Any]:
    """Return the template and what it makes of a clip of this shape; comments and node numbers have no part in that.

    "instead" is set where the author chose the template. Templates are compared by what they make of the same shape:
    where the shape differs, the value that gave it is what changed.
    """
    name, way = spec.template.name, spec.clip.way
    shape = _shape("", spec.context({role: role for role in spec.weights}, {}, "shape"))
    return {
        "is": name,
        "instead": "" if name == way else name,
        "makes": {digest_json(shape): _shape_digest(spec.template, shape)},
    }


def _shape_digest(template: Template, shape: dict[str, Any]) -> Digest:
    known = (template.digest, digest_json(shape))
    if known not in SHAPE_DIGESTS:
        try:
            graph = render(template, shape)
            SHAPE_DIGESTS[known] = digest_json(canonical_graph(graph, outputs_of(graph)))
        except LtxflowError:  # it computes with a value that was made plain: compare its text then
            SHAPE_DIGESTS[known] = template.digest
    return SHAPE_DIGESTS[known]


def _shape(name: str, value: Any) -> Any:
    """Return what a template may branch on as it is, and every other text and number as a plain one."""
    if isinstance(value, Mapping):
        return {part: _shape(str(part), inner) for part, inner in value.items()}
    if isinstance(value, list):
        return [_shape(name, inner) for inner in value]
    if isinstance(value, str):
        return value if name in BRANCHES else name
    if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in BRANCHES:
        return (4.0 if value > 1 else 1.0) if name == "cfg" else 9
    return value
