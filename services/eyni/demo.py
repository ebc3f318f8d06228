"""`eyni demo`: a gallery of 100,000 people and one real face, found again, accepted and refused, in about a minute."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from services.eyni.client import Answer, Client, Watcher, checked
from services.eyni.common import Code, Failed
from services.eyni.console import Bars, Console, Styled, Table, complain
from services.eyni.heard import Listener
from services.eyni.people import enrolments, person_id
from services.eyni.run import SUPERVISOR, own_command, own_environment
from services.eyni.token import duration, token
from services.eyni.up import base_url, free_port
from shared import files
from shared.calibration import Calibration
from shared.log import Log
from shared.log.address import open_log
from shared.model import in_use
from shared.settings import Settings
from shared.topics import TOPICS, Entry, Group, Name, entry

GALLERY: Final = "demo"

PATIENCE: Final = 300.0
"""Seconds that a slow machine may take until everything is ready."""


def demo(people: int) -> Code:
    """Show it; return OK if every answer was the right one."""
    console = Console()
    start = time.monotonic()
    console.show(
        (
            Styled("Eyni", "bold"),
            " answers two questions: is this person known already, and is this who they claim to be.",
        ),
        f"Here it does so among {people:,} synthetic people, with one real face: the picture of Grace Hopper that "
        "matplotlib carries.",
        "",
    )
    with tempfile.TemporaryDirectory(prefix="eyni-demo-") as folder:
        settings = Settings(data=Path(folder), log="", registry="", api_port=free_port("127.0.0.1"), token_keys=None)
        # Of a new folder, and so the default one, as it is for the services below.
        calibration = in_use(settings.data).calibration
        log = open_log(settings.log_address)
        try:
            log.ensure(list(TOPICS.values()))
            with console.bars("steps") as progress:
                _fill(log, calibration, people, progress)
                with _running(settings) as process:
                    _await(log, settings, process, progress)
                    progress.stop()
                    right = _ask(console, settings, people)
        finally:
            log.close()
    console.say()
    console.say(f"That took {time.monotonic() - start:.0f} s in all, and nothing of it is left on this machine.")
    _next(console)
    return Code.OK if right else Code.NO


def _fill(log: Log, calibration: Calibration, people: int, progress: Bars) -> None:
    """Leave a log as a system leaves it that has enrolled these people, and was then stopped.

    The mark says that they were decided upon: to search for each among all before it, as a matcher does that meets them
    for the first time, takes two cores some minutes for 100,000 people.
    """
    update, done = progress.add("writing the log of their enrolments", people), 0
    for batch in _batches(calibration, people):
        log.append(batch)
        done += len(batch)
        update(done, people)
    log.mark(Group.FOLD, Name.GALLERY, {0: log.spans(Name.GALLERY)[0].end})


@contextmanager
def _running(settings: Settings) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run `eyni up` on a data folder of its own, whatever this shell's environment says."""
    environment = {name: value for name, value in own_environment().items() if not name.startswith("EYNI_")}
    environment |= {
        "EYNI_DATA": str(settings.data),
        "EYNI_API_PORT": str(settings.api_port),
        "EYNI_ENROLL_METRICS_PORT": "0",
        "EYNI_MATCH_METRICS_PORT": "0",
        "EYNI_LOG_LEVEL": "warning",
        SUPERVISOR: str(os.getpid()),
    }
    with files.opened(settings.data / "up.log", "wb") as output:
        process = subprocess.Popen(own_command("up"), env=environment, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _batches(calibration: Calibration, people: int) -> Iterator[list[Entry]]:
    facts = (entry(fact) for fact in enrolments(calibration, people, GALLERY))
    while batch := list(islice(facts, 2000)):
        yield batch


def _await(log: Log, settings: Settings, process: "subprocess.Popen[bytes]", progress: Bars) -> None:
    """Wait until the matcher has searched and inserted everybody, and the services are ready."""
    end = log.spans(Name.GALLERY)[0].end
    update = progress.add("starting enroll, match and api on that log", end)
    url = base_url(settings.api_host, settings.api_port)
    deadline = time.monotonic() + PATIENCE
    listener = Listener(log)
    with Watcher(url, settings) as watcher:
        while True:
            reached = max((heard.report.as_of for heard in listener.listen()), default=0)
            update(reached, end)
            if reached >= end and watcher.ready_instance():
                return
            if process.poll() is not None or time.monotonic() > deadline:
                progress.stop()
                for line in (settings.data / "up.log").read_text(errors="replace")[-2000:].splitlines():
                    complain(line)
                raise Failed("the services did not get ready; above is the last that they said")
            time.sleep(0.25)


def _ask(console: Console, settings: Settings, people: int) -> bool:
    """Ask the questions, show the answers; return whether all were right."""
    first = hopper()
    again = another_visit(first)
    stranger = person_id(people // 2)
    table = Table(
        "what was asked, over OSIA's HTTP interface",
        "answer",
        "time",
        title=f"Answers from a gallery of {people:,}",
        right=["time"],
    )
    right = True

    def row(what: str, answer: Answer, said: str, good: bool) -> None:
        nonlocal right
        right = right and good
        table.row(what, Styled(said, "green" if good else "bold red"), f"{1000 * answer.seconds:.0f} ms")

    bearer = token(settings, [], "demo", duration("1h"))
    with Client(base_url(settings.api_host, settings.api_port), bearer, settings) as client:
        answer = checked(client.enrol("hopper", "1", first, [GALLERY], "DEMO"))
        found = _candidates(answer)
        row("enrol Grace Hopper", answer, "enrolled, nobody like her" if not found else f"like {found}", not found)

        answer = checked(client.enrol("somebody", "1", again, [GALLERY], "DEMO"))
        found = _candidates(answer)
        said = f"enrolled; suspected duplicate of {', '.join(found)}" if found else "enrolled, duplicate not found"
        row(f"enrol the same face under another name: {CHANGES}", answer, said, found == ["hopper"])

        answer = checked(client.verify("hopper", again, GALLERY))
        yes = _decision(answer)
        row("1:1, is the second picture of Grace Hopper?", answer, "yes" if yes else "no", yes)

        answer = checked(client.verify(stranger, again, GALLERY))
        yes = _decision(answer)
        row(f"1:1, is it of {stranger}, who is somebody else (and synthetic)?", answer, "yes" if yes else "no", not yes)

        answer = checked(client.identify(again, GALLERY, 10))
        names = (
            [str(c["personId"]) for c in answer.body if isinstance(c, dict)] if isinstance(answer.body, list) else []
        )
        known = set(names) == {"hopper", "somebody"}
        row("1:N, who is it?", answer, ", ".join(names) or "nobody", known)
    console.say()
    console.show(table)
    return right


def _candidates(answer: Answer) -> list[str]:
    others = answer.body.get("others") if isinstance(answer.body, dict) else None
    candidates = others.get("candidates") if isinstance(others, dict) else None
    return [str(c["personId"]) for c in candidates if isinstance(c, dict)] if isinstance(candidates, list) else []


def _decision(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and answer.body.get("decision") is True


CHANGES: Final = "cropped, turned by 4°, darker, recompressed"


def hopper() -> bytes:
    """Return the real face that comes with matplotlib (a portrait by the US Navy, public domain), as JPEG."""
    return (resources.files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg").read_bytes()


def another_visit(jpeg: bytes) -> bytes:
    """Make of a picture what another visit to a station might have made of the same face."""
    picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise Failed("matplotlib's grace_hopper.jpg cannot be decoded: install matplotlib anew")
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 4.0, 1.0)
    picture = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    picture = picture[height // 20 : -height // 5, width // 12 : -width // 12]
    picture = cv2.convertScaleAbs(picture, alpha=0.8, beta=0)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()


def _next(console: Console) -> None:
    console.show(
        "",
        Styled("Try next", "bold"),
        "  eyni up                        run it for good, on this machine",
        "  eyni station FOLDER            enrol a folder of pictures, as a station would",
        "  eyni verify PERSON PICTURE     1:1",
        "  eyni identify PICTURE          1:N",
        "  eyni status                    watch it work",
        "  eyni models list               what it misses, and how a better network goes in",
        "  eyni --help                    the rest",
    )
