"""What is stale, found the long way round: every trace and blob of the store is read, every key computed, each time.

It asks nothing that the program remembers: no index, no snapshot, no memo, no record of what was published. What it
shares with the program is what a film *is* (reading it, its nodes, their actions); what is to be done is its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Output
from ltxflow.core.errors import LtxflowError
from ltxflow.lock.model import Lock, moved
from ltxflow.plan.explain import only_upstream_differs
from ltxflow.plan.lengths import cut_film, lengths_by_clip
from ltxflow.plan.plan import KINDS_OF, Mode, picked_take, seeds
from ltxflow.session.session import Session, open_session
from ltxflow.steps import Node, ResolvedInputs, step
from ltxflow.store.traces import read_trace

Made = dict[str, dict[str, Output]]  # key → output name → its file


def key_of(action: Any) -> str:
    """A key as docs/reference/keys.md tells it, by nothing but the standard library."""
    plain = json.loads(json.dumps(action.as_json()), parse_float=lambda text: _whole(float(text)))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def made_in(store: Path, lock: Lock) -> Made:
    """Everything in a store, every byte of it looked at; and what the lock vouches for."""
    blobs = {
        path.parent.name + path.name: path.stat().st_size
        for path in (store / "cas").glob("??/*")
        if hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
    }
    made: Made = {}
    for path in (store / "traces").glob("??/*.json"):
        outputs = json.loads(path.read_bytes())["outputs"]
        if all(blobs.get(output["digest"]) == output["size"] for output in outputs.values()):
            made[path.stem] = {name: Output(o["digest"], o.get("facts", {}), o["size"]) for name, o in outputs.items()}
    for entry in lock.entries.values():
        for take in entry.takes.values():
            digests = {**take.outputs, "video": take.digest}
            if take.key not in made and "published" in digests and all(digest in blobs for digest in digests.values()):
                made[take.key] = {name: Output(digest, dict(take.facts)) for name, digest in digests.items()}
    return made


@dataclass
class Verdict:
    """What must be made, what is there, and what will only be known when something before it is made."""

    stale: dict[str, str] = field(default_factory=dict)  # target → key
    there: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)  # a person said that it stands, and it is gone


def judge(folder: Path, store: Path, config: Path, apart: Path, mode: Mode = "render") -> Verdict:
    """Given a project, copy what a person wrote to `apart` and return the verdict on that. Raise as reading it does."""
    shutil.rmtree(apart, ignore_errors=True)
    shutil.copytree(folder, apart, ignore=shutil.ignore_patterns(".ltxflow", "public"))
    env = {**os.environ, "LTXFLOW_STORE": str(apart / "no store"), "XDG_CONFIG_HOME": str(config)}
    session = open_session(str(apart), cwd=apart, env=env)
    lock = moved(session.lock, session.project.moved)
    nodes = _nodes(session, mode)
    made = made_in(store, lock)
    told = Verdict()
    known: dict[str, Mapping[str, Output] | None] = {}

    def look(target: str) -> Mapping[str, Output] | None:
        if target not in known:
            known[target] = _look(nodes[target], look, lock, made, told, store / "traces")
        return known[target]

    for target, node in nodes.items():
        if node.kind != "frame" and not _is_spare(node, lock):
            look(target)
    for target in [*told.stale, *told.unsure]:
        entry = lock.entries.get(nodes[target].entry)
        if entry and entry.status == "accepted" and f"{target.rpartition('@')[0]}@{entry.pick}" in told.there:
            told.stale.pop(target, None)  # a person took another one
            told.unsure.discard(target)
    for target in [target for target, node in nodes.items() if node.kind == "frame"]:
        told.stale.pop(target, None)  # they are only taken on the way
        told.there.pop(target, None)
        told.unsure.discard(target)
    return told


def _nodes(session: Session, mode: Mode) -> dict[str, Node]:
    """All targets of the film; without a store nothing is left out because it is there."""
    lock = moved(session.lock, session.project.moved)
    cuts, problems = cut_film(session.project, lock)
    if any(problem.level == "error" for problem in problems):
        raise LtxflowError(*problems)
    project = session.project
    wishes = ResolvedInputs(
        lengths_by_clip(project, cuts),
        seeds(project, lock),
        lambda clip: picked_take(lock, clip),
        lambda clip: frozenset(),
    )
    return {node.target: node for kind in KINDS_OF[mode] for node in step(kind).nodes(project, wishes)}


def _is_spare(node: Node, lock: Lock) -> bool:
    """Another take of what a person settled: nobody asks for it."""
    entry = lock.entries.get(node.entry)
    return bool(entry and entry.status in ("approved", "pinned") and entry.pick != node.take)


def _is_held(node: Node, lock: Lock) -> bool:
    """What a person approved or pinned: it stands, whatever the film says now."""
    entry = lock.entries.get(node.entry)
    return bool(entry and entry.status in ("approved", "pinned") and entry.pick == node.take)


def _is_accepted(node: Node, action: Any, lock: Lock, traces: Path) -> bool:
    """What a person accepted stands while nothing but what it is made from changes."""
    entry = lock.entries.get(node.entry)
    if entry is None or entry.status != "accepted" or entry.pick != node.take or entry.picked is None:
        return False
    before, _ = read_trace(traces, entry.picked.key)
    return before is not None and only_upstream_differs(node, action, before)


def _look(node: Node, look: Any, lock: Lock, made: Made, told: Verdict, traces: Path) -> Mapping[str, Output] | None:
    entry = lock.entries.get(node.entry)
    if node.kind in ("clip", "reference") and _is_held(node, lock) and entry and entry.picked:
        found = made.get(entry.picked.key)
        if found is None:
            told.lost.add(node.target)
        else:
            told.there[node.target] = entry.picked.key
        return found

    def accepted(action: Any) -> Mapping[str, Output] | None:
        found = made.get(entry.picked.key) if entry and entry.picked else None
        if found is None or entry is None or entry.picked is None or not _is_accepted(bare, action, lock, traces):
            return None
        told.there[node.target] = entry.picked.key
        return found

    inputs, bare = {}, node
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        before = look(source)
        if before is None:
            held = accepted(None)
            if held is None:
                told.unsure.add(node.target)
            return held
        inputs[name] = next(before[one] for one in (output or "video").split("|") if one in before)
    bare = step(node.kind).bind_inputs(node, inputs)
    action = step(node.kind).action(bare, inputs)
    key = key_of(action)
    if key in made:
        told.there[node.target] = key
        return made[key]
    if entry and entry.picked and entry.picked.key != key and (held := accepted(action)):
        return held
    told.stale[node.target] = key
    return None
