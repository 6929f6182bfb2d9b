"""Write files atomically. The only module that writes to disk, so that tests can crash at every write."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import itertools
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltxflow.core import workspace
from ltxflow.core.digest import Digest, digest_of
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.workspace import NotRegular, kind_of, open_regular
from ltxflow.messages.core import WRITE_HINT, WRITE_HINTS

TEMP_PREFIX = ".ltxflow-"
_TEMP_NAME = re.compile(r"\.ltxflow-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<token>[0-9a-f]{8})-\d+")
_FOREIGN_AGE_S = 7 * 24 * 3600  # another host's process cannot be asked; no write takes a week

# linux/fs.h: #define FICLONE _IOW(0x94, 9, int); shares the blocks on btrfs, xfs, bcachefs
_FICLONE = 0x40049409
_BLOCK = 1 << 20
# errors of a file system that cannot copy inside the kernel: copy_file_range(2), ioctl_ficlone(2)
_CANNOT_CLONE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM}

DISK = "D040"  # the code of a problem that every other write to that disk will have, too
_ANY_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_DEEPEST = 200  # nested folders: ours are four deep

Signature = tuple[int, ...]


def _nothing(op: str, path: Path) -> None:
    pass


# Called before every mutating system call with its name and path; also before a library writes (the index's database).
# A test replaces it, to die at the i-th.
crash_point: Callable[[str, Path], None] = _nothing


def data_dir() -> Path:
    """Return the folder that holds `templates/` and `schemas/`.

    It is `ltxflow/data` in a wheel (hatchling `force-include`), else the repository.
    """
    package = Path(__file__).resolve().parents[1]
    packed = package / "data"
    return packed if packed.is_dir() else package.parent


# --- errors


def _problem(doing: str, path: Path, error: OSError) -> Problem:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    reason = str(error.strerror) if isinstance(error, NotRegular) else reason
    hint = WRITE_HINTS.get(error.errno or 0, WRITE_HINT)
    return problem("D040" if error.errno in _ANY_WRITE else "D041", doing=doing, path=path, reason=reason, hint=hint)


def refused(doing: str, path: Path, error: OSError) -> LtxflowError:
    """Return our error for an OSError that other code met while it wrote (an encoder)."""
    return LtxflowError(_problem(doing, path, error), exit_code=FAILED)


@contextmanager
def reported(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the body into our error, naming the operation and the file."""
    try:
        yield
    except OSError as error:
        raise LtxflowError(_problem(doing, path, error), exit_code=FAILED) from error


# --- names of temporary files


@functools.cache
def host_token() -> str:
    return hashlib.sha256(os.fsencode(os.uname().nodename)).hexdigest()[:8]


@functools.cache
def process_token(pid: int) -> str:
    """Return a random word for this process: in a container, today's pid 7 is not yesterday's."""
    return os.urandom(4).hex()


_numbers = itertools.count()


def temp_name() -> str:
    pid = os.getpid()
    return f"{TEMP_PREFIX}{host_token()}-{pid}-{process_token(pid)}-{next(_numbers)}"


