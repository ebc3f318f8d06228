"""Progress: a bar on a terminal, a line every few seconds anywhere else."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from services.eyni.console import Console

LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal: often enough to see life in a log file."""

Step = Callable[[str], None]


@contextmanager
def meter(console: Console, title: str, total: int) -> Generator[Step, None, None]:
    """Yield a function that counts one more and shows what it was."""
    if not console.is_terminal:
        yield _lines(console, title, total)
        return
    with console.bars("pictures") as bars:
        update = bars.add(title, total)
        done = 0

        def step(what: str) -> None:
            nonlocal done
            done += 1
            update(done, total, what)

        yield step


def _lines(console: Console, title: str, total: int) -> Step:
    start = last = time.monotonic()
    done = 0

    def step(_: str) -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last >= LINE_SECONDS or done == total:
            last = now
            console.say(f"{title}: {done} of {total}, {done / max(now - start, 1e-3):.1f} a second")

    return step
