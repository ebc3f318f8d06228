"""Events as bytes: a CloudEvents 1.0 JSON envelope that any station vendor's language can write and read.

    {"specversion":"1.0", "type":"eyni.CaptureReceived.v1", "id":"<request id>.CaptureReceived",
     "source":"eyni", "subject":"<request id>", "time":"2026-11-22T10:00:00Z", "keyid":null, "data":{...}}

`keyid` is where the id of the key goes once `data` is encrypted; until then it is null, and a record that names a key
is refused as `UnreadableKey` rather than guessed at. `deploy/asyncapi.json` and `deploy/schemas/` document each type;
`tests/golden/` holds every released version, readable for ever (I20).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared.events import (
    CaptureReceived,
    DeadLettered,
    Decided,
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Event,
    PersonRemoved,
    PersonsMerged,
    ProbeChosen,
    ProbeExtracted,
    ReferenceEnrolled,
    ServiceReported,
)

VERSION: Final = 1
_PREFIX: Final = "eyni."

EVENT_TYPES: Final[tuple[type[Event], ...]] = (
    CaptureReceived,
    ReferenceEnrolled,
    EncounterRemoved,
    PersonRemoved,
    EncounterMoved,
    PersonsMerged,
    EncounterActivated,
    EncounterRefiled,
    ProbeExtracted,
    ProbeChosen,
    Decided,
    DeadLettered,
    ServiceReported,
)

ADAPTERS: Final[Mapping[str, TypeAdapter[Event]]] = {t.__name__: TypeAdapter[Event](t) for t in EVENT_TYPES}


class MalformedEvent(ValueError):
    """Bytes that are no event. The message names what is wrong and never repeats the bytes themselves."""


class UnsupportedVersion(MalformedEvent):
    """An event of a later format: this version refuses it by name instead of guessing (I20)."""


class UnreadableKey(MalformedEvent):
    """An encrypted event whose key is not to be had."""


def event_id(event: Event) -> str:
    """Return the id that two copies of one fact share."""
    name = type(event).__name__
    match event:
        case DeadLettered(topic=topic, partition=partition, offset=offset):
            return f"{topic}-{partition}-{offset}.{name}"
        case ServiceReported(instance=instance, at=at):
            return f"{instance}-{at.timestamp():.3f}.{name}"
        case _:
            return f"{event.request.request_id}.{name}"


def encode(event: Event) -> bytes:
    """Write an event. Equal events give equal bytes."""
    name = type(event).__name__
    subject: str | None = None
    time: datetime | None = None
    match event:
        case DeadLettered():
            pass
        case ServiceReported(instance=instance, at=at):
            subject, time = instance, at
        case _:
            subject, time = event.request.request_id, event.request.received_at
    head: dict[str, str | None] = {
        "specversion": "1.0",
        "type": f"{_PREFIX}{name}.v{VERSION}",
        "id": event_id(event),
        "source": "eyni",
    }
    if subject is not None:
        head["subject"] = subject
    if time is not None:
        head["time"] = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    head["keyid"] = None
    data = ADAPTERS[name].dump_json(event)
    # The data is spliced in as it is: parsing a picture's base64 again only to write it again costs more than all else.
    return json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()[:-1] + b',"data":' + data + b"}"


_HEAD: Final = TypeAdapter(dict[str, object])


def decode(value: bytes) -> Event:
    """Read an event, or raise `MalformedEvent` with the reason."""
    try:
        head = _HEAD.validate_json(value)
    except ValidationError as error:
        raise MalformedEvent(f"not a JSON object: {error.errors(include_input=False)[0]['msg']}") from None
    if head.get("specversion") != "1.0":
        raise MalformedEvent("specversion must be 1.0 (a CloudEvents envelope)")
    kind = head.get("type")
    if not isinstance(kind, str) or not kind.startswith(_PREFIX):
        raise MalformedEvent(f"type must be text that starts with {_PREFIX!r}")
    name, _, version = kind.removeprefix(_PREFIX).rpartition(".v")
    if name not in ADAPTERS:
        raise MalformedEvent(f"type names no event that this version knows ({len(ADAPTERS)} are known)")
    if version != str(VERSION):
        raise UnsupportedVersion(f"{name} has version {version[:8]!r}; this version reads {VERSION}")
    if head.get("keyid") is not None:
        raise UnreadableKey("keyid names a key, and this version reads no encrypted data")
    event = _event(ADAPTERS[name], value, head, name)
    if head.get("id") != event_id(event):
        raise MalformedEvent(f"id must be the one that {name} derives from its data: <request id>.{name}")
    return event


def _event(adapter: TypeAdapter[Event], value: bytes, head: Mapping[str, object], name: str) -> Event:
    """Read the data: its own bytes where they stand last, as we write them; else what was parsed, written anew."""
    at = value.find(_MARK, 0, 2048)
    if at > 0:
        try:
            return adapter.validate_json(value[at + len(_MARK) : value.rstrip().rfind(b"}")])
        except ValidationError:
            pass  # perhaps only because other fields follow; the reason is found below
    try:
        return adapter.validate_json(json.dumps(head.get("data")).encode())
    except ValidationError as error:
        raise MalformedEvent(_first_problem(name, error)) from None


_MARK: Final = b'"keyid":null,"data":'


def _first_problem(name: str, error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "data"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{name}: {where}: {first['msg']}{more}"
