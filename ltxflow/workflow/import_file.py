"""Import a workflow: read its file, convert it with the known signatures, and recognise its variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.comfy.signatures import Signatures, versions
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.documents.document import shown
from ltxflow.media.image import embedded_workflow, is_media
from ltxflow.workflow.api_format import MAX_CHARACTERS, Workflow, read_workflow
from ltxflow.workflow.editor import ConvertedWorkflow
from ltxflow.workflow.imported import ImportedWorkflow
from ltxflow.workflow.importer import recognise
from ltxflow.workflow.sizing import SAVES
from ltxflow.workflow.wiring import Wiring

ObjectInfo = Mapping[str, Any]  # the answer of GET /object_info


@dataclass(frozen=True)
class Imported:
    """A workflow with its recognised values. `notes` are of the conversion; `nodes` is the number of nodes read."""

    recognised: ImportedWorkflow
    notes: tuple[str, ...]
    nodes: int


def read_source(source: Path) -> Workflow:
    """Return the workflow in a file: JSON, or a picture or video that ComfyUI made.

    Raise LtxflowError for a file that cannot be read, is too large, or has no workflow.
    """
    name = shown(source)
    where = Span(name, 1, 1)
    try:
        with source.open("rb") as file:
            head = file.read(16)
            data = b"" if is_media(head) else head + file.read(4 * MAX_CHARACTERS)
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise LtxflowError(problem("T020.unreadable", file=source, reason=reason)) from None
    if is_media(head):
        try:
            return read_workflow(embedded_workflow(source), name)
        except LtxflowError as error:
            raise LtxflowError(*(replace(each, span=where) for each in error.problems)) from None
    if len(data) > 4 * MAX_CHARACTERS:
        raise LtxflowError(problem("T020.file-size", where, megabytes=4 * MAX_CHARACTERS >> 20))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LtxflowError(problem("T020.not-text", where)) from None
    return read_workflow(text, name)


def recorded_signatures() -> tuple[Signatures, ...]:
    """Return the recorded signatures of core nodes, the newest version first."""
    return tuple(map(Signatures.recorded, versions()))


def import_workflow(
    workflow: Workflow, infos: Sequence[ObjectInfo], more: Callable[[], Iterable[ObjectInfo]] = tuple
) -> Imported:
    """Return the values that a clip decides in a workflow, by signatures of servers (`infos`), then recorded ones.

    If a needed class is in neither, `more` is called for further servers. Raise LtxflowError for a workflow that cannot
    be read or cannot make a clip.
    """
    known = list(infos)
    signatures = [*map(Signatures.from_object_info, known), *recorded_signatures()]
    exported = workflow.exported(*signatures)
    if _unread(exported.graph, exported.unread):
        for info in more():
            known.append(info)
            signatures.insert(len(known) - 1, Signatures.from_object_info(info))
            exported = workflow.exported(*signatures)
            if not _unread(exported.graph, exported.unread):
                break
    try:
        _refuse_paid(exported.graph, known)
        recognised = recognise(exported.graph)
    except LtxflowError as error:
        if any(each.code == "T023" for each in error.problems):  # an unknown node may hide the use of the file
            _refuse_unread(workflow, exported, _unread(exported.graph, exported.unread))
        raise LtxflowError(*(_at_its_node(workflow, each) for each in error.problems)) from None
    _refuse_unread(workflow, exported, {*exported.unread} & {*recognised.graph})
    return Imported(recognised, exported.notes, len(exported.graph))


def _at_its_node(workflow: Workflow, found: Problem) -> Problem:
    """Return a problem with the place of the node that it names, else that of the file."""
    named = re.search(r'node "([^"]+)" \(([^,)]+)', found.message)
    span = workflow.span_of(named[1], named[2]) if named else Span(workflow.name, 1, 1)
    return found if found.span else replace(found, span=span)


def _refuse_unread(workflow: Workflow, exported: ConvertedWorkflow, ids: set[str]) -> None:
    if not ids:
        return
    classes = sorted({exported.unread[id] for id in ids})
    names = ", ".join(f'"{class_[:60]}"' for class_ in classes[:6]) + (" …" if len(classes) > 6 else "")
    raise LtxflowError(problem("T026", Span(workflow.name, 1, 1), classes=names))


def _needed(graph: Mapping[str, Any]) -> set[str]:
    """Return the nodes that lead to a saved video, before some of them are left out."""
    wiring = Wiring(dict(graph))
    saves = [id for id in graph if SAVES.search(wiring.class_of(id))]
    return {*saves}.union(*(wiring.upstream(id) for id in saves))


def _unread(graph: Mapping[str, Any], unread: Mapping[str, str]) -> set[str]:
    return {*unread} & _needed(graph) if unread else set()


def _refuse_paid(graph: Mapping[str, Any], infos: Iterable[ObjectInfo]) -> None:
    """Refuse a workflow that runs on a paid service: its nodes need a login that only the editor has."""
    paid = {name for info in infos for name, entry in info.items() if isinstance(entry, Mapping) and is_paid(entry)}
    for id in sorted(_needed(graph)):
        if graph[id]["class_type"] in paid:
            raise LtxflowError(problem("T027", node=Wiring(dict(graph)).describe(id)))


def is_paid(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of /object_info describes a node that runs on a paid service."""
    return bool(entry.get("api_node")) or str(entry.get("python_module", "")).startswith("comfy_api_nodes")
