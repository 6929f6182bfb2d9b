"""Jinja as templates know it: values become JSON, nothing of the machine is in reach, its errors have a line.

Knows no graph and no file. The only importer of Jinja.
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
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.store.memo import Memory

Compiled = jinja2.Template

MAX_OUTPUT = 4 << 20  # characters of one graph; the largest of our templates makes 60 nodes, 20 kB, in about 2 ms
# Filters that would make a text pass as JSON already written, or that do not give the same result every time.
FORBIDDEN_FILTERS = ("safe", "escape", "e", "forceescape", "urlize", "xmlattr", "random")
GLOBALS = ("range", "namespace", "dict")
MARK = re.compile("\x01([^\x01\x02]*)\x02([0-9]+)\x03")
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


def parse(where: str, text: str) -> jinja2.nodes.Template:
    """Given a text and the name to show for it, return what Jinja reads in it. Raise LtxflowError where it is none."""
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


def included(where: str, text: str) -> list[str | None]:
    """Given a text, return the names of what it includes, imports or extends; None for one that is an expression."""
    return list(jinja2.meta.find_referenced_templates(parse(where, text)))


class _Names(jinja2.meta.TrackingCodeGenerator):
    """Jinja's `find_undeclared_variables` without its constant folding, which would compute `"a" * 10**9` here."""

    def of(self, tree: jinja2.nodes.Template) -> set[str]:
        self.optimizer = None
        self.visit(tree)
        return self.undeclared_identifiers


def undeclared(texts: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Given texts with the names to show for them, return the names that they look up in a context."""
    names: set[str] = set()
    for where, text in texts:
        names |= _Names(_environment()).of(parse(where, text))
    return frozenset(names - set(GLOBALS))


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


def compiled(
    where: str,
    text: str,
    parts: Mapping[str, str],
    change: Callable[[str, str], str] | None = None,
    memory: Memory | None = None,
) -> Compiled:
    """Given a text and the parts it includes by name, compile it; `change` may rewrite each of them first."""
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


def written(template: Compiled, context: Mapping[str, Any], where: str, parts: Iterable[str]) -> str:
    """Given what was compiled of the text shown as `where` and its parts, render it, with an end to how much.

    Raise LtxflowError where the template is when Jinja gives up.
    """
    said = io.StringIO()
    try:
        for piece in template.generate(context):
            if said.tell() + len(piece) > MAX_OUTPUT:
                raise LtxflowError(
                    Problem(
                        f"the template writes more than {MAX_OUTPUT >> 20} MB",
                        Span(where, 1, 1),
                        "a loop without an end?",
                        "T006",
                    )
                )
            said.write(piece)
    except jinja2.TemplateSyntaxError as error:  # in a part
        raise _syntax_problem(error, where) from None
    except jinja2.TemplateError as error:
        _give_up(where, parts, error, error.message or str(error))
    except (MemoryError, RecursionError, LtxflowError):
        raise
    except Exception as error:  # whatever an expression of theirs can raise: 1 / 0, {}.x, "a" + 1
        _give_up(where, parts, error, f"{type(error).__name__}: {error}")
    return said.getvalue()


def _give_up(where: str, parts: Iterable[str], error: Exception, message: str) -> NoReturn:
    """Raise LtxflowError at the line the traceback ends in: Jinja rewrites its frames to the source."""
    ours = {where, *(str(Path(where).with_name(name)) for name in parts)}
    span = Span(where, 1, 1)
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename in ours:
            span = Span(frame.tb_frame.f_code.co_filename, frame.tb_lineno, 1)
        frame = frame.tb_next
    message = message.rstrip(".").replace("'", '"')
    hint = ""
    if isinstance(error, jinja2.UndefinedError):
        hint = "the variables a template can use are listed in docs/workflows.md"
    raise LtxflowError(Problem(message[:1].lower() + message[1:], span, hint, "T007")) from None


def with_marks(where: str, text: str) -> str:
    """Given a text, return it with a mark in every line of its own: where what is rendered of it comes from."""
    pieces = []
    for line, kind, value in _environment().lex(text, filename=where):
        if kind == "data":
            for n, row in enumerate(value.split("\n")):
                pieces.append(("\n" if n else "") + f"\x01{where}\x02{line + n}\x03" + row)
        else:
            pieces.append(value)
    return "".join(pieces)
