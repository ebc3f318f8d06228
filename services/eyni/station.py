"""`eyni station`: streams a folder of pictures to the api as an enrolment station would."""

import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from pydantic import JsonValue

from services.eyni.client import Answer, Client
from services.eyni.common import Code, Failed, NotAvailable, stop_on_signals
from services.eyni.console import Console, Table, out
from services.eyni.journal import Journal, Result
from services.eyni.meter import meter

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".jp2", ".j2k", ".jpf", ".jpx"))

FAILURES_IN_A_ROW = 3
"""Pictures that stay unanswered one after the other, each after a minute of trying, before the station gives up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one station sends, and how."""

    folder: Path
    part: tuple[int, int]
    parallel: int
    galleries: tuple[str, ...]
    encounter: str
    kind: str


def parse_part(text: str) -> tuple[int, int]:
    """Read "2/3": the second of three stations."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter(f"{text!r} is no part; 2/3 is the second of three", param_hint="--part")
    return int(found[1]), int(found[2])


def pictures(folder: Path, part: tuple[int, int]) -> list[Path]:
    """Return the part's pictures in the folder and below it, by name."""
    every = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return every[part[0] - 1 :: part[1]]


def check_persons(folder: Path) -> None:
    """Raise Failed where two pictures would be one person, whichever station's part they are in.

    To name people apart only where they collide would name somebody otherwise once a file is added.
    """
    named: dict[str, Path] = {}
    for path in pictures(folder, (1, 1)):
        other = named.setdefault(person_of(path, folder), path)
        if other is not path:
            raise Failed(
                f"{other.relative_to(folder)} and {path.relative_to(folder)} would both be person "
                f"{person_of(path, folder)}; rename one. Nothing was sent"
            )


def person_of(path: Path, folder: Path) -> str:
    """Name the person that a picture shows: its path below the folder."""
    return "_".join(path.relative_to(folder).with_suffix("").parts)


def stamp_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def result_of(answer: Answer, file: str, stamp: str, person: str) -> Result:
    """Read createEncounter's answer."""

    def result(outcome: str, message: str = "", reasons: Sequence[str] = (), found: Sequence[JsonValue] = ()) -> Result:
        pairs = [(str(c["personId"]), float(str(c["score"]))) for c in found if isinstance(c, dict)]
        seconds = round(answer.seconds, 3)
        return Result(file, stamp, person, outcome, tuple(reasons), tuple(pairs), message, seconds)

    if answer.ok:
        others = answer.body.get("others") if isinstance(answer.body, dict) else None
        others = others if isinstance(others, dict) else {}
        candidates = others.get("candidates")
        found = candidates if isinstance(candidates, list) else []
        return result("enrolled" if others.get("outcome") == "ENROLLED_UNIQUE" else "suspected", found=found)
    if answer.retake:
        return result("refused", answer.problem, [reason.strip() for reason in answer.retake.split(",")])
    if answer.status == 409:
        return result("conflict", answer.problem)
    return result("error", f"{answer.problem} (HTTP {answer.status})")


class Station:
    """Sends what is left of a plan, a few pictures at a time, and writes down every answer."""

    def __init__(self, plan: Plan, client: Client, journal: Journal, stop: threading.Event) -> None:
        self._plan = plan
        self._client = client
        self._journal = journal
        self._stop = stop
        self.all = pictures(plan.folder, plan.part)
        self.todo = [p for p in self.all if not journal.knows(str(p.relative_to(plan.folder)), stamp_of(p))]

    def run(self) -> Iterator[Result]:
        """Yield results as they arrive. Raises NotAvailable where nobody answers for long."""
        left: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for path in self.todo:
            left.put(path)
        results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=self._work, args=(left, results)) for _ in range(self._plan.parallel)]
        for thread in threads:
            thread.start()
        running, silent = len(threads), 0
        try:
            while running:
                result = results.get()
                if result is None:
                    running -= 1
                elif isinstance(result, NotAvailable):
                    silent += 1
                    if silent >= FAILURES_IN_A_ROW:
                        raise result
                elif isinstance(result, BaseException):
                    raise result
                else:
                    silent = 0
                    self._journal.add(result)
                    yield result
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _work(
        self, left: "queue.SimpleQueue[Path]", results: "queue.SimpleQueue[Result | BaseException | None]"
    ) -> None:
        try:
            while not self._stop.is_set():
                try:
                    path = left.get_nowait()
                except queue.Empty:
                    break
                try:
                    results.put(self._send(path))
                except NotAvailable as error:
                    results.put(error)
        except BaseException as error:  # handed to the thread that reports it
            results.put(error)
        finally:
            results.put(None)

    def _send(self, path: Path) -> Result:
        plan = self._plan
        file, person = str(path.relative_to(plan.folder)), person_of(path, plan.folder)
        try:
            stamp, picture = stamp_of(path), path.read_bytes()
        except OSError as error:
            return Result(file, "", person, "error", message=error.strerror or str(error))
        answer = self._client.enrol(
            person, plan.encounter, picture, list(plan.galleries), plan.kind, gave_up=self._stop.is_set
        )
        return result_of(answer, file, stamp, person)


