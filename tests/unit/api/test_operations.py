"""What each operation answers, over the real registry and a fake pipeline."""

import base64
import csv
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from services.api.follower import Follower
from shared.envelope import decode
from shared.events import CaptureReceived, ServiceReported
from shared.log.memory import MemoryLog
from shared.topics import Name
from tests.unit.api.conftest import Api, api_over, encounter, until

FACE = {"biometricType": "FACE", "image": base64.b64encode(b"a face").decode()}


def captures(api: Api, topic: Name) -> list[CaptureReceived]:
    reader = api.log.read(topic, {})
    try:
        found = [decode(r.value) for r in reader.poll(1000, 0)]
    finally:
        reader.close()
    return [e for e in found if isinstance(e, CaptureReceived)]


# ---- creating


def test_an_enrolment_is_answered_with_its_quality_and_its_position(api: Api) -> None:
    answer = api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    assert answer.status_code == 200
    assert answer.json() == {
        "personId": "p1",
        "encounterId": "e1",
        "others": {
            "outcome": "ENROLLED_UNIQUE",
            "asOf": 1,
            "galleryCount": 1,
            "quality": [{"score": 88, "measures": {"eye_distance": 60.0}}],
            "candidates": [],
            "totalCandidates": 0,
        },
    }
    assert answer.headers["Eyni-Transaction"] == "t-1"
    assert len(answer.headers["Eyni-Request"]) == 32


def test_a_second_enrolment_of_one_face_names_the_first(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    others = api.call("POST", "/v1/persons/p2/encounters/e1", encounter(b"one")).json()["others"]
    assert others["outcome"] == "ENROLLED_SUSPECT"
    assert others["candidates"] == [{"personId": "p1", "encounterId": "e1", "score": 61.5}]


def test_a_refused_capture_says_what_to_do(api: Api) -> None:
    answer = api.call("POST", "/v1/persons", encounter(b"refuse"))
    assert (answer.status_code, answer.json()["code"]) == (400, 40010)
    assert answer.headers["Eyni-Retake"] == "too_small"
    assert "sample 1: too_small: Come closer" in answer.json()["message"]


def test_the_server_draws_ids_where_none_are_given(api: Api) -> None:
    one, two = (api.call("POST", "/v1/persons", encounter(b"one")).json() for _ in range(2))
    assert one["personId"] != two["personId"]
    assert api.call("POST", "/v1/persons/p9/encounters", encounter(b"x")).json()["personId"] == "p9"


# ---- idempotence


def test_the_same_again_gets_the_first_answer_and_enrols_nothing(api: Api) -> None:
    first = api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    again = api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(captures(api, Name.CAPTURES_BULK)) == 1


def test_the_same_again_in_other_words_is_the_same(api: Api) -> None:
    body = encounter(b"one", biographicData={"a": 1, "b": 2})
    turned = dict(reversed(list({**body, "biographicData": {"b": 2, "a": 1}}.items())))
    first = api.call("POST", "/v1/persons/p1/encounters/e1", body)
    assert api.call("POST", "/v1/persons/p1/encounters/e1", turned).json() == first.json()


def test_another_body_under_the_same_ids_is_a_conflict(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    answer = api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"two"))
    assert (answer.status_code, answer.json()["code"]) == (409, 40901)


def test_sent_again_while_the_first_is_under_way_both_get_one_answer(api: Api) -> None:
    api.pipeline.paused.set()
    found: list[Any] = []

    def send() -> None:
        found.append(api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one")))

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(captures(api, Name.CAPTURES_BULK)) == 3)
    api.pipeline.paused.clear()
    for thread in threads:
        thread.join()
    assert [a.status_code for a in found] == [200] * 3
    assert len({a.text for a in found}) == 1


def test_an_idempotency_key_fixes_the_ids(api: Api) -> None:
    key = {"Idempotency-Key": "visit 12"}
    first = api.call("POST", "/v1/persons", encounter(b"one"), headers=key)
    again = api.call("POST", "/v1/persons", encounter(b"one"), headers=key)
    assert again.json() == first.json()
    assert api.call("POST", "/v1/persons", encounter(b"two"), headers=key).status_code == 409
    # Another client's key is another key.
    assert api.call("POST", "/v1/persons", encounter(b"one"), headers=key, client="b").json() != first.json()


