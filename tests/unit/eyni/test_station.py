"""The enrolment station against a small server that answers as the api does."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.client import Client
from services.eyni.common import NotAvailable
from services.eyni.folder import LINK, SPECIAL, TWICE, look_into
from services.eyni.station import parse_part, part_of, person_of
from shared.reading import HIDDEN, SYSTEM
from shared.settings import Settings


@dataclass
class FakeApi:
    """Answers createEncounter by what the "picture" says; counts what it was sent."""

    url: str = ""
    bodies: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    busy: int = 0
    """So many next calls get 503."""
    later: int = 0
    """So many next calls get 429."""

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], object]:
        person = path.split("/")[3]
        self.bodies.setdefault(person, []).append(body)
        if self.busy > 0:
            self.busy -= 1
            return 503, {"Retry-After": "0"}, {"code": 50302, "message": "not ready"}
        if self.later > 0:
            self.later -= 1
            return 429, {"Retry-After": "30"}, {"code": 42901, "message": "later"}
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
            case [b"never"]:
                return 400, {}, {"code": 40003, "message": "[red]no[/x]\x1b[2J"}
            case [b"token"]:
                return 401, {}, {"code": 40101, "message": "the token is not valid"}
            case [b"odd"]:
                return 200, {}, {"others": {"candidates": [{"nothing": 1}]}}
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


class FakeTime:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_station_waits_for_its_turn_however_long_and_a_desk_does_not(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr("services.eyni.client.time", clock)
    with Client(api.url, "token", Settings(), patience=60.0) as client:
        api.later = 20
        assert client.enrol("ann", "1", b"a face", ["visa"], "VISA").ok
        assert clock.now == 600.0
        assert len(set(api.bodies["ann"])) == 1
        api.later = 20
        with pytest.raises(NotAvailable, match="HTTP 429"):
            client.verify("ann", b"a face", "visa")
        assert clock.now == 660.0


def test_parts_share_a_folder_without_overlap(api: FakeApi, folder: Path) -> None:
    for part in ("1/3", "2/3", "3/3"):
        run(api, folder, "--part", part)
    assert {person: len(sent) for person, sent in api.bodies.items()} == {"ann": 1, "ben": 1, "dan": 1, "gate_cas": 1}
    every = look_into(folder).pictures
    shared_out = [path for k in (1, 2, 3) for path in part_of(every, (k, 3))]
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


# ---- what is in a folder

JPEG = b"\xff\xd8\xff a jpeg"
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"


def made(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        path = os.fsencode(root / "in") + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return root / "in"


def test_a_picture_is_told_by_what_it_holds_not_by_its_name(api: FakeApi, tmp_path: Path) -> None:
    names = ("a.jfif", "b.jpe", "c", "d.heic", "e.J2K", "f.v2")
    assert run(api, made(tmp_path, dict.fromkeys(names, JPEG))).code == 0
    assert sorted(api.bodies) == ["a", "b", "c", "d", "e", "f.v2"]


def test_what_is_passed_over_is_told_by_kind_and_a_folder_of_nothing_to_send_is_no_success(
    api: FakeApi, tmp_path: Path
) -> None:
    folder = made(tmp_path, {"a.heic": HEIC, "b.jpg": HEIC, "c.tif": b"II*\x00", "d.bmp": b"BM", "notes.txt": b"hello"})
    done = run(api, folder)
    assert done.code == 1
    assert done.summary["passed_over"] == {
        "BMP, which is not read: export as JPEG": 1,
        "HEIC, which is not read: export as JPEG": 2,
        "TIFF, which is not read: export as JPEG": 1,
        "no picture": 1,
    }
    shown = CliRunner().invoke(app, ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(tmp_path)])
    assert shown.exit_code == 1
    assert "passed over, HEIC, which is not read: export as JPEG: 2 (a.heic; b.jpg)" in shown.output
    assert "no picture to send" in shown.output
    made(tmp_path, {"good.jpg": JPEG})
    assert run(api, folder).code == 0


def test_hidden_files_thumbnails_links_and_a_file_twice_are_nobody(api: FakeApi, tmp_path: Path) -> None:
    names = ("a.jpg", "._a.jpg", ".b.jpg", "@eaDir/a.jpg", ".thumbnails/a.jpg", "__MACOSX/a.jpg", "sub/Thumbs.db")
    folder = made(tmp_path, dict.fromkeys(names, JPEG) | {"double.jpg": b"\x00\x05\x16\x07"})
    (tmp_path / "elsewhere.jpg").write_bytes(JPEG)
    (folder / "out.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.jpg").symlink_to("nowhere")
    os.link(folder / "a.jpg", folder / "again.jpg")
    os.mkfifo(folder / "pipe.jpg")
    done = run(api, folder)
    assert list(api.bodies) == ["a"]
    assert done.code == 0
    assert done.summary["passed_over"] == {HIDDEN: 3, SYSTEM: 4, LINK: 3, TWICE: 1, SPECIAL: 1}


@pytest.mark.parametrize("where", ["M\udcfcller.jpg", "M\udcfcller/a.jpg"])
def test_a_name_that_is_no_utf8_is_told_and_the_others_go_on(api: FakeApi, tmp_path: Path, where: str) -> None:
    folder = made(tmp_path, {where: JPEG, "ann.jpg": JPEG})
    first = run(api, folder)
    assert (first.code, list(api.bodies)) == (0, ["ann"])
    assert first.summary["unusable"] == {where.replace("\udcfc", r"\xfc"): AnyOf("is not UTF-8")}
    assert run(api, folder).summary["sent_now"] == 0
    shown = CliRunner().invoke(app, ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(tmp_path)])
    assert r"M\xfcller" in shown.output
    assert "rename it" in shown.output


class AnyOf(str):
    """Equal to every text that holds this."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in other

    __hash__ = str.__hash__


