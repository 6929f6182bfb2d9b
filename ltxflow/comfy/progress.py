"""How far a prompt is and where its time went, from what the socket tells. Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ltxflow.comfy.messages import NodeProgress, NodeRunning, Progress, Started

# Shares of a clip's time, for the bar only: loading and encoding, sampling, decoding and saving.
LOAD, SAMPLING = 0.08, 0.80
SAMPLERS = ("SamplerCustomAdvanced", "SamplerCustom", "KSampler", "KSamplerAdvanced")
PHASES = {"CLIPTextEncode": "reads the prompt", "LTXVLatentUpsampler": "upscales"}


class Tracker:
    """Follows one prompt. `seconds` has how long it took to load, to sample and to decode, as far as it was told."""

    def __init__(self, graph: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self.classes = {id: str(node.get("class_type", "")) for id, node in graph.items()}
        self.samplers = sum(name in SAMPLERS for name in self.classes.values()) or 1
        self.clock = clock
        self.phase = "load"
        self.since = clock()
        self.seconds: dict[str, float] = {}
        self.started: list[str] = []
        self.fraction = 0.0
        self.has_started = False

    def hear(self, event: Progress) -> tuple[float, str] | None:
        """Given an event, return (fraction, words) when there is something new to show."""
        if isinstance(event, Started):
            self.has_started = True
            self.since = self.clock()
            return None
        if isinstance(event, NodeRunning):
            return self._node(event.node)
        if isinstance(event, NodeProgress) and self.classes.get(event.node) in SAMPLERS:
            done = max(len(self.started), 1) - 1 + event.value / max(event.max, 1)
            self.fraction = LOAD + SAMPLING * min(1.0, done / self.samplers)
            stage = f"stage {len(self.started)} " if self.samplers > 1 else ""
            return self.fraction, f"{stage}step {event.value:g}/{event.max:g}"
        return None

    def _node(self, node: str) -> tuple[float, str]:
        self.has_started = True
        name = self.classes.get(node, "")
        if name in SAMPLERS:
            if node not in self.started:
                self.started.append(node)
            self._enter("sampling")
            return self.fraction, f"stage {len(self.started)}" if self.samplers > 1 else "sampling"
        if len(self.started) == self.samplers:
            self._enter("decode")
            self.fraction = max(self.fraction, LOAD + SAMPLING)
            return self.fraction, "saves" if name.startswith("Save") else "decodes"
        return self.fraction, PHASES.get(name, "loads" if not self.started else "")

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.end()
            self.phase = phase

    def end(self) -> None:
        """Count the time of the phase that ends now."""
        now = self.clock()
        self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.since, 3)
        self.since = now
