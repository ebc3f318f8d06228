"""The matcher's loop: fold the gallery log, decide, append, mark; answer probes at the log's end; take snapshots.

What is appended may be repeated after a crash, with the same bytes and the same id; who reads it drops what it has
seen. The state is never ahead of what can be replayed, because it is only ever made from the log.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from services.match.fold import Unacceptable, fold, follow, letter, probe_event
from services.match.gallery import GalleryView
from services.match.matching import Matcher
from services.match.snapshot import Snapshots
from shared import metrics
from shared.background import Background, Tell
from shared.biometrics import ALL_GALLERIES
from shared.envelope import MalformedEvent
from shared.events import (
    Changed,
    DeadLettered,
    Decided,
    Enrolled,
    Expired,
    Identified,
    Identify,
    ProbeChosen,
    ProbeEvent,
)
from shared.log import Log, LogGap, Record
from shared.logs import a_fault_of_ours, logger
from shared.performance import Performance
from shared.topics import FACT_BYTES, Entry, Group, Name, entry

PROBE_BATCH = 64
"""Probes answered before the gallery is looked at again."""

APPEND_SECONDS = 10.0
"""How long the log may take before the loop looks up again (to stop, or to say that the log does not answer). What is
in doubt then is appended once more: the same bytes, which readers drop."""

IDLE = 0.003
"""Seconds to wait for a record when there is none: what an officer's request may lose here, per turn."""

_log = logger("match")


