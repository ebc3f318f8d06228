"""Which ids are taken from outside: those that are seen whole, are spelt in one way, and go through a URL unchanged."""

import unicodedata
from urllib.parse import quote, unquote, urljoin

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared import events
from shared.ids import LENGTH, objection_to_id


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "P-1",
        "AZE 0042",
        "Gülşən Əliyeva",
        "Пётр",
        "北京",
        "a.b",
        "...",
        ".hidden",
        "100 %",
        "5%-x",
        "%zz",
        "a?b#c",
        "x" * LENGTH,
        "\U0001f600",
        "a;b=c",
        '"',
        "ALL",
        "שלום",
        "علي",
        "हिन्दी",
    ],
)
def test_an_id_that_is_seen_and_survives_a_url_is_taken(text: str) -> None:
    assert objection_to_id(unicodedata.normalize("NFC", text)) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1 to 200 characters, and has 0"),
        ("x" * 201, "and has 201"),
        (".", "a step between folders"),
        ("%2e%2e", "a percent sign before two hexadecimal digits, as character 1"),
        ("a%2Fb", "which a proxy may decode to another id"),
        ("..", "a step between folders"),
        ("a/b", "a slash, U+002F, as character 2"),
        ("a\\b", "a backslash"),
        ("a\nb", "a control character, U+000A"),
        ("a\x7f", "control"),
        ("a\x85b", "control character, U+0085"),
        ("a\u200bb", "not seen"),
        ("a\u200d", "not seen"),
        ("\u202eevil", "not seen"),
        ("a\u2066b", "not seen"),
        ("\ufeffa", "not seen"),
        ("a\u00adb", "not seen"),
        ("a\U000e0041", "not seen"),
        ("a\u034fb", "not seen"),
        ("a\ufe0f", "not seen"),
        ("\u3164", "not seen"),
        ("\u2800", "not seen"),
        ("a\u2028b", "line separator"),
        ("a\u2029b", "paragraph separator"),
        ("a\u00a0b", "looks like another"),
        ("a\u3000b", "looks like another"),
        ("a\ud800", "surrogate"),
        ("a\ue000", "private use"),
        ("a\uffff", "no character"),
        ("a\U000fffff", "no character"),
        ("a\ufffd", "lost text"),
        (" a", "begins or ends with a blank"),
        ("a ", "begins or ends with a blank"),
        ("\u0301a", "begins with a mark"),
        ("Jose\u0301", "NFC"),
        ("\u212b", "NFC"),
    ],
)
def test_any_other_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    assert said in (objection_to_id(text) or "")


ACCEPTED = st.text(min_size=1, max_size=LENGTH).filter(lambda text: objection_to_id(text) is None)


@given(ACCEPTED)
@example("%2e%2e")
@example("a%2Fb")
@example("a+b")
def test_an_id_that_is_taken_goes_through_urls_unchanged(text: str) -> None:
    path = f"/v1/persons/{quote(text, safe='')}/encounters/1"
    url = httpx.URL("http://eyni.test").join(path)
    assert [unquote(step) for step in url.raw_path.decode().split("/")][3] == text
    # As RFC 3986 (5.2.4) resolves it: no step of it goes up.
    assert urljoin("http://eyni.test/v1/", path).endswith(path)


@given(ACCEPTED)
def test_an_id_that_is_taken_has_one_spelling_and_can_be_written_to_the_log(text: str) -> None:
    assert {unicodedata.normalize(form, text) for form in ("NFC",)} == {text}
    assert TypeAdapter[str](events.Id).validate_python(text) == text


@given(st.text(max_size=LENGTH))
def test_of_the_spellings_of_one_text_at_most_one_is_taken(text: str) -> None:
    spellings = {unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text), text}
    assert sum(objection_to_id(spelling) is None for spelling in spellings) <= 1
