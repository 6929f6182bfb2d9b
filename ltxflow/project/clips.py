"""The clips of a scene as they are written: each with its settings, prompt, length and all that it is made from.

What a clip continues: another clip, or a file; and whether the two can meet. Knows no other setting.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import Digest
from ltxflow.core.errors import Level, Problem, Span
from ltxflow.core.timing import STEP, frames_within, lengths_near, parse_time, seconds_to_frames_up, snap_up
from ltxflow.media.fit import ImageFacts, fit_warnings
from ltxflow.project.model import Clip, Extends, FrameOf, Image, Keyframe, Length, Lora, Picture, Prompt, Scene, Value
from ltxflow.project.prompt import fill, read_prompt
from ltxflow.project.reader import FilmSettings, Path_, Reader
from ltxflow.project.references import picture_of
from ltxflow.project.settings import Layers

RULES = {
    "L033": "a prompt is not empty",
    "L043": "a clip is not longer than the model can make",
    "L045": "a LoRA is a file, or a name that the film defines under loras:",
    "L046": "a guide video has the IC-LoRA that reads it",
    "L047": "a length in frames is one that the model makes: 8n+1",
    "L048": "the map of a guide video is one that can be computed",
    "L049": "a guide video whose map is not computed is such a map already",
    "L108": "a guide video is as long as the clip that follows it",
    "L109": "keyframes lie in the clip, and are of a clip that is neither guided nor continued",
    "L105": "the frame rate is doubled by an upscaler that there is, from a whole one",
}

FILM_MOST = 50_000_000  # characters of all prompts: 5,000 each in a film of 10,000 clips
MAPS = {"depth": "depth", "pose": "poses"}
WEIGHT_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


def read_clips(
    reader: Reader, film: FilmSettings, layers: Layers, scene: Mapping[str, Any], scene_path: Path_
) -> tuple[Clip, ...]:
    """Given a scene as it is written, return its clips."""
    shared = [*layers.film, layers.of(f"scene {scene['id']}", scene, scene_path)]
    seen: dict[str, Path_] = {}
    clips = []
    for index, written in enumerate(scene.get("clips") or []):
        path: Path_ = (*scene_path, "clips", index)
        reader.unique(written["id"], (*path, "id"), seen, "clip")
        own = layers.of(f"clip {scene['id']}/{written['id']}", written, path)
        clip = _clip(reader, film, scene["id"], index, written, path, layers.settings(shared, own, path))
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
    path: Path_,
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
        text, wrong = fill(str(negative.value or ""), film.variables, negative.span)
        reader.problems += wrong
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
    """Give the clip the stages that its quality has for clips of its way, where neither it nor the film writes any."""
    stages, preset = clip.settings["stages"], film.profile.qualities.get(str(clip.get("quality")))
    wanted = preset.stages_for.get(str(clip.get("template", clip.way))) if preset else None
    if wanted is None or wanted == stages.value or not stages.origin.startswith("quality "):
        return clip
    return replace(clip, settings=MappingProxyType({**clip.settings, "stages": replace(stages, value=wanted)}))


def _keyframes(reader: Reader, film: FilmSettings, value: Value | None) -> Iterable[Keyframe]:
    """Yield the pictures that a clip passes through. That they lie in it is seen when its length is known."""
    for entry in (value.value if value else None) or ():
        assert value is not None
        at, span = str(entry["at"]), value.span
        named = Value(entry["image"], value.origin, span)
        image = reader.image(named, span or reader.span(()), film.profile.last_frame.fit, film.size)
        frame = None if at == "end" else int(parse_time(at, film.fps) * Fraction(film.fps))
        if image is not None:
            yield Keyframe(at, frame, image, float(entry["strength"]) if "strength" in entry else None, span)


def _check_keyframes(reader: Reader, clip: Clip, path: Path_) -> None:
    also = [name for name, has in (("extends", clip.extends), ("control", clip.control)) if has]
    if clip.keyframes and also:
        message = f"{clip.path} has keyframes and {' and '.join(also)}"
        hint = f"write {', '.join(f'{name}: null' for name in also)}, or keyframes: null"
        span = clip.settings["keyframes"].span or reader.span(path)
        reader.problems.append(Problem(message, span, hint, "L109"))


def _prompt(
    reader: Reader, film: FilmSettings, written: str | Mapping[str, str], path: Path_, look: Value | None
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
        return Prompt({}, spans)  # said already
    prompt, problems = read_prompt(written, film.variables, spans, shared)
    reader.problems += [problem for problem in problems if problem not in reader.problems]
    reader.characters += sum(map(len, prompt.parts.values()))
    if reader.characters > FILM_MOST:
        message = f"the film's prompts have more than {FILM_MOST} characters once their variables are filled in"
        reader.wrong(message, path, "shorten the variables and looks that many clips name", "L034")
    if not "".join(text for part, text in prompt.parts.items() if part != "look"):
        reader.wrong("the prompt is empty", path, "say what is seen, how it moves and how it sounds", "L033")
    return prompt


def _length(reader: Reader, film: FilmSettings, settings: Mapping[str, Value], span: Span) -> Length:
    profile, fps = film.profile, film.fps
    asked = str(settings["length"].value)
    if asked == "auto":
        return Length(None, asked, span)
    step = 2 * STEP if settings["temporal_upscale"].value else STEP
    seconds, limit = parse_time(asked, fps), profile.limits(fps).max_frames
    is_time = not asked.strip().endswith("f")
    around = lengths_near(seconds, fps, limit, step) if is_time else ()
    frames = around[0] if around else snap_up(seconds_to_frames_up(seconds, fps), step)
    if not is_time and frames != seconds * fps and frames <= limit:
        message = f"length {asked} becomes {frames} frames: a clip has {step}n+1 of them"
        reader.problems.append(Problem(message, span, f"write {frames}f, or a time such as 4s", "L047", "advice"))
    if frames > limit:
        reader.problems.append(
            Problem(
                f"length {asked} is {frames} frames: {profile.title} ends at {limit} at {fps} fps",
                span,
                f"split it into several clips of at most {limit}f",
                "L043",
            )
        )
    return Length(frames, asked, span, around, seconds)


def _check_control(reader: Reader, film: FilmSettings, settings: dict[str, Value], path: Path_) -> None:
    """Name the profile's IC-LoRA where the film names none; note what is wrong with a guide, or may be."""
    video, lora = settings.get("control.video"), settings.get("control.lora")
    if not video or not video.value:
        return
    mode, computed = str(settings["control.mode"].value), settings.get("control.preprocess")
    span, profile = video.span or reader.span(path), film.profile
    if not (lora and lora.value) and mode in profile.control_loras:
        settings["control.lora"] = Value(profile.control_loras[mode], f"profile {profile.name}")
    elif not (lora and lora.value):
        hint = "add its file to control:, such as lora: my-control.safetensors"
        reader.problems.append(Problem("a guide video needs an IC-LoRA", span, hint, "L046"))
    ways = {"canny", *(model.maps for model in profile.models.values() if model.maps)}
    if computed is not None and computed.value and mode not in ways:
        hint = f"write preprocess: false, or mode: {', '.join(sorted(ways))}"
        at = computed.span or span
        reader.problems.append(Problem(f"nothing can be computed of a guide video for mode {mode}", at, hint, "L048"))
    elif (computed is None or computed.value is None) and mode in ways - {"canny"}:
        message = f'control mode "{mode}": "{video.value}" is used as it is, a map of {MAPS[mode]} already'
        hint = "write preprocess: true to have the map computed, or preprocess: false if it is one"
        reader.problems.append(Problem(message, span, hint, "L049", "warning"))


