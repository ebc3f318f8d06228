"""Measures one model on what came out of the pictures: everything of a ModelReport, in order."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.evaluate import background, identification
from services.evaluate.acquisition import Item, acquisition, once_each
from services.evaluate.gallery import real_gallery
from services.evaluate.groups import grouping
from services.evaluate.report import (
    AtRate,
    AtThreshold,
    Counts,
    CurvePoint,
    Histogram,
    Identification,
    ModelReport,
    Pair,
    Rate,
    RealGallery,
    Verification,
)
from services.evaluate.statistics import (
    RULE_OF_3,
    Redrawn,
    bounds,
    false_matches,
    fmr_of_people,
    fnmr,
    holds,
    measurable,
    redraw,
    spread_of,
    threshold_at,
)
from services.evaluate.trials import STEP, Faces, Scored, Trials, compare_all, few_of_each
from services.match.policy import Policy
from shared.calibration import Comparator, rate
from shared.model import Model

RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DECLARED: Final = (20.0, 30.0, 40.0, 50.0)
"""dB at which the calibration is held against what is measured, besides the system's own verification threshold."""
_DET: Final = tuple(10 ** (-k / 8) for k in range(13, 57))
"""False match rates of the DET curve: eight a decade, from 2 % down to 1e-7."""
WORST: Final = 8
"""Pairs shown of each kind."""
_LAST_BIN: Final = 120
"""dB of the last bin of the histograms."""

Say = Callable[[str], None]


class NothingToCompare(ValueError):
    """Fewer than two usable pictures; the message says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A model's part of the report, and the pictures to be shown in it."""

    report: ModelReport
    worst: dict[str, tuple[Item, Item]]
    """Key of a pair (genuine-0, impostor-3, ...) → its two items."""


def measure(
    model: Model, items: Sequence[Item], columns: Sequence[str], policy: Policy, given: bool, say: Say
) -> Measured:
    """Measure a model on items, of which templates were `given` or extracted. Raises NothingToCompare."""
    comparator = Comparator(model.calibration)
    usable = [item for item in items if item.usable]
    different = once_each(usable)
    rows: list[int] = few_of_each([item.person for item in different]).tolist()
    compared = [different[n] for n in rows]
    if len(compared) < 2:
        refused = Counter(item.reason.replace("_", " ") for item in items if item.reason is not None)
        reasons = "".join(f"; {reason}: {number}" for reason, number in refused.most_common())
        raise NothingToCompare(f"{len(compared)} of {len(items)} pictures can be compared, and it takes two{reasons}")
    seconds: dict[str, float] = {}
    clock = _Clock(seconds, say)
    with clock("trials"):
        vectors = np.stack([item.vector for item in compared if item.vector is not None])
        faces = Faces.of(comparator, vectors, [item.person for item in compared])
        trials = compare_all(comparator, faces)
    with clock("confidence bounds"):
        verified = verification(comparator, trials, policy.verification)
    found: Identification | None = None
    with clock("identification"):
        searches = identification.search(comparator, faces)
        if len(searches.probe):
            strangers = background.synthetic_strangers(comparator, faces)
            real = background.real_strangers(comparator, faces)
            found = identification.identification(searches, real, strangers, policy)
    gallery: RealGallery | None = None
    if found is not None:
        with clock("the real gallery"):
            gallery = real_gallery(comparator, faces, vectors, searches, policy)
    with clock("groups"):
        groupings = [grouping(column, items, compared, trials, policy.verification, not given) for column in columns]
    genuine, impostor = _worst(trials)
    worst = {"genuine": genuine, "impostor": impostor}
    manifest = model.manifest
    return Measured(
        ModelReport(
            name=model.name,
            title=manifest.title,
            id=model.id,
            licence=manifest.licence,
            provenance=manifest.provenance,
            recipe=manifest.recipe,
            detector=manifest.landmarks.detector,
            dimension=manifest.dimension,
            comparison=_comparison(comparator),
            calibration=dict(model.calibration.provenance),
            acquisition=acquisition(items, len(compared), len(usable) - len(different), given),
            trials=Counts(
                people=trials.people,
                templates=len(faces),
                people_with_two=trials.people_with_pairs,
                genuine=len(trials.genuine),
                impostor=trials.impostors,
                pairs_of_people=trials.pairs_of_people,
            ),
            verification=verified,
            histogram=_histogram(trials),
            identification=found,
            gallery=gallery,
            groups=[found for found in groupings if found is not None],
            worst_genuine=_pairs(compared, genuine),
            worst_impostor=_pairs(compared, impostor),
            seconds=seconds,
            from_journal=False,
        ),
        {
            f"{kind}-{n}": (compared[int(scored.a[n])], compared[int(scored.b[n])])
            for kind, scored in worst.items()
            for n in range(len(scored))
        },
    )


class _Clock:
    def __init__(self, seconds: dict[str, float], say: Say) -> None:
        self._seconds = seconds
        self._say = say

    @contextmanager
    def __call__(self, step: str) -> Generator[None]:
        self._say(step)
        start = time.monotonic()
        yield
        self._seconds[step] = round(time.monotonic() - start, 3)


