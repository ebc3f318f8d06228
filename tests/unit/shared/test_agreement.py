"""Who is told to be started again after a calibration, and when nobody is."""

from datetime import timedelta
from typing import Literal

from shared.agreement import disagreements
from shared.events import Loaded, ServiceReported
from tests.facts import NOON

OLD, NEW, OTHER_MODEL = ("dlib-1", "aaaaaaaaaaaa"), ("dlib-1", "bbbbbbbbbbbb"), ("sface-1", "cccccccccccc")


def runs(
    service: Literal["enroll", "match", "api"], has: tuple[str, str] | None, since: int = 0, at: str = "here:1"
) -> ServiceReported:
    calibration = None if has is None else Loaded(*has, NOON + timedelta(minutes=since))
    return ServiceReported(service, f"{service}@{at}", NOON, ready=True, calibration=calibration)


def told(*reports: ServiceReported) -> list[str]:
    """What is said, up to what is to be done."""
    return [line.partition(". ")[0] for line in disagreements(reports)]


def test_services_of_one_calibration_are_told_nothing_whenever_they_started() -> None:
    assert told(runs("enroll", OLD, 0), runs("match", OLD, 7), runs("api", OLD, 3)) == []
    assert told() == []


def test_those_that_started_before_the_calibration_are_to_be_restarted() -> None:
    assert told(runs("api", NEW, 5), runs("match", NEW, 5), runs("enroll", OLD)) == [
        "enroll runs with another calibration than match and api: restart enroll"
    ]
    assert told(runs("match", OLD), runs("api", OLD, 1), runs("enroll", NEW, 5)) == [
        "match and api run with another calibration than enroll: restart match and api"
    ]


def test_a_calibration_that_was_put_back_is_the_one_in_use() -> None:
    assert told(runs("enroll", NEW, 5), runs("match", OLD, 0), runs("api", OLD, 9)) == [
        "enroll runs with another calibration than match and api: restart enroll"
    ]


def test_another_model_is_called_so() -> None:
    assert told(runs("enroll", OTHER_MODEL), runs("match", OLD, 1), runs("api", NEW, 2)) == [
        "enroll runs with another model than api: restart enroll",
        "match runs with another calibration than api: restart match",
    ]


def test_of_several_processes_of_one_service_only_the_old_ones_are_named() -> None:
    enrolls = runs("enroll", NEW, 5, "a:1"), runs("enroll", OLD, 0, "b:2"), runs("enroll", OLD, 0, "c:3")
    assert told(*enrolls, runs("match", NEW, 5)) == [
        "enroll@b:2 and enroll@c:3 run with another calibration than enroll@a:1 and match: restart enroll@b:2 and "
        "enroll@c:3"
    ]


def test_all_processes_of_one_service_are_called_by_its_name() -> None:
    enrolls = runs("enroll", OLD, 0, "a:1"), runs("enroll", OLD, 0, "b:2")
    assert told(*enrolls, runs("match", NEW, 5), runs("api", OLD, 0)) == [
        "enroll and api run with another calibration than match: restart enroll and api"
    ]


def test_a_service_of_a_version_that_does_not_say_is_passed_over() -> None:
    assert told(runs("enroll", None), runs("match", OLD)) == []
    assert told(runs("enroll", None), runs("api", None)) == []


def test_it_says_what_it_means_and_what_it_is_if_a_restart_does_not_help() -> None:
    [line] = disagreements([runs("enroll", OLD), runs("match", NEW, 5)])
    assert "the gate, the scores and the thresholds are not of one calibration" in line
    assert line.endswith("the services' data folders hold different ones.")
