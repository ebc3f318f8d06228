"""ONNX files of a few hundred bytes, sound or hostile, written field by field (onnx.proto)."""

import struct
from collections.abc import Sequence
from math import prod

Shape = Sequence[int | str]


def field(number: int, value: int | bytes | str) -> bytes:
    """Write one field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def tensor(name: str, dims: Sequence[int], value: float | None = None, *, more: bytes = b"") -> bytes:
    """A float tensor that begins with 0.01, 0.02, ..., or is `value` throughout."""
    numbers = [(i % 7 + 1) / 100 if value is None else value for i in range(prod(dims))]
    raw = field(9, struct.pack(f"<{len(numbers)}f", *numbers))
    return b"".join(field(1, n) for n in dims) + field(2, 1) + field(8, name) + (raw if not more else b"") + more


def external(location: str) -> bytes:
    """What makes a tensor one whose numbers are elsewhere."""
    return field(13, field(1, "location") + field(2, location)) + field(14, 1)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], *, domain: str = "", more: bytes = b"") -> bytes:
    names = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return names + field(4, kind) + (field(7, domain) if domain else b"") + more


def with_tensor(name: str, value: bytes) -> bytes:
    """A node's attribute that is a tensor."""
    return field(5, field(1, name) + field(5, value) + field(20, 4))


def with_graph(name: str, value: bytes) -> bytes:
    """A node's attribute that is a graph."""
    return field(5, field(1, name) + field(6, value) + field(20, 5))


def value(name: str, shape: Shape, element: int = 1) -> bytes:
    """An input or output; `element` 1 is float, 11 double."""
    dims = b"".join(field(1, field(1, n) if isinstance(n, int) else field(2, n)) for n in shape)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, dims)))


def graph(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], tensors: Sequence[bytes] = ()
) -> bytes:
    parts = [(1, nodes), (5, tensors), (11, inputs), (12, outputs)]
    return field(2, "g") + b"".join(field(number, part) for number, all_of in parts for part in all_of)


def model(of: bytes, *, more: bytes = b"", domains: Sequence[str] = ()) -> bytes:
    opsets = field(8, field(1, "") + field(2, 17)) + b"".join(field(8, field(1, d) + field(2, 1)) for d in domains)
    return field(1, 8) + more + field(7, of) + opsets


SIDE = 16
DIMENSION = 4
PICTURE: Shape = ("N", 3, SIDE, SIDE)


def network(
    *,
    shape: Shape = PICTURE,
    output: Shape = ("N", DIMENSION),
    weights: bytes | None = None,
    after: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (),
    outputs: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    more: bytes = b"",
    domains: Sequence[str] = (),
    element: int = 1,
) -> bytes:
    """A network that gives its picture's mean red, green and blue, times weights (3, DIMENSION), by way of `after`.

    `after` are nodes from "product" to "output"; without any, they are one and the same.
    """
    nodes = [
        node("GlobalAveragePool", ["input"], ["pooled"]),
        node("Flatten", ["pooled"], ["means"]),
        node("MatMul", ["means", "weights"], ["product"]),
        *(after or [node("Identity", ["product"], ["output"])]),
    ]
    return model(
        graph(
            nodes,
            [value("input", shape, element), *inputs],
            [value("output", output, element), *outputs],
            [weights or tensor("weights", (3, DIMENSION)), *tensors],
        ),
        more=more,
        domains=domains,
    )


# ---- hostile ones


def numbers(name: str, dims: Sequence[int], values: Sequence[int], kind: int = 7) -> bytes:
    """A tensor of whole numbers; `kind` 7 is int64, 9 bool."""
    raw = struct.pack(f"<{len(values)}{'q' if kind == 7 else '?'}", *values)
    return b"".join(field(1, n) for n in dims) + field(2, kind) + field(8, name) + field(9, raw)


def endless(side: int = SIDE, dimension: int = DIMENSION) -> bytes:
    """A network that is sound in every shape, and takes the sine of its output 2**62 times."""
    body = graph(
        [node("Identity", ["go on"], ["and on"]), node("Sin", ["state"], ["next"])],
        [value("turn", (), 7), value("go on", (), 9), value("state", ("N", "D"))],
        [value("and on", (), 9), value("next", ("N", "D"))],
    )
    loop = node("Loop", ["turns", "yes", "product"], ["looped"], more=with_graph("body", body))
    return network(
        shape=("N", 3, side, side),
        output=("N", dimension),
        weights=tensor("weights", (3, dimension)),
        after=[loop, node("Add", ["looped", "product"], ["output"])],
        tensors=[numbers("turns", (), [2**62]), numbers("yes", (), [1], 9)],
    )


def giant(floats: int, side: int = SIDE, dimension: int = DIMENSION) -> bytes:
    """A network that is sound in every shape, and writes so many zeros and adds them to its output."""
    zeros = node("ConstantOfShape", ["count"], ["zeros"])
    added = node("ReduceSum", ["zeros"], ["nothing"]), node("Add", ["nothing", "product"], ["output"])
    return network(
        shape=("N", 3, side, side),
        output=("N", dimension),
        weights=tensor("weights", (3, dimension)),
        after=[zeros, *added],
        tensors=[numbers("count", (1,), [floats])],
    )
