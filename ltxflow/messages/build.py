"""Messages of ltxflow/build."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, rule

RULES: Mapping[str, Rule] = {
    "R001": rule("a build re-renders finished clips only with approval", "{question}; pass --yes to continue"),
    "R002": rule(
        "a step makes all outputs of its action",
        '{target} came back without "{output}"',
        "run the build again; report it if that does not help",
    ),
}
