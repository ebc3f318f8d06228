"""Everything that issue 8 asks of wrong requests, at once: mutated bodies into `eyni up`, schemathesis at the api.

    python -m tests.benchmarks.fuzz                                     5,000 of each
    python -m tests.benchmarks.fuzz --count 20000 --seed 7 --picture p.jpg

Exits with 1 where a process ended, an answer was 5xx (but a declared 503), or a message showed what is inside. Imports
nothing of ours but the tests' own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import matplotlib

from tests.end_to_end.system import ROOT, System
from tests.fuzzing import INTERNALS, wrong_bodies

SERVICES = ("enroll", "match", "api")
OPERATIONS = 22
HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def mutated(system: System, seed: int, count: int, picture: bytes) -> tuple[Counter[int], list[str]]:
    """Send mutated bodies, and return how often each status came and what was wrong."""
    seen, wrong = Counter[int](), list[str]()
    for request in wrong_bodies(seed, count, picture):
        answer = system.call(request.method, request.target, request.body, timeout=90)
        seen[answer.status] += 1
        failed = answer.status >= 500 and answer.status != 503
        if failed or (answer.status >= 400 and INTERNALS.search(json.loads(answer.body)["message"])):
            asked = f"{request.method} {request.target} {(request.body or b'')[:300]!r}"
            wrong.append(f"{asked}: {answer.status} {answer.body[:500]!r}")
    return seen, wrong


def main() -> int:
    """Run both, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=HOPPER, help="of a face")
    given = parser.parse_args()
    picture = given.picture.read_bytes()
    with tempfile.TemporaryDirectory(prefix="eyni-fuzz-") as folder, System(Path(folder) / "data") as system:
        assert system.enrol("p1", picture, encounter="e1", gallery="visa").status == 200, "no picture of a face"
        before = {service: system.child(service) for service in SERVICES}
        started = time.monotonic()
        seen, wrong = mutated(system, given.seed, given.count, picture)
        seconds = time.monotonic() - started
        ended = [service for service in SERVICES if system.child(service) != before[service]]
        log = (system.folder / "up.log").read_text(errors="replace")
        print(f"{given.count} mutated bodies in {seconds:.0f} s: {dict(sorted(seen.items()))}")
        print(f"processes that ended: {ended or 'none'}; tracebacks: {log.count('Traceback')}; wrong: {len(wrong)}")
        print(*wrong[:20], sep="\n")
    examples = -(-given.count // OPERATIONS)
    print(f"schemathesis, {examples} cases of each of {OPERATIONS} operations: {examples * OPERATIONS}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-o", "timeout=7200", "tests/unit/api/test_fuzz.py"],
        cwd=ROOT,
        env={**os.environ, "EYNI_FUZZ_EXAMPLES": str(examples)},
    )
    return 1 if ended or wrong or "Traceback" in log or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
