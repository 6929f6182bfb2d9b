"""The servers of a build, and the executor that drives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from ltxflow.comfy.client import probe
from ltxflow.comfy.discovery import ServerAddress, find_servers
from ltxflow.comfy.signatures import FOLDER, core_classes
from ltxflow.core.errors import UNREACHABLE, LtxflowError, problem
from ltxflow.core.events import Event
from ltxflow.farm.executor import ComfyExecutor
from ltxflow.farm.journal import Journal
from ltxflow.farm.options import FarmLimits, Servers
from ltxflow.plan.plan import Plan
from ltxflow.session.session import Session, make_own_folder
from ltxflow.store.speeds import Speed, read_speeds, write_speeds

JOURNAL = "journal.jsonl"


def addresses_of(servers: Servers, session: Session) -> list[ServerAddress]:
    """Return the servers of the strongest source; those of the last one are only guesses."""
    config = session.config.as_servers
    return find_servers(list(servers.named), os.environ, config, session.project.server or None)


async def reachable(addresses: list[ServerAddress]) -> list[ServerAddress]:
    """Return the addresses to use: all that are configured, or the first guess that answers."""
    if not addresses or not addresses[0].is_guess:
        return addresses
    found = await probe(addresses)
    if found is None:
        tried = ", ".join(address.url for address in addresses)
        raise LtxflowError(problem("C001.tried", tried=tried), exit_code=UNREACHABLE)
    return [found]


async def comfy_executor(
    servers: Servers, session: Session, outlook: Plan, emit: Callable[[Event], None]
) -> ComfyExecutor:
    """Return the executor for a session's servers, not yet entered. Raise LtxflowError (4) without any."""
    addresses = await reachable(addresses_of(servers, session))
    own = make_own_folder(session)
    journal = Journal(own / JOURNAL)
    journal.compact()
    speeds = read_speeds(session.store.root)

    def record_speeds(measured: Mapping[str, Speed]) -> None:
        write_speeds(session.store.root, {**speeds, **measured})

    allowed = core_classes() | session.config.allowed_nodes
    limits = FarmLimits(servers.patience_s, servers.dead_after_s, allowed, servers.max_gpu_s)
    return ComfyExecutor(
        [address.server for address in addresses], journal, limits, emit, speeds, own / FOLDER, record_speeds
    )
