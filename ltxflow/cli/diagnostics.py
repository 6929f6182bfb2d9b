"""Diagnose libraries, store, project and servers, for `doctor` and `servers`. Repairs nothing.

Findings contain no secrets and no home folder: people paste them into bug trackers.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ltxflow import __version__
from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import ServerAddress, find_servers, is_loopback, read_gateway
from ltxflow.comfy.inventory import Inventory, resolve_names
from ltxflow.comfy.replies import QueueEntry, SystemStats, clean
from ltxflow.comfy.signatures import Signatures, core_classes
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.workspace import real_path
from ltxflow.farm.capabilities import ServerFiles, ServerRequirements, missing_from, newest_on
from ltxflow.media.text_layout import lacking
from ltxflow.media.video import media_libraries, missing_codecs
from ltxflow.models.load import shipped_profiles
from ltxflow.project.config import Config, is_trusted
from ltxflow.project.load import load
from ltxflow.session.session import Session, foreign_in_use
from ltxflow.store.index import file_system, is_networked
from ltxflow.store.store import Store

Level = Literal["ok", "warning", "error"]

LIBRARIES = ("pyyaml", "jinja2", "jsonschema", "networkx", "httpx", "websockets", "diskcache", "numpy", "rich")
PYTHON = (3, 11)
LOW_SPACE, NO_SPACE = 5 << 30, 500 << 20  # bytes; a clip and its records take 5 to 50 MB
OLD, GOOD = (0, 3, 64), (0, 27, 0)  # of ComfyUI: before OLD it drops prompt ids; from GOOD on all was tested
SMALL_VRAM = 16 << 30  # bytes; Lightricks recommends 32 GB, fp8 with the text encoder in RAM needs less
SKEW_S = 120.0
GUESS_S, NAMED_S = 2.0, 10.0  # how long to wait for a server


@dataclass(frozen=True)
class Diagnostic:
    """The result of one check. `name` is stable, for scripts ("store.space"); `where` is a server."""

    name: str
    level: Level
    message: str
    hint: str = ""
    where: str = ""

    def as_json(self) -> dict[str, str]:
        return {
            "name": self.name,
            "level": self.level,
            "where": self.where,
            "message": self.message,
            "hint": self.hint,
        }


def without_home(finding: Diagnostic, homes: Iterable[str]) -> Diagnostic:
    """Return the finding with `~` in place of the home folder."""

    def short(text: str) -> str:
        for home in sorted({home.rstrip("/") for home in homes}, key=len, reverse=True):
            if len(home) > 1:
                text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
        return text

    return replace(finding, message=short(finding.message), hint=short(finding.hint))


def of_problem(name: str, problem: Problem, level: Level = "error", where: str = "") -> Diagnostic:
    """Return a problem as a finding, with its position in front."""
    place = f"{problem.span}: " if problem.span else ""
    own: Level = "warning" if problem.level != "error" else level
    return Diagnostic(name, own, f"{place}{problem.message}", problem.hint, where)


# --- this machine ---------------------------------------------------------------------------------


def machine_findings() -> Iterator[Diagnostic]:
    """Check Python and the libraries."""
    python = platform.python_version()
    versions = f"ltxflow {__version__} on Python {python}, {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < PYTHON:
        yield Diagnostic("python", "error", versions, "install Python 3.11 or newer")
    else:
        yield Diagnostic("python", "ok", versions)
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Diagnostic("libraries", "ok", ", ".join(found))
    if missing:
        yield Diagnostic("libraries", "error", f"not installed: {', '.join(missing)}", "install ltxflow again with pip")
    yield Diagnostic("media", "ok", ", ".join(f"{name} {number}" for name, number in media_libraries().items()))
    lacking = missing_codecs()
    if lacking:
        yield Diagnostic(
            "media",
            "error",
            f"the FFmpeg in PyAV lacks {', '.join(lacking)}",
            "install the PyAV wheel: pip install --force-reinstall --only-binary av av",
        )


# --- the store ------------------------------------------------------------------------------------


def store_findings(store: Store, source: str, mounts: Path = Path("/proc/mounts")) -> Iterator[Diagnostic]:
    """Check that the store exists, is private, local and indexed, and has space. `source` is what named it."""
    root = store.root
    if not root.exists():
        yield Diagnostic("store", "ok", f"{root} ({source}): the first build creates it")
    elif not root.is_dir():
        yield Diagnostic(
            "store", "error", f"{root} is not a folder", "move it away, or name another store in LTXFLOW_STORE"
        )
        return
    else:
        size, number = _size(store.cas.root)
        yield Diagnostic("store", "ok", f"{root} ({source}): {_bytes(size)} in {number} files")
        yield from _rights(root)
    yield from space_findings("store.space", root)
    try:
        kind = file_system(real_path(_existing(root)), mounts.read_text("utf-8", errors="replace"))
    except OSError:
        kind = ""
    if is_networked(kind):
        hint = "put it on a local disk: set LTXFLOW_STORE, or store: in the user config"
        yield Diagnostic("store.disk", "warning", f"the store is on a network or foreign file system ({kind})", hint)
    elif kind:
        yield Diagnostic("store.disk", "ok", f"a local file system ({kind})")
    if root.is_dir() and store.traces.is_dir():
        yield from _index(store)


def _rights(root: Path) -> Iterator[Diagnostic]:
    info = root.stat()
    mode = stat.S_IMODE(info.st_mode)
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        yield Diagnostic("store.rights", "error", f"{root} is not writable (mode {mode:04o})", f"chmod 700 {root}")
    elif hasattr(os, "getuid") and info.st_uid != os.getuid():
        yield Diagnostic("store.rights", "warning", f"{root} belongs to another user", f"chown -R $USER {root}")
    elif mode & 0o077:
        message = f"readable by other users (mode {mode:04o}); it holds prompts and images"
        yield Diagnostic("store.rights", "warning", message, f"chmod 700 {root}")
    else:
        yield Diagnostic("store.rights", "ok", f"store is private ({mode:04o})")


def _index(store: Store) -> Iterator[Diagnostic]:
    number = len([*store.keys()])
    store.index.get("health")  # opens it
    if store.index.disabled:
        hint = "put the store on a local disk for faster lookups; everything works without it"
        yield Diagnostic("store.index", "warning", f"the index is not used: {store.index.disabled}", hint)
    else:
        yield Diagnostic("store.index", "ok", f"{number} traces, indexed")
    store.close()


def space_findings(name: str, folder: Path) -> Iterator[Diagnostic]:
    """Check the free space of the disk that a folder is on."""
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        yield Diagnostic(
            name, "error", f"cannot read {folder}: {(error.strerror or 'failed').lower()}", "check its path"
        )
        return
    level: Level = "error" if free < NO_SPACE else "warning" if free < LOW_SPACE else "ok"
    hint = "" if level == "ok" else "free some space there, or set LTXFLOW_STORE to a larger disk"
    yield Diagnostic(name, level, f"{_bytes(free)} free for {folder}", hint)


def _existing(path: Path) -> Path:
    return next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))


def _size(folder: Path) -> tuple[int, int]:
    size = number = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(base, name)).st_size
                number += 1
            except OSError:
                continue
    return size, number


def _bytes(size: float) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


# --- the project ----------------------------------------------------------------------------------


def project_findings(session: Session) -> Iterator[Diagnostic]:
    """Check the files of an open project."""
    project = session.project
    yield Diagnostic("project", "ok", f"{project.file}: {len(project.scenes)} scenes, {len(project.clips)} clips")
    if session.lock_path.exists():
        takes = sum(len(entry.takes) for entry in session.lock.entries.values())
        yield Diagnostic("project.lock", "ok", f"ltxflow.lock has {takes} takes")
    for name, folder in (("project.own", session.own), ("project.output", project.output)):
        there = _existing(folder)
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            yield Diagnostic(name, "ok", f"{folder} is writable")
        else:
            yield Diagnostic(name, "error", f"{folder} is not writable", f"make {there} writable")
    if os.stat(_existing(project.output)).st_dev != os.stat(_existing(session.store.root)).st_dev:
        yield from space_findings("project.space", project.output)
    yield from _glyph_findings(session)
    for problem in session.warnings:
        yield of_problem("project", problem, "warning")


def _glyph_findings(session: Session) -> Iterator[Diagnostic]:
    """Check that slates and burnt-in captions can show the text of the film."""
    project = session.project
    spoken = [scene.narration.text for scene in project.scenes]
    shown = [text for clip in project.clips for text in (clip.prompt.text, clip.prompt.camera)]
    if lack := lacking(" ".join((*shown, *spoken))):
        hint = f"{lack.hint}; needed for slates and burnt-in captions only"
        yield Diagnostic("project.letters", "warning", f"the film's text: {lack.message}", hint)


def closed_project_findings(file: Path, root: str | None, config: Config, error: LtxflowError) -> Iterator[Diagnostic]:
    """Report why a project does not open; that it is not trusted is only a warning."""
    try:
        project = load(file, root=root, is_trusted=True).project
        untrusted = not is_trusted(config, file.parent, project.foreign, foreign_in_use(project))
    except LtxflowError:
        untrusted = False
    for problem in error.problems:
        name = "project.trust" if untrusted else "project"
        yield of_problem(name, problem, "warning" if untrusted else "error")


# --- servers --------------------------------------------------------------------------------------


@dataclass
class ServerReport:
    """The answer of a server, or why there is none. `seconds` is a round trip; `skew_s` its clock minus ours."""

    place: ServerAddress
    problem: Problem | None = None
    stats: SystemStats | None = None
    queue: tuple[QueueEntry, ...] = ()
    has_jobs: bool | None = None
    seconds: float = 0.0
    skew_s: float | None = None
    has_socket: bool | None = None
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.place.server)

    @property
    def ours(self) -> int:
        return sum(not entry.is_foreign for entry in self.queue)

    @property
    def others(self) -> int:
        return sum(entry.is_foreign for entry in self.queue)

    def as_json(self) -> dict[str, Any]:
        device = self.stats.devices[0] if self.stats and self.stats.devices else None
        return {
            "name": self.name,
            "url": self.place.url,
            "from": self.place.reason,
            "is_guess": self.place.is_guess,
            "reachable": self.stats is not None,
            "problem": self.problem.message if self.problem else None,
            "version": self.stats.version if self.stats else None,
            "device": device.name if device else None,
            "vram_total": device.vram_total if device else None,
            "vram_free": device.vram_free if device else None,
            "queue": {"ours": self.ours, "others": self.others} if self.stats else None,
            "jobs_api": self.has_jobs,
            "round_trip_s": round(self.seconds, 3) if self.stats else None,
            "clock_skew_s": self.skew_s,
            "websocket": self.has_socket,
        }


def places_for(named: Sequence[str], env: Mapping[str, str], config: Config, default: str = "") -> list[ServerAddress]:
    """Return the servers by `--server`, environment, user config or a trusted project's default."""
    servers = config.as_servers
    return find_servers(named, env, servers, default or None)


