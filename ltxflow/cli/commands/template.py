"""Import your ComfyUI workflow as a template; list and show templates; check them against the nodes of ComfyUI."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import ServerAddress, find_servers
from ltxflow.comfy.signatures import Signatures, core_classes
from ltxflow.core import files
from ltxflow.core.digest import digest_bytes, digest_there
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.documents.document import find_project, shown
from ltxflow.models.geometry import geometry
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.models.profile import Profile
from ltxflow.plan.samples import try_template
from ltxflow.project.config import Config, is_trusted, read_config
from ltxflow.project.load import load
from ltxflow.ui.terminal import Console, columns, count, print_envelope, problem_json
from ltxflow.workflow import template as templates_module
from ltxflow.workflow.import_file import Imported, import_workflow, read_source
from ltxflow.workflow.imported import ImportedWorkflow, template_text
from ltxflow.workflow.template import (
    SUFFIX,
    Template,
    read_template,
    read_templates,
    variables,
)

DEFAULT_PROFILE = "ltx2-19b"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SHOWN = 60  # characters of a value
DROPPED = 6  # nodes that are named
EXAMPLES = {
    "reference": "refs/….png",
    "last_frame": "refs/….png",
    "sound": "audio/….wav",
    "control": "{video: refs/….mp4}",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    choices = ["list", "show", "check", "import"]
    parser.add_argument("what", nargs="?", choices=choices, default="list", help="what to do (default: list)")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FILE|NAME",
        help="names of templates; import: a workflow, or an image or video that ComfyUI made",
    )
    parser.add_argument("--name", help="import: the name of the template (default: from the file)")
    parser.add_argument("--force", action="store_true", help="import: replace a template of this name")
    parser.add_argument("--variables", action="store_true", help="show: list the variables it reads")
    parser.add_argument("--profile", metavar="P", help="the model profile, without a project (default: ltx2-19b)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="check: also against the nodes of this server; import: read values by them",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    if args.what == "import":
        return _import(args, console)
    library = _library(args)
    if args.what == "list":
        return _list(args, console, library)
    if args.what == "show":
        return _show(args, console, library)
    return _check(args, console, library)


@dataclass(frozen=True)
class TemplateLibrary:
    """The templates of a profile, and of the project if there is one."""

    profile: Profile
    templates: dict[str, Template]
    config: Config
    folder: Path | None = None  # of the project
    is_trusted: bool = False

    def get(self, name: str) -> Template:
        if name not in self.templates:
            there = ", ".join(sorted(self.templates))
            raise LtxflowError(problem("U027", name=name, profile=self.profile.name, names=there))
        return self.templates[name]

    def readable(self, name: str) -> Template:
        template = self.get(name)
        if template.problems:
            raise LtxflowError(*template.problems)
        return template


def _library(args: argparse.Namespace) -> TemplateLibrary:
    config = read_config(os.environ)
    file = _project_file(args)
    if file is None:
        profile = load_profile(args.profile or DEFAULT_PROFILE)
        return TemplateLibrary(profile, dict(read_templates(profile.name, None)), config)
    project = load(file, root=args.root, is_trusted=True).project
    trusted = is_trusted(config, project.folder, project.foreign)
    return TemplateLibrary(project.profile, dict(project.templates), config, project.folder, trusted)


def _project_file(args: argparse.Namespace) -> Path | None:
    """Return the project file; None without one or with --profile, since built-in templates need no project."""
    if args.profile and args.project is None:
        return None
    try:
        return find_project(args.project, Path.cwd())
    except LtxflowError:
        if args.project is not None:
            raise
        return None


# --- list and show --------------------------------------------------------------------------------


def _list(args: argparse.Namespace, console: Console, library: TemplateLibrary) -> int:
    data = [_facts(library, template) for _, template in sorted(library.templates.items())]
    if args.json:
        return print_envelope("template", data, 0)
    rows = [("name", "needs", "from", "trusted", "what it makes")]
    for one in data:
        makes = " · ".join(part for part in (one["title"], one["way"]) if part)
        if one["problems"]:
            makes = f"cannot be read: {one['problems'][0]['message']}"
        trusted = "yes" if one["trusted"] else "no: ltxflow trust"
        rows.append((one["name"], ", ".join(one["needs"]) or "-", one["origin"], trusted, makes))
    for number, line in enumerate(columns(rows)):
        console.say(console.paint(line, "dim") if number == 0 else line)
    return 0


def _facts(library: TemplateLibrary, template: Template) -> dict[str, Any]:
    ours = (templates_folder() / library.profile.name / f"{template.name}{SUFFIX}").is_file()
    origin = library.profile.name if template.trusted else "project"
    return {
        "name": template.name,
        "title": template.header.title,
        "way": template.header.way,
        "needs": list(template.header.needs),
        "origin": origin + (f", in place of {library.profile.name}'s" if ours and not template.trusted else ""),
        "file": template.shown,
        "trusted": template.trusted or library.is_trusted,
        "digest": template.digest,
        "problems": [problem_json(problem) for problem in template.problems],
    }


def _show(args: argparse.Namespace, console: Console, library: TemplateLibrary) -> int:
    if len(args.names) != 1:
        raise LtxflowError(problem("U002.one-template"))
    template = library.readable(args.names[0])
    used = variables(template)
    used_by_name = {name: _documented().get(name, "not a variable of ltxflow") for name in sorted(used)}
    if args.json:
        return print_envelope(
            "template", {**_facts(library, template), "text": template.text, "variables": used_by_name}, 0
        )
    if args.variables:
        for line in columns(used_by_name.items()):
            console.say(line)
    else:
        console.say(template.text.rstrip())
    return 0


def _documented() -> dict[str, str]:
    """Return the description of each variable, from the table in the docstring of `workflow.template`."""
    rows = re.findall(r"^\| ([a-z_0-9, ]+) \| (.+) \|$", templates_module.__doc__ or "", re.MULTILINE)
    return {name.strip(): text for names, text in rows for name in names.split(",")}


# --- check ----------------------------------------------------------------------------------------


def _check(args: argparse.Namespace, console: Console, library: TemplateLibrary) -> int:
    chosen = [library.get(name) for name in args.names] or [t for _, t in sorted(library.templates.items())]
    allowed = core_classes() | library.config.allowed_nodes
    results = []
    for template in chosen:
        number, problems = 0, [*template.problems]
        if not problems:
            number, problems = try_template(library.profile, template, Signatures.recorded(), allowed)
        results.append((template, number, problems))
    found = [problem for _, _, problems in results for problem in problems]
    live = asyncio.run(_live(args, library, chosen, allowed, found)) if args.server else []
    found += live
    code = FAILED if any(problem.level == "error" for problem in found) else 0
    if args.json:
        data = [
            {"name": t.name, "samples": number, "ok": not _errors(problems), "problems": [*map(problem_json, problems)]}
            for t, number, problems in results
        ]
        return print_envelope("template", data, code, found)
    console.problems([problem for problem in found if problem.level != "advice" or not args.quiet])
    for template, number, problems in results:
        bad = _errors(problems)
        mark = console.paint("✗", "red", "bold") if bad else console.paint("✓", "green", "bold")
        state = f"fits the nodes of ComfyUI in {count(number, 'setting combination')}"
        console.say(f"{mark} {template.name}  {count(len(bad), 'error') if bad else state}")
    if args.server and not _errors(found):
        console.say(f"{console.paint('✓', 'green', 'bold')} and those of {', '.join(args.server)}")
    return code


def _errors(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.level == "error"]


async def _live(
    args: argparse.Namespace,
    library: TemplateLibrary,
    chosen: list[Template],
    allowed: frozenset[str],
    known: list[Problem],
) -> list[Problem]:
    """Return the problems with the nodes and files of real servers that are not `known` already."""
    config = {"servers": list(library.config.servers)} if library.config.servers else {}
    found: list[Problem] = []
    for place in find_servers(args.server, os.environ, config):
        async with Client(place.server) as client:
            signatures = Signatures.from_object_info(await client.object_info())
            loras = await client.models("loras")
            names = {}
            for role, model in library.profile.models.items():
                listed = await client.models(model.folder)
                there = (model.find(precision, listed) for precision in model.order)
                names[role] = next((name for name in there if name), model.weights[model.order[0]][0])
        for template in (one for one in chosen if not one.problems):
            problems = try_template(library.profile, template, signatures, allowed, names, loras[:1])[1]
            found += [_at(problem, str(place.server)) for problem in problems if problem not in known]
    return found


def _at(problem: Problem, server: str) -> Problem:
    return replace(problem, message=f"{server}: {problem.message}")


# --- import ---------------------------------------------------------------------------------------


def _import(args: argparse.Namespace, console: Console) -> int:
    if len(args.names) != 1:
        raise LtxflowError(problem("U002.one-file"))
    source = Path(args.names[0])
    workflow = read_source(source)
    config = read_config(os.environ)
    infos = asyncio.run(_object_infos(args.server, config)) if args.server else []
    imported = import_workflow(workflow, infos, lambda: [] if args.server else _discovered(config))
    recognised = imported.recognised
    project = find_project(args.project, Path.cwd())
    name = args.name or _name_of(source)
    file = project.parent / "templates" / f"{name}{SUFFIX}"
    profile, size = _film(project, args.root)
    title = name.replace("_", " ").replace("-", " ")
    made = template_text(recognised, title, f"your own workflow, {source.name}")
    _refuse_name(name, file, profile, made, args.force)
    files.make_dir(file.parent)
    files.write_atomic(file, made)
    notes = [*recognised.problems, *_size_notes(recognised, profile, size)]
    notes += _allowance(recognised, config)
    template = read_template(file, trusted=False)
    allowed = core_classes() | config.allowed_nodes | frozenset(recognised.foreign)
    signatures = Signatures.from_object_info(infos[0]) if infos else Signatures.recorded()
    _, wrong = try_template(profile, template, signatures, allowed, {} if infos else None)  # with its files
    wrong = [
        problem for problem in wrong if problem.code not in ("L084", "N103")
    ]  # notes above word these for an import
    if args.json:
        return print_envelope("template", _as_data(name, file, imported, profile), 0, [*notes, *wrong])
    _print_import(console, args, file, imported)
    for note in notes:
        console.say(f"  {console.paint('!', 'yellow', 'bold')} {note.message}")
        if note.hint:
            console.say(f"      {note.hint}")
    if wrong:
        by = args.server[0] if infos else "ComfyUI 0.27"
        console.say(f"  {console.paint('!', 'yellow', 'bold')} it does not fit the nodes of {by}:")
        if not infos:
            console.say(f"      a newer server may differ: ltxflow template check {name} --server URL")
        console.problems(wrong)
    _print_use(console, args, name, recognised, profile)
    return 0


async def _object_infos(args: list[str], config: Config) -> list[dict[str, Any]]:
    """Return the nodes of servers. Raise LtxflowError for one that does not answer."""
    found = []
    for place in find_servers(args, os.environ, config.as_servers):
        async with Client(place.server) as client:
            found.append(await client.object_info())
    return found


def _discovered(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the nodes of each discovered server; skip those that do not answer."""
    for place in find_servers([], os.environ, config.as_servers):
        with suppress(LtxflowError):
            yield asyncio.run(_object_info(place))


