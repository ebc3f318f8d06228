"""Scores and accuracy in OSIA's words: what is asked for, and what is said about a score."""

import json
from typing import Any

import pytest

from services.api import answers
from shared.biometrics import Candidate
from shared.envelope import decode
from shared.events import CaptureReceived, Decided, Enrolled, Event, Identified, Identify, ProbeChosen, Verified
from shared.topics import Name
from tests.facts import request
from tests.unit.api.conftest import Api, encounter

MEASURED = Candidate("ada", "1", 47.5)
BEYOND = Candidate("ada", "2", 61.25, ("visa",), extrapolated=True)


def on(api: Api, topic: Name) -> list[Event]:
    reader = api.log.read(topic, {})
    try:
        return [decode(record.value) for record in reader.poll(1000, 0)]
    finally:
        reader.close()


@pytest.mark.parametrize(("level", "target"), [(None, None), ("fpir-10", 10.0), ("fpir-37", 37.0), ("fpir-60", 60.0)])
def test_an_accuracy_level_is_the_target_of_that_one_search(api: Api, level: str | None, target: float | None) -> None:
    api.call("POST", "/v1/persons/p/encounters/e", encounter(b"one"))
    query: dict[str, Any] = {} if level is None else {"accuracyLevel": level}
    body: dict[str, Any] = {"filter": {}, "biometricData": encounter(b"one")["biometricData"]}

    assert api.call("POST", "/v1/identify/ALL", body, **query).status_code == 200
    for path in ("/v1/identify/ALL/p", "/v1/identify/ALL/p/encounters/e"):
        assert api.call("POST", path, {}, **query).status_code == 200

    captured = [e.purpose for e in on(api, Name.CAPTURES_URGENT) if isinstance(e, CaptureReceived)]
    chosen = [e.question for e in on(api, Name.PROBES) if isinstance(e, ProbeChosen)]
    questions = [question for question in (*captured, *chosen) if isinstance(question, Identify)]
    assert [question.target for question in questions] == [target] * 3


def answered(outcome: Enrolled | Identified | Verified) -> Any:
    return json.loads(answers.decided(Decided(request(1), outcome, 7, 9)).body)


def test_a_score_beyond_what_was_measured_says_so_and_no_other_does() -> None:
    [person] = answered(Identified((BEYOND, MEASURED), 1))
    assert person == {
        "personId": "ada",
        "rank": 1,
        "score": 61.25,
        "others": {"extrapolated": True},
        "scores": [
            {
                "score": 61.25,
                "encounterId": "2",
                "biometricType": "FACE",
                "galleries": ["visa"],
                "others": {"extrapolated": True},
            },
            {"score": 47.5, "encounterId": "1", "biometricType": "FACE"},
        ],
    }
    suspects = answered(Enrolled("p", "e", (BEYOND, MEASURED), 1))["others"]["candidates"]
    assert suspects == [
        {"personId": "ada", "encounterId": "2", "score": 61.25, "extrapolated": True},
        {"personId": "ada", "encounterId": "1", "score": 47.5},
    ]
    assert answered(Verified(True, 61.25, True))["scores"] == [
        {"score": 61.25, "biometricType": "FACE", "others": {"extrapolated": True}}
    ]
    assert answered(Verified(True, 47.5))["scores"] == [{"score": 47.5, "biometricType": "FACE"}]
