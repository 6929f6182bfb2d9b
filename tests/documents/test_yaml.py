"""Problems of the YAML reader, word by word, and accepted documents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.documents import yaml
from ltxflow.documents.document import Include
from ltxflow.documents.yaml import parse, read
from ltxflow.messages.documents import RULES as CATALOGUE

FILE = "project.yaml"
RULES = {code for code in CATALOGUE if code.startswith("Y")}


@pytest.fixture(params=["libyaml", "pure"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with both parsers, which must agree."""
    if request.param == "pure":
        monkeypatch.setattr(yaml, "LOADER", pyyaml.SafeLoader)
    elif not hasattr(pyyaml, "CSafeLoader"):
        pytest.skip("pyyaml was built without libyaml")


def problems(text: str) -> list[Problem]:
    with pytest.raises(LtxflowError) as caught:
        parse(text, FILE)
    return list(caught.value.problems)


AMBIGUOUS = "is ambiguous: some readers take it for"
GOLDEN = [
    # text, line, column, code, message, hint
    ("", 1, 1, "Y004", "the file is empty", "write at least one key"),
    ("# nothing\n", 1, 1, "Y004", "the file is empty", "write at least one key"),
    ("a: b: c", 1, 5, "Y005", '": " inside an unquoted text', "put the whole text in quotes"),
    (
        "a: 1\n  b: 2",
        2,
        4,
        "Y005",
        'unexpected ":"',
        'check the indentation, and that the line above has its ":"',
    ),
    (
        "a: 1\nb\n",
        2,
        1,
        "Y005",
        'no ":" after "b"',
        "write key: value, or indent the line if it continues the text above",
    ),
    ("a: 1\nb: 'x\nc: 2", 2, 4, "Y005", "the quote that opens here is never closed", "add a closing '"),
    (
        "a: 'it's'",
        1,
        8,
        "Y005",
        "text after the end of a value",
        "put the whole text in quotes; write an apostrophe inside '…' as ''",
    ),
    (
        'a: "x" y',
        1,
        8,
        "Y005",
        "text after the end of a value",
        "put the whole text in one pair of quotes",
    ),
    (
        'a: "\\q"',
        1,
        5,
        "Y005",
        "unknown backslash sequence",
        "write \\\\ for a backslash, or use single quotes",
    ),
    (
        "a: [1, 2\nb: 3",
        2,
        2,
        "Y005",
        'expected "," or "]"',
        'close the list that opens at line 1, column 4 with "]", or quote the text',
    ),
    (
        "a: {x: 1\nb: 3",
        2,
        2,
        "Y005",
        'expected "," or "}"',
        'close the mapping that opens at line 1, column 4 with "}", or quote the text',
    ),
    (
        "scenes:\n  - id: a\n   title: x\n",
        3,
        4,
        "Y005",
        "this line does not fit the list that starts at line 2, column 3",
        'check the indentation: the "- " of all items of a list start in the same column',
    ),
    (
        "a:\n  - 1\n b: 2",
        3,
        2,
        "Y005",
        "this line does not fit the mapping that starts at line 1, column 1",
        "check the indentation: all keys of a mapping start in the same column",
    ),
    (
        "a: *bold* x",
        1,
        4,
        "Y005",
        '"*" at the start of a text means an alias',
        "put the text in quotes",
    ),
    ("a: @x", 1, 4, "Y005", 'an unquoted text cannot start with "@"', "put the text in quotes"),
    (
        "a: - b",
        1,
        4,
        "Y005",
        "a list item cannot start here",
        'put "- " on a separate line, or quote the text',
    ),
    (
        "a: ]",
        1,
        4,
        "Y005",
        'unexpected "]"',
        "remove it, or quote the text if it should start with it",
    ),
    (
        "a: >x\n  b",
        1,
        5,
        "Y005",
        'unexpected text after ">"',
        "start the text on the next line, or quote it if it should start with >",
    ),
    ("\ta: 1", 1, 1, "Y006", "a tab where spaces are expected", "indent with spaces"),
    ("a:\n\tb: 1", 2, 1, "Y006", "a tab where spaces are expected", "indent with spaces"),
    ("a:\n  b: 1\n \tc: 2", 3, 2, "Y006", "a tab where spaces are expected", "indent with spaces"),
    ("a: |\n\tb", 2, 1, "Y006", "a tab where spaces are expected", "indent with spaces"),
    (
        "a: 1\n---\nb: 2",
        2,
        1,
        "Y007",
        "a second document starts here",
        'remove the "---" to keep one document in a file',
    ),
    (
        "a: 1\n...\nb: 2",
        3,
        1,
        "Y007",
        "text after the end of the document",
        'remove the "..." above it',
    ),
    (
        "a:\n  seed: 1\n  x: 2\n  seed: 3",
        4,
        3,
        "Y008",
        'duplicate key "seed"',
        "keep one of them: the first is at line 2, column 3",
    ),
    ("a: {1: x}", 1, 5, "Y009", 'the key "1" is not text', 'put it in quotes: "1"'),
    ("true: x", 1, 1, "Y009", 'the key "true" is not text', 'put it in quotes: "true"'),
    ("? [a]\n: x", 1, 3, "Y009", "a list cannot be a key", "write a text, or put it in quotes"),
    ("a: {{ look }}", 1, 4, "Y009", "{{ look }} is not in quotes", 'write "{{ look }}"'),
    ("a: {{ look }} b", 1, 4, "Y009", "{{ look }} is not in quotes", 'write "{{ look }}"'),
    (
        "a: yes",
        1,
        4,
        "Y010",
        f'"yes" {AMBIGUOUS} true, others for text',
        'write true, or "yes" in quotes if it is text',
    ),
    (
        "a: [x, Off]",
        1,
        8,
        "Y010",
        f'"Off" {AMBIGUOUS} false, others for text',
        'write false, or "Off" in quotes if it is text',
    ),
    (
        "a: 1:30",
        1,
        4,
        "Y011",
        f'"1:30" {AMBIGUOUS} the number 90',
        'write "1:30" in quotes, or 90s if it is a time',
    ),
    (
        "a: 0777",
        1,
        4,
        "Y012",
        '"0777" has a leading zero: some readers take it for an octal number',
        'write 777, or "0777" in quotes if it is text',
    ),
    ("a: -.inf", 1, 4, "Y013", '"-.inf" is not a finite number', "write a finite number"),
    ("a: .NaN", 1, 4, "Y013", '".NaN" is not a finite number', "write a finite number"),
    ("a: 1e999", 1, 4, "Y013", 'the number "1e999" is too large', "put it in quotes if it is text"),
    (
        "a: 9223372036854775808",
        1,
        4,
        "Y013",
        'the number "9223372036854775808" is too large',
        "put it in quotes if it is text",
    ),
    (
        "a: &x {b: 1}\nc:\n  <<: *x",
        3,
        3,
        "Y014",
        'merge keys "<<" are not supported',
        "move shared settings to defaults, or repeat them",
    ),
    ("a: !foo b", 1, 4, "Y015", 'the tag "!foo" is not supported', "remove it; for text, use quotes"),
    (
        "a: !!python/object:os.system {}",
        1,
        4,
        "Y015",
        'the tag "!!python/object:os.system" is not supported',
        "remove it; for text, use quotes",
    ),
    ("a: !x!y z", 1, 4, "Y015", 'the tag "!x!y" is not supported', "remove it; for text, use quotes"),
    (
        "a: !include x.yaml",
        1,
        4,
        "Y015",
        'the tag "!include" is not supported',
        "remove it; for text, use quotes",
    ),
    (
        "a: *b",
        1,
        4,
        "Y016",
        'no anchor "&b" above "*b"',
        "put the text in quotes if it should start with *",
    ),
    (
        "a: &a [*a]",
        1,
        8,
        "Y016",
        '"*a" is inside the anchor it names',
        "name an anchor that is complete above it",
    ),
    (
        "[" * 41 + "]" * 41,
        1,
        41,
        "Y018",
        "values are nested more than 40 deep",
        "check for brackets that are not closed",
    ),
    ("a: x\x07", 1, 5, "Y019", "invisible control character U+0007", "delete it"),
    (
        "a: 1\nb: x\u2028y",
        2,
        5,
        "Y019",
        "invisible line separator U+2028",
        "delete it, or end the line with a plain line break",
    ),
    (
        "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> side\n",
        2,
        1,
        "Y020",
        'unresolved merge conflict: "<<<<<<< HEAD"',
        "keep one version, and remove the lines with <<<<<<<, ======= and >>>>>>>",
    ),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "line", "col", "code", "message", "hint"), GOLDEN)
