"""Labelled faces as people have them: folders, spreadsheets, templates; and all that is wrong with them."""

import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from services.evaluate.labelled import CannotRead, Labelled, Templates, read
from shared.reading import HIDDEN, NO_PICTURE, SYSTEM

DEV = Path(__file__).resolve().parents[4] / "shared" / "faces"


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"a picture")
    return root


def faces(path: Path, labels: Path | None = None) -> Labelled:
    found = read(path, labels)
    assert isinstance(found, Labelled)
    return found


def shown(found: Labelled, root: Path) -> list[tuple[str, str]]:
    return [(picture.person, str(picture.path.relative_to(root))) for picture in found.pictures]


def problems(found: Labelled | Templates) -> dict[str, int]:
    return dict(Counter(problem.what for problem in found.problems))


# ---- folders


def test_a_person_is_the_first_folder_below_and_what_lies_deeper_is_of_that_person(tmp_path: Path) -> None:
    root = folder(tmp_path, "bo/1.jpg", "ann/2020/b.PNG", "ann/2021/3/a.webp", "ann/z.jp2")
    assert shown(faces(root), root) == [
        ("ann", "ann/2020/b.PNG"),
        ("ann", "ann/2021/3/a.webp"),
        ("ann", "ann/z.jp2"),
        ("bo", "bo/1.jpg"),
    ]


def test_what_is_no_picture_of_somebody_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = folder(
        tmp_path, "a/1.jpg", "b/1.jpg", "a/notes.txt", "a/.DS_Store", "b/.thumbs/1.jpg", ".git/x.jpg", "loose.jpg",
        "README", "c/list.csv",
    )  # fmt: skip
    found = faces(root)
    assert shown(found, root) == [("a", "a/1.jpg"), ("b", "b/1.jpg")]
    assert problems(found) == {
        NO_PICTURE: 3,
        HIDDEN: 3,
        "in no person's folder": 1,
        "person without a picture": 1,
    }
    assert ("in no person's folder", "loose.jpg") in [(p.what, p.where) for p in found.problems]


def test_a_link_to_nothing_and_what_is_no_file_are_named_as_that(tmp_path: Path) -> None:
    root = folder(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "folder.jpg").mkdir()
    (root / "a" / "folder.jpg" / "2.jpg").touch()
    found = faces(root)
    assert problems(found) == {"file not found": 1, "not a file": 1}
    assert ("a", "a/folder.jpg/2.jpg") in shown(found, root)


def test_a_name_that_no_terminal_can_show_is_left_out_and_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    root = folder(tmp_path, "a/1.jpg", "b/1.jpg")
    odd = os.fsencode(root) + b"/\xff\xfe"
    os.mkdir(odd)
    (root / os.fsdecode(odd) / "1.jpg").write_bytes(b"x")
    found = faces(root)
    assert len(found.pictures) == 2
    assert [p.where for p in found.problems] == [r"\xff\xfe"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root reads everything, so the system's refusal is played
    root = folder(tmp_path, "a/1.jpg", "a/locked/2.jpg", "b/1.jpg")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = faces(root)
    assert [(problem.what, problem.where) for problem in found.problems] == [("folder that cannot be read", "a/locked")]


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        ((), "person/picture.jpg"),
        (("a.jpg", "b.jpg"), "the 2 in"),
        (("a/notes.txt",), "person/picture.jpg"),
        (("a/1.jpg", "a/2.jpg"), "one person only"),
    ],
)
def test_a_folder_that_gives_nothing_to_compare_says_what_to_do(
    tmp_path: Path, names: tuple[str, ...], advice: str
) -> None:
    with pytest.raises(CannotRead, match=advice):
        read(folder(tmp_path, *names))


@pytest.mark.parametrize("name", ["nothing", "picture.jpg"])
def test_what_is_neither_folder_nor_csv_nor_templates_is_refused(tmp_path: Path, name: str) -> None:
    folder(tmp_path, "picture.jpg")
    with pytest.raises(CannotRead):
        read(tmp_path / name)


