"""Read the clips of a scene: settings, prompt, length, and everything each is made from.

What a clip extends (another clip, or a file) is read here too, and checked once all clips are known.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import Digest
from ltxflow.core.errors import Span, problem
from ltxflow.core.timing import STEP, frames_within, lengths_near, parse_time, seconds_to_frames_up, snap_up
from ltxflow.documents.document import KeyPath
from ltxflow.media.fit import ImageFacts, fit_warnings
from ltxflow.project.model import Clip, Extends, FrameOf, Image, Keyframe, Length, Lora, Picture, Prompt, Scene, Value
from ltxflow.project.prompt import fill, read_prompt
from ltxflow.project.reader import FilmSettings, Reader
from ltxflow.project.references import picture_of
from ltxflow.project.settings import Layers

FILM_MOST = 50_000_000  # characters of all prompts together: 5,000 each in a film of 10,000 clips
MAPS = {"depth": "depth", "pose": "poses"}
WEIGHT_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


def read_clips(
    reader: Reader, film: FilmSettings, layers: Layers, scene: Mapping[str, Any], scene_path: KeyPath
) -> tuple[Clip, ...]:
    """Read the clips of a scene."""
    shared = [*layers.film, layers.of(f"scene {scene['id']}", scene, scene_path)]
    ids: dict[str, KeyPath] = {}
    clips = []
    for index, written in enumerate(scene.get("clips") or []):
        path: KeyPath = (*scene_path, "clips", index)
        reader.unique(written["id"], (*path, "id"), ids, "clip")
        own = layers.of(f"clip {scene['id']}/{written['id']}", written, path)
        clip = _clip(reader, film, scene["id"], index, written, path, layers.settings(shared, own, path))
        clip = replace(clip, written=MappingProxyType(layers.written(shared, own)))
        if scene.get("tags"):
            clip = replace(clip, tags=tuple(dict.fromkeys([*scene["tags"], *clip.tags])))
        clips.append(clip)
    return tuple(clips)


def _clip(
    reader: Reader,
    film: FilmSettings,
    scene: str,
    index: int,
    written: Mapping[str, Any],
    path: KeyPath,
    settings: dict[str, Value],
) -> Clip:
    def at(name: str) -> Span:
        return settings[name].span or reader.span(path)

    def picture(group: str) -> Picture | None:
        def file(named: Value) -> Image | None:
            return reader.image(named, named.span or reader.span(path), settings[f"{group}.fit"].value, film.size)

        assert reader.library is not None
        return picture_of(settings, group, scene, file, reader.library, film.fps)

    negative = settings.get("negative")
    if negative is not None and isinstance(negative.value, list):
        negative = Value(", ".join(map(str, negative.value)), negative.origin, negative.span)
    if negative is not None:
        text, problems = fill(str(negative.value or ""), film.variables, negative.span)
        reader.problems += problems
        settings["negative"] = Value(text, negative.origin, negative.span)
    control, sound, seeds = (settings.get(name) for name in ("control.video", "sound", "seeds"))
    _check_control(reader, film, settings, path)
    _check_doubled(reader, film, settings["temporal_upscale"], path)
    clip = Clip(
        id=written["id"],
        scene=scene,
        index=index,
        prompt=_prompt(reader, film, written["prompt"], (*path, "prompt"), settings.get("look")),
        length=_length(reader, film, settings, at("length")),
        settings=MappingProxyType(settings),
        reference=picture("reference"),
        last_frame=picture("last_frame"),
        loras=tuple(_loras(reader, film, settings.get("loras"))),
        control=reader.video(control) if control and control.value else None,
        sound=reader.sound(str(sound.value), path, sound.span) if sound and sound.value else None,
        extends=read_extends(reader, film, scene, settings, path),
        keyframes=tuple(_keyframes(reader, film, settings.get("keyframes"))),
        takes=max(int(settings["takes"].value), len(seeds.value or ()) if seeds else 1),
        covers=tuple(map(str, written.get("covers") or ())),
        tags=tuple(written.get("tags") or ()),
        span=reader.span((*path, "id")),
    )
    _check_keyframes(reader, clip, path)
    return _with_stages(film, clip)


def _with_stages(film: FilmSettings, clip: Clip) -> Clip:
    """Apply the quality's stages for clips made this way, unless the clip or the film sets stages."""
    stages, preset = clip.settings["stages"], film.profile.qualities.get(str(clip.get("quality")))
    count = preset.stages_for.get(str(clip.get("template", clip.way))) if preset else None
    if count is None or count == stages.value or not stages.origin.startswith("quality "):
        return clip
    return replace(clip, settings=MappingProxyType({**clip.settings, "stages": replace(stages, value=count)}))


