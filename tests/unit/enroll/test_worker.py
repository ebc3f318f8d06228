"""The loop between the log and the extractor, stepped by hand."""

import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta

import numpy as np
import pytest

from services.enroll.worker import AHEAD_BYTES, Worker, lags
from shared import metrics
from shared.biometrics import RetakeReason, Vector
from shared.envelope import decode
from shared.events import (
    CLOCKS,
    CaptureReceived,
    DeadLettered,
    Decided,
    Enrol,
    Event,
    Expired,
    ReferenceEnrolled,
    Refused,
    Verify,
)
from shared.log import LogGap, LogUnavailable, Position
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Group, Name, entry
from tests.unit.enroll.making import NOON, OPEN_GATE, PretendExtractor, PretendGate, capture, enrol, template


class ShakyLog(MemoryLog):
    """A log that takes nothing for as many times as told."""

    failures = 0

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("away")
        return super().append(entries, timeout)


@pytest.fixture
def log() -> ShakyLog:
    log = ShakyLog()
    log.ensure(list(TOPICS.values()))
    return log


@pytest.fixture
def extractor() -> PretendExtractor:
    return PretendExtractor()


@pytest.fixture
def worker(log: ShakyLog, extractor: PretendExtractor) -> Worker:
    return Worker(log, extractor, OPEN_GATE)


def send(log: ShakyLog, *captures: CaptureReceived, urgent: bool = False) -> None:
    log.append([entry(c, urgent=urgent) for c in captures])


def values(log: ShakyLog, topic: Name) -> list[bytes]:
    return [record.value for record in log.read(topic, {}).poll(1000, 0)]


def events(log: ShakyLog, topic: Name) -> list[Event]:
    return [decode(value) for value in values(log, topic)]


def expired(lane: Name) -> float:
    return metrics.REGISTRY.get_sample_value("eyni_records_expired_total", {"topic": lane}) or 0.0


def committed(log: ShakyLog, topic: Name = Name.CAPTURES_BULK) -> int:
    return sum(log.committed(Group.ENROLL, topic).values())


def test_a_capture_becomes_a_reference_and_is_committed(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("r", b"1"))
    worker.run_once()
    extractor.answer(0)
    assert worker.run_once() == 1
    (event,) = events(log, Name.GALLERY)
    assert isinstance(event, ReferenceEnrolled)
    assert committed(log) == 1
    assert worker.extracting == 0


def test_a_refused_capture_is_decided(log: ShakyLog, extractor: PretendExtractor, worker: Worker) -> None:
    send(log, capture("r", b"bad"))
    worker.run_once()
    extractor.answer(0)
    worker.run_once()
    assert isinstance(events(log, Name.DECISIONS)[0], Decided)


def test_a_template_that_no_face_gives_is_refused_whatever_the_worker_process_said(
    log: ShakyLog, extractor: PretendExtractor
) -> None:
    def gate(vector: Vector) -> str | None:
        return "is nearer to everybody than anybody" if np.array_equal(vector, template(7).vector) else None

    worker = Worker(log, extractor, PretendGate(gate))
    send(log, capture("r", b"7"))
    worker.run_once()
    extractor.answer(0)
    assert worker.run_once() == 1
    assert values(log, Name.GALLERY) == []
    (event,) = events(log, Name.DECISIONS)
    assert isinstance(event, Decided)
    assert isinstance(event.outcome, Refused)
    assert [d.reason for quality in event.outcome.qualities for d in quality.defects] == [RetakeReason.NOT_A_FACE]
    worker.close()


def test_a_capture_that_meets_a_fault_of_ours_is_put_aside_and_those_behind_it_are_served(
    log: ShakyLog, extractor: PretendExtractor
) -> None:
    def gate(vector: Vector) -> str | None:
        if np.array_equal(vector, template(7).vector):
            raise ZeroDivisionError("Ada's secret")
        return None

    with closing(Worker(log, extractor, PretendGate(gate))) as worker:
        send(log, capture("r", b"7"), capture("s", b"1"))
        worker.run_once()
        extractor.answer(0)
        worker.run_once()
        extractor.answer(1)
        worker.run_once()
    (letter,) = events(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert "a fault of this version of Eyni: ZeroDivisionError at test_worker.py" in letter.reason
    assert "secret" not in letter.reason
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 2)


def test_pictures_of_two_people_are_no_encounter(log: ShakyLog, extractor: PretendExtractor) -> None:
    with closing(Worker(log, extractor, PretendGate(tells_apart=True))) as worker:
        send(log, capture("r", b"7", b"8"))
        worker.run_once()
        extractor.answer(1)
        extractor.answer(0)
        assert worker.run_once() == 1
    assert values(log, Name.GALLERY) == []
    (event,) = events(log, Name.DECISIONS)
    assert isinstance(event, Decided)
    assert isinstance(event.outcome, Refused)
    assert [q.defects[0].reason for q in event.outcome.qualities] == [RetakeReason.SEVERAL_PEOPLE] * 2


