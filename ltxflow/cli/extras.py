"""Libraries of extras, which an installation may lack: whether they are there, and how to get them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from ltxflow.core.errors import LtxflowError, install_command, problem


def require(command: str, extra: str, libraries: Iterable[str]) -> None:
    """Raise LtxflowError where a library that a command needs is missing, with the command that installs it."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise LtxflowError(problem("U018", command=command, names=names, install=install_command(extra)))
