"""A plan for people: what is made, changed, restored or kept, why, and what the film comes to.

What became of a film between two revisions, for a terminal and for a pull request.

What an edit of a file would come to, for people: what is made again, what may be, and how much stays.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import Any

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.media.speech import MISSING, one_line
from ltxflow.plan.choices import assumed
from ltxflow.plan.estimate import Estimate
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.plan.lengths import PendingLine
from ltxflow.plan.plan import Change, Kind, Plan
from ltxflow.plan.plan_diff import ClipDifference, FilmDifference
from ltxflow.plan.review import plain
from ltxflow.plan.upgrades import upgrades
from ltxflow.session.revision import RemainingWork
from ltxflow.session.what_if import WhatIf
from ltxflow.ui.progress import short
from ltxflow.ui.terminal import Console, clean, count, counted, duration

MARKS: dict[Kind, tuple[str, str]] = {
    "create": ("+", "green"),
    "change": ("~", "yellow"),
    "maybe": ("?", "yellow"),
    "restore": ("<", "cyan"),
    "unchanged": ("=", "dim"),
}
NAMED = 3  # clips, or lines of a narration, that are named one by one
QUOTED = 70  # characters of a line that is to be spoken
CONTEXT_WORDS = 4  # kept on either side of a changed run of words


def header(outlook: Plan) -> str:
    project = outlook.project
    width, height = project.size
    name = "animatic" if outlook.mode == "animatic" else ", ".join(outlook.qualities)
    return (
        f"{' '.join(project.title.split())} · {project.profile.name} / {name} · {width}x{height} at {project.fps} fps"
    )


def print_plan(
    face: Console,
    outlook: Plan,
    *,
    quiet: bool = False,
    verbose: bool = False,
    apply: str = "ltxflow build",
    gpu: Estimate | None = None,
) -> None:
    """Print the plan as terraform would: marks, reasons, then totals; `quiet` for the totals alone."""
    if quiet:
        face.say(totals(face, outlook, gpu))
        return
    face.say(face.paint(header(outlook), "bold"))
    face.say()
    print_unsaid(face, outlook)
    bad = outlook.concerns
    shown = [change for change in outlook.changes if verbose or outlook.is_worth_a_line(change)]
    widths: dict[bool, int] = {}  # stills have long names and no frames: a column of their own
    for change in shown:
        widths[change.frames > 0] = max(widths.get(change.frames > 0, 0), len(name(change)))
    before: dict[str, Change] = {}  # by clip: its further takes mostly change for the reasons of the first
    for change in shown:
        first = before.setdefault(change.clip, change)
        alike = name(first) if first is not change and first.reasons == change.reasons != () else ""
        print_change(face, change, widths[change.frames > 0], bad.get(change.target, ()), alike)
    kept = outlook.count("unchanged") - sum(change.kind == "unchanged" for change in shown)
    if kept and not verbose:
        face.say(face.paint(f"  = {kept_in_words(outlook, shown)} unchanged", "dim"))
    for orphan in outlook.orphans:
        face.say(f"  {face.paint('-', 'red')} {orphan.file}  orphan: kept; remove it with: ltxflow clean --yes")
    for upgrade in upgrades(outlook):
        stills = sum(target.startswith("reference:") for target in upgrade.targets)
        numbers = ((len(upgrade.targets) - stills, "clip"), (stills, "reference"))
        again = f"{' and '.join(count(n, what) for n, what in numbers if n)} would be rendered again"
        again += f", and {len(upgrade.waiting)} that wait for them, perhaps" if upgrade.waiting else ""
        names = " ".join(target.removeprefix("clip:").removesuffix("@1") for target in upgrade.targets)
        is_few = len(upgrade.targets) <= NAMED and not upgrade.waiting
        keep = f"ltxflow accept {names if is_few else '--all-upgrades'}"
        face.say(f"  {face.paint('!', 'yellow')} {upgrade.cause}: {again}; keep what there is with: {keep}")
    if chosen := assumed(outlook):
        words = ", ".join(f"{role}: {precision}" for role, precision in chosen.items())
        face.say(f"  {face.paint('·', 'cyan')} assumes {words}; the first build chooses by what its servers have")
    face.say()
    face.say(totals(face, outlook, gpu))
    if not outlook.is_all_done:
        face.say(f"Apply it: {face.paint(apply, 'bold')}")


def print_unsaid(face: Console, outlook: Plan, known: Container[Key] = ()) -> None:
    """Print for every scene what will be spoken, but for what is known; of a narration that stays, which lines."""
    scenes: dict[str, list[PendingLine]] = {}
    for line in outlook.unsaid:
        if line.key not in known:
            scenes.setdefault(line.scene, []).append(line)
    width = max(map(len, scenes), default=0)
    for scene, lines in scenes.items():
        written = len(outlook.project.scene(scene).narration.speech.lines)
        number = count(written, "line") if len(lines) == written else f"{len(lines)} of {count(written, 'line')}"
        is_missing = outlook.project.scene(scene).narration.speech.engine.kind == MISSING
        which = ", which is not among your engines" if is_missing else ""
        told = [f"{number} will be spoken by {lines[0].engine}{which}"]
        if len(lines) < written:
            told += [face.paint(f'"{one_line(line.text, QUOTED)}"', "green") for line in lines[:NAMED]]
            told += [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
        face.say(f"  {face.paint('+', 'green', 'bold')} narration:{scene.ljust(width)}  {told[0]}")
        for text in told[1:]:
            face.say(f"{' ' * (width + len('  + narration:  '))}{text}")


def kept_in_words(outlook: Plan, shown: Sequence[Change]) -> str:
    """`3 clips, 1 reference`: what is unchanged and not shown."""
    named = {change.target for change in shown}
    kept = [change for change in outlook.of_kind("unchanged") if change.target not in named]
    references = sum(change.target.startswith("reference:") for change in kept)
    takes, stills = outlook.in_rows
    told = [(len(kept) - references + takes, "clip"), (references + stills, "reference")]
    return ", ".join(count(number, what) for number, what in told if number)


def name(change: Change) -> str:
    path, _, take = change.target.rpartition("@")
    named = path if path.startswith("reference:") else change.clip
    return named if take == "1" else f"{named}@{take}"


def print_change(face: Console, change: Change, width: int, bad: Sequence[Problem] = (), alike: str = "") -> None:
    """Print a change with its reasons, or the take whose reasons are `alike`, and what is bad about what is there."""
    is_worth_a_look = change.kind == "unchanged" and (change.note or bad)
    mark, style = MARKS[change.kind] if not is_worth_a_look else ("!", "yellow")
    frames = f"  {f'{change.frames}f':>5}" if change.frames else ""
    head = f"  {face.paint(mark, style, 'bold')} {name(change).ljust(width)}{frames}"
    told = [f"as {alike}"] if alike else [_reason(face, reason) for reason in change.reasons]
    if change.note and (not told or change.kind in ("unchanged", "restore")):
        told.insert(0, change.note)
    if change.length and not alike and told == [change.note]:
        told = [f"{change.note}; {change.length}"]
    elif change.length and not alike:
        told.append(change.length)
    told += [f"{plain(problem)}  {face.paint(problem.code, 'dim')}" for problem in bad]
    told = told or [""]
    face.say(f"{head}  {told[0]}".rstrip())
    for line in told[1:]:
        face.say(f"{' ' * (width + 5 + len(frames))}{line}")


def _reason(face: Console, reason: Reason) -> str:
    place = face.paint(f"  {reason.span.file}:{reason.span.line}", "dim") if reason.span else ""
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.field}{detail}  {difference(face, reason)}{place}"


def difference(face: Console, reason: Reason) -> str:
    """Old → new; texts that share words as a diff of these, with a little of what surrounds each change."""
    if isinstance(reason.old, str) and isinstance(reason.new, str) and " " in f"{reason.old}{reason.new}":
        runs = word_diff(reason.old, reason.new)
        if any(kind == "=" for kind, _ in runs):
            return " ".join(_run(face, *run) for run in _near(runs))
    return f"{face.paint(show(reason.old), 'red')} → {face.paint(show(reason.new), 'green')}"


def _near(runs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    short = []
    for index, (kind, text) in enumerate(runs):
        words = text.split()
        if kind == "=" and len(words) > 2 * CONTEXT_WORDS:
            head = words[:CONTEXT_WORDS] if index else []
            tail = words[-CONTEXT_WORDS:] if index < len(runs) - 1 else []
            text = " ".join([*head, "…", *tail])
        short.append((kind, text))
    return short


def _run(face: Console, kind: str, text: str) -> str:
    if kind == "=":
        return text
    if face.has_color:
        return face.paint(text, "struck") if kind == "-" else face.paint(text, "green")
    return f"[-{text}-]" if kind == "-" else f"{{+{text}+}}"


def totals(face: Console, outlook: Plan, gpu: Estimate | None = None) -> str:
    numbers = [
        (outlook.count("create"), "to create"),
        (outlook.count("change"), "to change"),
        (outlook.count("maybe"), "maybe"),
        (outlook.count("restore"), "to restore"),
        (len(outlook.unsaid), f"{'line' if len(outlook.unsaid) == 1 else 'lines'} to speak"),
        (outlook.count("unchanged"), "unchanged"),
        (len(outlook.orphans), "orphan" if len(outlook.orphans) == 1 else "orphans"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in numbers if number) or "nothing to do"
    seconds = outlook.film_frames / outlook.project.fps
    line = f"Plan: {told}.  Film {duration(seconds)} ({outlook.film_frames} frames)."
    return f"{line}\n{gpu_time(gpu)}" if gpu else line


def gpu_time(estimate: Estimate) -> str:
    """`≈ 6m 10s on 2 servers (11m 40s GPU time; rough, from 4 earlier renders)`"""
    servers = f" on {count(estimate.servers, 'server')}" if estimate.servers else " of GPU time"
    both = f"{rough(estimate.gpu_s)} GPU time; " if estimate.servers > 1 else ""
    return f"≈ {rough(estimate.wall_s)}{servers} ({both}{estimate.sureness})"


def rough(seconds: float) -> str:
    """Given seconds, return them as a guess is told: `45s`, `6m 10s`, `1h 05m`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def plan_json(outlook: Plan, moves: Sequence[tuple[str, str]] = (), gpu: Estimate | None = None) -> dict[str, Any]:
    """The plan as data: the same changes and reasons that people see."""
    project = outlook.project
    return {
        "project": project.id,
        "mode": outlook.mode,
        "profile": project.profile.name,
        "size": list(project.size),
        "fps": project.fps,
        "changes": [
            {
                "target": change.target,
                "kind": change.kind,
                "frames": change.frames,
                "file": change.file or None,
                "key": change.key,
                "note": change.note,
                "length": change.length or None,
                "reasons": [reason.as_json() for reason in change.reasons],
                "checks": outlook.verdicts[change.target].as_json() if change.target in outlook.verdicts else None,
            }
            for change in outlook.changes
        ],
        "unsaid": [asdict(line) for line in outlook.unsaid],
        "orphans": [orphan.file for orphan in outlook.orphans],
        "suggestions": [{"moved": {"from": old, "to": new}} for old, new in moves],
        "estimate": None if gpu is None else {**asdict(gpu), "sureness": gpu.sureness},
        "assumed": assumed(outlook),
        "upgrades": [upgrade.as_json() for upgrade in upgrades(outlook)],
        "totals": {kind: len(outlook.of_kind(kind)) for kind in MARKS}
        | {"unsaid": len(outlook.unsaid), "orphan": len(outlook.orphans)},
        "film": {
            "frames": outlook.film_frames,
            "seconds": outlook.film_frames / project.fps,
            "scenes": {
                id: {"frames": list(cut.frames), "trims": list(cut.trims), "need": cut.need, "covered": cut.covered}
                for id, cut in outlook.cuts.items()
            },
        },
    }


