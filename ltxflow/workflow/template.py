"""Read templates: their header, the parts they include, the variables they may use.

A template is a workflow in ComfyUI's API format with Jinja in it: `{{ … }}` writes its value as JSON, so
`"text": {{ prompt }}` needs no quotes and no text can escape it. It begins with a header, YAML in a comment:

    {# ltxflow-template: 1
    title: First frame to video
    way: a clip that starts from a picture
    needs: [reference]
    variables: [prompt, seed, …]
    #}

Parts shared by several templates are files named `_….j2` beside them; nothing else can be included.

The variables (the header lists those that the template uses; the others change no key):

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
| sampler_eta | null, or the amount of noise that the sampler of stage 1, euler_ancestral, adds |
| audio_cfg | of the sound, where it is guided apart from the picture |
| guidance | null, or {stg: {scale, blocks}, modality}: further guidance of stage 1 |
| stage2 | {sigmas, sampler, cfg, seed?, eta?, distilled?}; read where stages = 2; without a seed it is 0 |
| temporal_refined | whether the output of the temporal upscaler is sampled again, by stage2 |
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

A template that makes an image for `references:` saves it in a node titled "image". Its variables are prompt, negative,
seed, width, height (of the image, px) and prefix; it names its models itself.
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
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.workspace import opened_regular, read_text
from ltxflow.documents import yaml
from ltxflow.documents.document import shown
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.store.memo import Memory

if TYPE_CHECKING:
    from ltxflow.workflow import jinja

Structure = dict[str, tuple[str, dict[str, Any]]]  # node id → class, and input name → link or None

FORMAT = 1
SUFFIX = ".json.j2"
MAX_TEXT = 1 << 20  # characters of a template or a part


@dataclass(frozen=True)
class Header:
    """The header of a template: its title, its way of making a clip, its needs, the variables it reads."""

    title: str
    way: str = ""
    needs: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Template:
    """A template and the parts it includes. `digest` is of all their text; those of ltxflow are `trusted`.

    A project's template that cannot be read has `problems`, reported for the clips that use it.
    """

    name: str
    path: Path
    text: str
    digest: Digest
    header: Header
    trusted: bool
    parts: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)  # compiled code and parsed headers
    problems: tuple[Problem, ...] = ()

    @cached_property
    def compiled(self) -> jinja.Compiled:
        from ltxflow.workflow import jinja  # on first use: most plans render nothing

        return jinja.compile_text(self.shown, self.text, self.parts, memory=self.memory)

    @cached_property
    def nodes(self) -> dict[Digest, dict[str, Any]]:
        """Canonical nodes of its graphs by digest: actions share equal ones."""
        return {}

    @cached_property
    def structures(self) -> dict[bytes, Structure]:
        """Structures of its graphs by context without texts: many clips share one."""
        return {}


def read_templates(
    profile_name: str, project_folder: Path | None, memory: Memory | None = None
) -> Mapping[str, Template]:
    """Return the templates of a profile and of the project's folder by name.

    The project's `templates/<profile>/` shadows its `templates/`, which shadows ours; those of a profile shadow those
    of the profiles that it extends. A project's template that cannot be read or parsed has `problems`; for ours, raise
    LtxflowError. `memory` caches the results for each text.
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
    """Read the template `<name>.json.j2`, with the parts it includes from its folder."""
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
        with opened_regular(path) as file:
            data = file.read(4 * MAX_TEXT)
    except OSError:
        data = b""
    name = path.name.removesuffix(SUFFIX)
    return Template(name, path, "", digest_bytes(data), Header(""), False, shown=shown(path), problems=problems)


