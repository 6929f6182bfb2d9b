"""Create a project: a folder with a project.yaml that checks, plans and builds without an edit.

Its model is the newest one that a server can run, if one answers at once; else LTX-2 19B. With --from its scenes and
narration are those of a script (Fountain, Markdown or plain text), and its prompts are left as TODO.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import shlex
import socket
import sys
import unicodedata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from ltxflow.cli.guide import GUIDE, guide_text
from ltxflow.comfy.discovery import find_servers
from ltxflow.core import files
from ltxflow.core.errors import LtxflowError, Span, hint_for, problem
from ltxflow.core.workspace import read_bytes, real_path
from ltxflow.documents.document import FILE, WINDOWS_RESERVED, shown, workspace_of
from ltxflow.ui.terminal import Console, count, duration, print_envelope

if TYPE_CHECKING:
    from ltxflow.project.screenplay import Script

SCHEMA = "project.schema.json"
DEFAULT_PROFILE = "ltx2-19b"
NAMING = ("LTXFLOW_SERVERS", "COMFY_URL", "COMFYUI_URL")
GUESS_S, NAMED_S = 1.0, 3.0  # how long to wait for servers: none is needed yet

SAMPLE = """\
# yaml-language-server: $schema={schema}
ltxflow: 1
id: {id}
title: "{title}"
aspect: "16:9" # 3:2, 1:1, 9:16, 4:3, 4:5, 21:9 … or  size: 1536x864
fps: 25
profile: {profile} # the model: {why}
seed: 1 # every clip's own seed follows from this one and the clip's ids

look: "Soft morning light with muted greens and golds." # added to every prompt
vars: {{ valley: "a wide valley with a winding river" }} # for prompts: {{{{ valley }}}}

speech: {{ engine: offline }} # a voice on this machine reads the texts; without one their length is estimated

defaults:
  scene: {{ pad: {{ head: 0.2s, tail: 0.4s }}, crossfade: 12f }}

