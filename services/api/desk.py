"""Where a call becomes an answer: at once, after its decision, or later through its callback."""

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal, TypeVar
from uuid import uuid4

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Response

from services.api import answers
from services.api.admission import Admission, load_of
from services.api.answers import Answer
from services.api.egress import Egress, EgressRefused
from services.api.errors import Code, Refusal
from services.api.follower import Follower
from services.api.pictures import Fetching
from services.api.registry import Registry
from services.api.requests import Accepted, Call, Unfetched
from services.api.routing import respond
from services.api.tables import RegistryUnavailable
from services.api.tasks import Task, Tasks
from services.api.waiting import Waiting
from shared.encounters import Encounter
from shared.events import CaptureReceived, Decided, Enrolled, ProbeChosen, Repeated
from shared.heartbeat import Heartbeat
from shared.log import Log, LogError
from shared.settings import Settings
from shared.topics import entry

HEARD_SECONDS: Final = 10.0
"""A service that has not said "ready" for this long (heartbeats come every second) is not available: an officer gets
his clear answer at once instead of after the time-out."""

Needs = tuple[Literal["enroll", "match"], ...]
NOBODY: Final[Needs] = ()
"""The registry answers."""
MATCHER: Final[Needs] = ("match",)
"""The matcher decides, on what is on the log already."""
EXTRACTOR: Final[Needs] = ("enroll", "match")
"""The matcher decides, on what enroll makes of the pictures."""

FORGOTTEN: Final = timedelta(minutes=5)
"""A decision missing for longer than this is not late but gone (kept for weeks, then only the encounter is)."""

THREADS: Final = 64
"""Calls that may be inside the database at a time, and as many inside the log: neither starves the other."""

