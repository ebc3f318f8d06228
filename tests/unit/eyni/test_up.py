"""The supervisor with tiny children in the services' places."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.eyni import up
from services.eyni.client import Watcher
from services.eyni.common import Failed
from services.eyni.up import Supervisor, only_one
from shared.heartbeat import process_of
from shared.settings import Settings

STAYS = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(0))
open({mark!r}, 'a').write('x')
time.sleep(60)
"""
STUBBORN = STAYS.replace("lambda *_: exit(0)", "signal.SIG_IGN")
WRITES_ON_TERM = """
import signal, sys, time
def end(*_):
    open({mark!r}, 'a').write({name!r} + ' ')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open({mark!r} + {name!r}, 'w').close()
time.sleep(60)
"""


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.02)


class Running:
    """A supervisor in a thread."""

    def __init__(self, **scripts: str) -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        self.failure: Exception | None = None
        commands = {name: [sys.executable, "-c", script] for name, script in scripts.items()}
        self.supervisor = Supervisor(commands, os.environ, self.said.append)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run(self.stop)
        except Failed as failure:
            self.failure = failure

    def pid(self, name: str) -> int:
        process = self.supervisor.children[name].process
        return process.pid if process else 0

    def end(self) -> None:
        self.stop.set()
        self._thread.join()

    def join(self) -> None:
        self._thread.join(10)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    every: list[Running] = []
    yield every
    for one in every:
        one.end()


def test_a_child_that_is_killed_is_started_again(started: list[Running], tmp_path: Path) -> None:
    mark = tmp_path / "lives"
    running = Running(match=STAYS.format(mark=str(mark)))
    started.append(running)
    eventually(lambda: mark.exists() and mark.read_text() == "x")
    os.kill(running.pid("match"), signal.SIGKILL)
    eventually(lambda: mark.read_text() == "xx")
    assert running.said == ["match ended (killed by signal 9); starting it again in 0.2 s"]


def test_a_child_that_keeps_dying_is_started_less_and_less_often(started: list[Running]) -> None:
    running = Running(match="raise SystemExit(1)")
    started.append(running)
    eventually(lambda: len(running.said) >= 3)
    assert [line.rsplit(" in ", 1)[1] for line in running.said[:3]] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_child_that_lived_long_is_started_again_at_once(
    started: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "SETTLED", 0.0)
    running = Running(match="raise SystemExit(1)")
    started.append(running)
    eventually(lambda: len(running.said) >= 3)
    assert all(line.endswith("in 0.2 s") for line in running.said)


def test_a_child_that_refuses_its_settings_ends_everything(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    running = Running(api="raise SystemExit(2)", match=STAYS.format(mark=mark))
    running.join()
    assert running.failure is not None
    assert running.pid("match") == 0


def test_children_are_stopped_in_order(tmp_path: Path) -> None:
    mark = tmp_path / "order"
    names = ("enroll", "match", "api")
    running = Running(**{name: WRITES_ON_TERM.format(mark=str(mark), name=name) for name in names})
    eventually(lambda: all((tmp_path / f"order{name}").exists() for name in names))
    running.end()
    assert mark.read_text().split() == ["api", "enroll", "match"]


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "GRACE", 0.2)
    mark = tmp_path / "mark"
    running = Running(match=STUBBORN.format(mark=str(mark)))
    eventually(mark.exists)
    running.end()
    assert running.said[-1].startswith("match did not stop")


def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    child = (
        "import os, threading; from services.eyni.run import end_with_supervisor;"
        f"stop = threading.Event(); end_with_supervisor(stop); open({str(mark)!r}, 'w').write(str(os.getpid()));"
        f"stop.wait(60) and open({str(mark)!r} + '.ended', 'w')"
    )
    parent = (
        "import os, sys, threading; from services.eyni.up import Supervisor;"
        f"Supervisor({{'match': [sys.executable, '-c', {child!r}]}}, os.environ, print).run(threading.Event())"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", parent])
    try:
        eventually(lambda: mark.exists() and mark.read_text() != "")
    finally:
        supervisor.kill()
        supervisor.wait()
    eventually((tmp_path / "pid.ended").exists)


class FakeReady:
    """An api of which only /readyz is there, and which says who it is."""

    def __init__(self) -> None:
        self.body = b""
        self.asked = threading.Semaphore(0)
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(fake.body)
                fake.asked.release()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answer(instance: str, ready: bool) -> bytes:
    return json.dumps({"ready": ready, "instance": instance}).encode()


def test_another_server_on_the_port_is_not_taken_for_the_api(started: list[Running]) -> None:
    running = Running(api="import time; time.sleep(60)")
    started.append(running)
    eventually(lambda: running.pid("api") > 0)
    mine = process_of("api", running.pid("api"))
    fake, stop, said = FakeReady(), threading.Event(), list[str]()
    watcher = Watcher(fake.url, Settings())
    thread = threading.Thread(
        target=up.await_ready,
        args=(watcher, stop, lambda: said.append("ready"), lambda: running.supervisor.process("api")),
    )
    try:
        thread.start()
        for body in (
            b"ok",
            b"[]",
            b"{}",
            answer(process_of("api", 1) + ".0a1b2c", True),
            answer(f"{mine}.0a1b2c", False),
        ):
            fake.body = body
            for _ in range(2):
                assert fake.asked.acquire(timeout=10)
            assert said == []
        fake.body = answer(f"{mine}.0a1b2c", True)
        eventually(lambda: said == ["ready"])
    finally:
        stop.set()
        thread.join()
        watcher.close()
        fake.close()


def test_a_second_supervisor_on_one_folder_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(Failed, match=f"process {os.getpid()}"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


SUPERVISES = """
import signal, sys, typer
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup, which `up` heeds
from pathlib import Path
from services.eyni import up
from services.eyni.__main__ import app
folder = Path(sys.argv[1])
up.own_command = lambda name: [sys.executable, "-S", "-c", f"open({str(folder / name)!r}, 'a').write('x')"]
up.await_ready = lambda *_: None
sys.argv[1:] = ["up", "--data", str(folder / "data"), "--port", "0"]
app()
"""


def supervising(folder: Path, stderr: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SUPERVISES, str(folder)], stderr=stderr, start_new_session=True)


def begun(folder: Path) -> int:
    return min(len((folder / name).read_text()) if (folder / name).exists() else 0 for name in up.SERVICES)


@pytest.mark.parametrize("gone", [True, False])
def test_it_goes_on_supervising_when_its_terminal_is_gone_or_unread(gone: bool, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    if gone:
        os.close(reading)
    else:
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
    process = supervising(tmp_path, writing)
    os.close(writing)
    try:
        eventually(lambda: begun(tmp_path) >= 3, 60)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if not gone:
            os.close(reading)


def test_a_terminal_that_is_closed_ends_it_in_order(tmp_path: Path) -> None:
    process = supervising(tmp_path, subprocess.DEVNULL)
    try:
        eventually(lambda: begun(tmp_path) >= 1, 60)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
