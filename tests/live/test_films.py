"""A film of every kind of clip, built on a real ComfyUI with each of our models: exact in size and length."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml
from harness.film import Film, prompt
from harness.live import Live
from harness.media import canned
from PIL import Image

from ltxflow.farm.capabilities import files_of, missing_from
from ltxflow.media.image import read_image
from ltxflow.media.probe import probe_mp4
from ltxflow.models.load import shipped_profiles
from ltxflow.models.profile import Profile, matching_files

PROFILES = {profile.name: profile for profile in shipped_profiles()}
SEED = random.randrange(2**31)  # a server that ran this before would hand out what it has
MADE = {"t2v": 17, "i2v": 17, "flf2v": 17, "keyframes": 17, "extend": 25, "still": 17, "doubled": 17}


def _missing(live: Live, profile: Profile) -> list[str]:
    """What the server lacks for a film of this model; which precision it has does not matter."""
    holding = live.ask(lambda client: files_of(client, [profile]))
    upscaler = profile.models["temporal_upscaler"]
    has = any(upscaler.find(each, holding.listed(upscaler.folder)) for each in upscaler.order)
    return missing_from(holding, profile) + (
        [] if has else [f"{upscaler.folder}/{upscaler.weights[upscaler.order[0]][0]}"]
    )


def _write(film: Film, live: Live, profile: str, size: tuple[int, int], *ids: str) -> None:
    """A film of these clips, or of all but the guided one; its rate is even, since one of them doubles half of it."""
    (film.folder / "refs").mkdir(exist_ok=True)
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 30, 200))):
        Image.new("RGB", size, colour).save(film.folder / f"refs/{name}.png")
    (film.folder / "refs/guide.mp4").write_bytes(canned(25, size, live.fps, "guide"))

    def clip(id: str, **settings: Any) -> dict[str, Any]:
        return {"id": id, "prompt": prompt(id), "length": f"{MADE.get(id, 17)}f", **settings}

    clips = [
        clip("t2v"),
        clip("i2v", reference="refs/a.png"),
        clip("flf2v", reference="refs/a.png", last_frame="refs/b.png"),
        clip("keyframes", keyframes=[{"at": "0f", "image": "refs/a.png"}, {"at": "end", "image": "refs/b.png"}]),
        clip("extend", extends={"clip": "t2v", "frames": 9}),
        clip("control", control={"video": "refs/guide.mp4", "mode": "canny"}),
        clip("still", reference="hero"),
        clip("doubled", temporal_upscale=True, stages=1),
    ]
    data = {
        "ltxflow": 1,
        "id": "kinds",
        "size": f"{size[0]}x{size[1]}",
        "fps": live.fps // 2 * 2,  # half of it is sampled where frames are doubled
        "seed": SEED,
        "profile": profile,
        "references": {"hero": {"generate": {"prompt": "A brass lock on an oak door, studio light, close view."}}},
        "scenes": [{"id": "s", "crossfade": "0f", "clips": [each for each in clips if each["id"] in (ids or MADE)]}],
    }
    film.file.write_text(yaml.safe_dump(data, sort_keys=False))


@pytest.mark.live
@pytest.mark.parametrize("name", PROFILES)
def test_a_film_of_every_kind_comes_out_as_it_is_written(name: str, live: Live, film: Film) -> None:
    profile = PROFILES[name]
    if missing := _missing(live, profile):
        pytest.skip(f"the server has no {', '.join(missing)}")
    size = (live.size[0] - 16, live.size[1] - 16)  # cut out of what is sampled
    _write(film, live, name, size)
    ran = film.run("build", "--server", live.url, "--json", "--yes")
    assert ran.code == 0, ran.err
    changes = film.run("plan", "--json").data["changes"]
    assert {change["kind"] for change in changes} == {"unchanged"}
    files = {change["target"].removeprefix("clip:s/").removesuffix("@1"): change.get("file") for change in changes}
    facts = {id: probe_mp4(film.scenes / files[id]) for id in MADE}
    found = {id: (each.frames, int(each.fps), (each.width, each.height)) for id, each in facts.items()}
    again = {"extend": 9}  # frames of what it continues are cut off
    assert found == {id: (frames - again.get(id, 0), live.fps // 2 * 2, size) for id, frames in MADE.items()}
    assert all(each.has_audio for each in facts.values())
    hero = read_image(film.folder / ".ltxflow/references/hero@1.png")
    assert (hero.width, hero.height) == size


@pytest.mark.live
@pytest.mark.parametrize("name", PROFILES)
def test_a_clip_that_a_video_guides_comes_out_as_it_is_written(name: str, live: Live, film: Film) -> None:
    missing, lora = _missing(live, PROFILES[name]), PROFILES[name].control_loras["canny"]
    if not matching_files([lora], live.ask(lambda client: client.models("loras"))):
        missing.append(f"loras/{lora}")
    if missing:
        pytest.skip(f"the server has no {', '.join(missing)}")
    size = (live.size[0] - 16, live.size[1] - 16)
    _write(film, live, name, size, "control")
    ran = film.run("build", "--server", live.url, "--json", "--yes")
    assert ran.code == 0, ran.err
    (change,) = (each for each in film.run("plan", "--json").data["changes"] if each["target"] == "clip:s/control@1")
    facts = probe_mp4(film.scenes / change["file"])
    assert (facts.frames, facts.width, facts.height) == (17, *size)


@pytest.mark.live
def test_going_from_one_model_to_another_renders_the_film_again(live: Live, film: Film) -> None:
    """On the server, too: nothing that one model made is taken for what another would make."""
    names = [name for name, profile in PROFILES.items() if not _missing(live, profile)]
    if len(names) < 2:
        pytest.skip("the server has not two of our models")
    for name in names:
        _write(film, live, name, live.size)
        ran = film.run("build", "s/t2v", "--server", live.url, "--json", "--yes")
        assert (ran.code, ran.data["totals"]["rendered"]) == (0, 1)
