"""Reads labelled faces: folders of people, a CSV, or templates in an .npz; names what of it is no use, and goes on."""

import csv
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from shared.biometrics import MAX_DIMENSION, Vector
from shared.reading import SUFFIXES, Unreadable, kind_of, opened, why_not
from shared.reading import read as read_file
from shared.text import printable

CSV_LIMIT: Final = 2**28
"""Bytes of a CSV: a million rows of 250. Protects the memory from a file that is something else."""
LABELS: Final = "labels.csv"
FILE_COLUMNS: Final = ("file", "path", "picture", "filename")
PERSON_COLUMNS: Final = ("person", "subject", "person_id", "identity")
AGE_COLUMNS: Final = ("age", "age_band", "ageband", "age_group")
"""Groups too, though they change from one picture of a person to the next."""
GROUPS: Final = range(2, 21)
"""How many values make a column a group: one says nothing, and more than 20 are no groups but names or dates."""


class CannotRead(ValueError):
    """There is nothing here to measure with; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    person: str
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    """Column → value, of the group columns; a picture without a value lacks the column."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is left out, while the rest goes on."""

    what: str
    """In the same words for the same trouble, so that it can be counted."""
    where: str
    """File, row or column."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures of two people or more, by person and then by path."""

    pictures: tuple[Picture, ...]
    group_columns: tuple[str, ...]
    problems: tuple[Problem, ...]
    source: str
    """Names the data in a report."""


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Templates (n, d) float32, finite, with the person (n) of each; two people or more."""

    vectors: Vector = field(repr=False)
    persons: tuple[str, ...]
    source: str
    problems: tuple[Problem, ...] = ()


def read(path: Path, labels: Path | None = None) -> Labelled | Templates:
    """Read a folder, a CSV or an .npz; `labels` is the CSV of a folder. Raises CannotRead, OSError.

    A CSV's files are below the folder, else below the CSV's own, else below the one beside it that is called like it.
    Nothing that leaves these by `..` or an absolute path is looked at. Links are followed: they are their owner's.
    """
    if path.suffix.lower() == ".npz" and not path.is_dir():
        if labels is not None:
            raise CannotRead(f"{path} names its people itself (`person`): leave --labels out")
        return _templates(path)
    if path.suffix.lower() == ".csv" and not path.is_dir():
        if labels is not None:
            raise CannotRead(f"{path} is a CSV itself: give the folder of its pictures, or leave --labels out")
        return _listed(path, None)
    if not path.exists():
        raise CannotRead(f"{path}: there is no such folder")
    if not path.is_dir():
        raise CannotRead(f"{path}: give a folder of pictures, a .csv, or an .npz of templates")
    if labels is None and (path / LABELS).is_file():
        labels = path / LABELS
    return _people(path) if labels is None else _listed(labels, path)


# ---- a folder of people


def _people(folder: Path) -> Labelled:
    problems: list[Problem] = []
    pictures: list[Picture] = []
    loose = 0
    for entry in sorted(folder.iterdir()):
        if why := why_not(entry.name):
            problems.append(Problem(why, entry.name))
        elif not entry.is_dir():
            why = _objection(entry)
            loose += not why
            problems.append(Problem(why or "in no person's folder", entry.name))
        elif os.fsencode(entry.name).decode("utf-8", "replace") != entry.name:
            problems.append(Problem("name is not UTF-8", entry.name))
        else:
            found = [Picture(path, entry.name) for path in _below(entry, folder, problems)]
            if not found:
                problems.append(Problem("person without a picture", entry.name))
            pictures += found
    if not pictures:
        here = f"; the {loose} in {folder} itself belong to nobody" if loose else ""
        raise CannotRead(
            f"{folder}: no pictures in it that are of somebody{here}. Each person needs a folder (person/picture.jpg), "
            "or a CSV with the columns file and person says who is who (--labels)"
        )
    return Labelled(_of_several(pictures, folder), (), _told(problems), printable(folder.resolve().name))


def _below(person: Path, folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def cannot(error: OSError) -> None:
        where = os.path.relpath(os.fsdecode(error.filename), folder)
        problems.append(Problem("folder that cannot be read", where))

    for place, folders, files in os.walk(person, onerror=cannot):
        passed = [name for name in folders if why_not(name)]
        folders[:] = sorted(name for name in folders if name not in passed)
        for name in sorted(passed + files):
            path = Path(place, name)
            if why := why_not(name) or _objection(path):
                problems.append(Problem(why, str(path.relative_to(folder))))
            else:
                yield path


def _objection(path: Path) -> str:
    """Say why a file is no picture to measure with; empty: it is, or whoever reads it says what is wrong."""
    try:
        return why_not(path.name, kind_of(path))
    except FileNotFoundError:
        return "file not found"
    except (Unreadable, IsADirectoryError):
        return "not a file"
    except OSError:
        return "" if path.suffix.lower() in SUFFIXES else "file that cannot be read"


# ---- a CSV


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    file: str
    person: str
    others: Mapping[str, str]


def _listed(labels: Path, folder: Path | None) -> Labelled:
    rows = _rows(labels)
    problems: list[Problem] = []
    roots = [folder] if folder else []
    roots += [labels.parent, labels.parent / labels.stem]
    named: dict[Path, list[tuple[_Row, str]]] = {}
    for row in rows:
        where = f"{labels.name}, line {row.line}"
        if not row.file or not row.person:
            problems.append(Problem("row without a person" if row.file else "row without a file", where))
            continue
        inside = [root / row.file for root in roots if _is_inside(root / row.file, root)]
        path = next((path for path in inside if path.is_file()), None)
        if path is None:
            what = "file not found" if inside else "file outside of the folder"
            problems.append(Problem(what, f"{row.file} ({where})"))
        else:
            named.setdefault(Path(os.path.normpath(path)), []).append((row, where))
    kept: list[tuple[Path, _Row]] = []
    for path, same in named.items():
        if len({row.person for row, _ in same}) > 1:
            problems += [Problem("one file under two people", f"{row.file} ({where})") for row, where in same]
            continue
        kept.append((path, same[0][0]))
        problems += [Problem("row twice", f"{row.file} ({where})") for row, where in same[1:]]
    if not kept:
        raise CannotRead(_none_kept(labels, rows, problems, roots))
    columns = _group_columns([row for _, row in kept], problems)
    pictures = [Picture(path, row.person, _groups(row, columns)) for path, row in kept]
    source = f"{folder.resolve().name}, {labels.name}" if folder and labels.parent != folder else labels.name
    if source == LABELS:
        source = labels.resolve().parent.name  # every folder's is called so
    return Labelled(_of_several(pictures, labels), tuple(columns), _told(problems), printable(source))


def _none_kept(labels: Path, rows: Sequence[_Row], problems: Sequence[Problem], roots: Sequence[Path]) -> str:
    if not rows:
        return f"{labels} names no files: nothing follows its first line"
    kinds = "; ".join(f"{what}: {count}" for what, count in Counter(problem.what for problem in problems).items())
    return (
        f"{labels}: none of its {len(rows)} rows can be used ({kinds}); the first: {printable(problems[0].where)}. "
        f"Looked in {', '.join(map(str, roots))}. Give the folder that its files are below, and the CSV with --labels"
    )


def _rows(labels: Path) -> list[_Row]:
    try:
        text = read_file(labels, CSV_LIMIT).decode("utf-8-sig")
    except FileNotFoundError:
        raise CannotRead(f"{labels}: there is no such file") from None
    except Unreadable as error:
        raise CannotRead(str(error)) from None
    except UnicodeDecodeError:
        raise CannotRead(f"{labels} is not UTF-8: save it as “CSV UTF-8”") from None
    heading = text.split("\n", 1)[0]
    # What spreadsheets write depends on the country.
    separator = max(",;\t", key=heading.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [name.strip().lower() for name in next(lines, list[str]())]
        file, person = (_column(labels, columns, names) for names in (FILE_COLUMNS, PERSON_COLUMNS))
        if twice := [name for name, count in Counter(columns).items() if name and count > 1]:
            raise CannotRead(
                f"{labels} has the column {printable(twice[0])} twice: which one counts? Rename one of them"
            )
        ours = {*FILE_COLUMNS, *PERSON_COLUMNS, "sample", ""}
        found: list[_Row] = []
        for values in lines:
            if not any(value.strip() for value in values):
                continue
            row = dict(zip(columns, (value.strip() for value in values), strict=False))
            others = {name: value for name, value in row.items() if name not in ours}
            found.append(_Row(lines.line_num, row.get(file, ""), row.get(person, ""), others))
    except csv.Error as error:
        raise CannotRead(f"{labels}, line {lines.line_num}: is no CSV ({error})") from None
    return found


def _column(labels: Path, columns: Sequence[str], names: Sequence[str]) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise CannotRead(
            f"{labels} has no column {names[0]} (nor {', '.join(names[1:])}); its first line is "
            f"{printable(', '.join(columns)[:200]) or 'empty'}"
        )
    return found


def _is_inside(path: Path, root: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))


def _group_columns(rows: Sequence[_Row], problems: list[Problem]) -> list[str]:
    """Return the columns whose values part the people in a few groups."""
    columns = dict.fromkeys(name for row in rows for name in row.others)
    chosen: list[str] = []
    for column in columns:
        of: dict[str, set[str]] = {}
        for row in rows:
            if value := _value(row, column):
                of.setdefault(row.person, set()).add(value)
        different = len(set[str]().union(*of.values()))
        torn = [person for person, values in of.items() if len(values) > 1]
        if different >= GROUPS.stop and 2 * different <= len(of) and not torn:
            # Each value of two people or more: meant as groups. Names and dates are not, and not worth a word.
            what = f"column that is no group: it has more than {GROUPS.stop - 1} values"
            problems.append(Problem(what, f"{column} has {different}"))
        elif different in GROUPS and (not torn or column in AGE_COLUMNS):
            chosen.append(column)
        elif different in GROUPS:
            problems.append(Problem("column that is no group: it differs within a person", f"{column} of {torn[0]}"))
    return chosen


def _groups(row: _Row, columns: Iterable[str]) -> Mapping[str, str]:
    return {column: value for column in columns if (value := _value(row, column))}


def _value(row: _Row, column: str) -> str:
    value = row.others.get(column, "")
    if column == "age" and value.isdecimal():
        decade = int(value) // 10 * 10
        return f"{decade}-{decade + 9}"
    return value


# ---- templates


def _templates(path: Path) -> Templates:
    try:
        # Opened here: numpy leaves a file open that turns out to be no archive.
        with opened(path) as file:
            loaded: object = np.load(file, allow_pickle=False)
            if not isinstance(loaded, NpzFile):
                raise CannotRead(f"{path} is no .npz: `numpy.savez` makes one of named arrays")
            held = cast("Mapping[str, NDArray[np.generic]]", loaded)
            missing = [name for name in ("templates", "person") if name not in held]
            if missing:
                raise CannotRead(f"{path} has no array `{missing[0]}`; wanted are templates (n, d) and person (n)")
            vectors, persons = held["templates"], held["person"]
            detected = held["detected"] if "detected" in held else np.ones(persons.shape, np.bool_)
    except Unreadable as error:
        raise CannotRead(str(error)) from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, CannotRead):
            raise
        raise CannotRead(f"{path} is no .npz of plain arrays: {str(error)[:200]}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not 1 <= vectors.shape[1] <= MAX_DIMENSION:
        raise CannotRead(f"{path}: templates are {vectors.dtype} of shape {vectors.shape}; wanted are floats (n, d)")
    if persons.shape != vectors.shape[:1] or detected.shape != persons.shape or detected.dtype != bool:
        raise CannotRead(f"{path}: person and detected must have one entry for each of the {len(vectors)} templates")
    if persons.dtype.kind not in "USiu":
        raise CannotRead(f"{path}: person is {persons.dtype}; wanted are texts or whole numbers")
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in persons.tolist()]
    with np.errstate(over="ignore"):
        narrow: Vector = vectors.astype(np.float32)
    return _usable(path, narrow, names, detected.astype(np.bool_))


def _usable(path: Path, vectors: Vector, names: list[str], detected: NDArray[np.bool_]) -> Templates:
    checks = {
        "no face detected": ~detected,
        "template with a NaN or an infinity": ~np.isfinite(vectors).all(axis=1),
        "template all zero": (vectors == 0).all(axis=1),
        "row without a person": np.array([not name.strip() for name in names], dtype=bool),
    }
    bad = np.zeros(len(names), bool)
    problems: list[Problem] = []
    for what, rows in checks.items():
        problems += [Problem(what, f"{path.name}, row {n}") for n in np.flatnonzero(rows & ~bad).tolist()]
        bad |= rows
    kept = np.flatnonzero(~bad)
    persons = tuple(names[n].strip() for n in kept.tolist())
    if len(set(persons)) < 2:
        raise CannotRead(_too_few(path, len(set(persons))))
    return Templates(np.ascontiguousarray(vectors[kept]), persons, printable(path.name), _told(problems))


# ---- all of them


def _of_several(pictures: Iterable[Picture], where: Path) -> tuple[Picture, ...]:
    ordered = tuple(sorted(pictures, key=lambda picture: (picture.person, str(picture.path))))
    people = len({picture.person for picture in ordered})
    if people < 2:
        raise CannotRead(_too_few(where, people))
    return ordered


def _too_few(where: Path, people: int) -> str:
    return (
        f"{where} shows {'nobody' if not people else 'one person only'}: to measure how often strangers match takes "
        "two people or more, and hundreds for a rate worth knowing"
    )


def _told(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(Problem(problem.what, printable(problem.where)) for problem in problems)