def test_a_link_to_a_persons_folder_counts_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere", "1.jpg")
    root = folder(tmp_path / "faces", "a/1.jpg")
    (root / "b").symlink_to(elsewhere)
    (root / "a" / "again").symlink_to(root)
    assert shown(faces(root), root) == [("a", "a/1.jpg"), ("b", "b/1.jpg")]


def test_a_picture_is_told_by_what_it_holds_and_other_kinds_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path, "a/1.jpg", "b/1.jpg", "a/@eaDir/1.jpg", "a/Thumbs.db", "__MACOSX/a/._1.jpg")
    jpeg, heic = b"\xff\xd8\xff\xe0 a jpeg", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"
    contents = {"a/2.jfif": jpeg, "a/scan": jpeg, "a/3.heic": heic, "b/2.jpg": heic, "b/3.tif": b"II*\x00"}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    found = faces(root)
    assert shown(found, root) == [("a", "a/1.jpg"), ("a", "a/2.jfif"), ("a", "a/scan"), ("b", "b/1.jpg")]
    assert problems(found) == {
        "HEIC, which is not read: export as JPEG": 2,
        "TIFF, which is not read: export as JPEG": 1,
        SYSTEM: 3,
    }


@pytest.mark.parametrize("name", ["who.csv", "faces.npz"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CannotRead, match=f"{name}: is no file but a pipe"):
        read(tmp_path / name)


# ---- CSV


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def test_a_csv_names_files_of_the_folder_given(tmp_path: Path) -> None:
    root = folder(tmp_path / "faces", "x/1.jpg", "2", "3.jpg")
    labels = table(tmp_path / "who.csv", "file,person", "x/1.jpg,ann", "2,bo", "3.jpg,ann")
    found = faces(root, labels)
    assert shown(found, root) == [("ann", "3.jpg"), ("ann", "x/1.jpg"), ("bo", "2")]
    assert found.source == "faces, who.csv"


def test_the_files_of_a_csv_alone_are_beside_it_or_in_the_folder_called_like_it(tmp_path: Path) -> None:
    root = folder(tmp_path, "1.jpg", "dev/2.jpg", "dev/1.jpg")
    found = faces(table(tmp_path / "dev.csv", "filename,subject", "1.jpg,ann", "2.jpg,bo"))
    assert shown(found, root) == [("ann", "1.jpg"), ("bo", "dev/2.jpg")]


def test_a_folder_with_labels_csv_is_read_by_it(tmp_path: Path) -> None:
    root = folder(tmp_path, "1.jpg", "2.jpg")
    table(root / "labels.csv", "person,file", "ann,1.jpg", "bo,2.jpg")
    assert shown(faces(root), root) == [("ann", "1.jpg"), ("bo", "2.jpg")]


def test_faces_with_their_own_labels_csv_are_named_after_their_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "visa", "1.jpg", "2.jpg")
    labels = table(root / "labels.csv", "person,file", "ann,1.jpg", "bo,2.jpg")
    assert [faces(root).source, faces(labels).source] == ["visa", "visa"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_may_come_from_any_spreadsheet(tmp_path: Path, separator: str, encoding: str) -> None:
    folder(tmp_path, "1.jpg", "2.jpg")
    lines = [separator.join(row) for row in (["File ", "PERSON"], ["1.jpg", '"Ann, senior"'], ["2.jpg", " Bo "], [""])]
    found = faces(table(tmp_path / "who.csv", *lines, encoding=encoding))
    assert [picture.person for picture in found.pictures] == ["Ann, senior", "Bo"]


def test_rows_that_are_no_use_are_named_by_their_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    rows = ["1.jpg,ann", "lost.jpg,ann", "2.jpg,", ",bo", "2.jpg,bo", "2.jpg,bo", "3.jpg,ann", "./3.jpg,bo", "2.jpg"]
    found = faces(table(tmp_path / "who.csv", "file,person", *rows))
    assert shown(found, tmp_path) == [("ann", "1.jpg"), ("bo", "2.jpg")]
    assert problems(found) == {
        "file not found": 1,
        "row without a person": 2,
        "row without a file": 1,
        "row twice": 1,
        "one file under two people": 2,
    }
    assert "lost.jpg (who.csv, line 3)" in [problem.where for problem in found.problems]


@pytest.mark.parametrize("escape", ["../secret.jpg", "{absolute}", "dev/../../secret.jpg"])
def test_a_csv_reaches_no_file_outside_of_its_folder(tmp_path: Path, escape: str) -> None:
    secret = folder(tmp_path, "secret.jpg") / "secret.jpg"
    root = folder(tmp_path / "faces", "1.jpg", "2.jpg", "dev/3.jpg")
    row = escape.format(absolute=secret) + ",eve"
    found = faces(table(root / "dev.csv", "file,person", "1.jpg,ann", "2.jpg,bo", row))
    assert problems(found) == {"file outside of the folder": 1}


def test_a_file_named_by_its_absolute_path_in_the_folder_is_found(tmp_path: Path) -> None:
    folder(tmp_path, "1.jpg", "2.jpg")
    found = faces(table(tmp_path / "who.csv", "file,person", f"{tmp_path}/1.jpg,ann", f"{tmp_path}/2.jpg,bo"))
    assert len(found.pictures) == 2


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "no column file"),
        (b"name,person\n1.jpg,ann\n", "no column file"),
        (b"file,name\n1.jpg,ann\n", "no column person"),
        (b"file,person\n", "names no files"),
        (b"file,person\nlost.jpg,ann\n", r"none of its 1 rows .*file not found: 1.* Looked in .*--labels"),
        (b"file,person\n/etc/hostname,ann\n,bo\n", "file outside of the folder: 1; row without a file: 1"),
        (b"file,person,Person\n1.jpg,ann,bo\n", "the column person twice"),
        (b"file,person,sex,sex\n1.jpg,ann,f,m\n", "the column sex twice"),
        (b"file,person\n1.jpg,ann\n", "one person only"),
        ("file,person\n1.jpg,Zoë\n".encode("latin-1"), "UTF-8"),
        (b'file,person\n"1.jpg"x,ann\n', "line 2"),
    ],
)
def test_a_csv_that_gives_nothing_says_what_to_do(tmp_path: Path, content: bytes, advice: str) -> None:
    folder(tmp_path, "1.jpg")
    (tmp_path / "who.csv").write_bytes(content)
    with pytest.raises(CannotRead, match=advice):
        read(tmp_path / "who.csv")


