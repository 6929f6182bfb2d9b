"""The board's server: pages, media, server-sent events, decisions and actions of pages."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from watchfiles import Change, awatch

from ltxflow.board import drawings
from ltxflow.board.film import DECISIONS, MADE, PHASES, Conflict, Film, MediaFile
from ltxflow.board.hub import Hub
from ltxflow.board.jobs import Job, Jobs
from ltxflow.board.live import Live
from ltxflow.board.pages import STATIC, render
from ltxflow.board.security import Guard, Keys
from ltxflow.build.event_log import LogReader
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.workspace import open_regular

Json = dict[str, Any]
T = TypeVar("T")
FOLLOW_S = 0.2  # between looks at the events of a build
HEAD_S = 1.0
CALM_S = 2.0  # between readings of the film while a build writes to it
PIECE = 4 << 20  # bytes of one answer to a request for a part of a video: a browser keeps few connections
BLOCK = 256 << 10
MOST_BODY = 200_000  # bytes of a request
NOTES = 60  # of what happened that a page lists
STATE_WORDS = {"skipped": "skipped", "rendered": "rendered", "waiting": "queued"}
KIND_WORDS = {"create": "new", "change": "again", "maybe": "maybe", "restore": "from store", "unchanged": "kept"}
ACTIONS = {
    "build": ("build",),
    "animatic": ("build", "--animatic"),
    "retake": ("retake",),
}


@dataclass
class Board:
    """A film, its running build and the pages that look at them."""

    film: Film
    keys: Keys
    log: LogReader
    jobs: Jobs
    shown_options: Sequence[str] = ()  # of commands as pages show them
    hub: Hub = field(default_factory=Hub)
    live: Live = field(default_factory=Live)
    notes: deque[Json] = field(default_factory=lambda: deque(maxlen=NOTES))
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "film"))
    states: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # of clips, as pages were last told
    cards: dict[str, tuple[Any, str]] = field(default_factory=dict)
    strips: dict[str, tuple[Any, str]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_head_old: bool = False
    head_sent: float = 0.0
    is_ended: bool = False

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run something on the film's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)

    # --- what pages are told

    async def refresh(self, by: str = "") -> None:
        """Read the film again, and tell pages what changed; `by` is the page that caused it."""
        before = self.film.problems
        news = await self.in_thread(self.film.refresh)
        if self.film.problems != before:
            self.hub.send("problem", {"html": render("problems.html", {"problems": self.film.problems})})
        for each in news:
            if each["kind"] == "clip" and each["path"] in self.film.data["clips"]:
                self.send_card(each["path"], by)
            else:
                self.hub.send(each["kind"], {"path": each["path"], "by": by})
            if each["text"]:
                self.note(each["text"], path=each["path"], by=by)
        if news:
            self.is_head_old, self.head_sent = True, 0.0
            self.send_head()

    def note(self, text: str, *, path: str = "", by: str = "", level: str = "info") -> None:
        entry = {"text": text, "path": path, "at": time.time(), "level": level}
        self.notes.appendleft(entry)
        self.hub.send("note", {**entry, "by": by})

    def send_head(self) -> None:
        """Send what is above the scenes, now and then: it is large, and counts states."""
        if self.is_head_old and time.monotonic() - self.head_sent >= HEAD_S:
            self.is_head_old, self.head_sent = False, time.monotonic()
            self.hub.send("head", {"html": self.part("overview.html")})

    def send_card(self, path: str, by: str = "") -> None:
        row = self.row(path)
        self.states[path] = _state_of(row)
        self.hub.send("clip", {"path": path, "html": self.card(path), "by": by, "state": row["state"]})

    def row(self, path: str) -> Json:
        """Return a clip as pages show it: as it stands, and what the running build does about it."""
        row = self.film.data["clips"][path]
        running = self.live.by_path().get(path) if self.live.targets else None
        return _with_running(row, running.as_json(time.time()) if running else None, self.live.is_running)

    def rows(self) -> dict[str, Json]:
        now, running = time.time(), self.live.by_path()
        return {
            path: _with_running(row, running[path].as_json(now) if path in running else None, self.live.is_running)
            for path, row in self.film.data["clips"].items()
        }

    def card(self, path: str, row: Json | None = None) -> str:
        """Return the card of a clip; drawn again only where something in it changed."""
        row = row or self.row(path)
        known = self.cards.get(path)
        if known is None or known[0] != row:
            known = self.cards[path] = (row, render("card.html", {"clip": row, "fps": self.film.data["film"]["fps"]}))
        return known[1]

    def part(self, name: str, **values: Any) -> str:
        return render(name, {**self.common(), **values})

    def common(self) -> Json:
        """Return what every page shows."""
        data = self.film.data
        rows = self.rows() if data else {}
        states: dict[str, int] = {}
        for row in rows.values():
            states[row["state"]] = states.get(row["state"], 0) + 1
        return {
            **(data or {"film": None, "scenes": [], "clips": {}, "price": {}}),
            "rows": rows,
            "states": states,
            "needs_look": sum(row["needs_look"] for row in rows.values()),
            "run": self.live.summary(),
            "csrf": self.keys.csrf,
            "is_read_only": self.keys.is_read_only,
            "event_id": self.hub.last_id,
            "problems_now": self.film.problems,
            "jobs": [job.as_json() for job in reversed(self.jobs.all[-8:])],
            "stale": [path for path, row in rows.items() if row["base"] == "stale"],
            "command": self.command,
        }

    def command(self, *words: str) -> str:
        """Return the command that an action stands for, as a person would type it."""
        return shlex.join(("ltxflow", *words, *self.shown_options))

    # --- the running build

    async def follow(self) -> None:
        """Follow the log of whichever build runs, until the board ends."""
        while not self.is_ended:
            self.look_at_log()
            await asyncio.sleep(FOLLOW_S)

    def look_at_log(self) -> None:
        """Fold what the log says since the last look, and tell pages."""
        is_new, events = self.log.news()
        was_running = self.live.is_running
        if is_new:
            self.live = Live(self.log.run)
        touched = set().union(*(self.live.fold(event) for event in events)) if events else set()
        if events or was_running or is_new:
            self.live.is_running = self.log.is_running and not self.live.is_over
        if not self.film.data:
            return
        if is_new:
            touched |= {path for path, state in self.states.items() if state[1]}
        if is_new or was_running != self.live.is_running:
            touched |= {*self.live.by_path()}
        moved: list[Json] = []
        for path in touched:
            if path not in self.film.data["clips"]:
                continue
            row = self.row(path)
            if self.states.get(path) != _state_of(row):
                self.send_card(path)
                self.is_head_old = True
            elif row["running"]:
                moved.append(row["running"])
        self.send_head()
        if moved or touched or is_new or was_running != self.live.is_running:
            self.hub.send("run", {**self.live.summary(), "running": moved})
        if events or is_new:
            self.hub.send("live", {"html": self.part("live.html")})
        if was_running and not self.live.is_running:
            self.hub.send("finished", self._end())
            self.wake.set()

    def _end(self) -> Json:
        out = self.live.outcome
        if out.get("event") == "run-finished":
            failed = out["failed"] + out["skipped"]
            text = f"the build ended: {out['rendered']} made" + (f", {failed} not" if failed else "")
            return {"text": text, "ok": not failed}
        problems = [str(each["message"]) for each in out.get("problems", ())]
        return {"text": f"the build stopped{': ' + problems[0] if problems else ''}", "ok": False}

    async def watch(self) -> None:
        """Read the film again whenever a file that it depends on changes."""
        last = 0.0
        while not self.is_ended:
            await self.wake.wait()
            if self.live.is_running:
                await asyncio.sleep(max(0.0, last + CALM_S - time.monotonic()))
            self.wake.clear()
            last = time.monotonic()
            with suppress(LtxflowError):
                await self.refresh()

    async def notice_changes(self, folder: Path) -> None:
        """Wake `watch` when a file of the film changes."""
        stop = asyncio.Event()
        places = {folder, *(p.parent for p in self.film.input_paths() if _is_source(p, folder))}
        async for _ in awatch(*places, watch_filter=_is_of_film, debounce=150, step=30, stop_event=stop):
            self.wake.set()

    # --- actions

    def start(self, words: Sequence[str]) -> Job:
        job = self.jobs.start(words)
        self.send_jobs()
        return job

    def send_jobs(self) -> None:
        self.hub.send("jobs", {"html": self.part("jobs.html")})


def _is_source(path: Path, folder: Path) -> bool:
    return path.suffix in (".yaml", ".txt", ".md", ".j2") and folder not in path.parents and path.parent.is_dir()


def _is_of_film(_change: Change, path: str) -> bool:
    name, parts = os.path.basename(path), Path(path).parts
    if name.startswith(".ltxflow-") or name.endswith("~") or ".git" in parts:
        return False
    return ".ltxflow" not in parts or name == "published.json"


def _state_of(row: Json) -> tuple[Any, ...]:
    running = row["running"] or {}
    return row["state"], running.get("state"), running.get("where"), running.get("ahead")


def _with_running(row: Json, running: Json | None, is_building: bool) -> Json:
    """Return a clip with its state now: what the build does about it, else how it stands."""
    state, word = row["state"], row["word"]
    if running is not None and (is_building or running["state"] == "failed"):
        state = running["state"]
        word = STATE_WORDS.get(state, state)
    elif running is not None:
        running = None
    return {**row, "base": row["state"], "state": state, "word": word, "running": running}


# --- routes


def _board(request: Request) -> Board:
    board: Board = request.app.state.board
    return board


def _page(board: Board, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(board.part(name, **values), status)


async def storyboard(request: Request) -> Response:
    board = _board(request)
    if not board.film.data:
        return _page(board, "broken.html", 200, here="storyboard")
    rows = board.rows()
    cards = {path: board.card(path, row) for path, row in rows.items()}
    return _page(board, "storyboard.html", cards=cards, here="storyboard", notes=list(board.notes))


async def clip_page(request: Request) -> Response:
    board = _board(request)
    path = f"{request.path_params['scene']}/{request.path_params['clip']}"
    if not board.film.data:
        return _page(board, "broken.html", here="clip")
    page = await board.in_thread(board.film.clip_page, path)
    if page is None:
        return _page(board, "missing.html", 404, here="clip", path=path)
    around = {name: board.row(page[name]) if page[name] else None for name in ("before", "after")}
    return _page(board, "clip.html", clip=board.row(path), page=page, around=around, here="clip")


async def player(request: Request) -> Response:
    board = _board(request)
    if not board.film.data:
        return _page(board, "broken.html", here="player")
    return _page(board, "player.html", here="player")


async def plan_page(request: Request) -> Response:
    board = _board(request)
    if not board.film.data:
        return _page(board, "broken.html", here="plan")
    changes = await board.in_thread(board.film.changes)
    for change in changes:
        change["word"] = KIND_WORDS[change["kind"]]
    edges = await board.in_thread(board.film.edges)
    svg = drawings.graph(changes, edges)
    totals = {word: sum(c["kind"] == kind for c in changes) for kind, word in KIND_WORDS.items()}
    return _page(board, "plan.html", changes=changes, graph=svg, totals=totals, here="plan")


async def build_page(request: Request) -> Response:
    board = _board(request)
    if not board.film.data:
        return _page(board, "broken.html", here="build")
    timings = await board.in_thread(board.film.timings)
    times = drawings.times(timings, PHASES) if timings else ""
    lines = list(reversed(board.live.lines))
    return _page(
        board, "build.html", here="build", times=times, timings=timings, phases=PHASES, lines=lines,
        notes=list(board.notes),
    )  # fmt: skip


async def film_style(request: Request) -> Response:
    """Return the widths of clips as classes: a page has no styles of its own."""
    data = _board(request).film.data
    lengths = sorted({row["shown"] for row in data["clips"].values()} | {s["frames"] for s in data["scenes"]})
    film = data["film"]
    longest = max((scene["frames"] for scene in data["scenes"]), default=1)
    root = f":root{{--aspect:{film['width']}/{film['height']};--longest:{longest}}}"
    lines = [root, *(f".f{n}{{--f:{n}}}" for n in lengths)]
    return Response("\n".join(lines), media_type="text/css")


async def timeline(request: Request) -> Response:
    return JSONResponse(await _board(request).in_thread(_board(request).film.timeline))


async def scene_strip(request: Request) -> Response:
    board, id = _board(request), request.path_params["scene"]
    scene = next((each for each in board.film.data.get("scenes", ()) if each["id"] == id), None)
    if scene is None:
        return PlainTextResponse("no such scene\n", 404)
    sound = await board.in_thread(board.film.narration_file, id)
    clips = [board.film.data["clips"][path] for path in scene["clips"]]
    key = (scene, clips, sound.stat().st_mtime_ns if sound and sound.exists() else 0)
    known = board.strips.get(id)
    if known is None or known[0] != key:
        drawn = await asyncio.to_thread(drawings.strip, scene, clips, board.film.data["film"]["fps"], sound)
        known = board.strips[id] = (key, drawn)
    return Response(known[1], media_type="image/svg+xml")


async def events(request: Request) -> Response:
    board = _board(request)
    last = request.headers.get("last-event-id") or request.query_params.get("after", "")
    return StreamingResponse(board.hub.stream(last), media_type="text/event-stream")


async def published(request: Request) -> Response:
    board = _board(request)
    return await _media(request, await board.in_thread(board.film.published_file, request.path_params["path"]))


async def take(request: Request) -> Response:
    board, where = _board(request), request.path_params
    path = f"{where['scene']}/{where['clip']}"
    return await _media(request, await board.in_thread(board.film.take_file, path, where["number"]))


async def _media(request: Request, found: MediaFile | None) -> Response:
    """Return a file, or the part of it that is asked for."""
    if found is None:
        return PlainTextResponse("not a file of this film\n", 404)
    try:
        fd = await asyncio.to_thread(open_regular, found.path)
    except OSError:
        return PlainTextResponse("the file is not here now\n", 404)
    size = os.fstat(fd).st_size
    headers = {"accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    asked = request.headers.get("range", "")
    first, last, status = 0, size - 1, 200
    if asked:
        part = _range(asked, size)
        if part is None:
            os.close(fd)
            return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
        first, last = part[0], min(part[1], part[0] + PIECE - 1)
        status, headers["content-range"] = 206, f"bytes {first}-{last}/{size}"
    headers["content-length"] = str(last - first + 1)
    if request.method == "HEAD":
        os.close(fd)
        return Response(status_code=status, headers=headers, media_type=found.type)
    return StreamingResponse(_blocks(fd, first, last), status, headers, found.type)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a Range header; of several ranges the first; None where there is no such."""
    unit, _, spec = asked.partition("=")
    first, dash, last = spec.partition(",")[0].strip().partition("-")
    if unit.strip() != "bytes" or not dash or not (first or last):
        return None
    if (first and not first.isdecimal()) or (last and not last.isdecimal()):
        return None
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    found = int(first), min(int(last), size - 1) if last else size - 1
    return found if found[0] <= found[1] else None


