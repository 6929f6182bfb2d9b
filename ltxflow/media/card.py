"""Lay out and draw the still part of a slate.

The drawing depends on the spec and the reference alone; position in the film and titles are not part of it, so that
reordering and renaming redraw nothing.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ltxflow.media.bidi import is_right_to_left
from ltxflow.media.image import open_image
from ltxflow.media.text_layout import Colour, Style, can_shape, clipped, draw_text, fitted, plain, width_of

NUMBER_BITS = 12  # frame numbers are shown modulo 4096

Area = tuple[int, int, int, int]  # left, top, right, bottom
Light = NDArray[np.float32]  # of each pixel, from 0 to 1


@dataclass(frozen=True)
class SlateSpec:
    """The content of a slate except the reference picture. `width` and `height` are even, in px."""

    width: int
    height: int
    fps: int | Fraction
    frames: int
    scene: str  # ids
    clip: str
    take: int
    prompt: str
    camera: str = ""
    starts: str = ""  # the start of the clip, without a picture of it


@dataclass(frozen=True)
class Layout:
    """The positions on a slate, which follow from its size alone, so that frame numbers can be read with it."""

    width: int
    height: int
    unit: float  # a hundredth of the picture's mean side
    margin: int
    strip_top: int
    bar: int  # height of the progress bar
    digits: int  # size of the strip's text
    baseline: int
    block: int
    block_top: int

    @classmethod
    def of(cls, width: int, height: int) -> Layout:
        unit = math.sqrt(width * height) / 100
        margin = max(6, round(min(width, height) * 0.058))
        strip = 2 * max(11, round(min(width, height) * 0.046))
        bar = 2 * max(1, round(unit * 0.22))
        digits = max(6, round(min((strip - bar) * 0.40, (width / 2 - margin) / 10.6)))
        middle = height - (strip - bar) / 2
        block = min(max(4, round(digits * 0.5)), (width - 8) // (NUMBER_BITS + 2) - 1)
        return cls(
            width,
            height,
            unit,
            margin,
            height - strip,
            bar,
            digits,
            round(middle + digits * 0.357),  # half the height of Noto Sans' digits
            block,
            round(middle - block / 2),
        )

    @property
    def blocks(self) -> range:
        """The left edges of the blocks: a white one, the bits from the highest, and a parity bit."""
        step = self.block + max(1, self.block // 5)
        count = NUMBER_BITS + 2
        left = (self.width - count * step) // 2
        return range(left, left + count * step, step)

    def size(self, units: float, least: int = 8) -> int:
        return max(least, round(units * self.unit))


@dataclass(frozen=True)
class Palette:
    """Colours of one hue, from the scene's id, so that the clips of a scene look related."""

    accent: Colour
    text: Colour
    muted: Colour
    top: Colour
    bottom: Colour
    strip: Colour
    track: Colour

    @classmethod
    def of(cls, scene: str) -> Palette:
        hue = lot(scene, "hue") * 360
        return cls(
            accent=_oklch(0.80, 0.125, hue),
            text=_oklch(0.965, 0.008, hue),
            muted=_oklch(0.70, 0.025, hue),
            top=_oklch(0.345, 0.050, hue),
            bottom=_oklch(0.195, 0.022, hue),
            strip=_oklch(0.155, 0.014, hue),
            track=_oklch(0.31, 0.03, hue),
        )


def lot(scene: str, what: str) -> float:
    """Return a permanent pseudo-random number from 0 to 1 for a property of a scene."""
    return int.from_bytes(hashlib.sha256(f"slate/{what}/{scene}".encode()).digest()[:4], "big") / 2**32


