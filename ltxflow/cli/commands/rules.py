"""Every rule that a film and what comes back is held to, by code: how much it matters, and who says so."""

from __future__ import annotations

import argparse

from ltxflow import messages
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.documents import schema, yaml
from ltxflow.media import findings
from ltxflow.project import clips, lint, load, narration, reader, references, settings, sources, speech
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns

TABLES = (
    *(
        yaml.RULES,
        schema.RULES,
        sources.RULES,
        load.RULES,
        reader.RULES,
        settings.RULES,
        clips.RULES,
        clips.EXTENDS_RULES,
    ),
    *(narration.RULES, references.RULES, speech.RULES),
)
MILDER = {
    "L022": "warning",
    "L025": "warning",
    "L047": "advice",
    "L049": "warning",
    "L106": "warning",
    "L126": "warning",
    "T102": "advice",
}  # the rest: errors


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
    told: dict[str, dict[str, str]] = {}
    for code, one in messages.every():
        told[code] = {"level": one.level, "title": one.title, "why": one.why, "source": one.source}
    for table in TABLES:
        for code, title in table.items():
            told[code] = {"level": MILDER.get(code, "error"), "title": title, "why": "", "source": ""}
    graded: list[lint.PromptRule | findings.CheckRule] = [*lint.RULES.values(), *findings.RULES.values()]
    for rule in graded:
        told[rule.code] = {"level": rule.level, "title": rule.title, "why": rule.why, "source": rule.source}
    for code, rule in findings.RULES.items():
        told[code] |= {"check": rule.check, "seed": rule.seed}
    return dict(sorted(told.items()))
