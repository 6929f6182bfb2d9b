"""Read the speech of a scene: its lines, the text that engines get, and the values that enter keys.

Text is normalised here, for speech, captions and estimates alike. Pure: makes no sound and reads no file.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import Problem, Span, problem
from ltxflow.core.timing import TimingError, parse_time
from ltxflow.documents.document import KeyPath
from ltxflow.media.speech import KINDS, OFFLINE, Engine, how_to_speak
from ltxflow.models.profile import EMPTY

ANY_OFFLINE = "offline"  # any installed engine that needs no network
MISSING_HINT = "what it made stays; to make more, add it under engines in your configuration"
SPEEDS = (0.5, 2.0)  # the range of every engine
WORDS_PER_SECOND = Fraction(5, 2)  # a calm narrator; 150 words a minute
DEFAULT_TIMEOUT_S = 120.0

SpanOf = Callable[[KeyPath], Span | None]


@dataclass(frozen=True)
class Line:
    """A line as written, white space folded. `pause_s` is the silence after it."""

    id: str
    text: str
    pause_s: Fraction = Fraction(0)
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Speech:
    """The lines of a scene with their engine and voice. `voice` is set where the engine's entry has a default."""

    engine: Engine
    voice: str
    speed: float
    lines: tuple[Line, ...]
    trim: bool = False
    lexicon: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)  # of engine, voice, speed, lexicon …

    @property
    def text(self) -> str:
        return " ".join(shown(line.text) for line in self.lines)


@dataclass(frozen=True)
class SpokenText:
    """A line as the engine gets it. `origins` has for every character its position in the line as shown."""

    text: str
    origins: tuple[int, ...]


# Text

_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "′": "'"})
_KEPT_FORMATS = "\u200c\u200d"  # joiners: they change letters in Persian, Hindi and emoji


def shown(text: str) -> str:
    """Return a text as captions show it: white space folded, invisible characters removed."""
    kept = (c for c in unicodedata.normalize("NFC", text) if c.isspace() or not _is_hidden(c))
    return " ".join("".join(kept).split())


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in _KEPT_FORMATS


@functools.cache
def _unspaced() -> re.Pattern[str]:
    """Match scripts without spaces between words. Compiled on first use: that takes longer than to plan a scene."""
    return re.compile(
        "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
        "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
    )


def spoken(text: str, lexicon: Mapping[str, str]) -> SpokenText:
    """Return a text for an engine: quotes straightened, words of the lexicon replaced.

    Only whole words are replaced, the longest entry first, and replacements are not searched again. An entry in small
    letters matches any case ("defi": DeFi, Defi), any other only itself ("US" is not "us"). Numbers are left to the
    engine.
    """
    plain = shown(text)
    entries = [(shown(word), replacement) for word, replacement in lexicon.items() if shown(word)]
    entries.sort(key=lambda entry: -len(entry[0]))
    parts: list[str] = []
    origins: list[int] = []
    at = 0
    while at < len(plain):
        found = next((entry for entry in entries if _matches_at(plain, at, entry[0])), None)
        part = shown(found[1]) if found else plain[at]
        parts.append(part.translate(_STRAIGHT))
        origins += [at] * len(part)
        at += len(found[0]) if found else 1
    return SpokenText("".join(parts), tuple(origins))


def _matches_at(text: str, at: int, word: str) -> bool:
    end = at + len(word)
    here = text[at:end].translate(_STRAIGHT)
    wanted = word.translate(_STRAIGHT)
    if here != wanted and not (wanted == wanted.lower() and here.lower() == wanted):
        return False
    return not (_joined(text, at) or _joined(text, end))


def _joined(text: str, at: int) -> bool:
    """Return whether a word continues across the position before text[at]."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if _unspaced().match(left) or _unspaced().match(right):
        return False
    return _is_wordy(left) and _is_wordy(right)


def _is_wordy(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char == "_"


def has_words(text: str) -> bool:
    """Return whether a text has a letter or a digit."""
    return any(_is_wordy(char) for char in text)


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a text in order; joined by spaces they are the text again."""
    from ltxflow.project.sentences import split  # on first use: a film may have no text to speak

    return split(shown(text))


# Estimate


def count_words(text: str) -> Fraction:
    """Return the length of a text in words; two signs of Chinese, Japanese or Thai count as one."""
    signs = len(_unspaced().findall(text))
    words = sum(1 for part in _unspaced().sub(" ", text).split() if has_words(part))
    return words + Fraction(signs, 2)


