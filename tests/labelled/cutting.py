"""Clips that jump to another picture, and those that only seem to; black ones, and those that are merely dark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelled.moving import Clip, Set, camera
from labelled.pictures import STILLS, Picture


def _moved(at: Set, across: float = 0.06) -> list[Picture]:
    return list(camera(at, across))


def _elsewhere(at: Set) -> Set:
    other = STILLS[(STILLS.index(at.scene) + 1) % len(STILLS)]
    return replace(at, seed=at.seed + 1000, scene=other)


def cut(at: Set, at_s: tuple[float, ...] = (1.0,), same: bool = False) -> Clip:
    """Another place from each of the times on, and back at the next; `same` is another place of the same kind."""
    here = _moved(at)
    there = _moved(replace(at, seed=at.seed + 1000) if same else _elsewhere(at), -0.06)
    for number, time in enumerate(at.times):
        yield (here, there)[sum(time >= each for each in at_s) % 2][number]


def jump(at: Set, zoom: float = 1.6, at_s: float = 1.0) -> Clip:
    """The same place, suddenly from near by."""
    for time in at.times:
        yield at.view(0.5 + 0.03 * time) if time < at_s else at.view(0.62 + 0.03 * time, 0.44, zoom)


def dissolve(at: Set, seconds: float = 1.0, at_s: float = 0.7) -> Clip:
    """One place that becomes another bit by bit: a change of shot, but no jump."""
    here, there = _moved(at), _moved(_elsewhere(at))
    for number, time in enumerate(at.times):
        mix = float(np.clip((time - at_s) / seconds, 0, 1))
        yield here[number] * (1 - mix) + there[number] * mix


def whip(at: Set, at_s: float = 1.0, seconds: float = 0.28, far: float = 0.28) -> Clip:
    """A camera that is torn round, with the blur that this makes."""
    along = np.clip((at.times - at_s) / seconds, 0, 1)
    place = 0.36 + far * along**2 * (3 - 2 * along)  # it gathers speed, and slows down
    for number, x in enumerate(place):
        step = x - place[max(0, number - 1)]
        if step > 0.01:
            yield np.mean([at.view(x + step * part / 6) for part in range(-3, 4)], axis=0)
        else:
            yield at.view(x + 0.004 * at.times[number])


def flash(at: Set, at_s: float = 1.0, frames: int = 2, light: float = 1.0) -> Clip:
    """Lightning: some frames all but white, then the place as it was."""
    start = round(at_s * at.fps)
    for number, picture in enumerate(_moved(at)):
        is_lit = start <= number < start + frames
        yield picture * (1 - 0.85 * light) + 225 * light if is_lit else picture


def strobe(at: Set, on: int = 3, off: int = 3, dark: float = 0.12) -> Clip:
    """Light that goes on and off over people who move."""
    for number, picture in enumerate(_moved(at, 0.1)):
        yield picture if number % (on + off) < on else picture * dark


def passing(at: Set, at_s: float = 0.8, seconds: float = 0.35) -> Clip:
    """Something dark that passes close to the camera."""
    columns = np.arange(at.width)[None, :, None] / at.width
    for time, picture in zip(at.times, camera(at, 0.05), strict=True):
        front = (time - at_s) / seconds * 1.8 - 0.4
        covers = np.clip(1 - np.abs(columns - front) / 0.4, 0, 1) ** 0.5
        yield picture * (1 - covers) + 24 * covers


def fade_in(at: Set, seconds: float = 0.8, power: float = 1.0, hold_s: float = 0.0) -> Clip:
    """A place that comes out of the dark; `power` above 1 is slow at first, `hold_s` all black before."""
    for time, picture in zip(at.times, camera(at, 0.08), strict=True):
        yield picture * float(np.clip((time - hold_s) / seconds, 0, 1)) ** power


def fade_out(at: Set, seconds: float = 0.8, power: float = 1.0) -> Clip:
    yield from reversed(list(fade_in(at, seconds, power)))


def black(at: Set, level: float = 0.0, noise: float = 0.0) -> Clip:
    """Nothing but black, or nearly."""
    rng = at.rng
    for _ in range(at.frames):
        grain = rng.normal(size=(at.height, at.width, 1)).astype(np.float32) * noise
        yield np.full((at.height, at.width, 3), level, np.float32) + grain


def hole(at: Set, at_s: float = 0.8, seconds: float = 0.4) -> Clip:
    """Black in the middle."""
    for time, picture in zip(at.times, camera(at, 0.1), strict=True):
        yield picture * 0 if at_s <= time < at_s + seconds else picture


def letterbox(at: Set, bars: float = 0.2) -> Clip:
    """Black bars above and below a place that moves."""
    rows = round(at.height * bars)
    for picture in camera(at, 0.1):
        picture = picture.copy()
        picture[:rows], picture[-rows:] = 0, 0
        yield picture
