"""Reference pictures: what they look like, and the same at the size a model wants. Knows nothing of clips.

One decoding for all that follows: upright (EXIF), sRGB (ICC), 8 bits, no transparency, one picture. ComfyUI's
own loader drops transparency (hidden colours appear) and takes an animated file for a batch; ours does not.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ltxflow.core.digest import Digest
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.fit import Fit, ImageFacts

PIXELS_MAX = 80_000_000
SIDE_MAX = 65_535  # px, as JPEG has it: decoders keep a pointer for every row, and more
# No EPS (Pillow would run Ghostscript on it), nothing that has no magic number.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
FORMATS_HINT = "save it as png, jpeg, webp, avif or tiff"

# What Pillow's decoders raise on files they do not like.
_PILLOW = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, struct.error, zlib.error)


def read_image(path: Path) -> ImageFacts:
    """Given a picture file, return the digest of what it shows, its size, and what was decided about it.

    The same picture saved again without loss has the same `pixels`. Raise LtxflowError when the file is
    missing, unreadable, cut short, of a kind that is not read (svg, heic), or larger than 80 megapixels: that
    is refused before decoding.
    """
    picture, notes = _decoded(path)
    return ImageFacts(_digest(picture), picture.width, picture.height, tuple(notes))


def open_image(path: Path) -> Image.Image:
    """Given a picture file, return the RGB picture it shows. Raise LtxflowError as `read_image` does."""
    return _decoded(path)[0]


def save_png(picture: Image.Image, out: Path) -> None:
    """Given a picture, write it as PNG, without loss and without tags."""
    picture.save(out, "PNG", compress_level=1, icc_profile=None)  # it is sRGB now, whatever it was


def prepare_image(
    path: Path,
    size: tuple[int, int],
    fit: Fit = "cover",
    focus: tuple[float, float] = (0.5, 0.5),
    expect: Digest | None = None,
) -> bytes:
    """Given a picture file and a size in px, return an RGB PNG of exactly that size, resampled with LANCZOS.

    `cover` fills the frame and cuts what is over, keeping `focus` (x, y from 0 to 1) as near the middle as
    the picture allows; `contain` shows all of it between black bars; `stretch` distorts. Raise LtxflowError
    as `read_image` does, and when the picture is no longer the one whose digest is `expect`.
    """
    if min(size) < 1 or not all(0 <= f <= 1 for f in focus):
        raise ValueError(f"size {size}, focus {focus}")
    picture, _ = _decoded(path)
    if expect is not None and _digest(picture) != expect:
        message = f'"{path.name}" changed while the film was being built'
        raise LtxflowError(Problem(message, hint="build again, to use it as it is now", code="changed"))
    with io.BytesIO() as png:
        _fitted(picture, size, fit, focus).save(png, "PNG", compress_level=1)
        return png.getvalue()


def _fitted(picture: Image.Image, size: tuple[int, int], fit: Fit, focus: tuple[float, float]) -> Image.Image:
    width, height = picture.size
    if fit == "stretch":
        return picture.resize(size, Image.Resampling.LANCZOS)
    if fit == "contain":
        scale = min(size[0] / width, size[1] / height)
        inner = (min(size[0], max(1, round(width * scale))), min(size[1], max(1, round(height * scale))))
        frame = Image.new("RGB", size)
        small = picture.resize(inner, Image.Resampling.LANCZOS)
        frame.paste(small, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        return frame
    scale = max(size[0] / width, size[1] / height)
    window = (min(width, size[0] / scale), min(height, size[1] / scale))
    left = min(max(focus[0] * width - window[0] / 2, 0), width - window[0])
    top = min(max(focus[1] * height - window[1] / 2, 0), height - window[1])
    box = (left, top, left + window[0], top + window[1])
    return picture.resize(size, Image.Resampling.LANCZOS, box=box)


def _digest(picture: Image.Image) -> Digest:
    tag = f"pixels/1 {picture.width}x{picture.height}\n".encode()
    return Digest(hashlib.sha256(tag + picture.tobytes()).hexdigest())


def _decoded(path: Path) -> tuple[Image.Image, list[str]]:
    notes: list[str] = []
    with _reading(path), _opened(path) as picture:
        pixels = picture.width * picture.height
        if pixels > PIXELS_MAX:
            raise LtxflowError(_too_large(path, f"{pixels / 1e6:.0f}"))
        if max(picture.size) > SIDE_MAX:
            message = f'"{path.name}" is {picture.width}x{picture.height} px; at most {SIDE_MAX} px a side are read'
            raise LtxflowError(Problem(message, hint="crop it to the part that is shown", code="too-large"))
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            what = "pages" if picture.format == "TIFF" else "frames"
            notes.append(f"it has several {what}; only the first is used")
            picture.seek(0)
        picture.load()
        shown = _rgb(ImageOps.exif_transpose(picture), notes)
    return shown, notes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Pillow raises on a bad file into our error, saying as much as can be said.

    What it only warns of (odd tags, and sizes above a limit that is higher than ours) is not for our users.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise LtxflowError(_too_large(path, "more than 170")) from error
    except FileNotFoundError as error:
        raise LtxflowError(Problem(f'there is no picture "{path.name}"', code="missing")) from error
    except _PILLOW as error:
        raise LtxflowError(_unreadable(path, error)) from error


def _opened(path: Path) -> Image.Image:
    Image.init()
    return Image.open(path, formats=[f for f in FORMATS if f in Image.OPEN])


def _too_large(path: Path, megapixels: str) -> Problem:
    message = f'"{path.name}" has {megapixels} megapixels; at most {PIXELS_MAX // 1_000_000} are read'
    return Problem(message, hint="save it smaller: a frame needs no more than two", code="too-large")


def _unreadable(path: Path, error: BaseException) -> Problem:
    if path.is_dir():
        return Problem(f'"{path.name}" is a folder, not a picture', code="unreadable")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as refused:
        return Problem(f'cannot read "{path.name}": {(refused.strerror or "").lower()}', code="missing")
    if not head:
        return Problem(f'"{path.name}" is empty', code="empty")
    if b"<svg" in head.lower():
        return Problem(f'"{path.name}" is an svg drawing', hint="export it as png", code="unreadable")
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return Problem(f'"{path.name}" is a heic picture', hint=FORMATS_HINT, code="unreadable")
    if head.lstrip()[:1] == b"<":
        hint = "whoever served it answered with a message instead of the file"
        return Problem(f'"{path.name}" is a web page, not a picture', hint=hint, code="unreadable")
    if isinstance(error, UnidentifiedImageError):
        return Problem(f'"{path.name}" is not a picture that can be read', hint=FORMATS_HINT, code="unreadable")
    hint = "copy or export it again"
    return Problem(f'"{path.name}" is damaged or cut short: {str(error).lower()}', hint=hint, code="damaged")


def _rgb(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Given a loaded picture of any mode, return it in 8-bit sRGB, saying in `notes` what was decided."""
    profile = picture.info.get("icc_profile")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or picture.has_transparency_data:
        layered = picture.convert("RGBA")
        alpha = layered.getchannel("A")
        colours = _in_srgb(layered.convert("RGB"), profile, notes)
        return _on_plain(colours, alpha, notes)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _in_8_bits(picture, notes)
    elif picture.mode in ("1", "P", "PA", "RGBX", "YCbCr", "HSV"):
        picture = picture.convert("RGB")
    return _in_srgb(picture, profile, notes)


