from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.errors import Problem, Span
from ltxflow.media.speech import Engine
from ltxflow.project.speech import (
    Line,
    Speech,
    built_in,
    count_words,
    estimate,
    has_words,
    keyed_line,
    keyed_whole,
    line_times,
    needs_trust,
    read_engines,
    read_speech,
    sentences,
    shown,
    spoken,
)

ESPEAK = Engine("espeak", "espeak")
SAY = ["say", "{text}", "{out}"]


def speech(*texts: str, **values: Any) -> Speech:
    lines = tuple(Line(str(n), text, values.pop("pause", Fraction(0))) for n, text in enumerate(texts, 1))
    return Speech(values.pop("engine", ESPEAK), values.pop("voice", ""), values.pop("speed", 1.0), lines, **values)


# Text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("  Two\n  words ", "Two words"),
        ("a\u200bb\ufeffc\x07", "abc"),
        ("cafe\u0301", "café"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner belongs to the word
        ("“Well,” he said", "“Well,” he said"),
    ],
)
def test_captions_show_a_text_as_written_without_invisible_characters(written: str, read: str) -> None:
    assert shown(written) == read


@pytest.mark.parametrize(
    ("lexicon", "text", "expected"),
    [
        ({}, "“Don’t,” he said", '"Don\'t," he said'),
        ({"BTC": "bitcoin"}, "BTC, BTC's BTCX xBTC (BTC)", "bitcoin, bitcoin's BTCX xBTC (bitcoin)"),
        ({"US": "U S"}, "US and us", "U S and us"),
        ({"defi": "dee fie"}, "DeFi, DEFI, defied", "dee fie, dee fie, defied"),
        (
            {"BTC": "bitcoin", "BTC USD": "bitcoin in dollars"},
            "BTC USD and BTC USDT",
            "bitcoin in dollars and bitcoin USDT",
        ),
        ({"a": "b", "b": "c"}, "a b", "b c"),
        ({"C++": "see plus plus"}, "C++ is C", "see plus plus is C"),
        ({"比特币": "bǐtèbì"}, "我有比特币。", "我有bǐtèbì。"),
        ({"की": "X"}, "कीमत की", "कीमत X"),  # a vowel sign is a part of its word
        ({"don't": "do not"}, "I don’t", "I do not"),
        ({"um": ""}, "um yes", " yes"),
        ({"": "x", " ": "y"}, "a b", "a b"),
    ],
)
def test_the_lexicon_replaces_whole_words(lexicon: dict[str, str], text: str, expected: str) -> None:
    assert spoken(text, lexicon).text == expected


def test_every_spoken_character_has_its_origin() -> None:
    result = spoken("Buy BTC  now", {"BTC": "bitcoin"})
    assert result.text == "Buy bitcoin now"
    assert result.origins[result.text.index("coin")] == shown("Buy BTC  now").index("BTC")
    assert result.origins[result.text.index("now")] == shown("Buy BTC  now").index("now")


