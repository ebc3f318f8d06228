"""What can be known of deploy/compose.yaml without Docker: that its names are names that the code knows."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.eyni.__main__ import app
from shared.log.address import open_log
from shared.settings import Settings
from shared.topics import TOPICS

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "eyni"}
COMMANDS = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}


def _settings(service: dict[str, Any]) -> Settings:
    given = {name.removeprefix("EYNI_").lower(): value for name, value in service["environment"].items()}
    return Settings(**given)


def test_the_three_services_are_there_each_under_its_command() -> None:
    assert {name: service["command"] for name, service in OURS.items()} == {n: n for n in ("enroll", "match", "api")}
    assert {service["command"] for service in OURS.values()} <= COMMANDS


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_the_code_has(name: str) -> None:
    known = {f"EYNI_{field.upper()}" for field in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= known
    _settings(OURS[name])


def test_every_setting_of_the_image_is_one_that_the_code_has() -> None:
    known = {f"EYNI_{field.upper()}" for field in Settings.model_fields}
    named = set(re.findall(r"EYNI_[A-Z_]+", (DEPLOY / "Dockerfile").read_text()))
    assert named
    assert named <= known


@pytest.mark.parametrize("name", OURS)
def test_the_log_is_the_compose_files_broker_and_the_registry_its_database(name: str) -> None:
    settings = _settings(OURS[name])
    advertised = COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].removeprefix("PLAINTEXT://")
    assert settings.log_address == f"kafka://{advertised}"
    open_log(settings.log_address).close()
    assert settings.registry_url.startswith("postgresql+psycopg://eyni:")
    assert settings.registry_url.endswith("@postgres/eyni")


def test_prometheus_scrapes_the_ports_that_the_services_listen_on() -> None:
    [job] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == {
        f"api:{_settings(OURS['api']).api_port}",
        f"enroll:{_settings(OURS['enroll']).enroll_metrics_port}",
        f"match:{_settings(OURS['match']).match_metrics_port}",
    }
    assert {_settings(service).metrics_host for service in OURS.values()} == {"0.0.0.0"}


def test_the_broker_takes_the_largest_record_of_any_topic() -> None:
    largest = max(topic.max_bytes for topic in TOPICS.values())
    broker = COMPOSE["services"]["kafka"]["environment"]
    for setting in ("KAFKA_MESSAGE_MAX_BYTES", "KAFKA_REPLICA_FETCH_MAX_BYTES", "KAFKA_SOCKET_REQUEST_MAX_BYTES"):
        assert broker[setting] > largest
    local = dict(re.findall(r"^([a-z.]+)=(\d+)$", (DEPLOY / "kafka" / "kafka-local.sh").read_text(), re.MULTILINE))
    for name in ("message.max.bytes", "replica.fetch.max.bytes", "socket.request.max.bytes"):
        assert int(local[name]) > largest


def test_every_volume_is_declared() -> None:
    named = {v.split(":")[0] for service in COMPOSE["services"].values() for v in service.get("volumes", [])}
    assert {name for name in named if not name.startswith(".")} == set(COMPOSE["volumes"])
