"""Settings that must not be half said, and secrets that must not be shown."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

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
