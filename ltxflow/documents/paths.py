"""Where a project is and what it may touch. Reads no file's content."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.workspace import confine_writes

FILE = "project.yaml"
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)

LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes; of a name on nearly any file system, of a path on macOS


def find_project(asked: str | None, cwd: Path) -> Path:
    """Given `-p` (a folder, a file, or a name under `projects/`) or nothing, return the path of project.yaml.

    Without `-p` the folders upward are searched, then a `projects/` folder that holds exactly one project.
    Raise LtxflowError when there is none, or more than one to choose from.
    """
    if asked is not None:
        return _named(asked, cwd)
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.parent.name for path in found)
            raise LtxflowError(
                Problem("which project? there are several here", hint=f"choose one with -p: {names}", code="L001")
            )
    raise LtxflowError(
        Problem(
            f'no {FILE} here or in any folder above "{cwd}"',
            hint="start one with: ltxflow init my-film",
            code="L001",
        )
    )


def _named(asked: str, cwd: Path) -> Path:
    path = cwd / asked
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    names: list[str] = []
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        names += [p.parent.name for p in found]
        for candidate in found:
            if candidate.parent.name == asked:
                return candidate
    near = _closest(asked, names)
    hint = f'did you mean "{near[0]}"?' if near else "give a folder, a project.yaml, or a name under projects/"
    raise LtxflowError(Problem(f'no project "{asked}"', hint=hint, code="L001"))


def _projects_under(folder: Path) -> list[Path]:
    root = folder / "projects"
    if not root.is_dir():
        return []
    return sorted(child / FILE for child in root.iterdir() if (child / FILE).is_file())


def workspace_of(folder: Path, root: str | None = None) -> Path:
    """Given a project's folder, return its workspace: `--root`, else the nearest parent with `.git`, else itself."""
    if root is not None:
        workspace = Path(root).resolve()
        if not folder.resolve().is_relative_to(workspace):
            raise LtxflowError(
                Problem(f'the project is not inside --root "{root}"', hint="give a folder above the project")
            )
        return workspace
    for parent in (folder.resolve(), *folder.resolve().parents):
        if (parent / ".git").exists():
            return parent
    return folder.resolve()


def confine(asked: str | None, root: str | None, cwd: Path) -> None:
    """Let no write of this process leave the workspace: that of the project, and that of the folder it runs in.

    `asked` and `root` as typed; without a project there is only the git checkout around `cwd`, if there is one.
    """
    if root is not None:
        confine_writes(Path(root))
    elif (home := workspace_of(cwd)) != cwd.resolve() or (home / ".git").exists():
        confine_writes(home)
    with suppress(LtxflowError):  # the verb says so, if it needs one
        confine_project(find_project(asked, cwd), root)


def confine_project(file: Path, root: str | None) -> None:
    """Let no write to this project leave its workspace. Raise LtxflowError where it is not inside `root`."""
    confine_writes(workspace_of(file.parent, root), file.parent)


def contained(
    name: str,
    folder: Path,
    workspace: Path,
    span: Span | None,
    trusted: bool = False,
    known: dict[str, str] | None = None,
) -> tuple[Path | None, Problem | None]:
    """Given a path as written, return where it is, or the Problem with it.

    It is relative to the project's folder and must resolve (symlinks too) inside the workspace. An absolute
    path is taken only from a trusted project. `known` keeps where folders really are, for one reading of a film.
    """
    if "\x00" in name or not name.strip():
        return None, Problem(f'"{name!r}" is not a path', span, code="L010")
    if _is_too_long(name):
        return None, Problem(
            f'"{name[:40]}…" is too long for a path', span, hint="give the file a shorter name", code="L010"
        )
    if os.path.isabs(name) or name.startswith("~"):
        if not trusted:
            return None, Problem(
                f'absolute path "{name}"',
                span,
                hint="write it relative to the project's folder, or allow it with: ltxflow trust",
                code="L011",
            )
        return Path(name).expanduser(), None
    path = folder / name
    try:
        inside = _is_inside(path, workspace, {} if known is None else known)
    except (OSError, RuntimeError):
        return None, Problem(f'cannot resolve "{name}"', span, hint="a loop of links?", code="L010")
    if not inside:
        return None, Problem(
            f'"{name}" leaves the workspace {workspace}',
            span,
            hint=_from_own_file(name, folder, span)
            or "keep the project's files in its workspace (the git checkout), or name a wider one with --root",
            code="L012",
        )
    return path, None


def _is_too_long(name: str) -> bool:
    length = len(name.encode(errors="replace"))
    if length <= LONGEST_NAME:
        return False
    parts = Path(name).parts
    return length > LONGEST_PATH or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)


def _is_inside(path: Path, workspace: Path, known: dict[str, str]) -> bool:
    """Whether a path resolves inside the workspace. A thousand pictures are in few folders: each is resolved once."""
    folder, name = os.path.split(str(path))
    if name in ("", ".", ".."):
        return path.resolve().is_relative_to(workspace.resolve())
    for place in (folder, str(workspace)):
        if place not in known:
            known[place] = str(Path(place).resolve())
    real = os.path.join(known[folder], name)
    if os.path.islink(real):
        real = str(Path(real).resolve())
    top = known[str(workspace)]
    return real == top or real.startswith(top if top.endswith("/") else f"{top}/")


def shown(path: Path, cwd: Path | None = None) -> str:
    """Given a path, return it as a person standing in `cwd` would type it."""
    base = (cwd or Path.cwd()).resolve()
    target = path if path.is_absolute() else base / path
    try:
        return str(target.relative_to(base))
    except ValueError:
        pass
    parent = base.parent
    if parent != base and target.is_relative_to(parent):
        return str(Path("..") / target.relative_to(parent))
    return str(target)


def _from_own_file(name: str, folder: Path, span: Span | None) -> str:
    """A hint for who names a file as seen from the file they are writing: all names start at the project's folder."""
    if span is None:
        return ""
    meant = os.path.relpath(Path(span.file).parent / name, folder)
    if meant == os.path.normpath(name) or meant.startswith("..") or not (folder / meant).is_file():
        return ""
    return f'names start at the folder of {FILE}: write "{Path(meant).as_posix()}"'


def nearby(missing: Path, name: str, span: Span | None = None) -> str:
    """Given where a file should be and its name as written, return a hint: what it may have meant."""
    if not name.startswith(("/", "~")) and (hint := _from_own_file(name, _start(missing, name), span)):
        return hint
    folder = missing.parent
    if missing.is_dir():
        return "it is a folder: name a file in it"
    if not folder.is_dir():
        return f"there is no folder {shown(folder)}"
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    near = _closest(missing.name, names)
    if near:
        return f'did you mean "{PurePosixPath(name).with_name(near[0])}"?'
    return f"put it in {shown(folder)}" + (f" (there: {', '.join(names[:6])})" if names else "")


def _start(missing: Path, name: str) -> Path:
    """The folder from which a name leads to where the file should be."""
    return missing.parents[len(Path(name).parts) - 1]


def _closest(name: str, names: Iterable[str]) -> list[str]:
    import difflib  # by need: an answer of the last time is given in less time than this takes

    return difflib.get_close_matches(name, list(names), n=1)