def test_nothing_is_committed_before_its_outcome_is_on_the_log(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("r", b"1"))
    worker.run_once()
    extractor.answer(0)
    log.failures = 1
    with pytest.raises(LogUnavailable):
        worker.run_once()
    assert committed(log) == 0
    assert worker.run_once() == 1
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 1)


def test_a_capture_that_finishes_early_waits_for_the_one_before_it_to_be_committed(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    visits = [capture(name, b"1", purpose=enrol("one person")) for name in ("first", "second")]
    send(log, *visits)
    worker.run_once()
    extractor.answer(1)
    worker.run_once()
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 0)
    extractor.answer(0)
    worker.run_once()
    assert (len(values(log, Name.GALLERY)), committed(log)) == (2, 2)


def test_a_crash_before_the_commit_repeats_the_same_bytes(log: ShakyLog) -> None:
    send(log, capture("r", b"1", b"bad"))
    for crashes in (True, False):
        extractor = PretendExtractor()
        worker = Worker(log, extractor, OPEN_GATE)
        worker.run_once()
        extractor.answer(1)
        extractor.answer(0)
        if crashes:
            worker._commit = lambda: None  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]
        worker.run_once()
        worker.close()
    once, again = values(log, Name.GALLERY)
    assert once == again
    assert committed(log) == 1


def test_an_urgent_capture_overtakes_every_bulk_one_that_no_worker_has(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, *(capture(f"bulk {n}", b"1") for n in range(20)))
    worker.run_once()
    assert len(extractor.asked) == extractor.size
    send(log, capture("urgent", b"7"), urgent=True)
    extractor.answer(0)
    worker.run_once()
    worker.run_once()
    assert extractor.asked[extractor.size :] == [b"7"]


