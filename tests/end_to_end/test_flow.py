"""A station, an officer and an operator use the system; nothing goes wrong but the input."""

import io
import json
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.end_to_end.conftest import SHARED, Faces
from tests.end_to_end.system import System, face


def test_a_second_picture_of_an_enrolled_person_names_the_first_and_only_them(system: System, faces: Faces) -> None:
    names = faces.strangers(12)
    for name in names:
        system.enrol(name, faces.read(name), gallery="second-picture")
    crowd = faces.several_of_each(6)
    found: dict[str, list[str]] = {}
    for name in crowd:
        answer = system.enrol(f"again-{name}", faces.read(name), gallery="second-picture")
        if answer.status == 200:
            others = answer.json["others"]
            found[name] = [c["personId"].removeprefix("again-") for c in others["candidates"]]
            assert others["outcome"] == ("ENROLLED_SUSPECT" if found[name] else "ENROLLED_UNIQUE")
            assert others["asOf"] > 0
    assert found
    named = [(a, b) for a, others in found.items() for b in others]
    assert named, "of so many second pictures none was recognised"
    true = [(a, b) for a, b in named if faces.person[a] == faces.person[b]]
    assert len(true) >= 0.9 * len(named)


def test_sending_the_same_encounter_again_gives_the_same_answer_and_another_picture_is_a_conflict(
    system: System, faces: Faces
) -> None:
    one, other = faces.strangers(2)
    first = system.enrol("idem", faces.read(one), gallery="idem")
    again = system.enrol("idem", faces.read(one), gallery="idem")
    assert first.status == again.status == 200
    assert first.json == again.json
    conflict = system.enrol("idem", faces.read(other), gallery="idem")
    assert conflict.status == 409
    assert set(conflict.json) == {"code", "message"}


def test_what_was_written_is_read_back_at_once(system: System, faces: Faces) -> None:
    name = faces.strangers(3)[2]
    assert system.enrol("reader", faces.read(name), gallery="reading").status == 200
    encounter = system.get("/v1/persons/reader/encounters/1?transactionId=t").json
    assert encounter["encounterId"] == "1"
    assert encounter["galleries"] == ["reading"]
    assert "template" not in json.dumps(encounter)
    listed = system.get("/v1/galleries/reading?transactionId=t").json
    assert {"personId": "reader", "encounterId": "1"} in listed
    assert system.call("DELETE", "/v1/persons/reader/encounters/1?transactionId=t").status == 204
    assert system.get("/v1/persons/reader/encounters/1?transactionId=t").status == 404
    assert system.get("/v1/galleries/reading?transactionId=t").json == []


def test_an_officer_verifies_the_person_and_refuses_a_stranger_at_a_stated_position(
    system: System, faces: Faces
) -> None:
    one, other = faces.strangers(5)[3:]
    assert system.enrol("traveller", faces.read(one), gallery="border").status == 200
    yes, no = system.verify("traveller", faces.read(one)), system.verify("traveller", faces.read(other))
    assert (yes.json["decision"], no.json["decision"]) == (True, False)
    assert not no.json.get("scores")
    assert int(yes.headers["Eyni-As-Of"]) > 0
    assert int(yes.headers["Eyni-Gallery-Count"]) > 0
    assert system.verify("nobody-at-all", faces.read(one)).status == 404


def test_an_identification_names_the_person_in_the_gallery_asked_and_not_in_another(
    system: System, faces: Faces
) -> None:
    name = faces.strangers(6)[5]
    assert system.enrol("wanted", faces.read(name), gallery="watchlist").status == 200
    found = system.identify(faces.read(name), "watchlist").json
    assert (found[0]["personId"], found[0]["rank"]) == ("wanted", 1)
    assert system.identify(faces.read(name), "never-used").status == 404
    elsewhere = system.identify(faces.read(name), "border").json
    assert "wanted" not in [c["personId"] for c in elsewhere]


