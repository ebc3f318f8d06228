"""The follower on the log in memory: what is answered is in the registry first, and no trouble passes in silence."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.api.follower import Follower
from services.api.rebuild import rebuild
from services.api.registry import Registry
from services.api.tables import RegistryMisfit, RegistryUnavailable
from services.api.waiting import Waiting
from shared.encounters import Key
from shared.events import PersonRemoved, Refused, ServiceReported
from shared.log import LogGap, LogUnavailable, Span
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Entry, Name
from tests.unit.api.registry.facts import COMPARATOR, START, append, decided, enrolled, new_log, request


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A log, a registry, and a follower between them, stepped by hand."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'registry.sqlite'}"
        self.log = new_log()
        self.registry = Registry(self.url, COMPARATOR)
        self.waiting = Waiting()
        self.clock = Clock()
        self.follower = Follower(self.log, self.registry, self.waiting, clock=self.clock)

    def another_follower(self) -> Follower:
        return Follower(self.log, self.registry, self.waiting, clock=self.clock)

    def report(self, service: str = "match", ready: bool = True) -> None:
        append(self.log, ServiceReported(service, f"{service}@host", START, ready))  # type: ignore[arg-type]  # pyright: ignore


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.follower.close()
    stage.registry.close()


def test_a_decision_is_handed_on_only_once_the_registry_is_where_it_was_taken(stage: Stage) -> None:
    future = stage.waiting.expect("c-1")
    append(stage.log, decided("c-1", as_of=1))
    stage.follower.run_once()
    assert not future.done()

    append(stage.log, enrolled("c-1", "p"))
    stage.follower.run_once()

    assert future.result(0).as_of == 1
    assert stage.registry.encounter(Key("p", "e")) is not None


def test_a_decision_that_asked_no_gallery_is_handed_on_at_once(stage: Stage) -> None:
    future = stage.waiting.expect("c-1")
    append(stage.log, decided("c-1", Refused(()), as_of=-1))

    stage.follower.run_once()

    assert future.done()


def test_a_copy_of_a_decision_and_one_that_nobody_waits_for_harm_nothing(stage: Stage) -> None:
    append(stage.log, decided("c-1"), decided("c-1"), decided("c-2", as_of=9))
    stage.follower.run_once()

    assert stage.registry.decided("c-2") is not None
    assert sum(stage.registry.outcome_counts().values()) == 2


def test_a_call_that_gave_up_and_a_cancelled_one_are_passed_over(stage: Stage) -> None:
    stage.waiting.forget("c-1", stage.waiting.expect("c-1"))
    cancelled, kept = stage.waiting.expect("c-2"), stage.waiting.expect("c-2")
    cancelled.cancel()
    append(stage.log, decided("c-1"), decided("c-2"))

    stage.follower.run_once()

    assert kept.done()
    assert len(stage.waiting) == 0


def test_what_is_no_event_is_passed_over_and_the_next_is_not(stage: Stage) -> None:
    stage.log.append([Entry(Name.GALLERY, b"", b"nonsense"), Entry(Name.DECISIONS, b"", b"nonsense")])
    append(stage.log, enrolled("c-1", "p"), decided("c-1"))

    stage.follower.run_once()

    assert stage.registry.positions(Name.GALLERY) == {0: 2}
    assert stage.registry.decided("c-1") is not None


def test_another_follower_goes_on_where_the_last_one_ended(stage: Stage) -> None:
    append(stage.log, enrolled("c-1", "p"), decided("c-1"))
    stage.follower.run_once()
    stage.follower.close()
    append(stage.log, PersonRemoved(request("r-2"), "p"))
    follower = stage.another_follower()

    assert follower.run_once() == 1

    assert stage.registry.active_count() == 0


def test_an_answer_whose_transaction_was_in_doubt_is_handed_on_nevertheless(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database took it, and the connection broke before it said so: the second reading finds it applied."""
    stage.follower.run_once()
    future = stage.waiting.expect("c-1")
    append(stage.log, decided("c-1"))
    apply = stage.registry.apply_decisions

    def apply_and_break(*arguments: object) -> None:
        apply(*arguments)  # type: ignore[arg-type]  # pyright: ignore
        monkeypatch.undo()
        raise RegistryUnavailable("the connection broke")

    monkeypatch.setattr(stage.registry, "apply_decisions", apply_and_break)
    stage.follower.start()

    assert future.result(10).request.request_id == "c-1"
    assert dict(stage.registry.outcome_counts()) == {"identified": 1}


