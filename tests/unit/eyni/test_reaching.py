"""Where tokens and faces go: to the api that Eyni's own settings name, whatever other programs' environment says."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.client import Client, Watcher
from services.eyni.common import Failed, NotAvailable
from shared.settings import Settings

CLOSED = "http://127.0.0.1:9"
PERSON: dict[str, object] = {"decision": True, "scores": []}


class Server:
    """Answers everything, and remembers what it was asked for: an api, or a proxy, which is asked for whole URLs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.status, self.date = 200, ""
        self.more: dict[str, object] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                fake.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
                body = json.dumps({**PERSON, "ready": True, "instance": "api@here:1", **fake.more}).encode()
                self.send_response_only(fake.status)
                if fake.date:
                    self.send_header("Date", fake.date)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_CONNECT = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(
    params=[
        {"HTTP_PROXY": CLOSED, "http_proxy": CLOSED, "HTTPS_PROXY": CLOSED},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"ALL_PROXY": "nonsense"},
        {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"},
        {"NETRC": ".netrc"},
    ],
    ids=lambda given: next(iter(given)),
)
def others(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs have in their environment."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password known\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in request.param.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name == "NETRC" else value)


@pytest.mark.usefixtures("others")
def test_other_programs_environment_decides_nothing(server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"a face")
    command = ["verify", "P", str(picture), "--url", server.url, "--token", "mine", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    with Watcher(server.url, Settings()) as watcher:
        assert watcher.ready_instance() == "api@here:1"
    assert [authorization for _, _, authorization in server.asked] == ["Bearer mine", ""]


def test_an_operators_proxy_is_used_for_other_machines_and_not_for_this_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYNI_COMMAND_PROXY", server.url)
    with Client("http://eyni.invalid:8080", "t", Settings()) as client:
        assert client.verify("P", b"", "ALL").ok
    assert server.asked[0][1].startswith("http://eyni.invalid:8080/v1/verify/ALL/P?")
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with Client(f"http://{host}:9", "t", Settings(), patience=0.1) as client, pytest.raises(NotAvailable):
            client.verify("P", b"", "ALL")
    assert len(server.asked) == 1


@pytest.mark.parametrize("given", ["socks5://127.0.0.1:9", "127.0.0.1:9", "http://"])
def test_a_proxy_that_is_none_is_named_by_its_setting(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_COMMAND_PROXY", given)
    with pytest.raises(ValidationError, match="command_proxy"):
        Settings()
    done = CliRunner().invoke(app, ["token"])
    assert (done.exit_code, "EYNI_COMMAND_PROXY" in done.output) == (2, True)


def test_a_file_of_authorities_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    monkeypatch.setenv("EYNI_COMMAND_CA_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(Failed, match=f"EYNI_COMMAND_CA_FILE: {tmp_path}/ca.pem: holds no certificates"):
        Client("https://eyni.invalid", "t", Settings())


@pytest.mark.parametrize(
    "address", ["", "nowhere", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://[::1", "http://a\x00b"]
)
def test_an_address_that_is_none_is_told_with_it(address: str) -> None:
    with pytest.raises(Failed, match=r"is no address|has port"):
        Client(address, "t", Settings())


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "əəə", "\x7f"])
def test_a_token_that_is_none_is_told_without_it(token: str) -> None:
    with pytest.raises(Failed, match="EYNI_TOKEN") as error:
        Client("http://x", token, Settings())
    assert token not in str(error.value)


def test_variables_that_libraries_obey_unasked_are_forgotten(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    code = (
        "import os, ssl, sys; sys.argv = ['eyni', '--help']; from services.eyni.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "ssl.create_default_context(); print('PGHOSTADDR' in os.environ)"
    )
    environment = {**os.environ, "SSLKEYLOGFILE": str(keys), "PGHOSTADDR": "192.0.2.1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert not keys.exists()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-90, "Its clock is 90 s behind this machine's"), (90, "90 s ahead of this machine's"), (0, ""), (None, "")],
)
def test_a_token_that_is_turned_away_makes_one_look_at_the_clocks(
    server: Server, tmp_path: Path, seconds: int | None, said: str
) -> None:
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"a face")
    server.status = 401
    server.more["message"] = "get a new token"
    if seconds is not None:
        # Half a second more, for `Date` is in whole seconds and the test takes its time.
        server.date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds + 0.5), usegmt=True)
    command = ["verify", "P", str(picture), "--url", server.url, "--token", "mine", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "get a new token (HTTP 401)" in done.output
    assert ("NTP" in done.output) == bool(said)
    assert re.sub("(89|91) s", "90 s", done.output).find(said) >= 0
