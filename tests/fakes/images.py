"""A server on loopback with `POST /v1/images/generations`, beside a ComfyUI template that makes images. No model.

What an image shows follows from what is asked for: the same prompt, size and seed are the same picture.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

from PIL import Image

from fakes.speech import Answer, Asked, FakeSpeech, error

# Of nodes that are recorded for tests; a person's own would load Flux or SDXL.
TEMPLATE = """\
{# ltxflow-template: 1
title: Text to image
way: an image from a prompt
needs: []
variables: [prompt, negative, seed, width, height, prefix]
#}
{
  "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "ltx-2-19b-dev-fp8.safetensors"}},
  "2": {"class_type": "LTXAVTextEncoderLoader", "inputs": {
    "text_encoder": "gemma_3_12B_it.safetensors", "ckpt_name": "ltx-2-19b-dev-fp8.safetensors", "device": "default"
  }},
  "3": {"class_type": "CLIPTextEncode", "inputs": {"text": {{ prompt }}, "clip": ["2", 0]}},
  "4": {"class_type": "CLIPTextEncode", "inputs": {"text": {{ negative }}, "clip": ["2", 0]}},
  "5": {"class_type": "EmptyLTXVLatentVideo", "inputs": {
    "width": {{ width }}, "height": {{ height }}, "length": 1, "batch_size": 1
  }},
  "6": {"class_type": "CFGGuider", "inputs": {
    "model": ["1", 0], "positive": ["3", 0], "negative": ["4", 0], "cfg": 4.0
  }},
  "7": {"class_type": "SamplerCustomAdvanced", "inputs": {
    "noise": ["8", 0], "guider": ["6", 0], "sampler": ["9", 0], "sigmas": ["10", 0], "latent_image": ["5", 0]
  }},
  "8": {"class_type": "RandomNoise", "inputs": {"noise_seed": {{ seed }}}},
  "9": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
  "10": {"class_type": "ManualSigmas", "inputs": {"sigmas": "1.0, 0.5, 0.0"}},
  "11": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}},
  "12": {"class_type": "SaveImage", "inputs": {"images": ["11", 0], "filename_prefix": {{ prefix }}},
    "_meta": {"title": "image"}}
}
"""


def png(text: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    """A picture of two colours that follow from the text."""
    digest = hashlib.sha256(text.encode()).digest()
    picture = Image.new("RGB", size, tuple(digest[:3]))
    picture.paste(tuple(digest[3:6]), (0, 0, size[0] // 2, size[1]))
    file = io.BytesIO()
    picture.convert(mode).save(file, "PNG")
    return file.getvalue()


class FakeImages(FakeSpeech):
    """The server. `declines` are parameters that it does not know, `sends_url` one that sends addresses only."""

    def __init__(self, key: str = "", declines: tuple[str, ...] = (), sends_url: bool = False) -> None:
        super().__init__(key)
        self.declines, self.sends_url = declines, sends_url

    def reply(self, asked: Asked) -> Answer:
        if self.answers:
            return self.answers.popleft()
        if self.key and asked.key != self.key:
            return error(401, f"Incorrect API key provided: {asked.key}.")
        if asked.path != "/v1/images/generations":
            return error(404, f"Invalid URL (POST {asked.path})")
        unknown = next((name for name in self.declines if name in asked.body), None)
        if unknown:
            return error(400, f"Unknown parameter: '{unknown}'.")
        width, height = map(int, asked.body["size"].split("x"))
        made = png(f"{asked.body['prompt']} {asked.body.get('seed')}", (width, height))
        entry: dict[str, Any] = {"b64_json": base64.b64encode(made).decode()}
        if self.sends_url:
            entry = {"url": "http://elsewhere.example/x.png"}
        return Answer(200, _json({"created": 1, "data": [entry]}), {"Content-Type": "application/json"})


def _json(data: dict[str, Any]) -> bytes:

    return json.dumps(data).encode()
