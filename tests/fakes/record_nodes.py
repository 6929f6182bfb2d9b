"""Record the core nodes of ComfyUI servers in the package: `ltxflow/comfy/core_nodes.json`.

    cd tests && python -m fakes.record_nodes http://127.0.0.1:8188 http://127.0.0.1:8189

One server a version. Versions that are recorded already and not named stay. Kept is what a check, a conversion or the
fake server needs: prose, model files and files of the server are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from ltxflow.comfy.signatures import (
    CORE_NODES,
    FILES,
    MODEL_SUFFIXES,
    folder_of,
    is_core_module,
    recorded_info,
    versions,
)

# What the web interface shows, and no server checks. `hidden` stays: it marks another spelling of an input.
PROSE = frozenset(
    {"tooltip", "display_name", "placeholder", "display", "round", "step", "dynamicPrompts", "advanced", "remote"}
    | {"control_after_refresh", "image_folder", "search_aliases"}
)


def main(urls: list[str], file: Path = CORE_NODES) -> str:
    """Record the servers at `urls`, and return what is in the file now, in words."""
    found = {version: recorded_info(version) for version in (versions() if file.exists() else ())}
    for url in urls:
        version = httpx.get(f"{url}/system_stats", timeout=60).json()["system"]["comfyui_version"]
        info = httpx.get(f"{url}/object_info", timeout=60).json()
        found[version] = {name: entry(name, declared) for name, declared in sorted(info.items()) if is_core(declared)}
    newest_first = sorted(found, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    file.write_text(packed({version: found[version] for version in newest_first}), "utf-8")
    return ", ".join(f"{version}: {len(found[version])} classes" for version in newest_first)


def is_core(declared: Mapping[str, Any]) -> bool:
    return is_core_module(str(declared.get("python_module", "")))


def entry(name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return one class as it is kept: in the server's own format, without prose and without names of files."""
    kept: dict[str, Any] = {"input": {}, "output": declared["output"], "python_module": declared["python_module"]}
    for section, specs in declared["input"].items():
        order = declared.get("input_order", {}).get(section) or list(specs)
        kept["input"][section] = (
            {n: spec(name, n, specs[n]) for n in order if n in specs} if section != "hidden" else specs
        )
    if declared.get("output_node"):
        kept["output_node"] = True
    if any(declared.get("output_is_list") or ()):
        kept["output_is_list"] = declared["output_is_list"]
    if "deprecated" in declared:  # only classes of the newer form have it
        kept["deprecated"] = declared["deprecated"]
    return kept


def spec(class_type: str, name: str, declared: Any) -> Any:
    """Return one declared input: its type, or list of choices, and its options."""
    if not isinstance(declared, list) or not declared:
        return declared
    rest = [options(class_type, part) for part in declared[1:]]
    if isinstance(declared[0], list):
        return [[] if is_of_files(class_type, name, declared[0]) else declared[0], *rest]
    if declared[0] == "COMBO" and rest and is_of_files(class_type, name, rest[0].get("options", [])):
        rest[0]["options"] = []
    return [declared[0], *rest]


def options(class_type: str, declared: Any) -> Any:
    """Return the options of an input without prose; inputs declared inside of them are kept like all others."""
    if not isinstance(declared, dict):
        return declared
    kept = {name: value for name, value in declared.items() if name not in PROSE}
    if isinstance(kept.get("options"), list):
        kept["options"] = [
            one | inside(class_type, one, "inputs") if isinstance(one, dict) else one for one in kept["options"]
        ]
    if isinstance(kept.get("template"), dict):
        kept["template"] = kept["template"] | inside(class_type, kept["template"], "input")
    return kept | inside(class_type, kept, "inputs")


def inside(class_type: str, declared: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(declared.get(name), dict):
        return {}
    sections = declared[name].items()
    return {name: {section: {n: spec(class_type, n, s) for n, s in specs.items()} for section, specs in sections}}


def is_of_files(class_type: str, name: str, listed: list[Any]) -> bool:
    """Whether a list names what is on one server's disk: models, inputs, folders of either."""
    return (
        name in FILES.get(class_type, ())
        or bool(folder_of(class_type, name))
        or any(isinstance(one, str) and one.lower().endswith(MODEL_SUFFIXES) for one in listed)
    )


def packed(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of the file: the newest version whole, of each older one what differs from the one before."""
    changes: dict[str, Any] = {}
    before: Mapping[str, Any] = {}
    for version, classes in found.items():
        gone = {name: None for name in before if name not in classes}
        changes[version] = gone | {name: declared for name, declared in classes.items() if before.get(name) != declared}
        before = classes
    rows = [
        f"{json.dumps(version)}:{{\n"
        + ",\n".join(
            f"{json.dumps(name)}:{json.dumps(declared, separators=(',', ':'))}"
            for name, declared in sorted(part.items())
        )
        + "}"
        for version, part in changes.items()
    ]
    return '{"format":1,"versions":{\n' + ",\n".join(rows) + "}}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    print(main(parser.parse_args().urls))
