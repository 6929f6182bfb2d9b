"""The server under test, and how large and long what is rendered there is."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from ltxflow.comfy.client import Client, prompt_id_for
from ltxflow.comfy.discovery import Server

T = TypeVar("T")

# Read at once: tests see no LTXFLOW_… variable of the person who runs them.
URL = os.environ.get("LTXFLOW_TEST_SERVER", "")
SIZE = os.environ.get("LTXFLOW_TEST_SIZE", "256x256")
FRAMES = int(os.environ.get("LTXFLOW_TEST_FRAMES", "17"))
FPS = int(os.environ.get("LTXFLOW_TEST_FPS", "24"))


@dataclass(frozen=True)
class Live:
    """The server, and how large and long what is rendered there is."""

    url: str
    size: tuple[int, int]
    frames: int
    fps: int

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Given a function of a client, run it with one, opened and closed for it."""

        async def run() -> T:
            async with Client(Server(self.url)) as client:
                return await question(client)

        return asyncio.run(run())


def new_id() -> str:
    """An id that no prompt has."""
    return prompt_id_for(uuid.uuid4().hex, 1)
