"""Options that several commands share, and what they mean: plan and build options, settings, an open project."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.core.errors import LtxflowError, install_command, problem
from ltxflow.documents.document import find_project
from ltxflow.lock.model import moved
from ltxflow.plan.graph import revisions
from ltxflow.plan.plan import Mode, Plan, PlanOptions, picked_take
from ltxflow.project.config import read_config
from ltxflow.project.model import Clip, Still
from ltxflow.project.settings import NAMES
from ltxflow.session.session import Session, hold, open_session
from ltxflow.ui.terminal import Console, count

if TYPE_CHECKING:  # a command that only reads loads nothing of builds, servers and the store's cleaning
    from ltxflow.core.events import Event
    from ltxflow.farm.options import BuildOptions, Servers
    from ltxflow.session.scene_memo import PlanRequest

LENGTHS = ("T101", "T102")  # codes of what a plan and `check` both find
ADDRESS_VARIABLES = ("LTXFLOW_SERVERS", "COMFY_URL", "COMFYUI_URL")


def require(command: str, extra: str, libraries: Iterable[str]) -> None:
    """Raise LtxflowError where a library that a command needs is missing, with the command that installs it."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise LtxflowError(problem("U018", command=command, names=names, install=install_command(extra)))


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change what is planned: mode, quality, settings, lengths."""
    parser.add_argument("--animatic", action="store_true", help="draw slates instead of rendering: no GPU, no server")
    add_settings(parser)
    parser.add_argument("--only", choices=["references"], default="", help="make only the images that clips start from")
    parser.add_argument("--relength", action="store_true", help="solve lengths again, even of rendered clips")
    parser.add_argument("--force", action="store_true", help="make the selected clips again, changed or not")


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that limit a build: servers, GPU time, processes, and what a failure stops."""
    add_server_options(parser)
    limit_help = "stop starting clips past this much GPU time (e.g. 30m)"
    parser.add_argument("--max-gpu", type=seconds_of, metavar="TIME", help=limit_help)
    parser.add_argument("--jobs", type=count_of, metavar="N", help="slates drawn at once (default: one per CPU)")
    failure = parser.add_mutually_exclusive_group()
    failure.add_argument(
        "--keep-going", action="store_true", default=True, help="continue after a failed clip (default)"
    )
    failure.add_argument("--fail-fast", dest="keep_going", action="store_false", help="start nothing after a failure")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options that override settings of the project for one run."""
    parser.add_argument("--quality", metavar="Q", help="preview, distilled or full, for this run")
    parser.add_argument("--takes", type=int, metavar="N", help="the number of takes of each clip, for this run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any clip setting for this run, such as steps=6 or reference.strength=0.8",
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name servers and say how long to wait for them."""
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="a ComfyUI server, or a name from your config; repeatable",
    )
    parser.add_argument(
        "--patience",
        type=seconds_of,
        default=300.0,
        metavar="TIME",
        help="how long to wait for a server that stops answering (default: 5m)",
    )
    parser.add_argument(
        "--dead-after",
        type=seconds_of,
        default=15.0,
        metavar="TIME",
        help="how long a server may refuse connections before its clips move to others (default: 15s)",
    )


