"""Who may do what: every operation against every scope, from our own OpenAPI."""

from typing import Any

import pytest

from services.api.tokens import SCOPES
from tests.unit.api.conftest import Api
from tests.unit.api.osia import operations


def paths(api: Api) -> list[tuple[str, str, str, str]]:
    """Return operationId, method, path with ids filled in, and the scope that is documented."""
    found: list[tuple[str, str, str, str]] = []
    for name, (method, path, definition) in operations(api.app.openapi()).items():
        [security] = definition["security"]
        [scope] = security["BearerAuth"]
        for part in ("personIdTarget", "personId", "personIdSource", "encounterId", "galleryId", "taskId"):
            path = path.replace(f"{{{part}}}", f"{part}-1")
        found.append((name, method.upper(), path, scope))
    return found


def test_an_operation_is_served_with_its_scope_and_with_no_other(steady: Api) -> None:
    table = paths(steady)
    assert len(table) == 22
    for name, method, path, wanted in table:
        for scope in SCOPES:
            headers = {"Authorization": f"Bearer {steady.token(scope)}"}
            # No transactionId: who gets past the scope is told so, and nothing is done.
            answer = steady.client.request(method, path, headers=headers, json={})
            assert answer.status_code == (400 if scope == wanted else 403), (name, scope, answer.text)
            if scope != wanted:
                assert wanted in answer.headers["WWW-Authenticate"]


def test_without_a_token_nothing_is_served(steady: Api) -> None:
    for name, method, path, _ in paths(steady):
        answer = steady.client.request(method, path, params={"transactionId": "t"})
        assert answer.status_code == 401, name
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="eyni"'
        assert answer.json()["code"] == 40101


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "bearer ", "Token x", ""])
def test_what_is_no_bearer_token_is_refused(steady: Api, header: str) -> None:
    answer = steady.client.get("/v1/galleries", headers={"Authorization": header}, params={"transactionId": "t"})
    assert answer.status_code == 401


def test_two_tokens_are_refused(steady: Api) -> None:
    given: Any = [("Authorization", f"Bearer {steady.token()}"), ("Authorization", f"Bearer {steady.token()}")]
    assert steady.client.get("/v1/galleries", headers=given, params={"transactionId": "t"}).status_code == 401


def test_a_route_cannot_be_made_without_a_scope() -> None:
    from fastapi import APIRouter

    from services.api.routing import Route

    router = APIRouter(route_class=Route)
    with pytest.raises(KeyError):
        router.add_api_route("/v1/open", lambda: None)


def test_another_clients_task_is_as_unknown_as_none(steady: Api) -> None:
    for client in ("other", "station-7"):
        answer = steady.call("GET", "/v1/tasks/none/status", client=client)
        assert (answer.status_code, answer.json()["code"]) == (404, 40401)
