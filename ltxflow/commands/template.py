"""Templates: bring in a workflow of your own, list what there is, show one, check that each fits ComfyUI's nodes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.importing import Recognised, recognise
from ltxflow.comfy.nodes import Signatures, core_classes
from ltxflow.comfy.places import find_servers
from ltxflow.comfy.rewriting import template_text
from ltxflow.comfy.workflow import MAX_CHARACTERS, read_workflow
from ltxflow.core import files
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span
from ltxflow.faces.jsonlines import print_envelope, problem_json
from ltxflow.faces.terminal import Face, columns, count
from ltxflow.script import template as templates_module
from ltxflow.script.config import Config, is_trusted, read_config
from ltxflow.script.load import load
from ltxflow.script.paths import find_project, shown
from ltxflow.script.profile import Profile, geometry, load_profile, templates_folder
from ltxflow.script.template import SUFFIX, Template, read_template, read_templates, variables
from ltxflow.verbs.samples import try_template

DEFAULT_PROFILE = "ltx2-19b"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SHOWN = 60  # characters of a value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    choices = ["list", "show", "check", "import"]
    parser.add_argument("what", nargs="?", choices=choices, default="list", help="what to do (default: list)")
    parser.add_argument(
        "names", nargs="*", metavar="FILE|NAME", help="the workflow to import (API format), or names of templates"
    )
    parser.add_argument("--name", help="import: what the template is called (default: as the file)")
    parser.add_argument("--force", action="store_true", help="import: replace a template of that name")
    parser.add_argument("--variables", action="store_true", help="show: the variables it reads, and what they are")
    parser.add_argument("--profile", metavar="P", help="the model, where there is no project (default: ltx2-19b)")
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="check: against the nodes this server has, too"
    )


def run(args: argparse.Namespace, face: Face) -> int:
    if args.what == "import":
        return _import(args, face)
    library = _library(args)
    if args.what == "list":
        return _list(args, face, library)
    if args.what == "show":
        return _show(args, face, library)
    return _check(args, face, library)


@dataclass(frozen=True)
class Library:
    """The templates in reach: those of a profile, and of the project if there is one."""

    profile: Profile
    templates: dict[str, Template]
    config: Config
    folder: Path | None = None  # of the project
    is_trusted: bool = False

    def get(self, name: str) -> Template:
        if name not in self.templates:
            there = ", ".join(sorted(self.templates))
            raise LtxflowError(Problem(f'no template "{name}" for {self.profile.name}', hint=f"there are: {there}"))
        return self.templates[name]


def _library(args: argparse.Namespace) -> Library:
    config = read_config(os.environ)
    file = _project_file(args)
    if file is None:
        profile = load_profile(args.profile or DEFAULT_PROFILE)
        return Library(profile, dict(read_templates(profile.name, None)), config)
    project = load(file, root=args.root, is_trusted=True).project
    trusted = is_trusted(config, project.folder, project.foreign)
    return Library(project.profile, dict(project.templates), config, project.folder, trusted)


def _project_file(args: argparse.Namespace) -> Path | None:
    """The project's file; without one, or with --profile, None: our own templates need no film."""
    if args.profile and args.project is None:
        return None
    try:
        return find_project(args.project, Path.cwd())
    except LtxflowError:
        if args.project is not None:
            raise
        return None


# --- list and show --------------------------------------------------------------------------------


def _list(args: argparse.Namespace, face: Face, library: Library) -> int:
    data = [_facts(library, template) for _, template in sorted(library.templates.items())]
    if args.json:
        return print_envelope("template", data, 0)
    rows = [("name", "needs", "from", "trusted", "what it makes")]
    for one in data:
        makes = " · ".join(part for part in (one["title"], one["way"]) if part)
        trusted = "yes" if one["trusted"] else "no: ltxflow trust"
        rows.append((one["name"], ", ".join(one["needs"]) or "-", one["origin"], trusted, makes))
    for number, line in enumerate(columns(rows)):
        face.say(face.paint(line, "dim") if number == 0 else line)
    return 0


def _facts(library: Library, template: Template) -> dict[str, Any]:
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
    }


def _show(args: argparse.Namespace, face: Face, library: Library) -> int:
    if len(args.names) != 1:
        raise LtxflowError(Problem("show takes one template", hint="ltxflow template list tells what there is"))
    template = library.get(args.names[0])
    used = variables(template)
    told = {name: _documented().get(name, "not a variable that ltxflow gives") for name in sorted(used)}
    if args.json:
        return print_envelope("template", {**_facts(library, template), "text": template.text, "variables": told}, 0)
    if args.variables:
        for line in columns(told.items()):
            face.say(line)
    else:
        face.say(template.text.rstrip())
    return 0


def _documented() -> dict[str, str]:
    """Variable → what it is, from the table where they are documented: the module's docstring."""
    rows = re.findall(r"^\| ([a-z_0-9, ]+) \| (.+) \|$", templates_module.__doc__ or "", re.MULTILINE)
    return {name.strip(): text for names, text in rows for name in names.split(",")}


