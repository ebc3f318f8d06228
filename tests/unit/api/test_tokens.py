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

from services.api.bootstrap import egress as egress_of
from services.api.bootstrap import verifier as verifier_of
from services.api.tokens import LEEWAY, SCOPES, BadToken, Verifier, development_jwks, mint
from shared.settings import Settings
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


# ---- tokens and key sets as identity providers issue them (F12)


@pytest.mark.parametrize(
    "header",
    [
        {"x5t": "abc"},
        {"x5t#S256": "abc"},
        {"typ": "at+jwt", "cty": "json"},
        {"nonce": "n"},
        {"typ": "application/at+jwt"},
    ],
)
def test_header_parameters_that_say_nothing_to_us_are_passed_over(verifier: Verifier, header: dict[str, Any]) -> None:
    assert verifier.verify(token(header)).client == "station-7"


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {k: v for k, v in {**key.as_dict(private=False), **more}.items() if v != "absent"}


def reading(tmp_path: Path, content: Any) -> Verifier:
    file = tmp_path / "keys.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return Verifier(file, "issuer", "eyni", now=lambda: NOW)


UNUSABLE: dict[str, Any] = {
    "unknown kty": {"kty": "AKP", "kid": "u", "alg": "ML-DSA-44", "pub": "AA"},
    "no kty": {"kid": "u"},
    "kty a list": {"kty": ["EC"], "kid": "u"},
    "RSA": public(RSA, kid="r", use="sig", alg="RS256", x5c=["AA=="]),
    "RSA-OAEP": public(RSA, kid="e", use="enc", alg="RSA-OAEP"),
    "EC for encryption": public(STRANGER, kid="e2", use="enc"),
    "EC for ECDH": public(STRANGER, kid="e3", alg="ECDH-ES"),
    "EC for signing only": public(STRANGER, kid="e4", key_ops=["sign"]),
    "P-384": ECKey.generate_key("P-384", {"kid": "p"}).as_dict(private=False),
    "a point that is none": public(EC, kid="x", y=b64(bytes(32))),
    "numbers missing": {"kty": "EC", "crv": "P-256", "kid": "n"},
    "without a kid": public(STRANGER, kid="absent"),
    "no object": "k1",
    "null": None,
    "the same again": PUBLIC,
}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_key_that_cannot_be_used_is_left_out_with_a_line(tmp_path: Path, unusable: Any) -> None:
    found = reading(tmp_path, {"keys": [PUBLIC, unusable, public(ED)], "extra": 1})
    assert len(found.keys.left_out) == 1
    assert found.verify(GOOD).client == "station-7"
    assert found.verify(token(key=ED, alg="Ed25519")).client == "station-7"


def test_a_key_whose_kid_others_have_too_is_tried_among_them(tmp_path: Path) -> None:
    found = reading(tmp_path, {"keys": [public(STRANGER), public(OKPKey.generate_key("Ed25519"), kid="k1"), PUBLIC]})
    assert found.verify(GOOD).client == "station-7"
    with pytest.raises(BadToken):
        found.verify(token(key=ECKey.generate_key("P-256", {"kid": "k1"})))


@pytest.mark.parametrize("form", [[PUBLIC], PUBLIC])
def test_a_list_of_keys_and_a_single_one_are_taken_too(tmp_path: Path, form: Any) -> None:
    assert reading(tmp_path, form).verify(GOOD).client == "station-7"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (EC.as_pem(private=False).decode(), "is in PEM, which says no key id; give a JWK set"),
        ("not json", "is no JSON; give a JWK set"),
        ("[" * 100_000, "is no JSON"),
        ('"keys"', "no key set"),
        ("{}", "no key set"),
        ('{"keys": {"k1": 1}}', "no key set"),
        ('{"keys": []}', "no key that a token could be checked with.*it is empty"),
        (
            {"keys": [UNUSABLE["RSA"], UNUSABLE["RSA-OAEP"]]},
            r"key 1 \(kid 'r'\): type RSA is not taken.*ES256 or EdDSA",
        ),
        ({"keys": [EC.as_dict(private=True)]}, "holds its private part"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("\x00" * 2**20 + "xx", "more than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_key_set_is_refused_with_what_to_do(
    api_settings: Settings, tmp_path: Path, content: Any, says: str
) -> None:
    (tmp_path / "given").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=says) as caught:
        verifier_of(api_settings.model_copy(update={"token_keys": tmp_path / "given"}))
    assert str(caught.value).startswith(f"EYNI_TOKEN_KEYS: {tmp_path / 'given'}")


def test_a_file_that_is_not_there_a_folder_or_no_text_is_named(api_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "none", "there is no such file"),
        (tmp_path / "binary", "no text in UTF-8"),
        (Path("/dev/zero"), "no file but a device"),
        (tmp_path / "binary" / "below", "cannot be read: Not a directory|there is no such file"),
    ):
        with pytest.raises(ValueError, match=says):
            verifier_of(api_settings.model_copy(update={"token_keys": path}))
    with pytest.raises(ValueError, match=r"EYNI_EGRESS_CA_FILE: .*there is no such file"):
        egress_of(api_settings.model_copy(update={"egress_ca_file": tmp_path / "none"}))


@pytest.fixture
def api_settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)
