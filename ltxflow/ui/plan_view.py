"""Print a plan, the difference between two revisions of a film, and what editing a file would re-render."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.core.target import Tally, Target
from ltxflow.media.speech import MISSING, one_line
from ltxflow.plan.choices import assumed, keeps_other_seeds, upgrades
from ltxflow.plan.estimate import Estimate, rough
from ltxflow.plan.explain import Reason, cause_of, show, word_diff
from ltxflow.plan.lengths import PendingLine
from ltxflow.plan.plan import Change, Kind, Plan
from ltxflow.plan.renditions import State, counts
from ltxflow.plan.review import plain
from ltxflow.ui.terminal import Console, clean, count, duration

if TYPE_CHECKING:  # most commands show no difference between revisions, and ask no server
    from ltxflow.build.approval import Answering
    from ltxflow.plan.plan_diff import ClipDifference, FilmDifference
    from ltxflow.session.revision import RemainingWork, WhatIf
    from ltxflow.session.session import Session

MARKS: dict[Kind, tuple[str, str]] = {
    "create": ("+", "green"),
    "change": ("~", "yellow"),
    "maybe": ("?", "yellow"),
    "restore": ("<", "cyan"),
    "unchanged": ("=", "dim"),
}
NAMED = 3  # clips, or lines of a narration, that are listed by name
DUE: dict[Kind, str] = {"create": "to create", "change": "to change", "maybe": "maybe", "restore": "to restore"}
REACHED = 40  # clips that one cause reaches, by name
IN_STORE = "in the store"
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
    apply: str = "Apply it: ltxflow build",
    gpu: Estimate | None = None,
    hints: Sequence[str] = (),
) -> None:
    """Print marks and reasons, hints, totals, and what to do (`apply`); with `quiet`, only the totals."""
    if quiet:
        for line in totals(console, plan, gpu).split("\n"):
            console.say(line)
        return
    console.say(console.paint(header(plan), "bold"))
    console.say()
    print_unspoken(console, plan)
    shown = [change for change in plan.changes if verbose or plan.is_worth_a_line(change)]
    print_changes(console, shown, plan.heads, plan.concerns, verbose=verbose)
    rest = {change.target for change in shown}
    kept = Tally.of((c.target for c in plan.of_kind("unchanged") if c.target not in rest), plan.heads) + plan.in_rows
    if kept and not verbose:
        console.say(console.paint(f"  = {kept} unchanged", "dim"))
    for orphan in plan.orphans:
        console.say(f"  {console.paint('-', 'red')} {orphan.file}  orphan, kept; remove it with: ltxflow clean --yes")
    for upgrade in upgrades(plan):
        again = f"{Tally.of(upgrade.targets, plan.heads)} would be rendered again"
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
    for hint in hints:
        console.say(hint)
    console.say()
    lines = totals(console, plan, gpu).split("\n")
    rejected = rejected_clips(plan)
    if rejected or not {"draft", "stale", "slate"}.isdisjoint(plan.states.values()):  # else the totals say it all
        lines.append(f"Now: {states_in_words(plan.states, rejected)}.")
    for line in lines if plan.is_all_done else [*lines, *apply.split("\n")]:
        console.say(line)


def seed_line(console: Console, session: Session) -> list[str]:
    """Return a line where the film's seed was changed: that renders nothing again."""
    seed = session.project.seed
    if not keeps_other_seeds(seed, session.lock, session.trace_of):
        return []
    kept = "is for new takes; rendered ones keep the seeds they were made with"
    return [f"  {console.paint('·', 'cyan')} seed: {seed} {kept} (another take: ltxflow retake CLIP)"]


def apply_line(console: Console, servers: Answering | None, command: str, slates: str = "", unwritten: int = 0) -> str:
    """Return what to do about a plan: the command that builds it, or what that needs first.

    `slates` is the command that needs no server, if there is one; `unwritten` is the number of prompts to be written.
    """
    command, slates = console.paint(command, "bold"), console.paint(slates, "bold")
    if unwritten:
        first = console.paint(f"Needs {count(unwritten, 'prompt')} to be written", "yellow")
        return f"{first}; then: {command}" + (f"\n  → without them, draw slates: {slates}" if slates else "")
    if servers is None:
        return f"Apply it: {command}"
    silent = ", ".join(url.partition("://")[2] for url in servers.silent)
    if servers.up:
        note = f"  {console.paint('!', 'yellow')} no answer from {silent}\n" if silent else ""
        return f"{note}Apply it: {command}"
    reason = servers.problem.message if servers.problem else f"none answers (tried {silent})"
    hint = servers.problem.hint if servers.problem else "start ComfyUI there, or name another server with --server"
    lines = [console.paint(f"Needs a server: {reason}", "yellow"), f"  → {hint}; then: {command}"]
    lines += [f"  → without a server, draw slates: {slates}"] if slates else []
    return "\n".join(lines)


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


