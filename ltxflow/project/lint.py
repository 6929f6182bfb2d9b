"""What makes a prompt weak, found by reading it. Knows the frozen film and English words; no file, no model.

Rules that look for words speak up only on English prompts; those that count or compare, on all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise

from ltxflow.core.errors import Level, Problem, Span
from ltxflow.project.model import Clip, Project, Scene
from ltxflow.project.prompt_words import (
    ACTS,
    AT_ODDS,
    CAMERA,
    CAMERA_LORA,
    CAMERA_MOVES,
    CLOSE,
    CUTS,
    DIRECTIONS,
    ENGLISH,
    FAST,
    INNER,
    LOCKED,
    MOVES,
    MOVES_AFTER_TO,
    MOVES_BEFORE_WAY,
    NO_MOTION,
    ONLY_SOUNDS,
    OTHER_LANGUAGES,
    SOUND_PHRASES,
    SOUNDS,
    STILL,
    TALK,
    VERBS,
    WAYS,
)
from ltxflow.project.thresholds import ignores, silenced

SHORT, LONG = 20, 250  # words; the guide asks for 200 at most, and its longest own example has 229
LOOKED_AT = 10_000  # characters: a prompt ten times too long has that rule to itself
SAME_MOTION = 0.92  # of the words, in order
CROSSFADE = (10, 15)  # frames
SLOWEST, CINEMA, LIVELY, FASTEST = 15, 24, 25, 30  # frames a second: to 24 for calm shots, from 24 on for motion

GUIDE = "Lightricks LTX-2 README, prompting"
ENHANCER = "Lightricks ltx_pipelines, prompt enhancer's system prompt"
FREEZE = "Lightricks/LTX-2 issue 11, image-to-video that freezes"
COMMUNITY = "LTX-2 community guides"
EDITING = "editing practice"


@dataclass(frozen=True)
class PromptRule:
    """One rule: `why` the picture is better for it, and the `source` that says so."""

    code: str
    level: Level
    title: str
    why: str
    source: str


RULES: dict[str, PromptRule] = {
    rule.code: rule
    for rule in (
        PromptRule("P101", "warning", "short prompt", "the model invents what a prompt leaves out", GUIDE),
        PromptRule("P102", "warning", "long prompt", "after 200 words the model loses the thread", GUIDE),
        PromptRule("P103", "warning", "keywords", "the model learned from sentences that tell what happens", GUIDE),
        PromptRule("P104", "warning", "no camera", "a camera that is not described freezes or wanders", GUIDE),
        PromptRule("P105", "warning", "no motion", "without motion in the prompt the picture freezes", FREEZE),
        PromptRule("P106", "warning", "no sound", "sound is made with the picture, and invented if not told", GUIDE),
        PromptRule("P107", "warning", "static description", "asked for a still, the model makes a still", FREEZE),
        PromptRule(
            "P108",
            "error",
            "same motion twice",
            "two clips that move alike look like one; a warning if nearly",
            EDITING,
        ),
        PromptRule("P109", "advice", "no reference", "from an image, look and subject hold across clips", COMMUNITY),
        PromptRule("P110", "warning", "frame rate for motion", "motion needs 24–30 frames a second", COMMUNITY),
        PromptRule("P111", "warning", "crossfade length", "10–15 frames hide a join: less jumps, more blurs", EDITING),
        PromptRule("P112", "advice", "cuts and times", "a clip is one shot, and has no clock", ENHANCER),
        PromptRule(
            "P113",
            "advice",
            "talk about the video",
            "what is seen comes first, not that it is seen",
            ENHANCER,
        ),
        PromptRule("P114", "advice", "inner states", "feelings and thoughts cannot be drawn", ENHANCER),
        PromptRule("P115", "advice", "frame rate for calm", "static shots and close-ups do with 15–24", COMMUNITY),
        PromptRule("P116", "advice", "camera at odds", "a camera that does two things at once does neither", GUIDE),
    )
}


def lint(project: Project) -> list[Problem]:
    """Return what the rules say of a film, clip by clip, each at the part of the prompt that is meant.

    What is silenced by `ignore:` is left out; of the errors that is P108 alone. A rule about several clips at once
    is silent where all of them ignore it.
    """
    problems: list[Problem] = []
    film: list[_Reading] = []
    for scene in project.scenes:
        readings = [_read(clip) for clip in scene.clips]
        for reading in readings:
            problems += (replace(p, of=(reading.clip.path,)) for p in _clip_problems(reading))
        problems += same_motion(scene)
        film += readings
    return silenced(project, [*problems, *_crossfades(project.scenes), *_frame_rate(project, film)])


def _problem(code: str, message: str, span: Span | None, hint: str, *of: str) -> Problem:
    return Problem(message, span, hint, code, RULES[code].level, of=of)


# Reading


@dataclass(frozen=True)
class _Reading:
    """A clip's prompt as the rules see it. Words they look for are not looked for in what is spoken in it."""

    clip: Clip
    words: tuple[str, ...]
    is_english: bool
    has_camera: bool
    has_motion: bool
    has_sound: bool
    is_fast: bool
    is_calm: bool
    still: str  # the words that ask for no motion

    def at(self, part: str = "") -> Span | None:
        return _at(self.clip, part)