def test_a_csv_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match=r"who\.csv: there is no such file"):
        read(tmp_path, tmp_path / "who.csv")


# ---- groups


def grouped(root: Path, heading: str, *rows: str) -> Labelled:
    folder(root, *(row.split(",")[0] for row in rows))
    return faces(table(root / "who.csv", heading, *rows))


def test_a_column_that_parts_people_in_a_few_groups_is_one(tmp_path: Path) -> None:
    found = grouped(tmp_path, "file,person,Sex,region", "1,ann,f,north", "2,ann,f,north", "3,bo,m,", "4,cy,m,south")
    assert found.group_columns == ("sex", "region")
    assert found.pictures[0].groups == {"sex": "f", "region": "north"}
    assert found.pictures[2].groups == {"sex": "m"}


def test_age_is_a_group_though_it_changes_and_years_are_taken_by_the_decade(tmp_path: Path) -> None:
    found = grouped(tmp_path, "file,person,age,age_band", "1,ann,29,young", "2,ann,41,old", "3,bo,44,old")
    assert found.group_columns == ("age", "age_band")
    assert [picture.groups["age"] for picture in found.pictures] == ["20-29", "40-49", "40-49"]


def test_numbers_of_samples_names_of_files_and_what_is_the_same_for_all_are_no_groups(tmp_path: Path) -> None:
    rows = [f"{n},{n // 2},{n % 2},original-{n},LFW,{n // 2}" for n in range(60)]
    found = grouped(tmp_path, "file,person,sample,source_file,data,identity", *rows)
    assert (found.group_columns, found.problems) == ((), ())


def test_a_column_that_differs_within_a_person_is_no_group_and_says_so(tmp_path: Path) -> None:
    found = grouped(tmp_path, "file,person,sex", "1,ann,f", "2,ann,m", "3,bo,m")
    assert found.group_columns == ()
    assert [problem.where for problem in found.problems] == ["sex of ann"]


