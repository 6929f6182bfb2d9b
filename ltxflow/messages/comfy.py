"""Messages of ltxflow/comfy: a server and its answers (C0xx), the nodes of a graph (N1xx)."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_LISTENS = "start ComfyUI there, and check that it listens on that address"
_ADDRESS = "check that this is a ComfyUI server, and its address and path"
_AGAIN = "run it again; if it repeats, check the server's log and the network between"
_LOG = "check the server's log"
_EXPORT = "in ComfyUI, export the workflow in API format: File → Export (API)"

RULES: Mapping[str, Rule] = {
    # ---- a server and its answers
    "C003": rule(
        "the server answers in time",
        reason=Text("{reason}", _LISTENS),
        no_connection=Text("no connection in time", _LISTENS),
        no_answer=Text("no answer in time", _LISTENS),
        not_yet=Text("{server}: no answer yet"),
    ),
    "C004": rule(
        "an answer arrives at 64 kB/s or faster",
        "the answer is too slow: {received} in {seconds:.0f} s",
        "check the load of the server and of the network",
    ),
    "C005": rule(
        "the connection lasts until the answer is complete",
        closed=Text("the connection broke off", _AGAIN),
        closed_by=Text("the connection broke off ({reason})", _AGAIN),
        cut=Text("the answer broke off: {received} of {total} bytes arrived", _AGAIN),
        proxy=Text("the answer is not from ComfyUI", _ADDRESS),
    ),
    "C006": rule("the server answers without an internal error", "status {status}{reason}", _LOG),
    "C007": rule(
        "the server accepts the request",
        reason=Text("{reason}"),
        none=Text("the server refuses the workflow and gives no reason", _LOG),
        missing_class=Text("{reason}", "install the node on that server, or use a template without it"),
        not_in_list=Text("{reason}", "put that file or value on the server, or name one that it has"),
        rest=Text("{count} more like these"),
        status=Text("status {status}{reason}", _LOG),
        too_large=Text(
            "status {status}{reason}", "start ComfyUI with a larger --max-upload-size, or raise the limit of its proxy"
        ),
    ),
    "C008": rule(
        "the server accepts the credentials",
        "status {status}{reason}",
        "set the headers its proxy requires by headers_from_env in the user config",
    ),
    "C009": rule(
        "the server answers like ComfyUI",
        not_found=Text("status {status}{reason}", _ADDRESS),
        redirect=Text(
            'redirects to "{location}"', "give the final address, or sign in at the proxy; redirects are not followed"
        ),
        shape=Text("the answer does not have the form of ComfyUI's", _ADDRESS),
        web_page=Text(
            "the answer is a web page, not JSON",
            "check the address and its path: something else listens there, or a proxy requires a login",
        ),
        not_json=Text('the answer is not JSON: "{shown}"', _ADDRESS),
        not_comfyui=Text("the answer is not from ComfyUI", _ADDRESS),
        no_prompt_id=Text("the server accepted the prompt without an id", _ADDRESS),
        other_prompt_id=Text("the server queued the prompt under another id", "update ComfyUI to 0.3.64 or later"),
        history=Text("the history is not a mapping", _ADDRESS),
        other_job=Text('the answer for job {wanted} is about "{received}"', _ADDRESS),
        queue=Text("the queue has no lists", _ADDRESS),
        jobs=Text("the jobs are not a list", _ADDRESS),
        queue_length=Text("the answer has no queue length", _ADDRESS),
        cancelled=Text("the answer does not confirm the cancellation", _ADDRESS),
        upload=Text('the server stored the upload as "{name}", which is not a plain input name', _ADDRESS),
        models=Text("the models are not a list", _ADDRESS),
        encoding=Text("the file has an encoding that was not requested", _ADDRESS),
    ),
    "C010": rule(
        "the server has what a clip needs",
        model=Text('{server}: no "{name}" in {folder}, which {user} needs'),
        too_old=Text(
            "{server}: {profile}, used by {user}, requires {needs}; found {found}",
            "update ComfyUI there, name another server, or choose another profile",
        ),
    ),
    "C011": rule(
        "a name matches one file of the server",
        '{server}: "{name}" in {folder} matches {matches}; the first is used',
        "name one of them: {first}",
        level="warning",
    ),
    "C012": rule(
        "an answer has a bounded size", "more than {bytes:,} bytes arrived", "check that this is the right server"
    ),
    "C013": rule(
        "the server still has the files it made",
        "the server no longer has the file",
        "build again: its save node has to run again",
    ),
    "C014": rule(
        "a server has a valid address",
        not_one=Text('{source}"{address}" is not a valid server address: {reason}'),
        url=Text("the address is not valid", "write it as http://127.0.0.1:8188"),
        request=Text("the request cannot be sent", "check the address and its headers"),
        header=Text('{server}: the header "{header}" has characters that cannot be sent', "use printable ASCII only"),
        proxy=Text(
            "{server}: the proxy in the environment cannot be used",
            "add the host to NO_PROXY, or correct {variables}; SOCKS is not supported",
        ),
    ),
    "C015": rule(
        "the variables of a server's headers are set",
        unset=Text(
            'server "{server}": variable "{variable}" for header "{header}" is not set',
            "set {variable} to the whole value of the header, such as: Bearer abc",
        ),
        characters=Text(
            'server "{server}": variable "{variable}" has characters a header cannot carry', "use printable ASCII only"
        ),
    ),
    "C016": rule(
        "the server's TLS certificate is trusted",
        untrusted=Text(
            "the certificate is not trusted: {reason}", "name the CA that signed it by ca_file in the user config"
        ),
        no_tls=Text("no TLS there: {reason}", "try http:// instead"),
        ca_file=Text('{server}: the CA file "{file}" cannot be used: {reason}', "give a file of PEM certificates"),
    ),
    "C017": rule(
        "`servers:` in the user config is well-formed",
        not_list=Text('user config: "servers" is not a list', "write a list of addresses, or of name and url"),
        same_name=Text('user config: two servers are named "{name}"', "rename one of them"),
        no_url=Text("user config: a server has no url", "write an address, or a mapping with at least a url"),
        unknown_key=Text('user config: unknown key "{key}" in a server', "use name, url, headers_from_env and ca_file"),
        not_text=Text('user config: server "{url}": name and ca_file must be text', "put quotes around them"),
        headers=Text(
            'user config: server "{url}": headers_from_env is not a mapping of header to variable',
            "write  headers_from_env: {{ Authorization: COMFY_TOKEN }}",
        ),
        header=Text('user config: server "{url}": the header "{header}" cannot be set', "leave it out"),
    ),
    "C018": rule("the server accepts connections", "{reason}", _LISTENS),
    "C019": rule(
        "there is a route to the server",
        route=Text("{reason}", "check the address, and the network between here and there"),
        name=Text("{reason}", "check the name, or write the address in numbers, such as 192.168.1.20:8188"),
    ),
    # ---- the nodes of a graph; the node and the template follow each message, see comfy/wording.py
    "N100": rule(
        "a graph is a mapping of node id to node, and has at least one",
        empty=Text("no nodes", _EXPORT),
        saved=Text("this is a saved workflow, not one in API format", _EXPORT),
    ),
    "N101": rule("every node's class exists", "unknown class {class_}", "install the custom node on the server"),
    "N102": rule(
        "a class outside the core set is allowed by the user",
        "class {class_} is neither a known core node nor in your allowed_nodes",
        "if you trust it, add it to your user config: allowed_nodes: [{name}]",
    ),
    "N103": rule(
        "an allowed class is checked against the server that has it",
        "class {class_} cannot be checked without a server",
        "check again with --server",
        level="advice",
    ),
    "N104": rule(
        "every node is a mapping with `class_type` and `inputs`",
        neither=Text("neither class nor inputs", _EXPORT),
        no_class=Text('"class_type" is missing', "name the node's class"),
        no_inputs=Text('"inputs" is missing', 'write "inputs": {{}} if it has none'),
    ),
    "N105": rule(
        "every required input has a value or a default",
        missing=Text("required input {input} is missing"),
        filled=Text("required input {input} is missing; its default, {value}, is used", "write the value you want"),
    ),
    "N106": rule(
        "every input is declared by the node's class",
        ignored=Text("unknown input {input} is ignored by the server", "remove it"),
        linked=Text("unknown input {input} is linked: the server accepts it, and fails when it runs", "remove it"),
    ),
    "N107": rule(
        "a link is [node id, output number]",
        "input {input} is {value}, not a link",
        'write ["node id", output number]; the node id is text',
    ),
    "N108": rule(
        "a link names a node of the graph",
        "input {input} links to unknown node {node}",
        "remove the link, or add the node",
    ),
    "N109": rule(
        "a link names an output that the node has",
        "input {input} links to output {slot} of node {node} ({class_}), which has {count}",
    ),
    "N110": rule(
        "a link carries a type that the input takes",
        "input {input} takes {types}, but output {slot} of node {node}{class_} is {received}",
    ),
    "N111": rule(
        "an input that takes a link has no literal",
        "input {input} is {value}, but takes a link to {types}",
        'write ["node id", output number]; the server accepts a value, and fails when it runs',
    ),
    "N112": rule(
        "a literal has the input's type",
        wrong=Text("input {input} is {value}, but takes {takes}", "write {takes}"),
        converted=Text("input {input} is {value}, which the server reads as {result}", "write {takes}"),
    ),
    "N113": rule(
        "a number is in the input's range",
        too_small=Text("input {input} is {value}, below the minimum of {bound}", "write a number {range}"),
        too_large=Text("input {input} is {value}, above the maximum of {bound}", "write a number {range}"),
    ),
    "N114": rule("a choice is in the input's list", "input {input} is {value}, which is not in its list"),
    "N115": rule("links make no cycle", "the links make a cycle, {ring},", "remove one of its links"),
    "N116": rule("a graph has an output node", "no output node", "add a SaveVideo or SaveImage node"),
    "N117": rule(
        "a model file is in the server's list",
        folder=Text('file {value} for {input} is not in the server\'s folder "{folder}"'),
        list=Text("file {value} for {input} is not in the list"),
    ),
    "N118": rule(
        "a node's own check accepts its inputs",
        "the node rejects its inputs: {details}",
        "change the values, or put the named file on that server",
    ),
}