def count_of(text: str) -> int:
    """Parse a number of at least 1. Raise ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a positive whole number')
    return int(text)


def seconds_of(text: str) -> float:
    """Parse `90s`, `30m` or `1.5h` as seconds. Raise ArgumentTypeError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a duration: write 90s, 30m or 1.5h')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the command line's layer of settings. Raise LtxflowError for unknown names and wrong values."""
    settings: dict[str, Any] = {}
    for pair in args.set:
        name, equals, value = pair.partition("=")
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"settings: {', '.join(sorted(NAMES))}"
            raise LtxflowError(problem("U011.unknown", pair=pair, name=name, hint=hint))
        if not equals:
            raise LtxflowError(problem("U011.no-value", pair=pair, name=name))
        settings[name] = _value(name, value)
    if args.quality is not None:
        settings["quality"] = args.quality
    if args.takes is not None:
        settings["takes"] = args.takes
    return settings


_NUMBERS = {"seed": int, "steps": int, "stages": int, "takes": int, "reseed": int, "cfg": float}


def _value(name: str, text: str) -> Any:
    try:
        if name in _NUMBERS:
            return _NUMBERS[name](text)
        if name == "seeds":
            return [int(part) for part in text.split(",") if part]
        if name.endswith((".strength", ".compression")):
            return float(text)
        if name.endswith(".focus"):
            across, down = map(float, text.split(","))
            return [across, down]
    except ValueError:
        raise LtxflowError(problem("U011.not-a-number", name=name, value=text)) from None
    if name == "temporal_upscale":
        if text not in ("true", "false"):
            raise LtxflowError(problem("U011.not-boolean", name=name, value=text))
        return text == "true"
    if name.startswith("checks."):
        number = re.fullmatch(r"-?\d+(\.\d+)?", text)
        return text == "true" if text in ("true", "false") else float(text) if number else text
    if name in ("loras", "ignore"):
        return [part for part in text.split(",") if part]
    return None if text in ("null", "none") else text


def print_notes(args: argparse.Namespace, console: Console, session: Session, plan: Plan | None = None) -> None:
    """Print the warnings about a film; of those that `check` prints in full, which mostly are known, the number."""
    lengths = [each for each in plan.problems if each.code in LENGTHS] if plan else []
    static = [*session.loaded.problems, *lengths]
    rest = [*session.warnings, *(each for each in plan.problems if each.code not in LENGTHS)] if plan else []
    if args.verbose:
        console.problems([*static, *rest] if plan else static)
        return
    if args.quiet:
        return
    warnings = sum(each.level == "warning" for each in static)
    if warnings:
        words = ["ltxflow", "check", *(["-p", args.project] if args.project else [])]
        mark = console.paint("!", "yellow")
        console.warn(f"{mark} {count(warnings, 'warning')}; details: {shlex.join(words)}")
    console.problems([each for each in rest if each.level == "warning"])


def plan_options(args: argparse.Namespace, session: Session) -> PlanOptions:
    """Return the plan options of a command line; `changed:REF` selectors are resolved through git."""
    mode: Mode = "animatic" if args.animatic else "render"
    if args.animatic and args.only:
        raise LtxflowError(problem("U014.animatic-references"))
    selectors = tuple(args.selectors)
    recorded = _recorded(session, selectors)
    options = PlanOptions(mode, selectors, args.relength, args.force, recorded, only=args.only)
    if not revisions(options.selectors):
        return options
    from ltxflow.session.revision import with_groups  # few command lines need git

    return with_groups(session, options)


def take_options(session: Session, text: str) -> PlanOptions:
    """Return the options for a plan of one take: `hook/b@2`, or the pick of `hook/b`. A selector stays one."""
    path, at, _ = text.removeprefix("clip:").partition("@")
    every: list[Clip | Still] = [*session.project.clips, *session.project.stills]
    found = next((one for one in every if one.path == path), None)
    if found is not None and not at:
        text = f"{path}@{picked_take(session.lock, found)}"
    return PlanOptions(selectors=(text,), also=_recorded(session, (text,)))


def _recorded(session: Session, selectors: tuple[str, ...]) -> tuple[str, ...]:
    """Return the selectors that name a take in the lock: its number may exceed what the film requests."""
    named = [selector.removeprefix("clip:").partition("@") for selector in selectors if "@" in selector]
    entries = session.lock.entries
    return tuple(
        f"{path}@{take}"
        for path, _, take in named
        if path in entries and take.isdecimal() and int(take) in entries[path].takes
    )


def plan_request(args: argparse.Namespace) -> PlanRequest | None:
    """Return the plan that is asked for; None for a part of the film, or where every clip is to be listed."""
    if args.selectors or args.relength or args.force or args.only or args.json or args.verbose:
        return None
    from ltxflow.session.scene_memo import PlanRequest

    mode: Mode = "animatic" if args.animatic else "render"
    return PlanRequest(args.project, args.root, mode, settings_of(args), Path.cwd(), os.environ)


def servers_of(args: argparse.Namespace) -> Servers:
    """Return the servers of a command line, and how long to wait for them."""
    from ltxflow.farm.options import Servers

    return Servers(tuple(args.server), args.patience, getattr(args, "max_gpu", None), args.dead_after)


def build_options(args: argparse.Namespace) -> BuildOptions:
    """Return the build options of a command line."""
    from ltxflow.farm.options import BuildOptions

    return BuildOptions(servers_of(args), args.jobs or 0, args.keep_going)


def check_servers(args: argparse.Namespace) -> None:
    """Raise LtxflowError for an invalid address of a server, whether or not one is needed."""
    config = read_config(os.environ).as_servers
    if args.server or config or any(os.environ.get(name) for name in ADDRESS_VARIABLES):
        from ltxflow.comfy.discovery import check_addresses  # late: mostly no server is named

        check_addresses(args.server, os.environ, config)


def session_of(args: argparse.Namespace) -> Session:
    """Open the project of a command line, with its settings on top."""
    if hasattr(args, "server"):
        check_servers(args)
    command_line = settings_of(args) if hasattr(args, "set") else {}
    return open_session(args.project, cwd=Path.cwd(), env=os.environ, root=args.root, command_line=command_line)


@contextmanager
def waited_session(args: argparse.Namespace, emit: Callable[[Event], None], *, wait: bool) -> Iterator[Session]:
    """Open the project for a build, with its lock held; emit a notice while another process holds it."""
    from ltxflow.core.events import Notice

    def waiting(owner: Mapping[str, Any]) -> None:
        process = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
        emit(Notice(f"waiting for another build of this project ({process})", "warning"))

    with _held_session(args, waiting, wait=wait) as session:
        yield session


@contextmanager
def locked_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Open the project to change what is published, waiting for other processes to release it."""

    def waiting(owner: Mapping[str, Any]) -> None:
        warn(f"waiting for process {owner.get('pid', '?')} to release this project")

    with _held_session(args, waiting, wait=True) as session, _registered(session):
        yield session


