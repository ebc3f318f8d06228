"""Pairs of faces for the report, by workers that are none; what is lost on the way leaves its pair out."""

import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.enroll.frames import Portrait
from services.enroll.pool import CannotStart
from services.evaluate.acquisition import Item
from services.evaluate.thumbnails import thumbnails

JPEG = b"\xff\xd8\xff of "


@dataclass
class Pool:
    """Cuts out after a moment; a picture of nobody is one that ends its workers."""

    size: int = 2
    seen: list[bytes] = field(default_factory=list[bytes])
    flying: int = 0
    most: int = 0
    before: Callable[[bytes], None] = lambda _: None

    def portray(self, image: bytes) -> Future[Portrait]:
        self.before(image)
        self.seen.append(image)
        self.flying += 1
        self.most = max(self.most, self.flying)
        future = Future[Portrait]()
        threading.Timer(0.002, self._answer, (future, image)).start()
        return future

    def _answer(self, future: Future[Portrait], image: bytes) -> None:
        self.flying -= 1
        future.set_result(Portrait(None if image == b"nobody" else JPEG + image))


def item(folder: Path, name: str, content: bytes | None = None) -> Item:
    path = folder / name
    path.write_bytes(name.encode() if content is None else content)
    return Item("ada", name, None, path=path)


def shown(pool: Pool, pairs: dict[str, tuple[Item, Item]]) -> dict[str, tuple[bytes, bytes]]:
    found = thumbnails(pool, pairs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    begin = "data:image/jpeg;base64,"
    assert all(address.startswith(begin) for pair in found.values() for address in pair)
    return {
        key: (base64.b64decode(a.removeprefix(begin)), base64.b64decode(b.removeprefix(begin)))
        for key, (a, b) in found.items()
    }


def test_each_pair_is_shown_as_what_the_workers_made_of_its_two_pictures(tmp_path: Path) -> None:
    a, b, c = (item(tmp_path, name) for name in "abc")
    found = shown(Pool(), {"genuine-0": (a, b), "impostor-0": (c, a)})
    assert found == {"genuine-0": (JPEG + b"a", JPEG + b"b"), "impostor-0": (JPEG + b"c", JPEG + b"a")}


def test_a_picture_that_is_gone_or_ends_its_workers_leaves_its_pair_out_and_no_other(tmp_path: Path) -> None:
    a, b, gone = (item(tmp_path, name) for name in ("a", "b", "gone"))
    deadly = item(tmp_path, "deadly", b"nobody")
    (tmp_path / "gone").unlink()
    found = shown(Pool(), {"genuine-0": (a, gone), "genuine-1": (deadly, b), "genuine-2": (a, b)})
    assert list(found) == ["genuine-2"]


def test_a_picture_in_several_pairs_is_cut_out_once(tmp_path: Path) -> None:
    a, b, c = (item(tmp_path, name) for name in "abc")
    pool = Pool()
    shown(pool, {"impostor-0": (a, b), "impostor-1": (a, c), "impostor-2": (b, c)})
    assert sorted(pool.seen) == [b"a", b"b", b"c"]


def test_no_more_pictures_are_in_memory_than_there_are_workers(tmp_path: Path) -> None:
    items = [item(tmp_path, str(number)) for number in range(16)]
    pool = Pool()
    shown(pool, {f"genuine-{n}": (items[n], items[n + 1]) for n in range(0, 16, 2)})
    assert (pool.most, len(pool.seen)) == (2, 16)


def test_where_no_worker_takes_the_place_of_a_lost_one_the_rest_is_not_tried(tmp_path: Path) -> None:
    def fail(image: bytes) -> None:
        tried.append(image)
        time.sleep(0.02)  # a worker's start takes a second
        raise CannotStart("no memory")

    tried: list[bytes] = []
    items = [item(tmp_path, str(number)) for number in range(16)]
    with pytest.raises(CannotStart):
        shown(Pool(before=fail), {f"genuine-{n}": (items[n], items[n + 1]) for n in range(0, 16, 2)})
    assert len(tried) < 8
