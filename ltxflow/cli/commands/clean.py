"""List published files of clips that the film no longer has; with --yes, remove those that ltxflow wrote."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ltxflow.cli.options import session_of
from ltxflow.core import files
from ltxflow.core.timing import clip_file_name
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Scene
from ltxflow.publish.caption_files import FOLDER as CAPTIONS
from ltxflow.publish.publish import POSTERS
from ltxflow.session.session import hold
from ltxflow.store.published import is_ours, without, write_published
from ltxflow.ui.terminal import Console, count, print_envelope

KINDS = ("narration", "poster", "captions")  # of files that go with scenes and clips


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="remove them; their renders stay in the store")


def run(args: argparse.Namespace, console: Console) -> int:
    if not args.yes:
        return _clean(args, console)
    with session_of(args) as session:
        lock = hold(
            session,
            wait=True,
            on_wait=lambda owner: console.say(f"waiting for process {owner.get('pid')} to release this project"),
        )
    with lock:
        return _clean(args, console)


def _beside(scene: Scene) -> Iterator[str]:
    """Yield the files published beside a scene's clips; captions of the whole film belong to every scene."""
    spoken = scene.narration
    if spoken.file or spoken.speech:
        is_played = spoken.file is not None and spoken.file.facts.get("is_played", True)
        yield f"narration/{scene.id}{spoken.file.path.suffix.lower() if spoken.file and is_played else '.wav'}"
    for clip in scene.clips:
        yield f"{POSTERS}/{Path(clip_file_name(scene.index, clip.index)).stem}.jpg"
    yield from (f"{CAPTIONS}/{name}" for name in (f"{scene.id}.json", "film.srt", "film.vtt"))


def _clean(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        base, folder = session.project.output.parent, session.project.output.name
        orphans = [f"{folder}/{orphan.file}" for orphan in session.plan(PlanOptions(mode="animatic")).orphans]
        kept = {path for scene in session.project.scenes for path in _beside(scene)}
        orphans += [
            path
            for path, entry in session.published.entries.items()
            if entry.source in KINDS and path not in kept and (base / path).exists()
        ]
        removed = []
        if args.yes:
            for path in orphans:
                if is_ours(session.published, base, path):  # checked again right before
                    files.remove(base / path)
                    removed.append(path)
            write_published(session.record_path, without(session.published, removed))
        if args.json:
            return print_envelope("clean", {"orphans": orphans, "removed": removed}, 0)
        for path in orphans:
            console.say(f"  {console.paint('-', 'red')} {path}{'  removed' if path in removed else ''}")
        if not orphans:
            console.say("nothing to clean")
        elif not args.yes:
            console.say(f"{count(len(orphans), 'file')} without a clip in the film; remove with: ltxflow clean --yes")
        return 0
