"""Messages of ltxflow/core."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "D040": rule("the disk accepts writes", 'cannot {doing} "{path}": {reason}'),
    "D041": rule("the path of a file can be used", 'cannot {doing} "{path}": {reason}'),
    "D042": rule(
        "a file stays as it is while it is copied",
        changed=Text('"{path}" changed while it was copied', "wait until it is complete, then run again"),
        digest=Text('"{path}" has the sha256 {found}, not {expected}', "wait until it is complete, then run again"),
    ),
    "D043": rule(
        "git answers",
        missing=Text("git is not installed", "install git"),
        failed=Text('git failed in "{folder}": {reason}', "run `git -C {folder} {command}`"),
    ),
    "D044": rule(
        "one process at a time changes a project or a store",
        '"{path}" is held by {owner}',
        "wait for it to end, or run without `--no-wait`",
    ),
    "L014": rule(
        "no symbolic link leads out of the workspace, and none is in .ltxflow",
        own=Text(
            '"{path}" is a symbolic link to "{target}"; ltxflow follows none in ".ltxflow"',
            "remove the link; ltxflow creates .ltxflow again, with real folders",
        ),
        loop=Text('"{path}" is a symbolic link that leads to itself: "{target}"', "remove the link"),
        outside=Text(
            '"{path}" leads to "{real}", outside the workspace "{root}"',
            "replace the link with a real folder, or name a wider workspace with --root",
        ),
        why="projects come from strangers",
    ),
    "L015": rule(
        "nothing is written below .git",
        '"{path}" is inside "{name}"',
        "choose another folder; git runs the hooks that it finds there",
        why="projects come from strangers",
    ),
    "U009": rule(
        "there is enough memory",
        "not enough memory: {size} MB more are refused",
        "raise the limit (`ulimit -v unlimited`), or close other programs; finished work is kept",
    ),
}

# What to do about an error of the operating system, by errno: while writing, and while reading.
WRITE_HINTS: Mapping[int, str] = {
    errno.ENOSPC: "free some space on that disk, then run again; finished work is kept",
    errno.EDQUOT: "free some of your quota on that disk, then run again; finished work is kept",
    errno.EACCES: "give yourself permission to write there, or choose another folder",
    errno.EPERM: "give yourself permission to write there, or choose another folder",
    errno.EROFS: "choose another folder, or mount that file system writable",
    errno.ENOTDIR: "move away the file in the middle of that path, or choose another folder",
    errno.EEXIST: "move away what is at that path, or choose another folder",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.EISDIR: "move away the folder that is in the file's place",
    errno.EINVAL: "move away what is in the file's place",
    errno.ELOOP: "remove the symbolic link that is in the file's place",
    errno.ENOLCK: "keep the project on a local disk; that file system has no locks",
}
WRITE_HINT = "check the path and its permissions"
READ_HINTS: Mapping[int, str] = {
    errno.EISDIR: "move away the folder that is in the file's place",
    errno.ENOTDIR: "move away the file in the middle of that path",
    errno.EINVAL: "move away what is in the file's place",
    errno.ELOOP: "remove the symbolic link that leads to itself",
    errno.EFBIG: "move it away; ltxflow writes no file of that size",
}
READ_HINT = "check its permissions"

# Texts of `core.timing`, which knows no span: its callers put them into a problem with their code.
TIMES: Mapping[str, Text] = {
    "no-time": Text('"{text}" is not a time', "write frames as 12f or seconds as 0.4s"),
    "no-unit": Text('"{text}" has no unit'),
    "unknown-unit": Text('"{text}" has the unknown unit "{unit}"'),
    "part-of-a-frame": Text('"{text}" is not a whole number of frames', "write {number}s if you mean seconds"),
    "no-decibels": Text('"{text}" has no unit', "write -6dB"),
    "no-clips": Text("the scene has no clips", "write at least one"),
    "lines-too-long": Text(
        '"{clip}" has {have} frames at most, and its lines take {need}',
        "let another clip cover some of its lines, or add one",
    ),
    "above-the-model": Text(
        '"{clip}" asks for {frames} frames; the model makes {most} at most',
        "make it shorter, or split it into two clips",
    ),
    "crossfades-too-long": Text(
        '"{clip}" has {have} frames, and its crossfades take {overlap}',
        "make the crossfade shorter or the clip longer",
    ),
    "clips-too-short": Text("{have} of the {need} frames needed are covered by {clips} of at most {most} frames"),
    "lengths-too-short": Text("{lengths} cover {have} of the {need} frames needed"),
    "lengths-too-long": Text(
        "the lengths as written cover {picture} frames; {need} are needed",
        "take {left} frames off them, or write `auto`; trimming the tails removes {trimmed} at most",
    ),
    "begins-late": Text("{clip} begins {frames} frames after its line, because the clip before it is that long"),
    "stays-longer": Text("the picture stays {frames} frames longer than needed"),
    "stays-longer-kept": Text(
        "the picture stays {frames} frames longer than needed: rendered lengths are kept; "
        "`--relength` solves them again"
    ),
    "stays-longer-fewer": Text(
        "the picture stays {frames} frames longer than needed: {clips} would be enough ({lengths})"
    ),
    "outside-preferred": Text(
        "{frames} frames is outside {low}–{high}, where clips look best: `--relength` would make them {lengths}"
    ),
    "outside-preferred-count": Text(
        "{frames} frames is outside {low}–{high}, where clips look best: {clips} would be within ({lengths})"
    ),
}
