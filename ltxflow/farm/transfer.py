"""Files to and from one server: a clip's graph made ready for it, and the outputs of a finished prompt, verified.

Knows no queue and no journal, and submits nothing.
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
from ltxflow.comfy.replies import JobState, OutputFile, clean
from ltxflow.comfy.signatures import as_link, core_classes
from ltxflow.comfy.transport import BROKEN, OUTPUT_GONE, TOO_LARGE
from ltxflow.core import files, memory_limit
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.farm.workers import Attempt, Worker
from ltxflow.media import inspection
from ltxflow.media.convert import convert_to_mp4
from ltxflow.media.image import decode_count, open_image, prepare_image, read_image, save_png
from ltxflow.media.mux import strip_mp4
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.media.video import has_playable_pictures, part_from, prepare_video, probe_video
from ltxflow.steps import ActionContext, Asset, Expected, RenderSpec

# An undeclared input: ComfyUI drops it, but its node cache is keyed by it (seen on 0.27.0 and 0.33.0).
NONCE = "ltxflow_forced"


async def prepare(attempt: Attempt, allowed: frozenset[str], signatures: Path) -> dict[str, Any]:
    """Resolve names, upload what the graph reads, and fit every node to this server's signatures.

    What was adapted is kept for the trace in the job's versions: `adapted.89.format.codec`.
    """
    clip, worker, spec = attempt.clip, attempt.worker, attempt.clip.spec
    names = await resolve_names(
        worker.inventory, spec.profile, spec.weights, spec.roles(clip.action), spec.loras, spec.path
    )
    stored = {asset.name: await upload(worker, asset, clip.job) for asset in spec.assets()}
    number = attempt.submission.attempt if attempt.submission else 1
    graph = spec.graph(names.models, names.loras, f"ltxflow/{clip.key[:16]}-{number}")
    graph = _renamed(graph, {name: real for name, real in stored.items() if name != real})
    fitted = await fit_graph(
        worker.inventory,
        graph,
        template=spec.template.name,
        span=spec.span,
        allowed=allowed,
        cache=signatures,
    )
    graph = attempt.graph = fitted.graph
    # a server's signatures also know the loaders among the foreign classes that the user allows
    problems = spec.unexpected_file_inputs(graph, worker.inventory.signatures, stored.values())
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
    versions = clip.job.versions
    for name in [name for name in versions if name.startswith("adapted.")]:  # from a server that refused it
        del versions[name]
    versions["comfyui"] = worker.inventory.stats.version if worker.inventory.stats else ""
    versions |= {f"model.{role}": name for role, name in names.models.items()}
    versions |= {f"adapted.{place}": how for place, how in fitted.changes.items()}
    if clip.nonce:
        graph = with_nonce(graph, clip.nonce)
    return graph


def plain_graph(spec: RenderSpec) -> dict[str, Any]:
    """Return the graph of a prompt that already runs, for its node ids and classes: its file names may differ."""
    return spec.graph({role: role for role in spec.weights}, {}, "ltxflow")


def with_nonce(graph: dict[str, Any], nonce: str) -> dict[str, Any]:
    """Return the graph so that a server executes every node of it, whatever its cache holds from other prompts.

    A node runs again when anything above it is new to the cache, so the nodes that read no other node get the nonce:
    loaders (a model file that was replaced under its name is read again) and the noise. Nodes outside the core may take
    inputs they do not declare; for those the core nodes that read them get it.
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
    """Replace the names of uploads: a server renames one when another file has its name."""
    if not names:
        return graph
    return {
        id: {**node, "inputs": {k: names.get(v, v) if isinstance(v, str) else v for k, v in node["inputs"].items()}}
        for id, node in graph.items()
    }


async def upload(worker: Worker, asset: Asset, job: ActionContext) -> str:
    """Upload a file that a graph reads, unless the server has it, and return the server's name for it."""
    folder, _, name = asset.name.partition("/")
    known = worker.uploaded.get(asset.name)
    return known or await worker.client.files.upload(name, await asyncio.to_thread(content, asset, job), folder)


