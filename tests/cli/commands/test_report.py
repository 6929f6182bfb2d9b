"""`ltxflow report`: one page that opens from a folder, with all that is known of every clip."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from harness.browser import browser
from harness.film import Film

from ltxflow.ui.terminal import size

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")


def page_of(film: Film) -> Path:
    ran = film.run("report")
    assert ran.code == 0, ran.err
    page = film.folder / ".ltxflow/report.html"
    assert page.resolve().as_uri() in ran.out
    return page


def data_in(page: Path) -> dict[str, Any]:
    """The data as a browser finds it: the text of the first script of that type, up to its first end tag."""
    text = page.read_text()
    start = text.index('<script type="application/json" id="data">')
    data: dict[str, Any] = json.loads(text[text.index(">", start) + 1 : text.index("</script", start)])
    return data


def clips_of(film: Film) -> dict[str, dict[str, Any]]:
    data = data_in(page_of(film))
    return {clip["path"]: clip for scene in data["scenes"] for clip in scene["clips"]}


def test_a_film_that_was_never_built_has_its_prompts(film: Film) -> None:
    clips = clips_of(film)
    assert {clip["state"] for clip in clips.values()} == {"missing"}
    assert list(clips) == ["hook/a", "hook/b", "middle/a", "end/a"]
    assert "for hook-a" in clips["hook/a"]["prompt"]["text"]
    assert clips["hook/a"]["poster"] is None
    assert clips["hook/a"]["video"] is None


def test_every_picture_and_clip_is_found_from_the_page(film: Film) -> None:
    film.build()
    page = page_of(film)
    for clip in clips_of(film).values():
        assert clip["state"] == "slate"
        assert (page.parent / clip["video"]).is_file()
        assert (page.parent / clip["poster"]).is_file()


def test_a_stale_clip_shows_why_word_by_word_and_where(film: Film) -> None:
    film.render()
    film.run("build")
    film.edit("turns in a heavy", "spins in a heavy")
    clips = clips_of(film)
    assert clips["hook/a"]["state"] == "stale"
    assert {clip["state"] for path, clip in clips.items() if path != "hook/a"} == {"final"}
    (reason,) = clips["hook/a"]["why"]
    assert [run for run in reason["runs"] if run[0] != "="] == [["-", "turns"], ["+", "spins"]]
    assert re.search(r"project\.yaml:\d+:\d+$", reason["where"])


def test_a_clip_that_was_never_rendered_waits_for_no_news(film: Film) -> None:
    film.edit("      - id: b\n", "      - id: b\n        extends: a\n").build()
    assert clips_of(film)["hook/b"]["note"] == ""
    film.file.write_text(film.file.read_text().replace("        extends: a\n", ""))
    film.render()
    film.run("build")
    film.edit("      - id: b\n", "      - id: b\n        extends: a\n").edit("turns in a heavy", "spins in a heavy")
    assert clips_of(film)["hook/b"]["note"] == "hook/b ← hook/a: prompt.text changed"


def test_takes_and_a_persons_word_are_reported(film: Film) -> None:
    film.edit("      - id: a\n", "      - id: a\n        takes: 2\n").render()
    film.run("build")
    film.run("reject", "hook/a", "too dark")
    clip = clips_of(film)["hook/a"]
    assert [(take["take"], take["picked"]) for take in clip["takes"]] == [(1, True), (2, False)]
    assert (clip["status"], clip["reason"]) == ("rejected", "too dark")
    assert clip["checks"]  # the canned picture never moves
    assert {check["code"] for check in clip["checks"]} >= {"Q101"}


def test_takes_that_the_film_asks_for_no_more_still_match_their_text(film: Film) -> None:
    film.edit("- id: b\n", "- id: b\n        takes: 3\n")
    film.render()
    film.run("build")
    film.edit("        takes: 3\n", "        takes: 2\n")
    for word in ("takes: 2", "approved"):
        takes = clips_of(film)["hook/b"]["takes"]
        assert [(take["take"], take["matches"]) for take in takes] == [(1, True), (2, True), (3, True)], word
        assert film.run("approve", "hook/b").code == 0
    film.edit("hook-b", "hook b")
    takes = clips_of(film)["hook/b"]["takes"]
    assert [take["matches"] for take in takes] == [False, False, False]


def test_lengths_are_the_timelines(film: Film) -> None:
    film.build()
    data = data_in(page_of(film))
    output = film.timeline
    assert data["film"]["frames"] == output["durationInFrames"]
    for ours, theirs in zip(data["scenes"], output["scenes"], strict=True):
        assert ours["from"] == theirs["from"] / output["fps"]
        assert ours["seconds"] == theirs["durationInFrames"] / output["fps"]
        assert ours["coverage"]["needed"] == theirs["coverage"]["neededFrames"]


class Scripts(HTMLParser):
    """How many scripts a page has, as a browser sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found += tag == "script"


EVIL = "</script><script>document.title='gone'</script><img src=x onerror=alert(1)><!--"


