"""Templates that are read and rendered once for many plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ltxflow.comfy.graph import canonical_graph
from ltxflow.core.digest import canonical
from ltxflow.project import load as load_module
from ltxflow.steps import clip as clip_step
from ltxflow.steps.clip import explain as clip_explain
from ltxflow.steps.clip import spec as clip_spec
from ltxflow.store.memo import Memory
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template, read_templates


@contextmanager
def templates_read_once() -> Iterator[None]:
    """Read our own templates once for all loads, and render each once for the same values: most of a look's time."""
    ours = read_templates("ltx2-19b", None)
    rendered: dict[tuple[str, bytes], Any] = {}
    forms: dict[tuple[int, bytes], Any] = {}

    def render_once(template: Template, context: Mapping[str, Any]) -> Any:
        known = (template.digest, canonical(context))
        if known not in rendered:
            rendered[known] = render(template, context)
        return rendered[known]

    def canonical_once(graph: Mapping[str, Any], outputs: Mapping[str, str], shared: Any = None) -> Any:
        known = (id(graph), canonical(outputs))
        if known not in forms:
            forms[known] = (graph, canonical_graph(graph, outputs))  # the graph is kept: no other one gets its id
        return forms[known][1]

    def read(profile: str, folder: Path | None, memory: Memory | None = None) -> Any:
        has_own = folder is not None and (folder / "templates").is_dir()
        return read_templates(profile, folder, memory) if has_own or profile != "ltx2-19b" else ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "read_templates", read)
        patch.setattr(clip_spec, "render", render_once)
        patch.setattr(clip_explain, "render", render_once)
        patch.setattr(clip_step, "canonical_graph", canonical_once)
        patch.setattr(clip_explain, "canonical_graph", canonical_once)
        yield
