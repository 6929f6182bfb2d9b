"""What the fake server does wrong, and how often. Knows which faults exist, not how the server serves.

Every method may be called at run time from any thread, or over HTTP (`POST /__fake__/misbehave` with
`{"kind": "status", …}`). `times` says how often it happens (None: until `clear()`), `skip` how many chances
it lets pass first. `path` is a regular expression, searched in the path without prefix and without `/api`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

HOSTILE_NAMES = (
    "../../escape.mp4",
    "/tmp/absolute.mp4",
    "..\\..\\escape.mp4",
    "C:\\escape.mp4",
    "con\x1b[2Jtrol\x00.mp4",
    "line\nbreak.mp4",
    "",
    "a" * 300 + ".mp4",
)


KINDS = (
    *("status", "reset", "lose_reply", "post_twice", "truncate", "wrong_length", "endless", "dribble", "hang"),
    *("silent_socket", "no_websocket", "missing_models", "history_late", "oom", "crash", "stuck", "deaf_prompt"),
    *("lose_job", "lose_file", "hostile_names", "spoil", "clear"),
)
SPOILS = ("frames", "size", "rate", "no_audio", "short_audio", "truncated", "hole", "empty", "not_video")
LUCKLESS = ("frozen", "black", "silent", "clipped")  # whole films, and nobody wants them


@dataclass
class Rule:
    kind: str
    path: str = ""
    method: str = ""
    times: int | None = 1
    skip: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def hit(self, method: str, path: str) -> bool:
        if self.times == 0 or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Misbehave:
    """The faults in force. Rules are tried in the order they were given; the first that hits wins."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Behave again."""
        self.requests: list[Rule] = []  # faults of HTTP
        self.prompts: list[Rule] = []  # faults of a render
        self.silent = False
        self.deaf = False
        self.late_s: float | None = 0.0
        self.no_models: set[str] = set()

    def apply(self, kind: str, **options: Any) -> None:
        """Given a kind by name, as the control endpoint does, set it. Raise ValueError for an unknown one."""
        if kind not in KINDS:
            raise ValueError(f"unknown misbehaviour {kind!r}")
        getattr(self, kind)(**options)

    def _request(self, kind: str, path: str, method: str, times: int | None, skip: int, **options: Any) -> None:
        self.requests.append(Rule(kind, path, method, times, skip, options))

    def _prompt(self, kind: str, times: int | None, skip: int, **options: Any) -> None:
        self.prompts.append(Rule(kind, "", "", times, skip, options))

    # ---- HTTP

    def status(
        self, status: int = 500, path: str = "", *, method: str = "", times: int | None = 1, skip: int = 0
    ) -> None:
        """Answer with that status instead (500; 503 for a slow start)."""
        self._request("status", path, method, times, skip, status=status)

    def reset(self, path: str = "", *, method: str = "", times: int | None = 1, skip: int = 0) -> None:
        """Reset the connection before the request is looked at."""
        self._request("reset", path, method, times, skip)

    def lose_reply(
        self, path: str = "^/prompt$", *, method: str = "POST", times: int | None = 1, skip: int = 0
    ) -> None:
        """Do what is asked, then reset the connection: the client never learns that it worked."""
        self._request("lose_reply", path, method, times, skip)

    def post_twice(self, *, times: int | None = 1, skip: int = 0) -> None:
        """Deliver a POST /prompt twice, as a retrying proxy does: the same id is queued twice."""
        self._request("post_twice", "^/prompt$", "POST", times, skip)

    def truncate(self, path: str = "^/view$", *, times: int | None = 1, skip: int = 0, part: float = 0.5) -> None:
        """Announce the whole body, send that part of it, and cut the connection."""
        self._request("truncate", path, "GET", times, skip, part=part)

    def wrong_length(self, path: str = "^/view$", *, times: int | None = 1, skip: int = 0, by: int = -1000) -> None:
        """Announce a length that is off by so many bytes: less (the body is cut) or more (it never comes)."""
        self._request("wrong_length", path, "GET", times, skip, by=by)

    def endless(self, path: str = "^/view$", *, times: int | None = 1, skip: int = 0) -> None:
        """Send a body without a length that does not end."""
        self._request("endless", path, "GET", times, skip)

    def dribble(
        self, path: str = "", *, times: int | None = 1, skip: int = 0, size: int = 1, pause: float = 0.2
    ) -> None:
        """Send the right body, so many bytes at a time."""
        self._request("dribble", path, "GET", times, skip, size=size, pause=pause)

    def hang(self, path: str = "", *, method: str = "", times: int | None = 1, skip: int = 0) -> None:
        """Take the request and never answer."""
        self._request("hang", path, method, times, skip)

    def silent_socket(self, on: bool = True) -> None:
        """Accept websockets and say nothing on them."""
        self.silent = on

    def no_websocket(self, on: bool = True) -> None:
        """Refuse the websocket handshake (404), as a proxy without Upgrade support does."""
        self.deaf = on

    def missing_models(self, folder: str = "checkpoints") -> None:
        """Know no such folder: `/models/{folder}` is 404, the lists in object_info are empty."""
        self.no_models.add(folder)

    # ---- renders

    def history_late(self, seconds: float | None) -> None:
        """Write the history entry so long after `execution_success`; None: not until told otherwise."""
        self.late_s = seconds

    def oom(self, *, times: int | None = 1, skip: int = 0, until_free: bool = False) -> None:
        """Fail a prompt at its first sampler for want of memory; with `until_free` until `POST /free`."""
        self._prompt("oom", None if until_free else times, skip, until_free=until_free)

    def crash(
        self,
        *,
        times: int | None = 1,
        skip: int = 0,
        type: str = "RuntimeError",
        message: str = "mat1 and mat2 shapes cannot be multiplied (256x1024 and 4096x2048)\n",
    ) -> None:
        """Fail a prompt at its first sampler with that exception."""
        self._prompt("crash", times, skip, type=type, message=message)

    def stuck(self, *, times: int | None = 1, skip: int = 0) -> None:
        """Start a prompt and never get past its first node."""
        self._prompt("stuck", times, skip)

    def deaf_prompt(self, *, times: int | None = 1, skip: int = 0) -> None:
        """Say that a running prompt is interrupted, and let it end: only the next node, or step, would have heard."""
        self._prompt("deaf_prompt", times, skip)

    def lose_job(self, *, times: int | None = 1, skip: int = 0) -> None:
        """Accept a prompt and forget it when its turn comes: no trace anywhere."""
        self._prompt("lose_job", times, skip)

    def lose_file(self, *, times: int | None = 1, skip: int = 0) -> None:
        """Delete a prompt's files after it has succeeded: its outputs still list them."""
        self._prompt("lose_file", times, skip)

    def hostile_names(
        self, names: tuple[str, ...] | list[str] = HOSTILE_NAMES, *, times: int | None = 1, skip: int = 0
    ) -> None:
        """List these file names in the outputs instead of the true one."""
        self._prompt("hostile_names", times, skip, names=list(names))

    def spoil(self, what: str, *, times: int | None = 1, skip: int = 0, seeds: list[int] | None = None) -> None:
        """Make a film that is bad in one of the ways of SPOILS or LUCKLESS; with `seeds`, every film of these."""
        if what not in (*SPOILS, *LUCKLESS):
            raise ValueError(f"unknown way to spoil {what!r}")
        if seeds is not None:
            self._prompt("spoil_seed", None, 0, what=what, seeds=seeds)
        else:
            self._prompt("spoil", times, skip, what=what)

    # ---- for the server

    def request(self, method: str, path: str) -> Rule | None:
        return next((rule for rule in self.requests if rule.hit(method, path)), None)

    def prompt(self, *kinds: str) -> Rule | None:
        return next((rule for rule in self.prompts if rule.kind in kinds and rule.hit("", "")), None)

    def spoilt_seed(self, seeds: set[int]) -> Rule | None:
        """Given the seeds in a prompt, return the rule that spoils its film."""
        rules = [rule for rule in self.prompts if rule.kind == "spoil_seed"]
        return next((rule for rule in rules if seeds & set(rule.options["seeds"])), None)

    def freed(self) -> None:
        self.prompts = [rule for rule in self.prompts if not rule.options.get("until_free")]
