"""List the ComfyUI servers that a build would use, where each is named, and their state; `test` tries the WebSocket.

The exit code is 4 where none answers, and 1 where one that you named does not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ltxflow.cli.diagnostics import ServerReport, places_for, probe_server
from ltxflow.comfy.discovery import ServerAddress
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError
from ltxflow.farm.journal import JOURNAL, Journal, submissions
from ltxflow.project.config import read_config
from ltxflow.session.session import Session, open_session
from ltxflow.store.published import Speed, read_speeds
from ltxflow.store.store import store_path
from ltxflow.ui.terminal import Console, columns, print_envelope

# A typical clip: 121 frames, 8 steps at 768x512, 3 more at twice the size. The unit is that of `steps.clip.work`.
TYPICAL = 121 * (768 * 512 * 8 + 1536 * 1024 * 3)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", choices=["ls", "test"], default="ls", help="list them (default), or test them"
    )
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a server, by URL or name; repeatable"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    config = read_config(os.environ)
    with _session(args) or nullcontext() as session:
        places = places_for(args.server, os.environ, config, session.project.server if session else "")
        servers = asyncio.run(_probe_all(places, session, args.what == "test"))
    speeds = read_speeds(store_path(os.environ, config.store))
    code = _exit_code(servers)
    if args.json:
        return print_envelope("servers", [_data(one, speeds) for one in servers], code)
    _print(console, servers, speeds, args.what == "test")
    return code


def _session(args: argparse.Namespace) -> Session | None:
    """Open the project, for its default server and its prompts; return None outside of one, or if it does not open."""
    try:
        return open_session(args.project, cwd=Path.cwd(), env=os.environ, root=args.root)
    except LtxflowError:
        if args.project is not None:
            raise
        return None


async def _probe_all(places: list[ServerAddress], session: Session | None, tries_socket: bool) -> list[ServerReport]:
    known = submissions(Journal(session.own / JOURNAL)) if session else {}
    ours = {submission.prompt_id for some in known.values() for submission in some}
    answers = await asyncio.gather(*(probe_server(place, ours, tries_socket=tries_socket) for place in places))
    await asyncio.gather(*(client.close() for _, client in answers if client))
    return [server for server, _ in answers]


def _exit_code(servers: list[ServerReport]) -> int:
    """Return 4 without any server, 1 if a configured one does not work. Guessed ones may be down."""
    if not any(one.stats for one in servers):
        return UNREACHABLE
    named = [one for one in servers if not one.place.is_guess]
    return FAILED if any(one.problem or one.has_socket is False for one in named) else 0


def _data(server: ServerReport, speeds: Mapping[str, Speed]) -> dict[str, Any]:
    speed = speeds.get(server.place.url)
    known = (
        {"rate": speed.rate, "renders": speed.count, "usual_clip_s": round(speed.rate * TYPICAL, 1)} if speed else None
    )
    return {**server.as_json(), "speed": known}


def _print(console: Console, servers: list[ServerReport], speeds: Mapping[str, Speed], is_test: bool) -> None:
    known = [one for one in servers if one.stats or not one.place.is_guess]
    if not known:
        console.say(f"no server configured, and none answers at {', '.join(one.place.url for one in servers)}")
        console.say("  name one with --server, COMFY_URL or in your config; without one: ltxflow build --animatic")
        return
    head = ("", "server", "from", "ComfyUI", "device", "memory free", "queue", "a typical clip")
    rows = [(_mark(one), one.name, one.place.reason, *_state(one), _speed(speeds.get(one.place.url))) for one in known]
    lines = columns([head, *rows])
    if any(console.fitted(line) != line for line in lines):  # too wide for this terminal: a block for each server
        for row in rows:
            console.say("  ".join(row[:3]))
            facts = [(name, value) for name, value in zip(head[3:], row[3:], strict=True) if value != "-"]
            for line in columns(facts):
                console.say(f"    {line}")
    else:
        console.say(console.paint(lines[0], "dim"))
        for line in lines[1:]:
            console.say(line)
    for one in known:
        if one.problem and not one.place.is_guess:
            console.say(f"  {one.name}: {one.problem.message}")
            if one.problem.hint:
                console.say(f"    → {one.problem.hint}")
        elif one.stats and is_test:
            socket = "the WebSocket opens" if one.has_socket else "the WebSocket does not open: builds show no steps"
            console.say(f"  {one.name}: {one.seconds * 1000:.0f} ms a round trip, {socket}")


def _mark(server: ServerReport) -> str:
    return "✓" if server.stats and not server.problem else "✗"


def _state(server: ServerReport) -> tuple[str, str, str, str]:
    if server.stats is None:
        return "-", "does not answer", "-", "-"
    device = server.stats.devices[0] if server.stats.devices else None
    memory = f"{device.vram_free / 2**30:.1f} of {device.vram_total / 2**30:.1f} GB" if device else "-"
    queue = f"{server.ours} ours, {server.others} others" if server.queue else "empty"
    return server.stats.version or "?", (device.name if device else "-")[:40], memory, queue


def _speed(speed: Speed | None) -> str:
    if speed is None:
        return "unknown"
    seconds = speed.rate * TYPICAL
    length = f"{seconds:.0f}s" if seconds < 120 else f"{seconds / 60:.0f}m"
    return f"{length}, from {speed.count} render{'s' if speed.count != 1 else ''}"