def test_decisions_that_retention_took_are_passed_over(stage: Stage) -> None:
    append(stage.log, *(decided(f"c-{n}") for n in range(50)))
    spans = stage.log.spans(Name.DECISIONS)
    for partition, span in spans.items():
        stage.log.expire(Name.DECISIONS, partition, min(span.start + 2, span.end))

    while stage.follower.run_once():
        pass
    stage.follower.run_once()

    kept = sum(span.end - span.start for span in stage.log.spans(Name.DECISIONS).values())
    assert sum(stage.registry.outcome_counts().values()) == kept
    assert stage.registry.positions(Name.DECISIONS) == {p: s.end for p, s in spans.items() if s.end}


def test_a_gallery_with_a_hole_ends_the_following_for_good(stage: Stage) -> None:
    append(stage.log, enrolled("c-1", "p"), enrolled("c-2", "q"))
    stage.log.expire(Name.GALLERY, 0, 1)
    told: list[BaseException] = []
    done = threading.Event()

    def on_failure(error: BaseException) -> None:
        told.append(error)
        done.set()

    follower = Follower(stage.log, stage.registry, stage.waiting, on_failure=on_failure)
    follower.start()

    assert done.wait(10)
    assert isinstance(follower.failed, LogGap)
    assert told == [follower.failed]
    assert not follower.healthy
    follower.close()


def test_a_log_that_does_not_answer_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Name) -> dict[int, Span]:
        raise LogUnavailable("gone")

    future = stage.waiting.expect("c-1")
    append(stage.log, decided("c-1"))
    with monkeypatch.context() as patch:
        patch.setattr(stage.log, "spans", away)
        with pytest.raises(LogUnavailable):
            stage.follower.run_once()
        assert not stage.follower.caught_up

    stage.follower.start()

    assert future.result(10)
    assert stage.follower.failed is None


def test_a_registry_of_another_log_is_not_followed_into(stage: Stage) -> None:
    stage.follower.run_once()

    follower = Follower(new_log(), stage.registry, stage.waiting)

    with pytest.raises(RegistryMisfit, match="another log"):
        follower.run_once()


def test_a_service_is_ready_while_its_last_report_is_young_and_says_so(stage: Stage) -> None:
    stage.report()
    stage.follower.run_once()
    assert stage.follower.ready("match", 3) is None  # said before this process listened

    stage.report()
    stage.report("enroll")
    stage.follower.run_once()
    heard = stage.follower.ready("match", 3)
    assert heard is not None
    assert heard.instance == "match@host"
    assert stage.follower.ready("enroll", 3) is not None
    assert set(stage.follower.reports()) == {"match@host", "enroll@host"}

    stage.clock.now += 4
    assert stage.follower.ready("match", 3) is None
    assert stage.follower.ready("enroll", 3) is None
    stage.report(ready=False)
    stage.follower.run_once()
    assert stage.follower.ready("match", 3) is None
    stage.clock.now += 61
    assert not stage.follower.reports()


def test_it_is_caught_up_while_what_was_on_the_log_moments_ago_is_applied(stage: Stage) -> None:
    assert not stage.follower.caught_up
    stage.follower.run_once()
    assert stage.follower.caught_up

    stage.clock.now += 10  # nobody looked meanwhile
    assert not stage.follower.caught_up
    append(stage.log, *(enrolled(f"c-{n}", f"p{n}") for n in range(1_500)))
    stage.follower.run_once()
    assert not stage.follower.caught_up
    stage.follower.run_once()
    assert stage.follower.caught_up


def _fill(log: MemoryLog) -> None:
    append(log, enrolled("c-1", "p"), enrolled("c-2", "q"), PersonRemoved(request("r-3"), "p"), decided("c-1"))


def test_a_rebuilt_registry_equals_the_one_that_followed(stage: Stage) -> None:
    _fill(stage.log)
    stage.follower.run_once()
    with stage.registry.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM filings")
        connection.exec_driver_sql("UPDATE counters SET value = 9 WHERE family = 'gallery'")
    told: list[tuple[int, int]] = []

    rebuild(stage.log, stage.url, COMPARATOR, lambda done, total: told.append((done, total)))

    assert told == [(0, 3), (3, 3)]
    assert list(stage.registry.gallery_content("g", 0, 9)) == [Key("q", "e")]
    assert stage.registry.active_count() == 1
    assert dict(stage.registry.outcome_counts()) == {"identified": 1}
    assert stage.another_follower().run_once() == 0


