"""The matcher on a log: crashes, replays, poison, and answers that never lag."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.match.bootstrap import recover, replay
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from services.match.snapshot import Snapshots
from services.match.worker import Worker
from shared.biometrics import Template
from shared.calibration import Comparator
from shared.envelope import decode, encode
from shared.events import (
    CLOCKS,
    DeadLettered,
    Decided,
    EncounterRemoved,
    Enrolled,
    Event,
    Expired,
    Identified,
    PersonRemoved,
    ProbeEvent,
    ProbeExtracted,
    Verified,
)
from shared.log import LogGap, LogUnavailable, Position, Span
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Name, entry
from tests.facts import NOON, comparator, enrolled, identify, request, template, verify

POLICY = Policy(candidate_cap=10)


def a_log() -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    return log


def a_worker(log: MemoryLog, snapshots: Snapshots | None = None) -> Worker:
    gallery = recover(log, snapshots, comparator()) if snapshots else Gallery(comparator())
    return Worker(log, Matcher(gallery, POLICY), snapshots, snapshot_seconds=3600)


def put(log: MemoryLog, *events: Event) -> None:
    log.append([entry(event) for event in events])


def drain(worker: Worker) -> None:
    while worker.run_once(timeout=0):
        pass


def on(log: MemoryLog, topic: Name) -> list[Event]:
    reader = log.read(topic, {})
    return [decode(record.value) for record in reader.poll(10_000, 0)]


def decisions(log: MemoryLog) -> dict[str, bytes]:
    """Decisions by request; a copy must have the same bytes."""
    found: dict[str, bytes] = {}
    for event in on(log, Name.DECISIONS):
        assert isinstance(event, Decided)
        assert found.setdefault(event.request.request_id, encode(event)) == encode(event)
    return found


def test_a_probe_is_answered_from_everything_that_was_on_the_log_before_it() -> None:
    log = a_log()
    worker = a_worker(log)
    drain(worker)
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(600)), identify(1000, template(599)))
    worker.run_once(0)  # folds one batch, finds the probe, and must not answer before it has folded the rest
    answer = decode(decisions(log)["r-1000"])
    assert isinstance(answer, Decided)
    assert answer.as_of == 600
    assert isinstance(answer.outcome, Identified)
    assert [c.person_id for c in answer.outcome.candidates] == ["p599"]


def test_a_matcher_that_is_still_replaying_answers_nothing() -> None:
    log = a_log()
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(300)), verify("v", "p2", template(2)))
    worker = a_worker(log)
    assert not worker.ready
    worker.run_once(0)
    assert "r-v" not in decisions(log)
    drain(worker)
    assert worker.ready
    assert "r-v" in decisions(log)


def test_a_restart_appends_no_decision_a_second_time_and_a_lost_mark_only_repeats_bytes() -> None:
    log = a_log()
    put(log, *(enrolled(n, f"p{n}", [template(n % 3, 0.05 * n)]) for n in range(9)))
    drain(a_worker(log))
    before = len(on(log, Name.DECISIONS))
    drain(a_worker(_without_members(log)))
    assert len(on(log, Name.DECISIONS)) == before == 9
    log.mark("match-gallery", Name.GALLERY, {0: 4})
    drain(a_worker(_without_members(log)))
    assert len(on(log, Name.DECISIONS)) == 9 + 5
    assert len(decisions(log)) == 9


def _without_members(log: MemoryLog) -> MemoryLog:
    log._owners.clear()  # pyright: ignore[reportPrivateUsage]  # as after the death of all members
    return log


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (encode(enrolled(5, "ada", [Template("test-model", np.zeros(16, np.float32))])), "length that no face has"),
        (encode(enrolled(5, "ada", [template(1), Template("another-model", template(1).vector)])), "another-model"),
        (b"\x00\xff", "not a JSON object"),
        (b"{}", "specversion"),
        (encode(enrolled(5, "ada", [])), "no template"),
        (encode(enrolled(5, "ada", [Template("another-model", template(1).vector)])), "another-model"),
        (encode(enrolled(5, "ada", [Template("test-model", np.ones(3, np.float32))])), "not 16 numbers"),
        (encode(verify(5, "ada", template(1))), "has no place"),
        (encode(enrolled(5, "ada", [template(1)])).replace(b".v1", b".v2"), "version '2'"),
        (encode(enrolled(5, "ada", [template(1)])).replace(b'"keyid":null', b'"keyid":"k1"'), "key"),
    ],
)
def test_poison_goes_to_dead_letters_once_with_its_place_and_reason_and_the_next_record_is_served(
    poison: bytes, reason: str
) -> None:
    log = a_log()
    put(log, enrolled(1, "ada", [template(1)]))
    log.append([Entry(Name.GALLERY, b"k", poison)])
    put(log, enrolled(2, "bea", [template(1, 0.1)]))
    worker = a_worker(log)
    drain(worker)
    [letter] = on(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert (letter.topic, letter.offset, letter.value) == ("gallery", 1, poison)
    assert reason in letter.reason
    assert set(decisions(log)) == {"r-1", "r-2"}


def test_somebody_enrolled_whom_a_new_calibrations_gate_refuses_is_not_lost_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = a_log()
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(3)))
    drain(a_worker(log))
    used = comparator().calibration
    strict = Comparator(used.model_copy(update={"gate": used.gate.model_copy(update={"norm": (1e6, 1e7)})}))
    worker = Worker(log, Matcher(Gallery(strict), POLICY), None, snapshot_seconds=3600)
    drain(worker)
    assert (worker.references, on(log, Name.DEAD_LETTERS)) == (0, [])
    told = capsys.readouterr()
    assert "records of the log are not in the gallery" in told.out + told.err
    assert "records=3" in told.out + told.err


def test_a_probe_of_another_model_is_a_dead_letter_and_never_compared() -> None:
    log = a_log()
    probe = Template("another-model", template(1).vector)
    put(log, enrolled(1, "ada", [template(1)]), identify(2, probe), identify(3, template(1)))
    drain(a_worker(log))
    assert len(on(log, Name.DEAD_LETTERS)) == 1
    assert set(decisions(log)) == {"r-1", "r-3"}


def test_a_probe_that_meets_a_fault_of_ours_is_put_aside_and_those_beside_it_are_answered() -> None:
    class Faulty(Matcher):
        def answer(self, events: Sequence[ProbeEvent]) -> Sequence[Decided]:
            if any(event.request.request_id == "r-2" for event in events):
                raise ZeroDivisionError("Ada's secret")
            return super().answer(events)

    log = a_log()
    put(log, enrolled(1, "ada", [template(1)]), *(identify(n, template(1)) for n in (2, 3, 4)))
    drain(Worker(log, Faulty(Gallery(comparator()), POLICY), None, snapshot_seconds=3600))
    [letter] = on(log, Name.DEAD_LETTERS)
    assert isinstance(letter, DeadLettered)
    assert "a fault of this version of Eyni: ZeroDivisionError at test_worker.py" in letter.reason
    assert "secret" not in letter.reason
    assert set(decisions(log)) == {"r-1", "r-3", "r-4"}


def test_a_log_that_lost_its_beginning_is_refused_instead_of_searched_with_a_hole(tmp_path: Path) -> None:
    log = a_log()
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(9)))
    snapshots = Snapshots(tmp_path)
    worker = a_worker(log, snapshots)
    drain(worker)
    worker.close()
    log.expire(Name.GALLERY, 0, 9)
    assert len(recover(log, snapshots, comparator())) == 9
    put(log, enrolled(10, "p10", [template(10)]), enrolled(11, "p11", [template(11)]))
    log.expire(Name.GALLERY, 0, 10)
    with pytest.raises(LogGap, match="offset 10"):
        recover(log, snapshots, comparator())


def test_a_damaged_newest_snapshot_is_passed_over_for_the_one_before_it(tmp_path: Path) -> None:
    log = a_log()
    snapshots = Snapshots(tmp_path)
    for n in range(2):
        put(log, enrolled(n, f"p{n}", [template(n)]))
        worker = a_worker(_without_members(log), snapshots)
        drain(worker)
        worker.close()
    newest, older = snapshots.generations()
    (newest / "vectors.f32").write_bytes(b"")
    assert recover(log, snapshots, comparator()).position == int(older.name)


class _Dies(Exception):
    pass


class FlakyLog(MemoryLog):
    """Dies, or does not answer, at the n-th append or mark."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: Mapping[int, type[Exception]] = {}
        self.calls = 0

    def _step(self) -> None:
        self.calls += 1
        if fault := self.faults.get(self.calls):
            raise fault("planned")

    def append(self, entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        self._step()
        positions = super().append(entries, timeout)
        self._step()
        return positions

    def mark(self, group: str, topic: Name, done: Mapping[int, int]) -> None:
        self._step()
        super().mark(group, topic, done)
        self._step()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25), st.booleans()), min_size=1, max_size=25),
    st.lists(st.integers(1, 30), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_killed_anywhere_and_started_again_every_request_has_one_outcome_and_the_state_is_the_cold_replays(
    script: Sequence[tuple[int, int, bool]], deaths: Sequence[int]
) -> None:
    undisturbed, killed = FlakyLog(), FlakyLog()
    for log in (undisturbed, killed):
        log.ensure(list(TOPICS.values()))
        for n, (person, wobble, remove) in enumerate(script):
            put(log, enrolled(n, f"p{n}", [template(person, 0.02 * wobble, seed=n)]))
            if remove:
                put(log, EncounterRemoved(request(1000 + n), f"p{n - 1}", "1"))
        put(log, verify("v", "p0", template(script[0][0])), identify("i", template(1)))
        log.calls = 0
    drain(a_worker(undisturbed))
    killed.faults = dict.fromkeys(deaths, _Dies)
    worker = None
    while worker is None:
        try:
            worker = a_worker(killed)
            drain(worker)
        except _Dies:
            worker = None
            _without_members(killed)
    assert decisions(killed) == decisions(undisturbed)
    cold = Gallery(comparator())
    replay(killed, Matcher(cold, POLICY))
    assert worker.gallery.view().digest() == cold.view().digest()


def test_a_log_that_does_not_answer_for_a_while_loses_nothing() -> None:
    log = FlakyLog()
    log.ensure(list(TOPICS.values()))
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(5)))
    log.calls, log.faults = 0, {3: LogUnavailable, 4: LogUnavailable}
    worker = a_worker(log)
    failures = Counter[str]()
    for _ in range(20):
        try:
            worker.run_once(0)
        except LogUnavailable:
            failures["unavailable"] += 1
    assert failures
    assert len(decisions(log)) == 5


