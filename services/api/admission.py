"""How much of each client's may be on the log undecided: what can be answered in time. The rest was never appended."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.api.errors import Code, Refusal
from shared import metrics
from shared.events import CLOCKS, CaptureReceived, DeadLettered, Event, ServiceReported
from shared.heartbeat import SAMPLES_PER_SECOND

FLOOR: Final = 8
"""Samples that a client may always have on the log: two officers with four pictures each, also while another client's
costly pictures make the measured rate low. Turns by client keep such a one's wait short."""

SHARE: Final = 1 / 3
"""Of the time that a caller waits, what accepted work may take at the measured rate: pictures differ, and a machine
that is shared gets slower by half."""

UNKNOWN_RATE: Final = 5.0
"""Samples a second where no enroll process says: half of what two cores do with dlib."""

FORGOTTEN: Final = 600.0
"""Seconds after which what has no deadline is counted no longer: a capture that became a dead letter is not decided."""

LONGEST: Final = 30
"""Most seconds that a refused client is asked to wait."""


class Lane(StrEnum):
    """What waits for one another."""

    URGENT = "urgent"
    BULK = "bulk"
    MATCHER = "matcher"
    """Changes of the gallery, and searches with whoever is enrolled."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a call puts on the log."""

    lane: Lane
    samples: int
    size: int
    """Bytes of pictures."""
    expires: bool = False
    """It is dropped once its caller has gone."""


def load_of(event: Event, *, urgent: bool) -> Load:
    """Weigh an event before it is appended."""
    expires = not isinstance(event, DeadLettered | ServiceReported) and event.request.answer_by is not None
    if not isinstance(event, CaptureReceived):
        return Load(Lane.MATCHER, 1, 0, expires)
    samples = event.samples + event.against
    lane = Lane.URGENT if urgent else Lane.BULK
    return Load(lane, len(samples), sum(len(sample.image) for sample in samples), expires)


def rate_of(reports: Mapping[str, ServiceReported]) -> float:
    """Add up how many samples a second the enroll processes can do."""
    figures = [report.figures for report in reports.values() if report.service == "enroll" and report.ready]
    return sum(found.get(SAMPLES_PER_SECOND, 0.0) for found in figures) or UNKNOWN_RATE


@dataclass(frozen=True, slots=True)
class _Held:
    load: Load
    until: float


class Admission:
    """Counts what this process has accepted and nobody has decided. Thread-safe."""

    def __init__(
        self,
        samples: int,
        size: int,
        answer_timeout: float,
        rate: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`samples`, `size`: the most that a client may have in one lane; `rate`: samples a second, as measured."""
        self._samples = samples
        self._size = size
        self._answer_timeout = answer_timeout
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[Lane, str], dict[str, _Held]] = {}
        self._whose: dict[str, tuple[Lane, str]] = {}
        self._begun: dict[str, tuple[Lane, str]] = {}
        self._preparing: Counter[tuple[Lane, str]] = Counter()

    def begin(self, client: str, call_id: str, lane: Lane, *, waits: bool) -> None:
        """Refuse a call (429) before its body is read, where it could not be admitted; else count it until `prepared`.

        So a flood costs no more than its headers, and no more calls than may be admitted are read at a time.
        """
        key = (lane, client)
        with self._lock:
            self._forget(self._clock())
            samples = self._samples_of(key) + self._preparing[key]
            rate = self._rate_for(key)
            if samples and samples >= self._most(lane, rate, waits=waits):
                metrics.BUSY.labels(lane).inc()
                raise self._busy(lane, samples, rate)
            self._begun[call_id] = key
            self._preparing[key] += 1

    def prepared(self, call_id: str) -> None:
        """Stop counting a call that was begun: it is about to be admitted, or has ended. Idempotent."""
        with self._lock:
            key = self._begun.pop(call_id, None)
            if key is not None:
                self._preparing[key] -= 1
                if not self._preparing[key]:
                    del self._preparing[key]

    def admit(self, client: str, request_id: str, load: Load, *, waits: bool) -> None:
        """Count a call that is about to be appended, or refuse it (429); `waits`: for its answer, in the response.

        A client of whom nothing is held is always admitted.
        """
        key, now = (load.lane, client), self._clock()
        patience = self._answer_timeout + CLOCKS.total_seconds() if load.expires else FORGOTTEN
        with self._lock:
            self._forget(now)
            samples = self._samples_of(key)
            size = sum(held.load.size for held in self._held.get(key, {}).values())
            rate = self._rate_for(key)
            most = self._most(load.lane, rate, waits=waits)
            if samples and (samples + load.samples > most or size + load.size > self._size):
                metrics.BUSY.labels(load.lane).inc()
                raise self._busy(load.lane, samples, rate)
            self._held.setdefault(key, {})[request_id] = _Held(load, now + patience)
            self._whose[request_id] = key

    def done(self, request_id: str) -> None:
        """Stop counting a call: it is decided, or was not appended. Idempotent."""
        with self._lock:
            self._drop(request_id)

    def _samples_of(self, key: tuple[Lane, str]) -> int:
        return sum(held.load.samples for held in self._held.get(key, {}).values())

    def _rate_for(self, key: tuple[Lane, str]) -> float:
        """Return the samples a second that are this client's, as one of those in its lane."""
        return self._rate() / len({key, *(other for other in self._held if other[0] is key[0])})

    def _most(self, lane: Lane, rate: float, *, waits: bool) -> int:
        if lane is Lane.MATCHER or not waits:
            return self._samples
        return min(self._samples, max(FLOOR, int(rate * self._answer_timeout * SHARE)))

    def _busy(self, lane: Lane, samples: int, rate: float) -> Refusal:
        # Until half of it is done.
        wait = 1 if lane is Lane.MATCHER else min(LONGEST, max(1, math.ceil(samples / 2 / rate)))
        return Refusal(
            Code.TOO_MUCH,
            f"this client has as much undecided as it may have, so nothing was accepted; send the same in {wait} s, or "
            "fewer at a time",
            {"Retry-After": str(wait)},
        )

    def _forget(self, now: float) -> None:
        for held in list(self._held.values()):
            for request_id in [name for name, one in held.items() if one.until <= now]:
                self._drop(request_id)

    def _drop(self, request_id: str) -> None:
        key = self._whose.pop(request_id, None)
        if key is not None:
            del self._held[key][request_id]
            if not self._held[key]:
                del self._held[key]
