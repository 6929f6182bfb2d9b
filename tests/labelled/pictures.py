"""Stills for the labelled clips: landscapes, streets, rooms, portraits, nights. Arrays (rows, columns, 3), 0…255."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.float32]

STILLS = ("landscape", "street", "room", "portrait", "abstract")


def texture(rng: np.random.Generator, width: int, height: int, falling: float = 1.2, stretch: float = 1.0) -> Picture:
    """Return noise whose spectrum falls with frequency, as nature's does: (rows, columns), mean 0, deviation 1.

    `stretch` above 1 draws it out sideways.
    """
    across = np.fft.rfftfreq(width)[None] * width * stretch
    down = np.fft.fftfreq(height)[:, None] * height
    waves = np.fft.rfft2(rng.normal(size=(height, width))) * np.maximum(np.hypot(across, down), 1) ** -falling
    made = np.fft.irfft2(waves, (height, width))
    return np.asarray((made - made.mean()) / made.std(), np.float32)


@lru_cache(maxsize=12)
def still(kind: str, seed: int, width: int, height: int) -> Picture:
    """Return a still of that kind, of `width` × `height` px. Its array is shared: do not write into it."""
    rng = np.random.default_rng([seed, STILLS.index(kind)])
    made = np.clip(_PAINTERS[kind](rng, width, height), 4, 248).astype(np.float32)
    made.setflags(write=False)
    return made


def _colour(rng: np.random.Generator, low: int = 30, high: int = 220) -> tuple[int, int, int]:
    """A colour as things have it: mostly grey, a little of something."""
    grey, tint = float(rng.uniform(low, high)), rng.normal(size=3) * (high - low) * 0.11
    red, green, blue = (int(level) for level in np.clip(grey + tint - tint.mean(), low, high))
    return red, green, blue


def _graded(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A wash of two colours, from the top to the bottom."""
    top, bottom = (np.asarray(_colour(rng, 60, 210), np.float32) for _ in range(2))
    mix = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - mix) + bottom * mix, (height, width, 3)).copy()


def _landscape(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A sky over hills, each ridge darker and rougher than the one behind it."""
    made = _graded(rng, width, height) + 14 * texture(rng, width, height, 1.7, 0.4)[..., None]
    columns = np.arange(height)[:, None]
    for ridge in range(3):
        line = height * (0.4 + 0.17 * ridge) + height * 0.06 * texture(rng, width, 4, 1.4)[0]
        ground = np.asarray(_colour(rng, 40, 130), np.float32) + 24 * texture(rng, width, height, 1.0)[..., None]
        made = np.where((columns > line[None])[..., None], ground, made)
    return made


def _street(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Houses with windows, along a road."""
    made = Image.fromarray(np.clip(_graded(rng, width, height), 0, 255).astype(np.uint8))
    draw, left, unit = ImageDraw.Draw(made), -10.0, height / 18
    while left < width:
        across, top = float(rng.uniform(4, 9)) * unit, float(rng.uniform(0.1, 0.45)) * height
        draw.rectangle((left, top, left + across, height * 0.82), fill=_colour(rng, 50, 170))
        light = _colour(rng, 20, 240)
        for row in np.arange(top + unit * 0.6, height * 0.74, unit * 1.6):
            for column in np.arange(left + unit * 0.6, left + across - unit, unit * 1.5):
                draw.rectangle((column, row, column + unit * 0.8, row + unit), fill=light)
        left += across + unit * 0.3
    draw.rectangle((0, height * 0.82, width, height), fill=_colour(rng, 40, 90))
    return np.asarray(made, np.float32) + 7 * texture(rng, width, height, 0.7)[..., None]


def _room(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Plain walls with soft shadows, a table and a few things on it: little detail, as indoors."""
    made = Image.fromarray(np.clip(_graded(rng, width, height), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, height * 0.7, width, height), fill=_colour(rng, 50, 120))
    for _ in range(4):
        x, y, size = rng.uniform(0.05, 0.9) * width, rng.uniform(0.5, 0.72) * height, rng.uniform(0.06, 0.16) * height
        draw.ellipse((x, y - size, x + 1.4 * size, y + size), fill=_colour(rng))
    draw.rectangle((width * 0.62, height * 0.1, width * 0.86, height * 0.42), fill=_colour(rng, 120, 230))
    soft = made.filter(ImageFilter.GaussianBlur(height / 200))
    return np.asarray(soft, np.float32) + 2 * texture(rng, width, height, 0.9)[..., None]


def _portrait(rng: np.random.Generator, width: int, height: int) -> Picture:
    """A head and shoulders before a blurred background."""
    behind = _graded(rng, width, height) + 30 * texture(rng, width, height, 2.0)[..., None]
    made = Image.fromarray(np.clip(behind, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(made)
    x, y, size = width / 2, height * 0.42, min(width, height) * 0.24
    draw.ellipse((x - 2.4 * size, y + 1.1 * size, x + 2.4 * size, y + 5 * size), fill=_colour(rng, 30, 120))
    draw.ellipse((x - 0.85 * size, y - 1.2 * size, x + 0.85 * size, y + 1.2 * size), fill=(206, 164, 138))
    draw.pieslice((x - 0.95 * size, y - 1.4 * size, x + 0.95 * size, y + 0.5 * size), 180, 360, fill=(60, 42, 30))
    for side in (-1, 1):
        eye = x + side * 0.36 * size
        draw.ellipse((eye - 0.13 * size, y - 0.2 * size, eye + 0.13 * size, y), fill=(30, 26, 30))
    draw.ellipse((x - 0.28 * size, y + 0.5 * size, x + 0.28 * size, y + 0.64 * size), fill=(140, 70, 66))
    soft = made.filter(ImageFilter.GaussianBlur(height / 260))
    return np.asarray(soft, np.float32) + 3 * texture(rng, width, height, 0.8)[..., None]


def _abstract(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Detail of every size in every colour, and no edges."""
    return np.stack([128 + 42 * texture(rng, width, height) for _ in range(3)], axis=-1)


_PAINTERS = {
    "landscape": _landscape,
    "street": _street,
    "room": _room,
    "portrait": _portrait,
    "abstract": _abstract,
}


def window(place: Picture, width: int, height: int, x: float, y: float, zoom: float = 1.0) -> Picture:
    """Return `width` × `height` px of a larger picture, the middle at `x`, `y` of it (0…1), enlarged by `zoom`."""
    rows, columns = place.shape[:2]
    left, top = x * columns - width / zoom / 2, y * rows - height / zoom / 2
    view = (1 / zoom, 0.0, left, 0.0, 1 / zoom, top)
    small = Image.fromarray(place.astype(np.uint8)).transform(
        (width, height), Image.Transform.AFFINE, view, Image.Resampling.BICUBIC
    )
    return np.asarray(small, np.float32)


def softened(picture: Picture, radius: float) -> Picture:
    """Return it out of focus."""
    made = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(made, np.float32)
