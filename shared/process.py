"""What every process of Eyni gives up as it starts: it will hold keys, faces, templates and names."""

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Make new files their owner's only, write no core file, and let no other process of this user look inside.

    Not dumpable (Linux): no `ptrace`, no /proc/PID/mem or environ but for root. A debugger or py-spy needs root then.
    The umask and the limit go on to child processes; an exec makes a child dumpable again, so each hardens itself.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def warning_of_root() -> str:
    """Say what to do instead, in one line, where this process may do anything; empty where it may not."""
    if os.geteuid():
        return ""
    return (
        "This runs as root: whoever breaks into it has the whole machine. Give it a user of its own "
        "(`useradd --system --create-home eyni`), and start it as that one (`sudo -u eyni ...`)"
    )
