"""Files whose times and bytes tests control."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

COARSE_NS = 10_000_000  # this file system's clock ticks every few ms


def settle() -> None:
    """Let the file system's clock move on: what was written so far is no longer new."""
    began = time.time_ns()
    while time.time_ns() - began <= 2 * COARSE_NS:
        pass


def same_but(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's bytes in place; size and mtime stay."""
    seen, data = path.stat(), path.read_bytes()
    new = change(data)
    assert len(new) == len(data)
    assert new != data
    path.chmod(0o644)
    path.write_bytes(new)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)
