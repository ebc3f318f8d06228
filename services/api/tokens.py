"""Who is asking, and what may they do: bearer tokens (JWT). The only importer of joserfc.

Verification does no more than RFC 8725 wants: compact JWS only, ES256 or EdDSA by the key's own type, no
header parameter that brings a key or changes the reading, and every claim checked here, in the open.
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
from shared.given import text_of
from shared.text import printable

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
_REFUSED: Final = frozenset(("crit", "b64", "zip", "jwk", "jku", "x5c", "x5u"))
"""Header parameters that change how a token is read, or bring a key of their own: no honest issuer's access token
needs them, and what does not need them is not read with them."""
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class BadToken(Exception):
    """The token is not to be believed. The reason is for the log; the caller is told none of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks (the token's client) and what for."""

    client: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Keys:
    """A key set, as far as tokens can be checked with it."""

    by_kid: Mapping[str, Sequence[tuple[Sequence[str], ECKey | OKPKey]]]
    """Several of one kid are several types, or an old key and a new one: a token is good with any of them."""
    left_out: Sequence[str]
    """Why others are not used, a line each."""


def read_keys(file: Path) -> Keys:
    """Read the public keys that tokens may be signed with: a JWK set, a list of JWKs or a single one (RFC 7517).

    A key that can't be used is left out (section 5). Raises ValueError: the file, what is wrong with it, what to do.
    """
    text = text_of(file)
    form = 'a JWK set, {"keys": [...]}, as an identity provider publishes it at its `jwks_uri`'
    if "-----BEGIN" in text:
        raise ValueError(f"{file} is in PEM, which says no key id; give {form}, each key with a `kid` that tokens name")
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{file} is no JSON; give {form}") from None
    given = found
    if isinstance(found, dict):
        whole = cast(dict[str, object], found)
        given = [whole] if "kty" in whole else whole.get("keys")
    if not isinstance(given, list):
        raise ValueError(f"{file} is JSON, and no key set; give {form}")
    by_kid: dict[str, list[tuple[Sequence[str], ECKey | OKPKey]]] = {}
    left_out: list[str] = []
    for number, one in enumerate(cast(list[object], given), 1):
        kid = cast(dict[str, object], one).get("kid") if isinstance(one, dict) else None
        named = f"key {number}" + (f" (kid {printable(kid, 60)!r})" if isinstance(kid, str) else "")
        try:
            algorithms, key = _usable(one)
        except _Unusable as reason:
            left_out.append(f"{named}: {reason}")
            continue
        if key.is_private:
            raise ValueError(
                f"{file}: {named} holds its private part, with which whoever reads this file can make tokens; leave "
                "out its `d`, and have the issuer make a new key if others could read it"
            )
        same = by_kid.setdefault(key.kid or "", [])
        if any(key.thumbprint() == other.thumbprint() for _, other in same):
            left_out.append(f"{named}: is in the set twice")
        else:
            same.append((algorithms, key))
    if not by_kid:
        why = "; ".join(left_out[:5]) or "it is empty"
        raise ValueError(
            f"{file} has no key that a token could be checked with; only EC P-256 and Ed25519 are taken ({why}). Have "
            "the issuer sign with ES256 or EdDSA, and give the set that it publishes then"
        )
    return Keys(by_kid, left_out)


class _Unusable(Exception):
    """Why a key is left out."""


def _usable(given: Any) -> tuple[Sequence[str], ECKey | OKPKey]:
    if not isinstance(given, dict):
        raise _Unusable("is no JSON object")
    found = cast(dict[str, Any], given)
    kind, curve, kid = found.get("kty"), found.get("crv"), found.get("kid")
    taken = {("EC", "P-256"): ("ES256",), ("OKP", "Ed25519"): ("EdDSA", "Ed25519")}
    algorithms = taken.get((kind, curve)) if isinstance(kind, str) and isinstance(curve, str) else None
    if algorithms is None:
        what = f"type {printable(str(kind), 40)}" + (f" {printable(curve, 40)}" if isinstance(curve, str) else "")
        raise _Unusable(f"{what} is not taken")
    if found.get("use", "sig") != "sig":
        raise _Unusable(f"its use is {printable(str(found['use']), 40)!r}, not 'sig'")
    operations = found.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _Unusable("its key_ops have no 'verify'")
    if found.get("alg", algorithms[0]) not in algorithms:
        raise _Unusable(f"its alg is {printable(str(found['alg']), 40)!r}, not {' or '.join(algorithms)}")
    if not isinstance(kid, str) or not kid:
        raise _Unusable("has no kid, by which tokens name their key")
    # What it is used for was looked at here; a certificate beside it says nothing more, and may not fit.
    kept: dict[str, str | list[str]] = {
        name: found[name] for name in ("kty", "crv", "kid", "x", "y", "d") if name in found
    }
    try:
        key = JWKRegistry.import_key(kept)
    except (JoseError, ValueError, TypeError, KeyError):
        raise _Unusable("its numbers are damaged") from None
    if not isinstance(key, ECKey | OKPKey):
        raise _Unusable("is not taken")
    return algorithms, key


class Verifier:
    """Checks tokens against a fixed set of public keys."""

    def __init__(self, jwks: Path, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        """Raises ValueError for a file that is no key set, or has no key that can be used."""
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self.keys = read_keys(jwks)

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
        # What is unknown is passed over (RFC 7515, section 4: x5t, x5t#S256, cty, what issuers put there of their own).
        if refused := sorted(set(header) & _REFUSED):
            _bad(f"header parameters {refused}")
        typ, kid, alg = header.get("typ"), header.get("kid"), header.get("alg")
        if not isinstance(typ, str) or typ.lower() not in _TYPES:
            _bad("typ")
        if not isinstance(kid, str) or kid not in self.keys.by_kid:
            _bad("kid names no key")
        keys = [key for algorithms, key in self.keys.by_kid[kid] if isinstance(alg, str) and alg in algorithms]
        if not isinstance(alg, str) or not keys:
            _bad("alg is not the key's")
        if not any(_signed(alg, signed, signature, key) for key in keys):
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


def _signed(alg: str, signed: bytes, signature: bytes, key: ECKey | OKPKey) -> bool:
    # The algorithm is asked directly: its registry warns about "EdDSA" (RFC 9864 calls it Ed25519 now).
    try:
        return JWSRegistry.algorithms[alg].verify(signed, signature, key)
    except (JoseError, ValueError):
        return False


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
        named = ", ".join(printable(name, 60) for name in unknown)
        raise ValueError(f"no scope: {named}; there are {', '.join(SCOPES)}")
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
