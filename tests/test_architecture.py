"""The shape of the code: who may import whom, what may not be called at all, and what may not be in the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for top in ("services", "shared") for path in (ROOT / top).rglob("*.py"))

ONE_IMPORTER = {
    # One adapter in three parts: the log, who reads from it, and how either gets its clients.
    "kafka": {"shared/log/kafka.py", "shared/log/kafka_readers.py", "shared/log/kafka_clients.py"},
    "sqlite3": {"shared/log/file.py", "shared/log/database.py"},
    "prometheus_client": {"shared/metrics.py", "services/api/health.py"},
    "structlog": {"shared/logs.py", "services/api/routing.py"},
    "pydantic_settings": {"shared/settings.py"},
    "face_recognition": {"services/enroll/faces.py"},
    "face_recognition_models": {"services/enroll/faces.py"},
    "dlib": {"services/enroll/faces.py"},
    "onnxruntime": {"services/enroll/networks.py"},
    "cv2": {
        "services/enroll/landmarks.py",
        "services/enroll/alignment.py",
        "services/enroll/portraits.py",
        "services/eyni/demo.py",
    },
    "PIL": {"services/enroll/decoding.py"},
    "matplotlib": {"services/evaluate/html/plots.py"},
    "faiss": {"services/match/index.py"},
    "joserfc": {"services/api/tokens.py"},
    # Nobody else can forget that what others wrote is no markup.
    "rich": {"services/eyni/console.py"},
    # What the server sends out, what the command asks it, what the command fetches.
    "httpx": {
        "services/api/egress.py",
        "services/eyni/client.py",
        "services/eyni/fetching.py",
        "services/eyni/reaching.py",
    },
}
"""Each outside library with the files that may import it: one, or one on each side of the wire."""

ONE_SERVICE = {
    "fastapi": "services/api/",
    "sqlalchemy": "services/api/",
    "uvicorn": "services/api/",
    "typer": "services/eyni/",
}

FORBIDDEN_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "breakpoint"}
FORBIDDEN_METHODS = {("yaml", "load"), ("yaml", "unsafe_load"), ("faiss", "read_index"), ("os", "system")}

SECRET = re.compile(r"template|vector|image|sample|picture|password|secret|private|jwk", re.IGNORECASE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def tracked() -> Iterator[Path]:
    """Every file of the project: git's, or in an export all but what `.gitignore` names."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True
    )
    if done.returncode == 0:
        yield from (path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())
    else:
        ours = ("services", "shared", "deploy", "tests")
        yield from (p for top in ours for p in (ROOT / top).rglob("*") if p.is_file() and "libs-" not in str(p))


@pytest.mark.parametrize("name", ["services", "shared"])
def test_what_is_imported_is_this_repository(name: str) -> None:
    # Two checkouts, or somebody else's `shared`, in one environment: the tests would test the wrong code.
    code = f"import {name}; print({name}.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/")
    if done.returncode:
        pytest.skip(f"{name} is not installed in this environment (deploy/setup.py does), so nothing can clash")
    assert Path(done.stdout.strip()).resolve() == ROOT / name / "__init__.py"


def test_layers_and_independence_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", ONE_IMPORTER)
def test_an_outside_library_is_imported_in_its_place_only(library: str) -> None:
    importers = {name_of(path) for path in SOURCES if library in imported(path)}
    assert importers - ONE_IMPORTER[library] == set()


@pytest.mark.parametrize("library", ONE_SERVICE)
def test_a_framework_stays_in_its_service(library: str) -> None:
    importers = [name_of(path) for path in SOURCES if library in imported(path)]
    assert importers != []
    assert [name for name in importers if not name.startswith(ONE_SERVICE[library])] == []


def unsafe(path: Path) -> Iterator[str]:
    for module in imported(path) & FORBIDDEN_IMPORTS:
        yield f"{name_of(path)}: imports {module}"
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        what = ""
        match node.func:
            case ast.Name(id=called) if called in FORBIDDEN_CALLS:
                what = called
            case ast.Attribute(value=ast.Name(id=module), attr=method) if (module, method) in FORBIDDEN_METHODS:
                what = f"{module}.{method}"
            case _:
                pass
        for word in node.keywords:
            if word.arg in ("allow_pickle", "shell") and not (
                isinstance(word.value, ast.Constant) and word.value.value is False
            ):
                what = word.arg
        if what:
            yield f"{name_of(path)}:{node.lineno}: {what}"


