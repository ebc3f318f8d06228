"""Where the server connects to when a caller names an address: only where the operator said (S13 to S16)."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.api.egress import AllowList, Egress, EgressFailed, EgressRefused

HOSTILE = [
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "http://localhost/",
    "http://0.0.0.0/",
    "http://0/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://metadata.google.internal/",
    "http://good.example@127.0.0.1/",
    "http://user:secret@good.example/",
    "http://good.example:80@evil.example/",
    "http://@good.example/",
    "http://good.example#@evil.example/",
    "http://good.example/#fragment",
    "http://evil.example/?good.example",
    "http://evil.example/good.example",
    "http://good.example.evil.example/",
    "http://evilgood.example/",
    "http://sub.good.example/",
    "http://good.example:81/",
    "http://good.example:8443/",
    "https://good.example:80/",
    "http://good.example:0/",
    "http://good.example:65536/",
    "http://good.example:99999/",
    "http://good.example:4294967376/",
    "http://good.example:-1/",
    "http://good.example:+80/",
    "http://good.example:080/",
    "http://good.example:8_0/",
    "http://good.example:\u0663/",
    "http://good.example:/",
    "http://good.example:80:80/",
    "http://[::1/",
    "http://::1:80/",
    "http://good.example:port/",
    "http://good.example\\@evil.example/",
    "http:\\\\good.example/",
    "http:good.example/",
    "http:///good.example/",
    "//good.example/",
    "/callback",
    "good.example",
    "",
    " http://good.example/",
    "http://good.example /",
    "http://good.example/\r\nX: y",
    "http://good.example/\x00",
    "http://go\u00adod.example/",
    "http://g\u043e\u043ed.example/",
    "http://good\u3002example/",
    "http://xn--good.example/",
    "http://good.example./",
    "http://good.example%2eevil.example/",
    "http://[good.example]/",
    "file:///etc/passwd",
    "file://good.example/etc/passwd",
    "ftp://good.example/",
    "gopher://good.example/",
    "dict://good.example:80/",
    "ws://good.example/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "unix:///tmp/socket",
    "http+unix://good.example/",
    f"http://good.example/{'x' * 2000}",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_that_is_not_on_the_list_is_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(EgressRefused):
        AllowList("good.example, other.example:8443").check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example/",
        "https://good.example",
        "HTTP://GOOD.example/x?y=1",
        "http://good.example:80/",
        "https://good.example:443/",
        "https://other.example:8443/callback",
        "http://other.example:8443/callback",
    ],
)
def test_an_address_on_the_list_is_allowed(url: str) -> None:
    assert AllowList("good.example, other.example:8443").check(url).host in ("good.example", "other.example")


PORTS = ["0", "00", "65536", "99999", "4294967376", "+8290", "-1", "1e3", "8_0", "080", "%38%30", " 80", "\u0663"]


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "any.example"])
def test_a_port_is_a_number_from_1_to_65535_also_where_every_port_is_listed(host: str, port: str) -> None:
    anything = AllowList("127.0.0.1:*, [::1]:*, any.example:*")
    with pytest.raises(EgressRefused):
        anything.check(f"http://{host}:{port}/")
    for good in ("1", "80", "65535"):
        assert anything.check(f"http://{host}:{good}/x").port == int(good)


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(EgressRefused):
        AllowList("").check("http://good.example/")


Script = Callable[[socket.socket, bytes], None]


@contextmanager
def receiver(script: Script) -> Generator[tuple[int, list[bytes]]]:
    """Listen on loopback; give each connection's first bytes to a script that answers."""
    seen: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            head = connection.recv(65536)
            seen.append(head)
            with suppress(OSError):  # the client may hang up, as it should
                script(connection, head)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], seen
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def says(text: str) -> Script:
    return lambda connection, _: connection.sendall(text.encode())


@contextmanager
def egress(hosts: str, *addresses: str, seconds: float = 5.0) -> Generator[Egress]:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses or ["127.0.0.1"]

    made = Egress(hosts, hosts, lookup=lookup, seconds=seconds)
    try:
        yield made
    finally:
        made.close()


