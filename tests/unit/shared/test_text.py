"""Text from outside can be read, and can do nothing else."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import printable


@pytest.mark.parametrize(
    "text",
    [
        "Gülşən Əliyeva",
        "İsmayıl Ğ. Çıraqov-Öz, № 7: 100 % «ад» (x_y/z\\a) [b] 'c' \"d\" <e> €",  # noqa: RUF001
        "محمد علي",
        "משה",
        "გიორგი",
        "Նարեկ",
        "Нигяр",
        "王小明",
        "김철수",
        "สมชาย",
        "नरेन्द्र",
        "Nguyễn".encode().decode(),
        "Nguye\u0302\u0303n",  # written apart (NFD)
        "👤",
        "",
    ],
)
def test_letters_of_every_script_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[31mOWNED", r"\x1b[2J\x1b[31mOWNED"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x00\x07\x08\x7f", r"\x00\x07\x08\x7f"),
        ("\x85\x9b31m", r"\u0085\u009b31m"),
        ("\u202egpj.exe\u202c", r"\u202egpj.exe\u202c"),
        ("\u2066\u2067\u2068\u2069\u200e\u200f\u061c", r"\u2066\u2067\u2068\u2069\u200e\u200f\u061c"),
        ("a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg", r"a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\u00a0b\u3000c\u2003d", r"a\u00a0b\u3000c\u2003d"),
        ("\u3164\u115f\u2800\u034f\ufe0f\U000e0100", r"\u3164\u115f\u2800\u034f\ufe0f\U000e0100"),
        ("\ue000\U000f0000\U0010fffd", r"\ue000\U000f0000\U0010fffd"),
        ("\u0378\ufffe\U000e0001", r"\u0378\ufffe\U000e0001"),
        (os.fsdecode(b"M\xfcller"), r"M\xfcller"),
        ("\ud800", r"\ud800"),
        ("\u0301a", r"\u0301a"),
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + r"\u0301\u0301"),
    ],
)
def test_what_steers_a_terminal_or_deceives_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab\x1bcd", 7, r"ab\x1b…"),
        ("ab\x1bcd", 6, "ab…"),
        ("\x1b", 4, r"\x1b"),
        ("\x1b", 3, "…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("", 0, ""),
    ],
)
def test_a_text_is_cut_at_its_limit_and_never_within_an_escape(text: str, limit: int, shown: str) -> None:
    assert printable(text, limit) == shown


@given(st.text(st.characters(exclude_categories=()), max_size=40), st.none() | st.integers(0, 60))
def test_whatever_comes_can_be_printed(text: str, limit: int | None) -> None:
    shown = printable(text, limit)
    shown.encode()
    assert shown.isprintable()
    assert limit is None or len(shown) <= limit
    assert limit is not None or printable(shown) == shown
