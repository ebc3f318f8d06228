"""How fast the gallery searches and replays, beside plain FAISS on the same vectors.

python -m tests.benchmarks.search --people 100000
"""
# pyright: basic

import argparse
import time

import faiss  # type: ignore[import-untyped,unused-ignore]
import numpy as np

from services.match.gallery import Gallery
from services.match.matching import Matcher, Policy
from shared.biometrics import Template
from shared.envelope import decode, encode
from shared.events import GalleryEvent
from tests.facts import enrolled, identify

DIMENSION = 128
RUNS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100_000)
    people = parser.parse_args().people
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(people + RUNS, DIMENSION)).astype(np.float32)
    vectors *= 1.4 / np.linalg.norm(vectors, axis=1, keepdims=True)
    records = [encode(enrolled(n, f"p{n}", [Template("m", v)])) for n, v in enumerate(vectors[:people])]
    matcher = Matcher(Gallery(), Policy(0.374, 0.5, 100))

    def fold(count: int, decide_from: int) -> float:
        begin, start = time.perf_counter(), matcher.gallery.position
        for at in range(start, start + count, 256):
            events = [decode(record) for record in records[at : min(at + 256, start + count)]]
            batch = [(at + n, e) for n, e in enumerate(events) if isinstance(e, GalleryEvent)]
            matcher.fold(batch, decide_from)
        return count / (time.perf_counter() - begin)

    replay = fold(people - 2048, people)
    enrol = fold(2048, 0)

    flat = faiss.IndexFlatL2(DIMENSION)
    flat.add(vectors[:people])
    ours: list[float] = []
    plain: list[float] = []
    for n in range(RUNS):
        probe = vectors[people + n]
        begin = time.perf_counter()
        matcher.answer(identify(n, Template("m", probe)))
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        flat.search(probe[None], 30)
        plain.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    digest = matcher.gallery.view().digest()
    seconds = time.perf_counter() - begin
    ratio = float(np.median(np.array(ours) / np.array(plain)))
    print(f"people                       {people}")
    print(f"replay (decode, insert)      {replay:.0f} a second")
    print(f"enrol (decode, search, insert)  {enrol:.0f} a second")
    print(f"identify, median of {RUNS}       {1000 * float(np.median(ours)):.1f} ms")
    print(f"plain FAISS flat search, k 30  {1000 * float(np.median(plain)):.1f} ms; ratio {ratio:.2f}")
    print(f"digest of the state          {seconds:.2f} s ({digest[:12]})")


if __name__ == "__main__":
    main()
