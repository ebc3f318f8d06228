"""Real worker processes: what they answer, what they survive, and what survives them. Each start takes some 2 s."""

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.enroll import decoding, portraits
from services.enroll.extractor import Extractor
from services.enroll.frames import ANSWER, GREETING, Portrait, Ready
from services.enroll.pool import CannotStart, Pool
from services.enroll.quality import NO_FACE, Extracted, refused
from shared.biometrics import RetakeReason
from shared.model import Model, ModelRefused
from tests import models
from tests.unit.enroll.making import (
    HOPPER,
    PIXELS,
    encoded,
    extracted,
    extractor,
    hopper,
    lying_jpeg,
    orders,
    png_of_zeros,
)
from tests.unit.enroll.test_decoding import FOREIGN, MODES

MODEL = models.default()

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="worker processes need a POSIX system")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with closing(Pool(1, orders(MODEL))) as pool:
        yield pool


def result(future: Future[Extracted]) -> Extracted:
    return future.result(timeout=60)


def reasons(extracted: Extracted) -> list[RetakeReason]:
    return [defect.reason for defect in extracted.quality.defects]


def test_a_worker_gives_the_template_that_this_process_would(pool: Pool) -> None:
    assert result(pool.submit(HOPPER)) == extracted(HOPPER)


@pytest.mark.parametrize("name", MODES)
def test_every_kind_of_picture_is_decoded_without_opening_a_file(pool: Pool, name: str) -> None:
    before = pool.pids
    assert result(pool.submit(MODES[name](hopper()))).template is not None
    assert pool.pids == before


