"""Templates: bring in a workflow of your own, list what there is, show one, check that each fits ComfyUI's nodes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import ServerAddress, find_servers
from ltxflow.comfy.signatures import Signatures, core_classes
from ltxflow.core import files
from ltxflow.core.digest import digest_bytes, digest_there
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.documents.paths import find_project, shown
from ltxflow.models.geometry import geometry
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.models.profile import Profile
from ltxflow.plan.samples import try_template
from ltxflow.project.config import Config, is_trusted, read_config
from ltxflow.project.load import load
from ltxflow.ui.json_lines import print_envelope, problem_json
from ltxflow.ui.terminal import Console, columns, count
from ltxflow.workflow import template as templates_module
from ltxflow.workflow.api_format import template_text
from ltxflow.workflow.import_file import EXPORT_HINT, Imported, import_workflow, read_source
from ltxflow.workflow.importer import ImportedWorkflow
from ltxflow.workflow.template import SUFFIX, Template, read_template, read_templates, variables

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    choices = ["list", "show", "check", "import"]
    parser.add_argument("what", nargs="?", choices=choices, default="list", help="what to do (default: list)")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FILE|NAME",
        help="the workflow to import, also in a picture or video that ComfyUI made, or names of templates",
    )
    parser.add_argument("--name", help="import: what the template is called (default: as the file)")
    parser.add_argument("--force", action="store_true", help="import: replace a template of that name")
    parser.add_argument("--variables", action="store_true", help="show: the variables it reads, and what they are")
    parser.add_argument("--profile", metavar="P", help="the model, where there is no project (default: ltx2-19b)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="check: against the nodes this server has, too; import: read values by them",
    )


def run(args: argparse.Namespace, face: Console) -> int:
    if args.what == "import":
        return _import(args, face)
    library = _library(args)
    if args.what == "list":
        return _list(args, face, library)
    if args.what == "show":
        return _show(args, face, library)
    return _check(args, face, library)


@dataclass(frozen=True)
class TemplateLibrary:
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


def _list(args: argparse.Namespace, face: Console, library: TemplateLibrary) -> int:
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
        face.say(face.paint(line, "dim") if number == 0 else line)
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


def _show(args: argparse.Namespace, face: Console, library: TemplateLibrary) -> int:
    if len(args.names) != 1:
        raise LtxflowError(Problem("show takes one template", hint="ltxflow template list tells what there is"))
    template = library.readable(args.names[0])
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


def _check(args: argparse.Namespace, face: Console, library: TemplateLibrary) -> int:
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
    args: argparse.Namespace,
    library: TemplateLibrary,
    chosen: list[Template],
    allowed: frozenset[str],
    known: list[Problem],
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
                listed = await client.models(model.folder)
                there = (model.find(precision, listed) for precision in model.order)
                names[role] = next((name for name in there if name), model.weights[model.order[0]][0])
        for template in (one for one in chosen if not one.problems):
            problems = try_template(library.profile, template, signatures, allowed, names, loras[:1])[1]
            found += [_at(problem, str(place.server)) for problem in problems if problem not in known]
    return found


def _at(problem: Problem, server: str) -> Problem:
    return Problem(f"{server}: {problem.message}", problem.span, problem.hint, problem.code, problem.level)


# --- import ---------------------------------------------------------------------------------------


def _import(args: argparse.Namespace, face: Console) -> int:
    if len(args.names) != 1:
        hint = f"{EXPORT_HINT}, then: ltxflow template import my_workflow.json"
        raise LtxflowError(Problem("import takes one file", hint=hint, code="U002"))
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
    _, wrong = try_template(profile, template, signatures, allowed, {} if infos else None)  # its files, too
    wrong = [problem for problem in wrong if problem.code not in ("L084", "N103")]  # those are told in plainer words
    if args.json:
        return print_envelope("template", _as_data(name, file, imported, profile), 0, [*notes, *wrong])
    _tell_import(face, args, file, imported)
    for note in notes:
        face.say(f"  {face.paint('!', 'yellow', 'bold')} {note.message}")
        if note.hint:
            face.say(f"      {note.hint}")
    if wrong:
        by = args.server[0] if infos else "ComfyUI 0.27"
        face.say(f"  {face.paint('!', 'yellow', 'bold')} by the nodes of {by} something is wrong in it:")
        if not infos:
            face.say(f"      a newer server may differ: ltxflow template check {name} --server URL")
        face.problems(wrong)
    _tell_use(face, args, name, recognised, profile)
    return 0


async def _object_infos(args: list[str], config: Config) -> list[dict[str, Any]]:
    """The nodes that servers have. Raise LtxflowError for one that does not answer."""
    found = []
    for place in find_servers(args, os.environ, config.as_servers):
        async with Client(place.server) as client:
            found.append(await client.object_info())
    return found


def _discovered(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the nodes of the servers that are found, one by one; one that does not answer is passed over."""
    for place in find_servers([], os.environ, config.as_servers):
        with suppress(LtxflowError):
            yield asyncio.run(_object_info(place))


