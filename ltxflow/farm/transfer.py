"""Makes a clip's graph ready for one server: names resolved, files sent, every node checked. Queues nothing.

Fetches what a finished prompt made, and takes only what was asked for. Knows no queue and no journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ltxflow.comfy.client import Client
from ltxflow.comfy.inventory import fit_graph, resolve_names
from ltxflow.comfy.replies import JobState, OutputFile
from ltxflow.comfy.signatures import as_link, core_classes
from ltxflow.comfy.transport import BROKEN, OUTPUT_GONE, TOO_LARGE
from ltxflow.comfy.untrusted import clean
from ltxflow.core import files, memory_limit
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.farm.workers import Attempt, Worker
from ltxflow.media import inspection
from ltxflow.media.convert import convert_to_mp4
from ltxflow.media.frames import decode_count
from ltxflow.media.image import open_image, prepare_image, read_image, save_png
from ltxflow.media.metadata import strip_mp4
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.media.video import part_from, prepare_video
from ltxflow.steps import ActionContext, Asset, Expected, RenderSpec

# An input that no node declares: ComfyUI drops it, and its node cache is keyed by it (seen on 0.27.0 and 0.33.0).
NONCE = "ltxflow_forced"


async def prepare(attempt: Attempt, allowed: frozenset[str], signatures: Path) -> dict[str, Any]:
    """Resolve names, send what the graph reads, and fit every node to this server's signatures.

    What was changed for that is kept for the trace, in the job's versions: `adapted.89.format.codec`.
    """
    ticket, machine, order = attempt.ticket, attempt.machine, attempt.ticket.order
    names = await resolve_names(
        machine.inventory, order.profile, order.weights, order.roles(ticket.action), order.loras, order.path
    )
    stored = {asset.name: await upload(machine, asset, ticket.job) for asset in order.assets()}
    number = attempt.submission.attempt if attempt.submission else 1
    graph = order.graph(names.models, names.loras, f"ltxflow/{ticket.key[:16]}-{number}")
    graph = _renamed(graph, {name: real for name, real in stored.items() if name != real})
    fitted = await fit_graph(
        machine.inventory,
        graph,
        template=order.template.name,
        span=order.span,
        allowed=allowed,
        cache=signatures,
    )
    graph = attempt.graph = fitted.graph
    # its own signatures also know the loaders among the foreign classes that the user allows
    strays = order.strays(graph, machine.inventory.signatures, stored.values())
    if strays:
        raise LtxflowError(*strays, exit_code=FAILED)
    versions = ticket.job.versions
    for name in [name for name in versions if name.startswith("adapted.")]:  # for a server that refused it
        del versions[name]
    versions["comfyui"] = machine.inventory.stats.version if machine.inventory.stats else ""
    versions |= {f"model.{role}": name for role, name in names.models.items()}
    versions |= {f"adapted.{place}": how for place, how in fitted.changes.items()}
    if ticket.nonce:
        graph = with_nonce(graph, ticket.nonce)
    return graph


def plain_graph(order: RenderSpec) -> dict[str, Any]:
    """The graph of a prompt that runs already, for its nodes' ids and classes: the files may have other names there."""
    return order.graph({role: role for role in order.weights}, {}, "ltxflow")


def with_nonce(graph: dict[str, Any], nonce: str) -> dict[str, Any]:
    """Return the graph so that a server executes every node of it, whatever its cache holds from other prompts.

    A node runs again when anything above it is new to the cache, so the nodes that read no other node get the nonce:
    loaders (a model file that was replaced under its name is read again) and the noise. Nodes that are not of the
    core may take inputs they do not declare; the core nodes that read those get it instead.
    """
    core = core_classes()
    is_core = {id: node["class_type"] in core for id, node in graph.items()}

    def reads(id: str) -> list[str]:
        links = map(as_link, graph[id]["inputs"].values())
        return [link[0] for link in links if link is not None and link[0] in graph]

    chosen = {id for id in graph if is_core[id] and not any(is_core[source] for source in reads(id))}
    chosen = chosen or {id for id in graph if not reads(id)}
    return {
        id: {**node, "inputs": {**node["inputs"], NONCE: nonce}} if id in chosen else node for id, node in graph.items()
    }