async def _blocks(fd: int, first: int, last: int) -> AsyncIterator[bytes]:
    try:
        at = first
        while at <= last:
            block = await asyncio.to_thread(os.pread, fd, min(BLOCK, last - at + 1), at)
            if not block:
                return
            yield block
            at += len(block)
    finally:
        os.close(fd)


# --- what pages do


async def _body(request: Request) -> Json:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BODY:
            raise LtxflowError("the request is too large")
    try:
        import json

        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not all(isinstance(value, (str, int, list)) for value in body.values()):
        raise LtxflowError("the request is not a JSON mapping of texts")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise LtxflowError(f'"{name}" is not text')
    return value


def _refused(problems: Sequence[Problem], status: int = 400) -> JSONResponse:
    told = [{"message": each.message, "hint": each.hint, "code": each.code} for each in problems]
    return JSONResponse({"problems": told}, status)


async def decide(request: Request) -> Response:
    board, verb = _board(request), request.path_params["verb"]
    if verb not in DECISIONS:
        return PlainTextResponse("no such decision\n", 404)
    by = request.headers.get("x-tab", "")[:40]
    try:
        body = await _body(request)
        target, reason = _text(body, "target"), _text(body, "reason")
        outcome = await board.in_thread(board.film.decide, verb, target, _text(body, "revision"), reason)
    except Conflict as conflict:
        await board.refresh()
        return JSONResponse({"conflict": conflict.message, "now": conflict.now}, 409)
    except LtxflowError as error:
        return _refused(error.problems)
    await board.refresh(by)
    words = (verb, target, *([reason] if reason else []))
    return JSONResponse({"outcome": outcome, "command": board.command(*words)})


