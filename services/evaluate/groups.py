"""Error rates of each group that the labels name (sex, age band, region, ...), and how far apart the groups are."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from services.evaluate.acquisition import Item, acquire_rate, enrol_rate
from services.evaluate.report import Group, Grouping, Rate
from services.evaluate.statistics import bounds, false_matches, fmr, redraw, spread_of, threshold_at
from services.evaluate.trials import Trials

RATES: Final = (1e-3, 1e-4)
"""False match rates of all strangers, at whose thresholds groups are compared."""
LEAST_PEOPLE: Final = 30
"""People with two pictures, for a group's FNMR to be compared with another's; people, for its failures."""
LEAST_MATCHES: Final = 10
"""False matches that a group must let expect, at everybody's rate, for its own rate to be compared with another's."""
_DRAWS: Final = 200


def grouping(
    column: str, items: Sequence[Item], compared: Sequence[Item], trials: Trials, target: float, acquired: bool
) -> Grouping | None:
    """Measure each group of one column.

    `compared`: the items that the trials' rows are of; `target`: the system's verification threshold; `acquired`: from
    pictures, so that failures are known.
    """
    values = sorted({value for item in items if (value := item.groups.get(column))})
    if not values:
        return None
    rates = [rate for rate in RATES if rate * trials.pairs_of_people >= LEAST_MATCHES]
    thresholds = [target, *(threshold_at(trials, rate) for rate in rates)]
    expected = [fmr(trials, at) or 0.0 for at in thresholds]
    groups = [
        _group(
            value,
            [item for item in items if item.groups.get(column) == value],
            trials.within(np.array([item.groups.get(column) == value for item in compared], dtype=bool)),
            thresholds,
            expected,
            acquired,
        )
        for value in values
    ]
    large = [group for group in groups if group.people >= LEAST_PEOPLE]
    ratios = {
        "failure to acquire": _largest_to_smallest(group.failure_to_acquire for group in large),
        "failure to enrol": _largest_to_smallest(group.failure_to_enrol for group in large),
    }
    ratios |= {name: _ratio(groups, name, n) for n, name in enumerate(_names(rates))}
    return Grouping(column=column, threshold=round(target, 4), rates=rates, groups=groups, worst_to_best=ratios)


def _group(
    value: str,
    items: Sequence[Item],
    trials: Trials,
    thresholds: Sequence[float],
    expected: Sequence[float],
    acquired: bool,
) -> Group:
    drawn = redraw(trials, (), thresholds, _DRAWS) if trials.people else None
    genuine, impostors = len(trials.genuine), trials.impostors
    misses = int((trials.genuine.db < thresholds[0]).sum())
    fnmr = None
    if drawn is not None and genuine:
        fnmr = Rate.counted(misses, genuine, bounds(drawn.fnmr[:, 0], misses, genuine, trials.people_with_pairs))
    matches: list[Rate | None] = []
    for n, threshold in enumerate(thresholds):
        found = false_matches(trials, threshold)
        if drawn is None or found is None or not impostors:
            matches.append(None)
            continue
        spread = spread_of(trials, threshold)
        matches.append(
            Rate.counted(found, impostors, bounds(drawn.fmr[:, n], found, impostors, trials.pairs_of_people, spread))
        )
    names = _names(RATES)
    small = names[:1] if trials.people_with_pairs < LEAST_PEOPLE else []
    small += [
        name for name, rate in zip(names[1:], expected, strict=False) if rate * trials.pairs_of_people < LEAST_MATCHES
    ]
    return Group(
        value=value,
        people=len({item.person for item in items}),
        pictures=len(items),
        failure_to_acquire=acquire_rate(items) if acquired else None,
        failure_to_enrol=enrol_rate(items) if acquired else None,
        genuine=genuine,
        pairs_of_people=trials.pairs_of_people,
        fnmr=fnmr,
        fmr=matches[0],
        fmr_at=matches[1:],
        too_small=small,
    )


def _names(rates: Sequence[float]) -> list[str]:
    """Return what a group's figures are called in a report."""
    return ["fnmr", "fmr", *(f"fmr at {rate:g}" for rate in rates)]


def _ratio(groups: Sequence[Group], name: str, number: int) -> float | None:
    """Return the largest over the smallest of one figure, of groups that are large enough."""
    return _largest_to_smallest([g.fnmr, g.fmr, *g.fmr_at][number] for g in groups if name not in g.too_small)


def _largest_to_smallest(figures: Iterable[Rate | None]) -> float | None:
    """Return None for fewer than two, and where one is 0."""
    values = [figure.value for figure in figures if figure is not None]
    return max(values) / min(values) if len(values) > 1 and min(values) > 0 else None
