"""Load profiles: read a profile's file with those it extends, check it, and freeze it as a Profile."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.files import data_dir
from ltxflow.documents import yaml
from ltxflow.documents.document import Document, shown
from ltxflow.documents.schema import check
from ltxflow.models.profile import (
    Aspect,
    Fps,
    Grid,
    Lengths,
    Model,
    PictureRules,
    Profile,
    ProfileRequirements,
    Quality,
    SoundRules,
    Stage2,
    Tiling,
)

FILE = "profile.yaml"
NOT_INHERITED = ("name", "extends")

Stamp = tuple[Path, int, int]  # a file, when it was written (ns), and its size


def templates_folder() -> Path:
    """Return the folder of the shipped profiles, in a wheel or in a checkout."""
    return data_dir() / "templates"


def load_profile(name: str, folders: Sequence[Path] = ()) -> Profile:
    """Load a profile from `<folder>/<name>/profile.yaml` of the first folder that has it.

    `folders` come before the shipped profiles, so a project's `templates/` shadows them. Missing keys are inherited
    from the profile it extends. Raise LtxflowError for an unknown name, and with every problem of the files.
    """
    places = (*folders, templates_folder())
    path = profile_path(name, places)
    if path is None:
        raise LtxflowError(unknown_profile(name, places))
    profile = _read_profile(stamps_of(path, places))
    return profile if path.parents[1] == templates_folder() else _with_own_files(profile)


def shipped_profiles() -> Iterator[Profile]:
    """Yield the shipped profiles, the newest model first; of one model the plain profile before variants."""
    found = [load_profile(name) for name in known_profiles([templates_folder()])]
    yield from sorted(found, key=lambda profile: (model_version(profile.model), -len(profile.model)), reverse=True)


def model_version(model: str) -> tuple[int, ...]:
    """Return the version in a model's name as numbers: (2,) of `ltx-2/19b`."""
    found = re.search(r"\d+(?:\.\d+)*", model.partition("/")[0])
    return tuple(map(int, found[0].split("."))) if found else ()


def _with_own_files(profile: Profile) -> Profile:
    """Set `own_files`: files that no shipped profile of the same model lists for that role and precision."""
    ours = [each for each in shipped_profiles() if each.model == profile.model]

    def is_ours(role: str, precision: str, name: str) -> bool:
        models = [each.models[role] for each in ours if role in each.models]
        return any(name in map(_bare, model.weights.get(precision, ())) for model in models)

    own = {
        (role, precision): _bare(names[0])
        for role, model in profile.models.items()
        for precision, names in model.weights.items()
        if not is_ours(role, precision, _bare(names[0]))
    }
    compared = tuple(path for each in ours for path in each.files if path not in profile.files)
    return replace(profile, own_files=MappingProxyType(own), files=(*profile.files, *dict.fromkeys(compared)))


