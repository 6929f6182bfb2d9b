"""List every rule and message of ltxflow by code, with its level, the reason for it and its source."""

from __future__ import annotations

import argparse
from typing import Any

from ltxflow import messages
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.ui.terminal import Console, columns, print_envelope


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("codes", nargs="*", metavar="CODE", help="list only these, such as P104")


def run(args: argparse.Namespace, console: Console) -> int:
    rules = dict(messages.every())
    wanted = [code.upper() for code in args.codes] or list(rules)
    unknown = [code for code in wanted if code not in rules]
    if unknown:
        raise LtxflowError(problem("U013", code=unknown[0]))
    if args.json:
        return print_envelope("rules", [_data(code, rules[code]) for code in wanted], 0)
    for line in columns((code, rules[code].level, _line(rules[code])) for code in wanted):
        console.say(line)
    return 0


def _data(code: str, rule: messages.Rule) -> dict[str, Any]:
    data = {"code": code, "level": rule.level, "title": rule.title, "why": rule.why, "source": rule.source}
    return data | ({"check": rule.check, "seed": rule.seed} if rule.check else {})


def _line(rule: messages.Rule) -> str:
    source = f"  ({rule.source})" if rule.source else ""
    check = f"  [checks: {{{rule.check}: false}}; another seed: {rule.seed}]" if rule.check else ""
    return f"{rule.title}{': ' + rule.why if rule.why else ''}{source}{check}"
