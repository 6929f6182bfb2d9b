"""Decode reference pictures, and fit them to the size that a model needs.

All pictures are decoded in one way: upright (EXIF), sRGB (ICC), 8 bits, no transparency, one picture. ComfyUI's own
loader drops transparency (hidden colours appear) and treats an animated file as a batch; ours does not.

Take things out of pictures and videos: single frames, posters, faults of decoding, and ComfyUI's workflow.

Frames have numbers from 0. A poster is a small JPEG, shown where the video is not played.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ltxflow.core.digest import Digest
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.workspace import opened_regular
from ltxflow.media.fit import Fit, ImageFacts
from ltxflow.media.probe import probe_mp4

PIXELS_MAX = 80_000_000
SIDE_MAX = 65_535  # px, as in JPEG: decoders keep a pointer for every row, and more
# No EPS (Pillow would run Ghostscript on it), no format without a magic number.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")

# Tags of raw photographs, which are TIFF files with a preview first (TIFF 6.0; Adobe DNG 1.7).
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706
RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"\0MRM", b"FOVb")  # Fujifilm, Panasonic, Olympus, …

# The errors of Pillow's decoders on bad files.
_PILLOW = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, struct.error, zlib.error)


def read_image(path: Path) -> ImageFacts:
    """Return the digest of a picture's pixels, its size, and warnings about its decoding.

    The same picture saved again without loss has the same `pixels`. Raise LtxflowError when the file is missing,
    unreadable, cut short, in an unsupported format (svg, heic), or, before decoding, larger than 80 megapixels.
    """
    picture, notes = _decoded(path)
    return ImageFacts(_digest(picture), picture.width, picture.height, tuple(notes))


def open_image(path: Path) -> Image.Image:
    """Return the RGB picture in a file. Raise LtxflowError as `read_image` does."""
    return _decoded(path)[0]


def save_png(picture: Image.Image, out: Path) -> None:
    """Write a picture as PNG, without loss and without tags."""
    picture.save(out, "PNG", compress_level=1, icc_profile=None)  # it is sRGB already


def prepare_image(
    path: Path,
    size: tuple[int, int],
    fit: Fit = "cover",
    focus: tuple[float, float] = (0.5, 0.5),
    expect: Digest | None = None,
) -> bytes:
    """Return an RGB PNG of a picture file at exactly a size in px, resampled with LANCZOS.

    `cover` fills the frame and crops the rest, keeping `focus` (x, y from 0 to 1) as near the middle as the picture
    allows; `contain` shows all of it between black bars; `stretch` distorts. Raise LtxflowError as `read_image` does,
    and when the picture's digest differs from `expect`.
    """
    if min(size) < 1 or not all(0 <= f <= 1 for f in focus):
        raise ValueError(f"size {size}, focus {focus}")
    picture, _ = _decoded(path)
    if expect is not None and _digest(picture) != expect:
        raise LtxflowError(problem("M018", name=path.name))
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


def _is_raw(picture: Image.Image) -> bool:
    """Return whether a TIFF is a camera's raw file, of which Pillow would read the small preview."""
    tags = getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}
    return tags.get(NEW_SUBFILE_TYPE) == 1 or DNG_VERSION in tags


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
            width, height = picture.size
            raise LtxflowError(problem("M013.side", name=path.name, most=SIDE_MAX, width=width, height=height))
        if _is_raw(picture):
            raise LtxflowError(problem("M002.raw", name=path.name))
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            what = "pages" if picture.format == "TIFF" else "frames"
            notes.append(f"it has several {what}; only the first is used")
            picture.seek(0)
        picture.load()
        shown = _rgb(ImageOps.exif_transpose(picture), notes)
    return shown, notes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn Pillow's errors into ours, as specific as possible.

    Its warnings (odd tags, and sizes above a limit that is higher than ours) are suppressed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise LtxflowError(_too_large(path, "more than 170")) from error
    except FileNotFoundError as error:
        raise LtxflowError(problem("M001.picture", name=path.name)) from error
    except _PILLOW as error:
        raise LtxflowError(_unreadable(path, error)) from error


def _opened(path: Path) -> Image.Image:
    Image.init()
    return Image.open(path, formats=[f for f in FORMATS if f in Image.OPEN])


