"""Templates as files: what they say of themselves, the parts they include, the variables they may use.

A template is a workflow in ComfyUI's API format with Jinja in it: `{{ … }}` writes its value as JSON, so
`"text": {{ prompt }}` needs no quotes and cannot be broken out of. It opens with a header, YAML in a comment:

    {# ltxflow-template: 1
    title: First frame to video
    way: a clip that starts from a picture
    needs: [reference]
    variables: [prompt, seed, …]
    #}

Parts shared by several templates live beside them in files named `_….j2`; nothing else can be included.

The variables (a template names in its header those it uses; one it does not use changes no key):

| name | value |
|---|---|
| prompt, negative | text; for our templates `negative` is "" where cfg is 1: it has no effect there |
| seed | 0 … 2^53-1 |
| width, height | sampled size of stage 1, px |
| decoded_width, decoded_height | size of the decoded picture, px: twice the above with two stages |
| crop | null, or {x, y, width, height} in the decoded picture |
| frames, fps | sampled frames (8n+1) and their rate, whole numbers |
| stages | 1, or 2 with the x2 spatial upscaler |
| steps, cfg, sampler | of stage 1 |
| sigmas | text for ManualSigmas, or null: LTXVScheduler makes `steps` of them |
| sampler_eta | null, or how much noise the sampler of stage 1, euler_ancestral, adds |
| audio_cfg | of the sound, where it is guided apart from the picture |
| guidance | null, or {stg: {scale, blocks}, modality}: further guidance of stage 1 |
| stage2 | {sigmas, sampler, cfg, seed?, eta?, distilled?}; read where stages = 2; without a seed it is 0 |
| temporal_refined | whether what the temporal upscaler makes is sampled again, by stage2 |
| distilled, distilled_strength | whether stage 1 runs through the distilled LoRA; its strength, in both |
| loras | [{name, strength}], in the order they are chained, before the distilled one |
| reference | null, or the server's name of the first frame, prepared at the decoded size |
| reference_strength, reference_compression | of that frame: 0 … 1, and CRF |
| reference_strength2, last_frame_strength2 | the strength in stage 2 |
| first_frame_guides | whether the first frame is a guide where there is a last one, and not put into the latent |
| last_frame, last_frame_strength, last_frame_compression | the same of the frame a clip ends on |
| keyframes | [{image, index, index2, strength, strength2, compression}]: guides at frames; index2 is for stage 2 |
| models | role → file name: checkpoint (or diffusion_model, video_vae, audio_vae), text_encoder, distilled_lora, … |
| text_encoder_device | "default" or "cpu" |
| tiling | null, or {tile_size, overlap, temporal_size, temporal_overlap} for the decoder |
| temporal_upscale | whether the temporal upscaler doubles the frame rate: 2(frames-1)+1 frames at 2 fps |
| control | {lora, video, strength, mode, computed}; mode: canny, depth, pose, detailer, raw; computed: its map, here |
| sound | null, or the server's name of the sound file that the clip gives |
| extend | {video, frames, k, audio}: see `extend.json.j2`; audio: pinned, fresh |
| prefix | the start of the file names the server gives the outputs |

A template that makes an image for `references:` saves it by a node titled "image", and knows of these prompt, negative,
seed, width, height (of the image, px) and prefix; its models it names itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ltxflow.core.digest import Digest, digest_bytes, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.core.regular import read_text
from ltxflow.documents import yaml
from ltxflow.documents.paths import shown
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.store.memo import Memory

if TYPE_CHECKING:
    from ltxflow.workflow import jinja

Structure = dict[str, tuple[str, dict[str, Any]]]  # node id → class, and input name → link, None where it is none

FORMAT = 1
SUFFIX = ".json.j2"
MAX_TEXT = 1 << 20  # characters of a template or a part


@dataclass(frozen=True)
class Header:
    """What a template says of itself: its title, what it makes, what it needs, the variables it reads."""

    title: str
    way: str = ""
    needs: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Template:
    """A template and the parts it includes, as read. `digest` is of all their text; ours are `trusted`.

    One of a project's that cannot be read has `problems`, for the clip that names it: unused, it stops nothing.
    """

    name: str
    path: Path
    text: str
    digest: Digest
    header: Header
    trusted: bool
    parts: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)  # has what was compiled before
    problems: tuple[Problem, ...] = ()

    @cached_property
    def compiled(self) -> jinja.Compiled:
        from ltxflow.workflow import jinja  # on first use: a plan of what is made renders nothing

        return jinja.compiled(self.shown, self.text, self.parts, memory=self.memory)

    @cached_property
    def nodes(self) -> dict[Digest, dict[str, Any]]:
        """Nodes that it came to, as keys see them, by their digests: actions share what is equal in them."""
        return {}

    @cached_property
    def structures(self) -> dict[bytes, Structure]:
        """What was found for contexts without their texts: many clips share one."""
        return {}


def read_templates(
    profile_name: str, project_folder: Path | None, memory: Memory | None = None
) -> Mapping[str, Template]:
    """Given a profile's name and the project's folder, return name → template.

    The project's `templates/<profile>/` shadows its `templates/`, which shadows ours; a profile's own shadow those
    of the profiles that it extends. One of the project's that cannot be read, has no proper header, or is not
    Jinja carries its problems; for ours, raise LtxflowError. `memory` knows texts that were read before.
    """
    own = [project_folder / "templates"] if project_folder is not None else []
    names = load_profile(profile_name, own).sets[::-1]
    folders = [(templates_folder() / name, True) for name in names]
    for folder in own:
        folders += [(folder, False), *((folder / name, False) for name in names)]
    found: dict[str, Template] = {}
    problems: list[Problem] = []
    for folder, trusted in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                template = read_template(path, trusted, memory)
            except LtxflowError as error:
                if trusted:
                    problems += error.problems
                    continue
                template = _broken(path, error.problems)
            found[template.name] = template
    if problems:
        raise LtxflowError(*problems)
    return MappingProxyType(found)


def read_template(path: Path, trusted: bool, memory: Memory | None = None) -> Template:
    """Given a file `<name>.json.j2`, return the template, with the parts it includes from its own folder."""
    where, memory = shown(path), memory or Memory()
    text = _read(path, where)
    parts = _parts(path.parent, where, text, memory)
    return Template(
        name=path.name.removesuffix(SUFFIX),
        path=path,
        text=text,
        digest=digest_json({"text": text, "parts": parts}),
        header=_header_of(text, where, memory),
        trusted=trusted,
        parts=MappingProxyType(parts),
        shown=where,
        memory=memory,
    )


def _broken(path: Path, problems: tuple[Problem, ...]) -> Template:
    try:
        with path.open("rb") as file:
            data = file.read(4 * MAX_TEXT)
    except OSError:
        data = b""
    name = path.name.removesuffix(SUFFIX)
    return Template(name, path, "", digest_bytes(data), Header(""), False, shown=shown(path), problems=problems)


def _read(path: Path, where: str) -> str:
    try:
        text = read_text(path, 4 * MAX_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        raise LtxflowError(Problem(f"cannot read the template: {error}", Span(where, 1, 1), code="T001")) from None
    if len(text) > MAX_TEXT:
        raise LtxflowError(
            Problem(f"the template is larger than {MAX_TEXT} characters", Span(where, 1, 1), code="T001")
        )
    return text


def _parts(folder: Path, where: str, text: str, memory: Memory) -> dict[str, str]:
    """Read what `text` includes, imports or extends, and what those do in turn."""
    parts: dict[str, str] = {}
    todo = [(where, text)]
    while todo:
        where, text = todo.pop()
        for name in _remembered(memory, "parts", text, lambda: _referenced(where, text)):  # noqa: B023 (asked at once)
            if name in parts:
                continue
            if not re.fullmatch(r"_[A-Za-z0-9_-]+\.j2", name):
                raise LtxflowError(
                    Problem(
                        f'"{name}" cannot be included',
                        Span(where, _line_of(text, name), 1),
                        'a part is a file beside the template, named like "_parts.j2"',
                        "T003",
                    )
                )
            if not (folder / name).is_file():
                raise LtxflowError(
                    Problem(
                        f'no part "{name}"',
                        Span(where, _line_of(text, name), 1),
                        f"parts are looked for only in {shown(folder)}, beside the template",
                        "T003",
                    )
                )
            parts[name] = _read(folder / name, shown(folder / name))
            todo.append((shown(folder / name), parts[name]))
    return dict(sorted(parts.items()))


def _line_of(text: str, word: str) -> int:
    return text.count("\n", 0, max(text.find(word), 0)) + 1


def _remembered(memory: Memory, what: str, text: str, find: Callable[[], Any]) -> Any:
    """What follows from a text, found once: parsing our templates is most of what reading them costs."""
    name = f"template {what} {digest_bytes(text.encode())}"
    told = memory.get(name)
    if told is None:
        told = find()
        memory.put(name, told)
    return told


@lru_cache(maxsize=64)
def _referenced(where: str, text: str) -> tuple[str, ...]:
    """The parts that a text includes. Kept: of all templates of a profile the part is the same."""
    from ltxflow.workflow import jinja  # on first use: a plan of what is made renders nothing

    names = []
    for name in jinja.included(where, text):
        if name is None:
            raise LtxflowError(
                Problem(
                    "a part is named by an expression",
                    Span(where, 1, 1),
                    'write the name itself: {% import "_parts.j2" as part with context %}',
                    "T003",
                )
            )
        names.append(name)
    return tuple(names)


def _header_of(text: str, where: str, memory: Memory) -> Header:
    """As `_header`, where it is not remembered."""

    def find() -> list[Any]:
        header = _header(text, where)
        return [header.title, header.way, list(header.needs), sorted(header.variables)]

    title, way, needs, variables = _remembered(memory, "header", text, find)
    return Header(title, way, tuple(needs), frozenset(variables))


def _header(text: str, where: str) -> Header:
    """Given a template's text, return its header. Raise LtxflowError at the line that is wrong."""
    comment = re.match(r"\s*\{#-?(.*?)-?#\}", text, re.DOTALL)
    if comment is None or "ltxflow-template" not in comment[1]:
        raise LtxflowError(
            Problem(
                "the template has no header",
                Span(where, 1, 1),
                'begin it with a comment: {# ltxflow-template: 1 (new line) title: "…" #}',
                "T002",
            )
        )
    before = text[: comment.start(1)]
    document = yaml.parse("\n" * before.count("\n") + comment[1].lstrip(" "), where)  # the lines stay the file's
    data = document.data
    problems = []

    def wrong(message: str, path: tuple[str | int, ...], hint: str) -> None:
        problems.append(Problem(message, document.span(path), hint, "T002"))

    if not isinstance(data, dict):
        raise LtxflowError(Problem("the header is not a mapping", Span(where, 1, 1), "write name: value lines", "T002"))
    if data.get("ltxflow-template") != FORMAT:
        wrong(
            f"template format {data.get('ltxflow-template')!r} is not known",
            ("ltxflow-template",),
            f"this ltxflow reads format {FORMAT}",
        )
    for key in data:
        if key not in ("ltxflow-template", "title", "way", "needs", "variables"):
            wrong(f'unknown header field "{key}"', (key,), "a header has title, way, needs and variables")
    for key in ("title", "way"):
        if not isinstance(data.get(key, ""), str):
            wrong(f'"{key}" is not a text', (key,), "write it in quotes")
    for key in ("needs", "variables"):
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            wrong(f'"{key}" is not a list of names', (key,), f"such as {key}: [reference]")
    if problems:
        raise LtxflowError(*problems)
    return Header(
        title=data.get("title", ""),
        way=data.get("way", ""),
        needs=tuple(data.get("needs", ())),
        variables=frozenset(data.get("variables", ())),
    )


def variables(template: Template) -> frozenset[str]:
    """Given a template, return the names of the context that it, or a part of it, looks up."""
    from ltxflow.workflow import jinja  # on first use: a plan of what is made renders nothing

    return jinja.undeclared([(template.shown, template.text), *template.parts.items()])