STATE_WORDS: Mapping[State, tuple[str, str]] = {
    "draft": ("draft", "drafts"),
    "stale": ("stale", "stale"),
    "slate": ("slate", "slates"),
    "missing": ("not made", "not made"),
}


def states_in_words(states: Mapping[str, State], rejected: Sequence[str] = (), *, has_names: bool = True) -> str:
    """Return `7 of 10 clips current, 2 drafts (hook/a, hook/b), 1 stale (end/a)`.

    `states` are those of the clips by path, `rejected` the paths of clips whose take in the cut is rejected. Slates and
    clips that are not made are named only where they are few beside others.
    """
    found = counts(states.values())
    parts = [f"{found.get('final', 0)} of {count(len(states), 'clip')} current"]
    for state, words in STATE_WORDS.items():
        paths = [path for path, each in states.items() if each == state]
        if paths:
            is_few = state in ("draft", "stale") or len(paths) < len(states)
            names = f" ({_names(paths)})" if has_names and is_few else ""
            parts.append(f"{len(paths)} {words[len(paths) > 1]}{names}")
    if rejected:
        parts.append(f"{len(rejected)} rejected{f' ({_names(rejected)})' if has_names else ''}")
    return ", ".join(parts)


def _names(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{', '.join(paths[:NAMED])}{more}"


def rejected_clips(plan: Plan) -> list[str]:
    """Return the paths of the clips whose take in the cut a person rejected."""
    entries = plan.lock.entries
    return [path for path in plan.states if path in entries and entries[path].status == "rejected"]


def name(change: Change) -> str:
    """Return `hook/b`, `hook/b@2` or `reference:hero`; take 1 as `hook/b@1` where another is in the cut."""
    target = Target(change.target)
    path = target.lock_entry if target.is_reference else change.clip
    return path if target.take == 1 and not change.is_spare else f"{path}@{target.take}"


def print_changes(
    console: Console,
    changes: Sequence[Change],
    heads: Collection[str],
    bad: Mapping[str, Sequence[Problem]] = MappingProxyType({}),
    *,
    verbose: bool = False,
) -> None:
    """Print changes with their reasons, and what checks found (`bad`).

    An edit or a note that reaches several clips is printed once, with the clips; with `verbose`, for each of them.
    """
    shared = {} if verbose else _shared(changes, bad)
    rows = [change for change in changes if change.target in bad or not _is_covered(change, shared)]
    widths: dict[bool, int] = {}  # references have long names and no frames: a separate column
    for change in rows:
        widths[change.frames > 0] = max(widths.get(change.frames > 0, 0), len(name(change)))
    targets = {change.target for change in rows}
    before: dict[str, Change] = {}  # by clip: further takes mostly change for the same reasons
    printed: set[str] = set()
    for change in changes:
        for cause, what in _causes(change):
            if cause in shared and cause not in printed:
                printed.add(cause)
                mark, style = MARKS[change.kind]
                line = _reason(console, what) if isinstance(what, Reason) else what
                console.say(f"  {console.paint(mark, style, 'bold')} {line}")
                console.say(f"      {reached(shared[cause], heads)}")
        if change.target in targets:
            first = before.setdefault(change.clip, change)
            alike = name(first) if first is not change and first.reasons == change.reasons != () else ""
            print_change(console, change, widths[change.frames > 0], bad.get(change.target, ()), alike, printed)


def _shared(changes: Sequence[Change], bad: Container[str]) -> dict[str, list[str]]:
    """Return the targets that each cause reaches, where these are several clips or references."""
    found: dict[str, list[Target]] = {}
    for change in changes:
        for cause, _ in _causes(change) if change.target not in bad else ():
            found.setdefault(cause, []).append(Target(change.target))
    several = {cause: targets for cause, targets in found.items() if len({t.lock_entry for t in targets}) > 1}
    return {cause: list(targets) for cause, targets in several.items()}


def _causes(change: Change) -> Iterator[tuple[str, Reason | str]]:
    """Yield what a change may have in common with others: each edit, or the note where that is all."""
    if change.kind == "change":
        yield from ((cause_of(reason), reason) for reason in change.reasons)
    if change.note not in ("", "new") and not change.reasons and not change.length:
        note = IN_STORE if change.kind == "restore" and change.note.startswith(IN_STORE) else change.note
        yield f"{change.kind} {note}", note
    if change.kind == "unchanged" and not change.note and not change.reasons:
        yield "unchanged", "unchanged again"


def _is_covered(change: Change, shared: Container[str]) -> bool:
    """Return whether the lines of shared causes say all that there is to say of a change."""
    causes = [cause for cause, _ in _causes(change)]
    is_more = change.length or (change.note and change.reasons)
    return bool(causes) and all(cause in shared for cause in causes) and not is_more


def reached(targets: Sequence[str], heads: Collection[str]) -> str:
    """Return the number and names of clips: `2 clips and 2 more takes: hook/a, hook/b (3 takes)`."""
    takes: dict[str, list[Target]] = {}
    for target in map(Target, targets):
        takes.setdefault(target.lock_entry, []).append(target)
    names: list[str] = []
    for entry, found in takes.items():
        if len(found) > 1 and any(target in heads for target in found):
            names.append(f"{entry} ({count(len(found), 'take')})")
        else:
            names += [target.short for target in found]
    more = max(0, len(names) - REACHED)
    rest = f" and {more} more (-v lists them)" if more else ""
    return f"{Tally.of(targets, heads)}: {', '.join(names[: len(names) - more])}{rest}"


def print_change(
    console: Console,
    change: Change,
    width: int,
    bad: Sequence[Problem] = (),
    alike: str = "",
    shared: Container[str] = (),
) -> None:
    """Print a change with its reasons, or the take with the same ones (`alike`), and what checks found.

    Of causes in `shared`, which are printed with all their clips, only the field is named.
    """
    needs_review = change.kind == "unchanged" and (change.note or bad)
    mark, style = MARKS[change.kind] if not needs_review else ("!", "yellow")
    frames = f"  {f'{change.frames}f':>5}" if change.frames else ""
    head = f"  {console.paint(mark, style, 'bold')} {name(change).ljust(width)}{frames}"
    lines = [f"as {alike}"] if alike else [_reason(console, reason, shared) for reason in change.reasons]
    note = change.note.removeprefix(f"{name(change)} ")  # of a chain, which begins with the clip
    if note and (not lines or change.kind in ("unchanged", "restore")):
        lines.insert(0, note)
    if change.length and not alike and lines == [note]:
        lines = [f"{note}; {change.length}"]
    elif change.length and not alike:
        lines.append(change.length)
    lines += [f"{plain(problem)}  {console.paint(problem.code, 'dim')}" for problem in bad]
    lines = lines or [""]
    console.say(f"{head}  {lines[0]}".rstrip())
    for line in lines[1:]:
        console.say(f"{' ' * (width + 5 + len(frames))}{line}")


def _reason(console: Console, reason: Reason, shared: Container[str] = ()) -> str:
    if cause_of(reason) in shared:
        return f"{reason.field}, as above"
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
    parts = [f"{plan.tally(kind)} {what}" for kind, what in DUE.items() if plan.tally(kind)]
    parts += [f"{count(len(plan.unsaid), 'line')} to speak"] if plan.unsaid else []
    parts += [f"{kept} unchanged"] if (kept := plan.tally("unchanged")) else []
    parts += [count(len(plan.orphans), "orphan")] if plan.orphans else []
    between = "; " if any(" and " in part for part in parts) else ", "
    seconds = plan.film_frames / plan.project.fps
    line = f"Plan: {between.join(parts) or 'nothing to do'}.  Film {duration(seconds)} ({plan.film_frames} frames)."
    return f"{line}\n{gpu_time(gpu)}" if gpu else line


def gpu_time(estimate: Estimate) -> str:
    """Return `≈ 6m 10s on 2 servers (11m 40s GPU time; rough, from 4 earlier renders)`."""
    servers = f" on {count(estimate.servers, 'server')}" if estimate.servers else " of GPU time"
    both = f"{rough(estimate.gpu_s)} GPU time; " if estimate.servers > 1 else ""
    return f"≈ {rough(estimate.wall_s)}{servers} ({both}{estimate.sureness})"


def plan_json(
    plan: Plan,
    moves: Sequence[tuple[str, str]] = (),
    gpu: Estimate | None = None,
    servers: Answering | None = None,
) -> dict[str, Any]:
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
        "states": counts(plan.states.values()),
        "clips": dict(plan.states),
        "unsaid": [asdict(line) for line in plan.unsaid],
        "orphans": [orphan.file for orphan in plan.orphans],
        "suggestions": [{"moved": {"from": old, "to": new}} for old, new in moves],
        "estimate": None if gpu is None else {**asdict(gpu), "sureness": gpu.sureness},
        "servers": servers and {"answering": list(servers.up), "silent": list(servers.silent)},
        "assumed": assumed(plan),
        "upgrades": [upgrade.as_json() for upgrade in upgrades(plan)],
        "counts": {kind: asdict(plan.tally(kind)) for kind in MARKS},
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
    shared = _shared_edits(found)
    rows = [each for each in found.clips if not _is_said(each, shared)]
    width = max((len(each.clip) for each in rows), default=0)
    printed: set[str] = set()
    for each in found.clips:
        mark, style = DIFF_MARKS[each.kind]
        for reason in each.reasons:
            cause = cause_of(reason)
            if cause in shared and cause not in printed:
                printed.add(cause)
                console.say(f"  {console.paint(mark, style, 'bold')} {_diff_reason(console, reason)}")
                console.say(f"      {_clips(shared[cause])}")
        if not _is_said(each, shared):
            lines = [_diff_reason(console, reason, shared) for reason in each.reasons] or [each.note or each.kind]
            console.say(f"  {console.paint(mark, style, 'bold')} {each.clip.ljust(width)}  {_frames(each)}  {lines[0]}")
            for line in lines[1:]:
                console.say(f"{' ' * (width + 6 + len(_frames(each)))}{line}")
    for line in found.shown:
        console.say(console.paint(f"  · {clean(line)}", "dim"))
    if found.clips or found.shown:
        console.say()
    console.say(f"Since {ref}: {_counts(found)}.  {_film(found)}.")
    if left.targets:
        console.say(f"{left.tally} to render" + (f", {gpu_time(gpu)}" if gpu else ""))


def markdown(title: str, found: FilmDifference, ref: str, left: RemainingWork, gpu: Estimate | None) -> str:
    """Return a difference as Markdown: a table of clips, and the length of the film."""
    lines = [f"### {_plain(title)}: {_counts(found)} since `{_code(ref)}`", "", f"{_film(found)}.", ""]
    shared = _shared_edits(found)
    for clips in shared.values():
        reason = next(r for each in found.clips for r in each.reasons if shared.get(cause_of(r)) == clips)
        lines += [f"{_markdown_reason(reason)}<br>{_clips([f'`{clip}`' for clip in clips])}", ""]
    rows = [each for each in found.clips if not _is_said(each, shared)]
    if rows:
        lines += ["| | clip | frames | why |", "|---|---|---|---|"]
        for each in rows:
            reasons = [
                f"`{_code(reason.field)}`, as above" if cause_of(reason) in shared else _markdown_reason(reason)
                for reason in each.reasons
            ]
            why = "<br>".join(reasons) or _plain(each.note or each.kind)
            lines.append(f"| {DIFF_MARKS[each.kind][0]} | `{each.clip}` | {_frames(each).strip()} | {why} |")
        lines.append("")
    lines += [f"- {_plain(line)}" for line in found.shown]
    if left.targets:
        lines += ["", f"{left.tally} to render" + (f", {gpu_time(gpu)}" if gpu else "") + "."]
    return "\n".join(lines).strip()


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


def _shared_edits(found: FilmDifference) -> dict[str, list[str]]:
    """Return the clips that each edit reaches, where these are several."""
    clips: dict[str, list[str]] = {}
    for each in found.clips:
        for reason in each.reasons:
            clips.setdefault(cause_of(reason), []).append(each.clip)
    return {cause: reached for cause, reached in clips.items() if len(reached) > 1}


def _is_said(each: ClipDifference, shared: Container[str]) -> bool:
    """Return whether edits that several clips share are all there is to say of one."""
    is_as_long = each.frames_before == each.frames
    return is_as_long and bool(each.reasons) and all(cause_of(reason) in shared for reason in each.reasons)


def _clips(names: Sequence[str]) -> str:
    more = f" and {len(names) - REACHED} more" if len(names) > REACHED else ""
    return f"{count(len(names), 'clip')}: {', '.join(names[:REACHED])}{more}"


def _diff_reason(console: Console, reason: Reason, shared: Container[str] = ()) -> str:
    if cause_of(reason) in shared:
        return f"{reason.field}, as above"
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
    kept = Tally.of({*plan.plan.wanted} - {*each.again, *each.maybe}, plan.heads)
    if kept:
        console.say(console.paint(f"  = {kept} unchanged", "dim"))
