"""What the kernel of Linux refuses to a worker: files, processes, sockets, signals, a user's rights.

Limits on descriptors (`sandbox.lock_down`) stop whatever needs a new one. Much needs none: `ptrace` of a service that
holds keys, `truncate` and `unlink` of the log, `kill`, `prlimit`. Three things stop those, where the kernel has them:

* **seccomp**: of some 450 system calls a warm worker has the few listed here; the others fail with EPERM. Not by a
  kill: what a library only tries, and can do without, costs nobody their sample.
* **Landlock**: nothing can be written, connected or signalled from the start, nothing read once the model is loaded.
  That the start is included keeps a hostile model from leaving code in a `.pyc` that another process runs.
* **a uid of its own**, where we are root: then even a hole in both finds nothing that is its own.

By `ctypes` and a table of our own: libseccomp is not on every machine, and what is needed of it is a list of numbers.
They are part of the kernel's interface, and never change.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from typing import Final

UID: Final = 65_533
"""User and group of a worker whose parent is root. Below 65,536, so that it exists in a container too; of 65,520 to
65,533, which systemd leaves unused and Debian reserves; not nobody (65,534), who may run other programs."""

_READ, _WRITE, _MMAP, _MPROTECT, _TGKILL, _PRLIMIT = "read", "write", "mmap", "mprotect", "tgkill", "prlimit64"

_CALLS: Final = {
    # Requests come in, answers go out, memory comes and goes. These six are looked at more closely: see `_checks`.
    _READ: (0, 63), _WRITE: (1, 64), _MMAP: (9, 222), _MPROTECT: (10, 226), _TGKILL: (234, 131), _PRLIMIT: (302, 261),
    # Memory of its own.
    "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233), "membarrier": (324, 283),
    # Time, signals to itself, waiting for its own threads, its end.
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "setitimer": (38, 103), "getitimer": (36, 102), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, -1),
    "times": (100, 153), "futex": (202, 98), "restart_syscall": (219, 128), "sched_yield": (24, 124),
    "set_robust_list": (273, 99), "rseq": (334, 293), "exit": (60, 93), "exit_group": (231, 94),
    # Questions about itself and the machine, and chance.
    "getpid": (39, 172), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getcpu": (309, 168), "sched_getaffinity": (204, 123), "getrusage": (98, 165),
    "getrlimit": (97, 163), "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278),
    # What it has open: nothing but its two pipes and /dev/null.
    "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62),
}  # fmt: skip
"""What a warm worker may call, with its numbers on x86-64 and on 64-bit ARM (-1: not there). Pictures of every format
need read, write, setitimer, brk, mmap, munmap and madvise (traced); the others do no harm, and other versions of libc
may want them."""

_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table, and the kernel's own name of the architecture (AUDIT_ARCH_...)."""

_X32: Final = 0x40000000
"""From here on are calls of x86-64's other convention, with the same names under other numbers."""

_PROT_EXEC: Final = 4
_EPERM: Final = 1

# seccomp(2), linux/bpf_common.h, linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | _EPERM, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_SECCOMP: Final = (317, 277)
_SET_MODE_FILTER, _ALL_THREADS = 1, 1

# landlock(7), linux/landlock.h; one number on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ABI_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files each version of Landlock knows; those after the last, at least as many."""
_NETWORK, _SCOPES = 4, 6
"""Versions from which on it can refuse to bind and connect, and to signal and to reach abstract sockets."""

_PR_SET_NO_NEW_PRIVS: Final = 38


def begin() -> None:
    """From a process's start on: no rights by another program, nothing to write but /dev/null, no network."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _landlock({"/": _EXECUTE | _READ_FILE | _READ_DIR, os.devnull: _WRITE_FILE})


def give_up_rights() -> list[str]:
    """Be nobody, and reach nothing; say in words what holds. What a kernel does not have is said, too.

    While a descriptor can be had: Landlock takes one for a moment.
    """
    if sys.platform != "linux":
        return ["limits only", f"{platform.system()} has neither seccomp nor Landlock"]
    begin()
    own = _become_nobody()
    version = _landlock({})
    return [*own, f"Landlock {version}" if version else "no Landlock (not in this kernel)"]


def give_up_calls(answers: int) -> list[str]:
    """Load the filter of system calls for every thread of this process, for good; say in words whether it holds.

    Last: after it, no limit can be set. `answers` is the descriptor that may be written to.
    """
    if sys.platform != "linux":
        return []
    column, machine = _column(), platform.machine()
    if column < 0:
        return [f"no seccomp (no table for {machine})"]
    code = b"".join(_program(column, _MACHINES[machine][1], os.getpid(), answers))
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count, and where the instructions are.
    head = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    done = _system(_SECCOMP[column], _SET_MODE_FILTER, _ALL_THREADS, head)
    return ["seccomp" if done == 0 else "no seccomp (not in this kernel)"]


def _column() -> int:
    """Return this machine's column of the table; -1: it is another machine."""
    is_known = sys.byteorder == "little" and sys.maxsize > 2**32
    return _MACHINES.get(platform.machine(), (-1, 0))[0] if is_known else -1


