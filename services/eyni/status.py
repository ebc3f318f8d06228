"""`eyni status`: what the services report, how much they have to do, how fast they answer, and what to do about it."""

import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.eyni.client import Readiness, Watcher
from services.eyni.common import Code, opened, stop_on_signals
from services.eyni.console import Console, Line, Lines, Styled, Table, out
from services.eyni.heard import FIRST, Heard, Listener, clocks
from shared.agreement import disagreements
from shared.biometrics import ALL_GALLERIES
from shared.events import ServiceReported
from shared.heartbeat import PERIOD
from shared.lag import lag
from shared.log import Log
from shared.log_address import folder_of
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
    services: tuple[Heard, ...]
    ends: Mapping[Name, int]
    lags: Mapping[tuple[Group, Name], int]
    latencies: tuple[Latency, ...] = ()
    in_flight: int | None = None
    stuck: int = 0
    rates: Mapping[Name, float] = field(default_factory=dict[Name, float])
    missing: Sequence[str] | None = None
    """What the api says it lacks; None: no api answers."""
    trouble: str = ""
    """Why nothing can be written where the log is."""

    @property
    def alive(self) -> list[ServiceReported]:
        return [heard.report for heard in self.services if heard.alive]

    @property
    def is_complete(self) -> bool:
        """Whether of each service that was ever heard one lives: who watches longer hears no more of them."""
        return {h.report.service for h in self.services} == {report.service for report in self.alive}

    @property
    def takes_records(self) -> bool:
        if TAKES_NONE in (self.missing or ()):
            return False
        return not (self.trouble and len(self.alive) < len(self.services))


TAKES_NONE: Final = "the log takes no records"
"""The api's words (services/api/health.py), part of its interface."""


def look(
    log: Log,
    metrics: str,
    listener: Listener,
    before: Look | None = None,
    readiness: Readiness | None = None,
    folder: Path | None = None,
) -> Look:
    """Look once; rates need the look before, and `listener` is the same at each. `folder`: the embedded log's."""
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
        services=tuple(listener.listen()),
        ends=ends,
        lags=lags,
        latencies=latencies(metrics),
        in_flight=gauge(metrics, "eyni_captures_in_flight"),
        stuck=gauge(metrics, "eyni_captures_stuck") or 0,
        rates=rates,
        missing=None if readiness is None else _missing(readiness),
        trouble=no_room(folder),
    )


def _missing(readiness: Readiness) -> list[str]:
    said = readiness.get("missing")
    return [str(one) for one in said] if isinstance(said, list) else []


ROOM: Final = 2**18
"""Bytes that the log wants to find free: some hundred records without pictures."""


def no_room(folder: Path | None) -> str:
    """Try to have room where the log is, and say why there is none; empty: there is, or the log is elsewhere.

    Nothing is left of the attempt: the file has no name.
    """
    if folder is None or not hasattr(os, "O_TMPFILE"):
        return ""
    try:
        opened = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(opened, 0, ROOM)
        finally:
            os.close(opened)
    except OSError as error:
        known = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
        return f"{error.strerror}: {folder}" if error.errno in known else ""
    return ""


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
    if not now.takes_records:
        said.append(
            f"{TAKES_NONE}: {now.trouble or 'look at its disk, or its broker'}. What was accepted is safe, and nothing "
            "new is accepted. Once it can be written again, everything goes on by itself."
        )
    elif now.trouble:
        said.append(f"the log will soon take no records: {now.trouble}. Make room there.")
    for service in ("enroll", "match", "api"):
        mine = [s for s in now.alive if s.service == service]
        if not mine and not now.takes_records:
            pass  # it may well live, and cannot report
        elif not mine and service == "api" and now.missing is not None:
            said.append("api answers, and does not report: is this the log that it works with (--log, EYNI_LOG)?")
        elif not mine:
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
    apart = [APART] if now.missing is None and any(s.service == "api" and s.ready for s in now.alive) else []
    return [*apart, *clocks(now.services), *disagreements(now.alive), *([*short, REMEDY] if short else [])]


APART: Final = (
    "the api reports on the log that it is ready, and nothing answers as an api where this command looks for it: give "
    "its address (--url, --port); if it is right, the api hangs or is cut off, and so are its clients."
)


def for_scripts(now: Look) -> dict[str, object]:
    """Return a look as `--json` prints it."""
    return {
        "at": now.at.isoformat(),
        "services": [
            {
                "service": s.service,
                "instance": s.instance,
                "alive": heard.alive,
                "clock_off": round(heard.off, 1),
                "ready": s.ready,
                "detail": s.detail,
                "as_of": s.as_of,
                "gallery_count": s.gallery_count,
                "figures": s.figures,
                "confined": s.confined,
                "model": s.calibration and s.calibration.model,
                "calibration": s.calibration and s.calibration.digest,
            }
            for heard, s in ((heard, heard.report) for heard in now.services)
        ],
        "records": {str(name): end for name, end in now.ends.items()},
        "per_second": {str(name): round(rate, 2) for name, rate in now.rates.items()},
        "lag": {f"{group}/{name}": lag for (group, name), lag in now.lags.items()},
        "in_flight": now.in_flight,
        "stuck": now.stuck,
        "latency": {s.operation: {"count": s.count, "p50": s.p50, "p99": s.p99} for s in now.latencies},
        "expected": [{**asdict(one), "extrapolated": one.extrapolated} for one in expected(now)],
        "api_missing": now.missing,
        "notices": notices(now),
        "advice": advice(now),
    }


def drawn(now: Look) -> Lines:
    """Draw a look for people."""
    services = Table("service", "state", "position", "gallery", "", title="Services")
    for heard in now.services:
        s = heard.report
        state = Styled("ready", "green") if s.ready else Styled("not ready", "yellow")
        if not heard.alive:
            state = Styled("gone", "red") if now.takes_records else Styled("cannot report", "yellow")
        position, count = (str(n) if n >= 0 else "" for n in (s.as_of, s.gallery_count))
        services.row(
            s.instance, state, position, count, s.detail if heard.alive else f"last seen {heard.silent:.0f} s ago"
        )
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
    parts.extend(f"decoder: {held}" for held in dict.fromkeys(s.confined for s in now.alive if s.confined))
    parts.extend((Styled("i", "cyan"), f" {line}") for line in notices(now))
    parts.extend((Styled("!", "yellow"), f" {line}") for line in advice(now))
    return Lines(parts)


def status(settings: Settings, url: str, token: str, once: bool, json_wanted: bool) -> Code:
    """Show the state until Ctrl-C, or once. OK where nothing is off."""
    with ExitStack() as parts:
        watcher = parts.enter_context(Watcher(url, settings, token))
        log = opened(settings)
        parts.callback(log.close)
        listener, folder = Listener(log), folder_of(settings.log_address)

        def again(before: Look | None = None) -> Look:
            return look(log, watcher.metrics(), listener, before, watcher.readiness(), folder)

        before = again()
        if json_wanted or once:
            now = _settled(before, again)
            if json_wanted:
                out(for_scripts(now))
            else:
                Console().show(*drawn(now).parts)
            return Code.NO if advice(now) else Code.OK
        stop = stop_on_signals()
        with Console().live(drawn(before)) as show:
            while not stop.wait(1.0):
                before = again(before)
                show(drawn(before))
        return Code.OK


def _settled(before: Look, again: Callable[[Look], Look]) -> Look:
    """Look again after a second, and for some more where a service may live whose report bears another time."""
    until = time.monotonic() + FIRST
    while True:
        time.sleep(PERIOD)
        now = again(before)
        if now.is_complete or not now.takes_records or time.monotonic() >= until:
            return now
