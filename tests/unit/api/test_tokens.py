"""Every token that is not one of ours is refused, all in the same words."""

import base64
import hashlib
import hmac
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from services.api.tokens import LEEWAY, SCOPES, BadToken, Verifier, development_jwks, mint
from tests.unit.api.conftest import Api

NOW = 1_800_000_000
EC = ECKey.generate_key("P-256", {"kid": "k1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "k2"})
STRANGER = ECKey.generate_key("P-256", {"kid": "k1"})
RSA = RSAKey.generate_key(2048, {"kid": "k1"})

CLAIMS: dict[str, Any] = {
    "iss": "issuer",
    "aud": "eyni",
    "sub": "station-7",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "scope": "abis.verify abis.identify",
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, Any], payload: bytes, key: Any, alg: str) -> str:
    head = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    return f"{head}.{b64(JWSRegistry.algorithms[alg].sign(head.encode(), key))}"


def token(header: dict[str, Any] | None = None, key: Any = EC, alg: str = "ES256", **claims: Any) -> str:
    kept = {k: v for k, v in {**CLAIMS, **claims}.items() if v != "absent"}
    head = {"alg": alg, "typ": "JWT", "kid": key.kid, **(header or {})}
    return signed({k: v for k, v in head.items() if v != "absent"}, json.dumps(kept).encode(), key, alg)


def hmac_with(secret: bytes, **header: Any) -> str:
    head = {"alg": "HS256", "typ": "JWT", "kid": "k1", **header}
    start = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    return f"{start}.{b64(hmac.new(secret, start.encode(), hashlib.sha256).digest())}"


def unsigned(alg: str, signature: str = "") -> str:
    head = b64(json.dumps({"alg": alg, "typ": "JWT", "kid": "k1"}).encode())
    return f"{head}.{b64(json.dumps(CLAIMS).encode())}.{signature}"


GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
PUBLIC = EC.as_dict(private=False)

TWICE = b'{"alg":"none","alg":"ES256","typ":"JWT","kid":"k1"}'

BAD = {
    "nothing": "",
    "one part": "abc",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.x",
    "JWE, five parts": "a.b.c.d.e",
    "alg none": unsigned("none"),
    "alg None": unsigned("None", "AA"),
    "alg nOnE": unsigned("nOnE", "AA"),
    "no signature": f"{HEAD}.{BODY}.",
    "other signature": f"{HEAD}.{BODY}.{b64(bytes(64))}",
    "signature of another body": f"{HEAD}.{token(sub='other').split('.')[1]}.{SIGNATURE}",
    "signature as DER": f"{HEAD}.{BODY}.{b64(b'0' * 71)}",
    "stray bits in the signature": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{'B' if SIGNATURE[-1] != 'B' else 'C'}",
    "HS256 with the public key's PEM": hmac_with(EC.as_pem(private=False)),
    "HS256 with the public key's DER": hmac_with(EC.as_der(private=False)),
    "HS256 with the public key's JWK": hmac_with(json.dumps(PUBLIC).encode()),
    "HS256 with an empty key": hmac_with(b""),
    "RS256": token(key=RSA, alg="RS256"),
    "PS256": token(key=RSA, alg="PS256"),
    "a stranger's key with our kid": token(key=STRANGER),
    "EdDSA header, EC key": signed(
        {"alg": "EdDSA", "typ": "JWT", "kid": "k1"}, json.dumps(CLAIMS).encode(), EC, "ES256"
    ),
    "ES256 header, Ed25519 key": signed(
        {"alg": "ES256", "typ": "JWT", "kid": "k2"}, json.dumps(CLAIMS).encode(), ED, "Ed25519"
    ),
    "no kid": token({"kid": "absent"}),
    "kid unknown": token({"kid": "k9"}),
    "kid a path": token({"kid": "../../../dev/null"}),
    "kid SQL": token({"kid": "k1' OR 1=1 --"}),
    "kid a URL": token({"kid": "http://127.0.0.1/jwks"}),
    "kid of 5 kB": token({"kid": "k" * 5000}),
    "kid a list": token({"kid": ["k1"]}),
    "no typ": token({"typ": "absent"}),
    "typ of something else": token({"typ": "dpop+jwt"}),
    "typ a number": token({"typ": 1}),
    "no alg": token({"alg": "absent"}),
    "alg a list": token({"alg": ["ES256"]}),
    "jwk embedded": token({"jwk": STRANGER.as_dict(private=False)}, STRANGER),
    "jku": token({"jku": "http://127.0.0.1/jwks"}),
    "x5u": token({"x5u": "http://127.0.0.1/x5u"}),
    "x5c": token({"x5c": ["AA=="]}),
    "crit": token({"crit": ["exp"]}),
    "unknown crit": token({"crit": ["strange"], "strange": 1}),
    "b64 false": token({"b64": False, "crit": ["b64"]}),
    "zip": token({"zip": "DEF"}),
    "header no object": b64(b"[]") + f".{BODY}.{SIGNATURE}",
    "header no JSON": b64(b"{") + f".{BODY}.{SIGNATURE}",
    "alg twice": f"{b64(TWICE)}.{BODY}.{SIGNATURE}",
    "claims no object": signed({"alg": "ES256", "typ": "JWT", "kid": "k1"}, b"[]", EC, "ES256"),
    "claims no JSON": signed({"alg": "ES256", "typ": "JWT", "kid": "k1"}, b"{", EC, "ES256"),
    "claim twice": signed(
        {"alg": "ES256", "typ": "JWT", "kid": "k1"},
        json.dumps(CLAIMS).encode()[:-1] + b',"sub":"other"}',
        EC,
        "ES256",
    ),
    "no exp": token(exp="absent"),
    "no iss": token(iss="absent"),
    "no aud": token(aud="absent"),
    "no sub": token(sub="absent"),
    "no iat": token(iat="absent"),
    "expired": token(exp=NOW - LEEWAY),
    "expired long ago": token(exp=0),
    "exp text": token(exp=str(NOW + 600)),
    "exp NaN": token(exp=float("nan")),
    "exp infinite": token(exp=float("inf")),
    "exp negative": token(exp=-1),
    "exp true": token(exp=True),
    "exp beyond all": token(exp=10**30),
    "iat to come": token(iat=NOW + LEEWAY + 1),
    "nbf to come": token(nbf=NOW + LEEWAY + 1),
    "nbf null": token(nbf=None),
    "iss of another": token(iss="issuer2"),
    "iss a list": token(iss=["issuer"]),
    "aud of another": token(aud="other"),
    "aud a list without ours": token(aud=["other", "third"]),
    "aud part of a word": token(aud="eyni2"),
    "sub empty": token(sub=""),
    "sub a number": token(sub=7),
    "sub with a newline": token(sub="a\nb"),
    "client_id a list": token(client_id=["a"]),
    "scope a list": token(scope=["abis.verify"]),
    "blank before": f" {GOOD}",
    "newline after": f"{GOOD}\n",
    "padding": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "a letter that looks alike": f"\u0435{GOOD[1:]}",
    "9 kB": token(pad="x" * 9000),
    "1 MB": "a" * 1_000_000,
    "General JSON without signatures": json.dumps({"payload": BODY, "signatures": []}),
}


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    jwks = tmp_path_factory.mktemp("keys") / "jwks"
    jwks.write_text(json.dumps({"keys": [PUBLIC, ED.as_dict(private=False)]}))
    return Verifier(jwks, "issuer", "eyni", now=lambda: NOW)


@pytest.mark.parametrize("near", [token(iat=NOW + 60), token(nbf=NOW + 60), token(exp=NOW - 60)])
def test_clocks_that_are_a_minute_apart_turn_nobody_away(verifier: Verifier, near: str) -> None:
    assert verifier.verify(near).client


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_token_is_refused(verifier: Verifier, bad: str) -> None:
    with pytest.raises(BadToken):
        verifier.verify(bad)


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        token({"typ": "at+jwt"}),
        token(key=ED, alg="Ed25519"),
        signed({"alg": "EdDSA", "typ": "JWT", "kid": "k2"}, json.dumps(CLAIMS).encode(), ED, "Ed25519"),
        token(exp=NOW - 29),
        token(nbf=NOW + 29),
        token(iat=NOW + 29),
        token(aud=["other", "eyni"]),
    ],
)
def test_a_good_token_names_client_and_scopes(verifier: Verifier, good: str) -> None:
    caller = verifier.verify(good)
    assert caller.client == "station-7"
    assert caller.scopes == {"abis.verify", "abis.identify"}


