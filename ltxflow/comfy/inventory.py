"""One server as a build uses it: which model files it has, by what names, and which nodes. Knows no queue."""

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
from ltxflow.comfy.messages import SystemStats, clean
from ltxflow.comfy.signatures import Signatures, model_inputs
from ltxflow.comfy.wording import show
from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span
from ltxflow.core.regular import read_json
from ltxflow.models.profile import Profile, matching_files

LORAS = "loras"
SHAPES = 8  # graphs of one template with other nodes that are remembered as right: it branches on what a clip has


@dataclass
class Inventory:
    """What a server has: names by folder, asked for once a run; `/models/{folder}` sees new files without a restart.

    `is_fresh` says that the signatures were asked for in this run, and are not those that an earlier one kept.
    """

    client: Client
    stats: SystemStats | None = None
    folders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    signatures: Signatures | None = None
    is_fresh: bool = False
    right: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # by template: graphs found right
    classes: dict[str, bool] = field(default_factory=dict)  # node classes that were asked for, and whether it has them
    doubts: dict[str, Problem] = field(default_factory=dict)  # by message: what a person should know of its files
    reported: set[str] = field(default_factory=set)  # of the doubts

    async def names(self, folder: str) -> tuple[str, ...]:
        if folder not in self.folders:
            self.folders[folder] = await self.client.models(folder)
        return self.folders[folder]

    def forget(self) -> None:
        """Drop what is known of the server: it may have been restarted, with other files and other nodes."""
        self.folders.clear()
        self.stats, self.signatures, self.is_fresh = None, None, False
        self.right.clear()
        self.classes.clear()

    def choose(self, names: Sequence[str], listed: Iterable[str], folder: str, span: Span | None = None) -> str | None:
        """Return the listed file that `names` mean, None without any; where there are two, note the doubt."""
        found = matching_files(names, listed)
        if len(found) > 1:
            first, second, *more = (f'"{clean(name, 100)}"' for name in found)
            rest = f" (and {len(more)} more)" if more else ""
            message = f'{self.client.server}: "{names[0]}" in {folder} may be {first} or {second}{rest}'
            hint = f"the first one is used; name the one you mean: {first}"
            self.doubts.setdefault(message, Problem(message, span, hint, "C011", "warning"))
        return found[0] if found else None

    def news(self) -> list[Problem]:
        """Return the doubts that were not returned before."""
        new = [problem for message, problem in self.doubts.items() if message not in self.reported]
        self.reported.update(self.doubts)
        return new


@dataclass(frozen=True)
class Names:
    """The file names of one server: by model role, and by LoRA as the project writes it."""

    models: Mapping[str, str]
    loras: Mapping[str, str]


@dataclass(frozen=True)
class Fitted:
    """A graph as one server takes it, and what was changed for that, by node and input: `89.format.codec` → how."""

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
    """Given the roles and LoRAs that a clip (`user`) uses, return what this server calls them.

    Raise LtxflowError for what it lacks: the folder, who uses it, the closest name there is, and the quality
    that would do without. Precision is never mixed: a role's weights are those asked for. Raise it first where the
    server is too old for the model.
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
    """Raise LtxflowError where a server lacks what the model of `profile` needs, which a clip (`user`) is made with.

    The server's own classes decide where the profile names any: builds between two versions report either. Its version
    decides where there are none.
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
        has = f"it is {version}" + (f" and has no {', '.join(lacks)}" if lacks else "")
        raise LtxflowError(
            Problem(
                f"{inventory.client.server}: {profile.name}, which {user} uses, needs {needs}: {has}",
                hint="update ComfyUI there, name another server, or choose another profile",
                code="C010",
            ),
            exit_code=FAILED,
        )


def find_name(wanted: str, available: Iterable[str]) -> str | None:
    """Return what a server lists for a file name: itself, with or without folder and suffix."""
    found = matching_files([wanted], available)
    return found[0] if found else None


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
    return Problem(
        f'{inventory.client.server}: no "{name}" in {folder}, which {user} needs',
        span,
        "; ".join(part for part in parts if part),
        "C010",
    )


async def fit_graph(
    inventory: Inventory,
    graph: Mapping[str, Any],
    *,
    template: str,
    span: Span | None,
    allowed: frozenset[str],
    cache: Path,
) -> Fitted:
    """Adapt a graph to this server's signatures and model files, and check every node of it before it is sent.

    Signatures are cached by the server's address and version, and asked for again when the check fails with cached
    ones: a node may have been installed. Raise LtxflowError, with the place in the YAML file.
    """
    for is_fresh in (False, True):
        signatures = await _signatures(inventory, cache, is_fresh)
        fitted = await _fitted(inventory, graph, signatures)
        right = inventory.right.setdefault(template, [])
        found = (other_values(fitted.graph, like) for like in right)
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
        errors = [problem for problem in problems if problem.level == "error"]
        if not errors:
            if only is None:
                right[:] = [fitted.graph, *right[: SHAPES - 1]]
            return fitted
    raise LtxflowError(*(_by(inventory, problem) for problem in errors), exit_code=FAILED)


def _by(inventory: Inventory, problem: Problem) -> Problem:
    """Name the server; an allowance is the user's, whatever the server."""
    if problem.code == "N102":
        return problem
    return replace(problem, message=f"{inventory.client.server}: {problem.message}")


async def _fitted(inventory: Inventory, graph: Mapping[str, Any], signatures: Signatures) -> Fitted:
    adapted, changes = adapt_graph(graph, signatures)
    notes = {
        f"{change.node}.{change.input}": f"was {change.was}" if change.was else f"{show(change.value)}, its default"
        for change in changes
    }
    for named in model_inputs(adapted, signatures):
        listed: Sequence[str] = await inventory.names(named.folder) if named.folder else ()
        name = inventory.choose([named.value], listed, named.folder)
        if name is not None and name != named.value:  # the server compares letter by letter
            node = adapted[named.node]
            adapted[named.node] = {**node, "inputs": {**node["inputs"], named.input: name}}
            notes[f"{named.node}.{named.input}"] = f"was {named.value}"
    return Fitted(adapted, notes)


async def refresh(inventory: Inventory, cache: Path) -> None:
    """Ask for the server's signatures once more, and keep them in place of those that an earlier run kept."""
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
    inventory.right.clear()
    return inventory.signatures