def test_a_column_of_more_groups_than_a_table_holds_is_named(tmp_path: Path) -> None:
    found = grouped(tmp_path, "file,person,region", *(f"{n},p{n},r{n // 2}" for n in range(42)))
    assert found.group_columns == ()
    assert [(problem.what, problem.where) for problem in found.problems] == [
        ("column that is no group: it has more than 20 values", "region has 21")
    ]


# ---- templates


def saved(path: Path, **arrays: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(value))
    return path


def test_templates_come_with_their_people_and_without_what_was_not_detected(tmp_path: Path) -> None:
    vectors = np.ones((5, 3), np.float64)
    vectors[3, 0], vectors[4] = np.nan, 0
    found = read(
        saved(tmp_path / "t.npz", templates=vectors, person=[7, 7, 8, 8, 9], detected=[True, False, True, True, True])
    )
    assert isinstance(found, Templates)
    assert (found.persons, found.vectors.shape, str(found.vectors.dtype)) == (("7", "8"), (2, 3), "float32")
    assert problems(found) == {"no face detected": 1, "template with a NaN or an infinity": 1, "template all zero": 1}


@pytest.mark.parametrize(
    ("arrays", "advice"),
    [
        ({"person": ["a", "b"]}, "no array `templates`"),
        ({"templates": np.ones((2, 3))}, "no array `person`"),
        ({"templates": np.ones(2), "person": ["a", "b"]}, "shape"),
        ({"templates": np.ones((2, 3), int), "person": ["a", "b"]}, "int64"),
        ({"templates": np.ones((2, 3)), "person": ["a"]}, "one entry for each"),
        ({"templates": np.ones((2, 3)), "person": "a"}, "one entry for each"),
        ({"templates": np.ones((2, 3)), "person": [0.5, 1.5]}, "float64"),
        ({"templates": np.ones((2, 3)), "person": ["a", "b"], "detected": [1, 0]}, "detected"),
        ({"templates": np.ones((2, 3)), "person": ["a", "a"]}, "one person only"),
        ({"templates": np.ones((2, 5000)), "person": ["a", "b"]}, "shape"),
    ],
)
def test_templates_that_are_none_are_refused_with_the_reason(
    tmp_path: Path, arrays: dict[str, object], advice: str
) -> None:
    with pytest.raises(CannotRead, match=advice):
        read(saved(tmp_path / "t.npz", **arrays))


def test_an_npz_of_python_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.npz", templates=np.ones((2, 3)), person=np.array([{}, {}], dtype=object))
    with pytest.raises(CannotRead, match="plain arrays"):
        read(path)


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    with (tmp_path / "t.npz").open("wb") as file:
        np.save(file, np.ones((2, 3)))
    with pytest.raises(CannotRead, match="savez"):
        read(tmp_path / "t.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_broken_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(CannotRead):
        read(tmp_path / "t.npz")


def test_templates_show_no_number_of_theirs(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "t.npz", templates=np.full((2, 3), 0.625), person=["a", "b"]))
    assert "0.625" not in repr(found)


# ---- the real thing


def test_the_development_faces_are_read_by_their_csv_either_way() -> None:
    if not (DEV / "dev.csv").exists():
        pytest.skip("the development faces (../shared/faces/dev.csv) are not here")
    found = faces(DEV / "dev.csv")
    assert (len(found.pictures), len({p.person for p in found.pictures})) == (985, 600)
    assert (found.group_columns, found.problems) == ((), ())
    assert faces(DEV / "dev", DEV / "dev.csv").pictures == found.pictures


def test_a_name_that_would_steer_a_terminal_is_shown_without_that(tmp_path: Path) -> None:
    root = folder(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "labels.csv").write_text("file,person\na/1.jpg,a\nb/1.jpg,b\ngone\x1b]0;owned\x07.jpg,c\n")
    found = faces(root)
    assert [p.where for p in found.problems] == [r"gone\x1b]0;owned\x07.jpg (labels.csv, line 4)"]


def test_a_folder_whose_name_is_not_utf_8_is_read_and_named_as_far_as_it_goes(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xffces"))
    odd.mkdir()
    folder(odd, "a/1.jpg", "b/1.jpg")
    found = faces(odd)
    assert found.source == r"f\xffces"
