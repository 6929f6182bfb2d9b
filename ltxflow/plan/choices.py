"""What `auto` comes to: the precisions, quality and stages for which servers have all files. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ltxflow.models.profile import Profile
from ltxflow.plan.plan import Plan
from ltxflow.project.weights import undecided, weights_of
from ltxflow.steps import pool_of

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
