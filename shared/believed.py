"""Which calibrations count: those that come with Eyni, were measured here, or were accepted by an operator's word.

A calibration decides who is the same: one from outside that gives every pair 90 dB makes everybody everybody. So each
that counts has a seal in the data folder, `keys/calibrations/DIGEST`, under a key of that folder: a calibration that
was edited, or came in by another way, has none.
"""

import hmac
import json
import secrets
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from shared import files
from shared.biometrics import STRICT
from shared.calibration import Calibration, CalibrationRefused, Comparator, load

Origin = Literal["Eyni", "here", "outside"]
"""It comes with Eyni; `eyni calibrate` measured it here; an operator accepted it, and it was not measured here."""

_SHIPPED: Final = Path(__file__).parent / "models"
_KEY_BYTES: Final = 32

NOISE: Final = 200
"""Templates of noise, drawn always alike, that are compared with each other."""
NOISE_LEVEL: Final = 30.0
"""dB that one pair of strangers in 1,000 reaches, by what a score is."""
NOISE_SHARE: Final = 0.05
"""Share of pairs of noise that may reach it. Measured: less than 1 % (dlib, dlib-mirrored)."""


class Seal(BaseModel):
    """What a data folder says of a calibration that counts."""

    model_config = STRICT | {"frozen": True}
    origin: Literal["here", "outside"]
    made: Annotated[str, Field(max_length=40, description="When it was sealed, ISO 8601.")]
    mac: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="HMAC-SHA256 of digest, origin and `made`.")]


def origin_of(calibration: Calibration, data: Path | None) -> Origin | None:
    """Say why a calibration counts in a data folder; None: it does not. Raises OSError."""
    digest = calibration.digest()
    if digest in _shipped():
        return "Eyni"
    if data is None:
        return None
    try:
        seal = Seal.model_validate_json(_seal(data, digest).read_bytes())
        key = _key(data).read_bytes()
    except (FileNotFoundError, ValidationError):
        return None
    good = len(key) == _KEY_BYTES and hmac.compare_digest(seal.mac, _mac(key, digest, seal.origin, seal.made))
    return seal.origin if good else None


def seal(calibration: Calibration, data: Path, origin: Literal["here", "outside"]) -> None:
    """Have a calibration count. To be done before it is put in place: one without a seal stops services."""
    digest = calibration.digest()
    if not _key(data).exists():
        files.write(_key(data), secrets.token_bytes(_KEY_BYTES))
    made = datetime.now(UTC).isoformat(timespec="seconds")
    mac = _mac(_key(data).read_bytes(), digest, origin, made)
    found = Seal(origin=origin, made=made, mac=mac)
    files.write(_seal(data, digest), json.dumps(found.model_dump()).encode() + b"\n")


def objection(calibration: Calibration) -> str | None:
    """Say what shows that a calibration cannot be right, whoever vouches for it; None: nothing seen.

    Templates of noise, of a length that its gate takes, resemble nobody: where they match each other, so does anything.
    """
    comparator, gate = Comparator(calibration), calibration.gate
    length = float(np.sqrt(max(gate.norm[0], 1e-3 * gate.norm[1]) * gate.norm[1]))
    drawn = np.random.default_rng(1).standard_normal((NOISE, calibration.dimension))
    noise = (drawn * (length / np.linalg.norm(drawn, axis=1, keepdims=True))).astype(np.float32)
    prepared = comparator.prepare(noise)
    pairs = np.concatenate(
        [comparator.decibels(comparator.similarity(prepared[n : n + 1], prepared[n + 1 :])) for n in range(NOISE - 1)]
    )
    share = float((pairs >= NOISE_LEVEL).mean())
    if not share <= NOISE_SHARE:
        return (
            f"by it, {100 * share:.0f} % of pairs of random numbers score {NOISE_LEVEL:g} dB or more, where one pair "
            "of strangers in 1,000 should: everybody would match everybody"
        )
    return None


def _key(data: Path) -> Path:
    return data / "keys" / "calibrations.key"


def _seal(data: Path, digest: str) -> Path:
    return data / "keys" / "calibrations" / digest


def _mac(key: bytes, digest: str, origin: str, made: str) -> str:
    return hmac.digest(key, f"{digest}\n{origin}\n{made}".encode(), "sha256").hex()


@cache
def _shipped() -> frozenset[str]:
    found: set[str] = set()
    for path in _SHIPPED.glob("*/calibration.json"):
        try:
            found.add(load(path).digest())
        except (OSError, CalibrationRefused):  # said where it is used
            continue
    return frozenset(found)
