"""Groups: each measured by itself, compared only where there are enough people."""

import numpy as np
import pytest

from services.evaluate.acquisition import Item
from services.evaluate.groups import grouping
from services.evaluate.report import Grouping
from services.evaluate.trials import Faces, compare_all
from shared.biometrics import RetakeReason
from tests.unit.evaluate.making import comparator, crowd

TARGET = 20.0


def measured(sizes: dict[str, int], spread: dict[str, float], refused: int = 0) -> Grouping:
    """Measure groups of so many people each, whose pictures scatter so much about them."""
    items: list[Item] = []
    for n, (value, people) in enumerate(sizes.items()):
        vectors, names = crowd(people, 2, seed=50 + n, spread=spread[value])
        items += [
            Item(f"{value}-{name}", name, vector, groups={"sex": value})
            for name, vector in zip(names, vectors, strict=True)
        ]
    compared = list(items)
    items += [Item("lost", "x", None, str(RetakeReason.NO_FACE), groups={"sex": "F"}) for _ in range(refused)]
    vectors = np.stack([item.vector for item in compared if item.vector is not None])
    faces = Faces.of(comparator(), vectors, [item.person for item in compared])
    found = grouping("sex", items, compared, compare_all(comparator(), faces), TARGET, True)
    assert found is not None
    return found


def test_a_group_that_is_missed_more_often_is_seen() -> None:
    found = measured({"F": 120, "M": 120}, {"F": 0.3, "M": 0.9})
    f, m = found.groups
    assert (f.value, m.value) == ("F", "M")
    assert f.fnmr is not None
    assert m.fnmr is not None
    assert f.fnmr.value < 0.5 * m.fnmr.value
    assert f.fnmr.of == m.fnmr.of == 120
    ratio = found.worst_to_best["fnmr"]
    assert ratio is None or ratio == pytest.approx(m.fnmr.value / f.fnmr.value)


def test_false_matches_of_a_group_are_among_its_own_people() -> None:
    found = measured({"F": 100, "M": 60}, {"F": 0.3, "M": 0.3})
    for group, people in zip(found.groups, (100, 60), strict=True):
        assert group.pairs_of_people == people * (people - 1) // 2
        assert group.fmr is not None
        assert group.fmr.of == 4 * group.pairs_of_people


def test_small_groups_are_told_and_not_compared() -> None:
    found = measured({"F": 150, "M": 150, "X": 10}, {"F": 0.8, "M": 0.8, "X": 0.8})
    x = found.groups[2]
    assert {"fnmr", "fmr"} <= set(x.too_small)
    assert "fnmr" not in found.groups[0].too_small
    large = [group.fnmr.value for group in found.groups[:2] if group.fnmr is not None]
    assert found.worst_to_best["fnmr"] == pytest.approx(max(large) / min(large))


def test_more_pictures_of_the_same_people_make_no_group_large_enough() -> None:
    found = measured({"F": 150, "M": 80}, {"F": 0.8, "M": 0.8})
    # 3,160 pairs of people let expect three false matches at 1e-3, and their 12,640 pairs of pictures a dozen.
    assert "fmr at 0.001" in found.groups[1].too_small
    assert "fmr at 0.001" not in found.groups[0].too_small
    assert found.worst_to_best["fmr at 0.001"] is None


def test_people_with_one_picture_make_no_group_large_enough_for_misses() -> None:
    vectors, names = crowd(40)
    kept = [n for n in range(80) if n % 2 == 0 or n < 50]
    items = [Item(names[n], str(n), vectors[n], groups={"sex": "F"}) for n in kept]
    faces = Faces.of(comparator(), vectors[kept], [names[n] for n in kept])
    found = grouping("sex", items, items, compare_all(comparator(), faces), TARGET, False)
    assert found is not None
    assert (found.groups[0].people, found.groups[0].genuine) == (40, 25)
    assert "fnmr" in found.groups[0].too_small


def test_failures_of_a_group_are_of_its_own_pictures() -> None:
    f, m = measured({"F": 40, "M": 40}, {"F": 0.3, "M": 0.3}, refused=20).groups
    assert f.failure_to_acquire is not None
    assert m.failure_to_acquire is not None
    assert (f.failure_to_acquire.value, m.failure_to_acquire.value) == (0.2, 0.0)
    assert (f.pictures, f.people, m.pictures) == (100, 41, 80)


def test_a_group_that_is_refused_more_often_is_seen() -> None:
    vectors, names = crowd(80)
    items = [
        Item(n, n, v, groups={"sex": "FM"[k % 4 // 2]}) for k, (n, v) in enumerate(zip(names, vectors, strict=True))
    ]
    compared = list(items)
    reason = str(RetakeReason.BLURRED)
    items += [Item(f"p{n:04d}", "x", None, reason, groups={"sex": "FM"[n % 2]}) for n in range(20)]
    items += [Item("p0000", "x", None, reason, groups={"sex": "F"}) for _ in range(10)]
    trials = compare_all(comparator(), Faces.of(comparator(), vectors, names))
    found = grouping("sex", items, compared, trials, TARGET, True)
    assert found is not None
    assert found.worst_to_best["failure to enrol"] == pytest.approx((20 / 100) / (10 / 90))
    assert found.worst_to_best["failure to acquire"] is None


def test_pictures_without_a_value_are_in_no_group() -> None:
    vectors, names = crowd(40)
    items = [
        Item(name, name, vector, groups={"sex": "F"} if n % 4 < 2 else {})
        for n, (name, vector) in enumerate(zip(names, vectors, strict=True))
    ]
    faces = Faces.of(comparator(), vectors, names)
    trials = compare_all(comparator(), faces)
    found = grouping("sex", items, items, trials, TARGET, False)
    assert found is not None
    assert [(group.people, group.failure_to_acquire) for group in found.groups] == [(20, None)]
    assert found.worst_to_best["fnmr"] is None
    assert grouping("age", items, items, trials, TARGET, False) is None