def test_a_problem_has_place_message_and_hint(
    text: str, line: int, col: int, code: str, message: str, hint: str
) -> None:
    assert problems(text) == [Problem(message, Span(FILE, line, col), hint, code)]


def test_every_rule_is_described_and_tried() -> None:
    tried = {row[3] for row in GOLDEN} | {"Y001", "Y002", "Y003", "Y017"}  # which have tests of their own
    assert tried == RULES


@pytest.mark.usefixtures("loader")
def test_five_mistakes_are_five_problems() -> None:
    text = "a: yes\nb: 1:30\nc: 007\na: 2\n3: x\n"
    assert [(p.span.line, p.code) for p in problems(text) if p.span] == [
        (1, "Y010"),
        (2, "Y011"),
        (3, "Y012"),
        (4, "Y008"),
        (5, "Y009"),
    ]


@pytest.mark.usefixtures("loader")
def test_problems_before_a_syntax_error_are_kept() -> None:
    assert [p.code for p in problems("a: yes\nb: [1\n")] == ["Y010", "Y005"]


@pytest.mark.usefixtures("loader")
def test_collected_problems_leave_a_document() -> None:
    found: list[Problem] = []
    document = parse("a: yes\nb: 1\n", FILE, problems=found)
    assert document.data == {"a": "yes", "b": 1}
    assert [p.code for p in found] == ["Y010"]
    assert document.problems == tuple(found)


