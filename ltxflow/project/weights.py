"""Resolve the precision of each of the model's files, and the files a project pins. Pure; contacts no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.models.profile import Profile
from ltxflow.project.model import Project

AUTO = "auto"


def weights_of(project: Project) -> dict[str, str]:
    """Return role → precision: the film's, else the result of `auto`, else the profile's first choice."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    weights = {}
    for role, model in profile.models.items():
        requested = requested_precision(project, role)
        recorded = chosen.get(role, "")
        precision = (
            model.precision(requested) if requested else recorded if recorded in model.weights else model.order[0]
        )
        if precision is None:
            span, known = project.settings["weights"].span, ", ".join(model.order)
            raise LtxflowError(problem("L082", span, precision=requested, role=role, profile=profile.name, known=known))
        weights[role] = precision
    return weights


def requested_precision(project: Project, role: str) -> str:
    """Return the precision that the film requests for a role; "" for `auto`.

    One precision for all applies to every role with a choice of precisions; to a role whose files differ otherwise (two
    LoRAs) only if it has that one.
    """
    written: Any = project.settings["weights"].value
    profile: Profile = project.profile
    if not isinstance(written, Mapping):
        is_choice = role in profile.default_weights or str(written) in profile.models[role].weights
        return "" if written == AUTO or not is_choice else str(written)
    entry = written.get(role, AUTO)
    precision = entry.get("precision", AUTO) if isinstance(entry, Mapping) else entry
    return "" if precision == AUTO else str(precision)


def pins_of(project: Project) -> dict[str, str]:
    """Return model role → sha256 of its file, where the film pins one."""
    written: Any = project.settings["weights"].value
    if not isinstance(written, Mapping):
        return {}
    pinned = {role: entry for role, entry in written.items() if isinstance(entry, Mapping) and "sha256" in entry}
    return {role: str(entry["sha256"]) for role, entry in pinned.items()}


def undecided(project: Project) -> dict[str, tuple[str, ...]]:
    """Return model role → its precisions in order, for the roles whose `auto` is not decided yet."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    return {
        role: model.order
        for role, model in profile.models.items()
        if len(model.weights) > 1 and not requested_precision(project, role) and chosen.get(role) not in model.weights
    }
