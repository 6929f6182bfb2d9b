"""Messages of ltxflow/publish."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_EXAMPLE = "write them as 00:00:01,000 --> 00:00:02,500"

RULES: Mapping[str, Rule] = {
    "D002": rule(
        "a file in the store has the bytes of its digest",
        published=Text(
            "the file of {target} in the store is damaged and set aside: {digest}…",
            "make it again with `ltxflow build`; check the others with `ltxflow cache verify`",
        ),
    ),
    "D003": rule(
        "corrected captions follow the film",
        '"{path}" was corrected by hand and stays, but the narration or its timing has changed since',
        "move it away and build to write it again, or correct it once more",
        level="warning",
    ),
    "D012": rule(
        "captions that people edited are SubRip with times in order",
        unreadable=Text('cannot read "{file}": {reason}', "remove it and build again: ltxflow build"),
        too_large=Text('"{file}" is larger than {most} MiB', "remove it and build again: ltxflow build"),
        encoding=Text('cannot read "{file}": {reason}', "save it as UTF-8"),
        crowd=Text("more than {most} captions are shown at once", "correct their times"),
        no_times=Text("a caption has no times", _EXAMPLE),
        bad_times=Text('no times in "{text}"', _EXAMPLE),
        before_film=Text(
            '"{text}" begins before the film', "move all captions so that none begins before 00:00:00,000"
        ),
        over_59=Text('"{text}" has more than 59 minutes or seconds', _EXAMPLE),
        backwards=Text('"{text}" ends before it begins', "end it after it begins, or remove its text to drop it"),
    ),
    "D013": rule(
        "captions are shown one at a time, and within the film",
        overlap=Text(
            "this caption begins before the one at line {other} ends: both are shown then",
            "end that one earlier, or write both as one caption",
        ),
        level="warning",
    ),
}
