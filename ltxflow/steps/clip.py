"""A clip, rendered by a ComfyUI workflow: its settings, its graph, its key. Unaware of servers and of the plan."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import ACTION_FORMAT, Action, Digest, Output, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.timing import frames_within, snap_down
from ltxflow.media.fit import PREPARE_VERSION, VIDEO_VERSION
from ltxflow.models.geometry import Geometry, delivered_size, geometry
from ltxflow.models.profile import Profile, Quality, Stage2
from ltxflow.project.model import (
    Clip,
    Extends,
    Image,
    Keyframe,
    Lora,
    Media,
    Picture,
    Project,
    Scene,
    Still,
    Value,
    slug,
)
from ltxflow.project.settings import QUALITY_PARTS
from ltxflow.project.weights import pins_of, weights_of
from ltxflow.steps import (
    ActionContext,
    Asset,
    Expected,
    Node,
    ResolvedInputs,
    label,
    model_named,
    needed,
    told_frames,
    told_prompt,
    told_size,
    written,
)
from ltxflow.workflow.render import render, render_many
from ltxflow.workflow.template import Template

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures

KIND, VERSION, POOL, SOURCE = "clip", "2", "gpu", "comfyui"
CHANGES = {"2": "now keys a clip by its model"}  # what a VERSION changed, for people whom it would cost renders
MODELLESS = (
    "1"  # the version of an action whose graph names no file of the film's model: version 2 changed nothing there
)

_ENCODER = json.JSONEncoder(default=dict, allow_nan=False)
SCHEDULED_LEAST = 2  # steps that LTXVScheduler can stretch
BRANCHES = frozenset(["stages", "mode", "audio"])  # besides what is there or not, what templates branch on
_MADE: dict[tuple[Digest, Digest], Digest] = {}  # a memo of _makes: a project's own template renders in a child
_AHEAD: dict[tuple[Digest, Digest], dict[str, Any]] = {}  # what `render_ahead` rendered, by template and context


@dataclass(frozen=True)
class ContinuationSource:
    """The video that a clip continues: how many frames it has, and the digest of its bytes once that is known."""

    name: str  # of the clip, or the file
    frames: int
    digest: str = ""
    file: Media | None = None
    recipe: Mapping[str, Any] | None = None  # how the file is made to fit; None: it is sent as it is

    @property
    def server_name(self) -> str:
        """What a server calls it: by its content. Before that is known, for people who look at the workflow."""
        if self.recipe is not None:
            return prepared_name(self.recipe)
        return video_name(self.file) if self.file else f"ltxflow/{self.digest[:32] or self.name.replace('/', '-')}.mp4"


@dataclass(frozen=True)
class ClipSpec:
    """One take of a clip with everything decided that the author may leave open: seed, frames, sizes, template.

    `scene` and `film` (its settings) tell where values come from; they reach no key. `frames` and `fps` are those of
    the file that is delivered.
    """

    clip: Clip
    scene: Scene
    film: Mapping[str, Value]
    take: int
    seed: int
    frames: int
    fps: int
    geometry: Geometry
    profile: Profile
    template: Template
    weights: Mapping[str, str]  # model role → precision
    before: ContinuationSource | None = None
    pins: Mapping[str, str] = field(default_factory=dict)  # model role → sha256 of its file, where the film pins one

    @property
    def sampled_frames(self) -> int:
        """What the model samples: with the frames of what it continues, or half of them where they are doubled."""
        return (self.frames - 1) // 2 + 1 if self.clip.is_doubled else self.frames + self.clip.frames_again

    @property
    def sampled_fps(self) -> int:
        return self.fps // 2 if self.clip.is_doubled else self.fps

    # What a server is told: steps.Order

    @property
    def path(self) -> str:
        return self.clip.path

    @property
    def span(self) -> Span | None:
        return self.clip.span

    @property
    def text(self) -> str:
        return self.clip.prompt.text

    @property
    def loras(self) -> list[tuple[str, Span | None]]:
        found = [(lora.name, lora.span) for lora in self.clip.loras]
        control = self.clip.get("control.lora")
        return [*found, (str(control), self.clip.settings["control.lora"].span)] if control else found

    @property
    def loads(self) -> str:
        loras = [f"{lora.name}@{lora.strength:g}" for lora in self.clip.loras]
        return " ".join([*(f"{role}:{weight}" for role, weight in sorted(self.weights.items())), *loras])

    def roles(self, action: Action | None = None) -> list[str]:
        return roles(self, action)

    def assets(self) -> list[Asset]:
        return assets(self)

    def graph(self, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
        return graph(self, models, loras, prefix)

    def strays(
        self, graph: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
    ) -> list[Problem]:
        return foreign_files(self, graph, signatures, also)

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]:
        return outputs_of(graph)

    def expected(self, output: str) -> Expected:
        return expected(self, output)


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield a node for every take of every clip; of a clip with one take, for that in the cut.

    Raise LtxflowError, with all problems, for clips whose template or size does not exist.
    """
    problems: list[Problem] = []
    weights, pins = weights_of(project), pins_of(project)
    both: list[Clip | Still] = [*project.clips, *project.stills]
    taken = {one.path: one for one in both}
    for clip in project.clips:
        try:
            template, size = template_of(project, clip), geometry_of(project, clip)
            check_steps(project, clip, template)
            _check_keyframes(clip, wishes.lengths[clip.path])
            before, needs = before_of(project, clip, wishes)
        except LtxflowError as error:
            problems += error.problems
            continue
        wanted = {group: needed(p, lambda path: wishes.pick(taken[path])) for group, p in clip.pictures.items()}
        pictures = {group: need for group, need in wanted.items() if need}
        pick = wishes.pick(clip)
        asked = {*range(1, clip.takes + 1), pick} if clip.takes > 1 else {pick}
        for take in sorted(asked | wishes.also(clip)):
            frames = wishes.lengths[clip.path]
            shot = ClipSpec(
                clip,
                project.scene(clip.scene),
                project.settings,
                take,
                wishes.seed(clip, take),
                frames,
                project.fps,
                size,
                project.profile,
                template,
                weights,
                before,
                pins,
            )
            if take == pick:
                problems += check_guide(shot)
            yield Node(f"clip:{clip.path}@{take}", KIND, shot, frames, needs | pictures, clip.span)
    if problems:
        raise LtxflowError(*problems)


