"""What the nodes of a graph would return, as shapes: sizes, frame counts, seconds. Renders nothing.

Each function below is one or several node classes of ComfyUI 0.27.0 and 0.33.0, with the traps found on running
servers: floors, short audio, `8n+1`, tuple errors. A class without a function returns an opaque value.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from fakes import media
from fakes.graphs import Graph
from fakes.media import Frames, Sound


@dataclass(frozen=True)
class Opaque:
    """A value the fake does not look into (a model, a conditioning)."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class VideoLatent:
    """`frames` in latent time (pixel frames are 8(n−1)+1); `guides` latent frames appended by AddGuide."""

    width: int
    height: int
    frames: int
    colour: tuple[int, int] = (128, 128)
    guides: int = 0
    prefix: Frames | None = None  # pixel frames pinned by an in-place conditioning with a video

    @property
    def pixel_frames(self) -> int:
        return 8 * (self.frames + self.guides - 1) + 1


@dataclass(frozen=True)
class AudioLatent:
    steps: int
    broken: bool = False


@dataclass(frozen=True)
class AVLatent:
    video: VideoLatent
    audio: AudioLatent


@dataclass(frozen=True)
class Sigmas:
    steps: int
    broken: bool = False  # NaN


@dataclass(frozen=True)
class Film:
    frames: Frames
    fps: Fraction
    sound: Sound | None
    broken: bool = False


class NodeError(Exception):
    """A node failed at run time, as ComfyUI reports it."""

    def __init__(self, type_: str, message: str) -> None:
        super().__init__(message)
        self.type, self.message = type_, message


@dataclass(frozen=True)
class Call:
    """One node about to run: its inputs with links resolved, its digest, and how the server opens files."""

    class_type: str
    inputs: Graph
    digest: str
    open_file: Callable[[str], Path]
    version: tuple[int, ...] = (0, 27, 0)

    def __getitem__(self, name: str) -> Any:
        return self.inputs[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.inputs.get(name, default)


Node = Callable[[Call], tuple[Any, ...]]
NODES: dict[str, Node] = {}


def node(*classes: str) -> Callable[[Node], Node]:
    def register(function: Node) -> Node:
        NODES.update(dict.fromkeys(classes, function))
        return function

    return register


def run(call: Call, outputs: int) -> tuple[Any, ...]:
    """Given a call, return its outputs. Raise NodeError as the real node would raise."""
    function = NODES.get(call.class_type)
    if not function:
        return tuple(Opaque(call.class_type, call.digest) for _ in range(max(outputs, 1)))
    try:
        return function(call)
    except NodeError:
        raise
    except (AttributeError, TypeError) as exc:
        raise NodeError(type(exc).__name__, str(exc)) from exc


def need(value: Any, kind: type | tuple[type, ...]) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, AVLatent):
        raise NodeError(
            "TypeError",
            "to() received an invalid combination of arguments - got (NestedTensor), but expected one of: …",
        )
    raise NodeError("AttributeError", f"'{type(value).__name__}' object has no attribute 'shape'")


# ------------------------------------------------------------------------------------------------ loaders


@node("LatentUpscaleModelLoader")
def upscale_model(call: Call) -> tuple[Any, ...]:
    return (Opaque("temporal" if "temporal" in call["model_name"] else "spatial"),)


@node("CheckpointLoaderSimple")
def checkpoint(call: Call) -> tuple[Any, ...]:
    return Opaque("MODEL", call["ckpt_name"]), None, Opaque("VAE")


@node("CLIPTextEncode")
def text_encode(call: Call) -> tuple[Any, ...]:
    if call["clip"] is None:
        raise NodeError("RuntimeError", "ERROR: clip input is invalid: None\n\nIf the clip is from a checkpoint …")
    return (Opaque("CONDITIONING"),)


@node("LoadImage")
def load_image(call: Call) -> tuple[Any, ...]:
    data = call.open_file(call["image"])
    try:
        with Image.open(data) as image:
            width, height = image.size
    except OSError as exc:
        raise NodeError("PIL.UnidentifiedImageError", f"cannot identify image file {str(data)!r}") from exc
    colour = media.colour_of(call.digest)
    return media.one_colour(colour, width, height, 1), Opaque("MASK")