def test_the_transaction_id_is_no_idempotence_key(api: Api) -> None:
    for number in range(3):
        api.call("POST", f"/v1/persons/p{number}/encounters/e", encounter(b"%d" % number))
    assert len(api.call("GET", "/v1/galleries/visa").json()) == 3


# ---- reading, replacing, removing


def test_an_encounter_is_read_back_as_sent_without_its_pictures_and_with_the_quality(api: Api) -> None:
    body = encounter(b"one", biographicData={"born": "1990-01-02"}, createdDate="2019-05-21T12:00:00+01:00")
    body["biometricData"][0] |= {"biometricSubType": "PORTRAIT", "quality": 1, "qualityFormat": "ISO_19794"}
    api.call("POST", "/v1/persons/p1/encounters/e1", body)
    found = api.call("GET", "/v1/persons/p1/encounters/e1").json()
    assert found.pop("updatedDate").endswith("Z")
    assert found == {
        "encounterId": "e1",
        "status": "ACTIVE",
        "encounterType": "enrolment",
        "createdDate": "2019-05-21T12:00:00+01:00",
        "galleries": ["visa"],
        "biographicData": {"born": "1990-01-02"},
        "biometricData": [
            {"biometricType": "FACE", "biometricSubType": "PORTRAIT", "quality": 88, "qualityFormat": "EYNI-1"}
        ],
    }
    assert api.call("GET", "/v1/persons/p1/encounters").json()[0]["encounterId"] == "e1"


def test_an_encounter_is_replaced(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    assert api.call("PUT", "/v1/persons/p1/encounters/e1", encounter(b"two", galleries=("b",))).status_code == 200
    assert api.call("GET", "/v1/persons/p1/encounters/e1").json()["galleries"] == ["b"]


def test_galleries_and_status_are_updated_and_read_back(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    assert api.call("PUT", "/v1/persons/p1/encounters/e1/galleries", ["b", "c"]).status_code == 204
    assert api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="INACTIVE").status_code == 204
    found = api.call("GET", "/v1/persons/p1/encounters/e1").json()
    assert (found["galleries"], found["status"]) == (["b", "c"], "INACTIVE")
    assert api.call("GET", "/v1/galleries").json() == ["b", "c", "visa"]
    # Known once used, and empty now.
    assert api.call("GET", "/v1/galleries/visa").json() == []


def test_an_activation_tells_how_many_people_look_alike(api: Api) -> None:
    for person in ("p1", "p2"):
        api.call("POST", f"/v1/persons/{person}/encounters/e1", encounter(b"one"))
    inactive = api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="INACTIVE")
    assert (inactive.status_code, "Eyni-Total-Candidates" in inactive.headers) == (204, False)
    active = api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="ACTIVE")
    assert (active.status_code, active.headers["Eyni-Total-Candidates"]) == (204, "1")


def test_encounters_are_moved_merged_and_deleted(api: Api) -> None:
    for person, name in (("a", "1"), ("b", "2"), ("b", "3")):
        api.call("POST", f"/v1/persons/{person}/encounters/{name}", encounter(name.encode()))
    assert api.call("POST", "/v1/persons/a/move/b/encounters/2").status_code == 204
    assert api.call("POST", "/v1/persons/a/merge/b").status_code == 204
    assert [e["encounterId"] for e in api.call("GET", "/v1/persons/a/encounters").json()] == ["1", "2", "3"]
    assert api.call("GET", "/v1/persons/b/encounters").status_code == 404
    assert api.call("DELETE", "/v1/persons/a/encounters/1").status_code == 204
    assert api.call("DELETE", "/v1/persons/a").status_code == 204
    assert api.call("GET", "/v1/galleries/ALL").json() == []


def test_a_conflict_of_encounters_changes_nothing(api: Api) -> None:
    for person in ("a", "b"):
        api.call("POST", f"/v1/persons/{person}/encounters/1", encounter(person.encode()))
    assert api.call("POST", "/v1/persons/a/merge/b").status_code == 409
    assert api.call("POST", "/v1/persons/a/move/b/encounters/1").status_code == 409
    assert len(api.call("GET", "/v1/galleries/ALL").json()) == 2