def test_ids_are_of_one_spelling_whatever_the_file_system_has(api: FakeApi, tmp_path: Path) -> None:
    run(api, made(tmp_path, {"Gu\u0308ls\u0327\u0259n.jpg": JPEG}))
    assert [unquote(person) for person in api.bodies] == ["G\u00fcl\u015f\u0259n"]


def test_one_person_in_two_spellings_is_named_before_anything_is_sent(api: FakeApi, tmp_path: Path) -> None:
    folder = made(tmp_path, {"Gu\u0308l.jpg": JPEG, "G\u00fcl.jpg": JPEG})
    result = CliRunner().invoke(
        app, ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(tmp_path)]
    )
    assert (result.exit_code, api.bodies) == (1, {})
    assert "would both be person" in result.output


@pytest.mark.parametrize("name", ["a\u200bb.jpg", "x" * 220 + ".jpg", "a\x1b[2Jb.jpg", "a\nb.jpg", "a\\b.jpg"])
def test_a_name_that_is_no_id_is_told_and_never_sent(api: FakeApi, tmp_path: Path, name: str) -> None:
    done = run(api, made(tmp_path, {name: JPEG, "ann.jpg": JPEG}))
    assert (done.code, list(api.bodies)) == (0, ["ann"])
    (message,) = cast("dict[str, str]", done.summary["unusable"]).values()
    assert message.startswith("its path is no personId")


def test_what_no_sending_again_changes_is_not_sent_again_until_it_is_another_file(api: FakeApi, tmp_path: Path) -> None:
    folder = made(tmp_path, {"ann.jpg": b"good", "ben.jpg": b"never", "cas.jpg": b"", "dan.jpg": b"x" * 10_000_000})
    first = run(api, folder)
    assert first.code == 0
    assert first.summary["unanswered"] == 0
    assert first.summary["unusable"] == {
        "ben.jpg": "[red]no[/x]\x1b[2J (HTTP 400)",
        "cas.jpg": AnyOf("is empty"),
        "dan.jpg": AnyOf("has 10,000,000 bytes, more than"),
    }
    api.bodies.clear()
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(tmp_path / "data")]
    shown = CliRunner().invoke(app, command)
    assert (shown.exit_code, api.bodies) == (0, {})
    assert "start again" not in shown.output
    assert "replaced, renamed, or touched" in shown.output
    assert "\x1b" not in shown.output
    # Replaced by one of the same size and time.
    before = (folder / "ben.jpg").stat()
    (folder / "new").write_bytes(b"great")
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(folder / "new", folder / "ben.jpg")
    assert run(api, folder).summary["outcomes"] == {"enrolled": 2, "unusable": 2}
    assert list(api.bodies) == ["ben"]


