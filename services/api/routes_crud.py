"""OSIA's operations on persons and encounters."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response

from services.api import answers
from services.api.desk import EXTRACTOR, MATCHER
from services.api.errors import Code, Refusal, shown
from services.api.filters import READ
from services.api.parameters import (
    Addressed,
    Algorithm,
    DeskOf,
    EncounterId,
    PersonId,
    Prioritised,
    RequestsOf,
    SourceId,
    TargetId,
)
from services.api.requests import CHANGES, Accepted, Call, no_encounter, no_person, reserved
from services.api.routing import Route, operation
from services.api.schemas import (
    BiometricComputedData,
    BiometricSubType,
    BiometricType,
    Encounter,
    ExtendablePersonIds,
    Galleries,
    QualityFormat,
    TemplateFormat,
)
from shared.biometrics import ALL_GALLERIES
from shared.encounters import Key
from shared.events import (
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Event,
    PersonRemoved,
    PersonsMerged,
    Request,
)

WRITE = "abis.encounter.write"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Fixes the ids that the server draws: the same key and body get the same answer, another body 409.",
    ),
]

router = APIRouter(route_class=Route, tags=["CRUD"])


@operation(
    router,
    "POST",
    "/v1/persons",
    scope=WRITE,
    summary="Create one encounter and generate ID for both the person and the encounter",
    result=ExtendablePersonIds,
    meaning="Enrolled",
    callback="createResponse",
    refusals=(409,),
)
async def createEncounterNoIds(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    body: Encounter,
    algorithm: Algorithm = None,
    key: IdempotencyKey = None,
) -> Response:
    return await desk.serve(call, lambda: requests.enrol(call, body, None, None, key), needs=EXTRACTOR)


@operation(
    router,
    "POST",
    "/v1/persons/{personId}/encounters",
    scope=WRITE,
    summary="Create one encounter and generate its ID",
    result=ExtendablePersonIds,
    meaning="Enrolled; the person is created where there was none",
    callback="createResponse",
    refusals=(409,),
)
async def createEncounterNoId(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    personId: PersonId,
    body: Encounter,
    algorithm: Algorithm = None,
    key: IdempotencyKey = None,
) -> Response:
    return await desk.serve(call, lambda: requests.enrol(call, body, personId, None, key), needs=EXTRACTOR)


@operation(
    router,
    "GET",
    "/v1/persons/{personId}/encounters",
    scope=READ,
    summary="Read all encounters of one person",
    result=list[Encounter],
    meaning="The encounters, without their pictures",
    callback="readAllResponse",
    refusals=(404,),
)
async def readAllEncounters(call: Prioritised, desk: DeskOf, personId: PersonId) -> Response:
    def read() -> answers.Answer:
        found = desk.registry.encounters_of(personId)
        if not found:
            raise no_person(personId)
        return answers.as_json(200, [answers.encounter(e) for e in found])

    return await desk.serve(call, read)


@operation(
    router,
    "POST",
    "/v1/persons/{personId}/encounters/{encounterId}",
    scope=WRITE,
    summary="Create one encounter",
    result=ExtendablePersonIds,
    meaning="Enrolled, or enrolled before with the same body: then the answer is that of the first time",
    callback="createResponse",
    refusals=(409,),
)
async def createEncounter(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    personId: PersonId,
    encounterId: EncounterId,
    body: Encounter,
    algorithm: Algorithm = None,
) -> Response:
    return await desk.serve(call, lambda: requests.enrol(call, body, personId, encounterId), needs=EXTRACTOR)


@operation(
    router,
    "GET",
    "/v1/persons/{personId}/encounters/{encounterId}",
    scope=READ,
    summary="Read one encounter",
    result=Encounter,
    meaning="The encounter, without its pictures",
    callback="readResponse",
    refusals=(404,),
)
async def readEncounter(call: Prioritised, desk: DeskOf, personId: PersonId, encounterId: EncounterId) -> Response:
    def read() -> answers.Answer:
        found = desk.registry.encounter(Key(personId, encounterId))
        if found is None:
            raise no_encounter(Key(personId, encounterId))
        return answers.as_json(200, answers.encounter(found))

    return await desk.serve(call, read)


@operation(
    router,
    "PUT",
    "/v1/persons/{personId}/encounters/{encounterId}",
    scope=WRITE,
    summary="Update one encounter",
    result=ExtendablePersonIds,
    meaning="Replaced",
    callback="updateResponse",
    refusals=(404,),
)
async def updateEncounter(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    personId: PersonId,
    encounterId: EncounterId,
    body: Encounter,
    algorithm: Algorithm = None,
) -> Response:
    return await desk.serve(call, lambda: requests.replace(call, body, personId, encounterId), needs=EXTRACTOR)


async def _change(desk: DeskOf, call: Call, request: Request, event: Event) -> Response:
    return await desk.serve(call, lambda: Accepted(request.request_id, event), needs=MATCHER)


@operation(
    router,
    "DELETE",
    "/v1/persons/{personId}/encounters/{encounterId}",
    scope=WRITE,
    summary="Delete one encounter",
    meaning="Deleted; with its last encounter a person is gone",
    callback="deleteResponse",
    refusals=(404,),
)
async def deleteEncounter(call: Prioritised, desk: DeskOf, personId: PersonId, encounterId: EncounterId) -> Response:
    request = call.request(CHANGES)
    return await _change(desk, call, request, EncounterRemoved(request, personId, encounterId))


@operation(
    router,
    "POST",
    "/v1/persons/{personIdTarget}/merge/{personIdSource}",
    scope=WRITE,
    summary="Merge two sets of encounters",
    meaning="Merged: all encounters of the source are the target's",
    callback="mergeResponse",
    refusals=(404, 409),
)
async def mergeEncounter(
    call: Prioritised, desk: DeskOf, personIdTarget: TargetId, personIdSource: SourceId
) -> Response:
    _two(personIdTarget, personIdSource)
    request = call.request(CHANGES)
    return await _change(desk, call, request, PersonsMerged(request, personIdSource, personIdTarget))


@operation(
    router,
    "POST",
    "/v1/persons/{personIdTarget}/move/{personIdSource}/encounters/{encounterId}",
    scope=WRITE,
    summary="Move one encounter",
    meaning="Moved",
    callback="mergeResponse",
    refusals=(404, 409),
)
async def moveEncounter(
    call: Prioritised, desk: DeskOf, personIdTarget: TargetId, personIdSource: SourceId, encounterId: EncounterId
) -> Response:
    _two(personIdTarget, personIdSource)
    request = call.request(CHANGES)
    return await _change(desk, call, request, EncounterMoved(request, personIdSource, personIdTarget, encounterId))


def _two(target: str, source: str) -> None:
    if target == source:
        raise Refusal(Code.WRONG_ID, "path personIdTarget and personIdSource: are the same person; name two")


@operation(
    router,
    "PUT",
    "/v1/persons/{personId}/encounters/{encounterId}/status",
    scope=WRITE,
    summary="Update status of an encounter",
    meaning="Updated: an INACTIVE encounter is in no search and no verification",
    callback="updateEncounterStatusResponse",
    refusals=(404,),
)
async def updateEncounterStatus(
    call: Addressed,
    desk: DeskOf,
    personId: PersonId,
    encounterId: EncounterId,
    status: Annotated[str, Query(description="ACTIVE or INACTIVE", json_schema_extra={"enum": ["ACTIVE", "INACTIVE"]})],
) -> Response:
    if status not in ("ACTIVE", "INACTIVE"):
        raise Refusal(Code.WRONG_SHAPE, f"query parameter status: must be ACTIVE or INACTIVE, and is {shown(status)}")
    request = call.request(CHANGES)
    event = EncounterActivated(request, personId, encounterId, status == "ACTIVE")
    return await _change(desk, call, request, event)


@operation(
    router,
    "PUT",
    "/v1/persons/{personId}/encounters/{encounterId}/galleries",
    scope=WRITE,
    summary="Update the galleries of an encounter",
    meaning="Updated: it is in these galleries and no others",
    callback="updateEncounterGalleriesResponse",
    refusals=(404,),
)
async def updateEncounterGalleries(
    call: Addressed, desk: DeskOf, personId: PersonId, encounterId: EncounterId, body: Annotated[Galleries, Body()]
) -> Response:
    if ALL_GALLERIES in body:
        raise reserved("body")
    request = call.request(CHANGES)
    return await _change(desk, call, request, EncounterRefiled(request, personId, encounterId, tuple(body)))


@operation(
    router,
    "GET",
    "/v1/persons/{personId}/encounters/{encounterId}/templates",
    scope=READ,
    summary="Read biometrics templates",
    result=list[BiometricComputedData],
    meaning="Never: templates are not given out (403)",
    callback="readTemplateResponse",
    refusals=(404,),
)
async def readTemplate(
    call: Prioritised,
    desk: DeskOf,
    personId: PersonId,
    encounterId: EncounterId,
    biometricType: Annotated[BiometricType | None, Query()] = None,
    biometricSubType: Annotated[BiometricSubType | None, Query()] = None,
    instance: Annotated[str | None, Query(max_length=200)] = None,
    templateFormat: Annotated[TemplateFormat | None, Query()] = None,
    qualityFormat: Annotated[QualityFormat | None, Query()] = None,
) -> Response:
    def read() -> answers.Answer:
        if desk.registry.encounter(Key(personId, encounterId)) is None:
            raise no_encounter(Key(personId, encounterId))
        raise Refusal(
            Code.TEMPLATES_STAY,
            "templates are not given out, to anybody: a face can be rebuilt from one. Ask identify or verify instead",
        )

    return await desk.serve(call, read)


@operation(
    router,
    "DELETE",
    "/v1/persons/{personId}",
    scope=WRITE,
    summary="Delete a person and all its encounters",
    meaning="Deleted",
    callback="deleteResponse",
    refusals=(404,),
)
async def deleteAll(call: Prioritised, desk: DeskOf, personId: PersonId) -> Response:
    request = call.request(CHANGES)
    return await _change(desk, call, request, PersonRemoved(request, personId))
