"""Asynchronous calls (OSIA `callback`): the task, its answer, and the outbox from which the answer is delivered.

Delivery is at least once: a claimed task whose process dies is due again once its lease has run out.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Row, Select, and_, delete, func, not_, or_, select, update

from services.api.tables import Verbatim, decisions, positions, tasks, writing
from shared.topics import Name


class TaskState(StrEnum):
    """OSIA's words. An automatic retry shows as RESPONSE_SCHEDULED; RESPONSE_RETRY is one that a client asked for."""

    PENDING = "PENDING"
    RESPONSE_SCHEDULED = "RESPONSE_SCHEDULED"
    RESPONSE_ERROR = "RESPONSE_ERROR"
    RESPONSE_RETRY = "RESPONSE_RETRY"
    COMPLETED = "COMPLETED"


_LOOKED_AT: Final = 256
"""Deliveries that are due and looked at in one turn: so many of one receiver are in the way of others for one turn."""

_DELIVERING: Final = (TaskState.RESPONSE_SCHEDULED, TaskState.RESPONSE_RETRY)


@dataclass(frozen=True, slots=True)
class Task:
    """One asynchronous call and, once it is finished, the answer that its callback gets."""

    task_id: str
    request_id: str | None
    """None: a call that needs no decision (a read)."""
    client: str
    operation: str
    """OSIA's operationId."""
    transaction_id: str
    callback: str = field(repr=False)
    created_at: datetime
    state: TaskState = TaskState.PENDING
    attempts: int = 0
    """Deliveries begun since it was finished, or since its last redelivery was asked for."""
    next_attempt_at: datetime | None = None
    status: int | None = None
    content_type: str | None = None
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Tasks:
    """The tasks in the registry's database. Every method raises RegistryUnavailable while that does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, task: Task) -> None:
        """Store a task. Add it before its request is appended, or its decision may find no task."""
        row: dict[str, Any] = {f.name: getattr(task, f.name) for f in fields(Task)}
        row["headers"] = json.dumps(dict(task.headers))
        with writing(self._engine) as connection:
            connection.execute(tasks.insert(), row)

    def get(self, task_id: str) -> Task | None:
        found = self._read(select(tasks).where(tasks.c.task_id == task_id))
        return found[0] if found else None

    def of_request(self, request_id: str) -> Sequence[Task]:
        """Return the tasks that wait for one request's decision, oldest first."""
        query = select(tasks).where(tasks.c.request_id == request_id)
        return self._read(query.order_by(tasks.c.created_at, tasks.c.task_id))

    def pending_decided(self, limit: int, after: Task | None = None) -> Sequence[Task]:
        """Return unfinished tasks whose decision is stored and up to whose position the registry is, oldest first.

        `after` is the last that was seen: those behind it.
        """
        reached = (
            select(func.coalesce(func.max(positions.c.next), 0))
            .where(positions.c.topic == Name.GALLERY)
            .scalar_subquery()
        )
        query = (
            select(tasks)
            .join(decisions, decisions.c.request_id == tasks.c.request_id)
            .where(tasks.c.state == TaskState.PENDING, decisions.c.as_of <= reached)
            .order_by(tasks.c.created_at, tasks.c.task_id)
            .limit(limit)
        )
        if after is not None:
            later = tasks.c.created_at > after.created_at
            query = query.where(
                or_(later, and_(tasks.c.created_at == after.created_at, tasks.c.task_id > after.task_id))
            )
        return self._read(query)

    def finish(
        self,
        task_id: str,
        status: int,
        content_type: str | None,
        body: bytes | None,
        headers: Mapping[str, str],
        now: datetime | None = None,
    ) -> bool:
        """Store the answer, to be delivered now. False: another process did so before, or the task is gone."""
        return self._change(
            task_id,
            [TaskState.PENDING],
            state=TaskState.RESPONSE_SCHEDULED,
            next_attempt_at=now or datetime.now(UTC),
            status=status,
            content_type=content_type,
            body=body,
            headers=json.dumps(dict(headers)),
        )

    def claim_due(
        self,
        now: datetime,
        lease_seconds: float,
        limit: int,
        *,
        full: Collection[str] = (),
        place: Callable[[str], bool] = lambda _: True,
    ) -> Sequence[Task]:
        """Take tasks whose delivery is due, longest due first; nobody else gets them before the lease has run out.

        `attempts` counts the delivery that now begins. `lease_seconds` must be longer than a delivery may take.
        `full`: receivers (scheme://host:port) that get no more now. `place` is asked, for each of those to take, with
        its callback: whether its receiver takes one more beside those that it was asked about before.
        """
        due = (
            select(tasks.c.task_id, tasks.c.callback)
            .where(tasks.c.state.in_(_DELIVERING), tasks.c.next_attempt_at <= now)
            .where(*(not_(_goes_to(receiver)) for receiver in full))
            .order_by(tasks.c.next_attempt_at, tasks.c.task_id)
            .limit(_LOOKED_AT)
            .with_for_update(skip_locked=True)  # SQLite has no such words and needs none: one transaction writes there
        )
        with writing(self._engine) as connection:
            found = connection.execute(due).all()
            taken = [row.task_id for row in islice((row for row in found if place(row.callback)), limit)]
            if not taken:
                return []
            connection.execute(
                update(tasks)
                .where(tasks.c.task_id.in_(taken))
                .values(attempts=tasks.c.attempts + 1, next_attempt_at=now + timedelta(seconds=lease_seconds))
            )
            rows = connection.execute(select(tasks).where(tasks.c.task_id.in_(taken))).all()
        by_id = {row.task_id: _task(row) for row in rows}
        return [by_id[task_id] for task_id in taken]

    def delivered(self, task_id: str) -> None:
        """Note that the client has taken the answer."""
        ended = [*_DELIVERING, TaskState.RESPONSE_ERROR]
        self._change(task_id, ended, state=TaskState.COMPLETED, next_attempt_at=None)

    def failed(self, task_id: str, retry_at: datetime | None) -> None:
        """Note a delivery that failed: try again then, or (None) give up: RESPONSE_ERROR until redelivery is asked."""
        if retry_at is None:
            self._change(task_id, _DELIVERING, state=TaskState.RESPONSE_ERROR, next_attempt_at=None)
        else:
            self._change(task_id, _DELIVERING, next_attempt_at=retry_at)

    def redeliver(self, task_id: str, now: datetime | None = None) -> bool:
        """Deliver again, now, whatever became of earlier deliveries; False for an unknown task.

        A task that is not finished stays as it is: its callback is called once it is.
        """
        finished = [state for state in TaskState if state != TaskState.PENDING]
        due = now or datetime.now(UTC)
        again = self._change(task_id, finished, state=TaskState.RESPONSE_RETRY, next_attempt_at=due, attempts=0)
        return again or self.get(task_id) is not None

    def purge(self, before: datetime) -> int:
        """Forget tasks created before a moment, finished or not, and return how many."""
        with writing(self._engine) as connection:
            return connection.execute(delete(tasks).where(tasks.c.created_at < before)).rowcount

    def _change(self, task_id: str, states: Sequence[TaskState], **values: Any) -> bool:
        """Change a task if it is in one of these states, and tell whether it was."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(tasks).where(tasks.c.task_id == task_id, tasks.c.state.in_(states)).values(**values)
            )
        return changed.rowcount > 0

    def _read(self, query: Select[Any]) -> Sequence[Task]:
        with self._engine.begin() as connection:
            return [_task(row) for row in connection.execute(query)]


def _goes_to(receiver: str) -> ColumnElement[bool]:
    begin = func.substr(tasks.c.callback, 1, len(receiver) + 1, type_=Verbatim)
    return begin.in_([receiver, f"{receiver}/", f"{receiver}?"])


def _task(row: Row[Any]) -> Task:
    return Task(
        task_id=row.task_id,
        request_id=row.request_id,
        client=row.client,
        operation=row.operation,
        transaction_id=row.transaction_id,
        callback=row.callback,
        created_at=row.created_at,
        state=TaskState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        status=row.status,
        content_type=row.content_type,
        body=None if row.body is None else bytes(row.body),
        headers=json.loads(row.headers),
    )