async def check_prompt(request: Request) -> Response:
    board = _board(request)
    try:
        body = await _body(request)
        found = await board.in_thread(board.film.lint, *(_text(body, name) for name in ("path", "part", "text")))
    except LtxflowError as error:
        return _refused(error.problems)
    return JSONResponse({"problems": found})


async def save_prompt(request: Request) -> Response:
    board = _board(request)
    by = request.headers.get("x-tab", "")[:40]
    try:
        body = await _body(request)
        words = [_text(body, name) for name in ("path", "part", "text", "revision")]
        file = await board.in_thread(board.film.save_prompt, *words)
    except Conflict as conflict:
        await board.refresh()
        return JSONResponse({"conflict": conflict.message, "now": conflict.now}, 409)
    except LtxflowError as error:
        return _refused(error.problems)
    await board.refresh(by)
    return JSONResponse({"outcome": "done", "file": file})


async def act(request: Request) -> Response:
    """Start a command, as a separate process."""
    board, verb = _board(request), request.path_params["verb"]
    try:
        body = await _body(request)
        words = _action(board, verb, body)
    except LtxflowError as error:
        return _refused(error.problems)
    if words is None:
        return PlainTextResponse("no such action\n", 404)
    try:
        job = board.start(words)
    except (OSError, LtxflowError) as error:
        return _refused([Problem(f"cannot start: {error}")], 500)
    return JSONResponse({"job": job.number, "command": job.command})