def _check_doubled(reader: Reader, film: FilmSettings, doubled: Value, path: Path_) -> None:
    profile, fps = film.profile, film.fps
    if doubled.value and "temporal_upscaler" not in profile.models:
        message = f"{profile.title} has no temporal upscaler"
        span = doubled.span or reader.span(path)
        reader.problems.append(Problem(message, span, "write temporal_upscale: false", "L105"))
    elif doubled.value and fps % 2:
        reader.problems.append(
            Problem(
                f"temporal_upscale doubles a whole frame rate, and fps is {fps}",
                doubled.span or reader.span(path),
                f"write fps: {fps - 1} or {fps + 1}, or temporal_upscale: false",
                "L105",
            )
        )


def _loras(reader: Reader, film: FilmSettings, value: Value | None) -> Iterable[Lora]:
    """Each entry is a file, or a name from the film's `loras:`; its own strength wins over the one given there."""
    aliases: Mapping[str, Any] = reader.document.data.get("loras") or {}
    for written in (value.value if value else None) or ():
        span = value.span if value else None
        entry = {"name": written} if isinstance(written, str) else dict(written)
        if entry["name"] in aliases:
            known = aliases[entry["name"]]
            entry = {**({"name": known} if isinstance(known, str) else known), **entry, "name": _file_of(known)}
        elif not entry["name"].lower().endswith(WEIGHT_FILES):
            near = difflib.get_close_matches(entry["name"], [*aliases, *film.profile.camera_loras], n=1, cutoff=0.4)
            hint = (
                f'did you mean "{near[0]}"?' if near else "write the file's name, or define it under loras: at the top"
            )
            reader.problems.append(Problem(f'unknown LoRA "{entry["name"]}"', span, hint, "L045"))
            continue
        yield Lora(entry["name"], float(entry.get("strength", 1.0)), entry.get("sha256", ""), span)