@contextmanager
def deciding_session(args: argparse.Namespace) -> Iterator[Session]:
    """Open the project to decide about takes: only the lock is written, so that no build is waited for.

    Decisions are about clips under their present names, so `moved:` is applied first.
    """
    with session_of(args) as session, _registered(session):
        session.lock = moved(session.lock, session.project.moved)
        yield session


@contextmanager
def _registered(session: Session) -> Iterator[None]:
    """Keep `cache gc` away while a command decides or writes, then register what the film needs."""
    from ltxflow.session.gc_roots import register
    from ltxflow.store.leases import gc_shared

    with gc_shared(session.store.root):
        yield
    register(session)


@contextmanager
def steady_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Open the project to read it while nothing writes to it.

    A folder that cannot be written needs no lock.
    """
    folder = find_project(args.project, Path.cwd()).parent
    with locked_session(args, warn) if os.access(folder, os.W_OK) else session_of(args) as session:
        yield session


@contextmanager
def _held_session(
    args: argparse.Namespace, waiting: Callable[[Mapping[str, Any]], None], *, wait: bool
) -> Iterator[Session]:
    """Open the project, so that its problems are reported before any wait, then hold it.

    After a wait it is opened again, since it may have been edited. Without one only records are read again: a command
    that writes them may just have ended.
    """
    owners: list[Mapping[str, Any]] = []

    def noted(owner: Mapping[str, Any]) -> None:
        owners.append(owner)
        waiting(owner)

    with session_of(args) as session, hold(session, wait=wait, on_wait=noted):
        damage = session.warnings
        if not owners:
            session.read_records()
            yield session
            return
        with session_of(args) as again:
            again.warnings[:0] = damage
            yield again
