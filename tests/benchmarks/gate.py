"""What the quality gate makes of spoilt pictures, and how many strangers are one person among those that it takes.

python -m tests.benchmarks.gate ../shared/faces/dev --people 30
python -m tests.benchmarks.gate ../shared/faces/dev --model FOLDER --kinds halftone fax

One picture of each person (the part of the file's name before "_"), spoilt in every way of `tests.spoilt`; then every
pair of strangers that were spoilt in the same way, at the target of verifications. Takes 0.2 s a picture with dlib.
"""

import argparse
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from services.enroll.decoding import Picture, decode
from services.enroll.extraction import describe
from services.enroll.extractor import Extractor
from services.enroll.quality import Extracted, Limits
from shared.biometrics import RetakeReason, Template
from shared.calibration import VERIFICATION_TARGET, Comparator, load
from shared.model import BUILT_IN, DEFAULT, load_model
from shared.settings import Settings
from tests.spoilt import CLEAN, SPOILT
from tests.spoilt.basis import Spoil

LIMIT = 25_000_000
OURS = (RetakeReason.NOISY, RetakeReason.PRINTED, RetakeReason.ALTERED)


@dataclass
class Row:
    """One kind of spoiling, all strengths."""

    pictures: int = 0
    refused: int = 0
    for_texture: int = 0
    """Refused by what this benchmark is about, and by nothing else."""
    pairs: int = 0
    verified: int = 0
    reasons: dict[RetakeReason, int] = field(default_factory=lambda: dict.fromkeys(OURS, 0))

    def add(self, extracted: list[Extracted], comparator: Comparator) -> None:
        for one in extracted:
            found = {defect.reason for defect in one.quality.defects}
            self.pictures += 1
            self.refused += bool(found)
            self.for_texture += bool(found) and found <= set(OURS)
            for reason in found & set(OURS):
                self.reasons[reason] += 1
        passed = [e.template for e in extracted if e.template is not None]
        prepared = [comparator.prepare(t.vector[None]) for t in passed if not gated(t, comparator)]
        for a, b in combinations(prepared, 2):
            self.pairs += 1
            self.verified += comparator.score(float(comparator.similarity(a, b)[0])).db >= VERIFICATION_TARGET

    def __str__(self) -> str:
        reasons = " / ".join(str(count) for count in self.reasons.values())
        return f"{self.pictures} | {self.refused} | {self.for_texture} | {reasons} | {self.verified} of {self.pairs}"


def gated(template: Template, comparator: Comparator) -> bool:
    return comparator.refusal(template.vector) is not None


def people(folder: Path, most: int) -> list[Picture]:
    """Return the first picture of each person."""
    first: dict[str, Path] = {}
    for path in sorted(folder.glob("*.jpg")):
        first.setdefault(path.stem.split("_")[0], path)
    decoded = [decode(path.read_bytes(), LIMIT) for path in list(first.values())[:most]]
    return [picture for picture in decoded if isinstance(picture, Picture)]


def spoilt(picture: Picture, spoil: Spoil) -> Picture:
    return Picture(np.ascontiguousarray(spoil(picture.pixels)), picture.scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument(
        "--model", type=Path, default=BUILT_IN / DEFAULT, help="a model's folder, with calibration.json"
    )
    parser.add_argument("--kinds", nargs="*", help='of tests.spoilt, or "clean"; all by default')
    asked = parser.parse_args()
    model = load_model(asked.model)
    comparator = Comparator(load(asked.model / "calibration.json", model=model.id))
    extractor, limits = Extractor(model), Limits.of(Settings())
    pictures = people(asked.faces, asked.people)
    print("| kind | pictures | refused | for texture alone | noisy / printed / altered | strangers verified |")
    for kind, ways in {**SPOILT, "clean": list(CLEAN.values())}.items():
        if asked.kinds and kind not in asked.kinds:
            continue
        row = Row()
        for spoil in ways:
            row.add([describe(spoilt(picture, spoil), extractor, limits) for picture in pictures], comparator)
        print(f"| {kind} | {row} |", flush=True)


if __name__ == "__main__":
    main()
