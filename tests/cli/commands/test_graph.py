"""`ltxflow graph`: Mermaid and DOT that their readers can read."""

from __future__ import annotations

import re

from harness.film import Film


def test_mermaid_has_a_node_for_each_clip_and_the_timeline(film: Film) -> None:
    output = film.run("graph").out.splitlines()
    assert output[0] == "flowchart LR"
    for name in ("hook/a", "hook/b", "middle/a", "end/a", "timeline.json"):
        assert any(f'["{name}' in line for line in output)
    nodes = {match[1] for line in output if (match := re.match(r'  (n\d+)\["', line))}
    links = [match.groups() for line in output if (match := re.match(r"  (n\d+) -->(?:\|[^|]*\|)? (n\d+)$", line))]
    assert links
    assert {end for link in links for end in link} <= nodes
    assert any("|scene-0-a.mp4|" in line for line in output)


def test_colours_show_what_is_there(film: Film) -> None:
    film.build()
    film.edit("hook-a", "hook a")
    output = film.run("graph", "--animatic").out
    assert re.search(r'"hook/a<br/>97 frames"\]:::miss', output)
    assert re.search(r'"hook/b<br/>97 frames"\]:::hit', output)


def test_takes_that_are_not_in_the_cut_are_shown_and_every_link_has_its_ends(film: Film) -> None:
    film.edit("- id: a\n", "- id: a\n        takes: 2\n")
    data = film.run("graph", "--json").data
    names = {node["id"]: node["label"] for node in data["nodes"]}
    assert names["clip:hook/a@2"] == "hook/a@2"
    assert all(end in names for first, last, _ in data["edges"] for end in (first, last))
    film.edit("- id: b\n", "- id: b\n        reference: { frame_of: a }\n")
    assert '["hook/a@2"]' in film.run("graph").out


def test_dot_has_the_same_nodes_and_links(film: Film) -> None:
    output = film.run("graph", "--format", "dot").out
    data = film.run("graph", "--json").data
    assert output.startswith("digraph film {")
    assert output.count(" -> ") == len(data["edges"])
    assert output.count("fillcolor=") == len(data["nodes"])


def test_names_cannot_break_out_of_their_quotes(film: Film) -> None:
    from PIL import Image

    name = 'a"b|c<d>.png'
    Image.new("RGB", (128, 128)).save(film.folder / name, format="png")
    film.edit('        prompt: "', f"        reference: '{name}'\n        prompt: \"")
    mermaid, dot = film.run("graph").out, film.run("graph", "--format", "dot").out
    for line in mermaid.splitlines():
        assert line.count('"') in (0, 2), line
    assert '\\"b|c<d>' in dot
