"""Small pictures of faces for the report, cut out by the workers: nothing here decodes a picture."""

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.enroll.pool import Pool
from services.evaluate.acquisition import Item
from services.evaluate.extracting import Unread, image_of


def thumbnails(pool: Pool, pairs: Mapping[str, tuple[Item, Item]]) -> dict[str, tuple[str, str]]:
    """Return each pair as two `data:` addresses; a pair is left out if a picture is gone since, or ends its workers.

    Raises CannotStart or ModelRefused where no other worker takes the place of one that was lost.
    """

    def thumbnail(path: Path) -> str | None:
        image = image_of(path)
        jpeg = None if isinstance(image, Unread) else pool.portray(image).result().jpeg
        return None if jpeg is None else address(jpeg)

    paths = list(dict.fromkeys(item.path for items in pairs.values() for item in items if item.path is not None))
    with ThreadPoolExecutor(pool.size) as threads:  # no more pictures in memory than are worked on
        made = dict(zip(paths, threads.map(thumbnail, paths), strict=True))
    shown = {path: picture for path, picture in made.items() if picture is not None}
    return {
        key: (shown[first.path], shown[second.path])
        for key, (first, second) in pairs.items()
        if first.path in shown and second.path in shown
    }


def address(jpeg: bytes) -> str:
    """Return a JPEG as a `data:` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
