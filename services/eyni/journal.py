"""What a station has done so far: one JSON line for each picture that was answered, so that a break costs nothing."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from services.eyni.common import Failed
from shared import files
from shared.reading import opened

Outcome = Literal["enrolled", "suspected", "refused", "conflict", "unusable", "error"]


@dataclass(frozen=True, slots=True)
class Result:
    """One picture's answer."""

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)
    file: str
    """Path below the station's folder, as `folder.shown` writes it."""
    stamp: str
    """Size and times of change: a picture that was taken again is sent again."""
    person: str
    outcome: Outcome
    """enrolled, suspected, refused, conflict; unusable, which no sending again changes (the message says what to do);
    or error, which is tried again next time."""
    reasons: tuple[str, ...] = ()
    """refused: why, as the station shows it."""
    candidates: tuple[tuple[str, float], ...] = ()
    """suspected: whom, with the score in dB."""
    message: str = ""
    seconds: float = 0.0
    how: str = ""
    """A digest of how it was sent: where to, as which encounter, to which galleries. Empty in older journals."""

    @property
    def final(self) -> bool:
        return self.outcome != "error"

    def line(self) -> dict[str, JsonValue]:
        """Return what has something to say, for JSON."""
        full: dict[str, JsonValue] = _RESULT.dump_python(self, mode="json")
        return {name: value for name, value in full.items() if value not in ("", [])}


_RESULT = TypeAdapter(Result)


_BEGINNING: Final = b"{"
"""How each line begins, cut off or not."""


class Journal:
    """Appends results, and knows those of earlier runs. A line that a crash cut off counts as not sent."""

    def __init__(self, path: Path) -> None:
        """Raises Failed for a file that is something else: to append to somebody's picture would spoil it."""
        self.path = path
        self.done: dict[str, Result] = {}
        files.folder(path.parent)
        written, is_ours = b"\n", not path.exists() or not path.stat().st_size
        for written in _lines(path):
            is_ours = is_ours or written.startswith(_BEGINNING)
            if (result := _result(written)) is not None:
                self.done[result.file] = result
        if not is_ours:
            raise Failed(f"{path}: is no journal of a station, so nothing is written into it: name another (--journal)")
        self._file = files.opened(path, "ab")
        if not written.endswith(b"\n"):
            self._file.write(b"\n")

    def knows(self, file: str, stamp: str, how: str) -> bool:
        """Whether a file was answered, and sending it again, in this way, would change nothing."""
        result = self.of(file, how)
        return result is not None and result.final and result.stamp == stamp

    def of(self, file: str, how: str) -> Result | None:
        """Return a file's latest result, if it was sent in this way."""
        result = self.done.get(file)
        return result if result is not None and result.how in (how, "") else None

    def add(self, result: Result) -> None:
        self.done[result.file] = result
        with files.about(self.path):
            self._file.write(json.dumps(result.line(), separators=(",", ":")).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        with files.about(self.path):
            self._file.close()


def _result(line: bytes) -> Result | None:
    try:
        result = _RESULT.validate_json(line)
    except ValidationError:
        return None
    return None if result.outcome == "refused" and not result.reasons else result


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with opened(path) as file:
            yield from file


def default_path(data: Path, folder: Path, part: tuple[int, int]) -> Path:
    """Return where the journal of a folder (or of one station's part of it) is kept."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return data / "stations" / f"{name}-{part[0]}-{part[1]}.jsonl"
