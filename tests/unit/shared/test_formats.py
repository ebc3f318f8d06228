"""Bytes on the log: every released version stays readable, and the documents say what the code does (I20)."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import describe
from shared.envelope import ADAPTERS, MalformedEvent, UnreadableKey, UnsupportedVersion, decode, encode
from shared.topics import TOPICS
from tests.samples import SAMPLES

GOLDEN = Path(__file__).parents[2] / "golden" / "events"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("v*/*.json")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_events_of_every_released_version_are_read_as_what_they_were(path: Path) -> None:
    assert decode(path.read_bytes()) == SAMPLES[path.stem]


@pytest.mark.parametrize("name", SAMPLES)
def test_todays_bytes_are_those_of_the_newest_golden_file(name: str) -> None:
    newest = max(GOLDEN.glob(f"v*/{name}.json"))
    assert encode(SAMPLES[name]) == newest.read_bytes()


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_written_is_what_its_schema_says(name: str) -> None:
    event = SAMPLES[name]
    jsonschema.validate(json.loads(encode(event)), describe.schema(type(event).__name__))


@pytest.mark.parametrize("name", SAMPLES)
def test_an_envelope_with_its_fields_in_another_order_and_spacing_is_the_same_event(name: str) -> None:
    event = SAMPLES[name]
    shuffled = dict(sorted(json.loads(encode(event)).items()))
    assert decode(json.dumps(shuffled, indent=2).encode()) == event


@pytest.mark.parametrize("name", SAMPLES)
def test_fields_that_follow_the_data_do_no_harm(name: str) -> None:
    envelope = json.loads(encode(SAMPLES[name]))
    source = envelope.pop("source")
    compact = json.dumps({**envelope, "source": source}, separators=(",", ":"), ensure_ascii=False)
    assert decode(compact.encode()) == SAMPLES[name]
    assert decode(encode(SAMPLES[name]) + b" \n") == SAMPLES[name]


def test_the_schemas_and_the_asyncapi_document_in_the_repository_are_those_of_the_code() -> None:
    for path, content in describe.files().items():
        assert path.read_text() == content, f"run: python -m deploy.describe  ({path.name} is old)"


def test_the_asyncapi_document_names_every_topic_and_every_event() -> None:
    assert set(describe.CONTENTS) == set(TOPICS)
    assert {event for _, _, events in describe.CONTENTS.values() for event in events} == set(ADAPTERS)


BASE = json.loads(encode(SAMPLES["encounter-removed"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"type": None}, "type must be text"),
        ({"type": "eyni.Nonsense.v1"}, "names no event"),
        ({"type": "other.EncounterRemoved.v1"}, "starts with"),
        ({"data": None}, "EncounterRemoved"),
        ({"data": {}}, "EncounterRemoved: request: Field required"),
        ({"id": "another"}, "id must be"),
        ({"data": BASE["data"] | {"person_id": ""}}, "person_id"),
        ({"data": BASE["data"] | {"person_id": "a/b"}}, "person_id"),
        ({"data": BASE["data"] | {"person_id": "x" * 201}}, "person_id"),
        ({"data": BASE["data"] | {"person_id": 7}}, "person_id"),
        ({"data": BASE["data"] | {"extra": 1}}, "extra"),
        *(
            ({"data": BASE["data"] | {"request": BASE["data"]["request"] | {"received_at": moment}}}, "received_at")
            for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-11-22T10:00:00", "now", 7)
        ),
    ],
)
def test_what_is_no_event_is_refused_with_what_is_wrong(change: dict[str, object], reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        decode(json.dumps(BASE | change).encode())


def test_a_later_version_and_a_key_are_refused_by_their_names() -> None:
    with pytest.raises(UnsupportedVersion, match="version '2'; this version reads 1"):
        decode(json.dumps(BASE | {"type": "eyni.EncounterRemoved.v2"}).encode())
    with pytest.raises(UnreadableKey):
        decode(json.dumps(BASE | {"keyid": "k-1"}).encode())


@pytest.mark.parametrize("value", ["AAAA", "AAAAwH8=", "AADAfw==", "!!!!", "", 5, "AACAfw=="])
def test_vectors_that_are_not_finite_floats_are_refused_without_being_repeated(value: object) -> None:
    document = json.loads(encode(SAMPLES["reference-enrolled"]))
    document["data"]["templates"][0]["vector"] = value
    with pytest.raises(MalformedEvent, match=r"templates\.0\.vector") as refusal:
        decode(json.dumps(document).encode())
    assert str(value) not in str(refusal.value) or value in ("", 5)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_an_event_or_a_malformed_one_and_nothing_else_is_raised(value: bytes) -> None:
    with pytest.raises(MalformedEvent):
        decode(value)


@pytest.mark.parametrize("value", [b"[" * 100_000, b'{"a":' * 50_000, b'{"specversion":' + b"9" * 1_000_000 + b"}"])
def test_json_made_to_hurt_is_malformed(value: bytes) -> None:
    with pytest.raises(MalformedEvent):
        decode(value)


def test_no_repr_shows_a_template_or_a_picture() -> None:
    for event in SAMPLES.values():
        assert "a picture" not in repr(event)
        assert "array" not in repr(event)
        assert "1985" not in repr(event)
