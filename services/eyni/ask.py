"""`eyni verify` and `eyni identify`: a question asked as an officer's desk would."""

from pydantic import JsonValue

from services.eyni.client import Answer, Client, checked
from services.eyni.common import Code
from services.eyni.console import Console, Styled, Table, out

AT_A_DESK = 10.0
"""Seconds until "not available": a station can wait for a restart, somebody in front of an officer should not."""


def _about(answer: Answer) -> dict[str, object]:
    return {
        "as_of": int(answer.headers.get("eyni-as-of", -1)),
        "gallery_count": int(answer.headers.get("eyni-gallery-count", -1)),
        "milliseconds": round(1000 * answer.seconds),
    }


def _footer(answer: Answer) -> str:
    about = _about(answer)
    return (
        f"{about['milliseconds']} ms, against {about['gallery_count']} references, "
        f"as of position {about['as_of']} of the gallery log"
    )


def _score(detail: JsonValue) -> str:
    """Write a score as OSIA's answer has it, and whether its error rate was measured."""
    if not isinstance(detail, dict) or "score" not in detail:
        return ""
    others = detail.get("others")
    beyond = isinstance(others, dict) and others.get("extrapolated") is True
    return f"{detail['score']} dB{' (extrapolated)' if beyond else ''}"


def verify(client: Client, person: str, picture: bytes, gallery: str, threshold: float | None, as_json: bool) -> Code:
    """Ask whether a picture shows a person; print and return the answer."""
    answer = checked(client.verify(person, picture, gallery, threshold))
    body = answer.body if isinstance(answer.body, dict) else {}
    yes = body.get("decision") is True
    if as_json:
        out({"decision": yes, "scores": body.get("scores", []), **_about(answer)})
    else:
        scores = body.get("scores")
        said = f", {_score(scores[0])}" if isinstance(scores, list) and scores else ""
        decision = Styled("yes", "bold green") if yes else Styled("no", "bold red")
        Console().say(decision, f"{said}, {_footer(answer)}")
    return Code.OK if yes else Code.NO


def identify(client: Client, picture: bytes, gallery: str, most: int, threshold: float | None, as_json: bool) -> Code:
    """Ask whom a picture shows; print the candidates, most alike first."""
    answer = checked(client.identify(picture, gallery, most, threshold))
    candidates = answer.body if isinstance(answer.body, list) else []
    if as_json:
        out({"candidates": candidates, **_about(answer)})
        return Code.OK if candidates else Code.NO
    console = Console()
    if candidates:
        table = Table("rank", "person", "score", "encounters")
        for candidate in candidates:
            if isinstance(candidate, dict):
                scores = candidate.get("scores")
                encounters = (
                    [str(s.get("encounterId", "")) for s in scores if isinstance(s, dict)]
                    if isinstance(scores, list)
                    else []
                )
                table.row(
                    str(candidate.get("rank", "")),
                    str(candidate.get("personId", "")),
                    _score(candidate),
                    ", ".join(encounters),
                )
        console.show(table)
    else:
        console.say(Styled("nobody", "bold"), " in this gallery is alike enough")
    console.say(_footer(answer))
    return Code.OK if candidates else Code.NO
