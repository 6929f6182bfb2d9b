"""Serve a workspace to an agent over standard input and output, by the Model Context Protocol.

Its tools are the commands init, check, plan, build, status, explain, takes, pick and frame. None deletes, none trusts
what a film brings, none leaves the workspace. Builds render until the GPU budget of the session is spent. They stop
when the agent leaves, and what still runs on a server is fetched by the next build.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ltxflow.cli.options import check_servers, require, seconds_of
from ltxflow.documents.document import workspace_of
from ltxflow.ui.terminal import Console

LIBRARIES = ("mcp",)  # of the extra `mcp`
MAX_GPU_S = 1800.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-gpu",
        type=seconds_of,
        default=MAX_GPU_S,
        metavar="TIME",
        help="render no more than this in a session (default: 30m; 0s: slates alone)",
    )
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a server for builds of this session; repeatable"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    require("mcp", "mcp", LIBRARIES)
    from ltxflow.cli.agent_runs import Runs
    from ltxflow.cli.agent_server import serve

    check_servers(args)
    folder = Path.cwd()
    asyncio.run(serve(Runs(folder, workspace_of(folder, args.root), args.project, args.max_gpu, tuple(args.server))))
    return 0
