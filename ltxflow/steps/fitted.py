"""A video that a person gives, made to fit the film: its size and rate, upright, H.264 and AAC. Encoded once.

The action is of the file's bytes and the film's shape. Another release of the libraries changes no key: what was
converted once stays, as it was approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Action, Digest, Output, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Span, problem
from ltxflow.media.convert import fit_to_mp4
from ltxflow.media.fit import treatments
from ltxflow.media.probe import probe_mp4
from ltxflow.project.model import Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "fitted", "1", "cpu", "fitted"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class FittedSpec:
    """A video file, its digest and facts (`media.video.probe_video`), and the shape that it gets."""

    path: Path
    digest: Digest
    facts: Mapping[str, Any]
    size: tuple[int, int]
    fps: int


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield nothing: which files are fitted is decided by `ltxflow pin` (`build.pinning`), not by the project."""
    yield from ()


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    spec: FittedSpec = node.spec
    body: dict[str, Any] = {"size": list(spec.size), "fps": spec.fps}
    if done := treatments(spec.facts):
        body["treated"] = done
    return Action(KIND, VERSION, body, {"video": spec.digest}, ("video",))


def fields(node: Node) -> dict[str, Any]:
    spec: FittedSpec = node.spec
    return {"file": spec.path.name, "size": list(spec.size), "fps": spec.fps}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Convert in a thread. Raise LtxflowError for a file that changes meanwhile: the key is of its bytes."""
    spec: FittedSpec = node.spec
    out = job.folder / "video.mp4"

    def convert() -> None:
        before = files.signature(spec.path)
        fit_to_mp4(
            spec.path,
            out,
            spec.facts,
            spec.size,
            spec.fps,
            lambda done, total: job.progress(done / total, f"frame {done}/{total}"),
        )
        if before is None or files.signature(spec.path) != before or digest_file(spec.path) != spec.digest:
            raise LtxflowError(problem("C031.changed", file=spec.path.name), exit_code=FAILED)

    await asyncio.to_thread(convert)
    job.out["video"] = out
    job.facts["video"] = probe_mp4(out).as_json()