def test_a_prompt_cannot_become_part_of_the_page(film: Film) -> None:
    harmless = Scripts(page_of(film).read_text()).found
    film.edit("A brass" if "A brass" in film.file.read_text() else "A ", EVIL + " A ")
    page = page_of(film)
    assert Scripts(page.read_text()).found == harmless
    texts = [clip["prompt"]["text"] for clip in clips_of(film).values()]
    assert any(EVIL in text for text in texts)


def test_the_page_loads_nothing_from_anywhere(film: Film) -> None:
    text = page_of(film).read_text()
    assert not re.findall(r"(?:src|href)=[\"']?https?:", text)
    assert "@import" not in text


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_draws_it_from_the_folder(film: Film) -> None:
    film.edit("A ", EVIL + " A ")
    film.build()
    page = page_of(film)
    argv = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.resolve().as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("<article") == 4
    assert "<title>Tiny film – storyboard</title>" in done.stdout
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", done.stdout.partition("<main>")[2].partition("<noscript>")[0])


def test_json_is_the_same_data(film: Film) -> None:
    film.build()
    ran = film.run("report", "--json")
    data = data_in(film.folder / ".ltxflow/report.html")
    assert {**ran.data, "film": {}} == {**data, "film": {}, "page": ran.data["page"]}


def test_it_is_not_published_file(film: Film) -> None:
    film.build()
    before = film.published()
    page_of(film)
    assert film.published() == before


# --- one file, to mail


def single(film: Film, *argv: str) -> Path:
    ran = film.run("report", "--single-file", *argv)
    assert ran.code == 0, ran.err
    page = film.folder / ".ltxflow/tiny.html"
    assert f"one file of {size(page.stat().st_size)}" in ran.out
    return page


def test_a_single_file_has_its_images_inside_and_names_no_other(film: Film) -> None:
    film.build()
    page = single(film)
    clips = [clip for scene in data_in(page)["scenes"] for clip in scene["clips"]]
    posters = [(film.public / clip["poster"]).read_bytes() for s in film.timeline["scenes"] for clip in s["clips"]]
    assert [base64.b64decode(clip["poster"].removeprefix("data:image/jpeg;base64,")) for clip in clips] == posters
    assert {clip["video"] for clip in clips} == {None}
    assert "../" not in page.read_text()
    assert str(film.folder) not in page.read_text()


def test_the_clips_can_be_in_it_too(film: Film) -> None:
    film.build()
    page = single(film, "--videos")
    (first, *_) = data_in(page)["scenes"][0]["clips"]
    video = base64.b64decode(first["video"].removeprefix("data:video/mp4;base64,"))
    assert video == (film.scenes / "scene-0-a.mp4").read_bytes()


def test_it_is_written_where_it_is_asked_for(film: Film) -> None:
    film.build()
    for _ in range(2):  # one of ours is replaced
        assert film.run("report", "-o", "for my client.html").code == 0
    assert data_in(Path("for my client.html"))["scenes"][0]["clips"][0]["poster"].startswith("data:image/jpeg;base64,")
    Path("notes.html").write_text("<html>mine</html>")
    ran = film.run("report", "-o", "notes.html")
    assert ran.code == 1
    assert '"notes.html" is not a report of ltxflow; it is left alone [D001]' in ran.err
    assert Path("notes.html").read_text() == "<html>mine</html>"


def test_a_film_that_was_never_built_is_a_single_file_too(film: Film) -> None:
    clips = [clip for scene in data_in(single(film))["scenes"] for clip in scene["clips"]]
    assert {(clip["state"], clip["poster"], clip["video"]) for clip in clips} == {("missing", None, None)}


def test_its_data_has_no_images(film: Film) -> None:
    film.build()
    ran = film.run("report", "--single-file", "--videos", "--json")
    assert ran.data["page"].endswith("tiny.html")
    assert "base64" not in ran.out


def test_a_browser_draws_it_from_anywhere_without_asking_for_a_thing(film: Film, tmp_path: Path) -> None:
    """As a mail's attachment: another folder, the network off. Images are drawn, a clip plays."""
    film.build()
    page = single(film, "--videos")
    moved = tmp_path / "mailed" / "storyboard.html"
    moved.parent.mkdir()
    page.rename(moved)
    film.public.rename(tmp_path / "gone")
    with browser() as chromium:
        tab = chromium.new_context(offline=True).new_page()
        asked: list[str] = []
        faults: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        tab.goto(moved.as_uri())
        tab.wait_for_function("[...document.images].length === 4")
        tab.evaluate("[...document.images].forEach((image) => { image.loading = 'eager' })")
        tab.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        tab.click("article .play >> nth=0")
        tab.wait_for_function("document.querySelector('video').currentTime > 0")
        assert tab.title() == "Tiny film – storyboard"
    assert [url for url in asked if not url.startswith("data:")] == [moved.as_uri()]
    assert faults == []
