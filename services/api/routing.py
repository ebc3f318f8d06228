"""What happens around every operation: token, scope, limits, error texts, access log, metrics; and its OpenAPI entry.

A route cannot be made without a scope, and nothing of a request but its first line and headers is read before it.
"""

import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes
from uuid import uuid4

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from services.api.answers import Answer, refused
from services.api.errors import Code, Refusal, shown
from services.api.limits import BODY_SECONDS, Bodies, read_body, require_json
from services.api.priorities import lane_of
from services.api.problems import from_validation
from services.api.schemas import Error, TaskId
from services.api.tables import RegistryUnavailable
from services.api.tokens import BadToken, Verifier
from shared import metrics
from shared.log import LogMisfit, LogUnavailable
from shared.logs import blame, logger

_LOG: Final = logger("api")

TRANSACTION: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
"""What may be a transaction id."""

REFUSALS: Final[Mapping[int, str]] = {
    400: "Bad request: what is wrong, where, and what to do",
    401: "No bearer token, or one that is not to be believed",
    403: "The token lacks the scope, or what is asked for is not given out",
    404: "Unknown person, encounter, gallery or task",
    408: "The body did not arrive in time",
    409: "Exists already, with other content; nothing was changed",
    413: "Larger than what is taken",
    415: "The body is not application/json",
    429: "This client has too much under way; see Retry-After",
    500: "A fault of this server",
    503: "Log, matcher or registry not available now; see Retry-After",
}


class Route(APIRoute):
    """One operation of the interface."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        operate = super().get_route_handler()
        name = self.operation_id or self.name
        scope: str = (self.openapi_extra or {})["security"][0]["BearerAuth"][0]

        async def handle(request: Request) -> Response:
            started = time.perf_counter()
            request.state.operation = name
            request.state.request_id = uuid4().hex
            request.state.client = ""
            given = request.query_params.get("transactionId", "")
            # What is no transaction id is refused later, and is on no line that says whose transaction it was.
            transaction = given if TRANSACTION.fullmatch(given) else ""
            with structlog.contextvars.bound_contextvars(
                request=request.state.request_id, transaction=transaction, operation=name
            ):
                response = await _answered(request, lambda: self._operate(request, scope, operate))
                seconds = time.perf_counter() - started
                metrics.REQUEST_SECONDS.labels(name).observe(seconds)
                metrics.RESPONSES.labels(name, str(response.status_code)).inc()
                _LOG.info(
                    "answered",
                    status=response.status_code,
                    ms=round(seconds * 1000, 1),
                    client=request.state.client,
                )
            response.headers["Eyni-Request"] = request.state.request_id
            response.headers["Eyni-Transaction"] = quote(transaction, safe="!#$&'()*+,/:;=?@[]{}|~ -._").strip()
            response.headers["Cache-Control"] = "no-store"
            return response

        return handle

    async def _operate(
        self, request: Request, scope: str, operate: Callable[[Request], Coroutine[Any, Any, Response]]
    ) -> Response:
        caller = authenticate(request, request.app.state.verifier)
        request.state.client = caller.client
        request.state.scopes = caller.scopes
        if scope not in caller.scopes:
            raise Refusal(
                Code.NO_SCOPE,
                f"the token lacks the scope {scope}; ask your authority for one that has it",
                {"WWW-Authenticate": f'Bearer realm="eyni", error="insufficient_scope", scope="{scope}"'},
            )
        _check_utf8(request)
        self._check_query(request)
        lane = lane_of(request.method, request.state.operation, request.query_params)
        if lane is None:
            return await self._read(request, operate)
        admission, call_id = request.app.state.desk.admission, request.state.request_id
        admission.begin(caller.client, call_id, lane, waits="callback" not in request.query_params)
        try:
            return await self._read(request, operate)
        finally:
            admission.prepared(call_id)

    async def _read(self, request: Request, operate: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
        if self.body_field is None:
            return await operate(request)
        bodies: Bodies = request.app.state.bodies
        async with bodies.held(request.state.client) as held:
            body = await read_body(request, bodies.limit, BODY_SECONDS, held)
            if body:
                require_json(request)
            return await operate(_Read(request, body, await bodies.parse(body) if body else None))

    def _check_query(self, request: Request) -> None:
        """Refuse a name that is none of the operation's: a misspelt `threshold` would silently be the default."""
        known = {p.alias for p in _query_params(self.dependant)}
        names = [name for name, _ in request.query_params.multi_items()]
        for name in names:
            if name not in known:
                raise Refusal(
                    Code.WRONG_SHAPE,
                    f"query parameter {shown(name)}: is not known here; there are {', '.join(sorted(known))}",
                )
            if names.count(name) > 1:
                raise Refusal(Code.WRONG_SHAPE, f"query parameter {name}: is given more than once")


def _check_utf8(request: Request) -> None:
    """Refuse bytes that are no text in the query (the door did so for the path): each would be read as U+FFFD."""
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise Refusal(
            Code.WRONG_SHAPE, "query: percent-encodes bytes that are no UTF-8; encode its text as UTF-8 first"
        ) from None


