"""Ports that are listened on, or refused with the setting to change."""

import errno
import os
import socket

import pytest

from shared import metrics
from shared.ports import listen, refused


def test_a_port_is_listened_on_and_0_is_any_that_is_free() -> None:
    with listen("127.0.0.1", 0, "H", "P") as sock, socket.create_connection(sock.getsockname()):
        assert sock.getsockname()[1] > 0


def test_an_address_of_ipv6_is_listened_on() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with listen("::1", 0, "H", "P") as sock:
        assert sock.family == socket.AF_INET6


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with listen("127.0.0.1", 0, "H", "P") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"^P: port {port} of 127.0.0.1 is taken by another process"):
            listen("127.0.0.1", port, "H", "P")
        with pytest.raises(ValueError, match=f"^EYNI_MATCH_METRICS_PORT: port {port} of 127.0.0.1 is taken"):
            metrics.serve("127.0.0.1", port, "EYNI_MATCH_METRICS_PORT")


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "a" * 70, "1.2.3.4.5", "a\x00b"])
def test_what_is_no_address_of_this_machine_is_told_with_its_setting(host: str) -> None:
    with pytest.raises(ValueError, match=r"^H: .* is no address of this machine"):
        listen(host, 0, "H", "P")
    with pytest.raises(ValueError, match=r"^EYNI_METRICS_HOST: .* is no address of this machine"):
        metrics.serve(host, 1, "EYNI_ENROLL_METRICS_PORT")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "P: port 80 of h is not for this user"),
        (errno.EMFILE, "H, P: cannot listen on h, port 80: Too many"),
    ],
)
def test_other_refusals_are_told_with_their_settings(code: int, said: str) -> None:
    assert str(refused(OSError(code, os.strerror(code)), "h", 80, "H", "P")).startswith(said)


def test_no_port_serves_nothing() -> None:
    metrics.serve("nowhere.invalid", 0, "EYNI_ENROLL_METRICS_PORT")
