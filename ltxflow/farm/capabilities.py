"""Which models a server can run, for `auto`, `init` and `doctor`; and what a film needs of a server.

`resolve_auto` decides what a film leaves to `auto` before a build plans it: once, by its servers, kept in the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import ServerAddress, find_servers
from ltxflow.comfy.signatures import model_inputs
from ltxflow.comfy.transport import BROKEN, SERVER_ERROR
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.core.events import Event, Notice
from ltxflow.decisions.lock_update import KEPT, is_stand_in, taken_of
from ltxflow.farm.executor import addresses_of, reachable
from ltxflow.farm.options import Servers
from ltxflow.models.load import shipped_profiles
from ltxflow.models.profile import Profile
from ltxflow.plan.choices import ResolvedChoice, choose, combinations
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.plan.samples import first_weights, samples
from ltxflow.project.config import read_config
from ltxflow.project.settings import undecided, weights_of
from ltxflow.session.session import Session
from ltxflow.steps import pool_of
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.steps.reference import ReferenceSpec
from ltxflow.workflow.template import read_templates

PAUSES_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)  # between requests to a server that is not ready
UNREADY = (SERVER_ERROR, BROKEN)
WAY = "t2v"  # the template whose files count as those a model needs


@dataclass(frozen=True)
class ServerFiles:
    """What a server has: its name, its files by folder, and which of the requested node classes."""

    server: str
    files: Mapping[str, Sequence[str]]
    classes: frozenset[str]

    def listed(self, folder: str) -> Sequence[str]:
        return self.files.get(folder, ())


async def files_of_servers(
    addresses: Sequence[ServerAddress], profiles: Sequence[Profile], deadline_s: float
) -> list[ServerFiles]:
    """Ask all servers at once for their files of these models; leave out those that do not answer in time."""
    found = await asyncio.gather(*(_files_in_time(address, profiles, deadline_s) for address in addresses))
    return [each for each in found if each is not None]


async def _files_in_time(address: ServerAddress, profiles: Sequence[Profile], deadline_s: float) -> ServerFiles | None:
    """Ask a server, again as long as there is time while it answers but is not ready: it may be starting."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s), Client(address.server, connect_s=deadline_s) as client:
            for pause in PAUSES_S:
                try:
                    return await files_of(client, profiles)
                except LtxflowError as error:
                    if not any(problem.code in UNREADY for problem in error.problems):
                        return None
                await asyncio.sleep(pause)
    return None


async def files_of(client: Client, profiles: Sequence[Profile]) -> ServerFiles:
    """Ask one server which files it lists in the folders of these models, and which of their node classes it has."""
    folders = sorted({model.folder for profile in profiles for model in profile.models.values()})
    classes = sorted({name for profile in profiles for name in profile.needs.nodes})
    listed = await asyncio.gather(*(client.models(folder) for folder in folders))
    known = await asyncio.gather(*(client.object_info_class(name) for name in classes))
    has = frozenset(name for name, info in zip(classes, known, strict=True) if info is not None)
    return ServerFiles(str(client.server), dict(zip(folders, listed, strict=True)), has)


def usual_roles(profile: Profile) -> list[str]:
    """Return the roles that a clip of this model uses in its default quality, in the profile's order."""
    preset = profile.qualities[profile.default_quality]
    wanted = f"quality {preset.name}, stages {preset.stages}, "
    found = samples(profile, read_templates(profile.name, None)[WAY])
    return next(sample.spec for sample in found if sample.label.startswith(wanted)).roles()


def missing_from(server: ServerFiles, profile: Profile) -> list[str]:
    """Return what a server lacks for a model: `folder/file` of its first choice, and node classes."""
    nodes = [f"node {name}" for name in profile.needs.nodes if name not in server.classes]
    files = []
    for role in usual_roles(profile):
        model = profile.models[role]
        if all(model.find(precision, server.listed(model.folder)) is None for precision in model.order):
            files.append(f"{model.folder}/{model.weights[model.order[0]][0]}")
    return [*nodes, *files]


