"""Every refusal, by a code that stays the same: what is wrong, where, and what to do about it.

A code is the HTTP status and two digits. The text never repeats a picture or more than a few letters of what was sent.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from shared.text import printable


class Code(IntEnum):
    """The `code` of an `Error`; `services/api/osia.md` lists them for clients."""

    NOT_JSON = 40001
    """The body is no JSON (RFC 8259), or none was sent."""
    WRONG_SHAPE = 40002
    """A parameter or a field is missing, unknown, of another type or out of its range."""
    WRONG_PICTURE = 40003
    """A sample has no picture, or its base64 or imageRef is not to be used."""
    NOT_SERVED = 40004
    """Lawful OSIA that Eyni does not serve: other modalities, templates from outside, encrypted fields."""
    WRONG_ID = 40005
    """Ids that contradict each other, or a reserved one."""
    WRONG_CALLBACK = 40006
    """The callback is not a URL on the operator's list."""
    RETAKE = 40010
    """No sample could be used: take the picture again. The header Eyni-Retake has the reasons."""
    NO_TOKEN = 40101
    """No bearer token."""
    BAD_TOKEN = 40102
    """The token is not one of ours, expired, or malformed. The log says which, the answer does not."""
    NO_SCOPE = 40301
    """The token lacks the operation's scope."""
    TEMPLATES_STAY = 40302
    """Templates are not given out."""
    UNKNOWN = 40401
    """No such person, encounter, gallery or task, or none that is the caller's."""
    NO_SUCH_PATH = 40402
    """The address names no operation."""
    NO_SUCH_METHOD = 40501
    """The path has no such method."""
    TOO_SLOW = 40801
    """The body took too long to arrive."""
    CONFLICT = 40901
    """It exists already with other content; nothing was changed."""
    TOO_LARGE = 41301
    """The body, or one part of it, is larger than the limit."""
    WRONG_TYPE = 41501
    """The body is not application/json without a content encoding."""
    TOO_MUCH = 42901
    """This client has too much under way at a time; nothing was accepted. Send again after Retry-After seconds."""
    FAILED = 50001
    """A fault of this server. Give the operator the request id."""
    LOG_UNAVAILABLE = 50301
    """The log does not take records now; nothing is known to be accepted. Send again."""
    NOT_READY = 50302
    """Matcher or registry cannot answer now; nothing was accepted. Send again."""
    LATE = 50303
    """Accepted, and not decided in time. Send the same again: what has ids is not done twice. Before a change, read."""
    BUSY = 50304
    """Too much is under way at a time; nothing was accepted. Send again."""
    EXPIRED = 50305
    """A question that was dropped, because nobody waited for its answer any more. Send the same again."""


RETRY_AFTER: Final = "5"
"""Seconds that a 503 asks a client to wait: heartbeats come every second, a restarted broker is back in six."""

_SHOWN: Final = 60
"""Characters of something sent that a message may repeat: enough for a field's name, too few for a picture."""


class Refusal(Exception):
    """A request is refused. The status is the code's."""

    def __init__(self, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if self.status == 503:
            self.headers.setdefault("Retry-After", RETRY_AFTER)

    @property
    def status(self) -> int:
        return self.code // 100

    @property
    def at_sight(self) -> bool:
        """Whether the request itself is wrong; the opposite is found out by looking into the registry."""
        return self.code == Code.NO_SCOPE or self.status not in (403, 404, 409)


def shown(text: object) -> str:
    """Return what may be repeated of something sent: short, printable, in quotes."""
    return f"'{printable(str(text), _SHOWN)}'"
