"""List (ls, stats), check (verify) and shrink (gc) the store, rebuild its index (rebuild), share it (push, pull).

`gc` removes nothing without --yes, and no render without --renders. It always keeps what the lock of any film names,
here or at the tip of any branch, what is published, and what a running build depends on.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ltxflow.cli.options import session_of
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.events import Event, Notice
from ltxflow.core.target import Target
from ltxflow.core.workspace import real_path
from ltxflow.documents.document import find_project, shown
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.config import read_config
from ltxflow.session.gc_roots import GcRoots, needs_of
from ltxflow.session.sharing import sharing
from ltxflow.store.gc import (
    BlobFault,
    StoredAction,
    StoreInventory,
    Sweep,
    closure,
    faults,
    minutes,
    remove,
    repair,
    sweep,
    take_inventory,
)
from ltxflow.store.leases import RegisteredFilm, Run, films, forget_film, gc_exclusive, gc_shared, runs
from ltxflow.store.published import read_published
from ltxflow.store.store import Store, open_store
from ltxflow.ui.terminal import Console, columns, count, print_envelope, size

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
AGES = {"h": 3600, "d": 86400, "w": 7 * 86400}
SHOWN = 40  # lines of a list without --verbose


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["ls", "stats", "verify", "gc", "rebuild", "push", "pull"], help="what to do")
    parser.add_argument("patterns", nargs="*", metavar="CLIP", help="ls: list only these, such as hook/b or 'hook/*'")
    parser.add_argument("--unneeded", action="store_true", help="ls: list only what no film needs")
    parser.add_argument("--repair", action="store_true", help="verify: restore damaged blobs, or set them aside")
    parser.add_argument("--yes", action="store_true", help="gc: remove it")
    parser.add_argument("--renders", action="store_true", help="gc: include renders that no film needs")
    parser.add_argument("--max-size", type=bytes_of, metavar="SIZE", help="gc: stop below this size, such as 50G")
    parser.add_argument("--older-than", type=age_of, metavar="AGE", help="gc: only what is older, such as 30d")
    parser.add_argument("--no-git", action="store_true", help="gc: ignore the locks of branches and tags")
    parser.add_argument(
        "--give-up", action="append", default=[], metavar="FOLDER", help="gc: release what a deleted film needed"
    )


def bytes_of(text: str) -> int:
    """Parse `50G`, `800M` or a number as bytes. Raise ArgumentTypeError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size: write 50G or 800M')
    return int(float(found[1]) * UNITS[found[2]])


def age_of(text: str) -> float:
    """Parse `12h`, `30d` or `8w` as seconds. Raise ArgumentTypeError for anything else."""
    found = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not an age: write 12h, 30d or 8w')
    return float(int(found[1]) * AGES[found[2]])


def run(args: argparse.Namespace, console: Console) -> int:
    if args.patterns and args.what != "ls":
        raise LtxflowError(problem("U002.no-clips", what=args.what))
    damage: list[Problem] = []
    store = open_store(os.environ, read_config(os.environ).store, damage.append)
    try:
        verbs = {"ls": _ls, "stats": _stats, "verify": _verify, "gc": _gc, "rebuild": _rebuild}
        code, data = {**verbs, "push": _push, "pull": _pull}[args.what](args, console, store)
    finally:
        store.close()
    if args.json:
        return print_envelope("cache", {"store": str(store.root), **data}, code, damage)
    console.problems([each for each in damage if each.level != "advice"])
    return code


# --- shared store


