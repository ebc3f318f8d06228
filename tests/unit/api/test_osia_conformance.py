"""Our routes, parameters and schemas are those of OSIA's abis.yaml, operation by operation, but for what is listed."""

import re
from pathlib import Path
from typing import Any

import pytest

import services.api
from services.api.app import create_app
from services.api.errors import Code
from tests.unit.api.conftest import Api
from tests.unit.api.osia import abis, differences, operations

DIFFERENCES = {
    r"^\w+\.parameters\.(path|query) \w+\.schema\.(minLength|maxLength|pattern): ours only": (
        "ids and transaction ids: 1 to 200 characters, no control characters, and ids no slash and no backslash; "
        "a callback at most 2,000, other texts 200"
    ),
    r"\.(encounterId|galleries\.items|schema\.items)\.(minLength|maxLength|pattern): ours only": (
        "the same for the ids in a body"
    ),
    r"\.parameters\.query (priority|serviceLevel)\.schema\.(minimum|maximum): ours only": (
        "0 to 9, which OSIA says in words"
    ),
    r"\.parameters\.query (offset|limit|maxNbCand)\.schema\.(minimum|maximum): ours only": (
        "no negative offset; pages of 1 to 10,000; 1 to 1,000 candidates (and no more than EYNI_CANDIDATE_CAP)"
    ),
    r"^updateEncounterStatus\.parameters\.query status\.schema\.enum: ours only": "ACTIVE or INACTIVE; no enum in OSIA",
    r"^createEncounterNoIds?\.parameters\.header Idempotency-Key: ours only": (
        "where the server draws the ids, this header makes a re-send safe"
    ),
    r"\.(galleries|schema)\.maxItems: ours only: 100": "at most 100 galleries of one encounter",
    r"\.(missing|integrity)\.maxItems: ours only: 100": "at most 100 items in these lists",
    r"\.biometricData[12]?\.(minItems|maxItems): ours only": "1 to 20 samples: without one there is nothing to compare",
    r"\.(biographicData|contextualData)\.(type|additionalProperties): ours only": (
        "biographic and contextual data are JSON objects, so that filters can name their fields; OSIA says nothing"
    ),
    r"\.schema\.type: ours only: 'object'": "ExtendablePersonIds says that it is an object; OSIA forgot to",
    r"\.callbacks\.\w+\.expression: OSIA": "keyed by a valid runtime expression, {$request.query.callback}",
    r"\.responses\.(401|408|413|415|429|503): ours only": (
        "bad token; slow body; too large; not JSON; too much at a time; log, matcher or registry not available: OSIA "
        "lists none of them"
    ),
    r"\.responses\.(403|404|409)\.content: ours only": "these too have an Error as body",
    r"^updateEncounter(Status|Galleries)\.responses\.404: ours only": "an unknown encounter is 404, as elsewhere",
    r"^createEncounterNoIds?\.responses\.409: ours only": "an Idempotency-Key sent again with another body",
}
"""Each deliberate difference of the OpenAPI documents, as a pattern of the lines it explains, and why."""


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    # The document needs none of the parts that the application runs on.
    class Desk:
        registry = egress = None

        class settings:
            body_limit = bodies_limit = 1

    nothing: Any = Desk()
    return create_app(nothing, nothing).openapi()


def test_every_difference_from_osia_is_listed_and_every_listed_difference_is_there(ours: dict[str, Any]) -> None:
    found = list(differences(abis(), ours))
    unlisted = [line for line in found if not any(re.search(pattern, line) for pattern in DIFFERENCES)]
    stale = [pattern for pattern in DIFFERENCES if not any(re.search(pattern, line) for line in found)]
    assert unlisted == []
    assert stale == []


def test_all_22_operations_are_there_and_20_of_them_take_a_callback(ours: dict[str, Any]) -> None:
    theirs = operations(abis())
    assert len(theirs) == 22
    assert operations(ours).keys() == theirs.keys()
    assert sum("callbacks" in found for _, _, found in operations(ours).values()) == 20


def test_our_schemas_have_osias_names(ours: dict[str, Any]) -> None:
    theirs = set(abis()["components"]["schemas"])
    assert theirs - set(ours["components"]["schemas"]) == set()
    # OSIA has the first inline, twice; the second is "any JSON".
    assert set(ours["components"]["schemas"]) - theirs == {"VerifyResponse", "JsonValue"}


def test_a_planted_difference_is_found(ours: dict[str, Any]) -> None:
    planted = abis()
    planted["paths"]["/v1/galleries"]["get"]["parameters"][0]["required"] = False
    planted["components"]["schemas"]["Candidate"]["required"].remove("rank")
    lines = [line for line in differences(planted, ours) if not any(re.search(p, line) for p in DIFFERENCES)]
    assert any("query transactionId.required" in line for line in lines)
    assert any(line.startswith("identify.responses.200") and "required" in line for line in lines)


def test_what_the_server_gives_out_is_what_was_compared(api: Api, ours: dict[str, Any]) -> None:
    assert api.client.get("/openapi.json").json() == ours


def test_every_error_code_is_its_status_and_two_digits_and_documented(ours: dict[str, Any]) -> None:
    declared = {int(c) for _, _, found in operations(ours).values() for c in found["responses"]}
    # What the router itself refuses belongs to no operation.
    assert {code // 100 for code in Code} - {405} <= declared


def test_the_page_for_clients_lists_every_code_and_every_difference() -> None:
    page = (Path(services.api.__file__).parent / "osia.md").read_text()
    assert [code for code in Code if f"| {int(code)} | {code.name} |" not in page] == []
    assert [reason for reason in DIFFERENCES.values() if reason not in page] == []