scenes:
  - id: opening
    narration: 8.5s # a duration; or {{ text: "…" }}, as below; or {{ file: narration/opening.wav }}
    clips: # longer than one clip: two of them, with different motion
      - id: a
        # image-to-video holds a look better than text alone:
        # reference: refs/valley.png
        prompt:
          setup: "Dawn over {{{{ valley }}}}, with thin mist above the water."
          subject: "A lone heron stands in the shallows among the reeds."
          camera: "The camera glides low over the water toward the bird."
          action: "The heron lifts its head, spreads its wings and takes off, its wing tips touching the surface."
          mood: "Calm and expectant."
          audio: "Water laps softly, reeds rustle, and wings beat the cool air."
      - id: b
        prompt:
          setup: "High above {{{{ valley }}}} the water shines like a ribbon."
          camera: "The camera rises beside the heron and tilts down to reveal the fields."
          action: "The heron banks into the wind while the mist tears open below and sunlight spreads over the land."
          mood: "Wide and hopeful."
          audio: "Wind rushes past and a distant church bell rings."

  - id: closing
    narration: {{ text: "A film begins with a sentence. Change it, build again, and only what changed is rendered." }}
    clips:
      - id: a
        prompt:
          setup: "A wooden desk by a window with a stack of storyboard cards."
          camera: "The camera drifts sideways along the desk at eye level."
          action: "A hand slides one card out, turns it over and lays it back elsewhere while dust dances in the light."
          audio: "Paper rustles and a clock ticks quietly."
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default=None, metavar="FOLDER", help="the folder to create it in (default: here)"
    )
    parser.add_argument("--title", help="the title (default: from the script, or from the name of the folder)")
    parser.add_argument(
        "--from", dest="script", metavar="FILE", help="a script to take scenes and narration from; - for standard input"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    folder = Path.cwd() / (args.folder or args.project or ".")
    file = folder / FILE
    if file.exists():
        raise LtxflowError(problem("U020", file=shown(file)))
    name = real_path(folder).name
    script = _script(args.script) if args.script else None
    id, title = slug(name), args.title or (script and script.title) or titled(name)
    files.make_dir(folder)
    schema = _schema(folder, args.root)
    profile, why = _profile(console)
    text, counts = _project(script, args.script, id=id, title=title, schema=schema, profile=profile, why=why)
    files.write_atomic(file, text)
    files.make_dir(folder / "refs")
    for name, content in ((".gitignore", ".ltxflow/\npublic/\n"), (GUIDE, guide_text())):
        if not (folder / name).exists():
            files.write_atomic(folder / name, content)
    if args.json:
        data = {"id": id, "file": str(file), "profile": profile, "why": why, "script": counts}
        return print_envelope("init", data, 0)
    console.say(f"{console.paint('✓', 'green')} {shown(file)}")
    if counts:
        numbers = f"{count(counts['scenes'], 'scene')}, {count(counts['clips'], 'clip')}"
        console.say(
            f"  {counts['form']}: {numbers}, about {duration(counts['spoken_s'])} of narration; prompts are TODO"
        )
    console.say(f"  model: {profile}, {why}")
    at = "" if real_path(folder) == real_path(Path.cwd()) else f" -p {shlex.quote(shown(folder))}"
    console.say(f"  next: ltxflow check{at}   then: ltxflow build --animatic{at}")
    return 0


def _script(name: str) -> Script:
    """Read a script. Raise LtxflowError for a file that is missing, or not text."""
    from ltxflow.project.screenplay import MOST_BYTES, read_script  # a film without one needs none of it

    if name == "-":
        return read_script(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input")
    try:
        data = read_bytes(name, MOST_BYTES)
    except FileNotFoundError:
        raise LtxflowError(problem("U015.missing", file=name)) from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise LtxflowError(problem("U015.large", Span(name, 1, 1), most=MOST_BYTES >> 20)) from None
        cause = (error.strerror or str(error)).lower()
        raise LtxflowError(problem("U025.unreadable", file=name, cause=cause, hint=hint_for(error))) from None
    return read_script(data, name)


def _project(
    script: Script | None, source: str, *, id: str, title: str, schema: str, profile: str, why: str
) -> tuple[str, dict[str, Any] | None]:
    """Return the text of a project file, and what a script has given it."""
    if script is None:
        quoted = title.replace("\\", "\\\\").replace('"', '\\"')
        return SAMPLE.format(schema=schema, id=id, title=quoted, profile=profile, why=why), None
    from ltxflow.models.load import load_profile
    from ltxflow.plan.draft import draft

    name = "standard input" if source == "-" else Path(source).name
    made = draft(script, load_profile(profile), id=id, title=title, schema=schema, why=why, source=name)
    counts = {"scenes": made.scenes, "clips": made.clips, "spoken_s": round(made.spoken_s, 1)}
    return made.text, {"form": script.form, **counts}


def _profile(console: Console) -> tuple[str, str]:
    """Return the profile of a new project, and why: the newest that a server runs, if one answers at once."""
    env = os.environ
    if not (any(env.get(name) for name in NAMING) or _config(env).exists() or _is_server_listening()):
        return DEFAULT_PROFILE, "the default; no server answered"
    from ltxflow.farm.capabilities import newest_profile  # only where a server may answer

    try:
        name, why = newest_profile(env, (GUESS_S, NAMED_S))
    except LtxflowError as error:  # a wrong address or an unreadable config must not stop it
        console.warn(error.problems[0].message)
        name, why = "", "the default"
    return name or DEFAULT_PROFILE, why


def _config(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "ltxflow" / "config.yaml"


def _is_server_listening() -> bool:
    """Return whether anything listens where a server would be guessed."""
    guesses = [urlsplit(place.url) for place in find_servers([], {}, {})]

    def listens(url: SplitResult) -> bool:
        try:
            socket.create_connection((url.hostname or "", url.port or 80), GUESS_S).close()
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(len(guesses)) as pool:
        return any(pool.map(listens, guesses))


def slug(name: str) -> str:
    """Turn the name of a folder into an id: lowercase letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    id = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:64] or "film"
    return f"{id}-1" if id in WINDOWS_RESERVED else id


def titled(name: str) -> str:
    """Turn the name of a folder into a title: `my-film` → `My film`."""
    words = " ".join(re.split(r"[-_\s]+", name)).strip()
    return words[:1].upper() + words[1:] or "Film"


def _schema(folder: Path, root: str | None) -> str:
    """Return where editors find the schema: the copy of the workspace, else one written beside the project."""
    workspace = workspace_of(folder, root)
    known = workspace / "schemas" / SCHEMA
    if known.is_file():
        return os.path.relpath(known, real_path(folder))
    text = (files.data_dir() / "schemas" / SCHEMA).read_text("utf-8")
    files.write_atomic(folder / SCHEMA, text)
    return f"./{SCHEMA}"
