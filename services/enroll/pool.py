"""Worker processes as their parent sees them: warm, watched, and replaced when a sample was too much for one."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final, NoReturn, Protocol, TypeVar, cast

from pydantic import ValidationError

from services.enroll import frames
from services.enroll.consistency import is_consistent
from services.enroll.quality import BREAKS_DECODERS, TOO_COSTLY, Extracted, refused
from shared import metrics
from shared.biometrics import Defect
from shared.logs import logger
from shared.model import ModelRefused
from shared.text import printable

ATTEMPTS: Final = 2
"""A worker that ends for no reason of its sample's (an operator, the kernel out of memory) must not cost a person their
enrolment; a sample that ends two is the reason itself."""

LIFETIME: Final = 100.0
"""How many times as long as it took to start a worker works, before another takes its place: one that a picture has
taken over, without a trace, must not see the next people's for ever. So renewal costs a hundredth of the machine,
whatever the model: a worker of dlib starts in 2 s, and sees some 1,000 samples."""

_TOLD: Final = 1000
"""Most characters taken of what a worker says in its own words: a path, and some lines."""

_JPEG: Final = b"\xff\xd8\xff"
"""How every JPEG begins."""

_KEPT: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What of the environment a worker gets, if it is set: where libraries are found, no secret."""

_Answer = TypeVar("_Answer")


class Extractor(Protocol):
    """Where samples become templates, several at a time."""

    @property
    def size(self) -> int:
        """How many samples it works on at once."""
        ...

    def submit(self, image: bytes) -> Future[Extracted]: ...


class CannotStart(RuntimeError):
    """A worker did not get ready; the message is the worker's own."""


class _Lost(Exception):
    """A worker ended, was killed, or answered nonsense."""

    def __init__(self, why: str, defect: Defect, *, certain: bool) -> None:
        super().__init__(why)
        self.defect = defect
        self.certain = certain
        """True: the sample's doing, without a doubt."""


class Sandbox:
    """One worker process. For one thread at a time."""

    def __init__(self, orders: frames.Orders) -> None:
        """Start a worker; before anything else, `warm_up`."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._orders = orders
        self.is_warm = False
        self.confined = ""
        """By what, in the worker's words; once it is warm."""
        self.starting = 0.0
        self.working = 0.0
        """Seconds that it took to start, and that it has spent on samples since."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "services.enroll.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    def warm_up(self) -> None:
        """Have the model loaded and rehearsed. Raises CannotStart, or ModelRefused; then the worker is gone."""
        wanted = self._orders.model
        since = time.monotonic()
        try:
            greeting = self._ask(self._orders.load_time_limit, frames.ORDERS.dump_json(self._orders))
            ready = frames.GREETING.validate_json(greeting)
        except (_Lost, ValidationError) as error:
            self.close()
            hint = " (EYNI_LOAD_TIME_LIMIT)" if isinstance(error, _Lost) and error.certain else ""
            raise CannotStart(f"an extraction worker did not start: {error}{hint}") from None
        if isinstance(ready, frames.Ready) and ready == wanted:
            self.confined = _told(ready.confined)
            self.starting = time.monotonic() - since
            self.is_warm = True
            return
        self.close()
        if isinstance(ready, frames.Ready):
            raise CannotStart(f"an extraction worker came up with model {_told(ready.model)}, not {wanted.model}")
        if ready.refused:
            raise ModelRefused(_told(ready.what))
        raise CannotStart(f"an extraction worker did not start: {_told(ready.what)}")

    def extract(self, image: bytes) -> Extracted:
        """Have the template of a picture. Raises _Lost; then the worker is gone."""
        extracted = self._answer(frames.TEMPLATE, image)
        if not isinstance(extracted, Extracted) or not self._plausible(extracted):
            self._lose("answered what no sample gives")
        return extracted

    def portray(self, image: bytes) -> frames.Portrait:
        """Have the face of a picture, for people to look at. Raises _Lost; then the worker is gone."""
        portrait = self._answer(frames.PORTRAIT, image)
        if not isinstance(portrait, frames.Portrait) or not (portrait.jpeg is None or portrait.jpeg.startswith(_JPEG)):
            self._lose("answered what is no portrait")
        return portrait

    def _answer(self, wanted: bytes, image: bytes) -> Extracted | frames.Portrait:
        since = time.monotonic()
        answer = self._ask(self._orders.time_limit, wanted, image)
        self.working += time.monotonic() - since
        try:
            found = frames.ANSWER.validate_json(answer)
        except ValidationError:
            self._lose("answered nonsense")
        if isinstance(found, frames.Failed):
            self._lose(_told(found.what))
        return found

    def _plausible(self, extracted: Extracted) -> bool:
        quality, template = extracted.quality, extracted.template
        if not is_consistent(quality, self._orders.limits) or any(len(d.advice) > 400 for d in quality.defects):
            return False
        if template is None:
            return bool(quality.defects) and quality.score == 0
        fits = (template.model, template.vector.size) == (self._orders.model.model, self._orders.model.dimension)
        return fits and not quality.defects and quality.score > 0

    def _ask(self, seconds: float, *payloads: bytes) -> bytes:
        """Write frames and read one, all at the worker's pace; the watchdog ends it by ending the worker."""
        expired = threading.Event()

        def end() -> None:
            expired.set()
            self._process.kill()

        watchdog = threading.Timer(seconds, end)
        watchdog.daemon = True
        watchdog.start()
        try:
            for payload in payloads:
                frames.write(self._requests, payload)
            return frames.read(self._answers, frames.ANSWER_BYTES)
        except (OSError, EOFError):
            self._lose_ended(expired.is_set(), seconds)
        except ValueError as error:
            self._lose(str(error))
        finally:
            watchdog.cancel()

    def _lose_ended(self, expired: bool, seconds: float) -> NoReturn:
        self.close()
        code = self._process.returncode
        if expired:
            raise _Lost(f"took longer than {seconds:g} s", TOO_COSTLY, certain=True)
        if code == -signal.SIGPROF:
            raise _Lost("used up its processor time", TOO_COSTLY, certain=True)
        costly = code == -signal.SIGKILL  # by the kernel, out of memory; or by an operator
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"code {code}"
        raise _Lost(f"ended with {how}", TOO_COSTLY if costly else BREAKS_DECODERS, certain=False)

    def _lose(self, why: str) -> NoReturn:
        self.close()
        raise _Lost(why, BREAKS_DECODERS, certain=False)

    def close(self) -> None:
        """End the worker, whatever it is doing. May be called twice, and from another thread."""
        self._process.kill()
        self._process.wait()
        self._answers.close()
        # A frame that the dead worker did not take may still be in the buffer.
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()


