"""The model files and nodes of one server, and graphs fitted to them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.comfy.adapt import adapt_graph
from ltxflow.comfy.checks import check_graph, other_values
from ltxflow.comfy.client import Client
from ltxflow.comfy.replies import SystemStats, clean
from ltxflow.comfy.signatures import Signatures, model_inputs
from ltxflow.comfy.wording import show
from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span, problem
from ltxflow.core.workspace import read_json
from ltxflow.models.profile import Profile, matching_files

LORAS = "loras"
SHAPES = 8  # graphs of one template, with different nodes, that are remembered as checked


@dataclass
class Inventory:
    """The contents of a server: names by folder, requested once a run (the server lists new files at once).

    `is_fresh` if the signatures were requested in this run, not read from the cache of an earlier one.
    """

    client: Client
    stats: SystemStats | None = None
    folders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    signatures: Signatures | None = None
    is_fresh: bool = False
    checked: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # by template: graphs without errors
    classes: dict[str, bool] = field(default_factory=dict)  # requested node classes, and whether it has them
    doubts: dict[str, Problem] = field(default_factory=dict)  # by message: ambiguous file names
    reported: set[str] = field(default_factory=set)  # messages of `doubts` that were returned

    async def names(self, folder: str) -> tuple[str, ...]:
        if folder not in self.folders:
            self.folders[folder] = await self.client.models(folder)
        return self.folders[folder]

    def forget(self) -> None:
        """Drop everything known of the server: it may have been restarted, with other files and nodes."""
        self.folders.clear()
        self.stats, self.signatures, self.is_fresh = None, None, False
        self.checked.clear()
        self.classes.clear()

    def choose(self, names: Sequence[str], listed: Iterable[str], folder: str, span: Span | None = None) -> str | None:
        """Return the listed file that `names` mean, None without one; record a doubt if several match."""
        found = matching_files(names, listed)
        if len(found) > 1:
            first, second, *more = (f'"{clean(name, 100)}"' for name in found)
            matches = f"{first} and {second}" + (f" and {len(more)} more" if more else "")
            server = self.client.server
            doubt = problem("C011", span, server=server, name=names[0], folder=folder, matches=matches, first=first)
            self.doubts.setdefault(doubt.message, doubt)
        return found[0] if found else None

    def new_doubts(self) -> list[Problem]:
        """Return the doubts that were not returned before."""
        new = [doubt for message, doubt in self.doubts.items() if message not in self.reported]
        self.reported.update(self.doubts)
        return new


@dataclass(frozen=True)
class Names:
    """The file names of one server: by model role, and by LoRA as the project writes it."""

    models: Mapping[str, str]
    loras: Mapping[str, str]


@dataclass(frozen=True)
class Fitted:
    """A graph as one server accepts it, and its changes by node and input: `89.format.codec` → text."""

    graph: dict[str, Any]
    changes: Mapping[str, str]


async def resolve_names(
    inventory: Inventory,
    profile: Profile,
    weights: Mapping[str, str],
    roles: Iterable[str],
    loras: Iterable[tuple[str, Span | None]],
    user: str,
) -> Names:
    """Return the file names on this server of the roles and LoRAs that a clip (`user`) uses.

    Raise LtxflowError if the server is too old for the model, or for each missing file: the folder, the user, the
    closest name, and a setting that needs no such file. Precision is never mixed: a role has the weights requested.
    """
    await check_needs(inventory, profile, user)
    problems: list[Problem] = []
    models: dict[str, str] = {}
    for role in roles:
        model = profile.models[role]
        available = await inventory.names(model.folder)
        name = inventory.choose(model.weights[weights[role]], available, model.folder)
        if name is None:
            problems.append(_missing_model(inventory, profile, role, weights[role], available, user))
        else:
            models[role] = name
    found: dict[str, str] = {}
    for lora, span in loras:
        available = await inventory.names(LORAS)
        name = inventory.choose([lora], available, LORAS, span)
        if name is None:
            problems.append(_missing(inventory, lora, LORAS, available, user, span, ""))
        else:
            found[lora] = name
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
    return Names(models, found)


async def check_needs(inventory: Inventory, profile: Profile, user: str) -> None:
    """Raise LtxflowError if a server does not meet the requirements of `profile`, which a clip (`user`) uses.

    The server's classes decide if the profile names any, as builds between two versions report either version; else
    its version does.
    """
    needs = profile.needs
    if not (needs.comfyui or needs.nodes):
        return
    if inventory.stats is None:
        inventory.stats = await inventory.client.system_stats()
    version = clean(inventory.stats.version, 40)
    lacks = []
    for name in needs.nodes:
        if name not in inventory.classes:
            inventory.classes[name] = await inventory.client.object_info_class(name) is not None
        lacks += [] if inventory.classes[name] else [name]
    if lacks or not (needs.nodes or needs.is_met_by(version)):
        found = f"{version}" + (f" without {', '.join(lacks)}" if lacks else "")
        server = inventory.client.server
        raise LtxflowError(
            problem("C010.too-old", server=server, profile=profile.name, user=user, needs=needs, found=found),
            exit_code=FAILED,
        )


def _missing_model(
    inventory: Inventory, profile: Profile, role: str, weights: str, available: tuple[str, ...], user: str
) -> Problem:
    model = profile.models[role]
    names = model.weights[weights]
    other = [w for w in model.weights if w != weights and model.find(w, available)]
    without = ""
    if other:
        without = f"or use what is there: weights: {{{role}: {other[0]}}}"
    elif role == "spatial_upscaler":
        without = "or do without it: stages: 1"
    elif role == "distilled_lora":
        plain = [q.name for q in profile.qualities.values() if not q.distilled]
        without = f"or do without it: quality: {plain[0]} with stages: 1" if plain else ""
    elif role == "temporal_upscaler":
        without = "or do without it: temporal_upscale: false"
    elif model.maps:
        without = "or do without it: preprocess: false, where the video is such a map already"
    return _missing(inventory, names[0], model.folder, available, user, None, without)


def _missing(
    inventory: Inventory,
    name: str,
    folder: str,
    available: tuple[str, ...],
    user: str,
    span: Span | None,
    without: str,
) -> Problem:
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.4)
    parts = [f"put it in ComfyUI/models/{folder}", without, f'closest there: "{clean(near[0], 100)}"' if near else ""]
    hint = "; ".join(part for part in parts if part)
    server = inventory.client.server
    return problem("C010.model", span, hint=hint, server=server, name=name, folder=folder, user=user)


async def fit_graph(
    inventory: Inventory,
    graph: Mapping[str, Any],
    *,
    template: str,
    span: Span | None,
    allowed: frozenset[str],
    cache: Path,
) -> Fitted:
    """Adapt a graph to this server's signatures and model files, and check it before it is sent.

    Signatures are cached by the server's address and version, and requested again if the check fails with cached ones:
    a node may have been installed. Raise LtxflowError, with the place in the YAML file.
    """
    for is_fresh in (False, True):
        signatures = await _signatures(inventory, cache, is_fresh)
        fitted = await _fitted(inventory, graph, signatures)
        checked = inventory.checked.setdefault(template, [])
        found = (other_values(fitted.graph, like) for like in checked)
        only = None if is_fresh else next((nodes for nodes in found if nodes is not None), None)
        problems = check_graph(
            fitted.graph,
            signatures,
            template=template,
            where=lambda node: span,
            models=False,
            allowed=allowed,
            only=only,
        )
        errors = [each for each in problems if each.level == "error"]
        if not errors:
            if only is None:
                checked[:] = [fitted.graph, *checked[: SHAPES - 1]]
            return fitted
    raise LtxflowError(*(_with_server(inventory, error) for error in errors), exit_code=FAILED)


def _with_server(inventory: Inventory, error: Problem) -> Problem:
    """Add the server's name, except to a missing allowance: that is the user's."""
    if error.code == "N102":
        return error
    return replace(error, message=f"{inventory.client.server}: {error.message}")


async def _fitted(inventory: Inventory, graph: Mapping[str, Any], signatures: Signatures) -> Fitted:
    adapted, changes = adapt_graph(graph, signatures)
    notes = {
        f"{change.node}.{change.input}": f"was {change.was}" if change.was else f"{show(change.value)}, its default"
        for change in changes
    }
    for named in model_inputs(adapted, signatures):
        listed: Sequence[str] = await inventory.names(named.folder) if named.folder else ()
        name = inventory.choose([named.value], listed, named.folder)
        if name is not None and name != named.value:  # the server compares the whole text
            node = adapted[named.node]
            adapted[named.node] = {**node, "inputs": {**node["inputs"], named.input: name}}
            notes[f"{named.node}.{named.input}"] = f"was {named.value}"
    return Fitted(adapted, notes)


async def refresh(inventory: Inventory, cache: Path) -> None:
    """Request the server's signatures again, and replace the cached ones."""
    await _signatures(inventory, cache, True)


async def _signatures(inventory: Inventory, cache: Path, is_fresh: bool) -> Signatures:
    if inventory.signatures is not None and not is_fresh:
        return inventory.signatures
    if inventory.stats is None:
        inventory.stats = await inventory.client.system_stats()
    label = f"{inventory.client.server.url} {inventory.stats.version}"
    path = cache / f"{digest_bytes(label.encode())[:16]}.json"
    info: Any = None
    if not is_fresh and path.is_file():
        try:
            info = read_json(path)
        except (OSError, ValueError):
            info = None
    if not isinstance(info, dict):
        info = await inventory.client.object_info()
        files.make_dir(cache)
        files.make_room(path)
        files.write_atomic(path, json.dumps(info, separators=(",", ":")))
        inventory.is_fresh = True
    inventory.signatures = Signatures.from_object_info(info)
    inventory.checked.clear()
    return inventory.signatures
