"""A file that a person gives, made to fit the film, once: a video in its shape, a recording as wav.

The action is of the file's bytes and the film's shape. Another release of the libraries changes no key: what was
converted once stays, as it was approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Digest, Output, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Span, problem
from ltxflow.media.convert import fit_to_mp4
from ltxflow.media.fit import treatments
from ltxflow.media.mix import canonical
from ltxflow.media.probe import probe_mp4
from ltxflow.project.model import Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "fitted", "1", "cpu", "fitted"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class FittedSpec:
    """A file with its digest: a video with its facts (`media.video.probe_video`) and the shape it gets, or a sound."""

    path: Path
    digest: Digest
    facts: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None  # None for a sound
    fps: int = 0


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield nothing: `build.fitting` finds the files."""
    yield from ()


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    spec: FittedSpec = node.spec
    if spec.size is None:
        return Action(KIND, VERSION, {"sound": "wav"}, {"sound": spec.digest}, ("sound",))
    body: dict[str, Any] = {"size": list(spec.size), "fps": spec.fps}
    if done := treatments(spec.facts):
        body["treated"] = done
    return Action(KIND, VERSION, body, {"video": spec.digest}, ("video",))


def fields(node: Node) -> dict[str, Any]:
    spec: FittedSpec = node.spec
    shape = {} if spec.size is None else {"size": list(spec.size), "fps": spec.fps}
    return {"file": spec.path.name, **shape}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Convert in a thread. Raise LtxflowError for a file that has other bytes than the key says."""
    spec: FittedSpec = node.spec
    await asyncio.to_thread(_fit, spec, job)
    if digest_file(spec.path) != spec.digest:
        raise LtxflowError(problem("C031.changed", file=spec.path.name), exit_code=FAILED)


def _fit(spec: FittedSpec, job: ActionContext) -> None:
    if spec.size is None:
        out = job.folder / "sound.wav"
        made = canonical(spec.path, out)
        job.out["sound"] = out
        job.facts["sound"] = {"samples": made.samples, "sample_rate": made.sample_rate, "is_played": True}
        return
    out = job.folder / "video.mp4"

    def progress(done: int, total: int) -> None:
        job.progress(done / total, f"frame {done}/{total}")

    fit_to_mp4(spec.path, out, spec.facts, spec.size, spec.fps, progress)
    job.out["video"] = out
    job.facts["video"] = probe_mp4(out).as_json()
