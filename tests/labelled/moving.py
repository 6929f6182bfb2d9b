"""Clips in which something moves: the camera, weather, water, fire, people, light on things that move.

Each is a function of a `Set` and its parameters that yields pictures. Lengths are in px or parts of the picture, times
in seconds, levels 0…255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from labelled.pictures import Picture, softened, still, texture, window

MARGIN = 1.5  # a place is so much larger than the picture


@dataclass(frozen=True)
class Set:
    """Where a clip is shot: its size in px, frames, rate, the seed of all that is random in it, and its still."""

    width: int
    height: int
    frames: int
    fps: int
    seed: int
    scene: str = "landscape"
    take: int = 0  # of one still: another take moves in another way

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.take, 77])

    @cached_property
    def still(self) -> Picture:
        return still(self.scene, self.seed, self.width, self.height)

    @cached_property
    def place(self) -> Picture:
        """A still that is larger than the picture, for a camera to move over."""
        return still(self.scene, self.seed, round(self.width * MARGIN), round(self.height * MARGIN))

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(self.frames) / self.fps

    def view(self, x: float = 0.5, y: float = 0.5, zoom: float = 1.0) -> Picture:
        return window(self.place, self.width, self.height, x, y, zoom)


Clip = Iterator[Picture]
Draw = Callable[..., Clip]


# The camera


def camera(at: Set, across: float = 0.0, down: float = 0.0, push: float = 0.0) -> Clip:
    """`across` and `down` in widths and heights a second, `push` as the part by which it enlarges a second."""
    length = at.times[-1]
    for time in at.times:
        x = 0.5 + across * (time - length / 2) / MARGIN
        y = 0.5 + down * (time - length / 2) / MARGIN
        yield at.view(x, y, max(1.0, 1 + push * (time if push > 0 else time - length)))


def handheld(at: Set, sway: float = 0.01) -> Clip:
    """A camera in the hand: slow sways of a part of the width."""
    phases = at.rng.uniform(0, 2 * pi, 4)
    for time in at.times:
        x = sin(2.1 * time * 2 + phases[0]) + 0.4 * sin(9 * time + phases[1])
        y = sin(1.7 * time * 2 + phases[2]) + 0.4 * sin(11 * time + phases[3])
        yield at.view(0.5 + sway * x, 0.5 + sway * y, 1.05)


def focus(at: Set, radius: float = 4.0) -> Clip:
    """The lens comes into focus."""
    for number in range(at.frames):
        yield softened(at.still, max(0.0, radius * (1 - 1.2 * number / at.frames)))


def judder(at: Set, across: float = 0.1, each: int = 2) -> Clip:
    """A pan of which every picture is shown `each` times, as of film at half the rate."""
    kept = at.still
    for number, picture in enumerate(camera(at, across)):
        kept = picture if number % each == 0 else kept
        yield kept


def ping_pong(at: Set, across: float = 0.15, half_s: float = 0.5) -> Clip:
    """A pan forth and back, as a loop is made of a short clip."""
    for time in at.times:
        phase = time / half_s % 2
        yield at.view(0.5 + across * half_s * (min(phase, 2 - phase) - 0.5) / MARGIN)


# Weather: many small things over a still


def rain(at: Set, drops: int = 1500, speed: float = 9.0, length: int = 9, light: float = 70.0) -> Clip:
    """`speed` in px a frame; each drop a streak of `length` px."""
    rng = at.rng
    x, y = rng.uniform(0, at.width, drops), rng.uniform(0, at.height, drops)
    own = speed * rng.uniform(0.85, 1.15, drops)
    lit = light * rng.uniform(0.4, 1.0, drops).astype(np.float32)
    for _ in range(at.frames):
        layer = np.zeros((at.height, at.width), np.float32)
        for part in range(length):
            rows, columns = (y - part).astype(int) % at.height, (x + part * 0.1).astype(int) % at.width
            np.maximum.at(layer, (rows, columns), lit)
        yield at.still * (1 - layer[..., None] / 400) + layer[..., None]
        y, x = (y + own) % at.height, (x - own * 0.1) % at.width


def snow(at: Set, flakes: int = 400, speed: float = 2.5, size: float = 1.5, light: float = 110.0) -> Clip:
    """Flakes of `size` px that sway as they fall by `speed` px a frame."""
    rng = at.rng
    x, y, depth = rng.uniform(0, at.width, flakes), rng.uniform(0, at.height, flakes), rng.uniform(0.4, 1, flakes)
    phase, reach = rng.uniform(0, 2 * pi, flakes), int(np.ceil(size))
    steps = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    for number in range(at.frames):
        layer = np.zeros((at.height, at.width), np.float32)
        column = x + 3 * np.sin(phase + number * 0.12)
        for dy, dx in steps:
            near = np.clip(1.2 - np.hypot(dy - (y % 1) + 0.5, dx - (column % 1) + 0.5) / (size * depth), 0, 1)
            rows, columns = (y.astype(int) + dy) % at.height, (column.astype(int) + dx) % at.width
            np.maximum.at(layer, (rows, columns), (light * depth * near).astype(np.float32))
        yield at.still * 0.8 + layer[..., None]
        y = (y + speed * depth) % at.height


def grain(at: Set, levels: float = 14.0, size: int = 1, across: float = 0.0) -> Clip:
    """Film grain, new in each picture, `size` px wide; over a pan where `across` is not 0."""
    rng = at.rng
    for picture in camera(at, across) if across else [at.still] * at.frames:
        rows, columns = -(-at.height // size), -(-at.width // size)
        made = rng.normal(size=(rows, columns)).astype(np.float32) * levels
        yield picture + np.kron(made, np.ones((size, size), np.float32))[: at.height, : at.width, None]


def static(at: Set, block: int = 2, fresh: float = 1.0) -> Clip:
    """What a model with random weights makes: coloured noise in blocks. `fresh` is how much is new in each picture."""
    rng, shape = at.rng, (-(-at.height // block), -(-at.width // block), 3)
    level = rng.normal(size=shape)
    for _ in range(at.frames):
        level = np.sqrt(1 - fresh**2) * level + fresh * rng.normal(size=shape)
        made = np.clip(128 + 75 * level, 0, 255).repeat(block, 0).repeat(block, 1)
        yield np.asarray(made[: at.height, : at.width], np.float32)


# Things that flow


def water(at: Set, speed: float = 1.0, height: float = 30.0, horizon: float = 0.4) -> Clip:
    """Waves in perspective below the horizon, with glints."""
    rng = at.rng
    first = round(at.height * horizon)
    depth = np.linspace(0.04, 1, at.height - first)[:, None]
    across = (np.arange(at.width)[None] / at.width - 0.5) / depth
    waves = [(rng.uniform(4, 26), rng.uniform(8, 40), rng.uniform(2, 6), rng.uniform(0, 6)) for _ in range(7)]
    for time in at.times:
        level = sum(np.sin(a * across + b / (depth + 0.1) + c * speed * time + d) for a, b, c, d in waves) / 3
        picture = at.still.copy()
        lit = np.asarray(height * level + 3 * height * np.clip(level - 1.1, 0, 1), np.float32)
        picture[first:] = np.asarray((50, 84, 104), np.float32) * (0.5 + depth[..., None] / 2) + lit[..., None]
        yield picture


def candle(at: Set, size: float = 0.09, flicker: float = 0.04, light: float = 0.35) -> Clip:
    """A flame that bends, its height a part of the picture's, in a dark room that it lights."""
    rng = at.rng
    rows, columns = np.mgrid[0 : at.height, 0 : at.width].astype(np.float32)
    tall = size * at.height
    x0, y0 = at.width * 0.5, at.height * 0.55
    glow = np.exp(-np.hypot(columns - x0, rows - y0) / (at.height * 0.5))
    bend = stretch = bright = 0.0
    for _ in range(at.frames):
        bend = 0.8 * bend + rng.normal() * 0.12
        stretch = 0.8 * stretch + rng.normal() * 0.08
        bright = 0.7 * bright + rng.normal() * flicker
        rise = (y0 - rows) / (tall * (1 + stretch))
        wide = tall * 0.3 * np.sqrt(np.clip(rise * (1 - rise), 0, 1)) * (1.4 - rise)
        inside = np.clip((wide - np.abs(columns - x0 - bend * tall * rise**2)) / 1.5 + 0.5, 0, 1) * (wide > 0)
        picture = at.still * (light * (0.25 + glow * (1 + bright)))[..., None]
        yield picture * (1 - inside[..., None]) + inside[..., None] * np.asarray((255, 214, 120), np.float32)


