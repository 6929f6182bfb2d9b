"""What is made again after an edit, and what is not: every leaf of a project file is changed in turn.

hook    a b     9 s of narration: a prompt as text and one in parts, a seed, LoRAs, settings of a reference
talk    a b     words in place of a narration; quality full; a without a picture, b two takes and a last frame
spoken  a b     a sound file; a LoRA on the scene; a written length, a doubled frame rate
guided  a b     a duration with its words; a guide video; a template chosen by hand
still   a       no narration, a written length; fewer steps
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.data import Data, dump, get, leaves, line_of, with_value, without
from harness.film import Film, stale
from harness.media import write_guide, write_picture, write_sound
from harness.templates import templates_read_once

from ltxflow.cli.commands.explain import explain
from ltxflow.core.digest import digest_json
from ltxflow.core.files import data_dir
from ltxflow.core.timing import seed_for
from ltxflow.documents.fast_schema import load_schema
from ltxflow.lock.file import write_lock
from ltxflow.lock.model import with_pick
from ltxflow.models.profile import Profile
from ltxflow.plan.explain import show
from ltxflow.plan.plan import Change, Plan, PlanOptions, make_plan
from ltxflow.plan.plan_diff import moves
from ltxflow.session.session import Session
from ltxflow.ui.plan_view import plan_json
from ltxflow.ui.terminal import Console
from ltxflow.workflow.template import Template

PIN = "5c1f0d0b6f1c0f6f2b5a7c3e9d1a4b8c7e6f5d4c3b2a19080706050403020100"

FILM: Data = yaml.safe_load(f"""
ltxflow: 1
id: keys
title: Your keys
aspect: "16:9"
fps: 24
seed: 7
profile: ltx2-19b
quality: distilled
output: public/scenes
words_per_second: 2.5
weights: {{checkpoint: fp8, text_encoder: fp4}}
loras:
  push: {{name: push-in.safetensors, strength: 0.6}}
  grain: grain.safetensors
vars: {{look: deep blue light, count: 3, unused: nothing}}
defaults:
  scene: {{pad: {{head: 0.2s, tail: 0.4s}}, crossfade: 12f}}
  clip:
    reference: {{strength: 0.9, compression: 30, fit: cover, focus: [0.5, 0.4]}}
    last_frame: {{strength: 0.6}}
    negative: [blurry, letters]
    takes: 1
    ignore: [P104]
moved:
  - {{from: intro, to: hook}}
scenes:
  - id: hook
    title: The hook
    narration: 9s
    pad: {{tail: 0.5s}}
    crossfade: 10f
    clips:
      - id: a
        prompt: The camera pushes toward a vault in {{{{ look }}}} while its rings turn and a hum grows.
        reference: refs/vault.png
      - id: b
        prompt:
          setup: A close-up of a key on wet stone.
          subject: Its teeth are worn.
          camera: The camera circles the key.
          action: Drops fall on it, {{{{ count }}}} at a time.
          mood: Quiet, {{{{ look }}}}.
          audio: Rain on stone.
        reference: {{image: refs/key.png, strength: 0.8, compression: 20, fit: cover, focus: [0.2, 0.6]}}
        seed: 88
        loras:
          - {{name: style.safetensors, strength: 0.8, sha256: {PIN}}}
          - push
          - {{name: grain, strength: 0.3}}
        ignore: [P109]
  - id: talk
    title: The talk
    narration: {{text: one two three four five six seven eight nine ten}}
    quality: full
    clips:
      - id: a
        prompt: {{camera: The camera drifts along a desk., action: A hand turns a card over.}}
        negative: hands, "{{{{ look }}}}"
        cfg: 3.5
      - id: b
        prompt: The camera rises over a valley while mist opens and a heron takes off.
        reference: {{image: refs/vault.png}}
        last_frame: {{image: refs/key.png, strength: 0.7, compression: 24, fit: contain}}
        quality: full
        takes: 2
        length: auto
  - id: spoken
    narration: {{file: narration/spoken.wav, text: Every coin has one key.}}
    loras: [grain]
    clips:
      - id: a
        prompt: The camera sinks into a sea of lights that blink in turn.
        length: 121f
      - id: b
        prompt: The camera rolls through a tunnel of cards that flip one by one.
        temporal_upscale: true
  - id: guided
    narration: {{duration: 6s, text: Follow the line.}}
    pad: 0.1s
    clips:
      - id: a
        prompt: A dancer of glass turns and steps while the camera circles her.
        control: {{lora: pose.safetensors, video: refs/guide.mp4, strength: 0.9, mode: pose}}
      - id: b
        prompt: A dancer of smoke bows and the camera glides back.
        reference: refs/key.png
        template: t2v
        stages: 2
  - id: still
    clips:
      - id: a
        prompt: A lamp swings over a table and the camera tilts up to it.
        length: 5s
        steps: 6
        cfg: 1.0
        stages: 1
