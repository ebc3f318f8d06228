"""Synthetic people: as alike as real ones, nobody's relatives, and rates that a simulation gives too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.evaluate import background
from services.evaluate.background import (
    GRID,
    LEAST_PEOPLE,
    Strangers,
    fit_population,
    one_of_each,
    prepared,
    real_strangers,
    synthetic_strangers,
)
from services.evaluate.trials import Faces, similarities
from tests.unit.evaluate.making import comparator, crowd, faces_of


@pytest.mark.parametrize("normalised", [False, True])
def test_synthetic_people_match_as_often_as_real_ones(normalised: bool) -> None:
    faces = faces_of(400, 1, seed=3, normalised=normalised)
    real = real_strangers(comparator(normalised), faces)
    made = synthetic_strangers(comparator(normalised), faces, 20_000, least=100)
    assert made is not None
    for db in (20.0, 25.0, 30.0):
        at = int(np.searchsorted(GRID, db))
        assert made.share[:, at].mean() == pytest.approx(real.share[:, at].mean(), rel=0.5)
    at = int(np.argmax((real.share > 0).mean(axis=0) <= 0.2))
    assert made.false_positives(real.people)[at] == pytest.approx((real.share > 0)[:, at].mean(), rel=0.4)


def test_it_is_the_same_people_each_time() -> None:
    faces = faces_of(120, 1)
    one, two = (synthetic_strangers(comparator(), faces, 20_000, least=100) for _ in range(2))
    assert one is not None
    assert two is not None
    assert np.array_equal(one.share, two.share)


def test_of_few_people_no_others_are_made() -> None:
    assert synthetic_strangers(comparator(), faces_of(LEAST_PEOPLE - 1, 1)) is None


def test_a_synthetic_person_lies_between_two_people_who_are_alike() -> None:
    faces = faces_of(200, 1)
    population = fit_population(comparator(), faces)
    drawn, parents = population.draw(comparator(), 500, 1)
    middle = faces.prepared.vectors.mean(axis=0)
    apart = np.linalg.norm(faces.prepared.vectors[parents[:, 0]] - faces.prepared.vectors[parents[:, 1]], axis=1)
    usual = np.linalg.norm(faces.prepared.vectors[:100] - faces.prepared.vectors[100:], axis=1)
    assert (parents[:, 0] != parents[:, 1]).all()
    assert population.alike > 0.9 or apart.mean() < usual.mean()
    # As far from everybody's mean as people are, not nearer as means of two would be.
    lengths = np.linalg.norm(drawn.vectors - middle, axis=1)
    real = np.linalg.norm(faces.prepared.vectors - middle, axis=1)
    assert lengths.mean() == pytest.approx(real.mean(), rel=0.05)


def test_nobody_is_a_stranger_to_what_was_made_of_him() -> None:
    # Two far-away people with only each other to be mixed with: everything near them is made of them.
    vectors, names = crowd(150, 1)
    vectors[:2] = 40.0
    vectors[1, 0] += 0.5
    faces = Faces.of(comparator(), vectors, names)
    made = synthetic_strangers(comparator(), faces, 20_000, least=100)
    assert made is not None
    high = int(np.searchsorted(GRID, 60.0))
    assert made.share[:2, high].max() < 1e-6


@pytest.mark.parametrize("normalised", [False, True])
def test_many_are_made_ready_as_one_by_one(normalised: bool) -> None:
    truth = comparator(normalised)
    vectors, _ = crowd(30)
    one_by_one, all_at_once = truth.prepare(vectors), prepared(truth, vectors)
    assert all_at_once.vectors == pytest.approx(one_by_one.vectors, abs=1e-6)
    assert all_at_once.nearness == pytest.approx(one_by_one.nearness, abs=1e-3)


def test_a_search_names_a_stranger_as_often_as_a_simulation_says() -> None:
    chance = np.random.default_rng(0)
    share = 10 ** -chance.uniform(1, 4, (50, 1))
    simulated = np.mean([(chance.random((200, 300)) < rate).any(axis=1).mean() for rate in share[:, 0]])
    assert Strangers(share, 1, 0.0).false_positives(300)[0] == pytest.approx(simulated, abs=0.01)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.sampled_from([1, 1_000, 10_000_000]))
def test_a_higher_threshold_names_fewer_strangers_in_any_gallery(seed: int, size: int) -> None:
    made = synthetic_strangers(comparator(), faces_of(100, 1, seed), 20_000, least=100)
    assert made is not None
    curve = made.false_positives(size)
    # Where the count hands over to the tail, one count is the step.
    assert (np.diff(made.share, axis=1) <= 1e-4).all()
    assert curve[0] > 0.9 or size == 1
    assert curve[-1] < min(curve[0], 0.1)


def test_real_strangers_are_all_others() -> None:
    faces = faces_of(30, 2)
    found = real_strangers(comparator(), faces)
    first = faces.rows(faces.first)
    db = comparator().decibels(similarities(first, first))
    np.fill_diagonal(db, -1)
    at = int(np.searchsorted(GRID, 12.0))
    assert found.people == 29
    assert found.share[:, at] == pytest.approx((db >= GRID[at]).sum(axis=1) / 29)


def test_of_very_many_people_a_part_stands_for_all_so_that_memory_stays_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "MOST_PARENTS", 150)
    faces = faces_of(200, 2)
    rows = one_of_each(faces)
    assert len(rows) == 150
    assert len(np.unique(faces.person[rows])) == 150
    assert set(rows.tolist()) <= set(faces.first.tolist())
    real, made = real_strangers(comparator(), faces), synthetic_strangers(comparator(), faces, 20_000, least=100)
    assert made is not None
    assert (real.people, real.share.shape, made.share.shape) == (149, (150, len(GRID)), (150, len(GRID)))
    assert len(fit_population(comparator(), faces).seen) == 150