DIFFVIEW_MARKS = {"added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red")}


def print_difference(face: Console, found: FilmDifference, ref: str, left: RemainingWork, gpu: Estimate | None) -> None:
    """Print a line a clip with its reasons, what costs no render, and what the film comes to."""
    width = max((len(each.clip) for each in found.clips), default=0)
    for each in found.clips:
        mark, style = DIFFVIEW_MARKS[each.kind]
        told = [_diffview_reason(face, reason) for reason in each.reasons] or [each.note or each.kind]
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


def markdown(title: str, found: FilmDifference, ref: str, left: RemainingWork, gpu: Estimate | None) -> str:
    """Given a difference, return it as Markdown: a table of clips, and what the film comes to."""
    lines = [f"### {_plain(title)}: {_counts(found)} since `{_code(ref)}`", "", f"{_film(found)}.", ""]
    if found.clips:
        lines += ["| | clip | frames | why |", "|---|---|---|---|"]
        for each in found.clips:
            told = "<br>".join(_told(reason) for reason in each.reasons) or _plain(each.note or each.kind)
            lines.append(f"| {DIFFVIEW_MARKS[each.kind][0]} | `{each.clip}` | {_frames(each).strip()} | {told} |")
        lines.append("")
    lines += [f"- {_plain(line)}" for line in found.shown]
    if left.targets:
        lines += ["", f"{_left(left)} to render" + (f", {gpu_time(gpu)}" if gpu else "") + "."]
    return "\n".join(lines).strip()