def before_of(project: Project, clip: Clip, wishes: ResolvedInputs) -> tuple[ContinuationSource | None, dict[str, str]]:
    """Given a clip, return what it continues, and which target and output it needs for that.

    A file that does not fit is made to: see `prepared_file`. Raise LtxflowError where another clip is of another shape
    or smaller than what this one samples, or too short.
    """
    extends = clip.extends
    if extends is None:
        return None, {}
    own = geometry_of(project, clip)
    if extends.file is not None:
        file, recipe = extends.file, prepared_file(extends, own, project.fps)
        frames = extends.frames if recipe else file.facts["frames"]
        return ContinuationSource(file.name, frames, file.digest, file, recipe), {}
    source = next(other for other in project.clips if other.path == extends.clip)
    frames, size = wishes.lengths[source.path], geometry_of(project, source)
    _check_joins(clip, source.path, size.decoded, own.decoded, frames)
    output = "uncropped|video" if size.is_cropped and template_of(project, source).trusted else "video"
    return ContinuationSource(source.path, frames), {"extends": f"clip:{source.path}@{wishes.pick(source)}#{output}"}


def _check_joins(clip: Clip, name: str, found: tuple[int, int], wanted: tuple[int, int], frames: int) -> None:
    """A picture of another shape would be zoomed into to fit, and the join would jump."""
    assert clip.extends is not None
    span = clip.extends.span or clip.span
    if found[0] * wanted[1] != found[1] * wanted[0] or found[0] < wanted[0]:
        message = f"{clip.path} samples {wanted[0]}x{wanted[1]}, and {name}, which it extends, is {found[0]}x{found[1]}"
        hint = "give both the same stages and quality"
        raise LtxflowError(Problem(message, span, hint, "L102"))
    if frames < clip.extends.frames:
        message = f"{name} has {frames} frames, and {clip.path} takes {clip.extends.frames} of them"
        raise LtxflowError(Problem(message, span, "write extends: {frames: 9}, or make it longer", "L102"))


def bound(node: Node, inputs: Mapping[str, Output]) -> Node:
    return replace(node, spec=with_inputs(node.spec, inputs))


def with_inputs(shot: ClipSpec, inputs: Mapping[str, Output]) -> ClipSpec:
    """Given a shot and what it needs, made, return the shot that knows it.

    What it continues, by its bytes; what it starts from or ends on as a picture like any other, by its pixels.
    """
    if shot.before and "extends" in inputs:
        shot = replace(shot, before=replace(shot.before, digest=inputs["extends"].digest))
    made = {
        group: Image(
            Path(),
            label(picture),
            Digest(inputs[group].facts["pixels"]),
            inputs[group].facts["width"],
            inputs[group].facts["height"],
            picture.span,
            made_as=label(picture),
        )
        for group, picture in shot.clip.pictures.items()
        if group in inputs
    }
    return replace(shot, clip=replace(shot.clip, **made)) if made else shot  # type: ignore[arg-type]  # by their names


