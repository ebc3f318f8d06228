"""Short ways to say facts, for the tests beside this file."""

from datetime import UTC, datetime, timedelta

import numpy as np

from shared.biometrics import Quality, Template
from shared.events import (
    Decided,
    Enrol,
    Event,
    GalleryEvent,
    Identified,
    Outcome,
    ReferenceEnrolled,
    Request,
)
from shared.log import Record
from shared.log.memory import MemoryLog
from shared.topics import TOPICS, Name, entry
from tests.facts import comparator

COMPARATOR = comparator("m", 2)
"""That of the templates below."""

START = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)


def request(name: str, at: datetime = START) -> Request:
    return Request(name, "transaction", at, "station")


def enrolled(
    name: str,
    person: str,
    encounter: str = "e",
    *,
    digest: str = "d",
    galleries: tuple[str, ...] = ("g",),
    replaces: bool = False,
    active: bool = True,
    models: tuple[str, ...] = ("m",),
    dimension: int = 2,
    length: float = 1.0,
) -> ReferenceEnrolled:
    minute = START + timedelta(minutes=len(name))
    return ReferenceEnrolled(
        request(name, minute),
        Enrol(person, encounter, galleries, digest, active, replaces, {"name": "გიორგი \x00 'x'"}),
        tuple(Template(model, np.full(dimension, length, np.float32)) for model in models),
        (Quality(71, {"sharpness": 1.0}),),
    )


def decided(name: str, outcome: Outcome | None = None, as_of: int = 0, at: datetime = START) -> Decided:
    return Decided(request(name, at), outcome or Identified((), 0), as_of, 1)


def new_log() -> MemoryLog:
    log = MemoryLog()
    log.ensure(list(TOPICS.values()))
    return log


def append(log: MemoryLog, *events: Event) -> None:
    log.append([entry(event) for event in events])


def on_log(*events: GalleryEvent | None, first: int = 0) -> list[tuple[Record, GalleryEvent | None]]:
    """Events of the gallery topic at their offsets; None is a record that is no event."""
    return [(Record(Name.GALLERY, 0, first + i, b"", b""), event) for i, event in enumerate(events)]