async def _object_info(place: ServerAddress) -> dict[str, Any]:
    async with Client(place.server) as client:
        return await client.object_info()


def _name_of(source: Path) -> str:
    """`My Workflow_api.json` → `my-workflow`"""
    stem = re.sub(r"\.(json|png|webp|jpe?g|mp4|mov|mkv|webm)$", "", source.name, flags=re.IGNORECASE)
    stem = re.sub(r"[ _.-]?api$", "", stem, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9_.]+", "-", stem.lower()).strip("-._")[:64] or "workflow"


def _refuse_name(name: str, file: Path, profile: Profile, made: str, is_forced: bool) -> None:
    if not NAME.fullmatch(name):
        hint = "letters, digits, hyphens: ltxflow template import FILE --name my-look"
        raise LtxflowError(Problem(f'"{name}" is no name for a template', hint=hint, code="T024"))
    if is_forced:
        return
    if os.path.lexists(file) and digest_there(file) != digest_bytes(made.encode()):
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


def _size_notes(recognised: ImportedWorkflow, profile: Profile, size: tuple[int, int] | None) -> Iterator[Problem]:
    """Say where the film's size does not reach the workflow, with both sizes."""
    if size is None or recognised.has_crop or recognised.cut:
        return
    wanted = "x".join(map(str, size))
    if recognised.makes:
        makes = "x".join(f"{side:g}" for side in recognised.makes)
        hint = "set the workflow's own size to the film's, and import it again"
        message = f"the film is {wanted}, and this workflow makes {makes}, whatever the film's size is"
        yield Problem(message, None, hint, "", "warning")
    elif {"width", "decoded_width"} & {*recognised.variables}:
        sizes = geometry(profile, size, recognised.stages)
        if sizes.is_cropped:
            made = "x".join(map(str, sizes.decoded))
            hint = "put an ImageCrop after its decoder and import it again, or give the film a size that is sampled"
            message = f"the film is {wanted}, and this workflow makes {made}: it cuts nothing off"
            yield Problem(message, None, hint, "", "warning")


def _allowance(recognised: ImportedWorkflow, config: Config) -> Iterator[Problem]:
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


def _tell_import(face: Console, args: argparse.Namespace, file: Path, imported: Imported) -> None:
    recognised = imported.recognised
    kept = len(recognised.graph)
    nodes = count(kept, "node") if kept >= imported.nodes else f"{kept} of {count(imported.nodes, 'node')}"
    face.say(f"{face.paint('✓', 'green', 'bold')} {shown(file)}  from {args.names[0]}, {nodes}")
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
    changed = [*imported.notes, *recognised.changed]
    if recognised.cut:
        last = f'"{recognised.cut.source[0]}" ({recognised.graph[recognised.cut.source[0]]["class_type"]})'
        changed.append(f"a size that the model does not sample is cut out of a larger picture, after node {last}")
    _tell_part(face, "changed", changed)
    _tell_part(face, "left out: nothing that is fetched needs it", recognised.dropped, DROPPED)
    kept_as = [*recognised.left, "a clip's loras, steps, cfg and weights do not reach it"]
    _tell_part(face, "left as it was", kept_as)


def _tell_part(face: Console, title: str, sentences: Sequence[str], most: int = 0) -> None:
    if not sentences:
        return
    face.say(f"  {title}")
    some = sentences[:most] if most else sentences
    for sentence in some:
        face.say(f"    {sentence}")
    if len(some) < len(sentences):
        face.say(f"    and {len(sentences) - len(some)} more")


def _place(one: Any) -> str:
    return f"{one.node} {one.class_type}.{one.input}"


def _settings(recognised: ImportedWorkflow) -> Iterator[tuple[str, Any]]:
    """What a clip needs to say so that the template does as the workflow did."""
    yield "stages", recognised.stages
    if any(one.variable == "fps * 2" for one in recognised.found):
        yield "temporal_upscale", True
    if recognised.was("negative"):
        yield "negative", recognised.was("negative")


def _tell_use(
    face: Console, args: argparse.Namespace, name: str, recognised: ImportedWorkflow, profile: Profile
) -> None:
    if args.quiet:
        return
    face.say()
    face.say("  use it on a clip")
    face.say(f"    template: {name}")
    for setting, value in _settings(recognised):
        face.say(f"    {setting}: {json.dumps(value, ensure_ascii=False)}")
    for need in recognised.needs:
        face.say(f"    {need}: {EXAMPLES[need]}")
    face.say()
    where = f" -p {args.project}" if args.project else ""
    face.say("  a template decides what a server does: look at it, then allow it")
    face.say(f"    ltxflow trust{where}")
