"""What `auto` comes to: the precisions, quality and stages for which servers have all files. Pure.

Find renders that only an upgrade of ltxflow, a template or a profile asks for. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ltxflow.core.target import Tally, Target
from ltxflow.core.timing import seed_for
from ltxflow.lock.model import Lock
from ltxflow.models.profile import Profile
from ltxflow.plan.evaluate import Lookup
from ltxflow.plan.explain import Reason, change_of_version
from ltxflow.plan.plan import Change, Plan
from ltxflow.project.settings import undecided, weights_of
from ltxflow.steps import Node, pool_of

FEW = 8  # clips of a lock, and tries of a take, that show whether the film's seed was changed

Files = Callable[[str], Iterable[str]]  # the names that a server lists in a folder under ComfyUI's models/


@dataclass(frozen=True)
class ResolvedChoice:
    """The precision of each role that was open, and the servers that have every file with it."""

    weights: Mapping[str, str]
    servers: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return bool(self.servers)


def choose(
    profile: Profile, needed: Mapping[str, str], is_open: Iterable[str], servers: Mapping[str, Files]
) -> ResolvedChoice:
    """Return which precisions the servers, by name, have.

    `needed` are the roles that a film's clips use, each with its precision unless it `is_open`. Every
    server has its best: of each open role the first precision, in the profile's order, that it lists. Of those that
    have all files the best is taken, role by role in the profile's order, and with it every server that has just that.
    Where no server has all, each role is what the first of them has of it, and `servers` is empty.
    """
    open_roles = [role for role in profile.models if role in needed and role in set(is_open)]
    ranks: dict[str, tuple[int, ...]] = {}
    some: dict[str, str] = {}
    for name, files in servers.items():
        had = {role: _first(profile, role, files) for role in open_roles}
        for role, precision in had.items():
            if precision is not None:
                some.setdefault(role, precision)
        fixed = [role for role in needed if role not in had]
        has_fixed = all(_has(profile, role, needed[role], files) for role in fixed)
        if has_fixed and all(had.values()):
            ranks[name] = tuple(profile.models[role].order.index(str(had[role])) for role in open_roles)
    if not ranks:
        return ResolvedChoice(some, ())
    best = min(ranks.values())
    weights = {role: profile.models[role].order[rank] for role, rank in zip(open_roles, best, strict=True)}
    having = [
        name for name, files in servers.items() if name in ranks and _has_all(profile, {**needed, **weights}, files)
    ]
    return ResolvedChoice(weights, tuple(having))


def _first(profile: Profile, role: str, files: Files) -> str | None:
    return next((precision for precision in profile.models[role].order if _has(profile, role, precision, files)), None)


def _has(profile: Profile, role: str, precision: str, files: Files) -> bool:
    model = profile.models[role]
    return model.find(precision, files(model.folder)) is not None


def _has_all(profile: Profile, weights: Mapping[str, str], files: Files) -> bool:
    return all(_has(profile, role, precision, files) for role, precision in weights.items())


def combinations(profile: Profile, is_open: Iterable[str]) -> list[dict[str, object]]:
    """Return what `quality: auto` and `stages: auto` may come to, in the order in which it is tried.

    Qualities in the profile's order, the default first and no stand-in; of each two stages, then one.
    """
    parts = set(is_open)
    names = [profile.default_quality, *profile.qualities]
    real = dict.fromkeys(name for name in names if not profile.qualities[name].stand_in)
    qualities: Sequence[dict[str, object]] = [{"quality": name} for name in real] if "quality" in parts else [{}]
    stages: Sequence[dict[str, object]] = [{"stages": 2}, {"stages": 1}] if "stages" in parts else [{}]
    return [{**quality, **stage} for quality in qualities for stage in stages]


def assumed(outlook: Plan) -> dict[str, str]:
    """Return role → precision for what a build of this would choose first, and a plan takes the profile's first of."""
    project = outlook.project
    if outlook.mode != "render" or not project.open_choices:
        return {}
    missing = [s for s in outlook.statuses.values() if s.state == "miss" and pool_of(s.node) == "gpu"]
    used = {role for status in missing for role in status.node.spec.roles(status.action)}
    weights = weights_of(project)
    return {role: weights[role] for role in undecided(project) if role in used}


