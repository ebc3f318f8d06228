"""The gallery: who is enrolled, with which references, at one position of the log. State of the fold, nothing else.

An encounter has one row. Rows are only ever appended, so their numbers are the order of enrolment; what is removed or
replaced leaves dead rows behind, which the next load of a snapshot drops.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from pydantic import TypeAdapter

from services.match.index import FaissIndex, Rows
from shared.biometrics import ALL_GALLERIES
from shared.calibration import Comparator, Prepared
from shared.encounters import Change, Drop, Encounter, Key, Put, Update

ENCOUNTER = TypeAdapter(Encounter)


class Gallery:
    """What `gallery[0:position]` adds up to, for one calibration."""

    def __init__(self, comparator: Comparator) -> None:
        self.comparator = comparator
        self.calibration = comparator.calibration.digest()
        """Names what the rows were made with: another calibration's state is another state."""
        self.position = 0
        """The next offset of the log: everything before it is in here."""
        self._index = FaissIndex(comparator)
        self._encounters: dict[Key, Encounter] = {}
        self._rows: dict[Key, int] = {}
        self._persons: dict[str, dict[str, Key]] = defaultdict(dict)
        self._owners: list[Key | None] = []
        self._filed: dict[tuple[str, ...], int] = defaultdict(int)
        self._applied: set[bytes] = set()

    # ---- what is known (shared.encounters.Known)

    def encounter(self, key: Key) -> Encounter | None:
        return self._encounters.get(key)

    def encounters_of(self, person_id: str) -> Sequence[Encounter]:
        keys = self._persons.get(person_id, {})
        return [self._encounters[keys[encounter_id]] for encounter_id in sorted(keys)]

    def __len__(self) -> int:
        return len(self._encounters)

    def count(self, galleries: Iterable[str]) -> int:
        """Return how many active encounters are filed under any of the galleries."""
        wanted = set(galleries)
        everywhere = ALL_GALLERIES in wanted
        return sum(n for filed, n in self._filed.items() if everywhere or not wanted.isdisjoint(filed))

    def knows_gallery(self, gallery: str) -> bool:
        """Tell whether a gallery was ever used; ALL always is."""
        return gallery == ALL_GALLERIES or any(gallery in filed for filed in self._filed)

    # ---- how it changes

    def mark_applied(self, event_id: str) -> bool:
        """Remember an event; tell whether it is new. A copy that a crash brought about must change nothing."""
        digest = _digest(event_id)
        if digest in self._applied:
            return False
        self._applied.add(digest)
        return True

    def carry_out(self, changes: Sequence[Change], reference: Prepared | None = None) -> None:
        """Change what `plan` says; `reference` (n = 1) is that of the encounter that is put."""
        for change in changes:
            match change:
                case Put():
                    assert reference is not None
                    if change.encounter.key in self._encounters:
                        self._drop(change.encounter.key)
                    self._owners.append(None)
                    self._index.add(reference)
                    self._remember(change.encounter, len(self._owners) - 1)
                case Update():
                    row = self._rows.pop(change.key)
                    self._forget(change.key)
                    self._remember(change.encounter, row)
                case Drop():
                    self._drop(change.key)

    def _remember(self, encounter: Encounter, row: int) -> None:
        key = encounter.key
        self._encounters[key] = encounter
        self._rows[key] = row
        self._persons[key.person_id][key.encounter_id] = key
        self._owners[row] = key
        self._filed[encounter.galleries] += encounter.active

    def _forget(self, key: Key) -> None:
        encounter = self._encounters.pop(key)
        self._filed[encounter.galleries] -= encounter.active
        del self._persons[key.person_id][key.encounter_id]
        if not self._persons[key.person_id]:
            del self._persons[key.person_id]

    def _drop(self, key: Key) -> None:
        self._owners[self._rows.pop(key)] = None
        self._forget(key)

    # ---- how it is searched

    @property
    def rows(self) -> int:
        """How many rows there are, dead ones included."""
        return len(self._owners)

    def near(self, probes: Prepared, limits: Sequence[float]) -> Sequence[Rows]:
        """Return, for each probe, the rows that may compare with it at its limit or above (and all that do)."""
        return self._index.near(probes, limits)

    def compare(self, probe: Prepared, rows: Rows, limit: float) -> Iterator[tuple[float, int, Encounter]]:
        """Yield (s, row, encounter) of those rows that compare at `limit` or above and whose encounter is active.

        Exactly: this, and not FAISS, is what decisions rest on (I3).
        """
        if not len(rows):
            return
        exact = self.comparator.similarity(probe, self._index.references(rows))
        found = exact >= limit
        similarities: list[float] = exact[found].tolist()
        numbers: list[int] = rows[found].tolist()
        for s, row in zip(similarities, numbers, strict=True):
            key = self._owners[row]
            if key is not None and (encounter := self._encounters[key]).active:
                yield s, row, encounter

    def references_of(self, encounters: Iterable[Encounter]) -> Prepared:
        """Return the references of some encounters, in the order of enrolment."""
        rows = sorted(self._rows[encounter.key] for encounter in encounters)
        return self._index.references(np.array(rows, np.int64))

    # ---- as a whole

    def view(self) -> "GalleryView":
        """Return this state, fixed, to be written while the fold goes on: rows never change, the rest is copied.

        The fold stands still meanwhile, so what is large, the rows, is left to whoever reads them.
        """
        ordered = sorted(self._rows.items(), key=lambda item: item[1])
        filed = tuple(sorted({gallery for galleries in self._filed for gallery in galleries}))
        return GalleryView(
            position=self.position,
            model=self.comparator.calibration.model,
            calibration=self.calibration,
            encounters=tuple(self._encounters[key] for key, _ in ordered),
            galleries=filed,
            applied=b"".join(sorted(self._applied)),
            references=partial(self._index.references, np.array([row for _, row in ordered], np.int64)),
        )

    @classmethod
    def restored(cls, view: "GalleryView", comparator: Comparator) -> "Gallery":
        """Build the state that a view was taken of; dead rows are left out. Raises ValueError where it does not fit."""
        gallery = cls(comparator)
        gallery.position = view.position
        gallery._applied = {view.applied[i : i + 16] for i in range(0, len(view.applied), 16)}
        for name in view.galleries:
            gallery._filed[name,] += 0
        gallery._index.add(view.references())
        for row, encounter in enumerate(view.encounters):
            gallery._owners.append(None)
            gallery._remember(encounter, row)
        return gallery


