"""A clip, rendered by a ComfyUI workflow: its settings, its graph, its key. Unaware of servers and of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import Action, Output, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.media.image import PREPARE_VERSION
from ltxflow.script.model import Clip, Geometry, Image, Media, Project
from ltxflow.script.profile import Profile, Quality, geometry
from ltxflow.script.template import Template, render
from ltxflow.steps import Job, Node, Wishes

KIND, VERSION, POOL, SOURCE = "clip", "1", "gpu", "comfyui"


@dataclass(frozen=True)
class Shot:
    """One take of a clip with everything decided that the author may leave open: seed, frames, sizes, template."""

    clip: Clip
    take: int
    seed: int
    frames: int
    fps: int
    geometry: Geometry
    profile: Profile
    template: Template
    weights: Mapping[str, str]  # model role → precision


def nodes(project: Project, wishes: Wishes) -> Iterator[Node]:
    """Given a film, yield a node for every take of every clip.

    Raise LtxflowError, with all problems, for clips whose template or size does not exist.
    """
    problems: list[Problem] = []
    weights = weights_of(project)
    for clip in project.clips:
        try:
            template, size = template_of(project, clip), geometry_of(project, clip)
            check_steps(project, clip)
        except LtxflowError as error:
            problems += error.problems
            continue
        for take in range(1, clip.takes + 1):
            frames = wishes.lengths[clip.path]
            shot = Shot(
                clip,
                take,
                wishes.seed(clip, take),
                frames,
                project.fps,
                size,
                project.profile,
                template,
                weights,
            )
            yield Node(f"clip:{clip.path}@{take}", KIND, shot, frames, span=clip.span)
    if problems:
        raise LtxflowError(*problems)


def template_of(project: Project, clip: Clip) -> Template:
    """Given a clip, return the template it names, or the one for what it has: frames at both ends, a guide, …"""
    named = clip.get("template")
    name = str(named) if named else way_of(clip)
    found = project.templates.get(name)
    if found is None:
        value = clip.settings.get("template")
        raise LtxflowError(
            Problem(
                f'{clip.path}: no template "{name}" for {project.profile.name}',
                (value.span if value and value.span else clip.span),
                f"there are: {', '.join(sorted(project.templates))}",
                "L080",
            )
        )
    return found  # type: ignore[no-any-return]  # the model floor does not know templates


def check_steps(project: Project, clip: Clip) -> None:
    """Given a clip, raise LtxflowError when it asks for more steps than its quality's schedule has."""
    value = clip.settings["steps"]
    try:
        sigmas_for(project.profile.qualities[str(clip.get("quality"))], int(value.value))
    except ValueError as error:
        raise LtxflowError(
            Problem(f"{clip.path}: {error}, not {value.value}", value.span or clip.span, "or use quality: full", "L044")
        ) from None


def way_of(clip: Clip) -> str:
    """Given a clip, return the name of the way it is made, from what it has."""
    if clip.control:
        return "control"
    if clip.last_frame:
        return "flf2v"
    return "i2v" if clip.reference else "t2v"


def geometry_of(project: Project, clip: Clip) -> Geometry:
    """Given a clip, return its sizes: those of the film, sampled in the stages its settings ask for."""
    wanted = project.settings.get("size") or project.settings["aspect"]
    preset = project.profile.qualities[str(clip.get("quality"))]
    return geometry(project.profile, str(wanted.value), stages=int(clip.get("stages", 2)), half=preset.half)


def weights_of(project: Project) -> dict[str, str]:
    """Given a film, return model role → precision: one word for all, or a mapping, over the profile's defaults."""
    asked = project.settings["weights"]
    profile: Profile = project.profile
    weights = {}
    for role, model in profile.models.items():
        wish = asked.value.get(role) if isinstance(asked.value, Mapping) else asked.value
        precision = model.precision(str(wish or profile.default_weights.get(role, "")))
        if precision is None:
            known = ", ".join(model.weights)
            raise LtxflowError(
                Problem(
                    f'no "{wish}" weights of the {role} in {profile.name}', asked.span, f"there are: {known}", "L082"
                )
            )
        weights[role] = precision
    return weights


