"""Error rates and how far they can be trusted: pure functions of trials.

Trials of one person are no independent evidence, and each person is in thousands of impostor trials. So the bounds come
from drawing *people* anew, with replacement, some hundred times, and working out the rate for each draw: a bootstrap
over people, both sides of a pair at once. All chance is a fixed seed's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np

from services.evaluate.trials import STEP, Trials, Whole
from shared.mixture import Floats, uniforms

SEED: Final = 20261123
DRAWS: Final = 400
"""Drawings of people: the bounds move by a tenth of their width from one seed to another."""
CONFIDENCE: Final = 0.95
_Z: Final = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""
RULE_OF_30: Final = 30
"""Errors to be expected for a rate within 30 % of the truth (90 % confidence; Doddington, ISO/IEC 19795-1)."""
RULE_OF_3: Final = 3
"""Where no error is seen in n trials, the rate is below 3/n (95 % confidence): less than that can't be measured."""
FACTOR: Final = 2.0
"""What "the calibration holds" means: declared and measured false match rate differ by no more."""


class Interval(NamedTuple):
    """95 % confidence bounds of a rate."""

    low: float
    high: float


def wilson(hits: float, trials: float) -> Interval:
    """Return bounds of a share of independent trials (Wilson's score interval): fair for few and for no hits at all."""
    if trials <= 0:
        return Interval(0.0, 1.0)
    share, z2 = hits / trials, _Z * _Z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = _Z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return Interval(max(0.0, middle - reach) if hits else 0.0, min(1.0, middle + reach) if hits < trials else 1.0)


def measurable(rate: float, trials: Trials) -> Literal["measured", "few", "no"]:
    """Say how well a false match rate can be measured: "measured", "few" (3 to 30 expected) or "no".

    What counts is pairs of people: ten pictures of each don't make ten times as many strangers.
    """
    expected = rate * trials.pairs_of_people
    if expected < RULE_OF_3 or not len(trials.genuine):
        return "no"
    return "measured" if expected >= RULE_OF_30 else "few"


# ---- rates of all trials


def fnmr(trials: Trials, threshold: float) -> float:
    """Return the share of genuine trials below a threshold (false non-match rate)."""
    return int(np.searchsorted(trials.genuine.db, threshold, side="left")) / max(len(trials.genuine), 1)


def false_matches(trials: Trials, threshold: float) -> int | None:
    """Return how many impostor trials reach a threshold; None where that wasn't kept."""
    if threshold >= trials.floor:
        return int(np.searchsorted(-trials.tail.db, -threshold, side="right"))
    if not len(trials.histogram):
        return None
    return int(trials.histogram[round(threshold / STEP) :].sum())


def fmr(trials: Trials, threshold: float) -> float | None:
    """Return the share of impostor trials that reach a threshold (false match rate)."""
    found = false_matches(trials, threshold)
    return None if found is None or not trials.impostors else found / trials.impostors


def fmr_of_people(trials: Trials, threshold: float) -> float | None:
    """Return the same where each pair of people counts once, whatever the number of their pictures."""
    if threshold < trials.floor or not trials.pairs_of_people:
        return None
    end = int(np.searchsorted(-trials.tail.db, -threshold, side="right"))
    a, b = _people(trials)
    # A pair of people weighs 1, shared among its pictures.
    matches = float((1.0 / (trials.pictures[a[:end]] * trials.pictures[b[:end]])).sum())
    return matches / trials.pairs_of_people


def threshold_at(trials: Trials, rate: float) -> float:
    """Return the lowest threshold that no more than `rate` of the impostor trials reach."""
    allowed = math.floor(rate * trials.impostors)
    if allowed < len(trials.tail):
        return float(np.nextafter(trials.tail.db[allowed], np.inf))
    above = np.cumsum(trials.histogram[::-1])[::-1]
    return float(np.argmax(above <= allowed)) * STEP


def _people(trials: Trials) -> tuple[Whole, Whole]:
    return trials.person[trials.tail.a], trials.person[trials.tail.b]


# ---- how far they can be trusted


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """The rates of every drawing of people; a row each. NaN where a drawing can't say."""

    fnmr_at_rate: Floats
    fmr: Floats
    fnmr: Floats
    """The last two: at the thresholds."""


@lru_cache(maxsize=8)
def draw_people(people: int, times: int = DRAWS, seed: int = SEED) -> Whole:
    """Return how often each person is in each drawing, (times, people): as many as there are, with replacement."""
    chosen = (uniforms(seed, times * people) * people).astype(np.int64).reshape(times, people)
    drawn = np.stack([np.bincount(row, minlength=people) for row in chosen])
    drawn.setflags(write=False)
    return drawn


