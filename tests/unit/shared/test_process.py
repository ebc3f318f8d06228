"""What a process gives up as it starts; each in a process of its own, for none of it can be had back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.process import warning_of_root

ROOT = Path(__file__).resolve().parents[3]
HARDENED = "import os, sys, resource, ctypes; from shared.process import harden; harden()\n"


def hardened(code: str) -> str:
    command = [sys.executable, "-c", HARDENED + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, umask=0o022)
    return done.stdout.strip() + done.stderr.strip()


def test_new_files_are_the_owners_only_and_no_core_is_written() -> None:
    assert hardened("print(oct(os.umask(0)), *resource.getrlimit(resource.RLIMIT_CORE))") == "0o77 0 0"


@pytest.mark.skipif(sys.platform != "linux", reason="dumpable is Linux's word")
def test_no_other_process_of_the_user_may_look_inside() -> None:
    assert hardened("print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))") == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_hardened_process_still_counts_its_own_memory_and_files() -> None:
    code = (
        "from prometheus_client import ProcessCollector\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534); harden()\n"
        "print(sorted(m.name for m in ProcessCollector(registry=None).collect() if m.samples[0].value > 0))"
    )
    assert "process_open_fds" in hardened(code)
    assert "process_resident_memory_bytes" in hardened(code)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("command", [["token"], ["status", "--once"]])
def test_every_command_is_hardened(command: list[str], tmp_path: Path) -> None:
    # /proc's files of a process that is not dumpable are root's: for any other user that is how it shows.
    environment = {**os.environ, "EYNI_DATA": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    code = (
        "import ctypes, os, sys, atexit, resource\n"
        "from services.eyni.__main__ import main\n"
        f"sys.argv = ['eyni', *{command!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, umask=0o022
    )
    assert done.stdout.strip().splitlines()[-1] == "0 0o77 0"
    folder = tmp_path / "data"
    assert {oct(p.stat().st_mode & 0o077) for p in (folder, *folder.rglob("*"))} == {"0o0"}


@pytest.mark.parametrize(("uid", "said"), [(0, True), (1000, False)])
def test_root_is_advised_to_be_somebody_else(uid: int, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert ("sudo -u eyni" in warning_of_root()) is said
