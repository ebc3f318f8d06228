"""Progress: a bar on a terminal, a line every few seconds anywhere else."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 5.0
"""Seconds between two lines where there is no terminal: often enough to see life in a log file."""

Step = Callable[[str], None]


@contextmanager
def meter(console: Console, title: str, total: int) -> Generator[Step, None, None]:
    """Yield a function that counts one more and shows what it was."""
    if not console.is_terminal:
        yield _lines(console, title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, rate="", last="")
        start = time.monotonic()

        def step(what: str) -> None:
            progress.advance(task)
            done = progress.tasks[task].completed
            progress.update(task, rate=f"{done / (time.monotonic() - start):.1f}/s", last=what)

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
            console.print(f"{title}: {done} of {total}, {done / (now - start):.1f} a second")

    return step
