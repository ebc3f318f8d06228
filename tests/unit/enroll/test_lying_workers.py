"""What a worker that a picture has taken over may still say: of a face, nothing but the values of its measures (B1)."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from services.enroll.consistency import is_consistent
from services.enroll.frames import ANSWER, GREETING
from services.enroll.pool import LIFETIME, Pool
from services.enroll.quality import BREAKS_DECODERS, NO_FACE, Extracted, refused
from shared.biometrics import Quality
from tests import models
from tests.unit.enroll.making import HOPPER, LIMITS, encoded, extracted, hopper, orders
from tests.unit.enroll.test_pool import MODEL, pretend


def measures(**changed: float) -> Callable[[Quality], Quality]:
    return lambda quality: replace(quality, measures={**quality.measures, **changed})


LIES: dict[str, Callable[[Quality], Quality]] = {
    "a measure of its own": measures(passport=1234567.0),
    "no number": measures(yaw=float("nan")),
    "an endless one": measures(sharpness=float("inf")),
    "one beyond all that is": measures(sharpness=1.5e12),
    "more digits than are measured": measures(sharpness=100.123456789),
    "another measure than the score is of": measures(yaw=0.37),
    "one that asks for a refusal": measures(yaw=3.0),
    "a measure less": lambda quality: replace(quality, measures={"yaw": quality.measures["yaw"]}),
    "none at all": lambda quality: replace(quality, measures={}),
    "a better score": lambda quality: replace(quality, score=100),
    "a score of nothing": lambda quality: replace(quality, score=0),
    "a defect beside a template": lambda quality: replace(quality, defects=(NO_FACE,)),
}


def test_what_a_real_worker_says_of_good_and_bad_pictures_is_consistent() -> None:
    dark = hopper().point(lambda level: level * 0.1)
    for image in (HOPPER, encoded(dark), encoded(hopper().resize((64, 76))), b"", encoded(hopper().crop((0, 0, 9, 9)))):
        assert is_consistent(extracted(image).quality, LIMITS)


@pytest.mark.parametrize("name", LIES)
def test_a_quality_that_is_not_what_the_gate_says_of_its_measures_is_not_believed(name: str) -> None:
    honest = extracted(HOPPER).quality
    assert is_consistent(honest, LIMITS)
    assert not is_consistent(LIES[name](honest), LIMITS)


def test_advice_is_the_gates_own_words() -> None:
    bad = extracted(encoded(hopper().resize((64, 76)))).quality
    assert bad.defects
    assert is_consistent(bad, LIMITS)
    assert not is_consistent(
        replace(bad, defects=(replace(bad.defects[0], advice="the last face was 0.1 0.2"),)), LIMITS
    )
    assert not is_consistent(replace(refused(NO_FACE).quality, defects=(NO_FACE, NO_FACE)), LIMITS)


def test_a_worker_that_lies_is_lost_with_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = extracted(HOPPER)
    lie = Extracted(honest.template, replace(honest.quality, measures={**honest.quality.measures, "secret": 0.5}))
    pretend(tmp_path, monkeypatch, GREETING.dump_json(orders(MODEL).model), ANSWER.dump_json(lie))
    with closing(Pool(1, orders(MODEL))) as pool:
        assert pool.submit(HOPPER).result(timeout=60) == refused(BREAKS_DECODERS)


def test_a_worker_whose_time_is_over_is_renewed_beside_the_work_and_nobody_waits() -> None:
    with closing(Pool(1, orders(models.default()), lifetime=0.0)) as pool:
        first = pool.pids
        wanted = extracted(HOPPER)
        for _ in range(200):
            assert pool.submit(HOPPER).result(timeout=60) == wanted
            if pool.pids.isdisjoint(first):
                break
        assert pool.pids.isdisjoint(first)
        assert len(pool.pids) == 1


def test_renewal_costs_no_more_than_a_hundredth() -> None:
    # A worker starts while another works LIFETIME times as long.
    assert 1 / LIFETIME <= 0.01
