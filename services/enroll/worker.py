"""The loop: captures in, urgent ones first; extraction elsewhere; facts out; and only then the commit.

At least once: a crash before the commit repeats captures, and `enrollment.conclude` gives the same bytes for them.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from services.enroll.enrollment import Gate, conclude, examined, objection, samples_of
from services.enroll.ledger import Ledger
from services.enroll.pool import Extractor
from services.enroll.quality import Extracted
from shared import metrics
from shared.envelope import MalformedEvent, decode
from shared.events import CaptureReceived, DeadLettered
from shared.lag import lag
from shared.log import Log, LogGap, LogMisfit, LogUnavailable, Record
from shared.logs import logger
from shared.topics import Entry, Group, Name, entry

LANES: Final = (Name.CAPTURES_URGENT, Name.CAPTURES_BULK)
"""In the order in which they are served."""

TICK: Final = 0.02
"""Seconds at most until a capture that arrives while nothing else happens is seen: 1/50 of an officer's patience."""

BACK_OFF: Final = (0.1, 5.0)
"""Seconds, first and longest, between attempts while the log does not answer. A broker restarts in 6 s (kafka.md)."""


@dataclass(eq=False, slots=True)
class _Job:
    """A capture on its way."""

    record: Record
    capture: CaptureReceived
    waiting: deque[bytes] = field(repr=False)
    """Samples that no worker has yet."""
    running: list[Future[Extracted]] = field(default_factory=list[Future[Extracted]])
    """One for each sample that a worker has or had, in the samples' order."""
    started: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        return not self.waiting and all(future.done() for future in self.running)