def _keyframes(reader: Reader, film: FilmSettings, value: Value | None) -> Iterable[Keyframe]:
    """Yield the pictures a clip passes through. Whether they lie in it is checked once its length is known."""
    for entry in (value.value if value else None) or ():
        assert value is not None
        at, span = str(entry["at"]), value.span
        named = Value(entry["image"], value.origin, span)
        image = reader.image(named, span or reader.span(()), film.profile.last_frame.fit, film.size)
        frame = None if at == "end" else int(parse_time(at, film.fps) * Fraction(film.fps))
        if image is not None:
            yield Keyframe(at, frame, image, float(entry["strength"]) if "strength" in entry else None, span)


def _check_keyframes(reader: Reader, clip: Clip, path: KeyPath) -> None:
    others = [name for name, has in (("extends", clip.extends), ("control", clip.control)) if has]
    if clip.keyframes and others:
        span = clip.settings["keyframes"].span or reader.span(path)
        nulls = ", ".join(f"{name}: null" for name in others)
        reader.problems.append(problem("L109.others", span, clip=clip.path, others=" and ".join(others), nulls=nulls))


def _prompt(
    reader: Reader, film: FilmSettings, written: str | Mapping[str, str], path: KeyPath, look: Value | None
) -> Prompt:
    spans = (
        {"text": reader.span(path)}
        if isinstance(written, str)
        else {part: reader.span((*path, part)) for part in written}
    )
    shared = str(look.value) if look and look.value else ""
    if look and shared:
        spans["look"] = look.span or reader.span(path)
    if reader.characters > FILM_MOST:
        return Prompt({}, spans)  # already reported
    prompt, problems = read_prompt(written, film.variables, spans, shared)
    reader.problems += [each for each in problems if each not in reader.problems]
    reader.characters += sum(map(len, prompt.parts.values()))
    if reader.characters > FILM_MOST:
        reader.problems.append(problem("L034.film", reader.span(path), most=FILM_MOST))
    if not "".join(text for part, text in prompt.parts.items() if part != "look"):
        reader.problems.append(problem("L033", reader.span(path)))
    return prompt


def _length(reader: Reader, film: FilmSettings, settings: Mapping[str, Value], span: Span) -> Length:
    profile, fps = film.profile, film.fps
    written = str(settings["length"].value)
    if written == "auto":
        return Length(None, written, span)
    step = 2 * STEP if settings["temporal_upscale"].value else STEP
    seconds, limit = parse_time(written, fps), profile.limits(fps).max_frames
    is_time = not written.strip().endswith("f")
    around = lengths_near(seconds, fps, limit, step) if is_time else ()
    frames = around[0] if around else snap_up(seconds_to_frames_up(seconds, fps), step)
    if not is_time and frames != seconds * fps and frames <= limit:
        reader.problems.append(problem("L047", span, length=written, frames=frames, step=step))
    if frames > limit:
        reader.problems.append(
            problem("L043", span, length=written, frames=frames, model=profile.title, limit=limit, fps=fps)
        )
    return Length(frames, written, span, around, seconds)


