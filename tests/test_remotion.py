"""The starter as people use it: npm install, types, a real render in a browser, looked at frame by frame.

Run by `make test-remotion`: needs node, npm and a browser (CHROME_PATH, or Debian's chromium-headless-shell).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import websockets
from harness.command import command
from harness.film import film_text
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media.slate import read_frame_number

pytestmark = pytest.mark.remotion

SIZE = (192, 128)
ONSET_SECONDS = 0.5  # of the voice, in its file
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")


@dataclass(frozen=True)
class Starter:
    """A film that is built and conformed, and the starter of it, installed."""

    film: Path
    env: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.film / "remotion"

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.film / "public/scenes/timeline.json").read_text())
        return told

    def ltxflow(self, *argv: str) -> None:
        line = command(*argv, "-p", str(self.film), setup="")  # its slates are real
        done = subprocess.run(line, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def npx(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["npx", "--no-install", *argv], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )

    def render(self, out: str, **props: object) -> Path:
        done = self.npx("remotion", "render", "Film", out, f"--props={json.dumps(props)}", "--log=error")
        assert done.returncode == 0, done.stdout + done.stderr
        return self.folder / out


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Two scenes: three clips with dissolves and a voice, then one clip."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    browser = os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if missing or browser is None:
        pytest.fail(f"missing: {', '.join([*missing, *([] if browser else ['a browser (set CHROME_PATH)'])])}")
    root = tmp_path_factory.mktemp("remotion")
    made = Starter(root / "film", {**os.environ, "LTXFLOW_STORE": str(root / "store"), "CHROME_PATH": str(browser)})
    made.film.mkdir()
    _write_voice(made.film / "voice.wav")
    words = '{ file: voice.wav, text: "Every coin has one key." }'
    text = film_text({"hook": ["a", "b", "c"], "end": ["a"]}, {"hook": words, "end": "2s"}, size="192x128")
    text = text.replace("  - id: hook\n", "  - id: hook\n    pad: { head: 0.2s, tail: 1s }\n")
    text = text.replace("      - id: a\n", "      - id: a\n        length: 49f\n", 1)
    text = text.replace("      - id: b\n", "      - id: b\n        length: 57f\n", 1)
    (made.film / "project.yaml").write_text(text)
    made.ltxflow("build", "--animatic")
    made.ltxflow("conform")
    made.ltxflow("export", "remotion", str(made.folder))
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=made.folder,
        env=made.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made


def _write_voice(path: Path) -> None:
    times = np.arange(int(4.0 * 16000)) / 16000
    samples = np.where(times < ONSET_SECONDS, 0, 0.3 * np.sin(2 * np.pi * 330 * times))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def rendered(starter: Starter) -> Path:
    return starter.render("out/film.mp4", showTitles=False, showCaptions=False)


def pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def promised(told: dict[str, Any]) -> dict[int, int]:
    """Every frame of the film that is not in a dissolve → the frame of the source that belongs there."""
    found = {}
    for scene in told["scenes"]:
        ends = [clip["transition"] for clip in scene["clips"][1:]] + [None]
        for clip, after in zip(scene["clips"], ends, strict=True):
            first = (clip["transition"] or {}).get("durationInFrames", 0)
            last = clip["durationInFrames"] - (after or {}).get("durationInFrames", 0)
            found |= {clip["absoluteFrom"] + at: clip["trimStart"] + at for at in range(first, last)}
    return found


def number(picture: NDArray[np.uint8]) -> int | None:
    try:
        return read_frame_number(picture, SIZE)
    except LtxflowError:
        return None


def test_the_types_compile(starter: Starter) -> None:
    done = starter.npx("tsc", "--noEmit")
    assert done.returncode == 0, done.stdout


def test_every_frame_shows_the_promised_frame_of_its_source(starter: Starter, rendered: Path) -> None:
    told = starter.told
    assert sum(clip["transition"] is not None for clip in told["scenes"][0]["clips"]) == 2
    with av.open(str(rendered)) as container:
        video = container.streams.video[0]
        assert (video.frames, video.average_rate) == (told["durationInFrames"], told["fps"])
        assert (video.width, video.height) == SIZE
        assert video.codec_context.colorspace == 1  # bt709
    shown = [number(picture) for picture in pictures(rendered)]
    wanted = promised(told)
    assert len(wanted) == told["durationInFrames"] - 24
    assert {at: shown[at] for at in wanted} == wanted


def test_it_agrees_with_the_conformed_film_frame_by_frame(starter: Starter, rendered: Path) -> None:
    differences = [
        float(np.abs(ours.astype(int) - theirs.astype(int)).mean())
        for ours, theirs in zip(pictures(rendered), pictures(starter.film / "public/film.mp4"), strict=True)
    ]
    assert len(differences) == starter.told["durationInFrames"]
    assert max(differences) < 4  # of 255: two encoders; another frame of a dissolve differs by more


def test_the_narration_is_heard_where_the_timeline_says(starter: Starter) -> None:
    # as wav: Remotion's AAC is late by its encoder's 2048 samples, which its mp4 does not tell players
    out = starter.folder / "out/film.wav"
    done = starter.npx("remotion", "render", "Film", str(out), "--codec=wav", "--log=error")
    assert done.returncode == 0, done.stdout + done.stderr
    with av.open(str(out)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        blocks = [made.to_ndarray()[0] for frame in container.decode(audio=0) for made in resampler.resample(frame)]
    sound = np.concatenate(blocks)
    loud = np.flatnonzero(np.abs(sound) > 0.2)  # the slates' own notes stay below
    wanted = starter.told["scenes"][0]["narration"]["startFrame"] / 25 + ONSET_SECONDS
    assert loud[0] / rate == pytest.approx(wanted, abs=0.003)
    assert len(sound) / rate == pytest.approx(starter.told["durationInFrames"] / 25, abs=0.003)


def test_sound_is_handed_over_in_a_crossfade_and_makes_way_for_the_narration(starter: Starter) -> None:
    done = starter.npx("esbuild", "src/sound.ts", "--format=cjs", "--outfile=out/sound.cjs", "--log-level=error")
    assert done.returncode == 0, done.stderr
    script = """
