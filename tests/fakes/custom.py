"""Custom nodes that people's workflows have, as far as the fake server plays them: their signatures, for `extra_nodes`.

`VHS_VideoCombine` declares a few of its inputs alone: which others it takes follows from its format. It lists its files
under `gifs`, and with `save_output` off as temporary ones.
"""

from __future__ import annotations

from typing import Any

VHS_FORMATS = ["image/gif", "image/webp", "video/webm", "video/h264-mp4", "video/nvenc_h264-mp4"]
VHS: dict[str, Any] = {
    "VHS_VideoCombine": {
        "input": {
            "required": {
                "images": ["IMAGE"],
                "frame_rate": ["FLOAT", {"default": 8, "min": 1, "step": 1}],
                "loop_count": ["INT", {"default": 0, "min": 0, "max": 100, "step": 1}],
                "filename_prefix": ["STRING", {"default": "AnimateDiff"}],
                "format": [VHS_FORMATS, {}],
                "pingpong": ["BOOLEAN", {"default": False}],
                "save_output": ["BOOLEAN", {"default": True}],
            },
            "optional": {"audio": ["AUDIO"], "meta_batch": ["VHS_BatchManager"], "vae": ["VAE"]},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"},
        },
        "output": ["VHS_FILENAMES"],
        "output_node": True,
        "name": "VHS_VideoCombine",
        "python_module": "custom_nodes.comfyui-videohelpersuite",
    }
}
