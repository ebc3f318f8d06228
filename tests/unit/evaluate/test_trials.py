"""Every pair compared once, as the comparator alone would compare it."""

import numpy as np
import pytest

from services.evaluate import trials as module
from services.evaluate.statistics import false_matches, fmr
from services.evaluate.trials import PICTURES, STEP, Faces, compare_all, few_of_each, pairs_of_pictures, similarities
from tests.unit.evaluate.making import comparator, crowd, faces_of


@pytest.mark.parametrize(("normalised", "unit"), [(False, False), (False, True), (True, False)])
def test_scores_of_many_are_those_of_one_by_one(normalised: bool, unit: bool) -> None:
    truth = comparator(normalised, unit)
    prepared = truth.prepare(crowd(20)[0])
    found = similarities(prepared, prepared)
    for n in range(len(prepared)):
        assert found[n] == pytest.approx(truth.similarity(prepared[n : n + 1], prepared), abs=1e-9)


def test_each_pair_is_a_trial_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    truth, faces = comparator(), faces_of(15, 3)
    found = compare_all(truth, faces)
    db = truth.decibels(similarities(faces.prepared, faces.prepared))
    a, b = np.triu_indices(45, 1)
    same = faces.person[a] == faces.person[b]
    assert found.genuine.db == pytest.approx(np.sort(db[a, b][same]))
    assert found.impostors == (~same).sum() == found.histogram.sum()
    strangers = db[a, b][~same]
    assert found.tail.db == pytest.approx(-np.sort(-strangers[strangers >= found.floor]))
    pairs = set(zip(found.tail.a.tolist(), found.tail.b.tolist(), strict=True))
    assert len(pairs) == len(found.tail)
    assert all(faces.person[i] != faces.person[j] for i, j in pairs)
    assert (found.people, found.people_with_pairs, found.pairs_of_people) == (15, 15, 105)


def test_what_lies_below_the_tail_is_counted_in_the_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 50)  # a quarter of the share that is kept otherwise
    truth, faces = comparator(), faces_of(60)
    found = compare_all(truth, faces)
    assert len(found.tail) == pytest.approx(50, abs=5)
    db = truth.decibels(similarities(faces.prepared, faces.prepared))
    apart = np.triu(faces.person[:, None] != faces.person, 1)
    for edge in (0.0, 100 * STEP, 200 * STEP):
        assert edge < found.floor
        assert false_matches(found, edge) == (db[apart] >= edge).sum()
    assert fmr(found, 0.0) == 1.0


def test_scores_that_a_calibration_declares_for_1e_2_are_always_kept() -> None:
    assert compare_all(comparator(), faces_of(60)).floor <= 20


def test_nobody_has_more_than_five_pictures_in_the_trials() -> None:
    persons = ["a"] * 12 + ["b"] * 2 + ["c"] * 5
    rows: list[int] = few_of_each(persons).tolist()
    chosen = [persons[n] for n in rows]
    assert {name: chosen.count(name) for name in "abc"} == {"a": PICTURES, "b": 2, "c": 5}
    assert rows == sorted(set(rows))
    assert rows == few_of_each(persons).tolist()


def test_which_pictures_are_compared_is_not_the_first_ones() -> None:
    assert few_of_each(["a"] * 100).tolist() != [0, 1, 2, 3, 4]


def test_pairs_are_counted_from_the_pictures_of_each() -> None:
    assert pairs_of_pictures(np.array([3, 2, 1])) == 3 * 2 + 3 * 1 + 2 * 1
    assert pairs_of_pictures(np.array([5])) == 0


def test_trials_within_a_group_have_both_pictures_in_it() -> None:
    faces = faces_of(40)
    found = compare_all(comparator(), faces)
    inside = faces.person < 10
    inside[1] = False
    part = found.within(inside)
    assert (part.people, part.people_with_pairs, len(part.genuine)) == (10, 9, 9)
    assert part.impostors == pairs_of_pictures(np.array([1] + [2] * 9))
    assert all(inside[n] for n in [*part.tail.a.tolist(), *part.tail.b.tolist()])
    assert len(part.tail) == sum(
        bool(inside[i] and inside[j]) for i, j in zip(found.tail.a.tolist(), found.tail.b.tolist(), strict=True)
    )


def test_two_templates_of_one_person_are_one_genuine_trial() -> None:
    vectors, _ = crowd(1)
    found = compare_all(comparator(), Faces.of(comparator(), vectors, ["a", "a"]))
    assert (len(found.genuine), found.impostors, len(found.tail)) == (1, 0, 0)