def template_of(project: Project, clip: Clip) -> Template:
    """Given a clip, return the template it names, or the one for what it has: frames at both ends, a guide, …"""
    named = clip.get("template")
    name = str(named) if named else clip.way
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
    template: Template = found  # the model floor does not know templates
    if template.problems:
        raise LtxflowError(*template.problems)
    own = {
        "reference": clip.reference,
        "last_frame": clip.last_frame,
        "control": clip.control,
        "sound": clip.sound,
        "extend": clip.extends,
        "keyframes": clip.keyframes,
    }
    lacks = [need for need in template.header.needs if need in own and not own[need]]
    if lacks:
        value = clip.settings.get("template")
        setting = {"extend": "extends"}.get(lacks[0], lacks[0])
        raise LtxflowError(
            Problem(
                f'{clip.path}: template "{name}" needs {setting}, which the clip has not',
                (value.span if value and value.span else clip.span),
                f"write  {setting}: …  or choose another template",
                "L083",
            )
        )
    if clip.sound and "sound" not in template.header.variables:
        message = f'{clip.path}: template "{name}" reads no sound file'
        hint = "name a template that does (ltxflow template list), or write  sound: null"
        raise LtxflowError(Problem(message, clip.sound.span or clip.span, hint, "L086"))
    return template


def templates_used(project: Project) -> frozenset[str]:
    """Return the names of the templates that a film's clips and images are made with."""
    clips = {str(clip.get("template") or clip.way) for clip in project.clips}
    return frozenset(clips | {still.template for still in project.stills if still.template})


def check_steps(project: Project, clip: Clip, template: Template) -> None:
    """Raise LtxflowError when a clip asks for more steps than its quality's schedule has, or for too few.

    Our templates let LTXVScheduler stretch a schedule that is not listed; with one step it divides 0 by 0, and the
    sampler returns NaN (ComfyUI 0.27 and 0.33). A template of the project's may schedule as it likes.
    """
    value, preset = clip.settings["steps"], project.profile.qualities[str(clip.get("quality"))]
    steps = int(value.value)
    problem = hint = ""
    try:
        sigmas = sigmas_for(preset, steps)
    except ValueError as error:
        problem, hint = f"{error}, not {steps}", "ask for fewer, or use quality: full"
    else:
        if sigmas is None and steps < SCHEDULED_LEAST and template.trusted:
            problem = f"{preset.name} needs at least {SCHEDULED_LEAST} steps, not {steps}"
            hint = f"ask for more ({preset.steps} is usual)"
    if problem:
        raise LtxflowError(Problem(f"{clip.path}: {problem}", value.span or clip.span, hint, "L044"))


def _check_keyframes(clip: Clip, frames: int) -> None:
    """Raise LtxflowError for a keyframe that is not in the clip, which a server mostly lets pass, or one of two in one
    place.
    """
    taken: dict[int, str] = {}
    for keyframe in clip.keyframes:
        frame, span = frames - 1 if keyframe.frame is None else keyframe.frame, keyframe.span or clip.span
        if frame >= frames:
            message = f"{clip.path} has {frames} frames, and its keyframe at {keyframe.at} would be frame {frame}"
            hint = f"write at: {frames - 1}f or less, or at: end"
            raise LtxflowError(Problem(message, span, hint, "L109"))
        if frame in taken:
            message = f"{clip.path} has two keyframes at frame {frame}: at {taken[frame]} and at {keyframe.at}"
            raise LtxflowError(Problem(message, span, "leave one of them out", "L109"))
        taken[frame] = keyframe.at


def geometry_of(project: Project, clip: Clip) -> Geometry:
    """Given a clip, return its sizes: those of the film, sampled in the stages its settings ask for."""
    wanted = project.settings.get("size") or project.settings["aspect"]
    preset = project.profile.qualities[str(clip.get("quality"))]
    stages, is_guided = int(clip.get("stages", 2)), clip.control is not None
    return geometry(project.profile, str(wanted.value), stages=stages, half=preset.half, is_guided=is_guided)


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


def sound_name(sound: Media) -> str:
    """Return the name of a sound file on a server: by its bytes."""
    return f"ltxflow/{sound.digest[:32]}{sound.path.suffix.lower()}"


def prepared_name(recipe: Mapping[str, Any]) -> str:
    return f"ltxflow/{digest_json(dict(recipe))[:32]}.mov"


def prepared_file(extends: Extends, size: Geometry, fps: int) -> dict[str, Any] | None:
    """Return the recipe by which the file that a clip continues is made to fit; None where it fits as it is.

    A file in the shape that is sampled, such as an uncropped clip of ours, fills it; any other fills what will be
    delivered of it, so that after the crop the two meet without a jump.
    """
    assert extends.file is not None
    facts, (width, height) = extends.file.facts, size.decoded
    is_whole = facts["width"] * height == facts["height"] * width
    if facts["is_plain"] and is_whole and facts["width"] >= width and facts["fps"] == str(fps):
        return None
    return {
        "video": extends.file.digest,
        "take": "last",
        "frames": extends.frames,
        "fps": fps,
        "size": list(size.decoded),
        "window": [0, 0, width, height] if is_whole else list(size.crop),
        "sound": extends.audio == "pinned",
        "prepare": VIDEO_VERSION,
    }


