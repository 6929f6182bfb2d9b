"""Renders a template to a ComfyUI graph. Knows Jinja and what a graph looks like, not what a clip is.

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
| stage2 | {sigmas, sampler, cfg, seed?}; read where stages = 2; without a seed it is 0 |
| distilled, distilled_strength | whether stage 1 runs through the distilled LoRA; its strength, in both |
| loras | [{name, strength}], in the order they are chained, before the distilled one |
| reference | null, or the server's name of the first frame, prepared at the decoded size |
| reference_strength, reference_compression | of that frame: 0 … 1, and CRF |
| last_frame, last_frame_strength, last_frame_compression | the same of the frame a clip ends on |
| models | role → file name: checkpoint (or diffusion_model, video_vae, audio_vae), text_encoder, distilled_lora, … |
| text_encoder_device | "default" or "cpu" |
| tiling | null, or {tile_size, overlap, temporal_size, temporal_overlap} for the decoder |
| temporal_upscale | whether the temporal upscaler doubles the frame rate: 2(frames-1)+1 frames at 2 fps |
| control | {lora, video, strength, mode}; mode: canny, depth, pose, detailer, raw |
| extend | {video, frames, k, audio}: see `extend.json.j2`; audio: pinned, fresh |
| prefix | the start of the file names the server gives the outputs |

A template that makes an image for `references:` saves it by a node titled "image", and knows of these prompt, negative,
seed, width, height (of the image, px) and prefix; its models it names itself.

Run as a program (`python -m ltxflow.script.template`) it renders what it reads from its standard input: the
child in which templates that are not ours run, with bounds on memory, time and output.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import jinja2
import jinja2.compiler
import jinja2.meta
import jinja2.sandbox
from markupsafe import Markup

from ltxflow.core import files
from ltxflow.core.digest import Digest, canonical, digest_bytes, digest_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.script import yaml
from ltxflow.script.paths import shown
from ltxflow.script.profile import load_profile, templates_folder
from ltxflow.store.memory import Memory

try:
    import resource
except ImportError:  # Windows: the child then has a wall clock limit only
    resource = None  # type: ignore[assignment]

Graph = dict[str, Any]
Structure = dict[str, tuple[str, dict[str, Any]]]  # node id → class, and input name → link, None where it is none

FORMAT = 1
SUFFIX = ".json.j2"

# Bounds of one render. The largest of our templates makes 60 nodes, 20 kB, in about 2 ms.
MAX_TEXT = 1 << 20  # characters of a template or a part
MAX_OUTPUT = 4 << 20  # characters of one graph
CHILD_MEMORY = 512 << 20  # bytes of address space
CHILD_SECONDS = 5  # of processor time for starting, and 1 for every PER_SECOND contexts
CHILD_WALL_SECONDS = 30
PER_SECOND = 20
CHILD_ENVIRONMENT = (
    "PYTHONPATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "APPDATA",
)  # what finding us takes; no keys

# Values a template may branch on. Every other text is replaced by a dummy for the structure check, so that a
# text which adds a node, a link or an input is caught.
STRUCTURAL = frozenset(
    {
        ("sigmas",),
        ("sampler",),
        ("stage2", "sigmas"),
        ("stage2", "sampler"),
        ("text_encoder_device",),
        ("control", "mode"),
        ("extend", "audio"),
    }
)
SEEDS = frozenset({("seed",), ("stage2", "seed")})  # numbers that decide no more than a text may
DUMMY = "dummy"

# Filters that would make a text pass as JSON already written, or that do not give the same result every time.
FORBIDDEN_FILTERS = ("safe", "escape", "e", "forceescape", "urlize", "xmlattr", "random")
GLOBALS = ("range", "namespace", "dict")


@dataclass(frozen=True)
class Header:
    """What a template says of itself: its title, what it makes, what it needs, the variables it reads."""

    title: str
    way: str = ""
    needs: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Template:
    """A template and the parts it includes, as read. `digest` is of all their text; ours are `trusted`."""

    name: str
    path: Path
    text: str
    digest: Digest
    header: Header
    trusted: bool
    parts: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)  # has what was compiled before

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return _compile(self.shown, self.text, self.parts, memory=self.memory)

    @cached_property
    def nodes(self) -> dict[Digest, dict[str, Any]]:
        """Nodes that it came to, as keys see them, by their digests: actions share what is equal in them."""
        return {}

    @cached_property
    def _structures(self) -> dict[bytes, Structure]:
        """What was found for contexts without their texts: many clips share one."""
        return {}


# --- reading --------------------------------------------------------------------------------------


def read_templates(
    profile_name: str, project_folder: Path | None, memory: Memory | None = None
) -> Mapping[str, Template]:
    """Given a profile's name and the project's folder, return name → template.

    The project's `templates/<profile>/` shadows its `templates/`, which shadows ours; a profile's own shadow those
    of the profile whose templates it uses. Raise LtxflowError with the problems of every file that cannot be read,
    has no proper header, or is not Jinja. `memory` knows texts that were read before.
    """
    own = [project_folder / "templates"] if project_folder is not None else []
    names = [name for name in (load_profile(profile_name, own).templates, profile_name) if name]
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
                problems += error.problems
            else:
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


def _read(path: Path, where: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_TEXT + 1)
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
    names = []
    for name in jinja2.meta.find_referenced_templates(_parse(where, text)):
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


class _Names(jinja2.meta.TrackingCodeGenerator):
    """Jinja's `find_undeclared_variables` without its constant folding, which would compute `"a" * 10**9` here."""

    def of(self, tree: jinja2.nodes.Template) -> set[str]:
        self.optimizer = None
        self.visit(tree)
        return self.undeclared_identifiers


