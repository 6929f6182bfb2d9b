"""Report the libraries that read and encode media, and define the settings that make encoded bytes repeatable.

A separate module, since slates, segments, joined films and converted videos share these settings.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import av
import PIL
from av.codec.codec import UnknownCodecError

NEEDED = (("libx264", "w"), ("aac", "w"), ("h264", "r"), ("aac", "r"))  # to write slates and films, and to read clips

THREADS = 2  # x264's bytes depend on it; parts are encoded side by side
BITEXACT_FILE = 0x400  # libavformat AVFMT_FLAG_BITEXACT: no version tag
BITEXACT_CODEC = 0x800000  # libavcodec AV_CODEC_FLAG_BITEXACT
BT709, LIMITED, FULL = 1, 1, 2  # libavutil AVCOL_SPC_BT709 (and its kin), AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG


def media_libraries() -> dict[str, str]:
    """Return library → version of PyAV, the FFmpeg inside it, and Pillow."""
    try:
        binding = version("av")
    except PackageNotFoundError:  # vendored
        binding = av.__version__
    ffmpeg = getattr(av, "ffmpeg_version_info", "") or ".".join(map(str, av.library_versions.get("libavcodec", ())))
    return {"PyAV": binding, "FFmpeg": ffmpeg, "Pillow": PIL.__version__}


def missing_codecs() -> list[str]:
    """Return the needed encoders and decoders that the FFmpeg inside PyAV lacks."""
    missing = []
    for name, mode in NEEDED:
        try:
            av.Codec(name, mode)  # type: ignore[arg-type]  # "r" or "w"
        except UnknownCodecError:
            missing.append(f"{name} ({'encoder' if mode == 'w' else 'decoder'})")
    return missing
