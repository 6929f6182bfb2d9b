"""Small workflows in API format, as ComfyUI exports them: the shapes that people bring."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]
SIGMAS = "1., 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0"

#   1 checkpoint ─┬─ model ─────────────────────────── 54 guider ─┐
#                 └─ vae ─ 42 picture put in ─┐                    │
#   2 encoder ─ 20, 21 texts ─ 22 rate ───────┼────────────────────┤
#   3 sound ──── 41 empty sound ──────────────┴ 50 joined ─ 55 sampler ─ 56 parted ─ 80, 81 decoded ─ 88 ─ 89 file


def node(class_type: str, title: str = "", **inputs: Any) -> Graph:
    named = {name.replace("__", "."): value for name, value in inputs.items()}
    return {"class_type": class_type, "inputs": named, "_meta": {"title": title or class_type}}


def text_to_video(cfg: float = 4.0) -> Graph:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="ltx-2-19b-dev-fp8.safetensors"),
        "2": node(
            "LTXAVTextEncoderLoader", text_encoder="gemma.safetensors", ckpt_name="ltx.safetensors", device="cpu"
        ),
        "3": node("LTXVAudioVAELoader", ckpt_name="ltx-2-19b-dev-fp8.safetensors"),
        "20": node("CLIPTextEncode", "yes", text="a vault opens", clip=["2", 0]),
        "21": node("CLIPTextEncode", "no", text="blurry", clip=["2", 0]),
        "22": node("LTXVConditioning", positive=["20", 0], negative=["21", 0], frame_rate=25.0),
        "40": node("EmptyLTXVLatentVideo", width=768, height=512, length=121, batch_size=1),
        "41": node("LTXVEmptyLatentAudio", frames_number=121, frame_rate=25, batch_size=1, audio_vae=["3", 0]),
        "50": node("LTXVConcatAVLatent", video_latent=["40", 0], audio_latent=["41", 0]),
        "51": node("ManualSigmas", sigmas=SIGMAS),
        "52": node("RandomNoise", noise_seed=42),
        "53": node("KSamplerSelect", sampler_name="euler"),
        "54": node("CFGGuider", model=["1", 0], positive=["22", 0], negative=["22", 1], cfg=cfg),
        "55": node(
            "SamplerCustomAdvanced",
            noise=["52", 0],
            guider=["54", 0],
            sampler=["53", 0],
            sigmas=["51", 0],
            latent_image=["50", 0],
        ),
        "56": node("LTXVSeparateAVLatent", av_latent=["55", 0]),
        "80": node("VAEDecode", samples=["56", 0], vae=["1", 2]),
        "81": node("LTXVAudioVAEDecode", samples=["56", 1], audio_vae=["3", 0]),
        "88": node("CreateVideo", images=["80", 0], fps=25.0, audio=["81", 0]),
        "89": node("SaveVideo", video=["88", 0], filename_prefix="video/ComfyUI", format="auto", codec="auto"),
    }


def image_to_video() -> Graph:
    return {
        **text_to_video(),
        "30": node("LoadImage", image="my picture.png"),
        "31": node(
            "ResizeImageMaskNode",
            input=["30", 0],
            resize_type="scale longer dimension",
            resize_type__longer_size=1536,
            scale_method="area",
        ),
        "32": node("LTXVPreprocess", image=["31", 0], img_compression=33),
        "42": node(
            "LTXVImgToVideoInplace", vae=["1", 2], image=["32", 0], latent=["40", 0], strength=1.0, bypass=False
        ),
        "50": node("LTXVConcatAVLatent", video_latent=["42", 0], audio_latent=["41", 0]),
    }


def two_stages(first: Graph) -> Graph:
    """The picture doubled and sampled again, with the distilled LoRA."""
    return {
        **first,
        "10": node("LoraLoaderModelOnly", model=["1", 0], lora_name="distilled.safetensors", strength_model=1.0),
        "60": node("LatentUpscaleModelLoader", model_name="ltx-2-spatial-upscaler-x2-1.0.safetensors"),
        "61": node("LTXVLatentUpsampler", samples=["56", 0], upscale_model=["60", 0], vae=["1", 2]),
        "70": node("LTXVConcatAVLatent", video_latent=["61", 0], audio_latent=["56", 1]),
        "71": node("ManualSigmas", sigmas="0.909375, 0.725, 0.421875, 0.0"),
        "72": node("RandomNoise", noise_seed=7),
        "74": node("CFGGuider", model=["10", 0], positive=["22", 0], negative=["22", 1], cfg=1.0),
        "75": node(
            "SamplerCustomAdvanced",
            noise=["72", 0],
            guider=["74", 0],
            sampler=["53", 0],
            sigmas=["71", 0],
            latent_image=["70", 0],
        ),
        "76": node("LTXVSeparateAVLatent", av_latent=["75", 0]),
        "80": node("VAEDecodeTiled", samples=["76", 0], vae=["1", 2], **TILES),
        "81": node("LTXVAudioVAEDecode", samples=["76", 1], audio_vae=["3", 0]),
    }


TILES = {"tile_size": 512, "overlap": 64, "temporal_size": 4096, "temporal_overlap": 8}


def cropped() -> Graph:
    graph = two_stages(image_to_video())
    graph["40"]["inputs"] |= {"height": 448}
    graph["82"] = node("ImageCrop", image=["80", 0], width=1536, height=864, x=0, y=16)
    graph["88"]["inputs"]["images"] = ["82", 0]
    return graph


def resized() -> Graph:
    graph = cropped()
    graph["82"] = node(
        "ResizeImageMaskNode",
        input=["80", 0],
        resize_type="scale dimensions",
        resize_type__width=1536,
        resize_type__height=864,
        resize_type__crop="center",
        scale_method="lanczos",
    )
    return graph


def first_and_last(last: int = -1) -> Graph:
    guide = {"vae": ["1", 2], "strength": 0.7}
    graph = {
        **text_to_video(cfg=1.0),
        "30": node("LoadImage", image="first.png"),
        "34": node("LoadImage", image="last.png"),
        "35": node(
            "ResizeImageMaskNode",
            input=["34", 0],
            resize_type="scale dimensions",
            resize_type__width=768,
            resize_type__height=512,
            resize_type__crop="center",
            scale_method="lanczos",
        ),
        "42": node(
            "LTXVAddGuide",
            positive=["22", 0],
            negative=["22", 1],
            latent=["40", 0],
            image=["30", 0],
            frame_idx=0,
            **guide,
        ),
        "43": node(
            "LTXVAddGuide",
            positive=["42", 0],
            negative=["42", 1],
            latent=["42", 2],
            image=["35", 0],
            frame_idx=last,
            **guide,
        ),
        "59": node("LTXVCropGuides", positive=["43", 0], negative=["43", 1], latent=["56", 0]),
    }
    graph["50"]["inputs"]["video_latent"] = ["43", 2]
    graph["54"]["inputs"] |= {"positive": ["43", 0], "negative": ["43", 1]}
    graph["80"]["inputs"]["samples"] = ["59", 2]
    return graph


def doubled() -> Graph:
    """The temporal upscaler: twice the frame rate at the end."""
    graph = {
        **text_to_video(),
        "60": node("LatentUpscaleModelLoader", model_name="ltx-2-temporal-upscaler-x2-1.0.safetensors"),
        "61": node("LTXVLatentUpsampler", samples=["56", 0], upscale_model=["60", 0], vae=["1", 2]),
    }
    graph["80"]["inputs"]["samples"] = ["61", 0]
    graph["88"]["inputs"]["fps"] = 50.0
    return graph


def continued() -> Graph:
    """The last frames of a video, and what comes after them."""
    graph = {
        **text_to_video(),
        "33": node("LoadVideo", file="before.mp4"),
        "34": node("GetVideoComponents", video=["33", 0]),
        "35": node("ImageFromBatch", image=["34", 0], batch_index=-25, length=25),
        "42": node(
            "LTXVImgToVideoInplace", vae=["1", 2], image=["35", 0], latent=["40", 0], strength=1.0, bypass=False
        ),
    }
    graph["50"]["inputs"]["video_latent"] = ["42", 0]
    return graph


def with_primitives() -> Graph:
    """Numbers and texts kept in nodes of their own, as tidy people do."""
    graph = {
        **two_stages(image_to_video()),
        "101": node("PrimitiveInt", "width", value=640),
        "102": node("PrimitiveInt", "height", value=384),
        "103": node("PrimitiveInt", "frames", value=97),
        "104": node("PrimitiveFloat", "fps", value=24.0),
        "105": node("PrimitiveStringMultiline", "what happens", value="a vault opens"),
        "106": node("PrimitiveInt", "seed", value=5),
        "107": node("PrimitiveInt", "whole fps", value=24),
    }
    graph["40"]["inputs"] |= {"width": ["101", 0], "height": ["102", 0], "length": ["103", 0]}
    graph["41"]["inputs"] |= {"frames_number": ["103", 0], "frame_rate": ["107", 0]}
    graph["22"]["inputs"]["frame_rate"] = ["104", 0]
    graph["88"]["inputs"]["fps"] = ["104", 0]
    graph["20"]["inputs"]["text"] = ["105", 0]
    graph["52"]["inputs"]["noise_seed"] = ["106", 0]
    return graph


def computed() -> Graph:
    """As in ComfyUI's own workflows for LTX-2: half the size of an empty picture, and frames from seconds."""
    graph = {
        **two_stages(text_to_video()),
        "101": node("EmptyImage", width=1280, height=768, batch_size=1, color=0),
        "102": node("ImageScaleBy", image=["101", 0], upscale_method="lanczos", scale_by=0.5),
        "103": node("GetImageSize", image=["102", 0]),
        "104": node("PrimitiveFloat", "fps", value=24.0),
        "105": node("ComfyMathExpression", expression="a * 5 + 1", values__a=["104", 0]),
        "106": node("ComfyMathExpression", "whole fps", expression="a", values__a=["104", 0]),
    }
    graph["40"]["inputs"] |= {"width": ["103", 0], "height": ["103", 1], "length": ["105", 1]}
    graph["41"]["inputs"] |= {"frames_number": ["105", 1], "frame_rate": ["106", 1]}
    graph["22"]["inputs"]["frame_rate"] = ["104", 0]
    graph["88"]["inputs"]["fps"] = ["104", 0]
    return graph