const {clipVolume} = require("./out/sound.cjs");
const told = JSON.parse(require("fs").readFileSync("../public/scenes/timeline.json"));
const volumes = (scene, duckDb) => scene.clips.map((clip, index) =>
  Array.from({length: clip.durationInFrames}, (_, f) => clipVolume(scene, index, f, told.fps, {soundDb: 0, duckDb})));
console.log(JSON.stringify([volumes(told.scenes[0], 0), volumes(told.scenes[0], -12)]));
"""
    ran = subprocess.run(["node", "-e", script], cwd=starter.folder, capture_output=True, text=True, check=True)
    plain, ducked = json.loads(ran.stdout)
    scene = starter.told["scenes"][0]

    def heard(volumes: list[list[float]]) -> NDArray[np.float64]:
        total = np.zeros(scene["durationInFrames"])
        for clip, levels in zip(scene["clips"], volumes, strict=True):
            total[clip["from"] : clip["from"] + len(levels)] += levels
        return total

    assert heard(plain) == pytest.approx(np.ones(scene["durationInFrames"]))
    first, second = scene["clips"][:2]
    fade = second["transition"]["durationInFrames"]
    assert plain[1][:fade] == pytest.approx([at / fade for at in range(fade)])
    assert plain[0][-fade:] == pytest.approx([1 - at / fade for at in range(fade)])
    spoken = scene["narration"]
    end = spoken["startFrame"] + spoken["durationInFrames"]
    assert heard(ducked)[spoken["startFrame"] : end] == pytest.approx(10 ** (-12 / 20))
    assert heard(ducked)[-1] > 0.9
    assert first["from"] == 0


def test_words_are_drawn_over_the_picture(starter: Starter, rendered: Path) -> None:
    spoken = starter.told["scenes"][0]["narration"]
    at = spoken["startFrame"] + 20
    done = starter.npx("remotion", "still", "Film", "out/words.png", f"--frame={at}", "--log=error")
    assert done.returncode == 0, done.stdout + done.stderr
    with av.open(str(starter.folder / "out/words.png")) as container:
        (words,) = (frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0))
    plain = next(picture for index, picture in enumerate(pictures(rendered)) if index == at).astype(int)
    changed = np.abs(words - plain).max(axis=2) > 60
    band = slice(round(SIZE[1] * 0.75), round(SIZE[1] * 0.92))
    assert changed[band].mean() > 0.03
    assert changed[: SIZE[1] // 2].mean() < 0.01


def test_a_clip_that_is_not_final_is_labelled_on_request(starter: Starter) -> None:
    def drawn(out: str, **props: object) -> NDArray[np.int64]:
        props = {"showTitles": False, "showCaptions": False, **props}
        done = starter.npx("remotion", "still", "Film", out, "--frame=5", f"--props={json.dumps(props)}", "--log=error")
        assert done.returncode == 0, done.stdout + done.stderr
        with av.open(str(starter.folder / out)) as container:
            (picture,) = (frame.to_ndarray(format="rgb24").astype(np.int64) for frame in container.decode(video=0))
        return picture

    changed = np.abs(drawn("out/plain.png") - drawn("out/label.png", showStates=True)).max(axis=2) > 60
    assert changed[: SIZE[1] // 10, : SIZE[0] // 2].mean() > 0.03  # "hook/a (slate)" in a corner
    assert changed[SIZE[1] // 5 :].mean() < 0.01


def test_a_film_that_is_not_whole_is_refused_with_what_to_do(starter: Starter) -> None:
    path = starter.film / "public/scenes/timeline.json"
    whole = path.read_text()
    told = json.loads(whole)
    told["complete"] = False
    told["scenes"][1]["clips"][0]["src"] = None
    try:
        path.write_text(json.dumps(told))
        done = starter.npx("remotion", "still", "Film", "out/gap.png", "--log=error")
        assert done.returncode == 1
        assert 'scenes/timeline.json is not complete: run "ltxflow build"' in done.stdout + done.stderr
        at = f"--frame={told['durationInFrames'] - 5}"
        done = starter.npx("remotion", "still", "Film", "out/gap.png", at, '--props={"allowGaps": true}', "--log=error")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        path.write_text(whole)


# --- Studio


def test_studio_shows_what_a_build_has_replaced(starter: Starter) -> None:
    port = free_port()
    argv = ["npx", "--no-install", "remotion", "studio", "--no-open", f"--port={port}"]
    with running(argv, starter) as studio, running(browser_argv(starter), starter) as browser:
        said(studio, r"Built in", 120)
        place = said(browser, r"DevTools listening on ws://([^/]+)/", 60)[1]
        asyncio.run(look_on(starter, place, f"http://localhost:{port}/Film"))


async def look_on(starter: Starter, place: str, url: str) -> None:
    """Open Studio, build an edit of the film while it is open, and see title, length and clip change in the page."""
    with urllib.request.urlopen(f"http://{place}/json/list") as answer:
        tab = next(each for each in json.load(answer) if each["type"] == "page")
    async with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None) as socket_:
        page = Page(socket_)
        await page.call("Page.navigate", url=url)
        shown = "[document.body.innerText, [...document.querySelectorAll('video')].map(v => v.currentSrc).join(' ')]"
        _, before = await page.until(shown, lambda seen: "TransitionSeries" in seen[0] and "scene-0-a.mp4" in seen[1])
        film = starter.film / "project.yaml"
        old = film.read_text()
        text = old.replace("  - id: hook\n", "  - id: hook\n    title: Another title\n", 1).replace("turns", "spins", 1)
        try:
            film.write_text(text)
            await asyncio.to_thread(starter.ltxflow, "build", "--animatic")
            _, after = await page.until(shown, lambda seen: "Another title" in seen[0] and seen[1] != before)
            assert re.search(r"scene-0-a\.mp4\?v=\d+", after)
        finally:
            film.write_text(old)
            await asyncio.to_thread(starter.ltxflow, "build", "--animatic")


class Page:
    """A browser's tab, by its DevTools protocol."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.number = connection, 0

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        self.number += 1
        await self.connection.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            told: dict[str, Any] = json.loads(await self.connection.recv())
            if told.get("id") == self.number:
                return told.get("result", {})

    async def until(self, expression: str, holds: Callable[[Any], bool], seconds: float = 90) -> Any:
        """Ask the page again and again until its answer is as wanted."""
        end = time.monotonic() + seconds
        while True:
            told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            value = told.get("result", {}).get("value")
            if value and holds(value):
                return value
            assert time.monotonic() < end, f"the page shows {value}"
            await asyncio.sleep(0.25)


def browser_argv(starter: Starter) -> list[str]:
    profile = starter.film.parent / "browser"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    return [starter.env["CHROME_PATH"], *options, "about:blank"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def running(argv: list[str], starter: Starter) -> Iterator[Path]:
    """A program beside the test, ended with all it started; what it says is in the file."""
    log = starter.film.parent / f"{Path(argv[0]).name}.log"
    with log.open("wb") as out:
        program = subprocess.Popen(
            argv, cwd=starter.folder, env=starter.env, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield log
        finally:
            os.killpg(program.pid, signal.SIGTERM)
            program.wait(timeout=30)


def said(log: Path, pattern: str, seconds: float) -> re.Match[str]:
    """Wait until a program says something."""
    end = time.monotonic() + seconds
    while (found := re.search(pattern, log.read_text(errors="replace"))) is None:
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)
    return found