# --- check ----------------------------------------------------------------------------------------


def _check(args: argparse.Namespace, face: Face, library: Library) -> int:
    chosen = [library.get(name) for name in args.names] or [t for _, t in sorted(library.templates.items())]
    allowed = core_classes() | library.config.allowed_nodes
    results = []
    for template in chosen:
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
    face.problems([problem for problem in found if problem.level != "advice" or not args.quiet])
    for template, number, problems in results:
        bad = _errors(problems)
        mark = face.paint("✗", "red", "bold") if bad else face.paint("✓", "green", "bold")
        told = count(len(bad), "error") if bad else f"fits the nodes of ComfyUI, in {count(number, 'shape')}"
        face.say(f"{mark} {template.name}  {told}")
    if args.server and not _errors(found):
        face.say(f"{face.paint('✓', 'green', 'bold')} and what {', '.join(args.server)} has")
    return code


def _errors(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.level == "error"]


async def _live(
    args: argparse.Namespace, library: Library, chosen: list[Template], allowed: frozenset[str], known: list[Problem]
) -> list[Problem]:
    """What is wrong by the nodes and files that servers really have, and is not `known` already."""
    config = {"servers": list(library.config.servers)} if library.config.servers else {}
    found: list[Problem] = []
    for place in find_servers(args.server, os.environ, config):
        async with Client(place.server) as client:
            signatures = Signatures.from_object_info(await client.object_info())
            loras = await client.models("loras")
            names = {}
            for role, model in library.profile.models.items():
                weights = model.precision(library.profile.default_weights.get(role, "")) or next(iter(model.weights))
                names[role] = model.find(weights, await client.models(model.folder)) or model.weights[weights][0]
        for template in chosen:
            problems = try_template(library.profile, template, signatures, allowed, names, loras[:1])[1]
            found += [_at(problem, str(place.server)) for problem in problems if problem not in known]
    return found


def _at(problem: Problem, server: str) -> Problem:
    return Problem(f"{server}: {problem.message}", problem.span, problem.hint, problem.code, problem.level)


# --- import ---------------------------------------------------------------------------------------


def _import(args: argparse.Namespace, face: Face) -> int:
    if len(args.names) != 1:
        hint = f"{EXPORT_HINT}, then: ltxflow template import my_workflow_api.json"
        raise LtxflowError(Problem("import takes one file", hint=hint, code="U002"))
    source = Path(args.names[0])
    text = _read(source)
    graph = read_workflow(text, shown(source))
    recognised = recognise(graph)
    project = find_project(args.project, Path.cwd())
    name = args.name or _name_of(source)
    file = project.parent / "templates" / f"{name}{SUFFIX}"
    config = read_config(os.environ)
    profile, size = _film(project, args.root)
    title = name.replace("_", " ").replace("-", " ")
    made = template_text(text, recognised, title, f"your own workflow, {source.name}")
    _refuse_name(name, file, profile, made, args.force)
    files.make_dir(file.parent)
    files.write_atomic(file, made)
    notes = [*recognised.problems, *_size_notes(recognised, profile, size)]
    notes += _allowance(recognised, config)
    template = read_template(file, trusted=False)
    allowed = core_classes() | config.allowed_nodes | frozenset(recognised.foreign)
    _, wrong = try_template(profile, template, Signatures.recorded(), allowed)
    wrong = [problem for problem in wrong if problem.code not in ("L084", "N103")]  # those are told in plainer words
    if args.json:
        return print_envelope("template", _imported(name, file, recognised, profile), 0, [*notes, *wrong])
    _tell_import(face, args, file, graph, recognised)
    for note in notes:
        face.say(f"  {face.paint('!', 'yellow', 'bold')} {note.message}")
        if note.hint:
            face.say(f"      {note.hint}")
    if wrong:
        told = "by the nodes of ComfyUI 0.27 something is wrong in it; a newer server may differ:"
        face.say(f"  {face.paint('!', 'yellow', 'bold')} {told}")
        face.say(f"      ltxflow template check {name} --server URL")
        face.problems(wrong)
    _tell_use(face, args, name, recognised, profile)
    return 0


EXPORT_HINT = "export it in ComfyUI: File → Export (API)"


