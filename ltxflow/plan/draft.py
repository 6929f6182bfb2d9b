"""Write a project file from a script: its scenes, what is spoken, and as many clips as that needs. Pure.

Prompts are left as TODO, with what the script says of them: a person or an agent writes them.
"""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count

from ltxflow.core.timing import Limits, fewest_clips, letters, needed_frames
from ltxflow.documents.document import WINDOWS_RESERVED
from ltxflow.models.profile import Profile
from ltxflow.project.prompt import TODO
from ltxflow.project.prompt_words import ENGLISH, OTHER_LANGUAGES
from ltxflow.project.screenplay import Script, ScriptScene, SpokenPart
from ltxflow.project.speech import WORDS_PER_SECOND, count_words, sentences, shown

FPS, HEAD, TAIL, CROSSFADE = 25, Fraction(1, 5), Fraction(2, 5), 12
MOST_SPOKEN = 15_000  # characters under one scene: below the schema's limit of a text
MOST_NOTE = 900  # characters of a note in a prompt
MOST_SILENT = 6  # clips of a scene in which nothing is spoken
MOST_ID = 40
EMPTY_NOTE = "what is seen, how it moves and how it sounds"
WIDTH = 108
NOT_TEXT = {"no", "on", "off", "yes", "y", "n", "true", "false", "null"}  # to some readers of YAML

HEAD_OF_FILE = """\
# yaml-language-server: $schema={schema}
# Made from {source}. Write the prompts that say TODO; `ltxflow check` lists them, `ltxflow guide` says how.
ltxflow: 1
id: {id}
title: {title}
aspect: "16:9" # 3:2, 1:1, 9:16, 4:3, 4:5, 21:9 … or  size: 1536x864
fps: {fps}
profile: {profile} # the model: {why}
seed: 1 # every clip's own seed follows from this one and the clip's ids

# look: "Soft morning light with muted greens and golds." # added to every prompt
{speech}
defaults:
  scene: {{ pad: {{ head: 0.2s, tail: 0.4s }}, crossfade: 12f }}

scenes:
"""
ENGLISH_VOICE = "speech: { engine: offline } # a voice on this machine; without one lengths are estimated\n"
OTHER_VOICE = (
    "# speech: { engine: offline, voice: … } # name a voice of its language; until then lengths are estimated\n"
)


@dataclass(frozen=True)
class Draft:
    """The text of a project file, and what is in it."""

    text: str
    scenes: int
    clips: int
    spoken_s: float


def draft(script: Script, profile: Profile, *, id: str, title: str, schema: str, why: str, source: str) -> Draft:
    """Return a project file for a script: it checks but for its prompts, and its animatic can be drawn."""
    limits = profile.limits(FPS)
    words = Fraction(0)
    clips = 0
    taken: set[str] = set()
    lines: list[str] = []
    scenes = [part for scene in script.scenes for part in _split(scene)]
    for number, scene in enumerate(scenes, start=1):
        spoken = sum((count_words(part.text) for part in scene.spoken), Fraction(0))
        notes = _notes(scene, _clips_of(scene, spoken, limits))
        words, clips = words + spoken, clips + len(notes)
        lines += [*_scene(scene, _id(scene.title, number, taken), notes), ""]
    head = HEAD_OF_FILE.format(
        schema=schema,
        source=_comment(source),
        id=_plain_id(id),
        title=_quoted(title),
        fps=FPS,
        profile=profile.name,
        why=why,
        speech=ENGLISH_VOICE if _is_english(script) else OTHER_VOICE,
    )
    return Draft(head + "\n".join(lines), len(scenes), clips, float(words / WORDS_PER_SECOND))


def _is_english(script: Script) -> bool:
    """Return whether most words that reveal a language are English. A voice of another would mispronounce them."""
    words = re.findall(r"[^\W\d_]+", " ".join(scene.text for scene in script.scenes)[:100_000].casefold())
    english = sum(word in ENGLISH for word in words)
    return english > len(words) / 12 and english > sum(word in OTHER_LANGUAGES for word in words)


# Scenes


