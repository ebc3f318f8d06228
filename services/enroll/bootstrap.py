"""Wires log, workers and loop; the only file here that knows which log and which extractor."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from services.enroll import frames
from services.enroll.pool import CannotStart, Extractor, Pool, Sandbox
from services.enroll.quality import Limits
from services.enroll.worker import Worker, lags
from shared import metrics
from shared.calibration import Comparator
from shared.events import Loaded, ServiceReported
from shared.gallery_log import require_model
from shared.heartbeat import SAMPLES_PER_SECOND, Heartbeat, instance_of, loaded
from shared.log import Log, LogUnavailable
from shared.log.address import open_log
from shared.logs import logger
from shared.model import Model, ModelRefused, in_use
from shared.settings import Settings
from shared.topics import TOPICS

RETRY = 2.0
"""Seconds between attempts to reach the log at start."""


def worker(log: Log, settings: Settings, extractor: Extractor, comparator: Comparator, *, express: int = 0) -> Worker:
    """Make the loop, over an extractor of which so many workers are express; its topics must exist."""
    return Worker(
        log,
        extractor,
        comparator,
        settings.append_timeout,
        express=express,
        request_seconds=settings.request_seconds,
    )


def pool(settings: Settings, model: Model, *, express: int = 0) -> Pool:
    """Start the extraction workers, and so many more; returns once all are warm.

    The model needs no calibration: it is calibrated on what comes out here. Raises ModelRefused.
    """
    return Pool((settings.workers or _cores()) + express, _orders(settings, model))


def examine(settings: Settings, model: Model) -> None:
    """Have a worker load and rehearse a model, and end it. Raises ModelRefused.

    A network from outside may loop, take all memory or end its process; in a worker that is a refusal like any other.
    """
    with closing(Sandbox(_orders(settings, model))) as sandbox:
        try:
            sandbox.warm_up()
        except CannotStart as reason:
            raise ModelRefused(f"model {model.name}: {reason}") from None


def _orders(settings: Settings, model: Model) -> frames.Orders:
    return frames.Orders(
        frames.Ready(model.id, model.manifest.dimension),
        str(model.folder.absolute()),
        settings.pixel_limit,
        settings.memory_limit,
        settings.time_limit,
        Limits.of(settings),
        settings.load_time_limit,
        settings.load_memory_limit,
    )


def _cores() -> int:
    # Not os.cpu_count(): a container or taskset may have given us fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(settings: Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set. Raises ModelRefused, also for a model whose scores mean nothing yet."""
    log_line = logger("enroll")
    model = in_use(settings.data, settings.model)
    comparator = Comparator(model.calibration)
    calibration = loaded(model.calibration)
    model.check_files()
    metrics.serve(settings.metrics_host, settings.enroll_metrics_port, "EYNI_ENROLL_METRICS_PORT")
    with closing(open_log(settings.log_address, settings.kafka_security)) as log:
        state = _State(log, calibration)
        beat = Heartbeat(log, state.report)
        if not _ready(log, model, stop):
            return
        beat.start()
        try:
            with (
                closing(pool(settings, model, express=settings.express_workers)) as extractor,
                closing(worker(log, settings, extractor, comparator, express=settings.express_workers)) as loop,
            ):
                state.pool, state.loop = extractor, loop
                log_line.info("ready", workers=extractor.size, model=model.id, confined=extractor.confined)
                loop.run(stop)
        finally:
            beat.close()


def _ready(log: Log, model: Model, stop: threading.Event) -> bool:
    """Wait for the log; False where that was ended by `stop`. Raises WrongModel for a gallery of another model."""
    while not stop.is_set():
        try:
            log.ensure(list(TOPICS.values()))
            require_model(log, model.id)
            return True
        except LogUnavailable as error:
            metrics.LOG_ERRORS.labels("enroll").inc()
            logger("enroll").warning("the log does not answer", error=str(error), retry_in=RETRY)
            stop.wait(RETRY)
    return False


class _State:
    """What the heartbeat says, from its own thread."""

    def __init__(self, log: Log, calibration: Loaded, clock: Callable[[], float] = time.monotonic) -> None:
        self.loop: Worker | None = None
        self.pool: Pool | None = None
        self._log = log
        self._calibration = calibration
        self._clock = clock
        self._instance = instance_of("enroll")
        self._last = (clock(), 0)

    def report(self) -> ServiceReported:
        loop, now = self.loop, self._clock()
        done = loop.captures_done if loop else 0
        since, before = self._last
        self._last = (now, done)
        figures = {
            "captures_done": float(done),
            "captures_per_second": round((done - before) / max(now - since, 1e-3), 2),
            "extracting": float(loop.extracting if loop else 0),
            SAMPLES_PER_SECOND: round(loop.samples_per_second, 2) if loop else 0.0,
        }
        try:
            figures |= {f"lag {lane}": float(lag) for lane, lag in lags(self._log).items()}
        except LogUnavailable:
            metrics.LOG_ERRORS.labels("enroll").inc()  # the report, which will not get through either, says the rest
        return ServiceReported(
            "enroll",
            self._instance,
            datetime.now(UTC),
            ready=loop is not None,
            detail="" if loop else "loading models",
            figures=figures,
            calibration=self._calibration,
            confined=self.pool.confined if self.pool else "",
        )
