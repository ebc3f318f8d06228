"""One client's floods: another client's questions are all answered, and nothing that was accepted is lost."""

from pathlib import Path
from uuid import uuid4

import pytest

from tests.benchmarks.floods import run
from tests.end_to_end.conftest import Faces

SOON = 10.0
"""Seconds at most for a question beside a flood, on a machine that does other things too; it was 60 s and 503. What it
is on a free one, `tests.benchmarks.floods` prints."""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_an_officer_is_served_whatever_another_client_sends(
    faces: Faces, tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    log = ""
    if backend == "kafka":
        log = f"kafka://{request.getfixturevalue('kafka')}?prefix=floods-{uuid4().hex[:8]}-"
    pictures = [faces.read(name) for name in faces.strangers(40)]
    names = ["costly", "verifications", "urgent-enrolments"]
    found = dict(run(tmp_path / "data", log, pictures, names, least=3.0))
    for name, flood in found.items():
        assert set(flood.officers_statuses) == {200}, (name, flood.officers_statuses)
        assert max(flood.officer) < SOON, name
        assert flood.statuses[429] > 0, name
        assert set(flood.statuses) <= {200, 400, 429}, (name, flood.statuses)
        assert all(1 <= seconds <= 30 for seconds in flood.retry_after)
        assert flood.in_flight == 0, name
        assert flood.accepted == flood.outcomes
