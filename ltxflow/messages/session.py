"""Messages of ltxflow/session."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "D002": rule(
        "the files in the store are whole",
        timing=Text(
            "the file of {target} in the store is damaged: {digest}…; it is set aside", "make it again: ltxflow build"
        ),
    ),
    "D004": rule(
        "the lock agrees with the files it names",
        '{lock}: {take} has {fact} "{measured}" by its file, not "{recorded}"',
        "see what changed: git diff; the file counts, and the next build corrects the lock",
        level="warning",
    ),
    "D301": rule(
        "the locks of all films can be read before unused files are removed",
        'cannot read "{file}": {cause}; what its film needs is unknown',
    ),
    "L014": rule(
        "no symbolic link leads out of the workspace, and none is in .ltxflow",
        lock=Text(
            '"{file}" is a symbolic link to "{target}": the lock is a file of its film', "put the file itself there"
        ),
    ),
    "L090": rule(
        "parts of a project that could do harm are trusted first",
        why="projects come from strangers",
        untrusted=Text(
            "this project contains untrusted parts: {parts}", "read them, then allow them: ltxflow trust -p {folder}"
        ),
        revision=Text(
            "the film at {revision} contains parts that are not trusted today: {parts}",
            "check that revision out, read them, and run `ltxflow trust` there",
        ),
    ),
    "U014": rule("options of one command line agree", what_if=Text('the film does not read "{file}"')),
    "U050": rule(
        "a git revision can be read",
        no_checkout=Text('"{folder}" is not in a git checkout', "run it for a project in a git checkout"),
        unknown=Text(
            'unknown git revision "{revision}"', "name a branch, a tag or a commit, e.g. HEAD~1 or origin/main"
        ),
    ),
    "U051": rule("the film exists at the revision", "no {file} at {revision}", "name a later revision"),
    "U052": rule("the film can be read at the revision", "cannot read the film at {revision}: {cause}"),
}
