"""Libraries of extras, which an installation may lack: whether they are there, and how to get them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shlex
import sys
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from ltxflow.core.errors import LtxflowError, problem


def require(command: str, extra: str, libraries: Iterable[str]) -> None:
    """Raise LtxflowError where a library that a command needs is missing, with the command that installs it."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise LtxflowError(problem("U018", command=command, names=names, install=how_to_get(extra)))


def how_to_get(extra: str) -> str:
    """Return the command that adds an extra to this installation: from an index, a folder or a file, as it came."""
    try:
        origin = json.loads(importlib.metadata.distribution("ltxflow").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        origin = {}
    url, facts = str(origin.get("url", "")), origin.get("dir_info")
    if facts is not None:
        folder = unquote(urlsplit(url).path)
        words = [*(["-e"] if facts.get("editable") else []), f"{folder}[{extra}]"]
    else:
        words = [f"ltxflow[{extra}] @ {url}" if url else f"ltxflow[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *words])
