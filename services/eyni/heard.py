"""What services report on the log, and which of them live: judged by this machine's clock alone, for others may be off.

A service reports once a second. Whose report comes while somebody watches lives, whatever time it bears.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shared.envelope import MalformedEvent, decode
from shared.events import ServiceReported
from shared.heartbeat import ALIVE, PERIOD
from shared.log import Log, LogGap, Record
from shared.topics import Name

LOOKED_BACK: Final = 60
"""Reports that are read at first: three services, once a second, and some more of each."""

FIRST: Final = 3 * PERIOD
"""Seconds to watch before a service is called gone whose last report is old, or of a time to come."""

OFF: Final = ALIVE
"""Seconds by which a clock is off. Less cannot be told from a report that took its time."""

_ORDER: Final = {"enroll": 0, "match": 1, "api": 2}


@dataclass(frozen=True, slots=True)
class Heard:
    """The latest report of a process."""

    report: ServiceReported
    alive: bool
    silent: float
    """Seconds since its last report, as far as can be told."""
    off: float
    """Seconds that its clock is ahead of this machine's (negative: behind); 0 where it agrees, or cannot be told."""

    @property
    def host(self) -> str:
        return self.report.instance.partition("@")[2].rpartition(":")[0]


@dataclass(slots=True)
class _Seen:
    report: ServiceReported
    at: float
    """By this machine's monotonic clock."""
    ago: float
    """Seconds between the report's time and this machine's, when it was seen."""
    fresh: bool
    """It came while this watched; else it was there before, and may be old."""


class Listener:
    """Reads the reports of a log, from the last few on."""

    def __init__(
        self,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._log = log
        self._clock = clock
        self._wall = wall
        self._next: int | None = None
        self._seen: dict[str, _Seen] = {}

    def listen(self) -> list[Heard]:
        """Read what has come, and return who was heard, but for whom another process of its machine has replaced."""
        span = self._log.spans(Name.HEARTBEATS)[0]
        fresh = self._next is not None
        start = max(span.start, span.end - LOOKED_BACK if self._next is None else min(self._next, span.end))
        for record in _records(self._log, start, span.end):
            self._note(record, fresh)
        self._next = span.end
        heard = [self._judged(seen) for seen in self._seen.values()]
        kept = [one for one in heard if not any(_replaced(one.report, by=other.report) for other in heard)]
        return sorted(kept, key=lambda one: (_ORDER[one.report.service], one.report.instance))

    def _note(self, record: Record, fresh: bool) -> None:
        try:
            event = decode(record.value)
        except MalformedEvent:
            return  # somebody else's bytes: nothing that a service reported
        if isinstance(event, ServiceReported):
            self._seen.pop(event.instance, None)
            ago = (self._wall() - event.at).total_seconds()
            self._seen[event.instance] = _Seen(event, self._clock(), ago, fresh)

    def _judged(self, seen: _Seen) -> Heard:
        since = self._clock() - seen.at
        if seen.fresh:
            off = -seen.ago if abs(seen.ago) > OFF else 0.0
            return Heard(seen.report, since < ALIVE, since, off)
        return Heard(seen.report, seen.ago + since + 1.0 >= 0 and seen.ago + since < ALIVE, seen.ago + since, 0.0)


def _replaced(report: ServiceReported, by: ServiceReported) -> bool:
    """Tell whether a process is only history: it is silent, and another of its service and machine began since.

    Several may run beside each other on one machine: a younger one alone replaces nobody. Both times are of one clock.
    """
    began = by.calibration.at if by.calibration else by.at  # a version that does not say when
    return (
        by.instance.rpartition(":")[0] == report.instance.rpartition(":")[0]
        and report.at < began
        and (by.at - report.at).total_seconds() > 2 * PERIOD
    )


def _records(log: Log, start: int, end: int) -> Sequence[Record]:
    found: list[Record] = []
    if start >= end:
        return found
    reader = log.read(Name.HEARTBEATS, {0: start})
    try:
        while records := reader.poll(end - start, timeout=0.5 if not found else 0.0):
            found += records
            if records[-1].offset + 1 >= end:
                break
    except LogGap:
        pass  # they expired between the two calls; the next look finds what is there
    finally:
        reader.close()
    return found


def clocks(heard: Sequence[Heard]) -> list[str]:
    """Say whose clock is off, and what to do."""
    worst = {one.host: one.off for one in sorted(heard, key=lambda one: abs(one.off)) if one.alive and one.off}
    return [
        f"the clock of {host} is {in_words(off)} this machine's: have both set by NTP (chrony, systemd-timesyncd). "
        "Tokens, deadlines and times in answers go by it"
        for host, off in sorted(worst.items())
    ]


def in_words(off: float) -> str:
    """Say how far a clock is off; seconds, positive: ahead."""
    return f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'}"
