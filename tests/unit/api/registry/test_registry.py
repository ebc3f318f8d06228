"""The registry, on both databases: it is the fold of the log, however that is cut up, repeated or interrupted."""

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from services.api.registry import Registry
from services.api.tables import RegistryMisfit, RegistryUnavailable
from services.match.bootstrap import replay
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.biometrics import Candidate
from shared.calibration import Comparator
from shared.encounters import Key
from shared.envelope import encode
from shared.events import (
    Changed,
    DeadLettered,
    Decided,
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Enrolled,
    GalleryEvent,
    Outcome,
    PersonRemoved,
    PersonsMerged,
    Refused,
)
from shared.log import Record
from shared.topics import Entry, Name
from tests.unit.api.registry.conftest import new_postgres
from tests.unit.api.registry.facts import COMPARATOR, START, append, decided, enrolled, new_log, on_log, request

PEOPLE = ("p", "q", "Q")


def _decisions(*events: Decided, first: int = 0, partition: int = 0) -> Sequence[tuple[Record, Decided]]:
    return [(Record(Name.DECISIONS, partition, first + i, b"", b""), event) for i, event in enumerate(events)]


def _gallery_events(number: int) -> st.SearchStrategy[GalleryEvent]:
    """The `number`th fact of a log: few names, so that they meet."""
    person, encounter = st.sampled_from(PEOPLE), st.sampled_from(("e", "f"))
    galleries = st.sampled_from((("g",), ("h", "g"), ("i",)))
    about = st.just(request(f"r{number}", START + timedelta(seconds=number)))
    return st.one_of(
        st.builds(
            enrolled,
            st.just(f"c{number}"),
            person,
            encounter,
            digest=st.sampled_from("abc"),
            galleries=galleries,
            replaces=st.sampled_from((False, False, True)),
            active=st.sampled_from((True, True, False)),
            models=st.sampled_from((("m",), ("m", "m"), ("m",), ("other",), ("m", "other"), ())),
            dimension=st.sampled_from((2, 2, 2, 3)),
            length=st.sampled_from((1.0, 1.0, 1.0, 0.0)),
        ),
        st.builds(EncounterRemoved, about, person, encounter),
        st.builds(PersonRemoved, about, person),
        st.builds(EncounterMoved, about, person, person, encounter),
        st.builds(PersonsMerged, about, person, person),
        st.builds(EncounterActivated, about, person, encounter, st.booleans()),
        st.builds(EncounterRefiled, about, person, encounter, galleries),
    )


@st.composite
def _logs(draw: st.DrawFn) -> list[GalleryEvent | None]:
    """A log of the gallery: facts, copies of earlier facts, and records that are none."""
    records: list[GalleryEvent | None] = []
    for number in range(draw(st.integers(1, 25))):
        facts = [e for e in records if e is not None]
        choice = draw(st.integers(0, 9))
        if choice == 0:
            records.append(None)
        elif choice <= 2 and facts:
            records.append(draw(st.sampled_from(facts)))
        else:
            records.append(draw(_gallery_events(number)))
    return records


def _matcher_after(records: Sequence[GalleryEvent | None]) -> Gallery:
    """What the matcher itself makes of that log."""
    log = new_log()
    for event in records:
        if event is None:
            log.append([Entry(Name.GALLERY, b"", b"no event")])
        else:
            append(log, event)
    matcher = Matcher(Gallery(COMPARATOR), Policy())
    replay(log, matcher)
    return matcher.gallery


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=_logs(), data=st.data())
def test_the_registry_is_what_the_matcher_is_whatever_the_batches_repeats_and_restarts(
    records: list[GalleryEvent | None], data: st.DataObject, url: str
) -> None:
    """One database, emptied for each example: a rebuild from nothing is part of what is claimed."""
    with closing(Registry(url, COMPARATOR)) as registry:
        registry.begin_rebuild("log")
        registry.end_rebuild()
    at = 0
    while at < len(records):
        with closing(Registry(url, COMPARATOR)) as registry:
            for _ in range(2):
                begin = max(0, at - data.draw(st.integers(0, 3)))
                at = min(len(records), at + data.draw(st.sampled_from((8, 3, 1))))
                registry.apply_gallery(on_log(*records[begin:at], first=begin), {0: begin})

    gallery = _matcher_after(records)
    everybody = [e for person in sorted(PEOPLE) for e in gallery.encounters_of(person)]
    with closing(Registry(url, COMPARATOR)) as registry:
        for person in PEOPLE:
            assert list(registry.encounters_of(person)) == list(gallery.encounters_of(person))
        assert list(registry.gallery_content("ALL", 0, 100)) == [e.key for e in everybody]
        for name in "ghi":
            assert list(registry.gallery_content(name, 0, 100)) == [e.key for e in everybody if name in e.galleries]
            assert registry.gallery_known(name) == gallery.knows_gallery(name)
        assert registry.active_count() == gallery.count(["ALL"])
        assert registry.positions(Name.GALLERY) == {0: len(records)}