def newest_on(server: ServerFiles, profiles: Sequence[Profile]) -> Profile | None:
    """Return the first of these models that a server has everything for."""
    return next((each for each in profiles if not missing_from(server, each)), None)


def newest_profile(env: Mapping[str, str], deadlines_s: tuple[float, float]) -> tuple[str, str]:
    """Return the newest of our profiles that a server can run, and the reason; "" where none can.

    Servers are those of the usual discovery; `deadlines_s` are the limits for a guess and for a configured one. Raise
    LtxflowError for an address or a configuration that is wrong.
    """
    addresses = find_servers([], env, read_config(env).as_servers)
    guess_s, named_s = deadlines_s
    deadline_s, models = guess_s if addresses[0].is_guess else named_s, list(shipped_profiles())
    found = asyncio.run(files_of_servers(addresses, models, deadline_s))
    for profile in models:
        for each in found:
            if not missing_from(each, profile):
                return profile.name, f"the newest that {each.server} can run"
    if found:
        return "", f"the default; run `ltxflow doctor` for what {found[0].server} lacks"
    return "", "the default; no server answered"


DEADLINE_S = 20.0  # for a server to list its files: it is configured, or has just answered

Emit = Callable[[Event], None]


def resolve_auto(session: Session, options: PlanOptions, servers: Servers, emit: Emit) -> None:
    """Decide what is left to `auto`, if this build renders anything with it, and report it.

    The lock must then be written before anything is submitted, since keys depend on these choices; a build of
    stand-ins alone does not change it. A film rendered before choices were recorded keeps the profile's first choice,
    which is what it was made with. Raise LtxflowError (4) where servers are needed and none answers.
    """
    if options.mode != "render" or not session.project.open_choices:
        return
    plan = session.plan(options)
    if not _renders(plan):
        if not session.lock.entries and _has_real(plan, "hit"):  # the lock is lost: all was found with the first choice
            session.choose({"weights": _needed(session, _firsts(session))})
        return
    is_real = _has_real(plan, "miss", "maybe")
    if _was_made_before(session):
        weights = _firsts(session)
        session.choose({"weights": weights})
        _report(emit, session, {"weights": _needed(session, weights)}, "as this film was made before")
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
    _report(emit, session, chosen, where)
    session.has_new_choices = session.has_new_choices or (is_real and bool(names))


def _renders(plan: Plan) -> bool:
    return any(s.state != "hit" and pool_of(s.node) == "gpu" for s in plan.statuses.values())


def _was_made_before(session: Session) -> bool:
    """Return whether the lock has takes of this model from before choices were recorded."""
    takes = [take for entry in session.lock.entries.values() for take in entry.takes.values()]
    if session.lock.choices or not takes:
        return False
    made = [trace.fields.get("profile") for take in takes if (trace := session.trace_of(take.key)) is not None]
    return not made or session.project.profile.name in made


def _ask(session: Session, servers: Servers) -> list[ServerFiles]:
    async def ask() -> list[ServerFiles]:
        addresses = await reachable(addresses_of(servers, session))
        return await files_of_servers(addresses, [session.project.profile], DEADLINE_S)

    profile: Profile = session.project.profile
    return [each for each in asyncio.run(ask()) if {*profile.needs.nodes} <= each.classes]


