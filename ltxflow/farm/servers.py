"""Choose the servers of a build, and make the executor that drives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from ltxflow.comfy.client import probe
from ltxflow.comfy.discovery import ServerAddress, find_servers
from ltxflow.comfy.signatures import FOLDER, core_classes
from ltxflow.core.errors import UNREACHABLE, LtxflowError, Problem
from ltxflow.core.events import Event
from ltxflow.farm.executor import ComfyExecutor, FarmLimits
from ltxflow.farm.journal import Journal
from ltxflow.farm.options import Servers
from ltxflow.plan.plan import Plan
from ltxflow.session.session import Session, make_own_folder
from ltxflow.store.speeds import Speed, read_speeds, write_speeds

JOURNAL = "journal.jsonl"


def places_of(servers: Servers, session: Session) -> list[ServerAddress]:
    """Given what was asked for, return the servers of the strongest source, and why; the last are only guesses."""
    config = session.config.as_servers
    return find_servers(list(servers.named), os.environ, config, session.project.server or None)


async def reachable(places: list[ServerAddress]) -> list[ServerAddress]:
    """Given the places, return those to use: all that somebody named, or the first guess that answers."""
    if not places or not places[0].is_guess:
        return places
    found = await probe(places)
    if found is None:
        tried = ", ".join(place.url for place in places)
        raise LtxflowError(
            Problem(
                f"no ComfyUI server is reachable (tried {tried})",
                hint="start one, name it with --server, or draw slates: ltxflow build --animatic",
                code="C001",
            ),
            exit_code=UNREACHABLE,
        )
    return [found]


async def comfy_executor(
    servers: Servers, session: Session, outlook: Plan, emit: Callable[[Event], None]
) -> ComfyExecutor:
    """Given a session, return the executor for its servers, not yet entered. Raise LtxflowError (4) without any."""
    places = await reachable(places_of(servers, session))
    own = make_own_folder(session)
    journal = Journal(own / JOURNAL)
    journal.compact()
    speeds = read_speeds(session.store.root)

    def learned(measured: Mapping[str, Speed]) -> None:
        write_speeds(session.store.root, {**speeds, **measured})

    allowed = core_classes() | session.config.allowed_nodes
    terms = FarmLimits(servers.patience_s, servers.dead_after_s, allowed, servers.max_gpu_s)
    return ComfyExecutor([place.server for place in places], journal, terms, emit, speeds, own / FOLDER, learned)