def line_starts(
    lines: Sequence[Line],
    words_per_second: Fraction = WORDS_PER_SECOND,
    speed: float = 1.0,
    lexicon: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Fraction]:
    """Estimate the start of each line by id, in seconds from the start of the first."""
    starts, at = {}, Fraction(0)
    for line in lines:
        starts[line.id] = at
        at += count_words(spoken(line.text, lexicon).text) / words_per_second / Fraction(str(speed)) + line.pause_s
    return starts


def read_lines(
    narration: Mapping[str, Any], fill: Callable[[str, KeyPath], str], span: SpanOf, fps: int
) -> tuple[Line, ...]:
    """Return the lines of a narration without an engine. Their problems are reported by read_speech."""
    return _lines(_Reader(narration, {}, span, span, fps), fill)


def estimate(speech: Speech, words_per_second: Fraction = WORDS_PER_SECOND) -> Fraction:
    """Estimate the length of speech in seconds, pauses included."""
    words = sum((count_words(spoken(line.text, speech.lexicon).text) for line in speech.lines), Fraction(0))
    pauses = sum((line.pause_s for line in speech.lines), Fraction(0))
    return max(words, Fraction(1)) / words_per_second / Fraction(str(speech.speed)) + pauses


# Keys


def keyed_line(speech: Speech, line: Line) -> dict[str, Any]:
    """Return all that determines the sound of one line: not ids, pauses or server addresses."""
    return {
        "engine": speech.engine.keyed(),
        "voice": speech.voice,
        "speed": speech.speed,
        "text": spoken(line.text, speech.lexicon).text,
    }


def keyed_whole(speech: Speech) -> dict[str, Any]:
    """Return all that determines how the spoken lines of a scene are joined."""
    return {"pauses_s": [str(line.pause_s) for line in speech.lines], "trim": speech.trim}


# Measured


def line_times(speech: Speech, facts: Mapping[str, Any]) -> dict[str, tuple[Fraction, Fraction]]:
    """Return the start and end of each line in seconds, from the facts of the rendered narration.

    Facts are in the order of the lines and have no ids: those may change while the sound stays the same.
    """
    rate = facts["sample_rate"]
    return {
        line.id: (Fraction(measured["start_sample"], rate), Fraction(measured["end_sample"], rate))
        for line, measured in zip(speech.lines, facts["lines"], strict=True)
    }


# Reading

_VOICE = re.compile(r"[^\W_][\w .,:;+/()@=-]{0,199}")
_PLACES = ("text", "text_file", "out", "voice", "speed")
_ENTRY = {"url", "model", "key_from_env", "command", "env", "voice", "timeout"}
_SECRET = {"key_from_env", "env"}


def built_in() -> dict[str, Engine]:
    """Return the engines that need no entry, by name."""
    return {name: Engine(name, name) for name in OFFLINE}


def read_engines(
    written: Mapping[str, Any], span: SpanOf, *, of_project: bool, files: Mapping[str, str] = EMPTY
) -> tuple[dict[str, Engine], list[Problem]]:
    """Read an `engines:` mapping of the user configuration or of a project. Return engines and problems.

    A project may name no keys and pass no variables: those are the user's. `span` finds places below `engines:`;
    `files` are the words of commands that are files of the project, with their digests. The caller sets `folder`.
    """
    engines: dict[str, Engine] = {}
    problems: list[Problem] = []
    for name, entry in written.items():
        found = _check_entry(str(name), entry, span, of_project)
        problems += found
        if not found:
            engines[str(name)] = _engine(str(name), entry, files)
    return engines, problems


