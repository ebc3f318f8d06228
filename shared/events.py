"""The facts that services append to the log. `shared.envelope` says how they look as bytes.

Each fact belongs to one *request*: a call that was accepted, and that gets exactly one `Decided` (I1). A request has
at most one fact of each type, so request id and type identify a fact; a copy (redelivered after a crash) is ignored.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from shared.biometrics import STRICT, Bytes64, Candidate, Quality, Template
from shared.performance import Performance
from shared.request import CLOCKS as CLOCKS
from shared.request import Id as Id
from shared.request import Moment as Moment
from shared.request import Request as Request

JsonObject = dict[str, JsonValue]


# ---- what a capture is for


@dataclass(frozen=True, slots=True)
class Enrol:
    """Make the samples a reference of this encounter."""

    __pydantic_config__ = STRICT
    person_id: Id
    encounter_id: Id
    galleries: tuple[Id, ...]
    body_digest: str
    """SHA-256 (hex) of what the client sent, so that a re-send is told from a conflict (I16)."""
    active: bool = True
    replaces: bool = False
    """True: the encounter must exist and is replaced; False: it must not exist."""
    document: JsonObject = field(default_factory=dict[str, JsonValue], repr=False)
    """The OSIA encounter as sent, without its pictures: what reading it back returns and filters look at."""
    kind: Literal["enrol"] = "enrol"


@dataclass(frozen=True, slots=True)
class Verify:
    """Is this the person they claim to be: 1:1 against all active references of the person."""

    __pydantic_config__ = STRICT
    gallery: Id
    person_id: Id
    threshold: float | None = None
    """A ComparisonScore in dB; None is the system's own."""
    kind: Literal["verify"] = "verify"


@dataclass(frozen=True, slots=True)
class Compare:
    """Do two sets of samples show one person."""

    __pydantic_config__ = STRICT
    threshold: float | None = None
    kind: Literal["compare"] = "compare"


@dataclass(frozen=True, slots=True)
class Identify:
    """Who is this: 1:N in one gallery or ALL."""

    __pydantic_config__ = STRICT
    gallery: Id
    max_candidates: int
    threshold: float | None = None
    filter: JsonObject = field(default_factory=dict[str, JsonValue], repr=False)
    target: float | None = None
    """The FPIR in dB that this one search is to keep, instead of the system's; `threshold` goes before it."""
    kind: Literal["identify"] = "identify"


