"""What a warm worker may still ask of the kernel, seen by trying every way out; and that each is open without that."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from services.enroll.confinement import UID
from services.enroll.pool import Pool
from tests import models
from tests.unit.enroll.making import HOPPER, orders

ROOT = Path(__file__).resolve().parents[3]
KNOWN = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")

pytestmark = pytest.mark.skipif(not KNOWN, reason="seccomp is Linux's, and the table is of x86-64 and arm64")

ALLOWED = {"getrandom", "getrlimit", "mmap"}
"""What is tried, too, to see that a refusal is no broken test."""

USERS = [
    pytest.param("-", id="as-who-runs-this"),
    pytest.param(
        "12345", id="as-a-user", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
    ),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder and a file in it, for any user: pytest's own are for one."""
    place = Path(tempfile.mkdtemp(prefix="eyni-escapes-"))
    place.chmod(0o777)
    (place / "victim").write_bytes(b"template")
    (place / "victim").chmod(0o666)
    yield place
    shutil.rmtree(place)


def tried(place: Path, user: str, start: str) -> dict[str, Any]:
    """Run the escapes with another process of the same user beside them."""
    as_user: dict[str, Any] = {} if user == "-" else {"user": int(user), "group": int(user), "extra_groups": []}
    if user != "-":
        shutil.chown(place, int(user), int(user))
        shutil.chown(place / "victim", int(user), int(user))
    with subprocess.Popen(["sleep", "100"], **as_user) as other:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.unit.enroll.escapes", str(place), str(other.pid), user, start],
                capture_output=True,
                timeout=60,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT)},
            )
            assert other.poll() is None
        finally:
            other.kill()
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("user", USERS)
def test_a_worker_is_refused_every_way_out(user: str, place: Path) -> None:
    said = tried(place, user, "all")
    if "no seccomp" in said["held"]:
        pytest.skip(f"this kernel has no seccomp: {said['held']}")
    found: dict[str, object] = said["found"]
    assert {name for name, how in found.items() if how == 0} == ALLOWED
    assert {how for name, how in found.items() if name not in ALLOWED} == {"EPERM"}
    assert len(found) > 70
    assert [path.name for path in place.iterdir()] == ["victim"]
    assert (place / "victim").read_bytes() == b"template"


@pytest.mark.parametrize("user", USERS)
def test_without_seccomp_landlock_and_the_limits_still_keep_files_sockets_and_processes_from_it(
    user: str, place: Path
) -> None:
    said = tried(place, user, "no seccomp")
    if "no Landlock" in said["held"]:
        pytest.skip(f"this kernel has no Landlock: {said['held']}")
    found: dict[str, object] = said["found"]
    files = {"truncate", "symlink", "mkdir", "rename", "unlink", "rmdir", "link", "open", "creat", "openat2"}
    others = {"ptrace", "process_vm_readv", "socket", "unix socket", "memfd_create", "fork", "pipe"}
    assert {name for name in files | others if found[name] == 0} == set()
    assert (place / "victim").read_bytes() == b"template"


def test_each_way_is_open_to_a_process_that_is_not_confined(place: Path) -> None:
    found = tried(place, "-", "nothing")["found"]
    ways = {
        "truncate", "chmod", "symlink", "mkdir", "rename", "unlink", "open", "creat", "kill", "prlimit of another",
        "socket", "unix socket", "fork", "mmap executable", "mprotect executable", "pipe",
    }  # fmt: skip
    assert {name: found[name] for name in ways if found[name] != 0} == {}


def test_a_real_worker_says_what_confines_it_and_is_confined() -> None:
    with closing(Pool(1, orders(models.default()))) as pool:
        (pid,) = pool.pids
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if "no seccomp" in pool.confined:
            pytest.skip(f"this kernel has no seccomp: {pool.confined}")
        assert "seccomp" in pool.confined
        assert status["Seccomp"].strip() == "2"
        assert status["NoNewPrivs"].strip() == "1"
        assert status["Threads"].strip() == "1"
        if os.geteuid() == 0:
            assert status["Uid"].split() == [str(UID)] * 4
            assert status["Gid"].split() == [str(UID)] * 4
            assert status["Groups"].strip() == ""
            assert int(status["CapEff"], 16) == 0
            assert f"uid {UID}" in pool.confined
        assert pool.submit(HOPPER).result(timeout=60).template is not None