def _check_entry(name: str, entry: Any, span: SpanOf, of_project: bool) -> list[Problem]:
    """Return the problems of one engine: the first of its form, or all of its values."""
    if name in (*OFFLINE, ANY_OFFLINE):
        return [problem("L065.taken", span((name,)), name=name)]
    if not isinstance(entry, Mapping):
        return [problem("L065.mapping", span((name,)), name=name)]
    unknown = [key for key in entry if key not in _ENTRY]
    if unknown:
        known = ", ".join(sorted(_ENTRY))
        return [problem("L065.key", span((name, unknown[0])), name=name, key=unknown[0], known=known)]
    secret = sorted(_SECRET & set(entry)) if of_project else []
    if secret:
        return [problem("L065.secret", span((name, secret[0])), name=name, key=secret[0])]
    if ("url" in entry) == ("command" in entry):
        return [problem("L065.origin", span((name,)), name=name)]
    texts = [key for key in ("url", "model", "key_from_env", "voice") if not isinstance(entry.get(key, ""), str)]
    if texts:
        return [problem("L065.text", span((name, texts[0])), name=name, key=texts[0])]
    problems = []
    if "url" in entry and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#@]*)?", entry["url"]):
        problems.append(problem("L065.url", span((name, "url")), name=name, url=_bare(entry["url"])))
    if _timeout(entry.get("timeout", "120s")) is None:
        problems.append(problem("L065.timeout", span((name, "timeout")), name=name, timeout=entry["timeout"]))
    passed = entry.get("env", [])
    if not isinstance(passed, list) or not all(isinstance(item, str) for item in passed):
        problems.append(problem("L065.env", span((name, "env")), name=name))
    return problems + (_check_command(name, entry["command"], span) if "command" in entry else [])


def _check_command(name: str, command: Any, span: SpanOf) -> list[Problem]:
    at = span((name, "command"))
    example = '[piper, -m, en.onnx, -i, "{text_file}", -f, "{out}"]'
    if not isinstance(command, list) or not command or not all(isinstance(word, str | int | float) for word in command):
        return [problem("L065.command", at, name=name, example=example)]
    words = [str(word) for word in command]
    if "{" in words[0] or not words[0].strip() or words[0].startswith("-"):
        first = span((name, "command", 0))
        return [problem("L065.program", first, name=name, word=words[0], example=example)]
    rest = " ".join(words[1:])
    missing = [] if "{out}" in rest else ["{out}"]
    missing += [] if "{text}" in rest or "{text_file}" in rest else ["{text} or {text_file}"]
    places = ", ".join(f"{{{place}}}" for place in _PLACES)
    return [problem("L065.placeholder", at, name=name, missing=missing[0], places=places)] if missing else []


def _engine(name: str, entry: Mapping[str, Any], files: Mapping[str, str]) -> Engine:
    argv = tuple(str(word) for word in entry.get("command", ()))
    return Engine(
        name,
        "command" if argv else "openai",
        voice=entry.get("voice", ""),
        argv=argv,
        url=entry.get("url", ""),
        model=entry.get("model", ""),
        key_from_env=entry.get("key_from_env", ""),
        pass_env=tuple(entry.get("env", ())),
        files=tuple((word, files[word]) for word in argv if word in files),
        timeout_s=_timeout(entry.get("timeout", "120s")) or DEFAULT_TIMEOUT_S,
    )


def _timeout(written: Any) -> float | None:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)(s|m)", written) if isinstance(written, str) else None
    return float(match[1]) * {"s": 1, "m": 60}[match[2]] or None if match else None


def _bare(url: str) -> str:
    """Return an address as it may be shown: without credentials and query."""
    return re.sub(r"[?#].*", "", re.sub(r"//.*@", "//…@", url, flags=re.DOTALL), flags=re.DOTALL)


def needs_trust(engine: Engine) -> dict[str, Any]:
    """Return the parts of a project's engine that trust is bound to."""
    return {"argv": list(engine.argv), "files": dict(engine.files), "url": engine.url}


def read_speech(
    narration: Mapping[str, Any],
    film: Mapping[str, Any],
    engines: Mapping[str, Engine],
    *,
    offline: str | None,
    fps: int,
    fill: Callable[[str, KeyPath], str],
    span: SpanOf,
    film_span: SpanOf,
    absent: Callable[[str], Engine | None] = lambda name: None,
) -> tuple[Speech | None, list[Problem]]:
    """Read a scene's narration and the film's `speech:`. Return the speech, None without an engine, and problems.

    `engines` are all by name, built-in ones included; `offline` is the engine for `engine: offline`, None when none is
    installed, which is advice rather than an error. So is an unknown engine for which `absent` has a substitute: the
    lines it spoke before are still used. `fill` fills in variables; `span` and `film_span` find places below
    `narration:` and `speech:`. Values and lexicon entries of the scene override those of the film.
    """
    reader = _Reader(narration, film, span, film_span, fps)
    engine = _choose_engine(reader, engines, offline, absent)
    lines = _lines(reader, fill)
    if engine is None or not lines:
        return None, reader.problems
    voice = str(reader.value("voice") or engine.voice)
    lexicon = {str(k): str(v) for k, v in ((film.get("lexicon") or {}) | (narration.get("lexicon") or {})).items()}
    if voice and not _VOICE.fullmatch(voice):
        reader.problems.append(problem("L063.name", reader.at("voice") or reader.span(()), voice=voice))
    if not voice and (engine.kind == "openai" or any("{voice}" in word for word in engine.argv)):
        reader.problems.append(problem("L063.missing", reader.at("engine") or reader.span(()), engine=engine.name))
    speed = reader.value("speed")
    speech = Speech(
        engine,
        voice,
        1.0 if speed is None else float(speed),
        lines,
        bool(reader.value("trim")),
        lexicon,
        {name: at for name in ("engine", "voice", "speed", "trim", "lexicon", "pause") if (at := reader.at(name))},
    )
    for line in lines:
        if not has_words(spoken(line.text, lexicon).text):
            reader.problems.append(problem("L064", line.span or reader.span(()), text=line.text))
    return (None if any(p.level == "error" for p in reader.problems) else speech), reader.problems