def _oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """Convert a colour in OKLCH (bottosson.github.io/posts/oklab) to 8-bit sRGB."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (
        round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))
        for c in (min(max(c, 0.0), 1.0) for c in linear)
    )
    return red, green, blue


def draw_card(spec: SlateSpec, reference: Path | None = None) -> Image.Image:
    """Draw the still part of a slate, with an empty strip."""
    layout, palette = Layout.of(spec.width, spec.height), Palette.of(spec.scene)
    picture = None if reference is None else open_image(reference)
    card = _background(layout, palette, leader=picture is None)
    draw = ImageDraw.Draw(card)
    _draw_edges(draw, spec, layout, palette)
    top = _draw_badge(card, layout, palette) + layout.size(2.6, 4)
    left, right, bottom = layout.margin, layout.width - layout.margin, layout.strip_top - layout.size(2.2, 5)
    if picture is None:
        wide = min(right, left + max(round((right - left) * 0.64), layout.size(62)))
        top = _draw_title(draw, spec, palette, layout, (left, top, right))
        _draw_words(draw, spec, palette, layout, (left, top, wide, bottom))
        return card
    middle = left + round((right - left) * 0.47)
    beside = (middle + layout.size(3.4), top + layout.size(0.6, 1), right, bottom)
    under = (left, top + layout.size(13.5), right, top + round((bottom - top) * 0.62))
    if middle - left >= layout.size(40) and _share(picture, beside) >= _share(picture, under):
        top = _draw_title(draw, spec, palette, layout, (left, top, middle))
        _draw_picture(card, picture, palette, layout, beside)
        _draw_words(draw, spec, palette, layout, (left, top, middle, bottom))
    else:
        _draw_title(draw, spec, palette, layout, (left, top, right))
        top = _draw_picture(card, picture, palette, layout, under)
        _draw_words(draw, spec, palette, layout, (left, top, right, bottom))
    return card


def _share(picture: Image.Image, area: Area) -> float:
    """Return the scale of a picture that is fitted into an area."""
    return min((area[2] - area[0]) / picture.width, (area[3] - area[1]) / picture.height)


def _background(layout: Layout, palette: Palette, leader: bool) -> Image.Image:
    """Draw a glow from the upper left, dithered against bands; with `leader`, a film leader's rings and cross."""
    y, x = np.mgrid[0 : layout.height, 0 : layout.width].astype(np.float32)
    diagonal = math.hypot(layout.width, layout.height)
    far = np.clip(np.hypot(x, y) / (diagonal * 0.92), 0, 1)
    light = (1 - far) ** 2 * 0.9 + 0.1 * (1 - y / layout.height)
    ink = np.zeros_like(light)
    if leader:
        wide = layout.width > layout.height * 1.2
        centre = (layout.width * (0.8 if wide else 0.66), layout.strip_top * (0.53 if wide else 0.7))
        radius = min(layout.width, layout.strip_top) * (0.33 if wide else 0.27)
        ink = _leader(x - centre[0], y - centre[1], radius, layout) * np.float32(0.14)
    noise = np.modf(52.9829189 * np.modf(0.06711056 * x + 0.00583715 * y)[0])[0]  # interleaved gradient noise
    planes = []
    for low, high, accent in zip(palette.bottom, palette.top, palette.accent, strict=True):
        plane = low + (high - low) * light
        plane += (accent - plane) * ink
        planes.append(np.floor(plane + noise).clip(0, 255).astype(np.uint8))
    return Image.fromarray(np.stack(planes, axis=-1), "RGB")


def _leader(x: Light, y: Light, radius: float, layout: Layout) -> Light:
    half = max(0.5, layout.unit * 0.07)
    distance = np.hypot(x, y)
    ink = np.zeros_like(x)
    for ring in (radius, radius * 0.84):
        ink = np.maximum(ink, np.clip(half + 0.5 - np.abs(distance - ring), 0, 1))
    for line, along in ((np.abs(x), np.abs(y)), (np.abs(y), np.abs(x))):
        ink = np.maximum(ink, np.clip(half + 0.5 - line, 0, 1) * (along < radius * 1.25))
    swept = (np.arctan2(x, -y) % (2 * math.pi) < math.radians(105)) & (distance < radius * 0.84)
    return np.maximum(ink, swept.astype(np.float32) / 4)


