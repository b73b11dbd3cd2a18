"""An HDF5 file as a tree of which nothing is believed: it leads nowhere outside itself, and nothing
is read before its type and size are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.spec import UsageError
from harness.system.files import printable

DEEPEST = 6  # groups inside each other; a graph with subgraphs has five
MOST = 20_000  # groups and datasets
MOST_BYTES = 4 * 2**30  # of all numbers together
MOST_TEXTS = 8_192  # of a dataset
LONGEST_TEXT = 1_000  # characters
# Its own compression packs no more than this into a byte.
DENSEST = 1_100
FILTERS = {1: "gzip", 2: "shuffle", 3: "checksum", 32_000: "lzf"}  # others load a library
INSTALL = "pip install 'snn-harness[nir]'"
# What h5py raises of a file that is damaged, by place.
UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)


@dataclass(frozen=True)
class Values:
    """A dataset of numbers that has been looked at and not read."""

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dataset: Any  # h5py's

    def read(self) -> NDArray[Any]:
        """All of it."""
        return np.asarray(self.dataset[()])


@dataclass(frozen=True)
class Folder:
    """A group: the groups, numbers and texts in it, by name; texts are read."""

    place: str
    folders: Mapping[str, Folder]
    numbers: Mapping[str, Values]
    texts: Mapping[str, tuple[str, ...]]  # row by row


def library() -> ModuleType:
    """h5py. Raises UsageError where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError(f"NIR files need h5py ({error}): {INSTALL}") from error
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """The file's tree; its numbers can be read inside the block.

    Nothing in the file can run code. Raises UsageError where it is no HDF5 file, is damaged, leads
    outside itself, or says that it holds more than it can.
    """
    h5py = library()
    if not path.is_file():
        raise UsageError(f"{printable(path)} is no file: name one that there is")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield _Reader(h5py, path.stat().st_size).folder(file, "", 0)
    except UsageError as error:
        raise UsageError(f"{printable(path)}: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{printable(path)}: its groups are nested without end") from error
    except UNREADABLE as error:
        what = printable(f"{error}".partition("\n")[0][:200])
        raise UsageError(
            f"{printable(path)} is no HDF5 file, or a damaged one ({what}): export it anew"
        ) from error


class _Reader:
    """What the walk through one file has seen so far."""

    def __init__(self, h5py: ModuleType, size: int) -> None:
        self.h5py = h5py
        self.size = size  # of the file, in bytes
        self.seen = 0
        self.bytes = 0

    def folder(self, group: Any, place: str, depth: int) -> Folder:
        """A group and all below it."""
        if depth > DEEPEST:
            raise UsageError(f"{_of(place)} lies more than {DEEPEST} groups deep")
        self.seen += len(group)
        if self.seen > MOST:
            raise UsageError(f"it holds more than {MOST} groups and datasets")
        folders: dict[str, Folder] = {}
        numbers: dict[str, Values] = {}
        texts: dict[str, tuple[str, ...]] = {}
        for name in group:
            below = f"{place}/{name}" if place else str(name)
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise UsageError(f"{_of(below)} is a link to elsewhere, which is not followed")
            item = group[name]
            if isinstance(item, self.h5py.Group):
                folders[name] = self.folder(item, below, depth + 1)
            elif isinstance(item, self.h5py.Dataset):
                self._dataset(item, below, name, numbers, texts)
            else:
                raise UsageError(f"{_of(below)} is neither a group nor a dataset")
        return Folder(place, folders, numbers, texts)

    def _dataset(
        self,
        item: Any,
        place: str,
        name: str,
        numbers: dict[str, Values],
        texts: dict[str, tuple[str, ...]],
    ) -> None:
        self._check_storage(item, place)
        if self.h5py.check_string_dtype(item.dtype) is not None:
            texts[name] = self._texts(item, place)
        elif item.dtype.kind in "fiub" and item.dtype.subdtype is None:
            numbers[name] = Values(place, self._shape(item, place), item.dtype, item)
        else:
            raise UsageError(f"{_of(place)} holds neither numbers nor texts but {item.dtype}")

    def _check_storage(self, item: Any, place: str) -> None:
        """Raises UsageError where its bytes are not in the file, or a library would be loaded."""
        if item.external or item.is_virtual:
            raise UsageError(f"{_of(place)} keeps its numbers in another file, which is not read")
        plan = item.id.get_create_plist()
        filters = [plan.get_filter(n)[0] for n in range(plan.get_nfilters())]
        if not set(filters) <= FILTERS.keys() or len(set(filters)) < len(filters):
            known = ", ".join(FILTERS.values())
            raise UsageError(f"{_of(place)} is packed in another way than by {known}")
        if item.chunks is not None and prod(item.chunks) * item.dtype.itemsize > self.most:
            raise UsageError(f"{_of(place)} is in pieces that a file of its size cannot fill")

    @property
    def most(self) -> int:
        """Bytes of numbers that a file of this size can hold."""
        return DENSEST * self.size

    def _shape(self, item: Any, place: str) -> tuple[int, ...]:
        shape = item.shape
        if shape is None:
            raise UsageError(f"{_of(place)} is empty")
        self.bytes += prod(shape) * item.dtype.itemsize
        if prod(shape) * item.dtype.itemsize > self.most or self.bytes > MOST_BYTES:
            held = f"a file of {self.size:,} bytes can hold, or is read here"
            raise UsageError(f"{_of(place)} is said to be of shape {shape}: more than {held}")
        return tuple(shape)

    def _texts(self, item: Any, place: str) -> tuple[str, ...]:
        count = prod(item.shape) if item.shape is not None else 0
        if count > MOST_TEXTS or item.dtype.itemsize > 4 * LONGEST_TEXT:
            raise UsageError(f"{_of(place)} holds more than {MOST_TEXTS} texts, or longer ones")
        # one by one: how long a text is shows only when it is read
        return tuple(_text(item[index], place) for index in np.ndindex(*(item.shape or ())))


def _text(value: object, place: str) -> str:
    if isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, bytes) and len(value) <= 4 * LONGEST_TEXT:
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"{_of(place)} holds a text that is not in UTF-8") from error
    if isinstance(value, str) and len(value) <= LONGEST_TEXT:
        return value
    raise UsageError(f"{_of(place)} holds a text of more than {LONGEST_TEXT} characters")


def _of(place: str) -> str:
    return repr(printable(place)[:200])
