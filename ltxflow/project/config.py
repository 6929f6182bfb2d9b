"""The user's own configuration and what they trust. Never read from a project: projects come from strangers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISLNK
from typing import Any

from ltxflow.core.digest import digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.files import make_dir, write_atomic
from ltxflow.core.regular import read_json
from ltxflow.core.workspace import exempt_writes
from ltxflow.documents import yaml
from ltxflow.media.speech import Engine
from ltxflow.project.speech import read_engines


@dataclass(frozen=True)
class Config:
    """`$XDG_CONFIG_HOME/ltxflow/config.yaml`, and `trust.json` beside it.

    Trust is in a file of its own because ltxflow writes it, and it never rewrites what a person wrote by hand.
    """

    folder: Path
    store: str | None = None
    servers: tuple[Any, ...] = ()
    server_spans: tuple[Span, ...] = ()  # where each is written
    allowed_nodes: frozenset[str] = frozenset()
    engines: Mapping[str, Engine] = field(default_factory=dict)
    ask_above: Mapping[str, float] = field(default_factory=dict)  # clips, minutes: rendered again without a question
    # project folder → what was trusted: part → digest of its content; of older files, one digest of all parts
    trust: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    @property
    def as_servers(self) -> dict[str, Any]:
        """The servers as `find_servers` takes them."""
        return {"servers": list(self.servers), "spans": list(self.server_spans)} if self.servers else {}


def config_folder(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "ltxflow"


def read_config(env: Mapping[str, str]) -> Config:
    """Given the environment, return the user's configuration; absent files are empty ones."""
    folder = config_folder(env)
    file = folder / "config.yaml"
    data: Any = {}
    document = yaml.parse("{}", str(file))
    if _is_there(file):
        document = yaml.read(file, str(file))
        data = document.data or {}
        if not isinstance(data, dict):
            raise LtxflowError(Problem("the configuration must be a mapping", document.span(())))
        known = {"servers", "store", "allowed_nodes", "engines", "ask_above"}
        unknown = [
            Problem(f'unknown key "{key}"', document.key_span((key,)), f"known: {', '.join(sorted(known))}")
            for key in data
            if key not in known
        ]
        if unknown or (wrong := list(_misshapen(data, document))):
            raise LtxflowError(*(unknown or wrong))
    written = data.get("servers") or []
    servers = written if isinstance(written, list) else [written]
    paths = [("servers", number) for number in range(len(servers))] if servers is written else [("servers",)]
    engines, problems = read_engines(
        data.get("engines") or {}, lambda path: document.span(("engines", *path)), of_project=False
    )
    if problems:
        raise LtxflowError(*problems)
    return Config(
        folder=folder,
        store=data.get("store"),
        servers=tuple(servers),
        server_spans=tuple(document.span(path) for path in paths),
        allowed_nodes=frozenset(data.get("allowed_nodes") or ()),
        engines=engines,
        ask_above=_limits(data.get("ask_above"), document),
        trust=_read_trust(folder),
    )


def _is_there(file: Path) -> bool:
    """Whether there is a configuration to be read; what stands in its place and is none is not passed over."""
    try:
        mode = file.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # XDG_CONFIG_HOME=/dev/null is a way to have none
        return False
    if S_ISDIR(mode):
        hint = "your configuration is one file: move what you want to keep out of the folder, and the folder away"
        raise LtxflowError(Problem(f'"{file}" is a folder', hint=hint, code="Y001"))
    if S_ISLNK(mode) and not file.exists():
        target = os.readlink(file)
        hint = f'bring "{target}" back, or remove the link to go without a configuration'
        raise LtxflowError(Problem(f'"{file}" is a link to nothing', hint=hint, code="Y001"))
    return True


def _misshapen(data: Mapping[str, Any], document: yaml.Document) -> Iterator[Problem]:
    """A problem for each value that is not of its kind."""
    store, nodes, servers = (data.get(name) for name in ("store", "allowed_nodes", "servers"))
    if store is not None and not isinstance(store, str):
        yield Problem("store is a path", document.span(("store",)), "write  store: /disk/ltxflow")
    if nodes is not None and not (isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)):
        yield Problem(
            "allowed_nodes is a list of names", document.span(("allowed_nodes",)), "write  allowed_nodes: [A, B]"
        )
    for server in servers if isinstance(servers, list) else [] if servers is None else [servers]:
        if not isinstance(server, (str, dict)):
            hint = "write  servers: [http://bench:8188]"
            yield Problem(f'"{server}" is no server', document.span(("servers",)), hint)


def _limits(written: Any, document: yaml.Document) -> dict[str, float]:
    """`ask_above: {clips: 10, minutes: 30}`: how much a build renders again before it asks."""
    if written is None:
        return {}
    hint = "write  ask_above: {clips: 10, minutes: 30}"
    if not isinstance(written, dict):
        raise LtxflowError(Problem("ask_above is a mapping", document.span(("ask_above",)), hint))
    for name, value in written.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if name not in ("clips", "minutes") or not is_number:
            raise LtxflowError(
                Problem(f'ask_above: "{name}: {value}" is no limit', document.key_span(("ask_above", name)), hint)
            )
    return {str(name): float(value) for name, value in written.items()}


def _read_trust(folder: Path) -> dict[str, str | Mapping[str, str]]:
    try:
        data = read_json(folder / "trust.json")
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {
        str(folder): {str(part): str(digest) for part, digest in given.items()}
        if isinstance(given, dict)
        else str(given)
        for folder, given in data.items()
    }


def foreign_digest(foreign: Mapping[str, str]) -> str:
    """Given what a project brings that needs trust (part → digest of its content), return the one digest of it."""
    return digest_json(dict(foreign))


def is_trusted(
    config: Config, project_folder: Path, foreign: Mapping[str, str], used: Iterable[str] | None = None
) -> bool:
    """Return whether the user allowed what a project brings: all of it, or the parts that are `used`.

    Trust binds to the content: a change to a part asks again.
    """
    parts = foreign if used is None else {part: foreign[part] for part in used}
    if not parts:
        return True
    given = config.trust.get(str(project_folder.resolve()), {})
    if isinstance(given, str):
        return given == foreign_digest(foreign)
    return all(given.get(part) == digest for part, digest in parts.items())


def remember_trust(config: Config, project_folder: Path, foreign: Mapping[str, str] | None) -> None:
    """Given a project's foreign parts, record the user's word for them; None takes it back."""
    trust = dict(config.trust)
    if foreign is None:
        trust.pop(str(project_folder.resolve()), None)
    else:
        trust[str(project_folder.resolve())] = dict(foreign)
    exempt_writes(config.folder)  # people link it to the checkout of their dotfiles
    make_dir(config.folder)
    write_atomic(config.folder / "trust.json", json.dumps(trust, indent=1, sort_keys=True) + "\n", mode=0o600)