def verification(comparator: Comparator, trials: Trials, target: float) -> Verification:
    """Work out everything that 1:1 comparisons show; `target`: the threshold at which the system verifies."""
    thresholds = sorted({*DECLARED, float(target)})
    least = RULE_OF_3 / max(trials.pairs_of_people, 1)
    curve = [x for x in _DET if x >= least and len(trials.genuine)]
    drawn = redraw(trials, [*RATES, *curve], thresholds)
    reach = comparator.calibration.measured_to
    beyond = int((trials.genuine.db > reach).sum())
    strangers = false_matches(trials, reach) or 0
    return Verification(
        at_rate=[_at_rate(trials, x, drawn, n) for n, x in enumerate(RATES)],
        at_threshold=[_at_threshold(comparator, trials, db, db == target, drawn, n) for n, db in enumerate(thresholds)],
        det=[_point(trials, x, drawn, len(RATES) + n) for n, x in enumerate(curve)],
        measured_to=round(float(reach), 2),
        extrapolated_genuine=beyond / max(len(trials.genuine), 1),
        extrapolated_impostor=strangers / max(trials.impostors, 1),
    )


def _at_rate(trials: Trials, wanted: float, drawn: Redrawn, column: int) -> AtRate:
    kind = measurable(wanted, trials)
    if kind == "no":
        return AtRate(fmr=wanted, measurable=kind, threshold=None, fnmr=None)
    threshold = threshold_at(trials, wanted)
    return AtRate(
        fmr=wanted,
        measurable=kind,
        threshold=round(threshold, 3),
        fnmr=_missed(trials, threshold, drawn.fnmr_at_rate[:, column]),
    )


def _missed(trials: Trials, threshold: float, drawn: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Rate | None:
    count = len(trials.genuine)
    if not count:
        return None
    hits = int(np.searchsorted(trials.genuine.db, threshold, side="left"))
    return Rate.counted(hits, count, bounds(drawn, hits, count, trials.people_with_pairs))


def _at_threshold(
    comparator: Comparator, trials: Trials, db: float, is_target: bool, drawn: Redrawn, column: int
) -> AtThreshold:
    declared = rate(db)
    found, of = false_matches(trials, db), trials.impostors
    limits = None
    if found is not None and of:
        limits = bounds(drawn.fmr[:, column], found, of, trials.pairs_of_people, spread_of(trials, db))
    measured = None if found is None or not of else Rate.counted(found, of, limits)
    return AtThreshold(
        threshold=round(db, 4),
        declared_fmr=declared,
        verification_target=is_target,
        fmr=measured,
        fmr_of_people=fmr_of_people(trials, db),
        ratio=None if measured is None else measured.value / declared,
        holds=holds(declared, limits, declared * trials.pairs_of_people),
        fnmr=_missed(trials, db, drawn.fnmr[:, column]),
        expected_fnmr=comparator.expected_misses(db),
        extrapolated=db > comparator.calibration.measured_to,
    )


def _point(trials: Trials, wanted: float, drawn: Redrawn, column: int) -> CurvePoint:
    threshold = threshold_at(trials, wanted)
    hits = int(np.searchsorted(trials.genuine.db, threshold, side="left"))
    limits = bounds(drawn.fnmr_at_rate[:, column], hits, len(trials.genuine), trials.people_with_pairs)
    return CurvePoint(fmr=wanted, fnmr=fnmr(trials, threshold), low=limits and limits.low, high=limits and limits.high)


def _histogram(trials: Trials) -> Histogram:
    each = round(1 / STEP)
    whole = trials.histogram.reshape(-1, each).sum(axis=1)
    genuine = np.bincount(np.minimum(trials.genuine.db, _LAST_BIN).astype(np.int64), minlength=_LAST_BIN + 1)
    impostor = [*whole[:_LAST_BIN].tolist(), int(whole[_LAST_BIN:].sum())]
    return Histogram(genuine=genuine.tolist(), impostor=impostor)


def _worst(trials: Trials) -> tuple[Scored, Scored]:
    """Return the lowest genuine and the highest impostor trials, one for each person or pair of people."""
    chosen: list[Scored] = []
    for scored in (trials.genuine, trials.tail):
        seen: set[tuple[int, int]] = set()
        rows: list[int] = []
        for n, (a, b) in enumerate(zip(scored.a.tolist(), scored.b.tolist(), strict=True)):
            first, second = sorted((int(trials.person[a]), int(trials.person[b])))
            if (first, second) not in seen:
                seen.add((first, second))
                rows.append(n)
            if len(rows) == WORST:
                break
        chosen.append(scored.where(np.array(rows, dtype=np.int64)))
    return chosen[0], chosen[1]


def _pairs(compared: Sequence[Item], scored: Scored) -> list[Pair]:
    first: list[int] = scored.a.tolist()
    second: list[int] = scored.b.tolist()
    scores: list[float] = scored.db.tolist()
    return [
        Pair(
            score=round(db, 2),
            first=compared[a].shown,
            second=compared[b].shown,
            first_person=compared[a].person,
            second_person=compared[b].person,
        )
        for a, b, db in zip(first, second, scores, strict=True)
    ]


def _comparison(comparator: Comparator) -> str:
    calibration = comparator.calibration
    length = "templates made unit length" if calibration.unit else "templates as they are"
    return f"{length}, {'cohort-normalised' if calibration.cohort else 'plain'} distance"
