"""How many connections there are, and how long each may take for what it does.

uvicorn's own protocol has a time-out for kept connections only: one that sends nothing, or half a request line, stays
for ever, and so does one that never reads. And asyncio accepts until the process has no file descriptors left, for
database and log neither, and then writes a traceback for each try. So here every state of a connection has a deadline,
and at the cap the connection that has waited longest without asking anything makes room: whoever asks is served,
however many are silent. There is no cap for an address, because behind a proxy all have one.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.api.answers import refused
from services.api.errors import Code, Refusal
from services.api.limits import BODY_SECONDS
from shared.logs import logger

HEAD_SECONDS: Final = 10.0
"""From a connection's begin, or a request's first byte, to the end of its headers: one packet in most cases. nginx has
60 (client_header_timeout), Apache 20 to 40 (mod_reqtimeout); stations are few hops away."""

KEEP_SECONDS: Final = 65.0
"""A connection that was answered waits so long for the next request: above a proxy's usual 60 s, so that it is the
proxy who closes idle connections."""

UNREAD_SECONDS: Final = 60.0
"""In which a client has to read its answer: as long as it has to send a body. A gallery's longest page is 0.5 MB, 16 MB
with the longest ids."""

HEAD_BYTES: Final = 16 * 1024
"""Of a request line with its headers, or of what follows a chunked body; h11 and nginx stop there too. 4,000 headers
fit, which take some 20 ms; 12,000 in one packet took 0.1 s of everybody's time."""

CHUNKS: Final = 1_000
CHUNK_BYTES: Final = 256
"""A chunked body may come in so many chunks, and in one more for so many bytes: each takes 50 µs of the event loop,
whatever it holds, and four senders of one-byte chunks, without a token, kept /healthz from answering for 9 s. Clients
send chunks of 4 KB and more (curl 64 KB, Java 4 KB)."""

_SLICE: Final = 8 * 1024
"""Bytes that are read at a time, of up to 256 KB that asyncio hands over: h11 has no limit for a head that is whole."""

HEADROOM: Final = 32
"""Connections beyond the cap on requests, so that those who ask for health or hear "busy" find one."""

ACCEPT_AGAIN: Final = 0.2
"""Seconds until the next try after the system had no descriptor or memory for one more connection."""

SAID_SECONDS: Final = 60.0
"""Between two log lines about that."""

_log: Final = logger("api")


class Book:
    """All connections of a server. Those that no request is under way on are kept in the order in which they wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Most connections, `HEADROOM` included."""
        self.all: set[Connection] = set()
        self._fresh: dict[Connection, None] = {}
        self._kept: dict[Connection, None] = {}

    def waits(self, connection: "Connection") -> None:
        """Note that nothing is under way on a connection."""
        waiting = self._kept if connection.asked else self._fresh
        waiting.setdefault(connection)

    def works(self, connection: "Connection") -> None:
        """Note that a request is under way, or that the connection is gone."""
        self._fresh.pop(connection, None)
        self._kept.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has waited longest, those first that never asked anything; False if all work."""
        for waiting in (self._fresh, self._kept):
            for connection in waiting:
                connection.drop()
                return True
        return False

    def sweep(self, now: float) -> None:
        """Close what is past its deadline. Call it once a second or so; `now` is the loop's time."""
        for connection in list(self.all):
            connection.check(now)


class _Reader(h11.Connection):
    """h11, but for how many chunks a body may come in."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_BYTES)
        self._chunks = 0
        self._bytes = 0
        self.objection = "the request is no HTTP that can be read; nothing of it was done"
        """What is wrong, once `next_event` has raised."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what came next. Raises h11.RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks, self._bytes = 0, 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._bytes += len(event.data)
            if self._chunks > CHUNKS + self._bytes // CHUNK_BYTES:
                self.objection = (
                    f"the body comes in more than {CHUNKS} chunks of fewer than {CHUNK_BYTES} bytes; send larger chunks"
                    ", or no chunks but Content-Length"
                )
                raise h11.RemoteProtocolError(self.objection)
        return event