@pytest.mark.parametrize("width", [512, 3072])
def test_a_worker_gives_the_portrait_that_this_process_would(pool: Pool, width: int) -> None:
    image = encoded(hopper().resize((width, width * 606 // 512)), "JPEG")
    before = pool.pids
    found = pool.portray(image).result(timeout=60)
    assert found == portraits.portray(decoding.decode(image, PIXELS), extractor())
    assert found.jpeg is not None
    assert Image.open(io.BytesIO(found.jpeg)).size == (portraits.SIDE, portraits.SIDE)
    assert pool.pids == before


HOSTILE = {
    "png bomb": png_of_zeros(20_000, 2_000),
    "lying jpeg": lying_jpeg(65_500),
    "truncated": HOPPER[:20_000],
    "empty": b"",
    **FOREIGN,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_and_the_worker_lives(pool: Pool, name: str) -> None:
    before = pool.pids
    found = reasons(result(pool.submit(HOSTILE[name])))
    assert set(found) <= {RetakeReason.TOO_LARGE, RetakeReason.UNDECODABLE, RetakeReason.UNSUPPORTED_FORMAT}
    assert len(found) == 1
    assert pool.portray(HOSTILE[name]).result(timeout=60) == Portrait(None)
    assert pool.pids == before


def test_a_worker_killed_from_outside_costs_nobody_their_enrolment(pool: Pool) -> None:
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert result(pool.submit(HOPPER)).template is not None
    assert pool.pids != {pid}


def test_a_sample_that_ends_every_worker_is_refused_and_the_next_is_served(pool: Pool) -> None:
    large = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (4000, 5000), dtype=np.uint8)), "PNG")
    done = threading.Event()

    def assassinate() -> None:
        while not done.wait(0.02):
            for pid in pool.pids:
                with suppress(ProcessLookupError):  # the pool may have seen it end already
                    os.kill(pid, signal.SIGSEGV)

    killer = threading.Thread(target=assassinate)
    killer.start()
    try:
        found = reasons(result(pool.submit(large)))
    finally:
        done.set()
        killer.join()
    assert found == [RetakeReason.UNDECODABLE]
    assert result(pool.submit(HOPPER)).template is not None


def test_a_sample_over_the_time_limit_is_too_costly_and_its_worker_replaced() -> None:
    with closing(Pool(1, orders(MODEL, seconds=0.005))) as pool:
        before = pool.pids
        assert reasons(result(pool.submit(HOPPER))) == [RetakeReason.TOO_COSTLY]
        assert pool.pids.isdisjoint(before)
        before = pool.pids
        assert pool.portray(HOPPER).result(timeout=60) == Portrait(None)
        assert pool.pids.isdisjoint(before)


def test_a_picture_that_keeps_its_decoder_busy_is_too_costly_long_before_the_time_limit() -> None:
    with closing(Pool(1, orders(MODEL, seconds=60.0, decoding=0.1))) as pool:
        before = pool.pids
        assert result(pool.submit(HOPPER)).template is not None, "the search for faces is not decoding"
        assert pool.pids == before
        started = time.monotonic()
        assert reasons(result(pool.submit(png_of_zeros(5_000, 4_900)))) == [RetakeReason.TOO_COSTLY]  # 0.3 s measured
        assert time.monotonic() - started < 30
        assert pool.pids.isdisjoint(before)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_a_sample_over_the_memory_limit_is_too_costly_and_its_worker_lives() -> None:
    with closing(Pool(1, orders(MODEL, memory=32 * 2**20))) as pool:
        before = pool.pids
        assert reasons(result(pool.submit(png_of_zeros(5_000, 4_900)))) == [RetakeReason.TOO_COSTLY]
        assert pool.portray(png_of_zeros(5_000, 4_900)).result(timeout=60) == Portrait(None)
        assert result(pool.submit(HOPPER)).template is not None
        assert pool.pids == before


def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(CannotStart, match="did not start"):
        Pool(1, orders(MODEL, memory=1))


MODELS: dict[str, Callable[[Path], Model]] = {
    "EdgeFace-XS by YuNet": models.edgeface,
    "dlib and y1, mirrored": lambda folder: models.dlib_and_y1(folder, "mirrored-concatenated"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_worker_needs_no_file_of_its_model_once_it_is_warm(name: str, tmp_path: Path) -> None:
    model = MODELS[name](tmp_path)
    wanted = extracted(HOPPER, Extractor(model))
    with closing(Pool(1, orders(model))) as pool:
        shutil.rmtree(model.folder)
        assert result(pool.submit(HOPPER)) == wanted
    assert wanted.template is not None


def test_a_worker_that_finds_its_model_refused_says_so_and_ends(tmp_path: Path) -> None:
    model = models.y1(tmp_path)
    (model.folder / models.Y1).write_bytes(b"something else")
    with pytest.raises(ModelRefused, match="its SHA-256 is"):
        Pool(1, orders(model))


def test_a_worker_does_not_start_with_another_model_than_its_parent_has_seen(tmp_path: Path) -> None:
    seen = replace(orders(MODEL), folder=str(models.y1(tmp_path).folder))
    with pytest.raises(ModelRefused, match=f"holds model mobilefacenet-y1-.* now, and {MODEL.id} was started"):
        Pool(1, seen)


def pretend(place: Path, patch: pytest.MonkeyPatch, *answers: bytes) -> None:
    """Have an impostor started in place of a worker, that says this whatever it is asked."""
    said = b"".join(struct.pack(">I", len(answer)) + answer for answer in answers)
    impostor = place / "python"
    impostor.write_text(
        f"#!{sys.executable}\nimport sys, time\nsys.stdout.buffer.write({said!r})\nsys.stdout.flush()\ntime.sleep(60)\n"
    )
    impostor.chmod(0o700)
    patch.setattr(sys, "executable", str(impostor))


LIES = {
    "another format": ANSWER.dump_json(Portrait(b"\x89PNG\r\n\x1a\n")),
    "nothing at all": ANSWER.dump_json(Portrait(b"")),
    "what no portrait is": ANSWER.dump_json(refused(NO_FACE)),
    "nonsense": b"{}",
}


@pytest.mark.parametrize("name", LIES)
def test_a_worker_that_answers_anything_but_a_jpeg_gives_no_portrait(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, GREETING.dump_json(orders(MODEL).model), LIES[name])
    with closing(Pool(1, orders(MODEL))) as pool:
        assert pool.portray(HOPPER).result(timeout=60) == Portrait(None)


def test_a_worker_that_claims_another_model_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, GREETING.dump_json(Ready("another", 128)))
    with pytest.raises(CannotStart, match=f"came up with model another, not {MODEL.id}"):
        Pool(1, orders(MODEL))


def test_workers_are_gone_when_their_parent_is_killed() -> None:
    code = (
        "import time; from services.enroll.pool import Pool; from tests.unit.enroll.test_pool import MODEL, orders\n"
        "pool = Pool(1, orders(MODEL)); print(*pool.pids, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() not in ("", "Z", "Zs")


def test_a_locked_down_worker_can_open_no_file_and_no_socket_and_sees_no_environment() -> None:
    code = (
        "import os, socket; from services.enroll.sandbox import lock_down\n"
        "lock_down(2**30, 1)\n"
        "def can(act):\n"
        "    try: act()\n"
        "    except OSError: return 0\n"
        "    return 1\n"
        "os._exit(can(lambda: open('/etc/passwd')) + 2 * can(lambda: open('/tmp/eyni-was-here', 'w'))\n"
        "    + 4 * can(socket.socket) + 8 * bool(os.environ))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
