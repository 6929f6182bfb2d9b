"""Open files safely: read regular files only, and keep writes inside the workspace.

Reading: a FIFO, a device, a file over its size or deeply nested JSON is an error, never a hang. Cached answers are read
through this module before anything else is loaded, so it imports little.

Writing: a project may come from a stranger, and git keeps symbolic links. `.ltxflow` in it may be a link to the user's
home, `public/posters` one to a folder of another program. Each folder below the workspace is therefore opened relative
to the one above it, without following links (openat(2) with O_NOFOLLOW). A link that stays inside the workspace is
followed, except at and below `.ltxflow`, which belongs to ltxflow alone. Nothing is written below any `.git`: git runs
the hooks it finds there.

The workspace is a property of the process, like its umask: `confine_writes` sets it once for a verb. No function that
writes can forget the check, and a path added later is covered, too.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, problem

# Far above the needs of a film of 10,000 clips, and far below the memory of a machine that renders.
RECORD_BYTES = 256 << 20  # lock, timeline, record of published files, journal, snapshot
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotRegular(OSError):
    """A FIFO, a socket or a device where a regular file belongs."""


def open_regular(path: str | Path) -> int:
    """Open a regular file, or a link to one, for reading, and return its descriptor.

    Raise OSError for anything else: `NotRegular`, IsADirectoryError, or the system's error. Never blocks, and never
    opens a device, which can have effects.
    """
    _check_mode(os.stat(path).st_mode, path)
    fd = os.open(path, _FLAGS)
    try:
        _check_mode(os.fstat(fd).st_mode, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_mode(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotRegular(errno.EINVAL, f"{kind_of(mode)}, not a file", str(path))


def opened_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading, as `open_regular` does, and return it as a file object."""
    return open(open_regular(path), "rb")


def kind_of(mode: int) -> str:
    """Return the name of the kind of file in a mode, such as "a folder" or "a FIFO"."""
    kinds = [
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ]
    return next((name for is_kind, name in kinds if is_kind(mode)), "a file")


