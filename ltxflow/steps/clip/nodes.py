"""From a project to its clips: the template and the sizes of each, what it needs, and what is wrong with that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.target import Target
from ltxflow.core.timing import frames_within, snap_down
from ltxflow.models.geometry import Geometry, geometry
from ltxflow.project.model import Clip, Project, Still
from ltxflow.project.settings import pins_of, weights_of
from ltxflow.steps import Node, ResolvedInputs, input_ref
from ltxflow.steps.clip.files import ContinuationSource, prepared_file
from ltxflow.steps.clip.spec import ClipSpec, NoSchedule, sigmas_for
from ltxflow.workflow.render import render_many
from ltxflow.workflow.template import Template

SCHEDULED_LEAST = 2  # steps that LTXVScheduler can stretch


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield a node for every take of every clip; of a clip with one take, for the one in the cut.

    Raise LtxflowError, with all problems, for clips whose template or size does not exist.
    """
    problems: list[Problem] = []
    weights, pins = weights_of(project), pins_of(project)
    both: list[Clip | Still] = [*project.clips, *project.stills]
    by_path = {each.path: each for each in both}
    for clip in filter(inputs.includes, project.clips):
        try:
            template, size = template_of(project, clip), geometry_of(project, clip)
            _check_steps(project, clip, template)
            _check_keyframes(clip, inputs.lengths[clip.path])
            before, needs = _continued(project, clip, inputs)
        except LtxflowError as error:
            problems += error.problems
            continue
        refs = {group: input_ref(p, lambda path: inputs.pick(by_path[path])) for group, p in clip.pictures.items()}
        pictures = {group: ref for group, ref in refs.items() if ref}
        for take in inputs.takes(clip):
            spec = ClipSpec(
                clip=clip,
                scene=project.scene(clip.scene),
                film=project.settings,
                take=take,
                seed=inputs.seed(clip, take),
                frames=inputs.lengths[clip.path],
                fps=project.fps,
                geometry=size,
                profile=project.profile,
                template=template,
                weights=weights,
                before=before,
                pins=pins,
            )
            if take == inputs.pick(clip):
                problems += _check_guide(spec)
            yield Node(Target.of("clip", clip.path, take), "clip", spec, spec.frames, needs | pictures, clip.span)
    if problems:
        raise LtxflowError(*problems)


def templates_used(project: Project) -> frozenset[str]:
    """Return the names of the templates that make a film's clips and images."""
    clips = {str(clip.get("template") or clip.way) for clip in project.clips}
    return frozenset(clips | {still.template for still in project.stills if still.template})


def template_of(project: Project, clip: Clip) -> Template:
    """Return the template a clip names, or the one for what it has: frames at both ends, a guide, …

    Raise LtxflowError for a template that does not exist, has problems, or needs what the clip does not have.
    """
    value = clip.settings.get("template")
    span = value.span if value and value.span else clip.span
    name = str(clip.get("template") or clip.way)
    found = project.templates.get(name)
    if found is None:
        known = ", ".join(sorted(project.templates))
        raise LtxflowError(
            problem("L080", span, clip=clip.path, template=name, profile=project.profile.name, known=known)
        )
    template: Template = found  # the model of a project does not know templates
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
        setting = {"extend": "extends"}.get(lacks[0], lacks[0])
        raise LtxflowError(problem("L083", span, clip=clip.path, template=name, setting=setting))
    if clip.sound and "sound" not in template.header.variables:
        raise LtxflowError(problem("L086", clip.sound.span or clip.span, clip=clip.path, template=name))
    return template


def geometry_of(project: Project, clip: Clip) -> Geometry:
    """Return a clip's sizes: those of the film, sampled in the stages of its settings."""
    wanted = project.settings.get("size") or project.settings["aspect"]
    preset = project.profile.qualities[str(clip.get("quality"))]
    stages, is_guided = int(clip.get("stages", 2)), clip.control is not None
    return geometry(project.profile, str(wanted.value), stages=stages, half=preset.half, is_guided=is_guided)