def test_nothing_loads_code_out_of_data() -> None:
    """S34 of the attack matrix."""
    assert [line for path in SOURCES for line in unsafe(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "eval('1')",
        "yaml.load(f)",
        "np.load(f, allow_pickle=True)",
        "faiss.read_index(f)",
        "run(c, shell=True)",
    ],
)
def test_the_check_for_unsafe_loaders_can_fail(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(code)
    assert len(list(unsafe(tmp_path / "bad.py"))) == 1


MAKERS = {
    "copy2", "copyfile", "copytree", "create_engine", "makedirs", "mkdir", "mkdtemp", "mkfifo", "mkstemp",
    "move", "savez", "tofile", "touch", "write_bytes", "write_text", "NamedTemporaryFile", "TemporaryDirectory",
    "TemporaryFile",
}  # fmt: skip
"""What makes a file or a folder, by name of the function or method."""

MAKE_THEMSELVES = {
    ("shared/log/database.py", "connect"): "SQLite, on a file that shared.files has made",
    ("services/api/tables.py", "create_engine"): "PostgreSQL, and SQLite on a file that shared.files has made",
    ("services/eyni/placing.py", "TemporaryFile"): "0600 and without a name",
    ("services/eyni/placing.py", "mkdtemp"): "0700, says its documentation",
    ("services/eyni/demo.py", "TemporaryDirectory"): "0700, says its documentation",
    ("shared/log/bell.py", "mkfifo"): "with files.FILE; it carries nothing",
}


def made(path: Path) -> Iterator[str]:
    """Each call that could make a file or a folder: what, and in which line."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [*node.args, *(word.value for word in node.keywords)]
        texts = {word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)}
        module = node.func.value if isinstance(node.func, ast.Attribute) else None
        ours = isinstance(module, ast.Name) and module.id == "files"
        if ours:
            continue
        opens = name == "open" and any(re.fullmatch("[rwaxbt+]{1,4}", t) and set(t) & set("wax+") for t in texts)
        creates = name == "open" and "O_CREAT" in ast.unparse(node)
        connects = name == "connect" and isinstance(module, ast.Name) and module.id == "sqlite3"
        if opens or creates or connects or name in MAKERS:
            yield f"{name}:{node.lineno}"


def test_files_and_folders_are_made_for_their_owner_only_by_one_file() -> None:
    found = {
        f"{name_of(path)}:{call}"
        for path in SOURCES
        if name_of(path) != "shared/files.py"
        for call in made(path)
        if (name_of(path), call.partition(":")[0]) not in MAKE_THEMSELVES
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "open(p, 'w')",
        "p.open('ab')",
        "p.open(mode='r+')",
        "os.open(p, os.O_CREAT | os.O_WRONLY)",
        "p.write_text('')",
        "p.parent.mkdir(parents=True)",
        "sqlite3.connect(p)",
        "shutil.copyfile(a, b)",
        "tempfile.mkdtemp()",
    ],
)
def test_the_check_for_files_of_another_mode_can_fail(code: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    assert len(list(made(tmp_path / "bad.py"))) == 1


OTHER_CLIENTS = {"requests", "urllib3", "aiohttp", "urllib.request", "http.client", "ftplib", "smtplib", "httpcore"}
"""They obey HTTP_PROXY and its like, or are one more way out to look after."""
HTTPX_CALLS = {"Client", "AsyncClient", "get", "post", "put", "patch", "delete", "head", "options", "request", "stream"}


def obeys_the_environment(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (f"{name_of(path)}: {alias.name}" for alias in names if alias.name in OTHER_CLIENTS)
            case ast.ImportFrom(module=str(module), names=names):
                full = {module, *(f"{module}.{alias.name}" for alias in names)}
                yield from (f"{name_of(path)}: {name}" for name in full & OTHER_CLIENTS)
                if module == "httpx":
                    yield from (f"{name_of(path)}: {a.name}" for a in names if a.name in HTTPX_CALLS)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="httpx"), attr=called), keywords=words) if (
                called in HTTPX_CALLS | {"create_ssl_context"}
            ):
                trusts = [w.value for w in words if w.arg == "trust_env"]
                if not (trusts and isinstance(trusts[0], ast.Constant) and trusts[0].value is False):
                    yield f"{name_of(path)}:{node.lineno}: httpx.{called} without trust_env=False"
            case _:
                pass


def test_no_other_programs_environment_decides_where_faces_and_tokens_go() -> None:
    """HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and .netrc were set for others."""
    assert [line for path in SOURCES for line in obeys_the_environment(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import requests",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "from httpx import Client",
        "httpx.get(url)",
        "httpx.Client()",
        "httpx.AsyncClient(trust_env=True)",
        "httpx.stream('GET', url, trust_env=trusted)",
        "httpx.create_ssl_context()",
    ],
)
def test_the_check_for_clients_that_obey_the_environment_can_fail(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(code)
    assert len(list(obeys_the_environment(tmp_path / "bad.py"))) >= 1


def test_no_log_line_has_a_field_for_biometrics_or_secrets() -> None:
    levels = {"debug", "info", "warning", "error", "exception", "critical"}
    found = [
        f"{name_of(path)}:{node.lineno}: {word.arg}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in levels
        for word in node.keywords
        if word.arg and SECRET.search(word.arg)
    ]
    assert found == []


WRITERS = {"services/eyni/console.py"}
"""Who may write to a terminal: there everything goes through `printable`."""


def writes(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                what = "print"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="typer"), attr="echo" | "secho" | "confirm" | "prompt")):
                what = "typer's own output"
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"), attr="write"):
                what = "sys.stdout.write"
            case _:
                continue
        yield f"{name_of(path)}:{node.lineno}: {what}"


def test_only_the_console_writes_to_the_terminal() -> None:
    assert [line for path in SOURCES if name_of(path) not in WRITERS for line in writes(path)] == []


@pytest.mark.parametrize("code", ["print(1)", "typer.echo(name)", "sys.stderr.write(name)"])
def test_the_check_for_other_writers_can_fail(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(code)
    assert len(list(writes(tmp_path / "bad.py"))) == 1


BARE_THREADS = {
    "shared/background.py": "where they are made",
    "shared/stderr.py": "what `shared.background` says goes through it",
    "services/enroll/pool.py": "a timer that kills a process",
    "services/eyni/station.py": "hands every exception to who waits for its results",
}
"""Files that may make a thread by themselves: what a bare one raises ends it, and nobody hears of it."""


def test_threads_are_made_in_one_place() -> None:
    found = {
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        if name_of(path) not in BARE_THREADS
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in ("threading.Thread", "threading.Timer"))
        or (isinstance(node, ast.ImportFrom) and node.module == "threading")
        or (isinstance(node, ast.Import) and any(alias.name == "_thread" for alias in node.names))
    }
    assert found == set()


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_packages_are_docstrings_only_unless_they_hold_a_port() -> None:
    # shared/log/__init__.py is the port itself, named by the folder.
    found = [p for p in SOURCES if p.name == "__init__.py" and name_of(p) != "shared/log/__init__.py"]
    assert [name_of(path) for path in found if len(tree(path).body) != 1 or ast.get_docstring(tree(path)) is None] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in SOURCES if ast.get_docstring(tree(path)) is None] == []


def test_no_package_registry_is_named() -> None:
    # Where packages come from is each client's own setting; hashes say what they must be.
    host = re.compile(rb"(index-url|registry) *=? *\"?https?:|https?://[^ \"]*(/simple|/packages/[0-9a-f]{2}/)")
    assert [name_of(path) for path in tracked() if host.search(path.read_bytes())] == []


def test_no_picture_template_or_model_is_among_the_files() -> None:
    # A face in a repository is everywhere for ever. Tests make their pictures, or read what they were given.
    kinds = (
        *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"),
        *(b"PK\x03\x04", b"\x93NUMPY", b"SQLite format 3\0"),
    )
    assert [name_of(path) for path in tracked() if path.read_bytes()[:16].startswith(kinds)] == []