def _left(left: RemainingWork) -> str:
    """`3 clips, 2 more takes and 1 reference`"""
    return counted((left.clips, "clip"), (left.more_takes, "more take"), (left.references, "reference"))


def _counts(found: FilmDifference) -> str:
    numbers = [(kind, sum(each.kind == kind for each in found.clips)) for kind in ("changed", "added", "removed")]
    told = ", ".join(f"{count(number, 'clip')} {kind}" for kind, number in numbers if number)
    return told or "no clip is another one"


def _film(found: FilmDifference) -> str:
    old, new = duration(found.frames_before / found.fps), duration(found.frames / found.fps)
    seconds = f"Film {new}" if found.frames == found.frames_before else f"Film {old} → {new}"
    if found.clips_before == found.clips_now:
        return f"{seconds}, {count(found.clips_now, 'clip')}"
    return f"{seconds}, {found.clips_before} → {count(found.clips_now, 'clip')}"


def _frames(each: ClipDifference) -> str:
    before, now = each.frames_before, each.frames
    text = f"{before}f → {now}f" if before and now and before != now else f"{now or before}f"
    return text.rjust(5)


def _diffview_reason(face: Console, reason: Reason) -> str:
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


def print_what_if(face: Console, outlook: Plan, found: Sequence[WhatIf]) -> None:
    """Print for each file what its edit would come to, all of them in the same columns."""
    rows = {target: outlook.plan.nodes[target].frames for each in found for target in (*each.again, *each.maybe)}
    clips = max((len(short(target)) for target, frames in rows.items() if frames), default=0)
    stills = max((len(short(target)) for target, frames in rows.items() if not frames), default=0)
    told = {  # stills have long names and no frames: a column of their own
        target: f"{short(target).ljust(clips)}  {f'{frames}f':>5}" if frames else short(target).ljust(stills)
        for target, frames in rows.items()
    }
    for each in found:
        face.say(face.paint(f"if {each.file} were edited:", "bold"))
        for target in each.again:
            face.say(f"  {face.paint('~', 'yellow', 'bold')} {told[target]}  would be made again")
        for target, why in each.maybe.items():
            face.say(f"  {face.paint('?', 'yellow', 'bold')} {told[target]}  {why}")
        _say_kept(face, outlook, each)


def _say_kept(face: Console, outlook: Plan, each: WhatIf) -> None:
    kept = {*outlook.plan.wanted} - {*each.again, *each.maybe}
    stills = sum(target.startswith("reference:") for target in kept)
    if kept:
        numbers = ((len(kept) - stills, "clip"), (stills, "reference"))
        told = ", ".join(count(number, what) for number, what in numbers if number)
        face.say(face.paint(f"  = {told} unchanged", "dim"))
