"""Which models a server can run: asked of it for `auto`, `init` and `doctor`, with an end to how long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ltxflow.comfy.client import Client
from ltxflow.comfy.places import Place, find_servers
from ltxflow.core.errors import LtxflowError
from ltxflow.script.config import read_config
from ltxflow.script.profile import Profile, shipped_profiles
from ltxflow.script.template import read_templates
from ltxflow.steps import clip as clip_step
from ltxflow.verbs.samples import samples

PAUSES_S = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)  # between questions to a server that is not ready
UNREADY = ("server-error", "connection")
WAY = "t2v"  # the template whose files count as what a model needs


@dataclass(frozen=True)
class Holding:
    """What a server has: its name, its files by folder, and which of the node classes that were asked for."""

    server: str
    files: Mapping[str, Sequence[str]]
    classes: frozenset[str]

    def listed(self, folder: str) -> Sequence[str]:
        return self.files.get(folder, ())


async def holdings(places: Sequence[Place], profiles: Sequence[Profile], deadline_s: float) -> list[Holding]:
    """Ask all servers at once what they have of these models; leave out those that do not answer in time."""
    found = await asyncio.gather(*(_holding_in_time(place, profiles, deadline_s) for place in places))
    return [holding for holding in found if holding is not None]


async def _holding_in_time(place: Place, profiles: Sequence[Profile], deadline_s: float) -> Holding | None:
    """Ask again, as long as there is time, a server that answers but is not ready: it may be coming up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline_s), Client(place.server, connect_s=deadline_s) as client:
            for pause in PAUSES_S:
                try:
                    return await holding_of(client, profiles)
                except LtxflowError as error:
                    if not any(problem.code in UNREADY for problem in error.problems):
                        return None
                await asyncio.sleep(pause)
    return None


async def holding_of(client: Client, profiles: Sequence[Profile]) -> Holding:
    """Ask one server which files it lists in the folders of these models, and which of their node classes it has."""
    folders = sorted({model.folder for profile in profiles for model in profile.models.values()})
    classes = sorted({name for profile in profiles for name in profile.needs.nodes})
    listed = await asyncio.gather(*(client.models(folder) for folder in folders))
    known = await asyncio.gather(*(client.object_info_class(name) for name in classes))
    has = frozenset(name for name, info in zip(classes, known, strict=True) if info is not None)
    return Holding(str(client.server), dict(zip(folders, listed, strict=True)), has)


def usual_roles(profile: Profile) -> list[str]:
    """Return the roles that a clip of this model uses in its default quality, in the profile's order."""
    preset = profile.qualities[profile.default_quality]
    wanted = f"quality {preset.name}, stages {preset.stages}, "
    found = samples(profile, read_templates(profile.name, None)[WAY])
    return clip_step.roles(next(sample.shot for sample in found if sample.label.startswith(wanted)))


def lacks(profile: Profile, holding: Holding) -> list[str]:
    """Return what a server lacks for a model: `folder/file` of its first choice, and node classes."""
    nodes = [f"node {name}" for name in profile.needs.nodes if name not in holding.classes]
    files = []
    for role in usual_roles(profile):
        model = profile.models[role]
        if all(model.find(precision, holding.listed(model.folder)) is None for precision in model.order):
            files.append(f"{model.folder}/{model.weights[model.order[0]][0]}")
    return [*nodes, *files]


def ours() -> list[Profile]:
    """Return our profiles, the newest model first."""
    return list(shipped_profiles())


def newest_of(holding: Holding, profiles: Sequence[Profile]) -> Profile | None:
    """Return the first of these models that a server has everything for."""
    return next((each for each in profiles if not lacks(each, holding)), None)


def newest_profile(env: Mapping[str, str], deadlines_s: tuple[float, float]) -> tuple[str, str]:
    """Return the profile of the newest of our models that a server can run, and why that one; "" where none can.

    Servers are those of the usual discovery; `deadlines_s` are how long a guess and a named one may take. Raise
    LtxflowError for an address or a configuration that is wrong.
    """
    places = find_servers([], env, read_config(env).as_servers)
    guess_s, named_s = deadlines_s
    found = asyncio.run(holdings(places, models := ours(), guess_s if places[0].is_guess else named_s))
    for profile in models:
        for each in found:
            if not lacks(profile, each):
                return profile.name, f"the newest that {each.server} can run"
    if found:
        return "", f"the default; ltxflow doctor says what {found[0].server} lacks"
    return "", "the default; no server answered"