def source_findings(places: Sequence[ServerAddress], env: Mapping[str, str], config: Config) -> Iterator[Diagnostic]:
    """Report which source names the servers, and which other sources are set but unused."""
    if not places:
        return
    won = places[0].reason
    if places[0].is_guess:
        tried = ", ".join(urlsplit(place.url).netloc for place in places)
        yield Diagnostic("servers", "ok", f"no server configured; tried {tried}")
    else:
        yield Diagnostic("servers", "ok", f"{', '.join(str(place.server) for place in places)} (from {won})")
    weaker = {name: env.get(name, "").strip() for name in ("LTXFLOW_SERVERS", "COMFY_URL", "COMFYUI_URL")}
    order = ["--server", "LTXFLOW_SERVERS", "user config", "COMFY_URL", "COMFYUI_URL"]
    below = order[order.index(won) + 1 :] if won in order else []
    unused = [name for name in below if weaker.get(name) or (name == "user config" and config.servers)]
    if unused:
        yield Diagnostic("servers.unused", "ok", f"also set, but unused: {', '.join(unused)} ({won} takes precedence)")
    gateway = read_gateway()
    if gateway:
        yield Diagnostic("wsl", "ok", f"running in WSL; the Windows host is {gateway}")


async def probe_server(
    place: ServerAddress, ours: Collection[str] = (), *, tries_socket: bool = False
) -> tuple[ServerReport, Client | None]:
    """Ask a server for its state; return the report, and the open client if it answers. `ours` are prompt ids."""
    patience = GUESS_S if place.is_guess else NAMED_S
    report = ServerReport(place)
    try:
        client = Client(place.server, timeout_s=patience, connect_s=min(patience, 5.0))
    except LtxflowError as error:
        report.problem = error.problems[0]
        return report, None
    try:
        began = time.monotonic()
        report.stats = await client.system_stats()
        report.seconds = time.monotonic() - began
        report.queue = await client.queue(ours)
        report.has_jobs = bool(client.has_jobs)
        clock = await client.server_time()
        if clock is not None:
            report.skew_s = round((clock - datetime.now(UTC)).total_seconds(), 1)
        if tries_socket:
            report.has_socket = await _has_socket(client)
    except LtxflowError as error:
        problem = error.problems[0]
        report.problem = replace(problem, message=problem.message.removeprefix(f"{place.server}: "))
        if report.stats is None:
            await client.close()
            return report, None
    return report, client


