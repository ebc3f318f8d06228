"""What the matcher decides: search first, then insert; verify; identify. No clock, no log, no threads.

The order is the guarantee: of two enrolments of one person the later on the log names the earlier (I2), because each
is searched among all before it, and only then inserted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from services.match.filters import passes
from services.match.fusion import fuse, standing_for
from services.match.gallery import Gallery
from services.match.index import Rows
from services.match.policy import Policy
from shared.biometrics import ALL_GALLERIES, Candidate, Template
from shared.calibration import Comparator, Prepared, search_threshold
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
_Placed = tuple[int, GalleryEvent]


@dataclass(frozen=True, slots=True)
class _Search:
    """A probe's question, ready to be put to the index."""

    event: ProbeEvent
    question: Identify
    probe: Prepared
    limit: float
    accepts: _Accepts


@dataclass(frozen=True, slots=True)
class Matcher:
    """Folds gallery events, and answers probes, over one gallery. Templates given to it are acceptable ones."""

    gallery: Gallery
    policy: Policy

    @property
    def comparator(self) -> Comparator:
        return self.gallery.comparator

    # ---- gallery events

    def fold(self, events: Sequence[_Placed], decide_from: int = 0) -> Sequence[Decided]:
        """Apply events in order, each given with its offset, and return the decision of each that is new.

        An event below the offset `decide_from` was decided in an earlier run: it is applied and not searched, because
        the state does not depend on what a search found.

        A batch decides exactly what its events decide one at a time.
        """
        decisions: list[Decided] = []
        for enrolments, run in groupby(events, key=lambda placed: isinstance(placed[1], ReferenceEnrolled)):
            if enrolments:
                decisions += self._enrol([(o, e) for o, e in run if isinstance(e, ReferenceEnrolled)], decide_from)
            else:
                decisions += [d for o, e in run if (d := self._change(o, e, decide_from))]
        return decisions

    def _change(self, offset: int, event: GalleryEvent, decide_from: int) -> Decided | None:
        if not self._advance(offset, event):
            return None
        planned = plan(event, self.gallery)
        if not isinstance(planned, Sequence):
            return self._decided(event, planned, ()) if offset >= decide_from else None
        self.gallery.carry_out(planned)
        return self._changed(event) if offset >= decide_from else None

    def _enrol(self, run: Sequence[tuple[int, ReferenceEnrolled]], decide_from: int) -> Iterator[Decided]:
        """Enrol in order.

        The neighbours of all are searched in one pass first; what the run itself inserts is compared one by one.
        The threshold of each rises with the gallery. An enrolment takes one encounter off a gallery at most (one that
        it replaces), so with the n-th searched among n fewer than there are now, the first pass misses nobody.
        """
        references = self._references([event for _, event in run])
        searched = [n for n, (offset, _) in enumerate(run) if offset >= decide_from]
        limits = [self._duplicate_limit(run[n][1], fewer=n)[1] for n in searched]
        near = dict(zip(searched, self.gallery.near(_stacked([references[n] for n in searched]), limits), strict=True))
        before = self.gallery.rows
        for n, (offset, event) in enumerate(run):
            if not self._advance(offset, event):
                continue
            planned = plan(event, self.gallery)
            if not isinstance(planned, Sequence):
                if n in near:
                    yield self._decided(event, planned, ())
                continue
            if n in near:
                rows = np.concatenate([near[n], np.arange(before, self.gallery.rows, dtype=np.int64)])
                yield self._enrolled(event, references[n], rows)
            self.gallery.carry_out(planned, references[n])

    def _enrolled(self, event: ReferenceEnrolled, reference: Prepared, rows: Rows) -> Decided:
        enrol = event.enrol
        size, limit = self._duplicate_limit(event)
        galleries = set(enrol.galleries)
        found = self._candidates(
            reference,
            rows,
            limit,
            self.policy.candidate_cap,
            lambda e: e.key.person_id != enrol.person_id and not galleries.isdisjoint(e.galleries),
        )
        outcome = Enrolled(
            person_id=enrol.person_id,
            encounter_id=enrol.encounter_id,
            candidates=found.candidates,
            total_candidates=found.total_candidates,
            qualities=event.qualities,
        )
        return Decided(event.request, outcome, self.gallery.position, size)

    def _duplicate_limit(self, event: ReferenceEnrolled, fewer: int = 0) -> tuple[int, float]:
        """Return how many encounters are searched for duplicates of it now, and the least comparison that counts."""
        galleries = event.enrol.galleries
        size = self.gallery.count(galleries)
        return size, self._limit(self.policy.for_duplicates(galleries, max(1, size - fewer)))

    def _changed(self, event: GalleryEvent) -> Decided:
        """Search for what is in a gallery only now as if it had been enrolled there now."""
        if not isinstance(event, EncounterActivated | EncounterRefiled):
            return self._decided(event, Changed(), ())
        encounter = self.gallery.encounter(Key(event.person_id, event.encounter_id))
        if encounter is None or not encounter.active:
            return self._decided(event, Changed(), ())
        galleries = set(encounter.galleries)
        limit = self._limit(self.policy.for_duplicates(galleries, self.gallery.count(galleries)))
        reference = self.gallery.references_of([encounter])
        [rows] = self.gallery.near(reference, [limit])
        found = self._candidates(
            reference,
            rows,
            limit,
            self.policy.candidate_cap,
            lambda e: e.key.person_id != event.person_id and not galleries.isdisjoint(e.galleries),
        )
        return self._decided(event, Changed(found.candidates, found.total_candidates), encounter.galleries)

    def _advance(self, offset: int, event: GalleryEvent) -> bool:
        """Go past an event; tell whether it is new."""
        self.gallery.position = offset + 1
        return self.gallery.mark_applied(event_id(event))

    def _references(self, events: Sequence[ReferenceEnrolled]) -> Sequence[Prepared]:
        """Make one reference of the templates of each event."""
        prepared = self._prepared([template for event in events for template in event.templates])
        ends = np.cumsum([len(event.templates) for event in events]).tolist()
        starts = [0, *ends[:-1]]
        return [fuse(prepared[start:end], self.comparator) for start, end in zip(starts, ends, strict=True)]

    # ---- probes

    def answer(self, events: Sequence[ProbeEvent]) -> Sequence[Decided]:
        """Answer from the gallery as it is now, each probe as it would be answered alone, all searched in one pass."""
        begun = [self._answered(event) for event in events]
        searches = [answer for answer in begun if isinstance(answer, _Search)]
        near = self.gallery.near(_stacked([s.probe for s in searches]), [s.limit for s in searches])
        found = iter([self._found(search, rows) for search, rows in zip(searches, near, strict=True)])
        return [next(found) if isinstance(answer, _Search) else answer for answer in begun]

    def _answered(self, event: ProbeEvent) -> Decided | _Search:
        """Answer what needs no search; else return the search."""
        if isinstance(event, ProbeChosen):
            return self._identify_chosen(event)
        match event.question:
            case Verify() as question:
                return self._verify(event, question)
            case Compare(threshold=threshold):
                verified = self._verified(event, self._probe(event.against), threshold)
                return self._decided(event, verified, None)
            case Identify() as question:
                if not self.gallery.knows_gallery(question.gallery):
                    return self._decided(event, Unknown(f"there is no gallery {question.gallery}"), ())
                return self._identify(event, question, self._probe(event.templates), None)

    def _verify(self, event: ProbeExtracted, question: Verify) -> Decided:
        encounters = [
            e
            for e in self.gallery.encounters_of(question.person_id)
            if question.gallery in (ALL_GALLERIES, *e.galleries)
        ]
        if not encounters:
            where = "" if question.gallery == ALL_GALLERIES else f" in gallery {question.gallery}"
            return self._decided(event, Unknown(f"there is no person {question.person_id}{where}"), ())
        active = [e for e in encounters if e.active]
        if not active:
            return self._decided(event, _nothing_active(question.person_id), ())
        references = standing_for(self.gallery.references_of(active), self.comparator)
        verified = self._verified(event, references, question.threshold)
        return self._decided(event, verified, (question.gallery,))

    def _verified(self, event: ProbeExtracted, references: Prepared, threshold: float | None) -> Verified:
        """Compare with the best of the references; several have as many chances, which the threshold allows for."""
        s = float(self.comparator.similarity(self._probe(event.templates), references).max())
        qualities = event.qualities, event.against_qualities
        wanted = self.policy.verification if threshold is None else threshold
        if s < self._limit(search_threshold(wanted, len(references))):
            return Verified(False, None, False, *qualities)
        score = self.comparator.score(s)
        return Verified(True, round(score.db, 2), bool(score.extrapolated), *qualities)

    def _identify_chosen(self, event: ProbeChosen) -> Decided | _Search:
        question = event.question
        if not self.gallery.knows_gallery(question.gallery):
            return self._decided(event, Unknown(f"there is no gallery {question.gallery}"), ())
        encounters = self.gallery.encounters_of(event.person_id)
        if event.encounter_id is not None:
            encounters = [e for e in encounters if e.key.encounter_id == event.encounter_id]
        if not encounters:
            what = "there is no person" if event.encounter_id is None else "there is no such encounter of person"
            return self._decided(event, Unknown(f"{what} {event.person_id}"), ())
        active = [e for e in encounters if e.active]
        if not active:
            return self._decided(event, _nothing_active(event.person_id), ())
        probe = fuse(self.gallery.references_of(active), self.comparator)
        return self._identify(event, question, probe, event.person_id)

    def _identify(self, event: ProbeEvent, question: Identify, probe: Prepared, but: str | None) -> _Search:
        threshold = question.threshold
        if threshold is None:
            size = self.gallery.count([question.gallery])
            threshold = self.policy.for_identification(question.gallery, size, question.target)
        return _Search(
            event,
            question,
            probe,
            self._limit(threshold),
            lambda e: (
                e.key.person_id != but
                and question.gallery in (ALL_GALLERIES, *e.galleries)
                and passes(e, question.filter)
            ),
        )

    def _found(self, search: _Search, rows: Rows) -> Decided:
        found = self._candidates(search.probe, rows, search.limit, search.question.max_candidates, search.accepts)
        qualities = search.event.qualities if isinstance(search.event, ProbeExtracted) else ()
        return self._decided(search.event, replace(found, qualities=qualities), (search.question.gallery,))

    # ---- both

    def _probe(self, templates: Sequence[Template]) -> Prepared:
        return fuse(self._prepared(templates), self.comparator)

    def _prepared(self, templates: Sequence[Template]) -> Prepared:
        return self.comparator.prepare(np.stack([template.vector for template in templates]))

    def _limit(self, threshold: float) -> float:
        """Return the least comparison that reaches a score; every comparison scores 0 or more."""
        return self.comparator.similarity_at(threshold) if threshold > 0 else -np.inf

    def _candidates(self, probe: Prepared, rows: Rows, limit: float, most: int, accepts: _Accepts) -> Identified:
        """Return the people with an accepted encounter at the limit or above, most alike first, ties by enrolment."""
        hits = [hit for hit in self.gallery.compare(probe, rows, limit) if accepts(hit[2])]
        hits.sort(key=lambda hit: (-hit[0], hit[1]))
        people = list(dict.fromkeys(encounter.key.person_id for _, _, encounter in hits))
        named = set(people[: min(most, self.policy.candidate_cap)])
        return Identified(
            candidates=tuple(self._candidate(s, e) for s, _, e in hits if e.key.person_id in named),
            total_candidates=len(people),
        )

    def _candidate(self, s: float, encounter: Encounter) -> Candidate:
        score = self.comparator.score(s)
        return Candidate(
            *encounter.key,
            score=round(score.db, 2),
            galleries=encounter.galleries,
            extrapolated=bool(score.extrapolated),
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


def _stacked(references: Sequence[Prepared]) -> Prepared:
    return Prepared(
        np.concatenate([r.vectors for r in references]) if references else np.empty((0, 0), np.float32),
        np.concatenate([r.nearness for r in references]) if references else np.empty(0),
    )


def _nothing_active(person_id: str) -> Unknown:
    """An inactive encounter is in no search and no verification: "no" would be an answer that nothing was asked for."""
    return Unknown(f"person {person_id} has no active encounter there to compare with")
