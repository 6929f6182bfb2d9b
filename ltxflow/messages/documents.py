"""Messages of ltxflow/documents: YAML, the schemas of files, and paths."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "L001": rule(
        "there is one project to work on",
        several=Text("there are several projects here", "choose one with -p: {names}"),
        none=Text('no {file} in "{folder}" or in any folder above it', "start a project with `ltxflow init my-film`"),
        unknown=Text('no project "{name}"'),
    ),
    "L002": rule(
        "a project is inside --root", 'the project is not inside --root "{root}"', "give a folder above the project"
    ),
    "L010": rule(
        "a path can be resolved",
        name=Text("{path} is not a path", "write a path relative to the project folder"),
        long=Text('"{path}…" is too long for a path', "give the file a shorter name"),
        loop=Text('cannot resolve "{path}"', "check for a loop of symbolic links"),
    ),
    "L011": rule(
        "a path is relative to the project folder, unless the project is trusted",
        'absolute path "{path}"',
        "write it relative to the project folder, or allow it with `ltxflow trust`",
    ),
    "L012": rule("a path stays in the workspace", '"{path}" leaves the workspace "{workspace}"'),
    "S100": rule(
        "a value fits the schema",
        value=Text("{subject} cannot be {value}", "choose another value"),
        schema=Text("{subject} does not fit the schema: {reason}", "look the key up in `ltxflow schema`"),
        more=Text("{count} more problems follow", "fix the problems above first"),
    ),
    "S101": rule("keys are in the schema", 'unknown key "{key}"'),
    "S102": rule("required keys are present", 'missing key "{key}" in {where}'),
    "S103": rule(
        "a value has the right type: text, number, list or mapping", "{subject} must be {wanted}, not {value}"
    ),
    "S104": rule(
        "a text has the right form",
        key=Text('"{key}" cannot be a name in "{parent}"'),
        form=Text("{name}: {value} is not {kind}"),
    ),
    "S105": rule("a value is one of the choices", "{subject} must be {wanted}, not {value}"),
    "S106": rule("a number is in its range", "{subject} must be {wanted}, not {value}", "write a number {wanted}"),
    "S107": rule(
        "ids are at most 64 small letters, digits and hyphens, and not reserved by Windows",
        reserved=Text(
            '"{name}" cannot be an id: Windows reserves that name for a device', "choose another, such as {name}-1"
        ),
        form=Text("{value} is not an id: {allowed}"),
    ),
    "S108": rule(
        "durations have a unit: 12f or 0.4s",
        unit=Text("{name}: {value} has no unit"),
        long=Text("{name}: {value} is too long for a film", "write at most 99999s (a day) or 9999999f"),
        form=Text("{name}: {value} is not {kind}"),
    ),
    "S109": rule(
        "keys that exclude each other are not given together", "{keys} exclude each other", "keep one of them"
    ),
    "S110": rule(
        "texts, lists and mappings are not empty, too long or repetitive",
        repeated=Text("{value} is listed twice in {subject}", "keep one"),
        empty=Text("{subject} is empty"),
        count=Text("{subject} must have {wanted} items, not {count}", "write {wanted} items"),
        long=Text("{subject} is longer than {limit} characters", "shorten it"),
    ),
    "S111": rule(
        "the format version of a file is one this ltxflow reads",
        "format version {version} is unknown",
        "write version {known}, or update ltxflow if the file is newer",
    ),
    "S112": rule("a key has a value", "{subject} has no value"),
    "Y001": rule(
        "a file exists and is readable",
        folder=Text('"{file}" is a folder', "name the file inside it"),
        special=Text('"{file}" is not a file', "name a text file"),
        missing=Text('"{file}" does not exist', "check the name and the folder"),
        unreadable=Text('"{file}" cannot be read: {reason}', "check the permissions of the file"),
        config_folder=Text('"{file}" is a folder', "write the configuration as one file, and move the folder away"),
        config_link=Text(
            '"{file}" is a dangling symbolic link', 'restore "{target}", or remove the link to use no configuration'
        ),
    ),
    "Y002": rule(
        "a file is UTF-8",
        utf16=Text("the file is UTF-16, not UTF-8", "save it as UTF-8"),
        byte=Text("the byte {byte} is not UTF-8", "save the file as UTF-8"),
    ),
    "Y003": rule("a file is at most 8 MB", '"{file}" is larger than 8 MB', "split the film into several projects"),
    "Y004": rule(
        "a file is not empty",
        yaml=Text("the file is empty", "write at least one key"),
        text=Text("the file is empty", "write a text into it"),
    ),
    "Y005": rule(
        "a file is valid YAML",
        other=Text("not valid YAML: {reason}", "check the quotes and the indentation here and in the line above"),
        start=Text('an unquoted text cannot start with "{char}"', "put the text in quotes"),
        quote=Text("the quote that opens here is never closed", "add a closing {quote}"),
        backslash=Text("unknown backslash sequence", "write \\\\ for a backslash, or use single quotes"),
        colon_in_text=Text('": " inside an unquoted text', "put the whole text in quotes"),
        colon=Text('unexpected ":"', 'check the indentation, and that the line above has its ":"'),
        no_colon=Text('no ":" after "{text}"', "write key: value, or indent the line if it continues the text above"),
        bracket=Text(
            'expected "," or "{end}"',
            'close the {kind} that opens at line {line}, column {col} with "{end}", or quote the text',
        ),
        anchor=Text('"{char}" at the start of a text means {meaning}', "put the text in quotes"),
        after_value=Text("text after the end of a value", "put the whole text in one pair of quotes"),
        apostrophe=Text(
            "text after the end of a value",
            "put the whole text in quotes; write an apostrophe inside '…' as ''",
        ),
        indent=Text(
            "this line does not fit the {kind} that starts at line {line}, column {col}",
            "check the indentation: {aligned} start in the same column",
        ),
        block=Text(
            'unexpected text after "{char}"',
            "start the text on the next line, or quote it if it should start with {char}",
        ),
        item=Text("a list item cannot start here", 'put "- " on a separate line, or quote the text'),
        end=Text("the file ends in the middle of a value", "close what is open above"),
        char=Text('unexpected "{char}"', "remove it, or quote the text if it should start with it"),
        directive=Text("unknown % directive", "remove the line"),
    ),
    "Y006": rule("indentation is made of spaces, not tabs", "a tab where spaces are expected", "indent with spaces"),
    "Y007": rule(
        "a file holds one document",
        second=Text("a second document starts here", 'remove the "---" to keep one document in a file'),
        after=Text("text after the end of the document", 'remove the "..." above it'),
    ),
    "Y008": rule(
        "a key is used once in its mapping",
        'duplicate key "{key}"',
        "keep one of them: the first is at line {line}, column {col}",
    ),
    "Y009": rule(
        "keys are text",
        variable=Text("{text} is not in quotes", 'write "{text}"'),
        kind=Text("a {kind} cannot be a key", "write a text, or put it in quotes"),
        scalar=Text('the key "{key}" is not text', 'put it in quotes: "{key}"'),
    ),
    "Y010": rule(
        "yes, no, on and off are ambiguous: write true or false, or quote them",
        '"{word}" is ambiguous: some readers take it for {meaning}, others for text',
        'write {meaning}, or "{word}" in quotes if it is text',
    ),
    "Y011": rule(
        "numbers with colons (1:30) are ambiguous: quote them, or write 90s",
        '"{text}" is ambiguous: some readers take it for the number {number}',
        'write "{text}" in quotes, or {number}s if it is a time',
    ),
    "Y012": rule(
        "whole numbers have no leading zeros",
        '"{text}" has a leading zero: some readers take it for an octal number',
        'write {number}, or "{text}" in quotes if it is text',
    ),
    "Y013": rule(
        "numbers are finite and below 2^63",
        large=Text('the number "{number}" is too large', "put it in quotes if it is text"),
        finite=Text('"{text}" is not a finite number', "write a finite number"),
    ),
    "Y014": rule(
        "merge keys (<<) are not used: write defaults",
        'merge keys "<<" are not supported',
        "move shared settings to defaults, or repeat them",
    ),
    "Y015": rule(
        "tags (!name) are not used",
        tag=Text('the tag "{tag}" is not supported', "remove it; for text, use quotes"),
        include=Text('"!include" names no file', "write !include prompts/a.yaml"),
    ),
    "Y016": rule(
        "an alias (*name) names an anchor (&name) that is complete above it",
        inside=Text('"*{name}" is inside the anchor it names', "name an anchor that is complete above it"),
        missing=Text('no anchor "&{name}" above "*{name}"', "put the text in quotes if it should start with *"),
    ),
    "Y017": rule(
        "a file has at most 100 aliases, which add at most 100,000 values",
        count=Text("more than {most} aliases", "use defaults or vars instead"),
        values=Text("aliases add more than {most} values", "use defaults instead"),
    ),
    "Y018": rule(
        "values are nested at most 40 deep",
        "values are nested more than {most} deep",
        "check for brackets that are not closed",
    ),
    "Y019": rule(
        "a file has no invisible control characters or line separators",
        separator=Text("invisible line separator {char}", "delete it, or end the line with a plain line break"),
        control=Text("invisible control character {char}", "delete it"),
    ),
    "Y020": rule(
        "merges of git are resolved",
        'unresolved merge conflict: "{mark}"',
        "keep one version, and remove the lines with <<<<<<<, ======= and >>>>>>>",
    ),
}
