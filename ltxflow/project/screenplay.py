"""Read a script as scenes: a screenplay in Fountain, Markdown with headings, or plain text. Pure, without a model.

What is spoken becomes narration; what is to be seen becomes notes for the prompts. Fountain: https://fountain.io/syntax
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from ltxflow.core.errors import LtxflowError, Span, problem

MOST_BYTES = 8 << 20
MOST_SCENES = 2000
FOUNTAIN = (".fountain", ".spmd")
Form = Literal["fountain", "markdown", "text"]

# How scripts with two columns, or with labels, name what is spoken and what is seen.
SPOKEN = {
    *("narration", "narrator", "narr", "voiceover", "voice-over", "voice over", "vo", "v.o.", "v/o", "audio", "text"),
    *("speaker", "dialogue", "sprecher", "off", "ton", "voix off", "narración", "voz en off", "locutor"),
}
SEEN = {
    *("visual", "visuals", "video", "picture", "image", "shot", "shots", "scene", "on screen", "screen", "b-roll"),
    *("camera", "action", "note", "notes", "bild", "szene", "kamera", "visuel", "imagen", "vídeo", "plano", "todo"),
}
_NARRATORS = re.compile(
    r"(the )?(narrator|narration|voice ?-?over|v\.?o\.?|announcer|erzähler(in)?|sprecher(in)?)", re.I
)

_SLUG = re.compile(r"(int\.?/ext|ext\.?/int|int|ext|est|i/e)[. ]", re.I)  # Fountain, "Scene Heading"
_SCENE = re.compile(
    r"(scene|szene|scène|escena|scena|cena|chapter|kapitel|part|act)\s+[0-9ivxlc]+\b[ .:–—-]*(.*)", re.I
)
_FADE = re.compile(r"(FADE (IN|OUT|TO [A-Z]+)|CUT TO [A-Z]+|THE END|END|INTERCUT|CONTINUED)[.:]?")
_NUMBER = re.compile(r"\s*#[^#\s]{1,12}#\s*$")  # a scene number at the end of a heading
_EXTENSION = re.compile(r"\s*\([^()]{0,40}\)\s*$|\s*\^\s*$")  # (V.O.), (CONT'D), dual dialogue
_LINK = re.compile(r"(!?)\[([^\[\]]{0,500})\]\([^()\s]{0,2000}\)")
_CUE = re.compile(r"\[([^\[\]]{1,500})\](?!\()")
_MARKS = re.compile(r"\*\*|__|~~|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)")
_BULLET = re.compile(r"(?:[-+*•]|\d{1,3}[.)])\s+")
_LABEL = re.compile(r"[*_]{0,3}([^:：*_]{1,30})[*_]{0,3}\s*[:：][*_]{0,3}\s*(.*)", re.S)
_RULE = re.compile(r"\s*([-*_=])(\s*\1){2,}\s*")


@dataclass(frozen=True)
class SpokenPart:
    """Words that are spoken in one go, and by whom: "" for a narrator."""

    speaker: str
    text: str


@dataclass(frozen=True)
class ScriptScene:
    """A scene of a script: its heading, the line it begins at, what is spoken, and what is to be seen."""

    title: str
    line: int
    spoken: tuple[SpokenPart, ...] = ()
    seen: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(speech.text for speech in self.spoken)


@dataclass(frozen=True)
class Script:
    """A script as scenes in order. `title` is "" where it has none."""

    form: Form
    title: str
    scenes: tuple[ScriptScene, ...]


def read_script(data: bytes, name: str) -> Script:
    """Return the script in a file of this name. Raise LtxflowError for a file that is not text or has no scenes."""
    text = _without_comments(_decoded(data, name))
    lines = [_clean(line) for line in text.split("\n")]
    front = ""
    if not name.lower().endswith(FOUNTAIN):
        front, lines = _front_matter(lines)
        lines = _with_marks(lines)
    form = _form(lines, name)
    readers = {"fountain": _fountain, "markdown": _markdown, "text": _plain}
    title, scenes = readers[form](lines)
    kept = tuple(scene for scene in scenes if scene.title or scene.spoken or scene.seen)
    if not kept:
        raise LtxflowError(problem("U016.empty", Span(name, 1, 1)))
    if len(kept) > MOST_SCENES:
        raise LtxflowError(
            problem("U016.many", Span(name, kept[MOST_SCENES].line, 1), count=len(kept), most=MOST_SCENES)
        )
    return Script(form, front or title, kept)


# Text


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MOST_BYTES:
        raise LtxflowError(problem("U015.large", Span(name, 1, 1), most=MOST_BYTES >> 20))
    try:
        text = data.decode(_coding(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LtxflowError(problem("U015.encoding", Span(name, line, 1))) from None
    if "\0" in text or data.startswith((b"%PDF", b"PK\x03\x04", b"{\\rtf", b"\xd0\xcf\x11\xe0", b"<?xml")):
        raise LtxflowError(problem("U015.binary", Span(name, 1, 1)))
    return re.sub("\r\n?|\u2028|\u2029|\x85", "\n", text)


def _coding(data: bytes) -> str:
    """Return the encoding of text: by its byte order mark, or of UTF-16 without one by its zero bytes."""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = data[:2000]
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if len(head) > 3 and max(zeros) > len(head) / 4 and min(zeros) == 0:
        return "utf-16-le" if zeros[1] else "utf-16-be"
    return "utf-8-sig"


def _without_comments(text: str) -> str:
    """Remove comments of Markdown and Fountain's notes and boneyard, but not their line breaks."""
    for start, end in (("<!--", "-->"), ("/*", "*/"), ("[[", "]]")):
        parts, at = [], 0
        while (found := text.find(start, at)) >= 0 and (close := text.find(end, found + len(start))) >= 0:
            parts += [text[at:found], "\n" * text.count("\n", found, close)]
            at = close + len(end)
        text = "".join(parts) + text[at:]
    return text