class Receiver(HTTPServer):
    """A client's callback address; refuses as often as told before it accepts."""

    def __init__(self, refusals: int = 0) -> None:
        self.received: list[tuple[dict[str, list[str]], str, Any]] = []
        self.refusals = refusals
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refuse = receiver.refusals > 0
                receiver.refusals -= refuse
                if not refuse:
                    query = parse_qs(urlsplit(self.path).query)
                    receiver.received.append((query, self.headers["Content-Type"], json.loads(body)))
                self.send_response(500 if refuse else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/results"

    def wait(self, count: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.received) >= count


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver(refusals=1)
    yield server
    server.shutdown()
    server.server_close()


def test_an_asynchronous_call_is_answered_by_a_callback_that_is_tried_until_it_is_taken(
    system: System, faces: Faces, receiver: Receiver
) -> None:
    name = faces.strangers(7)[6]
    accepted = system.enrol("later", faces.read(name), gallery="async", callback=receiver.url, transactionId="tx-9")
    assert accepted.status == 202
    task = accepted.json["taskId"]
    receiver.wait(1)
    query, kind, body = receiver.received[0]
    assert query == {"transactionId": ["tx-9"], "taskId": [task]}
    assert kind.startswith("application/json")
    assert body["personId"] == "later"
    deadline = time.monotonic() + 10
    while (status := system.get(f"/v1/tasks/{task}/status?transactionId=t").json) != "COMPLETED":
        assert time.monotonic() < deadline, status


def test_a_refused_asynchronous_call_delivers_its_error(system: System, receiver: Receiver) -> None:
    receiver.refusals = 0
    accepted = system.enrol("blank", png(300, 300), gallery="async", callback=receiver.url)
    assert accepted.status == 202
    receiver.wait(1)
    _, kind, body = receiver.received[0]
    assert kind.startswith("application/error+json")
    assert "no_face" in json.dumps(body) or "face" in body["message"]


# ---- bad input: each gets its clear answer, and the service goes on


def png(width: int, height: int) -> bytes:
    """Return a black grey-scale picture; rows are fed to the compressor one by one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    compressor, out, row = zlib.compressobj(9), io.BytesIO(), b"\0" * (1 + width)
    for _ in range(height):
        out.write(compressor.compress(row))
    out.write(compressor.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", out.getvalue()) + chunk(b"IEND", b"")


def bad_pictures(faces: Faces) -> dict[str, tuple[bytes, str]]:
    whole = faces.read(faces.strangers(1)[0])
    odd = SHARED / "odd"
    return {
        "text": (b"this is no picture", "undecodable|unsupported_format"),
        "truncated": (whole[: len(whole) // 2], "undecodable"),
        "a gif": (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "unsupported_format|undecodable"),
        "20,000 by 20,000 zeros": (png(20_000, 20_000), "too_large"),
        "no face": ((odd / "no_person_dogs.jpg").read_bytes(), "no_face"),
        "many faces": ((odd / "group_2007_007763.jpg").read_bytes(), "several_faces"),
        "two people": ((odd / "two_people.jpg").read_bytes(), "several_faces"),
    }


def test_a_picture_that_cannot_be_used_is_refused_with_what_to_do_about_it(system: System, faces: Faces) -> None:
    for what, (picture, reasons) in bad_pictures(faces).items():
        answer = system.enrol("bad", picture, gallery="bad")
        assert answer.status == 400, what
        assert set(answer.json) == {"code", "message"}, what
        assert any(r in reasons.split("|") for r in answer.headers["Eyni-Retake"].split(",")), what
    assert system.get("/v1/persons/bad/encounters?transactionId=t").status == 404


@pytest.mark.parametrize(
    ("change", "mention"),
    [
        ({"biometricData": []}, "biometricData"),
        ({"biometricData": [{"biometricType": "FACE", "image": "***"}]}, "image"),
        ({"biometricData": [{"biometricType": "FACE", "image": ""}]}, "image"),
        ({"biometricData": [{"biometricType": "FACE"}]}, "image"),
        ({"biometricData": [{"biometricType": "IRIS", "image": "AAAA"}]}, "FACE"),
        ({"biometricData": [{"biometricType": "FACE", "image": "AAAA", "template": "AAAA"}]}, "template"),
        ({"galleries": []}, "galleries"),
        ({"galleries": ["ALL"]}, "ALL"),
        ({"galleries": ["a", "a"]}, "galleries"),
        ({"status": "SLEEPY"}, "status"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_body_that_is_wrong_at_sight_is_refused_with_the_field_named(
    system: System, change: dict[str, object], mention: str
) -> None:
    answer = system.call("POST", "/v1/persons/x/encounters/1?transactionId=t", face(b"x", ["g"]) | change)
    assert answer.status == 400
    assert mention in answer.json["message"]


def test_what_is_unknown_is_not_found(system: System, faces: Faces) -> None:
    for path in ("persons/no/encounters", "persons/no/encounters/1", "galleries/no", "tasks/no/status"):
        assert system.get(f"/v1/{path}?transactionId=t").status == 404, path
    assert system.verify("no", faces.read(faces.strangers(1)[0])).status == 404


def test_a_body_of_fifty_megabytes_is_refused_and_the_service_goes_on(system: System) -> None:
    answer = system.call("POST", "/v1/persons/x/encounters/1?transactionId=t", b" " * 50_000_000)
    assert answer.status == 413
    assert system.get("/healthz", token=None).status == 200


def test_without_a_token_or_its_scope_nothing_is_done(system: System) -> None:
    path = "/v1/galleries?transactionId=t"
    assert system.get(path, token=None).status == 401
    assert system.get(path, token="not.a.token").status == 401
    reader = system.run("token", "--scope", "abis.task.read").stdout.strip()
    assert system.get(path, token=reader).status == 403


# ---- the station and the operator


def test_a_station_streams_a_folder_and_goes_on_after_a_break(system: System, faces: Faces, tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    folder.mkdir()
    for name in faces.several_of_each(3):
        shutil.copy(faces.folder / f"{name}.jpg", folder)
    shutil.copy(SHARED / "odd" / "two_people.jpg", folder)
    station = ("station", str(folder), "--json", "--gallery", "station-test", "--journal", str(tmp_path / "j.jsonl"))
    lines = system.run(*station).stdout.splitlines()
    summary = json.loads(lines[-1])
    assert len(lines) == 1 + len(list(folder.iterdir()))
    assert summary["refused"] == {"several_faces": 1}
    assert summary["unanswered"] == 0
    again = json.loads(system.run(*station).stdout.splitlines()[-1])
    assert again["sent_now"] == 0
    assert again["outcomes"] == summary["outcomes"]


def test_the_commands_of_an_officer_say_yes_and_no_by_their_exit_codes(
    system: System, faces: Faces, tmp_path: Path
) -> None:
    one, other = faces.strangers(9)[7:]
    assert system.enrol("cli", faces.read(one), gallery="cli").status == 200
    for name, code in ((one, 0), (other, 1)):
        assert system.run("verify", "cli", str(faces.folder / f"{name}.jpg"), check=False).returncode == code
    found = system.run("identify", str(faces.folder / f"{one}.jpg"), "--gallery", "cli", "--json")
    assert "cli" in found.stdout


def test_accepted_captures_are_outcomes_plus_those_in_flight_and_every_metric_explains_itself(
    system: System, faces: Faces
) -> None:
    system.enrol("counted", faces.read(faces.strangers(1)[0]), gallery="counted")
    deadline = time.monotonic() + 15
    while system.metric("eyni_captures_in_flight") and time.monotonic() < deadline:
        time.sleep(0.2)
    text = system.get("/metrics", token=None).body.decode()
    assert system.metric("eyni_captures_accepted") == system.metric("eyni_captures_outcomes") > 0
    helps = [line for line in text.splitlines() if line.startswith("# HELP eyni_")]
    assert helps
    assert all(len(line.split()) > 8 for line in helps)


def test_status_shows_the_services_and_the_gallery(system: System) -> None:
    # Exit code 1 says that something is off: on a machine that runs all tests at once, work may well be waiting.
    status = json.loads(system.run("status", "--json", check=False).stdout)
    text = json.dumps(status)
    for service in ("enroll", "match", "api"):
        assert service in text


def test_nothing_of_a_face_is_in_the_logs(system: System, faces: Faces) -> None:
    log = (system.folder / "up.log").read_text()
    assert "Traceback" not in log
    picture = face(faces.read(faces.strangers(1)[0]), [])["biometricData"][0]["image"]
    assert picture[:60] not in log
