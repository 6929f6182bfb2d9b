"""What is spoken over a scene: its lines, the form in which they are read out, what decides how they sound.

Text is normalised here once, for speech, captions and estimate. Pure: makes no sound and reads no file.
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

from ltxflow.core.errors import Problem, Span
from ltxflow.core.timing import TimingError, parse_time
from ltxflow.media.speech import KINDS, NO_OFFLINE, OFFLINE, Engine
from ltxflow.models.profile import EMPTY
from ltxflow.project.sentences import split

RULES = {
    "L061": "an engine that speaks is built in, or named under engines:; one that is missing speaks nothing new",
    "L062": "a line's id is used once in its narration",
    "L063": "a voice is a name of the engine's, and there is one where the engine needs it",
    "L064": "a line has something to say",
    "L065": "an engine's entry says where its server is or what its command is, and no more than it may",
    "L066": "a pause is a time: 12f or 0.4s",
}

ANY_OFFLINE = "offline"  # whichever engine is installed that needs no network
MISSING_HINT = "what it made before is used; to make more, name it under engines: in your configuration"
SPEEDS = (0.5, 2.0)  # what every engine can do
WORDS_PER_SECOND = Fraction(5, 2)  # a calm narrator; 150 words a minute
DEFAULT_TIMEOUT_S = 120.0

Path_ = tuple[str | int, ...]
SpanOf = Callable[[Path_], Span | None]


@dataclass(frozen=True)
class Line:
    """A line as written, white space folded. `pause_s` is the silence after it."""

    id: str
    text: str
    pause_s: Fraction = Fraction(0)
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Speech:
    """What is spoken over a scene, by whom. `voice` is never empty where the engine has a default of its entry."""

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
    """A line as it is read out. `origins` has for every character of it the place in the line as it is shown."""

    text: str
    origins: tuple[int, ...]


# Text

_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"', "′": "'"})
_KEPT_FORMATS = "\u200c\u200d"  # joiners: they change letters in Persian, Hindi and emoji


def shown(text: str) -> str:
    """Given a text as written, return it as captions show it: white space folded, nothing invisible in it."""
    kept = (c for c in unicodedata.normalize("NFC", text) if c.isspace() or not _is_hidden(c))
    return " ".join("".join(kept).split())


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in _KEPT_FORMATS


@functools.cache
def _unspaced() -> re.Pattern[str]:
    """Scripts without spaces between words. Compiled on first use: it takes longer than to plan a scene."""
    return re.compile(
        "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
        "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
    )


def spoken(text: str, lexicon: Mapping[str, str]) -> SpokenText:
    """Given a text as written, return what an engine is given: quotes straight, the lexicon's words replaced.

    Whole words only, the longest entry first, and what was put in is not looked at again. An entry in small
    letters stands for any case ("defi": DeFi, Defi), any other for just itself ("US" is not "us"). Numbers are
    the engine's to read.
    """
    told = shown(text)
    entries = sorted(((shown(word), said) for word, said in lexicon.items() if shown(word)), key=lambda e: -len(e[0]))
    parts: list[str] = []
    origins: list[int] = []
    at = 0
    while at < len(told):
        found = next((entry for entry in entries if _stands_at(told, at, entry[0])), None)
        part = shown(found[1]) if found else told[at]
        parts.append(part.translate(_STRAIGHT))
        origins += [at] * len(part)
        at += len(found[0]) if found else 1
    return SpokenText("".join(parts), tuple(origins))


def _stands_at(text: str, at: int, word: str) -> bool:
    end = at + len(word)
    here = text[at:end].translate(_STRAIGHT)
    wanted = word.translate(_STRAIGHT)
    if here != wanted and not (wanted == wanted.lower() and here.lower() == wanted):
        return False
    return not (_joined(text, at) or _joined(text, end))


def _joined(text: str, at: int) -> bool:
    """Whether a word goes on over the place before text[at]."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if _unspaced().match(left) or _unspaced().match(right):
        return False
    return _is_wordy(left) and _is_wordy(right)