def test_a_gallery_is_read_by_pages_and_as_csv(api: Api) -> None:
    for person in ("a", 'b, "c"'):
        path = f"/v1/persons/{person}/encounters/1".replace('"', "%22").replace(" ", "%20")
        assert api.call("POST", path, encounter(person.encode())).status_code == 200
    page = api.call("GET", "/v1/galleries/visa", offset=1, limit=1).json()
    assert page == [{"personId": 'b, "c"', "encounterId": "1"}]
    text = api.call("GET", "/v1/galleries/visa", headers={"Accept": "text/csv"})
    assert text.headers["content-type"].startswith("text/csv")
    assert text.text.startswith("PersonId, encounterId\r\na, 1\r\n")
    rows = list(csv.reader(io.StringIO(text.text, newline=""), skipinitialspace=True))
    assert rows[1:] == [["a", "1"], ['b, "c"', "1"]]


def test_templates_are_not_given_out(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    assert api.call("GET", "/v1/persons/p1/encounters/e1/templates").json()["code"] == 40302
    assert api.call("GET", "/v1/persons/p1/encounters/e9/templates").status_code == 404


# ---- replacing what was changed meanwhile


def test_a_replacement_sent_twice_is_done_once(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    first = api.call("PUT", "/v1/persons/p1/encounters/e1", encounter(b"two"))
    again = api.call("PUT", "/v1/persons/p1/encounters/e1", encounter(b"two"))
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(captures(api, Name.CAPTURES_BULK)) == 2


def test_a_replacement_takes_back_a_change_of_status_and_galleries(api: Api) -> None:
    body = encounter(b"one", galleries=("visa", "a"))
    api.call("POST", "/v1/persons/p1/encounters/e1", body)
    api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="INACTIVE")
    assert api.call("PUT", "/v1/persons/p1/encounters/e1", body).status_code == 200
    assert api.call("GET", "/v1/persons/p1/encounters/e1").json()["status"] == "ACTIVE"
    api.call("PUT", "/v1/persons/p1/encounters/e1/galleries", ["b"])
    assert api.call("PUT", "/v1/persons/p1/encounters/e1", body).status_code == 200
    assert api.call("GET", "/v1/persons/p1/encounters/e1").json()["galleries"] == ["visa", "a"]


def test_a_creation_sent_again_takes_no_change_back(api: Api) -> None:
    first = api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="INACTIVE")
    assert api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one")).json() == first.json()
    assert api.call("GET", "/v1/persons/p1/encounters/e1").json()["status"] == "INACTIVE"


# ---- questions


def test_a_verification_says_yes_with_a_score_and_no_without(api: Api) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"a face"))
    yes = api.call("POST", "/v1/verify/visa/p1", {"biometricData": [FACE]})
    assert yes.json() == {"decision": True, "scores": [{"score": 61.5, "biometricType": "FACE"}]}
    assert (yes.headers["Eyni-As-Of"], yes.headers["Eyni-Gallery-Count"]) == ("1", "1")
    other = {"biometricType": "FACE", "image": base64.b64encode(b"other").decode()}
    assert api.call("POST", "/v1/verify/ALL/p1", {"biometricData": [other]}).json() == {"decision": False}
    both = {"biometricData1": [FACE], "biometricData2": [FACE]}
    pair = api.call("POST", "/v1/verify", both)
    assert pair.json()["decision"] is True
    assert "Eyni-As-Of" not in pair.headers  # the gallery was not asked


def test_an_identification_gives_one_candidate_a_person_and_not_the_one_asked_about(api: Api) -> None:
    for person, name in (("p1", "1"), ("p1", "2"), ("p2", "1")):
        api.call("POST", f"/v1/persons/{person}/encounters/{name}", encounter(b"a face"), transactionId=name)
    found = api.call("POST", "/v1/identify/visa", {"filter": {}, "biometricData": [FACE]})
    assert [(c["personId"], c["rank"], len(c["scores"])) for c in found.json()] == [("p1", 1, 2), ("p2", 2, 1)]
    assert found.headers["Eyni-As-Of"] == "3"
    by_id = api.call("POST", "/v1/identify/ALL/p1", {})
    assert [c["personId"] for c in by_id.json()] == ["p2"]
    by_encounter = api.call("POST", "/v1/identify/ALL/p1/encounters/2")
    assert [c["personId"] for c in by_encounter.json()] == ["p2"]


