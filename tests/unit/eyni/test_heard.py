"""Which services live, whatever the clocks of their machines say."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from services.eyni.heard import Listener, clocks
from shared.events import ServiceReported
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Name, entry

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class Time:
    """The clocks of this machine."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    return log


@pytest.fixture
def listener(log: MemoryLog, time: Time) -> Listener:
    return Listener(log, time.monotonic, time.wall)


def report(
    time: Time, host: str, off: float = 0.0, pid: int = 1, service: Literal["enroll", "match", "api"] = "enroll"
) -> Entry:
    """What a service on a machine reports now whose clock is so many seconds ahead."""
    return entry(ServiceReported(service, f"{service}@{host}:{pid}", time.wall() + timedelta(seconds=off), True))


@pytest.mark.parametrize("off", [-3600.0, -60.0, -6.0, 6.0, 60.0, 3600.0])
def test_a_service_that_reports_lives_whatever_time_its_machine_has(
    log: MemoryLog, listener: Listener, time: Time, off: float
) -> None:
    log.append([report(time, "there", off)])
    assert [heard.alive for heard in listener.listen()] == [False]  # it may be an old one
    time.seconds = 1.0
    log.append([report(time, "there", off)])
    [heard] = listener.listen()
    assert (heard.alive, heard.off) == (True, off)
    [said] = clocks([heard])
    assert said.startswith(
        f"the clock of there is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this machine's: "
    )
    assert "NTP" in said


@pytest.mark.parametrize("off", [-60.0, 0.0, 60.0])
def test_a_service_that_ended_is_gone_whatever_time_its_machine_had(
    log: MemoryLog, listener: Listener, time: Time, off: float
) -> None:
    listener.listen()
    log.append([report(time, "there", off)])
    assert [heard.alive for heard in listener.listen()] == [True]
    time.seconds = 6.0
    [heard] = listener.listen()
    assert (heard.alive, heard.silent) == (False, 6.0)
    assert clocks([heard]) == []


def test_where_clocks_agree_one_look_is_enough(log: MemoryLog, listener: Listener, time: Time) -> None:
    log.append([report(time, "there", -1.0), report(time, "here"), report(time, "long", -9.0)])
    assert {heard.host: heard.alive for heard in listener.listen()} == {"there": True, "here": True, "long": False}
    assert clocks(listener.listen()) == []


def test_two_processes_of_one_machine_are_both_shown_while_they_live_and_one_that_was_replaced_is_not(
    log: MemoryLog, listener: Listener, time: Time
) -> None:
    log.append([report(time, "here", pid=1), report(time, "here", pid=2)])
    assert len(listener.listen()) == 2
    time.seconds = 6.0
    log.append([report(time, "here", pid=2)])
    assert [heard.report.instance for heard in listener.listen()] == ["enroll@here:2"]
    time.seconds = 60.0
    assert [heard.report.instance for heard in listener.listen()] == ["enroll@here:2"]


def test_bytes_that_are_no_report_and_reports_that_expired_are_passed_over(
    log: MemoryLog, listener: Listener, time: Time
) -> None:
    listener.listen()
    log.append([Entry(Name.HEARTBEATS, b"", b"?"), report(time, "here"), report(time, "there")])
    log.expire(Name.HEARTBEATS, 0, 2)
    assert [heard.host for heard in listener.listen()] == ["there"]
