"""What the command writes: lines, tables, progress bars. The only file here that prints, and that imports rich.

Nothing that passes through here is markup, and all of it goes through `printable`: the name of a person, a file or a
gallery, and another program's words, stand on the terminal as what they are and steer nothing. Colours are `Styled`.
"""

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, Literal, Protocol

from rich.console import Console as _Rich
from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table as _RichTable
from rich.text import Text

from shared.text import printable

Style = Literal["bold", "green", "yellow", "red", "cyan", "bold green", "bold red"]


@dataclass(frozen=True, slots=True)
class Styled:
    """A piece of text in a colour."""

    text: str
    style: Style


Part = str | Styled
"""A piece of a line."""
Line = Part | Sequence[Part]


def _text(line: Line) -> Text:
    parts = [line] if isinstance(line, str | Styled) else line
    styled = [(part.text, part.style) if isinstance(part, Styled) else (part, "") for part in parts]
    return Text.assemble(*((printable(text), style) for text, style in styled))


class Table:
    """Columns by their headings, and rows."""

    def __init__(
        self,
        *columns: str,
        title: Line = "",
        caption: Line = "",
        right: Sequence[str] = (),
        whole: bool = False,
    ) -> None:
        """`right`: columns whose cells stand to the right. `whole`: the first column is never wrapped."""
        self._table = _RichTable(
            title=_text(title) if title else None,
            caption=_text(caption) if caption else None,
            title_justify="left",
            caption_justify="left",
        )
        for n, name in enumerate(columns):
            # Of a long id the end tells people apart: folded, not cut off as is usual.
            side: Literal["right", "left"] = "right" if name in right else "left"
            self._table.add_column(_text(name), justify=side, no_wrap=whole and not n, overflow="fold")

    def row(self, *cells: Line) -> None:
        self._table.add_row(*map(_text, cells))

    def section(self) -> None:
        self._table.add_section()


@dataclass(frozen=True, slots=True)
class Lines:
    """Several tables and lines, to be shown at once."""

    parts: Sequence[Table | Line]

    def rendered(self) -> Group:
        """Return what rich draws."""
        return Group(*(part._table if isinstance(part, Table) else _text(part) for part in self.parts))  # pyright: ignore[reportPrivateUsage]


class Update(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int | None, last: str = "") -> None:
        """Say how much is done, of how much (None: not known), and what was done last."""


class Console:
    """Standard output, or standard error for what is beside the answer."""

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        """`file` and `width`: for tests."""
        self._rich = _Rich(stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False)

    @property
    def is_terminal(self) -> bool:
        return self._rich.is_terminal

    def say(self, *parts: Part) -> None:
        """Write one line, however long; what would break it is escaped."""
        self._rich.print(_text(parts), soft_wrap=True)

    def show(self, *parts: Table | Line) -> None:
        """Write tables, and lines that are wrapped at the terminal's width."""
        self._rich.print(Lines(parts).rendered())

    @contextmanager
    def working(self, what: str) -> Generator[None]:
        """Show on a terminal that something takes its time."""
        if self.is_terminal:
            with self._rich.status(_text(f"{what} ..."), spinner="line"):
                yield
        else:
            yield

    @contextmanager
    def live(self, first: Lines) -> Generator[Callable[[Lines], None]]:
        """Yield a function that shows something in the place of what was shown before."""
        with Live(first.rendered(), console=self._rich, auto_refresh=False, screen=False) as live:
            yield lambda lines: live.update(lines.rendered(), refresh=True)

    @contextmanager
    def bars(self, kind: Literal["pictures", "bytes", "steps"], *, stays: bool = True) -> Generator["Bars"]:
        """Show progress bars; `stays`: they are left on the screen."""
        title = TextColumn("{task.description:<44}" if kind == "steps" else "{task.description}", markup=False)
        columns: dict[str, Sequence[ProgressColumn]] = {
            "pictures": (
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
                TextColumn("{task.fields[last]}", style="dim", markup=False),
            ),
            "bytes": (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()),
            "steps": (TaskProgressColumn(), TimeElapsedColumn()),
        }
        with Progress(title, BarColumn(), *columns[kind], console=self._rich, transient=not stays) as progress:
            yield Bars(progress)


class Bars:
    """Progress bars, one below the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def add(self, what: str, total: int | None = None) -> Update:
        """Begin a bar; return what moves it."""
        task = self._progress.add_task(printable(what), total=total, rate="", last="")
        start = time.monotonic()

        def update(done: int, total: int | None, last: str = "") -> None:
            rate = f"{done / max(time.monotonic() - start, 1e-3):.1f}/s"
            self._progress.update(task, completed=done, total=total, rate=rate, last=printable(last, 60))

        return update

    def stop(self) -> None:
        self._progress.stop()


def out(answer: object) -> None:
    """Print an answer for scripts: one line of JSON, in ASCII, so that nothing in it steers a terminal."""
    print(json.dumps(answer), flush=True)


def complain(problem: str) -> None:
    """Say on standard error what is wrong, in one line."""
    Console(stderr=True).say(f"{_NAME}: {problem}")


_NAME: Final = "eyni"
