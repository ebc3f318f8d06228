"""What a station has done so far: one JSON line for each picture that was answered, so that a break costs nothing."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from shared import files


@dataclass(frozen=True, slots=True)
class Result:
    """One picture's answer."""

    file: str
    """Path below the station's folder."""
    stamp: str
    """Size and time of change: a picture that was taken again is sent again."""
    person: str
    outcome: str
    """enrolled, suspected, refused, conflict; or error, which is tried again next time."""
    reasons: tuple[str, ...] = ()
    """refused: why, as the station shows it."""
    candidates: tuple[tuple[str, float], ...] = ()
    """suspected: whom, with the score in dB."""
    message: str = ""
    seconds: float = 0.0

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
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            try:
                result = _RESULT.validate_json(line)
            except ValidationError:
                continue
            self.done[result.file] = result
        self._file = files.opened(path, "ab")
        if text and not text.endswith("\n"):
            self._file.write(b"\n")

    def knows(self, file: str, stamp: str) -> bool:
        result = self.done.get(file)
        return result is not None and result.final and result.stamp == stamp

    def add(self, result: Result) -> None:
        self.done[result.file] = result
        self._file.write(json.dumps(result.line(), separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def default_path(data: Path, folder: Path, part: tuple[int, int]) -> Path:
    """Return where the journal of a folder (or of one station's part of it) is kept."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return data / "stations" / f"{name}-{part[0]}-{part[1]}.jsonl"
