"""The loop: captures in, urgent ones first, by turns of clients; extraction elsewhere; facts out; then the commit.

At least once: a crash before the commit repeats captures, and `enrollment.conclude` gives the same bytes for them.
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.enroll.enrollment import Gate, conclude, examined, expired, objection, samples_of
from services.enroll.ledger import Ledger
from services.enroll.pool import Extractor
from services.enroll.quality import BEYOND_BUDGET, Extracted, refused
from services.enroll.turns import Pace, Turns
from shared import metrics
from shared.envelope import MalformedEvent, decode
from shared.events import CaptureReceived, DeadLettered
from shared.lag import lag
from shared.log import Log, LogGap, LogMisfit, LogUnavailable, Record
from shared.logs import a_fault_of_ours, logger
from shared.topics import Entry, Group, Name, entry

LANES: Final = (Name.CAPTURES_URGENT, Name.CAPTURES_BULK)
"""In the order in which they are served."""

TICK: Final = 0.02
"""Seconds at most until a capture that arrives while nothing else happens is seen: 1/50 of an officer's patience."""

AHEAD: Final = 1_000
"""Captures of a lane that are here at a time. More than the api lets four clients have on the log (EYNI_CLIENT_SAMPLES
each), so that one who comes after three floods is seen; what is behind it has its turn when it gets here."""

AHEAD_BYTES: Final = {Name.CAPTURES_URGENT: 128 * 2**20, Name.CAPTURES_BULK: 64 * 2**20}
"""The same, in bytes of records and pictures, to bound memory. What the api lets one client have on the log
(EYNI_CLIENT_BYTES) takes 7/3 of it here: 56 MiB, so that one flood never fills a lane, nor two the urgent one."""

READ_BYTES: Final = 4 * 2**20
"""Bytes read of a lane before what workers have finished is looked at again: 4 MiB are decoded in some 30 ms."""

BACK_OFF: Final = (0.1, 5.0)
"""Seconds, first and longest, between attempts while the log does not answer. A broker restarts in 6 s (kafka.md)."""


@dataclass(eq=False, slots=True)
class _Job:
    """A capture on its way."""

    record: Record
    capture: CaptureReceived
    lane: Name
    weight: int
    """Bytes that it takes here: the record, and its pictures again."""
    results: list[Extracted]
    """One for each sample, in the samples' order: a refusal, until there is another result."""
    open: int
    """Samples that are not done."""
    spent: float = 0.0
    """Seconds of workers."""
    expired: bool = False
    started: float = 0.0
    """When its first sample was handed to a worker."""

    @property
    def client(self) -> str:
        return self.capture.request.client


@dataclass(frozen=True, slots=True)
class _Sample:
    job: _Job
    place: int
    image: bytes = field(repr=False)