def test_removing_everybody_leaves_a_gallery_that_answers() -> None:
    log = a_log()
    put(log, enrolled(1, "ada", [template(1)]), PersonRemoved(request(2), "ada"), identify(3, template(1)))
    drain(a_worker(log))
    answer = decode(decisions(log)["r-3"])
    assert isinstance(answer, Decided)
    assert (answer.outcome, answer.gallery_count) == (Identified((), 0), 0)


def test_a_probe_without_templates_is_poison() -> None:
    log = a_log()
    probe = identify(2, template(1))
    put(log, enrolled(1, "ada", [template(1)]), ProbeExtracted(probe.request, probe.question, ()))
    drain(a_worker(log))
    assert len(on(log, Name.DEAD_LETTERS)) == 1


def test_after_a_crash_no_snapshot_is_left_that_is_ahead_of_what_was_decided(tmp_path: Path) -> None:
    log = FlakyLog()
    log.ensure(list(TOPICS.values()))
    put(log, *(enrolled(n, f"p{n}", [template(n)]) for n in range(300)))  # two batches
    log.calls, log.faults = 0, {5: _Dies}
    snapshots = Snapshots(tmp_path)
    worker = a_worker(log, snapshots)
    with pytest.raises(_Dies):
        drain(worker)
    worker.close()
    again = a_worker(_without_members(log), snapshots)
    drain(again)
    assert len(decisions(log)) == 300
    cold = Gallery(comparator())
    replay(log, Matcher(cold, POLICY))
    assert again.gallery.view().digest() == cold.view().digest()