def _continued(
    project: Project, clip: Clip, inputs: ResolvedInputs
) -> tuple[ContinuationSource | None, dict[str, str]]:
    """Return what a clip continues, and the needs that follow from it; None and no needs for most clips.

    A file that does not fit is prepared: see `prepared_file`. Raise LtxflowError where another clip has another shape
    or is smaller than what this one samples, or is too short.
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
    frames, size = inputs.lengths[source.path], geometry_of(project, source)
    _check_joins(clip, source.path, size.decoded, own.decoded, frames)
    output = "uncropped|video" if size.is_cropped and template_of(project, source).trusted else "video"
    target = Target.of("clip", source.path, inputs.pick(source))
    return ContinuationSource(source.path, frames), {"extends": f"{target}#{output}"}


def _check_joins(clip: Clip, source: str, found: tuple[int, int], wanted: tuple[int, int], frames: int) -> None:
    """Raise LtxflowError where a picture would be zoomed into to fit, so that the join would jump, or is too short."""
    assert clip.extends is not None
    span = clip.extends.span or clip.span
    if found[0] * wanted[1] != found[1] * wanted[0] or found[0] < wanted[0]:
        needs, has = f"{wanted[0]}x{wanted[1]}", f"{found[0]}x{found[1]}"
        raise LtxflowError(problem("L102.other-shape", span, clip=clip.path, source=source, wanted=needs, found=has))
    if frames < clip.extends.frames:
        taken = clip.extends.frames
        raise LtxflowError(problem("L102.too-short", span, clip=clip.path, source=source, frames=frames, taken=taken))


def _check_steps(project: Project, clip: Clip, template: Template) -> None:
    """Raise LtxflowError when a clip has more steps than its quality's schedule, or too few.

    Our templates let LTXVScheduler stretch a schedule that is not listed; with one step it divides 0 by 0, and the
    sampler returns NaN (ComfyUI 0.27 and 0.33). A template of the project may schedule as it likes.
    """
    value, preset = clip.settings["steps"], project.profile.qualities[str(clip.get("quality"))]
    steps, span = int(value.value), value.span or clip.span
    try:
        sigmas = sigmas_for(preset, steps)
    except NoSchedule as error:
        raise LtxflowError(
            problem("L044.too-many", span, clip=clip.path, quality=preset.name, steps=steps, most=error.most)
        ) from None
    if sigmas is None and steps < SCHEDULED_LEAST and template.trusted:
        raise LtxflowError(
            problem(
                "L044.too-few",
                span,
                clip=clip.path,
                quality=preset.name,
                steps=steps,
                least=SCHEDULED_LEAST,
                usual=preset.steps,
            )
        )


def _check_keyframes(clip: Clip, frames: int) -> None:
    """Raise LtxflowError for a keyframe after the end, which a server mostly accepts, or two at the same frame."""
    at_frame: dict[int, str] = {}
    for keyframe in clip.keyframes:
        frame, span = frames - 1 if keyframe.frame is None else keyframe.frame, keyframe.span or clip.span
        if frame >= frames:
            raise LtxflowError(
                problem(
                    "L109.after-end",
                    span,
                    clip=clip.path,
                    frames=frames,
                    at=keyframe.at,
                    frame=frame,
                    last=frames - 1,
                )
            )
        if frame in at_frame:
            raise LtxflowError(
                problem("L109.same-frame", span, clip=clip.path, frame=frame, first=at_frame[frame], second=keyframe.at)
            )
        at_frame[frame] = keyframe.at


def _check_guide(spec: ClipSpec) -> list[Problem]:
    """Return a problem where the guide video is shorter than the clip."""
    guide = spec.clip.control
    if guide is None:
        return []
    frames = frames_within(Fraction(guide.facts["seconds"]), guide.facts["frames"], spec.sampled_fps)
    if frames >= spec.sampled_frames:
        return []
    at = f" at {spec.sampled_fps} a second" if guide.facts["fps"] != str(spec.sampled_fps) else ""
    has = f"{frames} frame{'s' if frames != 1 else ''}{at}"
    return [
        problem(
            "L108",
            guide.span or spec.span,
            guide=guide.name,
            has=has,
            clip=spec.path,
            wanted=spec.sampled_frames,
            most=snap_down(frames),
        )
    ]


def check(clips: Iterable[Node], allowed: frozenset[str]) -> list[Problem]:
    """Return what is wrong with the graphs of clips by the recorded signatures of ComfyUI's nodes.

    `allowed` are the classes that may be used. Names of model files are not compared: they differ by server. The same
    problem of several clips is reported once, at the first. Raise LtxflowError as `ClipSpec.graph` does.
    """
    from ltxflow.comfy.checks import check_graph  # late: a plan needs no signatures
    from ltxflow.comfy.signatures import Signatures

    by_template: dict[str, list[ClipSpec]] = {}
    for node in clips:
        by_template.setdefault(node.spec.template.name, []).append(node.spec)
    problems: dict[tuple[str, str], tuple[Problem, list[str]]] = {}
    for name, specs in by_template.items():
        graphs = render_many(specs[0].template, [spec.context(spec.first_names, {}, "ltxflow") for spec in specs])
        for spec, graph in zip(specs, graphs, strict=True):
            spans = dict.fromkeys(graph, spec.span)
            found = check_graph(
                graph, Signatures.recorded(), template=name, where=spans.get, models=False, allowed=allowed
            )
            for each in found:
                _, paths = problems.setdefault((each.code, each.message), (each, []))
                paths.append(spec.path)
    return [
        replace(each, message=f"{paths[0]}: {each.message}{_others(len({*paths}) - 1)}")
        for each, paths in problems.values()
    ]


def _others(number: int) -> str:
    return f" (and {number} more clip{'s' if number > 1 else ''})" if number else ""