def _read(path: Path, where: str) -> str:
    try:
        text = read_text(path, 4 * MAX_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        raise LtxflowError(problem("T001.unreadable", Span(where, 1, 1), reason=error)) from None
    if len(text) > MAX_TEXT:
        raise LtxflowError(problem("T001.too-large", Span(where, 1, 1), most=MAX_TEXT))
    return text


def _parts(folder: Path, where: str, text: str, memory: Memory) -> dict[str, str]:
    """Read the parts that `text` includes, imports or extends, recursively."""
    parts: dict[str, str] = {}
    todo = [(where, text)]
    while todo:
        where, text = todo.pop()
        for name in _remembered(memory, "parts", text, lambda: _referenced(where, text)):  # noqa: B023 (called at once)
            if name in parts:
                continue
            if not re.fullmatch(r"_[A-Za-z0-9_-]+\.j2", name):
                raise LtxflowError(problem("T003.name", Span(where, _line_of(text, name), 1), name=name))
            if not (folder / name).is_file():
                span = Span(where, _line_of(text, name), 1)
                raise LtxflowError(problem("T003.missing", span, name=name, folder=shown(folder)))
            parts[name] = _read(folder / name, shown(folder / name))
            todo.append((shown(folder / name), parts[name]))
    return dict(sorted(parts.items()))


def _line_of(text: str, word: str) -> int:
    return text.count("\n", 0, max(text.find(word), 0)) + 1


def _remembered(memory: Memory, what: str, text: str, find: Callable[[], Any]) -> Any:
    """Return a property of a text, computed once: parsing is most of the cost of reading our templates."""
    name = f"template {what} {digest_bytes(text.encode())}"
    found = memory.get(name)
    if found is None:
        found = find()
        memory.put(name, found)
    return found


@lru_cache(maxsize=64)
def _referenced(where: str, text: str) -> tuple[str, ...]:
    """Return the parts that a text includes. Cached: the templates of a profile share one part."""
    from ltxflow.workflow import jinja  # on first use: most plans render nothing

    names = []
    for name in jinja.included_names(where, text):
        if name is None:
            raise LtxflowError(problem("T003.expression", Span(where, 1, 1)))
        names.append(name)
    return tuple(names)


def _header_of(text: str, where: str, memory: Memory) -> Header:
    """Return `_header`, from `memory` if it has it."""

    def find() -> list[Any]:
        header = _read_header(text, where)
        return [header.title, header.way, list(header.needs), sorted(header.variables)]

    title, way, needs, variables = _remembered(memory, "header", text, find)
    return Header(title, way, tuple(needs), frozenset(variables))


def _read_header(text: str, where: str) -> Header:
    """Parse the header of a template. Raise LtxflowError at the wrong line."""
    comment = re.match(r"\s*\{#-?(.*?)-?#\}", text, re.DOTALL)
    if comment is None or "ltxflow-template" not in comment[1]:
        raise LtxflowError(problem("T002.missing", Span(where, 1, 1)))
    before = text[: comment.start(1)]
    document = yaml.parse("\n" * before.count("\n") + comment[1].lstrip(" "), where)  # keeps line numbers
    data = document.data
    problems = []
    if not isinstance(data, dict):
        raise LtxflowError(problem("T002.not-mapping", Span(where, 1, 1)))
    if data.get("ltxflow-template") != FORMAT:
        format = repr(data.get("ltxflow-template"))
        problems.append(problem("T002.format", document.span(("ltxflow-template",)), format=format, known=FORMAT))
    for key in data:
        if key not in ("ltxflow-template", "title", "way", "needs", "variables"):
            problems.append(problem("T002.unknown-field", document.span((key,)), field=key))
    for key in ("title", "way"):
        if not isinstance(data.get(key, ""), str):
            problems.append(problem("T002.not-text", document.span((key,)), field=key))
    for key in ("needs", "variables"):
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            problems.append(problem("T002.not-names", document.span((key,)), field=key))
    if problems:
        raise LtxflowError(*problems)
    return Header(
        title=data.get("title", ""),
        way=data.get("way", ""),
        needs=tuple(data.get("needs", ())),
        variables=frozenset(data.get("variables", ())),
    )


def variables(template: Template) -> frozenset[str]:
    """Return the names of the context that a template, or a part of it, looks up."""
    from ltxflow.workflow import jinja  # on first use: most plans render nothing

    return jinja.undeclared_names([(template.shown, template.text), *template.parts.items()])
