"""Where the line is: from a target in error rates to a threshold in dB, at a gallery's size. Pure.

Nothing here is a constant of a model. A target says how often a stranger may be named; the threshold follows from it
and from how many people are searched at that position of the log, so it moves with the gallery, the same in every
replay.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from shared.biometrics import ALL_GALLERIES
from shared.calibration import SEARCH_TARGET, VERIFICATION_TARGET, Comparator, search_threshold
from shared.performance import Operation, Performance


@dataclass(frozen=True, slots=True)
class Policy:
    """Targets in dB, -10·log10 of a rate: of false matches (FMR) for 1:1, of searches that name a stranger (FPIR)."""

    verification: float = VERIFICATION_TARGET
    duplicates: float = SEARCH_TARGET
    identification: float = SEARCH_TARGET
    galleries: Mapping[str, float] = field(default_factory=dict[str, float])
    """FPIR targets of galleries that have one of their own (a watchlist), for both kinds of search; ALL may be one."""
    lowest: float = 0.0
    """dB below which no caller's own target leads; the api holds callers' own thresholds to the same."""
    candidate_cap: int = 100
    """Most people in one answer."""

    def for_duplicates(self, galleries: Iterable[str], size: int) -> float:
        """Return the threshold of the search for duplicates of what is filed under these galleries.

        Of several galleries with targets of their own the strictest counts, so that none of them names more strangers
        than it allows.
        """
        target = max((self._target(self.duplicates, gallery) for gallery in galleries), default=self.duplicates)
        return search_threshold(target, size)

    def for_identification(self, gallery: str, size: int, target: float | None = None) -> float:
        """Return the threshold of a search in one gallery or ALL; `target` is the caller's own."""
        if target is not None:
            return max(search_threshold(target, size), self.lowest)
        return search_threshold(self._target(self.identification, gallery), size)

    def expected(self, comparator: Comparator, count: Callable[[str], int]) -> tuple[Performance, ...]:
        """Say what is to be expected now: of each operation, and of each gallery with a target of its own.

        `count` tells how many active encounters a gallery has. Duplicates are reported for all galleries together: an
        encounter that is filed under fewer is searched among fewer, and missed less.
        """
        measured_to = comparator.calibration.measured_to

        def one(operation: Operation, gallery: str, size: int, target: float, threshold: float) -> Performance:
            misses = comparator.expected_misses(threshold)
            return Performance(
                operation, gallery, size, round(target, 2), round(threshold, 2), round(misses, 4), round(measured_to, 2)
            )

        everybody = count(ALL_GALLERIES)
        told = [
            one("verification", ALL_GALLERIES, 1, self.verification, self.verification),
            one("duplicates", ALL_GALLERIES, everybody, self.duplicates, search_threshold(self.duplicates, everybody)),
        ]
        for gallery in dict.fromkeys([ALL_GALLERIES, *sorted(self.galleries)]):
            size, target = count(gallery), self._target(self.identification, gallery)
            told.append(one("identification", gallery, size, target, search_threshold(target, size)))
        return tuple(told)

    def _target(self, usual: float, gallery: str) -> float:
        return self.galleries.get(gallery, usual)