def _bare(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


# Files


@dataclass(frozen=True)
class Lineage:
    """A profile's document merged over those it extends; `files` has its file first, then the extended ones.

    `sets` are the names of the profiles whose templates it uses, the nearest first.
    """

    document: Document
    files: tuple[Path, ...]
    sets: tuple[str, ...]


def profile_path(name: str, places: Sequence[Path]) -> Path | None:
    """Return the file of a profile in the first of the places that has it, or None."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name):
        return None
    return next((path for place in places if (path := place / name / FILE).is_file()), None)


def known_profiles(places: Sequence[Path]) -> list[str]:
    """Return the names of all profiles in these places, sorted."""
    return sorted({path.parent.name for place in places for path in place.glob(f"*/{FILE}")})


def unknown_profile(name: str, places: Sequence[Path]) -> Problem:
    """Return the problem of an unknown profile, with the nearest known name as a hint."""
    known = known_profiles(places)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(known)}"
    return problem("F001", hint=hint, name=name)


def stamps_of(path: Path, places: Sequence[Path]) -> tuple[Stamp, ...]:
    """Return the files of a profile: its file, that of the profile it extends, and so on.

    A profile that extends its own name extends the one it shadows. Raise LtxflowError, at `extends`, for a profile that
    does not exist and for a cycle.
    """
    found: list[Stamp] = []
    while True:
        info = path.stat()
        found.append((path, info.st_mtime_ns, info.st_size))
        document = _document(*found[-1])
        base = document.data.get("extends") if isinstance(document.data, dict) else None
        if not isinstance(base, str):  # missing, or reported by the schema
            return tuple(found)
        name = path.parent.name
        further = places[places.index(path.parents[1]) + 1 :] if base == name else places
        above = profile_path(base, further)
        span = document.span(("extends",))
        if above is None:
            hint = unknown_profile(base, further).hint
            raise LtxflowError(problem("F003.missing", span, hint=hint, name=name, base=base))
        if above in [each for each, _, _ in found]:
            names = [each.parent.name for each, _, _ in found]
            cycle = " → ".join([*names[names.index(base) :], base])
            raise LtxflowError(problem("F003.cycle", span, cycle=cycle))
        path = above


@lru_cache(maxsize=16)
def _document(path: Path, mtime_ns: int, size: int) -> Document:
    return yaml.read(path, shown(path))


def read_lineage(stamps: Sequence[Stamp]) -> Lineage:
    """Return a profile's files as one document, in which each overrides the next."""
    documents = [_document(*stamp) for stamp in stamps]
    whole = documents[-1]
    for document in reversed(documents[:-1]):
        whole = document.over(_inherited(whole))
    sets: list[str] = []
    for document, (path, _, _) in zip(documents, stamps, strict=True):
        also = document.data.get("templates") if isinstance(document.data, dict) else None
        sets += [path.parent.name, *([also] if isinstance(also, str) else [])]
    return Lineage(whole, tuple(path for path, _, _ in stamps), tuple(dict.fromkeys(sets)))


def _inherited(document: Document) -> Document:
    """Return a document without the keys that are not inherited."""
    if not isinstance(document.data, dict):
        return document
    data = {key: value for key, value in document.data.items() if key not in NOT_INHERITED}
    return Document(document.file, data, document.marks, document.problems, document.written)


# Values


@lru_cache(maxsize=16)
def _read_profile(stamps: tuple[Stamp, ...]) -> Profile:
    lineage = read_lineage(stamps)
    document = lineage.document
    problems = check(document, "profile")
    if problems:
        raise LtxflowError(*problems)
    data = document.data
    problems = list(_inconsistencies(document))
    if data["name"] != lineage.files[0].parent.name:
        folder = lineage.files[0].parent.name
        problems.append(problem("F002.name", document.span(("name",)), name=data["name"], folder=folder))
    if problems:
        raise LtxflowError(*problems)
    return _profile(data, lineage)


def _inconsistencies(document: Document) -> Iterable[Problem]:
    """Yield values that disagree with each other, which a schema cannot express."""
    data = document.data
    side: int = data["grid"]["one_stage"]["side"]

    def hint(span: Span) -> str:
        return f"write it in {document.file}, too" if span.file != document.file else ""

    for role, precision in data["default_weights"].items():
        if role not in data["models"]:
            span = document.span(("default_weights", role))
            yield problem("F002.model", span, hint=hint(span), role=role)
        elif precision not in data["models"][role]["weights"]:
            span = document.span(("default_weights", role))
            yield problem("F002.weights", span, hint=hint(span), precision=precision, role=role)
    if data["default_quality"] not in data["qualities"]:
        span = document.span(("default_quality",))
        yield problem("F002.quality", span, hint=hint(span), quality=data["default_quality"])
    for name, quality in data["qualities"].items():
        if "sigmas" in quality and len(quality["sigmas"].split(",")) != quality["steps"] + 1:
            span, steps = document.span(("qualities", name, "sigmas")), quality["steps"]
            yield problem("F002.sigmas", span, hint=hint(span), steps=steps, count=steps + 1)
    for name, entry in data["aspects"].items():
        if name == "source":
            continue
        base, upscaled, crop = entry["base"], entry["upscaled"], entry.get("crop", entry["upscaled"])
        if base[0] % side or base[1] % side:
            span = document.span(("aspects", name, "base"))
            yield problem("F002.grid", span, hint=hint(span), size=f"{base[0]}x{base[1]}", side=side)
        if upscaled != [2 * base[0], 2 * base[1]]:
            span = document.span(("aspects", name, "upscaled"))
            yield problem("F002.twice", span, hint=hint(span), size=f"{upscaled[0]}x{upscaled[1]}")
        if crop[0] > upscaled[0] or crop[1] > upscaled[1]:
            span = document.span(("aspects", name, "crop"))
            yield problem("F002.crop", span, hint=hint(span), size=f"{crop[0]}x{crop[1]}")


def _profile(data: Mapping[str, Any], lineage: Lineage) -> Profile:
    grid, lengths, fps, needs = data["grid"], data["lengths"], data["fps"], data.get("needs", {})
    sound = data.get("sound")
    return Profile(
        name=data["name"],
        title=data["title"],
        model=data.get("model", data["name"]),
        version=data["version"],
        grid=Grid(
            grid["one_stage"]["side"],
            grid["two_stage"]["side"],
            grid["frames"]["step"],
            _pair(grid["largest"]["size"]),
            grid.get("smallest", {}).get("side", 0),
        ),
        lengths=Lengths(
            usual=_pair(lengths["usual"]["frames"]),
            preferred=_pair(lengths["preferred"]["frames"]),
            ceiling_seconds=lengths["ceiling"]["seconds"],
            ceiling_fps=lengths["ceiling"]["at_fps"],
            node_frames=lengths["node"]["frames"],
            trim_max=lengths["trim_max"]["frames"],
            chain_max=lengths.get("chain_max", {}).get("clips", 0),
        ),
        fps=Fps(
            fps["default"]["value"],
            *_pair(fps["allowed"]["range"]),
            motion=_pair(fps["motion"]["range"]),
            static=_pair(fps["static"]["range"]),
        ),
        default_quality=data["default_quality"],
        qualities=MappingProxyType({name: _quality(name, q) for name, q in data["qualities"].items()}),
        default_weights=MappingProxyType(dict(data["default_weights"])),
        models=MappingProxyType(
            {
                role: Model(
                    role,
                    m["folder"],
                    MappingProxyType({precision: tuple(names) for precision, names in m["weights"].items()}),
                    data["default_weights"].get(role, ""),
                    m.get("maps", ""),
                )
                for role, m in data["models"].items()
            }
        ),
        camera_loras=tuple(data.get("camera_loras", {}).get("names", ())),
        control_loras=MappingProxyType(dict(data.get("control_loras", {}).get("names", {}))),
        negative=data["negative"]["text"],
        prompt_words_max=data["prompt"]["words_max"],
        reference=_picture(data["reference"]),
        last_frame=_picture(data["last_frame"]),
        aspects=MappingProxyType(
            {
                name: Aspect(_pair(a["base"]), _pair(a["upscaled"]), _pair(a.get("crop", a["upscaled"])))
                for name, a in data["aspects"].items()
                if name != "source"
            }
        ),
        text_encoder_device=data["text_encoder_device"]["value"],
        tiled_decode=Tiling(**{name: n for name, n in data["tiled_decode"].items() if name != "source"}),
        advice=MappingProxyType(
            {name: tuple(lines) for name, lines in data.get("advice", {}).items() if name != "source"}
        ),
        checks=MappingProxyType({name: check["value"] for name, check in data.get("checks", {}).items()}),
        files=lineage.files,
        sets=lineage.sets,
        needs=ProfileRequirements(needs.get("comfyui", ""), tuple(needs.get("nodes", ()))),
        control_side=data.get("control_loras", {}).get("side", 0),
        sound=SoundRules(sound["latents_per_second"], sound["lost"], sound["rate"]) if sound else None,
        first_frame_guides=data.get("first_frame", {}).get("as") == "guide",
        temporal_refined=data.get("temporal_upscale", {}).get("refined", False),
    )


def _pair(written: Sequence[int]) -> tuple[int, int]:
    return written[0], written[1]


def _quality(name: str, q: Mapping[str, Any]) -> Quality:
    second = q["stage2"]
    return Quality(
        name=name,
        title=q["title"],
        stages=q["stages"],
        steps=q["steps"],
        cfg=float(q["cfg"]),
        sampler=q["sampler"],
        samplers=MappingProxyType(dict(q.get("samplers", {}))),
        sigmas=q.get("sigmas"),
        distilled=q["distilled"],
        distilled_strength=float(q["distilled_strength"]),
        stage2=Stage2(
            second["sigmas"],
            second["sampler"],
            float(second["cfg"]),
            MappingProxyType(dict(second.get("samplers", {}))),
            _etas(second),
            second.get("seed"),
            second.get("distilled"),
        ),
        half=q.get("half", False),
        stand_in=q.get("stand_in", False),
        note=q.get("note", ""),
        etas=_etas(q),
        audio_cfg=float(q["audio_cfg"]) if "audio_cfg" in q else None,
        guidance=MappingProxyType({name: value for name, value in q.get("guidance", {}).items() if name != "source"}),
        stages_for=MappingProxyType(dict(q.get("stages_for", {}))),
    )


def _etas(data: Mapping[str, Any]) -> Mapping[str, float]:
    return MappingProxyType({template: float(eta) for template, eta in data.get("etas", {}).items()})


def _picture(p: Mapping[str, Any]) -> PictureRules:
    again = float(p["strength_stage2"]) if "strength_stage2" in p else None
    focus = float(p["focus"][0]), float(p["focus"][1])
    return PictureRules(float(p["strength"]), p["compression"], p["fit"], focus, again)