def _system(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call; -1 where it fails."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), *wide))


# ---- a user of its own


def _become_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
    except OSError as error:  # a container may have taken that right from its root
        return [f"root still ({error.strerror})"]
    return [f"uid {UID}"]


# ---- Landlock


def _landlock(allowed: dict[str, int]) -> int:
    """Allow this thread, and those that it makes, no more than these rights; return Landlock's version, 0 for none."""
    version = _system(_CREATE_RULESET, None, 0, _ABI_VERSION)
    if version < 1:
        return 0
    rights = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    network, scopes = (0b11 if version >= _NETWORK else 0), (0b11 if version >= _SCOPES else 0)
    size = 24 if version >= _SCOPES else 16 if version >= _NETWORK else 8
    rules = _system(_CREATE_RULESET, struct.pack("=QQQ", rights, network, scopes), size, 0)
    if rules < 0:
        return 0
    try:
        for path, what in allowed.items():
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                _system(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", what, place), 0)
            finally:
                os.close(place)
        return version if _system(_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


# ---- seccomp


def _program(column: int, architecture: int, pid: int, answers: int) -> Iterator[bytes]:
    """Yield the filter's instructions, in the kernel's classic BPF."""
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_EQUAL, architecture, 1, 0)
    yield _step(_RETURN, _KILL)
    yield _step(_LOAD, _NUMBER)
    yield _step(_AT_LEAST, _X32, 0, 1)
    yield _step(_RETURN, _KILL)
    checks = _checks(pid, answers)
    for name, numbers in _CALLS.items():
        if (number := numbers[column]) >= 0:
            decided = checks.get(name, [_step(_RETURN, _ALLOW)])
            yield _step(_EQUAL, number, 0, len(decided))
            yield from decided
    yield _step(_RETURN, _REFUSE)


def _checks(pid: int, answers: int) -> dict[str, list[bytes]]:
    """What is looked at besides the number. Descriptors, protections and process ids are 32 bits wide in the kernel."""
    return {
        _READ: _only(0, 0),
        _WRITE: _only(0, 1, 2, answers),
        # No page is ever executable that is not so already, and none that is can be changed to other code and back.
        _MMAP: _without(2, _PROT_EXEC),
        _MPROTECT: _without(2, _PROT_EXEC),
        # To itself: libc's `abort`.
        _TGKILL: _only(0, pid),
        # Its own limits, to read (libc's `getrlimit`): no process but itself, and no new value, whose address has two
        # halves.
        _PRLIMIT: [
            _step(_LOAD, _argument(0)),
            _step(_EQUAL, 0, 0, 5),
            _step(_LOAD, _argument(2)),
            _step(_EQUAL, 0, 0, 3),
            _step(_LOAD, _argument(2) + 4),
            _step(_EQUAL, 0, 0, 1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _REFUSE),
        ],
    }


def _only(argument: int, *values: int) -> list[bytes]:
    wanted = [_step(_EQUAL, value, len(values) - n, 0) for n, value in enumerate(values)]
    return [_step(_LOAD, _argument(argument)), *wanted, _step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW)]


def _without(argument: int, bit: int) -> list[bytes]:
    return [
        _step(_LOAD, _argument(argument)),
        _step(_ANY_BIT, bit, 0, 1),
        _step(_RETURN, _REFUSE),
        _step(_RETURN, _ALLOW),
    ]


def _argument(number: int) -> int:
    """Return where an argument's low half is in what the filter is given."""
    return _ARGUMENTS + 8 * number


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
