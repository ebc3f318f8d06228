"""`eyni log adopt`: nobody is cleared by a log that lost people, but by an operator who says so."""

from contextlib import closing
from pathlib import Path

import pytest
import typer

from services.api.registry import Registry
from services.api.tables import RegistryMisfit
from services.eyni.adopt import adopt
from services.eyni.common import explained
from services.eyni.registry import rebuild
from services.match import bootstrap
from services.match.gallery import Gallery
from services.match.matching import Matcher
from services.match.policy import Policy
from services.match.snapshot import LostLog, Snapshots
from shared.calibration import Comparator
from shared.events import PersonRemoved
from shared.log.file import FileLog
from shared.settings import Settings
from shared.topics import TOPICS, Name, entry
from tests.facts import request


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation that knew something, in snapshots and registry, and whose log is gone."""
    settings = Settings(data=tmp_path, match_metrics_port=0)
    compares = bootstrap.comparator(settings)
    fact = PersonRemoved(request(1), "ada")
    with closing(FileLog(tmp_path / "log")) as log:
        log.ensure(list(TOPICS.values()))
        log.append([entry(fact)])
        rebuild(settings)
        matcher = Matcher(Gallery(compares), Policy())
        matcher.fold([(0, fact)])
        bootstrap.snapshots_in(tmp_path).write(matcher.gallery.view(), log.identity(Name.GALLERY))
    for left in (tmp_path / "log").iterdir():
        if left.is_file():
            left.unlink()
    return settings


def snapshots(settings: Settings) -> Snapshots:
    return bootstrap.snapshots_in(settings.data)


def test_a_registry_is_not_rebuilt_from_a_log_that_was_lost(settings: Settings) -> None:
    with pytest.raises(RegistryMisfit, match="eyni log adopt"):
        rebuild(settings)


def test_after_a_no_everything_is_as_it_was(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshots(settings).generations()
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        with pytest.raises(typer.Exit):
            adopt(settings, yes=False, confirm=no)
    assert asked
    assert snapshots(settings).generations() == before
    with pytest.raises(RegistryMisfit):
        rebuild(settings)
    said = " ".join(capsys.readouterr().out.split())
    assert "holds 0 records" in said
    assert said.count("at position 1 of log") == 2  # the snapshot's, and the registry's


def test_without_a_terminal_nothing_is_adopted_unasked(settings: Settings) -> None:
    with pytest.raises(typer.BadParameter, match="--yes"):
        adopt(settings, yes=False)
    assert snapshots(settings).generations()


def test_after_a_yes_log_registry_and_matcher_agree(settings: Settings) -> None:
    adopt(settings, yes=True)
    rebuild(settings)
    with closing(FileLog(settings.data / "log")) as log:
        compares: Comparator = bootstrap.comparator(settings)
        assert bootstrap.recover(log, snapshots(settings), compares).position == 0
        registry = Registry(settings.registry_url, compares)
        assert registry.followed() is None
        registry.close()


def test_where_nothing_contradicts_the_log_nothing_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(data=tmp_path)
    adopt(settings, yes=True)
    assert "nothing to adopt" in capsys.readouterr().out


def test_a_digest_of_a_lost_log_says_what_was_lost_and_is_no_fault_of_ours(settings: Settings) -> None:
    with pytest.raises(LostLog) as caught:
        bootstrap.digest(settings, cold=False)
    told = explained(caught.value)
    assert told is not None
    assert "eyni log adopt" in told[1]


def test_a_lost_log_is_not_believed_though_no_snapshot_can_be_read(settings: Settings) -> None:
    (manifest,) = snapshots(settings).folder.glob("*/manifest.json")
    manifest.write_bytes(b"damage")
    Path(settings.data / "registry.sqlite").unlink()
    compares = bootstrap.comparator(settings)
    with closing(FileLog(settings.data / "log")) as log:
        log.ensure(list(TOPICS.values()))
        with pytest.raises(LostLog, match=r"position 1 of a log .*damaged.*eyni log adopt"):
            bootstrap.recover(log, snapshots(settings), compares)
    adopt(settings, yes=True)
    with closing(FileLog(settings.data / "log")) as log:
        assert bootstrap.recover(log, snapshots(settings), compares).position == 0
