"""Write the pages of the site that follow from the program: commands, rules, schemas, and files of the root.

    python docs/generate.py FOLDER      write them into FOLDER, to read them
    mkdocs build                        calls `on_files`, which adds them to the site

They are not kept in git. Everything is read from the program (its table of commands, `ltxflow COMMAND --help`, `ltxflow
rules --json`) and from schemas/, so that a page cannot disagree with them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ltxflow.cli.table import COMMANDS, groups
from ltxflow.messages import AREAS

ROOT = Path(__file__).resolve().parents[1]
LTXFLOW = Path(sys.executable).parent / "ltxflow"


def pages() -> dict[str, str]:
    """Return the Markdown of every generated page by its path in the site."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = dict(zip(COMMANDS, pool.map(help_of, COMMANDS), strict=True))
    return {
        "reference/commands.md": commands_page(help_of(), helps),
        "reference/rules.md": rules_page(json.loads(output_of("rules", "--json"))["data"]),
        "reference/project.md": schema_page("project"),
        "reference/profile.md": schema_page("profile"),
        "reference/timeline.md": schema_page("timeline"),
        "reference/lock.md": lock_page(schema("lock")),
        "reference/json.md": events_page(schema("event")),
        "reference/changelog.md": root_page("CHANGELOG.md", "reference"),
        "explanation/contributing.md": root_page("CONTRIBUTING.md", "explanation"),
        "explanation/benchmarks.md": root_page("benchmarks/README.md", "explanation"),
    }


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to a build (a hook of mkdocs)."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


# -- commands ----------------------------------------------------------------------------------------------------------


def output_of(*args: str) -> str:
    """Return what `ltxflow ARGS` prints, 96 columns wide; raise CalledProcessError where it fails."""
    env = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([LTXFLOW, *args], env=env, capture_output=True, check=True, cwd=ROOT)
    return done.stdout.decode()


def help_of(*command: str) -> str:
    """Return the help of a command, or of the program."""
    return output_of(*command, "--help").rstrip()


def commands_page(overview: str, helps: Mapping[str, str]) -> str:
    """Return the reference of all commands, by the groups of `ltxflow --help`."""
    lines = [
        "# Commands",
        "",
        "Every command takes the [global options](#global-options). "
        "See also [exit codes](exit-codes.md) and [JSON output](json.md).",
        "",
    ]
    for title, names in groups().items():
        rows = [f"| [`{name}`](#ltxflow-{name}) | {cell(COMMANDS[name].help)} |" for name in names]
        lines += [f"**{title.capitalize()}**", "", "| command | purpose |", "|---|---|", *rows, ""]
    lines += [
        "## Naming clips",
        "",
        "Commands that take a `SELECTOR` accept several of these, and take their union; "
        "one that starts with `!` removes clips.",
        "",
        *SELECTORS,
        "",
        "## Global options",
        "",
        *fenced(overview),
        "",
    ]
    for name in COMMANDS:
        lines += [f"## ltxflow {name}", "", *fenced(helps[name]), ""]
    return "\n".join(lines)


SELECTORS = [
    "| selector | selects |",
    "|---|---|",
    "| `hook` | all clips of the scene `hook` |",
    "| `hook/b` | one clip |",
    "| `hook/b@2` | take 2 of it |",
    "| `'outro/*'` | a glob; quote it, so that the shell leaves it alone |",
    "| `tag:night` | clips with that tag, or in a scene with it |",
    "| `changed:main` | clips that differ from a git revision |",
    "| `'!outro'` | everything else |",
    "| `reference:hero` | a generated picture, for the commands of [review](../how-to/takes.md) |",
]


def fenced(text: str) -> list[str]:
    return ["```text", *text.splitlines(), "```"]


# -- rules -------------------------------------------------------------------------------------------------------------


def rules_page(rules: Iterable[Mapping[str, str]]) -> str:
    """Return the table of all rules, grouped by the first letter of their code."""
    by_group: dict[str, list[Mapping[str, str]]] = {}
    for rule in rules:
        by_group.setdefault(AREAS[rule["code"][0]][0], []).append(rule)
    lines = [
        "# Rules",
        "",
        "Each message of ltxflow ends with the code of its rule. `ltxflow rules CODE` prints its row in the terminal. "
        "Warnings and advice can be [silenced](../how-to/checks.md#silence-a-rule); errors cannot, except P108.",
        "",
    ]
    for title, group in sorted(by_group.items()):
        lines += [f"## {title[0].upper()}{title[1:]}", "", "| code | level | rule | why |", "|---|---|---|---|"]
        for rule in group:
            why = " – ".join(filter(None, (rule.get("why", ""), rule.get("source", ""))))
            lines.append(f"| `{rule['code']}` | {rule['level']} | {cell(rule['title'])} | {cell(why)} |")
        lines.append("")
    return "\n".join(lines)


