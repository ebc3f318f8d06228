"""The three services as they are, and a calibration that is rewritten while they run: who still has the old one."""

import socket
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from services.api import bootstrap as api
from services.enroll import bootstrap as enroll
from services.enroll.quality import Extracted
from services.eyni.heard import Listener
from services.eyni.status import look, notices
from services.match import bootstrap as match
from shared.believed import seal
from shared.calibration import Calibration
from shared.log.file import FileLog
from shared.model import CALIBRATION, DEFAULT, MANIFEST, in_use, user_models
from shared.settings import Settings
from shared.topics import TOPICS


class Idle:
    """Extraction workers that nobody asks."""

    size = 1
    confined = "in a test"

    def submit(self, image: bytes) -> Future[Extracted]:
        raise AssertionError("nothing is captured here")

    def close(self) -> None:
        pass


class Services:
    """Each a real one in a thread; restarted, it reads what is on disk by now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._runs: dict[str, Callable[[Settings, threading.Event], None]] = {
            "enroll": enroll.run,
            "match": match.run,
            "api": api.run,
        }

    def restart(self, *names: str) -> None:
        self.stop(*names)
        for name in names:
            stop = threading.Event()
            thread = threading.Thread(target=self._runs[name], args=(self._settings, stop), name=name)
            thread.start()
            self._running[name] = thread, stop

    def stop(self, *names: str) -> None:
        for name in names or list(self._running):
            if name in self._running:
                thread, stop = self._running.pop(name)
                stop.set()
                thread.join(timeout=20)
                assert not thread.is_alive()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    def idle(*_: object, **__: object) -> Idle:
        return Idle()

    monkeypatch.setattr(enroll, "pool", idle)
    monkeypatch.setattr("shared.heartbeat.PERIOD", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Settings(data=tmp_path, api_port=port, enroll_metrics_port=0, match_metrics_port=0)


@pytest.fixture
def services(settings: Settings) -> Generator[Services]:
    found = Services(settings)
    try:
        yield found
    finally:
        found.stop()


def calibrate_anew(data: Path) -> Calibration:
    """Put down what `eyni calibrate` does for a model that comes with Eyni."""
    model = in_use(data)
    folder = user_models(data) / DEFAULT
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes((model.folder / MANIFEST).read_bytes())
    made = model.calibration.model_copy(update={"provenance": {"data": "our own faces"}})
    seal(made, data, "here")
    (folder / CALIBRATION).write_text(made.dump())
    return made


def test_services_that_run_on_with_the_old_calibration_are_named_until_they_are_restarted(
    settings: Settings, services: Services
) -> None:
    with closing(FileLog(settings.data / "log")) as log:
        log.ensure(list(TOPICS.values()))
        listener = Listener(log)

        def told() -> list[str] | None:
            """What both say; None while they are not of one mind, or not all is there."""
            try:
                answer = httpx.get(f"http://127.0.0.1:{settings.api_port}/readyz")
            except httpx.TransportError:
                return None
            now = look(log, "", listener)
            if answer.status_code != 200 or len(now.alive) != 3 or not all(s.ready for s in now.alive):
                return None
            # This look is at the log alone: it asks no api, and says so.
            said = [line for line in notices(now) if "nothing answers as an api" not in line]
            if answer.json()["notices"] != said:
                return None
            return [line.partition(". ")[0] for line in said if "restart" in line]

        def say(*wanted: str) -> None:
            end = time.monotonic() + 20
            while (found := told()) != list(wanted):
                assert time.monotonic() < end, found
                time.sleep(0.02)

        services.restart("enroll", "match", "api")
        say()
        made = calibrate_anew(settings.data)
        services.restart("enroll")
        say("match and api run with another calibration than enroll: restart match and api")
        services.restart("match")
        say("api runs with another calibration than enroll and match: restart api")
        services.restart("api")
        say()
        assert {s.calibration.digest for s in look(log, "", listener).alive if s.calibration} == {made.digest()[:12]}