def _file_of(known: str | Mapping[str, Any]) -> str:
    return known if isinstance(known, str) else str(known["name"])


EXTENDS_RULES = {
    "L100": "extends: names a clip that is in the film, or a file",
    "L101": "extends: takes 8n+1 frames, and the clip is longer than that",
    "L102": "what a clip continues has enough frames, and another clip its shape",
    "L103": "sound goes on only where there is some, up to the last frame",
    "L104": "a clip that continues another one is neither guided nor doubled, and starts from no image",
    "L106": "a clip and the one that continues it meet without a crossfade",
}

SOUND_SHORTER_S = Fraction(
    5, 100
)  # as LTX makes it: half a latent of 40 ms less by rounding, then 30 ms lost in decoding


def read_extends(
    reader: Reader, film: FilmSettings, scene: str, settings: Mapping[str, Value], path: Path_
) -> Extends | None:
    """Given a clip's settings, return what it continues, or None. That a clip named here exists is checked when all are
    read."""
    clip, file = settings.get("extends.clip"), settings.get("extends.file")
    named = file if file and file.value else clip
    if named is None or not named.value:
        return None
    span = named.span or reader.span(path)
    if file and file.value and clip and clip.value:
        reader.problems.append(
            Problem(
                f'extends names the clip "{clip.value}" ({clip.origin}) and the file "{file.value}" ({file.origin})',
                span,
                "keep one of them",
                "L100",
            )
        )
        return None
    frames, audio = settings["extends.frames"], str(settings["extends.audio"].value)
    if int(frames.value) % STEP != 1:
        nearest = snap_up(int(frames.value))
        reader.problems.append(
            Problem(
                f"extends takes {frames.value} frames, which is not 8n+1: the rest of them would be lost",
                frames.span or span,
                f"write {nearest}" + (f" or {nearest - STEP}" if nearest > STEP + 1 else ""),
                "L101",
            )
        )
    if named is clip:
        name = str(named.value)
        return Extends(name if "/" in name else f"{scene}/{name}", None, int(frames.value), audio, span)
    video = reader.video(named)
    if video is None:
        return None
    made = Extends("", video, int(frames.value), audio, span)
    _check_extended_file(reader, made, film, span)
    return made


