"""Hands the film on: a Remotion project that plays it, or the cut as an editor's project.

  ltxflow export remotion DIR     our own files, to build on; Remotion itself you install with npm
  ltxflow export otio [FILE]      OpenTimelineIO: DaVinci Resolve, Kdenlive …; every take, the pick active
  ltxflow export edl [FILE]       CMX 3600: picture only, every editor reads it
  ltxflow export fcpxml [FILE]    Final Cut Pro 7 XML: Premiere, Resolve

edl and fcpxml need OpenTimelineIO: pip install 'ltxflow[editors]'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ltxflow.cli.options import session_of
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.documents.paths import shown
from ltxflow.export.editors import SUFFIXES, export_cut
from ltxflow.export.remotion import RemotionExport, write_starter
from ltxflow.publish.publish import TIMELINE
from ltxflow.session.session import Session
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, count, duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("remotion", *SUFFIXES), help="what for")
    parser.add_argument("place", nargs="?", type=Path, metavar="DIR|FILE", help="where (default: public/film.otio …)")
    parser.add_argument("--force", action="store_true", help="write over what ltxflow did not write")


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        return _remotion(args, face, session) if args.what == "remotion" else _cut(args, face, session)


def _cut(args: argparse.Namespace, face: Console, session: Session) -> int:
    done = export_cut(session, args.what, args.place and args.place.absolute(), force=args.force)
    seconds = done.frames / done.timeline["fps"]
    if args.json:
        takes = [str(path) for path in done.takes]
        data = {"file": str(done.path), "frames": done.frames, "tracks": list(done.tracks), "takes": takes}
        return print_envelope("export", data, 0)
    if not args.quiet:
        beside = f", {count(len(done.takes), 'other take')} in {done.takes[0].parent.name}/" if done.takes else ""
        state = "" if done.is_new else " (as it was)"
        told = f"{duration(seconds)}, {done.frames} frames, {' + '.join(done.tracks)}{beside}{state}"
        face.say(f"{face.paint('✓', 'green')} {shown(done.path)}: {told}")
    return 0


def _remotion(args: argparse.Namespace, face: Console, session: Session) -> int:
    if args.place is None:
        hint = "ltxflow export remotion remotion"
        raise LtxflowError(Problem("where to? name a folder for the Remotion project", hint=hint, code="U002"))
    project = session.project
    done = write_starter(args.place.absolute(), project.id, project.output, TIMELINE, force=args.force)
    if args.json:
        data = {"folder": str(args.place), "written": done.written, "in_place": done.in_place, "kept": done.kept}
        return print_envelope("export", data, 0)
    if not args.quiet:
        _say_remotion(face, session, args.place, done)
    return 0


def _say_remotion(face: Console, session: Session, folder: Path, done: RemotionExport) -> None:
    written = f"{count(len(done.written), 'file')} written" if done.written else "nothing to write"
    kept = f", {len(done.kept)} kept as you changed them: {', '.join(done.kept)}" if done.kept else ""
    face.say(f"{face.paint('✓', 'green')} {shown(folder)}: {written}{kept}")
    if not (session.project.output / TIMELINE).is_file():
        face.say("  the film is not built yet: ltxflow build, or ltxflow build --animatic")
    install = "" if (folder / "node_modules").is_dir() else " && npm install"
    face.say(f"  next: cd {shown(folder)}{install} && npm run dev    or: npm run render")
    face.say(face.paint("  Remotion has a licence of its own: see README.md there", "dim"))
