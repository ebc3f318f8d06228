"""A folder of real faces through three stations into `eyni up`: what came of each, how fast, and who was named.

    python -m tests.benchmarks.stream                                   embedded log
    python -m tests.benchmarks.stream --log kafka://127.0.0.1:9092      a real broker
    python -m tests.benchmarks.stream --kill 5                          kill -9 of each service, five times

Imports nothing of ours: it sees what a user sees.
"""

import argparse
import csv
import json
import math
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end.system import ROOT, System

FACES = ROOT.parent / "shared" / "faces"
STATIONS = 3
SERVICES = ("enroll", "match", "api")


@dataclass
class Outcome:
    """What a run gave."""

    seconds: float = 0.0
    enrolled: list[str] = field(default_factory=list[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    pairs: dict[frozenset[str], float] = field(default_factory=dict[frozenset[str], float])
    """Who was named as whom, with the score. Unordered: which of two is the later depends on arrival."""
    unanswered: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])
    busy: list[float] = field(default_factory=list[float])
    idle: list[float] = field(default_factory=list[float])
    accepted: int = 0
    outcomes: int = 0
    in_flight: int = 0
    digest: str = ""
    cold_digest: str = ""

    @property
    def certain(self) -> dict[frozenset[str], float]:
        """The pairs that are named in whatever order they come.

        The threshold rises with the gallery (README): 30 dB + 10·log10 of the people searched. A pair below its last
        height is named only if it comes early.
        """
        last = 30 + 10 * math.log10(max(1, len(self.enrolled)))
        return {pair: score for pair, score in self.pairs.items() if score >= last}


def journal(folder: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.glob("journal-*.jsonl")):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def run(
    faces: Path, folder: Path, log: str, kills: int, verify: bool, seed: int = 7, model: Path | None = None
) -> Outcome:
    """Stream `faces` through a fresh system and return what came of it; `model` is the folder of the one to use."""
    found = Outcome()
    system = System(folder / "data", log)
    if model:
        system.run("models", "add", str(model), "--trust-calibration")
        system.run("models", "use", model.name)
    with system:
        begin = time.monotonic()
        stations = [
            system.spawn(
                *("station", str(faces), "--part", f"{k + 1}/{STATIONS}"),
                *("--journal", str(folder / f"journal-{k}.jsonl")),
                output=folder / f"station-{k}.log",
            )
            for k in range(STATIONS)
        ]
        stop = threading.Event()
        helpers: list[threading.Thread] = []
        if verify:
            helpers.append(threading.Thread(target=verify_now_and_then, args=(system, faces, folder, found.busy, stop)))
        if kills:
            helpers.append(threading.Thread(target=kill_in_turn, args=(system, kills, found.kills, stop, seed)))
        for helper in helpers:
            helper.start()
        for station in stations:
            station.wait()
        found.seconds = time.monotonic() - begin
        stop.set()
        for helper in helpers:
            helper.join()
        system.wait_ready()
        for result in journal(folder):
            person = result["person"]
            match result["outcome"]:
                case "refused":
                    found.refused[person] = result["reasons"][0]
                case "enrolled" | "suspected":
                    found.enrolled.append(person)
                    found.pairs |= {frozenset((person, other)): s for other, s in result.get("candidates", [])}
                case _:
                    found.unanswered += 1
        if verify:
            for person in random.Random(seed).sample(found.enrolled, min(100, len(found.enrolled))):
                found.idle.append(one_verification(system, faces, person))
        deadline = time.monotonic() + 30
        while system.metric("eyni_captures_in_flight") and time.monotonic() < deadline:
            time.sleep(0.5)
        found.accepted = int(system.metric("eyni_captures_accepted"))
        found.outcomes = int(system.metric("eyni_captures_outcomes"))
        found.in_flight = int(system.metric("eyni_captures_in_flight"))
        system.stop()
        found.digest = newest_manifest(folder / "data")["state"]
        found.cold_digest = json.loads(system.run("match", "--digest", "--cold").stdout)["digest"]
    return found


