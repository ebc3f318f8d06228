"""How much of each client's may be undecided: what is beyond is refused with 429 before anything is appended."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from services.api import answers
from services.api.admission import FLOOR, FORGOTTEN, Admission, Lane, Load, load_of, rate_of
from services.api.errors import Code, Refusal
from services.api.outcomes import label
from services.api.priorities import is_urgent, lane_of
from services.api.tokens import OSIA_SCOPES, URGENT_SCOPE
from shared import metrics
from shared.envelope import decode
from shared.events import (
    CLOCKS,
    CaptureReceived,
    Compare,
    Decided,
    Expired,
    Identify,
    PersonRemoved,
    ProbeChosen,
    Request,
    Sample,
    ServiceReported,
)
from shared.heartbeat import SAMPLES_PER_SECOND
from shared.log import LogUnavailable
from shared.log.memory import MemoryLog
from shared.topics import Name
from tests.unit.api.conftest import Api, api_over, encounter, until

ONE = Load(Lane.URGENT, 1, 1000, expires=True)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Door:
    """An admission with a clock and a rate of the test's."""

    def __init__(self, rate: float = 10.0, samples: int = 200, size: int = 10**9) -> None:
        self.now = 0.0
        self.rate = rate
        self.admission = Admission(samples, size, 30.0, lambda: self.rate, lambda: self.now)
        self.count = 0

    def enter(self, client: str = "one", load: Load = ONE, *, waits: bool = True) -> str:
        self.count += 1
        self.admission.admit(client, f"r{self.count}", load, waits=waits)
        return f"r{self.count}"

    def fill(self, client: str = "one", load: Load = ONE, *, waits: bool = True) -> tuple[list[str], Refusal]:
        """Enter until refused."""
        taken = list[str]()
        for _ in range(10_000):
            try:
                taken.append(self.enter(client, load, waits=waits))
            except Refusal as refusal:
                return taken, refusal
        raise AssertionError("never refused")


def test_a_client_who_waits_may_have_what_is_answered_in_a_third_of_the_time() -> None:
    taken, refusal = Door(rate=10.0).fill()
    assert len(taken) == 100  # 10 a second, in 10 of 30 s
    assert (refusal.status, refusal.code, refusal.at_sight) == (429, Code.TOO_MUCH, True)


def test_retry_after_is_when_half_of_it_will_be_done() -> None:
    _, refusal = Door(rate=10.0).fill()
    assert refusal.headers["Retry-After"] == "5"
    assert "in 5 s" in refusal.message
    _, refusal = Door(rate=0.01).fill()
    assert refusal.headers["Retry-After"] == "30"
    _, refusal = Door(rate=1000.0).fill()
    assert refusal.headers["Retry-After"] == "1"


def test_clients_of_one_lane_share_the_rate_and_other_lanes_do_not() -> None:
    door = Door(rate=10.0)
    door.enter("officer")
    door.enter("station", Load(Lane.BULK, 1, 1000))
    taken, _ = door.fill("flood")
    assert len(taken) == 50


def test_a_flood_leaves_other_clients_their_own() -> None:
    door = Door(rate=1.0)
    door.fill("flood")
    taken, _ = door.fill("officer")
    assert len(taken) == FLOOR


def test_what_is_decided_makes_room() -> None:
    door = Door()
    taken, _ = door.fill()
    door.admission.done(taken[7])
    door.admission.done(taken[7])
    door.enter()
    with pytest.raises(Refusal):
        door.enter()


def test_a_question_makes_room_once_its_deadline_has_passed_also_without_a_decision() -> None:
    door = Door()
    door.fill()
    door.now = 30.0 + CLOCKS.total_seconds() - 0.1
    with pytest.raises(Refusal):
        door.enter()
    door.now += 0.2
    assert len(door.fill()[0]) == 100


def test_an_enrolment_counts_until_it_is_decided_or_forgotten() -> None:
    door, enrolment = Door(), Load(Lane.BULK, 1, 1000)
    door.fill(load=enrolment)
    door.now = FORGOTTEN - 1
    with pytest.raises(Refusal):
        door.enter(load=enrolment)
    door.now = FORGOTTEN
    door.enter(load=enrolment)


def test_who_does_not_wait_may_have_as_many_as_the_operator_says() -> None:
    taken, _ = Door(rate=0.1, samples=60).fill(load=Load(Lane.BULK, 1, 1000), waits=False)
    assert len(taken) == 60


def test_calls_to_the_matcher_alone_are_counted_apart() -> None:
    door = Door(rate=0.1, samples=60)
    taken, refusal = door.fill(load=Load(Lane.MATCHER, 1, 0))
    assert (len(taken), refusal.headers["Retry-After"]) == (60, "1")
    door.enter()


