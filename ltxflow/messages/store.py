"""Messages of ltxflow/store."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "D001": rule(
        "published files are changed by ltxflow alone",
        changed=Text(
            '"{path}" was changed since ltxflow wrote it; it is left alone',
            "restore the published one with `ltxflow verify --repair`, or keep yours with `ltxflow pin`",
        ),
        foreign=Text(
            '"{path}" was not written by ltxflow; it is left alone',
            "move it away and build again, or use it in the film with `ltxflow pin`",
        ),
    ),
    "D100": rule("a blob is named by a digest", '"{digest}" is not a digest', "write 64 hex digits"),
    "D101": rule("a trace is named by a key", '"{key}" is not a key', "write 64 hex digits"),
    "D102": rule(
        "a file to be stored can be read", 'cannot read "{path}": {reason}', "check the path and its permissions"
    ),
    "D103": rule(
        "the index of the store is intact",
        'the index "{folder}" is damaged: {reason}',
        'no action needed: it is filled again from the traces; the damaged one is kept as "{aside}"',
        level="warning",
    ),
    "D104": rule(
        "the store has an index",
        'the index "{folder}" is not used: {reason}',
        "move the store to a local disk for more speed; everything works without an index",
        level="advice",
    ),
    "D105": rule(
        "the record of a project that uses the store is intact",
        '"{path}" is damaged: the files that its project needs are not known',
        "build that project again, which writes the record again; remove the file if the project is not yours",
    ),
    "D106": rule(
        "the record of a run that uses the store is intact",
        '"{path}" cannot be read: the files that its run needs are not known',
        "wait for that run to end, then try again",
    ),
    "D107": rule(
        "the record of published files is intact",
        system=Text('cannot read "{path}": {reason}'),
        damaged=Text(
            '"{path}" is damaged: {reason}',
            'no action needed: files already published are left alone; the damaged one is kept as "{aside}"',
        ),
    ),
    "D108": rule(
        "the store is a folder that can be read",
        relative=Text('the store "{path}" is not an absolute path', "write a path that starts with / or ~/"),
        permission=Text(
            'the store "{path}" cannot be read: permission denied',
            "give yourself permission to read it, or name another store with LTXFLOW_STORE",
        ),
        no_folder=Text(
            'the store "{path}" is not a folder', "name a folder with LTXFLOW_STORE, or move away what is there"
        ),
    ),
    "D109": rule(
        "the traces of the store are intact",
        system=Text('cannot read the trace "{path}": {reason}', "{remedy}; until then it counts as absent"),
        newer=Text('the trace "{path}" has a newer format', "upgrade ltxflow; until then the trace counts as absent"),
        damaged=Text('the trace "{path}" is damaged: {reason}', 'it counts as absent; the file is kept as "{aside}"'),
        restored=Text(
            'the trace "{path}" is damaged: {reason}', 'it was restored from the index; the file is kept as "{aside}"'
        ),
        level="warning",
    ),
    "D120": rule(
        "the shared store can be used, and what it sends is what its name promises",
        down=Text(
            'the shared store "{remote}" is not used: {reason}',
            "no action needed: everything is made and kept here; `ltxflow cache push` sends it later",
        ),
        poisoned=Text(
            'the shared store "{remote}" sent a wrong {name}: {reason}',
            "tell its owner to remove that object; it was not used",
        ),
        level="warning",
    ),
    "D121": rule(
        "the address of a shared store is http, https or file",
        '"{url}" is not the address of a shared store',
        "write `remote: https://host/path`, or `remote: file:///mnt/share/ltxflow` in your config",
    ),
}
