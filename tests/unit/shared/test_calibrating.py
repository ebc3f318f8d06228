"""Calibrations fitted to drawn people, whose truth is known, and the default model's figures on real ones."""
# pyright: basic

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from shared import calibrating
from shared.biometrics import Vector
from shared.calibrating import CannotCalibrate, Names, Pairs, Whole, fit, fit_cohort, fit_curve, fit_misses
from shared.calibration import Calibration, Cohort, Comparator
from shared.mixture import LEAST_MEMBERS, Floats, Mixture, draw, fit_mixture
from tests.benchmarks.calibration import Faces, Measured, few_of_each, halves, measure, read

EMBEDDINGS = Path(__file__).parents[4] / "shared" / "faces" / "dev-embeddings.npz"
D = 12
CROWD = Mixture(weights=(0.3, 0.7), means=((0.0,) * D, (1.0,) * D), variances=((0.05,) * D, (0.3, *(0.1,) * (D - 1))))


def album(people: int, pictures: int, seed: int) -> tuple[Vector, Names]:
    """Draw people with some pictures each, which scatter by 0.1."""
    identities = np.repeat(draw(CROWD, people, seed), pictures, axis=0)
    scatter = np.random.default_rng(seed).normal(0, 0.1, identities.shape)
    return (identities + scatter).astype(np.float32), np.repeat([f"p{n}" for n in range(people)], pictures)


@cache
def fitted(normalised: bool = True, unit: bool = False) -> Calibration:
    return fit(*album(500, 2, seed=1), model="drawn", normalised=normalised, unit=unit, components=4)


@cache
def measured(normalised: bool) -> Measured:
    return measure(Comparator(fitted(normalised)), Faces(*album(800, 2, seed=2)))


@pytest.mark.parametrize("normalised", [True, False])
def test_the_declared_rates_hold_for_people_that_the_fit_never_saw(normalised: bool) -> None:
    assert measured(normalised).declared_over[:3] == pytest.approx([1, 1, 1], rel=0.35)
    assert measured(normalised).misses_declared[:3] == pytest.approx(measured(normalised).expected[:3], abs=0.05)


def test_normalisation_lowers_the_misses_where_a_part_of_the_crowd_is_denser() -> None:
    assert measured(True).misses[2] < 0.9 * measured(False).misses[2]


def test_a_shifted_table_would_be_noticed() -> None:
    """The check of declared rates can fail: 5 dB too much is a factor of three."""
    right = fitted()
    wrong = right.model_copy(update={"table": tuple((s, db + 5) for s, db in right.table)})

    found = measure(Comparator(wrong), Faces(*album(600, 2, seed=2)))

    assert min(found.declared_over[:2]) > 2


def test_the_same_faces_give_the_same_bytes_in_any_process() -> None:
    again = fit(*album(500, 2, seed=1), model="drawn", normalised=True, unit=False, components=4)

    assert again.dump() == fitted().dump()
    assert Calibration.parse(again.dump()) == again


def test_a_celebrity_weighs_no_more_than_anybody_else() -> None:
    vectors, persons = album(100, 2, seed=3)
    again = np.vstack([vectors, np.repeat(vectors[:1], 60, axis=0)])

    one = fit(vectors, persons, model="m", normalised=False, unit=False)
    many = fit(again, np.append(persons, ["p0"] * 60), model="m", normalised=False, unit=False)

    for db in (1, 10, 20):
        assert Comparator(many).similarity_at(db) == pytest.approx(Comparator(one).similarity_at(db), abs=0.02)


def test_every_face_of_the_data_passes_the_gate_and_the_average_face_does_not() -> None:
    vectors, persons = album(200, 2, seed=1)
    vectors += 5
    for unit in (False, True):
        gated = Comparator(fit(vectors, persons, model="m", normalised=False, unit=unit))

        assert {gated.refusal(vector) for vector in vectors} == {None}
        if unit:
            assert gated.calibration.gate.norm[0] < np.linalg.norm(vectors, axis=1).min()


