"""Error rates and their bounds, against textbook values, brute force, and data whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluate.statistics import (
    Interval,
    bounds,
    draw_people,
    false_matches,
    fmr,
    fmr_of_people,
    fnmr,
    holds,
    measurable,
    redraw,
    spread_of,
    threshold_at,
    wilson,
)
from tests.unit.evaluate.making import drawn_trials, trials

DRAWN = drawn_trials(300, seed=1)


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(10, 100, 0.05523, 0.17437), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (1, 1000, 0.000177, 0.00564)],
)
def test_bounds_of_a_share_are_those_of_the_textbook(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-5)


def test_nothing_tried_could_be_anything() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)


def test_rates_are_those_that_the_scores_were_drawn_with() -> None:
    assert fmr(DRAWN, 20) == pytest.approx(0.01, rel=0.05)
    assert fmr_of_people(DRAWN, 20) == pytest.approx(0.01, rel=0.05)
    assert fnmr(DRAWN, 40) == pytest.approx(0.1587, abs=0.05)
    assert threshold_at(DRAWN, 1e-3) == pytest.approx(30, abs=1)


def test_a_pair_of_people_counts_once_whatever_the_number_of_their_pictures() -> None:
    found = trials([0, 0, 0, 1, 2], [], [(0, 3, 20.0), (1, 3, 20.0), (3, 4, 20.0)])
    assert fmr_of_people(found, 20.0) == pytest.approx((2 / 3 + 1) / 3)
    assert fmr(found, 20.0) == pytest.approx(3 / 7)


def test_a_score_that_is_the_threshold_matches() -> None:
    found = trials([0, 0, 1], [(0, 1, 30.0)], [(0, 2, 20.0)])
    assert (fnmr(found, 30.0), fnmr(found, 30.001)) == (0.0, 1.0)
    assert (false_matches(found, 20.0), false_matches(found, 20.001)) == (1, 0)


Scores = st.lists(st.floats(0.1, 80), min_size=1, max_size=40)


@given(Scores, Scores, st.floats(0, 90), st.floats(0, 90))
def test_a_higher_threshold_never_matches_more(genuine: list[float], impostor: list[float], a: float, b: float) -> None:
    person = [n // 2 for n in range(2 * max(len(genuine), len(impostor)) + 2)]
    found = trials(
        person,
        [(2 * n, 2 * n + 1, db) for n, db in enumerate(genuine)],
        [(0, 2 * n + 2, db) for n, db in enumerate(impostor)],
    )
    low, high = min(a, b), max(a, b)
    assert fnmr(found, low) <= fnmr(found, high)
    assert (false_matches(found, max(low, 1e-9)) or 0) >= (false_matches(found, max(high, 1e-9)) or 0)


@given(Scores, st.floats(0.001, 0.9))
def test_the_threshold_for_a_rate_is_the_lowest_that_keeps_it(impostor: list[float], rate: float) -> None:
    found = trials(range(len(impostor) + 1), [], [(0, n + 1, db) for n, db in enumerate(impostor)])
    allowed = math.floor(rate * found.impostors)
    threshold = threshold_at(found, rate) if allowed < len(impostor) else 0.1
    assert sum(db >= threshold for db in impostor) <= max(allowed, 0) or allowed >= len(impostor)
    lower = [db for db in impostor if db < threshold]
    if lower and allowed < len(impostor):
        assert sum(db >= max(lower) for db in impostor) > allowed


def test_fewer_false_matches_cost_more_misses_all_along_the_det_curve() -> None:
    rates = [10 ** (-k / 8) for k in range(13, 40)]
    curve = [fnmr(DRAWN, threshold_at(DRAWN, rate)) for rate in rates]
    assert curve == sorted(curve)
    assert curve[-1] > curve[0]


# ---- bounds


def test_a_drawing_is_what_counting_its_people_one_by_one_gives() -> None:
    chance = np.random.default_rng(5)
    person = [0, 0, 0, 1, 1, 2, 3, 3]
    pairs = [(a, b, float(chance.uniform(1, 40))) for a in range(8) for b in range(a + 1, 8)]
    genuine = [p for p in pairs if person[p[0]] == person[p[1]]]
    impostor = [p for p in pairs if person[p[0]] != person[p[1]]]
    found = trials(person, genuine, impostor)
    drawn = redraw(found, [0.3], [20.0], times=20, seed=3)
    for n, count in enumerate(draw_people(4, 20, 3)):
        weights = [(int(count[person[a]] * count[person[b]]), db) for a, b, db in impostor]
        mated = [(int(count[person[a]]), db) for a, _, db in genuine]
        total, of = sum(w for w, _ in weights), sum(w for w, _ in mated)
        if not total or not of:
            continue
        assert drawn.fmr[n, 0] == pytest.approx(sum(w for w, db in weights if db >= 20) / total)
        assert drawn.fnmr[n, 0] == pytest.approx(sum(w for w, db in mated if db < 20) / of)
        limits = [0.0, *(db + 1e-9 for _, _, db in impostor)]
        limit = min(t for t in limits if sum(w for w, db in weights if db >= t) <= 0.3 * total)
        assert drawn.fnmr_at_rate[n, 0] == pytest.approx(sum(w for w, db in mated if db < limit) / of)


def test_the_same_data_give_the_same_bounds() -> None:
    one, two = (redraw(DRAWN, [1e-3], [30.0], times=30) for _ in range(2))
    other = redraw(DRAWN, [1e-3], [30.0], times=30, seed=4)
    assert np.array_equal(one.fmr, two.fmr)
    assert np.array_equal(one.fnmr_at_rate, two.fnmr_at_rate)
    assert not np.array_equal(one.fmr, other.fmr)


def test_as_many_people_are_drawn_as_there_are() -> None:
    drawn = draw_people(50, 20, 1)
    assert drawn.shape == (20, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert (drawn == 0).any()


@pytest.mark.parametrize("lambs", [0, 6], ids=["all alike", "a few resemble everybody"])
def test_bounds_of_the_false_match_rate_hold_the_truth_about_as_often_as_they_say(lambs: int) -> None:
    people, truth, inside, wide = 80, 0.01, 0, 0
    for seed in range(120):
        chance = np.random.default_rng(seed)
        # Some people, anybody with the same chance, match strangers ten times as often.
        liable = np.where(chance.random(people) < lambs / people, 10.0, 1.0)
        mean = (1 + 9 * lambs / people) ** 2
        a, b = np.triu_indices(people, 1)
        matches = chance.random(len(a)) < truth / mean * liable[a] * liable[b]
        found = trials(range(people), [], [(int(i), int(j), 20.0) for i, j in zip(a[matches], b[matches], strict=True)])
        drawn = redraw(found, [], [20.0], times=150, seed=seed)
        hits = len(found.tail)
        limits = bounds(drawn.fmr[:, 0], hits, found.impostors, found.pairs_of_people, spread_of(found, 20.0))
        assert limits is not None
        inside += limits.low <= truth <= limits.high
        wide += limits.high - limits.low > 2 * 2 * 1.96 * math.sqrt(truth / len(a))
    # Where six of 80 people decide, nothing that is seen of them says how many others might have been.
    assert inside >= (108 if lambs == 0 else 98)
    assert wide <= 2 or lambs


@pytest.mark.parametrize("expected", [5, 10])
def test_the_upper_bound_holds_where_few_false_matches_are_seen(expected: int) -> None:
    people, missed = 100, 0
    a, b = np.triu_indices(people, 1)
    for seed in range(120):
        matches = np.random.default_rng(seed).random(len(a)) < expected / len(a)
        found = trials(range(people), [], [(int(i), int(j), 20.0) for i, j in zip(a[matches], b[matches], strict=True)])
        drawn = redraw(found, [], [20.0], times=100)
        hits = len(found.tail)
        limits = bounds(drawn.fmr[:, 0], hits, found.impostors, found.pairs_of_people, spread_of(found, 20.0))
        assert limits is not None
        missed += limits.high < expected / len(a)
    assert missed <= 6


def test_the_upper_bound_holds_where_the_misses_are_a_few_peoples() -> None:
    people, pictures, truth, missed = 100, 5, 0.02, 0
    pairs = [(a, b) for a in range(pictures) for b in range(a)]
    for seed in range(100):
        chance = np.random.default_rng(seed)
        # Two people in a hundred are missed nearly always, and the others nearly never.
        liable = chance.beta(truth, 1 - truth, people)
        genuine = [
            (pictures * n + a, pictures * n + b, 10.0 if chance.random() < liable[n] else 50.0)
            for n in range(people)
            for a, b in pairs
        ]
        found = trials([n // pictures for n in range(people * pictures)], genuine, [])
        hits = int((found.genuine.db < 30).sum())
        drawn = redraw(found, [], [30.0], times=100, seed=seed)
        limits = bounds(drawn.fnmr[:, 0], hits, len(genuine), people)
        assert limits is not None
        missed += limits.high < truth
    assert missed <= 6


def test_the_pairs_own_chance_is_not_counted_thrice() -> None:
    everybody_once = trials(range(40), [], [(2 * n, 2 * n + 1, 30.0) for n in range(20)])
    one_person = trials(range(40), [], [(0, n + 1, 30.0) for n in range(20)])
    assert spread_of(everybody_once, 20.0) == pytest.approx(1 / math.sqrt(3))
    assert 0.9 < spread_of(one_person, 20.0) < 1


def test_without_an_error_the_bounds_are_those_of_no_error_in_so_many_independent_trials() -> None:
    nothing = np.zeros(100)
    assert bounds(nothing, 0, 5_000, 100) == wilson(0, 100)
    assert bounds(nothing + 1, 5_000, 5_000, 100) == wilson(100, 100)


def test_drawings_that_cannot_say_give_no_bounds() -> None:
    assert bounds(np.full(100, np.nan), 3, 10, 10) is None


# ---- what can be said


def test_a_rate_is_measured_where_thirty_pairs_of_people_are_to_be_expected() -> None:
    # 44,850 pairs of people, and twice two pictures don't make more.
    found = {rate: measurable(rate, DRAWN) for rate in (1e-2, 1e-3, 1e-4, 1e-5)}
    assert found == {1e-2: "measured", 1e-3: "measured", 1e-4: "few", 1e-5: "no"}


def test_without_a_genuine_pair_nothing_is_measurable() -> None:
    assert measurable(0.5, trials(range(100), [], [])) == "no"


@pytest.mark.parametrize(
    ("low", "high", "expected", "verdict"),
    [
        (0.6e-3, 1.9e-3, 100, "yes"),
        (0.4e-3, 1.9e-3, 100, "unclear"),
        (2.1e-3, 4e-3, 100, "no"),
        (0.1e-3, 0.4e-3, 100, "no"),
        (0.9e-3, 1.1e-3, 2.9, "unclear"),
    ],
)
def test_a_calibration_holds_where_the_bounds_are_within_a_factor_of_two(
    low: float, high: float, expected: float, verdict: str
) -> None:
    assert holds(1e-3, Interval(low, high), expected) == verdict


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(0, 1000))
def test_bounds_lie_about_the_rate(people: int, seed: int) -> None:
    found = drawn_trials(people, seed)
    drawn = redraw(found, [], [5.0], times=60, seed=seed)
    hits = false_matches(found, 5.0)
    assert hits is not None
    limits = bounds(drawn.fmr[:, 0], hits, found.impostors, found.pairs_of_people, spread_of(found, 5.0))
    if limits is not None:
        assert 0 <= limits.low <= limits.high <= 1
