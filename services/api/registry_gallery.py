"""The gallery's fold in SQL: a batch is loaded at once, folded in memory by `shared.encounters.plan`, written at once.

A statement for each fact would take a minute for 100,000 people; this takes a tenth of it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, bindparam, delete, select, update

from services.api.tables import applied, counters, encounters, filings, galleries, insert_or_ignore
from shared.acceptance import objection
from shared.biometrics import Quality
from shared.calibration import Comparator
from shared.encounters import Drop, Encounter, Key, Put, Update, plan
from shared.envelope import event_id
from shared.events import (
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    GalleryEvent,
    PersonRemoved,
    PersonsMerged,
    ReferenceEnrolled,
)

_QUALITIES: Final = TypeAdapter(tuple[Quality, ...])

_CHUNK: Final = 500
"""Values in one IN (…): far below what either database takes (32,766 and 65,535)."""

GALLERY_FAMILY: Final = "gallery"
ACTIVE: Final = "active"


def fold(connection: Connection, events: Sequence[GalleryEvent], comparator: Comparator) -> None:
    """Apply events in order, inside the caller's transaction, which is the only one that folds at this time.

    References that the matcher puts aside as dead letters are passed over, by the same rule.
    """
    fresh = _unapplied(connection, [event for event in events if _acceptable(event, comparator)])
    batch = _Batch(connection, {person for event in fresh for person in _persons(event)})
    for event in fresh:
        batch.apply(event)
    batch.write(connection)


def read_encounters(connection: Connection, *conditions: Any) -> Sequence[Encounter]:
    """Return the encounters that meet all conditions, by person and encounter."""
    found = connection.execute(
        select(encounters).where(*conditions).order_by(encounters.c.person_id, encounters.c.encounter_id)
    )
    return [_encounter(row) for row in found]


class _Batch:
    """The encounters of some people (`shared.encounters.Known`), before and after."""

    def __init__(self, connection: Connection, persons: set[str]) -> None:
        self._people: dict[str, dict[str, Encounter]] = {person: {} for person in persons}
        for chunk in _chunks(sorted(persons)):
            for encounter in read_encounters(connection, encounters.c.person_id.in_(chunk)):
                self._people[encounter.key.person_id][encounter.key.encounter_id] = encounter
        self._before = self._all()
        self._galleries: set[str] = set()

    def encounter(self, key: Key) -> Encounter | None:
        return self._people[key.person_id].get(key.encounter_id)

    def encounters_of(self, person_id: str) -> Sequence[Encounter]:
        known = self._people[person_id]
        return [known[encounter_id] for encounter_id in sorted(known)]

    def apply(self, event: GalleryEvent) -> None:
        planned = plan(event, self)
        if not isinstance(planned, Sequence):
            return  # a refusal: the matcher tells the caller
        for change in planned:
            match change:
                case Put(encounter=encounter):
                    self._put(encounter)
                case Update(key=key, encounter=encounter):
                    self._drop(key)
                    self._put(encounter)
                case Drop(key=key):
                    self._drop(key)

    def write(self, connection: Connection) -> None:
        """Carry the difference over into the tables."""
        before, after = self._before, self._all()
        gone = [e for key, e in before.items() if after.get(key) is not e]
        come = [e for key, e in after.items() if before.get(key) is not e]
        _many(connection, _DELETE_ENCOUNTER, [{"p": e.key.person_id, "e": e.key.encounter_id} for e in gone])
        _many(connection, _DELETE_FILING, [{"g": g, "p": p, "e": e} for g, p, e in _filed(gone)])
        _many(connection, encounters.insert(), [_row(e) for e in come])
        rows = [{"gallery": g, "person_id": p, "encounter_id": e} for g, p, e in _filed(come)]
        _many(connection, filings.insert(), rows)
        names = [{"gallery": gallery} for gallery in sorted(self._galleries)]
        _many(connection, insert_or_ignore(connection, galleries), names)
        count(connection, GALLERY_FAMILY, {ACTIVE: sum(e.active for e in come) - sum(e.active for e in gone)})

    def _put(self, encounter: Encounter) -> None:
        self._people[encounter.key.person_id][encounter.key.encounter_id] = encounter
        self._galleries.update(encounter.galleries)

    def _drop(self, key: Key) -> None:
        del self._people[key.person_id][key.encounter_id]

    def _all(self) -> dict[Key, Encounter]:
        return {e.key: e for known in self._people.values() for e in known.values()}


def count(connection: Connection, family: str, increments: dict[str, int]) -> None:
    """Add to counters; in one order everywhere, so that two processes never wait for each other in a circle."""
    for name, increment in sorted(increments.items()):
        if increment:
            row = {"family": family, "name": name, "value": 0}
            connection.execute(insert_or_ignore(connection, counters), row)
            connection.execute(
                update(counters)
                .where(counters.c.family == family, counters.c.name == name)
                .values(value=counters.c.value + increment)
            )


def _acceptable(event: GalleryEvent, comparator: Comparator) -> bool:
    return not isinstance(event, ReferenceEnrolled) or objection(event.templates, comparator) is None


def _unapplied(connection: Connection, events: Sequence[GalleryEvent]) -> Sequence[GalleryEvent]:
    """Leave out copies of what was applied before, or earlier in the batch, and note the rest as applied."""
    by_id: dict[str, GalleryEvent] = {}
    for event in events:
        by_id.setdefault(event_id(event), event)
    for chunk in _chunks(list(by_id)):
        for known in connection.execute(select(applied.c.event_id).where(applied.c.event_id.in_(chunk))).scalars():
            del by_id[known]
    _many(connection, applied.insert(), [{"event_id": identity} for identity in by_id])
    return list(by_id.values())


def _persons(event: GalleryEvent) -> Iterable[str]:
    """Name the people whose encounters `plan` may ask for."""
    match event:
        case ReferenceEnrolled(enrol=enrol):
            return (enrol.person_id,)
        case EncounterMoved() | PersonsMerged():
            return event.source_id, event.target_id
        case EncounterRemoved() | PersonRemoved() | EncounterActivated() | EncounterRefiled():
            return (event.person_id,)


_DELETE_ENCOUNTER: Final = delete(encounters).where(
    encounters.c.person_id == bindparam("p"), encounters.c.encounter_id == bindparam("e")
)
_DELETE_FILING: Final = delete(filings).where(
    filings.c.gallery == bindparam("g"),
    filings.c.person_id == bindparam("p"),
    filings.c.encounter_id == bindparam("e"),
)


def _many(connection: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _filed(some: Iterable[Encounter]) -> Iterator[tuple[str, str, str]]:
    for encounter in some:
        for gallery in sorted(set(encounter.galleries)):
            yield gallery, encounter.key.person_id, encounter.key.encounter_id


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _row(encounter: Encounter) -> dict[str, Any]:
    return {
        "person_id": encounter.key.person_id,
        "encounter_id": encounter.key.encounter_id,
        "galleries": json.dumps(encounter.galleries, ensure_ascii=False),
        "active": encounter.active,
        "body_digest": encounter.body_digest,
        "request_id": encounter.request_id,
        "created_at": encounter.created_at,
        "updated_at": encounter.updated_at,
        "document": encounter.document,
        "qualities": _QUALITIES.dump_json(encounter.qualities).decode(),
    }


def _encounter(row: Row[Any]) -> Encounter:
    return Encounter(
        key=Key(row.person_id, row.encounter_id),
        galleries=tuple(json.loads(row.galleries)),
        active=row.active,
        body_digest=row.body_digest,
        request_id=row.request_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        document=row.document,
        qualities=_QUALITIES.validate_json(row.qualities),
    )