def _too_large(path: Path, megapixels: str) -> Problem:
    return problem("M013.megapixels", name=path.name, megapixels=megapixels, most=PIXELS_MAX // 1_000_000)


def _unreadable(path: Path, error: BaseException) -> Problem:
    name = path.name
    if path.is_dir():
        return problem("M002.folder", name=name)
    try:
        with opened_regular(path) as file:
            head = file.read(1024)
    except OSError as refused:
        return problem("M001.system", name=name, reason=(refused.strerror or "").lower())
    if not head:
        return problem("M003.picture", name=name)
    if b"<svg" in head.lower():
        return problem("M002.svg", name=name)
    if head.startswith(RAW_HEADS) or head[4:12] == b"ftypcrx " or head[8:10] == b"CR":
        return problem("M002.raw", name=name)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return problem("M002.heic", name=name)
    if head.lstrip()[:1] == b"<":
        return problem("M002.page", name=name)
    if isinstance(error, UnidentifiedImageError):
        return problem("M002.picture", name=name)
    return problem("M004.picture", name=name, reason=str(error).lower())


def _rgb(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Return a loaded picture of any mode in 8-bit sRGB, adding decisions to `notes`."""
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
    """Put a picture with transparent parts on white, or on black if its visible parts are light.

    This keeps a white logo readable. The mean lightness of the visible parts decides for the whole picture.
    """
    visible = np.asarray(alpha, np.float64)
    if visible.min() == 255:
        return colours
    light = np.asarray(colours.convert("L"), np.float64)
    mean = float((light * visible).sum() / max(visible.sum(), 1))
    name = "black" if mean >= 160 else "white"
    notes.append(f"its transparent parts become {name}: models have no transparency")
    plain = Image.new("RGB", colours.size, name)
    plain.paste(colours, mask=alpha)
    return plain


def _in_8_bits(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Convert grey of 16 bits or more, which Pillow would clip.

    Whole numbers up to 65535 are 16-bit; other ranges are guessed from the largest value and noted.
    """
    values = np.nan_to_num(np.asarray(picture, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0))
    white = 65535.0
    if not picture.mode.startswith("I;16") and not (picture.mode == "I" and 255 < top <= 65535):
        white = 1.0 if picture.mode == "F" and top <= 1 else 255.0 if top <= 255 else max(top, 1.0)
        notes.append(f"its grey values have no fixed range; {white:g} is taken as white")
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8), "L")


def _in_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert L, RGB, CMYK or LAB to sRGB. An sRGB profile changes nothing, not even by rounding."""
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


def undecodable(path: Path) -> str:
    """Decode all pictures and sound of an mp4; return the reason if that fails, or ""."""
    try:
        facts = probe_mp4(path)
        pictures = 0
        with av.open(str(path)) as container:
            for stream in container.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.options = {"err_detect": "explode"}  # else faults are concealed
            for packet in container.demux():
                if packet.stream.type in ("video", "audio"):
                    pictures += sum(isinstance(frame, VideoFrame) for frame in packet.decode())
    except LtxflowError as error:
        return error.problems[0].message
    except (FFmpegError, OSError) as error:
        return f"it does not decode: {str(error).lower()}"
    return "" if pictures == facts.frames else f"it decodes to {pictures} pictures of {facts.frames}"


PNG = b"\x89PNG\r\n\x1a\n"
Picture = NDArray[np.uint8]  # (height, width, 3), RGB


def last_frame(path: Path) -> Picture:
    """Return the last picture of a video that decodes, by the file's colour tags.

    Decodes the whole file: half a second for 121 frames of 1536x1024. Raise LtxflowError when it is missing, damaged or
    without pictures.
    """
    last = None
    for frame in _decoded_frames(path):
        last = frame
    if last is None:
        raise LtxflowError(problem("M008.none", name=path.name))
    return _picture(last)


def frame_at(path: Path, index: int) -> Picture:
    """Return the picture of a video with a number from 0. Raise LtxflowError where it does not exist.

    Decodes from the start, which is exact for every file.
    """
    count = 0
    if index >= 0:
        for frame in _decoded_frames(path):
            if count == index:
                return _picture(frame)
            count += 1
    if count:
        raise LtxflowError(problem("M009.past-end", name=path.name, frame=index, count=count))
    raise LtxflowError(problem("M009.none", name=path.name, frame=index))


def save_frame(source: Path, index: int | None, out: Path) -> ImageFacts:
    """Save a frame of a video, or a picture that is its last frame already, as PNG, and return its facts.

    `index` counts from 0, None is the last frame. Raise LtxflowError for a frame that does not exist.
    """
    with opened_regular(source) as file:
        is_picture = file.read(len(PNG)) == PNG
    if is_picture:
        save_png(open_image(source), out)
    else:
        save_png(Image.fromarray(last_frame(source) if index is None else frame_at(source, index)), out)
    return read_image(out)


def decode_count(path: Path) -> int:
    """Decode all pictures and sound of a video, and return the number of pictures.

    Finds faults that `probe_mp4` cannot: holes and broken data inside the file. A flipped bit may still pass; only a
    digest finds that. Raise LtxflowError when something does not decode.
    """
    count = sum(1 for _ in _decoded_frames(path))
    if count == 0:
        raise LtxflowError(problem("M008.none", name=path.name))
    for _ in _decoded_frames(path, sound=True):
        pass
    return count


def _decoded_frames(path: Path, sound: bool = False) -> Iterator[VideoFrame]:
    if not path.is_file():
        raise LtxflowError(problem("M001.video", name=path.name))
    try:
        with av.open(str(path)) as container:
            streams = container.streams.audio if sound else container.streams.video
            if streams:
                yield from container.decode(streams[0])  # type: ignore[misc]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=path.name)) from error


def _picture(frame: VideoFrame) -> Picture:
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


LONG_SIDE = 480  # px
QUALITY = 82  # of 100; a picture has about 25 kB


def draw_poster(video: Path) -> bytes:
    """Return the middle picture of a video as a JPEG; the same file and libraries give the same bytes.

    Decodes from the key frame before it. Raise LtxflowError when that fails.
    """
    try:
        return _jpeg(_middle(video))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=video.name)) from error


def scaled(source: Path, index: int, form: str, most_px: int | None) -> tuple[bytes, tuple[int, int]]:
    """Return a frame of a video, or a picture, in a format of Pillow, and its size.

    Its longer side is at most `most_px`. Raise LtxflowError for a frame that does not exist.
    """
    with opened_regular(source) as file:
        is_picture = file.read(16).startswith(_PICTURES)
    picture = (open_image(source) if is_picture else Image.fromarray(frame_at(source, index))).convert("RGB")
    if most_px is not None and max(picture.size) > most_px:
        picture.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    out = BytesIO()
    picture.save(out, form, quality=90)
    return out.getvalue(), picture.size


def _middle(video: Path) -> Image.Image:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base, start = stream.time_base or Fraction(1, 25), stream.start_time or 0
        wanted = start + (stream.duration or 0) // 2
        container.seek(wanted, stream=stream)
        shown = None
        for frame in container.decode(stream):
            if shown is None or frame.pts is None or frame.pts <= wanted:
                shown = frame
            if frame.pts is not None and frame.pts + Fraction(1, stream.average_rate or 25) / base > wanted:
                break
        if shown is None:
            raise ValueError("no pictures")
        return Image.fromarray(shown.to_ndarray(format="rgb24"))


def _jpeg(picture: Image.Image) -> bytes:
    scale = min(1.0, LONG_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    out = BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


NAMES = ("prompt", "workflow")  # in API format, and in the editor's format
MAX_TEXT = 8 << 20  # characters

# The first bytes of files. ComfyUI `nodes.py` SaveImage, `comfy_extras/nodes_images.py` and `nodes_video.py`.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff")
_VIDEOS = (b"\x1aE\xdf\xa3",)


def is_media(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a picture or a video."""
    return head.startswith((*_PICTURES, *_VIDEOS)) or head[4:8] == b"ftyp"


