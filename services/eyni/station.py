"""`eyni station`: streams a folder of pictures to the api as an enrolment station would."""

import hashlib
import json
import os
import queue
import re
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import typer
from pydantic import JsonValue

from services.eyni.client import Answer, Client
from services.eyni.common import Code, Failed, NotAvailable, stop_on_signals
from services.eyni.console import Console, Table, out
from services.eyni.folder import Found, look_into, shown, stem_of
from services.eyni.journal import Journal, Outcome, Result
from services.eyni.meter import meter
from shared.ids import objection_to_id
from shared.reading import Unreadable, read

FAILURES_IN_A_ROW = 3
"""Pictures that stay unanswered one after the other, each after a minute of trying, before the station gives up."""

SHOWN = 5
"""Files passed over for one reason that are named; the rest is counted."""

_TURNED_AWAY = frozenset((HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN))
"""It is about the token, and no other picture would fare better."""
_STAYING = frozenset(
    (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    )
)
"""Answers that the same picture would get again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one station sends, and how."""

    folder: Path
    part: tuple[int, int]
    parallel: int
    galleries: tuple[str, ...]
    encounter: str
    kind: str
    limit: int
    """Most bytes of a picture: what fits into the largest body that the api takes."""
    url: str
    """Of the api: what one has answered, another knows nothing of."""

    @property
    def how(self) -> str:
        """A digest of where pictures go, and of what is sent beside them."""
        sent = [self.url.rstrip("/"), self.encounter, self.kind, *self.galleries]
        return hashlib.sha256(json.dumps(sent).encode()).hexdigest()[:16]


def parse_part(text: str) -> tuple[int, int]:
    """Read "2/3": the second of three stations."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter(f"{text!r} is no part; 2/3 is the second of three", param_hint="--part")
    return int(found[1]), int(found[2])


def part_of(pictures: Sequence[Path], part: tuple[int, int]) -> list[Path]:
    """Return one station's share of the pictures."""
    return list(pictures[part[0] - 1 :: part[1]])


def check_persons(pictures: Sequence[Path], folder: Path) -> None:
    """Raise Failed where two pictures would be one person, whichever station's part they are in.

    To name people apart only where they collide would name somebody otherwise once a file is added.
    """
    named: dict[str, Path] = {}
    for path in pictures:
        other = named.setdefault(person_of(path, folder), path)
        if other is not path:
            raise Failed(
                f"{other.relative_to(folder)} and {path.relative_to(folder)} would both be person "
                f"{person_of(path, folder)}; rename one. Nothing was sent"
            )


def person_of(path: Path, folder: Path) -> str:
    """Name the person that a picture shows: its path below the folder, in one spelling (NFC; macOS has another)."""
    below = path.relative_to(folder)
    return unicodedata.normalize("NFC", shown(Path("_".join((*below.parts[:-1], stem_of(below))))))


def objection(path: Path, folder: Path) -> str:
    """Say why a picture's path cannot name a person; empty: it can."""
    try:
        os.fsencode(path.relative_to(folder)).decode()
    except UnicodeDecodeError:
        return "its name is not UTF-8, so that it names nobody: rename it"
    found = objection_to_id(person_of(path, folder))
    return f"its path is no personId, for it {found}: rename it" if found else ""


def stamp_of(path: Path) -> str:
    """Return what changes with a file's content, also where size and time of its content are set back."""
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def result_of(answer: Answer, file: str, stamp: str, person: str, how: str) -> Result:
    """Read createEncounter's answer. Raises Failed where it is about the token."""

    def result(
        outcome: Outcome, message: str = "", reasons: Sequence[str] = (), found: Sequence[JsonValue] = ()
    ) -> Result:
        pairs = [(str(c["personId"]), float(str(c["score"]))) for c in found if isinstance(c, dict)]
        seconds = round(answer.seconds, 3)
        return Result(
            file,
            stamp,
            person,
            outcome,
            tuple(reasons),
            tuple(pairs),
            message,
            seconds,
            how,
        )

    if answer.ok:
        others = answer.body.get("others") if isinstance(answer.body, dict) else None
        others = others if isinstance(others, dict) else {}
        candidates = others.get("candidates")
        found = candidates if isinstance(candidates, list) else []
        return result("enrolled" if others.get("outcome") == "ENROLLED_UNIQUE" else "suspected", found=found)
    if answer.status in _TURNED_AWAY:
        raise Failed(answer.problem)
    if answer.retake:
        return result("refused", answer.message, [reason.strip() for reason in answer.retake.split(",")])
    if answer.status == HTTPStatus.CONFLICT:
        return result("conflict", answer.message)
    return result("unusable" if answer.status in _STAYING else "error", answer.problem)


