"""Whether a quality that came from a worker can be: for its parent, for a picture may have taken the worker over."""

from functools import cache
from typing import Final

import numpy as np

from services.enroll.quality import Frame, Limits, judge, measure
from shared.biometrics import Quality


def is_consistent(quality: Quality, limits: Limits) -> bool:
    """Whether this is what `judge` says of its measures, or the one defect of a picture that could not be measured.

    So of what callers are shown of a face, nothing but the measures' values is left to a worker.
    """
    measures = quality.measures
    if not measures:
        return quality.score == 0 and len(quality.defects) == 1
    numbers = all(abs(value) <= _MOST and value == round(value, 4) for value in measures.values())
    return numbers and measures.keys() == _measured() and quality == judge(measures, limits)


_MOST: Final = 1e12
"""No measure is larger: the sharpness of a face that is black but for some white pixels comes to 10^11."""


@cache
def _measured() -> frozenset[str]:
    """Return the names of what `measure` measures."""
    chip = np.full((150, 150, 3), 128, dtype=np.uint8)
    return frozenset(measure(Frame(0, 0, 1, 1, 1, 1), np.zeros((5, 2)), chip, [1.0], 1.0))