# -- schemas -----------------------------------------------------------------------------------------------------------

WRITTEN_BY_LTXFLOW = {"ltxflow timeline", "ltxflow.lock", "ltxflow event"}
INTRODUCTIONS = {
    "project": """\
# Project file

`project.yaml` describes a film. Its schema, `schemas/project.schema.json`, gives editors completion and help:
`ltxflow init` writes it beside the film and names it in the first line. `ltxflow schema` prints it.

Values resolve **profile < quality < `defaults` < scene < clip < command line** (`--quality`, `--set steps=6`);
`ltxflow show hook/b --resolved` prints each with the place where it is set. Times carry their unit (`12f`, `0.4s`).
Any value may be in a separate file: `!include prompts/hook-b.txt` reads a `.txt` or `.md` file as one text, any other
as YAML. Scenes may be one file each: `scenes: [scenes/*.yaml]`.
""",
    "profile": """\
# Profile file

`templates/NAME/profile.yaml` describes a model as data: files, sizes, lengths, qualities, thresholds, each with its
source. How to write one: [models](../how-to/models.md). Schema: `schemas/profile.schema.json`, or `ltxflow schema
profile`.
""",
    "timeline": """\
# Timeline

`public/scenes/timeline.json` says what plays when, in whole frames. It is written last and checked before it is
written: a clip begins where the previous one ends less the crossfade, nothing plays past the end of its file, no clip
is shorter than its crossfades, and the narration ends within its scene. `src` is relative to `public/`. Types for other
programs: `ltxflow schema timeline --as typescript`.
""",
}


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    return loaded


def schema_page(name: str) -> str:
    """Return a page with a table of keys for the document and for each definition that has keys."""
    document = schema(name)
    lines = [INTRODUCTIONS[name], "## Top level", "", *described(document), *keys_table(document, document)]
    for title, part in document.get("$defs", {}).items():
        if variants := list(objects_of(part)):
            lines += [f"## {title}", "", *described(part), *short_forms(part, document)]
            for variant in variants:
                lines += keys_table(variant, document)
    return "\n".join(lines) + "\n"


def described(part: Mapping[str, Any]) -> list[str]:
    text = part.get("markdownDescription") or part.get("description", "")
    return [text, ""] if text else []


