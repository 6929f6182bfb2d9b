"""Read and write the text of `ltxflow.lock`: YAML with a block for each clip, one fact to a line, sorted.

So that a diff reads well and git merges most of it, nothing on a line depends on another line. The reader takes this
part of YAML alone: mappings by indentation, plain words, and JSON for all other values. It also reads the lines of
version 1, where each clip was one line of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import Digest, Key
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.lock.model import UNDECIDED, Acceptance, CoveredTake, Decision, Lock, LockEntry, LockTake
from ltxflow.store.blobs import is_digest

LOCK_VERSION = 2
_HEAD = (
    "# written by ltxflow, a block a clip: which take is in the cut, what was rendered; belongs into git\n"
    f"ltxflow-lock: {LOCK_VERSION}\n"
)
MODEL = "model:"  # the block of a model begins with it
_ID = "[a-z0-9][a-z0-9-]*"
_NAME = re.compile(f"{_ID}/{_ID}|reference:{_ID}(?:/{_ID})?|model:[a-z0-9][a-z0-9./-]*")
_VERSION = re.compile(r"ltxflow-lock:\s+(?P<version>\S.*?)\s*")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( .*)?")
# characters that JSON allows in a string, but YAML does not print (YAML 1.2, 5.1), or reads as the end of a line
_ENCODER = json.JSONEncoder(separators=(", ", ": "), ensure_ascii=False, allow_nan=False, default=dict)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_WORD = re.compile(r"[a-z][a-z0-9_./-]*")  # a text that YAML reads as it is, unless it is one of these
_NO_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])
_KEY = re.compile(r"[a-z0-9]*[a-z_][a-z0-9_]*")
_FIRST = re.compile(r"(?:[ \t]*\n|[ \t]*#.*\n)*([^\s#])")  # of the first line with something other than a comment
BLOCK_START = re.compile(r"\n([^\s#][^ \n]*)")  # of a block: its name and a colon
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_DEPTH = 20  # of mappings in mappings
_SHORT = 40  # characters of lines that are likely to repeat


# --- write


def lock_text(lock: Lock) -> str:
    """Return the text of a lock: a block for each clip, sorted by path, so that it merges well."""
    blocks = {clip: _block(entry) for clip, entry in lock.entries.items()}
    blocks |= {f"{MODEL}{model}": "".join(_lines(_plain(choices), 1)) for model, choices in lock.choices.items()}
    return _HEAD + "".join(f"\n{name}:\n{blocks[name]}" for name in sorted(blocks))


def _block(entry: LockEntry) -> str:
    """Return the block of an entry; remembered with it, since the file is written after every finished clip."""
    known: str | None = vars(entry).get("_block")
    if known is None:
        vars(entry)["_block"] = known = "".join(_entry_lines(entry))
    return known


def _entry_lines(entry: LockEntry) -> Iterator[str]:
    yield f"  pick: {entry.pick}\n"
    if entry.highest:
        yield f"  highest: {entry.highest}\n"
    for number in sorted({*entry.takes, *entry.decisions}):
        yield f"  take {number}:\n"
        yield from _take_lines(entry.takes.get(number), entry.decisions.get(number, UNDECIDED))
        covered = entry.covered.get(number)
        if covered is not None:
            yield f"  covered {number}:\n"
            yield from _take_lines(covered.take, covered.decision)


def _take_lines(take: LockTake | None, decision: Decision) -> Iterator[str]:
    """Yield the lines of a take, decisions first; the length in frames is one of its facts where it has that fact."""
    if decision.status:
        yield f"    status: {_scalar(decision.status)}\n"
    if decision.reason:
        yield f"    reason: {_quoted(decision.reason)}\n"
    if take is None:
        return
    if take.accepted is not None:
        yield f"    accepted: {_scalar(take.accepted.key)}\n"
        if take.accepted.text:
            yield f"    accepted_text: {_scalar(take.accepted.text)}\n"
    yield f"    key: {_scalar(take.key)}\n    digest: {_scalar(take.digest)}\n"
    if take.seed is not None:
        yield f"    seed: {take.seed}\n"
    if type(take.facts.get("frames")) is not int or take.facts["frames"] != take.frames:
        yield f"    frames: {take.frames}\n"
    if take.source:
        yield f"    source: {_scalar(take.source)}\n"
    if take.tries:
        yield f"    tries: {take.tries}\n"
    if take.outputs:
        yield "    outputs:\n"
        yield from _lines(_sorted(take.outputs), 3)
    if take.facts:
        yield "    facts:\n"
        yield from _lines(_sorted(take.facts), 3)


def _lines(data: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines of a mapping; a mapping in it that is not empty is indented below its name."""
    space = "  " * depth
    for name, value in data.items():
        key = _name(name)
        if isinstance(value, Mapping) and value and depth < _DEPTH:
            yield f"{space}{key}:\n"
            yield from _lines(value, depth + 1)
        else:
            yield f"{space}{key}: {_scalar(value)}\n"


