"""Settles what a film leaves to `auto` before a build plans it: once, by what its servers have; kept in the lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ltxflow.core.events import Event, Notice
from ltxflow.plan.choices import Choice, choose, combinations
from ltxflow.plan.outlook import Outlook, Question
from ltxflow.script.profile import Profile
from ltxflow.script.weights import undecided, weights_of
from ltxflow.steps import pool_of
from ltxflow.verbs.health import needs_of
from ltxflow.verbs.keep import KEPT, is_stand_in, taken_of
from ltxflow.verbs.means import Servers
from ltxflow.verbs.models import Holding, holdings
from ltxflow.verbs.servers import places_of, reachable
from ltxflow.verbs.session import Session

DEADLINE_S = 20.0  # how long a server may take to list its files: it was named, or answered just now

Emit = Callable[[Event], None]


def settle(session: Session, question: Question, servers: Servers, emit: Emit) -> None:
    """Choose what is open, if this build renders anything with it, and say so.

    The lock is then to be written before anything is submitted, which has these choices in its key; a build of
    stand-ins alone teaches it nothing. A film that was rendered before anything was recorded keeps the profile's first
    choice: that is what it was made with. Raise LtxflowError (4) where servers are to be asked and none is there.
    """
    if question.mode != "render" or not session.project.open_choices:
        return
    outlook = session.look(question)
    if not _renders(outlook):
        if not session.lock.entries and _has_real(outlook, "hit"):  # it is lost: all was found with the first choice
            session.choose({"weights": _needed(session, _firsts(session))})
        return
    is_real = _has_real(outlook, "miss", "maybe")
    if _was_made_before(session):
        weights = _firsts(session)
        session.choose({"weights": weights})
        _tell(emit, session, {"weights": _needed(session, weights)}, "as this film was made before")
        session.has_new_choices = is_real
        if not session.project.open_choices:
            return
    found = _ask(session, servers)
    chosen, names = _chosen(session, found)
    if not chosen:
        return
    before = session.lock.choices
    session.choose(chosen)
    if not names:
        session.tried_before = before
    where = f"{', '.join(names)} {'have' if len(names) > 1 else 'has'} it" if names else "no server has all it needs"
    _tell(emit, session, chosen, where)
    session.has_new_choices = session.has_new_choices or (is_real and bool(names))


def _renders(outlook: Outlook) -> bool:
    return any(s.state != "hit" and pool_of(s.node) == "gpu" for s in outlook.statuses.values())


def _was_made_before(session: Session) -> bool:
    """Whether the lock has takes of this model, and is from a time when choices were not recorded."""
    takes = [take for entry in session.lock.entries.values() for take in entry.takes.values()]
    if session.lock.choices or not takes:
        return False
    made = [trace.fields.get("profile") for take in takes if (trace := session.trace_of(take.key)) is not None]
    return not made or session.project.profile.name in made


def _ask(session: Session, servers: Servers) -> list[Holding]:
    async def ask() -> list[Holding]:
        places = await reachable(places_of(servers, session))
        return await holdings(places, [session.project.profile], DEADLINE_S)

    profile: Profile = session.project.profile
    return [each for each in asyncio.run(ask()) if {*profile.needs.nodes} <= each.classes]


def _chosen(session: Session, found: Sequence[Holding]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is chosen, and the servers that have all of it; of several ways the first one that a server can do."""
    if not found:
        return {}, ()
    before, first = session.lock, None
    tried = combinations(session.project.profile, session.project.open_choices)
    for parts in tried:
        session.choose(parts)
        choice = _weights(session, found)
        session.lock = before
        weights = {"weights": dict(choice.weights)} if choice.weights else {}
        first = first or {**weights, **(parts if len(tried) == 1 else {})}
        if choice.is_complete:
            return {**weights, **parts}, choice.servers
    session.choose({})
    return first or {}, ()


def _weights(session: Session, found: Sequence[Holding]) -> Choice:
    project = session.project
    needed = {role: weights_of(project)[role] for role in needs_of(session).roles}
    servers = {each.server: each.listed for each in found}
    return choose(project.profile, needed, undecided(project), servers)


def _firsts(session: Session) -> dict[str, str]:
    return {role: order[0] for role, order in undecided(session.project).items()}


def _needed(session: Session, weights: Mapping[str, str]) -> dict[str, str]:
    used = needs_of(session).roles
    return {role: precision for role, precision in weights.items() if role in used}


def _tell(emit: Emit, session: Session, chosen: Mapping[str, Any], why: str) -> None:
    """Say what was chosen, a line each."""
    profile: Profile = session.project.profile
    for part in ("quality", "stages"):
        if part in chosen:
            emit(Notice(f"{part}: {chosen[part]}, for this film from now on ({why})"))
    for role, precision in chosen.get("weights", {}).items():
        name = profile.models[role].weights[precision][0]
        emit(Notice(f"{role}: {precision} ({name}), for this film from now on ({why})"))


def _has_real(outlook: Outlook, *states: str) -> bool:
    """Whether anything in one of these states is no stand-in: those teach the lock nothing."""
    taken = taken_of(outlook)
    nodes = [s.node for s in outlook.statuses.values() if s.state in states and s.node.kind in KEPT]
    return any(not is_stand_in(outlook, taken[node.entry]) for node in nodes)
