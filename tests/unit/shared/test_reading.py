"""Files that others made: told by their first bytes, read up to a limit, and only where they are files."""

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from shared.reading import HIDDEN, NO_PICTURE, READ, SYSTEM, Unreadable, kind, kind_of, opened, read, why_not


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WebP"),
        ("JPEG2000", "JPEG 2000"),
        ("TIFF", "TIFF"),
        ("BMP", "BMP"),
        ("GIF", "GIF"),
        ("AVIF", "AVIF"),
        ("PDF", "PDF"),
    ],
)
def test_a_picture_is_told_by_its_first_bytes(format: str, name: str) -> None:
    made = io.BytesIO()
    try:
        Image.new("RGB", (8, 8)).save(made, format)
    except (KeyError, OSError):
        pytest.skip(f"Pillow makes no {format} here")
    assert kind(made.getvalue()[:32]) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\x4f\xff\x51\x00", "JPEG 2000"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypXXXX\x00\x00\x00\x00heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypavif", "AVIF"),
        (b"\x00\x00\x00\x18ftypmp42", ""),
        (b"MM\x00*", "TIFF"),
        (b"\x00\x05\x16\x07\x00\x02", "AppleDouble"),
        (b"RIFF\x00\x00\x00\x00WAVE", ""),
        (b"", ""),
        (b"text", ""),
    ],
)
def test_other_kinds_are_told_too(head: bytes, name: str) -> None:
    assert kind(head) == name


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("a.jpg", "JPEG", ""),
        ("a", "JPEG", ""),
        ("a.heic", "JPEG", ""),
        ("a.jpg", "", ""),
        ("a.jpg", "HEIC", "HEIC, which is not read: export as JPEG"),
        ("a.bmp", "BMP", "BMP, which is not read: export as JPEG"),
        ("a.txt", "", NO_PICTURE),
        ("._a.jpg", "AppleDouble", HIDDEN),
        ("a.jpg", "AppleDouble", SYSTEM),
        (".a.jpg", "JPEG", HIDDEN),
        ("Thumbs.db", "", SYSTEM),
        ("@eaDir", None, SYSTEM),
        ("__MACOSX", None, SYSTEM),
        (".thumbnails", None, HIDDEN),
        ("gate 7", None, ""),
    ],
)
def test_why_a_file_is_passed_over(name: str, kind: str | None, why: str) -> None:
    assert why_not(name, kind) == why


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    assert read(path, 11) == b"x" * 11
    with pytest.raises(Unreadable, match=f"{path}: has 11 bytes, more than the 10 that are read"):
        read(path, 10)


def test_a_file_of_no_size_that_gives_more_is_cut_off() -> None:
    # Linux says 0 of its own files under /proc, whatever they give.
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("no /proc on this system")
    with pytest.raises(Unreadable, match="more than the 10 that"):
        read(path, 10)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the system's limit is some 100 characters


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def ten_bytes(path: Path) -> bytes:
    return read(path, 10)


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_link_to_a_device])
@pytest.mark.parametrize("look", [opened, kind_of, ten_bytes])
def test_what_is_no_file_is_neither_opened_nor_waited_for(
    tmp_path: Path, make: Callable[[Path], None], look: Callable[[Path], object]
) -> None:
    make(tmp_path / "x")
    with pytest.raises(Unreadable, match="x: is no file but a pipe, a socket or a device"):
        look(tmp_path / "x")


@pytest.mark.parametrize("name", ["", "nothing"])
def test_what_the_system_refuses_is_told_with_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        read(tmp_path / name, 10)


def test_every_kind_that_is_read_is_told() -> None:
    assert READ == ("JPEG", "PNG", "WebP", "JPEG 2000")
