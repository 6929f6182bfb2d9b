"""What people get to see of a film that servers rendered: no prompt, no path, no tag; and a word on who made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import av
import pytest
from fakes.comfyui import FakeComfy
from harness.command import run
from harness.studio import Studio
from PIL import Image

from ltxflow.comfy.files import Transfers
from ltxflow.core.digest import digest_file
from ltxflow.media.probe import probe_mp4
from ltxflow.store.store import Store


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.chdir(tmp_path)
    made = Studio.at(tmp_path).move_in(monkeypatch)
    return made.write("a", "b", scene='crossfade: 2f\nnarration: {duration: 0.5s, text: "One key."}')


SECRETS = (
    b"heavy",
    b"metal clicks",
    b"class_type",
    b"CLIPTextEncode",
    b"workflow",
    b".safetensors",
    b"ltxflow/",
    b"Lavf",
)


def test_no_published_file_tells_what_it_was_made_from(studio: Studio, server: FakeComfy) -> None:
    assert studio.build(server).code == 0
    assert run("conform", "-p", str(studio.folder)).code == 0
    raw = [blob.read_bytes() for blob in (studio.root / "store" / "cas").rglob("*") if blob.is_file()]
    assert any(b"class_type" in data and b"heavy" in data for data in raw), "servers do write it: the originals have it"
    files = sorted(path for path in studio.public.rglob("*") if path.is_file())
    assert {path.suffix for path in files} >= {".mp4", ".jpg", ".txt", ".json", ".srt", ".vtt"}
    for path in files:
        data = path.read_bytes()
        assert not [word for word in SECRETS if word in data], path
        assert str(studio.root).encode() not in data, path
    for path in files:
        if path.suffix == ".mp4":
            with av.open(str(path)) as container:
                named = set(container.metadata) - {"major_brand", "minor_version", "compatible_brands"}
            assert named <= ({"title", "comment"} if path.name == "film.mp4" else set())
        if path.suffix == ".jpg":
            with Image.open(BytesIO(path.read_bytes())) as picture:
                assert not picture.getexif()
                assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_film_says_beside_its_files_and_in_itself_that_a_machine_made_it(studio: Studio, server: FakeComfy) -> None:
    studio.build(server)
    run("conform", "-p", str(studio.folder))
    told = json.loads((studio.public / "scenes" / "timeline.json").read_text())["generator"]
    assert told["machineMade"] is True
    assert "LTX-2" in told["model"]
    notice = (studio.public / told["disclosure"]).read_text()
    assert told["model"] in " ".join(notice.split())
    assert "slate" not in notice
    with av.open(str(studio.public / "film.mp4")) as container:
        assert container.metadata["comment"] == f"machine-made, with {told['model']}"


def test_renders_are_conformed_to_the_frame(studio: Studio, server: FakeComfy) -> None:
    studio.build(server)
    ran = run("conform", "--json", "-p", str(studio.folder))
    assert (ran.data["parts"], ran.data["standIns"]) == (3, 0)
    told = json.loads((studio.public / "scenes" / "timeline.json").read_text())
    facts = probe_mp4(studio.public / "film.mp4")
    assert facts.frames == told["durationInFrames"] > 9
    assert facts.audio_seconds == facts.seconds


def test_a_file_that_changes_between_network_and_store_is_not_kept(
    studio: Studio, server: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that flips on the disk leaves a film that still decodes: only the digest of what came tells."""
    came = Transfers.download

    async def spoiled(self: Transfers, output: object, to: Path, *rest: object) -> object:
        digest = await came(self, output, to, *rest)  # type: ignore[arg-type]
        if to.suffix == ".mp4":
            data = to.read_bytes()
            to.write_bytes(data.replace(b"class_type", b"class_tYpe", 1))  # in the tags: nothing else sees it
        return digest

    monkeypatch.setattr(Transfers, "download", spoiled)
    ran = studio.build(server)
    assert ran.code == 1
    assert any("has the sha256" in p["message"] for p in ran.envelope["problems"])
    monkeypatch.setattr(Transfers, "download", came)
    assert studio.build(server).code == 0
    store = Store(studio.root / "store")
    keys = list(store.keys())
    assert keys
    for key in keys:
        trace = store.trace(key)
        assert trace is not None
        assert all(digest_file(store.cas.path(o.digest)) == o.digest for o in trace.outputs.values())
    store.close()
