"""Measures a model on labelled faces: fits the cohort, the gate and the score curve of its Calibration.

The curve has to hold for people that it never saw. So nobody's comparison is measured with a cohort fitted to that
person: people fall into folds, and a pair is compared with a mixture of the people of all folds but the pair's own.
Each pair of *people* counts once, whatever the number of their pictures; a celebrity is one stranger, not five hundred.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Vector
from shared.calibration import FORMAT, Calibration, Cohort, Comparator, Gate, Tail
from shared.mixture import Floats, fit_mixture, nearness, row, uniforms

SEED: Final = 20261122
COMPONENTS: Final = 64
"""96 gain a tenth of a percentage point and cost half the file again (docs/calibration.md)."""
SOFTNESS: Final = 0.038
"""Share of the templates' total variance; flat from 0.03 to 0.045 (docs/calibration.md)."""
WEIGHT: Final = 0.45
"""Half the nearness of each side (0.5) overcorrects: a percentage point more misses at FMR 1e-5, three in a drawn
cohort (docs/calibration.md)."""
PICTURES: Final = 5
"""Most pictures of one person that are used."""
MOST: Final = 8_000
"""Most templates that are compared with one another: 32 million pairs, a minute on one core."""
FOLDS: Final = 10
"""A mixture of 8 in 10 people stands for one of all. Of 4 in 6 it declares 9 % too many false matches at 1e-4, of 10 in
12 4 %; the time goes with the square."""
LEAST_PEOPLE: Final = 30
RULE: Final = 100
"""A rate is measured where 100 false matches were seen: within 17 % of the truth with 90 % confidence, were they
independent. A common face is in several of them: dlib's scatter like 41 (people drawn anew), so within a quarter.
ISO/IEC 19795-1's rule of 30 is for one figure, once; a table that ends there hands its chance on to all that is
extrapolated (docs/calibration.md)."""
_BINS: Final = 1 << 17
_STEP: Final = 0.25
"""dB between two points of the score table."""
_CENSORED: Final = 0.1

Whole = NDArray[np.int64]
Names = Sequence[str] | NDArray[np.str_]


class CannotCalibrate(ValueError):
    """These faces can't say what is wanted of them; the message says why."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons of strangers as weighted counts, and of genuine pairs one by one."""

    edges: Floats
    """(b + 1,) ascending."""
    weight: Floats
    """(b,) pairs of people between two edges; a pair of people shares its weight of 1 among its pictures."""
    strangers: int
    """Pairs of pictures."""
    effective: float
    """So many independent pairs of equal weight would scatter as much (Kish)."""
    genuine: Floats

    def share_at_or_above(self) -> Floats:
        """Return the false match rate at each edge but the last, (b,)."""
        above: Floats = np.cumsum(self.weight[::-1])[::-1]
        share: Floats = above / above[0]
        return share


def fit(
    templates: Vector,
    persons: Names,
    *,
    model: str,
    normalised: bool,
    unit: bool,
    about: Mapping[str, str | int | float] | None = None,
    components: int = COMPONENTS,
    seed: int = SEED,
) -> Calibration:
    """Calibrate a model from templates (n, d), as extracted, and the name of each one's person (n).

    `about` names the data and the date in the provenance; all else follows from the arguments. Raises CannotCalibrate
    for too few people or no genuine pair.
    """
    people = _checked(templates, persons)
    chosen = _some_of_each(people, PICTURES, seed)
    gate = fit_gate(templates, unit)
    plain = _plain(model, templates.shape[1], unit, gate)
    vectors = Comparator(plain).prepare(templates).vectors[chosen].astype(np.float64)
    people = people[chosen]
    cohort = fit_cohort(vectors, people, components, seed) if normalised else None
    pairs = compare_all(vectors, people, cohort, components, seed)
    table, tail = fit_curve(pairs)
    counts = np.bincount(people)
    draft = Calibration(
        format=FORMAT,
        model=model,
        dimension=templates.shape[1],
        unit=unit,
        cohort=cohort,
        gate=gate,
        table=table,
        tail=tail,
        misses=((0.0, 0.0), (1.0, 1.0)),
        provenance={
            "data": "unnamed",
            "numpy": np.__version__,
            **(about or {}),
            "people": int((counts > 0).sum()),
            "people with two pictures or more": int((counts > 1).sum()),
            "templates given": len(templates),
            "templates used": len(people),
            "seed": seed,
            "folds": FOLDS if normalised else 0,
            "pairs of strangers": pairs.strangers,
            "pairs of strangers, effective": round(pairs.effective),
            "genuine pairs": len(pairs.genuine),
        },
    )
    missed = fit_misses(Comparator(draft).decibels(pairs.genuine), int((counts > 1).sum()))
    return draft.model_copy(update={"misses": missed})


