"""`eyni status`: what the services report, how much they have to do, how fast they answer, and what to do about it."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final

from services.eyni.client import Watcher
from services.eyni.common import Code, opened, stop_on_signals
from services.eyni.console import Console, Line, Lines, Styled, Table, out
from shared.agreement import disagreements
from shared.biometrics import ALL_GALLERIES
from shared.envelope import MalformedEvent, decode
from shared.events import ServiceReported
from shared.heartbeat import ALIVE
from shared.lag import lag
from shared.log import Log
from shared.performance import REMEDY, Performance
from shared.settings import Settings
from shared.topics import Group, Name

WATCHED: Final = (
    (Group.ENROLL, Name.CAPTURES_URGENT),
    (Group.ENROLL, Name.CAPTURES_BULK),
    (Group.FOLD, Name.GALLERY),
    (Group.MATCH, Name.PROBES),
)
"""Who works on what: the difference to a topic's end is what is left to do."""

BEHIND: Final = 100
"""Records that urgent captures or probes may lag before somebody waits noticeably."""

SLOW: Final = 1.0
"""Seconds that a border officer expects a verification to take at most (design.md)."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from call to answer, read off a histogram: within the width of its bucket."""

    operation: str
    count: int
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the whole system."""

    at: datetime
    services: tuple[ServiceReported, ...]
    ends: Mapping[Name, int]
    lags: Mapping[tuple[Group, Name], int]
    latencies: tuple[Latency, ...] = ()
    in_flight: int | None = None
    stuck: int = 0
    rates: Mapping[Name, float] = field(default_factory=dict[Name, float])

    def age(self, service: ServiceReported) -> float:
        return (self.at - service.at).total_seconds()

    @property
    def alive(self) -> list[ServiceReported]:
        return [s for s in self.services if self.age(s) < ALIVE]


def look(log: Log, metrics: str, before: Look | None = None) -> Look:
    """Look once; rates need the look before."""
    now = datetime.now(UTC)
    spans = {name: log.spans(name) for name in Name}
    ends = {name: sum(s.end for s in found.values()) for name, found in spans.items()}
    lags = {(group, name): lag(spans[name], log.committed(group, name)) for group, name in WATCHED}
    rates: dict[Name, float] = {}
    if before is not None:
        seconds = max((now - before.at).total_seconds(), 1e-3)
        rates = {name: max(0, ends[name] - before.ends[name]) / seconds for name in Name}
    return Look(
        at=now,
        services=reports(log),
        ends=ends,
        lags=lags,
        latencies=latencies(metrics),
        in_flight=gauge(metrics, "eyni_captures_in_flight"),
        stuck=gauge(metrics, "eyni_captures_stuck") or 0,
        rates=rates,
    )


def reports(log: Log, last: int = 60) -> tuple[ServiceReported, ...]:
    """Return the latest report of each process among the last few on the log."""
    span = log.spans(Name.HEARTBEATS)[0]
    reader = log.read(Name.HEARTBEATS, {0: max(span.start, span.end - last)})
    found: dict[str, ServiceReported] = {}
    try:
        while records := reader.poll(last, timeout=0.5 if not found and span.end > span.start else 0.0):
            for record in records:
                try:
                    event = decode(record.value)
                except MalformedEvent:
                    continue  # somebody else's bytes: nothing that a service reported
                if isinstance(event, ServiceReported):
                    found[event.instance] = event
            if records[-1].offset + 1 >= span.end:
                break
    finally:
        reader.close()
    newest: dict[str, ServiceReported] = {}
    order = {"enroll": 0, "match": 1, "api": 2}
    for report in sorted(found.values(), key=lambda r: (order[r.service], r.at)):
        # A process that was replaced on this machine is only history.
        host = f"{report.service}@{report.instance.rpartition(':')[0]}"
        newest[host] = report
    return tuple(newest.values())


def gauge(metrics: str, name: str) -> int | None:
    """Read one figure off the api's metrics (Prometheus text); None where it is not there."""
    found = re.search(rf"^{name} ([0-9.e+]+)$", metrics, re.MULTILINE)
    return int(float(found[1])) if found else None


