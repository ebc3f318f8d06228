"""From a distance to a ComparisonScore, provisionally: read off one measured table until a calibration stands here.

The table is the default network's, face_recognition's dlib ResNet, on all of LFW: 13,233 pictures of 5,749 people, 76
million pairs of strangers, measured on 2026-11-22. LFW says nothing below a false match rate of 1e-6: scores above 60
dB go on along the last measured slope and mean no more than "at least 60".
"""

from typing import Final

import numpy as np

from shared.biometrics import ComparisonScore

_TABLE: Final = ((0.620, 20.0), (0.545, 30.0), (0.475, 40.0), (0.419, 50.0), (0.374, 60.0))
"""(distance, dB): at this distance this false match rate."""


def _beyond(near: tuple[float, float], far: tuple[float, float], distance: float) -> tuple[float, float]:
    """Go on along the line through two points of the table."""
    slope = (far[1] - near[1]) / (far[0] - near[0])
    return (distance, far[1] + slope * (distance - far[0]))


_CURVE: Final = (
    _beyond(_TABLE[1], _TABLE[0], 2.0),
    *_TABLE,
    _beyond(_TABLE[-2], _TABLE[-1], 0.0),
)
_DISTANCES: Final = np.array([d for d, _ in _CURVE])
_SCORES: Final = np.array([s for _, s in _CURVE])


def score_of(distance: float) -> ComparisonScore:
    """Return the score of a distance (0 to 2), in dB, rounded to 0.01; never below 0."""
    score = float(np.interp(distance, _DISTANCES[::-1], _SCORES[::-1]))
    return ComparisonScore(round(max(score, 0.0), 2))


def distance_of(score: float) -> float:
    """Return the distance at which a score (dB) is reached; 0 for scores that no distance reaches."""
    return float(np.interp(score, _SCORES, _DISTANCES))
