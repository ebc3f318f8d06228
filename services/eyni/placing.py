"""Puts models' folders in place: whole, or not at all, whatever breaks it off."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.eyni.common import Failed
from shared import files
from shared.model import user_models

_WORKSHOP: Final = "adding-"
_OLD: Final = "old"


def require_place(path: Path, what: str) -> None:
    """See that a file can be written there: at the start of a command, and not after hours. Raises Failed."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        files.folder(path.parent)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        where = f"{path}: no {what} can be written there ({error.strerror})"
        raise Failed(f"{where}; name a place of yours with --output") from None


@contextmanager
def workshop(data: Path) -> Generator[Path]:
    """Give a folder beside the models to build in, to one process at a time; it is gone afterwards."""
    with files.opened(files.folder(data) / "models.lock", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("another command is at the models right now; start this one when it is done") from None
        for left in data.glob(f"{_WORKSHOP}*"):
            _clear(left, data)
        place = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=data))
        try:
            yield place
        finally:
            _clear(place, data)


def put(staged: Path, name: str, data: Path, place: Path) -> Path:
    """Put a complete folder where models are, in the place of one of that name. Returns where it is.

    A folder cannot take the place of another in one step. Between the two, the old one is in the workshop, from which
    it comes back, now or (after a kill) when the next command opens a workshop.
    """
    target, old = user_models(data) / name, place / _OLD
    files.folder(target.parent)
    files.folder(old)
    if target.exists():
        target.rename(old / name)
    staged.rename(target)
    return target


def _clear(place: Path, data: Path) -> None:
    for old in (place / _OLD).glob("*"):
        if not (user_models(data) / old.name).exists():
            old.rename(user_models(data) / old.name)
    shutil.rmtree(place)
