from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from harness.footage import SHOWN, quarters, seen
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from ltxflow.core.errors import LtxflowError
from ltxflow.media.fit import ImageFacts, fit_warnings
from ltxflow.media.image import open_image, prepare_image, read_image

ORIENTATIONS = (
    "upright",
    "mirrored",
    "half",
    "mirrored half",
    "mirrored quarter",
    "quarter",
    "mirrored three quarters",
    "three quarters",
)


def gradient(width=60, height=40):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 4, y * 6, (x + y) * 2], axis=-1).astype(np.uint8), "RGB")


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def refused(path):
    with pytest.raises(LtxflowError) as caught:
        read_image(path)
    (problem,) = caught.value.problems
    assert path.name in problem.message
    return problem.code, problem.message


def pixel(path, x=0, y=0):
    return open_image(path).getpixel((x, y))


def test_a_picture_saved_again_is_the_same_picture(tmp_path):
    first = read_image(saved(tmp_path / "a.png", gradient(), compress_level=0))
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "another program")
    again = read_image(saved(tmp_path / "b.png", gradient(), compress_level=9, pnginfo=info))
    webp = read_image(saved(tmp_path / "c.webp", gradient(), lossless=True))
    bmp = read_image(saved(tmp_path / "d.bmp", gradient()))
    assert (first.width, first.height, first.warnings) == (60, 40, ())
    assert first == again == webp == bmp


def test_one_changed_pixel_is_another_picture(tmp_path):
    other = gradient()
    other.putpixel((5, 5), (0, 0, 0))
    assert read_image(saved(tmp_path / "a.png", gradient())) != read_image(saved(tmp_path / "b.png", other))


def test_size_is_part_of_the_digest(tmp_path):
    wide = read_image(saved(tmp_path / "a.png", Image.new("RGB", (8, 2))))
    high = read_image(saved(tmp_path / "b.png", Image.new("RGB", (2, 8))))
    assert wide.pixels != high.pixels


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    picture = gradient()
    facts = read_image(saved(tmp_path / "turned.png", picture, exif=exif))
    upright = read_image(saved(tmp_path / "upright.png", picture.transpose(Image.Transpose.ROTATE_270)))
    assert (facts.width, facts.height) == (40, 60)
    assert facts.pixels == upright.pixels


def test_grey_of_16_bits_keeps_its_range(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    assert [pixel(path, x) for x in range(3)] == [(0, 0, 0), (100, 100, 100), (255, 255, 255)]
    assert read_image(path).warnings == ()


def test_floating_point_grey_is_read_and_noted(tmp_path):
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.array([[0, 0.5, 1.0]], np.float32)))
    assert [pixel(path, x)[0] for x in range(3)] == [0, 128, 255]
    assert "1 is taken as white" in read_image(path).warnings[0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "YCbCr" else "png"
    facts = read_image(saved(tmp_path / f"a.{suffix}", Image.new("RGB", (8, 8), "white").convert(mode)))
    assert facts.warnings == ()
    assert pixel(tmp_path / f"a.{suffix}") == (255, 255, 255)


def test_cmyk_without_a_profile_is_noted(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    red, green, blue = pixel(path)
    assert red > 240
    assert max(green, blue) < 20
    assert "CMYK" in read_image(path).warnings[0]


def test_lab_becomes_srgb(tmp_path):
    lab = Image.merge("LAB", [Image.new("L", (4, 4), v) for v in (255, 128, 128)])
    assert pixel(saved(tmp_path / "a.tiff", lab)) == pytest.approx((255, 255, 255), abs=2)


def gbr_profile():
    """An sRGB profile whose green and blue primaries have changed places, under another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", data, 128)[0]
    tags = {bytes(data[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(count)}
    green, blue = tags[b"gXYZ"], tags[b"bXYZ"]
    data[green : green + 4], data[blue : blue + 4] = b"bXYZ", b"gXYZ"
    return bytes(data.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")))


def test_a_colour_profile_is_applied(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGB", (4, 4), (0, 255, 0)), icc_profile=gbr_profile())
    assert pixel(path) == pytest.approx((0, 0, 255), abs=2)
    assert read_image(path).warnings == ()


def test_an_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = read_image(saved(tmp_path / "a.png", gradient(), icc_profile=profile))
    assert tagged == read_image(saved(tmp_path / "b.png", gradient()))


def test_a_broken_profile_is_noted_and_ignored(tmp_path):
    facts = read_image(saved(tmp_path / "a.png", gradient(), icc_profile=b"nonsense"))
    assert facts.pixels == read_image(saved(tmp_path / "b.png", gradient())).pixels
    assert "profile" in facts.warnings[0]


@pytest.mark.parametrize(("ink", "plain"), [((20, 20, 20), "white"), ((250, 250, 250), "black")])
def test_see_through_parts_contrast_with_what_is_seen(tmp_path, ink, plain):
    picture = Image.new("RGBA", (20, 20), (255, 0, 0, 0))  # invisible red
    picture.paste((*ink, 255), (5, 5, 15, 15))
    path = saved(tmp_path / "logo.png", picture)
    assert pixel(path) == ((255, 255, 255) if plain == "white" else (0, 0, 0))
    assert pixel(path, 10, 10) == ink
    assert f"become {plain}" in read_image(path).warnings[0]


def test_a_palette_with_a_transparent_colour_is_composited(tmp_path):
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 0, 0])
    picture.putpixel((1, 1), 1)
    path = saved(tmp_path / "a.png", picture, transparency=0)
    assert pixel(path) == (255, 255, 255)


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    opaque = gradient()
    opaque.putalpha(255)
    assert read_image(saved(tmp_path / "a.png", opaque)) == read_image(saved(tmp_path / "b.png", gradient()))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_a_moving_picture_the_first_frame_is_used(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "white")]
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, **options)
    assert pixel(path)[0] > 250
    assert "only the first" in read_image(path).warnings[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize(("tag", "lies"), list(enumerate(ORIENTATIONS, 1)))
def test_a_photograph_lies_as_viewers_show_it(tmp_path, suffix, tag, lies):
    """All eight values of EXIF's orientation, also the mirrored ones, in every format that has it."""
    exif = Image.Exif()
    exif[0x112] = tag
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(quarters((192, 128))).save(path, exif=exif, **({} if suffix == "png" else {"quality": 95}))
    assert seen(np.asarray(open_image(path))) == SHOWN[lies]
    facts = read_image(path)
    assert (facts.width, facts.height) == ((128, 192) if "quarter" in lies else (192, 128))


@pytest.mark.parametrize("tags", [{254: 1}, {254: 0, 50706: b"\1\4\0\0"}], ids=["preview", "dng"])
def test_a_raw_photograph_is_refused_by_name(tmp_path, tags):
    """Its first picture is a small preview, which would be enlarged without a word."""
    path = tmp_path / "a.dng"
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    gradient(48, 32).save(path, format="TIFF", tiffinfo=directory)
    assert refused(path) == ("M002", '"a.dng" is a raw photograph')


def test_colours_of_16_bits_and_of_a_palette_stay(tmp_path):
    picture = quarters((192, 128))
    deep = VideoFrame.from_ndarray(picture.astype(np.uint16) * 257, format="rgb48le")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 192, 128, "rgb48be", Fraction(1, 25)
    (tmp_path / "deep.png").write_bytes(b"".join(bytes(p) for p in encoder.encode(deep.reformat(format="rgb48be"))))
    Image.fromarray(picture).quantize(8).save(tmp_path / "few.png")
    for name in ("deep.png", "few.png"):
        assert seen(np.asarray(open_image(tmp_path / name))) == "RGBW"


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 8_001), (11_000, 9_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, recwarn, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(*size))  # there is nothing in it to decode: reaching that would be "damaged"
    code, message = refused(path)
    assert code == "M013"
    assert "at most 80" in message
    assert not recwarn.list


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_a_picture_cut_short_is_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", gradient(600, 400))
    path.write_bytes(path.read_bytes()[:-300])
    assert refused(path)[0] in ("M004", "M002")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw photograph"),
        (b"FUJIFILMCCD-RAW 0201", "raw photograph"),
        (b"<!doctype html><html></html>", "web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"just words", "not a picture"),
    ],
)
def test_other_files_are_named_by_kind(tmp_path, data, word):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert word in refused(path)[1]


