"""Every rule that a film and what comes back is held to, by code: how much it matters, and who says so."""

from __future__ import annotations

import argparse

from ltxflow import messages
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media import findings
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns

LENGTHS = {  # until the catalogue has them
    "T101": {"level": "error", "title": "the clips of a scene cover its narration", "why": "", "source": ""},
    "T102": {"level": "advice", "title": "lengths are where the model is at its best", "why": "", "source": ""},
}


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
    found: dict[str, dict[str, str]] = LENGTHS | {
        code: {"level": rule.level, "title": rule.title, "why": rule.why, "source": rule.source}
        for code, rule in messages.every()
    }
    for code, check in findings.RULES.items():
        found[code] = {"level": check.level, "title": check.title, "why": check.why, "source": check.source}
        found[code] |= {"check": check.check, "seed": check.seed}
    return dict(sorted(found.items()))
