"""Wires the api: log, registry, follower, courier, HTTP; proves that the log takes records before it serves."""

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Final

from services.api.admission import Admission, rate_of
from services.api.app import create_app
from services.api.callbacks import Courier
from services.api.desk import HEARD_SECONDS, Desk
from services.api.egress import Egress
from services.api.follower import Follower
from services.api.pictures import Fetching
from services.api.registry import Registry
from services.api.server import Front, listening
from services.api.tables import RegistryUnavailable
from services.api.tasks import Tasks
from services.api.tokens import Verifier, development_jwks
from services.api.waiting import Waiting
from shared import metrics
from shared.calibration import Comparator
from shared.events import Loaded, ServiceReported
from shared.gallery_log import require_model
from shared.given import check_tls
from shared.heartbeat import Heartbeat, instance_of, loaded
from shared.log import Log, LogUnavailable
from shared.log.address import open_log
from shared.logs import logger
from shared.model import in_use
from shared.settings import Settings
from shared.topics import TOPICS, entry

BACK_OFF: Final = 1.0
"""Seconds between two tries while log or database do not answer at the start."""

_log = logger("api")


def run(settings: Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set. Raises what ended the follower or the HTTP server: the process must not go on.

    ModelRefused and WrongModel: it cannot start so.
    """
    comparator = Comparator(in_use(settings.data, settings.model).calibration)
    calibration = loaded(comparator.calibration)
    checks = verifier(settings)
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        stop.set()

    with ExitStack() as parts:
        log = open_log(settings.log_address, settings.kafka_security)
        parts.callback(log.close)
        front = Front()
        # The port opens at once: who asks while the log is away is told so, not turned away.
        parts.enter_context(listening(settings, front, failed))
        found: list[Registry] = []

        def open_registry() -> None:
            found.append(Registry(settings.registry_url, comparator))

        if _until(stop, lambda: _prove(log, calibration)) and _until(stop, open_registry):
            desk = parts.enter_context(running(settings, log, found[0], calibration, failed))
            front.open(create_app(desk, checks))
            stop.wait()
            # Calls in progress end while everything that they need is still there.
            front.drain()
    if failures:
        raise failures[0]


@contextmanager
def running(
    settings: Settings,
    log: Log,
    registry: Registry,
    calibration: Loaded,
    failed: Callable[[BaseException], None] | None = None,
) -> Generator[Desk]:
    """Run follower, courier and heartbeat over a log whose topics exist, hand out the desk; closes the registry too.

    `calibration` is what the registry was opened with.
    """
    with ExitStack() as parts:
        parts.callback(registry.close)
        waiting, tasks = Waiting(), Tasks(registry.engine)
        out = egress(settings)
        parts.callback(out.close)
        fetching = Fetching(out, settings.body_limit * 3 // 4)  # as many bytes as a body's base64 may hold
        admission = Admission(
            settings.client_samples,
            settings.client_bytes,
            settings.answer_timeout,
            lambda: rate_of(follower.reports(HEARD_SECONDS)),
        )
        follower = Follower(log, registry, waiting, on_decision=admission.done, on_failure=failed)
        follower.start()
        parts.callback(follower.close)
        courier = Courier(registry, tasks, out)
        courier.start()
        parts.callback(courier.close)
        instance = instance_of("api")
        heartbeat = Heartbeat(log, lambda: _report(instance, follower, calibration))
        heartbeat.start()
        parts.callback(heartbeat.close)
        yield Desk(settings, log, registry, tasks, waiting, follower, admission, out, fetching, heartbeat, instance)


def verifier(settings: Settings) -> Verifier:
    """Return what checks tokens: by the operator's keys, else by the data folder's own."""
    keys = settings.token_keys
    if keys is None:
        keys = development_jwks(settings.data)
        _log.warning("tokens are checked with the development key; set EYNI_TOKEN_KEYS for real use", keys=str(keys))
    try:
        found = Verifier(keys, settings.token_issuer, settings.token_audience)
    except ValueError as error:
        raise ValueError(f"EYNI_TOKEN_KEYS: {error}") from None
    for why in found.keys.left_out:
        _log.warning("a key is not used to check tokens; those that it signs are refused", key=why, keys=str(keys))
    return found


def egress(settings: Settings) -> Egress:
    """Return the way out. Raises ValueError for authorities that are none."""
    try:
        check_tls(settings.egress_ca_file)
    except ValueError as error:
        raise ValueError(f"EYNI_EGRESS_CA_FILE: {error}") from None
    return Egress(settings.callback_hosts, settings.image_hosts, authorities=settings.egress_ca_file)


def _prove(log: Log, calibration: Loaded) -> None:
    log.ensure(list(TOPICS.values()))
    require_model(log, calibration.model)
    report = ServiceReported(
        "api", instance_of("api"), datetime.now(UTC), ready=False, detail="starting", calibration=calibration
    )
    log.append([entry(report)], timeout=5.0)


def _report(instance: str, follower: Follower, calibration: Loaded) -> ServiceReported:
    ready = follower.healthy and follower.caught_up
    detail = "" if ready else "the registry is behind the log"
    return ServiceReported("api", instance, datetime.now(UTC), ready=ready, detail=detail, calibration=calibration)


def _until(stop: threading.Event, step: Callable[[], None]) -> bool:
    """Do a step, again and again while log or database do not answer; False if told to stop meanwhile."""
    while not stop.is_set():
        try:
            step()
            return True
        except (LogUnavailable, RegistryUnavailable) as error:
            metrics.LOG_ERRORS.labels("api").inc()
            _log.warning("not available yet; trying again", error=str(error))
            stop.wait(BACK_OFF)
    return False
