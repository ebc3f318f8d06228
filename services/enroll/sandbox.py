"""A worker process: pictures in, templates, defects or portraits out, with everything taken away that is not needed.

Started by `pool.py` as `python -m services.enroll.sandbox`, killed by it when a sample takes too long, and gone when
its parent is: it reads its parent's pipe, and a pipe whose writer has died ends.
"""

import contextlib
import os
import re
import resource
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from services.enroll import confinement, decoding, frames
from services.enroll.quality import TOO_COSTLY, Extracted, refused
from shared.model import ModelRefused, load_model
from shared.process import harden

if TYPE_CHECKING:
    from services.enroll.extractor import Extractor

REQUEST_BYTES: Final = 64 * 2**20
"""Largest picture taken over the pipe: four times the largest capture record (`shared.topics.CAPTURE_BYTES`)."""

_OF_MEMORY: Final = re.compile("memory|alloc", re.IGNORECASE)
"""In what Python, onnxruntime and OpenCV say where they get no more of it; then the limit is told with it."""


def main() -> None:
    """Serve one parent until it ends."""
    harden()
    confinement.begin()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    orders = frames.ORDERS.validate_json(frames.read(requests, frames.ANSWER_BYTES))
    extractor: Extractor | None = None
    memory = f"EYNI_LOAD_MEMORY_LIMIT allows {orders.load_memory_limit} bytes"
    try:
        watch_loading(orders)
        extractor = loaded(orders)
        # Twice: what the first has left to be loaded later, the second, locked down, fails over: now, at no capture.
        warm_up(extractor, orders)
        held = lock_down(orders.memory_limit, answers.fileno())
        memory = f"EYNI_MEMORY_LIMIT allows {orders.memory_limit} bytes more"
        greeting: frames.Ready | frames.Failed = replace(warm_up(extractor, orders), confined=held)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    except Exception as error:
        # No picture has been seen yet: the operator gets the message as it is.
        is_refusal = isinstance(error, ModelRefused)
        what = str(error) if is_refusal else f"{type(error).__name__}: {error}"
        greeting = frames.Failed(f"{what} ({memory})" if _OF_MEMORY.search(what) else what, refused=is_refusal)
    frames.write(answers, frames.GREETING.dump_json(greeting))
    if isinstance(greeting, frames.Ready) and extractor:
        with contextlib.suppress(EOFError, BrokenPipeError):
            serve(requests, answers, extractor, orders)
    # Not by way of the interpreter's clean-up, which may want to open files.
    os._exit(0)


def watch_loading(orders: frames.Orders) -> None:
    """Bound what a model may do that nobody has rehearsed yet: its networks may ask for anything, and for ever.

    More cannot be given up before the libraries are loaded, which are files.
    """
    # OpenCV prints how a hostile file calls its operators: that could steer a terminal.
    _silence()
    # The parent has a watch of its own; but what loops would outlive a parent that is killed.
    signal.setitimer(signal.ITIMER_PROF, orders.load_time_limit)
    _limit_memory(orders.load_memory_limit, for_good=False)


def loaded(orders: frames.Orders) -> "Extractor":
    """Load the model. Raises ModelRefused, also where the folder holds another one by now than the parent has seen."""
    from services.enroll.extractor import Extractor

    model = load_model(Path(orders.folder))
    found = frames.Ready(model.id, model.manifest.dimension)
    if found != orders.model:
        raise ModelRefused(f"{model.folder}: it holds model {found.model} now, and {orders.model.model} was started")
    return Extractor(model)


def warm_up(extractor: "Extractor", orders: frames.Orders) -> frames.Ready:
    """Do everything once: modules get loaded at first use, and after `lock_down` no file can be opened."""
    from services.enroll import extraction, portraits

    for specimen in decoding.specimens():
        extraction.extract(specimen, extractor, orders.pixel_limit, orders.limits)
    template = extraction.rehearse(extractor, orders.limits)
    for answer in (Extracted(template, refused(TOO_COSTLY).quality), refused(TOO_COSTLY), portraits.rehearse()):
        frames.ANSWER.dump_json(answer)
    return frames.Ready(template.model, template.vector.size)


def lock_down(memory: int, answers: int) -> str:
    """Give up what decoding does not need: files, sockets, processes, core dumps, rights, most of the kernel.

    Returns what confines this process from here on, besides its limits, for `eyni status`. `answers`: the descriptor
    that it goes on to write to.
    """
    _limit_memory(memory, for_good=True)
    _silence()
    os.environ.clear()
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    held = confinement.give_up_rights()
    harden()  # again: another user makes a process dumpable
    # From here on no descriptor can be had, for a file or for a socket; those that are open stay.
    _limit(resource.RLIMIT_NOFILE, 0)
    held += confinement.give_up_calls(answers)
    return ", ".join(held)


def _silence() -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.close(silent)


def _limit_memory(beyond: int, *, for_good: bool) -> None:
    """Limit the address space to so many bytes more than it has now."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + beyond, for_good=for_good)


def _limit(which: int, value: int, *, for_good: bool = True) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # whoever started us may have been stricter
    resource.setrlimit(which, (value, value if for_good else hard))


def serve(requests: BinaryIO, answers: BinaryIO, extractor: "Extractor", orders: frames.Orders) -> None:
    """Answer one request after the other. Raises EOFError when the parent has ended."""
    from services.enroll import extraction, portraits

    while True:
        is_portrait = frames.read(requests, len(frames.PORTRAIT)) == frames.PORTRAIT
        image = frames.read(requests, REQUEST_BYTES)
        try:
            # Each ends this process once it has used up so much processor time, wherever in a decoder it is.
            signal.setitimer(signal.ITIMER_PROF, orders.decode_limit)
            picture = decoding.decode(image, orders.pixel_limit)
            signal.setitimer(signal.ITIMER_PROF, orders.time_limit)
            answer: Extracted | frames.Portrait | frames.Failed = (
                portraits.portray(picture, extractor)
                if is_portrait
                else extraction.describe(picture, extractor, orders.limits)
            )
        except MemoryError:
            answer = frames.Portrait(None) if is_portrait else refused(TOO_COSTLY)
        except Exception as error:
            answer = frames.Failed(_place_of(error))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        frames.write(answers, frames.ANSWER.dump_json(answer))
        if isinstance(answer, frames.Failed):
            return


def _place_of(error: Exception) -> str:
    """Say what kind of error it is and where, without its message: that might repeat what was in the picture."""
    last = traceback.extract_tb(error.__traceback__, limit=-1)[0]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


if __name__ == "__main__":
    main()
