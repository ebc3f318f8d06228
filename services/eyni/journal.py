"""What a station has done so far: one JSON line for each picture that was answered, so that a break costs nothing."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from shared import files
from shared.reading import opened


@dataclass(frozen=True, slots=True)
class Result:
    """One picture's answer."""

    file: str
    """Path below the station's folder, as `folder.shown` writes it."""
    stamp: str
    """Size and times of change: a picture that was taken again is sent again."""
    person: str
    outcome: str
    """enrolled, suspected, refused, conflict; unusable, which no sending again changes (the message says what to do);
    or error, which is tried again next time."""
    reasons: tuple[str, ...] = ()
    """refused: why, as the station shows it."""
    candidates: tuple[tuple[str, float], ...] = ()
    """suspected: whom, with the score in dB."""
    message: str = ""
    seconds: float = 0.0
    how: str = ""
    """unusable: a digest of how it was sent (as which encounter, to which galleries): that may be why."""

    @property
    def final(self) -> bool:
        return self.outcome != "error"

    def line(self) -> dict[str, JsonValue]:
        """Return what has something to say, for JSON."""
        full: dict[str, JsonValue] = _RESULT.dump_python(self, mode="json")
        return {name: value for name, value in full.items() if value not in ("", [])}


_RESULT = TypeAdapter(Result)


class Journal:
    """Appends results, and knows those of earlier runs. A line that a crash cut off counts as not sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Result] = {}
        files.folder(path.parent)
        written = b"\n"
        for written in _lines(path):
            try:
                result = _RESULT.validate_json(written)
            except ValidationError:
                continue
            self.done[result.file] = result
        self._file = files.opened(path, "ab")
        if not written.endswith(b"\n"):
            self._file.write(b"\n")

    def knows(self, file: str, stamp: str, how: str) -> bool:
        """Whether a file was answered, and sending it again would change nothing."""
        result = self.done.get(file)
        if result is None or not result.final or result.stamp != stamp:
            return False
        return result.outcome != "unusable" or result.how == how

    def add(self, result: Result) -> None:
        self.done[result.file] = result
        with files.about(self.path):
            self._file.write(json.dumps(result.line(), separators=(",", ":")).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        with files.about(self.path):
            self._file.close()


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with opened(path) as file:
            yield from file


def default_path(data: Path, folder: Path, part: tuple[int, int]) -> Path:
    """Return where the journal of a folder (or of one station's part of it) is kept."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return data / "stations" / f"{name}-{part[0]}-{part[1]}.jsonl"
