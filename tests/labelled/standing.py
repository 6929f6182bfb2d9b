"""Clips that freeze: for a second or longer nothing in them goes anywhere, whatever the light and the encoder do."""

from __future__ import annotations

from math import pi, sin

import numpy as np

from labelled.moving import MARGIN, Clip, Set, camera, crossing, head, noisy, rain
from labelled.pictures import texture

BEFORE = {"pan": camera, "head": head, "rain": rain, "crossing": crossing}


def frozen(at: Set) -> Clip:
    """One picture, from the first frame to the last."""
    for _ in range(at.frames):
        yield at.still


def stops(at: Set, at_s: float, kind: str = "pan", until_s: float = 1e9) -> Clip:
    """Motion that stops at a time, and goes on from there at another."""
    kept = at.still
    moving = camera(at, 0.15) if kind == "pan" else BEFORE[kind](at)
    for time in at.times:
        kept = next(moving) if time < at_s or time >= until_s else kept
        yield kept


def faint_grain(at: Set, levels: float = 2.0, size: int = 1) -> Clip:
    """A still with the faint noise that a model or an encoder leaves."""
    rng = at.rng
    for _ in range(at.frames):
        made = rng.normal(size=(-(-at.height // size), -(-at.width // size))).astype(np.float32) * levels
        yield at.still + np.kron(made, np.ones((size, size), np.float32))[: at.height, : at.width, None]


def latent_flicker(at: Set, levels: float = 1.2, every: int = 8) -> Clip:
    """A still as a video model decodes it: soft blotches that change with each latent, of `every` frames."""
    rng = at.rng
    blotches = [levels * texture(rng, at.width, at.height, 1.0) for _ in range(at.frames // every + 2)]
    for number in range(at.frames):
        part = number % every / every
        before, after = blotches[number // every], blotches[number // every + 1]
        yield at.still + ((1 - part) * before + part * after)[..., None]


def breathing(at: Set, by: float = 0.05, rate: float = 0.6) -> Clip:
    """A still whose light comes and goes, `rate` times a second."""
    for time in at.times:
        yield at.still * (1 + by * sin(2 * pi * rate * time))


def flickering(at: Set, by: float = 0.03) -> Clip:
    """A still whose light is another in each picture."""
    rng = at.rng
    for _ in range(at.frames):
        yield at.still * (1 + by * rng.normal()) + 60 * by * rng.normal()


def fading(at: Set, to: float = 0.6) -> Clip:
    """A still that gets darker, or brighter, all the time."""
    for number in range(at.frames):
        yield at.still * (1 + (to - 1) * number / at.frames)


def tinted(at: Set, by: float = 0.06) -> Clip:
    """A still whose colour drifts."""
    for number in range(at.frames):
        drift = by * number / at.frames
        yield at.still * np.asarray((1 + drift, 1.0, 1 - drift), np.float32)


def trembling(at: Set, by_px: float = 0.5) -> Clip:
    """Two pictures in turns, half a pixel apart."""
    for number in range(at.frames):
        yield at.view(0.5 + number % 2 * by_px / (at.width * MARGIN))


def worn(at: Set, levels: float = 1.5, flicker: float = 0.01, blotches: float = 1.0) -> Clip:
    """A still with noise, blotches and light that flickers, all at once."""
    yield from noisy(at, latent_flicker(at, blotches), levels, flicker)