def halved() -> Graph:
    """One width and one height for both: the picture is resized to them, and half of them is sampled."""
    graph = {
        **two_stages(image_to_video()),
        "101": node("PrimitiveInt", "width", value=1280),
        "102": node("PrimitiveInt", "height", value=704),
        "103": node("ComfyMathExpression", expression="a/2", values__a=["101", 0]),
        "104": node("ComfyMathExpression", expression="a/2", values__a=["102", 0]),
        "31": node(
            "ResizeImageMaskNode",
            input=["30", 0],
            resize_type="scale dimensions",
            resize_type__width=["101", 0],
            resize_type__height=["102", 0],
            resize_type__crop="center",
            scale_method="lanczos",
        ),
    }
    graph["40"]["inputs"] |= {"width": ["103", 1], "height": ["104", 1]}
    return graph


def by_sound() -> Graph:
    """A sound that is loaded drives the picture, for as many seconds as it lasts."""
    graph = {
        **image_to_video(),
        "33": node("LoadAudio", audio="speech.mp3"),
        "34": node("TrimAudioDuration", audio=["33", 0], start_index=0.0, duration=["105", 0]),
        "35": node("LTXVAudioVAEEncode", audio=["34", 0], audio_vae=["3", 0]),
        "36": node("SolidMask", value=0.0, width=768, height=512),
        "37": node("SetLatentNoiseMask", samples=["35", 0], mask=["36", 0]),
        "105": node("PrimitiveFloat", "seconds", value=4.8),
        "106": node("ComfyMathExpression", expression="a * 25 + 1", values__a=["105", 0]),
    }
    graph["50"]["inputs"]["audio_latent"] = ["37", 0]
    graph["40"]["inputs"]["length"] = ["106", 1]
    del graph["41"]
    return graph


