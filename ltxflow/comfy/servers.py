"""One server as a build uses it: which model files it has, by what names, and which nodes. Knows no queue."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.messages import SystemStats, clean
from ltxflow.comfy.nodes import Signatures, check_graph, other_values
from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span
from ltxflow.script.profile import Profile

LORAS = "loras"
SHAPES = 8  # graphs of one template with other nodes that are remembered as right: it branches on what a clip has


@dataclass
class Inventory:
    """What a server has: names by folder, asked for once a run; `/models/{folder}` sees new files without a restart."""

    client: Client
    stats: SystemStats | None = None
    folders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    signatures: Signatures | None = None
    right: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # by template: graphs found right
    classes: dict[str, bool] = field(default_factory=dict)  # node classes that were asked for, and whether it has them

    async def names(self, folder: str) -> tuple[str, ...]:
        if folder not in self.folders:
            self.folders[folder] = await self.client.models(folder)
        return self.folders[folder]


@dataclass(frozen=True)
class Names:
    """The file names of one server: by model role, and by LoRA as the project writes it."""

    models: Mapping[str, str]
    loras: Mapping[str, str]


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
        name = model.find(weights[role], available)
        if name is None:
            problems.append(_missing_model(inventory, profile, role, weights[role], available, user))
        else:
            models[role] = name
    found: dict[str, str] = {}
    for lora, span in loras:
        available = await inventory.names(LORAS)
        name = find_name(lora, available)
        if name is None:
            problems.append(_missing(inventory, lora, LORAS, available, user, span, ""))
        else:
            found[lora] = name
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
    return Names(models, found)


async def check_needs(inventory: Inventory, profile: Profile, user: str) -> None:
    """Given the profile that a clip (`user`) is made with, raise LtxflowError where this server is too old for it."""
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
    if lacks or not needs.is_met_by(version):
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
    """Given a file name, return what the server lists for it: itself, with or without folder and extension."""
    listed = list(available)
    if wanted in listed:
        return wanted

    def base(name: str) -> str:
        return re.split(r"[/\\]", name)[-1]

    for entry in listed:
        if base(entry) == wanted or base(entry).removesuffix(".safetensors") == wanted:
            return entry
    return None


def _missing_model(
    inventory: Inventory, profile: Profile, role: str, weights: str, available: tuple[str, ...], user: str
) -> Problem:
    model = profile.models[role]
    names = model.weights[weights]
    other = [w for w in model.weights if w != weights and model.find(w, available)]
    without = ""
    if role == "spatial_upscaler":
        without = "or do without it: stages: 1"
    elif role == "distilled_lora":
        plain = [q.name for q in profile.qualities.values() if not q.distilled]
        without = f"or do without it: quality: {plain[0]} with stages: 1" if plain else ""
    elif role == "temporal_upscaler":
        without = "or do without it: temporal_upscale: false"
    elif other:
        without = f"or use what is there: weights: {{{role}: {other[0]}}}"
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


async def check_live(
    inventory: Inventory,
    graph: Mapping[str, Any],
    *,
    template: str,
    span: Span | None,
    allowed: frozenset[str],
    cache: Path,
) -> None:
    """Given a graph as it would be sent, check every node of it against this server's own signatures.

    They are cached by the server's address and version, and asked for again when the check fails with cached
    ones: somebody may have installed a node. Raise LtxflowError, with the place in the YAML file.
    """
    for is_fresh in (False, True):
        signatures = await _signatures(inventory, cache, is_fresh)
        right = inventory.right.setdefault(template, [])
        found = (other_values(graph, like) for like in right)
        only = None if is_fresh else next((nodes for nodes in found if nodes is not None), None)
        problems = check_graph(
            dict(graph),
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
                right[:] = [graph, *right[: SHAPES - 1]]
            return
    raise LtxflowError(*errors, exit_code=FAILED)


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
            info = json.loads(path.read_bytes())
        except (OSError, ValueError):
            info = None
    if not isinstance(info, dict):
        info = await inventory.client.object_info()
        files.make_dir(cache)
        files.write_atomic(path, json.dumps(info, separators=(",", ":")))
    inventory.signatures = Signatures.from_object_info(info)
    inventory.right.clear()
    return inventory.signatures
