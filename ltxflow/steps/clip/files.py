"""The files that a clip reads on a server: pictures, guide video, sound, the video it continues.

Each has a name that follows from its content, and a recipe that says how it is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import digest_json
from ltxflow.media.fit import PREPARE_VERSION, VIDEO_VERSION, treatments
from ltxflow.models.geometry import Geometry
from ltxflow.project.model import Extends, Image, Media


@dataclass(frozen=True)
class ContinuationSource:
    """The video that a clip continues: its number of frames, and the digest of its bytes once that is known."""

    name: str  # of the clip, or the file
    frames: int
    digest: str = ""
    file: Media | None = None
    recipe: Mapping[str, Any] | None = None  # how the file is made to fit; None: it is sent as it is

    @property
    def server_name(self) -> str:
        """Its name on a server, by its content; before that is known, a readable one for `ltxflow show`."""
        if self.recipe is not None:
            return prepared_name(self.recipe)
        return video_name(self.file) if self.file else f"ltxflow/{self.digest[:32] or self.name.replace('/', '-')}.mp4"


def asset_name(image: Image, fit: str, focus: Any, size: tuple[int, int]) -> tuple[str, dict[str, Any]]:
    """Return the name of a prepared picture on a server, and its recipe.

    The recipe is of the *source's* pixels: another release of an image library changes no name and no key.
    """
    recipe = {
        "pixels": image.pixels,
        "fit": fit,
        "focus": [float(part) for part in focus] if fit == "cover" else None,
        "size": list(size),
        "prepare": PREPARE_VERSION,
    }
    return f"ltxflow/{digest_json(recipe)[:32]}.png", recipe


def video_name(video: Media) -> str:
    return f"ltxflow/{video.digest[:32]}{video.path.suffix.lower()}"


def sound_name(sound: Media) -> str:
    """Return the name of a sound file on a server, by its bytes."""
    return f"ltxflow/{sound.digest[:32]}{sound.path.suffix.lower()}"


def prepared_name(recipe: Mapping[str, Any]) -> str:
    return f"ltxflow/{digest_json(dict(recipe))[:32]}.mov"


def prepared_file(extends: Extends, size: Geometry, fps: int) -> dict[str, Any] | None:
    """Return the recipe that makes the file a clip continues fit; None where it fits as it is.

    A file in the sampled shape, such as an uncropped clip, fills that shape; any other fills the part that is
    delivered, so that the two meet without a jump after the crop.
    """
    assert extends.file is not None
    facts, (width, height) = extends.file.facts, size.decoded
    is_whole = facts["width"] * height == facts["height"] * width
    if facts["is_plain"] and is_whole and facts["width"] >= width and facts["fps"] == str(fps):
        return None
    return {
        "video": extends.file.digest,
        "take": "last",
        "frames": extends.frames,
        "fps": fps,
        "size": list(size.decoded),
        "window": [0, 0, width, height] if is_whole else list(size.crop),
        "sound": extends.audio == "pinned",
        "prepare": VIDEO_VERSION,
        **_treated(facts),
    }


def prepared_guide(guide: Media, base: tuple[int, int], frames: int, fps: int) -> dict[str, Any] | None:
    """Return the recipe that makes a guide video fit sampled frames of the size `base`; None where it fits as it is.

    An upright one of the sampled rate fits: the template handles its size.
    """
    if not guide.facts or (guide.facts["is_plain"] and guide.facts["fps"] == str(fps)):
        return None  # the facts of a sample are unknown
    return {
        "video": guide.digest,
        "take": "first",
        "frames": frames,
        "fps": fps,
        "size": list(base),
        "window": [0, 0, *base],
        "sound": False,
        "prepare": VIDEO_VERSION,
        **_treated(guide.facts),
    }


def _treated(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is done to the pictures of a video besides fitting them; nothing for most, whose keys stay."""
    done = treatments(facts)
    return {"treated": done} if done else {}
