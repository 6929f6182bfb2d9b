"""Find the inputs that give a workflow's picture its size, and the variables to write there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ltxflow.workflow.values import Spot, Values
from ltxflow.workflow.wiring import Place, Wiring, as_number

Context = Mapping[str, float]
Want = Callable[[Context], float]

MOST_SPOTS = 8  # places tried for one number, of the farthest and of the nearest each

# Films with which a place is tried. Nodes compute plain arithmetic, so a place right for these is right for all.
FILMS: tuple[Context, ...] = tuple(
    {"width": width, "height": height, "frames": frames, "fps": fps, "seed": seed}
    for width, height, frames, fps, seed in (
        (384, 640, 121, 24, 5),
        (1024, 576, 49, 25, 2**52 + 1),
        (96, 2048, 257, 30, 0),
    )
)


@dataclass
class SizeUse:
    """An input that a clip decides: its variable, and the places where that can be written.

    `spots` are tried in turn, each with its text in the template: a place that two uses want different texts for is
    given to neither.
    """

    place: Place
    variable: str
    spots: Iterator[tuple[Spot, str]]


@dataclass
class Sizing(Wiring):
    """A search for sizes in one workflow."""

    uses: list[SizeUse] = field(default_factory=list)

    @cached_property
    def values(self) -> Values:
        return Values(self)

    def has_use(self, place: Place) -> bool:
        return any(use.place == place for use in self.uses)

    # ---- numbers

    def use_number(self, text: str, place: Place, want: Want, others: Mapping[str, Want] | None = None) -> None:
        """Record that an input must equal `text`; `others` are further texts that a place before it may need."""
        if not self.has_use(place):
            options = {text: want, **(others or {})}
            self.uses.append(SizeUse(place, text, self._spots(place, text, want, options)))

    def _spots(self, place: Place, text: str, want: Want, options: Mapping[str, Want]) -> Iterator[tuple[Spot, str]]:
        before = self.values.spots(*place)[:-1]
        for spot in [*before[:MOST_SPOTS], *before[MOST_SPOTS:][-MOST_SPOTS:]]:
            if not self.values.holds_number(spot):
                continue
            for option, value in options.items():
                if all(self._equals(place, want(film), {spot: value(film)}, film) for film in self._films()):
                    yield spot, option
                    break
        yield place, text

    def follows(self, place: Place, want: Want) -> bool:
        """Return whether an input has the wanted value already, as it measures a picture of the clip."""
        return self.values.from_picture(*place) and all(
            self._equals(place, want(film), {}, film) for film in self._films()
        )

    def _films(self) -> list[Context]:
        """Return the films with the size of the decoded picture."""
        scale = self.scale
        return [
            {**film, "decoded_width": film["width"] * scale, "decoded_height": film["height"] * scale} for film in FILMS
        ]

    def _equals(self, place: Place, wanted: float, spots: Mapping[Spot, Any], film: Context) -> bool:
        picture = film["decoded_width"], film["decoded_height"]
        found = as_number(self.values.with_spots(*place, spots, picture))
        return found is not None and found == wanted

    # ---- sizes

    @cached_property
    def scale(self) -> float:
        """Factor from the size of the first latent to that of the decoded picture."""
        scale = 1.0
        for id in self.used:
            scale *= self.upscale(id)
        return scale

    @cached_property
    def used(self) -> set[str]:
        """The nodes that lead to the fetched files."""
        raise NotImplementedError

    def use_size(self, place: Place, side: str, is_decoded: bool) -> None:
        """Record that an input is the width or height of the decoded picture or of the first latent."""
        decoded, sampled = f"decoded_{side}", side

        def want_decoded(film: Context) -> float:
            return film[decoded]

        def want_sampled(film: Context) -> float:
            return film[sampled]

        if is_decoded or self.scale == 1:
            if not self.follows(place, want_decoded):
                self.use_number(decoded, place, want_decoded, {sampled: want_sampled} if self.scale != 1 else None)
        elif not self.follows(place, want_sampled):
            self.use_number(sampled, place, want_sampled, {decoded: want_decoded})

    def size_of(self, id: str, pair: tuple[str, str]) -> tuple[float, float] | None:
        """Return the two numbers that a node reads as a size, None if they cannot be computed."""
        numbers = [self.values.number(id, name) if name in self.inputs(id) else None for name in pair]
        known = [number for number in numbers if number is not None]
        return (known[0], known[1]) if len(known) == 2 else None

    def sizes_elsewhere(self, latents: list[str], crops: list[str], base: tuple[float, float] | None) -> list[str]:
        """Give the film's size to every node that had the workflow's; return the changes of other sizes.

        A picture of the clip is resized to the decoded size, whatever size the workflow had: it is prepared for that.
        """
        decoded = (base[0] * self.scale, base[1] * self.scale) if base else None
        changed: list[str] = []
        for id in self.in_order(self.used):
            pair = self.values.pair(id)
            if pair is None or id in latents or id in crops:
                continue
            size = self.size_of(id, pair)
            is_same = size is not None and size in (base, decoded)
            if not is_same and not self.resizes_picture(id):
                continue
            is_decoded = size == decoded or size != base
            for name, side in zip(pair, ("width", "height"), strict=True):
                self.use_size((id, name), side, is_decoded)
            if not is_same and size:
                changed.append(
                    f"{self.describe(id)} resized a picture to {size[0]:g}x{size[1]:g}: set to the size of the clip"
                )
        return changed

    def resizes_picture(self, id: str) -> bool:
        """Return whether a node resizes a picture or video file, before anything is sampled."""
        before = self.upstream(id)
        is_file = any(self.loads(one, "image") or self.loads_video(one) for one in before)
        return (
            is_file and not any(self.is_sampler(one) for one in before) and any(self.linked(id, *self.picture_inputs))
        )
