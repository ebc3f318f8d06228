"""Every setting: its environment variable `EYNI_<NAME>`, its type, its default and why it is what it is.

The file named by `EYNI_SETTINGS` may hold the same names, one a line.
"""

import os
import pwd
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.calibration import SEARCH_TARGET, VERIFICATION_TARGET
from shared.given import check_tls, from_json, hosts, pem, readable
from shared.settings_gate import GateSettings
from shared.settings_turns import TurnSettings

PemFile = Annotated[Path, AfterValidator(pem)]
TextFile = Annotated[Path, AfterValidator(readable)]
Hosts = Annotated[str, AfterValidator(hosts)]
Decibels = Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)]
"""0 is a rate of one; at 200, of one in 10^20, nothing is found any more."""


def _at_home() -> Path:
    try:
        home = Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        home = Path()
    if not home.is_absolute():
        raise NoDataFolder("EYNI_DATA: this user has no home folder to keep data in; name a folder (or give --data)")
    return home / ".local" / "share" / "eyni"


class NoDataFolder(ValueError):
    """Nobody has said where data go, and there is no place for them by default."""


GalleryTargets = Annotated[dict[str, Decibels], NoDecode, BeforeValidator(from_json)]


# What `model_config` may hold differs between the bases; the last one counts, and it is set below.
class Settings(GateSettings, TurnSettings, BaseSettings):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Read once, when a process starts."""

    model_config = SettingsConfigDict(
        env_prefix="EYNI_",
        env_file=os.environ.get("EYNI_SETTINGS"),
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # ---- where things are
    data: Path = Field(
        default_factory=_at_home,
        description="Folder for the embedded log, the registry, snapshots and development keys; ~/.local/share/eyni if "
        "it is not given.",
    )
    log: str = Field(default="", description="Log address; empty: file:// in the data folder.")
    kafka_security_protocol: str = Field(
        default="PLAINTEXT",
        pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
        description="How a kafka:// log is talked to. SSL is TLS 1.2 or newer, with the broker's certificate and host "
        "name checked; SASL is a user name and a password.",
    )
    kafka_ca_file: PemFile | None = Field(
        default=None, description="PEM of the authorities that may vouch for brokers; none: the system's."
    )
    kafka_cert_file: PemFile | None = Field(
        default=None, description="PEM of the certificate to show to brokers that ask for one (mutual TLS)."
    )
    kafka_key_file: PemFile | None = Field(
        default=None, description="PEM of that certificate's key, without a passphrase; none: it is in the same file."
    )
    kafka_sasl_mechanism: str = Field(default="", pattern="^(|PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$")
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = Field(default="", repr=False)
    registry: str = Field(
        default="",
        description="SQLAlchemy URL of the registry; empty: SQLite in the data folder. "
        "postgresql+psycopg://user:password@host/name for PostgreSQL.",
        repr=False,
    )

    # ---- the model
    model: str = Field(
        default="",
        description="Name of the model that turns pictures into templates and templates into scores (`eyni models "
        "list`); empty: the one that `eyni models use` chose, else dlib. A gallery has one model for ever.",
    )

    # ---- api
    api_host: str = Field(default="127.0.0.1", description="Address that the api listens on.")
    api_port: int = Field(default=8080, ge=0, le=65535, description="Port that the api listens on.")
    answer_timeout: float = Field(
        default=30.0,
        gt=0,
        description="Seconds a synchronous call waits for its decision before it gets 503. Protects the caller's "
        "connection; OSIA gives no figure. 30 s is half the usual idle time-out of a proxy (60 s).",
    )
    append_timeout: float = Field(
        default=10.0,
        gt=0,
        description="Seconds the api waits for the log to take a record before it answers 503. A healthy broker needs "
        "9 ms at p99 (measured on one node); a restarting one is back in 6 s.",
    )
    body_limit: int = Field(
        default=12 * 2**20,
        gt=0,
        description="Largest request body in bytes: some 9 MB of pictures in base64. Larger: 413.",
    )
    connections: int = Field(
        default=1000,
        gt=0,
        description="Most requests under way at a time; 32 more connections are kept for health and for those who hear "
        '"busy". With too many connections the one that has waited longest without a request is closed. Each takes up '
        "to 80 KB while its headers arrive. Less where the limit of open files is low.",
    )
    bodies_limit: int = Field(
        default=128 * 2**20,
        gt=0,
        description="Most bytes that request bodies may take together, from their first byte to the answer, and never "
        "less than four of the largest. A body costs some five times its size until it is on the log, so this keeps "
        "the api below 1 GB. A client may have a quarter (more: 429); beyond the whole: 503.",
    )
    token_keys: Path | None = Field(
        default=None,
        description="JWK set (JSON) of the public keys that tokens may be signed with, as an identity provider "
        "publishes it at its `jwks_uri`; none: the development key that `eyni token` makes in the data folder.",
    )
    token_issuer: str = Field(default="eyni-development", description="Required `iss` of a token.")
    token_audience: str = Field(default="eyni", description="Required `aud` of a token.")
    filter_fields: str = Field(
        default="",
        description="Biographic and contextual fields, separated by commas, that an identification may filter by "
        "without the scope abis.encounter.read (dateOfBirth also allows dateOfBirthMin and dateOfBirthMax). None by "
        "default: each answer tells whether the person found has the value asked for, so it can be read.",
    )
    callback_hosts: Hosts = Field(
        default="",
        description="host (its scheme's port), host:port or host:*, separated by commas, that callbacks may be sent "
        "to. None by default: a caller must not make this server connect to an address of the caller's choice (SSRF).",
    )
    image_hosts: Hosts = Field(default="", description="The same, for pictures named by imageRef.")
    egress_ca_file: Path | None = Field(
        default=None,
        description="PEM of authorities of your own that may vouch for those hosts (https), beside the system's and "
        "Mozilla's. A certificate is always checked.",
    )

    # ---- enroll
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Extraction processes; 0: one for each core that this process may use.",
    )
    pixel_limit: int = Field(
        default=25_000_000,
        gt=0,
        description="Most pixels of a picture, read from its header before it is decoded. 25 million is a good camera; "
        "as RGB it takes 75 MB of a worker's memory.",
    )
    time_limit: float = Field(
        default=20.0,
        gt=0,
        description="Seconds that one sample may take to decode and extract before its worker is killed and the sample "
        "refused as too_costly. An honest 25-megapixel picture takes 2 s.",
    )
    memory_limit: int = Field(
        default=2 * 2**30,
        gt=0,
        description="Most bytes of address space a worker may take beyond what it has once the models are loaded.",
    )
    load_time_limit: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that a worker may take to load and rehearse its model before it is killed: protects from "
        "a network that never ends. 3 s on an idle machine, 20 s for two iResNet-100; a slow disk and a busy processor "
        "are allowed for.",
    )
    load_memory_limit: int = Field(
        default=4 * 2**30,
        gt=0,
        description="Most bytes of address space a worker may take meanwhile: protects this machine from a network "
        "that asks for all of it. Two iResNet-100 (250 MB each, the largest in use) took 2.2 GiB at the peak, with all "
        "libraries; small networks take 1.4 GiB, for a moment. Each takes some four times its file.",
    )

    # ---- match
    verification_target: Decibels = Field(
        default=VERIFICATION_TARGET,
        description="1:1: false match rate in dB, -10·log10(FMR). 33.01 dB is one impostor in 2,000 accepted, the "
        "0.05 % that the European Entry/Exit System asks of a face comparison (Decision (EU) 2019/329).",
    )
    duplicate_target: Decibels = Field(
        default=SEARCH_TARGET,
        description="Search for duplicates at enrolment: share of searches that name a stranger, in dB, "
        "-10·log10(FPIR), whatever the gallery's size: the threshold is this + 10·log10(encounters searched). 30 dB is "
        "one new person in 1,000 wrongly suspected, MOSIP's default for an ABIS (`targetFPIR` 30).",
    )
    identification_target: Decibels = Field(
        default=SEARCH_TARGET,
        description="1:N: the same, for identifications. MOSIP's default too; somebody who is asked in person may want "
        "20 (one search in 100 names a stranger, and fewer people are missed).",
    )
    gallery_targets: GalleryTargets = Field(
        default_factory=dict[str, float],
        description="FPIR targets in dB of galleries that have one of their own, for both kinds of search: "
        '{"watchlist": 20}. ALL may be one of them. A search over several galleries keeps the strictest of theirs.',
    )
    match_threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads of one search. More pay only where cores are idle beside enroll: with both of two cores "
        "busy, two threads made a single search of 100,000 ten times slower (they wait for each other).",
    )
    candidate_cap: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Most candidates in one answer; more is told as TOO_MANY_CANDIDATES with the true count. MOSIP "
        "asks for 30.",
    )
    lowest_threshold: float = Field(
        default=30.0,
        ge=0,
        description="Lowest threshold (dB) that a caller may ask for, or reach by an accuracyLevel. Scores of pairs "
        "less alike than that help to rebuild templates (reliability.md 2.3: distances below 0.5 to 0.55 give an "
        "attacker next to nothing).",
    )
    snapshot_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Least seconds between two snapshots: bounds what a restart must replay.",
    )

    # ---- operators
    metrics_host: str = Field(default="127.0.0.1", description="Address for the metrics of enroll and match.")
    enroll_metrics_port: int = Field(default=9101, ge=0, le=65535, description="0: none.")
    match_metrics_port: int = Field(default=9102, ge=0, le=65535, description="0: none.")
    command_proxy: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+/?)?$",
        repr=False,
        description="http://[user:password@]host:port of a proxy by which the command reaches another machine's api "
        "(--url) and models. HTTP_PROXY and the like, set for other programs, must not decide where faces go.",
    )
    command_ca_file: TextFile | None = Field(
        default=None, description="PEM of more authorities that may vouch for such an api; not SSL_CERT_FILE."
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field(default="console", pattern="^(console|json)$")

    @model_validator(mode="after")
    def _nobody_is_accepted_unasked_whom_no_caller_may_ask_for(self) -> Self:
        if self.verification_target < self.lowest_threshold:
            raise ValueError(
                f"EYNI_VERIFICATION_TARGET is {self.verification_target:g} dB, below EYNI_LOWEST_THRESHOLD, "
                f"{self.lowest_threshold:g} dB: every verification would be laxer than any that a caller may ask for. "
                "Raise the one, or lower the other too"
            )
        return self

    @model_validator(mode="after")
    def _no_security_is_left_out(self) -> Self:
        # A forgotten protocol would send in the clear what somebody has set a certificate or a password for.
        sasl = [self.kafka_sasl_mechanism, self.kafka_sasl_username, self.kafka_sasl_password]
        if any(bool(given) != self.kafka_security_protocol.startswith("SASL") for given in sasl):
            raise ValueError(
                "EYNI_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD are for EYNI_KAFKA_SECURITY_PROTOCOL "
                "SASL_PLAINTEXT or SASL_SSL, which want all three"
            )
        tls = [self.kafka_ca_file, self.kafka_cert_file, self.kafka_key_file]
        if any(tls) and not self.kafka_security_protocol.endswith("SSL"):
            raise ValueError(
                "EYNI_KAFKA_CA_FILE, _CERT_FILE and _KEY_FILE are for EYNI_KAFKA_SECURITY_PROTOCOL SSL or SASL_SSL"
            )
        try:
            check_tls(*tls)
        except ValueError as error:
            raise ValueError(f"EYNI_KAFKA_CA_FILE, _CERT_FILE and _KEY_FILE: {error}") from None
        return self

    @property
    def kafka_security(self) -> dict[str, str]:
        """The settings of TLS and SASL that are given, by kafka-python's names."""
        settings = {
            "security_protocol": self.kafka_security_protocol,
            "ssl_cafile": self.kafka_ca_file,
            "ssl_certfile": self.kafka_cert_file,
            "ssl_keyfile": self.kafka_key_file,
            "sasl_mechanism": self.kafka_sasl_mechanism,
            "sasl_plain_username": self.kafka_sasl_username,
            "sasl_plain_password": self.kafka_sasl_password,
        }
        return {name: str(value) for name, value in settings.items() if value}

    @property
    def filterable(self) -> frozenset[str]:
        """The names in `filter_fields`."""
        return frozenset(name.strip() for name in self.filter_fields.split(",") if name.strip())

    @property
    def log_address(self) -> str:
        """The log's address, with the default filled in."""
        return self.log or (self.data.absolute() / "log").as_uri()

    @property
    def registry_url(self) -> str:
        """The registry's URL, with the default filled in."""
        # Quoted: a folder may be called `q?a=b` or `100%41`.
        return self.registry or f"sqlite:///{quote(bytes(self.data.absolute() / 'registry.sqlite'))}"

    def shown(self) -> dict[str, str]:
        """Every setting that is not as by default, without what is secret: for a service's first line."""
        secret = {"registry", "kafka_sasl_password", "command_proxy"}
        fields = type(self).model_fields
        # What was not given is not asked for its default: that of the data folder needs a home.
        changed = {k: v for k, v in self.model_dump(include=self.model_fields_set).items() if v != fields[k].default}
        return {k: "***" if k in secret else str(v) for k, v in changed.items()}
