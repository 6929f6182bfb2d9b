"""Problems of the schema check, word by word, and consistency of the published schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ltxflow.core.errors import Problem, Span
from ltxflow.documents.fast_schema import load_schema
from ltxflow.documents.schema import EXPLANATIONS, check, slug
from ltxflow.documents.yaml import parse
from ltxflow.messages.documents import RULES

FILE = "project.yaml"

FULL = """\
# yaml-language-server: $schema=../../schemas/project.schema.json
ltxflow: 1
id: wallet-explainer
title: "Your keys, your coins"
aspect: "16:9"
fps: 25
seed: 20260111
profile: ltx2-19b
quality: distilled
output: ../../public/scenes
words_per_second: 2.5
weights: { checkpoint: fp8, text_encoder: fp4 }
vars: { look: "deep blue and violet palette", count: 3, pace: 0.5 }
defaults:
  scene: { pad: { head: 0.2s, tail: 0.4s }, crossfade: 12f }
  clip:
    reference: { strength: 0.9 }
    negative: [static, "no motion"]
    takes: 1
    length: auto
moved:
  - { from: hook/b, to: intro/b }
  - { from: opening, to: hook }
scenes:
  - id: hook
    title: "The hook"
    narration: 8.5s
    pad: 0.3s
    crossfade: 0.4s
    quality: full
    clips:
      - id: a
        prompt: "A slow push in on a vault door; {{ look }}."
        negative: "blurry"
        reference: refs/vault.png
        last_frame: refs/end.png
        seed: 9007199254740991
        length: 121f
        steps: 8
        cfg: 1.0
        stages: 2
        temporal_upscale: false
        takes: 3
        template: i2v
        ignore: [P104]
      - id: b
        prompt:
          setup: "Inside the vault."
          subject: "A glass key."
          camera: "The camera orbits the key."
          action: "Particles settle on its teeth."
          mood: "{{ look }}."
          audio: "A soft whoosh."
        reference: { image: refs/vault.png, strength: 0.9, compression: 33, fit: contain, focus: [0.5, 0.4] }
        last_frame: { image: refs/end.png, strength: 1 }
        length: 4.84s
        loras:
          - { name: my_style.safetensors, strength: 0.8, sha256: SHA }
          - other.safetensors
        control: { lora: canny.safetensors, video: refs/guide.mp4, strength: 1.0, mode: canny }
  - id: split-key
    narration: { duration: 200f }
    clips: [{ id: a, prompt: x, reference: null, last_frame: null, control: null, extends: null, loras: [] }]
  - id: seed-phrase
    narration: { file: narration/seed.wav }
    clips: [{ id: a, prompt: x, extends: split-key/a }, { id: b, prompt: x, extends: a }]
  - id: outro
    narration: { text: "Every coin you own …" }
    clips: [{ id: a, prompt: x, extends: { file: refs/before.mp4, frames: 33, audio: fresh } }]
