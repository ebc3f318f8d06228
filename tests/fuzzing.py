# pyright: basic
"""Wrong requests, made of right ones by chance: seeded, so that a failure comes again. Imports nothing of ours."""

import base64
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

INTERNALS: Final = re.compile(
    r"function-|Input should|Value error|[Vv]alidat|pydantic|\btuple\b|NoneType|\bNone\b|discriminator|model_|JsonValue"
    r"|Maybe\b|\bunion\b|_type\b|_parsing|\bdict\b|\bint\b|\bstr\b|\bfloat\b|\bbool\b|list\[|Traceback|0x[0-9a-f]{6}"
    r"|fastapi|starlette|Extra inputs|Field required|String should|[Rr]ecursion|\bctx\b|Error\b|_ID\b|AfterV|Annotated"
)
"""What no message may show: the words of validators, types and exceptions."""

ODD: Final[Sequence[Any]] = (
    *(None, True, False, 0, -1, 7, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0, 0.5),
    *(
        "",
        " ",
        "x",
        "ACTIVE",
        "FACE",
        "YQ==",
        "..",
        "a/b",
        "\u202e",
        "e\u0301",
        "\x00",
        "\ufffd",
        "\U0001d518",
        "x" * 5000,
    ),
    *([], {}, [[]], [{}], {"a": {}}, [None], ["a", "a"], [1] * 200, {"": ""}, [[[[[[1]]]]]], {"status": "ACTIVE"}),
)
"""What takes the place of a value."""

TEXTS: Final[Sequence[str]] = (
    *("", " ", "x", "0", "-1", "1e999", "nan", "inf", "٣", "true", "null", "[]", "9" * 400, "x" * 3000, "..", "a/b"),
    *("%", "\u202e", "\u200b", "e\u0301", "\x00", "\x1b[2J", "\ufffd", "http://127.0.0.1:99999/", "fpir-30", "0x10"),
)
"""What takes the place of a parameter, a step of a path or a header."""


@dataclass(frozen=True)
class Request:
    """One request: everything is as it will be sent."""

    operation: str
    method: str
    path: str
    query: Sequence[tuple[str, str]] = (("transactionId", "t"),)
    body: bytes | None = None

    @property
    def target(self) -> str:
        """The path with its query, percent-encoded."""
        return self.path + "?" + "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in self.query)


def right_requests(picture: bytes) -> list[tuple[Request, Any]]:
    """Return one lawful request of each operation with the value of its body, None where it has none."""
    face = {"biometricType": "FACE", "image": base64.b64encode(picture).decode(), "captureDate": "2026-11-22T10:00:00Z"}
    encounter: Any = {
        "status": "ACTIVE",
        "encounterType": "VISA",
        "galleries": ["visa", "all-others"],
        "biographicData": {
            "firstName": "Gülşən",
            "dateOfBirth": "1980-01-01",
            "children": 2,
            "names": ["a", {"b": 1.5}],
        },
        "contextualData": {"desk": "7"},
        "clientData": "YQ==",
        "biometricData": [face],
    }
    both = {"biometricData1": [face], "biometricData2": [face]}
    wanted = {"encounterType": ["VISA", "EES"], "dateOfBirthMin": "1980-01-01", "children": 2}
    person, visit = "/v1/persons/p1", "/v1/persons/p1/encounters/e1"
    listed: list[tuple[str, str, str, Any]] = [
        ("createEncounterNoIds", "POST", "/v1/persons", encounter),
        ("createEncounterNoId", "POST", f"{person}/encounters", encounter),
        ("createEncounter", "POST", visit, encounter),
        ("updateEncounter", "PUT", visit, encounter),
        ("updateEncounterGalleries", "PUT", f"{visit}/galleries", ["visa", "b"]),
        ("identify", "POST", "/v1/identify/ALL", {"filter": wanted, "biometricData": [face]}),
        ("identifyFromId", "POST", "/v1/identify/ALL/p1", wanted),
        ("identifyFromEncounterId", "POST", "/v1/identify/ALL/p1/encounters/e1", wanted),
        ("verifyFromId", "POST", "/v1/verify/ALL/p1", {"biometricData": [face]}),
        ("verifyFromBio", "POST", "/v1/verify", both),
        ("readAllEncounters", "GET", f"{person}/encounters", None),
        ("readEncounter", "GET", visit, None),
        ("readTemplate", "GET", f"{visit}/templates", None),
        ("updateEncounterStatus", "PUT", f"{visit}/status", None),
        ("deleteEncounter", "DELETE", "/v1/persons/p9/encounters/e9", None),
        ("deleteAll", "DELETE", "/v1/persons/p9", None),
        ("mergeEncounter", "POST", "/v1/persons/p8/merge/p9", None),
        ("moveEncounter", "POST", "/v1/persons/p8/move/p9/encounters/e9", None),
        ("readGalleries", "GET", "/v1/galleries", None),
        ("readGalleryContent", "GET", "/v1/galleries/visa", None),
        ("readTaskStatus", "GET", "/v1/tasks/t9/status", None),
        ("redeliverTaskResult", "POST", "/v1/tasks/t9/redeliver", None),
    ]
    found: list[tuple[Request, Any]] = []
    for operation, method, path, value in listed:
        query = (("transactionId", "t"), *((("status", "ACTIVE"),) if operation == "updateEncounterStatus" else ()))
        found.append((Request(operation, method, path, query, None if value is None else as_json(value)), value))
    return found