_BUCKET: Final = re.compile(
    r'^eyni_request_seconds_bucket\{(?=[^}]*operation="([^"]+)")(?=[^}]*le="([^"]+)")[^}]*\} ([0-9.e+]+)$', re.MULTILINE
)


def latencies(metrics: str) -> tuple[Latency, ...]:
    """Read the medians and 99th percentiles off the api's histogram (Prometheus text)."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for operation, upper, count in _BUCKET.findall(metrics):
        buckets.setdefault(operation, []).append((float(upper), float(count)))
    return tuple(
        Latency(operation, int(found[-1][1]), quantile(found, 0.5), quantile(found, 0.99))
        for operation, found in sorted(buckets.items())
        if found[-1][1]
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """Interpolate as Prometheus' histogram_quantile does: cumulative counts by upper bound, the last one infinite."""
    wanted = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for upper, count in buckets:
        if count >= wanted:
            if upper == float("inf"):
                return lower
            return lower + (upper - lower) * (wanted - below) / max(count - below, 1.0)
        lower, below = upper, count
    return lower


def advice(now: Look) -> list[str]:
    """Say in one sentence each what is off and what to do; empty where all is well."""
    said: list[str] = []
    for service in ("enroll", "match", "api"):
        mine = [s for s in now.alive if s.service == service]
        if not mine:
            said.append(f"{service} does not report: start it with `eyni up` (or `eyni {service}`).")
        elif not any(s.ready for s in mine):
            said.append(f"{service} is not ready: {mine[-1].detail or 'it gives no reason; read its log'}.")
    urgent = now.lags[Group.ENROLL, Name.CAPTURES_URGENT]
    bulk = now.lags[Group.ENROLL, Name.CAPTURES_BULK]
    if urgent > BEHIND:
        said.append(f"{urgent} urgent captures wait: officers wait too; add cores to enroll.")
    pace = now.rates.get(Name.DECISIONS, 0.0)
    if bulk > 10 * BEHIND:
        left = f"some {bulk / pace / 60:.0f} minutes at this pace" if pace else "and nothing is being decided"
        said.append(f"{bulk} bulk captures wait, {left}; more cores for enroll shorten it.")
    fold = now.lags[Group.FOLD, Name.GALLERY]
    if fold > BEHIND:
        said.append(f"the matcher is {fold} records behind the gallery: answers say 'not available' until it is there.")
    if now.stuck:
        said.append(
            f"{now.stuck} captures were accepted and are nowhere on their way: an incident; see eyni_captures_stuck."
        )
    if now.ends[Name.DEAD_LETTERS]:
        said.append(
            f"{now.ends[Name.DEAD_LETTERS]} dead letters: a producer writes what is no event; see their reasons."
        )
    said.extend(
        f"p99 of {one.operation} is {one.p99:.1f} s: look at the lag of captures-urgent and at the cores of enroll."
        for one in now.latencies
        if one.operation.startswith("verify") and one.p99 > SLOW
    )
    return said


def expected(now: Look) -> list[Performance]:
    """Return what the matchers report that the model can be expected to deliver."""
    return list(dict.fromkeys(one for service in now.alive for one in service.expected))


def notices(now: Look) -> list[str]:
    """Say what to know though nothing stops, and what to do.

    That is what the model can't deliver at the gallery's present size, and who runs with another calibration.
    """
    short = [one.in_words() for one in expected(now) if one.falls_short]
    return [*disagreements(now.alive), *([*short, REMEDY] if short else [])]


