"""Bring a workflow in: read it, convert it with the signatures there are, recognise what a clip decides in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.comfy.signatures import Signatures, versions
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.documents.paths import shown
from ltxflow.media.frames import embedded_workflow, is_media
from ltxflow.workflow.api_format import MAX_CHARACTERS, Workflow, read_workflow
from ltxflow.workflow.editor import ConvertedWorkflow
from ltxflow.workflow.imported import ImportedWorkflow
from ltxflow.workflow.importer import recognise
from ltxflow.workflow.repair import SAVES
from ltxflow.workflow.wiring import Wiring

RULES = {
    "T026": "the values of a node can be read only with the signature of its class",
    "T027": "what is imported runs on the server alone: a paid service asks for a login that ltxflow has not",
}

EXPORT_HINT = "save the workflow in ComfyUI, or export it: File → Export (API)"

ObjectInfo = Mapping[str, Any]  # what GET /object_info answers


@dataclass(frozen=True)
class Imported:
    """A workflow that was read, and what was found in it. `notes` are of the conversion, `nodes` how many it had."""

    recognised: ImportedWorkflow
    notes: tuple[str, ...]
    nodes: int


def read_source(source: Path) -> Workflow:
    """Return the workflow in a file: JSON, or a picture or video that ComfyUI made.

    Raise LtxflowError for a file that cannot be read, is far too large, or has no workflow.
    """
    name = shown(source)
    where = Span(name, 1, 1)
    try:
        with source.open("rb") as file:
            head = file.read(16)
            data = b"" if is_media(head) else head + file.read(4 * MAX_CHARACTERS)
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise LtxflowError(Problem(f'cannot read "{source}": {reason}', hint=EXPORT_HINT, code="T020")) from None
    if is_media(head):
        try:
            return read_workflow(embedded_workflow(source), name)
        except LtxflowError as error:
            raise LtxflowError(*(replace(problem, span=where) for problem in error.problems)) from None
    if len(data) > 4 * MAX_CHARACTERS:
        message = f"the file is larger than {4 * MAX_CHARACTERS >> 20} MB: no workflow is"
        raise LtxflowError(Problem(message, where, EXPORT_HINT, "T020"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = "save it as UTF-8; a picture or video that ComfyUI made may be imported as it is"
        raise LtxflowError(Problem("this is not a text file", where, hint, "T020")) from None
    return read_workflow(text, name)


def recorded_signatures() -> tuple[Signatures, ...]:
    """Return the recorded signatures of core nodes, the newest version first."""
    return tuple(map(Signatures.recorded, versions()))


def import_workflow(
    workflow: Workflow, infos: Sequence[ObjectInfo], more: Callable[[], Iterable[ObjectInfo]] = tuple
) -> Imported:
    """Return what a clip decides in a workflow. Signatures come from servers (`infos`), then from the recorded ones.

    Where a class that matters is in neither, `more` is asked for further servers. Raise LtxflowError for a workflow
    that cannot be read, and for one that cannot make a clip.
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
        if any(
            problem.code == "T023" for problem in error.problems
        ):  # a node that is not known may hide what it is for
            _refuse_unread(workflow, exported, _unread(exported.graph, exported.unread))
        raise LtxflowError(*(_at_its_node(workflow, problem) for problem in error.problems)) from None
    _refuse_unread(workflow, exported, {*exported.unread} & {*recognised.graph})
    return Imported(recognised, exported.notes, len(exported.graph))


def _at_its_node(workflow: Workflow, problem: Problem) -> Problem:
    """Return a problem with the place of the node that it names, else that of the file."""
    named = re.search(r'node "([^"]+)" \(([^,)]+)', problem.message)
    span = workflow.span_of(named[1], named[2]) if named else Span(workflow.name, 1, 1)
    return problem if problem.span else replace(problem, span=span)


def _refuse_unread(workflow: Workflow, exported: ConvertedWorkflow, ids: set[str]) -> None:
    if not ids:
        return
    classes = sorted({exported.unread[id] for id in ids})
    names = ", ".join(f'"{class_[:60]}"' for class_ in classes[:6]) + (" …" if len(classes) > 6 else "")
    hint = "name a server that has them: --server URL; or export it in API format: File → Export (API)"
    message = f"the values of {names} cannot be read: no signature of {'it' if len(classes) == 1 else 'them'}"
    raise LtxflowError(Problem(message, Span(workflow.name, 1, 1), hint, "T026"))


def _needed(graph: Mapping[str, Any]) -> set[str]:
    """The nodes that what saves a video needs, before it is known which of them are left out."""
    wiring = Wiring(dict(graph))
    saves = [id for id in graph if SAVES.search(wiring.class_of(id))]
    return {*saves}.union(*(wiring.upstream(id) for id in saves))


def _unread(graph: Mapping[str, Any], unread: Mapping[str, str]) -> set[str]:
    return {*unread} & _needed(graph) if unread else set()


def _refuse_paid(graph: Mapping[str, Any], infos: Iterable[ObjectInfo]) -> None:
    """Refuse a workflow that runs on a paid service: its nodes ask for a login that only the editor has."""
    paid = {name for info in infos for name, entry in info.items() if isinstance(entry, Mapping) and is_paid(entry)}
    for id in sorted(_needed(graph)):
        if graph[id]["class_type"] in paid:
            message = (
                f"{Wiring(dict(graph)).told(id)} runs on a paid service, and only ComfyUI's editor can log in to it"
            )
            raise LtxflowError(Problem(message, None, "use a workflow that runs on your server alone", "T027"))


def is_paid(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of /object_info is of a node that runs on a paid service."""
    return bool(entry.get("api_node")) or str(entry.get("python_module", "")).startswith("comfy_api_nodes")
