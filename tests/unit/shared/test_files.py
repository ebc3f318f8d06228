"""What Eyni keeps can be read by its owner only: whatever the umask, and what an earlier version has left."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import files


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("umask")
def test_folders_and_files_are_their_owners_with_all_folders_above_that_were_missing(tmp_path: Path) -> None:
    place = files.folder(tmp_path / "a" / "b" / "c")
    files.write(place / "d" / "written", b"1")
    files.opened(place / "wb", "wb").close()
    files.opened(place / "xb", "xb").close()
    files.opened(place / "ab", "ab").close()
    files.opened(place / "a+b", "a+b").close()
    os.close(files.descriptor(place / "descriptor", os.O_RDWR))
    files.database(place / "e" / "database")
    assert {mode(path) for path in [tmp_path / "a", *tmp_path.rglob("*")] if path.is_dir()} == {0o700}
    assert {mode(path) for path in tmp_path.rglob("*") if path.is_file()} == {0o600}


def test_a_folder_and_a_file_that_are_there_are_taken(tmp_path: Path) -> None:
    assert files.folder(files.folder(tmp_path / "a")) == tmp_path / "a"
    files.write(tmp_path / "b", b"1")
    files.write(tmp_path / "b", b"2")
    with files.opened(tmp_path / "b", "ab") as file:
        file.write(b"3")
    assert (tmp_path / "b").read_bytes() == b"23"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["b"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"1")
    with pytest.raises(FileExistsError):
        files.folder(tmp_path / "a")
    with pytest.raises(OSError, match="Not a directory"):
        files.folder(tmp_path / "a" / "b")


def test_a_file_that_others_can_read_is_its_owners_once_it_is_written_to(tmp_path: Path) -> None:
    appended, replaced, database = paths = [tmp_path / name for name in ("appended", "replaced", "database")]
    for path in paths:
        path.touch()
        path.chmod(0o664)
    files.opened(appended, "ab").close()
    files.write(replaced, b"1")
    files.database(database)
    assert [mode(path) for path in paths] == [0o600] * 3


def test_what_is_no_regular_file_keeps_its_mode(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").chmod(0o666)
    os.close(files.descriptor(tmp_path / "pipe", os.O_RDWR))
    assert mode(tmp_path / "pipe") == 0o666


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A data folder as earlier versions made it."""
    data = tmp_path / "data"
    for name in ("registry.sqlite", "registry.sqlite-wal", "stations/1.jsonl", "match/snapshots/1/manifest.json"):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o644)
    for path in (data, *data.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return data


def test_an_earlier_versions_folder_is_narrowed_and_that_is_said_once(wide: Path) -> None:
    (said,) = files.narrow(wide)
    assert f"{wide}: 9 files and folders could be read by other users" in said
    assert {mode(path) for path in (wide, *wide.rglob("*")) if path.is_dir()} == {0o700}
    assert {mode(path) for path in wide.rglob("*") if path.is_file()} == {0o600}
    assert files.narrow(wide) == []


def test_a_folder_that_is_not_eynis_alone_keeps_its_mode_and_its_other_files_theirs(wide: Path) -> None:
    (wide / "homework.txt").touch()
    (wide / "homework.txt").chmod(0o644)
    more, done = files.narrow(wide)
    assert "holds more than Eyni's ('homework.txt')" in more
    assert "could be read by other users" in done
    assert (mode(wide), mode(wide / "homework.txt")) == (0o755, 0o644)
    assert mode(wide / "stations") == 0o700
    assert mode(wide / "registry.sqlite") == 0o600


def test_no_link_is_followed_when_a_folder_is_narrowed(wide: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o755)
    elsewhere.chmod(0o755)
    (elsewhere / "mine").touch()
    (elsewhere / "mine").chmod(0o644)
    (wide / "models").symlink_to(elsewhere)
    (wide / "keys").mkdir()
    (wide / "keys" / "link").symlink_to(elsewhere / "mine")
    files.narrow(wide)
    assert (mode(elsewhere), mode(elsewhere / "mine")) == (0o755, 0o644)


def test_a_folder_that_is_not_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert files.narrow(tmp_path / "nowhere") == []


def test_a_write_that_fails_names_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write(tmp_path / "report", b"x")
    assert error.value.filename == str(tmp_path / "report")
    assert list(tmp_path.iterdir()) == []
