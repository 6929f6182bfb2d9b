"""Print a plan, the difference between two revisions of a film, and what editing a file would re-render."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import Any

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.core.target import Target
from ltxflow.media.speech import MISSING, one_line
from ltxflow.plan.choices import assumed, upgrades
from ltxflow.plan.estimate import Estimate
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.plan.lengths import PendingLine
from ltxflow.plan.plan import Change, Kind, Plan
from ltxflow.plan.plan_diff import ClipDifference, FilmDifference
from ltxflow.plan.review import plain
from ltxflow.session.revision import RemainingWork, WhatIf
from ltxflow.ui.terminal import Console, clean, count, counted, duration

MARKS: dict[Kind, tuple[str, str]] = {
    "create": ("+", "green"),
    "change": ("~", "yellow"),
    "maybe": ("?", "yellow"),
    "restore": ("<", "cyan"),
    "unchanged": ("=", "dim"),
}
NAMED = 3  # clips, or lines of a narration, that are listed by name
QUOTED = 70  # characters of a line of narration
CONTEXT_WORDS = 4  # on either side of changed words


def header(plan: Plan) -> str:
    """Return title, profile, quality, size and frame rate in one line."""
    project = plan.project
    width, height = project.size
    name = "animatic" if plan.mode == "animatic" else ", ".join(plan.qualities)
    return (
        f"{' '.join(project.title.split())} · {project.profile.name} / {name} · {width}x{height} at {project.fps} fps"
    )


def print_plan(
    console: Console,
    plan: Plan,
    *,
    quiet: bool = False,
    verbose: bool = False,
    apply: str = "ltxflow build",
    gpu: Estimate | None = None,
) -> None:
    """Print marks and reasons, then totals; with `quiet`, only the totals."""
    if quiet:
        console.say(totals(console, plan, gpu))
        return
    console.say(console.paint(header(plan), "bold"))
    console.say()
    print_unspoken(console, plan)
    bad = plan.concerns
    shown = [change for change in plan.changes if verbose or plan.is_worth_a_line(change)]
    widths: dict[bool, int] = {}  # references have long names and no frames: a separate column
    for change in shown:
        widths[change.frames > 0] = max(widths.get(change.frames > 0, 0), len(name(change)))
    before: dict[str, Change] = {}  # by clip: further takes mostly change for the same reasons
    for change in shown:
        first = before.setdefault(change.clip, change)
        alike = name(first) if first is not change and first.reasons == change.reasons != () else ""
        print_change(console, change, widths[change.frames > 0], bad.get(change.target, ()), alike)
    kept = plan.count("unchanged") - sum(change.kind == "unchanged" for change in shown)
    if kept and not verbose:
        console.say(console.paint(f"  = {kept_in_words(plan, shown)} unchanged", "dim"))
    for orphan in plan.orphans:
        console.say(f"  {console.paint('-', 'red')} {orphan.file}  orphan, kept; remove it with: ltxflow clean --yes")
    for upgrade in upgrades(plan):
        stills = sum(Target(target).is_reference for target in upgrade.targets)
        numbers = ((len(upgrade.targets) - stills, "clip"), (stills, "reference"))
        again = f"{' and '.join(count(n, what) for n, what in numbers if n)} would be rendered again"
        again += f", and maybe {len(upgrade.waiting)} that depend on them" if upgrade.waiting else ""
        names = " ".join(Target(target).short for target in upgrade.targets)
        is_few = len(upgrade.targets) <= NAMED and not upgrade.waiting
        keep = f"ltxflow accept {names if is_few else '--all-upgrades'}"
        console.say(
            f"  {console.paint('!', 'yellow')} {upgrade.cause}: {again}; keep the existing results with: {keep}"
        )
    if chosen := assumed(plan):
        words = ", ".join(f"{role}: {precision}" for role, precision in chosen.items())
        console.say(f"  {console.paint('·', 'cyan')} assumes {words}; the first build chooses what its servers have")
    console.say()
    console.say(totals(console, plan, gpu))
    if not plan.is_all_done:
        console.say(f"Apply it: {console.paint(apply, 'bold')}")


def print_unspoken(console: Console, plan: Plan, known: Container[Key] = ()) -> None:
    """Print what will be spoken in every scene, without the known keys; list the lines of a partly new narration."""
    scenes: dict[str, list[PendingLine]] = {}
    for line in plan.unsaid:
        if line.key not in known:
            scenes.setdefault(line.scene, []).append(line)
    width = max(map(len, scenes), default=0)
    for scene, lines in scenes.items():
        written = len(plan.project.scene(scene).narration.speech.lines)
        number = count(written, "line") if len(lines) == written else f"{len(lines)} of {count(written, 'line')}"
        is_missing = plan.project.scene(scene).narration.speech.engine.kind == MISSING
        which = ", which is not configured" if is_missing else ""
        texts = [f"{number} will be spoken by {lines[0].engine}{which}"]
        if len(lines) < written:
            texts += [console.paint(f'"{one_line(line.text, QUOTED)}"', "green") for line in lines[:NAMED]]
            texts += [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
        console.say(f"  {console.paint('+', 'green', 'bold')} narration:{scene.ljust(width)}  {texts[0]}")
        for text in texts[1:]:
            console.say(f"{' ' * (width + len('  + narration:  '))}{text}")


def kept_in_words(plan: Plan, shown: Sequence[Change]) -> str:
    """Count what is unchanged and not shown: `3 clips, 1 reference`."""
    named = {change.target for change in shown}
    kept = [change for change in plan.of_kind("unchanged") if change.target not in named]
    references = sum(Target(change.target).is_reference for change in kept)
    takes, stills = plan.in_rows
    numbers = [(len(kept) - references + takes, "clip"), (references + stills, "reference")]
    return ", ".join(count(number, what) for number, what in numbers if number)


def name(change: Change) -> str:
    """Return `hook/b`, `hook/b@2` or `reference:hero`."""
    target = Target(change.target)
    path = target.lock_entry if target.is_reference else change.clip
    return path if target.take == 1 else f"{path}@{target.take}"


def print_change(console: Console, change: Change, width: int, bad: Sequence[Problem] = (), alike: str = "") -> None:
    """Print a change with its reasons, or the take with the same ones (`alike`), and what checks found."""
    needs_review = change.kind == "unchanged" and (change.note or bad)
    mark, style = MARKS[change.kind] if not needs_review else ("!", "yellow")
    frames = f"  {f'{change.frames}f':>5}" if change.frames else ""
    head = f"  {console.paint(mark, style, 'bold')} {name(change).ljust(width)}{frames}"
    lines = [f"as {alike}"] if alike else [_reason(console, reason) for reason in change.reasons]
    if change.note and (not lines or change.kind in ("unchanged", "restore")):
        lines.insert(0, change.note)
    if change.length and not alike and lines == [change.note]:
        lines = [f"{change.note}; {change.length}"]
    elif change.length and not alike:
        lines.append(change.length)
    lines += [f"{plain(problem)}  {console.paint(problem.code, 'dim')}" for problem in bad]
    lines = lines or [""]
    console.say(f"{head}  {lines[0]}".rstrip())
    for line in lines[1:]:
        console.say(f"{' ' * (width + 5 + len(frames))}{line}")


def _reason(console: Console, reason: Reason) -> str:
    place = console.paint(f"  {reason.span.file}:{reason.span.line}", "dim") if reason.span else ""
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.field}{detail}  {difference(console, reason)}{place}"


def difference(console: Console, reason: Reason) -> str:
    """Return old → new; for texts that share words, a word diff with a little context."""
    if isinstance(reason.old, str) and isinstance(reason.new, str) and " " in f"{reason.old}{reason.new}":
        runs = word_diff(reason.old, reason.new)
        if any(kind == "=" for kind, _ in runs):
            return " ".join(_run(console, *run) for run in _near(runs))
    return f"{console.paint(show(reason.old), 'red')} → {console.paint(show(reason.new), 'green')}"


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


def _run(console: Console, kind: str, text: str) -> str:
    if kind == "=":
        return text
    if console.has_color:
        return console.paint(text, "struck") if kind == "-" else console.paint(text, "green")
    return f"[-{text}-]" if kind == "-" else f"{{+{text}+}}"


def totals(console: Console, plan: Plan, gpu: Estimate | None = None) -> str:
    """Return the counts of a plan, the length of the film, and the GPU time in a second line."""
    numbers = [
        (plan.count("create"), "to create"),
        (plan.count("change"), "to change"),
        (plan.count("maybe"), "maybe"),
        (plan.count("restore"), "to restore"),
        (len(plan.unsaid), f"{'line' if len(plan.unsaid) == 1 else 'lines'} to speak"),
        (plan.count("unchanged"), "unchanged"),
        (len(plan.orphans), "orphan" if len(plan.orphans) == 1 else "orphans"),
    ]
    counts = ", ".join(f"{number} {what}" for number, what in numbers if number) or "nothing to do"
    seconds = plan.film_frames / plan.project.fps
    line = f"Plan: {counts}.  Film {duration(seconds)} ({plan.film_frames} frames)."
    return f"{line}\n{gpu_time(gpu)}" if gpu else line


def gpu_time(estimate: Estimate) -> str:
    """Return `≈ 6m 10s on 2 servers (11m 40s GPU time; rough, from 4 earlier renders)`."""
    servers = f" on {count(estimate.servers, 'server')}" if estimate.servers else " of GPU time"
    both = f"{rough(estimate.gpu_s)} GPU time; " if estimate.servers > 1 else ""
    return f"≈ {rough(estimate.wall_s)}{servers} ({both}{estimate.sureness})"


def rough(seconds: float) -> str:
    """Return seconds as an estimate: `45s`, `6m 10s`, `1h 05m`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def plan_json(plan: Plan, moves: Sequence[tuple[str, str]] = (), gpu: Estimate | None = None) -> dict[str, Any]:
    """Return the plan as JSON data: the changes and reasons that `print_plan` prints."""
    project = plan.project
    return {
        "project": project.id,
        "mode": plan.mode,
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
                "checks": plan.verdicts[change.target].as_json() if change.target in plan.verdicts else None,
            }
            for change in plan.changes
        ],
        "unsaid": [asdict(line) for line in plan.unsaid],
        "orphans": [orphan.file for orphan in plan.orphans],
        "suggestions": [{"moved": {"from": old, "to": new}} for old, new in moves],
        "estimate": None if gpu is None else {**asdict(gpu), "sureness": gpu.sureness},
        "assumed": assumed(plan),
        "upgrades": [upgrade.as_json() for upgrade in upgrades(plan)],
        "totals": {kind: len(plan.of_kind(kind)) for kind in MARKS}
        | {"unsaid": len(plan.unsaid), "orphan": len(plan.orphans)},
        "film": {
            "frames": plan.film_frames,
            "seconds": plan.film_frames / project.fps,
            "scenes": {
                id: {"frames": list(cut.frames), "trims": list(cut.trims), "need": cut.need, "covered": cut.covered}
                for id, cut in plan.cuts.items()
            },
        },
    }


