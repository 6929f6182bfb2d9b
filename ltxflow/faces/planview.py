"""A plan for people: what is made, changed, restored or kept, why, and what the film comes to."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import Any

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.faces.terminal import Face, count, duration
from ltxflow.media.engines import MISSING, one_line
from ltxflow.plan.choices import assumed
from ltxflow.plan.estimate import Estimate
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.plan.outlook import Change, Kind, Outlook
from ltxflow.plan.review import plain
from ltxflow.plan.speech import Unsaid
from ltxflow.plan.upgrades import upgrades

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


def header(outlook: Outlook) -> str:
    project = outlook.project
    width, height = project.size
    name = "animatic" if outlook.mode == "animatic" else ", ".join(outlook.qualities)
    return (
        f"{' '.join(project.title.split())} · {project.profile.name} / {name} · {width}x{height} at {project.fps} fps"
    )


def print_plan(
    face: Face,
    outlook: Outlook,
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


def print_unsaid(face: Face, outlook: Outlook, known: Container[Key] = ()) -> None:
    """Print for every scene what will be spoken, but for what is known; of a narration that stays, which lines."""
    scenes: dict[str, list[Unsaid]] = {}
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


def kept_in_words(outlook: Outlook, shown: Sequence[Change]) -> str:
    """`3 clips, 1 reference`: what is unchanged and not shown."""
    named = {change.target for change in shown}
    kept = [change for change in outlook.of_kind("unchanged") if change.target not in named]
    references = sum(change.target.startswith("reference:") for change in kept)
    clips, rest = len(kept) - references, outlook.rest
    told = [(clips + rest.kept, "clip"), (references + rest.references, "reference")]
    return ", ".join(count(number, what) for number, what in told if number)


def name(change: Change) -> str:
    path, _, take = change.target.rpartition("@")
    named = path if path.startswith("reference:") else change.clip
    return named if take == "1" else f"{named}@{take}"


def print_change(face: Face, change: Change, width: int, bad: Sequence[Problem] = (), alike: str = "") -> None:
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


def _reason(face: Face, reason: Reason) -> str:
    place = face.paint(f"  {reason.span.file}:{reason.span.line}", "dim") if reason.span else ""
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.field}{detail}  {difference(face, reason)}{place}"


def difference(face: Face, reason: Reason) -> str:
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


def _run(face: Face, kind: str, text: str) -> str:
    if kind == "=":
        return text
    if face.has_color:
        return face.paint(text, "struck") if kind == "-" else face.paint(text, "green")
    return f"[-{text}-]" if kind == "-" else f"{{+{text}+}}"


def totals(face: Face, outlook: Outlook, gpu: Estimate | None = None) -> str:
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


def plan_json(outlook: Outlook, moves: Sequence[tuple[str, str]] = (), gpu: Estimate | None = None) -> dict[str, Any]:
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
