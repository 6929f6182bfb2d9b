"""The labelled clips: what each is, and what a check must find in it.

A label is a decision about what a person who sees the clip would say, made before anything is measured:

* **Frozen** (Q101): for a second or longer the picture goes nowhere. Light that breathes, flickers or fades, faint
  noise (deviation of 3 levels and less), blotches that change with each latent, and half a pixel of trembling do
  not make a still move. Texture that is plainly seen to move does: rain, snow, and film grain of 8 levels and more,
  which nobody gets without asking for it; that only the grain moves is worth advice at most, and no GPU time.
* A picture that is shown twice, or a loop that plays forth and back, moves.
* **Hardly any motion** (Q103) is advice, and not judged where a person may say either: a push-in by 1 or 2 % a
  second, a candle or a clock in a room that is still, a lamp at night, grain on a still, a lens that comes into focus.
* **Black** (Q102): a fifth of a second and more. Night is not black, nor is a fade from or to black, nor a blink.
* **Cut** (Q104): another picture from one frame to the next, the same place from near by included. A dissolve, a
  whip pan, lightning, a strobe and what passes close to the camera are none.

`TRAIN` and `HELD_OUT` differ in seeds, parameters, stills and sizes, and some kinds are held out altogether: the
checks were made with the first, and what is published of them was measured on the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from labelled import cutting, moving, sounds, standing
from labelled.encode import Sound, write
from labelled.moving import Draw, Set
from labelled.pictures import STILLS

Split = Literal["train", "held-out"]

PICTURE = ("Q101", "Q102", "Q103", "Q104")
SOUND = ("Q105", "Q106", "Q107", "Q108", "Q109")

# small, as a preview is, upright; the last two are what a preview and a final clip have
HELD_OUT_SEEDS = 5000

SIZES: Mapping[Split, Sequence[tuple[int, int, int]]] = {
    "train": ((384, 224, 25), (320, 192, 24), (256, 384, 25)),
    "held-out": ((352, 256, 24), (416, 224, 25), (224, 384, 24)),
}
PREVIEW, FINAL = (768, 448, 25), (1536, 864, 24)


@dataclass(frozen=True)
class Clip:
    """One labelled clip. `faults` are the codes that must be found in it, of those that are `judged`; no others may be.

    `from_s` is when a freeze begins.
    """

    name: str
    kind: str
    split: Split
    at: Set
    draw: Draw
    faults: frozenset[str] = frozenset()
    judged: frozenset[str] = frozenset(PICTURE)
    from_s: float | None = None
    sound: Callable[[float, int, int], Sound] | None = sounds.air
    rate: int = 24000
    sound_s: float = 0.0  # how much longer than the picture, or shorter
    starts_s: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)  # x264's

    def write(self, path: Path) -> None:
        seconds = self.at.frames / self.at.fps + self.sound_s
        made = self.sound(seconds, self.rate, self.at.seed) if self.sound is not None else None
        write(path, self.draw(self.at), self.at.fps, made, self.rate, self.starts_s, dict(self.options))


@dataclass(frozen=True)
class Kind:
    """Clips of one kind that differ in parameters: those to `train` with, and those `held` out.

    Of a row's own names `px` and `part` are a thing's size, in px or as a part of the picture; `size`, `long_s`,
    `options` are the clip's, and the rest goes to `draw`.
    """

    name: str
    draw: Draw
    train: tuple[dict[str, Any], ...] = ()
    held: tuple[dict[str, Any], ...] = ()
    faults: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ("landscape", "street", "room", "portrait", "abstract")
    unjudged: tuple[str, ...] = ()


def _many(name: str, values: Sequence[Any], **more: Any) -> tuple[dict[str, Any], ...]:
    return tuple({name: value, **more} for value in values)


FROZEN, BLACK, CUT, ADVICE = ("Q101",), ("Q102",), ("Q104",), ("Q103",)
OUTSIDE = ("landscape", "street")

KINDS: tuple[Kind, ...] = (
    Kind("pan", moving.camera, _many("across", (0.03, 0.1, -0.25)), _many("across", (-0.02, 0.05, 0.15, -0.3))),
    Kind("tilt", moving.camera, _many("down", (0.05, -0.15)), _many("down", (-0.03, 0.1, 0.25))),
    Kind(
        "push-in",
        moving.camera,
        _many("push", (0.01, 0.02, 0.03)),
        (*_many("push", (0.01, 0.01, 0.02, 0.02, 0.03, 0.03)), {"push": 0.02, "size": PREVIEW}),
        unjudged=ADVICE,
    ),
    Kind("pull-out", moving.camera, _many("push", (-0.02,)), _many("push", (-0.01, -0.03)), unjudged=ADVICE),
    Kind("handheld", moving.handheld, _many("sway", (0.006,)), _many("sway", (0.004, 0.012))),
    Kind("focus pull", moving.focus, _many("radius", (5.0,)), _many("radius", (4.0, 8.0)), unjudged=ADVICE),
    Kind("every frame twice", moving.judder, ({"each": 2}, {"each": 3}), ({"each": 2, "across": 0.05}, {"each": 3})),
    Kind("forth and back", moving.ping_pong, ({},), ({"half_s": 0.4}, {"half_s": 0.8, "across": 0.08})),
    Kind(
        "rain",
        moving.rain,
        ({"drops": 500}, {"drops": 1500, "size": PREVIEW}, {"drops": 250, "speed": 14.0}),
        (
            {"drops": 400, "speed": 7.0},
            {"drops": 900, "length": 6},
            {"drops": 1500, "size": PREVIEW},
            {"drops": 1500, "size": PREVIEW, "light": 45.0},
            {"drops": 4000, "size": FINAL},
        ),
        scenes=("street", "landscape", "room"),
    ),
    Kind(
        "snow",
        moving.snow,
        ({"flakes": 250}, {"flakes": 700, "px": 1.0}),
        ({"flakes": 180}, {"flakes": 500, "speed": 1.6}, {"flakes": 1500, "size": PREVIEW}, {"flakes": 350, "px": 2.2}),
        scenes=OUTSIDE,
    ),
    Kind(
        "strong grain on a still",
        moving.grain,
        ({"levels": 10.0}, {"levels": 18.0, "px": 2}),
        ({"levels": 9.0}, {"levels": 14.0}, {"levels": 12.0, "px": 2}, {"levels": 12.0, "size": PREVIEW}),
        unjudged=ADVICE,
    ),
    Kind(
        "grain on a pan",
        moving.grain,
        ({"levels": 6.0, "across": 0.04}, {"levels": 14.0, "across": 0.1}),
        ({"levels": 8.0, "across": 0.03}, {"levels": 4.0, "across": 0.06}, {"levels": 12.0, "across": -0.05}),
    ),
    Kind(
        "a model's noise",
        moving.static,
        ({"block": 2}, {"block": 32, "fresh": 0.5, "size": PREVIEW}),
        ({"block": 1}, {"block": 4}, {"block": 16, "fresh": 0.7}, {"block": 32, "fresh": 0.3, "size": PREVIEW}),
    ),
    Kind(
        "water", moving.water, ({}, {"speed": 0.5}), ({"height": 20.0}, {"speed": 1.6}, {"speed": 0.6}), scenes=OUTSIDE
    ),
    Kind(
        "candle",
        moving.candle,
        ({}, {"part": 0.14}),
        ({}, {"part": 0.07}, {"part": 0.12, "flicker": 0.08}, {"part": 0.08, "flicker": 0.0}),
        scenes=("room", "portrait"),
        unjudged=ADVICE,
    ),
    Kind("smoke", moving.smoke, ({}, {"strength": 25.0}), ({"strength": 30.0}, {"speed": 0.08}, {"scale": 1.6})),
    Kind(
        "talking head",
        moving.head,
        ({}, {"nod": 0.01}),
        ({}, {"lips": 0.7}, {"nod": 0.015}, {"lips": 1.3}, {"size": PREVIEW}),
        scenes=("portrait",),
    ),
    Kind("leaves", moving.leaves, ({}, {"sway": 0.2}), ({"sway": 0.3}, {"count": 120}, {"count": 500}), scenes=OUTSIDE),
    Kind("crowd", moving.crowd, ({},), ({"count": 15}, {"count": 70, "part": 0.06}, {"speed": 0.03}), scenes=OUTSIDE),
    Kind("timelapse", moving.timelapse, ({},), ({"speed": 0.2}, {"speed": 0.8, "dim": 0.5}), scenes=OUTSIDE),
    Kind(
        "dark night",
        moving.night,
        ({}, {"light": 0.06}),
        ({"light": 0.08}, {"lamps": 1}, {"light": 0.05, "speed": 0.1}, {"light": 0.12, "part": 0.02}),
        scenes=OUTSIDE,
        unjudged=ADVICE,
    ),
    Kind("white-out", moving.white_out, ({},), ({"contrast": 0.04}, {"contrast": 0.08, "speed": 0.04})),
    Kind("crossing", moving.crossing, ({},), ({"part": 0.12}, {"part": 0.3, "seconds": 5.0}), scenes=OUTSIDE),
    Kind("clock", moving.hand, (), ({}, {"rate": 0.6}, {"part": 0.1}), scenes=("room",), unjudged=ADVICE),
    Kind("fire", moving.fire, (), ({}, {"speed": 0.5})),
    Kind("grass", moving.grass, (), ({}, {"sway": 0.03}), scenes=OUTSIDE),
    Kind("confetti", moving.confetti, (), ({}, {"count": 80})),
    Kind("flight through stars", moving.stars, (), ({}, {"count": 60, "speed": 0.3})),
    Kind(
        "pan, hardly", moving.camera, _many("across", (0.01,)), _many("across", (0.01, -0.008, 0.012)), unjudged=ADVICE
    ),
    Kind(
        "moves under noise",
        moving.worn,
        ({"kind": "head"}, {"kind": "push-in"}),
        (
            {"kind": "head", "levels": 3.0},
            {"kind": "push-in"},
            {"kind": "pan", "flicker": 0.03},
            {"kind": "candle", "levels": 2.0},
            {"kind": "clock", "levels": 2.0},
        ),
        scenes=("portrait",),
        unjudged=ADVICE,
    ),
    Kind("thin rain and snow", moving.sparse, ({},), ({"count": 150}, {"count": 80}, {"light": 60.0}), unjudged=ADVICE),
    Kind(
        "fog",
        moving.smoke,
        ({"strength": 14.0, "speed": 0.06},),
        ({"strength": 12.0, "speed": 0.06}, {"strength": 16.0, "speed": 0.04}, {"strength": 10.0}),
        unjudged=ADVICE,
    ),
    # frozen
    Kind(
        "frozen, all at once",
        standing.worn,
        ({}, {"flicker": 0.02}),
        ({}, {"levels": 2.5}, {"blotches": 1.5}, {"flicker": 0.03}, {"size": PREVIEW}),
        FROZEN,
    ),
    Kind("frozen", standing.frozen, ({}, {}), ({}, {}, {}, {"size": PREVIEW}, {"size": FINAL}), FROZEN),
    Kind(
        "frozen from 0.5 s",
        standing.stops,
        ({"at_s": 0.5}, {"at_s": 0.5, "kind": "head"}),
        ({"at_s": 0.4}, {"at_s": 0.6}, {"at_s": 0.5, "kind": "head"}, {"at_s": 0.5, "kind": "rain"}),
        FROZEN,
        ("portrait", "landscape", "street"),
    ),
    Kind(
        "frozen from 1 s", standing.stops, ({"at_s": 1.0},), ({"at_s": 1.0}, {"at_s": 1.0, "kind": "crossing"}), FROZEN
    ),
    Kind(
        "last second",
        standing.stops,
        ({"at_s": 1.4},),
        ({"at_s": 1.3}, {"at_s": 1.3}, {"at_s": 1.3, "kind": "rain"}),
        FROZEN,
    ),
    Kind(
        "frozen in the middle",
        standing.stops,
        ({"at_s": 0.6, "until_s": 1.9},),
        ({"at_s": 0.5, "until_s": 1.8}, {"at_s": 0.7, "until_s": 2.0}),
        FROZEN,
    ),
    Kind(
        "frozen, faint noise",
        standing.faint_grain,
        ({"levels": 1.5}, {"levels": 2.5}),
        ({"levels": 1.0}, {"levels": 2.0}, {"levels": 3.0}, {"levels": 2.0, "px": 2}, {"levels": 2.0, "size": PREVIEW}),
        FROZEN,
    ),
    Kind(
        "frozen, latent flicker",
        standing.latent_flicker,
        ({"levels": 1.0}, {"levels": 1.6}),
        ({"levels": 0.8}, {"levels": 1.4}, {"levels": 2.0}, {"levels": 2.5}, {"levels": 1.5, "size": PREVIEW}),
        FROZEN,
    ),
    Kind(
        "frozen, breathing",
        standing.breathing,
        ({"by": 0.04},),
        ({"by": 0.03}, {"by": 0.06, "rate": 0.4}, {"by": 0.1}),
        FROZEN,
    ),
    Kind(
        "frozen, flickering", standing.flickering, ({"by": 0.02},), ({"by": 0.015}, {"by": 0.03}, {"by": 0.05}), FROZEN
    ),
    Kind("frozen, fading", standing.fading, ({"to": 0.7},), ({"to": 0.8}, {"to": 0.55}), FROZEN),
    Kind("frozen, tinted", standing.tinted, (), ({"by": 0.05}, {"by": 0.1}), FROZEN),
    Kind("frozen, trembling", standing.trembling, ({"by_px": 0.4},), ({"by_px": 0.3}, {"by_px": 0.5}), FROZEN),
    Kind(
        "frozen, coded hard",
        standing.frozen,
        ({"options": {"crf": "33"}},),
        ({"options": {"crf": "30", "g": "12"}}, {"options": {"crf": "36"}}, {"options": {"g": "12"}}),
        FROZEN,
    ),
    # black
    Kind(
        "black",
        cutting.black,
        ({},),
        ({}, {"level": 5.0, "noise": 3.0}, {"level": 9.0, "noise": 1.0}),
        BLACK,
        unjudged=FROZEN,
    ),
    Kind("black hole", cutting.hole, ({},), ({"seconds": 0.3}, {"at_s": 1.6, "seconds": 0.8}), BLACK),
    Kind("black start", cutting.fade_in, ({"hold_s": 0.6},), ({"hold_s": 0.5}, {"hold_s": 0.9, "seconds": 0.3}), BLACK),
    Kind(
        "fade from black",
        cutting.fade_in,
        ({}, {"power": 2.0}),
        ({"seconds": 0.5}, {"seconds": 1.0, "power": 1.6}, {"seconds": 0.8, "power": 2.2}, {"seconds": 1.5}),
    ),
    Kind("fade to black", cutting.fade_out, ({},), ({"seconds": 1.0, "power": 2.0}, {"seconds": 0.5})),
    Kind("blink", cutting.hole, ({"seconds": 0.08},), ({"seconds": 0.12}, {"seconds": 0.04})),
    Kind("letterbox", cutting.letterbox, ({},), ({"bars": 0.12}, {"bars": 0.3})),
    # cuts
    Kind(
        "cut",
        cutting.cut,
        ({}, {"at_s": (0.1,)}, {"at_s": (0.8, 1.6)}, {"same": True}),
        (
            {},
            {"at_s": (0.05,)},
            {"at_s": (2.2,)},
            {"at_s": (0.6, 1.2, 1.8)},
            {"same": True},
            {"same": True, "at_s": (1.5,)},
        ),
        CUT,
    ),
    Kind("jump cut", cutting.jump, ({},), ({"zoom": 1.5}, {"zoom": 2.0}, {"zoom": 1.8}), CUT),
    Kind("dissolve", cutting.dissolve, ({},), ({"seconds": 0.8}, {"seconds": 1.4}, {"seconds": 0.5})),
    Kind("whip pan", cutting.whip, ({},), ({"seconds": 0.24}, {"seconds": 0.32}, {"seconds": 0.4})),
    Kind(
        "lightning",
        cutting.flash,
        ({"frames": 1}, {"frames": 3}),
        ({"frames": 2}, {"frames": 4, "light": 0.7}, {"frames": 1}),
    ),
    Kind("strobe", cutting.strobe, ({},), ({"on": 2, "off": 2}, {"on": 4, "off": 3}, {"on": 6, "off": 6, "dark": 0.2})),
    Kind("passing close", cutting.passing, ({},), ({"seconds": 0.25}, {"seconds": 0.5})),
)

LONG_S, FINAL_S = 2.4, 1.5


def _of_kind(kind: Kind, split: Split, first: int) -> Iterator[Clip]:
    rows = kind.train * 2 if split == "train" else kind.held  # the same parameters on other stills
    for number, written in enumerate(rows):
        row = dict(written)
        width, height, fps = row.pop("size", SIZES[split][(first + number) % len(SIZES[split])])
        long_s, options = FINAL_S if width == FINAL[0] else LONG_S, row.pop("options", {})
        for name in ("px", "part"):
            if name in row:
                row["size"] = row.pop(name)
        at = Set(
            width,
            height,
            frames=round(long_s * fps / 8) * 8 + 1,
            fps=fps,
            seed=(0 if split == "train" else HELD_OUT_SEEDS) + 10 * first + number,
            scene=kind.scenes[(first + number) % len(kind.scenes)],
        )
        yield Clip(
            name=f"{kind.name} {number + 1}",
            kind=kind.name,
            split=split,
            at=at,
            draw=partial(kind.draw, **row),
            faults=frozenset(kind.faults),
            judged=frozenset(PICTURE) - set(kind.unjudged),
            from_s=(row.get("at_s", 0.0) if kind.faults == FROZEN else None),
            rate=(24000, 48000)[number % 2],
            options=options,
        )


def pictures(split: Split) -> list[Clip]:
    """Return the clips that are looked at, kind by kind."""
    return [clip for first, kind in enumerate(KINDS) for clip in _of_kind(kind, split, first)]


# Sound. Pictures of 96×64 px under it, since nobody looks.

SILENT, PAUSE, CLIPPED, LENGTH, MISSING = ("Q106",), ("Q107",), ("Q108",), ("Q109",), ("Q105",)

Listened = tuple[str, tuple[str, ...], Callable[[float, int, int], Sound] | None, dict[str, Any]]


def _through(effect: Callable[[Sound], Sound], source: Callable[..., Sound], *how: Any) -> Sound:
    """The sound of a source, of seconds, rate and seed, through an effect."""
    return effect(source(*how))


def _loud(source: Callable[..., Sound], effect: Callable[[Sound], Sound]) -> Callable[[float, int, int], Sound]:
    return partial(_through, effect, source)


LISTENED: tuple[Listened, ...] = (
    ("quiet room", (), partial(sounds.air, db=-50.0), {}),
    ("quiet room", (), partial(sounds.air, db=-55.0), {}),
    ("hum", (), partial(sounds.hum, db=-34.0), {}),
    ("hum", (), partial(sounds.hum, db=-20.0), {}),
    ("speech", (), sounds.speech, {}),
    ("speech", (), partial(sounds.speech, db=-14.0), {"rate": 48000}),
    ("speech", (), partial(sounds.speech, room=-120.0), {}),
    ("speech with a breath", (), partial(sounds.speech, pause=(1.0, 2.4)), {}),
    ("music", (), sounds.music, {"rate": 48000}),
    ("music", (), partial(sounds.music, db=-24.0), {}),
    ("limited music", (), _loud(sounds.music, sounds.limited), {"rate": 48000}),
    ("limited music", (), _loud(sounds.music, partial(sounds.limited, drive=4.0)), {}),
    ("limited speech", (), _loud(sounds.speech, partial(sounds.limited, drive=3.0)), {}),
    ("clipped speech", CLIPPED, _loud(sounds.speech, partial(sounds.clipped, by_db=10.0)), {}),
    ("clipped speech", CLIPPED, _loud(sounds.speech, partial(sounds.clipped, by_db=16.0)), {"rate": 48000}),
    ("clipped music", CLIPPED, _loud(sounds.music, partial(sounds.clipped, by_db=9.0)), {"rate": 48000}),
    ("clipped music", CLIPPED, _loud(sounds.music, partial(sounds.clipped, by_db=14.0)), {}),
    ("clipped hum", CLIPPED, _loud(sounds.hum, partial(sounds.clipped, by_db=5.0)), {}),
    ("silence", SILENT, sounds.silence, {}),
    ("silence", SILENT, sounds.silence, {"rate": 48000}),
    ("silence with hiss", SILENT, partial(sounds.silence, db=-72.0), {}),
    ("silence with hiss", SILENT, partial(sounds.silence, db=-66.0), {}),
    ("speech that stops", PAUSE, partial(sounds.speech, pause=(0.8, 3.4), room=-90.0), {}),
    ("speech that stops", PAUSE, partial(sounds.speech, pause=(1.3, 9.0), room=-90.0), {}),
    ("no track", MISSING, None, {}),
    ("as short as the model makes it", (), sounds.speech, {"sound_s": -0.03}),
    ("as short as the model makes it", (), sounds.music, {"sound_s": -0.052, "rate": 48000}),
    ("as short as the model makes it", (), sounds.air, {"sound_s": -0.07}),
    ("too short", LENGTH, sounds.speech, {"sound_s": -0.4}),
    ("too short", LENGTH, sounds.music, {"sound_s": -0.18}),
    ("too long", LENGTH, sounds.speech, {"sound_s": 0.3}),
    ("late", LENGTH, sounds.speech, {"sound_s": -0.3, "starts_s": 0.3}),
    ("late", LENGTH, sounds.speech, {"starts_s": 0.2}),
)


def heard(split: Split) -> list[Clip]:
    """Return the clips that are listened to: every second seed is another voice, tune or room."""
    made = []
    for number, (kind, faults, sound, more) in enumerate(LISTENED):
        seed = (0 if split == "train" else HELD_OUT_SEEDS) + 700 + number
        at = Set(96, 64, 97, 25, seed, "abstract")
        made.append(
            Clip(
                name=f"{kind} {number + 1}",
                kind=kind,
                split=split,
                at=at,
                draw=partial(moving.camera, across=0.1),
                faults=frozenset(faults),
                judged=frozenset(SOUND),
                sound=sound,
                **{"rate": 24000, **more},
            )
        )
    return made


# Takes of one clip, two by two


@dataclass(frozen=True)
class Pair:
    """Two takes of one clip, and whether they are the same but for light, noise and encoding."""

    kind: str
    one: Clip
    other: Clip
    is_same: bool


def pairs(split: Split) -> list[Pair]:
    """Return pairs of takes: of one seed encoded again, and of two seeds that start from one picture."""
    base = 0 if split == "train" else HELD_OUT_SEEDS
    made = []
    for number, (name, draw, row) in enumerate(TAKES):
        width, height, fps = SIZES[split][number % 3]
        scene = "portrait" if draw is moving.head else STILLS[number % 4]
        at = Set(width, height, 41, fps, base + 800 + number, scene)
        one = Clip(f"{name} take 1", name, split, at, partial(draw, **row))
        again = replace(one, name=f"{name} again", options={"crf": ("20", "30")[number % 2]})
        other = replace(
            one, name=f"{name} take 2", at=replace(at, take=1), draw=partial(draw, **{**row, **OTHER.get(name, {})})
        )
        made += [Pair(f"{name}, encoded again", one, again, True), Pair(f"{name}, another seed", one, other, False)]
    return made


TAKES: tuple[tuple[str, Draw, dict[str, Any]], ...] = (
    ("pan", moving.camera, {"across": 0.1}),
    ("push-in", moving.camera, {"push": 0.04}),
    ("talking head", moving.head, {}),
    ("nodding head", moving.head, {"nod": 0.012}),
    ("rain", moving.rain, {"drops": 500}),
    ("candle", moving.candle, {}),
    ("leaves", moving.leaves, {}),
    ("crowd", moving.crowd, {}),
    ("water", moving.water, {}),
    ("smoke", moving.smoke, {}),
)
OTHER: Mapping[str, dict[str, Any]] = {"pan": {"across": -0.06}, "push-in": {"push": 0.02, "across": 0.02}}
