"""Strangers for galleries larger than the data: synthetic people, and how often a search among N names one of them.

A synthetic person lies half-way between two of the evaluated people who are alike, as far from the mean as a third; how
alike the two are is chosen so that strangers' scores are as high as measured. At 20 to 35 dB they give 0.9 to 1.2 times
the false matches that real strangers give (four models, 290 to 1,474 people); people drawn from a mixture of normal
distributions give a tenth at 40 dB, from one normal distribution a fifth. Nobody's own synthetic relatives count among
the strangers of that person.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from services.evaluate.trials import Faces, Whole, similarities
from shared.biometrics import Vector
from shared.calibration import Comparator, Prepared
from shared.mixture import Floats, uniforms

SEED: Final = 20261124
EACH: Final = 40
"""Synthetic people for each real one, within these limits: what they cost grows with what extraction costs."""
PEOPLE: Final = range(20_000, 100_000)
PROBES: Final = 1_000
"""Most probes, one of each person: 2 seconds."""
MOST_PARENTS: Final = 5_000
"""Most people that synthetic ones are made of, and that are searched among one another: 0.9 GB of scores. It grows with
their square, and would be 13 GB for 20,000."""
LEAST_PEOPLE: Final = 300
"""With fewer the tail of the real pairs, which bounds the synthetic ones', is too flat: FNIR at FPIR 1 % among 100,000
came out at .94 to 1.0 from 120 to 200 people, where 600 give .67 to .85 (dlib, two draws each, 2026-11-23)."""
_ALIKE: Final = (0.05, 0.1, 0.2, 0.45, 1.0)
"""Shares of all people, the nearest ones, that the second is taken from: tried one after the other."""
_TRIED: Final = 5_000
"""Synthetic people for each trial of that share."""
_MATCHED: Final = 100
"""Pairs of real people that reach the score at which synthetic and real false match rates are brought together."""
_ANCHOR: Final = 1e-3
"""A probe's false match rate at which its tail begins. Deeper it would be steeper, and promise more than is known
of real people; calibrations begin theirs about there."""
_KEPT: Final = 0.02
"""Share of a probe's scores, the highest, that is kept."""
_CHUNK: Final = 10_000
GRID: Final = np.arange(0.0, 200.0, 0.1)
"""Thresholds, dB."""


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """How often each probe matches a stranger, by threshold."""

    share: Floats = field(repr=False)
    """(probes, GRID): each probe's own false match rate."""
    people: int
    """Strangers that each was compared with."""
    beyond: float
    """dB: above, half of the probes' rates are extrapolated."""

    def false_positives(self, size: int) -> Floats:
        """Return the FPIR of a search among `size` people at each threshold of GRID."""
        with np.errstate(divide="ignore"):
            nobody = np.exp(size * np.log1p(-np.minimum(self.share, 1.0)))
        rates: Floats = 1 - nobody.mean(axis=0)
        return rates


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """What synthetic people are made of: one template of each real person, seen from their mean. Only in memory."""

    seen: Vector = field(repr=False)
    mean: Vector = field(repr=False)
    neighbours: Whole = field(repr=False)
    """(people, people - 1) the others, nearest first."""
    alike: float
    """Share of the neighbours that the second parent is one of."""
    shift: float = 0.0
    """What comparisons with synthetic people lack where even the nearest neighbours' are not alike enough."""
    excess: float = 0.0
    """By how much real people's highest comparisons exceed the score that 100 pairs reach, in the mean."""

    def draw(self, comparator: Comparator, count: int, seed: int) -> tuple[Prepared, Whole]:
        """Return synthetic people ready to be compared, and the two real ones behind each, (count, 2)."""
        n = len(self.seen)
        chance = uniforms(seed, 4 * count).reshape(4, count)
        one, length = (chance[:2] * n).astype(np.int64)
        near = max(2, round((n - 1) * self.alike))
        other = self.neighbours[one, (chance[2] * near).astype(np.int64)]
        # Not exactly half-way: two people would have one synthetic child only.
        part = (0.4 + 0.2 * chance[3]).astype(np.float32)[:, None]
        made = self.seen[other]
        made += part * (self.seen[one] - made)
        radius = np.sqrt(_squares(self.seen))
        made *= (radius[length] / np.maximum(np.sqrt(_squares(made)), 1e-12))[:, None]
        made += self.mean
        return prepared(comparator, made), np.stack([one, other], axis=1)


