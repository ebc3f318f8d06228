"""The gallery on disk, with the position that it reflects: written whole or not at all, adopted whole or not at all.

A generation is a folder named by its position: `vectors.f32` (little-endian float32 rows), `nearness.f64`,
`encounters.jsonl`, `applied.bin` and `manifest.json`, which says what they must be (SHA-256 and size of each, format,
log, model, calibration) and ends with its own SHA-256. FAISS's own files carry no integrity (reliability.md, D4), so
none is written: the index is built anew from verified rows.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from services.match.gallery import ENCOUNTER, Gallery, GalleryView, packed
from shared import files
from shared.biometrics import STRICT
from shared.calibration import Comparator, Prepared

FORMAT: Final = 3
"""Counts up when the files change, or what our own code puts into them (fusion, nearness): rows made otherwise are
another state than a cold replay's (I3). 1 held templates as extracted; 2 took half the variance off every mean, of
whatever model."""
KEPT: Final = 2
"""Generations on disk: the newest, and the one before it in case the newest is damaged (I5)."""

_TMP: Final = ".writing"
_REFUSED: Final = ".refused"


@dataclass(frozen=True, slots=True)
class Manifest:
    __pydantic_config__ = STRICT
    format: int
    log: str
    """Identity of the gallery topic: a snapshot of another log is foreign."""
    position: int
    model: str
    dimension: int
    calibration: str
    """SHA-256 (hex) of the calibration that the rows were made with."""
    encounters: int
    galleries: tuple[str, ...]
    state: str
    """`GalleryView.digest` of what was written."""
    files: dict[str, tuple[int, str]]
    """Name: (bytes, SHA-256 in hex)."""


_MANIFEST: Final = TypeAdapter(Manifest)
_OBJECT: Final = TypeAdapter(dict[str, object])


@dataclass(frozen=True, slots=True)
class _Said:
    """What manifests of all formats have."""

    log: str
    position: int
    encounters: int


_SAID: Final = TypeAdapter(_Said)


class SnapshotRefused(Exception):
    """A generation that must not be used; says which file, and why."""


class LostLog(Exception):
    """A snapshot knows more than the log holds, or another log: whoever it knows would be cleared. An operator decides.

    The message says what is known, of which log, and what to do.
    """


@dataclass(frozen=True, slots=True)
class Witness:
    """What a generation of any format says of the log that it was made from; a damaged one, by its name alone."""

    folder: Path
    log: str
    """Empty where it cannot be read."""
    position: int
    encounters: int

    @classmethod
    def of(cls, generation: Path) -> "Witness":
        """Read it."""
        try:
            said = _SAID.validate_python(_sealed(generation))
        except (SnapshotRefused, ValidationError):
            return cls(generation, "", int(generation.name), 0)
        return cls(generation, said.log, said.position, said.encounters)

    def contradicts(self, log: str, end: int) -> bool:
        """Tell whether it knows another log, or this one further than `end`. That of an empty log knows nothing."""
        return self.position > 0 and (self.position > end or self.log not in ("", log))

    def in_words(self) -> str:
        """Say it in a line for the operator."""
        if not self.log:
            return f"encounters at position {self.position} of a log (snapshot {self.folder}, which is damaged)"
        return f"{self.encounters} encounters at position {self.position} of log {self.log} (snapshot {self.folder})"


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The generations in one folder."""

    folder: Path

    def generations(self) -> list[Path]:
        """Return what is there, newest first; half-written ones are not."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if p.name.isdigit()), reverse=True)

    def contradicting(self, log: str, end: int) -> list[Witness]:
        """Return the generations that know another log, or this one further than `end` (its next offset).

        A damaged one counts by the position that it is named by: log and manifest may be lost at once.
        """
        witnesses = map(Witness.of, self.generations())
        return [witness for witness in witnesses if witness.contradicts(log, end)]

    def sweep(self) -> None:
        """Remove what writers left behind that were killed: it holds templates, and nobody will read it."""
        for left in self.folder.glob(f"*{_TMP}"):
            shutil.rmtree(left)

    def set_aside(self, generation: Path) -> Path:
        """Rename a generation that was refused, for the operator to look at; the last `KEPT` of them stay."""
        aside = generation.with_name(generation.name + _REFUSED)
        shutil.rmtree(aside, ignore_errors=True)
        generation.rename(aside)
        for old in sorted(self.folder.glob(f"*{_REFUSED}"), key=lambda p: p.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(old)
        return aside

    def write(self, view: GalleryView, log: str) -> Path:
        """Write a generation: files, then manifest, each on disk before the folder gets its name.

        One that is there already at this position was adopted, or written by this process: it holds the same.

        Raises OSError (disk full, …); what was there before is then still there and valid.
        """
        final = self.folder / f"{view.position:020d}"
        if final.exists():
            return final
        files.folder(self.folder)
        scratch = self.folder / f"{final.name}{_TMP}"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            files.folder(scratch)
            # Before the rows are read for the files: one copy of them at a time is enough.
            state = view.digest()
            references = view.references()
            vectors, nearness = packed(references)
            contents: dict[str, bytes | memoryview] = {
                "vectors.f32": vectors,
                "nearness.f64": nearness,
                "encounters.jsonl": b"".join(ENCOUNTER.dump_json(encounter) + b"\n" for encounter in view.encounters),
                "applied.bin": view.applied,
            }
            manifest = Manifest(
                format=FORMAT,
                log=log,
                position=view.position,
                model=view.model,
                dimension=references.vectors.shape[1],
                calibration=view.calibration,
                encounters=len(view.encounters),
                galleries=view.galleries,
                state=state,
                files={name: (len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items()},
            )
            for name, content in contents.items():
                _write_durably(scratch / name, content)
            body = _MANIFEST.dump_json(manifest)
            seal = hashlib.sha256(body).hexdigest().encode()
            _write_durably(scratch / "manifest.json", body + b"\n" + seal + b"\n")
            _sync_folder(scratch)
            scratch.rename(final)
            _sync_folder(self.folder)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        for old in self.generations()[KEPT:]:
            shutil.rmtree(old)
        return final

    def load(self, generation: Path, log: str, end: int, comparator: Comparator) -> Gallery:
        """Verify and load one generation. `end` is the next offset of the gallery log.

        Raises SnapshotRefused for any damage, another log, model or calibration, another format, or a position beyond
        the log's end.
        """
        manifest = _read_manifest(generation)
        if manifest.log != log:
            raise SnapshotRefused(f"{generation.name}: it is a snapshot of another log ({manifest.log}, not {log})")
        if manifest.position > end:
            raise SnapshotRefused(f"{generation.name}: position {manifest.position} is beyond the log's end, {end}")
        wanted = comparator.calibration
        if (manifest.model, manifest.dimension) != (wanted.model, wanted.dimension):
            raise SnapshotRefused(f"{generation.name}: it is of model {manifest.model}; in use is {wanted.model}")
        if manifest.calibration != wanted.digest():
            raise SnapshotRefused(f"{generation.name}: it was made with another calibration of {wanted.model}")
        contents = {name: _read_verified(generation / name, *known) for name, known in manifest.files.items()}
        try:
            gallery = Gallery.restored(_view(manifest, contents), comparator)
        except (KeyError, ValueError) as error:
            raise SnapshotRefused(
                f"{generation.name}: its files contradict each other ({type(error).__name__})"
            ) from None
        if gallery.view().digest() != manifest.state:
            raise SnapshotRefused(f"{generation.name}: the state loaded is not the state written")
        return gallery


def _view(manifest: Manifest, contents: dict[str, bytes]) -> GalleryView:
    encounters = tuple(ENCOUNTER.validate_json(line) for line in contents["encounters.jsonl"].splitlines())
    if len(encounters) != manifest.encounters:
        raise ValueError("counts differ")
    vectors = np.frombuffer(contents["vectors.f32"], "<f4").astype(np.float32, copy=False)
    nearness = np.frombuffer(contents["nearness.f64"], "<f8").astype(np.float64, copy=False)
    references = Prepared(
        vectors.reshape(manifest.encounters, manifest.dimension), nearness.reshape(manifest.encounters)
    )
    return GalleryView(
        position=manifest.position,
        model=manifest.model,
        calibration=manifest.calibration,
        encounters=encounters,
        galleries=manifest.galleries,
        applied=contents["applied.bin"],
        references=lambda: references,
    )


def _read_manifest(generation: Path) -> Manifest:
    written = _sealed(generation)
    if written.get("format") != FORMAT:
        raise SnapshotRefused(f"{generation.name}: format {written.get('format')}; this version reads {FORMAT}")
    try:
        return _MANIFEST.validate_json(json.dumps(written))
    except ValidationError:
        raise SnapshotRefused(f"{generation.name}/manifest.json: not a manifest") from None


def _sealed(generation: Path) -> dict[str, object]:
    """Return what a manifest says, of whatever format, once it is seen to be whole."""
    path = generation / "manifest.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SnapshotRefused(f"{generation.name}/manifest.json: {error.strerror}") from None
    body, _, seal = content.partition(b"\n")
    if seal != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise SnapshotRefused(f"{generation.name}/manifest.json: its SHA-256 is not the one it ends with")
    try:
        return _OBJECT.validate_json(body)
    except ValidationError:
        raise SnapshotRefused(f"{generation.name}/manifest.json: not a manifest") from None


def _read_verified(path: Path, size: int, digest: str) -> bytes:
    where = f"{path.parent.name}/{path.name}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SnapshotRefused(f"{where}: {error.strerror}") from None
    if len(content) != size:
        raise SnapshotRefused(f"{where}: {len(content)} bytes, must be {size}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise SnapshotRefused(f"{where}: its SHA-256 is not the manifest's")
    return content


def _write_durably(path: Path, content: bytes | memoryview) -> None:
    with files.opened(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
