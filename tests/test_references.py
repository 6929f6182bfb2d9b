"""Images that are made before the clips that start from them: shared, in angles, with takes, and looked at first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from fakes.images import TEMPLATE, FakeImages, png
from harness.command import Ran, run
from harness.film import Film, film_text, prompt
from PIL import Image

from ltxflow.lock.file import read_lock
from ltxflow.lock.text import lock_text
from ltxflow.media.image import read_image

KEY = "sk-s3same-0pen"
FILM = f"""\
ltxflow: 1
id: shared
size: 128x128
fps: 24
references:
  hero:
    generate: {{ prompt: "A young locksmith in a leather apron", engine: studio }}
scenes:
  - id: hook
    clips:
      - {{ id: a, length: 17f, reference: hero, prompt: "{prompt("hook-a")}" }}
      - {{ id: b, length: 17f, reference: {{ base: hero, angle: "seen from the left" }}, prompt: "{prompt("hook-b")}" }}
  - id: end
    clips:
      - {{ id: a, length: 17f, reference: {{ base: hero, angle: "seen from the left" }}, prompt: "{prompt("end-a")}" }}
"""
HERO, LEFT = "reference:hero@1", "reference:hero/seen-from-the-left@1"
CLIPS = ["clip:end/a@1", "clip:hook/a@1", "clip:hook/b@1"]


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeImages]:
    """A server that makes images, named in the user's configuration."""
    with FakeImages(KEY) as fake:
        config = tmp_path / "config" / "ltxflow"
        config.mkdir(parents=True)
        entry = f"{{url: {fake.url}, model: flux, key_from_env: STUDIO_KEY}}"
        (config / "config.yaml").write_text(f"engines:\n  studio: {entry}\n")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
        monkeypatch.setenv("STUDIO_KEY", KEY)
        yield fake


@pytest.fixture
def shared(film: Film, studio: FakeImages) -> Film:
    film.file.write_text(FILM)
    return film


def build(film: Film, server: FakeComfy | None, *more: str) -> list[str]:
    """Build it; return what was made."""
    where = ["--server", server.url] if server else []
    ran = film.run("build", "--json", *where, *more)
    assert ran.code == 0, ran.out + ran.err
    return rendered(ran)


def rendered(ran: Ran) -> list[str]:
    return sorted(e["target"] for e in ran.events("action-finished") if e["outcome"] == "rendered")


def changes(film: Film, *argv: str) -> dict[str, dict[str, str]]:
    return {c["target"]: c for c in film.run("plan", "--json", *argv).data["changes"]}


def error(film: Film) -> dict[str, str]:
    ran = film.run("plan", "--json")
    assert ran.code == 2, ran.out
    (problem,) = [p for p in ran.envelope["problems"] if p["level"] == "error"]
    return dict(problem)


def stills(film: Film) -> dict[str, str]:
    """What can be looked at: file name → the digest of what it shows."""
    return {path.name: read_image(path).pixels for path in (film.folder / ".ltxflow" / "references").glob("*")}


def shown(tmp: Path, text: str, size: tuple[int, int] = (128, 128)) -> str:
    """The digest of what the fake server shows for a prompt and a seed."""
    file = tmp / "wanted.png"
    file.write_bytes(png(text, size))
    return read_image(file).pixels


# --- made first, shared


