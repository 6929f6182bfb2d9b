"""The board's server: pages, media, server-sent events, decisions and actions of pages."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ltxflow.board import drawings
from ltxflow.board.film import DECISIONS, PHASES, Conflict, MediaFile
from ltxflow.board.hub import Hub
from ltxflow.board.pages import STATIC
from ltxflow.board.security import Guard
from ltxflow.board.state import Board
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.workspace import open_regular

Json = dict[str, Any]
PIECE = 4 << 20  # bytes of one answer to a request for a part of a video: a browser keeps few connections
BLOCK = 256 << 10
MOST_BODY = 200_000  # bytes of a request
KIND_WORDS = {"create": "new", "change": "again", "maybe": "maybe", "restore": "from store", "unchanged": "kept"}
ACTIONS = {
    "build": ("build",),
    "animatic": ("build", "--animatic"),
    "retake": ("retake",),
    "servers": ("servers",),
}


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


async def overview(request: Request) -> Response:
    board = _board(request)
    return _page(board, "overview.html") if board.film.data else PlainTextResponse("no film yet\n", 404)


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
    """Return the widths of clips as classes: a page has no styles in it."""
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
            raise LtxflowError(problem("U061.large", most=MOST_BODY))
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not all(isinstance(value, (str, int, list)) for value in body.values()):
        raise LtxflowError(problem("U061.form"))
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise LtxflowError(problem("U061.text", name=name))
    return value


def _refused(problems: Sequence[Problem], status: int = 400) -> JSONResponse:
    found = [{"message": each.message, "hint": each.hint, "code": each.code} for each in problems]
    return JSONResponse({"problems": found}, status)


async def decide(request: Request) -> Response:
    board, verb = _board(request), request.path_params["verb"]
    if verb not in DECISIONS:
        return PlainTextResponse("no such decision\n", 404)
    by = request.headers.get("x-tab", "")[:40]
    try:
        body = await _body(request)
        target, reason = _text(body, "target"), _text(body, "reason")
        decided = await board.in_thread(board.film.decide, verb, target, _text(body, "revision"), reason)
    except Conflict as conflict:
        await board.refresh()
        return JSONResponse({"conflict": conflict.message, "now": conflict.now}, 409)
    except LtxflowError as error:
        return _refused(error.problems)
    await board.refresh(by)
    words = (verb, target, *([reason] if reason else []))
    notes = [*decided.notes, *(each.message for each in decided.problems)]
    outcome = "done" if decided.is_changed else "unchanged"
    return JSONResponse({"outcome": outcome, "notes": notes, "command": board.command(*words)})


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
        return _refused([problem("U062.start", reason=error)], 500)
    return JSONResponse({"job": job.number, "command": job.command})


def _action(board: Board, verb: str, body: Mapping[str, Any]) -> list[str] | None:
    """Return the words of a command. Only clips of this film are named, so that no word is an option."""
    if verb not in ACTIONS:
        return None
    clips = body.get("clips", [])
    known = board.film.data.get("clips", {})
    if not isinstance(clips, list) or not all(isinstance(path, str) and path in known for path in clips):
        raise LtxflowError(problem("U061.clips"))
    words = [*ACTIONS[verb], *clips]
    if verb == "retake":
        if len(clips) != 1:
            raise LtxflowError(problem("U061.one"))
        reason = _text(body, "reason").strip()
        return [*words, *(["--", reason] if reason.startswith("-") else [reason] if reason else [])]
    return [*words, *(["--yes"] if verb == "build" else [])]


async def cancel(request: Request) -> Response:
    """Interrupt the running build as Ctrl-C does, also one of a terminal: what is finished is kept."""
    board = _board(request)
    pid = board.live.run.get("pid")
    if not board.live.is_running or type(pid) is not int or not board.log.is_running:
        return _refused([problem("U062.none")], 409)
    try:
        os.kill(pid, signal.SIGINT)
    except OSError as error:
        return _refused([problem("U062.interrupt", pid=pid, reason=error.strerror)], 409)
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
        Route("/overview", overview),
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
    """A server whose streams end when it stops: else it would wait for them."""

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
