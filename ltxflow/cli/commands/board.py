"""Serve a page of the film on this machine: storyboard, player, takes to choose from, prompts, the running build.

It shows what the files have, also when a terminal, git or another page changes them. Choices go to ltxflow.lock,
prompts to the files they are written in. What renders is a separate command, which outlives the board. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import errno
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from ltxflow.cli.options import count_of, require, session_of
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.documents.document import find_project
from ltxflow.ui.terminal import Console, print_envelope

LIBRARIES = ("starlette", "uvicorn", "watchfiles")  # of the extra `board`
PORT = 8470


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=count_of, metavar="N", help=f"the port (default: {PORT}, or any that is free)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="listen on this address, for others too (default: only here)",
    )
    parser.add_argument("--read-only", action="store_true", help="show the film; no page can change or start anything")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a server for builds that pages start; repeatable"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    require("board", "board", LIBRARIES)
    from ltxflow.board.film import Film
    from ltxflow.board.jobs import Jobs
    from ltxflow.board.security import Keys, is_loopback
    from ltxflow.board.server import serve
    from ltxflow.board.state import Board
    from ltxflow.build.event_log import LOG, LogReader
    from ltxflow.core.workspace import OWN

    file = find_project(args.project, Path.cwd())
    session_of(args).close()  # a film that needs trust, or a lock of another version, is an error of this command
    sock = _socket(args.host, args.port)
    keys = Keys(args.host, sock.getsockname()[1], args.read_only)
    options = ["-p", str(file.absolute()), *(["--root", str(Path(args.root).absolute())] if args.root else [])]
    servers = [word for url in args.server for word in ("--server", url)]
    own = file.parent / OWN
    film = Film(partial(session_of, args), tuple(args.server))
    jobs = Jobs(own, [*options, *servers], lambda job: board.send_jobs())
    named = ["-p", args.project] if args.project and not _is_here(file) else []
    board = Board(film, keys, LogReader(own / LOG), jobs, named)
    if args.json:
        print_envelope("board", {"url": keys.url, "port": keys.port, "read_only": keys.is_read_only}, 0)
    else:
        console.say(f"→ {keys.url}")
        if not is_loopback(args.host):
            console.warn(f"others can reach this board at {args.host}: with its address they can change the film")
        console.say(console.paint("Ctrl-C stops the board; builds that it started go on", "dim"))
    if args.open:
        import webbrowser

        webbrowser.open(keys.url)
    with suppress(KeyboardInterrupt):
        serve(board, file.parent, sock)
    return 0


def _is_here(file: Path) -> bool:
    """Return whether a command without -p, given in this folder, is about the same film."""
    try:
        return find_project(None, Path.cwd()).samefile(file)
    except (LtxflowError, OSError):
        return False


def _socket(host: str, port: int | None) -> socket.socket:
    """Return a listening socket: on the port that is asked for, else on the usual one, else on any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port else [PORT, 0]:
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                reason = (error.strerror or str(error)).lower()
                raise LtxflowError(problem("U060.address", address=f"{host}:{number}", reason=reason)) from error
    raise AssertionError("any free port is refused only with an error")