def test_a_probe_that_was_read_when_the_log_went_away_is_answered_when_it_is_back() -> None:
    class Away(MemoryLog):
        away = False

        def spans(self, topic: Name) -> Mapping[int, Span]:
            if self.away:
                raise LogUnavailable("planned")
            return super().spans(topic)

    log = Away()
    log.ensure(list(TOPICS.values()))
    put(log, enrolled(1, "ada", [template(1)]))
    worker = a_worker(log)
    drain(worker)
    put(log, verify(2, "ada", template(1)))
    log.away = True
    with pytest.raises(LogUnavailable):
        worker.run_once(0)
    log.away = False
    drain(worker)
    assert "r-2" in decisions(log)


def test_probes_that_expired_while_nobody_was_there_do_not_keep_the_matcher_from_starting() -> None:
    log = a_log()
    put(log, enrolled(1, "ada", [template(1)]), *(verify(n, "ada", template(1)) for n in range(2, 30)))
    drain(a_worker(log))
    put(log, *(verify(n, "ada", template(1)) for n in range(30, 60)))
    for partition, span in log.spans(Name.PROBES).items():
        log.expire(Name.PROBES, partition, span.end)
    put(log, verify("late", "ada", template(1)))
    drain(a_worker(_without_members(log)))
    assert "r-late" in decisions(log)
    assert "r-40" not in decisions(log)


