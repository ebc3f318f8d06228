"""Searches: ranks and misses as brute force has them, thresholds that follow the gallery, the services' own matcher."""

import numpy as np
import pytest

from services.evaluate.background import GRID, real_strangers, synthetic_strangers
from services.evaluate.gallery import real_gallery
from services.evaluate.identification import SIZES, TARGETS, identification, search
from services.evaluate.trials import Faces
from services.match.policy import Policy
from tests.unit.evaluate.making import comparator, crowd, faces_of

FACES = faces_of(150, 3, seed=7)
SEARCHES = search(comparator(), FACES)
REAL = real_strangers(comparator(), FACES)
SYNTHETIC = synthetic_strangers(comparator(), FACES, 20_000, least=100)
FOUND = identification(SEARCHES, REAL, SYNTHETIC, Policy())


def test_ranks_are_those_of_comparing_one_by_one() -> None:
    truth, references = comparator(), FACES.rows(FACES.first)
    assert len(SEARCHES.probe) == 300
    for row, person, db, rank in list(zip(SEARCHES.probe, SEARCHES.person, SEARCHES.db, SEARCHES.rank, strict=True))[
        ::17
    ]:
        s = truth.similarity(FACES.prepared[int(row) : int(row) + 1], references)
        assert person == FACES.person[row]
        assert db == pytest.approx(float(truth.decibels(s)[person]))
        assert rank == 1 + (np.delete(s, person) > s[person]).sum()


def test_a_tie_counts_against_the_probe() -> None:
    vectors, names = crowd(3, 2)
    vectors[4] = vectors[0]
    faces = Faces.of(comparator(), vectors, names)
    found = search(comparator(), faces)
    assert found.rank[0] == 2


def test_each_rank_hits_at_least_what_the_one_before_it_hits() -> None:
    assert FOUND.cmc == sorted(FOUND.cmc)
    assert FOUND.cmc[0] == pytest.approx(FOUND.ranks[0].hit_rate.value)
    assert FOUND.ranks[1].hit_rate.value == pytest.approx(FOUND.cmc[4])


def test_larger_galleries_and_fewer_strangers_take_higher_thresholds_and_miss_more() -> None:
    at = {(o.size, o.target): o for o in FOUND.operations}
    assert set(at) == {(size, target) for size in SIZES for target in TARGETS}
    for target in TARGETS:
        mine = [at[size, target] for size in SIZES]
        thresholds = [o.threshold for o in mine if o.threshold is not None]
        assert thresholds == sorted(thresholds)
        missed = [o.fnir.value for o in mine if o.fnir is not None]
        assert missed == sorted(missed)
    for size in SIZES:
        declared = [at[size, target].declared_threshold for target in TARGETS]
        assert declared == sorted(declared)


def test_the_threshold_keeps_the_rate_that_was_asked_for() -> None:
    assert SYNTHETIC is not None
    for o in FOUND.operations:
        if o.threshold is not None:
            curve = SYNTHETIC.false_positives(o.size)
            at = int(np.searchsorted(GRID, o.threshold - 1e-6))
            assert curve[at] <= o.target < curve[at - 1]
            assert o.fnir is not None
            assert o.fnir.hits == (SEARCHES.db < o.threshold).sum()


def test_what_is_declared_is_one_in_so_many_for_each_tenfold_gallery() -> None:
    assert [o.declared_threshold for o in FOUND.operations if o.target == 0.01] == pytest.approx([50, 60, 70, 80, 90])


def test_the_systems_own_thresholds_are_its_policys() -> None:
    found = identification(SEARCHES, REAL, SYNTHETIC, Policy(identification=20.0))
    assert [o.threshold for o in found.as_set] == pytest.approx([50, 60, 70, 80, 90])
    assert [o.declared_fpir for o in found.as_set] == pytest.approx([0.00995] * 5, rel=1e-3)
    assert [o.fnir.value for o in found.as_set] == [(SEARCHES.db < o.threshold).mean() for o in found.as_set]


def test_synthetic_people_are_held_against_real_ones() -> None:
    assert [row.size for row in FOUND.agreement] == [149] * len(FOUND.agreement)
    assert len(FOUND.agreement) >= 3
    for row in FOUND.agreement:
        at = int(np.searchsorted(GRID, row.threshold - 1e-6))
        assert row.real_fpir == pytest.approx((REAL.share[:, at] > 0).mean())
        assert 0.4 < row.ratio < 2.5


def test_without_synthetic_people_only_what_is_declared_is_said() -> None:
    found = identification(SEARCHES, REAL, None, Policy())
    assert found.synthetic_people == 0
    assert all(o.fnir is None for o in found.operations)
    assert found.operations[0].declared_fnir.of == 300


# ---- the real gallery


@pytest.mark.parametrize("normalised", [False, True])
def test_the_services_answer_what_was_measured(normalised: bool) -> None:
    truth, (vectors, names) = comparator(normalised), crowd(60, 3, seed=7)
    faces = Faces.of(truth, vectors, names)
    found = real_gallery(truth, faces, vectors, search(truth, faces), Policy(identification=5.0))
    assert found.agrees
    assert (found.references, found.probes) == (60, 120)
    assert found.hits + found.misses == 120
    assert found.hits == found.hits_expected > 0
    assert found.false_alarms == found.false_alarms_expected > 0
    assert found.scores > 5 * 60


def test_a_matcher_that_answers_something_else_is_noticed() -> None:
    vectors, names = crowd(60, 3, seed=7)
    truth = comparator()
    faces = Faces.of(truth, vectors, names)
    other = (vectors * np.float32(1.01)).astype(np.float32)
    found = real_gallery(truth, faces, other, search(truth, faces), Policy())
    assert not found.agrees
    assert found.largest_difference > 1e-3
