"""What may be in the place of a file: links that lead out, and things that are no file, or no such file.

Each is put at a place; `outside` is a folder with `folder/` and `secret.txt`, which nothing may change.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

Put = Callable[[Path, Path], None]


def link_to_folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "folder")


def link_to_file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "secret.txt")


def link_to_nothing(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "made-by-ltxflow")


def link_to_itself(place: Path, outside: Path) -> None:
    place.symlink_to(place.name)


def link_to_zeros(place: Path, outside: Path) -> None:
    place.symlink_to("/dev/zero")


def second_name(place: Path, outside: Path) -> None:
    os.link(outside / "secret.txt", place)


def fifo(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def endpoint(place: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(place.parent)  # the address of a socket has 108 bytes at most
        try:
            bound.bind(place.name)
        finally:
            os.chdir(before)


def folder(place: Path, outside: Path) -> None:
    place.mkdir()
    (place / "kept.txt").write_text("kept")


def nothing_in_it(place: Path, outside: Path) -> None:
    place.write_bytes(b"")


def deep_json(place: Path, outside: Path) -> None:
    place.write_bytes(b'{"a":' + b"[" * 100_000)


def huge(place: Path, outside: Path) -> None:
    with place.open("wb") as file:
        file.truncate(1 << 40)  # without a block of it on the disk


def no_text(place: Path, outside: Path) -> None:
    place.write_bytes(b'{"format": "\xff\xfe\x00"}\n')


def other_json(place: Path, outside: Path) -> None:
    place.write_bytes(b"[NaN, 1e999, " + b"9" * 5000 + b", null]")


LINKS: tuple[Put, ...] = (link_to_folder, link_to_file, link_to_nothing, link_to_itself, link_to_zeros, second_name)
ODD: tuple[Put, ...] = (fifo, endpoint, folder, nothing_in_it, deep_json, huge, no_text, other_json)
