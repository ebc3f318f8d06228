"""Asynchronous calls: accepted at once, delivered at least once, whatever happens in between."""

import json
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.api.callbacks import ATTEMPTS, LAST_RETRY, Courier, back_off
from shared.log.memory import MemoryLog
from shared.topics import Name
from tests.unit.api.conftest import Api, api_over, encounter, until


class Receiver:
    """A client's receiver that remembers what it got, and answers with the statuses it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], dict[str, str], Any]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                headers = {k.lower(): v for k, v in self.headers.items()}
                receiver.got.append((query, headers, json.loads(body)))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self._server.server_port}"
        self.url = f"http://{self.host}/answers?mine=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Generator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def api(log: MemoryLog, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Generator[Api]:
    monkeypatch.setattr("services.api.callbacks.FIRST_RETRY", 0.05)
    with api_over(log, tmp_path, callback_hosts=receiver.host) as found:
        yield found


def state(api: Api, task: str) -> str:
    return str(api.call("GET", f"/v1/tasks/{task}/status").json())


def completed(api: Api, task: str) -> bool:
    return state(api, task) == "COMPLETED"


def nobody(*_: object) -> None:
    return None


def deferred(api: Api, receiver: Receiver, method: str, path: str, body: Any = None, **query: Any) -> str:
    answer = api.call(method, path, body, callback=receiver.url, **query)
    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"taskId"}
    return str(answer.json()["taskId"])


def test_the_result_is_posted_with_transaction_and_task(api: Api, receiver: Receiver) -> None:
    task = deferred(api, receiver, "POST", "/v1/persons/p1/encounters/e1", encounter(), transactionId="t 7")
    until(lambda: state(api, task) == "COMPLETED")
    [(query, headers, body)] = receiver.got
    assert query == {"mine": "1", "transactionId": "t 7", "taskId": task}
    assert (headers["content-type"], headers["eyni-as-of"]) == ("application/json", "1")
    assert (body["personId"], body["others"]["outcome"]) == ("p1", "ENROLLED_UNIQUE")


def test_reads_are_delivered_too_and_changes_deliver_ok(api: Api, receiver: Receiver) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
    for method, path, expected in (
        ("GET", "/v1/galleries", ["visa"]),
        ("GET", "/v1/galleries/visa", [{"personId": "p1", "encounterId": "e1"}]),
        ("DELETE", "/v1/persons/p1", "OK"),
    ):
        task = deferred(api, receiver, method, path)
        until(partial(completed, api, task))
        assert receiver.got.pop()[2] == expected


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/v1/persons/p9/encounters/e9", None, 40401),
        ("DELETE", "/v1/persons/p9", None, 40401),
        ("POST", "/v1/persons", encounter(b"refuse"), 40010),
        ("POST", "/v1/persons/p1/encounters/e1", encounter(b"other"), 40901),
        ("GET", "/v1/persons/p1/encounters/e1/templates", None, 40302),
    ],
)
def test_an_error_that_was_found_out_is_delivered_as_one(
    api: Api, receiver: Receiver, method: str, path: str, body: Any, code: int
) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
    task = deferred(api, receiver, method, path, body)
    until(lambda: state(api, task) == "COMPLETED")
    [(_, headers, error)] = receiver.got
    assert headers["content-type"] == "application/error+json"
    assert error["code"] == code


def test_what_is_wrong_at_sight_is_refused_at_once(api: Api, receiver: Receiver) -> None:
    answer = api.call("POST", "/v1/persons", {}, callback=receiver.url)
    assert answer.status_code == 400
    elsewhere = api.call("GET", "/v1/galleries", callback="http://169.254.169.254/")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, 40006)
    assert receiver.got == []


def test_the_same_again_is_delivered_again(api: Api, receiver: Receiver) -> None:
    tasks = [deferred(api, receiver, "POST", "/v1/persons/p1/encounters/e1", encounter()) for _ in range(3)]
    for task in tasks:
        until(partial(completed, api, task))
    bodies = [json.dumps(body) for _, _, body in receiver.got]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


def test_before_the_decision_a_task_is_pending_even_without_a_matcher(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(api.desk.follower), "ready", nobody)
    api.pipeline.paused.set()
    task = deferred(api, receiver, "POST", "/v1/persons", encounter())
    assert state(api, task) == "PENDING"
    # Asked for before there is anything: it will come.
    assert api.call("POST", f"/v1/tasks/{task}/redeliver").status_code == 204
    api.pipeline.paused.clear()
    until(lambda: state(api, task) == "COMPLETED")


def test_an_identification_that_nobody_waits_for_goes_behind_those_that_somebody_does(
    api: Api, receiver: Receiver
) -> None:
    body: dict[str, Any] = {"filter": {}, "biometricData": encounter()["biometricData"]}
    for priority, topic in ((None, Name.CAPTURES_BULK), (5, Name.CAPTURES_URGENT)):
        query: dict[str, Any] = {} if priority is None else {"priority": priority}
        before = ends(api, topic)
        assert api.call("POST", "/v1/identify/ALL", body, callback=receiver.url, **query).status_code == 202
        assert ends(api, topic) == before + 1


def ends(api: Api, topic: Name) -> int:
    return sum(span.end for span in api.log.spans(topic).values())


def test_a_receiver_that_fails_is_tried_again(api: Api, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 404]
    task = deferred(api, receiver, "GET", "/v1/galleries")
    until(lambda: state(api, task) == "COMPLETED")
    assert len(receiver.got) == 4
    assert len({json.dumps(body) for _, _, body in receiver.got}) == 1


def test_after_the_last_try_the_client_asks_for_redelivery(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.callbacks.ATTEMPTS", 2)
    receiver.statuses = [500, 500]
    task = deferred(api, receiver, "GET", "/v1/galleries")
    until(lambda: state(api, task) == "RESPONSE_ERROR")
    assert len(receiver.got) == 2
    assert api.call("POST", f"/v1/tasks/{task}/redeliver").status_code == 204
    until(lambda: state(api, task) == "COMPLETED")
    assert len(receiver.got) == 3


def test_only_the_client_whose_task_it_is_may_ask_about_it(api: Api, receiver: Receiver) -> None:
    task = deferred(api, receiver, "GET", "/v1/galleries")
    assert api.call("GET", f"/v1/tasks/{task}/status", client="other").status_code == 404
    assert api.call("POST", f"/v1/tasks/{task}/redeliver", client="other").status_code == 404


def test_a_restart_delivers_what_was_accepted_before(log: MemoryLog, tmp_path: Path, receiver: Receiver) -> None:
    with api_over(log, tmp_path, callback_hosts=receiver.host) as first:
        first.pipeline.paused.set()
        task = deferred(first, receiver, "POST", "/v1/persons/p1/encounters/e1", encounter())
    assert receiver.got == []
    with api_over(log, tmp_path, callback_hosts=receiver.host) as second:
        until(lambda: state(second, task) == "COMPLETED")
    assert receiver.got[0][2]["personId"] == "p1"


def test_a_delivery_that_died_under_way_is_due_again_after_its_lease(api: Api, receiver: Receiver) -> None:
    now = datetime.now(UTC)
    task = deferred(api, receiver, "GET", "/v1/galleries")
    until(lambda: state(api, task) == "COMPLETED")
    api.desk.tasks.redeliver(task, now + timedelta(days=1))
    # Somebody claimed it, a day on, and was never heard of again.
    later = now + timedelta(days=1, seconds=1)
    [claimed] = api.desk.tasks.claim_due(later, 30, 1)
    assert claimed.task_id == task
    courier = Courier(api.desk.registry, api.desk.tasks, api.desk.egress, now=lambda: later + timedelta(seconds=29))
    overdue = Courier(api.desk.registry, api.desk.tasks, api.desk.egress, now=lambda: later + timedelta(seconds=31))
    try:
        courier.run_once()
        assert len(receiver.got) == 1
        overdue.run_once()
        until(lambda: len(receiver.got) == 2)
    finally:
        courier.close()
        overdue.close()


def test_tries_come_ever_later_and_end() -> None:
    waits = [back_off(n, lambda: 1.0) for n in range(1, ATTEMPTS)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
    assert back_off(1, lambda: 0.0) == 1.0
    assert back_off(ATTEMPTS) is None
    assert max(w or 0 for w in waits) <= LAST_RETRY


def test_a_picture_behind_a_listed_address_is_fetched(log: MemoryLog, tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/face" else 404)
            self.end_headers()
            self.wfile.write(b"a face")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    host = f"localhost:{server.server_port}"
    try:
        with api_over(log, tmp_path, image_hosts=host) as api:
            body = encounter()
            body["biometricData"] = [{"biometricType": "FACE", "imageRef": f"http://{host}/face"}]
            assert api.call("POST", "/v1/persons/p1/encounters/e1", body).status_code == 200
            sent = {"biometricData": encounter(b"a face")["biometricData"]}
            assert api.call("POST", "/v1/verify/visa/p1", sent).json()["decision"] is True
            body["biometricData"][0]["imageRef"] = f"http://{host}/gone"
            missing = api.call("POST", "/v1/persons", body)
            assert (missing.status_code, missing.json()["code"]) == (400, 40003)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
