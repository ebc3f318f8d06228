"""When a process last said that it lives."""

import threading
from collections.abc import Generator, Sequence
from datetime import UTC, datetime

import pytest

from shared import heartbeat
from shared.events import ServiceReported
from shared.heartbeat import Heartbeat
from shared.log import LogUnavailable, Position
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry


class Moody(MemoryLog):
    """A log that may take nothing."""

    takes = True

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Semaphore(0)

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        try:
            if not self.takes:
                raise LogUnavailable("no space left on device")
            return super().append(entries, timeout)
        finally:
            self.tried.release()


@pytest.fixture
def log() -> Moody:
    made = Moody()
    made.ensure(list(TOPICS.values()))
    return made


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def beat(log: Moody, now: list[float], monkeypatch: pytest.MonkeyPatch) -> Generator[Heartbeat]:
    monkeypatch.setattr(heartbeat, "PERIOD", 0.01)
    report = ServiceReported("api", "api@here:1", datetime.now(UTC), ready=True)
    made = Heartbeat(log, lambda: report, clock=lambda: now[0])
    yield made
    made.close()


def test_it_has_not_reported_before_it_starts(beat: Heartbeat) -> None:
    assert not beat.reported_within(1e9)
    beat.start()


def test_it_has_reported_as_long_as_the_log_takes_reports(beat: Heartbeat, log: Moody, now: list[float]) -> None:
    beat.start()
    for _ in range(2):
        assert log.tried.acquire(timeout=5)
    assert beat.reported_within(5)
    log.takes = False
    for _ in range(2):
        assert log.tried.acquire(timeout=5)
    now[0] += 6
    for _ in range(2):
        assert log.tried.acquire(timeout=5)
    assert not beat.reported_within(5)
