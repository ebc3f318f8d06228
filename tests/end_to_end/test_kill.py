"""`kill -9` of each service in mid-stream: one outcome each, the same people named, the state of a cold replay."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.benchmarks.stream import SERVICES, Outcome, run
from tests.end_to_end.conftest import Faces

PEOPLE = 22
"""With two or three pictures each: some 50 captures, half a minute of work under fire."""


@pytest.fixture(scope="module")
def captures(faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "faces"
    folder.mkdir()
    for name in faces.several_of_each(PEOPLE):
        shutil.copy(faces.folder / f"{name}.jpg", folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(captures, tmp_path_factory.mktemp("undisturbed"), "", kills=0, verify=False)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_killed_in_mid_stream_every_capture_has_one_outcome_and_the_same_people_are_named_i1_i2_i3(
    captures: Path, undisturbed: Outcome, tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    log = ""
    if backend == "kafka":
        log = f"kafka://{request.getfixturevalue('kafka')}?prefix=kill-{uuid4().hex[:8]}-"
    found = run(captures, tmp_path, log, kills=2, verify=False)
    assert all(found.kills[service] >= 1 for service in SERVICES), f"the stream was over too soon: {found.kills}"
    assert found.unanswered == 0
    assert sorted(found.enrolled) == sorted(undisturbed.enrolled)
    assert found.refused == undisturbed.refused
    assert found.certain == undisturbed.certain
    assert undisturbed.certain, "nobody was recognised: nothing was tested"
    # Nobody is named in one order that is a stranger, or scores otherwise, in another.
    assert {s for pair, s in found.pairs.items() if undisturbed.pairs.get(pair, s) != s} == set()
    assert found.in_flight == 0
    assert found.accepted == found.outcomes
    assert found.digest == found.cold_digest != ""
