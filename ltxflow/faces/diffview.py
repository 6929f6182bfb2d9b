"""What became of a film between two revisions, for a terminal and for a pull request."""

from __future__ import annotations

import re

from ltxflow.faces.planview import difference, gpu_time
from ltxflow.faces.terminal import Face, clean, count, counted, duration
from ltxflow.plan.difference import ClipDifference, Difference
from ltxflow.plan.estimate import Estimate
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.verbs.revision import Left

MARKS = {"added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red")}


def print_difference(face: Face, found: Difference, ref: str, left: Left, gpu: Estimate | None) -> None:
    """Print a line a clip with its reasons, what costs no render, and what the film comes to."""
    width = max((len(each.clip) for each in found.clips), default=0)
    for each in found.clips:
        mark, style = MARKS[each.kind]
        told = [_reason(face, reason) for reason in each.reasons] or [each.note or each.kind]
        face.say(f"  {face.paint(mark, style, 'bold')} {each.clip.ljust(width)}  {_frames(each)}  {told[0]}")
        for line in told[1:]:
            face.say(f"{' ' * (width + 6 + len(_frames(each)))}{line}")
    for line in found.shown:
        face.say(face.paint(f"  · {clean(line)}", "dim"))
    if found.clips or found.shown:
        face.say()
    face.say(f"Since {ref}: {_counts(found)}.  {_film(found)}.")
    if left.targets:
        face.say(f"{_left(left)} to render" + (f", {gpu_time(gpu)}" if gpu else ""))


def markdown(title: str, found: Difference, ref: str, left: Left, gpu: Estimate | None) -> str:
    """Given a difference, return it as Markdown: a table of clips, and what the film comes to."""
    lines = [f"### {_plain(title)}: {_counts(found)} since `{_code(ref)}`", "", f"{_film(found)}.", ""]
    if found.clips:
        lines += ["| | clip | frames | why |", "|---|---|---|---|"]
        for each in found.clips:
            told = "<br>".join(_told(reason) for reason in each.reasons) or _plain(each.note or each.kind)
            lines.append(f"| {MARKS[each.kind][0]} | `{each.clip}` | {_frames(each).strip()} | {told} |")
        lines.append("")
    lines += [f"- {_plain(line)}" for line in found.shown]
    if left.targets:
        lines += ["", f"{_left(left)} to render" + (f", {gpu_time(gpu)}" if gpu else "") + "."]
    return "\n".join(lines).strip()


def _left(left: Left) -> str:
    """`3 clips, 2 more takes and 1 reference`"""
    return counted((left.clips, "clip"), (left.more_takes, "more take"), (left.references, "reference"))


def _counts(found: Difference) -> str:
    numbers = [(kind, sum(each.kind == kind for each in found.clips)) for kind in ("changed", "added", "removed")]
    told = ", ".join(f"{count(number, 'clip')} {kind}" for kind, number in numbers if number)
    return told or "no clip is another one"


def _film(found: Difference) -> str:
    old, new = duration(found.frames_before / found.fps), duration(found.frames / found.fps)
    seconds = f"Film {new}" if found.frames == found.frames_before else f"Film {old} → {new}"
    if found.clips_before == found.clips_now:
        return f"{seconds}, {count(found.clips_now, 'clip')}"
    return f"{seconds}, {found.clips_before} → {count(found.clips_now, 'clip')}"


def _frames(each: ClipDifference) -> str:
    before, now = each.frames_before, each.frames
    text = f"{before}f → {now}f" if before and now and before != now else f"{now or before}f"
    return text.rjust(5)


def _reason(face: Face, reason: Reason) -> str:
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.field}{detail}  {difference(face, reason)}"


def _told(reason: Reason) -> str:
    """`**prompt.camera** … ~~old~~ **new** …`"""
    detail = f" ({_plain(reason.detail)})" if reason.detail else ""
    head = f"`{_code(reason.field)}`{detail}:"
    if isinstance(reason.old, str) and isinstance(reason.new, str) and " " in f"{reason.old}{reason.new}":
        marks = {"=": "", "-": "~~", "+": "**"}
        runs = word_diff(reason.old, reason.new)
        return f"{head} " + " ".join(f"{marks[kind]}{_plain(text)}{marks[kind]}" for kind, text in runs)
    return f"{head} {_plain(show(reason.old))} → {_plain(show(reason.new))}"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line of a table."""
    return re.sub(r"([\\`*_~|<>\[\]#])", r"\\\1", " ".join(clean(text).split()))


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "/")