def test_no_more_captures_are_read_ahead_than_there_is_room_for(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.enroll.worker.AHEAD", 5)
    send(log, *(capture(f"bulk {n}", b"1") for n in range(20)))
    worker.run_once()
    worker.run_once()
    assert worker.extracting == 5
    extractor.answer(0)
    worker.run_once()
    worker.run_once()
    assert (worker.extracting, worker.captures_done) == (5, 1)


def test_no_more_bytes_are_read_ahead_than_there_is_room_for(
    log: ShakyLog, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AHEAD_BYTES, Name.CAPTURES_BULK, 100_000)
    send(log, *(capture(f"bulk {n}", b"1" * 30_000) for n in range(20)))
    worker.run_once()
    worker.run_once()
    assert worker.extracting == 2  # of 40 kB in base64 and 30 kB of picture each, the second reaches beyond


def verification(name: str, *images: bytes, client: str, answer_by: datetime | None = None) -> CaptureReceived:
    return capture(name, *images, purpose=Verify("ALL", name), client=client, answer_by=answer_by)


def test_one_clients_question_does_not_wait_for_all_of_anothers(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, verification("costly", *[b"1"] * 20, client="flood"), urgent=True)
    send(log, *(verification(f"f{n}", b"1", client="flood") for n in range(30)), urgent=True)
    send(log, verification("mine", b"7", client="officer"), urgent=True)
    worker.run_once()
    assert extractor.asked == [b"1", b"1"]
    extractor.answer(0)
    worker.run_once()
    assert extractor.asked == [b"1", b"1", b"7"]


def test_the_express_worker_is_for_a_client_of_whom_nothing_urgent_runs(log: ShakyLog) -> None:
    extractor = PretendExtractor(size=3)
    worker = Worker(log, extractor, OPEN_GATE, express=1)
    send(log, verification("costly", *[b"1"] * 20, client="flood"), urgent=True)
    send(log, capture("bulk", b"2", client="station"))
    worker.run_once()
    assert extractor.asked == [b"1", b"1"]
    send(log, verification("mine", b"7", b"8", client="officer"), urgent=True)
    worker.run_once()
    assert extractor.asked == [b"1", b"1", b"7"]
    extractor.answer(2)
    worker.run_once()
    assert extractor.asked == [b"1", b"1", b"7", b"8"]


def test_a_client_alone_has_all_ordinary_workers(log: ShakyLog) -> None:
    extractor = PretendExtractor(size=3)
    worker = Worker(log, extractor, OPEN_GATE, express=1)
    send(log, *(capture(f"bulk {n}", b"1") for n in range(9)))
    worker.run_once()
    assert len(extractor.asked) == 2
    send(log, verification("mine", b"7", client="station"), urgent=True)
    worker.run_once()
    assert extractor.asked == [b"1", b"1", b"7"]  # its own bulk work does not count


LATE = NOON + CLOCKS + timedelta(seconds=1)


def test_a_question_that_nobody_waits_for_is_decided_as_expired_and_not_worked_on(
    log: ShakyLog, extractor: PretendExtractor
) -> None:
    worker = Worker(log, extractor, OPEN_GATE, now=lambda: LATE)
    before = metrics.REGISTRY.get_sample_value("eyni_questions_expired_total", {"service": "enroll"}) or 0.0
    send(log, verification("late", b"1", b"2", client="c", answer_by=NOON), urgent=True)
    send(log, verification("asked by callback", b"3", client="c"), urgent=True)
    assert worker.run_once() == 1
    assert extractor.asked == [b"3"]
    (decided,) = events(log, Name.DECISIONS)
    assert isinstance(decided, Decided)
    assert (decided.request.request_id, decided.outcome, decided.as_of) == ("late", Expired(), -1)
    assert metrics.REGISTRY.get_sample_value("eyni_questions_expired_total", {"service": "enroll"}) == before + 1
    extractor.answer(0)
    worker.run_once()
    assert committed(log, Name.CAPTURES_URGENT) == 2


def test_clocks_may_differ_a_little_before_a_question_is_dropped(log: ShakyLog, extractor: PretendExtractor) -> None:
    worker = Worker(log, extractor, OPEN_GATE, now=lambda: NOON + CLOCKS)
    send(log, verification("just in time", b"1", client="c", answer_by=NOON), urgent=True)
    worker.run_once()
    assert extractor.asked == [b"1"]


def test_a_question_that_expires_on_the_way_keeps_no_more_workers(log: ShakyLog, extractor: PretendExtractor) -> None:
    now = [NOON]
    worker = Worker(log, extractor, OPEN_GATE, now=lambda: now[0])
    send(log, verification("q", b"1", b"2", b"3", b"4", client="c", answer_by=NOON), urgent=True)
    worker.run_once()
    now[0] = LATE
    extractor.answer(0)
    extractor.answer(1)
    assert worker.run_once() == 1
    assert len(extractor.asked) == 2
    (decided,) = events(log, Name.DECISIONS)
    assert isinstance(decided, Decided)
    assert decided.outcome == Expired()


def test_samples_beyond_the_time_that_a_request_may_take_are_refused_unseen(
    log: ShakyLog, extractor: PretendExtractor
) -> None:
    clock = [0.0]
    worker = Worker(log, extractor, OPEN_GATE, request_seconds=20.0, clock=lambda: clock[0])
    send(log, capture("greedy", *[b"1"] * 20))
    worker.run_once()
    for turn in range(2):
        clock[0] += 5.0
        extractor.answer(2 * turn)
        extractor.answer(2 * turn + 1)
        worker.run_once()
    assert len(extractor.asked) == 4  # two at a time, 5 s each: 20 s
    (event,) = events(log, Name.GALLERY)
    assert isinstance(event, ReferenceEnrolled)
    assert len(event.templates) == 4
    assert [d.reason for quality in event.qualities[4:] for d in quality.defects] == [RetakeReason.TOO_COSTLY] * 16


def test_what_the_workers_can_do_follows_from_how_long_samples_took(log: ShakyLog) -> None:
    clock, extractor = [0.0], PretendExtractor(size=3)
    worker = Worker(log, extractor, OPEN_GATE, express=1, clock=lambda: clock[0])
    send(log, *(capture(f"c{n}", b"1") for n in range(100)))
    for n in range(100):
        worker.run_once()
        clock[0] += 0.25
        extractor.answer(n)
    assert worker.samples_per_second == pytest.approx(2 / 0.5, rel=0.1)  # two at a time: each waits a turn


def test_samples_of_one_capture_are_shared_out_and_put_back_in_order(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("r", b"1", b"2", b"3"))
    worker.run_once()
    extractor.answer(1)
    worker.run_once()
    extractor.answer(2)
    extractor.answer(0)
    worker.run_once()
    (event,) = events(log, Name.GALLERY)
    assert isinstance(event, ReferenceEnrolled)
    assert [t.vector[0] for t in event.templates] == [1, 2, 3]


def test_bytes_that_are_no_event_go_to_dead_letters_and_the_next_capture_is_served(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    log.append([Entry(Name.CAPTURES_BULK, b"k", b"\xffnonsense")])
    send(log, capture("r", b"1"))
    worker.run_once()
    extractor.answer(0)
    worker.run_once()
    (letter,) = events(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert (letter.topic, letter.key, letter.value) == ("captures-bulk", b"k", b"\xffnonsense")
    assert "JSON" in letter.reason
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 2)


def test_an_event_of_another_type_goes_to_dead_letters(log: ShakyLog, worker: Worker) -> None:
    stray = entry(DeadLettered("x", 0, 0, "", b"", b""))
    log.append([Entry(Name.CAPTURES_URGENT, b"k", stray.value)])
    worker.run_once()
    (letter,) = events(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert letter.reason == "DeadLettered is no CaptureReceived"
    assert committed(log, Name.CAPTURES_URGENT) == 1


def test_an_outcome_too_large_for_its_topic_becomes_a_dead_letter_and_takes_no_other_with_it(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    huge = Enrol("p", "v", ("main",), "digest", document={"note": "x" * TOPICS[Name.GALLERY].max_bytes})
    send(log, capture("huge", b"1", purpose=huge), capture("plain", b"2"))
    worker.run_once()
    extractor.answer(0)
    extractor.answer(1)
    worker.run_once()
    (letter,) = events(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert "does not fit" in letter.reason
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 2)


def test_an_odd_capture_goes_to_dead_letters_before_anything_is_extracted(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("no samples"), capture("r-7", b"1"))
    worker.run_once()
    letters = events(log, Name.DEAD_LETTERS)
    assert {isinstance(letter, DeadLettered) and letter.reason for letter in letters} == {
        "samples is empty: nothing to extract",
        'request_id begins with "r-", which is kept for calls that are no captures',
    }
    assert (extractor.asked, committed(log)) == ([], 2)


@pytest.mark.parametrize("lane", [Name.CAPTURES_URGENT, Name.CAPTURES_BULK])
def test_captures_that_expired_unread_are_passed_over_told_and_counted(
    log: ShakyLog, extractor: PretendExtractor, lane: Name, capsys: pytest.CaptureFixture[str]
) -> None:
    send(log, *(capture(f"c-{n}", b"1", purpose=enrol("one")) for n in range(5)), urgent=lane is Name.CAPTURES_URGENT)
    (partition,) = (p for p, span in log.spans(lane).items() if span.end)
    log.expire(lane, partition, 4)
    before = expired(lane)
    worker = Worker(log, extractor, OPEN_GATE)

    worker.run_once()
    worker.run_once()

    assert expired(lane) == before + 4
    assert "captures expired unread" in "".join(capsys.readouterr())
    extractor.answer(0)
    worker.run_once()
    assert (len(values(log, Name.GALLERY)), committed(log, lane)) == (1, 5)


def test_captures_that_expire_while_the_loop_waits_for_one_do_not_end_it(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("c-1", b"1"), urgent=True)
    (partition,) = (p for p, span in log.spans(Name.CAPTURES_URGENT).items() if span.end)
    log.expire(Name.CAPTURES_URGENT, partition, 1)
    worker._wait(0.01)  # pyright: ignore[reportPrivateUsage]
    send(log, capture("c-2", b"1"), urgent=True)
    worker.run_once()
    assert len(extractor.asked) == 1


def test_a_gap_that_is_no_expiry_ends_the_loop(log: ShakyLog, extractor: PretendExtractor) -> None:
    log.mark(Group.ENROLL, Name.CAPTURES_BULK, {0: 100})
    with pytest.raises(LogGap):
        Worker(log, extractor, OPEN_GATE).run_once()


def test_the_loop_goes_on_when_the_log_comes_back(log: ShakyLog, extractor: PretendExtractor, worker: Worker) -> None:
    send(log, capture("r", b"1"))
    worker.run_once()
    extractor.answer(0)
    log.failures = 2
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        for _ in range(500):
            if committed(log):
                break
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    assert (len(values(log, Name.GALLERY)), committed(log)) == (1, 1)


def test_a_bug_in_the_extractor_ends_the_loop_before_the_commit(
    log: ShakyLog, extractor: PretendExtractor, worker: Worker
) -> None:
    send(log, capture("r", b"1"))
    worker.run_once()
    extractor.promised[0].set_exception(RuntimeError("bug"))
    with pytest.raises(RuntimeError):
        worker.run_once()
    assert committed(log) == 0


def test_the_lag_counts_what_has_no_outcome_yet(log: ShakyLog, extractor: PretendExtractor, worker: Worker) -> None:
    send(log, capture("a", b"1"), capture("b", b"2"))
    worker.run_once()
    extractor.answer(0)
    worker.run_once()
    assert lags(log) == {Name.CAPTURES_URGENT: 0, Name.CAPTURES_BULK: 1}
