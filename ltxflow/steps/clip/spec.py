"""One take of a clip with everything decided: its files, the variables of its template, its ComfyUI workflow.

Unaware of servers and of the plan: names of models are handed in, as they are in keys or on a server.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.comfy.graph import outputs_of
from ltxflow.core.digest import Action, Digest, Output, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.models.geometry import Geometry
from ltxflow.models.profile import Profile, Quality, Stage2
from ltxflow.project.model import Clip, Image, Keyframe, Scene, Value, slug
from ltxflow.steps import Asset, Expected, Node, display_name
from ltxflow.steps.clip.files import (
    ContinuationSource,
    asset_name,
    prepared_guide,
    prepared_name,
    sound_name,
    video_name,
)
from ltxflow.workflow.render import render, render_many
from ltxflow.workflow.template import Template

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures

Variables = dict[str, Any]  # what a template is rendered with

PRERENDERED: dict[tuple[Digest, Digest], dict[str, Any]] = {}  # by template and variables


class NoSchedule(ValueError):
    """A quality's fixed schedule has fewer steps than requested: at `most` this many."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"a fixed schedule of {most} steps")


@dataclass(frozen=True)
class ClipSpec:
    """One take of a clip with everything decided that the author may leave open: seed, frames, sizes, template.

    `scene` and `film` (its settings) say where values come from; they reach no key. `frames` and `fps` are those of
    the delivered file. It is a `RenderSpec`.
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
    def path(self) -> str:
        return self.clip.path

    @property
    def span(self) -> Span | None:
        return self.clip.span

    @property
    def text(self) -> str:
        return self.clip.prompt.text

    @property
    def preset(self) -> Quality:
        return self.profile.qualities[str(self.clip.get("quality"))]

    @property
    def sampled_frames(self) -> int:
        """The frames that the model samples: with those of what it continues, or half where they are doubled."""
        return (self.frames - 1) // 2 + 1 if self.clip.is_doubled else self.frames + self.clip.frames_again

    @property
    def sampled_fps(self) -> int:
        return self.fps // 2 if self.clip.is_doubled else self.fps

    @property
    def is_guided(self) -> bool:
        """Whether a negative prompt may have an effect. A template of the project may use another CFG."""
        return max(float(self.clip.get("cfg")), self.preset.audio_cfg or 0) > 1 or not self.template.trusted

    @property
    def loras(self) -> list[tuple[str, Span | None]]:
        found = [(lora.name, lora.span) for lora in self.clip.loras]
        control = self.clip.get("control.lora")
        return [*found, (str(control), self.clip.settings["control.lora"].span)] if control else found

    @property
    def model_set(self) -> str:
        loras = [f"{lora.name}@{lora.strength:g}" for lora in self.clip.loras]
        return " ".join([*(f"{role}:{weight}" for role, weight in sorted(self.weights.items())), *loras])

    @property
    def first_names(self) -> dict[str, str]:
        """Model role → the profile's first name of its file; a server may have it under another."""
        return self.profile.first_names(self.weights)

    @property
    def tokens(self) -> dict[str, str]:
        """Model role → its name in keys."""
        return self.profile.tokens(self.weights)

    def roles(self, action: Action | None = None) -> list[str]:
        """Return the model roles that the graph names, in the profile's order.

        The action of this spec gives them without rendering again, unless the template belongs to the project: such a
        one may have nodes that no output reaches, which are in no key.
        """
        is_known = action is not None and self.template.trusted
        used = set(texts(action.body["graph"] if action and is_known else self.graph(self.tokens, {}, "ltxflow")))
        return [role for role, token in self.tokens.items() if token in used]

    def assets(self) -> list[Asset]:
        """Return the files it reads: prepared pictures, guide video, sound, and the video that it continues."""
        clip, found = self.clip, []
        for group, picture in clip.pictures.items():
            if not isinstance(picture, Image):  # not made yet: named for `ltxflow show`
                found.append(Asset(f"ltxflow/{slug(display_name(picture))}.png", {}, group, input=group))
                continue
            fit, focus = str(clip.get(f"{group}.fit", "cover")), clip.get(f"{group}.focus", (0.5, 0.5))
            name, recipe = asset_name(picture, fit, focus, self.geometry.decoded)
            found.append(Asset(name, recipe, group, image=picture, input=group if picture.made_as else ""))
        for keyframe in clip.keyframes:
            name, recipe = self._keyframe_asset(keyframe)
            found.append(Asset(name, recipe, "keyframes", image=keyframe.image))
        if clip.control:
            guide = prepared_guide(clip.control, self.geometry.base, self.sampled_frames, self.sampled_fps)
            name = prepared_name(guide) if guide else video_name(clip.control)
            found.append(Asset(name, guide or {"video": clip.control.digest}, "control", video=clip.control))
        if clip.sound:
            found.append(Asset(sound_name(clip.sound), {"sound": clip.sound.digest}, "sound", video=clip.sound))
        if before := self.before:
            digest = before.file.digest if before.file else before.digest
            source = "" if before.file else "extends"
            recipe = dict(before.recipe) if before.recipe is not None else {"video": digest}
            found.append(Asset(before.server_name, recipe, "extends", video=before.file, input=source))
        return found

    def _keyframe_asset(self, keyframe: Keyframe) -> tuple[str, dict[str, Any]]:
        usual = self.profile.last_frame
        return asset_name(keyframe.image, usual.fit, usual.focus, self.geometry.decoded)

    def context(
        self,
        models: Mapping[str, str],
        loras: Mapping[str, str],
        prefix: str,
        assets: Sequence[Asset] | None = None,
    ) -> Variables:
        """Return the variables of the template, given the name of the file for each model role and LoRA.

        The same for the key (roles as names) and for a server (its files as names). `assets` are those of this spec,
        where the caller has them.
        """
        clip, profile, preset, size = self.clip, self.profile, self.preset, self.geometry
        steps, cfg, stages = int(clip.get("steps")), float(clip.get("cfg")), int(clip.get("stages", 2))
        names = {asset.role: asset.name for asset in (self.assets() if assets is None else assets)}
        crop = dict(zip(("x", "y", "width", "height"), size.crop, strict=True)) if size.is_cropped else None
        variables: Variables = {
            "prompt": clip.prompt.text,
            "negative": str(clip.get("negative", "")) if self.is_guided else "",
            "seed": self.seed,
            "width": size.base[0],
            "height": size.base[1],
            "decoded_width": size.decoded[0],
            "decoded_height": size.decoded[1],
            "crop": crop,
            "frames": self.sampled_frames,
            "fps": self.sampled_fps,
            "stages": stages,
            "steps": steps,
            "cfg": cfg,
            "sampler": preset.sampler_for(self.template.name),
            "sampler_eta": preset.etas.get(self.template.name),
            "sigmas": sigmas_for(preset, steps),
            "audio_cfg": cfg if preset.audio_cfg is None else preset.audio_cfg,
            "guidance": dict(preset.guidance) or None,
            "stage2": second_stage(preset.stage2, self.template.name)
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
            "keyframes": [self._guide_variables(keyframe) for keyframe in clip.keyframes],
            "control": None,
            "extend": None,
            "prefix": prefix,
        }
        for group, usual in (("reference", profile.reference), ("last_frame", profile.last_frame)):
            strength = clip.get(f"{group}.strength")
            variables[group] = names.get(group)
            variables[f"{group}_strength"] = strength
            variables[f"{group}_strength2"] = strength if usual.strength_stage2 is None else usual.strength_stage2
            variables[f"{group}_compression"] = clip.get(f"{group}.compression")
        if clip.control:
            variables["control"] = {
                "lora": loras.get(str(clip.get("control.lora")), clip.get("control.lora")),
                "video": names["control"],
                "strength": clip.get("control.strength", 1.0),
                "mode": clip.get("control.mode", "raw"),
                "computed": clip.is_map_computed,
            }
        if clip.sound or "sound" in self.template.header.variables:
            variables["sound"] = names.get("sound")
        if clip.extends and self.before:
            variables["extend"] = {
                "video": self.before.server_name,
                "frames": self.before.frames,
                "k": clip.extends.frames,
                "audio": clip.extends.audio,
            }
        return variables

    def _guide_variables(self, keyframe: Keyframe) -> Variables:
        """Return a keyframe as a template takes it; its index differs in stage 2 where that samples doubled frames."""
        usual = self.profile.last_frame
        strength = usual.strength if keyframe.strength is None else keyframe.strength
        index = -1 if keyframe.frame is None else keyframe.frame
        first = index // 2 if self.clip.is_doubled and index > 0 else index  # stage 1 samples every other frame
        return {
            "image": self._keyframe_asset(keyframe)[0],
            "index": first,
            "index2": index if self.profile.temporal_refined else first,
            "strength": strength,
            "strength2": strength if usual.strength_stage2 is None else usual.strength_stage2,
            "compression": usual.compression,
        }

    def graph(
        self,
        models: Mapping[str, str],
        loras: Mapping[str, str],
        prefix: str,
        assets: Sequence[Asset] | None = None,
    ) -> dict[str, Any]:
        """Return the ComfyUI workflow in API format, with the names of one server; arguments as of `context`.

        Raise LtxflowError when it cannot be rendered, or would read a file on the server that is not of this clip.
        """
        assets = self.assets() if assets is None else assets
        variables = self.context(models, loras, prefix, assets)
        try:
            early = None if self.template.trusted else PRERENDERED.get(_place(self.template, variables))
            rendered = copy.deepcopy(early) if early is not None else render(self.template, variables)
        except LtxflowError as error:
            hint = f"while rendering {self.path}"
            raise LtxflowError(*(replace(each, hint=each.hint or hint) for each in error.problems)) from None
        problems = self.unexpected_file_inputs(rendered, assets=assets)
        if problems:
            raise LtxflowError(*problems)
        return rendered

    def unexpected_file_inputs(
        self,
        graph: Mapping[str, Any],
        signatures: Signatures | None = None,
        also: Iterable[str] = (),
        assets: Sequence[Asset] | None = None,
    ) -> list[Problem]:
        """Return a problem for every file input of a graph that names a file ltxflow does not upload for this clip.

        ComfyUI opens whatever a loader node names, "../../x" and "/etc/x" too (`folder_paths.py`,
        `get_annotated_filepath`), and a template may come from a stranger. A linked name could be any. A server's
        signatures also reveal the loaders among foreign classes. `also` are further allowed names.
        """
        from ltxflow.comfy.signatures import file_inputs  # late: a plan needs no signatures

        names = {asset.name for asset in (self.assets() if assets is None else assets)}.union(also)
        return [
            problem(
                "L084.of-clip",
                self.span,
                clip=self.path,
                node=node,
                class_type=class_type,
                template=self.template.name,
                file=_quoted(value),
                input=name,
            )
            for node, class_type, name, value in file_inputs(graph, signatures)
            if not (isinstance(value, str) and value in names)
        ]

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]:
        return outputs_of(graph)

    def expected(self, output: str) -> Expected:
        """Return the properties that the file of an output must have."""
        if not self.template.trusted:
            return Expected(None, self.fps, None)
        size = self.geometry.delivered if output == "video" else self.geometry.decoded
        return Expected(self.frames, self.fps, size, self._shortest_sound())

    def _shortest_sound(self) -> float | None:
        """Return the shortest sound that may come, in seconds; None where the profile does not describe its sound."""
        if self.profile.sound is None:
            return None
        again = self.clip.frames_again / self.fps  # seconds of what it continues: sampled, then cut off
        return self.profile.sound.seconds(self.sampled_frames, self.sampled_fps) - again

    def with_inputs(self, inputs: Mapping[str, Output]) -> ClipSpec:
        """Return the spec with its made inputs filled in.

        A video it continues is known by its bytes; a picture it starts from or ends on, once made,
        by its pixels like any other.
        """
        spec = self
        if spec.before and "extends" in inputs:
            spec = replace(spec, before=replace(spec.before, digest=inputs["extends"].digest))
        made = {
            group: Image(
                Path(),
                display_name(picture),
                Digest(inputs[group].facts["pixels"]),
                inputs[group].facts["width"],
                inputs[group].facts["height"],
                picture.span,
                made_as=display_name(picture),
            )
            for group, picture in spec.clip.pictures.items()
            if group in inputs
        }
        return replace(spec, clip=replace(spec.clip, **made)) if made else spec  # type: ignore[arg-type]  # by name


