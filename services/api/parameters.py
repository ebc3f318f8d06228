"""What operations are given: OSIA's parameters with their limits, and the parts of the program they use."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request

from services.api.desk import Desk
from services.api.priorities import is_urgent
from services.api.requests import Call, Requests
from services.api.routing import TRANSACTION
from services.api.schemas import Id

PersonId = Annotated[Id, Path(description="the id of the person")]
EncounterId = Annotated[Id, Path(description="the id of the encounter")]
GalleryId = Annotated[Id, Path(description="the id of the gallery; ALL stands for all galleries")]
TargetId = Annotated[Id, Path(description="the id of the person receiving encounters")]
SourceId = Annotated[Id, Path(description="the id of the person giving encounters")]
TaskIdPath = Annotated[Id, Path(description="id of the task of an asynchronous call")]

Transaction = Annotated[
    str,
    Query(min_length=1, max_length=200, pattern=rf"^{TRANSACTION.pattern}$", description="The id of the transaction"),
]
Callback = Annotated[
    str | None,
    Query(
        max_length=2000,
        description="where the result will be sent; its host must be on the operator's list",
        json_schema_extra={"format": "uri"},
    ),
]
Priority = Annotated[
    int | None,
    Query(
        ge=0,
        le=9,
        description="0: lowest to 9: highest; from 5 on, it goes ahead of all bulk work, for which enrolments, and "
        "identifications with a callback, need the scope eyni.urgent",
    ),
]
Algorithm = Annotated[
    str | None, Query(max_length=200, description="Hint about the algorithm to be used; there is one, so none is taken")
]
Most = Annotated[
    int | None,
    Query(ge=1, le=1000, description="the maximum number of candidates; default 30, up to EYNI_CANDIDATE_CAP"),
]
Threshold = Annotated[
    float | None,
    Query(allow_inf_nan=False, description="in dB: -10·log10 of the false match rate; at least EYNI_LOWEST_THRESHOLD"),
]
AccuracyLevel = Annotated[
    str | None,
    Query(
        max_length=200,
        description="of an identification: fpir-10 to fpir-60, the share of searches that name a stranger in dB, "
        "whatever the gallery's size (fpir-30: one in 1,000), instead of threshold. A verification has none",
    ),
]
ServiceLevel = Annotated[int | None, Query(ge=0, le=9, description="taken and without effect: there is one level")]


def _called(request: Request, transaction: str, callback: str | None = None, *, urgent: bool = False) -> Call:
    state = request.state
    now = datetime.now(UTC)
    return Call(
        state.operation, transaction, state.client, state.request_id, now, callback, urgent, frozenset(state.scopes)
    )


def _traced(request: Request, transactionId: Transaction) -> Call:
    return _called(request, transactionId)


def _addressed(request: Request, transactionId: Transaction, callback: Callback = None) -> Call:
    return _called(request, transactionId, callback)


def _prioritised(
    request: Request, transactionId: Transaction, callback: Callback = None, priority: Priority = None
) -> Call:
    urgent = is_urgent(request.state.operation, priority, request.state.scopes, waits=callback is None)
    return _called(request, transactionId, callback, urgent=urgent)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _requests(request: Request) -> Requests:
    requests: Requests = request.app.state.requests
    return requests


Traced = Annotated[Call, Depends(_traced)]
"""A call about tasks: it can have no callback."""
Addressed = Annotated[Call, Depends(_addressed)]
"""A call that may name a callback."""
Prioritised = Annotated[Call, Depends(_prioritised)]
"""A call that may name a callback and a priority."""
DeskOf = Annotated[Desk, Depends(_desk)]
RequestsOf = Annotated[Requests, Depends(_requests)]
