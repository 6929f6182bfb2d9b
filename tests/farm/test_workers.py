"""When patience with a server ends: at once for what never came there, after a while for a process that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakes.comfyui import FakeComfy

from ltxflow.comfy.discovery import Server
from ltxflow.farm.workers import Attempt, QueuedClip, Unreachable, Workers

PATIENT_S = 3600.0


@pytest.fixture
def servers() -> Iterator[tuple[FakeComfy, FakeComfy]]:
    with FakeComfy() as one, FakeComfy() as two:
        yield one, two


def drive(
    servers: tuple[FakeComfy, FakeComfy], dead_after_s: float, test: Callable[[Workers], Awaitable[None]]
) -> None:
    """Run a test with both servers open."""

    async def work() -> None:
        tasks = []

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            tasks.append(asyncio.create_task(work))
            return tasks[-1]

        workers = Workers(PATIENT_S, dead_after_s, lambda text, level: None, lambda: None, spawn)
        try:
            await workers.open([Server(server.url) for server in servers], lambda name: None, {})
            async with asyncio.timeout(20):
                await test(workers)
        finally:
            for task in tasks:
                task.cancel()
            await workers.close()

    asyncio.run(work())


def attempt_on(workers: Workers, place: int = 0) -> Attempt:
    return Attempt(cast(QueuedClip, SimpleNamespace(excluded={})), workers.all[place])


def test_what_certainly_never_came_there_goes_elsewhere_at_once(servers: tuple[FakeComfy, FakeComfy]) -> None:
    async def test(workers: Workers) -> None:
        attempt, asked = attempt_on(workers), 0
        servers[0].stop_listening()

        async def ask() -> None:
            nonlocal asked
            asked += 1
            await attempt.worker.client.queue_remaining()

        with pytest.raises(Unreachable):
            await workers.patiently(attempt, ask, may_leave=lambda: True)
        assert asked == 1
        assert workers.describe_silence(attempt.worker).endswith(" refused the connection")

    drive(servers, 600.0, test)


@pytest.mark.parametrize("is_doubtful", [True, False])
def test_what_may_have_come_there_waits_until_the_process_is_surely_gone(
    servers: tuple[FakeComfy, FakeComfy], is_doubtful: bool
) -> None:
    async def test(workers: Workers) -> None:
        attempt = attempt_on(workers)
        servers[0].stop_listening()
        with pytest.raises(Unreachable):
            await workers.patiently(attempt, attempt.worker.client.queue_remaining, may_leave=lambda: not is_doubtful)
        assert workers.has_stopped(attempt.worker) is is_doubtful

    drive(servers, 0.5 if is_doubtful else 600.0, test)


def test_a_server_that_answers_with_errors_has_not_stopped(servers: tuple[FakeComfy, FakeComfy]) -> None:
    async def test(workers: Workers) -> None:
        attempt = attempt_on(workers)
        servers[0].misbehave.reset(times=5)
        await workers.patiently(attempt, attempt.worker.client.queue_remaining)
        assert not workers.has_stopped(attempt.worker)

    drive(servers, 0.0, test)


def test_nothing_is_gained_by_leaving_where_no_other_has_room(servers: tuple[FakeComfy, FakeComfy]) -> None:
    async def test(workers: Workers) -> None:
        attempt = attempt_on(workers)
        workers.all[1].queue += [attempt_on(workers, 1), attempt_on(workers, 1)]
        servers[0].stop_listening()

        async def ask() -> int:
            if workers.has_stopped(attempt.worker):
                servers[0].listen()  # and it answers
            return await attempt.worker.client.queue_remaining()

        assert await workers.patiently(attempt, ask) == 0

    drive(servers, 0.0, test)
