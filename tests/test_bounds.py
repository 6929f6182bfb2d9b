"""Numbers and texts of any size: an error at their line, or a film. Work and memory grow no faster than the text.

Verbs run in a process with little memory, so that unbounded work fails its test instead of the machine.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness.film import Film, film_text, prompt
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ltxflow.core.timing import LengthConflict, LengthRequest, Limits, solve, suggest
from ltxflow.documents.fast_schema import load_schema
from ltxflow.media.text_layout import Style, fitted, wrapped

MEMORY = 1 << 30  # bytes of address space: a plan needs a tenth of it
PATIENCE_S = 300.0  # for what takes a tenth of a second
Json = dict[str, Any]
Step = str | int

# Verbs one after the other, in a process that lives on: a line of arguments in, a line with the exit code out.
WORKER = """
import contextlib, io, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
from ltxflow.cli.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, (out.getvalue() + err.getvalue())[-2000:]]), flush=True)
"""


class Worker:
    """A process with little memory that runs verbs. If it dies, it is replaced, and its last verb failed."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER.replace("MEMORY", str(MEMORY))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(PATIENCE_S), int(PATIENCE_S))),
        )

    def run(self, *argv: str) -> tuple[int, str]:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(argv), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.process = self._start()
            return code, "the process ended"
        code, output = json.loads(line)
        return int(code), str(output)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    home = tmp_path_factory.mktemp("bounds")
    (home / "film").mkdir()
    env = {**os.environ, "LTXFLOW_STORE": str(home / "store"), "XDG_CONFIG_HOME": str(home), "HOME": str(home)}
    made = Worker({**env, "XDG_STATE_HOME": str(home / "state"), "FILM": str(home / "film" / "project.yaml")})
    yield made
    made.close()


# --- every number that can be set


@dataclass(frozen=True)
class Setting:
    """A path to a number or a time, with its bounds in the schema."""

    path: tuple[Step, ...]
    kind: str  # "integer", "number" or "time"
    bounds: tuple[float, ...] = ()

    def __str__(self) -> str:
        return ".".join(map(str, self.path))


def numbers(schema: Json, whole: Json, path: tuple[Step, ...] = ()) -> Iterator[Setting]:
    """Yield every leaf of a schema that is a number or a time; of lists the first item."""
    while "$ref" in schema:
        target: Any = whole
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    kinds = schema.get("type", [])
    kind = next((name for name in ("integer", "number") if name in ([kinds] if isinstance(kinds, str) else kinds)), "")
    if schema.get("title") in ("duration", "length"):
        yield Setting(path, "time")
    elif kind:
        names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        yield Setting(path, kind, tuple(schema[name] for name in names if name in schema))
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from numbers(branch, whole, path)
    for name, part in schema.get("properties", {}).items():
        yield from numbers(part, whole, (*path, name))
    for pattern, part in schema.get("patternProperties", {}).items():
        if "$" in pattern:
            yield from numbers(part, whole, (*path, "abc"))
    if isinstance(schema.get("items"), dict):
        yield from numbers(schema["items"], whole, (*path, 0))


SETTINGS = sorted(set(numbers(load_schema("project"), load_schema("project"))), key=str)
FILM: Json = {
    "ltxflow": 1,
    "id": "tiny",
    "size": "128x128",
    "scenes": [
        {
            "id": "hook",
            "narration": {"text": "Every coin has one key."},
            "clips": [{"id": "a", "prompt": prompt("hook-a")}, {"id": "b", "prompt": prompt("hook-b")}],
        }
    ],
}


def with_value(path: tuple[Step, ...], value: Any) -> Json:
    """Return the film with a setting at a path, adding missing mappings."""
    data = copy.deepcopy(FILM)
    place: Any = data
    for step, after in pairwise(path):
        empty: Any = [] if isinstance(after, int) else {}
        if isinstance(step, int):
            while len(place) <= step:
                place.append(copy.deepcopy(empty))
        elif not isinstance(place.get(step), type(empty)):
            place[step] = empty
        place = place[step]
    if isinstance(path[-1], int):
        place.append(value)
    else:
        place[path[-1]] = value
    return data


