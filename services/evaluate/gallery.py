"""Puts the same searches to the services' own gallery and matcher: what they answer has to be what was measured."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from services.evaluate.identification import Searches
from services.evaluate.report import RealGallery
from services.evaluate.trials import Faces, similarities
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.biometrics import ALL_GALLERIES, Candidate, Template, Vector
from shared.calibration import Comparator
from shared.events import Enrol, Identified, Identify, ProbeExtracted, ReferenceEnrolled, Request

TOLERANCE: Final = 1e-3
"""dB by which a score of the matcher may differ from this report's, once it is rounded to ROUNDED."""
ROUNDED: Final = 0.01
_BLOCK: Final = 512
_ALL_SCORES: Final = 5
"""Probes of which every score is asked for, not only those above the threshold."""
_MOST: Final = 1_000


def real_gallery(
    comparator: Comparator, faces: Faces, vectors: Vector, searches: Searches, policy: Policy
) -> RealGallery:
    """Enrol each person's first template, and search all others of `vectors` (n, d), which `faces` were made of."""
    policy = replace(policy, candidate_cap=_MOST)
    matcher = Matcher(Gallery(comparator), policy)
    model, first = comparator.calibration.model, faces.first
    enrolled = [(n, _enrolled(n, Template(model, vectors[row]))) for n, row in enumerate(first.tolist())]
    # Applied without searching for duplicates: what is measured here is identification.
    matcher.fold(enrolled, decide_from=len(enrolled))
    threshold = policy.for_identification(ALL_GALLERIES, len(first))
    found = _Tally()
    references = faces.rows(first)
    for begin in range(0, len(searches.probe), _BLOCK):
        rows = searches.probe[begin : begin + _BLOCK]
        compared = comparator.decibels(similarities(faces.rows(rows), references))
        for n, expected in enumerate(compared, begin):
            template = Template(model, vectors[searches.probe[n]])
            found.add(_asked(matcher, n, template, None), int(searches.person[n]), expected, threshold)
            if n < _ALL_SCORES:
                found.check(_asked(matcher, n, template, 0.0), expected)
    return RealGallery(
        references=len(first),
        probes=len(searches.probe),
        threshold=round(threshold, 4),
        hits=found.hits,
        misses=len(searches.probe) - found.hits,
        false_alarms=found.false_alarms,
        hits_expected=found.hits_expected,
        false_alarms_expected=found.false_alarms_expected,
        scores=found.scores,
        largest_difference=round(found.difference, 6),
        agrees=found.difference <= TOLERANCE
        and found.hits == found.hits_expected
        and found.false_alarms == found.false_alarms_expected,
    )


class _Tally:
    def __init__(self) -> None:
        self.hits = self.hits_expected = 0
        self.false_alarms = self.false_alarms_expected = 0
        self.scores = 0
        self.difference = 0.0

    def add(self, named: list[Candidate], person: int, expected: np.ndarray, threshold: float) -> None:
        self.check(named, expected)
        people = {int(candidate.person_id) for candidate in named}
        above = set(np.flatnonzero(expected >= threshold).tolist())
        self.hits += person in people
        self.hits_expected += person in above
        self.false_alarms += bool(people - {person})
        self.false_alarms_expected += bool(above - {person})

    def check(self, named: list[Candidate], expected: np.ndarray) -> None:
        """Hold scores, which are rounded, against what was to be expected."""
        for candidate in named:
            off = abs(candidate.score - float(expected[int(candidate.person_id)])) - ROUNDED / 2
            self.difference = max(self.difference, off)
            self.scores += 1


def _request(number: int) -> Request:
    return Request(f"evaluation-{number}", "", datetime(1970, 1, 1, tzinfo=UTC), "evaluation")


def _enrolled(number: int, template: Template) -> ReferenceEnrolled:
    enrol = Enrol(str(number), "1", ("evaluation",), body_digest="")
    return ReferenceEnrolled(_request(number), enrol, (template,))


def _asked(matcher: Matcher, number: int, template: Template, threshold: float | None) -> list[Candidate]:
    question = Identify(ALL_GALLERIES, _MOST, threshold)
    [decided] = matcher.answer([ProbeExtracted(_request(number), question, (template,))])
    assert isinstance(decided.outcome, Identified)
    return list(decided.outcome.candidates)
