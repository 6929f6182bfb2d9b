"""Read the user's configuration and trust. Never taken from a project: projects come from strangers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISLNK
from typing import Any

from ltxflow.core.digest import digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.files import make_dir, write_atomic
from ltxflow.core.workspace import exempt_writes, read_json, real_path
from ltxflow.documents import yaml
from ltxflow.documents.document import Document
from ltxflow.media.speech import Engine
from ltxflow.project.speech import read_engines


@dataclass(frozen=True)
class Config:
    """`$XDG_CONFIG_HOME/ltxflow/config.yaml`, and `trust.json` beside it.

    Trust has a separate file because ltxflow writes it, and ltxflow never rewrites a file that people edit.
    """

    folder: Path
    store: str | None = None
    servers: tuple[Any, ...] = ()
    server_spans: tuple[Span, ...] = ()  # the place of each
    allowed_nodes: frozenset[str] = frozenset()
    engines: Mapping[str, Engine] = field(default_factory=dict)
    ask_above: Mapping[str, float] = field(default_factory=dict)  # clips, minutes: re-rendered without asking
    remote: Mapping[str, Any] | None = None  # the shared store: url, headers_from_env, read_only
    # project folder → digest of each trusted part; in older files one digest of all parts
    trust: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)

    @property
    def as_servers(self) -> dict[str, Any]:
        """Return the servers as arguments of `find_servers`."""
        return {"servers": list(self.servers), "spans": list(self.server_spans)} if self.servers else {}


def config_folder(env: Mapping[str, str]) -> Path:
    """Return the folder of the user's configuration."""
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "ltxflow"


def read_config(env: Mapping[str, str]) -> Config:
    """Read the user's configuration; a missing file is an empty one."""
    folder = config_folder(env)
    file = folder / "config.yaml"
    data: Any = {}
    document = yaml.parse("{}", str(file))
    if _exists(file):
        document = yaml.read(file, str(file))
        data = document.data or {}
        if not isinstance(data, dict):
            raise LtxflowError(problem("L130", document.span(())))
        known = {"servers", "store", "allowed_nodes", "engines", "ask_above", "remote"}
        unknown = [
            problem("L131", document.key_span((key,)), key=key, known=", ".join(sorted(known)))
            for key in data
            if key not in known
        ]
        if unknown or (wrong := list(_malformed(data, document))):
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
        remote=_remote(data.get("remote"), document),
        trust=_read_trust(folder),
    )


def _exists(file: Path) -> bool:
    """Return whether there is a configuration. Raise LtxflowError for anything else in its place."""
    try:
        mode = file.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):  # XDG_CONFIG_HOME=/dev/null is a way to have none
        return False
    except OSError as error:
        raise LtxflowError(problem("Y001.unreadable", file=file, reason=(error.strerror or "").lower())) from error
    if S_ISDIR(mode):
        raise LtxflowError(problem("Y001.config-folder", file=file))
    if S_ISLNK(mode) and not file.exists():
        raise LtxflowError(problem("Y001.config-link", file=file, target=os.readlink(file)))
    return True


def _malformed(data: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    """Yield a problem for each value of the wrong form."""
    store, nodes, servers = (data.get(name) for name in ("store", "allowed_nodes", "servers"))
    if store is not None and not isinstance(store, str):
        yield problem("L132.store", document.span(("store",)))
    if nodes is not None and not (isinstance(nodes, list) and all(isinstance(node, str) for node in nodes)):
        yield problem("L132.nodes", document.span(("allowed_nodes",)))
    for server in servers if isinstance(servers, list) else [] if servers is None else [servers]:
        if not isinstance(server, (str, dict)):
            yield problem("L132.server", document.span(("servers",)), server=server)


def _remote(written: Any, document: Document) -> Mapping[str, Any] | None:
    """Read `remote: URL`, or a mapping with `url`, `headers_from_env` and `read_only`."""
    if written is None:
        return None
    given: Any = {"url": written} if isinstance(written, str) else written
    forms = {"url": str, "headers_from_env": dict, "read_only": bool}
    is_right = (
        isinstance(given, dict)
        and "url" in given
        and given.keys() <= forms.keys()
        and all(isinstance(value, forms[name]) for name, value in given.items())
        and all(isinstance(text, str) for pair in given.get("headers_from_env", {}).items() for text in pair)
    )
    if not is_right:
        raise LtxflowError(problem("L132.remote", document.span(("remote",))))
    return dict(given)


def _limits(written: Any, document: Document) -> dict[str, float]:
    """Read `ask_above: {clips: 10, minutes: 30}`: how much a build re-renders before it asks."""
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise LtxflowError(problem("L132.limits", document.span(("ask_above",))))
    for name, value in written.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        if name not in ("clips", "minutes") or not is_number:
            span = document.key_span(("ask_above", name))
            raise LtxflowError(problem("L132.limit", span, name=name, value=value))
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
    """Return one digest of all parts of a project that need trust (part → digest of its content)."""
    return digest_json(dict(foreign))


def is_trusted(
    config: Config, project_folder: Path, foreign: Mapping[str, str], used: Iterable[str] | None = None
) -> bool:
    """Return whether the user trusts the foreign parts of a project: all of them, or those in `used`.

    Trust is bound to the content: a changed part loses it.
    """
    parts = foreign if used is None else {part: foreign[part] for part in used}
    if not parts:
        return True
    given = config.trust.get(str(real_path(project_folder)), {})
    if isinstance(given, str):
        return given == foreign_digest(foreign)
    return all(given.get(part) == digest for part, digest in parts.items())


def remember_trust(config: Config, project_folder: Path, foreign: Mapping[str, str] | None) -> None:
    """Record that the user trusts these parts of a project; None revokes the trust."""
    trust = dict(config.trust)
    if foreign is None:
        trust.pop(str(real_path(project_folder)), None)
    else:
        trust[str(real_path(project_folder))] = dict(foreign)
    exempt_writes(config.folder)  # people link it to the checkout of their dotfiles
    make_dir(config.folder)
    write_atomic(config.folder / "trust.json", json.dumps(trust, indent=1, sort_keys=True) + "\n", mode=0o600)
