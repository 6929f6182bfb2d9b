"""Odd machines, each as a process sees it: its environment, limits, streams, terminal, clock; and verbs run on them."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from harness.command import Ran
from harness.film import film_text

PATIENCE_S = 300.0
# A clock that stands elsewhere: what libfaketime does, in a few lines. $CLOCK_AT is in seconds since 1970.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  static long off;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(clock, at);
  if (clock != CLOCK_REALTIME) return done;
  if (!off) off = atol(getenv("CLOCK_AT")) - at->tv_sec;
  at->tv_sec += off;
  return done;
}
time_t time(time_t *to) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  if (to) *to = at.tv_sec;
  return at.tv_sec;
}
int gettimeofday(struct timeval *to, void *zone) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  to->tv_sec = at.tv_sec;
  to->tv_usec = at.tv_nsec / 1000;
  return 0;
}
"""
YEAR_S = 31_556_952


@dataclass(frozen=True)
class Machine:
    """What is odd. `env` is added to the environment, None takes a name out; paths in it begin with {root}."""

    name: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    limits: Sequence[tuple[int, int]] = ()
    closed: tuple[int, ...] = ()  # streams
    terminal: tuple[int, int] | None = None  # lines and columns
    clock: int | None = None  # years since 1970
    film: bytes = b"film"  # the folder's name
    out: str = ""  # where standard output goes
    umask: int | None = None
    links: Mapping[str, str] = field(default_factory=dict)  # below {root}, and where they lead


