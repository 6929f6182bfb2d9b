"""Keys name the model: another model re-renders only its clips, and upgrades cost nothing.

`auto` is decided once, by the files of the servers, and recorded in the lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes.comfyui import MODELS_LTX2, MODELS_LTX23, FakeComfy
from harness.command import Ran
from harness.data import Data
from harness.film import Film, prompt, stale
from harness.media import write_guide, write_picture, write_sound

from ltxflow.core.errors import LtxflowError
from ltxflow.lock.file import read_lock
from ltxflow.lock.merge import merge
from ltxflow.lock.model import Lock, with_choices
from ltxflow.lock.text import parse_lock
from ltxflow.models.profile import Profile
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps import clip as clip_step
from ltxflow.steps import reference as reference_step

PIN = "5c1f0d0b6f1c0f6f2b5a7c3e9d1a4b8c7e6f5d4c3b2a19080706050403020100"
GUIDE = {"video": "refs/guide.mp4", "mode": "canny", "lora": "guide.safetensors"}
OWN = """{# ltxflow-template: 1
title: Own workflow
variables: [prompt, seed, width, height, frames, fps, prefix]
#}
{
  "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mine.safetensors"}},
  "5": {"class_type": "EmptyLatentImage", "inputs": {"width": {{ width }}, "height": {{ height }},
        "batch_size": {{ frames }}}},
  "2": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
  "3": {"class_type": "CreateVideo", "inputs": {"images": ["2", 0], "fps": {{ fps | float }}}},
  "4": {"class_type": "SaveVideo", "inputs": {"video": ["3", 0], "filename_prefix": {{ prefix }}, "format": "mp4",
        "codec": "h264"}, "_meta": {"title": "video"}}
}
"""


def clip(id: str, **settings: Any) -> Data:
    return {"id": id, "prompt": prompt(id), "length": "49f", **settings}


EVERYTHING: Data = {
    "ltxflow": 1,
    "id": "kinds",
    "size": "256x256",
    "fps": 24,
    "seed": 7,
    "quality": "full",  # in one stage nothing but the checkpoint's file distinguishes these models
    "references": {"hero": {"generate": {"prompt": "A brass lock on an oak door."}}},
    "scenes": [
        {
            "id": "s",
            "narration": {"file": "narration/s.wav"},
            "crossfade": "0f",
            "clips": [
                clip("t2v", stages=1),
                clip("i2v", reference="refs/a.png"),
                clip("flf2v", reference="refs/a.png", last_frame="refs/b.png"),
                clip("extend", extends="t2v", stages=1),
                clip("control", control=GUIDE),
                clip("keyframes", keyframes=[{"at": "12f", "image": "refs/b.png"}]),
                clip("still", reference="hero"),
                clip("frame", reference={"frame_of": "t2v"}),
                clip("own", template="own"),
            ],
        }
    ],
}
MADE = ["t2v", "i2v", "flf2v", "extend", "control", "keyframes", "still", "frame"]


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Return a rendered film with every kind of clip: eight by the model, one by a custom workflow."""
    project = Film.at(tmp_path).write_data(EVERYTHING)
    write_picture(project.folder / "refs/a.png", (200, 30, 30))
    write_picture(project.folder / "refs/b.png", (30, 30, 200))
    write_guide(project.folder / "refs/guide.mp4", 60)
    write_sound(project.folder / "narration/s.wav", 17.0)
    (project.folder / "templates").mkdir()
    (project.folder / "templates/own.json.j2").write_text(OWN)
    project.trust()
    assert project.make().rendered == {*(f"s/{id}@1" for id in [*MADE, "own"]), "hero@1"}
    return project


def other_profile(project: Film, name: str, text: str) -> None:
    folder = project.folder / "templates" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profile.yaml").write_text(f"ltxflow-profile: 1\nname: {name}\n{text}")


# --- the key says which model


def test_every_file_in_keys_names_the_model(film: Film) -> None:
    statuses = film.session().plan(PlanOptions()).statuses
    for id in MADE:
        action = json.dumps(statuses[f"clip:s/{id}@1"].action and statuses[f"clip:s/{id}@1"].action.body)  # type: ignore[union-attr]
        assert '"ltx-2/19b:checkpoint@fp8"' in action, id
    own = statuses["clip:s/own@1"].action
    assert own is not None
    assert own.version == "1", "what names no file of the model is keyed as it was"