def redraw(
    trials: Trials, rates: Sequence[float], thresholds: Sequence[float], times: int = DRAWS, seed: int = SEED
) -> Redrawn:
    """Work out, for each drawing, FNMR at measured false match rates, and FMR and FNMR at thresholds."""
    here = np.flatnonzero(trials.pictures)
    a, b = _people(trials)
    mated = trials.person[trials.genuine.a]
    wanted, limits = np.asarray(rates, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    ends = np.searchsorted(-trials.tail.db, -limits, side="right")
    misses = np.searchsorted(trials.genuine.db, limits, side="left")
    highest_first = np.append(trials.tail.db, -np.inf)
    found = Redrawn(*(np.full((times, k), np.nan) for k in (len(wanted), len(limits), len(limits))))
    count = np.zeros(len(trials.pictures), dtype=np.int64)
    for n, drawn in enumerate(draw_people(len(here), times, seed)):
        count[here] = drawn
        above, strangers = _running(count[a] * count[b]), _pairs_drawn(count, trials.pictures)
        below = _running(count[mated])
        with np.errstate(invalid="ignore", divide="ignore"):
            found.fmr[n] = above[ends] / strangers
            found.fnmr[n] = below[misses] / below[-1]
            allowed = np.searchsorted(above, wanted * strangers, side="right") - 1
            at = np.searchsorted(trials.genuine.db, highest_first[allowed], side="right")
            found.fnmr_at_rate[n] = np.where(allowed < len(trials.tail), below[at] / below[-1], np.nan)
    found.fmr[:, limits < trials.floor] = np.nan
    return found


def _running(weights: Whole) -> Floats:
    total: Floats = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    return total


def _pairs_drawn(count: Whole, pictures: Whole) -> float:
    """Return the pairs of two different people: a person who is drawn twice is no stranger to himself."""
    drawn = count * pictures
    return float((drawn.sum() ** 2 - (drawn * drawn).sum()) / 2)


def bounds(drawn: Floats, hits: int, of: int, independent: int, spread: float = 1.0) -> Interval | None:
    """Return the bounds that the drawings (times,) of a rate of `hits` in `of` give; None where too few can say.

    Where none was hit, or all, it is so in every drawing, and Wilson's bounds for so many `independent` trials stand
    in. `spread` narrows the bounds about the median, in proportions. They are never narrower than Wilson's for as many
    independent trials as scatter like the drawings: of few hits, or hits of few people, drawings know too little (of 5
    false matches to be expected one upper bound in twelve was below the truth; of FNMR 1 to 5 % with five pictures each
    of 40 to 300 people, few of whom are ever missed, one in nine; with Wilson's one in thirty, and one in fifteen).
    """
    if hits in (0, of):
        return wilson(independent if hits else 0, independent)
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2:
        return None
    low, middle, high = np.quantile(known, ((1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2)).tolist()
    if middle > 0:
        low, high = middle * (max(low, 0.0) / middle) ** spread, middle * (high / middle) ** spread
    share, variance = hits / of, float(known.var()) * spread * spread
    trials = min(of, share * (1 - share) / variance) if variance else of
    least = wilson(share * trials, trials)
    return Interval(min(low, least.low), min(1.0, max(high, least.high)))


def spread_of(trials: Trials, threshold: float) -> float:
    """Return by how much a bootstrap over people overstates the scatter of the false match rate, as a factor below 1.

    Drawing both sides of a pair counts the pair's own chance three times over (Owen, "The pigeonhole bootstrap", 2007):
    its variance is S + Q where S - Q is right, with S the sum of squares of each person's false matches, Q that of each
    pair's. Where false matches are a few people's, it is near 1; where all are of different people, 0.58.
    """
    end = int(np.searchsorted(-trials.tail.db, -threshold, side="right"))
    if end == 0:
        return 1.0
    a, b = trials.person[trials.tail.a[:end]], trials.person[trials.tail.b[:end]]
    each = np.bincount(np.concatenate([a, b]))
    _, pairs = np.unique(np.minimum(a, b) * len(trials.pictures) + np.maximum(a, b), return_counts=True)
    s, q = float((each * each).sum()), float((pairs * pairs).sum())
    return math.sqrt((s - q) / (s + q))


def holds(declared: float, measured: Interval | None, expected: float) -> Literal["yes", "no", "unclear"]:
    """Say whether the rate that a calibration declares is what was measured: "yes", "no" or "unclear".

    Yes: all of the bounds lie within a factor of two of it; no: none of them does. `expected`: false matches that the
    declared rate lets expect; below 3 nothing can be said.
    """
    if measured is None or expected < RULE_OF_3:
        return "unclear"
    low, high = measured.low / declared, measured.high / declared
    if low >= 1 / FACTOR and high <= FACTOR:
        return "yes"
    return "no" if high < 1 / FACTOR or low > FACTOR else "unclear"
