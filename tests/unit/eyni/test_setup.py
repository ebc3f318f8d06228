"""The pure parts of deploy/setup.py."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("eyni_setup", ROOT / "deploy" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
@pytest.mark.parametrize("platform", [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")])
def test_what_the_readme_promises_is_taken(
    setup: ModuleType, version: tuple[int, int], platform: tuple[str, str]
) -> None:
    setup.check(version, *platform)


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_another_python_is_refused_by_its_version(setup: ModuleType, version: tuple[int, int]) -> None:
    with pytest.raises(setup.Unsuitable, match=rf"3\.11 to 3\.14, and this is {version[0]}\.{version[1]}"):
        setup.check(version, "Linux", "x86_64")


@pytest.mark.parametrize("platform", [("Windows", "AMD64"), ("Darwin", "x86_64")])
def test_another_machine_is_refused(setup: ModuleType, platform: tuple[str, str]) -> None:
    with pytest.raises(setup.Unsuitable, match=platform[0]):
        setup.check((3, 12), *platform)


def test_a_changed_requirement_is_a_reason_to_install_anew(setup: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in ("pyproject.toml", f"deploy/{setup.RUN}"):
        (tmp_path / name).write_text("a")
    before = setup.digest(tmp_path, [setup.RUN])
    assert setup.digest(tmp_path, [setup.RUN]) == before
    (tmp_path / "deploy" / setup.RUN).write_text("b")
    assert setup.digest(tmp_path, [setup.RUN]) != before


def test_every_requirement_is_pinned_with_its_hashes(setup: ModuleType) -> None:
    for name in (setup.BUILD, setup.RUN, setup.DEV):
        lines = (ROOT / "deploy" / name).read_text().splitlines()
        packages = [i for i, line in enumerate(lines) if line and line[0] not in " #"]
        assert len(packages) > 5
        assert [lines[i] for i in packages if "==" not in lines[i] or "--hash=sha256:" not in lines[i + 1]] == []


def test_every_dependency_named_in_pyproject_is_pinned() -> None:
    import re
    import tomllib

    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.split(r"[\[<>=;]", line)[0] for line in named}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "deploy" / "requirements.txt").read_text(), re.MULTILINE))
    assert wanted - pinned == set()


def test_the_file_itself_needs_nothing_but_the_standard_library(setup: ModuleType) -> None:
    import ast

    tree = ast.parse((ROOT / "deploy" / "setup.py").read_text(), feature_version=(3, 7))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names - sys.stdlib_module_names == set()