class Worker:
    """Carries captures from the log through an extractor and back onto the log. For one thread."""

    def __init__(
        self,
        log: Log,
        extractor: Extractor,
        gate: Gate,
        append_timeout: float = 10.0,
        *,
        express: int = 0,
        request_seconds: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`express`: how many of the extractor's workers are kept for urgent captures of clients who have none."""
        self._log = log
        self._extractor = extractor
        self._gate = gate
        self._append_timeout = append_timeout
        self._ordinary = extractor.size - express
        self._request_seconds = request_seconds
        self._clock = clock
        self._now = now
        self._members = {lane: log.join(Group.ENROLL, lane) for lane in LANES}
        self._ledgers: dict[tuple[Name, int], Ledger] = {}
        self._committed: dict[tuple[Name, int], int] = {}
        self.pace = Pace()
        self._turns: dict[Name, Turns[_Sample]] = {lane: Turns(self.pace) for lane in LANES}
        self._jobs: dict[Name, int] = dict.fromkeys(LANES, 0)
        self._weight: dict[Name, int] = dict.fromkeys(LANES, 0)
        self._running: dict[Future[Extracted], tuple[_Sample, float]] = {}
        self._outbox: list[tuple[Record, Entry]] = []
        self.captures_done = 0
        """Captures with a durable outcome since the start; dead letters count."""

    @property
    def extracting(self) -> int:
        """Captures that are here and have no outcome yet."""
        return sum(self._jobs.values()) + len(self._outbox)

    @property
    def samples_per_second(self) -> float:
        """What all workers together can do, from how long samples took of late; no measure of what they do now."""
        return self._ordinary / self.pace.seconds

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
        self._hand_out()
        self._publish()
        return self.captures_done - before

    def close(self) -> None:
        for member in self._members.values():
            with closing(member):
                pass

    # ---- captures in

    def _fill(self) -> None:
        """Read ahead, so far as there is room: what is not here can have no turn."""
        for lane in LANES:
            taken = 0
            while self._has_room(lane) and (taken < READ_BYTES or len(self._running) < self._ordinary):
                read = self._fetch(lane, 0.0)
                if not read:
                    break
                taken += read
                self._hand_out()
        self._hand_out()

    def _has_room(self, lane: Name) -> bool:
        return self._jobs[lane] < AHEAD and self._weight[lane] < AHEAD_BYTES[lane]

    def _fetch(self, lane: Name, timeout: float) -> int:
        """Take one record off the log and return its bytes; 0 where there is none."""
        try:
            records = self._members[lane].poll(1, timeout)
        except LogGap as gap:
            self._pass_gap(lane, gap)
            return 1
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
            self._accept(record, event, lane)
        return sum(max(1, len(record.value)) for record in records)

    def _accept(self, record: Record, capture: CaptureReceived, lane: Name) -> None:
        images = [sample.image for sample in samples_of(capture)]
        weight = len(record.value) + sum(map(len, images))
        job = _Job(record, capture, lane, weight, [refused(BEYOND_BUDGET)] * len(images), len(images))
        self._jobs[lane] += 1
        self._weight[lane] += weight
        for place, image in enumerate(images):
            self._turns[lane].add(job.client, _Sample(job, place, image))

    def _pass_gap(self, lane: Name, gap: LogGap) -> None:
        """Go on behind captures that the log forgot unread. Their people have no outcome: an operator must hear it."""
        gone = self._members[lane].pass_gap()
        metrics.EXPIRED.labels(lane).inc(gone)
        logger("enroll").error("captures expired unread", topic=lane, records=gone, reason=str(gap))

    def _hand_out(self) -> None:
        """Give every free worker the sample whose turn it is."""
        while (sample := self._next()) is not None:
            job, now = sample.job, self._clock()
            job.started = job.started or now
            job.expired = job.expired or job.capture.request.is_late(self._now())
            if job.expired or job.spent >= self._request_seconds:
                self._ended(sample, 0.0)
            else:
                self._running[self._extractor.submit(sample.image)] = sample, now

    def _next(self) -> _Sample | None:
        busy = len(self._running)
        if busy >= self._extractor.size:
            return None
        if busy >= self._ordinary:
            return self._turns[LANES[0]].next(idle_only=True)
        for lane in LANES:
            if (sample := self._turns[lane].next()) is not None:
                return sample
        return None

    def _wait(self, timeout: float) -> None:
        """Wait for a sample to finish or, with none under way, for an urgent capture."""
        if self._running:
            wait(self._running, timeout, FIRST_COMPLETED)
        elif not any(self._jobs.values()) and self._fetch(LANES[0], timeout):
            self._hand_out()

    # ---- facts out

    def _collect(self) -> None:
        for future in [future for future in self._running if future.done()]:
            sample, since = self._running.pop(future)
            sample.job.results[sample.place] = future.result()
            seconds = self._clock() - since
            self.pace.measured(seconds)
            self._ended(sample, seconds)

    def _ended(self, sample: _Sample, seconds: float) -> None:
        """Count a sample as done, and conclude its capture if it was the last."""
        job = sample.job
        self._turns[job.lane].done(job.client, seconds)
        job.spent += seconds
        job.open -= 1
        if job.open:
            return
        self._jobs[job.lane] -= 1
        self._weight[job.lane] -= job.weight
        if job.expired:
            metrics.QUESTIONS_EXPIRED.labels("enroll").inc()
            self._outbox.append((job.record, entry(expired(job.capture))))
            return
        try:
            # Here, not where they were extracted: who breaks a decoder would hand out any template he likes.
            extracted = examined(job.capture, job.results, self._gate)
            outcome = entry(conclude(job.capture, extracted))
        except Exception as error:
            # It would end this process, and the next one, for ever, and nobody behind it would be served.
            self._dead_letter(job.record, a_fault_of_ours(error))
            return
        self._outbox.append((job.record, outcome))
        metrics.EXTRACTION_SECONDS.observe(self._clock() - job.started)
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
