"""Words for what does not fit a server: one sentence a rule, for our check and for what the server refuses.

Pure. A finding is about one input, node or graph; `message` adds the node and its template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from ltxflow.comfy.signatures import Graph, Input, Signature, core_classes, folder_of, parts
from ltxflow.comfy.untrusted import clean

RULES: dict[str, str] = {
    "N100": "a graph is a mapping of node id to node, and has at least one",
    "N101": "every node's class exists",
    "N102": "a class outside the core set needs the user's own allowance",
    "N103": "an allowed class can be checked only against the server that has it",
    "N104": "every node is a mapping with `class_type` and `inputs`",
    "N105": "every required input is given, or has a default",
    "N106": "no input is a misspelling, nor a link to one that the class does not have",
    "N107": "a link is [node id, output number]",
    "N108": "a link names a node of the graph",
    "N109": "a link names an output that the node has",
    "N110": "a link carries a type that the input takes",
    "N111": "an input that takes a link has no literal",
    "N112": "a literal has the input's type",
    "N113": "a number is in the input's range",
    "N114": "a choice is in the input's list",
    "N115": "links make no cycle",
    "N116": "a graph has an output node",
    "N117": "a model file is in the server's list",
    "N118": "a node's own check accepts its inputs",
}

WORD = 200  # characters of a name that is shown
EXPORT = "in ComfyUI, export the workflow in API format: File → Export (API)"


class Finding(NamedTuple):
    """What is wrong by one rule, and what to do about it."""

    code: str
    text: str
    hint: str = ""


# ---- nodes


def unknown_class(class_: str, known: Iterable[str], is_allowed: bool = False) -> Finding:
    if class_ in core_classes():
        return Finding("N101", f"unknown class {quote(class_)}", "update ComfyUI there: newer versions have that node")
    close = None if is_allowed else closest(class_, [*known])
    hint = f"did you mean {quote(close)}?" if close else "install the custom node on the server"
    return Finding("N101", f"unknown class {quote(class_)}", hint)


def not_allowed(class_: str) -> Finding:
    return Finding(
        "N102",
        f"class {quote(class_)} is not a known core node of ComfyUI, and needs your own allowance",
        f"if you trust it, add it to `allowed_nodes` in your user config: allowed_nodes: [{class_}]",
    )


def unchecked(class_: str) -> Finding:
    return Finding("N103", f"class {quote(class_)} cannot be checked without a server", "check again with --server")


def no_output() -> Finding:
    return Finding("N116", "there is no output node", "add a SaveVideo or SaveImage node")


def cycle(ring: Sequence[str]) -> Finding:
    """`ring` begins and ends with the same node id; each reads from the next."""
    return Finding("N115", f"the links make a cycle, {' ← '.join(ring)},", "remove one of its links")


def refused_by_node(details: str) -> Finding:
    return Finding("N118", f"the node refuses its inputs: {details}", "change what it names, or put it on that server")


# ---- inputs


def missing(wanted: Input, spare: Iterable[str] = ()) -> Finding:
    """A required input has no value. `spare` are the inputs given that the class does not declare."""
    close = closest(wanted.name, [*spare])
    hint = f"rename {quote(close)} to {quote(wanted.name)}" if close else f"it takes {taken(wanted)}"
    return Finding("N105", f"required input {quote(wanted.name)} is missing", hint)


def filled(wanted: Input, value: Any) -> Finding:
    hint = f"its default is used, {show(value)}; write it if that is not meant"
    return Finding("N105", f"required input {quote(wanted.name)} is missing", hint)


def undeclared(name: str, close: str | None, is_link: bool) -> Finding:
    """An input that a core class does not declare: a misspelling of `close`, or a link, with which the node fails."""
    what = "is linked: the server takes it, and fails when it runs" if is_link else "is ignored by the server"
    hint = f"did you mean {quote(close)}?" if close else "remove it"
    return Finding("N106", f"unknown input {quote(name)} {what}", hint)


def not_a_link(wanted: Input, value: Any) -> Finding:
    text = f"input {quote(wanted.name)} is {show(value)}, not a link"
    return Finding("N107", text, 'a link is ["node id", output number]; the node id is text')


def link_to_nowhere(wanted: Input, source: str, known: Iterable[str]) -> Finding:
    close = closest(source, [*known])
    hint = f"did you mean {quote(close)}?" if close else "remove the link, or add the node"
    return Finding("N108", f"input {quote(wanted.name)} links to unknown node {quote(source)}", hint)


def no_such_output(wanted: Input, source: str, slot: int, sig: Signature) -> Finding:
    text = (
        f"input {quote(wanted.name)} links to output {slot} of node {quote(source)} ({sig.name}), "
        f"which has {len(sig.outputs) or 'none'}"
    )
    return Finding("N109", text, slots(sig))


def type_mismatch(
    wanted: Input, source: str, slot: int, sig: Signature | None, received: str, good: int | None
) -> Finding:
    """`good` is an output of the source that would fit."""
    class_ = f" ({sig.name})" if sig else ""
    hint = f"output {good} of node {quote(source)} is {wanted.types}" if good is not None else slots(sig) if sig else ""
    text = (
        f"input {quote(wanted.name)} takes {either(parts(wanted.types))}, but output {slot} of node "
        f"{quote(source)}{class_} is {received}"
    )
    return Finding("N110", text, hint)


def literal_for_link(wanted: Input, value: Any) -> Finding:
    text = f"input {quote(wanted.name)} is {show(value)}, but takes a link to {either(parts(wanted.types))}"
    return Finding("N111", text, 'the server takes it, and fails when it runs: write ["node id", output number]')


def wrong_type(wanted: Input, value: Any, takes: str = "") -> Finding:
    takes = takes or TAKES.get(wanted.type, "a number")
    return Finding("N112", f"input {quote(wanted.name)} is {show(value)}, but takes {takes}", f"write {takes}")


def converted(wanted: Input, value: Any, result: Any) -> Finding:
    text = f"input {quote(wanted.name)} is {show(value)}, which the server reads as {show(result)}"
    return Finding("N112", text, f"write {TAKES.get(wanted.type, 'what is meant')}")


TAKES = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false", "STRING": "text"}


def out_of_range(wanted: Input, value: Any) -> Finding:
    low, high = wanted.options.get("min"), wanted.options.get("max")
    is_low = low is not None and (high is None or value < low)
    bound = low if is_low else high
    word = "smaller than the least allowed," if is_low else "bigger than the most allowed,"
    within = f"from {plain(low)} to {plain(high)}" if None not in (low, high) else plain(bound)
    text = f"input {quote(wanted.name)} is {plain(value)}, {word} {plain(bound)}"
    return Finding("N113", text, f"write a number {within}")


def not_in_list(wanted: Input, value: Any, class_type: str = "", length: int | None = None) -> Finding:
    """`length` is that of a list which the server keeps to itself."""
    choices = [str(choice) for choice in wanted.choices or ()]
    folder = folder_of(class_type, wanted.name)
    close = closest(str(value), choices)
    is_file = bool(folder) or wanted.lists_models
    hint = f"did you mean {quote(close)}?" if close else has(choices, 3 if is_file else 8)
    if not choices and length:
        hint = f"it has {length} others"
    if is_file:
        place = f"in the server's folder {quote(folder)}" if folder else "in the list"
        if not close:
            hint = f"put it in ComfyUI/models/{folder} there" + (f"; {hint}" if choices else "") if folder else hint
        return Finding("N117", f"file {show(value)} for {quote(wanted.name)} is not {place}", hint)
    return Finding("N114", f"input {quote(wanted.name)} is {show(value)}, which is not in its list", hint)


# ---- places


def message(finding: Finding, graph: Graph, node_id: str | None, template: str = "") -> str:
    """Return a finding's text with its node, that node's class and title, and the template: a problem's message."""
    if node_id is None:
        return f"{finding.text} in template {quote(template)}" if template else finding.text
    return f"{finding.text} in node {quote(node_id)}{_about(graph.get(node_id))}" + (
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
    """Return the known word nearest to `word`, whatever the case; of equals the first."""
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    found = get_close_matches(word.casefold(), list(folded), 1, 0.7)
    return folded[found[0]] if found else None


def quote(word: object) -> str:
    """Names come from servers and templates: nothing of them may act on a terminal."""
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
