"""Promises of `ltxflow doctor`: every finding has a name, a level and a next step; nothing private is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import MODELS_LTX2, FakeComfy
from harness.command import Ran, run
from harness.film import Film, prompt

from ltxflow.cli import diagnostics
from ltxflow.cli.diagnostics import Diagnostic, ServerReport, server_findings, without_home
from ltxflow.comfy import discovery
from ltxflow.comfy.discovery import Server, ServerAddress
from ltxflow.comfy.signatures import recorded_info, versions
from ltxflow.media import text_layout


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server but those a test names, whatever runs on this machine; a config of its own."""
    monkeypatch.setattr(discovery, "LOOPBACK_PORTS", (9,))
    monkeypatch.setattr(discovery, "read_gateway", lambda: None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def comfy() -> Iterator[FakeComfy]:
    with FakeComfy() as server:
        yield server


def found(ran: Ran, name: str, level: str = "") -> list[dict[str, Any]]:
    return [f for f in ran.data["findings"] if f["name"] == name and level in ("", f["level"])]


def doctor(film: Film, *options: str) -> Ran:
    return film.run("doctor", "--json", *options)


# --- a machine in order


def test_a_machine_in_order(film: Film, comfy: FakeComfy) -> None:
    ran = doctor(film, "--server", comfy.url)
    assert ran.code == 0, ran.data
    assert ran.data["counts"]["error"] == 0
    names = {f["name"] for f in ran.data["findings"]}
    assert names >= {
        *("python", "libraries", "media", "store", "store.space", "project", "project.own", "project.output"),
        *("servers", "server.reachable", "server.version", "server.memory", "server.queue", "server.jobs"),
        *("server.clock", "server.models", "server.nodes"),
    }
    assert {frozenset(f) for f in ran.data["findings"]} == {frozenset(["name", "level", "where", "message", "hint"])}


@pytest.mark.parametrize("version", versions())
def test_a_server_that_works_is_no_complaint_whatever_its_version(film: Film, version: str) -> None:
    with FakeComfy(version=version) as server:
        ran = doctor(film, "--server", server.url)
    assert ran.code == 0
    assert [f for f in ran.data["findings"] if f["level"] != "ok" and f["where"]] == []
    (told,) = found(ran, "server.nodes", "ok")
    assert told["message"].startswith("has all ")


def test_two_files_that_a_name_may_mean_are_one_warning(film: Film) -> None:
    film.edit("scenes:", "defaults: { clip: { loras: [style.safetensors] } }\nscenes:")
    with FakeComfy(
        models={**MODELS_LTX2, "loras": [*MODELS_LTX2["loras"], "a/style.safetensors", "b/style.safetensors"]}
    ) as server:
        ran = doctor(film, "--server", server.url)
    assert ran.code == 0
    (told,) = found(ran, "server.models", "warning")
    assert '"style.safetensors" in loras matches "a/style.safetensors" and "b/style.safetensors"' in told["message"]
    assert told["hint"] == 'name one of them: "a/style.safetensors"'


def test_letters_that_cannot_be_drawn_here_are_told_where_a_film_has_some(
    film: Film, comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_layout, "can_shape", lambda: False)
    assert not found(doctor(film, "--server", comfy.url), "project.letters")
    film.edit(prompt("hook-a"), "باب خزنة قديم")
    (told,) = found(doctor(film, "--server", comfy.url), "project.letters", "warning")
    assert "run from right to left cannot be drawn on this machine" in told["message"]
    assert told["hint"].startswith("apt install libfribidi0; needed for slates and burnt-in captions")


def test_every_complaint_has_a_next_step(film: Film, comfy: FakeComfy) -> None:
    film.edit("scenes:", "defaults: { clip: { loras: [nowhere.safetensors] } }\nscenes:")
    ran = doctor(film, "--server", comfy.url, "--server", "http://127.0.0.1:9")
    bad = [f for f in ran.data["findings"] if f["level"] != "ok"]
    assert len(bad) >= 2
    assert all(f["hint"] for f in bad)


def test_for_people_it_is_a_line_each_and_a_sum(film: Film, comfy: FakeComfy) -> None:
    ran = film.run("doctor", "--server", comfy.url)
    assert ran.code == 0
    assert f"✓ {comfy.url.removeprefix('http://')}  ComfyUI 0.27.0" in ran.out
    assert ran.out.splitlines()[-1] == "no problems"
    assert "ComfyUI 0.27.0" not in film.run("doctor", "-q", "--server", comfy.url).out


# --- without servers, without a project


def test_people_without_a_server_are_well(film: Film) -> None:
    ran = doctor(film)
    assert ran.code == 0
    assert any(f["message"] == "no server: animatic only" for f in found(ran, "servers"))
    assert "--animatic" in found(ran, "servers")[-1]["hint"]


def test_a_server_that_was_asked_for_and_is_away_is_exit_code_4(film: Film) -> None:
    ran = doctor(film, "--server", "http://127.0.0.1:9")
    assert ran.code == 4
    assert found(ran, "server.reachable", "error")


def test_a_configured_server_that_is_away_is_an_error(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_URL", "http://127.0.0.1:9")
    assert doctor(film).code == 4


def test_it_works_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comfy: FakeComfy) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("doctor", "--json", "--server", comfy.url)
    assert ran.code == 0
    assert "no project here" in found(ran, "project")[0]["message"]
    assert "ltx-2-19b-dev-fp8.safetensors" in found(ran, "server.models")[0]["message"]


def test_a_project_that_was_asked_for_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("doctor", "-p", "nowhere").code == 2


# --- where the server is


def test_which_source_won_and_which_did_not(film: Film, comfy: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LTXFLOW_SERVERS", comfy.url)
    ran = doctor(film)
    assert ran.code == 0
    assert "(from LTXFLOW_SERVERS)" in found(ran, "servers")[0]["message"]
    assert "COMFYUI_URL (LTXFLOW_SERVERS takes precedence)" in found(ran, "servers.unused")[0]["message"]


def test_the_first_guess_that_answers_is_used(film: Film, monkeypatch: pytest.MonkeyPatch, comfy: FakeComfy) -> None:
    with FakeComfy() as other:
        monkeypatch.setattr(discovery, "LOOPBACK_PORTS", (9, comfy.port, other.port))
        ran = doctor(film)
    assert [seen["url"] for seen in ran.data["servers"]] == [f"http://127.0.0.1:{comfy.port}"]
    assert "answers, too" in found(ran, "servers", "warning")[0]["message"]


def test_a_wrong_address_is_a_finding(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_URL", "ftp://x")
    ran = doctor(film)
    assert ran.code == 1
    assert '"ftp"' in found(ran, "servers", "error")[0]["message"]


# --- what a server has


def test_a_missing_model_names_folder_user_and_the_closest(film: Film) -> None:
    models = {**MODELS_LTX2, "latent_upscale_models": ["ltx-2-spatial-upscaler-x2-0.9.safetensors"]}
    with FakeComfy(models=models) as server:
        ran = doctor(film, "--server", server.url)
    assert ran.code == 1
    (missing,) = found(ran, "server.models", "error")
    assert 'no "ltx-2-spatial-upscaler-x2-1.0.safetensors" in latent_upscale_models' in missing["message"]
    assert "hook/a" in missing["message"]
    assert "models/latent_upscale_models" in missing["hint"]
    assert "stages: 1" in missing["hint"]
    assert "ltx-2-spatial-upscaler-x2-0.9.safetensors" in missing["hint"]


def test_the_model_that_draws_a_still_is_asked_for_by_the_still(film: Film) -> None:
    film.edit("scenes:", 'references: { hero: { generate: { prompt: "A locksmith" } } }\nscenes:')
    film.edit("clips:\n      - id: a", "clips:\n      - id: a\n        reference: hero")
    with FakeComfy() as server:
        assert doctor(film, "--server", server.url).code == 0
    with FakeComfy(models={**MODELS_LTX2, "checkpoints": ["another.safetensors"]}) as server:
        ran = doctor(film, "--server", server.url)
    assert "reference:hero" in " ".join(finding["message"] for finding in found(ran, "server.models", "error"))


def test_the_largest_model_that_a_server_can_run_is_told_and_what_others_lack(film: Film) -> None:
    with FakeComfy(models={**MODELS_LTX2, "text_encoders": ["gemma_3_12B_it_fp4_mixed.safetensors"]}) as server:
        ran = doctor(film, "--server", server.url)
    assert ran.code == 0, "what `auto` would choose is there"
    (largest,) = found(ran, "server.largest")
    assert largest["message"] == "the largest model this server can run: LTX-2 19B (profile: ltx2-19b)"
    told = {f["message"].partition(" lacks ")[0]: f["message"] for f in found(ran, "server.lacks", "ok")}
    assert "checkpoints/ltx-2.3-22b-dev-fp8.safetensors" in told["LTX-2.3 22B (profile: ltx2.3-22b)"]
    assert "text_encoders/" not in told["LTX-2.3 22B (profile: ltx2.3-22b)"]
    assert "node LTXVDualCFGGuider" in told["LTX-2.5 22B (profile: ltx2.5)"]
    assert "vae/ltx-2.5-video-vae-bf16.safetensors" in told["LTX-2.5 22B (profile: ltx2.5)"]


def test_a_server_that_can_run_none_is_a_warning(film: Film) -> None:
    with FakeComfy(models={**MODELS_LTX2, "checkpoints": []}) as server:
        (largest,) = found(doctor(film, "--server", server.url), "server.largest", "warning")
    assert largest["hint"]


def test_a_missing_lora_names_its_place(film: Film, comfy: FakeComfy) -> None:
    film.edit("      - id: a\n", "      - id: a\n        loras: [my_style_lorra.safetensors]\n")
    ran = doctor(film, "--server", comfy.url)
    (missing,) = found(ran, "server.models", "error")
    assert missing["message"].startswith("film/project.yaml:12:")
    assert 'closest there: "my_style_lora.safetensors"' in missing["hint"]


def test_what_one_server_lacks_and_another_has_is_a_warning(film: Film, comfy: FakeComfy) -> None:
    with FakeComfy(models={**MODELS_LTX2, "loras": []}) as poor:
        ran = doctor(film, "--server", comfy.url, "--server", poor.url)
    assert ran.code == 0
    (missing,) = found(ran, "server.models", "warning")
    assert missing["where"] == poor.url.removeprefix("http://")
    assert comfy.url.removeprefix("http://") in missing["hint"]


def test_a_node_that_a_server_lacks_is_told_with_its_clip(film: Film) -> None:
    info = json.loads(json.dumps(recorded_info("0.27.0")))
    del info["LTXVLatentUpsampler"]
    with FakeComfy(object_info=info) as server:
        ran = doctor(film, "--server", server.url)
    assert ran.code == 1
    (missing,) = found(ran, "server.nodes", "error")
    assert 'hook/a: unknown class "LTXVLatentUpsampler"' in missing["message"]


@pytest.mark.parametrize(
    ("version", "level", "jobs"), [("0.27.0", "ok", True), ("0.21.0", "ok", True), ("0.3.60", "warning", False)]
)
def test_an_old_server_is_told(film: Film, version: str, level: str, jobs: bool) -> None:
    with FakeComfy(version=version) as server:
        ran = doctor(film, "--server", server.url)
    (told,) = found(ran, "server.version")
    assert (told["level"], bool(told["hint"])) == (level, version != "0.27.0")
    assert ran.data["servers"][0]["jobs_api"] is jobs


def test_whose_prompts_wait_is_told(film: Film) -> None:
    with FakeComfy(seconds=60) as server:
        server.add_foreign(2, 60)
        ran = doctor(film, "--server", server.url)
    assert "0 of ours, 2 of others" in found(ran, "server.queue")[0]["message"]


def test_a_small_card_is_told(film: Film) -> None:
    with FakeComfy(vram_gb=8) as server:
        ran = doctor(film, "--server", server.url)
    assert "7.0 GB of 8.0 GB" in found(ran, "server.memory", "warning")[0]["message"]


def test_what_answers_and_is_no_comfyui_is_told(film: Film, comfy: FakeComfy) -> None:
    ran = doctor(film, "--server", f"{comfy.url}/elsewhere")
    assert ran.code == 4
    assert "404" in found(ran, "server.reachable", "error")[0]["message"]


def seen(url: str, **changes: Any) -> ServerReport:
    headers = changes.pop("headers", {})
    stats = diagnostics.SystemStats("0.27.0", "", "", "", 0, 0, ())
    return ServerReport(
        ServerAddress(Server(url, headers), "--server"), **{"stats": stats, "has_jobs": True, **changes}
    )


def test_plain_http_to_another_machine_is_told() -> None:
    (told,) = [f for f in server_findings(seen("http://gpu.example:8188")) if f.name == "server.line"]
    assert (told.level, "unencrypted" in told.message, "ssh" in told.hint) == ("warning", True, True)
    (worse,) = [f for f in server_findings(seen("http://x:1", headers={"Authorization": "s"})) if f.name == told.name]
    assert "your secret" in worse.message
    for url in ("https://gpu.example", "http://127.0.0.1:8188", "http://localhost:1"):
        assert not [f for f in server_findings(seen(url)) if f.name == "server.line"]


@pytest.mark.parametrize(
    ("skew", "level", "word"), [(-3.0, "ok", "in sync"), (600, "warning", "ahead"), (-600, "warning", "behind")]
)
def test_a_clock_that_is_off_is_told(skew: float, level: str, word: str) -> None:
    (told,) = [f for f in server_findings(seen("http://localhost", skew_s=skew)) if f.name == "server.clock"]
    assert (told.level, word in told.message) == (level, True)


# --- the store and the project


def test_a_store_that_others_can_read_is_told(film: Film) -> None:
    film.build()
    assert found(doctor(film), "store.rights", "ok")
    film.store.chmod(0o755)
    (told,) = found(doctor(film), "store.rights", "warning")
    assert ("0755" in told["message"], told["hint"].startswith("chmod 700")) == (True, True)


def test_a_store_on_a_network_is_told(film: Film, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"host:/export {tmp_path} nfs4 rw 0 0\n")
    findings = list(diagnostics.store_findings(film.session().store, "usual", mounts))
    assert [f.level for f in findings if f.name == "store.disk"] == ["warning"]


def test_a_store_that_is_a_file_is_an_error(film: Film) -> None:
    film.store.write_text("")
    assert doctor(film).code == 1


def test_a_full_disk_is_told(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = __import__("collections").namedtuple("usage", "total used free")
    for free, level in ((10 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "error")):
        monkeypatch.setattr(diagnostics.shutil, "disk_usage", lambda path, free=free: usage(0, 0, free))
        assert found(doctor(film), "store.space", level)


def test_a_store_that_is_not_there_yet_is_well_and_stays_away(film: Film) -> None:
    assert doctor(film).code == 0
    assert not film.store.exists()


def test_a_project_that_is_not_trusted_is_a_warning(film: Film) -> None:
    (film.folder / "templates").mkdir()
    (film.folder / "templates" / "x.json.j2").write_text('{# ltxflow-template: 1\ntitle: "x"\n#}\n{}')
    assert found(doctor(film), "project.trust") == []  # nothing is made with it yet
    film.edit("      - id: a\n", "      - id: a\n        template: x\n")
    ran = doctor(film)
    assert ran.code == 0
    (told,) = found(ran, "project.trust")
    assert (told["level"], "ltxflow trust" in told["hint"]) == ("warning", True)


def test_a_broken_project_is_an_error_with_its_place(film: Film) -> None:
    film.edit("fps: 25", "fps: twenty")
    ran = doctor(film)
    assert ran.code == 1
    assert found(ran, "project", "error")[0]["message"].startswith("film/project.yaml:5:6: ")


def test_a_damaged_lock_is_an_error(film: Film) -> None:
    (film.folder / "ltxflow.lock").write_text("<<<<<<< HEAD\n")
    assert found(doctor(film), "project", "error")


def test_a_broken_config_is_an_error(film: Film, tmp_path: Path) -> None:
    (tmp_path / "config" / "ltxflow").mkdir(parents=True)
    (tmp_path / "config" / "ltxflow" / "config.yaml").write_text("severs: []\n")
    ran = doctor(film)
    assert ran.code == 1
    assert 'unknown key "severs"' in found(ran, "config", "error")[0]["message"]


# --- what is not told


def test_the_home_folder_is_not_told(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(film.folder.parent.parent)
    monkeypatch.setenv("HOME", home)
    ran = doctor(film)
    assert home not in ran.out
    assert "~/store" in found(ran, "store")[0]["message"]


def test_only_the_home_folder_itself_is_shortened() -> None:
    told = without_home(Diagnostic("x", "ok", "/home/ann/a /home/anna/b /home/ann"), ["/home/ann", "/"])
    assert told.message == "~/a /home/anna/b ~"


def test_no_secret_is_told(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config" / "ltxflow"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "servers: [{ name: bench, url: 'http://127.0.0.1:9', headers_from_env: { Authorization: TOKEN } }]\n"
    )
    monkeypatch.setenv("TOKEN", "Bearer hush-hush")
    monkeypatch.setenv("COMFY_URL", "http://user:hush@127.0.0.1:9")
    assert "hush" not in doctor(film).out
    del os.environ["TOKEN"]
    assert '"TOKEN"' in found(doctor(film), "servers", "error")[0]["message"]