def test_collecting_does_not_hide_a_syntax_error() -> None:
    with pytest.raises(LtxflowError):
        parse("a: [", FILE, problems=[])


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("+5", 5),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("0.4", 0.4),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("9223372036854775807", 2**63 - 1),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z"),
        ("12f", "12f"),
        ("0.4s", "0.4s"),
        ("1536x864", "1536x864"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("n", "n"),
        ("tRUE", "tRUE"),
        ("=", "="),
        ("'yes'", "yes"),
        ('"1:30"', "1:30"),
        ('"0777"', "0777"),
        ("one two", "one two"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
        (">\n  one\n  two\n", "one two\n"),
        ("[]", []),
        ("{}", {}),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"key: {text}", FILE).data["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_positions_hold_with_any_line_break_and_a_byte_order_mark(break_: str, mark: str) -> None:
    document = parse(mark + break_.join(["id: x", "scenes:", "  - id: hook", "    title: y", ""]), FILE)
    assert document.data == {"id": "x", "scenes": [{"id": "hook", "title": "y"}]}
    assert document.span() == Span(FILE, 1, 1)
    assert document.span(("id",)) == Span(FILE, 1, 5)
    assert document.key_span(("scenes",)) == Span(FILE, 2, 1)
    assert document.span(("scenes", 0)) == Span(FILE, 3, 5)
    assert document.span(("scenes", 0, "title")) == Span(FILE, 4, 12)
    assert document.key_span(("scenes", 0, "title")) == Span(FILE, 4, 5)


def test_columns_count_characters() -> None:
    document = parse('{é: "日本 🎬", b: 1}', FILE)
    assert document.key_span(("b",)) == Span(FILE, 1, 13)


def test_a_missing_path_falls_back_to_the_nearest_parent() -> None:
    document = parse("a:\n  b: [1, 2]\n", FILE)
    assert document.span(("a", "b", 7)) == document.span(("a", "b")) == Span(FILE, 2, 6)
    assert document.span(("a", "x", "y")) == Span(FILE, 2, 3)
    assert document.span(("a", "b", 0, "deep")) == Span(FILE, 2, 7)
    assert document.key_span(("a", "nope")) == Span(FILE, 2, 3)
    assert document.key_span(("a", "b", 1)) == Span(FILE, 2, 10)
    assert document.key_span(()) == Span(FILE, 1, 1)


@pytest.mark.usefixtures("loader")
def test_an_alias_has_its_place_and_its_content_that_of_the_anchor() -> None:
    document = parse("a: &x\n  b: 1\nc: *x\n", FILE)
    assert document.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert document.span(("c",)) == Span(FILE, 3, 4)
    assert document.span(("c", "b")) == Span(FILE, 2, 6)


@pytest.mark.usefixtures("loader")
def test_a_hundred_aliases_are_allowed_and_no_more() -> None:
    text = "a: &x 1\nb: [" + ", ".join(["*x"] * 100) + "]\n"
    assert parse(text, FILE).data["b"] == [1] * 100
    assert problems(text + "c: *x\n") == [
        Problem("more than 100 aliases", Span(FILE, 3, 4), "use defaults or vars instead", "Y017")
    ]


@pytest.mark.usefixtures("loader")
def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert problems("\n".join(lines)) == [
        Problem("aliases add more than 100,000 values", Span(FILE, 6, 10), "use defaults instead", "Y017")
    ]


def test_a_large_film_without_aliases_is_not_a_bomb() -> None:
    assert len(parse("- x\n" * 150_000, FILE).data) == 150_000


def test_excessive_depth_is_refused() -> None:
    for text in ("[" * 1_000_000, "{a: " * 500_000, "- " * 100_000, "? " * 100_000):
        assert [p.code for p in problems(text)] == ["Y018"]
    assert parse("[" * 40 + "]" * 40, FILE).data


@pytest.mark.usefixtures("loader")
def test_includes_are_collected_on_request() -> None:
    document = parse("prompt: !include prompts/a.yaml\n", FILE, includes=True)
    assert document.data == {"prompt": Include("prompts/a.yaml")}
    assert document.span(("prompt",)) == Span(FILE, 1, 9)


def test_an_include_names_a_file() -> None:
    with pytest.raises(LtxflowError) as caught:
        parse("a: !include\n", FILE, includes=True)
    assert caught.value.problems == (
        Problem('"!include" names no file', Span(FILE, 1, 4), "write !include prompts/a.yaml", "Y015"),
    )


def test_a_quoted_merge_key_is_text() -> None:
    assert parse("'<<': 1", FILE).data == {"<<": 1}


def test_a_tab_inside_text_is_text() -> None:
    assert parse('a: "x\ty"\nb: |\n  x\n  \ty\n', FILE).data == {"a": "x\ty", "b": "x\n\ty\n"}


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#, \n\t01.?~<", max_size=60))
def test_any_text_is_a_document_or_a_problem_with_a_place(text: str) -> None:
    try:
        parse(text, FILE)
    except LtxflowError as error:
        for problem in error.problems:
            assert problem.span is not None
            assert problem.code in RULES
            assert problem.message
            assert 1 <= problem.span.line <= text.count("\n") + 2


ascii_text = st.text(st.characters(codec="ascii", exclude_characters="\x7f"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | ascii_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_text, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(ascii_text, json_values))
def test_json_is_read_unchanged(data: dict[str, object]) -> None:
    assert parse(json.dumps(data), FILE).data == data


# ---- read


def refusal(path: Path) -> Problem:
    with pytest.raises(LtxflowError) as caught:
        read(path, "films/project.yaml")
    (problem,) = caught.value.problems
    return problem


def test_read_uses_the_shown_name(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_bytes(b"\xef\xbb\xbfid: caf\xc3\xa9\r\n")
    document = read(path, "films/project.yaml")
    assert document.data == {"id": "café"}
    assert document.file == "films/project.yaml"
    assert document.span(("id",)) == Span("films/project.yaml", 1, 5)


def test_read_passes_collected_problems_on(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("a: on\n")
    found: list[Problem] = []
    assert read(path, "p", problems=found).data == {"a": "on"}
    assert [p.code for p in found] == ["Y010"]


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml") == Problem(
        '"films/project.yaml" does not exist', hint="check the name and the folder", code="Y001"
    )


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == Problem('"films/project.yaml" is a folder', hint="name the file inside it", code="Y001")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == Problem(
        '"films/project.yaml" is not a file', hint="name a text file", code="Y001"
    )


def test_a_file_inside_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / "file" / "project.yaml") == Problem(
        '"films/project.yaml" cannot be read: not a directory',
        hint="check the permissions of the file",
        code="Y001",
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    assert refusal(path) == Problem(
        '"films/project.yaml" cannot be read: permission denied',
        hint="check the permissions of the file",
        code="Y001",
    )


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_bytes("id: é\nb: ".encode() + b"\xe9t\xe9\n")
    assert refusal(path) == Problem(
        "the byte 0xe9 is not UTF-8", Span("films/project.yaml", 2, 4), "save the file as UTF-8", "Y002"
    )


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("a: 1", encoding="utf-16")
    assert refusal(path) == Problem(
        "the file is UTF-16, not UTF-8", Span("films/project.yaml", 1, 1), "save it as UTF-8", "Y002"
    )


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_bytes(b"# " + b"x" * 8_000_000)
    expected = Problem(
        '"films/project.yaml" is larger than 8 MB', hint="split the film into several projects", code="Y003"
    )
    assert refusal(path) == expected
    with pytest.raises(LtxflowError) as caught:
        parse("# " + "é" * 4_000_000, "films/project.yaml")
    assert caught.value.problems == (expected,)