def _is_abandoned(name: re.Match[str], age_s: float) -> bool:
    if name["host"] != host_token():
        return age_s > _FOREIGN_AGE_S
    pid = int(name["pid"])
    if pid == os.getpid():
        return name["token"] != process_token(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


# --- the system calls, each after its crash point, relative to a folder opened by `workspace`


def _unlink(folder: workspace.Folder, path: Path) -> None:
    crash_point("unlink", path)
    with suppress(FileNotFoundError):
        os.unlink(folder.name(path.name), dir_fd=folder.fd)


def _unlink_tree(folder: workspace.Folder, path: Path, depth: int = 0) -> None:
    mode = folder.mode(path.name)
    if mode is None or not stat.S_ISDIR(mode):
        _unlink(folder, path)
        return
    if depth > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, "folders nested too deeply", str(path))
    with workspace.opened(path) as inside:
        fd = os.open(inside.name("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=inside.fd)
        try:
            names = os.listdir(fd)
        finally:
            os.close(fd)
        for name in names:
            _unlink_tree(inside, path / name, depth + 1)
    crash_point("rmdir", path)
    os.rmdir(folder.name(path.name), dir_fd=folder.fd)


def _replace(folder: workspace.Folder, name: str, dst: Path, onto: workspace.Folder) -> None:
    """Rename a file in `folder` to `dst`, which is in the folder `onto`."""
    crash_point("replace", dst)
    os.replace(folder.name(name), onto.name(dst.name), src_dir_fd=folder.fd, dst_dir_fd=onto.fd)


def _fsync(fd: int, path: Path) -> None:
    crash_point("fsync", path)
    os.fsync(fd)


def _fsync_dir(folder: workspace.Folder, path: Path) -> None:
    """Make a rename in a folder durable, where the file system can (cifs and some fuse cannot)."""
    fd = os.open(folder.name("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        crash_point("fsync", path)
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def _open_to_write(folder: workspace.Folder, path: Path, flags: int) -> int:
    """Open a regular file in a folder for writing, never through a link, and never one with a second name.

    A file with a second name (a hard link) may lie outside of the workspace, too: it is replaced by a copy first.
    Raise OSError for other files; a FIFO would wait for a reader.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        fd = os.open(folder.name(path.name), flags, 0o666, dir_fd=folder.fd)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise NotRegular(errno.EINVAL, f"{kind_of(facts.st_mode)}, not a file", str(path))
            if facts.st_nlink == 1:
                return fd
            with _replacing(path, stat.S_IMODE(facts.st_mode), True) as placing:
                _copy_bytes(fd, placing.fd, facts.st_size, placing.temp)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _write_all(fd: int, data: bytes, path: Path) -> None:
    crash_point("write", path)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Placing:
    """A file that is being written under a temporary name; `signature` is set once it is in place."""

    def __init__(self, fd: int, temp: Path) -> None:
        self.fd, self.temp = fd, temp
        self.signature: Signature = ()


@contextmanager
def _replacing(path: Path, mode: int | None, fsync: bool, sync_folder: bool = True) -> Iterator[_Placing]:
    """Yield an open temporary file beside `path`; move it into place at the end, remove it on any error."""
    temp = path.parent / temp_name()
    with workspace.opened(path.parent) as folder:
        crash_point("create", temp)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(folder.name(temp.name), flags, 0o666 if mode is None else 0o600, dir_fd=folder.fd)
        try:
            try:
                placing = _Placing(fd, temp)
                yield placing
                if mode is not None:
                    crash_point("chmod", temp)
                    os.fchmod(fd, mode)
                if fsync:
                    _fsync(fd, temp)
                _replace(folder, temp.name, path, folder)
                placing.signature = _signature(os.fstat(fd))  # of this very file, though another may take its place
            finally:
                os.close(fd)
        except BaseException:
            with suppress(OSError):
                _unlink(folder, temp)
            raise
        if fsync and sync_folder:
            _fsync_dir(folder, path.parent)


# --- what others call


def make_dir(path: Path, mode: int = 0o777) -> None:
    """Make a folder and its missing parents, each with `mode` less the umask."""

    def make(folder: workspace.Folder, name: str) -> None:
        crash_point("mkdir", Path(folder.real, name))
        with suppress(FileExistsError):  # another process makes it, too; a file cannot be opened as a folder
            os.mkdir(folder.name(name), mode, dir_fd=folder.fd)

    with reported("make the folder", path), workspace.opened(path, make):
        pass


def write_atomic(path: Path, data: bytes | str, *, mode: int | None = None, fsync: bool = True) -> Signature:
    """Write a file at once, so that a reader sees the old content or the new; return the new file's signature.

    The folder must exist. `mode` is exact; without it the umask decides.
    """
    raw = data.encode() if isinstance(data, str) else data
    with reported("write", path), _replacing(path, mode, fsync) as placing:
        _write_all(placing.fd, raw, placing.temp)
    return placing.signature


def open_to_write(path: Path, flags: int = 0) -> int:
    """Open a file for locking, or for writing in place, and return its descriptor; `flags` may have O_CREAT.

    Never opens a file with a second name, nor through a link. Raise LtxflowError for a link above it that leads out,
    OSError as the system does, and NotRegular for something other than a file.
    """
    with workspace.opened(path.parent) as folder:
        return _open_to_write(folder, path, os.O_RDWR | flags)


def append_line(path: Path, line: str, fsync: bool = True) -> None:
    """Append a line, given without its end, in one write; durable on return unless `fsync` is off.

    Ends a line that an earlier crash left unfinished, so that it cannot swallow this one. Without `fsync` the line
    survives the death of this process; a power cut may lose it, but nothing that was synced before.
    """
    if "\n" in line:
        raise ValueError("a line has no line feed inside")
    data = line.encode() + b"\n"
    with reported("append to", path), workspace.opened(path.parent) as folder:
        crash_point("append", path)
        fd = _open_to_write(folder, path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data
            _write_all(fd, data, path)
            if fsync:
                _fsync(fd, path)
        finally:
            os.close(fd)
        if not size and fsync:  # it may be new
            _fsync_dir(folder, path.parent)


def append(path: Path, data: bytes) -> None:
    """Append bytes to an existing file in one write, not durably: only for data that may be lost."""
    with reported("append to", path), workspace.opened(path.parent) as folder:
        crash_point("append", path)
        fd = _open_to_write(folder, path, os.O_RDWR | os.O_APPEND)
        try:
            _write_all(fd, data, path)
        finally:
            os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make the names of files durable that were put into a folder with `sync_folder=False`."""
    with reported("write to", folder), workspace.opened(folder) as inside:
        _fsync_dir(inside, folder)


def copy_into(
    src: Path, dst: Path, *, expect: Digest | None = None, mode: int | None = None, sync_folder: bool = True
) -> None:
    """Copy a file to `dst` at once, with shared blocks where the file system can.

    Never a hard link, since an edit of the copy must not reach the original. Its bytes are durable before its name; its
    name without `sync_folder` only after a call of `sync_folder`. Raise LtxflowError, leaving `dst` as it was, when the
    copy differs from the source in size, or from the digest `expect`.
    """
    with reported("read", src):
        source = open_regular(src)
    try:
        facts = os.fstat(source)
        with reported("write", dst), _replacing(dst, mode, True, sync_folder) as placing:
            if not _clone(source, placing.fd, placing.temp):
                _copy_bytes(source, placing.fd, facts.st_size, placing.temp)
            _check_copy(src, placing.fd, facts.st_size, expect)
    finally:
        os.close(source)


def _clone(source: int, fd: int, temp: Path) -> bool:
    if sys.platform != "linux":
        return False
    crash_point("clone", temp)
    try:
        fcntl.ioctl(fd, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def _copy_bytes(source: int, fd: int, size: int, temp: Path) -> None:
    crash_point("write", temp)
    if hasattr(os, "copy_file_range"):
        try:
            while os.copy_file_range(source, fd, _BLOCK * 64):
                pass
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
        # some file systems answer 0 at once and copy nothing; then the loop below does it all
        if os.fstat(fd).st_size == size:
            return
        os.lseek(source, 0, os.SEEK_SET)
        os.lseek(fd, 0, os.SEEK_SET)
        os.ftruncate(fd, 0)
    while block := os.read(source, _BLOCK):
        view = memoryview(block)
        while view:
            view = view[os.write(fd, view) :]


def _check_copy(src: Path, copy: int, size: int, expect: Digest | None) -> None:
    if os.fstat(copy).st_size != size:
        raise LtxflowError(problem("D042.changed", path=src), exit_code=FAILED)
    if expect is not None:
        _check_digest(src, copy, expect)


def _check_digest(src: Path, copy: int, expect: Digest) -> None:
    os.lseek(copy, 0, os.SEEK_SET)
    with open(copy, "rb", closefd=False) as file:
        found = digest_of(file)
    if found != expect:
        raise LtxflowError(problem("D042.digest", path=src, found=found, expected=expect), exit_code=FAILED)


def move_into(
    src: Path,
    dst: Path,
    *,
    expect: Digest | None = None,
    mode: int | None = None,
    fsync: bool = True,
    sync_folder: bool = True,
) -> None:
    """Move one of our files to `dst`, durably unless `fsync` is off; copy and remove it where it cannot be renamed.

    A file with a second name (a hard link) is copied, since an edit under that name would reach `dst`. `sync_folder` as
    for `copy_into`.
    """
    with reported("read", src):
        fd = _open_single(src)
    try:
        if fd is not None and _is_moved(fd, src, dst, expect, mode, fsync, sync_folder):
            return
    finally:
        if fd is not None:
            os.close(fd)
    copy_into(src, dst, expect=expect, mode=mode, sync_folder=sync_folder)
    remove(src)


def _open_single(src: Path) -> int | None:
    """Open a plain file that has no second name; return None for others."""
    try:
        fd = os.open(src, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a symbolic link
            return None
        raise
    facts = os.fstat(fd)
    if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
        return fd
    os.close(fd)
    return None


def _is_moved(
    fd: int, src: Path, dst: Path, expect: Digest | None, mode: int | None, fsync: bool, sync_folder: bool
) -> bool:
    """Rename an open file to its place, its bytes durable; return whether that was possible."""
    if expect is not None:
        _check_digest(src, fd, expect)
    with reported("move a file to", dst), workspace.opened(dst.parent) as onto, workspace.opened(src.parent) as folder:
        if mode is not None:
            crash_point("chmod", src)
            os.fchmod(fd, mode)
        if fsync:
            _fsync(fd, src)
        try:
            _replace(folder, src.name, dst, onto)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        if fsync and sync_folder:
            _fsync_dir(onto, dst.parent)
    return True


def move(src: Path, dst: Path) -> None:
    """Rename what is at `src` to `dst`, without following a link. A file may move to another disk."""
    with reported("move away", src), workspace.opened(dst.parent) as onto, workspace.opened(src.parent) as folder:
        try:
            _replace(folder, src.name, dst, onto)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    copy_into(src, dst)
    remove(src)


def remove(path: Path) -> None:
    """Remove a file or a symbolic link, if it exists; never a folder."""
    with reported("remove", path):
        if path.parent.is_dir():
            with workspace.opened(path.parent) as folder:
                _unlink(folder, path)


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with its content, if it exists."""
    with reported("remove", path):
        if path.parent.is_dir():
            with workspace.opened(path.parent) as folder:
                _unlink_tree(folder, path)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `<name>.corrupt`, replacing an older one; return that path."""
    aside = path.with_name(path.name + ".corrupt")
    with reported("set aside", path), workspace.opened(path.parent) as folder:
        _unlink_tree(folder, aside)
        _replace(folder, path.name, aside, folder)
    return aside


def make_room(path: Path) -> None:
    """Set aside a folder, link or FIFO at a path that is about to be written: it could not be replaced."""
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            set_aside(path)


@contextmanager
def temp_dir(parent: Path) -> Iterator[Path]:
    """Yield a new private folder in `parent` (made if missing), and remove it at the end."""
    make_dir(parent, 0o700)
    folder = parent / temp_name()
    with reported("make the folder", folder), workspace.opened(parent) as above:
        crash_point("mkdir", folder)
        os.mkdir(above.name(folder.name), 0o700, dir_fd=above.fd)
    try:
        yield folder
    finally:
        with suppress(OSError, LtxflowError), workspace.opened(parent) as above:  # left to clean_temps
            _unlink_tree(above, folder)


def clean_temps(folder: Path, older_than_s: float = 0.0) -> int:
    """Remove the temporary files that dead processes left directly in a folder; return how many.

    Removes only names that this module gives, whose process is dead, and that are at least `older_than_s` old; those of
    another host after a week. A file that cannot be removed stays, since housekeeping must not stop a run.
    """
    removed = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        name = _TEMP_NAME.fullmatch(entry.name)
        if name is None:
            continue
        with suppress(OSError, LtxflowError):
            age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if age_s >= older_than_s and _is_abandoned(name, age_s):
                with workspace.opened(folder) as inside:
                    _unlink_tree(inside, Path(entry.path))
                removed += 1
    return removed


def signature(path: Path | str) -> Signature | None:
    """Return size, mtime_ns, ctime_ns and inode of the file a path leads to, None without one.

    Equal signatures mean an unchanged file: ctime and inode reveal an edit that restores size and mtime, as in git's
    index.
    """
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return _signature(facts)


def _signature(facts: os.stat_result) -> Signature:
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


def signature_of_file(path: Path | str) -> Signature | None:
    """Return the `signature` of a plain file, None for a folder or a link."""
    try:
        facts = os.lstat(path)
    except (OSError, ValueError):
        return None
    return _signature(facts) if stat.S_ISREG(facts.st_mode) else None