def test_a_registry_that_was_lost_is_rebuilt_from_all_that_the_log_holds(stage: Stage, tmp_path: Path) -> None:
    _fill(stage.log)
    url = f"sqlite:///{tmp_path / 'lost.sqlite'}"

    rebuild(stage.log, url, COMPARATOR, lambda done, total: None)

    registry = Registry(url, COMPARATOR)
    assert registry.active_count() == 1
    assert registry.decided("c-1") == decided("c-1")
    registry.close()


def test_a_rebuild_from_another_log_is_refused_until_an_operator_adopts_that_log(stage: Stage) -> None:
    _fill(stage.log)
    stage.follower.run_once()
    before = list(stage.registry.gallery_content("ALL", 0, 9))
    other = new_log()
    append(other, enrolled("c-9", "z"))

    with pytest.raises(RegistryMisfit, match=r"another log.*eyni log adopt"):
        rebuild(other, stage.url, COMPARATOR, lambda done, total: None)
    assert list(stage.registry.gallery_content("ALL", 0, 9)) == before

    rebuild(other, stage.url, COMPARATOR, lambda done, total: None, adopt=True)

    assert list(stage.registry.gallery_content("ALL", 0, 9)) == [Key("z", "e")]
    assert stage.registry.decided("c-1") is None
    assert dict(stage.registry.outcome_counts()) == {}


class _Shorter(MemoryLog):
    """A log restored from an older backup: the same log, and its gallery ends earlier than it did."""

    def __init__(self, whole: MemoryLog) -> None:
        super().__init__()
        self._whole = whole

    def identity(self, topic: Name) -> str:
        return self._whole.identity(topic)


def test_a_log_that_ends_before_what_was_followed_is_neither_followed_nor_rebuilt_from(stage: Stage) -> None:
    _fill(stage.log)
    stage.follower.run_once()
    before = list(stage.registry.gallery_content("ALL", 0, 9))
    shorter = _Shorter(stage.log)
    shorter.ensure(list(TOPICS.values()))

    with pytest.raises(RegistryMisfit, match=r"the log holds 0: it was cut short.*eyni log adopt"):
        Follower(shorter, stage.registry, stage.waiting).run_once()
    with pytest.raises(RegistryMisfit, match=r"the log holds 0: it was cut short.*eyni log adopt"):
        rebuild(shorter, stage.url, COMPARATOR, lambda done, total: None)
    assert list(stage.registry.gallery_content("ALL", 0, 9)) == before


def test_a_rebuild_that_was_broken_off_counts_as_much_as_the_log_that_it_read(stage: Stage) -> None:
    _fill(stage.log)
    stage.follower.run_once()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(stage.log, stage.url, COMPARATOR, interrupt)
    with pytest.raises(RegistryMisfit, match="another log"):
        rebuild(new_log(), stage.url, COMPARATOR, lambda done, total: None)


def test_a_registry_that_followed_nothing_yet_is_rebuilt_from_any_log(stage: Stage) -> None:
    stage.follower.run_once()
    other = new_log()
    append(other, enrolled("c-9", "z"))
    rebuild(other, stage.url, COMPARATOR, lambda done, total: None)
    assert list(stage.registry.gallery_content("ALL", 0, 9)) == [Key("z", "e")]


def test_a_rebuild_that_was_broken_off_must_be_run_again(stage: Stage) -> None:
    _fill(stage.log)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(stage.log, stage.url, COMPARATOR, interrupt)

    with pytest.raises(RegistryMisfit, match=r"broken off.*eyni registry rebuild"):
        stage.follower.run_once()
    rebuild(stage.log, stage.url, COMPARATOR, lambda done, total: None)
    assert stage.follower.run_once() == 0
    assert stage.registry.active_count() == 1


def test_an_api_that_goes_on_while_the_registry_is_rebuilt_stops(stage: Stage) -> None:
    _fill(stage.log)
    stage.follower.run_once()
    stage.registry.begin_rebuild(stage.log.identity(Name.GALLERY))
    append(stage.log, enrolled("c-4", "r"))

    with pytest.raises(RegistryMisfit, match="rebuilt or restored"):
        stage.follower.run_once()