def _push(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    """Send what the film's plan and lock need to the shared store."""
    with session_of(args) as session, sharing(session, os.environ, lambda event: None) as shared:
        moved = shared.send_film()
        if moved is None:
            raise LtxflowError(problem("U067"))
        if not args.json:
            console.problems(session.warnings)
            console.say(f"sent {count(moved.traces, 'result')}, {size(moved.size)} to {shared.address}")
    data = {"traces": moved.traces, "blobs": moved.blobs, "bytes": moved.size, "remote": shared.address}
    return (FAILED if shared.is_down else 0), data


def _pull(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    """Fetch what the film's plan and lock need, and publish nothing."""

    def emit(event: Event) -> None:
        if isinstance(event, Notice) and not args.json:
            console.say(event.message)

    with session_of(args) as session, sharing(session, os.environ, emit) as shared:
        if not shared.address:
            raise LtxflowError(problem("U067"))
        shared.fetch_locked()
        shared.fetch(lambda: session.speech().statuses.values())
        shared.fetch(lambda: session.plan(PlanOptions()).statuses.values())
        plan = session.plan(PlanOptions())
        missing = [target for target, status in plan.statuses.items() if status.state != "hit"]
        if not args.json:
            console.problems(session.warnings)
            if missing:
                console.say(f"{count(len(missing), 'result')} of the film not in {shared.address}: {missing[0]} …")
    return (FAILED if missing else 0), {"missing": missing, "remote": shared.address}


# --- gc roots


def _needs(args: argparse.Namespace, store: Store) -> list[GcRoots]:
    """Return the gc roots of all films that the store knows, and of the one in the current folder."""
    known = films(store.root)
    try:
        here = real_path(find_project(args.project, Path.cwd()).parent)
    except LtxflowError:
        here = None
    if here is not None and all(film.folder != here for film in known):
        known.append(RegisteredFilm(here, here.name))
    given_up = {Path(folder).expanduser().absolute() for folder in args.give_up}
    unknown = given_up - {film.folder for film in known}
    if unknown:
        there = ", ".join(str(film.folder) for film in known) or "none"
        raise LtxflowError(problem("U022.unknown", folder=min(unknown), known=there))
    needs = [needs_of(film, with_git=not args.no_git) for film in known]
    present = [need for need in needs if need.film.folder in given_up and not need.is_gone]
    if present:
        raise LtxflowError(problem("U022.present", folder=present[0].film.folder))
    return [need for need in needs if need.film.folder not in given_up]


def _names(needs: Iterable[GcRoots], under_way: Iterable[Run]) -> set[str]:
    return {name for need in needs for name in need.names} | {key for run in under_way for key in run.keys}


# --- subcommands


def _ls(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with gc_shared(store.root):
        kept, needs = take_inventory(store), _needs(args, store)
    needed, _ = closure(kept, _names(needs, ()), _names(needs, ()))
    rows = sorted(kept.made.values(), key=lambda action: (action.target, action.made_at, action.key))
    rows = [
        action for action in rows if _matches(action, args.patterns) and not (args.unneeded and action.id in needed)
    ]
    data = [{**_row(action, kept), "needed": action.id in needed} for action in rows]
    if not args.json:
        table = [
            (
                row["target"],
                row["key"][:12],
                row["source"],
                size(row["bytes"]),
                row["made_at"][:16].replace("T", " "),
                "forgotten" if row["forgotten"] else "" if row["needed"] else "unneeded",
            )
            for row in data
        ]
        for line in columns(table):
            console.say(line)
        console.say(f"{count(len(rows), 'trace')}, {size(kept.size_of(d for action in rows for d in action.outputs))}")
    return 0, {"traces": data}


def _matches(action: StoredAction, patterns: Sequence[str]) -> bool:
    target = Target(action.target)
    names = (target.partition(":")[2], target.path, action.key)
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _row(action: StoredAction, kept: StoreInventory) -> dict[str, Any]:
    return {
        "target": action.target,
        "key": action.key,
        "source": action.source,
        "made_at": action.made_at,
        "forgotten": action.is_forgotten,
        "seconds": action.seconds,
        "bytes": kept.size_of(action.outputs),
    }


def _stats(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with gc_shared(store.root):
        kept, needs = take_inventory(store), _needs(args, store)
        under_way = runs(store.root)
    names = _names(needs, under_way)
    needed, digests = closure(kept, names, names)
    sources = _by_source(kept)
    idle = len(kept.made) - len(needed)
    free = shutil.disk_usage(store.root).free if store.root.exists() else 0
    if not args.json:
        held = f"{size(kept.size)} in {count(len(kept.blobs), 'blob')}, {count(len(kept.made), 'trace')}"
        console.say(f"{console.paint(str(store.root), 'bold')}: {held}; {size(free)} free")
        rows = [
            (source, count(facts["traces"], "trace"), size(facts["bytes"]), f"{facts['minutes']} min to make")
            for source, facts in sources.items()
        ]
        for line in columns(rows):
            console.say(f"  {line}")
        _print_films(console, needs, kept, under_way)
        if idle:
            console.say(f"  {count(idle, 'trace')} without a film; see: ltxflow cache ls --unneeded, ltxflow cache gc")
    return 0, {
        "bytes": kept.size,
        "blobs": len(kept.blobs),
        "traces": len(kept.made),
        "free": free,
        "needed": kept.size_of(digests),
        "unneeded_traces": idle,
        "sources": sources,
        "films": [_film(need, kept) for need in needs],
        "running": [run.owner for run in under_way],
        "index": store.index.disabled or "used",
    }


def _by_source(kept: StoreInventory) -> dict[str, dict[str, Any]]:
    """Return the number of traces, bytes and minutes of work by what made them."""
    sources: dict[str, list[StoredAction]] = {}
    for action in kept.made.values():
        sources.setdefault(action.source or "other", []).append(action)
    return {
        source: {
            "traces": len(actions),
            "bytes": kept.size_of(digest for each in actions for digest in each.outputs),
            "minutes": round(minutes(actions), 1),
        }
        for source, actions in sorted(sources.items())
    }


def _film(need: GcRoots, kept: StoreInventory) -> dict[str, Any]:
    _, digests = closure(kept, need.names, need.names)
    return {
        "folder": str(need.film.folder),
        "id": need.film.id,
        "gone": need.is_gone,
        "needs": need.source,
        "bytes": kept.size_of(digests),
    }


def _print_films(console: Console, needs: Sequence[GcRoots], kept: StoreInventory, under_way: Sequence[Run]) -> None:
    rows = []
    for need in needs:
        film = _film(need, kept)
        folder = shown(need.film.folder, Path.cwd())
        rows.append(("  needed by", film["id"], size(film["bytes"]), folder, need.source))
    for line in columns(rows):
        console.say(line)
    for run_ in under_way:
        console.say(f"  needed by a running build: {run_.owner}, {run_.folder}")


def _gc(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with ExitStack() as stack:
        # a dry run, too, lists the store at one moment, while no build enters it
        if store.root.exists():
            wait = "waiting for a build to finish writing to the store"
            stack.enter_context(gc_exclusive(store.root, lambda: console.warn(wait)))
        needs, under_way = _needs(args, store), runs(store.root)
        if args.renders and not needs:
            raise LtxflowError(problem("U023"))
        kept, names = take_inventory(store), _names(needs, under_way)
        swept = sweep(
            kept,
            names,
            names,
            paid=args.renders,
            max_size=args.max_size,
            before=None if args.older_than is None else time.time() - args.older_than,
        )
        if args.yes:
            remove(store, swept)
            for folder in args.give_up:
                forget_film(store.root, Path(folder).expanduser().absolute())
    if not args.json:
        _print_gc(args, console, needs, under_way, kept, swept)
    data = {
        "bytes": kept.size,
        "films": [_film(need, kept) for need in needs],
        "running": [run.owner for run in under_way],
        "traces": [_row(action, kept) for action in swept.traces],
        "blobs": list(swept.blobs),
        "damaged": [str(path.relative_to(store.root)) for path in swept.damaged],
        "freed": swept.size,
        "spared": [_row(action, kept) for action in swept.spared],
        "spared_blobs": list(swept.spared_blobs),
        "over": swept.over,
        "removed": args.yes,
    }
    return 0, data


def _print_gc(
    args: argparse.Namespace,
    console: Console,
    needs: Sequence[GcRoots],
    under_way: Sequence[Run],
    kept: StoreInventory,
    swept: Sweep,
) -> None:
    console.say(f"{size(kept.size)} in {count(len(kept.blobs), 'blob')}, {count(len(kept.made), 'trace')}")
    _print_films(console, needs, kept, under_way)
    for need in needs:
        if need.is_gone:
            console.say(f"    {need.film.folder} was not found; if it was deleted, add: --give-up {need.film.folder}")
    mark = console.paint("-", "red")
    shown_traces = swept.traces if args.verbose else swept.traces[:SHOWN]
    rows = [
        (action.target, action.source, size(kept.size_of(action.outputs)), action.made_at[:10])
        for action in shown_traces
    ]
    for line in columns(rows):
        console.say(f"  {mark} {line}")
    if len(swept.traces) > len(shown_traces):
        console.say(f"  {mark} and {len(swept.traces) - len(shown_traces)} more (-v shows all)")
    stray = set(swept.blobs) - {digest for action in swept.traces for digest in action.outputs}
    if stray:
        console.say(f"  {mark} {count(len(stray), 'blob')} without a trace, {size(kept.size_of(stray))}")
    for path in swept.damaged:
        console.say(f"  {mark} {path.name}, damaged and set aside earlier")
    kept_apart = [count(len(swept.spared), "render") + " that no film needs"] if swept.spared else []
    if swept.spared_blobs:
        kept_apart.append(count(len(swept.spared_blobs), "file") + " of pictures or sound without a trace")
    if kept_apart:
        worth = f"{size(swept.spared_size)}, {minutes(swept.spared):.0f} minutes of work"
        more = "" if args.renders else "; remove them with --renders"
        console.say(f"  {console.paint('=', 'dim')} kept: {' and '.join(kept_apart)}, {worth}{more}")
    if swept.over:
        console.say(f"  still {size(swept.over)} above --max-size: the rest is needed, or was rendered")
    if swept.is_empty:
        console.say("nothing to remove")
    elif args.yes:
        console.say(f"removed, {size(swept.size)} freed")
    else:
        again = " ".join(["ltxflow cache gc", *(["--renders"] if args.renders else []), "--yes"])
        console.say(f"{size(swept.size)} would be freed; remove it with: {console.paint(again, 'bold')}")


def _verify(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with gc_shared(store.root):
        found = list(faults(store))
        copies = _copies(store) if args.repair else {}
        outcomes = {
            fault.digest: _repair(store, fault, copies.get(fault.digest, [])) if args.repair else "" for fault in found
        }
    is_bad = any(not outcome for outcome in outcomes.values())
    if not args.json:
        rows = [
            (fault.kind, f"{fault.digest[:12]}…", ", ".join(fault.targets) or "without a trace", outcomes[fault.digest])
            for fault in found
        ]
        for line in columns(rows):
            console.say(f"  {console.paint('✗' if is_bad else '✓', 'red' if is_bad else 'green')} {line}")
        if not found:
            console.say(f"{console.paint('✓', 'green')} all checksums match")
        elif is_bad:
            console.say(f"{count(len(found), 'blob')} damaged. Repair: ltxflow cache verify --repair")
    data = [
        {"kind": f.kind, "digest": f.digest, "targets": list(f.targets), "outcome": outcomes[f.digest]} for f in found
    ]
    return FAILED if is_bad else 0, {"faults": data}


def _copies(store: Store) -> dict[str, list[Path]]:
    """Return the published files of all films by digest."""
    found: dict[str, list[Path]] = {}
    for film in films(store.root):
        record = film.folder / ".ltxflow" / "published.json"
        if film.public is None or not record.is_file():
            continue
        published, _ = read_published(record)
        for path, entry in published.entries.items():
            for digest in entry.digests:
                found.setdefault(digest, []).append(film.public / path)
    return found


def _repair(store: Store, fault: BlobFault, copies: Sequence[Path]) -> str:
    if repair(store.cas, fault.digest, copies):
        return "restored from a published file"
    return ("" if fault.kind == "missing" else "set aside: ") + "the next build of its film renders it again"


def _rebuild(args: argparse.Namespace, console: Console, store: Store) -> tuple[int, dict[str, Any]]:
    kept = store.rebuild_index()
    total = len(list(store.keys()))
    if not args.json:
        state = f"the index is not used: {store.index.disabled}" if store.index.disabled else f"{kept} of {total} in it"
        console.say(f"rebuilt from {count(total, 'trace')}: {state}")
    return 0, {"indexed": kept, "traces": total, "index": store.index.disabled or "used"}
