"""What the model is expected to deliver, in words that an operator can act on."""

import pytest

from shared.performance import REMEDY, Performance


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (
            Performance("duplicates", "ALL", 100_000, 30, 80, 0.938, 53.24),
            "duplicate search among 100,000: threshold 80 dB, beyond the 53 dB measured; the model is expected to miss "
            "94 % of pictures of one person",
        ),
        (
            Performance("verification", "ALL", 1, 33.01, 33.01, 0.061, 53.24),
            "verification: threshold 33 dB; the model is expected to miss 6.1 % of pictures of one person",
        ),
        (
            Performance("identification", "watchlist", 900, 20, 49.54, 0.25, 53.24),
            "identification in watchlist among 900: threshold 50 dB; the model is expected to miss 25 % of pictures of "
            "one person",
        ),
    ],
)
def test_it_is_said_in_one_line(one: Performance, words: str) -> None:
    assert one.in_words() == words


def test_it_falls_short_where_it_misses_more_than_one_percent() -> None:
    assert not Performance("verification", "ALL", 1, 33, 33, 0.01, 50).falls_short
    assert Performance("verification", "ALL", 1, 33, 33, 0.011, 50).falls_short
    assert "eyni models" in REMEDY