def variables(template: Template) -> frozenset[str]:
    """Given a template, return the names of the context that it, or a part of it, looks up."""
    names: set[str] = set()
    for where, text in [(template.shown, template.text), *template.parts.items()]:
        names |= _Names(_environment()).of(_parse(where, text))
    return frozenset(names - set(GLOBALS))


# --- the environment ------------------------------------------------------------------------------


_JSON = json.JSONEncoder(allow_nan=False)


@jinja2.pass_context  # also keeps Jinja from folding constants past it: `{{ true }}` must give true, not True
def _as_json(_context: jinja2.runtime.Context, value: object) -> Markup:
    """Given a value a template writes, return it as JSON. What a macro returns is JSON already and stays."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, jinja2.Undefined):
        str(value)  # StrictUndefined raises, with the name
    try:
        return _told(value) if isinstance(value, str | int) else Markup(_JSON.encode(value))
    except (TypeError, ValueError):
        raise jinja2.TemplateRuntimeError(f"{type(value).__name__} cannot be written as JSON") from None


@lru_cache(maxsize=256, typed=True)  # typed: True is no 1. No fractions: 0.0 and -0.0 are equal and written otherwise
def _told(value: str | int) -> Markup:
    """Most of what is written are the same names and numbers for every clip."""
    return Markup(_JSON.encode(value))


def _environment(loader: jinja2.BaseLoader | None = None, memory: Memory | None = None) -> jinja2.Environment:
    """Return an environment where values become JSON, as in others HTML: autoescape on, JSON the escape."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=loader,
        bytecode_cache=_Compiled(memory) if memory else None,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_as_json,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in FORBIDDEN_FILTERS:
        del environment.filters[name]
    for name in [name for name in environment.globals if name not in GLOBALS]:
        del environment.globals[name]
    return environment


def _parse(where: str, text: str) -> jinja2.nodes.Template:
    try:
        return _environment().parse(text, filename=where)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_problem(error, where) from None
    except (RecursionError, ValueError) as error:  # "((((…", a number of 5000 digits
        raise LtxflowError(Problem(f"the template cannot be read: {error}", Span(where, 1, 1), code="T004")) from None


