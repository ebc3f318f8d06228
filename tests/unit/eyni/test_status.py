"""What `eyni status` reads off the log and the metrics, and the advice it gives."""

import errno
import io
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from services.api import health
from services.eyni.console import Console
from services.eyni.heard import Listener
from services.eyni.status import (
    TAKES_NONE,
    Look,
    advice,
    drawn,
    for_scripts,
    latencies,
    look,
    no_room,
    notices,
    quantile,
)
from shared.events import Loaded, ServiceReported
from shared.log.memory import MemoryLog
from shared.performance import Performance
from shared.topics import TOPICS, Entry, Group, Name, entry

METRICS = """\
# TYPE eyni_request_seconds histogram
eyni_request_seconds_bucket{le="0.1",operation="verifyFromId"} 50.0
eyni_request_seconds_bucket{le="0.25",operation="verifyFromId"} 90.0
eyni_request_seconds_bucket{le="+Inf",operation="verifyFromId"} 100.0
eyni_request_seconds_bucket{le="0.1",operation="identify"} 0.0
eyni_request_seconds_bucket{le="+Inf",operation="identify"} 0.0
eyni_captures_in_flight 3.0
eyni_captures_stuck 2.0
"""


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    return log


def report(service: Literal["enroll", "match", "api"], pid: int, ago: float = 0.0, ready: bool = True) -> Entry:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    return entry(ServiceReported(service, f"{service}@here:{pid}", at, ready, detail="" if ready else "replaying"))


def reports(log: MemoryLog) -> list[ServiceReported]:
    return [heard.report for heard in Listener(log).listen()]


def told_to_scripts(now: Look) -> Any:
    return json.loads(json.dumps(for_scripts(now)))


def told_to_people(now: Look) -> str:
    written = io.StringIO()
    Console(file=written, width=400).show(*drawn(now).parts)
    return written.getvalue()


def test_the_latest_report_of_each_service_counts(log: MemoryLog) -> None:
    log.append([report("match", 1, ago=9), report("api", 3), report("match", 2, ago=1), report("match", 2)])
    assert [r.instance for r in reports(log)] == ["match@here:2", "api@here:3"]


def test_two_processes_of_one_service_on_two_machines_are_both_shown(log: MemoryLog) -> None:
    at = datetime.now(UTC)
    log.append([entry(ServiceReported("enroll", f"enroll@{host}:1", at, True)) for host in ("a", "b")])
    assert len(reports(log)) == 2


def beside(instance: str, began: float, last: float) -> Entry:
    """Make the last report, so many seconds ago, of an enroll that began so many seconds ago."""
    now = datetime.now(UTC)
    loaded = Loaded("model", "0" * 12, now - timedelta(seconds=began))
    return entry(ServiceReported("enroll", instance, now - timedelta(seconds=last), True, calibration=loaded))


def test_two_processes_of_one_service_on_one_machine_are_both_shown(log: MemoryLog) -> None:
    log.append([beside("enroll@here:1.a", 90, 1), beside("enroll@here:2.b", 60, 0)])
    assert len(reports(log)) == 2


def test_of_two_on_one_machine_the_one_that_died_is_still_shown(log: MemoryLog) -> None:
    log.append([beside("enroll@here:2.b", 60, 8), beside("enroll@here:1.a", 90, 0)])
    assert {r.instance for r in reports(log)} == {"enroll@here:1.a", "enroll@here:2.b"}


def test_one_that_just_began_hides_nobody_who_still_reports(log: MemoryLog) -> None:
    log.append([beside("enroll@here:1.a", 90, 0.9), beside("enroll@here:2.b", 0.5, 0)])
    assert len(reports(log)) == 2


def test_a_process_that_was_started_again_takes_the_place_of_the_one_that_died(log: MemoryLog) -> None:
    log.append([beside("enroll@here:2.b", 90, 8), beside("enroll@here:1.a", 90, 0), beside("enroll@here:3.c", 7, 0)])
    assert {r.instance for r in reports(log)} == {"enroll@here:1.a", "enroll@here:3.c"}


def test_bytes_that_are_no_report_are_passed_over(log: MemoryLog) -> None:
    log.append([Entry(Name.HEARTBEATS, b"", b"?"), report("api", 1)])
    assert [r.service for r in reports(log)] == ["api"]


def test_what_confines_the_decoders_is_one_line_for_all_that_have_the_same(log: MemoryLog) -> None:
    at, held = datetime.now(UTC), "uid 65533, Landlock 7, seccomp"
    reported = [(host, held) for host in ("a", "b")] + [("c", "limits only, Darwin has neither")]
    log.append([entry(ServiceReported("enroll", f"enroll@{h}:1", at, True, confined=c)) for h, c in reported])
    now = looked(log)
    assert [line for line in told_to_people(now).splitlines() if line.startswith("decoder")] == [
        f"decoder: {held}",
        "decoder: limits only, Darwin has neither",
    ]
    assert [one["confined"] for one in told_to_scripts(now)["services"]] == [c for _, c in reported]


