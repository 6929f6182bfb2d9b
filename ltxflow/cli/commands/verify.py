"""Reads what the lock names and what is published, byte by byte, and says what differs. --repair mends what it can."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ltxflow.cli.options import locked_session, steady_session
from ltxflow.core.errors import FAILED
from ltxflow.publish.verify import FileDifference, repair_all, verify
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns, count, size

STYLES: Mapping[str, str] = {"extra": "cyan", "unfinished": "yellow", "disagrees": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repair", action="store_true", help="bring back what can be; the next build makes the rest")
    parser.add_argument("--deep", action="store_true", help="decode every film file as well, to its end")


def run(args: argparse.Namespace, face: Console) -> int:
    with (locked_session if args.repair else steady_session)(args, face.warn) as session:
        seen = verify(session, deep=args.deep)
        found = repair_all(session, seen.differences) if args.repair else seen.differences
    code = FAILED if any(not difference.is_repaired for difference in found) else 0
    if args.json:
        data = {
            "blobs": seen.blobs,
            "published": seen.published,
            "bytes": seen.size,
            "reworded": seen.reworded,
            "differences": [difference.as_json() for difference in found],
        }
        return print_envelope("verify", data, code, session.warnings)
    face.problems(session.warnings)
    read = (
        f"{count(seen.published, 'published file')} and {count(seen.blobs, 'blob')} of the lock read, {size(seen.size)}"
    )
    for line in _lines(face, found):
        face.say(line)
    for path in seen.reworded:
        face.say(face.paint(f"  · {path}  in words of your own; it stays", "dim"))
    if not found:
        face.say(f"{face.paint('✓', 'green')} all is as it should be: {read}")
        return code
    face.say(f"{count(len(found), 'difference')}: {read}")
    if not args.repair and any(difference.kind != "extra" for difference in found):
        face.say(f"Mend it: {face.paint('ltxflow verify --repair', 'bold')}")
    elif any("next build" in difference.outcome for difference in found):
        face.say(f"Then: {face.paint('ltxflow build', 'bold')}")
    return code


def _lines(face: Console, found: list[FileDifference]) -> list[str]:
    rows = [(each.kind, each.name, each.outcome or each.detail) for each in found]
    plain = columns(rows)
    styles = [STYLES.get(each.kind, "red") if not each.is_repaired else "green" for each in found]
    marks = [face.paint("✓" if each.is_repaired else "✗", style) for each, style in zip(found, styles, strict=True)]
    return [f"  {mark} {line}" for mark, line in zip(marks, plain, strict=True)]
