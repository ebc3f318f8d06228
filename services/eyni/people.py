"""People who do not exist, for demonstrations and benchmarks: templates spread like those of real faces. Pure."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.biometrics import Template, Vector
from shared.events import Enrol, ReferenceEnrolled, Request

# The mean of dlib's templates over 2,954 people of LFW, in hundredths: a property of the network, nobody's face. Around
# it the templates spread with a total variance of 0.346, of which each principal direction has 0.94 of the one before
# (measured: 32 effective dimensions). Two strangers are 0.83 ± 0.09 apart, as they are on LFW (accuracy.md).
_MEAN: Final = (
    -10, 9, 5, -5, -10, -2, -1, -10, 14, -6, 20, -4, -24, -4, -2, 13, -15, -12, -12, -8, 1, 4, 3, 2,
    -14, -30, -7, -9, 5, -9, 1, 6, -18, -5, 3, 7, -5, -7, 20, 1, -17, 1, 5, 25, 20, 0, 2, -7,
    12, -26, 5, 14, 11, 7, 8, -14, 2, 14, -19, 7, 7, -10, -4, -4, 17, 9, -10, -14, 17, -14, -4, 8,
    -9, -16, -26, 4, 38, 13, -17, 1, -8, -2, 4, 4, -7, -5, -9, 3, 20, -3, -2, 22, 1, -1, 4, 5,
    -11, -1, -11, -2, 5, -10, 1, 9, -17, 16, -2, -2, -1, -2, -8, 0, 17, -25, 21, 17, 0, 13, 6, 6,
    0, -1, -14, -10, 3, -3, 2, 4,
)  # fmt: skip
_VARIANCE: Final = 0.346
_DECAY: Final = 0.94

MODEL: Final = "dlib-resnet-v1"
"""The model whose templates these look like: that of the enroll service."""


def templates(count: int, seed: int = 1) -> Vector:
    """Draw templates, shape (count, 128): the same for the same seed."""
    dice = np.random.default_rng(seed)
    mean = np.array(_MEAN, dtype=np.float64) / 100
    spectrum = _DECAY ** np.arange(mean.size)
    directions: NDArray[np.float64] = np.linalg.qr(dice.standard_normal((mean.size, mean.size)))[0]
    spread = directions * np.sqrt(spectrum * (_VARIANCE / spectrum.sum()))
    drawn: Vector = (mean + dice.standard_normal((count, mean.size)) @ spread.T).astype(np.float32)
    return drawn


def person_id(number: int) -> str:
    return f"synthetic-{number:06}"


def enrolments(count: int, gallery: str, seed: int = 1) -> Iterator[ReferenceEnrolled]:
    """Yield the fact that each of `count` people was enrolled once."""
    now = datetime.now(UTC)
    for number, vector in enumerate(templates(count, seed)):
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
            templates=(Template(MODEL, vector),),
        )
