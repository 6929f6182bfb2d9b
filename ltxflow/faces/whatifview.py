"""What an edit of a file would come to, for people: what is made again, what may be, and how much stays."""

from __future__ import annotations

from collections.abc import Sequence

from ltxflow.faces.progress import short
from ltxflow.faces.terminal import Face, count
from ltxflow.plan.outlook import Outlook
from ltxflow.verbs.whatif import WhatIf


def print_what_if(face: Face, outlook: Outlook, found: Sequence[WhatIf]) -> None:
    """Print for each file what its edit would come to, all of them in the same columns."""
    rows = {target: outlook.plan.nodes[target].frames for each in found for target in (*each.again, *each.maybe)}
    clips = max((len(short(target)) for target, frames in rows.items() if frames), default=0)
    stills = max((len(short(target)) for target, frames in rows.items() if not frames), default=0)
    told = {  # stills have long names and no frames: a column of their own
        target: f"{short(target).ljust(clips)}  {f'{frames}f':>5}" if frames else short(target).ljust(stills)
        for target, frames in rows.items()
    }
    for each in found:
        face.say(face.paint(f"if {each.file} were edited:", "bold"))
        for target in each.again:
            face.say(f"  {face.paint('~', 'yellow', 'bold')} {told[target]}  would be made again")
        for target, why in each.maybe.items():
            face.say(f"  {face.paint('?', 'yellow', 'bold')} {told[target]}  {why}")
        _say_kept(face, outlook, each)


def _say_kept(face: Face, outlook: Outlook, each: WhatIf) -> None:
    kept = {*outlook.plan.wanted} - {*each.again, *each.maybe}
    stills = sum(target.startswith("reference:") for target in kept)
    if kept:
        numbers = ((len(kept) - stills, "clip"), (stills, "reference"))
        told = ", ".join(count(number, what) for number, what in numbers if number)
        face.say(face.paint(f"  = {told} unchanged", "dim"))
