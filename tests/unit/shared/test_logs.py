"""Log lines: readable, harmless to a terminal, without what is nobody's business; and nobody waits for their reader."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

HOSTILE = "\x1b[2J\x1b[31mOWNED \x9b31m \u202egpj.exe \u2066x \x85 a\nb \u200b Gülşən Əliyeva \udcfc"
STEERS = [chr(n) for n in [*range(32), 127, *range(128, 160), 0x202E, 0x2066, 0x200B] if n != 10]

SAYS = """
import logging, sys, warnings
from shared.logs import configure, logger
configure("info", sys.argv[1])
text = sys.argv[2]
log = logger("test")
log.info(text, **{"odd " + text: 1}, nested={"a": [text, {"b": (text,)}], text: {text}}, other=ValueError(text))
logging.getLogger("library " + text).warning("says %s", text)
try:
    raise ValueError(text)
except ValueError:
    log.exception("caught")
    logging.getLogger("library").exception("caught too")
log.info("secret", picture_bytes=b"x", view=memoryview(b"x"))
raise KeyError("the last " + text)
"""


def said(style: str, text: str = HOSTILE) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SAYS, style, text], cwd=ROOT, capture_output=True, timeout=60, env={**os.environ}
    )
    assert done.stdout == b""
    return done.stderr.decode()


@pytest.mark.parametrize("style", ["console", "json"])
def test_text_from_outside_steers_no_terminal_in_either_format(style: str) -> None:
    lines = said(style)
    assert [hex(ord(letter)) for letter in STEERS if letter in lines] == []
    assert len(lines.splitlines()) == 6, lines
    assert "Gülşən Əliyeva" in lines


@pytest.mark.parametrize("style", ["console", "json"])
def test_an_exception_is_told_by_kind_and_place_without_its_message(style: str) -> None:
    lines = said(style, "AZE123").splitlines()
    caught = [line for line in lines if "caught" in line]
    assert len(caught) == 3
    for line in caught:
        assert "AZE123" not in line
        assert "<module>" in line
    assert "KeyError" in caught[-1]


def test_bytes_are_withheld() -> None:
    line = json.loads(next(line for line in said("json").splitlines() if "secret" in line))
    assert (line["picture_bytes"], line["view"]) == ("<bytes withheld>", "<memoryview withheld>")


# ---- nobody waits for who reads the lines (F35)

CHATTERS = """
import sys, time
from shared.logs import configure, logger
configure("info", "json")
log = logger("test")
for n in range(20_000):
    log.info("a line that nobody reads", number=n, more="x" * 100)
print("done", flush=True)
sys.stdin.read()
"""


def chattering(stderr: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", CHATTERS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
    )


def test_a_pipe_that_nobody_reads_hangs_nothing_and_what_was_dropped_is_counted() -> None:
    reading, writing = os.pipe()
    process = chattering(writing)
    os.close(writing)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"done\n"  # and here it hung
    process.stdin.close()
    with os.fdopen(reading, "rb") as pipe:
        lines = [json.loads(line) for line in pipe.read().splitlines()]
    assert process.wait(30) == 0
    dropped = [line["lines"] for line in lines if "dropped" in line["event"]]
    assert sum(dropped) + len(lines) - len(dropped) == 20_000
    assert dropped
    process.stdout.close()


def test_a_pipe_that_is_closed_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = chattering(writing)
    os.close(writing)
    out, _ = process.communicate(b"", 60)
    assert (out, process.returncode) == (b"done\n", 0)


def test_a_reader_that_never_comes_back_does_not_keep_a_process_from_ending() -> None:
    reading, writing = os.pipe()
    process = chattering(writing)
    os.close(writing)
    assert process.stdin is not None
    process.stdin.close()
    started = time.monotonic()
    assert process.wait(60) == 0
    assert time.monotonic() - started < 50
    os.close(reading)
    assert process.stdout is not None
    process.stdout.close()


def test_what_is_said_last_is_written_before_the_end() -> None:
    code = "from shared.logs import configure, logger; configure(); [logger('x').info('line') for _ in range(500)]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert done.stderr.count(b"\n") == 500


def test_without_any_standard_error_lines_go_nowhere() -> None:
    code = "from shared.logs import configure, logger; configure(); logger('x').info('line')"
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec {sys.executable} -c "{code}" 2>&-'], cwd=ROOT, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_lines_of_a_command_that_sets_up_no_logging_are_beside_what_it_prints() -> None:
    code = "from shared.logs import logger; logger('x').warning('a\\x1b[2Jb')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert r"a\x1b[2Jb" in done.stderr