def smoke(at: Set, speed: float = 0.15, strength: float = 45.0, scale: float = 2.0) -> Clip:
    """Soft smoke that rises by parts of the height a second and changes as it does."""
    rng, width, height = at.rng, at.width, at.height
    one, other = (texture(rng, width, height * 2, scale) for _ in range(2))
    column = np.exp(-(((np.arange(width) / width - 0.5) / 0.22) ** 2))[None].astype(np.float32)
    for time in at.times:
        rise = round(speed * height * time)
        layer = np.roll(one, -rise, 0)[:height] + np.roll(other, -round(rise * 1.7), 0)[:height]
        yield at.still * 0.7 + (strength * np.clip(layer, 0, 3) * column)[..., None]


def fire(at: Set, speed: float = 0.8) -> Clip:
    """Flames over the lower half, in front of the dark."""
    rng, width, height = at.rng, at.width, at.height
    one, other = (texture(rng, width, height * 2, 1.6, 0.7) for _ in range(2))
    fade = np.linspace(-2.2, 1.6, height, dtype=np.float32)[:, None]
    for time in at.times:
        rise = round(speed * height * time)
        heat = np.clip(np.roll(one, -rise, 0)[:height] + np.roll(other, -round(1.6 * rise), 0)[:height] + fade, 0, 3)
        yield at.still * 0.15 + np.stack([120 * heat, 62 * heat, 18 * heat], -1)


