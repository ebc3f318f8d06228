"""The nouns of the field, named as ISO/IEC 2382-37, OSIA and MOSIP name them.

A *capture* carries *samples* (pictures); features extracted from a sample form a *template*. A template that is
searched with is a *probe*; one that is searched among is a *reference*, and all references together are the
*gallery*. A *person* has *encounters* (OSIA): each visit that left references is one.

Nothing here does input or output, and no `repr` here shows a template.
"""

import base64
import binascii
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NewType

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema

Vector = NDArray[np.float32]
"""One face's features: shape (d,), float32, finite."""

ComparisonScore = NewType("ComparisonScore", float)
"""-10·log10(false match rate), in dB: 30 means that one pair of strangers in 1,000 scores this high."""

ALL_GALLERIES = "ALL"
"""OSIA's name for "whatever gallery": reserved, never a gallery of its own."""

MAX_DIMENSION = 4096
"""No face network in use has a wider template; a longer vector is a malformed or hostile record."""

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _bytes_from_base64(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("must be base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 (RFC 4648, section 4, with padding)") from None


def _base64_from_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


Bytes64 = Annotated[
    bytes,
    PlainValidator(_bytes_from_base64),
    PlainSerializer(_base64_from_bytes, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


def _vector_from_base64(value: object) -> Vector:
    if isinstance(value, np.ndarray):
        vector: Vector = np.ascontiguousarray(value, dtype=np.float32)
    else:
        raw = _bytes_from_base64(value)
        if len(raw) % 4:
            raise ValueError(f"has {len(raw)} bytes, which is no whole number of 4-byte floats")
        vector = np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    if vector.ndim != 1 or not 1 <= vector.size <= MAX_DIMENSION:
        raise ValueError(f"has shape {vector.shape}; wanted is one dimension of 1 to {MAX_DIMENSION} floats")
    if not bool(np.isfinite(vector).all()):
        raise ValueError("holds a NaN or an infinity")
    return vector


def _base64_from_vector(value: Vector) -> str:
    return base64.b64encode(value.astype("<f4", copy=False).tobytes()).decode("ascii")


Vector64 = Annotated[
    Vector,
    PlainValidator(_vector_from_base64),
    PlainSerializer(_base64_from_vector, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "description": "little-endian float32, one after another",
        }
    ),
]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The features of one face; comparable only with templates of the same `model`."""

    __pydantic_config__ = STRICT
    model: str
    """Names everything that turned the picture into `vector` (landmarks, alignment, network)."""
    vector: Vector64 = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.model == other.model and np.array_equal(self.vector, other.vector)

    __hash__ = None  # type: ignore[assignment]  # holds an array


class RetakeReason(StrEnum):
    """Why a sample cannot be used, in words that a station can show. The first four are not about the face."""

    UNDECODABLE = "undecodable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_LARGE = "too_large"
    TOO_COSTLY = "too_costly"
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    BLURRED = "blurred"
    TURNED_AWAY = "turned_away"
    CUT_OFF = "cut_off"
    TOO_CLOSE = "too_close"
    TOO_FAR = "too_far"
    TURNED_PICTURE = "turned_picture"
    """The picture, not the head: it lies on its side, or upside down."""
    NOISY = "noisy"
    PRINTED = "printed"
    """Made of dots or lines: a print, a screen, a fax."""
    ALTERED = "altered"
    """Not as a camera takes it: few tones, false colours, a drawing, a filter."""
    NOT_A_FACE = "not_a_face"
    SEVERAL_PEOPLE = "several_people"
    """The samples of one set show different people."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One failed measure of one sample: what was measured, what is asked for, and what to do about it."""

    __pydantic_config__ = STRICT
    reason: RetakeReason
    advice: str
    """One sentence for the person at the station: what is wrong, with the measure and its limit."""
    measured: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """What the quality gate measured on one sample. `score` is 0 (refused) to 100 (every measure well inside)."""

    __pydantic_config__ = STRICT
    score: int
    measures: dict[str, float] = field(default_factory=dict[str, float])
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An encounter that a search returned, most alike first; ties in the order in which they were enrolled."""

    __pydantic_config__ = STRICT
    person_id: str
    encounter_id: str
    score: float
    """A ComparisonScore, rounded to 0.01 dB."""
    galleries: tuple[str, ...] = ()
    extrapolated: bool = False
    """The score lies beyond what the model's calibration measured."""
