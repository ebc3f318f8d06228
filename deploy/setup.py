"""Set Eyni up from nothing but Python, and go on if asked: `python3 deploy/setup.py [demo | tests]`.

Everything goes into `.venv` in this repository, out of wheels pinned by hash: no compiler, no server, no root. The
second time, nothing is left to do and it takes no time. This file runs before anything is installed, and on the
wrong Python too, to say so: standard library only, and no syntax newer than Python 3.7's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 14)
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
"""Where every pinned package has a wheel: glibc 2.28 (2018) or later, macOS 14 or later."""

PIP = [
    *("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"),
    # Neither a name nor a version is left to pip: the files are complete, and what is built is built with pinned tools.
    *("--require-hashes", "--no-deps", "--no-build-isolation"),
    # Published as a source only; it is data, nothing is compiled.
    *("--only-binary", ":all:", "--no-binary", "face-recognition-models"),
]
BUILD, RUN, DEV = "requirements-build.txt", "requirements.txt", "requirements-dev.txt"


class Unsuitable(Exception):
    """Another Python or machine is needed; the message says which."""


def check(version: Sequence[int], system: str, machine: str) -> None:
    """Raise Unsuitable where Eyni cannot run."""
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
        found = [name for name in names if shutil.which(name)]
        hint = f"start this with {found[0]} instead" if found else "install one of them"
        raise Unsuitable(f"Eyni needs Python 3.11 to 3.14, and this is {version[0]}.{version[1]}: {hint}.")
    if (system, machine) not in PLATFORMS:
        raise Unsuitable(f"Eyni runs on Linux (x86-64 or arm64) and macOS (arm64); this is {system} on {machine}.")


def digest(root: Path, names: Sequence[str]) -> str:
    """Return what changes when an installation of these files must be made anew: they, its Python, its place."""
    seen = hashlib.sha256(f"{sys.version} {root}".encode())
    for name in ("pyproject.toml", *(f"deploy/{name}" for name in names)):
        seen.update((root / name).read_bytes())
    return seen.hexdigest()


def set_up(root: Path, dev: bool) -> None:
    """Make `.venv` what the requirement files say; at once where it is."""
    venv = root / ".venv"
    python = venv / "bin" / "python"
    base, extra = venv / "eyni-base", venv / "eyni-dev"
    if _stamp(base) != digest(root, [BUILD, RUN]):
        # Anew, not on top: no package stays that the files do not name.
        if _step("an empty .venv", [sys.executable, "-m", "venv", "--clear", str(venv)]):
            raise SystemExit("Python's venv does not work here. On Debian and Ubuntu: sudo apt install python3-venv")
        _install(python, root, "the build tools", BUILD)
        _install(python, root, "the libraries (760 MB on disk)", RUN)
        eyni = [*PIP, "--editable", str(root)]
        eyni.remove("--require-hashes")  # the one thing that is not from outside
        if _step("eyni itself", [str(python), *eyni]):
            raise SystemExit(1)
        base.write_text(digest(root, [BUILD, RUN]), encoding="ascii")
    if dev and _stamp(extra) != digest(root, [BUILD, RUN, DEV]):
        _install(python, root, "the tools that check the code", DEV)
        extra.write_text(digest(root, [BUILD, RUN, DEV]), encoding="ascii")


def _stamp(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


def _install(python: Path, root: Path, what: str, name: str) -> None:
    if _step(what, [str(python), *PIP, "--requirement", str(root / "deploy" / name)]):
        raise SystemExit(f"{what}: not installed; pip says above why. Nothing is half done: start this again.")


def _step(what: str, command: Sequence[str]) -> int:
    print(f"  {what} ... ", end="", flush=True)
    start = time.monotonic()
    code = subprocess.call(command, cwd=ROOT)
    print(f"{time.monotonic() - start:.0f} s" if code == 0 else "failed", flush=True)
    return code


def main() -> int:
    """Set up, then do what was asked; return the exit code of that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("then", nargs="?", choices=["demo", "tests"], help="what to do once everything is installed")
    then: str | None = parser.parse_args().then
    try:
        check(sys.version_info[:2], platform.system(), platform.machine())
    except Unsuitable as error:
        print(error, file=sys.stderr)
        return 3
    start = time.monotonic()
    print("Setting Eyni up in .venv")
    set_up(ROOT, dev=then == "tests")
    print(f"Ready after {time.monotonic() - start:.0f} s.", flush=True)

    scripts = ROOT / ".venv" / "bin"
    if then is None:
        print("Next: .venv/bin/eyni demo, or .venv/bin/eyni --help")
        return 0
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = {"demo": ["eyni", "demo"], "tests": ["poe", "check"]}[then]
    start = time.monotonic()
    code = subprocess.call([str(scripts / command[0]), *command[1:]], cwd=ROOT, env=environment)
    print(f"`{' '.join(command)}` took {time.monotonic() - start:.0f} s and {'passed' if code == 0 else 'failed'}.")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
