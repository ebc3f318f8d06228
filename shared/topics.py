"""The topics, what each holds and how long, and which one a fact goes to."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from shared.envelope import encode
from shared.events import (
    CaptureReceived,
    DeadLettered,
    Decided,
    Event,
    ProbeChosen,
    ProbeExtracted,
    ServiceReported,
)


class Name(StrEnum):
    CAPTURES_URGENT = "captures-urgent"
    CAPTURES_BULK = "captures-bulk"
    GALLERY = "gallery"
    PROBES = "probes"
    DECISIONS = "decisions"
    DEAD_LETTERS = "dead-letters"
    HEARTBEATS = "heartbeats"


class Group(StrEnum):
    """Who has done how much of a topic; the difference to its end is the lag."""

    ENROLL = "enroll"
    """The enrol processes, members on both captures topics."""
    MATCH = "match"
    """The matchers, members on probes."""
    FOLD = "match-gallery"
    """How far the matcher has decided on `gallery`: a mark, without members."""


@dataclass(frozen=True, slots=True)
class Topic:
    """How a topic is created, and what is checked at every start."""

    name: Name
    partitions: int
    exact: bool
    """True: another number of partitions than this is refused; False: more are welcome."""
    retention: timedelta | None
    """None: for ever."""
    max_bytes: int
    """The largest record, in bytes, after encoding."""


CAPTURE_BYTES: Final = 16 * 2**20
"""A body of 12 MiB at the api (`shared.settings`), whose pictures come out of base64 and go back in, plus envelope."""

FACT_BYTES: Final = 4 * 2**20
"""An encounter's document and its templates; a picture is never in it."""

TOPICS: Final[dict[Name, Topic]] = {
    t.name: t
    for t in (
        # Eight partitions: more enrol processes than that want a second machine and a decision.
        Topic(Name.CAPTURES_URGENT, 8, False, timedelta(days=7), CAPTURE_BYTES),
        Topic(Name.CAPTURES_BULK, 8, False, timedelta(days=7), CAPTURE_BYTES),
        # One partition, kept for ever: its total order is the guarantee (design.md, "The order is the guarantee").
        Topic(Name.GALLERY, 1, True, None, FACT_BYTES),
        Topic(Name.PROBES, 8, False, timedelta(days=1), FACT_BYTES),
        Topic(Name.DECISIONS, 8, False, timedelta(days=28), FACT_BYTES),
        Topic(Name.DEAD_LETTERS, 1, False, timedelta(days=28), 2 * CAPTURE_BYTES),
        Topic(Name.HEARTBEATS, 1, True, timedelta(hours=1), FACT_BYTES),
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A record to be appended."""

    topic: Name
    key: bytes
    value: bytes


def entry(event: Event, *, urgent: bool = False) -> Entry:
    """Address an event: its topic, and the key that keeps what belongs together in one partition, in order."""
    value = encode(event)
    match event:
        case CaptureReceived():
            topic = Name.CAPTURES_URGENT if urgent else Name.CAPTURES_BULK
            return Entry(topic, person_of(event).encode(), value)
        case ProbeExtracted() | ProbeChosen():
            return Entry(Name.PROBES, event.request.request_id.encode(), value)
        case Decided():
            return Entry(Name.DECISIONS, event.request.request_id.encode(), value)
        case DeadLettered():
            return Entry(Name.DEAD_LETTERS, event.topic.encode(), value)
        case ServiceReported():
            return Entry(Name.HEARTBEATS, event.instance.encode(), value)
        case _:
            return Entry(Name.GALLERY, event.request.request_id.encode(), value)


def person_of(event: CaptureReceived) -> str:
    """Return what a capture is keyed by: the person it is about, else the request itself."""
    return getattr(event.purpose, "person_id", event.request.request_id)