DIFF_MARKS = {"added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red")}


def print_difference(
    console: Console, found: FilmDifference, ref: str, left: RemainingWork, gpu: Estimate | None
) -> None:
    """Print each changed clip with its reasons, changes that need no render, and the length of the film."""
    width = max((len(each.clip) for each in found.clips), default=0)
    for each in found.clips:
        mark, style = DIFF_MARKS[each.kind]
        lines = [_diff_reason(console, reason) for reason in each.reasons] or [each.note or each.kind]
        console.say(f"  {console.paint(mark, style, 'bold')} {each.clip.ljust(width)}  {_frames(each)}  {lines[0]}")
        for line in lines[1:]:
            console.say(f"{' ' * (width + 6 + len(_frames(each)))}{line}")
    for line in found.shown:
        console.say(console.paint(f"  · {clean(line)}", "dim"))
    if found.clips or found.shown:
        console.say()
    console.say(f"Since {ref}: {_counts(found)}.  {_film(found)}.")
    if left.targets:
        console.say(f"{_left(left)} to render" + (f", {gpu_time(gpu)}" if gpu else ""))


def markdown(title: str, found: FilmDifference, ref: str, left: RemainingWork, gpu: Estimate | None) -> str:
    """Return a difference as Markdown: a table of clips, and the length of the film."""
    lines = [f"### {_plain(title)}: {_counts(found)} since `{_code(ref)}`", "", f"{_film(found)}.", ""]
    if found.clips:
        lines += ["| | clip | frames | why |", "|---|---|---|---|"]
        for each in found.clips:
            why = "<br>".join(_markdown_reason(reason) for reason in each.reasons) or _plain(each.note or each.kind)
            lines.append(f"| {DIFF_MARKS[each.kind][0]} | `{each.clip}` | {_frames(each).strip()} | {why} |")
        lines.append("")
    lines += [f"- {_plain(line)}" for line in found.shown]
    if left.targets:
        lines += ["", f"{_left(left)} to render" + (f", {gpu_time(gpu)}" if gpu else "") + "."]
    return "\n".join(lines).strip()


