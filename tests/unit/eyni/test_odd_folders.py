"""A data folder may have any name: log, registry, snapshots and keys are in it, and in no other place (F14)."""

import os
from pathlib import Path

import pytest

from services.api.registry import Registry
from services.api.tables import RegistryMisfit
from services.api.tokens import development_jwks, mint
from services.match.bootstrap import snapshots_in
from services.match.gallery import Gallery
from shared.calibration import Comparator
from shared.log.address import open_log
from shared.settings import Settings
from shared.topics import TOPICS
from tests import models

NAMES = [
    "q?a=b",
    "100%41",
    "a#b",
    "with blanks",
    "şəxs",
    "a;b&c+d",
    "[x]*",
    "a:b@c",
    "'\"",
    "back\\slash",
    "two\nlines",
    "%",
    "file:x",
    "~",
    os.fsdecode(b"M\xfcller"),
]


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_kept_in_the_folder_that_was_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data=Path(name), log="", registry="")
    comparator = Comparator(models.default().calibration)
    log = open_log(settings.log_address)
    try:
        log.ensure(list(TOPICS.values()))
    finally:
        log.close()
    Registry(settings.registry_url, comparator).close()
    snapshots_in(settings.data).write(Gallery(comparator).view(), "a log")
    development_jwks(settings.data)
    assert mint(settings.data, ["abis.verify"], client="c", issuer="i", audience="a")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    made = {path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*")}
    assert {"log/log.sqlite", "registry.sqlite", "match/snapshots", "keys/token.jwk"} <= made
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / name, *(tmp_path / name).rglob("*"))} == {0}


@pytest.mark.parametrize("name", ["q?a=b", "q?", "a#b"])
def test_an_address_that_its_own_folder_cuts_short_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"EYNI_LOG \(--log\): .*write . as %3F"):
        open_log(f"file://{tmp_path}/{name}")
    if "?" in name:
        with pytest.raises(RegistryMisfit, match=r"write . as %3F"):
            Registry(f"sqlite:///{tmp_path}/{name}/registry.sqlite", Comparator(models.default().calibration))
    assert list(tmp_path.iterdir()) == []
