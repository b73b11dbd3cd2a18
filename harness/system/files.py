"""Files that are whole or not there: a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.spec import UsageError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file beside `path`, and puts it in its place once it is on the disk.

    Makes the folder. Raises OSError, and leaves nothing behind, where that cannot be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    temporary = Path(name)
    try:
        write(temporary)
        os.fsync(handle)
        temporary.chmod(0o644)  # others may read results; mkstemp's own is for us alone
        temporary.replace(path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> UsageError:
    """The error of a file or folder of results that cannot be written."""
    return UsageError(
        f"cannot write {path} ({error.strerror or error}): "
        "give a folder that can be written with --out"
    )