def _query_params(dependant: Any) -> list[Any]:
    inner = [p for d in dependant.dependencies for p in _query_params(d)]
    return [*dependant.query_params, *inner]


class _Read(Request):
    """A request whose body was read and parsed already, by our limits and a strict parser."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._bytes = body
        self._value = value

    async def body(self) -> bytes:
        return self._bytes

    async def json(self) -> Any:
        return self._value


def authenticate(request: Request, verifier: Verifier) -> Any:
    """Return the caller, or refuse: with one constant text for whatever is wrong with a token."""
    given = request.headers.getlist("authorization")
    if not given:
        raise Refusal(
            Code.NO_TOKEN,
            "a bearer token is needed: Authorization: Bearer <JWT>",
            {"WWW-Authenticate": 'Bearer realm="eyni"'},
        )
    kind, _, token = given[0].partition(" ")
    try:
        if len(given) > 1 or kind.lower() != "bearer":
            raise BadToken("not one bearer token")
        return verifier.verify(token)
    except BadToken as error:
        _LOG.info("token refused", reason=str(error))
        raise Refusal(
            Code.BAD_TOKEN,
            "the token is not valid; get a new one from your authority",
            {"WWW-Authenticate": 'Bearer realm="eyni", error="invalid_token"'},
        ) from None


async def _answered(request: Request, operate: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await operate()
    except Refusal as refusal:
        return respond(refused(refusal))
    except RequestValidationError as error:
        return respond(refused(from_validation(error.errors(), error.body)))
    except RegistryUnavailable:
        metrics.LOG_ERRORS.labels("registry").inc()
        return respond(refused(Refusal(Code.NOT_READY, "the registry does not answer now; send again")))
    except LogUnavailable:
        metrics.LOG_ERRORS.labels("api").inc()
        return respond(refused(log_unavailable()))
    except LogMisfit:
        return respond(
            refused(Refusal(Code.TOO_LARGE, "the request is larger than the log takes; send fewer pictures"))
        )
    except Exception as error:
        _LOG.error("failed", **blame(error))
        return respond(
            refused(
                Refusal(
                    Code.FAILED,
                    f"a fault of this server; give its operator the request id {request.state.request_id}",
                )
            )
        )


def log_unavailable() -> Refusal:
    return Refusal(
        Code.LOG_UNAVAILABLE,
        "the log takes no records now, so nothing is known to be accepted; send the same again (what has ids of its "
        "own or an Idempotency-Key is not done twice; before a deletion, merge or move, read whether it was done)",
    )


def respond(answer: Answer) -> Response:
    """Turn an answer into a response."""
    if answer.status == 204:
        return Response(status_code=204, headers=dict(answer.headers))
    return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type)


# ---- OpenAPI


def operation(
    router: APIRouter,
    method: str,
    path: str,
    *,
    scope: str,
    summary: str,
    result: Any = None,
    meaning: str,
    callback: str | None = None,
    refusals: tuple[int, ...] = (),
    extra_content: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]:
    """Make a function an operation; its name is the operationId. Without `result` it answers 204."""

    def make(function: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        name = function.__name__
        ok: dict[str, Any] = {"description": meaning}
        if result is not None:
            ok |= {"model": result, "content": dict(extra_content or {})}
        with_body: tuple[int, ...] = (408, 413, 415) if method in ("POST", "PUT") else ()
        appends: tuple[int, ...] = (429,) if method != "GET" else ()
        codes = {400, 401, 403, 500, 503, *refusals, *with_body, *appends}
        responses: dict[int | str, dict[str, Any]] = {
            code: {"model": Error, "description": REFUSALS[code]} for code in sorted(codes)
        }
        responses[200 if result is not None else 204] = ok
        extra: dict[str, Any] = {"security": [{"BearerAuth": [scope]}]}
        if callback is not None:
            responses[202] = {
                "model": TaskId,
                "description": "Accepted; the result will be posted to the callback with this task id.",
            }
            body = {"type": "string", "enum": ["OK"]} if result is None else reference(result)
            extra["callbacks"] = {callback: {"{$request.query.callback}": {"post": _callback(name, summary, body)}}}
        router.add_api_route(
            path,
            function,
            methods=[method],
            operation_id=name,
            summary=summary,
            responses=responses,
            status_code=200 if result is not None else 204,
            response_model=None,
            response_class=Response,
            openapi_extra=extra,
        )
        return function

    return make


def reference(model: Any) -> dict[str, Any]:
    """Return a type's schema, with named types as references into our components."""
    schema = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    if not isinstance(model, type) or not hasattr(model, "model_fields"):
        return schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _callback(operation_id: str, summary: str, body: Mapping[str, Any]) -> dict[str, Any]:
    def parameter(name: str, description: str) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": True, "description": description, "schema": {"type": "string"}}

    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        "summary": f"{summary}: the result",
        "operationId": f"{operation_id}CB",
        "parameters": [
            parameter("transactionId", "The request's transaction id"),
            parameter("taskId", "The task id that the request was answered with"),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": dict(body)}, "application/error+json": error},
        },
        "responses": {
            "204": {"description": "Received and accepted"},
            "403": {"description": "Not allowed"},
            "500": {"description": "Unexpected error", "content": {"application/json": error}},
        },
    }
