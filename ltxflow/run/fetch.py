"""Fetches what a finished prompt made, and takes only what was asked for. Knows no queue and no journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.messages import JobState, OutputFile, clean
from ltxflow.core.digest import Digest
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.media import inspect
from ltxflow.media.convert import convert_to_mp4
from ltxflow.media.frames import decode_count
from ltxflow.media.image import open_image, read_image, save_png
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.media.strip import strip_mp4
from ltxflow.steps import Expected, Job, Order

PICTURES = ("last_frame", "image")
PICTURE = (".png",)
VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts")  # best first; what is no mp4 becomes one
PAUSES_S = (0.1, 0.5)  # between tries of one file
AUDIO_SLACK_S = 0.25  # of a workflow that is not ours: how much less sound than picture is let pass
SOUND_SLACK_S = 0.1  # of ours, below the length that comes by design: two blocks of AAC at 24 kHz
MAX_FILE = 4 << 30  # bytes of an output that we cannot predict: 20 s of 4K are far below
SPARE = 16 << 20  # bytes: containers, sound, the prompt that ComfyUI writes into it

Patiently = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class BadFile(Exception):
    """A file that came back is not what was asked for, or does not come whole."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@dataclass
class _Part:
    """One output on its way: where it is on the server and here, and what is known of it so far."""

    name: str
    output: OutputFile
    path: Path
    most: int  # bytes
    made: Path | None = None  # the mp4 that was made of it
    digest: Digest | None = None  # of the bytes as they came: what is kept is compared with it
    facts: dict[str, Any] | None = None  # once it is verified
    pauses: Iterator[float] = field(default_factory=lambda: iter(PAUSES_S))


async def fetch(
    client: Client,
    patiently: Patiently,
    state: JobState,
    order: Order,
    graph: Mapping[str, Any],
    job: Job,
    decoding: asyncio.Semaphore,
) -> None:
    """Given a finished prompt and its graph, put the verified files of its outputs into `job`, and the stripped one.

    `patiently` asks the server until it answers; `decoding` leaves processors for what servers wait for. Raise BadFile
    for a file that stays bad though it is fetched again; LtxflowError for what is no fault of the file: a full disk, a
    server that does not answer, a workflow that saves no video.
    """
    parts = [_part(name, node, state, order, graph, job.folder) for name, node in order.outputs(graph).items()]
    for part in parts:
        await _download(client, patiently, part)
    while True:
        async with decoding:
            found = await asyncio.to_thread(_take, parts, order, job)  # all in one go: a thread is no small matter
        if found is None:
            return
        part, bad = found
        await _pause(part, bad)
        await _download(client, patiently, part)


def _part(name: str, node: str, state: JobState, order: Order, graph: Mapping[str, Any], folder: Path) -> _Part:
    wanted = PICTURE if name in PICTURES else VIDEO
    output = _listed(state.outputs, node, wanted) or _listed(state.temporary, node, wanted)
    if output is None:
        others = [file.filename for file in (*state.outputs, *state.temporary) if file.node == node]
        if others:
            raise _unusable(name, node, graph, others[-1], order)
        raise BadFile(Problem(f'the server lists no file for "{name}"{_refused(state)}'))
    return _Part(name, output, folder / f"{name}{_suffix(output)}", _most_bytes(name, order))


def _unusable(name: str, node: str, graph: Mapping[str, Any], file: str, order: Order) -> LtxflowError:
    """To save it again would give the same: the workflow asks for it."""
    class_ = str(graph.get(node, {}).get("class_type", "node"))
    what, better = ("PNG", "by SaveImage") if name in PICTURES else ("video", "by SaveVideo")
    if class_.startswith("VHS_"):
        better = "format: video/h264-mp4"
    message = f'the workflow saves "{clean(file, 80)}" as "{name}", which is not a {what}'
    hint = f'save one there, {better}: node "{node}" ({class_}) of template "{order.template.name}"'
    return LtxflowError(Problem(message, order.span, hint, "C025"), exit_code=FAILED)


def _suffix(output: OutputFile) -> str:
    return Path(output.filename).suffix.lower()


async def _download(client: Client, patiently: Patiently, part: _Part) -> None:
    async def download() -> None:
        try:
            part.digest = await client.files.download(part.output, part.path, part.most)
        except LtxflowError as error:
            if error.problems[0].code in ("connection", "too-big", "output-gone"):
                raise BadFile(error.problems[0]) from None  # the server answers, but not with the whole file
            raise

    while True:
        try:
            await patiently(download)
            return
        except BadFile as bad:
            await _pause(part, bad)


async def _pause(part: _Part, bad: BadFile) -> None:
    """Wait before a bad file is fetched again; raise what is bad where that has no sense, or was tried enough."""
    pause = next(part.pauses, None)
    if pause is None or bad.problem.code in ("too-big", "output-gone"):
        raise bad
    await asyncio.sleep(pause)


