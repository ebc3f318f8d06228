"""One rule for ids that come from outside: of a person, an encounter, a gallery. Pure.

An id is written by one program and read by another, by people, and out of a URL; so one id must have one spelling,
every character of it must be seen, and a URL must not change it. `shared.events.Id`, with which the log is read, is
laxer: what an older version accepted stays readable.
"""

import re
import unicodedata
from typing import Final

from shared.text import INVISIBLE

LENGTH: Final = 200
"""Most characters: three of them in one path, percent-encoded at their longest, take half of a server's 16 KiB."""

_KINDS: Final = {
    "Cc": "a control character",
    "Cf": "a character that is not seen (a format or direction mark, or one of no width)",
    "Cs": "half of a surrogate pair",
    "Co": "a character of private use, which is another one elsewhere",
    "Cn": "a code point that is no character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a blank that looks like another (only U+0020 is taken)",
}
"""Unicode's general categories that no id has, in words."""

_LOST: Final = frozenset("\ufffc\ufffd")
"""What programs write in place of something that they could not read: two ids would be one."""


_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}", re.ASCII)


def objection_to_id(text: str) -> str | None:
    """Say what is wrong with an id and what to do, in words that follow its name; None where nothing is.

    The id itself is not repeated: it may be what would deceive whoever reads the message.
    """
    if not 1 <= len(text) <= LENGTH:
        return f"must have 1 to {LENGTH} characters, and has {len(text)}"
    if text in (".", ".."):
        return f"is {text!r}, which a URL takes for a step between folders; choose another id"
    for place, character in enumerate(text, start=1):
        if (kind := _wrong(character)) is not None:
            return f"has {kind}, U+{ord(character):04X}, as character {place}; leave it out"
    if (escape := _ESCAPE.search(text)) is not None:
        return (
            f"has a percent sign before two hexadecimal digits, as character {escape.start() + 1}, which a proxy may "
            "decode to another id; leave the percent sign out"
        )
    if unicodedata.category(text[0])[0] == "M":
        return "begins with a mark that belongs on a letter before it; leave it out"
    if text.strip() != text:
        return "begins or ends with a blank; leave it out"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode's normal form C (NFC), so that the same id could be two people; write it in NFC"
    return None


def _wrong(character: str) -> str | None:
    if character in "/\\":
        return "a slash" if character == "/" else "a backslash"
    if character in INVISIBLE:
        return "a character that is not seen"
    if character in _LOST:
        return "a sign that stands for lost text"
    if character == " ":
        return None
    return _KINDS.get(unicodedata.category(character))
