"""Work in the background ends nothing unseen."""

import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from shared import background
from shared.background import Background, Restart, Tell
from shared.metrics import REGISTRY


def failures(worker: str) -> float:
    return REGISTRY.get_sample_value("eyni_background_failures_total", {"worker": worker}) or 0.0


def raising(*errors: BaseException | None) -> tuple[Callable[[], None], list[int]]:
    """Return work that raises these one after another, then ends; and the times that it was begun."""
    left = list(errors)
    begun: list[int] = []

    def work() -> None:
        begun.append(len(begun))
        if left and (error := left.pop(0)) is not None:
            raise error

    return work, begun


def test_work_that_raised_is_begun_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_WAIT", 0.001)
    work, begun = raising(OverflowError("port must be 0-65535"), ValueError("again"), SystemExit(1))
    before = failures("test-restart")
    thread = Background("test-restart", work, Restart(threading.Event()))
    thread.start()
    thread.join(5)
    assert (len(begun), failures("test-restart") - before, thread.is_alive) == (4, 3, False)


def test_work_is_not_begun_again_once_it_is_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    work, begun = raising(ValueError("x"), ValueError("x"))
    thread = Background("test-stop", work, Restart(stop))
    thread.start()
    thread.join(5)
    assert len(begun) == 1


def test_who_chose_to_be_told_is_told_once() -> None:
    fault = KeyError("x")
    told: list[BaseException] = []
    work, begun = raising(fault, fault)
    thread = Background("test-tell", work, Tell(told.append))
    thread.start()
    thread.join(5)
    assert (told, len(begun)) == ([fault], 1)


def test_the_log_line_says_where_and_repeats_no_message() -> None:
    work, _ = raising(ExceptionGroup("of the group", [ValueError("Gülşən Əliyeva, AZE123")]))
    with capture_logs() as lines:
        thread = Background("test-line", work, Tell(lambda _: None))
        thread.start()
        thread.join(5)
    [line] = lines
    assert (line["kind"], line["log_level"]) == ("ValueError", "error")
    assert "Gülşən" not in str(line)


def test_what_was_never_begun_can_be_waited_for() -> None:
    Background("test-never", lambda: None, Restart(threading.Event())).join()
