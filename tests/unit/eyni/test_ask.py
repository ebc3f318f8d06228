"""`eyni verify` and `eyni identify`: what they read, and how they show an answer."""

import json
import os
import time
from pathlib import Path

import pytest
from pydantic import JsonValue
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.ask import identify, verify
from services.eyni.client import Answer, Client
from shared.settings import Settings

EVIL = "[test] [bold red]evil[/x] :smile: \x1b[2J \u202e"
SHOWN = r"[test] [bold red]evil[/x] :smile: \x1b[2J \u202e"


class Said(Client):
    """An api that gives one answer."""

    def __init__(self, body: JsonValue) -> None:
        super().__init__("http://nobody", "t", Settings())
        self.body = body

    def verify(self, person: str, picture: bytes, gallery: str, threshold: float | None = None) -> Answer:
        return Answer(200, self.body, {}, 0.1)

    def identify(self, picture: bytes, gallery: str, most: int, threshold: float | None = None) -> Answer:
        return Answer(200, self.body, {}, 0.1)


def test_a_candidates_name_is_shown_as_it_is_and_steers_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    found: JsonValue = [{"rank": 1, "personId": EVIL, "score": 60.0, "scores": [{"encounterId": EVIL}]}]
    with Said(found) as client:
        assert identify(client, b"", "ALL", 10, None, as_json=False) == 0
        said = capsys.readouterr().out
        assert said.count(SHOWN) == 2
        assert "\x1b" not in said
        identify(client, b"", "ALL", 10, None, as_json=True)
        said = capsys.readouterr().out
        assert said.isascii()
        assert json.loads(said)["candidates"] == found


@pytest.mark.parametrize(("yes", "said"), [(True, "yes, [a] dB, "), (False, "no, [a] dB, ")])
def test_a_decision_is_a_word_and_an_exit_code(capsys: pytest.CaptureFixture[str], yes: bool, said: str) -> None:
    with Said({"decision": yes, "scores": [{"score": "[a]"}]}) as client:
        assert verify(client, "p", b"", "ALL", None, as_json=False) == (0 if yes else 1)
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("command", [["verify", "P"], ["identify"]])
@pytest.mark.parametrize("what", ["device", "pipe", "large"])
def test_what_is_no_picture_is_neither_read_nor_waited_for(tmp_path: Path, command: list[str], what: str) -> None:
    path = tmp_path / what
    match what:
        case "device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case _:
            with path.open("wb") as file:
                file.truncate(2**40)  # holds nothing, says a terabyte
    start = time.monotonic()
    done = CliRunner().invoke(app, [*command, str(path), "--data", str(tmp_path), "--token", "t"])
    assert time.monotonic() - start < 5.0
    assert done.exit_code == 1
    assert f"{path}: {'has' if what == 'large' else 'is no file'}" in done.output


def test_a_picture_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.eyni.ask.AT_A_DESK", 0.1)
    path = tmp_path / "M\udcfcller.jpg"
    path.write_bytes(b"a face")
    nobody = "http://127.0.0.1:9"
    done = CliRunner().invoke(app, ["identify", str(path), "--url", nobody, "--token", "t", "--data", str(tmp_path)])
    assert done.exit_code == 3
    assert "is not available" in done.output


@pytest.mark.parametrize("person", ["..", "a/b", "a\u200bb", "", "M\udcfcller", "x" * 300])
def test_an_id_that_is_none_is_a_wrong_use(tmp_path: Path, person: str) -> None:
    (tmp_path / "p.jpg").write_bytes(b"a face")
    done = CliRunner().invoke(app, ["verify", person, str(tmp_path / "p.jpg"), "--data", str(tmp_path), "--token", "t"])
    assert done.exit_code == 2
    assert "PERSON" in done.output