def timelapse(at: Set, speed: float = 0.4, dim: float = 0.3) -> Clip:
    """Clouds that race over a place, and the light with them."""
    sky = texture(at.rng, at.width * 2, at.height, 1.5, 0.4)
    shade = np.linspace(1, 0, at.height, dtype=np.float32)[:, None]
    for time in at.times:
        clouds = np.roll(sky, round(-speed * at.width * time), 1)[:, : at.width]
        light = 1 - dim * (0.5 + 0.5 * sin(2.2 * time))
        yield at.still * light + (50 * np.clip(clouds, 0, 2) * shade)[..., None]


# Leaves, grass, people


def _sprites(at: Set, count: int, draw: Callable[[ImageDraw.ImageDraw, int, float], None]) -> Clip:
    base = np.clip(at.still, 0, 255).astype(np.uint8)
    for time in at.times:
        made = Image.fromarray(base.copy())
        pen = ImageDraw.Draw(made)
        for number in range(count):
            draw(pen, number, float(time))
        yield np.asarray(made, np.float32)


def leaves(at: Set, count: int = 260, sway: float = 0.5, size: float = 0.035) -> Clip:
    """Leaves that turn in the wind, their length a part of the height."""
    rng = at.rng
    x, y = rng.uniform(0, at.width, count), rng.uniform(0, at.height * 0.8, count)
    angle, phase, rate = rng.uniform(0, 2 * pi, count), rng.uniform(0, 2 * pi, count), rng.uniform(2, 5, count)
    green = [(int(r), int(g), int(b)) for r, g, b in rng.integers((30, 70, 20), (110, 170, 60), (count, 3))]
    long = size * at.height

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        turn = angle[n] + sway * sin(rate[n] * time + phase[n])
        tip = (x[n] + long * cos(turn), y[n] + long * sin(turn))
        side = (0.25 * long * sin(turn), -0.25 * long * cos(turn))
        middle = ((x[n] + tip[0]) / 2, (y[n] + tip[1]) / 2)
        pen.polygon(
            [(x[n], y[n]), (middle[0] + side[0], middle[1] + side[1]), tip, (middle[0] - side[0], middle[1] - side[1])],
            fill=green[n],
        )

    return _sprites(at, count, draw)


def grass(at: Set, count: int = 420, sway: float = 0.08) -> Clip:
    """Blades that bend as the wind goes over them."""
    rng = at.rng
    x, foot = rng.uniform(0, at.width, count), np.sort(rng.uniform(0.6, 1.05, count)) * at.height
    tall = rng.uniform(0.12, 0.3, count) * at.height
    green = [(int(r), int(g), int(b)) for r, g, b in rng.integers((40, 90, 20), (120, 180, 70), (count, 3))]

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        bend = sway * at.height * (sin(3 * time + x[n] / at.width * 5) + 0.3 * sin(7 * time + n))
        pen.line((x[n], foot[n], x[n] + bend, foot[n] - tall[n]), fill=green[n], width=2)

    return _sprites(at, count, draw)