def read_bytes(path: str | Path, most: int = RECORD_BYTES) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raise OSError otherwise, EFBIG for a larger one."""
    fd = open_regular(path)
    with open(fd, "rb", buffering=0) as file:
        size = os.fstat(fd).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
        data = bytearray()
        while block := file.read(max(size - len(data), 0) + 1):  # one more: at the right size the next read is empty
            data += block
            if len(data) > most:  # it grows while it is read
                raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
    return bytes(data)


def read_text(path: str | Path, most: int = RECORD_BYTES) -> str:
    """Return the text of a UTF-8 file. Raise OSError as `read_bytes` does, and UnicodeDecodeError, a ValueError."""
    return read_bytes(path, most).decode("utf-8")


def is_damage(error: OSError) -> bool:
    """Return whether a file's place holds something else: a folder, a FIFO, a link to itself, a far too large file.

    False for a file that cannot be read for lack of permission: it may still be the one that was written.
    """
    return isinstance(error, (IsADirectoryError, NotRegular)) or error.errno in (errno.ELOOP, errno.EFBIG)


def read_json(path: str | Path, most: int = RECORD_BYTES) -> Any:
    """Return the data of a JSON file. Raise OSError as `read_bytes` does, and ValueError for other text."""
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes | str) -> Any:
    """Return the data of a JSON text. Raise ValueError for other text: NaN, wrong UTF-8, 1000 nested brackets."""
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


OWN = ".ltxflow"  # the machine-owned folder of a project
ASIDE = "aside"  # in it: files that were in the way of ours
LINK, GIT = "L014", "L015"  # codes of the two refusals

_BY_DESCRIPTOR = {os.open, os.mkdir, os.rename, os.unlink, os.rmdir, os.stat, os.readlink} <= os.supports_dir_fd
_SEARCH = getattr(os, "O_PATH", 0) or os.O_RDONLY  # a folder that may be entered need not be one that may be listed
_FOLDER = _SEARCH | os.O_DIRECTORY | os.O_CLOEXEC

# Characters that HFS+ ignores in names: https://github.com/git/git/blob/master/utf8.c, next_hfs_char
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")

# The start of a path → its workspace, resolved; None where links may lead anywhere.
_confined: dict[str, str | None] = {}


def confine_writes(root: Path, *folders: Path) -> None:
    """Refuse every later write below `root`, or below `folders` in it, that would leave `root`."""
    real = os.path.realpath(root)
    for folder in (Path(real), *folders):
        _confined[_absolute(folder)] = real


def exempt_writes(folder: Path) -> None:
    """Let links below a folder lead anywhere: the user chose that folder, not a project."""
    _confined[_absolute(folder)] = None


def is_git_name(name: str) -> bool:
    """Return whether a file system may take a name for `.git`, ignoring case as HFS+ and NTFS do."""
    if name.isascii() and name[:1] not in ".gG":  # nearly all
        return False
    import unicodedata  # on demand: none of our names reaches this line

    plain = unicodedata.normalize("NFC", _IGNORED.sub("", name)).casefold().rstrip(" .")
    return plain == ".git" or re.fullmatch(r"git~\d", plain) is not None


class Folder:
    """An open folder, which names files for system calls: `os.unlink(folder.name("x"), dir_fd=folder.fd)`."""

    __slots__ = ("fd", "real")

    def __init__(self, fd: int | None, real: str) -> None:
        self.fd, self.real = fd, real

    def name(self, name: str) -> str:
        """Return a name in the form that a system call needs with `dir_fd=self.fd`. Raise LtxflowError for `.git`."""
        if is_git_name(name):
            raise LtxflowError(problem("L015", path=os.path.join(self.real, name), name=name))
        return name if self.fd is not None else os.path.join(self.real, name)

    def mode(self, name: str) -> int | None:
        """Return the mode of the entry of this name, of a link itself; None without one."""
        try:
            return os.stat(self.name(name), dir_fd=self.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None


Make = Callable[[Folder, str], None]


@contextmanager
def opened(folder: Path, make: Make | None = None, *, by_descriptor: bool = _BY_DESCRIPTOR) -> Iterator[Folder]:
    """Open a folder for writing in it, calling `make` for each missing part of its path.

    Raise LtxflowError for a link that leads out of the workspace, for one at or below `.ltxflow`, and below `.git`;
    OSError as the system does. Without `by_descriptor`, as on systems without openat(2), each part is checked before it
    is used.
    """
    walk = _Walk(folder, make)
    fd = walk.descend() if by_descriptor else None
    if fd is None:
        walk.resolve()
    try:
        yield Folder(fd, walk.real)
    finally:
        if fd is not None:
            os.close(fd)


def check_writes(path: Path) -> None:
    """Raise LtxflowError where a link, or `.git`, would prevent writing at a path.

    Checks the existing part of the path only, and ignores errors of the system.
    """
    with suppress(OSError):
        with opened(path.parent) as folder:
            mode = folder.mode(path.name)
        if mode is not None and stat.S_ISLNK(mode):
            with opened(path):
                pass


def check_own(folder: Path) -> None:
    """Raise LtxflowError for any link at or in a machine-owned folder, at any depth.

    Only links that a repair moved to `aside/` may stay, since nothing is ever opened there.
    """
    todo = [str(folder)]
    if os.path.islink(folder):
        raise _own_link(str(folder))
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:  # a folder that cannot be listed is not written either
            continue
        for entry in entries:
            if entry.is_symlink() and os.path.dirname(entry.path) != os.path.join(folder, ASIDE):
                raise _own_link(entry.path)
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)


class _Walk:
    """The way to a folder: from `real`, which is checked already, down the names in `steps`."""

    def __init__(self, folder: Path, make: Make | None) -> None:
        self.path, self.make = str(folder), make
        raw = _absolute(folder)
        start, self.root = _confinement(raw)
        self.is_free = start is not None and self.root is None
        self.is_own = False
        self.steps: list[str] = []
        if self.is_free or start is None:
            self._begin_outside(raw)
        else:
            self._begin_inside(start, [part for part in raw[len(start) :].split("/") if part])

    def _begin_inside(self, start: str, rest: list[str]) -> None:
        # `..` depends on where a folder really is: all up to the last one is resolved before anything is opened
        last = max((number for number, part in enumerate(rest) if part == ".."), default=-1)
        self.real = os.path.realpath(os.path.join(start, *rest[: last + 1]))
        self.steps = rest[last + 1 :]
        self._check_real(self.path)
        self.is_own = OWN in _parts_below(self.real, self.root)

    def _begin_outside(self, raw: str) -> None:
        """Begin outside of all workspaces: refuse only links at `.ltxflow`, and writes below `.git`."""
        parts = raw.split("/")
        at = parts.index(OWN) if OWN in parts and not self.is_free else len(parts)
        self.real, self.steps = "/".join(parts[:at]) or "/", parts[at:]
        while self.make and self.real != "/" and not os.path.isdir(self.real):
            self.real, _, name = self.real.rpartition("/")
            self.real = self.real or "/"
            self.steps.insert(0, name)
        if not self.is_free and (name := _git_in(Path(os.path.realpath(self.real)).parts)):
            raise LtxflowError(problem("L015", path=self.path, name=name))

    def descend(self) -> int:
        """Open each folder on the way relative to the one above it, and return the last descriptor."""
        fd = os.open(self.real, _FOLDER)
        try:
            for name in self.steps:
                self._check_name(name)
                below = self._open(name, fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open(self, name: str, fd: int) -> int:
        place = os.path.join(self.real, name)
        try:
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        except FileNotFoundError:
            if self.make is None:
                raise
            self.make(Folder(fd, self.real), name)
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        except OSError as error:
            # Linux reports ENOTDIR for a link with O_NOFOLLOW, others ELOOP or EMLINK
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK) or not _is_link(name, fd):
                raise
            self._follow(place)
            return os.open(self.real, _FOLDER | os.O_NOFOLLOW)
        self.real = place
        return below

    def resolve(self) -> None:
        """Do the same as `descend` by paths, for systems that cannot open relative to a folder."""
        for name in self.steps:
            self._check_name(name)
            place = os.path.join(self.real, name)
            if os.path.islink(place):
                self._follow(place)
                continue
            if not os.path.lexists(place) and self.make is not None:
                self.make(Folder(None, self.real), name)
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
            self.real = place

    def _check_name(self, name: str) -> None:
        self.is_own |= name == OWN and not self.is_free
        if not self.is_free and is_git_name(name):
            raise LtxflowError(problem("L015", path=self.path, name=name))

    def _follow(self, place: str) -> None:
        """Continue at the target of a link, if writing is allowed there."""
        if self.is_own:
            raise _own_link(place)
        if self.root is None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
        try:
            self.real = os.path.realpath(place, strict=True)
        except FileNotFoundError:
            self.real = os.path.realpath(place)
            self._check_real(place)
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise LtxflowError(problem("L014.loop", path=place, target=_target(place))) from None
            raise
        self._check_real(place)
        if OWN in _parts_below(self.real, self.root):
            raise _own_link(place)

    def _check_real(self, place: str) -> None:
        """Raise LtxflowError where writing is not allowed in `real`, to which `place` leads."""
        assert self.root is not None
        if not is_inside(self.real, self.root):
            raise LtxflowError(problem("L014.outside", path=place, real=self.real, root=self.root))
        if name := _git_in(_parts_below(self.real, self.root)):
            raise LtxflowError(problem("L015", path=self.path, name=name))


def _confinement(raw: str) -> tuple[str | None, str | None]:
    """Return the nearest known folder at or above a path, and its workspace."""
    at = raw
    while at:
        if at in _confined:
            return at, _confined[at]
        at = at.rpartition("/")[0]
    if "/" in _confined:
        return "/", _confined["/"]
    # another spelling, as /tmp for /private/tmp: resolved by the system, for the few paths without a known start
    at = raw if any(_confined.values()) else ""
    while at:
        if (root := _confined.get(os.path.realpath(at))) is not None:
            return at, root
        at = at.rpartition("/")[0]
    return None, None


def real_path(path: str | Path) -> Path:
    """Return a path without links, as `Path.resolve()` does; one in a circle of links stays as it is.

    Opening that is an error of the system, which is reported. `resolve()` raises RuntimeError before Python 3.13.
    """
    return Path(os.path.realpath(path))


def is_inside(path: str, root: str) -> bool:
    """Return whether a resolved path is the folder `root`, or lies in it at any depth."""
    return path == root or path.startswith(root if root.endswith("/") else f"{root}/")


def _absolute(path: Path) -> str:
    """Return an absolute path that keeps its `..`, because a link before one decides where it leads."""
    raw = str(path)
    return raw if raw.startswith("/") else os.path.join(os.getcwd(), raw)


def _is_link(name: str, fd: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _parts_below(real: str, root: str | None) -> tuple[str, ...]:
    return Path(os.path.relpath(real, root)).parts


def _git_in(names: Iterable[str]) -> str:
    """Return the first name that may be `.git`, or ""."""
    return next(filter(is_git_name, names), "")


def _target(place: str) -> str:
    try:
        return os.readlink(place)
    except OSError:
        return ""


def _own_link(place: str) -> LtxflowError:
    return LtxflowError(problem("L014.own", path=place, target=_target(place)))
