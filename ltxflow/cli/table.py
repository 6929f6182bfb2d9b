"""The table of commands: help, parsers, completion and the command reference are made from it.

A command costs its module in `commands/` (or a function of one) and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """One command: its group in `ltxflow --help`, its line there, and the parts of a film that it takes.

    `arguments` names the positional arguments that completion can offer, in order, by the kinds of `ARGUMENTS`.
    `module` is set where several commands share one: the function in it has the command's name.
    `uses_media` is set where libraries for pictures and sound are loaded, which crash without enough memory, `uses_gpu`
    where clips may be rendered, which costs money.
    """

    group: str
    help: str
    arguments: str = ""
    module: str = ""
    uses_media: bool = False
    uses_gpu: bool = False


class Argument(NamedTuple):
    """A kind of positional argument: the name of its value after parsing, and its help."""

    dest: str
    help: str


START, WRITE, BUILD, CHOOSE, DELIVER, LOOK_AFTER = "start", "write", "build", "choose takes", "deliver", "look after"

# "KIND" is required, "[KIND]" optional, "KIND..." may be repeated or left out.
ARGUMENTS: Mapping[str, Argument] = {
    "SELECTOR": Argument("selectors", "hook, hook/b, hook/b@2, reference:hero, globs, tag:night, changed:main, !outro"),
    "TAKE": Argument("take", "a take, such as hook/b@2 or reference:hero@1; without @, the picked one"),
    "TAKES": Argument("takes", "takes, such as hook/b or hook/b@2; scenes and globs for several"),
    "NUMBER": Argument("number", "the number of the take, if TAKE does not end in it"),
    "REASON": Argument("reason", "a note, kept in the lock"),
    "FILE": Argument("file", "an mp4 of the film's size and frame rate, or an image for a reference"),
    "REF": Argument("ref", "a branch, tag or commit (default: HEAD)"),
}

COMMANDS: Mapping[str, Command] = {
    "init": Command(START, "create a project with a working example"),
    "doctor": Command(START, "check libraries, store, project, servers and models", uses_media=True),
    "servers": Command(START, "list the ComfyUI servers that a build would use"),
    "trust": Command(START, "allow the templates, commands and paths that a project brings"),
    "template": Command(START, "import a ComfyUI workflow; list, show and check templates"),
    "mcp": Command(START, "serve the film to an agent over stdio (MCP), within a GPU budget", uses_gpu=True),
    "completion": Command(START, "print a completion script for bash, zsh or fish"),
    "check": Command(WRITE, "check the project file, its prompts and its timing"),
    "show": Command(WRITE, "show the values, prompt and workflow of a clip", "TAKE"),
    "narrate": Command(WRITE, "synthesize the narration without rendering clips", uses_media=True),
    "watch": Command(
        WRITE, "plan again after every save; a key starts a build", "SELECTOR...", uses_media=True, uses_gpu=True
    ),
    "guide": Command(WRITE, "print how to write a good film, for people and agents"),
    "rules": Command(WRITE, "list every rule and message by code"),
    "schema": Command(WRITE, "print the JSON Schema of project.yaml and other files"),
    "plan": Command(BUILD, "show what a build would render, and why", "SELECTOR..."),
    "build": Command(BUILD, "render what changed and publish the film", "SELECTOR...", uses_media=True, uses_gpu=True),
    "status": Command(BUILD, "show the state of every scene and clip", uses_media=True),
    "explain": Command(BUILD, "show why a clip is, or is not, rendered again", "SELECTOR..."),
    "diff": Command(BUILD, "show what changed since a git revision", "[REF]"),
    "graph": Command(BUILD, "print the build graph as Mermaid or DOT", "SELECTOR..."),
    "takes": Command(CHOOSE, "list the takes of a clip, or of all", "[TAKE]"),
    "frame": Command(CHOOSE, "save a frame of a clip as a picture", "TAKE", uses_media=True),
    "board": Command(
        CHOOSE,
        "serve a live page of the film: look, choose, edit prompts, start builds",
        uses_media=True,
        uses_gpu=True,
    ),
    "report": Command(CHOOSE, "write the storyboard as an HTML page", uses_media=True),
    "retake": Command(
        CHOOSE, "render one more take with another seed", "TAKE [REASON]", "decide", uses_media=True, uses_gpu=True
    ),
    "pick": Command(CHOOSE, "put a take into the cut", "TAKE [NUMBER]", "decide"),
    "approve": Command(CHOOSE, "freeze a take; later edits warn and change nothing", "TAKE [REASON]", "decide"),
    "reject": Command(CHOOSE, "reject a take", "TAKE [REASON]", "decide"),
    "accept": Command(CHOOSE, "keep an existing result for a clip as it is now", "TAKES...", "decide"),
    "pin": Command(CHOOSE, "put a file in the place of a clip", "TAKE FILE [REASON]", "decide", uses_media=True),
    "forget": Command(CHOOSE, "drop a take; the next build renders it again", "TAKE", "decide"),
    "conform": Command(DELIVER, "encode the finished film as one mp4", uses_media=True),
    "export": Command(DELIVER, "export to Remotion, OTIO, EDL or FCPXML", uses_media=True),
    "verify": Command(LOOK_AFTER, "compare published files and the lock with the store; repair them"),
    "pull": Command(LOOK_AFTER, "fetch the film from the shared store, and publish it", uses_media=True),
    "clean": Command(LOOK_AFTER, "list published files of removed clips; remove them with --yes"),
    "cache": Command(LOOK_AFTER, "list, verify, shrink and share the store"),
    "lock": Command(LOOK_AFTER, "merge two versions of ltxflow.lock; set up git to do so"),
}


def groups() -> dict[str, list[str]]:
    """Return the names of the commands by group, in the order of the table."""
    found: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        found.setdefault(command.group, []).append(name)
    return found
