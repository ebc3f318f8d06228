"""What the matcher decides: search first, then insert; verify; identify. No clock, no log, no threads.

The order is the guarantee: of two enrolments of one person the later on the log names the earlier (I2), because each
is searched among all before it, and only then inserted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.match.filters import passes
from services.match.gallery import Gallery
from services.match.index import Rows, exact_distances
from services.match.scores import distance_of, score_of
from shared.biometrics import ALL_GALLERIES, Candidate, Template
from shared.encounters import Encounter, Key, plan
from shared.envelope import event_id
from shared.events import (
    Changed,
    Compare,
    Decided,
    EncounterActivated,
    EncounterRefiled,
    Enrolled,
    GalleryEvent,
    Identified,
    Identify,
    Outcome,
    ProbeChosen,
    ProbeEvent,
    ProbeExtracted,
    ReferenceEnrolled,
    Repeated,
    Unknown,
    Verified,
    Verify,
)

_Accepts = Callable[[Encounter], bool]


@dataclass(frozen=True, slots=True)
class Policy:
    """Where the line is. Distances are the model's; provisional until scores are calibrated."""

    search_distance: float
    verify_distance: float
    candidate_cap: int
    """Most people in one answer."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """Folds gallery events, and answers probes, over one gallery."""

    gallery: Gallery
    policy: Policy

    # ---- gallery events

    def fold(self, events: Sequence[tuple[int, GalleryEvent]], decide_from: int = 0) -> Sequence[Decided]:
        """Apply events in order, each given with its offset, and return the decision of each that is new.

        An event below the offset `decide_from` was decided in an earlier run: it is applied and not searched, because
        the state does not depend on what a search found.

        The neighbours of all are searched in one pass first; what the batch itself inserts is compared one by one, so
        that a batch decides exactly what its events decide one at a time.
        """
        probes = [t for o, e in events if o >= decide_from and isinstance(e, ReferenceEnrolled) for t in e.templates]
        near = iter(self.gallery.near(probes, self.policy.search_distance))
        before = self.gallery.rows
        decisions: list[Decided] = []
        for offset, event in events:
            decide = offset >= decide_from
            shortlists = (
                [next(near) for _ in event.templates] if decide and isinstance(event, ReferenceEnrolled) else []
            )
            self.gallery.position = offset + 1
            if not self.gallery.mark_applied(event_id(event)):
                continue
            if decide:
                decisions.append(self._apply(event, shortlists, before))
            else:
                self._replay(event)
        return decisions

    def _replay(self, event: GalleryEvent) -> None:
        planned = plan(event, self.gallery)
        if isinstance(planned, Sequence):
            self.gallery.carry_out(planned, event.templates if isinstance(event, ReferenceEnrolled) else ())

    def _apply(self, event: GalleryEvent, shortlists: Sequence[Rows], before: int) -> Decided:
        planned = plan(event, self.gallery)
        if not isinstance(planned, Sequence):
            return self._decided(event, planned, ())
        if not isinstance(event, ReferenceEnrolled):
            self.gallery.carry_out(planned)
            return self._changed(event)
        fresh = np.arange(before, self.gallery.rows, dtype=np.int64)
        galleries = event.enrol.galleries
        found = self._candidates(
            [(t, np.concatenate([rows, fresh])) for t, rows in zip(event.templates, shortlists, strict=True)],
            self.policy.search_distance,
            self.policy.candidate_cap,
            lambda e: e.key.person_id != event.enrol.person_id and not set(galleries).isdisjoint(e.galleries),
        )
        decided = self._decided(
            event,
            Enrolled(
                person_id=event.enrol.person_id,
                encounter_id=event.enrol.encounter_id,
                candidates=found.candidates,
                total_candidates=found.total_candidates,
                qualities=event.qualities,
            ),
            galleries,
        )
        self.gallery.carry_out(planned, event.templates)
        return decided

    def _changed(self, event: GalleryEvent) -> Decided:
        """Search for what is in a gallery only now as if it had been enrolled there now."""
        if not isinstance(event, EncounterActivated | EncounterRefiled):
            return self._decided(event, Changed(), ())
        encounter = self.gallery.encounter(Key(event.person_id, event.encounter_id))
        if encounter is None or not encounter.active:
            return self._decided(event, Changed(), ())
        probes = self.gallery.templates_of([encounter])
        found = self._candidates(
            list(zip(probes, self.gallery.near(probes, self.policy.search_distance), strict=True)),
            self.policy.search_distance,
            self.policy.candidate_cap,
            lambda e: e.key.person_id != event.person_id and not set(encounter.galleries).isdisjoint(e.galleries),
        )
        return self._decided(event, Changed(found.candidates, found.total_candidates), encounter.galleries)

    # ---- probes

    def answer(self, event: ProbeEvent) -> Decided:
        """Answer from the gallery as it is now."""
        if isinstance(event, ProbeChosen):
            return self._identify_chosen(event)
        match event.question:
            case Verify() as question:
                return self._verify(event, question)
            case Compare(threshold=threshold):
                distances = [
                    exact_distances(probe.vector, np.stack([t.vector for t in event.against])).min()
                    for probe in event.templates
                ]
                return self._decided(event, self._verified(float(min(distances)), threshold), None)
            case Identify() as question:
                if not self.gallery.knows_gallery(question.gallery):
                    return self._decided(event, Unknown(f"there is no gallery {question.gallery}"), ())
                return self._identify(event, question, event.templates, None)

    def _verify(self, event: ProbeExtracted, question: Verify) -> Decided:
        encounters = [
            e
            for e in self.gallery.encounters_of(question.person_id)
            if question.gallery in (ALL_GALLERIES, *e.galleries)
        ]
        if not encounters:
            where = "" if question.gallery == ALL_GALLERIES else f" in gallery {question.gallery}"
            return self._decided(event, Unknown(f"there is no person {question.person_id}{where}"), ())
        rows = self.gallery.rows_of(encounters)
        distances = [d for probe in event.templates for d, _, _ in self.gallery.distances(probe, rows)]
        if not distances:
            return self._decided(event, _nothing_active(question.person_id), ())
        return self._decided(event, self._verified(min(distances), question.threshold), (question.gallery,))

    def _verified(self, distance: float, threshold: float | None) -> Verified:
        limit = self.policy.verify_distance if threshold is None else distance_of(threshold)
        return Verified(True, score_of(distance)) if distance < limit else Verified(False)

    def _identify_chosen(self, event: ProbeChosen) -> Decided:
        question = event.question
        if not self.gallery.knows_gallery(question.gallery):
            return self._decided(event, Unknown(f"there is no gallery {question.gallery}"), ())
        encounters = self.gallery.encounters_of(event.person_id)
        if event.encounter_id is not None:
            encounters = [e for e in encounters if e.key.encounter_id == event.encounter_id]
        if not encounters:
            what = "there is no person" if event.encounter_id is None else "there is no such encounter of person"
            return self._decided(event, Unknown(f"{what} {event.person_id}"), ())
        probes = self.gallery.templates_of(e for e in encounters if e.active)
        if not probes:
            return self._decided(event, _nothing_active(event.person_id), ())
        return self._identify(event, question, probes, event.person_id)

    def _identify(self, event: ProbeEvent, question: Identify, probes: Sequence[Template], but: str | None) -> Decided:
        radius = self.policy.search_distance if question.threshold is None else distance_of(question.threshold)
        found = self._candidates(
            list(zip(probes, self.gallery.near(probes, radius), strict=True)),
            radius,
            question.max_candidates,
            lambda e: (
                e.key.person_id != but
                and question.gallery in (ALL_GALLERIES, *e.galleries)
                and passes(e, question.filter)
            ),
        )
        return self._decided(event, found, (question.gallery,))

    # ---- both

    def _candidates(
        self, searched: Sequence[tuple[Template, Rows]], radius: float, most: int, accepts: _Accepts
    ) -> Identified:
        """Return the people with an accepted encounter within the radius, nearest first, ties by enrolment."""
        best: dict[Key, tuple[float, int, Encounter]] = {}
        for probe, rows in searched:
            for distance, row, encounter in self.gallery.distances(probe, rows, radius):
                if accepts(encounter):
                    hit = (distance, row, encounter)
                    best[encounter.key] = min(hit, best.get(encounter.key, hit), key=lambda h: h[:2])
        hits = sorted(best.values(), key=lambda h: h[:2])
        people = list(dict.fromkeys(encounter.key.person_id for _, _, encounter in hits))
        named = set(people[: min(most, self.policy.candidate_cap)])
        return Identified(
            candidates=tuple(
                Candidate(*encounter.key, score=score_of(distance), galleries=encounter.galleries)
                for distance, _, encounter in hits
                if encounter.key.person_id in named
            ),
            total_candidates=len(people),
        )

    def _decided(
        self,
        event: GalleryEvent | ProbeEvent,
        outcome: Outcome | Repeated,
        galleries: Sequence[str] | None,
    ) -> Decided:
        """`galleries`: those searched; () for all that is known; None where the gallery was not asked."""
        if galleries is None:
            return Decided(event.request, outcome, -1, -1)
        count = self.gallery.count(galleries or (ALL_GALLERIES,))
        return Decided(event.request, outcome, self.gallery.position, count)


def _nothing_active(person_id: str) -> Unknown:
    """An inactive encounter is in no search and no verification: "no" would be an answer that nothing was asked for."""
    return Unknown(f"person {person_id} has no active encounter there to compare with")
