"""Downloads: one attempt, whose failure is a sentence and stops nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from harness.datasets.events import MissingReader

TIMEOUT_SECONDS = 10  # without an answer of the server
FAILED = "the download failed"  # what its note says first

_FAILURES = (
    OSError,  # URLError, HTTPError, timeouts, a full disk
    RuntimeError,  # torchvision and tonic: the archive's hash is wrong
    http.client.HTTPException,
    tarfile.TarError,
    zipfile.BadZipFile,
    MissingReader,
)


def attempt(fetch: Callable[[], None]) -> str:
    """Runs `fetch`; "" where it succeeded, else a sentence that says why it did not."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        # tonic prints what it does; standard output is for tables
        with contextlib.redirect_stdout(sys.stderr), _inside_their_folder():
            fetch()
    except _FAILURES as error:
        return f"{FAILED}: {type(error).__name__}: {error}"
    finally:
        socket.setdefaulttimeout(previous)
    return ""


@contextlib.contextmanager
def _inside_their_folder() -> Iterator[None]:
    """Has archives that whoever unpacks them write nothing outside the folder they are given."""
    before = tarfile.TarFile.extraction_filter  # new in 3.11.4
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before
