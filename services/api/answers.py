"""What a decision looks like as an answer: status, body and headers, the same in a response and in a callback. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from services.api.errors import Code, Refusal
from shared import biometrics
from shared.biometrics import Quality
from shared.encounters import Encounter, Key
from shared.events import (
    Changed,
    Conflict,
    Decided,
    Enrolled,
    Expired,
    Identified,
    JsonObject,
    Refused,
    Repeated,
    Unknown,
    Verified,
)

JSON: Final = "application/json"
ERROR_JSON: Final = "application/error+json"
"""What OSIA calls an error in a callback; in a response it is plain JSON."""

QUALITY_FORMAT: Final = "EYNI-1"
"""Names the quality gate of services/enroll: 0 (refused) to 100 (every measure well inside its limits)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. A 204 has no body in a response; in a callback it is the text "OK"."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def delivered(self) -> "Answer":
        """Return what a callback carries: "OK" for nothing, and the error's own content type."""
        if self.status == 204:
            return Answer(self.status, b'"OK"', JSON, self.headers)
        return Answer(self.status, self.body, ERROR_JSON if self.status >= 400 else JSON, self.headers)


def as_json(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """Write a value as an answer's body."""
    return Answer(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), JSON, headers or {})


def refused(refusal: Refusal) -> Answer:
    """Write a refusal as an Error."""
    return as_json(refusal.status, {"code": int(refusal.code), "message": refusal.message}, refusal.headers)


def decided(decision: Decided) -> Answer:
    """Write a decision as an answer. A Repeated has none of its own: look up the request it names."""
    position = _position(decision)
    match decision.outcome:
        case Enrolled() as enrolled:
            return as_json(200, _enrolled(enrolled, decision), position | _left_out(enrolled.qualities))
        case Changed() as changed:
            # A 204 has no body: identify by the encounter's id says who they are.
            others = changed.total_candidates
            return Answer(204, headers=position | ({"Eyni-Total-Candidates": str(others)} if others else {}))
        case Verified(match=match, score=score, extrapolated=extrapolated) as verified:
            detail = {"score": score, "biometricType": "FACE", **_others(extrapolated)}
            scores = {"scores": [detail]} if match and score is not None else {}
            left_out = _left_out(verified.qualities, verified.against_qualities)
            return as_json(200, {"decision": match, **scores}, position | left_out)
        case Identified() as identified:
            total = {"Eyni-Total-Candidates": str(identified.total_candidates)}
            left_out = _left_out(identified.qualities)
            return as_json(200, _candidates(identified.candidates), position | total | left_out)
        case Refused(qualities=qualities, against_qualities=against):
            return refused(_retake(qualities, against))
        case Conflict(message=message):
            return refused(Refusal(Code.CONFLICT, message))
        case Unknown(message=message):
            return refused(Refusal(Code.UNKNOWN, message))
        case Expired():
            return refused(
                Refusal(Code.EXPIRED, "was not worked on before its caller had to be answered; send the same again")
            )
        case Repeated():
            raise ValueError("a repeated request is answered as the one that it repeats")


def _position(decision: Decided) -> dict[str, str]:
    """Say how much of the gallery was looked at: an answer without it could come from a gallery that lags (D5)."""
    if decision.as_of < 0:
        return {}
    return {"Eyni-As-Of": str(decision.as_of), "Eyni-Gallery-Count": str(decision.gallery_count)}


def _enrolled(enrolled: Enrolled, decision: Decided) -> JsonObject:
    people = {c.person_id for c in enrolled.candidates}
    too_many = enrolled.total_candidates > len(people)
    outcome = "TOO_MANY_CANDIDATES" if too_many else "ENROLLED_SUSPECT" if people else "ENROLLED_UNIQUE"
    return {
        "personId": enrolled.person_id,
        "encounterId": enrolled.encounter_id,
        "others": {
            "outcome": outcome,
            "asOf": decision.as_of,
            "galleryCount": decision.gallery_count,
            "quality": [_quality(q) for q in enrolled.qualities],
            "candidates": [
                {
                    "personId": c.person_id,
                    "encounterId": c.encounter_id,
                    "score": c.score,
                    **_extrapolated(c.extrapolated),
                }
                for c in enrolled.candidates
            ],
            "totalCandidates": enrolled.total_candidates,
        },
    }


def enrolled_before(encounter: Encounter) -> Answer:
    """Answer a re-send whose first decision is no longer kept: it is enrolled; what was found then is forgotten."""
    others: JsonObject = {"outcome": "ENROLLED_BEFORE", "quality": [_quality(q) for q in encounter.qualities]}
    return as_json(
        200,
        {"personId": encounter.key.person_id, "encounterId": encounter.key.encounter_id, "others": others},
    )


def _quality(quality: Quality) -> JsonObject:
    shown: JsonObject = {"score": quality.score, "measures": dict(quality.measures)}
    if quality.defects:
        shown["defects"] = [{"reason": d.reason.value, "advice": d.advice} for d in quality.defects]
    return shown


def _candidates(candidates: Sequence[biometrics.Candidate]) -> list[JsonValue]:
    """One candidate a person, in the order found; a score for each encounter of theirs that was found."""
    people: dict[str, list[biometrics.Candidate]] = {}
    for candidate in candidates:
        people.setdefault(candidate.person_id, []).append(candidate)
    shown: list[JsonValue] = []
    for rank, (person, found) in enumerate(people.items(), start=1):
        best = max(found, key=lambda c: c.score)
        scores: list[JsonValue] = [_score(c) for c in found]
        shown.append(
            {"personId": person, "rank": rank, "score": best.score, "scores": scores, **_others(best.extrapolated)}
        )
    return shown


