"""How fast a film is conformed, beside FFmpeg's own filter graph: the wallet-explainer, as slates with its voice.

    python benchmarks/conform.py [--size 960x540] [--rounds 3]

FFmpeg is the one of the package imageio-ffmpeg (9.0 and later; `pip install imageio-ffmpeg`), since the `xfade` of
Debian's 5.1 doubles frames from the fourth join on. Without it ltxflow runs alone. Both encode with x264 `veryfast`,
CRF 18, AAC 192 kbit/s. The pictures of both films are read frame by frame.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av

from ltxflow.core.errors import LtxflowError
from ltxflow.media.slate import read_frame_number

HERE = Path(__file__).resolve().parents[1]
Json = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="1536x864")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = film(Path(root), args.size)
        ltxflow(folder, "store", "build", "--animatic", "-q")
        public = folder / "public"
        told = json.loads((public / "scenes" / "timeline.json").read_text())
        seconds = told["durationInFrames"] / told["fps"]
        print(f"{seconds:.1f} s of film, {told['width']}x{told['height']}, {os.cpu_count()} processors")
        stores = Stores(folder)
        rows: dict[str, Callable[[], list[Used]]] = {
            "ltxflow conform": lambda: [ltxflow(folder, stores.fresh(), "conform", "-q")],
            "  --proxy": lambda: [
                ltxflow(folder, stores.fresh(), "conform", "--proxy", "-q", "-o", f"{root}/proxy.mp4")
            ],
            "  again, after an edit of a clip": lambda: [edited(folder, stores.last)],
        }
        if ffmpeg := find_ffmpeg():
            rows["FFmpeg's filter graph"] = lambda: [graph(ffmpeg, public, told, Path(root) / "graph.mp4")]
        print(f"{'':<34}{'seconds':>9}{'× real time':>13}{'processor':>12}{'memory':>9}")
        for name, work in rows.items():
            used = [one for _ in range(args.rounds) for one in work()]
            middle = sorted(used, key=lambda one: one.seconds)[len(used) // 2]
            speed = f"{seconds / middle.seconds:>13.1f}{middle.processor_s:>10.1f} s{middle.memory_mb:>6.0f} MB"
            print(f"{name:<34}{middle.seconds:>9.1f}{speed}")
        ltxflow(folder, stores.last, "conform", "-q")
        for name, path in (("ltxflow", public / "film.mp4"), ("FFmpeg", Path(root) / "graph.mp4")):
            if path.exists():
                print(f"{name}: {right_frames(path, told)}")


def film(root: Path, size: str) -> Path:
    """The demo film in a folder of its own."""
    (root / ".git").mkdir()
    folder = root / "film"
    shutil.copytree(
        HERE / "projects/wallet-explainer", folder, ignore=shutil.ignore_patterns(".ltxflow", "public", "*.lock")
    )
    file = folder / "project.yaml"
    file.write_text(re.sub(r"(?m)^aspect: .*$", f"size: {size}", file.read_text()))
    return folder


@dataclass
class Used:
    """What a command took."""

    seconds: float
    processor_s: float
    memory_mb: float  # at the most


class Stores:
    """Copies of the store that holds the slates and the voice, and nothing of the film yet."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder.parent, 0

    @property
    def last(self) -> str:
        return f"store-{self.count}"

    def fresh(self) -> str:
        self.count += 1
        shutil.copytree(self.folder / "store", self.folder / self.last)
        return self.last


