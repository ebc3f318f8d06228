"""Once a second, a service says on the log that it lives; the api's readiness and `eyni status` listen."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from shared.background import Background, Restart
from shared.calibration import Calibration
from shared.events import Loaded, ServiceReported
from shared.log import Log, LogError
from shared.logs import logger
from shared.topics import entry

PERIOD = 1.0
"""Seconds between two reports: an officer's "not available" comes within a few of them."""

ALIVE = 5.0
"""Seconds since its last report after which a process is taken for gone: five reports are missing."""

SAMPLES_PER_SECOND: Final = "samples_per_second"
"""A figure of enroll's reports: what its workers can do. The api accepts by it."""


_RUN: Final = secrets.token_hex(3)
"""Of this process: containers of one name on several machines are all process 1."""


def process_of(service: str, pid: int) -> str:
    """Name a process among those of this machine: all of its name but what it drew by chance at its start."""
    return f"{service}@{socket.gethostname()}:{pid}"


def instance_of(service: str) -> str:
    """Name this process among all, of every machine and time: `service@host:pid.run`."""
    return f"{process_of(service, os.getpid())}.{_RUN}"


def is_of(instance: str, process: str) -> bool:
    """Tell whether an instance is the process of that name (`process_of`)."""
    return instance.rpartition(".")[0] == process


def loaded(calibration: Calibration) -> Loaded:
    """Say which calibration a service has, in its reports; called as soon as it has read it."""
    return Loaded(calibration.model, calibration.digest()[:12], datetime.now(UTC))


class Heartbeat:
    """Reports from a thread of its own what `describe` says, at once and once a second, until closed."""

    def __init__(
        self, log: Log, describe: Callable[[], ServiceReported], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._describe = describe
        self._clock = clock
        self._reported_at: float | None = None
        self._stop = threading.Event()
        self._thread = Background("heartbeat", self._run, Restart(self._stop))

    def start(self) -> None:
        self._thread.start()

    def reported_within(self, seconds: float) -> bool:
        """Whether the log took a report in the last so many seconds: a disk that is full is still read, and lies."""
        return self._reported_at is not None and self._clock() - self._reported_at < seconds

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2 * PERIOD)

    def _run(self) -> None:
        waits = 0.0
        while not self._stop.wait(waits):
            waits = PERIOD
            try:
                report = replace(self._describe(), at=datetime.now(UTC))
                self._log.append([entry(report)], timeout=PERIOD)
                self._reported_at = self._clock()
            except LogError as error:
                # A report that comes late is worth nothing, and its absence is what says that something is wrong.
                logger("heartbeat").debug("not reported", error=str(error))