def _at(clip: Clip, part: str) -> Span | None:
    """Where a part of a prompt is written; without one, the prompt."""
    return clip.prompt.spans.get(part) or next(iter(clip.prompt.spans.values()), clip.span)


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # Chinese, Japanese, Korean
_SPEECH = re.compile(r"“[^“”]*”|\"[^\"]*\"|„[^„“”]*[“”]|«[^«»]*»|「[^「」]*」")
_SPOKEN = re.compile(r"[.,!?…—-][”\"“»」]|[.,!?…] [»]")  # a sign says "OPEN", a person "Open up!"


def _words(text: str) -> tuple[str, ...]:
    """The words in lower case; scripts without spaces count two characters as a word."""
    words = _WORD.findall(text.casefold())
    if text.isascii():
        return tuple(words)
    found: list[str] = []
    for word in words:
        if _UNSPACED.match(word):
            found += (word[i : i + 2] for i in range(0, len(word), 2))
        else:
            found.append(word)
    return tuple(found)


def _read(clip: Clip) -> _Reading:
    text = _SPEECH.sub(" ", clip.prompt.text[:LOOKED_AT])
    words = _words(text)
    seen = {*words, *(piece for word in words for piece in word.split("-"))}
    still = STILL.search(text)
    lively = _words(STILL.sub(" ", text)) if still else words
    moves = bool(MOVES & {*lively, *(piece for word in lively for piece in word.split("-"))})
    moves = moves or any(_is_doing(word) for word in lively)
    moves = moves or any(_are_moving(*pair) for pair in pairwise(lively)) or bool(ACTS.search(text))
    acts = len(_words(clip.prompt.parts.get("action", ""))) > 3
    return _Reading(
        clip=clip,
        words=_words(clip.prompt.text),
        is_english=_is_english(words, text),
        has_camera=bool(clip.prompt.camera or CAMERA.search(text) or _is_led(clip)),
        has_motion=moves or (acts and not still) or clip.control is not None,
        has_sound=bool(clip.prompt.parts.get("audio") or seen & SOUNDS or SOUND_PHRASES.search(text) or _speaks(clip)),
        is_fast=bool(seen & FAST),
        is_calm=bool(LOCKED.search(text) or (CLOSE.search(text) and not CAMERA_MOVES.search(text))),
        still=still[0] if still else "",
    )