def prepared(comparator: Comparator, vectors: Vector) -> Prepared:
    """Make many vectors (n, d) ready to be compared; `Comparator.prepare`, all at once and so to 1e-5 only."""
    calibration = comparator.calibration
    if calibration.unit:
        vectors = (vectors / np.sqrt(_squares(vectors))[:, None]).astype(np.float32)
    if (cohort := calibration.cohort) is None:
        return Prepared(vectors, np.zeros(len(vectors)))
    means, width = np.array(cohort.mixture.means), cohort.softness + 2 * np.array(cohort.mixture.variances)
    constant = np.log(np.array(cohort.mixture.weights)) - 0.5 * np.log(width / cohort.softness).sum(axis=1)
    constant -= (means * means / width).sum(axis=1)
    exponent = (vectors * vectors) @ (-1 / width).T.astype(np.float32)
    exponent += vectors @ (2 * means / width).T.astype(np.float32)
    exponent += constant.astype(np.float32)
    most = exponent.max(axis=1)
    exponent -= most[:, None]
    nearness = -cohort.softness * (most + np.log(np.exp(exponent).sum(axis=1))).astype(np.float64)
    return Prepared(vectors, cohort.weight * nearness)


def _squares(vectors: Vector) -> Vector:
    squares: Vector = np.einsum("nd,nd->n", vectors, vectors)
    return squares


def one_of_each(faces: Faces) -> Whole:
    """Return each person's first row, by lot those of MOST_PARENTS where there are more people."""
    first = faces.first
    if len(first) <= MOST_PARENTS:
        return first
    return first[np.sort(np.argsort(uniforms(SEED - 1, len(first)))[:MOST_PARENTS])]


def real_strangers(comparator: Comparator, faces: Faces) -> Strangers:
    """Search one picture of each person (`one_of_each`) among the others: what the data itself can say."""
    first = one_of_each(faces)
    s = similarities(faces.rows(first), faces.rows(first))
    np.fill_diagonal(s, -np.inf)
    db = np.sort(comparator.decibels(s), axis=1)
    return Strangers(_counted(db) / max(len(first) - 1, 1), len(first) - 1, float("inf"))


