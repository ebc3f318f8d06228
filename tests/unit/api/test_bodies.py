"""Bodies that would cost much, or could be read in two ways: counted before they are parsed, and bounded in all."""

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from services.api.bodies import DEPTH, VALUES, parse
from services.api.errors import Code, Refusal
from services.api.limits import SHARE, Bodies
from services.api.server import Front, listening
from shared.settings import Settings
from tests.unit.api.conftest import Api, api_over, encounter, new_log


def refused(body: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(body)
    return caught.value


# ---- what a body costs

MANY = b",".join([b"{}"] * 3_900_000)


@pytest.mark.parametrize(
    "body",
    [
        b'{"biographicData": {"a": [' + MANY + b"]}}",
        b"[" + b"1," * 5_900_000 + b"1]",
        b"[" + b'"",' * 3_900_000 + b'""]',
        b"[" * 11_000_000,
        b'{"a":' * 2_000_000,
        b"[" + b'{"a":1},' * 1_400_000 + b"1]",
    ],
    ids=["empty objects", "numbers", "texts", "depth", "objects in objects", "small objects"],
)
def test_millions_of_values_are_refused_before_they_are_parsed(body: bytes) -> None:
    started = time.thread_time()
    assert refused(body).code == Code.TOO_LARGE
    assert time.thread_time() - started < 1.0  # parsing them took ten seconds; counting takes 50 ms


def test_commas_and_brackets_inside_of_texts_are_no_values() -> None:
    text = ",[{" * (VALUES // 2) + '"\\'
    assert parse(json.dumps({"a": text, "b": [text]}).encode()) == {"a": text, "b": [text]}


@pytest.mark.parametrize(
    "texts",
    [
        b'"' + b'\\"' * 10_000,
        b'"a' + b'\\"' * 250_000,
        b'"' + b"\\\\" * 5_000_000,
        b'"' + b"\\\\\\" * 3_000_000 + b'"',
        b'"\\"",' * 140_000,
    ],
    ids=["no end, few quotes", "no end", "no end, backslashes", "backslashes", "many texts"],
)
def test_counting_takes_no_longer_for_texts_that_do_not_end(texts: bytes) -> None:
    # Each quote began a search to the end of the body: 1 MB of them would have held the interpreter for hours.
    started = time.thread_time()
    assert refused(b"[" + b"," * (VALUES + 1) + texts).code == Code.TOO_LARGE
    assert time.thread_time() - started < 0.3


def test_a_quote_ends_a_text_after_an_even_number_of_backslashes_only() -> None:
    for backslashes in range(6):
        text = b'"' + b"," * (VALUES + 1) + b"\\" * backslashes
        if backslashes % 2:
            assert parse(b"[" + text + b'"' + b"," * VALUES + b'"]') is not None
        else:
            assert parse(b"[" + text + b'"]') is not None
            assert refused(b"[" + text + b'"' + b"," * (VALUES + 1) + b"]").code == Code.TOO_LARGE


def test_a_body_of_pictures_is_taken_at_little_more_than_what_parsing_takes() -> None:
    picture = base64.b64encode(os.urandom(440_000)).decode()
    body = json.dumps(encounter() | {"biometricData": [{"image": picture}] * 20}).encode()
    assert len(body) > 11_000_000
    assert parse(body)["biometricData"][19]["image"] == picture
    took = min(_seconds(lambda: parse(body)) for _ in range(5))
    # What reading it takes in any case: the pictures' base64, and the bytes once.
    least = min(_seconds(lambda: (base64.b64decode(picture * 20), from_json(body))) for _ in range(5))
    assert took < 2 * least


def _seconds(work: Any) -> float:
    """Return the processor time that something takes: others may be at work on this machine."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


@pytest.mark.parametrize(
    "body",
    [
        encounter() | {f"k{n}": 1 for n in range(90_000)},
        encounter() | {"biometricData": [{"biometricType": "FACE", "missing": [1] * 90_000}]},
        encounter() | {"biometricData": [{f"k{n}": 1 for n in range(90_000)}]},
        encounter() | {"integrity": [1] * 90_000},
        encounter() | {"galleries": [1] * 90_000},
        encounter() | {"biometricData": [1] * 90_000},
        [1] * 90_000,
    ],
    ids=["fields", "missing", "a sample's fields", "integrity", "galleries", "samples", "no object"],
)
def test_thousands_of_wrong_values_are_refused_as_fast_as_one(steady: Api, body: Any) -> None:
    started = time.process_time()
    answer = steady.call("POST", "/v1/persons/p1/encounters/e1", body)
    assert answer.status_code == 400
    assert time.process_time() - started < 2.5  # each was a line of an error in the making: 4 to 5 s
    assert len(answer.text) < 1000


def test_nesting_is_bounded() -> None:
    assert parse(b"[" * DEPTH + b"]" * DEPTH) is not None
    assert refused(b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2)).code == Code.WRONG_SHAPE
    assert refused(b"[" * 100_000).code == Code.NOT_JSON


# ---- a field twice


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 1}',
        b'{"x": [{"y": {"a": 1, "b": 2, "a": 1}}]}',
        b'{"time": "10:00:00", "a": {}, "a": {}}',
        b'{"": 1, "": 1}',
        b'{"a": 123456789012345678901234567890, "b": 1e300, "a": 1}',
        '{"é": 1, "\\u00e9": 2}'.encode(),
    ],
)
def test_a_field_twice_in_one_object_is_refused_at_any_depth(body: bytes) -> None:
    refusal = refused(body)
    assert refusal.code == Code.WRONG_SHAPE
    assert "twice" in refusal.message


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(_JSON, st.booleans())
def test_every_other_value_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only)
    if "\\ud" in body.lower() or any("\ud800" <= c <= "\udfff" for c in body):
        return  # surrogates are JSON's own matter
    assert parse(body.encode()) == value


@settings(max_examples=40)
@given(st.dictionaries(st.text(alphabet='ab:,"\\{é'), _JSON, min_size=1, max_size=5), st.data())
def test_a_field_twice_is_found_whatever_its_name(fields: dict[str, Any], data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))
    first = json.dumps(fields)
    body = f"{first[:-1]}, {json.dumps(name, ensure_ascii=False)}: 1}}"
    if "\\ud" in body.lower():
        return
    assert "twice" in refused(body.encode()).message


def test_a_field_twice_is_400_over_the_interface(steady: Api) -> None:
    raw = json.dumps(encounter()).replace('"status"', '"status": "ACTIVE", "status"').encode()
    headers = {"Authorization": f"Bearer {steady.token()}", "Content-Type": "application/json"}
    answer = steady.client.request("POST", "/v1/persons", content=raw, headers=headers, params={"transactionId": "t"})
    assert (answer.status_code, answer.json()["code"]) == (400, 40002)
    assert "'status' twice" in answer.json()["message"]


# ---- all bodies together


def test_a_client_has_its_share_of_the_memory_and_all_have_the_whole() -> None:
    bodies = Bodies(100, 1000)
    share = 1000 // SHARE
    bodies.take("a", share)
    with pytest.raises(Refusal, match="this client has 250") as caught:
        bodies.take("a", 1)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "5")
    for client in "bcd":
        bodies.take(client, share)
    with pytest.raises(Refusal, match="all the memory") as caught:
        bodies.take("e", 1)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")
    bodies.give_back("a", share)
    bodies.take("e", 1)


@pytest.fixture
def small(tmp_path: Path) -> Generator[tuple[Api, int]]:
    with api_over(new_log(), tmp_path, body_limit=2**20, bodies_limit=4 * 2**20) as api:
        front = Front()
        front.open(api.app)
        with listening(Settings(data=tmp_path, log="memory:", api_port=0), front, _fails) as port:
            yield api, port


def test_forty_half_bodies_take_a_bounded_memory_and_others_are_served(
    small: tuple[Api, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, port = small
    monkeypatch.setattr("services.api.limits.DRAIN_SECONDS", 0.1)
    lines = (
        "POST /v1/persons?transactionId=t HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {api.token(client='greedy')}",
        "Content-Type: application/json",
        "Content-Length: 1000000",
    )
    half = ("\r\n".join([*lines, "", ""])).encode() + b" " * 500_000
    answers: list[bytes] = []
    with ExitStack() as open_ones:
        sockets = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(40)
        ]

        def send(connection: socket.socket) -> None:
            with suppress(OSError):  # the two that are kept waiting are hung up on at the end
                connection.sendall(half)
                if answer := connection.recv(100):
                    answers.append(answer)

        threads = [threading.Thread(target=send, args=(one,), daemon=True) for one in sockets]
        for thread in threads:
            thread.start()
        held: Any = api.app.state.bodies
        end = time.monotonic() + 20
        while len(answers) < 38 and time.monotonic() < end:
            time.sleep(0.01)
            assert held._held.total() <= 2**20
        # Two half bodies are a client's share here; the others were told to wait.
        assert len(answers) == 38
        assert all(answer.startswith(b"HTTP/1.1 429 ") for answer in answers)
        other = httpx.post(
            f"http://127.0.0.1:{port}/v1/persons?transactionId=t",
            json=encounter(b"of somebody else"),
            headers={"Authorization": f"Bearer {api.token()}"},
            timeout=20,
        )
        assert other.status_code == 200
        for one in sockets:
            with suppress(OSError):  # those that were told to wait may be closed by now
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _fails(error: BaseException) -> None:
    pytest.fail(str(error))
