"""Save a frame of a clip as a picture: of what is published of it, or of the take that is named.

Without --out it goes to .ltxflow/frames/ in the project. A reference is saved as it is.
"""

from __future__ import annotations

import argparse
import os
from fractions import Fraction
from pathlib import Path

from ltxflow.cli.options import count_of, session_of
from ltxflow.core import files
from ltxflow.core.errors import FAILED, USAGE, LtxflowError, problem
from ltxflow.core.timing import TimingError, clip_file_name, parse_time
from ltxflow.decisions.takes import TakeRef, find_take
from ltxflow.media.probe import probe_mp4
from ltxflow.project.model import Clip
from ltxflow.session.session import Session, make_own_folder
from ltxflow.ui.terminal import Console, print_envelope

FOLDER = "frames"  # in `.ltxflow/`
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
PLACES = ("first", "middle", "last")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", default="middle", metavar="TIME", help="2s, 50f, first, middle (default) or last")
    parser.add_argument("--size", type=count_of, metavar="PX", help="make the longer side at most so long")
    parser.add_argument("--out", metavar="FILE", help="the picture to write: .png or .jpg")


def run(args: argparse.Namespace, console: Console) -> int:
    if args.out and Path(args.out).suffix.lower() not in FORMATS:
        raise LtxflowError(problem("U017.format", file=args.out))
    with session_of(args) as session:
        ref = find_take(session, args.take)
        source, kind = _file(session, ref, is_named="@" in args.take)
        frame, number = _frame(args.at, source, ref, session.project.fps) if isinstance(ref.clip, Clip) else (0, 0)
        out = Path(args.out) if args.out else _place(session, ref, frame)
        from ltxflow.media.image import scaled  # the libraries for pictures, once there is one

        data, size = scaled(source, frame, FORMATS[out.suffix.lower()], args.size)
        files.make_dir(out.parent)
        files.write_atomic(out, data, fsync=False)
    fields = {"clip": ref.clip.path, "take": ref.take, "shows": kind, "frame": frame, "frames": number}
    if args.json:
        return print_envelope("frame", {**fields, "file": str(out), "width": size[0], "height": size[1]}, 0)
    at = f", frame {frame} of {number}" if number else ""
    console.say(f"{os.path.relpath(out)}  ({kind}{at}, {size[0]}x{size[1]})")
    return 0


def _file(session: Session, ref: TakeRef, *, is_named: bool) -> tuple[Path, str]:
    """Return the file of a take, and what it is; without a number that of what is published, a slate if need be."""
    clip = ref.clip
    if isinstance(clip, Clip) and not is_named:
        name = clip_file_name(session.project.scene(clip.scene).index, clip.index)
        published = session.published_clips().get(name)
        if published is not None and published.clip == clip.path:
            return session.project.output / name, "slate" if published.source == "animatic" else "published"
    take = session.lock.take(clip.path, ref.take)
    digest = take.outputs.get("published", take.digest) if take else None
    if digest is None or not session.store.cas.has(digest, 0):
        build = f"ltxflow build {clip.path}"
        raise LtxflowError(problem("U017.none", clip=clip.path, take=ref.take, build=build), exit_code=FAILED)
    return session.store.cas.path(digest), f"take {ref.take}"


def _frame(at: str, video: Path, ref: TakeRef, fps: int) -> tuple[int, int]:
    """Return the number of the frame at a time, and how many there are. Raise LtxflowError for one past the end."""
    frames = probe_mp4(video).frames
    if at in PLACES:
        return {"first": 0, "middle": frames // 2, "last": frames - 1}[at], frames
    try:
        frame = int(parse_time(at, fps) * Fraction(fps))
    except TimingError as error:
        hint = error.hint or "write 2s, 50f, first, middle or last"
        raise LtxflowError(problem("U017.time", reason=error.message, hint=hint), exit_code=USAGE) from None
    if frame >= frames:
        seconds = f"{frames / fps:.2f}"
        raise LtxflowError(problem("U017.end", at=at, clip=ref.clip.path, frames=frames, seconds=seconds))
    return frame, frames


def _place(session: Session, ref: TakeRef, frame: int) -> Path:
    name = ref.clip.path.removeprefix("reference:").replace("/", "--")
    return make_own_folder(session) / FOLDER / f"{name}@{ref.take}--{frame}f.png"
