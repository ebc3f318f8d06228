"""Standard error that nobody waits for: whatever this process says there, no thread ever hangs on it.

A pipe that is not read (a log collector that stopped, a paused terminal) blocks who writes into it, and one log line
on an event loop would then stop every call. So lines go into a bounded queue, and a thread of its own writes them. What
finds no room is dropped and counted, and the count is written once there is room again. What cannot be written at all
(the reader is gone, the disk is full) is dropped too.
"""

import atexit
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO, cast

ROOM: Final = 2**20
"""Most bytes that wait to be written: some 5,000 lines, what a busy api says in half a minute."""

LAST_WORDS: Final = 2.0
"""Seconds that a process which ends gives to what it has still to say: enough for a reader that reads at all."""


class Unblocking(io.TextIOBase):
    """A text stream onto a file descriptor whose `write` never waits. Whole lines only; any thread may write."""

    def __init__(self, descriptor: int, dropped: Callable[[int], str], *, room: int = ROOM) -> None:
        """`dropped` makes the line that says how many lines were dropped."""
        super().__init__()
        self._descriptor = descriptor
        self._dropped = dropped
        self._room = room
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._missing = 0
        self._busy = False
        self._changed = threading.Condition()
        self._begun = threading.local()
        self._closing = False
        # A bare thread: `shared.background` says what it has to say through this one.
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    # ---- what a stream has

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        """Take whole lines for writing; the rest waits for its end, apart for each thread."""
        whole, end, rest = (getattr(self._begun, "text", "") + text).rpartition("\n")
        self._begun.text = rest[: self._room]
        if end:
            self._take(f"{whole}\n".encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: who flushes does not wait either."""

    # ---- the queue

    def drained(self, seconds: float) -> bool:
        """Wait until all is written, so long at most; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._busy and not self._missing, seconds)

    def end(self) -> None:
        """Let the writer end, once it has written what is there."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        with self._changed:
            if self._bytes + len(line) > self._room:
                self._missing += line.count(b"\n")
            else:
                self._lines.append(line)
                self._bytes += len(line)
            self._changed.notify_all()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            self._put(line)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _put(self, line: bytes) -> None:
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # another process that shares this file made it so
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                # Nobody reads, the terminal is gone, the disk is full: there is no other place to say so.
                return

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._missing or self._closing)
            self._busy = True
            if self._missing and self._bytes <= self._room // 2:
                count, self._missing = self._missing, 0
                return self._dropped(count).encode()
            if self._lines:
                line = self._lines.popleft()
                self._bytes -= len(line)
                return line
            self._busy = False
            return None


def unblock(dropped: Callable[[int], str]) -> TextIO:
    """Put such a stream in the place of `sys.stderr`, for everything that writes there; return it.

    Where standard error is no file (a test's), it stays as it is. When the process ends, what is left is
    written, for `LAST_WORDS` seconds at most.
    """
    present: object = sys.stderr
    if present is None:  # closed at the start (2>&-): what is opened next would be taken for it
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return sys.stderr
    if isinstance(present, Unblocking):
        return sys.stderr
    stream = Unblocking(descriptor, dropped)
    atexit.register(stream.drained, LAST_WORDS)
    sys.stderr = cast(TextIO, stream)  # it has all that anybody uses
    return sys.stderr
