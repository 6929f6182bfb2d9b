"""Every rule that a film and what comes back is held to, by code: how much it matters, and who says so."""

from __future__ import annotations

import argparse

from ltxflow.comfy import checks
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media import findings
from ltxflow.messages import documents, project
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns
from ltxflow.workflow import api_format, importer

TABLES = (
    {code: rule.title for table in (documents.RULES, project.RULES) for code, rule in table.items() if code[0] != "P"},
    {
        "T101": "the clips of a scene cover its narration",
        "T102": "lengths are where the model is at its best",
    },
    *(checks.RULES, api_format.RULES, importer.RULES),
)
MILDER = {"T102": "advice"}  # the rest: as in the catalogue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("codes", nargs="*", metavar="CODE", help="only these, such as P104")


def run(args: argparse.Namespace, face: Console) -> int:
    rules = _rules()
    wanted = [code.upper() for code in args.codes] or list(rules)
    unknown = [code for code in wanted if code not in rules]
    if unknown:
        raise LtxflowError(Problem(f'no rule "{unknown[0]}"', hint="ltxflow rules lists them all", code="U013"))
    if args.json:
        return print_envelope("rules", [{"code": code, **rules[code]} for code in wanted], 0)
    rows = [(code, rules[code]["level"], _line(rules[code])) for code in wanted]
    for line in columns(rows):
        face.say(line)
    return 0


def _line(rule: dict[str, str]) -> str:
    source = f"  ({rule['source']})" if rule["source"] else ""
    silenced = f"  [checks: {{{rule['check']}: false}}; another seed: {rule['seed']}]" if "check" in rule else ""
    return f"{rule['title']}{': ' + rule['why'] if rule['why'] else ''}{source}{silenced}"


def _rules() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table in TABLES:
        for code, title in table.items():
            found[code] = {"level": MILDER.get(code, "error"), "title": title, "why": "", "source": ""}
    for code, rule in [*documents.RULES.items(), *project.RULES.items()]:
        found[code] = {"level": rule.level, "title": rule.title, "why": rule.why, "source": rule.source}
    for code, check in findings.RULES.items():
        found[code] = {"level": check.level, "title": check.title, "why": check.why, "source": check.source}
        found[code] |= {"check": check.check, "seed": check.seed}
    return dict(sorted(found.items()))