def _is_wordy(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char == "_"


def has_words(text: str) -> bool:
    """Given a text, return whether there is a letter or a digit in it."""
    return any(_is_wordy(char) for char in text)


def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a text in order; joined with blanks they are the text again."""
    return split(shown(text))


# Estimate


def count_words(text: str) -> Fraction:
    """Given a text, return how many words long it sounds: two signs of Chinese, Japanese or Thai count as one."""
    signs = len(_unspaced().findall(text))
    words = sum(1 for part in _unspaced().sub(" ", text).split() if has_words(part))
    return words + Fraction(signs, 2)


def line_starts(
    lines: Sequence[Line],
    words_per_second: Fraction = WORDS_PER_SECOND,
    speed: float = 1.0,
    lexicon: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Fraction]:
    """Given lines, return about when each is said, in seconds from the first one's start, by its id."""
    starts, at = {}, Fraction(0)
    for line in lines:
        starts[line.id] = at
        at += count_words(spoken(line.text, lexicon).text) / words_per_second / Fraction(str(speed)) + line.pause_s
    return starts


def read_lines(
    narration: Mapping[str, Any], fill: Callable[[str, Path_], str], span: SpanOf, fps: int
) -> tuple[Line, ...]:
    """Given a scene's narration, return its lines, whoever speaks them; what is wrong with them, read_speech says."""
    return _lines(_Reader(narration, {}, span, span, fps), fill)


def estimate(speech: Speech, words_per_second: Fraction = WORDS_PER_SECOND) -> Fraction:
    """Given what is to be spoken, return about how many seconds it takes, pauses included."""
    words = sum((count_words(spoken(line.text, speech.lexicon).text) for line in speech.lines), Fraction(0))
    pauses = sum((line.pause_s for line in speech.lines), Fraction(0))
    return max(words, Fraction(1)) / words_per_second / Fraction(str(speech.speed)) + pauses


# Keys


def keyed_line(speech: Speech, line: Line) -> dict[str, Any]:
    """Given a line, return all that decides how it sounds alone. Ids, pauses and where a server is do not."""
    return {
        "engine": speech.engine.keyed(),
        "voice": speech.voice,
        "speed": speech.speed,
        "text": spoken(line.text, speech.lexicon).text,
    }


def keyed_whole(speech: Speech) -> dict[str, Any]:
    """Given a scene's speech, return what decides how its spoken lines become one sound."""
    return {"pauses_s": [str(line.pause_s) for line in speech.lines], "trim": speech.trim}


# Measured


def line_times(speech: Speech, facts: Mapping[str, Any]) -> dict[str, tuple[Fraction, Fraction]]:
    """Given the facts of a scene's made narration, return when each of its lines begins and ends, in seconds.

    Facts are in the order of the lines and without ids: those may change while the sound stays.
    """
    rate = facts["sample_rate"]
    return {
        line.id: (Fraction(told["start_sample"], rate), Fraction(told["end_sample"], rate))
        for line, told in zip(speech.lines, facts["lines"], strict=True)
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
    """Given an `engines:` mapping of the user config or of a project, return its engines, and what is wrong.

    A project names no keys and passes no variables on: those are the user's. `span` knows places below
    `engines:`; `files` are the words of commands that are files of the project, with their digests, and `folder`
    is for the caller to fill in.
    """
    engines: dict[str, Engine] = {}
    problems: list[Problem] = []
    for name, entry in written.items():
        wrong = list(_wrong_entry(str(name), entry, span, of_project))
        problems += wrong
        if not wrong:
            engines[str(name)] = _engine(str(name), entry, files)
    return engines, problems


def _wrong_entry(name: str, entry: Any, span: SpanOf, of_project: bool) -> list[Problem]:
    def wrong_entry(message: str, hint: str, *path: str | int) -> Problem:
        return Problem(f'engine "{name}": {message}', span((name, *path)), hint, "L065")

    if name in (*OFFLINE, ANY_OFFLINE):
        return [wrong_entry("this name is taken", f"{name} is built in: choose another name")]
    if not isinstance(entry, Mapping):
        return [wrong_entry("its entry is no mapping", "write url: and model:, or command:")]
    unknown = [key for key in entry if key not in _ENTRY]
    if unknown:
        return [wrong_entry(f'unknown key "{unknown[0]}"', f"known: {', '.join(sorted(_ENTRY))}", unknown[0])]
    secret = sorted(_SECRET & set(entry)) if of_project else []
    if secret:
        hint = "put this engine into your own configuration: keys go only where that says"
        return [wrong_entry(f"{secret[0]} is not a project's to say", hint, secret[0])]
    if ("url" in entry) == ("command" in entry):
        return [
            wrong_entry("it needs a url or a command", "write url: http://127.0.0.1:8880/v1, or command: [piper, …]")
        ]
    texts = [key for key in ("url", "model", "key_from_env", "voice") if not isinstance(entry.get(key, ""), str)]
    if texts:
        return [wrong_entry(f"{texts[0]} is no text", "put it in quotes", texts[0])]
    wrong = []
    if "url" in entry and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#@]*)?", entry["url"]):
        wrong.append(wrong_entry(f'"{_bare(entry["url"])}" is no url', "such as http://127.0.0.1:8880/v1", "url"))
    if _timeout(entry.get("timeout", "120s")) is None:
        wrong.append(wrong_entry(f'"{entry["timeout"]}" is no time', "write it as 90s or 5m", "timeout"))
    passed = entry.get("env", [])
    if not isinstance(passed, list) or not all(isinstance(item, str) for item in passed):
        wrong.append(wrong_entry("env is no list of variables", "write env: [ELEVEN_API_KEY]", "env"))
    return wrong + (_wrong_command(entry["command"], wrong_entry) if "command" in entry else [])


def _wrong_command(command: Any, wrong_entry: Callable[..., Problem]) -> list[Problem]:
    example = 'write a list: [piper, -m, en.onnx, -i, "{text_file}", -f, "{out}"]'
    if not isinstance(command, list) or not command or not all(isinstance(word, str | int | float) for word in command):
        return [wrong_entry("its command is no list of words", example, "command")]
    words = [str(word) for word in command]
    if "{" in words[0] or not words[0].strip() or words[0].startswith("-"):
        return [wrong_entry(f'"{words[0]}" is no program', example, "command", 0)]
    rest = " ".join(words[1:])
    missing = [] if "{out}" in rest else ["{out}"]
    missing += [] if "{text}" in rest or "{text_file}" in rest else ["{text} or {text_file}"]
    places = ", ".join(f"{{{place}}}" for place in _PLACES)
    return [wrong_entry(f"its command has no {missing[0]}", f"it may use {places}", "command")] if missing else []


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
    """An address as it may be shown: without what stands before its `@`, and without its query."""
    return re.sub(r"[?#].*", "", re.sub(r"//.*@", "//…@", url, flags=re.DOTALL), flags=re.DOTALL)


def needs_trust(engine: Engine) -> dict[str, Any]:
    """Given an engine that a project brings, return what of it the user's trust is bound to."""
    return {"argv": list(engine.argv), "files": dict(engine.files), "url": engine.url}


def read_speech(
    narration: Mapping[str, Any],
    film: Mapping[str, Any],
    engines: Mapping[str, Engine],
    *,
    offline: str | None,
    fps: int,
    fill: Callable[[str, Path_], str],
    span: SpanOf,
    film_span: SpanOf,
    absent: Callable[[str], Engine | None] = lambda name: None,
) -> tuple[Speech | None, list[Problem]]:
    """Given a scene's narration and the film's `speech:`, return what is spoken; None where no engine is named.

    `engines` are all by name, the built-in ones too; `offline` is the one that `engine: offline` means here,
    None when none is installed: that is advice, not an error. So is an engine that is in none of them, where `absent`
    has one to stand in for it: what it made before is still made. `fill` puts variables into a text; `span` and
    `film_span` know places below `narration:` and `speech:`. A scene's value counts before the film's, and its
    lexicon's entries before the film's. Returned problems may be advice.
    """
    reader = _Reader(narration, film, span, film_span, fps)
    engine = _chosen(reader, engines, offline, absent)
    lines = _lines(reader, fill)
    if engine is None or not lines:
        return None, reader.problems
    voice = str(reader.value("voice") or engine.voice)
    lexicon = {str(k): str(v) for k, v in ((film.get("lexicon") or {}) | (narration.get("lexicon") or {})).items()}
    if voice and not _VOICE.fullmatch(voice):
        hint = "take a name that the engine lists"
        reader.wrong(f'"{voice}" is no name of a voice', reader.at("voice"), hint, "L063")
    if not voice and (engine.kind == "openai" or any("{voice}" in word for word in engine.argv)):
        reader.wrong(f"{engine.name} needs a voice", reader.at("engine"), "name one: voice: …", "L063")
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
            reader.wrong(f'there is nothing to say in "{line.text}"', line.span, "write words, or remove it", "L064")
    return (None if any(p.level == "error" for p in reader.problems) else speech), reader.problems


@dataclass
class _Reader:
    """What one reading gathers: where values come from, and what is wrong with them."""

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

    def wrong(self, message: str, at: Span | None, hint: str, code: str) -> None:
        self.problems.append(Problem(message, at or self.span(()), hint, code))


def _chosen(
    reader: _Reader, engines: Mapping[str, Engine], offline: str | None, absent: Callable[[str], Engine | None]
) -> Engine | None:
    name = reader.value("engine")
    if name is None:
        return None
    if name == ANY_OFFLINE:
        if offline is None:
            at = reader.at("engine")
            reader.problems.append(Problem("no engine to speak offline is installed", at, NO_OFFLINE, "L061", "advice"))
            return None
        return engines[offline]
    if name not in engines and (missing := absent(str(name))) is not None:
        message = f'engine "{name}" is not among yours'
        at = reader.at("engine") or reader.span(())
        reader.problems.append(Problem(message, at, MISSING_HINT, "L061", "advice"))
        return missing
    if name not in engines:
        known = [ANY_OFFLINE, *engines]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        hint += f"there are: {', '.join(known)}; others are named under engines: in your configuration"
        reader.wrong(f'unknown engine "{name}"', reader.at("engine"), hint, "L061")
        return None
    assert engines[name].kind in KINDS
    return engines[name]


def _lines(reader: _Reader, fill: Callable[[str, Path_], str]) -> tuple[Line, ...]:
    """The lines as written; of a text, its sentences, so that each is spoken, kept and timed by itself."""
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
        path: Path_ = ("lines", index, "text") if isinstance(entry, Mapping) else ("lines", index)
        at = reader.span(path)
        id = str(fields.get("id", index + 1))
        if id in [line.id for line in lines]:
            first = next(line for line in lines if line.id == id)
            hint = f"the first is at line {first.span.line}" if first.span else "give it another"
            reader.wrong(f'line id "{id}" is used twice', reader.span(("lines", index)), hint, "L062")
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
        reader.wrong(error.message, at, error.hint, "L066")
        return Fraction(0)
