"""How often the checks are right about clips of known kinds, beside FFmpeg's freezedetect: docs/explanation/checks.md.

    python benchmarks/checks.py [--split train] [--processes 2] [--sheets FOLDER]

The clips are those of tests/labelled/, made as it runs: some minutes of processor time. The checks were made with
the half "train"; the half "held-out" is what is published. `--sheets` writes a picture a kind, to see them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import av
import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from labelled.catalogue import Clip, heard, pairs, pictures
from labelled.score import NOISES, Seen, Tally, best_noise, likeness, look_at, tally, total

from ltxflow.media.findings import Thresholds

Split = Literal["train", "held-out"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--split", choices=("train", "held-out"), default="held-out")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sheets", type=Path)
    args = parser.parse_args()
    if args.sheets is not None:
        sheets(pictures(args.split), args.sheets)
        return
    seen = look_at(pictures(args.split), args.processes, freezedetect=True)
    print_frozen(seen)
    print_others(args.split, seen, args.processes)


def print_frozen(seen: Sequence[Seen]) -> None:
    best = best_noise(seen)
    columns = [
        tally(seen, "Q101"),
        tally(seen, "Q101", lambda each: each.by_default),
        tally(seen, "Q101", lambda each: each.by_noise[best]),
    ]
    print(f"| clips | n | ltxflow | freezedetect | freezedetect, n={NOISES[best]}, d=1 |\n|---|---|---|---|---|")
    for is_frozen in (False, True):
        for kind, ours in columns[0].items():
            if bool(ours.faulty) == is_frozen:
                print(f"| {kind} | {ours.n} | {' | '.join(_wrong(column[kind]) for column in columns)} |")
        all_of = [total({kind: t for kind, t in column.items() if bool(t.faulty) == is_frozen}) for column in columns]
        name = "frozen" if is_frozen else "not frozen"
        print(f"| **all that are {name}** | {all_of[0].n} | {' | '.join(_wrong(each) for each in all_of)} |")
    for place, noise in enumerate(NOISES):
        made = total(tally(seen, "Q101", lambda each, place=place: each.by_noise[place]))
        print(f"freezedetect n={noise} d=1: {made.misses} missed, {made.alarms} false", file=sys.stderr)
    _print_wrong("Q101", columns[0])


def _wrong(made: Tally) -> str:
    return f"{made.misses} missed" if made.faulty else f"{made.alarms} false"


def print_others(split: Split, seen: Sequence[Seen], processes: int) -> None:
    listened = look_at(heard(split), processes)
    print("\n| rule | clips with the fault | missed | clips without | false alarms |\n|---|---|---|---|---|")
    rows: list[tuple[str, Sequence[Seen]]] = [(code, seen) for code in ("Q101", "Q102", "Q103", "Q104")]
    rows += [(code, listened) for code in ("Q105", "Q106", "Q107", "Q108", "Q109")]
    for code, clips in rows:
        made = total(tally(clips, code))
        print(f"| {code} | {made.faulty} | {made.misses} | {made.n - made.faulty} | {made.alarms} |")
        _print_wrong(code, tally(clips, code))
    alike = Tally()
    for pair in pairs(split):
        alike.add(pair.kind, pair.is_same, likeness(pair) >= (Thresholds().duplicate or 0))
    print(f"| Q110 | {alike.faulty} | {alike.misses} | {alike.n - alike.faulty} | {alike.alarms} |")
    print(f"Q110 wrong: {alike.wrong}", file=sys.stderr)


def _print_wrong(code: str, kinds: dict[str, Tally]) -> None:
    if wrong := total(kinds).wrong:
        print(f"{code} wrong: {', '.join(wrong)}", file=sys.stderr)


def sheets(clips: Sequence[Clip], folder: Path, across: int = 6, width: int = 240) -> None:
    """Write a picture a kind: its first clip, as it was encoded, from the first frame to the last."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for clip in clips:
        if clip.kind in seen:
            continue
        seen.add(clip.kind)
        with TemporaryDirectory() as place:
            clip.write(Path(place) / "clip.mp4")
            with av.open(str(Path(place) / "clip.mp4")) as container:
                frames = [frame.to_image() for frame in container.decode(video=0)]
        chosen = [frames[round(at)] for at in np.linspace(0, len(frames) - 1, across)]
        height = round(width * chosen[0].height / chosen[0].width)
        sheet = Image.new("RGB", (across * width, height))
        for number, frame in enumerate(chosen):
            sheet.paste(frame.resize((width, height)), (number * width, 0))
        sheet.save(folder / f"{clip.kind.replace(' ', '-').replace(',', '')}.png")


if __name__ == "__main__":
    main()
