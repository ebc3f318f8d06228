"""What kafka-python logs becomes a line of ours now and then, without tracebacks (F43)."""

import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.log.kafka_clients import LINE, SAY_AGAIN_S, Condensed, condense


class Stage:
    def __init__(self) -> None:
        self.now = 0.0
        self.client = logging.getLogger("test-of-kafka")
        condense(self.client, Condensed(lambda: self.now))
        self.part = self.client.getChild("net.manager")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def said(lines: list[MutableMapping[str, Any]]) -> list[object]:
    return [line["said"] for line in lines]


def test_of_many_complaints_one_line_comes_and_later_says_how_many_there_were(stage: Stage) -> None:
    with capture_logs() as lines:
        for n in range(100):
            stage.part.warning("refused %d", n)
        stage.now = SAY_AGAIN_S
        stage.part.error("refused still")
    assert said(lines) == ["refused 0", "refused still"]
    assert [line.get("more_since_the_last_line") for line in lines] == [None, 99]
    assert lines[0]["by"] == "test-of-kafka.net.manager"


def test_a_traceback_is_named_by_its_error_only(stage: Stage) -> None:
    with capture_logs() as lines:
        try:
            raise ConnectionError("to\nsomewhere")
        except ConnectionError:
            stage.part.exception("Error sending request\nand more")
    assert said(lines) == ["Error sending request"]
    assert lines[0]["cause"] == "ConnectionError"


@pytest.mark.parametrize(
    ("message", "shown"), [("", ""), ("\x1b[2Jowned", r"\x1b[2Jowned"), ("a" * 1000, "a" * (LINE - 1) + "…")]
)
def test_a_complaint_can_neither_steer_the_terminal_nor_fill_it(stage: Stage, message: str, shown: str) -> None:
    with capture_logs() as lines:
        stage.part.warning(message)
    assert said(lines) == [shown]


def test_a_complaint_that_does_not_fit_its_arguments_is_shown_as_it_is() -> None:
    with capture_logs() as lines:
        Condensed().handle(logging.LogRecord("kafka", logging.WARNING, "", 1, "%d of %s", ("one",), None))
    assert said(lines) == ["%d of %s"]


def test_what_is_less_than_a_warning_is_not_shown(stage: Stage) -> None:
    with capture_logs() as lines:
        stage.part.info("connected")
    assert lines == []