def _check_control(reader: Reader, film: FilmSettings, settings: dict[str, Value], path: KeyPath) -> None:
    """Add the profile's IC-LoRA where the film names none, and report problems of a guide video."""
    video, lora = settings.get("control.video"), settings.get("control.lora")
    if not video or not video.value:
        return
    mode, computed = str(settings["control.mode"].value), settings.get("control.preprocess")
    span, profile = video.span or reader.span(path), film.profile
    if not (lora and lora.value) and mode in profile.control_loras:
        settings["control.lora"] = Value(profile.control_loras[mode], f"profile {profile.name}")
    elif not (lora and lora.value):
        reader.problems.append(problem("L046", span))
    modes = {"canny", *(model.maps for model in profile.models.values() if model.maps)}
    if computed is not None and computed.value and mode not in modes:
        listed = ", ".join(sorted(modes))
        reader.problems.append(problem("L048", computed.span or span, mode=mode, modes=listed))
    elif (computed is None or computed.value is None) and mode in modes - {"canny"}:
        reader.problems.append(problem("L049", span, mode=mode, video=video.value, kind=MAPS[mode]))


def _check_doubled(reader: Reader, film: FilmSettings, doubled: Value, path: KeyPath) -> None:
    profile, fps = film.profile, film.fps
    if doubled.value and "temporal_upscaler" not in profile.models:
        reader.problems.append(problem("L105.upscaler", doubled.span or reader.span(path), model=profile.title))
    elif doubled.value and fps % 2:
        span = doubled.span or reader.span(path)
        reader.problems.append(problem("L105.odd", span, fps=fps, lower=fps - 1, higher=fps + 1))


def _loras(reader: Reader, film: FilmSettings, value: Value | None) -> Iterable[Lora]:
    """Yield the LoRAs of a clip: files, or names from the film's `loras:`, whose strength an entry may override."""
    aliases: Mapping[str, Any] = reader.document.data.get("loras") or {}
    for written in (value.value if value else None) or ():
        span = value.span if value else None
        entry = {"name": written} if isinstance(written, str) else dict(written)
        if entry["name"] in aliases:
            known = aliases[entry["name"]]
            entry = {**({"name": known} if isinstance(known, str) else known), **entry, "name": _file_of(known)}
        elif not entry["name"].lower().endswith(WEIGHT_FILES):
            near = difflib.get_close_matches(entry["name"], [*aliases, *film.profile.camera_loras], n=1, cutoff=0.4)
            hint = f'did you mean "{near[0]}"?' if near else "write the file name, or define it under loras"
            reader.problems.append(problem("L045", span, hint=hint, name=entry["name"]))
            continue
        yield Lora(entry["name"], float(entry.get("strength", 1.0)), entry.get("sha256", ""), span)


def _file_of(known: str | Mapping[str, Any]) -> str:
    return known if isinstance(known, str) else str(known["name"])


# How much shorter LTX makes the sound: half a latent of 40 ms by rounding, then 30 ms lost in decoding.
SOUND_SHORTER_S = Fraction(5, 100)


def read_extends(
    reader: Reader, film: FilmSettings, scene: str, settings: Mapping[str, Value], path: KeyPath
) -> Extends | None:
    """Return what a clip extends, or None. Whether a clip of that name exists is checked once all clips are read."""
    clip, file = settings.get("extends.clip"), settings.get("extends.file")
    named = file if file and file.value else clip
    if named is None or not named.value:
        return None
    span = named.span or reader.span(path)
    if file and file.value and clip and clip.value:
        reader.problems.append(
            problem(
                "L100.both",
                span,
                clip=clip.value,
                clip_origin=clip.origin,
                file=file.value,
                file_origin=file.origin,
            )
        )
        return None
    frames, audio = settings["extends.frames"], str(settings["extends.audio"].value)
    if int(frames.value) % STEP != 1:
        nearest = snap_up(int(frames.value))
        hint = f"write {nearest}" + (f" or {nearest - STEP}" if nearest > STEP + 1 else "")
        reader.problems.append(problem("L101.grid", frames.span or span, hint=hint, frames=frames.value))
    if named is clip:
        name = str(named.value)
        return Extends(name if "/" in name else f"{scene}/{name}", None, int(frames.value), audio, span)
    video = reader.video(named)
    if video is None:
        return None
    extends = Extends("", video, int(frames.value), audio, span)
    _check_extended_file(reader, extends, film, span)
    return extends


