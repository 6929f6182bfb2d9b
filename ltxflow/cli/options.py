"""The options that several verbs share, and what they come to as settings. Knows argparse, not what a verb does.

Opens a project for a verb that changes it, alone: another process that holds it is waited for.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.events import Event, Notice
from ltxflow.documents.paths import find_project
from ltxflow.farm.options import BuildOptions, Servers
from ltxflow.plan.plan import Mode, PlanOptions
from ltxflow.plan.select import revisions
from ltxflow.project.settings import NAMES
from ltxflow.session.gc_roots import register
from ltxflow.session.scene_memo import PlanRequest
from ltxflow.session.session import Session, hold, open_session
from ltxflow.store.leases import gate


def add_question(parser: argparse.ArgumentParser) -> None:
    """Given a verb's parser, add selectors and what changes the question: mode, quality, settings, lengths."""
    parser.add_argument(
        "selectors",
        nargs="*",
        metavar="SELECTOR",
        help="hook, hook/b, hook/b@2, globs, tag:night, changed:main, !outro",
    )
    parser.add_argument("--animatic", action="store_true", help="slates in place of renders: no GPU, no server")
    add_settings(parser)
    parser.add_argument(
        "--only", choices=["references"], default="", help="only the images that clips start from: stills to look at"
    )
    parser.add_argument("--relength", action="store_true", help="solve lengths afresh, even of rendered clips")
    parser.add_argument("--force", action="store_true", help="make the chosen clips again, though nothing changed")


def add_means(parser: argparse.ArgumentParser) -> None:
    """Given a verb's parser, add what a build may use: servers, time, processors, and what a failure stops."""
    add_servers(parser)
    parser.add_argument("--max-gpu", type=seconds_of, metavar="TIME", help="start nothing that would pass this, as 30m")
    parser.add_argument("--jobs", type=count_of, metavar="N", help="slates drawn at once (default: one a processor)")
    going = parser.add_mutually_exclusive_group()
    going.add_argument("--keep-going", action="store_true", default=True, help="a failed clip stops no other (default)")
    going.add_argument("--fail-fast", dest="keep_going", action="store_false", help="start nothing after a failure")


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quality", metavar="Q", help="preview, distilled or full, for this run")
    parser.add_argument("--takes", type=int, metavar="N", help="how many takes of each clip, for this run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any clip setting for this run, such as steps=6 or reference.strength=0.8",
    )


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Given a verb's parser, add where the servers are."""
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
        help="how long a server may refuse connections before another one makes its clip (default: 15s)",
    )


def count_of(text: str) -> int:
    """Given a number of at least 1, return it. Raise ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 1 on')
    return int(text)


def seconds_of(text: str) -> float:
    """Given `90s`, `30m` or `1.5h`, return seconds. Raise ArgumentTypeError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time: write 90s, 30m or 1.5h')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Given parsed arguments, return the command line's layer of settings. Raise LtxflowError for unknown names."""
    told: dict[str, Any] = {}
    for pair in args.set:
        name, equals, value = pair.partition("=")
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"settings: {', '.join(sorted(NAMES))}"
            raise LtxflowError(Problem(f'--set {pair}: no setting "{name}"', hint=hint, code="U011"))
        if not equals:
            raise LtxflowError(Problem(f"--set {pair}: no value", hint=f"write --set {name}=VALUE", code="U011"))
        told[name] = _value(name, value)
    if args.quality is not None:
        told["quality"] = args.quality
    if args.takes is not None:
        told["takes"] = args.takes
    return told


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
        raise LtxflowError(Problem(f'--set {name}: "{text}" is not a number', code="U011")) from None
    if name == "temporal_upscale":
        if text not in ("true", "false"):
            raise LtxflowError(Problem(f'--set {name}: "{text}" is neither true nor false', code="U011"))
        return text == "true"
    if name.startswith("checks."):
        number = re.fullmatch(r"-?\d+(\.\d+)?", text)
        return text == "true" if text in ("true", "false") else float(text) if number else text
    if name in ("loras", "ignore"):
        return [part for part in text.split(",") if part]
    return None if text in ("null", "none") else text


def question_of(args: argparse.Namespace, session: Session) -> PlanOptions:
    """Given parsed arguments, return what they ask of the film; git is asked for `changed:REF`."""
    mode: Mode = "animatic" if args.animatic else "render"
    if args.animatic and args.only:
        hint = "leave out --animatic, or --only"
        raise LtxflowError(Problem("slates stand in for clips alone: they need no references", hint=hint, code="U014"))
    selectors = tuple(args.selectors)
    asked = PlanOptions(mode, selectors, args.relength, args.force, _recorded(session, selectors), only=args.only)
    if not revisions(asked.selectors):
        return asked
    from ltxflow.session.revision import with_groups  # by need: few ask git

    return with_groups(session, asked)


def _recorded(session: Session, selectors: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the selectors that name a take which was made: it may be more than the film asks for by now."""
    named = [selector.removeprefix("clip:").partition("@") for selector in selectors if "@" in selector]
    entries = session.lock.entries
    return tuple(
        f"{path}@{take}"
        for path, _, take in named
        if path in entries and take.isdecimal() and int(take) in entries[path].takes
    )