def _score(candidate: biometrics.Candidate) -> JsonObject:
    detail: JsonObject = {
        "score": candidate.score,
        "encounterId": candidate.encounter_id,
        "biometricType": "FACE",
        **_others(candidate.extrapolated),
    }
    if candidate.galleries:
        detail["galleries"] = list(candidate.galleries)
    return detail


def _others(extrapolated: bool) -> JsonObject:
    """Say in OSIA's place for vendors that a score lies beyond what was measured."""
    return {"others": _extrapolated(True)} if extrapolated else {}


def _extrapolated(extrapolated: bool) -> JsonObject:
    return {"extrapolated": True} if extrapolated else {}


def _retake(qualities: Sequence[Quality], against: Sequence[Quality]) -> Refusal:
    named = _named(qualities, against)
    reasons = dict.fromkeys(d.reason.value for q in named.values() for d in q.defects)
    lines = [
        f"{name}: " + ("; ".join(f"{d.reason.value}: {d.advice}" for d in quality.defects) or "usable.")
        for name, quality in named.items()
    ]
    # Of one set, no sample is usable; of two that are compared, those of one of them may be.
    usable = [
        where for where, those in zip(_SETS, (qualities, against), strict=True) if not all(q.defects for q in those)
    ]
    where = f" of {_SETS[1 - _SETS.index(usable[0])]}" if usable else ""
    message = f"No sample{where} could be used, take the picture again. " + " ".join(lines)
    return Refusal(Code.RETAKE, message, {"Eyni-Retake": ",".join(reasons)} if reasons else None)


_SETS: Final = ("biometricData1", "biometricData2")
"""OSIA's names for what is compared."""


def _named(qualities: Sequence[Quality], against: Sequence[Quality]) -> dict[str, Quality]:
    """Name samples as people count them, from 1, and by their set where there are two."""
    if not against:
        return {f"sample {n}": quality for n, quality in enumerate(qualities, start=1)}
    return {
        f"{where} sample {n}": quality
        for where, those in zip(_SETS, (qualities, against), strict=True)
        for n, quality in enumerate(those, start=1)
    }


def _left_out(qualities: Sequence[Quality], against: Sequence[Quality] = ()) -> dict[str, str]:
    """Say which samples the answer does not rest on, and why: no body has a place for it in all answers."""
    told = [
        f"{name}: {' '.join(d.reason.value for d in quality.defects)}"
        for name, quality in _named(qualities, against).items()
        if quality.defects
    ]
    return {"Eyni-Left-Out": "; ".join(told)} if told else {}


# ---- what is read from the registry


def encounter(found: Encounter) -> JsonObject:
    """Write an encounter as it was sent, but for its pictures (which are not kept), with the quality measured."""
    document: JsonObject = json.loads(found.document)
    samples = document.get("biometricData")
    entries: list[JsonValue] = []
    for index, sample in enumerate(samples if isinstance(samples, list) else []):
        entry = dict(sample) if isinstance(sample, dict) else {}
        if index < len(found.qualities):
            entry |= {"quality": found.qualities[index].score, "qualityFormat": QUALITY_FORMAT}
        entries.append(entry)
    return {
        "encounterId": found.key.encounter_id,
        "status": "ACTIVE" if found.active else "INACTIVE",
        "encounterType": "",
        "createdDate": found.created_at.isoformat().replace("+00:00", "Z"),
        **document,
        "updatedDate": found.updated_at.isoformat().replace("+00:00", "Z"),
        "galleries": list(found.galleries),
        "biometricData": entries,
    }


def gallery_json(keys: Sequence[Key]) -> Answer:
    """Write a gallery's content as OSIA's list of PersonIds."""
    return as_json(200, [{"personId": k.person_id, "encounterId": k.encounter_id} for k in keys])


def gallery_csv(keys: Sequence[Key]) -> Answer:
    """Write it as OSIA's example does, `PersonId, encounterId`, with RFC 4180's quoting and line ends."""
    text = io.StringIO()
    text.write("PersonId, encounterId\r\n")
    for key in keys:
        text.write(", ".join(_csv(part) for part in key) + "\r\n")
    return Answer(200, text.getvalue().encode(), "text/csv; charset=utf-8; header=present")


_FORMULA: Final = frozenset("=+-@\t\r\n|%\uff1d\uff0b\uff0d\uff20'")
"""OWASP's list, the wide forms that spreadsheets take too, what begins DDE in old ones; and the mark itself, so that no
two values are written as one."""


def _csv(value: str) -> str:
    """Quote where RFC 4180 says so, and where the blank after the comma would hide one of the value's own."""
    line = io.StringIO()
    # A spreadsheet takes what begins so for a formula, and runs it for whoever opens the file (OWASP, "CSV Injection").
    if value.lstrip(" ")[:1] in _FORMULA:
        value = f"'{value}"
    csv.writer(line, quoting=csv.QUOTE_ALL if value.strip() != value else csv.QUOTE_MINIMAL).writerow([value])
    return line.getvalue().removesuffix("\r\n")
