"""Texts that are dates, and which of two is the later: for filters with a bound. Pure."""

import re
from datetime import datetime
from typing import Final

_WRITTEN: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?)?", re.ASCII
)
"""A date or a date-time as RFC 3339 writes them. No other form of ISO 8601: 20190521 could be a passport's number."""


def as_date(text: str) -> datetime | None:
    """Return the moment that a text names; None where it is no date. A day is its midnight, without an offset."""
    if _WRITTEN.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def not_after(one: str, other: str) -> bool:
    """Tell whether both are dates, and the first is not after the second.

    A day stands for all of its moments, so a day and a moment of it are neither after the other. Of two moments with an
    offset each the instants count, else what is written.
    """
    first, second = as_date(one), as_date(other)
    if first is None or second is None:
        return False
    if min(len(one), len(other)) == len("2026-11-22"):
        return first.date() <= second.date()
    if first.tzinfo is None or second.tzinfo is None:
        return first.replace(tzinfo=None) <= second.replace(tzinfo=None)
    return first <= second
