"""A speech engine as a user configures one: a command that says half a second of tone for every word."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ENGINE = """\
import sys, wave
text, out = sys.argv[1:]
with open({log!r}, "a") as log:
    print(text, file=log)
if "cough" in text:
    sys.exit("lost its voice")
with wave.open(out, "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate(8000)
    file.writeframes(b"\\0\\x20\\0\\xe0" * (len(text.split()) * 2000))
"""


def configure_engine(folder: Path, config: Path, **others: Any) -> Path:
    """Write the engine `say` to `folder`, name it and `others` in the settings, and return the log of what it spoke.

    It fails at a text with "cough" in it.
    """
    engine, log = folder / "engine.py", folder / "spoken.txt"
    engine.write_text(ENGINE.format(log=str(log)))
    say = {"command": [sys.executable, str(engine), "{text}", "{out}"]}
    (config / "ltxflow").mkdir(parents=True, exist_ok=True)
    (config / "ltxflow" / "config.yaml").write_text(json.dumps({"engines": {"say": say, **others}}))
    return log
