"""Asynchronous calls: accepted at once, delivered at least once, whatever happens in between."""

import json
import select
import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from services.api.callbacks import ATTEMPTS, LAST_RETRY, Courier, back_off
from services.api.tasks import Task
from shared.envelope import decode
from shared.events import CaptureReceived
from shared.log.memory import MemoryLog
from shared.topics import Name
from tests.unit.api.conftest import Api, api_over, encounter, new_log, until


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


# ---- nothing that a delivery meets ends the process, and none is in the way of others (F1)


@pytest.fixture
def anywhere(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Api]:
    monkeypatch.setattr("services.api.callbacks.FIRST_RETRY", 0.01)
    with api_over(log, tmp_path, callback_hosts="127.0.0.1:*,localhost:*", image_hosts="127.0.0.1:*") as found:
        yield found


@pytest.mark.parametrize("port", ["99999", "0", "65536", "+8290", "-1", "٣"])
def test_a_port_that_there_is_not_is_refused_at_once(anywhere: Api, port: str) -> None:
    url = f"http://127.0.0.1:{port}/"
    answer = anywhere.call("GET", "/v1/galleries", callback=url)
    assert (answer.status_code, answer.json()["code"]) == (400, 40006)
    body = encounter()
    body["biometricData"] = [{"biometricType": "FACE", "imageRef": url}]
    picture = anywhere.call("POST", "/v1/persons", body)
    assert (picture.status_code, picture.json()["code"]) == (400, 40003), picture.text


def plant(api: Api, task_id: str, callback: str) -> None:
    """Put a task into the outbox, as if an older version had accepted it."""
    now = datetime.now(UTC)
    api.desk.tasks.add(Task(task_id, None, "station-7", "readGalleries", "t", callback, now))
    assert api.desk.tasks.finish(task_id, 200, "application/json", b"[]", {}, now)


def test_a_stored_task_with_an_impossible_port_is_given_up_and_others_are_delivered(
    anywhere: Api, receiver: Receiver
) -> None:
    plant(anywhere, "poison", "http://127.0.0.1:99999/")
    task = deferred(anywhere, receiver, "GET", "/v1/galleries")
    until(lambda: completed(anywhere, task))
    until(lambda: state(anywhere, "poison") == "RESPONSE_ERROR")


@pytest.mark.parametrize(
    "unforeseen", [OverflowError("x"), ExceptionGroup("x", [OverflowError("y")]), RuntimeError("x"), KeyError("x")]
)
def test_a_delivery_that_raises_whatever_is_given_up_after_ten_attempts_and_others_go_on(
    anywhere: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, unforeseen: Exception
) -> None:
    begin = anywhere.desk.egress.begin
    tried: list[str] = []

    def odd(callback: str, *rest: Any) -> Future[None]:
        if "poison" not in callback:
            return begin(callback, *rest)
        tried.append(callback)
        failed: Future[None] = Future()
        failed.set_exception(unforeseen)
        return failed

    monkeypatch.setattr(anywhere.desk.egress, "begin", odd)
    monkeypatch.setattr("services.api.callbacks.LAST_RETRY", 0.01)
    plant(anywhere, "poison", receiver.url + "&poison")
    until(lambda: state(anywhere, "poison") == "RESPONSE_ERROR")
    assert len(tried) == ATTEMPTS
    task = deferred(anywhere, receiver, "GET", "/v1/galleries")
    until(lambda: completed(anywhere, task))


def test_a_task_whose_deliveries_end_the_process_is_given_up_too(anywhere: Api, receiver: Receiver) -> None:
    # Ten processes have claimed it, and died.
    tasks = anywhere.desk.tasks
    far = datetime.now(UTC) + timedelta(days=1)
    plant(anywhere, "deadly", receiver.url)
    until(lambda: completed(anywhere, "deadly"))
    tasks.redeliver("deadly", far)
    for n in range(ATTEMPTS):
        [claimed] = tasks.claim_due(far + timedelta(minutes=n), 1, 1)
        assert claimed.attempts == n + 1
    got = len(receiver.got)
    courier = Courier(anywhere.desk.registry, tasks, anywhere.desk.egress, now=lambda: far + timedelta(hours=1))
    courier.run_once()
    courier.close()
    assert (state(anywhere, "deadly"), len(receiver.got)) == ("RESPONSE_ERROR", got)