""")


KEY = (90, 80, 10)


def write_files(folder: Path) -> None:
    write_picture(folder / "refs/vault.png", (10, 20, 90))
    write_picture(folder / "refs/key.png", KEY)
    write_picture(folder / "refs/other.png", (5, 99, 5))
    write_guide(folder / "refs/guide.mp4")
    write_guide(folder / "refs/longer.mp4", 301)
    write_sound(folder / "narration/spoken.wav", 10.5)
    write_sound(folder / "narration/again.wav", 10.5, pitch=3)
    write_sound(folder / "narration/slow.wav", 13.5)


@pytest.fixture(scope="module", autouse=True)
def _fast() -> Iterator[None]:
    with templates_read_once():
        yield


def start(folder: Path) -> Film:
    """The film in a workspace of its own, nothing built yet."""
    project = Film.at(folder).write_data(FILM)
    write_files(project.folder)
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """The film, rendered. Tests that share it edit the project file alone."""
    project = start(tmp_path_factory.mktemp("built"))
    assert project.make().rendered == set(EVERYTHING)
    return project


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """The film, not built."""
    return start(tmp_path)


EVERYTHING = [
    *["hook/a@1", "hook/b@1", "talk/a@1", "talk/b@1", "talk/b@2"],
    *["spoken/a@1", "spoken/b@1", "guided/a@1", "guided/b@1", "still/a@1"],
]


def targets(text: str) -> set[str]:
    """`*`, `hook`, `hook/a`, `talk/b@2`, `-hook/b`, separated by blanks → the targets that are meant."""
    found: set[str] = set()
    for word in text.split():
        name = word.removeprefix("-")
        meant = {t for t in EVERYTHING if name == "*" or t == name or re.match(rf"{name}[/@]", t)} or {name}
        found = found - meant if word.startswith("-") else found | meant
    return found


@dataclass(frozen=True)
class Case:
    """A leaf, its other value, which targets are made again then, and what the plan says changed.

    `told` is the name of the field, or several separated by blanks; where they differ by target, a mapping. `at` is
    the path of the line that is pointed at, where it is not the leaf's own.
    """

    leaf: str
    new: Any
    again: str
    told: str | dict[str, str] = ""
    at: str | None = None

    def __str__(self) -> str:
        return f"{self.leaf}={json.dumps(self.new)[:24]}"

    def fields(self, target: str) -> set[str]:
        told = self.told
        if isinstance(told, dict):
            told = next(value for key, value in told.items() if target in targets(key))
        return set((told or self.leaf.rpartition("/")[2]).split())


def none(leaf: str, new: Any) -> Case:
    return Case(leaf, new, "")


HOOK_B = "scenes/hook/clips/b"
PROMPT = "scenes/hook/clips/b/prompt"

LOOK = {"hook/a": "prompt.text", "hook/b": "prompt.mood", "talk/a": "negative"}
FOCUS = "defaults/clip/reference/focus"

# Every leaf of FILM with another legal value.
CHANGED = [
    none("id", "other"),
    none("title", "Other keys"),
    Case("aspect", "3:2", "*", "size"),
    Case("fps", 22, "*", {"still/a": "fps frames", "*": "fps"}),
    none("seed", 8),  # recorded seeds win
    none("output", "public/other"),
    none("words_per_second", 3.5),
    Case("words_per_second", 0.5, "talk", "frames", at="scenes/talk/narration"),
    Case("quality", "full", "hook spoken guided still", "quality"),
    Case("weights/checkpoint", "bf16", "*", "weights", at="weights"),
    Case("weights/text_encoder", "fp8", "*", "weights", at="weights"),
    Case("loras/push/name", "pull.safetensors", "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case("loras/push/strength", 0.7, "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case("loras/grain", "fine.safetensors", "hook/b spoken", "loras", at=""),
    Case("vars/look", "pale", "hook talk/a", LOOK, at=""),
    Case("vars/count", 4, "hook/b", "prompt.action", at=f"{PROMPT}/action"),
    none("vars/unused", "something"),
    none("defaults/scene/pad/head", "0.3s"),
    none("defaults/scene/pad/tail", "0.5s"),
    Case("defaults/scene/pad/tail", "3s", "spoken/b", "frames"),
    none("defaults/scene/crossfade", "14f"),
    Case("defaults/clip/reference/strength", 0.5, "hook/a talk/b", "reference.strength"),
    Case("defaults/clip/reference/compression", 31, "hook/a talk/b", "reference.compression"),
    Case("defaults/clip/reference/fit", "stretch", "hook/a talk/b", "reference.fit"),
    Case(f"{FOCUS}/0", 0.1, "hook/a talk/b", "reference.focus", at=FOCUS),
    Case(f"{FOCUS}/1", 0.1, "hook/a talk/b", "reference.focus", at=FOCUS),
    none("defaults/clip/last_frame/strength", 0.5),
    Case("defaults/clip/negative/0", "dark", "talk/b", "negative", at="defaults/clip/negative"),
    Case("defaults/clip/negative/1", "dark", "talk/b", "negative", at="defaults/clip/negative"),
    Case("defaults/clip/takes", 2, "hook/a@2 hook/b@2 talk/a@2 spoken/a@2 spoken/b@2 guided/a@2 guided/b@2 still/a@2"),
    none("defaults/clip/ignore/0", "P103"),
    none("moved/0/from", "opening"),
    none("moved/0/to", "talk"),
    none("scenes/hook/title", "Another"),
    none("scenes/hook/narration", "8s"),
    none("scenes/hook/narration", "9.1s"),
    Case("scenes/hook/narration", "10s", "hook/b", "frames"),
    none("scenes/hook/pad/tail", "0.6s"),
    Case("scenes/hook/pad/tail", "1.5s", "hook/b", "frames"),
    none("scenes/hook/crossfade", "15f"),
    Case("scenes/hook/crossfade", "24f", "hook/b", "frames"),
    Case("scenes/hook/clips/a/prompt", "The camera backs away from a vault.", "hook/a", "prompt.text"),
    Case("scenes/hook/clips/a/reference", "refs/other.png", "hook/a", "reference.image"),
    *[
        Case(f"{PROMPT}/{part}", "Another thing is said here.", "hook/b", f"prompt.{part}")
        for part in ("setup", "subject", "camera", "action", "mood", "audio")
    ],
    Case(f"{HOOK_B}/reference/image", "refs/other.png", "hook/b", "reference.image"),
    Case(f"{HOOK_B}/reference/strength", 0.85, "hook/b", "reference.strength"),
    Case(f"{HOOK_B}/reference/compression", 21, "hook/b", "reference.compression"),
    Case(f"{HOOK_B}/reference/fit", "contain", "hook/b", "reference.fit"),
    Case(f"{HOOK_B}/reference/focus/0", 0.3, "hook/b", "reference.focus", at=f"{HOOK_B}/reference/focus"),
    Case(f"{HOOK_B}/reference/focus/1", 0.3, "hook/b", "reference.focus", at=f"{HOOK_B}/reference/focus"),
    Case(f"{HOOK_B}/seed", 89, "hook/b", "seed"),
    Case(f"{HOOK_B}/loras/0/name", "other.safetensors", "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case(f"{HOOK_B}/loras/0/strength", 0.8000001, "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case(f"{HOOK_B}/loras/0/sha256", PIN[::-1], "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case(f"{HOOK_B}/loras/1", "grain", "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case(f"{HOOK_B}/loras/2/name", "push", "hook/b", "loras", at=f"{HOOK_B}/loras"),
    Case(f"{HOOK_B}/loras/2/strength", 0.4, "hook/b", "loras", at=f"{HOOK_B}/loras"),
    none(f"{HOOK_B}/ignore/0", "P103"),
    none("scenes/talk/title", "Another"),
    none("scenes/talk/narration/text", "one two three"),
    Case("scenes/talk/narration/text", "word " * 30, "talk/b", "frames", at="scenes/talk/narration"),
    Case("scenes/talk/quality", "distilled", "talk/a", "quality"),
    Case("scenes/talk/clips/a/prompt/camera", "The camera stands.", "talk/a", "prompt.camera"),
    Case("scenes/talk/clips/a/prompt/action", "A hand takes a card.", "talk/a", "prompt.action"),
    Case("scenes/talk/clips/a/negative", "fingers", "talk/a", "negative"),
    Case("scenes/talk/clips/a/cfg", 3.0, "talk/a", "cfg"),
    Case("scenes/talk/clips/a/cfg", 1.0, "talk/a", "cfg"),  # the negative prompt goes with it
    Case("scenes/talk/clips/b/prompt", "The camera sinks into a valley.", "talk/b", "prompt.text"),
    Case("scenes/talk/clips/b/reference/image", "refs/other.png", "talk/b", "reference.image"),
    Case("scenes/talk/clips/b/last_frame/image", "refs/other.png", "talk/b", "last_frame.image"),
    Case("scenes/talk/clips/b/last_frame/strength", 0.75, "talk/b", "last_frame.strength"),
    Case("scenes/talk/clips/b/last_frame/compression", 25, "talk/b", "last_frame.compression"),
    Case("scenes/talk/clips/b/last_frame/fit", "cover", "talk/b", "last_frame.fit"),
    Case("scenes/talk/clips/b/quality", "distilled", "talk/b", "quality"),
    none("scenes/talk/clips/b/takes", 1),
    Case("scenes/talk/clips/b/takes", 3, "talk/b@3"),
    Case("scenes/talk/clips/b/length", "145f", "talk/b", "frames"),
    none("scenes/spoken/narration/file", "narration/again.wav"),
    Case("scenes/spoken/narration/file", "narration/slow.wav", "spoken/b", "frames", at="scenes/spoken/narration"),
    none("scenes/spoken/narration/text", "Every coin has two keys."),
    Case("scenes/spoken/loras/0", "push", "spoken", "loras", at="scenes/spoken/loras"),
    Case("scenes/spoken/clips/a/prompt", "The camera sinks into a lake.", "spoken/a", "prompt.text"),
    none("scenes/spoken/clips/a/length", "5.01s"),  # the same frames
    Case("scenes/spoken/clips/a/length", "129f", "spoken/a", "frames"),
    Case("scenes/spoken/clips/b/prompt", "The camera rolls through a wood.", "spoken/b", "prompt.text"),
    Case("scenes/spoken/clips/b/temporal_upscale", False, "spoken/b", "temporal_upscale"),
    none("scenes/guided/narration/duration", "5.5s"),
    Case("scenes/guided/narration/duration", "10s", "guided/b", "frames", at="scenes/guided/narration"),
    none("scenes/guided/narration/text", "Follow the other line."),
    none("scenes/guided/pad", "0.05s"),
    Case("scenes/guided/clips/a/prompt", "A dancer of steel turns.", "guided/a", "prompt.text"),
    Case("scenes/guided/clips/a/control/lora", "depth.safetensors", "guided/a", "control.lora"),
    Case("scenes/guided/clips/a/control/video", "refs/longer.mp4", "guided/a", "control.video"),
    Case("scenes/guided/clips/a/control/strength", 0.8, "guided/a", "control.strength"),
    Case("scenes/guided/clips/a/control/mode", "canny", "guided/a", "control.mode"),
    Case("scenes/guided/clips/b/prompt", "A dancer of salt bows.", "guided/b", "prompt.text"),
    none("scenes/guided/clips/b/reference", "refs/other.png"),  # the template does not look at it
    Case("scenes/guided/clips/b/template", "i2v", "guided/b", "template"),
    Case("scenes/guided/clips/b/stages", 1, "guided/b", "stages"),
    Case("scenes/still/clips/a/prompt", "A lamp falls on a table.", "still/a", "prompt.text"),
    Case("scenes/still/clips/a/length", "6s", "still/a", "frames"),
    Case("scenes/still/clips/a/steps", 5, "still/a", "steps"),
    Case("scenes/still/clips/a/cfg", 2.0, "still/a", "cfg"),
    Case("scenes/still/clips/a/stages", 2, "still/a", "stages"),
]

DEFAULTED = "reference.strength reference.compression reference.focus"  # what clips without their own say then


def gone(leaf: str, again: str = "", told: str | dict[str, str] = "") -> Case:
    return Case(leaf, None, again, told)


# Every key of FILM that may be taken away.
REMOVED = [
    *map(gone, ["title", "seed", "profile", "quality", "output", "words_per_second", "vars/unused", "moved"]),
    gone("weights/checkpoint"),
    gone("aspect", "*", "size"),
    gone("weights", "*"),
    gone("weights/text_encoder", "*", "weights"),
    gone("loras/push/strength", "hook/b", "loras"),
    gone("defaults", "hook/a talk/b", {"hook/a": DEFAULTED, "*": f"{DEFAULTED} negative"}),
    *[gone(f"defaults/scene{key}") for key in ("", "/pad", "/pad/head", "/pad/tail", "/crossfade")],
    gone("defaults/clip", "hook/a talk/b", {"hook/a": DEFAULTED, "*": f"{DEFAULTED} negative"}),
    gone("defaults/clip/reference", "hook/a talk/b", DEFAULTED),
    gone("defaults/clip/reference/strength", "hook/a talk/b", "reference.strength"),
    gone("defaults/clip/reference/compression", "hook/a talk/b", "reference.compression"),
    gone("defaults/clip/reference/fit"),
    gone("defaults/clip/reference/focus", "hook/a talk/b", "reference.focus"),
    gone("defaults/clip/last_frame"),
    gone("defaults/clip/negative", "talk/b"),
    gone("defaults/clip/takes"),
    gone("defaults/clip/ignore"),
    *[gone(f"scenes/hook/{key}") for key in ("title", "narration", "pad", "crossfade")],
    gone("scenes/hook/clips/a/reference", "hook/a", "reference.image"),
    *[gone(f"{PROMPT}/{part}", "hook/b", f"prompt.{part}") for part in get(FILM, PROMPT)],
    gone(f"{HOOK_B}/reference", "hook/b", "reference.image"),
    gone(f"{HOOK_B}/reference/image", "hook/b", "reference.image"),
    gone(f"{HOOK_B}/reference/strength", "hook/b", "reference.strength"),
    gone(f"{HOOK_B}/reference/compression", "hook/b", "reference.compression"),
    gone(f"{HOOK_B}/reference/fit"),
    gone(f"{HOOK_B}/reference/focus", "hook/b", "reference.focus"),
    gone(f"{HOOK_B}/seed", "hook/b"),
    gone(f"{HOOK_B}/loras", "hook/b"),
    gone(f"{HOOK_B}/loras/0/strength", "hook/b", "loras"),
    gone(f"{HOOK_B}/loras/0/sha256", "hook/b", "loras"),
    gone(f"{HOOK_B}/loras/2/strength", "hook/b", "loras"),
    gone(f"{HOOK_B}/ignore"),
    gone("scenes/talk/title"),
    gone("scenes/talk/narration"),
    gone("scenes/talk/quality", "talk/a"),
    gone("scenes/talk/clips/a/prompt/camera", "talk/a", "prompt.camera"),
    gone("scenes/talk/clips/a/prompt/action", "talk/a", "prompt.action"),
    gone("scenes/talk/clips/a/negative", "talk/a"),
    gone("scenes/talk/clips/a/cfg", "talk/a"),
    gone("scenes/talk/clips/b/reference", "talk/b", "reference.image"),
    gone("scenes/talk/clips/b/last_frame", "talk/b", "last_frame.image"),
    gone("scenes/talk/clips/b/last_frame/image", "talk/b", "last_frame.image"),
    gone("scenes/talk/clips/b/last_frame/strength", "talk/b", "last_frame.strength"),
    gone("scenes/talk/clips/b/last_frame/compression", "talk/b", "last_frame.compression"),
    gone("scenes/talk/clips/b/last_frame/fit", "talk/b", "last_frame.fit"),
    *[gone(f"scenes/talk/clips/b/{key}") for key in ("quality", "takes", "length")],
    *[gone(f"scenes/spoken/{key}") for key in ("narration", "narration/file", "narration/text", "clips/a/length")],
    gone("scenes/spoken/loras", "spoken"),
    gone("scenes/spoken/clips/b/temporal_upscale", "spoken/b"),
    *[gone(f"scenes/guided/{key}") for key in ("narration", "narration/duration", "narration/text", "pad")],
    gone("scenes/guided/clips/a/control", "guided/a", "control.video"),
    gone("scenes/guided/clips/a/control/video", "guided/a", "control.video"),
    gone("scenes/guided/clips/a/control/strength", "guided/a", "control.strength"),
    gone("scenes/guided/clips/a/control/mode"),  # poses are followed as they are, as with "raw"
    gone("scenes/guided/clips/b/reference"),
    gone("scenes/guided/clips/b/template", "guided/b"),
    gone("scenes/guided/clips/b/stages"),
    *[gone(f"scenes/still/clips/a/{key}") for key in ("length", "cfg")],
    gone("scenes/still/clips/a/steps", "still/a"),
    gone("scenes/still/clips/a/stages", "still/a"),
]

# Without them FILM is no project, by its schema or by what others refer to.
NEEDED = re.compile(
    r"ltxflow|(.*/)?id|(.*/)?clips|scenes|.*/prompt|moved/0/\w+|.*loras/.*name|.*/control/lora"  # required
    r"|loras|loras/push|loras/grain|vars|vars/look|vars/count|fps"  # others refer to it; 25 cannot be halved
    r"|defaults/clip/last_frame/strength|scenes/hook/pad/tail|scenes/talk/narration/text|scenes/talk/clips/b/reference/image"
)

STILL = "scenes/still/clips/a"
CONTROL = {"lora": "x.safetensors", "video": "refs/guide.mp4"}

# Keys that FILM does not have: every clip setting on a clip, a scene and in the defaults, and the rest of a scene's.
ADDED = [
    Case(f"{STILL}/reference", "refs/key.png", "still/a", "reference.image"),
    none(f"{STILL}/reference", {"strength": 0.5, "compression": 10}),  # of a picture that is not there
    none(f"{STILL}/reference", None),
    Case(f"{STILL}/last_frame", "refs/key.png", "still/a", "last_frame.image"),
    Case(f"{STILL}/control", CONTROL, "still/a", "control.video", at=f"{STILL}/control/video"),
    none(f"{STILL}/control", {"strength": 0.3}),
    Case(f"{STILL}/keyframes", [{"at": "2s", "image": "refs/key.png", "strength": 0.5}], "still/a"),
    Case("scenes/still/keyframes", [{"at": "end", "image": "refs/key.png"}], "still/a"),
    none(f"{STILL}/keyframes", None),
    Case("scenes/guided/clips/a/control/preprocess", True, "guided/a", "control.preprocess"),
    none("scenes/guided/clips/a/control/preprocess", False),
    Case(f"{STILL}/loras", ["grain"], "still/a", "loras"),
    Case(f"{STILL}/look", "Pale film.", "still/a"),
    none(f"{STILL}/look", None),
    none(f"{STILL}/tags", ["hero"]),
    none("scenes/guided/tags", ["night", "hero"]),
    none("vars/mara", {"coat": "a red coat"}),
    Case("look", "Pale film.", "*"),
    Case("scenes/guided/look", "Pale film, {{ look }}.", "guided"),
    Case("defaults/clip/look", "Pale film.", "*"),
    none(f"{STILL}/negative", "nothing of the kind"),  # has no effect at CFG 1
    Case(f"{STILL}/seed", 5, "still/a"),
    Case(f"{STILL}/quality", "full", "still/a"),
    none(f"{STILL}/quality", "distilled"),
    Case(f"{STILL}/temporal_upscale", True, "still/a", "temporal_upscale frames"),  # 16n+1 frames
    Case(f"{STILL}/takes", 3, "still/a@2 still/a@3"),
    Case(f"{STILL}/seeds", [5, 6], "still/a still/a@2", {"still/a": "seed"}),
    none(f"{STILL}/reseed", 2),
    none(f"{STILL}/checks", {"frozen": "2s", "motion": 0.5, "cut": False}),
    none(f"{STILL}/checks", False),
    none(
        f"{STILL}/checks", {"all": True, "black": "1s", "sound": False, "silent": -50, "silence": "3s", "clipped": 0.1}
    ),
    none(f"{STILL}/checks", {"sync": "0.5s", "size": False, "rate": False, "length": False}),
    none(f"{STILL}/template", "t2v"),  # what it is made by anyhow
    none(f"{STILL}/ignore", ["P104"]),
    none(f"{STILL}/gain", "-6dB"),
    none("scenes/still/title", "Still"),
    none("scenes/still/narration", "4s"),
    none("scenes/still/pad", "1s"),
    none("scenes/still/crossfade", "20f"),
    Case("scenes/guided/reference", "refs/vault.png", "guided/a", "reference.image"),
    Case("scenes/guided/last_frame", "refs/vault.png", "guided/a", "last_frame.image"),
    none("scenes/guided/control", CONTROL),
    Case("scenes/guided/loras", ["grain"], "guided", "loras"),
    none("scenes/guided/negative", "blur"),
    none("scenes/guided/gain", "+3dB"),
    none("scenes/guided/narration/gain", "-2.5dB"),
    none("defaults/clip/gain", "-6dB"),
    Case("scenes/guided/seed", 5, "guided"),
    Case("scenes/guided/length", "121f", "guided", "frames"),
    Case("scenes/guided/quality", "full", "guided"),
    Case("scenes/guided/steps", 7, "guided"),
    Case("scenes/guided/cfg", 2.5, "guided"),  # a negative prompt comes with it
    Case("scenes/guided/stages", 1, "guided/a"),
    Case("scenes/still/temporal_upscale", True, "still/a", "temporal_upscale frames"),
    Case("scenes/guided/takes", 2, "guided/a@2 guided/b@2"),
    Case("scenes/guided/seeds", [5], "guided", "seed"),
    none("scenes/guided/reseed", 2),
    none("scenes/guided/checks", {"duplicate": 0.9}),
    Case("scenes/guided/template", "t2v", "guided/a"),
    none("scenes/guided/ignore", ["P104"]),
    Case("defaults/clip/reference/image", "refs/vault.png", "talk/a spoken guided/a still", "reference.image"),
    Case("defaults/clip/last_frame/image", "refs/key.png", "* -talk/b -guided/b", "last_frame.image"),
    Case("defaults/clip/loras", ["grain"], "hook/a talk guided still", "loras"),
    Case("defaults/clip/seed", 5, "* -hook/b -talk/b@2"),
    Case("defaults/clip/seeds", [5], "* -hook/b -talk/b@2", "seed"),
    none("defaults/clip/reseed", 1),
    none("defaults/clip/checks", {"all": False}),
    Case("defaults/clip/quality", "full", "hook spoken guided still"),
    Case("defaults/clip/steps", 7, "* -still"),
    Case("defaults/clip/cfg", 2.0, "* -talk/a -still"),
    Case("defaults/clip/stages", 1, "* -guided/b -still"),
]
ELSEWHERE = {"extends", "sound"}  # see tests/test_extends.py, and tests/cli/commands/test_template.py


def test_every_leaf_has_a_case() -> None:
    cases = {case.leaf for case in CHANGED}
    others = {leaf for leaf in leaves(FILM) if leaf.endswith("/id") or leaf in ("ltxflow", "profile")}  # see below
    assert set(leaves(FILM)) - others == cases


# Keys of other step kinds, or that need a film of their own: what each of them makes again is shown in these files.
SHOWN_IN = {
    "test_extends.py": {"extends", "frames"},
    "test_frames.py": {"frame_of", "at"},
    "test_references.py": {"references", "base", "angle", "generate", "engine", "model"},
    "test_narration.py": {"speech", "engine", "engines", "command", "voice"},
    "steps/test_narration.py": {"lines"},
    "steps/test_line.py": {"speed"},
    "project/test_speech.py": {"lexicon", "pause", "trim", "url", "timeout"},
    "plan/test_lengths.py": {"covers"},
    "comfy/test_discovery.py": {"server"},
    "test_models.py": {
        *("diffusion_model", "video_vae", "audio_vae", "distilled_lora", "spatial_upscaler", "temporal_upscaler"),
        *("depth_estimator", "pose_estimator", "precision", "sha256"),
    },
}
NO_LEAF = {"ltxflow", "size"}  # the file's format; `size` in place of `aspect` is among the REARRANGED


def test_every_key_of_the_schema_is_changed_somewhere() -> None:
    """A new key of project.yaml without a case here, or in a file that is named above, is not finished."""
    cases = [*CHANGED, *REMOVED, *ADDED]
    changed = {part for case in cases for part in case.leaf.split("/")} | set(_names([case.new for case in cases]))
    for file, keys in SHOWN_IN.items():
        text = (Path(__file__).parent / file).read_text()
        assert {key for key in keys if not re.search(rf"\b{key}\b", text)} == set(), file
        changed |= keys
    assert set(_properties(load_schema("project"))) - changed - NO_LEAF == set()


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _properties(part)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(part)


def test_every_key_is_taken_away_once() -> None:
    keys = set(_keys(FILM))
    cases = {case.leaf for case in REMOVED}
    assert {key for key in keys if not NEEDED.fullmatch(key)} == cases


def _keys(data: Any, at: str = "") -> Iterator[str]:
    """Every key of every mapping, by its path."""
    for leaf in leaves(data):
        parts = leaf.split("/")
        for end in range(1, len(parts) + 1):
            key = "/".join(parts[:end])
            above = get(data, "/".join(parts[: end - 1])) if end > 1 else data
            if isinstance(above, dict):
                yield key


def test_every_setting_stands_on_a_clip_somewhere() -> None:
    schema = load_schema("project")["$defs"]
    known = set(schema["settings"]["properties"]) - ELSEWHERE
    for level in ("clips/[a-z]+", "guided|scenes/still", "defaults/clip"):
        cases = [case.leaf for case in (*CHANGED, *ADDED)]
        found = {match[1] for leaf in cases if (match := re.match(rf".*(?:{level})/(\w+)", leaf))}
        missing = known - found
        some = {"length", "control", "keyframes", "template", "temporal_upscale"}  # not of every clip of FILM
        assert missing <= (some if "defaults" in level else set())


@pytest.mark.parametrize("case", [*CHANGED, *ADDED], ids=str)
def test_a_changed_value_renders_what_it_reaches_and_says_so(built: Film, case: Case) -> None:
    old = get(FILM, case.leaf) if case in CHANGED else None
    expect(built, with_value(FILM, case.leaf, case.new), case, old)


@pytest.mark.parametrize("case", REMOVED, ids=str)
def test_a_removed_key_renders_what_it_reached_and_says_so(built: Film, case: Case) -> None:
    expect(built, without(FILM, case.leaf), replace(case, at=""), None)


def expect(built: Film, data: Data, case: Case, old: Any) -> None:
    built.write_data(data)
    outlook = built.look()
    assert stale(outlook) == targets(case.again)
    text = built.file.read_text()
    for change in outlook.of_kind("change", "create", "maybe"):
        target = change.target.partition(":")[2]
        if change.kind == "create":
            assert target not in EVERYTHING
            continue
        assert {reason.field for reason in change.reasons} == case.fields(target)
        assert explained(outlook, change) == given(outlook, change) == [reason.field for reason in change.reasons]
        for reason in change.reasons:
            assert reason.old != reason.new
            assert reason.span is not None
            assert Path(reason.span.file).name == "project.yaml"
            if case.at != "" and len(change.reasons) == 1:
                assert reason.span.line == line_of(text, case.at or case.leaf)
            if old is not None and case.leaf.endswith(reason.field.replace(".", "/")) and "{{" not in str(old):
                assert (show(reason.old), show(reason.new)) == (show(old), show(case.new))


def explained(outlook: Plan, change: Change) -> list[str]:
    """The fields that `explain` names for people: a line each, with its place."""
    out = StringIO()
    explain(Console(out, out, {}), outlook, change, {})
    return [
        line.split()[0] for line in out.getvalue().splitlines() if re.match(r"    \S.*project\.yaml:\d+:\d+$", line)
    ]


def given(outlook: Plan, change: Change) -> list[str]:
    """The fields that `explain --json` has."""
    (told,) = [each for each in plan_json(outlook)["changes"] if each["target"] == change.target]
    return [reason["field"] for reason in told["reasons"]]


def test_another_profile_is_another_model(film: Film) -> None:
    film.write_data(SMALL).make()
    theirs = film.folder / "templates/twin"
    theirs.mkdir(parents=True)
    ours = data_dir() / "templates/ltx2-19b"
    (theirs / "profile.yaml").write_text((ours / "profile.yaml").read_text().replace("name: ltx2-19b", "name: twin"))
    for file in ours.glob("*.j2"):
        (theirs / file.name).write_text(file.read_text())
    film.set("profile", "twin").trust()
    assert stale(film.look("end")) == set()  # the same templates and numbers under another name
    (theirs / "profile.yaml").write_text(
        (theirs / "profile.yaml").read_text().replace("sampler: euler\n", "sampler: heun\n")
    )
    film.trust()
    outlook = film.look("end")
    assert stale(outlook) == {"end/a@1"}
    assert [reason.field for reason in outlook.changes[0].reasons] == ["profile"]


# --- the ids, the order, and what is written around them


def ids_of(data: Data) -> list[str]:
    return [leaf for leaf in leaves(data) if leaf.startswith("scenes/") and leaf.endswith("/id")]


@pytest.mark.parametrize("leaf", ids_of(FILM))
def test_another_id_concerns_what_it_names_alone(built: Film, leaf: str) -> None:
    place = leaf.split("/")[1::2][:2] if leaf.count("/") > 2 else [leaf.split("/")[1]]
    old, new = "/".join(place), "/".join([*place[:-1], "renamed"])
    built.write_data(with_value(without(FILM, "moved"), leaf, "renamed"))
    kept = {target for target in EVERYTHING if not re.match(rf"{old}[/@]", target)}
    seeded = {"hook/b@1"}  # its seed is written: it is the same under any name
    renamed = {re.sub(f"^{old}", new, target) for target in EVERYTHING if target not in kept | seeded}
    assert stale(built.look()) == renamed


def reversed_scenes(data: Data) -> Data:
    return {**data, "scenes": data["scenes"][::-1]}


def with_clips_reversed(data: Data) -> Data:
    return {**data, "scenes": [{**scene, "clips": scene["clips"][::-1]} for scene in data["scenes"]]}


def with_keys_reversed(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: with_keys_reversed(value) for key, value in reversed(data.items())}
    return [with_keys_reversed(item) for item in data] if isinstance(data, list) else data


NEW_SCENE = {"id": "new", "clips": [{"id": "a", "prompt": "The camera flies over a lake while wind ruffles it."}]}

REARRANGED: dict[str, tuple[Callable[[Data], Data | str], set[str]]] = {
    "scenes in another order": (reversed_scenes, set()),
    "clips in another order": (with_clips_reversed, set()),
    "keys in another order": (with_keys_reversed, set()),
    "as JSON": (lambda data: json.dumps(data, indent=2), set()),
    "with comments and blank lines": (lambda data: re.sub(r"(?m)$", "  # why not\n", dump(data)), set()),
    "with texts over several lines": (lambda data: yaml.safe_dump(data, width=40, sort_keys=False), set()),
    "a scene at the beginning": (lambda data: {**data, "scenes": [NEW_SCENE, *data["scenes"]]}, {"new/a@1"}),
    "a scene less": (lambda data: {**data, "scenes": data["scenes"][:2] + data["scenes"][3:]}, set()),
    "a clip more in another scene": (
        lambda data: with_value(
            data, "scenes/talk/clips", [NEW_SCENE["clips"][0] | {"id": "c"}, *data["scenes"][1]["clips"]]
        ),
        {"talk/c@1"},
    ),
    "the size in pixels": (lambda data: without(with_value(data, "size", "1536x864"), "aspect"), set()),
    "a sound file in place of its length": (
        lambda data: with_value(data, "scenes/spoken/narration", {"duration": "10.5s"}),
        set(),
    ),
}


@pytest.mark.parametrize("what", REARRANGED)
def test_what_is_only_arranged_differently_renders_nothing(built: Film, what: str) -> None:
    change, again = REARRANGED[what]
    built.write_data(change(FILM))
    assert stale(built.look()) == again


def test_the_same_prompt_in_parts_renders_nothing(built: Film) -> None:
    text = "The camera rises over a valley while mist opens and a heron takes off."
    parts = {"camera": "The camera rises over a valley", "action": "while mist opens and a heron takes off."}
    assert get(FILM, "scenes/talk/clips/b/prompt") == text
    built.write_data(with_value(FILM, "scenes/talk/clips/b/prompt", parts))
    assert stale(built.look()) == set()


def test_the_same_picture_in_another_file_renders_nothing(film: Film) -> None:
    film.write_data(SMALL).make()
    write_picture(film.folder / "refs/key.png", KEY, compress_level=0, dpi=(72, 72))
    assert stale(film.look()) == set()
    write_picture(film.folder / "refs/moved/key.webp", KEY, lossless=True)
    film.set("scenes/end/clips/a/reference", "refs/moved/key.webp")
    assert stale(film.look()) == set()
    write_picture(film.folder / "refs/moved/key.webp", (KEY[0] + 1, *KEY[1:]), lossless=True)
    outlook = film.look()
    assert stale(outlook) == {"end/a@1"}
    ((reason,),) = [change.reasons for change in outlook.of_kind("change")]
    assert reason.field == "reference.image"
    assert show(reason.old).startswith("refs/key.png")


# --- templates and profiles: what is run counts, not what is written


def look_with(session: Session, **changes: Any) -> Plan:
    """What the plan says of the same film with something else in the place of, say, its profile."""
    project = replace(session.project, **changes)
    return make_plan(project, session.lock, PlanOptions(), session.lookup, session.trace_of, {})


def edited(session: Session, name: str, change: Callable[[str], str]) -> dict[str, Template]:
    templates = dict(session.project.templates)
    template = templates[name]
    text, parts = change(template.text), {part: change(text) for part, text in template.parts.items()}
    other = replace(template, text=text, parts=parts, digest=digest_json({"text": text, "parts": parts}))
    return {**templates, name: other}


TEMPLATE_EDITS: dict[str, Callable[[str], str]] = {
    "comments": lambda text: re.sub(r"\{#(?! ltxflow)", "{# by the way,", text),
    "white space": lambda text: text.replace('"inputs": {', '"inputs":\n {').replace("\n", "\n   "),
    "titles of nodes": lambda text: re.sub(r'"title": "(?!video|uncropped|last_frame)', '"title": "our ', text),
    "node numbers": lambda text: re.sub(r'"(2[0-2])"', r'"9\g<1>"', text),
    "prefixes": lambda text: text.replace("{{ prefix ~ suffix }}", '{{ prefix ~ "/our" ~ suffix }}'),
    "placement": lambda text: text.replace("{{ text_encoder_device }}", '"default"'),
}


@pytest.mark.parametrize("what", TEMPLATE_EDITS)
def test_a_template_that_runs_the_same_renders_nothing(built: Film, what: str) -> None:
    session = built.write_data(FILM).session()
    templates = edited(session, "i2v", TEMPLATE_EDITS[what])
    assert templates["i2v"].digest != session.project.templates["i2v"].digest
    assert stale(look_with(session, templates=templates)) == set()


def test_a_template_that_runs_otherwise_renders_its_clips_and_says_where(built: Film) -> None:
    session = built.write_data(FILM).session()
    templates = edited(session, "i2v", lambda text: text.replace('"bypass": false', '"bypass": true'))
    outlook = look_with(session, templates=templates)
    assert stale(outlook) == {"hook/a@1", "hook/b@1"}
    for change in outlook.of_kind("change"):
        assert {reason.field for reason in change.reasons} == {"template"}
        assert {(reason.old, reason.new) for reason in change.reasons} == {(False, True)}
        assert all("LTXVImgToVideoInplace" in reason.detail for reason in change.reasons)
        assert {Path(reason.span.file).name for reason in change.reasons if reason.span} == {"i2v.json.j2"}


def test_a_template_is_named_beside_what_the_author_changed(built: Film) -> None:
    session = built.write_data(with_value(FILM, f"{HOOK_B}/prompt/mood", "Loud.")).session()
    comments = edited(session, "i2v", TEMPLATE_EDITS["comments"])
    outlook = look_with(session, templates=comments)
    assert {reason.field for change in outlook.of_kind("change") for reason in change.reasons} == {"prompt.mood"}
    other = edited(session, "i2v", lambda text: text.replace('"bypass": false', '"bypass": true'))
    told = {
        c.clip: {reason.field for reason in c.reasons} for c in look_with(session, templates=other).of_kind("change")
    }
    assert told == {"hook/a": {"template"}, "hook/b": {"prompt.mood", "template"}}


PROFILE_EDITS: dict[str, Callable[[Profile], Profile]] = {
    "limits": lambda p: replace(p, lengths=replace(p.lengths, trim_max=p.lengths.trim_max + 8, preferred=(97, 257))),
    "advice": lambda p: replace(p, advice={}),
    "frame rates": lambda p: replace(p, fps=replace(p.fps, motion=(20, 40), static=(10, 20))),
    "length of prompts": lambda p: replace(p, prompt_words_max=20),
    "camera LoRAs": lambda p: replace(p, camera_loras=(), control_loras={}),
    "title and version": lambda p: replace(p, title="Another", version=2),
    "other aspects": lambda p: replace(p, aspects={"16:9": p.aspects["16:9"]}),
    "names of files": lambda p: replace(
        p,
        models={role: replace(m, folder="x", weights=dict.fromkeys(m.weights, ("y",))) for role, m in p.models.items()},
    ),
}


@pytest.mark.parametrize("what", PROFILE_EDITS)
def test_what_a_profile_only_advises_renders_nothing(built: Film, what: str) -> None:
    session = built.write_data(FILM).session()
    assert stale(look_with(session, profile=PROFILE_EDITS[what](session.project.profile))) == set()


def test_what_a_profile_gives_to_templates_renders_and_says_so(built: Film) -> None:
    session = built.write_data(FILM).session()
    profile = session.project.profile
    distilled = replace(profile.qualities["distilled"], sampler="heun")
    outlook = look_with(session, profile=replace(profile, qualities={**profile.qualities, "distilled": distilled}))
    assert stale(outlook) == targets("* -talk")
    for change in outlook.of_kind("change"):
        (reason,) = change.reasons
        assert (reason.field, show(reason.old), show(reason.new)) == (
            *("quality", "distilled (sampler euler)"),
            "distilled (sampler heun)",
        )


# --- a film's life

SMALL: Data = yaml.safe_load("""
ltxflow: 1
id: small
size: 256x256
fps: 24
seed: 7
scenes:
  - id: hook
    narration: {file: narration/spoken.wav}
    clips:
      - id: a
        prompt: The camera pushes toward a vault while its rings turn and a hum grows.
      - id: b
        prompt: The camera circles a key while drops fall on it.
  - id: end
    narration: 4s
    clips:
      - id: a
        prompt: The camera rises from a desk while a lamp swings.
        reference: refs/key.png
