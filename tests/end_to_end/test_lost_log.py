"""A log that is lost clears nobody: the system says so and answers nothing until an operator has decided (F17)."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import Faces
from tests.end_to_end.system import System


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.2)
    return true()


class Unready(System):
    """A system that will not become ready."""

    def wait_ready(self) -> None:
        pass


def lose(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def test_an_enrolled_person_is_never_unknown_because_log_and_registry_were_lost(tmp_path: Path, faces: Faces) -> None:
    wanted = faces.read(faces.strangers(1)[0])
    with System(tmp_path) as system:
        assert system.enrol("wanted", wanted).status == 200
        assert system.identify(wanted).json[0]["personId"] == "wanted"
    lose(tmp_path, "log/*.sqlite*", "log.sqlite*", "registry.sqlite*")

    with Unready(tmp_path) as system:
        assert until(lambda: b"eyni log adopt" in system.get("/readyz", token=None, quiet=True).body)
        assert system.get("/readyz", token=None).status == 503
        assert system.identify(wanted).status == 503
        system.run("log", "adopt", "--yes")
        assert until(lambda: system.get("/readyz", token=None).status == 200)
        assert system.identify(wanted).json == []


def test_where_the_registry_knew_more_neither_the_api_nor_a_rebuild_believes_the_log(
    tmp_path: Path, faces: Faces
) -> None:
    wanted = faces.read(faces.strangers(1)[0])
    with System(tmp_path) as system:
        assert system.enrol("wanted", wanted).status == 200
    lose(tmp_path, "log/*.sqlite*", "log.sqlite*")
    with Unready(tmp_path) as system:
        assert system.process is not None
        assert system.process.wait(60) != 0
    assert "eyni log adopt" in (tmp_path / "up.log").read_text()
    refused = system.run("registry", "rebuild", check=False)
    assert refused.returncode != 0
    assert "eyni log adopt" in refused.stderr
