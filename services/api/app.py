"""The HTTP application: OSIA's 22 operations, health and metrics, and our own OpenAPI document."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from services.api import health, routes_crud, routes_gallery, routes_search
from services.api.answers import refused
from services.api.desk import Desk
from services.api.door import Door
from services.api.errors import Code, Refusal
from services.api.limits import Bodies
from services.api.requests import Requests
from services.api.routing import respond
from services.api.tokens import Verifier

OSIA = "1.6.0"

_ROUTERS: Final = (routes_crud.router, routes_search.router, routes_gallery.router, health.router)
_DOCUMENT: Final = "/openapi.json"


def create_app(desk: Desk, verifier: Verifier) -> FastAPI:
    """Build the application over its parts. It starts nothing and closes nothing."""
    app = FastAPI(
        title="Eyni: OSIA ABIS Interface",
        version=OSIA,
        description="OSIA ABIS 1.6.0 for faces. services/api/osia.md lists where it differs, and why.",
        docs_url=None,
        redoc_url=None,
        openapi_url=_DOCUMENT,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.desk = desk
    app.state.verifier = verifier
    app.state.bodies = Bodies(desk.settings.body_limit, desk.settings.bodies_limit)
    app.state.requests = Requests(desk.registry, desk.egress, desk.settings)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _malformed)
    app.add_middleware(Door, methods=methods_of)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def methods_of(path: str) -> frozenset[str]:
    """Return the methods that some operation has on a decoded path; none where no operation has the path."""
    if path == _DOCUMENT:
        return frozenset({"GET"})
    routes = (route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute))
    return frozenset(method for route in routes if route.path_regex.match(path) for method in route.methods or ())


def _malformed(_: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses; paths and methods that are not there were refused at the door."""
    assert isinstance(error, HTTPException)
    return respond(refused(Refusal(Code.WRONG_SHAPE, "the request is malformed")))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, servers=[{"url": "/"}]
        )
        parts = document["components"]
        parts["securitySchemes"] = {"BearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        # FastAPI documents a 422 that is never given (ours is 400), and shapes for it.
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        for item in document["paths"].values():
            for operation in item.values():
                operation["responses"].pop("422", None)
        for schema in _objects(document):
            _tidy(schema)
        app.openapi_schema = document
    return app.openapi_schema


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        found = cast(dict[str, Any], value)
        yield found
        for inner in found.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in cast(Iterable[Any], value):
            yield from _objects(inner)


def _tidy(schema: dict[str, Any]) -> None:
    """Say of an optional field that it may be left out, not that it may be null: OSIA has no nulls."""
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    if isinstance(schema.get("title"), str) and "version" not in schema:
        del schema["title"]
    kinds: list[Any] = schema.get("anyOf") or []
    if {"type": "null"} in kinds:
        rest = [kind for kind in kinds if kind != {"type": "null"}]
        del schema["anyOf"]
        schema.update(rest[0] if len(rest) == 1 else {"anyOf": rest})
