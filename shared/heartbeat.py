"""Once a second, a service says on the log that it lives; the api's readiness and `eyni status` listen."""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from shared.events import ServiceReported
from shared.log import Log, LogError
from shared.logs import logger
from shared.topics import entry

PERIOD = 1.0
"""Seconds between two reports: an officer's "not available" comes within a few of them."""


def instance_of(service: str) -> str:
    """Name this process among all."""
    return f"{service}@{socket.gethostname()}:{os.getpid()}"


class Heartbeat:
    """Reports from a thread of its own what `describe` says, until closed."""

    def __init__(self, log: Log, describe: Callable[[], ServiceReported]) -> None:
        self._log = log
        self._describe = describe
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * PERIOD)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            try:
                report = replace(self._describe(), at=datetime.now(UTC))
                self._log.append([entry(report)], timeout=PERIOD)
            except LogError as error:
                # A report that comes late is worth nothing, and its absence is what says that something is wrong.
                logger("heartbeat").debug("not reported", error=str(error))