async def _has_socket(client: Client) -> bool:
    """Return whether the WebSocket opens: without it builds work, but show no steps."""
    try:
        async with asyncio.timeout(NAMED_S):
            async for _ in client.socket.watch():
                return True  # the server sends its queue first
    except TimeoutError:
        pass
    return False


def server_findings(report: ServerReport) -> Iterator[Diagnostic]:
    """Report the state of a server, independent of a film."""
    where = report.name
    if report.stats is None:
        message = report.problem.message if report.problem else "no answer"
        hint = report.problem.hint if report.problem else ""
        hint = hint or "start ComfyUI there, or name another server with --server"
        yield Diagnostic("server.reachable", "error", message, hint, where)
        return
    millis = f"{report.seconds * 1000:.0f} ms"
    yield Diagnostic(
        "server.reachable", "ok", f"{report.place.url} answers in {millis} ({report.place.reason})", "", where
    )
    if report.problem:
        yield of_problem("server.reachable", report.problem, "error", where)
    yield _version(report.stats, where)
    yield from _memory(report.stats, where)
    total = len(report.queue)
    queue = f"{report.ours} of ours, {report.others} of others" if total else "empty"
    yield Diagnostic("server.queue", "ok", f"queue: {queue}", "", where)
    if report.has_jobs:
        yield Diagnostic("server.jobs", "ok", "has /api/jobs", "", where)
    else:
        hint = "update ComfyUI to 0.14 or newer to poll single jobs"
        yield Diagnostic("server.jobs", "ok", "has no /api/jobs", hint, where)
    if report.skew_s is not None and abs(report.skew_s) > SKEW_S:
        later = "ahead of" if report.skew_s > 0 else "behind"
        message = f"its clock is {abs(report.skew_s):.0f} s {later} this one"
        yield Diagnostic("server.clock", "warning", message, "synchronize both with a time server", where)
    elif report.skew_s is not None:
        yield Diagnostic("server.clock", "ok", "clock in sync", "", where)
    yield from _open_line(report.place)


