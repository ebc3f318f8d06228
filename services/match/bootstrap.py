"""Wires the matcher: calibration, log, newest valid snapshot, worker, heartbeat."""

import threading
from datetime import UTC, datetime
from pathlib import Path

from services.match.fold import fold, follow
from services.match.gallery import Gallery
from services.match.index import use_threads
from services.match.matching import Matcher
from services.match.policy import Policy
from services.match.snapshot import LostLog, SnapshotRefused, Snapshots
from services.match.worker import Worker
from shared import metrics
from shared.biometrics import ALL_GALLERIES
from shared.calibration import Comparator
from shared.events import Loaded, ServiceReported
from shared.gallery_log import require_model
from shared.heartbeat import PERIOD, Heartbeat, instance_of, loaded
from shared.log import Log, LogGap, LogUnavailable
from shared.log.address import open_log
from shared.logs import logger
from shared.model import in_use
from shared.settings import Settings
from shared.topics import TOPICS, Group, Name, entry

BACK_OFF = 0.5
"""Seconds between two tries while the log does not answer: a broker that restarts is back within ten."""

_log = logger("match")


def policy(settings: Settings) -> Policy:
    """Return the operator's targets."""
    return Policy(
        verification=settings.verification_target,
        duplicates=settings.duplicate_target,
        identification=settings.identification_target,
        galleries=settings.gallery_targets,
        lowest=settings.lowest_threshold,
        candidate_cap=settings.candidate_cap,
    )


def comparator(settings: Settings) -> Comparator:
    """Return the calibration of the model in use, at work. Raises ModelRefused."""
    return Comparator(in_use(settings.data, settings.model).calibration)


def recover(log: Log, snapshots: Snapshots, comparator: Comparator, tidy: bool = True) -> Gallery:
    """Return the newest valid snapshot's state, or an empty one if a cold replay is possible.

    `tidy`: put aside what is refused, and remove what was left half-written; not where another process may own them.

    Raises LostLog where a snapshot knows more than this log: believing the log would clear everybody whom it lacks.
    Raises LogGap where the log no longer holds what would have to be replayed: an answer from a gallery with a hole
    would clear somebody who is enrolled, so an operator must restore the log (or an older snapshot) first.
    """
    span = log.spans(Name.GALLERY)[0]
    identity = log.identity(Name.GALLERY)
    if reason := contradiction(log, snapshots):
        raise LostLog(reason)
    if tidy:
        snapshots.sweep()
    for generation in snapshots.generations():
        try:
            gallery = snapshots.load(generation, identity, span.end, comparator)
        except SnapshotRefused as reason:
            metrics.SNAPSHOTS.labels("refused").inc()
            kept = snapshots.set_aside(generation) if tidy else generation
            _log.error("snapshot refused", reason=str(reason), kept_as=str(kept))
            continue
        if gallery.position >= span.start:
            _log.info(
                "snapshot loaded",
                position=gallery.position,
                encounters=len(gallery),
                replay=span.end - gallery.position,
            )
            return gallery
    if span.start > 0:
        raise LogGap(f"gallery starts at offset {span.start}, and no valid snapshot reaches it: restore the log")
    _log.info("cold replay", records=span.end)
    return Gallery(comparator)


def contradiction(log: Log, snapshots: Snapshots) -> str:
    """Say what the newest snapshot that contradicts the log knows, and what to do; empty where none does."""
    end = log.spans(Name.GALLERY)[0].end
    identity = log.identity(Name.GALLERY)
    witnesses = snapshots.contradicting(identity, end)
    if not witnesses:
        return ""
    return (
        f"the log was lost, cut short or exchanged: there were {witnesses[0].in_words()}, and this log ({identity}) "
        f"holds {end} records. Everybody whom it lacks would be unknown, so nothing is answered. Restore the log, or "
        "choose the right one (EYNI_LOG, EYNI_DATA); if this one is to be believed: `eyni log adopt`"
    )


def worker(log: Log, settings: Settings, comparator: Comparator, snapshots: Snapshots | None = None) -> Worker:
    """Wire a matcher to a log whose topics exist; without `snapshots` it replays everything and writes none."""
    gallery = recover(log, snapshots, comparator) if snapshots else Gallery(comparator)
    return Worker(log, Matcher(gallery, policy(settings)), snapshots, settings.snapshot_seconds)


def snapshots_in(data: Path) -> Snapshots:
    return Snapshots(data / "match" / "snapshots")