NO_DIRS = {"LTXFLOW_STORE": None, "XDG_CONFIG_HOME": None, "XDG_STATE_HOME": None, "XDG_DATA_HOME": None}
MACHINES = (
    Machine("a store that is not UTF-8", {"LTXFLOW_STORE": "{root}/sto\udcffre"}),
    Machine("a film that is not UTF-8", film=b"fi\xfflm"),
    Machine("a home that is not UTF-8", {**NO_DIRS, "HOME": "{root}/ho\udcffme"}),
    Machine("a home that is not there", {**NO_DIRS, "HOME": "/nonexistent/home"}),
    Machine("a home that nothing is written to", {**NO_DIRS, "HOME": "/proc"}),
    Machine("no home", {"HOME": None}),
    Machine("no environment", dict.fromkeys(os.environ)),
    *(Machine(f"the year {1970 + years}", clock=years) for years in (0, 69, 330, 8029)),
    *(Machine(f"a terminal of {lines} x {columns}", terminal=(lines, columns)) for lines, columns in ((1, 1), (24, 5))),
    Machine("a terminal of no size", terminal=(0, 0)),
    Machine("a terminal that says it is wide", {"COLUMNS": "999999999", "LINES": "999999999"}, terminal=(24, 80)),
    Machine("a terminal without a name", {"TERM": None}, terminal=(24, 80)),
    *(Machine(f"COLUMNS={columns}", {"COLUMNS": columns, "FORCE_COLOR": "1"}) for columns in ("1", "0", "-3", "x")),
    *(
        Machine(f"{megabytes} MB of address space", limits=[(resource.RLIMIT_AS, megabytes << 20)])
        for megabytes in (250, 300, 350, 400, 500, 700)
    ),
    Machine("24 open files", limits=[(resource.RLIMIT_NOFILE, 24)]),
    Machine("files of 10 kB", limits=[(resource.RLIMIT_FSIZE, 10 << 10)]),
    Machine("a stack of 256 kB", limits=[(resource.RLIMIT_STACK, 256 << 10)]),
    *(Machine(f"closed streams {closed}", closed=closed) for closed in ((0,), (1,), (2,), (0, 1, 2))),
    Machine("a full disk for what is said", out="/dev/full"),
    *(Machine(f"LC_ALL={name}", {"LC_ALL": name, "PYTHONUTF8": "0"}) for name in ("C", "xx_YY.UTF-99")),
    *(Machine(f"TZ={name[:9]}", {"TZ": name}) for name in ("XXX-99", ":/etc/passwd", "A" * 5000, "")),
    Machine("no PATH", {"PATH": None}),
    Machine("no temporary folder", {"TMPDIR": "/nonexistent"}),
    Machine("a umask that denies all", umask=0o777),
    *(
        Machine(f"{name} is a circle of links", {name: "{root}/odd"}, links={"odd": "odd"})
        for name in ("LTXFLOW_STORE", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "HOME", "TMPDIR")
    ),
    Machine("a store below a file", {"LTXFLOW_STORE": "{root}/film/project.yaml/x"}),
    Machine("a store that is a device", {"LTXFLOW_STORE": "/dev/zero"}),
    Machine("a store of too long a name", {"LTXFLOW_STORE": "a" * 300}),
    Machine("a store of too long a path", {"LTXFLOW_STORE": "/" + "d/" * 2500}),
    Machine("a store below a circle of links", {"LTXFLOW_STORE": "{root}/odd/x"}, links={"odd": "odd"}),
    Machine("a configuration of too long a name", {"XDG_CONFIG_HOME": "a" * 300}),
    *(
        Machine(f"{name}={value}", {name: value})
        for name in ("HOME", "LTXFLOW_STORE", "TMPDIR")
        for value in ("", "-x")
    ),
    *(Machine(f"{name}=…", {name: "x\ny\x1b[2J"}) for name in ("LTXFLOW_STORE", "XDG_DATA_HOME", "PATH")),
    Machine("PYTHONOPTIMIZE=2", {"PYTHONOPTIMIZE": "2"}),
    Machine("PYTHONWARNINGS=error", {"PYTHONWARNINGS": "error"}),
    Machine("ASCII alone", {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX"}),
    Machine("proxies that are none", {"http_proxy": "nonsense", "ALL_PROXY": "socks9://x:99999", "NO_PROXY": "["}),
    *(
        Machine(f"LTXFLOW_SERVERS={value[:14]}", {"LTXFLOW_SERVERS": value})
        for value in (",", "http://", "ftp://x", "http://x:99999", "http://[::1", "\udcff", "a" * 10_000, "http://a b")
    ),
    Machine("eight processes", limits=[(resource.RLIMIT_NPROC, 8)]),
    Machine("12 open files", limits=[(resource.RLIMIT_NOFILE, 12)]),
    Machine("no file may grow", limits=[(resource.RLIMIT_FSIZE, 0)]),
)
VERBS = (
    *(("build", "--animatic"), ("build", "--animatic"), ("plan",), ("status",), ("check",), ("takes", "hook/a")),
    *(("report",), ("show", "hook/a"), ("conform", "--proxy"), ("export", "otio"), ("cache", "stats"), ("cache", "gc")),
    *(("verify",), ("doctor",), ("explain", "hook/a"), ("plan", "--json")),
)


@cache
def clock_library() -> Path | None:
    """The library that moves the clock, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    folder = Path(mkdtemp(prefix="ltxflow-clock-"))
    (folder / "clock.c").write_text(CLOCK)
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c", "-ldl"],
        capture_output=True,
        check=False,
    )
    return None if made.returncode else folder / "clock.so"


def film_in(root: Path, machine: Machine) -> Path:
    """Write a film of one clip for a machine, and return its folder."""
    (root / ".git").mkdir(parents=True)
    for name, to in machine.links.items():
        (root / name).symlink_to(to)
    folder = Path(os.fsdecode(os.fsencode(root) + b"/" + machine.film))
    folder.mkdir()
    (folder / "project.yaml").write_text(film_text({"hook": ["a"]}, "3s"))
    return folder


def run_on(machine: Machine, root: Path, folder: Path, argv: Sequence[str]) -> Ran:
    """Run a verb on a machine, in a process of its own, with real slates."""
    env: dict[str, str | None] = {**os.environ, "XDG_CONFIG_HOME": f"{root}/config", "XDG_STATE_HOME": f"{root}/state"}
    env |= {"LTXFLOW_STORE": f"{root}/store", "PYTHONPATH": None}
    env |= {name: value and value.format(root=root) for name, value in machine.env.items()}
    if machine.clock is not None:
        env |= {"LD_PRELOAD": str(clock_library()), "CLOCK_AT": str(machine.clock * YEAR_S + 86_400)}
    full = {name: value for name, value in env.items() if value is not None}
    words = [sys.executable, "-m", "ltxflow.cli.main", *argv]
    if machine.terminal:
        return _at_a_terminal(words, folder, full, machine.terminal)

    def prepare() -> None:
        for what, most in machine.limits:
            resource.setrlimit(what, (most, most))
        if machine.umask is not None:
            os.umask(machine.umask)
        for number in machine.closed:
            os.close(number)

    with open(machine.out or os.devnull, "wb") as out:
        done = subprocess.run(
            words,
            cwd=folder,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=out if machine.out else subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare,
            timeout=PATIENCE_S,
            check=False,
        )
    return Ran(done.returncode, (done.stdout or b"").decode(errors="replace"), done.stderr.decode(errors="replace"))


def _at_a_terminal(words: Sequence[str], folder: Path, env: dict[str, str], size: tuple[int, int]) -> Ran:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with subprocess.Popen(words, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # its end
            while block := os.read(ours, 1 << 16):
                said += block
        os.close(ours)
        code = process.wait(PATIENCE_S)
    return Ran(code, said.decode(errors="replace"), "")


def wrong(ran: Ran, is_fine: Callable[[int], bool] = lambda code: code in (0, 1, 2)) -> str:
    """What no verb may do on any machine."""
    text = ran.out + ran.err
    if not is_fine(ran.code) or "Traceback" in text or "error: a bug" in text or "Exception ignored" in text:
        return f"ends with {ran.code}: {text[-500:]}"
    return ""
