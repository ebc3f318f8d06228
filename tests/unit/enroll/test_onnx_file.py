"""What an ONNX file may not ask for, wherever in it it asks."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.enroll.onnx_file import DEPTH, Suspicious, inspect
from tests.models import EDGEFACE, GIVEN, Y1, YUNET
from tests.models import given as need
from tests.unit.enroll import onnx_bytes as onnx

ELSEWHERE = onnx.tensor("elsewhere", (3,), more=onnx.external("weights.bin"))
FOREIGN = onnx.node("Open", ["a"], ["b"], domain="com.example")
CONSTANT = onnx.node("Constant", [], ["c"], more=onnx.with_tensor("value", ELSEWHERE))


def inner(*nodes: bytes, tensors: tuple[bytes, ...] = ()) -> bytes:
    return onnx.graph(nodes, [], [], tensors)


def branch(graph: bytes) -> bytes:
    return onnx.node("If", ["yes"], ["c"], more=onnx.with_graph("then_branch", graph))


def holding(*nodes: bytes) -> bytes:
    """A sound network with more nodes."""
    return onnx.network(after=[onnx.node("Identity", ["product"], ["output"]), *nodes])


EXTERNAL = {
    "its weights": onnx.network(weights=onnx.tensor("weights", (3, 4), more=onnx.external("weights.bin"))),
    "this process's memory": onnx.network(
        weights=onnx.tensor("weights", (3, 4), more=onnx.external("*/_ORT_MEM_ADDR_/*"))
    ),
    "a constant": holding(CONSTANT),
    "a constant in a list": holding(onnx.node("X", [], ["c"], more=onnx.field(5, onnx.field(10, ELSEWHERE)))),
    "a constant of a branch": holding(branch(inner(CONSTANT))),
    "the weights of a branch of a branch": holding(branch(inner(branch(inner(tensors=(ELSEWHERE,)))))),
    "a graph in a list": holding(onnx.node("X", [], ["c"], more=onnx.field(5, onnx.field(11, inner(CONSTANT))))),
    "sparse values": onnx.model(onnx.field(15, onnx.field(1, ELSEWHERE)) + onnx.field(2, "g")),
    "sparse indices of a node": holding(
        onnx.node("X", [], ["c"], more=onnx.field(5, onnx.field(22, onnx.field(2, ELSEWHERE))))
    ),
    "a function": onnx.network(more=onnx.field(25, onnx.field(7, CONSTANT))),
    "a function's default": onnx.network(more=onnx.field(25, onnx.field(11, onnx.field(5, ELSEWHERE)))),
    "training": onnx.network(more=onnx.field(20, onnx.field(1, inner(CONSTANT)))),
    "a second graph": onnx.network() + onnx.field(7, inner(CONSTANT)),
    "a place without the flag": onnx.network(
        weights=onnx.tensor("weights", (3, 4)) + onnx.field(13, onnx.field(1, "location"))
    ),
    "the flag without a place": onnx.network(weights=onnx.tensor("weights", (3, 4)) + onnx.field(14, 1)),
    "a flag that only wraps to 1": onnx.network(weights=onnx.tensor("weights", (3, 4)) + onnx.field(14, 2**32 + 1)),
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_data_outside_the_file_is_refused_wherever_it_is_asked_for(name: str) -> None:
    with pytest.raises(Suspicious, match="external data"):
        inspect(EXTERNAL[name])


CUSTOM = {
    "a node": holding(FOREIGN),
    "one of onnxruntime's own, which reads files": holding(
        onnx.node("EPContext", ["a"], ["b"], domain="com.microsoft")
    ),
    "a branch": holding(branch(inner(FOREIGN))),
    "a function": onnx.network(more=onnx.field(25, onnx.field(7, FOREIGN))),
    "two domains, the last one sound": holding(
        onnx.node("Open", ["a"], ["b"], domain="com.example", more=onnx.field(7, "ai.onnx"))
    ),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_operators_that_are_not_onnxs_own_are_refused_by_their_domain(name: str) -> None:
    with pytest.raises(Suspicious, match=r"custom operators, of the domain 'com\.(example|microsoft)'"):
        inspect(CUSTOM[name])


def nested(levels: int) -> bytes:
    graph = inner()
    for _ in range(levels):
        graph = inner(branch(graph))
    return onnx.model(graph)


DAMAGED = {
    "empty": (b"", "holds no graph"),
    "a text": (b"<html>404: Not Found</html>", "damaged"),
    "another protobuf": (onnx.field(1, 8) + onnx.field(2, "somebody"), "holds no graph"),
    "cut short": (onnx.network()[:-10], "cut short"),
    "a graph that is a number": (onnx.field(7, 5) + onnx.field(7, b""), "field 7 of a model is no message"),
    "a group, which only old readers know": (onnx.network() + bytes([3 << 3 | 3, 3 << 3 | 4]), "wire type 3"),
    "a number that does not end": (onnx.network() + b"\x08" + b"\xff" * 11, "does not end"),
    "field 0": (onnx.network() + b"\x02\x00", "no field 0"),
    "without a bottom": (nested(DEPTH), "nested"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_onnx_is_refused_for_what_it_is(name: str) -> None:
    data, reason = DAMAGED[name]
    with pytest.raises(Suspicious, match=reason):
        inspect(data)


def test_a_sound_network_passes_and_so_does_a_branch_of_a_branch() -> None:
    inspect(onnx.network())
    inspect(nested(3))
    inspect(holding(onnx.node("Relu", ["a"], ["b"], domain="ai.onnx")))
    inspect(onnx.network(domains=["com.microsoft"]))  # named by exporters that then don't use it


@pytest.mark.parametrize("file", [EDGEFACE, Y1, YUNET])
def test_the_given_networks_pass(file: str) -> None:
    need(file)
    inspect((GIVEN / file).read_bytes())


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_bytes_pass_or_are_refused_and_nothing_else_happens(data: bytes, at: int, change: bytes) -> None:
    sound = holding(branch(inner(CONSTANT)))
    for candidate in (data, sound[:at] + change + sound[at + len(change) :]):
        with contextlib.suppress(Suspicious):
            inspect(candidate)