async def _object_info(place: ServerAddress) -> dict[str, Any]:
    async with Client(place.server) as client:
        return await client.object_info()


def _name_of(source: Path) -> str:
    """Return the name of a template for a file: `My Workflow_api.json` → `my-workflow`."""
    stem = re.sub(r"\.(json|png|webp|jpe?g|mp4|mov|mkv|webm)$", "", source.name, flags=re.IGNORECASE)
    stem = re.sub(r"[ _.-]?api$", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9_.]+", "-", stem.lower()).strip("-._")[:64] or "workflow"


def _refuse_name(name: str, file: Path, profile: Profile, made: str, is_forced: bool) -> None:
    if not NAME.fullmatch(name):
        raise LtxflowError(problem("T024.invalid", name=name))
    if is_forced:
        return
    if os.path.lexists(file) and digest_there(file) != digest_bytes(made.encode()):
        raise LtxflowError(problem("T024.exists", name=name, file=shown(file)))
    if (templates_folder() / profile.name / f"{name}{SUFFIX}").is_file():
        raise LtxflowError(problem("T024.built-in", name=name, profile=profile.name))


def _film(project: Path, root: str | None) -> tuple[Profile, tuple[int, int] | None]:
    """Return the profile and size of the film; the default profile and no size where it cannot be read yet."""
    try:
        film = load(project, root=root, is_trusted=True).project
    except LtxflowError:
        return load_profile(DEFAULT_PROFILE), None
    profile: Profile = film.profile
    return profile, film.size


