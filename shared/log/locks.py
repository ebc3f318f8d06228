"""Who may work on what, on one machine: locks that the kernel takes back when their process ends, however it ends."""

import fcntl
import os
import weakref
from pathlib import Path
from typing import Final

from shared import files


class Locks:
    """Exclusive locks by name, each an `flock` on a file of its own.

    No lease, no heartbeat, no zombie: a lock is held exactly as long as its holder lives, and a holder that is stopped
    or slow keeps it. A child forked from the holder must not inherit it, or the lock would outlive a killed parent:
    it is closed there. The files stay, empty; what counts is the lock, not the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        _ALL.add(self)

    def take(self, name: str) -> bool:
        """Try to hold the lock; say whether it is held now. Raises OSError where the folder cannot be written to."""
        if name in self._held:
            return True
        file = files.descriptor(files.folder(self._folder) / name, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._held[name] = file
        return True

    def release(self) -> None:
        """Let go of all."""
        while self._held:
            os.close(self._held.popitem()[1])


_ALL: Final[weakref.WeakSet[Locks]] = weakref.WeakSet()


def _forget_in_child() -> None:
    for locks in list(_ALL):
        locks.release()


os.register_at_fork(after_in_child=_forget_in_child)
