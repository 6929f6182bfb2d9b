"""Use the shared store in a build: fetch what is in it before anything is made, and send what was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.events import Event, Notice
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import PlanOptions
from ltxflow.plan.review import Review
from ltxflow.session.session import Session

if TYPE_CHECKING:
    from ltxflow.store.remote import Moved, Remote, RemoteAddress


class Sharing:
    """The shared store of a session. Without one, or with one that is down, every method does nothing."""

    def __init__(self, session: Session, remote: Remote | None, emit: Callable[[Event], None]) -> None:
        self._session, self._remote, self._emit = session, remote, emit
        self._asked: set[Key] = set()
        self._had: set[Key] = set()  # keys whose results were here before this build, or came from there

    def fetch_locked(self) -> None:
        """Fetch the takes in the cut that the lock names and the local store lacks; by digest where no trace came."""
        if self._remote is None:
            return
        entries = self._session.lock.entries.values()
        takes = [entry.picked for entry in entries if entry.picked and self._session.lookup(entry.picked.key) is None]
        self._pull(self._remote, [take.key for take in takes])
        absent = [take for take in takes if self._session.lookup(take.key) is None]
        self._remote.pull([], [(digest, 0) for take in absent for digest in (take.digest, *take.outputs.values())])

    def fetch(self, find: Callable[[], Iterable[Status]]) -> None:
        """Fetch what `find` says is to be made, again and again: a result decides the keys of what follows it."""
        while self._remote is not None and not self._remote.is_down:
            found = list(find())
            self._had |= {status.key for status in found if status.state == "hit" and status.key}
            keys = [status.key for status in found if status.state == "miss" and status.key and not status.is_forced]
            if not self._pull(self._remote, keys):
                return
            self._session.forget_speech()

    @property
    def address(self) -> str:
        """The address of the shared store, without credentials; "" without one."""
        return self._remote.address.shown if self._remote else ""

    @property
    def is_down(self) -> bool:
        """Whether the shared store failed, and is not asked any more."""
        return self._remote is not None and self._remote.is_down

    def send_film(self) -> Moved | None:
        """Send all that the film's plan and lock need and the shared store lacks; None without a shared store."""
        if self._remote is None:
            return None
        session = self._session
        plan = session.plan(PlanOptions())
        statuses = [*session.speech().statuses.values(), *plan.statuses.values()]
        made = [status.trace.key for status in statuses if status.trace is not None]
        locked = [take.key for entry in session.lock.entries.values() for take in entry.takes.values()]
        review = Review(plan.lock, session.lookup)
        looks = [review.inspection(s.node, s.trace) for s in plan.statuses.values() if s.trace is not None]
        return self._remote.push([*made, *locked, *(look.key for look in looks if look is not None and look.key)])

    def send(self, statuses: Iterable[Status], made: Iterable[Key] = ()) -> None:
        """Send what this build made to the shared store."""
        keys = {status.key for status in statuses if status.trace is not None and status.key}
        new = sorted((keys | set(made)) - self._had)
        if self._remote is None or not new:
            return
        moved = self._remote.push(new)
        if moved.traces:
            self._emit(Notice(f"sent {_results(moved.traces)} to {self._remote.address.shown}"))

    def _pull(self, remote: Remote, keys: Iterable[Key]) -> int:
        """Fetch the results of keys that were not asked for before; return how many came."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._asked]
        self._asked.update(fresh)
        moved = remote.pull(fresh)
        self._had |= set(fresh) - set(moved.missing)
        if moved.traces:
            self._emit(Notice(f"fetched {_results(moved.traces)} from {remote.address.shown}"))
        return moved.traces


def _results(number: int) -> str:
    return "1 result" if number == 1 else f"{number} results"


@contextmanager
def sharing(session: Session, env: Mapping[str, str], emit: Callable[[Event], None]) -> Iterator[Sharing]:
    """Open the shared store that the user's configuration names, if any. Raise LtxflowError for a wrong address."""
    address = remote_of(session.config.remote, env)
    if address is None:
        yield Sharing(session, None, emit)
        return
    from ltxflow.store.remote import Remote  # on first use: most people share nothing, and httpx takes 60 ms

    remote = Remote(address, session.store, session.warnings.append)
    try:
        yield Sharing(session, remote, emit)
    finally:
        remote.close()


def remote_of(configured: Mapping[str, object] | None, env: Mapping[str, str]) -> RemoteAddress | None:
    """Return the address of the shared store, with the headers that the environment has. Raise LtxflowError."""
    if configured is None:
        return None
    from ltxflow.store.remote import RemoteAddress

    named = configured.get("headers_from_env") or {}
    assert isinstance(named, dict)
    absent = [variable for variable in named.values() if not env.get(variable)]
    if absent:
        raise LtxflowError(problem("L133", variable=absent[0]))
    headers = {header: env[variable] for header, variable in named.items()}
    return RemoteAddress(str(configured["url"]), headers, bool(configured.get("read_only")))