@pytest.mark.parametrize("profile", ["ltx2.3-22b", "ltx2.3-22b-distilled", "ltx2.5", "ltx2.5-dev"])
def test_another_model_re_renders_only_its_clips(film: Film, profile: str) -> None:
    if profile in ("ltx2.3-22b-distilled", "ltx2.5"):  # these have no full quality
        film.set("quality", "distilled").make()
    film.set("profile", profile)
    outlook = film.look()
    again = stale(outlook)
    assert "s/own@1" not in again
    assert {*(f"s/{id}@1" for id in MADE), "hero@1"} <= again
    for change in outlook.of_kind("change"):
        assert "profile" in {reason.field for reason in change.reasons}, change.target
    assert film.look(mode="animatic").mode == "animatic"
    built = film.make("--yes")
    assert built.rendered == {*(f"s/{id}@1" for id in MADE), "hero@1"}
    assert film.set("profile", "ltx2-19b").make("--yes").rendered == set(), "the first ones are still there"


def test_one_stage_of_full_changes_the_key_too(film: Film) -> None:
    """A past fault: "1 clip unchanged", and the timeline named the wrong model."""
    film.set("profile", "ltx2.3-22b")
    assert "s/t2v@1" in stale(film.look("s/t2v"))


def test_keys_of_slates_and_sounds_name_no_model(film: Film) -> None:
    before = {t: s.key for t, s in film.look(mode="animatic").statuses.items()}
    film.set("profile", "ltx2.5").set("quality", "distilled")
    assert {t: s.key for t, s in film.look(mode="animatic").statuses.items()} == before


# --- files of one's own


CHECKPOINT = "models:\n  checkpoint: {weights: {fp8: [%s]}, source: mine}\n"


def test_a_profile_with_another_checkpoint_is_another_model(film: Film) -> None:
    other_profile(film, "mine", "extends: ltx2-19b\n" + CHECKPOINT % "mine.safetensors")
    film.set("profile", "mine").trust()
    assert stale(film.look()) >= {f"s/{id}@1" for id in MADE}
    (node,) = film.look("s/t2v").plan.nodes.values()
    assert "ltx-2/19b:checkpoint@fp8:mine.safetensors" in json.dumps(clip_step.action(node, {}).body)


def test_a_copy_of_a_profile_with_another_checkpoint_is_another_model(film: Film) -> None:
    from ltxflow.models.load import templates_folder

    text = (templates_folder() / "ltx2-19b/profile.yaml").read_text()
    copied = text.split("name: ltx2-19b\n")[1].replace("ltx-2-19b-dev-fp8", "my-19b")
    other_profile(film, "copy", f"templates: ltx2-19b\n{copied}")
    film.set("profile", "copy").trust()
    assert "s/t2v@1" in stale(film.look("s/t2v"))


@pytest.mark.parametrize(
    "names",
    [
        "ltx-2-19b-dev-fp8.safetensors",
        "ltx-2-19b-dev-fp8.safetensors, also.safetensors",
        "LTX/ltx-2-19b-dev-fp8.safetensors",
    ],
)
def test_a_profile_under_another_name_or_with_more_names_of_a_file_is_the_same_model(film: Film, names: str) -> None:
    other_profile(film, "mine", "extends: ltx2-19b\ntitle: My film's model\n" + CHECKPOINT % names)
    film.set("profile", "mine").trust()
    assert stale(film.look()) == set()


def test_a_profile_without_a_model_is_a_separate_model(film: Film) -> None:
    other_profile(film, "mine", "extends: ltx2-19b\nmodel: null\n")
    film.set("profile", "mine").trust()
    assert "s/t2v@1" in stale(film.look("s/t2v"))


def test_a_pinned_file_is_another_model(film: Film) -> None:
    film.set("weights", {"checkpoint": {"sha256": PIN}})
    outlook = film.look()
    assert stale(outlook) >= {f"s/{id}@1" for id in MADE}
    (change,) = [change for change in outlook.of_kind("change") if change.clip == "s/t2v"]
    assert [reason.field for reason in change.reasons] == ["pins"]
    film.set("weights", {"checkpoint": {"precision": "fp8", "sha256": PIN}})
    assert film.look().statuses["clip:s/t2v@1"].key == outlook.statuses["clip:s/t2v@1"].key
    film.set("weights", {"temporal_upscaler": {"sha256": PIN}})  # no clip uses it
    assert stale(film.look()) == set()


