"""Rules of the board: its libraries and address, requests of its pages, prompts that are edited on them."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "U060": rule(
        "the board has an address to listen on",
        address=Text("cannot listen on {address}: {reason}", "pass another --port, or --host"),
    ),
    "U061": rule(
        "a page of the board asks in the form that the board knows",
        large=Text("the request is larger than {most} bytes", "shorten the text"),
        form=Text("the request has no JSON mapping of texts", "load the page again"),
        text=Text('"{name}" is missing, or not text', "load the page again"),
        clips=Text("the request names clips that the film does not have", "load the page again"),
        one=Text("a retake is of one clip", "select one clip"),
        clip=Text('no clip "{clip}" in the film now', "load the page again"),
    ),
    "U062": rule(
        "the board can start and interrupt builds",
        start=Text("cannot start the command: {reason}", "run it in a terminal"),
        interrupt=Text("cannot interrupt process {pid}: {reason}", "press Ctrl-C where it runs"),
        none=Text("no build runs now", "start one first"),
    ),
    "U063": rule(
        "a prompt can be edited where it is written",
        place=Text("the {part} of {clip} is not written in a place that can be edited here", "edit the project file"),
        empty=Text("a prompt cannot be empty", "describe what is seen, how it moves and how it sounds"),
        form=Text("this text cannot be written in that place", "edit the project file"),
    ),
}
