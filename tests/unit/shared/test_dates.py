"""Which texts are dates, and which of two comes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dates import as_date, not_after


@pytest.mark.parametrize("text", ["1980-01-01", "2019-05-21T12:00:00Z", "2019-05-21T12:00:00.123+04:00", "0001-01-01"])
def test_dates_are_what_rfc_3339_writes(text: str) -> None:
    assert as_date(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1980",
        "1980-01",
        "19800101",
        "2019-W21-2",
        "1980-13-01",
        "1980-02-30",
        "C123",
        "1980-01-01 ",
        "\u0661980-01-01",
    ],
)
def test_nothing_else_is_one(text: str) -> None:
    assert as_date(text) is None
    assert not not_after(text, "9999-12-31")
    assert not not_after("0001-01-01", text)


def test_a_day_stands_for_all_its_moments() -> None:
    assert not_after("2026-11-22", "2026-11-22T23:00:00Z")
    assert not_after("2026-11-22T23:00:00Z", "2026-11-22")
    assert not not_after("2026-11-23", "2026-11-22T23:00:00Z")


def test_moments_with_an_offset_are_compared_as_instants() -> None:
    assert not_after("2026-11-22T12:00:00+04:00", "2026-11-22T09:00:00Z")
    assert not not_after("2026-11-22T12:00:00+04:00", "2026-11-22T07:00:00Z")


@given(st.dates(), st.dates())
def test_days_have_one_order(one: object, other: object) -> None:
    assert not_after(str(one), str(other)) == (str(one) <= str(other))