def _clean(line: str) -> str:
    """Return a line without invisible characters, which YAML refuses or which reorder what people read."""
    if not (line.isascii() and line.isprintable()):
        kept = (c for c in unicodedata.normalize("NFC", line) if c.isspace() or not _is_hidden(c))
        line = "".join(" " if c.isspace() else c for c in kept)
    return re.sub(" {3,}", "  ", line.rstrip())


def _is_hidden(char: str) -> bool:
    is_format = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in "\u200c\u200d"
    return is_format or char in "\ufffe\uffff"


def _form(lines: Sequence[str], name: str) -> Form:
    if name.lower().endswith(FOUNTAIN):
        return "fountain"
    if any(_heading(line) for line in lines):
        return "markdown"
    return "fountain" if any(_SLUG.match(line) for line in lines) else "text"


def _words(text: str) -> str:
    """Return prose without the marks of Markdown and Fountain, white space folded."""
    plain = _LINK.sub(lambda found: "" if found[1] else found[2], text)
    return " ".join(re.sub(r"\\([*_#>\[\]])", r"\1", _MARKS.sub("", plain)).split())


def _with_marks(lines: list[str]) -> list[str]:
    """Return lines in which a heading that is underlined with = or - is marked with # instead."""
    result = list(lines)
    for number, line in enumerate(lines):
        rule = line.strip()
        is_alone = number < 2 or not lines[number - 2].strip()
        if len(rule) > 2 and set(rule) in ({"="}, {"-"}) and number and lines[number - 1].strip() and is_alone:
            result[number - 1] = f"{'#' if rule[0] == '=' else '##'} {lines[number - 1].strip()}"
            result[number] = ""
    return result


# What a scene gathers


@dataclass
class _Scene:
    title: str
    line: int
    level: int = 0
    spoken: list[SpokenPart] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.spoken and not self.seen

    def speak(self, text: str, speaker: str = "") -> None:
        """Add spoken words; cues in square brackets and pictures are seen."""
        self.seen += [alt for mark, alt in _LINK.findall(text) if mark and alt.strip()]
        self.seen += [cue for cue in map(_words, _CUE.findall(text)) if cue]
        words = _words(_CUE.sub(" ", text))
        if any(char.isalnum() for char in words):
            self.spoken.append(SpokenPart(speaker, words))

    def see(self, text: str) -> None:
        """Add what is to be seen, without its brackets and the word that announces it."""
        label, rest = _labelled(text.strip().removeprefix("[").removeprefix("(").removesuffix("]").removesuffix(")"))
        words = _words(rest if label == ("seen", "") else text.strip("[]() "))
        self.seen += [words] if words else []

    def done(self) -> ScriptScene:
        return ScriptScene(self.title, self.line, tuple(self.spoken), tuple(self.seen))


