"""The workflow that ComfyUI writes into the pictures and videos it makes. Decodes no picture and no frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
from PIL import Image

from ltxflow.core.errors import LtxflowError, Problem

NAMES = ("prompt", "workflow")  # in API format, and as the editor saves it
MAX_TEXT = 8 << 20  # characters

# How a file begins. ComfyUI `nodes.py` SaveImage, `comfy_extras/nodes_images.py` and `nodes_video.py`.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff")
_VIDEOS = (b"\x1aE\xdf\xa3",)


def is_media(head: bytes) -> bool:
    """Return whether a file begins as a picture or a video does."""
    return head.startswith((*_PICTURES, *_VIDEOS)) or head[4:8] == b"ftyp"


def embedded_workflow(file: Path) -> str:
    """Return the text of the workflow in a picture or video: as it ran, in API format, else as it was edited.

    Raise LtxflowError for a file that cannot be read, and for one without a workflow.
    """
    with file.open("rb") as opened:
        head = opened.read(16)
    tags = _picture_tags(file) if head.startswith(_PICTURES) else _video_tags(file)
    for name in NAMES:
        text = tags.get(name, "")
        if text.lstrip().startswith("{") and len(text) <= MAX_TEXT:
            return _without_constants(text)
    hint = "servers started with --disable-metadata write none, and many sites strip it: ask for the workflow's file"
    raise LtxflowError(Problem(f'no workflow is written into "{file.name}"', None, hint, "T020"))


def _picture_tags(file: Path) -> dict[str, str]:
    try:
        with Image.open(file) as picture:
            found = {str(name): str(text) for name, text in picture.info.items() if isinstance(text, str)}
            exif = [str(value) for value in picture.getexif().values() if isinstance(value, str)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LtxflowError(Problem(f'cannot read "{file.name}": {error}', None, "is it whole?", "T020")) from None
    for value in exif:  # WebP: "prompt:{…}" each in a field
        name, _, text = value.partition(":")
        found.setdefault(name.lower(), text)
    return found


def _video_tags(file: Path) -> dict[str, str]:
    try:
        with av.open(str(file), metadata_errors="ignore") as container:
            found = {name.lower(): text for name, text in container.metadata.items()}
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LtxflowError(Problem(f'cannot read "{file.name}": {error}', None, "is it whole?", "T020")) from None
    comment = found.get("comment", "")
    if comment.startswith("{") and len(comment) <= MAX_TEXT:  # VHS_VideoCombine
        try:
            inner: Any = json.loads(comment)
        except (ValueError, RecursionError):
            inner = {}
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            found.setdefault(str(name), value if isinstance(value, str) else json.dumps(value))
    return found


def _without_constants(text: str) -> str:
    """Return JSON without NaN, which a server writes for what it compares by: `"is_changed": [NaN]`."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    try:
        return json.dumps(json.loads(text, parse_constant=lambda word: None), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
