"""What is left to do of a topic."""

from shared.lag import lag
from shared.log import Span


def test_the_lag_is_what_is_kept_and_not_committed() -> None:
    assert lag({0: Span(0, 5), 1: Span(0, 7)}, {0: 2, 1: 7}) == 3


def test_of_a_partition_without_a_commit_everything_is_left() -> None:
    assert lag({0: Span(0, 5)}, {}) == 5


def test_what_retention_took_is_not_left_to_do() -> None:
    assert lag({0: Span(4, 5)}, {0: 2}) == 1


def test_a_commit_beyond_the_end_that_was_seen_is_no_debt() -> None:
    assert lag({0: Span(0, 5), 1: Span(0, 1)}, {0: 9}) == 1
