"""Work in a thread of its own. Whatever it raises is logged, counted, and has a consequence that is chosen in advance.

A bare thread that meets an exception is simply gone: nobody follows, delivers or reports any more, and nothing says so.
`tests/test_architecture.py` holds that threads are made here only.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared import metrics
from shared.logs import blame, logger

FIRST_WAIT: Final = 0.5
LAST_WAIT: Final = 30.0
"""Seconds before work that raised is begun again: twice as long each time, so that what can't succeed costs nothing."""

SETTLED: Final = 60.0
"""Seconds of work after which the next exception counts as the first again."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Begin the work again after a while, unless this is set by then. For what keeps no half-done state."""

    stop: threading.Event


@dataclass(frozen=True, slots=True)
class Tell:
    """Call this with the exception, from the thread, and end: it stops the process, or answers who waits."""

    about: Callable[[BaseException], None]


class Background:
    """One named daemon thread. The work ends it by returning."""

    def __init__(self, name: str, work: Callable[[], None], otherwise: Restart | Tell) -> None:
        """`name`: a few, fixed in code; it is a metric's label. `otherwise`: what follows an exception."""
        self._name = name
        self._work = work
        self._otherwise = otherwise
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin. Once only."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.is_alive()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the work has ended, so long at most; at once where it was never begun."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        wait = FIRST_WAIT
        while True:
            begun = time.monotonic()
            try:
                self._work()
                return
            except BaseException as error:
                metrics.BACKGROUND_FAILURES.labels(self._name).inc()
                logger(self._name).error("work in the background failed", **blame(error))
                if isinstance(self._otherwise, Tell):
                    self._otherwise.about(error)
                    return
            wait = FIRST_WAIT if time.monotonic() - begun > SETTLED else wait
            if self._otherwise.stop.wait(wait):
                return
            wait = min(2 * wait, LAST_WAIT)