def _told(words: str) -> str:
    """Return a worker's own words in a line, without what would steer a terminal: a hostile model may be quoted."""
    return printable(words.replace("\n", " "), _TOLD)


class Pool:
    """A fixed number of workers, each with one sample at a time."""

    def __init__(self, size: int, orders: frames.Orders, lifetime: float = LIFETIME) -> None:
        """Start the workers, side by side, and wait until all are warm. Raises CannotStart, or ModelRefused."""
        self._orders = orders
        self._lifetime = lifetime
        self._closed = False
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="sandbox")
        self._renewals = ThreadPoolExecutor(1, thread_name_prefix="sandbox-renewal")
        self._renewing = threading.Lock()
        self._successor: Future[Sandbox] | None = None
        self._idle: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        self._all: set[Sandbox] = set()
        self._size = size
        try:
            for started in [self._threads.submit(self._start) for _ in range(size)]:
                self._idle.put(started.result())
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        return self._size

    @property
    def pids(self) -> set[int]:
        """Those of the workers that are warm."""
        return {sandbox.pid for sandbox in self._all if sandbox.is_warm}

    @property
    def confined(self) -> str:
        """By what the workers are confined besides limits, in words; each way that is met."""
        return "; ".join(sorted({sandbox.confined for sandbox in list(self._all) if sandbox.is_warm}))

    def submit(self, image: bytes) -> Future[Extracted]:
        return self._threads.submit(self._answered, Sandbox.extract, image, refused)

    def portray(self, image: bytes) -> Future[frames.Portrait]:
        """Have the face of a picture, for people to look at; no JPEG where the picture is too much for a worker."""
        return self._threads.submit(self._answered, Sandbox.portray, image, lambda _: frames.Portrait(None))

    def _start(self) -> Sandbox:
        sandbox = Sandbox(self._orders)
        self._all.add(sandbox)  # at once, so that `close` ends it also while it loads
        if self._closed:
            sandbox.close()
            raise CannotStart("the pool is closed")
        sandbox.warm_up()
        return sandbox

    def _answered(
        self, ask: Callable[[Sandbox, bytes], _Answer], image: bytes, otherwise: Callable[[Defect], _Answer]
    ) -> _Answer:
        sandbox = self._renewed(self._idle.get())
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return ask(sandbox, image)
                except _Lost as lost:
                    if self._closed:
                        raise
                    self._all.discard(sandbox)
                    metrics.WORKER_DEATHS.inc()
                    logger("enroll").warning("extraction worker lost", why=str(lost), attempt=attempt)
                    sandbox = self._start()
                    if lost.certain or attempt == ATTEMPTS:
                        return otherwise(lost.defect)
            raise AssertionError("unreachable")
        finally:
            self._idle.put(sandbox)

    def _renewed(self, sandbox: Sandbox) -> Sandbox:
        """Return this worker, or its successor where its time is over; that is warmed up beside it, one at a time."""
        if sandbox.working <= self._lifetime * sandbox.starting:
            return sandbox
        with self._renewing:
            if self._successor is None:
                with contextlib.suppress(RuntimeError):  # closed meanwhile
                    self._successor = self._renewals.submit(self._start)
                return sandbox
            if not self._successor.done():
                return sandbox
            started, self._successor = self._successor, None
        try:
            successor = started.result()
        except (CannotStart, ModelRefused, OSError) as error:  # to be tried again when it has worked as long again
            logger("enroll").warning("no extraction worker could be started to renew one", reason=str(error))
            sandbox.working = 0.0
            return sandbox
        self._all.discard(sandbox)
        sandbox.close()
        return successor

    def close(self) -> None:
        """End all workers; what they were at is repeated by whoever gets the captures next."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._renewals.shutdown(wait=False, cancel_futures=True)
        for sandbox in list(self._all):
            sandbox.close()
        self._threads.shutdown(wait=True)
        self._renewals.shutdown(wait=True)
        for sandbox in list(self._all):
            sandbox.close()
