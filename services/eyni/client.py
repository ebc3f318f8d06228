"""Speaks OSIA to the api as a station or an officer's desk does; the only file here that imports httpx.

A call that finds the api restarting is sent again, the same bytes: the api answers a re-send as it answered (or would
have answered) the first.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Self
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import JsonValue

from services.eyni.common import Failed, NotAvailable
from services.eyni.heard import in_words
from services.eyni.reaching import connection
from shared.settings import Settings

FIRST_PAUSE, LAST_PAUSE = 0.2, 5.0
"""Seconds between two tries: a restarted service is back in one or two; after five, the server says so itself."""

PATIENCE = 60.0
"""Seconds that a call is tried for in all: a broker's restart takes six, a matcher's replay of a large gallery more."""

TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Above the server's `answer_timeout` (30 s), so that the server's own 503 arrives before this gives up."""

CLOCK_OFF: Final = 10.0
"""Seconds by which a clock is worth a word where a token is turned away; `Date` is written in whole seconds."""

AGAIN: Final = frozenset(
    (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the api said, and how long it took (seconds, re-sends included)."""

    status: int
    body: JsonValue = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    seconds: float
    clock_off: float = 0.0
    """Seconds that the api's clock is ahead of this machine's (negative: behind), by the answer's `Date`."""

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def retake(self) -> str:
        """Why a picture was refused (reasons, separated by commas); empty where it was not."""
        return self.headers.get("eyni-retake", "")

    @property
    def message(self) -> str:
        """The api's own words for what is wrong."""
        if isinstance(self.body, dict) and "message" in self.body:
            return str(self.body["message"])
        return HTTPStatus(self.status).phrase if self.status in list(HTTPStatus) else "no answer of our api's"

    @property
    def problem(self) -> str:
        """The same with its status, and what else may be why."""
        said = f"{self.message} (HTTP {self.status})"
        if self.status == HTTPStatus.UNAUTHORIZED and abs(self.clock_off) > CLOCK_OFF:
            return (
                f"{said}. Its clock is {in_words(self.clock_off)} this machine's, and a token is good by the clock: "
                "have both set by NTP (chrony, systemd-timesyncd)"
            )
        return said


class Client:
    """Calls one api with one token. May be shared by threads."""

    def __init__(self, url: str, token: str, settings: Settings, patience: float = PATIENCE) -> None:
        """Raises Failed for an address or a token that cannot be sent."""
        self._url = url.rstrip("/")
        self._patience = patience
        self._http = connection(url, settings, TIMEOUT)
        self._http.headers["Authorization"] = _bearer(token)

    def post(
        self,
        path: str,
        body: bytes,
        query: Mapping[str, str | int | float] | None = None,
        gave_up: Callable[[], bool] = lambda: False,
        *,
        queues: bool = False,
    ) -> Answer:
        """Send `body` until there is an answer. Raises NotAvailable once patience is out or `gave_up()` says so.

        `queues`: as often as the api says "later" (429), for it is there and takes turns; the others lose patience.
        """
        # One transaction however often it is sent: the log lines of all tries belong together.
        parameters = {"transactionId": str(uuid4()), **(query or {})}
        start = time.monotonic()
        answered, pause = start, FIRST_PAUSE
        while True:
            wait, problem = pause, ""
            try:
                response = self._http.post(
                    f"{self._url}{path}", content=body, params=parameters, headers={"Content-Type": "application/json"}
                )
            except httpx.RequestError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.status_code not in AGAIN:
                    return Answer(
                        response.status_code,
                        _json(response),
                        dict(response.headers),
                        time.monotonic() - start,
                        _clock_off(response),
                    )
                problem = f"HTTP {response.status_code}"
                wait = max(pause, _retry_after(response))
                if queues and response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
                    answered = time.monotonic() + wait
            if gave_up() or time.monotonic() - answered + wait > self._patience:
                raise NotAvailable(f"{self._url} is not available ({problem}); is `eyni up` running?")
            time.sleep(wait)
            pause = min(2 * pause, LAST_PAUSE)

    def enrol(
        self,
        person: str,
        encounter: str,
        picture: bytes,
        galleries: list[str],
        kind: str,
        gave_up: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Call createEncounter with one picture of a face."""
        body = json.dumps(
            {"status": "ACTIVE", "encounterType": kind, "galleries": galleries, "biometricData": [_face(picture)]}
        )
        path = f"/v1/persons/{quote(person, safe='')}/encounters/{quote(encounter, safe='')}"
        return self.post(path, body.encode(), gave_up=gave_up, queues=True)

    def verify(self, person: str, picture: bytes, gallery: str, threshold: float | None = None) -> Answer:
        """Call verifyFromId with one picture."""
        body = json.dumps({"biometricData": [_face(picture)]})
        query = {} if threshold is None else {"threshold": threshold}
        return self.post(f"/v1/verify/{quote(gallery, safe='')}/{quote(person, safe='')}", body.encode(), query)

    def identify(self, picture: bytes, gallery: str, most: int, threshold: float | None = None) -> Answer:
        """Call identify with one picture."""
        body = json.dumps({"filter": {}, "biometricData": [_face(picture)]})
        query: dict[str, str | int | float] = {"maxNbCand": most}
        if threshold is not None:
            query["threshold"] = threshold
        return self.post(f"/v1/identify/{quote(gallery, safe='')}", body.encode(), query)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Readiness = Mapping[str, JsonValue]
"""What /readyz says."""


class Watcher:
    """Asks an api how it is; what does not answer within two seconds is not there."""

    def __init__(self, url: str, settings: Settings, token: str = "") -> None:
        """`token`: for a proxy before the api; it asks for none itself."""
        self._url = url.rstrip("/")
        self._http = connection(url, settings, httpx.Timeout(2.0))
        if token:
            self._http.headers["Authorization"] = _bearer(token)

    def readiness(self) -> Readiness | None:
        """Return what /readyz says, ready or not; None where nothing answers as our api does."""
        response = self._get("/readyz")
        body = _json(response) if response is not None else None
        return body if isinstance(body, dict) and "ready" in body else None

    def ready_instance(self) -> str:
        """Return the name of the api process that says that it is ready; empty where none does."""
        said = self.readiness()
        return str(said.get("instance", "")) if said is not None and said["ready"] is True else ""

    def metrics(self) -> str:
        """Return the api's /metrics, or nothing where it does not answer."""
        response = self._get("/metrics")
        return response.text if response is not None and response.status_code == HTTPStatus.OK else ""

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, path: str) -> httpx.Response | None:
        try:
            return self._http.get(f"{self._url}{path}")
        except httpx.HTTPError:
            return None


def checked(answer: Answer) -> Answer:
    """Return a 200 as it is; raise Failed, in the api's own words, for anything else."""
    if answer.ok:
        return answer
    if answer.retake:
        raise Failed(f"the picture cannot be used ({answer.retake}): {answer.message}")
    raise Failed(answer.problem)


def _bearer(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Failed("the token (--token, EYNI_TOKEN) is none: it has blanks or characters that no token has")
    return f"Bearer {token}"


def _face(picture: bytes) -> dict[str, str]:
    return {"biometricType": "FACE", "image": base64.b64encode(picture).decode("ascii")}


def _json(response: httpx.Response) -> JsonValue:
    try:
        body: JsonValue = response.json()
    except ValueError:
        return None
    return body


def _clock_off(response: httpx.Response) -> float:
    try:
        return (parsedate_to_datetime(response.headers["date"]) - datetime.now(UTC)).total_seconds()
    except (KeyError, ValueError, TypeError):  # none, or one that is no date, or has no zone
        return 0.0


def _retry_after(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0  # a date: our api sends seconds
