"""What a second look at a film finds that the first did not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ltxflow.plan.outlook import Change


def news(before: Iterable[Change], now: Iterable[Change]) -> list[Change]:
    """Given the changes of two looks, return those of the second that say something else, in film order.

    Where a value is written is no news: lines move with every edit above them.
    """
    known = {change.target: _said(change) for change in before}
    return [change for change in now if known.get(change.target) != _said(change)]


def gone(before: Iterable[Change], now: Iterable[Change]) -> list[Change]:
    """Given the changes of two looks, return those of the first whose clips the second does not have."""
    present = {change.target for change in now}
    return [change for change in before if change.target not in present]


def _said(change: Change) -> tuple[Any, ...]:
    reasons = [(reason.field, reason.old, reason.new, reason.detail) for reason in change.reasons]
    return change.kind, change.frames, change.file, change.note, change.key, reasons