def test_a_decision_too_large_for_its_topic_loses_galleries_and_then_candidates_but_not_the_true_count() -> None:
    log = a_log()
    galleries = [f"{n:03d}" + "𝄞" * 190 for n in range(100)]  # 76 kB of names: 60 candidates are too many
    put(log, *(enrolled(n, f"p{n}", [template(1, 0.001 * n)], galleries=galleries) for n in range(70)))
    policy = Policy(candidate_cap=1000)
    worker = Worker(log, Matcher(Gallery(comparator()), policy), None, snapshot_seconds=3600)
    drain(worker)
    last = decode(decisions(log)["r-69"])
    assert isinstance(last, Decided)
    assert isinstance(last.outcome, Enrolled)
    assert last.outcome.total_candidates == 69
    assert last.outcome.candidates[0].galleries == ()
    first = decode(decisions(log)["r-1"])
    assert isinstance(first, Decided)
    assert isinstance(first.outcome, Enrolled)
    assert len(first.outcome.candidates[0].galleries) == 100


def test_a_probe_that_nobody_waits_for_is_decided_as_expired() -> None:
    log = a_log()
    worker = Worker(
        log, Matcher(Gallery(comparator()), POLICY), None, 3600, now=lambda: NOON + CLOCKS + timedelta(seconds=1)
    )
    drain(worker)
    late, kept = verify("late", "p0", template(0)), verify("kept", "p0", template(0))
    late = replace(late, request=replace(late.request, answer_by=NOON))
    put(log, enrolled(0, "p0", [template(0)]), late, kept)
    drain(worker)
    found = {name: decode(value) for name, value in decisions(log).items()}
    outcomes = {name: one.outcome for name, one in found.items() if isinstance(one, Decided)}
    assert outcomes["r-late"] == Expired()
    assert isinstance(outcomes["r-kept"], Verified)
    assert sum(log.committed("match", Name.PROBES).values()) == 2


def test_comparisons_are_answered_before_the_searches_that_came_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    log = a_log()
    worker = a_worker(log)
    put(log, enrolled(0, "p0", [template(0)]))
    drain(worker)
    put(log, *(identify(n, template(n)) for n in range(1, 9)), verify("mine", "p0", template(0)))
    batches: list[list[str]] = []
    append = log.append

    def noted(entries: Sequence[Entry], timeout: float | None = None) -> Sequence[Position]:
        batches.append([entry.key.decode() for entry in entries])
        return append(entries, timeout)

    monkeypatch.setattr(log, "append", noted)
    drain(worker)
    assert batches[0] == ["r-mine"]
    assert sorted(batches[1]) == [f"r-{n}" for n in range(1, 9)]


def test_an_append_that_fails_between_comparisons_and_searches_repeats_no_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = a_log()
    worker = a_worker(log)
    put(log, enrolled(0, "p0", [template(0)]))
    drain(worker)
    put(log, identify(1, template(1)), verify("mine", "p0", template(0)))

    def away(*_: object, **__: object) -> NoReturn:
        raise LogUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(log, "append", away)
        with pytest.raises(LogUnavailable):
            worker.run_once(0)
    drain(worker)
    assert len(on(log, Name.DECISIONS)) == 3
    assert sum(log.committed("match", Name.PROBES).values()) == 2