def _read(source: Path) -> str:
    """Return the file's text. Raise LtxflowError for what is not there, no text, or far too large to be a workflow."""
    where = Span(shown(source), 1, 1)
    try:
        with source.open("rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise LtxflowError(Problem(f'cannot read "{source}": {reason}', hint=EXPORT_HINT, code="T020")) from None
    if len(data) > 4 * MAX_CHARACTERS:
        message = f"the file is larger than {4 * MAX_CHARACTERS >> 20} MB: no workflow is"
        raise LtxflowError(Problem(message, where, EXPORT_HINT, "T020"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        hint = "a picture or video that ComfyUI made opens its workflow when it is dropped on ComfyUI; "
        raise LtxflowError(Problem("this is not a text file", where, hint + EXPORT_HINT, "T020")) from None


def _name_of(source: Path) -> str:
    """`My Workflow_api.json` → `my-workflow`"""
    stem = re.sub(r"[ _.-]?api$", "", source.name.removesuffix(".json"), flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9_.]+", "-", stem.lower()).strip("-._")[:64] or "workflow"


def _refuse_name(name: str, file: Path, profile: Profile, made: str, is_forced: bool) -> None:
    if not NAME.fullmatch(name):
        hint = "letters, digits, hyphens: ltxflow template import FILE --name my-look"
        raise LtxflowError(Problem(f'"{name}" is no name for a template', hint=hint, code="T024"))
    if is_forced:
        return
    if file.exists() and file.read_bytes() != made.encode():
        hint = "--force replaces it, --name gives the new one another name"
        raise LtxflowError(Problem(f'there is a template "{name}": {shown(file)}', hint=hint, code="T024"))
    if (templates_folder() / profile.name / f"{name}{SUFFIX}").is_file():
        hint = f"--name gives it another name; --force lets it stand for ours: every clip made by {name} uses it then"
        raise LtxflowError(Problem(f'"{name}" is a template of {profile.name}', hint=hint, code="T024"))


def _film(project: Path, root: str | None) -> tuple[Profile, tuple[int, int] | None]:
    """The film's profile and size; of a project that cannot be read yet, the usual profile and no size."""
    try:
        film = load(project, root=root, is_trusted=True).project
    except LtxflowError:
        return load_profile(DEFAULT_PROFILE), None
    profile: Profile = film.profile
    return profile, film.size


def _size_notes(recognised: Recognised, profile: Profile, size: tuple[int, int] | None) -> Iterator[Problem]:
    """A film's size that the model does not sample is cut out of a larger picture, by a node of the workflow."""
    if size is None or recognised.has_crop or not {"width", "decoded_width"} & {*recognised.variables}:
        return
    sizes = geometry(profile, size, recognised.stages)
    if sizes.is_cropped:
        made, wanted = ("x".join(map(str, pair)) for pair in (sizes.decoded, sizes.delivered))
        hint = "put an ImageCrop after its decoder and import it again, or give the film a size that the model samples"
        yield Problem(
            f"the film is {wanted}, and this workflow makes {made}: it cuts nothing off", None, hint, "", "warning"
        )


def _allowance(recognised: Recognised, config: Config) -> Iterator[Problem]:
    missing = [name for name in recognised.foreign if name not in config.allowed_nodes]
    if missing:
        yield Problem(
            f"it uses nodes that not every project may use: {', '.join(missing)}",
            None,
            f"if you trust them, write in {config.folder / 'config.yaml'}:  "
            f"allowed_nodes: {json.dumps(sorted({*config.allowed_nodes, *missing}))}",
            "N102",
            "warning",
        )


def _imported(name: str, file: Path, recognised: Recognised, profile: Profile) -> dict[str, Any]:
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
        "left": list(recognised.left),
        "foreign": list(recognised.foreign),
        "settings": dict(_settings(recognised)),
    }


def _tell_import(
    face: Face, args: argparse.Namespace, file: Path, graph: dict[str, Any], recognised: Recognised
) -> None:
    face.say(f"{face.paint('✓', 'green', 'bold')} {shown(file)}  from {args.names[0]}, {count(len(graph), 'node')}")
    if args.quiet:
        return
    face.say()
    face.say("  found, and now decided by the clip")
    rows = []
    for one in recognised.found:
        value = json.dumps(one.was, ensure_ascii=False) if one.was is not None else "computed"
        cut = value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"
        rows.append((one.text if len(one.text) < 40 else f"{{{{ {one.variable} … }}}}", _place(one), cut))
    for line in columns(rows):
        face.say(f"    {line}")
    face.say("  left as it was")
    for sentence in recognised.left:
        face.say(f"    {sentence}")
    face.say(
        f"    {count(len(graph), 'node')} otherwise unchanged; a clip's loras, steps, cfg and weights do not reach it"
    )


def _place(one: Any) -> str:
    return f"{one.node} {one.class_type}.{one.input}"


def _settings(recognised: Recognised) -> Iterator[tuple[str, Any]]:
    """What a clip needs to say so that the template does as the workflow did."""
    yield "stages", recognised.stages
    if any(one.variable == "fps * 2" for one in recognised.found):
        yield "temporal_upscale", True
    if recognised.was("negative"):
        yield "negative", recognised.was("negative")


def _tell_use(face: Face, args: argparse.Namespace, name: str, recognised: Recognised, profile: Profile) -> None:
    if args.quiet:
        return
    face.say()
    face.say("  use it on a clip")
    face.say(f"    template: {name}")
    for setting, value in _settings(recognised):
        face.say(f"    {setting}: {json.dumps(value, ensure_ascii=False)}")
    for need in recognised.needs:
        face.say(f"    {need}: refs/….png")
    face.say()
    where = f" -p {args.project}" if args.project else ""
    face.say("  a template decides what a server does: look at it, then allow it")
    face.say(f"    ltxflow trust{where}")
