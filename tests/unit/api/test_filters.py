"""Who may filter by what: an answer tells whether whoever was found has the value, so a filter reads it."""

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from shared.settings import Settings
from tests.unit.api.conftest import Api, api_over, encounter, new_log

FACE = {"biometricType": "FACE", "image": "YQ=="}
PATHS = ["/v1/identify/ALL", "/v1/identify/ALL/p1", "/v1/identify/ALL/p1/encounters/e1"]


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    with api_over(new_log(), tmp_path_factory.mktemp("api"), filter_fields="dateOfBirth, gender") as api:
        api.call("POST", "/v1/persons/p1/encounters/e1", encounter(b"one"))
        yield api


def ask(api: Api, path: str, wanted: dict[str, Any], *scopes: str, **query: str) -> httpx.Response:
    body = {"filter": wanted, "biometricData": [FACE]} if path.count("/") == 3 else wanted
    headers = {"Authorization": f"Bearer {api.token('abis.identify', *scopes)}"}
    return api.client.request("POST", path, json=body, headers=headers, params={"transactionId": "t", **query})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["passport", "passportMin", "passportMax", "dateOfBirt", "Min", "genderMinMin"])
def test_a_field_that_is_not_listed_needs_the_scope_to_read(listing: Api, path: str, name: str) -> None:
    value = "1980-01-01"
    answer = ask(listing, path, {name: value})
    assert (answer.status_code, answer.json()["code"]) == (403, 40301)
    assert "abis.encounter.read" in answer.json()["message"]
    assert 'scope="abis.encounter.read"' in answer.headers["WWW-Authenticate"]
    assert ask(listing, path, {name: value}, "abis.encounter.read").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_what_the_operator_lists_and_what_says_nothing_about_a_person_needs_none(listing: Api, path: str) -> None:
    wanted = {"dateOfBirthMin": "1980-01-01", "dateOfBirthMax": "2019-12-31", "gender": "F", "encounterType": "VISA"}
    assert ask(listing, path, wanted | {"biometricType": "FACE"}).status_code == 200
    assert ask(listing, path, {}).status_code == 200


@pytest.mark.parametrize("value", ["A", "", "CANARY", "20190521", "1980", "1980-13-01", ["1980-01-01"], True])
@pytest.mark.parametrize("name", ["passportMin", "genderMax"])
def test_a_bound_is_a_number_or_a_date_for_everybody(listing: Api, name: str, value: Any) -> None:
    answer = ask(listing, "/v1/identify/ALL/p1", {name: value}, "abis.encounter.read")
    assert (answer.status_code, answer.json()["code"]) == (400, 40002)
    assert "one number or one date" in answer.json()["message"]


def test_osias_example_is_served_to_who_may_read(listing: Api) -> None:
    wanted = {"dateOfBirthMin": "1980-01-01", "dateOfBirthMax": "2019-12-31"}
    assert ask(listing, "/v1/identify/ALL", wanted, "abis.encounter.read").status_code == 200


def test_none_is_listed_by_default() -> None:
    assert Settings(filter_fields=" a,, b ").filterable == {"a", "b"}
    assert Settings().filterable == frozenset()


def test_it_is_refused_at_once_even_with_a_callback(tmp_path: Any) -> None:
    with api_over(new_log(), tmp_path, callback_hosts="127.0.0.1:*") as api:
        answer = ask(api, "/v1/identify/ALL", {"passport": "x"}, callback="http://127.0.0.1:9/")
    assert answer.status_code == 403
