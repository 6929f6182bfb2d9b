"""What a clip continues: another clip, or a file; and whether the two can meet. Knows no other setting."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from ltxflow.core.digest import Digest
from ltxflow.core.errors import Level, Problem, Span
from ltxflow.core.timing import STEP, frames_within, snap_up
from ltxflow.media.fit import ImageFacts, fit_warnings
from ltxflow.script.model import Clip, Extends, FrameOf, Scene, Value
from ltxflow.script.reader import Film, Path_, Reader

RULES = {
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


def read_extends(reader: Reader, film: Film, scene: str, settings: Mapping[str, Value], path: Path_) -> Extends | None:
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


def _check_extended_file(reader: Reader, extends: Extends, film: Film, span: Span) -> None:
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
