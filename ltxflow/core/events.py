"""Define the events of a run as frozen records, which consoles and logs read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

INTERRUPTED = "interrupted"  # the reason of targets that an interrupted build skips

Outcome = Literal["hit", "rendered", "resumed", "restored", "failed", "skipped"]


@dataclass(frozen=True)
class Event:
    """The base of all events: enough to print an event of an unknown kind."""

    @property
    def name(self) -> str:
        """The name of its kind in kebab-case, such as `action-started` of `ActionStarted`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def as_json(self) -> dict[str, Any]:
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    project: str
    mode: str  # "render" | "animatic" | "conform"
    planned: int  # targets asked for
    to_make: int  # of these, at most: misses and unknowns
    making: tuple[str, ...] = ()  # which these are, in film order


@dataclass(frozen=True)
class ActionStarted(Event):
    target: str
    key: str
    frames: int
    where: str  # "local", or the server's name


@dataclass(frozen=True)
class ActionWaiting(Event):
    """A prompt waits on a server behind `ahead` foreign jobs. Emitted whenever that number changes."""

    target: str
    where: str  # the server's name
    ahead: int


@dataclass(frozen=True)
class ActionProgress(Event):
    target: str
    fraction: float  # 0 … 1
    text: str = ""


@dataclass(frozen=True)
class ActionFinished(Event):
    """A target is done. `hit` was in place already, `restored` was copied from the store.

    `resumed` was started by an earlier run, or by another project.
    """

    target: str
    outcome: Outcome
    key: str = ""
    seconds: float = 0.0
    where: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Notice(Event):
    """A line for the user: a retry, an adopted job, a file left alone."""

    message: str
    level: str = "info"  # "info" | "warning"
    target: str = ""


@dataclass(frozen=True)
class FilePublished(Event):
    path: str  # relative to the project's folder
    target: str
    source: str  # "comfyui" | "animatic"


@dataclass(frozen=True)
class RunFinished(Event):
    """The totals: `planned` = hit + rendered + resumed + restored + failed + skipped."""

    planned: int
    hit: int
    rendered: int
    restored: int
    failed: int
    skipped: int
    seconds: float
    output: str
    complete: bool  # every clip of the film is published
    film_seconds: float = 0.0
    references: int = 0  # of those planned: images that clips start from, each once
    more_takes: int = 0  # of those planned: takes of a clip or reference besides the one that counts as it
    resumed: int = 0  # started by an earlier run, and finished or fetched in this one
    clips: int = 0  # of those planned, each once: planned = clips + more_takes + references
    renders: int = 0  # what servers made: rendered and resumed targets, and tries with another seed
    interrupted: bool = False
    gpu_s: float = 0.0  # GPU seconds of all prompts that ended, failed ones and those of an earlier run included
