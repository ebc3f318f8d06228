"""People who do not exist, for demonstrations and benchmarks: their templates spread like a model's real ones. Pure."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count as numbers
from itertools import islice
from typing import Final

from shared.biometrics import Template, Vector
from shared.calibration import Calibration, Comparator
from shared.events import Enrol, ReferenceEnrolled, Request
from shared.mixture import draw

CHUNK: Final = 5_000
"""People drawn at once: some 40 MB of numbers."""


def templates(calibration: Calibration, count: int, seed: int = 1) -> Iterator[Vector]:
    """Draw templates, `count` times (d,): the same for the same seed.

    From the population that the calibration knows; those whom its gate would not take for a face are left out. Raises
    ValueError for a calibration without a population.
    """
    if calibration.cohort is None:
        raise ValueError(f"the calibration of {calibration.model} knows no population to draw from")
    mixture, comparator = calibration.cohort.mixture, Comparator(calibration)
    drawn = (vector for n in numbers() for vector in draw(mixture, CHUNK, 1_000_000 * seed + n))
    return islice((vector for vector in drawn if comparator.refusal(vector) is None), count)


def person_id(number: int) -> str:
    return f"synthetic-{number:06}"


def enrolments(calibration: Calibration, count: int, gallery: str, seed: int = 1) -> Iterator[ReferenceEnrolled]:
    """Yield the fact that each of `count` people was enrolled once."""
    now = datetime.now(UTC)
    for number, vector in enumerate(templates(calibration, count, seed)):
        person = person_id(number)
        yield ReferenceEnrolled(
            request=Request(f"fill-{seed}-{number:06}", "fill", now, "fill"),
            enrol=Enrol(
                person_id=person,
                encounter_id="1",
                galleries=(gallery,),
                body_digest=hashlib.sha256(f"{seed} {person}".encode()).hexdigest(),
                document={"status": "ACTIVE", "encounterType": "SYNTHETIC", "galleries": [gallery]},
            ),
            templates=(Template(calibration.model, vector),),
        )