def test_lag_is_what_a_group_has_not_committed(log: MemoryLog) -> None:
    log.append([Entry(Name.GALLERY, b"", b"") for _ in range(5)])
    log.mark(Group.FOLD, Name.GALLERY, {0: 2})
    assert looked(log).lags[Group.FOLD, Name.GALLERY] == 3


def test_records_that_retention_took_are_no_lag(log: MemoryLog) -> None:
    log.append([Entry(Name.GALLERY, b"", b"") for _ in range(5)])
    log.expire(Name.GALLERY, 0, 4)
    assert looked(log).lags[Group.FOLD, Name.GALLERY] == 1


def test_rates_come_from_two_looks(log: MemoryLog) -> None:
    before = looked(log)
    log.append([Entry(Name.DECISIONS, b"", b"") for _ in range(50)])
    now = look(log, "", Listener(log), replace(before, at=before.at - timedelta(seconds=10)))
    assert now.rates[Name.DECISIONS] == pytest.approx(5.0, rel=0.05)


def test_latencies_are_read_off_the_histogram(log: MemoryLog) -> None:
    (one,) = latencies(METRICS)
    assert (one.operation, one.count, one.p50, one.p99) == ("verifyFromId", 100, 0.1, 0.25)
    assert looked(log, METRICS).in_flight == 3


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert quantile([(1.0, 10.0), (2.0, 20.0), (float("inf"), 20.0)], 0.75) == 1.5


def looked(log: MemoryLog, metrics: str = "") -> Look:
    return look(log, metrics, Listener(log))


def seen(log: MemoryLog, *entries: Entry) -> Look:
    log.append(entries)
    return replace(looked(log), missing=[])  # an api answers, and lacks nothing


def test_all_well_wants_no_advice(log: MemoryLog) -> None:
    assert advice(seen(log, report("enroll", 1), report("match", 1), report("api", 1))) == []


def expecting(misses: float) -> Entry:
    short = Performance("duplicates", "ALL", 100_000, 30.0, 80.0, misses, 53.24)
    at = datetime.now(UTC)
    return entry(ServiceReported("match", "match@here:1", at, True, expected=(short,)))


def test_what_the_model_cannot_deliver_is_a_notice_and_no_advice(log: MemoryLog) -> None:
    now = seen(log, report("enroll", 1), expecting(0.938), report("api", 1))
    said = notices(now)
    assert said[0].startswith("duplicate search among 100,000: threshold 80 dB, beyond the 53 dB measured")
    assert "94 %" in said[0]
    assert "What to do" in said[1]
    assert advice(now) == []
    told = told_to_scripts(now)
    assert told["notices"] == said
    assert told["expected"][0]["extrapolated"] is True
    assert told["advice"] == []
    assert "80.0 dB (extrapolated)" in told_to_people(now)


def test_what_the_model_delivers_is_shown_without_a_notice(log: MemoryLog) -> None:
    now = seen(log, report("enroll", 1), expecting(0.004), report("api", 1))
    assert notices(now) == []
    assert told_to_scripts(now)["expected"][0]["misses"] == 0.004


def calibrated(service: Literal["enroll", "match", "api"], digest: str, minutes: int, ago: float = 0.0) -> Entry:
    now = datetime.now(UTC)
    has = Loaded("dlib-1", digest, now - timedelta(minutes=minutes))
    at = now - timedelta(seconds=ago)
    return entry(ServiceReported(service, f"{service}@here:{minutes}", at, True, calibration=has))


def test_services_of_two_calibrations_are_a_notice_and_no_advice(log: MemoryLog) -> None:
    now = seen(log, calibrated("enroll", "aaa", 9), calibrated("match", "bbb", 1), calibrated("api", "bbb", 1))
    [said] = notices(now)
    assert said.startswith("enroll runs with another calibration than match and api: restart enroll.")
    assert advice(now) == []
    told = told_to_scripts(now)
    assert told["notices"] == [said]
    assert [(s["model"], s["calibration"]) for s in told["services"]] == [
        ("dlib-1", "aaa"),
        ("dlib-1", "bbb"),
        ("dlib-1", "bbb"),
    ]
    assert said in told_to_people(now)