def sigmas_for(preset: Quality, steps: int) -> str | None:
    """Given a quality and the steps asked for, return its sigmas, thinned out evenly where fewer are asked for.

    None where the scheduler makes them. Raise ValueError for more steps than the schedule has.
    """
    if preset.sigmas is None:
        return None
    sigmas = [part.strip() for part in preset.sigmas.split(",")]
    if steps > len(sigmas) - 1:
        raise ValueError(f"{preset.name} has a fixed schedule of {len(sigmas) - 1} steps")
    if steps == len(sigmas) - 1:
        return preset.sigmas
    last = len(sigmas) - 1
    return ", ".join(sigmas[(index * last + steps // 2) // steps] for index in range(steps + 1))


def asset_name(image: Image, fit: str, focus: Any, size: tuple[int, int]) -> tuple[str, dict[str, Any]]:
    """Given a picture and how it is prepared, return its name on a server and the recipe the name stands for.

    The recipe is of the *source's* pixels: another release of an image library changes no name and no key.
    """
    recipe = {
        "pixels": image.pixels,
        "fit": fit,
        "focus": [float(part) for part in focus] if fit == "cover" else None,
        "size": list(size),
        "prepare": PREPARE_VERSION,
    }
    return f"ltxflow/{digest_json(recipe)[:32]}.png", recipe


def video_name(video: Media) -> str:
    return f"ltxflow/{video.digest[:32]}{video.path.suffix.lower()}"


@dataclass(frozen=True)
class Asset:
    """A file that a server must have before a clip's graph can run there."""

    name: str
    recipe: dict[str, Any]
    image: Image | None = None
    video: Media | None = None


def assets(shot: Shot) -> list[Asset]:
    """Given a shot, return what it reads: prepared pictures and the guide video."""
    clip, found = shot.clip, []
    for group, image in (("reference", clip.reference), ("last_frame", clip.last_frame)):
        if image:
            fit, focus = str(clip.get(f"{group}.fit", "cover")), clip.get(f"{group}.focus", (0.5, 0.5))
            name, recipe = asset_name(image, fit, focus, shot.geometry.decoded)
            found.append(Asset(name, recipe, image=image))
    if clip.control:
        found.append(Asset(video_name(clip.control), {"video": clip.control.digest}, video=clip.control))
    return found


def context(shot: Shot, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Given a shot, the name of the file for each model role and LoRA, return the template's variables.

    The same for the key (roles as names) and for a server (its files as names).
    """
    clip, profile, size = shot.clip, shot.profile, shot.geometry
    preset = profile.qualities[str(clip.get("quality"))]
    steps, cfg, stages = int(clip.get("steps")), float(clip.get("cfg")), int(clip.get("stages", 2))
    images = {asset.name: asset for asset in assets(shot)}
    names = {id(asset.image): name for name, asset in images.items() if asset.image}
    crop = dict(zip(("x", "y", "width", "height"), size.crop, strict=True)) if size.is_cropped else None
    told: dict[str, Any] = {
        "prompt": clip.prompt.text,
        "negative": str(clip.get("negative", "")) if cfg > 1 else "",
        "seed": shot.seed,
        "width": size.base[0],
        "height": size.base[1],
        "decoded_width": size.decoded[0],
        "decoded_height": size.decoded[1],
        "crop": crop,
        "frames": shot.frames,
        "fps": shot.fps,
        "stages": stages,
        "steps": steps,
        "cfg": cfg,
        "sampler": preset.sampler_for(shot.template.name),
        "sigmas": sigmas_for(preset, steps),
        "stage2": {
            "sigmas": preset.stage2.sigmas,
            "sampler": preset.stage2.sampler_for(shot.template.name),
            "cfg": preset.stage2.cfg,
        }
        if stages == 2
        else None,
        "distilled": preset.distilled,
        "distilled_strength": preset.distilled_strength,
        "loras": [{"name": loras.get(lora.name, lora.name), "strength": lora.strength} for lora in clip.loras],
        "models": dict(models),
        "text_encoder_device": profile.text_encoder_device,
        "tiling": profile.tiled_decode.for_size(size.decoded),
        "temporal_upscale": bool(clip.get("temporal_upscale", False)),
        "control": None,
        "prefix": prefix,
    }
    for group, image in (("reference", clip.reference), ("last_frame", clip.last_frame)):
        told[group] = names[id(image)] if image else None
        told[f"{group}_strength"] = clip.get(f"{group}.strength")
        told[f"{group}_compression"] = clip.get(f"{group}.compression")
    if clip.control:
        told["control"] = {
            "lora": loras.get(str(clip.get("control.lora")), clip.get("control.lora")),
            "video": video_name(clip.control),
            "strength": clip.get("control.strength", 1.0),
            "mode": clip.get("control.mode", "raw"),
        }
    return told


def graph(shot: Shot, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Given a shot and the names on one server, return the ComfyUI workflow in API format."""
    try:
        return render(shot.template, context(shot, models, loras, prefix))
    except LtxflowError as error:
        hint = f"while rendering {shot.clip.path}"
        raise LtxflowError(*(Problem(p.message, p.span, p.hint or hint, p.code) for p in error.problems)) from None


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Given a node, return its action: the graph as a Merkle walk, models by role and precision, pins, recipes."""
    shot: Shot = node.spec
    roles = {role: f"{role}@{weights}" for role, weights in shot.weights.items()}
    rendered = graph(shot, roles, {}, "ltxflow")
    outputs = outputs_of(rendered)
    if "video" not in outputs:
        raise LtxflowError(
            Problem(
                f'template "{shot.template.name}" has no save node titled "video"',
                Span(str(shot.template.path), 1, 1),
                'give its SaveVideo node "_meta": {"title": "video"}',
                "L081",
            )
        )
    body: dict[str, Any] = {"graph": canonical_graph(rendered, outputs)}
    used = set(_texts(body["graph"]))
    if recipes := {asset.name: asset.recipe for asset in assets(shot) if asset.name in used}:
        body["assets"] = recipes
    if pins := {lora.name: lora.sha256 for lora in shot.clip.loras if lora.sha256}:
        body["pins"] = pins
    return Action(KIND, VERSION, body, {}, (*outputs, "published"))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def fields(node: Node) -> dict[str, Any]:
    shot: Shot = node.spec
    clip, cfg = shot.clip, float(shot.clip.get("cfg"))
    width, height = shot.geometry.delivered
    told: dict[str, Any] = {f"prompt.{part}": text for part, text in clip.prompt.parts.items()}
    told |= {"seed": shot.seed, "frames": shot.frames, "fps": shot.fps, "size": f"{width}x{height}"}
    told |= {name: clip.get(name) for name in ("quality", "steps", "cfg", "stages", "temporal_upscale")}
    if cfg > 1:
        told["negative"] = clip.get("negative", "")
    told["loras"] = [f"{lora.name} at {lora.strength:g}" for lora in clip.loras]
    for group, image in (("reference", clip.reference), ("last_frame", clip.last_frame)):
        if image:
            told[f"{group}.image"] = {"is": image.name, "pixels": image.pixels}
            told |= {f"{group}.{part}": clip.get(f"{group}.{part}") for part in ("strength", "compression", "fit")}
            if clip.get(f"{group}.fit") == "cover":
                told[f"{group}.focus"] = clip.get(f"{group}.focus")
    if clip.control:
        told["control.video"] = {"is": clip.control.name, "digest": clip.control.digest}
        told |= {f"control.{part}": clip.get(f"control.{part}") for part in ("lora", "strength", "mode")}
    told["weights"] = " ".join(f"{role}:{weight}" for role, weight in sorted(shot.weights.items()))
    told["template"] = {"is": shot.template.name, "digest": shot.template.digest}
    told["profile"] = {"is": shot.profile.name, "version": shot.profile.version}
    return told


def where(node: Node, name: str) -> Span | None:
    clip: Clip = node.spec.clip
    if name.startswith("prompt."):
        return clip.prompt.spans.get(name.removeprefix("prompt.")) or clip.span
    if name == "frames":
        return clip.length.span
    value = clip.settings.get(name)
    return (value.span if value else None) or clip.span


@dataclass(frozen=True)
class Expected:
    """What a file that comes back must be; None where the workflow is not ours to predict."""

    frames: int | None
    fps: int | None
    size: tuple[int, int] | None


def expected(shot: Shot, output: str) -> Expected:
    """Given a shot and the name of an output, return what the file must be.

    The temporal upscaler makes 2(F-1)+1 frames of F (COMFYUI: 25 → 49).
    """
    if not shot.template.trusted:
        return Expected(None, shot.fps, None)
    size = shot.geometry.delivered if output == "video" else shot.geometry.decoded
    return Expected(shot.frames, shot.fps, size)


def roles(shot: Shot) -> list[str]:
    """Given a shot, return the model roles its graph really names, in the profile's order."""
    tokens = {role: f"{role}@{weights}" for role, weights in shot.weights.items()}
    used = set(_texts(graph(shot, tokens, {}, "ltxflow")))
    return [role for role, token in tokens.items() if token in used]


def work(node: Node) -> float:
    """Given a node, return what it asks of a GPU: pixels × frames × steps, summed over its stages."""
    shot: Shot = node.spec
    width, height = shot.geometry.base
    total = width * height * shot.frames * int(shot.clip.get("steps"))
    if int(shot.clip.get("stages", 2)) == 2:
        preset = shot.profile.qualities[str(shot.clip.get("quality"))]
        width, height = shot.geometry.decoded
        total += width * height * shot.frames * preset.stage2.sigmas.count(",")
    return float(total)


async def run(node: Node, action: Action, job: Job) -> None:
    """A clip runs on a ComfyUI server: the executor of the pool "gpu" drives it (run/executors/comfy.py)."""
    raise AssertionError("clips are run by the comfy executor")