@cache
def _name(name: str) -> str:
    return name if _KEY.fullmatch(name) and name not in _NO_WORDS else _quoted(name)


def _scalar(value: Any) -> str:
    """Return a value on one line: a plain word where YAML reads the same text, JSON for everything else."""
    if type(value) is str:
        if len(value) == 64 and is_digest(value):
            is_number = value.strip("0123456789") in ("", "e")  # to YAML
            return f'"{value}"' if is_number else value
        return value if _WORD.fullmatch(value) and value not in _NO_WORDS else _quoted(value)
    return str(value) if type(value) is int else _quoted(value)


def _quoted(value: Any) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", _ENCODER.encode(value))


def _plain(choices: Mapping[str, Any]) -> dict[str, Any]:
    weights = {"weights": _sorted(choices["weights"])} if "weights" in choices else {}
    return weights | {name: choices[name] for name in ("quality", "stages") if name in choices}


def _sorted(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in sorted(data)}


# --- read: from lines to mappings


class BadBlock(ValueError):
    """What is wrong with a block: with the value at a path of names in it, or at a line and column."""

    def __init__(self, reason: str, *path: str, line: int = 0, col: int = 1, form: str = "") -> None:
        super().__init__(reason)
        self.path, self.line, self.col, self.form = path, line, col, form


_OPEN = object()  # of a name whose value follows on indented lines
_Line = tuple[int, str, Any]  # its depth, the name on it, the value


def _tree(lines: Sequence[str], known: dict[str, _Line]) -> dict[str, Any]:
    """Return the mappings of a block's lines, its first one with its name left out.

    `known` has what was read of short lines before: most lines of a lock repeat.
    """
    root: dict[str, Any] = {}
    levels = [root]
    for number in range(1, len(lines)):
        line = lines[number]
        found = known.get(line)
        if found is None:
            try:
                found = _split(line)
            except BadBlock as bad:
                bad.line = number
                raise
            if found is None:
                continue
            if len(line) < _SHORT and not isinstance(found[2], (list, dict)):
                known[line] = found
        depth, name, value = found
        if depth > len(levels):
            raise BadBlock("it is indented too far", line=number, col=2 * depth + 1)
        if depth < len(levels):
            del levels[depth:]
        level = levels[-1]
        if name in level:
            raise BadBlock(f'"{name}" occurs twice', line=number, col=2 * depth + 1)
        if value is _OPEN:
            value = {}
            levels.append(value)
        level[name] = value
    return root


