"""What a build may use, as a person asked for it. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Servers:
    """Which servers a person asks for (URLs or names; none: those of environment, config and guesses), and how.

    `patience_s`: how long to wait for one that stops answering; `dead_after_s`: for one that refuses connections, while
    another one has room. `max_gpu_s`: start nothing that would pass this.
    """

    named: tuple[str, ...] = ()
    patience_s: float = 300.0
    max_gpu_s: float | None = None
    dead_after_s: float = 15.0


@dataclass(frozen=True)
class BuildOptions:
    """What a build may use: servers, slates drawn at once (`jobs`, 0: one a processor), and what a failure stops."""

    servers: Servers = field(default_factory=Servers)
    jobs: int = 0
    keep_going: bool = True
