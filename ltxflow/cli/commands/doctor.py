"""Check libraries, store, project, servers and models, and print the next step for each problem."""

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
from ltxflow.core.workspace import real_path
from ltxflow.documents.document import find_project
from ltxflow.farm.capabilities import ServerRequirements, files_of, needs_of, usual_needs
from ltxflow.farm.journal import JOURNAL, Journal, submissions
from ltxflow.models.load import load_profile, shipped_profiles
from ltxflow.project.config import Config, read_config
from ltxflow.session.session import Session, open_session
from ltxflow.store.store import open_store
from ltxflow.ui.terminal import Console, count, print_envelope

DEFAULT_PROFILE = "ltx2-19b"
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a server to check, by URL or name; repeatable"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    with ExitStack() as opened:
        report = _examine(args, opened)
    findings = [diagnostics.without_home(finding, _homes()) for finding in report.findings]
    errors = sum(finding.level == "error" for finding in findings)
    code = FAILED if errors else 0
    named = [server for server in report.servers if not server.place.is_guess]
    if named and not any(server.stats for server in named):
        code = UNREACHABLE
    if args.json:
        data = {
            "findings": [finding.as_json() for finding in findings],
            "servers": [server.as_json() for server in report.servers],
            "counts": {level: sum(f.level == level for f in findings) for level in MARKS},
        }
        return print_envelope("doctor", data, code)
    for finding in findings:
        if finding.level == "ok" and args.quiet:
            continue
        mark, colour = MARKS[finding.level]
        where = f"{console.paint(finding.where, 'bold')}  " if finding.where else ""
        console.say(f"{console.paint(mark, colour, 'bold')} {where}{finding.message}")
        if finding.hint:
            console.say(f"    {console.paint('→', colour)} {finding.hint}")
    warnings = sum(finding.level == "warning" for finding in findings)
    totals = ", ".join(count(n, what) for n, what in ((errors, "error"), (warnings, "warning")) if n)
    console.say()
    console.say(totals or "no problems")
    return code


def _homes() -> list[str]:
    home = os.environ.get("HOME") or str(Path.home())
    return [home, str(real_path(home))]


@dataclass
class _Report:
    """The findings so far, and what later checks need."""

    config: Config
    session: Session | None = None
    findings: list[Diagnostic] = field(default_factory=list)
    servers: list[ServerReport] = field(default_factory=list)


def _examine(args: argparse.Namespace, opened: ExitStack) -> _Report:
    findings = list(diagnostics.machine_findings())
    try:
        config = read_config(os.environ)
    except LtxflowError as error:
        findings += [diagnostics.of_problem("config", problem) for problem in error.problems]
        config = Config(Path(os.devnull))
    report = _Report(config, findings=findings)
    _examine_store(report)
    _examine_project(args, report, opened)
    _examine_servers(args, report)
    return report


def _examine_store(report: _Report) -> None:
    source = "LTXFLOW_STORE" if os.environ.get("LTXFLOW_STORE") else "user config" if report.config.store else "default"
    try:
        store = open_store(os.environ, report.config.store)
    except LtxflowError as error:
        report.findings += [diagnostics.of_problem("store", problem) for problem in error.problems]
        return
    report.findings += diagnostics.store_findings(store, source)


def _examine_project(args: argparse.Namespace, report: _Report, opened: ExitStack) -> None:
    try:
        file = find_project(args.project, Path.cwd())
    except LtxflowError as error:
        if args.project is not None:
            raise
        hint = error.problems[0].hint
        report.findings.append(Diagnostic("project", "ok", "no project here: project checks are skipped", hint))
        return
    try:
        session = opened.enter_context(open_session(str(file), cwd=Path.cwd(), env=os.environ, root=args.root))
    except LtxflowError as error:
        known = {finding.message for finding in report.findings}  # problems of the store, which a project needs, too
        if all(problem.message in known for problem in error.problems):
            return
        report.findings += diagnostics.closed_project_findings(file, args.root, report.config, error)
        return
    report.session = session
    report.findings += diagnostics.project_findings(session)


def _examine_servers(args: argparse.Namespace, report: _Report) -> None:
    default = report.session.project.server if report.session else ""
    try:
        places = diagnostics.places_for(args.server, os.environ, report.config, default)
    except LtxflowError as error:
        report.findings += [diagnostics.of_problem("servers", problem) for problem in error.problems]
        return
    report.findings += diagnostics.source_findings(places, os.environ, report.config)
    needs = _needs(report)
    asyncio.run(_examine_all(report, places, needs))


def _needs(report: _Report) -> ServerRequirements:
    if report.session is None:
        return usual_needs(load_profile(DEFAULT_PROFILE))
    try:
        return needs_of(report.session)
    except LtxflowError as error:
        report.findings += [diagnostics.of_problem("project", problem) for problem in error.problems]
        return usual_needs(report.session.project.profile)


async def _examine_all(report: _Report, places: list[ServerAddress], needs: ServerRequirements) -> None:
    """Check all servers at once; of guessed ones, only the first that answers would be used."""
    ours = _our_prompts(report.session)
    answers = await asyncio.gather(*(diagnostics.probe_server(place, ours) for place in places))
    try:
        if places and places[0].is_guess:
            answers = _first_guess(report, answers)
        found = [await _of_server(server, client, needs, report.config) for server, client in answers]
    finally:
        await asyncio.gather(*(client.close() for _, client in answers if client))
    report.servers = [server for server, _ in answers]
    report.findings += diagnostics.ease([finding for some in found for finding in some])


def _our_prompts(session: Session | None) -> set[str]:
    known = submissions(Journal(session.own / JOURNAL)) if session else {}
    return {submission.prompt_id for some in known.values() for submission in some}


def _first_guess(
    report: _Report, answers: list[tuple[ServerReport, Client | None]]
) -> list[tuple[ServerReport, Client | None]]:
    there = [(server, client) for server, client in answers if server.stats]
    if not there:
        hint = "start ComfyUI, or name a server with --server or COMFY_URL; slates need none: ltxflow build --animatic"
        report.findings.append(Diagnostic("servers", "ok", "no server: animatic only", hint))
    for server, _ in there[1:]:
        message = f"{server.place.url} answers, too, and is not used"
        report.findings.append(Diagnostic("servers", "warning", message, "choose with COMFY_URL, or name both"))
    return there[:1]


async def _of_server(
    server: ServerReport, client: Client | None, needs: ServerRequirements, config: Config
) -> list[Diagnostic]:
    found = list(diagnostics.server_findings(server))
    if client is not None and server.stats is not None:
        found += await diagnostics.film_findings(server, client, needs, config)
        with suppress(LtxflowError):  # that it lists no models is among its findings already
            found += diagnostics.model_findings(await files_of(client, list(shipped_profiles())))
    return found