def plan_request(args: argparse.Namespace) -> PlanRequest | None:
    """Return the plan that is asked for; None where it is of a part of the film, or every clip is to be listed."""
    if args.selectors or args.relength or args.force or args.only or args.json or args.verbose:
        return None
    mode: Mode = "animatic" if args.animatic else "render"
    return PlanRequest(args.project, args.root, mode, settings_of(args), Path.cwd(), os.environ)


def servers_of(args: argparse.Namespace) -> Servers:
    return Servers(tuple(args.server), args.patience, getattr(args, "max_gpu", None), args.dead_after)


def means_of(args: argparse.Namespace) -> BuildOptions:
    """Given parsed arguments, return what a build may use."""
    return BuildOptions(servers_of(args), args.jobs or 0, args.keep_going)


def session_of(args: argparse.Namespace) -> Session:
    """Given parsed arguments, open the project they name, with their settings on top."""
    command_line = settings_of(args) if hasattr(args, "set") else {}
    return open_session(args.project, cwd=Path.cwd(), env=os.environ, root=args.root, command_line=command_line)


@contextmanager
def waited_session(args: argparse.Namespace, emit: Callable[[Event], None], *, wait: bool) -> Iterator[Session]:
    """Given parsed arguments, open the project for a build, alone; `emit` is told when another is waited for."""

    def waiting(owner: Mapping[str, Any]) -> None:
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
        emit(Notice(f"another build holds this project ({who}); waiting for it", "warning"))

    with _held_session(args, waiting, wait=wait) as session:
        yield session


@contextmanager
def locked_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Given parsed arguments, open the project for a change of its lock, alone: others are waited for."""

    def waiting(owner: Mapping[str, Any]) -> None:
        warn(f"process {owner.get('pid', '?')} holds this project; waiting for it")

    with _held_session(args, waiting, wait=True) as session:
        with gate(session.store.root):
            yield session
        register(session)


@contextmanager
def steady_session(args: argparse.Namespace, warn: Callable[[str], None]) -> Iterator[Session]:
    """Given parsed arguments, open the project to read what must not be written meanwhile: alone, but where nobody can
    write there is nobody to wait for."""
    folder = find_project(args.project, Path.cwd()).parent
    with locked_session(args, warn) if os.access(folder, os.W_OK) else session_of(args) as session:
        yield session


@contextmanager
def _held_session(
    args: argparse.Namespace, waiting: Callable[[Mapping[str, Any]], None], *, wait: bool
) -> Iterator[Session]:
    """Open the project, so that its problems are told before anybody waits, and hold it.

    Whoever waited opens it anew: it may have been edited meanwhile. Else only what verbs write is read again, since
    one may just have ended.
    """
    waited: list[Mapping[str, Any]] = []

    def noted(owner: Mapping[str, Any]) -> None:
        waited.append(owner)
        waiting(owner)

    with session_of(args) as session, hold(session, wait=wait, on_wait=noted):
        damage = session.warnings
        if not waited:
            session.read_records()
            yield session
            return
        with session_of(args) as again:
            again.warnings[:0] = damage
            yield again