def stream(plan: Plan, client: Client, journal_path: Path, as_json: bool) -> Code:
    """Run a station until its folder is sent, or Ctrl-C; print what came of it."""
    check_persons(plan.folder)
    stop = stop_on_signals()
    console = Console(stderr=as_json)
    journal = Journal(journal_path)
    try:
        station = Station(plan, client, journal, stop)
        before = len(station.all) - len(station.todo)
        if before:
            console.say(f"{before} of {len(station.all)} pictures were answered in an earlier run ({journal.path})")
        start, count = time.monotonic(), 0
        try:
            with meter(console, f"station {plan.part[0]}/{plan.part[1]}", len(station.todo)) as step:
                for result in station.run():
                    count += 1
                    step(_short(result))
                    if as_json:
                        out(result.line())
        finally:
            seconds = time.monotonic() - start
            mine = [journal.done[f] for p in station.all if (f := str(p.relative_to(plan.folder))) in journal.done]
            missing = len(station.all) - sum(result.final for result in mine)
            if as_json:
                out(summary(mine, missing, count, seconds))
            else:
                report(console, mine, missing, count, seconds)
    finally:
        journal.close()
    if stop.is_set() and missing and count < len(station.todo):
        return Code.INTERRUPTED
    return Code.NO if missing else Code.OK


def _short(result: Result) -> str:
    return f"{result.person}: {result.outcome}" + (f" ({', '.join(result.reasons)})" if result.reasons else "")


def summary(results: Sequence[Result], missing: int, count: int, seconds: float) -> dict[str, object]:
    """Count outcomes, and refusals by their first reason."""
    return {
        "outcomes": dict(Counter(r.outcome for r in results)),
        "refused": dict(Counter(r.reasons[0] for r in results if r.outcome == "refused").most_common()),
        "suspected": {r.person: dict(r.candidates) for r in results if r.outcome == "suspected"},
        "unanswered": missing,
        "sent_now": count,
        "seconds": round(seconds, 2),
        "per_second": round(count / seconds, 2) if seconds else 0.0,
    }


def report(console: Console, results: Sequence[Result], missing: int, count: int, seconds: float) -> None:
    """Print tables for people: outcomes, suspected duplicates, errors."""
    table = Table("outcome", "pictures", title="Outcomes", right=["pictures"])
    outcomes = Counter(r.outcome for r in results)
    table.row("enrolled", str(outcomes["enrolled"] + outcomes["suspected"]))
    table.row("  of these suspected duplicates", str(outcomes["suspected"]))
    table.row("refused: take again", str(outcomes["refused"]))
    for reason, number in Counter(r.reasons[0] for r in results if r.outcome == "refused").most_common():
        table.row(f"  {reason}", str(number))
    if outcomes["conflict"]:
        table.row("enrolled before with another picture", str(outcomes["conflict"]))
    if missing:
        table.row("not answered; start again to send them", str(missing))
    console.show(table)

    suspected = [r for r in results if r.outcome == "suspected"]
    if suspected:
        table = Table("person", "may be (score in dB: 60 is one in a million)", title="Suspected duplicates")
        for r in suspected:
            table.row(r.person, ", ".join(f"{person} {score:.1f}" for person, score in r.candidates))
        console.show(table)
    for r in results:
        if r.outcome in ("error", "conflict"):
            console.say(f"{r.file}: {r.message}")
    if count:
        console.say(f"{count} pictures in {seconds:.1f} s: {count / seconds:.1f} a second")