def _syntax_problem(error: jinja2.TemplateSyntaxError, where: str) -> LtxflowError:
    message = (error.message or "not Jinja").rstrip(".").replace("'", '"')
    return LtxflowError(
        Problem(message[:1].lower() + message[1:], Span(error.filename or where, error.lineno, 1), code="T004")
    )


class _Compiled(jinja2.BytecodeCache):
    """Keeps the code that Jinja makes of our own templates: that takes longer than to render a hundred clips.

    It is named for the text, by Jinja for its format and Python's, and for the very Jinja that made it.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        told = self._memory.get(self._name(bucket))
        if isinstance(told, str):
            bucket.bytecode_from_string(base64.b64decode(told))

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        self._memory.put(self._name(bucket), base64.b64encode(bucket.bytecode_to_string()).decode())

    def _name(self, bucket: jinja2.bccache.Bucket) -> str:
        made_by = files.signature(jinja2.compiler.__file__)
        return f"template code {bucket.key} {bucket.checksum} {made_by}"


def _compile(
    where: str,
    text: str,
    parts: Mapping[str, str],
    change: Callable[[str, str], str] | None = None,
    memory: Memory | None = None,
) -> jinja2.Template:
    """Compile a template that finds its parts by name in `parts`; `change` may rewrite each text first."""
    sources = {"": (where, text)}
    sources |= {name: (str(Path(where).with_name(name)), part) for name, part in parts.items()}

    def source(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        if name not in sources:
            return None
        shown_as, original = sources[name]
        return (change(shown_as, original) if change else original), shown_as, lambda: True

    try:
        return _environment(jinja2.FunctionLoader(source), memory).get_template("")
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_problem(error, where) from None


# --- rendering ------------------------------------------------------------------------------------


def render(template: Template, context: Mapping[str, Any]) -> Graph:
    """Given a template and its variables, return the graph: node id → {class_type, inputs, _meta?}.

    Raise LtxflowError, with the template's line, when a variable is missing, when the result is not JSON or
    not a graph, or when a text would change the graph's structure. One that is not ours renders in a child
    with bounds.
    """
    return render_many(template, [context])[0]


def render_many(template: Template, contexts: Sequence[Mapping[str, Any]]) -> list[Graph]:
    """Given a template and several contexts, return their graphs. One child serves all. Raise as `render`."""
    if template.trusted:
        return [_render(template, context) for context in contexts]
    return _render_in_child(template, contexts) if contexts else []


def _render(template: Template, context: Mapping[str, Any]) -> Graph:
    plain = _with_dummies(context)
    known = canonical(plain)
    is_known = known in template._structures  # then no text makes a name twice that the dummy did not: it would differ
    graph = _graph(template, context, is_known)
    if not is_known:
        template._structures[known] = _structure(_graph(template, plain))
    if _structure(graph) != template._structures[known]:
        raise LtxflowError(
            Problem(
                "a text in the template changes its nodes",
                Span(template.shown, 1, 1),
                'write values as "text": {{ prompt }}, and let no text decide which nodes there are',
                "T010",
            )
        )
    return graph


def _graph(template: Template, context: Mapping[str, Any], is_known: bool = False) -> Graph:
    text = _text(template, template._compiled, context)
    try:
        data = json.loads(text, object_pairs_hook=None if is_known else _no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        before = text[: error.pos] if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise LtxflowError(
            Problem(
                f"the template does not render to JSON: {reason}",
                _origin(template, context, before),
                "a comma too many, or one missing?",
                "T005",
            )
        ) from None
    _check_graph(data, Span(template.shown, 1, 1))
    graph: Graph = data
    return graph


def _text(template: Template, compiled: jinja2.Template, context: Mapping[str, Any]) -> str:
    """Render, with an end to how much. Raise LtxflowError where the template is when Jinja gives up."""
    written = io.StringIO()
    try:
        for piece in compiled.generate(context):
            if written.tell() + len(piece) > MAX_OUTPUT:
                raise LtxflowError(
                    Problem(
                        f"the template writes more than {MAX_OUTPUT >> 20} MB",
                        Span(template.shown, 1, 1),
                        "a loop without an end?",
                        "T006",
                    )
                )
            written.write(piece)
    except jinja2.TemplateSyntaxError as error:  # in a part
        raise _syntax_problem(error, template.shown) from None
    except jinja2.TemplateError as error:
        _give_up(template, error, error.message or str(error))
    except (MemoryError, RecursionError, LtxflowError):
        raise
    except Exception as error:  # whatever an expression of theirs can raise: 1 / 0, {}.x, "a" + 1
        _give_up(template, error, f"{type(error).__name__}: {error}")
    return written.getvalue()


def _give_up(template: Template, error: Exception, message: str) -> NoReturn:
    """Raise LtxflowError at the line the traceback ends in: Jinja rewrites its frames to the source."""
    files = {template.shown, *(str(Path(template.shown).with_name(name)) for name in template.parts)}
    span = Span(template.shown, 1, 1)
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename in files:
            span = Span(frame.tb_frame.f_code.co_filename, frame.tb_lineno, 1)
        frame = frame.tb_next
    message = message.rstrip(".").replace("'", '"')
    hint = ""
    if isinstance(error, jinja2.UndefinedError):
        hint = "the variables a template can use are listed in ltxflow/script/template.py"
    raise LtxflowError(Problem(message[:1].lower() + message[1:], span, hint, "T007")) from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'"{key}" stands twice in one object')
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_graph(data: object, span: Span) -> None:
    """Raise LtxflowError unless `data` is a mapping of nodes, each with a class and a mapping of inputs."""
    problems = []
    if not isinstance(data, dict) or not data:
        raise LtxflowError(
            Problem(
                "the template renders to no object of nodes",
                span,
                'export the workflow with "Export (API)", not with "Save"',
                "T008",
            )
        )
    for id, node in data.items():
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("class_type"), str)
            or not isinstance(node.get("inputs"), dict)
            or not isinstance(node.get("_meta", {}), dict)
        ):
            problems.append(
                Problem(
                    f'"{id}" is not a node: it needs "class_type" and "inputs"',
                    span,
                    'export the workflow with "Export (API)", not with "Save"',
                    "T008",
                )
            )
    if problems:
        raise LtxflowError(*problems[:5])


def _with_dummies(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return the context with a dummy for every text but those a template may branch on. "" stays."""
    if path in SEEDS:
        return 0
    if isinstance(value, str):
        return DUMMY if value and path not in STRUCTURAL else value
    if isinstance(value, Mapping):
        return {key: _with_dummies(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_dummies(item, path) for item in value]
    return value


def _is_link(value: object) -> bool:  # as `comfy.graph.is_link`, which is on a floor below
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _structure(graph: Graph) -> Structure:
    """What a text must not change: ids, classes, the names of inputs, and links."""
    return {
        id: (
            node["class_type"],
            {name: value if _is_link(value) else None for name, value in node["inputs"].items()},
        )
        for id, node in graph.items()
    }


# --- where in the template ------------------------------------------------------------------------

_MARK = re.compile("\x01([^\x01\x02]*)\x02([0-9]+)\x03")


def _origin(template: Template, context: Mapping[str, Any], before: str) -> Span:
    """Given the rendered text up to where it stops being JSON, return the line of the template that wrote its
    end.

    The template is rendered once more with a mark in every line of its own text; only on the way to an error.
    White space is not counted: the marks keep Jinja from trimming it.
    """
    marked = _text(template, _compile(template.shown, template.text, template.parts, _with_marks), context)
    wanted = len("".join(before.split()))
    span, written, end = Span(template.shown, 1, 1), 0, 0
    for mark in _MARK.finditer(marked):
        written += len("".join(marked[end : mark.start()].split()))
        end = mark.end()
        if written > wanted:
            break
        span = Span(mark[1], int(mark[2]), 1)
    return span


def _with_marks(where: str, text: str) -> str:
    pieces = []
    for line, kind, value in _environment().lex(text, filename=where):
        if kind == "data":
            for n, row in enumerate(value.split("\n")):
                pieces.append(("\n" if n else "") + f"\x01{where}\x02{line + n}\x03" + row)
        else:
            pieces.append(value)
    return "".join(pieces)


# --- the child ------------------------------------------------------------------------------------


def _render_in_child(template: Template, contexts: Sequence[Mapping[str, Any]]) -> list[Graph]:
    seconds = CHILD_SECONDS + len(contexts) // PER_SECOND
    span = Span(template.shown, 1, 1)
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as reply:
        request.write(
            json.dumps(
                {
                    "name": template.name,
                    "text": template.text,
                    "parts": dict(template.parts),
                    "shown": template.shown,
                    "contexts": [dict(context) for context in contexts],
                    "seconds": seconds,
                },
                default=_plain,
            ).encode()
        )
        request.seek(0)
        try:
            code = subprocess.run(
                [sys.executable, "-P", "-m", "ltxflow.script.template"],
                stdin=request,
                stdout=reply,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in CHILD_ENVIRONMENT if name in os.environ},
                cwd=tempfile.gettempdir(),
                timeout=CHILD_WALL_SECONDS + seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise LtxflowError(Problem("the template does not come to an end", span, code="T006")) from None
        reply.seek(0)
        said = reply.read(_max_reply(len(contexts)))
    try:
        answer = json.loads(said)
    except ValueError:
        raise LtxflowError(_why_it_died(code, seconds, span)) from None
    if "problems" in answer:
        raise LtxflowError(
            *(
                Problem(p["message"], Span(*p["span"]) if p["span"] else None, p["hint"], p["code"])
                for p in answer["problems"]
            )
        )
    graphs: list[Graph] = answer["graphs"]
    for graph in graphs:
        _check_graph(graph, span)
    return graphs


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _max_reply(contexts: int) -> int:
    return MAX_OUTPUT * min(contexts, 16) + 1024


def _why_it_died(code: int, seconds: int, span: Span) -> Problem:
    """A child that says nothing was killed: by the clock (SIGXCPU, SIGKILL), or its file limit (SIGXFSZ)."""
    if code in (-24, -9):
        return Problem(f"the template computes for more than {seconds} s", span, "a loop without an end?", "T006")
    if code == -25:
        return Problem("the template writes too much", span, "a loop without an end?", "T006")
    return Problem(f"the template broke its renderer (exit {code})", span, code="T006")


def _limit(seconds: int, contexts: int) -> None:
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY, CHILD_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_max_reply(contexts), _max_reply(contexts)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child() -> None:
    """Read a request from stdin, write {"graphs": […]} or {"problems": […]} to stdout."""
    request = json.load(sys.stdin.buffer)
    _limit(request["seconds"], len(request["contexts"]))
    template = Template(
        name=request["name"],
        path=Path(request["shown"]),
        text=request["text"],
        digest=Digest(""),
        header=Header(""),
        trusted=True,  # here, where it can do no harm
        parts=request["parts"],
        shown=request["shown"],
    )
    try:
        answer: dict[str, Any] = {"graphs": render_many(template, request["contexts"])}
    except LtxflowError as error:
        answer = {"problems": list(_as_data(error.problems))}
    except (MemoryError, RecursionError) as error:
        what = f"more than {CHILD_MEMORY >> 20} MB" if isinstance(error, MemoryError) else "too deep a recursion"
        answer = {
            "problems": list(_as_data([Problem(f"the template takes {what}", Span(template.shown, 1, 1), code="T006")]))
        }
    sys.stdout.write(json.dumps(answer))


def _as_data(problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
    for p in problems:
        span = [p.span.file, p.span.line, p.span.col] if p.span else None
        yield {"message": p.message, "span": span, "hint": p.hint, "code": p.code}


if __name__ == "__main__":
    _child()
