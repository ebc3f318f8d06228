"""Write what a vendor needs to speak to the log: JSON schemas of every event, and the AsyncAPI document.

    python -m deploy.describe        writes deploy/schemas/*.json and deploy/asyncapi.json

`tests/unit/shared/test_formats.py` fails when the files are not those of the code.
"""

import json
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from shared.envelope import ADAPTERS, VERSION
from shared.topics import TOPICS, Name

HERE: Final = Path(__file__).parent

_CAPTURES: Final = "requests that carry samples: enrol, verify, compare, identify; urgent is always served first"
CONTENTS: Final[dict[Name, tuple[str, str, tuple[str, ...]]]] = {
    Name.CAPTURES_URGENT: (_CAPTURES, "the person, else the request", ("CaptureReceived",)),
    Name.CAPTURES_BULK: (_CAPTURES, "the person, else the request", ("CaptureReceived",)),
    Name.GALLERY: (
        "everything that changes the gallery, in one total order",
        "the request",
        (
            "ReferenceEnrolled",
            "EncounterRemoved",
            "PersonRemoved",
            "EncounterMoved",
            "PersonsMerged",
            "EncounterActivated",
            "EncounterRefiled",
        ),
    ),
    Name.PROBES: ("what is to be compared and not enrolled", "the request", ("ProbeExtracted", "ProbeChosen")),
    Name.DECISIONS: ("exactly one outcome for each request", "the request", ("Decided",)),
    Name.DEAD_LETTERS: ("bytes that are no event, and why", "the topic they came from", ("DeadLettered",)),
    Name.HEARTBEATS: ("running services, once a second", "the process", ("ServiceReported",)),
}


def schema(name: str) -> dict[str, JsonValue]:
    """Return the JSON schema of one event in its envelope (2020-12)."""
    data = ADAPTERS[name].json_schema(ref_template="#/$defs/{model}")
    definitions = data.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"eyni.{name}.v{VERSION}",
        "description": "A CloudEvents 1.0 envelope in JSON. Fields that are not named here are ignored in the envelope "
        "and refused in data.",
        "type": "object",
        "required": ["specversion", "type", "id", "source", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": f"eyni.{name}.v{VERSION}"},
            "id": {"type": "string", "description": f"<request id>.{name}: two copies of one fact have one id"},
            "source": {"type": "string"},
            "subject": {"type": "string", "description": "the request's id"},
            "time": {"type": "string", "format": "date-time"},
            "keyid": {"type": "null", "description": "the id of the key, once data is encrypted; until then null"},
            "data": data,
        },
        "$defs": definitions,
    }


def asyncapi() -> dict[str, JsonValue]:
    """Return the AsyncAPI 3.0 document: topics, their settings, and the events on each."""
    channels: dict[str, JsonValue] = {}
    for name, (purpose, key, events) in CONTENTS.items():
        topic = TOPICS[name]
        hours = None if topic.retention is None else topic.retention.total_seconds() / 3600
        channels[name] = {
            "address": name,
            "description": f"Holds {purpose}. Key: {key} (UTF-8). Records up to {topic.max_bytes} bytes.",
            "messages": {event: {"$ref": f"#/components/messages/{event}"} for event in events},
            "bindings": {
                "kafka": {
                    "partitions": topic.partitions,
                    "topicConfiguration": {
                        "cleanup.policy": ["delete"],
                        "retention.ms": -1 if hours is None else int(hours * 3_600_000),
                        "max.message.bytes": topic.max_bytes,
                    },
                    "bindingVersion": "0.5.0",
                }
            },
        }
    messages: dict[str, JsonValue] = {
        name: {
            "contentType": "application/cloudevents+json",
            "payload": {"$ref": f"schemas/{name}.v{VERSION}.json"},
        }
        for name in ADAPTERS
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Eyni's log",
            "version": str(VERSION),
            "description": "What stations may produce (captures-*), and what each service reads and writes. A producer "
            "uses acks=all and sends a capture again, with the same request id, until it is acknowledged; a copy is "
            "recognised by its id. Consumers of decisions drop ids that they have seen.",
        },
        "channels": channels,
        "components": {"messages": messages},
    }


def files() -> dict[Path, str]:
    """Return every file's content by path."""
    written: dict[Path, str] = {HERE / "schemas" / f"{name}.v{VERSION}.json": _text(schema(name)) for name in ADAPTERS}
    written[HERE / "asyncapi.json"] = _text(asyncapi())
    return written


def _text(document: dict[str, JsonValue]) -> str:
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        print(path.relative_to(HERE.parent))
