"""Compares all templates with all others: every genuine score, the highest impostor scores, a histogram of the rest.

A *genuine* (mated) trial compares two pictures of one person, an *impostor* (non-mated) trial pictures of two. All
pairs of pictures are trials, as in the published figures; the people behind them are kept, because pictures of one
person are no independent evidence (`statistics`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.calibration import Comparator, Prepared
from shared.mixture import Floats, uniforms

Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]
"""Hears (done, of how many)."""

STEP: Final = 0.05
"""dB between two edges of the histogram: 1 % of a rate, far less than its bounds."""
TOP: Final = 400.0
"""dB at which the histogram ends; what is above counts in its last bin. Identical pictures reach 150 to 300 dB."""
PICTURES: Final = 5
"""Most pictures of one person that are compared, as in a calibration: of LFW's genuine pairs three quarters are of
seven people otherwise, and their figures those of these seven."""
_SEED: Final = 20261123
_BLOCK: Final = 512
"""Rows compared at a time: with 20,000 templates 80 MB of scores."""
_TAIL: Final = 0.03
"""Share of the impostor scores that is kept one by one: what false match rates of 1e-2 and less are read from."""
_ALWAYS: Final = 19.0
"""dB from which on scores are kept in any case: the thresholds that a calibration declares for 1e-2 and less."""
_MOST: Final = 3_000_000
"""Most impostor scores that are kept one by one: 70 MB, and 10 s for their confidence bounds."""
_SAMPLE: Final = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Templates ready to be compared, and whose they are."""

    prepared: Prepared = field(repr=False)
    person: Whole
    """(n,) number of each one's person, 0 to people - 1."""

    @classmethod
    def of(cls, comparator: Comparator, vectors: Vector, persons: Sequence[str]) -> "Faces":
        """Make templates (n, d), which passed the gate, ready; people are numbered by the alphabet."""
        _, person = np.unique(np.asarray(persons, dtype=np.str_), return_inverse=True)
        return cls(comparator.prepare(vectors), person.astype(np.int64))

    def __len__(self) -> int:
        return len(self.person)

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1 if len(self.person) else 0

    @property
    def pictures(self) -> Whole:
        """How many each person has, (people,)."""
        return np.bincount(self.person, minlength=self.people)

    @property
    def first(self) -> Whole:
        """Each person's first row, (people,): the reference where one picture each is enrolled."""
        _, rows = np.unique(self.person, return_index=True)
        return rows.astype(np.int64)

    def rows(self, rows: Whole) -> Prepared:
        return Prepared(self.prepared.vectors[rows], self.prepared.nearness[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Trials one by one."""

    a: Whole = field(repr=False)
    b: Whole = field(repr=False)
    """(k,) rows of the two templates."""
    db: Floats = field(repr=False)
    """(k,) scores."""

    def __len__(self) -> int:
        return len(self.db)

    def where(self, rows: "Mask | Whole") -> "Scored":
        return Scored(self.a[rows], self.b[rows], self.db[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """What comparing a set of faces with itself came to."""

    person: Whole = field(repr=False)
    """(n,) of every template."""
    pictures: Whole = field(repr=False)
    """(people,) how many each person has in this set."""
    genuine: Scored
    """All, lowest score first."""
    tail: Scored
    """Impostor trials of `floor` dB or more, highest score first."""
    floor: float
    histogram: Whole = field(repr=False)
    """Impostor trials by score, bins of STEP dB from 0."""

    @property
    def impostors(self) -> int:
        """Pairs of pictures of two people."""
        return pairs_of_pictures(self.pictures)

    @property
    def people(self) -> int:
        return int((self.pictures > 0).sum())

    @property
    def pairs_of_people(self) -> int:
        return self.people * (self.people - 1) // 2

    @property
    def people_with_pairs(self) -> int:
        """People with two pictures or more."""
        return int((self.pictures > 1).sum())

    def within(self, rows: Mask) -> "Trials":
        """Return the trials with both pictures among `rows` (n,) only; there is no histogram of them."""
        person = self.person[rows]
        return Trials(
            self.person,
            np.bincount(person, minlength=len(self.pictures)),
            self.genuine.where(rows[self.genuine.a] & rows[self.genuine.b]),
            self.tail.where(rows[self.tail.a] & rows[self.tail.b]),
            self.floor,
            np.zeros(0, dtype=np.int64),
        )


def few_of_each(persons: Sequence[str], most: int = PICTURES) -> Whole:
    """Return rows, ascending: at most so many of each person, by lot (always the same one)."""
    _, person = np.unique(np.asarray(persons, dtype=np.str_), return_inverse=True)
    order = np.lexsort((uniforms(_SEED, len(person)), person))
    at = np.arange(len(order))
    begins = np.flatnonzero(np.diff(person[order], prepend=-1))
    place = at - np.repeat(begins, np.diff(np.append(begins, len(order))))
    return np.sort(order[place < most]).astype(np.int64)


def pairs_of_pictures(pictures: Whole) -> int:
    """Return how many pairs of pictures of two different people there are, for so many pictures of each."""
    every = int(pictures.sum())
    return (every * every - int((pictures * pictures).sum())) // 2


def similarities(probes: Prepared, references: Prepared) -> Floats:
    """Compare all with all: s (p, r) in float64, `Comparator.similarity` to 1e-9.

    The references' mean is taken off both sides first: distances stay, numbers and so their rounding shrink.
    """
    middle = references.vectors.mean(axis=0, dtype=np.float64)
    p, r = probes.vectors - middle, references.vectors - middle
    own = probes.nearness - (p * p).sum(axis=1)
    s: Floats = p @ (2 * r.T)
    s += own[:, None]
    s += references.nearness - (r * r).sum(axis=1)
    return s


def compare_all(comparator: Comparator, faces: Faces, progress: Progress = lambda done, total: None) -> Trials:
    """Compare each pair of templates once."""
    n = len(faces)
    pictures = faces.pictures
    floor = _floor(comparator, faces, pairs_of_pictures(pictures))
    histogram = np.zeros(round(TOP / STEP), dtype=np.int64)
    genuine: list[Scored] = []
    tail: list[Scored] = []
    for begin, db in _blocks(comparator, faces):
        later = np.arange(begin, n) > np.arange(begin, begin + len(db))[:, None]
        same = faces.person[begin : begin + len(db), None] == faces.person[begin:]
        genuine.append(_picked(db, same & later, begin))
        apart = later & ~same
        place = np.minimum(db * (1 / STEP), len(histogram) - 1).astype(np.int64)
        histogram += np.bincount(place[apart], minlength=len(histogram))
        tail.append(_picked(db, apart & (db >= floor), begin))
        progress(begin + len(db), n)
    mated, strangers = _joined(genuine), _joined(tail)
    return Trials(
        faces.person,
        pictures,
        mated.where(np.argsort(mated.db, kind="stable")),
        strangers.where(np.argsort(-strangers.db, kind="stable")),
        floor,
        histogram,
    )


def _blocks(comparator: Comparator, faces: Faces) -> Iterator[tuple[int, Floats]]:
    """Yield scores of some rows with all from the first of them on, in dB."""
    for begin in range(0, len(faces), _BLOCK):
        rows, rest = faces.prepared[begin : begin + _BLOCK], faces.prepared[begin:]
        yield begin, comparator.decibels(similarities(rows, rest))


def _picked(db: Floats, wanted: Mask, begin: int) -> Scored:
    a, b = np.nonzero(wanted)
    return Scored(a + begin, b + begin, db[a, b])


def _joined(parts: Sequence[Scored]) -> Scored:
    none = [np.zeros(0, dtype=np.int64)]
    return Scored(
        np.concatenate([part.a for part in parts] or none),
        np.concatenate([part.b for part in parts] or none),
        np.concatenate([part.db for part in parts] or [np.zeros(0)]),
    )


def _floor(comparator: Comparator, faces: Faces, impostors: int) -> float:
    """Return the score from which on impostor trials are kept one by one, estimated on some of them."""
    some = np.unique(np.linspace(0, max(len(faces) - 1, 0), _SAMPLE).astype(np.int64))
    if not impostors or len(some) < 2:
        return 0.0
    prepared, person = faces.rows(some), faces.person[some]
    db = comparator.decibels(similarities(prepared, prepared))[person[:, None] != person]
    if not len(db):
        return 0.0
    wanted = min(float(np.quantile(db, 1 - _TAIL)), _ALWAYS)
    affordable = float(np.quantile(db, max(0.0, 1 - _MOST / impostors)))
    return max(wanted, affordable)
