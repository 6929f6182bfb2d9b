"""The captions of a film as files: film.srt and film.vtt, and Remotion's JSON for each scene.

A film.srt that people edited is read as editors write it, its markup kept as italics. Pure but for that read.
"""

from __future__ import annotations

import errno
import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.timing import narration_start
from ltxflow.core.workspace import read_bytes
from ltxflow.media.mux import Caption
from ltxflow.project.model import Project, Scene
from ltxflow.publish.captions import (
    CaptionPassage,
    Cue,
    cues,
    edited_cue,
    moved,
    passages,
    remotion,
    srt,
    webvtt,
    within,
)

FOLDER = "captions"
SRT, VTT = f"{FOLDER}/film.srt", f"{FOLDER}/film.vtt"
SHORTEST_REST_S = 0.3  # of a caption that a person extended into the next scene: a shorter rest is not shown there


def caption_files(
    project: Project, data: Mapping[str, Any], timings: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the caption files of a film, path → bytes; none for a film without words.

    `data` is its timeline, `timings` has the `timing` of every spoken narration, by scene. The times of film.srt and
    film.vtt are the film's, those of `<scene>.json` the scene's. A scene with a text but no sound gets its words spread
    over its planned time. No cue has words of two scenes, or is shown in both.
    """
    of_film: list[Cue] = []
    files: dict[str, bytes] = {}
    for scene, placed in zip(project.scenes, data["scenes"], strict=True):
        start, length = placed["from"] / project.fps, placed["durationInFrames"] / project.fps
        found = [within(passage, length) for passage in _passages(project, scene, timings.get(scene.id))]
        if not found:
            continue
        files[_of_scene(scene.id)] = _json(cues(found, length))
        of_film += cues([moved(passage, start) for passage in found], start + length)
    if of_film:
        files |= {SRT: srt(of_film).encode(), VTT: webvtt(of_film).encode()}
    return files


def corrected(files: Mapping[str, bytes], data: Mapping[str, Any], captions: Sequence[Caption]) -> dict[str, bytes]:
    """Return caption files that follow a film.srt that a person corrected; film.srt itself as it is in `files`.

    `captions` are those of the corrected film.srt, in ms of the film. The words of a caption share its time.
    """
    found = [
        edited_cue(caption.start / 1000, caption.end / 1000, caption.lines, caption.italics) for caption in captions
    ]
    changed = {VTT: webvtt(found).encode()}
    for scene in data["scenes"]:
        start, end = scene["from"] / data["fps"], (scene["from"] + scene["durationInFrames"]) / data["fps"]
        shown = [part for cue in found if (part := _part(cue, start, end)) is not None]
        path = _of_scene(scene["id"])
        if shown or path in files:
            changed[path] = _json(shown)
    return {**files, **changed}


def _part(cue: Cue, start: float, end: float) -> Cue | None:
    """Return the part of a cue that is shown in a scene, in the scene's time."""
    first, last = max(cue.start, start), min(cue.end, end)
    is_rest = first > cue.start and last - first < SHORTEST_REST_S
    if last <= first or is_rest:
        return None
    return edited_cue(first - start, last - start, cue.lines, cue.italics)


def _of_scene(id: str) -> str:
    return f"{FOLDER}/{id}.json"


def _json(found: Sequence[Cue]) -> bytes:
    return (json.dumps(remotion(found), indent=1, ensure_ascii=False) + "\n").encode()


def _passages(project: Project, scene: Scene, timing: Mapping[str, Any] | None) -> list[CaptionPassage]:
    spoken = scene.narration
    offset = Fraction(narration_start(scene.pad_head, project.fps), project.fps)
    if spoken.speech is not None and timing is not None:
        return list(passages(spoken.speech, timing, offset))
    if not spoken.text.strip() or not spoken.seconds:
        return []
    return [CaptionPassage(spoken.text, float(offset), float(offset + spoken.seconds))]


def with_captions(data: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the timeline with the names of the published caption files."""
    scenes = []
    for scene in data["scenes"]:
        path = _of_scene(scene["id"])
        script = {**scene["script"], "captions": path if path in files else None}
        narration = scene["narration"]
        if narration is not None:
            narration = {**narration, "captions": script["captions"]}
        scenes.append({**scene, "script": script, "narration": narration})
    whole = {kind: f"{FOLDER}/film.{kind}" for kind in ("srt", "vtt") if f"{FOLDER}/film.{kind}" in files}
    return {**data, "captions": whole or None, "scenes": scenes}


LARGEST = 8 * 2**20  # bytes; a caption a second for 24 hours
ROUNDED_MS, AT_ONCE = 100, 4

_ARROW = re.compile(r"\s*(?:--?-?>|[–—→⇒]>?)\s*")
_CLOCK = re.compile(r"(-?)(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,3}))?")
_EXAMPLE = "write them as 00:00:01,000 --> 00:00:02,500"
_DIRECTIONS = str.maketrans("", "", "\u202a\u202b\u202c\u200e\u200f")  # ours, for players


@dataclass(frozen=True)
class EditedCaptions:
    """The content of a film.srt: its captions in order, none overlapping, and warnings."""

    captions: tuple[Caption, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Block:
    """A caption as written: the number of its line, its times in ms, and its text."""

    line: int
    start: int
    end: int
    text: tuple[str, ...]


def read_captions(path: Path) -> EditedCaptions:
    """Return the captions of a SubRip file, with italics, without other markup.

    Captions that are shown at once become one for as long as they overlap. Raise LtxflowError, with the line, for a
    file that is not UTF-8, a caption without times, and impossible times.
    """
    name = os.path.relpath(path)
    try:
        data = read_bytes(path, LARGEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise LtxflowError(problem("D012.too-large", file=name, most=LARGEST // 2**20)) from error
        reason = (error.strerror or str(error)).lower()
        raise LtxflowError(problem("D012.unreadable", file=name, reason=reason)) from error
    return parse(_decoded(data, name), name)


def _decoded(data: bytes, name: str) -> str:
    """Return the text of a file. Raise LtxflowError with the line of the first byte that is not UTF-8."""
    other = ""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:1000]:
        other, at = "UTF-16", 0
    else:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            at = error.start
    before = data[:at]
    line = len(re.split(rb"\r\n|\r|\n", before))
    column = len(re.split(rb"[\r\n]", before)[-1].decode("utf-8", "replace")) + 1
    reason = f"the byte {data[at]:#04x} is not UTF-8" if not other else f"the file is {other}"
    raise LtxflowError(problem("D012.encoding", Span(name, line, column), file=name, reason=reason))


def parse(text: str, name: str) -> EditedCaptions:
    """Return the captions of a SubRip text; see read_captions."""
    problems: list[Problem] = []
    lines = re.split(r"\r\n|\r|\n", text.lstrip("\ufeff"))
    blocks = list(_blocks(lines, name, problems))
    if problems:
        raise LtxflowError(*problems)
    blocks = _without_small_overlaps(sorted(blocks, key=lambda block: (block.start, block.end)))
    shown = [(block, caption) for block in blocks if (caption := _caption(block)).lines]
    _check_crowd([block for block, _ in shown], name)
    return EditedCaptions(
        tuple(_apart([caption for _, caption in shown])), tuple(_overlaps([b for b, _ in shown], name))
    )


def _without_small_overlaps(blocks: Sequence[_Block]) -> list[_Block]:
    """Cut ends that overlap the next beginning by no more than what editors round."""
    found = list(blocks)
    for at, (block, following) in enumerate(pairwise(found)):
        if block.start < following.start < block.end <= following.start + ROUNDED_MS:
            found[at] = replace(block, end=following.start)
    return found


def _check_crowd(blocks: Sequence[_Block], name: str) -> None:
    ends: list[int] = []
    for block in blocks:
        while ends and ends[0] <= block.start:
            heappop(ends)
        heappush(ends, block.end)
        if len(ends) > AT_ONCE:
            raise LtxflowError(problem("D012.crowd", Span(name, block.line, 1), most=AT_ONCE))


def _blocks(lines: Sequence[str], name: str, problems: list[Problem]) -> Iterator[_Block]:
    """Yield captions; one begins with its times, wherever they are, and a number before them is its number."""
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        first, is_numbered = at, lines[at].strip().isdecimal()
        if is_numbered and at + 1 < len(lines) and _has_arrow(lines[at + 1]):
            at += 1
        times = _times(lines[at], Span(name, at + 1, 1), problems) if _has_arrow(lines[at]) else None
        if not _has_arrow(lines[at]):
            problems.append(problem("D012.no-times", Span(name, first + 1, 1)))
        begin = at = at + 1
        while at < len(lines) and lines[at].strip() and not _begins(lines, at):
            at += 1
        if times:
            yield _Block(begin, *times, tuple(lines[begin:at]))


def _begins(lines: Sequence[str], at: int) -> bool:
    """Return whether a caption begins here although no blank line precedes it."""
    numbered = lines[at].strip().isdecimal() and at + 1 < len(lines)
    return _has_times(lines[at]) or (numbered and _has_times(lines[at + 1]))


def _has_arrow(line: str) -> bool:
    """Return whether a line is meant to have times: an arrow, and digits on its left."""
    arrow = _ARROW.search(line)
    return bool(arrow and re.search(r"\d", line[: arrow.start()]) and not re.search(r"[^\W\d]", line[: arrow.start()]))


def _has_times(line: str) -> bool:
    return _has_arrow(line) and len(_CLOCK.findall(line)) >= 2


def _times(line: str, span: Span, problems: list[Problem]) -> tuple[int, int] | None:
    """Return the two times of a line in ms, or None after noting a problem."""
    arrow = _ARROW.search(line)
    assert arrow is not None
    right = line[arrow.end() :].split()[:1]  # a position may follow
    clocks = [_CLOCK.fullmatch(part.strip()) for part in (line[: arrow.start()], *right)]
    if len(clocks) < 2 or clocks[0] is None or clocks[1] is None:
        problems.append(problem("D012.bad-times", span, text=line.strip()[:60]))
        return None
    if any(clock and clock[1] for clock in clocks):
        problems.append(problem("D012.before-film", span, text=line.strip()))
        return None
    if any(clock and (int(clock[3]) > 59 or int(clock[4]) > 59) for clock in clocks):
        problems.append(problem("D012.over-59", span, text=line.strip()))
        return None
    start, end = (_ms(clock) for clock in clocks if clock)
    if end <= start:
        problems.append(problem("D012.backwards", span, text=line.strip()))
        return None
    return start, end


def _ms(clock: re.Match[str]) -> int:
    seconds = (int(clock[2] or 0) * 60 + int(clock[3])) * 60 + int(clock[4])
    return seconds * 1000 + int((clock[5] or "0").ljust(3, "0"))


def _overlaps(blocks: Sequence[_Block], name: str) -> Iterator[Problem]:
    latest = None
    for block in blocks:
        if latest is not None and block.start < latest.end:
            yield problem("D013.overlap", Span(name, block.line, 1), other=latest.line)
        if latest is None or block.end > latest.end:
            latest = block


def _apart(captions: Sequence[Caption]) -> Iterator[Caption]:
    """Yield captions without overlaps: those shown at once become one with all the lines."""
    if all(one.end <= other.start for one, other in pairwise(captions)):
        yield from captions
        return
    times = sorted({time for caption in captions for time in (caption.start, caption.end)})
    ahead, shown = list(reversed(captions)), list[Caption]()
    for start, end in pairwise(times):
        shown = [caption for caption in shown if caption.end > start]
        while ahead and ahead[-1].start <= start:
            shown.append(ahead.pop())
        if shown:
            yield _together(start, end, shown)


def _together(start: int, end: int, captions: Sequence[Caption]) -> Caption:
    lines: list[str] = []
    italics: list[tuple[int, int, int]] = []
    for caption in captions:
        italics += [(line + len(lines), first, last) for line, first, last in caption.italics]
        lines += caption.lines
    return Caption(start, end, tuple(lines), tuple(italics))


# Markup

# Of SubRip, WebVTT and Advanced SubStation, which people paste into one another. Other text in <> stays.
_TAG = re.compile(
    r"</?(?P<name>i|em|cite|b|strong|u|s|strike|font|c|v|lang|ruby|rt|rp|span|p|br|big|small|center)(?:[\s.:][^<>]*)?/?>"
    r"|<(?:\d+:)?\d\d:\d\d\.\d{3}>"
    r"|\{\\(?P<codes>[^{}]*)\}|\{/?(?P<y>y:i)\}|\{[cfsyp]:[^{}]*\}|(?-i:\\(?P<break>[Nh]))",
    re.IGNORECASE,
)
_ITALIC = ("i", "em", "cite")


def _caption(block: _Block) -> Caption:
    lines, italics = styled(block.text)
    return Caption(block.start, block.end, lines, italics)


def styled(written: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Return lines without markup, and their italic parts: (line, first character, first after it)."""
    is_italic = False
    lines: list[list[tuple[str, bool]]] = []
    for line in written:
        lines.append([])
        at = 0
        for tag in _TAG.finditer(line):
            lines[-1] += [(char, is_italic) for char in _plain(line[at : tag.start()])]
            at = tag.end()
            name, codes = (tag["name"] or "").lower(), tag["codes"] or ""
            if name in _ITALIC:
                is_italic = not tag[0].startswith("</")
            elif tag["y"]:
                is_italic = "/" not in tag[0]
            elif found := re.findall(r"(?:^|\\)i([01])(?![0-9])", codes):
                is_italic = found[-1] == "1"
            elif name == "br" or tag["break"] == "N":
                lines.append([])
            elif tag["break"]:
                lines[-1].append((" ", is_italic))
        lines[-1] += [(char, is_italic) for char in _plain(line[at:])]
    kept = [stripped for line in lines if (stripped := _stripped(line))]
    return tuple("".join(char for char, _ in line) for line in kept), tuple(_runs(kept))


def _plain(text: str) -> str:
    return re.sub(r"&#?\w+;", lambda entity: html.unescape(entity[0]), text.translate(_DIRECTIONS))


def _stripped(line: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Return a line without blanks at its ends, and with single blanks inside."""
    found: list[tuple[str, bool]] = []
    for char, is_italic in line:
        if not char.isspace():
            found.append((char, is_italic))
        elif found and found[-1][0] != " ":
            found.append((" ", is_italic))
    return found[:-1] if found and found[-1][0] == " " else found


def _runs(lines: Sequence[Sequence[tuple[str, bool]]]) -> Iterator[tuple[int, int, int]]:
    for number, line in enumerate(lines):
        first = None
        for at, is_italic in enumerate([*(flag for _, flag in line), False]):
            if is_italic and first is None:
                first = at
            elif not is_italic and first is not None:
                yield number, first, at
                first = None