def fit_gate(templates: Vector, unit: bool) -> Gate:
    """Fit what every face of the data passes, and any that lies within five standard deviations of the median.

    The deviation is taken from the 1 % quantiles (2.33 of them from the median), each side for itself.
    """
    norms = np.sqrt((templates.astype(np.float64) ** 2).sum(axis=1))
    compared = templates.astype(np.float64) / (norms[:, None] if unit else 1.0)
    centre = compared.mean(axis=0)
    if unit:
        centre /= np.sqrt((centre**2).sum())
    centre = np.array(row(centre))
    least, _ = _reach(np.sqrt(((compared - centre) ** 2).sum(axis=1)))
    low, high = _reach(norms)
    return Gate(
        centre=row(centre),
        # A little less than seen, and a little more: rounding, here or to float32, is no reason to refuse a face.
        distance=float(f"{least * 0.999:.4g}"),
        norm=(float(f"{low * 0.999:.4g}"), float(f"{high * 1.001:.4g}")),
    )


def fit_cohort(vectors: Floats, people: Whole, components: int, seed: int) -> Cohort:
    """Fit the population to one picture of each person; vectors (n, d) as compared.

    One, so that a component's members are as many people (more pictures gain nothing).
    """
    softness = float(f"{SOFTNESS * vectors.var(axis=0).sum():.4g}")
    one_each = vectors[_some_of_each(people, 1, seed)]
    if bool((one_each == one_each[0]).all()):
        raise CannotCalibrate("nearly all people have the very same template: one picture stands under all their names")
    return Cohort(mixture=fit_mixture(one_each, components, seed), softness=softness, weight=WEIGHT)


def compare_all(vectors: Floats, people: Whole, cohort: Cohort | None, components: int, seed: int) -> Pairs:
    """Compare all with all, each pair with a cohort that knows neither person."""
    counts = np.bincount(people)
    share = 1.0 / counts[people]
    squares = (vectors * vectors).sum(axis=1)
    reach = float(np.sqrt(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).max()))
    span = 4 * reach * reach
    edges = np.linspace(-span, span if cohort else 1e-6 * span, _BINS + 1)
    weight = np.zeros(_BINS)
    strangers, total, total_squared = 0, 0.0, 0.0
    genuine: list[Floats] = []
    for first, second, m in _held_out(vectors, people, cohort, components, seed):
        for begin in range(0, len(first), 256):
            rows = first[begin : begin + 256]
            s = (
                2 * vectors[rows] @ vectors[second].T
                - squares[rows, None]
                - squares[second]
                + m[rows, None]
                + m[second]
            )
            once = rows[:, None] < second if first is second else np.ones(s.shape, bool)
            same = people[rows][:, None] == people[second]
            genuine.append(s[once & same])
            apart = once & ~same
            counted = (share[rows][:, None] * share[second])[apart]
            place = np.clip(((s[apart] - edges[0]) * (_BINS / (edges[-1] - edges[0]))).astype(np.int64), 0, _BINS - 1)
            weight += np.bincount(place, counted, _BINS)
            strangers += len(counted)
            total += float(counted.sum())
            total_squared += float((counted * counted).sum())
    return Pairs(edges, weight, strangers, total * total / total_squared, np.concatenate(genuine))


def fit_curve(pairs: Pairs) -> tuple[tuple[tuple[float, float], ...], Tail]:
    """Read off the table (s, dB) as far as the data measures, and fit the tail that follows.

    The tail falls exponentially at the maximum-likelihood rate of what exceeds the table's end, with the top tenth
    censored: only that it lies beyond counts, not where. There the wrong labels gather (one picture under two names,
    one person spelt twice: four of the top seven pairs of LFW's development half). The true tail is a little steeper,
    so this one errs to the safe side; a generalised Pareto tail follows it better in the middle and ends at a finite
    s, beyond which it would promise that no stranger ever comes (docs/calibration.md).
    """
    rate: Floats = pairs.share_at_or_above()
    least = RULE / pairs.effective
    with np.errstate(divide="ignore"):
        db = -10 * np.log10(rate)
    last = -10 * math.log10(least)
    wanted = np.arange(0.0, last, _STEP)
    at: list[int] = (np.searchsorted(db, wanted, side="right") - 1).tolist()
    edges: list[float] = pairs.edges.tolist()
    levels: list[float] = db.tolist()
    points: list[tuple[float, float]] = []
    for n in at:
        point = (float(f"{edges[n]:.7g}"), round(abs(levels[n]), 4))
        if not points or (point[0] > points[-1][0] and point[1] > points[-1][1]):
            points.append(point)
    if len(points) < 2:
        raise CannotCalibrate("the comparisons of strangers are too few or too much the same for a score table")
    start = int(np.searchsorted(-rate, -least))
    if start == len(rate) or not rate[start]:
        raise CannotCalibrate(
            "too many pairs of strangers are equally alike to tell how rare the most alike are: look for one picture "
            "that stands under many names, and leave it out"
        )
    cut = max(start + 1, int(np.searchsorted(-rate, -_CENSORED * float(rate[start]), side="left")))
    middle = (pairs.edges[start:cut] + pairs.edges[start + 1 : cut + 1]) / 2 - pairs.edges[start]
    seen, unseen = pairs.weight[start:cut], float(pairs.weight[cut:].sum())
    way = float(np.sum(seen * middle)) + unseen * (edges[cut] - edges[start])
    slope = 10 / math.log(10) * float(seen.sum()) / way
    return tuple(points), Tail(slope=float(f"{slope:.5g}"), fitted_to=RULE)


