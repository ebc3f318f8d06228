"""The system under test, on the embedded log and on a real broker, and the faces it gets to see."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.end_to_end.system import ROOT, System

SHARED = ROOT.parent / "shared" / "faces"


@dataclass(frozen=True)
class Faces:
    """Real faces: `picture[name]`, and who is on it."""

    folder: Path
    person: dict[str, str]

    def read(self, name: str) -> bytes:
        return (self.folder / f"{name}.jpg").read_bytes()

    def of(self, person: str) -> list[str]:
        return sorted(name for name, who in self.person.items() if who == person)

    def strangers(self, count: int) -> list[str]:
        """Return one picture each of so many people."""
        firsts: dict[str, str] = {}
        for name in sorted(self.person):
            firsts.setdefault(self.person[name], name)
        return list(firsts.values())[:count]

    def several_of_each(self, people: int) -> list[str]:
        """Return all pictures of so many people who have more than one."""
        chosen = [p for p in sorted(set(self.person.values())) if len(self.of(p)) > 1][:people]
        return [name for p in chosen for name in self.of(p)]


@pytest.fixture(scope="session")
def faces() -> Faces:
    if not SHARED.is_dir():
        reason = "needs the real faces of ../shared/faces, which is not part of the project"
        if os.environ.get("EYNI_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with (SHARED / "dev.csv").open(newline="") as file:
        return Faces(SHARED / "dev", {Path(r["file"]).stem: r["person"] for r in csv.DictReader(file)})


@pytest.fixture(scope="session", params=["file", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_address(request: pytest.FixtureRequest) -> str:
    """An address for one system: "" is the embedded log in its own folder."""
    if request.param == "file":
        return ""
    return f"kafka://{request.getfixturevalue('kafka')}?prefix=e2e-{uuid4().hex[:8]}-"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, log_address: str) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    address = log_address and f"{log_address}{uuid4().hex[:8]}-"
    with System(folder, address, {"EYNI_CALLBACK_HOSTS": "127.0.0.1:*"}) as running:
        yield running
