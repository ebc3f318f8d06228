"""What operators are told: whether it is ready, what is counted, and what went missing."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.events import Loaded, ServiceReported
from shared.heartbeat import instance_of
from shared.log import LogUnavailable
from shared.log.memory import MemoryLog
from shared.performance import Performance
from shared.topics import Entry, Name, entry
from tests.facts import NOON
from tests.unit.api.conftest import Api, api_over, encounter, until


def metric(api: Api, name: str) -> float:
    text = api.client.get("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return float(line.rpartition(" ")[2])


def test_a_log_that_takes_no_records_is_told_though_it_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.client.get("/readyz").json()["missing"] == []
    append = api.log.append

    def full(*_: Any, **__: Any) -> None:
        raise LogUnavailable("no space left on device")

    monkeypatch.setattr("services.api.health.APPEND_SECONDS", 0.2)
    monkeypatch.setattr("shared.heartbeat.PERIOD", 0.05)
    monkeypatch.setattr(api.log, "append", full)
    told = until(lambda: api.client.get("/readyz").json()["missing"])
    assert told == ["the log takes no records"]
    assert api.client.get("/readyz").status_code == 503
    monkeypatch.setattr(api.log, "append", append)
    monkeypatch.setattr("services.api.health.APPEND_SECONDS", 2.0)
    until(lambda: api.client.get("/readyz").status_code == 200)


def test_readiness_says_which_process_answers(api: Api) -> None:
    assert api.client.get("/readyz").json()["instance"] == instance_of("api")


def test_a_capture_that_got_lost_is_told_and_one_that_waits_is_none(log: MemoryLog, tmp_path: Path) -> None:
    with api_over(log, tmp_path, answer_timeout=0.2) as api:
        api.call("POST", "/v1/persons", encounter(b"one"))
        api.call("POST", "/v1/persons", encounter(b"refuse"))
        until(lambda: metric(api, "eyni_captures_in_flight") == 0)
        assert metric(api, "eyni_captures_stuck") == 0
        api.pipeline.paused.set()
        api.call("POST", "/v1/persons", encounter(b"two"))
        assert metric(api, "eyni_captures_in_flight") == 1
        assert metric(api, "eyni_captures_stuck") == 0
        api.pipeline.paused.clear()
        until(lambda: metric(api, "eyni_captures_in_flight") == 0)

        assert api.call("POST", "/v1/persons", encounter(b"lose me")).status_code == 503
        assert metric(api, "eyni_captures_in_flight") == 1
        assert metric(api, "eyni_captures_stuck") == 1


def test_a_capture_is_not_taken_for_lost_wherever_on_its_way_it_waits(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is decided, but the registry does not read: then the work left is the registry's."""

    def nothing(*_: object) -> dict[str, int]:
        return {}

    monkeypatch.setattr(type(api.desk.registry), "outcome_counts", nothing)
    monkeypatch.setattr(type(api.desk.registry), "positions", nothing)
    api.call("POST", "/v1/persons", encounter(b"one"))
    assert metric(api, "eyni_captures_in_flight") == 1
    assert metric(api, "eyni_captures_stuck") == 0


def test_the_registrys_active_encounters_are_counted(api: Api) -> None:
    for name in ("1", "2"):
        api.call("POST", f"/v1/persons/p/encounters/{name}", encounter(name.encode()))
    api.call("PUT", "/v1/persons/p/encounters/1/status", status="INACTIVE")
    assert metric(api, "eyni_registry_count") == 1


def test_records_that_retention_took_are_no_lag(api: Api) -> None:
    api.pipeline.paused.set()
    key = api.log.append([_probe()])[0]
    name = 'eyni_lag_records{group="match",topic="probes"}'
    assert metric(api, name) == 1
    api.log.expire(Name.PROBES, key.partition, key.offset + 1)
    assert metric(api, name) == 0


def _probe() -> Entry:
    return Entry(Name.PROBES, b"", b"?")


def test_what_the_model_cannot_deliver_is_told_and_keeps_nobody_from_being_ready(api: Api) -> None:
    api.pipeline.paused.set()
    short = Performance("duplicates", "ALL", 100_000, 30.0, 80.0, 0.938, 53.24)
    enough = Performance("verification", "ALL", 1, 33.01, 33.01, 0.004, 53.24)
    watched = Performance("identification", "opposition", 7, 20.0, 28.45, 0.04, 53.24)
    report = ServiceReported("match", "match@other", NOON, True, expected=(enough, short, watched))
    api.log.append([entry(report)])

    def told() -> Any:
        answer = api.client.get("/readyz")
        return answer if answer.json()["notices"] else None

    answer = until(told)

    assert answer.status_code == 200
    found = answer.json()
    assert found["notices"][0] == (
        "duplicate search among 100,000: threshold 80 dB, beyond the 53 dB measured; the model is expected to miss "
        "94 % of pictures of one person"
    )
    assert "eyni models" in found["notices"][1]
    assert len(found["notices"]) == 2
    [match] = [s for s in found["services"]["match"] if s["instance"] == "match@other"]
    assert match["expected"][1] == {
        "operation": "duplicates",
        "searched": 100_000,
        "target": 30.0,
        "threshold": 80.0,
        "measuredTo": 53.24,
        "extrapolated": True,
        "expectedMisses": 0.938,
    }
    assert "opposition" not in answer.text


def stale(instance: str = "enroll@other:7") -> ServiceReported:
    before = Loaded("fake", "0123456789ab", NOON)
    return ServiceReported("enroll", instance, datetime.now(UTC), True, calibration=before)


def test_a_service_with_an_older_calibration_is_named_and_keeps_nobody_from_being_ready(api: Api) -> None:
    assert api.client.get("/readyz").json()["notices"] == []
    api.log.append([entry(stale())])
    [said] = until(lambda: api.client.get("/readyz").json()["notices"])
    assert said.startswith("enroll@other:7 runs with another calibration than api: restart enroll@other:7.")
    assert api.client.get("/readyz").status_code == 200


def test_what_a_service_said_before_it_died_or_was_restarted_is_told_no_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.log.append([entry(stale())])
    until(lambda: api.client.get("/readyz").json()["notices"])
    monkeypatch.setattr("services.api.health.ALIVE", 0.3)
    until(lambda: not api.client.get("/readyz").json()["notices"])

    monkeypatch.setattr("services.api.health.ALIVE", 10.0)
    api.log.append([entry(stale("enroll@another:8"))])
    until(lambda: "enroll@another:8" in str(api.client.get("/readyz").json()["notices"]))
    same = api.desk.follower.reports()[api.desk.instance].calibration
    fresh = [replace(stale(name), calibration=same) for name in ("enroll@other:7", "enroll@another:8")]
    api.log.append([entry(one) for one in fresh])
    until(lambda: not api.client.get("/readyz").json()["notices"])