def test_bytes_count_too() -> None:
    taken, _ = Door(size=10_000).fill(load=Load(Lane.BULK, 1, 3000))
    assert len(taken) == 3


def test_a_client_of_whom_nothing_is_undecided_is_always_taken() -> None:
    door = Door(rate=0.01, samples=40, size=100)
    door.enter(load=Load(Lane.URGENT, 40, 10**7))
    with pytest.raises(Refusal):
        door.enter()


def test_a_refusal_is_counted() -> None:
    def counted() -> float:
        return metrics.REGISTRY.get_sample_value("eyni_requests_too_busy_total", {"lane": "urgent"}) or 0.0

    before = counted()
    Door().fill()
    assert counted() == before + 1


def test_an_event_weighs_its_samples_and_bytes() -> None:
    request = Request("c-1", "t", NOON, "one", NOON)
    capture = CaptureReceived(request, Compare(), (Sample(b"123"),), (Sample(b"45"), Sample(b"6")))
    assert load_of(capture, urgent=True) == Load(Lane.URGENT, 3, 6, expires=True)
    assert load_of(capture, urgent=False).lane is Lane.BULK
    assert load_of(PersonRemoved(Request("r-1", "t", NOON, "one"), "p"), urgent=False) == Load(Lane.MATCHER, 1, 0)
    chosen = ProbeChosen(request, Identify("ALL", 30), "p")
    assert load_of(chosen, urgent=False) == Load(Lane.MATCHER, 1, 0, expires=True)


def test_the_rate_is_what_all_enroll_processes_can_do() -> None:
    def report(service: Any, figure: float, *, ready: bool = True) -> ServiceReported:
        return ServiceReported(service, "x", NOON, ready, figures={SAMPLES_PER_SECOND: figure})

    reports = {
        "a": report("enroll", 10.0),
        "b": report("enroll", 2.5),
        "c": report("enroll", 99.0, ready=False),
        "d": report("match", 99.0),
    }
    assert rate_of(reports) == 12.5
    assert rate_of({}) == 5.0


# ---- before the body is read


def test_a_call_that_could_not_be_admitted_is_refused_before_its_body_is_read() -> None:
    door = Door(rate=10.0)
    taken, _ = door.fill()
    with pytest.raises(Refusal):
        door.admission.begin("one", "call", Lane.URGENT, waits=True)
    door.admission.begin("one", "call", Lane.BULK, waits=True)
    door.admission.begin("another", "call", Lane.URGENT, waits=True)
    door.admission.done(taken[0])
    door.rate *= 2  # shared with nobody: the other client has nothing accepted yet
    door.admission.begin("one", "call 2", Lane.URGENT, waits=True)


def test_no_more_calls_are_read_at_a_time_than_may_be_admitted() -> None:
    door = Door(rate=1.0)
    for n in range(10):
        door.admission.begin("flood", f"call {n}", Lane.URGENT, waits=True)
    with pytest.raises(Refusal) as refusal:
        door.admission.begin("flood", "one more", Lane.URGENT, waits=True)
    assert refusal.value.headers["Retry-After"] == "5"
    door.admission.prepared("call 3")
    door.admission.prepared("call 3")
    door.admission.begin("flood", "one more", Lane.URGENT, waits=True)


@pytest.mark.parametrize(
    ("method", "operation", "query", "lane"),
    [
        ("GET", "readEncounter", {}, None),
        ("DELETE", "deleteAll", {}, Lane.MATCHER),
        ("POST", "identifyFromId", {}, Lane.MATCHER),
        ("POST", "verifyFromId", {}, Lane.URGENT),
        ("POST", "verifyFromBio", {"priority": "0"}, Lane.BULK),
        ("POST", "identify", {}, Lane.URGENT),
        ("POST", "identify", {"callback": "http://h/"}, Lane.BULK),
        ("POST", "createEncounter", {}, Lane.BULK),
        ("PUT", "updateEncounter", {"priority": "9"}, Lane.URGENT),
        ("POST", "createEncounter", {"priority": "nonsense"}, Lane.BULK),
    ],
)
def test_the_first_line_tells_where_a_call_will_wait(
    method: str, operation: str, query: dict[str, str], lane: Lane | None
) -> None:
    assert lane_of(method, operation, query) is lane


# ---- at the api


def on_log(api: Api, topic: Name) -> int:
    return sum(span.end for span in api.log.spans(topic).values())


def enrols(api: Api, person: str, client: str, *pictures: bytes) -> httpx.Response:
    """Ask for an enrolment whose answer goes to a callback."""
    path, body = f"/v1/persons/{person}/encounters/e", encounter(*pictures)
    return api.call("POST", path, body, client=client, callback="http://127.0.0.1:1/")


