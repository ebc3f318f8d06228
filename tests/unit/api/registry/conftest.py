"""Databases to keep a registry in: SQLite in a file, and a PostgreSQL of our own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

_NUMBERS = count()


def _programs() -> Path | None:
    """Debian keeps PostgreSQL's programs off the PATH."""
    found = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    program = found[-1] if found else shutil.which("initdb")
    return Path(program).resolve().parent if program else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run a server on a socket in a folder of its own; the value is that folder."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL's programs (initdb) are missing: apt-get install postgresql"
        if os.environ.get("EYNI_REQUIRE_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="eyni-pg-"))
    user, group, others = None, None, None
    if os.geteuid() == 0:  # initdb refuses root
        user, group, others = "nobody", "nogroup", list[str]()
        shutil.chown(folder, user, group)
    data = str(folder / "data")
    initdb = [str(programs / "initdb"), "-D", data, "-U", "eyni", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run(
        initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user, group=group, extra_groups=others
    )
    with (folder / "server.log").open("wb") as output:
        settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        server = subprocess.Popen(
            [str(programs / "postgres"), "-D", data, "-k", str(folder), *settings],
            stdout=output,
            stderr=output,
            cwd=folder,
            user=user,
            group=group,
            extra_groups=others,
        )
        try:
            _await(folder, server)
            yield str(folder)
        finally:
            server.send_signal(2)  # SIGINT: PostgreSQL's "fast shutdown"
            server.wait(30)
            shutil.rmtree(folder)


def _await(folder: Path, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        try:
            psycopg.connect(host=str(folder), user="eyni", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.05)
    raise AssertionError("PostgreSQL does not come up")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a new, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'registry.sqlite'}"
    return new_postgres(request.getfixturevalue("postgres"))


def new_postgres(folder: str, encoding: str = "UTF8") -> str:
    name = f"registry{next(_NUMBERS)}"
    with psycopg.connect(host=folder, user="eyni", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'".encode())
    return f"postgresql+psycopg://eyni@/{name}?host={folder}"
