"""verify: names what differs, by the kind of difference; --repair loses nothing and makes the next build right."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from harness.film import Film

from ltxflow.cli import options
from ltxflow.core.digest import Digest, digest_bytes
from ltxflow.lock.file import read_lock
from ltxflow.media.image import draw_poster
from ltxflow.publish import verify as verifying
from ltxflow.store.blobs import BlobStore


@pytest.fixture
def rendered(film: Film) -> Film:
    """A film whose clips were all rendered and published."""
    film.render()
    assert film.run("build").code == 0
    return film


def differences(film: Film, *options: str) -> dict[str, str]:
    """Name → kind of every difference; the exit code agrees with it."""
    ran = film.run("verify", "--json", *options)
    found = {each["name"]: each["kind"] for each in ran.data["differences"]}
    assert ran.code == (1 if any(not each["mended"] for each in ran.data["differences"]) else 0)
    return found


def blob(film: Film, digest: str) -> Path:
    return BlobStore(film.store / "cas").path(Digest(digest))


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_film_that_is_whole_is_reported_as_such(rendered: Film) -> None:
    ran = rendered.run("verify")
    assert ran.code == 0
    assert "everything matches" in ran.out
    assert differences(rendered, "--deep") == {}


def test_what_differs_in_the_published_tree_is_named(rendered: Film) -> None:
    edited, gone, extra = (rendered.scenes / name for name in ("scene-0-a.mp4", "scene-1-a.mp4", "notes.txt"))
    edited.write_bytes(edited.read_bytes() + b"by hand")
    gone.unlink()
    extra.write_text("mine")
    assert differences(rendered) == {
        "scenes/scene-0-a.mp4": "edited",
        "scenes/scene-1-a.mp4": "missing",
        "scenes/notes.txt": "extra",
    }
    ran = rendered.run("verify")
    assert ran.code == 1
    assert "ltxflow verify --repair" in ran.out


def test_an_edit_of_the_same_size_and_time_is_found(rendered: Film) -> None:
    path = rendered.scenes / "scene-0-a.mp4"
    seen, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert differences(rendered) == {"scenes/scene-0-a.mp4": "edited"}


def test_repair_puts_files_back_and_loses_no_edit(rendered: Film) -> None:
    before = rendered.published()
    edited = rendered.scenes / "scene-0-a.mp4"
    by_hand = edited.read_bytes() + b"by hand"
    edited.write_bytes(by_hand)
    (rendered.scenes / "scene-1-a.mp4").unlink()
    (rendered.scenes / "timeline.json").write_text("{}")
    assert set(differences(rendered, "--repair")) == {
        "scenes/scene-0-a.mp4",
        "scenes/scene-1-a.mp4",
        "scenes/timeline.json",
    }
    kept = [path.read_bytes() for path in (rendered.folder / ".ltxflow" / "aside").iterdir()]
    assert by_hand in kept
    built = rendered.run("build", "--json")
    assert (built.code, built.totals["rendered"], built.totals["restored"]) == (0, 0, 0)
    assert rendered.published() == before
    assert differences(rendered) == {}


def test_repair_draws_a_poster_again_at_once(rendered: Film) -> None:
    posters = rendered.folder / "public/posters"
    before = rendered.published()
    (posters / "scene-0-a.jpg").unlink()
    (posters / "scene-1-a.jpg").write_bytes(b"drawn by hand")
    assert differences(rendered, "--repair") == {
        "posters/scene-0-a.jpg": "missing",
        "posters/scene-1-a.jpg": "edited",
    }
    assert rendered.published() == before
    assert (rendered.folder / ".ltxflow/aside/scene-1-a-1.jpg").read_bytes() == b"drawn by hand"
    assert differences(rendered) == {}
    assert rendered.run("build", "--json").events("file-published") == []


def test_a_poster_that_other_libraries_draw_otherwise_is_ours_too(
    rendered: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "draw_poster", lambda video: b"another " + draw_poster(video))
    (rendered.folder / "public/posters/scene-0-a.jpg").unlink()
    ran = rendered.run("verify", "--repair")
    assert "drawn again" in ran.out
    assert rendered.published()["posters/scene-0-a.jpg"].startswith(b"another ")
    assert differences(rendered) == {}


def test_a_video_that_does_not_decode_stops_no_other_repair(rendered: Film) -> None:
    """Its blob matches its digest, and is not a video."""
    record, posters = rendered.folder / ".ltxflow/published.json", rendered.folder / "public/posters"
    noise = BlobStore(rendered.store / "cas").put_bytes(b"no video at all")
    output = json.loads(record.read_text())
    output["files"]["posters/scene-0-a.jpg"]["key"] = noise
    record.write_text(json.dumps(output))
    for path in posters.iterdir():
        path.unlink()
    ran = rendered.run("verify", "--repair", "--json")
    outcomes = {each["name"]: each["outcome"] for each in ran.data["differences"]}
    assert outcomes.pop("posters/scene-0-a.jpg").startswith("left as it is: ")
    assert set(outcomes.values()) == {"drawn again"}
    assert ran.code == 1


def test_a_poster_is_drawn_of_the_published_video_where_the_store_has_none(rendered: Film) -> None:
    (rendered.folder / "public/posters/scene-0-a.jpg").unlink()
    shutil.rmtree(rendered.store / "cas")
    differences(rendered, "--repair")
    assert "posters/scene-0-a.jpg" in rendered.published()


@pytest.mark.parametrize(("data", "kind"), [(b"", "empty"), (b"rot", "rotted")])
def test_a_bad_blob_comes_back_from_what_is_published(rendered: Film, data: bytes, kind: str) -> None:
    take = read_lock(rendered.folder / "ltxflow.lock").entries["hook/a"].takes[1]
    digest = take.outputs["published"]
    whole = blob(rendered, digest).read_bytes()
    damage(blob(rendered, digest), data)
    assert differences(rendered) == {"hook/a@1 published": kind}
    assert differences(rendered, "--repair") == {"hook/a@1 published": kind}
    assert blob(rendered, digest).read_bytes() == whole
    assert differences(rendered) == {}


def test_a_blob_that_rotted_without_another_copy_is_made_again_by_the_next_build(rendered: Film) -> None:
    take = read_lock(rendered.folder / "ltxflow.lock").entries["hook/a"].takes[1]
    path = blob(rendered, take.digest)
    data = bytearray(path.read_bytes())
    data[100] ^= 1  # of the same size: nothing but reading it shows it
    damage(path, bytes(data))
    assert rendered.run("plan", "--exit-code").code == 0
    ran = rendered.run("verify", "--repair", "--json")
    (found,) = ran.data["differences"]
    assert (found["kind"], found["outcome"]) == ("rotted", "the next build makes it again")
    assert path.with_name(path.name + ".corrupt").read_bytes() == data, "what rotted is kept aside"
    plan = rendered.run("plan", "--json").data
    assert [change["target"] for change in plan["changes"] if change["kind"] == "change"] == ["clip:hook/a@1"]


def test_a_rotten_approved_take_is_an_error_that_stays(rendered: Film) -> None:
    assert rendered.run("approve", "hook/a").code == 0
    take = read_lock(rendered.folder / "ltxflow.lock").entries["hook/a"].takes[1]
    damage(blob(rendered, take.digest), b"rot")
    ran = rendered.run("verify", "--repair")
    assert ran.code == 1
    assert "lost, though approved" in ran.out
    assert "ltxflow forget hook/a" in ran.out


def test_deep_finds_what_does_not_decode(rendered: Film) -> None:
    """A file that came broken from elsewhere: its digest is right, its pictures are not."""
    place = rendered.scenes / "scene-0-a.mp4"
    data = bytearray(place.read_bytes())
    at = data.index(b"mdat") + 4
    data[at + 800 : at + 1160] = b"\xff" * 360
    place.write_bytes(data)
    record = rendered.folder / ".ltxflow" / "published.json"
    output = json.loads(record.read_text())
    output["files"]["scenes/scene-0-a.mp4"]["digests"] = [digest_bytes(data)]
    record.write_text(json.dumps(output))
    found = differences(rendered, "--deep")
    assert found["scenes/scene-0-a.mp4"] == "undecodable"
    assert "scenes/scene-0-a.mp4" not in differences(rendered)


def test_a_store_that_is_not_here_is_named_and_its_published_files_bring_back_what_they_are(rendered: Film) -> None:
    shutil.rmtree(rendered.store)
    assert set(differences(rendered).values()) == {"missing"}
    ran = rendered.run("verify", "--repair", "--json")
    mended = {each["name"]: each["outcome"] for each in ran.data["differences"]}
    assert mended["hook/a@1 published"] == "restored from what is published"
    assert mended["hook/a@1 video"] == "the next build makes it again"


def test_words_of_the_authors_own_are_no_difference_and_stay(rendered: Film) -> None:
    notice = rendered.folder / "public/AI-DISCLOSURE.txt"
    notice.write_text("Made with LTX-2 by me.")
    for argv in (("verify",), ("verify", "--repair")):
        done = rendered.run(*argv)
        assert done.code == 0
        assert "· AI-DISCLOSURE.txt  edited by hand; kept\n" in done.out
        assert notice.read_text() == "Made with LTX-2 by me."
    assert rendered.run("verify", "--json").data["reworded"] == ["AI-DISCLOSURE.txt"]


def test_where_no_one_can_write_no_one_is_waited_for(rendered: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film on a disk that is only read."""

    def hold(*args: object, **options: object) -> None:
        raise AssertionError("held")

    monkeypatch.setattr(options, "hold", hold)
    monkeypatch.setattr("ltxflow.cli.options.os.access", lambda path, mode: path != rendered.folder)
    ran = rendered.run("verify")
    assert ran.code == 0
    assert "everything matches" in ran.out