class Connection(H11Protocol):
    """One connection, with a deadline for whatever it waits for."""

    def __init__(self, book: Book, config: Config, state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, state, app_state)
        self.conn = self._reader = _Reader()
        self._book = book
        self._deadline = 0.0
        self._begun = False
        self._unread_since: float | None = None
        self.asked = False
        """Whether a whole request ever came."""

    # ---- asyncio's and uvicorn's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._book.all.add(self)
        self._deadline = self.loop.time() + HEAD_SECONDS
        super().connection_made(transport)
        self._book.waits(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._book.all.discard(self)
        self._book.works(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _SLICE])

    def handle_events(self) -> None:
        super().handle_events()
        if self._request is not None:
            self.asked = True
            self._begun = False
            self._book.works(self)
        elif not self._begun and self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            # The first bytes of a request: more of them, one by one, move the deadline no further.
            self._begun = True
            self._deadline = min(self._deadline, self.loop.time() + HEAD_SECONDS)

    def on_response_complete(self) -> None:
        # Who was refused may still be sending a body, which is thrown away.
        sending = self.conn.their_state is h11.SEND_BODY
        self._deadline = self.loop.time() + (BODY_SECONDS if sending else KEEP_SECONDS)
        self._book.waits(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._end(Refusal(Code.WRONG_SHAPE, self._reader.objection))

    # ---- the book's

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The request under way; None before, between and after requests."""
        # uvicorn's type leaves out that there is none at first.
        last = cast(RequestResponseCycle | None, self.cycle)
        return None if last is None or last.response_complete else last

    def check(self, now: float) -> None:
        """Close the connection where its deadline is over."""
        if self.transport.get_write_buffer_size() == 0:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > UNREAD_SECONDS:
            self.drop()
        if self._request is not None or now <= self._deadline or self.transport.is_closing():
            return
        if self._begun:
            self._end(Refusal(Code.TOO_SLOW, f"the headers did not arrive within {HEAD_SECONDS:g} s"))
        else:
            self.transport.close()

    def drop(self) -> None:
        """Close the connection at once, whatever is still to be sent."""
        self._book.works(self)
        self.transport.abort()

    def _end(self, refusal: Refusal) -> None:
        """Answer what never became a request, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = refused(refusal)
            phrase = {400: "Bad Request", 408: "Request Timeout"}[answer.status]
            lines = (
                f"HTTP/1.1 {answer.status} {phrase}",
                f"Content-Type: {answer.content_type}",
                f"Content-Length: {len(answer.body)}",
                "Connection: close",
            )
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
        self.transport.close()


class Listener:
    """Accepts connections, one after another, until it is closed."""

    def __init__(self, sock: socket.socket, book: Book, connection: Callable[[], Connection]) -> None:
        self._sock = sock
        self._book = book
        self._connection = connection
        self._said = float("-inf")
        sock.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._accept())

    @property
    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def check(self) -> None:
        """Raise what ended the accepting, if anything did."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()
            raise RuntimeError("the HTTP server accepts no connections any more")

    def close(self) -> None:
        self._task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock = await self._sock_accept()
            except OSError as error:
                # No descriptor, no memory, or a client who hung up already: nothing that another try would not mend.
                await self._wait(loop, error)
                continue
            try:
                if len(self._book.all) >= self._book.most and not self._book.make_room():
                    sock.close()
                else:
                    await loop.connect_accepted_socket(self._connection, sock)
            except OSError:
                sock.close()
            await asyncio.sleep(0)  # what was closed is gone, and others had their turn

    async def _sock_accept(self) -> socket.socket:
        sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
        return sock

    async def _wait(self, loop: asyncio.AbstractEventLoop, error: OSError) -> None:
        self._book.make_room()
        if loop.time() - self._said > SAID_SECONDS:
            self._said = loop.time()
            _log.warning(
                "a connection could not be accepted; trying again", error=error.strerror, open=len(self._book.all)
            )
        await asyncio.sleep(ACCEPT_AGAIN)