Work = Callable[[], Answer | Accepted | Unfetched]
"""What is asked of the registry: the answer, or what is to be decided, or what that is once its pictures are there."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Desk:
    """Serves calls. `work` functions are run in a thread; the event loop only waits."""

    settings: Settings
    log: Log
    registry: Registry
    tasks: Tasks
    waiting: Waiting
    follower: Follower
    admission: Admission
    egress: Egress
    fetching: Fetching
    heartbeat: Heartbeat
    instance: str
    """This process's name in its reports."""
    _looking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS), repr=False)
    _appending: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS), repr=False)

    async def serve(self, call: Call, work: Work, *, needs: Needs = NOBODY) -> Response:
        """Answer a call. `needs`: whose work the answer is, so that without them there is none at once."""
        self._require(needs if call.callback is None else NOBODY)
        if call.callback is None:
            done = await self._ask(call, work)
            with self._admitted(call, done):
                return respond(done if isinstance(done, Answer) else await self._decide(call, done))
        try:
            # As it is written here, not as it was sent: the outbox tells receivers apart by how a callback begins.
            callback = str(self.egress.callbacks.check(call.callback).url)
        except EgressRefused as error:
            raise Refusal(
                Code.WRONG_CALLBACK,
                f"query parameter callback: {error}; the operator lists hosts in EYNI_CALLBACK_HOSTS",
            ) from None
        try:
            done = await self._ask(call, work)
        except Refusal as refusal:
            if refusal.at_sight:
                raise
            done = answers.refused(refusal)
        with self._admitted(call, done):
            return respond(await self._defer(call, callback, done))

    @contextmanager
    def _admitted(self, call: Call, done: Answer | Accepted) -> Generator[None]:
        """Refuse what would be more than this client may have on the log; else count it until it is decided."""
        if isinstance(done, Answer) or done.event is None:
            yield
            return
        self.admission.prepared(call.request_id)
        load = load_of(done.event, urgent=done.urgent)
        self.admission.admit(call.client, done.request_id, load, waits=call.callback is None)
        try:
            yield
        except (LogError, RegistryUnavailable):
            self.admission.done(done.request_id)
            raise

    async def _ask(self, call: Call, work: Work) -> Answer | Accepted:
        done = await self.look(work)
        # Outside the thread: a picture's host may be slow, and threads are what everybody shares.
        return done.then(await self.fetching.fetch(call.client, done.pictures)) if isinstance(done, Unfetched) else done

    async def look(self, work: Callable[[], _T]) -> _T:
        """Run what asks the database in a thread."""
        return await anyio.to_thread.run_sync(work, limiter=self._looking)

    def _require(self, needs: Needs) -> None:
        if not (self.follower.healthy and self.follower.caught_up):
            raise Refusal(
                Code.NOT_READY,
                "the registry is behind the log, so an answer could be out of date; send again in some seconds",
            )
        missing = [service for service in needs if self.follower.ready(service, HEARD_SECONDS) is None]
        if missing:
            raise Refusal(
                Code.NOT_READY,
                f"not available: no process of {' and '.join(missing)} is ready; nothing was accepted. Send again, or "
                "give a callback to be answered when there is one",
            )

    # ---- answering in the response

    async def _decide(self, call: Call, accepted: Accepted) -> Answer:
        deadline = time.monotonic() + self.settings.answer_timeout
        if accepted.event is None:
            return await self._repeat(accepted, deadline)
        decision = await self._decision(accepted, deadline)
        if isinstance(decision.outcome, Repeated):
            decision = await self._decision(Accepted(decision.outcome.of, None), deadline)
        return answers.decided(decision)

    async def _decision(self, accepted: Accepted, deadline: float) -> Decided:
        future = self.waiting.expect(accepted.request_id)
        try:
            if accepted.event is not None:
                await self._append(accepted)
            # Who expects what was appended before looks into the registry afterwards.
            elif found := await self.look(lambda: self.registry.decided(accepted.request_id)):
                return found
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise _late(accepted, self.settings.answer_timeout) from None
        finally:
            self.waiting.forget(accepted.request_id, future)

    async def _repeat(self, accepted: Accepted, deadline: float) -> Answer:
        if accepted.known is not None and (told := await self.look(partial(self._told_before, accepted.known))):
            return told
        return answers.decided(await self._decision(accepted, deadline))

    def _told_before(self, known: Encounter) -> Answer | None:
        """Return the answer that this encounter's enrolment got; None if it is still on its way."""
        first = self.registry.decided(known.request_id)
        if first is None:
            gone = datetime.now(UTC) - known.updated_at > FORGOTTEN
            return answers.enrolled_before(known) if gone else None
        outcome = first.outcome
        # Moved or merged since: the answer of then would name another person.
        moved = isinstance(outcome, Enrolled) and (outcome.person_id, outcome.encounter_id) != known.key
        return answers.enrolled_before(known) if moved else answers.decided(first)

    async def _append(self, accepted: Accepted) -> None:
        event = accepted.event
        assert event is not None
        await anyio.to_thread.run_sync(
            lambda: self.log.append([entry(event, urgent=accepted.urgent)], timeout=self.settings.append_timeout),
            limiter=self._appending,
        )

    # ---- answering through the callback

    async def _defer(self, call: Call, callback: str, done: Answer | Accepted) -> Answer:
        task = Task(
            task_id=str(uuid4()),
            request_id=done.request_id if isinstance(done, Accepted) else None,
            client=call.client,
            operation=call.operation,
            transaction_id=call.transaction_id,
            callback=callback,
            created_at=call.received_at,
        )
        if isinstance(done, Accepted) and done.known is not None:
            done = await self.look(partial(self._told_before, done.known)) or done
        # The task first: a decision must not pass by before there is somebody to tell.
        await self.look(lambda: self.tasks.add(task))
        if isinstance(done, Accepted):
            if done.event is not None:
                await self._append(done)
        else:
            answer = done.delivered()
            await self.look(
                lambda: self.tasks.finish(task.task_id, answer.status, answer.content_type, answer.body, answer.headers)
            )
        return answers.as_json(202, {"taskId": task.task_id})


def _late(accepted: Accepted, seconds: float) -> Refusal:
    """Say what to do where there is no decision yet: a question or an enrolment may be repeated, a change may not."""
    if accepted.event is None or isinstance(accepted.event, CaptureReceived | ProbeChosen):
        return Refusal(
            Code.LATE,
            f"accepted, but not decided within {seconds:g} s; send the same again: what has ids of its own or an "
            "Idempotency-Key is not done twice",
        )
    return Refusal(
        Code.LATE,
        f"accepted, but not known to be done within {seconds:g} s: it may have been done, or will be; read what it "
        "changes before sending it again, for once it is done the same again is 404 or 409, or undoes a later change",
    )
