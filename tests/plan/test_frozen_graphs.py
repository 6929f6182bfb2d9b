"""What our templates run with LTX-2 19B is frozen: another graph would render again what was paid for.

The digests are of canonical graphs as they were before keys named the model, with its files as `checkpoint@fp8`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import digest_json
from ltxflow.core.target import Target
from ltxflow.models.load import load_profile
from ltxflow.plan.samples import first_weights, samples
from ltxflow.project.model import Still
from ltxflow.steps import Node, reference
from ltxflow.workflow.template import read_templates

FROZEN: dict[str, str] = json.loads(Path(__file__).with_name("graphs-ltx2-19b.json").read_text())
MODEL = "ltx-2/19b:"


def modelless(value: Any) -> Any:
    """The graph without the model's name in the names of its files."""
    if isinstance(value, str):
        return value.removeprefix(MODEL)
    if isinstance(value, Mapping):
        return {key: modelless(part) for key, part in value.items()}
    return [modelless(part) for part in value] if isinstance(value, list) else value


def graphs() -> Iterator[tuple[str, Any]]:
    profile = load_profile("ltx2-19b")
    templates = dict(read_templates("ltx2-19b", None))
    weights = first_weights(profile)
    still = templates.pop("t2i")
    for size in ((1536, 1024), (1000, 600)):
        sitting = reference.ReferenceSpec(Still("s", "words", size, template="t2i"), 1, 42, profile, still, weights)
        action = reference.action(Node(Target("reference:s@1"), "reference", sitting, 0), {})
        yield f"t2i: {size[0]}x{size[1]}", action.body["graph"]
    for name, template in templates.items():
        for sample in samples(profile, template):
            made = sample.spec.graph(profile.tokens(sample.spec.weights), {}, "ltxflow")
            yield f"{name}: {sample.label}", canonical_graph(made, outputs_of(made))


def test_graphs_of_the_first_model_are_as_they_were_but_for_its_name() -> None:
    found = dict(graphs())
    assert len(FROZEN) == 140
    assert [label for label in FROZEN if label not in found] == []
    assert [label for label, digest in FROZEN.items() if digest_json(modelless(found[label])) != digest] == []
    assert [label for label in FROZEN if MODEL not in json.dumps(found[label])] == []
