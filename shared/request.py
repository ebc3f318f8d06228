"""The head of every fact: which call it belongs to, whose, and how long an answer is of use."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from shared.biometrics import STRICT

Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$")]
"""A person, encounter, gallery, request or transaction: 1 to 200 characters, no control characters, no slash."""


def _moment(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must say its offset from UTC, as in 2026-11-22T10:00:00Z")
    if not 1970 <= value.year <= 9998:
        raise ValueError("must lie between the years 1970 and 9998")
    return value


Moment = Annotated[datetime, AfterValidator(_moment)]
"""A point in time with its offset (RFC 3339); its years leave room for any shift of time zone."""

CLOCKS: Final = timedelta(seconds=5)
"""How far the clocks of two machines may differ before a question is dropped too early: NTP keeps them within 0.1 s. It
costs as many seconds of work for callers who have gone."""


@dataclass(frozen=True, slots=True)
class Request:
    """What every fact about one call carries along, unchanged."""

    __pydantic_config__ = STRICT
    request_id: Id
    transaction_id: str
    """OSIA's `transactionId`: the caller's, shared by several requests; for tracing only."""
    received_at: Moment
    """When the request was accepted (UTC). Facts derived later repeat it, so that a repeated fact has equal bytes."""
    client: str
    """Who asked: the token's client."""
    answer_by: Annotated[Moment | None, Field(exclude_if=lambda value: value is None)] = None
    """When the caller of a question stops waiting (UTC, by the clock of the api); None: an answer is always wanted.

    Left out of the bytes where it is None: those of all other requests are what they always were.
    """

    def is_late(self, now: datetime) -> bool:
        """Tell whether nobody waits for the answer any more."""
        return self.answer_by is not None and now > self.answer_by + CLOCKS