class Worker:
    """Carries captures from the log through an extractor and back onto the log. For one thread."""

    def __init__(self, log: Log, extractor: Extractor, gate: Gate, append_timeout: float = 10.0) -> None:
        self._log = log
        self._extractor = extractor
        self._gate = gate
        self._append_timeout = append_timeout
        self._members = {lane: log.join(Group.ENROLL, lane) for lane in LANES}
        self._ledgers: dict[tuple[Name, int], Ledger] = {}
        self._committed: dict[tuple[Name, int], int] = {}
        self._jobs: dict[Name, list[_Job]] = {lane: [] for lane in LANES}
        self._outbox: list[tuple[Record, Entry]] = []
        self.captures_done = 0
        """Captures with a durable outcome since the start; dead letters count."""

    @property
    def extracting(self) -> int:
        """Captures that are here and have no outcome yet."""
        return sum(map(len, self._jobs.values())) + len(self._outbox)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. What is unfinished then is nobody's loss: it is not committed."""
        pause = BACK_OFF[0]
        while not stop.is_set():
            try:
                self.run_once(TICK)
                pause = BACK_OFF[0]
            except LogUnavailable as error:
                metrics.LOG_ERRORS.labels("enroll").inc()
                logger("enroll").warning("the log does not answer", error=str(error), retry_in=pause)
                stop.wait(pause)
                pause = min(2 * pause, BACK_OFF[1])

    def run_once(self, timeout: float = 0.0) -> int:
        """Take what there is room for, publish what is finished, and return how many captures got their outcome.

        Waits up to `timeout` seconds where there is nothing to do. Raises LogUnavailable having lost nothing: called
        again, it goes on where it was.
        """
        before = self.captures_done
        self._publish()
        self._fill()
        self._collect()
        if not self._outbox and timeout > 0:
            self._wait(timeout)
            self._collect()
        self._publish()
        return self.captures_done - before

    def close(self) -> None:
        for member in self._members.values():
            with closing(member):
                pass

    # ---- captures in

    def _fill(self) -> None:
        """Keep every worker busy, and at most one capture of each lane waiting: an urgent one overtakes it."""
        for lane in LANES:
            while not self._has_waiting(lane) and self._fetch(lane, 0.0):
                self._hand_out()
        self._hand_out()

    def _has_waiting(self, lane: Name) -> bool:
        return any(job.waiting for job in self._jobs[lane])

    def _fetch(self, lane: Name, timeout: float) -> bool:
        """Take one record off the log; False where there is none."""
        try:
            records = self._members[lane].poll(1, timeout)
        except LogGap as gap:
            self._pass_gap(lane, gap)
            return True
        for record in records:
            self._ledgers.setdefault((lane, record.partition), Ledger()).begin(record.offset)
            try:
                event = decode(record.value)
            except MalformedEvent as error:
                self._dead_letter(record, str(error))
                continue
            if not isinstance(event, CaptureReceived):
                self._dead_letter(record, f"{type(event).__name__} is no CaptureReceived")
                continue
            if reason := objection(event):
                self._dead_letter(record, reason)
                continue
            images = deque(sample.image for sample in samples_of(event))
            self._jobs[lane].append(_Job(record, event, images))
        return bool(records)

    def _pass_gap(self, lane: Name, gap: LogGap) -> None:
        """Go on behind captures that the log forgot unread. Their people have no outcome: an operator must hear it."""
        expired = self._members[lane].pass_gap()
        metrics.EXPIRED.labels(lane).inc(expired)
        logger("enroll").error("captures expired unread", topic=lane, records=expired, reason=str(gap))

    def _hand_out(self) -> None:
        free = self._extractor.size - sum(1 for _ in self._running())
        for lane in LANES:
            for job in self._jobs[lane]:
                while free > 0 and job.waiting:
                    if not job.running:
                        job.started = time.monotonic()
                    job.running.append(self._extractor.submit(job.waiting.popleft()))
                    free -= 1

    def _running(self) -> Iterator[Future[Extracted]]:
        for jobs in self._jobs.values():
            for job in jobs:
                yield from (future for future in job.running if not future.done())

    def _wait(self, timeout: float) -> None:
        """Wait for a sample to finish or, with none under way, for an urgent capture."""
        if running := list(self._running()):
            wait(running, timeout, FIRST_COMPLETED)
        elif not any(self._jobs.values()) and self._fetch(LANES[0], timeout):
            self._hand_out()

    # ---- facts out

    def _collect(self) -> None:
        for jobs in self._jobs.values():
            for job in [job for job in jobs if job.finished]:
                # Here, not where they were extracted: who breaks a decoder would hand out any template he likes.
                extracted = examined(job.capture, [future.result() for future in job.running], self._gate)
                jobs.remove(job)
                self._outbox.append((job.record, entry(conclude(job.capture, extracted))))
                metrics.EXTRACTION_SECONDS.observe(time.monotonic() - job.started)
                for one in extracted:
                    defects = one.quality.defects
                    metrics.SAMPLES.labels(defects[0].reason.value if defects else "usable").inc()

    def _dead_letter(self, record: Record, reason: str) -> None:
        logger("enroll").warning(
            "dead letter", topic=record.topic, partition=record.partition, offset=record.offset, reason=reason
        )
        metrics.DEAD_LETTERS.labels(record.topic.value).inc()
        self._outbox.append((record, _dead_letter(record, reason)))

    def _publish(self) -> None:
        """Make outcomes durable, then commit. The outbox is emptied only by an append that returned."""
        if self._outbox:
            try:
                self._log.append([outcome for _, outcome in self._outbox], self._append_timeout)
                self._finished(len(self._outbox))
            except LogMisfit:
                self._publish_one_by_one()
        self._commit()

    def _publish_one_by_one(self) -> None:
        """Find the outcome that its topic does not take (a document beyond `FACT_BYTES`), and say so in its place."""
        while self._outbox:
            record, outcome = self._outbox[0]
            try:
                self._log.append([outcome], self._append_timeout)
            except LogMisfit as error:
                if outcome.topic is Name.DEAD_LETTERS:
                    raise
                metrics.DEAD_LETTERS.labels(record.topic.value).inc()
                self._outbox[0] = (record, _dead_letter(record, f"its outcome does not fit the log: {error}"))
                continue
            self._finished(1)

    def _finished(self, count: int) -> None:
        for record, _ in self._outbox[:count]:
            self._ledgers[record.topic, record.partition].finish(record.offset)
        del self._outbox[:count]
        self.captures_done += count

    def _commit(self) -> None:
        for lane, member in self._members.items():
            done = {p: ledger.done for (topic, p), ledger in self._ledgers.items() if topic is lane}
            news = {p: offset for p, offset in done.items() if offset > self._committed.get((lane, p), 0)}
            if news:
                member.commit(news)
                self._committed.update({(lane, p): offset for p, offset in news.items()})


def _dead_letter(record: Record, reason: str) -> Entry:
    return entry(DeadLettered(record.topic, record.partition, record.offset, reason, record.key, record.value))


def lags(log: Log, lanes: Iterable[Name] = LANES) -> dict[Name, int]:
    """Count the records that the group has not finished, by topic, and set the gauge."""
    found: dict[Name, int] = {}
    for lane in lanes:
        found[lane] = lag(log.spans(lane), log.committed(Group.ENROLL, lane))
        metrics.LAG.labels(Group.ENROLL, lane.value).set(found[lane])
    return found