""")
ALL_SMALL = {"hook/a@1", "hook/b@1", "end/a@1"}


@pytest.fixture
def small(film: Film) -> Film:
    """Two scenes, three clips, rendered."""
    assert film.write_data(SMALL).make().rendered == ALL_SMALL
    return film


def test_a_second_build_renders_nothing(small: Film) -> None:
    before = small.files(), small.lock_file.read_bytes()
    again = small.make()
    assert again.rendered == set()
    assert again.done.totals == {"planned": 3, "hit": 3, "rendered": 0, "restored": 0, "failed": 0, "skipped": 0}
    assert (small.files(), small.lock_file.read_bytes()) == before


def test_a_reverted_edit_renders_nothing_and_the_old_file_is_back(small: Film) -> None:
    before, lock = small.files(), small.lock_file.read_bytes()
    assert small.set("scenes/end/clips/a/prompt", "The camera sinks into a desk.").make().rendered == {"end/a@1"}
    edited = small.files()
    assert {name for name in before if before[name] != edited[name]} == {"scene-1-a.mp4"}
    back = small.write_data(SMALL).make()
    assert back.rendered == set()
    assert back.done.totals["restored"] == 1
    assert small.files() == before
    assert small.lock_file.read_bytes() == lock


def test_scenes_in_another_order_are_renamed_not_rendered(small: Film) -> None:
    before = small.files()
    assert small.write_data({**SMALL, "scenes": SMALL["scenes"][::-1]}).make().rendered == set()
    after = small.files()
    assert (after["scene-0-a.mp4"], after["scene-1-a.mp4"]) == (before["scene-1-a.mp4"], before["scene-0-a.mp4"])


@pytest.mark.parametrize("lock", [True, False], ids=["with its lock", "without a lock"])
def test_a_second_clone_that_shares_the_store_renders_nothing(small: Film, tmp_path: Path, lock: bool) -> None:
    clone = small.clone(tmp_path / "work/clone", lock=lock)
    assert clone.make().rendered == set()
    assert clone.files() == small.files()
    assert clone.lock_file.read_bytes() == small.lock_file.read_bytes()


def test_a_clone_without_the_store_is_told_that_its_clips_were_made_elsewhere(small: Film, tmp_path: Path) -> None:
    clone = small.clone(tmp_path / "work/clone", store=tmp_path / "empty")
    outlook = clone.look()
    assert {change.kind for change in outlook.changes} == {"change"}
    assert all("made elsewhere" in change.note for change in outlook.changes)
    assert {status.key for status in outlook.statuses.values()} == {
        take.key for entry in small.lock.entries.values() for take in entry.takes.values()
    }


def test_a_lost_blob_is_rendered_again_under_the_same_key(small: Film) -> None:
    key = small.lock.entries["end/a"].takes[1].key
    session = small.session()
    session.store.cas.remove(session.lock.entries["end/a"].takes[1].outputs["published"])
    outlook = small.look()
    assert stale(outlook) == {"end/a@1"}
    assert [change.note for change in outlook.of_kind("change")] == ["its file is missing from the store"]
    assert small.make().rendered == {"end/a@1"}
    assert small.lock.entries["end/a"].takes[1].key == key


def test_a_narration_recorded_anew_at_the_same_length_renders_nothing(small: Film) -> None:
    write_sound(small.folder / "narration/spoken.wav", 10.5, pitch=5)
    again = small.make()
    assert again.rendered == set()
    assert (small.folder / "public/narration/hook.wav").read_bytes() == (
        small.folder / "narration/spoken.wav"
    ).read_bytes()


def test_a_shorter_narration_renders_nothing_and_a_longer_one_the_fewest_clips(small: Film) -> None:
    lengths = {path: entry.takes[1].frames for path, entry in small.lock.entries.items()}
    write_sound(small.folder / "narration/spoken.wav", 9)
    assert small.make().rendered == set()
    write_sound(small.folder / "narration/spoken.wav", 11.2)
    outlook = small.look()
    ((reason,),) = [change.reasons for change in outlook.of_kind("change")]
    assert (reason.field, reason.old, reason.detail) == ("frames", lengths["hook/b"], "narration 10.5s → 11.2s")
    assert small.make().rendered == {"hook/b@1"}
    write_sound(small.folder / "narration/spoken.wav", 10.5)
    assert small.make().rendered == set()  # the longer clip is kept, its tail trimmed
    assert small.lock.entries["hook/b"].takes[1].frames > lengths["hook/b"]


def test_a_rendered_length_is_solved_afresh_only_when_asked(small: Film) -> None:
    small.set("scenes/end/narration", "6s").make()
    small.set("scenes/end/narration", "4s")
    assert small.make().rendered == set()
    assert small.make("--relength").rendered == set()  # the short one is in the store
    assert (
        small.files()["scene-1-a.mp4"]
        == small.session().store.cas.path(small.lock.entries["end/a"].takes[1].outputs["published"]).read_bytes()
    )


# --- ids that move


def test_a_moved_clip_keeps_its_render_and_its_seed(small: Film) -> None:
    before, files = small.lock.entries["hook/b"], small.files()
    renamed = with_value(SMALL, "scenes/hook/clips/b/id", "key")
    assert stale(small.write_data(renamed).look()) == {"hook/key@1"}
    small.write_data({**renamed, "moved": [{"from": "hook/b", "to": "hook/key"}]})
    assert stale(small.look()) == set()
    assert small.make().rendered == set()
    assert small.lock.entries["hook/key"] == before
    assert "hook/b" not in small.lock.entries
    assert small.files() == files
    assert small.write_data(renamed).make().rendered == set()  # the entry may go
    assert small.lock.entries["hook/key"] == before


def test_a_moved_scene_keeps_its_renders_and_their_seeds(small: Film) -> None:
    before, files = small.lock.entries, small.files()
    renamed = with_value(SMALL, "scenes/hook/id", "opening")
    small.write_data({**renamed, "moved": [{"from": "hook", "to": "opening"}]})
    assert small.make().rendered == set()
    assert small.lock.entries == {path.replace("hook", "opening"): entry for path, entry in before.items()}
    assert small.write_data(renamed).make().rendered == set()
    assert small.files() == files


def test_a_clip_moved_to_another_scene_and_edited_keeps_its_seed(small: Film) -> None:
    seed = small.lock.entries["hook/b"].takes[1].seed
    clip = get(SMALL, "scenes/hook/clips/b") | {"prompt": "The camera circles a key while snow falls on it."}
    data = without(SMALL, "scenes/hook/clips/b")
    data = with_value(data, "scenes/end/clips", [*get(data, "scenes/end/clips"), clip])
    data = with_value(data, "scenes/hook/narration", "5s")
    small.write_data({**data, "moved": [{"from": "hook/b", "to": "end/b"}]})
    assert small.make().rendered == {"end/b@1"}
    assert small.lock.entries["end/b"].takes[1].seed == seed
    assert set(small.lock.entries) == {"hook/a", "end/a", "end/b"}


def test_a_clip_that_reappears_under_another_id_is_suggested(small: Film) -> None:
    small.set("scenes/hook/clips/b/id", "key").set("scenes/end/id", "outro")
    session = small.session()
    outlook = session.plan(PlanOptions())
    assert moves(outlook, session.trace_of) == [("hook/b", "hook/key"), ("end", "outro")]
    small.set("scenes/hook/clips/key/prompt", "Something else turns in the dark.")
    session = small.session()
    assert moves(session.plan(PlanOptions()), session.trace_of) == [("end", "outro")]


def test_a_scene_under_another_id_is_suggested_as_one_and_parts_of_it_by_themselves(small: Film) -> None:
    small.set("scenes/hook/id", "opening")
    session = small.session()
    assert moves(session.plan(PlanOptions()), session.trace_of) == [("hook", "opening")]
    b = get(small.data, "scenes/opening/clips/b")
    small.write_data(without(small.data, "scenes/opening/clips/b"))
    small.write_data(with_value(small.data, "scenes/end/clips", [*get(small.data, "scenes/end/clips"), b]))
    small.set("scenes/opening/narration", "3s").set("scenes/end/narration", "6s")
    session = small.session()
    assert moves(session.plan(PlanOptions()), session.trace_of) == [("hook/a", "opening/a"), ("hook/b", "end/b")]


# --- seeds and takes


def test_a_derived_seed_is_kept_while_an_explicit_one_comes_and_goes(small: Film) -> None:
    derived = seed_for(7, "end", "a", 1)
    assert small.lock.entries["end/a"].takes[1].seed == derived
    before = small.files()
    assert small.set("scenes/end/clips/a/seed", 5).make().rendered == {"end/a@1"}
    assert small.lock.entries["end/a"].takes[1].seed == derived
    assert small.write_data({**SMALL, "seed": 8}).make().rendered == set()
    assert small.lock.entries["end/a"].takes[1].seed == derived
    assert small.files() == before


def test_a_clip_that_began_with_an_explicit_seed_derives_one_when_it_goes(film: Film) -> None:
    film.write_data(with_value(SMALL, "scenes/end/clips/a/seed", 5)).make()
    assert film.lock.entries["end/a"].takes[1].seed is None  # none was derived yet
    assert film.write_data({**SMALL, "seed": 8}).make().rendered == {"end/a@1"}
    assert film.lock.entries["end/a"].takes[1].seed == seed_for(8, "end", "a", 1)


def test_takes_that_come_and_go_are_rendered_once(small: Film) -> None:
    before = small.files()
    assert small.set("scenes/end/clips/a/takes", 3).make().rendered == {"end/a@2", "end/a@3"}
    assert small.files() == before  # the first is still the pick
    assert len({take.seed for take in small.lock.entries["end/a"].takes.values()}) == 3
    assert small.set("scenes/end/clips/a/takes", 1).make().rendered == set()
    assert set(small.lock.entries["end/a"].takes) == {1, 2, 3}
    assert small.make("end", "--takes", "3").rendered == set()


def test_a_picked_take_stays_in_the_cut_while_others_are_made(small: Film) -> None:
    small.set("scenes/end/clips/a/takes", 2).make()
    picked = with_pick(small.lock, "end/a", 2)
    write_lock(small.lock_file, picked)
    assert small.make().rendered == set()
    published = picked.entries["end/a"].takes[2].outputs["published"]
    assert small.files()["scene-1-a.mp4"] == small.session().store.cas.path(published).read_bytes()
    assert small.lock == picked


def test_the_picked_take_alone_is_made_where_one_take_is_asked_for(small: Film) -> None:
    small.make("end", "--takes", "2")
    write_lock(small.lock_file, with_pick(small.lock, "end/a", 2))
    assert stale(small.look()) == set()
    assert small.make().rendered == set()
    assert small.set("scenes/end/clips/a/prompt", "The camera sinks into a desk.").make().rendered == {"end/a@2"}
    published = small.lock.entries["end/a"].takes[2].outputs["published"]
    assert small.files()["scene-1-a.mp4"] == small.session().store.cas.path(published).read_bytes()


# --- stand-ins


def test_a_preview_touches_no_lock_and_replaces_no_render(small: Film) -> None:
    before, lock = small.files(), small.lock_file.read_bytes()
    assert small.make("--quality", "preview").rendered == set()  # the final renders are of this very text
    assert (small.files(), small.lock_file.read_bytes()) == (before, lock)
    assert small.make().rendered == set()


def test_a_preview_does_not_carry_out_moves(small: Film) -> None:
    lock = small.lock_file.read_bytes()
    data = with_value(SMALL, "scenes/hook/id", "opening") | {"moved": [{"from": "hook", "to": "opening"}]}
    small.write_data(data).make("--quality", "preview")
    assert small.lock_file.read_bytes() == lock


def test_a_preview_stands_where_nothing_better_does_until_it_is_rendered(film: Film) -> None:
    film.write_data(SMALL).make("--quality", "preview")
    previews = film.files()
    assert not film.lock_file.exists()
    assert len(previews) == 3
    assert film.make().rendered == ALL_SMALL
    assert all(film.files()[name] != previews[name] for name in previews)


def test_an_animatic_touches_no_lock_and_replaces_no_render(film: Film) -> None:
    assert film.write_data(SMALL).make("--animatic").rendered == ALL_SMALL
    assert not film.lock_file.exists()
    slates = film.files()
    assert film.make().rendered == ALL_SMALL
    renders, lock = film.files(), film.lock_file.read_bytes()
    assert all(renders[name] != slates[name] for name in slates)
    assert film.make("--animatic").rendered == set()
    film.set("scenes/end/clips/a/prompt", "The camera sinks into a desk.").make("--animatic")
    assert (film.files(), film.lock_file.read_bytes()) == (renders, lock)


def test_an_animatic_fills_the_place_of_a_new_clip_alone(small: Film) -> None:
    before = small.files()
    small.write_data({**SMALL, "scenes": [*SMALL["scenes"], NEW_SCENE]})
    assert small.make("--animatic").rendered == {"new/a@1"}
    after = small.files()
    assert {name: after[name] for name in before} == before
    timeline = json.loads((small.folder / "public/scenes/timeline.json").read_text())
    assert [clip["source"] for scene in timeline["scenes"] for clip in scene["clips"]] == [
        *["comfyui"] * 3,
        "animatic",
    ]
