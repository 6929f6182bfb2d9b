"""Report a value that does not fit a node: one function per rule, for our check and for a server's refusal.

Pure. The texts are in `ltxflow/messages/comfy.py`; these functions choose the hint and format the values. A problem
here is about one input, node or graph; `in_place` adds the node and its template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ltxflow.comfy.replies import clean
from ltxflow.comfy.signatures import Graph, Input, Signature, core_classes, folder_of, parts
from ltxflow.core.errors import Problem, problem

WORD = 200  # characters of a name that is shown
FAILS = "the server accepts it, and fails when it runs"
TAKES = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false", "STRING": "text"}

# ---- nodes


def unknown_class(class_: str, known: Iterable[str], is_allowed: bool = False) -> Problem:
    if class_ in core_classes():
        hint = "update ComfyUI there: newer versions have that node"
        return problem("N101", class_=quote(class_), hint=hint)
    close = None if is_allowed else closest(class_, [*known])
    return problem("N101", class_=quote(class_), hint=_did_you_mean(close))


def not_allowed(class_: str) -> Problem:
    return problem("N102", class_=quote(class_), name=class_)


def unchecked(class_: str) -> Problem:
    return problem("N103", class_=quote(class_))


def no_output() -> Problem:
    return problem("N116")


def cycle(ring: Sequence[str]) -> Problem:
    """Report a cycle. `ring` begins and ends with the same node id; each reads from the next."""
    return problem("N115", ring=" ← ".join(ring))


def refused_by_node(details: str) -> Problem:
    return problem("N118", details=details)


# ---- inputs


def missing(wanted: Input, spare: Iterable[str] = ()) -> Problem:
    """Report a required input without a value. `spare` are the given inputs that the class does not declare."""
    close = closest(wanted.name, [*spare])
    hint = f"rename {quote(close)} to {quote(wanted.name)}" if close else f"write {taken(wanted)}"
    return problem("N105.missing", input=quote(wanted.name), hint=hint)


def filled(wanted: Input, value: Any) -> Problem:
    return problem("N105.filled", input=quote(wanted.name), value=show(value))


def undeclared(name: str, close: str | None, is_link: bool) -> Problem:
    """Report an input that a core class does not declare: a misspelling of `close`, or a link that fails the node."""
    return problem("N106.linked" if is_link else "N106.ignored", input=quote(name), hint=_did_you_mean(close))


def not_a_link(wanted: Input, value: Any) -> Problem:
    return problem("N107", input=quote(wanted.name), value=show(value))


def link_to_nowhere(wanted: Input, source: str, known: Iterable[str]) -> Problem:
    hint = _did_you_mean(closest(source, [*known]))
    return problem("N108", input=quote(wanted.name), node=quote(source), hint=hint)


def no_such_output(wanted: Input, source: str, slot: int, sig: Signature) -> Problem:
    count = len(sig.outputs) or "none"
    name, node = quote(wanted.name), quote(source)
    return problem("N109", input=name, slot=slot, node=node, class_=sig.name, count=count, hint=slots(sig))


def type_mismatch(
    wanted: Input, source: str, slot: int, sig: Signature | None, received: str, good: int | None
) -> Problem:
    """Report a link of another type. `good` is an output of the source that would fit."""
    hint = f"output {good} of node {quote(source)} is {wanted.types}" if good is not None else slots(sig) if sig else ""
    return problem(
        "N110",
        hint=hint,
        input=quote(wanted.name),
        types=either(parts(wanted.types)),
        slot=slot,
        node=quote(source),
        class_=f" ({sig.name})" if sig else "",
        received=received,
    )


def literal_for_link(wanted: Input, value: Any) -> Problem:
    return problem("N111", input=quote(wanted.name), value=show(value), types=either(parts(wanted.types)))


def wrong_type(wanted: Input, value: Any, takes: str = "") -> Problem:
    takes = takes or TAKES.get(wanted.type, "a number")
    return problem("N112.wrong", input=quote(wanted.name), value=show(value), takes=takes)


def converted(wanted: Input, value: Any, result: Any) -> Problem:
    takes = TAKES.get(wanted.type, "the intended value")
    return problem("N112.converted", input=quote(wanted.name), value=show(value), result=show(result), takes=takes)


def out_of_range(wanted: Input, value: Any) -> Problem:
    low, high = wanted.options.get("min"), wanted.options.get("max")
    is_low = low is not None and (high is None or value < low)
    bound = plain(low if is_low else high)
    within = f"from {plain(low)} to {plain(high)}" if None not in (low, high) else bound
    return problem(
        "N113.too-small" if is_low else "N113.too-large",
        input=quote(wanted.name),
        value=plain(value),
        bound=bound,
        range=within,
    )


def not_in_list(wanted: Input, value: Any, class_type: str = "", length: int | None = None) -> Problem:
    """Report a value that is not in the input's list. `length` is that of a list the server does not send."""
    choices = [str(choice) for choice in wanted.choices or ()]
    folder = folder_of(class_type, wanted.name)
    close = closest(str(value), choices)
    is_file = bool(folder) or wanted.lists_models
    name, shown = quote(wanted.name), show(value)
    hint = _did_you_mean(close) or has(choices, 3 if is_file else 8)
    if not choices and length:
        hint = f"it has {length} others"
    if not is_file:
        return problem("N114", input=name, value=shown, hint=hint)
    if not folder:
        return problem("N117.list", input=name, value=shown, hint=hint)
    if not close:
        hint = f"put it in ComfyUI/models/{folder} there" + (f"; {hint}" if choices else "")
    return problem("N117.folder", input=name, value=shown, folder=folder, hint=hint)


