"""Several templates of one person stand as one; several people's never become a master key."""

import numpy as np

from services.match.fusion import fuse
from shared.calibration import Comparator, Gate, Prepared
from tests.facts import DIMENSION, calibration, comparator, vector

CENTRE = (0.6,) + (0.0,) * (DIMENSION - 1)
GATED = Comparator(calibration(gate=Gate(centre=CENTRE, distance=0.4, norm=(0.1, 3.0))))


def some(*seeds: int, near: float = 0.0) -> Prepared:
    return GATED.prepare(np.stack([vector(seed) * np.float32(1 - near) + np.float32(near) for seed in seeds]))


def test_one_template_stays_as_it_is_and_several_become_their_mean() -> None:
    one = some(1)
    assert fuse(one, GATED).vectors.tobytes() == one.vectors.tobytes()
    near = (vector(1) + np.float32(0.3) * vector(2)).astype(np.float32)
    three = Prepared(np.stack([vector(1), vector(1), near]), np.zeros(3))
    assert np.allclose(fuse(three, GATED).vectors[0], vector(1) + 0.1 * vector(2), atol=1e-6)


def test_pictures_of_two_people_become_the_reference_of_one_of_them() -> None:
    # A mean of both would say yes to either.
    two = Prepared(np.stack([vector(1), vector(2)]), np.zeros(2))

    assert fuse(two, comparator()).vectors.tolist() == [vector(1).tolist()]


def test_the_mean_of_many_people_which_resembles_everybody_is_not_used_but_one_of_them() -> None:
    dice = np.random.default_rng(1)
    strangers = (np.array(CENTRE) + dice.normal(size=(12, DIMENSION)) / DIMENSION**0.5).astype(np.float32)
    assert [GATED.refusal(stranger) for stranger in strangers] == [None] * 12
    mean = strangers.mean(axis=0)
    assert GATED.refusal(mean) is not None

    fused = fuse(GATED.prepare(strangers), GATED)

    nearest = strangers[np.linalg.norm(strangers - mean, axis=1).argmin()]
    assert fused.vectors[0].tobytes() == nearest.tobytes()
    assert GATED.refusal(fused.vectors[0]) is None


def test_a_mean_that_the_gate_refuses_is_not_used_though_its_pictures_are_alike() -> None:
    # Each 0.41 from the average face, in directions of their own, and so 0.58 from one another: 33 dB.
    around = (np.array(CENTRE) + 0.41 * np.eye(DIMENSION)[1:9]).astype(np.float32)
    assert [GATED.refusal(each) for each in around] == [None] * 8
    assert GATED.refusal(around.mean(axis=0)) is not None

    assert fuse(GATED.prepare(around), GATED).vectors[0].tolist() in around.tolist()