def prepared_guide(shot: ClipSpec) -> dict[str, Any] | None:
    """Return the recipe by which a shot's guide video is made to fit; None where it fits as it is.

    One of the rate that is sampled, and upright, does: the template takes care of its size.
    """
    assert shot.clip.control is not None
    guide = shot.clip.control
    if not guide.facts or (guide.facts["is_plain"] and guide.facts["fps"] == str(shot.sampled_fps)):
        return None  # of a sample nothing is known
    return {
        "video": guide.digest,
        "take": "first",
        "frames": shot.sampled_frames,
        "fps": shot.sampled_fps,
        "size": list(shot.geometry.base),
        "window": [0, 0, *shot.geometry.base],
        "sound": False,
        "prepare": VIDEO_VERSION,
    }


def check_guide(shot: ClipSpec) -> list[Problem]:
    """Return a problem where a shot's guide video is shorter than the shot."""
    guide = shot.clip.control
    if guide is None:
        return []
    frames = frames_within(Fraction(guide.facts["seconds"]), guide.facts["frames"], shot.sampled_fps)
    if frames >= shot.sampled_frames:
        return []
    at = f" at {shot.sampled_fps} a second" if guide.facts["fps"] != str(shot.sampled_fps) else ""
    has = f"{frames} frame{'s' if frames != 1 else ''}{at}"
    message = f"{guide.name} has {has}, and {shot.clip.path} follows it for {shot.sampled_frames}"
    hint = f"give a longer video, or the clip a length of at most {snap_down(frames)}f"
    return [Problem(message, guide.span or shot.clip.span, hint, "L108")]


def assets(shot: ClipSpec) -> list[Asset]:
    """Return what a shot reads: prepared pictures, guide video, sound, and the video that it continues."""
    clip, found = shot.clip, []
    for group, picture in clip.pictures.items():
        if not isinstance(picture, Image):  # not made yet: for people who look at the workflow
            found.append(Asset(f"ltxflow/{slug(label(picture))}.png", {}, group, input=group))
            continue
        fit, focus = str(clip.get(f"{group}.fit", "cover")), clip.get(f"{group}.focus", (0.5, 0.5))
        name, recipe = asset_name(picture, fit, focus, shot.geometry.decoded)
        found.append(Asset(name, recipe, group, image=picture, input=group if picture.made_as else ""))
    fit, focus = shot.profile.last_frame.fit, shot.profile.last_frame.focus
    for keyframe in clip.keyframes:
        name, recipe = asset_name(keyframe.image, fit, focus, shot.geometry.decoded)
        found.append(Asset(name, recipe, "keyframes", image=keyframe.image))
    if clip.control:
        guide = prepared_guide(shot)
        name = prepared_name(guide) if guide else video_name(clip.control)
        found.append(Asset(name, guide or {"video": clip.control.digest}, "control", video=clip.control))
    if clip.sound:
        found.append(Asset(sound_name(clip.sound), {"sound": clip.sound.digest}, "sound", video=clip.sound))
    if before := shot.before:
        digest = before.file.digest if before.file else before.digest
        source = "" if before.file else "extends"
        recipe = dict(before.recipe) if before.recipe is not None else {"video": digest}
        found.append(Asset(before.server_name, recipe, "extends", video=before.file, input=source))
    return found


