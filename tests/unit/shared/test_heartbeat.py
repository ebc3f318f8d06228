"""When a process last said that it lives."""

import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import heartbeat
from shared.events import ServiceReported
from shared.heartbeat import Heartbeat
from shared.log import LogUnavailable, Position
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry

ROOT = Path(__file__).parents[3]


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


def test_two_first_processes_of_machines_with_one_name_are_told_apart() -> None:
    """As in containers: one host name, process 1 in each."""
    program = (
        "import os, socket\nos.getpid = lambda: 1\nsocket.gethostname = lambda: 'c'\n"
        "from shared.heartbeat import instance_of, is_of, process_of\n"
        "assert instance_of('enroll') == instance_of('enroll')\n"
        "assert is_of(instance_of('enroll'), process_of('enroll', 1))\n"
        "assert not is_of(instance_of('enroll'), process_of('enroll', 11)) and not is_of('', process_of('enroll', 1))\n"
        "print(instance_of('enroll'))"
    )
    one, other = (subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) for _ in range(2))
    assert one != other
    assert one.startswith("enroll@c:1.")
