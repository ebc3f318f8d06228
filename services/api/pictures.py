"""The pictures of a request: sent in its body, or fetched from where `imageRef` says.

Fetching is apart from everything else: on the egress loop, so that nobody who waits for a picture holds a thread, and
within limits for each client and each host, so that a slow host or a greedy client delays only itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from services.api.egress import Budget, Egress, EgressFailed, Target
from services.api.errors import Code, Refusal

SECONDS: Final = 10.0
"""For all pictures of one request together, waiting for their turn included: twice what a single one may take, and a
third of what a caller waits for an answer."""

AT_A_TIME: Final = 64
"""Pictures that are fetched at a time, by all: each takes a connection, and memory up to a body's limit."""

EACH: Final = 8
"""Of them, for one client at most, and from one host at most: eight slow hosts, each asked by another client, are what
it takes to make others wait."""

WAITING: Final = 1024
"""Pictures that may wait for their turn; beyond that the answer is 503 at once. 50 requests of twenty pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, and where in the request it stands: its bytes, or the address to fetch it from."""

    where: str
    source: bytes | Target


class _Places:
    """At most so many at a time for each name, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def one(self, name: str) -> AsyncGenerator[None]:
        places, users = self._used.get(name, (asyncio.Semaphore(self._most), 0))
        self._used[name] = places, users + 1
        try:
            async with places:
                yield
        finally:
            places, users = self._used[name]
            self._used[name] = places, users - 1
            if users == 1:
                del self._used[name]


class Fetching:
    """Gets the pictures of requests."""

    def __init__(self, egress: Egress, limit: int, *, seconds: float = SECONDS) -> None:
        """`limit`: bytes of all pictures of one request, sent and fetched."""
        self._egress = egress
        self._limit = limit
        self._seconds = seconds
        self._clients = _Places(EACH)
        self._hosts = _Places(EACH)
        self._all = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def fetch(self, client: str, pictures: Sequence[Picture]) -> list[bytes]:
        """Return the pictures' bytes, in their order. May be awaited on any loop. Raises Refusal."""
        return await asyncio.wrap_future(self._egress.run(self._fetched(client, pictures)))

    async def _fetched(self, client: str, pictures: Sequence[Picture]) -> list[bytes]:
        budget = Budget(self._limit, sum(len(p.source) for p in pictures if isinstance(p.source, bytes)))
        wanted = sum(not isinstance(p.source, bytes) for p in pictures)
        if self._waiting + wanted > WAITING:
            raise _busy()
        self._waiting += wanted
        not_begun = {picture.where for picture in pictures}

        async def one(picture: Picture) -> bytes:
            source = picture.source
            if isinstance(source, bytes):
                not_begun.discard(picture.where)
                return source
            # The narrow places first: who waits for a slow host, or behind others of this client, holds none of all's.
            async with self._clients.one(client), self._hosts.one(source.origin), self._all:
                not_begun.discard(picture.where)
                try:
                    return await self._egress.get(source, budget)
                except EgressFailed as error:
                    raise _unfetched(picture, str(error)) from None

        tasks = [asyncio.create_task(one(picture)) for picture in pictures]
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.gather(*tasks)
        except TimeoutError:
            if not_begun:
                raise _busy() from None
            slow = next(p for p, task in zip(pictures, tasks, strict=True) if not task.done() or task.cancelled())
            why = f"the pictures of a request must come within {self._seconds:g} s, and this one had not"
            raise _unfetched(slow, why) from None
        finally:
            self._waiting -= wanted
            for task in tasks:
                task.cancel()


def _unfetched(picture: Picture, why: str) -> Refusal:
    return Refusal(Code.WRONG_PICTURE, f"{picture.where}.imageRef: could not be fetched: {why}; send it in `image`")


def _busy() -> Refusal:
    return Refusal(
        Code.BUSY,
        "too many pictures are being fetched, for this client, from this host or for all; nothing was accepted. Send "
        "again, or send the pictures in `image`",
    )