def test_a_task_that_cannot_be_answered_is_answered_so_and_others_go_on(
    anywhere: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    anywhere.pipeline.paused.set()
    poisoned = deferred(anywhere, receiver, "POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    sound = deferred(anywhere, receiver, "POST", "/v1/persons/p2/encounters/e1", encounter(b"two"))
    [bad] = [t.request_id for t in [anywhere.desk.tasks.get(poisoned)] if t]
    decided = type(anywhere.desk.registry).decided

    def odd(registry: Any, request_id: str) -> Any:
        if request_id == bad:
            raise RuntimeError("what nobody thought of")
        return decided(registry, request_id)

    monkeypatch.setattr(type(anywhere.desk.registry), "decided", odd)
    anywhere.pipeline.paused.clear()
    until(lambda: completed(anywhere, sound))
    until(lambda: completed(anywhere, poisoned))
    [told] = [body for query, _, body in receiver.got if query["taskId"] == poisoned]
    assert told["code"] == 50001
    assert poisoned in told["message"]


def test_an_exception_of_the_couriers_own_is_not_its_end(
    anywhere: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.background.FIRST_WAIT", 0.01)
    tasks = anywhere.desk.tasks
    claim, broken = type(tasks).claim_due, threading.Event()

    def odd(*args: Any, **rest: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise MemoryError
        return claim(*args, **rest)

    monkeypatch.setattr(type(tasks), "claim_due", odd)
    task = deferred(anywhere, receiver, "GET", "/v1/galleries")
    until(lambda: completed(anywhere, task))
    assert broken.is_set()


def test_a_receiver_that_hangs_delays_nobody_elses_callbacks(anywhere: Api, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as hanging:
        hung = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
        for n in range(300):
            plant(anywhere, f"hung-{n:03}", f"{hung}{n}")
        started = time.monotonic()
        for _ in range(5):
            task = deferred(anywhere, receiver, "GET", "/v1/galleries")
            until(partial(completed, anywhere, task))
        assert time.monotonic() - started < 5.0  # one call alone may hang for 5 s


def test_tasks_that_wait_for_another_answer_hold_up_none_behind_them(
    anywhere: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.callbacks.SENDING", 4)
    courier = Courier(anywhere.desk.registry, anywhere.desk.tasks, anywhere.desk.egress)
    answer = Courier._answer  # pyright: ignore[reportPrivateUsage]
    anywhere.pipeline.paused.set()
    waiting = [
        deferred(anywhere, receiver, "POST", f"/v1/persons/p{n}/encounters/e", encounter(f"{n}".encode()))
        for n in range(9)
    ]
    first = {t.request_id for task in waiting[:8] if (t := anywhere.desk.tasks.get(task))}

    def odd(self: Any, decision: Any) -> Any:
        return None if decision.request.request_id in first else answer(self, decision)

    monkeypatch.setattr(Courier, "_answer", odd)
    anywhere.pipeline.paused.clear()
    until(lambda: completed(anywhere, waiting[8]))
    courier.close()
    assert {state(anywhere, task) for task in waiting[:8]} == {"PENDING"}


# ---- pictures of a slow host delay only who asks for them (B10)


def test_references_to_a_slow_host_delay_nobody_elses_verifications(log: MemoryLog, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1000) as slow,
        api_over(log, tmp_path, image_hosts="127.0.0.1:*") as api,
    ):
        assert api.call("POST", "/v1/persons/p1/encounters/e1", encounter()).status_code == 200
        url = f"http://127.0.0.1:{slow.getsockname()[1]}/a.jpg"
        body: dict[str, Any] = {"filter": {}, "biometricData": [{"biometricType": "FACE", "imageRef": url}] * 6}
        with ThreadPoolExecutor(70) as clients:
            asked = [clients.submit(api.call, "POST", "/v1/identify/ALL", body, client="greedy") for _ in range(70)]
            until(lambda: len(select.select([slow], [], [], 0)[0]))
            seconds: list[float] = []
            sent = {"biometricData": encounter()["biometricData"]}
            while not all(one.done() for one in asked):
                begun = time.monotonic()
                assert api.call("POST", "/v1/verify/visa/p1", sent).json()["decision"] is True
                seconds.append(time.monotonic() - begun)
            answers = [one.result() for one in asked]
        assert sorted(seconds)[int(len(seconds) * 0.99)] <= 1.5
        assert {answer.status_code for answer in answers} <= {400, 503}
        assert {answer.json()["code"] for answer in answers} == {40003, 50304}
        # One call that waited for its turn in vain leaves nothing behind: the next one is served.
        assert api.call("POST", "/v1/identify/ALL", {**body, **sent}).status_code == 200


def test_pictures_sent_and_named_keep_their_order_and_share_a_limit(log: MemoryLog, tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path[1:].encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://localhost:{server.server_port}"
    named = [{"biometricType": "FACE", "imageRef": f"{url}/{n}"} for n in ("one", "three")]
    [two] = encounter(b"two")["biometricData"]
    try:
        with api_over(log, tmp_path, image_hosts=f"localhost:{server.server_port}") as api:
            body = encounter()
            body["biometricData"] = [named[0], two, named[1]]
            api.call("POST", "/v1/persons/p1/encounters/e1", body)
            [captured] = captures(api)
            assert [sample.image for sample in captured.samples] == [b"one", b"two", b"three"]
            data = {"biometricData1": [named[0], two], "biometricData2": [named[1]]}
            api.call("POST", "/v1/verify", data)
            compared = captures(api, Name.CAPTURES_URGENT)[-1]
            assert [s.image for s in compared.samples] == [b"one", b"two"]
            assert [s.image for s in compared.against] == [b"three"]
        with api_over(new_log(), tmp_path / "small", image_hosts=f"localhost:{server.server_port}") as api:
            api.desk.fetching._limit = 10  # pyright: ignore[reportPrivateUsage]
            refused = api.call("POST", "/v1/persons", body)
            assert (refused.status_code, refused.json()["code"]) == (400, 40003)
            assert "larger than the 10 bytes" in refused.json()["message"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def captures(api: Api, topic: Name = Name.CAPTURES_BULK) -> list[CaptureReceived]:
    with closing(api.log.read(topic, {})) as reader:
        return [e for r in reader.poll(100, 0) if isinstance(e := decode(r.value), CaptureReceived)]