def context(
    shot: ClipSpec,
    models: Mapping[str, str],
    loras: Mapping[str, str],
    prefix: str,
    read: Sequence[Asset] | None = None,
) -> dict[str, Any]:
    """Given a shot, the name of the file for each model role and LoRA, return the template's variables.

    The same for the key (roles as names) and for a server (its files as names). `read` is what `assets` gives.
    """
    clip, profile, size = shot.clip, shot.profile, shot.geometry
    preset = profile.qualities[str(clip.get("quality"))]
    steps, cfg, stages = int(clip.get("steps")), float(clip.get("cfg")), int(clip.get("stages", 2))
    names = {asset.role: asset.name for asset in (assets(shot) if read is None else read)}
    crop = dict(zip(("x", "y", "width", "height"), size.crop, strict=True)) if size.is_cropped else None
    told: dict[str, Any] = {
        "prompt": clip.prompt.text,
        "negative": str(clip.get("negative", "")) if _is_guided(shot) else "",
        "seed": shot.seed,
        "width": size.base[0],
        "height": size.base[1],
        "decoded_width": size.decoded[0],
        "decoded_height": size.decoded[1],
        "crop": crop,
        "frames": shot.sampled_frames,
        "fps": shot.sampled_fps,
        "stages": stages,
        "steps": steps,
        "cfg": cfg,
        "sampler": preset.sampler_for(shot.template.name),
        "sampler_eta": preset.etas.get(shot.template.name),
        "sigmas": sigmas_for(preset, steps),
        "audio_cfg": cfg if preset.audio_cfg is None else preset.audio_cfg,
        "guidance": dict(preset.guidance) or None,
        "stage2": second_stage(preset.stage2, shot.template.name)
        if stages == 2 or (clip.is_doubled and profile.temporal_refined)
        else None,
        "distilled": preset.distilled,
        "distilled_strength": preset.distilled_strength,
        "loras": [{"name": loras.get(lora.name, lora.name), "strength": lora.strength} for lora in clip.loras],
        "models": dict(models),
        "text_encoder_device": profile.text_encoder_device,
        "tiling": profile.tiled_decode.for_size(size.decoded),
        "temporal_upscale": clip.is_doubled,
        "temporal_refined": profile.temporal_refined,
        "first_frame_guides": profile.first_frame_guides,
        "keyframes": [_as_guide(shot, keyframe) for keyframe in clip.keyframes],
        "control": None,
        "extend": None,
        "prefix": prefix,
    }
    for group, usual in (("reference", profile.reference), ("last_frame", profile.last_frame)):
        strength = clip.get(f"{group}.strength")
        told[group] = names.get(group)
        told[f"{group}_strength"] = strength
        told[f"{group}_strength2"] = strength if usual.strength_stage2 is None else usual.strength_stage2
        told[f"{group}_compression"] = clip.get(f"{group}.compression")
    if clip.control:
        told["control"] = {
            "lora": loras.get(str(clip.get("control.lora")), clip.get("control.lora")),
            "video": names["control"],
            "strength": clip.get("control.strength", 1.0),
            "mode": clip.get("control.mode", "raw"),
            "computed": clip.is_map_computed,
        }
    if clip.sound or "sound" in shot.template.header.variables:
        told["sound"] = names.get("sound")
    if clip.extends and shot.before:
        told["extend"] = {
            "video": shot.before.server_name,
            "frames": shot.before.frames,
            "k": clip.extends.frames,
            "audio": clip.extends.audio,
        }
    return told


def second_stage(stage2: Stage2, template: str) -> dict[str, Any]:
    """Return what a template is given of stage 2: what the profile states; it has defaults for the rest."""
    told: dict[str, Any] = {"sigmas": stage2.sigmas, "sampler": stage2.sampler_for(template), "cfg": stage2.cfg}
    more = {"seed": stage2.seed, "eta": stage2.etas.get(template), "distilled": stage2.is_distilled}
    return told | {name: value for name, value in more.items() if value is not None}


def _as_guide(shot: ClipSpec, keyframe: Keyframe) -> dict[str, Any]:
    """A keyframe as a template takes it; its index in stage 2 is another one where that samples doubled frames."""
    usual = shot.profile.last_frame
    fit, focus = usual.fit, usual.focus
    strength = usual.strength if keyframe.strength is None else keyframe.strength
    index = -1 if keyframe.frame is None else keyframe.frame
    first = index // 2 if shot.clip.is_doubled and index > 0 else index  # stage 1 samples every other frame
    return {
        "image": asset_name(keyframe.image, fit, focus, shot.geometry.decoded)[0],
        "index": first,
        "index2": index if shot.profile.temporal_refined else first,
        "strength": strength,
        "strength2": strength if usual.strength_stage2 is None else usual.strength_stage2,
        "compression": usual.compression,
    }


def _is_guided(shot: ClipSpec) -> bool:
    """Whether a negative prompt may have an effect. A template that is not ours may have a CFG of its own."""
    preset = shot.profile.qualities[str(shot.clip.get("quality"))]
    return max(float(shot.clip.get("cfg")), preset.audio_cfg or 0) > 1 or not shot.template.trusted


