"""What is settled before routing: paths that could be read in two ways, methods, and ids wherever one is sent."""

import ast
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from services.api import health, routes_crud, routes_gallery, routes_search
from services.api.app import methods_of
from services.api.door import objection_to_path
from services.api.routing import Route
from tests.unit.api.conftest import Api, encounter, sent_raw
from tests.unit.api.osia import operations

TWO_WAYS = [
    "/v1/persons/P1%2Fencounters%2F1",
    "/v1/persons/P1%2fencounters/1",
    "/v1%2Fgalleries",
    "/v1/persons/P1%5Cencounters/1",
    "/v1/persons/P1/encounters/%2e%2e",
    "/v1/persons/P1/encounters/.%2E",
    "/v1/persons/P1/encounters/%2e",
    "/v1//galleries",
    "//v1/galleries",
    "/v1/persons//encounters/1",
    "/v1/persons/P%zz/encounters/1",
    "/v1/persons/P%/encounters/1",
    "/healthz%2F",
    "/metrics/%2e%2e/healthz",
    "/nowhere/%2e%2e",
]


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", TWO_WAYS)
def test_a_path_that_could_be_read_in_two_ways_is_400_on_every_route_with_and_without_a_token(
    steady: Api, path: str, method: str
) -> None:
    for headers in ({}, {"Authorization": f"Bearer {steady.token()}"}):
        answer = sent_raw(steady, method, path, headers)
        assert answer.status_code == 400
        assert method == "HEAD" or answer.json()["code"] == 40002


def test_an_encounter_is_not_deleted_through_an_encoded_slash(api: Api) -> None:
    assert api.call("POST", "/v1/persons/P1/encounters/1", encounter(b"one")).status_code == 200
    assert api.call("DELETE", "/v1/persons/P1%2Fencounters%2F1").status_code == 400
    assert api.call("GET", "/v1/persons/P1/encounters/1").status_code == 200


@pytest.mark.parametrize(
    "raw", [b"/v1/persons/a%252Fb/encounters", b"/v1/persons/a%2Eb/encounters/...", b"/", b"/v1/galleries/", b"/a%20b"]
)
def test_a_path_that_means_one_thing_is_let_in(raw: bytes) -> None:
    assert objection_to_path(raw) is None


# ---- ids

ODD = {
    "dots": "..",
    "dot": ".",
    "backslash": "a\\b",
    "bidi": "a\u202eb",
    "no width": "a\u200bb",
    "NEL": "a\x85b",
    "line separator": "a\u2028b",
    "NFD": "Jose\u0301",
    "blank": " a",
    "private": "\ue000",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_id_is_refused_in_a_body(steady: Api, odd: str) -> None:
    path = "/v1/persons/p1/encounters/e1"
    sample = {"biometricType": "FACE", "image": "YQ==", "encounterId": odd}
    for answer in (
        steady.call("POST", path, encounter(galleries=(odd,))),
        steady.call("POST", path, encounter(encounterId=odd)),
        steady.call("POST", path, encounter() | {"biometricData": [sample]}),
        steady.call("PUT", f"{path}/galleries", [odd]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, 40002)


PARAMETERS = ["personId", "encounterId", "galleryId", "personIdTarget", "personIdSource", "taskId"]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_id_is_refused_in_every_path(steady: Api, odd: str) -> None:
    quoted = quote(odd, safe="").replace(".", "%2e")
    document = steady.client.get("/openapi.json").json()
    seen = set[str]()
    for method, path, _ in operations(document).values():
        for name in PARAMETERS:
            if f"{{{name}}}" not in path:
                continue
            filled = path.replace(f"{{{name}}}", quoted)
            for other in PARAMETERS:
                filled = filled.replace(f"{{{other}}}", "a" if other != "personIdSource" else "b")
            query: dict[str, Any] = {"status": "ACTIVE"} if filled.endswith("/status") else {}
            answer = steady.call(method.upper(), filled, _body(path, method), **query)
            assert (answer.status_code, answer.json()["code"]) == (400, 40002), (method, filled, answer.text)
            seen.add(name)
    assert seen == set(PARAMETERS)


def _body(path: str, method: str) -> Any:
    face = [{"biometricType": "FACE", "image": "YQ=="}]
    if path.endswith("/galleries") and method == "put":
        return ["a"]
    if path.startswith("/v1/identify/{galleryId}/{personId}"):
        return {}
    if path.startswith("/v1/identify"):
        return {"filter": {}, "biometricData": face}
    if path.startswith("/v1/verify"):
        return {"biometricData": face}
    return encounter() if "encounters" in path and method in ("post", "put") and "move" not in path else None


def test_operations_take_ids_by_the_rule_of_the_edge_only() -> None:
    # The log's own type is laxer: what it lets in could not be addressed, or would be somebody else's twin.
    folder = Path(__file__).parents[3] / "services" / "api"
    lax = [
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "shared.events"
        if any(alias.name == "Id" for alias in node.names)
    ]
    assert lax == []


def test_every_operation_is_one_of_ours_and_every_text_in_its_address_has_a_bound(steady: Api) -> None:
    # `Route` is what reads a body within its limits and deadlines; health takes none.
    for router in (routes_crud.router, routes_search.router, routes_gallery.router):
        assert [route for route in router.routes if type(route) is not Route] == []
    assert [route for route in health.router.routes if getattr(route, "body_field", None) is not None] == []
    document = steady.client.get("/openapi.json").json()
    unbounded = [
        (method, path, parameter["name"])
        for method, path, operation in operations(document).values()
        for parameter in operation["parameters"]
        for schema in [parameter["schema"]]
        if schema.get("type") == "string" and not schema.keys() & {"maxLength", "enum", "const"}
    ]
    assert unbounded == []


# ---- methods


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/metrics", "/openapi.json", "/v1/galleries"])
def test_head_answers_what_get_does_without_the_body(steady: Api, path: str) -> None:
    headers = {"Authorization": f"Bearer {steady.token()}"}
    get = steady.client.request("GET", path, params={"transactionId": "t"} if "v1" in path else {}, headers=headers)
    head = steady.client.request("HEAD", path, params={"transactionId": "t"} if "v1" in path else {}, headers=headers)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert set(head.headers) == set(get.headers)


def test_every_get_of_the_interface_has_head(steady: Api) -> None:
    document = steady.client.get("/openapi.json").json()
    for method, path, _ in operations(document).values():
        filled = path.replace("{", "").replace("}", "")
        allowed = steady.client.request("OPTIONS", filled).headers["Allow"].split(", ")
        assert method.upper() in allowed
        assert ("HEAD" in allowed) == ("GET" in allowed)


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/persons/p1/encounters/e1", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ("/v1/persons/p1/encounters", "GET, HEAD, OPTIONS, POST"),
        ("/v1/persons", "OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_405_name_all_methods_of_a_path(steady: Api, path: str, allow: str) -> None:
    assert steady.client.request("OPTIONS", path).headers["Allow"] == allow
    for method in ("PATCH", "TRACE", "BREW"):
        answer = steady.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (405, 40501)
        assert answer.headers["Allow"] == allow


def test_a_path_that_is_not_there_is_404_by_any_method(steady: Api) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PATCH", "POST"):
        assert steady.client.request(method, "/v2/persons").status_code == 404
    assert methods_of("/v1/persons/a/b/c") == frozenset()