@dataclass
class _Reader:
    """The state of one reading: the mappings that values come from, and problems."""

    narration: Mapping[str, Any]
    film: Mapping[str, Any]
    span: SpanOf
    film_span: SpanOf
    fps: int
    problems: list[Problem] = field(default_factory=list)

    def value(self, name: str) -> Any:
        return self.narration[name] if name in self.narration else self.film.get(name)

    def at(self, name: str) -> Span | None:
        if name in self.narration:
            return self.span((name,))
        return self.film_span((name,)) if name in self.film else None


def _choose_engine(
    reader: _Reader, engines: Mapping[str, Engine], offline: str | None, absent: Callable[[str], Engine | None]
) -> Engine | None:
    name = reader.value("engine")
    if name is None:
        return None
    if name == ANY_OFFLINE:
        if offline is None:
            reader.problems.append(problem("L061.offline", reader.at("engine"), hint=how_to_speak(), level="advice"))
            return None
        return engines[offline]
    if name not in engines and (missing := absent(str(name))) is not None:
        at = reader.at("engine") or reader.span(())
        reader.problems.append(problem("L061.missing", at, hint=MISSING_HINT, level="advice", engine=name))
        return missing
    if name not in engines:
        known = [ANY_OFFLINE, *engines]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        hint += f"use one of {', '.join(known)}, or add it under engines in your configuration"
        at = reader.at("engine") or reader.span(())
        reader.problems.append(problem("L061.unknown", at, hint=hint, engine=name))
        return None
    assert engines[name].kind in KINDS
    return engines[name]


def _lines(reader: _Reader, fill: Callable[[str, KeyPath], str]) -> tuple[Line, ...]:
    """Return the lines; of a text, its sentences, so that each is spoken, stored and timed separately."""
    between = _pause(reader, reader.value("pause"), reader.at("pause"))
    written: Sequence[Any] = reader.narration.get("lines") or ()
    if not written:
        parts = sentences(fill(str(reader.narration.get("text", "")), ("text",)))
        at = reader.span(("text",))
        return tuple(
            Line(str(number), part, between if number < len(parts) else Fraction(0), at)
            for number, part in enumerate(parts, start=1)
        )
    lines: list[Line] = []
    for index, entry in enumerate(written):
        fields: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"text": entry}
        path: KeyPath = ("lines", index, "text") if isinstance(entry, Mapping) else ("lines", index)
        at = reader.span(path)
        id = str(fields.get("id", index + 1))
        if id in [line.id for line in lines]:
            first = next(line for line in lines if line.id == id)
            hint = "rename one" + (f": the first is at line {first.span.line}" if first.span else "")
            reader.problems.append(problem("L062", reader.span(("lines", index)), hint=hint, name=id))
        pause = between if index < len(written) - 1 else Fraction(0)
        if "pause" in fields:
            pause = _pause(reader, fields["pause"], reader.span(("lines", index, "pause")))
        lines.append(Line(id, shown(fill(str(fields.get("text", "")), path)), pause, at))
    return tuple(lines)


def _pause(reader: _Reader, written: Any, at: Span | None) -> Fraction:
    if written is None:
        return Fraction(0)
    try:
        return parse_time(str(written), reader.fps)
    except TimingError as error:
        reader.problems.append(problem("L066", at or reader.span(()), hint=error.hint, reason=error.message))
        return Fraction(0)
