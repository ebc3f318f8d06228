"""Short ways to make facts in tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from shared.biometrics import Template, Vector
from shared.events import Enrol, Identify, JsonObject, ProbeExtracted, ReferenceEnrolled, Request, Verify

MODEL = "test-model"
DIMENSION = 16
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def request(number: int | str) -> Request:
    second = number if isinstance(number, int) else 0
    return Request(f"r-{number}", f"t-{number}", NOON + timedelta(seconds=second), "tests")


def vector(seed: int, dimension: int = DIMENSION) -> Vector:
    """A unit vector of a person: any two of these are some 1.4 apart."""
    drawn = np.random.default_rng(seed).normal(size=dimension)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def template(person: int, wobble: float = 0.0, seed: int = 0) -> Template:
    """A template of a person, `wobble` away from their first one."""
    return Template(MODEL, (vector(person) + np.float32(wobble) * vector(1_000_000 + seed)).astype(np.float32))


def enrolled(
    number: int | str,
    person_id: str,
    templates: Sequence[Template],
    *,
    encounter_id: str = "1",
    galleries: Sequence[str] = ("all-of-us",),
    digest: str | None = None,
    active: bool = True,
    replaces: bool = False,
    document: JsonObject | None = None,
) -> ReferenceEnrolled:
    enrol = Enrol(
        person_id=person_id,
        encounter_id=encounter_id,
        galleries=tuple(galleries),
        body_digest=digest if digest is not None else f"digest of {number}",
        active=active,
        replaces=replaces,
        document=document or {},
    )
    return ReferenceEnrolled(request(number), enrol, tuple(templates))


def verify(number: int | str, person_id: str, probe: Template, gallery: str = "ALL") -> ProbeExtracted:
    return ProbeExtracted(request(number), Verify(gallery, person_id), (probe,))


def identify(
    number: int | str, probe: Template, gallery: str = "ALL", most: int = 10, wanted: JsonObject | None = None
) -> ProbeExtracted:
    return ProbeExtracted(request(number), Identify(gallery, most, None, wanted or {}), (probe,))
