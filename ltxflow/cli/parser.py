"""Build the parser of a command from the table, and word the errors of argparse."""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
from collections.abc import Callable
from inspect import cleandoc
from typing import NoReturn

from ltxflow.cli.table import ARGUMENTS, COMMANDS
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.ui.terminal import Console


def parser_of(name: str) -> Parser:
    """Return the parser of a command: common options, arguments from the table, options from its module."""
    command = COMMANDS[name]
    module = importlib.import_module(f"ltxflow.cli.commands.{command.module or name}")
    parser = Parser(
        prog=f"ltxflow {name}",
        description=cleandoc((getattr(module, name) if command.module else module).__doc__ or command.help),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run: Callable[[argparse.Namespace, Console], int] = getattr(module, name if command.module else "run")
    parser.set_defaults(run=run)
    add_common_options(parser)
    for word in command.arguments.split():
        kind = word.strip("[].")
        dest, help = ARGUMENTS[kind]
        default = None if kind == "NUMBER" else "HEAD" if kind == "REF" else ""
        if word.endswith("..."):
            parser.add_argument(dest, nargs="*", metavar=kind, help=help)
        elif word.startswith("["):
            parser.add_argument(dest, nargs="?", default=default, metavar=kind, help=help)
        else:
            parser.add_argument(dest, metavar=kind, help=help)
    add_options = getattr(module, f"add_{name}_options" if command.module else "add_options", None)
    if add_options is not None:
        add_options(parser)
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    parser.add_argument("-p", "--project", metavar="P", help="a folder, a project.yaml, or a name under projects/")
    parser.add_argument("--root", metavar="DIR", help="the workspace that every path must stay in")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="print less")
    parser.add_argument("-v", "--verbose", action="store_true", help="print more")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises usage errors as LtxflowError."""

    def error(self, message: str) -> NoReturn:
        choices = next((each.choices for each in self._actions if not each.option_strings and each.choices), None)
        if choices and "required: " in message:
            raise LtxflowError(problem("U002.no-subcommand", prog=self.prog, choices=", ".join(map(str, choices))))
        options = [option for action in self._actions for option in action.option_strings]
        unknown = message.split() if message.startswith("unrecognized") else []
        wrong = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        near = [match for word in wrong for match in difflib.get_close_matches(word, options, n=1)]
        hint = did_you_mean(near, f"run {self.prog} --help to list the options")
        raise LtxflowError(self._known_error(message) or problem("U002.usage", message=message, hint=hint))

    def _known_error(self, message: str) -> Problem | None:
        """Return the problem for an error that argparse reports often. Its texts: Lib/argparse.py."""
        if found := re.fullmatch(r"the following arguments are required: (.+)", message):
            actions = [action for action in self._actions if not action.option_strings]
            names = [f"{action.metavar or action.dest}" for action in actions]
            words = [name if action.required else f"[{name}]" for name, action in zip(names, actions, strict=True)]
            missing = found[1].replace(", ", " and ")
            first = next(each for each in actions if f"{each.metavar or each.dest}" in found[1].split(", "))
            meaning = f"; {first.metavar or first.dest} is {first.help}" if first.help else ""
            usage = " ".join([self.prog, *words])
            return problem("U002.missing", prog=self.prog, missing=missing, usage=usage, meaning=meaning)
        if found := re.fullmatch(r"argument (\S+): invalid int value: '(.*)'", message):
            return problem("U002.not-a-number", argument=found[1], value=found[2])
        if found := re.fullmatch(r"argument (\S+): invalid choice: '(.*)' \(choose from (.+)\)", message):
            known = [word.strip("'") for word in found[3].split(", ")]
            hint = did_you_mean(difflib.get_close_matches(found[2], known, n=1), f"choose from: {', '.join(known)}")
            argument = found[1] if found[1].startswith("-") else self.prog
            return problem("U002.no-choice", argument=argument, value=found[2], hint=hint)
        return None


def did_you_mean(near: list[str], otherwise: str) -> str:
    """Return a hint that names the nearest match, or another hint where nothing is near."""
    return f'did you mean "{near[0]}"?' if near else otherwise