def _version(stats: SystemStats, where: str) -> Diagnostic:
    numbers = tuple(int(part) for part in re.findall(r"\d+", stats.version)[:3])
    name = f"ComfyUI {stats.version or 'of an unknown version'}"
    if not numbers:
        return Diagnostic("server.version", "warning", name, "update it: 0.27 or newer is known to work", where)
    if numbers < OLD:
        return Diagnostic(
            "server.version", "warning", f"{name} is old", "update it: 0.27 or newer is known to work", where
        )
    hint = "" if numbers >= GOOD else "0.27 or newer is known to work"
    return Diagnostic("server.version", "ok", name, hint, where)


def _memory(stats: SystemStats, where: str) -> Iterator[Diagnostic]:
    cards = [device for device in stats.devices if device.type != "cpu"]
    if not cards:
        hint = "use a GPU of 16 GB or more; without one: ltxflow build --animatic"
        yield Diagnostic("server.memory", "warning", "it runs on the CPU: a clip takes hours", hint, where)
    for card in cards:
        memory = f"{card.name}: {_bytes(card.vram_free)} of {_bytes(card.vram_total)} free"
        if card.vram_total and card.vram_total < SMALL_VRAM:
            hint = "use quality: preview, short clips and weights: {text_encoder: fp4} to need less"
            yield Diagnostic("server.memory", "warning", memory, hint, where)
        else:
            yield Diagnostic("server.memory", "ok", memory, "", where)


def _open_line(place: ServerAddress) -> Iterator[Diagnostic]:
    if not place.url.startswith("http://") or is_loopback(place.url):
        return
    if urlsplit(place.url).hostname == read_gateway():
        return  # the same machine, seen from WSL
    secret = ", with your secret in the headers" if place.headers else ""
    yield Diagnostic(
        "server.line",
        "warning",
        f"prompts and images are sent unencrypted{secret}; ComfyUI has no login",
        "connect through ssh -L 8188:127.0.0.1:8188, or an https proxy with a login",
        str(place.server),
    )