def test_what_is_shared_is_made_once_and_first(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    ran = shared.run("build", "--json", "--server", server.url)
    assert ran.code == 0, ran.out + ran.err
    ends = [e["target"] for e in ran.events("action-finished")]
    assert sorted(ends) == sorted([HERO, LEFT, *CLIPS])
    assert ends.index(HERO) < ends.index("clip:hook/a@1")
    assert ends.index(LEFT) < ends.index("clip:hook/b@1")
    prompts = sorted(asked.body["prompt"] for asked in studio.asked)
    base = "A young locksmith in a leather apron"
    assert prompts == [base, f"{base}, seen from the left"]
    assert len({asked.body["seed"] for asked in studio.asked}) == 1  # what they share stays alike
    assert {asked.key for asked in studio.asked} == {KEY}
    assert {asked.body["size"] for asked in studio.asked} == {"128x128"}
    assert build(shared, server) == []
    assert len(studio.asked) == 2
    for path in [*shared.folder.rglob("*"), *shared.store.rglob("*")]:
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_the_server_is_sent_what_was_made(shared: Film, server: FakeComfy, studio: FakeImages, tmp_path: Path) -> None:
    build(shared, server)
    sent = {read_image(path).pixels for path in (server.folders["input"] / "ltxflow").glob("*.png")}
    assert sent == {shown(tmp_path, f"{asked.body['prompt']} {asked.body['seed']}") for asked in studio.asked}
    assert sent == set(stills(shared).values())


def test_stills_alone_need_no_gpu_and_are_there_to_look_at(shared: Film, studio: FakeImages) -> None:
    assert list(changes(shared, "--only", "references")) == [HERO, LEFT]
    assert build(shared, None, "--only", "references") == [LEFT, HERO]
    assert sorted(stills(shared)) == ["hero--seen-from-the-left@1.png", "hero@1.png"]
    assert not (shared.folder / "public").exists()
    assert build(shared, None, "--only", "references") == []
    told = shared.run("build", "--only", "references").out
    assert "2 references" in told
    assert "references/hero@1.png" in told
    assert "apply it" not in shared.run("plan", "--only", "references").out.lower()
    assert "--only references" in shared.edit("leather", "linen").run("plan", "--only", "references").out


def test_stills_of_some_clips_alone(shared: Film, studio: FakeImages) -> None:
    assert build(shared, None, "hook/a", "--only", "references") == [HERO]
    assert build(shared, None, "reference:hero/*") == [LEFT]


def test_slates_need_no_stills(shared: Film, studio: FakeImages) -> None:
    ran = shared.run("build", "--animatic", "--json")
    assert (ran.code, ran.totals["rendered"], studio.asked) == (0, 3, [])
    refused = shared.run("build", "--animatic", "--only", "references")
    assert refused.code == 2
    assert "leave out --animatic, or --only" in refused.err


def test_one_that_nothing_uses_is_made_with_the_others(shared: Film, studio: FakeImages) -> None:
    shared.edit("scenes:", '  door: { generate: { prompt: "A door", engine: studio, size: 64x32 } }\nscenes:')
    assert "reference:door@1" in build(shared, None, "--only", "references")
    with Image.open(shared.folder / ".ltxflow" / "references" / "door@1.png") as picture:
        assert picture.size == (64, 32)


def test_a_saved_still_is_a_file_like_any(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    (shared.folder / "refs").mkdir()
    still = shared.folder / ".ltxflow" / "references" / "hero@1.png"
    (shared.folder / "refs" / "hero.png").write_bytes(still.read_bytes())
    shared.edit("id: a, length: 17f, reference: hero", "id: a, length: 17f, reference: refs/hero.png")
    assert build(shared, server) == []


def test_a_reference_may_be_a_file(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    (shared.folder / "refs").mkdir()
    (shared.folder / "refs" / "door.png").write_bytes(png("door", (128, 128)))
    shared.edit("scenes:", "  door: refs/door.png\nscenes:")
    shared.edit("id: a, length: 17f, reference: hero", "id: a, length: 17f, reference: door")
    assert build(shared, server) == [*CLIPS, LEFT]


# --- what changes what


def test_an_edit_of_the_subject_makes_all_of_it_again(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    shared.edit("leather", "linen")
    plan = changes(shared)
    assert {target: c["kind"] for target, c in plan.items()} == {
        HERO: "change",
        LEFT: "change",
        **dict.fromkeys(CLIPS, "maybe"),
    }
    assert plan["clip:hook/a@1"]["note"] == "hook/a ← reference:hero: prompt changed"
    assert plan["clip:end/a@1"]["note"] == "end/a ← reference:hero/seen-from-the-left: prompt changed"
    (reason,) = plan[HERO]["reasons"]
    assert reason["where"]["line"] == 7
    assert build(shared, server) == [*CLIPS, LEFT, HERO]


def test_an_edit_of_an_angle_is_that_angle(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    shared.edit('angle: "seen from the left"', 'angle: "seen from above"')
    assert build(shared, server) == ["clip:hook/b@1", "reference:hero/seen-from-above@1"]


def test_equal_pixels_stop_there(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    shared.edit("leather", "linen")
    before = next(asked for asked in studio.asked if "left" not in asked.body["prompt"])
    studio.answers.append(studio.reply(before))  # the server shows the same for another prompt
    assert build(shared, server, "hook/a") == [HERO]


def test_another_name_of_the_engine_changes_nothing(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    config = shared.folder.parents[1] / "config" / "ltxflow" / "config.yaml"
    config.write_text(config.read_text().replace("studio:", "other:"))
    shared.edit("engine: studio", "engine: other")
    assert build(shared, server) == []


# --- takes and picks


def test_takes_to_choose_from_and_a_pick(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    shared.edit("engine: studio", "engine: studio, takes: 2")
    two = ["reference:hero/seen-from-the-left@1", "reference:hero/seen-from-the-left@2", HERO, "reference:hero@2"]
    assert build(shared, server) == [*CLIPS, *two]
    assert len(stills(shared)) == 4
    rows = shared.run("takes", "reference:hero", "--json").data
    assert [(row["take"], row["picked"], row["matches"]) for row in rows] == [(1, True, True), (2, False, True)]
    assert len({row["seed"] for row in rows}) == 2
    shown = shared.run("takes", "reference:hero").out
    assert shown.splitlines()[0].split() == ["take", "made", "on"]
    assert ".ltxflow/references" in shown
    assert shared.run("pick", "reference:hero", "2").code == 0
    assert build(shared, server) == ["clip:hook/a@1"]
    assert shared.run("pick", "reference:hero", "1").code == 0
    assert build(shared, server) == []


def test_the_lock_has_a_block_for_each_and_reads_it_again(shared: Film, studio: FakeImages) -> None:
    build(shared, None, "--only", "references")
    text = (shared.folder / "ltxflow.lock").read_text()
    assert [line for line in text.splitlines()[2:] if line and line[0] != " "] == [
        "reference:hero:",
        "reference:hero/seen-from-the-left:",
    ]
    lock = read_lock(shared.folder / "ltxflow.lock")
    assert lock_text(lock) == text
    take = lock.entries["reference:hero"].takes[1]
    assert (take.frames, take.source) == (0, "reference")
    assert set(take.facts) == {"pixels", "width", "height", "engine"}


def test_the_lock_stands_for_traces_that_are_lost(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    take = read_lock(shared.folder / "ltxflow.lock").entries["reference:hero"].takes[1]
    session = shared.session()
    session.store.forget(take.key)
    session.store.close()
    assert build(shared, server) == []
    assert len(studio.asked) == 2


def test_one_more_take_a_word_and_a_file_by_hand(shared: Film, server: FakeComfy, studio: FakeImages) -> None:
    build(shared, server)
    more = shared.run("retake", "reference:hero", "--json", "--server", server.url)
    assert more.code == 0, more.out + more.err
    assert (more.data["take"], more.data["made"]) == (2, True)
    assert shared.run("approve", "reference:hero").code == 0
    shared.edit("leather", "linen")
    plan = changes(shared, "hook/a")
    assert (plan[HERO]["kind"], plan[HERO]["note"]) == ("unchanged", "approved; no longer matches its text")
    assert plan["clip:hook/a@1"]["kind"] == "unchanged"
    mine = shared.folder.parent / "mine.png"
    mine.write_bytes(png("mine", (200, 128)))
    assert shared.run("pin", "reference:hero", str(mine)).code == 0
    assert build(shared, server, "hook/a") == ["clip:hook/a@1"]
    assert stills(shared)["hero@1.png"] == read_image(mine).pixels


def test_a_name_that_is_no_reference(shared: Film) -> None:
    done = shared.run("takes", "reference:hera")
    assert done.code == 2
    assert 'no generated reference "reference:hera"' in done.err
    assert "choose from: reference:hero, reference:hero/seen-from-the-left" in done.err


def test_a_name_of_which_only_angles_are_made(shared: Film) -> None:
    text = shared.file.read_text()
    shared.file.write_text(text.replace("reference: hero,", "reference: {base: hero, angle: from behind},"))
    done = shared.run("takes", "reference:hero")
    assert done.code == 2
    assert '"reference:hero" itself is not generated, only its angles' in done.err
    assert "choose from: reference:hero/from-behind, reference:hero/seen-from-the-left\n" in done.err


# --- by a template


@pytest.fixture
def drawn(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """The same film, its images made by a ComfyUI template of its own, which is trusted."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (film.folder / "templates").mkdir()
    (film.folder / "templates" / "t2i.json.j2").write_text(TEMPLATE)
    film.file.write_text(FILM.replace(", engine: studio", ""))
    assert film.run("trust").code == 0
    return film


def test_a_template_makes_it_on_the_same_servers(drawn: Film, server: FakeComfy) -> None:
    assert build(drawn, server) == [*CLIPS, LEFT, HERO]
    assert build(drawn, server) == []
    assert sorted(stills(drawn)) == ["hero--seen-from-the-left@1.png", "hero@1.png"]
    with Image.open(drawn.folder / ".ltxflow" / "references" / "hero@1.png") as picture:
        assert (picture.size, picture.info) == ((128, 128), {})  # the graph and the prompt are not in it
    drawn.edit("leather", "linen")
    assert build(drawn, server, "--only", "references") == [LEFT, HERO]


def test_check_doctor_and_show_know_it(drawn: Film, server: FakeComfy) -> None:
    assert drawn.run("check").code == 0
    assert "t2i" in drawn.run("show", "reference:hero").out
    graph = drawn.run("show", "reference:hero", "--graph", "--json").data
    assert "A young locksmith in a leather apron" in str(graph)
    assert drawn.run("template", "check", "t2i").out.startswith(
        "✓ t2i  fits the nodes of ComfyUI in 1 setting combination"
    )
    assert "node classes of i2v, t2i" in drawn.run("doctor", "--server", server.url).out
    assert '"reference:hero"' in drawn.run("graph").out


@pytest.mark.parametrize("name", ["reference:hero", "reference:hero@1"])
def test_every_command_that_takes_a_take_knows_a_reference(drawn: Film, server: FakeComfy, name: str) -> None:
    build(drawn, server)
    for argv in (("show", name), ("takes", name), ("explain", name), ("plan", name), ("build", name)):
        assert drawn.run(*argv, "--json").code == 0, argv
    assert drawn.run("show", name, "--json").data[0]["target"] == HERO
    assert [row["take"] for row in drawn.run("takes", name, "--json").data] == [1]
    for verb in ("approve", "reject", "accept", "forget"):
        assert drawn.run(verb, name).code == 0, verb


def test_without_either_the_model_of_the_film_draws_it(film: Film, server: FakeComfy) -> None:
    film.file.write_text(FILM.replace(", engine: studio", ""))
    assert build(film, server) == [*CLIPS, LEFT, HERO]
    with Image.open(film.folder / ".ltxflow" / "references" / "hero@1.png") as picture:
        assert picture.size == (128, 128)
    film.edit("fps: 24", "quality: full\nfps: 24")
    assert build(film, server) == CLIPS  # its stills are those of the model's usual quality
    film.edit("fps: 24", "weights: bf16\nfps: 24")
    plan = changes(film)
    assert [reason["field"] for reason in plan[HERO]["reasons"]] == ["weights"]


def test_a_size_off_the_model_s_grid_is_cut_out_of_the_next(film: Film, server: FakeComfy) -> None:
    film.file.write_text(FILM.replace(", engine: studio", ", size: 200x120"))
    build(film, server, "--only", "references")
    with Image.open(film.folder / ".ltxflow" / "references" / "hero@1.png") as picture:
        assert picture.size == (200, 120)


def test_a_template_without_an_image_is_told(drawn: Film) -> None:
    (drawn.folder / "templates" / "t2i.json.j2").write_text(TEMPLATE.replace('"title": "image"', '"title": "picture"'))
    assert drawn.run("trust").code == 0
    problem = error(drawn)
    assert (problem["code"], problem["message"]) == ("L081", 'template "t2i" has no save node titled "image"')
    assert problem["where"]["file"].endswith("templates/t2i.json.j2")


def test_check_knows_the_nodes_of_image_workflows_without_a_server(drawn: Film) -> None:
    path = drawn.folder / "templates" / "t2i.json.j2"
    path.write_text(TEMPLATE.replace('"CFGGuider"', '"CFGGuidr"'))
    assert drawn.run("trust").code == 0
    found = drawn.run("check", "--json").envelope["problems"]
    assert [(p["code"], p["where"]["line"]) for p in found if p["level"] == "error"] == [("N101", 7)]
    sampler = '{"class_type": "KSampler", "inputs": {"model": ["1", 0], "latent_image": ["5", 0]}}'
    path.write_text(
        TEMPLATE.replace('"8": {"class_type": "RandomNoise"', f'"13": {sampler},\n"8": {{"class_type": "RandomNoise"')
    )
    assert drawn.run("trust").code == 0
    ran = drawn.run("check", "--json")
    assert ran.code == 0
    assert [p for p in ran.envelope["problems"] if p["code"].startswith("N")] == []  # no output reaches it


def test_a_template_that_reads_a_file_is_refused(drawn: Film) -> None:
    text = TEMPLATE.replace(
        '"11": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}}',
        '"11": {"class_type": "LoadImage", "inputs": {"image": "secret.png"}}',
    )
    (drawn.folder / "templates" / "t2i.json.j2").write_text(text)
    assert drawn.run("trust").code == 0
    assert error(drawn)["code"] == "L084"


def test_it_needs_trust(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (film.folder / "templates").mkdir()
    (film.folder / "templates" / "t2i.json.j2").write_text(TEMPLATE)
    film.file.write_text(FILM.replace(", engine: studio", ""))
    assert error(film)["code"] == "L090"


# --- an engine that is not configured here


def forget_engines(tmp_path: Path) -> None:
    (tmp_path / "config/ltxflow/config.yaml").write_text("{}")


def test_what_an_engine_made_stays_made_where_it_is_not_configured(
    shared: Film, server: FakeComfy, studio: FakeImages, tmp_path: Path
) -> None:
    build(shared, server)
    asked = len(studio.asked)
    forget_engines(tmp_path)
    assert shared.run("plan", "--exit-code").code == 0
    assert shared.run("check", "--locked").code == 0
    assert shared.run("show", "hook/a").code == 0
    advice = [p for p in shared.run("check", "--json").envelope["problems"] if p["code"] == "L122"]
    assert [(p["level"], p["message"]) for p in advice] == [
        ("advice", 'references.hero: engine "studio" is not configured')
    ]
    assert build(shared, server) == []
    assert len(studio.asked) == asked


def test_a_clone_without_store_is_checked_against_the_lock(
    shared: Film, server: FakeComfy, studio: FakeImages, tmp_path: Path
) -> None:
    build(shared, server)
    forget_engines(tmp_path)
    shutil.rmtree(shared.store)
    shutil.rmtree(shared.folder / ".ltxflow")
    shutil.rmtree(shared.folder / "public")
    assert shared.run("check", "--locked").code == 0
    shared.edit("leather apron", "linen apron")
    ran = shared.run("check", "--locked")
    assert ran.code == 1
    assert "hook/a" in ran.err


def test_only_an_image_that_must_be_made_needs_its_engine(
    shared: Film, server: FakeComfy, studio: FakeImages, tmp_path: Path
) -> None:
    build(shared, server)
    forget_engines(tmp_path)
    shared.edit("leather apron", "linen apron")
    assert shared.run("plan").code == 0
    ran = shared.run("build", "--server", server.url)
    assert ran.code == 1
    assert "studio: it is not among your engines" in ran.err + ran.out


# --- what is refused


@pytest.mark.parametrize(
    ("old", "new", "code", "message", "hint", "line"),
    [
        ("base: hero", "base: hera", "L120", 'no reference "hera"', 'did you mean "hero"?', 12),
        ("reference: hero,", "reference: hera,", "L020", 'no file "hera"', 'did you mean the reference "hero"?', 11),
        (
            "engine: studio",
            "engine: studia",
            "L122",
            'references.hero: unknown engine "studia"',
            'did you mean "studio"?',
            7,
        ),
        (
            "engine: studio",
            "engine: espeak",
            "L122",
            'references.hero: engine "espeak" makes no images',
            "name a server under engines: in your configuration, with its url",
            7,
        ),
        (
            "engine: studio",
            "template: t2x",
            "L122",
            'references.hero: no template "t2x"',
            'did you mean "t2i"?',
            7,
        ),
        (
            "reference: hero,",
            'reference: { angle: "from above" },',
            "L121",
            "an angle has no base",
            "write reference: {base: …, angle: …}",
            11,
        ),
        (
            "reference: hero,",
            'reference: { base: hero, angle: "Seen from the left" },',
            "L121",
            'the angles "Seen from the left" and "seen from the left" differ only in punctuation or case',
            "write both alike, or make them differ in words",
            12,
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_is_written(
    shared: Film, old: str, new: str, code: str, message: str, hint: str, line: int
) -> None:
    problem = error(shared.edit(old, new))
    assert (problem["code"], problem["message"], problem["hint"]) == (code, message, hint)
    assert problem["where"]["line"] == line


def test_a_file_has_no_other_angle(shared: Film) -> None:
    (shared.folder / "door.png").write_bytes(png("door", (128, 128)))
    shared.edit("scenes:", "  door: { file: door.png }\nscenes:")
    problem = error(shared.edit('{ base: hero, angle: "seen from the left" }', '{ base: door, angle: "from above" }'))
    assert (problem["code"], problem["message"]) == ("L121", '"door" is a file and has no other angle')


def test_an_engine_of_the_film_needs_trust_and_brings_no_key(film: Film) -> None:
    entry = "engines: { studio: { url: http://127.0.0.1:1/v1, model: flux } }\n"
    film.file.write_text(FILM.replace("references:\n", f"{entry}references:\n"))
    assert error(film)["code"] == "L090"
    film.edit("model: flux", "model: flux, key_from_env: HOME")
    assert (error(film)["code"], error(film)["message"]) == ("S101", 'unknown key "key_from_env"')


def test_a_server_that_fails_takes_along_what_starts_from_it(
    shared: Film, server: FakeComfy, studio: FakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_KEY", "wrong")
    ran = shared.run("build", "--json", "--server", server.url)
    assert ran.code == 1
    assert (ran.totals["failed"], ran.totals["skipped"]) == (2, 3)
    assert "studio" in ran.out
    assert "wrong" not in "".join(p["message"] for p in ran.envelope["problems"])


def test_other_verbs_take_references_as_they_come(shared: Film, server: FakeComfy) -> None:
    build(shared, server)
    for verb in (["verify"], ["report"], ["status"], ["cache", "gc"], ["cache", "verify"], ["show", "reference:hero"]):
        done = shared.run(*verb)
        assert done.code == 0, done.out + done.err
    assert build(shared, server) == []
    assert shared.run("forget", "reference:hero").code == 0
    assert build(shared, server, "hook/a") == [HERO]


def test_films_without_references_have_the_keys_they_had(film: Film) -> None:
    film.file.write_text(film_text({"hook": ["a"]}, "5s"))
    assert [*changes(film)] == ["clip:hook/a@1"]
    assert run("schema", "project").code == 0


def test_the_long_name_of_a_still_moves_no_other_line(shared: Film) -> None:
    lines = shared.run("plan").out.splitlines()
    assert "  + reference:hero                     new" in lines
    assert "  + reference:hero/seen-from-the-left  new" in lines
    assert "  ? hook/b    17f  ← reference:hero/seen-from-the-left: new" in lines


def test_what_a_clip_waits_for_is_called_as_in_the_film(shared: Film) -> None:
    shared.edit("reference: hero,", "reference: { frame_of: end/a },")
    assert "waits for a frame of end/a\n" in shared.run("show", "hook/a").out
    assert "waits for reference:hero/seen-from-the-left\n" in shared.run("show", "hook/b").out
    before = "id: end\n    clips:\n      - { id: a, length: 17f, "
    shared.edit(
        f'{before}reference: {{ base: hero, angle: "seen from the left" }}',
        f"{before}extends: {{ clip: hook/b, frames: 9 }}",
    )
    assert "waits for hook/b\n" in shared.run("show", "end/a").out
