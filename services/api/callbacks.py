"""Delivers the answers of asynchronous calls: from decision to the client's receiver, with retries, across restarts.

Everything is in the tasks' table: this process may die at any line, and the next one goes on. A client may get an
answer twice, and tells by the task id.
"""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from services.api import answers
from services.api.answers import Answer
from services.api.egress import Egress, EgressFailed, EgressRefused
from services.api.errors import Code, Refusal
from services.api.registry import Registry
from services.api.tables import RegistryUnavailable
from services.api.tasks import Task, Tasks
from shared import metrics
from shared.events import Decided, Repeated
from shared.logs import logger

IDLE: Final = 0.1
"""Seconds between two looks for work: what an answer through a callback may be later than one in the response."""

SENDERS: Final = 16
"""Deliveries at a time: sixteen receivers that hang for the 5 s of a call hold up nobody else's for longer."""

LEASE: Final = 30.0
"""Seconds after which a claimed delivery is somebody else's: six times what a call may take."""

ATTEMPTS: Final = 10
FIRST_RETRY: Final = 2.0
LAST_RETRY: Final = 600.0
"""Ten attempts, 2 s apart, then 4, 8, … up to 10 minutes: a receiver may be away for some 13 minutes. Then the client
asks for redelivery."""

KEPT: Final = timedelta(days=7)
"""How long a task, delivered or not, can be asked about and redelivered."""

DECISIONS_KEPT: Final = timedelta(days=28)
"""How long an answer can be given again: what the topic `decisions` is kept."""

_GONE: Final = timedelta(minutes=5)
_HOUR: Final = timedelta(hours=1)
_log = logger("callbacks")


def back_off(attempts: int, chance: Callable[[], float] = random.random) -> float | None:
    """Return the seconds until the next try after so many, half of them by chance; None to give up."""
    if attempts >= ATTEMPTS:
        return None
    most: float = min(LAST_RETRY, FIRST_RETRY * 2.0 ** (attempts - 1))
    return most * (0.5 + chance() / 2)


class Courier:
    """Delivers from threads of its own (`start`), or step by step (`run_once`)."""

    def __init__(
        self,
        registry: Registry,
        tasks: Tasks,
        egress: Egress,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._egress = egress
        self._now = now
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="callback")
        self._sending: set[Future[None]] = set()
        self._next_purge = datetime.min.replace(tzinfo=UTC)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; deliveries in progress end first (5 s at most)."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._senders.shutdown(wait=True)

    def run_once(self) -> int:
        """Finish tasks whose decision is there, begin deliveries that are due; return how many of both.

        Raises RegistryUnavailable: call it again. What a delivery raised is raised here.
        """
        for done in [f for f in self._sending if f.done()]:
            self._sending.remove(done)
            done.result()
        finished = sum(self._finish(task) for task in self._tasks.pending_decided(SENDERS))
        free = SENDERS - len(self._sending)
        due: Sequence[Task] = self._tasks.claim_due(self._now(), LEASE, free) if free else ()
        for task in due:
            self._sending.add(self._senders.submit(self._deliver, task))
        self._purge()
        return finished + len(due)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    busy = self.run_once()
                except RegistryUnavailable as error:
                    _log.warning("cannot look for callbacks; trying again", error=str(error))
                    busy = 0
                if not busy:
                    self._stop.wait(IDLE)
        except BaseException as error:
            _log.error("delivering has ended", kind=type(error).__name__, exc_info=True)
            if self._on_failure is not None:
                self._on_failure(error)

    # ---- from decision to answer

    def _finish(self, task: Task) -> bool:
        decision = self._registry.decided(task.request_id or "")
        answer = None if decision is None else self._answer(decision)
        if answer is None:
            return False
        ready = answer.delivered()
        return self._tasks.finish(
            task.task_id, ready.status, ready.content_type, ready.body, ready.headers, self._now()
        )

    def _answer(self, decision: Decided) -> Answer | None:
        """Return the answer to a decision; None while the one that it repeats is still on its way."""
        if not isinstance(decision.outcome, Repeated):
            return answers.decided(decision)
        first = self._registry.decided(decision.outcome.of)
        if first is not None and not isinstance(first.outcome, Repeated):
            return answers.decided(first)
        if self._now() - decision.request.received_at < _GONE:
            return None
        message = "enrolled before with the same content; the answer of that time is no longer kept"
        return answers.refused(Refusal(Code.CONFLICT, message))

    # ---- from answer to receiver

    def _deliver(self, task: Task) -> None:
        query = {"transactionId": task.transaction_id, "taskId": task.task_id}
        try:
            self._egress.deliver(
                task.callback, query, task.content_type or answers.JSON, task.headers, task.body or b""
            )
        except (EgressFailed, EgressRefused) as error:
            wait = back_off(task.attempts) if isinstance(error, EgressFailed) else None
            metrics.CALLBACKS.labels("gave_up" if wait is None else "retry").inc()
            _log.warning(
                "callback not delivered", task=task.task_id, attempt=task.attempts, error=str(error), again=wait
            )
            self._note(
                lambda: self._tasks.failed(task.task_id, self._now() + timedelta(seconds=wait) if wait else None)
            )
        else:
            metrics.CALLBACKS.labels("delivered").inc()
            self._note(lambda: self._tasks.delivered(task.task_id))

    def _note(self, write: Callable[[], None]) -> None:
        try:
            write()
        except RegistryUnavailable as error:
            # The lease runs out and the delivery is repeated, which a client is told to expect.
            _log.warning("delivery not noted", error=str(error))

    def _purge(self) -> None:
        now = self._now()
        if now < self._next_purge:
            return
        self._next_purge = now + _HOUR
        gone = self._tasks.purge(now - KEPT), self._registry.forget_before(now - DECISIONS_KEPT)
        _log.info("purged", tasks=gone[0], decisions=gone[1])