def guided() -> Graph:
    """The edges of a video guide the model; the size and the length are measured on them."""
    graph = {
        **two_stages(image_to_video()),
        "33": node("LoadVideo", file="guide.mp4"),
        "34": node("GetVideoComponents", video=["33", 0]),
        "35": node("ImageFromBatch", image=["34", 0], batch_index=0, length=["103", 0]),
        "36": node(
            "ResizeImageMaskNode",
            input=["35", 0],
            resize_type="scale dimensions",
            resize_type__width=["101", 0],
            resize_type__height=["102", 0],
            resize_type__crop="center",
            scale_method="lanczos",
        ),
        "37": node("ImageScaleBy", image=["36", 0], upscale_method="lanczos", scale_by=0.5),
        "38": node("Canny", image=["37", 0], low_threshold=0.4, high_threshold=0.8),
        "39": node("GetImageSize", image=["38", 0]),
        "43": node(
            "LTXVAddGuide",
            positive=["22", 0],
            negative=["22", 1],
            vae=["1", 2],
            latent=["42", 0],
            image=["38", 0],
            frame_idx=0,
            strength=1.0,
        ),
        "101": node("PrimitiveInt", "width", value=1280),
        "102": node("PrimitiveInt", "height", value=704),
        "103": node("PrimitiveInt", "frames", value=121),
    }
    graph["40"]["inputs"] |= {"width": ["39", 0], "height": ["39", 1], "length": ["39", 2]}
    graph["41"]["inputs"] |= {"frames_number": ["39", 2]}
    graph["50"]["inputs"]["video_latent"] = ["43", 2]
    graph["54"]["inputs"] |= {"positive": ["43", 0], "negative": ["43", 1]}
    graph["59"] = node("LTXVCropGuides", positive=["43", 0], negative=["43", 1], latent=["56", 0])
    graph["61"]["inputs"]["samples"] = ["59", 2]
    return graph


