"""Messages of ltxflow/workflow: templates (T00x), imported workflows (T02x), the graphs that are keyed (T03x)."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_EXPORT = "in ComfyUI, export the workflow in API format: File → Export (API)"
_SAVE = "save the workflow in ComfyUI, or export it: File → Export (API)"
_NOT_SAVE = 'export the workflow with "Export (API)", not with "Save"'
_LOOP = "check its loops: one of them may not end"
_UNLINK = "open it in ComfyUI and remove one of them"

RULES: Mapping[str, Rule] = {
    # ---- templates
    "T001": rule(
        "a template can be read",
        unreadable=Text("the template cannot be read: {reason}", "check its permissions, and save it as UTF-8"),
        too_large=Text("the template is larger than {most} characters", "shorten it"),
    ),
    "T002": rule(
        "a template has a well-formed header",
        missing=Text(
            "the template has no header", 'begin it with a comment: {{# ltxflow-template: 1 (new line) title: "…" #}}'
        ),
        not_mapping=Text("the header is not a mapping", "write name: value lines"),
        format=Text("unknown template format {format}", "use format {known}, or update ltxflow"),
        unknown_field=Text('unknown header field "{field}"', "use title, way, needs and variables"),
        not_text=Text('"{field}" is not a text', "write it in quotes"),
        not_names=Text('"{field}" is not a list of names', "write {field}: [reference]"),
    ),
    "T003": rule(
        "a template includes only the parts beside it",
        name=Text('"{name}" cannot be included', 'name a file beside the template, such as "_parts.j2"'),
        missing=Text('no part "{name}"', "add it to {folder}, beside the template"),
        expression=Text(
            "an expression names a part", 'write the name itself: {{% import "_parts.j2" as part with context %}}'
        ),
    ),
    "T004": rule(
        "a template is valid Jinja",
        syntax=Text("{reason}", "correct the Jinja at this place"),
        unreadable=Text("the template cannot be parsed: {reason}", "correct the Jinja at this place"),
    ),
    "T005": rule(
        "a template renders to JSON",
        "the template does not render to JSON: {reason}",
        "check the commas: one may be missing, or one too many",
    ),
    "T006": rule(
        "a template renders within bounds of time, memory and output",
        output=Text("the template writes more than {megabytes} MB", _LOOP),
        output_limit=Text("the template writes too much", _LOOP),
        time=Text("the template computes for more than {seconds} s", _LOOP),
        wall_time=Text("the template does not end", _LOOP),
        memory=Text("the template takes more than {megabytes} MB", _LOOP),
        recursion=Text("the template recurses too deep", _LOOP),
        exit=Text("the renderer of the template exited with code {code}", "run it again; report it if that fails"),
    ),
    "T007": rule(
        "every expression of a template can be computed",
        error=Text("{reason}", "correct the expression at this place"),
        undefined=Text("{reason}", "use a variable listed in docs/how-to/workflows.md"),
    ),
    "T008": rule(
        "a template renders to an object of nodes",
        empty=Text("the template does not render to an object of nodes", _NOT_SAVE),
        not_node=Text('"{node}" is not a node: it needs "class_type" and "inputs"', _NOT_SAVE),
    ),
    "T010": rule(
        "no text changes the nodes of a template",
        "a text in the template changes its nodes",
        'write values as "text": {{{{ prompt }}}}, and let no text decide which nodes there are',
    ),
    # ---- imported workflows
    "T020": rule(
        "an imported file is JSON, and no larger than a workflow may be",
        unreadable=Text('"{file}" cannot be read: {reason}', _SAVE),
        file_size=Text("the file is larger than {megabytes} MB", _SAVE),
        characters=Text(
            "the file has more than {most:,} characters",
            "upload pictures to the server instead of writing them into it",
        ),
        not_text=Text(
            "the file is not a text file", "save it as UTF-8, or import a picture or video that ComfyUI made"
        ),
        not_json=Text("the file is not JSON: {reason}", "import the file that ComfyUI exported"),
        empty=Text("the file is not JSON: {reason}", "import another file: this one is empty"),
        value=Text("{reason}", "correct it in the file"),
        too_deep=Text("the file is nested too deep", _EXPORT),
        nodes=Text("the workflow has more than {most:,} nodes", "import a part of it"),
    ),
    "T021": rule(
        "an imported file is a workflow",
        not_object=Text("the file is not a workflow: it must be an object of nodes", _SAVE),
        not_node=Text('"{node}" is not a node: "class_type" is missing', _EXPORT),
        no_inputs=Text('"inputs" of node "{node}" is missing', _EXPORT),
        meta=Text('"_meta" of node "{node}" is not an object', _EXPORT),
        link=Text(
            'node "{node}": "{input}" is linked to node "{source}", which is not in the file',
            "export the whole workflow",
        ),
    ),
    "T022": rule(
        "an imported workflow saves a video",
        none=Text("this workflow saves no video{instead}", "end it with CreateVideo and SaveVideo"),
        unlinked=Text("{node} is linked to no video", "open it in ComfyUI, link a video to it, and save the workflow"),
    ),
    "T023": rule(
        "an imported workflow reads only files that a clip can give",
        "{node} reads {file} on the server, and no clip can give that file",
        "remove the node and import again: a clip gives a reference, a last_frame, a sound and a control video",
    ),
    "T025": rule(
        "a workflow of the editor is consistent: its links, ids and subgraphs",
        subgraph=Text("a subgraph is not an object", _EXPORT),
        subgraph_id=Text("a subgraph has no id", _EXPORT),
        same_subgraph=Text('two subgraphs have the id "{subgraph}"', _EXPORT),
        no_nodes=Text('a subgraph has no list of "nodes"', _EXPORT),
        too_deep=Text("subgraphs are nested more than {most} deep", _EXPORT),
        recursive=Text('subgraph "{name}" contains itself', "open it in ComfyUI and remove the inner one"),
        node=Text("a node is not an object", _EXPORT),
        node_id=Text('node "{node}" has no "id" or no "type"', _EXPORT),
        same_node=Text('two nodes have the id "{node}"', "open it in ComfyUI and save it again"),
        nodes=Text("the workflow has more than {most:,} nodes", "import a part of it"),
        broadcast=Text('node "{node}" ({class_}) draws links that are not in the file', _EXPORT),
        group=Text(
            'node "{node}" ({class_}) is a group node', "convert it to a subgraph in ComfyUI, and save the workflow"
        ),
        cycle=Text('the links before "{input}" of node "{node}" form a cycle', _UNLINK),
    ),
    "T026": rule(
        "the class of a node has a signature by which its values can be read",
        "the values of {classes} cannot be read without a signature",
        "name a server that has the classes: --server URL; or export in API format: File → Export (API)",
    ),
    "T027": rule(
        "an imported workflow runs on your own server",
        "{node} runs on a paid service, and only ComfyUI's editor can log in to it",
        "use a workflow that runs on your server alone",
    ),
    "T028": rule("the links of an imported workflow form no cycle", "the links before {node} form a cycle", _UNLINK),
    "T029": rule(
        "an imported workflow has the values that a clip decides",
        read_on=Text(
            "{node} is read by another node, and only the files of a last node are fetched",
            "save the video in a node that no other reads",
        ),
        no_mp4=Text("{node} writes no mp4, which ltxflow needs", "use CreateVideo and SaveVideo"),
        no_prompt=Text(
            "no prompt was found", 'write {{{{ prompt }}}} in the template where the text belongs: "text": …'
        ),
        no_seed=Text("no seed was found", 'write {{{{ seed }}}} in the template where it belongs: "noise_seed": …'),
        no_size=Text(
            "no size was found", "write {{{{ width }}}} and {{{{ height }}}} in the template where they belong"
        ),
        no_length=Text("no length was found", 'write {{{{ frames }}}} in the template where it belongs: "length": …'),
        no_rate=Text("no frame rate was found", 'write {{{{ fps }}}} in the template where it belongs: "fps": …'),
        level="warning",
    ),
    # ---- graphs that are keyed
    "T030": rule(
        "one save node has each title",
        'two save nodes are titled "{title}": {first} and {second}',
        'give one node each the title {titles} in "_meta"',
    ),
    "T031": rule(
        "the links of a graph form no cycle", "the links of the graph form a cycle: {nodes}", "remove one of its links"
    ),
    "T032": rule(
        "a link names a node of the graph",
        node=Text('no node "{node}" in the graph', "name one of its nodes"),
        link=Text(
            'node {node} ({class_}): "{input}" is linked to node "{source}", which is not in the graph',
            "link it to a node of the template, or add that node",
        ),
    ),
}