def _action(board: Board, verb: str, body: Mapping[str, Any]) -> list[str] | None:
    """Return the words of a command. Only clips of this film are named, so that no word is an option."""
    if verb not in ACTIONS:
        return None
    clips = body.get("clips", [])
    known = board.film.data.get("clips", {})
    if not isinstance(clips, list) or not all(isinstance(path, str) and path in known for path in clips):
        raise LtxflowError("the request names clips that the film does not have")
    words = [*ACTIONS[verb], *clips]
    if verb == "retake":
        if len(clips) != 1:
            raise LtxflowError("a retake is of one clip")
        reason = _text(body, "reason").strip()
        return [*words, *(["--", reason] if reason.startswith("-") else [reason] if reason else [])]
    return [*words, *(["--yes"] if verb == "build" else [])]


async def cancel(request: Request) -> Response:
    """Interrupt the running build as Ctrl-C does, whoever started it: what is finished is kept."""
    board = _board(request)
    pid = board.live.run.get("pid")
    if not board.live.is_running or type(pid) is not int or not board.log.is_running:
        return JSONResponse({"problems": [{"message": "no build runs now", "hint": "", "code": ""}]}, 409)
    try:
        os.kill(pid, signal.SIGINT)
    except OSError as error:
        return _refused([Problem(f"cannot interrupt process {pid}: {error.strerror}")], 409)
    return JSONResponse({"command": f"kill -INT {pid}"})


