"""A film that is built and chosen from while a browser looks at its board."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.browser import board, until
from harness.film import Film, prompt
from harness.studio import Studio
from playwright.sync_api import Browser, expect

EVIL = "</textarea></script><script>document.title='gone'</script><img src=x onerror=\"document.title='gone'\">"


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio.at(tmp_path).move_in(monkeypatch).write("a: takes: 2", "b")


def test_a_build_is_watched_from_queued_to_final_and_chosen_from(studio: Studio, chromium: Browser) -> None:
    """It is started elsewhere; a reload in the middle shows what the page showed; a pick does not wait for it."""
    with FakeComfy(seconds=2.0) as server, board(studio, "--server", server.url) as served:
        server.set_speed(100)
        assert studio.ended(studio.start(server, args=("s/a",)), server).code == 0
        page = served.page(chromium)
        expect(page.locator("#clip-s--a[data-state='final']")).to_be_visible()
        expect(page.locator("#clip-s--b[data-state='missing']")).to_be_visible()
        server.hold()
        building = studio.start(server)
        expect(page.locator("#clip-s--b[data-state='queued']")).to_be_visible()
        expect(page.locator("#run")).to_be_visible()
        expect(page.locator("[data-filter='queued']")).to_be_visible()
        page.reload()
        expect(page.locator("#clip-s--b[data-state='queued']")).to_be_visible()
        served.show(page, "/clip/s/a")
        page.get_by_role("radio", name="Take 2").check()
        page.get_by_role("button", name="Put in the cut").click()
        expect(page.locator("#outcome")).to_contain_text("ltxflow pick s/a@2")
        assert studio.lock.entries["s/a"].pick == 2
        assert building.poll() is None
        served.show(page, "/")
        server.set_speed(1)
        server.go()
        expect(page.locator("#clip-s--b[data-state='rendering']")).to_be_visible()
        expect(page.locator("#clip-s--b .step")).to_contain_text("step")
        page.reload()
        expect(page.locator("#clip-s--b[data-state='rendering'] progress")).to_be_visible()
        ended = studio.ended(building, server)
        assert ended.code == 0, ended.out + ended.err
        expect(page.locator("#clip-s--b[data-state='final']")).to_be_visible()
        assert studio.lock.entries["s/a"].pick == 2
        expect(page.locator("#run")).to_be_hidden()


def test_two_tabs_that_choose_differently_never_overwrite_each_other(film: Film, chromium: Browser) -> None:
    with board(film) as served:
        first = served.page(chromium, "/clip/hook/a")
        second = served.page(chromium, "/clip/hook/a")
        second.route("**/events*", lambda route: route.abort())  # this one hears of nothing
        second.reload()
        first.get_by_role("radio", name="Take 2").check()
        first.get_by_role("button", name="Put in the cut").click()
        expect(first.locator("#outcome")).to_contain_text("Done")
        second.get_by_role("button", name="Approve").click()
        expect(second.locator("#outcome")).to_contain_text("the lock changed since this page was drawn")
        expect(second.locator("#outcome")).to_contain_text("take 2 of hook/a is in the cut")
        entry = film.lock.entries["hook/a"]
        assert (entry.pick, entry.status) == (2, "")
        expect(second.locator("#take-2 .b-cut")).to_be_visible()
        film.run("approve", "hook/a")
        expect(first.locator("#take-2 .b-approved")).to_be_visible()
        expect(first.locator("#toasts")).to_contain_text("hook/a is approved")
        served.errors.clear()  # of the stream that was cut off


def test_a_pick_by_keyboard_alone(film: Film, chromium: Browser) -> None:
    with board(film) as served:
        page = served.page(chromium)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # skip to the content
        for _ in range(30):
            if page.evaluate("document.activeElement.classList.contains('still')"):
                break
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "/clip/hook/b"
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.wait_for_url("**/clip/hook/a")
        page.wait_for_selector("html[data-js-live]")
        for _ in range(30):
            if page.evaluate("document.activeElement.name") == "take":
                break
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("radio", name="Take 2")).to_be_focused()
        page.keyboard.press("p")
        until(page, lambda: film.lock.entries["hook/a"].pick == 2)
        expect(page.locator("#take-2 .b-cut")).to_be_visible()
        expect(page.get_by_role("radio", name="Take 2")).to_be_focused()  # focus survives the update


def test_hostile_text_stays_text(film: Film, chromium: Browser) -> None:
    film.set("title", EVIL).set("scenes/hook/title", EVIL)
    film.set("scenes/hook/clips/a/prompt", f"{EVIL} {prompt('hook-a')}")
    with board(film) as served:
        for path in ("/", "/clip/hook/a", "/plan", "/build", "/play"):
            page = served.page(chromium, path)
            assert page.title() != "gone"
            assert page.locator("main img[src='x']").count() == 0
            page.context.close()