def _split(line: str) -> _Line | None:
    """Return the parts of a line, None for a blank one and a comment."""
    text = line.lstrip(" ")
    if not text or text[0] == "#":
        return None
    spaces = len(line) - len(text)
    if spaces % 2 or not spaces:
        raise BadBlock("it is not indented by pairs of spaces", col=spaces + 1)
    if text[0] == '"':
        name, rest = _quoted_name(text)
    else:
        name, colon, rest = text.partition(":")
        rest = f"{colon}{rest}"
    if rest == ":":
        return spaces // 2, name, _OPEN
    if not rest.startswith(": "):
        raise BadBlock("it is not written as name: value", col=spaces + 1)
    try:
        return spaces // 2, name, _value(rest[2:])
    except BadBlock as bad:
        bad.col += len(line) - len(rest) + 2
        raise


def _quoted_name(text: str) -> tuple[str, str]:
    """Return the name in quotes at the start of a text, and what follows it."""
    try:
        name, end = _DECODER.raw_decode(text)
    except ValueError:
        return text, ""
    return name, text[end:]


def _value(text: str) -> Any:
    """Return the value of a line. Raise BadBlock for what we would not write so."""
    first = text[:1]
    if len(text) == 64 and is_digest(text):
        return text
    if first.islower() and _WORD.fullmatch(text):
        if text in ("true", "false", "null"):
            return text == "true" if text != "null" else None
        if text in _NO_WORDS:
            raise BadBlock(f'"{text}" is not in quotes')
        return text
    if first in '"[{' or _NUMBER.fullmatch(text):
        return _json(text)
    raise BadBlock(f'"{text[:40]}" is not in quotes')


