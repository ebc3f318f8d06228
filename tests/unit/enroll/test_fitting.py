"""The fit of what tells photographs of faces from what is made of them (`tests.benchmarks.likeness`)."""

import numpy as np

from tests.benchmarks.likeness import changed, described, fit


def test_a_fit_gives_one_for_photographs_and_minus_one_for_what_is_none() -> None:
    random = np.random.default_rng(1)
    towards = np.zeros(20)
    towards[3] = 2.0
    good, none = (random.normal(0, 0.3, (400, 20)) + sign * towards for sign in (1, -1))
    weights, bias = fit(good[:200], good[:0], none[:100], none[100:200])
    assert (good[200:] @ weights + bias).min() > 0.4
    assert (none[200:] @ weights + bias).max() < -0.4


def test_a_chip_is_changed_in_nine_ways_and_its_negative_is_the_first() -> None:
    chip = np.random.default_rng(1).integers(0, 255, (150, 150, 1), dtype=np.uint8).repeat(3, axis=2)
    ways = list(changed(chip))
    assert [way.shape for way in ways] == 9 * [(150, 150, 3)]
    assert np.abs(ways[0].astype(int) - (255 - chip)).max() <= 1
    assert described(ways).shape == (9, 800)
    assert described([]).shape == (0, 800)
