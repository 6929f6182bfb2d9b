"""The command line, run in this process or in a separate one, and what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ltxflow.cli import boundary
from ltxflow.cli.main import main
from ltxflow.session.session import Session

TESTS = Path(__file__).parents[1]
CANNED_SLATES = "from harness import slates; slates.use_canned()"


@dataclass
class Ran:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def envelope(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def data(self) -> Any:
        return self.envelope["data"]

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") and (not names or line["event"] in names)]

    @property
    def totals(self) -> dict[str, int]:
        """The figures of a build, from its last event."""
        (finished,) = self.events("run-finished")
        return {name: finished[name] for name in ("planned", "hit", "rendered", "restored", "failed", "skipped")}


def run(*argv: str, **defaults: object) -> Ran:
    """Run the command line in this process; `defaults` are values that no option sets, as of `boundary.run`."""
    out, err = StringIO(), StringIO()
    is_held = open_indexes()  # by the test itself: SQLite then lets go of a file when the last in this process does
    with redirect_stdout(out), redirect_stderr(err):
        code = boundary.run(list(argv), **defaults) if defaults else main(list(argv))
    assert is_held or not open_indexes(), f"`{argv[0]}` leaves its store open"
    return Ran(code, out.getvalue(), err.getvalue())


def open_indexes() -> int:
    """Count the index files that this process holds open, where the system lists them."""
    folder = Path("/proc/self/fd")
    found = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # of the listing itself
            found += Path(os.readlink(path)).name.startswith("cache.db")
    return found


def command(*argv: str, setup: str = CANNED_SLATES) -> list[str]:
    """Return the command line as a separate process; `setup` is Python that runs there first."""
    code = (
        f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n{setup}\nfrom ltxflow.cli.main import main\nsys.exit(main())"
    )
    return [sys.executable, "-c", code, *argv]


def run_alone(*argv: str, **options: Any) -> Ran:
    """Run the command line in a separate process, to its end."""
    done = subprocess.run(command(*argv), capture_output=True, text=True, check=False, **options)
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables while the context lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


# --- sessions that a test opens


OPENED: list[Session] = []


def opened(session: Session) -> Session:
    """Close this session when the test ends."""
    OPENED.append(session)
    return session


def close_sessions() -> None:
    """Close what tests opened."""
    while OPENED:
        OPENED.pop().close()