def _left(left: RemainingWork) -> str:
    """Return `3 clips, 2 more takes and 1 reference`."""
    return counted((left.clips, "clip"), (left.more_takes, "more take"), (left.references, "reference"))


def _counts(found: FilmDifference) -> str:
    numbers = [(kind, sum(each.kind == kind for each in found.clips)) for kind in ("changed", "added", "removed")]
    counts = ", ".join(f"{count(number, 'clip')} {kind}" for kind, number in numbers if number)
    return counts or "no clips changed"


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


def _diff_reason(console: Console, reason: Reason) -> str:
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.field}{detail}  {difference(console, reason)}"


def _markdown_reason(reason: Reason) -> str:
    """Return `**prompt.camera** … ~~old~~ **new** …`."""
    detail = f" ({_plain(reason.detail)})" if reason.detail else ""
    head = f"`{_code(reason.field)}`{detail}:"
    if isinstance(reason.old, str) and isinstance(reason.new, str) and " " in f"{reason.old}{reason.new}":
        marks = {"=": "", "-": "~~", "+": "**"}
        runs = word_diff(reason.old, reason.new)
        return f"{head} " + " ".join(f"{marks[kind]}{_plain(text)}{marks[kind]}" for kind, text in runs)
    return f"{head} {_plain(show(reason.old))} → {_plain(show(reason.new))}"


