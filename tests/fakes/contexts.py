"""Contexts for templates, as a clip of a small film would have them; shared by the tests of templates and graphs."""

from __future__ import annotations

from typing import Any

from ltxflow.models.geometry import geometry
from ltxflow.models.load import load_profile
from ltxflow.steps.clip.spec import second_stage

FILES = {
    "checkpoint": "ltx-2-19b-dev-fp8.safetensors",
    "text_encoder": "gemma_3_12B_it_fp8_scaled.safetensors",
    "distilled_lora": "ltx-2-19b-distilled-lora-384.safetensors",
    "spatial_upscaler": "ltx-2-spatial-upscaler-x2-1.0.safetensors",
    "temporal_upscaler": "ltx-2-temporal-upscaler-x2-1.0.safetensors",
}
_GUIDE = {"strength": 0.7, "strength2": 1.0, "compression": 25}
KEYFRAMES = [
    {"image": "ltxflow/0f.png", "index": 0, "index2": 0, **_GUIDE},
    {"image": "ltxflow/40f.png", "index": 40, "index2": 40, **_GUIDE},
]
LORAS = (
    {"name": "ltx-2-19b-lora-camera-control-dolly-in.safetensors", "strength": 1.0},
    {"name": "my_style.safetensors", "strength": 0.8},
)


def context(
    template: str = "i2v",
    quality: str = "distilled",
    size: str = "3:2",
    stages: int | None = None,
    model: str = "ltx2-19b",
    **changes: Any,
) -> dict[str, Any]:
    """Return every variable a template can use, for a clip of 121 frames of the model of this profile."""
    profile = load_profile(model)
    preset = profile.qualities[quality]
    stages = stages or preset.stages_for.get(template, preset.stages)
    g = geometry(profile, size, stages, preset.half)
    x, y, width, height = g.crop
    return {
        "prompt": "A vault opens; a deep hum",
        "negative": "blurry",
        "seed": 42,
        "width": g.base[0],
        "height": g.base[1],
        "decoded_width": g.decoded[0],
        "decoded_height": g.decoded[1],
        "crop": {"x": x, "y": y, "width": width, "height": height} if g.is_cropped else None,
        "frames": 121,
        "fps": 25,
        "stages": stages,
        "steps": preset.steps,
        "cfg": preset.cfg,
        "sampler": preset.sampler_for(template),
        "sampler_eta": preset.etas.get(template),
        "sigmas": preset.sigmas,
        "audio_cfg": preset.cfg if preset.audio_cfg is None else preset.audio_cfg,
        "guidance": dict(preset.guidance) or None,
        "stage2": second_stage(preset.stage2, template),
        "distilled": preset.distilled,
        "distilled_strength": preset.distilled_strength,
        "loras": [],
        "reference": "ltxflow/0123456789abcdef.png",
        "reference_strength": profile.reference.strength,
        "reference_strength2": profile.reference.strength_stage2 or profile.reference.strength,
        "reference_compression": profile.reference.compression,
        "last_frame": "ltxflow/fedcba9876543210.png",
        "last_frame_strength": profile.last_frame.strength,
        "last_frame_strength2": profile.last_frame.strength_stage2 or profile.last_frame.strength,
        "last_frame_compression": profile.last_frame.compression,
        "first_frame_guides": profile.first_frame_guides,
        "keyframes": KEYFRAMES,
        "models": {role: FILES.get(role, m.weights[m.order[0]][0]) for role, m in profile.models.items()}
        if model == "ltx2-19b"
        else {role: m.weights[m.order[0]][0] for role, m in profile.models.items()},
        "text_encoder_device": "cpu",
        "tiling": profile.tiled_decode.for_size(g.decoded),
        "temporal_upscale": False,
        "temporal_refined": profile.temporal_refined,
        "control": {
            "lora": "ltx-2-19b-ic-lora-canny-control.safetensors",
            "video": "ltxflow/guide.mp4",
            "strength": 1.0,
            "mode": "canny",
        },
        "extend": {"video": "ltxflow/before.mp4", "frames": 121, "k": 25, "audio": "pinned"},
        "prefix": "ltxflow/hook-a",
        **changes,
    }
