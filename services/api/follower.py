"""Follows the log into the registry, and hands decisions to those who wait: the api's one background reader.

A decision is handed on once it is stored *and* the registry has reached the gallery position at which it was taken, so
that a client reads what it wrote (design.md).
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from services.api.registry import Registry, require_whole
from services.api.tables import RegistryUnavailable
from services.api.waiting import Waiting
from shared import metrics
from shared.background import Background, Tell
from shared.envelope import MalformedEvent, decode
from shared.events import DeadLettered, Decided, Event, GalleryEvent, ServiceReported
from shared.lag import lag
from shared.log import Log, LogError, LogGap, LogUnavailable, Reader, Record
from shared.logs import logger
from shared.topics import Name

BATCH: Final = 1_000
"""Records applied in one transaction: one wait for the disk serves all, and no lock is held for a second."""

IDLE: Final = 0.05
"""Seconds of waiting for a decision before the gallery is looked at again: the most that this adds to an answer."""

BACK_OFF: Final = 0.5
"""Seconds between two tries while log or database do not answer: a broker that restarts is back within ten."""

_MEASURE: Final = 1.0
"""Seconds between two looks at how far the log reaches: a call to the broker each."""

_BEHIND: Final = 5.0
"""Seconds the registry may lag before it is no longer caught up: well below the 30 s that a call waits."""

_SILENT: Final = 60.0
"""Seconds after which a service that says nothing any more is no longer listed: a restart has another name."""

_FOLLOWED: Final = (Name.GALLERY, Name.DECISIONS, Name.DEAD_LETTERS)

_log = logger("follower")
_E = TypeVar("_E")
_Ends = Mapping[Name, Mapping[int, int]]


class Follower:
    """Follows from a thread of its own (`start`), or step by step (`run_once`)."""

    def __init__(
        self,
        log: Log,
        registry: Registry,
        waiting: Waiting,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_decision: Callable[[str], None] = lambda _: None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """`on_decision` is called from the thread with the id of each request that is decided.

        `on_failure` is called once, from the thread, when following has ended for good: stop the process.
        """
        self._log = log
        self._registry = registry
        self._waiting = waiting
        self._clock = clock
        self._on_decision = on_decision
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = Background("follower", self._run, Tell(self._ended))
        self._readers: dict[Name, Reader] = {}
        self._next: dict[Name, dict[int, int]] = {}
        self._held: list[Decided] = []
        self._reports: dict[str, tuple[float, ServiceReported]] = {}
        self._measured_at: float | None = None
        self._goal: tuple[float, _Ends] | None = None
        self._complete_at: float | None = None
        self.healthy = False
        """Log and database answered when they were last asked."""
        self.failed: BaseException | None = None
        """Why following has ended for good, if it has."""

    # ---- what others may ask

    @property
    def caught_up(self) -> bool:
        """Whether all that was on the log some seconds ago is in the registry."""
        return self._complete_at is not None and self._clock() - self._complete_at < _BEHIND

    def reports(self, within_seconds: float = _SILENT) -> Mapping[str, ServiceReported]:
        """Return the latest report of each service that spoke of late (a minute, and no longer ago), by instance."""
        oldest = self._clock() - within_seconds
        return {name: report for name, (heard, report) in self._reports.copy().items() if heard >= oldest}

    def ready(self, service: str, within_seconds: float) -> ServiceReported | None:
        """Return the report of a service that, when last heard (so many seconds ago at most), was ready; else None."""
        oldest = self._clock() - within_seconds
        ready = [
            (heard, report)
            for heard, report in self._reports.copy().values()
            if report.service == service and report.ready and heard >= oldest
        ]
        return max(ready, key=lambda pair: pair[0])[1] if ready else None

    # ---- running

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._close_readers()

    def run_once(self, timeout: float = 0.0) -> int:
        """Apply what is there, waiting up to `timeout` seconds for something; return how many records there were.

        Raises LogUnavailable, RegistryUnavailable: call it again. RegistryMisfit, LogGap (the gallery's): stop.
        """
        self._open()
        # The gallery first: what is decided at a position of it then finds the registry there, as a rule.
        events = self._poll(Name.GALLERY, timeout if self._held else 0.0)
        if events:
            gallery = [(r, _gallery_event(r)) for r in events]
            self._registry.apply_gallery(gallery, self._next[Name.GALLERY])
            self._passed(Name.GALLERY, events)
        decided = self._poll(Name.DECISIONS, 0.0 if events or self._held else timeout)
        if decided:
            self._decided(decided)
        self._release()
        letters = self._poll(Name.DEAD_LETTERS, 0.0)
        if letters:
            dead = [(r, _typed(r, DeadLettered)) for r in letters]
            self._registry.apply_dead_letters(dead, self._next[Name.DEAD_LETTERS])
            self._passed(Name.DEAD_LETTERS, letters)
        self._listen()
        self._measure()
        return len(events) + len(decided) + len(letters)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_once(IDLE)
                self.healthy = True
            except (LogUnavailable, RegistryUnavailable) as error:
                if isinstance(error, LogUnavailable):
                    metrics.LOG_ERRORS.labels("api").inc()
                if self.healthy:
                    _log.warning("cannot follow; trying again", error=str(error))
                self.healthy = False
                self._close_readers()  # what was polled and not applied is read again
                self._stop.wait(BACK_OFF)

    def _ended(self, error: BaseException) -> None:
        # A bug, or a log that is not ours: going on would serve a registry that stands still, or lies.
        self.healthy = False
        self.failed = error
        if self._on_failure is not None:
            self._on_failure(error)

    # ---- reading

    def _open(self) -> None:
        """Open readers: at the registry's positions first, at our own when the log or the database were away."""
        if self._readers:
            return
        if not self._next:
            anew = self._registry.adopt({topic: self._log.identity(topic) for topic in _FOLLOWED})
            for topic in anew:
                _log.warning("topic was made anew; following it from its start", topic=topic)
            self._next = {topic: self._registry.positions(topic) for topic in _FOLLOWED}
        for topic in _FOLLOWED:
            spans = self._log.spans(topic)
            if topic == Name.GALLERY:
                require_whole(self._next[topic].get(0, 0), spans[0].end)
            starts = dict.fromkeys(spans, 0) | self._next[topic]
            self._readers[topic] = self._log.read(topic, starts)
        ends = {partition: span.end for partition, span in self._log.spans(Name.HEARTBEATS).items()}
        self._readers[Name.HEARTBEATS] = self._log.read(Name.HEARTBEATS, ends)

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            with suppress(LogError):
                reader.close()
        self._readers.clear()

    def _poll(self, topic: Name, timeout: float) -> Sequence[Record]:
        try:
            return self._readers[topic].poll(BATCH, timeout)
        except LogGap as gap:
            if topic == Name.GALLERY:
                raise
            # Decisions are answers, and who asked weeks ago waits no more; the gallery would have a hole.
            _log.warning("records are gone; going on at the first that is kept", topic=topic, error=str(gap))
            self._skip_gap(topic)
            return []

    def _skip_gap(self, topic: Name) -> None:
        moves: dict[int, tuple[int, int]] = {}
        for partition, span in self._log.spans(topic).items():
            present = self._next[topic].get(partition, 0)
            if not span.start <= present <= span.end:
                moves[partition] = (present, span.start)
        self._registry.reposition(topic, moves)
        self._next[topic] |= {partition: target for partition, (_, target) in moves.items()}
        self._close_readers()
        self._open()

    def _passed(self, topic: Name, records: Sequence[Record]) -> None:
        for record in records:
            self._next[topic][record.partition] = record.offset + 1

    # ---- decisions

    def _decided(self, records: Sequence[Record]) -> None:
        typed = [(r, _typed(r, Decided)) for r in records]
        for decided in self._registry.apply_decisions(typed, self._next[Name.DECISIONS]):
            age = time.time() - decided.request.received_at.timestamp()
            metrics.DECISION_AGE.labels(decided.outcome.kind).observe(max(0.0, age))
        self._passed(Name.DECISIONS, records)
        for _, known in typed:
            if known is not None:
                self._on_decision(known.request.request_id)
        # Who asks later finds it in the registry; so nothing piles up here that nobody waits for.
        self._held += [d for _, d in typed if d is not None and self._waiting.expects(d.request.request_id)]

    def _release(self) -> None:
        if not self._held:
            return
        reached = self._next[Name.GALLERY].get(0, 0)
        early: list[Decided] = []
        for decided in self._held:
            if decided.as_of <= reached:
                self._waiting.resolve(decided)
            elif self._waiting.expects(decided.request.request_id):
                early.append(decided)
        self._held = early

    # ---- heartbeats and lag

    def _listen(self) -> None:
        try:
            records = self._readers[Name.HEARTBEATS].poll(BATCH, 0.0)
        except LogGap:  # this process was stopped for an hour
            self._close_readers()
            return
        for record in records:
            report = _typed(record, ServiceReported)
            if report is not None:
                self._reports[report.instance] = (self._clock(), report)
        if records:
            self._reports = {
                name: (heard, report)
                for name, (heard, report) in self._reports.items()
                if heard >= self._clock() - _SILENT
            }

    def _measure(self) -> None:
        """See once a second where the log ends, and note when all of that is applied."""
        now = self._clock()
        if self._measured_at is None or now - self._measured_at >= _MEASURE:
            spans = {topic: self._log.spans(topic) for topic in _FOLLOWED}
            ends: _Ends = {topic: {p: span.end for p, span in found.items()} for topic, found in spans.items()}
            self._measured_at = now
            self._goal = self._goal or (now, ends)
            for topic, found in spans.items():
                metrics.LAG.labels("registry", topic).set(lag(found, self._next[topic]))
        if self._goal is not None and all(self._reached(topic, wanted) for topic, wanted in self._goal[1].items()):
            self._complete_at, self._goal = self._goal[0], None

    def _reached(self, topic: Name, ends: Mapping[int, int]) -> bool:
        return all(self._next[topic].get(partition, 0) >= end for partition, end in ends.items())


def _gallery_event(record: Record) -> GalleryEvent | None:
    event = _read(record)
    return event if isinstance(event, GalleryEvent) else None


def _typed(record: Record, wanted: type[_E]) -> _E | None:
    event = _read(record)
    return event if isinstance(event, wanted) else None


def _read(record: Record) -> Event | None:
    """Read a record; None for what is no event: the matcher puts the gallery's aside, and nobody needs the others."""
    try:
        return decode(record.value)
    except MalformedEvent as problem:
        _log.warning(
            "passed over a record that is no event",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=str(problem),
        )
        return None
