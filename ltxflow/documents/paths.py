"""Find a project and its workspace, and keep paths inside it. Reads no file content."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.workspace import confine_writes

FILE = "project.yaml"
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)

LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes: of a name on nearly any file system, of a path on macOS


def find_project(name: str | None, cwd: Path) -> Path:
    """Find project.yaml by the value of `-p`: a folder, a file, or a name under `projects/`.

    Without one, search the folders upward, then for a `projects/` folder with exactly one project. Raise LtxflowError
    when there is none, or more than one to choose from.
    """
    if name is not None:
        return _named(name, cwd)
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.parent.name for path in found)
            raise LtxflowError(problem("L001.several", names=names))
    raise LtxflowError(problem("L001.none", file=FILE, folder=cwd))


def _named(name: str, cwd: Path) -> Path:
    path = cwd / name
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    names: list[str] = []
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        names += [p.parent.name for p in found]
        for candidate in found:
            if candidate.parent.name == name:
                return candidate
    near = _closest(name, names)
    hint = f'did you mean "{near[0]}"?' if near else "give a folder, a project.yaml, or a name under projects/"
    raise LtxflowError(problem("L001.unknown", hint=hint, name=name))


def _projects_under(folder: Path) -> list[Path]:
    root = folder / "projects"
    if not root.is_dir():
        return []
    return sorted(child / FILE for child in root.iterdir() if (child / FILE).is_file())


def workspace_of(folder: Path, root: str | None = None) -> Path:
    """Return the workspace of a folder: `root`, else the nearest parent with `.git`, else the folder itself."""
    if root is not None:
        workspace = Path(root).resolve()
        if not folder.resolve().is_relative_to(workspace):
            raise LtxflowError(problem("L002", root=root))
        return workspace
    for parent in (folder.resolve(), *folder.resolve().parents):
        if (parent / ".git").exists():
            return parent
    return folder.resolve()


def confine(name: str | None, root: str | None, cwd: Path) -> None:
    """Confine writes of this process to the workspaces of the project and of the folder it runs in.

    `name` and `root` are the values of `-p` and `--root`. Without a project only the git checkout around `cwd` counts.
    """
    if root is not None:
        confine_writes(Path(root))
    elif (home := workspace_of(cwd)) != cwd.resolve() or (home / ".git").exists():
        confine_writes(home)
    with suppress(LtxflowError):  # reported by the verb if it needs a project
        confine_project(find_project(name, cwd), root)


def confine_project(file: Path, root: str | None) -> None:
    """Confine writes to the workspace of a project. Raise LtxflowError where it is not inside `root`."""
    confine_writes(workspace_of(file.parent, root), file.parent)


def contained(
    name: str,
    folder: Path,
    workspace: Path,
    span: Span | None,
    trusted: bool = False,
    known: dict[str, str] | None = None,
) -> tuple[Path | None, Problem | None]:
    """Resolve a path as written: return it, or the Problem with it.

    It is relative to the project folder and must resolve (symbolic links too) inside the workspace. An absolute path
    needs a trusted project. `known` caches the resolved paths of folders during one load.
    """
    if "\x00" in name or not name.strip():
        return None, problem("L010.name", span, path=repr(name))
    if _is_too_long(name):
        return None, problem("L010.long", span, path=name[:40])
    if os.path.isabs(name) or name.startswith("~"):
        if not trusted:
            return None, problem("L011", span, path=name)
        return Path(name).expanduser(), None
    path = folder / name
    try:
        inside = _is_inside(path, workspace, {} if known is None else known)
    except (OSError, RuntimeError):
        return None, problem("L010.loop", span, path=name)
    if not inside:
        wider = "keep the files in the workspace (the git checkout), or name a wider one with --root"
        hint = _from_own_file(name, folder, span) or wider
        return None, problem("L012", span, hint=hint, path=name, workspace=workspace)
    return path, None


def _is_too_long(name: str) -> bool:
    length = len(name.encode(errors="replace"))
    if length <= LONGEST_NAME:
        return False
    parts = Path(name).parts
    return length > LONGEST_PATH or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)


def _is_inside(path: Path, workspace: Path, known: dict[str, str]) -> bool:
    """Return whether a path resolves inside the workspace. Each folder is resolved once for all its files."""
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
    """Return a path relative to `cwd`, or absolute where that would be longer."""
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
    """Return a hint for a name relative to the file it is in: names are relative to the project folder."""
    if span is None:
        return ""
    meant = os.path.relpath(Path(span.file).parent / name, folder)
    if meant == os.path.normpath(name) or meant.startswith("..") or not (folder / meant).is_file():
        return ""
    return f'write "{Path(meant).as_posix()}": paths are relative to the folder of {FILE}'


def nearby(missing: Path, name: str, span: Span | None = None) -> str:
    """Return a hint for a missing file: a similar name, or the files of its folder."""
    if not name.startswith(("/", "~")) and (hint := _from_own_file(name, _start(missing, name), span)):
        return hint
    folder = missing.parent
    if missing.is_dir():
        return "name a file in that folder"
    if not folder.is_dir():
        return f"create the folder {shown(folder)}, or correct the path"
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    near = _closest(missing.name, names)
    if near:
        return f'did you mean "{PurePosixPath(name).with_name(near[0])}"?'
    return f"put it in {shown(folder)}" + (f" (there: {', '.join(names[:6])})" if names else "")


def _start(missing: Path, name: str) -> Path:
    """Return the folder that a name is relative to."""
    return missing.parents[len(Path(name).parts) - 1]


def _closest(name: str, names: Iterable[str]) -> list[str]:
    import difflib  # by need: importing it takes longer than a cached answer

    return difflib.get_close_matches(name, list(names), n=1)