@pytest.mark.parametrize(
    ("profile", "weights", "is_again"),
    [
        ("ltx2.5", {"diffusion_model": "int8-convrot"}, True),
        ("ltx2.5", {"video_vae": "conv-bf16"}, True),
        ("ltx2.5", {"audio_vae": "bf16", "spatial_upscaler": "bf16", "depth_estimator": "fp16"}, False),
        ("ltx2.3-22b", {"distilled_lora": "rank-111"}, True),
        ("ltx2.3-22b", {"temporal_upscaler": "bf16", "pose_estimator": "fp16"}, False),
    ],
)
def test_each_precision_is_another_file(film: Film, profile: str, weights: Mapping[str, str], is_again: bool) -> None:
    film.set("profile", profile).set("quality", "distilled")
    before = film.look("s/i2v").statuses["clip:s/i2v@1"].key
    after = film.set("weights", weights).look("s/i2v").statuses["clip:s/i2v@1"].key
    assert (after != before) is is_again


def test_one_precision_for_all_applies_to_files_that_have_it(film: Film) -> None:
    film.set("profile", "ltx2.3-22b").set("weights", "fp8")
    (node,) = film.look("s/t2v").plan.nodes.values()
    assert {role: node.spec.weights[role] for role in ("checkpoint", "text_encoder", "distilled_lora")} == {
        "checkpoint": "fp8",
        "text_encoder": "fp8",
        "distilled_lora": "bf16",
    }
    with pytest.raises(LtxflowError, match='no "nvfp4" weights of the text_encoder'):
        film.set("weights", "nvfp4").look()


# --- renders made before


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Return a film that was rendered when keys did not name the model."""
    project = Film.at(tmp_path).write_data(EVERYTHING)
    write_picture(project.folder / "refs/a.png", (200, 30, 30))
    write_picture(project.folder / "refs/b.png", (30, 30, 200))
    write_guide(project.folder / "refs/guide.mp4", 60)
    write_sound(project.folder / "narration/s.wav", 17.0)
    (project.folder / "templates").mkdir()
    (project.folder / "templates/own.json.j2").write_text(OWN)
    project.trust()
    with monkeypatch.context() as then:
        then.setattr(clip_step, "VERSION", "1")
        then.setattr(reference_step, "VERSION", "1")
        then.setattr(Profile, "token", lambda self, role, precision: f"{role}@{precision}")
        then.setattr(clip_step, "made_by", lambda node, action: "")
        then.setattr(reference_step, "made_by", lambda node, action: "")
        assert len(project.make().rendered) == len(MADE) + 2
    return project


def run(project: Film, *argv: str) -> Ran:
    with pytest.MonkeyPatch.context() as patch:
        return project.move_in(patch).run(*argv)


def test_a_plan_describes_the_upgrade(before: Film) -> None:
    upgrades = {each["cause"]: each for each in run(before, "plan", "--json").data["upgrades"]}
    clips, stills = (
        upgrades["ltxflow now keys a clip by its model (version 1 → 2)"],
        upgrades["ltxflow now keys a still by its model (version 1 → 2)"],
    )
    assert {*clips["targets"]} == {f"clip:s/{id}@1" for id in MADE if id not in ("extend", "still", "frame")}
    assert {*clips["waiting"]} == {"clip:s/extend@1", "clip:s/frame@1"}
    assert (stills["targets"], stills["waiting"]) == (["reference:hero@1"], ["clip:s/still@1"])
    shown = run(before, "plan").out
    assert "! ltxflow now keys a clip by its model (version 1 → 2): 5 clips would be rendered again" in shown
    assert "keep the existing results with: ltxflow accept --all-upgrades" in shown
    assert "s/own" not in stale(before.look())


def test_accepting_it_keeps_everything(before: Film) -> None:
    dry = run(before, "accept", "--all-upgrades", "--dry-run", "--json").data
    assert len(dry["named"]) == len(MADE) + 1
    accepted = run(before, "accept", "--all-upgrades", "--json").data["accepted"]
    assert len(accepted) == len(MADE) + 1
    assert stale(before.look()) == set()
    assert run(before, "plan", "--json").data["upgrades"] == []
    assert before.make().rendered == set()


def test_a_clip_edited_as_well_is_not_an_upgrade(before: Film) -> None:
    before.set("profile", "ltx2.3-22b")
    assert run(before, "plan", "--json").data["upgrades"] == []


def test_the_notice_names_the_model_that_made_each_clip(film: Film) -> None:
    notice = film.folder / "public/AI-DISCLOSURE.txt"
    timeline = film.folder / "public/scenes/timeline.json"
    words = " ".join(notice.read_text().split())
    assert "s/t2v, s/i2v, s/flf2v, s/extend, s/control, s/keyframes, s/still, s/frame with LTX-2 19B" in words
    assert "s/own with mine.safetensors" in words
    assert run(film, "accept", "s/i2v").code == 0  # nothing to accept
    film.set("profile", "ltx2.3-22b").make("s/t2v", "--yes")
    words = " ".join(notice.read_text().split())
    assert "s/t2v with LTX-2.3 22B" in words
    assert "s/i2v, s/flf2v" in words
    assert json.loads(timeline.read_text())["generator"]["model"] == "LTX-2.3 22B, LTX-2 19B, mine.safetensors"


def test_a_clip_that_was_accepted_for_another_model_is_still_of_the_one_that_made_it(before: Film) -> None:
    before.set("profile", "ltx2.3-22b")
    assert run(before, "accept", "s/t2v").code == 0
    before.make("s/t2v")
    words = " ".join((before.folder / "public/AI-DISCLOSURE.txt").read_text().split())
    assert "generated with LTX-2 19B, a generative model" in words


# --- auto


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Return a folder with a film of two clips, to be rendered by fake servers."""
    return Film.at(tmp_path).move_in(monkeypatch)