""".replace("SHA", f'"{"5c1f" * 16}"')


def film(top: str = "", scene: str = "", clip: str = "") -> str:
    """Return a film with lines added at the top (line 3), in its scene (5, column 5) or its clip (8, column 9)."""
    lines = ["ltxflow: 1", "id: film", *top.splitlines(), "scenes:", "  - id: hook"]
    lines += [f"    {line}" for line in scene.splitlines()]
    lines += ["    clips:", "      - id: a", "        prompt: x"]
    lines += [f"        {line}" for line in clip.splitlines()]
    return "\n".join(lines) + "\n"


def found(text: str) -> list[Problem]:
    return check(parse(text, FILE))


def test_the_full_film_passes() -> None:
    assert found(FULL) == []


def test_the_smallest_film_passes() -> None:
    assert found(film()) == []


ID = "use small letters, digits and hyphens, at most 64, the first one a letter or digit"
CLIP_KEYS = (
    "id, tags, prompt, covers, reference, last_frame, control, sound, keyframes, extends, loras, look, negative, seed, "
    "length, quality, steps, cfg, stages, temporal_upscale, takes, seeds, reseed, checks, template, gain, ignore"
)
TOP_KEYS = (
    "ltxflow, id, title, aspect, size, fps, seed, profile, quality, output, words_per_second, weights, server, loras, "
    "speech, engines, references, vars, ignore, look, "
    "defaults, moved, scenes"
)

TOP = [
    # line added to the top (line 3), column, code, message, hint
    ("promt: x", 1, "S101", 'unknown key "promt"', 'did you mean "prompt"? it belongs to a clip'),
    ("titel: x", 1, "S101", 'unknown key "titel"', 'did you mean "title"?'),
    ("colour: x", 1, "S101", 'unknown key "colour"', f"allowed here: {TOP_KEYS}"),
    (
        "crossfade: 12f",
        1,
        "S101",
        'unknown key "crossfade"',
        '"crossfade" belongs to a scene or defaults.scene',
    ),
    (
        "fps: abc",
        6,
        "S103",
        '"fps" must be a whole number, not "abc"',
        "write a whole number, such as 25",
    ),
    ('fps: "25"', 6, "S103", '"fps" must be a whole number, not "25"', "write 25 without quotes"),
    ("fps: 25.0", 6, "S103", '"fps" must be a whole number, not 25.0', "write 25"),
    (
        "fps: 0",
        6,
        "S106",
        '"fps" must be between 1 and 120, not 0',
        "write a number between 1 and 120",
    ),
    ("title: 2026", 8, "S103", '"title" must be a text, not 2026', 'put it in quotes: "2026"'),
    (
        "speech: { trim: 3 }",
        17,
        "S103",
        '"trim" must be true or false, not 3',
        "write true or false, such as true",
    ),
    ("title: 1.50", 8, "S103", '"title" must be a text, not 1.50', 'put it in quotes: "1.50"'),
    ("title: 1e3", 8, "S103", '"title" must be a text, not 1e3', 'put it in quotes: "1e3"'),
    ("title: TRUE", 8, "S103", '"title" must be a text, not TRUE', 'put it in quotes: "TRUE"'),
    ("size: 0x0", 7, "S103", '"size" must be a text, not 0x0', "write width x height in pixels, such as 1536x864"),
    ("size: 0x1F", 7, "S103", '"size" must be a text, not 0x1F', "write width x height in pixels, such as 1536x864"),
    ("title: true", 8, "S103", '"title" must be a text, not true', 'put it in quotes: "true"'),
    ("title:", 7, "S112", '"title" has no value', 'write one, such as "Your keys, your coins"'),
    ("aspect: 16x9", 9, "S104", 'aspect: "16x9" is not an aspect', 'write "16:9"'),
    (
        "aspect: wide",
        9,
        "S104",
        'aspect: "wide" is not an aspect',
        'write it in quotes, such as "16:9"',
    ),
    ("size: 1536 × 864", 7, "S104", 'size: "1536 × 864" is not a size', "write 1536x864"),
    (
        "size: 1536",
        7,
        "S103",
        '"size" must be a text, not 1536',
        "write width x height in pixels, such as 1536x864",
    ),
    (
        "quality: ful",
        10,
        "S105",
        '"quality" must be preview, distilled, full or auto, not "ful"',
        'did you mean "full"?',
    ),
    (
        "quality: best",
        10,
        "S105",
        '"quality" must be preview, distilled, full or auto, not "best"',
        "write preview, distilled, full or auto",
    ),
    ("output: public\\scenes", 9, "S104", 'output: "public\\scenes" is not a path', "write public/scenes"),
    ('output: ""', 9, "S110", '"output" is empty', "write a text"),
    ("profile: LTX2-19B", 10, "S104", 'profile: "LTX2-19B" is not a profile', "write ltx2-19b"),
    (
        "words_per_second: 0",
        19,
        "S106",
        '"words_per_second" must be between 0.1 and 20, not 0',
        "write a number between 0.1 and 20",
    ),
    ("weights: { check: fp8 }", 12, "S101", 'unknown key "check"', 'did you mean "checkpoint"?'),
    ("weights: FP8", 10, "S104", 'weights: "FP8" is not a precision', "write fp8"),
    (
        "vars: { my-look: x }",
        9,
        "S104",
        '"my-look" cannot be a name in "vars"',
        "use letters, digits and underscores: write my_look",
    ),
    (
        "vars: { look: [x] }",
        15,
        "S103",
        '"look" must be a text, a number or a mapping, not a list',
        "write a text, a number or a mapping",
    ),
    ("defaults: { clip: { seeed: 1 } }", 21, "S101", 'unknown key "seeed"', 'did you mean "seed"?'),
    (
        "defaults: { scene: { pad: 1 } }",
        27,
        "S108",
        "pad: 1 has no unit",
        "write 1f (frames) or 1s (seconds)",
    ),
    (
        "moved: [{ from: hook/b }]",
        9,
        "S102",
        'missing key "to" in this move',
        "add one, such as to: intro/b",
    ),
    ("moved: [{ from: Hook, to: x }]", 17, "S104", 'from: "Hook" is not a target', "write hook"),
    (
        "moved: { from: a, to: b }",
        8,
        "S103",
        '"moved" must be a list, not a mapping',
        'start each item with "- "',
    ),
]

SCENE = [
    # line added to the scene (line 5), column, code, message, hint
    ("narration: 8.5", 16, "S108", "narration: 8.5 has no unit", "write 8.5s (seconds)"),
    ("narration: 8", 16, "S108", "narration: 8 has no unit", "write 8s (seconds) or 8f (frames)"),
    ("narration: 8.5 sec", 16, "S108", 'narration: "8.5 sec" is not a duration', "write 8.5s"),
    (
        "narration: hook.wav",
        16,
        "S108",
        'narration: "hook.wav" is not a duration',
        "write { file: hook.wav }",
    ),
    (
        "narration: Every coin",
        16,
        "S108",
        'narration: "Every coin" is not a duration',
        'write the words as { text: "…" }',
    ),
    *(
        (f"narration: {name}", 16, "S108", f'narration: "{name}" is not a duration', f"write {{ file: {name} }}")
        for name in ("my voice.WAV", "narration/opening", "../voices/take 2.mp3")
    ),
    (
        "narration: Welcome",
        16,
        "S108",
        'narration: "Welcome" is not a duration',
        'write { text: "Welcome" } if it is to be spoken, or a time such as 8.5s',
    ),
    (
        "narration: { flie: a.wav }",
        18,
        "S101",
        'unknown key "flie"',
        'did you mean "file"?',
    ),
    (
        "narration: { file: a.wav, duration: 8s }",
        31,
        "S109",
        '"file" and "duration" exclude each other',
        "keep one of them",
    ),
    (
        "narration: {}",
        16,
        "S110",
        '"narration" is empty',
        "write one of: duration, file, text, lines, gain, engine, voice, speed, pause, trim, lexicon",
    ),
    ("narration:", 15, "S112", '"narration" has no value', "write one, such as 8.5s"),
    (
        "narration: [8s]",
        16,
        "S103",
        '"narration" must be a text or a mapping, not a list',
        "write a text or a mapping, such as 8.5s",
    ),
    ("crossfade: 12", 16, "S108", "crossfade: 12 has no unit", "write 12f (frames) or 12s (seconds)"),
    ("crossfade: 0.4", 16, "S108", "crossfade: 0.4 has no unit", "write 0.4s (seconds)"),
    (
        'crossfade: "12"',
        16,
        "S108",
        "crossfade: 12 has no unit",
        "write 12f (frames) or 12s (seconds)",
    ),
    ("crossfade: 500ms", 16, "S108", 'crossfade: "500ms" is not a duration', "write 0.5s"),
    (
        "crossfade: -1s",
        16,
        "S108",
        'crossfade: "-1s" is not a duration',
        "write 12f (frames) or 0.4s (seconds)",
    ),
    ("pad: { tail: 2m }", 18, "S108", 'tail: "2m" is not a duration', "write 12f (frames) or 0.4s (seconds)"),
    ("prompt: x", 5, "S101", 'unknown key "prompt"', '"prompt" belongs to a clip'),
    ("takes: 0", 12, "S106", '"takes" must be between 1 and 99, not 0', "write a number between 1 and 99"),
]

CLIP = [
    # line added to the clip (line 8), column, code, message, hint
    ("length: 121", 17, "S108", "length: 121 has no unit", "write 121f (frames) or 121s (seconds)"),
    (
        "length: long",
        17,
        "S108",
        'length: "long" is not a length',
        "write auto, 121f (frames) or 4.84s (seconds)",
    ),
    ("length: Auto", 17, "S108", 'length: "Auto" is not a length', "write auto"),
    (
        f"length: {'9' * 10}s",
        17,
        "S108",
        f'length: "{"9" * 10}s" is too long for a film',
        "write at most 99999s (a day) or 9999999f",
    ),
    (
        "reference: {}",
        20,
        "S110",
        '"reference" is empty',
        "write one of: image, base, angle, frame_of, strength, compression, fit, focus",
    ),
    (
        "reference: [a.png]",
        20,
        "S103",
        '"reference" must be a text, a mapping or null, not a list',
        "write a text, a mapping or null, such as refs/vault.png",
    ),
    (
        "reference: { strength: 1.4 }",
        32,
        "S106",
        '"strength" must be between 0 and 1, not 1.4',
        "write a number between 0 and 1",
    ),
    (
        "reference: { fit: cove }",
        27,
        "S105",
        '"fit" must be cover, contain or stretch, not "cove"',
        'did you mean "cover"?',
    ),
    (
        "reference: { focus: [1] }",
        29,
        "S110",
        '"focus" must have 2 items, not 1',
        "write 2 items",
    ),
    (
        "reference: { focus: [0.5, 2] }",
        35,
        "S106",
        'item 2 of "focus" must be between 0 and 1, not 2',
        "write a number between 0 and 1",
    ),
    (
        "loras: a.safetensors",
        16,
        "S103",
        '"loras" must be a list, not "a.safetensors"',
        "write [a.safetensors]",
    ),
    (
        "loras: [a, 5]",
        20,
        "S103",
        'item 2 of "loras" must be a text or a mapping, not 5',
        'put it in quotes: "5"',
    ),
    (
        "loras: [{ strength: 1 }]",
        17,
        "S102",
        'missing key "name" in this lora',
        "add one, such as name: my_style.safetensors",
    ),
    (
        "loras: [{ name: a, sha256: xyz }]",
        36,
        "S104",
        'sha256: "xyz" is not a sha256',
        "a sha256 is 64 small hex digits",
    ),
    ("loras: [a, ]\nstages: 3", 17, "S105", '"stages" must be 1, 2 or auto, not 3', "write 1, 2 or auto"),
    ('stages: "2"', 17, "S105", '"stages" must be 1, 2 or auto, not "2"', "write 2 without quotes"),
    (
        'temporal_upscale: "yes"',
        27,
        "S103",
        '"temporal_upscale" must be true or false, not "yes"',
        "write true or false, without quotes",
    ),
    (
        "control: canny",
        18,
        "S103",
        '"control" must be a mapping or null, not "canny"',
        "write a mapping with some of: lora, video, strength, mode, preprocess",
    ),
    ("ignore: P104", 17, "S103", '"ignore" must be a list, not "P104"', "write [P104]"),
    ("ignore: [p104]", 18, "S104", 'ignore: "p104" is not a rule', "write P104"),
    ("ignore: [P104, P104]", 24, "S110", '"P104" is listed twice in "ignore"', "keep one"),
    ("narration: 8s", 9, "S101", 'unknown key "narration"', '"narration" belongs to a scene'),
    ("duration: 5s", 9, "S101", 'unknown key "duration"', f"allowed here: {CLIP_KEYS}"),
]


def problem(line: int, col: int, code: str, message: str, hint: str) -> Problem:
    return Problem(message, Span(FILE, line, col), hint, code)


@pytest.mark.parametrize(("line", "col", "code", "message", "hint"), TOP)
def test_mistakes_at_the_top(line: str, col: int, code: str, message: str, hint: str) -> None:
    assert found(film(top=line)) == [problem(3, col, code, message, hint)]


@pytest.mark.parametrize(("line", "col", "code", "message", "hint"), SCENE)
def test_mistakes_in_a_scene(line: str, col: int, code: str, message: str, hint: str) -> None:
    assert found(film(scene=line)) == [problem(5, col, code, message, hint)]


@pytest.mark.parametrize(("line", "col", "code", "message", "hint"), CLIP)
def test_mistakes_in_a_clip(line: str, col: int, code: str, message: str, hint: str) -> None:
    row = 8 + line.count("\n")
    assert found(film(clip=line)) == [problem(row, col, code, message, hint)]


@pytest.mark.parametrize(
    ("id", "message", "hint"),
    [
        ("Hook Scene", f'"Hook Scene" is not an id: {ID}', "write hook-scene"),
        ("a_b", f'"a_b" is not an id: {ID}', "write a-b"),
        ("Con", f'"Con" is not an id: {ID}', "write con-1"),
        ("×", f'"×" is not an id: {ID}', "choose one, such as hook"),
        (
            "com1",
            '"com1" cannot be an id: Windows reserves that name for a device',
            "choose another, such as com1-1",
        ),
    ],
)
def test_invalid_ids_have_a_suggestion(id: str, message: str, hint: str) -> None:
    assert found(film().replace("hook", id)) == [problem(4, 9, "S107", message, hint)]


def test_an_id_does_not_end_in_a_line_break() -> None:
    assert [p.code for p in found(film().replace("hook", '"hook\\n"'))] == ["S107"]


def test_an_id_that_is_a_number_is_put_in_quotes() -> None:
    assert found(film().replace("hook", "7")) == [
        problem(4, 9, "S103", '"id" must be a text, not 7', 'put it in quotes: "7"')
    ]


def test_a_missing_key_is_named_with_the_mapping_that_lacks_it() -> None:
    text = "ltxflow: 1\nscenes:\n  - id: hook\n    clips:\n      - id: a\n  - clips: []\n"
    assert found(text) == [
        problem(1, 1, "S102", 'missing key "id" in this project', "add one, such as id: wallet-explainer"),
        problem(
            5,
            9,
            "S102",
            'missing key "prompt" in clip "a"',
            'add one, such as prompt: "A slow push in on a vault door; {{ look }}."',
        ),
        problem(6, 5, "S102", 'missing key "id" in this scene', "add one, such as id: hook"),
        problem(6, 12, "S110", '"clips" is empty', "write at least one clip"),
    ]


def test_a_prompt_is_checked_by_its_form() -> None:
    text = film().replace("prompt: x", 'prompt: { camra: x, mood: "" }')
    assert found(text) == [
        problem(7, 19, "S101", 'unknown key "camra"', 'did you mean "camera"?'),
        problem(7, 35, "S110", '"mood" is empty', "write a text"),
    ]
    assert found(film().replace("prompt: x", "prompt: 5")) == [
        problem(7, 17, "S103", '"prompt" must be a text or a mapping, not 5', 'put it in quotes: "5"')
    ]


def test_aspect_and_size_exclude_each_other() -> None:
    assert found(film(top='size: 1536x864\naspect: "16:9"')) == [
        problem(4, 1, "S109", '"size" and "aspect" exclude each other', "keep one of them")
    ]


def test_the_format_version() -> None:
    assert found(film().replace("ltxflow: 1", "ltxflow: 2")) == [
        problem(
            1,
            10,
            "S111",
            "format version 2 is unknown",
            "write version 1, or update ltxflow if the file is newer",
        )
    ]
    assert found(film().replace("ltxflow: 1", 'ltxflow: "1"')) == [
        problem(1, 10, "S105", '"ltxflow" must be 1, not "1"', "write 1 without quotes")
    ]


def test_a_file_that_is_not_a_mapping() -> None:
    assert found("- x\n") == [
        problem(
            1,
            1,
            "S103",
            "the file must be a mapping, not a list",
            f"write a mapping with some of: {TOP_KEYS}",
        )
    ]


def test_a_text_in_place_of_a_duration_is_not_too_long() -> None:
    (problem,) = found(film(scene='narration: "Start today and never look back again."'))
    assert (problem.code, problem.hint) == ("S108", 'write the words as { text: "…" }')


def test_five_mistakes_are_five_problems_in_the_order_of_the_file() -> None:
    text = film(top="fps: fast\nqualty: full", scene="crossfade: 12\nnarration: 8.5", clip="seed: -1")
    assert [(p.span.line, p.code) for p in found(text) if p.span] == [
        (3, "S103"),
        (4, "S101"),
        (7, "S108"),
        (8, "S108"),
        (12, "S106"),
    ]


def test_problems_of_the_parser_are_not_reported_twice() -> None:
    refused: list[Problem] = []
    document = parse(film(top="fps: 1:30", clip="temporal_upscale: yes\ntakes: two"), FILE, problems=refused)
    assert [p.code for p in refused] == ["Y011", "Y010"]
    assert [p.code for p in check(document)] == ["S103"]


def test_a_problem_in_an_anchor_is_reported_once() -> None:
    text = film(scene="reference: &ref { strength: 2 }", clip="last_frame: *ref")
    assert [str(p.span) for p in found(text)] == ["project.yaml:5:33"]


@pytest.mark.parametrize(
    ("text", "id"),
    [("Hook Scene", "hook-scene"), ("  Élan -- vital! ", "elan-vital"), ("日本", ""), ("a" * 80, "a" * 64)],
)
def test_slug(text: str, id: str) -> None:
    assert slug(text) == id


def test_every_rule_is_described_and_tried() -> None:
    tried = {row[2] for row in (*TOP, *SCENE, *CLIP)} | {"S107", "S111"}
    assert tried | {"S100"} == {code for code in RULES if code.startswith("S")}


# ---- the published schema


def parts(part: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema inside a schema with its path."""
    yield at, part
    for word in ("properties", "patternProperties", "$defs"):
        for name, inner in part.get(word, {}).items():
            yield from parts(inner, f"{at}/{word}/{name}")
    for i, inner in enumerate(part.get("anyOf", [])):
        yield from parts(inner, f"{at}/anyOf/{i}")
    if "items" in part:
        yield from parts(part["items"], f"{at}/items")