def _draw_edges(draw: ImageDraw.ImageDraw, spec: SlateSpec, layout: Layout, palette: Palette) -> None:
    """Draw the clapper's stripes along the top; at the bottom the strip, its track and a tick for every second."""
    tall = max(3, layout.size(0.95, 3))
    step = tall * 2.4
    draw.rectangle((0, 0, layout.width, tall - 1), fill=palette.strip)
    for number in range(-1, math.ceil(layout.width / step) + 1):
        left = number * step
        draw.polygon(
            [(left + tall, 0), (left + tall + step / 2, 0), (left + step / 2, tall - 1), (left, tall - 1)],
            fill=palette.accent,
        )
    draw.rectangle((0, layout.strip_top, layout.width, layout.height), fill=palette.strip)
    draw.rectangle((0, layout.strip_top, layout.width, layout.strip_top + layout.bar - 1), fill=palette.track)
    second = Fraction(spec.fps) / spec.frames * layout.width
    if second >= 3 * layout.bar:
        top = layout.strip_top + layout.bar
        for number in range(1, math.ceil(layout.width / second)):
            x = round(number * second)
            draw.rectangle((x, top, x + layout.bar // 6, top + layout.bar - 1), fill=palette.muted)


def _draw_badge(card: Image.Image, layout: Layout, palette: Palette) -> int:
    """Draw ANIMATIC, and its meaning. Return its lower edge."""
    style = Style(layout.size(1.55), 800, 0.12)
    pad = round(style.size * 0.75)
    left, top = layout.margin, max(layout.size(0.95, 3) + 3, round(layout.margin * 0.92))
    width, height = round(width_of("ANIMATIC", style)) + 2 * pad, round(style.size * 1.85)
    _paste(card, palette.accent, _rounded(width, height, height * 0.28), (left, top))
    draw = ImageDraw.Draw(card)
    baseline = top + height / 2 + style.size * 0.357
    draw_text(draw, left + pad, baseline, "ANIMATIC", style, palette.strip)
    beside = left + width + pad
    note = Style(layout.size(1.55), 500)
    for text in ("placeholder — not a render", "not a render"):
        if beside + width_of(text, note) <= layout.width - layout.margin:
            draw_text(draw, beside, baseline, text, note, palette.muted)
            break
    return top + height


def _draw_title(
    draw: ImageDraw.ImageDraw, spec: SlateSpec, palette: Palette, layout: Layout, area: tuple[int, int, int]
) -> int:
    """Draw the clip's name, large; below it the take and the numbers. Return their lower edge."""
    left, top, right = area
    scene, clip = plain(spec.scene), plain(spec.clip)
    least = layout.size(2.6, 10)
    size = max(least, layout.size(6.4, 12))
    light, heavy = Style(size, 300), Style(size, 800)
    while size > least and _title_width(scene, clip, light, heavy) > right - left:
        size = max(least, size - max(1, size // 20))
        light, heavy = Style(size, 300), Style(size, 800)
    clip = clipped(clip, (right - left) * 0.55, heavy)
    scene = clipped(scene, right - left - _title_width("", clip, light, heavy), light)
    baseline = top + round(size * 0.74)
    x = draw_text(draw, left, baseline, scene, light, palette.text)
    x = draw_text(draw, x + size * 0.18, baseline, "/", light, palette.accent)
    draw_text(draw, x + size * 0.18, baseline, clip, heavy, palette.text)
    line = Style(layout.size(1.75), 500)
    baseline += round(size * 0.34) + round(line.size * 1.05)
    x = draw_text(draw, left, baseline, f"Take {spec.take}", Style(line.size, 700), palette.accent)
    seconds = f"{float(spec.frames / Fraction(spec.fps)):.2f} s"
    frames = f"{spec.frames} frames" if spec.frames != 1 else "1 frame"
    facts = [seconds, frames, f"{float(spec.fps):g} fps", f"{spec.width} × {spec.height}"]
    for fact in facts:
        text = f"   ·   {fact}"
        if x + width_of(text, line) > right:
            break
        x = draw_text(draw, x, baseline, text, line, palette.muted)
    return baseline + round(line.size * 0.3)


def _title_width(scene: str, clip: str, light: Style, heavy: Style) -> float:
    return width_of(scene, light) + width_of("/", light) + width_of(clip, heavy) + light.size * 0.36


def _draw_words(
    draw: ImageDraw.ImageDraw,
    spec: SlateSpec,
    palette: Palette,
    layout: Layout,
    area: Area,
) -> None:
    """Draw the start, the camera's move, and as much of the prompt as is readable."""
    left, top, right, bottom = area
    label = Style(layout.size(1.2, 7), 700, 0.14)
    blocks = (
        ("START", plain(spec.starts), 2.3, 0.25),
        ("CAMERA", plain(spec.camera), 2.3, 0.3),
        ("PROMPT", plain(spec.prompt), 2.6, 1.0),
    )
    for name, text, largest, share in blocks:
        body = top + layout.size(2.6, 4) + round(label.size * 1.9)
        sizes = range(layout.size(largest), layout.size(1.55) - 1, -1)
        style, lines = fitted(text, right - left, (bottom - body) * share, sizes, 1.42)
        if not lines:
            continue
        from_right = is_right_to_left(text) and can_shape()
        start = right - width_of(name, label) if from_right else left
        draw_text(draw, start, body - round(label.size * 0.9), name, label, palette.accent)
        for number, line in enumerate(lines):
            baseline = body + round(style.size * (0.80 + 1.42 * number))
            start = right - width_of(line, style) if from_right else left
            draw_text(draw, start, baseline, line, style, palette.text, from_right)
        top = body + round(style.size * (1.0 + 1.42 * (len(lines) - 1)))


def _draw_picture(card: Image.Image, picture: Image.Image, palette: Palette, layout: Layout, area: Area) -> int:
    """Draw the whole reference, framed, at the top of its area. Return the lower edge of its label."""
    left, top, right, bottom = area
    label = Style(layout.size(1.2, 7), 700, 0.14)
    room = (right - left, max(8, bottom - top - round(label.size * 2.0)))
    scale = min(room[0] / picture.width, room[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    x = left + (room[0] - size[0]) // 2 * (size[0] < room[0] * 0.7)
    radius = min(layout.unit * 1.1, min(size) / 4)
    blur = max(2, round(layout.unit * 1.6))
    _paste(card, (0, 0, 0), _shadow(size, radius, blur), (x - blur, top - blur + blur // 2))
    edge = max(1, round(layout.unit * 0.16))
    outer = _rounded(size[0] + 2 * edge, size[1] + 2 * edge, radius + edge)
    _paste(card, palette.accent, outer, (x - edge, top - edge))
    card.paste(picture.resize(size, Image.Resampling.LANCZOS), (x, top), _rounded(*size, radius))
    baseline = top + size[1] + round(label.size * 1.9)
    draw_text(ImageDraw.Draw(card), x, baseline, "REFERENCE", label, palette.muted)
    return baseline + round(label.size * 0.3)


def _paste(card: Image.Image, colour: Colour, mask: Image.Image, at: tuple[int, int]) -> None:
    card.paste(Image.new("RGB", mask.size, colour), at, mask)


def _rounded(width: int, height: int, radius: float) -> Image.Image:
    """Return a smooth mask of a box with round corners, from the distance to its edge."""
    return _mask(np.clip(0.5 - _outside(width, height, radius, 0), 0, 1))


def _shadow(size: tuple[int, int], radius: float, blur: int) -> Image.Image:
    near = np.clip(1 - (_outside(*size, radius, blur) + blur / 2) / (1.5 * blur), 0, 1)
    return _mask(near * near * np.float32(0.55))


def _mask(light: Light) -> Image.Image:
    return Image.fromarray(np.rint(light * 255).astype(np.uint8), "L")


def _outside(width: int, height: int, radius: float, around: int) -> Light:
    """Return the distance of each pixel of a box, and of `around` px about it, to its rounded edge."""

    def beyond(side: int) -> Light:
        along = np.arange(-around, side + around, dtype=np.float32)
        far: Light = np.abs(along + np.float32(0.5 - side / 2)) - np.float32(side / 2 - radius)
        return far

    x, y = beyond(width), beyond(height)
    corner = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    inside = np.minimum(np.maximum(x[None, :], y[:, None]), 0)
    distance: Light = corner + inside - np.float32(radius)
    return distance
