"""What the api reads back: encounters, galleries and decisions, in a database that follows the log (design.md).

Everything here but the tasks is derived from the log, and can be rebuilt from it. Each batch of records is applied in
one transaction with its positions, so any number of api processes may follow into one PostgreSQL: who comes second
with a record finds the position beyond it, and leaves it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select, update

from services.api.outcomes import DEAD_LETTER, dead_capture, is_capture, label
from services.api.registry_gallery import ACTIVE, GALLERY_FAMILY, count, fold, read_encounters
from services.api.tables import (
    RegistryMisfit,
    applied,
    counters,
    dead_letters,
    decisions,
    encounters,
    filings,
    galleries,
    insert_or_ignore,
    meta,
    open_engine,
    positions,
    writing,
)
from shared.acceptance import rule
from shared.biometrics import ALL_GALLERIES
from shared.calibration import Comparator
from shared.encounters import Encounter, Key
from shared.envelope import decode, encode
from shared.events import DeadLettered, Decided, GalleryEvent
from shared.log import Record
from shared.topics import Name

OUTCOME_FAMILY: Final = "outcome"

_PURGE: Final = 1_000
"""Decisions forgotten in one transaction: short enough that nobody waits for it."""

_RULE: Final = "acceptance"

_REBUILD: Final = "rebuild it from the log with `eyni registry rebuild`, with every api stopped"

ADOPT: Final = (
    "restore the log, or choose the right one (EYNI_LOG, EYNI_DATA, EYNI_REGISTRY); if this log is to be believed, "
    "though it lacks people whom the registry knows: `eyni log adopt`"
)
"""What to do where the log is another than the one followed, or holds less: a rebuild would clear whom it lacks."""

_E = TypeVar("_E")


@dataclass(frozen=True, slots=True)
class Followed:
    """How far a registry is in which gallery log, and how many encounters it holds."""

    log: str
    position: int
    encounters: int

    def in_words(self) -> str:
        """Say it in a line for the operator."""
        return f"{self.encounters} encounters at position {self.position} of log {self.log} (registry)"


class Registry:
    """Encounters (`shared.encounters.Known`), galleries, decisions and counts. Every method from any thread.

    Every method raises RegistryUnavailable while the database does not answer.
    """

    def __init__(self, url: str, comparator: Comparator) -> None:
        """Open (and create) the registry at a SQLAlchemy URL. Raises RegistryMisfit where it cannot be used.

        `comparator` says which references are taken (`shared.acceptance`), as the matcher's does.
        """
        self.engine = open_engine(url)
        self._comparator = comparator
        self._rebuilds = False

    def close(self) -> None:
        self.engine.dispose()

    # ---- encounters and galleries

    def encounter(self, key: Key) -> Encounter | None:
        with self.engine.begin() as connection:
            found = read_encounters(
                connection, encounters.c.person_id == key.person_id, encounters.c.encounter_id == key.encounter_id
            )
        return found[0] if found else None

    def encounters_of(self, person_id: str) -> Sequence[Encounter]:
        """Return a person's encounters, by encounter id; empty for an unknown person."""
        with self.engine.begin() as connection:
            return read_encounters(connection, encounters.c.person_id == person_id)

    def galleries(self) -> Sequence[str]:
        """Return every gallery ever used, sorted."""
        with self.engine.begin() as connection:
            return connection.execute(select(galleries.c.gallery).order_by(galleries.c.gallery)).scalars().all()

    def gallery_known(self, gallery: str) -> bool:
        """Tell whether a gallery was ever used; ALL always is."""
        with self.engine.begin() as connection:
            found = connection.execute(select(galleries.c.gallery).where(galleries.c.gallery == gallery)).first()
        return gallery == ALL_GALLERIES or found is not None

    def gallery_content(self, gallery: str, offset: int, limit: int) -> Sequence[Key]:
        """Return a page of the encounters (active or not) in a gallery or ALL, by person and encounter."""
        table = encounters if gallery == ALL_GALLERIES else filings
        order = (table.c.person_id, table.c.encounter_id)
        page = select(*order).order_by(*order).offset(offset).limit(limit)
        if table is filings:
            page = page.where(filings.c.gallery == gallery)
        with self.engine.begin() as connection:
            return [Key(person, encounter) for person, encounter in connection.execute(page)]

    def active_count(self) -> int:
        """Return how many encounters are active: what the matcher reports as `gallery_count`."""
        return self._counts(GALLERY_FAMILY).get(ACTIVE, 0)

    # ---- decisions

    def decided(self, request_id: str) -> Decided | None:
        """Return the decision on a request: None before it is read from the log, and weeks later again."""
        with self.engine.begin() as connection:
            value = connection.execute(
                select(decisions.c.decided).where(decisions.c.request_id == request_id)
            ).scalar_one_or_none()
        if value is None:
            return None
        event = decode(bytes(value))
        assert isinstance(event, Decided)  # nothing else is ever stored there
        return event

    def outcome_counts(self) -> Mapping[str, int]:
        """Return how many captures ended how (`services.api.outcomes`), since the log's beginning (I18)."""
        return self._counts(OUTCOME_FAMILY)

    def forget_before(self, moment: datetime) -> int:
        """Forget decisions on requests received before a moment, and return how many. Their counts stay."""
        forgotten = 0
        old = select(decisions.c.request_id).where(decisions.c.received_at < moment).limit(_PURGE)
        while True:
            with writing(self.engine) as connection:
                some = connection.execute(delete(decisions).where(decisions.c.request_id.in_(old))).rowcount
            forgotten += some
            if some < _PURGE:
                return forgotten

    # ---- following the log

    def positions(self, topic: Name) -> dict[int, int]:
        """Return the next offset of each partition of which anything was applied."""
        with self.engine.begin() as connection:
            rows = connection.execute(select(positions.c.partition, positions.c.next).where(positions.c.topic == topic))
            return dict(rows.all())

    def apply_gallery(
        self, records: Sequence[tuple[Record, GalleryEvent | None]], since: Mapping[int, int] | None = None
    ) -> None:
        """Fold a batch into the encounters, unless it is there already.

        None stands for a record that is no event (a dead letter of the matcher's): its offset counts, nothing else.
        `since` is where the reader was before the batch (else: at its first record). A batch that leaves out records
        which were never applied raises RegistryMisfit.
        """
        with writing(self.engine) as connection:
            fold(connection, self._advance(connection, Name.GALLERY, records, since), self._comparator)

    def apply_decisions(
        self, records: Sequence[tuple[Record, Decided | None]], since: Mapping[int, int] | None = None
    ) -> Sequence[Decided]:
        """Store a batch of decisions, and return those that are new; see `apply_gallery`."""
        with writing(self.engine) as connection:
            new: dict[str, Decided] = {}
            for decided in self._advance(connection, Name.DECISIONS, records, since):
                new.setdefault(decided.request.request_id, decided)
            known = select(decisions.c.request_id).where(decisions.c.request_id.in_(list(new)))
            for request_id in connection.execute(known).scalars().all():
                del new[request_id]
            if new:
                rows = [
                    {
                        "request_id": request_id,
                        "received_at": decided.request.received_at,
                        "as_of": decided.as_of,
                        "decided": encode(decided),
                    }
                    for request_id, decided in new.items()
                ]
                connection.execute(insert_or_ignore(connection, decisions), rows)
            captures = [label(decided) for request_id, decided in new.items() if is_capture(request_id)]
            count(connection, OUTCOME_FAMILY, Counter(captures))
        return list(new.values())

    def apply_dead_letters(
        self, records: Sequence[tuple[Record, DeadLettered | None]], since: Mapping[int, int] | None = None
    ) -> None:
        """Count the captures that ended as dead letters, each once; see `apply_gallery`."""
        with writing(self.engine) as connection:
            letters = self._advance(connection, Name.DEAD_LETTERS, records, since)
            sources = {source for letter in letters if (source := dead_capture(letter)) is not None}
            known = select(dead_letters.c.source).where(dead_letters.c.source.in_(sources))
            new = sources.difference(connection.execute(known).scalars())
            if new:
                rows = [{"source": source} for source in sorted(new)]
                connection.execute(insert_or_ignore(connection, dead_letters), rows)
            count(connection, OUTCOME_FAMILY, {DEAD_LETTER: len(new)})

    def adopt(self, identities: Mapping[Name, str]) -> Sequence[Name]:
        """Check that the log's topics are those followed so far, and remember them where nothing was followed.

        Returns the topics that were made anew since: they are followed from their start now. Of `gallery` that is not
        taken, for its state would be of two logs: RegistryMisfit; also while a rebuild is unfinished, and where
        references were taken by another rule (another model, or another gate of its calibration).
        """
        anew: list[Name] = []
        taken_by = rule(self._comparator)
        with writing(self.engine) as connection:
            rows = [{"name": _identity(topic), "value": identity} for topic, identity in identities.items()]
            rows.append({"name": _RULE, "value": taken_by})
            connection.execute(insert_or_ignore(connection, meta), rows)
            known = dict(connection.execute(select(meta.c.name, meta.c.value)).all())
            if "rebuilding" in known and not self._rebuilds:
                raise RegistryMisfit(f"the registry's last rebuild was broken off: {_REBUILD}")
            if known[_RULE] != taken_by:
                followed = select(positions.c.next).where(positions.c.topic == Name.GALLERY, positions.c.next > 0)
                if connection.execute(followed).first() is not None:
                    raise RegistryMisfit(
                        f"the registry was made with another model, or another calibration: {_REBUILD}"
                    )
                # Nobody was enrolled yet: the model may still be chosen.
                connection.execute(update(meta).where(meta.c.name == _RULE).values(value=taken_by))
            for topic, identity in identities.items():
                if known[_identity(topic)] != identity:
                    if topic == Name.GALLERY:
                        raise RegistryMisfit(f"the registry follows another log than this one: {ADOPT}")
                    connection.execute(update(meta).where(meta.c.name == _identity(topic)).values(value=identity))
                    connection.execute(delete(positions).where(positions.c.topic == topic))
                    anew.append(topic)
        return anew

    def reposition(self, topic: Name, moves: Mapping[int, tuple[int, int]]) -> None:
        """Go on elsewhere: for each partition (from, to); one that has moved on from `from` meanwhile stays there."""
        with writing(self.engine) as connection:
            self._locked(connection, topic, sorted(moves))
            for partition, (source, target) in sorted(moves.items()):
                connection.execute(
                    update(positions)
                    .where(positions.c.topic == topic, positions.c.partition == partition, positions.c.next == source)
                    .values(next=target)
                )

    # ---- rebuilding

    def followed(self) -> Followed | None:
        """Return what was followed of the gallery log; None where that is nothing.

        A rebuild that was broken off has forgotten how much it was: it counts as much as the log that it reads.
        """
        with self.engine.begin() as connection:
            known = dict(connection.execute(select(meta.c.name, meta.c.value)).all())
            count: int = connection.execute(select(func.count()).select_from(encounters)).scalar_one()
        position = self.positions(Name.GALLERY).get(0, 0)
        identity = known.get("rebuilding") or (known.get(_identity(Name.GALLERY)) if position else None)
        return Followed(identity, position, count) if identity else None

    def begin_rebuild(self, gallery_identity: str) -> None:
        """Empty what is derived from the log. Until `end_rebuild`, no other process may follow.

        Of the same log, decisions and counts stay: they are answers, not a fold, and the log forgets them in weeks.
        """
        with writing(self.engine) as connection:
            # Whoever follows now finishes the batch first, and finds itself beyond the position with the next.
            self._locked(connection, Name.GALLERY, [0])
            known = dict(connection.execute(select(meta.c.name, meta.c.value)).all())
            followed = known.get(_identity(Name.GALLERY), known.get("rebuilding", gallery_identity))
            for table in (encounters, filings, galleries, applied):
                connection.execute(delete(table))
            connection.execute(delete(counters).where(counters.c.family == GALLERY_FAMILY))
            connection.execute(delete(positions).where(positions.c.topic == Name.GALLERY))
            gallery_facts = (_identity(Name.GALLERY), _RULE, "rebuilding")
            connection.execute(delete(meta).where(meta.c.name.in_(gallery_facts)))
            if followed != gallery_identity:
                for table in (decisions, dead_letters, counters, positions):
                    connection.execute(delete(table))
                connection.execute(delete(meta).where(meta.c.name != "schema"))
            connection.execute(meta.insert(), {"name": "rebuilding", "value": gallery_identity})
        self._rebuilds = True

    def end_rebuild(self) -> None:
        with writing(self.engine) as connection:
            connection.execute(delete(meta).where(meta.c.name == "rebuilding"))
        self._rebuilds = False

    # ---- inside

    def _counts(self, family: str) -> dict[str, int]:
        with self.engine.begin() as connection:
            rows = connection.execute(
                select(counters.c.name, counters.c.value).where(counters.c.family == family).order_by(counters.c.name)
            )
            return dict(rows.all())

    def _locked(self, connection: Connection, topic: Name, partitions: Sequence[int]) -> dict[int, int]:
        """Lock positions (made where missing) until the transaction ends, and return them."""
        if not partitions:
            return {}
        rows = [{"topic": topic, "partition": partition, "next": 0} for partition in partitions]
        connection.execute(insert_or_ignore(connection, positions), rows)
        locked = connection.execute(
            select(positions.c.partition, positions.c.next)
            .where(positions.c.topic == topic, positions.c.partition.in_(partitions))
            .order_by(positions.c.partition)
            .with_for_update()
        )
        return dict(locked.all())

    def _advance(
        self,
        connection: Connection,
        topic: Name,
        records: Sequence[tuple[Record, _E | None]],
        since: Mapping[int, int] | None,
    ) -> Sequence[_E]:
        """Move the positions past the batch, and return the events in it that were not applied before."""
        first: dict[int, int] = {}
        until: dict[int, int] = {}
        for record, _ in records:
            first.setdefault(record.partition, record.offset)
            until[record.partition] = record.offset + 1
        present = self._locked(connection, topic, sorted(until))
        for partition, next_offset in present.items():
            begins = first[partition] if since is None else since.get(partition, 0)
            if begins > next_offset:
                raise RegistryMisfit(
                    f"{topic}-{partition}: read from offset {begins}, but only what is before {next_offset} was "
                    "applied; the registry was rebuilt or restored meanwhile. Start this process again"
                )
        moved = [{"t": topic, "p": p, "n": end} for p, end in until.items() if end > present[p]]
        if moved:
            connection.execute(
                update(positions)
                .where(positions.c.topic == bindparam("t"), positions.c.partition == bindparam("p"))
                .values(next=bindparam("n")),
                moved,
            )
        return [event for record, event in records if event is not None and record.offset >= present[record.partition]]


def _identity(topic: Name) -> str:
    return f"identity:{topic}"


def require_whole(followed: int, end: int) -> None:
    """Refuse a gallery log that ends before what was followed of it. `followed`, `end`: next offsets."""
    if followed > end:
        raise RegistryMisfit(
            f"the registry knows {followed} records of the gallery, and the log holds {end}: it was cut short, or "
            f"restored from an older backup; {ADOPT}"
        )