def _split(scene: ScriptScene) -> Iterator[ScriptScene]:
    """Yield a scene, or several in its place where more is spoken than one can have."""
    parts: list[list[SpokenPart]] = [[]]
    for each in scene.spoken:
        for piece in _pieces(shown(each.text)):
            if parts[-1] and sum(len(part.text) for part in parts[-1]) + len(piece) > MOST_SPOKEN:
                parts.append([])
            parts[-1].append(SpokenPart(each.speaker, piece))
    for number, spoken in enumerate(parts):
        title = scene.title if not number or not scene.title else f"{scene.title} ({number + 1})"
        yield replace(scene, title=title, spoken=tuple(spoken), seen=() if number else scene.seen)


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of whole sentences that fit into one scene."""
    if len(text) <= MOST_SPOKEN:
        yield text
        return
    piece = ""
    for sentence in (part for each in sentences(text) for part in textwrap.wrap(each, MOST_SPOKEN)):
        if piece and len(piece) + 1 + len(sentence) > MOST_SPOKEN:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}".strip()
    yield piece


def _clips_of(scene: ScriptScene, words: Fraction, limits: Limits) -> int:
    """Return how many clips a scene needs: for what is spoken, else one for each thing that is seen."""
    if not scene.spoken:
        return max(1, min(len(scene.seen), MOST_SILENT))
    seconds = max(words, Fraction(1)) / WORDS_PER_SECOND
    return max(1, fewest_clips(needed_frames(seconds, HEAD, TAIL, FPS), CROSSFADE, limits))


def _id(title: str, number: int, taken: set[str]) -> str:
    """Return an id for a scene, from its title where that has Latin letters, and add it to those taken."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    found = found if len(found) <= MOST_ID else found[: MOST_ID + 1].rpartition("-")[0][:MOST_ID] or found[:MOST_ID]
    first = f"scene-{number}" if not found or found in WINDOWS_RESERVED else found
    id = next(name for name in (first, *(f"{first}-{more}" for more in range(2, 9999))) if name not in taken)
    taken.add(id)
    return id


def _scene(scene: ScriptScene, id: str, notes: Sequence[str]) -> Iterator[str]:
    yield f"  - id: {_plain_id(id)}"
    if scene.title:
        yield f"    title: {_quoted(scene.title[:300])}"
    names = {part.speaker for part in scene.spoken}
    if len(scene.spoken) > 1 and names != {""}:
        yield "    narration:"
        yield "      lines:"
        numbers: dict[str, count[int]] = {}
        for part in scene.spoken:
            speaker = _line_id(part.speaker)
            number = next(numbers.setdefault(speaker, count(1)))
            yield f"        - id: {_plain_id(f'{speaker}-{number}')}"
            yield from _text("text", part.text, 10)
    elif scene.spoken:
        yield "    narration:"
        yield from _text("text", scene.text, 6)
    yield "    clips:"
    for index, note in enumerate(notes):
        yield f"      - id: {_plain_id(letters(index))}"
        yield from _text("prompt", note, 8)


def _line_id(speaker: str) -> str:
    plain = unicodedata.normalize("NFKD", speaker).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MOST_ID] or ("voice" if speaker else "narrator")


# Prompts


def _notes(scene: ScriptScene, clips: int) -> list[str]:
    """Return a TODO for each clip: what the script shows there, and what is spoken then."""
    seen, words = scene.seen, _shares(scene.text, clips)
    found = []
    for index in range(clips):
        here = seen[index * len(seen) // clips : (index + 1) * len(seen) // clips] or seen[-1:]
        note = _cut(" ".join(here), MOST_NOTE) or EMPTY_NOTE
        if words[index] and (clips > 1 or not here):
            note += f'; spoken here: "{_cut(words[index], 300)}"'
        found.append(f"{TODO}: {note}")
    return found


def _shares(text: str, clips: int) -> list[str]:
    """Return a text in as many shares of about the same length, cut between words where there are any."""
    words = text.split()
    parts = words if len(words) >= clips else list(text)
    glue = " " if len(words) >= clips else ""
    return [glue.join(parts[index * len(parts) // clips : (index + 1) * len(parts) // clips]) for index in range(clips)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# YAML


def _text(key: str, text: str, indent: int) -> Iterable[str]:
    """Return a text as YAML: quoted if short, else as a block that is folded to one line."""
    space, plain = " " * indent, _without_variables(text)
    quoted = f"{space}{key}: {_quoted(plain)}"
    wrapped = textwrap.wrap(plain, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    if len(quoted) <= WIDTH or len(wrapped) < 2:
        return [quoted]
    return [f"{space}{key}: >-", *(f"{space}  {line}" for line in wrapped)]


def _plain_id(id: str) -> str:
    """Return an id as YAML, in quotes where it would be read as a number, a date or a truth value."""
    return id if re.fullmatch(r"[a-z][a-z0-9-]*", id) and id not in NOT_TEXT else _quoted(id)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _without_variables(text: str) -> str:
    """Return a text in which nothing reads as a variable or as code."""
    return re.sub(r"([{}%])(?=[{}%])", r"\1 ", text)


def _comment(text: str) -> str:
    return " ".join(shown(text).split())[:100]
