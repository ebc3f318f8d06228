"""A pipeline in a thread: enroll and matcher for tests of the api, over any log.

A picture is bytes: `refuse…` is refused, `lose…` is lost between enroll and matcher (a bug that there must not be),
equal bytes are one face, everything else differs.
"""

import hashlib
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np

from shared.biometrics import ALL_GALLERIES, Candidate, Defect, Quality, RetakeReason, Template, Vector
from shared.encounters import Drop, Encounter, Key, plan
from shared.envelope import decode
from shared.events import (
    CaptureReceived,
    Changed,
    Compare,
    Decided,
    EncounterActivated,
    Enrol,
    Enrolled,
    Event,
    Identified,
    Identify,
    Outcome,
    ProbeChosen,
    ReferenceEnrolled,
    Refused,
    ServiceReported,
    Unknown,
    Verified,
    Verify,
)
from shared.heartbeat import SAMPLES_PER_SECOND
from shared.log import Log, LogUnavailable, Reader
from shared.topics import Group, Name, entry

REFUSED = Quality(0, {"eye_distance": 12.0}, (Defect(RetakeReason.TOO_SMALL, "Come closer: 12 of 24 pixels.", 12, 24),))
USABLE = Quality(88, {"eye_distance": 60.0})


def _vector(picture: bytes) -> Vector:
    return np.frombuffer(hashlib.sha256(picture).digest(), np.uint8).astype(np.float32) / np.float32(255)


class FakePipeline:
    """Decides what is on the log, one record after another; folds the gallery by the real rules."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._stop = threading.Event()
        self.paused = threading.Event()
        self.matcher_ready = True
        self._encounters: dict[Key, Encounter] = {}
        self._faces: dict[Key, bytes] = {}
        self._galleries: set[str] = set()
        self._position = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        work = (
            (Group.ENROLL, Name.CAPTURES_URGENT),
            (Group.ENROLL, Name.CAPTURES_BULK),
            (Group.FOLD, Name.GALLERY),
            (Group.MATCH, Name.PROBES),
        )
        self._readers: list[tuple[Group, Name, Reader]] = [(group, t, log.read(t, {})) for group, t in work]
        self.report()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for _, _, reader in self._readers:
            reader.close()

    def report(self) -> None:
        for service, ready in (("match", self.matcher_ready), ("enroll", True)):
            name: Any = service
            figures = {SAMPLES_PER_SECOND: 1000.0} if service == "enroll" else {}
            report = ServiceReported(
                name, f"{service}@test", datetime.now(UTC), ready, as_of=self._position, figures=figures
            )
            self._log.append([entry(report)])

    def _run(self) -> None:
        rounds = 0
        while not self._stop.wait(0.002):
            rounds += 1
            if rounds % 20 == 1:
                with suppress(LogUnavailable):
                    self.report()
            if self.paused.is_set():
                continue
            for group, topic, reader in self._readers:
                for record in reader.poll(100, 0.0):
                    self._handle(decode(record.value), record.offset)
                    self._log.mark(group, topic, {record.partition: record.offset + 1})

    def _handle(self, event: Event, offset: int) -> None:
        match event:
            case CaptureReceived():
                self._capture(event)
            case ProbeChosen(question=question, person_id=person):
                faces = {face for key, face in self._faces.items() if key.person_id == person}
                self._decide(event, self._identify(question, faces, person))
            case _:
                self._fold(event, offset)

    def _capture(self, event: CaptureReceived) -> None:
        if any(s.image.startswith(b"refuse") for s in event.samples):
            self._decide(event, Refused((REFUSED,) * len(event.samples)), -1)
            return
        if any(s.image.startswith(b"lose") for s in event.samples):
            return
        match event.purpose:
            case Enrol() as enrol:
                templates = tuple(Template("fake", _vector(s.image)) for s in event.samples)
                qualities = (USABLE,) * len(event.samples)
                self._log.append([entry(ReferenceEnrolled(event.request, enrol, templates, qualities))])
            case Verify(gallery=gallery, person_id=person):
                held = {
                    face
                    for key, face in self._faces.items()
                    if key.person_id == person and gallery in (ALL_GALLERIES, *self._encounters[key].galleries)
                }
                match = any(_vector(s.image).tobytes() in held for s in event.samples)
                self._decide(event, Verified(match, 61.5 if match else None))
            case Compare():
                match = event.samples[0] in event.against
                self._decide(event, Verified(match, 61.5 if match else None), -1)
            case Identify() as question:
                self._decide(event, self._identify(question, {_vector(s.image).tobytes() for s in event.samples}, None))

    def _identify(self, question: Identify, faces: set[bytes], but: str | None) -> Identified:
        found = self._near(faces, None if question.gallery == ALL_GALLERIES else (question.gallery,), but)
        return Identified(found[: question.max_candidates], len({c.person_id for c in found}))

    def _near(self, faces: set[bytes], galleries: Sequence[str] | None, but: str | None) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(*key, score=61.5, galleries=self._encounters[key].galleries)
            for key, face in self._faces.items()
            if face in faces
            and key.person_id != but
            and (galleries is None or set(galleries) & set(self._encounters[key].galleries))
        )

    def _fold(self, event: Any, offset: int) -> None:
        self._position = offset + 1
        planned = plan(event, self)
        if not isinstance(planned, Sequence):
            self._decide(event, planned)
            return
        outcome: Outcome = Changed()
        face = b""
        if isinstance(event, ReferenceEnrolled):
            face = event.templates[0].vector.tobytes()
            found = self._near({face}, event.enrol.galleries, event.enrol.person_id)
            outcome = Enrolled(
                event.enrol.person_id,
                event.enrol.encounter_id,
                found,
                len({c.person_id for c in found}),
                event.qualities,
            )
        if isinstance(event, EncounterActivated):
            key = Key(event.person_id, event.encounter_id)
            near = self._near({self._faces[key]}, self._encounters[key].galleries, event.person_id)
            outcome = Changed(near, len({c.person_id for c in near})) if event.active else Changed()
        for change in planned:
            if isinstance(change, Drop):
                del self._encounters[change.key], self._faces[change.key]
                continue
            old = getattr(change, "key", change.encounter.key)
            kept = self._faces.pop(old, b"")
            self._encounters.pop(old, None)
            self._encounters[change.encounter.key] = change.encounter
            self._faces[change.encounter.key] = face if isinstance(event, ReferenceEnrolled) else kept
        self._decide(event, outcome)

    def _decide(self, event: Any, outcome: Outcome | Unknown, as_of: int | None = None) -> None:
        position = self._position if as_of is None else as_of
        count = len(self._encounters) if as_of is None else -1
        self._log.append([entry(Decided(event.request, outcome, position, count))])

    def encounter(self, key: Key) -> Encounter | None:
        return self._encounters.get(key)

    def encounters_of(self, person_id: str) -> Sequence[Encounter]:
        return [e for key, e in sorted(self._encounters.items()) if key.person_id == person_id]
