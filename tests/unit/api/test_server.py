"""The real server on a real port: bodies that abuse it, health, metrics, start and stop."""

import http.client
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.api import bootstrap
from services.api.server import Front, listening
from services.api.tokens import SCOPES, mint
from shared.gallery_log import WrongModel
from shared.log import LogUnavailable
from shared.log.file import FileLog
from shared.log.memory import MemoryLog
from shared.settings import Settings
from shared.topics import TOPICS, Name, entry
from tests.facts import enrolled, template
from tests.unit.api.conftest import Api, api_over, encounter, new_log, until


def samples_of(text: str, name: str) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Api, int]]:
    folder = tmp_path_factory.mktemp("api")
    with api_over(new_log(), folder, body_limit=12 * 2**20) as api:
        front = Front()
        front.open(api.app)
        chosen = Settings(data=folder, log="memory:", api_port=0)
        with listening(chosen, front, _fails) as port:
            yield api, port


def raw(port: int, *parts: bytes) -> bytes:
    """Send bytes as they are, and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with suppress(ConnectionError):  # the server may have seen enough
            for part in parts:
                connection.sendall(part)
        found = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                found += part
                if b"\r\n\r\n" in found and found.endswith(b"}"):
                    break
        return found


def head(api: Api, *lines: str) -> bytes:
    start = ["POST /v1/persons?transactionId=t HTTP/1.1", "Host: x", f"Authorization: Bearer {api.token()}", *lines]
    return "\r\n".join([*start, "", ""]).encode()


def test_a_body_of_50_megabytes_is_refused(server: tuple[Api, int]) -> None:
    api, port = server
    body = json.dumps(encounter(bytes(37_000_000))).encode()
    assert len(body) > 49_000_000
    answer = raw(port, head(api, "Content-Type: application/json", f"Content-Length: {len(body)}"), body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":41301' in answer
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_a_chunked_body_without_end_is_cut_off(server: tuple[Api, int]) -> None:
    api, port = server
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    answer = raw(
        port, head(api, "Content-Type: application/json", "Transfer-Encoding: chunked"), *[chunk for _ in range(70)]
    )
    # Cut off while still sending: whoever sends on may lose the answer with the connection.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_that_is_too_large_is_told_so(server: tuple[Api, int]) -> None:
    api, port = server
    chunks = [b"100000\r\n" + bytes(0x100000) + b"\r\n" for _ in range(20)]
    start = head(api, "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert raw(port, start, *chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["5", "-1", "abc", "1e3", "99999999999999999999999"])
def test_a_lying_content_length_gets_nothing_done(server: tuple[Api, int], length: str) -> None:
    api, port = server
    answer = raw(port, head(api, "Content-Type: application/json", f"Content-Length: {length}"), b'{"a":1} and more')
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


def test_a_body_that_drips_is_cut_off(server: tuple[Api, int], monkeypatch: pytest.MonkeyPatch) -> None:
    api, port = server
    monkeypatch.setattr("services.api.routing.BODY_SECONDS", 0.3)
    answer = raw(port, head(api, "Content-Type: application/json", "Content-Length: 100"), b"{")
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Type: text/plain",),
        ("Content-Type: application/xml",),
        ("Content-Type: application/json; charset=utf-16",),
        ("Content-Type: application/json", "Content-Encoding: gzip"),
        (),
    ],
)
def test_what_is_not_plain_json_is_415(server: tuple[Api, int], lines: tuple[str, ...]) -> None:
    api, port = server
    answer = raw(port, head(api, *lines, "Content-Length: 2"), b"{}")
    assert answer.startswith(b"HTTP/1.1 415 ")


def test_headers_are_bounded(server: tuple[Api, int]) -> None:
    api, port = server
    answer = raw(port, head(api, f"X: {'x' * 200_000}", "Content-Length: 2"), b"{}")
    assert answer.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_a_strange_transaction_id_comes_back_as_a_lawful_header(server: tuple[Api, int]) -> None:
    api, port = server
    headers = {"Authorization": f"Bearer {api.token()}"}
    for name in ("№ 7 ☃", 'a"b', "a%b", " padded "):
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/galleries", params={"transactionId": name}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["Eyni-Transaction"].isascii()


def test_answers_on_a_kept_connection_do_not_wait_for_the_client_to_acknowledge(server: tuple[Api, int]) -> None:
    _, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port)
    seconds: list[float] = []
    with closing(connection):
        for _ in range(40):
            started = time.perf_counter()
            connection.request("GET", "/version")
            connection.getresponse().read()
            seconds.append(time.perf_counter() - started)
    # Nagle's algorithm against a delayed acknowledgement costs 40 ms; an answer takes one or two.
    assert statistics.median(seconds) < 0.02


def test_health_version_and_readiness_are_open(server: tuple[Api, int]) -> None:
    _, port = server
    url = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{url}/healthz").json() == {"alive": True}
    assert httpx.get(f"{url}/readyz").json()["ready"] is True
    assert httpx.get(f"{url}/version").json()["osiaAbis"] == "1.6.0"
    assert httpx.get(f"{url}/docs").status_code == 404


def test_accepted_is_the_sum_of_outcomes_and_those_in_flight(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    api.call("POST", "/v1/persons/p2/encounters/e1", encounter(b"one"))
    api.call("POST", "/v1/persons", encounter(b"refuse"))
    api.call("DELETE", "/v1/persons/p2")  # no capture
    api.pipeline.paused.set()
    waiting = threading.Thread(target=api.call, args=("POST", "/v1/persons", encounter(b"two")))
    waiting.start()
    until(lambda: sum(s.end for s in api.log.spans(Name.CAPTURES_BULK).values()) == 4)
    text = api.client.get("/metrics").text
    api.pipeline.paused.clear()
    waiting.join()
    outcomes = samples_of(text, "eyni_captures_outcomes")
    assert samples_of(text, "eyni_captures_accepted") == {"eyni_captures_accepted": 4.0}
    assert samples_of(text, "eyni_captures_in_flight") == {"eyni_captures_in_flight": 1.0}
    assert {k: v for k, v in outcomes.items() if v} == {
        'eyni_captures_outcomes{outcome="enrolled_unique"}': 1.0,
        'eyni_captures_outcomes{outcome="enrolled_suspect"}': 1.0,
        'eyni_captures_outcomes{outcome="refused"}': 1.0,
    }
    assert 'eyni_lag_records{group="match-gallery",topic="gallery"}' in text
    assert 'eyni_responses_total{operation="deleteAll",status="204"}' in text


def test_it_serves_503_until_the_log_takes_records_and_ends_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log()
    away = threading.Event()
    append = log.append

    def sometimes(*args: Any, **rest: Any) -> Any:
        if not away.is_set():
            raise LogUnavailable("broker away")
        return append(*args, **rest)

    monkeypatch.setattr(log, "append", sometimes)
    monkeypatch.setattr(bootstrap, "open_log", _opens(log))
    monkeypatch.setattr(bootstrap, "BACK_OFF", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(data=tmp_path, log="memory:", api_port=port)
    stop = threading.Event()
    thread = threading.Thread(target=bootstrap.run, args=(settings, stop))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    until(lambda: _status(f"{url}/healthz") == 200)
    answer = httpx.get(f"{url}/v1/galleries")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, 50301, "5")
    assert _status(f"{url}/readyz") == 503
    away.set()
    token = mint(tmp_path, SCOPES, client="me", issuer="eyni-development", audience="eyni")
    headers = {"Authorization": f"Bearer {token}"}
    until(lambda: _status(f"{url}/v1/galleries?transactionId=t", headers) == 200)
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert _status(f"{url}/healthz") == 0


def test_a_port_that_is_taken_is_told_by_its_number_and_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "open_log", _opens(new_log()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"^EYNI_API_PORT: .*{port}"):
            bootstrap.run(Settings(data=tmp_path, log="memory:", api_port=port), threading.Event())


def test_an_address_that_is_none_of_this_machine_is_told_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "open_log", _opens(new_log()))
    settings = Settings(data=tmp_path, log="memory:", api_host="192.0.2.1", api_port=0)
    with pytest.raises(ValueError, match=r"^EYNI_API_HOST"):
        bootstrap.run(settings, threading.Event())


def test_what_ends_the_follower_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(MemoryLog):
        def read(self, topic: Name, start: object) -> Any:
            raise RuntimeError("a bug")

    log = Broken()
    monkeypatch.setattr(bootstrap, "open_log", _opens(log))
    with pytest.raises(RuntimeError, match="a bug"):
        bootstrap.run(Settings(data=tmp_path, log="memory:", api_port=0), threading.Event())


def test_a_call_under_way_is_answered_before_the_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_over(new_log(), tmp_path) as api:
        front = Front()
        front.open(api.app)
        api.pipeline.paused.set()
        with listening(
            Settings(data=tmp_path, log="memory:", api_port=0), front, lambda error: pytest.fail(str(error))
        ) as port:
            found: list[httpx.Response] = []

            def send() -> None:
                found.append(
                    httpx.post(
                        f"http://127.0.0.1:{port}/v1/persons?transactionId=t",
                        json=encounter(),
                        headers={"Authorization": f"Bearer {api.token()}"},
                    )
                )

            thread = threading.Thread(target=send)
            thread.start()
            until(lambda: len(api.desk.waiting) == 1)
            threading.Timer(0.3, api.pipeline.paused.clear).start()
            front.drain()
            thread.join()
        assert found[0].status_code == 200


def test_an_unusable_key_file_is_named_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("{}")
    for path in (tmp_path / "none", tmp_path / "missing"):
        with pytest.raises(ValueError, match="EYNI_TOKEN_KEYS"):
            bootstrap.verifier(Settings(data=tmp_path, log="memory:", token_keys=path))


def _opens(log: MemoryLog) -> Callable[..., MemoryLog]:
    def open_log(*_: object) -> MemoryLog:
        return log

    return open_log


def _fails(error: BaseException) -> None:
    pytest.fail(str(error))


def _status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        return httpx.get(url, headers=headers, timeout=5).status_code
    except httpx.TransportError:
        return 0


def test_an_api_whose_log_is_another_models_gallery_does_not_start(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log")
    log.ensure(list(TOPICS.values()))
    log.append([entry(enrolled(1, "ada", [template(1)]))])
    log.close()
    with pytest.raises(WrongModel, match="of model test-model"):
        bootstrap.run(Settings(data=tmp_path, api_port=0), threading.Event())