def graph(shot: ClipSpec, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Given a shot and the names on one server, return the ComfyUI workflow in API format.

    Raise LtxflowError when it cannot be rendered, or would read a file on the server that is not the clip's own.
    """
    told = context(shot, models, loras, prefix)
    try:
        ahead = None if shot.template.trusted else _AHEAD.get(_place(shot.template, told))
        rendered = copy.deepcopy(ahead) if ahead is not None else render(shot.template, told)
    except LtxflowError as error:
        hint = f"while rendering {shot.clip.path}"
        raise LtxflowError(*(Problem(p.message, p.span, p.hint or hint, p.code) for p in error.problems)) from None
    problems = foreign_files(shot, rendered)
    if problems:
        raise LtxflowError(*problems)
    return rendered


def is_rendered_apart(node: Node) -> bool:
    """Given a node, return whether its workflow is rendered in a process of its own: the template is not ours."""
    return not node.spec.template.trusted


def render_ahead(nodes: Iterable[Node]) -> None:
    """Given nodes that are rendered apart and will be asked for their actions, render them, a process a template.

    One a workflow would cost a third of a second each. What does not render says so when it is asked for.
    """
    wanted: dict[Digest, tuple[Template, dict[tuple[Digest, Digest], dict[str, Any]]]] = {}
    for node in nodes:
        shot: ClipSpec = node.spec
        told = context(shot, _named(shot), {}, "ltxflow")
        place = _place(shot.template, told)
        if place not in _AHEAD:
            wanted.setdefault(shot.template.digest, (shot.template, {}))[1][place] = told
    for template, contexts in wanted.values():
        with suppress(LtxflowError):
            _AHEAD.update(zip(contexts, render_many(template, list(contexts.values())), strict=True))


def _place(template: Template, told: Mapping[str, Any]) -> tuple[Digest, Digest]:
    return template.digest, digest_json(told)


def _named(shot: ClipSpec) -> dict[str, str]:
    """The names of its models in keys."""
    return shot.profile.tokens(shot.weights)


def foreign_files(
    shot: ClipSpec, rendered: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
) -> list[Problem]:
    """Given a shot's graph, return a problem for every file in it that is not one ltxflow uploads for this clip.

    ComfyUI opens whatever a loader node names, "../../x" and "/etc/x" too (`folder_paths.py`,
    `get_annotated_filepath`), and a template may come from a stranger. A name that is linked could be any. With a
    server's signatures the loaders among foreign classes are found, too. `also` are further names that are allowed.
    """
    from ltxflow.comfy.signatures import file_inputs  # by need: a plan knows no signatures

    names = {asset.name for asset in assets(shot)}.union(also)
    return [
        Problem(
            f'{shot.clip.path}: node "{node}" ({class_type}) of template "{shot.template.name}" would read '
            f"{_file(value)} on the server, which is no file of this clip",
            shot.clip.span,
            f'a template reads only what ltxflow uploads: write "{name}": {{{{ reference }}}}, {{{{ last_frame }}}}, '
            "{{ sound }}, {{ control.video }} or {{ extend.video }}",
            "L084",
        )
        for node, class_type, name, value in file_inputs(rendered, signatures)
        if not (isinstance(value, str) and value in names)
    ]


def _file(value: Any) -> str:
    return "what another node names" if isinstance(value, list) else f'"{str(value)[:80]}"'


def check(clips: Iterable[Node], allowed: frozenset[str]) -> list[Problem]:
    """Given nodes of clips, return what is wrong with their graphs by the recorded signatures of ComfyUI's nodes.

    `allowed` are the classes that may be used. Names of model files are not compared: they differ by server. What
    is wrong for several clips is told once, at the first one. Raise LtxflowError as `graph` does.
    """
    from ltxflow.comfy.checks import check_graph  # by need: a plan knows no signatures
    from ltxflow.comfy.signatures import Signatures  # by need: a plan knows no signatures

    shots: dict[str, list[ClipSpec]] = {}
    for node in clips:
        shots.setdefault(node.spec.template.name, []).append(node.spec)
    told: dict[tuple[str, str], tuple[Problem, list[str]]] = {}
    for name, group in shots.items():
        graphs = render_many(group[0].template, [context(s, first_names(s), {}, "ltxflow") for s in group])
        for shot, rendered in zip(group, graphs, strict=True):
            spans = dict.fromkeys(rendered, shot.clip.span)
            found = check_graph(
                rendered, Signatures.recorded(), template=name, where=spans.get, models=False, allowed=allowed
            )
            for problem in found:
                _, paths = told.setdefault((problem.code, problem.message), (problem, []))
                paths.append(shot.clip.path)
    return [
        replace(problem, message=f"{paths[0]}: {problem.message}{_others(len({*paths}) - 1)}")
        for problem, paths in told.values()
    ]


def first_names(shot: ClipSpec) -> dict[str, str]:
    """Given a shot, return model role → the profile's first name of its file: a server may know it by another."""
    return shot.profile.first_names(shot.weights)


def _others(number: int) -> str:
    return f" (and {number} more clip{'s' if number > 1 else ''})" if number else ""


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Return the action of a node: the graph as a Merkle walk, models by name, role and precision, pins, recipes."""
    shot = with_inputs(node.spec, inputs)
    digests = {name: output.digest for name, output in inputs.items() if name == "extends"}  # of pictures, the pixels
    roles = _named(shot)
    rendered = graph(shot, roles, {}, "ltxflow")
    outputs = outputs_of(rendered)
    if "video" not in outputs:
        raise LtxflowError(
            Problem(
                f'template "{shot.template.name}" has no save node titled "video"',
                Span(shot.template.shown, 1, 1),
                'give its SaveVideo node "_meta": {"title": "video"}',
                "L081",
            )
        )
    body: dict[str, Any] = {"graph": canonical_graph(rendered, outputs, shot.template.nodes)}
    used = set(_texts(body["graph"]))
    if recipes := {asset.name: asset.recipe for asset in assets(shot) if asset.name in used}:
        body["assets"] = recipes
    if pins := _pins(shot, used):
        body["pins"] = pins
    version = VERSION if used.intersection(roles.values()) else MODELLESS
    return Action(KIND, version, body, digests, (*outputs, "published"))


def _pins(shot: ClipSpec, used: Container[str] | None = None) -> dict[str, str]:
    """What the film pins by its bytes: LoRAs by their names, files of the model (that are `used`) by those in keys."""
    pins = {lora.name: lora.sha256 for lora in shot.clip.loras if lora.sha256}
    named = {token: shot.pins[role] for role, token in _named(shot).items() if role in shot.pins}
    return pins | {token: sha256 for token, sha256 in named.items() if used is None or token in used}


def made_by(node: Node, action: Action) -> str:
    return model_named(node.spec.profile, action, VERSION)


def cheap_key(node: Node, inputs: Mapping[str, Output]) -> str:
    """Given a node, return a digest of all that its action is made from, without rendering its workflow.

    What is no part of the action may change it (a comment in the template); what is, does.
    """
    shot = with_inputs(node.spec, inputs) if inputs else node.spec
    read = assets(shot)
    told = {
        "format": [ACTION_FORMAT, KIND, VERSION],
        "template": [shot.template.name, shot.template.digest, shot.template.trusted],
        "context": context(shot, _named(shot), {}, "ltxflow", read),
        "assets": {asset.name: asset.recipe for asset in read},
        "pins": _pins(shot),
        "inputs": {name: output.digest for name, output in inputs.items() if name == "extends"},
    }
    return hashlib.sha256(_ENCODER.encode(told).encode()).hexdigest()


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
    shot: ClipSpec = node.spec
    clip, reads = shot.clip, shot.template.header.variables
    wanted = str(shot.film["size"].value)
    told: dict[str, Any] = {
        **told_prompt(clip),
        "seed": shot.seed,
        "frames": told_frames(shot.frames, clip, shot.scene),
        "fps": shot.fps,
        "size": told_size(wanted, delivered_size(shot.profile, wanted)),
        "quality": _told_quality(shot),
        **{name: clip.get(name) for name in ("steps", "cfg", "stages", "temporal_upscale")},
    }
    if _is_guided(shot):
        told["negative"] = clip.get("negative", "")
    told["loras"] = [_told_lora(lora) for lora in clip.loras]
    for group, image in (("reference", clip.reference), ("last_frame", clip.last_frame)):
        if image is None:
            told[f"{group}.image"] = None
        elif group in reads or not reads:
            told[f"{group}.image"] = told_picture(image)
            told |= {f"{group}.{part}": clip.get(f"{group}.{part}") for part in ("strength", "compression", "fit")}
            if clip.get(f"{group}.fit") == "cover":
                told[f"{group}.focus"] = clip.get(f"{group}.focus")
    told["keyframes"] = [told_keyframe(keyframe) for keyframe in clip.keyframes] or None
    guide = clip.control
    if guide is None:
        told["control.video"] = None
    elif "control" in reads or not reads:
        told["control.video"] = {"is": guide.name, "digest": guide.digest}
        told |= {f"control.{part}": clip.get(f"control.{part}") for part in ("lora", "strength", "mode")}
        told["control.preprocess"] = clip.get("control.preprocess")  # None: as the mode has it
    if clip.sound or "sound" in reads:
        sound = clip.sound
        told["sound"] = {"is": sound.name, "digest": sound.digest} if sound else None
    extends = clip.extends if "extend" in reads or not reads else None
    file = extends.file if extends else None
    told["extends.clip"] = (extends.clip or None) if extends else None
    told["extends.file"] = {"is": file.name, "digest": file.digest} if file else None
    if extends:
        told |= {"extends.frames": extends.frames, "extends.audio": extends.audio}
    maps = {role for role, model in shot.profile.models.items() if model.maps}  # `control` says which of them is used
    models = [role for role in sorted(shot.weights) if role not in maps]
    told["weights"] = " ".join(f"{role}:{shot.weights[role]}" for role in models)
    told["pins"] = " ".join(f"{role}:{sha256}" for role, sha256 in sorted(shot.pins.items())) or None
    told["template"] = _told_template(shot)
    told["profile"] = shot.profile.name
    return told


def told_keyframe(keyframe: Keyframe) -> dict[str, Any]:
    told = {"is": f"{keyframe.image.name} at {keyframe.at}", "pixels": keyframe.image.pixels, "frame": keyframe.frame}
    return told if keyframe.strength is None else {**told, "strength": keyframe.strength}


def told_picture(picture: Picture) -> dict[str, str]:
    """A file, by its pixels; what is made, also by what it is asked for as: before it is made, by that alone."""
    told = {"is": label(picture)}
    if isinstance(picture, Image):
        told |= {"pixels": picture.pixels, **({"of": picture.made_as} if picture.made_as else {})}
        return told
    return told | {"of": label(picture)}


def _told_lora(lora: Lora) -> dict[str, str]:
    name = f"{lora.name} at {lora.strength:.12g}"
    return {"is": name, "sha256": lora.sha256} if lora.sha256 else {"is": name}


def _told_quality(shot: ClipSpec) -> dict[str, Any]:
    """What the quality decides for this clip. Steps, CFG and stages are there unless the author wrote his own."""
    clip = shot.clip
    preset = shot.profile.qualities[str(clip.get("quality"))]
    own = {name: getattr(preset, name) for name in ("sampler", "sigmas", "distilled", "distilled_strength", "half")}
    own |= {"samplers": dict(preset.samplers)}
    own |= {name: getattr(preset, name) for name in QUALITY_PARTS if clip.settings[name].origin.startswith("quality ")}
    own |= {"guided": {"etas": dict(preset.etas), "audio_cfg": preset.audio_cfg, "more": dict(preset.guidance)}}
    if clip.get("stages", 2) == 2:
        stage2 = preset.stage2
        own |= {"stage2": [stage2.sigmas, stage2.sampler, stage2.cfg, dict(stage2.samplers)]}
        own |= {"stage2.more": [stage2.seed or 0, dict(stage2.etas), stage2.is_distilled]}
    return {"is": preset.name, **own}


def _told_template(shot: ClipSpec) -> dict[str, Any]:
    """Which template, and what it makes of a clip of this shape: comments and the numbers of nodes are not in that.

    "instead" is set where the author chose it himself. Templates are compared by what they make of the same shape:
    where that is another one, whatever gave it is what changed.
    """
    name, way = shot.template.name, shot.clip.way
    shape = _shape("", context(shot, {role: role for role in shot.weights}, {}, "shape"))
    return {
        "is": name,
        "instead": "" if name == way else name,
        "makes": {digest_json(shape): _makes(shot.template, shape)},
    }


def _makes(template: Template, shape: dict[str, Any]) -> Digest:
    known = (template.digest, digest_json(shape))
    if known not in _MADE:
        try:
            graph = render(template, shape)
            _MADE[known] = digest_json(canonical_graph(graph, outputs_of(graph)))
        except LtxflowError:  # it computes with what was made plain: compare its text then
            _MADE[known] = template.digest
    return _MADE[known]


def _shape(name: str, value: Any) -> Any:
    """What a template may branch on, as it is; every other text and number as a plain one."""
    if isinstance(value, Mapping):
        return {part: _shape(str(part), inner) for part, inner in value.items()}
    if isinstance(value, list):
        return [_shape(name, inner) for inner in value]
    if isinstance(value, str):
        return value if name in BRANCHES else name
    if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in BRANCHES:
        return (4.0 if value > 1 else 1.0) if name == "cfg" else 9
    return value


def where(node: Node, name: str) -> Span | None:
    shot: ClipSpec = node.spec
    if name == "workflow":
        return Span(shot.template.shown or str(shot.template.path), 1, 1)
    return written("weights" if name == "pins" else name, shot.clip, shot.scene, shot.film)


def expected(shot: ClipSpec, output: str) -> Expected:
    """Given a shot and the name of an output, return what the file must be."""
    if not shot.template.trusted:
        return Expected(None, shot.fps, None)
    size = shot.geometry.delivered if output == "video" else shot.geometry.decoded
    return Expected(shot.frames, shot.fps, size, _shortest_sound(shot))


def _shortest_sound(shot: ClipSpec) -> float | None:
    """Return the seconds of sound that come at least; None where the profile says nothing of its model's sound."""
    if shot.profile.sound is None:
        return None
    again = shot.clip.frames_again / shot.fps  # seconds of what it continues: sampled, then cut off
    return shot.profile.sound.seconds(shot.sampled_frames, shot.sampled_fps) - again


def roles(shot: ClipSpec, action: Action | None = None) -> list[str]:
    """Given a shot, return the model roles its graph really names, in the profile's order.

    The action that was made of it tells without rendering it again; not of a template that is not ours: it may have
    nodes that nothing comes of, which are in no key.
    """
    tokens = _named(shot)
    is_told = action is not None and shot.template.trusted
    used = set(_texts(action.body["graph"] if action and is_told else graph(shot, tokens, {}, "ltxflow")))
    return [role for role, token in tokens.items() if token in used]


def work(node: Node) -> float:
    """Given a node, return what it asks of a GPU: pixels × frames × steps, summed over its stages."""
    shot: ClipSpec = node.spec
    width, height = shot.geometry.base
    total = width * height * shot.sampled_frames * int(shot.clip.get("steps"))
    if int(shot.clip.get("stages", 2)) == 2:
        preset = shot.profile.qualities[str(shot.clip.get("quality"))]
        width, height = shot.geometry.decoded
        total += width * height * shot.sampled_frames * preset.stage2.sigmas.count(",")
    return float(total)


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """A clip runs on a ComfyUI server: the executor of the pool "gpu" drives it (run/executors/comfy.py)."""
    raise AssertionError("clips are run by the comfy executor")