def _check_extended_file(reader: Reader, extends: Extends, film: FilmSettings, span: Span) -> None:
    """Report a file with too few frames or too little sound.

    Another rate, size or rotation is converted to fit; a warning names what that costs.
    """
    assert extends.file is not None
    name, facts = extends.file.name, extends.file.facts
    frames = frames_within(Fraction(facts["seconds"]), facts["frames"], film.fps)
    if frames < extends.frames:
        at = f" at {film.fps} fps" if facts["fps"] != str(film.fps) else ""
        has = f"{frames} frame{'s' if frames != 1 else ''}{at}"
        reader.problems.append(problem("L102.file", span, name=name, has=has, frames=extends.frames))
    shown = ImageFacts(Digest(""), facts["width"], facts["height"])
    for warning in fit_warnings(shown, film.size, "cover"):
        reader.problems.append(problem("L022", span, name=name, warning=warning))
    seconds, sound = Fraction(facts["seconds"]), Fraction(facts["audio_seconds"])
    if extends.audio == "pinned" and sound < seconds - SOUND_SHORTER_S:
        has = "no sound" if not sound else f"{float(sound):.2f} s of sound for {float(seconds):.2f} s of picture"
        reader.problems.append(problem("L103", span, name=name, has=has))


def check_continuations(reader: Reader, scenes: Sequence[Scene]) -> None:
    """Report problems of `extends` that can only be found once every clip is read."""
    names = [clip.path for scene in scenes for clip in scene.clips]
    for scene in scenes:
        for clip in scene.clips:
            before = scene.clips[clip.index - 1].path if clip.index else ""
            if clip.extends is not None:
                _check_continuation(reader, clip, clip.extends, names)
                if scene.crossfade and before and before == clip.extends.clip:
                    _report_crossfade(reader, scene, clip, before, clip.extends.span)
            first = clip.reference
            is_next_frame = isinstance(first, FrameOf) and first.frame is None and first.clip == before
            if scene.crossfade and is_next_frame and clip.extends is None:
                _report_crossfade(reader, scene, clip, before, first.span if first else None)


def _check_continuation(reader: Reader, clip: Clip, extends: Extends, names: Sequence[str]) -> None:
    of = (clip.path,)
    if extends.clip and extends.clip not in names:
        near = difflib.get_close_matches(extends.clip, names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(names[:8])}"
        reader.problems.append(
            problem("L100.missing", extends.span, hint=hint, of=of, clip=clip.path, other=extends.clip)
        )
    length = clip.length.frames
    if length is not None and length <= extends.frames:
        reader.problems.append(
            problem("L101.short", extends.span, of=of, clip=clip.path, length=length, frames=extends.frames)
        )
    used = {"reference": clip.reference, "last_frame": clip.last_frame, "control": clip.control}
    others = {name: "null" for name, value in used.items() if value}
    if clip.is_doubled:
        others["temporal_upscale"] = "false"
    if others:
        nulls = ", ".join(f"{name}: {nothing}" for name, nothing in others.items())
        source = extends.clip or "a file"
        both = " and ".join(others)
        reader.problems.append(
            problem("L104", extends.span, of=of, clip=clip.path, source=source, others=both, nulls=nulls)
        )


def _report_crossfade(reader: Reader, scene: Scene, clip: Clip, before: str, span: Span | None) -> None:
    of = (clip.path,)
    reader.problems.append(
        problem("L106", span, of=of, clip=clip.path, before=before, frames=scene.crossfade, scene=scene.id)
    )