def synthetic_strangers(
    comparator: Comparator, faces: Faces, people: int | None = None, least: int = LEAST_PEOPLE
) -> Strangers | None:
    """Search at most PROBES people, one picture each, among synthetic ones; None where there are too few to draw on."""
    if faces.people < least:
        return None
    people = people or min(max(EACH * faces.people, PEOPLE.start), PEOPLE.stop)
    first = one_of_each(faces)
    population = fit_population(comparator, faces)
    chosen = np.sort(np.argsort(uniforms(SEED + 1, len(first)))[:PROBES])
    probes = faces.rows(first[chosen])
    kept = round(_KEPT * people)
    top = np.full((len(chosen), 0), -np.inf, dtype=np.float32)
    for n, begin in enumerate(range(0, people, _CHUNK)):
        drawn, parents = population.draw(comparator, min(_CHUNK, people - begin), SEED + 2 + n)
        s = _rough(probes, drawn)
        _leave_out(s, chosen, parents, len(first))
        s += np.float32(population.shift)
        # A chunk holds about its share of the highest; half as many again leave none out that matters.
        some = min(s.shape[1], kept * _CHUNK // people * 3 // 2 + 20)
        top = np.concatenate([top, np.partition(s, s.shape[1] - some, axis=1)[:, -some:]], axis=1)
    return _extrapolated(comparator, np.sort(top, axis=1)[:, -kept:].astype(np.float64), people, population.excess)


def fit_population(comparator: Comparator, faces: Faces) -> Population:
    """Choose how alike two parents are so that strangers score as high as the real ones do."""
    first = one_of_each(faces)
    vectors = faces.rows(first).vectors
    mean: Vector = vectors.mean(axis=0)
    seen: Vector = vectors - mean
    apart = _squares(seen)[:, None] - 2 * seen @ seen.T + _squares(seen)
    np.fill_diagonal(apart, np.inf)
    neighbours = np.argsort(apart, axis=1)[:, :-1].astype(np.int64)
    s = similarities(faces.rows(first), faces.rows(first))[np.triu_indices(len(first), 1)]
    highest = np.sort(np.partition(s, -_MATCHED)[-_MATCHED:])
    level = float(highest[0])
    wanted = float((s >= level).mean())
    chosen = np.sort(np.argsort(uniforms(SEED + 1, len(first)))[: PROBES // 3])
    probes = faces.rows(first[chosen])
    excess: list[float] = []
    for alike in _ALIKE:
        drawn, parents = Population(seen, mean, neighbours, alike).draw(comparator, _TRIED, SEED)
        scores = _rough(probes, drawn)
        _leave_out(scores, chosen, parents, len(first))
        found = float((scores >= level).sum()) / np.isfinite(scores).sum()
        excess.append(np.log(max(found, 1e-3 * wanted) / wanted))
    # The more alike, the more false matches: read off where it is as measured.
    alike = float(np.exp(np.interp(0.0, excess[::-1], np.log(_ALIKE)[::-1])))
    drawn, parents = Population(seen, mean, neighbours, alike).draw(comparator, _TRIED, SEED + 1)
    scores = _rough(probes, drawn)
    _leave_out(scores, chosen, parents, len(first))
    reached = float(np.quantile(scores[np.isfinite(scores)], 1 - wanted))
    # As in a calibration, only that the top tenth is higher counts: there the wrong labels gather.
    surely = np.minimum(highest, highest[-_MATCHED // 10]) - level
    return Population(seen, mean, neighbours, alike, level - reached, float(surely.sum() / (_MATCHED * 0.9)))


def _rough(probes: Prepared, references: Prepared) -> Vector:
    """Compare all with all in float32: to 1e-6, a thousandth of a dB."""
    middle = probes.vectors.mean(axis=0)
    p, r = probes.vectors - middle, references.vectors - middle
    s: Vector = (2 * p) @ r.T
    s += (probes.nearness - _squares(p)).astype(np.float32)[:, None]
    s += (references.nearness - _squares(r)).astype(np.float32)
    return s


def _leave_out(s: Vector, chosen: Whole, parents: Whole, people: int) -> None:
    """Take the synthetic people that are made of a probe's own person out of its scores."""
    row = np.full(people, -1)
    row[chosen] = np.arange(len(chosen))
    for side in parents.T:
        column = np.flatnonzero(row[side] >= 0)
        s[row[side[column]], column] = -np.inf


def _extrapolated(comparator: Comparator, top: Floats, people: int, least: float) -> Strangers:
    """Return each probe's false match rate by threshold; `top`: its highest comparisons, ascending.

    Down to `_ANCHOR` it is counted. From there it falls exponentially, at one rate for all probes: rates of their own
    scatter more than they differ, and scatter makes false matches. Among synthetic people the tail is steeper
    (4,000,000 drawn, 100,000 compared: what is told here is 1.9 times the true rate at 1e-5, 3.4 times at 1e-6); it
    never falls faster than real people's highest comparisons do, `least` in the mean.
    """
    begin = max(2, round(_ANCHOR * people))
    anchor = top[:, -begin]
    excess = max(float((top[:, -begin:] - anchor[:, None]).mean()), least)
    at = np.array([comparator.similarity_at(db) for db in GRID.tolist()])
    share = _counted(comparator.decibels(top)) / people
    beyond = at > anchor[:, None]
    tail = begin / people * np.exp(-np.maximum(at - anchor[:, None], 0) / max(excess, 1e-12))
    return Strangers(np.where(beyond, tail, share), people, float(np.median(comparator.decibels(anchor))))


def _counted(db: Floats) -> Floats:
    """Return how many scores (q, k), ascending, reach each threshold of GRID, (q, GRID)."""
    return np.stack([db.shape[1] - np.searchsorted(row, GRID, side="left") for row in db]).astype(np.float64)
