"""The api over a memory log, a SQLite registry and a pipeline of fakes; nothing of it outlives its test."""

import base64
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from services.api.app import create_app
from services.api.bootstrap import running, verifier
from services.api.desk import Desk
from services.api.registry import Registry
from services.api.tokens import SCOPES, mint
from shared.heartbeat import loaded
from shared.log.memory import MemoryLog
from shared.settings import Settings
from shared.topics import TOPICS
from tests.facts import comparator
from tests.unit.api.fakes import FakePipeline


class Client:
    """Calls an application in this process from a test's thread; calls may overlap."""

    def __init__(self, app: FastAPI, portal: BlockingPortal) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://eyni.test", timeout=30.0)
        self._portal = portal

    def request(self, method: str, path: str | httpx.URL, **rest: Any) -> httpx.Response:
        return self._portal.call(partial(self._http.request, method, path, **rest))

    def get(self, path: str, **rest: Any) -> httpx.Response:
        return self.request("GET", path, **rest)


@dataclass(frozen=True)
class Api:
    """One running api, and how to talk to it."""

    settings: Settings
    log: MemoryLog
    desk: Desk
    app: FastAPI
    pipeline: FakePipeline
    client: Client

    def token(self, *scopes: str, client: str = "station-7") -> str:
        return mint(self.settings.data, scopes or SCOPES, client=client, issuer="eyni-development", audience="eyni")

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        client: str = "station-7",
        **query: Any,
    ) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.token(client=client)}", **(headers or {})}
        return self.client.request(method, path, json=body, params={"transactionId": "t-1", **query}, headers=given)


def encounter(*pictures: bytes, galleries: tuple[str, ...] = ("visa",), **fields: Any) -> dict[str, Any]:
    """Return an OSIA encounter as a station sends it."""
    samples = [{"biometricType": "FACE", "image": base64.b64encode(p).decode()} for p in pictures or (b"a face",)]
    return {
        "status": "ACTIVE",
        "encounterType": "enrolment",
        "galleries": list(galleries),
        "biometricData": samples,
        **fields,
    }


def sent_raw(api: Api, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Send a path as it is written: httpx would resolve its dots and encode it once more."""
    raw = path.encode()
    url = httpx.URL("http://eyni.test", raw_path=raw)
    return api.client.request(method, url, headers=dict(headers or {}))


def until(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "did not become true"
        time.sleep(0.005)
    return found


@contextmanager
def api_over(log: MemoryLog, folder: Path, **settings: Any) -> Generator[Api]:
    """Run an api on a log until the end of `with`."""
    given: dict[str, Any] = {"answer_timeout": 10.0, **settings}
    chosen = Settings(data=folder, log="memory:", **given)
    pipeline = FakePipeline(log)
    compares = comparator("fake", 32)
    with running(chosen, log, Registry(chosen.registry_url, compares), loaded(compares.calibration)) as desk:
        app = create_app(desk, verifier(chosen))
        pipeline.start()
        try:
            with start_blocking_portal() as portal:
                client = Client(app, portal)
                api = Api(chosen, log, desk, app, pipeline, client)
                until(lambda: client.get("/readyz").status_code == 200)
                yield api
        finally:
            pipeline.close()


def new_log() -> MemoryLog:
    found = MemoryLog()
    found.ensure(list(TOPICS.values()))
    return found


@pytest.fixture
def log() -> MemoryLog:
    return new_log()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    """One api for all tests of a file that change nothing in it, or only what the others do not look at."""
    with api_over(new_log(), tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
def api(log: MemoryLog, tmp_path: Path) -> Generator[Api]:
    with api_over(log, tmp_path) as found:
        yield found