@pytest.mark.parametrize(
    ("path", "query", "topic"),
    [
        ("/v1/persons/p1/encounters/e1", {}, Name.CAPTURES_BULK),
        ("/v1/persons/p1/encounters/e1", {"priority": 4}, Name.CAPTURES_BULK),
        ("/v1/persons/p1/encounters/e1", {"priority": 5}, Name.CAPTURES_URGENT),
        ("/v1/identify/ALL", {}, Name.CAPTURES_URGENT),
        ("/v1/identify/ALL", {"priority": 4}, Name.CAPTURES_BULK),
        ("/v1/verify", {}, Name.CAPTURES_URGENT),
        ("/v1/verify", {"priority": 0}, Name.CAPTURES_BULK),
    ],
)
def test_priority_chooses_the_lane(api: Api, path: str, query: dict[str, Any], topic: Name) -> None:
    bodies: dict[str, Any] = {
        "/v1/identify/ALL": {"filter": {}, "biometricData": [FACE]},
        "/v1/verify": {"biometricData1": [FACE], "biometricData2": [FACE]},
    }
    assert api.call("POST", path, bodies.get(path, encounter()), **query).status_code == 200
    [capture] = captures(api, topic)
    assert capture.request.request_id.startswith("c-")
    assert (capture.request.client, capture.request.transaction_id) == ("station-7", "t-1")


# ---- refusals


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in encounter().items() if k != name}


def sample(**fields: Any) -> dict[str, Any]:
    return {**encounter(), "biometricData": [{**FACE, **fields}]}


def bare(**fields: Any) -> dict[str, Any]:
    return {**encounter(), "biometricData": [{"biometricType": "FACE", **fields}]}


WRONG: dict[str, tuple[Any, int, str]] = {
    "no status": (without("status"), 40002, "status"),
    "status unknown": (encounter(status="DEAD"), 40002, "status"),
    "no galleries": (without("galleries"), 40002, "galleries"),
    "galleries empty": (encounter(galleries=()), 40002, "galleries"),
    "gallery twice": (encounter(galleries=("a", "a")), 40002, "galleries"),
    "gallery ALL": (encounter(galleries=("a", "ALL")), 40005, "ALL"),
    "gallery with a slash": (encounter(galleries=("a/b",)), 40002, "has a slash"),
    "gallery empty text": (encounter(galleries=("",)), 40002, "galleries"),
    "no biometricData": (without("biometricData"), 40002, "biometricData"),
    "biometricData empty": (encounter() | {"biometricData": []}, 40002, "biometricData"),
    "21 samples": (encounter(*[b"x"] * 21), 40002, "biometricData"),
    "no picture": (bare(), 40003, "needs a picture"),
    "picture and reference": (sample(imageRef="http://a.example/"), 40003, "not both"),
    "picture empty": (sample(image=""), 40003, "empty"),
    "no base64": (sample(image="!!!!"), 40003, "base64"),
    "base64url": (sample(image="_-__"), 40003, "base64"),
    "base64 without padding": (sample(image="YQ"), 40003, "base64"),
    "base64 with a newline": (sample(image="YWJj\nYWJj"), 40003, "base64"),
    "finger": (sample(biometricType="FINGER"), 40004, "faces"),
    "template": (sample(template="AAAA"), 40004, "not taken"),
    "templateRef": (sample(templateRef="http://a.example/"), 40004, "not taken"),
    "encrypted": (encounter(encryption={"type": "JWE", "scope": "$"}), 40004, "encrypted"),
    "imageRef not listed": (bare(imageRef="http://127.0.0.1/x"), 40003, "not on the operator's list"),
    "unknown field": (encounter(colour="red"), 40002, "not a field"),
    "null": (encounter(clientData=None), 40002, "null"),
    "contradicting id": (encounter(encounterId="e2"), 40005, "another than the path's"),
    "date without offset": (encounter(createdDate="2019-05-21T12:00:00"), 40002, "RFC 3339"),
    "number as text": (sample(width="7"), 40002, "width"),
    "clientData no base64": (encounter(clientData="?"), 40002, "clientData"),
    "biographicData no object": (encounter(biographicData=[]), 40002, "biographicData"),
    "an array": ([], 40002, "body"),
}


