"""The outbox, on both databases: each answer is delivered at least once, and by one process at a time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.api.registry import Registry
from services.api.tasks import Task, Tasks, TaskState
from shared.events import Refused
from shared.log import Record
from shared.topics import Name
from tests.unit.api.registry.facts import COMPARATOR, START, decided, enrolled, on_log


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    registry = Registry(url, COMPARATOR)
    yield registry
    registry.close()


@pytest.fixture
def tasks(registry: Registry) -> Tasks:
    return Tasks(registry.engine)


def _task(name: str = "t", request_id: str | None = "c-1", minutes: int = 0) -> Task:
    return Task(
        task_id=name,
        request_id=request_id,
        client="client \x00",
        operation="createEncounter",
        transaction_id="x \x00",
        callback="https://client/callback?key=secret",
        created_at=START + timedelta(minutes=minutes),
    )


def _finish(tasks: Tasks, name: str = "t") -> bool:
    return tasks.finish(name, 200, "application/json", b'{"a":1}', {"Eyni-As-Of": "7"}, START)


def test_a_task_comes_back_as_it_was_added(tasks: Tasks) -> None:
    tasks.add(_task())

    assert tasks.get("t") == _task()
    assert list(tasks.of_request("c-1")) == [_task()]
    assert tasks.get("u") is None
    assert "secret" not in repr(tasks.get("t"))


def test_a_task_may_be_finished_once_its_decision_is_stored_and_the_registry_is_there(
    registry: Registry, tasks: Tasks
) -> None:
    for name, request_id, minutes in (("b", "c-2", 2), ("a", "c-1", 1), ("u", "c-3", 0), ("n", None, 0)):
        tasks.add(_task(name, request_id, minutes))
    answers = [decided("c-1", Refused(()), as_of=-1), decided("c-2", as_of=1)]
    registry.apply_decisions([(Record(Name.DECISIONS, 0, n, b"", b""), d) for n, d in enumerate(answers)])
    assert [task.task_id for task in tasks.pending_decided(9)] == ["a"]

    registry.apply_gallery(on_log(enrolled("c-2", "p")))
    assert [task.task_id for task in tasks.pending_decided(9)] == ["a", "b"]
    assert [task.task_id for task in tasks.pending_decided(1)] == ["a"]

    _finish(tasks, "a")
    assert [task.task_id for task in tasks.pending_decided(9)] == ["b"]


def test_only_one_process_finishes_a_task(tasks: Tasks) -> None:
    tasks.add(_task())

    assert [_finish(tasks), _finish(tasks), _finish(tasks, "unknown")] == [True, False, False]

    task = tasks.get("t")
    assert task is not None
    assert (task.state, task.status, task.body) == (TaskState.RESPONSE_SCHEDULED, 200, b'{"a":1}')
    assert dict(task.headers) == {"Eyni-As-Of": "7"}


def test_a_claimed_task_is_nobody_elses_until_its_lease_has_run_out(tasks: Tasks) -> None:
    for name in ("a", "b", "c"):
        tasks.add(_task(name))
        _finish(tasks, name)

    first = tasks.claim_due(START, 30, 2)
    second = tasks.claim_due(START, 30, 9)
    third = tasks.claim_due(START + timedelta(seconds=29), 30, 9)
    again = tasks.claim_due(START + timedelta(seconds=30), 30, 9)

    assert [t.task_id for t in first] == ["a", "b"]
    assert [t.task_id for t in second] == ["c"]
    assert list(third) == []
    assert [(t.task_id, t.attempts) for t in again] == [("a", 2), ("b", 2), ("c", 2)]


def test_an_automatic_retry_shows_as_scheduled_and_giving_up_as_an_error(tasks: Tasks) -> None:
    tasks.add(_task())
    _finish(tasks)
    tasks.claim_due(START, 30, 1)

    tasks.failed("t", START + timedelta(seconds=60))
    retried = tasks.get("t")
    assert list(tasks.claim_due(START + timedelta(seconds=59), 30, 1)) == []
    assert len(tasks.claim_due(START + timedelta(seconds=60), 30, 1)) == 1
    tasks.failed("t", None)
    given_up = tasks.get("t")

    assert retried is not None
    assert given_up is not None
    assert (retried.state, given_up.state) == (TaskState.RESPONSE_SCHEDULED, TaskState.RESPONSE_ERROR)
    assert list(tasks.claim_due(START + timedelta(days=9), 30, 1)) == []


@pytest.mark.parametrize("delivered", [True, False])
def test_a_redelivery_shows_as_a_retry_until_it_ends(tasks: Tasks, delivered: bool) -> None:
    tasks.add(_task())
    _finish(tasks)
    tasks.claim_due(START, 30, 1)
    tasks.delivered("t") if delivered else tasks.failed("t", None)

    assert tasks.redeliver("t", START)
    asked = tasks.get("t")
    [claimed] = tasks.claim_due(START, 30, 1)
    tasks.failed("t", START + timedelta(seconds=60))
    waiting = tasks.get("t")
    tasks.delivered("t")
    ended = tasks.get("t")

    assert [t.state if t else None for t in (asked, waiting, ended)] == [
        TaskState.RESPONSE_RETRY,
        TaskState.RESPONSE_RETRY,
        TaskState.COMPLETED,
    ]
    assert claimed.attempts == 1


def test_redelivery_of_an_unfinished_task_waits_and_of_an_unknown_one_is_told(tasks: Tasks) -> None:
    tasks.add(_task())

    assert tasks.redeliver("t", START)
    assert not tasks.redeliver("unknown", START)

    assert tasks.get("t") == _task()


def test_a_failure_reported_late_does_not_undo_a_delivery(tasks: Tasks) -> None:
    tasks.add(_task())
    _finish(tasks)
    tasks.claim_due(START, 30, 1)
    tasks.delivered("t")

    tasks.failed("t", START)

    task = tasks.get("t")
    assert task is not None
    assert task.state == TaskState.COMPLETED


def test_tasks_are_kept_for_their_days_and_by_a_rebuild(registry: Registry, tasks: Tasks) -> None:
    tasks.add(_task("old"))
    tasks.add(_task("new", minutes=5))
    registry.begin_rebuild("another log")

    assert tasks.purge(START + timedelta(minutes=5)) == 1

    assert tasks.get("old") is None
    assert tasks.get("new") is not None


def test_a_receiver_that_is_full_gets_no_more_and_the_others_get_theirs(tasks: Tasks) -> None:
    callbacks = ["http://a:1/x", "http://a:1?x", "http://a:1", "http://a:10/", "http://b/%_x"]
    for n, callback in enumerate(callbacks):
        tasks.add(replace(_task(f"t{n}"), callback=callback))
        _finish(tasks, f"t{n}")
    claimed = tasks.claim_due(START, 30, 9, full=["http://a:1"], place=lambda callback: "//b/" not in callback)
    assert [task.callback for task in claimed] == ["http://a:10/"]
    assert [task.callback for task in tasks.claim_due(START, 30, 9)] == [*callbacks[:3], callbacks[4]]