def embedded_workflow(file: Path) -> str:
    """Return the text of the workflow in a picture or video, in API format if present, else the editor's.

    Raise LtxflowError for a file that cannot be read, and for one without a workflow.
    """
    with file.open("rb") as opened:
        head = opened.read(16)
    tags = _picture_tags(file) if head.startswith(_PICTURES) else _video_tags(file)
    for name in NAMES:
        text = tags.get(name, "")
        if text.lstrip().startswith("{") and len(text) <= MAX_TEXT:
            return _without_constants(text)
    raise LtxflowError(problem("M026.none", name=file.name))


def _picture_tags(file: Path) -> dict[str, str]:
    try:
        with Image.open(file) as picture:
            found = {str(name): str(text) for name, text in picture.info.items() if isinstance(text, str)}
            exif = [str(value) for value in picture.getexif().values() if isinstance(value, str)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LtxflowError(problem("M026.unreadable", name=file.name, reason=error)) from None
    for value in exif:  # WebP: "prompt:{…}" each in a field
        name, _, text = value.partition(":")
        found.setdefault(name.lower(), text)
    return found


def _video_tags(file: Path) -> dict[str, str]:
    try:
        with av.open(str(file), metadata_errors="ignore") as container:
            found = {name.lower(): text for name, text in container.metadata.items()}
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LtxflowError(problem("M026.unreadable", name=file.name, reason=error)) from None
    comment = found.get("comment", "")
    if comment.startswith("{") and len(comment) <= MAX_TEXT:  # VHS_VideoCombine
        try:
            inner: Any = json.loads(comment)
        except (ValueError, RecursionError):
            inner = {}
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            found.setdefault(str(name), value if isinstance(value, str) else json.dumps(value))
    return found


def _without_constants(text: str) -> str:
    """Return JSON without NaN, which servers write for comparison values: `"is_changed": [NaN]`."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    try:
        return json.dumps(json.loads(text, parse_constant=lambda word: None), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
