"""Read and write `ltxflow.lock`: a line per clip with pick, takes and digests, a line per model with its choices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, Problem, Span, hint_for, problem
from ltxflow.core.target import Target
from ltxflow.core.workspace import is_damage, read_bytes
from ltxflow.store.blobs import is_digest

LOCK_VERSION = 1
_HEAD = (
    "# written by ltxflow, one line a clip: which take is in the cut, what was rendered; belongs into git\n"
    f"ltxflow-lock: {LOCK_VERSION}\n"
)
_LINE = re.compile(
    r"(?P<clip>[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*|reference:[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*)?"
    r"|model:[a-z0-9][a-z0-9./-]*)"
    r":\s+(?P<json>\S.*)"
)
MODEL = "model:"  # the line of a model begins with it
_VERSION = re.compile(r"ltxflow-lock:\s+(?P<version>\S.*?)\s*")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( .*)?")
# characters that JSON allows in a string, but YAML does not print (YAML 1.2, 5.1), or reads as the end of a line
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class LockTake:
    """The result of one take.

    `digest` and `facts` are those of its `video`, or of a reference's `image`, which has no frames; `outputs` has the
    digest of every other output. `seed` is the derived seed as first used, None where only seeds written in the project
    were. `source` names the maker: "comfyui", or a file that was pinned. `tries` is the number of seeds that were tried
    automatically without a good result.
    """

    key: Key
    seed: int | None
    digest: Digest
    frames: int
    facts: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    source: str = ""
    outputs: Mapping[str, Digest] = field(default_factory=lambda: _EMPTY)
    tries: int = 0

    def output(self, name: str) -> Output | None:
        """Return the output of a name, or None; only `video` has facts here."""
        if name == "video":
            return Output(self.digest, {"frames": self.frames, **self.facts})
        found = self.outputs.get(name)
        return None if found is None else Output(found)


@dataclass(frozen=True)
class LockEntry:
    """A clip's line: the picked take, all takes by number, and a person's decision on the picked one."""

    pick: int
    takes: Mapping[int, LockTake] = field(default_factory=dict)
    status: str = ""
    reason: str = ""

    @property
    def picked(self) -> LockTake | None:
        """The picked take, None while it does not exist."""
        return self.takes.get(self.pick)

    @cached_property
    def text(self) -> str:
        """The text after the clip in its line; cached, since the file is written after every finished clip."""
        return _entry_text(self)


@dataclass(frozen=True)
class Lock:
    """The whole file: clip path (`hook/b`), or name of a made reference (`reference:hero`) → its entry.

    `choices` are the results of `auto` by the model's name: {weights: {role: precision}, quality, stages}, each only
    where it was to be chosen.
    """

    entries: Mapping[str, LockEntry] = field(default_factory=lambda: _EMPTY)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _EMPTY)

    def mentions(self, word: str) -> bool:
        """Return whether a word may occur in one of its lines: a quick check that avoids parsing them all."""
        return word in self.entries.text if isinstance(self.entries, _Lines) else True

    def take(self, clip: str, take: int) -> LockTake | None:
        """Return a take of a clip or reference, or None."""
        entry = self.entries.get(clip)
        return None if entry is None else entry.takes.get(take)


def made_of(entry: str) -> str:
    """Return the name of the output whose digest an entry's takes have, "image" or "video"."""
    return "image" if Target(entry).is_reference else "video"


# --- changes: each returns a new Lock


def with_entry(lock: Lock, clip: str, entry: LockEntry) -> Lock:
    """Return the lock with a new entry of a clip."""
    return replace(lock, entries={**lock.entries, clip: entry})


def without(lock: Lock, clip: str) -> Lock:
    """Return the lock without a clip."""
    return replace(lock, entries={path: entry for path, entry in lock.entries.items() if path != clip})


def with_choices(lock: Lock, model: str, choices: Mapping[str, Any]) -> Lock:
    """Return the lock with the results of `auto` for a model, added to its earlier choices."""
    known = lock.choices.get(model, _EMPTY)
    weights = {**known.get("weights", {}), **choices.get("weights", {})}
    united = {**known, **choices, **({"weights": weights} if weights else {})}
    return replace(lock, choices={**lock.choices, model: united}) if united else lock


