"""Fetch what the film needs from the shared store, and publish it. Renders nothing, and asks no ComfyUI server.

The shared store is `remote:` in your configuration. What it does not have is listed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from ltxflow.build.pipeline import COMFYUI, make_film
from ltxflow.cli.options import waited_session
from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.events import Event
from ltxflow.farm.options import BuildOptions, Servers
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.session.session import Session
from ltxflow.steps import ActionContext
from ltxflow.ui.progress import print_result, watcher
from ltxflow.ui.terminal import Console, print_envelope


class NoServers:
    """The executor of clips that were not in the shared store: refuses each."""

    async def run(self, status: Status, job: ActionContext) -> None:
        raise LtxflowError(problem("U066", status.node.span, target=status.node.target.short), exit_code=FAILED)

    def is_submitted(self, key: Key) -> bool:
        """Return False: nothing is ever submitted."""
        return False

    def recorded(self, key: Key) -> None:
        """Nothing was submitted."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


async def _no_servers(servers: Servers, session: Session, plan: Plan, emit: Callable[[Event], None]) -> NoServers:
    return NoServers()


def run(args: argparse.Namespace, console: Console) -> int:
    executors = replace(COMFYUI, servers=_no_servers, resolve_auto=lambda *asked: None)
    watch = watcher(console, args.json, args.quiet, args.verbose)
    with waited_session(args, watch, wait=True) as session:
        if session.config.remote is None:
            raise LtxflowError(problem("U067"))
        with watch:
            result = make_film(session, PlanOptions(), BuildOptions(), watch, executors=executors)
        if args.json:
            problems = [*result.concerns, *result.problems, *session.warnings]
            return print_envelope("pull", {"totals": result.finished.as_json()}, result.code, problems)
        print_result(console, result, session.warnings, args.quiet)
        return result.code
