"""Runs the real extraction workers over many pictures, on all cores; what is done stays done when it is broken off."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from services.enroll import bootstrap
from services.enroll.pool import Pool
from services.enroll.quality import Extracted, Limits
from services.evaluate.labelled import Picture
from shared import files
from shared.biometrics import STRICT, RetakeReason, Template
from shared.model import Model
from shared.reading import Unreadable, opened
from shared.settings import Settings

FILE_LIMIT: Final = 100 * 2**20
"""Bytes of a file that are read at most: 25 million pixels (`pixel_limit`) take 75 MB without any compression. Protects
the memory of this machine, where 2 pictures for each worker are held at once."""

UNREAD: Final = "cannot be read"
"""Begins the reason of a picture whose file the system does not give; its own reason follows."""


class Stopped(Exception):
    """Broken off where `stop` said so; what was extracted is in the journal."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and what came of it."""

    picture: Picture
    template: Template | None
    reason: str | None
    """Why there is no template."""


class Workers:
    """The worker processes of one model; all start for the first picture that needs one, for none may."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """Warm. Raises services.enroll.pool.CannotStart, ModelRefused."""
        if self._pool is None:
            self._pool = bootstrap.pool(self.settings, self.model)
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()


def extract(
    pictures: Sequence[Picture],
    workers: Workers,
    journal: Path,
    *,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> list[Sample]:
    """Extract all, and return a sample for each picture, in order.

    `progress` hears (done, of how many) after each picture. What the journal has, from an earlier run over the same
    bytes, is not done again; without a picture left to do, no worker is started. The same bytes are extracted once,
    however often they are among the pictures. Raises Stopped, OSError, services.enroll.pool.CannotStart, ModelRefused.
    """
    with contextlib.closing(Journal(journal)) as known:
        return _Run(pictures, workers, known, progress, stop).run()


class _Run:
    def __init__(
        self,
        pictures: Sequence[Picture],
        workers: Workers,
        journal: "Journal",
        progress: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> None:
        self._pictures = pictures
        self._workers = workers
        self._journal = journal
        self._progress = progress
        self._stop = stop
        self._basis = basis(workers.model, workers.settings)
        self._flying: dict[Future[Extracted], str] = {}
        self._waiting: dict[str, int] = {}
        """How many pictures wait for the result of these bytes."""
        self._count = 0

    def run(self) -> list[Sample]:
        found = [self._begin(picture) for picture in self._pictures]
        while self._flying:
            self._collect()
        return [self._sample(*pair) for pair in zip(self._pictures, found, strict=True)]

    def _begin(self, picture: Picture) -> "str | Unread":
        """See to a picture; return the key of its result, or what is wrong with its file."""
        if self._stop():
            raise Stopped
        image = image_of(picture.path)
        if isinstance(image, Unread):
            self._done(1)
            return image
        key = hashlib.sha256(self._basis + hashlib.sha256(image).digest()).hexdigest()
        if key in self._waiting:
            self._waiting[key] += 1
        elif self._is_known(key):
            self._done(1)
        else:
            pool = self._workers.pool
            # Twice as many as are worked on: no worker waits for the disk, and memory stays bounded.
            while len(self._flying) >= 2 * pool.size:
                self._collect()
            self._waiting[key] = 1
            self._flying[pool.submit(image)] = key
        return key

    def _is_known(self, key: str) -> bool:
        found = self._journal.done.get(key)
        if found is None or found.template is None:
            return found is not None
        model = self._workers.model
        return found.template.model == model.id and found.template.vector.size == model.manifest.dimension

    def _collect(self) -> None:
        """Take in what is ready; wait until something is."""
        ready: set[Future[Extracted]] = set()
        while not ready:
            if self._stop():
                raise Stopped
            ready, _ = wait(self._flying, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in ready:
            key = self._flying.pop(future)
            self._journal.add(key, future.result())
            self._done(self._waiting.pop(key))

    def _done(self, count: int) -> None:
        self._count += count
        self._progress(self._count, len(self._pictures))

    def _sample(self, picture: Picture, found: "str | Unread") -> Sample:
        if isinstance(found, Unread):
            return Sample(picture, None, found.reason)
        result = self._journal.done[found]
        return Sample(picture, result.template, None if result.template else str(result.quality.defects[0].reason))


def basis(model: Model, settings: Settings) -> bytes:
    """Return a digest of what a result depends on, apart from the picture."""
    limits = {
        "model": model.id,
        "limits": asdict(Limits.of(settings)),
        "pixel_limit": settings.pixel_limit,
        "memory_limit": settings.memory_limit,
        "time_limit": settings.time_limit,
    }
    return hashlib.sha256(json.dumps(limits, sort_keys=True).encode()).digest()


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that gives no picture to extract, and why."""

    reason: str


def image_of(path: Path) -> bytes | Unread:
    """Read a picture's file."""
    try:
        with opened(path) as file:
            image = file.read(FILE_LIMIT + 1)
    except Unreadable:
        return Unread(f"{UNREAD}: not a file")
    except OSError as error:
        return Unread(f"{UNREAD}: {error.strerror}")
    return Unread(str(RetakeReason.TOO_LARGE)) if len(image) > FILE_LIMIT else image


# ---- the journal


@dataclass(frozen=True, slots=True)
class _Line:
    __pydantic_config__ = STRICT
    key: str
    extracted: Extracted


_LINE: Final = TypeAdapter(_Line)


class Journal:
    """One JSON line for each picture that was extracted, written as soon as it is. It holds templates: 0600.

    A line is found by a digest of the picture's bytes, the model's id and the extraction's settings, so a file may
    serve several folders and models. A line that a crash cut off counts as not done.
    """

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises OSError."""
        self.path = path
        self.done: dict[str, Extracted] = {}
        files.folder(path.parent)
        self._file = os.fdopen(files.descriptor(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW), "ab")
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def add(self, key: str, extracted: Extracted) -> None:
        self.done[key] = extracted
        with files.about(self.path):
            self._file.write(_LINE.dump_json(_Line(key, extracted)) + b"\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        line = b"\n"
        with self.path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValidationError):
                    found = _LINE.validate_json(line)
                    self.done[found.key] = found.extracted
        if not line.endswith(b"\n"):
            self._file.write(b"\n")  # what comes next is not to be read as the end of what was cut off


def journal_path(data: Path, source: Path, model: Model) -> Path:
    """Return where the journal of this model over this folder, CSV or .npz is kept."""
    name = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:16]
    return data / "extractions" / f"{model.id}-{name}.jsonl"
