"""Connections that send nothing, little, or never read: each has a deadline, and none keeps others out."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.api import connections
from services.api.server import Front, listening, most_connections
from shared.settings import Settings
from tests.unit.api.conftest import Api, api_over, new_log, until

Serve = Callable[..., int]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Api, Callable[..., Any]]]:
    """One api, and what serves it on a port with given limits until the end of `with`."""
    folder = tmp_path_factory.mktemp("api")
    with api_over(new_log(), folder) as api:

        def serve(**limits: Any) -> Any:
            front = Front()
            front.open(api.app)
            return listening(Settings(data=folder, log="memory:", api_port=0, **limits), front, _fails)

        yield api, serve


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(sent)
    return connection


def read(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    found = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def answer(connection: socket.socket) -> bytes:
    """Return one answer with a small body in JSON."""
    found = b""
    while not found.endswith(b"}"):
        found += connection.recv(1000)
    return found


def gone(connection: socket.socket, sent: bytes) -> bool:
    """Send some more, and tell whether the other side has closed."""
    try:
        connection.sendall(sent)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


def ask(port: int, path: str = "/healthz", **rest: Any) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10, **rest).status_code


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"G", b"HTTP/1.1 408 "),
        (GET, b"HTTP/1.1 408 "),
        (GET + b"\r\n" + GET, b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "half a line", "half the headers", "half the headers of a second request"],
)
def test_what_never_becomes_a_request_is_closed(
    serving: tuple[Api, Any], monkeypatch: pytest.MonkeyPatch, sent: bytes, answered: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving[1]() as port, connect(port, sent) as connection:
        assert answered in read(connection)
        assert ask(port) == 200


def test_headers_that_trickle_are_cut_off(serving: tuple[Api, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving[1]() as port, connect(port, GET) as connection:
        started = time.monotonic()
        connection.settimeout(0.05)
        answer = b""
        while not answer and time.monotonic() - started < 10:
            with suppress(TimeoutError, ConnectionError):
                connection.sendall(b"X: y\r\n")
                answer = connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_was_answered_is_kept_and_then_closed(
    serving: tuple[Api, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "KEEP_SECONDS", 2.5)
    with serving[1]() as port, connect(port, GET + b"\r\n") as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(1.5)  # longer than headers may take
        connection.sendall(GET + b"\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
        assert read(connection) == b""


def test_a_body_that_trickles_on_after_its_refusal_is_cut_off(
    serving: tuple[Api, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.3)
    head = b"POST /v1/persons?transactionId=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with serving[1]() as port, connect(port, head) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
        until(lambda: gone(connection, b"x"))


def test_an_answer_that_nobody_reads_is_given_up(serving: tuple[Api, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    with serving[1]() as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1)
        connection.connect(("127.0.0.1", port))
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(asked * 300)  # their answers, 80 KB each, fill every buffer on the way
        until(lambda: gone(connection, b"x"))
        assert ask(port) == 200


# ---- many


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", GET + b"\r\n"], ids=["silent", "half", "asked once, kept"])
def test_many_connections_that_ask_nothing_keep_nobody_out(serving: tuple[Api, Any], sent: bytes) -> None:
    api, serve = serving
    headers = {"Authorization": f"Bearer {api.token()}"}
    with serve(connections=10) as port, ExitStack() as all_of_them:
        for _ in range(120):
            with suppress(ConnectionError):
                all_of_them.enter_context(connect(port, sent))
        for _ in range(5):
            assert ask(port) == 200
            assert ask(port, "/v1/galleries?transactionId=t", headers=headers) == 200


def test_health_is_told_while_as_many_requests_are_under_way_as_may_be(tmp_path: Path) -> None:
    released = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        import anyio

        while scope["path"] == "/slow" and not released.is_set():
            await anyio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    front = Front()
    front.open(slow)
    with listening(Settings(data=tmp_path, log="memory:", api_port=0, connections=5), front, _fails) as port:
        with ExitStack() as all_of_them:
            busy = [
                all_of_them.enter_context(connect(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")) for _ in range(5)
            ]
            until(lambda: ask(port, "/other") == 503)
            answer = httpx.get(f"http://127.0.0.1:{port}/other")
            assert (answer.json()["code"], answer.headers["Retry-After"]) == (50304, "5")
            for _ in range(100):  # silent ones beside
                all_of_them.enter_context(connect(port))
            assert ask(port) == 200
            released.set()
            assert all(one.recv(100).startswith(b"HTTP/1.1 200 ") for one in busy)  # nobody who asked was cut off
        until(lambda: ask(port, "/other") == 200)


def test_without_descriptors_it_says_so_once_and_serves_again(
    serving: tuple[Api, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ACCEPT_AGAIN", 0.05)
    accept = connections.Listener._sock_accept  # pyright: ignore[reportPrivateUsage]
    tries = 0

    async def out_of_them(self: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise OSError(24, "Too many open files")
        return await accept(self)

    monkeypatch.setattr(connections.Listener, "_sock_accept", out_of_them)
    with serving[1]() as port:
        assert ask(port) == 200
    said = capsys.readouterr()
    assert (said.out + said.err).count("could not be accepted") == 1
    assert "Traceback" not in said.out + said.err


def test_connections_stay_below_the_descriptors_of_the_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_connections(10**6)
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised >= soft
    assert most <= raised - 256
    assert most_connections(100) == 132


# ---- what takes long to read


POST = b"POST /v1/verify/ALL/p?transactionId=t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


def with_token(api: Api) -> bytes:
    return f"Authorization: Bearer {api.token()}\r\n\r\n".encode()


def test_a_body_in_very_many_small_chunks_is_refused(serving: tuple[Api, Any]) -> None:
    api, serve = serving
    with serve() as port, connect(port, CHUNKED + with_token(api)) as connection:
        started = time.process_time()
        with suppress(ConnectionError):
            connection.sendall(b"1\r\n \r\n" * 100_000)
        found = read(connection)
        assert time.process_time() - started < 2.0  # 100,000 of them took 5 s, in which nobody else was answered
        assert ask(port) == 200
    assert found.startswith(b"HTTP/1.1 400 ") or not found  # a reset may overtake the answer


def test_who_sends_very_many_small_chunks_hears_why(serving: tuple[Api, Any]) -> None:
    api, serve = serving
    with serve() as port, connect(port, CHUNKED + with_token(api)) as connection:
        connection.sendall(b"1\r\n \r\n" * (connections.CHUNKS + 10))
        found = read(connection)
    assert found.count(b"HTTP/1.1 ") == 1
    assert b"send larger chunks" in found


@pytest.mark.parametrize(("size", "times"), [(1, 900), (300, 5_000), (4096, 2_500)])
def test_a_body_in_chunks_that_hold_something_is_read(serving: tuple[Api, Any], size: int, times: int) -> None:
    api, serve = serving
    with serve() as port, connect(port, CHUNKED + with_token(api)) as connection:
        connection.sendall((b"%x\r\n" % size + b" " * size + b"\r\n") * times + b"2\r\n{}\r\n0\r\n\r\n")
        assert b"biometricData: is missing" in answer(connection)


def test_what_follows_an_answer_and_is_no_http_gets_no_second_answer(serving: tuple[Api, Any]) -> None:
    with serving[1]() as port, connect(port, CHUNKED + b"\r\n") as connection:
        assert answer(connection).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"no length\r\n")
        assert read(connection) == b""


def test_headers_are_bounded_also_where_they_come_in_one_packet(serving: tuple[Api, Any]) -> None:
    for many in (b"X:\r\n" * 12_000, b"X: " + b"y" * 30_000 + b"\r\n"):
        with serving[1]() as port, connect(port, GET + many + b"\r\n") as connection:
            assert not read(connection).startswith(b"HTTP/1.1 200 ")
    with serving[1]() as port, connect(port, GET + b"X: " + b"y" * 15_000 + b"\r\n\r\n") as connection:
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


# ---- what could be read in two ways


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
def test_a_body_with_two_lengths_is_refused_and_the_connection_closed(serving: tuple[Api, Any], lines: bytes) -> None:
    smuggled = b"0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving[1]() as port:
        head = b"POST /v1/persons?transactionId=t HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n"
        with connect(port, head + smuggled) as connection:
            answer = read(connection)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_what_is_no_http_gets_an_error_in_json_and_no_log_line(
    serving: tuple[Api, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with serving[1]() as port, connect(port, b"\x16\x03\x01\x00 hello\r\n\r\n") as connection:
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":40002' in answer
    assert "Invalid" not in capfd.readouterr().err


def _fails(error: BaseException) -> None:
    pytest.fail(str(error))
