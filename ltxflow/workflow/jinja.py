"""Compile and render Jinja in a sandbox: values become JSON, and errors have a line.

This is the only module that imports Jinja.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.compiler
import jinja2.meta
import jinja2.sandbox
from markupsafe import Markup

from ltxflow.core import files
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.store.memo import Memory

Compiled = jinja2.Template

MAX_OUTPUT = 4 << 20  # characters of one graph; the largest of our templates makes 60 nodes, 20 kB, in about 2 ms
# Filters that would mark a text as JSON, or whose results vary.
FORBIDDEN_FILTERS = ("safe", "escape", "e", "forceescape", "urlize", "xmlattr", "random")
GLOBALS = ("range", "namespace", "dict")
MARK = re.compile("\x01([^\x01\x02]*)\x02([0-9]+)\x03")
_JSON = json.JSONEncoder(allow_nan=False)


@jinja2.pass_context  # also keeps Jinja from folding constants past it: `{{ true }}` must give true, not True
def _as_json(_context: jinja2.runtime.Context, value: object) -> Markup:
    """Return a value as JSON. The result of a macro is JSON already and is kept."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, jinja2.Undefined):
        str(value)  # StrictUndefined raises, with the name
    try:
        return _encoded(value) if isinstance(value, str | int) else Markup(_JSON.encode(value))
    except (TypeError, ValueError):
        raise jinja2.TemplateRuntimeError(f"{type(value).__name__} cannot be written as JSON") from None


@lru_cache(maxsize=256, typed=True)  # typed: True is not 1. No fractions: 0.0 and -0.0 are equal, their JSON is not
def _encoded(value: str | int) -> Markup:
    """Return a text or whole number as JSON. Cached: most of them are the same for every clip."""
    return Markup(_JSON.encode(value))


def _environment(loader: jinja2.BaseLoader | None = None, memory: Memory | None = None) -> jinja2.Environment:
    """Return an environment that escapes values as JSON, as others do as HTML (autoescape is on)."""
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


def parse(where: str, text: str) -> jinja2.nodes.Template:
    """Parse a text, shown as `where` in errors. Raise LtxflowError if it is not valid Jinja."""
    try:
        return _environment().parse(text, filename=where)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_problem(error, where) from None
    except (RecursionError, ValueError) as error:  # "((((…", a number of 5000 digits
        raise LtxflowError(problem("T004.unreadable", Span(where, 1, 1), reason=error)) from None


def _syntax_problem(error: jinja2.TemplateSyntaxError, where: str) -> LtxflowError:
    return LtxflowError(
        problem(
            "T004.syntax", Span(error.filename or where, error.lineno, 1), reason=_reason(error.message or "not Jinja")
        )
    )


def _reason(message: str) -> str:
    """Return a message of Jinja in the form of ours: lowercase, no final period, double quotes."""
    message = message.rstrip(".").replace("'", '"')
    return message[:1].lower() + message[1:]


def included_names(where: str, text: str) -> list[str | None]:
    """Return the names that a text includes, imports or extends; None for an expression."""
    return list(jinja2.meta.find_referenced_templates(parse(where, text)))


class _Names(jinja2.meta.TrackingCodeGenerator):
    """Jinja's `find_undeclared_variables` without its constant folding, which would compute `"a" * 10**9` here."""

    def of(self, tree: jinja2.nodes.Template) -> set[str]:
        self.optimizer = None
        self.visit(tree)
        return self.undeclared_identifiers


def undeclared_names(texts: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the names that texts, each with its name, look up in a context."""
    names: set[str] = set()
    for where, text in texts:
        names |= _Names(_environment()).of(parse(where, text))
    return frozenset(names - set(GLOBALS))


class _Compiled(jinja2.BytecodeCache):
    """A cache of the code that Jinja compiles from our templates: compiling takes longer than rendering 100 clips.

    Entries are keyed by the text, by Jinja's and Python's bytecode formats, and by the installed Jinja.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        code = self._memory.get(self._name(bucket))
        if isinstance(code, str):
            bucket.bytecode_from_string(base64.b64decode(code))

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        self._memory.put(self._name(bucket), base64.b64encode(bucket.bytecode_to_string()).decode())

    def _name(self, bucket: jinja2.bccache.Bucket) -> str:
        compiler = files.signature(jinja2.compiler.__file__)
        return f"template code {bucket.key} {bucket.checksum} {compiler}"


def compile_text(
    where: str,
    text: str,
    parts: Mapping[str, str],
    change: Callable[[str, str], str] | None = None,
    memory: Memory | None = None,
) -> Compiled:
    """Compile a text with the parts that it includes, by name; `change` may rewrite each of them first."""
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


def render_text(template: Compiled, context: Mapping[str, Any], where: str, parts: Iterable[str]) -> str:
    """Render a compiled text, shown as `where` in errors, up to MAX_OUTPUT characters.

    Raise LtxflowError at the line of the template that fails.
    """
    output = io.StringIO()
    try:
        for piece in template.generate(context):
            if output.tell() + len(piece) > MAX_OUTPUT:
                raise LtxflowError(problem("T006.output", Span(where, 1, 1), megabytes=MAX_OUTPUT >> 20))
            output.write(piece)
    except jinja2.TemplateSyntaxError as error:  # in a part
        raise _syntax_problem(error, where) from None
    except jinja2.TemplateError as error:
        _give_up(where, parts, error, error.message or str(error))
    except (MemoryError, RecursionError, LtxflowError):
        raise
    except Exception as error:  # an expression of a template can raise any: 1 / 0, {}.x, "a" + 1
        _give_up(where, parts, error, f"{type(error).__name__}: {error}")
    return output.getvalue()


def _give_up(where: str, parts: Iterable[str], error: Exception, message: str) -> NoReturn:
    """Raise LtxflowError at the last line of the traceback: Jinja maps its frames to the source."""
    ours = {where, *(str(Path(where).with_name(name)) for name in parts)}
    span = Span(where, 1, 1)
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename in ours:
            span = Span(frame.tb_frame.f_code.co_filename, frame.tb_lineno, 1)
        frame = frame.tb_next
    is_undefined = isinstance(error, jinja2.UndefinedError)
    raise LtxflowError(
        problem("T007.undefined" if is_undefined else "T007.error", span, reason=_reason(message))
    ) from None


def mark_lines(where: str, text: str) -> str:
    """Return a text with a mark in every line, by which rendered output is traced to its line."""
    pieces = []
    for line, kind, value in _environment().lex(text, filename=where):
        if kind == "data":
            for n, row in enumerate(value.split("\n")):
                pieces.append(("\n" if n else "") + f"\x01{where}\x02{line + n}\x03" + row)
        else:
            pieces.append(value)
    return "".join(pieces)
