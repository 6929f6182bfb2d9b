"""Messages of ltxflow/lock."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "K010": rule(
        "a decision names a take that exists",
        no_such=Text('"{clip}" has no take {take}', "list what there is: ltxflow takes {clip}"),
    ),
    "K011": rule(
        "the lock has one block for each clip",
        '"{name}" occurs twice in the lock',
        "keep one of the two blocks; the takes of the other one stay in the store",
    ),
    "K012": rule(
        "the lock has no unresolved merge conflict",
        'unresolved merge conflict: "{line}"',
        "run `ltxflow lock merge`; `ltxflow lock setup` makes git do so automatically",
    ),
    "K013": rule(
        "the lock begins with a version that this ltxflow reads",
        missing=Text(
            '"{line}" is not the first line of a lock',
            'write "ltxflow-lock: {version}" there; `git checkout` restores the last good lock',
        ),
        other=Text('unsupported version "{version}" of a lock; this ltxflow reads up to {newest}', "upgrade ltxflow"),
    ),
    "K014": rule(
        "each block of the lock can be read",
        form=Text('"{line}" is not a line of a lock', "write it as scene/clip: with its facts indented below"),
        value=Text(
            '"{name}": {reason}',
            "restore the clip's lines from git, or delete them; it is then looked up in the store again",
        ),
    ),
    "K015": rule(
        "the lock file can be read",
        system=Text('cannot read "{path}": {reason}'),
        encoding=Text("the lock is not UTF-8", "restore the file from git, or save it as UTF-8"),
        empty=Text("the lock is empty", "restore it with `git checkout {name}`; remove it if git has none"),
    ),
    "K016": rule(
        "other programs leave the lock alone during a run",
        "{name} changed on disk during the run; both sets of changes were merged",
        "review the result with `git diff`",
        level="warning",
    ),
    "K017": rule(
        "people decide the same about a clip",
        "{name}: here {ours}, there {theirs}; {kept} is kept",
        "agree on one; to take theirs: {remedy}",
    ),
    "K018": rule(
        "a decision stands until a person changes it",
        "{what}",
        "review the result with `git diff`",
        level="warning",
    ),
}
