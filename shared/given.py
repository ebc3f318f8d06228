"""What an operator gives in a setting, files above all: read, or refused with what is wrong and what to do."""

import json
import os
import re
from pathlib import Path
from typing import Final

from shared.text import printable

LARGEST: Final = 2**20
"""Most bytes of such a file: key sets, certificates and settings have some thousands; more is the wrong file."""


def text_of(path: Path) -> str:
    """Return the text of a file. Raises ValueError: the file, what is wrong, what to do."""
    try:
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; give the file in it")
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: is no file but a device or a pipe; give a file")
        with path.open("rb") as file:
            found = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; correct the path, or leave the setting out") from None
    except PermissionError:
        raise ValueError(
            f"{path}: cannot be read by this user (uid {os.geteuid()}); give that user the right to, and "
            "to enter its folders (chown, chmod)"
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not found.strip():
        raise ValueError(f"{path}: is empty; was it written to the end?")
    if len(found) > LARGEST:
        raise ValueError(f"{path}: has more than {LARGEST} bytes; it must be another file than is meant")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text in UTF-8; give it in the form that the setting names") from None


def readable(path: Path) -> Path:
    """Return the path of a text, as it was given. Raises ValueError."""
    text_of(path)
    return path


def pem(path: Path) -> Path:
    """Return the path of a file in PEM, as it was given. Raises ValueError."""
    if "-----BEGIN " not in text_of(path):
        raise ValueError(
            f"{path}: is not in PEM (lines from -----BEGIN … to -----END …); `openssl x509 -inform DER -in FILE` turns "
            "a certificate in DER into it"
        )
    return path


def check_tls(authorities: Path | None, certificate: Path | None = None, key: Path | None = None) -> None:
    """See that TLS can use these files. Raises ValueError, whose message begins with the file."""
    import ssl  # not what `eyni --help` should wait for

    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(pem(authorities))
        except ssl.SSLError:
            raise ValueError(
                f"{authorities} holds no certificate that can be read; give those of the authorities, in PEM"
            ) from None
    if certificate is not None:
        pem(certificate)
        try:
            # Without this function a key with a passphrase would ask for it on the terminal, and wait.
            context.load_cert_chain(certificate, None if key is None else pem(key), password=lambda: "")
        except ssl.SSLError as error:
            what = (error.reason or "it cannot be read").lower().replace("_", " ")
            raise ValueError(
                f"{certificate} and {key or 'the key in it'} are no certificate with its key ({what}); give a "
                "certificate in PEM and the key that belongs to it, without a passphrase"
            ) from None


def names_in_file(named: str | None) -> list[str]:
    """Return the names that a file of settings holds, one `NAME=value` a line; none for no file.

    Raises ValueError: the file, what is wrong, what to do.
    """
    if not named:
        return []
    lines = [line.strip().removeprefix("export ").strip() for line in text_of(Path(named).expanduser()).splitlines()]
    names = [found[1] for line in lines if (found := re.match(r"([A-Za-z_][A-Za-z0-9_]*)\s*=", line))]
    if not names:
        raise ValueError(f"{named} holds no setting; write EYNI_NAME=value, one a line")
    return names


_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(\*|[1-9][0-9]{0,4}))?")


def hosts(value: str) -> str:
    """Return a list of hosts as it was given. Raises ValueError for what is none, or has no such port."""
    for host in filter(None, map(str.strip, value.split(","))):
        found = _HOST.fullmatch(host)
        if found is None:
            raise ValueError(
                f"{printable(host, 60)!r} is no host; give host, host:port or host:*, an IPv6 address in brackets, "
                "separated by commas, without http://"
            )
        if found[3] and found[3] != "*" and int(found[3]) > 65535:
            raise ValueError(f"{host!r} has a port that there is not; ports are 1 to 65535, or * for all")
    return value


def from_json(value: object) -> object:
    """Return what a JSON text says, and all else as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError:
        raise ValueError('is not JSON; give {"gallery": dB, ...}') from None
