"""An address of a log is used as it is written, or refused with the form wanted, and shows no password (F33)."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.eyni.__main__ import app
from shared.log.address import open_log
from shared.log_address import Brokers, Folder, Memory, folder_of, parse

SECRET = "hunter2"

REFUSED = {
    "": "is no log address",
    "kafka": "is no log address",
    "kafka:": "is no log address",
    "kafka:host:9092": "is no log address",
    "Kafka://host:9092": "is no log address",
    "ftp://somewhere": "is no log address",
    "host:9092": "is no log address",
    "/var/lib/eyni": "is no log address",
    "memory:more": "is no log address",
    "memory://": "is no log address",
    f"postgresql://eyni:{SECRET}@host/name": "is no log address",
    f"kafka+ssl://eyni:{SECRET}@host:9092": "is no log address",
    "kafka://": "no host:port",
    "kafka://localhost": "no host:port",
    "kafka://:9092": "no host:port",
    "kafka://host:": "no host:port",
    "kafka://host:port": "no host:port",
    "kafka://host:-1": "no host:port",
    "kafka://host:\uff19\uff10\uff19\uff12": "no host:port",
    "kafka://host:1:2": "no host:port",
    "kafka://::1:9092": "no host:port",
    "kafka://host:9092,": "no host:port",
    "kafka://,host:9092": "no host:port",
    "kafka://host:9092,other": "no host:port",
    "kafka://host:9092;other:9092": "no host:port",
    "kafka://host:0": "1 to 65535",
    "kafka://host:65536": "1 to 65535",
    "kafka://[::1": "no host:port",
    "kafka://[::1]": "no host:port",
    "kafka://[host]:9092": "no IPv6 address",
    "kafka://[]:9092": "no IPv6 address",
    "kafka://host:9092, other:9092": "a blank",
    "kafka:// host:9092": "a blank",
    "kafka://host:9092\n": "a blank",
    "kafka://ho\u200bst:9092": "nobody sees",
    "kafka://kafka://host:9092": "kafka:// once",
    "kafka://host:9092,kafka://other:9092": "kafka:// once",
    "kafka://host:9092/": "no path",
    "kafka://host:9092/topic": "no path",
    "kafka://host:9092#part": "no path, no #",
    "kafka://host:9092?prefix=a#part": "no path, no #",
    "kafka://host:9092?": "one prefix=",
    "kafka://host:9092?prefix": "1 to 100",
    "kafka://host:9092?prefix=": "1 to 100",
    "kafka://host:9092?prefix=a&prefix=b": "one prefix=",
    "kafka://host:9092?prefix=a&": "one prefix=",
    "kafka://host:9092?prefix=a/b": "1 to 100",
    "kafka://host:9092?prefix=şəxs": "1 to 100",
    f"kafka://host:9092?prefix={'a' * 101}": "1 to 100",
    f"kafka://host:9092?sasl_password={SECRET}": "one prefix=",
    f"kafka://host:9092?{SECRET}": "one prefix=",
    f"kafka://eyni:{SECRET}@host:9092": "EYNI_KAFKA_SASL_PASSWORD",
    f"kafka://{SECRET}@host": "EYNI_KAFKA_SASL_PASSWORD",
    f"kafka://host:9092,eyni:{SECRET}@other:9092": "EYNI_KAFKA_SASL_PASSWORD",
    f"kafka://eyni:{SECRET}/x@host:9092": "EYNI_KAFKA_SASL_PASSWORD",
    "file:": "the whole path",
    "file://": "the whole path",
    "file://host/folder": "the whole path",
    "file://folder": "the whole path",
    "file:///a?b": "%3F",
    "file:///a#b": "%3F",
    "file:///a%00b": "NUL",
}


@pytest.mark.parametrize("address", [address for address in REFUSED if address])
def test_what_is_no_address_is_refused_with_the_form_wanted_and_no_password(address: str) -> None:
    for read in (parse, open_log, folder_of):
        with pytest.raises(ValueError, match=r"^EYNI_LOG \(--log\): ") as refused:
            read(address)
        assert REFUSED[address] in str(refused.value)
        assert "kafka://host:port" in str(refused.value)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("memory:", Memory()),
        ("file:///var/lib/eyni", Folder(Path("/var/lib/eyni"))),
        ("file:/var/lib/eyni", Folder(Path("/var/lib/eyni"))),
        ("file:///a%3Fb%23%25", Folder(Path("/a?b#%"))),
        ("file:///a@b:c", Folder(Path("/a@b:c"))),
        ("kafka://localhost:9092", Brokers(("localhost:9092",), "")),
        ("kafka://a-1.b_c:1,10.0.0.1:65535", Brokers(("a-1.b_c:1", "10.0.0.1:65535"), "")),
        ("kafka://[::1]:9092,[fe80::1]:9093", Brokers(("[::1]:9092", "[fe80::1]:9093"), "")),
        ("kafka://host:9092?prefix=a.b-C_1", Brokers(("host:9092",), "a.b-C_1")),
    ],
)
def test_what_an_address_says_is_used(address: str, found: object) -> None:
    assert parse(address) == found


@pytest.mark.parametrize("command", ["up", "enroll", "match", "api", "topics", "status"])
@pytest.mark.parametrize("address", ["kafka://localhost", f"kafka://eyni:{SECRET}@localhost:9092"])
def test_every_command_ends_at_once_as_wrongly_used(
    command: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYNI_DATA", str(tmp_path / "data"))
    by_option = CliRunner().invoke(app, [command, "--log", address])
    monkeypatch.setenv("EYNI_LOG", address)
    by_variable = CliRunner().invoke(app, [command])
    for result in (by_option, by_variable):
        assert result.exit_code == 2
        assert "EYNI_LOG (--log)" in result.output
        assert SECRET not in result.output
    assert not (tmp_path / "data").exists()