def newest_manifest(data: Path) -> dict[str, Any]:
    """Return what the matcher wrote when it stopped."""
    newest = max((data / "match" / "snapshots").glob("*/manifest.json"))
    manifest: dict[str, Any] = json.loads(newest.read_text().splitlines()[0])
    return manifest


def one_verification(system: System, faces: Path, person: str) -> float:
    begin = time.monotonic()
    answer = system.verify(person, (faces / f"{person}.jpg").read_bytes())
    assert answer.status == 200, answer.body[:300]
    return time.monotonic() - begin


def verify_now_and_then(system: System, faces: Path, folder: Path, seconds: list[float], stop: threading.Event) -> None:
    """A border post beside the stations: some two verifications a second of people enrolled by now."""
    chance = random.Random(1)
    while not stop.wait(0.4):
        known = [r["person"] for r in journal(folder) if r["outcome"] in ("enrolled", "suspected")]
        if known:
            seconds.append(one_verification(system, faces, chance.choice(known)))


def kill_in_turn(system: System, times: int, kills: Counter[str], stop: threading.Event, seed: int) -> None:
    chance = random.Random(seed)
    while min(kills[s] for s in SERVICES) < times and not stop.wait(chance.uniform(1.0, 3.0)):
        service = SERVICES[sum(kills.values()) % len(SERVICES)]
        if system.kill(service):
            kills[service] += 1


def truth(faces: Path) -> dict[str, str]:
    """Return who is on each picture, by the picture's name."""
    with faces.with_suffix(".csv").open(newline="") as file:
        return {Path(row["file"]).stem: row["person"] for row in csv.DictReader(file)}


def percentile(values: list[float], share: float) -> str:
    if not values:
        return "-"
    return f"{1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]:.0f} ms"


def report(found: Outcome, faces: Path) -> None:
    person_of = truth(faces)
    true = {pair for pair in found.pairs if len({person_of[p] for p in pair}) == 1}
    present: Counter[str] = Counter(person_of[p] for p in found.enrolled)
    possible = sum(n * (n - 1) // 2 for n in present.values())
    total = len(found.enrolled) + len(found.refused) + found.unanswered
    rows: list[tuple[str, object]] = [
        ("captures", total),
        ("enrolled", len(found.enrolled)),
        *((f"refused: {reason}", n) for reason, n in Counter(found.refused.values()).most_common()),
        ("not answered", found.unanswered),
        ("true duplicates found", f"{len(true)} of {possible} pairs"),
        ("false duplicates", f"{len(found.pairs.keys() - true)} pairs"),
        ("captures per second", f"{total / found.seconds:.1f} ({found.seconds:.0f} s)"),
        (
            "1:1 beside the stream",
            f"p50 {percentile(found.busy, 0.5)}, p99 {percentile(found.busy, 0.99)}, n {len(found.busy)}",
        ),
        ("1:1 idle", f"p50 {percentile(found.idle, 0.5)}, p99 {percentile(found.idle, 0.99)}, n {len(found.idle)}"),
        ("kill -9", ", ".join(f"{s} {n}" for s, n in sorted(found.kills.items())) or "none"),
        ("accepted = outcomes + in flight (I18)", f"{found.accepted} = {found.outcomes} + {found.in_flight}"),
        ("live state = cold replay (I3)", "equal" if found.digest == found.cold_digest else "DIFFERENT"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="", help="log address; default: embedded")
    parser.add_argument(
        "--faces", type=Path, default=FACES / "dev", help="folder of pictures, with FOLDER.csv beside it"
    )
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill -9 each service N times")
    parser.add_argument("--model", type=Path, help="folder of a calibrated model, called like it; default: dlib")
    parser.add_argument("--no-verify", action="store_true", help="no verifications beside the stream")
    parser.add_argument("--save", type=Path, help="write what was enrolled, refused and found, to compare runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            arguments.faces, Path(folder), arguments.log, arguments.kill, not arguments.no_verify, model=arguments.model
        )
    report(found, arguments.faces)
    if arguments.save:
        pairs = sorted(sorted(pair) for pair in found.certain)
        content = {"enrolled": sorted(found.enrolled), "refused": dict(sorted(found.refused.items())), "pairs": pairs}
        arguments.save.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