def _is_doing(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4 and word not in NO_MOTION and word not in ONLY_SOUNDS


def _speaks(clip: Clip) -> bool:
    """Whether there is speech: what is in quotes ends as a sentence does."""
    return any(_SPOKEN.search(said[0] + " ") for said in _SPEECH.finditer(clip.prompt.text[:LOOKED_AT]))


def _are_moving(one: str, other: str) -> bool:
    """Whether two words in a row tell of a motion: "to swing", "lights slide", "streaks down"."""
    is_plural = one.endswith("s") and not one.endswith("ss")
    return (other in MOVES_AFTER_TO and (one == "to" or is_plural)) or (one in MOVES_BEFORE_WAY and other in WAYS)


def _is_led(clip: Clip) -> bool:
    """Whether something else than the prompt leads the camera: a guide video, a last frame, a LoRA made for it."""
    return bool(clip.control or clip.last_frame or any(CAMERA_LORA.search(lora.name) for lora in clip.loras))


def _is_english(words: tuple[str, ...], text: str) -> bool:
    """Whether word lists apply: ASCII for the most part, with the little words that English prose has.

    A list of keywords has little words in no language, and passes for English.
    """
    if sum(not word.isascii() for word in words) > len(words) / 5:
        return False
    english = sum(word in ENGLISH for word in words)
    if sum(word in OTHER_LANGUAGES for word in words) > english:
        return False
    return len(words) < 8 or _is_keyword_list(text) or english >= len(words) / 12


def _is_keyword_list(text: str) -> bool:
    """Whether commas come every few words (at least four, fewer than five words apart, nowhere more than seven), and
    nothing acts."""
    pieces = [len(_words(piece)) for piece in re.split(r"[,;|，、]", text)]
    if len(pieces) < 5 or sum(pieces) / len(pieces) >= 5 or max(pieces) > 7:
        return False
    return not ACTS.search(text) and len(VERBS & {*_words(text)}) < 2


# One clip


def _clip_problems(reading: _Reading) -> Iterator[Problem]:
    clip, count = reading.clip, len(reading.words)
    if count < SHORT:
        hint = "tell in three to six sentences what is seen, how it and the camera move, and how it sounds"
        yield _problem("P101", f"the prompt of {clip.path} has only {count} words", reading.at(), hint)
    if count > LONG:
        hint = f"keep to one shot and to {LONG} words, or make two clips of it"
        yield _problem("P102", f"the prompt of {clip.path} has {count} words", reading.at(), hint)
    for part, text in clip.prompt.parts.items():
        if part not in ("mood", "audio") and _is_keyword_list(text):
            hint = 'write sentences, such as "The door opens slowly while golden light pours out"'
            yield _problem("P103", f"the prompt of {clip.path} lists keywords", reading.at(part), hint)
    if count and reading.is_english:
        yield from _missing(reading)
        yield from _habits(reading)
    if clip.reference is None and clip.control is None and clip.extends is None:
        hint = "add `reference: refs/….png`, an image that shows how the clip begins"
        yield _problem("P109", f"{clip.path} starts from no image", clip.span or reading.at(), hint)


def _missing(reading: _Reading) -> Iterator[Problem]:
    path = reading.clip.path
    if not reading.has_camera:
        hint = 'say where it is or how it moves, such as "The camera pushes slowly forward"'
        yield _problem("P104", f"{path} does not mention the camera", reading.at(), hint)
    if reading.still and not reading.has_motion:
        hint = 'say what changes, be it little, such as "dust drifts through the light"'
        where = next(part for part, text in reading.clip.prompt.parts.items() if STILL.search(text))
        yield _problem("P107", f'{path} says "{reading.still}", and nothing moves', reading.at(where), hint)
    elif not reading.has_motion:
        hint = 'say what moves, in the present tense, such as "the rings rotate"'
        yield _problem("P105", f"nothing moves in {path}", reading.at("action"), hint)
    if not reading.has_sound:
        hint = 'say what is heard, such as "A low hum builds", or "in silence"'
        yield _problem("P106", f"{path} has no sound", reading.at(), hint)


def _habits(reading: _Reading) -> Iterator[Problem]:
    habits = (
        (
            "P112",
            CUTS,
            "asks for a cut or a time",
            "tell one shot as it happens; another shot is another clip",
        ),
        ("P113", TALK, "talks about the video", "start with what is seen and what it does"),
        ("P116", AT_ODDS, "moves the camera two ways at once", "give it one move, or say which comes first"),
        ("P114", INNER, "tells an inner state", "show it by a face, a gesture, a posture"),
    )
    for code, pattern, does, hint in habits:
        for part, text in reading.clip.prompt.parts.items():
            if found := pattern.search(_SPEECH.sub(" ", text[:LOOKED_AT])):
                yield _problem(code, f'{reading.clip.path} {does}: "{found[0]}"', reading.at(part), hint)
                break


# Several clips


def same_motion(scene: Scene) -> Iterator[Problem]:
    """Yield an error for each clip of a scene whose motion an earlier one has word for word, a warning where nearly, or
    from another picture.

    Clips that go on from each other are left out, and those of which one ignores P108.
    """
    above: dict[str, set[str]] = {}  # by clip, all that it is made from
    for position, clip in enumerate(scene.clips):
        above[clip.path] = set(clip.upstream).union(*(above.get(path, ()) for path in clip.upstream))
        if ignores(clip, "P108"):
            continue
        others = [o for o in scene.clips[:position] if o.path not in above[clip.path] and not ignores(o, "P108")]
        found = [(other, alike) for other in others if (alike := _alike(clip, other))]
        if found:
            yield _twin(clip, *max(found, key=lambda each: each[1] == "equal"))


def _twin(clip: Clip, other: Clip, alike: str) -> Problem:
    span = _at(other, "action")
    line = f" (line {span.line})" if span else ""
    hint = f"let the camera or the action go on from {other.path}{line}"
    if alike == "equal":
        message = f"{clip.path} has the same motion as {other.path}"
        hint += ', or write ignore: ["P108"] if they are meant to be alike'
        return Problem(message, _at(clip, "action"), hint, "P108", "error", of=(clip.path, other.path))
    message = f"{clip.path} moves nearly as {other.path} does"
    return Problem(message, _at(clip, "action"), hint, "P108", "warning", of=(clip.path,))


def _alike(clip: Clip, other: Clip) -> str:
    mine, theirs = _motion(clip, other), _motion(other, clip)
    if not mine or clip.control != other.control:
        return ""
    is_from_same = (clip.reference, clip.last_frame, clip.extends) == (other.reference, other.last_frame, other.extends)
    if mine == theirs:
        return "equal" if is_from_same else "nearly"
    return "nearly" if _is_nearly(mine, theirs) else ""


def _motion(clip: Clip, other: Clip) -> tuple[str, ...]:
    """The words to compare: camera and action where both clips have an action, else all that the clip says itself."""
    parts = clip.prompt.parts
    if parts.get("action") and other.prompt.parts.get("action"):
        return _words(f"{clip.prompt.camera} {parts['action']}")
    return _words(" ".join(text for part, text in parts.items() if part != "look"))


def _is_nearly(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether two motions are alike: the same words but for a few, none of which moves or is a direction."""
    mine_only, theirs_only = Counter(mine) - Counter(theirs), Counter(theirs) - Counter(mine)
    if max(len(mine), len(theirs)) > LOOKED_AT / 5:
        return False
    if (DIRECTIONS | MOVES) & (mine_only.keys() | theirs_only.keys()):
        return False
    if mine_only.total() + theirs_only.total() > (1 - SAME_MOTION) * (len(mine) + len(theirs)):
        return False  # the ratio below cannot be higher; it takes far longer
    return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() >= SAME_MOTION


def _crossfades(scenes: Iterable[Scene]) -> Iterator[Problem]:
    """Once for every place where a crossfade was written, however many scenes it holds for."""
    low, high = CROSSFADE
    wrong: dict[Span | None, list[Scene]] = {}
    for scene in scenes:
        goes_on = any(a.path in b.upstream for a, b in pairwise(scene.clips))
        joins = len(scene.clips) > 1 and not low <= scene.crossfade <= high and not (goes_on and scene.crossfade == 0)
        if joins and not all(ignores(clip, "P111") for clip in scene.clips):
            setting = scene.settings.get("crossfade")
            wrong.setdefault((setting.span if setting else None) or scene.span, []).append(scene)
    for span, (first, *others) in wrong.items():
        which = f"{first.id} and {len(others)} more" if others else first.id
        message = f"a crossfade of {first.crossfade} frames in {which} is outside {low}–{high}"
        yield _problem("P111", message, span, "write `crossfade: 12f`", *(scene.id for scene in (first, *others)))


def _frame_rate(project: Project, readings: list[_Reading]) -> Iterator[Problem]:
    fps, setting = project.fps, project.settings.get("fps")
    span = setting.span if setting else None
    moving = [reading for reading in readings if not ignores(reading.clip, "P110")]
    fast = [reading.clip.path for reading in moving if reading.is_fast]
    if moving and not SLOWEST <= fps <= FASTEST:
        yield _problem("P110", f"fps {fps} is outside {SLOWEST}–{FASTEST}", span, f"write `fps: {LIVELY}`")
    elif fps < CINEMA and fast:
        which = f"{fast[0]} and {len(fast) - 1} more" if len(fast) > 1 else fast[0]
        hint = f"write `fps: {LIVELY}`, or slow the motion down"
        yield _problem("P110", f"fps {fps} is low for the fast motion in {which}", span, hint)
    calm = [r for r in readings if r.is_calm and not r.is_fast and not ignores(r.clip, "P115")]
    if fps >= LIVELY and len(calm) * 2 > len(readings):
        message = f"fps {fps} is high for a film in which {len(calm)} of {len(readings)} clips are calm"
        hint = f"{SLOWEST}–{LIVELY - 1} shows static shots and close-ups as well, with fewer frames to render"
        yield _problem("P115", message, span, hint)
