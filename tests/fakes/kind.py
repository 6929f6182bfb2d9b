"""A step kind for plans: nodes that are what their fields say, and need what they are told to need."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ltxflow.core.digest import Action, Digest, Key, Output, digest_json
from ltxflow.core.errors import Span
from ltxflow.core.target import Target
from ltxflow.steps import USUAL, Node
from ltxflow.store.traces import Trace

SPAN = Span("project.yaml", 7, 3)


class FakeStep(ModuleType):
    """Its action is the node's fields and the digests of its inputs. `version` may be set."""

    KIND, VERSION, POOL, SOURCE = "fake", "1", "cpu", "fake"
    CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = (
        each if isinstance(each, Mapping) else staticmethod(each) for each in USUAL
    )

    def action(self, node: Node, inputs: Mapping[str, Output]) -> Action:
        digests = {name: output.digest for name, output in inputs.items()}
        return Action("fake", self.VERSION, dict(node.spec), digests, ("video",))

    def fields(self, node: Node) -> dict[str, Any]:
        return dict(node.spec)

    def where(self, node: Node, name: str) -> Span:
        return Span("project.yaml", 10 + sorted(node.spec).index(name) if name in node.spec else 7, 5)


def node(target: str, needs: Mapping[str, str] | None = None, **fields: Any) -> Node:
    """`hook/a` → the node clip:hook/a@1; `needs` maps an input's name to a target such as hook/b."""
    at = target if "@" in target else f"{target}@1"
    sources = {name: f"clip:{need if '@' in need else f'{need}@1'}" for name, need in (needs or {}).items()}
    return Node(Target(f"clip:{at}"), "fake", fields or {"prompt.text": target}, 121, sources, SPAN)


class Shelf:
    """A store in memory: what was made, by key."""

    def __init__(self) -> None:
        self.traces: dict[Key, Trace] = {}

    def make(self, made: Node, action: Action, text: str = "") -> Trace:
        """Keep a result of this action; `text` is what its video says, of itself the key."""
        video = Output(Digest(digest_json(text or action.key)), {"frames": made.frames})
        trace = Trace(action.key, action.as_json(), {"video": video}, made.target, fields=dict(made.spec))
        self.traces[action.key] = trace
        return trace

    def lookup(self, key: Key) -> Trace | None:
        return self.traces.get(key)