class Worker:
    """Owns the state; one thread calls it. The plain numbers may be read from other threads."""

    def __init__(
        self,
        log: Log,
        matcher: Matcher,
        snapshots: Snapshots | None,
        snapshot_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.matcher = matcher
        self.gallery = matcher.gallery
        self._log = log
        self._now = now
        self._snapshots = snapshots
        self._snapshot_seconds = snapshot_seconds
        self._snapshot_due = time.monotonic() + snapshot_seconds
        self._snapshot_position = self.gallery.position
        self._writing: Background | None = None
        self._gallery_records = follow(log, self.gallery)
        self._probe_records = log.join(Group.MATCH, Name.PROBES)
        self._identity = log.identity(Name.GALLERY)
        self._outbox: list[Decided | DeadLettered] = []
        """Decided, and not yet durable."""
        self._asked: Sequence[Record] = ()
        """Probes that were read, and not yet answered: what the log does not give again in this process."""
        self._reached: dict[int, int] = {}
        """The offsets after those probes, by partition: committed once all are answered."""
        self._answered: dict[int, int] = {}
        # Below the mark, the decisions were appended by an earlier run.
        self._marked = log.committed(Group.FOLD, Name.GALLERY)[0]
        self._goal = log.spans(Name.GALLERY)[0].end
        self._passed_over = 0
        self.ready = self.gallery.position >= self._goal
        self.references = 0
        """Active encounters."""
        self.expected: tuple[Performance, ...] = ()
        self._tell()
        self.decided = 0

    def run_once(self, timeout: float = IDLE) -> int:
        """Fold what is there, then answer what was asked; return how many records there were."""
        self._settle()
        count = self._fold(timeout)
        if not self.ready:
            self.ready = self.gallery.position >= self._goal
            if not self.ready:
                return count
            _log.info("ready", position=self.gallery.position, encounters=len(self.gallery))
            if self._passed_over:
                # Decided in another run, perhaps with a calibration whose gate took them: then nobody finds them now.
                _log.warning(
                    "records of the log are not in the gallery",
                    records=self._passed_over,
                    reason="dead letters of earlier runs; or enrolled with another calibration, and this one's gate "
                    "refuses them: enrol these people anew, or calibrate with more faces",
                )
        if not self._asked:
            self._asked = self._poll_probes(0 if count else timeout)
        count += len(self._asked)
        if self._asked:
            self._answer()
        self._snapshot_if_due()
        return count

    def _poll_probes(self, timeout: float) -> Sequence[Record]:
        try:
            records = self._probe_records.poll(PROBE_BATCH, timeout)
        except LogGap as gap:
            # Whoever asked has long gone: the log forgets probes after a day. Nothing of the gallery is missing.
            passed = self._probe_records.pass_gap()
            metrics.EXPIRED.labels(Name.PROBES).inc(passed)
            _log.error("probes expired unanswered", records=passed, reason=str(gap))
            return ()
        self._reached = {record.partition: record.offset + 1 for record in records}
        return records

    def _fold(self, timeout: float) -> int:
        folded = fold(self.matcher, self._gallery_records, timeout, decide_from=self._marked)
        if not folded.records:
            return 0
        self._passed_over += folded.passed_over
        self._outbox += [*folded.decisions, *folded.letters]
        self._settle()
        self._tell()
        metrics.GALLERY_POSITION.set(self.gallery.position)
        metrics.GALLERY_COUNT.set(self.references)
        return folded.records

    def _tell(self) -> None:
        """Put down what other threads may read."""
        self.references = self.gallery.count([ALL_GALLERIES])
        self.expected = self.matcher.policy.expected(self.gallery.comparator, lambda name: self.gallery.count([name]))

    def _answer(self) -> None:
        # Everything that was acknowledged before the probes were read is in the answers (I7).
        end = self._log.spans(Name.GALLERY)[0].end
        while self.gallery.position < end:
            self._fold(timeout=1.0)
        read = [(record, probe) for record in self._asked if (probe := self._read(record)) is not None]
        searched = [(record, probe) for record, probe in read if isinstance(probe.question, Identify)]
        # Comparisons first: they are cheap, and must not wait for searches that another client asked for.
        self._decide([(record, probe) for record, probe in read if not isinstance(probe.question, Identify)])
        self._asked = [record for record, _ in searched]
        if searched and self._outbox:
            self._append()
        self._decide(searched)
        self._asked = ()
        self._answered |= self._reached
        self._reached.clear()
        self._settle()

    def _read(self, record: Record) -> ProbeEvent | None:
        """Read a probe; None for one that is no event, or that nobody waits for any more."""
        try:
            probe = probe_event(record, self.gallery.comparator)
        except (MalformedEvent, Unacceptable) as problem:
            self._outbox.append(letter(record, problem))
            return None
        if probe.request.is_late(self._now()):
            metrics.QUESTIONS_EXPIRED.labels("match").inc()
            self._outbox.append(Decided(probe.request, Expired(), as_of=-1, gallery_count=-1))
            return None
        return probe

    def _decide(self, asked: Sequence[tuple[Record, ProbeEvent]]) -> None:
        if not asked:
            return
        with metrics.MATCH_SECONDS.labels("probes").time():
            try:
                self._outbox += self.matcher.answer([probe for _, probe in asked])
            except Exception:
                for record, probe in asked:
                    self._decide_alone(record, probe)
        for _, probe in asked:
            metrics.PROBES.labels("identify" if isinstance(probe, ProbeChosen) else probe.question.kind).inc()

    def _decide_alone(self, record: Record, probe: ProbeEvent) -> None:
        """Answer one of those that could not be answered together: the one that meets a fault of ours is put aside.

        Else it would end this process, and the next one, for ever. A fault in the fold does end it: the gallery must
        not have a hole.
        """
        try:
            self._outbox += self.matcher.answer([probe])
        except Exception as error:
            reason = a_fault_of_ours(error)
            self._outbox.append(
                DeadLettered(record.topic, record.partition, record.offset, reason, record.key, record.value)
            )

    def _append(self) -> None:
        """Append what was decided. What the log does not take now is kept for next time."""
        if self._outbox:
            self._log.append([_fitting(event) for event in self._outbox], APPEND_SECONDS)
            for event in self._outbox:
                self._count(event)
            self._outbox.clear()

    def _settle(self) -> None:
        """Append what was decided, then mark how far that is."""
        self._append()
        if self.gallery.position > self._marked:
            self._log.mark(Group.FOLD, Name.GALLERY, {0: self.gallery.position})
            self._marked = self.gallery.position
        if self._answered:
            self._probe_records.commit(self._answered)
            self._answered = {}

    def _count(self, event: Decided | DeadLettered) -> None:
        if isinstance(event, DeadLettered):
            metrics.DEAD_LETTERS.labels(event.topic).inc()
            _log.warning("dead letter", topic=event.topic, offset=event.offset, reason=event.reason)
            return
        self.decided += 1
        metrics.APPLIED.labels(event.outcome.kind).inc()
        if isinstance(event.outcome, Enrolled | Identified | Changed):
            metrics.CANDIDATES.observe(event.outcome.total_candidates)

    # ---- snapshots

    def _snapshot_if_due(self) -> None:
        if time.monotonic() < self._snapshot_due or self.gallery.position == self._snapshot_position:
            return
        if self._writing is None or not self._writing.is_alive:
            self._snapshot_due = time.monotonic() + self._snapshot_seconds
            self._writing = self._snapshot()

    def _snapshot(self) -> Background | None:
        """Begin to write the present state, beside the fold; never one whose decisions are not all durable (I1)."""
        if self._snapshots is None or self._outbox or self.gallery.position > self._marked:
            return None
        view = self.gallery.view()
        self._snapshot_position = view.position
        writing = Background("snapshot", partial(self._write, self._snapshots, view), Tell(_not_written))
        writing.start()
        return writing

    def _write(self, snapshots: Snapshots, view: GalleryView) -> None:
        try:
            path = snapshots.write(view, self._identity)
        except OSError as error:
            _not_written(error)
            _log.error("snapshot not written", position=view.position, error=error.strerror, file=error.filename)
        else:
            metrics.SNAPSHOTS.labels("written").inc()
            _log.info("snapshot written", position=view.position, path=str(path))

    def close(self, orderly: bool = True) -> None:
        """Let go of the log; after an orderly stop write a last snapshot. A state that a bug left half-done is lost."""
        if self._writing is not None:
            self._writing.join()
        if orderly and self.gallery.position != self._snapshot_position and (last := self._snapshot()):
            last.join()
        self._gallery_records.close()
        self._probe_records.close()


def _not_written(_: BaseException) -> None:
    # The older generation is still there; without a newer one a restart replays more.
    metrics.SNAPSHOTS.labels("failed").inc()


def _fitting(event: Decided | DeadLettered) -> Entry:
    """Address an event, made small enough for its topic.

    Where so many candidates stand in so many galleries that it would not be taken, the galleries are left out, then the
    last of the candidates: how many there are in truth is told all the same.
    """
    found = entry(event)
    while len(found.value) > FACT_BYTES and isinstance(event, Decided):
        outcome = event.outcome
        if not isinstance(outcome, Enrolled | Identified | Changed) or not outcome.candidates:
            break
        kept = outcome.candidates
        if any(candidate.galleries for candidate in kept):
            kept = tuple(replace(candidate, galleries=()) for candidate in kept)
        else:
            kept = kept[: len(kept) // 2]
        event = replace(event, outcome=replace(outcome, candidates=kept))
        found = entry(event)
    return found