def test_a_flood_gets_429_with_nothing_appended_and_another_client_is_served(log: MemoryLog, tmp_path: Path) -> None:
    with api_over(log, tmp_path, callback_hosts="127.0.0.1:1") as api:
        api.pipeline.paused.set()
        given = [enrols(api, f"f{n}", "flood", *[b"face"] * 20) for n in range(13)]
        assert [answer.status_code for answer in given] == [202] * 10 + [429] * 3
        assert on_log(api, Name.CAPTURES_BULK) == 10
        refusal = given[-1]
        assert (refusal.json()["code"], refusal.headers["Retry-After"]) == (Code.TOO_MUCH, "1")
        assert enrols(api, "o", "other", b"o").status_code == 202
        api.pipeline.paused.clear()
        until(lambda: enrols(api, "late", "flood", b"late").status_code == 202)


def test_a_call_that_the_log_did_not_take_is_not_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> NoReturn:
        raise LogUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(api.log, "append", away)
        for n in range(11):
            answer = api.call("POST", f"/v1/persons/p{n}/encounters/e", encounter(*[b"face"] * 20))
            assert answer.json()["code"] == Code.LOG_UNAVAILABLE
    until(lambda: api.call("POST", "/v1/persons/p/encounters/e", encounter(b"face")).status_code == 200)


def test_a_question_says_when_its_caller_stops_waiting_and_an_enrolment_does_not(api: Api) -> None:
    assert api.call("POST", "/v1/persons/p/encounters/e", encounter(b"face")).status_code == 200
    body = {"biometricData": encounter(b"face")["biometricData"]}
    assert api.call("POST", "/v1/verify/ALL/p", body).status_code == 200
    assert api.call("POST", "/v1/identify/ALL/p", None).status_code == 200
    records = [r for topic in Name if topic is not Name.HEARTBEATS for r in api.log.read(topic, {}).poll(100, 0)]
    found = {
        type(event).__name__ + getattr(getattr(event, "purpose", None), "kind", ""): event.request
        for record in records
        if isinstance(event := decode(record.value), CaptureReceived | ProbeChosen)
    }
    timeout = timedelta(seconds=api.settings.answer_timeout)
    assert found["CaptureReceivedenrol"].answer_by is None
    for name in ("CaptureReceivedverify", "ProbeChosen"):
        assert found[name].answer_by == found[name].received_at + timeout


def test_a_question_that_was_dropped_is_503_send_again() -> None:
    decided = Decided(Request("c-1", "t", NOON, "one", NOON), Expired(), -1, -1)
    answer = answers.decided(decided)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert b"send the same again" in answer.body
    assert label(decided) == "expired"


# ---- urgency


@pytest.mark.parametrize(
    ("path", "priority", "status"),
    [
        ("/v1/persons/p/encounters/e", 5, 403),
        ("/v1/persons/p/encounters/e", 4, 200),
        ("/v1/persons/p/encounters", 9, 403),
        ("/v1/persons", 9, 403),
        ("/v1/identify/ALL", 9, 200),
        ("/v1/verify", 9, 200),
    ],
)
def test_only_a_token_with_the_scope_makes_urgent_what_is_not(api: Api, path: str, priority: int, status: int) -> None:
    pictures = encounter(b"face")["biometricData"]
    body: dict[str, Any] = encounter(b"face")
    if "identify" in path:
        body = {"filter": {}, "biometricData": pictures}
    if "verify" in path:
        body = {"biometricData1": pictures, "biometricData2": pictures}
    token = api.token(*OSIA_SCOPES)
    answer = api.call("POST", path, body, headers={"Authorization": f"Bearer {token}"}, priority=priority)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert "eyni.urgent" in answer.json()["message"]
        assert 'scope="eyni.urgent"' in answer.headers["WWW-Authenticate"]
        assert on_log(api, Name.CAPTURES_URGENT) == on_log(api, Name.CAPTURES_BULK) == 0
        assert api.call("POST", path, body, priority=priority).status_code == 200


def test_an_identification_for_a_callback_is_urgent_by_right_only() -> None:
    assert is_urgent("identify", None, (), waits=True)
    assert not is_urgent("identify", None, (), waits=False)
    assert is_urgent("identify", 9, (URGENT_SCOPE,), waits=False)
    with pytest.raises(Refusal, match=r"eyni\.urgent"):
        is_urgent("identify", 9, (), waits=False)
    assert not is_urgent("readEncounter", 9, (), waits=True)  # without effect, so without a right
