"""How the matcher starts: with the model in use and its calibration, or not at all; and what it reports."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from services.match import bootstrap
from services.match.bootstrap import describe, policy
from services.match.gallery import Gallery
from shared.calibration import Comparator
from shared.events import ReferenceEnrolled
from shared.gallery_log import WrongModel
from shared.heartbeat import loaded
from shared.log.file import FileLog
from shared.log.memory import MemoryLog
from shared.model import ModelRefused, in_use
from shared.settings import Settings
from shared.topics import TOPICS, Name, entry
from tests.facts import comparator, enrolled, template


def leave(settings: Settings, *facts: ReferenceEnrolled) -> None:
    log = FileLog(settings.data / "log")
    log.ensure(list(TOPICS.values()))
    log.append([entry(fact) for fact in facts])
    log.close()


def run(settings: Settings) -> None:
    bootstrap.run(settings, threading.Event())


def digest(settings: Settings) -> object:
    return bootstrap.digest(settings, cold=True)


@pytest.mark.parametrize("start", [run, digest])
def test_a_gallery_of_another_model_stops_it_before_it_puts_anybody_aside(
    start: Callable[[Settings], object], tmp_path: Path
) -> None:
    settings = Settings(data=tmp_path, match_metrics_port=0)
    leave(settings, enrolled(1, "ada", [template(1)]))
    with pytest.raises(WrongModel, match="are of model test-model, and the model in use is dlib-"):
        start(settings)


@pytest.mark.parametrize("start", [run, digest])
def test_a_model_that_is_not_there_or_not_calibrated_does_not_serve(
    start: Callable[[Settings], object], tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match="there is no model 'nobody'"):
        start(Settings(data=tmp_path, model="nobody"))
    with pytest.raises(ModelRefused, match="has no calibration"):
        start(Settings(data=tmp_path, model="sface"))


def test_a_digest_leaves_the_snapshots_of_a_matcher_that_runs_with_another_calibration_alone(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    leave(settings)
    used = bootstrap.comparator(settings).calibration
    before = Comparator(used.model_copy(update={"provenance": {"data": "others"}}))
    snapshots = bootstrap.snapshots_in(tmp_path)
    with closing(FileLog(tmp_path / "log")) as log:
        written = snapshots.write(Gallery(before).view(), log.identity(Name.GALLERY))
    half = written.with_name("00000000000000000007.writing")
    half.mkdir()
    found = bootstrap.digest(settings, cold=False)
    assert found == bootstrap.digest(settings, cold=True)
    assert (written.is_dir(), half.is_dir()) == (True, True)


def test_the_default_is_the_default_models_calibration(tmp_path: Path) -> None:
    found = bootstrap.comparator(Settings(data=tmp_path))
    assert isinstance(found, Comparator)
    assert found.calibration == in_use(tmp_path).calibration


def test_the_operators_targets_are_the_policys(tmp_path: Path) -> None:
    chosen = policy(
        Settings(
            data=tmp_path,
            verification_target=40,
            duplicate_target=25,
            identification_target=20,
            gallery_targets={"w": 15},
            lowest_threshold=31,
            candidate_cap=7,
        )
    )
    assert (chosen.verification, chosen.duplicates, chosen.identification) == (40, 25, 20)
    assert (dict(chosen.galleries), chosen.lowest, chosen.candidate_cap) == ({"w": 15}, 31, 7)


def test_it_reports_what_is_to_be_expected_as_the_gallery_grows(tmp_path: Path) -> None:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    worker = bootstrap.worker(log, Settings(data=tmp_path), comparator())
    calibration = loaded(comparator().calibration)
    before = describe(log, worker, calibration).expected
    log.append([entry(enrolled(n, f"p{n}", [template(n)])) for n in range(100)])
    while worker.run_once(0):
        pass
    after = describe(log, worker, calibration).expected
    assert [(p.operation, p.size, p.threshold) for p in before] == [
        ("verification", 1, 33.01),
        ("duplicates", 0, 30.0),
        ("identification", 0, 30.0),
    ]
    assert [(p.size, p.threshold) for p in after] == [(1, 33.01), (100, 50.0), (100, 50.0)]
    assert after[1].misses > before[1].misses
    worker.close()