@dataclass(frozen=True)
class Upgrade:
    """What changed, by name, and the targets that were paid for and would be rendered again because of it alone.

    `waiting` are those that are made from them, and whose keys are not known before.
    """

    cause: str
    targets: tuple[str, ...]
    waiting: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"cause": self.cause, "targets": list(self.targets), "waiting": list(self.waiting)}


def upgrades(outlook: Plan) -> list[Upgrade]:
    """Return what upgrades would cost, the dearest first.

    A clip counts where every reason is an upgrade's: if its author changed a word as well, it is rendered anyway.
    """
    if outlook.mode != "render":
        return []
    causes: dict[str, list[str]] = {}
    for change in outlook.of_kind("change"):
        if not change.target.startswith(("clip:", "reference:")):
            continue
        cause = _cause(outlook.plan.nodes[change.target], change)
        if cause:
            causes.setdefault(cause, []).append(change.target)
    waiting: dict[str, list[str]] = {}
    for change in outlook.of_kind("maybe"):
        waiting.setdefault(_root(outlook, change.target), []).append(change.target)
    found = [
        Upgrade(cause, tuple(targets), tuple(each for target in targets for each in waiting.get(target, ())))
        for cause, targets in causes.items()
    ]
    return sorted(found, key=lambda upgrade: (-len(upgrade.targets), upgrade.cause))


def notices(outlook: Plan) -> list[str]:
    """Return what a build is about to do that its author may not expect: other lengths, and renders for upgrades."""
    lengths: dict[str, list[str]] = {}
    for change in outlook.of_kind("create", "change"):
        if change.length and change.target in outlook.heads:
            lengths.setdefault(change.length, []).append(change.clip)
    lines = [f"{length}: {', '.join(clips)}" for length, clips in lengths.items()]
    for upgrade in upgrades(outlook):
        again = f"{Tally.of(upgrade.targets, outlook.heads)} rendered again"
        lines.append(f"{upgrade.cause}: {again}; ltxflow accept --all-upgrades keeps the existing results")
    return lines


def keeps_other_seeds(seed: int, lock: Lock, trace_of: Lookup) -> bool:
    """Return whether the takes in the lock have seeds that do not follow from this seed of the film: it was changed.

    A take that was renamed has the seed of the id that it was made under.
    """
    is_any = False
    for path, entry in islice(lock.entries.items(), FEW):
        for number, take in entry.takes.items():
            if take.seed is None or ":" in path:
                continue
            trace = trace_of(take.key)
            for scene, _, id in (name.partition("/") for name in {path, Target(trace.target).path if trace else path}):
                if any(take.seed == seed_for(seed, scene, id, number, try_) for try_ in range(take.tries + FEW)):
                    return False
            is_any = True
    return is_any


def _root(outlook: Plan, target: str) -> str:
    """Return what a target waits for in the end."""
    while (status := outlook.statuses[target]).because and status.key is None:
        target = status.because
    return target


def paid_again(outlook: Plan) -> list[str]:
    """Return the targets that were rendered once and would be rendered again, for whatever reason."""
    return [change.target for change in outlook.of_kind("change")] if outlook.mode == "render" else []


def _cause(node: Node, change: Change) -> str:
    if not change.reasons:
        return ""  # its record, or its file, is not in this store: nothing is known to have changed
    causes = [_of(node, reason) for reason in change.reasons]
    return " and ".join(dict.fromkeys(causes)) if all(causes) else ""


def _of(node: Node, reason: Reason) -> str:
    """Return the upgrade that it is; nothing where the author changed a value."""
    if reason.field == "version":
        return change_of_version(node.kind, reason.old, reason.new)
    if reason.field == "format":
        return f"ltxflow computes keys another way ({reason.old} → {reason.new})"
    if reason.field == "template" and (_is_same(reason) or reason.detail):
        return f"template {_name(node, 'template')} of {_name(node, 'profile')} changed"
    if reason.field == "quality" and _is_same(reason):
        return f"quality {reason.new['is']} of profile {_name(node, 'profile')} changed"
    if reason.field in ("profile", "size") and (_is_same(reason) or reason.detail):
        return f"profile {_name(node, 'profile')} changed"
    return ""


def _is_same(reason: Reason) -> bool:
    """Return whether the author wrote the same before and now, so that only its meaning changed."""
    old, new = reason.old, reason.new
    return isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("is") == new.get("is")


def _name(node: Node, part: str) -> str:
    found = getattr(node.spec, part, None)
    return str(getattr(found, "name", found))
