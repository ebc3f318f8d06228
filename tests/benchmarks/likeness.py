"""Fit services/enroll/likeness.json: photographs of faces, against what is made of them and is no photograph.

python -m tests.benchmarks.likeness ../shared/faces --model FOLDER --portraits FOLDER --output likeness.json

FACES holds dev, dev.csv, more and more.csv. Good are: all of dev; the first 1,500 pictures of `more`; the first 100
people of `more` in 24 ways (`tests.spoilt.CLEAN`), every second one of them; and portraits, if given. All of these that
pass the gate's older measures. Bad are: 30 people of dev as `BAD` says; and every second good face of `more`, changed
in nine ways. Ridge regression to 1 and -1, twice: the second time the good ones that came out lowest weigh more.

The file in use was made so on 2026-12-01, of faces found by YuNet, and with 19 faces from large pictures (matplotlib's,
scikit-image's, InsightFace's samples) that are not given: without these, its weights correlate to 0.99. 5,400 pictures.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from services.enroll import faces
from services.enroll.decoding import Picture, decode
from services.enroll.extractor import Extractor
from services.enroll.likeness import CELLS, DIRECTIONS, WEIGHTS, Floats, slopes
from services.enroll.quality import Frame, Limits, judge, measure
from services.enroll.texture import WHOLE, Chip, luminance
from shared.model import BUILT_IN, DEFAULT, load_model
from shared.settings import Settings
from tests.benchmarks.gate import LIMIT, OURS
from tests.spoilt import CLEAN, SPOILT
from tests.spoilt.basis import Spoil

BAD: Final = {
    "negative": [0, 1, 2, 3],
    "edges": [0, 1, 2, 3],
    "solarised": [0, 1, 2, 3],
    "drawing": [3, 4],
    "false colour": [5],
}
"""Kinds of `tests.spoilt` whose light falls as on no photograph, and which of their strengths."""

RIDGE: Final = 0.03
"""Of 0.003 to 0.3 the one with the most bad ones refused at 0.16 % of the good, on people left out (five-fold)."""
HARDEST: Final = 50
"""One good picture in so many weighs more in the second round."""


def files(folder: Path, name: str, *, one_each: bool = False) -> Iterator[Path]:
    """Give the pictures of a set in the order of its list; of each person all, or the first."""
    seen: set[str] = set()
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not (one_each and row["person"] in seen):
                seen.add(row["person"])
                yield folder / name / row["file"]


def pixels(paths: Iterator[Path]) -> Iterator[Chip]:
    for path in paths:
        picture = decode(path.read_bytes(), LIMIT)
        if isinstance(picture, Picture):
            yield picture.pixels


@dataclass(frozen=True)
class Chips:
    """Cuts faces out of pictures."""

    extractor: Extractor
    limits: Limits

    def found(self, picture: Chip) -> Chip | None:
        """Return the largest face's chip, however bad."""
        found = self.extractor.find(picture)
        return faces.chip(picture, found[0]) if found else None

    def good(self, picture: Chip) -> Chip | None:
        """Return the largest face's chip if nothing but this gate's measures speaks against it."""
        found = self.extractor.find(picture)
        if not found:
            return None
        face, chip = found[0], faces.chip(picture, found[0])
        frame = Frame(face.left, face.top, face.right, face.bottom, picture.shape[1], picture.shape[0])
        quality = judge(measure(frame, face.points, chip, [one.width for one in found], 1.0), self.limits)
        return chip if {defect.reason for defect in quality.defects} <= set(OURS) else None


def changed(chip: Chip) -> Iterator[Chip]:
    """Give a chip as what is no photograph: two negatives, four times solarised, edges, an outline, a relief."""
    colours = chip.astype(np.float64)
    light = luminance(chip, WHOLE).astype(np.float64)
    brightest = colours.max(axis=2, keepdims=True)
    down, across = (np.asarray(slope, dtype=np.float64) for slope in np.gradient(light))
    outline: Floats = np.minimum(np.hypot(across, down) * 6, 255)
    yield _bytes(255 - light)
    yield _bytes(colours / np.maximum(brightest, 1) * (255 - brightest))
    for level in (100, 128, 64, 180):
        yield _bytes(np.where(colours < level, colours, 255 - colours))
    yield _bytes(outline)
    yield _bytes(255 - outline)
    yield _bytes(128 + across * 2 + down * 2)