@dataclass(frozen=True, slots=True)
class GalleryView:
    """One state of the gallery."""

    position: int
    model: str
    calibration: str
    encounters: tuple[Encounter, ...] = field(repr=False)
    """In the order of enrolment."""
    galleries: tuple[str, ...]
    """Every gallery ever used."""
    applied: bytes = field(repr=False)
    """16 bytes for each event that was applied, sorted."""
    references: Callable[[], Prepared] = field(repr=False)
    """Copies those of the encounters, in their order; in any thread."""

    def digest(self) -> str:
        """SHA-256 (hex) of all that the log determines: equal for a live run, a snapshot's, and a cold replay (I3)."""
        digest = hashlib.sha256(f"{self.position} {self.calibration} {self.galleries}\n".encode())
        for encounter in self.encounters:
            digest.update(ENCOUNTER.dump_json(encounter) + b"\n")
        for part in packed(self.references()):
            digest.update(part)
        digest.update(self.applied)
        return digest.hexdigest()


def packed(references: Prepared) -> tuple[memoryview, memoryview]:
    """Return vectors and nearness as bytes that are the same on every machine: little-endian float32 and float64.

    Not copied where they are so already: a gallery's are most of what there is.
    """
    vectors = np.ascontiguousarray(references.vectors, "<f4").reshape(-1)
    return vectors.view(np.uint8).data, np.ascontiguousarray(references.nearness, "<f8").view(np.uint8).data


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()
