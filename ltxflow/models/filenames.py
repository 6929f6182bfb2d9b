"""Which of the files that a server lists a name means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SUFFIX = ".safetensors"  # may be left out


def find(names: Sequence[str], listed: Iterable[str]) -> list[str]:
    """Return the listed files that the first of `names` with any means; several where its name is ambiguous.

    A name is a file's path, the end of its path (`style` for `looks/style.safetensors`), with or without its suffix.
    Slashes and backslashes are equal: servers on Windows list `looks\\style.safetensors`. A file with exactly that path
    is meant before one in a folder.
    """
    available = list(listed)
    exact = next((name for name in names if name in available), None)
    if exact is not None:
        return [exact]
    paths = {entry: entry.replace("\\", "/") for entry in available}
    for name in names:
        wanted = name.replace("\\", "/")
        for end in (wanted, wanted + SUFFIX) if wanted else ():
            found = [entry for entry, path in paths.items() if path == end]
            if not found:
                found = [entry for entry, path in paths.items() if path.endswith(f"/{end}")]
            if found:
                return found
    return []