Purpose = Annotated[Enrol | Verify | Compare | Identify, Field(discriminator="kind")]
Question = Annotated[Verify | Compare | Identify, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a face as it was captured: JPEG, PNG, WebP or JPEG 2000."""

    __pydantic_config__ = STRICT
    image: Bytes64 = field(repr=False)


@dataclass(frozen=True, slots=True)
class CaptureReceived:
    """A call that carries samples was accepted (on `captures-urgent` or `captures-bulk`)."""

    __pydantic_config__ = STRICT
    request: Request
    purpose: Purpose
    samples: tuple[Sample, ...]
    against: tuple[Sample, ...] = ()
    """The second set; only for the purpose `compare`."""


# ---- gallery: everything that changes it, in one total order


@dataclass(frozen=True, slots=True)
class ReferenceEnrolled:
    """The samples of an encounter gave these templates."""

    __pydantic_config__ = STRICT
    request: Request
    enrol: Enrol
    templates: tuple[Template, ...]
    qualities: tuple[Quality, ...] = ()


@dataclass(frozen=True, slots=True)
class EncounterRemoved:
    __pydantic_config__ = STRICT
    request: Request
    person_id: Id
    encounter_id: Id


@dataclass(frozen=True, slots=True)
class PersonRemoved:
    __pydantic_config__ = STRICT
    request: Request
    person_id: Id


@dataclass(frozen=True, slots=True)
class EncounterMoved:
    __pydantic_config__ = STRICT
    request: Request
    source_id: Id
    target_id: Id
    encounter_id: Id


@dataclass(frozen=True, slots=True)
class PersonsMerged:
    """All encounters of the source are the target's from here on."""

    __pydantic_config__ = STRICT
    request: Request
    source_id: Id
    target_id: Id


@dataclass(frozen=True, slots=True)
class EncounterActivated:
    """Also the opposite: `active` says which. An inactive encounter is in no search and no verification."""

    __pydantic_config__ = STRICT
    request: Request
    person_id: Id
    encounter_id: Id
    active: bool


@dataclass(frozen=True, slots=True)
class EncounterRefiled:
    """The encounter is filed under these galleries, and no others."""

    __pydantic_config__ = STRICT
    request: Request
    person_id: Id
    encounter_id: Id
    galleries: tuple[Id, ...]


GalleryEvent = (
    ReferenceEnrolled
    | EncounterRemoved
    | PersonRemoved
    | EncounterMoved
    | PersonsMerged
    | EncounterActivated
    | EncounterRefiled
)


# ---- probes


@dataclass(frozen=True, slots=True)
class ProbeExtracted:
    """Templates to be compared and not enrolled; a `Quality` for each sample, also of those that gave none."""

    __pydantic_config__ = STRICT
    request: Request
    question: Question
    templates: tuple[Template, ...]
    against: tuple[Template, ...] = ()
    qualities: tuple[Quality, ...] = ()
    against_qualities: tuple[Quality, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeChosen:
    """Search with the active references of somebody enrolled (of one encounter, or of all)."""

    __pydantic_config__ = STRICT
    request: Request
    question: Identify
    person_id: Id
    encounter_id: Id | None = None


ProbeEvent = ProbeExtracted | ProbeChosen


# ---- decisions: exactly one outcome for each request


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Enrolled; `candidates` are the earlier people it may be a duplicate of, most alike first."""

    __pydantic_config__ = STRICT
    person_id: Id
    encounter_id: Id
    candidates: tuple[Candidate, ...] = ()
    total_candidates: int = 0
    """How many there are in truth; more than `candidates` holds is an outcome of its own (TOO_MANY_CANDIDATES)."""
    qualities: tuple[Quality, ...] = ()
    kind: Literal["enrolled"] = "enrolled"


@dataclass(frozen=True, slots=True)
class Refused:
    """No sample could be used: take the picture again. One `Quality` for each sample of each set, in order."""

    __pydantic_config__ = STRICT
    qualities: tuple[Quality, ...]
    against_qualities: tuple[Quality, ...] = ()
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Changed:
    """The gallery was changed as asked.

    An encounter that was activated or filed anew is searched for as if it came now: `candidates` are the people who
    were there already, so that nobody slips in by being inactive, or elsewhere, when they were enrolled.
    """

    __pydantic_config__ = STRICT
    candidates: tuple[Candidate, ...] = ()
    total_candidates: int = 0
    kind: Literal["changed"] = "changed"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A re-send of what is enrolled already: the answer is that of the request `of`."""

    __pydantic_config__ = STRICT
    of: Id
    kind: Literal["repeated"] = "repeated"


@dataclass(frozen=True, slots=True)
class Conflict:
    """The encounter exists already, with other content (OSIA 409)."""

    __pydantic_config__ = STRICT
    message: str
    kind: Literal["conflict"] = "conflict"


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such person, encounter or gallery (OSIA 404)."""

    __pydantic_config__ = STRICT
    message: str
    kind: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class Verified:
    """`score` is given only where the answer is yes: a score of a non-match helps to rebuild a template (D6)."""

    __pydantic_config__ = STRICT
    match: bool
    score: float | None = None
    extrapolated: bool = False
    """The score lies beyond what the model's calibration measured."""
    qualities: tuple[Quality, ...] = ()
    against_qualities: tuple[Quality, ...] = ()
    kind: Literal["verified"] = "verified"


@dataclass(frozen=True, slots=True)
class Identified:
    __pydantic_config__ = STRICT
    candidates: tuple[Candidate, ...]
    total_candidates: int
    qualities: tuple[Quality, ...] = ()
    kind: Literal["identified"] = "identified"


@dataclass(frozen=True, slots=True)
class Expired:
    """A question that was not worked on, because its `answer_by` had passed: nobody waits for the answer any more."""

    __pydantic_config__ = STRICT
    kind: Literal["expired"] = "expired"


Outcome = Annotated[
    Enrolled | Refused | Changed | Repeated | Conflict | Unknown | Verified | Identified | Expired,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Decided:
    """The one outcome of a request, at a stated position of the gallery log."""

    __pydantic_config__ = STRICT
    request: Request
    outcome: Outcome
    as_of: int
    """Everything before this offset of `gallery` was taken into account; -1 where the gallery was not asked."""
    gallery_count: int
    """Active references among which was searched; -1 where the gallery was not asked."""


# ---- dead-letters, heartbeats


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """Bytes that are no event, with the reason and where they came from."""

    __pydantic_config__ = STRICT
    topic: str
    partition: int
    offset: int
    reason: str
    key: Bytes64 = field(repr=False)
    value: Bytes64 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Which calibration a service runs with: it reads the file once, at its start."""

    __pydantic_config__ = STRICT
    model: str
    """The model's id."""
    digest: str
    """The first 12 hex digits of the SHA-256 of the calibration's file."""
    at: Moment
    """When: of two services that differ, the one that was later has what is in use by now."""


@dataclass(frozen=True, slots=True)
class ServiceReported:
    """A running service says, once a second, that it lives and how far it is."""

    __pydantic_config__ = STRICT
    service: Literal["enroll", "match", "api"]
    instance: str
    at: Moment
    ready: bool
    detail: str = ""
    """Why not ready, for the operator."""
    as_of: int = -1
    """match: the gallery position; -1 for others."""
    gallery_count: int = -1
    figures: dict[str, float] = field(default_factory=dict[str, float])
    """Counters and rates by metric name, for `eyni status`."""
    expected: tuple[Performance, ...] = ()
    """match: what the model can be expected to deliver at the present thresholds."""
    calibration: Loaded | None = None
    confined: str = ""
    """None and "": it is of a version that doesn't say. `confined`: what holds enroll's decoders, in words."""


Event = CaptureReceived | GalleryEvent | ProbeEvent | Decided | DeadLettered | ServiceReported