@given(st.text(), st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=4))
def test_origins_increase_and_are_positions_in_the_shown_text(text: str, lexicon: dict[str, str]) -> None:
    result = spoken(text, lexicon)
    assert len(result.text) == len(result.origins)
    assert list(result.origins) == sorted(result.origins)
    assert all(0 <= at < len(shown(text)) for at in result.origins)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four… Five.", ["One.", "Two!", "Three?", "Four…", "Five."]),
        ("Dr. Smith met J. K. Rowling at 3.14 p.m. today.", ["Dr. Smith met J. K. Rowling at 3.14 p.m. today."]),
        ("See no. 5 there. He said no. Then he left.", ["See no. 5 there.", "He said no.", "Then he left."]),
        ("It was I. He knew.", ["It was I.", "He knew."]),
        ("“Stop!” she said. “Now.” He did.", ["“Stop!” she said.", "“Now.”", "He did."]),
        ("Wait... what? No.", ["Wait... what?", "No."]),
        ("… and so on. Yes.", ["… and so on.", "Yes."]),
        ("你好。我很好！真的？", ["你好。", "我很好！", "真的？"]),
        ("Visit example.com. Then go.", ["Visit example.com.", "Then go."]),
        ("¿Qué? ¡Sí! Bueno.", ["¿Qué?", "¡Sí!", "Bueno."]),
        ("شكرا. كيف حالك؟ بخير.", ["شكرا.", "كيف حالك؟", "بخير."]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_a_text_is_divided_into_its_sentences(text: str, parts: list[str]) -> None:
    assert list(sentences(text)) == parts


@given(st.text(alphabet="aB .!?…。”)\n"))
def test_sentences_lose_nothing(text: str) -> None:
    assert "".join(sentences(text)).replace(" ", "") == shown(text).replace(" ", "")


# Estimate


def test_words_are_counted_as_they_sound() -> None:
    assert count_words("Every coin – you own!") == 4
    assert count_words("比特币") == Fraction(3, 2)
    assert count_words("…") == 0


def test_the_estimate_takes_spoken_words_speed_and_pauses() -> None:
    two = speech("BTC is up", "Buy", pause=Fraction(1, 2), lexicon={"BTC": "bit coin"})
    assert estimate(two) == Fraction(5) / Fraction(5, 2) + Fraction(1, 2)
    assert estimate(speech("one two three four five", speed=0.8)) == Fraction(5, 2)
    assert estimate(speech("…")) > 0


# Keys


def test_the_key_of_a_line_has_all_that_determines_its_sound() -> None:
    one = speech("Hello  “you”")
    assert keyed_line(one, one.lines[0]) == keyed_line(one, Line("other", 'Hello "you"', Fraction(3)))
    for other in (
        speech("Hello you"),
        speech("Hello “you”", voice="de"),
        speech("Hello “you”", speed=1.1),
        speech("Hello “you”", engine=Engine("hibari", "hibari")),
        speech("Hello “you”", lexicon={"hello": "hullo"}),
    ):
        assert keyed_line(other, other.lines[0]) != keyed_line(one, one.lines[0])
    same = speech("Hello “you”", lexicon={"goodbye": "bye"}, trim=True)
    assert keyed_line(same, same.lines[0]) == keyed_line(one, one.lines[0])
    assert keyed_whole(same) != keyed_whole(one)


def test_address_and_name_of_a_server_enter_no_key() -> None:
    home = Engine("here", "openai", url="http://127.0.0.1:8880/v1", model="kokoro", key_from_env="A")
    away = Engine("there", "openai", url="https://example.org/v1", model="kokoro", timeout_s=9.0)
    assert home.keyed() == away.keyed() == {"kind": "openai", "model": "kokoro"}


def test_a_command_is_keyed_by_its_words_and_the_projects_files_in_them() -> None:
    one = Engine("a", "command", argv=("./say.sh", "{text}", "{out}"), files=(("./say.sh", "aa"),))
    other = Engine("a", "command", argv=("./say.sh", "{text}", "{out}"), files=(("./say.sh", "bb"),))
    assert one.keyed() != other.keyed()
    assert needs_trust(one) != needs_trust(other)


def test_times_of_lines_follow_from_the_facts() -> None:
    facts = {
        "sample_rate": 100,
        "lines": [{"start_sample": 0, "end_sample": 50}, {"start_sample": 60, "end_sample": 99}],
    }
    assert line_times(speech("a", "b"), facts) == {
        "1": (Fraction(0), Fraction(1, 2)),
        "2": (Fraction(3, 5), Fraction(99, 100)),
    }


# Reading


def span(path: tuple[str | int, ...]) -> Span:
    """Return a span that encodes its path: the line is its depth, the file its keys."""
    return Span("/".join(map(str, path)), 1 + len(path), 1)


def read(
    narration: Mapping[str, Any],
    film: Mapping[str, Any] | None = None,
    *,
    engines: Mapping[str, Engine] | None = None,
    offline: str | None = "espeak",
    fill: Callable[[str, tuple[str | int, ...]], str] = lambda text, path: text,
) -> tuple[Speech | None, list[Problem]]:
    return read_speech(
        narration,
        {"engine": "espeak"} if film is None else film,
        built_in() | dict(engines or {}),
        offline=offline,
        fps=25,
        fill=fill,
        span=span,
        film_span=lambda path: span(("speech", *path)),
    )


def test_a_text_is_read_as_a_line_a_sentence() -> None:
    found, problems = read({"text": "One two. Three four."}, {"engine": "espeak", "pause": "5f"})
    assert not problems
    assert found is not None
    assert [(line.id, line.text, line.pause_s) for line in found.lines] == [
        ("1", "One two.", Fraction(1, 5)),
        ("2", "Three four.", 0),  # none after the last: that is a pad
    ]
    assert found.text == "One two. Three four."


def test_lines_have_ids_texts_and_pauses() -> None:
    found, problems = read({"lines": ["One.", {"id": "two", "text": "Two.", "pause": "0.5s"}]})
    assert not problems
    assert found is not None
    assert [(line.id, line.pause_s) for line in found.lines] == [("1", 0), ("two", Fraction(1, 2))]


def test_a_scene_overrides_the_film() -> None:
    film = {"engine": "espeak", "voice": "en", "speed": 1.2, "lexicon": {"a": "x", "b": "y"}}
    found, _ = read({"text": "Hi.", "voice": "de", "lexicon": {"b": "z"}}, film)
    assert found is not None
    assert (found.voice, found.speed, dict(found.lexicon)) == ("de", 1.2, {"a": "x", "b": "z"})
    assert found.spans["voice"].file == "voice"
    assert found.spans["speed"].file == "speech/speed"


def test_no_engine_means_no_speech() -> None:
    assert read({"text": "Hi."}, {}) == (None, [])


def test_offline_is_an_installed_engine_or_advice() -> None:
    found, _ = read({"text": "Hi."}, {"engine": "offline"}, offline="hibari")
    assert found is not None
    assert found.engine.kind == "hibari"
    nothing, problems = read({"text": "Hi."}, {"engine": "offline"}, offline=None)
    assert nothing is None
    assert [(p.code, p.level) for p in problems] == [("L061", "advice")]
    assert "espeak-ng" in problems[0].hint


@pytest.mark.parametrize(
    ("narration", "code", "at", "hint"),
    [
        ({"text": "Hi.", "engine": "espaek"}, "L061", "engine", 'did you mean "espeak"?'),
        ({"text": "Hi.", "voice": "-x"}, "L063", "voice", "a name"),
        ({"text": "Hi.", "engine": "server"}, "L063", "engine", "voice:"),
        ({"lines": ["Hi.", {"id": "1", "text": "Ho."}]}, "L062", "lines/1", "line 3"),
        ({"lines": ["Hi.", "…"]}, "L064", "lines/1", "write words"),
        ({"text": "Um.", "lexicon": {"um": ""}}, "L064", "text", "write words"),
        ({"lines": [{"text": "Hi.", "pause": "1"}]}, "L066", "lines/0/pause", "1s"),
    ],
)
def test_mistakes_are_reported_with_their_place(narration: dict[str, Any], code: str, at: str, hint: str) -> None:
    server = Engine("server", "openai", url="http://127.0.0.1:1/v1", model="m")
    found, problems = read(narration, engines={"server": server})
    assert found is None
    assert [(p.code, p.span.file if p.span else "") for p in problems] == [(code, at)]
    assert hint in problems[0].hint


def test_an_engine_may_have_a_default_voice() -> None:
    server = Engine("server", "openai", voice="af_heart", url="http://127.0.0.1:1/v1", model="m")
    found, problems = read({"text": "Hi.", "engine": "server"}, engines={"server": server})
    assert not problems
    assert found is not None
    assert found.voice == "af_heart"


def test_variables_are_filled_in() -> None:
    found, _ = read({"text": "Hi {{ name }}."}, fill=lambda text, path: text.replace("{{ name }}", "Ada"))
    assert found is not None
    assert found.lines[0].text == "Hi Ada."


# Engines' entries


def test_entries_of_the_user_config_are_read() -> None:
    engines, problems = read_engines(
        {
            "kokoro": {"url": "http://127.0.0.1:8880/v1", "model": "kokoro", "voice": "af", "timeout": "5m"},
            "paid": {"url": "https://api.example.org/v1", "model": "m", "key_from_env": "PAID_KEY"},
            "piper": {"command": ["piper", "-s", 3, "-i", "{text_file}", "-f", "{out}"], "env": ["PIPER_HOME"]},
        },
        span,
        of_project=False,
    )
    assert not problems
    assert engines["kokoro"] == Engine(
        "kokoro", "openai", "af", url="http://127.0.0.1:8880/v1", model="kokoro", timeout_s=300.0
    )
    assert engines["paid"].key_from_env == "PAID_KEY"
    assert engines["piper"].argv == ("piper", "-s", "3", "-i", "{text_file}", "-f", "{out}")
    assert engines["piper"].pass_env == ("PIPER_HOME",)


@pytest.mark.parametrize(
    ("entry", "at", "hint"),
    [
        ("kokoro", "x", "url"),
        ({"model": "m"}, "x", "command"),
        ({"url": "http://a/v1", "command": SAY}, "x", "url"),
        ({"url": "ftp://a"}, "x/url", "such as"),
        ({"url": "http://me:secret@a/v1"}, "x/url", "such as"),
        ({"url": "http://a/v1?key=secret"}, "x/url", "such as"),
        ({"command": "say {text} {out}"}, "x/command", "write a list"),
        ({"command": ["say", "{text}"]}, "x/command", "{out}"),
        ({"command": ["say", "{out}"]}, "x/command", "{text}"),
        ({"command": ["{text}", "{text}", "{out}"]}, "x/command/0", "write a list"),
        ({"command": SAY, "timeout": 5}, "x/timeout", "90s"),
        ({"command": SAY, "shell": True}, "x/shell", "use one of command"),
        ({"command": SAY, "env": "A"}, "x/env", "[ELEVEN"),
    ],
)
def test_a_wrong_entry_is_reported_with_its_place(entry: Any, at: str, hint: str) -> None:
    engines, problems = read_engines({"x": entry}, span, of_project=False)
    assert not engines
    assert [(p.code, p.span.file if p.span else "") for p in problems] == [("L065", at)]
    assert hint in problems[0].hint
    assert "secret" not in problems[0].message


@pytest.mark.parametrize("entry", [{"url": "http://a/v1", "key_from_env": "K"}, {"command": SAY, "env": ["K"]}])
def test_a_project_may_not_name_keys(entry: dict[str, Any]) -> None:
    engines, problems = read_engines({"x": entry}, span, of_project=True)
    assert not engines
    assert "your own configuration" in problems[0].hint


@pytest.mark.parametrize("name", ["espeak", "hibari", "offline"])
def test_a_built_in_name_is_reserved(name: str) -> None:
    _, problems = read_engines({name: {"command": SAY}}, span, of_project=True)
    assert "built in" in problems[0].hint


def test_has_words() -> None:
    assert has_words("… 3")
    assert not has_words("– … !")
