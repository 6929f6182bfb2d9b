"""Which precision of each of the model's files a film asks for, and which of them it pins. Knows no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.models.profile import Profile
from ltxflow.project.model import Project

AUTO = "auto"


def weights_of(project: Project) -> dict[str, str]:
    """Return role → precision: what the film writes, else what `auto` came to, else the profile's first choice."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    weights = {}
    for role, model in profile.models.items():
        wish = wish_for(project, role)
        recorded = chosen.get(role, "")
        precision = model.precision(wish) if wish else recorded if recorded in model.weights else model.order[0]
        if precision is None:
            asked, known = project.settings["weights"], ", ".join(model.order)
            raise LtxflowError(
                Problem(
                    f'no "{wish}" weights of the {role} in {profile.name}', asked.span, f"there are: {known}", "L082"
                )
            )
        weights[role] = precision
    return weights


def wish_for(project: Project, role: str) -> str:
    """Return the precision that the film writes for a role; "" where that is `auto`.

    One word for all is a wish for every role that has a choice of precision; a role whose files differ in something
    else (two LoRAs) heeds it only where it has it.
    """
    asked: Any = project.settings["weights"].value
    profile: Profile = project.profile
    if not isinstance(asked, Mapping):
        is_choice = role in profile.default_weights or str(asked) in profile.models[role].weights
        return "" if asked == AUTO or not is_choice else str(asked)
    wish = asked.get(role, AUTO)
    wish = wish.get("precision", AUTO) if isinstance(wish, Mapping) else wish
    return "" if wish == AUTO else str(wish)


def pins_of(project: Project) -> dict[str, str]:
    """Return model role → sha256 of its file, where the film pins one."""
    asked: Any = project.settings["weights"].value
    if not isinstance(asked, Mapping):
        return {}
    return {role: str(wish["sha256"]) for role, wish in asked.items() if isinstance(wish, Mapping) and "sha256" in wish}


def undecided(project: Project) -> dict[str, tuple[str, ...]]:
    """Return model role → its precisions in order, for those that `auto` is to choose and has not chosen yet."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    return {
        role: model.order
        for role, model in profile.models.items()
        if len(model.weights) > 1 and not wish_for(project, role) and chosen.get(role) not in model.weights
    }