def _size_notes(recognised: ImportedWorkflow, profile: Profile, size: tuple[int, int] | None) -> Iterator[Problem]:
    """Yield a warning where the size of the film does not reach the workflow."""
    if size is None or recognised.has_crop or recognised.cut:
        return
    wanted = "x".join(map(str, size))
    if recognised.makes:
        makes = "x".join(f"{side:g}" for side in recognised.makes)
        yield problem("U028.fixed-size", wanted=wanted, makes=makes)
    elif {"width", "decoded_width"} & {*recognised.variables}:
        sizes = geometry(profile, size, recognised.stages)
        if sizes.is_cropped:
            made = "x".join(map(str, sizes.decoded))
            yield problem("U028.no-crop", wanted=wanted, makes=made)


def _allowance(recognised: ImportedWorkflow, config: Config) -> Iterator[Problem]:
    missing = [name for name in recognised.foreign if name not in config.allowed_nodes]
    if missing:
        allowed = json.dumps(sorted({*config.allowed_nodes, *missing}))
        file = config.folder / "config.yaml"
        yield problem("N102.imported", level="warning", nodes=", ".join(missing), file=file, allowed=allowed)


def _as_data(name: str, file: Path, imported: Imported, profile: Profile) -> dict[str, Any]:
    recognised = imported.recognised
    return {
        "name": name,
        "file": str(file),
        "profile": profile.name,
        "stages": recognised.stages,
        "needs": list(recognised.needs),
        "found": [
            {"variable": one.variable, "node": one.node, "class": one.class_type, "input": one.input, "was": one.was}
            for one in recognised.found
        ],
        "changed": [*imported.notes, *recognised.changed],
        "dropped": list(recognised.dropped),
        "left": list(recognised.left),
        "foreign": list(recognised.foreign),
        "settings": dict(_settings(recognised)),
    }


