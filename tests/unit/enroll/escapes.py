"""Run as a program: tries to get out of a worker, by calls of the kernel, and says what each gave.

Arguments: a folder with a file `victim`, a process's id, a user to be first (or "-"), and what of a worker's start is
done beforehand: "all", "nothing", or "no seccomp". Prints JSON: how each attempt went (0 or "EPERM", ...), and `held`.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import struct
import sys
from collections.abc import Callable

from services.enroll import confinement, sandbox
from services.enroll.confinement import UID
from shared.process import harden

libc = ctypes.CDLL(None, use_errno=True)

NUMBERS = {  # x86-64, 64-bit ARM
    "io_uring_setup": (425, 425), "pidfd_open": (434, 434), "process_vm_readv": (310, 270), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "memfd_create": (319, 279), "openat2": (437, 437),
    "userfaultfd": (323, 282), "clone3": (435, 435), "execveat": (322, 281), "fsopen": (430, 430),
    "mq_open": (240, 180),
    "add_key": (248, 217), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "fchmodat2": (452, 452), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
COLUMN = ("x86_64", "aarch64").index(platform.machine())


RUINOUS = (
    "execve", "execveat", "setuid", "setgroups", "unshare", "chroot", "chdir", "prctl", "personality", "connect",
    "prlimit to have more", "kill everybody", "clone3", "read of another descriptor", "write of another descriptor",
    "fcntl", "mount",
)  # fmt: skip
"""What would end or spoil this program, or the machine, where nothing refuses it."""


def call(name: str, *arguments: object) -> Callable[[], int]:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if name in NUMBERS:
        return lambda: int(libc.syscall(ctypes.c_long(NUMBERS[name][COLUMN]), *words))
    return lambda: int(getattr(libc, name)(*words))


def mapped(protection: int) -> int:
    """Return the address of a new page, or -1."""
    libc.mmap.restype = ctypes.c_void_p
    found = libc.mmap(None, ctypes.c_size_t(4096), protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    return -1 if found in (None, ctypes.c_void_p(-1).value) else int(found)


def forked() -> int:
    child: int = libc.fork()
    if child == 0:
        os._exit(0)
    return child


def attempts(folder: str, other: int) -> dict[str, Callable[[], int]]:
    victim, new = os.fsencode(f"{folder}/victim"), os.fsencode(f"{folder}/new")
    limits = (ctypes.c_ulong * 2)(0, 0)
    unix = b"\x01\x00" + b"\0eyni-test".ljust(108, b"\0")
    page = mapped(mmap.PROT_READ)
    buffer = ctypes.create_string_buffer(8)
    piece = struct.pack("PN", ctypes.addressof(buffer), 8)
    return {
        "ptrace": call("ptrace", 16, other, 0, 0),
        "process_vm_readv": call("process_vm_readv", other, piece, 1, piece, 1, 0),
        "truncate": call("truncate", victim, 0),
        "chmod": call("chmod", victim, 0o644),
        "chown": call("chown", victim, os.getuid(), os.getgid()),
        "setxattr": call("setxattr", victim, b"user.eyni", b"1", 1, 0),
        "utimes": call("utimes", victim, None),
        "link": call("link", victim, new + b"-link"),
        "symlink": call("symlink", victim, new + b"-symlink"),
        "mkdir": call("mkdir", new + b"-folder", 0o700),
        "mknod": call("mknod", new + b"-pipe", 0o010600, 0),
        "rename": call("rename", victim, new),
        "unlink": call("unlink", new),
        "rmdir": call("rmdir", new + b"-folder"),
        "access": call("access", b"/etc/passwd", 0),
        "open": call("open", b"/etc/passwd", 0),
        "creat": call("creat", new + b"-file", 0o600),
        "openat2": call("openat2", -100, b"/etc/passwd", bytes(24), 24),
        "name_to_handle_at": call("name_to_handle_at", -100, b"/etc", bytes(256), bytes(8), 0),
        "fchmodat2": call("fchmodat2", -100, victim, 0o644, 0),
        "chdir": call("chdir", b"/"),
        "chroot": call("chroot", b"/"),
        "kill": call("kill", other, 0),
        "kill everybody": call("kill", -1, 0),
        "tgkill": call("tgkill", other, other, 0),
        "rt_tgsigqueueinfo": call("rt_tgsigqueueinfo", other, other, 0, bytes(128)),
        "prlimit of another": call("prlimit", other, 7, limits, None),
        "prlimit to have more": call("prlimit", 0, 7, (ctypes.c_ulong * 2)(64, 64), None),
        "setpriority": call("setpriority", 0, other, 19),
        "sched_setaffinity": call("sched_setaffinity", other, 8, b"\x01".ljust(8, b"\0")),
        "socket": call("socket", 2, 1, 0),
        "unix socket": call("socket", 1, 1, 0),
        "socketpair": call("socketpair", 1, 1, 0, bytes(8)),
        "connect": call("connect", 0, unix, 20),
        "shmget": call("shmget", 0, 4096, 0o1600),
        "msgget": call("msgget", 0, 0o1600),
        "semget": call("semget", 0, 1, 0o1600),
        "mq_open": call("mq_open", b"eyni", 0o100, 0o600, None),
        "memfd_create": call("memfd_create", b"eyni", 0),
        "userfaultfd": call("userfaultfd", 1),
        "eventfd": call("eventfd", 0, 0),
        "pipe": call("pipe", bytes(8)),
        "dup": call("dup", 1),
        "unshare": call("unshare", 0x10000000),
        "setns": call("setns", 0, 0),
        "fork": forked,
        "clone3": call("clone3", bytes(88), 88),
        "execve": call("execve", b"/bin/true", None, None),
        "execveat": call("execveat", -100, b"/bin/true", None, None, 0),
        "setuid": call("setuid", 0),
        "setgroups": call("setgroups", 0, None),
        "personality": call("personality", 0x0400000),
        "prctl": call("prctl", 4, 1, 0, 0, 0),
        "mount": call("mount", b"none", os.fsencode(folder), b"tmpfs", 0, None),
        "mount_setattr": call("mount_setattr", -100, b"/", 0, bytes(32), 32),
        "fsopen": call("fsopen", b"tmpfs", 0),
        "bpf": call("bpf", 0, bytes(64), 64),
        "io_uring_setup": call("io_uring_setup", 1, bytes(120)),
        "keyctl": call("keyctl", 0, -3, 1),
        "add_key": call("add_key", b"user", b"eyni", b"1", 1, -3),
        "perf_event_open": call("perf_event_open", bytes(112), 0, -1, -1, 0),
        "pidfd_open": call("pidfd_open", other, 0),
        "pidfd_getfd": call("pidfd_getfd", 0, 0, 0),
        "process_madvise": call("process_madvise", 0, None, 0, 0, 0),
        "ioctl": call("ioctl", 0, 0x5412, b"x"),
        "fcntl": call("fcntl", 0, 8, other),
        "sendto": call("sendto", 0, b"x", 1, 0, None, 0),
        "read of another descriptor": call("read", 1, bytes(1), 1),
        "write of another descriptor": call("write", 0, b"x", 1),
        "mmap executable": lambda: mapped(mmap.PROT_READ | mmap.PROT_EXEC),
        "mprotect executable": lambda: int(libc.mprotect(ctypes.c_void_p(page), 4096, mmap.PROT_EXEC)),
        "getrandom": lambda: min(0, int(libc.getrandom(bytes(8), 8, 0))),
        "getrlimit": call("prlimit", 0, 7, None, limits),
        "mmap": lambda: mapped(mmap.PROT_READ | mmap.PROT_WRITE),
    }


def main() -> None:
    folder, other, user, start = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if user != "-":
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    answers = os.dup(1)
    chosen = attempts(folder, other)
    held = ""
    if start != "nothing":
        harden()
        confinement.begin()
        if start == "no seccomp":
            confinement.give_up_calls = lambda answers: []
        held = sandbox.lock_down(2**30, answers)
    found: dict[str, object] = {}
    for name, attempt in chosen.items():
        if start != "all" and name in RUINOUS:
            continue
        ctypes.set_errno(0)
        found[name] = errno.errorcode.get(ctypes.get_errno(), "?") if attempt() < 0 else 0
    os.write(answers, json.dumps({"held": held, "found": found, "uid": os.getuid(), "own": UID}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