def measured(command: list[str], env: Mapping[str, str]) -> Used:
    started = time.monotonic()
    process = subprocess.Popen(command, env=env)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:4]} failed")
    return Used(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def ltxflow(folder: Path, store: str, *argv: str) -> Used:
    env = {**os.environ, "LTXFLOW_STORE": str(folder.parent / store), "PYTHONPATH": str(HERE)}
    return measured([sys.executable, "-m", "ltxflow.cli.main", *argv, "-p", str(folder)], env)


def edited(folder: Path, store: str) -> Used:
    """Another prompt for one clip, drawn before: what it takes to have the film with it."""
    ltxflow(folder, store, "conform", "-q")
    file = folder / "project.yaml"
    file.write_text(file.read_text().replace("Inside the open vault", "Inside the open, open vault"))
    ltxflow(folder, store, "build", "--animatic", "-q")
    return ltxflow(folder, store, "conform", "-q")


def find_ffmpeg() -> str | None:
    if find_spec("imageio_ffmpeg") is None:
        print("without FFmpeg: pip install imageio-ffmpeg")
        return None
    import imageio_ffmpeg  # type: ignore[import-not-found,unused-ignore]  # no dependency of ours

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def graph(ffmpeg: str, public: Path, told: Json, out: Path) -> Used:
    """The same film by one filter graph: xfade, acrossfade, sidechaincompress, loudnorm."""
    files, parts, pictures = [], [], []
    sounds = []
    for number, scene in enumerate(told["scenes"]):
        names = []
        for clip in scene["clips"]:
            index = len(files)
            files.append(clip["src"])
            start, end = (f / told["fps"] for f in (clip["trimStart"], clip["trimStart"] + clip["durationInFrames"]))
            parts += [
                f"[{index}:v]trim={start}:{end},setpts=PTS-STARTPTS[v{index}]",
                f"[{index}:a]atrim={start}:{end},asetpts=PTS-STARTPTS[a{index}]",
            ]
            names.append(index)
        video, audio = f"v{names[0]}", f"a{names[0]}"
        for clip, index in zip(scene["clips"][1:], names[1:], strict=True):
            fade = clip["transition"]["durationInFrames"] / told["fps"]
            offset = clip["from"] / told["fps"]
            parts += [
                f"[{video}][v{index}]xfade=duration={fade}:offset={offset}[x{index}]",
                f"[{audio}][a{index}]acrossfade=d={fade}[c{index}]",
            ]
            video, audio = f"x{index}", f"c{index}"
        if scene["narration"]:
            index = len(files)
            files.append(scene["narration"]["src"])
            delay = scene["narration"]["startFrame"] * 1000 // told["fps"]
            length = scene["durationInFrames"] / told["fps"]
            parts += [
                f"[{index}:a]aresample=48000,aformat=channel_layouts=stereo,loudnorm=I=-16,aresample=48000,"
                f"adelay={delay}:all=1,apad=whole_dur={length},atrim=0:{length},asplit[n{number}][k{number}]",
                f"[{audio}]aformat=channel_layouts=stereo[b{number}]",
                f"[b{number}][k{number}]sidechaincompress=threshold=0.02:ratio=4:release=400[d{number}]",
                f"[d{number}][n{number}]amix=inputs=2:duration=first:normalize=0,alimiter=limit=0.84[s{number}]",
            ]
            audio = f"s{number}"
        pictures.append(f"[{video}]")
        sounds.append(f"[{audio}]")
    joined = "".join(p + s for p, s in zip(pictures, sounds, strict=True))
    parts.append(f"{joined}concat=n={len(pictures)}:v=1:a=1[v][a]")
    inputs = [word for name in files for word in ("-i", str(public / name))]
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "aac", "-b:a", "192k"]
    command = [ffmpeg, "-v", "error", "-y", *inputs, "-filter_complex", ";".join(parts)]
    return measured([*command, "-map", "[v]", "-map", "[a]", *encoder, str(out)], os.environ)


def right_frames(path: Path, told: Json) -> str:
    """How many frames there are, and how many of those that stand alone show the number they should."""
    wanted: list[list[int]] = [[] for _ in range(told["durationInFrames"])]
    for clip in (clip for scene in told["scenes"] for clip in scene["clips"]):
        for number in range(clip["durationInFrames"]):
            wanted[clip["absoluteFrom"] + number].append(clip["trimStart"] + number)
    count = right = alone = 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            shown = wanted[count] if count < len(wanted) else []
            count += 1
            if len(shown) == 1:
                alone += 1
                with suppress(LtxflowError):
                    size = told["width"], told["height"]
                    right += read_frame_number(frame.to_ndarray(format="rgb24"), size) == shown[0]
    return f"{count} frames of {len(wanted)}; {right} of {alone} outside of dissolves are the right ones"


if __name__ == "__main__":
    main()
