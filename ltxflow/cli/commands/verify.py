"""Compare published files and the files that the lock names with their checksums; with --repair, restore them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ltxflow.cli.options import locked_session, steady_session
from ltxflow.core.errors import FAILED
from ltxflow.publish.verify import FileDifference, repair_all, verify
from ltxflow.ui.terminal import Console, columns, count, print_envelope, size

STYLES: Mapping[str, str] = {"extra": "cyan", "unfinished": "yellow", "disagrees": "yellow"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="restore what the store has; the next build makes the rest"
    )
    parser.add_argument("--deep", action="store_true", help="decode every video file to its end, too")


def run(args: argparse.Namespace, console: Console) -> int:
    with (locked_session if args.repair else steady_session)(args, console.warn) as session:
        result = verify(session, deep=args.deep)
        found = repair_all(session, result.differences) if args.repair else result.differences
    code = FAILED if any(not difference.is_repaired for difference in found) else 0
    if args.json:
        data = {
            "blobs": result.blobs,
            "published": result.published,
            "bytes": result.size,
            "reworded": result.reworded,
            "differences": [difference.as_json() for difference in found],
        }
        return print_envelope("verify", data, code, session.warnings)
    console.problems(session.warnings)
    files = f"{count(result.published, 'published file')} and {count(result.blobs, 'locked blob')}"
    checked = f"{files} checked, {size(result.size)}"
    for line in _lines(console, found):
        console.say(line)
    for path in result.reworded:
        console.say(console.paint(f"  · {path}  edited by hand; kept", "dim"))
    if not found:
        console.say(f"{console.paint('✓', 'green')} everything matches: {checked}")
        return code
    console.say(f"{count(len(found), 'difference')}: {checked}")
    if not args.repair and any(difference.kind != "extra" for difference in found):
        console.say(f"Repair: {console.paint('ltxflow verify --repair', 'bold')}")
    elif any("next build" in difference.outcome for difference in found):
        console.say(f"Next: {console.paint('ltxflow build', 'bold')}")
    return code


def _lines(console: Console, found: list[FileDifference]) -> list[str]:
    rows = [(each.kind, each.name, each.outcome or each.detail) for each in found]
    plain = columns(rows)
    styles = [STYLES.get(each.kind, "red") if not each.is_repaired else "green" for each in found]
    marks = [console.paint("✓" if each.is_repaired else "✗", style) for each, style in zip(found, styles, strict=True)]
    return [f"  {mark} {line}" for mark, line in zip(marks, plain, strict=True)]