def as_json(value: Any) -> bytes:
    """Write a value as a client does."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def wrong_bodies(seed: int, count: int, picture: bytes) -> Iterator[Request]:
    """Yield so many requests, of every operation that takes a body in turn, whose body was mutated."""
    chance = random.Random(seed)
    with_body = [(request, value) for request, value in right_requests(picture) if value is not None]
    for number in range(count):
        request, value = with_body[number % len(with_body)]
        body = chance.choice(_MUTATIONS)(chance, value)
        yield Request(request.operation, request.method, request.path, request.query, body)


def wrong_parameters(seed: int, count: int, picture: bytes, names: Sequence[str]) -> Iterator[Request]:
    """Yield so many requests, of every operation in turn, with a wrong parameter in the query or a step of the path."""
    chance = random.Random(seed)
    requests = right_requests(picture)
    for number in range(count):
        request, _ = requests[number % len(requests)]
        path, query = request.path, list(request.query)
        text = chance.choice(TEXTS)
        match chance.randrange(4):
            case 0:
                steps = path.split("/")
                steps[chance.randrange(2, len(steps))] = quote(text, safe="")
                path = "/".join(steps)
            case 1:
                query = [(name, value) for name, value in query if chance.random() < 0.5]
                query.append((chance.choice(names), text))
            case 2:
                query.append((chance.choice(names), text))
            case _:
                query = [(name, text if chance.random() < 0.5 else value) for name, value in query]
        yield Request(request.operation, request.method, path, query, request.body)


# ---- mutations

_Mutation = Callable[[random.Random, Any], bytes]


def _flip(chance: random.Random, value: Any) -> bytes:
    body = bytearray(as_json(value))
    for _ in range(chance.choice((1, 1, 2, 8))):
        body[chance.randrange(min(len(body), 2000))] ^= 1 << chance.randrange(8)
    return bytes(body)


def _truncate(chance: random.Random, value: Any) -> bytes:
    body = as_json(value)
    return body[: chance.randrange(len(body))]


def _repeat(chance: random.Random, value: Any) -> bytes:
    body = as_json(value)
    start = chance.randrange(len(body))
    part = body[start : start + chance.choice((1, 10, 100, 1000))]
    return body[:start] + part * chance.choice((2, 3, 50)) + body[start + len(part) :]


def _cut_out(chance: random.Random, value: Any) -> bytes:
    body = as_json(value)
    start = chance.randrange(len(body))
    return body[:start] + body[start + chance.choice((1, 3, 20, 200)) :]


def _insert(chance: random.Random, value: Any) -> bytes:
    body = as_json(value)
    at = chance.randrange(len(body))
    odd = chance.choice(
        (b"\x00", b"\xff", b"\xed\xa0\x80", b'"', b"{", b"}", b"[", b",", b"\\u0000", b"\\ud800", b"NaN")
    )
    return body[:at] + odd + body[at:]


def _swap_type(chance: random.Random, value: Any) -> bytes:
    copied = json.loads(json.dumps(value))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        holder, key = chance.choice(_places(copied))
        holder[key] = _odd(chance)
    return as_json(copied)


def _whole(chance: random.Random, value: Any) -> bytes:
    return as_json(_odd(chance))


def _lose_or_add(chance: random.Random, value: Any) -> bytes:
    copied = json.loads(json.dumps(value))
    holder, key = chance.choice(_places(copied))
    if chance.random() < 0.5:
        del holder[key]
    elif isinstance(holder, dict):
        holder[chance.choice(("odd", "", "status ", "image", "$ref", "a" * 300))] = _odd(chance)
    else:
        holder.extend([holder[key]] * chance.choice((1, 30, 200)))
    return as_json(copied)


def _twice(chance: random.Random, value: Any) -> bytes:
    text = as_json(value).decode("utf-8", "surrogatepass")
    fields = list(re.finditer(r'"(\w+)": ', text))
    if not fields:
        return text.encode()
    at = chance.choice(fields)
    return f'{text[: at.start()]}"{at[1]}": {json.dumps(_odd(chance))}, {text[at.start() :]}'.encode()


def _exchange(chance: random.Random, value: Any) -> bytes:
    copied = json.loads(json.dumps(value))
    places = _places(copied)
    (one, first), (other, second) = chance.choice(places), chance.choice(places)
    with suppress(KeyError, IndexError):  # one may have been inside of the other
        one[first], other[second] = json.loads(json.dumps(other[second])), json.loads(json.dumps(one[first]))
    return as_json(copied)


def _otherwise_encoded(chance: random.Random, value: Any) -> bytes:
    body = as_json(value)
    return chance.choice(
        (
            b"\xef\xbb\xbf" + body,
            body + body,
            body + b"\n\n",
            body.decode().encode("utf-16"),
            body.decode().encode("utf-32"),
        )
    )


def _deep(chance: random.Random, value: Any) -> bytes:
    depth = chance.choice((10, 100, 1000, 20_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return opening * depth + b"1" + closing * chance.choice((0, depth))


_MUTATIONS: Final[Sequence[_Mutation]] = (
    *(_flip, _flip, _truncate, _repeat, _cut_out, _insert, _swap_type, _swap_type, _swap_type, _swap_type, _whole),
    *(_lose_or_add, _lose_or_add, _twice, _exchange, _otherwise_encoded, _deep),
)


def _odd(chance: random.Random) -> Any:
    return json.loads(json.dumps(chance.choice(ODD)))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a value: what holds it, and by which name or number."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        holder = todo.pop()
        keys: list[Any] = []
        if isinstance(holder, dict):
            keys = list(holder)
        elif isinstance(holder, list):
            keys = list(range(len(holder)))
        found += [(holder, key) for key in keys]
        todo += [holder[key] for key in keys]
    return found