def application(board: Board, folder: Path) -> Guard:
    """Return the board as an ASGI application, with everything that guards it."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        await board.in_thread(board.film.refresh)
        board.look_at_log()
        tasks = [asyncio.create_task(each) for each in (board.follow(), board.watch(), board.notice_changes(folder))]
        yield
        board.is_ended = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await board.in_thread(board.film.close)
        board.thread.shutdown()

    routes = [
        Route("/", storyboard),
        Route("/play", player),
        Route("/plan", plan_page),
        Route("/build", build_page),
        Route("/clip/{scene}/{clip}", clip_page),
        Route("/film.css", film_style),
        Route("/timeline.json", timeline),
        Route("/strip/{scene}.svg", scene_strip),
        Route("/events", events),
        Route("/media/public/{path:path}", published),
        Route("/media/take/{scene}/{clip}/{number:int}", take),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/decide/{verb}", decide, methods=["POST"]),
        Route("/prompt/check", check_prompt, methods=["POST"]),
        Route("/prompt/save", save_prompt, methods=["POST"]),
        Route("/do/cancel", cancel, methods=["POST"]),
        Route("/do/{verb}", act, methods=["POST"]),
    ]
    app = Starlette(routes=routes, lifespan=life, exception_handlers={LtxflowError: _problem_page})
    app.state.board = board
    return Guard(app, board.keys)


async def _problem_page(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LtxflowError)
    return PlainTextResponse("".join(f"{each.message}\n" for each in error.problems), 409)


class BoardServer(uvicorn.Server):
    """A server whose streams end when it is told to stop: else it would wait for them."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self.hub = hub

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.hub.close()
        super().handle_exit(sig, frame)


def serve(board: Board, folder: Path, sock: Any) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(
        application(board, folder),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    BoardServer(config, board.hub).run(sockets=[sock])


__all__ = ["MADE", "Board", "application", "serve"]