def _paragraphs(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield runs of lines without a blank one, each with the number of its first line from 0."""
    run: list[str] = []
    for number, line in enumerate([*lines, ""]):
        if line.strip():
            run.append(line.strip())
        elif run:
            yield number - len(run), run
            run = []


def _add(scene: _Scene, lines: Sequence[str], kind: str) -> str:
    """Add a paragraph to a scene. Return the kind of the next: a label on a line by itself is about what follows.

    `kind` is "seen" after such a label, else "".
    """
    pieces: list[tuple[str, str, list[str]]] = [(kind, "", [])]  # what it is, who speaks, the words
    for line in lines:
        label, rest = _labelled(line)
        if (line[:1], line[-1:]) in (("[", "]"), ("(", ")")):
            what, speaker, _ = pieces[-1]
            pieces += [("seen", "", [line]), (what, speaker, [])]
        elif label is None:
            pieces[-1][2].append(line)
        else:
            pieces.append((*label, [rest] if rest else []))
    for what, speaker, words in pieces:
        (scene.see if what == "seen" else lambda text, speaker=speaker: scene.speak(text, speaker))(" ".join(words))
    return pieces[-1][0] if _labelled(lines[-1]) == (("seen", ""), "") else ""


def _labelled(line: str) -> tuple[tuple[str, str] | None, str]:
    """Return what a label at the start of a line announces (seen or "", and a speaker), and the rest of the line."""
    found = _LABEL.fullmatch(line)
    if found is None:
        return None, line
    name, rest = found[1].strip(), found[2].strip()
    plain = _EXTENSION.sub("", name).strip()
    if plain.casefold() in SEEN:
        return ("seen", ""), rest
    if plain.casefold() in SPOKEN or _NARRATORS.fullmatch(plain):
        return ("", ""), rest
    if plain.isupper() and rest and len(plain.split()) <= 3:
        return ("", plain.title()), rest
    return None, line


# Markdown


def _heading(line: str) -> tuple[int, str] | None:
    """Return level and text of a heading such as `## The hook`, or None."""
    level = len(line) - len(line.lstrip("#"))
    rest = line[level:]
    if not 1 <= level <= 6 or (rest and not rest[0].isspace()):
        return None
    return level, _words(rest.strip().rstrip("#"))


def _markdown(lines: list[str]) -> tuple[str, list[ScriptScene]]:
    sections = [_Scene("", 1)]
    body: list[list[str]] = [[]]
    starts, is_code = [0], False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            is_code = not is_code
            continue
        found = None if is_code else _heading(line.strip()) if line[:4].strip() else None
        if found:
            sections.append(_Scene(found[1], number + 1, found[0]))
            body.append([])
            starts.append(number + 1)
        else:
            body[-1].append("" if is_code or _RULE.fullmatch(line) else line)
    for section, text in zip(sections, body, strict=True):
        kind = ""
        for _, paragraph in _paragraphs(text):
            if paragraph[0].startswith("|"):
                _add_table(section, paragraph)
            else:
                kind = _add(section, [_BULLET.sub("", line.lstrip("> "), count=1) for line in paragraph], kind)
    named = [section for section in sections if section.level]
    is_titled = len(named) > 1 and named[0].level < min(each.level for each in named[1:])
    title = named[0].title if is_titled else ""
    has_text = any(not section.is_empty for section in sections)
    scenes = []
    for number, section in enumerate(sections):
        is_chapter = section.is_empty and (number + 1 < len(sections) and sections[number + 1].level > section.level)
        if not (section.is_empty and (not section.level or is_chapter or (section.title == title and has_text))):
            scenes.append(section.done())
    return title, scenes


def _front_matter(lines: list[str]) -> tuple[str, list[str]]:
    """Return the title of a YAML front matter, and the lines with blank ones in its place."""
    if not lines or lines[0].strip() != "---":
        return "", lines
    end = next((number for number, line in enumerate(lines[1:200], start=1) if line.strip() == "---"), 0)
    found = [line.partition(":")[2] for line in lines[1:end] if line.lower().startswith("title:")]
    title = _words(found[0].strip().strip("\"'")) if found else ""
    return title, [""] * (end + 1) + lines[end + 1 :] if end else lines


def _add_table(scene: _Scene, rows: Sequence[str]) -> None:
    """Add a table to a scene; the head of a column decides whether it is seen or spoken."""
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    heads = [_words(cell).casefold() for cell in cells[0]]
    kinds = ["seen" if head in SEEN else "spoken" if head in SPOKEN else "" for head in heads]
    for row in cells[1:] if any(kinds) else cells:
        for index, cell in enumerate(row):
            kind = kinds[index] if index < len(kinds) else ""
            if set(cell) <= {"-", ":", " "}:
                continue
            if kind == "seen":
                scene.see(cell)
            elif kind == "spoken" or not any(kinds):
                scene.speak(cell)


# Plain text


def _plain(lines: list[str]) -> tuple[str, list[ScriptScene]]:
    """Read headings such as `Scene 2: The door`; without any, every block of lines is a scene."""
    blocks = list(_paragraphs(lines))
    heads = {number: found for number, block in blocks if (found := _scene_heading(block[0]))}
    title = ""
    if len(blocks) > 1 and not heads.get(blocks[0][0]) and _is_title(blocks[0][1]):
        title = _words(blocks.pop(0)[1][0])
    scenes: list[_Scene] = []
    kind = ""
    for number, block in blocks:
        if number in heads:
            scenes.append(_Scene(heads[number], number + 1))
            kind = _add(scenes[-1], block[1:], "") if block[1:] else ""
            continue
        if not heads or not scenes:
            scenes.append(_Scene("", number + 1))
            kind = ""
        kind = _add(scenes[-1], block, kind)
    return title, [scene.done() for scene in scenes]


def _scene_heading(line: str) -> str:
    found = _SCENE.fullmatch(line) if len(line) <= 100 else None
    return _words(found[2] or line) if found else ""


def _is_title(block: Sequence[str]) -> bool:
    return len(block) == 1 and len(block[0]) <= 60 and block[0][-1].isalnum() and len(block[0].split()) <= 9


# Fountain


def _fountain(lines: list[str]) -> tuple[str, list[ScriptScene]]:
    title, lines = _title_page(lines)
    has_slugs = any(_slug(line) for line in lines)
    scenes = [_Scene("", 1)]
    is_cue_possible = True  # after a blank line
    speaker: str | None = None  # while dialogue runs
    action: list[str] = []

    def end_action() -> None:
        if action:
            scenes[-1].see(" ".join(action))
            action.clear()

    for number, raw in enumerate(lines):
        line = raw.strip()
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if not line:
            end_action()
            is_cue_possible, speaker = True, None
            continue
        head = _slug(raw) if is_cue_possible else ""
        if not head and not has_slugs and _heading(line):
            head = (_heading(line) or (0, ""))[1]
        if head:
            end_action()
            scenes.append(_Scene(head, number + 1))
        elif line.startswith("#") or _RULE.fullmatch(line) or _is_transition(line):
            end_action()
        elif speaker is not None:
            if not (line.startswith("(") and line.endswith(")")):
                scenes[-1].speak(line, speaker)
        elif line.startswith("~"):
            scenes[-1].speak(line[1:])
        elif is_cue_possible and following and _is_cue(line):
            end_action()
            name = _words(_EXTENSION.sub("", line.removeprefix("@")))
            speaker = "" if _NARRATORS.fullmatch(_EXTENSION.sub("", name)) else name.title()
        else:
            action.append(line.removeprefix("!").removeprefix("= ").strip("<> "))
        is_cue_possible = False
    end_action()
    return title, [_joined(scene).done() for scene in scenes if scene.title or not scene.is_empty]


def _joined(scene: _Scene) -> _Scene:
    """Join the lines that one speaker says in a row."""
    runs = groupby(scene.spoken, key=lambda part: part.speaker)
    scene.spoken = [SpokenPart(speaker, " ".join(part.text for part in parts)) for speaker, parts in runs]
    return scene


def _title_page(lines: list[str]) -> tuple[str, list[str]]:
    """Return the title of a title page, and the lines with blank ones in its place."""
    keys = re.compile(r"(title|credit|author|authors|source|draft date|date|contact|copyright|notes|revision):", re.I)
    first = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    if first == len(lines) or not keys.match(lines[first]):
        return "", lines
    end = next((number for number in range(first, len(lines)) if not lines[number].strip()), len(lines))
    page = lines[first:end]
    at = next((number for number, line in enumerate(page) if line.lower().startswith("title:")), None)
    title = ""
    if at is not None:
        more = page[at + 1] if at + 1 < len(page) and page[at + 1][:1].isspace() else ""
        title = _words(page[at].partition(":")[2].strip() or more)
    return title, [""] * end + lines[end:]


def _slug(line: str) -> str:
    text = line.strip()
    forced = text.startswith(".") and not text.startswith("..") and len(text) > 1
    return _words(_NUMBER.sub("", text[forced:])) if forced or _SLUG.match(text) else ""


def _is_transition(line: str) -> bool:
    is_forced = line.startswith(">") and not line.endswith("<")
    return is_forced or (line.isupper() and (line.endswith(":") or _FADE.fullmatch(line) is not None))


def _is_cue(line: str) -> bool:
    name = _EXTENSION.sub("", line)
    return line.startswith("@") or (name.isupper() and not line.startswith("!") and len(name) <= 60)
