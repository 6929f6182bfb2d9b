"""`ltxflow trust`: allows what a project brings, by its content."""

from __future__ import annotations

import json
import os
from pathlib import Path

from harness.film import Film


def test_a_film_that_brings_nothing_needs_none(film: Film) -> None:
    assert film.run("trust").out == "this project needs no trust\n"


def test_an_absolute_path_is_trusted_by_name_and_may_be_revoked(film: Film, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (128, 128)).save(tmp_path / "far.png")
    film.edit('        prompt: "', f'        reference: {tmp_path / "far.png"}\n        prompt: "')
    assert film.run("plan").code == 2
    assert "not trusted; allow it with: ltxflow trust" in film.run("trust", "--show").out
    assert film.run("plan").code == 2
    assert "trusted until any of these changes" in film.run("trust").out
    assert film.run("plan").code == 0
    kept = Path(os.environ["XDG_CONFIG_HOME"]) / "ltxflow" / "trust.json"
    assert str(film.folder) in json.loads(kept.read_text())
    assert kept.stat().st_mode & 0o077 == 0
    film.run("trust", "--revoke")
    assert film.run("plan").code == 2
