"""From a call to the facts that it puts on the log: everything that is checked before a record is appended.

Refusals raised here are of two kinds: the request is wrong at sight (400), or the registry says so (403, 404, 409).
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4, uuid5

from pydantic import BaseModel, JsonValue

from services.api import filters
from services.api.bodies import compact
from services.api.egress import Egress, EgressRefused
from services.api.errors import Code, Refusal, shown
from services.api.outcomes import CAPTURE_PREFIX, CHANGE_PREFIX
from services.api.pictures import Picture
from services.api.registry import Registry
from services.api.schemas import (
    BiometricData,
    Encounter,
    Encryption,
    IdentifyRequest,
    Integrity,
    VerifyFromBioRequest,
    VerifyFromIdRequest,
    base64_bytes,
)
from shared import encounters
from shared.biometrics import ALL_GALLERIES
from shared.encounters import Key
from shared.events import (
    CaptureReceived,
    Compare,
    Enrol,
    Event,
    Identify,
    JsonObject,
    Request,
    Sample,
    Verify,
)
from shared.settings import Settings

DOCUMENT_BYTES: Final = 2**20
"""Most JSON of an encounter without its pictures: it is kept for ever, and a record of `gallery` takes 4 MiB."""


_IDS: Final = UUID("5d4d2b5e-3c0e-5a77-9a5e-0b1f4c1b7e11")
"""Namespace of the ids that an Idempotency-Key fixes. Never change it: re-sends would enrol twice."""


@dataclass(frozen=True, slots=True)
class Call:
    """What every operation is given beside its own parameters."""

    operation: str
    transaction_id: str
    client: str
    request_id: str
    received_at: datetime
    callback: str | None = None
    urgent: bool = False
    """It goes ahead of bulk work."""
    scopes: frozenset[str] = frozenset()
    """What the token allows; the operation's own scope was looked at before."""

    def request(self, prefix: str, answer_within: float | None = None) -> Request:
        """Return the head of the facts that come of this call.

        `answer_within`: seconds after which a question is dropped, unless its answer goes to a callback.
        """
        patience = None if answer_within is None or self.callback is not None else timedelta(seconds=answer_within)
        answer_by = None if patience is None else self.received_at + patience
        return Request(
            f"{prefix}{self.request_id}", self.transaction_id, self.received_at, self.client, answer_by=answer_by
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is to be decided: a fact that goes onto the log, or none where an earlier request's answer is wanted."""

    request_id: str
    event: Event | None
    urgent: bool = False
    known: encounters.Encounter | None = None
    """Where there is no event: the encounter that is enrolled already."""


@dataclass(frozen=True, slots=True)
class Unfetched:
    """What is to be accepted once its pictures are there."""

    pictures: Sequence[Picture]
    then: Callable[[Sequence[bytes]], Accepted]
    """Given their bytes, in this order."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Turns calls into facts. Reads the registry, so call it in a thread."""

    registry: Registry
    egress: Egress
    settings: Settings

    # ---- enrolment

    def enrol(
        self, call: Call, body: Encounter, person_id: str | None, encounter_id: str | None, key: str | None = None
    ) -> Accepted | Unfetched:
        """Create an encounter; an id that is None is drawn, or fixed by the Idempotency-Key."""
        if encounter_id is None and body.encounterId is not None:
            raise Refusal(
                Code.WRONG_ID,
                "body encounterId: this operation draws the id; leave it out, or use POST "
                "/v1/persons/{personId}/encounters/{encounterId} to choose it",
            )
        if encounter_id is not None and key is not None:
            raise Refusal(Code.WRONG_ID, "header Idempotency-Key: the ids in the path do that already; leave it out")
        seed = f"{call.client}\n{key}"
        person_id = person_id or (str(uuid5(_IDS, f"person\n{seed}")) if key else str(uuid4()))
        encounter_id = encounter_id or (str(uuid5(_IDS, f"encounter\n{seed}")) if key else str(uuid4()))
        return self._enrol(call, body, Key(person_id, encounter_id), replaces=False)

    def replace(self, call: Call, body: Encounter, person_id: str, encounter_id: str) -> Accepted | Unfetched:
        """Replace an encounter that exists."""
        return self._enrol(call, body, Key(person_id, encounter_id), replaces=True)

    def _enrol(self, call: Call, body: Encounter, key: Key, *, replaces: bool) -> Accepted | Unfetched:
        if body.encounterId not in (None, key.encounter_id):
            raise Refusal(
                Code.WRONG_ID,
                "body encounterId: is another than the path's; leave it out of the body, or send both the same",
            )
        if ALL_GALLERIES in body.galleries:
            raise reserved("body galleries")
        _unencrypted("body", body.encryption, body.integrity)
        sent = _canonical(body)
        digest = hashlib.sha256(sent).hexdigest()
        # What is wrong at sight comes before what the registry knows, whatever is enrolled.
        _check(body.biometricData, "body biometricData")
        document = _document(body)
        active, galleries = body.status == "ACTIVE", tuple(body.galleries)
        present = self.registry.encounter(key)
        # A replacement may also take back a change of status or galleries (`shared.encounters` has the same rule).
        restores = replaces and present is not None and (present.active, present.galleries) != (active, galleries)
        if present is not None and present.body_digest == digest and not restores:
            return Accepted(present.request_id, None, known=present)
        if present is not None and not replaces:
            raise Refusal(
                Code.CONFLICT,
                f"encounter {shown(key.encounter_id)} of person {shown(key.person_id)} exists with other content; send "
                "it under another encounterId, or replace it with PUT",
            )
        if present is None and replaces:
            raise no_encounter(key)
        purpose = Enrol(
            person_id=key.person_id,
            encounter_id=key.encounter_id,
            galleries=galleries,
            body_digest=digest,
            active=active,
            replaces=replaces,
            document=document,
        )
        return self._capture(call, purpose, self._pictures(body.biometricData, "body biometricData"))

    # ---- questions

    def verify(
        self, call: Call, gallery: str, person_id: str, body: VerifyFromIdRequest, threshold: float | None
    ) -> Accepted | Unfetched:
        """Ask whether the samples show this person."""
        data = body.biometricData
        self._threshold(threshold)
        _unencrypted("body", body.encryption, body.integrity)
        _check(data, "body biometricData")
        self._gallery(gallery)
        held = self.registry.encounters_of(person_id)
        if not held:
            raise no_person(person_id)
        if gallery != ALL_GALLERIES and not any(gallery in e.galleries for e in held):
            raise Refusal(Code.UNKNOWN, f"person {shown(person_id)} is not in gallery {shown(gallery)}")
        return self._capture(call, Verify(gallery, person_id, threshold), self._pictures(data, "body biometricData"))

    def compare(self, call: Call, body: VerifyFromBioRequest, threshold: float | None) -> Accepted | Unfetched:
        """Ask whether two sets of samples show one person."""
        one, other = body.biometricData1, body.biometricData2
        self._threshold(threshold)
        _unencrypted("body", body.encryption, body.integrity)
        _check(one, "body biometricData1")
        _check(other, "body biometricData2")
        pictures, against = self._pictures(one, "body biometricData1"), self._pictures(other, "body biometricData2")
        return self._capture(call, Compare(threshold), pictures, against)

    def identify(
        self,
        call: Call,
        gallery: str,
        body: IdentifyRequest,
        most: int | None,
        threshold: float | None,
        target: float | None,
    ) -> Accepted | Unfetched:
        """Ask whom the samples show."""
        question = self.question(call, gallery, most, threshold, target, body.filter, "body filter.")
        _unencrypted("body", body.encryption, body.integrity)
        _check(body.biometricData, "body biometricData")
        self._gallery(gallery)
        return self._capture(call, question, self._pictures(body.biometricData, "body biometricData"))

    def question(
        self,
        call: Call,
        gallery: str,
        most: int | None,
        threshold: float | None,
        target: float | None,
        wanted: Mapping[str, JsonValue],
        where: str,
    ) -> Identify:
        """Check what an identification asks for."""
        self._threshold(threshold)
        cap = self.settings.candidate_cap
        if most is not None and not 1 <= most <= cap:
            raise Refusal(Code.WRONG_SHAPE, f"query parameter maxNbCand: must be 1 to {cap}, and is {most}")
        if filters.READ not in call.scopes:
            filters.only_listed(wanted, self.settings.filterable, where)
        return Identify(gallery, most or min(30, cap), threshold, filters.checked(wanted, where), target)

    def searched(self, gallery: str, person_id: str, encounter_id: str | None) -> None:
        """Refuse with 404 what an identification by id names and nobody knows."""
        self._gallery(gallery)
        if encounter_id is not None and self.registry.encounter(Key(person_id, encounter_id)) is None:
            raise no_encounter(Key(person_id, encounter_id))
        if encounter_id is None and not self.registry.encounters_of(person_id):
            raise no_person(person_id)

    # ---- parts

    def _capture(
        self,
        call: Call,
        purpose: Enrol | Verify | Compare | Identify,
        pictures: Sequence[Picture],
        against: Sequence[Picture] = (),
    ) -> Accepted | Unfetched:
        # Enrolments are done however late: who was told "not yet" sends the same again, and finds it done.
        request = call.request(CAPTURE_PREFIX, None if isinstance(purpose, Enrol) else self.settings.answer_timeout)

        def accepted(images: Sequence[bytes]) -> Accepted:
            samples = tuple(map(Sample, images))
            event = CaptureReceived(request, purpose, samples[: len(pictures)], samples[len(pictures) :])
            return Accepted(request.request_id, event, urgent=call.urgent)

        all_of_them = [*pictures, *against]
        sent = [picture.source for picture in all_of_them if isinstance(picture.source, bytes)]
        return accepted(sent) if len(sent) == len(all_of_them) else Unfetched(all_of_them, accepted)

    def _gallery(self, gallery: str) -> None:
        if gallery != ALL_GALLERIES and not self.registry.gallery_known(gallery):
            raise no_gallery(gallery)

    def _threshold(self, threshold: float | None) -> None:
        lowest = self.settings.lowest_threshold
        if threshold is not None and not (math.isfinite(threshold) and threshold >= lowest):
            raise Refusal(
                Code.WRONG_SHAPE,
                f"query parameter threshold: must be {lowest:g} dB or more (-10·log10 of the false match rate), and is "
                f"{threshold}; leave it out for the system's own",
            )

    def _pictures(self, data: Sequence[BiometricData], where: str) -> list[Picture]:
        """Decode what was sent, and check the addresses of what is to be fetched."""
        pictures: list[Picture] = []
        for index, item in enumerate(data):
            at = f"{where}.{index}"
            if item.image is not None:
                pictures.append(Picture(at, base64_bytes(item.image)))
                continue
            try:
                pictures.append(Picture(at, self.egress.images.check(item.imageRef or "")))
            except EgressRefused as error:
                raise Refusal(
                    Code.WRONG_PICTURE, f"{at}.imageRef: {error}; send the picture in `image`, or have the host listed"
                ) from None
        return pictures


def _check(data: Sequence[BiometricData], where: str) -> None:
    """Refuse what is no picture of a face, without decoding one into the log's record yet."""
    for index, item in enumerate(data):
        at = f"{where}.{index}"
        if item.biometricType != "FACE":
            raise Refusal(
                Code.NOT_SERVED, f"{at}.biometricType: Eyni compares faces; send FACE and leave the others out"
            )
        if item.template is not None or item.templateRef is not None:
            raise Refusal(
                Code.NOT_SERVED,
                f"{at}.template: templates are not taken, because whoever makes one can make one that resembles "
                "everybody; send the picture",
            )
        _unencrypted(at, item.encryption, item.integrity)
        if (item.image is None) == (item.imageRef is None):
            raise Refusal(Code.WRONG_PICTURE, f"{at}: needs a picture, in `image` (base64) or in `imageRef`, not both")
        if item.image is not None:
            try:
                empty = not base64_bytes(item.image)
            except ValueError as error:
                raise Refusal(Code.WRONG_PICTURE, f"{at}.image: {error}") from None
            if empty:
                raise Refusal(Code.WRONG_PICTURE, f"{at}.image: is empty; send the picture")


def _unencrypted(where: str, encryption: Encryption | None, integrity: Sequence[Integrity] | None) -> None:
    if encryption is not None:
        raise Refusal(Code.NOT_SERVED, f"{where}.encryption: encrypted fields are not served; send them over TLS")
    if any(item.encrypted for item in integrity or ()):
        raise Refusal(Code.NOT_SERVED, f"{where}.integrity: is about encrypted fields, which are not served")


def _canonical(body: BaseModel) -> bytes:
    """Write what was sent in one way only: fields sorted, no blanks. For the digest that tells a re-send."""
    return compact(body.model_dump(mode="json", exclude_unset=True))


def _document(body: Encounter) -> JsonObject:
    """Return what reading the encounter back shows: all that was sent but pictures and what the server keeps itself."""
    document: JsonObject = body.model_dump(
        mode="json",
        exclude_unset=True,
        exclude={
            "encounterId": True,
            "status": True,
            "galleries": True,
            "updatedDate": True,
            "biometricData": {"__all__": {"image", "quality", "qualityFormat"}},
        },
    )
    if (size := len(compact(document))) > DOCUMENT_BYTES:
        raise Refusal(
            Code.TOO_LARGE,
            f"the encounter without its pictures has {size} bytes; {DOCUMENT_BYTES} are taken: send less data about it",
        )
    return document


def reserved(where: str) -> Refusal:
    return Refusal(Code.WRONG_ID, f"{where}: ALL stands for every gallery and cannot be one; choose another name")


def no_encounter(key: Key) -> Refusal:
    return Refusal(Code.UNKNOWN, f"person {shown(key.person_id)} has no encounter {shown(key.encounter_id)}")


def no_person(person_id: str) -> Refusal:
    return Refusal(Code.UNKNOWN, f"there is no person {shown(person_id)}")


def no_gallery(gallery: str) -> Refusal:
    return Refusal(Code.UNKNOWN, f"there is no gallery {shown(gallery)}; GET /v1/galleries lists them")


CHANGES: Final = CHANGE_PREFIX