@pytest.mark.parametrize(("body", "code", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_encounter_is_refused_with_what_and_where(steady: Api, body: Any, code: int, said: str) -> None:
    answer = steady.call("POST", "/v1/persons/p1/encounters/e1", body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert said in answer.json()["message"]
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is missing"),
        (b"{", "no JSON"),
        (b'{"status": NaN}', "no JSON"),
        (b'"\\ud800"', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"1" * 1_000_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_what_is_no_json_is_refused(steady: Api, raw: bytes, said: str) -> None:
    headers = {"Authorization": f"Bearer {steady.token()}", "Content-Type": "application/json"}
    answer = steady.client.request("POST", "/v1/persons", content=raw, headers=headers, params={"transactionId": "t"})
    assert answer.status_code == 400
    assert said in answer.json()["message"]


def test_a_number_beyond_a_double_is_refused(steady: Api) -> None:
    headers = {"Authorization": f"Bearer {steady.token()}", "Content-Type": "application/json"}
    raw = json.dumps(encounter(biographicData={"x": "HERE"})).replace('"HERE"', "1e999").encode()
    answer = steady.client.request("POST", "/v1/persons", content=raw, headers=headers, params={"transactionId": "t"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "said"),
    [
        ("GET", "/v1/galleries", {"priority": 10}, None, "priority"),
        ("GET", "/v1/galleries", {"priority": "high"}, None, "priority"),
        ("GET", "/v1/galleries", {"transactionId": ""}, None, "transactionId"),
        ("GET", "/v1/galleries", {"transactionId": "a\nb"}, None, "transactionId"),
        ("GET", "/v1/galleries", {"treshold": 1}, None, "'treshold'"),
        ("GET", "/v1/galleries", {"callback": "http://127.0.0.1/"}, None, "callback"),
        ("GET", "/v1/galleries/a", {"offset": -1}, None, "offset"),
        ("GET", "/v1/galleries/a", {"limit": 0}, None, "limit"),
        ("GET", "/v1/persons/p/encounters/e/templates", {"biometricType": "EAR"}, None, "biometricType"),
        ("PUT", "/v1/persons/p/encounters/e/status", {"status": "GONE"}, None, "ACTIVE or INACTIVE, and is 'GONE'"),
        ("PUT", "/v1/persons/p/encounters/e/galleries", {}, [], "at least 1"),
        ("PUT", "/v1/persons/p/encounters/e/galleries", {}, ["a", "a"], "twice"),
        ("PUT", "/v1/persons/p/encounters/e/galleries", {}, ["ALL"], "ALL"),
        ("POST", "/v1/persons/p/merge/p", {}, None, "same person"),
        ("POST", "/v1/persons/p/move/p/encounters/e", {}, None, "same person"),
        ("POST", "/v1/persons/p/encounters", {}, encounter(encounterId="e"), "draws the id"),
        (
            "POST",
            "/v1/identify/ALL/p",
            {"threshold": 29.9},
            {},
            "30 dB or more (-10·log10 of the false match rate), and is 29.9",
        ),
        ("POST", "/v1/identify/ALL/p", {"threshold": "nan"}, {}, "finite"),
        ("POST", "/v1/identify/ALL/p", {"threshold": "inf"}, {}, "threshold"),
        ("POST", "/v1/identify/ALL/p", {"maxNbCand": 0}, {}, "maxNbCand"),
        ("POST", "/v1/identify/ALL/p", {"maxNbCand": 101}, {}, "1 to 100, and is 101"),
        ("POST", "/v1/identify/ALL/p", {"accuracyLevel": "high"}, {}, "fpir-10 to fpir-60"),
        ("POST", "/v1/identify/ALL/p", {"accuracyLevel": "fpir-09"}, {}, "fpir-10 to fpir-60"),
        ("POST", "/v1/identify/ALL/p", {"accuracyLevel": "fpir-61"}, {}, "and is 'fpir-61'"),
        ("POST", "/v1/identify/ALL/p", {"accuracyLevel": "fpir-30", "threshold": 50}, {}, "leave one of them out"),
        ("POST", "/v1/verify/ALL/p", {"accuracyLevel": "fpir-30"}, {"biometricData": [FACE]}, "for identifications"),
        ("POST", "/v1/identify/ALL/p", {"serviceLevel": 10}, {}, "serviceLevel"),
        ("POST", "/v1/identify/ALL/p", {}, {"a": {"b": 1}}, "'a'"),
        ("POST", "/v1/identify/ALL/p", {}, {"a": [[1]]}, "'a'"),
        ("POST", "/v1/identify/ALL/p", {}, {"a": None}, "'a'"),
        ("POST", "/v1/identify/ALL/p", {}, {"a": []}, "'a'"),
        ("POST", "/v1/identify/ALL/p", {}, {"bornMin": ["1990"]}, "bound"),
        ("POST", "/v1/identify/ALL/p", {}, {"bornMax": True}, "bound"),
        ("POST", "/v1/identify/ALL/p", {}, {"encounterType": 7}, "encounterType"),
        ("POST", "/v1/identify/ALL/p", {}, {"biometricType": ["FINGER"]}, "FACE"),
        ("POST", "/v1/identify/ALL", {}, {"biometricData": [FACE]}, "filter"),
        ("POST", "/v1/verify", {}, {"biometricData1": [FACE]}, "biometricData2"),
    ],
)
def test_a_wrong_parameter_is_refused(
    steady: Api, method: str, path: str, query: dict[str, Any], body: Any, said: str
) -> None:
    answer = steady.call(method, path, body, **query)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    "path", ["/v1/persons/%FF/encounters", "/v1/persons/a%C3/encounters/e1", "/v1/galleries/%ed%a0%80"]
)
def test_an_id_that_is_no_utf8_is_refused_for_two_would_be_one(steady: Api, path: str) -> None:
    answer = steady.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, 40002)
    assert "UTF-8" in answer.json()["message"]
    assert steady.call("GET", "/v1/persons/%EF%BF%BD/encounters").status_code == 400


def test_a_parameter_given_twice_is_refused(steady: Api) -> None:
    headers = {"Authorization": f"Bearer {steady.token()}"}
    twice = steady.client.get("/v1/galleries?transactionId=a&transactionId=b", headers=headers)
    assert twice.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/persons/p9/encounters", None),
        ("GET", "/v1/persons/p1/encounters/e9", None),
        ("PUT", "/v1/persons/p1/encounters/e9", encounter()),
        ("PUT", "/v1/persons/p1/encounters/e9/status?status=ACTIVE", None),
        ("PUT", "/v1/persons/p1/encounters/e9/galleries", ["a"]),
        ("DELETE", "/v1/persons/p1/encounters/e9", None),
        ("DELETE", "/v1/persons/p9", None),
        ("POST", "/v1/persons/p1/merge/p9", None),
        ("POST", "/v1/persons/p9/move/p1/encounters/e1", None),
        ("GET", "/v1/galleries/none", None),
        ("POST", "/v1/verify/ALL/p9", {"biometricData": [FACE]}),
        ("POST", "/v1/verify/none/p1", {"biometricData": [FACE]}),
        ("POST", "/v1/verify/other/p1", {"biometricData": [FACE]}),
        ("POST", "/v1/identify/none", {"filter": {}, "biometricData": [FACE]}),
        ("POST", "/v1/identify/ALL/p9", {}),
        ("POST", "/v1/identify/ALL/p1/encounters/e9", {}),
        ("POST", "/v1/tasks/t9/redeliver", None),
        ("GET", "/v2/persons", None),
    ],
)
def test_what_is_not_there_is_404_with_an_error(steady: Api, method: str, path: str, body: Any) -> None:
    steady.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
    steady.call("POST", "/v1/persons/p2/encounters/e1", encounter(b"two", galleries=("other",)))
    name, _, query = path.partition("?")
    parameters: dict[str, Any] = dict(p.split("=") for p in query.split("&") if p)
    answer = steady.call(method, name, body, **parameters)
    assert answer.status_code == 404
    assert set(answer.json()) == {"code", "message"}


