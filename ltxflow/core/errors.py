"""Define the one error type, its problems and their positions in text files."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltxflow import messages
from ltxflow.messages import Level as Level
from ltxflow.messages.core import READ_HINT, READ_HINTS

FAILED = 1  # a clip, a check or a verification failed
USAGE = 2  # bad arguments, or a project that cannot be read
BUG = 3  # ours
UNREACHABLE = 4  # no server answers
CHANGES = 5  # `plan --exit-code` found something to do
INTERRUPTED = 130

NAMES = ("clip", "scene", "take", "reference")  # values of a message that say what it is about


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text file: 1-based line and column; `file` is shown to the user unchanged."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do about it.

    `message` is lowercase, without a final period, with the offending word quoted. `transient` means that the same
    attempt may succeed later; nothing else decides about a retry. `of` names the clips or scenes concerned by path, and
    is empty for the whole film; a warning is hidden where all of them `ignore:` its code. `named` are the clips and
    scenes in its texts: problems that differ in them alone are printed as one.
    """

    message: str
    span: Span | None = None
    hint: str = ""
    code: str = ""
    level: Level = "error"
    transient: bool = False
    of: tuple[str, ...] = field(default=(), compare=False)
    named: tuple[str, ...] = field(default=(), compare=False)


def problem(
    id: str,
    span: Span | None = None,
    *,
    hint: str | None = None,
    level: Level | None = None,
    transient: bool = False,
    of: tuple[str, ...] = (),
    **values: Any,
) -> Problem:
    """Return the problem `id` of the catalogue (`L044` or `L044.too-many`), filled with `values`.

    `hint` replaces the catalogue's, `level` the rule's. Raise KeyError for an unknown id or a missing value.
    """
    rule, text = messages.find(id)
    found, code = text.hint.format_map(values) if hint is None else hint, id.partition(".")[0]
    named = tuple(str(values[name]) for name in NAMES if name in values)
    return Problem(text.message.format_map(values), span, found, code, level or rule.level, transient, of, named or of)


class LtxflowError(Exception):
    """One or more problems, collected, so that a file with five typos shows five."""

    def __init__(self, *problems: Problem | str, exit_code: int = USAGE) -> None:
        self.problems: tuple[Problem, ...] = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        self.exit_code = exit_code
        super().__init__("; ".join(p.message for p in self.problems))

    @property
    def transient(self) -> bool:
        """Whether the same attempt may succeed later."""
        return bool(self.problems) and all(p.transient for p in self.problems)


def hint_for(error: OSError) -> str:
    """Return what to do about an error that occurred while a file was read."""
    return READ_HINTS.get(error.errno or 0, READ_HINT)


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation: from a folder, a repository, a file or an index."""
    import importlib.metadata  # late: only a hint needs it, and it takes 10 ms

    try:
        distribution = importlib.metadata.distribution("ltxflow")
    except importlib.metadata.PackageNotFoundError:
        return install_words([f"ltxflow[{extra}]"])
    parts = [str(each) for each in distribution.requires or ()]
    needs = [each.partition(";")[0].strip() for each in parts if re.search(rf"extra == .{extra}.$", each)]
    return install_words(install_requirement(extra, distribution.read_text("direct_url.json") or "", needs))


def install_requirement(extra: str, direct_url: str, needs: Sequence[str]) -> list[str]:
    """Return the arguments of `pip install` for an extra. `direct_url` is the JSON in which pip says where from.

    Where that is gone, they are the packages that the extra `needs`. Source: PEP 610.
    """
    from urllib.parse import unquote, urlsplit

    try:
        origin = json.loads(direct_url or "{}")
        url, folder = str(origin["url"]), origin.get("dir_info")
    except (ValueError, KeyError, TypeError):
        return [f"ltxflow[{extra}]"]
    path = unquote(urlsplit(url).path) if url.startswith("file:") else ""
    if path and not os.path.exists(path):
        return list(needs) or [f"ltxflow[{extra}]"]
    if folder is not None:
        return [*(["-e"] if folder.get("editable") else []), f"{path}[{extra}]"]
    if repository := origin.get("vcs_info"):
        revision = repository.get("requested_revision") or repository.get("commit_id")
        url = f"{repository['vcs']}+{url}{f'@{revision}' if revision else ''}"
        url += f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
    return [f"ltxflow[{extra}] @ {url}"]


def install_words(requirement: Sequence[str]) -> str:
    """Return a command that installs something where ltxflow runs."""
    import importlib.util
    import shlex

    is_active = os.environ.get("VIRTUAL_ENV") == sys.prefix
    if importlib.util.find_spec("pip") is None:  # as in the environments of uv
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *requirement])
    return shlex.join([*(["pip"] if is_active else [sys.executable, "-m", "pip"]), "install", *requirement])


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raise LtxflowError with the problems that are errors, if any."""
    errors = [p for p in problems if p.level == "error"]
    if errors:
        raise LtxflowError(*errors)