def _did_you_mean(close: str | None) -> str | None:
    """Return the hint for a misspelling; None, for the catalogue's hint, without a near name."""
    return f"did you mean {quote(close)}?" if close else None


# ---- places


def in_place(found: Problem, graph: Graph, node_id: str | None, template: str = "") -> Problem:
    """Return a problem with its node, that node's class and title, and the template in the message."""
    return replace(found, message=found.message + place_of(graph, node_id, template))


def place_of(graph: Graph, node_id: str | None, template: str = "") -> str:
    """Return the end of a message that names a node and a template: ` in node "3" (KSampler) of template "t2v"`."""
    if node_id is None:
        return f" in template {quote(template)}" if template else ""
    return f" in node {quote(node_id)}{_about(graph.get(node_id))}" + (
        f" of template {quote(template)}" if template else ""
    )


def _about(node: Any) -> str:
    if not isinstance(node, Mapping):
        return ""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    words = [str(node["class_type"])] if node.get("class_type") else []
    if title and title != node.get("class_type"):
        words.append(quote(title))
    return f" ({', '.join(words)})" if words else ""


# ---- parts of sentences


def closest(word: str, known: Sequence[str]) -> str | None:
    """Return the first known word nearest to `word`, ignoring case."""
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    found = get_close_matches(word.casefold(), list(folded), 1, 0.7)
    return folded[found[0]] if found else None


def quote(word: object) -> str:
    """Return a name in quotes. It comes from a server or template, and must not act on a terminal."""
    return json.dumps(clean(word, WORD), ensure_ascii=False)


def show(value: Any) -> str:
    text = clean(json.dumps(value, ensure_ascii=False, default=str), WORD)
    return text if len(text) <= 60 else f"{text[:57]}…"


def plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def either(types: set[str]) -> str:
    return " or ".join(sorted(types))


def has(names: Sequence[str], most: int = 8) -> str:
    if not names:
        return "it has none"
    return f"it has {', '.join(clean(name, WORD) for name in names[:most])}{' …' if len(names) > most else ''}"


def slots(sig: Signature) -> str:
    listed = ", ".join(f"{i} {out}" for i, out in enumerate(sig.outputs))
    return f"the outputs of {sig.name} are {listed}" if listed else f"{sig.name} has no outputs"


def taken(wanted: Input) -> str:
    if wanted.choices:
        first = ", ".join(clean(choice, WORD) for choice in wanted.choices[:5])
        return f"one of {first}{' …' if len(wanted.choices) > 5 else ''}"
    default = wanted.options.get("default")
    return f"{wanted.types}{f', usually {show(default)}' if default not in (None, '') else ''}"
