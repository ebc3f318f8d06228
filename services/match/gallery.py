"""The gallery: who is enrolled, with which templates, at one position of the log. State of the fold, nothing else.

Rows of templates are only ever appended, so their numbers are the order of enrolment; what is removed or replaced
leaves dead rows behind, which the next load of a snapshot drops.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from services.match.index import FaissIndex, Rows, exact_distances
from shared.biometrics import ALL_GALLERIES, Template, Vector
from shared.encounters import Change, Drop, Encounter, Key, Put, Update

ENCOUNTER = TypeAdapter(Encounter)


class ForeignTemplate(ValueError):
    """A template of another model, or of another size, than the gallery holds: it is never compared (I20)."""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one encounter, which are adjacent."""

    start: int
    count: int

    def rows(self) -> Rows:
        return np.arange(self.start, self.start + self.count, dtype=np.int64)


class Gallery:
    """What `gallery[0:position]` adds up to."""

    def __init__(self, model: str | None = None, dimension: int | None = None) -> None:
        self.position = 0
        """The next offset of the log: everything before it is in here."""
        self.model = model
        self._dimension = dimension
        self._index: FaissIndex | None = None if dimension is None else FaissIndex(dimension)
        self._encounters: dict[Key, Encounter] = {}
        self._blocks: dict[Key, Block] = {}
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

    def check(self, templates: Sequence[Template]) -> None:
        """Raise ForeignTemplate unless the templates may stand in this gallery."""
        for template in templates:
            if self.model is not None and template.model != self.model:
                raise ForeignTemplate(f"a template of model {template.model!r}; the gallery's is {self.model!r}")
            if self._dimension is not None and template.vector.size != self._dimension:
                raise ForeignTemplate(
                    f"a template of {template.vector.size} floats; the gallery's have {self._dimension}"
                )
        if len({(t.model, t.vector.size) for t in templates}) > 1:
            raise ForeignTemplate("templates of two models in one event")

    def carry_out(self, changes: Sequence[Change], templates: Sequence[Template] = ()) -> None:
        """Change what `plan` says; `templates` go to the encounter that is put."""
        for change in changes:
            match change:
                case Put():
                    if change.encounter.key in self._encounters:
                        self._drop(change.encounter.key)
                    self._put(change.encounter, templates)
                case Update():
                    block = self._blocks.pop(change.key)
                    self._forget(change.key)
                    self._remember(change.encounter, block)
                case Drop():
                    self._drop(change.key)

    def _put(self, encounter: Encounter, templates: Sequence[Template]) -> None:
        vectors = np.stack([template.vector for template in templates])
        if self._index is None:
            self.model, self._dimension = templates[0].model, int(vectors.shape[1])
            self._index = FaissIndex(self._dimension)
        block = Block(len(self._index), len(vectors))
        self._index.add(vectors)
        self._owners.extend([encounter.key] * len(vectors))
        self._remember(encounter, block)

    def _remember(self, encounter: Encounter, block: Block) -> None:
        key = encounter.key
        self._encounters[key] = encounter
        self._blocks[key] = block
        self._persons[key.person_id][key.encounter_id] = key
        self._owners[block.start : block.start + block.count] = [key] * block.count
        self._filed[encounter.galleries] += encounter.active

    def _forget(self, key: Key) -> None:
        encounter = self._encounters.pop(key)
        self._filed[encounter.galleries] -= encounter.active
        del self._persons[key.person_id][key.encounter_id]
        if not self._persons[key.person_id]:
            del self._persons[key.person_id]

    def _drop(self, key: Key) -> None:
        block = self._blocks.pop(key)
        self._owners[block.start : block.start + block.count] = [None] * block.count
        self._forget(key)

    # ---- how it is searched

    @property
    def rows(self) -> int:
        """How many rows there are, dead ones included."""
        return len(self._owners)

    def near(self, probes: Sequence[Template], radius: float) -> Sequence[Rows]:
        """Return, for each probe, the rows that may be within `radius` (and all that are)."""
        if self._index is None or not probes:
            return [np.empty(0, np.int64) for _ in probes]
        return self._index.near(np.stack([probe.vector for probe in probes]), radius)

    def distances(self, probe: Template, rows: Rows, radius: float = np.inf) -> Iterator[tuple[float, int, Encounter]]:
        """Yield (distance, row, encounter) of those rows nearer than `radius` whose encounter is active, exactly."""
        if self._index is None or not len(rows):
            return
        exact = exact_distances(probe.vector, self._index.vectors(rows))
        near = exact < radius
        distances: list[float] = exact[near].tolist()
        numbers: list[int] = rows[near].tolist()
        for distance, row in zip(distances, numbers, strict=True):
            key = self._owners[row]
            if key is not None and (encounter := self._encounters[key]).active:
                yield distance, row, encounter

    def rows_of(self, encounters: Iterable[Encounter]) -> Rows:
        """Return the rows of some encounters, ascending."""
        blocks = [self._blocks[e.key].rows() for e in encounters]
        return np.sort(np.concatenate(blocks)) if blocks else np.empty(0, np.int64)

    def templates_of(self, encounters: Iterable[Encounter]) -> Sequence[Template]:
        rows = self.rows_of(encounters)
        if self._index is None or self.model is None or not len(rows):
            return []
        return [Template(self.model, vector) for vector in self._index.vectors(rows)]

    # ---- as a whole

    def view(self) -> "GalleryView":
        """Return this state, fixed, to be written while the fold goes on: rows never change, the rest is copied."""
        ordered = sorted(self._blocks.items(), key=lambda item: item[1].start)
        filed = tuple(sorted({gallery for galleries in self._filed for gallery in galleries}))
        return GalleryView(
            position=self.position,
            model=self.model,
            dimension=self._dimension,
            encounters=tuple(self._encounters[key] for key, _ in ordered),
            blocks=tuple(block for _, block in ordered),
            galleries=filed,
            applied=b"".join(sorted(self._applied)),
            vectors=self._index.all_vectors(self.rows) if self._index else np.empty((0, 0), np.float32),
        )

    @classmethod
    def restored(cls, view: "GalleryView") -> "Gallery":
        """Build the state that a view was taken of; dead rows are left out."""
        gallery = cls(view.model, view.dimension)
        gallery.position = view.position
        gallery._applied = {view.applied[i : i + 16] for i in range(0, len(view.applied), 16)}
        for name in view.galleries:
            gallery._filed[name,] += 0
        if gallery._index is not None:
            gallery._index.add(view.live_vectors())
        for encounter, block in zip(view.encounters, view.blocks, strict=True):
            packed = Block(len(gallery._owners), block.count)
            gallery._owners.extend([encounter.key] * block.count)
            gallery._remember(encounter, packed)
        return gallery


