from __future__ import annotations

import av
import numpy as np
import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import decode_count
from ltxflow.media.mp4 import C2PA
from ltxflow.media.mux import strip_mp4
from ltxflow.media.probe import probe_mp4


def packets(path):
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]


def stripped(path, tmp_path):
    out = tmp_path / "stripped.mp4"
    strip_mp4(path, out)
    return out


@pytest.mark.parametrize("source", ["clip", "clip_index_last"])
def test_the_prompt_graph_is_gone_and_the_film_is_not(request, tmp_path, source):
    path = request.getfixturevalue(source)
    assert b"secret wallet" in path.read_bytes()
    out = stripped(path, tmp_path)
    data = out.read_bytes()
    for trace in (b"secret", b"prompt", b"workflow", b"udta", b"Handler", b"Lavf"):
        assert trace not in data
    with av.open(str(out)) as container:
        assert not set(container.metadata) & {"prompt", "workflow", "encoder", "comment", "creation_time"}
    assert probe_mp4(out) == probe_mp4(path)
    assert packets(out) == packets(path)
    assert decode_count(out) == 41


def test_the_index_comes_first(clip_index_last, tmp_path):
    data = stripped(clip_index_last, tmp_path).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_pictures_keep_their_colour_tags(clip, tmp_path):
    def tags(path):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            return context.color_primaries, context.color_trc, context.colorspace, context.color_range

    assert tags(stripped(clip, tmp_path)) == tags(clip)
    assert tags(clip)[:3] == (1, 13, 1)


def test_sound_starts_where_it_did(clip, tmp_path):
    """The edit list that hides the encoder's delay is kept."""

    def samples(path):
        with av.open(str(path)) as container:
            return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)

    assert np.array_equal(samples(stripped(clip, tmp_path)), samples(clip))


def test_same_film_with_other_tags_gives_the_same_bytes(write_video, tmp_path):
    one = write_video(tmp_path / "one.mp4", frames=9, tags={"prompt": "one"})
    two = write_video(tmp_path / "two.mp4", frames=9, tags={"prompt": "two, longer", "title": "t"})
    first = stripped(one, tmp_path).read_bytes()
    assert stripped(two, tmp_path).read_bytes() == first
    again = tmp_path / "again.mp4"
    again.write_bytes(first)
    assert stripped(again, tmp_path).read_bytes() == first


def test_bytes_that_nothing_plays_are_left_out(clip_index_last, tmp_path):
    path = tmp_path / "padded.mp4"
    hidden = b"hidden words" * 9
    path.write_bytes(clip_index_last.read_bytes() + len(hidden + b"12345678").to_bytes(4, "big") + b"uuid" + hidden)
    assert b"hidden" not in stripped(path, tmp_path).read_bytes()


def box(kind, payload):
    return (len(payload) + 8).to_bytes(4, "big") + kind + payload


@pytest.mark.parametrize("source", ["clip", "clip_index_last"])
def test_content_credentials_are_left_alone(request, tmp_path, source):
    """Insert a C2PA manifest in a separate uuid box beside the index, or as plain JUMBF."""
    c2pa = box(b"uuid", C2PA + b"\0\0\0\0manifest\0" + bytes(8) + box(b"jumb", b"signed by the model's maker" * 40))
    jumbf = box(b"jumb", b"who made it")
    xmp = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta>secret wallet</x:xmpmeta>")
    path = tmp_path / "signed.mp4"
    path.write_bytes(request.getfixturevalue(source).read_bytes() + c2pa + xmp + jumbf)
    out = stripped(path, tmp_path)
    data = out.read_bytes()
    assert c2pa + jumbf in data
    assert b"secret wallet" not in data
    assert data.index(c2pa) < data.index(b"moov")
    assert probe_mp4(out) == probe_mp4(path)
    assert packets(out) == packets(path)
    again = tmp_path / "again.mp4"
    strip_mp4(out, again)
    assert again.read_bytes() == data


def test_every_bit_of_the_pictures_stays_and_watermarks_with_them(clip, tmp_path):
    out = stripped(clip, tmp_path)

    def pictures(path):
        with av.open(str(path)) as container:
            return [frame.to_ndarray() for frame in container.decode(video=0)]

    assert all(np.array_equal(one, other) for one, other in zip(pictures(out), pictures(clip), strict=True))


def test_a_broken_file_is_not_stripped(clip, tmp_path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:-10])
    with pytest.raises(LtxflowError, match="cut short"):
        strip_mp4(path, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
