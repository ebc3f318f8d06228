"""Files and folders that only their owner can read, whatever the umask; the only file here that makes any.

What Eyni keeps is somebody's face, name or key: folders are 0700, files 0600. A process sets its umask too
(`shared.process`), but files are also made by tools, tests and what imports this. Python's own `mkdir(mode, parents)`
gives the mode to the last folder only.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Final, Literal

FOLDER: Final = 0o700
FILE: Final = 0o600
_OTHERS: Final = 0o077

OURS: Final = (
    "adding-*",
    "extractions",
    "keys",
    "log",
    "log.sqlite*",
    "match",
    "models",
    "models.lock",
    "registry.sqlite*",
    "stations",
    "up.lock",
    "up.log",
)
"""What Eyni makes in its data folder. A folder that holds other things too may be somebody's home, or /srv."""

_NOBODYS: Final = ("lost+found", ".*")
"""What a file system or a desktop puts into any folder."""


def folder(path: Path) -> Path:
    """Make a folder, and those above it that are missing, for their owner only; one that is there is left as it is.

    Raises OSError, by the kind of what went wrong, with the setting that may be the reason.
    """
    try:
        missing = [above for above in path.parents if not above.exists()]
        for above in (*reversed(missing), path):
            above.mkdir(FOLDER, exist_ok=True)
    except OSError as error:
        hint = "no folder can be made there (EYNI_DATA, --data and --output name another place)"
        raise OSError(error.errno, f"{error.strerror}, so {hint}", error.filename) from None
    return path


def descriptor(path: Path, flags: int) -> int:
    """Open a file and make it if it is missing; a regular one is its owner's only from then on. Raises OSError."""
    opened = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE)
    found = os.fstat(opened)
    if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS:
        with contextlib.suppress(PermissionError):  # somebody else's, who let us write to it
            os.fchmod(opened, found.st_mode & FOLDER)
    return opened


def opened(path: Path, mode: Literal["wb", "xb", "ab", "a+b"]) -> IO[bytes]:
    """Open a file to write, as `descriptor` does. Raises OSError."""
    return open(path, mode, opener=lambda name, flags: descriptor(Path(name), flags))


@contextlib.contextmanager
def about(what: object) -> Generator[None]:
    """Name in an OSError what it is about (a path, an address): a write that fails names nothing of itself."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.strerror is None:
            raise
        raise type(error)(error.errno, error.strerror, str(what)) from error


def write(path: Path, content: bytes) -> None:
    """Put a file in place whole and for good, or not at all. Raises OSError."""
    folder(path.parent)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name[:64]}-", dir=path.parent)  # 0600, says its documentation
    try:
        with about(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def database(path: Path) -> Path:
    """Make an SQLite file, empty, unless there is one; SQLite gives its other files the mode of this one.

    One that is there is never opened: to close it would free the locks of this process's other connections (POSIX), and
    the next process to end would take the WAL for nobody's and delete it under them (SQLite, how to corrupt 2.2).

    Raises OSError.
    """
    folder(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE))
    except FileExistsError:
        for suffix in ("", "-wal", "-shm", "-journal"):
            _narrowed(path.with_name(path.name + suffix))
    return path


def narrow(data: Path) -> list[str]:
    """Take from others what an earlier version, or a copy, let them read in a data folder; say what was done.

    Follows no link, and leaves what is not Eyni's.
    """
    try:
        entries = sorted(data.iterdir())
    except OSError:
        return []  # not there yet; or whatever wants it will say why not
    ours = [entry for entry in entries if any(entry.match(name) for name in OURS)]
    others = [entry for entry in entries if entry not in ours and not any(entry.match(name) for name in _NOBODYS)]
    count = sum(_narrowed(path) for entry in ours for path in _within(entry))
    said: list[str] = []
    if _is_wide(data) and others:
        said.append(
            f"{data}: others may look into this folder, which is left so, for it holds more than Eyni's "
            f"({others[0].name!r}): better give Eyni one of its own (EYNI_DATA)"
        )
    else:
        count += _narrowed(data)
    if count:
        said.append(f"{data}: {count} files and folders could be read by other users; now only by their owner")
    return said


def _within(path: Path) -> list[Path]:
    if path.is_symlink():
        return []
    found = [path]
    for place, folders, files in os.walk(path):
        found += (Path(place, name) for name in (*folders, *files))
    return found


def _is_wide(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not stat.S_ISLNK(mode) and bool(mode & _OTHERS)


def _narrowed(path: Path) -> bool:
    """Take the rights of group and others away; say whether there were any."""
    if not _is_wide(path):
        return False
    try:
        path.chmod(stat.S_IMODE(path.lstat().st_mode) & FOLDER)
    except OSError:  # gone meanwhile, or somebody else's
        return False
    return True
