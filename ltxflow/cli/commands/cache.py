"""The store: what is in it (ls, stats), is it whole (verify), is it too large (gc), and its index made anew (rebuild).

`gc` removes nothing without --yes, and no render without --renders. What any film's lock names, here or at the tip of
any branch, what is published, and what a build under way counts on always stays.
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

from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.documents.paths import find_project, shown
from ltxflow.project.config import read_config
from ltxflow.session.gc_roots import GcRoots, needs_of
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
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns, count, size

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
AGES = {"h": 3600, "d": 86400, "w": 7 * 86400}
SHOWN = 40  # lines of a list that is not asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["ls", "stats", "verify", "gc", "rebuild"], help="what to do")
    parser.add_argument("patterns", nargs="*", metavar="CLIP", help="ls: only of these, such as hook/b or 'hook/*'")
    parser.add_argument("--unneeded", action="store_true", help="ls: only what no film needs")
    parser.add_argument("--repair", action="store_true", help="verify: bring bad blobs back, or set them aside")
    parser.add_argument("--yes", action="store_true", help="gc: really remove it")
    parser.add_argument("--renders", action="store_true", help="gc: also what was paid for, if no film needs it")
    parser.add_argument("--max-size", type=bytes_of, metavar="SIZE", help="gc: only until it is below, as 50G")
    parser.add_argument("--older-than", type=age_of, metavar="AGE", help="gc: only what came before, as 30d")
    parser.add_argument("--no-git", action="store_true", help="gc: do not look at branches and tags")
    parser.add_argument(
        "--give-up", action="append", default=[], metavar="FOLDER", help="gc: a film that is gone needs nothing more"
    )


def bytes_of(text: str) -> int:
    """Given `50G`, `800M` or a number, return bytes. Raise ArgumentTypeError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size: write 50G or 800M')
    return int(float(found[1]) * UNITS[found[2]])


