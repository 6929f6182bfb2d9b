"""Runs actions on this machine, a few at a time."""

from __future__ import annotations

import asyncio

from ltxflow.plan.status import Status
from ltxflow.steps import Job, step


class LocalExecutor:
    """At most `jobs` actions at once."""

    def __init__(self, jobs: int) -> None:
        self._places = asyncio.Semaphore(max(1, jobs))

    async def run(self, status: Status, job: Job) -> None:
        async with self._places:
            job.started("local")
            assert status.action is not None
            await step(status.node.kind).run(status.node, status.action, job)
