"""Render untrusted templates in a child process, bounded in memory, time and output, and without secrets.

Both sides are here: the request of the parent, and the child's reply. The renderer is passed in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Digest
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.workflow.jinja import MAX_OUTPUT
from ltxflow.workflow.template import Header, Template

try:
    import resource
except ImportError:  # Windows: the child has only a wall clock limit
    resource = None  # type: ignore[assignment]

CHILD_MEMORY = 512 << 20  # bytes of address space
CHILD_SECONDS = 5  # of CPU time for starting, and 1 for every PER_SECOND contexts
CHILD_WALL_SECONDS = 30
PER_SECOND = 20
CHILD_ENVIRONMENT = ("PYTHONPATH", "HOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "APPDATA")  # to find ltxflow; no secrets


def render_in_child(template: Template, contexts: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the unchecked results of rendering contexts in a child process.

    Raise LtxflowError with the problems that it reports, or if it exceeds its bounds.
    """
    seconds = CHILD_SECONDS + len(contexts) // PER_SECOND
    span = Span(template.shown, 1, 1)
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as reply:
        request.write(
            json.dumps(
                {
                    "name": template.name,
                    "text": template.text,
                    "parts": dict(template.parts),
                    "shown": template.shown,
                    "contexts": [dict(context) for context in contexts],
                    "seconds": seconds,
                },
                default=_plain,
            ).encode()
        )
        request.seek(0)
        try:
            code = subprocess.run(
                [sys.executable, "-P", "-m", "ltxflow.workflow.render"],
                stdin=request,
                stdout=reply,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ},
                cwd=tempfile.gettempdir(),
                timeout=CHILD_WALL_SECONDS + seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise LtxflowError(problem("T006.wall-time", span)) from None
        reply.seek(0)
        output = reply.read(_max_reply(len(contexts)))
    try:
        answer = json.loads(output)
    except ValueError:
        raise LtxflowError(_exit_problem(code, seconds, span)) from None
    if "problems" in answer:
        raise LtxflowError(
            *(
                Problem(p["message"], Span(*p["span"]) if p["span"] else None, p["hint"], p["code"])
                for p in answer["problems"]
            )
        )
    graphs: list[Any] = answer["graphs"]
    return graphs


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _max_reply(contexts: int) -> int:
    return MAX_OUTPUT * min(contexts, 16) + 1024


def _exit_problem(code: int, seconds: int, span: Span) -> Problem:
    """Return the problem of a child without a reply: killed for CPU time (SIGXCPU, SIGKILL) or output (SIGXFSZ)."""
    if code in (-24, -9):
        return problem("T006.time", span, seconds=seconds)
    if code == -25:
        return problem("T006.output-limit", span)
    return problem("T006.exit", span, code=code)


def _limit(seconds: int, contexts: int) -> None:
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY, CHILD_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_max_reply(contexts), _max_reply(contexts)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(render: Callable[[Template, Sequence[Mapping[str, Any]]], list[dict[str, Any]]]) -> None:
    """Serve as the child: read a request from stdin, `render` it, write {"graphs": …} or {"problems": …} to stdout."""
    request = json.load(sys.stdin.buffer)
    _limit(request["seconds"], len(request["contexts"]))
    template = Template(
        name=request["name"],
        path=Path(request["shown"]),
        text=request["text"],
        digest=Digest(""),
        header=Header(""),
        trusted=True,  # in this process it can do no harm
        parts=request["parts"],
        shown=request["shown"],
    )
    try:
        answer: dict[str, Any] = {"graphs": render(template, request["contexts"])}
    except LtxflowError as error:
        answer = {"problems": list(_as_data(error.problems))}
    except MemoryError:
        found = problem("T006.memory", Span(template.shown, 1, 1), megabytes=CHILD_MEMORY >> 20)
        answer = {"problems": list(_as_data([found]))}
    except RecursionError:
        answer = {"problems": list(_as_data([problem("T006.recursion", Span(template.shown, 1, 1))]))}
    sys.stdout.write(json.dumps(answer))


def _as_data(problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
    for p in problems:
        span = [p.span.file, p.span.line, p.span.col] if p.span else None
        yield {"message": p.message, "span": span, "hint": p.hint, "code": p.code}
