"""Which libraries read, draw and encode here, by version, and whether they can do what films need. Decodes nothing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import av
import PIL
from av.codec.codec import UnknownCodecError

NEEDED = (("libx264", "w"), ("aac", "w"), ("h264", "r"), ("aac", "r"))  # what slates are written with, clips read with


def media_libraries() -> dict[str, str]:
    """Return library → version: PyAV, the FFmpeg inside it, Pillow."""
    try:
        binding = version("av")
    except PackageNotFoundError:  # vendored
        binding = av.__version__
    ffmpeg = getattr(av, "ffmpeg_version_info", "") or ".".join(map(str, av.library_versions.get("libavcodec", ())))
    return {"PyAV": binding, "FFmpeg": ffmpeg, "Pillow": PIL.__version__}


def missing_codecs() -> list[str]:
    """Return the names of needed encoders and decoders that the FFmpeg inside PyAV was built without."""
    missing = []
    for name, mode in NEEDED:
        try:
            av.Codec(name, mode)  # type: ignore[arg-type]  # "r" or "w"
        except UnknownCodecError:
            missing.append(f"{name} ({'encoder' if mode == 'w' else 'decoder'})")
    return missing