PARTS = dict(parts(load_schema("project")))


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a `$ref` with the annotations beside it."""
    if "$ref" not in part:
        return part
    return {**resolve(PARTS[part["$ref"].removeprefix("#")]), **part}


def test_the_schema_is_valid_and_names_its_draft() -> None:
    schema = load_schema("project")
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:ltxflow:project:1"


@pytest.mark.parametrize("at", [at for at in PARTS if re.search(r"/(properties|patternProperties)/[^/]+$", at)])
def test_every_property_has_a_description(at: str) -> None:
    description = resolve(PARTS[at]).get("description", "")
    assert description.endswith(".")
    assert description[0].isupper()


def test_every_mapping_is_closed_and_every_pattern_explained() -> None:
    for at, part in PARTS.items():
        if "object" in part.get("type", ""):
            assert part["additionalProperties"] is False, at
            assert "title" in part, at
        if "pattern" in part:
            assert "patternErrorMessage" in part, at
            assert part["pattern"].startswith("^"), at
            assert part["pattern"].endswith("$"), at


def test_every_keyword_has_an_explanation() -> None:
    checked = {keyword for part in PARTS.values() for keyword in part} & set(Draft202012Validator.VALIDATORS)
    plain = {"$ref", "properties", "patternProperties", "items"}
    own = {"additionalProperties", "required", "not", "uniqueItems", "type", "anyOf", "oneOf"}
    assert checked <= plain | own | set(EXPLANATIONS)


def test_examples_and_defaults_fit_their_schema() -> None:
    schema = load_schema("project")
    for at, part in PARTS.items():
        whole = {**resolve(part), "$defs": schema["$defs"]}
        validator = Draft202012Validator(whole)
        for value in [*whole.get("examples", []), *([whole["default"]] if "default" in whole else [])]:
            assert validator.is_valid(value), (at, value)


def test_scenes_and_clips_have_the_same_settings() -> None:
    settings = PARTS["/$defs/settings"]["properties"]
    for place in ("scene", "clip"):
        properties = PARTS[f"/$defs/{place}"]["properties"]
        for name in settings:
            assert properties[name] == {"$ref": f"#/$defs/settings/properties/{name}"}


def test_durations_have_the_published_pattern() -> None:
    assert PARTS["/$defs/duration"]["pattern"] == r"^[0-9]{1,5}(\.[0-9]{1,9})?s$|^[0-9]{1,7}f$"