def content(asset: Asset, job: ActionContext) -> bytes | Path:
    """Return what to upload for an asset: a prepared picture or video, a video as it is, or a clip's output.

    Always the very bytes of the key: a file that has changed since, or is damaged, is refused.
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
    """Return the part of a video that a clip reads, made to fit, from the very file of the key."""
    assert asset.video is not None
    source, out = asset.video.path, folder / asset.name.rpartition("/")[2]
    if out.exists():
        return out
    before = files.signature(source)
    if before is None or digest_file(source) != asset.recipe["video"]:
        raise _changed(source)
    draft = folder / f"{uuid4().hex}.mov"  # a clip may be uploaded to several servers at once
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
    return LtxflowError(problem("C031.changed", file=source.name), exit_code=FAILED)


def _copy(source: Path, digest: Digest, folder: Path, *, is_ours: bool) -> Path:
    """Return a private copy of a file, which cannot change while it is uploaded."""
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
        raise LtxflowError(problem("C031.damaged", digest=digest[:12]), exit_code=FAILED) from error
    return copy


PICTURES = ("last_frame", "image")
PICTURE = (".png",)
VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts")  # best first; others than mp4 are converted
PAUSES_S = (0.1, 0.5)  # between tries of one file
AUDIO_SLACK_S = 0.25  # of a project's workflow: how much shorter than the picture its sound may be
SOUND_SLACK_S = 0.1  # of ours, below the designed length: two blocks of AAC at 24 kHz
MAX_FILE = 4 << 30  # bytes of an output we cannot predict: 20 s of 4K are far below
SPARE = 16 << 20  # bytes: containers, sound, the prompt that ComfyUI writes into it

Patiently = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


class BadFile(Exception):
    """A returned file is not what was requested, or does not arrive whole."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@dataclass
class _Part:
    """One output being fetched: where it is on the server and here, and what is known of it so far."""

    name: str
    output: OutputFile
    path: Path
    limit: int  # bytes
    made: Path | None = None  # the mp4 converted from it
    digest: Digest | None = None  # of the bytes as they arrived: the kept file is compared with it
    facts: dict[str, Any] | None = None  # once it is verified
    pauses: Iterator[float] = field(default_factory=lambda: iter(PAUSES_S))


async def fetch(
    client: Client,
    patiently: Patiently,
    state: JobState,
    spec: RenderSpec,
    graph: Mapping[str, Any],
    job: ActionContext,
    decoding: asyncio.Semaphore,
) -> None:
    """Put the verified files of a finished prompt's outputs into `job`, and the stripped one.

    `patiently` repeats a request until the server answers; `decoding` leaves CPUs for what servers wait for. Raise
    BadFile for a file that stays bad when fetched again; LtxflowError for faults elsewhere: a full disk, a server that
    does not answer, a workflow that saves no video.
    """
    parts = [_part(name, node, state, spec, graph, job.folder) for name, node in spec.outputs(graph).items()]
    for part in parts:
        await _download(client, patiently, part)
    while True:
        async with decoding:
            found = await asyncio.to_thread(_take, parts, spec, job)  # all at once: a thread is expensive
        if found is None:
            return
        part, bad = found
        await _pause(part, bad)
        await _download(client, patiently, part)


def _part(name: str, node: str, state: JobState, spec: RenderSpec, graph: Mapping[str, Any], folder: Path) -> _Part:
    wanted = PICTURE if name in PICTURES else VIDEO
    output = _listed(state.outputs, node, wanted) or _listed(state.temporary, node, wanted)
    if output is None:
        others = [file.filename for file in (*state.outputs, *state.temporary) if file.node == node]
        if others:
            raise _unusable(name, node, graph, others[-1], spec)
        refused = f', only invalid names such as "{state.refused[0]}"' if state.refused else ""
        raise BadFile(problem("C100.not-listed", output=name, refused=refused))
    return _Part(name, output, folder / f"{name}{_suffix(output)}", _limit_of(name, spec))


def _unusable(name: str, node: str, graph: Mapping[str, Any], file: str, spec: RenderSpec) -> LtxflowError:
    """Return the error for a workflow that saves another kind of file: saving it again would give the same."""
    class_ = str(graph.get(node, {}).get("class_type", "node"))
    what, better = ("PNG", "by SaveImage") if name in PICTURES else ("video", "by SaveVideo")
    if class_.startswith("VHS_"):
        better = "format: video/h264-mp4"
    return LtxflowError(
        problem(
            "C025",
            spec.span,
            file=clean(file, 80),
            output=name,
            kind=what,
            better=better,
            node=node,
            class_type=class_,
            template=spec.template.name,
        ),
        exit_code=FAILED,
    )


def _suffix(output: OutputFile) -> str:
    return Path(output.filename).suffix.lower()


async def _download(client: Client, patiently: Patiently, part: _Part) -> None:
    async def download() -> None:
        try:
            part.digest = await client.files.download(part.output, part.path, part.limit)
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
    """Wait before a bad file is fetched again; raise the error where that is useless, or was tried enough."""
    pause = next(part.pauses, None)
    if pause is None or bad.problem.code in (TOO_LARGE, OUTPUT_GONE):
        raise bad
    await asyncio.sleep(pause)


