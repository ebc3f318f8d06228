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
    """Return a token with the given OSIA scopes, or with all of them where none is given."""
    from services.api.tokens import SCOPES, mint

    try:
        return mint(
            settings.data,
            scopes or SCOPES,
            client=client,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            seconds=ttl.total_seconds(),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--scope") from None
