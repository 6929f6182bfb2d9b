"""Plan again after every save and print what changed; a key starts a build.

r renders, a draws the animatic, p prints the whole plan, q quits. A project with errors is read again once it is saved.
`--auto` builds by itself what a save changes, once: a failed clip is tried again after another change, or by key.
With --json every new plan is an envelope, and a build prints its events.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ltxflow.build.approval import find_answering
from ltxflow.build.pipeline import make_film
from ltxflow.cli.file_watcher import FileWatcher, Keyboard, around
from ltxflow.cli.options import (
    add_build_options,
    add_plan_options,
    build_options,
    plan_options,
    print_notes,
    session_of,
    waited_session,
)
from ltxflow.core.errors import INTERRUPTED, LtxflowError, Problem, problem
from ltxflow.documents.document import find_project, shown
from ltxflow.plan.plan import Change, Mode, Plan
from ltxflow.plan.plan_diff import gone, news
from ltxflow.session.session import Session
from ltxflow.ui.plan_view import apply_line, name, plan_json, print_changes, print_plan, print_unspoken, totals
from ltxflow.ui.progress import print_result, watcher
from ltxflow.ui.terminal import Console, print_envelope

BUILDS: dict[str, Mode] = {"r": "render", "a": "animatic"}
NAMED = 3  # changed files that are listed by name; more are counted


def add_options(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    add_build_options(parser)
    parser.add_argument("--auto", action="store_true", help="build what a save changes, without a key")


def run(args: argparse.Namespace, console: Console) -> int:
    file = find_project(args.project, Path.cwd())
    watch = WatchSession(args, console, file, FileWatcher({path.absolute() for path in around(file)}))
    with suppress(KeyboardInterrupt), Keyboard(sys.stdin) as keyboard:  # it ends a watch, and cuts nothing short
        watch.has_keys = keyboard.is_open
        watch.refresh([])
        while True:
            key = keyboard.wait(watch.files.pause_s)
            if key in ("q", "\x04"):
                return 0
            if key in BUILDS:
                watch.build(BUILDS[key])
            elif key == "p":
                watch.reset()
                watch.refresh([])
            elif changed := watch.files.changed():
                watch.refresh(changed)
            elif args.auto and watch.has_untried:
                watch.build("animatic" if args.animatic else "render")
    return INTERRUPTED


@dataclass
class WatchSession:
    """The plan of the last save, and what was printed of it: only differences are printed."""

    args: argparse.Namespace
    console: Console
    file: Path
    files: FileWatcher
    has_keys: bool = False
    plan: Plan | None = None
    printed_totals: str = ""
    printed_problems: frozenset[Problem] = frozenset()
    tried: set[str] = field(default_factory=set)  # keys that a build was started for

    @property
    def keys(self) -> str:
        return "r render · a animatic · p plan · q quit" if self.has_keys else "Ctrl-C quits"

    @property
    def commands(self) -> tuple[str, str]:
        """How to render the plan, and how to draw it as slates."""
        return ("press r", "press a") if self.has_keys else ("ltxflow build", "ltxflow build --animatic")

    @property
    def has_untried(self) -> bool:
        """Whether the plan has something to make that no build has tried."""
        return self.plan is not None and bool(_to_make(self.plan) - self.tried)

    def reset(self) -> None:
        """Forget what was printed, so that the next plan is printed whole."""
        self.plan, self.printed_totals, self.printed_problems = None, "", frozenset()

    def refresh(self, changed: Sequence[Path], *, is_built: bool = False) -> None:
        """Plan, and print what is new; print errors, and watch every file that may fix them.

        After a build, what it made is not printed again; the totals are.
        """
        self.console.printed.clear()
        self.console.printed_errors.clear()  # only a cached answer needs them, and a watch may run for days
        self.files.open()
        with ExitStack() as opened:
            try:
                session = opened.enter_context(session_of(self.args))
                plan = session.plan(plan_options(self.args, session))
            except LtxflowError as error:
                named = {Path(each.span.file) for each in error.problems if each.span}
                self.files.watch({*self.files.paths, *around(self.file), *named})
                self._print_errors(changed, error.problems, error.exit_code)
                return
            self.files.watch(map(Path, session.input_paths()))
            self._print_changes(changed, session, plan, is_built)
            self.plan = plan

    def build(self, mode: Mode) -> None:
        """Build, then plan again. An error is printed and the watch continues."""
        args, watch = self.args, watcher(self.console, self.args.json, self.args.quiet, self.args.verbose)
        if self.plan is not None:
            self.tried |= _to_make(self.plan)
        try:
            with waited_session(args, watch, wait=True) as session:
                options = replace(plan_options(args, session), mode=mode)
                with watch:
                    result = make_film(session, options, build_options(args), watch)
                if not args.json:
                    print_result(self.console, result, session.warnings, args.quiet)
                    self.console.say()
        except LtxflowError as error:
            self._print_problems(error.problems, error.exit_code)
        except KeyboardInterrupt:  # before the build began; later it handles the interrupt itself
            self._print_problems([problem("U004.before-build")], INTERRUPTED)
        self.refresh([], is_built=True)

    def _print_errors(self, changed: Sequence[Path], problems: Sequence[Problem], code: int) -> None:
        if frozenset(problems) == self.printed_problems:
            if changed and not self.args.json:
                self._print_headline(changed)
                self.console.say(self.console.paint("  same problems", "dim"))
            return
        self.printed_problems, self.printed_totals = frozenset(problems), ""
        self._print_headline(changed)
        self._print_problems(problems, code)
        if not self.args.json:
            self.console.say(self.console.paint(f"waiting for you to fix it · {self.keys}", "dim"))

    def _print_problems(self, problems: Sequence[Problem], code: int) -> None:
        if self.args.json:
            print_envelope("watch", None, code, problems)
        else:
            self.console.problems(problems)

    def _print_changes(self, changed: Sequence[Path], session: Session, plan: Plan, is_built: bool) -> None:
        """Print what is new since the last plan: warnings, clips, totals."""
        console, args = self.console, self.args
        notes = [*session.loaded.problems, *session.warnings, *plan.problems]
        is_first = self.plan is None
        written = {path.absolute() for path in session.loaded.files}
        is_saved = any(path in written for path in changed)
        before: Sequence[Change] = self.plan.changes if self.plan else ()
        fresh, left = news(before, plan.changes), gone(before, plan.changes)
        line = totals(console, plan)
        known = {each.key for each in self.plan.unsaid} if self.plan else set()
        has_new_lines = any(each.key not in known for each in plan.unsaid)
        is_new = bool(fresh or left or is_built or has_new_lines) or line != self.printed_totals
        if is_built:
            fresh = [change for change in fresh if change.kind != "unchanged"]
        if args.json:
            if is_new:
                print_envelope("watch", plan_json(plan), 0, notes)
            self.printed_totals, self.printed_problems = line, frozenset()
            return
        warnings = [note for note in notes if note.level == "warning" and note not in self.printed_problems]
        if is_new or warnings or is_saved:
            self._print_headline(changed)
        if is_first:
            print_notes(args, console, session, plan)
            apply = apply_line(console, find_answering(session, plan, args.server), *self.commands)
            print_plan(console, plan, quiet=args.quiet, verbose=args.verbose, apply=apply)
        else:
            console.problems([] if args.quiet else warnings)
        if is_new and not is_first:
            print_unspoken(console, plan, known)
            print_changes(console, fresh, plan.heads, verbose=args.verbose)
            width = max(map(len, map(name, left)), default=0)
            for change in left:
                console.say(f"  {console.paint('-', 'red')} {name(change).ljust(width)}  no longer in the film")
            console.say(line)
        if is_first or is_new:
            console.say(console.paint(f"watching · {self.keys}", "dim"))
        elif is_saved:
            console.say(console.paint("  no rendered clip is affected", "dim"))
        self.printed_totals = line
        self.printed_problems = frozenset(note for note in notes if note.level == "warning")

    def _print_headline(self, changed: Sequence[Path]) -> None:
        """Print `21:40:12  project.yaml`."""
        if self.args.json or not changed:
            return
        files = [shown(path) for path in changed if not path.is_dir()] or [shown(path) for path in changed]
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        line = f"{time.strftime('%H:%M:%S')}  {', '.join(files[:NAMED])}{more}"
        self.console.say(self.console.paint(line, "bold"))


def _to_make(plan: Plan) -> set[str]:
    """Return the keys of all that a build would make, speak or restore; targets where no key is known yet."""
    found = {change.key or change.target for change in plan.of_kind("create", "change", "maybe", "restore")}
    return found | {line.key for line in plan.unsaid}
