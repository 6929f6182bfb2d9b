"""How far a prompt is and where its time went, from what the socket tells. Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ltxflow.comfy.messages import NodeDone, NodeProgress, NodeRunning, Progress, Started

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
        self.reached: list[str] = []  # samplers that run, or are done
        self.fraction = 0.0
        self.has_started = False
        self.news: tuple[float, str] | None = None

    def hear(self, event: Progress) -> tuple[float, str] | None:
        """Given an event, return (fraction, words) when there is something new to show."""
        news = self._hear(event)
        if news is None or news == self.news:
            return None
        self.news = news
        return news

    def _hear(self, event: Progress) -> tuple[float, str] | None:
        if isinstance(event, Started):
            self._begin()
        elif isinstance(event, NodeDone):
            self._reach(event.node)  # we may have come late: what is done counts, though we did not see it run
        elif isinstance(event, NodeRunning):
            return self._node(event.node)
        elif isinstance(event, NodeProgress) and self.classes.get(event.node) in SAMPLERS:
            self._begin()
            self._reach(event.node)
            done = self.reached.index(event.node) + event.value / max(event.max, 1)
            self.fraction = LOAD + SAMPLING * min(1.0, done / self.samplers)
            return self.fraction, f"{self._stage()} step {event.value:g}/{event.max:g}".lstrip()
        return None

    def _node(self, node: str) -> tuple[float, str]:
        self._begin()
        name = self.classes.get(node, "")
        if name in SAMPLERS:
            self._reach(node)
            return self.fraction, self._stage() or "sampling"
        if len(self.reached) == self.samplers:
            self._enter("decode")
            self.fraction = max(self.fraction, LOAD + SAMPLING)
            return self.fraction, "saves" if name.startswith("Save") else "decodes"
        return self.fraction, PHASES.get(name, "" if self.reached else "loads")

    def _begin(self) -> None:
        if not self.has_started:
            self.has_started = True
            self.since = self.clock()

    def _reach(self, node: str) -> None:
        if self.classes.get(node) in SAMPLERS and node not in self.reached:
            self.reached.append(node)
            self._enter("sampling")

    def _stage(self) -> str:
        return f"stage {len(self.reached)}" if self.samplers > 1 else ""

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.end()
            self.phase = phase

    def end(self) -> None:
        """Count the time of the phase that ends now. Of a prompt that was not seen to start nothing is known."""
        now = self.clock()
        if self.has_started and (self.reached or self.phase != "load"):
            self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.since, 3)
        self.since = now
