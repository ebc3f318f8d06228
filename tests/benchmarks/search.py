"""What the normalised search costs over plain FAISS on the same vectors, and that it finds what the formula finds.

python -m tests.benchmarks.search --people 100000

Synthetic people of the default model. Both sides search the same probes in turn, on one thread. "Plain" is a flat
search of the templates themselves, as one would use it without normalisation; "ours" is all from a template to the
names of candidates with their scores.
"""
# pyright: basic

import argparse
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import faiss  # type: ignore[import-untyped,unused-ignore]
import numpy as np

from services.eyni.people import enrolments, person_id, templates
from services.match.gallery import Gallery
from services.match.index import use_threads
from services.match.matching import Matcher
from services.match.policy import Policy
from shared.biometrics import Template, Vector
from shared.calibration import Comparator
from shared.envelope import decode, encode
from shared.events import GalleryEvent, Identified, Identify, ProbeExtracted
from shared.mixture import nearness
from shared.model import in_use
from tests.facts import request

RUNS = 200
BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100_000)
    people: int = parser.parse_args().people
    calibration = in_use(Path("nowhere")).calibration
    comparator = Comparator(calibration)
    matcher = Matcher(Gallery(comparator), Policy(candidate_cap=1000))
    use_threads(1)
    print(f"people                                    {people}, model {calibration.model}")

    facts = enrolments(calibration, people, "benchmark")
    seconds, position = 0.0, 0
    while records := [encode(fact) for fact in islice(facts, BATCH)]:
        begin = time.perf_counter()
        events = [decode(record) for record in records]
        matcher.fold([(position + n, e) for n, e in enumerate(events) if isinstance(e, GalleryEvent)], people)
        position += len(records)
        seconds += time.perf_counter() - begin
    print(f"replay (decode, prepare, insert)          {people / seconds:.0f} a second")

    # As after a restart: rows that came one by one lie scattered in memory, and a search waits for memory.
    matcher = Matcher(Gallery.restored(matcher.gallery.view(), comparator), Policy(candidate_cap=1000))
    vectors = np.stack(list(templates(calibration, people)))
    flats: dict[str, Any] = {
        "L2": faiss.IndexFlatL2(calibration.dimension),
        "inner product": faiss.IndexFlatIP(calibration.dimension),
    }
    for flat in flats.values():
        flat.add(vectors)
    dice = np.random.default_rng(7)
    probes = vectors[dice.integers(0, people, RUNS)] + dice.normal(0, 0.02, (RUNS, calibration.dimension))
    limit = comparator.similarity_at(Policy().for_identification("ALL", people))
    ways: dict[str, Callable[[Vector], object]] = {
        "ours, identify": lambda p: matcher.answer([asked(calibration.model, p)]),
        "ours, search alone": lambda p: matcher.gallery.near(comparator.prepare(p[None]), [limit]),
        "plain, L2, within a distance": lambda p: flats["L2"].range_search(p[None], 0.25),
        "plain, L2, 30 nearest": lambda p: flats["L2"].search(p[None], 30),
        "plain, inner product, above": lambda p: flats["inner product"].range_search(p[None], 2.2),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for probe in probes.astype(np.float32):
        # In an order of its own each time: who comes first finds another's vectors in the cache.
        for name in dice.permutation(list(ways)).tolist():
            begin = time.perf_counter()
            ways[name](probe)
            taken[name].append(time.perf_counter() - begin)
    ours = np.array(taken["ours, identify"])
    for name, each in taken.items():
        ratio = f"; ours takes {float(np.median(ours / np.array(each))):.2f} of it" if name.startswith("plain") else ""
        print(f"{name:<41} {1000 * float(np.median(each)):.2f} ms{ratio}")

    others = np.stack(list(templates(calibration, 8 * BATCH, seed=2)))
    batches = [others[at : at + BATCH] for at in range(0, len(others), BATCH)]
    together = {"ours": list[float](), "plain": list[float]()}
    for batch in batches:
        begin = time.perf_counter()
        matcher.answer([asked(calibration.model, probe) for probe in batch])
        middle = time.perf_counter()
        flats["inner product"].range_search(batch, 2.2)
        together["ours"].append(middle - begin)
        together["plain"].append(time.perf_counter() - middle)
    of_plain = float(np.median(np.array(together["ours"]) / np.array(together["plain"])))
    pace = BATCH / float(np.median(together["ours"]))
    print(f"ours, identify, {BATCH} at once              {pace:.0f} a second; ours takes {of_plain:.2f} of plain")

    check(matcher, vectors, probes[:10].astype(np.float32))


def asked(model: str, probe: Vector, threshold: float | None = None) -> ProbeExtracted:
    return ProbeExtracted(request(1), Identify("ALL", 1000, threshold), (Template(model, probe),))


def check(matcher: Matcher, vectors: Vector, probes: Vector, threshold: float = 42.0) -> None:
    """Compare with plain numpy: everybody who scores so much, in order, with their scores (rounded to 0.01 dB)."""
    comparator = matcher.comparator
    cohort = comparator.calibration.cohort
    assert cohort is not None
    wide = vectors.astype(np.float64)
    m = cohort.weight * nearness(cohort.mixture, cohort.softness, wide)
    named = 0
    for probe in probes:
        p = probe.astype(np.float64)
        m_p = cohort.weight * nearness(cohort.mixture, cohort.softness, p[None])[0]
        s = m_p + m - ((wide - p) ** 2).sum(axis=1)
        db = comparator.decibels(s)
        ranks = [n for n in np.lexsort((np.arange(len(s)), -s)).tolist() if db[n] >= threshold]
        [decided] = matcher.answer([asked(comparator.calibration.model, probe, threshold)])
        outcome = decided.outcome
        assert isinstance(outcome, Identified)
        assert outcome.total_candidates == len(ranks)
        assert [c.person_id for c in outcome.candidates] == [person_id(n) for n in ranks[: len(outcome.candidates)]]
        assert all(abs(c.score - db[n]) <= 0.005 + 1e-3 for c, n in zip(outcome.candidates, ranks, strict=False))
        named += len(outcome.candidates)
    print(f"against numpy, {len(probes)} probes                 identical ranks and scores, {named} candidates named")


if __name__ == "__main__":
    main()