def with_take(lock: Lock, clip: str, take: int, made: LockTake) -> Lock:
    """Return the lock with the result of a take. Take 1 is the pick until a person picks another.

    A person's decision concerns bytes: where the picked take's digest changes, status and reason are dropped.
    """
    entry = lock.entries.get(clip, LockEntry(pick=1))
    before = entry.takes.get(take)
    entry = replace(entry, takes={**entry.takes, take: made})
    if take == entry.pick and before is not None and before.digest != made.digest:
        entry = replace(entry, status="", reason="")
    return with_entry(lock, clip, entry)


def with_pick(lock: Lock, clip: str, take: int) -> Lock:
    """Return the lock with a take of a clip as its pick.

    Status and reason, which concern the earlier pick, are dropped. Raise LtxflowError for an unknown take.
    """
    entry = lock.entries.get(clip)
    if entry is None or take not in entry.takes:
        known = ", ".join(str(number) for number in sorted(entry.takes)) if entry else ""
        hint = f"pick one of {known}, or make one more with `ltxflow retake {clip}`" if known else None
        raise LtxflowError(problem("K010.no-such", clip=clip, take=take, hint=hint))
    if take == entry.pick:
        return lock
    return with_entry(lock, clip, replace(entry, pick=take, status="", reason=""))


def with_status(lock: Lock, clip: str, status: str, reason: str = "") -> Lock:
    """Return the lock with a person's decision on a clip's picked take. Raise LtxflowError without a take."""
    entry = lock.entries.get(clip)
    if entry is None:
        raise LtxflowError(problem("K010.none", clip=clip))
    return with_entry(lock, clip, replace(entry, status=status, reason=reason))


def moved(lock: Lock, moves: Iterable[tuple[str, str]]) -> Lock:
    """Return the lock with entries renamed by (from, to) pairs of clip paths or of scene ids, in order.

    A missing entry, or one whose new name is taken, is left alone, so that the pairs may stay in the project after they
    were applied.
    """
    moves = tuple(moves)
    if not moves:
        return lock
    entries = dict(lock.entries)
    of_scene: dict[str, dict[str, None]] = {}
    for clip in entries:
        of_scene.setdefault(clip.partition("/")[0], {})[clip] = None
    for source, target in moves:
        here = of_scene.get(source.partition("/")[0], {})
        there = of_scene.setdefault(target.partition("/")[0], {})
        for clip in [source] if "/" in source else [*here]:
            place = target + clip[len(source) :]
            if clip in entries and place not in entries:
                entries[place] = entries.pop(clip)
                there[place] = here.pop(clip)
    return lock if entries == lock.entries else replace(lock, entries=entries)


# --- the text


def lock_text(lock: Lock) -> str:
    """Return the text of a lock: YAML with a line per clip, sorted by path, so that it merges well."""
    lines = {clip: entry.text for clip, entry in lock.entries.items()}
    lines |= {f"{MODEL}{model}": _as_text(_plain_choices(choices)) for model, choices in lock.choices.items()}
    return _HEAD + "".join(f"{name}: {lines[name]}\n" for name in sorted(lines))


def _plain_choices(choices: Mapping[str, Any]) -> dict[str, Any]:
    weights = {"weights": _sorted(choices["weights"])} if "weights" in choices else {}
    return weights | {name: choices[name] for name in ("quality", "stages") if name in choices}


def _entry_text(entry: LockEntry) -> str:
    data: dict[str, Any] = {"pick": entry.pick}
    data |= {"status": entry.status} if entry.status else {}
    data |= {"reason": entry.reason} if entry.reason else {}
    data["takes"] = {str(number): _take_json(entry.takes[number]) for number in sorted(entry.takes)}
    return _as_text(data)