def _check_extended_file(reader: Reader, extends: Extends, film: FilmSettings, span: Span) -> None:
    """Frames and sound are enough. Another rate, size or rotation is made to fit; what that costs is a warning."""
    assert extends.file is not None
    name, facts = extends.file.name, extends.file.facts

    def wrong(message: str, hint: str, code: str) -> None:
        reader.problems.append(Problem(f"{name} {message}", span, hint, code))

    frames = frames_within(Fraction(facts["seconds"]), facts["frames"], film.fps)
    if frames < extends.frames:
        has = f"has {frames} frame{'s' if frames != 1 else ''}" + (
            f" at {film.fps} a second" if facts["fps"] != str(film.fps) else ""
        )
        wrong(f"{has}, and extends takes {extends.frames}", "take fewer, 9 at least, or give a longer file", "L102")
    shown = ImageFacts(Digest(""), facts["width"], facts["height"])
    for warning in fit_warnings(shown, film.size, "cover"):
        reader.problems.append(Problem(f"{name}: {warning}", span, code="L022", level="warning"))
    seconds, sound = Fraction(facts["seconds"]), Fraction(facts["audio_seconds"])
    if extends.audio == "pinned" and sound < seconds - SOUND_SHORTER_S:
        has = "no sound" if not sound else f"{float(sound):.2f} s of sound for {float(seconds):.2f} s of picture"
        wrong(f"has {has}", "write audio: fresh, and the clip makes its own sound", "L103")


def check_continuations(reader: Reader, scenes: Sequence[Scene]) -> None:
    """Given all scenes, note what can be said of `extends` only when every clip is read."""
    names = [clip.path for scene in scenes for clip in scene.clips]
    for scene in scenes:
        for clip in scene.clips:
            if clip.extends is not None:
                span = clip.extends.span
                for message, hint, code in _about_continuation(scene, clip, clip.extends, names):
                    level: Level = "warning" if code == "L106" else "error"
                    reader.problems.append(Problem(message, span, hint, code, level, of=(clip.path,)))
            first = clip.reference
            goes_on = isinstance(first, FrameOf) and first.frame is None and first.clip == _before(scene, clip)
            if scene.crossfade and goes_on and clip.extends is None:
                message, hint = _meeting(scene, clip, _before(scene, clip))
                at = first.span if first else None
                reader.problems.append(Problem(message, at, hint, "L106", "warning", of=(clip.path,)))


def _about_continuation(
    scene: Scene, clip: Clip, extends: Extends, names: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield message, hint and code of what is wrong with what a clip continues."""
    if extends.clip and extends.clip not in names:
        near = difflib.get_close_matches(extends.clip, names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(names[:8])}"
        yield f'{clip.path} extends "{extends.clip}", which is not in the film', hint, "L100"
    length = clip.length.frames
    if length is not None and length <= extends.frames:
        message = f"{clip.path} has {length} frames, and {extends.frames} of them repeat what it extends"
        yield message, f"make it longer than {extends.frames}f, or take fewer frames, 9 at least", "L101"
    used = {"reference": clip.reference, "last_frame": clip.last_frame, "control": clip.control}
    also = {name: "null" for name, value in used.items() if value}
    if clip.is_doubled:
        also["temporal_upscale"] = "false"
    if also:
        message = f"{clip.path} extends {extends.clip or 'a file'} and has {' and '.join(also)}"
        hint = f"write {', '.join(f'{name}: {nothing}' for name, nothing in also.items())}, or extends: null"
        yield message, hint, "L104"
    if scene.crossfade and (before := _before(scene, clip)) and before == extends.clip:
        yield *_meeting(scene, clip, before), "L106"


def _before(scene: Scene, clip: Clip) -> str:
    return scene.clips[clip.index - 1].path if clip.index else ""


def _meeting(scene: Scene, clip: Clip, before: str) -> tuple[str, str]:
    message = f"{clip.path} goes on where {before} ends, and {scene.crossfade} frames of both are crossfaded"
    return message, f"write crossfade: 0f in scene {scene.id}"
