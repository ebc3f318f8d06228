"""How a worker process and its parent talk: frames of JSON over pipes.

Never pickle: the worker has looked at hostile bytes, so the parent believes it nothing that does not fit these shapes.
"""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from pydantic import TypeAdapter

from services.enroll.quality import Extracted, Limits
from shared.biometrics import STRICT, Bytes64

_LENGTH: Final = struct.Struct(">I")

ANSWER_BYTES: Final = 64 * 1024
"""Largest frame from a worker: the widest template (4096 floats in base64, 22 kB) and a dozen sentences of advice. A
portrait takes 8 kB, and 30 if it is all noise."""

TEMPLATE: Final = b"template"
PORTRAIT: Final = b"portrait"
"""What is wanted of a picture: the first of the two frames that each request is. The second is the picture, as it came.
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker's first frame, sent before it has seen a picture: what its templates will look like."""

    __pydantic_config__ = STRICT
    model: str
    dimension: int
    confined: str = field(default="", compare=False)
    """By what, besides its limits, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Orders:
    """The parent's first frame; what comes after it are requests."""

    __pydantic_config__ = STRICT
    model: Ready
    """What the parent has read in the model's manifest; a worker that finds another one there is not taken."""
    folder: str
    """The model's, absolute."""
    pixel_limit: int
    memory_limit: int
    """Bytes of address space beyond what the worker has once it is warm."""
    time_limit: float
    """Seconds for one sample; the worker limits its own processor time by it, the parent the wall's."""
    limits: Limits
    load_time_limit: float
    """Seconds until it is warm; the worker limits its own processor time by it, the parent the wall's."""
    load_memory_limit: int
    """Bytes of address space, beyond what an interpreter has, until it is warm."""
    decode_limit: float = 3.0
    """Seconds of processor time for decoding alone: twice what the costliest picture takes that fits into a request
    (JPEG 2000, lossless, 9 MB: 1.4 s); a phone's 25 million pixels take 0.3 s. What takes longer is meant to."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """The face of a picture for people to look at."""

    __pydantic_config__ = STRICT
    jpeg: Bytes64 | None = field(repr=False)
    """None: the picture cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker met an error that it has no answer for, and ends. For the operator; never shown to a caller."""

    __pydantic_config__ = STRICT
    what: str
    refused: bool = False
    """It is the model that was refused: another worker will say the same."""


ORDERS: Final = TypeAdapter(Orders)
GREETING: Final = TypeAdapter[Ready | Failed](Ready | Failed)
ANSWER: Final = TypeAdapter[Extracted | Portrait | Failed](Extracted | Portrait | Failed)


def write(stream: BinaryIO, payload: bytes) -> None:
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read(stream: BinaryIO, limit: int) -> bytes:
    """Return the next frame. Raises EOFError where the other side has ended, ValueError for a frame beyond `limit`."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > limit:
        raise ValueError(f"a frame of {length} bytes; at most {limit} are taken")
    return _exactly(stream, length)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