def test_a_refusal_that_the_plan_may_have_caused_is_tried_again_with_another_plan(api: FakeApi, tmp_path: Path) -> None:
    folder = made(tmp_path, {"ben.jpg": b"never"})
    assert run(api, folder).code == 1  # nothing could be sent
    run(api, folder)
    run(api, folder, "--gallery", "other")
    assert len(api.bodies["ben"]) == 2


def test_one_picture_whose_answer_makes_no_sense_does_not_end_the_run(api: FakeApi, tmp_path: Path) -> None:
    done = run(api, made(tmp_path, {"a.jpg": b"odd", "b.jpg": b"good"}), "--parallel", "1")
    assert (done.code, done.summary["outcomes"]) == (1, {"error": 1, "enrolled": 1})


def test_a_token_that_is_not_taken_ends_the_run_at_once(api: FakeApi, tmp_path: Path) -> None:
    folder = made(tmp_path, {f"{n}.jpg": b"token" for n in range(20)})
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(tmp_path), "--parallel", "1"]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, len(api.bodies)) == (1, 1)
    assert "the token is not valid (HTTP 401)" in result.output


@pytest.mark.parametrize("option", ["--encounter", "--gallery"])
@pytest.mark.parametrize("value", ["..", "a/b", "a\u202eb", ""])
def test_ids_of_the_plan_are_checked_before_anything_is_sent(
    api: FakeApi, folder: Path, option: str, value: str
) -> None:
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--data", str(folder.parent), option, value]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, api.bodies) == (2, {})
    assert option in result.output


def test_a_journal_is_a_file_and_of_other_bytes_nothing_is_read(api: FakeApi, folder: Path) -> None:
    journal = folder.parent / "journal"
    journal.write_bytes(b"\xff\xfe\x00[]\n" + b"[" * 100_000 + b'\n{"file": "an')
    assert run(api, folder, "--journal", str(journal)).summary["sent_now"] == 4
    os.mkfifo(folder.parent / "pipe")
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--journal", str(folder.parent / "pipe")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "pipe: is no file" in result.output


def test_nothing_is_appended_to_a_file_that_is_no_journal(api: FakeApi, folder: Path) -> None:
    before = (folder / "ann.jpg").read_bytes()
    command = ["station", str(folder), "--url", api.url, "--token", "t", "--journal", str(folder / "ann.jpg")]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, api.bodies) == (1, {})
    assert "ann.jpg: is no journal of a station" in result.output
    assert (folder / "ann.jpg").read_bytes() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": "refused", "reasons": []},
        {"outcome": "suspected", "candidates": [["x", float("nan")]]},
        {"seconds": float("inf")},
        {"outcome": "nothing that is known"},
    ],
    ids=str,
)
def test_a_line_of_a_journal_that_no_station_wrote_counts_as_not_sent(
    api: FakeApi, folder: Path, changed: dict[str, object]
) -> None:
    journal = folder.parent / "journal"
    run(api, folder, "--journal", str(journal))
    first, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps(json.loads(first) | changed), *others]))
    done = run(api, folder, "--journal", str(journal))
    assert (done.code, done.summary["sent_now"]) == (0, 1)


@pytest.mark.parametrize("other", [("--encounter", "2"), ("--gallery", "visa"), ("--encounter-type", "VISA")])
def test_what_was_answered_in_one_way_is_sent_in_another(api: FakeApi, folder: Path, other: tuple[str, str]) -> None:
    run(api, folder)
    done = run(api, folder, *other)
    assert (done.summary["sent_now"], len(api.bodies["ann"])) == (4, 2)
    assert run(api, folder, *other).summary["sent_now"] == 0


def test_what_one_api_has_answered_is_sent_to_another(api: FakeApi, folder: Path) -> None:
    run(api, folder)
    api.url = api.url.replace("127.0.0.1", "localhost")
    assert run(api, folder).summary["sent_now"] == 4
    assert run(api, folder).summary["sent_now"] == 0


def test_a_journal_of_before_that_says_not_how_pictures_were_sent_is_believed(api: FakeApi, folder: Path) -> None:
    journal = folder.parent / "journal"
    run(api, folder, "--journal", str(journal))
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    journal.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "how"}) + "\n" for line in lines))
    assert run(api, folder, "--journal", str(journal)).summary["sent_now"] == 0
