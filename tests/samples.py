"""One of every event, fixed for ever: what the golden files were written from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from shared.biometrics import Candidate, Defect, Quality, RetakeReason, Template
from shared.events import (
    CaptureReceived,
    Changed,
    Compare,
    Conflict,
    DeadLettered,
    Decided,
    EncounterActivated,
    EncounterMoved,
    EncounterRefiled,
    EncounterRemoved,
    Enrol,
    Enrolled,
    Event,
    Expired,
    Identified,
    Identify,
    Loaded,
    Outcome,
    PersonRemoved,
    PersonsMerged,
    ProbeChosen,
    ProbeExtracted,
    ReferenceEnrolled,
    Refused,
    Repeated,
    Request,
    Sample,
    ServiceReported,
    Unknown,
    Verified,
    Verify,
)
from shared.performance import Performance

_AT = datetime(2026, 11, 22, 10, 30, 0, 125000, tzinfo=UTC)
_REQUEST = Request("c-7f00", "transaction/é 1", _AT, "station-4")
_AWAITED = replace(_REQUEST, answer_by=_AT + timedelta(seconds=30))
_TEMPLATE = Template("dlib-resnet-v1", np.array([0.0, 0.5, -1.25, 3e-7], np.float32))
_ENROL = Enrol(
    person_id="P-1",
    encounter_id="E-1",
    galleries=("visa", "border"),
    body_digest="ab" * 32,
    document={"encounterType": "VISA", "biographicData": {"dateOfBirth": "1985-11-30", "height": 1.7, "tags": [None]}},
)
_QUALITY = Quality(
    0, {"brightness": 12.5}, (Defect(RetakeReason.TOO_DARK, "More light, please: 12 of at least 40.", 12.5, 40.0),)
)
_LEFT_OUT = Quality(0, {"sharpness": 3.5}, (Defect(RetakeReason.BLURRED, "Hold still.", 3.5, 9.0),))
_BEYOND = Candidate("P-0", "E-9", 61.5, (), extrapolated=True)
_CANDIDATE = Candidate("P-0", "E-9", 57.31, ("visa",))

_OUTCOMES: dict[str, Outcome] = {
    "enrolled": Enrolled("P-1", "E-1", (_CANDIDATE,), 1, (Quality(88),)),
    "refused": Refused((_QUALITY,)),
    "changed": Changed((_CANDIDATE,), 1),
    "repeated": Repeated("c-6e00"),
    "conflict": Conflict("exists"),
    "unknown": Unknown("no such person"),
    "verified": Verified(True, 44.0),
    "identified": Identified((_CANDIDATE,), 3),
}

SAMPLES: dict[str, Event] = {
    "capture-enrol": CaptureReceived(_REQUEST, _ENROL, (Sample(b"\xff\xd8 a picture"),)),
    "capture-verify": CaptureReceived(_REQUEST, Verify("ALL", "P-1", 33.0), (Sample(b"\x89PNG"),)),
    "capture-compare": CaptureReceived(_REQUEST, Compare(), (Sample(b"1"),), (Sample(b"2"), Sample(b"3"))),
    "capture-identify": CaptureReceived(_REQUEST, Identify("visa", 5, None, {"gender": ["F"]}), (Sample(b"1"),)),
    "reference-enrolled": ReferenceEnrolled(_REQUEST, _ENROL, (_TEMPLATE,), (Quality(88, {"sharpness": 210.0}),)),
    "encounter-removed": EncounterRemoved(_REQUEST, "P-1", "E-1"),
    "person-removed": PersonRemoved(_REQUEST, "P-1"),
    "encounter-moved": EncounterMoved(_REQUEST, "P-1", "P-2", "E-1"),
    "persons-merged": PersonsMerged(_REQUEST, "P-1", "P-2"),
    "encounter-activated": EncounterActivated(_REQUEST, "P-1", "E-1", False),
    "encounter-refiled": EncounterRefiled(_REQUEST, "P-1", "E-1", ("police",)),
    "probe-extracted": ProbeExtracted(_REQUEST, Compare(40.0), (_TEMPLATE,), (_TEMPLATE,)),
    "probe-chosen": ProbeChosen(_REQUEST, Identify("ALL", 30), "P-1", "E-1"),
    **{f"decided-{kind}": Decided(_REQUEST, outcome, 41, 1000) for kind, outcome in _OUTCOMES.items()},
    "dead-lettered": DeadLettered("gallery", 0, 17, "not a JSON object", b"k", b"\x00\xff"),
    "service-reported": ServiceReported("match", "match@host:1", _AT, True, "", 41, 1000, {"decided": 7.0}),
    # What the decoders' confinement brought.
    "service-reported-confined": ServiceReported(
        "enroll", "enroll@host:2", _AT, True, confined="uid 65533, Landlock 7, seccomp"
    ),
    # What calibrated scores brought: fields that older bytes lack.
    "capture-identify-level": CaptureReceived(_REQUEST, Identify("visa", 5, target=20.0), (Sample(b"1"),)),
    "decided-enrolled-extrapolated": Decided(_REQUEST, Enrolled("P-1", "E-1", (_BEYOND,), 1), 41, 1000),
    "decided-verified-extrapolated": Decided(_REQUEST, Verified(True, 61.5, True), 41, 1000),
    "service-reported-expected": ServiceReported(
        "match", "match@host:1", _AT, True, expected=(Performance("duplicates", "ALL", 1000, 30.0, 60.0, 0.53, 53.24),)
    ),
    # What samples that were left out brought: they are named in every answer.
    "probe-extracted-of-several": ProbeExtracted(
        _REQUEST, Compare(40.0), (_TEMPLATE,), (_TEMPLATE,), (Quality(88), _LEFT_OUT), (Quality(71),)
    ),
    "decided-refused-comparison": Decided(_REQUEST, Refused((Quality(88),), (_LEFT_OUT,)), -1, -1),
    "decided-verified-of-several": Decided(_REQUEST, Verified(True, 44.0, False, (Quality(88), _LEFT_OUT)), 41, 1000),
    "decided-identified-of-several": Decided(
        _REQUEST, Identified((_CANDIDATE,), 3, (_LEFT_OUT, Quality(88))), 41, 1000
    ),
    # What agreement on one calibration brought.
    "service-reported-calibration": ServiceReported(
        "enroll", "enroll@host:2", _AT, True, calibration=Loaded("dlib-0123456789ab", "ba9876543210", _AT)
    ),
    # What deadlines of questions brought.
    "capture-verify-answer-by": CaptureReceived(_AWAITED, Verify("ALL", "P-1", 33.0), (Sample(b"\x89PNG"),)),
    "probe-chosen-answer-by": ProbeChosen(_AWAITED, Identify("visa", 30), "P-1"),
    "decided-expired": Decided(_AWAITED, Expired(), -1, -1),
}