def write(film: Film, profile: str = "ltx2-19b", **top: Any) -> Film:
    film.folder.mkdir(parents=True, exist_ok=True)
    clips = [{"id": id, "prompt": prompt(f"s-{id}"), "length": "9f"} for id in "ab"]
    data = {"ltxflow": 1, "id": "two", "size": "128x128", "fps": 24, "profile": profile, **top}
    data["scenes"] = [{"id": "s", "crossfade": "0f", "clips": clips}]
    film.file.write_text(yaml.safe_dump(data, sort_keys=False))
    return film


def lock_of(film: Film) -> Lock:
    return read_lock(film.folder / "ltxflow.lock")


def notices(ran: Ran) -> str:
    return "\n".join(event["message"] for event in ran.events("notice"))


def having(base: Mapping[str, list[str]], **folders: list[str]) -> dict[str, list[str]]:
    return {**base, **folders}


FP4 = ["gemma_3_12B_it_fp4_mixed.safetensors"]
RANK_111 = ["ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors"]


def test_the_first_choice_equals_the_default_without_auto(small: Film) -> None:
    with FakeComfy() as server:
        ran = write(small).run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
    assert lock_of(small).choices == {"ltx-2/19b": {"weights": {"checkpoint": "fp8", "text_encoder": "bf16"}}}
    assert "text_encoder: bf16 (gemma_3_12B_it.safetensors), for this film from now on" in notices(ran)


def test_files_of_the_server_are_chosen_and_recorded(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4)) as server:
        ran = write(small).run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
    assert lock_of(small).choices["ltx-2/19b"]["weights"]["text_encoder"] == "fp4"
    with FakeComfy() as better:  # has bf16, too late for this film
        small.edit("length: 9f", "length: 17f")
        ran = small.run("build", "--json", "--server", better.url)
        assert ran.code == 1
        assert 'no \\"gemma_3_12B_it_fp4_mixed.safetensors\\" in text_encoders' in ran.out
        assert not better.stats()["accepted"]
    assert lock_of(small).choices["ltx-2/19b"]["weights"]["text_encoder"] == "fp4"


def test_the_distilled_lora_of_the_official_templates_is_accepted(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX23, loras=RANK_111)) as server:
        ran = write(small, "ltx2.3-22b").run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
    assert lock_of(small).choices["ltx-2.3/22b"]["weights"]["distilled_lora"] == "rank-111"


def test_the_best_complete_set_of_one_server_is_chosen(small: Film) -> None:
    poor = having(MODELS_LTX2, text_encoders=FP4)
    with FakeComfy(models=poor) as one, FakeComfy() as two:
        ran = write(small).run("build", "--json", "--server", one.url, "--server", two.url)
        assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
        assert len(two.stats()["accepted"]) == 2
        assert not one.stats()["accepted"]
    assert lock_of(small).choices["ltx-2/19b"]["weights"]["text_encoder"] == "bf16"


