"""Delivers the answers of asynchronous calls: from decision to the client's receiver, with retries, across restarts.

Everything is in the tasks' table: this process may die at any line, and the next one goes on. A client may get an
answer twice, and tells by the task id.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from services.api import answers
from services.api.answers import Answer
from services.api.egress import Egress, EgressFailed, EgressRefused
from services.api.errors import Code, Refusal
from services.api.registry import Registry
from services.api.tables import RegistryUnavailable
from services.api.tasks import Task, Tasks
from shared import metrics
from shared.background import Background, Restart
from shared.events import Decided, Repeated
from shared.logs import blame, logger

IDLE: Final = 0.5
"""Seconds between two looks for work: what an answer through a callback may be later than one in the response. Each
look asks the database twice: every 0.1 s took 3 % of a core of an api that has nothing to do."""

SENDING: Final = 64
"""Deliveries at a time."""

EACH: Final = 4
"""Deliveries to one receiver at a time, and one where the last to it failed: sixteen receivers that hang, or 64 that
hang always, delay nobody else's."""

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

_FAILING: Final = 10_000
"""Most receivers that are known to fail; then all are thought well of again. `host:*` has 65,535."""

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
    """Delivers from a thread of its own (`start`), or step by step (`run_once`)."""

    def __init__(
        self,
        registry: Registry,
        tasks: Tasks,
        egress: Egress,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._tasks = tasks
        self._egress = egress
        self._now = now
        self._stop = threading.Event()
        self._wake = threading.Event()
        # What it knows is in the table: after an exception it goes on there.
        self._thread = Background("courier", self._run, Restart(self._stop))
        self._sending: dict[Future[None], tuple[Task, str]] = {}
        self._failing: set[str] = set()
        self._seen: Task | None = None
        self._next_purge = datetime.min.replace(tzinfo=UTC)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; deliveries in progress end first (5 s at most)."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        wait(self._sending, LEASE)
        self._settle()

    def run_once(self) -> int:
        """Note deliveries that ended, finish tasks whose decision is there, begin what is due; return how many.

        Raises RegistryUnavailable: call it again.
        """
        ended = self._settle()
        finished = self._finish_some()
        begun = self._begin()
        self._purge()
        return ended + finished + begun

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                busy = self.run_once()
            except RegistryUnavailable as error:
                _log.warning("cannot look for callbacks; trying again", error=str(error))
                busy = 0
            if not busy:
                self._wake.wait(IDLE)

    # ---- from decision to answer

    def _finish_some(self) -> int:
        # One page a look, and the next one from where it ended: tasks that are not to be finished yet hold up none.
        page = self._tasks.pending_decided(SENDING, after=self._seen)
        self._seen = page[-1] if len(page) == SENDING else None
        return sum(self._finish(task) for task in page)

    def _finish(self, task: Task) -> bool:
        try:
            decision = self._registry.decided(task.request_id or "")
            answer = None if decision is None else self._answer(decision)
        except RegistryUnavailable:
            raise
        except Exception as error:
            # Whatever is wrong with this one, it is answered, and those behind it have their turn.
            _log.error("a task cannot be answered", task=task.task_id, **blame(error))
            answer = answers.refused(
                Refusal(Code.FAILED, f"a fault of this server; give its operator the task id {task.task_id}")
            )
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

    def _begin(self) -> int:
        under_way = Counter(receiver for _, receiver in self._sending.values())

        def most(receiver: str) -> int:
            return 1 if receiver in self._failing else EACH

        def place(callback: str) -> bool:
            receiver = self._receiver(callback)
            if under_way[receiver] >= most(receiver):
                return False
            under_way[receiver] += 1
            return True

        free = SENDING - len(self._sending)
        full = [receiver for receiver, count in under_way.items() if count >= most(receiver)]
        due = self._tasks.claim_due(self._now(), LEASE, free, full=full, place=place) if free else ()
        for task in due:
            if task.attempts > ATTEMPTS:
                # Ten were begun and none was noted, not even as failed: it may be this one that ends the process.
                self._failed(task, "its deliveries began and never ended", None)
                continue
            query = {"transactionId": task.transaction_id, "taskId": task.task_id}
            sent = self._egress.begin(
                task.callback, query, task.content_type or answers.JSON, task.headers, task.body or b""
            )
            self._sending[sent] = task, self._receiver(task.callback)
            sent.add_done_callback(lambda _: self._wake.set())
        return len(due)

    def _receiver(self, callback: str) -> str:
        try:
            return self._egress.callbacks.check(callback).origin
        except EgressRefused:  # the list was another one: nothing will be connected to
            return callback

    def _settle(self) -> int:
        """Note what became of deliveries, whatever that is: none that failed is ever more than one failed attempt."""
        ended = [sent for sent in self._sending if sent.done()]
        for sent in ended:
            task, receiver = self._sending.pop(sent)
            try:
                sent.result()
            except EgressRefused as error:
                self._failed(task, str(error), None)
            except EgressFailed as error:
                self._failed(task, str(error), back_off(task.attempts))
            except Exception as error:
                _log.error("a delivery met a fault of this server", task=task.task_id, **blame(error))
                self._failed(task, "a fault of this server", back_off(task.attempts))
            else:
                metrics.CALLBACKS.labels("delivered").inc()
                self._failing.discard(receiver)
                self._note(partial(self._tasks.delivered, task.task_id))
                continue
            if len(self._failing) >= _FAILING:
                self._failing.clear()
            self._failing.add(receiver)
        return len(ended)

    def _failed(self, task: Task, why: str, again: float | None) -> None:
        metrics.CALLBACKS.labels("gave_up" if again is None else "retry").inc()
        _log.warning("callback not delivered", task=task.task_id, attempt=task.attempts, error=why, again=again)
        retry_at = None if again is None else self._now() + timedelta(seconds=again)
        self._note(partial(self._tasks.failed, task.task_id, retry_at))

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