def run(settings: Settings, stop: threading.Event) -> None:
    """Fold and answer until `stop` is set. Raises ModelRefused, WrongModel: it cannot start so."""
    compares = comparator(settings)
    calibration = loaded(compares.calibration)
    log = open_log(settings.log_address, settings.kafka_security)
    try:
        if not _prepared(log, compares, stop):
            return
        use_threads(settings.match_threads)
        metrics.serve(settings.metrics_host, settings.match_metrics_port, "EYNI_MATCH_METRICS_PORT")
        snapshots = snapshots_in(settings.data)
        if not _believed(log, snapshots, calibration, stop):
            return
        matcher = worker(log, settings, compares, snapshots)
        heartbeat = Heartbeat(log, lambda: describe(log, matcher, calibration))
        heartbeat.start()
        orderly = False
        try:
            while not stop.is_set():
                try:
                    matcher.run_once()
                except LogUnavailable as error:
                    metrics.LOG_ERRORS.labels("match").inc()
                    _log.warning("the log does not answer", error=str(error))
                    stop.wait(BACK_OFF)
            orderly = True
        finally:
            heartbeat.close()
            matcher.close(orderly)
    finally:
        log.close()


def describe(log: Log, matcher: Worker, calibration: Loaded) -> ServiceReported:
    """Say how far the matcher is, and with which calibration it runs."""
    end = log.spans(Name.GALLERY)[0].end
    metrics.LAG.labels(Group.FOLD, Name.GALLERY).set(end - matcher.gallery.position)
    return ServiceReported(
        service="match",
        instance=instance_of("match"),
        at=datetime.now(UTC),
        ready=matcher.ready,
        detail="" if matcher.ready else f"replaying the gallery log, at {matcher.gallery.position} of {end}",
        as_of=matcher.gallery.position,
        gallery_count=matcher.references,
        figures={"decided": float(matcher.decided)},
        expected=matcher.expected,
        calibration=calibration,
    )


def _believed(log: Log, snapshots: Snapshots, calibration: Loaded, stop: threading.Event) -> bool:
    """Wait, and say why, while a snapshot contradicts the log; False if told to stop meanwhile.

    The process stays: it goes on by itself once the operator has restored or adopted the log.
    """
    waits = False
    while not stop.is_set():
        try:
            reason = contradiction(log, snapshots)
            if not reason:
                return True
            if not waits:
                _log.error("not ready", reason=reason)
                waits = True
            report = ServiceReported(
                "match", instance_of("match"), datetime.now(UTC), ready=False, detail=reason, calibration=calibration
            )
            log.append([entry(report)], timeout=PERIOD)
        except LogUnavailable as error:
            metrics.LOG_ERRORS.labels("match").inc()
            _log.warning("the log does not answer; waiting", error=str(error))
        stop.wait(PERIOD)
    return False


def digest(settings: Settings, cold: bool) -> dict[str, str | int]:
    """Return the digest of the state at the log's end, from the newest snapshot or (cold) from offset 0."""
    compares = comparator(settings)
    log = open_log(settings.log_address, settings.kafka_security)
    try:
        log.ensure(list(TOPICS.values()))
        require_model(log, compares.calibration.model)
        # A matcher may be running on these snapshots, with the calibration that it was started with.
        gallery = Gallery(compares) if cold else recover(log, snapshots_in(settings.data), compares, tidy=False)
        replay(log, Matcher(gallery, policy(settings)))
        return {
            "as_of": gallery.position,
            "digest": gallery.view().digest(),
            "gallery_count": gallery.count([ALL_GALLERIES]),
        }
    finally:
        log.close()


def replay(log: Log, matcher: Matcher) -> None:
    """Fold up to the log's present end, and append nothing."""
    end = log.spans(Name.GALLERY)[0].end
    reader = follow(log, matcher.gallery)
    try:
        while matcher.gallery.position < end:
            fold(matcher, reader, timeout=1.0, decide_from=end)
    finally:
        reader.close()


def _prepared(log: Log, comparator: Comparator, stop: threading.Event) -> bool:
    """See that the topics are there and hold this model's references; False if told to stop meanwhile."""
    while not stop.is_set():
        try:
            log.ensure(list(TOPICS.values()))
            require_model(log, comparator.calibration.model)
            return True
        except LogUnavailable as error:
            metrics.LOG_ERRORS.labels("match").inc()
            _log.warning("the log does not answer; waiting", error=str(error))
            stop.wait(BACK_OFF)
    return False
