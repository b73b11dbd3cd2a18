"""Arrays that were read once, in the user's cache folder: an epoch never reads a recording again.

An entry is three files: inputs, labels, and what is known of them, which is written last and holds
their hash. An entry that is cut short or changed is not used: it is named, and made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.datasets.batch import sha256
from harness.system.files import make_user_cache, printable, user_cache, write_whole

FORMAT = 1  # of the entries, and of what is in them


@dataclass(frozen=True)
class Arrays:
    """Samples and labels, with what their reading came to."""

    inputs: NDArray[np.uint8]  # (N, C, H, W) pixels or (N, T, C, H, W) event counts
    labels: NDArray[np.int64]  # (N,)
    sha256: str  # of both
    damaged: tuple[str, ...] = ()  # a sentence of each sample that could not be read
    note: str = ""  # what happened to the cache itself


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
    return Arrays(arrays.inputs, arrays.labels, arrays.sha256, arrays.damaged, note)


def _read(folder: Path, name: str) -> Arrays | str:
    """An entry, or what is wrong with it."""
    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        inputs, labels = (_load(folder / f"{name}.{part}.npy") for part in ("inputs", "labels"))
        damaged = tuple(map(str, about["damaged"]))
        expected = about["sha256"]
    except (OSError, ValueError, EOFError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    if inputs.dtype != np.uint8 or labels.dtype != np.int64 or len(inputs) != len(labels):
        return f"arrays {inputs.dtype} {inputs.shape}, {labels.dtype} {labels.shape}"
    if sha256(inputs, labels) != expected:
        return "its hash is another"
    return Arrays(inputs, labels, expected, damaged)


def _load(path: Path) -> NDArray[Any]:
    # mapped first: a header that tells of more than the file holds is refused before it is believed
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _write(folder: Path, name: str, made: Arrays) -> None:
    """Each file whole or not at all; the one that makes it an entry last."""
    for part, array in (("inputs", made.inputs), ("labels", made.labels)):
        write_whole(folder / f"{name}.{part}.npy", lambda path, a=array: _save(path, a))
    about = {"sha256": made.sha256, "damaged": made.damaged}
    text = json.dumps(about, ensure_ascii=False)
    write_whole(folder / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
