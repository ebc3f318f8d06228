"""The `eyni` command from outside: help, exit codes, and one line for what goes wrong."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.common import load

COMMANDS = [
    "up",
    "enroll",
    "match",
    "api",
    "demo",
    "station",
    "verify",
    "identify",
    "models",
    "calibrate",
    "evaluate",
    "status",
    "token",
    "topics",
    "registry",
]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("EYNI_LOG", "EYNI_TOKEN", "EYNI_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("services.eyni.client.PATIENCE", 0.1)
    return CliRunner()


def test_help_names_every_command(eyni: CliRunner) -> None:
    result = eyni.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert [name for name in COMMANDS if name not in result.output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(eyni: CliRunner, command: str) -> None:
    assert eyni.invoke(app, [command, "--help"]).exit_code == 0


def test_help_loads_neither_models_nor_services() -> None:
    heavy = "{'numpy', 'cv2', 'faiss', 'dlib', 'fastapi', 'sqlalchemy', 'kafka', 'httpx', 'pydantic'}"
    code = f"import sys, services.eyni.__main__; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_setting_is_a_wrong_use_and_is_named(eyni: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_API_PORT", "eighty")
    result = eyni.invoke(app, ["topics"])
    assert result.exit_code == 2
    assert "EYNI_API_PORT" in result.output


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EYNI_API_PORT", "eighty", "EYNI_API_PORT: Input should be a valid integer"),
        ("EYNI_API_PORT", "eighty", "(it is 'eighty')"),
        (
            "EYNI_DUPLICATE_TARGET",
            "-1",
            "EYNI_DUPLICATE_TARGET: Input should be greater than or equal to 0 (it is '-1')",
        ),
        (
            "EYNI_GALLERY_TARGETS",
            '{"visa": 500}',
            "EYNI_GALLERY_TARGETS visa: Input should be less than or equal to 200",
        ),
        ("EYNI_GALLERY_TARGETS", "30", "EYNI_GALLERY_TARGETS: "),
    ],
)
def test_a_wrong_setting_is_told_by_field_limit_and_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(typer.BadParameter) as error:
        load()
    assert told in str(error.value)
    assert "Value error" not in str(error.value)


def test_a_password_that_was_given_without_its_protocol_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_KAFKA_SASL_PASSWORD", "s3cret")
    with pytest.raises(typer.BadParameter, match="EYNI_KAFKA_SASL_MECHANISM") as error:
        load()
    assert "s3cret" not in str(error.value)


def test_an_option_goes_before_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_API_PORT", "1")
    monkeypatch.setenv("EYNI_DUPLICATE_TARGET", "20")
    settings = load(port=2)
    assert (settings.api_port, settings.duplicate_target) == (2, 20)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "device", "bytes", "large"])
def test_a_file_of_settings_that_is_none_is_not_passed_over(
    eyni: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "settings"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "bytes":
            path.write_bytes(b"\xff")
        case "large":
            path.write_bytes(bytes(2**20 + 1))
        case _:
            pass
    monkeypatch.setenv("EYNI_SETTINGS", str(path))
    result = eyni.invoke(app, ["topics"])
    assert result.exit_code == 2
    assert f"EYNI_SETTINGS: {path}: " in result.output


@pytest.mark.parametrize("command", ["up", "topics"])
def test_a_log_in_memory_is_refused_with_the_reason(eyni: CliRunner, command: str) -> None:
    result = eyni.invoke(app, [command, "--log", "memory:"])
    assert result.exit_code == 2
    assert "process" in result.output


def test_a_log_address_that_is_none_is_a_wrong_use(eyni: CliRunner) -> None:
    assert eyni.invoke(app, ["topics", "--log", "ftp://somewhere"]).exit_code == 2


def test_topics_are_made_and_listed(eyni: CliRunner) -> None:
    result = eyni.invoke(app, ["topics", "--json"])
    assert result.exit_code == 0
    held = json.loads(result.output)
    assert len(held["gallery"]) == 1
    assert held["captures-bulk"][0] == {"partition": 0, "start": 0, "end": 0}


def test_an_api_that_is_not_there_is_told_in_one_line(eyni: CliRunner, tmp_path: Path) -> None:
    picture = tmp_path / "face.jpg"
    picture.write_bytes(b"a face")
    result = eyni.invoke(app, ["verify", "ann", str(picture), "--url", NOBODY, "--token", "t"])
    assert result.exit_code == 3
    assert result.output.startswith("eyni: ")
    assert len(result.output.splitlines()) == 1


def test_a_data_folder_that_cannot_be_made_is_told_in_one_line(eyni: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = eyni.invoke(app, ["topics", "--data", str(tmp_path / "file" / "data")])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


def test_an_api_whose_port_is_taken_says_so_in_one_line_and_ends_as_wrongly_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "services.eyni", "api", "--log", f"file://{tmp_path}/log", "--port", port]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if "EYNI_API_PORT" in line]
    assert port in line
    assert "Traceback" not in done.stderr
    assert max(len(line) for line in done.stderr.splitlines()) < 400


def test_a_metrics_port_that_is_taken_is_told_and_nothing_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "services.eyni", "match", "--log", f"file://{tmp_path}/log"]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)],
            env={**os.environ, "EYNI_MATCH_METRICS_PORT": port},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2  # by which `eyni up` knows that it will not help to start it again
    [line] = [line for line in done.stderr.splitlines() if "EYNI_MATCH_METRICS_PORT" in line and "taken" in line]
    assert f"port {port} of 127.0.0.1" in line
    assert "Traceback" not in done.stderr


def test_a_setting_that_is_almost_spelt_right_is_told_and_what_belongs_to_others_is_not(
    eyni: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EYNI_VERIFICATON_TARGET", "EYNI_TOKEN", "EYNI_SUPERVISOR", "EYNI_DB_PASSWORD"):
        monkeypatch.setenv(name, "40")
    told = eyni.invoke(app, ["token"]).stderr.splitlines()
    assert told == ["eyni: EYNI_VERIFICATON_TARGET is no setting, and does nothing; is EYNI_VERIFICATION_TARGET meant?"]


def test_status_says_that_nothing_runs_and_what_to_start(eyni: CliRunner) -> None:
    result = eyni.invoke(app, ["status", "--json", "--url", NOBODY])
    assert result.exit_code == 1
    assert "`eyni up`" in json.loads(result.output)["advice"][0]


def test_a_token_is_all_that_is_printed_and_names_the_scopes_asked_for(eyni: CliRunner) -> None:
    from services.api.tokens import Verifier, development_jwks

    result = eyni.invoke(app, ["token", "--scope", "abis.verify", "--client", "gate 7", "--ttl", "5m"])
    caller = Verifier(development_jwks(load().data), load().token_issuer, load().token_audience).verify(
        result.output.removesuffix("\n")
    )
    assert (caller.client, caller.scopes) == ("gate 7", frozenset({"abis.verify"}))


@pytest.mark.parametrize("wrong", [["--scope", "abis.everything"], ["--ttl", "long"], ["--ttl", "0m"]])
def test_a_token_that_cannot_be_is_a_wrong_use(eyni: CliRunner, wrong: list[str]) -> None:
    assert eyni.invoke(app, ["token", *wrong]).exit_code == 2


@pytest.mark.slow
def test_help_comes_at_once() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "services.eyni", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    # The fastest of three: a neighbour on the machine is not the command's fault. 0.4 s was measured on a slow core.
    assert min(seconds() for _ in range(3)) < 1.0


def test_an_interrupt_ends_with_130_also_where_python_would_kill_itself(tmp_path: Path) -> None:
    (tmp_path / "hurt.py").write_text(
        "from services.eyni.__main__ import app, main\n"
        "@app.command()\n"
        "def hurt() -> None:\n"
        "    exec('import os, signal\\nos.kill(os.getpid(), signal.SIGTERM)\\nfor _ in range(10**6): pass')\n"
        "main()\n"
    )
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    assert subprocess.run([sys.executable, "-m", "hurt", "hurt"], env=env, check=False).returncode == 130


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["abis.verify abis.identify"], "abis.verify abis.identify"),
        (["abis.verify", "abis.identify"], "abis.verify abis.identify"),
        ([" abis.verify  abis.identify ", "abis.verify"], "abis.verify abis.identify"),
    ],
)
def test_scopes_are_given_as_oauth_writes_them_or_one_by_one(
    given: list[str], made: str, tmp_path: Path, eyni: CliRunner
) -> None:
    options = [part for scope in given for part in ("--scope", scope)]
    result = eyni.invoke(app, ["token", *options, "--data", str(tmp_path)])
    body = result.output.strip().split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["scope"] == made


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("abis.verify,abis.identify", "by blanks, not by commas"),
        ("", "names no scope"),
        ("abis.verify abis.everything", "no scope: abis.everything; there are abis.encounter.read"),
    ],
)
def test_scopes_that_are_none_are_told(given: str, says: str, tmp_path: Path, eyni: CliRunner) -> None:
    result = eyni.invoke(app, ["token", "--scope", given, "--data", str(tmp_path)])
    told = " ".join(result.output.replace("│", " ").split())
    assert (result.exit_code, says in told) == (2, True), told
