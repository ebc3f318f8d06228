"""The pictures of a station's folder, by what the files are, and what is passed over, with the reason."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.reading import OTHER_SUFFIXES, SUFFIXES, Unreadable, kind_of, why_not

LINK: Final = "a link: put the file itself there"
TWICE: Final = "a file that is there under another name too (a hard link)"
SPECIAL: Final = "a pipe, a socket or a device"
UNREAD: Final = "not to be read by this user"


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a folder and below it."""

    pictures: tuple[Path, ...] = ()
    """By path."""
    passed: Mapping[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    """Why → files and folders that are not sent, by path."""

    @property
    def complete(self) -> bool:
        """Whether everything could be looked at."""
        return UNREAD not in self.passed


def look_into(folder: Path) -> Found:
    """Look at every file in a folder and below it; no link is followed, and of each file only the beginning is read."""
    pictures: list[Path] = []
    passed: dict[str, list[Path]] = {}
    met: set[tuple[int, int]] = set()
    for path, why in _walk(folder):
        why = why or _objection(path, met)
        if why:
            passed.setdefault(why, []).append(path)
        else:
            pictures.append(path)
    return Found(tuple(sorted(pictures)), {why: tuple(sorted(paths)) for why, paths in sorted(passed.items())})


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield files, and what else is not entered or looked at, with the reason."""
    unread: list[Path] = []

    def cannot(error: OSError) -> None:
        unread.append(Path(error.filename))

    for place, folders, files in os.walk(folder, onerror=cannot):
        entered: list[str] = []
        for name in sorted(folders):
            path = Path(place, name)
            why = why_not(name) or (LINK if path.is_symlink() else "")
            if why:
                yield path, why
            else:
                entered.append(name)
        folders[:] = entered
        for name in sorted(files):
            yield Path(place, name), why_not(name)
    yield from ((path, UNREAD) for path in unread)


def _objection(path: Path, met: set[tuple[int, int]]) -> str:
    """Say why a file is not sent; empty: it is."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return LINK
        if not stat.S_ISREG(status.st_mode):
            return SPECIAL
        found = kind_of(path)
    except Unreadable:
        return SPECIAL
    except OSError:
        # Of a picture, the attempt to send it says what is wrong.
        return "" if path.suffix.lower() in SUFFIXES else UNREAD
    if why := why_not(path.name, found):
        return why
    known = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and known in met:
        return TWICE
    met.add(known)
    return ""


def stem_of(path: Path) -> str:
    """Return a file's name without what says that it is a picture."""
    return path.stem if path.suffix.lower() in SUFFIXES | OTHER_SUFFIXES else path.name


def shown(path: Path) -> str:
    r"""Return a path for a file of text, to be read back: `\xfc` is a byte that is no UTF-8, `\\` a backslash."""
    return os.fsencode(str(path).replace("\\", "\\\\")).decode("utf-8", "backslashreplace")
