"""An executor that makes nothing: every output is a few bytes of its own, with the facts the action asks for.

It stands in the place of the pools: `ran` says what was run, in order. Knows no server and encodes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ltxflow.build.pipeline import Executors
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.media.findings import PRINT_FORMAT, PRINTS, WAVES, Findings, FrameRange
from ltxflow.plan.evaluate import Status
from ltxflow.steps import ActionContext, Node
from ltxflow.steps.clip.spec import ClipSpec

VIDEOS = ("video", "published", "uncropped")


class Canned:
    """Runs whatever it is given. `refuse` decides which targets fail; `meanwhile` is called once, before any."""

    def __init__(
        self, refuse: Callable[[str], bool] = lambda target: False, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self.ran: list[str] = []
        self._meanwhile = meanwhile
        self._refuse = refuse

    def executors(self) -> Executors:
        """Return it in the place of both executors of a build; nothing is asked of a server."""

        async def servers(*args: object) -> Canned:
            return self

        return Executors(lambda jobs: self, servers, lambda *args: None)

    async def run(self, status: Status, job: ActionContext) -> None:
        node, action = status.node, status.action
        assert action is not None
        job.started("canned")
        await asyncio.sleep(0)
        if self._refuse(node.target):
            raise LtxflowError(Problem(f"{node.target} was refused"), exit_code=FAILED)
        if node.kind == "inspect":
            job.out["findings"] = job.folder / "findings"
            job.out["findings"].write_bytes(f"findings of {status.key}".encode())
            job.facts["findings"] = fine(str(status.key), node.frames).as_json()
            return
        for name in action.outputs:
            job.out[name] = job.folder / name
            job.out[name].write_bytes(f"{name} of {status.key}".encode())
            job.facts[name] = facts(node, name) if name in VIDEOS else _picture(f"{name} of {status.key}")
        self.ran.append(node.target)

    def is_submitted(self, key: str) -> bool:
        return False

    def recorded(self, key: str) -> None:
        """Take part in the protocol of an executor that drives servers."""

    async def __aenter__(self) -> Canned:
        self._meanwhile()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _picture(text: str) -> dict[str, Any]:
    """The facts of a picture; each `text` is another one."""
    return {"pixels": hashlib.sha256(text.encode()).hexdigest(), "width": 256, "height": 256}


def fine(text: str, frames: int) -> Findings:
    """What a look at a lively clip finds; each `text` is another clip."""
    data = b"".join(hashlib.sha256(f"{text} {number}".encode()).digest() for number in range(PRINTS * 2))
    return Findings(
        frames=frames,
        seconds=3.88,
        frozen=FrameRange(),
        frozen_share=0.0,
        black=FrameRange(),
        motion_mean=0.5,
        motion_p90=0.9,
        luma=0.4,
        contrast=0.2,
        cuts=(),
        fingerprint=PRINT_FORMAT + base64.b64encode(data[: PRINTS * (WAVES**2 - 1)]).decode(),
        has_sound=True,
        sound_seconds=3.88,
        rms_db=-25.0,
        peak_db=-6.0,
        true_peak_db=-5.9,
        lufs=-24.0,
    )


def facts(node: Node, output: str) -> dict[str, Any]:
    """Given a node and the name of a video it makes, return what a probe would say of the file."""
    if node.kind == "slate":
        drawing = node.spec.drawing
        frames, fps, size = drawing.frames, drawing.fps, (drawing.width, drawing.height)
    else:
        shot: ClipSpec = node.spec
        known = shot.expected("video" if output == "published" else output)
        frames, fps = known.frames or node.frames, known.fps or shot.fps
        size = known.size or shot.geometry.delivered
    return {
        "frames": frames,
        "fps": str(fps),
        "width": size[0],
        "height": size[1],
        "seconds": f"{frames}/{fps}",
        "audio_rate": 48000,
        "audio_channels": 2,
        "audio_seconds": f"{frames}/{fps}",
    }
