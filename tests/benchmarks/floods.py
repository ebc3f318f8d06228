"""One client's floods, and what another client's officer feels of them: times of 1:1, answers by status, what was lost.

    python -m tests.benchmarks.floods                                   embedded log
    python -m tests.benchmarks.floods --log kafka://127.0.0.1:9092      a real broker
    python -m tests.benchmarks.floods --only costly,verifications

Imports nothing of ours: it sees what users see. Everything stays on this machine.
"""

import argparse
import base64
import json
import multiprocessing
import os
import struct
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.end_to_end.system import ROOT, System

FACES = ROOT.parent / "shared" / "faces" / "dev"
ENROLLED = 20
PATIENCE = 1.5
"""Seconds at p99 that an officer's 1:1 may take during a flood."""
IN_FLIGHT = 100
"""Calls of the flooding client at a time."""
AFTERWARDS = 120.0
"""Seconds in which everything that was accepted must be decided."""


@dataclass
class Outcome:
    """What came of one flood."""

    officer: list[float] = field(default_factory=list[float])
    statuses: Counter[int] = field(default_factory=Counter[int])
    officers_statuses: Counter[int] = field(default_factory=Counter[int])
    retry_after: list[int] = field(default_factory=list[int])
    seconds: float = 0.0
    accepted: int = 0
    outcomes: int = 0
    in_flight: int = 0


def png(side: int, colour: int) -> bytes:
    """Make a legal picture that is small to send and takes long to decode: RGBA of 16 bits, of one colour."""
    packer = zlib.compressobj(9)
    first = b"\0" + struct.pack(">HHHH", colour, 255 * colour, 7 * colour, 65535) * side
    like_the_one_above = b"\2" + bytes(8 * side)
    data = packer.compress(first) + b"".join(packer.compress(like_the_one_above) for _ in range(1, side))
    data += packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def sample(picture: bytes) -> dict[str, str]:
    return {"biometricType": "FACE", "image": base64.b64encode(picture).decode()}


Flood = Callable[[str, list[bytes]], Iterator[tuple[str, bytes]]]