def crowd(at: Set, count: int = 40, speed: float = 0.06, size: float = 0.09) -> Clip:
    """People who walk about, their height a part of the picture's, `speed` in widths a second."""
    rng = at.rng
    x, row = rng.uniform(0, 1, count), np.sort(rng.uniform(0.6, 0.95, count)) * at.height
    pace = speed * rng.choice([-1, 1], count) * rng.uniform(0.6, 1.4, count)
    cloth = [tuple(int(c) for c in each) for each in rng.integers(20, 220, (count, 3))]
    tall = size * at.height

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        left, foot = (x[n] + pace[n] * time) % 1 * at.width, row[n] + 0.03 * tall * sin(9 * time + n)
        pen.rectangle((left, foot - 0.75 * tall, left + 0.3 * tall, foot), fill=cloth[n])
        pen.ellipse((left + 0.03 * tall, foot - tall, left + 0.27 * tall, foot - 0.74 * tall), fill=(196, 158, 134))

    return _sprites(at, count, draw)


def crossing(at: Set, size: float = 0.25, seconds: float = 3.0) -> Clip:
    """One figure that crosses the picture in so many seconds."""
    colour = tuple(int(c) for c in at.rng.integers(20, 220, 3))

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        left, side = at.width * (time / seconds - 0.05), size * at.height
        pen.ellipse((left, at.height * 0.4, left + 0.6 * side, at.height * 0.4 + side), fill=colour)

    return _sprites(at, 1, draw)