async def film_findings(
    report: ServerReport, client: Client, needs: ServerRequirements, config: Config
) -> list[Diagnostic]:
    """Return what a server has and lacks of the models, files and nodes that a film needs."""
    found: list[Diagnostic] = []
    inventory = Inventory(client, report.stats)
    level: Level = "error" if needs.is_sure else "warning"
    present: list[str] = []
    wanted: list[tuple[list[str], list[tuple[str, Span | None]], str]] = [
        ([role], [], user) for role, user in needs.roles.items()
    ]
    wanted += [([], [(name, span)], user) for name, (user, span) in needs.loras.items()]
    try:
        weights = {**needs.weights, **await _available_precisions(inventory, needs)}
        for roles, loras, user in wanted:
            try:
                names = await resolve_names(inventory, needs.profile, weights, roles, loras, user)
            except LtxflowError as error:
                if any(problem.code != "C010" for problem in error.problems):
                    raise
                for problem in error.problems:
                    short = replace(problem, message=problem.message.removeprefix(f"{client.server}: "))
                    found.append(of_problem("server.models", short, level, report.name))
            else:
                present += [*names.models.values(), *names.loras.values()]
        for template, folder, name in needs.named():
            available = await inventory.names(folder)
            file = inventory.choose([name], available, folder)
            if file:
                present.append(file)
            else:
                found.append(_missing(template, folder, name, available, report.name))
        for doubt in inventory.new_doubts():
            doubt = replace(doubt, message=doubt.message.removeprefix(f"{client.server}: "))
            found.append(of_problem("server.models", doubt, "warning", report.name))
        if present:
            found.append(Diagnostic("server.models", "ok", f"has {', '.join(dict.fromkeys(present))}", "", report.name))
        if needs.graphs:
            info = await client.object_info()
            found += _node_findings(report.name, needs, Signatures.from_object_info(info), config)
    except LtxflowError as error:
        found += [of_problem("server.models", problem, "error", report.name) for problem in error.problems]
    return found


async def _available_precisions(inventory: Inventory, needs: ServerRequirements) -> dict[str, str]:
    """Return the first precision that a server has of each model whose precision is not set."""
    found: dict[str, str] = {}
    for role in needs.open & needs.roles.keys():
        model = needs.profile.models[role]
        listed = await inventory.names(model.folder)
        there = next((precision for precision in model.order if model.find(precision, listed)), None)
        found |= {role: there} if there else {}
    return found


def model_findings(holding: ServerFiles) -> Iterator[Diagnostic]:
    """Report the largest profile that a server can run, and what it lacks for the others."""
    found, where = newest_on(holding, models := list(shipped_profiles())), holding.server
    if found is None:
        message = "none of the built-in profiles can run here"
        yield Diagnostic("server.largest", "warning", message, "see below for what each of them lacks", where)
    else:
        message = f"the largest model this server can run: {found.title} (profile: {found.name})"
        yield Diagnostic("server.largest", "ok", message, "", where)
    for profile in models:
        if missing := missing_from(holding, profile):
            files = [each for each in missing if "/" in each]
            hint = "put the files into ComfyUI/models/" if files else "update ComfyUI there"
            message = f"{profile.title} (profile: {profile.name}) lacks {', '.join(missing)}"
            yield Diagnostic("server.lacks", "ok", message, hint, where)


def _missing(template: str, folder: str, name: str, available: Sequence[str], where: str) -> Diagnostic:
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.4)
    closest = f'; closest there: "{clean(near[0], 100)}"' if near else ""
    message = f'no "{name}" in {folder}, required by template "{template}"'
    return Diagnostic("server.models", "error", message, f"put it in ComfyUI/models/{folder}{closest}", where)


def _node_findings(where: str, needs: ServerRequirements, signatures: Signatures, config: Config) -> list[Diagnostic]:
    found: dict[str, Diagnostic] = {}
    for template, clip, graph in needs.graphs:
        problems = check_graph(
            graph,
            signatures,
            template=template,
            models=False,
            allowed=core_classes() | config.allowed_nodes,
        )
        for problem in problems:
            if problem.level != "advice":
                named = replace(problem, message=f"{clip}: {problem.message}")
                found.setdefault(problem.message, of_problem("server.nodes", named, "error", where))
    if any(finding.level == "error" for finding in found.values()):
        return list(found.values())
    classes = {node["class_type"] for _, _, graph in needs.graphs for node in graph.values()}
    templates = ", ".join(sorted({template for template, _, _ in needs.graphs}))
    ok = Diagnostic("server.nodes", "ok", f"has all {len(classes)} node classes of {templates}", "", where)
    return [*found.values(), ok]


def ease(findings: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Turn what one server lacks and another has into a warning."""
    lacking = [f for f in findings if f.name == "server.models" and f.level == "error"]
    servers = {f.where for f in findings if f.name == "server.reachable" and f.level == "ok"}
    complete = servers - {f.where for f in lacking}
    if not complete:
        return list(findings)
    return [
        replace(f, level="warning", hint=f"{f.hint}; until then {', '.join(sorted(complete))} renders those clips")
        if f in lacking
        else f
        for f in findings
    ]
