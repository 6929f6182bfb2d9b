"""Messages of ltxflow/documents."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule

RULES: Mapping[str, Rule] = {}
