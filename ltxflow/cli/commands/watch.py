"""Looks at the film again at every save, and says what changed; a key renders it.

r renders, a draws the animatic, p shows the whole plan, q leaves. A project with errors is waited for.
`--auto` builds by itself what a save changes, once: what failed is tried again when something else changes, or by key.
With --json every look is an envelope of its own with the plan, a build is its events.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from ltxflow.build.pipeline import make_film
from ltxflow.cli.file_watcher import FileWatcher, Keyboard, around
from ltxflow.cli.options import add_means, add_question, means_of, question_of, session_of, waited_session
from ltxflow.core.errors import INTERRUPTED, LtxflowError, Problem
from ltxflow.documents.paths import find_project, shown
from ltxflow.plan.plan import Change, Mode, Plan
from ltxflow.plan.plan_diff import gone, news
from ltxflow.session.session import Session
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.plan_view import name, plan_json, print_change, print_plan, print_unsaid, totals
from ltxflow.ui.progress import report, watcher
from ltxflow.ui.terminal import Console

BUILDS: dict[str, Mode] = {"r": "render", "a": "animatic"}
NAMED = 3  # files that changed, by name; more are counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    add_means(parser)
    parser.add_argument("--auto", action="store_true", help="build what a save changes, without a key")


def run(args: argparse.Namespace, face: Console) -> int:
    file = find_project(args.project, Path.cwd())
    desk = WatchSession(args, face, file, FileWatcher({path.absolute() for path in around(file)}))
    with Keyboard(sys.stdin) as keyboard:
        desk.has_keys = keyboard.is_there
        desk.look([])
        while True:
            key = keyboard.wait(desk.eye.pause_s)
            if key in ("q", "\x04"):
                return 0
            if key in BUILDS:
                desk.build(BUILDS[key])
            elif key == "p":
                desk.forget()
                desk.look([])
            elif changed := desk.eye.changed():
                desk.look(changed)
            elif args.auto and desk.is_untried:
                desk.build("animatic" if args.animatic else "render")


@dataclass
class WatchSession:
    """What is known of the film, and what was said of it: only what is new is said again."""

    args: argparse.Namespace
    face: Console
    file: Path
    eye: FileWatcher
    has_keys: bool = False
    outlook: Plan | None = None
    said: str = ""  # the totals
    complained: frozenset[Problem] = frozenset()
    tried: set[str] = field(default_factory=set)  # keys that a build has been started for

    @property
    def keys(self) -> str:
        return "r render · a animatic · p plan · q quit" if self.has_keys else "Ctrl-C quits"

    @property
    def is_untried(self) -> bool:
        """Whether there is something to make that no build has tried."""
        return self.outlook is not None and bool(_todo(self.outlook) - self.tried)

    def forget(self) -> None:
        self.outlook, self.said, self.complained = None, "", frozenset()

    def look(self, changed: Sequence[Path], *, is_built: bool = False) -> None:
        """Read the film, and tell what is new; with errors, tell them and keep looking at all that may mend them.

        After a build what it made is no news: the totals are.
        """
        self.face.said.clear()
        self.face.warned.clear()  # nobody asks for them here, and a day is long
        self.eye.open()
        with ExitStack() as opened:
            try:
                session = opened.enter_context(session_of(self.args))
                outlook = session.plan(question_of(self.args, session))
            except LtxflowError as error:
                named = {Path(problem.span.file) for problem in error.problems if problem.span}
                self.eye.rest_on({*self.eye.paths, *around(self.file), *named})
                self._complain(changed, error.problems, error.exit_code)
                return
            self.eye.rest_on(map(Path, session.input_paths()))
            self._tell(changed, session, outlook, is_built)
            self.outlook = outlook

    def build(self, mode: Mode) -> None:
        """Make what is to be made, and look at what became of it. Whatever goes wrong, the watch goes on."""
        args, watch = self.args, watcher(self.face, self.args.json, self.args.quiet, self.args.verbose)
        if self.outlook is not None:
            self.tried |= _todo(self.outlook)
        try:
            with waited_session(args, watch, wait=True) as session:
                question = replace(question_of(args, session), mode=mode)
                with watch:
                    made = make_film(session, question, means_of(args), watch)
                if not args.json:
                    report(self.face, made, session.warnings, args.quiet)
                    self.face.say()
        except LtxflowError as error:
            self._told(error.problems, error.exit_code)
        except KeyboardInterrupt:  # before anything was begun; later it is the build that is told
            self._told([Problem("interrupted: nothing was begun", code="U004")], INTERRUPTED)
        self.look([], is_built=True)

    def _complain(self, changed: Sequence[Path], problems: Sequence[Problem], code: int) -> None:
        if frozenset(problems) == self.complained:
            if changed and not self.args.json:
                self._headline(changed)
                self.face.say(self.face.paint("  the same as before", "dim"))
            return
        self.complained, self.said = frozenset(problems), ""
        self._headline(changed)
        self._told(problems, code)
        if not self.args.json:
            self.face.say(self.face.paint(f"waiting for it to be mended · {self.keys}", "dim"))

    def _told(self, problems: Sequence[Problem], code: int) -> None:
        if self.args.json:
            print_envelope("watch", None, code, problems)
        else:
            self.face.problems(problems)

    def _tell(self, changed: Sequence[Path], session: Session, outlook: Plan, is_built: bool) -> None:
        """What is new since the last look: warnings, clips, and what the film comes to."""
        face, args = self.face, self.args
        notes = [*session.loaded.problems, *session.warnings, *outlook.problems]
        is_first = self.outlook is None
        written = {path.absolute() for path in session.loaded.files}
        is_saved = any(path in written for path in changed)
        before: Sequence[Change] = self.outlook.changes if self.outlook else ()
        fresh, left = news(before, outlook.changes), gone(before, outlook.changes)
        said = totals(face, outlook)
        heard = {line.key for line in self.outlook.unsaid} if self.outlook else set()
        is_unheard = any(line.key not in heard for line in outlook.unsaid)
        is_new = bool(fresh or left or is_built or is_unheard) or said != self.said
        if is_built:
            fresh = [change for change in fresh if change.kind != "unchanged"]
        if args.json:
            if is_new:
                print_envelope("watch", plan_json(outlook), 0, notes)
            self.said, self.complained = said, frozenset()
            return
        warnings = [note for note in notes if note.level == "warning" and note not in self.complained]
        if is_new or warnings or is_saved:
            self._headline(changed)
        face.problems([] if args.quiet else warnings)
        if is_first:
            print_plan(
                face,
                outlook,
                quiet=args.quiet,
                verbose=args.verbose,
                apply="press r" if self.has_keys else "ltxflow build",
            )
        elif is_new:
            print_unsaid(face, outlook, heard)
            width = max(map(len, map(name, [*fresh, *left])), default=0)
            for change in fresh:
                print_change(face, change, width)
            for change in left:
                face.say(f"  {face.paint('-', 'red')} {name(change).ljust(width)}  no longer in the film")
            face.say(said)
        if is_first or is_new:
            face.say(face.paint(f"watching · {self.keys}", "dim"))
        elif is_saved:
            face.say(face.paint("  nothing that is rendered changed", "dim"))
        self.said, self.complained = said, frozenset(note for note in notes if note.level == "warning")

    def _headline(self, changed: Sequence[Path]) -> None:
        """`21:40:12  project.yaml`"""
        if self.args.json or not changed:
            return
        files = [shown(path) for path in changed if not path.is_dir()] or [shown(path) for path in changed]
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        told = f"{time.strftime('%H:%M:%S')}  {', '.join(files[:NAMED])}{more}"
        self.face.say(self.face.paint(told, "bold"))


def _todo(outlook: Plan) -> set[str]:
    """Keys, or targets where no key is known yet, of all that a build would make, have spoken or put in its place."""
    made = {change.key or change.target for change in outlook.of_kind("create", "change", "maybe", "restore")}
    return made | {line.key for line in outlook.unsaid}