def test_an_encounter_comes_back_as_it_was_planned(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    registry.apply_gallery(on_log(enrolled("c-1", "p", galleries=("z", "a"))))

    encounter = registry.encounter(Key("p", "e"))

    assert encounter is not None
    assert (encounter.galleries, encounter.active, encounter.body_digest) == (("z", "a"), True, "d")
    assert encounter.document == '{"name":"გიორგი \\u0000 \'x\'"}'
    assert encounter.created_at == START + timedelta(minutes=3)
    assert encounter.created_at.utcoffset() == timedelta(0)
    assert [q.score for q in encounter.qualities] == [71]
    assert registry.encounter(Key("p", "nobody's")) is None
    registry.close()


def test_references_that_the_matcher_puts_aside_are_left_out(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    foreign = [
        enrolled("c-2", "other-model", models=("n",)),
        enrolled("c-3", "other-size", dimension=3),
        enrolled("c-4", "two-models", models=("m", "n")),
        enrolled("c-5", "no-templates", models=()),
        enrolled("c-6", "no-face", length=0.0),
    ]

    registry.apply_gallery(on_log(enrolled("c-1", "p"), *foreign))

    assert list(registry.gallery_content("ALL", 0, 9)) == [Key("p", "e")]
    registry.close()


def test_a_copy_of_what_was_refused_is_refused_also_when_it_would_be_taken_now(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    late = enrolled("c-2", "p", digest="other")
    registry.apply_gallery(on_log(enrolled("c-1", "p"), late))

    registry.apply_gallery(on_log(PersonRemoved(request("r-3"), "p"), late, first=2))

    assert not registry.encounters_of("p")
    registry.close()


def test_names_of_the_greatest_length_and_any_digest_are_taken(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    long = "𐊀" * 200
    registry.apply_gallery(on_log(enrolled("c-1", long, long, galleries=(long,), digest="\x00")))

    assert list(registry.gallery_content(long, 0, 1)) == [Key(long, long)]
    registry.close()


def test_pages_of_a_gallery_are_ordered_by_code_point_and_all_holds_each_encounter_once(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    names = ["b", "B", "a b", "ab", "é", "𐊀", "~"]
    registry.apply_gallery(on_log(*(enrolled(f"c-{n}", n, galleries=("g", "h")) for n in names)))

    pages = [registry.gallery_content("ALL", offset, 3) for offset in (0, 3, 6, 9)]

    assert [key.person_id for page in pages for key in page] == sorted(names)
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert list(registry.gallery_content("g", 2, 2)) == [Key(n, "e") for n in sorted(names)[2:4]]
    registry.close()


def test_an_emptied_gallery_stays_known(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    registry.apply_gallery(
        on_log(
            enrolled("c-1", "p"),
            EncounterRefiled(request("r-2"), "p", "e", ("h",)),
            PersonRemoved(request("r-3"), "p"),
        )
    )

    assert list(registry.galleries()) == ["g", "h"]
    assert list(registry.gallery_content("g", 0, 10)) == []
    assert registry.gallery_known("g")
    assert registry.gallery_known("ALL")
    assert not registry.gallery_known("i")
    registry.close()


def test_a_batch_that_leaves_records_out_is_refused_and_changes_nothing(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    registry.apply_gallery(on_log(enrolled("c-1", "p")))

    with pytest.raises(RegistryMisfit, match="only what is before 1 was applied"):
        registry.apply_gallery(on_log(enrolled("c-3", "q"), first=2))

    assert registry.positions(Name.GALLERY) == {0: 1}
    assert not registry.encounters_of("q")
    registry.close()


def test_a_gap_between_offsets_that_the_reader_crossed_is_none_to_the_registry(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    registry.apply_gallery(on_log(enrolled("c-1", "p")))

    registry.apply_gallery(on_log(enrolled("c-3", "q"), first=2), {0: 1})

    assert registry.positions(Name.GALLERY) == {0: 3}
    registry.close()


def test_two_processes_that_follow_at_once_apply_each_record_once(url: str) -> None:
    total = 40
    first, second = Registry(url, COMPARATOR), Registry(url, COMPARATOR)
    errors: list[BaseException] = []

    def run(registry: Registry) -> None:
        try:
            for n in range(total):
                registry.apply_gallery(on_log(enrolled(f"c-{n}", f"p{n}"), first=n))
                registry.apply_decisions(_decisions(decided(f"c-{n}", Refused(())), first=n, partition=n % 2), {})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(r,)) for r in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert first.active_count() == total
    assert len(second.gallery_content("g", 0, 100)) == total
    assert dict(first.outcome_counts()) == {"refused": total}
    first.close()
    second.close()


def test_a_decision_is_stored_and_counted_once_and_told_back_as_it_was(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    original = decided("c-1", Enrolled("p", "e", (Candidate("q", "e", 41.5, ("g",)),), 1), as_of=7)

    first = registry.apply_decisions(_decisions(original))
    again = registry.apply_decisions(_decisions(replace(original, gallery_count=9), first=1))

    assert list(first) == [original]
    assert list(again) == []
    assert registry.decided("c-1") == original
    assert registry.decided("c-2") is None
    assert dict(registry.outcome_counts()) == {"enrolled_suspect": 1}
    registry.close()


def test_captures_are_counted_by_outcome_and_other_requests_are_not(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    named = (Candidate("q", "e", 41.5),)
    outcomes: list[Outcome] = [
        Enrolled("p", "e"),
        Enrolled("p", "e", named, 1),
        Enrolled("p", "e", named, 2),
        Refused(()),
    ]
    registry.apply_decisions(
        _decisions(*(decided(f"c-{n}", o) for n, o in enumerate(outcomes)), decided("r-9", Changed()))
    )

    assert dict(registry.outcome_counts()) == {
        "enrolled_unique": 1,
        "enrolled_suspect": 1,
        "too_many_candidates": 1,
        "refused": 1,
    }
    assert registry.decided("r-9") is not None
    registry.close()


def test_a_capture_that_ends_as_a_dead_letter_is_counted_once(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    reference = encode(enrolled("c-5", "p"))
    letters = [
        DeadLettered("captures-bulk", 3, 17, "why", b"", b"no event"),
        DeadLettered("captures-bulk", 3, 17, "why", b"", b"no event"),
        DeadLettered("captures-urgent", 3, 17, "why", b"", b"no event"),
        DeadLettered("gallery", 0, 4, "another model", b"", reference),
        DeadLettered("gallery", 0, 5, "another model", b"", reference),
        DeadLettered("gallery", 0, 6, "no event", b"", b"no event"),
        DeadLettered("probes", 0, 6, "no templates", b"", encode(PersonRemoved(request("r-6"), "p"))),
    ]
    records = [(Record(Name.DEAD_LETTERS, 0, i, b"", b""), letter) for i, letter in enumerate(letters)]

    registry.apply_dead_letters(records[:1])
    registry.apply_dead_letters(records[1:])

    assert dict(registry.outcome_counts()) == {"dead_letter": 3}
    registry.close()


def test_old_decisions_are_forgotten_and_their_counts_are_not(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    old = [decided(f"c-{n}", Refused(())) for n in range(1_001)]
    registry.apply_decisions(_decisions(*old, decided("c-new", Refused(()), at=START + timedelta(days=1))))

    assert registry.forget_before(START + timedelta(hours=1)) == 1_001

    assert registry.decided("c-1") is None
    assert registry.decided("c-new") is not None
    assert dict(registry.outcome_counts()) == {"refused": 1_002}
    registry.close()


def test_moments_from_other_zones_and_the_ends_of_time_are_kept_in_utc(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    east = datetime.fromisoformat("2026-11-22T14:00:00+04:00")
    ends = [datetime.fromisoformat("0001-01-01T00:00:00+05:00"), datetime.fromisoformat("9999-12-31T23:59:59-05:00")]
    events = [enrolled(f"c-{n}", f"p{n}") for n in range(3)]
    moments = [east, *ends]
    registry.apply_gallery(
        on_log(*(replace(e, request=replace(e.request, received_at=at)) for e, at in zip(events, moments, strict=True)))
    )

    found = registry.encounter(Key("p0", "e"))

    assert found is not None
    assert found.created_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert registry.encounters_of("p1")
    assert registry.encounters_of("p2")
    registry.close()


def test_another_log_is_refused_and_told_how_to_go_on(url: str) -> None:
    registry = Registry(url, COMPARATOR)
    registry.adopt({Name.GALLERY: "one", Name.DECISIONS: "one"})
    registry.apply_decisions(_decisions(decided("c-1")))

    with pytest.raises(RegistryMisfit, match="eyni log adopt"):
        registry.adopt({Name.GALLERY: "two"})

    assert list(registry.adopt({Name.GALLERY: "one", Name.DECISIONS: "two"})) == [Name.DECISIONS]
    assert registry.positions(Name.DECISIONS) == {}
    registry.close()


def test_references_taken_by_another_rule_are_not_gone_on_with_but_rebuilt(url: str) -> None:
    with closing(Registry(url, COMPARATOR)) as registry:
        registry.adopt({Name.GALLERY: "one"})
        registry.apply_gallery(on_log(enrolled("c-1", "p")))
    stricter = COMPARATOR.calibration.gate.model_copy(update={"distance": 2.0})
    recalibrated = Comparator(COMPARATOR.calibration.model_copy(update={"gate": stricter}))

    with closing(Registry(url, recalibrated)) as registry:
        with pytest.raises(RegistryMisfit, match=r"another calibration.*eyni registry rebuild"):
            registry.adopt({Name.GALLERY: "one"})
        registry.begin_rebuild("one")
        registry.end_rebuild()
        registry.adopt({Name.GALLERY: "one"})
        registry.apply_gallery(on_log(enrolled("c-1", "p")))
        assert registry.active_count() == 0

    with closing(Registry(url, COMPARATOR)) as registry, pytest.raises(RegistryMisfit):
        registry.adopt({Name.GALLERY: "one"})


def test_before_anybody_is_enrolled_the_model_may_still_be_chosen(url: str) -> None:
    with closing(Registry(url, COMPARATOR)) as registry:
        registry.adopt({Name.GALLERY: "one"})
        registry.apply_gallery([])
    other = Comparator(COMPARATOR.calibration.model_copy(update={"model": "another"}))
    with closing(Registry(url, other)) as registry:
        registry.adopt({Name.GALLERY: "one"})
        registry.apply_gallery(on_log(enrolled("c-1", "p")))
    with closing(Registry(url, COMPARATOR)) as registry, pytest.raises(RegistryMisfit, match="another model"):
        registry.adopt({Name.GALLERY: "one"})


def test_another_score_table_takes_the_same_references(url: str) -> None:
    with closing(Registry(url, COMPARATOR)) as registry:
        registry.adopt({Name.GALLERY: "one"})
    other = COMPARATOR.calibration.model_copy(update={"table": ((-0.4, 0.0), (-0.2, 40.0))})
    with closing(Registry(url, Comparator(other))) as registry:
        registry.adopt({Name.GALLERY: "one"})


def test_tables_of_a_later_version_are_refused(url: str) -> None:
    Registry(url, COMPARATOR).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE meta SET value = :two WHERE name = 'schema'"), {"two": b"2"})
    engine.dispose()

    with pytest.raises(RegistryMisfit, match="version 2; this Eyni knows version 1"):
        Registry(url, COMPARATOR)


@pytest.mark.parametrize("address", ["nonsense", "sqlite://", "mysql://secret@host/name"])
def test_an_address_that_cannot_hold_a_registry_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(RegistryMisfit, match="EYNI_REGISTRY") as refusal:
        Registry(address, COMPARATOR)
    assert "secret" not in str(refusal.value)


@pytest.mark.postgres
def test_a_postgresql_database_that_cannot_hold_every_name_is_refused(postgres: str) -> None:
    with pytest.raises(RegistryMisfit, match="ENCODING 'UTF8'"):
        Registry(new_postgres(postgres, "SQL_ASCII"), COMPARATOR)


@pytest.mark.postgres
def test_a_database_that_went_away_is_unavailable_and_comes_back(postgres: str) -> None:
    url = new_postgres(postgres)
    registry = Registry(url, COMPARATOR)
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        Registry(url.replace(postgres, "/nowhere"), COMPARATOR)
    registry.adopt({Name.GALLERY: "one"})
    with pytest.raises(RegistryUnavailable), registry.engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert registry.active_count() == 0
    registry.close()


def test_an_unusable_file_is_told_by_name_and_holds_no_row_in_its_error(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}", COMPARATOR)
    with registry.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE encounters")

    with pytest.raises(RegistryUnavailable) as problem:
        registry.encounters_of("a name")

    assert "a name" not in str(problem.value)
    registry.close()


@pytest.mark.parametrize("kept", [0, 100, 4096 * 2], ids=["all", "all but its beginning", "all but its first pages"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, kept: int) -> None:
    url, file = f"sqlite:///{tmp_path}/registry.sqlite", tmp_path / "registry.sqlite"
    with closing(Registry(url, COMPARATOR)) as registry:
        registry.adopt(dict.fromkeys(Name, "a log"))
    whole = file.read_bytes()
    file.write_bytes(whole[:kept] + b"damage" * ((len(whole) - kept) // 6))

    def use() -> None:
        with closing(Registry(url, COMPARATOR)) as registry:
            registry.followed()
            registry.begin_rebuild("a log")

    with pytest.raises(RegistryMisfit, match=r"damaged .*move its file .*eyni registry rebuild"):
        use()
