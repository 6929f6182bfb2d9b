"""The pictures of the board in README and docs: a film in the middle of its work, as a person would see it.

LTXFLOW_TEST_SCREENSHOTS=$PWD/docs/images python -m pytest tests/board/test_screenshots.py -n 0
"""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from fakes.comfyui import FakeComfy
from harness.browser import board, until
from harness.film import Film
from harness.studio import Studio
from PIL import Image
from playwright.sync_api import Browser, expect

from ltxflow.core.digest import Output
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps import step
from ltxflow.store.traces import Trace

REFS = Path(__file__).parents[2] / "projects/wallet-explainer/refs"
SIZE, FPS, FRAMES = (768, 448), 25, 97
WHERE = os.environ.get("LTXFLOW_TEST_SCREENSHOTS", "")

FILM = f"""\
ltxflow: 1
id: wallet
title: Your keys, your coins
size: {SIZE[0]}x{SIZE[1]}
fps: {FPS}
seed: 3
scenes:
"""
SCENES = {
    "hook": ("One secret", {"a": "vault", "b": "key", "c": "network"}),
    "words": ("Twelve words", {"a": "card", "b": "steel", "c": "hook"}),
    "outro": ("Yours alone", {"a": "key", "b": "vault"}),
}
PROMPTS = {
    "vault": "The camera pushes slowly toward the keyhole of a vault door while its outer ring turns clockwise",
    "key": "The camera orbits a key of luminous blue glass to the right while its heart pulses and dust drifts",
    "network": "Golden light travels from node to node through a dark network while the camera glides past the cubes",
    "card": "A hand writes the last of twelve words on a card of thick paper while the camera lowers over the desk",
    "steel": "Sparks fly off a plate of brushed steel while letters are stamped into it and the camera slides left",
    "hook": "A fisherman's hook of bent metal sinks through murky green water while the camera follows it down",
}


def film_text() -> str:
    lines = []
    for scene, (title, clips) in SCENES.items():
        lines += [f"  - id: {scene}", f"    title: {title}", "    clips:"]
        for id, ref in clips.items():
            takes = "takes: 3, " if (scene, id) == ("hook", "b") else ""
            words = f'prompt: "{PROMPTS[ref]}; a low hum grows."'
            lines.append(f"      - {{ id: {id}, length: {FRAMES}f, {takes}reference: refs/{ref}.png, {words} }}")
    return FILM + "\n".join(lines) + "\n"


@cache
def moved(ref: str, variant: int) -> bytes:
    """Return a clip that moves over a picture: a render that is worth a look."""
    picture = Image.open(REFS / f"{ref}.png").convert("RGB")
    path = Path(os.environ["PYTEST_TMP"]) / f"{ref}-{variant}.mp4"
    width, height = picture.size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(FRAMES):
            share = 0.62 + 0.3 * (number if variant % 2 else FRAMES - number) / FRAMES
            w, h = width * share, width * share * SIZE[1] / SIZE[0]
            x = (width - w) * (0.5 + 0.35 * (variant - 2) * number / FRAMES)
            y = max(0.0, (height - h) / 2)
            shown = picture.resize(SIZE, box=(x, y, min(width, x + w), min(height, y + h)))
            frame = VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        hum = np.sin(np.arange(48000 * FRAMES // FPS) * 0.02).astype(np.float32)[None] * 0.2
        for at in range(0, hum.shape[1], 1024):
            block = AudioFrame.from_ndarray(np.ascontiguousarray(hum[:, at : at + 1024]), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 48000, at, Fraction(1, 48000)
            container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path.read_bytes()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Five clips are rendered; one of them has an edited prompt since, one is approved, one has three takes."""
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))
    film = Film.at(tmp_path).move_in(monkeypatch)
    film.folder.mkdir(parents=True)
    shutil.copytree(REFS, film.folder / "refs")
    film.file.write_text(film_text())
    assert film.run("build", "--animatic").code == 0
    session = film.session()
    for status in session.plan(PlanOptions()).statuses.values():
        node = status.node
        if node.clip.startswith("outro") or node.clip == "words/c" or status.action is None or status.key is None:
            continue
        ref = SCENES[node.clip.partition("/")[0]][1][node.clip.partition("/")[2]]
        outputs = {}
        with session.store.scratch() as folder:
            for name in status.action.outputs:
                file = folder / name
                data = moved(ref, node.take) if name in ("video", "published") else b"a frame"
                file.write_bytes(data)
                facts = probe_mp4(file).as_json() if name in ("video", "published") else {}
                outputs[name] = Output(session.store.cas.put(file, move=True), facts, len(data))
        times = {"queued": 1.0, "load": 4.0, "sampling": 31.0 + 3 * node.take, "decode": 5.0, "download": 0.6}
        made = Trace(
            status.key,
            status.action.as_json(),
            outputs,
            node.target,
            step(node.kind).fields(node),
            source="comfyui",
            server="http://gpu-a:8188",
            seconds={**times, "ran": 40.0},
            made_at="2026-01-02T03:04:05+00:00",
        )
        session.store.record(made)
    session.store.close()
    clips = ("hook/a", "hook/b", "hook/c", "words/a", "words/b")
    assert film.run("build", *clips).code in (0, 1)
    assert film.run("approve", "hook/a").code == 0
    film.edit("thick paper while", "thick yellowed paper while")
    monkeypatch.chdir(film.folder)
    return film


def test_they_are_made(work: Film, chromium: Browser, tmp_path: Path) -> None:
    folder = Path(WHERE) if WHERE else tmp_path / "pictures"
    folder.mkdir(exist_ok=True)
    with FakeComfy(seconds=30.0) as server, board(work) as served:
        page = served.page(chromium, viewport={"width": 1360, "height": 860}, device_scale_factor=1)
        studio = Studio(work.folder, work.store, work.config)
        building = studio.start(server, args=("outro", "words/c"))
        expect(page.locator("[data-state='rendering']")).to_have_count(1)
        expect(page.locator("[data-state='rendering'] .step")).to_contain_text("step")
        until(page, lambda: page.evaluate("[...document.images].every(i => i.complete || i.loading === 'lazy')"))
        page.locator("#toasts").evaluate("e => e.replaceChildren()")
        page.screenshot(path=folder / "board.png")
        states = page.locator(".clip").evaluate_all("all => all.map(clip => clip.dataset.state)")
        assert {"final", "stale", "rendering", "queued"} <= set(states)
        page.emulate_media(color_scheme="dark")
        served.show(page, "/clip/hook/b")
        page.locator("#take-at").fill("15")
        ready = "[...document.querySelectorAll('.take video')].every(v => !v.seeking && v.readyState >= 2)"
        until(page, lambda: page.evaluate(ready))
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=folder / "board-clip.png")
        building.terminate()
        building.communicate(timeout=30)
        for name in ("board.png", "board-clip.png"):
            picture = Image.open(folder / name).convert("RGB")
            assert np.asarray(picture).std() > 20
            picture.save(folder / name.replace("png", "jpg"), quality=88, subsampling=0, optimize=True)
            (folder / name).unlink()