OK = "HTTP/1.1 204 No Content\r\n\r\n"


def test_a_callback_goes_to_the_pinned_address_under_the_hosts_own_name() -> None:
    with receiver(says(OK)) as (port, seen), egress(f"localhost:{port}") as out:
        out.deliver(
            f"http://localhost:{port}/cb?x=1", {"taskId": "a b"}, "application/json", {"Eyni-As-Of": "7"}, b"{}"
        )
    request = seen[0].decode()
    assert request.startswith("POST /cb?x=1&taskId=a+b HTTP/1.1") or "taskId=a%20b" in request
    assert f"host: localhost:{port}" in request.lower()
    assert "eyni-as-of: 7" in request.lower()


@pytest.mark.parametrize("inner", ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "::ffff:127.0.0.1", "224.0.0.1"])
def test_a_listed_name_that_turns_out_to_be_this_machine_is_not_connected_to(inner: str) -> None:
    with (
        receiver(says(OK)) as (port, seen),
        egress(f"good.example:{port}", inner) as out,
        pytest.raises(EgressFailed, match="inside this machine"),
    ):
        out.deliver(f"http://good.example:{port}/", {}, "application/json", {}, b"")
    assert seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with (
        receiver(says(OK)) as (other, caught),
        receiver(says(f"HTTP/1.1 {status} X\r\nLocation: http://localhost:{other}/\r\nContent-Length: 0\r\n\r\n")) as (
            port,
            _,
        ),
        egress(f"localhost:{port},localhost:{other}") as out,
        pytest.raises(EgressFailed, match="redirect"),
    ):
        out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")
    assert caught == []


def hangs(connection: socket.socket, _: bytes) -> None:
    time.sleep(2)


def drips_headers(connection: socket.socket, _: bytes) -> None:
    for letter in "HTTP/1.1 204 No Content\r\n" + "X: " + "y" * 100:
        connection.sendall(letter.encode())
        time.sleep(0.02)