def head(at: Set, nod: float = 0.0, lips: float = 1.0) -> Clip:
    """A portrait that speaks and blinks before a still background; `nod` moves the head by parts of the height."""
    rng, width, height = at.rng, at.width, at.height
    size = min(width, height) * 0.24
    phase, rate = rng.uniform(0, 6), rng.uniform(13, 17)
    blinks = rng.uniform(0.2, max(0.3, at.times[-1]), 2)
    box = [
        round(v) for v in (width / 2 - size, height * 0.42 - 1.5 * size, width / 2 + size, height * 0.42 + 1.3 * size)
    ]
    face = at.still[box[1] : box[3], box[0] : box[2]]
    for time in at.times:
        made = at.still.copy()
        dy = round(nod * height * sin(2.4 * time + phase))
        dx = round(nod * height * 0.7 * sin(1.7 * time + 1 + phase))
        made[box[1] + dy : box[3] + dy, box[0] + dx : box[2] + dx] = face
        image = Image.fromarray(np.clip(made, 0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        x, y = width / 2 + dx, height * 0.42 + dy
        opened = lips * (0.03 + 0.14 * abs(sin(rate * time / 2 + phase)) * (0.6 + 0.4 * sin(3.1 * time))) * size
        pen.ellipse(
            (x - 0.28 * size, y + 0.57 * size - opened, x + 0.28 * size, y + 0.57 * size + opened), fill=(96, 40, 42)
        )
        if any(abs(time - blink) < 0.08 for blink in blinks):
            for side in (-1, 1):
                eye = x + side * 0.36 * size
                pen.ellipse(
                    (eye - 0.15 * size, y - 0.22 * size, eye + 0.15 * size, y + 0.02 * size), fill=(198, 156, 132)
                )
        yield np.asarray(image, np.float32)


def night(at: Set, light: float = 0.1, lamps: int = 3, speed: float = 0.05, size: float = 0.012) -> Clip:
    """A place in the dark, where a few small lamps travel and stars twinkle."""
    rng = at.rng
    x, y = rng.uniform(0.1, 0.9, lamps), rng.uniform(0.45, 0.8, lamps)
    pace = speed * rng.choice([-1, 1], lamps)
    stars = (rng.integers(0, at.height // 3, 40), rng.integers(0, at.width, 40))
    rows, columns = np.mgrid[0 : at.height, 0 : at.width].astype(np.float32)
    for time in at.times:
        picture = at.still * light
        picture[stars] += (60 + 40 * np.sin(5 * time + np.arange(40)))[:, None]
        for n in range(lamps):
            away = np.hypot(columns - (x[n] + pace[n] * time) * at.width, rows - y[n] * at.height)
            picture = picture + (190 * np.exp(-((away / (size * at.height)) ** 2)))[..., None]
        yield picture


def white_out(at: Set, contrast: float = 0.06, speed: float = 0.08) -> Clip:
    """A figure in a snowstorm: nearly white all over, and faint."""
    rng = at.rng
    drift = texture(rng, at.width * 2, at.height, 1.4)
    for time in at.times:
        blown = np.roll(drift, round(speed * 2 * at.width * time), 1)[:, : at.width]
        made = 236 + contrast * (at.still - 128) + contrast * 40 * blown[..., None]
        left, top = round((0.3 + speed * time) * at.width), round(0.4 * at.height)
        made[top : top + at.height // 4, left : left + at.height // 10] -= contrast * 250
        yield made


def stars(at: Set, count: int = 160, speed: float = 0.5) -> Clip:
    """A flight through stars."""
    rng = at.rng
    angle, away = rng.uniform(0, 2 * pi, count), rng.uniform(0.02, 0.7, count)
    for time in at.times:
        picture = np.full((at.height, at.width, 3), 10.0, np.float32)
        out = ((away * np.exp(speed * time)) - 0.02) % 0.7 + 0.02
        columns = (at.width / 2 + out * at.width * np.cos(angle)).astype(int)
        rows = (at.height / 2 + out * at.width * np.sin(angle)).astype(int)
        seen = (rows >= 0) & (rows < at.height - 1) & (columns >= 0) & (columns < at.width - 1)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            picture[rows[seen] + dy, columns[seen] + dx] = (120 + 130 * out[seen])[:, None]
        yield picture


def hand(at: Set, size: float = 0.16, rate: float = 1.2) -> Clip:
    """A still life in which one thin hand of a clock turns, its length a part of the height."""
    x, y, long = at.width * 0.7, at.height * 0.3, size * at.height

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        turn = rate * time
        pen.ellipse((x - long * 1.1, y - long * 1.1, x + long * 1.1, y + long * 1.1), fill=(230, 226, 214))
        pen.line((x, y, x + long * cos(turn), y + long * sin(turn)), fill=(30, 26, 26), width=max(2, at.height // 90))

    return _sprites(at, 1, draw)


def confetti(at: Set, count: int = 220, speed: float = 0.5) -> Clip:
    """Scraps that fall and spin, `speed` in heights a second."""
    rng = at.rng
    x, y, spin = rng.uniform(0, 1, count), rng.uniform(0, 1, count), rng.uniform(3, 9, count)
    paper = [tuple(int(c) for c in each) for each in rng.integers(40, 250, (count, 3))]
    side = at.height * 0.022

    def draw(pen: ImageDraw.ImageDraw, n: int, time: float) -> None:
        left, top = x[n] * at.width + 6 * sin(spin[n] * time), (y[n] + speed * time) % 1 * at.height
        pen.rectangle((left, top, left + side, top + side * (0.2 + abs(sin(spin[n] * time)))), fill=paper[n])

    return _sprites(at, count, draw)


def sparse(at: Set, count: int = 120, light: float = 90.0) -> Clip:
    """A few drops that fall fast and a few flakes that fall slowly."""
    for drops, flakes in zip(rain(at, count, 12.0, 7, light), snow(at, count // 2, 2.0, 1.2, light), strict=True):
        yield np.maximum(drops, flakes)


def noisy(at: Set, pictures: Clip, levels: float, flicker: float) -> Clip:
    """Those pictures with faint noise, and light that is another in each."""
    rng = at.rng
    for picture in pictures:
        grain = rng.normal(size=(at.height, at.width, 1)).astype(np.float32) * levels
        yield picture * (1 + flicker * rng.normal()) + grain


def worn(at: Set, kind: str = "head", levels: float = 2.0, flicker: float = 0.015) -> Clip:
    """Motion that is small, or slow, in a picture that is restless all over."""
    pictures = {
        "head": lambda: head(at),
        "push-in": lambda: camera(at, push=0.03),
        "pan": lambda: camera(at, 0.03),
        "candle": lambda: candle(at),
        "clock": lambda: hand(at),
    }[kind]()
    yield from noisy(at, pictures, levels, flicker)