def _bytes(values: Floats) -> Chip:
    rgb = np.repeat(values[:, :, None], 3, axis=2) if values.ndim == 2 else values
    chip: Chip = np.clip(rgb, 0, 255).astype(np.uint8)
    return chip


@dataclass(frozen=True)
class Share:
    """Samples (n, 800) of one kind: what they shall come to, and what they weigh together."""

    samples: Floats
    value: float
    weight: float


def ridge(shares: list[Share]) -> tuple[Floats, float]:
    """Return weights (800,) and bias, by weighted least squares; the bias is free."""
    samples = np.vstack([share.samples for share in shares])
    wanted = np.concatenate([np.full(len(s.samples), s.value) for s in shares])
    weights = np.concatenate([np.full(len(s.samples), s.weight / len(s.samples)) for s in shares])
    mean, middle = weights @ samples / weights.sum(), float(weights @ wanted / weights.sum())
    centred: Floats = samples - mean
    weighted = (centred * weights[:, None]).T
    spread = weighted @ centred + RIDGE * np.eye(samples.shape[1])
    found = np.asarray(np.linalg.solve(spread, weighted @ (wanted - middle)), dtype=np.float64)
    return found, middle - float(mean @ found)


def fit(good: Floats, portraits: Floats, spoilt: Floats, changed: Floats) -> tuple[Floats, float]:
    shares = [Share(good, 1, 0.95), Share(spoilt, -1, 0.6), Share(changed, -1, 0.4)]
    if len(portraits):
        shares.append(Share(portraits, 1, 0.05))
    weights, bias = ridge(shares)
    lowest = np.argsort(good @ weights + bias)[: max(len(good) // HARDEST, 1)]
    return ridge([*shares, Share(good[lowest], 1, 0.25)])


def described(chips: list[Chip]) -> Floats:
    return np.array([slopes(chip) for chip in chips], dtype=np.float64).reshape(len(chips), CELLS * CELLS * DIRECTIONS)


def kept(found: Iterator[Chip | None]) -> list[Chip]:
    return [chip for chip in found if chip is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", type=Path, default=BUILT_IN / DEFAULT, help="a model's folder: its detector is used")
    parser.add_argument("--portraits", type=Path, help="a folder of large, sharp portraits")
    parser.add_argument("--output", type=Path, default=Path("likeness.json"))
    asked = parser.parse_args()
    chips = Chips(Extractor(load_model(asked.model)), Limits.of(Settings()))
    ways = list(CLEAN.values())
    bad: list[Spoil] = [SPOILT[kind][number] for kind, numbers in BAD.items() for number in numbers]

    dev = kept(chips.good(p) for p in pixels(files(asked.faces, "dev")))
    more = kept(chips.good(p) for p in pixels(islice(files(asked.faces, "more"), 1500)))
    people = pixels(islice(files(asked.faces, "more", one_each=True), 100))
    varied = kept(chips.good(way(p)) for p in people for way in ways)[::2]
    portraits = kept(chips.good(p) for p in pixels(iter(sorted(asked.portraits.iterdir())))) if asked.portraits else []
    thirty = pixels(islice(files(asked.faces, "dev", one_each=True), 30))
    spoilt = kept(chips.found(spoil(p)) for p in thirty for spoil in bad)
    good, wrong = described(dev + more + varied), described(spoilt)
    weights, bias = fit(good, described(portraits), wrong, described([c for chip in more[::2] for c in changed(chip)]))

    asked.output.write_text(
        json.dumps({"bias": [round(bias, 4)], "weights": [round(float(w), 3) for w in weights]}), encoding="utf-8"
    )
    before = np.array(json.loads(WEIGHTS.read_text(encoding="utf-8"))["weights"], dtype=np.float64)
    alike = float(np.corrcoef(before, weights)[0, 1])
    print(f"{len(good)} good: lowest {np.sort(good @ weights + bias)[:4].round(2)}, median", end=" ")
    print(f"{np.median(good @ weights + bias):.2f}; {len(wrong)} bad: median {np.median(wrong @ weights + bias):.2f}")
    print(f"{asked.output}: correlation of the weights with those in use {alike:.3f}")


if __name__ == "__main__":
    main()
