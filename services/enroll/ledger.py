"""Which records of a partition are finished, so that a commit never passes one that is not."""

from collections import Counter


class Ledger:
    """One partition's records between polled and finished. They may finish in any order."""

    def __init__(self) -> None:
        self._unfinished: Counter[int] = Counter()
        self._next = 0
        """After the highest offset ever polled."""

    def begin(self, offset: int) -> None:
        """Note a polled record; the same one again where the partition went away and came back."""
        self._unfinished[offset] += 1
        self._next = max(self._next, offset + 1)

    def finish(self, offset: int) -> None:
        """Note that a record's outcome is durable."""
        self._unfinished[offset] -= 1
        if not self._unfinished[offset]:
            del self._unfinished[offset]

    @property
    def done(self) -> int:
        """The offset to commit: everything polled before it is finished."""
        return min(self._unfinished, default=self._next)