def age_of(text: str) -> float:
    """Given `12h`, `30d` or `8w`, return seconds. Raise ArgumentTypeError for anything else."""
    found = re.fullmatch(r"(\d+)([hdw])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not an age: write 12h, 30d or 8w')
    return float(int(found[1]) * AGES[found[2]])


def run(args: argparse.Namespace, face: Console) -> int:
    if args.patterns and args.what != "ls":
        raise LtxflowError(Problem(f"`cache {args.what}` is about the whole store", hint="leave the clips out"))
    heard: list[Problem] = []
    store = open_store(os.environ, read_config(os.environ).store, heard.append)
    try:
        code, data = {"ls": _ls, "stats": _stats, "verify": _verify, "gc": _gc, "rebuild": _rebuild}[args.what](
            args, face, store
        )
    finally:
        store.close()
    if args.json:
        return print_envelope("cache", {"store": str(store.root), **data}, code, heard)
    face.problems([problem for problem in heard if problem.level != "advice"])
    return code


# --- who needs what


def _needs(args: argparse.Namespace, store: Store) -> list[GcRoots]:
    """Of all films that the store knows, and the one we stand in."""
    known = films(store.root)
    try:
        here = find_project(args.project, Path.cwd()).parent.resolve()
    except LtxflowError:
        here = None
    if here is not None and all(film.folder != here for film in known):
        known.append(RegisteredFilm(here, here.name))
    given_up = {Path(folder).expanduser().absolute() for folder in args.give_up}
    unknown = given_up - {film.folder for film in known}
    if unknown:
        there = ", ".join(str(film.folder) for film in known) or "none"
        raise LtxflowError(Problem(f'this store knows no film in "{min(unknown)}"', hint=f"it knows: {there}"))
    needs = [needs_of(film, with_git=not args.no_git) for film in known]
    present = [need for need in needs if need.film.folder in given_up and not need.is_gone]
    if present:
        message = f'"{present[0].film.folder}" is there: its film is not given up'
        raise LtxflowError(Problem(message, hint="only films whose folder is gone can be"))
    return [need for need in needs if need.film.folder not in given_up]


def _names(needs: Iterable[GcRoots], under_way: Iterable[Run]) -> set[str]:
    return {name for need in needs for name in need.names} | {key for run in under_way for key in run.keys}


# --- the verbs


def _ls(args: argparse.Namespace, face: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with gc_shared(store.root):
        kept, needs = take_inventory(store), _needs(args, store)
    needed, _ = closure(kept, _names(needs, ()), _names(needs, ()))
    rows = sorted(kept.made.values(), key=lambda made: (made.target, made.made_at, made.key))
    rows = [made for made in rows if _is_asked(made, args.patterns) and not (args.unneeded and made.key in needed)]
    data = [{**_row(made, kept), "needed": made.key in needed} for made in rows]
    if not args.json:
        table = [
            (
                row["target"],
                row["key"][:12],
                row["source"],
                size(row["bytes"]),
                row["made_at"][:16].replace("T", " "),
                "" if row["needed"] else "unneeded",
            )
            for row in data
        ]
        for line in columns(table):
            face.say(line)
        face.say(f"{count(len(rows), 'trace')}, {size(kept.size_of(d for made in rows for d in made.outputs))}")
    return 0, {"traces": data}


def _is_asked(made: StoredAction, patterns: Sequence[str]) -> bool:
    name = made.target.partition(":")[2]
    clip = name.partition("@")[0]
    return not patterns or any(fnmatchcase(each, pattern) for pattern in patterns for each in (name, clip, made.key))


def _row(made: StoredAction, kept: StoreInventory) -> dict[str, Any]:
    return {
        "target": made.target,
        "key": made.key,
        "source": made.source,
        "made_at": made.made_at,
        "seconds": made.seconds,
        "bytes": kept.size_of(made.outputs),
    }


def _stats(args: argparse.Namespace, face: Console, store: Store) -> tuple[int, dict[str, Any]]:
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
        face.say(f"{face.paint(str(store.root), 'bold')}: {held}; {size(free)} free")
        rows = [
            (source, count(told["traces"], "trace"), size(told["bytes"]), f"{told['minutes']} min to make")
            for source, told in sources.items()
        ]
        for line in columns(rows):
            face.say(f"  {line}")
        _say_films(face, needs, kept, under_way)
        if idle:
            face.say(f"  {count(idle, 'trace')} that no film needs: ltxflow cache ls --unneeded, ltxflow cache gc")
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
    """What made it → how many traces, bytes, and minutes of work."""
    sources: dict[str, list[StoredAction]] = {}
    for made in kept.made.values():
        sources.setdefault(made.source or "other", []).append(made)
    return {
        source: {
            "traces": len(made),
            "bytes": kept.size_of(digest for each in made for digest in each.outputs),
            "minutes": round(minutes(made), 1),
        }
        for source, made in sorted(sources.items())
    }


def _film(need: GcRoots, kept: StoreInventory) -> dict[str, Any]:
    _, digests = closure(kept, need.names, need.names)
    return {
        "folder": str(need.film.folder),
        "id": need.film.id,
        "gone": need.is_gone,
        "needs": need.told,
        "bytes": kept.size_of(digests),
    }


def _say_films(face: Console, needs: Sequence[GcRoots], kept: StoreInventory, under_way: Sequence[Run]) -> None:
    rows = []
    for need in needs:
        told = _film(need, kept)
        folder = shown(need.film.folder, Path.cwd())
        rows.append(("  needed by", told["id"], size(told["bytes"]), folder, need.told))
    for line in columns(rows):
        face.say(line)
    for run_ in under_way:
        face.say(f"  needed by a run under way: {run_.owner}, {run_.folder}")


def _gc(args: argparse.Namespace, face: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with ExitStack() as stack:
        # even a dry run: what it lists is what there is at one moment, and no run is half-way into the gate
        if store.root.exists():
            wait = "a run is putting something into the store; waiting for it"
            stack.enter_context(gc_exclusive(store.root, lambda: face.warn(wait)))
        needs, under_way = _needs(args, store), runs(store.root)
        if args.renders and not needs:
            hint = "run `ltxflow build` once in each film that uses it, then again"
            raise LtxflowError(Problem("this store knows of no film: any render may be somebody's", hint=hint))
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
        _say_gc(args, face, needs, under_way, kept, swept)
    data = {
        "bytes": kept.size,
        "films": [_film(need, kept) for need in needs],
        "running": [run.owner for run in under_way],
        "traces": [_row(made, kept) for made in swept.traces],
        "blobs": list(swept.blobs),
        "damaged": [str(path.relative_to(store.root)) for path in swept.damaged],
        "freed": swept.size,
        "spared": [_row(made, kept) for made in swept.spared],
        "over": swept.over,
        "removed": args.yes,
    }
    return 0, data


def _say_gc(
    args: argparse.Namespace,
    face: Console,
    needs: Sequence[GcRoots],
    under_way: Sequence[Run],
    kept: StoreInventory,
    swept: Sweep,
) -> None:
    face.say(f"{size(kept.size)} in {count(len(kept.blobs), 'blob')}, {count(len(kept.made), 'trace')}")
    _say_films(face, needs, kept, under_way)
    for need in needs:
        if need.is_gone:
            face.say(f"    {need.film.folder} is not there; if it never will be: --give-up {need.film.folder}")
    mark = face.paint("-", "red")
    shown_traces = swept.traces if args.verbose else swept.traces[:SHOWN]
    rows = [(made.target, made.source, size(kept.size_of(made.outputs)), made.made_at[:10]) for made in shown_traces]
    for line in columns(rows):
        face.say(f"  {mark} {line}")
    if len(swept.traces) > len(shown_traces):
        face.say(f"  {mark} and {len(swept.traces) - len(shown_traces)} more (-v shows all)")
    stray = set(swept.blobs) - {digest for made in swept.traces for digest in made.outputs}
    if stray:
        face.say(f"  {mark} {count(len(stray), 'blob')} of no trace, {size(kept.size_of(stray))}")
    for path in swept.damaged:
        face.say(f"  {mark} {path.name}, which was damaged and set aside")
    if swept.spared:
        told = f"{count(len(swept.spared), 'render')} that no film needs, {size(swept.spared_size)}"
        worth = f"{minutes(swept.spared):.0f} minutes of work"
        more = "" if args.renders else "; they go with --renders"
        face.say(f"  {face.paint('=', 'dim')} kept: {told}, {worth}{more}")
    if swept.over:
        face.say(f"  still {size(swept.over)} above the cap: the rest is needed, or was paid for")
    if swept.is_empty:
        face.say("nothing to remove")
    elif args.yes:
        face.say(f"removed, {size(swept.size)} freed")
    else:
        again = " ".join(["ltxflow cache gc", *(["--renders"] if args.renders else []), "--yes"])
        face.say(f"{size(swept.size)} would be freed; remove it with: {face.paint(again, 'bold')}")


def _verify(args: argparse.Namespace, face: Console, store: Store) -> tuple[int, dict[str, Any]]:
    with gc_shared(store.root):
        found = list(faults(store))
        copies = _copies(store) if args.repair else {}
        outcomes = {
            fault.digest: _mend(store, fault, copies.get(fault.digest, [])) if args.repair else "" for fault in found
        }
    is_bad = any(not outcome for outcome in outcomes.values())
    if not args.json:
        rows = [
            (fault.kind, f"{fault.digest[:12]}…", ", ".join(fault.targets) or "of no trace", outcomes[fault.digest])
            for fault in found
        ]
        for line in columns(rows):
            face.say(f"  {face.paint('✗' if is_bad else '✓', 'red' if is_bad else 'green')} {line}")
        if not found:
            face.say(f"{face.paint('✓', 'green')} every blob is what its name says")
        elif is_bad:
            face.say(f"{count(len(found), 'blob')} not as they should be. Mend it: ltxflow cache verify --repair")
    told = [
        {"kind": f.kind, "digest": f.digest, "targets": list(f.targets), "outcome": outcomes[f.digest]} for f in found
    ]
    return FAILED if is_bad else 0, {"faults": told}


def _copies(store: Store) -> dict[str, list[Path]]:
    """Digest → where films have published it."""
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


def _mend(store: Store, fault: BlobFault, copies: Sequence[Path]) -> str:
    if repair(store.cas, fault.digest, copies):
        return "brought back from what is published"
    return ("" if fault.kind == "missing" else "set aside: ") + "the next build of its film makes it again"


def _rebuild(args: argparse.Namespace, face: Console, store: Store) -> tuple[int, dict[str, Any]]:
    kept = store.rebuild_index()
    total = len(list(store.keys()))
    if not args.json:
        told = f"the index is not used: {store.index.disabled}" if store.index.disabled else f"{kept} of {total} in it"
        face.say(f"made anew from {count(total, 'trace')}: {told}")
    return 0, {"indexed": kept, "traces": total, "index": store.index.disabled or "used"}
