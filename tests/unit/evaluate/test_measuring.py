"""What is said of 1:1 comparisons rests on pairs of people, not on how many pictures there are of each."""

import pytest

from services.evaluate.measuring import verification
from services.evaluate.trials import Trials
from tests.unit.evaluate.making import comparator, trials

PEOPLE = 40
"""780 pairs of people; with two pictures each 3,120 pairs of pictures."""


def two_pictures_each() -> Trials:
    """20 false matches at 35 dB, each of two people of their own; the other strangers score 1 dB."""
    person = [n // 2 for n in range(2 * PEOPLE)]
    mated = [(2 * n, 2 * n + 1, 30.0 + n) for n in range(PEOPLE)]
    strangers = [(a, b) for a in range(2 * PEOPLE) for b in range(a) if person[a] != person[b]]
    alike = {(4 * n + 2, 4 * n) for n in range(20)}
    return trials(person, mated, [(a, b, 35.0 if (a, b) in alike else 1.0) for a, b in strangers])


def test_whether_a_calibration_holds_is_not_told_from_many_pictures_of_few_people() -> None:
    # 30 dB lets expect 0.8 false matches among 780 pairs of people, and 3.1 among their pictures: 20 came.
    found = {point.threshold: point for point in verification(comparator(), two_pictures_each(), 33.0).at_threshold}

    assert found[30.0].ratio == pytest.approx(20 / 3120 / 1e-3)
    assert found[30.0].holds == "unclear"


def test_the_det_curve_ends_where_three_pairs_of_people_are_to_be_expected() -> None:
    det = verification(comparator(), two_pictures_each(), 33.0).det

    assert min(point.fmr for point in det) == pytest.approx(3 / 780, rel=0.34)
    assert min(point.fmr for point in det) >= 3 / 780