def test_an_unknown_method_is_405_with_an_error(steady: Api) -> None:
    answer = steady.call("PATCH", "/v1/galleries")
    assert (answer.status_code, answer.json()["code"]) == (405, 40501)


def test_no_error_repeats_what_was_sent(steady: Api) -> None:
    canary = "Zq" * 40
    for body in (encounter(status=canary), sample(image=canary + "!"), encounter() | {canary: 1}, sample(width=canary)):
        assert canary not in steady.call("POST", "/v1/persons", body).text


# ---- when something is away


def silence(api: Api, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reports of one service be too old."""
    ready = Follower.ready

    def heard(self: Follower, name: str, within: float) -> ServiceReported | None:
        return None if name == service else ready(self, name, within)

    monkeypatch.setattr(type(api.desk.follower), "ready", heard)


def test_without_an_enrol_process_who_brings_a_picture_is_told_at_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
    silence(api, "enroll", monkeypatch)
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/v1/persons", encounter()),
        ("POST", "/v1/persons/p1/encounters", encounter()),
        ("POST", "/v1/persons/p1/encounters/e2", encounter()),
        ("PUT", "/v1/persons/p1/encounters/e1", encounter(b"new")),
        ("POST", "/v1/identify/ALL", {"filter": {}, "biometricData": [FACE]}),
        ("POST", "/v1/verify/ALL/p1", {"biometricData": [FACE]}),
        ("POST", "/v1/verify", {"biometricData1": [FACE], "biometricData2": [FACE]}),
    ]
    for method, path, body in calls:
        answer = api.call(method, path, body)
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, 50302, "5")
        assert "enrol" in answer.json()["message"]
    assert captures(api, Name.CAPTURES_URGENT) == []
    assert api.client.get("/readyz").json()["missing"] == ["no enroll process is ready"]


def test_without_an_enrol_process_what_needs_no_picture_is_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
    silence(api, "enroll", monkeypatch)
    assert api.call("POST", "/v1/identify/ALL/p1", {}).status_code == 200
    assert api.call("PUT", "/v1/persons/p1/encounters/e1/status", status="INACTIVE").status_code == 204
    assert api.call("DELETE", "/v1/persons/p1").status_code == 204


def test_who_waited_in_vain_learns_whether_to_send_again_or_to_read_first(log: MemoryLog, tmp_path: Path) -> None:
    with api_over(log, tmp_path, answer_timeout=0.3) as api:
        api.pipeline.paused.set()
        asked = api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
        assert asked.json()["code"] == 50303
        assert "send the same again" in asked.json()["message"]
        for method, path in (
            ("DELETE", "/v1/persons/p1"),
            ("POST", "/v1/persons/p1/merge/p2"),
            ("POST", "/v1/persons/p1/move/p2/encounters/e1"),
        ):
            changed = api.call(method, path)
            assert changed.json()["code"] == 50303
            assert "may have been done" in changed.json()["message"]
            assert "read" in changed.json()["message"]


def test_without_a_ready_matcher_an_officer_is_told_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(api, "match", monkeypatch)
    answer = api.call("POST", "/v1/verify", {"biometricData1": [FACE], "biometricData2": [FACE]})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, 50302, "5")
    assert captures(api, Name.CAPTURES_URGENT) == []
    assert api.call("GET", "/v1/galleries").status_code == 200
    assert api.client.get("/readyz").json()["missing"] == ["no matcher is ready"]


def test_a_registry_that_lags_answers_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(api.desk.follower), "caught_up", False)
    assert api.call("GET", "/v1/galleries").json()["code"] == 50302


def test_a_log_that_takes_nothing_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.log import LogUnavailable

    def away(*_: Any, **__: Any) -> None:
        raise LogUnavailable("broker away")

    monkeypatch.setattr(api.log, "append", away)
    answer = api.call("POST", "/v1/persons/p1/encounters/e1", encounter())
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, 50301, "5")
    assert len(api.desk.waiting) == 0


def test_a_fault_of_the_server_says_nothing_of_what_was_sent(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(api.desk.registry, "galleries", breaks)
    answer = api.call("GET", "/v1/galleries")
    assert (answer.status_code, answer.json()["code"]) == (500, 50001)
    assert "secret" not in answer.text
    assert answer.headers["Eyni-Request"] in answer.text


def test_the_loop_is_free_while_calls_wait(api: Api) -> None:
    api.pipeline.paused.set()
    threads = [
        threading.Thread(target=api.call, args=("POST", f"/v1/persons/p{n}/encounters/e", encounter()))
        for n in range(80)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(captures(api, Name.CAPTURES_BULK)) == 80)
    started = time.monotonic()
    assert api.call("GET", "/v1/galleries").status_code == 200
    assert time.monotonic() - started < 1.0
    api.pipeline.paused.clear()
    for thread in threads:
        thread.join()


def test_what_is_no_transaction_id_is_on_no_log_line(steady: Api) -> None:
    # Without a token: whoever reaches the port chose it.
    with capture_logs([merge_contextvars]) as lines:
        for given in ("a\x1b[2Jb", "x" * 201, ""):
            steady.client.get("/v1/galleries", params={"transactionId": given})
        steady.client.get("/v1/galleries", params={"transactionId": "t-8"})
    said = [line["transaction"] for line in lines if line["event"] == "answered"]
    assert said == ["", "", "", "t-8"]
