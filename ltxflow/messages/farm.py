"""Messages of ltxflow/farm."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_START = "start one, name it with --server, or draw slates: ltxflow build --animatic"

RULES: Mapping[str, Rule] = {
    "C001": rule(
        "a ComfyUI server is reachable",
        none_reachable=Text("no ComfyUI server is reachable ({reasons})", _START),
        tried=Text("no ComfyUI server is reachable (tried {tried})", _START),
    ),
    "C002": rule(
        "a server answers within the patience of a build",
        no_answer=Text(
            "{silence}{reason}", "build again when it answers: what runs there is resumed, not started again"
        ),
    ),
    "C020": rule("a workflow runs to its end", "{server}: {reason}", "check the server's log"),
    "C021": rule("a clip fits into the memory of a server", "{server}: {reason}"),
    "C022": rule(
        "a server returns the files that its workflow saves", "{server}: {reason}", "check the server's log and disk"
    ),
    "C023": rule(
        "a server can write its files",
        "{server} cannot write its files: {reason}",
        "free space in its output folder, or make it writable; then build again",
    ),
    "C024": rule(
        "a prompt runs until it ends", "{server}: the prompt was cancelled there", "build again to have it made"
    ),
    "C025": rule(
        "a workflow saves a video as video, and pictures as PNG",
        'the workflow saves "{file}" as "{output}", which is not a {kind}',
        'save one there, {better}: node "{node}" ({class_type}) of template "{template}"',
    ),
    "C030": rule(
        "a build stays within its GPU budget",
        "not started: it would exceed --max-gpu {budget}",
        "build again with more, or choose clips by selectors",
    ),
    "C031": rule(
        "files stay as they are while a film is built",
        changed=Text('"{file}" changed during the build', "build again to use it as it is now"),
        damaged=Text(
            "a file in the store is damaged: {digest}…",
            "set it aside with `ltxflow cache verify --repair`, then build again",
        ),
    ),
    "C032": rule(
        "a clip is made within a few starts",
        "given up after {starts} starts; the last: {cause}",
        "check the server's log, then build again",
    ),
    "C033": rule("the journal is readable", 'cannot read "{path}": {reason}'),
    "C100": rule(
        "a returned file is as its workflow promises",
        not_listed=Text(
            'the server lists no file for "{output}"{refused}', "check the server's log, and the template's save node"
        ),
        no_sound=Text("the {output} has no sound track", "use a template that makes sound"),
        short_sound=Text(
            "the {output} has {sound_s} s of sound for {picture_s} s of picture",
            "give both the same length in the template",
        ),
        other=Text("the {output} has {what} {found}, not {wanted}", "change what the template makes and saves"),
    ),
}
