"""Text from outside, written so that it can neither steer a terminal nor deceive who reads it.

Names, ids, file names, a library's or a model's own words: whatever others chose goes through `printable` before a
person sees it, in a log line, on a terminal or in an error.
"""

import unicodedata
from typing import Final

_STAYING: Final = frozenset("LMNPS")
"""General categories (first letter) that are left as they are: letters of every script with their marks, digits,
punctuation, symbols. The others are controls, what directs a line (bidi, line ends), blanks of odd width, and what has
no meaning yet or a private one."""

INVISIBLE: Final = frozenset(
    chr(code)
    for codes in (
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
    for code in codes
)
"""Letters, marks and symbols that show nothing: Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties 16.0) as
far as the categories above let it pass, and the empty Braille cell. Two names that differ in one look the same."""

_MARKS: Final = 4
"""Most marks on one letter: Vietnamese written apart has two, vowelled Hebrew and Arabic three or four; piles of them
cover the lines around."""

_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, limit: int | None = None) -> str:
    r"""Return the text with everything but plain letters, digits, punctuation, symbols and blanks as visible escapes.

    `\n`; `\x1b` for ASCII's controls and for a byte that was no UTF-8 (a surrogate of `surrogateescape`); `\u202e` or
    `\U000e0001` for the rest. A backslash stays one: this is for reading, not for reading back.

    `limit` is the most characters that are returned; a longer text ends in "…", and never within an escape.
    """
    # Each character makes one at least, so no more are looked at than can be shown.
    looked_at = text if limit is None else text[: limit + 1]
    parts: list[str] = []
    marks = _MARKS  # one at the very start would sit on what stands before the text
    for letter in looked_at:
        category = unicodedata.category(letter)
        marks = marks + 1 if category[0] == "M" else 0
        stays = letter == " " or (category[0] in _STAYING and letter not in INVISIBLE and marks <= _MARKS)
        parts.append(letter if stays else _escaped(letter))
    if limit is None or sum(map(len, parts)) <= limit:
        return "".join(parts)
    shown, room = "", max(limit - 1, 0)
    for part in parts:
        if len(shown) + len(part) > room:
            break
        shown += part
    return f"{shown}…" if limit > 0 else ""


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
