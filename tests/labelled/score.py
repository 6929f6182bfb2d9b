"""How often the checks are right about the labelled clips, kind by kind, and FFmpeg's freezedetect beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.filter import Graph

from labelled.catalogue import Clip, Pair
from ltxflow.media.findings import Findings, judge, similarity
from ltxflow.media.inspection import inspect_video

FREEZE_NOISE = 0.001  # FFmpeg's default (-60 dB), and its default duration, in seconds
FREEZE_S = 2.0
OUR_FREEZE_S = 1.0
NOISES = (0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.008, 0.015, 0.03)


@dataclass(frozen=True)
class Seen:
    """A clip, what was found in it, and what freezedetect says of it at each noise level."""

    clip: Clip
    findings: Findings
    codes: frozenset[str]
    by_default: bool = False
    by_noise: tuple[bool, ...] = ()


@dataclass
class Tally:
    """Of one kind of clips: how many, and of how many something was missed, or said that is not so."""

    n: int = 0
    faulty: int = 0
    misses: int = 0
    alarms: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, name: str, wanted: bool, found: bool) -> None:
        self.n += 1
        self.faulty += wanted
        self.misses += wanted and not found
        self.alarms += found and not wanted
        if wanted != found:
            self.wrong.append(name)


def look(clip: Clip, *, freezedetect: bool = False, noises: Sequence[float] = NOISES) -> Seen:
    """Make a clip, inspect it, and have freezedetect look at it as well."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        clip.write(path)
        findings = inspect_video(path)
        codes = frozenset(problem.code for problem in judge(findings)) & clip.judged
        if not freezedetect:
            return Seen(clip, findings, codes)
        by_noise = tuple(freezes(path, noise, OUR_FREEZE_S) for noise in noises)
        return Seen(clip, findings, codes, freezes(path, FREEZE_NOISE, FREEZE_S), by_noise)


def look_at(
    clips: Iterable[Clip], processes: int = 1, *, freezedetect: bool = False, noises: Sequence[float] = NOISES
) -> list[Seen]:
    """Look at many, in so many processes."""
    each = partial(look, freezedetect=freezedetect, noises=noises)
    if processes == 1:
        return [each(clip) for clip in clips]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(each, clips))


def likeness(pair: Pair) -> float:
    """Make the two takes of a pair, and return how alike the checks find them."""
    one, other = (look(take).findings.fingerprint for take in (pair.one, pair.other))
    return similarity(one, other)


def tally(seen: Iterable[Seen], code: str, found: Callable[[Seen], bool] | None = None) -> dict[str, Tally]:
    """Count by kind what is said of one code, by the checks or by `found`; clips that are not judged are left out."""
    kinds: dict[str, Tally] = defaultdict(Tally)
    for each in seen:
        if code in each.clip.judged:
            says = code in each.codes if found is None else found(each)
            kinds[each.clip.kind].add(each.clip.name, code in each.clip.faults, says)
    return dict(kinds)


def total(kinds: dict[str, Tally]) -> Tally:
    """Add them up."""
    parts = list(kinds.values())
    return Tally(
        sum(part.n for part in parts),
        sum(part.faulty for part in parts),
        sum(part.misses for part in parts),
        sum(part.alarms for part in parts),
        [name for part in parts for name in part.wrong],
    )


def best_noise(seen: Sequence[Seen]) -> int:
    """Return the place of the noise level at which freezedetect is wrong of the fewest of these very clips."""

    def wrong(place: int) -> int:
        made = total(tally(seen, "Q101", lambda each: each.by_noise[place]))
        return made.misses + made.alarms

    return min(range(len(seen[0].by_noise)), key=wrong)


def freezes(path: Path, noise: float, seconds: float) -> bool:
    """Return whether FFmpeg's freezedetect finds a freeze of so many seconds."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        graph = Graph()
        source, detect, sink = (
            graph.add_buffer(template=video),
            graph.add("freezedetect", f"n={noise}:d={seconds}"),
            graph.add("buffersink"),
        )
        source.link_to(detect)
        detect.link_to(sink)
        graph.configure()
        for frame in [*container.decode(video), None]:
            graph.push(frame)
            while True:
                try:
                    passed = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break
                if any("freeze_start" in name for name in passed.metadata):
                    return True
    return False
