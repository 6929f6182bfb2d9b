"""Find renders that only an upgrade of ltxflow, a template or a profile asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.plan.explain import Reason, change_of_version
from ltxflow.plan.plan import Change, Plan
from ltxflow.steps import Node


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
    """Yield what upgrades would cost in what a build is about to do; nothing where they cost nothing."""
    said = []
    for upgrade in upgrades(outlook):
        many = len(upgrade.targets) != 1
        again = f"{len(upgrade.targets)} renders are made again" if many else "1 render is made again"
        said.append(f"{upgrade.cause}: {again}; ltxflow accept --all-upgrades keeps what there is")
    return said


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