def for_scripts(now: Look) -> dict[str, object]:
    """Return a look as `--json` prints it."""
    return {
        "at": now.at.isoformat(),
        "services": [
            {
                "service": s.service,
                "instance": s.instance,
                "alive": s in now.alive,
                "ready": s.ready,
                "detail": s.detail,
                "as_of": s.as_of,
                "gallery_count": s.gallery_count,
                "figures": s.figures,
                "model": s.calibration and s.calibration.model,
                "calibration": s.calibration and s.calibration.digest,
            }
            for s in now.services
        ],
        "records": {str(name): end for name, end in now.ends.items()},
        "per_second": {str(name): round(rate, 2) for name, rate in now.rates.items()},
        "lag": {f"{group}/{name}": lag for (group, name), lag in now.lags.items()},
        "in_flight": now.in_flight,
        "stuck": now.stuck,
        "latency": {s.operation: {"count": s.count, "p50": s.p50, "p99": s.p99} for s in now.latencies},
        "expected": [{**asdict(one), "extrapolated": one.extrapolated} for one in expected(now)],
        "notices": notices(now),
        "advice": advice(now),
    }


def drawn(now: Look) -> Lines:
    """Draw a look for people."""
    services = Table("service", "state", "position", "gallery", "", title="Services")
    for s in now.services:
        alive = now.age(s) < ALIVE
        state = Styled("ready", "green") if s.ready else Styled("not ready", "yellow")
        if not alive:
            state = Styled("gone", "red")
        position, count = (str(n) if n >= 0 else "" for n in (s.as_of, s.gallery_count))
        services.row(s.instance, state, position, count, s.detail if alive else f"last seen {now.age(s):.0f} s ago")
    flow = Table("", "per second", "in all", title="Flow")
    for title, names in (
        ("captures", (Name.CAPTURES_URGENT, Name.CAPTURES_BULK)),
        ("gallery changes", (Name.GALLERY,)),
        ("probes", (Name.PROBES,)),
        ("decisions", (Name.DECISIONS,)),
    ):
        rate = f"{sum(now.rates[n] for n in names):.1f}" if now.rates else ""
        flow.row(title, rate, str(sum(now.ends[n] for n in names)))
    work = Table("who", "on", "records left", title="Backlog")
    for (group, name), left in now.lags.items():
        work.row(group, name, str(left))
    if now.in_flight is not None:
        work.row("all", "captures in flight", str(now.in_flight))
    parts: list[Table | Line] = [services, flow, work]
    if now.latencies:
        answers = Table("operation", "answers", "p50", "p99", title="Answers")
        for one in now.latencies:
            answers.row(one.operation, str(one.count), f"{1000 * one.p50:.0f} ms", f"{1000 * one.p99:.0f} ms")
        parts.append(answers)
    if told := expected(now):
        errors = Table("operation", "searched", "target", "threshold", "misses", title="Expected errors")
        for each in told:
            where = each.operation if each.gallery == ALL_GALLERIES else f"{each.operation} in {each.gallery}"
            threshold = f"{each.threshold:.1f} dB{' (extrapolated)' if each.extrapolated else ''}"
            errors.row(where, f"{each.size:,}", f"{each.target:.1f} dB", threshold, f"{100 * each.misses:.1f} %")
        parts.append(errors)
    parts.extend((Styled("i", "cyan"), f" {line}") for line in notices(now))
    parts.extend((Styled("!", "yellow"), f" {line}") for line in advice(now))
    return Lines(parts)


def status(settings: Settings, url: str, token: str, once: bool, json_wanted: bool) -> Code:
    """Show the state until Ctrl-C, or once. OK where nothing is off."""
    log = opened(settings)
    watcher = Watcher(url, settings, token)
    try:
        before = look(log, watcher.metrics())
        if json_wanted or once:
            time.sleep(1.0)
            now = look(log, watcher.metrics(), before)
            if json_wanted:
                out(for_scripts(now))
            else:
                Console().show(*drawn(now).parts)
            return Code.NO if advice(now) else Code.OK
        stop = stop_on_signals()
        with Console().live(drawn(before)) as show:
            while not stop.wait(1.0):
                before = look(log, watcher.metrics(), before)
                show(drawn(before))
        return Code.OK
    finally:
        watcher.close()
        log.close()