def objects_of(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the variants of a schema that are mappings with named keys."""
    if part.get("properties"):
        yield part
    for variant in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from objects_of(variant)


def short_forms(part: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """List the ways to write a value that are not mappings."""
    forms = [variant for variant in part.get("anyOf", ()) if not list(objects_of(resolve(variant, document)))]
    if not forms:
        return []
    rows = [
        f"- {type_of(form, document)}: {form.get('description') or resolve(form, document).get('description', '')}"
        for form in forms
    ]
    return ["Short forms:", "", *rows, ""]


def keys_table(part: Mapping[str, Any], document: Mapping[str, Any], prefix: str = "") -> list[str]:
    rows = ["| key | value | meaning |", "|---|---|---|", *key_rows(part, document, prefix)]
    return [*rows, ""]


def key_rows(part: Mapping[str, Any], document: Mapping[str, Any], prefix: str) -> Iterator[str]:
    required = set(part.get("required", ()))
    is_written = document["title"] not in WRITTEN_BY_LTXFLOW
    for name, value in part.get("properties", {}).items():
        whole = resolve(value, document)
        merged = {**whole, **{key: given for key, given in value.items() if key != "$ref"}}
        notes = [merged.get("description", "")]
        if is_written and name in required:
            notes.append("**Required.**")
        if not is_written and name not in required:
            notes.append("May be absent.")
        if "default" in merged and "efault" not in notes[0]:
            notes.append(f"Default: `{compact(merged['default'])}`.")
        if examples := merged.get("examples"):
            notes.append("For example " + ", ".join(f"`{compact(example)}`" for example in examples[:3]) + ".")
        yield f"| `{prefix}{name}` | {cell(type_of(value, document))} | {cell(' '.join(filter(None, notes)))} |"
        yield from nested_rows(value, document, f"{prefix}{name}")
    for value in (*part.get("patternProperties", {}).values(), *additional(part)):
        text = value.get("description") or resolve(value, document).get("description", "")
        yield f"| `{prefix}NAME` | {cell(type_of(value, document))} | {cell(text)} |"
        yield from nested_rows(value, document, f"{prefix}NAME")


def nested_rows(value: Mapping[str, Any], document: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the keys inside a value that has no section elsewhere."""
    items = value.get("items", {})
    for part, suffix in ((value, "."), (items, "[].")):
        if "$ref" not in part:
            for variant in mappings_of(part):
                yield from key_rows(variant, document, f"{path}{suffix}")


def mappings_of(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the variants of a schema that are mappings, of named keys or of any."""
    if part.get("properties") or part.get("patternProperties") or additional(part):
        yield part
    for variant in (*part.get("anyOf", ()), *part.get("oneOf", ())):
        yield from mappings_of(variant)


def additional(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schema of keys that are not listed, if there is one."""
    more = part.get("additionalProperties")
    return [more] if isinstance(more, dict) and more else []


def resolve(part: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref`, inside the document alone."""
    while "$ref" in part:
        found: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def type_of(part: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the type of a value in a few words, with a link where a section describes it."""
    if "$ref" in part:
        name = part["$ref"].removeprefix("#/$defs/")
        target = resolve(part, document)
        if part["$ref"].startswith("#/$defs/") and "/" not in name and list(objects_of(target)):
            return f"[{name}](#{name})"
        return type_of(target, document)
    if "const" in part:
        return f"`{compact(part['const'])}`"
    if "enum" in part:
        return ", ".join(f"`{compact(value)}`" for value in part["enum"])
    if variants := part.get("anyOf") or part.get("oneOf"):
        return " or ".join(dict.fromkeys(type_of(variant, document) for variant in variants))
    kind = part.get("type", "any value")
    kinds = [kind] if isinstance(kind, str) else list(kind)
    named = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false", "null": "`null`"}
    if kinds == ["array"] and "items" in part:
        return f"list of {type_of(part['items'], document)}"
    words = " or ".join(named.get(each, each) for each in kinds)
    low, high = part.get("minimum", part.get("exclusiveMinimum")), part.get("maximum")
    if low is not None and high is not None:
        return f"{words}, {low} to {compact(high)}"
    return f"{words} from {low}" if low is not None else words


def compact(value: Any) -> str:
    """Write a value as one would in YAML, in one line."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r'"([A-Za-z_][\w./@-]*)"', r"\1", text)


def cell(text: str) -> str:
    """Escape text for a cell of a table; braces of Jinja stay, they are not rendered."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


def lock_page(document: Mapping[str, Any]) -> str:
    lines = [
        "# Lock",
        "",
        f"`ltxflow.lock`: {document['description']} What it is for: [the store and the lock](../explanation/store.md). "
        "How git merges it: [work in a team](../how-to/teams.md).",
        "",
        f"The first line is `ltxflow-lock: {document['properties']['ltxflow-lock']['const']}`, the format's version.",
        "",
    ]
    names = {"model": "`model:FAMILY/SIZE`", "clip": "`SCENE/CLIP` and `reference:NAME`"}
    for pattern, part in document["patternProperties"].items():
        kind = "model" if pattern.startswith("^model") else "clip" if "reference" in pattern else ""
        lines += [f"## {names.get(kind, f'`{pattern}`')}", "", *described(part), *keys_table(part, document)]
    for name, part in document["$defs"].items():
        if list(objects_of(part)):
            lines += [f"## {name}", "", *described(part), *keys_table(part, document)]
    return "\n".join(lines)


def events_page(document: Mapping[str, Any]) -> str:
    lines = [
        (ROOT / "docs" / "reference" / "_json.md").read_text("utf-8"),
        "## Events",
        "",
        document["description"],
        "",
    ]
    for event in document["oneOf"]:
        properties = dict(event["properties"])
        name = properties.pop("event")["const"]
        required = event.get("required", ())
        rows = [
            f"| `{key}` | {cell(type_of(value, document))} | {'' if key in required else 'may be absent'} |"
            for key, value in properties.items()
        ]
        lines += [f"### `{name}`", "", "| key | value | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


# -- pages of the root -------------------------------------------------------------------------------------------------


def root_page(name: str, folder: str) -> str:
    """Return a Markdown file of the repository, its links rewritten for a page in `folder` of the site."""
    home = (ROOT / name).parent
    known = {"CHANGELOG.md": "reference/changelog.md", "CONTRIBUTING.md": "explanation/contributing.md"}
    known["benchmarks/README.md"] = "explanation/benchmarks.md"
    known["README.md"] = "index.md"

    def moved(found: re.Match[str]) -> str:
        target, hash_, anchor = found[2].partition("#")
        if "://" in target or not target:
            return found[0]
        path = os.path.relpath(home / target, ROOT)
        inside = known.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if not inside:
            return f"`{path}`" if found[1] == path else f"{found[1]} (`{path}`)"
        return f"[{found[1]}]({os.path.relpath(inside, folder)}{hash_}{anchor})"

    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", moved, (ROOT / name).read_text("utf-8"))


def main() -> None:
    folder = Path(sys.argv[1])
    for path, text in pages().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
