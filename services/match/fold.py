"""From records of the gallery log to a new state and its decisions: the fold's outer half, which reads bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.match.gallery import Gallery
from services.match.matching import Matcher
from shared import metrics
from shared.acceptance import objection
from shared.biometrics import Template
from shared.calibration import Comparator
from shared.envelope import MalformedEvent, decode
from shared.events import (
    DeadLettered,
    Decided,
    GalleryEvent,
    ProbeEvent,
    ProbeExtracted,
    ReferenceEnrolled,
)
from shared.log import Log, Reader, Record
from shared.topics import Name

BATCH = 256
"""Gallery records folded at once: one pass of the search serves all of them."""


class Unacceptable(ValueError):
    """Templates that may be neither enrolled nor compared (`shared.acceptance`)."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What one batch gave; decisions carry `as_of`, letters their offset."""

    records: int
    decisions: Sequence[Decided]
    letters: Sequence[DeadLettered]
    passed_over: int = 0
    """Records of a replay that the gallery does not take."""


def follow(log: Log, gallery: Gallery) -> Reader:
    """Read on from where the state is."""
    return log.read(Name.GALLERY, {0: gallery.position})


def fold(matcher: Matcher, reader: Reader, timeout: float, decide_from: int) -> Folded:
    """Read one batch and apply it; what is below the offset `decide_from` is a replay, and gives no decisions."""
    gallery = matcher.gallery
    records = reader.poll(BATCH, timeout)
    events: list[tuple[int, GalleryEvent]] = []
    letters: list[DeadLettered] = []
    for record in records:
        try:
            events.append((record.offset, _gallery_event(record, gallery.comparator)))
        except (MalformedEvent, Unacceptable) as problem:
            letters.append(letter(record, problem))
    if not records:
        return Folded(0, (), ())
    with metrics.MATCH_SECONDS.labels("gallery").time():
        decisions = matcher.fold(events, decide_from)
    gallery.position = records[-1].offset + 1
    fresh = [one for one in letters if one.offset >= decide_from]
    return Folded(len(records), decisions, fresh, len(letters) - len(fresh))


def _gallery_event(record: Record, comparator: Comparator) -> GalleryEvent:
    event = decode(record.value)
    if not isinstance(event, GalleryEvent):
        raise MalformedEvent(f"{type(event).__name__} has no place on this topic")
    if isinstance(event, ReferenceEnrolled):
        _require(event.templates, comparator)
    return event


def probe_event(record: Record, comparator: Comparator) -> ProbeEvent:
    """Read a probe. Raises MalformedEvent or Unacceptable."""
    event = decode(record.value)
    if not isinstance(event, ProbeEvent):
        raise MalformedEvent(f"{type(event).__name__} has no place on this topic")
    if isinstance(event, ProbeExtracted):
        _require(event.templates, comparator)
        if event.question.kind == "compare" or event.against:
            _require(event.against, comparator)
    return event


def letter(record: Record, problem: Exception) -> DeadLettered:
    """Put a record that is no event aside, with the reason and where it came from."""
    return DeadLettered(record.topic, record.partition, record.offset, str(problem), record.key, record.value)


def _require(templates: Sequence[Template], comparator: Comparator) -> None:
    if (found := objection(templates, comparator)) is not None:
        raise Unacceptable(found)
