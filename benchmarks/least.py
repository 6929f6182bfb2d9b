"""The least that any client of ComfyUI does for a clip: what a build's own cost is to be held against.

    python benchmarks/least.py http://127.0.0.1:8188 graph.json pictures/ out/

A picture is uploaded, a prompt queued, every message of its progress received, the job asked for, its file fetched,
hashed and written durably: four questions, through the same libraries (httpx, websockets), one clip after the other.
Nothing is checked, remembered, resumed or shown. In the graph `{picture}` stands for the name of a picture. Prints the
processor time a clip in ms, and how many messages one had.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect


async def follow(socket: ClientConnection, prompt_id: str) -> int:
    """Receive what the server says until the prompt is done; return how many messages that were."""
    messages = 0
    async for message in socket:
        messages += 1
        if isinstance(message, str) and '"execution_success"' in message and prompt_id in message:
            break
    return messages


def outputs(job: dict[str, Any]) -> Iterator[dict[str, str]]:
    for node in job["outputs"].values():
        for files in node.values():
            yield from (file for file in files if isinstance(file, dict) and "filename" in file)


async def make(client: httpx.AsyncClient, socket: ClientConnection, graph: str, picture: Path, out: Path) -> int:
    files = {"image": (picture.name, picture.read_bytes())}
    sent = await client.post("/upload/image", data={"subfolder": "ltxflow", "type": "input"}, files=files)
    prompt_id = str(uuid.uuid4())
    prompt = json.loads(graph.replace("{picture}", f"ltxflow/{sent.json()['name']}"))
    queued = await client.post("/prompt", json={"prompt": prompt, "prompt_id": prompt_id, "client_id": "least"})
    queued.raise_for_status()
    messages = await follow(socket, prompt_id)
    job = (await client.get(f"/api/jobs/{prompt_id}")).json()
    name = {part: next(outputs(job))[part] for part in ("filename", "subfolder", "type")}
    digest = hashlib.sha256()
    with (out / f"{picture.stem}.mp4").open("wb") as file:
        async with client.stream("GET", "/view", params=name) as response:
            async for piece in response.aiter_raw():
                digest.update(piece)
                file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return messages


async def main(url: str, graph: Path, pictures: Path, out: Path) -> None:
    text, messages = graph.read_text(), 0
    found = sorted(pictures.glob("*.png"))
    where = f"{url.replace('http', 'ws', 1)}/ws?clientId=least"
    async with httpx.AsyncClient(base_url=url) as client, connect(where, max_size=None, compression=None) as socket:
        began = time.process_time()
        for picture in found:
            messages += await make(client, socket, text, picture, out)
        spent = time.process_time() - began
    print(json.dumps({"ms": spent / len(found) * 1000, "messages": messages / len(found)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(Path, sys.argv[2:])))