def _plain(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return re.sub(r"([\\`*_~|<>\[\]#])", r"\\\1", " ".join(clean(text).split()))


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "/")


def print_what_if(console: Console, plan: Plan, found: Sequence[WhatIf]) -> None:
    """Print for each file what editing it would re-render."""
    rows = {target: plan.plan.nodes[target].frames for each in found for target in (*each.again, *each.maybe)}
    clips = max((len(Target(target).short) for target, frames in rows.items() if frames), default=0)
    stills = max((len(Target(target).short) for target, frames in rows.items() if not frames), default=0)
    names = {  # references have long names and no frames: a separate column
        target: f"{Target(target).short.ljust(clips)}  {f'{frames}f':>5}"
        if frames
        else Target(target).short.ljust(stills)
        for target, frames in rows.items()
    }
    for each in found:
        console.say(console.paint(f"if {each.file} were edited:", "bold"))
        for target in each.again:
            console.say(f"  {console.paint('~', 'yellow', 'bold')} {names[target]}  would be rendered again")
        for target, why in each.maybe.items():
            console.say(f"  {console.paint('?', 'yellow', 'bold')} {names[target]}  {why}")
        _say_kept(console, plan, each)


def _say_kept(console: Console, plan: Plan, each: WhatIf) -> None:
    kept = {*plan.plan.wanted} - {*each.again, *each.maybe}
    stills = sum(Target(target).is_reference for target in kept)
    if kept:
        numbers = ((len(kept) - stills, "clip"), (stills, "reference"))
        counts = ", ".join(count(number, what) for number, what in numbers if number)
        console.say(console.paint(f"  = {counts} unchanged", "dim"))
