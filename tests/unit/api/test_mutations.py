"""Thousands of wrong requests: each gets an answer that says what is wrong in our own words, and none ends anything.

`EYNI_FUZZ` is how many of each kind; `python -m tests.benchmarks.fuzz` runs the whole.
"""

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from tests.fuzzing import INTERNALS, TEXTS, Request, right_requests, wrong_bodies, wrong_parameters
from tests.unit.api.conftest import Api, encounter
from tests.unit.api.osia import operations

COUNT = int(os.environ.get("EYNI_FUZZ", "400"))
SEED = int(os.environ.get("EYNI_FUZZ_SEED", "1"))


def send(api: Api, request: Request, **headers: str) -> httpx.Response:
    url = httpx.URL("http://eyni.test", raw_path=request.target.encode())
    given = {"Authorization": f"Bearer {api.token()}", "Content-Type": "application/json", **headers}
    return api.client.request(request.method, url, content=request.body, headers=given)


def judge(api: Api, requests: Iterable[Request]) -> Counter[int]:
    """Send requests, and return how often each status came. A wrong answer fails with the request that got it."""
    seen = Counter[int]()
    for request in requests:
        answer = send(api, request)
        asked = f"{request.method} {request.target[:300]} {(request.body or b'')[:300]!r}"
        what = f"{asked}: {answer.status_code} {answer.text[:600]}"
        assert answer.status_code < 500, what
        if answer.status_code >= 400:
            error = answer.json()
            assert set(error) == {"code", "message"}, what
            assert error["code"] // 100 == answer.status_code, what
            assert not INTERNALS.search(error["message"]), what
            assert len(error["message"]) < 2000, what
            assert error["message"].isprintable(), what
        seen[answer.status_code] += 1
    return seen


def names(api: Api) -> list[str]:
    document = api.client.get("/openapi.json").json()
    found = {
        p["name"]
        for _, _, one in operations(document).values()
        for p in one.get("parameters", ())
        if p["in"] == "query"
    }
    return [*sorted(found), "odd", ""]


def test_what_the_mutations_are_made_of_is_right(steady: Api) -> None:
    steady.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    for request, _ in right_requests(b"a face"):
        assert send(steady, request).status_code in (200, 204, 403, 404, 409), request
    assert len(right_requests(b"")) == 22


def test_mutated_bodies_get_no_5xx_and_are_told_what_is_wrong_in_our_words(steady: Api) -> None:
    seen = judge(steady, wrong_bodies(SEED, COUNT, b"a face"))
    assert seen[400] > COUNT / 3  # they are wrong in deed,
    assert seen[200] + seen[204] > COUNT / 50  # and some get past the door


def test_wrong_parameters_get_no_5xx_and_are_told_what_is_wrong_in_our_words(steady: Api) -> None:
    seen = judge(steady, wrong_parameters(SEED, COUNT, b"a face", names(steady)))
    assert seen[400] > COUNT / 3


@pytest.mark.parametrize("name", ["Content-Type", "Accept", "Idempotency-Key", "Content-Encoding", "Authorization"])
def test_odd_headers_get_no_5xx(steady: Api, name: str) -> None:
    request = right_requests(b"a face")[0][0]
    for text in TEXTS:
        sent: Any = text.encode("utf-8", "surrogatepass")
        if b"\x00" in sent:
            continue
        assert send(steady, request, **{name: sent}).status_code < 500, (name, text)


def face(**fields: Any) -> dict[str, Any]:
    return encounter() | {"biometricData": [{"biometricType": "FACE", **fields}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (encounter(encounterId=None), "encounterId is null"),
        (encounter(encounterId=7), "body encounterId: must be text, and is 7"),
        (encounter(encounterId="a/b"), "body encounterId: has a slash"),
        (encounter(galleries=("a", 7)), "body galleries.1: must be text, and is 7"),  # type: ignore[arg-type]
        (encounter(status="DEAD"), "body status: must be 'ACTIVE' or 'INACTIVE', and is 'DEAD'"),
        (encounter() | {"biometricData": {}}, "body biometricData: must be a list, and is an object"),
        (encounter(biographicData=["Ada Lovelace"]), "body biographicData: must be an object, and is a list of 1"),
        (encounter(integrity=[{"scope": 1}]), "body integrity.0.scope: must be text, and is 1"),
        (encounter(createdDate=7), "body createdDate: must be text, and is 7"),
        (
            encounter() | {"biometricData": [{"biometricType": "FACE", "image": 7}]},
            "body biometricData.0.image: must be text",
        ),
        (
            encounter() | {"biometricData": [{"biometricType": "FACE", "width": 1.5}]},
            "biometricData.0.width: must be a whole",
        ),
        (7, "body: must be an object, and is 7"),
        ("x", "body: must be an object, and is 'x'"),
        (encounter() | {"a" * 300: 1}, "is not a field of this object"),
    ],
)
def test_a_wrong_field_is_told_by_its_name_what_it_must_be_and_what_it_is(steady: Api, body: Any, said: str) -> None:
    answer = steady.call("POST", "/v1/persons/p1/encounters/e1", body)
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert not INTERNALS.search(answer.json()["message"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"priority": "10"}, "query parameter priority: must be 9 or less, and is '10'"),
        ({"priority": "high"}, "query parameter priority: must be a whole number, and is 'high'"),
        ({"threshold": "nan"}, "query parameter threshold: must be a finite number"),
        ({"maxNbCand": "0"}, "query parameter maxNbCand: must be 1 or more, and is '0'"),
        ({"transactionId": ""}, "query parameter transactionId: must have at least 1 characters, and is ''"),
    ],
)
def test_a_wrong_parameter_is_told_by_its_name_what_it_must_be_and_what_it_is(
    steady: Api, query: dict[str, Any], said: str
) -> None:
    answer = steady.call("POST", "/v1/identify/ALL/p1", {}, **query)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_no_name_of_a_person_is_repeated(steady: Api) -> None:
    body = encounter(biographicData={"name": "Ada Lovelace"}) | {"clientData": 1, "contextualData": "Ada Lovelace"}
    assert "Ada" not in steady.call("POST", "/v1/persons/p1/encounters/e1", body).text
