"""`eyni models add ADDRESS`: only what has the digest comes in, and of a .zip only what a model consists of."""

import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.eyni import models_add
from services.eyni.fetching import download
from shared.model import BUILT_IN, CALIBRATION, MANIFEST, find, load_model
from shared.settings import Settings
from tests.unit.eyni import folders
from tests.unit.eyni.folders import Eyni, command


@pytest.fixture
def eyni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eyni:
    return command(tmp_path / "data", monkeypatch)


@dataclass
class Server:
    """Serves bytes by path; a redirect where the value is a text."""

    url: str = ""
    files: dict[str, bytes | str] = field(default_factory=dict[str, "bytes | str"])
    asked: list[str] = field(default_factory=list[str])
    declared: int | None = -1
    """What it says that a file's size is; -1: what it is; None: nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            content = found.files.get(self.path, b"")
            if isinstance(content, str):
                self.send_response(302)
                self.send_header("Location", content)
                self.end_headers()
                return
            self.send_response(200 if self.path in found.files else 404)
            if found.declared is not None:
                self.send_header("Content-Length", str(len(content) if found.declared < 0 else found.declared))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        found.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield found
        http.shutdown()
        thread.join()


def test_a_zip_is_fetched_and_added(eyni: Eyni, tmp_path: Path, server: Server) -> None:
    source = folders.calibrated(folders.model(tmp_path / "toy"))
    archive, digest = folders.zipped(source.folder, tmp_path / "toy.zip")
    server.files = {"/moved.zip": "/toy.zip", "/toy.zip": archive.read_bytes()}
    result = eyni("add", "--trust-calibration", f"{server.url}/moved.zip", "--sha256", digest.upper())
    assert result.exit_code == 0, result.output
    assert eyni.added == {"toy": {MANIFEST, "net.onnx", CALIBRATION}}
    assert eyni.leftovers == []


def test_nothing_is_fetched_without_a_digest(eyni: Eyni, server: Server) -> None:
    result = eyni("add", f"{server.url}/toy.zip")
    assert (result.exit_code, "nothing is fetched without a digest" in result.output) == (2, True)
    assert server.asked == []


@pytest.mark.parametrize("digest", ["", "abc", "0" * 63, "g" * 64])
def test_what_is_no_digest_is_a_wrong_use(eyni: Eyni, server: Server, digest: str) -> None:
    assert eyni("add", f"{server.url}/toy.zip", "--sha256", digest).exit_code == 2
    assert server.asked == []


def test_a_digest_is_for_an_address_only(eyni: Eyni, tmp_path: Path) -> None:
    assert eyni("add", folders.model(tmp_path / "toy").folder, "--sha256", "0" * 64).exit_code == 2


def test_other_bytes_than_those_meant_are_thrown_away_unopened(
    eyni: Eyni, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, _ = folders.zipped(folders.model(tmp_path / "toy").folder, tmp_path / "toy.zip")
    server.files = {"/toy.zip": archive.read_bytes()}
    opened: list[object] = []
    monkeypatch.setattr(zipfile, "ZipFile", opened.append)
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", "0" * 64)
    assert (result.exit_code, "SHA-256" in result.output) == (1, True)
    assert (eyni.added, eyni.leftovers, opened) == ({}, [], [])


@pytest.mark.parametrize(("size", "declared"), [(100_000, None), (10, 100_000)])
def test_an_address_that_gives_more_than_a_model_has_is_left(
    eyni: Eyni, server: Server, monkeypatch: pytest.MonkeyPatch, size: int, declared: int | None
) -> None:
    monkeypatch.setattr(models_add, "LIMIT", 1000)
    server.files, server.declared = {"/toy.zip": bytes(size)}, declared
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", "0" * 64)
    assert (result.exit_code, "larger than 1,000" in result.output) == (1, True)


def test_a_file_that_is_there_already_is_neither_written_over_nor_removed(tmp_path: Path, server: Server) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        download(f"{server.url}/theirs", mine, Settings(), sha256="0" * 64, limit=9, progress=lambda done, whole: None)
    assert mine.read_bytes() == b"mine"


def test_an_address_that_does_not_answer_is_not_available_now(eyni: Eyni, server: Server) -> None:
    assert eyni("add", "http://127.0.0.1:9/toy.zip", "--sha256", "0" * 64).exit_code == 3
    missing = eyni("add", f"{server.url}/toy.zip", "--sha256", "0" * 64)
    assert (missing.exit_code, "404" in missing.output) == (1, True)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("../escape.onnx", b"", "'../escape.onnx'"),
        ("/absolute.onnx", b"", "'/absolute.onnx'"),
        ("folder/net.onnx", b"", "'folder/net.onnx'"),
        ("run.py", b"", "'run.py'"),
        ("net.onnx/", b"", "'net.onnx/'"),
        ("LICENSE", b"", "'LICENSE'"),
        ("bomb.onnx", bytes(2_000_000), "larger than 1,000,000"),
        (MANIFEST, b"twice", "two files of one name"),
    ],
)
def test_a_zip_of_anything_but_a_models_files_is_refused(
    eyni: Eyni, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, reason: str
) -> None:
    monkeypatch.setattr(models_add, "LIMIT", 1_000_000)
    path, _ = folders.zipped(folders.model(tmp_path / "toy").folder, tmp_path / "toy.zip")
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    server.files = {"/toy.zip": path.read_bytes()}
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", folders.sha256(path.read_bytes()))
    assert (result.exit_code, reason in result.output) == (1, True), result.output
    assert (eyni.added, eyni.leftovers) == ({}, [])


def test_a_zip_with_a_link_in_it_is_refused(eyni: Eyni, tmp_path: Path, server: Server) -> None:
    path, _ = folders.zipped(folders.model(tmp_path / "toy").folder, tmp_path / "toy.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("other.onnx")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    server.files = {"/toy.zip": path.read_bytes()}
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", folders.sha256(path.read_bytes()))
    assert (result.exit_code, "no link" in result.output) == (1, True)


def test_a_zip_of_more_files_than_a_model_has_is_refused_before_they_fill_the_disk(
    eyni: Eyni, tmp_path: Path, server: Server
) -> None:
    path, _ = folders.zipped(folders.model(tmp_path / "toy").folder, tmp_path / "toy.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for n in range(4):
            archive.writestr(f"bomb{n}.onnx", b"")
    server.files = {"/toy.zip": path.read_bytes()}
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", folders.sha256(path.read_bytes()))
    assert (result.exit_code, "holds 6 files; a model has 5 at most" in result.output) == (1, True), result.output


def damaged(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(MANIFEST, bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    content[50:80] = bytes(byte ^ 0xFF for byte in content[50:80])
    path.write_bytes(content)


def misnamed(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mödel.toml", b"")
    path.write_bytes(path.read_bytes().replace("ö".encode(), b"\xff\xfe"))


@pytest.mark.parametrize("make", [damaged, misnamed])
def test_a_zip_that_is_damaged_in_a_seldom_way_is_refused_in_a_line(
    eyni: Eyni, tmp_path: Path, server: Server, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "toy.zip")
    content = (tmp_path / "toy.zip").read_bytes()
    server.files = {"/toy.zip": content}
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", folders.sha256(content))
    assert (result.exit_code, "cannot be unpacked" in result.output) == (1, True), result.output


def test_what_is_no_zip_is_refused(eyni: Eyni, server: Server) -> None:
    server.files = {"/toy.zip": b"a page that says: log in first"}
    result = eyni("add", f"{server.url}/toy.zip", "--sha256", folders.sha256(b"a page that says: log in first"))
    assert (result.exit_code, "unpacked" in result.output) == (1, True)


def test_networks_that_a_manifest_has_addresses_for_are_fetched(eyni: Eyni, tmp_path: Path, server: Server) -> None:
    server.files = {"/net": folders.NETWORK}
    source = folders.model(tmp_path / "toy", address=f"{server.url}/net")
    assert eyni("add", source.folder).exit_code == 0
    assert find("toy", eyni.data).folder.joinpath("net.onnx").read_bytes() == folders.NETWORK


def test_a_model_known_by_name_gets_what_is_missing_and_keeps_what_is_there(eyni: Eyni, server: Server) -> None:
    server.files = {"/net": folders.NETWORK}
    known = folders.calibrated(folders.model(eyni.data / "models" / "toy", address=f"{server.url}/net"))
    assert eyni("add", "toy").exit_code == 0
    assert eyni.added == {"toy": {MANIFEST, "net.onnx", CALIBRATION}}
    assert eyni("add", "toy").exit_code == 0
    assert (server.asked, find("toy", eyni.data).id) == (["/net"], known.id)


def test_a_network_with_another_digest_than_the_manifests_is_not_kept(
    eyni: Eyni, tmp_path: Path, server: Server
) -> None:
    server.files = {"/net": b"something else"}
    result = eyni("add", folders.model(tmp_path / "toy", address=f"{server.url}/net").folder)
    assert (result.exit_code, "SHA-256" in result.output) == (1, True)
    assert (eyni.added, eyni.leftovers) == ({}, [])


def test_the_example_that_users_may_fetch_is_opencvs_sface_by_its_digest() -> None:
    manifest = load_model(BUILT_IN / "sface").manifest
    (network,) = manifest.files
    assert network.sha256 == "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
    assert (network.address or "").startswith("https://github.com/opencv/")
    assert manifest.licence == "Apache-2.0"


def test_the_default_has_nothing_to_be_fetched(eyni: Eyni) -> None:
    result = eyni("add", "dlib")
    assert (result.exit_code, "comes with Eyni" in result.output, eyni.added) == (0, True, {})


def test_a_download_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    # A real process, for a real signal; the server promises more than it sends, and holds the line.
    data = tmp_path / "data"
    sent, let_go = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"the first part")
            sent.set()
            let_go.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        address = f"http://127.0.0.1:{http.server_address[1]}/toy.zip"
        command = subprocess.Popen(
            [sys.executable, "-m", "services.eyni", "models", "add", address, "--sha256", "0" * 64],
            env={**os.environ, "EYNI_DATA": str(data)},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert sent.wait(60)
            assert list(data.glob("adding-*/model.zip")) != []
            command.send_signal(signal.SIGTERM)
            assert command.wait(30) == 130
        finally:
            let_go.set()
            command.kill()
            command.wait()
            http.shutdown()
            thread.join()
    assert [path.name for path in data.iterdir()] == ["models.lock"]