def test_the_calibration_of_a_service_that_is_gone_or_was_restarted_is_told_no_more(log: MemoryLog) -> None:
    others = calibrated("match", "bbb", 1), calibrated("api", "bbb", 1)
    assert notices(seen(log, calibrated("enroll", "aaa", 9, ago=6), *others)) == []
    assert notices(seen(log, calibrated("enroll", "aaa", 9, ago=3), *others)) != []
    assert notices(seen(log, calibrated("enroll", "bbb", 0), *others)) == []


def test_a_service_that_is_silent_is_to_be_started(log: MemoryLog) -> None:
    assert "`eyni match`" in advice(seen(log, report("enroll", 1), report("match", 1, ago=60), report("api", 1)))[0]


def test_a_service_that_is_not_ready_says_why(log: MemoryLog) -> None:
    said = advice(seen(log, report("enroll", 1), report("match", 1, ready=False), report("api", 1)))
    assert said == ["match is not ready: replaying."]


def test_captures_that_got_lost_are_told(log: MemoryLog) -> None:
    log.append([report("enroll", 1), report("match", 1), report("api", 1)])
    [said] = advice(looked(log, METRICS))
    assert said.startswith("2 captures")


def test_dead_letters_are_told(log: MemoryLog) -> None:
    letters = Entry(Name.DEAD_LETTERS, b"", b"")
    assert "dead letters" in advice(seen(log, report("enroll", 1), report("match", 1), report("api", 1), letters))[0]


def test_what_a_service_reports_is_no_markup_and_steers_no_terminal(log: MemoryLog) -> None:
    at = datetime.now(UTC)
    detail = "[/x] [bold red]evil [link=file:///etc]here[/link] :smile: \x1b[2J\x1b[31mOWNED \u202e"
    host = "[test]"
    odd = ServiceReported("match", f"match@{host}:1", at, False, detail=detail)
    now = seen(log, report("enroll", 1), entry(odd), report("api", 1))
    shown = told_to_people(now)
    assert "match@[test]:1" in shown
    for part in ("[/x] [bold red]evil [link=file:///etc]here[/link] :smile:", r"\x1b[2J\x1b[31mOWNED", r"\u202e"):
        assert shown.count(part) == 2, part  # in the table and in the advice
    assert "\x1b" not in shown
    assert told_to_scripts(now)["services"][1]["detail"] == detail


# ---- a log that takes no records


def silent(log: MemoryLog, missing: list[str] | None, trouble: str = "") -> Look:
    now = seen(log, report("enroll", 1, ago=60), report("match", 1, ago=60), report("api", 1, ago=60))
    return replace(now, missing=missing, trouble=trouble)


def test_a_full_disk_is_told_as_that_and_nobody_is_to_be_started(log: MemoryLog) -> None:
    for missing in ([TAKES_NONE, "no matcher is ready"], None):
        [said] = advice(silent(log, missing, "No space left on device: /data/log"))
        assert said.startswith(f"{TAKES_NONE}: No space left on device: /data/log. ")
    [said] = advice(silent(log, [TAKES_NONE]))
    assert said.startswith(f"{TAKES_NONE}: look at its disk, or its broker. ")
    assert told_to_scripts(silent(log, [TAKES_NONE]))["api_missing"] == [TAKES_NONE]


def test_room_that_runs_out_is_told_while_all_goes_well(log: MemoryLog) -> None:
    now = seen(log, report("enroll", 1), report("match", 1), report("api", 1))
    [said] = advice(replace(now, missing=[], trouble="No space left on device: /data/log"))
    assert said == "the log will soon take no records: No space left on device: /data/log. Make room there."


def test_an_api_that_answers_and_does_not_report_works_with_another_log(log: MemoryLog) -> None:
    said = advice(silent(log, []))
    assert "EYNI_LOG" in said[2]
    assert "`eyni up`" in said[0]


def test_why_nothing_can_be_written_is_found_without_leaving_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert no_room(None) == no_room(tmp_path) == no_room(tmp_path / "nothing") == ""
    assert list(tmp_path.iterdir()) == []
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("a system without files without names")
    for code in (errno.ENOSPC, errno.EDQUOT):

        def full(opened: int, start: int, size: int, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "posix_fallocate", full)
        assert no_room(tmp_path) == f"{os.strerror(code)}: {tmp_path}"


def test_what_the_api_calls_a_log_that_takes_no_records_is_what_status_looks_for() -> None:
    assert f'"{TAKES_NONE}"' in (Path(health.__file__)).read_text(encoding="utf-8")


def test_an_api_that_reports_and_does_not_answer_where_it_is_looked_for_is_a_notice(log: MemoryLog) -> None:
    now = seen(log, report("enroll", 1), report("match", 1), report("api", 1))
    assert notices(now) == []
    [said] = notices(replace(now, missing=None))
    assert said.startswith("the api reports on the log that it is ready, and nothing answers as an api")
    assert "--url" in said