def classic() -> Graph:
    """KSampler with the older LTXVImgToVideo, and somebody's own node to save it."""
    return {
        "a": node("CheckpointLoaderSimple", ckpt_name="x.safetensors"),
        "b": node("CLIPLoader", clip_name="t5.safetensors", type="ltxv", device="default"),
        "p": node("CLIPTextEncode", text="a vault opens", clip=["b", 0]),
        "n": node("CLIPTextEncode", text="blurry", clip=["b", 0]),
        "i": node("LoadImage", image="x.png"),
        "v": node(
            "LTXVImgToVideo",
            positive=["p", 0],
            negative=["n", 0],
            vae=["a", 2],
            image=["i", 0],
            width=768,
            height=512,
            length=97,
            batch_size=1,
            strength=1.0,
        ),
        "c": node("LTXVConditioning", positive=["v", 0], negative=["v", 1], frame_rate=25.0),
        "k": node(
            "KSampler",
            model=["a", 0],
            positive=["c", 0],
            negative=["c", 1],
            latent_image=["v", 2],
            seed=3,
            steps=20,
            cfg=3.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "d": node("VAEDecode", samples=["k", 0], vae=["a", 2]),
        "s": node(
            "VHS_VideoCombine",
            images=["d", 0],
            frame_rate=25,
            loop_count=0,
            filename_prefix="AnimateDiff",
            format="video/h264-mp4",
            pingpong=False,
            save_output=True,
            audio=["e", 0],
        ),
        "e": node("EmptyAudio", duration=5.0, sample_rate=44100, channels=2),
    }


SHAPES = {
    "text to video": text_to_video(),
    "image to video": image_to_video(),
    "two stages": two_stages(text_to_video()),
    "two stages from an image": two_stages(image_to_video()),
    "cropped": cropped(),
    "resized": resized(),
    "first and last": first_and_last(),
    "last by its number": first_and_last(120),
    "two stages, first and last": two_stages(first_and_last()),
    "doubled frame rate": doubled(),
    "primitives": with_primitives(),
    "classic": classic(),
}
