"""Spoilt pictures through a real worker: none may end it, and each gets a reason that is listed.

    python -m tests.benchmarks.mutated_pictures --count 20000 --seed 1

Seeds are small pictures of ../shared/faces (or of matplotlib's portrait) in every format that is read.
Each is spoilt in one to four ways: bytes changed, cut short, parts left out, repeated, swapped or of another picture, a
number in the header changed. A run with the same seed sends the same bytes.
"""

import argparse
import io
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from PIL import Image

from services.enroll.bootstrap import pool
from shared import metrics
from shared.model import in_use
from shared.settings import Settings

FACES: Final = Path(__file__).parents[3] / "shared" / "faces"
SIDES: Final = (64, 100, 160, 250)
"""Longest side of a seed: small, so that a mutation hits what matters, and a picture takes milliseconds."""
CODINGS: Final[Sequence[tuple[str, dict[str, object]]]] = (
    ("JPEG", {"quality": 90}),
    ("JPEG", {"quality": 60, "progressive": True}),
    ("JPEG", {"quality": 80, "subsampling": "4:4:4", "restart_marker_blocks": 4}),
    ("PNG", {}),
    ("WEBP", {"quality": 80}),
    ("WEBP", {"lossless": True}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True, "irreversible": True}),
)
HEADER: Final = 200
"""Bytes at the beginning where every second change is made: sizes, tables, lengths."""
SLOW: Final = 5.0
"""Seconds from which on a picture is printed by its number, to look at."""


def seeds() -> list[bytes]:
    """Return small pictures, the same in every run."""
    files = [*sorted((FACES / "dev").glob("*.jpg"))[::150], *sorted((FACES / "odd").glob("*.[jp][pn]g"))]
    files = files or [Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    made: list[bytes] = []
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            side = SIDES[number % len(SIDES)]
            opened.thumbnail((side, side))
            for kind, options in CODINGS:
                modes = (
                    ("RGB", "RGBA", "L", "P") if kind == "PNG" else ("RGB", "CMYK", "L") if kind == "JPEG" else ("RGB",)
                )
                buffer = io.BytesIO()
                opened.convert(modes[number % len(modes)]).save(buffer, kind, **options)
                made.append(buffer.getvalue())
    return made


def mutants(seed: int) -> Iterator[bytes]:
    """Yield spoilt pictures without end."""
    dice, whole = np.random.default_rng(seed), seeds()
    while True:
        image = whole[int(dice.integers(len(whole)))]
        for _ in range(int(dice.integers(1, 5))):
            image = _mutated(image, whole[int(dice.integers(len(whole)))], dice)
        yield image


def _mutated(image: bytes, other: bytes, dice: np.random.Generator) -> bytes:
    size = len(image)
    if size < 8:
        return image + other
    first, last = sorted(int(n) for n in dice.integers(0, size, 2))
    near = int(dice.integers(0, min(size, HEADER) - 4))
    changed = bytearray(image)
    match int(dice.integers(9)):
        case 0:  # bytes anywhere
            for at in dice.integers(0, size, int(dice.integers(1, 16))):
                changed[at] = int(dice.integers(256))
        case 1:  # bits in the header
            for at in dice.integers(0, min(size, HEADER), int(dice.integers(1, 4))):
                changed[at] ^= 1 << int(dice.integers(8))
        case 2:  # an extreme number in the header
            changed[near : near + 4] = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff"][
                first % 4
            ]
        case 3:  # cut short
            del changed[last:]
        case 4:  # a part left out
            del changed[first : first + (last - first) % 512]
        case 5:  # a part repeated
            changed[last:last] = changed[first:last] * int(dice.integers(1, 4))
        case 6:  # two parts swapped
            middle = (first + last) // 2
            changed[first:last] = changed[middle:last] + changed[first:middle]
        case 7:  # the rest is of another picture
            changed[first:] = other[min(first, len(other)) :]
        case _:  # a part of another picture
            changed[first:first] = other[: last - first]
    return bytes(changed)


@dataclass
class Report:
    """What came of a run."""

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Templates, and refusals by their first reason, which is listed: the worker's answers are checked for it."""
    worker_deaths: int = 0
    slowest: float = 0.0
    seconds: float = 0.0


def run(count: int, seed: int, settings: Settings) -> Report:
    """Send mutants through one worker. A worker that ends is replaced, and counted."""
    report, before = Report(), _deaths()
    with closing(pool(settings, in_use(settings.data, settings.model))) as workers:
        begun = time.perf_counter()
        for image, _ in zip(mutants(seed), range(count), strict=False):
            start = time.perf_counter()
            found = workers.submit(image).result()
            took = time.perf_counter() - start
            report.count += 1
            report.outcomes[found.quality.defects[0].reason.value if found.quality.defects else "template"] += 1
            report.slowest = max(report.slowest, took)
            if took > SLOW or _deaths() - before > report.worker_deaths:
                report.worker_deaths = int(_deaths() - before)
                print(f"picture {report.count - 1}: {took:.1f} s, {report.worker_deaths} deaths so far", flush=True)
            if report.count % 1000 == 0:
                print(f"{report.count} pictures, {time.perf_counter() - begun:.0f} s", flush=True)
        report.seconds = time.perf_counter() - begun
    return report


def _deaths() -> float:
    return metrics.REGISTRY.get_sample_value("eyni_worker_deaths_total") or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(given.count, given.seed, Settings(workers=1))
    print(json.dumps({**vars(report), "outcomes": dict(report.outcomes.most_common())}, indent=1))
    raise SystemExit(1 if report.worker_deaths else 0)


if __name__ == "__main__":
    main()
