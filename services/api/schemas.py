"""What goes over HTTP: OSIA ABIS 1.6.0's schemas under their own names, apart from the events on purpose.

Where OSIA leaves a value open and Eyni must have a limit, the limit is here, with its reason.
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypeAliasType

from shared.ids import LENGTH, objection_to_id

T = TypeVar("T")
Maybe: TypeAlias = T | SkipJsonSchema[None]
"""May be left out; `_Model` refuses a null."""

SAMPLES: Final = 20
"""Most pictures in one list: each costs an extraction; a visit takes one to a few."""

GALLERIES: Final = 100
"""Most galleries of one encounter."""


LISTED: Final = 100
"""Most items of other lists: there are ten fingers, and a few signatures. Each wrong item makes a line of an error."""

STRANGE: Final = 20
"""Unknown fields of an object that are told by name; with more of them the object is another one altogether. 99,000
kept the event loop busy for four seconds, with the making of errors that nobody is told."""


def _id(text: str) -> str:
    if (wrong := objection_to_id(text)) is not None:
        raise ValueError(wrong)
    return text


Id = Annotated[
    str,
    AfterValidator(_id),
    Field(json_schema_extra={"minLength": 1, "maxLength": LENGTH, "pattern": r"^[^\x00-\x1f\x7f-\x9f/\\]+$"}),
]
"""An id as it may be sent, in a path or in a body: `shared.ids` has the rule, of which OpenAPI can say a part."""


def base64_bytes(text: str) -> bytes:
    """Decode standard base64 with padding (RFC 4648, section 4) and nothing else. Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 (RFC 4648, section 4, with padding, no line breaks)") from None


def _base64(text: str) -> str:
    base64_bytes(text)
    return text


