"""Reads files that others made: regular files only, never more than a limit, and tells pictures by their first bytes.

A name says nothing about what a file is: a pipe is waited for, a device may never end, and a phone's HEIC is often
called .jpg.
"""

import errno
import os
import stat
from pathlib import Path
from typing import IO, Final

READ: Final = ("JPEG", "PNG", "WebP", "JPEG 2000")
"""Kinds of pictures that are taken."""
APPLE_DOUBLE: Final = "AppleDouble"
"""What macOS puts beside a file (`._a.jpg`) on a disk that is not its own: no picture."""

_HEAD: Final = 32
"""Bytes that tell what a file is: the longest mark below ends at the 16th."""
_STARTS: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x05\x16\x07", APPLE_DOUBLE),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"%PDF-", "PDF"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"IIRO", "RAW"),
    (b"IIU\x00", "RAW"),
    (b"WSQ", "WSQ"),
    (b"\xff\xa0\xff", "WSQ"),
)
_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "RAW",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
"""Of ISO's file format (ISO/IEC 14496-12, `ftyp`): who wrote it, and so what it holds."""


class Unreadable(Exception):
    """A file that is not read, whatever it holds; the message names it and says why."""


def opened(path: Path) -> IO[bytes]:
    """Open a regular file to read. Raises Unreadable, OSError.

    A pipe is not waited for, and a device not even opened: some do something then.
    """
    _require_regular(path, os.stat(path))
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _require_regular(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{path}: is no file but a pipe, a socket or a device, which is not read")


def read(path: Path, limit: int) -> bytes:
    """Read a regular file of `limit` bytes at most. Raises Unreadable, OSError."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(limit + 1) if size <= limit else b""
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    if size > limit or len(content) > limit:
        raise Unreadable(f"{path}: has {max(size, len(content)):,} bytes, more than the {limit:,} that are read")
    return content


def kind_of(path: Path) -> str:
    """Return what kind of picture a file is, by its first bytes; empty where it is none. Raises Unreadable, OSError."""
    with opened(path) as file:
        return kind(file.read(_HEAD))


def kind(head: bytes) -> str:
    """Return what kind of picture begins so (READ, others by name); empty where none is known to."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], _BRANDS.get(head[16:20], ""))
    return next((name for start, name in _STARTS if head.startswith(start)), "")


# ---- whose files are passed over

SUFFIXES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm"),
    )
)
"""What a picture is called. A file of such a name that holds none is not passed over: whoever decodes it says why."""
OTHER_SUFFIXES: Final = frozenset((".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".jxl"))

_SYSTEMS: Final = frozenset(
    (
        *("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "lost+found", "system volume information"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
"""What a file server, an archive or a system puts among somebody's files (in small letters): thumbnails, what was
deleted. Beside these, all that is hidden."""

HIDDEN: Final = "hidden (called .something)"
SYSTEM: Final = "a system's or file server's own (@eaDir, __MACOSX, Thumbs.db and the like)"
NO_PICTURE: Final = "no picture"


def why_not(name: str, kind: str | None = None) -> str:
    """Say why a file or folder of this name, or a file that holds this kind, is no picture to be used; empty: it is."""
    if name.startswith("."):
        return HIDDEN
    if name.lower() in _SYSTEMS or kind == APPLE_DOUBLE:
        return SYSTEM
    if kind is None or kind in READ:
        return ""
    if kind:
        return f"{kind}, which is not read: export as JPEG"
    return "" if Path(name).suffix.lower() in SUFFIXES else NO_PICTURE