def _renamed(graph: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A server calls an upload otherwise when another file has that name: what it says counts."""
    if not names:
        return graph
    return {
        id: {**node, "inputs": {k: names.get(v, v) if isinstance(v, str) else v for k, v in node["inputs"].items()}}
        for id, node in graph.items()
    }


async def upload(machine: Worker, asset: Asset, job: ActionContext) -> str:
    """Send what a graph reads unless the server has it, and return the server's name for it."""
    folder, _, name = asset.name.partition("/")
    known = machine.uploaded.get(asset.name)
    return known or await machine.client.files.upload(name, await asyncio.to_thread(content, asset, job), folder)


def content(asset: Asset, job: ActionContext) -> bytes | Path:
    """What is sent for an asset: a picture or a video prepared for this clip, a video as it is, or what another clip
    made.

    Always the very bytes that the key was made of: a file that was edited meanwhile, or rotted, is refused.
    """
    if asset.video is not None and "take" in asset.recipe:
        return _fitted(asset, job.folder)
    if asset.video is not None or asset.image is None:
        source = asset.video.path if asset.video is not None else job.inputs[asset.input]
        digest = asset.recipe.get("sound") or asset.recipe["video"]
        return _copy(source, Digest(digest), job.folder, is_ours=asset.video is None)
    fit = asset.recipe["fit"]
    focus = asset.recipe["focus"] or (0.5, 0.5)
    width, height = asset.recipe["size"]
    path = job.inputs[asset.input] if asset.input else asset.image.path
    return prepare_image(path, (width, height), fit, tuple(focus), asset.image.pixels)


def _fitted(asset: Asset, folder: Path) -> Path:
    """The part of a video that a clip reads, made to fit; from the very file that the key was made of."""
    assert asset.video is not None
    source, out = asset.video.path, folder / asset.name.rpartition("/")[2]
    if out.exists():
        return out
    before = files.signature(source)
    if before is None or digest_file(source) != asset.recipe["video"]:
        raise _changed(source)
    draft = folder / f"{uuid4().hex}.mov"  # a clip may be sent to several servers at once
    try:
        prepare_video(source, draft, part_from(asset.recipe), asset.video.facts)
    except LtxflowError as error:
        problems = (replace(problem, span=problem.span or asset.video.span) for problem in error.problems)
        raise LtxflowError(*problems, exit_code=FAILED) from error
    if files.signature(source) != before:
        raise _changed(source)
    draft.replace(out)
    return out


def _changed(source: Path) -> LtxflowError:
    message, hint = f'"{source.name}" changed while the film was being built', "build again, to use it as it is now"
    return LtxflowError(Problem(message, hint=hint, code="C031"), exit_code=FAILED)


def _copy(source: Path, digest: Digest, folder: Path, *, is_ours: bool) -> Path:
    """A copy of a file that nobody else writes to: what is sent cannot change while it is sent."""
    copy = folder / f"{digest[:16]}{source.suffix}"
    if copy.exists():
        return copy
    try:
        files.copy_into(source, copy, expect=digest)
    except LtxflowError as error:
        if not source.exists():
            raise
        if not is_ours:
            raise _changed(source) from error
        message = f"a file in the store is damaged: {digest[:12]}…"
        hint = "ltxflow cache verify --repair sets it aside; the next build makes it again"
        raise LtxflowError(Problem(message, hint=hint, code="C031"), exit_code=FAILED) from error
    return copy


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
    order: RenderSpec,
    graph: Mapping[str, Any],
    job: ActionContext,
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


def _part(name: str, node: str, state: JobState, order: RenderSpec, graph: Mapping[str, Any], folder: Path) -> _Part:
    wanted = PICTURE if name in PICTURES else VIDEO
    output = _listed(state.outputs, node, wanted) or _listed(state.temporary, node, wanted)
    if output is None:
        others = [file.filename for file in (*state.outputs, *state.temporary) if file.node == node]
        if others:
            raise _unusable(name, node, graph, others[-1], order)
        raise BadFile(Problem(f'the server lists no file for "{name}"{_refused(state)}'))
    return _Part(name, output, folder / f"{name}{_suffix(output)}", _most_bytes(name, order))


def _unusable(name: str, node: str, graph: Mapping[str, Any], file: str, order: RenderSpec) -> LtxflowError:
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
            if error.problems[0].code in (BROKEN, TOO_LARGE, OUTPUT_GONE):
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
    if pause is None or bad.problem.code in (TOO_LARGE, OUTPUT_GONE):
        raise bad
    await asyncio.sleep(pause)


def _take(parts: Sequence[_Part], order: RenderSpec, job: ActionContext) -> tuple[_Part, BadFile] | None:
    """Verify what is not yet, then put all into the job; return the first that is bad instead, and how."""

    def look(video: Path) -> int:
        """What is published has the same pictures and the same sound: what is found here is found there."""
        found = inspection.inspect_video(video)
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


def _as_mp4(part: _Part, order: RenderSpec, job: ActionContext) -> Path | None:
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


def verify(name: str, path: Path, order: RenderSpec, count: Callable[[Path], int] = decode_count) -> dict[str, Any]:
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
        if memory_limit.is_lack(error):
            raise memory_limit.lack() from error  # the file may be whole: it is not made again for that
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


def _most_bytes(name: str, order: RenderSpec) -> int:
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
