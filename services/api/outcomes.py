"""What counts as an outcome of a capture (I18), and what it is called in the metrics."""

from typing import Final

from shared.envelope import MalformedEvent, decode
from shared.events import DeadLettered, Decided, Enrolled, ServiceReported
from shared.topics import Name

CAPTURE_PREFIX: Final = "c-"
"""The api begins the ids of requests with this that go to `captures-*`."""

CHANGE_PREFIX: Final = "r-"
"""The api begins the ids of requests with this that go straight to `gallery` or `probes`: they are no captures."""

DEAD_LETTER: Final = "dead_letter"


def is_capture(request_id: str) -> bool:
    """Tell a capture's request. A station that writes to the log itself names its captures as it likes, but not so."""
    return not request_id.startswith(CHANGE_PREFIX)


def label(decided: Decided) -> str:
    """Name an outcome: its kind, where `enrolled` is one of three."""
    match decided.outcome:
        case Enrolled(candidates=named, total_candidates=total) if total > len({c.person_id for c in named}):
            return "too_many_candidates"
        case Enrolled(candidates=named):
            return "enrolled_suspect" if named else "enrolled_unique"
        case outcome:
            return outcome.kind


def dead_capture(letter: DeadLettered) -> str | None:
    """Return an id of the capture whose way ended in this dead letter; None if it was no capture's.

    A record of `captures-*` is one capture. What else a capture became (a reference, a probe) is known by its request,
    and its copies are the same capture.
    """
    if letter.topic in (Name.CAPTURES_URGENT, Name.CAPTURES_BULK):
        return f"{letter.topic}-{letter.partition}-{letter.offset}"
    try:
        event = decode(letter.value)
    except MalformedEvent:
        return None
    if isinstance(event, DeadLettered | ServiceReported | Decided) or not is_capture(event.request.request_id):
        return None
    return event.request.request_id