def _take(parts: Sequence[_Part], order: Order, job: Job) -> tuple[_Part, BadFile] | None:
    """Verify what is not yet, then put all into the job; return the first that is bad instead, and how."""

    def look(video: Path) -> int:
        """What is published has the same pictures and the same sound: what is found here is found there."""
        found = inspect.inspect_video(video)
        job.found = found.as_json()
        return found.frames

    for part in parts:
        count = look if part.name == "video" and job.looks else decode_count
        try:
            if part.facts is None:
                part.made = _as_mp4(part, order, job)
                part.facts = verify(part.name, part.made or part.path, order, count)
        except BadFile as bad:
            return part, bad
    for part in parts:
        assert part.facts is not None
        assert part.digest is not None
        job.out[part.name], job.facts[part.name] = part.made or part.path, part.facts
        if part.made is None:
            job.digests[part.name] = part.digest
    if "image" in job.out:
        plain = job.folder / "plain.png"
        _plain_picture(job.out["image"], plain)
        job.out["image"] = plain
        del job.digests["image"]  # those were other bytes
    if "video" in job.out:
        published = job.folder / "published.mp4"
        _strip(job.out["video"], published)
        job.out["published"], job.facts["published"] = published, dict(job.facts["video"])
    return None


def _as_mp4(part: _Part, order: Order, job: Job) -> Path | None:
    """Make an mp4 of a video in another container, or of one without sound, as only workflows of users save them.

    What was done is kept for the trace. Return None where the file is one already.
    """
    job.versions.pop(f"converted.{part.name}", None)
    if part.name in PICTURES or (part.path.suffix == ".mp4" and (order.template.trusted or _has_sound(part.path))):
        return None
    made = part.path.with_name(f"{part.name}-converted.mp4")
    try:
        job.versions[f"converted.{part.name}"] = str(convert_to_mp4(part.path, made))
    except LtxflowError as error:
        raise BadFile(error.problems[0]) from None
    return made


def _has_sound(path: Path) -> bool:
    try:
        return probe_mp4(path).has_audio
    except LtxflowError:
        return True  # that it is damaged is found out, and reported, when it is verified


def verify(name: str, path: Path, order: Order, count: Callable[[Path], int] = decode_count) -> dict[str, Any]:
    """Given a file that came back for the output `name`, return its facts. Raise BadFile when it is another thing.

    The pictures and the sound are decoded, by `count`: a hole in the data shows in nothing else.
    """
    wanted = order.expected(name)
    try:
        if name in PICTURES:
            picture = read_image(path)
            _expect(name, "size", (picture.width, picture.height), wanted.size)
            return {"width": picture.width, "height": picture.height, "pixels": picture.pixels}
        facts = probe_mp4(path)
        decoded = count(path)
    except LtxflowError as error:
        raise BadFile(error.problems[0]) from None
    _expect(name, "size", (facts.width, facts.height), wanted.size)
    _expect(name, "frames", facts.frames, wanted.frames)
    _expect(name, "frame rate", facts.fps, wanted.fps)
    _expect(name, "frames that decode", decoded, facts.frames)
    if not facts.has_audio:
        raise BadFile(Problem(f"the {name} has no sound track"))
    if facts.audio_seconds < _least_sound(wanted, facts):
        short = f"{float(facts.audio_seconds):.2f} s of sound for {float(facts.seconds):.2f} s of picture"
        raise BadFile(Problem(f"the {name} has {short}"))
    return facts.as_json()


def _least_sound(wanted: Expected, facts: VideoFacts) -> float:
    """Return the seconds of sound below which some of it is missing. A video has no more sound than picture."""
    seconds = float(facts.seconds)
    return seconds - AUDIO_SLACK_S if wanted.sound_s is None else min(wanted.sound_s, seconds) - SOUND_SLACK_S


def _expect(name: str, what: str, found: object, wanted: object) -> None:
    if wanted is not None and found != wanted:
        raise BadFile(Problem(f"the {name} has {what} {_shown(found)}, not {_shown(wanted)}"))


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _listed(outputs: Sequence[OutputFile], node: str, suffixes: Sequence[str]) -> OutputFile | None:
    """Return the last file of a node that ends in the first of the suffixes that any has."""
    files = [file for file in outputs if file.node == node]
    found = ([file for file in files if _suffix(file) == suffix] for suffix in suffixes)
    return next((some[-1] for some in found if some), None)


def _refused(state: JobState) -> str:
    return f', only names that are none, such as "{state.refused[0]}"' if state.refused else ""


def _most_bytes(name: str, order: Order) -> int:
    """No honest file is larger than its pictures uncompressed."""
    wanted = order.expected(name)
    if wanted.size is None or wanted.frames is None:
        return MAX_FILE
    width, height = wanted.size
    return SPARE + 4 * width * height * (1 if name in PICTURES else wanted.frames)


def _plain_picture(picture: Path, plain: Path) -> None:
    """ComfyUI writes the prompt and the graph into what it saves."""
    try:
        save_png(open_image(picture), plain)
    except OSError as error:
        raise _unwritten(plain, error) from error


def _unwritten(path: Path, error: OSError) -> LtxflowError:
    problem = Problem(f'cannot write "{path}": {error.strerror or "failed"}', hint="free some space", code="disk")
    return LtxflowError(problem, exit_code=FAILED)


def _strip(video: Path, published: Path) -> None:
    try:
        strip_mp4(video, published)
    except OSError as error:
        raise _unwritten(published, error) from error