def test_client_id_names_the_client_before_sub_does(verifier: Verifier) -> None:
    assert verifier.verify(token(client_id="desk-1")).client == "desk-1"


def test_a_token_without_scope_may_do_nothing(verifier: Verifier) -> None:
    assert verifier.verify(token(scope="absent")).scopes == frozenset()


@pytest.mark.parametrize(
    "key", [RSA, OctKey.generate_key(256, {"kid": "s"}), ECKey.generate_key("P-384", {"kid": "p"})]
)
def test_a_key_of_another_kind_is_no_verification_key(tmp_path: Path, key: Any) -> None:
    (tmp_path / "jwks").write_text(json.dumps({"keys": [key.as_dict()]}))
    with pytest.raises(ValueError, match="only EC P-256 and Ed25519"):
        Verifier(tmp_path / "jwks", "issuer", "eyni")


def test_the_development_key_is_private_made_once_and_its_tokens_are_good(tmp_path: Path) -> None:
    jwks = development_jwks(tmp_path)
    made = mint(tmp_path, SCOPES, client="me", issuer="i", audience="a", seconds=60)
    assert stat.S_IMODE((tmp_path / "keys" / "token.jwk").stat().st_mode) == 0o600
    assert "d" not in json.loads(jwks.read_text())["keys"][0]
    before = jwks.read_text()
    assert development_jwks(tmp_path).read_text() == before
    caller = Verifier(jwks, "i", "a").verify(made)
    assert (caller.client, caller.scopes) == ("me", frozenset(SCOPES))


def test_no_token_is_made_for_a_scope_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no scope: abis\.everything"):
        mint(tmp_path, ["abis.everything"], client="me", issuer="i", audience="a")


def test_every_bad_token_gets_the_same_401_over_http(api: Api) -> None:
    bodies = set[str]()
    for bad in ["x", *(b for b in BAD.values() if b.isascii() and b.isprintable() and 0 < len(b) < 8000)]:
        answer = api.client.get(
            "/v1/galleries", params={"transactionId": "t"}, headers={"Authorization": f"Bearer {bad}"}
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="eyni", error="invalid_token"'
        bodies.add(answer.text)
    assert len(bodies) == 1


def test_verifying_a_token_takes_less_than_five_milliseconds(verifier: Verifier) -> None:
    started = time.perf_counter()
    for _ in range(50):
        verifier.verify(GOOD)
    assert (time.perf_counter() - started) / 50 < 0.005
