"""The enrolment station against a small server that answers as the api does."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.station import parse_part, person_of, pictures


@dataclass
class FakeApi:
    """Answers createEncounter by what the "picture" says; counts what it was sent."""

    url: str = ""
    bodies: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    busy: int = 0
    """So many next calls get 503."""

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], object]:
        person = path.split("/")[3]
        self.bodies.setdefault(person, []).append(body)
        if self.busy > 0:
            self.busy -= 1
            return 503, {"Retry-After": "0"}, {"code": 50302, "message": "not ready"}
        sample = json.loads(body)["biometricData"][0]
        match base64.b64decode(sample["image"]).split():
            case [b"bad", reason]:
                return 400, {"Eyni-Retake": reason.decode()}, {"code": 40010, "message": "take it again"}
            case [b"like", other]:
                found = [{"personId": other.decode(), "encounterId": "1", "score": 61.5}]
                return 200, {}, {"others": {"outcome": "ENROLLED_SUSPECT", "candidates": found}}
            case [b"other"]:
                return 409, {}, {"code": 40901, "message": "exists with other content"}
            case [b"broken"]:
                return 500, {}, {"code": 50001, "message": "a fault"}
            case _:
                return 200, {}, {"others": {"outcome": "ENROLLED_UNIQUE", "candidates": []}}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = fake.answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "captures"
    contents = {"ann.jpg": b"good", "ben.png": b"bad no_face", "gate/cas.JPG": b"like ann", "dan.jpg": b"other"}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no picture")
    return folder


@dataclass
class Run:
    code: int
    results: list[dict[str, object]]
    summary: dict[str, object]


def run(api: FakeApi, folder: Path, *more: str) -> Run:
    data = folder.parent / "data"
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(data), "--json", *more]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return Run(result.exit_code, lines[:-1], lines[-1])


def test_what_was_enrolled_refused_and_suspected_is_told(api: FakeApi, folder: Path) -> None:
    done = run(api, folder)
    assert done.code == 0
    assert done.summary["outcomes"] == {"enrolled": 1, "refused": 1, "suspected": 1, "conflict": 1}
    assert done.summary["refused"] == {"no_face": 1}
    assert done.summary["suspected"] == {"gate_cas": {"ann": 61.5}}


def test_people_read_a_table_of_the_same(api: FakeApi, folder: Path) -> None:
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(folder.parent)]
    shown = CliRunner().invoke(app, command).stdout
    assert [
        word for word in ("no_face", "gate_cas", "ann 61.5", "exists with other content") if word not in shown
    ] == []


def test_the_person_is_named_by_the_path_below_the_folder() -> None:
    assert person_of(Path("/in/day 1/gate/7.v2.jpg"), Path("/in")) == "day 1_gate_7.v2"


def test_what_is_sent_is_an_osia_encounter(api: FakeApi, folder: Path) -> None:
    run(api, folder, "--gallery", "visa", "--gallery", "watch", "--encounter-type", "APPLICATION")
    (body,) = api.bodies["ann"]
    assert json.loads(body) == {
        "status": "ACTIVE",
        "encounterType": "APPLICATION",
        "galleries": ["visa", "watch"],
        "biometricData": [{"biometricType": "FACE", "image": base64.b64encode(b"good").decode()}],
    }


def test_a_second_run_sends_nothing_that_was_answered(api: FakeApi, folder: Path) -> None:
    first = run(api, folder)
    api.bodies.clear()
    second = run(api, folder)
    assert api.bodies == {}
    assert second.summary["outcomes"] == first.summary["outcomes"]


def test_a_picture_that_was_taken_again_is_sent_again(api: FakeApi, folder: Path) -> None:
    run(api, folder)
    api.bodies.clear()
    (folder / "ben.png").write_bytes(b"good now")
    assert run(api, folder).summary["outcomes"] == {"enrolled": 2, "suspected": 1, "conflict": 1}
    assert list(api.bodies) == ["ben"]


def test_a_journal_that_a_crash_cut_off_costs_one_picture(api: FakeApi, folder: Path) -> None:
    journal = folder.parent / "journal"
    run(api, folder, "--journal", str(journal))
    journal.write_bytes(journal.read_bytes()[:-10])
    api.bodies.clear()
    run(api, folder, "--journal", str(journal))
    assert len(api.bodies) == 1
    assert run(api, folder, "--journal", str(journal)).summary["sent_now"] == 0


def test_a_fault_of_the_server_is_tried_again_by_the_next_run(api: FakeApi, folder: Path) -> None:
    (folder / "eve.jpg").write_bytes(b"broken")
    first = run(api, folder)
    assert (first.code, first.summary["unanswered"]) == (1, 1)
    api.bodies.clear()
    run(api, folder)
    assert list(api.bodies) == ["eve"]


def test_an_api_that_restarts_gets_the_same_bytes_again(api: FakeApi, folder: Path) -> None:
    api.busy = 2
    assert run(api, folder, "--parallel", "1").code == 0
    bodies = next(sent for sent in api.bodies.values() if len(sent) > 1)
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


def test_parts_share_a_folder_without_overlap(api: FakeApi, folder: Path) -> None:
    for part in ("1/3", "2/3", "3/3"):
        run(api, folder, "--part", part)
    assert {person: len(sent) for person, sent in api.bodies.items()} == {"ann": 1, "ben": 1, "dan": 1, "gate_cas": 1}
    shared_out = [path for k in (1, 2, 3) for path in pictures(folder, (k, 3))]
    assert len(shared_out) == len(set(shared_out)) == 4


@pytest.mark.parametrize(
    ("one", "other"), [("a_b/c.jpg", "a/b_c.jpg"), ("x.jpg", "x.png"), ("gate_cas.jpg", "gate/cas.JPG")]
)
def test_two_pictures_that_would_be_one_person_are_named_before_anything_is_sent(
    api: FakeApi, folder: Path, one: str, other: str
) -> None:
    for name in (one, other):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"good")
    # Also where the two are in different stations' parts.
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(folder.parent), "--part", "1/9"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert one in result.output
    assert other in result.output
    assert api.bodies == {}


@pytest.mark.parametrize("wrong", ["0/3", "4/3", "2", "a/b", ""])
def test_a_part_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(Exception, match="part"):
        parse_part(wrong)