def test_missing_files_and_folders_are_distinguished(tmp_path):
    assert refused(tmp_path / "gone.png")[0] == "M001"
    (tmp_path / "folder").mkdir()
    assert "is a folder" in refused(tmp_path / "folder")[1]


def prepared(path, *args, **options):
    picture = Image.open(io.BytesIO(prepare_image(path, *args, **options)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return picture


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64), (224, 96), (1, 1)])
@pytest.mark.parametrize("source", [(60, 40), (33, 77), (500, 3)])
def test_prepared_pictures_have_exactly_the_size(tmp_path, fit, size, source):
    assert prepared(saved(tmp_path / "a.png", gradient(*source)), size, fit).size == size


def test_cover_cuts_around_the_focus(tmp_path):
    stripes = Image.new("RGB", (90, 30), "red")
    stripes.paste("lime", (30, 0, 60, 30))
    stripes.paste("blue", (60, 0, 90, 30))
    path = saved(tmp_path / "a.png", stripes)

    def middle(x):
        return prepared(path, (30, 30), "cover", (x, 0.5)).getpixel((15, 15))

    assert [middle(0.0), middle(0.5), middle(1.0)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_contain_shows_all_between_black_bars(tmp_path):
    picture = prepared(saved(tmp_path / "a.png", Image.new("RGB", (20, 20), "white")), (60, 20), "contain")
    assert [picture.getpixel((x, 10)) for x in (0, 30, 59)] == [(0, 0, 0), (255, 255, 255), (0, 0, 0)]


def test_a_picture_of_the_right_size_is_not_resampled(tmp_path):
    picture = gradient(96, 64)
    path = saved(tmp_path / "a.png", picture)
    assert prepared(path, (96, 64), "cover").tobytes() == picture.tobytes()
    assert prepare_image(path, (96, 64)) == prepare_image(path, (96, 64))


def test_a_picture_that_changed_since_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", gradient())
    facts = read_image(path)
    prepare_image(path, (32, 32), expect=facts.pixels)
    saved(path, gradient().transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    with pytest.raises(LtxflowError, match=r'"a\.png" changed while the film was being built') as caught:
        prepare_image(path, (32, 32), expect=facts.pixels)
    assert caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("source", "fit", "words"),
    [
        ((1536, 1024), "cover", []),
        ((1500, 1024), "cover", []),
        ((1024, 1536), "cover", ["56% of it is cut off (top and bottom)", "upscaled 1.50×"]),
        ((4000, 1024), "cover", ["62% of it is cut off (left and right)"]),
        ((1024, 1536), "contain", ["56% of 1536x1024 becomes black bars"]),
        ((3000, 1000), "stretch", ["distorted 2.00x"]),
        ((768, 512), "cover", ["upscaled 2.00×"]),
    ],
)
def test_losses_of_a_fit_are_described(source, fit, words):
    found = fit_warnings(ImageFacts("", *source), (1536, 1024), fit)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
