"""Who is asking, and what may they do: bearer tokens (JWT). The only importer of joserfc.

Verification does no more than RFC 8725 wants: compact JWS only, ES256 or EdDSA by the key's own type, a header of
nothing but alg, typ and kid, and every claim checked here, in the open.
"""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast
from uuid import uuid4

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey
from joserfc.jws import JWSRegistry, serialize_compact

from shared import files

OSIA_SCOPES: Final = (
    "abis.encounter.read",
    "abis.encounter.write",
    "abis.identify",
    "abis.verify",
    "abis.gallery.read",
    "abis.task.read",
    "abis.task.update",
)
"""OSIA's scopes, which must not be changed."""

URGENT_SCOPE: Final = "eyni.urgent"
"""Ours: the client may make enrolments and identifications urgent, by `priority`."""

SCOPES: Final = (*OSIA_SCOPES, URGENT_SCOPE)

LEEWAY: Final = 120
"""Seconds that the clocks of issuer and server may differ: RFC 7519 (4.1.4 to 4.1.6) has "no more than a few minutes".
Machines without NTP that are set by hand were found 60 s apart."""

TOKEN_BYTES: Final = 8 * 1024
"""Largest token: uvicorn takes 64 KiB of headers, an honest token has under 2 KiB."""

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_TYPES: Final = ("jwt", "at+jwt", "application/at+jwt")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class BadToken(Exception):
    """The token is not to be believed. The reason is for the log; the caller is told none of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks (the token's client) and what for."""

    client: str
    scopes: frozenset[str]


class Verifier:
    """Checks tokens against a fixed set of public keys."""

    def __init__(self, jwks: Path, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._keys: dict[str, tuple[Sequence[str], ECKey | OKPKey]] = {}
        for found in json.loads(jwks.read_text())["keys"]:
            key = JWKRegistry.import_key(found)
            if isinstance(key, ECKey) and key.curve_name == "P-256":
                algorithms: tuple[str, ...] = ("ES256",)
            elif isinstance(key, OKPKey) and key.curve_name == "Ed25519":
                algorithms = ("EdDSA", "Ed25519")
            else:
                raise ValueError(f"{jwks}: a key of type {key.key_type}; only EC P-256 and Ed25519 are taken")
            if not key.kid:
                raise ValueError(f"{jwks}: a key without a kid; tokens name their key by it")
            self._keys[key.kid] = algorithms, key
        if not self._keys:
            raise ValueError(f"{jwks}: has no key, so no token could ever be accepted")

    def verify(self, token: str) -> Caller:
        """Return who asks, or raise BadToken."""
        if len(token) > TOKEN_BYTES:
            _bad("too long")
        if not _COMPACT.fullmatch(token):
            _bad("no compact JWS")
        head, body, signature = token.split(".")
        self._check_signature(_json(head), f"{head}.{body}".encode(), _unbase64(signature))
        return self._caller(_json(body))

    def _check_signature(self, header: Mapping[str, Any], signed: bytes, signature: bytes) -> None:
        # crit, b64, jwk, jku, x5c, x5u, zip: none is wanted, so none is read.
        if strange := sorted(set(header) - {"alg", "typ", "kid"}):
            _bad(f"header parameters {strange[:3]}")
        typ, kid, alg = header.get("typ"), header.get("kid"), header.get("alg")
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            _bad("typ")
        if not isinstance(kid, str) or kid not in self._keys:
            _bad("kid names no key")
        algorithms, key = self._keys[kid]
        if not isinstance(alg, str) or alg not in algorithms:
            _bad("alg is not the key's")
        # The algorithm is asked directly: its registry warns about "EdDSA" (RFC 9864 calls it Ed25519 now).
        try:
            good = JWSRegistry.algorithms[alg].verify(signed, signature, key)
        except (JoseError, ValueError):
            good = False
        if not good:
            _bad("signature")

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        now = self._now()
        if claims.get("iss") != self._issuer:
            _bad("iss")
        audiences = claims.get("aud")
        if self._audience not in (audiences if isinstance(audiences, list) else [audiences]):
            _bad("aud")
        if _moment(claims, "exp") <= now - LEEWAY:
            _bad("expired")
        if _moment(claims, "iat") > now + LEEWAY:
            _bad("issued in the future")
        if "nbf" in claims and _moment(claims, "nbf") > now + LEEWAY:
            _bad("not valid yet")
        subject = claims.get("sub")
        client = claims.get("client_id", subject)
        for name in (subject, client):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                _bad("sub or client_id")
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            _bad("scope")
        return Caller(client, frozenset(scope.split(" ")) & frozenset(SCOPES))


def _bad(reason: str) -> NoReturn:
    raise BadToken(reason)


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # An int can be too large for a float; the year 9999 is far enough.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 253402300799:
        _bad(name)
    return float(value)


def _unbase64(segment: str) -> bytes:
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if len(segment) % 4 != 1 else b""
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != segment:
        _bad("base64url with stray bits")
    return raw


def _json(segment: str) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            _bad("a name twice")
        return dict(pairs)

    try:
        found: object = json.loads(_unbase64(segment), object_pairs_hook=once)
    except (ValueError, RecursionError):
        _bad("no JSON")
    if not isinstance(found, dict):
        _bad("no JSON object")
    return cast(dict[str, Any], found)


# ---- for development: a key of one's own


def development_jwks(data: Path) -> Path:
    """Return the public keys of the data folder, made together with their private key at first use."""
    folder = data / "keys"
    private, public = folder / "token.jwk", folder / "tokens.jwks"
    if not private.exists():
        files.folder(folder)
        key = ECKey.generate_key("P-256", {"kid": uuid4().hex, "use": "sig", "alg": "ES256"})
        draft = folder / f".{uuid4().hex}"
        with files.opened(draft, "xb") as file:
            file.write(json.dumps(key.as_dict(private=True)).encode())
            file.flush()
            os.fsync(file.fileno())
        # Two processes may be here at once: the first link wins, and both read what it made.
        try:
            os.link(draft, private)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    key = ECKey.import_key(json.loads(private.read_text()))
    wanted = json.dumps({"keys": [key.as_dict(private=False)]})
    if not public.exists() or public.read_text() != wanted:
        files.write(public, wanted.encode())
    return public


def mint(data: Path, scopes: Sequence[str], *, client: str, issuer: str, audience: str, seconds: float = 3600.0) -> str:
    """Make a token with the data folder's development key. Raises ValueError for a scope that there is not."""
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ValueError(f"no scope: {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    development_jwks(data)
    key = ECKey.import_key(json.loads((data / "keys" / "token.jwk").read_text()))
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": client,
        "client_id": client,
        "iat": now,
        "exp": int(now + seconds),
        "jti": uuid4().hex,
        "scope": " ".join(scopes),
    }
    return serialize_compact({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, json.dumps(claims), key, ["ES256"])
