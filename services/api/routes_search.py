"""OSIA's searches: identification (1:N) and verification (1:1)."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Body, Response

from services.api.desk import EXTRACTOR, MATCHER
from services.api.errors import Code, Refusal, shown
from services.api.parameters import (
    AccuracyLevel,
    DeskOf,
    EncounterId,
    GalleryId,
    Most,
    PersonId,
    Prioritised,
    RequestsOf,
    ServiceLevel,
    Threshold,
)
from services.api.requests import CHANGES, Accepted, Call, Requests
from services.api.routing import Route, operation
from services.api.schemas import (
    Candidate,
    Filter,
    IdentifyRequest,
    VerifyFromBioRequest,
    VerifyFromIdRequest,
    VerifyResponse,
)
from shared.events import Identify, ProbeChosen

IDENTIFY = "abis.identify"
VERIFY = "abis.verify"

router = APIRouter(route_class=Route, tags=["Search"])

LEVEL: Final = re.compile("fpir-([1-5][0-9]|60)", re.ASCII)
"""Accuracy levels: one search in 10 names a stranger, to one in a million. Beyond, no calibration says anything."""


def _target(level: str | None, threshold: float | None) -> float | None:
    """Return the FPIR in dB that an accuracyLevel stands for."""
    if level is None:
        return None
    if threshold is not None:
        raise Refusal(Code.WRONG_SHAPE, "query parameter accuracyLevel: threshold is given too; leave one of them out")
    if (found := LEVEL.fullmatch(level)) is None:
        raise Refusal(
            Code.WRONG_SHAPE,
            "query parameter accuracyLevel: must be fpir-10 to fpir-60, -10·log10 of the share of searches that name a "
            f"stranger, and is {shown(level)}; leave it out for the system's own",
        )
    return float(found[1])


def _no_level(accuracyLevel: str | None) -> None:
    if accuracyLevel is not None:
        raise Refusal(
            Code.WRONG_SHAPE,
            "query parameter accuracyLevel: is for identifications; leave it out, or give threshold in dB",
        )


@operation(
    router,
    "POST",
    "/v1/identify/{galleryId}",
    scope=IDENTIFY,
    summary="Biometric identification",
    result=list[Candidate],
    meaning="The candidates, most alike first; the headers say at which position of which gallery",
    callback="identifyResponse",
    refusals=(404,),
)
async def identify(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    galleryId: GalleryId,
    body: IdentifyRequest,
    maxNbCand: Most = None,
    threshold: Threshold = None,
    accuracyLevel: AccuracyLevel = None,
    serviceLevel: ServiceLevel = None,
) -> Response:
    target = _target(accuracyLevel, threshold)
    return await desk.serve(
        call, lambda: requests.identify(call, galleryId, body, maxNbCand, threshold, target), needs=EXTRACTOR
    )


def _chosen(requests: Requests, call: Call, question: Identify, personId: str, encounterId: str | None) -> Accepted:
    requests.searched(question.gallery, personId, encounterId)
    request = call.request(CHANGES, requests.settings.answer_timeout)
    return Accepted(request.request_id, ProbeChosen(request, question, personId, encounterId))


@operation(
    router,
    "POST",
    "/v1/identify/{galleryId}/{personId}",
    scope=IDENTIFY,
    summary="Biometric identification based on existing data",
    result=list[Candidate],
    meaning="The candidates but for the person asked about, most alike first",
    callback="identifyResponse",
    refusals=(404,),
)
async def identifyFromId(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    galleryId: GalleryId,
    personId: PersonId,
    body: Annotated[Filter | None, Body()] = None,
    maxNbCand: Most = None,
    threshold: Threshold = None,
    accuracyLevel: AccuracyLevel = None,
    serviceLevel: ServiceLevel = None,
) -> Response:
    target = _target(accuracyLevel, threshold)
    question = requests.question(call, galleryId, maxNbCand, threshold, target, body or {}, "body ")
    return await desk.serve(call, lambda: _chosen(requests, call, question, personId, None), needs=MATCHER)


@operation(
    router,
    "POST",
    "/v1/identify/{galleryId}/{personId}/encounters/{encounterId}",
    scope=IDENTIFY,
    summary="Biometric identification based on an existing encounter",
    result=list[Candidate],
    meaning="The candidates but for the person asked about, most alike first",
    callback="identifyResponse",
    refusals=(404,),
)
async def identifyFromEncounterId(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    galleryId: GalleryId,
    personId: PersonId,
    encounterId: EncounterId,
    body: Annotated[Filter | None, Body()] = None,
    maxNbCand: Most = None,
    threshold: Threshold = None,
    accuracyLevel: AccuracyLevel = None,
    serviceLevel: ServiceLevel = None,
) -> Response:
    target = _target(accuracyLevel, threshold)
    question = requests.question(call, galleryId, maxNbCand, threshold, target, body or {}, "body ")
    return await desk.serve(call, lambda: _chosen(requests, call, question, personId, encounterId), needs=MATCHER)


@operation(
    router,
    "POST",
    "/v1/verify/{galleryId}/{personId}",
    scope=VERIFY,
    summary="Biometric verification based on existing data",
    result=VerifyResponse,
    meaning="Whether it is this person; a score only where it is",
    callback="verifyResponse",
    refusals=(404,),
)
async def verifyFromId(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    galleryId: GalleryId,
    personId: PersonId,
    body: VerifyFromIdRequest,
    threshold: Threshold = None,
    accuracyLevel: AccuracyLevel = None,
    serviceLevel: ServiceLevel = None,
) -> Response:
    _no_level(accuracyLevel)
    return await desk.serve(call, lambda: requests.verify(call, galleryId, personId, body, threshold), needs=EXTRACTOR)


@operation(
    router,
    "POST",
    "/v1/verify",
    scope=VERIFY,
    summary="Biometric verification with two sets of data",
    result=VerifyResponse,
    meaning="Whether both show one person; a score only where they do",
    callback="verifyResponse",
)
async def verifyFromBio(
    call: Prioritised,
    desk: DeskOf,
    requests: RequestsOf,
    body: VerifyFromBioRequest,
    threshold: Threshold = None,
    accuracyLevel: AccuracyLevel = None,
    serviceLevel: ServiceLevel = None,
) -> Response:
    _no_level(accuracyLevel)
    return await desk.serve(call, lambda: requests.compare(call, body, threshold), needs=EXTRACTOR)
