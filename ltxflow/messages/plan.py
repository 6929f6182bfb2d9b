"""Messages of ltxflow/plan."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule

RULES: Mapping[str, Rule] = {}
