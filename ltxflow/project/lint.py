"""Lint prompts: find what makes a prompt weak. Pure; uses the frozen project and English word lists.

Rules that search for words apply to English prompts only; rules that count or compare apply to all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import Problem, Span, problem
from ltxflow.messages import Rule
from ltxflow.messages.project import RULES as CATALOGUE
from ltxflow.project.model import Clip, Project, Scene
from ltxflow.project.prompt import unwritten, unwritten_problems
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
    Phrases,
)
from ltxflow.project.settings import ignores, without_ignored
from ltxflow.store.memo import Memory

SHORT, LONG = 20, 250  # words; the guide recommends 200 at most, and its longest example has 229
SEARCHED = 10_000  # characters searched: a prompt ten times too long gets only the rule about its length
SAME_MOTION = 0.92  # of the words, in order
CROSSFADE = (10, 15)  # frames
SLOWEST, CINEMA, LIVELY, FASTEST = 15, 24, 25, 30  # fps: up to 24 for calm shots, from 24 for motion

RULES: Mapping[str, Rule] = {code: rule for code, rule in CATALOGUE.items() if code.startswith("P")}


def lint(project: Project, memory: Memory | None = None) -> list[Problem]:
    """Return the lint of a project, clip by clip, each at the part of the prompt that it concerns.

    Codes listed under `ignore:` are left out; of the errors only P108 can be ignored. A rule about several clips is
    left out where all of them ignore it. `memory` has what was found in scenes that are as they were.
    """
    problems: list[Problem] = [*unwritten_problems(project)]
    film: list[_Pace] = []
    for scene in project.scenes:
        found, paces = _lint_scene(scene, memory or Memory())
        problems += found
        film += paces
    return without_ignored(project, [*problems, *_crossfades(project.scenes), *_frame_rate(project, film)])


@dataclass(frozen=True)
class _Pace:
    """Whether a clip's prompt is of fast motion, or of hardly any."""

    clip: Clip
    is_fast: bool
    is_calm: bool


def _lint_scene(scene: Scene, memory: Memory) -> tuple[list[Problem], list[_Pace]]:
    """Return the problems of one scene, and the pace of its clips that are written.

    Searching the prompts takes longer than the rest of a check, so it is done once for a scene as it is: with every
    value and its place.
    """
    clips = [clip for clip in scene.clips if not unwritten(clip.prompt)]
    name = f"lint {digest_bytes(repr(scene).encode(errors='surrogatepass'))}"
    known = memory.get(name)
    if known is None:
        readings = [_read(clip) for clip in clips]
        found = [replace(p, of=(each.clip.path,)) for each in readings for p in _clip_problems(each)]
        found += same_motion(scene)
        memory.put(name, [[_row(p) for p in found], [[each.is_fast, each.is_calm] for each in readings]])
        return found, [_Pace(each.clip, each.is_fast, each.is_calm) for each in readings]
    rows, paces = known
    return [_from_row(row) for row in rows], [_Pace(clip, *pace) for clip, pace in zip(clips, paces, strict=True)]


def _row(found: Problem) -> list[Any]:
    span = [found.span.file, found.span.line, found.span.col] if found.span else None
    return [found.message, span, found.hint, found.code, found.level, found.transient, found.of, found.named]


def _from_row(row: list[Any]) -> Problem:
    message, span, hint, code, level, transient, of, named = row
    place = Span(*span) if span else None
    return Problem(message, place, hint, code, level, transient, tuple(of), tuple(named))


# Reading


@dataclass(frozen=True)
class _Reading:
    """A clip's prompt as the rules see it. Words inside quoted speech are not searched."""

    clip: Clip
    words: tuple[str, ...]
    is_english: bool
    has_camera: bool
    has_motion: bool
    has_sound: bool
    is_fast: bool
    is_calm: bool
    still: str  # the words that request no motion

    def at(self, part: str = "") -> Span | None:
        return _at(self.clip, part)


def _at(clip: Clip, part: str) -> Span | None:
    """Return the place of a part of a prompt, of the whole prompt without one."""
    return clip.prompt.spans.get(part) or next(iter(clip.prompt.spans.values()), clip.span)


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # Chinese, Japanese, Korean
_SPEECH = re.compile(r"“[^“”]*”|\"[^\"]*\"|„[^„“”]*[“”]|«[^«»]*»|「[^「」]*」")
_SPOKEN = re.compile(r"[.,!?…—-][”\"“»」]|[.,!?…] [»]")  # a sign reads "OPEN", a person calls "Open up!"


