"""Fixtures for all tests."""

import os
from collections.abc import Generator

import pytest

from tests.brokers import Broker, why_none


def _missing(reason: str) -> None:
    """Skip, or fail where the environment promises that Kafka is here (CI)."""
    if os.environ.get("EYNI_REQUIRE_KAFKA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Broker]:
    """A broker that a test may freeze and kill, if it leaves it running."""
    if reason := why_none():
        _missing(reason)
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """`host:port` of a broker: the one of EYNI_TEST_KAFKA, or one started here. Use a prefix of your own."""
    given = os.environ.get("EYNI_TEST_KAFKA")
    if given:
        return given
    broker: Broker = request.getfixturevalue("own_broker")
    return broker.bootstrap
