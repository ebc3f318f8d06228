"""Searches of one picture among many people: how often the right one is missed, at what rank, and strangers named.

One picture of each person is the gallery, every other one a mated probe. A probe is missed (FNIR) where its own person
is below the threshold; that somebody else scores higher doesn't matter, since all above it are named.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from services.evaluate.background import GRID, Strangers
from services.evaluate.report import Agreement, AsSet, AtRank, Identification, Operation, Rate
from services.evaluate.statistics import bounds, draw_people
from services.evaluate.trials import Faces, Mask, Whole, similarities
from services.match.policy import Policy
from shared.biometrics import ALL_GALLERIES
from shared.calibration import Comparator, expected_false_positives, search_threshold
from shared.mixture import Floats

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TARGETS: Final = (0.1, 0.01, 0.001)
RANKS: Final = (1, 5, 10, 20)
_LAST_RANK: Final = 50
_COMPARED: Final = (0.5, 0.2, 0.1, 0.05, 0.02)
"""FPIR among real people at which synthetic ones are compared with them."""
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Every mated probe, searched among one picture of each person."""

    probe: Whole = field(repr=False)
    """(m,) row of the probe."""
    person: Whole = field(repr=False)
    db: Floats = field(repr=False)
    """(m,) score of its own person."""
    rank: Whole = field(repr=False)
    """(m,) 1: nobody scores as high; a tie counts against the probe."""
    size: int
    """People in the gallery."""

    def rate(self, happened: Mask) -> Rate:
        """Return the share of the probes (m,) to which something happened; bounds by a bootstrap over people."""
        hits, of = int(happened.sum()), len(happened)
        people, person = np.unique(self.person, return_inverse=True)
        drawn = draw_people(len(people))
        shares = (drawn @ np.bincount(person, happened)) / (drawn @ np.bincount(person))
        return Rate.counted(hits, of, bounds(shares, hits, of, len(people)))

    def missed(self, threshold: float) -> Rate:
        """Return FNIR."""
        return self.rate(self.db < threshold)


def search(comparator: Comparator, faces: Faces) -> Searches:
    """Search all pictures but each person's first among the first ones."""
    first = faces.first
    references = faces.rows(first)
    others = np.setdiff1d(np.arange(len(faces)), first)
    db, rank = np.zeros(len(others)), np.zeros(len(others), dtype=np.int64)
    for begin in range(0, len(others), _BLOCK):
        rows = others[begin : begin + _BLOCK]
        s = similarities(faces.rows(rows), references)
        own = s[np.arange(len(rows)), faces.person[rows]]
        db[begin : begin + len(rows)] = comparator.decibels(own)
        rank[begin : begin + len(rows)] = (s >= own[:, None]).sum(axis=1)
    return Searches(others, faces.person[others], db, rank, len(first))


def identification(searches: Searches, real: Strangers, synthetic: Strangers | None, policy: Policy) -> Identification:
    """Put everything about searches together. There is a mated probe at least."""
    curves = {size: synthetic.false_positives(size) if synthetic else None for size in SIZES}
    return Identification(
        gallery=searches.size,
        mated_probes=len(searches.probe),
        non_mated_probes=len(synthetic.share if synthetic else real.share),
        synthetic_people=synthetic.people if synthetic else 0,
        counted_to=synthetic.beyond if synthetic else None,
        operations=[operation(searches, curves[size], size, target) for size in SIZES for target in TARGETS],
        as_set=[as_set(searches, curves[size], size, policy) for size in SIZES],
        agreement=agreement(real, synthetic) if synthetic else [],
        ranks=[AtRank(rank=rank, hit_rate=searches.rate(searches.rank <= rank)) for rank in RANKS],
        cmc=[float((searches.rank <= rank).mean()) for rank in range(1, min(_LAST_RANK, searches.size) + 1)],
    )


def operation(searches: Searches, curve: Floats | None, size: int, target: float) -> Operation:
    """Return FNIR where a search among `size` people names a stranger with probability `target`.

    `curve`: that probability at each threshold of GRID, among synthetic people.
    """
    low = np.flatnonzero(curve <= target) if curve is not None else np.zeros(0)
    threshold = round(float(GRID[low[0]]), 1) if len(low) else None
    declared = float(search_threshold(-10 * np.log10(target), size))
    return Operation(
        size=size,
        target=target,
        threshold=threshold,
        fnir=None if threshold is None else searches.missed(threshold),
        declared_threshold=declared,
        declared_fnir=searches.missed(declared),
    )


def as_set(searches: Searches, curve: Floats | None, size: int, policy: Policy) -> AsSet:
    """Return what a search among `size` people does by the system's own policy."""
    threshold = policy.for_identification(ALL_GALLERIES, size)
    return AsSet(
        size=size,
        threshold=round(threshold, 4),
        fnir=searches.missed(threshold),
        declared_fpir=expected_false_positives(threshold, size),
        fpir=None if curve is None else float(np.interp(threshold, GRID, curve)),
    )


def agreement(real: Strangers, synthetic: Strangers) -> list[Agreement]:
    """Compare searches among all real people with those among as many synthetic ones, at _COMPARED."""
    named = (real.share > 0).mean(axis=0)
    made = synthetic.false_positives(real.people)
    found: list[Agreement] = []
    for target in _COMPARED:
        at = int(np.argmax(named <= target))
        rate, other = float(named[at]), float(made[at])
        # Fewer than some ten searches say nothing about a ratio.
        if rate * len(real.share) >= 10:
            found.append(
                Agreement(
                    size=real.people,
                    threshold=round(float(GRID[at]), 1),
                    real_fpir=rate,
                    synthetic_fpir=other,
                    ratio=other / rate,
                )
            )
    return found