def _chosen(session: Session, found: Sequence[ServerFiles]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the choices, and the servers that have all of them; of several ways, the first that a server can do."""
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


def _weights(session: Session, found: Sequence[ServerFiles]) -> ResolvedChoice:
    project = session.project
    needed = {role: weights_of(project)[role] for role in needs_of(session).roles}
    servers = {each.server: each.listed for each in found}
    return choose(project.profile, needed, undecided(project), servers)


def _firsts(session: Session) -> dict[str, str]:
    return {role: order[0] for role, order in undecided(session.project).items()}


def _needed(session: Session, weights: Mapping[str, str]) -> dict[str, str]:
    used = needs_of(session).roles
    return {role: precision for role, precision in weights.items() if role in used}


def _report(emit: Emit, session: Session, chosen: Mapping[str, Any], why: str) -> None:
    """Report each choice in a line."""
    profile: Profile = session.project.profile
    for part in ("quality", "stages"):
        if part in chosen:
            emit(Notice(f"{part}: {chosen[part]}, for this film from now on ({why})"))
    for role, precision in chosen.get("weights", {}).items():
        name = profile.models[role].weights[precision][0]
        emit(Notice(f"{role}: {precision} ({name}), for this film from now on ({why})"))


def _has_real(plan: Plan, *states: str) -> bool:
    """Return whether anything in one of these states is not a stand-in: those do not change the lock."""
    picks = taken_of(plan)
    nodes = [s.node for s in plan.statuses.values() if s.state in states and s.node.kind in KEPT]
    return any(not is_stand_in(plan, picks[node.entry]) for node in nodes)


# --- what a film needs of a server ----------------------------------------------------------------


@dataclass(frozen=True)
class ServerRequirements:
    """What the clips of a film name: model roles with their weights, LoRAs, and a graph for each shape of clip."""

    profile: Profile
    weights: Mapping[str, str]
    roles: Mapping[str, str]  # role → who uses it
    loras: Mapping[str, tuple[str, Span | None]]  # file → who uses it, and where it is written
    graphs: Sequence[tuple[str, str, Mapping[str, Any]]] = ()  # template, the first clip of its kind, its graph
    is_sure: bool = True  # False: no film, only what the profile would use
    open: frozenset[str] = frozenset()  # roles with any precision: the first build chooses

    def named(self) -> Iterator[tuple[str, str, str]]:
        """Yield template, folder and file for the models that templates name themselves, each once."""
        named = {name for role in self.roles for name in self.profile.models[role].weights[self.weights[role]]}
        named |= self.loras.keys()
        for template, _, graph in self.graphs:
            for model in model_inputs(graph):
                if model.folder and model.value not in named:
                    named.add(model.value)
                    yield template, model.folder, model.value


def needs_of(session: Session) -> ServerRequirements:
    """Return what the clips of an open project need of a server. Raise LtxflowError for a film with errors."""
    roles: dict[str, str] = {}
    loras: dict[str, tuple[str, Span | None]] = {}
    graphs: list[tuple[str, str, Mapping[str, Any]]] = []
    kinds: set[tuple[Any, ...]] = set()
    weights: Mapping[str, str] = {}
    for node in session.plan(PlanOptions()).plan.nodes.values():
        if node.kind == "reference" and pool_of(node) == "gpu":
            still: ReferenceSpec = node.spec
            weights = weights or still.weights
            names = session.project.profile.first_names(still.weights)
            graphs.append((still.template.name, still.path, still.graph(names, {}, "ltxflow")))
            for role in still.roles():
                roles.setdefault(role, still.path)
        if node.kind != "clip":
            continue
        spec: ClipSpec = node.spec
        clip, weights = spec.clip, spec.weights
        for lora in clip.loras:
            loras.setdefault(lora.name, (clip.path, lora.span))
        control = clip.get("control.lora") if clip.control else None
        if control:
            loras.setdefault(str(control), (clip.path, clip.settings["control.lora"].span))
        settings = ("quality", "stages", "cfg", "temporal_upscale", "control.mode")
        has = (bool(clip.reference), bool(clip.last_frame), bool(clip.loras))
        kind = (spec.template.name, *(clip.get(name) for name in settings), *has)
        if kind in kinds:
            continue
        kinds.add(kind)
        for role in spec.roles():
            roles.setdefault(role, clip.path)
        graph = spec.graph(spec.first_names, {}, "ltxflow")
        graphs.append((spec.template.name, clip.path, graph))
    return ServerRequirements(
        session.project.profile, weights, roles, loras, graphs, open=frozenset(undecided(session.project))
    )


def usual_needs(profile: Profile) -> ServerRequirements:
    """Return what a profile's default quality uses, without a film."""
    roles = dict.fromkeys(usual_roles(profile), profile.title)
    return ServerRequirements(profile, first_weights(profile), roles, {}, is_sure=False, open=frozenset(roles))
