"""What an ONNX file asks for, read off its bytes before any library runs them; pure.

An ONNX file can name other files to be read, addresses of this process's memory (onnxruntime's own mark for external
data), and operators that read files (`com.microsoft.EPContext`). A model folder may come from anywhere, so all of that
is refused, by a reader of the few protobuf fields that can ask for it. Whatever it finds odd it refuses: that it and
the library read the same bytes differently is where a hole would be.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

OPERATORS: Final = frozenset({b"", b"ai.onnx"})
"""Domains whose operators are taken: ONNX's own, which compute and nothing else. Not onnxruntime's (`com.microsoft`):
it fuses the plain operators to these by itself, and one of them reads files."""

DEPTH: Final = 32
"""Messages inside each other that are followed: a graph in a graph takes 3 levels, and networks have one or two."""


class Suspicious(ValueError):
    """A file that asks for more than a computation, or that is no ONNX; the message says what it asks for."""


def inspect(data: bytes) -> None:
    """Read an ONNX file's bytes. Raises Suspicious."""
    view = memoryview(data)
    if not any(number == _GRAPH and wire == _BYTES for number, wire, _ in _fields(view)):
        raise Suspicious("is no ONNX file: it holds no graph")
    _follow(view, _MODEL, DEPTH)


def _text(value: memoryview) -> str:
    """Return the file's own words, fit for an error message."""
    return repr(bytes(value[:80]).decode("utf-8", "replace"))


def _no_foreign_operator(value: memoryview | int) -> None:
    if isinstance(value, memoryview) and bytes(value) not in OPERATORS:
        raise Suspicious(f"asks for custom operators, of the domain {_text(value)}; only ONNX's own are run")


def _no_external_data(value: memoryview | int) -> None:
    # Field 14, data_location: 0 is in this file. Field 13, external_data: where else.
    if value != 0:
        raise Suspicious("asks for external data: its weights must be in the file itself")


_Check = Callable[[memoryview | int], None]
_Message = Mapping[int, "str | _Check"]

_BYTES: Final = 2
_GRAPH: Final = 7

# All fields of onnx.proto (1.23) that lead to a tensor or to an operator: the message that they hold, by its name
# here, or what is checked.
_MODEL: Final = "model"
_MESSAGES: Final[Mapping[str, _Message]] = {
    _MODEL: {_GRAPH: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute", 7: _no_foreign_operator},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: _no_external_data, 14: _no_external_data},
}


def _follow(message: memoryview, kind: str, depth: int) -> None:
    if depth == 0:
        raise Suspicious(f"is nested more than {DEPTH} levels deep")
    known = _MESSAGES[kind]
    for number, wire, value in _fields(message):
        match known.get(number):
            case None:
                pass
            case str(inner):
                if wire != _BYTES or not isinstance(value, memoryview):
                    raise Suspicious(f"is damaged: field {number} of a {kind} is no message")
                _follow(value, inner, depth - 1)
            case check:
                check(value)


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Yield number, wire type and value of each field of a message."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at, 5)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise Suspicious(f"is damaged: there is no field {number}")
        value: memoryview | int
        match wire:
            case 0:
                value, at = _varint(message, at, 10)
            case 1:
                value, at = _block(message, at, 8)
            case 2:
                length, at = _varint(message, at, 5)
                value, at = _block(message, at, length)
            case 5:
                value, at = _block(message, at, 4)
            case _:
                raise Suspicious(f"is damaged: wire type {wire}")
        yield number, wire, value


def _block(message: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    if at + length > len(message):
        raise Suspicious("is cut short")
    return message[at : at + length], at + length


def _varint(message: memoryview, at: int, longest: int) -> tuple[int, int]:
    value = 0
    for place in range(longest):
        if at + place >= len(message):
            raise Suspicious("is cut short")
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise Suspicious("is damaged: a number does not end")
