from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ltxflow.session.session import LIBRARIES, font_places


@pytest.mark.skipif(sys.platform == "darwin", reason="fonts of a Mac are elsewhere")
def test_a_font_that_comes_changes_a_folder_that_was_named(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_DATA_DIRS": os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")])}
    noto = tmp_path / "b/fonts/truetype/noto"
    noto.mkdir(parents=True)
    own = tmp_path / ".local/share/fonts"
    assert font_places(env) == {
        LIBRARIES,
        *map(str, (own, tmp_path / "a/fonts", tmp_path / "b/fonts", noto.parent, noto)),
    }