def test_a_plan_shows_its_assumptions_until_decided(small: Film) -> None:
    out = write(small).run("plan").out
    assert "assumes checkpoint: fp8, text_encoder: bf16" in out
    assert small.run("plan", "--json").data["assumed"] == {"checkpoint": "fp8", "text_encoder": "bf16"}
    with FakeComfy() as server:
        small.run("build", "--server", server.url)
    assert "assumes" not in small.edit("length: 9f", "length: 17f").run("plan").out


def test_settings_of_the_film_override_choices(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4)) as server:
        write(small).run("build", "--server", server.url)
    write(small, weights={"text_encoder": "bf16"})
    assert stale(small.session().plan(PlanOptions())) == {"s/a@1", "s/b@1"}
    write(small)
    assert stale(small.session().plan(PlanOptions())) == set()


def test_a_clone_without_store_or_server_uses_the_choices(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4)) as server:
        write(small).run("build", "--server", server.url)
    clone = Film(small.folder.parent / "clone", small.folder.parent / "nowhere")
    clone.folder.mkdir()
    for name in ("project.yaml", "ltxflow.lock"):
        (clone.folder / name).write_bytes((small.folder / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXFLOW_STORE", str(clone.store))
        assert clone.run("check", "--locked").code == 0


def test_an_earlier_film_keeps_the_first_choice(small: Film) -> None:
    with FakeComfy() as server:
        assert (
            write(small, weights={"checkpoint": "fp8", "text_encoder": "bf16"})
            .run("build", "--server", server.url)
            .code
            == 0
        )
    assert lock_of(small).choices == {}
    write(small)
    assert stale(small.session().plan(PlanOptions())) == set()
    small.edit("length: 9f", "length: 17f")
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=[*FP4, "gemma_3_12B_it.safetensors"])) as server:
        ran = small.run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 1), ran.out
    assert "as this film was made before" in notices(ran)
    assert lock_of(small).choices["ltx-2/19b"]["weights"] == {"checkpoint": "fp8", "text_encoder": "bf16"}


def test_a_lost_lock_is_restored_with_the_choices(small: Film) -> None:
    with FakeComfy(models=MODELS_LTX2) as server:
        write(small).run("build", "--server", server.url)
        before = lock_of(small)
        assert before.choices
        (small.folder / "ltxflow.lock").unlink()
        assert small.run("build", "--json", "--server", server.url).data["totals"]["rendered"] == 0
    assert lock_of(small) == before


def test_another_profile_has_separate_choices(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4)) as server:
        write(small).run("build", "--server", server.url)
    with FakeComfy(models=having(MODELS_LTX23, loras=RANK_111)) as server:
        ran = write(small, "ltx2.3-22b").run("build", "--json", "--server", server.url)
    assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
    assert set(lock_of(small).choices) == {"ltx-2/19b", "ltx-2.3/22b"}
    write(small)
    assert stale(small.session().plan(PlanOptions())) == set(), "what was chosen for the first one is still there"


@pytest.mark.parametrize(
    ("lacks", "quality", "stages"),
    [
        ((), "distilled", 2),
        (("latent_upscale_models",), "distilled", 1),
        (("latent_upscale_models", "loras"), "full", 1),
    ],
)
def test_quality_and_stages_follow_the_files_of_the_server(
    small: Film, lacks: tuple[str, ...], quality: str, stages: int
) -> None:
    with FakeComfy(models=having(MODELS_LTX2, **{folder: [] for folder in lacks})) as server:
        ran = write(small, quality="auto", defaults={"clip": {"stages": "auto"}}).run(
            "build", "--json", "--server", server.url
        )
    assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
    assert f"quality: {quality}, for this film from now on" in notices(ran)
    chosen = lock_of(small).choices["ltx-2/19b"]
    assert (chosen["quality"], chosen["stages"]) == (quality, stages)
    (clip, _) = small.session().project.clips
    assert (clip.get("quality"), clip.get("stages")) == (quality, stages)
    assert stale(small.session().plan(PlanOptions())) == set()


def test_missing_files_are_named_and_nothing_is_recorded(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4, latent_upscale_models=[])) as server:
        ran = write(small).run("build", "--json", "--server", server.url)
    assert ran.code == 1
    assert 'no \\"ltx-2-spatial-upscaler-x2-1.0.safetensors\\" in latent_upscale_models' in ran.out
    assert "gemma_3_12B_it.safetensors" not in ran.out, "what it has of the text encoder will do"
    assert not (small.folder / "ltxflow.lock").exists()