@node("LoadVideo")
def load_video(call: Call) -> tuple[Any, ...]:
    try:
        frames, fps, sound = media.read_film(call.open_file(call["file"]))
    except (OSError, IndexError) as exc:
        raise NodeError("av.error.InvalidDataError", f"Invalid data found when processing input: {exc}") from exc
    return (Film(frames, fps, sound),)


@node("LoadAudio")
def load_audio(call: Call) -> tuple[Any, ...]:
    try:
        return (media.read_sound(call.open_file(call["audio"])),)
    except (OSError, IndexError) as exc:
        raise NodeError("av.error.InvalidDataError", f"Invalid data found when processing input: {exc}") from exc


@node("GetVideoComponents")
def components(call: Call) -> tuple[Any, ...]:
    film = need(call["video"], Film)
    return (film.frames, film.sound, float(film.fps), 8, "sRGB")[: 5 if call.version >= (0, 33) else 4]


# ------------------------------------------------------------------------------------------------ latents


def latent_frames(length: int) -> int:
    return (length - 1) // 8 + 1


@node("EmptyLTXVLatentVideo")
def empty_video(call: Call) -> tuple[Any, ...]:
    return (VideoLatent(call["width"] // 32 * 32, call["height"] // 32 * 32, latent_frames(call["length"])),)


@node("LTXVEmptyLatentAudio")
def empty_audio_latent(call: Call) -> tuple[Any, ...]:
    steps = Fraction(call["frames_number"] * 25) / Fraction(call["frame_rate"])
    return (AudioLatent(round(steps) if call.version >= (0, 33) else math.ceil(steps)),)


@node("LTXVConcatAVLatent")
def concat(call: Call) -> tuple[Any, ...]:
    return (AVLatent(need(call["video_latent"], VideoLatent), need(call["audio_latent"], AudioLatent)),)


@node("LTXVSeparateAVLatent")
def separate(call: Call) -> tuple[Any, ...]:
    latent = call["av_latent"]
    if not isinstance(latent, AVLatent):
        raise NodeError("IndexError", "tuple index out of range")
    return latent.video, latent.audio


@node("LTXVImgToVideoInplace")
def inplace(call: Call) -> tuple[Any, ...]:
    latent, image = need(call["latent"], VideoLatent), need(call["image"], Frames)
    kept = 1 + 8 * ((image.count - 1) // 8)
    if call.get("bypass") or kept == 1 or call["strength"] < 1:
        return (replace(latent, prefix=None),)
    return (replace(latent, prefix=image.cut(0, kept)),)


@node("LTXVImgToVideo")
def image_to_video(call: Call) -> tuple[Any, ...]:
    need(call["image"], Frames)
    size = call["width"] // 32 * 32, call["height"] // 32 * 32
    return call["positive"], call["negative"], VideoLatent(*size, latent_frames(call["length"]))


@node("LTXVAddGuide")
def add_guide(call: Call) -> tuple[Any, ...]:
    latent, image = need(call["latent"], VideoLatent), need(call["image"], Frames)
    if call["frame_idx"] >= 8 * (latent.frames - 1) + 1:
        raise NodeError("AssertionError", "Conditioning frames exceed the length of the latent sequence.")
    guided = replace(latent, guides=latent.guides + latent_frames(image.count))
    return call["positive"], call["negative"], guided


@node("LTXVCropGuides")
def crop_guides(call: Call) -> tuple[Any, ...]:
    latent = need(call["latent"], VideoLatent)
    return call["positive"], call["negative"], replace(latent, guides=0)


@node("LTXVLatentUpsampler")
def upsample(call: Call) -> tuple[Any, ...]:
    latent = need(call["samples"], VideoLatent)
    if call["upscale_model"].kind == "temporal":
        return (replace(latent, frames=2 * latent.frames - 1),)
    return (replace(latent, width=latent.width * 2, height=latent.height * 2, prefix=None),)


@node("LatentConcat")
def latent_concat(call: Call) -> tuple[Any, ...]:
    first, second = call["samples1"], call["samples2"]
    if isinstance(first, VideoLatent) and isinstance(second, VideoLatent) and call["dim"].lstrip("-") == "t":
        return (replace(first, frames=first.frames + second.frames),)
    return (AudioLatent(need(first, AudioLatent).steps + need(second, AudioLatent).steps),)


@node("LatentCut")
def latent_cut(call: Call) -> tuple[Any, ...]:
    latent = call["samples"]
    if isinstance(latent, VideoLatent) and call["dim"] == "t":
        return (replace(latent, frames=max(min(call["amount"], latent.frames - call["index"]), 1)),)
    steps = need(latent, AudioLatent).steps
    return (AudioLatent(max(min(call["amount"], steps - call["index"]), 0)),)


@node("SetLatentNoiseMask")
def noise_mask(call: Call) -> tuple[Any, ...]:
    return (call["samples"],)


# ------------------------------------------------------------------------------------------------ sampling


@node("ManualSigmas")
def manual_sigmas(call: Call) -> tuple[Any, ...]:
    return (Sigmas(max(len([s for s in call["sigmas"].split(",") if s.strip()]) - 1, 0)),)


@node("LTXVScheduler", "BasicScheduler")
def scheduler(call: Call) -> tuple[Any, ...]:
    return (Sigmas(call["steps"], broken=call["steps"] == 1 and bool(call.get("stretch"))),)


@node("SplitSigmas")
def split_sigmas(call: Call) -> tuple[Any, ...]:
    steps = need(call["sigmas"], Sigmas).steps
    return Sigmas(min(call["step"], steps)), Sigmas(max(steps - call["step"], 0))


@node("SetFirstSigma")
def set_first(call: Call) -> tuple[Any, ...]:
    return (call["sigmas"],)


@node("SamplerCustomAdvanced")
def sample(call: Call) -> tuple[Any, ...]:
    latent, sigmas = need(call["latent_image"], (AVLatent, VideoLatent)), need(call["sigmas"], Sigmas)
    video = latent.video if isinstance(latent, AVLatent) else latent
    drawn: Any = replace(video, colour=media.colour_of(call.digest))
    if isinstance(latent, AVLatent):
        drawn = AVLatent(drawn, replace(latent.audio, broken=sigmas.broken))
    return drawn, drawn


# ------------------------------------------------------------------------------------------------ pictures


@node("VAEDecode", "VAEDecodeTiled")
def decode(call: Call) -> tuple[Any, ...]:
    latent = call["samples"]
    if call.class_type == "VAEDecode" and isinstance(latent, AVLatent):
        latent = latent.video
    latent = need(latent, VideoLatent)
    frames = media.one_colour(latent.colour, latent.width, latent.height, latent.pixel_frames)
    if latent.prefix:
        kept = min(latent.prefix.count, frames.count)
        head = latent.prefix.cut(0, kept).sized(latent.width, latent.height)
        frames = head.then(frames.cut(kept, frames.count))
    return (frames,)


@node("VAEEncode", "VAEEncodeTiled")
def encode(call: Call) -> tuple[Any, ...]:
    frames = need(call["pixels"], Frames)
    colour = frames.runs[0].colour
    return (VideoLatent(frames.width // 32 * 32, frames.height // 32 * 32, latent_frames(frames.count), colour),)


@node("ImageFromBatch")
def from_batch(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    start = call["batch_index"]
    start = max(start + frames.count, 0) if start < 0 else min(start, frames.count - 1)
    return (frames.cut(start, min(call["length"], frames.count - start)),)


@node("ImageBatch")
def batch(call: Call) -> tuple[Any, ...]:
    first, second = need(call["image1"], Frames), need(call["image2"], Frames)
    return (first.then(second),)


@node("RepeatImageBatch")
def repeat(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    return (replace(frames, runs=frames.runs * call["amount"]),)


@node("ImageCrop", "ImageCropV2")
def crop(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    box = call["crop_region"] if call.class_type == "ImageCropV2" else call.inputs
    x, y = min(box["x"], frames.width - 1), min(box["y"], frames.height - 1)
    return (frames.sized(min(box["width"], frames.width - x), min(box["height"], frames.height - y)),)


@node("ImageScale", "ResizeAndPadImage")
def scale(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    width = call.get("width", call.get("target_width"))
    height = call.get("height", call.get("target_height"))
    width = width or round(frames.width * height / frames.height)
    height = height or round(frames.height * width / frames.width)
    return (frames.sized(width, height),)


@node("ImageScaleBy")
def scale_by(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    return (frames.sized(round(frames.width * call["scale_by"]), round(frames.height * call["scale_by"])),)


def longer_edge(frames: Frames, size: int) -> Frames:
    factor = size / max(frames.width, frames.height)
    return frames.sized(round(frames.width * factor), round(frames.height * factor))


@node("ResizeImagesByLongerEdge")
def resize_longer(call: Call) -> tuple[Any, ...]:
    return (longer_edge(need(call["images"], Frames), call["longer_edge"]),)


@node("ImageScaleToMaxDimension")
def max_dimension(call: Call) -> tuple[Any, ...]:
    return (longer_edge(need(call["image"], Frames), call["largest_size"]),)


@node("ResizeImageMaskNode")
def resize(call: Call) -> tuple[Any, ...]:
    frames, how = need(call["input"], Frames), call["resize_type"]
    w, h = frames.width, frames.height
    if how == "scale dimensions":
        return (frames.sized(call["resize_type.width"], call["resize_type.height"]),)
    if how == "scale longer dimension":
        return (longer_edge(frames, call["resize_type.longer_size"]),)
    if how == "match size":
        other = need(call["resize_type.match"], Frames)
        return (frames.sized(other.width, other.height),)
    if how == "scale to multiple":
        m = call["resize_type.multiple"]
        return (frames.sized(w // m * m, h // m * m),)
    factor = {
        "scale by multiplier": lambda: call["resize_type.multiplier"],
        "scale shorter dimension": lambda: call["resize_type.shorter_size"] / min(w, h),
        "scale width": lambda: call["resize_type.width"] / w,
        "scale height": lambda: call["resize_type.height"] / h,
        "scale total pixels": lambda: math.sqrt(call["resize_type.megapixels"] * 1024 * 1024 / (w * h)),
    }[how]()
    return (frames.sized(round(w * factor), round(h * factor)),)


@node("LTXVPreprocess")
def preprocess(call: Call) -> tuple[Any, ...]:
    return (need(call["image"], Frames),)


@node("Canny")
def canny(call: Call) -> tuple[Any, ...]:
    return (need(call["image"], Frames),)


@node("EmptyImage")
def empty_image(call: Call) -> tuple[Any, ...]:
    colour = media.colour_of(str(call.get("color", 0)))
    return (media.one_colour(colour, call["width"], call["height"], call.get("batch_size", 1)),)


@node("GetImageSize")
def image_size(call: Call) -> tuple[Any, ...]:
    frames = need(call["image"], Frames)
    return frames.width, frames.height, frames.count


@node("FrameInterpolate")
def interpolate(call: Call) -> tuple[Any, ...]:
    frames = need(call["images"], Frames)
    run = frames.runs[0]
    count = (frames.count - 1) * int(call.get("multiplier", 2)) + 1
    return (media.one_colour(run.colour, frames.width, frames.height, count, run.first),)


# ------------------------------------------------------------------------------------------------ sound


@node("LTXVAudioVAEDecode")
def audio_decode(call: Call) -> tuple[Any, ...]:
    latent = call["samples"]
    latent = latent.audio if isinstance(latent, AVLatent) else need(latent, AudioLatent)
    if latent.broken:
        return (Sound(-1),)
    return (Sound(max(4 * latent.steps - 3, 0) * 240),)  # (4T−3)·10 ms at 24 kHz


@node("LTXVAudioVAEEncode")
def audio_encode(call: Call) -> tuple[Any, ...]:
    if call["audio"] is None:
        raise NodeError("ValueError", "VAEEncodeAudio: input audio is None (source video may have no audio track).")
    blocks = int(call["audio"].seconds * 44100) // 4096  # VAE.encode crops to multiples of 4096 samples
    if not blocks:
        raise NodeError("RuntimeError", "Expected 3D or 4D (batch mode) tensor with non-zero dimensions")
    return (AudioLatent(math.ceil((math.floor(blocks * 9.288) + 1) / 4)),)


@node("EmptyAudio")
def empty_audio(call: Call) -> tuple[Any, ...]:
    return (Sound(round(call["duration"] * call.get("sample_rate", 44100)), call.get("sample_rate", 44100)),)


@node("TrimAudioDuration")
def trim(call: Call) -> tuple[Any, ...]:
    sound = call["audio"]
    if sound is None:
        return (None,)
    start = round(call["start_index"] * sound.rate)
    start = max(sound.samples + start, 0) if start < 0 else min(start, sound.samples)
    end = min(start + round(call["duration"] * sound.rate), sound.samples)
    if start >= end:
        raise NodeError(
            "ValueError", "AudioTrim: Start time must be less than end time and be within the audio length."
        )
    return (replace(sound, samples=end - start),)


@node("AudioConcat")
def audio_concat(call: Call) -> tuple[Any, ...]:
    first, second = call["audio1"], call["audio2"]
    if first is None or second is None:
        return (first or second,)
    rate = max(first.rate, second.rate)
    return (Sound(math.floor((first.seconds + second.seconds) * rate), rate),)


@node("AudioMerge")
def audio_merge(call: Call) -> tuple[Any, ...]:
    return (call["audio1"],)


@node("AudioAdjustVolume")
def volume(call: Call) -> tuple[Any, ...]:
    return (call["audio"],)


# ------------------------------------------------------------------------------------------------ films


@node("CreateVideo")
def create_video(call: Call) -> tuple[Any, ...]:
    fps = Fraction(round(call["fps"] * 1000), 1000)
    sound = call.get("audio")
    broken = sound is not None and sound.samples < 0
    return (Film(need(call["images"], Frames), fps, None if broken else sound, broken),)


def form_of(call: Call) -> tuple[str, str]:
    """The container and codec that SaveVideo writes. Raise NodeError for a pair that no file can have."""
    container = call["format"]
    codec = next((c for c in (call.get("format.codec"), call.get("codec")) if c in ("h264", "av1")), "auto")
    codec = ("av1" if container == "webm" else "h264") if codec == "auto" else codec
    container = "mp4" if container == "auto" else container
    if container == "webm" and codec == "h264":
        raise NodeError("ValueError", "Codec h264 is not supported in webm")
    return container, codec


@node("Video Slice")
def video_slice(call: Call) -> tuple[Any, ...]:
    film = need(call["video"], Film)
    start = round(call.get("start_time", 0) * film.fps)
    count = round(call.get("duration", 0) * film.fps) or film.frames.count
    return (replace(film, frames=film.frames.cut(start, count)),)


# ------------------------------------------------------------------------------------------------ values


@node("PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline")
def primitive(call: Call) -> tuple[Any, ...]:
    return (call["value"],)


@node("ComfySwitchNode")
def switch(call: Call) -> tuple[Any, ...]:
    return (call["on_true"] if call["switch"] else call["on_false"],)


OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}


@node("ComfyMathExpression")
def expression(call: Call) -> tuple[Any, ...]:
    names = {name.partition(".")[2]: value for name, value in call.inputs.items() if name.startswith("values.")}

    def value(part: ast.expr) -> Any:
        if isinstance(part, ast.Constant):
            return part.value
        if isinstance(part, ast.Name) and part.id in names:
            return names[part.id]
        if isinstance(part, ast.BinOp):
            return OPERATORS[type(part.op)](value(part.left), value(part.right))
        if isinstance(part, ast.UnaryOp):
            return OPERATORS[type(part.op)](value(part.operand))
        raise NodeError("ValueError", f"unsupported expression: {ast.unparse(part)}")

    result = value(ast.parse(call["expression"], mode="eval").body)
    return float(result), int(result), bool(result)
