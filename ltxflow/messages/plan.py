"""Messages of ltxflow/plan."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "L081": rule(
        'a template saves its result with a node titled "video" or "image"',
        output=Text(
            '{target} needs "{output}" of {source}, which has only {names}',
            'title a save node of its template "{output}" in "_meta"',
        ),
    ),
    "L201": rule(
        "what a clip is made from is in the film",
        '{target} needs "{source}" ({input}), which is not in the film',
        "name a clip or a reference of the film",
    ),
    "L202": rule(
        "clips are not made from each other in a circle",
        "these clips need each other: {circle}",
        "let one of them start from a file, or from nothing",
    ),
    "T101": rule("the clips of a scene cover its narration", "{scene}: {problem}"),
    "T102": rule("lengths lie where the model is at its best", "{scene}: {note}", level="advice"),
    "U010": rule(
        "a name on the command line is one of the film",
        tag=Text('no clip has the tag "{tag}"'),
        selector=Text('"{selector}" matches no clip'),
    ),
    "U031": rule(
        "the files of an accepted take are in the store",
        frozen=Text(
            "the {status} take {take} of {clip} is not in this store",
            "copy its files from the store where it was rendered, or drop it: ltxflow forget {target}",
        ),
    ),
    "U032": rule(
        "a rejected take is not in the cut",
        "{clip}: take {take} is rejected{reason}, and stays in the cut until there is another",
        "render one more: ltxflow retake {clip}{instead}",
        level="warning",
    ),
    "U034": rule(
        "an approved take matches its prompt",
        "{clip}: the approved take {take} no longer matches its prompt, and stays",
        "show what changed: ltxflow explain {target}; render the new text: ltxflow reject {target}, then build; "
        "keep this take, approved, for the new text: ltxflow accept {target}",
        level="warning",
    ),
    "U035": rule(
        "--force leaves approved and pinned takes",
        "{clip}: take {take} is {status}, and --force leaves it",
        "render another beside it: ltxflow retake {clip}",
        level="warning",
    ),
}
