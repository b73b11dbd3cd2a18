"""Arrays that were read once, in the user's cache folder: an epoch never reads a recording again.

An entry is a file an array (inputs, labels, of recordings where each starts), and what is known of
them, which is written last and holds their hash. An entry that is cut short or changed is not used:
it is named, and made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.datasets.batch import sha256
from harness.datasets.events import EVENT
from harness.system.files import make_user_cache, printable, user_cache, write_whole

FORMAT = 1  # of the entries, and of what is in them


@dataclass(frozen=True)
class Arrays:
    """Samples and labels, with what their reading came to."""

    inputs: NDArray[Any]  # uint8: (N, C, H, W) pixels, (N, T, C, H, W) event counts; or events
    labels: NDArray[np.int64]  # (N,)
    sha256: str  # of all arrays
    damaged: tuple[str, ...] = ()  # a sentence of each sample that could not be read
    note: str = ""  # what happened to the cache itself
    # (N + 1,), where inputs are the events (M,) of all samples: where those of each begin
    starts: NDArray[np.int64] | None = None

    @property
    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names in the cache."""
        starts = {} if self.starts is None else {"starts": self.starts}
        return {"inputs": self.inputs, "labels": self.labels, **starts}


def kept(key: str, make: Callable[[], Arrays]) -> Arrays:
    """The entry of that key, made where there is none that is sound.

    `key` must say all that decides the content. Without a folder that can be written the arrays are
    made each time, and `note` says so.
    """
    name = sha256_of(f"{FORMAT} {key}".encode()).hexdigest()[:32]
    try:
        folder = make_user_cache("arrays")
        with FileLock(folder / f"{name}.lock"):
            return _entry(folder, name, make)
    except OSError as error:
        made = make()
        place = printable(user_cache())
        return _noted(made, f"not cached: {place} cannot be written ({error.strerror or error})")


def _entry(folder: Path, name: str, make: Callable[[], Arrays]) -> Arrays:
    about = folder / f"{name}.json"
    note = ""
    if about.exists():
        found = _read(folder, name)
        if isinstance(found, Arrays):
            return found
        note = printable(f"the cached {about} was damaged ({found}) and was made again")
    made = make()
    _write(folder, name, made)
    return _noted(made, note)


def _noted(arrays: Arrays, note: str) -> Arrays:
    return replace(arrays, note=note)


def _read(folder: Path, name: str) -> Arrays | str:
    """An entry, or what is wrong with it."""
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        inputs, labels = (_load(folder / f"{name}.{part}.npy") for part in ("inputs", "labels"))
        starts = _load(folder / f"{name}.starts.npy") if about.get("events") else None
        damaged = tuple(map(str, about["damaged"]))
        found = Arrays(inputs, labels, about["sha256"], damaged, starts=starts)
    except (OSError, ValueError, EOFError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    if not _fits(found):
        shapes = ", ".join(f"{each.dtype} {each.shape}" for each in found.parts.values())
        return f"arrays {shapes}"
    if sha256(*found.parts.values()) != found.sha256:
        return "its hash is another"
    return found


def _fits(found: Arrays) -> bool:
    """Whether the arrays are of the types and lengths that an entry has."""
    inputs, labels, starts = found.inputs, found.labels, found.starts
    if labels.dtype != np.int64:
        return False
    if starts is None:
        return inputs.dtype == np.uint8 and len(inputs) == len(labels)
    lengths = starts.dtype == np.int64 and len(starts) == len(labels) + 1
    return inputs.dtype == EVENT and lengths and starts[-1] == len(inputs)


def _load(path: Path) -> NDArray[Any]:
    # mapped first: a header that tells of more than the file holds is refused before it is believed
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _write(folder: Path, name: str, made: Arrays) -> None:
    """Each file whole or not at all; the one that makes it an entry last."""
    for part, array in made.parts.items():
        write_whole(folder / f"{name}.{part}.npy", lambda path, a=array: _save(path, a))
    about = {"sha256": made.sha256, "damaged": made.damaged, "events": made.starts is not None}
    text = json.dumps(about, ensure_ascii=False)
    write_whole(folder / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