def _print_import(console: Console, args: argparse.Namespace, file: Path, imported: Imported) -> None:
    recognised = imported.recognised
    kept = len(recognised.graph)
    nodes = count(kept, "node") if kept >= imported.nodes else f"{kept} of {count(imported.nodes, 'node')}"
    console.say(f"{console.paint('✓', 'green', 'bold')} {shown(file)}  from {args.names[0]}, {nodes}")
    if args.quiet:
        return
    console.say()
    console.say("  values that the clip now decides")
    rows = []
    for one in recognised.found:
        value = json.dumps(one.was, ensure_ascii=False) if one.was is not None else "computed"
        cut = value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"
        rows.append((one.text if len(one.text) < 40 else f"{{{{ {one.variable} … }}}}", _place(one), cut))
    for line in columns(rows):
        console.say(f"    {line}")
    changed = [*imported.notes, *recognised.changed]
    if recognised.cut:
        last = f'"{recognised.cut.source[0]}" ({recognised.graph[recognised.cut.source[0]]["class_type"]})'
        changed.append(f"a film size that the model does not sample is cropped from a larger image, after node {last}")
    _print_part(console, "changed", changed)
    _print_part(console, "left out: no saved output needs it", recognised.dropped, DROPPED)
    kept_as = [*recognised.left, "loras, steps, cfg and weights of a clip do not reach it"]
    _print_part(console, "unchanged", kept_as)


def _print_part(console: Console, title: str, sentences: Sequence[str], most: int = 0) -> None:
    if not sentences:
        return
    console.say(f"  {title}")
    some = sentences[:most] if most else sentences
    for sentence in some:
        console.say(f"    {sentence}")
    if len(some) < len(sentences):
        console.say(f"    and {len(sentences) - len(some)} more")


def _place(one: Any) -> str:
    return f"{one.node} {one.class_type}.{one.input}"


def _settings(recognised: ImportedWorkflow) -> Iterator[tuple[str, Any]]:
    """Yield the settings with which a clip renders as the workflow did."""
    yield "stages", recognised.stages
    if any(one.variable == "fps * 2" for one in recognised.found):
        yield "temporal_upscale", True
    if recognised.was("negative"):
        yield "negative", recognised.was("negative")


def _print_use(
    console: Console, args: argparse.Namespace, name: str, recognised: ImportedWorkflow, profile: Profile
) -> None:
    if args.quiet:
        return
    console.say()
    console.say("  use it on a clip")
    console.say(f"    template: {name}")
    for setting, value in _settings(recognised):
        console.say(f"    {setting}: {json.dumps(value, ensure_ascii=False)}")
    for need in recognised.needs:
        console.say(f"    {need}: {EXAMPLES[need]}")
    console.say()
    where = f" -p {args.project}" if args.project else ""
    console.say("  a template decides what a server runs: read it, then allow it")
    console.say(f"    ltxflow trust{where}")
