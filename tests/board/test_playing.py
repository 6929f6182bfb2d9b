"""What plays on the board is what the timeline says, to the frame: slates carry their frame's number in the picture."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.browser import board, until
from harness.film import Film, film_text
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from ltxflow.media.slate import read_frame_number

SIZE = (320, 192)
PICTURE = """(selector) => {
  const video = typeof selector === "string" ? document.querySelector(selector) : selector;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/png");
}"""
LAYERS = """async (frame) => {
  player.seek(frame);
  const settled = () => player.layers().every((layer) => layer.ready >= 2 && !layer.isSeeking);
  for (let i = 0; i < 400 && !settled(); i++) await new Promise((done) => setTimeout(done, 10));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return player.layers();
}"""


def picture(page: Page, selector: str) -> Any:
    data = base64.b64decode(page.evaluate(PICTURE, selector).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def slates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Three clips as real slates; the first two dissolve for 12 frames."""
    made = Film.at(tmp_path).move_in(monkeypatch)
    size = "{}x{}".format(*SIZE)
    made.write_data(film_text({"hook": ["a", "b"], "end": ["a"]}, {"hook": "5s", "end": "2s"}, size=size))
    assert made.run("build", "--animatic").code == 0
    return made


def shown_frames(page: Page, frame: int) -> dict[str, tuple[float, int]]:
    """Return what is seen at a frame of the film: clip → its opacity, and the number in its picture."""
    found = page.evaluate(LAYERS, frame)
    numbers = {}
    for index in range(3):
        path = next((layer["path"] for layer in found if layer["layer"] == index), None)
        if path is not None:
            numbers[path] = read_frame_number(picture(page, f"#layer-{index}"), SIZE)
    return {layer["path"]: (layer["opacity"], numbers[layer["path"]]) for layer in found}


def wanted_frames(timeline: dict[str, Any], frame: int) -> dict[str, tuple[float, int]]:
    found = {}
    for scene in timeline["scenes"]:
        for clip in scene["clips"]:
            local = frame - clip["absoluteFrom"]
            if 0 <= local < clip["durationInFrames"]:
                fade = clip["transition"]["durationInFrames"] if clip["transition"] else 0
                share = 1.0 if not found or not fade else min(1.0, local / fade)
                if share:
                    found[f"{scene['id']}/{clip['id']}"] = (share, local + clip["trimStart"])
    return found


def test_the_player_shows_the_timelines_frames(slates: Film, chromium: Browser) -> None:
    timeline = slates.timeline
    fade = timeline["scenes"][0]["clips"][1]
    assert fade["transition"]["durationInFrames"] == 12
    start, last = fade["absoluteFrom"], timeline["durationInFrames"] - 1
    second = timeline["scenes"][1]["from"]
    with board(slates) as served:
        page = served.page(chromium, "/play")
        expect(page.locator("#p-clips button")).to_have_count(3)
        for frame in (
            0,
            1,
            37,
            start - 1,
            start,
            start + 1,
            start + 6,
            start + 11,
            start + 12,
            second - 1,
            second,
            last,
        ):
            found, wanted = shown_frames(page, frame), wanted_frames(timeline, frame)
            assert found.keys() == wanted.keys(), frame
            for path, (share, number) in wanted.items():
                assert found[path] == (pytest.approx(share, abs=0.01), number), (frame, path)
        expect(page.locator("#p-clip")).to_contain_text("end/a")
        page.locator("#p-clips button", has_text="hook/b").click()
        assert page.evaluate("player.frame()") == start
        page.keyboard.press(".")
        page.keyboard.press(".")
        page.keyboard.press(",")
        assert page.evaluate("player.frame()") == start + 1
        page.evaluate("player.seek(20)")
        page.keyboard.press("l")
        until(page, lambda: page.evaluate("player.frame() > 45"))
        page.keyboard.press("k")
        stopped = page.evaluate("player.frame()")
        assert shown_frames(page, stopped) == {"hook/a": (1.0, stopped)}
        page.evaluate(f"player.seek({start - 15})")
        page.keyboard.press("l")
        until(page, lambda: page.evaluate(f"player.frame() > {start + 14}"))  # through the dissolve
        page.keyboard.press("k")
        stopped = page.evaluate("player.frame()")
        assert shown_frames(page, stopped) == {"hook/b": (1.0, stopped - start)}
        page.keyboard.press("j")
        until(page, lambda: page.evaluate(f"player.frame() < {stopped - 5}"))
        page.keyboard.press("k")


def test_captions_are_shown_and_a_clip_that_is_not_made_is_a_card(film: Film, chromium: Browser) -> None:
    (film.scenes / "scene-1-a.mp4").unlink()
    data = film.timeline
    data["scenes"][1]["clips"][0] |= {"src": None, "sha256": None, "source": None, "poster": None}
    data["captions"] = {"srt": "captions/film.srt", "vtt": "captions/film.vtt"}
    words = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nIt is <i>one</i> secret.\n"
    with board(film) as served:
        page = served.page(chromium)
        page.route("**/timeline.json", lambda route: route.fulfill(json=data))
        page.route("**/captions/film.vtt*", lambda route: route.fulfill(body=words, content_type="text/vtt"))
        served.show(page, "/play#30")
        expect(page.locator("#caption")).to_have_text("It is one secret.")
        page.get_by_role("button", name="Captions").click()
        expect(page.locator("#caption")).to_be_hidden()
        page.locator("#p-clips button", has_text="end/a").click()
        expect(page.locator("#slate")).to_have_text("end/a is not made yet")


def test_takes_really_play_in_step_and_can_be_wiped(film: Film, chromium: Browser) -> None:
    with board(film) as served:
        page = served.page(chromium, "/clip/hook/a")
        page.locator("#take-at").fill("40")
        until(
            page,
            lambda: page.evaluate(
                "[...document.querySelectorAll('.take video')].every(v => !v.seeking && v.readyState >= 2)"
            ),
        )
        assert picture(page, "#video-1").mean() > 20
        page.get_by_role("button", name="Play", exact=True).click()
        until(page, lambda: page.evaluate("document.querySelector('#video-1').currentTime > 2"))
        times = page.evaluate("[...document.querySelectorAll('.take video')].map(v => v.currentTime)")
        assert abs(times[0] - times[1]) < 0.2
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("radio", name="Take 2").check()
        page.get_by_role("button", name="Wipe").click()
        page.locator("#wipe-at").fill("25")
        assert page.locator("#wipe-b").evaluate("v => v.style.clipPath") == "inset(0px 0px 0px 25%)"
        assert page.locator("#wipe-b-name").inner_text() == "2"
        served.show(page, "/")
        page.locator("#clip-hook--b .still").focus()
        page.keyboard.press(" ")
        until(page, lambda: page.evaluate("document.querySelector('#clip-hook--b video')?.currentTime > 0.2"))
        page.keyboard.press(" ")
        expect(page.locator("#clip-hook--b video")).to_have_count(0)
