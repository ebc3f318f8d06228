"""Every metric by name, each with what it means and what to do about it.

Labels have few values, fixed in code; no person, client or score is ever one.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import start_http_server

from shared.ports import refused

REGISTRY: Final = CollectorRegistry()

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_AGES: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)

# ---- enroll
SAMPLES = Counter(
    "eyni_samples_total",
    "Samples that enroll has looked at, by result (usable, or the first retake reason). A reason that rises at one "
    "station means a lamp, a lens or an operator to look after.",
    ["result"],
    registry=REGISTRY,
)
EXTRACTION_SECONDS = Histogram(
    "eyni_extraction_seconds",
    "Seconds from handing a capture to a worker until its templates are back. Rising: pictures grew, or the machine is "
    "shared; add cores or lower the resolution at the stations.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
WORKER_DEATHS = Counter(
    "eyni_worker_deaths_total",
    "Extraction workers that died or were killed over a sample. Any steady rate is an attack or a decoder's bug: look "
    "at the refusals too_costly and undecodable of that hour.",
    registry=REGISTRY,
)
QUESTIONS_EXPIRED = Counter(
    "eyni_questions_expired_total",
    "Questions that enroll or match dropped with the outcome `expired`, by service: their callers had gone. "
    "Rising: more is accepted than can be answered in EYNI_ANSWER_TIMEOUT, or a clock is wrong by more than that.",
    ["service"],
    registry=REGISTRY,
)
# ---- match
APPLIED = Counter(
    "eyni_gallery_events_total",
    "Facts folded into the gallery, by outcome. Conflict or unknown rising: a client that re-sends or deletes blindly.",
    ["outcome"],
    registry=REGISTRY,
)
PROBES = Counter(
    "eyni_probes_total",
    "Probes answered, by operation. Flat while captures-urgent grows: enroll or the matcher hangs; look at the lags.",
    ["operation"],
    registry=REGISTRY,
)
MATCH_SECONDS = Histogram(
    "eyni_match_seconds",
    "Seconds that a batch spends in the matcher, by kind (gallery, probes). Grows with the gallery; when it nears the "
    "answer's budget, add a shard or a faster machine.",
    ["kind"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
CANDIDATES = Histogram(
    "eyni_candidates",
    "Candidates in truth per search. The mean is what adjudicators get to see; if it jumps, the threshold does not fit "
    "the gallery's size any more.",
    buckets=(0, 1, 2, 3, 5, 10, 30, 100, 300, 1000),
    registry=REGISTRY,
)
GALLERY_COUNT = Gauge(
    "eyni_gallery_count",
    "Active references in the gallery. Compare it with eyni_registry_count: a difference that stays is an incident.",
    registry=REGISTRY,
)
GALLERY_POSITION = Gauge(
    "eyni_gallery_position",
    "Offset of the gallery log that the matcher has reached. Behind the log's end for long: it replays, or cannot keep "
    "up; see eyni_lag_records.",
    registry=REGISTRY,
)
SNAPSHOTS = Counter(
    "eyni_snapshots_total",
    "Snapshots by result (written, failed, refused). `failed`: the disk is full or broken; a restart gets slow, not "
    "wrong. `refused` at start names a file that was damaged or foreign.",
    ["result"],
    registry=REGISTRY,
)
# ---- api
ACCEPTED = Gauge(
    "eyni_captures_accepted",
    "Captures that are durably on the log since its beginning. Equals the sum of outcomes plus those in flight (I18).",
    registry=REGISTRY,
)
OUTCOMES = Gauge(
    "eyni_captures_outcomes",
    "Captures with an outcome since the log's beginning, by outcome. dead_letter: look into the topic dead-letters.",
    ["outcome"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "eyni_captures_in_flight",
    "Captures accepted and not yet decided: the difference of the two above, so both those that wait and those that "
    "got lost; eyni_captures_stuck tells them apart.",
    registry=REGISTRY,
)
STUCK = Gauge(
    "eyni_captures_stuck",
    "Captures in flight beyond all records that enroll, matchers and registry have left to do: nobody has them any "
    "more. At least so many; exact when the lags are 0. Any is an incident (alarm on > 0): a capture expired unread or "
    "was lost, or the registry's database was made anew after decisions had expired.",
    registry=REGISTRY,
)
REGISTRY_COUNT = Gauge(
    "eyni_registry_count",
    "Active encounters in the registry. Compare it with eyni_gallery_count: a difference that stays is an incident.",
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "eyni_request_seconds",
    "Seconds from a call's arrival to its answer, by operationId. p99 of verifyFromId above 1 s: officers wait; look "
    "at the lag of captures-urgent and at eyni_extraction_seconds.",
    ["operation"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
RESPONSES = Counter(
    "eyni_responses_total",
    "Answers by operationId and HTTP status. 503: log or matcher not available. 401, 403: a client without its rights.",
    ["operation", "status"],
    registry=REGISTRY,
)
BUSY = Counter(
    "eyni_requests_too_busy_total",
    "Calls refused with 429 before anything was appended, because their client has as much on the log as one may have, "
    "by lane (urgent, bulk, matcher). Steady: a client asks faster than this machine answers; give it more cores.",
    ["lane"],
    registry=REGISTRY,
)
DECISION_AGE = Histogram(
    "eyni_decision_age_seconds",
    "End-to-end age: seconds from accepting a request until its decision is in the registry, by kind of outcome.",
    ["outcome"],
    buckets=_AGES,
    registry=REGISTRY,
)
CALLBACKS = Counter(
    "eyni_callbacks_total",
    "Callback attempts by result (delivered, retry, gave_up). gave_up: the client's receiver is down; it can ask for "
    "redelivery for days.",
    ["result"],
    registry=REGISTRY,
)
# ---- all
LAG = Gauge(
    "eyni_lag_records",
    "Records of a topic that a group has not finished. Rising without end: its service is down or too slow.",
    ["group", "topic"],
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "eyni_dead_letters_total",
    "Records that were no event and went to dead-letters, by topic. Any is a producer's bug or an attack.",
    ["topic"],
    registry=REGISTRY,
)
EXPIRED = Counter(
    "eyni_records_expired_total",
    "Records that the log forgot before anybody had looked at them, by topic: their service was down or behind for "
    "longer than the topic keeps them. Probes: nobody waits for the answer any more. Captures have no outcome and will "
    "get none, so they stay in eyni_captures_in_flight; any is an incident: have the stations of that time send again.",
    ["topic"],
    registry=REGISTRY,
)
BACKGROUND_FAILURES = Counter(
    "eyni_background_failures_total",
    "Times that work in a thread of its own ended with an unforeseen exception, by worker. Any is a bug: the log line "
    "of that moment says where; send it to who maintains Eyni.",
    ["worker"],
    registry=REGISTRY,
)
LOG_ERRORS = Counter(
    "eyni_log_errors_total",
    "Times that the log did not answer, by service. Any steady rate: look at the broker, its disk and the network.",
    ["service"],
    registry=REGISTRY,
)


def serve(host: str, port: int, port_setting: str) -> None:
    """Serve /metrics of this process; port 0: none. Raises ValueError, which begins with the setting to change."""
    if not port:
        return
    try:
        start_http_server(port, addr=host, registry=REGISTRY)
    except (OSError, UnicodeError, ValueError) as error:
        raise refused(error, host, port, "EYNI_METRICS_HOST", port_setting) from None
