"""What the model in use can be expected to deliver: reported by the matcher, told by the api and `eyni status`. Pure.

At some gallery size every model misses too many people at the threshold that keeps false alarms rare. That is told,
not hidden (design.md).
"""

from dataclasses import dataclass
from typing import Final, Literal

from shared.biometrics import ALL_GALLERIES, STRICT

MISSES: Final = 0.01
"""Share of misses above which it is said: what the European Entry/Exit System asks of a face comparison, FNMR below 1 %
(Commission Implementing Decision (EU) 2019/329)."""

Operation = Literal["verification", "duplicates", "identification"]

_WORDS: Final[dict[Operation, str]] = {
    "verification": "verification",
    "duplicates": "duplicate search",
    "identification": "identification",
}


@dataclass(frozen=True, slots=True)
class Performance:
    """Of one operation, at its target and the gallery's present size. Expected: as calibrated, one picture a side."""

    __pydantic_config__ = STRICT
    operation: Operation
    gallery: str
    """ALL, or a gallery with a target of its own."""
    size: int
    """Active encounters searched; of a verification, 1."""
    target: float
    """dB: the FMR of a verification, the FPIR of a search."""
    threshold: float
    """dB"""
    misses: float
    """Share of pictures of one person that are expected to score below the threshold (FNMR; FNIR of a search)."""
    measured_to: float
    """dB up to which the calibration measured; what lies beyond follows a fitted tail."""

    @property
    def extrapolated(self) -> bool:
        return self.threshold > self.measured_to

    @property
    def falls_short(self) -> bool:
        """Whether an operator should know."""
        return self.misses > MISSES

    def in_words(self) -> str:
        """Say it in one line, as in "duplicate search among 100,000: threshold 80 dB, ..."."""
        among = "" if self.operation == "verification" else f" among {self.size:,}"
        where = "" if self.gallery == ALL_GALLERIES else f" in {self.gallery}"
        beyond = f", beyond the {self.measured_to:.0f} dB measured" if self.extrapolated else ""
        return (
            f"{_WORDS[self.operation]}{where}{among}: threshold {self.threshold:.0f} dB{beyond}; the model is expected "
            f"to miss {_percent(self.misses)} of pictures of one person"
        )


REMEDY: Final = (
    "What to do: a better model misses fewer (`eyni models list`, docs/models.md); a less strict target "
    "(EYNI_*_TARGET, in dB) finds more people and names more strangers; `eyni evaluate` measures both on your faces."
)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
