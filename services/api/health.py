"""What operators and load balancers ask: does it live, is it ready, how is it doing, which version is it.

Open to whoever reaches the port; nothing here names a person, a client or a setting.
"""

import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.exposition import generate_latest

from services.api import answers
from services.api.desk import HEARD_SECONDS, Desk
from services.api.routing import respond
from services.api.tables import RegistryUnavailable
from shared import metrics
from shared.agreement import disagreements
from shared.biometrics import ALL_GALLERIES
from shared.heartbeat import ALIVE
from shared.lag import lag
from shared.log import Log, LogUnavailable
from shared.performance import REMEDY, Performance
from shared.topics import Group, Name

APPEND_SECONDS: Final = 5.0
"""The log takes no records once none of the api's own reports (one a second) got there for so long: a full disk is
still read, and everything else looks well."""

_CAPTURES: Final = (Name.CAPTURES_URGENT, Name.CAPTURES_BULK)
_LAGS: Final = (
    (Group.ENROLL, Name.CAPTURES_URGENT),
    (Group.ENROLL, Name.CAPTURES_BULK),
    (Group.MATCH, Name.PROBES),
    (Group.FOLD, Name.GALLERY),
)
"""Who works on what, in the order in which a capture passes."""
_ENDS: Final = (Name.DECISIONS, Name.DEAD_LETTERS)
"""Where a capture's way ends, for the registry to count."""

_scraping: Final = threading.Lock()

router = APIRouter(include_in_schema=False)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Whether this process should be left alone: 500 means restart it."""
    dead = _desk(request).follower.failed is not None
    return respond(answers.as_json(500 if dead else 200, {"alive": not dead}))


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether a synchronous call would be served now, and what is missing if not."""
    state = readiness(_desk(request))
    ready = not state["missing"]
    return respond(
        answers.as_json(200 if ready else 503, {"ready": ready, "instance": _desk(request).instance, **state})
    )


def readiness(desk: Desk) -> Mapping[str, object]:
    """Say what is there and, in words, what is missing.

    `notices` stop nobody: what the model can't deliver, and who runs with another calibration than the others.
    """
    follower = desk.follower
    services: dict[str, list[dict[str, object]]] = {"match": [], "enroll": []}
    short: dict[str, None] = {}
    for report in follower.reports().values():
        told = [one for one in report.expected if one.gallery == ALL_GALLERIES]
        short |= {one.in_words(): None for one in told if one.falls_short}
        if report.service in services:
            services[report.service].append(
                {
                    "instance": report.instance,
                    "ready": report.ready,
                    "detail": report.detail,
                    "asOf": report.as_of,
                    "galleryCount": report.gallery_count,
                    "at": report.at.isoformat(),
                    **({"expected": [_expected(one) for one in told]} if told else {}),
                }
            )
    missing = {
        "log or database do not answer": follower.healthy,
        "the registry is behind the log": follower.caught_up,
        "the log takes no records": desk.heartbeat.reported_within(APPEND_SECONDS),
        _not_ready("no matcher is ready", services["match"]): follower.ready("match", HEARD_SECONDS) is not None,
        _not_ready("no enroll process is ready", services["enroll"]): follower.ready("enroll", HEARD_SECONDS)
        is not None,
    }
    return {
        "missing": [name for name, there in missing.items() if not there],
        "notices": [
            *disagreements(follower.reports(ALIVE).values()),
            *([*short, REMEDY] if short else []),
        ],
        "services": services,
    }


def _not_ready(what: str, reports: Sequence[Mapping[str, object]]) -> str:
    """Add why, where a process of the service says it."""
    details = [str(report["detail"]) for report in reports if report["detail"]]
    return f"{what}: {details[-1]}" if details else what


def _expected(one: Performance) -> dict[str, object]:
    """Show what one operation can be expected to deliver; of all galleries, for their names are nobody's business."""
    return {
        "operation": one.operation,
        "searched": one.size,
        "target": one.target,
        "threshold": one.threshold,
        "measuredTo": one.measured_to,
        "extrapolated": one.extrapolated,
        "expectedMisses": one.misses,
    }


@router.get("/version")
async def show_version() -> Response:
    try:
        found = version("eyni")
    except PackageNotFoundError:  # run from a checkout
        found = "development"
    return respond(answers.as_json(200, {"eyni": found, "osiaAbis": "1.6.0"}))


@router.get("/metrics")
async def show_metrics(request: Request) -> Response:
    desk = _desk(request)
    return Response(await desk.look(lambda: scrape(desk)), media_type=CONTENT_TYPE_LATEST)


def scrape(desk: Desk) -> bytes:
    """Return all metrics, with what is counted on the log and in the registry measured now."""
    with _scraping:
        try:
            _measure(desk)
        except (LogUnavailable, RegistryUnavailable):
            # The last figures stay; this counter is what says that they are old.
            metrics.LOG_ERRORS.labels("scrape").inc()
        return generate_latest(metrics.REGISTRY)


def _measure(desk: Desk) -> None:
    """Count captures and what is left to do, in the order in which a capture passes, its outcome last.

    What a service has done is on the next topic before it says so. So at each look, a capture that was accepted before
    the first is among the records left, or further down, or has its outcome: one that is nowhere has got lost.
    Everything accepted is counted once more after the outcomes, so that accepted = outcomes + in flight in every scrape
    (I18), and a capture that is decided meanwhile is in flight, never missing.
    """
    log, registry = desk.log, desk.registry
    before, left = _accepted(log), 0
    for group, topic in _LAGS:
        behind = lag(log.spans(topic), log.committed(group, topic))
        metrics.LAG.labels(group, topic).set(behind)
        left += behind
    left += sum(lag(log.spans(topic), registry.positions(topic)) for topic in _ENDS)
    outcomes = registry.outcome_counts()
    accepted, ended = _accepted(log), sum(outcomes.values())
    for outcome, count in outcomes.items():
        metrics.OUTCOMES.labels(outcome).set(count)
    metrics.ACCEPTED.set(accepted)
    metrics.IN_FLIGHT.set(accepted - ended)
    metrics.STUCK.set(max(0, before - ended - left))
    metrics.REGISTRY_COUNT.set(registry.active_count())


def _accepted(log: Log) -> int:
    return sum(span.end for topic in _CAPTURES for span in log.spans(topic).values())