def test_stand_ins_record_no_choices(small: Film) -> None:
    with FakeComfy(models=having(MODELS_LTX2, text_encoders=FP4)) as server:
        ran = write(small).run("build", "--json", "--quality", "preview", "--server", server.url)
        assert (ran.code, ran.totals["rendered"]) == (0, 2), ran.out
        assert not (small.folder / "ltxflow.lock").exists()
        assert small.run("build", "--animatic").code == 0
    assert not (small.folder / "ltxflow.lock").exists()


def test_no_server_is_contacted_where_nothing_is_rendered(small: Film) -> None:
    with FakeComfy() as server:
        write(small).run("build", "--server", server.url)
    assert small.run("build", "--server", "http://127.0.0.1:9").code == 0


# --- the lock


LINE = 'model:ltx-2/19b: {"weights": {"checkpoint": "fp8"}, "quality": "full", "stages": 1}\n'


def test_choices_are_a_block_of_the_lock() -> None:
    from ltxflow.lock.text import lock_text

    lock = parse_lock(f"ltxflow-lock: 1\n{LINE}", "ltxflow.lock")
    assert lock.choices == {"ltx-2/19b": {"weights": {"checkpoint": "fp8"}, "quality": "full", "stages": 1}}
    block = "model:ltx-2/19b:\n  weights:\n    checkpoint: fp8\n  quality: full\n  stages: 1\n"
    assert lock_text(lock).endswith(f"\n{block}")
    assert lock_text(parse_lock(lock_text(lock), "x")) == lock_text(lock)
    more = with_choices(lock, "ltx-2/19b", {"weights": {"text_encoder": "fp4"}})
    assert more.choices["ltx-2/19b"]["weights"] == {"checkpoint": "fp8", "text_encoder": "fp4"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('model:ltx-2/19b: {"weights": {"checkpoint": 8}}', '"checkpoint" is not text'),
        ('model:ltx-2/19b: {"stages": 3}', '"stages" is 3'),
        ('model:ltx-2/19b: {"quality": 1}', '"quality" is not text'),
        ('model:ltx-2/19b: {"pick": 1}', 'a model has no "pick"'),
        (LINE + LINE, "occurs twice"),
    ],
)
def test_a_line_that_is_damaged_is_an_error(line: str, message: str) -> None:
    with pytest.raises(LtxflowError, match=message):
        parse_lock(f"ltxflow-lock: 1\n{line}\n", "ltxflow.lock")


def test_a_clip_may_be_called_like_a_model() -> None:
    digest = "a" * 64
    take = f'{{"pick": 1, "takes": {{"1": {{"key": "{digest}", "seed": 1, "digest": "{digest}", "frames": 9}}}}}}'
    lock = parse_lock(f"ltxflow-lock: 1\nltx-2/19b: {take}\n{LINE}", "x")
    assert set(lock.entries) == set(lock.choices) == {"ltx-2/19b"}


def chosen(**weights: str) -> Lock:
    return with_choices(Lock(), "ltx-2/19b", {"weights": weights} if weights else {})


def test_choices_of_two_branches_are_united_and_a_clash_is_shown() -> None:
    merged = merge(Lock(), chosen(checkpoint="fp8"), chosen(text_encoder="fp4"))
    assert merged.lock.choices == {"ltx-2/19b": {"weights": {"checkpoint": "fp8", "text_encoder": "fp4"}}}
    assert merged.conflicts == ()
    merged = merge(chosen(checkpoint="fp8"), chosen(checkpoint="fp8"), chosen(checkpoint="bf16"))
    assert merged.lock.choices["ltx-2/19b"]["weights"] == {"checkpoint": "bf16"}
    for taken_back in ((chosen(), chosen(checkpoint="fp8")), (chosen(checkpoint="fp8"), chosen())):
        assert merge(chosen(checkpoint="fp8"), *taken_back).lock.choices == {}
    merged = merge(Lock(), chosen(checkpoint="fp8"), chosen(checkpoint="bf16"))
    assert merged.lock.choices["ltx-2/19b"]["weights"] == {"checkpoint": "fp8"}
    (clash,) = merged.conflicts
    assert clash.problem.message == (
        "model:ltx-2/19b: here checkpoint fp8, there checkpoint bf16; checkpoint fp8 is kept"
    )
    assert clash.problem.hint == "agree on one; to take theirs: write  weights: {checkpoint: bf16}"
