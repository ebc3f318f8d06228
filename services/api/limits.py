"""How much of a request is read, and how long: the body is counted as it comes, whatever its headers say.

All bodies together have a limit too, from their first byte to the answer, or forty that are small enough each would be
too much memory.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import ClientDisconnect, Request

from services.api.bodies import parse
from services.api.errors import RETRY_AFTER, Code, Refusal

BODY_SECONDS: Final = 60.0
"""For a whole body: 12 MB over a station's 2 Mbit/s line take 50 s; a slower sender only holds a connection."""

DRAINED: Final = 64 * 2**20
"""Bytes of a refused body that are read and thrown away: most clients send all before they listen, and one that is cut
off sees a broken connection instead of the answer that tells what to do. More than that is cut off all the same."""

DRAIN_SECONDS: Final = 5.0
"""How long a body is read on that there is no memory for: who sends on hears why, who does not is cut off."""

_CLOSE: Final = {"Connection": "close"}


PARSERS: Final = 2
"""Bodies that are parsed at a time, in threads: one that costs something does not keep the others waiting."""

SHARE: Final = 4
"""A client may hold one part in so many of the memory for bodies: what one sends does not keep the others out."""


class Bodies:
    """The memory that bodies take, from their first byte to the answer. For one event loop."""

    def __init__(self, limit: int, limit_of_all: int) -> None:
        self.limit = limit
        self._all = max(limit_of_all, SHARE * limit)
        self._held = Counter[str]()
        self._parsers = CapacityLimiter(PARSERS)

    @asynccontextmanager
    async def held(self, client: str) -> "AsyncGenerator[Held]":
        """Hold a body of a client's until the end of `async with`."""
        one = Held(self, client)
        try:
            yield one
        finally:
            one.give_back()

    def take(self, client: str, size: int) -> None:
        """Count more of a body. Raises Refusal: 429 where this client has its share, 503 where all is taken."""
        if self._held[client] + size > self._all // SHARE:
            raise Refusal(
                Code.TOO_MUCH,
                f"this client has {self._held[client]} bytes of requests under way, and may have {self._all // SHARE}; "
                "wait for answers before sending more",
                {"Retry-After": RETRY_AFTER, **_CLOSE},
            )
        if self._held.total() + size > self._all:
            raise Refusal(
                Code.BUSY,
                "the requests under way take all the memory there is for them; nothing was accepted. Send again",
                _CLOSE,
            )
        self._held[client] += size

    def give_back(self, client: str, size: int) -> None:
        """Count no longer what a client held."""
        self._held[client] -= size
        if not self._held[client]:
            del self._held[client]

    async def parse(self, body: bytes) -> Any:
        """Return the body's value. Raises Refusal."""
        return await anyio.to_thread.run_sync(parse, body, limiter=self._parsers)


class Held:
    """One body's share of the memory."""

    def __init__(self, bodies: Bodies, client: str) -> None:
        self._bodies = bodies
        self._client = client
        self.size = 0

    def take(self, size: int) -> None:
        """Count more of the body. Raises Refusal."""
        self._bodies.take(self._client, size)
        self.size += size

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._bodies.give_back(self._client, self.size)
        self.size = 0


async def read_body(request: Request, limit: int, seconds: float, held: Held) -> bytes:
    """Return the body. Raises Refusal: 413 as soon as it is known to be too large, 408 if slow, 429 or 503 if full."""
    declared = request.headers.get("content-length", "")
    size = int(declared[:20]) if declared.isdecimal() else 0
    # Somebody who waits for "100 Continue" has sent nothing yet, and hears the refusal first.
    if size > DRAINED or (size > limit and request.headers.get("expect", "").lower() == "100-continue"):
        raise _too_large(limit)
    found, received = bytearray(), 0
    full: Refusal | None = None
    try:
        async with asyncio.timeout(seconds) as deadline:
            async for part in request.stream():
                received += len(part)
                if received > DRAINED:
                    break
                if full is not None or max(size, received) > limit:
                    found.clear()
                    continue
                try:
                    held.take(len(part))
                    found += part
                except Refusal as refusal:
                    full = refusal
                    held.give_back()
                    deadline.reschedule(asyncio.get_running_loop().time() + min(seconds, DRAIN_SECONDS))
        if max(size, received) > limit:
            raise _too_large(limit)
        if full is not None:
            raise full
    except TimeoutError:
        raise full or Refusal(
            Code.TOO_SLOW, f"the body did not arrive within {seconds:g} s; send smaller pictures", _CLOSE
        ) from None
    except ClientDisconnect:
        raise Refusal(Code.NOT_JSON, "the connection ended before the body did", _CLOSE) from None
    return bytes(found)


def require_json(request: Request) -> None:
    """Refuse anything but application/json, uncompressed, in UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise Refusal(Code.WRONG_TYPE, "the body must be application/json in UTF-8; set the header Content-Type so")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(Code.WRONG_TYPE, "the body must not be compressed; leave out the header Content-Encoding")


def _too_large(limit: int) -> Refusal:
    return Refusal(
        Code.TOO_LARGE,
        f"the body is larger than the {limit} bytes that are taken; send fewer or smaller pictures (JPEG, not PNG)",
        _CLOSE,
    )