def _take(parts: Sequence[_Part], spec: RenderSpec, job: ActionContext) -> tuple[_Part, BadFile] | None:
    """Verify the parts that are not yet, then put all into the job; return the first bad one instead, and its error."""

    def count_and_inspect(video: Path) -> int:
        """Inspect the video: the published one will have the same pictures and sound."""
        findings = inspection.inspect_video(video)
        job.found = findings.as_json()
        return findings.frames

    for part in parts:
        count = count_and_inspect if part.name == "video" and job.inspects else decode_count
        try:
            if part.facts is None:
                part.made = _as_mp4(part, spec, job)
                part.facts = verify(part.name, part.made or part.path, spec, count)
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
        strip_published(job.out["video"], published)
        job.out["published"], job.facts["published"] = published, dict(job.facts["video"])
    return None


def _as_mp4(part: _Part, spec: RenderSpec, job: ActionContext) -> Path | None:
    """Convert a video in another container or codec, or without sound, to mp4; only workflows of users save such.

    The conversion is kept for the trace. Return None where the file is an mp4 already.
    """
    job.versions.pop(f"converted.{part.name}", None)
    if part.name in PICTURES or (part.path.suffix == ".mp4" and (spec.template.trusted or _is_played(part.path))):
        return None
    made = part.path.with_name(f"{part.name}-converted.mp4")
    try:
        job.versions[f"converted.{part.name}"] = str(convert_to_mp4(part.path, made))
    except LtxflowError as error:
        raise BadFile(error.problems[0]) from None
    return made


def _is_played(path: Path) -> bool:
    """Return whether browsers play the pictures and the sound of an mp4, which may hold HEVC or 10-bit colours."""
    try:
        facts = probe_video(path)
    except LtxflowError:
        return True  # damage is found, and reported, when it is verified
    return has_playable_pictures(facts) and facts["format"]["sounds"][:1] == ["aac"]


def verify(name: str, path: Path, spec: RenderSpec, count: Callable[[Path], int] = decode_count) -> dict[str, Any]:
    """Return the facts of a file returned for the output `name`. Raise BadFile when it is not as expected.

    `count` decodes the pictures and the sound: nothing else shows a hole in the data.
    """
    wanted = spec.expected(name)
    try:
        if name in PICTURES:
            picture = read_image(path)
            _expect(name, "size", (picture.width, picture.height), wanted.size)
            return {"width": picture.width, "height": picture.height, "pixels": picture.pixels}
        facts = probe_mp4(path)
        decoded = count(path)
    except LtxflowError as error:
        if memory_limit.is_lack(error):
            raise memory_limit.lack() from error  # the file may be whole: it is not rendered again for that
        raise BadFile(error.problems[0]) from None
    _expect(name, "size", (facts.width, facts.height), wanted.size)
    _expect(name, "frames", facts.frames, wanted.frames)
    _expect(name, "frame rate", facts.fps, wanted.fps)
    _expect(name, "frames that decode", decoded, facts.frames)
    if not facts.has_audio:
        raise BadFile(problem("C100.no-sound", output=name))
    if facts.audio_seconds < _least_sound(wanted, facts):
        sound_s, picture_s = f"{float(facts.audio_seconds):.2f}", f"{float(facts.seconds):.2f}"
        raise BadFile(problem("C100.short-sound", output=name, sound_s=sound_s, picture_s=picture_s))
    return facts.as_json()


def _least_sound(wanted: Expected, facts: VideoFacts) -> float:
    """Return the seconds of sound below which some of it is missing. A video has no more sound than picture."""
    seconds = float(facts.seconds)
    return seconds - AUDIO_SLACK_S if wanted.sound_s is None else min(wanted.sound_s, seconds) - SOUND_SLACK_S


def _expect(name: str, what: str, found: object, wanted: object) -> None:
    if wanted is not None and found != wanted:
        raise BadFile(problem("C100.other", output=name, what=what, found=_shown(found), wanted=_shown(wanted)))


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _listed(outputs: Sequence[OutputFile], node: str, suffixes: Sequence[str]) -> OutputFile | None:
    """Return the last file of a node with the first of the suffixes that any of its files has."""
    files = [file for file in outputs if file.node == node]
    found = ([file for file in files if _suffix(file) == suffix] for suffix in suffixes)
    return next((some[-1] for some in found if some), None)


def _limit_of(name: str, spec: RenderSpec) -> int:
    """Return a limit for the bytes of an output: no honest file is larger than its pictures uncompressed."""
    wanted = spec.expected(name)
    if wanted.size is None or wanted.frames is None:
        return MAX_FILE
    width, height = wanted.size
    return SPARE + 4 * width * height * (1 if name in PICTURES else wanted.frames)


def _plain_picture(picture: Path, plain: Path) -> None:
    """Save a picture without the prompt and the graph that ComfyUI writes into it."""
    try:
        save_png(open_image(picture), plain)
    except OSError as error:
        raise files.refused("write", plain, error) from error


def strip_published(video: Path, published: Path) -> None:
    try:
        strip_mp4(video, published)
    except OSError as error:
        raise files.refused("write", published, error) from error