@dataclass(frozen=True, slots=True, repr=False)
class GalleryView:
    """One state of the gallery, in the order of enrolment."""

    position: int
    model: str | None
    dimension: int | None
    encounters: tuple[Encounter, ...]
    blocks: tuple[Block, ...]
    galleries: tuple[str, ...]
    """Every gallery ever used."""
    applied: bytes
    """16 bytes for each event that was applied, sorted."""
    vectors: Vector
    """Shape (rows, dimension); dead rows may be among them."""

    def live_vectors(self) -> Vector:
        """Return the vectors of the encounters, in their order, adjacent."""
        if not self.blocks:
            return np.empty((0, self.dimension or 0), np.float32)
        rows = np.concatenate([block.rows() for block in self.blocks])
        return np.ascontiguousarray(self.vectors[rows], dtype="<f4")

    def digest(self) -> str:
        """SHA-256 (hex) of all that the log determines: equal for a live run, a snapshot's, and a cold replay (I3)."""
        digest = hashlib.sha256(f"{self.position} {self.model} {self.dimension} {self.galleries}\n".encode())
        for encounter, block in zip(self.encounters, self.blocks, strict=True):
            digest.update(b"%d " % block.count + ENCOUNTER.dump_json(encounter) + b"\n")
        digest.update(self.live_vectors().tobytes())
        digest.update(self.applied)
        return digest.hexdigest()


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()