def _as_text(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, separators=(", ", ": "), ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _take_json(take: LockTake) -> dict[str, Any]:
    data: dict[str, Any] = {"key": take.key, "seed": take.seed, "digest": take.digest, "frames": take.frames}
    data |= {"facts": _sorted(take.facts)} if take.facts else {}
    data |= {"source": take.source} if take.source else {}
    data |= {"outputs": _sorted(take.outputs)} if take.outputs else {}
    data |= {"tries": take.tries} if take.tries else {}
    return data


def _sorted(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in sorted(data)}


def parse_lock(text: str, name: str) -> Lock:
    """Return the Lock of a text; `name` is the file in errors. Raise LtxflowError with every bad line."""
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    _refuse_conflicts(lines, name)
    entries: dict[str, LockEntry] = {}
    choices: dict[str, Mapping[str, Any]] = {}
    problems: list[Problem] = []
    is_headed = False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not is_headed:
            _check_version(line, Span(name, number, 1))
            is_headed = True
            continue
        try:
            clip, entry = _parse_line(line, name, number)
        except _Bad as bad:
            problems.append(bad.problem)
            continue
        if clip in entries or (clip.startswith(MODEL) and clip.removeprefix(MODEL) in choices):
            problems.append(problem("K011", Span(name, number, 1), name=clip))
        if isinstance(entry, LockEntry):
            entries[clip] = entry
        else:
            choices[clip.removeprefix(MODEL)] = entry
    if problems:
        raise LtxflowError(*problems)
    return Lock(entries, choices)


def _refuse_conflicts(lines: list[str], name: str) -> None:
    found = [number for number, line in enumerate(lines, 1) if _CONFLICT.fullmatch(line)]
    if found:
        raise LtxflowError(problem("K012", Span(name, found[0], 1), line=lines[found[0] - 1]))


def _check_version(line: str, span: Span) -> None:
    found = _VERSION.fullmatch(line)
    if found is None:
        raise LtxflowError(problem("K013.missing", span, line=line[:40], version=LOCK_VERSION))
    if found["version"] != str(LOCK_VERSION):
        raise LtxflowError(problem("K013.other", span, version=found["version"]))


class _Bad(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _parse_line(line: str, name: str, number: int) -> tuple[str, LockEntry | Mapping[str, Any]]:
    """Return the name at the start of a line, and a clip's entry, or the choices of a model."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise _Bad(problem("K014.form", Span(name, number, 1), line=line[:40]))
    clip, column = found["clip"], found.start("json") + 1
    try:
        data = json.loads(found["json"])
        return clip, _choices(data) if clip.startswith(MODEL) else _entry(data)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg.lower()}"
        raise _Bad(problem("K014.value", Span(name, number, column + error.pos), name=clip, reason=reason)) from None
    except RecursionError:
        reason = "nested too deeply"
        raise _Bad(problem("K014.value", Span(name, number, column), name=clip, reason=reason)) from None
    except ValueError as error:
        raise _Bad(problem("K014.value", Span(name, number, column), name=clip, reason=error)) from None


def _entry(data: Any) -> LockEntry:
    _check_names(data, "an entry", {"pick", "status", "reason", "takes"})
    takes = _typed(data, "takes", dict, {})
    bad = [number for number in takes if re.fullmatch(r"[1-9]\d{0,8}", number) is None]
    if bad:
        raise ValueError(f'"{bad[0]}" is not the number of a take')
    pick = _typed(data, "pick", int, None)
    if pick < 1:
        raise ValueError(f'"pick" is {pick}, takes count from 1')
    return LockEntry(
        pick=pick,
        takes={int(number): _take(take) for number, take in takes.items()},
        status=_typed(data, "status", str, ""),
        reason=_typed(data, "reason", str, ""),
    )


def _choices(data: Any) -> Mapping[str, Any]:
    _check_names(data, "a model", {"weights", "quality", "stages"})
    for role, precision in _typed(data, "weights", dict, {}).items():
        if type(precision) is not str:
            raise ValueError(f'"{role}" is not text')
    _typed(data, "quality", str, "")
    if _typed(data, "stages", int, 1) not in (1, 2):
        raise ValueError(f'"stages" is {data["stages"]}')
    return dict(data)


def _take(data: Any) -> LockTake:
    _check_names(data, "a take", {"key", "seed", "digest", "frames", "facts", "source", "outputs", "tries"})
    outputs = _typed(data, "outputs", dict, {})
    for name, value in [("key", data.get("key")), ("digest", data.get("digest")), *outputs.items()]:
        if not is_digest(value):
            raise ValueError(f'"{name}" is not 64 hex digits')
    seed = data.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**53):
        raise ValueError('"seed" is not a whole number from 0 to 2^53 - 1')
    frames = _typed(data, "frames", int, None)
    if frames < 0:
        raise ValueError(f'"frames" is {frames}')
    return LockTake(
        key=Key(data["key"]),
        seed=seed,
        digest=Digest(data["digest"]),
        frames=frames,
        facts=_typed(data, "facts", dict, {}),
        source=_typed(data, "source", str, ""),
        outputs={name: Digest(value) for name, value in outputs.items()},
        tries=_typed(data, "tries", int, 0),
    )


def _check_names(data: Any, what: str, known: set[str]) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is a mapping")
    unknown = sorted(set(data) - known)
    if unknown:  # never dropped in silence when the lock is written again
        raise ValueError(f'{what} has no "{unknown[0]}"')


def _typed(data: dict[str, Any], name: str, kind: type, otherwise: Any) -> Any:
    value = data.get(name, otherwise)
    if type(value) is not kind:
        words = {int: "a whole number", str: "text", dict: "a mapping"}
        raise ValueError(f'"{name}" is not {words[kind]}' if name in data else f'"{name}" is missing')
    return value


# --- the file


def read_lock(path: Path, name: str = "", *, is_known: bool = False) -> Lock:
    """Return the Lock of a file, an empty one without it. `name` is the file in errors.

    Raise LtxflowError, with line and column, for a damaged file or one with merge conflicts. Lines of a file that
    `is_known` to be good, since it was read before and is unchanged, are parsed on access.
    """
    shown = name or str(path)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        reason = str(error.strerror) if is_damage(error) else (error.strerror or str(error)).lower()
        raise LtxflowError(problem("K015.system", path=shown, reason=reason, hint=hint_for(error))) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        span = Span(shown, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise LtxflowError(problem("K015.encoding", span)) from None
    if not text.strip():  # we never write one: takes and decisions are lost
        raise LtxflowError(problem("K015.empty", Span(shown, 1, 1), name=path.name))
    if not is_known:
        return parse_lock(text, shown)
    lines = _Lines(text, shown)
    return Lock(lines, lines.choices)


class _Lines(Mapping[str, LockEntry]):
    """The entries of a lock's text, each parsed on access; a bad line raises LtxflowError then."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self._name = name
        rows = enumerate(text.split("\n"), 1)
        lines = ((line.partition(": ")[0], (line, number)) for number, line in rows if line.strip() and line[0] != "#")
        next(lines, None)  # the version
        self._lines = dict(lines)
        self._read: dict[str, LockEntry] = {}
        named = [name for name in self._lines if name.startswith(MODEL)]
        self.choices = {name.removeprefix(MODEL): self._parsed(*self._lines.pop(name)) for name in named}

    def _parsed(self, line: str, number: int) -> Any:
        try:
            return _parse_line(line.rstrip("\r"), self._name, number)[1]
        except _Bad as bad:
            raise LtxflowError(bad.problem) from None

    def __getitem__(self, clip: str) -> LockEntry:
        if clip not in self._read:
            self._read[clip] = self._parsed(*self._lines[clip])
        return self._read[clip]

    def __contains__(self, clip: object) -> bool:
        return clip in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def read_choices(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the choices of a lock's file by model, empty where it cannot be read: a full read reports that."""
    try:
        return read_lock(path, is_known=True).choices
    except LtxflowError:
        return _EMPTY


def write_lock(path: Path, lock: Lock) -> bool:
    """Write a lock's file atomically; return whether it changed.

    A file with the same text (with any line ends) is left alone, so that git sees no change.
    """
    text = lock_text(lock)
    try:
        is_same = read_bytes(path).replace(b"\r\n", b"\n") == text.encode()
    except FileNotFoundError:
        is_same = not (lock.entries or lock.choices)
    except OSError:
        is_same = False
    if is_same:
        return False
    files.write_atomic(path, text)
    return True
