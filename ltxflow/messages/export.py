"""Messages of ltxflow/export."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_BUILD = "build it with `ltxflow build`, or with slates: ltxflow build --animatic"
_REPAIR = "set it aside with `ltxflow verify --repair`, then build again"
_FOREIGN = '"{file}" was not written by ltxflow, or was changed since; it is left alone'

RULES: Mapping[str, Rule] = {
    "D001": rule(
        "only files that ltxflow wrote are replaced",
        not_mp4=Text('"{file}" does not end in .mp4', "write --output {path}"),
        film=Text(
            '"{file}" was not made by ltxflow; it is left alone', "move it away, or give another place with --output"
        ),
        export=Text(_FOREIGN, "name another file, or overwrite it with --force"),
        report=Text('"{file}" is not a report of ltxflow; it is left alone', "name another file"),
        starter=Text(_FOREIGN, "move it away, choose another folder, or overwrite it with --force"),
    ),
    "D010": rule(
        "a film is built and whole before it is conformed or exported",
        none=Text('the film is not built: no "{file}"', _BUILD),
        unreadable=Text('cannot read "{file}": {reason}', _REPAIR),
        schema=Text('"{file}" is not {schema}', _REPAIR),
        malformed=Text('"{file}" is not as ltxflow writes it: {reason}', _REPAIR),
        not_made=Text("the film is not whole: {clips} {verb} not made", _BUILD),
        broken=Text('"{file}" is not whole: {reason}', "build again: ltxflow build"),
        outside=Text('"{src}" in the timeline leads out of "{folder}"', _REPAIR),
        missing=Text('"{src}" is missing', "restore it with `ltxflow build`"),
        other=Text('"{src}" is not the file that the timeline names', "move it away and build again: ltxflow build"),
    ),
    "D011": rule(
        "a film is conformed and exported from its current project",
        conformed=Text(
            "the project changed since the last build; conforming the published version",
            "build first, then conform again",
        ),
        exported=Text(
            "the project changed since the last build; exporting the published version",
            "build first, then export again",
        ),
        level="warning",
    ),
    "D012": rule(
        "captions that people edited are SubRip with times in order",
        font=Text('{lack}: the caption "{text}"', "{remedy}, or omit --burn-captions: players have fonts"),
    ),
    "D013": rule(
        "captions are shown one at a time, and within the film",
        late=Text(
            '"{file}": {late} of {all} captions begin after the film ends',
            'correct their times; the first is "{first}"',
        ),
        level="warning",
    ),
    "D030": rule(
        "the Remotion starter lies beside the public folder",
        '"{folder}" is inside "{public}", which Remotion serves',
        "choose a folder beside it, such as remotion",
    ),
    "D032": rule(
        "an exported cut can be expressed in its format",
        "{kind} counts no {fps} frames a second",
        "use another format: ltxflow export otio",
    ),
    "X001": rule(
        "the path from a starter to its film is UTF-8",
        'the path from "{folder}" to the film is not UTF-8',
        "export it inside the project, or rename the folder",
    ),
}
