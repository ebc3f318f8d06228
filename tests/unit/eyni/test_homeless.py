"""Users without a home, a name, a current folder or a temporary one: services of containers and of systemd (F16)."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from shared.settings import NoDataFolder, Settings

ROOT = Path(__file__).resolve().parents[3]


def eyni(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with this environment and nothing else, as a user without an entry where that can be had."""
    program = (
        "import os, pwd, sys\n"
        "def nobody(_): raise KeyError('no such uid')\n"
        "pwd.getpwuid = nobody\n"
        "from services.eyni.__main__ import main\n"
        f"sys.argv = ['eyni', *{arguments!r}]\n"
        "main()"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "nowhere"}])
def test_without_a_home_the_setting_that_is_missing_is_named(home: dict[str, str]) -> None:
    done = eyni("token", **home)
    assert done.returncode == 2
    assert "EYNI_DATA: this user has no home folder" in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_with_a_data_folder_no_home_is_needed(tmp_path: Path) -> None:
    done = eyni("token", EYNI_DATA=str(tmp_path / "data"), TMPDIR="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("service", ["enroll", "match", "api"])
def test_a_service_starts_without_a_home(service: str, tmp_path: Path) -> None:
    # As far as it can get without its model: what fails then says so in one line.
    done = eyni(service, EYNI_DATA=str(tmp_path / "data"), EYNI_MODEL="nobody")
    assert done.returncode == 2
    assert "there is no model 'nobody'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_current_folder_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r}); os.execv({sys.executable!r}, [{sys.executable!r}, '-P', '-m', "
    done = subprocess.run(
        [sys.executable, "-c", program + "'services.eyni', 'token'])"],
        env={"PYTHONPATH": str(ROOT), "EYNI_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=gone,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _no_such_uid(uid: int) -> NoReturn:
    raise KeyError(uid)


def test_what_differs_from_the_defaults_is_shown_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", _no_such_uid)
    assert Settings(data=Path("/data")).shown()["data"] == "/data"
    monkeypatch.delenv("EYNI_DATA", raising=False)
    with pytest.raises(NoDataFolder, match="EYNI_DATA"):
        Settings()


def test_a_home_that_cannot_be_written_to_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = eyni("token", HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "EYNI_DATA" in done.stderr
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["file"]