def _on_plain(colours: Image.Image, alpha: Image.Image, notes: list[str]) -> Image.Image:
    """Put a picture with see-through parts on white, or on black where what is seen is itself light.

    So a white logo stays readable. One decision a picture, by the mean lightness of what is seen.
    """
    seen = np.asarray(alpha, np.float64)
    if seen.min() == 255:
        return colours
    light = np.asarray(colours.convert("L"), np.float64)
    mean = float((light * seen).sum() / max(seen.sum(), 1))
    name = "black" if mean >= 160 else "white"
    notes.append(f"its see-through parts become {name}: models know no transparency")
    plain = Image.new("RGB", colours.size, name)
    plain.paste(colours, mask=alpha)
    return plain


def _in_8_bits(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits or more, which Pillow would clip.

    Whole numbers up to 65535 are 16-bit; other ranges are guessed by the largest value and noted.
    """
    values = np.nan_to_num(np.asarray(picture, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0))
    white = 65535.0
    if not picture.mode.startswith("I;16") and not (picture.mode == "I" and 255 < top <= 65535):
        white = 1.0 if picture.mode == "F" and top <= 1 else 255.0 if top <= 255 else max(top, 1.0)
        notes.append(f"its grey values have no fixed range; {white:g} is taken as white")
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8), "L")


def _in_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Given L, RGB, CMYK or LAB, return sRGB. An sRGB profile changes nothing, not even by rounding."""
    if picture.mode == "LAB":
        return _through(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in ImageCms.getProfileDescription(source).lower():
                return picture.convert("RGB")
            return _through(picture, source)
        except (ImageCms.PyCMSError, OSError):
            notes.append("its colour profile cannot be used; its colours are taken as sRGB")
    elif picture.mode == "CMYK":
        notes.append("it is CMYK without a colour profile: its colours are a guess")
    return picture.convert("RGB")


def _through(picture: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    result = ImageCms.profileToProfile(
        picture,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert result is not None  # only with inPlace
    return result
