"""OSIA's galleries and tasks: what is read back without the matcher."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response

from services.api import answers
from services.api.errors import Code, Refusal
from services.api.parameters import DeskOf, GalleryId, Prioritised, TaskIdPath, Traced
from services.api.requests import no_gallery
from services.api.routing import Route, operation, respond
from services.api.schemas import PersonIds, TaskStatus
from services.api.tasks import Task

PAGE: Final = 10_000
"""Most items of a gallery in one answer: half a megabyte of JSON."""

router = APIRouter(route_class=Route)


@operation(
    router,
    "GET",
    "/v1/galleries",
    scope="abis.gallery.read",
    summary="Read the ID of all the galleries",
    result=list[str],
    meaning="Every gallery that was ever used, by name",
    callback="readGalleriesResponse",
)
async def readGalleries(call: Prioritised, desk: DeskOf) -> Response:
    return await desk.serve(call, lambda: answers.as_json(200, list(desk.registry.galleries())))


@operation(
    router,
    "GET",
    "/v1/galleries/{galleryId}",
    scope="abis.gallery.read",
    summary="Read the content of one gallery",
    result=list[PersonIds],
    meaning="The encounters, active or not, by person and encounter",
    callback="readGalleryContentResponse",
    refusals=(404,),
    extra_content={"text/csv": {"schema": {"type": "string"}}},
)
async def readGalleryContent(
    call: Prioritised,
    desk: DeskOf,
    galleryId: GalleryId,
    offset: Annotated[int, Query(ge=0, le=2**53, description="the first item of the answer")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="the maximum number of items")] = 1000,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    as_csv = first == "text/csv" and call.callback is None

    def read() -> answers.Answer:
        if not desk.registry.gallery_known(galleryId):
            raise no_gallery(galleryId)
        keys = desk.registry.gallery_content(galleryId, offset, limit)
        return answers.gallery_csv(keys) if as_csv else answers.gallery_json(keys)

    return await desk.serve(call, read)


async def _own(desk: DeskOf, task_id: str, client: str) -> Task:
    """Return the caller's task; another client's is as unknown as one that never was."""
    task = await desk.look(lambda: desk.tasks.get(task_id))
    if task is None or task.client != client:
        raise Refusal(Code.UNKNOWN, "there is no such task; tasks are kept for some days")
    return task


@operation(
    router,
    "GET",
    "/v1/tasks/{taskId}/status",
    scope="abis.task.read",
    summary="Read the execution status of an asynchronous call",
    result=TaskStatus,
    meaning="The status; automatic retries show as RESPONSE_SCHEDULED",
    refusals=(404,),
)
async def readTaskStatus(call: Traced, desk: DeskOf, taskId: TaskIdPath) -> Response:
    task = await _own(desk, taskId, call.client)
    return respond(answers.as_json(200, task.state.value))


@operation(
    router,
    "POST",
    "/v1/tasks/{taskId}/redeliver",
    scope="abis.task.update",
    summary="Trigger a new attempt to send a result by callback",
    meaning="The callback will be called once the result is there",
    refusals=(404,),
)
async def redeliverTaskResult(call: Traced, desk: DeskOf, taskId: TaskIdPath) -> Response:
    await _own(desk, taskId, call.client)
    await desk.look(lambda: desk.tasks.redeliver(taskId))
    return Response(status_code=204)