class Station:
    """Sends what is left of a plan, a few pictures at a time, and writes down every answer."""

    def __init__(
        self, plan: Plan, pictures: Sequence[Path], client: Client, journal: Journal, stop: threading.Event
    ) -> None:
        self._plan = plan
        self._client = client
        self._journal = journal
        self._stop = stop
        self.all = pictures
        self.todo = [path for path in pictures if not self._is_done(path)]

    def file(self, path: Path) -> str:
        """Name a picture as the journal does."""
        return shown(path.relative_to(self._plan.folder))

    def missing(self) -> int:
        """Count the pictures that starting again would send."""
        return sum(not self._is_done(path) for path in self.all)

    def results(self) -> list[Result]:
        """Return the latest result of each picture that has one."""
        found = (self._journal.of(self.file(path), self._plan.how) for path in self.all)
        return [result for result in found if result is not None]

    def run(self) -> Iterator[Result]:
        """Yield results as they arrive. Raises NotAvailable where nobody answers for long, Failed for a bad token."""
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

    def _is_done(self, path: Path) -> bool:
        try:
            return self._journal.knows(self.file(path), stamp_of(path), self._plan.how)
        except OSError:
            return False  # the attempt to send it says what is wrong

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
                    results.put(self._sent(path))
                except NotAvailable as error:
                    results.put(error)
        except BaseException as error:  # handed to the thread that reports it
            results.put(error)
        finally:
            results.put(None)

    def _sent(self, path: Path) -> Result:
        """Send one picture; whatever is wrong with it is its own result, and the others go on."""
        file, person, how = self.file(path), person_of(path, self._plan.folder), self._plan.how
        try:
            return self._send(path, file, person)
        except (NotAvailable, Failed):
            raise
        except OSError as error:
            return Result(file, "", person, "error", message=error.strerror or str(error), how=how)
        except Exception as error:
            return Result(file, "", person, "error", message=f"{type(error).__name__}: {error}", how=how)

    def _send(self, path: Path, file: str, person: str) -> Result:
        plan, stamp = self._plan, stamp_of(path)

        def unusable(message: str) -> Result:
            return Result(file, stamp, person, "unusable", message=message, how=plan.how)

        if wrong := objection(path, plan.folder):
            return unusable(wrong)
        try:
            picture = read(path, plan.limit)
        except Unreadable as error:
            # What became a pipe since it was looked at has no size.
            advice = ": save it smaller (EYNI_BODY_LIMIT)" if path.is_file() else ""
            return unusable(f"{str(error).removeprefix(f'{path}: ')}{advice}")
        if not picture:
            return unusable("is empty: take the picture again")
        answer = self._client.enrol(
            person, plan.encounter, picture, list(plan.galleries), plan.kind, gave_up=self._stop.is_set
        )
        return result_of(answer, file, stamp, person, plan.how)


def stream(plan: Plan, client: Client, journal_path: Path, as_json: bool) -> Code:
    """Run a station until its folder is sent, or Ctrl-C; print what came of it."""
    console = Console(stderr=as_json)
    found = look_into(plan.folder)
    tell_passed(found, plan.folder, console)
    check_persons(found.pictures, plan.folder)
    stop = stop_on_signals()
    journal = Journal(journal_path)
    try:
        station = Station(plan, part_of(found.pictures, plan.part), client, journal, stop)
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
            mine = station.results()
            missing = station.missing()
            if as_json:
                out(summary(mine, found.passed, missing, count, seconds))
            else:
                report(console, mine, missing, count, seconds)
    finally:
        journal.close()
    if stop.is_set() and missing and count < len(station.todo):
        return Code.INTERRUPTED
    return Code.NO if missing or not found.complete or not _anything_sent(found, mine) else Code.OK


def _anything_sent(found: Found, results: Sequence[Result]) -> bool:
    """Whether something of the folder went to the api; a part of it may well have no picture."""
    return bool(found.pictures) and (not results or any(r.outcome not in ("unusable", "error") for r in results))


def tell_passed(found: Found, folder: Path, console: Console) -> None:
    """Count by reason what is passed over, and name the first few."""
    for why, paths in found.passed.items():
        named = "; ".join(str(path.relative_to(folder)) for path in paths[:SHOWN])
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        console.say(f"passed over, {why}: {len(paths)} ({named}{more})")
    if not found.pictures:
        console.say(f"There is no picture to send in {folder}: JPEG, PNG, WebP and JPEG 2000 are read")


def _short(result: Result) -> str:
    return f"{result.person}: {result.outcome}" + (f" ({', '.join(result.reasons)})" if result.reasons else "")


def summary(
    results: Sequence[Result], passed: Mapping[str, Sequence[Path]], missing: int, count: int, seconds: float
) -> dict[str, object]:
    """Count outcomes, and refusals by their first reason."""
    return {
        "outcomes": dict(Counter(r.outcome for r in results)),
        "refused": dict(Counter(r.reasons[0] for r in results if r.outcome == "refused").most_common()),
        "suspected": {r.person: dict(r.candidates) for r in results if r.outcome == "suspected"},
        "unusable": {r.file: r.message for r in results if r.outcome == "unusable"},
        "passed_over": {why: len(paths) for why, paths in passed.items()},
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
    if outcomes["unusable"]:
        table.row("not usable as they are", str(outcomes["unusable"]))
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
        if r.outcome in ("error", "conflict", "unusable"):
            console.say(f"{r.file}: {r.message}")
    if outcomes["unusable"]:
        console.say("What is not usable is sent again only once it is another file: replaced, renamed, or touched.")
    if count:
        console.say(f"{count} pictures in {seconds:.1f} s: {count / seconds:.1f} a second")
