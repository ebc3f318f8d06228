"""The rules of the gallery: what each fact on the `gallery` log changes, or why it changes nothing.

The matcher (in memory, with templates) and the registry (in SQL, without) fold the same log and must never disagree,
so both ask `plan` and only carry out what it returns. Pure: no clock, no log, no store.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from shared.biometrics import Quality
from shared.events import (
    Conflict,
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Enrol,
    GalleryEvent,
    PersonRemoved,
    PersonsMerged,
    ReferenceEnrolled,
    Repeated,
    Unknown,
)


class Key(NamedTuple):
    """An encounter's name: its id is unique within its person only (OSIA)."""

    person_id: str
    encounter_id: str


@dataclass(frozen=True, slots=True)
class Encounter:
    """What is known of an encounter, but for its templates."""

    key: Key
    galleries: tuple[str, ...]
    active: bool
    body_digest: str
    request_id: str
    """The request that enrolled its present content: whose answer a re-send gets."""
    created_at: datetime
    updated_at: datetime
    document: str = field(default="{}", repr=False)
    """Compact JSON of the OSIA encounter as sent, without pictures."""
    qualities: tuple[Quality, ...] = field(default=(), repr=False)


# ---- what `plan` may ask for


@dataclass(frozen=True, slots=True)
class Put:
    """A new encounter, or new content of an old one: with the templates of the event."""

    encounter: Encounter


@dataclass(frozen=True, slots=True)
class Update:
    """Other facts about an encounter whose templates stay; `key` is its name before, `encounter.key` after."""

    key: Key
    encounter: Encounter


@dataclass(frozen=True, slots=True)
class Drop:
    key: Key


Change = Put | Update | Drop
Refusal = Repeated | Conflict | Unknown


class Known(Protocol):
    """What `plan` needs to know of the state it is about."""

    def encounter(self, key: Key) -> Encounter | None: ...

    def encounters_of(self, person_id: str) -> Sequence[Encounter]:
        """Return a person's encounters, active or not, by encounter id; empty for an unknown person."""
        ...


def plan(event: GalleryEvent, known: Known) -> Sequence[Change] | Refusal:
    """Say what the event changes (in order), or why it changes nothing. Idempotence by event id is the caller's."""
    match event:
        case ReferenceEnrolled():
            return _enrolled(event, known)
        case EncounterRemoved(person_id=person_id, encounter_id=encounter_id):
            key = Key(person_id, encounter_id)
            return [Drop(key)] if known.encounter(key) else _no_encounter(key)
        case PersonRemoved(person_id=person_id):
            return [Drop(e.key) for e in known.encounters_of(person_id)] or _no_person(person_id)
        case EncounterMoved(source_id=source, target_id=target, encounter_id=encounter_id):
            encounter = known.encounter(Key(source, encounter_id))
            if encounter is None:
                return _no_encounter(Key(source, encounter_id))
            return _carry([encounter], target, event.request.received_at, known)
        case PersonsMerged(source_id=source, target_id=target):
            moved = known.encounters_of(source)
            return _carry(moved, target, event.request.received_at, known) if moved else _no_person(source)
        case EncounterActivated(active=active):
            return _updated(event, known, lambda e: replace(e, active=active))
        case EncounterRefiled(galleries=galleries):
            return _updated(event, known, lambda e: replace(e, galleries=galleries))


def _enrolled(event: ReferenceEnrolled, known: Known) -> Sequence[Change] | Refusal:
    enrol, request = event.enrol, event.request
    key = Key(enrol.person_id, enrol.encounter_id)
    present = known.encounter(key)
    if present is not None and present.body_digest == enrol.body_digest and not _restores(enrol, present):
        return Repeated(present.request_id)
    if present is not None and not enrol.replaces:
        return Conflict(
            f"encounter {key.encounter_id} of person {key.person_id} exists with other content; "
            "send it under another encounterId, or replace it with PUT"
        )
    if present is None and enrol.replaces:
        return _no_encounter(key)
    return [
        Put(
            Encounter(
                key=key,
                galleries=enrol.galleries,
                active=enrol.active,
                body_digest=enrol.body_digest,
                request_id=request.request_id,
                created_at=present.created_at if present else request.received_at,
                updated_at=request.received_at,
                document=json.dumps(enrol.document, separators=(",", ":"), ensure_ascii=False),
                qualities=event.qualities,
            )
        )
    ]


def _restores(enrol: Enrol, present: Encounter) -> bool:
    """Tell a replacement that takes back a change of status or galleries from one that was only sent twice."""
    return enrol.replaces and (enrol.active, enrol.galleries) != (present.active, present.galleries)


def _carry(moved: Sequence[Encounter], target: str, at: datetime, known: Known) -> Sequence[Change] | Refusal:
    if not known.encounters_of(target):
        return _no_person(target)
    for encounter in moved:
        if known.encounter(Key(target, encounter.key.encounter_id)):
            return Conflict(
                f"person {target} has an encounter {encounter.key.encounter_id} already; nothing was changed"
            )
    return [Update(e.key, replace(e, key=Key(target, e.key.encounter_id), updated_at=at)) for e in moved]


class _Edit(Protocol):
    def __call__(self, encounter: Encounter, /) -> Encounter: ...


def _updated(event: EncounterActivated | EncounterRefiled, known: Known, edit: _Edit) -> Sequence[Change] | Refusal:
    key = Key(event.person_id, event.encounter_id)
    encounter = known.encounter(key)
    if encounter is None:
        return _no_encounter(key)
    return [Update(key, replace(edit(encounter), updated_at=event.request.received_at))]


def _no_encounter(key: Key) -> Unknown:
    return Unknown(f"person {key.person_id} has no encounter {key.encounter_id}")


def _no_person(person_id: str) -> Unknown:
    return Unknown(f"there is no person {person_id}")
