"""Settings that must not be half said, and secrets that must not be shown."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.given import names_in_file
from shared.settings import Settings

SASL: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "eyni",
    "kafka_sasl_password": "hush-hush",
}


def test_the_brokers_password_and_the_registrys_url_are_not_shown() -> None:
    settings = Settings(**SASL, registry="postgresql+psycopg://eyni:hush-hush@host/eyni")
    assert settings.kafka_security["sasl_plain_password"] == "hush-hush"
    assert "hush-hush" not in f"{settings!r} {settings} {settings.shown()}"
    assert settings.shown()["kafka_sasl_password"] == "***"


def test_only_settings_that_differ_from_their_defaults_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EYNI_")]:
        monkeypatch.delenv(name)
    assert Settings().shown() == {}
    assert Settings(api_port=8080, match_threads=2).shown() == {"match_threads": "2"}


@pytest.mark.parametrize(
    "change",
    [
        {"kafka_security_protocol": "SSL"},
        {"kafka_security_protocol": "PLAINTEXT"},
        {"kafka_sasl_mechanism": ""},
        {"kafka_sasl_username": ""},
        {"kafka_sasl_password": ""},
        {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": Path(__file__)},
        {"kafka_ca_file": Path("nowhere.pem")},
    ],
)
def test_half_of_a_security_setting_is_refused_and_the_password_not_repeated(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"kafka_|KAFKA_") as caught:
        Settings(**{**SASL, **change})
    assert "hush-hush" not in str(caught.value)


def test_targets_of_galleries_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYNI_GALLERY_TARGETS", '{"watchlist": 20, "ALL": 40.5}')
    assert Settings().gallery_targets == {"watchlist": 20.0, "ALL": 40.5}
    monkeypatch.setenv("EYNI_GALLERY_TARGETS", "")
    assert Settings().gallery_targets == {}


@pytest.mark.parametrize("wrong", ["watchlist=20", "[20]", '{"watchlist": -1}', '{"watchlist": "low"}', '{"a": 1e999}'])
def test_targets_that_are_none_are_refused_by_their_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("EYNI_GALLERY_TARGETS", wrong)
    with pytest.raises(ValidationError, match="gallery_targets"):
        Settings()


def test_the_defaults_are_the_targets_of_ees_and_mosip() -> None:
    settings = Settings()
    assert settings.verification_target == pytest.approx(33.01, abs=0.001)
    assert settings.duplicate_target == settings.identification_target == 30


def test_nobody_is_verified_by_default_at_a_threshold_that_no_caller_may_ask_for() -> None:
    with pytest.raises(ValidationError, match="5 dB, below EYNI_LOWEST_THRESHOLD, 30 dB"):
        Settings(verification_target=5)
    assert Settings(verification_target=5, lowest_threshold=0).verification_target == 5


@pytest.mark.parametrize("name", ["callback_hosts", "image_hosts"])
@pytest.mark.parametrize("entry", ["a.example:99999", "a.example:0", "a.example:+80", "http://a.example", "::1", "a b"])
def test_a_host_that_is_none_or_has_no_such_port_is_refused(name: str, entry: str) -> None:
    with pytest.raises(ValidationError, match=r"is no host|ports are 1 to 65535"):
        Settings.model_validate({name: f"good.example, {entry}"})


def test_hosts_are_names_and_addresses_with_or_without_a_port() -> None:
    good = "a.example, b.example:8443,127.0.0.1:*,[::1]:80,localhost,, under_score.example"
    assert Settings(callback_hosts=good).callback_hosts == good


TLS: dict[str, Any] = {"kafka_security_protocol": "SSL"}


def test_a_file_for_tls_is_refused_by_its_name_with_what_to_do(tmp_path: Path) -> None:
    for name, content in (
        ("empty", ""), ("other", "x"), ("pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
    for file, says in (
        ("none", "there is no such file"),
        ("", "is a folder"),
        ("empty", "is empty"),
        ("other", "is not in PEM"),
        ("pem", "holds no certificate that can be read"),
    ):
        with pytest.raises(ValidationError, match=says) as caught:
            Settings(**TLS, kafka_ca_file=tmp_path / file)
        assert str(tmp_path / file) in str(caught.value)
    with pytest.raises(ValidationError, match="no certificate with its key"):
        Settings(**TLS, kafka_cert_file=tmp_path / "pem")


def test_the_file_of_settings_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("# ours\nEYNI_API_PORT=8081\nexport EYNI_LOG_LEVL = debug\n\n")
    assert names_in_file(str(tmp_path / "settings")) == ["EYNI_API_PORT", "EYNI_LOG_LEVL"]
    assert names_in_file(None) == []
    (tmp_path / "prose").write_text("these are no settings")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file, says in (("none", "no such file"), ("", "folder"), ("prose", "no setting"), ("binary", "no text")):
        with pytest.raises(ValueError, match=says):
            names_in_file(str(tmp_path / file))
