"""What the command writes: text from outside stays text, whatever the terminal and its encoding."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from services.eyni.__main__ import app
from services.eyni.common import forgive
from services.eyni.console import Console, Styled, Table, out

EVIL = "[test] [bold red]evil[/bold red] [/a] [link=http://x]y[/link] :smile: \x1b[2J \x9b1m \u202e \udcfc"
SHOWN = r"[test] [bold red]evil[/bold red] [/a] [link=http://x]y[/link] :smile: \x1b[2J \u009b1m \u202e \xfc"


def written(write: Callable[[Console], None]) -> str:
    file = io.StringIO()
    write(Console(file=file, width=300))
    return file.getvalue()


def table() -> Table:
    made = Table(f"heading {EVIL}", "second", title=f"title {EVIL}", caption=f"caption {EVIL}")
    made.row(f"cell {EVIL}", Styled(f"styled {EVIL}", "bold red"))
    made.section()
    made.row(("part", EVIL), "")
    return made


def a_bar(console: Console) -> None:
    with console.bars("pictures") as bars:
        bars.add(EVIL, 2)(1, 2, EVIL)


def a_line(console: Console) -> None:
    console.say(EVIL, Styled(EVIL, "green"))


def a_paragraph(console: Console) -> None:
    console.show(EVIL, (EVIL, Styled("x", "red")))


def a_table(console: Console) -> None:
    console.show(table())


@pytest.mark.parametrize("write", [a_line, a_paragraph, a_table, a_bar])
def test_text_from_outside_is_no_markup_and_steers_nothing(write: Callable[[Console], None]) -> None:
    said = written(write)
    assert SHOWN in said
    assert not {"\x1b", "\x9b", "\u202e", "\udcfc"} & set(said)


def test_a_line_is_one_line_however_long_and_whatever_it_holds() -> None:
    assert written(lambda console: console.say("x" * 1000, "\n\rforged")).splitlines() == ["x" * 1000 + r"\n\rforged"]


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert written(lambda console: console.say(Styled("yes", "bold green"))) == "yes\n"


def test_an_answer_for_scripts_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    out({"person": f"Gülşən {EVIL}"})
    said = capsys.readouterr().out
    assert said.isascii()
    assert json.loads(said) == {"person": f"Gülşən {EVIL}"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_written_as_an_escape(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    forgive()
    names = Table("person")
    names.row("Gülşən Əliyeva")
    Console().show(names)
    Console().say("Gülşən Əliyeva")
    sys.stdout.flush()
    said = raw.getvalue().decode(encoding)
    assert ("Gülşən Əliyeva" if encoding == "utf-8" else r"\u018fliyeva") in said
    assert r"\u25" not in said  # the table's lines are drawn with what there is


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "cp1251"}]
)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["station", "/tmp/Gülşən Əliyeva"], ["Əliyeva"], ["station", "--help"]]
)
def test_no_encoding_ends_a_command(environment: dict[str, str], arguments: list[str]) -> None:
    command = [sys.executable, "-m", "services.eyni", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr
    assert b"eyni" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [[EVIL], ["station", f"/nowhere/{EVIL}"], ["status", f"--{EVIL}"], ["station", ".", "--part", EVIL]]
)
def test_a_wrong_use_is_told_without_steering_the_terminal(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "[bold red]evil[/bold red]" in done.output
    assert not {"\x1b", "\x9b", "\u202e", "\udcfc"} & set(done.output)
    assert all(line.startswith("eyni: ") for line in done.output.splitlines())


@pytest.mark.parametrize("width", [20, 80])
def test_the_end_of_a_long_id_is_shown_in_a_table_however_narrow(width: int) -> None:
    ids = [f"{'a' * 190}{end}" for end in ("first", "other")]
    file, made = io.StringIO(), Table("rank", "person", "score")
    for number, name in enumerate(ids):
        made.row(str(number), name, "61.5 dB")
    Console(file=file, width=width).show(made)
    cells = "".join(line.split("│")[2].strip() for line in file.getvalue().splitlines() if line.startswith("│"))
    assert cells == "".join(ids)
