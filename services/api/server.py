"""The HTTP server: its port, its limits, what it answers before the application is there, or where it has too much."""

import resource
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.answers import Answer, as_json, refused
from services.api.connections import HEADROOM, KEEP_SECONDS, Book, Connection, Listener
from services.api.errors import Code, Refusal
from services.api.routing import log_unavailable, respond
from shared.background import Background, Tell
from shared.logs import logger
from shared.ports import listen
from shared.settings import Settings

GRACE: Final = 20
"""Seconds that calls in progress have to end once the process is told to stop (reliability.md, R33)."""

DESCRIPTORS: Final = 8192
"""What the soft limit of file descriptors is raised to where the system lets us. Shells give 1,024, of which select()
is the reason, which nobody here calls; systemd's hard limit is 524,288."""

KEPT_BACK: Final = 256
"""Descriptors that connections never get: 50 database connections of up to three files each, log, callbacks."""

ALWAYS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/version"})
"""Served however much is under way: who looks after this process must not find it dead because it is busy."""

_log = logger("api")


class Front:
    """What the HTTP server calls: 503 until the application is there, and where too many requests are under way."""

    def __init__(self) -> None:
        self._app: ASGIApp = _not_yet
        self._under_way = 0
        self.most = 1
        """Most requests at a time but those for `ALWAYS`."""
        self.drain: Callable[[], None] = lambda: None

    def open(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (answer := self._turned_away(scope)) is not None:
            await respond(answer)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _turned_away(self, scope: Scope) -> Answer | None:
        close = {"Connection": "close"}
        if _framed_twice(scope):
            # RFC 9112, 6.1: a proxy may have read one length and we another, and what follows is not a request.
            text = "headers: Content-Length and Transfer-Encoding contradict each other; send one of them"
            return refused(Refusal(Code.WRONG_SHAPE, text, close))
        if self._under_way >= self.most and scope["path"] not in ALWAYS:
            text = f"{self._under_way} requests are under way, and no more are taken; nothing was accepted. Send again"
            return refused(Refusal(Code.BUSY, text, close))
        return None


def _framed_twice(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0")


async def _not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    alive = scope["path"] == "/healthz"
    answer = as_json(200, {"alive": True}) if alive else refused(log_unavailable())
    await respond(answer)(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn, but for how it accepts connections and how long it keeps them."""

    def __init__(self, config: uvicorn.Config, sock: socket.socket, book: Book) -> None:
        super().__init__(config)
        self._sock = sock
        self._book = book

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        def connection() -> Connection:
            return Connection(self._book, self.config, self.server_state, cast(dict[str, Any], self.lifespan.state))

        await self.lifespan.startup()
        self._listener = Listener(self._sock, self._book, connection)
        self.servers = [cast(Any, self._listener)]  # it is closed and waited for, no more
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        self._listener.check()
        if counter % 10 == 0:  # a tick is 0.1 s
            self._book.sweep(self._listener.now)
        return await super().on_tick(counter)


@contextmanager
def listening(settings: Settings, front: Front, failed: Callable[[BaseException], None]) -> Generator[int]:
    """Serve HTTP from a thread of its own; hand out the port. At the end, calls in progress have time to end."""
    most = most_connections(settings.connections)
    front.most = most - HEADROOM
    config = uvicorn.Config(
        front,
        lifespan="off",
        ws="none",  # whatever else is installed here
        log_config=None,
        # Below an error it tells of each bad request, in lines that are not ours.
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(KEEP_SECONDS),
        timeout_graceful_shutdown=GRACE,
    )
    sock = _bound(settings)
    server = _Server(config, sock, Book(most))

    def serve() -> None:
        server.run(sockets=[sock])
        if not server.should_exit:
            raise RuntimeError("the HTTP server ended by itself")

    def drain() -> None:
        server.should_exit = True
        thread.join()

    thread = Background("http", serve, Tell(failed))
    front.drain = drain
    host, port = sock.getsockname()[:2]
    try:
        # Signals are the caller's: in a thread, uvicorn leaves them alone.
        thread.start()
        _log.info("listening", url=f"http://{host}:{port}")
        yield port
    finally:
        drain()
        sock.close()


def most_connections(wanted: int) -> int:
    """Return how many connections there may be, `HEADROOM` included: below the descriptors of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        raised = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    room = DESCRIPTORS if soft == resource.RLIM_INFINITY else soft - min(KEPT_BACK, soft // 2)
    if room < wanted + HEADROOM:
        _log.warning("fewer connections than EYNI_CONNECTIONS: the limit of open files is low", limit=soft, taken=room)
    return max(min(wanted + HEADROOM, room), HEADROOM + 1)


def _bound(settings: Settings) -> socket.socket:
    """Take the port, or say which setting to change: another server there would answer in our name."""
    sock = listen(settings.api_host, settings.api_port, "EYNI_API_HOST", "EYNI_API_PORT", backlog=1024)
    # An answer is written in two parts; without this the second waits 40 ms for the first to be acknowledged. Accepted
    # sockets inherit it (Linux, macOS); asyncio sets it itself only on sockets that name their protocol.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
