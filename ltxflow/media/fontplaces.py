"""Where fonts of the system are, and FriBidi: what a picture with rare letters rests on. Loads neither."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

LIBRARIES = "/etc/ld.so.cache"  # written anew when a library is installed


def font_places(env: Mapping[str, str]) -> set[str]:
    """Given the environment, return the folders in which Pillow finds fonts by name (`ImageFont.truetype`), with all
    that are in them, and the list of the system's libraries: one of them changes when a font or FriBidi is installed.
    """
    home = env.get("HOME") or os.path.expanduser("~")
    if sys.platform == "darwin":
        roots = ["/Library/Fonts", "/System/Library/Fonts", f"{home}/Library/Fonts"]
    else:
        own = env.get("XDG_DATA_HOME") or f"{home}/.local/share"
        shared = env.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        roots = [os.path.join(folder, "fonts") for folder in (own, *shared.split(os.pathsep))]
    return {LIBRARIES, *roots, *(folder for root in roots for folder, _, _ in os.walk(root))}