def test_each_pair_is_compared_once_with_a_cohort_that_knows_neither_person(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, persons = album(60, 2, seed=1)
    people = np.unique(persons, return_inverse=True)[1]
    known: list[set[int]] = []

    def recorded(some: Floats, whose: Whole, components: int, seed: int) -> Cohort:
        known.append(set(whose.tolist()))
        return fit_cohort(some, whose, components, seed)

    monkeypatch.setattr(calibrating, "fit_cohort", recorded)
    wide = vectors.astype(np.float64)
    cohort = fit_cohort(wide, people, 4, 1)
    for first, second, _ in calibrating._held_out(wide, people, cohort, 4, 1):
        assert known[-1].isdisjoint(people[np.append(first, second)].tolist())
    pairs = calibrating.compare_all(wide, people, cohort, 4, 1)

    assert (pairs.strangers, len(pairs.genuine)) == (120 * 119 // 2 - 60, 60)
    assert pairs.weight.sum() == pytest.approx(60 * 59 / 2)


@pytest.mark.parametrize("unit", [False, True])
def test_even_the_face_that_is_nearest_to_the_average_one_by_far_passes_the_gate(unit: bool) -> None:
    for seed in range(8):
        vectors, persons = album(60, 2, seed)
        vectors += 5
        middle = vectors.mean(axis=0)
        vectors[0] = middle + (vectors[0] - middle) * (0.05 + 0.007 * seed)

        gated = Comparator(fit(vectors, persons, model="m", normalised=False, unit=unit))

        assert {gated.refusal(vector) for vector in vectors} == {None}


def test_the_table_ends_where_a_hundred_false_matches_were_seen_and_the_tail_goes_on_as_it_fell() -> None:
    edges = np.linspace(0, 30, 30_001)
    weight = 1e6 * -np.diff(np.exp(-edges))
    planted = weight.copy()
    planted[-1] += 2

    for counted in (weight, planted):
        table, tail = fit_curve(Pairs(edges, counted, 4 * 10**6, 1e6, np.zeros(1)))

        assert table[-1][1] == pytest.approx(-10 * np.log10(100 / 1e6), abs=0.3)
        assert tail.slope == pytest.approx(10 / np.log(10), rel=0.1)
        for s, db in table:
            assert db == pytest.approx(10 / np.log(10) * s, abs=0.4)


def test_that_nobody_was_missed_of_so_many_is_no_promise_for_the_next() -> None:
    shares = dict(fit_misses(np.append(np.full(215, 60.0), 45.0), people=114))
    assert shares[30] == shares[45] == pytest.approx(1 / 116, abs=1e-6)
    assert shares[46] == shares[60] == pytest.approx(1 / 116, abs=1e-6)
    assert dict(fit_misses(np.array([20.0, 60.0]), people=114))[21] == 0.5


def test_a_mixture_finds_the_groups_that_were_drawn() -> None:
    found = fit_mixture(draw(CROWD, 20_000, seed=4).astype(np.float64), 2, seed=1)

    order = np.argsort(found.weights)
    assert np.array(found.weights)[order] == pytest.approx([0.3, 0.7], abs=0.02)
    assert np.abs(np.array(found.means)[order] - np.array(CROWD.means)).max() < 0.03
    assert np.array(found.variances)[order] == pytest.approx(np.array(CROWD.variances), rel=0.1)


def test_an_odd_face_is_no_component_of_its_own() -> None:
    crowd = draw(CROWD, 400, seed=6).astype(np.float64)
    crowd[7] = 9.0

    found = fit_mixture(crowd, 20, seed=1)

    assert min(found.weights) * 400 >= LEAST_MEMBERS - 0.01
    assert np.abs(np.array(found.means) - 9.0).max(axis=1).min() > 4


@pytest.mark.parametrize(
    ("spoil", "because"),
    [
        (lambda v, p: (v[:20], p[:20]), "10 people"),
        (lambda v, p: (v[:0], p[:0]), "0 people"),
        (lambda v, p: (v, np.repeat("one", len(p))), "1 people"),
        (lambda v, p: (v[::2], p[::2]), "no person has two pictures"),
        (lambda v, p: (v * np.nan, p), "NaN"),
        (lambda v, p: (v * (np.arange(len(v)) > 0)[:, None], p), "all zero"),
        (lambda v, p: (v[1:], p), "names of persons"),
        (lambda v, p: (np.ones_like(v), p), "all the same"),
    ],
)
def test_faces_that_say_nothing_are_refused_with_the_reason(
    spoil: Callable[[Vector, Names], tuple[Vector, Names]], because: str
) -> None:
    vectors, persons = spoil(*album(100, 2, seed=1))

    with pytest.raises(CannotCalibrate, match=because):
        fit(vectors, persons, model="m", normalised=True, unit=False)


@pytest.mark.parametrize(("names", "normalised"), [(20, False), (59, False), (59, True)])
def test_one_picture_under_many_names_is_refused_with_the_reason(names: int, normalised: bool) -> None:
    vectors, persons = album(60, 2, seed=1)
    vectors[: 2 * names] = vectors[0]

    with pytest.raises(CannotCalibrate, match="one picture"):
        fit(vectors, persons, model="m", normalised=normalised, unit=False)


def test_a_curve_that_ends_in_mid_air_has_no_tail() -> None:
    weight = np.zeros(1000)
    weight[:500], weight[500] = 1.0, 500.0

    with pytest.raises(CannotCalibrate, match="equally alike"):
        fit_curve(Pairs(np.linspace(0, 1, 1001), weight, 1000, 1000.0, np.zeros(1)))


@pytest.mark.slow
@pytest.mark.skipif(not EMBEDDINGS.is_file(), reason=f"{EMBEDDINGS} is not there: the embeddings are given apart")
def test_half_of_the_real_people_calibrate_the_default_model_for_the_other_half() -> None:
    some, others = next(halves(read(EMBEDDINGS), 1))
    tested = few_of_each(others)
    results = {
        way: measure(Comparator(fit(some.templates, some.person, model="m", normalised=way, unit=False)), tested)
        for way in (False, True)
    }

    assert results[True].misses[2] < 0.6 * results[False].misses[2]
    assert results[True].misses[3] < 0.6 * results[False].misses[3]
    assert all(1 / 2 < ratio < 2 for ratio in results[True].declared_over[:3])
    # Half the people are a million pairs, so eleven decide here: one half may have a quarter of them
    # (docs/calibration.md).
    assert results[True].declared_over[3] < 2