def fit_misses(genuine: Floats, people: int) -> tuple[tuple[float, float], ...]:
    """Return (dB, share of genuine scores below it), dB by dB, until all are missed.

    That none of so many people was missed is no promise for the next: the share is never less than 1 / (people + 2),
    Laplace's rule of succession.
    """
    ordered = np.sort(genuine)
    thresholds = np.arange(0, 201)
    missed = np.maximum(np.searchsorted(ordered, thresholds, side="left") / len(ordered), 1 / (people + 2))
    end = int(np.argmax(missed >= 1)) if missed[-1] >= 1 else len(missed) - 1
    return tuple((float(db), round(float(share), 6)) for db, share in zip(thresholds, missed[: end + 1], strict=False))


def _held_out(
    vectors: Floats, people: Whole, cohort: Cohort | None, components: int, seed: int
) -> Iterator[tuple[Whole, Whole, Floats]]:
    """Give each pair of pictures once: two sets of rows (the same one for pairs within it), and m of all rows."""
    everyone = np.arange(len(vectors))
    if cohort is None:
        yield everyone, everyone, np.zeros(len(vectors))
        return
    fold = np.argsort(uniforms(seed + 1, int(people.max()) + 1)).argsort()[people] % FOLDS
    for a, b in combinations(range(FOLDS), 2):
        others = (fold != a) & (fold != b)
        mixture = fit_cohort(vectors[others], people[others], components, seed).mixture
        m = np.zeros(len(vectors))
        concerned = (fold == a) | (fold == b)
        m[concerned] = cohort.weight * nearness(mixture, cohort.softness, vectors[concerned])
        yield everyone[fold == a], everyone[fold == b], m
        for inside in ([a] if b == a + 1 else []) + ([b] if (a, b) == (0, FOLDS - 1) else []):
            rows = everyone[fold == inside]
            yield rows, rows, m


def require_enough(persons: Names) -> None:
    """Raise CannotCalibrate where pictures of these people (n) cannot do, whatever is on them."""
    pictures = Counter(persons)
    if len(pictures) < LEAST_PEOPLE:
        raise CannotCalibrate(f"{len(pictures)} people; at least {LEAST_PEOPLE} are needed, better hundreds: add some")
    if max(pictures.values()) < 2:
        raise CannotCalibrate(
            "no person has two pictures: nothing says how alike pictures of one person are; add a second one of as "
            f"many of the {len(pictures)} people as you can"
        )


def _checked(templates: Vector, persons: Names) -> Whole:
    if templates.ndim != 2 or len(templates) != len(persons):
        raise CannotCalibrate(f"templates of shape {templates.shape} and {len(persons)} names of persons")
    if not bool(np.isfinite(templates).all()):
        raise CannotCalibrate("a template holds a NaN or an infinity")
    if bool((templates == 0).all(axis=1).any()):
        raise CannotCalibrate("a template is all zero")
    if len(templates) and bool((templates == templates[0]).all()):
        raise CannotCalibrate("the templates are all the same")
    require_enough(persons)
    _, people = np.unique(np.asarray(persons), return_inverse=True)
    return people.astype(np.int64)


def _some_of_each(people: Whole, most: int, seed: int) -> Whole:
    """Return rows: at most so many of each person, by lot, and MOST in all."""
    order = np.argsort(uniforms(seed + 2, len(people)))
    taken: dict[int, int] = {}
    rows: list[int] = []
    for n in order.tolist():
        person = int(people[n])
        if taken.get(person, 0) < most:
            taken[person] = taken.get(person, 0) + 1
            rows.append(n)
    return np.sort(np.array(rows[:MOST], dtype=np.int64))


def _reach(values: Floats) -> tuple[float, float]:
    low, middle, high = np.quantile(values, (0.01, 0.5, 0.99))
    least = min(float(values.min()), middle - 5 * (middle - low) / 2.33)
    most = max(float(values.max()), middle + 5 * (high - middle) / 2.33)
    return max(0.0, float(least)), float(most)


def _plain(model: str, dimension: int, unit: bool, gate: Gate) -> Calibration:
    """Return a calibration that says nothing yet, to bring templates to the length in which they are compared."""
    return Calibration(
        format=FORMAT,
        model=model,
        dimension=dimension,
        unit=unit,
        cohort=None,
        gate=gate,
        table=((-1.0, 0.0), (0.0, 1.0)),
        tail=Tail(slope=1.0, fitted_to=0),
        misses=((0.0, 0.0), (1.0, 1.0)),
        provenance={},
    )