def drips_body(connection: socket.socket, head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize("script", [hangs, drips_headers, drips_body])
def test_a_receiver_that_takes_its_time_is_left_at_the_deadline(script: Script) -> None:
    with receiver(script) as (port, _), egress(f"localhost:{port}", seconds=0.3) as out:
        started = time.monotonic()
        with pytest.raises(EgressFailed, match=r"within 0\.3 s"):
            out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")
        assert time.monotonic() - started < 1.0


def test_a_reply_without_end_is_not_read_to_its_end() -> None:
    def floods(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(bytes(10_000))

    with receiver(floods) as (port, _), egress(f"localhost:{port}") as out:
        out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_an_answer_that_is_no_success_is_a_failure(status: int) -> None:
    reply = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"
    with (
        receiver(says(reply)) as (port, _),
        egress(f"localhost:{port}") as out,
        pytest.raises(EgressFailed, match=str(status)),
    ):
        out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")


def test_a_picture_larger_than_the_limit_is_not_taken() -> None:
    reply = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + "x" * 5000
    with receiver(says(reply)) as (port, _), egress(f"localhost:{port}") as out:
        assert len(out.fetch(f"http://localhost:{port}/a.jpg", 5000)) == 5000
        with pytest.raises(EgressFailed, match="larger than the 4999 bytes"):
            out.fetch(f"http://localhost:{port}/a.jpg", 4999)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(says(OK)) as (port, seen), receiver(says(OK)) as (proxy, asked), egress(f"localhost:{port}") as out:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")
    assert (len(seen), asked) == (1, [])


def test_a_name_without_an_address_is_a_failure() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror("no such name")

    out = Egress("good.example", "", lookup=nowhere)
    try:
        with pytest.raises(EgressFailed, match="its name is not resolved: no such name"):
            out.deliver("http://good.example/", {}, "application/json", {}, b"")
    finally:
        out.close()


def test_closing_ends_what_is_under_way() -> None:
    with receiver(hangs) as (port, _):
        out = Egress(f"localhost:{port}", "")
        result: list[BaseException] = []

        def send() -> None:
            try:
                out.deliver(f"http://localhost:{port}/", {}, "application/json", {}, b"")
            except BaseException as error:
                result.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        time.sleep(0.2)
        out.close()
        thread.join(timeout=2)
        assert not thread.is_alive()
        assert isinstance(result[0], asyncio.CancelledError | Exception)


@pytest.mark.parametrize(
    "unforeseen",
    [OverflowError("port must be 0-65535"), ExceptionGroup("several", [OverflowError("1"), OverflowError("2")])],
)
def test_an_unforeseen_exception_is_a_failure_like_any_other(unforeseen: Exception) -> None:
    async def odd(host: str, port: int) -> Sequence[str]:
        raise unforeseen

    out = Egress("good.example", "good.example", lookup=odd)
    try:
        with pytest.raises(EgressFailed, match="a fault of this server"):
            out.deliver("http://good.example/", {}, "application/json", {}, b"")
        with pytest.raises(EgressFailed, match="a fault of this server"):
            out.fetch("http://good.example/a.jpg", 100)
    finally:
        out.close()


def test_a_name_server_that_hangs_is_asked_once_for_all_who_wait() -> None:
    asked: list[str] = []

    async def hanging(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        await asyncio.sleep(60)
        return []

    out = Egress("slow.example,quick.example", "", lookup=hanging, seconds=0.2)
    try:
        begun = [out.begin("http://slow.example/", {}, "application/json", {}, b"") for _ in range(20)]
        for one in begun:
            with pytest.raises(EgressFailed, match="it hung while its name was resolved"):
                one.result()
        assert asked == ["slow.example"]
    finally:
        out.close()


def test_what_failed_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with egress(f"localhost:{port}") as out, pytest.raises(EgressFailed, match="refused: nothing listens there"):
        out.fetch(f"http://localhost:{port}/", 10)
    for script, said in (
        (says("SSH-2.0-OpenSSH_9.6\r\n"), "did not answer in HTTP"),
        (says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), "did not answer in HTTP|broke off"),
        (hangs, "it hung before it answered"),
    ):
        with (
            receiver(script) as (port, _),
            egress(f"localhost:{port}", seconds=0.3) as out,
            pytest.raises(EgressFailed, match=said),
        ):
            out.fetch(f"http://localhost:{port}/", 10)
    with (
        receiver(says("no TLS here\r\n")) as (port, _),
        egress(f"localhost:{port}") as out,
        pytest.raises(EgressFailed, match="TLS failed"),
    ):
        out.fetch(f"https://localhost:{port}/", 10)


# ---- certificates of an authority of one's own (F15)


def signed_by_an_authority_of_ones_own(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the authority's certificate, and what a server of `localhost` needs to serve TLS with one by it."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)

    def certificate(name: str, public: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of one's own")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )

    root = certificate("Authority of one's own", authority_key.public_key(), is_authority=True)
    own = certificate("localhost", key.public_key(), is_authority=False)
    (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "server.pem").write_bytes(
        own.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "ca.pem", context


@contextmanager
def over_tls(context: ssl.SSLContext) -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust us hangs up

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_by_an_authority_of_ones_own_is_trusted_where_the_operator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = signed_by_an_authority_of_ones_own(tmp_path)
    # Of other programs' environment, nothing decides whom Eyni trusts.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    async def lookup(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with over_tls(context) as port:
        hosts = f"localhost:{port},127.0.0.1:{port}"
        for name, given, says in (
            ("localhost", authority, None),
            ("localhost", None, "certificate is not trusted.*EYNI_EGRESS_CA_FILE"),
            ("127.0.0.1", authority, "certificate is not trusted.*127.0.0.1"),
        ):
            out = Egress(hosts, "", authorities=given, lookup=lookup)
            try:
                sent = out.begin(f"https://{name}:{port}/", {}, "application/json", {}, b"{}")
                if says is None:
                    sent.result()
                else:
                    with pytest.raises(EgressFailed, match=says):
                        sent.result()
            finally:
                out.close()