def values(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.kind == "time":
        written = st.sampled_from(["0s", "0f", "1f", "0.000000001s", "99999s", "9999999f", "999999999s", "1e9s", "-1s"])
        return written | st.integers(0, 10**9).map(lambda number: f"{number}f")
    near = [bound + step for bound in setting.bounds for step in (-1, 0, 1)]
    whole = st.sampled_from([*map(int, near), 0, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**30])
    if setting.kind == "integer":
        return whole
    return whole | st.sampled_from([*near, 1e-300, 1e300, -1e300, 0.5, 1e-9]) | st.floats(allow_nan=False, width=32)


def attempt(worker: Worker, setting: Setting, value: Any) -> None:
    Path(worker.env["FILM"]).write_text(json.dumps(with_value(setting.path, value), default=str))
    for verb in ("check", "plan"):
        code, output = worker.run(verb, "-p", str(Path(worker.env["FILM"]).parent))
        assert code in (0, 1, 2), f"{setting}: {value!r}: `{verb}` ends with {code}: {output}"
        assert "Traceback" not in output


def test_numbers_are_found_in_the_schema() -> None:
    names = set(map(str, SETTINGS))
    assert {"fps", "scenes.0.pad.tail", "scenes.0.clips.0.takes", "scenes.0.clips.0.checks.motion"} <= names
    assert len(names) > 60


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_number_is_taken_or_refused(worker: Worker, data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from(SETTINGS))
    attempt(worker, setting, data.draw(values(setting)))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_each_number_is_taken_or_refused(worker: Worker, setting: Setting) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(value=values(setting))
    def each(value: Any) -> None:
        attempt(worker, setting, value)

    each()


# --- texts


WORD = "w" * 1_000_000
SHORT = "A brass key turns in a lock; metal clicks."
MANY = {
    "a time": ("", "pad: {tail: 999999999s}", "", "9:17", "is too long for a film"),
    "a prompt": ("", "", WORD, "11:17", "is longer than 20000 characters"),
    "a look": (f'look: "{WORD}"', "", SHORT, "5:7", "is longer than 20000 characters"),
    "a var": (f'vars: {{a: "{WORD}"}}', "", "A {{ a }} turns", "5:11", "is longer than 20000 characters"),
    "many vars": ("vars: {" + ", ".join(f"a{n}: x" for n in range(9000)) + "}", "", SHORT, "5:7", "at most 2000 items"),
    "vars in a prompt": (
        *(f'vars: {{a: "{"x" * 15_000}"}}', "", "{{ a }} " * 2000, "11:17"),
        "has more than 20000 characters after its variables are filled in",
    ),
    "braces": ("", "", "{{ " * 6000, "11:17", '"{{" is unmatched'),
    "words": (f'title: "{WORD}"', "", SHORT, "5:8", "is longer than 500 characters"),
    "tags": ("", f"tags: [{', '.join(f't{n}' for n in range(9000))}]", SHORT, "9:11", "at most 200 items"),
}


@pytest.mark.parametrize("name", MANY)
def test_unbounded_values_are_refused_at_their_place(worker: Worker, tmp_path: Path, name: str) -> None:
    top, scene, text, at, message = MANY[name]
    lines = ["ltxflow: 1", "id: tiny", "size: 128x128", "fps: 25", top or "seed: 1", "scenes:", "  - id: hook"]
    lines += ["    narration: 3s", f"    {scene or 'crossfade: 0f'}", "    clips:"]
    lines += [f"      - prompt: {json.dumps(text or SHORT)}", "        id: a"]
    (tmp_path / "project.yaml").write_text("\n".join(lines) + "\n")
    for verb in ("plan", "build --animatic"):
        code, output = worker.run(*verb.split(), "-p", str(tmp_path))
        assert code == 2, output
        assert f"project.yaml:{at}: error: " in output
        assert message in output
        assert "→ " in output
        assert len(output) < 2000, "a line that is quoted is clipped"


def test_a_narration_of_one_endless_word_is_refused_at_its_place(film: Film) -> None:
    film.edit("narration: 6s", f'narration: {{ text: "{WORD}" }}')
    ran = film.run("plan")
    assert ran.code == 2
    assert "project.yaml:9:24: error: " in ran.err


def test_prompts_that_all_name_a_long_variable_are_bounded_together(film: Film, worker: Worker) -> None:
    text = film_text({f"s{scene}": ["a"] for scene in range(4000)}, "3s", vars={"a": "x" * 15_000})
    film.file.write_text(text.replace("A ", "{{ a }} A "))
    code, output = worker.run("plan", "-p", str(film.folder))
    assert code == 2, output
    assert "the prompts of the film have more than 50000000 characters" in output


@pytest.mark.parametrize("size", [(79_000_000, 1), (1, 79_000_000), (70_000, 2)])
def test_a_picture_of_no_shape_is_refused_where_it_is_named(film: Film, worker: Worker, size: tuple[int, int]) -> None:
    Image.MAX_IMAGE_PIXELS, before = None, Image.MAX_IMAGE_PIXELS
    try:
        Image.new("1", size).save(film.folder / "odd.png")
    finally:
        Image.MAX_IMAGE_PIXELS = before
    film.edit("      - id: a\n", "      - id: a\n        reference: odd.png\n")
    code, output = worker.run("plan", "-p", str(film.folder))
    assert code == 2, output
    assert f'project.yaml:12:20: error: "odd.png" is {size[0]}x{size[1]} px; at most 65535 px a side are read' in output


def test_further_problems_are_counted(film: Film) -> None:
    clips = "".join(f"      - {{id: c{n}, promt: x}}\n" for n in range(900))
    film.edit("    clips:\n", f"    clips:\n{clips}")
    ran = film.run("plan")
    assert ran.code == 2
    assert "more problems follow [S100]" in ran.err
    assert ran.err.count("error: ") == 3  # of 101 alike the first is printed, with the number of the others


# --- what grows with what


def measured(limit: int, act: Any) -> int:
    """Count the lines of Python an act runs, up to `limit`: a measure of work that does not depend on load."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        assert count < limit, "it does not end"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


LIMITS = Limits(97, 257, 121, 161, 497, 48)


@pytest.mark.parametrize("need", [10**4, 10**6, 10**9])
def test_lengths_of_a_short_text_take_no_longer_for_large_numbers(need: int) -> None:
    def act() -> None:
        with pytest.raises(LengthConflict, match="of the"):
            solve(need, [LengthRequest("a"), LengthRequest("b")], 12, LIMITS)
        assert suggest(need, 12, LIMITS) == () or need == 10**4

    assert measured(20_000, act) < 20_000


def test_lengths_of_many_clips_take_linear_time() -> None:
    def work(clips: int) -> int:
        asks = [LengthRequest(str(number)) for number in range(clips)]
        return measured(10**7, lambda: solve(clips * 150, asks, 12, LIMITS))

    assert work(400) < 3 * work(200)  # it was four times as much: every frame asked every clip


@given(need=st.integers(0, 4000), clips=st.integers(1, 9), crossfade=st.integers(0, 40))
@example(need=315, clips=3, crossfade=12)
def test_the_shortest_clip_grows_first(need: int, clips: int, crossfade: int) -> None:
    """Compute the lengths by their definition, checking every clip each time."""
    try:
        found = solve(need, [LengthRequest(str(number)) for number in range(clips)], crossfade, LIMITS)
    except LengthConflict:
        return
    lengths, goal = [97] * clips, need + (clips - 1) * crossfade
    while need and sum(lengths) < goal:
        lengths[lengths.index(min(lengths))] += 8
    assert need == 0 or found.frames == tuple(lengths)


def test_a_text_is_measured_only_as_far_as_its_box_shows_it() -> None:
    def work(length: int) -> int:
        return measured(10**7, lambda: fitted("w" * length, 200, 60, range(14, 9, -1), 1.4))

    work(100)  # letters are measured once
    assert work(40_000) < 3 * work(20_000)


@given(text=st.text("abc  wé漢字-", max_size=80), width=st.integers(5, 200), most=st.integers(1, 6))
def test_the_first_lines_are_those_of_the_whole_text(text: str, width: int, most: int) -> None:
    style = Style(12)
    assert wrapped(text, width, style, most)[:most] == wrapped(text, width, style)[:most]
