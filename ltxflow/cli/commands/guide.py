"""Print how to write a good film: the loop of commands, what costs money, rules for prompts. For people and agents.

`ltxflow init` writes it as AGENTS.md into a new film.
"""

from __future__ import annotations

import argparse

from ltxflow.cli.guide import guide_text
from ltxflow.ui.terminal import Console


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options: the guide is one text."""


def run(args: argparse.Namespace, console: Console) -> int:
    if args.json:
        return console.envelope("guide", guide_text(), 0)
    console.say(guide_text().rstrip())
    return 0
