"""The one place that writes to disk, so a crash can be tried at every one. Knows no format and no store."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import itertools
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltxflow.core import workspace
from ltxflow.core.digest import Digest, digest_of
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.regular import NotRegular, kind_of, open_regular

TEMP_PREFIX = ".ltxflow-"
_TEMP_NAME = re.compile(r"\.ltxflow-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<token>[0-9a-f]{8})-\d+")
_FOREIGN_AGE_S = 7 * 24 * 3600  # another host's process cannot be asked; no write takes a week

# linux/fs.h: #define FICLONE _IOW(0x94, 9, int); shares the blocks on btrfs, xfs, bcachefs
_FICLONE = 0x40049409
_BLOCK = 1 << 20
# what a file system says when it cannot copy inside the kernel: copy_file_range(2), ioctl_ficlone(2)
_CANNOT_CLONE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM}

DISK = "disk"  # the code of a problem that any other write to that disk will have, too
_ANY_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_HINTS = {
    errno.ENOSPC: "the disk is full: free some space there, then run it again; finished work is kept",
    errno.EDQUOT: "your quota is used up: free some space there, then run it again; finished work is kept",
    errno.EACCES: "give yourself permission to write there, or choose another folder",
    errno.EPERM: "give yourself permission to write there, or choose another folder",
    errno.EROFS: "that file system is mounted read-only: choose another folder, or mount it writable",
    errno.ENOTDIR: "a part of that path is a file: move it away, or choose another folder",
    errno.EEXIST: "something else stands at that path: move it away, or choose another folder",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.EISDIR: "a folder stands where the file belongs: move it away",
    errno.EINVAL: "something else stands where the file belongs: move it away",
    errno.ELOOP: "a symbolic link stands where the file belongs: remove it",
    errno.ENOLCK: "that file system knows no locks: keep the project on a local disk",
}

_DEEPEST = 200  # folders in one another: ours are four deep
_UNSTEADY = "was it being written? wait until it is whole, then run it again"

Signature = tuple[int, ...]


def _nothing(op: str, path: Path) -> None:
    pass


# Called before every mutating system call with its name and path. A test replaces it, to die at the i-th.
_before: Callable[[str, Path], None] = _nothing


def announce(op: str, path: Path) -> None:
    """Given a write that a library is about to do for us (the index's database), let the hook know of it."""
    _before(op, path)


def data_dir() -> Path:
    """Return the folder that holds `templates/` and `schemas/`.

    That is `ltxflow/data` in a wheel (hatchling `force-include`), else the repository.
    """
    package = Path(__file__).resolve().parents[1]
    packed = package / "data"
    return packed if packed.is_dir() else package.parent


# --- errors


def _problem(doing: str, path: Path, error: OSError) -> Problem:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    reason = str(error.strerror) if isinstance(error, NotRegular) else reason
    hint = _HINTS.get(error.errno or 0, "check the path and its permissions")
    return Problem(f'cannot {doing} "{path}": {reason}', hint=hint, code=DISK if error.errno in _ANY_WRITE else "")


def refused(doing: str, path: Path, error: OSError) -> LtxflowError:
    """Given what the system refused to somebody who writes on his own (an encoder), return it as an error of ours."""
    return LtxflowError(_problem(doing, path, error), exit_code=FAILED)


@contextmanager
def reported(doing: str, path: Path) -> Iterator[None]:
    """Raise what the system refuses in the body as an error of ours: what was being done, to which file."""
    try:
        yield
    except OSError as error:
        raise LtxflowError(_problem(doing, path, error), exit_code=FAILED) from error


# --- names of temporary files


@functools.cache
def _host() -> str:
    return hashlib.sha256(os.fsencode(os.uname().nodename)).hexdigest()[:8]


@functools.cache
def _token(pid: int) -> str:
    """A word of this process's own: in a container, today's pid 7 is not yesterday's."""
    return secrets.token_hex(4)


_numbers = itertools.count()


def _temp_name() -> str:
    pid = os.getpid()
    return f"{TEMP_PREFIX}{_host()}-{pid}-{_token(pid)}-{next(_numbers)}"


def _is_abandoned(name: re.Match[str], age_s: float) -> bool:
    if name["host"] != _host():
        return age_s > _FOREIGN_AGE_S
    pid = int(name["pid"])
    if pid == os.getpid():
        return name["token"] != _token(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


# --- the system calls, each announced, relative to a folder that was opened as `workspace` says


def _unlink(folder: workspace.Folder, path: Path) -> None:
    _before("unlink", path)
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
    _before("rmdir", path)
    os.rmdir(folder.name(path.name), dir_fd=folder.fd)


def _replace(folder: workspace.Folder, name: str, dst: Path, onto: workspace.Folder) -> None:
    """Rename a file in `folder` to `dst`, which is in the folder `onto`."""
    _before("replace", dst)
    os.replace(folder.name(name), onto.name(dst.name), src_dir_fd=folder.fd, dst_dir_fd=onto.fd)


def _fsync(fd: int, path: Path) -> None:
    _before("fsync", path)
    os.fsync(fd)


def _fsync_dir(folder: workspace.Folder, path: Path) -> None:
    """Make a rename in a folder outlive a power cut; those that cannot (cifs, some fuse) are let be."""
    fd = os.open(folder.name("."), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        _before("fsync", path)
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def _open_to_write(folder: workspace.Folder, path: Path, flags: int) -> int:
    """Open a regular file in a folder to write in it, never through a link, and never one with a second name.

    A file with a second name (a hard link) may lie outside of the workspace, too: a copy takes its place first.
    Raise OSError for what is not a regular file; a FIFO would wait for a reader.
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
    _before("write", path)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Placing:
    """A file on its way to its place: open, under a temporary name. Its signature once it is there."""

    def __init__(self, fd: int, temp: Path) -> None:
        self.fd, self.temp = fd, temp
        self.signature: Signature = ()


@contextmanager
def _replacing(path: Path, mode: int | None, fsync: bool, sync_folder: bool = True) -> Iterator[_Placing]:
    """Yield an open temporary file beside `path`; at the end put it in place, on any error take it away."""
    temp = path.parent / _temp_name()
    with workspace.opened(path.parent) as folder:
        _before("create", temp)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(folder.name(temp.name), flags, 0o666 if mode is None else 0o600, dir_fd=folder.fd)
        try:
            try:
                placing = _Placing(fd, temp)
                yield placing
                if mode is not None:
                    _before("chmod", temp)
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
    """Given a folder's path, make it and its missing parents, each with `mode` less the umask."""

    def make(folder: workspace.Folder, name: str) -> None:
        _before("mkdir", Path(folder.real, name))
        with suppress(FileExistsError):  # another process makes it, too; what is no folder cannot be opened as one
            os.mkdir(folder.name(name), mode, dir_fd=folder.fd)

    with reported("make the folder", path), workspace.opened(path, make):
        pass


def write_atomic(path: Path, data: bytes | str, *, mode: int | None = None, fsync: bool = True) -> Signature:
    """Given a file's whole content, put it at `path` at once: a reader sees the old file or the new one.

    The folder must be there. `mode` is exact; without it the umask decides. Return the signature of what was written.
    """
    raw = data.encode() if isinstance(data, str) else data
    with reported("write", path), _replacing(path, mode, fsync) as placing:
        _write_all(placing.fd, raw, placing.temp)
    return placing.signature


def open_to_write(path: Path, flags: int = 0) -> int:
    """Open a file that is locked, or written in place, and return its descriptor; `flags` may have O_CREAT.

    Never one of a second name, nor through a link. Raise LtxflowError for a link above it that leads out, OSError as
    the system says, and NotRegular for what is not a file.
    """
    with workspace.opened(path.parent) as folder:
        return _open_to_write(folder, path, os.O_RDWR | flags)


def append_line(path: Path, line: str, fsync: bool = True) -> None:
    """Given a line without its end, append it in one write, made durable before this returns unless `fsync` is off.

    A line that a crash tore off before is closed first, so that it cannot swallow this one. Without `fsync` the line
    outlives this process, however it dies; a power cut may take it, and with it nothing that was synced before.
    """
    if "\n" in line:
        raise ValueError("a line has no line feed inside")
    data = line.encode() + b"\n"
    with reported("append to", path), workspace.opened(path.parent) as folder:
        _before("append", path)
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
    """Given bytes, append them to a file that is there, in one write. Not made durable: for what may be lost."""
    with reported("append to", path), workspace.opened(path.parent) as folder:
        _before("append", path)
        fd = _open_to_write(folder, path, os.O_RDWR | os.O_APPEND)
        try:
            _write_all(fd, data, path)
        finally:
            os.close(fd)


def sync_folder(folder: Path) -> None:
    """Given a folder into which files were put without it (`sync_folder=False`), make their names durable at once."""
    with reported("write to", folder), workspace.opened(folder) as inside:
        _fsync_dir(inside, folder)


def copy_into(
    src: Path, dst: Path, *, expect: Digest | None = None, mode: int | None = None, sync_folder: bool = True
) -> None:
    """Given a file, put a copy of it at `dst` at once: shared blocks where the file system can, else bytes.

    Never a hard link: an edit of the copy must not reach the original. Its bytes are durable before its name is; its
    name is without `sync_folder` once the caller says so. Raise LtxflowError when the copy has not the size of the
    source, or not the digest `expect`; then `dst` is as it was.
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
    _before("clone", temp)
    try:
        fcntl.ioctl(fd, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def _copy_bytes(source: int, fd: int, size: int, temp: Path) -> None:
    _before("write", temp)
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
        raise LtxflowError(Problem(f'"{src}" changed while it was copied', hint=_UNSTEADY), exit_code=FAILED)
    if expect is not None:
        _check_digest(src, copy, expect)


def _check_digest(src: Path, copy: int, expect: Digest) -> None:
    os.lseek(copy, 0, os.SEEK_SET)
    with open(copy, "rb", closefd=False) as file:
        found = digest_of(file)
    if found != expect:
        message = f'"{src}" is not what it should be: its sha256 is {found}, not {expect}'
        raise LtxflowError(Problem(message, hint=_UNSTEADY), exit_code=FAILED)


def move_into(
    src: Path,
    dst: Path,
    *,
    expect: Digest | None = None,
    mode: int | None = None,
    fsync: bool = True,
    sync_folder: bool = True,
) -> None:
    """Given a file of our own, put it itself at `dst`, durable unless `fsync` is off; copied where it cannot move.

    `src` is gone. A file with a second name (a hard link) is copied, since an edit under that name would reach `dst`.
    `sync_folder` as for `copy_into`.
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
    """Open a plain file that has no other name; None for another."""
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
            _before("chmod", src)
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
    """Rename whatever is at `src`, a link, a folder or a FIFO itself, to `dst`. A file may go to another disk."""
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
    """Given a file or a symbolic link, take it away; one that is not there is fine. Never a folder."""
    with reported("remove", path):
        if path.parent.is_dir():
            with workspace.opened(path.parent) as folder:
                _unlink(folder, path)


def remove_tree(path: Path) -> None:
    """Given a file or a folder with all that is in it, take it away; one that is not there is fine."""
    with reported("remove", path):
        if path.parent.is_dir():
            with workspace.opened(path.parent) as folder:
                _unlink_tree(folder, path)


def set_aside(path: Path) -> Path:
    """Given what is damaged, of any kind, rename it to `<name>.corrupt`, over an older one; return that path."""
    aside = path.with_name(path.name + ".corrupt")
    with reported("set aside", path), workspace.opened(path.parent) as folder:
        _unlink_tree(folder, aside)
        _replace(folder, path.name, aside, folder)
    return aside


def make_room(path: Path) -> None:
    """Set aside what is no file where a file of ours is about to be written: it would refuse to be replaced."""
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            set_aside(path)


@contextmanager
def temp_dir(parent: Path) -> Iterator[Path]:
    """Given a folder (made if missing), yield a new private folder in it, and take that away at the end."""
    make_dir(parent, 0o700)
    folder = parent / _temp_name()
    with reported("make the folder", folder), workspace.opened(parent) as above:
        _before("mkdir", folder)
        os.mkdir(above.name(folder.name), 0o700, dir_fd=above.fd)
    try:
        yield folder
    finally:
        with suppress(OSError, LtxflowError), workspace.opened(parent) as above:  # left to clean_temps
            _unlink_tree(above, folder)


def clean_temps(folder: Path, older_than_s: float = 0.0) -> int:
    """Given a folder, take away what dead processes of ours left directly in it, and return how many.

    Only names this module gives, only when the process in the name is dead, and at least `older_than_s` old.
    Those of another host go after a week. What cannot be removed stays: housekeeping is no reason to stop.
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
    """Given a path, return size, mtime_ns, ctime_ns and inode of the file it leads to, or None without one.

    Equal signatures mean an unchanged file: ctime and inode catch an edit that restores size and mtime, as
    git's index does.
    """
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return _signature(facts)


def _signature(facts: os.stat_result) -> Signature:
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


def signature_of_file(path: Path | str) -> Signature | None:
    """As `signature`, of a plain file alone: None for a folder, and for a link, wherever it leads."""
    try:
        facts = os.lstat(path)
    except (OSError, ValueError):
        return None
    return _signature(facts) if stat.S_ISREG(facts.st_mode) else None
