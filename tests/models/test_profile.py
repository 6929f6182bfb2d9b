"""Profiles: loading, geometry, and the data of the shipped ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.core.timing import is_on_grid
from ltxflow.documents import yaml
from ltxflow.models.geometry import delivered_size, explain_geometry, geometry
from ltxflow.models.load import load_profile, templates_folder
from ltxflow.models.profile import Profile

OURS = templates_folder() / "ltx2-19b" / "profile.yaml"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("ltx2-19b")


def copy(folder: Path, change: tuple[str, str] | None = None, name: str = "ltx2-19b") -> Path:
    """Write the shipped profile into `folder` with one text changed, and return `folder`."""
    text = OURS.read_text()
    if change:
        assert change[0] in text
        text = text.replace(*change, 1)
    (folder / name).mkdir(parents=True)
    (folder / name / "profile.yaml").write_text(text)
    return folder


# --- the data


def numbers(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for n, item in enumerate(value) for found in numbers(item, (*path, n))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_has_a_source() -> None:
    data = yaml.read(OURS, "profile.yaml").data
    for path in numbers(data):
        if path in {("ltxflow-profile",), ("version",)}:
            continue
        around = [data]
        for step in path[:-1]:
            around.append(around[-1][step])
        assert any(isinstance(part, dict) and part.get("source") for part in around), path


def test_limits_are_on_the_grid(profile: Profile) -> None:
    for fps in range(profile.fps.minimum, profile.fps.maximum + 1):
        limits = profile.limits(fps)
        for frames in (
            limits.auto_min,
            limits.auto_max,
            limits.preferred_min,
            limits.preferred_max,
            limits.max_frames,
        ):
            assert is_on_grid(frames), (fps, frames)
        assert limits.auto_min <= limits.auto_max <= limits.max_frames
        assert limits.max_frames <= max(9, 20 * fps)


def test_longest_clip_is_20_seconds_and_never_above_993_frames(profile: Profile) -> None:
    assert profile.limits(25).max_frames == 497
    assert profile.limits(50).max_frames == 993
    assert profile.limits(25).auto_max == 257
    assert (profile.limits(25).preferred_min, profile.limits(25).preferred_max) == (121, 161)
    assert profile.limits(25).trim_max == 48


def test_qualities(profile: Profile) -> None:
    full, distilled, preview = (profile.qualities[name] for name in ("full", "distilled", "preview"))
    assert profile.default_quality == "distilled"
    assert (full.steps, full.cfg, full.stages, full.distilled, full.sigmas) == (20, 4.0, 2, False, None)
    assert (distilled.steps, distilled.cfg, distilled.stages, distilled.distilled) == (8, 1.0, 2, True)
    assert (preview.steps, preview.cfg, preview.stages, preview.half, preview.stand_in) == (
        4,
        1.0,
        1,
        True,
        True,
    )
    assert "no official 4-step schedule" in preview.note


def test_preview_takes_four_of_the_eight_sigmas(profile: Profile) -> None:
    eight = profile.qualities["distilled"].sigmas
    four = profile.qualities["preview"].sigmas
    assert eight is not None
    assert four is not None
    assert len(four.split(",")) == 5
    assert set(re.split(r",\s*", four)) < set(re.split(r",\s*", eight))


def test_sampler_depends_on_the_template(profile: Profile) -> None:
    full = profile.qualities["full"]
    assert full.sampler_for("i2v") == "euler"
    assert full.sampler_for("t2v") == "euler_ancestral"
    assert full.stage2.sampler_for("i2v") == "gradient_estimation"
    assert profile.qualities["distilled"].sampler_for("flf2v") == "euler_ancestral"


def test_clip_defaults_name_every_setting_a_picture_needs(profile: Profile) -> None:
    defaults = profile.clip_defaults
    assert defaults["reference.strength"] == 1.0
    assert defaults["reference.compression"] == 33
    assert defaults["reference.fit"] == "cover"
    assert defaults["reference.focus"] == [0.5, 0.5]
    assert defaults["last_frame.strength"] == 0.7
    assert defaults["length"] == "auto"
    assert defaults["quality"] == "distilled"


def test_models_by_precision(profile: Profile) -> None:
    checkpoint, upscaler = profile.models["checkpoint"], profile.models["spatial_upscaler"]
    assert profile.default_weights == {"checkpoint": "fp8", "text_encoder": "bf16"}
    assert checkpoint.precision("fp8") == "fp8"
    assert checkpoint.precision("nvfp4") is None
    assert profile.models["text_encoder"].precision("fp4") == "fp4"
    assert profile.models["text_encoder"].order == ("bf16", "fp8", "fp4")  # the default, then as listed
    assert upscaler.folder == "latent_upscale_models"
    assert upscaler.precision("fp8") == "bf16"


def test_file_is_found_in_sub_folders_and_never_by_half_a_name(profile: Profile) -> None:
    checkpoint = profile.models["checkpoint"]
    plain = "ltx-2-19b-dev-fp8.safetensors"
    assert checkpoint.find("fp8", [f"LTX-2/{plain}", plain]) == plain
    assert checkpoint.find("fp8", [f"LTX-2/{plain}"]) == f"LTX-2/{plain}"
    assert checkpoint.find("fp8", [f"LTX-2\\{plain}"]) == f"LTX-2\\{plain}"
    assert checkpoint.find("fp8", [f"not-{plain}", "ltx-2-19b-dev.safetensors"]) is None


def test_decoder_is_tiled_from_1080p_on(profile: Profile) -> None:
    assert profile.tiled_decode.for_size((1536, 1024)) is None
    assert profile.tiled_decode.for_size((1920, 1088)) == {
        "tile_size": 512,
        "overlap": 64,
        "temporal_size": 4096,
        "temporal_overlap": 8,
    }


# --- which profile


def test_a_project_profile_shadows_a_shipped_one(tmp_path: Path) -> None:
    folder = copy(tmp_path / "templates", ("title: LTX-2 19B", "title: My model"))
    assert load_profile("ltx2-19b", [folder]).title == "My model"
    assert load_profile("ltx2-19b", [tmp_path / "none"]).title == "LTX-2 19B"


def test_unknown_profile_has_a_suggestion() -> None:
    with pytest.raises(LtxflowError) as caught:
        load_profile("ltx2-19")
    problem = caught.value.problems[0]
    assert problem.message == 'unknown profile "ltx2-19"'
    assert problem.hint == 'did you mean "ltx2-19b"?'


@pytest.mark.parametrize("name", ["../ltx2-19b", "/etc", "ltx2-19b/../ltx2-19b", ""])
def test_profile_name_is_not_a_path(name: str) -> None:
    with pytest.raises(LtxflowError):
        load_profile(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps: 8", "steps: 9"), "9 steps need 10 sigmas"),
        (("default_quality: distilled", "default_quality: destilled"), 'no quality "destilled"'),
        (("base: [768, 448]", "base: [768, 432]"), "768x432 is not on the grid of 32"),
        (("upscaled: [1536, 896]", "upscaled: [1536, 898]"), "1536x898 is not twice the base"),
        (("crop: [1536, 864]", "crop: [1536, 964]"), "1536x964 is larger than the upscaled picture"),
        (("name: ltx2-19b", "name: other"), 'the profile is named "other" but its folder "ltx2-19b"'),
    ],
)
def test_numbers_that_disagree_are_reported_at_their_place(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    folder = copy(tmp_path, change)
    with pytest.raises(LtxflowError) as caught:
        load_profile("ltx2-19b", [folder])
    problem = next(p for p in caught.value.problems if p.message == message)
    text = (folder / "ltx2-19b" / "profile.yaml").read_text()
    line = text[: text.index(change[1])].count("\n") + 1
    assert problem.span is not None
    assert problem.span.file.endswith("profile.yaml")
    assert problem.span.line in (line, line + 4)  # the sigmas stand four lines below their steps


def test_schema_problems_carry_a_place(tmp_path: Path) -> None:
    folder = copy(tmp_path, ("cfg: 1.0", "cgf: 1.0"))
    with pytest.raises(LtxflowError) as caught:
        load_profile("ltx2-19b", [folder])
    assert all(p.span is not None for p in caught.value.problems)
    assert any("cgf" in p.message for p in caught.value.problems)


# --- sizes


def test_aspects_agree_with_the_computed_geometry(profile: Profile) -> None:
    for name, aspect in profile.aspects.items():
        g = geometry(profile, name)
        assert (g.base, g.decoded, g.delivered) == (aspect.base, aspect.upscaled, aspect.delivered), name
        assert geometry(profile, aspect.delivered) == g


@pytest.mark.parametrize(
    ("wanted", "base", "crop"),
    [
        ("1536x864", (768, 448), (0, 16, 1536, 864)),
        ("1920x1080", (960, 544), (0, 4, 1920, 1080)),
        ("1280x720", (640, 384), (0, 24, 1280, 720)),
        ("864x1536", (448, 768), (16, 0, 864, 1536)),
        ("1024x576", (512, 288), (0, 0, 1024, 576)),
        ("3840x2160", (1920, 1088), (0, 8, 3840, 2160)),
    ],
)
def test_two_stages_double_the_smallest_base_that_covers(
    profile: Profile, wanted: str, base: tuple[int, int], crop: tuple[int, int, int, int]
) -> None:
    g = geometry(profile, wanted, stages=2)
    assert g.base == base
    assert g.decoded == (2 * base[0], 2 * base[1])
    assert g.crop == crop


def test_one_stage_samples_the_film_s_own_size(profile: Profile) -> None:
    assert geometry(profile, "16:9", stages=1).base == (1536, 864)
    assert not geometry(profile, "16:9", stages=1).is_cropped
    assert geometry(profile, "1280x720", stages=1).base == (1280, 736)


def test_half_delivers_half(profile: Profile) -> None:
    g = geometry(profile, "16:9", stages=1, half=True)
    assert (g.base, g.delivered) == ((768, 448), (768, 432))


def test_every_even_size_is_covered_on_the_grid_and_cropped_evenly(profile: Profile) -> None:
    for width in range(64, 2400, 38):
        for stages, half in ((1, False), (2, False), (1, True)):
            g = geometry(profile, (width, 1082), stages, half)
            x, y, w, h = g.crop
            assert g.base[0] % 32 == g.base[1] % 32 == 0
            assert not any(n % 2 for n in g.crop)
            assert x + w <= g.decoded[0]
            assert y + h <= g.decoded[1]
            assert g.decoded[0] - w < 32 * stages or g.base[0] == 64
            assert (w, h) == ((width // 4 * 2, 540) if half else (width, 1082))


def test_nothing_smaller_than_the_nodes_take_is_sampled(profile: Profile) -> None:
    assert geometry(profile, (64, 64), stages=2).base == (64, 64)
    tiny = geometry(profile, (64, 96), stages=1, half=True)
    assert (tiny.base, tiny.delivered, tiny.crop[:2]) == ((64, 64), (32, 48), (16, 8))


@pytest.mark.parametrize(
    ("wanted", "message", "hint"),
    [
        ("1535x864", "size 1535x864 has an odd side, and h264 needs even ones", "write 1536x864, the nearest size"),
        (
            "7680x4320",
            "size 7680x4320 is larger than 3840x2160, the most LTX-2 19B makes",
            "write 3840x2160, the nearest size",
        ),
        (
            "2160x4000",
            "size 2160x4000 is larger than 3840x2160, the most LTX-2 19B makes",
            "write 2072x3840, the nearest size",
        ),
        ("20x720", "size 20x720 is smaller than 64 px", "write 64x720, the nearest size"),
    ],
)
def test_illegal_size_names_the_nearest_legal_one(profile: Profile, wanted: str, message: str, hint: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        geometry(profile, wanted)
    assert caught.value.problems[0].message == message
    assert caught.value.problems[0].hint == hint
    nearest = hint.removeprefix("write ").removesuffix(", the nearest size")
    assert delivered_size(profile, nearest) == tuple(map(int, nearest.split("x")))


def test_unknown_aspect_has_a_suggestion(profile: Profile) -> None:
    with pytest.raises(LtxflowError) as caught:
        geometry(profile, "16:8")
    assert caught.value.problems[0].message == 'unknown aspect "16:8"'
    assert "did you mean" in caught.value.problems[0].hint
    with pytest.raises(LtxflowError) as caught:
        geometry(profile, "wide")
    assert caught.value.problems[0].message == '"wide" is neither an aspect nor a size'


@pytest.mark.parametrize(
    ("wanted", "stages", "words"),
    [
        (
            "1536x864",
            2,
            "samples 768x448, upscales to 1536x896, crops 16 px top and bottom to 1536x864 "
            "(432 is not a multiple of 32)",
        ),
        ("3:2", 2, "samples 768x512, upscales to 1536x1024"),
        ("16:9", 1, "samples 1536x864"),
        (
            "1082x600",
            1,
            "samples 1088x608, crops 2 px left and 4 px right, 4 px top and bottom to 1082x600 "
            "(1082 and 600 are not multiples of 32)",
        ),
    ],
)
def test_geometry_in_words(profile: Profile, wanted: str, stages: int, words: str) -> None:
    assert explain_geometry(geometry(profile, wanted, stages)) == words


@pytest.mark.parametrize(
    ("wanted", "stages", "base", "decoded"),
    [
        ("256x192", 1, (256, 192), (256, 192)),
        ("352x224", 1, (384, 256), (384, 256)),
        ("256x192", 2, (128, 128), (256, 256)),
        ("1536x864", 2, (768, 448), (1536, 896)),
    ],
)
def test_guided_clips_use_the_grid_of_the_ic_loras(
    wanted: str, stages: int, base: tuple[int, int], decoded: tuple[int, int]
) -> None:
    """The union IC-LoRA of LTX-2.3 uses its guide at half size: sides of its latents must be even."""
    newer = load_profile("ltx2.3-22b")
    assert (newer.side_of(is_guided=True), newer.side_of(is_guided=False)) == (64, 32)
    found = geometry(newer, wanted, stages, is_guided=True)
    assert (found.base, found.decoded) == (base, decoded)
    assert found.delivered == tuple(map(int, wanted.split("x")))
    words = explain_geometry(found, 64)
    assert not found.is_cropped or "of 64)" in words


def test_guided_clips_use_the_usual_grid_by_default(profile: Profile) -> None:
    for stages in (1, 2):
        assert geometry(profile, "352x224", stages, is_guided=True) == geometry(profile, "352x224", stages)


def test_a_quality_may_have_other_stages_for_some_templates() -> None:
    newer = load_profile("ltx2.3-22b").qualities["distilled"]
    assert newer.stages == 2
    assert newer.stages_for == {"flf2v": 1, "keyframes": 1, "control": 1}