def prerender(nodes: Iterable[Node]) -> None:
    """Render the workflows of nodes with templates of the project, one process a template.

    One process a workflow would cost a third of a second each. A failure is reported when the action is requested.
    """
    wanted: dict[Digest, tuple[Template, dict[tuple[Digest, Digest], Variables]]] = {}
    for node in nodes:
        spec: ClipSpec = node.spec
        variables = spec.context(spec.tokens, {}, "ltxflow")
        place = _place(spec.template, variables)
        if place not in PRERENDERED:
            wanted.setdefault(spec.template.digest, (spec.template, {}))[1][place] = variables
    for template, contexts in wanted.values():
        with suppress(LtxflowError):
            PRERENDERED.update(zip(contexts, render_many(template, list(contexts.values())), strict=True))


def _place(template: Template, variables: Variables) -> tuple[Digest, Digest]:
    return template.digest, digest_json(variables)


def sigmas_for(preset: Quality, steps: int) -> str | None:
    """Return the sigmas of a quality, thinned out evenly for fewer steps; None where the scheduler makes them.

    Raise NoSchedule for more steps than its schedule has.
    """
    if preset.sigmas is None:
        return None
    sigmas = [part.strip() for part in preset.sigmas.split(",")]
    last = len(sigmas) - 1
    if steps > last:
        raise NoSchedule(last)
    if steps == last:
        return preset.sigmas
    return ", ".join(sigmas[(index * last + steps // 2) // steps] for index in range(steps + 1))


def second_stage(stage2: Stage2, template: str) -> Variables:
    """Return the variables of stage 2: what the profile states; a template has defaults for the rest."""
    given: Variables = {"sigmas": stage2.sigmas, "sampler": stage2.sampler_for(template), "cfg": stage2.cfg}
    more = {"seed": stage2.seed, "eta": stage2.etas.get(template), "distilled": stage2.is_distilled}
    return given | {name: value for name, value in more.items() if value is not None}


def texts(value: Any) -> Iterator[str]:
    """Yield every text in JSON data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)


def _quoted(value: Any) -> str:
    return "what another node names" if isinstance(value, list) else f'"{str(value)[:80]}"'
