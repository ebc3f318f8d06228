"""Wakes the readers of a folder when something was appended to it, in whatever process: one FIFO for each who waits.

A FIFO needs no server and works on Linux and macOS. Who waits makes one, and holds it open to read; who appended
writes a byte into each. A FIFO that nobody holds open is left by a process that was killed, and removed. The bell is
a hint that saves time and never carries anything: where no FIFO can be made, readers look at intervals.
"""

import contextlib
import errno
import os
import select
import weakref
from pathlib import Path
from typing import Final
from uuid import uuid4

from shared import files

_DRAIN: Final = 4096
"""Bytes read at once: a FIFO holds 16 KiB (macOS) or 64 KiB (Linux), and one byte is as good as all."""


class Waiter:
    """One reader's FIFO. For one thread."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where no FIFO can be made."""
        files.folder(folder)
        name = uuid4().hex
        draft, self._path = folder / f".{name}", folder / name
        os.mkfifo(draft, files.FILE)
        try:
            # To write too: otherwise the first writer that closes it would leave it at its end, readable for ever.
            self._file = os.open(draft, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            # Under its name only now: a ringer would take it for one that nobody holds open.
            os.rename(draft, self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLIN)
        self._end = weakref.finalize(self, _close, self._file, self._path, os.getpid())

    def wait(self, seconds: float) -> bool:
        """Wait until the bell rings, or so long; say whether it rang. It may have rung since the last call."""
        if not self._poll.poll(seconds * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._file, _DRAIN)) == _DRAIN:
                pass
        return True

    def close(self) -> None:
        self._end()


def _close(file: int, path: Path, process: int) -> None:
    os.close(file)
    if os.getpid() == process:  # not a child that was forked: its parent still waits
        path.unlink(missing_ok=True)


def ring(folder: Path) -> None:
    """Wake all who wait. Whatever goes wrong, they look by themselves a little later."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith("."):
            continue
        path = folder / name
        try:
            file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:
                path.unlink(missing_ok=True)
            continue
        try:
            with contextlib.suppress(OSError):  # full: it has been rung often enough
                os.write(file, b"\0")
        finally:
            os.close(file)