def _words(text: str) -> tuple[str, ...]:
    """Return the words in lower case. In scripts without spaces two characters count as a word."""
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
    text = _SPEECH.sub(" ", clip.prompt.text[:SEARCHED])
    words = _words(text)
    pieces = {*words, *(piece for word in words for piece in word.split("-"))}
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
        has_sound=bool(
            clip.prompt.parts.get("audio") or pieces & SOUNDS or SOUND_PHRASES.search(text) or _speaks(clip)
        ),
        is_fast=bool(pieces & FAST),
        is_calm=bool(LOCKED.search(text) or (CLOSE.search(text) and not CAMERA_MOVES.search(text))),
        still=still[0] if still else "",
    )


def _is_doing(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4 and word not in NO_MOTION and word not in ONLY_SOUNDS


def _speaks(clip: Clip) -> bool:
    """Return whether the prompt contains speech: a quotation that ends like a sentence."""
    return any(_SPOKEN.search(quotation[0] + " ") for quotation in _SPEECH.finditer(clip.prompt.text[:SEARCHED]))


def _are_moving(one: str, other: str) -> bool:
    """Return whether two words in a row describe a motion: "to swing", "lights slide", "streaks down"."""
    is_plural = one.endswith("s") and not one.endswith("ss")
    return (other in MOVES_AFTER_TO and (one == "to" or is_plural)) or (one in MOVES_BEFORE_WAY and other in WAYS)


def _is_led(clip: Clip) -> bool:
    """Return whether a guide video, a last frame or a camera LoRA leads the camera instead of the prompt."""
    return bool(clip.control or clip.last_frame or any(CAMERA_LORA.search(lora.name) for lora in clip.loras))


def _is_english(words: tuple[str, ...], text: str) -> bool:
    """Return whether the English word lists apply: mostly ASCII, with the function words of English prose.

    A list of keywords has function words of no language, and counts as English.
    """
    if sum(not word.isascii() for word in words) > len(words) / 5:
        return False
    english = sum(word in ENGLISH for word in words)
    if sum(word in OTHER_LANGUAGES for word in words) > english:
        return False
    return len(words) < 8 or _is_keyword_list(text) or english >= len(words) / 12


def _is_keyword_list(text: str) -> bool:
    """Return whether the text is a list of keywords.

    It has at least four commas, fewer than five words apart on average and at most seven anywhere, and no verb acts.
    """
    pieces = [len(_words(piece)) for piece in re.split(r"[,;|，、]", text)]
    if len(pieces) < 5 or sum(pieces) / len(pieces) >= 5 or max(pieces) > 7:
        return False
    return not ACTS.search(text) and len(VERBS & {*_words(text)}) < 2


# One clip


def _clip_problems(reading: _Reading) -> Iterator[Problem]:
    clip, count = reading.clip, len(reading.words)
    if count < SHORT:
        words = "1 word" if count == 1 else f"{count} words"
        yield problem("P101", reading.at(), clip=clip.path, words=words)
    if count > LONG:
        yield problem("P102", reading.at(), clip=clip.path, words=count, most=LONG)
    for part, text in clip.prompt.parts.items():
        if part not in ("mood", "audio") and _is_keyword_list(text):
            yield problem("P103", reading.at(part), clip=clip.path)
    if count and reading.is_english:
        yield from _missing(reading)
        yield from _habits(reading)
    if clip.reference is None and clip.control is None and clip.extends is None:
        yield problem("P109", clip.span or reading.at(), clip=clip.path)


def _missing(reading: _Reading) -> Iterator[Problem]:
    path = reading.clip.path
    if not reading.has_camera:
        yield problem("P104", reading.at(), clip=path)
    if reading.still and not reading.has_motion:
        where = next(part for part, text in reading.clip.prompt.parts.items() if STILL.search(text))
        yield problem("P107", reading.at(where), clip=path, words=reading.still)
    elif not reading.has_motion:
        yield problem("P105", reading.at("action"), clip=path)
    if not reading.has_sound:
        yield problem("P106", reading.at(), clip=path)


def _habits(reading: _Reading) -> Iterator[Problem]:
    for part, words in _found(reading, CUTS):
        yield problem("P112", reading.at(part), clip=reading.clip.path, words=words)
    for part, words in _found(reading, TALK):
        yield problem("P113", reading.at(part), clip=reading.clip.path, words=words)
    for part, words in _found(reading, AT_ODDS):
        yield problem("P116", reading.at(part), clip=reading.clip.path, words=words)
    for part, words in _found(reading, INNER):
        yield problem("P114", reading.at(part), clip=reading.clip.path, words=words)


def _found(reading: _Reading, pattern: Phrases) -> Iterator[tuple[str, str]]:
    """Yield the first part of a prompt that matches, if any, and the words that do."""
    for part, text in reading.clip.prompt.parts.items():
        if found := pattern.search(_SPEECH.sub(" ", text[:SEARCHED])):
            yield part, found[0]
            return


# Several clips


def same_motion(scene: Scene) -> Iterator[Problem]:
    """Yield a problem for each clip of a scene that repeats the motion of an earlier one.

    The same words are an error; nearly the same, or the same words with another picture, a warning. Clips that
    continue each other are left out, and pairs of which one ignores P108 or is not written yet.
    """
    above: dict[str, set[str]] = {}  # by clip, all that it is made from
    left_out = {clip.path for clip in scene.clips if ignores(clip, "P108") or unwritten(clip.prompt)}
    for position, clip in enumerate(scene.clips):
        above[clip.path] = set(clip.upstream).union(*(above.get(path, ()) for path in clip.upstream))
        if clip.path in left_out:
            continue
        others = [o for o in scene.clips[:position] if o.path not in above[clip.path] and o.path not in left_out]
        found = [(other, alike) for other in others if (alike := _alike(clip, other))]
        if found:
            yield _twin(clip, *max(found, key=lambda each: each[1] == "equal"))


def _twin(clip: Clip, other: Clip, alike: str) -> Problem:
    span = _at(other, "action")
    place = f"{other.path} (line {span.line})" if span else other.path
    if alike == "equal":
        both = (clip.path, other.path)
        return problem("P108.equal", _at(clip, "action"), of=both, clip=clip.path, other=other.path, place=place)
    return problem(
        "P108.nearly",
        _at(clip, "action"),
        level="warning",
        of=(clip.path,),
        clip=clip.path,
        other=other.path,
        place=place,
    )


def _alike(clip: Clip, other: Clip) -> str:
    mine, theirs = _motion(clip, other), _motion(other, clip)
    if not mine or clip.control != other.control:
        return ""
    is_from_same = (clip.reference, clip.last_frame, clip.extends) == (other.reference, other.last_frame, other.extends)
    if mine == theirs:
        return "equal" if is_from_same else "nearly"
    return "nearly" if _is_nearly(mine, theirs) else ""


def _motion(clip: Clip, other: Clip) -> tuple[str, ...]:
    """Return the words to compare: camera and action where both clips have an action, else the prompt without look."""
    parts = clip.prompt.parts
    if parts.get("action") and other.prompt.parts.get("action"):
        return _words(f"{clip.prompt.camera} {parts['action']}")
    return _words(" ".join(text for part, text in parts.items() if part != "look"))


def _is_nearly(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Return whether two motions differ in a few words only, none of them a verb of motion or a direction."""
    mine_only, theirs_only = Counter(mine) - Counter(theirs), Counter(theirs) - Counter(mine)
    if max(len(mine), len(theirs)) > SEARCHED / 5:
        return False
    if (DIRECTIONS | MOVES) & (mine_only.keys() | theirs_only.keys()):
        return False
    if mine_only.total() + theirs_only.total() > (1 - SAME_MOTION) * (len(mine) + len(theirs)):
        return False  # the ratio below cannot be higher; it takes far longer
    return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() >= SAME_MOTION


def _crossfades(scenes: Iterable[Scene]) -> Iterator[Problem]:
    """Yield one problem for every place where a crossfade is written, however many scenes it applies to."""
    low, high = CROSSFADE
    wrong: dict[Span | None, list[Scene]] = {}
    for scene in scenes:
        continues = any(a.path in b.upstream for a, b in pairwise(scene.clips))
        joins = len(scene.clips) > 1 and not low <= scene.crossfade <= high and not (continues and scene.crossfade == 0)
        if joins and not all(ignores(clip, "P111") for clip in scene.clips):
            setting = scene.settings.get("crossfade")
            wrong.setdefault((setting.span if setting else None) or scene.span, []).append(scene)
    for span, (first, *others) in wrong.items():
        which = f"{first.id} and {len(others)} more" if others else first.id
        of = tuple(scene.id for scene in (first, *others))
        yield problem("P111", span, of=of, frames=first.crossfade, scenes=which, low=low, high=high)


def _frame_rate(project: Project, paces: list[_Pace]) -> Iterator[Problem]:
    fps, setting = project.fps, project.settings.get("fps")
    span = setting.span if setting else None
    moving = [pace for pace in paces if not ignores(pace.clip, "P110")]
    fast = [pace.clip.path for pace in moving if pace.is_fast]
    if moving and not SLOWEST <= fps <= FASTEST:
        yield problem("P110.range", span, fps=fps, low=SLOWEST, high=FASTEST, better=LIVELY)
    elif fps < CINEMA and fast:
        which = f"{fast[0]} and {len(fast) - 1} more" if len(fast) > 1 else fast[0]
        yield problem("P110.fast", span, fps=fps, clips=which, better=LIVELY)
    calm = [each for each in paces if each.is_calm and not each.is_fast and not ignores(each.clip, "P115")]
    if fps >= LIVELY and len(calm) * 2 > len(paces):
        yield problem("P115", span, fps=fps, calm=len(calm), all=len(paces), low=SLOWEST, high=LIVELY - 1)
