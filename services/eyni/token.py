"""`eyni token`: a bearer token for development, made with the data folder's own key."""

import re
from collections.abc import Sequence
from datetime import timedelta

import typer

from shared.settings import Settings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> timedelta:
    """Read "90s", "15m", "12h" or "7d"."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no time; 15m, 12h and 7d are", param_hint="--ttl")
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])


def token(settings: Settings, scopes: Sequence[str], client: str, ttl: timedelta) -> str:
    """Return a token with the given OSIA scopes, or with all of them where none is given.

    Each may hold several, separated by blanks, as OAuth writes them (RFC 6749, section 3.3).
    """
    from services.api.tokens import SCOPES, mint

    wanted = [name for given in scopes for name in given.split()]
    if scopes and not wanted:
        raise typer.BadParameter(f"names no scope; there are {', '.join(SCOPES)}", param_hint="--scope")
    if any("," in name for name in wanted):
        raise typer.BadParameter(
            'scopes are separated by blanks, not by commas: --scope "abis.verify abis.identify"', param_hint="--scope"
        )
    try:
        return mint(
            settings.data,
            list(dict.fromkeys(wanted)) or SCOPES,
            client=client,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            seconds=ttl.total_seconds(),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--scope") from None
