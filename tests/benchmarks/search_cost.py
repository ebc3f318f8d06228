"""What the normalised search costs over plain FAISS: each index alone in a process of its own, in turns.

python -m tests.benchmarks.search_cost --people 1000000 --rounds 9

Two indexes of the same vectors in one process differ by up to 30 %, by where their memory lies; so does one index from
process to process. Only the median over many processes says anything.
"""
# pyright: basic

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss  # type: ignore[import-untyped,unused-ignore]
import numpy as np

from services.eyni.people import templates
from services.match.index import FaissIndex, use_threads
from services.match.policy import Policy
from shared.calibration import Comparator, Prepared
from shared.model import in_use

KINDS = ("normalised (ours)", "plain, L2", "plain, inner product")
PROBES = 64


def child(kind: str, folder: Path) -> None:
    """Search each probe alone, and all at once; print the medians in milliseconds."""
    use_threads(1)
    comparator = Comparator(in_use(Path("nowhere")).calibration)
    rows = Prepared(np.load(folder / "vectors.npy"), np.load(folder / "nearness.npy"))
    probes = Prepared(np.load(folder / "probes.npy"), np.load(folder / "probes-nearness.npy"))
    limit = comparator.similarity_at(Policy().for_identification("ALL", len(rows)))
    if kind == KINDS[0]:
        index = FaissIndex(comparator)
        index.add(rows)

        def search(some: Prepared) -> object:
            return index.near(some, [limit] * len(some))
    else:
        dimension = rows.vectors.shape[1]
        flat: Any = faiss.IndexFlatL2(dimension) if kind == KINDS[1] else faiss.IndexFlatIP(dimension)
        flat.add(rows.vectors)

        def search(some: Prepared) -> object:
            return flat.search(some.vectors, 30)

    def seconds(some: Prepared) -> float:
        begin = time.perf_counter()
        search(some)
        return time.perf_counter() - begin

    seconds(probes[:1])
    one = [seconds(probes[n : n + 1]) for n in range(PROBES)]
    many = [seconds(probes) / PROBES for _ in range(3)]
    print(json.dumps([1000 * float(np.median(one)), 1000 * float(np.median(many))]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9, help="processes of each kind")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]))
        return
    calibration = in_use(Path("nowhere")).calibration
    comparator = Comparator(calibration)
    taken: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for name, some in (("", (asked.people, 1)), ("probes", (PROBES, 2))):
            drawn = np.stack(list(templates(calibration, some[0], seed=some[1])))
            prepared = comparator.prepare(drawn)
            np.save(Path(folder) / f"{name or 'vectors'}.npy", prepared.vectors)
            np.save(Path(folder) / f"{name + '-' if name else ''}nearness.npy", prepared.nearness)
        for number in range(asked.rounds):
            for kind in KINDS[number % 3 :] + KINDS[: number % 3]:
                command = [sys.executable, "-m", "tests.benchmarks.search_cost", "--child", kind, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken[kind].append(json.loads(done.stdout))
    print(f"{asked.people} people, {asked.rounds} processes each: median (least to greatest), ms for one probe")
    ours = np.median(np.array(taken[KINDS[0]]), axis=0)
    for kind, values in taken.items():
        each = np.array(values)
        middle, least, most = np.median(each, axis=0), each.min(axis=0), each.max(axis=0)
        cells = [
            f"{what} {m:6.2f} ({a:.2f} to {b:.2f}), ours takes {o / m:.2f} of it"
            for what, m, a, b, o in zip(("alone", f"of {PROBES}"), middle, least, most, ours, strict=True)
        ]
        print(f"{kind:<22} {';  '.join(cells)}")


if __name__ == "__main__":
    main()
