"""The options of a build and the limits of its servers.

Kept apart: the command line imports it, and most verbs need no server.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Servers:
    """The servers requested by the user (URLs or names; none: environment, config and guesses), and their limits.

    `patience_s` is how long to wait for one that stops answering, `dead_after_s` for one that refuses connections while
    another has room. `max_gpu_s` is the GPU budget: no clip starts past it.
    """

    named: tuple[str, ...] = ()
    patience_s: float = 300.0
    max_gpu_s: float | None = None
    dead_after_s: float = 15.0


@dataclass(frozen=True)
class BuildOptions:
    """What a build may use: servers, local actions at once (`jobs`, 0: one a CPU), and what a failure stops."""

    servers: Servers = field(default_factory=Servers)
    jobs: int = 0
    keep_going: bool = True


@dataclass(frozen=True)
class FarmLimits:
    """The limits of a build on its servers.

    `patience_s` is for an unreachable server, `dead_after_s` for one that refuses connections; `allowed` are foreign
    node classes.
    """

    patience_s: float = 300.0
    dead_after_s: float = 15.0
    allowed: frozenset[str] = frozenset()
    max_gpu_s: float | None = None
