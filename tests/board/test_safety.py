"""The board answers its own pages and nobody else; it serves published files and takes, and nothing else."""

from __future__ import annotations

import http.client
import re
import subprocess
from collections.abc import Iterator

import pytest
from harness.browser import BoardProcess, board
from harness.command import command
from harness.film import Film


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Film]:
    made = Film.at(tmp_path_factory.mktemp("board"))
    made.config = made.root / "config"
    with pytest.MonkeyPatch.context() as patch:
        made.move_in(patch).write()
        assert made.make().done.code == 0
        yield made


@pytest.fixture(scope="module")
def served(film: Film) -> Iterator[BoardProcess]:
    with board(film) as found:
        yield found


def pick(served: BoardProcess, **options: str) -> int:
    return served.ask("/decide/pick", "POST", {"target": "hook/a@1", "revision": "x"}, **options).status


def test_nothing_is_answered_without_the_secret(served: BoardProcess) -> None:
    for path in (
        "/",
        "/clip/hook/a",
        "/events",
        "/timeline.json",
        "/media/public/scenes/scene-0-a.mp4",
        "/static/board.js",
    ):
        assert served.ask(path, signed=False).status == 403, path
    assert served.ask("/?token=guessed", signed=False).status == 403
    assert served.ask("/decide/pick", "POST", {}, signed=False).status == 403


def test_the_secret_becomes_a_cookie_and_leaves_the_address(served: BoardProcess) -> None:
    answer = served.ask("/", signed=True)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert served.url.partition("token=")[2] not in answer.body.decode()


def test_another_host_is_refused(served: BoardProcess) -> None:
    port = served.origin.rpartition(":")[2]
    for host in (
        "film.example",
        f"film.example:{port}",
        f"127.0.0.1.nip.io:{port}",
        "127.0.0.1",
        f"127.0.0.1:{int(port) + 1}",
        "",
    ):
        assert served.ask("/", Host=host).status == 421, host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"LOCALHOST:{port}"):
        assert served.ask("/", signed=False, Host=host).status == 403, host


def test_another_origin_is_refused(served: BoardProcess) -> None:
    assert pick(served) == 409  # that one is ours: only the revision is wrong
    for origin in ("http://film.example", "null", "http://127.0.0.1:1", served.origin.replace("http", "https")):
        assert pick(served, Origin=origin) == 403, origin
    assert pick(served, Sec_Fetch_Site="same-site") == 403
    assert pick(served, X_CSRF_Token="guessed") == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_refused(served: BoardProcess, method: str) -> None:
    assert served.ask("/", method).status == 405
    assert served.ask("/decide/pick", method).status == 405


def test_reading_changes_nothing(served: BoardProcess) -> None:
    for path in ("/decide/pick", "/do/build", "/do/cancel", "/prompt/save"):
        assert served.ask(path).status == 405, path


def test_only_published_files_and_takes_are_served(served: BoardProcess, film: Film) -> None:
    secret = film.public / "scenes" / "secret.mp4"
    secret.write_bytes(b"mine")
    link = film.public / "scenes" / "link.mp4"
    link.symlink_to("/etc/hostname")
    wrong = [
        "/media/public/scenes/secret.mp4",
        "/media/public/scenes/link.mp4",
        "/media/public/../project.yaml",
        "/media/public/%2e%2e/project.yaml",
        "/media/public/..%2fproject.yaml",
        "/media/public//etc/hostname",
        "/media/public/scenes/",
        "/media/public/",
        "/media/take/hook/a/9",
        "/media/take/hook/..%2f..%2f/1",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/",
        "/strip/..%2f..%2fetc.svg",
    ]
    for path in wrong:
        assert served.ask(path).status == 404, path
    assert served.ask("/media/public/scenes/scene-0-a.mp4").body == (film.scenes / "scene-0-a.mp4").read_bytes()
    assert served.ask("/media/take/hook/a/1").status == 200
    secret.unlink()
    link.unlink()


def test_a_published_file_that_became_a_link_is_not_followed(served: BoardProcess, film: Film) -> None:
    file = film.scenes / "scene-0-b.mp4"
    data = file.read_bytes()
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert served.ask("/media/public/scenes/scene-0-b.mp4").status == 404
    file.unlink()
    file.write_bytes(data)


def test_parts_of_a_video_are_served(served: BoardProcess, film: Film) -> None:
    data = (film.scenes / "scene-0-a.mp4").read_bytes()
    path, size = "/media/public/scenes/scene-0-a.mp4", len(data)
    for asked, first, last in [("bytes=0-", 0, size - 1), ("bytes=10-19", 10, 19), ("bytes=-7", size - 7, size - 1)]:
        answer = served.ask(path, Range=asked)
        assert (answer.status, answer.body) == (206, data[first : last + 1]), asked
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    for asked in (f"bytes={size}-", "bytes=9-3", "bytes=x-", "pages=1-2", "bytes=-", "bytes=-0"):
        assert served.ask(path, Range=asked).status == 416, asked
    head = served.ask(path, "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")


def test_odd_requests_are_told_what_is_wrong(served: BoardProcess) -> None:
    for body in (
        [],
        "x",
        {"target": 5},
        {"target": {}},
        {"target": "../x@1", "revision": ""},
        {"target": "hook/z", "revision": ""},
    ):
        answer = served.ask("/decide/pick", "POST", body)
        assert answer.status == 400, body
        assert answer.json["problems"][0]["message"], body
    assert served.ask("/decide/pick", "POST", {"target": "x" * 300_000}).status == 400
    assert served.ask("/decide/shred", "POST", {}).status == 404
    assert served.ask("/do/shred", "POST", {}).status == 404
    assert served.ask("/do/build", "POST", {"clips": ["--force"]}).status == 400
    assert served.ask("/do/retake", "POST", {"clips": []}).status == 400
    assert served.ask("/clip/hook/zzz").status == 404


def test_a_board_to_show_changes_nothing(film: Film) -> None:
    with board(film, "--read-only") as served:
        assert b'<button type="button" data-do' not in served.ask("/").body
        assert pick(served) == 403
        assert served.ask("/do/build", "POST", {"clips": []}).status == 403


def test_events_are_sent_again_from_where_a_page_left(served: BoardProcess, film: Film) -> None:
    """Another program changes the lock; a page that missed it hears of it by the number it had last."""
    page = served.ask("/").body.decode()
    last = re.search(r'name="events" content="([^"]+)"', page)
    assert last
    film.run("approve", "hook/a")
    connection = http.client.HTTPConnection(served.origin.partition("//")[2], timeout=20)
    cookie = served.cookie()
    connection.request("GET", "/events", headers={"Cookie": cookie, "Last-Event-ID": last[1]})
    reply = connection.getresponse()
    heard = b""
    while b"hook/a is approved" not in heard:
        heard += reply.read1(65536)
    assert b"event: clip" in heard
    connection.close()
    connection.request("GET", "/events", headers={"Cookie": cookie, "Last-Event-ID": "before-1"})
    reply, heard = connection.getresponse(), b""
    while b"event: reset" not in heard:
        heard += reply.read1(65536)
    connection.close()


def test_without_its_libraries_it_says_how_to_get_them(film: Film) -> None:
    hidden = "import importlib.util as u; found = u.find_spec; "
    hidden += "u.find_spec = lambda name, *more: None if name == 'uvicorn' else found(name, *more)"
    argv = command("board", "-p", str(film.folder), setup=hidden)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "`ltxflow board` needs uvicorn" in done.stderr
    assert re.search(r"-m pip install .*\[board\]", done.stderr)
