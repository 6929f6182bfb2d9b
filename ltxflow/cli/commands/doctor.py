"""What works here and what does not: libraries, store, project, servers, models. Each finding with a next step."""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ltxflow.cli import diagnostics
from ltxflow.cli.diagnostics import Diagnostic, ServerReport
from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import ServerAddress
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError
from ltxflow.documents.paths import find_project
from ltxflow.farm.capabilities import ServerRequirements, holding_of, needs_of, ours, usual_needs
from ltxflow.farm.journal import Journal, submissions
from ltxflow.farm.servers import JOURNAL
from ltxflow.models.load import load_profile
from ltxflow.project.config import Config, read_config
from ltxflow.session.session import Session, open_session
from ltxflow.store.store import open_store
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, count

DEFAULT_PROFILE = "ltx2-19b"
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="look at this server; repeatable, or a name"
    )


def run(args: argparse.Namespace, face: Console) -> int:
    with ExitStack() as opened:
        patient = _look_around(args, opened)
    findings = [diagnostics.without_home(finding, _homes()) for finding in patient.findings]
    errors = sum(finding.level == "error" for finding in findings)
    code = FAILED if errors else 0
    if args.server and not any(seen.stats for seen in patient.servers):
        code = UNREACHABLE
    if args.json:
        data = {
            "findings": [finding.as_json() for finding in findings],
            "servers": [seen.as_json() for seen in patient.servers],
            "counts": {level: sum(f.level == level for f in findings) for level in MARKS},
        }
        return print_envelope("doctor", data, code)
    for finding in findings:
        if finding.level == "ok" and args.quiet:
            continue
        mark, colour = MARKS[finding.level]
        where = f"{face.paint(finding.where, 'bold')}  " if finding.where else ""
        face.say(f"{face.paint(mark, colour, 'bold')} {where}{finding.message}")
        if finding.hint:
            face.say(f"    {face.paint('→', colour)} {finding.hint}")
    warnings = sum(finding.level == "warning" for finding in findings)
    told = ", ".join(count(n, what) for n, what in ((errors, "error"), (warnings, "warning")) if n)
    face.say()
    face.say(told or "all is well")
    return code


def _homes() -> list[str]:
    home = os.environ.get("HOME") or str(Path.home())
    return [home, str(Path(home).resolve())]


@dataclass
class _Patient:
    """What was found so far."""

    config: Config
    session: Session | None = None
    findings: list[Diagnostic] = field(default_factory=list)
    servers: list[ServerReport] = field(default_factory=list)


def _look_around(args: argparse.Namespace, opened: ExitStack) -> _Patient:
    findings = list(diagnostics.machine_findings())
    try:
        config = read_config(os.environ)
    except LtxflowError as error:
        findings += [diagnostics.of_problem("config", problem) for problem in error.problems]
        config = Config(Path(os.devnull))
    patient = _Patient(config, findings=findings)
    _look_at_store(patient)
    _look_at_project(args, patient, opened)
    _look_at_servers(args, patient)
    return patient


def _look_at_store(patient: _Patient) -> None:
    source = "LTXFLOW_STORE" if os.environ.get("LTXFLOW_STORE") else "user config" if patient.config.store else "usual"
    try:
        store = open_store(os.environ, patient.config.store)
    except LtxflowError as error:
        patient.findings += [diagnostics.of_problem("store", problem) for problem in error.problems]
        return
    patient.findings += diagnostics.store_findings(store, source)


def _look_at_project(args: argparse.Namespace, patient: _Patient, opened: ExitStack) -> None:
    try:
        file = find_project(args.project, Path.cwd())
    except LtxflowError as error:
        if args.project is not None:
            raise
        hint = error.problems[0].hint
        patient.findings.append(Diagnostic("project", "ok", "no project here: only the rest is looked at", hint))
        return
    try:
        session = opened.enter_context(open_session(str(file), cwd=Path.cwd(), env=os.environ, root=args.root))
    except LtxflowError as error:
        told = {finding.message for finding in patient.findings}  # of the store, which a project needs, too
        if all(problem.message in told for problem in error.problems):
            return
        patient.findings += diagnostics.closed_project_findings(file, args.root, patient.config, error)
        return
    patient.session = session
    patient.findings += diagnostics.project_findings(session)


def _look_at_servers(args: argparse.Namespace, patient: _Patient) -> None:
    default = patient.session.project.server if patient.session else ""
    try:
        places = diagnostics.places_for(args.server, os.environ, patient.config, default)
    except LtxflowError as error:
        patient.findings += [diagnostics.of_problem("servers", problem) for problem in error.problems]
        return
    patient.findings += diagnostics.source_findings(places, os.environ, patient.config)
    needs = _needs(patient)
    asyncio.run(_ask(patient, places, needs))


def _needs(patient: _Patient) -> ServerRequirements:
    if patient.session is None:
        return usual_needs(load_profile(DEFAULT_PROFILE))
    try:
        return needs_of(patient.session)
    except LtxflowError as error:
        patient.findings += [diagnostics.of_problem("project", problem) for problem in error.problems]
        return usual_needs(patient.session.project.profile)


async def _ask(patient: _Patient, places: list[ServerAddress], needs: ServerRequirements) -> None:
    """Look at all servers at once; of mere guesses only the first that answers would be used."""
    ours = _our_prompts(patient.session)
    answers = await asyncio.gather(*(diagnostics.see(place, ours) for place in places))
    try:
        if places and places[0].is_guess:
            answers = _first_guess(patient, answers)
        found = [await _of_server(seen, client, needs, patient.config) for seen, client in answers]
    finally:
        await asyncio.gather(*(client.close() for _, client in answers if client))
    patient.servers = [seen for seen, _ in answers]
    patient.findings += diagnostics.eased([finding for some in found for finding in some])


def _our_prompts(session: Session | None) -> set[str]:
    known = submissions(Journal(session.own / JOURNAL)) if session else {}
    return {submission.prompt_id for some in known.values() for submission in some}


def _first_guess(
    patient: _Patient, answers: list[tuple[ServerReport, Client | None]]
) -> list[tuple[ServerReport, Client | None]]:
    there = [(seen, client) for seen, client in answers if seen.stats]
    if not there:
        hint = "start ComfyUI, or name a server with --server or COMFY_URL; slates need none: ltxflow build --animatic"
        patient.findings.append(Diagnostic("servers", "ok", "no server: animatic only", hint))
    for seen, _ in there[1:]:
        message = f"{seen.place.url} answers, too, and is not used"
        patient.findings.append(Diagnostic("servers", "warning", message, "choose by COMFY_URL, or name both"))
    return there[:1]


async def _of_server(
    seen: ServerReport, client: Client | None, needs: ServerRequirements, config: Config
) -> list[Diagnostic]:
    found = list(diagnostics.server_findings(seen))
    if client is not None and seen.stats is not None:
        found += await diagnostics.film_findings(seen, client, needs, config)
        with suppress(LtxflowError):  # what it does not tell of a film's models is among its findings already
            found += diagnostics.model_findings(await holding_of(client, ours()))
    return found