def _json(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise BadBlock("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadBlock(f"not JSON: {error.msg.lower()}", col=1 + error.pos) from None
    except ValueError as error:  # a number without end, or NaN
        raise BadBlock(f"not JSON: {error}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


# --- read: from mappings to entries


_TAKE = frozenset(
    "status reason accepted accepted_text key digest seed frames source tries outputs facts".split()  # noqa: SIM905
)
_NUMBERED = re.compile(r"(take|covered) ([1-9]\d{0,8})")


def _entry(data: Mapping[str, Any]) -> LockEntry:
    """Return the entry of a clip's block."""
    takes: dict[int, LockTake] = {}
    decisions: dict[int, Decision] = {}
    covered: dict[int, CoveredTake] = {}
    for name, value in data.items():
        numbered = _NUMBERED.fullmatch(name)
        if numbered is None:
            if name not in ("pick", "highest"):
                raise BadBlock(f'a clip has no "{name[:40]}"', name)
            continue
        if type(value) is not dict:
            raise BadBlock("a take is a mapping", name)
        try:
            take, decision = _take(value)
        except BadBlock as bad:
            bad.path = (name, *bad.path)
            raise
        number = int(numbered[2])
        if numbered[1] == "covered":
            if take is None:
                raise BadBlock('"key" is missing', name)
            covered[number] = CoveredTake(take, decision)
            continue
        if take is not None:
            takes[number] = take
        if decision is not UNDECIDED:
            decisions[number] = decision
    pick = _number(data, "pick", None, 1)
    return LockEntry(pick, takes, decisions, covered, _number(data, "highest", 0))


def _take(data: dict[str, Any]) -> tuple[LockTake | None, Decision]:
    """Return the take of a block and the decision about it; no take where there is only a decision."""
    if not data.keys() <= _TAKE:  # never dropped in silence when the lock is written again
        name = min(data.keys() - _TAKE)
        raise BadBlock(f'a take has no "{name[:40]}"', name)
    decision = UNDECIDED
    if "status" in data or "reason" in data:
        decision = Decision(_text(data, "status"), _text(data, "reason"))
    if data.keys() <= {"status", "reason"} and data:
        return None, decision
    facts, outputs = data.get("facts", _EMPTY), data.get("outputs", _EMPTY)
    for name, value in (("facts", facts), ("outputs", outputs)):
        if value is not _EMPTY and type(value) is not dict:
            raise BadBlock(f'"{name}" is not a mapping', name)
    for name in ("key", "digest"):
        if not is_digest(data.get(name)):
            raise BadBlock(f'"{name}" is {"not 64 hex digits" if name in data else "missing"}', name)
    for name, value in outputs.items():
        if not is_digest(value):
            raise BadBlock(f'"{name}" is not 64 hex digits', "outputs", name)
    accepted = None
    if "accepted" in data:
        for name in ("accepted", "accepted_text"):
            if name in data and not is_digest(data[name]):
                raise BadBlock(f'"{name}" is not 64 hex digits', name)
        accepted = Acceptance(data["accepted"], data.get("accepted_text", ""))
    seed = data.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**53):
        raise BadBlock('"seed" is not a whole number from 0 to 2^53 - 1', "seed")
    made_of_facts = facts.get("frames") if type(facts.get("frames")) is int else None
    frames = _number(data, "frames", made_of_facts)
    key, digest = Key(data["key"]), Digest(data["digest"])
    source, tries = _text(data, "source"), _number(data, "tries", 0)
    return LockTake(key, seed, digest, frames, facts, source, outputs, tries, accepted), decision


def _choices(data: dict[str, Any]) -> Mapping[str, Any]:
    """Return the choices of a model's block."""
    unknown = data.keys() - {"weights", "quality", "stages"}
    if unknown:
        raise BadBlock(f'a model has no "{min(unknown)[:40]}"', min(unknown))
    weights = data.get("weights", {})
    if type(weights) is not dict:
        raise BadBlock('"weights" is not a mapping', "weights")
    for role, precision in weights.items():
        if type(precision) is not str:
            raise BadBlock(f'"{role}" is not text', "weights", role)
    _text(data, "quality")
    if _number(data, "stages", 1) not in (1, 2):
        raise BadBlock(f'"stages" is {data["stages"]}', "stages")
    return data


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name, "")
    if type(value) is not str:
        raise BadBlock(f'"{name}" is not text', name)
    return value


def _number(data: Mapping[str, Any], name: str, otherwise: int | None, least: int = 0) -> int:
    value = data.get(name, otherwise)
    if value is None:
        raise BadBlock(f'"{name}" is missing')
    if type(value) is not int:
        raise BadBlock(f'"{name}" is not a whole number', name)
    if value < least:
        raise BadBlock(f'"{name}" is {value}' + (", takes count from 1" if name == "pick" else ""), name)
    return value


_Block = LockEntry | Mapping[str, Any]

# A take with no decision, as we write it. Nearly all are such, and this reads them in a third of the time.
_USUAL = re.compile(
    r"  take ([1-9]\d{0,8}):\n    key: ([0-9a-f]{64})\n    digest: ([0-9a-f]{64})\n(?:    seed: (\d{1,15})\n)?"
    r"    source: (comfyui|reference)\n(?:    outputs:\n((?:      [a-z_]+: [0-9a-f]{64}\n)+))?"
    r"    facts:\n((?:      .*\n)+)"
)
_USUAL_HEAD = re.compile(r"([^\n]*):\n  pick: ([1-9]\d{0,8})\n")
_OUTPUT = re.compile(r"([a-z_]+): ([0-9a-f]{64})")


class BlockReader:
    """Reads blocks, or lines of version 1. Most lines of a lock repeat, and so do the facts of most takes."""

    def __init__(self, version: int) -> None:
        self._is_old = version == 1
        self._lines: dict[str, _Line] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def block(self, text: str) -> tuple[str, _Block]:
        """Return the name of a block and what it holds. Raise BadBlock with a line of the block, from 0."""
        if self._is_old:
            return _old_line(text[: text.index("\n")])
        return self._usual(text) or self._any(text)

    def partial(self, text: str) -> tuple[str, _Block]:
        """Return what can be read of a block, without the takes that cannot. Raise BadBlock where nothing can."""
        while True:
            try:
                return self.block(text)
            except BadBlock as bad:
                name = bad.path[0] if bad.path else ""
                taken = (
                    re.search(rf"^  {name}:\n(?:    .*\n)*", text, re.MULTILINE) if name.startswith("take ") else None
                )
                if taken is None:
                    raise
                text = text[: taken.start()] + text[taken.end() :]

    def _usual(self, text: str) -> tuple[str, _Block] | None:
        head = _USUAL_HEAD.match(text)
        if head is None or not _NAME.fullmatch(head[1]):
            return None
        takes: dict[int, LockTake] = {}
        at, end = head.end(), len(text) - (text[-2:] == "\n\n")
        while at < end:
            found = _USUAL.match(text, at)
            if found is None:
                return None
            number, key, digest, seed, source, outputs, facts = found.groups()
            known = self._facts.get(facts)
            if known is None:
                try:
                    known = self._facts[facts] = _tree(f"\n{facts}".replace("\n    ", "\n").split("\n"), self._lines)
                except BadBlock:
                    return None
            pairs = _OUTPUT.findall(outputs or "")
            others = dict(pairs)
            frames = known.get("frames")
            if type(frames) is not int or frames < 0 or len(others) < len(pairs) or int(number) in takes:
                return None
            seed = None if seed is None else int(seed)
            takes[int(number)] = LockTake(Key(key), seed, Digest(digest), frames, known, source, others)
            at = found.end()
        return head[1], LockEntry(int(head[2]), takes)

    def _any(self, text: str) -> tuple[str, _Block]:
        lines = text.split("\n")
        name = lines[0][:-1]
        if lines[0][-1] != ":" or not _NAME.fullmatch(name):
            raise BadBlock("", form=lines[0][:40])
        try:
            data = _tree(lines, self._lines)
            return name, _choices(data) if name.startswith(MODEL) else _entry(data)
        except BadBlock as bad:
            if bad.path:
                bad.line, bad.col = _place(lines, bad.path)
            raise


def _place(lines: Sequence[str], path: Sequence[str]) -> tuple[int, int]:
    """Return line and column of the value at a path of names in a block, or of the name whose value is a mapping."""
    names: list[str] = []
    for number, line in enumerate(lines[1:], 1):
        found = _split(line)
        if found is not None:
            names[found[0] - 1 :] = [found[1]]
            if names == [*path]:
                indent = 2 * found[0]
                return number, indent + 1 if found[2] is _OPEN else line.index(": ", indent) + 3
    return 0, 1


def _old_line(line: str) -> tuple[str, _Block]:
    """Return what a line of version 1 holds: a name, and JSON. Raise BadBlock with its column."""
    name, colon, text = line.partition(": ")
    if not colon or not _NAME.fullmatch(name):
        raise BadBlock("", form=line[:40])
    start = len(line) - len(text.lstrip())
    try:
        data = _json(text.lstrip())
        if not isinstance(data, dict):
            raise BadBlock("an entry is a mapping")
        return name, _choices(data) if name.startswith(MODEL) else _entry(_as_block(data))
    except BadBlock as bad:
        bad.col = bad.col + start if not bad.path else start + 1
        raise


def _as_block(data: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping of a block with the content of a line of version 1: its decision is about the pick."""
    unknown = data.keys() - {"pick", "status", "reason", "takes"}
    if unknown:
        raise BadBlock(f'an entry has no "{min(unknown)[:40]}"')
    takes = data.get("takes", {})
    if not isinstance(takes, dict):
        raise BadBlock('"takes" is not a mapping')
    bad = next((number for number in takes if not _NUMBERED.fullmatch(f"take {number}")), None)
    if bad is not None:
        raise BadBlock(f'"{bad[:40]}" is not the number of a take')
    block: dict[str, Any] = {name: data[name] for name in ("pick",) if name in data}
    block |= {f"take {number}": take for number, take in takes.items()}
    decision = {name: _text(data, name) for name in ("status", "reason") if data.get(name)}
    if decision:
        picked = f"take {data.get('pick')}"
        block[picked] = {**decision, **block.get(picked, {})}
    return block


# --- read: the whole text


def parse_lock(text: str, name: str, *, is_partial: bool = False) -> Lock:
    """Return the Lock of a text; `name` is the file in errors. Raise LtxflowError with every bad block.

    Of a text that `is_partial`, since git left lines out, takes and blocks that cannot be read are left out, too.
    """
    text = plain_text(text)
    _refuse_conflicts(text, name)
    reader, found = BlockReader(version_of(text, name)), find_blocks(text)
    entries: dict[str, LockEntry] = {}
    choices: dict[str, Mapping[str, Any]] = {}
    problems: list[Problem] = []
    ends = [*(start for _, start in found[1:]), len(text)]
    for (_, start), end in zip(found, ends, strict=False):
        try:
            clip, block = reader.partial(text[start:end]) if is_partial else reader.block(text[start:end])
        except BadBlock as bad:
            problems += [] if is_partial else [problem_of(bad, text, start, name)]
            continue
        if clip in entries or (clip.startswith(MODEL) and clip.removeprefix(MODEL) in choices):
            problems.append(problem("K011", _span(text, start, name), name=clip))
        if isinstance(block, LockEntry):
            entries[clip] = block
        else:
            choices[clip.removeprefix(MODEL)] = block
    if problems:
        raise LtxflowError(*problems)
    return Lock(entries, choices)


def plain_text(text: str) -> str:
    """Return a text with our line ends, and a line end at its end."""
    text = text.removeprefix("\ufeff")
    text = text.replace("\r\n", "\n") if "\r" in text else text
    return text if text.endswith("\n") else f"{text}\n"


def version_of(text: str, name: str) -> int:
    """Return the version of a text. Raise LtxflowError for one that we do not read."""
    found = _FIRST.match(text)
    start = found.start(1) if found else 0
    line, span = text[start : text.index("\n", start)], _span(text, start, name)
    version = _VERSION.fullmatch(line)
    if version is None:
        raise LtxflowError(problem("K013.missing", span, line=line[:40], version=LOCK_VERSION))
    if version["version"] not in ("1", str(LOCK_VERSION)):
        raise LtxflowError(problem("K013.other", span, version=version["version"], newest=LOCK_VERSION))
    return int(version["version"])


def find_blocks(text: str) -> list[tuple[str, int]]:
    """Return the name and the start of each block."""
    found = [(start[1][:-1], start.start(1)) for start in BLOCK_START.finditer(text)]
    return found[text[0] in " #\n\t" :]  # without the version


def blocks_of(text: str) -> dict[str, str]:
    """Return the text of each block by its name, unread; what precedes them is "". Raise ValueError for two alike."""
    found = [("", 0), *find_blocks(plain_text(text))] if text else []
    ends = [*(start for _, start in found[1:]), len(text)]
    blocks = {name: text[start:end] for (name, start), end in zip(found, ends, strict=True)}
    if len(blocks) < len(found):
        raise ValueError("two blocks of one name")
    return blocks


def _refuse_conflicts(text: str, name: str) -> None:
    if not any(mark in text for mark in ("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
        return
    lines = text.split("\n")
    found = [number for number, line in enumerate(lines, 1) if _CONFLICT.fullmatch(line)]
    if found:
        raise LtxflowError(problem("K012", Span(name, found[0], 1), line=lines[found[0] - 1]))


def _span(text: str, start: int, name: str) -> Span:
    return Span(name, text.count("\n", 0, start) + 1, 1)


def problem_of(bad: BadBlock, text: str, start: int, name: str) -> Problem:
    """Return the problem of the block that begins here."""
    span, line = _span(text, start, name), text[start : text.index("\n", start)]
    place = Span(name, span.line + bad.line, bad.col)
    if bad.form:
        return problem("K014.form", place, line=bad.form)
    return problem("K014.value", place, name=line.partition(": ")[0].rstrip(":"), reason=bad)