def _timestamp(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise ValueError("is no RFC 3339 date-time with an offset, like 2026-11-22T10:00:00Z")
    return text


def _unique(items: list[str]) -> list[str]:
    if len(set(items)) != len(items):
        raise ValueError("must not name anything twice")
    return items


Timestamp = Annotated[str, AfterValidator(_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})]
Uri = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Base64 = Annotated[str, AfterValidator(_base64), WithJsonSchema({"type": "string", "format": "byte"})]
Galleries = Annotated[
    list[Id],
    Field(min_length=1, max_length=GALLERIES, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]
JsonObject = dict[str, JsonValue]

BiographicData = TypeAliasType("BiographicData", JsonObject)
ContextualData = TypeAliasType("ContextualData", JsonObject)
Filter = TypeAliasType("Filter", JsonObject)
TemplateFormat = TypeAliasType("TemplateFormat", str)
QualityFormat = TypeAliasType("QualityFormat", str)

BiometricType = TypeAliasType("BiometricType", Literal["FACE", "FINGER", "IRIS", "SIGNATURE", "UNKNOWN"])
CompressionType = TypeAliasType("CompressionType", Literal["NONE", "WSQ", "JPEG", "JPEG2000", "PNG"])
# fmt: off
ImpressionType = TypeAliasType("ImpressionType", Literal[
    "LIVE_SCAN_PLAIN", "LIVE_SCAN_ROLLED", "NONLIVE_SCAN_PLAIN", "NONLIVE_SCAN_ROLLED", "LATENT_IMPRESSION",
    "LATENT_TRACING", "LATENT_PHOTO", "LATENT_LIFT", "LIVE_SCAN_SWIPE", "LIVE_SCAN_VERTICAL_ROLL", "LIVE_SCAN_PALM",
    "NONLIVE_SCAN_PALM", "LATENT_PALM_IMPRESSION", "LATENT_PALM_TRACING", "LATENT_PALM_PHOTO", "LATENT_PALM_LIFT",
    "LIVE_SCAN_OPTICAL_CONTACTLESS_PLAIN", "OTHER", "UNKNOWN",
])
BiometricSubType = TypeAliasType("BiometricSubType", Literal[
    "UNKNOWN", "RIGHT_THUMB", "RIGHT_INDEX", "RIGHT_MIDDLE", "RIGHT_RING", "RIGHT_LITTLE", "LEFT_THUMB", "LEFT_INDEX",
    "LEFT_MIDDLE", "LEFT_RING", "LEFT_LITTLE", "PLAIN_RIGHT_FOUR_FINGERS", "PLAIN_LEFT_FOUR_FINGERS", "PLAIN_THUMBS",
    "UNKNOWN_PALM", "RIGHT_FULL_PALM", "RIGHT_WRITERS_PALM", "LEFT_FULL_PALM", "LEFT_WRITERS_PALM",
    "RIGHT_LOWER_PALM", "RIGHT_UPPER_PALM", "LEFT_LOWER_PALM", "LEFT_UPPER_PALM", "RIGHT_OTHER", "LEFT_OTHER",
    "RIGHT_INTERDIGITAL", "RIGHT_THENAR", "RIGHT_HYPOTHENAR", "LEFT_INTERDIGITAL", "LEFT_THENAR", "LEFT_HYPOTHENAR",
    "RIGHT_INDEX_AND_MIDDLE", "RIGHT_MIDDLE_AND_RING", "RIGHT_RING_AND_LITTLE", "LEFT_INDEX_AND_MIDDLE",
    "LEFT_MIDDLE_AND_RING", "LEFT_RING_AND_LITTLE", "RIGHT_INDEX_AND_LEFT_INDEX", "RIGHT_INDEX_AND_MIDDLE_AND_RING",
    "RIGHT_MIDDLE_AND_RING_AND_LITTLE", "LEFT_INDEX_AND_MIDDLE_AND_RING", "LEFT_MIDDLE_AND_RING_AND_LITTLE",
    "EYE_UNDEF", "EYE_RIGHT", "EYE_LEFT", "EYE_BOTH", "PORTRAIT", "LEFT_PROFILE", "RIGHT_PROFILE",
])
# fmt: on


class _Model(BaseModel):
    """Closed, strict, and without nulls: OSIA's schemas have none."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_and_no_null(cls, data: Any) -> Any:
        if isinstance(data, dict):
            fields = cast(dict[str, object], data)
            if len(fields) > len(cls.model_fields) + STRANGE:
                raise ValueError(f"has {len(fields)} fields; there are {len(cls.model_fields)} that it may have")
            for name in cls.model_fields:
                if name in fields and fields[name] is None:
                    raise ValueError(f"{name} is null; leave it out instead")
        return cast(object, data)


class Error(_Model):
    code: Annotated[int, Field(json_schema_extra={"format": "int32"})]
    message: str


class Encryption(_Model):
    type: Literal["JWE", "PKCS7"]
    scope: str


class Integrity(_Model):
    id: Maybe[str] = None
    type: Literal["NONE", "JWS", "PKCS7"] = "NONE"
    scope: str
    alg: str
    encrypted: bool = False
    followRef: bool = False
    hash: str
    signature: Maybe[str] = None
    signatureRef: Maybe[Uri] = None


class MissingType(_Model):
    biometricSubType: Maybe[BiometricSubType] = None
    presence: Maybe[Literal["BANDAGED", "AMPUTATED", "DAMAGED"]] = None


class BiometricData(_Model):
    biometricType: BiometricType
    biometricSubType: Maybe[BiometricSubType] = None
    instance: Maybe[str] = None
    encounterId: Maybe[Id] = None
    image: Annotated[Maybe[str], Field(repr=False)] = None
    imageRef: Maybe[Uri] = None
    captureDate: Maybe[Timestamp] = None
    captureDevice: Maybe[str] = None
    impressionType: Maybe[ImpressionType] = None
    width: Maybe[int] = None
    height: Maybe[int] = None
    bitdepth: Maybe[int] = None
    mimeType: Maybe[str] = None
    resolution: Maybe[int] = None
    compression: Maybe[CompressionType] = None
    missing: Maybe[Annotated[list[MissingType], Field(max_length=LISTED)]] = None
    metadata: Maybe[str] = None
    comment: Maybe[str] = None
    template: Annotated[Maybe[str], Field(repr=False)] = None
    templateRef: Maybe[Uri] = None
    templateFormat: Maybe[TemplateFormat] = None
    quality: Maybe[Annotated[int, Field(json_schema_extra={"format": "int64"})]] = None
    qualityFormat: Maybe[QualityFormat] = None
    algorithm: Maybe[str] = None
    vendor: Maybe[str] = None
    encryption: Maybe[Encryption] = None
    integrity: Maybe[Annotated[list[Integrity], Field(max_length=LISTED)]] = None


Biometrics = Annotated[list[BiometricData], Field(min_length=1, max_length=SAMPLES)]


class BiometricComputedData(_Model):
    biometricType: BiometricType
    biometricSubType: Maybe[BiometricSubType] = None
    instance: Maybe[str] = None
    template: str
    templateFormat: Maybe[TemplateFormat] = None
    quality: Maybe[Annotated[int, Field(json_schema_extra={"format": "int64"})]] = None
    qualityFormat: Maybe[QualityFormat] = None
    algorithm: Maybe[str] = None
    vendor: Maybe[str] = None


class Encounter(_Model):
    # Required in answers; a request need not have it, which is what readOnly and required together say in OpenAPI.
    model_config = ConfigDict(
        json_schema_extra={"required": ["status", "encounterId", "encounterType", "galleries", "biometricData"]}
    )

    encounterId: Maybe[Annotated[Id, Field(json_schema_extra={"readOnly": True})]] = None
    status: Literal["ACTIVE", "INACTIVE"]
    encounterType: str
    createdDate: Maybe[Timestamp] = None
    updatedDate: Maybe[Timestamp] = None
    galleries: Galleries
    clientData: Maybe[Base64] = None
    contextualData: Maybe[ContextualData] = None
    biographicData: Maybe[BiographicData] = None
    biometricData: Biometrics
    encryption: Maybe[Encryption] = None
    integrity: Maybe[Annotated[list[Integrity], Field(max_length=LISTED)]] = None


class ScoreDetail(_Model):
    score: Annotated[float, Field(json_schema_extra={"format": "float"})]
    encounterId: Maybe[str] = None
    galleries: Maybe[Annotated[list[str], Field(min_length=1, json_schema_extra={"uniqueItems": True})]] = None
    biometricType: Maybe[BiometricType] = None
    biometricSubType: Maybe[BiometricSubType] = None
    instance: Maybe[str] = None
    others: Maybe[JsonObject] = None


class Candidate(_Model):
    personId: str
    rank: Annotated[int, Field(json_schema_extra={"format": "int32"})]
    score: Annotated[float, Field(json_schema_extra={"format": "float"})]
    scores: Maybe[list[ScoreDetail]] = None
    others: Maybe[JsonObject] = None


class PersonIds(_Model):
    personId: str
    encounterId: str


class ExtendablePersonIds(_Model):
    personId: str
    encounterId: str
    others: Maybe[JsonObject] = None


class TaskId(_Model):
    taskId: str
    others: Maybe[JsonObject] = None


class IdentifyRequest(_Model):
    filter: Filter
    biometricData: Biometrics
    encryption: Maybe[Encryption] = None
    integrity: Maybe[Annotated[list[Integrity], Field(max_length=LISTED)]] = None


class VerifyFromIdRequest(_Model):
    biometricData: Biometrics
    encryption: Maybe[Encryption] = None
    integrity: Maybe[Annotated[list[Integrity], Field(max_length=LISTED)]] = None


class VerifyFromBioRequest(_Model):
    biometricData1: Biometrics
    biometricData2: Biometrics
    encryption: Maybe[Encryption] = None
    integrity: Maybe[Annotated[list[Integrity], Field(max_length=LISTED)]] = None


class VerifyResponse(_Model):
    """OSIA has this one inline, without a name."""

    decision: bool
    scores: Maybe[list[ScoreDetail]] = None


TaskStatus = Literal["PENDING", "RESPONSE_SCHEDULED", "RESPONSE_ERROR", "RESPONSE_RETRY", "COMPLETED"]
