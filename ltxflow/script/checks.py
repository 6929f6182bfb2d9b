"""What is looked for in a clip that came back: a film's `checks:` as thresholds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltxflow.media.findings import Thresholds
from ltxflow.script.model import Clip
from ltxflow.script.profile import Profile

SECONDS: Mapping[str, str] = {"frozen": "freeze_s", "black": "black_s", "silence": "silence_s", "sync": "sync_s"}
NUMBERS: Mapping[str, str] = {
    "motion": "motion",
    "silent": "silent_db",
    "clipped": "top_share",
    "duplicate": "duplicate",
}
SWITCHES: Mapping[str, str] = {
    "cut": "cuts",
    "sound": "wants_sound",
    "size": "size",
    "rate": "rate",
    "length": "length",
}


def thresholds(clip: Clip, profile: Profile) -> Thresholds | None:
    """Given a clip, return from where on what came back is told; None where its checks are off."""
    if clip.get("checks.all") is False:
        return None
    told: dict[str, Any] = {}
    for fields, read in ((SECONDS, _seconds), (NUMBERS, float), (SWITCHES, bool)):
        for name, field in fields.items():
            value = clip.get(f"checks.{name}", True)
            value = profile.checks.get(name, True) if value is True else value
            if value is not True:
                told[field] = None if value is False and fields is not SWITCHES else read(value)
    return Thresholds(**told)


def _seconds(text: str) -> float:
    return float(str(text).removesuffix("s"))
