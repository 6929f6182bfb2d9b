"""Which precision of each of the model's files a film asks for. Knows no server."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.script.model import Project
from ltxflow.script.profile import Profile


def weights_of(project: Project) -> dict[str, str]:
    """Given a film, return model role → precision: one word for all, or a mapping, over the profile's defaults."""
    asked = project.settings["weights"]
    profile: Profile = project.profile
    weights = {}
    for role, model in profile.models.items():
        wish = asked.value.get(role) if isinstance(asked.value, Mapping) else asked.value
        precision = model.precision(str(wish or profile.default_weights.get(role, "")))
        if precision is None:
            known = ", ".join(model.weights)
            raise LtxflowError(
                Problem(
                    f'no "{wish}" weights of the {role} in {profile.name}', asked.span, f"there are: {known}", "L082"
                )
            )
        weights[role] = precision
    return weights
