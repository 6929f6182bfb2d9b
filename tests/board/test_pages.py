"""Pages that everybody can use, prompts edited on them, and commands that they start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fakes.comfyui import FakeComfy
from harness.browser import board, until
from harness.film import Film, film_text
from harness.studio import Studio
from playwright.sync_api import Browser, Page, expect

SERIOUS = ("serious", "critical")


def faults(page: Page) -> list[str]:
    """Return what axe-core finds against WCAG 2.2 AA that keeps people out."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).response
    return [
        f"{fault['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in SERIOUS
        for node in fault["nodes"][:2]
    ]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_keeps_people_out(film: Film, chromium: Browser, look: str) -> None:
    film.edit("turns in a heavy", "spins in a heavy")
    with board(film) as served:
        page = served.page(chromium, color_scheme=look, bypass_csp=True)
        for path in ("/", "/clip/hook/a", "/play", "/build", "/plan"):
            served.show(page, path)
            assert not faults(page), path
        page.get_by_role("button", name="Settings").click()
        assert not faults(page)


def test_a_phone_scrolls_only_downwards(film: Film, chromium: Browser) -> None:
    with board(film) as served:
        page = served.page(chromium, viewport={"width": 320, "height": 640})
        for path in ("/", "/clip/hook/a", "/play", "/build", "/plan"):
            served.show(page, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path


def test_a_prompt_is_edited_in_its_file_and_comments_stay(film: Film, chromium: Browser) -> None:
    film.write_data(film_text({"hook": ["a", "b"], "end": ["a"]}, {"hook": "6s", "end": "3s"}))
    film.edit("    clips:\n", "    clips: # of the hook\n").edit('prompt: "A', '# the first words\n        prompt: "A')
    before = film.file.read_text()
    with board(film) as served:
        page = served.page(chromium, "/clip/hook/a")
        words = page.get_by_role("textbox", name="text")
        old = words.input_value()
        words.fill(old.replace("turns", "breathes") + " He is sad, and he feels lost")
        expect(page.locator(".part-problems")).to_contain_text("P1")  # lint, as one types
        words.fill(old.replace("turns", "spins"))
        page.get_by_role("button", name="Save to the file").click()
        expect(page.locator(".heads")).to_contain_text("stale")  # the plan follows
        expect(page.locator(".diff ins").first).to_have_text("spins")
        assert film.file.read_text() == before.replace("turns", "spins", 1)

        film.file.write_text(film.file.read_text().replace("spins", "rolls"))  # an editor saves, too
        expect(words).to_have_value(old.replace("turns", "rolls"))
        words.fill(old.replace("turns", "jumps"))
        film.file.write_text(film.file.read_text().replace("rolls", "slides"))
        expect(page.locator("#toasts")).to_contain_text("the prompt of hook/a was edited")
        page.get_by_role("button", name="Save to the file").click()
        expect(page.locator(".part-problems")).to_contain_text("changed since this page was drawn")
        assert "slides" in film.file.read_text()
        expect(words).to_have_value(old.replace("turns", "jumps"))  # what was typed stays


def test_a_film_with_an_error_is_shown_as_it_was(film: Film, chromium: Browser) -> None:
    with board(film) as served:
        page = served.page(chromium)
        text = film.file.read_text()
        film.file.write_text(text.replace("clips:", "clibs:", 1))
        expect(page.locator("#problems")).to_contain_text("clibs")
        expect(page.locator("#clip-hook--a")).to_be_visible()
        film.file.write_text(text)
        expect(page.locator("#problems .notice")).to_have_count(0)


def test_actions_show_their_command_and_outlive_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser
) -> None:
    """A build that a page starts ends even if the board dies; one that is cancelled keeps what is finished."""
    studio = Studio.at(tmp_path).move_in(monkeypatch).write("a", "b")
    with FakeComfy(seconds=1.0) as server:
        server.hold()
        with board(studio, "--server", server.url) as served:
            page = served.page(chromium, "/clip/s/a")
            button = page.get_by_role("button", name="Render this clip")
            assert "ltxflow build s/a --yes" in button.locator("xpath=..").inner_text()
            button.click()
            expect(page.locator("#ask")).to_contain_text("ltxflow build s/a --yes")
            page.locator("#ask-yes").click()
            expect(page.locator("#run")).to_be_visible()
            page.get_by_role("button", name="Cancel").click()
            page.locator("#ask-yes").click()
            expect(page.locator("#run")).to_be_hidden()
            page.get_by_role("button", name="Render this clip").click()
            page.locator("#ask-yes").click()
            expect(page.locator("#run")).to_be_visible()
            served.is_killed = True
            served.process.kill()
            server.set_speed(50)
            server.go()
            until(page, lambda: bool(studio.films), "the build ended with the board")
            served.errors.clear()  # of a page without its board


def test_the_report_opens_from_a_file_without_a_network(film: Film, chromium: Browser) -> None:
    assert film.run("report").code == 0
    page = chromium.new_context(offline=True).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((film.folder / ".ltxflow/report.html").resolve().as_uri())
    expect(page.locator("article")).to_have_count(3)
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    until(page, lambda: page.evaluate("[...document.images].every(i => i.naturalWidth > 0)"))


def test_500_clips_are_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser) -> None:
    """An update touches one card: no other element is drawn again."""
    film = Film.at(tmp_path).move_in(monkeypatch)
    film.write({f"s{n}": list("abcde") for n in range(100)}, narration="20s")
    with board(film) as served:
        page = served.page(chromium)
        assert page.locator(".clip").count() == 500
        page.evaluate(
            """() => {
              window.changed = new Set();
              const name = (node) => (node.closest ? node : node.parentElement).closest(".clip, #head")?.id;
              const all = { subtree: true, childList: true, attributes: true, characterData: true };
              new MutationObserver((found) => found.forEach(({ target }) => changed.add(name(target))))
                .observe(document.querySelector("main"), all);
            }"""
        )
        film.edit("turns in a heavy", "spins in a heavy")
        expect(page.locator("#toasts")).to_contain_text("the prompt of s0/a was edited")
        assert set(page.evaluate("[...changed]")) <= {"clip-s0--a", "head"}
        assert json.loads(page.evaluate("JSON.stringify(ltxflow.updates())"))
