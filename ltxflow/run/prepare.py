"""Makes a clip's graph ready for one server: names resolved, files sent, every node checked. Queues nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ltxflow.comfy.servers import fit_graph, resolve_names
from ltxflow.comfy.signatures import as_link, core_classes
from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.media.image import prepare_image
from ltxflow.media.video import part_from, prepare_video
from ltxflow.run.machines import Attempt, Machine
from ltxflow.steps import Asset, Job, Order

# An input that no node declares: ComfyUI drops it, and its node cache is keyed by it (seen on 0.27.0 and 0.33.0).
NONCE = "ltxflow_forced"


async def prepare(attempt: Attempt, allowed: frozenset[str], signatures: Path) -> dict[str, Any]:
    """Resolve names, send what the graph reads, and fit every node to this server's signatures.

    What was changed for that is kept for the trace, in the job's versions: `adapted.89.format.codec`.
    """
    ticket, machine, order = attempt.ticket, attempt.machine, attempt.ticket.order
    names = await resolve_names(
        machine.inventory, order.profile, order.weights, order.roles(ticket.action), order.loras, order.path
    )
    stored = {asset.name: await upload(machine, asset, ticket.job) for asset in order.assets()}
    number = attempt.submission.attempt if attempt.submission else 1
    graph = order.graph(names.models, names.loras, f"ltxflow/{ticket.key[:16]}-{number}")
    graph = _renamed(graph, {name: real for name, real in stored.items() if name != real})
    fitted = await fit_graph(
        machine.inventory,
        graph,
        template=order.template.name,
        span=order.span,
        allowed=allowed,
        cache=signatures,
    )
    graph = attempt.graph = fitted.graph
    # its own signatures also know the loaders among the foreign classes that the user allows
    strays = order.strays(graph, machine.inventory.signatures, stored.values())
    if strays:
        raise LtxflowError(*strays, exit_code=FAILED)
    versions = ticket.job.versions
    for name in [name for name in versions if name.startswith("adapted.")]:  # for a server that refused it
        del versions[name]
    versions["comfyui"] = machine.inventory.stats.version if machine.inventory.stats else ""
    versions |= {f"model.{role}": name for role, name in names.models.items()}
    versions |= {f"adapted.{place}": how for place, how in fitted.changes.items()}
    if ticket.nonce:
        graph = with_nonce(graph, ticket.nonce)
    return graph


def plain_graph(order: Order) -> dict[str, Any]:
    """The graph of a prompt that runs already, for its nodes' ids and classes: the files may have other names there."""
    return order.graph({role: role for role in order.weights}, {}, "ltxflow")


def with_nonce(graph: dict[str, Any], nonce: str) -> dict[str, Any]:
    """Return the graph so that a server executes every node of it, whatever its cache holds from other prompts.

    A node runs again when anything above it is new to the cache, so the nodes that read no other node get the nonce:
    loaders (a model file that was replaced under its name is read again) and the noise. Nodes that are not of the
    core may take inputs they do not declare; the core nodes that read those get it instead.
    """
    core = core_classes()
    is_core = {id: node["class_type"] in core for id, node in graph.items()}

    def reads(id: str) -> list[str]:
        links = map(as_link, graph[id]["inputs"].values())
        return [link[0] for link in links if link is not None and link[0] in graph]

    chosen = {id for id in graph if is_core[id] and not any(is_core[source] for source in reads(id))}
    chosen = chosen or {id for id in graph if not reads(id)}
    return {
        id: {**node, "inputs": {**node["inputs"], NONCE: nonce}} if id in chosen else node for id, node in graph.items()
    }


def _renamed(graph: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A server calls an upload otherwise when another file has that name: what it says counts."""
    if not names:
        return graph
    return {
        id: {**node, "inputs": {k: names.get(v, v) if isinstance(v, str) else v for k, v in node["inputs"].items()}}
        for id, node in graph.items()
    }


async def upload(machine: Machine, asset: Asset, job: Job) -> str:
    """Send what a graph reads unless the server has it, and return the server's name for it."""
    folder, _, name = asset.name.partition("/")
    known = machine.uploaded.get(asset.name)
    return known or await machine.client.files.upload(name, await asyncio.to_thread(content, asset, job), folder)


def content(asset: Asset, job: Job) -> bytes | Path:
    """What is sent for an asset: a picture or a video prepared for this clip, a video as it is, or what another clip
    made.

    Always the very bytes that the key was made of: a file that was edited meanwhile, or rotted, is refused.
    """
    if asset.video is not None and "take" in asset.recipe:
        return _fitted(asset, job.folder)
    if asset.video is not None or asset.image is None:
        source = asset.video.path if asset.video is not None else job.inputs[asset.input]
        digest = asset.recipe.get("sound") or asset.recipe["video"]
        return _copy(source, Digest(digest), job.folder, is_ours=asset.video is None)
    fit = asset.recipe["fit"]
    focus = asset.recipe["focus"] or (0.5, 0.5)
    width, height = asset.recipe["size"]
    path = job.inputs[asset.input] if asset.input else asset.image.path
    return prepare_image(path, (width, height), fit, tuple(focus), asset.image.pixels)


def _fitted(asset: Asset, folder: Path) -> Path:
    """The part of a video that a clip reads, made to fit; from the very file that the key was made of."""
    assert asset.video is not None
    source, out = asset.video.path, folder / asset.name.rpartition("/")[2]
    if out.exists():
        return out
    before = files.signature(source)
    if before is None or digest_file(source) != asset.recipe["video"]:
        raise _changed(source)
    draft = folder / f"{uuid4().hex}.mov"  # a clip may be sent to several servers at once
    try:
        prepare_video(source, draft, part_from(asset.recipe), asset.video.facts)
    except LtxflowError as error:
        problems = (replace(problem, span=problem.span or asset.video.span) for problem in error.problems)
        raise LtxflowError(*problems, exit_code=FAILED) from error
    if files.signature(source) != before:
        raise _changed(source)
    draft.replace(out)
    return out


def _changed(source: Path) -> LtxflowError:
    message, hint = f'"{source.name}" changed while the film was being built', "build again, to use it as it is now"
    return LtxflowError(Problem(message, hint=hint, code="C031"), exit_code=FAILED)


def _copy(source: Path, digest: Digest, folder: Path, *, is_ours: bool) -> Path:
    """A copy of a file that nobody else writes to: what is sent cannot change while it is sent."""
    copy = folder / f"{digest[:16]}{source.suffix}"
    if copy.exists():
        return copy
    try:
        files.copy_into(source, copy, expect=digest)
    except LtxflowError as error:
        if not source.exists():
            raise
        if not is_ours:
            raise _changed(source) from error
        message = f"a file in the store is damaged: {digest[:12]}…"
        hint = "ltxflow cache verify --repair sets it aside; the next build makes it again"
        raise LtxflowError(Problem(message, hint=hint, code="C031"), exit_code=FAILED) from error
    return copy
