"""The whole system as its users meet it: commands, HTTP, processes. Imports nothing of ours.

with System(folder, log="kafka://127.0.0.1:9092") as system: ...
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self

EYNI = [sys.executable, "-m", "services.eyni"]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class System:
    """`eyni up` on a folder of its own."""

    folder: Path
    log: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    start_seconds: float = 60.0

    def __post_init__(self) -> None:
        self.ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.settings = {
            **os.environ,
            "EYNI_DATA": str(self.folder),
            "EYNI_LOG": self.log,
            "EYNI_API_PORT": str(self.ports[0]),
            "EYNI_ENROLL_METRICS_PORT": str(self.ports[1]),
            "EYNI_MATCH_METRICS_PORT": str(self.ports[2]),
            **self.env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        self.token = self.run("token").stdout.strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        output = (self.folder / "up.log").open("ab")
        with output:
            self.process = subprocess.Popen(
                [*EYNI, "up"], env=self.settings, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            if self.get("/readyz", token=None, quiet=True).status == 200:
                return
            time.sleep(0.1)
        raise AssertionError(f"not ready; the end of its log:\n{(self.folder / 'up.log').read_text()[-4000:]}")

    def stop(self) -> int:
        """Stop as a service manager would: SIGTERM, and wait."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)

    def child(self, service: str) -> int | None:
        """Return the process id of a service, if it runs."""
        assert self.process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=,stat=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        ).stdout
        for line in listed.splitlines():
            pid, state, arguments = line.split(None, 2)
            if not state.startswith("Z") and f"services.eyni {service}" in arguments:
                return int(pid)
        return None

    def kill(self, service: str) -> bool:
        """`kill -9` a service; tell whether there was one to kill."""
        pid = self.child(service)
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def run(self, *command: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run another `eyni` command against this system."""
        done = subprocess.run(
            [*EYNI, *command], env=self.settings, cwd=ROOT, capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"eyni {' '.join(command)}: {done.returncode}\n{done.stderr[-3000:]}"
        return done

    def spawn(self, *command: str, output: Path) -> "subprocess.Popen[bytes]":
        with output.open("ab") as file:
            return subprocess.Popen(
                [*EYNI, *command], env=self.settings, cwd=ROOT, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

    # ---- HTTP

    def get(self, path: str, token: str | None = "", quiet: bool = False) -> Answer:
        return self.call("GET", path, token=token, quiet=quiet)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        quiet: bool = False,
        timeout: float = 60,
    ) -> Answer:
        """Send one request; `token` "" is the system's own, None is none. `quiet`: no connection is status 0."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token or self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, named(answer.headers), answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, named(refusal.headers), refusal.read())
        except OSError:
            if not quiet:
                raise
            return Answer(0, {}, b"")

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples at the api."""
        lines = self.get("/metrics", token=None).body.decode().splitlines()
        values = [line.rsplit(" ", 1) for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(value) for _, value in values)

    # ---- what many tests do

    def enrol(
        self, person: str, picture: bytes, *, encounter: str = "1", gallery: str = "tests", **query: str
    ) -> Answer:
        parameters = "&".join(f"{k}={v}" for k, v in {"transactionId": "t", **query}.items())
        return self.call("POST", f"/v1/persons/{person}/encounters/{encounter}?{parameters}", face(picture, [gallery]))

    def verify(self, person: str, picture: bytes, gallery: str = "ALL") -> Answer:
        body: dict[str, Any] = {"biometricData": face(picture, [])["biometricData"]}
        return self.call("POST", f"/v1/verify/{gallery}/{person}?transactionId=t", body)

    def identify(self, picture: bytes, gallery: str = "ALL", **query: str) -> Answer:
        parameters = "&".join(f"{k}={v}" for k, v in {"transactionId": "t", **query}.items())
        body: dict[str, Any] = {"filter": {}, "biometricData": face(picture, [])["biometricData"]}
        return self.call("POST", f"/v1/identify/{gallery}?{parameters}", body)


def named(headers: Message) -> dict[str, str]:
    """Return headers by name, written as `Eyni-As-Of` however they were sent."""
    return {name.title(): value for name, value in headers.items()}


def face(picture: bytes, galleries: Sequence[str]) -> dict[str, Any]:
    """Return an OSIA encounter with one picture."""
    import base64

    return {
        "status": "ACTIVE",
        "encounterType": "TEST",
        "galleries": list(galleries),
        "biometricData": [{"biometricType": "FACE", "image": base64.b64encode(picture).decode()}],
    }


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
