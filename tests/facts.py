"""Short ways to make facts in tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from shared.biometrics import Template, Vector
from shared.calibration import Calibration, Cohort, Comparator, Gate, Tail
from shared.events import Enrol, Identify, JsonObject, ProbeExtracted, ReferenceEnrolled, Request, Verify
from shared.mixture import Mixture

MODEL = "test-model"
DIMENSION = 16
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def calibration(
    model: str = MODEL,
    dimension: int = DIMENSION,
    *,
    unit: bool = False,
    cohort: Cohort | None = None,
    gate: Gate | None = None,
) -> Calibration:
    """A plain one with round numbers: distance 0 scores 100 dB, 0.5 scores 50, 0.707 scores 0. Measured to 50 dB."""
    return Calibration(
        format=1,
        model=model,
        dimension=dimension,
        unit=unit,
        cohort=cohort,
        gate=gate or Gate(centre=(0.0,) * dimension, distance=0.0, norm=(1e-3, 1e3)),
        table=((-0.5, 0.0), (-0.25, 50.0)),
        tail=Tail(slope=200.0, fitted_to=100),
        misses=((0.0, 0.0), (30.0, 0.01), (50.0, 0.2), (100.0, 1.0)),
        provenance={"data": "made up"},
    )


def comparator(model: str = MODEL, dimension: int = DIMENSION) -> Comparator:
    return Comparator(calibration(model, dimension))


def a_cohort(seed: int, dimension: int = DIMENSION, components: int = 3) -> Cohort:
    """Some population, for normalised comparisons."""
    dice = np.random.default_rng(seed)
    means = dice.normal(0, 0.3, (components, dimension)).tolist()
    variances = dice.uniform(0.01, 0.1, (components, dimension)).tolist()
    mixture = Mixture(weights=(1 / components,) * components, means=means, variances=variances)
    return Cohort(mixture=mixture, softness=0.05, weight=0.45)


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
