"""Export the film: a Remotion project that plays it, or the cut for a video editor.

ltxflow export remotion DIR     a starter project to build on; install Remotion with npm
ltxflow export otio [FILE]      OpenTimelineIO (DaVinci Resolve, Kdenlive, …), with every take
ltxflow export fcpxml [FILE]    FCPXML for Final Cut Pro and DaVinci Resolve
ltxflow export fcp7xml [FILE]   Final Cut Pro 7 XML for Premiere and older editors
ltxflow export edl [FILE]       CMX 3600: picture only, for any editor
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ltxflow.cli.options import session_of
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.documents.document import shown
from ltxflow.export.editors import SUFFIXES, export_cut
from ltxflow.export.remotion import RemotionExport, write_starter
from ltxflow.publish.timeline import TIMELINE
from ltxflow.session.session import Session
from ltxflow.ui.terminal import Console, count, duration, print_envelope


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("remotion", *SUFFIXES), help="the format")
    parser.add_argument(
        "place",
        nargs="?",
        type=Path,
        metavar="DIR|FILE",
        help="where to write it (default: public/film.otio, .fcpxml, .xml, .edl)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that ltxflow did not write")


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        return _remotion(args, console, session) if args.what == "remotion" else _cut(args, console, session)


def _cut(args: argparse.Namespace, console: Console, session: Session) -> int:
    done = export_cut(session, args.what, args.place and args.place.absolute(), force=args.force)
    seconds = done.frames / done.timeline["fps"]
    if args.json:
        takes = [str(path) for path in done.takes]
        data = {"file": str(done.path), "frames": done.frames, "tracks": list(done.tracks), "takes": takes}
        return print_envelope("export", data, 0, done.problems)
    if not args.quiet:
        beside = f", {count(len(done.takes), 'other take')} in {done.takes[0].parent.name}/" if done.takes else ""
        state = "" if done.is_new else " (unchanged)"
        facts = f"{duration(seconds)}, {done.frames} frames, {' + '.join(done.tracks)}{beside}{state}"
        console.say(f"{console.paint('✓', 'green')} {shown(done.path)}: {facts}")
    console.problems(done.problems)
    return 0


def _remotion(args: argparse.Namespace, console: Console, session: Session) -> int:
    if args.place is None:
        raise LtxflowError(problem("U002.no-folder"))
    project = session.project
    done = write_starter(args.place.absolute(), project.id, project.output, TIMELINE, force=args.force)
    if args.json:
        data = {"folder": str(args.place), "written": done.written, "in_place": done.in_place, "kept": done.kept}
        return print_envelope("export", data, 0)
    if not args.quiet:
        _print_remotion(console, session, args.place, done)
    return 0


def _print_remotion(console: Console, session: Session, folder: Path, done: RemotionExport) -> None:
    written = f"{count(len(done.written), 'file')} written" if done.written else "nothing to write"
    kept = f", {len(done.kept)} kept with your changes: {', '.join(done.kept)}" if done.kept else ""
    console.say(f"{console.paint('✓', 'green')} {shown(folder)}: {written}{kept}")
    if not (session.project.output / TIMELINE).is_file():
        console.say("  the film is not built yet; run: ltxflow build, or ltxflow build --animatic")
    install = "" if (folder / "node_modules").is_dir() else " && npm install"
    console.say(f"  next: cd {shown(folder)}{install} && npm run dev    or: npm run render")
    console.say(console.paint("  Remotion has a separate licence: see README.md there", "dim"))