def costly(slow: str, faces: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(a) Comparisons of 20 + 20 legal pictures of 25 million pixels, four of them at once."""
    pictures = [sample(png(5000, colour)) for colour in (40, 80, 120, 160)]
    body = json.dumps({"biometricData1": pictures * 5, "biometricData2": pictures * 5}).encode()
    for _ in range(4):
        yield "/v1/verify?", body


def verifications(slow: str, faces: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(b) 500 verifications at once."""
    body = json.dumps({"biometricData": [sample(faces[1])]}).encode()
    for _ in range(500):
        yield "/v1/verify/ALL/officer-0?", body


def urgent_enrolments(slow: str, faces: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(c) 300 enrolments that the client makes urgent."""
    for n in range(300):
        body = {
            "status": "ACTIVE",
            "encounterType": "FLOOD",
            "galleries": ["flood"],
            "biometricData": [sample(faces[n % len(faces)])],
        }
        yield f"/v1/persons/flood-{n}/encounters/1?priority=9&", json.dumps(body).encode()


def slow_pictures(slow: str, faces: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(d) 70 verifications whose pictures a slow host of the operator's list holds."""
    body = json.dumps({"biometricData": [{"biometricType": "FACE", "imageRef": slow}]}).encode()
    for _ in range(70):
        yield "/v1/verify/ALL/officer-0?", body


FLOODS: dict[str, Flood] = {
    "none": lambda slow, faces: iter(()),
    "costly": costly,
    "verifications": verifications,
    "urgent-enrolments": urgent_enrolments,
    "slow-pictures": slow_pictures,
}


@contextmanager
def slow_host() -> Generator[str]:
    """Serve a picture that never comes within the time that the api gives it."""
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            closing.wait(8.0)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/face.jpg"
    finally:
        closing.set()
        server.shutdown()
        server.server_close()


def run(folder: Path, log: str, faces: list[bytes], names: list[str], least: float) -> Iterator[tuple[str, Outcome]]:
    """Send each flood to one system, an officer of another client beside it, and yield what came of it."""
    with slow_host() as slow, System(folder, log, {"EYNI_IMAGE_HOSTS": slow.split("/")[2]}) as system:
        flooder = system.run("token", "--client", "flooder").stdout.strip()
        officer = system.run("token", "--client", "officer").stdout.strip()
        usable = list[bytes]()
        for picture in faces:
            if len(usable) == ENROLLED:
                break
            body = {
                "status": "ACTIVE",
                "encounterType": "VISA",
                "galleries": ["visa"],
                "biometricData": [sample(picture)],
            }
            path = f"/v1/persons/officer-{len(usable)}/encounters/1?transactionId=t"
            if system.call("POST", path, body, token=officer).status == 200:
                usable.append(picture)
        for name in names:
            yield name, one_flood(system, list(FLOODS[name](slow, usable)), flooder, officer, usable, least)


def send(
    url: str, token: str, calls: Iterable[tuple[str, bytes]], at_once: int
) -> tuple[Counter[int], list[int], float]:
    """Send a flood and return its answers by status, what it was told to wait, and how long it took.

    In a process of its own, which goes behind all others: what is measured is the system, not this client.
    """
    os.nice(19)
    statuses: Counter[int] = Counter()
    waits = list[int]()

    def one(call: tuple[str, bytes]) -> None:
        path, body = call
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{url}{path}transactionId=flood", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                statuses[answer.status] += 1
        except urllib.error.HTTPError as refusal:
            with refusal:
                statuses[refusal.code] += 1
                if refusal.code == 429:
                    waits.append(int(refusal.headers["Retry-After"]))
        except OSError:
            statuses[0] += 1

    begin = time.monotonic()
    with ThreadPoolExecutor(at_once) as senders:
        list(senders.map(one, calls))
    return statuses, waits, time.monotonic() - begin


def one_flood(
    system: System, calls: list[tuple[str, bytes]], flooder: str, officer: str, faces: list[bytes], least: float
) -> Outcome:
    found = Outcome()
    begin = time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        flood = process.submit(send, system.url, flooder, calls, IN_FLIGHT)
        turn = 0
        while not flood.done() or time.monotonic() - begin < least:
            person = turn % len(faces)
            body = json.dumps({"biometricData": [sample(faces[person])]}).encode()
            path = f"/v1/verify/visa/officer-{person}?transactionId=officer"
            started = time.monotonic()
            answer = system.call("POST", path, body, token=officer, timeout=90, quiet=True)
            found.officer.append(time.monotonic() - started)
            right = answer.status != 200 or answer.json["decision"]
            found.officers_statuses[answer.status if right else -1] += 1
            turn += 1
            time.sleep(0.1)
        found.statuses, found.retry_after, found.seconds = flood.result()
    deadline = time.monotonic() + AFTERWARDS
    while system.metric("eyni_captures_in_flight") and time.monotonic() < deadline:
        time.sleep(0.5)
    found.accepted = int(system.metric("eyni_captures_accepted"))
    found.outcomes = int(system.metric("eyni_captures_outcomes"))
    found.in_flight = int(system.metric("eyni_captures_in_flight"))
    return found


def percentile(values: list[float], share: float) -> str:
    return f"{1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]:.0f}"


def counted(statuses: Counter[int]) -> str:
    return " ".join(f"{status}:{n}" for status, n in sorted(statuses.items())) or "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="", help="log address; default: embedded")
    parser.add_argument("--faces", type=Path, default=FACES, help="folder of pictures of faces")
    parser.add_argument("--only", default=",".join(FLOODS), help="floods, separated by commas")
    parser.add_argument("--least", type=float, default=20.0, help="least seconds that the officer asks during a flood")
    arguments = parser.parse_args()
    faces = [path.read_bytes() for path in sorted(arguments.faces.glob("*.jpg"))[:400:10]]
    row = "{:<18}{:>5}{:>8}{:>8}{:>8}  {:<16}{:>7}  {:<34}{:>6}  {}"
    print(row.format("flood", "1:1", "p50", "p99", "worst", "answers", "s", "flooder's answers", "retry", "I18"))
    with tempfile.TemporaryDirectory() as folder:
        for name, found in run(Path(folder) / "data", arguments.log, faces, arguments.only.split(","), arguments.least):
            print(
                row.format(
                    name,
                    len(found.officer),
                    percentile(found.officer, 0.5),
                    percentile(found.officer, 0.99),
                    percentile(found.officer, 1.0),
                    counted(found.officers_statuses),
                    f"{found.seconds:.0f}",
                    counted(found.statuses),
                    max(found.retry_after, default=0),
                    f"{found.accepted} = {found.outcomes} + {found.in_flight}",
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
