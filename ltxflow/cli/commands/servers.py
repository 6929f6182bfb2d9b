"""The ComfyUI servers that a build would use, why those, and how they are. `test` also opens the WebSocket."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ltxflow.cli.diagnostics import ServerReport, places_for, see
from ltxflow.comfy.discovery import ServerAddress
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError
from ltxflow.farm.journal import JOURNAL, Journal, submissions
from ltxflow.project.config import read_config
from ltxflow.session.session import Session, open_session
from ltxflow.store.speeds import Speed, read_speeds
from ltxflow.store.store import store_path
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns

# A usual clip: 121 frames, 8 steps at 768x512, 3 more at twice the size. Its work is what `steps.clip.work` counts.
USUAL = 121 * (768 * 512 * 8 + 1536 * 1024 * 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", choices=["ls", "test"], default="ls", help="list them (default), or try them"
    )
    parser.add_argument("--server", action="append", default=[], metavar="URL", help="this one; repeatable, or a name")


def run(args: argparse.Namespace, face: Console) -> int:
    config = read_config(os.environ)
    with _session(args) or nullcontext() as session:
        places = places_for(args.server, os.environ, config, session.project.server if session else "")
        seen = asyncio.run(_see_all(places, session, args.what == "test"))
    speeds = read_speeds(store_path(os.environ, config.store))
    code = _exit_code(seen) if args.what == "test" else 0
    if args.json:
        return print_envelope("servers", [_data(one, speeds) for one in seen], code)
    _print(face, seen, speeds, args.what == "test")
    return code


def _session(args: argparse.Namespace) -> Session | None:
    """The project, whose default server and prompts count; None outside of one, or when it does not open."""
    try:
        return open_session(args.project, cwd=Path.cwd(), env=os.environ, root=args.root)
    except LtxflowError:
        if args.project is not None:
            raise
        return None


async def _see_all(places: list[ServerAddress], session: Session | None, tries_socket: bool) -> list[ServerReport]:
    known = submissions(Journal(session.own / JOURNAL)) if session else {}
    ours = {submission.prompt_id for some in known.values() for submission in some}
    answers = await asyncio.gather(*(see(place, ours, tries_socket=tries_socket) for place in places))
    await asyncio.gather(*(client.close() for _, client in answers if client))
    return [seen for seen, _ in answers]


def _exit_code(seen: list[ServerReport]) -> int:
    """4 without any; 1 when a server that somebody named does not work. Guesses may be wrong."""
    if not any(one.stats for one in seen):
        return UNREACHABLE
    named = [one for one in seen if not one.place.is_guess]
    return FAILED if any(one.problem or one.has_socket is False for one in named) else 0


def _data(seen: ServerReport, speeds: Mapping[str, Speed]) -> dict[str, Any]:
    speed = speeds.get(seen.place.url)
    known = (
        {"rate": speed.rate, "renders": speed.count, "usual_clip_s": round(speed.rate * USUAL, 1)} if speed else None
    )
    return {**seen.as_json(), "speed": known}


def _print(face: Console, seen: list[ServerReport], speeds: Mapping[str, Speed], is_test: bool) -> None:
    rows = [("", "server", "from", "ComfyUI", "device", "memory free", "queue", "a usual clip")]
    for one in seen:
        if one.stats is None and one.place.is_guess:
            continue
        rows.append((_mark(one), one.name, one.place.reason, *_state(one), _speed(speeds.get(one.place.url))))
    if len(rows) == 1:
        face.say(f"no server: nobody named one, and none answers at {', '.join(one.place.url for one in seen)}")
        face.say("  name one with --server, COMFY_URL or in your config; slates need none: ltxflow build --animatic")
        return
    for number, line in enumerate(columns(rows)):
        face.say(face.paint(line, "dim") if number == 0 else line)
    for one in seen:
        if one.problem and not one.place.is_guess:
            face.say(f"  {one.name}: {one.problem.message}")
            if one.problem.hint:
                face.say(f"    → {one.problem.hint}")
        elif one.stats and is_test:
            socket = "the WebSocket opens" if one.has_socket else "the WebSocket does not open: builds tell no steps"
            face.say(f"  {one.name}: {one.seconds * 1000:.0f} ms a round trip, {socket}")


def _mark(seen: ServerReport) -> str:
    return "✓" if seen.stats and not seen.problem else "✗"


def _state(seen: ServerReport) -> tuple[str, str, str, str]:
    if seen.stats is None:
        return "-", "does not answer", "-", "-"
    device = seen.stats.devices[0] if seen.stats.devices else None
    memory = f"{device.vram_free / 2**30:.1f} of {device.vram_total / 2**30:.1f} GB" if device else "-"
    queue = f"{seen.ours} ours, {seen.others} others" if seen.queue else "empty"
    return seen.stats.version or "?", (device.name if device else "-")[:40], memory, queue


def _speed(speed: Speed | None) -> str:
    if speed is None:
        return "not known yet"
    seconds = speed.rate * USUAL
    told = f"{seconds:.0f}s" if seconds < 120 else f"{seconds / 60:.0f}m"
    return f"{told}, from {speed.count} render{'s' if speed.count != 1 else ''}"
