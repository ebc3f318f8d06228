"""`eyni models add | verify` of hostile models, with the real worker process: what one does costs itself only."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.eyni.__main__ import app
from tests.unit.enroll import onnx_bytes as onnx
from tests.unit.eyni import folders

SIDE, DIMENSION = 112, 8
"""What the manifest of `folders` declares."""
SOUND = onnx.network(
    shape=("N", 3, SIDE, SIDE), output=("N", DIMENSION), weights=onnx.tensor("weights", (3, DIMENSION))
)
ENDLESS = onnx.endless(SIDE, DIMENSION)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="worker processes need a POSIX system")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("EYNI_MODEL", raising=False)
    monkeypatch.setenv("EYNI_WORKERS", "1")
    return tmp_path / "data"


def models(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, words)])


def left(data: Path) -> list[str]:
    """Everything in the data folder but the lock, which stays."""
    return sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.name != "models.lock")


def workers(of: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, parent, state in rows if int(parent) == of and state[0] != "Z" and is_worker(int(pid))]


def is_worker(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "services.enroll.sandbox" in shown


def test_a_sound_network_comes_in(data: Path, tmp_path: Path) -> None:
    result = models("add", folders.model(tmp_path / "toy", network=SOUND).folder)
    assert result.exit_code == 0, result.output
    assert left(data) == ["models", "models/toy", "models/toy/model.toml", "models/toy/net.onnx"]


def test_a_network_that_never_ends_is_refused_when_its_time_is_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYNI_LOAD_TIME_LIMIT", "2")
    start = time.monotonic()
    result = models("add", folders.model(tmp_path / "toy", network=ENDLESS).folder)
    assert time.monotonic() - start < 20
    assert result.exit_code == 1
    assert "toy: an extraction worker did not start: took longer than 2 s (EYNI_LOAD_TIME_LIMIT)" in result.output
    assert (left(data), workers(os.getpid())) == ([], [])


LITTLE = 3 * 2**29
GIANT = onnx.giant(2**29, SIDE, DIMENSION)
"""It asks for 2 GiB, which a machine that runs the tests has: so it is the limit that refuses."""
limited = pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")


@limited
def test_a_network_that_wants_more_memory_than_it_may_have_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYNI_LOAD_MEMORY_LIMIT", str(LITTLE))
    result = models("add", folders.model(tmp_path / "toy", network=GIANT).folder)
    told = ("toy: net.onnx", "buffer of size 2147483648", f"EYNI_LOAD_MEMORY_LIMIT allows {LITTLE} bytes")
    assert (result.exit_code, [words for words in told if words not in result.output]) == (1, []), result.output
    assert left(data) == []


@limited
def test_verify_says_so_of_one_model_and_goes_on_to_the_next(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_LOAD_MEMORY_LIMIT", str(LITTLE))
    folders.model(data / "models" / "bad", "bad", network=GIANT)
    folders.model(data / "models" / "good", "good", network=SOUND)
    before = left(data)
    result = models("verify", "bad", "good")
    assert result.exit_code == 1
    assert "bad: refused" in result.output
    assert "buffer of size" in result.output
    assert "good: good" in result.output
    assert left(data) == before


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGSEGV, "Segmentation fault"), (signal.SIGKILL, "Killed")], ids=["crash", "kill"]
)
def test_a_network_that_ends_its_process_is_refused_with_the_signal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    # A worker that dies as it would of a library's fault, once it has its orders.
    dying = tmp_path / "python"
    dying.write_text(f"#!/bin/sh\nhead -c 4 > /dev/null\nkill -{number} $$\n")
    dying.chmod(0o700)
    source = folders.model(tmp_path / "toy", network=SOUND).folder
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(dying))
        result = models("add", source)
    assert result.exit_code == 1
    assert f"model toy: an extraction worker did not start: ended with signal {number} ({told})" in result.output
    assert left(data) == []


YUNET = """
[landmarks]
detector = "yunet"
file = "eyes.onnx"
sha256 = "{}"
"""


@pytest.mark.parametrize("part", ["network", "detector"])
def test_an_operators_name_does_not_steer_the_terminal(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], part: str
) -> None:
    hostile = onnx.network(after=[onnx.node("Tele\x1b[2Jpathy", ["product"], ["output"])])
    if part == "network":
        source = folders.model(tmp_path / "toy", network=hostile).folder
    else:
        source = folders.model(tmp_path / "toy", network=SOUND).folder
        manifest = source / "model.toml"
        text = manifest.read_text()
        start, end = text.index("[landmarks]"), text.index("[[networks]]")
        manifest.write_text(text[:start] + YUNET.format(folders.sha256(hostile)) + text[end:])
        (source / "eyes.onnx").write_bytes(hostile)
    result = models("add", source)
    assert (result.exit_code, r"Tele\x1b[2Jpathy" in result.output) == (1, True), result.output
    assert "\x1b" not in result.output + "".join(capfd.readouterr())


@pytest.mark.parametrize("command", ["models add", "calibrate"])
def test_an_interrupt_ends_what_never_ends_and_leaves_nothing(data: Path, tmp_path: Path, command: str) -> None:
    if command == "calibrate":
        folders.model(data / "models" / "toy", network=ENDLESS)
        words = ["calibrate", str(pictures(tmp_path / "faces")), "--model", "toy"]
    else:
        words = ["models", "add", str(folders.model(tmp_path / "toy", network=ENDLESS).folder)]
    before = left(data)
    with subprocess.Popen([sys.executable, "-m", "services.eyni", *words], stdout=subprocess.DEVNULL) as running:
        worker = worker_of(running.pid)
        time.sleep(1)  # so that it is at the network, likely
        running.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert running.wait(timeout=30) == 130
    assert time.monotonic() - start < 10
    assert not is_worker(worker)
    assert [path for path in left(data) if not path.startswith("extractions")] == before


def pictures(root: Path) -> Path:
    for number in range(60):
        path = root / f"p{number // 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture %d" % number)
    return root


def test_a_worker_that_nobody_waits_for_any_more_ends_though_its_network_does_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYNI_LOAD_TIME_LIMIT", "1.5")
    source = folders.model(tmp_path / "toy", network=ENDLESS).folder
    with subprocess.Popen([sys.executable, "-m", "services.eyni", "models", "add", str(source)]) as running:
        worker = worker_of(running.pid)
        running.kill()
    deadline = time.monotonic() + 30
    while is_worker(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_worker(worker)


def worker_of(parent: int) -> int:
    deadline = time.monotonic() + 30
    while not (found := workers(parent)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = found
    return worker


def test_a_relative_data_folder_does_as_well(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EYNI_DATA", "data")
    source = folders.model(tmp_path / "toy", network=b"rubbish").folder
    result = models("add", source)
    assert (result.exit_code, f"{source}: net.onnx: is cut short" in result.output) == (1, True), result.output
    assert (data.is_dir(), left(data)) == (True, [])
