"""A seeded share of what `tests.benchmarks.mutated_pictures` sends through a real worker: 20,000 of them end none."""

import os
from itertools import islice
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.benchmarks.mutated_pictures import mutants, run

COUNT = 250


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    first, again, other = (list(islice(mutants(seed), 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.skipif(not hasattr(os, "fork"), reason="worker processes need a POSIX system")
def test_spoilt_pictures_end_no_worker_and_each_has_a_reason(tmp_path: Path) -> None:
    report = run(COUNT, 7, Settings(data=tmp_path, workers=1))
    assert report.worker_deaths == 0
    assert report.outcomes.total() == COUNT
    assert len(report.outcomes) >= 4, "they get to different places"
    assert "undecodable" in report.outcomes
