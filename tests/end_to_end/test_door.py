"""What strangers and clients can send at the door of the real system, and who is served meanwhile."""

import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import tests.end_to_end.system as systems
from tests.end_to_end.system import EYNI, System


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system whose processes may have 256 files open each."""
    monkeypatch.setattr(systems, "EYNI", ["/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"', *EYNI])
    return System(tmp_path / "data")


def test_silent_connections_neither_stop_the_api_nor_fill_its_log(narrow: System) -> None:
    with narrow as system, ExitStack() as all_of_them:
        log = system.folder / "up.log"
        before = log.stat().st_size
        for sent in [b"", b"GET /healthz HT"] * 200:
            with suppress(OSError):
                connection = all_of_them.enter_context(
                    socket.create_connection(("127.0.0.1", system.ports[0]), timeout=10)
                )
                connection.sendall(sent)
        for _ in range(3):
            started = time.monotonic()
            assert system.get("/healthz", token=None).status == 200
            assert system.get("/v1/galleries?transactionId=t").status == 200
            assert time.monotonic() - started < 5
        assert log.stat().st_size - before < 10_000
        assert "Traceback" not in log.read_text()


def test_millions_of_values_in_a_body_keep_nobody_waiting(tmp_path: Path) -> None:
    with System(tmp_path / "data") as system:
        body = b'{"status":"ACTIVE","biographicData":{"a":[' + b",".join([b"{}"] * 3_900_000) + b"]}}"
        statuses: list[int] = []

        def send() -> None:
            statuses.append(system.call("POST", "/v1/persons?transactionId=t", body).status)

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        worst = 0.0
        while any(sender.is_alive() for sender in senders):
            started = time.monotonic()
            assert system.get("/healthz", token=None).status == 200
            worst = max(worst, time.monotonic() - started)
        assert set(statuses) <= {413, 429}
        assert worst < 3  # it was 17 s; alone on a machine it is 0.1 s
